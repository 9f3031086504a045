//! One document of a manifest: an object of Kubernetes, as far as it decides what a driver is asked.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, de::DeserializeOwned};
use serde_json::Value;

use super::{ManifestError, Objects, quantity};
use crate::orchestrator::{
    names,
    object::{
        AccessMode, BindingMode, CsiDriver, DataSource, FsGroupPolicy, InlineVolume, Metadata, PersistentVolume,
        PersistentVolumeClaim, Pod, PodVolume, ReclaimPolicy, StorageClass, VolumeAttributesClass, VolumeGroupSnapshot,
        VolumeMode, VolumeSnapshot, VolumeSnapshotClass, VolumeSnapshotContent, VolumeSource,
    },
};

/// The kinds that can be played.
const KINDS: &str = "StorageClass, PersistentVolume, PersistentVolumeClaim, Pod, VolumeSnapshotClass, VolumeSnapshot, \
                     VolumeSnapshotContent, VolumeGroupSnapshot, VolumeAttributesClass, CSIDriver (secrets are taken from the \
                     profile)";

/// Reads an object into the list of its kind.
pub(super) fn read(document: &Value, objects: &mut Objects) -> Result<(), ManifestError> {
    let kind = document.get("kind").and_then(Value::as_str).ok_or(ManifestError::Nothing)?;
    let name = document.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default();
    let document = Document { object: format!("{kind} {name}"), value: document };
    if name.is_empty() {
        return Err(document.wrong("it has no metadata.name"));
    }
    match kind {
        "StorageClass" => objects.storage_classes.push(document.storage_class(name)?),
        "PersistentVolume" => objects.volumes.push(document.volume(name)?),
        "PersistentVolumeClaim" => objects.claims.push(document.claim(name)?),
        "Pod" => objects.pods.push(document.pod(name)?),
        "VolumeSnapshotClass" => objects.snapshot_classes.push(document.snapshot_class(name)?),
        "VolumeSnapshot" => objects.snapshots.push(document.snapshot(name)?),
        "VolumeSnapshotContent" => objects.snapshot_contents.push(document.snapshot_content(name)?),
        "VolumeGroupSnapshot" => objects.group_snapshots.push(document.group_snapshot(name)?),
        "VolumeAttributesClass" => objects.attributes_classes.push(document.attributes_class(name)?),
        "CSIDriver" => objects.csi_driver = Some(document.csi_driver(name)?),
        _ => return Err(ManifestError::Kind { kind: kind.to_owned(), known: KINDS.to_owned() }),
    }
    Ok(())
}

