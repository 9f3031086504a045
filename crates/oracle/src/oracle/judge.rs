//! Walks through a history and enters into the ledger what each event shows.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    Judgement,
    around::{certain_snapshots, certain_volumes},
    capacity::{self, Capacities},
    content::Contents,
    denied::Denied,
    excess::Excess,
    flags,
    group::Group,
    knowledge::Knowledge,
    ledger::{Ledger, Place},
    leftovers::Leftovers,
    lists::Lists,
    metadata::Metadata,
    names::{Key, Names},
    objects::{Objects, Settled, Subject as _},
    operation::{Operation, Operations},
    persistence::Persistence,
    plugin, replies,
    ripening::Ripening,
    room::Rooms,
    rounding::Rounding,
    ruling::{Answer, Mark, Strike, check},
    shared_secrets::SharedSecrets,
    snapshot::Snapshot,
    start::Starts,
    statuses,
    strays::Strays,
    topology,
    usage::Usage,
    volume::{self, Volume},
    whereabouts::Whereabouts,
    world::World,
    written::Written,
};
use crate::{
    history::{Call, CallId, EventKind, Fault, History, Outcome, Reply, Request},
    rule,
    spec::Rpc,
};

/// Judges a history: every rule that can be observed, and what was broken.
///
/// The verdict is a function of the history alone.
pub fn judge(history: &History) -> Judgement {
    let operations = Operations::of(history);
    let knowledge = Knowledge::gather(&operations);
    let names = Names::of(&operations);
    let answered =
        operations.in_order().iter().filter(|operation| operation.answer().is_some()).map(Operation::rpc).collect();
    let excess = Excess::of(&operations);
    let recorded = history.header.recording.is_some();
    let mut judge = Judge {
        world: World { knowledge, operations, excess, surroundings: BTreeMap::new() },
        names,
        volumes: Objects::new(recorded),
        snapshots: Objects::new(recorded),
        groups: Objects::new(recorded),
        told_groups: BTreeMap::new(),
        metadata: Metadata::default(),
        recorded,
        places: BTreeMap::new(),
        ledger: Ledger::default(),
        lists: Lists::default(),
        contents: Contents::default(),
        course: plugin::Course::default(),
        persistence: Persistence::default(),
        keys: topology::Keys::default(),
        rpcs: BTreeMap::new(),
        answered,
        cuts: cuts(history),
        restarted: None,
        restartable: history.header.restartable,
        in_flight: BTreeSet::new(),
        inconclusive: BTreeSet::new(),
        strays: Strays::default(),
        starts: Starts::default(),
        capacities: Capacities::default(),
        ripening: Ripening::default(),
        written: Written::default(),
        shared_secrets: SharedSecrets::default(),
        rooms: Rooms::default(),
        denied: Denied::default(),
        leftovers: Leftovers::default(),
        rounding: Rounding::default(),
        usage: Usage::default(),
        whereabouts: Whereabouts::default(),
    };
    for (position, event) in history.events.iter().enumerate() {
        judge.event(position, &event.kind);
    }
    judge.close(history)
}

/// A while in which an instance had no connection: from one event to another.
struct Cut {
    instance: String,
    from: usize,
    until: usize,
}

/// When connections were cut: a process that is ended on purpose answers nothing until another is there.
fn cuts(history: &History) -> Vec<Cut> {
    let mut cuts: Vec<Cut> = Vec::new();
    for (at, event) in history.events.iter().enumerate() {
        let EventKind::Fault(fault) = &event.kind else { continue };
        match fault {
            Fault::Killed { instance, .. } => {
                cuts.push(Cut { instance: instance.clone(), from: at, until: usize::MAX });
            }
            Fault::Crashed { instance, .. } | Fault::Disconnected { instance } => {
                cuts.push(Cut { instance: instance.clone(), from: at, until: at });
            }
            Fault::Restarted { instance } => {
                let down = cuts.iter_mut().rev().find(|cut| cut.instance == *instance);
                down.into_iter().for_each(|cut| cut.until = at);
            }
        }
    }
    cuts
}

