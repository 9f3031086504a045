//! The lifetime of a process that is only played: what outlived it must not be changed by it any more.

use std::{
    collections::BTreeSet,
    io,
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard},
};

use crate::{
    driver::{
        GroupSnapshotId, Parts, SnapshotId,
        content::{Content, Cut, Plan, Ranges},
        record::{AccessTypes, Attachment, GroupSnapshot, Snapshot, Volume},
        store::{Change, Store, StoreError},
        topology::Topology,
    },
    mountpod::{AccessType, VolumeContent, VolumeId},
};

/// Which process is alive; clones are the same.
#[derive(Clone, Debug, Default)]
pub struct Lifetimes(Arc<RwLock<u64>>);

/// One process.
#[derive(Clone, Debug)]
struct Lifetime {
    all: Lifetimes,
    number: u64,
}

impl Lifetimes {
    /// The parts for a new process; those of the processes before it fail from now on.
    pub fn next(&self, parts: Parts) -> Parts {
        let mut last = self.0.write().unwrap_or_else(PoisonError::into_inner);
        *last += 1;
        let lifetime = Lifetime { all: self.clone(), number: *last };
        Parts {
            store: Arc::new(MortalStore(parts.store, lifetime.clone())),
            content: Arc::new(MortalContent(parts.content, lifetime)),
            ..parts
        }
    }
}

impl Lifetime {
    /// Nobody is born while the guard lives.
    fn alive(&self) -> Result<RwLockReadGuard<'_, u64>, &'static str> {
        let guard = self.all.0.read().unwrap_or_else(PoisonError::into_inner);
        if *guard == self.number { Ok(guard) } else { Err("the process has ended") }
    }
}

struct MortalStore(Arc<dyn Store>, Lifetime);

impl Store for MortalStore {
    fn volume(&self, id: &VolumeId) -> Result<Option<Volume>, StoreError> {
        self.0.volume(id)
    }

    fn volume_named(&self, name: &str) -> Result<Option<Volume>, StoreError> {
        self.0.volume_named(name)
    }

    fn volumes_after(&self, after: Option<&str>, limit: usize) -> Result<Vec<Volume>, StoreError> {
        self.0.volumes_after(after, limit)
    }

    fn snapshot(&self, id: &SnapshotId) -> Result<Option<Snapshot>, StoreError> {
        self.0.snapshot(id)
    }

    fn snapshot_named(&self, name: &str) -> Result<Option<Snapshot>, StoreError> {
        self.0.snapshot_named(name)
    }

    fn snapshots_after(&self, after: Option<&str>, limit: usize) -> Result<Vec<Snapshot>, StoreError> {
        self.0.snapshots_after(after, limit)
    }

    fn group_snapshot(&self, id: &GroupSnapshotId) -> Result<Option<GroupSnapshot>, StoreError> {
        self.0.group_snapshot(id)
    }

    fn group_snapshot_named(&self, name: &str) -> Result<Option<GroupSnapshot>, StoreError> {
        self.0.group_snapshot_named(name)
    }

    fn group_snapshots_after(&self, after: Option<&str>, limit: usize) -> Result<Vec<GroupSnapshot>, StoreError> {
        self.0.group_snapshots_after(after, limit)
    }

    fn attachments_of(&self, volume: &VolumeId) -> Result<Vec<Attachment>, StoreError> {
        self.0.attachments_of(volume)
    }

    fn attached_to(&self, node: &str) -> Result<usize, StoreError> {
        self.0.attached_to(node)
    }

    fn allocated(&self, topology: &Topology) -> Result<u64, StoreError> {
        self.0.allocated(topology)
    }

    fn commit(&self, changes: &[Change]) -> Result<(), StoreError> {
        let _alive = self.1.alive().map_err(|why| StoreError::Failed(why.to_owned()))?;
        self.0.commit(changes)
    }

    fn check(&self) -> Result<(), StoreError> {
        self.0.check()
    }
}

struct MortalContent(Arc<dyn Content>, Lifetime);

impl MortalContent {
    fn change(&self, change: impl FnOnce(&dyn Content) -> io::Result<()>) -> io::Result<()> {
        let _alive = self.1.alive().map_err(io::Error::other)?;
        change(&*self.0)
    }
}

impl Content for MortalContent {
    fn create(&self, volume: &VolumeId, plan: &Plan) -> io::Result<()> {
        self.change(|content| content.create(volume, plan))
    }

    fn cut(&self, cuts: &[Cut]) -> io::Result<()> {
        self.change(|content| content.cut(cuts))
    }

    fn allocated(&self, snapshot: &SnapshotId, start: u64) -> io::Result<Ranges> {
        self.0.allocated(snapshot, start)
    }

    fn changed(&self, base: &SnapshotId, target: &SnapshotId, start: u64) -> io::Result<Ranges> {
        self.0.changed(base, target, start)
    }

    fn grow(&self, volume: &VolumeId, capacity: u64) -> io::Result<()> {
        self.change(|content| content.grow(volume, capacity))
    }

    fn remove_volume(&self, volume: &VolumeId) -> io::Result<()> {
        self.change(|content| content.remove_volume(volume))
    }

    fn remove_snapshot(&self, snapshot: &SnapshotId) -> io::Result<()> {
        self.change(|content| content.remove_snapshot(snapshot))
    }

    fn sweep(&self, volumes: &BTreeSet<VolumeId>, snapshots: &BTreeSet<SnapshotId>) -> io::Result<()> {
        self.change(|content| content.sweep(volumes, snapshots))
    }

    fn location(&self, volume: &VolumeId, access_type: AccessType) -> VolumeContent {
        self.0.location(volume, access_type)
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
