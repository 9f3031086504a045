//! The test-driver manifest of Kubernetes' External Storage tests: what a driver can do, and the classes to use.
//!
//! Read are StorageClass, SnapshotClass and DriverInfo (`test/e2e/storage/external` upstream); timeouts and node names are
//! for tests that do not run here.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use serde::Deserialize;
use serde_json::Value;

use super::{Manifest, ManifestError, Objects, parse, quantity};
use crate::orchestrator::object::{AccessMode, VolumeMode};

/// Where a class comes from.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub enum ClassSource {
    /// There is none.
    #[default]
    None,
    /// One with nothing but the driver's name.
    FromName,
    /// One that is read from a file beside the manifest.
    FromFile(PathBuf),
}

/// What a driver can do.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TestDriver {
    /// The name of the driver.
    pub name: String,
    /// The class of its volumes.
    pub storage_class: ClassSource,
    /// The class of its snapshots.
    pub snapshot_class: ClassSource,
    /// Its capabilities, by their names upstream.
    pub capabilities: BTreeMap<String, bool>,
    /// The least size of a volume, where it is named.
    pub least_size: Option<i64>,
    /// The file systems that it knows; the empty one is the driver's own choice.
    pub fs_types: Vec<String>,
    /// Mount options that each volume needs.
    pub mount_options: Vec<String>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Body {
    storage_class: Option<ClassBody>,
    snapshot_class: Option<ClassBody>,
    driver_info: DriverInfo,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct ClassBody {
    from_name: bool,
    from_file: String,
    from_existing_class_name: String,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct DriverInfo {
    name: String,
    supported_size_range: SizeRange,
    supported_fs_type: Option<BTreeMap<String, Value>>,
    required_mount_option: Option<BTreeMap<String, Value>>,
    capabilities: BTreeMap<String, bool>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct SizeRange {
    min: String,
}

pub(super) fn read(document: &Value) -> Result<TestDriver, ManifestError> {
    let wrong = |what: String| ManifestError::Field { object: "the test driver".to_owned(), what };
    let body: Body = serde_json::from_value(document.clone()).map_err(|error| wrong(error.to_string()))?;
    let class = |field: &str, body: Option<ClassBody>| match body {
        None => Ok(ClassSource::None),
        Some(body) if !body.from_file.is_empty() => Ok(ClassSource::FromFile(body.from_file.into())),
        Some(body) if body.from_name => Ok(ClassSource::FromName),
        Some(body) if !body.from_existing_class_name.is_empty() => Err(wrong(format!(
            "{field}.FromExistingClassName names a class of a cluster that is not here: use FromFile"
        ))),
        Some(_) => Ok(ClassSource::None),
    };
    let info = body.driver_info;
    if info.name.is_empty() {
        return Err(wrong("DriverInfo.Name is missing: name the driver".to_owned()));
    }
    let least_size = match info.supported_size_range.min.as_str() {
        "" => None,
        text => Some(
            quantity::bytes(text).ok_or_else(|| wrong(format!("SupportedSizeRange.Min {text:?} is no quantity")))?,
        ),
    };
    Ok(TestDriver {
        name: info.name,
        storage_class: class("StorageClass", body.storage_class)?,
        snapshot_class: class("SnapshotClass", body.snapshot_class)?,
        capabilities: info.capabilities,
        least_size,
        fs_types: info.supported_fs_type.unwrap_or_default().into_keys().collect(),
        mount_options: info.required_mount_option.unwrap_or_default().into_keys().collect(),
    })
}

impl TestDriver {
    fn can(&self, capability: &str) -> bool {
        self.capabilities.get(capability).copied().unwrap_or_default()
    }

    /// How its volumes may be used.
    pub fn access_modes(&self) -> Vec<AccessMode> {
        let mut modes = vec![AccessMode::ReadWriteOnce];
        if self.can("RWX") {
            modes.push(AccessMode::ReadWriteMany);
        }
        if self.can("readWriteOncePod") {
            modes.push(AccessMode::ReadWriteOncePod);
        }
        modes
    }

    /// How its volumes may appear.
    pub fn volume_modes(&self) -> Vec<VolumeMode> {
        let block = self.can("block").then_some(VolumeMode::Block);
        std::iter::once(VolumeMode::Filesystem).chain(block).collect()
    }

    /// Whether snapshots are cut and restored.
    pub fn snapshots(&self) -> bool {
        self.can("snapshotDataSource") && self.snapshot_class != ClassSource::None
    }

    /// Whether volumes grow while they are used: all growth of a random workload is of that kind.
    pub fn expansions(&self) -> bool {
        self.can("onlineExpansion") && (self.can("controllerExpansion") || self.can("nodeExpansion"))
    }

    /// The objects of the files that it names, which lie beside it.
    ///
    /// # Errors
    ///
    /// When a file cannot be read, or holds something else.
    pub fn classes(&self, beside: &Path) -> Result<Objects, ManifestError> {
        let mut classes = Objects::default();
        for source in [&self.storage_class, &self.snapshot_class] {
            let ClassSource::FromFile(path) = source else { continue };
            let path = beside.join(path);
            let text = std::fs::read_to_string(&path)
                .map_err(|error| ManifestError::File { path: path.clone(), cause: error.to_string() })?;
            let Manifest::Objects(objects) = parse(&text)? else { return Err(ManifestError::Nothing) };
            classes.storage_classes.extend(objects.storage_classes);
            classes.snapshot_classes.extend(objects.snapshot_classes);
        }
        Ok(classes)
    }
}
