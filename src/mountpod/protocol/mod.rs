//! The reference-count protocol: one pure state machine for each kind of actor.

mod collect;
mod effect;
mod policy;
mod publish;
mod rebind;
mod retire;
mod settle;
#[cfg(test)]
mod simulation;
#[cfg(test)]
mod simulation_tests;
mod terminate;
mod unpublish;
mod withdraw;

pub use collect::{Collect, Collected};
pub use effect::{
    Answer, DaemonId, Effect, Liveness, Machine, MountOperation, Mounted, PodLock, TargetState, Waiting, WorkloadState,
};
pub use policy::{
    BindFailure, BindSource, DeletePrecondition, EmptinessEvidence, EvidenceOrder, FinalizerOrder, Limits, LockScope,
    MountedAlready, Policy, Readiness, RemoveTarget, TeardownOrder, TerminatingWorkload, UnpublishScope,
    UnreadableDeleteAt,
};
pub use publish::{Publish, PublishOutcome, PublishRequest};
pub use rebind::{Rebind, RebindOutcome};
pub use retire::{Retire, Retirement};
pub use terminate::{Terminate, TerminateOutcome};
pub use unpublish::{Unpublish, UnpublishOutcome, UnpublishRequest};
