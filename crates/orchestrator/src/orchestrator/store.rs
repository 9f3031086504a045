//! The object store: resource versions, conflicts, finalizers, deletion timestamps and watches, as an API server has them.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use thiserror::Error;
use tokio::{sync::watch, time::Instant};

use super::object::{
    Event, Kind, Node, Object, PersistentVolume, PersistentVolumeClaim, Pod, StorageClass, VolumeAttachment,
    VolumeAttributesClass, VolumeGroupSnapshot, VolumeGroupSnapshotContent, VolumeSnapshot, VolumeSnapshotClass,
    VolumeSnapshotContent,
};

/// All objects.
#[derive(Clone, Debug, Default, PartialEq)]
#[allow(missing_docs, reason = "one table for each kind of object")]
pub struct Tables {
    pub storage_classes: BTreeMap<String, StorageClass>,
    pub claims: BTreeMap<String, PersistentVolumeClaim>,
    pub volumes: BTreeMap<String, PersistentVolume>,
    pub attachments: BTreeMap<String, VolumeAttachment>,
    pub nodes: BTreeMap<String, Node>,
    pub pods: BTreeMap<String, Pod>,
    pub snapshots: BTreeMap<String, VolumeSnapshot>,
    pub snapshot_classes: BTreeMap<String, VolumeSnapshotClass>,
    pub snapshot_contents: BTreeMap<String, VolumeSnapshotContent>,
    pub group_snapshots: BTreeMap<String, VolumeGroupSnapshot>,
    pub group_snapshot_contents: BTreeMap<String, VolumeGroupSnapshotContent>,
    pub attributes_classes: BTreeMap<String, VolumeAttributesClass>,
    pub events: BTreeMap<String, Event>,
}

/// Something was written.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Change {
    /// Which kind of object.
    pub kind: Kind,
    /// Which object.
    pub name: String,
    /// Whether only a note of a failure was written, which wakes nobody.
    pub is_quiet: bool,
}

/// Why something could not be written.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[non_exhaustive]
pub enum StoreError {
    /// There is one of this name.
    #[error("{kind:?} {name} exists already: choose another name, or delete it first")]
    AlreadyExists {
        /// Which kind.
        kind: Kind,
        /// Which name.
        name: String,
    },
    /// There is none of this name.
    #[error("there is no {kind:?} {name}")]
    NotFound {
        /// Which kind.
        kind: Kind,
        /// Which name.
        name: String,
    },
    /// Somebody else wrote first.
    #[error("{kind:?} {name} has changed since it was read: read it again")]
    Conflict {
        /// Which kind.
        kind: Kind,
        /// Which name.
        name: String,
    },
}

/// The store; clones are the same store.
#[derive(Clone, Debug)]
pub struct Store(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    revision: watch::Sender<u64>,
    began: Instant,
    seed: u64,
}

#[derive(Debug, Default)]
struct State {
    tables: Tables,
    log: Vec<Change>,
    uids: u64,
}

/// Reads the changes from one point on.
#[derive(Debug)]
pub struct Watch {
    store: Store,
    position: usize,
    revision: watch::Receiver<u64>,
}

impl Store {
    /// An empty store; the seed goes into the identities of objects.
    pub fn new(seed: u64) -> Self {
        let (revision, _) = watch::channel(0);
        Self(Arc::new(Shared { state: Mutex::default(), revision, began: Instant::now(), seed }))
    }

    /// Milliseconds of the cluster's life.
    pub fn now(&self) -> u64 {
        self.0.began.elapsed().as_millis() as u64
    }

    /// An object.
    pub fn get<T: Object>(&self, name: &str) -> Option<T> {
        T::table(&self.state().tables).get(name).cloned()
    }

    /// All objects of a kind, by name.
    pub fn list<T: Object>(&self) -> Vec<T> {
        T::table(&self.state().tables).values().cloned().collect()
    }

    /// Looks at all objects as they are at one moment.
    pub fn read<R>(&self, look: impl FnOnce(&Tables) -> R) -> R {
        look(&self.state().tables)
    }

    /// Adds an object, and gives it an identity.
    ///
    /// # Errors
    ///
    /// When there is one of this name.
    pub fn create<T: Object>(&self, mut object: T) -> Result<T, StoreError> {
        let mut state = self.state();
        let name = object.metadata().name.clone();
        if T::table(&state.tables).contains_key(&name) {
            return Err(StoreError::AlreadyExists { kind: T::KIND, name });
        }
        state.uids += 1;
        let number = state.uids;
        let metadata = object.metadata_mut();
        if metadata.uid.is_empty() {
            metadata.uid = uid(self.0.seed, number);
        }
        metadata.resource_version = state.log.len() as u64 + 1;
        T::table_mut(&mut state.tables).insert(name.clone(), object.clone());
        self.publish(state, Change { kind: T::KIND, name, is_quiet: false });
        Ok(object)
    }

    /// Writes an object as it was read and changed; a deleted one vanishes with its last finalizer.
    ///
    /// # Errors
    ///
    /// When it is gone, or was written by somebody else since.
    pub fn update<T: Object>(&self, object: T) -> Result<(), StoreError> {
        let seen = object.metadata().resource_version;
        let name = object.metadata().name.clone();
        self.write(&name, false, |current: &mut T| {
            if current.metadata().resource_version != seen || current.metadata().uid != object.metadata().uid {
                return Err(StoreError::Conflict { kind: T::KIND, name: name.clone() });
            }
            *current = object;
            Ok(())
        })
    }

