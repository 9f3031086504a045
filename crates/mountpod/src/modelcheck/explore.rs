//! Visits every state of a scenario in layers, so that the first violation is one with the fewest events.

use std::{
    collections::{BTreeSet, HashMap, HashSet, hash_map::Entry},
    hash::{BuildHasherDefault, Hasher},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use super::{
    super::mountpod::protocol::Policy,
    Protocol, Scenario, Trace, Violation,
    event::Event,
    memory::Memory,
    scenario::Watch,
    search::{Search, State},
    settle::Settling,
    trace,
};

/// Bounds of a search.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// How many threads search.
    pub threads: usize,
    /// How many states may be visited.
    pub states: usize,
    /// Which orders of moves are visited.
    pub reduction: Reduction,
    /// How many bytes of memory the process may use; looked at where the system tells.
    pub memory: u64,
}

/// Which orders of moves are visited.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Reduction {
    /// Only one of several orders that cannot be told apart.
    EqualOrders,
    /// All of them.
    Nothing,
}

impl Default for Options {
    fn default() -> Self {
        let threads = thread::available_parallelism().map_or(1, usize::from);
        Self { threads, states: 200_000_000, reduction: Reduction::EqualOrders, memory: 2 << 30 }
    }
}

/// What a search found.
#[derive(Clone, Debug)]
pub struct Report {
    /// The scenario.
    pub scenario: &'static str,
    /// How it ended.
    pub ending: Ending,
    /// How many states were visited.
    pub states: usize,
    /// How many transitions were taken.
    pub transitions: usize,
    /// How many events the longest of the shortest ways has.
    pub depth: usize,
    /// How long it took.
    pub elapsed: Duration,
    /// Fingerprints of the states in which nothing is under way: a reduction must not lose any.
    pub quiet: BTreeSet<u128>,
    /// What was reached: kinds of actors with the effects and answers that they met.
    pub reached: Vec<String>,
}

/// How a search ended.
#[derive(Clone, Debug)]
pub enum Ending {
    /// Every state was visited, and none breaks a promise.
    Complete,
    /// A bound was reached before every state was visited.
    Incomplete(String),
    /// A promise was broken.
    Broken(Box<(Violation, Trace)>),
}

/// Searches the scenario. `None` when its names are no names that the protocol knows, which no scenario here has.
pub fn explore(protocol: Protocol, policy: Policy, scenario: &Scenario, options: &Options) -> Option<Report> {
    let started = Instant::now();
    let search = Search::new(protocol, policy, scenario, options.reduction == Reduction::EqualOrders)?;
    let mut memory = Memory::default();
    let mut exploration = Exploration::new(&search, options);
    let (ending, depth) = match search.first(&mut memory) {
        Ok(first) => exploration.run(first),
        Err(violation) => (Ending::Broken(Box::new((violation, Trace::default()))), 0),
    };
    let mut reached: Vec<String> =
        exploration.reached.into_inner().unwrap_or_else(PoisonError::into_inner).into_iter().collect();
    reached.sort();
    Some(Report {
        scenario: scenario.name,
        ending,
        states: exploration.visited.iter().map(|shard| lock(shard).len()).sum(),
        transitions: exploration.transitions.into_inner(),
        depth,
        quiet: exploration.quiet.into_inner().unwrap_or_else(PoisonError::into_inner),
        elapsed: started.elapsed(),
        reached,
    })
}

struct Exploration<'a> {
    search: &'a Search,
    options: &'a Options,
    /// The fingerprint of each state with that of its predecessor and its layer.
    visited: Vec<Mutex<Ways>>,
    /// Fingerprints of states from which everything is known to come to rest.
    settled: Vec<Mutex<HashSet<u128, Plain>>>,
    transitions: AtomicUsize,
    states: AtomicUsize,
    full: AtomicBool,
    broken: Mutex<Vec<Broken>>,
    reached: Mutex<HashSet<String>>,
    quiet: Mutex<BTreeSet<u128>>,
}

/// Each visited state with its predecessor and its layer.
type Ways = HashMap<u128, (u128, u32), Plain>;

/// Where a promise was broken: after an event in a state, or on the way to rest from it.
#[derive(Clone, Debug)]
struct Broken {
    violation: Violation,
    at: u128,
    /// Whether an event breaks it, or the way to rest.
    at_once: bool,
}

