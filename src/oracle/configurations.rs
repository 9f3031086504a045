//! The set of possible worlds of one object: just-in-time linearization over overlapping and uncertain calls.
//!
//! A configuration is a possible state of the object together with the calls that have started and not yet taken effect
//! in it. An answer completes each configuration in all ways in which the call, and before it other open calls, take
//! effect, and strikes out those whose answer the specification does not permit there.

use std::{collections::BTreeMap, collections::HashSet, hash::Hash};

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

#[derive(Clone, Debug, Eq, Hash, PartialEq)]
struct Configuration<S> {
    state: S,
    /// Calls that may still take effect, in the order of their starts.
    pending: Vec<CallId>,
    /// Calls that took effect before their answer came.
    early: BTreeMap<CallId, Vec<Mark>>,
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
        Self { set: vec![Configuration { state, pending: Vec::new(), early: BTreeMap::new() }], exhausted: false }
    }

    /// The possible states, plainest first.
    pub(crate) fn states(&self) -> impl Iterator<Item = &S> {
        self.set.iter().map(|configuration| &configuration.state)
    }

    /// Whether the object was given up.
    pub(crate) fn is_exhausted(&self) -> bool {
        self.exhausted
    }

    /// Whether calls are open, so that the state may change at any moment.
    pub(crate) fn is_busy(&self) -> bool {
        self.set.iter().any(|configuration| !configuration.pending.is_empty())
    }

    /// A call starts: from now on it may take effect.
    pub(crate) fn start(&mut self, call: CallId) {
        for configuration in &mut self.set {
            configuration.pending.push(call);
        }
    }

    /// The call is answered: `apply` lets any call, with its answer, take effect in a state.
    pub(crate) fn finish(&mut self, call: CallId, apply: &dyn Fn(&S, CallId) -> Applied<S>) -> Verdict {
        if self.exhausted {
            return Verdict::Inconclusive;
        }
        let mut next: Vec<Configuration<S>> = Vec::new();
        let mut seen: HashSet<Configuration<S>> = HashSet::new();
        let mut strikes: Vec<Strike> = Vec::new();
        for configuration in &self.set {
            if let Some(marks) = configuration.early.get(&call) {
                let mut done = configuration.clone();
                let marks = marks.clone();
                done.early.remove(&call);
                done.early.insert(call, marks);
                push(&mut next, &mut seen, done);
                continue;
            }
            // Depth first, others before the call itself only where needed: the plain order comes first.
            let mut stack = vec![configuration.clone()];
            let mut visited: HashSet<Configuration<S>> = HashSet::new();
            while let Some(current) = stack.pop() {
                if visited.len() + next.len() > BUDGET {
                    self.exhausted = true;
                    return Verdict::Inconclusive;
                }
                match apply(&current.state, call) {
                    Ok(branches) => {
                        for branch in branches {
                            push(&mut next, &mut seen, current.after(call, branch));
                        }
                    }
                    Err(strike) => strikes.push(strike),
                }
                let others = current.pending.iter().copied().filter(|&other| other != call);
                for other in others.collect::<Vec<_>>().into_iter().rev() {
                    if let Ok(branches) = apply(&current.state, other) {
                        for branch in branches {
                            let after = current.after(other, branch);
                            if visited.insert(after.clone()) {
                                stack.push(after);
                            }
                        }
                    }
                }
            }
        }
        if next.is_empty() {
            let mut distinct: Vec<Strike> = Vec::new();
            for strike in strikes {
                if !distinct.contains(&strike) {
                    distinct.push(strike);
                }
            }
            let mut distinct = distinct.into_iter();
            return match distinct.next() {
                Some(first) => Verdict::Impossible(first, distinct.collect()),
                None => Verdict::Inconclusive,
            };
        }
        let marks = common(next.iter().filter_map(|configuration| configuration.early.get(&call)));
        for configuration in &mut next {
            configuration.early.remove(&call);
        }
        self.set = merged(next);
        Verdict::Explained(marks)
    }

    /// The call's client gave up: it may take effect later, or never. Nothing changes, it stays open.
    pub(crate) fn lose(&mut self, call: CallId) {
        for configuration in &mut self.set {
            configuration.early.remove(&call);
        }
        let set = std::mem::take(&mut self.set);
        self.set = merged(set);
    }

    /// The process that worked on these calls has ended: each has taken effect by now, or never will.
    pub(crate) fn end(&mut self, calls: &[CallId], apply: &dyn Fn(&S, CallId) -> Applied<S>) {
        for &call in calls {
            let mut next = Vec::new();
            for mut configuration in std::mem::take(&mut self.set) {
                if configuration.pending.contains(&call)
                    && let Ok(branches) = apply(&configuration.state, call)
                {
                    next.extend(branches.into_iter().map(|branch| {
                        let mut after = configuration.after(call, branch);
                        after.early.remove(&call);
                        after
                    }));
                }
                configuration.pending.retain(|&other| other != call);
                // The world in which the call has done nothing is the plainer one.
                next.insert(0, configuration);
            }
            self.set = merged(next);
            if self.set.len() > BUDGET {
                self.exhausted = true;
                return;
            }
        }
    }

    /// Keeps the worlds that explain an observation.
    pub(crate) fn observe(&mut self, look: &dyn Fn(&S) -> Applied<S>) -> Verdict {
        if self.exhausted {
            return Verdict::Inconclusive;
        }
        let mut next = Vec::new();
        let mut strikes: Vec<Strike> = Vec::new();
        let mut marks: Vec<Vec<Mark>> = Vec::new();
        for configuration in &self.set {
            match look(&configuration.state) {
                Ok(branches) => {
                    for branch in branches {
                        marks.push(branch.marks);
                        next.push(Configuration { state: branch.state, ..configuration.clone() });
                    }
                }
                Err(strike) => {
                    if !strikes.contains(&strike) {
                        strikes.push(strike);
                    }
                }
            }
        }
        if next.is_empty() {
            let mut strikes = strikes.into_iter();
            return match strikes.next() {
                Some(first) => Verdict::Impossible(first, strikes.collect()),
                None => Verdict::Inconclusive,
            };
        }
        self.set = merged(next);
        Verdict::Explained(common(marks.iter()))
    }

    /// Starts again from one state, keeping the calls that are open.
    pub(crate) fn rebuild(&mut self, state: S, but: Option<CallId>) {
        let mut pending: Vec<CallId> =
            self.set.iter().flat_map(|configuration| configuration.pending.iter().copied()).collect();
        pending.sort_unstable();
        pending.dedup();
        pending.retain(|&call| Some(call) != but);
        self.set = vec![Configuration { state, pending, early: BTreeMap::new() }];
    }
}

impl<S: Clone> Configuration<S> {
    fn after(&self, call: CallId, branch: Branch<S>) -> Self {
        let mut after = Self { state: branch.state, pending: self.pending.clone(), early: self.early.clone() };
        after.pending.retain(|&other| other != call);
        after.early.insert(call, branch.marks);
        after
    }
}

fn push<S: Clone + Eq + Hash>(
    next: &mut Vec<Configuration<S>>,
    seen: &mut HashSet<Configuration<S>>,
    one: Configuration<S>,
) {
    if seen.insert(one.clone()) {
        next.push(one);
    }
}

/// Equal configurations become one; the order of the first of each stays.
fn merged<S: Clone + Eq + Hash>(set: Vec<Configuration<S>>) -> Vec<Configuration<S>> {
    let mut seen = HashSet::with_capacity(set.len());
    set.into_iter().filter(|configuration| seen.insert(configuration.clone())).collect()
}

/// The marks that stand in all lists, in the order of the first.
fn common<'a>(mut lists: impl Iterator<Item = &'a Vec<Mark>>) -> Vec<Mark> {
    let Some(first) = lists.next() else { return Vec::new() };
    let mut marks = first.clone();
    for list in lists {
        marks.retain(|mark| list.contains(mark));
    }
    marks
}