    /// Changes an object as it is now, as a patch does; nothing is written where nothing changes.
    ///
    /// # Errors
    ///
    /// When it is gone.
    pub fn modify<T: Object>(&self, name: &str, change: impl FnOnce(&mut T)) -> Result<(), StoreError> {
        self.write(name, false, |object| {
            change(object);
            Ok(())
        })
    }

    /// As [`Store::modify`], for notes of failures that wake nobody.
    ///
    /// # Errors
    ///
    /// When it is gone.
    pub fn note<T: Object>(&self, name: &str, change: impl FnOnce(&mut T)) -> Result<(), StoreError> {
        self.write(name, true, |object| {
            change(object);
            Ok(())
        })
    }

    /// Asks for deletion: the object vanishes when its last finalizer goes. An absent one is deleted already.
    pub fn delete<T: Object>(&self, name: &str) {
        let now = self.now();
        // Absent is what is wanted.
        let _ = self.modify(name, |object: &mut T| {
            object.metadata_mut().deletion_timestamp.get_or_insert(now);
        });
    }

    /// A watch from now on.
    pub fn watch(&self) -> Watch {
        let position = self.state().log.len();
        let revision = self.0.revision.subscribe();
        Watch { store: self.clone(), position, revision }
    }

    fn write<T: Object>(
        &self,
        name: &str,
        is_quiet: bool,
        change: impl FnOnce(&mut T) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let mut state = self.state();
        let version = state.log.len() as u64 + 1;
        let table = T::table_mut(&mut state.tables);
        let Some(object) = table.get_mut(name) else {
            return Err(StoreError::NotFound { kind: T::KIND, name: name.to_owned() });
        };
        let before = object.clone();
        change(object)?;
        if *object == before {
            return Ok(());
        }
        object.metadata_mut().resource_version = version;
        if object.metadata().is_deleting() && object.metadata().finalizers.is_empty() {
            table.remove(name);
        }
        self.publish(state, Change { kind: T::KIND, name: name.to_owned(), is_quiet });
        Ok(())
    }

    fn publish(&self, mut state: MutexGuard<'_, State>, change: Change) {
        state.log.push(change);
        let revision = state.log.len() as u64;
        drop(state);
        self.0.revision.send_replace(revision);
    }

    /// Objects are whole between any two statements under the lock: a panic elsewhere leaves none half written.
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Watch {
    /// The changes since the last look.
    pub fn changes(&mut self) -> Vec<Change> {
        self.revision.mark_unchanged();
        let state = self.store.state();
        let changes = state.log.get(self.position..).unwrap_or_default().to_vec();
        drop(state);
        self.position += changes.len();
        changes
    }

    /// Waits until something was written since the last look.
    pub async fn changed(&mut self) {
        // The store holds the sender and lives as long as this watch.
        let _ = self.revision.changed().await;
    }
}

/// Identities look like those of an API server, and are the same for the same seed.
fn uid(seed: u64, number: u64) -> String {
    let mixed = mix(seed ^ mix(number));
    format!(
        "{:08x}-{:04x}-4{:03x}-8{:03x}-{:04x}{number:08x}",
        mixed >> 32,
        (mixed >> 16) & 0xffff,
        mixed & 0xfff,
        (seed >> 4) & 0xfff,
        (mixed >> 48) & 0xffff
    )
}

const fn mix(mut value: u64) -> u64 {
    value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::orchestrator::object::Metadata;

    fn pod(name: &str) -> Pod {
        Pod { metadata: Metadata::named(name), ..Pod::default() }
    }

    #[test]
    fn a_write_over_a_newer_version_is_a_conflict() {
        let store = Store::new(1);
        let first = store.create(pod("p")).unwrap();
        store.modify("p", |pod: &mut Pod| pod.node_name = "n".into()).unwrap();
        assert!(matches!(store.update(first), Err(StoreError::Conflict { .. })));
        let current: Pod = store.get("p").unwrap();
        assert!(store.update(Pod { containers_run: true, ..current }).is_ok());
    }

    #[test]
    fn a_deleted_object_vanishes_with_its_last_finalizer() {
        let store = Store::new(1);
        let mut object = pod("p");
        object.metadata.finalizers.insert("somebody".into());
        store.create(object).unwrap();
        store.delete::<Pod>("p");
        assert!(store.get::<Pod>("p").unwrap().metadata.is_deleting());
        store.modify("p", |pod: &mut Pod| pod.metadata.finalizers.clear()).unwrap();
        assert_eq!(store.get::<Pod>("p"), None);
        store.create(pod("p")).unwrap();
        store.delete::<Pod>("p");
        assert_eq!(store.get::<Pod>("p"), None);
    }

    #[test]
    fn identities_differ_within_a_store_and_agree_for_a_seed() {
        let of = |seed| {
            let store = Store::new(seed);
            (0..100).map(|n| store.create(pod(&n.to_string())).unwrap().metadata.uid).collect::<Vec<_>>()
        };
        let (first, again, other) = (of(1), of(1), of(2));
        assert_eq!(first, again);
        assert!(first.iter().all(|uid| uid.len() == 36 && !other.contains(uid)));
    }

    #[test]
    fn a_watch_sees_each_change_once_and_no_write_that_changes_nothing() {
        let store = Store::new(1);
        let mut watch = store.watch();
        store.create(pod("p")).unwrap();
        store.modify("p", |pod: &mut Pod| pod.node_name.clear()).unwrap();
        let change = Change { kind: Kind::Pod, name: "p".into(), is_quiet: false };
        assert_eq!(watch.changes(), [change]);
        assert_eq!(watch.changes(), []);
    }
}
