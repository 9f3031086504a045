//! The calls of a history with their outcomes at hand.

use std::{
    collections::{HashMap, HashSet},
    hash::{DefaultHasher, Hash as _, Hasher as _},
};

use super::{moment::Held, ruling::Answer};
use crate::{
    history::{Call, CallId, Outcome, Request},
    spec::Rpc,
};

/// A call together with what came of it.
#[derive(Clone, Debug)]
pub(crate) struct Operation<'h> {
    /// The call.
    pub(crate) call: Held<'h, Call>,
    /// How it ended; `None` when the history ends first.
    pub(crate) outcome: Option<Held<'h, Outcome>>,
    /// The position of its event in the history.
    pub(crate) started: usize,
    /// The position of the event that ended it.
    pub(crate) ended: usize,
    /// How long its client waited, in microseconds.
    pub(crate) waited: u64,
    /// The first call with this very request that still matters: states name it in place of all its repeats.
    pub(crate) alike: CallId,
}

impl Operation<'_> {
    /// The request.
    pub(crate) fn request(&self) -> &Request {
        &self.call.request
    }

    /// The RPC.
    pub(crate) fn rpc(&self) -> Rpc {
        self.call.request.rpc()
    }

    /// What the driver said, if anything definite came from it.
    pub(crate) fn answer(&self) -> Option<Answer<'_>> {
        match &**self.outcome.as_ref()? {
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

impl Operation<'_> {
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
    fn reach(&self) -> Reach<'_> {
        if matches!(self.outcome.as_deref(), Some(Outcome::Status(_))) {
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

/// The calls of a history that still matter.
#[derive(Debug, Default)]
pub(crate) struct Operations<'h> {
    calls: HashMap<CallId, Operation<'h>>,
    /// By a hash of RPC, node and request: the first such call.
    alike: HashMap<[u64; 2], CallId>,
}

impl<'h> Operations<'h> {
    /// A call starts, of which it is known how it will end: `(outcome, position, moment)`.
    pub(crate) fn start(
        &mut self,
        call: Held<'h, Call>,
        started: usize,
        at: u64,
        end: Option<(Held<'h, Outcome>, usize, u64)>,
    ) {
        let alike = *self.alike.entry(likeness(&call)).or_insert(call.id);
        let (outcome, ended, waited) = match end {
            Some((outcome, position, moment)) => (Some(outcome), position, moment.saturating_sub(at)),
            None => (None, usize::MAX, 0),
        };
        self.calls.insert(call.id, Operation { call, outcome, started, ended, waited, alike });
    }

    /// Forgets all calls but these.
    pub(crate) fn keep(&mut self, calls: &HashSet<CallId>) {
        self.calls.retain(|call, _| calls.contains(call));
        self.alike.retain(|_, call| calls.contains(call));
    }

    /// How many calls it holds.
    pub(crate) fn len(&self) -> usize {
        self.calls.len()
    }

    /// The call of that id.
    pub(crate) fn get(&self, call: CallId) -> Option<&Operation<'h>> {
        self.calls.get(&call)
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
}

/// Two hashes of a request, of which no two requests of a history have both in common.
fn likeness(call: &Call) -> [u64; 2] {
    [0_u8, 1].map(|salt| {
        let mut hasher = DefaultHasher::new();
        (salt, call.request.rpc(), &call.node, call.request.encode()).hash(&mut hasher);
        hasher.finish()
    })
}
