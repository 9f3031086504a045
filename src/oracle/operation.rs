//! The calls of a history with their outcomes at hand.

use std::collections::HashMap;

use super::ruling::Answer;
use crate::{
    history::{Call, CallId, EventKind, History, Outcome, Request},
    spec::Rpc,
};

/// A call together with what came of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Operation<'h> {
    /// The call.
    pub(crate) call: &'h Call,
    /// How it ended; `None` when the history ends first.
    pub(crate) outcome: Option<&'h Outcome>,
    /// The position of its event in the history.
    pub(crate) started: usize,
    /// The position of the event that ended it.
    pub(crate) ended: usize,
    /// How long its client waited, in microseconds.
    pub(crate) waited: u64,
}

impl<'h> Operation<'h> {
    /// The request.
    pub(crate) fn request(&self) -> &'h Request {
        &self.call.request
    }

    /// The RPC.
    pub(crate) fn rpc(&self) -> Rpc {
        self.call.request.rpc()
    }

    /// What the driver said, if anything definite came from it.
    pub(crate) fn answer(&self) -> Option<Answer<'h>> {
        match self.outcome? {
            Outcome::Reply { reply, .. } => Some(Answer::Ok(reply)),
            Outcome::Status(status) => Some(Answer::Status(status)),
            Outcome::Lost(_) | Outcome::Garbage { .. } => None,
        }
    }

    /// Whether the caller made the id up.
    pub(crate) fn invented(&self, id: &str) -> bool {
        self.call.invented.iter().any(|invented| invented == id)
    }
}

/// All calls of a history.
#[derive(Debug, Default)]
pub(crate) struct Operations<'h>(HashMap<CallId, Operation<'h>>);

impl<'h> Operations<'h> {
    /// Pairs each call with its end.
    pub(crate) fn of(history: &'h History) -> Self {
        let mut operations: HashMap<CallId, Operation<'h>> = HashMap::new();
        for (position, event) in history.events.iter().enumerate() {
            match &event.kind {
                EventKind::Call(call) => {
                    // A second call of the same id is a broken file; the first one counts.
                    operations.entry(call.id).or_insert(Operation {
                        call,
                        outcome: None,
                        started: position,
                        ended: usize::MAX,
                        // Its beginning, until the end is seen.
                        waited: event.at,
                    });
                }
                EventKind::Return { call, outcome } => {
                    if let Some(operation) = operations.get_mut(call)
                        && operation.outcome.is_none()
                    {
                        operation.outcome = Some(outcome);
                        operation.ended = position;
                        operation.waited = event.at.saturating_sub(operation.waited);
                    }
                }
                _ => {}
            }
        }
        Self(operations)
    }

    /// The call of that id.
    pub(crate) fn get(&self, call: CallId) -> Option<&Operation<'h>> {
        self.0.get(&call)
    }

    /// All of them, in the order of their starts.
    pub(crate) fn in_order(&self) -> Vec<Operation<'h>> {
        let mut all: Vec<Operation<'h>> = self.0.values().copied().collect();
        all.sort_unstable_by_key(|operation| operation.started);
        all
    }
}
