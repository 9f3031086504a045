//! What may happen next in a state: each event that is possible, and the state that it leads to.

use std::sync::Arc;

use super::{
    super::mountpod::{
        annotations,
        instant::Timestamp,
        memory::World,
        pod::{PodName, Uid},
        protocol::{Answer, Effect, MountOperation, Policy, WorkloadState},
    },
    actor::{Actor, AnyMachine, Job},
    fingerprint::{Shape, Token, join},
    invariant::{self, Invariant, Violation},
    ledger::{Held, Ledger, Phase, Progress, Promise},
    memory::{Memory, Performed, reached},
    protocol::{Cast, Protocol, bounded},
    records::{Fresh, Records},
    scenario::{Budget, RequestKind, Scenario, Trouble, Watch},
    store::{Kept, Store},
};

/// One state of a search: four kinds of parts, each kept once for all states that share it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct State {
    pub(super) records: Kept,
    pub(super) node: Kept,
    pub(super) ledger: Kept,
    pub(super) actors: Vec<Kept>,
}

/// What happens to an effect on its way.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(super) enum Fate {
    Performed,
    LostReply,
    LostRequest,
    Conflict,
    ApiFailure,
    FailedMount,
}

/// One thing that happens.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(super) enum Event {
    /// A request is made, and its first effect performed.
    Begin(u8),
    /// A piece of background work is started in an instance, and its first effect performed.
    Chore { instance: u8, number: u8 },
    /// The effect of an actor is performed.
    Advance { actor: u8, fate: Fate },
    /// The kubelet starts a daemon.
    Kubelet,
    /// An instance is killed, and all that runs in it.
    Crash(u8),
    /// One actor is cut off.
    CutOff(u8),
    /// Something else goes wrong, or happens, with the pod, target or clock of this number.
    Other(Trouble, u8),
    /// After all trouble has ended: the search lets time pass, or everybody leave.
    Settle,
}

/// What a search works with; shared by its threads.
pub(super) struct Search {
    pub(super) scenario: Scenario,
    pub(super) policy: Policy,
    pub(super) cast: Cast,
    pub(super) records: Store<Records>,
    pub(super) nodes: Store<World>,
    pub(super) ledgers: Store<Ledger>,
    pub(super) actors: Store<Actor>,
}

pub(super) type Next = Result<State, Violation>;

impl Search {
    pub(super) fn new(protocol: Protocol, policy: Policy, scenario: &Scenario) -> Option<Self> {
        let policy = bounded(policy, scenario);
        let cast = Cast::new(protocol, scenario)?;
        let (records, nodes) = (Store::new(), Store::new());
        let scenario = scenario.clone();
        Some(Self { scenario, policy, cast, records, nodes, ledgers: Store::new(), actors: Store::new() })
    }

    /// The state in which the search begins: the scenario's targets are published.
    pub(super) fn first(&self, memory: &mut Memory) -> Next {
        let targets = usize::from(self.scenario.targets());
        let ledger = Ledger {
            phase: Phase::Explore,
            now: EPOCH,
            progress: vec![Progress::Waiting; self.scenario.requests.len()],
            promises: vec![Promise::Nothing; targets],
            workloads: vec![None; targets],
            locks: Vec::new(),
            budget: Budget::default(),
        };
        let mut state = State {
            records: self.records.keep(Records::default()),
            node: self.nodes.keep(World::default()),
            ledger: self.ledgers.keep(ledger),
            actors: Vec::new(),
        };
        for target in &self.scenario.published {
            let request = super::Request { kind: RequestKind::Publish, target: *target, instance: 0 };
            let actor = Actor::new(0, Job::Target(*target), self.cast.machine(request), &self.policy, EPOCH);
            state = self.with_actor(&state, actor);
            for _ in 0..STEPS_OF_A_REQUEST {
                if self.kubelet_is_due(&state) {
                    state = self.run_kubelet(&state);
                } else if !state.actors.is_empty() {
                    state = self.advance(&state, 0, Fate::Performed, memory)?;
                }
            }
            state = self.changed(&state, |ledger| {
                ledger.promises[usize::from(*target)] = Promise::Published { read_only: false };
                ledger.workloads[usize::from(*target)] = Some(WorkloadState::Lives);
            });
        }
        Ok(self.changed(&state, |ledger| ledger.budget = Budget::of(&self.scenario.trouble)))
    }

