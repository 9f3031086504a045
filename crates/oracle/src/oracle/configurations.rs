//! The set of possible worlds of one object: just-in-time linearization over overlapping and uncertain calls.
//!
//! A configuration is a possible state of the object together with the calls that have started and not yet taken effect
//! in it. An answer completes each configuration in all ways in which the call, and before it other open calls, take
//! effect, and strikes out those whose answer the specification does not permit there.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    hash::Hash,
};

use super::ruling::{Mark, Strike};
use crate::history::CallId;

/// More configurations than this, and the object is given up as inconclusive.
const BUDGET: usize = 20_000;

/// A possible continuation: the state after the call, and what its answer says of rules.
#[derive(Clone, Debug)]
pub(crate) struct Branch<S> {
    /// The state afterwards.
    pub(crate) state: S,
    /// What was kept and broken on the way.
    pub(crate) marks: Vec<Mark>,
}

/// What becomes of a state when a call takes effect in it.
pub(crate) type Applied<S> = Result<Vec<Branch<S>>, Strike>;

/// The calls of a history, as far as the set has to know them.
pub(crate) trait Calls<S> {
    /// All ways in which the call, with the answer that it got or will get, takes effect in a state.
    fn apply(&self, state: &S, call: CallId) -> Applied<S>;

    /// Whether the order of two calls can matter. Saying so costs time; missing it costs correctness.
    fn depend(&self, a: CallId, b: CallId) -> bool;

    /// Whether two calls are the same request with the same answer, of which `first` ends sooner. Of such twins the one
    /// that has to be done sooner may as well be done first.
    fn is_twin_before(&self, first: CallId, second: CallId) -> bool;

    /// What is left to say of a state in which the call has not taken effect and never will: it may have been cut off in the
    /// midst of its work.
    fn cut_off(&self, state: S, call: CallId) -> S;
}

#[derive(Clone, Debug)]
struct Configuration<S> {
    world: World<S>,
    /// Marks of calls that took effect before their answer came; not part of what makes a world.
    marks: BTreeMap<CallId, Vec<Mark>>,
}

/// What makes a configuration: two that are equal here are one.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
struct World<S> {
    state: S,
    /// Calls that may still take effect, in the order of their starts.
    pending: Vec<CallId>,
    /// Calls that took effect before their answer came.
    early: Vec<CallId>,
}

/// The possible worlds of one object.
#[derive(Clone, Debug)]
pub(crate) struct Configurations<S> {
    /// Ordered from the plainest (fewest lost calls assumed to have acted) to the least plain.
    set: Vec<Configuration<S>>,
    exhausted: bool,
}

/// What came of an answer.
#[derive(Debug)]
pub(crate) enum Verdict {
    /// At least one world explains it; these marks hold in all of those.
    Explained(Vec<Mark>),
    /// No world explains it: why the plainest one does not, then the others.
    Impossible(Strike, Vec<Strike>),
    /// There were too many worlds to follow.
    Inconclusive,
}

impl<S: Clone + Eq + Hash> Configurations<S> {
    /// One world.
    pub(crate) fn new(state: S) -> Self {
        Self { set: vec![Configuration::new(state, Vec::new())], exhausted: false }
    }

    /// The possible states, plainest first.
    pub(crate) fn states(&self) -> impl Iterator<Item = &S> {
        self.set.iter().map(|configuration| &configuration.world.state)
    }

    /// Whether the object was given up.
    pub(crate) fn is_exhausted(&self) -> bool {
        self.exhausted
    }

    /// Whether calls are open, so that the state may change at any moment.
    pub(crate) fn is_busy(&self) -> bool {
        self.set.iter().any(|configuration| !configuration.world.pending.is_empty())
    }

    /// The calls that may still take effect, or whose answers are still to come.
    pub(crate) fn calls(&self) -> impl Iterator<Item = CallId> {
        self.set.iter().flat_map(|one| one.world.pending.iter().chain(&one.world.early).copied())
    }

    /// A call starts: from now on it may take effect.
    pub(crate) fn start(&mut self, call: CallId) {
        for configuration in &mut self.set {
            configuration.world.pending.push(call);
        }
    }

