//! What the search itself keeps in mind: how far the requests are, what was promised, who holds which lock, the time.

use super::{
    super::mountpod::{
        instant::Timestamp,
        protocol::{PodLock, WorkloadState},
    },
    actor::Job,
    scenario::Budget,
};

/// The part of a state that is neither pod API nor node nor actor.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(super) struct Ledger {
    pub(super) phase: Phase,
    pub(super) now: Timestamp,
    /// How far each request is.
    pub(super) progress: Vec<Progress>,
    /// What each target was promised.
    pub(super) promises: Vec<Promise>,
    /// The workload behind each target; absent before its first publish.
    pub(super) workloads: Vec<Option<WorkloadState>>,
    pub(super) locks: Vec<Held>,
    pub(super) budget: Budget,
}

/// A lock of one driver instance and the actor that holds it.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(super) struct Held {
    pub(super) instance: u8,
    pub(super) lock: PodLock,
    pub(super) job: Job,
}

/// How far a request is.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(super) enum Progress {
    /// It was not made yet.
    Waiting,
    /// It was cut off and will be made again.
    Interrupted,
    /// It is under way; the orchestrator saw a directory at the target, or did not.
    Running { saw_directory: bool },
    /// It was answered.
    Ended,
    /// It failed and will be made again.
    Failed,
    /// It was made again after all trouble had ended.
    LastAttempt,
}

/// What the last answer for a target said.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(super) enum Promise {
    /// Nothing, or it is being changed.
    Nothing,
    /// The volume is there.
    Published { read_only: bool },
    /// The volume is not there.
    Unpublished,
}

/// What the search lets happen.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(super) enum Phase {
    /// Everything.
    Explore,
    /// The trouble has ended; requests that were begun go on to their end.
    Finish,
    /// Background work does what it has to do.
    Repair,
    /// Everybody leaves.
    Leave { next: u8 },
    /// What is left is removed.
    Sweep,
}