    pub(super) fn fingerprint(&self, state: &State) -> u128 {
        let parts = self.shapes(state);
        join(parts.iter().map(AsRef::as_ref))
    }

    /// Everything that may happen next. `None` events are impossible and left out.
    pub(super) fn successors(&self, state: &State, memory: &mut Memory) -> Vec<(Event, Next)> {
        let mut found = Vec::new();
        let ledger = self.ledgers.value(state.ledger);
        if let Some(index) = self.eager(state, &ledger) {
            let actor = u8::try_from(index).unwrap_or(u8::MAX);
            let fate = Fate::Performed;
            found.push((Event::Advance { actor, fate }, self.advance(state, index, fate, memory)));
            self.cut_offs(state, &ledger, index..=index, &mut found);
            return self.checked(found, memory);
        }
        for index in 0..state.actors.len() {
            let number = u8::try_from(index).unwrap_or(u8::MAX);
            for fate in self.fates(state, index, &ledger) {
                found.push((Event::Advance { actor: number, fate }, self.advance(state, index, fate, memory)));
            }
        }
        for request in self.beginnings(state, &ledger) {
            found.push((Event::Begin(request), self.begin(state, request, memory)));
        }
        for instance in 0..self.scenario.instances {
            for (number, (job, machine)) in self.chores(state, instance).into_iter().enumerate() {
                let number = u8::try_from(number).unwrap_or(u8::MAX);
                found.push((Event::Chore { instance, number }, self.chore(state, instance, job, machine, memory)));
            }
        }
        if self.kubelet_is_due(state) {
            found.push((Event::Kubelet, Ok(self.run_kubelet(state))));
        }
        self.troubles(state, &ledger, &mut found);
        self.checked(found, memory)
    }

    fn checked(&self, mut found: Vec<(Event, Next)>, memory: &mut Memory) -> Vec<(Event, Next)> {
        for (_, next) in &mut found {
            if let Ok(reached) = next
                && let Some(violation) = self.check(reached, memory)
            {
                *next = Err(violation);
            }
        }
        found
    }

    /// An actor whose next effect nobody else can notice or disturb: work on the mounts of a target that it alone holds.
    /// Whatever else may happen now may as well happen after that, except that this actor is cut off.
    ///
    /// Where an instance or a node can crash, all of its actors stop at once, and every combination of where they stop
    /// counts; where references are collected, targets are unmounted by an actor that does not hold them.
    fn eager(&self, state: &State, ledger: &Ledger) -> Option<usize> {
        let stops_others = ledger.budget.allows(Trouble::Crash) || ledger.budget.allows(Trouble::Reboot);
        if stops_others || self.scenario.chores.collect {
            return None;
        }
        let node = self.nodes.value(state.node);
        (0..state.actors.len()).find(|index| {
            let actor = self.actors.value(state.actors[*index]);
            let target = match &actor.effect {
                Effect::Mount(
                    MountOperation::UnmountAll(target)
                    | MountOperation::UnmountBeneath(target)
                    | MountOperation::RemoveTarget(target)
                    | MountOperation::Prepare { target, .. },
                ) => target,
                Effect::Mount(MountOperation::Look(target)) if !node.layers.contains_key(target) => target,
                _ => return false,
            };
            let sole = |request: &super::Request| {
                self.cast.target(request.target) != target || request.instance == actor.instance
            };
            self.scenario.requests.iter().all(sole) && (self.scenario.instances == 1 || !self.scenario.chores.rebind)
        })
    }

