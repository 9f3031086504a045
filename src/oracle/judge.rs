//! Walks through a history and enters into the ledger what each event shows.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    Judgement,
    around::{certain_snapshots, certain_volumes},
    configurations::{Applied, Calls, Verdict as Explanation, common},
    content::Contents,
    knowledge::Knowledge,
    ledger::{Ledger, Place},
    lists::{self, Lists},
    objects::{Key, Names, Object, Objects},
    operation::{Operation, Operations},
    overlap, plugin, replies,
    ruling::{Answer, Mark, Strike, check},
    snapshot::{self, Snapshot},
    statuses, topology,
    volume::{self, Existence, Volume},
    world::World,
};
use crate::{
    history::{Call, CallId, EventKind, Fault, History, Observation, Outcome, Reply, Request},
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
    let mut judge = Judge {
        world: World { knowledge, operations, surroundings: BTreeMap::new() },
        names,
        volumes: Objects::new(),
        snapshots: Objects::new(),
        places: BTreeMap::new(),
        ledger: Ledger::default(),
        lists: Lists::default(),
        contents: Contents::default(),
        course: plugin::Course::default(),
        keys: topology::Keys::default(),
        rpcs: BTreeMap::new(),
        answered,
        cuts: cuts(history),
        restarted: None,
        restartable: history.header.restartable,
        in_flight: BTreeSet::new(),
        inconclusive: BTreeSet::new(),
    };
    for (position, event) in history.events.iter().enumerate() {
        judge.event(position, &event.kind);
    }
    judge.close(history)
}

/// Moments at which a connection was cut or a process ended, by instance.
fn cuts(history: &History) -> Vec<(usize, String)> {
    let instance = |kind: &EventKind| match kind {
        EventKind::Fault(
            Fault::Killed { instance, .. } | Fault::Crashed { instance, .. } | Fault::Disconnected { instance },
        ) => Some(instance.clone()),
        _ => None,
    };
    history.events.iter().enumerate().filter_map(|(at, event)| Some((at, instance(&event.kind)?))).collect()
}

