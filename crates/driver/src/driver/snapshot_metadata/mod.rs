//! The SnapshotMetadata service: which blocks of a snapshot hold data, and which changed since another one.

mod service;
mod stream;

pub use service::SnapshotMetadataService;
