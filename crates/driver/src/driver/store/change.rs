//! What the driver asks of its store.

use thiserror::Error;

use crate::{
    driver::{
        GroupSnapshotId, SnapshotId,
        record::{Attachment, GroupSnapshot, Snapshot, Volume},
        topology::Topology,
    },
    mountpod::VolumeId,
};

/// Durable records. Reads see the last commit; a commit happens whole or not at all, and once it has returned it
/// survives the loss of the process and of power.
pub trait Store: Send + Sync + 'static {
    /// A volume.
    fn volume(&self, id: &VolumeId) -> Result<Option<Volume>, StoreError>;

    /// The volume of this name.
    fn volume_named(&self, name: &str) -> Result<Option<Volume>, StoreError>;

    /// Up to `limit` volumes in the order of their ids, after this id.
    fn volumes_after(&self, after: Option<&str>, limit: usize) -> Result<Vec<Volume>, StoreError>;

    /// A snapshot.
    fn snapshot(&self, id: &SnapshotId) -> Result<Option<Snapshot>, StoreError>;

    /// The snapshot of this name.
    fn snapshot_named(&self, name: &str) -> Result<Option<Snapshot>, StoreError>;

    /// Up to `limit` snapshots in the order of their ids, after this id.
    fn snapshots_after(&self, after: Option<&str>, limit: usize) -> Result<Vec<Snapshot>, StoreError>;

    /// A group snapshot.
    fn group_snapshot(&self, id: &GroupSnapshotId) -> Result<Option<GroupSnapshot>, StoreError>;

    /// The group snapshot of this name.
    fn group_snapshot_named(&self, name: &str) -> Result<Option<GroupSnapshot>, StoreError>;

    /// Up to `limit` group snapshots in the order of their ids, after this id.
    fn group_snapshots_after(&self, after: Option<&str>, limit: usize) -> Result<Vec<GroupSnapshot>, StoreError>;

    /// Where a volume is attached, in the order of the nodes.
    fn attachments_of(&self, volume: &VolumeId) -> Result<Vec<Attachment>, StoreError>;

    /// How many volumes are attached to a node.
    fn attached_to(&self, node: &str) -> Result<usize, StoreError>;

    /// The bytes that volumes and snapshots take up in a topology.
    fn allocated(&self, topology: &Topology) -> Result<u64, StoreError>;

    /// Makes all of the changes, or none.
    fn commit(&self, changes: &[Change]) -> Result<(), StoreError>;

    /// Whether it can be written to.
    fn check(&self) -> Result<(), StoreError>;
}

/// A change of the records; name indices and allocated bytes follow by themselves.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Change {
    /// Writes a volume.
    PutVolume(Volume),
    /// Forgets a volume.
    RemoveVolume(VolumeId),
    /// Writes a snapshot.
    PutSnapshot(Snapshot),
    /// Forgets a snapshot.
    RemoveSnapshot(SnapshotId),
    /// Writes a group snapshot; its members are changes of their own.
    PutGroupSnapshot(GroupSnapshot),
    /// Forgets a group snapshot.
    RemoveGroupSnapshot(GroupSnapshotId),
    /// Writes an attachment.
    PutAttachment(Attachment),
    /// Forgets an attachment.
    RemoveAttachment {
        /// The volume.
        volume: VolumeId,
        /// The node.
        node: String,
    },
}

/// Why the store could not be opened, read or written.
#[derive(Clone, Debug, Error, Eq, PartialEq)]
#[non_exhaustive]
pub enum StoreError {
    /// Another process has it.
    #[error("{0} is in use by another process: stop that driver, or choose another state directory")]
    InUse(String),
    /// It was written by another version of the driver.
    #[error("the store has format {found}, this driver writes {known}: start with an empty state directory")]
    Format {
        /// What is there.
        found: String,
        /// What this driver writes.
        known: &'static str,
    },
    /// Two objects of one kind would have the same name.
    #[error("the name {0:?} belongs to another object")]
    NameTaken(String),
    /// The database failed.
    #[error("the store failed: {0}")]
    Failed(String),
}