impl<'a> Exploration<'a> {
    fn new(search: &'a Search, options: &'a Options) -> Self {
        Self {
            search,
            options,
            visited: (0..SHARDS).map(|_| Mutex::default()).collect(),
            settled: (0..SHARDS).map(|_| Mutex::default()).collect(),
            transitions: AtomicUsize::new(0),
            states: AtomicUsize::new(0),
            full: AtomicBool::new(false),
            broken: Mutex::default(),
            reached: Mutex::default(),
            quiet: Mutex::default(),
        }
    }

    fn run(&mut self, first: State) -> (Ending, usize) {
        let threads = self.options.threads.max(1);
        let root = self.search.fingerprint(&first);
        self.visit(root, root, 0);
        let mut memories: Vec<Memory> = (0..threads).map(|_| Memory::default()).collect();
        let mut frontier = vec![first.clone()];
        let mut depth = 0;
        while !frontier.is_empty() {
            let next_index = AtomicUsize::new(0);
            let layer = u32::try_from(depth + 1).unwrap_or(u32::MAX);
            let this = &*self;
            let found: Vec<Vec<State>> = thread::scope(|scope| {
                let workers: Vec<_> = memories
                    .iter_mut()
                    .map(|memory| scope.spawn(|| this.expand(&frontier, &next_index, layer, memory)))
                    .collect();
                workers.into_iter().map(|worker| worker.join().unwrap_or_default()).collect()
            });
            let broken = lock(&self.broken)
                .iter()
                .min_by_key(|broken| (!broken.at_once, broken.violation.clone(), broken.at))
                .cloned();
            if let Some(broken) = broken {
                let trace = self.trace(&first, root, &broken);
                return (Ending::Broken(Box::new((broken.violation, trace))), depth);
            }
            if self.full.load(Ordering::Relaxed) {
                return (Ending::Incomplete(self.bound()), depth);
            }
            frontier = found.into_iter().flatten().collect();
            depth += 1;
        }
        (Ending::Complete, depth - 1)
    }

    fn bound(&self) -> String {
        let states = self.states.load(Ordering::Relaxed);
        match states >= self.options.states {
            true => format!("the bound of {} states was reached", self.options.states),
            false => format!("the bound of {} MiB of memory was reached", self.options.memory >> 20),
        }
    }

    fn expand(&self, frontier: &[State], next: &AtomicUsize, layer: u32, memory: &mut Memory) -> Vec<State> {
        let mut found = Vec::new();
        let mut transitions = 0;
        loop {
            let begin = next.fetch_add(CHUNK, Ordering::Relaxed);
            if begin >= frontier.len() || self.full.load(Ordering::Relaxed) {
                break;
            }
            for state in &frontier[begin..frontier.len().min(begin + CHUNK)] {
                transitions += self.expand_one(state, layer, memory, &mut found);
            }
            memory.shrink();
            if self.states.load(Ordering::Relaxed) >= self.options.states || memory_in_use() > self.options.memory {
                self.full.store(true, Ordering::Relaxed);
            }
        }
        self.transitions.fetch_add(transitions, Ordering::Relaxed);
        let mut reached = lock(&self.reached);
        for label in memory.reached.drain() {
            if !reached.contains(&label.to_string()) {
                reached.insert(label.to_string());
            }
        }
        found
    }

    fn expand_one(&self, state: &State, layer: u32, memory: &mut Memory, found: &mut Vec<State>) -> usize {
        let at = self.search.fingerprint(state);
        if let Some(quiet) = self.search.quiet(state) {
            lock(&self.quiet).insert(self.search.fingerprint(&quiet));
        }
        if let Some(violation) = self.settles(state, memory) {
            lock(&self.broken).push(Broken { violation, at, at_once: false });
        }
        let successors = self.search.successors(state, memory);
        let count = successors.len();
        for (_, next) in successors {
            match next {
                Ok(reached) => {
                    if self.visit(self.search.fingerprint(&reached), at, layer) {
                        found.push(reached);
                    }
                }
                Err(violation) => lock(&self.broken).push(Broken { violation, at, at_once: true }),
            }
        }
        count
    }

