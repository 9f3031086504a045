//! Walks through a history and enters into the ledger what each event shows.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    Judgement,
    around::{certain_snapshots, certain_volumes},
    capacity::{self, Capacities},
    content::Contents,
    cuts::Cuts,
    denied::Denied,
    flags,
    group::Group,
    ledger::{Ledger, Place},
    leftovers::Leftovers,
    lists::Lists,
    mentions::Mentions,
    metadata::Metadata,
    names::{Key, Names},
    objects::{Objects, Settled, Subject as _},
    operation::Operation,
    operations::Operations,
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
    survey::Gathered,
    topology,
    usage::Usage,
    volume::{self, Volume},
    whereabouts::Whereabouts,
    world::World,
    written::Written,
};
use crate::{
    history::{CallId, Fault, Header, Observation, Outcome, Reply, Request},
    rule,
    spec::Rpc,
};

/// What is known of the driver while its history is gone through.
pub(super) struct Judge {
    pub(super) world: World,
    pub(super) names: Names,
    pub(super) mentions: Mentions,
    pub(super) volumes: Objects<Volume>,
    pub(super) snapshots: Objects<Snapshot>,
    pub(super) groups: Objects<Group>,
    /// The group that each member was last shown with.
    pub(super) told_groups: BTreeMap<String, String>,
    pub(super) metadata: Metadata,
    /// Which volumes were asked for at a path of a node, the last one last.
    pub(super) places: BTreeMap<volume::Place, Vec<Key>>,
    pub(super) ledger: Ledger,
    pub(super) lists: Lists,
    pub(super) contents: Contents,
    course: plugin::Course,
    pub(super) persistence: Persistence,
    keys: topology::Keys,
    rpcs: BTreeMap<Rpc, u64>,
    answered: BTreeSet<Rpc>,
    pub(super) cuts: Cuts,
    /// The position of the last restart.
    pub(super) restarted: Option<usize>,
    header: Header,
    /// Whether others caused the traffic, and may have restarted the driver unseen.
    recorded: bool,
    pub(super) in_flight: BTreeSet<CallId>,
    inconclusive: BTreeSet<String>,
    pub(super) strays: Strays,
    pub(super) starts: Starts,
    capacities: Capacities,
    pub(super) ripening: Ripening,
    pub(super) written: Written,
    shared_secrets: SharedSecrets,
    pub(super) rooms: Rooms,
    pub(super) denied: Denied,
    pub(super) leftovers: Leftovers,
    pub(super) rounding: Rounding,
    pub(super) usage: Usage,
    pub(super) whereabouts: Whereabouts,
}

impl Judge {
    /// Nothing has happened yet; the first pass has gathered what will be told.
    pub(super) fn new(header: &Header, gathered: Gathered) -> Self {
        let recorded = header.recording.is_some();
        let Gathered { knowledge, excess, answered, cuts, foresight, mentions, .. } = gathered;
        Self {
            world: World { knowledge, operations: Operations::default(), excess, surroundings: BTreeMap::new() },
            names: Names::new(foresight),
            mentions,
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
            cuts,
            restarted: None,
            header: header.clone(),
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
        }
    }

    /// Somebody looked at the world beside the RPCs.
    pub(super) fn observed(&mut self, position: usize, observation: &Observation) {
        self.note_written(position, observation);
        self.observe(observation);
    }

    /// A call starts.
    pub(super) fn start(&mut self, operation: &Operation) {
        *self.rpcs.entry(operation.rpc()).or_default() += 1;
        self.in_flight.insert(operation.call.id);
        let surroundings = self.surroundings(operation);
        self.world.surroundings.insert(operation.call.id, surroundings);
        self.contents.start(operation);
        self.remember_place(operation);
        self.volumes.start(&self.names, operation);
        self.snapshots.start(&self.names, operation);
        self.groups.start(&self.names, operation);
        match operation.rpc() {
            Rpc::ListVolumes => self.lists.start(operation, certain_volumes(&self.volumes, &self.names)),
            Rpc::ListSnapshots => {
                self.lists.start(operation, certain_snapshots(&self.snapshots, &self.volumes, &self.names, operation))
            }
            _ => {}
        }
    }

