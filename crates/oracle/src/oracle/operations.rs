//! The calls at hand: those that lie ahead, those that go on, and those that objects remember.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    hash::{DefaultHasher, Hash as _, Hasher as _},
    rc::Rc,
};

use super::{
    mentions::Mentions,
    operation::{End, Operation},
};
use crate::history::{Call, CallId};

/// Calls by their ids.
#[derive(Debug, Default)]
pub(crate) struct Operations {
    calls: HashMap<CallId, Rc<Operation>>,
    /// Ids that were given to calls: a second call of the same id is a broken file, and the first one counts.
    numbers: Numbers,
    /// Requests that may be repeated.
    first: HashMap<Likeness, First>,
}

/// What calls with the very same request to the same node have in common: among millions of others nothing else has it.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
struct Likeness(u64);

/// The first call with a request.
#[derive(Clone, Copy, Debug)]
struct First {
    call: CallId,
    /// The last event that can repeat the request.
    until: usize,
}

impl Operations {
    /// A call comes into sight; `end` says how it ends, where that is known already. Whether it is a call at all.
    pub(super) fn begin(&mut self, started: usize, at: u64, call: Call, end: Option<End>, mentions: &Mentions) -> bool {
        let id = call.id;
        if !self.numbers.add(id) {
            return false;
        }
        let until = mentions.last_repeat(&call.request);
        let first = self.first.entry(Likeness::of(&call)).or_insert(First { call: id, until });
        let alike = first.call;
        let mut operation = Operation::begun(started, at, call, alike);
        if let Some(end) = end {
            operation.end(end);
        }
        self.calls.insert(id, Rc::new(operation));
        true
    }

    /// The end of a call comes into sight. Whether it is one, and the first.
    pub(super) fn end(&mut self, call: CallId, end: End) -> bool {
        let Some(operation) = self.calls.get_mut(&call) else { return false };
        if operation.outcome.is_some() {
            return operation.ended == end.position;
        }
        // Nobody else looks at a call before its end is in sight.
        let Some(operation) = Rc::get_mut(operation) else { return false };
        operation.end(end);
        true
    }

    /// The call of that id.
    pub(crate) fn get(&self, call: CallId) -> Option<&Operation> {
        self.calls.get(&call).map(Rc::as_ref)
    }

    /// The call of that id, to be kept while the judgement goes on.
    pub(crate) fn share(&self, call: CallId) -> Option<Rc<Operation>> {
        self.calls.get(&call).map(Rc::clone)
    }

    /// Whether the order of two calls on one object can matter.
    pub(crate) fn depend(&self, a: CallId, b: CallId) -> bool {
        match (self.get(a), self.get(b)) {
            (Some(a), Some(b)) => a.depends_on(b),
            _ => true,
        }
    }

    /// Whether the calls are twins of which the first ends sooner.
    pub(crate) fn is_twin_before(&self, first: CallId, second: CallId) -> bool {
        match (self.get(first), self.get(second)) {
            (Some(first), Some(second)) => first.is_twin_before(second),
            _ => false,
        }
    }

    /// How many calls are at hand.
    pub(super) fn len(&self) -> usize {
        self.calls.len()
    }

    /// Forgets the calls that began up to this event, but for those that somebody remembers, and requests that do not come
    /// again.
    pub(super) fn forget(&mut self, at: usize, remembered: &HashSet<CallId>) {
        self.calls.retain(|id, operation| operation.started > at || remembered.contains(id));
        self.first.retain(|_, first| first.until > at);
    }

    /// The first calls with requests that may come again.
    pub(super) fn repeatable(&self) -> HashSet<CallId> {
        self.first.values().map(|first| first.call).collect()
    }
}

impl Likeness {
    fn of(call: &Call) -> Self {
        let mut hasher = DefaultHasher::new();
        (call.request.rpc(), &call.node, call.request.encode()).hash(&mut hasher);
        Self(hasher.finish())
    }
}

/// Numbers that were given out: as most come in a row, few words hold them.
#[derive(Debug, Default)]
pub(super) struct Numbers(BTreeMap<u64, u64>);

impl Numbers {
    /// Adds one. Whether it is new.
    pub(super) fn add(&mut self, CallId(id): CallId) -> bool {
        let before = self.0.range(..=id).next_back().map(|(&from, &to)| (from, to));
        if before.is_some_and(|(_, to)| id <= to) {
            return false;
        }
        let from = before.filter(|(_, to)| *to + 1 == id).map_or(id, |(from, _)| from);
        let to = id.checked_add(1).and_then(|next| self.0.remove(&next)).unwrap_or(id);
        self.0.insert(from, to);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_in_a_row_are_held_together() {
        let mut numbers = Numbers::default();
        for id in [5, 7, 6, 0, u64::MAX, 1] {
            assert!(numbers.add(CallId(id)), "{id}");
        }
        for id in [5, 6, 7, 0, 1, u64::MAX] {
            assert!(!numbers.add(CallId(id)), "{id}");
        }
        assert_eq!(numbers.0, [(0, 1), (5, 7), (u64::MAX, u64::MAX)].into());
    }
}
