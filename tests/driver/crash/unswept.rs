//! A store and content of which recovery sees nothing: as in a process that was not started again.

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

/// A store that shows nothing to recovery.
pub(crate) struct Unread(pub(crate) Arc<dyn Store>, pub(crate) AtomicI64);

impl Store for Unread {
    fn volumes_after(&self, after: Option<&str>, limit: usize) -> Result<Vec<Volume>, StoreError> {
        if self.1.fetch_sub(1, Ordering::SeqCst) > 0 { Ok(vec![]) } else { self.0.volumes_after(after, limit) }
    }

    fn snapshots_after(&self, after: Option<&str>, limit: usize) -> Result<Vec<Snapshot>, StoreError> {
        if self.1.fetch_sub(1, Ordering::SeqCst) > 0 { Ok(vec![]) } else { self.0.snapshots_after(after, limit) }
    }

    fn group_snapshots_after(&self, after: Option<&str>, limit: usize) -> Result<Vec<GroupSnapshot>, StoreError> {
        if self.1.fetch_sub(1, Ordering::SeqCst) > 0 { Ok(vec![]) } else { self.0.group_snapshots_after(after, limit) }
    }

    fn group_snapshot(&self, id: &GroupSnapshotId) -> Result<Option<GroupSnapshot>, StoreError> {
        self.0.group_snapshot(id)
    }

    fn group_snapshot_named(&self, name: &str) -> Result<Option<GroupSnapshot>, StoreError> {
        self.0.group_snapshot_named(name)
    }

    fn volume(&self, id: &VolumeId) -> Result<Option<Volume>, StoreError> {
        self.0.volume(id)
    }

    fn volume_named(&self, name: &str) -> Result<Option<Volume>, StoreError> {
        self.0.volume_named(name)
    }

    fn snapshot(&self, id: &SnapshotId) -> Result<Option<Snapshot>, StoreError> {
        self.0.snapshot(id)
    }

    fn snapshot_named(&self, name: &str) -> Result<Option<Snapshot>, StoreError> {
        self.0.snapshot_named(name)
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
        self.0.commit(changes)
    }

    fn check(&self) -> Result<(), StoreError> {
        self.0.check()
    }
}

/// Content that recovery does not sweep.
pub(crate) struct Unswept(pub(crate) Arc<dyn Content>);

impl Content for Unswept {
    fn sweep(&self, _: &BTreeSet<VolumeId>, _: &BTreeSet<SnapshotId>) -> io::Result<()> {
        Ok(())
    }

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
