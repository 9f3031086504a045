//! The objects of the cluster: as much of each kind of Kubernetes as decides what a driver is asked.

mod csi_driver;
mod event;
mod pod;
mod snapshot;
mod storage;

use std::collections::{BTreeMap, BTreeSet};

pub use csi_driver::{CsiDriver, FsGroupPolicy};
pub use event::Event;
pub use pod::{InlineVolume, Node, Pod, PodPhase, PodVolume, Registration, VolumeSource};
pub use snapshot::{
    VolumeGroupSnapshot, VolumeGroupSnapshotContent, VolumeSnapshot, VolumeSnapshotClass, VolumeSnapshotContent,
};
pub use storage::{
    AccessMode, BindingMode, ClaimReference, DataSource, Modification, PersistentVolume, PersistentVolumeClaim,
    ReclaimPolicy, ResizePhase, StorageClass, VolumeAttachment, VolumeAttributesClass, VolumeMode, VolumePhase,
};

use super::store::Tables;
use crate::csi::v1;

/// What all objects have.
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq)]
pub struct Metadata {
    /// The name, unique in its kind.
    pub name: String,
    /// The identity: another object of the same name has another one.
    pub uid: String,
    /// Grows with every write to the object.
    pub resource_version: u64,
    /// When deletion was asked for, in milliseconds of the cluster's life.
    pub deletion_timestamp: Option<u64>,
    /// Who has to let go before the object vanishes.
    pub finalizers: BTreeSet<String>,
    /// Notes of the components.
    pub annotations: BTreeMap<String, String>,
    /// What others choose it by.
    pub labels: BTreeMap<String, String>,
}

impl Metadata {
    /// Metadata of a new object.
    pub fn named(name: impl Into<String>) -> Self {
        Self { name: name.into(), ..Self::default() }
    }

    /// Whether deletion was asked for.
    pub const fn is_deleting(&self) -> bool {
        self.deletion_timestamp.is_some()
    }
}

/// A kind of object.
pub trait Object: Clone + PartialEq + Send + Sync + 'static {
    /// Which kind.
    const KIND: Kind;
    /// Its metadata.
    fn metadata(&self) -> &Metadata;
    /// Its metadata, to be changed.
    fn metadata_mut(&mut self) -> &mut Metadata;
    /// All objects of the kind.
    fn table(tables: &Tables) -> &BTreeMap<String, Self>;
    /// All objects of the kind, to be changed.
    fn table_mut(tables: &mut Tables) -> &mut BTreeMap<String, Self>;
}

macro_rules! kinds {
    ($($kind:ident in $table:ident),+ $(,)?) => {
        /// The kinds of objects.
        #[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
        #[allow(missing_docs, reason = "the variants are the structures of the same name")]
        pub enum Kind {
            $($kind,)+
        }

        $(
            impl Object for $kind {
                const KIND: Kind = Kind::$kind;

                fn metadata(&self) -> &Metadata {
                    &self.metadata
                }

                fn metadata_mut(&mut self) -> &mut Metadata {
                    &mut self.metadata
                }

                fn table(tables: &Tables) -> &BTreeMap<String, Self> {
                    &tables.$table
                }

                fn table_mut(tables: &mut Tables) -> &mut BTreeMap<String, Self> {
                    &mut tables.$table
                }
            }
        )+
    };
}

kinds! {
    StorageClass in storage_classes,
    PersistentVolumeClaim in claims,
    PersistentVolume in volumes,
    VolumeAttachment in attachments,
    Node in nodes,
    Pod in pods,
    VolumeSnapshot in snapshots,
    VolumeSnapshotClass in snapshot_classes,
    VolumeSnapshotContent in snapshot_contents,
    VolumeGroupSnapshot in group_snapshots,
    VolumeGroupSnapshotContent in group_snapshot_contents,
    VolumeAttributesClass in attributes_classes,
    Event in events,
}

/// The segments as CSI writes them.
pub(super) fn topology(segments: &BTreeMap<String, String>) -> v1::Topology {
    v1::Topology { segments: segments.clone() }
}
