//! What the store keeps of a volume, a snapshot, a group snapshot and an attachment.

use std::collections::BTreeMap;

use super::{GroupSnapshotId, SnapshotId, clock::Timestamp, parameters::Properties, topology::Topology};
use crate::mountpod::{AccessType, Fingerprint, VolumeId};

/// How far an object has come. The intent is written before the content changes, so that a restart knows what to
/// finish or to take back.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Progress {
    /// Its content may be missing or incomplete; nobody was told of it.
    Creating,
    /// It is there, content and all.
    Ready,
    /// Its content may be gone already; it is as good as deleted.
    Deleting,
}

/// The access types that a volume was made for.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct AccessTypes {
    /// A directory.
    pub mount: bool,
    /// A block device.
    pub block: bool,
}

impl AccessTypes {
    /// Whether this access type is one of them.
    pub fn allow(self, access_type: AccessType) -> bool {
        match access_type {
            AccessType::Mount => self.mount,
            AccessType::Block => self.block,
        }
    }

    /// Whether all of the others are among them.
    pub fn include(self, other: Self) -> bool {
        (self.mount || !other.mount) && (self.block || !other.block)
    }
}

/// Where the first content of a volume came from.
#[derive(Clone, Debug, Eq, Hash, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Source {
    /// A snapshot.
    Snapshot(SnapshotId),
    /// Another volume.
    Volume(VolumeId),
}

/// A volume.
#[derive(Clone, Debug, Eq, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Volume {
    /// Its id.
    pub id: VolumeId,
    /// The name that the orchestrator gave it.
    pub name: String,
    /// How far it has come.
    pub progress: Progress,
    /// Its size in bytes.
    pub capacity: u64,
    /// What it can be used as.
    pub access: AccessTypes,
    /// Where it is.
    pub topology: Topology,
    /// What it was made from.
    pub source: Option<Source>,
    /// What it was created with.
    pub created_with: Properties,
    /// What it has now.
    pub properties: Properties,
}

/// A snapshot.
#[derive(Clone, Debug, Eq, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Snapshot {
    /// Its id.
    pub id: SnapshotId,
    /// The name that the orchestrator gave it; members of a group have none of their own.
    pub name: Option<String>,
    /// The group that it belongs to; it comes and goes with the group.
    pub group: Option<GroupSnapshotId>,
    /// How far it has come.
    pub progress: Progress,
    /// The volume that it shows.
    pub source: VolumeId,
    /// The least size of a volume made from it.
    pub size: u64,
    /// When it was cut.
    pub created: Timestamp,
    /// What a volume made from it can be used as.
    pub access: AccessTypes,
    /// Where it takes up room.
    pub topology: Topology,
}

/// Snapshots of several volumes, cut at one moment.
#[derive(Clone, Debug, Eq, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct GroupSnapshot {
    /// Its id.
    pub id: GroupSnapshotId,
    /// The name that the orchestrator gave it.
    pub name: String,
    /// How far it has come; its members have always come just as far.
    pub progress: Progress,
    /// Its members, one for each volume.
    pub members: Vec<SnapshotId>,
    /// When it was cut.
    pub created: Timestamp,
}

/// A volume attached to a node.
#[derive(Clone, Debug, Eq, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Attachment {
    /// The volume.
    pub volume: VolumeId,
    /// The node.
    pub node: String,
    /// How it is attached.
    pub fingerprint: Fingerprint,
    /// The flag of the request, which `fingerprint` joins with the access mode.
    pub readonly: bool,
    /// What the node is told; the same for as long as it is attached (specification line 1364).
    pub publish_context: BTreeMap<String, String>,
}

impl Volume {
    /// Whether it is there for everybody to see.
    pub fn is_ready(&self) -> bool {
        self.progress == Progress::Ready
    }
}

impl Snapshot {
    /// Whether it is there for everybody to see.
    pub fn is_ready(&self) -> bool {
        self.progress == Progress::Ready
    }
}

impl GroupSnapshot {
    /// Whether it is there for everybody to see.
    pub fn is_ready(&self) -> bool {
        self.progress == Progress::Ready
    }
}
