//! A call with its outcome at hand.

use super::ruling::Answer;
use crate::{
    history::{Call, CallId, Outcome, Request},
    spec::Rpc,
};

/// A call together with what came of it.
#[derive(Clone, Debug)]
pub(crate) struct Operation {
    /// The call.
    pub(crate) call: Call,
    /// How it ended; `None` when the history ends first.
    pub(crate) outcome: Option<Outcome>,
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

/// How a call ended.
#[derive(Debug)]
pub(super) struct End {
    /// How it ended.
    pub(super) outcome: Outcome,
    /// The position of the event.
    pub(super) position: usize,
    /// When, in microseconds.
    pub(super) at: u64,
}

impl Operation {
    /// One that goes on.
    pub(super) fn begun(started: usize, at: u64, call: Call, alike: CallId) -> Self {
        Self { call, outcome: None, started, ended: usize::MAX, at, waited: 0, alike }
    }

    /// It ends.
    pub(super) fn end(&mut self, End { outcome, position, at }: End) {
        self.outcome = Some(outcome);
        self.ended = position;
        self.waited = at.saturating_sub(self.at);
    }

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
        match self.outcome.as_ref()? {
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
enum Reach<'a> {
    /// Everything about the object.
    All,
    /// It changes nothing.
    Reads,
    /// The volume at these paths of a node.
    Places(&'a str, [&'a str; 2]),
}

impl Operation {
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
