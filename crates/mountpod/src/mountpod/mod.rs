//! Reference-counted mount pods: one pod serves one volume in one configuration on one node, and its annotations count
//! one reference for each target path.
//!
//! The protocol is pure; the pod API that it needs is a trait with several runtimes. The node service of
//! the driver talks to [`MountPods`] alone.

pub mod admission;
pub mod annotations;
pub mod api;
mod content;
pub mod executor;
pub mod instant;
pub mod memory;
pub mod objects;
pub mod pod;
#[cfg(target_os = "linux")]
pub mod process;
pub mod protocol;
mod protocols;
pub mod published;
mod shared;
mod volume;
mod write_gate;

pub use protocols::Protocol;
pub use shared::Shared;
pub use volume::{
    AccessMode, AccessType, Deadline, Fingerprint, MountPods, Publication, PublishError, Published, Role, TargetPath,
    UnpublishError, Usage, VolumeContent, VolumeId,
};
pub use write_gate::{Entered, Shut, WriteGate};
