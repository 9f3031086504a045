//! What begins of itself: requests, background work and the kubelet's.

use super::{
    super::mountpod::{
        annotations,
        memory::World,
        pod::{Pod, PodName},
        protocol::WorkloadState,
    },
    actor::{Actor, AnyMachine, Job},
    event::Fate,
    invariant,
    ledger::{Ledger, Phase, Progress, Promise},
    memory::Memory,
    scenario::RequestKind,
    search::{Next, Search, State},
};

impl Search {
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
        let actor = self.begun(&state, number);
        if self.is_reduced && self.is_shared(request.target) {
            // Whether a request is contested depends on who has begun: that is a state of its own.
            return Ok(self.with_actor(&state, actor));
        }
        self.start(&state, actor, memory)
    }

    /// The actor of a request before its first effect.
    pub(super) fn begun(&self, state: &State, number: u8) -> Actor {
        let request = self.scenario.requests[usize::from(number)];
        let now = self.ledgers.value(state.ledger).now;
        Actor::new(request.instance, Job::Request(number), self.cast.machine(request), &self.policy, now)
    }

    /// Whether several instances are asked about the target.
    fn is_shared(&self, target: u8) -> bool {
        let mut instances = self.scenario.requests.iter().filter(|other| other.target == target);
        let first = instances.next().map(|request| request.instance);
        instances.any(|request| Some(request.instance) != first)
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
        let mut chores = self.cast.chores(&self.scenario, records, |pod, target| invariant::is_well(node, pod, target));
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

    pub(super) fn kubelet_is_due(&self, state: &State) -> bool {
        self.wanting(state).is_some()
    }

    fn wanting(&self, state: &State) -> Option<PodName> {
        let (records, node) = (self.records.value(state.records), self.nodes.value(state.node));
        records.pods.values().find(|pod| wants_daemon(node, pod)).map(|pod| pod.name.clone())
    }

    pub(super) fn run_kubelet(&self, state: &State) -> State {
        let Some(name) = self.wanting(state) else { return state.clone() };
        let mut records = self.records.value(state.records).clone();
        let mut node = self.nodes.value(state.node).clone();
        if let Some(pod) = records.pods.get(&name) {
            let daemon = node.daemons.entry(pod.uid.clone()).or_default();
            *daemon = (daemon.0 + 1, true);
        }
        records.report_running(&name, true, self.fresh(state));
        State { records: self.keep_records(records), node: self.nodes.keep(node), ..state.clone() }
    }
}

/// Whether the kubelet will start a daemon for the pod.
pub(super) fn wants_daemon(node: &World, pod: &Pod) -> bool {
    let runs = node.daemons.get(&pod.uid).is_some_and(|(_, alive)| *alive);
    pod.is_live() && !annotations::is_unconfirmed(pod) && !runs
}
