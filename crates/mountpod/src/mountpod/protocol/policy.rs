//! Every choice of the protocol that matters, as data: the default is the hardened protocol, anything else is a
//! published predecessor or a seeded fault.

use std::time::Duration;

use super::super::{admission::SecondTarget, api::WriteMode};

/// The choices of the protocol. Machines consult it and know no other switch.
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq)]
pub struct Policy {
    /// How a reference is added.
    pub add_reference: WriteMode,
    /// How a reference is dropped.
    pub drop_reference: WriteMode,
    /// What a deletion compares.
    pub delete_precondition: DeletePrecondition,
    /// Which read says that nothing refers to the pod.
    pub emptiness: EmptinessEvidence,
    /// When the record of a terminating pod may vanish.
    pub finalizer: FinalizerOrder,
    /// Which pods an unpublish drops its reference from.
    pub unpublish_scope: UnpublishScope,
    /// Whether a workload that is shutting down still counts.
    pub terminating_workload: TerminatingWorkload,
    /// Whether the record or the evidence is read first.
    pub evidence: EvidenceOrder,
    /// What says that a daemon serves.
    pub readiness: Readiness,
    /// What is mounted on the target.
    pub bind_source: BindSource,
    /// What a failed bind means.
    pub bind_failure: BindFailure,
    /// What a mounted target means.
    pub mounted_already: MountedAlready,
    /// When the target's directory goes.
    pub remove_target: RemoveTarget,
    /// Minutes ahead of UTC of the clock that `delete-at` is written by, without a zone; `None` writes UTC.
    pub local_time: Option<i32>,
    /// What an unreadable delay means.
    pub unreadable_delete_at: UnreadableDeleteAt,
    /// When the mounts of a pod go.
    pub teardown: TeardownOrder,
    /// What a publish locks.
    pub lock: LockScope,
    /// What SINGLE_NODE_WRITER and SINGLE_NODE_READER_ONLY mean for a second target.
    pub single_node_writer_second_target: SecondTarget,
    /// How long a new pod shall stay after its last reference.
    pub delete_delay: Option<Duration>,
    /// Bounds of the waits.
    pub limits: Limits,
}

/// What a deletion compares.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub enum DeletePrecondition {
    /// Uid and version of the object whose references were seen to be none.
    #[default]
    UidAndVersion,
    /// Nothing.
    Nothing,
}

/// Which read says that nothing refers to the pod.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub enum EmptinessEvidence {
    /// The one whose version the deletion names.
    #[default]
    SameRead,
    /// An earlier one.
    EarlierRead,
}

/// When the record of a terminating pod may vanish.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub enum FinalizerOrder {
    /// When a successor holds its references.
    #[default]
    AfterSuccessor,
    /// Before the successor exists.
    BeforeSuccessor,
}

/// Which pods an unpublish drops its reference from.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub enum UnpublishScope {
    /// All that hold it.
    #[default]
    EveryPod,
    /// Those that are not terminating.
    LivePods,
}

/// Whether a workload that is shutting down still counts.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub enum TerminatingWorkload {
    /// It uses its volumes until its object is gone.
    #[default]
    Counts,
    /// It is taken for dead.
    CountsAsGone,
}

/// Whether the record or the evidence is read first.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub enum EvidenceOrder {
    /// A reference that the record holds was there before the evidence was read.
    #[default]
    RecordFirst,
    /// The evidence may be older than the reference.
    EvidenceFirst,
}

/// What says that a daemon serves.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub enum Readiness {
    /// Its own mount, looked at through a descriptor.
    #[default]
    Descriptor,
    /// The pod's status, which can be stale.
    Status,
}

/// What is mounted on the target.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub enum BindSource {
    /// The very root that was verified.
    #[default]
    Descriptor,
    /// Whatever the path leads to by now.
    Path,
}

/// What a failed bind means.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub enum BindFailure {
    /// The publish fails.
    #[default]
    Fails,
    /// The publish succeeds.
    IsIgnored,
}

/// What a mounted target means to a publish.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub enum MountedAlready {
    /// Only that no bind is needed, if it is the right mount.
    #[default]
    EnsureReference,
    /// That nothing is left to do.
    ReplyAtOnce,
}

/// When the target's directory goes.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub enum RemoveTarget {
    /// Last: an orchestrator that finds no directory after a crash never calls again.
    #[default]
    AfterReferenceDrop,
    /// Right after the unmount.
    BeforeReferenceDrop,
}

/// What an unreadable `delete-at` or `delete-delay` means.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub enum UnreadableDeleteAt {
    /// The pod stays and the value is reported.
    #[default]
    KeepsThePod,
    /// The pod is deleted.
    DeletesThePod,
}

/// When the mounts of a pod go.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub enum TeardownOrder {
    /// When its deletion was accepted.
    #[default]
    AfterDelete,
    /// Before the deletion is asked for.
    BeforeDelete,
}

/// What a publish locks.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub enum LockScope {
    /// Nothing: compare-and-swap carries the argument.
    #[default]
    Nothing,
    /// A lock of the pod's key, held over all waits; the deletion handler takes it as well.
    HeldWhileWaiting,
}

/// Bounds of the waits, in polls.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Limits {
    /// Polls for a terminating predecessor.
    pub predecessor_polls: u16,
    /// Polls for a daemon to serve.
    pub readiness_polls: u16,
    /// The longest pause between two polls, in milliseconds.
    pub poll_milliseconds: u16,
    /// How long a target may be seen without a mount before its reference is taken for dead, in milliseconds.
    pub unmounted_grace_milliseconds: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            predecessor_polls: 120,
            readiness_polls: 60,
            poll_milliseconds: 500,
            unmounted_grace_milliseconds: 600_000,
        }
    }
}
