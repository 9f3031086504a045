//! What the pods of a node need.

use std::collections::BTreeMap;

use super::super::{
    names,
    object::{AccessMode, InlineVolume, PersistentVolume, Pod, PodVolume, VolumeMode, VolumeSource},
    store::Tables,
};

/// A volume as an operation needs it.
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq)]
pub(crate) struct VolumeSpec {
    /// The name under which kubelet and attach/detach controller know it.
    pub unique_name: String,
    /// The name of the PersistentVolume.
    pub volume_name: String,
    /// The PersistentVolume after which its staging path as a device is named: of one handle there may be several.
    pub staged_as: String,
    /// The claim.
    pub claim: String,
    /// The driver.
    pub driver: String,
    /// The `volume_id`.
    pub handle: String,
    /// The `volume_context`.
    pub attributes: BTreeMap<String, String>,
    /// The file system, or empty.
    pub fs_type: String,
    /// Mount options.
    pub mount_options: Vec<String>,
    /// The access modes.
    pub access_modes: Vec<AccessMode>,
    /// How it appears.
    pub volume_mode: VolumeMode,
    /// Whether it lives and dies with its pod: it is neither attached nor staged.
    pub is_inline: bool,
}

impl VolumeSpec {
    /// Of a volume that a claim has.
    pub(crate) fn of(volume: &PersistentVolume, claim: &str) -> Self {
        Self {
            unique_name: names::unique_volume(&volume.driver, &volume.handle),
            volume_name: volume.metadata.name.clone(),
            staged_as: volume.metadata.name.clone(),
            claim: claim.to_owned(),
            driver: volume.driver.clone(),
            handle: volume.handle.clone(),
            attributes: volume.attributes.clone(),
            fs_type: volume.fs_type.clone(),
            mount_options: volume.mount_options.clone(),
            access_modes: volume.access_modes.clone(),
            volume_mode: volume.volume_mode,
            is_inline: false,
        }
    }

    /// Of a volume that lives and dies with its pod.
    pub(crate) fn inline(pod_uid: &str, name: &str, inline: &InlineVolume) -> Self {
        Self {
            unique_name: names::unique_inline_volume(pod_uid, name),
            volume_name: name.to_owned(),
            driver: inline.driver.clone(),
            handle: names::inline_handle(pod_uid, name),
            attributes: inline.attributes.clone(),
            fs_type: inline.fs_type.clone(),
            access_modes: vec![AccessMode::ReadWriteOnce],
            is_inline: true,
            ..Self::default()
        }
    }

    /// Of a volume of a pod, with the claim's volume where it comes from one; `None` while that is not bound.
    pub(crate) fn of_pod(pod: &Pod, volume: &PodVolume, tables: &Tables) -> Option<Self> {
        match &volume.source {
            VolumeSource::Inline(inline) => Some(Self::inline(&pod.metadata.uid, &volume.name, inline)),
            VolumeSource::Claim(claim) => {
                let claim = tables.claims.get(claim).filter(|claim| claim.is_bound)?;
                Some(Self::of(tables.volumes.get(&claim.volume_name)?, &claim.metadata.name))
            }
        }
    }
}

/// A pod that needs a volume.
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq)]
pub(crate) struct DesiredPod {
    /// Its name.
    pub name: String,
    /// The volume as its claim has it: two volumes may share one handle.
    pub spec: VolumeSpec,
    /// Whether it only reads.
    pub read_only: bool,
    /// The group that the volume is to belong to.
    pub fs_group: Option<u32>,
    /// The SELinux label that it is mounted with.
    pub selinux_label: Option<String>,
}

/// A volume that pods need.
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq)]
pub(crate) struct DesiredVolume {
    /// The pods, by identity.
    pub pods: BTreeMap<String, DesiredPod>,
    /// Whether the node's status has said that it is in use.
    pub is_reported_in_use: bool,
    /// The size that it should have.
    pub size: i64,
}

/// The volumes that pods need, by unique name.
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq)]
pub(crate) struct DesiredStateOfWorld {
    /// The volumes.
    pub volumes: BTreeMap<String, DesiredVolume>,
    /// Whether all pods were looked at since the start: nothing is unmounted before.
    pub is_complete: bool,
}

impl DesiredStateOfWorld {
    /// Adds a volume of a pod.
    pub(crate) fn add(&mut self, pod: &str, wanted: DesiredPod, size: i64) {
        let volume = self.volumes.entry(wanted.spec.unique_name.clone()).or_default();
        volume.size = volume.size.max(size);
        // What was mounted for a pod is not looked at anew.
        volume.pods.entry(pod.to_owned()).or_insert(wanted);
    }

    /// Removes a volume of a pod.
    pub(crate) fn remove(&mut self, volume: &str, pod: &str) {
        if let Some(entry) = self.volumes.get_mut(volume) {
            entry.pods.remove(pod);
            if entry.pods.is_empty() {
                self.volumes.remove(volume);
            }
        }
    }

    /// Whether a pod needs a volume.
    pub(crate) fn wants(&self, volume: &str, pod: &str) -> bool {
        self.volumes.get(volume).is_some_and(|volume| volume.pods.contains_key(pod))
    }
}
