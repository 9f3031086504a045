//! ListVolumes and ListSnapshots: pages, walks, and the bounds between which a list has to lie.
//!
//! Others may create and delete while a list is read, so a walk is held against what certainly existed, or certainly
//! did not, from its first page to its last.

use std::collections::{BTreeMap, BTreeSet};

use tonic::Code::{Aborted, InvalidArgument, NotFound};

use super::{
    operation::Operation,
    ruling::{Answer, Expectation, Mark, Problem, Ruling, Strike, check},
    volume::unimplemented,
    world::World,
};
use crate::{
    csi::v1,
    history::{Reply, Request},
    rule,
    spec::RuleId,
};

/// Rules of one of the two lists.
struct Rules {
    served: &'static [RuleId],
    umbrella: RuleId,
    negative: RuleId,
    token: RuleId,
    page: RuleId,
    next_token: RuleId,
    next_page: RuleId,
    complete: RuleId,
    done: RuleId,
    changing: RuleId,
}

const VOLUMES: Rules = Rules {
    served: &[rule!("CTRL-LIST-001")],
    umbrella: rule!("CTRL-LIST-024"),
    negative: rule!("CTRL-LIST-009"),
    token: rule!("CTRL-LIST-026"),
    page: rule!("CTRL-LIST-005"),
    next_token: rule!("CTRL-LIST-006"),
    next_page: rule!("CTRL-LIST-007"),
    complete: rule!("CTRL-LIST-002"),
    done: rule!("CTRL-LIST-023"),
    changing: rule!("CTRL-LIST-003"),
};

const SNAPSHOTS: Rules = Rules {
    served: &[rule!("CTRL-SNAPLIST-001")],
    umbrella: rule!("CTRL-SNAPLIST-022"),
    negative: rule!("CTRL-SNAPLIST-011"),
    token: rule!("CTRL-SNAPLIST-024"),
    page: rule!("CTRL-SNAPLIST-007"),
    next_token: rule!("CTRL-SNAPLIST-008"),
    next_page: rule!("CTRL-SNAPLIST-009"),
    complete: rule!("CTRL-SNAPLIST-002"),
    done: rule!("CTRL-SNAPLIST-021"),
    changing: rule!("CTRL-SNAPLIST-005"),
};

/// What certainly is there and certainly is not, by id.
#[derive(Clone, Debug, Default)]
pub(super) struct Certain {
    /// Certainly there.
    pub(super) present: BTreeSet<String>,
    /// Certainly not there.
    pub(super) absent: BTreeSet<String>,
    /// Others are not there either, and nothing speaks of them any more.
    pub(super) vanished: bool,
    /// Of what is there: snapshots that have outlived the volume that they were cut from.
    pub(super) outlived: BTreeSet<String>,
}

/// A walk over the pages of a list.
#[derive(Clone, Debug)]
struct Walk {
    certain: Certain,
    seen: Vec<String>,
    pages: usize,
    limited: bool,
}

/// A missing entry, where it was missed, and what is wrong even if it turns up in a later walk.
type Missed = BTreeMap<String, (Strike, super::ledger::Place, Option<Strike>)>;

/// Follows the lists of a run.
#[derive(Debug, Default)]
pub(super) struct Lists {
    /// Walks that wait for their next page, by RPC, filter and token.
    open: BTreeMap<(bool, String, String), Walk>,
    /// At the start of a call that begins a walk.
    starts: BTreeMap<crate::history::CallId, Certain>,
    missed: Missed,
    /// What was missed on the way through several pages and turned up in a later walk, or can turn up no more.
    settled: Vec<(Mark, super::ledger::Place)>,
}

/// One page, of either list.
struct Page<'a> {
    volumes: bool,
    filter: String,
    max_entries: i32,
    starting_token: &'a str,
    next_token: &'a str,
    ids: Vec<String>,
}

impl Lists {
    /// A list call starts: what is certain now bounds what it may show.
    pub(super) fn start(&mut self, operation: &Operation, certain: Certain) {
        self.starts.insert(operation.call.id, certain);
    }

