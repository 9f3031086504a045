//! The store in a redb database: one file, one transaction for each commit.

use std::path::Path;

use redb::{
    Builder, DatabaseError, ReadableDatabase as _, ReadableTable as _, TableDefinition, WriteTransaction,
    backends::InMemoryBackend,
};
use serde::{Serialize, de::DeserializeOwned};

use super::{Change, Store, StoreError};
use crate::{
    driver::{
        GroupSnapshotId, SnapshotId,
        record::{Attachment, GroupSnapshot, Snapshot, Volume},
        topology::Topology,
    },
    mountpod::VolumeId,
};

/// Records in a redb database.
#[derive(Debug)]
pub struct Database(redb::Database);

impl Database {
    /// Opens the database in a file, or makes it.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let database = Builder::new().create(path).map_err(|error| match error {
            DatabaseError::DatabaseAlreadyOpen => StoreError::InUse(path.display().to_string()),
            error => StoreError::Failed(format!("{}: {error}", path.display())),
        })?;
        Self::prepared(database)
    }

    /// Makes a database that is gone with the process.
    pub fn in_memory() -> Result<Self, StoreError> {
        Self::prepared(Builder::new().create_with_backend(InMemoryBackend::new()).map_err(failed)?)
    }

    fn prepared(database: redb::Database) -> Result<Self, StoreError> {
        let transaction = database.begin_write().map_err(failed)?;
        {
            // Opening a table makes it, so that readers find all of them.
            transaction.open_table(VOLUMES).map_err(failed)?;
            transaction.open_table(VOLUME_NAMES).map_err(failed)?;
            transaction.open_table(SNAPSHOTS).map_err(failed)?;
            transaction.open_table(SNAPSHOT_NAMES).map_err(failed)?;
            transaction.open_table(GROUP_SNAPSHOTS).map_err(failed)?;
            transaction.open_table(GROUP_SNAPSHOT_NAMES).map_err(failed)?;
            transaction.open_table(ATTACHMENTS).map_err(failed)?;
            transaction.open_table(ALLOCATED).map_err(failed)?;
            let mut about = transaction.open_table(ABOUT).map_err(failed)?;
            let found = about.get("format").map_err(failed)?.map(|format| format.value().to_owned());
            match found {
                Some(found) if found != FORMAT => return Err(StoreError::Format { found, known: FORMAT }),
                Some(_) => {}
                None => {
                    about.insert("format", FORMAT).map_err(failed)?;
                }
            }
        }
        transaction.commit().map_err(failed)?;
        Ok(Self(database))
    }

    fn record<T: DeserializeOwned>(&self, table: Records, id: &str) -> Result<Option<T>, StoreError> {
        let transaction = self.0.begin_read().map_err(failed)?;
        let table = transaction.open_table(table).map_err(failed)?;
        table.get(id).map_err(failed)?.map(|bytes| read(bytes.value())).transpose()
    }

    fn named<T: DeserializeOwned>(&self, table: Records, names: Names, name: &str) -> Result<Option<T>, StoreError> {
        let transaction = self.0.begin_read().map_err(failed)?;
        let names = transaction.open_table(names).map_err(failed)?;
        let Some(id) = names.get(name).map_err(failed)? else { return Ok(None) };
        let table = transaction.open_table(table).map_err(failed)?;
        table.get(id.value()).map_err(failed)?.map(|bytes| read(bytes.value())).transpose()
    }

    fn after<T: DeserializeOwned>(
        &self,
        table: Records,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<T>, StoreError> {
        let transaction = self.0.begin_read().map_err(failed)?;
        let table = transaction.open_table(table).map_err(failed)?;
        let after = after.unwrap_or("");
        let records = table.range(after..).map_err(failed)?;
        let mut found = Vec::new();
        for record in records {
            let (id, bytes) = record.map_err(failed)?;
            if id.value() != after {
                found.push(read(bytes.value())?);
            }
            if found.len() == limit {
                break;
            }
        }
        Ok(found)
    }
}

impl Store for Database {
    fn volume(&self, id: &VolumeId) -> Result<Option<Volume>, StoreError> {
        self.record(VOLUMES, id.as_str())
    }

    fn volume_named(&self, name: &str) -> Result<Option<Volume>, StoreError> {
        self.named(VOLUMES, VOLUME_NAMES, name)
    }

    fn volumes_after(&self, after: Option<&str>, limit: usize) -> Result<Vec<Volume>, StoreError> {
        self.after(VOLUMES, after, limit)
    }

    fn snapshot(&self, id: &SnapshotId) -> Result<Option<Snapshot>, StoreError> {
        self.record(SNAPSHOTS, id.as_str())
    }

    fn snapshot_named(&self, name: &str) -> Result<Option<Snapshot>, StoreError> {
        self.named(SNAPSHOTS, SNAPSHOT_NAMES, name)
    }