    /// Notes the state; says whether it is new. Of several ways of one length the same one is kept in every run.
    fn visit(&self, state: u128, parent: u128, layer: u32) -> bool {
        match lock(&self.visited[shard(state)]).entry(state) {
            Entry::Vacant(entry) => {
                entry.insert((parent, layer));
                self.states.fetch_add(1, Ordering::Relaxed);
                true
            }
            Entry::Occupied(mut entry) => {
                if entry.get().1 == layer && parent < entry.get().0 {
                    entry.insert((parent, layer));
                }
                false
            }
        }
    }

    /// Follows the way to rest until it joins one that was followed before.
    fn settles(&self, state: &State, memory: &mut Memory) -> Option<Violation> {
        if self.search.scenario.watch != Watch::Everything {
            return None;
        }
        let mut state = self.search.without_trouble(state);
        for _ in 0..STEPS_TO_REST {
            let fingerprint = self.search.fingerprint(&state);
            if !lock(&self.settled[shard(fingerprint)]).insert(fingerprint) {
                return None;
            }
            match self.search.settle(&state, memory) {
                Settling::Step(_, Ok(next)) => state = next,
                Settling::Step(_, Err(violation)) => return Some(violation),
                Settling::AtRest => return None,
            }
        }
        Some(Violation::new(super::Invariant::I8, format!("nothing comes to rest within {STEPS_TO_REST} steps")))
    }

    /// The events from the first state to the broken promise.
    fn trace(&self, first: &State, root: u128, broken: &Broken) -> Trace {
        let mut way = vec![broken.at];
        while let Some(last) = way.last().copied().filter(|last| *last != root) {
            let parent = lock(&self.visited[shard(last)]).get(&last).map_or(root, |entry| entry.0);
            way.push(parent);
        }
        way.reverse();
        let mut memory = Memory { is_noting: true, ..Memory::default() };
        let mut trace = trace::Writer::new(self.search);
        let mut state = first.clone();
        for wanted in way.iter().skip(1) {
            let successors = self.search.successors(&state, &mut memory);
            let step = successors.into_iter().find_map(|(event, next)| {
                let next = next.ok()?;
                (self.search.fingerprint(&next) == *wanted).then_some((event, next))
            });
            let Some((event, next)) = step else { break };
            self.trace_event(&state, &event, &mut trace, &mut memory);
            state = next;
        }
        if broken.at_once {
            let successors = self.search.successors(&state, &mut memory);
            let breaks = |next: &Result<State, Violation>| next.as_ref().is_err_and(|found| *found == broken.violation);
            if let Some((event, _)) = successors.into_iter().find(|(_, next)| breaks(next)) {
                self.trace_event(&state, &event, &mut trace, &mut memory);
            }
        } else {
            self.trace_to_rest(&state, &mut trace, &mut memory);
        }
        trace.end()
    }

    fn trace_event(&self, state: &State, event: &Event, trace: &mut trace::Writer<'_>, memory: &mut Memory) {
        let mut state = state.clone();
        for made in event.moves() {
            match self.search.apply(&state, *made, memory) {
                Some(Ok(next)) => {
                    trace.write(&state, *made, Some(&next));
                    state = next;
                }
                _ => return trace.write(&state, *made, None),
            }
            if self.search.check(&state, memory).is_some() {
                return;
            }
        }
    }

    fn trace_to_rest(&self, state: &State, trace: &mut trace::Writer<'_>, memory: &mut Memory) {
        trace.trouble_ends();
        let mut state = self.search.without_trouble(state);
        for _ in 0..STEPS_TO_REST {
            match self.search.settle(&state, memory) {
                Settling::Step(made, Ok(next)) => {
                    trace.write(&state, made, Some(&next));
                    state = next;
                }
                Settling::Step(made, Err(_)) => return trace.write(&state, made, None),
                Settling::AtRest => return,
            }
        }
    }
}

/// The memory that this process uses, in bytes; 0 where the system does not tell.
fn memory_in_use() -> u64 {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages: u64 = text.split(' ').nth(1).and_then(|pages| pages.parse().ok()).unwrap_or_default();
    pages * 4096
}

/// Fingerprints are hashes already.
#[derive(Default)]
struct AsIs(u64);

type Plain = BuildHasherDefault<AsIs>;

impl Hasher for AsIs {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u128(&mut self, value: u128) {
        self.0 = value as u64;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

fn shard(fingerprint: u128) -> usize {
    (fingerprint >> 100) as usize % SHARDS
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

const SHARDS: usize = 64;
const CHUNK: usize = 256;
const STEPS_TO_REST: usize = 3000;