    /// A list call was answered.
    pub(super) fn finish(
        &mut self,
        world: &World,
        operation: &Operation,
        answer: Answer<'_>,
        now: &Certain,
        place: &super::ledger::Place,
    ) -> Vec<Mark> {
        let start = self.starts.remove(&operation.call.id).unwrap_or_default();
        let (rules, mut marks) = match expect(world, operation) {
            Some((rules, expectation)) => match expectation.forgive(world.is_excessive(operation)).rule_on(answer) {
                Ruling::Struck(strike) => return vec![Mark::Broken(strike)],
                Ruling::Refused(marks) | Ruling::Open(marks) => return marks,
                Ruling::Succeeded(marks) => (rules, marks),
            },
            None => return Vec::new(),
        };
        let Answer::Ok(reply) = answer else { return marks };
        let Some(page) = page(operation.request(), reply) else { return marks };
        let count = page.ids.len();
        if page.max_entries > 0 {
            let most = usize::try_from(page.max_entries).unwrap_or(usize::MAX);
            check(&mut marks, rules.page, count <= most, || {
                (
                    "a page is longer than max_entries".into(),
                    format!("at most {most} entries"),
                    format!("{count} entries"),
                )
            });
        }
        if page.max_entries >= 0 {
            self.walk(rules, page, start, now, place, &mut marks);
        }
        marks
    }

    fn walk(
        &mut self,
        rules: &Rules,
        page: Page<'_>,
        start: Certain,
        now: &Certain,
        place: &super::ledger::Place,
        marks: &mut Vec<Mark>,
    ) {
        let key = |token: &str| (page.volumes, page.filter.clone(), token.to_owned());
        let mut walk = if page.starting_token.is_empty() {
            Walk { certain: start, seen: Vec::new(), pages: 0, limited: false }
        } else {
            match self.open.get(&key(page.starting_token)) {
                Some(walk) => walk.clone(),
                None => return,
            }
        };
        if !page.next_token.is_empty() && page.next_token == page.starting_token {
            check(marks, rules.next_page, false, || {
                (
                    "next_token leads back to the page that was asked for".into(),
                    "the token of the next page, or none after the last".into(),
                    format!("{:?} again", page.next_token),
                )
            });
            return;
        }
        walk.pages += 1;
        walk.limited |= page.max_entries > 0;
        walk.seen.extend(page.ids.iter().cloned());
        if !page.next_token.is_empty() {
            marks.push(Mark::Held(rules.next_token));
            self.open.insert(key(page.next_token), walk);
            return;
        }
        let listed: BTreeSet<&String> = walk.seen.iter().collect();
        for id in &listed {
            if let Some((_, place, Some(strike))) = self.missed.remove(*id) {
                self.settled.push((Mark::Warned(strike), place));
            }
        }
        if walk.pages > 1 {
            let twice: Vec<&&String> =
                listed.iter().filter(|id| walk.seen.iter().filter(|seen| seen == *id).count() > 1).collect();
            let own: Vec<&&String> = twice.into_iter().filter(|id| walk.certain.present.contains(**id)).collect();
            check(marks, rules.next_page, own.is_empty(), || {
                (
                    "entries were listed twice on the way through the pages".into(),
                    "each once".into(),
                    format!("{own:?}"),
                )
            });
        }
        let gone: Vec<&String> =
            walk.certain.absent.iter().filter(|id| now.absent.contains(*id) && listed.contains(id)).collect();
        check(marks, rules.complete, gone.is_empty(), || {
            ("what was deleted is still listed".into(), "existing objects only".into(), format!("{gone:?}"))
        });
        if !page.volumes && (walk.certain.vanished || !walk.certain.absent.is_empty()) {
            check(marks, rule!("CTRL-SNAPDELETE-010"), gone.is_empty(), || {
                (
                    "DeleteSnapshot was answered OK and the snapshot is still listed".into(),
                    "a status other than OK, or no such snapshot".into(),
                    format!("{gone:?}"),
                )
            });
        }
        let missing: Vec<&String> =
            walk.certain.present.iter().filter(|id| now.present.contains(*id) && !listed.contains(id)).collect();
        if missing.is_empty() {
            if !walk.certain.present.is_empty() {
                marks.extend([Mark::Held(rules.complete), Mark::Held(rules.done)]);
                if page.volumes {
                    marks.push(Mark::Held(rule!("CTRL-CREATE-087")));
                } else {
                    marks.push(Mark::Held(rule!("CTRL-INTERACT-012")));
                    if !walk.certain.outlived.is_empty() {
                        marks.push(Mark::Held(rule!("CTRL-DELETE-008")));
                    }
                }
                if walk.limited {
                    marks.push(Mark::Held(rules.next_token));
                }
            }
            return;
        }
        for id in missing {
            let rule = if walk.limited { rules.next_token } else { rules.complete };
            let mut strike = Strike::new(
                rule,
                "an object that exists was not listed, in this walk or any later one",
                format!("an entry for {id:?}"),
                format!("{} entries on {} pages without it", walk.seen.len(), walk.pages),
            );
            strike.also = vec![rules.complete, rules.done];
            if walk.certain.outlived.contains(id) {
                strike.also.push(rule!("CTRL-DELETE-008"));
            }
            // A list that changes between its pages may leave entries out (lines 1534, 2087), which is no reason to do it.
            let passed_over = (walk.pages > 1).then(|| {
                Strike::new(
                    rules.changing,
                    "an object that existed all the while was passed over between two pages, and listed by a later walk: who \
                     looks for what is gone takes it for lost",
                    format!("an entry for {id:?} (entries may be missing while others come and go)"),
                    format!("{} entries on {} pages without it", walk.seen.len(), walk.pages),
                )
            });
            self.missed.entry(id.clone()).or_insert((strike, place.clone(), passed_over));
        }
    }