    /// The call is answered.
    pub(crate) fn finish(&mut self, call: CallId, calls: &dyn Calls<S>) -> Verdict {
        if self.exhausted {
            return Verdict::Inconclusive;
        }
        let mut next = Merged::default();
        let mut strikes: Vec<Strike> = Vec::new();
        for configuration in std::mem::take(&mut self.set) {
            if configuration.world.early.contains(&call) {
                next.push(configuration);
                continue;
            }
            let related = related(call, &configuration.world.pending, calls);
            // Depth first, others before the call itself only where needed: the plain order comes first.
            let mut visited: HashSet<World<S>> = HashSet::new();
            let mut stack = vec![configuration];
            while let Some(current) = stack.pop() {
                if visited.len() + next.set.len() > BUDGET {
                    self.exhausted = true;
                    return Verdict::Inconclusive;
                }
                match calls.apply(&current.world.state, call) {
                    Ok(branches) => branches.into_iter().for_each(|branch| next.push(current.after(call, branch))),
                    Err(strike) if strikes.contains(&strike) => {}
                    Err(strike) => strikes.push(strike),
                }
                for &other in related.iter().rev().filter(|other| current.world.may_act(**other, calls)) {
                    for branch in calls.apply(&current.world.state, other).into_iter().flatten() {
                        let after = current.after(other, branch);
                        if visited.insert(after.world.clone()) {
                            stack.push(after);
                        }
                    }
                }
            }
        }
        if next.set.is_empty() {
            let mut strikes = strikes.into_iter();
            return match strikes.next() {
                Some(first) => Verdict::Impossible(first, strikes.collect()),
                None => Verdict::Inconclusive,
            };
        }
        let marks = common(next.set.iter().filter_map(|configuration| configuration.marks.get(&call).cloned()));
        self.set = next.without(call);
        Verdict::Explained(marks)
    }

    /// The call's client gave up: it may take effect later, or never. It stays open.
    pub(crate) fn lose(&mut self, call: CallId) {
        let mut set = Merged::default();
        std::mem::take(&mut self.set).into_iter().for_each(|configuration| set.push(configuration));
        self.set = set.without(call);
    }

    /// The process that worked on these calls has ended: each has taken effect by now, or never will.
    ///
    /// Calls that are still open may have taken effect before or between them: an answer can be on its way while the
    /// process ends.
    pub(crate) fn end(&mut self, ended: &[CallId], calls: &dyn Calls<S>) {
        let mut next = Merged::default();
        for configuration in std::mem::take(&mut self.set) {
            let pending = &configuration.world.pending;
            let over: Vec<CallId> = pending.iter().copied().filter(|call| ended.contains(call)).collect();
            let related: BTreeSet<CallId> =
                over.iter().flat_map(|&call| related(call, pending, calls)).chain(over.iter().copied()).collect();
            let mut visited: HashSet<World<S>> = HashSet::new();
            // The worlds in which less was done are the plainer ones: they are popped, and kept, first.
            let mut stack = vec![(configuration, true)];
            while let Some((current, is_kept)) = stack.pop() {
                if visited.len() + next.set.len() > BUDGET {
                    self.exhausted = true;
                    return;
                }
                for &call in related.iter().rev().filter(|call| current.world.may_act(**call, calls)) {
                    for branch in calls.apply(&current.world.state, call).into_iter().flatten() {
                        let after = current.after(call, branch);
                        if visited.insert(after.world.clone()) {
                            // What open calls do after the last of those that have ended, they may as well do later.
                            stack.push((after, over.contains(&call)));
                        }
                    }
                }
                if is_kept {
                    next.push(current.cut_off(&over, calls));
                }
            }
        }
        self.set = next.set;
    }

    /// Keeps the worlds that explain an observation.
    ///
    /// It says nothing of worlds in which a call may still take effect on what was seen: it may be half done.
    pub(crate) fn observe(
        &mut self,
        look: &dyn Fn(&S) -> Applied<S>,
        is_disturbed_by: &dyn Fn(CallId) -> bool,
    ) -> Verdict {
        if self.exhausted {
            return Verdict::Inconclusive;
        }
        let mut next = Merged::default();
        let mut strikes: Vec<Strike> = Vec::new();
        let mut marks: Vec<Vec<Mark>> = Vec::new();
        for configuration in &self.set {
            if configuration.world.pending.iter().any(|&call| is_disturbed_by(call)) {
                marks.push(Vec::new());
                next.push(configuration.clone());
                continue;
            }
            match look(&configuration.world.state) {
                Ok(branches) => {
                    for branch in branches {
                        marks.push(branch.marks);
                        let mut seen = configuration.clone();
                        seen.world.state = branch.state;
                        next.push(seen);
                    }
                }
                Err(strike) if strikes.contains(&strike) => {}
                Err(strike) => strikes.push(strike),
            }
        }
        if next.set.is_empty() {
            let mut strikes = strikes.into_iter();
            return match strikes.next() {
                Some(first) => Verdict::Impossible(first, strikes.collect()),
                None => Verdict::Inconclusive,
            };
        }
        self.set = next.set;
        Verdict::Explained(common(marks.into_iter()))
    }

