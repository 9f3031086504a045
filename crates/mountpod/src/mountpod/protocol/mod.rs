//! The reference-count protocol: one pure state machine for each kind of actor.

mod collect;
mod effect;
#[cfg(test)]
mod interleaving_tests;
mod policy;
#[cfg(test)]
mod policy_tests;
mod publish;
#[cfg(test)]
mod random_walk_tests;
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
