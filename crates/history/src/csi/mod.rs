//! The messages and services of the Container Storage Interface, generated from `proto/`.
//!
//! What is generated is kept here rather than made by each build: whoever builds the tool needs no compiler of protocols for it.
//! `cargo test --test proto` fails when it no longer is what `proto/` says, and writes it anew with `UPDATE=1`.

#![allow(missing_docs, reason = "generated; the specification documents them")]
#![allow(clippy::all, reason = "generated")]

/// `csi.v1`: Identity, Controller, GroupController, SnapshotMetadata and Node.
pub mod v1 {
    include!("generated/csi.v1.rs");
}

/// The kubelet's plugin registration.
pub mod pluginregistration {
    include!("generated/pluginregistration.rs");
}

/// The encoded descriptors of both, custom options included.
pub const DESCRIPTOR_SET: &[u8] = include_bytes!("generated/descriptor.bin");