    fn snapshots_after(&self, after: Option<&str>, limit: usize) -> Result<Vec<Snapshot>, StoreError> {
        self.after(SNAPSHOTS, after, limit)
    }

    fn group_snapshot(&self, id: &GroupSnapshotId) -> Result<Option<GroupSnapshot>, StoreError> {
        self.record(GROUP_SNAPSHOTS, id.as_str())
    }

    fn group_snapshot_named(&self, name: &str) -> Result<Option<GroupSnapshot>, StoreError> {
        self.named(GROUP_SNAPSHOTS, GROUP_SNAPSHOT_NAMES, name)
    }

    fn group_snapshots_after(&self, after: Option<&str>, limit: usize) -> Result<Vec<GroupSnapshot>, StoreError> {
        self.after(GROUP_SNAPSHOTS, after, limit)
    }

    fn attachments_of(&self, volume: &VolumeId) -> Result<Vec<Attachment>, StoreError> {
        let transaction = self.0.begin_read().map_err(failed)?;
        let table = transaction.open_table(ATTACHMENTS).map_err(failed)?;
        let mut attachments = Vec::new();
        for attachment in table.range((volume.as_str(), "")..).map_err(failed)? {
            let (key, bytes) = attachment.map_err(failed)?;
            if key.value().0 != volume.as_str() {
                break;
            }
            attachments.push(read(bytes.value())?);
        }
        Ok(attachments)
    }

    fn attached_to(&self, node: &str) -> Result<usize, StoreError> {
        let transaction = self.0.begin_read().map_err(failed)?;
        let table = transaction.open_table(ATTACHMENTS).map_err(failed)?;
        let mut count = 0;
        for attachment in table.iter().map_err(failed)? {
            count += usize::from(attachment.map_err(failed)?.0.value().1 == node);
        }
        Ok(count)
    }

    fn allocated(&self, topology: &Topology) -> Result<u64, StoreError> {
        let transaction = self.0.begin_read().map_err(failed)?;
        let table = transaction.open_table(ALLOCATED).map_err(failed)?;
        Ok(table.get(topology.to_string().as_str()).map_err(failed)?.map_or(0, |bytes| bytes.value()))
    }

    fn commit(&self, changes: &[Change]) -> Result<(), StoreError> {
        let transaction = self.0.begin_write().map_err(failed)?;
        for change in changes {
            apply(&transaction, change)?;
        }
        transaction.commit().map_err(failed)
    }

    fn check(&self) -> Result<(), StoreError> {
        let transaction = self.0.begin_write().map_err(failed)?;
        transaction.open_table(ABOUT).map_err(failed)?.insert("format", FORMAT).map_err(failed)?;
        transaction.abort().map_err(failed)
    }
}

fn apply(transaction: &WriteTransaction, change: &Change) -> Result<(), StoreError> {
    match change {
        Change::PutVolume(volume) => {
            let old: Option<Volume> = put(transaction, VOLUMES, volume.id.as_str(), volume)?;
            index(transaction, VOLUME_NAMES, &volume.name, volume.id.as_str())?;
            if let Some(old) = old {
                allocate(transaction, &old.topology, |bytes| bytes.saturating_sub(old.capacity))?;
            }
            allocate(transaction, &volume.topology, |bytes| bytes.saturating_add(volume.capacity))
        }
        Change::RemoveVolume(id) => {
            let Some(old) = remove::<Volume>(transaction, VOLUMES, id.as_str())? else { return Ok(()) };
            transaction.open_table(VOLUME_NAMES).map_err(failed)?.remove(old.name.as_str()).map_err(failed)?;
            allocate(transaction, &old.topology, |bytes| bytes.saturating_sub(old.capacity))
        }
        Change::PutSnapshot(snapshot) => {
            let old: Option<Snapshot> = put(transaction, SNAPSHOTS, snapshot.id.as_str(), snapshot)?;
            if let Some(name) = &snapshot.name {
                index(transaction, SNAPSHOT_NAMES, name, snapshot.id.as_str())?;
            }
            if let Some(old) = old {
                allocate(transaction, &old.topology, |bytes| bytes.saturating_sub(old.size))?;
            }
            allocate(transaction, &snapshot.topology, |bytes| bytes.saturating_add(snapshot.size))
        }
        Change::RemoveSnapshot(id) => {
            let Some(old) = remove::<Snapshot>(transaction, SNAPSHOTS, id.as_str())? else { return Ok(()) };
            if let Some(name) = &old.name {
                transaction.open_table(SNAPSHOT_NAMES).map_err(failed)?.remove(name.as_str()).map_err(failed)?;
            }
            allocate(transaction, &old.topology, |bytes| bytes.saturating_sub(old.size))
        }
        Change::PutGroupSnapshot(group) => {
            put::<GroupSnapshot>(transaction, GROUP_SNAPSHOTS, group.id.as_str(), group)?;
            index(transaction, GROUP_SNAPSHOT_NAMES, &group.name, group.id.as_str())
        }
        Change::RemoveGroupSnapshot(id) => {
            let Some(old) = remove::<GroupSnapshot>(transaction, GROUP_SNAPSHOTS, id.as_str())? else { return Ok(()) };
            transaction.open_table(GROUP_SNAPSHOT_NAMES).map_err(failed)?.remove(old.name.as_str()).map_err(failed)?;
            Ok(())
        }
        Change::PutAttachment(attachment) => {
            let mut table = transaction.open_table(ATTACHMENTS).map_err(failed)?;
            let key = (attachment.volume.as_str(), attachment.node.as_str());
            table.insert(key, written(attachment)?.as_slice()).map_err(failed)?;
            Ok(())
        }
        Change::RemoveAttachment { volume, node } => {
            let mut table = transaction.open_table(ATTACHMENTS).map_err(failed)?;
            table.remove((volume.as_str(), node.as_str())).map_err(failed)?;
            Ok(())
        }
    }
}

