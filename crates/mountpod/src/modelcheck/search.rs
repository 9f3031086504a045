//! A state of a search, what all searches in it share, and how states are told apart.

use super::{
    super::mountpod::{
        instant::Timestamp,
        memory::World,
        protocol::{Policy, WorkloadState},
    },
    Protocol,
    actor::{Actor, Job},
    event::Fate,
    fingerprint::{Shape, Token, join},
    invariant::{self, Invariant, Violation},
    ledger::{Ledger, Phase, Progress, Promise},
    memory::Memory,
    protocol::{Cast, bounded},
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

/// What a search works with; shared by its threads.
pub(super) struct Search {
    pub(super) scenario: Scenario,
    pub(super) policy: Policy,
    pub(super) cast: Cast,
    /// Whether orders of moves that lead to the same are left out.
    pub(super) is_reduced: bool,
    pub(super) records: Store<Records>,
    pub(super) nodes: Store<World>,
    pub(super) ledgers: Store<Ledger>,
    pub(super) actors: Store<Actor>,
}

pub(super) type Next = Result<State, Violation>;

impl Search {
    pub(super) fn new(protocol: Protocol, policy: Policy, scenario: &Scenario, is_reduced: bool) -> Option<Self> {
        let policy = bounded(policy, scenario);
        let cast = Cast::new(protocol, scenario)?;
        let (records, nodes) = (Store::new(), Store::new());
        let scenario = scenario.clone();
        // The arguments of the reduction are made for machines that write by compare-and-swap.
        let is_reduced = is_reduced && protocol == Protocol::Current;
        Some(Self { scenario, policy, cast, is_reduced, records, nodes, ledgers: Store::new(), actors: Store::new() })
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
        join(parts)
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
                    Watch::Everything => invariant::check(records, node, ledger, &self.cast.targets),
                    Watch::Only(invariant) => {
                        invariant::check_one(invariant, records, node, ledger, &self.cast.targets)
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

    pub(super) fn with_actor(&self, state: &State, actor: Actor) -> State {
        let mut state = state.clone();
        state.actors.push(self.actors.keep(actor));
        self.sort(&mut state);
        state
    }

    pub(super) fn keep_records(&self, mut records: Records) -> Kept {
        if !self.cast.moves_references() {
            records.forget_marks();
        }
        self.records.keep(records)
    }

    /// What no later step reads would only make states differ.
    fn forget(&self, ledger: &mut Ledger) {
        if !self.scenario.workloads && !self.scenario.chores.collect {
            ledger.workloads.fill(None);
        }
        let mut cuts = [Trouble::Crash, Trouble::CutOff, Trouble::Reboot].into_iter();
        let is_cut = cuts.any(|trouble| ledger.budget.allows(trouble));
        for (progress, request) in ledger.progress.iter_mut().zip(&self.scenario.requests) {
            if let Progress::Running { saw_directory } = progress {
                *saw_directory &= is_cut && request.kind == RequestKind::Unpublish;
            }
        }
    }

    pub(super) fn sort(&self, state: &mut State) {
        state.actors.sort_by_cached_key(|actor| self.actors.shape(*actor).form);
    }

    pub(super) fn changed(&self, state: &State, change: impl FnOnce(&mut Ledger)) -> State {
        let mut ledger = self.ledgers.value(state.ledger).clone();
        change(&mut ledger);
        self.forget(&mut ledger);
        State { ledger: self.ledgers.keep(ledger), ..state.clone() }
    }

    fn shapes(&self, state: &State) -> Vec<&Shape> {
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

/// When searches begin.
const EPOCH: Timestamp = Timestamp(1_769_860_800_000);
const STEPS_OF_A_REQUEST: usize = 60;