pub(super) struct Judge<'h> {
    pub(super) world: World<'h>,
    pub(super) names: Names,
    pub(super) volumes: Objects<Volume>,
    pub(super) snapshots: Objects<Snapshot>,
    pub(super) groups: Objects<Group>,
    /// The group that each member was last shown with.
    pub(super) told_groups: BTreeMap<String, String>,
    metadata: Metadata,
    /// Which volumes were asked for at a path of a node, the last one last.
    pub(super) places: BTreeMap<volume::Place, Vec<Key>>,
    pub(super) ledger: Ledger,
    pub(super) lists: Lists,
    pub(super) contents: Contents,
    course: plugin::Course,
    persistence: Persistence,
    keys: topology::Keys,
    rpcs: BTreeMap<Rpc, u64>,
    answered: BTreeSet<Rpc>,
    cuts: Vec<Cut>,
    /// The position of the last restart.
    pub(super) restarted: Option<usize>,
    /// Whether the driver is meant to survive a restart.
    restartable: bool,
    /// Whether others caused the traffic, and may have restarted the driver unseen.
    recorded: bool,
    pub(super) in_flight: BTreeSet<CallId>,
    inconclusive: BTreeSet<String>,
    pub(super) strays: Strays,
    pub(super) starts: Starts,
    capacities: Capacities,
    ripening: Ripening,
    pub(super) written: Written,
    shared_secrets: SharedSecrets,
    pub(super) rooms: Rooms,
    pub(super) denied: Denied,
    pub(super) leftovers: Leftovers,
    rounding: Rounding,
    usage: Usage,
    pub(super) whereabouts: Whereabouts,
}

impl<'h> Judge<'h> {
    fn event(&mut self, position: usize, kind: &'h EventKind) {
        match kind {
            EventKind::Call(call) => self.start(call),
            EventKind::Return { call, .. } => {
                if let Some(operation) = self.world.operations.get(*call).copied()
                    && operation.ended == position
                {
                    self.finish(operation);
                }
            }
            EventKind::Observed(observation) => {
                self.note_written(position, observation);
                self.observe(observation);
            }
            EventKind::Fault(fault) => self.fault(position, fault),
            EventKind::Scenario { .. } => {}
        }
    }

    fn start(&mut self, call: &'h Call) {
        let Some(operation) = self.world.operations.get(call.id).copied() else { return };
        *self.rpcs.entry(operation.rpc()).or_default() += 1;
        self.in_flight.insert(call.id);
        let surroundings = self.surroundings(&operation);
        self.world.surroundings.insert(call.id, surroundings);
        self.contents.start(&operation);
        self.remember_place(&operation);
        self.volumes.start(&self.names, &operation);
        self.snapshots.start(&self.names, &operation);
        self.groups.start(&self.names, &operation);
        match operation.rpc() {
            Rpc::ListVolumes => self.lists.start(&operation, certain_volumes(&self.volumes, &self.names)),
            Rpc::ListSnapshots => {
                self.lists.start(&operation, certain_snapshots(&self.snapshots, &self.volumes, &self.names, &operation))
            }
            _ => {}
        }
    }

    fn remember_place(&mut self, operation: &Operation<'_>) {
        let Some(key) = Volume::key(&self.names, operation) else { return };
        let path = match operation.request() {
            Request::NodeStageVolume(request) => &request.staging_target_path,
            Request::NodePublishVolume(request) => &request.target_path,
            _ => return,
        };
        let asked = self.places.entry((operation.call.node.clone(), path.clone())).or_default();
        asked.retain(|other| *other != key);
        asked.push(key);
    }

