//! The events of a history one after the other, from memory or from a file, each call together with what came of it.

use std::{
    collections::{BTreeMap, HashMap, HashSet, VecDeque},
    ops::Deref,
    sync::Arc,
};

use crate::history::{Call, CallId, Event, EventKind, Fault, Observation, Outcome};

/// A part of a history: borrowed from one that is in memory, or shared by those who still need it.
#[derive(Debug)]
pub(crate) enum Held<'h, T> {
    /// In a history that outlives the judgement.
    Borrowed(&'h T),
    /// Read from a file.
    Shared(Arc<T>),
}

impl<T> Clone for Held<'_, T> {
    fn clone(&self) -> Self {
        match self {
            Self::Borrowed(one) => Self::Borrowed(one),
            Self::Shared(one) => Self::Shared(one.clone()),
        }
    }
}

impl<T> Deref for Held<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        match self {
            Self::Borrowed(one) => one,
            Self::Shared(one) => one,
        }
    }
}

impl<T: PartialEq> PartialEq for Held<'_, T> {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

/// An event, whose parts can be kept without it.
#[derive(Clone, Debug)]
pub(crate) struct Moment<'h> {
    /// Microseconds since the history began.
    pub(crate) at: u64,
    /// What happened.
    pub(crate) kind: Kind<'h>,
}

/// What happened.
#[derive(Clone, Debug)]
pub(crate) enum Kind<'h> {
    /// A client sent a request.
    Call(Held<'h, Call>),
    /// A call ended.
    Return(CallId, Held<'h, Outcome>),
    /// Somebody looked at the world.
    Observed(Held<'h, Observation>),
    /// Something was done to the driver.
    Fault(Held<'h, Fault>),
    /// Something that no rule is about.
    Other,
}

impl<'h> From<&'h Event> for Moment<'h> {
    fn from(event: &'h Event) -> Self {
        let kind = match &event.kind {
            EventKind::Call(call) => Kind::Call(Held::Borrowed(call)),
            EventKind::Return { call, outcome } => Kind::Return(*call, Held::Borrowed(outcome)),
            EventKind::Observed(observation) => Kind::Observed(Held::Borrowed(observation)),
            EventKind::Fault(fault) => Kind::Fault(Held::Borrowed(fault)),
            EventKind::Scenario { .. } => Kind::Other,
        };
        Self { at: event.at, kind }
    }
}

impl From<Event> for Moment<'_> {
    fn from(event: Event) -> Self {
        let kind = match event.kind {
            EventKind::Call(call) => Kind::Call(Held::Shared(Arc::new(call))),
            EventKind::Return { call, outcome } => Kind::Return(call, Held::Shared(Arc::new(outcome))),
            EventKind::Observed(observation) => Kind::Observed(Held::Shared(Arc::new(observation))),
            EventKind::Fault(fault) => Kind::Fault(Held::Shared(Arc::new(fault))),
            EventKind::Scenario { .. } => Kind::Other,
        };
        Self { at: event.at, kind }
    }
}

/// How a call ended: the outcome, its position and its moment.
pub(crate) type End<'h> = (Held<'h, Outcome>, usize, u64);

/// Reads so far ahead that the end of each call is known when its start is told.
///
/// A second call of an id that was there before is a broken file: it is left out, and so is a second end.
pub(crate) struct Ahead<'h, I> {
    source: I,
    /// Calls that have no end in the history: nothing is read in search of it.
    endless: HashSet<CallId>,
    read: usize,
    waiting: VecDeque<(usize, Moment<'h>)>,
    known: Numbers,
    /// Calls whose end has not been read.
    open: HashSet<CallId>,
    ends: HashMap<CallId, End<'h>>,
}

impl<'h, E, I: Iterator<Item = Result<Moment<'h>, E>>> Ahead<'h, I> {
    /// Over these events, of which these calls never end.
    pub(crate) fn new(source: I, endless: HashSet<CallId>) -> Self {
        Self {
            source,
            endless,
            read: 0,
            waiting: VecDeque::new(),
            known: Numbers::default(),
            open: HashSet::new(),
            ends: HashMap::new(),
        }
    }

    /// The next event with its position, and for a call its end.
    ///
    /// # Errors
    ///
    /// Those of the source.
    #[allow(clippy::type_complexity, reason = "an event, where it stands, and its end")]
    pub(crate) fn next(&mut self) -> Result<Option<(usize, Moment<'h>, Option<End<'h>>)>, E> {
        loop {
            let waits = match self.waiting.front() {
                None => true,
                Some((_, Moment { kind: Kind::Call(call), .. })) => self.open.contains(&call.id),
                Some(_) => false,
            };
            if !waits {
                break;
            }
            let Some(moment) = self.source.next() else { break };
            self.take(moment?);
        }
        let Some((position, moment)) = self.waiting.pop_front() else { return Ok(None) };
        let end = match &moment.kind {
            Kind::Call(call) => self.ends.remove(&call.id),
            _ => None,
        };
        Ok(Some((position, moment, end)))
    }

    fn take(&mut self, moment: Moment<'h>) {
        let position = self.read;
        self.read += 1;
        match &moment.kind {
            Kind::Call(call) => {
                if !self.known.insert(call.id.0) {
                    return;
                }
                if !self.endless.contains(&call.id) {
                    self.open.insert(call.id);
                }
            }
            Kind::Return(call, outcome) => {
                if !self.open.remove(call) {
                    return;
                }
                self.ends.insert(*call, (outcome.clone(), position, moment.at));
            }
            _ => {}
        }
        self.waiting.push_back((position, moment));
    }
}

/// A set of numbers that mostly follow each other.
#[derive(Debug, Default)]
pub(crate) struct Numbers(BTreeMap<u64, u64>);

impl Numbers {
    /// Adds a number; whether it is new.
    pub(crate) fn insert(&mut self, number: u64) -> bool {
        let before = self.0.range(..=number).next_back().map(|(&first, &last)| (first, last));
        if before.is_some_and(|(_, last)| number <= last) {
            return false;
        }
        let after = number.checked_add(1).and_then(|next| self.0.remove(&next));
        let last = after.unwrap_or(number);
        match before {
            Some((first, end)) if end.checked_add(1) == Some(number) => self.0.insert(first, last),
            _ => self.0.insert(number, last),
        };
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_new_once() {
        let mut numbers = Numbers::default();
        for number in [5, 3, 4, 0, u64::MAX, 1, 2] {
            assert!(numbers.insert(number), "{number}");
            assert!(!numbers.insert(number), "{number}");
        }
        assert_eq!(numbers.0, BTreeMap::from([(0, 5), (u64::MAX, u64::MAX)]));
    }
}
