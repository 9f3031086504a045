//! What the driver asks of the content of its volumes and snapshots.

use std::{collections::BTreeSet, io};

use super::Ranges;
use crate::{
    driver::{
        SnapshotId,
        record::{AccessTypes, Source},
    },
    mountpod::{AccessType, VolumeContent, VolumeId},
};

/// The first content of a volume.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Plan {
    /// What it can be used as.
    pub access: AccessTypes,
    /// Its size.
    pub capacity: u64,
    /// The mode of the root directory, when it is new.
    pub directory_mode: u32,
    /// What it is a copy of.
    pub source: Option<Source>,
}

/// A snapshot to be cut.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Cut {
    /// The new snapshot.
    pub snapshot: SnapshotId,
    /// The volume that it shows.
    pub source: VolumeId,
}

/// The content of volumes and snapshots. Every method may block; each may be cut off at any point and called again.
pub trait Content: Send + Sync + 'static {
    /// Makes the content of a volume, complete and durable before it returns.
    fn create(&self, volume: &VolumeId, plan: &Plan) -> io::Result<()>;

    /// Copies the contents of volumes as they are at one moment, complete and durable before it returns. `TimedOut` says
    /// that their writers left no such moment.
    fn cut(&self, cuts: &[Cut]) -> io::Result<()>;

    /// The ranges of a block snapshot that hold data; the first is the one that reaches beyond `start`.
    fn allocated(&self, snapshot: &SnapshotId, start: u64) -> io::Result<Ranges>;

    /// The ranges of a block snapshot that differ from an earlier one; the first is the one that reaches beyond `start`.
    fn changed(&self, base: &SnapshotId, target: &SnapshotId, start: u64) -> io::Result<Ranges>;

    /// Makes the content at least this large.
    fn grow(&self, volume: &VolumeId, capacity: u64) -> io::Result<()>;

    /// Removes the content of a volume; absent content is success.
    fn remove_volume(&self, volume: &VolumeId) -> io::Result<()>;

    /// Removes the content of a snapshot; absent content is success.
    fn remove_snapshot(&self, snapshot: &SnapshotId) -> io::Result<()>;

    /// Removes everything but the content of these, and what was left half done.
    fn sweep(&self, volumes: &BTreeSet<VolumeId>, snapshots: &BTreeSet<SnapshotId>) -> io::Result<()>;

    /// Where the content of a volume is, for the mount pods.
    fn location(&self, volume: &VolumeId, access_type: AccessType) -> VolumeContent;

    /// Whether the content is there: a text for people, either way.
    fn condition(&self, volume: &VolumeId, access: AccessTypes) -> Result<String, String>;

    /// How many more inodes there can be; `None` where nobody knows.
    fn free_inodes(&self) -> Option<u64>;

    /// Whether content can be written.
    fn check(&self) -> io::Result<()>;
}