    fn finish(&mut self, operation: Operation<'h>) {
        let id = operation.call.id;
        self.in_flight.remove(&id);
        self.strays.note(&operation);
        let Some(outcome) = operation.outcome else { return };
        self.note_leftovers(&operation, operation.answer());
        let place = self.place(&operation);
        let Some(answer) = operation.answer() else {
            let cut = self.recorded
                || self.cuts.iter().any(|cut| {
                    cut.instance == operation.call.instance
                        && cut.until > operation.started
                        && cut.from < operation.ended.saturating_add(64)
                });
            let ever = self.answered.contains(&operation.rpc());
            let marks = statuses::unanswered(&operation, outcome, cut, ever);
            self.ledger.enter(marks, &place);
            self.volumes.lose(&self.world, &self.names, &operation);
            self.snapshots.lose(&self.world, &self.names, &operation);
            self.groups.lose(&self.world, &self.names, &operation);
            self.lose_member(&operation);
            self.written.lose(&self.names, &operation);
            self.capacities.lose(&operation);
            return;
        };
        let mut marks = match answer {
            Answer::Ok(reply) => replies::marks(&self.world, operation.request(), reply),
            Answer::Status(status) => statuses::marks(&self.world, &operation, status),
        };
        if let (Answer::Ok(_), Outcome::Reply { leaked, .. }) = (answer, outcome) {
            self.leaked(&operation, leaked, &mut marks);
            marks.extend([rule!("GEN-OVER-001"), rule!("PROTO-CONN-004"), rule!("PROTO-CONN-008")].map(Mark::Held));
        }
        marks.extend(plugin::marks(&self.world, &operation, answer));
        self.course.note(&operation, answer);
        let alone = self.volumes.of(&self.names, &operation).is_none_or(|it| it.is_alone(&operation))
            && self.snapshots.of(&self.names, &operation).is_none_or(|it| it.is_alone(&operation))
            && self.groups.of(&self.names, &operation).is_none_or(|it| it.is_alone(&operation));
        self.ledger.enter(marks, &place);
        self.refresh(&operation);
        let promised = self.promises(&operation);
        self.note_denied(&operation, answer, &place);
        let marks = self.aftermath(&operation, answer);
        self.ledger.enter(marks, &place);
        self.ledger.enter(self.volumes.told(&self.names, &operation, answer), &place);
        let settled = self.volumes.finish(&self.world, &self.names, &operation, answer);
        self.enter(Self::redeem(&promised, answer, settled), &place);
        self.ledger.enter(self.snapshots.told(&self.names, &operation, answer), &place);
        let settled = self.snapshots.finish(&self.world, &self.names, &operation, answer);
        self.enter(Self::redeem(&promised, answer, settled), &place);
        self.finish_groups(&operation, answer, &place);
        let mut marks = self.metadata.marks(&self.world, &operation, answer);
        // What was lost may still be under way.
        let busy = self.volumes.of(&self.names, &operation).is_some_and(|it| it.worlds.is_busy())
            || self.snapshots.of(&self.names, &operation).is_some_and(|it| it.worlds.is_busy())
            || self.groups.of(&self.names, &operation).is_some_and(|it| it.worlds.is_busy());
        marks.extend(self.persistence.note(&operation, answer, alone && !busy));
        marks.extend(self.usage.marks(&operation, answer, alone && !busy));
        self.ledger.enter(marks, &place);
        self.whole_lists(&operation, answer, &place);
        if let Answer::Ok(reply) = answer {
            self.topologies(reply);
            self.contents.succeeded(&operation, reply);
        }
    }

    /// What calls show together with those before them, beside the states of single objects.
    fn aftermath(&mut self, operation: &Operation<'h>, answer: Answer<'_>) -> Vec<Mark> {
        let others = self.in_flight.iter().filter_map(|call| self.world.operations.get(*call));
        let no_other_takes_room = !others.into_iter().any(capacity::takes_room);
        let mut marks = self.unmodified(operation, answer);
        marks.extend(self.room(operation, answer));
        marks.extend(self.strays(operation, answer));
        marks.extend(self.starts.marks(operation, answer));
        self.shared_secrets.note(operation, answer);
        marks.extend(self.rounding.marks(operation, answer));
        marks.extend(self.capacities.marks(&self.world, operation, answer, no_other_takes_room));
        marks.extend(self.ripening.marks(operation, answer));
        marks.extend(self.written.marks(&self.names, operation, answer));
        marks.extend(flags::marks(operation, answer));
        marks
    }

    pub(super) fn enter(&mut self, settled: Option<Settled>, place: &Place) {
        match settled {
            Some(Settled::Explained(marks)) => self.ledger.enter(marks, place),
            Some(Settled::Impossible(strike, others)) => self.ledger.convict(strike, others, place),
            Some(Settled::Inconclusive(what)) => {
                self.inconclusive.insert(what);
            }
            None => {}
        }
    }

    fn leaked(&self, operation: &Operation<'_>, leaked: &[String], marks: &mut Vec<Mark>) {
        statuses::leaks(leaked, "the reply", marks);
        let kept = leaked.is_empty();
        let rule = match operation.rpc() {
            Rpc::CreateVolume => rule!("CTRL-CREATE-094"),
            Rpc::ControllerPublishVolume => rule!("CTRL-PUBLISH-024"),
            _ => return,
        };
        check(marks, rule, kept, || {
            ("a context holds a secret".into(), "no secret".into(), format!("the values of {}", leaked.join(", ")))
        });
    }

