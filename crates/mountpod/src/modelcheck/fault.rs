//! The seventeen mistakes that the search has to find, each one choice of the policy.

use super::super::mountpod::{
    api::WriteMode,
    protocol::{
        BindFailure, BindSource, DeletePrecondition, EmptinessEvidence, EvidenceOrder, FinalizerOrder, LockScope,
        MountedAlready, Policy, Readiness, RemoveTarget, TeardownOrder, TerminatingWorkload, UnpublishScope,
        UnreadableDeleteAt,
    },
};

macro_rules! faults {
    ($($(#[doc = $about:literal])* $name:ident = $id:literal in $scenario:literal => { $($field:ident: $value:expr),* },)*) => {
        /// A mistake that a published protocol made, or could make.
        #[derive(Clone, Copy, Debug, Eq, PartialEq)]
        pub enum Fault {
            $($(#[doc = $about])* $name,)*
        }

        impl Fault {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// The name on the command line.
            pub const fn id(self) -> &'static str {
                match self { $(Self::$name => $id,)* }
            }

            /// The scenario that shows the harm soonest.
            pub const fn scenario(self) -> &'static str {
                match self { $(Self::$name => $scenario,)* }
            }

            /// What is done wrong.
            pub const fn about(self) -> &'static str {
                match self { $(Self::$name => concat!($($about),*),)* }
            }

            /// The hardened protocol with this mistake.
            pub fn policy(self) -> Policy {
                match self { $(Self::$name => Policy { $($field: $value,)* ..Policy::default() },)* }
            }
        }
    };
}

faults! {
    /// A reference is added without comparing the version.
    UnversionedAdd = "unversioned-add" in "second-instance" => { add_reference: WriteMode::Unconditional },
    /// A pod is deleted without comparing uid and version.
    UnconditionalDelete = "unconditional-delete" in "second-instance" => {
        delete_precondition: DeletePrecondition::Nothing
    },
    /// The references are read before the version that the deletion names.
    EarlierRead = "earlier-read" in "second-instance" => { emptiness: EmptinessEvidence::EarlierRead },
    /// All annotations are patched at once, without a version.
    WholeMapPatch = "whole-map-patch" in "second-instance" => {
        add_reference: WriteMode::PatchAnnotations,
        drop_reference: WriteMode::PatchAnnotations
    },
    /// The finalizer is removed before a successor holds the references.
    FinalizerFirst = "finalizer-first" in "eviction-crash" => { finalizer: FinalizerOrder::BeforeSuccessor },
    /// An unpublish skips terminating pods.
    SkipTerminating = "skip-terminating" in "eviction" => { unpublish_scope: UnpublishScope::LivePods },
    /// A workload that is shutting down is taken for dead.
    TerminatingIsGone = "terminating-is-gone" in "garbage-collector" => {
        terminating_workload: TerminatingWorkload::CountsAsGone
    },
    /// The list of workloads is read before the record.
    ListBeforeRecord = "list-before-record" in "garbage-collector" => { evidence: EvidenceOrder::EvidenceFirst },
    /// A daemon is taken for ready by the status of its pod.
    ReadyByStatus = "ready-by-status" in "daemon-loss" => { readiness: Readiness::Status },
    /// The daemon's path is mounted instead of the verified root.
    BindByPath = "bind-by-path" in "daemon-loss" => { bind_source: BindSource::Path },
    /// A failed bind is answered with success.
    BindFailureIgnored = "bind-failure-ignored" in "failed-mount" => { bind_failure: BindFailure::IsIgnored },
    /// A target that is mounted is answered with success at once.
    MountedIsDone = "mounted-is-done" in "contradiction" => { mounted_already: MountedAlready::ReplyAtOnce },
    /// The target's directory is removed before the reference.
    RemoveTargetFirst = "remove-target-first" in "publish-unpublish-crash" => {
        remove_target: RemoveTarget::BeforeReferenceDrop
    },
    /// The moment of deletion is written in local time and read as UTC.
    LocalTime = "local-time" in "delayed-deletion" => { local_time: Some(-300) },
    /// A moment of deletion that cannot be read deletes the pod.
    UnreadableDeletes = "unreadable-deletes" in "delayed-deletion" => {
        unreadable_delete_at: UnreadableDeleteAt::DeletesThePod
    },
    /// The mounts of a pod are torn down before its deletion is asked for.
    TeardownFirst = "teardown-first" in "second-instance" => { teardown: TeardownOrder::BeforeDelete },
    /// A publish waits for a deletion under the lock that the deletion needs.
    WaitUnderLock = "wait-under-lock" in "eviction" => { lock: LockScope::HeldWhileWaiting },
}
