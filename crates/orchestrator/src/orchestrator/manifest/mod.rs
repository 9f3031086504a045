//! Plain Kubernetes YAML: objects for a cluster, and the test-driver manifest of Kubernetes' External Storage tests.

mod document;
mod quantity;
mod test_driver;

use std::path::PathBuf;

use thiserror::Error;

pub use test_driver::{ClassSource, TestDriver};

use super::{
    object::{
        CsiDriver, PersistentVolume, PersistentVolumeClaim, Pod, StorageClass, VolumeAttributesClass,
        VolumeGroupSnapshot, VolumeSnapshot, VolumeSnapshotClass, VolumeSnapshotContent,
    },
    store::{Store, StoreError},
};

/// What a file describes.
#[derive(Clone, Debug, PartialEq)]
pub enum Manifest {
    /// Objects to be created.
    Objects(Box<Objects>),
    /// What a driver can do, for a workload to be drawn.
    TestDriver(Box<TestDriver>),
}

/// Objects, by kind and in the order of the file.
#[derive(Clone, Debug, Default, PartialEq)]
#[allow(missing_docs, reason = "one list for each kind of object")]
pub struct Objects {
    pub csi_driver: Option<CsiDriver>,
    pub storage_classes: Vec<StorageClass>,
    pub snapshot_classes: Vec<VolumeSnapshotClass>,
    pub attributes_classes: Vec<VolumeAttributesClass>,
    pub volumes: Vec<PersistentVolume>,
    pub claims: Vec<PersistentVolumeClaim>,
    pub snapshot_contents: Vec<VolumeSnapshotContent>,
    pub snapshots: Vec<VolumeSnapshot>,
    pub group_snapshots: Vec<VolumeGroupSnapshot>,
    pub pods: Vec<Pod>,
}

/// What is wrong with a manifest.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ManifestError {
    /// It is no YAML.
    #[error("it is no YAML: {0}")]
    Yaml(String),
    /// It has neither objects nor a DriverInfo.
    #[error("it holds no Kubernetes objects, and no DriverInfo of a test driver either")]
    Nothing,
    /// A document is no object that is known here.
    #[error("{kind} is not among the kinds that can be played: {known}")]
    Kind {
        /// The kind.
        kind: String,
        /// Those that can be.
        known: String,
    },
    /// A field is missing or wrong.
    #[error("{object}: {what}")]
    Field {
        /// The object.
        object: String,
        /// What is wrong, and what would be right.
        what: String,
    },
    /// A file that it names cannot be read.
    #[error("{path}, which it names, cannot be read: {cause}")]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        cause: String,
    },
}

/// Reads a manifest: one or several documents.
///
/// # Errors
///
/// When it is no YAML, or something in it cannot be played.
pub fn parse(text: &str) -> Result<Manifest, ManifestError> {
    let documents = serde_saphyr::from_multiple::<serde_json::Value>(text);
    let documents = documents.map_err(|error| ManifestError::Yaml(error.to_string()))?;
    let documents: Vec<serde_json::Value> = documents.into_iter().filter(|document| !document.is_null()).collect();
    if let [document] = documents.as_slice()
        && document.get("DriverInfo").is_some()
    {
        return Ok(Manifest::TestDriver(Box::new(test_driver::read(document)?)));
    }
    if documents.is_empty() {
        return Err(ManifestError::Nothing);
    }
    let mut objects = Objects::default();
    for document in &documents {
        document::read(document, &mut objects)?;
    }
    Ok(Manifest::Objects(Box::new(objects)))
}

impl Objects {
    /// Creates them all.
    ///
    /// # Errors
    ///
    /// When one of a kind is there twice.
    pub fn create(&self, store: &Store) -> Result<(), StoreError> {
        macro_rules! create {
            ($($list:ident),+) => {$(
                for object in &self.$list {
                    store.create(object.clone())?;
                }
            )+};
        }
        create!(storage_classes, snapshot_classes, attributes_classes, volumes, claims);
        create!(snapshot_contents, snapshots, group_snapshots, pods);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
