//! What the pods of a node need.

use std::collections::BTreeMap;

use super::super::{
    names,
    object::{AccessMode, PersistentVolume, VolumeMode},
};

/// A volume as an operation needs it.
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq)]
pub(crate) struct VolumeSpec {
    /// The name under which kubelet and attach/detach controller know it.
    pub unique_name: String,
    /// The name of the PersistentVolume.
    pub volume_name: String,
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
}

impl VolumeSpec {
    /// Of a volume that a claim has.
    pub(crate) fn of(volume: &PersistentVolume, claim: &str) -> Self {
        Self {
            unique_name: names::unique_volume(&volume.driver, &volume.handle),
            volume_name: volume.metadata.name.clone(),
            claim: claim.to_owned(),
            driver: volume.driver.clone(),
            handle: volume.handle.clone(),
            attributes: volume.attributes.clone(),
            fs_type: volume.fs_type.clone(),
            mount_options: volume.mount_options.clone(),
            access_modes: volume.access_modes.clone(),
            volume_mode: volume.volume_mode,
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