    /// Starts again from one state, keeping the calls that are open.
    pub(crate) fn rebuild(&mut self, state: S, but: Option<CallId>) {
        let mut pending: Vec<CallId> =
            self.set.iter().flat_map(|configuration| configuration.world.pending.iter().copied()).collect();
        pending.sort_unstable();
        pending.dedup();
        pending.retain(|&call| Some(call) != but);
        self.set = vec![Configuration::new(state, pending)];
    }
}

/// The pending calls whose order before the call can matter, directly or through each other.
fn related<S>(call: CallId, pending: &[CallId], calls: &dyn Calls<S>) -> Vec<CallId> {
    let mut related = vec![call];
    loop {
        let found = pending
            .iter()
            .copied()
            .find(|&other| !related.contains(&other) && related.iter().any(|&one| calls.depend(one, other)));
        match found {
            Some(other) => related.push(other),
            None => break,
        }
    }
    // In the order of their starts.
    pending.iter().copied().filter(|other| *other != call && related.contains(other)).collect()
}

impl<S: Clone> Configuration<S> {
    fn new(state: S, pending: Vec<CallId>) -> Self {
        Self { world: World { state, pending, early: Vec::new() }, marks: BTreeMap::new() }
    }

    fn after(&self, call: CallId, branch: Branch<S>) -> Self {
        let without = |list: &[CallId]| list.iter().copied().filter(|&other| other != call).collect::<Vec<_>>();
        let mut early = self.world.early.clone();
        let position = early.partition_point(|&other| other < call);
        early.insert(position, call);
        let world = World { state: branch.state, pending: without(&self.world.pending), early };
        let mut marks = self.marks.clone();
        marks.insert(call, branch.marks);
        Self { world, marks }
    }

    /// The configuration once these calls are over, whether they have taken effect or not.
    fn cut_off(mut self, over: &[CallId], calls: &dyn Calls<S>) -> Self {
        for &call in self.world.pending.iter().filter(|call| over.contains(call)) {
            self.world.state = calls.cut_off(self.world.state, call);
        }
        self.without(over)
    }

    /// The configuration once nothing more is to be heard of these calls.
    fn without(mut self, over: &[CallId]) -> Self {
        self.world.pending.retain(|call| !over.contains(call));
        self.world.early.retain(|call| !over.contains(call));
        self.marks.retain(|call, _| !over.contains(call));
        self
    }
}

impl<S> World<S> {
    /// Whether it is this call's turn among its twins.
    fn may_act(&self, call: CallId, calls: &dyn Calls<S>) -> bool {
        self.pending.contains(&call) && !self.pending.iter().any(|&other| calls.is_twin_before(other, call))
    }
}

/// Configurations of which equal ones have become one.
struct Merged<S> {
    set: Vec<Configuration<S>>,
    at: HashMap<World<S>, usize>,
}

impl<S> Default for Merged<S> {
    fn default() -> Self {
        Self { set: Vec::new(), at: HashMap::new() }
    }
}

impl<S: Clone + Eq + Hash> Merged<S> {
    /// Adds one; of marks, those that both have are kept.
    fn push(&mut self, configuration: Configuration<S>) {
        match self.at.get(&configuration.world) {
            Some(&at) => {
                for (call, marks) in &mut self.set[at].marks {
                    if let Some(others) = configuration.marks.get(call) {
                        marks.retain(|mark| others.contains(mark));
                    }
                }
            }
            None => {
                self.at.insert(configuration.world.clone(), self.set.len());
                self.set.push(configuration);
            }
        }
    }

    /// The set once nothing more is to be said of a call.
    fn without(self, call: CallId) -> Vec<Configuration<S>> {
        let mut next = Self::default();
        for mut configuration in self.set {
            configuration.world.early.retain(|&other| other != call);
            configuration.marks.remove(&call);
            next.push(configuration);
        }
        next.set
    }
}

/// The marks that stand in all lists, in the order of the first.
pub(crate) fn common(mut lists: impl Iterator<Item = Vec<Mark>>) -> Vec<Mark> {
    let mut marks = lists.next().unwrap_or_default();
    for list in lists {
        marks.retain(|mark| list.contains(mark));
    }
    marks
}
