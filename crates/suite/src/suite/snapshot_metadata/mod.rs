//! Scenarios of the SnapshotMetadata service, one file per RPC.

pub(super) mod get_metadata_allocated;
pub(super) mod get_metadata_delta;
mod written;