    /// How much is remembered.
    pub(super) fn len(&self) -> usize {
        self.open.len() + self.starts.len()
    }

    /// Forgets walks that nobody goes on with, and calls that are over.
    pub(super) fn forget_what_is_over(
        &mut self,
        is_mentioned: &dyn Fn(&str) -> bool,
        is_open: impl Fn(crate::history::CallId) -> bool,
    ) {
        self.open.retain(|(_, _, token), _| is_mentioned(token));
        self.starts.retain(|&call, _| is_open(call));
    }

    /// Nothing is certain any more: lists that are being read are held against nothing, and what was missed does not turn up,
    /// even if its id does.
    pub(super) fn forget(&mut self) {
        let missed = std::mem::take(&mut self.missed).into_values();
        self.settled.extend(missed.map(|(strike, place, _)| (Mark::Broken(strike), place)));
        self.open.clear();
        self.starts.clear();
    }

    /// What was missed and never turned up, and what turned up later than it should.
    pub(super) fn close(self) -> Vec<(Mark, super::ledger::Place)> {
        let never = self.missed.into_values().map(|(strike, place, _)| (Mark::Broken(strike), place));
        never.chain(self.settled).collect()
    }
}

fn expect(world: &World, operation: &Operation) -> Option<(&'static Rules, Expectation)> {
    let (rules, capability, max_entries, token): (&'static Rules, _, _, &str) = match operation.request() {
        Request::ListVolumes(r) => (&VOLUMES, "LIST_VOLUMES", r.max_entries, &r.starting_token),
        Request::ListSnapshots(r) => (&SNAPSHOTS, "LIST_SNAPSHOTS", r.max_entries, &r.starting_token),
        _ => return None,
    };
    let mut expectation = Expectation::default();
    if world.has(&format!("Controller.{capability}")) {
        expectation.served.extend(rules.served);
    } else {
        unimplemented(&mut expectation, capability);
    }
    expectation.problem_if(max_entries < 0, || {
        Problem::new(rules.negative, "max_entries is negative", &[InvalidArgument])
            .also(&[rule!("GEN-ERR-009")])
            .ok_warns()
    });
    expectation.problem_if(operation.invented(token), || {
        let problem = Problem::new(rules.token, "starting_token is not one that was given out", &[Aborted])
            .also(&[rules.umbrella]);
        // A number may look like a token of the plugin's own.
        if token.parse::<i64>().is_ok() { problem.ok_allowed() } else { problem }
    });
    // A filter that matches nothing is an empty list; a lookup of one object may also say so.
    if let Request::ListSnapshots(request) = operation.request() {
        let filtered = !request.snapshot_id.is_empty() || !request.source_volume_id.is_empty();
        expectation.problem_if(filtered, || {
            let rule =
                if request.snapshot_id.is_empty() { rule!("CTRL-SNAPLIST-014") } else { rule!("CTRL-SNAPLIST-016") };
            Problem::new(rule, "what a filter names need not exist: the list is empty then", &[])
                .warn_on(&[NotFound])
                .or(&[InvalidArgument])
                .ok_allowed()
        });
    }
    Some((rules, expectation))
}

