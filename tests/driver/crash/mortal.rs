//! A store and content that stop working after some operations.

use std::{
    collections::BTreeSet,
    io,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
};

use csi_certify::{
    driver::{
        GroupSnapshotId, SnapshotId,
        content::{Content, Cut, Plan, Ranges},
        record::{AccessTypes, Attachment, GroupSnapshot, Snapshot, Volume},
        store::{Change, Store, StoreError},
        topology::Topology,
    },
    mountpod::{AccessType, VolumeContent, VolumeId},
};

/// How many operations are left before the crash, or before the one that fails.
#[derive(Clone)]
pub(crate) struct Countdown(pub(crate) Arc<AtomicI64>, pub(crate) Afterwards);

/// What becomes of the operations after the first that failed.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Afterwards {
    Dead,
    Well,
}

impl Countdown {
    fn is_over(&self) -> bool {
        let left = self.0.fetch_sub(1, Ordering::SeqCst);
        left == 0 || (left < 0 && self.1 == Afterwards::Dead)
    }

    fn store(&self) -> Result<(), StoreError> {
        if self.is_over() { Err(StoreError::Failed("crashed".into())) } else { Ok(()) }
    }

    fn content(&self) -> io::Result<()> {
        if self.is_over() { Err(io::Error::other("crashed")) } else { Ok(()) }
    }
}

pub(crate) struct MortalStore(pub(crate) Arc<dyn Store>, pub(crate) Countdown);

impl Store for MortalStore {
    fn volume(&self, id: &VolumeId) -> Result<Option<Volume>, StoreError> {
        self.1.store()?;
        self.0.volume(id)
    }

    fn volume_named(&self, name: &str) -> Result<Option<Volume>, StoreError> {
        self.1.store()?;
        self.0.volume_named(name)
    }

    fn volumes_after(&self, after: Option<&str>, limit: usize) -> Result<Vec<Volume>, StoreError> {
        self.1.store()?;
        self.0.volumes_after(after, limit)
    }

    fn snapshot(&self, id: &SnapshotId) -> Result<Option<Snapshot>, StoreError> {
        self.1.store()?;
        self.0.snapshot(id)
    }

    fn snapshot_named(&self, name: &str) -> Result<Option<Snapshot>, StoreError> {
        self.1.store()?;
        self.0.snapshot_named(name)
    }

    fn snapshots_after(&self, after: Option<&str>, limit: usize) -> Result<Vec<Snapshot>, StoreError> {
        self.1.store()?;
        self.0.snapshots_after(after, limit)
    }

    fn group_snapshot(&self, id: &GroupSnapshotId) -> Result<Option<GroupSnapshot>, StoreError> {
        self.1.store()?;
        self.0.group_snapshot(id)
    }

    fn group_snapshot_named(&self, name: &str) -> Result<Option<GroupSnapshot>, StoreError> {
        self.1.store()?;
        self.0.group_snapshot_named(name)
    }

    fn group_snapshots_after(&self, after: Option<&str>, limit: usize) -> Result<Vec<GroupSnapshot>, StoreError> {
        self.1.store()?;
        self.0.group_snapshots_after(after, limit)
    }

    fn attachments_of(&self, volume: &VolumeId) -> Result<Vec<Attachment>, StoreError> {
        self.1.store()?;
        self.0.attachments_of(volume)
    }

    fn attached_to(&self, node: &str) -> Result<usize, StoreError> {
        self.1.store()?;
        self.0.attached_to(node)
    }

    fn allocated(&self, topology: &Topology) -> Result<u64, StoreError> {
        self.1.store()?;
        self.0.allocated(topology)
    }

    fn commit(&self, changes: &[Change]) -> Result<(), StoreError> {
        self.1.store()?;
        self.0.commit(changes)?;
        // The commit may be durable without anybody hearing of it.
        self.1.store()
    }

    fn check(&self) -> Result<(), StoreError> {
        self.1.store()?;
        self.0.check()
    }
}

pub(crate) struct MortalContent(pub(crate) Arc<dyn Content>, pub(crate) Countdown);

impl MortalContent {
    /// Dies before or after the operation.
    fn around(&self, operation: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        self.1.content()?;
        operation()?;
        self.1.content()
    }
}

impl Content for MortalContent {
    fn create(&self, volume: &VolumeId, plan: &Plan) -> io::Result<()> {
        self.around(|| self.0.create(volume, plan))
    }

    fn cut(&self, cuts: &[Cut]) -> io::Result<()> {
        // One after the other, so that a crash finds some of the members of a group cut.
        cuts.iter().try_for_each(|cut| self.around(|| self.0.cut(std::slice::from_ref(cut))))
    }

    fn allocated(&self, snapshot: &SnapshotId, start: u64) -> io::Result<Ranges> {
        self.1.content()?;
        self.0.allocated(snapshot, start)
    }

    fn changed(&self, base: &SnapshotId, target: &SnapshotId, start: u64) -> io::Result<Ranges> {
        self.1.content()?;
        self.0.changed(base, target, start)
    }

    fn grow(&self, volume: &VolumeId, capacity: u64) -> io::Result<()> {
        self.around(|| self.0.grow(volume, capacity))
    }

    fn remove_volume(&self, volume: &VolumeId) -> io::Result<()> {
        self.around(|| self.0.remove_volume(volume))
    }

    fn remove_snapshot(&self, snapshot: &SnapshotId) -> io::Result<()> {
        self.around(|| self.0.remove_snapshot(snapshot))
    }

    fn sweep(&self, volumes: &BTreeSet<VolumeId>, snapshots: &BTreeSet<SnapshotId>) -> io::Result<()> {
        self.around(|| self.0.sweep(volumes, snapshots))
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
