//! Content that is found where that of another volume is.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crate::{
    driver::{
        Parts, SnapshotId,
        content::{Content, Cut, Plan, Ranges},
        record::AccessTypes,
    },
    mountpod::{AccessType, VolumeContent, VolumeId},
};

/// Which volume is looked for in place of which; clones are the same.
#[derive(Clone, Debug, Default)]
pub(super) struct Misdirections(Arc<Mutex<BTreeMap<String, String>>>);

impl Misdirections {
    /// From now on one volume is taken for another.
    pub(super) fn lead(&self, volume: &str, other: &str) {
        self.others().insert(volume.to_owned(), other.to_owned());
    }

    /// The parts with the content taken for that of others.
    pub(super) fn within(&self, parts: Parts) -> Parts {
        Parts { content: Arc::new(Misdirected(parts.content, self.clone())), ..parts }
    }

    fn others(&self) -> MutexGuard<'_, BTreeMap<String, String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Misdirected(Arc<dyn Content>, Misdirections);

impl Content for Misdirected {
    fn create(&self, volume: &VolumeId, plan: &Plan) -> io::Result<()> {
        self.0.create(volume, plan)
    }

    fn cut(&self, cuts: &[Cut]) -> io::Result<()> {
        self.0.cut(cuts)
    }

    fn allocated(&self, snapshot: &SnapshotId, start: u64) -> io::Result<Ranges> {
        self.0.allocated(snapshot, start)
    }

    fn changed(&self, base: &SnapshotId, target: &SnapshotId, start: u64) -> io::Result<Ranges> {
        self.0.changed(base, target, start)
    }

    fn grow(&self, volume: &VolumeId, capacity: u64) -> io::Result<()> {
        self.0.grow(volume, capacity)
    }

    fn remove_volume(&self, volume: &VolumeId) -> io::Result<()> {
        self.0.remove_volume(volume)
    }

    fn remove_snapshot(&self, snapshot: &SnapshotId) -> io::Result<()> {
        self.0.remove_snapshot(snapshot)
    }

    fn sweep(&self, volumes: &BTreeSet<VolumeId>, snapshots: &BTreeSet<SnapshotId>) -> io::Result<()> {
        self.0.sweep(volumes, snapshots)
    }

    fn location(&self, volume: &VolumeId, access_type: AccessType) -> VolumeContent {
        let other = self.1.others().get(volume.as_str()).and_then(|other| other.parse().ok());
        self.0.location(other.as_ref().unwrap_or(volume), access_type)
    }

    fn condition(&self, volume: &VolumeId, access: AccessTypes) -> Result<String, String> {
        self.0.condition(volume, access)
    }

    fn free_inodes(&self) -> Option<u64> {
        self.0.free_inodes()
    }

    fn check(&self) -> io::Result<()> {
        self.0.check()
    }
}
