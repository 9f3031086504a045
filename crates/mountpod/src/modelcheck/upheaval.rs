//! What may go wrong in a state, or merely happen, and what it leaves.

use super::{
    super::mountpod::{annotations, api::Preconditions, protocol::WorkloadState},
    actor::{Actor, Job},
    event::Move,
    ledger::{Ledger, Progress, Promise},
    protocol::DELAY,
    scenario::{RequestKind, Trouble},
    search::{Next, Search, State},
    store::Kept,
};

impl Search {
    pub(super) fn troubles(&self, state: &State, ledger: &Ledger, found: &mut Vec<(Move, Next)>) {
        let spend = |state: State, trouble| self.changed(&state, |ledger| ledger.budget = ledger.budget.after(trouble));
        if ledger.budget.allows(Trouble::Crash) {
            for instance in 0..self.scenario.instances {
                let runs = state.actors.iter().any(|actor| self.actors.value(*actor).instance == instance);
                // Housekeeping that has only begun is not kept as an actor.
                if runs || (self.is_reduced && !self.chores(state, instance).is_empty()) {
                    let crashed = self.without_actors(state, |actor| actor.instance == instance);
                    found.push((Move::Crash(instance), Ok(spend(crashed, Trouble::Crash))));
                }
            }
        }
        self.cut_offs(state, ledger, 0..=state.actors.len(), found);
        for trouble in Trouble::ALL.into_iter().filter(|trouble| ledger.budget.allows(*trouble)) {
            for subject in 0..SUBJECTS {
                if let Some(changed) = self.strike(state, ledger, trouble, subject) {
                    found.push((Move::Other(trouble, subject), Ok(spend(changed, trouble))));
                }
            }
        }
    }

    pub(super) fn cut_offs(
        &self,
        state: &State,
        ledger: &Ledger,
        actors: std::ops::RangeInclusive<usize>,
        found: &mut Vec<(Move, Next)>,
    ) {
        if !ledger.budget.allows(Trouble::CutOff) {
            return;
        }
        for (number, kept) in state.actors.iter().enumerate().filter(|(number, _)| actors.contains(number)) {
            let cut = self.actors.value(*kept);
            let left = self.without_actors(state, |actor| *actor == *cut);
            let left = self.changed(&left, |ledger| ledger.budget = ledger.budget.after(Trouble::CutOff));
            found.push((Move::CutOff(u8::try_from(number).unwrap_or(u8::MAX)), Ok(left)));
        }
    }

    /// What the trouble does to the pod or target of this number; `None` when it does nothing.
    fn strike(&self, state: &State, ledger: &Ledger, trouble: Trouble, subject: u8) -> Option<State> {
        let mut records = self.records.value(state.records).clone();
        let mut node = self.nodes.value(state.node).clone();
        let number = usize::from(subject);
        let pod = records.pods.values().nth(number).cloned();
        match trouble {
            Trouble::Eviction => {
                let pod = pod.filter(|pod| pod.is_live() && !annotations::is_unconfirmed(pod))?;
                drop(records.delete(&pod.name, &Preconditions::default(), self.fresh(state)));
                node.daemons.remove(&pod.uid);
            }
            Trouble::DaemonLoss => {
                let pod = pod.filter(|pod| node.daemons.get(&pod.uid).is_some_and(|(_, alive)| *alive))?;
                node.kill_daemon(&pod.uid);
            }
            Trouble::StatusWrite => {
                let pod = pod.filter(|pod| pod.is_live())?;
                records.report_running(&pod.name, !pod.status.ready, self.fresh(state));
            }
            Trouble::Scribble => {
                let mut pod = pod.filter(|pod| pod.annotations.contains_key(annotations::DELETE_AT))?;
                pod.annotations.insert(annotations::DELETE_AT.to_owned(), "2026-01-31 20:00".to_owned());
                drop(records.update(&pod, Default::default(), self.fresh(state)));
            }
            // Time that passes while nothing waits for a moment changes nothing.
            Trouble::ClockStep if subject == 0 && records.pods.values().any(annotations::names_a_moment) => {
                return Some(self.changed(state, |ledger| ledger.now = ledger.now.after(DELAY)));
            }
            Trouble::WorkloadShutdown | Trouble::WorkloadLoss => {
                let workload = (*ledger.workloads.get(number)?)?;
                let shutdown = trouble == Trouble::WorkloadShutdown;
                let asked = self.unpublishes(state, subject);
                if workload == WorkloadState::Gone || (shutdown && workload != WorkloadState::Lives) || asked {
                    return None;
                }
                return Some(self.changed(state, |ledger| {
                    ledger.workloads[number] =
                        Some(if shutdown { WorkloadState::Terminating } else { WorkloadState::Gone });
                    if !shutdown {
                        ledger.promises[number] = Promise::Nothing;
                    }
                }));
            }
            Trouble::Reboot if subject == 0 => {
                node.reboot();
                let state = State { node: self.nodes.keep(node), ..self.without_actors(state, |_| true) };
                // The kubelet publishes again what was there.
                return Some(self.changed(&state, |ledger| {
                    for promise in &mut ledger.promises {
                        if matches!(promise, Promise::Published { .. }) {
                            *promise = Promise::Nothing;
                        }
                    }
                }));
            }
            _ => return None,
        }
        Some(State { records: self.keep_records(records), node: self.nodes.keep(node), ..state.clone() })
    }

    fn unpublishes(&self, state: &State, target: u8) -> bool {
        state.actors.iter().any(|actor| match self.actors.value(*actor).job {
            Job::Request(number) => {
                let request = self.scenario.requests[usize::from(number)];
                request.target == target && request.kind == RequestKind::Unpublish
            }
            _ => false,
        })
    }

    /// The state without these actors; their requests will be made again, unless the orchestrator sees no need to.
    fn without_actors(&self, state: &State, is_cut: impl Fn(&Actor) -> bool) -> State {
        let node = self.nodes.value(state.node);
        let (cut, left): (Vec<Kept>, Vec<Kept>) =
            state.actors.iter().partition(|actor| is_cut(self.actors.value(**actor)));
        let cut: Vec<&Actor> = cut.into_iter().map(|actor| self.actors.value(actor)).collect();
        let state = State { actors: left, ..state.clone() };
        self.changed(&state, |ledger| {
            for actor in cut {
                ledger.locks.retain(|held| (held.instance, held.job) != (actor.instance, actor.job));
                let Job::Request(number) = actor.job else { continue };
                let request = self.scenario.requests[usize::from(number)];
                let saw = ledger.progress[usize::from(number)] == Progress::Running { saw_directory: true };
                let bare = !node.targets.contains(self.cast.target(request.target));
                // An orchestrator that finds the directory of an unpublish removed takes the target for clean.
                let settled = request.kind == RequestKind::Unpublish && saw && bare;
                ledger.progress[usize::from(number)] = if settled { Progress::Ended } else { Progress::Interrupted };
                if settled {
                    ledger.promises[usize::from(request.target)] = Promise::Unpublished;
                    ledger.workloads[usize::from(request.target)] = Some(WorkloadState::Gone);
                }
            }
        })
    }
}

/// How many pods or targets a scenario can have.
const SUBJECTS: u8 = 4;