fn page<'a>(request: &'a Request, reply: &'a Reply) -> Option<Page<'a>> {
    Some(match (request, reply) {
        (Request::ListVolumes(request), Reply::ListVolumes(reply)) => Page {
            volumes: true,
            filter: String::new(),
            max_entries: request.max_entries,
            starting_token: &request.starting_token,
            next_token: &reply.next_token,
            ids: reply
                .entries
                .iter()
                .map(|entry| entry.volume.as_ref().map_or_else(String::new, |volume| volume.volume_id.clone()))
                .collect(),
        },
        (Request::ListSnapshots(request), Reply::ListSnapshots(reply)) => Page {
            volumes: false,
            filter: format!("{:?} {:?}", request.source_volume_id, request.snapshot_id),
            max_entries: request.max_entries,
            starting_token: &request.starting_token,
            next_token: &reply.next_token,
            ids: reply
                .entries
                .iter()
                .map(|entry| entry.snapshot.as_ref().map_or_else(String::new, |one| one.snapshot_id.clone()))
                .collect(),
        },
        _ => return None,
    })
}

/// Filters of ListSnapshots keep to what they name.
pub(super) fn filters(request: &v1::ListSnapshotsRequest, reply: &v1::ListSnapshotsResponse, marks: &mut Vec<Mark>) {
    let entries = || reply.entries.iter().filter_map(|entry| entry.snapshot.as_ref());
    if !request.source_volume_id.is_empty() {
        let strays: Vec<&str> = entries()
            .filter(|one| one.source_volume_id != request.source_volume_id)
            .map(|one| one.snapshot_id.as_str())
            .collect();
        check(marks, rule!("CTRL-SNAPLIST-014"), strays.is_empty(), || {
            (
                "snapshots of other volumes are listed in spite of source_volume_id".into(),
                format!("snapshots of {:?} only", request.source_volume_id),
                format!("{strays:?} too"),
            )
        });
    }
    if !request.snapshot_id.is_empty() {
        let strays = entries().filter(|one| one.snapshot_id != request.snapshot_id).count();
        check(marks, rule!("CTRL-SNAPLIST-016"), strays == 0 && reply.entries.len() <= 1, || {
            (
                "more than the snapshot that snapshot_id names is listed".into(),
                format!("{:?} only", request.snapshot_id),
                format!("{} entries", reply.entries.len()),
            )
        });
    }
}

/// What each entry of ListVolumes has to carry beside its volume.
pub(super) fn statuses(world: &World, reply: &v1::ListVolumesResponse, marks: &mut Vec<Mark>) {
    for entry in &reply.entries {
        if world.has("Controller.LIST_VOLUMES_PUBLISHED_NODES") {
            check(marks, rule!("CTRL-LIST-020"), entry.status.is_some(), || {
                ("an entry has no status".into(), "a status, if only an empty one".into(), "unset".into())
            });
        }
        if world.has("Controller.VOLUME_CONDITION")
            && let Some(status) = &entry.status
        {
            check(marks, rule!("CTRL-LIST-017"), status.volume_condition.is_some(), || {
                ("an entry has no volume_condition".into(), "a volume_condition".into(), "unset".into())
            });
        }
    }
}
