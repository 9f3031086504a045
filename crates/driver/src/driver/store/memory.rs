//! The store in memory: for tests and explorations that start thousands of drivers and need none of them tomorrow.

use std::{
    collections::BTreeMap,
    ops::Bound,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::{Change, Store, StoreError};
use crate::{
    driver::{
        GroupSnapshotId, SnapshotId,
        record::{Attachment, GroupSnapshot, Snapshot, Volume},
        topology::Topology,
    },
    mountpod::VolumeId,
};

/// Records that are gone with the process.
#[derive(Debug, Default)]
pub struct Memory(Mutex<Tables>);

#[derive(Clone, Debug, Default)]
struct Tables {
    volumes: BTreeMap<String, Arc<Volume>>,
    volume_names: BTreeMap<String, String>,
    snapshots: BTreeMap<String, Arc<Snapshot>>,
    snapshot_names: BTreeMap<String, String>,
    group_snapshots: BTreeMap<String, Arc<GroupSnapshot>>,
    group_snapshot_names: BTreeMap<String, String>,
    attachments: BTreeMap<(String, String), Arc<Attachment>>,
}

impl Memory {
    fn tables(&self) -> MutexGuard<'_, Tables> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Store for Memory {
    fn volume(&self, id: &VolumeId) -> Result<Option<Volume>, StoreError> {
        Ok(self.tables().volumes.get(id.as_str()).map(|volume| Volume::clone(volume)))
    }

    fn volume_named(&self, name: &str) -> Result<Option<Volume>, StoreError> {
        let tables = self.tables();
        let volume = tables.volume_names.get(name).and_then(|id| tables.volumes.get(id));
        Ok(volume.map(|volume| Volume::clone(volume)))
    }

    fn volumes_after(&self, after: Option<&str>, limit: usize) -> Result<Vec<Volume>, StoreError> {
        Ok(page(&self.tables().volumes, after, limit))
    }

    fn snapshot(&self, id: &SnapshotId) -> Result<Option<Snapshot>, StoreError> {
        Ok(self.tables().snapshots.get(id.as_str()).map(|snapshot| Snapshot::clone(snapshot)))
    }

    fn snapshot_named(&self, name: &str) -> Result<Option<Snapshot>, StoreError> {
        let tables = self.tables();
        let snapshot = tables.snapshot_names.get(name).and_then(|id| tables.snapshots.get(id));
        Ok(snapshot.map(|snapshot| Snapshot::clone(snapshot)))
    }

    fn snapshots_after(&self, after: Option<&str>, limit: usize) -> Result<Vec<Snapshot>, StoreError> {
        Ok(page(&self.tables().snapshots, after, limit))
    }

    fn group_snapshot(&self, id: &GroupSnapshotId) -> Result<Option<GroupSnapshot>, StoreError> {
        Ok(self.tables().group_snapshots.get(id.as_str()).map(|group| GroupSnapshot::clone(group)))
    }

    fn group_snapshot_named(&self, name: &str) -> Result<Option<GroupSnapshot>, StoreError> {
        let tables = self.tables();
        let group = tables.group_snapshot_names.get(name).and_then(|id| tables.group_snapshots.get(id));
        Ok(group.map(|group| GroupSnapshot::clone(group)))
    }

    fn group_snapshots_after(&self, after: Option<&str>, limit: usize) -> Result<Vec<GroupSnapshot>, StoreError> {
        Ok(page(&self.tables().group_snapshots, after, limit))
    }

    fn attachments_of(&self, volume: &VolumeId) -> Result<Vec<Attachment>, StoreError> {
        let tables = self.tables();
        let first = (volume.to_string(), String::new());
        let of_volume = tables.attachments.range(first..).take_while(|((id, _), _)| id == volume.as_str());
        Ok(of_volume.map(|(_, attachment)| Attachment::clone(attachment)).collect())
    }

    fn attached_to(&self, node: &str) -> Result<usize, StoreError> {
        Ok(self.tables().attachments.keys().filter(|(_, at)| at == node).count())
    }

    fn allocated(&self, topology: &Topology) -> Result<u64, StoreError> {
        let tables = self.tables();
        let volumes = tables.volumes.values().filter(|volume| volume.topology == *topology).map(|it| it.capacity);
        let snapshots = tables.snapshots.values().filter(|snapshot| snapshot.topology == *topology).map(|it| it.size);
        Ok(volumes.chain(snapshots).fold(0, u64::saturating_add))
    }

    fn commit(&self, changes: &[Change]) -> Result<(), StoreError> {
        let mut tables = self.tables();
        // Whole or not at all: a change that is refused leaves the original.
        let mut changed = tables.clone();
        for change in changes {
            changed.apply(change)?;
        }
        *tables = changed;
        Ok(())
    }

    fn check(&self) -> Result<(), StoreError> {
        Ok(())
    }
}

impl Tables {
    fn apply(&mut self, change: &Change) -> Result<(), StoreError> {
        match change {
            Change::PutVolume(volume) => {
                take_name(&mut self.volume_names, &volume.name, volume.id.as_str())?;
                self.volumes.insert(volume.id.to_string(), Arc::new(volume.clone()));
            }
            Change::RemoveVolume(id) => {
                if let Some(volume) = self.volumes.remove(id.as_str()) {
                    self.volume_names.remove(&volume.name);
                }
            }
            Change::PutSnapshot(snapshot) => {
                if let Some(name) = &snapshot.name {
                    take_name(&mut self.snapshot_names, name, snapshot.id.as_str())?;
                }
                self.snapshots.insert(snapshot.id.to_string(), Arc::new(snapshot.clone()));
            }
            Change::RemoveSnapshot(id) => {
                if let Some(name) = self.snapshots.remove(id.as_str()).and_then(|snapshot| snapshot.name.clone()) {
                    self.snapshot_names.remove(&name);
                }
            }
            Change::PutGroupSnapshot(group) => {
                take_name(&mut self.group_snapshot_names, &group.name, group.id.as_str())?;
                self.group_snapshots.insert(group.id.to_string(), Arc::new(group.clone()));
            }
            Change::RemoveGroupSnapshot(id) => {
                if let Some(group) = self.group_snapshots.remove(id.as_str()) {
                    self.group_snapshot_names.remove(&group.name);
                }
            }
            Change::PutAttachment(attachment) => {
                let key = (attachment.volume.to_string(), attachment.node.clone());
                self.attachments.insert(key, Arc::new(attachment.clone()));
            }
            Change::RemoveAttachment { volume, node } => {
                self.attachments.remove(&(volume.to_string(), node.clone()));
            }
        }
        Ok(())
    }
}

fn take_name(names: &mut BTreeMap<String, String>, name: &str, id: &str) -> Result<(), StoreError> {
    match names.insert(name.to_owned(), id.to_owned()) {
        Some(holder) if holder != id => Err(StoreError::NameTaken(name.to_owned())),
        _ => Ok(()),
    }
}

fn page<T: Clone>(records: &BTreeMap<String, Arc<T>>, after: Option<&str>, limit: usize) -> Vec<T> {
    let start = after.map_or(Bound::Unbounded, Bound::Excluded);
    records.range::<str, _>((start, Bound::Unbounded)).take(limit).map(|(_, record)| T::clone(record)).collect()
}
