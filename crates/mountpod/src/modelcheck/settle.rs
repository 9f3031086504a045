//! Bounded liveness: from any state, once the trouble has ended, everything comes to rest, and then everybody can leave.

use super::{
    super::mountpod::{TargetPath, protocol::WorkloadState},
    actor::{Actor, Job},
    event::{Fate, Move},
    invariant::{Invariant, Violation, check_at_rest, check_empty},
    ledger::{Ledger, Phase, Progress, Promise},
    memory::Memory,
    protocol::DELAY,
    scenario::{Budget, Request, RequestKind},
    search::{Next, Search, State},
};

/// What happens next on the way to rest.
pub(super) enum Settling {
    /// This, and the state after it.
    Step(Move, Next),
    /// Everything has come to rest, and everybody has left.
    AtRest,
}

impl Search {
    /// The state when the trouble ends.
    pub(super) fn without_trouble(&self, state: &State) -> State {
        self.changed(state, |ledger| {
            ledger.phase = Phase::Finish;
            ledger.budget = Budget::default();
        })
    }

    /// The one next step: the kubelet first, then whoever runs, then requests that are made again, then background work.
    pub(super) fn settle(&self, state: &State, memory: &mut Memory) -> Settling {
        if self.kubelet_is_due(state) {
            return Settling::Step(Move::Kubelet, Ok(self.run_kubelet(state)));
        }
        // Whoever was started last goes first: it may be what the others wait for.
        let free = (0..state.actors.len()).find(|index| !self.is_blocked(state, *index));
        if let Some(index) = free {
            let actor = u8::try_from(index).unwrap_or(u8::MAX);
            let next = self.advance(state, index, Fate::Performed, memory);
            return Settling::Step(Move::Advance { actor, fate: Fate::Performed }, next);
        }
        if !state.actors.is_empty() {
            let text = "all that runs waits for locks, and nobody gives one back";
            return Settling::Step(Move::Settle, Err(Violation::new(Invariant::I8, text)));
        }
        let ledger = self.ledgers.value(state.ledger);
        match ledger.phase {
            Phase::Explore => Settling::Step(Move::Settle, Ok(self.without_trouble(state))),
            Phase::Finish => match self.beginnings(state, ledger).first() {
                Some(number) => Settling::Step(Move::Begin(*number), self.begin(state, *number, memory)),
                None => self.enter(state, Phase::Repair),
            },
            Phase::Repair => self.chore_or(state, memory, |search| {
                let (records, node) = (search.records.value(state.records), search.nodes.value(state.node));
                match check_at_rest(records, node, ledger, &search.cast.targets) {
                    Some(violation) => Settling::Step(Move::Settle, Err(violation)),
                    None => search.enter(state, Phase::Leave { next: 0 }),
                }
            }),
            Phase::Leave { next } if next < self.scenario.targets() => {
                Settling::Step(Move::Settle, self.leave(state, ledger, next, memory))
            }
            Phase::Leave { .. } => {
                let state = self.changed(state, |ledger| {
                    ledger.phase = Phase::Sweep;
                    ledger.now = ledger.now.after(DELAY);
                });
                Settling::Step(Move::Settle, self.sweep(&state, memory))
            }
            Phase::Sweep => self.chore_or(state, memory, |search| {
                let (records, node) = (search.records.value(state.records), search.nodes.value(state.node));
                match check_empty(records, node, &search.abandoned(ledger)) {
                    Some(violation) => Settling::Step(Move::Settle, Err(violation)),
                    None => Settling::AtRest,
                }
            }),
        }
    }

    /// Targets whose workload went while a publish was failing.
    fn abandoned(&self, ledger: &Ledger) -> Vec<TargetPath> {
        let requests = self.scenario.requests.iter().zip(&ledger.progress);
        let failed = requests.filter(|(request, progress)| {
            let gone = ledger.workloads[usize::from(request.target)] == Some(WorkloadState::Gone);
            let is_publish = request.kind != RequestKind::Unpublish;
            self.scenario.workloads && gone && is_publish && !matches!(progress, Progress::Ended)
        });
        failed.map(|(request, _)| self.cast.target(request.target).clone()).collect()
    }

    fn enter(&self, state: &State, phase: Phase) -> Settling {
        Settling::Step(Move::Settle, Ok(self.changed(state, |ledger| ledger.phase = phase)))
    }

    /// Background work that still changes something; when there is none, what comes after.
    fn chore_or(&self, state: &State, memory: &mut Memory, then: impl FnOnce(&Self) -> Settling) -> Settling {
        for (number, (job, machine)) in self.chores(state, 0).into_iter().enumerate() {
            let number = u8::try_from(number).unwrap_or(u8::MAX);
            let next = match self.chore(state, 0, job, machine.clone(), memory) {
                Ok(started) => self.run_alone(started, memory),
                broken => broken,
            };
            if !matches!(&next, Ok(reached) if reached == state) {
                return Settling::Step(Move::Chore { instance: 0, number }, next);
            }
        }
        then(self)
    }

    fn run_alone(&self, mut state: State, memory: &mut Memory) -> Next {
        for _ in 0..STEPS_ALONE {
            if self.kubelet_is_due(&state) {
                state = self.run_kubelet(&state);
            } else if state.actors.is_empty() {
                return Ok(state);
            } else {
                state = self.advance(&state, 0, Fate::Performed, memory)?;
            }
        }
        Err(Violation::new(Invariant::I8, format!("something that runs alone does not end within {STEPS_ALONE} steps")))
    }

    /// The workload of the target leaves: its volume is unpublished, unless it is gone without that.
    fn leave(&self, state: &State, ledger: &Ledger, target: u8, memory: &mut Memory) -> Next {
        let number = usize::from(target);
        let state = self.changed(state, |ledger| ledger.phase = Phase::Leave { next: target + 1 });
        let lost = ledger.workloads[number] == Some(WorkloadState::Gone) && ledger.promises[number] == Promise::Nothing;
        if lost && self.scenario.chores.collect {
            return Ok(state);
        }
        let request = Request { kind: RequestKind::Unpublish, target, instance: 0 };
        let now = self.ledgers.value(state.ledger).now;
        let actor = Actor::new(0, Job::Target(target), self.cast.machine(request), &self.policy, now);
        let state = self.changed(&state, |ledger| {
            ledger.promises[number] = Promise::Nothing;
            ledger.workloads[number] = Some(WorkloadState::Gone);
        });
        let mut started = state.clone();
        started.actors.push(self.actors.keep(actor));
        self.run_alone(started, memory)
    }

    fn sweep(&self, state: &State, memory: &mut Memory) -> Next {
        let Some(machine) = self.cast.retire() else { return Ok(state.clone()) };
        let now = self.ledgers.value(state.ledger).now;
        let actor = Actor::new(0, Job::Housekeeping, machine, &self.policy, now);
        let mut started = state.clone();
        started.actors.push(self.actors.keep(actor));
        self.run_alone(started, memory)
    }
}

const STEPS_ALONE: usize = 400;