    pub(super) fn check(&self, state: &State, memory: &mut Memory) -> Option<Violation> {
        let key = (state.records, state.node, state.ledger);
        memory
            .checked
            .entry(key)
            .or_insert_with(|| {
                let (records, node) = (self.records.value(state.records), self.nodes.value(state.node));
                let ledger = self.ledgers.value(state.ledger);
                match self.scenario.watch {
                    Watch::Everything => invariant::check(&records, &node, &ledger, &self.cast.targets),
                    Watch::Only(invariant) => {
                        invariant::check_one(invariant, &records, &node, &ledger, &self.cast.targets)
                    }
                }
            })
            .clone()
            .filter(|broken| broken.invariant != Invariant::I1 || !self.is_moving(state))
    }

    /// Whether a published reconciler is on its way to put back what it took away.
    fn is_moving(&self, state: &State) -> bool {
        let mut jobs = state.actors.iter().map(|actor| self.actors.value(*actor).job);
        self.cast.moves_references() && jobs.any(|job| job == Job::Housekeeping)
    }

    pub(super) fn begin(&self, state: &State, number: u8, memory: &mut Memory) -> Next {
        let request = self.scenario.requests[usize::from(number)];
        let target = usize::from(request.target);
        let saw_directory = self.nodes.value(state.node).targets.contains(self.cast.target(request.target));
        let is_publish = request.kind != RequestKind::Unpublish;
        let state = self.changed(state, |ledger| {
            let last = ledger.phase != Phase::Explore && ledger.progress[usize::from(number)] == Progress::Failed;
            ledger.progress[usize::from(number)] =
                if last { Progress::LastAttempt } else { Progress::Running { saw_directory } };
            let keeps = is_publish && matches!(ledger.promises[target], Promise::Published { .. });
            if !keeps {
                ledger.promises[target] = Promise::Nothing;
            }
            match is_publish {
                true => drop(ledger.workloads[target].get_or_insert(WorkloadState::Lives)),
                false => ledger.workloads[target] = Some(WorkloadState::Terminating),
            }
        });
        let now = self.ledgers.value(state.ledger).now;
        let actor = Actor::new(request.instance, Job::Request(number), self.cast.machine(request), &self.policy, now);
        self.start(&state, actor, memory)
    }

    pub(super) fn chores(&self, state: &State, instance: u8) -> Vec<(Job, AnyMachine)> {
        let running = state.actors.iter().map(|actor| self.actors.value(*actor));
        let mut busy = Vec::new();
        for actor in running.filter(|actor| actor.instance == instance) {
            match actor.job {
                Job::Request(number) => busy.push(self.scenario.requests[usize::from(number)].target),
                Job::Target(_) | Job::Housekeeping => return Vec::new(),
            }
        }
        let (records, node) = (self.records.value(state.records), self.nodes.value(state.node));
        let mut chores =
            self.cast.chores(&self.scenario, &records, |pod, target| invariant::is_well(&node, pod, target));
        chores.retain(|(job, _)| !matches!(job, Job::Target(target) if busy.contains(target)));
        chores
    }

    pub(super) fn chore(
        &self,
        state: &State,
        instance: u8,
        job: Job,
        machine: AnyMachine,
        memory: &mut Memory,
    ) -> Next {
        let now = self.ledgers.value(state.ledger).now;
        self.start(state, Actor::new(instance, job, machine, &self.policy, now), memory)
    }

    /// A new actor and its first effect: what happens between the two cannot be told apart from what happens before.
    fn start(&self, state: &State, actor: Actor, memory: &mut Memory) -> Next {
        let kept = self.actors.keep(actor);
        let mut state = state.clone();
        state.actors.push(kept);
        let index = state.actors.len() - 1;
        if self.is_blocked(&state, index) {
            self.sort(&mut state);
            return Ok(state);
        }
        self.advance(&state, index, Fate::Performed, memory)
    }

    fn with_actor(&self, state: &State, actor: Actor) -> State {
        let mut state = state.clone();
        state.actors.push(self.actors.keep(actor));
        self.sort(&mut state);
        state
    }

    fn sort(&self, state: &mut State) {
        state.actors.sort_by_cached_key(|actor| self.actors.shape(*actor).form);
    }

    pub(super) fn changed(&self, state: &State, change: impl FnOnce(&mut Ledger)) -> State {
        let mut ledger = (*self.ledgers.value(state.ledger)).clone();
        change(&mut ledger);
        State { ledger: self.ledgers.keep(ledger), ..state.clone() }
    }