pub(super) struct Judge<'h> {
    pub(super) world: World<'h>,
    pub(super) names: Names,
    pub(super) volumes: Objects<Volume>,
    pub(super) snapshots: Objects<Snapshot>,
    /// Which volume was last asked for at a path of a node.
    places: BTreeMap<(String, String), Key>,
    ledger: Ledger,
    lists: Lists,
    contents: Contents,
    course: plugin::Course,
    keys: topology::Keys,
    rpcs: BTreeMap<Rpc, u64>,
    answered: BTreeSet<Rpc>,
    cuts: Vec<(usize, String)>,
    /// The position of the last restart.
    restarted: Option<usize>,
    /// Whether the driver is meant to survive a restart.
    restartable: bool,
    in_flight: BTreeSet<CallId>,
    inconclusive: BTreeSet<String>,
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
            EventKind::Observed(observation) => self.observe(observation),
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
        if let Some(key) = self.names.volume_of(&operation) {
            self.remember_place(&operation, &key);
            let invented = matches!(&key, Key::Id(id) if operation.invented(id));
            let object = self.volumes.entry(key.clone()).or_insert_with(|| {
                Object::new(match key {
                    Key::Id(_) if !invented => Volume::foreign(),
                    _ => Volume::absent(),
                })
            });
            object.start(call.id);
        }
        if let Some(key) = self.names.snapshot_of(&operation) {
            let invented = matches!(&key, Key::Id(id) if operation.invented(id));
            let object = self.snapshots.entry(key.clone()).or_insert_with(|| {
                Object::new(match key {
                    Key::Id(_) if !invented => Snapshot::foreign(),
                    _ => Snapshot::absent(),
                })
            });
            object.start(call.id);
        }
        match operation.rpc() {
            Rpc::ListVolumes => self.lists.start(&operation, certain_volumes(&self.volumes, &self.names)),
            Rpc::ListSnapshots => {
                self.lists.start(&operation, certain_snapshots(&self.snapshots, &self.names, &operation))
            }
            _ => {}
        }
    }

    fn remember_place(&mut self, operation: &Operation<'_>, key: &Key) {
        let path = match operation.request() {
            Request::NodeStageVolume(request) => &request.staging_target_path,
            Request::NodePublishVolume(request) => &request.target_path,
            _ => return,
        };
        self.places.insert((operation.call.node.clone(), path.clone()), key.clone());
    }

    fn finish(&mut self, operation: Operation<'h>) {
        let id = operation.call.id;
        self.in_flight.remove(&id);
        let Some(outcome) = operation.outcome else { return };
        let place = self.place(&operation);
        let Some(answer) = operation.answer() else {
            let cut = self.cuts.iter().any(|(at, instance)| {
                *instance == operation.call.instance
                    && *at > operation.started
                    && *at < operation.ended.saturating_add(64)
            });
            let ever = self.answered.contains(&operation.rpc());
            let marks = statuses::unanswered(&operation, outcome, cut, ever);
            self.ledger.enter(marks, &place);
            self.lose(&operation);
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
        self.ledger.enter(marks, &place);
        self.objects(&operation, answer, &place);
        self.whole_lists(&operation, answer, &place);
        if let Answer::Ok(reply) = answer {
            self.topologies(reply);
            self.contents.succeeded(&operation, reply);
            self.after_restart(&operation, &place);
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

    /// Judges the call on the volume and snapshot that it is about.
    fn objects(&mut self, operation: &Operation<'h>, answer: Answer<'_>, place: &Place) {
        let id = operation.call.id;
        if let Some(key) = self.names.volume_of(operation) {
            self.refresh(&self.open_on_volume(&key));
            self.unique_volume(answer, &key, place);
            if let Some(object) = self.volumes.get_mut(&key) {
                let world = &self.world;
                let overlapped = object.open.iter().any(|&other| other != id);
                let explanation = object.worlds.finish(id, &OnVolume(world));
                object.open.retain(|&open| open != id);
                object.settled = operation.ended;
                self.settle_volume(&key, operation, answer, explanation, overlapped, place);
            }
        }
        if let Some(key) = self.names.snapshot_of(operation) {
            self.unique_snapshot(answer, &key, place);
            let open = self.snapshots.get(&key).map(|object| object.open.clone()).unwrap_or_default();
            self.refresh(&open);
            if let Some(object) = self.snapshots.get_mut(&key) {
                let world = &self.world;
                let overlapped = object.open.iter().any(|&other| other != id);
                let explanation = object.worlds.finish(id, &OnSnapshot(world));
                object.open.retain(|&open| open != id);
                object.settled = operation.ended;
                self.settle_snapshot(&key, operation, answer, explanation, overlapped, place);
            }
        }
    }

    fn settle_volume(
        &mut self,
        key: &Key,
        operation: &Operation<'_>,
        answer: Answer<'_>,
        explanation: Explanation,
        overlapped: bool,
        place: &Place,
    ) {
        match explanation {
            Explanation::Explained(mut marks) => {
                if overlapped {
                    overlap::marks(operation, answer, &mut marks);
                }
                self.ledger.enter(marks, place);
            }
            Explanation::Impossible(strike, others) => {
                self.ledger.convict(strike, others, place);
                if let Some(object) = self.volumes.get_mut(key) {
                    let confused =
                        Volume { foreign: true, lenient: true, ..after_conviction(object, operation, answer) };
                    object.worlds.rebuild(confused, Some(operation.call.id));
                }
            }
            Explanation::Inconclusive => {
                self.inconclusive.insert(format!("volume {key:?}: too many calls at once or lost to follow"));
            }
        }
    }

    fn settle_snapshot(
        &mut self,
        key: &Key,
        operation: &Operation<'_>,
        answer: Answer<'_>,
        explanation: Explanation,
        overlapped: bool,
        place: &Place,
    ) {
        match explanation {
            Explanation::Explained(mut marks) => {
                if overlapped {
                    overlap::marks(operation, answer, &mut marks);
                }
                self.ledger.enter(marks, place);
            }
            Explanation::Impossible(strike, others) => {
                self.ledger.convict(strike, others, place);
                if let Some(object) = self.snapshots.get_mut(key) {
                    let id = match (operation.request(), answer) {
                        (_, Answer::Ok(Reply::CreateSnapshot(reply))) => {
                            reply.snapshot.as_ref().map(|snapshot| snapshot.snapshot_id.clone())
                        }
                        _ => None,
                    };
                    object.worlds.rebuild(Snapshot { id, ..Snapshot::foreign() }, Some(operation.call.id));
                }
            }
            Explanation::Inconclusive => {
                self.inconclusive.insert(format!("snapshot {key:?}: too many calls at once or lost to follow"));
            }
        }
    }

    /// An id that a create gives belongs to no other volume that exists (specification line 1031).
    fn unique_volume(&mut self, answer: Answer<'_>, key: &Key, place: &Place) {
        let (rule, id) = match answer {
            Answer::Ok(Reply::CreateVolume(reply)) => match &reply.volume {
                Some(volume) => (rule!("CTRL-CREATE-087"), volume.volume_id.clone()),
                None => return,
            },
            _ => return,
        };
        let taken = self
            .volumes
            .iter()
            .find(|(other, object)| {
                *other != key
                    && object.certainly(|state| state.existence_of(&id) == Existence::Present && state.id.is_some())
            })
            .map(|(other, _)| other.clone());
        let mut marks = Vec::new();
        check(&mut marks, rule, taken.is_none(), || {
            (
                "two volumes have one id".into(),
                "an id of its own for each volume".into(),
                format!("volume_id {id:?} for {key} although {} has it", taken.as_ref().unwrap_or(key)),
            )
        });
        self.ledger.enter(marks, place);
        // Whatever is done to that id from now on may be done to either.
        if let Some(object) = taken.and_then(|taken| self.volumes.get_mut(&taken)) {
            object.worlds.rebuild(Volume::foreign(), None);
        }
    }

    /// An id that a cut gives belongs to no other snapshot that exists (specification line 1988).
    fn unique_snapshot(&mut self, answer: Answer<'_>, key: &Key, place: &Place) {
        let Answer::Ok(Reply::CreateSnapshot(reply)) = answer else { return };
        let Some(id) = reply.snapshot.as_ref().map(|snapshot| &snapshot.snapshot_id) else { return };
        let taken = self.snapshots.iter().find(|(other, object)| {
            *other != key
                && object.certainly(|state| state.existence_of(id) == Existence::Present && state.id.is_some())
        });
        let mut marks = Vec::new();
        check(&mut marks, rule!("CTRL-SNAPCREATE-034"), taken.is_none(), || {
            (
                "two snapshots have one id".into(),
                "an id of its own for each snapshot".into(),
                format!("snapshot_id {id:?} for {key:?}"),
            )
        });
        self.ledger.enter(marks, place);
    }

    fn whole_lists(&mut self, operation: &Operation<'h>, answer: Answer<'_>, place: &Place) {
        let mut marks = Vec::new();
        match (operation.request(), answer) {
            (Request::ListVolumes(_), _) => {
                let now = certain_volumes(&self.volumes, &self.names);
                marks.extend(self.lists.finish(&self.world, operation, answer, &now, place));
                if let Answer::Ok(Reply::ListVolumes(reply)) = answer {
                    lists::statuses(&self.world, reply, &mut marks);
                    for entry in &reply.entries {
                        let Some(listed) = &entry.volume else { continue };
                        let key = self.names.volume(&listed.volume_id, operation.started);
                        let Some(object) = self.volumes.get(&key) else { continue };
                        let published = entry.status.as_ref().map(|status| status.published_node_ids.as_slice());
                        if object.is_quiet_since(operation)
                            && object.certainly(|state| state.existence_of(&listed.volume_id) == Existence::Present)
                        {
                            let each = object.worlds.states().map(|state| {
                                let mut marks = Vec::new();
                                volume::description_marks(&self.world, state, listed, published, true, &mut marks);
                                marks
                            });
                            marks.extend(common(each));
                        }
                    }
                }
            }
            (Request::ListSnapshots(request), _) => {
                let now = certain_snapshots(&self.snapshots, &self.names, operation);
                marks.extend(self.lists.finish(&self.world, operation, answer, &now, place));
                if let Answer::Ok(Reply::ListSnapshots(reply)) = answer {
                    lists::filters(request, reply, &mut marks);
                    for listed in reply.entries.iter().filter_map(|entry| entry.snapshot.as_ref()) {
                        let key = self.names.snapshot(&listed.snapshot_id, operation.started);
                        let Some(object) = self.snapshots.get(&key) else { continue };
                        if object.is_quiet_since(operation)
                            && object.certainly(|state| {
                                state.existence_of(&listed.snapshot_id) == Existence::Present && !state.lenient
                            })
                        {
                            let each = object.worlds.states().map(|state| {
                                let mut marks = Vec::new();
                                snapshot::describe_again(state, listed, rule!("CTRL-INTERACT-012"), &mut marks);
                                if state.ready {
                                    marks.push(Mark::Held(rule!("CTRL-INTERACT-013")));
                                }
                                marks
                            });
                            marks.extend(common(each));
                        }
                    }
                }
            }
            (Request::GetCapacity(_), _) => marks.extend(lists::capacity(&self.world, operation, answer)),
            _ => {}
        }
        self.ledger.enter(marks, place);
    }

    /// What a client kept from before a restart is still good afterwards.
    fn after_restart(&mut self, operation: &Operation<'_>, place: &Place) {
        let Some(restarted) = self.restarted.filter(|at| *at < operation.started) else { return };
        let Some(object) = self.names.volume_of(operation).and_then(|key| self.volumes.get(&key)) else { return };
        let since = object.calls.first().and_then(|call| self.world.operations.get(*call));
        if since.is_none_or(|first| first.started >= restarted) {
            return;
        }
        let mut marks = Vec::new();
        match operation.request() {
            Request::ValidateVolumeCapabilities(_)
            | Request::ControllerPublishVolume(_)
            | Request::NodePublishVolume(_) => {
                marks.push(Mark::Held(rule!("CTRL-CREATE-093")));
            }
            _ => {}
        }
        if matches!(operation.request(), Request::NodeStageVolume(_) | Request::NodePublishVolume(_)) {
            marks.push(Mark::Held(rule!("CTRL-PUBLISH-023")));
        }
        self.ledger.enter(marks, place);
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

    fn lose(&mut self, operation: &Operation<'_>) {
        let id = operation.call.id;
        let over = matches!(operation.outcome, Some(Outcome::Lost(crate::history::Lost::Dropped)));
        let world = &self.world;
        if let Some(object) = self.names.volume_of(operation).and_then(|key| self.volumes.get_mut(&key)) {
            object.open.retain(|&open| open != id);
            object.worlds.lose(id);
            if over {
                object.worlds.end(&[id], &OnVolume(world));
            }
        }
        if let Some(object) = self.names.snapshot_of(operation).and_then(|key| self.snapshots.get_mut(&key)) {
            object.open.retain(|&open| open != id);
            object.worlds.lose(id);
            if over {
                object.worlds.end(&[id], &OnSnapshot(world));
            }
        }
    }

    fn observe(&mut self, observation: &'h Observation) {
        let scenario = String::new();
        let mut place = Place { calls: Vec::new(), scenario };
        let mut marks = self.contents.observe(observation);
        match observation {
            Observation::Path { node, path, kind, mounts } => {
                let at = (node.clone(), path.clone());
                if let Some(key) = self.places.get(&at).cloned()
                    && let Some(object) = self.volumes.get_mut(&key)
                    && object.open.is_empty()
                {
                    if let Some(&last) = object.calls.last() {
                        place.calls = object.evidence(last);
                    }
                    match object.worlds.observe(&|state: &Volume| volume::look(state, &at, *kind, mounts)) {
                        Explanation::Explained(found) => marks.extend(found),
                        Explanation::Impossible(strike, others) => {
                            place.scenario = self.scenario_of(place.calls.last());
                            self.ledger.convict(strike, others, &place);
                            if let Some(object) = self.volumes.get_mut(&key) {
                                object.worlds.rebuild(Volume::foreign(), None);
                            }
                        }
                        Explanation::Inconclusive => {}
                    }
                }
            }
            Observation::Process { instance, alive, exit } => {
                if *alive {
                    marks.push(Mark::Held(rule!("OPS-RUN-001")));
                } else {
                    let _ = (instance, exit);
                }
            }
            Observation::SocketDirectory { others, .. } => {
                check(&mut marks, rule!("OPS-FS-002"), others.is_empty(), || {
                    (
                        "the plugin made other files in the directory of its socket".into(),
                        "the socket alone".into(),
                        format!("{others:?}"),
                    )
                });
            }
            Observation::Logs { leaked, .. } => {
                for rule in [rule!("GEN-OPT-004"), rule!("OPS-LOG-006"), rule!("PROTO-SEC-006")] {
                    check(&mut marks, rule, leaked.is_empty(), || {
                        (
                            "the plugin wrote secrets to its log".into(),
                            "no secret in any log".into(),
                            format!("the values of {}", leaked.join(", ")),
                        )
                    });
                }
            }
            Observation::Write { node, path, .. }
            | Observation::Read { node, path, .. }
            | Observation::Size { node, path, .. }
            | Observation::Group { node, path, .. } => {
                let key = self.places.get(&(node.clone(), path.clone()));
                if let Some(object) = key.and_then(|key| self.volumes.get(key))
                    && let Some(&last) = object.calls.last()
                {
                    place.calls = object.evidence(last);
                }
            }
        }
        place.scenario = self.scenario_of(place.calls.last());
        self.ledger.enter(marks, &place);
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
            Fault::Restarted { .. } => {
                self.restarted = Some(position);
                self.course.restarted();
                if !self.restartable {
                    self.forget();
                }
            }
            Fault::Disconnected { .. } => {}
        }
    }

    /// The driver is known to lose what it holds when its process ends: nothing from before is held against it.
    fn forget(&mut self) {
        self.volumes.values_mut().for_each(|object| object.worlds.rebuild(Volume::foreign(), None));
        self.snapshots.values_mut().for_each(|object| object.worlds.rebuild(Snapshot::foreign(), None));
        self.places.clear();
        self.lists.forget();
    }

    /// The process is gone: what was open on it has happened by now, or never will.
    fn ended(&mut self, instance: &str) {
        let world = &self.world;
        let over = |call: &CallId| {
            world
                .operations
                .get(*call)
                .is_some_and(|operation| operation.call.instance == *instance && operation.answer().is_none())
        };
        for object in self.volumes.values_mut() {
            let calls: Vec<CallId> = object.calls.iter().copied().filter(over).collect();
            object.worlds.end(&calls, &OnVolume(world));
        }
        for object in self.snapshots.values_mut() {
            let calls: Vec<CallId> = object.calls.iter().copied().filter(over).collect();
            object.worlds.end(&calls, &OnSnapshot(world));
        }
    }

    fn close(mut self, history: &History) -> Judgement {
        let marks: Vec<Mark> = self.course.marks(&self.world).into_iter().chain(self.keys.marks()).collect();
        self.ledger.enter(marks, &Place::default());
        for (mark, place) in std::mem::take(&mut self.lists).close() {
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
        let volume = self.names.volume_of(operation).and_then(|key| self.volumes.get(&key));
        let snapshot = self.names.snapshot_of(operation).and_then(|key| self.snapshots.get(&key));
        let calls = match (volume, snapshot) {
            (Some(object), _) => object.evidence(id),
            (None, Some(object)) => object.evidence(id),
            (None, None) => vec![id],
        };
        Place { calls, scenario: operation.call.scenario.clone() }
    }

    fn scenario_of(&self, call: Option<&CallId>) -> String {
        call.and_then(|call| self.world.operations.get(*call))
            .map_or_else(String::new, |operation| operation.call.scenario.clone())
    }
}

impl<S: Clone + Eq + std::hash::Hash> Object<S> {
    fn start(&mut self, call: CallId) {
        self.calls.push(call);
        self.open.push(call);
        self.worlds.start(call);
    }

    /// Whether nothing was under way on the object while the call ran, so that it saw the state of now.
    fn is_quiet_since(&self, operation: &Operation<'_>) -> bool {
        self.open.is_empty() && self.settled < operation.started
    }
}

/// After a violation the driver's word is taken, and nothing else is assumed.
fn after_conviction(object: &Object<Volume>, operation: &Operation<'_>, answer: Answer<'_>) -> Volume {
    let known = object.worlds.states().next().cloned().unwrap_or_else(Volume::foreign);
    let confused = Volume { id: known.id.clone(), dead_ids: known.dead_ids.clone(), ..Volume::foreign() };
    match (operation.request(), answer) {
        (Request::CreateVolume(_), Answer::Ok(Reply::CreateVolume(reply))) => match &reply.volume {
            Some(volume) => confused.told(volume),
            None => confused,
        },
        _ => confused,
    }
}

/// The calls of a history, taking effect on a volume.
struct OnVolume<'a, 'h>(&'a World<'h>);

/// The calls of a history, taking effect on a snapshot.
struct OnSnapshot<'a, 'h>(&'a World<'h>);

impl Calls<Volume> for OnVolume<'_, '_> {
    fn apply(&self, state: &Volume, call: CallId) -> Applied<Volume> {
        self.0.operations.get(call).map_or_else(|| Err(unknown_call()), |one| volume::apply(self.0, state, one))
    }

    fn depend(&self, a: CallId, b: CallId) -> bool {
        self.0.operations.depend(a, b)
    }

    fn is_twin_before(&self, first: CallId, second: CallId) -> bool {
        self.0.operations.is_twin_before(first, second)
    }
}

impl Calls<Snapshot> for OnSnapshot<'_, '_> {
    fn apply(&self, state: &Snapshot, call: CallId) -> Applied<Snapshot> {
        self.0.operations.get(call).map_or_else(|| Err(unknown_call()), |one| snapshot::apply(self.0, state, one))
    }

    fn depend(&self, a: CallId, b: CallId) -> bool {
        self.0.operations.depend(a, b)
    }

    fn is_twin_before(&self, first: CallId, second: CallId) -> bool {
        self.0.operations.is_twin_before(first, second)
    }
}

/// A call of which the history holds no event cannot take effect.
fn unknown_call() -> Strike {
    Strike::new(rule!("GEN-ERR-001"), "a call without a request", "", "")
}