    fn remember_place(&mut self, operation: &Operation) {
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

    /// A call ends.
    pub(super) fn finish(&mut self, operation: &Operation) {
        self.in_flight.remove(&operation.call.id);
        let open = self.in_flight.iter().filter_map(|&call| self.world.operations.get(call));
        self.names.note(operation, open);
        self.strays.note(operation);
        let Some(outcome) = &operation.outcome else { return };
        self.note_leftovers(operation, operation.answer());
        let place = self.place(operation);
        let Some(answer) = operation.answer() else {
            let cut = self.recorded || self.cuts.cover(operation);
            let ever = self.answered.contains(&operation.rpc());
            let marks = statuses::unanswered(operation, outcome, cut, ever);
            self.ledger.enter(marks, &place);
            self.volumes.lose(&self.world, &self.names, operation);
            self.snapshots.lose(&self.world, &self.names, operation);
            self.groups.lose(&self.world, &self.names, operation);
            self.lose_member(operation);
            self.written.lose(&self.names, operation);
            self.capacities.lose(operation);
            return;
        };
        let mut marks = match answer {
            Answer::Ok(reply) => replies::marks(&self.world, operation.request(), reply),
            Answer::Status(status) => statuses::marks(&self.world, operation, status),
        };
        if let (Answer::Ok(_), Outcome::Reply { leaked, .. }) = (answer, outcome) {
            self.leaked(operation, leaked, &mut marks);
            marks.extend([rule!("GEN-OVER-001"), rule!("PROTO-CONN-004"), rule!("PROTO-CONN-008")].map(Mark::Held));
        }
        marks.extend(plugin::marks(&self.world, operation, answer));
        self.course.note(operation, answer);
        let alone = self.volumes.of(&self.names, operation).is_none_or(|it| it.is_alone(operation))
            && self.snapshots.of(&self.names, operation).is_none_or(|it| it.is_alone(operation))
            && self.groups.of(&self.names, operation).is_none_or(|it| it.is_alone(operation));
        self.ledger.enter(marks, &place);
        self.refresh(operation);
        let promised = self.promises(operation);
        self.note_denied(operation, answer, &place);
        let marks = self.aftermath(operation, answer);
        self.ledger.enter(marks, &place);
        self.ledger.enter(self.volumes.told(&self.names, operation, answer), &place);
        let settled = self.volumes.finish(&self.world, &self.names, operation, answer);
        self.enter(Self::redeem(&promised, answer, settled), &place);
        self.ledger.enter(self.snapshots.told(&self.names, operation, answer), &place);
        let settled = self.snapshots.finish(&self.world, &self.names, operation, answer);
        self.enter(Self::redeem(&promised, answer, settled), &place);
        self.finish_groups(operation, answer, &place);
        let mut marks = self.metadata.marks(&self.world, operation, answer);
        // What was lost may still be under way.
        let busy = self.volumes.of(&self.names, operation).is_some_and(|it| it.worlds.is_busy())
            || self.snapshots.of(&self.names, operation).is_some_and(|it| it.worlds.is_busy())
            || self.groups.of(&self.names, operation).is_some_and(|it| it.worlds.is_busy());
        marks.extend(self.persistence.note(operation, answer, alone && !busy));
        marks.extend(self.usage.marks(operation, answer, alone && !busy));
        self.ledger.enter(marks, &place);
        self.whole_lists(operation, answer, &place);
        if let Answer::Ok(reply) = answer {
            self.topologies(reply);
            self.contents.succeeded(operation, reply);
        }
    }

    /// What calls show together with those before them, beside the states of single objects.
    fn aftermath(&mut self, operation: &Operation, answer: Answer<'_>) -> Vec<Mark> {
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

    fn leaked(&self, operation: &Operation, leaked: &[String], marks: &mut Vec<Mark>) {
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

    /// Something was done to the driver.
    pub(super) fn fault(&mut self, position: usize, fault: &Fault) {
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
                if !self.header.restartable {
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

    /// The history ends.
    pub(super) fn close(mut self) -> Judgement {
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
        if !self.header.endpoints.is_empty() && self.header.endpoints.iter().all(unix) {
            self.ledger.enter(vec![Mark::Held(rule!("PROTO-SEC-002"))], &Place::default());
        }
        let driver = self.world.knowledge.driver.clone();
        let (rules, findings) = self.ledger.close(&driver.capabilities, self.header.node_fs);
        Judgement { driver, rules, findings, inconclusive: self.inconclusive.into_iter().collect(), rpcs: self.rpcs }
    }

    fn place(&self, operation: &Operation) -> Place {
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
