//! Snapshots in lists beside those that calls of this history were told of: of creations that failed or go on, and of groups.

use std::collections::{BTreeMap, BTreeSet};

use tonic::Code;

use super::{
    judge::Judge,
    names::Key,
    operation::Operation,
    ruling::{Answer, Mark, advise, check, is_definite},
    volume::Existence,
};
use crate::{
    csi::v1::{ListSnapshotsRequest, ListSnapshotsResponse, Snapshot},
    history::{Reply, Request},
    rule,
};

/// What the creations of snapshots of one volume have come to.
#[derive(Clone, Copy, Debug, Default)]
struct Creations {
    /// Since when a single snapshot was refused for good.
    single_refused: Option<usize>,
    /// Since when a group was refused for good.
    group_refused: Option<usize>,
    /// What became of one of them is open, or it came from elsewhere.
    unsure: bool,
}

/// Creations of snapshots by their source volume, and the ids that were told.
#[derive(Debug, Default)]
pub(super) struct Strays {
    by_source: BTreeMap<String, Creations>,
    told: BTreeSet<String>,
    /// Of how many volumes that nothing mentions any more a single snapshot was refused.
    gone_single: u64,
    /// Of how many of them a group was refused.
    gone_group: u64,
}

impl Strays {
    /// How much is remembered.
    pub(super) fn len(&self) -> usize {
        self.by_source.len() + self.told.len()
    }

    /// Whether a creation of a snapshot of the volume has failed.
    pub(super) fn knows(&self, source: &str) -> bool {
        self.by_source.contains_key(source)
    }

    /// Forgets snapshots and volumes that nothing mentions any more: no list shows anything of them. Of calls that go on, the
    /// `oldest` began at that event.
    pub(super) fn forget_what_is_over(
        &mut self,
        is_mentioned: &dyn Fn(&str) -> bool,
        oldest: usize,
        is_own: impl Fn(&str) -> bool,
    ) {
        self.told.retain(|id| is_mentioned(id));
        self.by_source.retain(|source, creations| {
            let refused = [creations.single_refused, creations.group_refused];
            if is_mentioned(source) || refused.iter().flatten().any(|&at| at >= oldest) {
                return true;
            }
            if !creations.unsure && is_own(source) {
                self.gone_single += u64::from(refused[0].is_some());
                self.gone_group += u64::from(refused[1].is_some());
            }
            false
        });
    }

    /// A creation has ended, with or without an answer.
    pub(super) fn note(&mut self, operation: &Operation) {
        let (sources, single): (&[String], bool) = match operation.request() {
            Request::CreateSnapshot(request) => (std::slice::from_ref(&request.source_volume_id), true),
            Request::CreateVolumeGroupSnapshot(request) => (&request.source_volume_ids, false),
            _ => return,
        };
        match operation.answer() {
            Some(Answer::Ok(Reply::CreateSnapshot(reply))) => {
                self.told.extend(reply.snapshot.iter().map(|one| one.snapshot_id.clone()));
            }
            Some(Answer::Ok(Reply::CreateVolumeGroupSnapshot(reply))) => {
                let members = reply.group_snapshot.iter().flat_map(|group| &group.snapshots);
                self.told.extend(members.map(|one| one.snapshot_id.clone()));
            }
            Some(Answer::Status(status)) if is_definite(Code::from(status.code)) => {
                for source in sources {
                    let creations = self.by_source.entry(source.clone()).or_default();
                    let refused = if single { &mut creations.single_refused } else { &mut creations.group_refused };
                    refused.get_or_insert(operation.ended);
                }
            }
            _ => {
                for source in sources {
                    self.by_source.entry(source.clone()).or_default().unsure = true;
                }
            }
        }
    }

    /// Judges what a list shows of volumes of which a snapshot was refused: nothing that no call was told of.
    fn refused(&self, operation: &Operation, listed: &ListSnapshotsResponse, source: &str, marks: &mut Vec<Mark>) {
        let Some(creations) = self.by_source.get(source).filter(|creations| !creations.unsure) else { return };
        let of_source = listed.entries.iter().filter_map(|entry| entry.snapshot.as_ref());
        let strays: Vec<&str> = of_source
            .filter(|one| one.source_volume_id == source && !self.told.contains(&one.snapshot_id))
            .map(|one| one.snapshot_id.as_str())
            .collect();
        let before = |refused: Option<usize>| refused.is_some_and(|at| at < operation.started);
        // Somebody else may have taken it meanwhile, unlikely as that is: so these only warn.
        for (rule, applies) in [
            (rule!("CTRL-SNAPLIST-004"), before(creations.single_refused)),
            (rule!("GROUP-CREATE-016"), before(creations.group_refused)),
        ] {
            if applies {
                advise(marks, rule, strays.is_empty(), || {
                    (
                        "a snapshot is listed that no call has made, after a creation of one failed".into(),
                        "nothing of what failed".into(),
                        format!("{strays:?} of {source:?}"),
                    )
                });
            }
        }
    }
}