fn put<T: Serialize + DeserializeOwned>(
    transaction: &WriteTransaction,
    table: Records,
    id: &str,
    record: &T,
) -> Result<Option<T>, StoreError> {
    let mut table = transaction.open_table(table).map_err(failed)?;
    let old = table.insert(id, written(record)?.as_slice()).map_err(failed)?;
    old.map(|bytes| read(bytes.value())).transpose()
}

fn remove<T: DeserializeOwned>(
    transaction: &WriteTransaction,
    table: Records,
    id: &str,
) -> Result<Option<T>, StoreError> {
    let mut table = transaction.open_table(table).map_err(failed)?;
    let old = table.remove(id).map_err(failed)?;
    old.map(|bytes| read(bytes.value())).transpose()
}

fn index(transaction: &WriteTransaction, names: Names, name: &str, id: &str) -> Result<(), StoreError> {
    let mut names = transaction.open_table(names).map_err(failed)?;
    let holder = names.insert(name, id).map_err(failed)?.map(|holder| holder.value().to_owned());
    match holder {
        Some(holder) if holder != id => Err(StoreError::NameTaken(name.to_owned())),
        _ => Ok(()),
    }
}

fn allocate(
    transaction: &WriteTransaction,
    topology: &Topology,
    change: impl FnOnce(u64) -> u64,
) -> Result<(), StoreError> {
    let mut table = transaction.open_table(ALLOCATED).map_err(failed)?;
    let key = topology.to_string();
    let before = table.get(key.as_str()).map_err(failed)?.map_or(0, |bytes| bytes.value());
    table.insert(key.as_str(), change(before)).map_err(failed)?;
    Ok(())
}

fn written(record: &impl Serialize) -> Result<Vec<u8>, StoreError> {
    serde_json::to_vec(record).map_err(failed)
}

fn read<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, StoreError> {
    serde_json::from_slice(bytes).map_err(failed)
}

fn failed(error: impl ToString) -> StoreError {
    StoreError::Failed(error.to_string())
}

type Records = TableDefinition<'static, &'static str, &'static [u8]>;
type Names = TableDefinition<'static, &'static str, &'static str>;

const VOLUMES: Records = TableDefinition::new("volumes");
const VOLUME_NAMES: Names = TableDefinition::new("volume-names");
const SNAPSHOTS: Records = TableDefinition::new("snapshots");
const SNAPSHOT_NAMES: Names = TableDefinition::new("snapshot-names");
const GROUP_SNAPSHOTS: Records = TableDefinition::new("group-snapshots");
const GROUP_SNAPSHOT_NAMES: Names = TableDefinition::new("group-snapshot-names");
const ATTACHMENTS: TableDefinition<'static, (&str, &str), &[u8]> = TableDefinition::new("attachments");
const ALLOCATED: TableDefinition<'static, &str, u64> = TableDefinition::new("allocated");
const ABOUT: Names = TableDefinition::new("about");
/// Changes whenever a record changes its shape.
const FORMAT: &str = "2";

#[cfg(test)]
mod tests {
    use super::{super::tests::volume, *};

    #[test]
    fn a_second_opener_is_told_that_the_store_is_in_use() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("store.redb");
        let first = Database::open(&path).unwrap();
        let error = Database::open(&path).unwrap_err();
        assert!(matches!(error, StoreError::InUse(_)), "{error}");
        assert_eq!(error.to_string().lines().count(), 1);
        first.commit(&[Change::PutVolume(volume("a", "a", 10))]).unwrap();
        drop(first);
        assert!(Database::open(&path).unwrap().volume(&"a".parse().unwrap()).unwrap().is_some());
    }
}
