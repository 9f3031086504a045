//! Snapshots of volumes, and of groups of them.

use std::collections::BTreeMap;

use super::{Metadata, ReclaimPolicy};

/// A wish for a snapshot.
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq)]
pub struct VolumeSnapshot {
    /// Name and the like.
    pub metadata: Metadata,
    /// The claim that is cut; empty where the content was there first.
    pub claim: String,
    /// The class, or empty.
    pub class: String,
    /// The content, once there is one, or that was there first.
    pub content: String,
    /// Whether a volume can be made from it.
    pub is_ready: bool,
    /// The least size of such a volume.
    pub restore_size: i64,
    /// What went wrong last.
    pub error: Option<String>,
}

/// A snapshot of the driver.
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq)]
pub struct VolumeSnapshotContent {
    /// Name and the like.
    pub metadata: Metadata,
    /// The driver.
    pub driver: String,
    /// The snapshot that wants it.
    pub snapshot: String,
    /// The identity of that snapshot.
    pub snapshot_uid: String,
    /// The `source_volume_id`; empty where the snapshot was there first.
    pub source_handle: String,
    /// The `snapshot_id`, once it is known.
    pub handle: String,
    /// What the driver is told.
    pub parameters: BTreeMap<String, String>,
    /// The `group_snapshot_id` of the group that it is part of, or empty: it is never deleted alone.
    pub group: String,
    /// Whether a volume can be made from it.
    pub is_ready: bool,
    /// The least size of such a volume.
    pub size: i64,
    /// What went wrong last.
    pub error: Option<String>,
    /// What becomes of the driver's snapshot.
    pub deletion_policy: ReclaimPolicy,
}

/// How snapshots of a class are cut.
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq)]
pub struct VolumeSnapshotClass {
    /// Name and the like.
    pub metadata: Metadata,
    /// The driver.
    pub driver: String,
    /// What the driver is told.
    pub parameters: BTreeMap<String, String>,
    /// What becomes of the driver's snapshots.
    pub deletion_policy: ReclaimPolicy,
}

/// A wish for a snapshot of several claims at one moment.
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq)]
pub struct VolumeGroupSnapshot {
    /// Name and the like.
    pub metadata: Metadata,
    /// The labels of the claims that are cut.
    pub selector: BTreeMap<String, String>,
    /// The content, once there is one.
    pub content: String,
    /// Whether volumes can be made from all of its snapshots.
    pub is_ready: bool,
    /// What went wrong last.
    pub error: Option<String>,
}

/// A group snapshot of the driver.
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq)]
pub struct VolumeGroupSnapshotContent {
    /// Name and the like.
    pub metadata: Metadata,
    /// The driver.
    pub driver: String,
    /// The group snapshot that wants it.
    pub group_snapshot: String,
    /// The identity of that group snapshot.
    pub group_snapshot_uid: String,
    /// The `source_volume_ids`.
    pub source_handles: Vec<String>,
    /// The `group_snapshot_id`, once it is known.
    pub handle: String,
    /// Source volume and snapshot of each member, once they are known.
    pub members: Vec<(String, String)>,
    /// Whether volumes can be made from all members.
    pub is_ready: bool,
    /// What went wrong last.
    pub error: Option<String>,
    /// What becomes of the driver's snapshots.
    pub deletion_policy: ReclaimPolicy,
}
