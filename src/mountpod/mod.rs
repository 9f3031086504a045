//! Reference-counted mount pods: one pod serves one volume in one configuration on one node, and its annotations count
//! one reference for each target path.
//!
//! The protocol is pure; the pod API that it needs is a trait with several runtimes. The node service of
//! the driver talks to [`MountPods`] alone.

mod volume;

pub use volume::{
    AccessMode, AccessType, Deadline, Fingerprint, MountPods, Publication, PublishError, Published, Role, TargetPath,
    UnpublishError, Usage, VolumeContent, VolumeId,
};
