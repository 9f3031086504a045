//! The messages and services of the Container Storage Interface, generated from `proto/`.

#![allow(missing_docs, reason = "generated; the specification documents them")]
#![allow(clippy::all, reason = "generated")]

/// `csi.v1`: Identity, Controller, GroupController, SnapshotMetadata and Node.
pub mod v1 {
    tonic::include_proto!("csi.v1");
}

/// The kubelet's plugin registration.
pub mod pluginregistration {
    tonic::include_proto!("pluginregistration");
}

/// The encoded descriptors of both, custom options included.
pub const DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptor.bin"));