impl Judge {
    /// Judges a list of snapshots by what is going on, has failed, or belongs to groups.
    pub(super) fn strays(&self, operation: &Operation, answer: Answer<'_>) -> Vec<Mark> {
        let mut marks = Vec::new();
        let Request::ListSnapshots(request) = operation.request() else { return marks };
        let Answer::Ok(Reply::ListSnapshots(reply)) = answer else { return marks };
        self.uncut(operation, request, reply, &mut marks);
        self.members(operation, request, reply, &mut marks);
        if request.starting_token.is_empty() && reply.next_token.is_empty() && !self.is_cutting(request) {
            let source = Some(&request.source_volume_id).filter(|source| !source.is_empty());
            let sources: Vec<&String> = match source {
                Some(source) => vec![source],
                None if request.snapshot_id.is_empty() => self.strays.by_source.keys().collect(),
                None => Vec::new(),
            };
            // What there was before the history is nobody's leftover.
            let is_own = |source: &&String| matches!(self.names.volume(source, operation.started), Key::Name(_));
            let is_whole = source.is_none() && request.snapshot_id.is_empty();
            sources
                .into_iter()
                .filter(is_own)
                .for_each(|source| self.strays.refused(operation, reply, source, &mut marks));
            if is_whole {
                marks.extend((0..self.strays.gone_single).map(|_| Mark::Held(rule!("CTRL-SNAPLIST-004"))));
                marks.extend((0..self.strays.gone_group).map(|_| Mark::Held(rule!("GROUP-CREATE-016"))));
            }
        }
        marks
    }

    /// Whether a creation that the list could show is under way.
    fn is_cutting(&self, request: &ListSnapshotsRequest) -> bool {
        let wanted = |source: &String| request.source_volume_id.is_empty() || *source == request.source_volume_id;
        self.in_flight.iter().filter_map(|&call| self.world.operations.get(call)).any(|one| match one.request() {
            Request::CreateSnapshot(create) => wanted(&create.source_volume_id),
            Request::CreateVolumeGroupSnapshot(create) => create.source_volume_ids.iter().any(wanted),
            _ => false,
        })
    }

    /// While a snapshot is being created it is listed only once it is cut (specification line 2086).
    fn uncut(
        &self,
        operation: &Operation,
        request: &ListSnapshotsRequest,
        reply: &ListSnapshotsResponse,
        marks: &mut Vec<Mark>,
    ) {
        if !self.is_cutting(request) {
            return;
        }
        let is_under_way = |one: &&Snapshot| {
            let key = self.names.snapshot(&one.snapshot_id, operation.started);
            self.snapshots.get(&key).is_some_and(|object| !object.open.is_empty())
        };
        let listed = reply.entries.iter().filter_map(|entry| entry.snapshot.as_ref()).filter(is_under_way);
        let uncut: Vec<&str> = listed
            .filter(|one| one.creation_time.is_none_or(|time| time.seconds <= 0))
            .map(|one| one.snapshot_id.as_str())
            .collect();
        check(marks, rule!("CTRL-SNAPLIST-004"), uncut.is_empty(), || {
            (
                "a snapshot is listed before it is cut".into(),
                "a creation_time in each entry".into(),
                format!("none in {uncut:?}"),
            )
        });
    }

    /// Members of groups are snapshots that CreateSnapshot did not make; they are listed too (specification line 2085).
    fn members(
        &self,
        operation: &Operation,
        request: &ListSnapshotsRequest,
        reply: &ListSnapshotsResponse,
        marks: &mut Vec<Mark>,
    ) {
        let deleting = |one: &super::operation::Operation| matches!(one.request(), Request::DeleteSnapshot(_));
        let whole = request.starting_token.is_empty()
            && reply.next_token.is_empty()
            && request.source_volume_id.is_empty()
            && !self.in_flight.iter().filter_map(|&call| self.world.operations.get(call)).any(deleting);
        if !whole {
            return;
        }
        let alive = self
            .groups
            .values()
            .filter(|object| object.is_quiet_since(operation))
            .filter(|object| object.certainly(|state| state.existence == Existence::Present && !state.lenient));
        let members = alive.filter_map(|object| object.worlds.states().next()?.members.as_ref()).flatten();
        let wanted = |id: &&String| request.snapshot_id.is_empty() || **id == request.snapshot_id;
        let members: Vec<&String> = members.filter(wanted).collect();
        if members.is_empty() {
            return;
        }
        let listed: BTreeSet<&str> =
            reply.entries.iter().filter_map(|entry| Some(entry.snapshot.as_ref()?.snapshot_id.as_str())).collect();
        let missing: Vec<&&String> = members.iter().filter(|id| !listed.contains(id.as_str())).collect();
        check(marks, rule!("CTRL-SNAPLIST-003"), missing.is_empty(), || {
            (
                "members of a group are not listed".into(),
                "snapshots however they came about".into(),
                format!("without {missing:?}"),
            )
        });
    }
}