    /// Whether the actor waits for a lock that another one holds.
    pub(super) fn is_blocked(&self, state: &State, index: usize) -> bool {
        let actor = self.actors.value(state.actors[index]);
        let Effect::Acquire(lock) = &actor.effect else { return false };
        let is_request = |other: &Actor| other.instance == actor.instance && matches!(other.job, Job::Request(_));
        if actor.yields_to_requests() && state.actors.iter().any(|other| is_request(&self.actors.value(*other))) {
            return true;
        }
        let ledger = self.ledgers.value(state.ledger);
        ledger.locks.iter().any(|held| held.instance == actor.instance && held.lock == *lock)
    }

    fn fates(&self, state: &State, index: usize, ledger: &Ledger) -> Vec<Fate> {
        if self.is_blocked(state, index) {
            return Vec::new();
        }
        let mut fates = vec![Fate::Performed];
        let actor = self.actors.value(state.actors[index]);
        let is_write = matches!(actor.effect, Effect::Create(_) | Effect::Update(..) | Effect::Delete(..));
        let is_request = is_write || matches!(actor.effect, Effect::List(_));
        let is_bind = matches!(actor.effect, Effect::Mount(MountOperation::Bind { .. }));
        for (fate, trouble, possible) in [
            (Fate::LostReply, Trouble::LostReply, is_write),
            (Fate::LostRequest, Trouble::LostRequest, is_request),
            (Fate::Conflict, Trouble::Conflict, is_write),
            (Fate::ApiFailure, Trouble::ApiFailure, is_request),
            (Fate::FailedMount, Trouble::FailedMount, is_bind),
        ] {
            if possible && ledger.budget.allows(trouble) {
                fates.push(fate);
            }
        }
        fates
    }

    /// The requests that may be made now: of equal ones the first, and one at a time for a target of an instance.
    pub(super) fn beginnings(&self, state: &State, ledger: &Ledger) -> Vec<u8> {
        let busy: Vec<(u8, u8)> = state
            .actors
            .iter()
            .filter_map(|actor| {
                let actor = self.actors.value(*actor);
                match actor.job {
                    Job::Request(number) => Some((actor.instance, self.scenario.requests[usize::from(number)].target)),
                    Job::Target(target) => Some((actor.instance, target)),
                    Job::Housekeeping => None,
                }
            })
            .collect();
        let mut found: Vec<u8> = Vec::new();
        for (number, (request, progress)) in self.scenario.requests.iter().zip(&ledger.progress).enumerate() {
            let may_begin = match progress {
                Progress::Waiting => ledger.phase == Phase::Explore,
                Progress::Interrupted => true,
                Progress::Failed => ledger.phase != Phase::Explore,
                _ => false,
            };
            let gone = self.scenario.workloads
                && request.kind != RequestKind::Unpublish
                && !matches!(ledger.workloads[usize::from(request.target)], None | Some(WorkloadState::Lives));
            let twin = found.iter().any(|other| self.scenario.requests[usize::from(*other)] == *request);
            if may_begin && !gone && !twin && !busy.contains(&(request.instance, request.target)) {
                found.push(u8::try_from(number).unwrap_or(u8::MAX));
            }
        }
        found
    }

