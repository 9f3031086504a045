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
    /// When it began, in microseconds.
    pub(crate) at: u64,
    /// How long its client waited, in microseconds.
    pub(crate) waited: u64,
    /// The first call of the history with this very request: states name it in place of all its repeats.
    pub(crate) alike: CallId,
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

    /// Whether it was answered OK: only that promises that its work is done.
    pub(crate) fn is_ok(&self) -> bool {
        matches!(self.outcome, Some(Outcome::Reply { .. }))
    }

    /// Whether the caller made the id up.
    pub(crate) fn invented(&self, id: &str) -> bool {
        self.call.invented.iter().any(|invented| invented == id)
    }
}

/// What of an object a call can see or change, given the answer that it got.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Reach<'h> {
    /// Everything about the object.
    All,
    /// It changes nothing.
    Reads,
    /// The volume at these paths of a node.
    Places(&'h str, [&'h str; 2]),
}

impl<'h> Operation<'h> {
    /// Whether the order of two calls on one object can matter.
    pub(crate) fn depends_on(&self, other: &Self) -> bool {
        match (self.reach(), other.reach()) {
            (Reach::Reads, Reach::Reads) => false,
            (Reach::Places(node, paths), Reach::Places(other_node, others)) => {
                node == other_node && paths.iter().any(|path| !path.is_empty() && others.contains(path))
            }
            _ => true,
        }
    }

    /// Whether the other call is the same request with the same outcome, and this one ends sooner.
    pub(crate) fn is_twin_before(&self, other: &Self) -> bool {
        self.ended < other.ended
            && self.alike == other.alike
            && self.call.instance == other.call.instance
            && self.outcome == other.outcome
    }

    /// Whether it mounts or unmounts something at the path of the node.
    pub(crate) fn works_at(&self, node: &str, path: &str) -> bool {
        let own = match self.request() {
            Request::NodePublishVolume(request) => &request.target_path,
            Request::NodeUnpublishVolume(request) => &request.target_path,
            Request::NodeStageVolume(request) => &request.staging_target_path,
            Request::NodeUnstageVolume(request) => &request.staging_target_path,
            _ => return false,
        };
        self.call.node == node && own == path
    }

    /// A refusal tells of the whole object; what succeeds on a node concerns its paths.
    fn reach(&self) -> Reach<'h> {
        if matches!(self.outcome, Some(Outcome::Status(_))) {
            return Reach::All;
        }
        let node = self.call.node.as_str();
        match self.request() {
            Request::NodePublishVolume(r) => Reach::Places(node, [&r.target_path, &r.staging_target_path]),
            Request::NodeUnpublishVolume(r) => Reach::Places(node, [&r.target_path, ""]),
            Request::NodeStageVolume(r) => Reach::Places(node, [&r.staging_target_path, ""]),
            Request::ValidateVolumeCapabilities(_)
            | Request::ControllerGetVolume(_)
            | Request::NodeGetVolumeStats(_)
            | Request::GetSnapshot(_)
            | Request::GetVolumeGroupSnapshot(_) => Reach::Reads,
            _ => Reach::All,
        }
    }
}

/// All calls of a history.
#[derive(Debug, Default)]
pub(crate) struct Operations<'h>(HashMap<CallId, Operation<'h>>);

impl<'h> Operations<'h> {
    /// Pairs each call with its end.
    pub(crate) fn of(history: &'h History) -> Self {
        let mut operations: HashMap<CallId, Operation<'h>> = HashMap::new();
        let mut alike = HashMap::new();
        for (position, event) in history.events.iter().enumerate() {
            match &event.kind {
                EventKind::Call(call) => {
                    // A second call of the same id is a broken file; the first one counts.
                    operations.entry(call.id).or_insert(Operation {
                        call,
                        outcome: None,
                        started: position,
                        ended: usize::MAX,
                        at: event.at,
                        waited: 0,
                        alike: *alike.entry((call.request.rpc(), &call.node, call.request.encode())).or_insert(call.id),
                    });
                }
                EventKind::Return { call, outcome } => {
                    if let Some(operation) = operations.get_mut(call)
                        && operation.outcome.is_none()
                    {
                        operation.outcome = Some(outcome);
                        operation.ended = position;
                        operation.waited = event.at.saturating_sub(operation.at);
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

    /// All of them, in the order of their starts.
    pub(crate) fn in_order(&self) -> Vec<Operation<'h>> {
        let mut all: Vec<Operation<'h>> = self.0.values().copied().collect();
        all.sort_unstable_by_key(|operation| operation.started);
        all
    }
}