struct Document<'a> {
    object: String,
    value: &'a Value,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct StorageClassBody {
    provisioner: String,
    parameters: BTreeMap<String, String>,
    mount_options: Vec<String>,
    reclaim_policy: Option<String>,
    volume_binding_mode: Option<String>,
    allow_volume_expansion: bool,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct ClaimSpec {
    access_modes: Vec<String>,
    volume_mode: Option<String>,
    storage_class_name: String,
    volume_name: String,
    volume_attributes_class_name: String,
    data_source: Option<Reference>,
    resources: Resources,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Resources {
    requests: BTreeMap<String, Value>,
}

#[derive(Clone, Default, Deserialize)]
#[serde(default)]
struct Reference {
    kind: String,
    name: String,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct VolumeSpec {
    access_modes: Vec<String>,
    volume_mode: Option<String>,
    storage_class_name: String,
    persistent_volume_reclaim_policy: Option<String>,
    mount_options: Vec<String>,
    capacity: BTreeMap<String, Value>,
    csi: Option<CsiSource>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct CsiSource {
    driver: String,
    volume_handle: String,
    fs_type: String,
    read_only: bool,
    volume_attributes: BTreeMap<String, String>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct PodSpec {
    node_name: String,
    node_selector: BTreeMap<String, String>,
    volumes: Vec<PodVolumeBody>,
    security_context: SecurityContext,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct SecurityContext {
    fs_group: Option<u32>,
    se_linux_options: Option<SeLinuxOptions>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct SeLinuxOptions {
    user: String,
    role: String,
    r#type: String,
    level: String,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct PodVolumeBody {
    name: String,
    persistent_volume_claim: Option<ClaimVolume>,
    csi: Option<CsiSource>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct ClaimVolume {
    claim_name: String,
    read_only: bool,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct ClassBody {
    driver: String,
    driver_name: String,
    deletion_policy: Option<String>,
    parameters: BTreeMap<String, String>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct SnapshotSpec {
    volume_snapshot_class_name: String,
    source: SnapshotSource,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct SnapshotSource {
    persistent_volume_claim_name: String,
    volume_snapshot_content_name: String,
    snapshot_handle: String,
    volume_handle: String,
    selector: Selector,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Selector {
    match_labels: BTreeMap<String, String>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct ContentSpec {
    driver: String,
    deletion_policy: Option<String>,
    source: SnapshotSource,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct CsiDriverSpec {
    attach_required: Option<bool>,
    pod_info_on_mount: bool,
    requires_republish: bool,
    fs_group_policy: Option<String>,
    volume_lifecycle_modes: Vec<String>,
    token_requests: Vec<TokenRequest>,
    service_account_token_in_secrets: bool,
    se_linux_mount: bool,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct TokenRequest {
    audience: String,
}

impl Document<'_> {
    fn wrong(&self, what: impl Into<String>) -> ManifestError {
        ManifestError::Field { object: self.object.clone(), what: what.into() }
    }

    fn body<T: DeserializeOwned>(&self) -> Result<T, ManifestError> {
        serde_json::from_value(self.value.clone()).map_err(|error| self.wrong(error.to_string()))
    }

    fn spec<T: DeserializeOwned + Default>(&self) -> Result<T, ManifestError> {
        let Some(spec) = self.value.get("spec") else { return Ok(T::default()) };
        serde_json::from_value(spec.clone()).map_err(|error| self.wrong(format!("spec: {error}")))
    }

    fn labels(&self) -> Result<BTreeMap<String, String>, ManifestError> {
        let Some(labels) = self.value.pointer("/metadata/labels") else { return Ok(BTreeMap::new()) };
        serde_json::from_value(labels.clone()).map_err(|error| self.wrong(format!("metadata.labels: {error}")))
    }

    /// One of a few words; absent is the default.
    fn one_of<T: Copy + Default>(
        &self,
        field: &str,
        word: Option<&str>,
        known: &[(&str, T)],
    ) -> Result<T, ManifestError> {
        let Some(word) = word else { return Ok(T::default()) };
        let found = known.iter().find(|(name, _)| *name == word).map(|(_, value)| *value);
        let names: Vec<&str> = known.iter().map(|(name, _)| *name).collect();
        found.ok_or_else(|| self.wrong(format!("{field} is {word:?}, and may be {}", names.join(", "))))
    }

    fn policy(&self, field: &str, word: Option<&str>) -> Result<ReclaimPolicy, ManifestError> {
        self.one_of(field, word, &[("Delete", ReclaimPolicy::Delete), ("Retain", ReclaimPolicy::Retain)])
    }

    fn access_modes(&self, words: &[String]) -> Result<Vec<AccessMode>, ManifestError> {
        let mode = |word: &String| match word.as_str() {
            "ReadWriteOnce" => Ok(AccessMode::ReadWriteOnce),
            "ReadOnlyMany" => Ok(AccessMode::ReadOnlyMany),
            "ReadWriteMany" => Ok(AccessMode::ReadWriteMany),
            "ReadWriteOncePod" => Ok(AccessMode::ReadWriteOncePod),
            other => Err(self.wrong(format!(
                "accessModes has {other:?}, and may have ReadWriteOnce, ReadOnlyMany, ReadWriteMany, ReadWriteOncePod"
            ))),
        };
        words.iter().map(mode).collect()
    }

    fn volume_mode(&self, word: Option<&str>) -> Result<VolumeMode, ManifestError> {
        self.one_of("volumeMode", word, &[("Filesystem", VolumeMode::Filesystem), ("Block", VolumeMode::Block)])
    }

    fn storage(&self, field: &str, quantities: &BTreeMap<String, Value>) -> Result<i64, ManifestError> {
        let text = match quantities.get("storage") {
            Some(Value::String(text)) => text.clone(),
            Some(Value::Number(number)) => number.to_string(),
            _ => return Err(self.wrong(format!("{field}.storage is missing: write a quantity such as 5Gi"))),
        };
        let bytes = quantity::bytes(&text).filter(|bytes| *bytes > 0);
        bytes.ok_or_else(|| self.wrong(format!("{field}.storage {text:?} is no quantity such as 5Gi")))
    }

    fn storage_class(&self, name: &str) -> Result<StorageClass, ManifestError> {
        let body: StorageClassBody = self.body()?;
        if body.provisioner.is_empty() {
            return Err(self.wrong("provisioner is missing: name the driver"));
        }
        let modes =
            [("Immediate", BindingMode::Immediate), ("WaitForFirstConsumer", BindingMode::WaitForFirstConsumer)];
        Ok(StorageClass {
            metadata: Metadata::named(name),
            provisioner: body.provisioner,
            parameters: body.parameters,
            mount_options: body.mount_options,
            reclaim_policy: self.policy("reclaimPolicy", body.reclaim_policy.as_deref())?,
            binding_mode: self.one_of("volumeBindingMode", body.volume_binding_mode.as_deref(), &modes)?,
            allow_volume_expansion: body.allow_volume_expansion,
        })
    }

    fn claim(&self, name: &str) -> Result<PersistentVolumeClaim, ManifestError> {
        let spec: ClaimSpec = self.spec()?;
        let data_source = match spec.data_source {
            None => None,
            Some(source) if source.kind == "VolumeSnapshot" => Some(DataSource::Snapshot(source.name)),
            Some(source) if source.kind == "PersistentVolumeClaim" => Some(DataSource::Claim(source.name)),
            Some(source) => {
                let kind = source.kind;
                return Err(self.wrong(format!("dataSource is a {kind}: a VolumeSnapshot or a claim can be one")));
            }
        };
        let mut metadata = Metadata::named(name);
        metadata.finalizers.insert(names::CLAIM_PROTECTION.to_owned());
        metadata.labels = self.labels()?;
        Ok(PersistentVolumeClaim {
            metadata,
            access_modes: self.access_modes(&spec.access_modes)?,
            volume_mode: self.volume_mode(spec.volume_mode.as_deref())?,
            request: self.storage("resources.requests", &spec.resources.requests)?,
            storage_class: spec.storage_class_name,
            volume_name: spec.volume_name,
            data_source,
            attributes_class: spec.volume_attributes_class_name,
            ..PersistentVolumeClaim::default()
        })
    }

    fn volume(&self, name: &str) -> Result<PersistentVolume, ManifestError> {
        let spec: VolumeSpec = self.spec()?;
        let csi =
            spec.csi.ok_or_else(|| self.wrong("spec.csi is missing: only volumes of CSI drivers can be played"))?;
        if csi.volume_handle.is_empty() {
            return Err(self.wrong("csi.volumeHandle is missing: name the volume as the driver knows it"));
        }
        let mut metadata = Metadata::named(name);
        metadata.finalizers.insert(names::VOLUME_PROTECTION.to_owned());
        let retain = Some("Retain");
        Ok(PersistentVolume {
            metadata,
            driver: csi.driver,
            handle: csi.volume_handle,
            attributes: csi.volume_attributes,
            fs_type: csi.fs_type,
            read_only: csi.read_only,
            mount_options: spec.mount_options,
            capacity: self.storage("capacity", &spec.capacity)?,
            access_modes: self.access_modes(&spec.access_modes)?,
            volume_mode: self.volume_mode(spec.volume_mode.as_deref())?,
            // Volumes that people make are kept without another word.
            reclaim_policy: self
                .policy("persistentVolumeReclaimPolicy", spec.persistent_volume_reclaim_policy.as_deref().or(retain))?,
            storage_class: spec.storage_class_name,
            ..PersistentVolume::default()
        })
    }

    fn pod(&self, name: &str) -> Result<Pod, ManifestError> {
        let spec: PodSpec = self.spec()?;
        let mut volumes = Vec::new();
        for volume in spec.volumes {
            let (source, read_only) = match (volume.persistent_volume_claim, volume.csi) {
                (Some(claim), _) => (VolumeSource::Claim(claim.claim_name), claim.read_only),
                (None, Some(csi)) => {
                    let CsiSource { driver, fs_type, volume_attributes: attributes, read_only, .. } = csi;
                    (VolumeSource::Inline(InlineVolume { driver, fs_type, attributes }), read_only)
                }
                // Config maps, empty directories and the like are none of a driver's business.
                (None, None) => continue,
            };
            volumes.push(PodVolume { name: volume.name, source, read_only });
        }
        let host = spec.node_selector.get("kubernetes.io/hostname").cloned();
        let node = Some(spec.node_name).filter(|node| !node.is_empty()).or(host);
        let label = |options: SeLinuxOptions| {
            let parts = [options.user, options.role, options.r#type, options.level];
            parts.iter().all(|part| !part.is_empty()).then(|| parts.join(":"))
        };
        Ok(Pod {
            metadata: Metadata::named(name),
            allowed_nodes: node.into_iter().collect::<BTreeSet<_>>(),
            volumes,
            fs_group: spec.security_context.fs_group,
            selinux_label: spec.security_context.se_linux_options.and_then(label),
            ..Pod::default()
        })
    }

    fn snapshot_class(&self, name: &str) -> Result<VolumeSnapshotClass, ManifestError> {
        let body: ClassBody = self.body()?;
        Ok(VolumeSnapshotClass {
            metadata: Metadata::named(name),
            driver: body.driver,
            parameters: body.parameters,
            deletion_policy: self.policy("deletionPolicy", body.deletion_policy.as_deref())?,
        })
    }

    fn attributes_class(&self, name: &str) -> Result<VolumeAttributesClass, ManifestError> {
        let body: ClassBody = self.body()?;
        Ok(VolumeAttributesClass {
            metadata: Metadata::named(name),
            driver: body.driver_name,
            parameters: body.parameters,
        })
    }

    fn snapshot(&self, name: &str) -> Result<VolumeSnapshot, ManifestError> {
        let spec: SnapshotSpec = self.spec()?;
        let (claim, content) = (spec.source.persistent_volume_claim_name, spec.source.volume_snapshot_content_name);
        if claim.is_empty() == content.is_empty() {
            return Err(self.wrong(
                "source names one of persistentVolumeClaimName and volumeSnapshotContentName, and has to name one",
            ));
        }
        Ok(VolumeSnapshot {
            metadata: Metadata::named(name),
            claim,
            content,
            class: spec.volume_snapshot_class_name,
            ..VolumeSnapshot::default()
        })
    }

    fn snapshot_content(&self, name: &str) -> Result<VolumeSnapshotContent, ManifestError> {
        let spec: ContentSpec = self.spec()?;
        if spec.source.snapshot_handle.is_empty() || !spec.source.volume_handle.is_empty() {
            return Err(
                self.wrong("source.snapshotHandle is missing: contents of new snapshots are made by themselves")
            );
        }
        let mut metadata = Metadata::named(name);
        metadata.finalizers.insert(names::CONTENT_PROTECTION.to_owned());
        Ok(VolumeSnapshotContent {
            metadata,
            driver: spec.driver,
            handle: spec.source.snapshot_handle,
            deletion_policy: self.policy("deletionPolicy", spec.deletion_policy.as_deref())?,
            ..VolumeSnapshotContent::default()
        })
    }

    fn group_snapshot(&self, name: &str) -> Result<VolumeGroupSnapshot, ManifestError> {
        let spec: SnapshotSpec = self.spec()?;
        let selector = spec.source.selector.match_labels;
        if selector.is_empty() {
            return Err(self.wrong("source.selector.matchLabels is missing: name the labels of the claims"));
        }
        Ok(VolumeGroupSnapshot { metadata: Metadata::named(name), selector, ..VolumeGroupSnapshot::default() })
    }

    fn csi_driver(&self, name: &str) -> Result<CsiDriver, ManifestError> {
        let spec: CsiDriverSpec = self.spec()?;
        let policies = [
            ("ReadWriteOnceWithFSType", FsGroupPolicy::ReadWriteOnceWithFsType),
            ("File", FsGroupPolicy::File),
            ("None", FsGroupPolicy::None),
        ];
        Ok(CsiDriver {
            name: name.to_owned(),
            attach_required: spec.attach_required.unwrap_or(true),
            pod_info_on_mount: spec.pod_info_on_mount,
            requires_republish: spec.requires_republish,
            fs_group_policy: self.one_of("fsGroupPolicy", spec.fs_group_policy.as_deref(), &policies)?,
            is_ephemeral: spec.volume_lifecycle_modes.iter().any(|mode| mode == "Ephemeral"),
            token_requests: spec.token_requests.into_iter().map(|request| request.audience).collect(),
            tokens_in_secrets: spec.service_account_token_in_secrets,
            selinux_mount: spec.se_linux_mount,
        })
    }
}