    fn topologies(&mut self, reply: &Reply) {
        match reply {
            Reply::NodeGetInfo(info) => {
                info.accessible_topology.iter().for_each(|topology| self.keys.learn(&topology.segments));
            }
            Reply::CreateVolume(reply) => reply
                .volume
                .iter()
                .flat_map(|volume| &volume.accessible_topology)
                .for_each(|topology| self.keys.learn(&topology.segments)),
            _ => {}
        }
    }

    fn fault(&mut self, position: usize, fault: &Fault) {
        match fault {
            Fault::Killed { instance, .. } => self.ended(instance),
            Fault::Crashed { instance, exit } => {
                let calls: Vec<CallId> = self
                    .in_flight
                    .iter()
                    .copied()
                    .filter(|call| self.world.operations.get(*call).is_some_and(|one| one.call.instance == *instance))
                    .collect();
                let during: Vec<&str> = calls
                    .iter()
                    .filter_map(|call| self.world.operations.get(*call))
                    .map(|operation| operation.rpc().name())
                    .collect();
                let scenario = self.scenario_of(calls.last());
                let mut strike = Strike::new(
                    rule!("GEN-ERR-001"),
                    if during.is_empty() {
                        "the driver's process ended by itself".to_owned()
                    } else {
                        format!("the driver's process ended by itself during {}", during.join(", "))
                    },
                    "a long-running service that answers every call",
                    if exit.is_empty() { "no process answers any more" } else { exit.as_str() },
                );
                strike.also = vec![rule!("OPS-RUN-001")];
                self.ledger.convict(strike, Vec::new(), &Place { calls, scenario });
                self.ended(instance);
            }
            Fault::Restarted { instance } => {
                self.starts.restarted(instance);
                self.restarted = Some(position);
                self.course.restarted();
                self.persistence.restarted();
                if !self.restartable {
                    self.forget();
                }
            }
            Fault::Disconnected { .. } => {}
        }
    }

    /// The driver is known to lose what it holds when its process ends: nothing from before is held against it.
    fn forget(&mut self) {
        self.volumes.forget();
        self.snapshots.forget();
        self.groups.forget();
        self.places.clear();
        self.lists.forget();
    }

    /// The process is gone: what was open on it has happened by now, or never will.
    fn ended(&mut self, instance: &str) {
        self.volumes.end(&self.world, instance);
        self.snapshots.end(&self.world, instance);
        self.groups.end(&self.world, instance);
        // What was given up there is over.
        self.leftovers = Leftovers::default();
    }

    fn close(mut self, history: &History) -> Judgement {
        let marks: Vec<Mark> = self
            .course
            .marks(&self.world)
            .into_iter()
            .chain(self.keys.marks())
            .chain(self.shared_secrets.marks())
            .chain(self.ripening.close())
            .collect();
        self.ledger.enter(marks, &Place::default());
        let listed = std::mem::take(&mut self.lists).close();
        let denied = std::mem::take(&mut self.denied).close(self.world.has("Node.SINGLE_NODE_MULTI_WRITER"));
        let elsewhere = std::mem::take(&mut self.whereabouts).close();
        for (mark, place) in listed.into_iter().chain(denied).chain(elsewhere) {
            self.ledger.enter(vec![mark], &place);
        }
        let unix = |endpoint: &String| endpoint.starts_with("unix");
        if !history.header.endpoints.is_empty() && history.header.endpoints.iter().all(unix) {
            self.ledger.enter(vec![Mark::Held(rule!("PROTO-SEC-002"))], &Place::default());
        }
        let driver = self.world.knowledge.driver.clone();
        let (rules, findings) = self.ledger.close(&driver.capabilities, history.header.node_fs);
        Judgement { driver, rules, findings, inconclusive: self.inconclusive.into_iter().collect(), rpcs: self.rpcs }
    }

    fn place(&self, operation: &Operation<'_>) -> Place {
        let id = operation.call.id;
        let volume = self.volumes.of(&self.names, operation).map(|object| object.evidence(id));
        let calls = volume.or_else(|| Some(self.snapshots.of(&self.names, operation)?.evidence(id)));
        let calls = calls.or_else(|| Some(self.groups.of(&self.names, operation)?.evidence(id)));
        let calls = calls.unwrap_or_else(|| vec![id]);
        Place { calls, scenario: operation.call.scenario.clone() }
    }

    pub(super) fn scenario_of(&self, call: Option<&CallId>) -> String {
        call.and_then(|call| self.world.operations.get(*call))
            .map_or_else(String::new, |operation| operation.call.scenario.clone())
    }
}