    /// Performs the effect of an actor, hands it the answer, and goes on to its next effect that others can notice.
    pub(super) fn advance(&self, state: &State, index: usize, fate: Fate, memory: &mut Memory) -> Next {
        let mut state = state.clone();
        let before = self.actors.value(state.actors[index]);
        let now = self.ledgers.value(state.ledger).now;
        if let Some(spent) = spent(fate) {
            state = self.changed(&state, |ledger| ledger.budget = ledger.budget.after(spent));
        }
        let after = match &before.effect {
            Effect::List(_) | Effect::Create(_) | Effect::Update(..) | Effect::Delete(..) => {
                let fresh = if matches!(before.effect, Effect::List(_)) { NONE } else { self.fresh(&state) };
                let key = (state.actors[index], state.records, fate, fresh, now);
                let done =
                    memory.performed.entry(key).or_insert_with(|| self.request(&before, &state, fate, fresh, now));
                if let Some(violation) = &done.broken {
                    return Err(violation.clone());
                }
                memory.reached.insert(done.reached);
                state.records = done.part;
                if let Some(uid) = &done.killed {
                    state.node = self.without_daemon(state.node, uid);
                }
                done.actor
            }
            Effect::Mount(MountOperation::Teardown(pod)) => {
                if let Some(violation) = self.check_teardown(&state, &pod.uid) {
                    return Err(violation);
                }
                let key = (state.actors[index], state.node, fate, NONE, now);
                let done = memory.performed.entry(key).or_insert_with(|| self.mount(&before, &state, fate, now));
                memory.reached.insert(done.reached);
                state.node = done.part;
                done.actor
            }
            Effect::Mount(_) => {
                let key = (state.actors[index], state.node, fate, NONE, now);
                let done = memory.performed.entry(key).or_insert_with(|| self.mount(&before, &state, fate, now));
                memory.reached.insert(done.reached);
                state.node = done.part;
                done.actor
            }
            Effect::Workloads(targets) => {
                let ledger = self.ledgers.value(state.ledger);
                let known = |target| self.cast.targets.iter().position(|known| known == target);
                let states = targets.iter().map(|target| {
                    let found = known(target).and_then(|number| ledger.workloads[number]);
                    let unknown = if self.scenario.workloads { WorkloadState::Gone } else { WorkloadState::Unknown };
                    found.filter(|_| self.scenario.workloads).unwrap_or(unknown)
                });
                self.actors.keep(before.answered(&self.policy, now, Answer::Workloads(states.collect())))
            }
            Effect::Acquire(lock) => {
                let held = Held { instance: before.instance, lock: lock.clone(), job: before.job };
                state = self.changed(&state, |ledger| ledger.locks.push(held));
                self.actors.keep(before.answered(&self.policy, now, Answer::Done))
            }
            Effect::Release(_) => {
                state = self.changed(&state, |ledger| {
                    ledger.locks.retain(|held| (held.instance, held.job) != (before.instance, before.job));
                });
                self.actors.keep(before.answered(&self.policy, now, Answer::Done))
            }
            Effect::Wait(_) | Effect::Reply(_) => self.actors.keep(before.answered(&self.policy, now, Answer::Done)),
        };
        state.actors[index] = after;
        self.go_on(state, index, now)
    }

    /// Waits end at once, since whatever may happen meanwhile may happen before; a reply ends the actor.
    fn go_on(&self, mut state: State, index: usize, now: Timestamp) -> Next {
        let mut actor = self.actors.value(state.actors[index]);
        while let Effect::Wait(_) = actor.effect {
            if let Some(violation) = self.check_wait(&state, &actor) {
                return Err(violation);
            }
            actor = Arc::new(actor.answered(&self.policy, now, Answer::Done));
            state.actors[index] = self.actors.keep((*actor).clone());
        }
        if let Effect::Reply(outcome) = &actor.effect {
            state.actors.remove(index);
            state = self.reply(&state, &actor, outcome)?;
        }
        self.sort(&mut state);
        Ok(state)
    }

    fn request(&self, actor: &Actor, state: &State, fate: Fate, fresh: Fresh, now: Timestamp) -> Performed {
        let before = self.records.value(state.records);
        let mut records = (*before).clone();
        let (mut killed, mut broken) = (None, None);
        let performed = match &actor.effect {
            _ if !matches!(fate, Fate::Performed | Fate::LostReply) => Answer::Done,
            Effect::List(selector) => Answer::Pods(records.list(selector)),
            Effect::Create(pod) => records.create(pod, fresh),
            Effect::Update(pod, mode) => records.update(pod, *mode, fresh),
            Effect::Delete(name, conditions) => {
                let (answer, deleted) = records.delete(name, conditions, fresh);
                if let Some(pod) = deleted {
                    broken = self.check_deletion(&before, &pod, now);
                    killed = Some(pod.uid);
                }
                answer
            }
            _ => Answer::Done,
        };
        let answer = match fate {
            Fate::Performed | Fate::FailedMount => performed,
            Fate::LostReply | Fate::LostRequest => Answer::Unknown,
            Fate::Conflict => Answer::Refused,
            Fate::ApiFailure => Answer::Failed("out of order".to_owned()),
        };
        if self.scenario.delayed_deletion {
            records.note_empty(now);
        }
        let part = self.records.keep(records);
        let reached = reached(actor, &answer);
        let actor = self.actors.keep(actor.answered(&self.policy, now, answer));
        Performed { actor, part, killed, broken, reached }
    }

    fn mount(&self, actor: &Actor, state: &State, fate: Fate, now: Timestamp) -> Performed {
        let mut node = (*self.nodes.value(state.node)).clone();
        let answer = match &actor.effect {
            Effect::Mount(_) if fate == Fate::FailedMount => Answer::Failed("the mount failed".to_owned()),
            Effect::Mount(operation) => node.perform(operation.clone()),
            _ => Answer::Done,
        };
        let part = self.nodes.keep(node);
        let reached = reached(actor, &answer);
        let actor = self.actors.keep(actor.answered(&self.policy, now, answer));
        Performed { actor, part, killed: None, broken: None, reached }
    }

    pub(super) fn kubelet_is_due(&self, state: &State) -> bool {
        self.wanting(state).is_some()
    }

    fn wanting(&self, state: &State) -> Option<PodName> {
        let (records, node) = (self.records.value(state.records), self.nodes.value(state.node));
        let runs = |uid: &Uid| node.daemons.get(uid).is_some_and(|(_, alive)| *alive);
        let wants = |pod: &super::super::mountpod::pod::Pod| {
            pod.is_live() && !annotations::is_unconfirmed(pod) && !runs(&pod.uid)
        };
        records.pods.values().find(|pod| wants(pod)).map(|pod| pod.name.clone())
    }

    pub(super) fn run_kubelet(&self, state: &State) -> State {
        let Some(name) = self.wanting(state) else { return state.clone() };
        let mut records = (*self.records.value(state.records)).clone();
        let mut node = (*self.nodes.value(state.node)).clone();
        if let Some(pod) = records.pods.get(&name) {
            let daemon = node.daemons.entry(pod.uid.clone()).or_default();
            *daemon = (daemon.0 + 1, true);
        }
        records.report_running(&name, true, self.fresh(state));
        State { records: self.records.keep(records), node: self.nodes.keep(node), ..state.clone() }
    }

    fn without_daemon(&self, node: Kept, uid: &Uid) -> Kept {
        let mut node = (*self.nodes.value(node)).clone();
        node.kill_daemon(uid);
        self.nodes.keep(node)
    }

    fn shapes(&self, state: &State) -> Vec<Arc<Shape>> {
        let mut shapes =
            vec![self.records.shape(state.records), self.nodes.shape(state.node), self.ledgers.shape(state.ledger)];
        shapes.extend(state.actors.iter().map(|actor| self.actors.shape(*actor)));
        shapes
    }

    /// The smallest names that nobody in this state knows.
    pub(super) fn fresh(&self, state: &State) -> Fresh {
        let shapes = self.shapes(state);
        let is_known = |token: Token| shapes.iter().any(|shape| shape.tokens.contains(&token));
        let free = |name: fn(u32) -> Token| (1..).find(|number| !is_known(name(*number))).unwrap_or(u32::MAX);
        Fresh { uid: free(Token::uid), version: free(Token::version) }
    }
}

const fn spent(fate: Fate) -> Option<Trouble> {
    match fate {
        Fate::Performed => None,
        Fate::LostReply => Some(Trouble::LostReply),
        Fate::LostRequest => Some(Trouble::LostRequest),
        Fate::Conflict => Some(Trouble::Conflict),
        Fate::ApiFailure => Some(Trouble::ApiFailure),
        Fate::FailedMount => Some(Trouble::FailedMount),
    }
}

/// When searches begin.
const EPOCH: Timestamp = Timestamp(1_769_860_800_000);
const STEPS_OF_A_REQUEST: usize = 60;
const NONE: Fresh = Fresh { uid: 0, version: 0 };
