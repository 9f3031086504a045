//! The paths of a kubelet, and the notes that it leaves beside them.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::{super::names, VolumeSpec};

/// The name of a note.
const VOLUME_DATA: &str = "vol_data.json";

/// The directory of a kubelet.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(crate) struct Places {
    root: PathBuf,
}

/// What a note says.
#[derive(Clone, Debug, Default, Deserialize, Eq, Hash, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct VolumeData {
    /// The name of the volume.
    #[serde(rename = "specVolID", default, skip_serializing_if = "String::is_empty")]
    pub volume_name: String,
    /// The `volume_id`.
    pub volume_handle: String,
    /// The driver.
    pub driver_name: String,
    /// The node.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub node_name: String,
    /// The attachment.
    #[serde(rename = "attachmentID", default, skip_serializing_if = "String::is_empty")]
    pub attachment: String,
    /// `Persistent`; empty for block volumes.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub volume_lifecycle_mode: String,
    /// The SELinux label, where it is mounted with one.
    #[serde(rename = "seLinuxMountContext", default, skip_serializing_if = "String::is_empty")]
    pub selinux_label: String,
}

impl VolumeData {
    /// The life of a volume that a claim has.
    pub(crate) const PERSISTENT: &'static str = "Persistent";
    /// The life of a volume that lives and dies with its pod.
    pub(crate) const EPHEMERAL: &'static str = "Ephemeral";

    /// Writes it into a directory that exists.
    ///
    /// # Errors
    ///
    /// When the file cannot be written.
    pub(crate) fn write(&self, directory: &Path) -> io::Result<()> {
        fs::write(directory.join(VOLUME_DATA), serde_json::to_vec(self)?)
    }

    /// Reads it.
    ///
    /// # Errors
    ///
    /// When there is none, or something else.
    pub(crate) fn read(directory: &Path) -> io::Result<Self> {
        Ok(serde_json::from_slice(&fs::read(directory.join(VOLUME_DATA))?)?)
    }

    /// Removes it; an absent one is removed already.
    pub(crate) fn remove(directory: &Path) {
        // What stays is found at the next start.
        let _ = fs::remove_file(directory.join(VOLUME_DATA));
    }
}

impl Places {
    /// Below this directory.
    pub(crate) const fn new(root: PathBuf) -> Self {
        Self { root }
    }

    /// The directory of the kubelet.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    fn plugin(&self) -> PathBuf {
        self.root.join("plugins/kubernetes.io/csi")
    }

    /// Where a file system is staged; the note lies beside it.
    pub(crate) fn staging(&self, spec: &VolumeSpec) -> PathBuf {
        let digest = names::sha256(&[&spec.handle]);
        self.plugin().join(&spec.driver).join(digest).join("globalmount")
    }

    /// Where a file system is published for a pod; the note lies beside it.
    pub(crate) fn target(&self, spec: &VolumeSpec, pod: &str) -> PathBuf {
        self.pod(pod).join("volumes/kubernetes.io~csi").join(&spec.volume_name).join("mount")
    }

    /// Where a device is staged.
    pub(crate) fn block_staging(&self, spec: &VolumeSpec) -> PathBuf {
        self.plugin().join("volumeDevices/staging").join(&spec.staged_as)
    }

    /// Where a device is published for a pod.
    pub(crate) fn block_target(&self, spec: &VolumeSpec, pod: &str) -> PathBuf {
        self.plugin().join("volumeDevices/publish").join(&spec.volume_name).join(pod)
    }

    /// Where the note of a device lies.
    pub(crate) fn block_data(&self, volume_name: &str) -> PathBuf {
        self.plugin().join("volumeDevices").join(volume_name).join("data")
    }

    /// The link of a pod to its device.
    pub(crate) fn block_link(&self, spec: &VolumeSpec, pod: &str) -> PathBuf {
        self.pod(pod).join("volumeDevices/kubernetes.io~csi").join(&spec.volume_name)
    }

    /// The directory of a pod.
    pub(crate) fn pod(&self, pod: &str) -> PathBuf {
        self.root.join("pods").join(pod)
    }

    /// The directories of all pods, with their identities.
    pub(crate) fn pods(&self) -> Vec<(String, PathBuf)> {
        entries(&self.root.join("pods"))
    }

    /// The notes of file systems that are staged.
    pub(crate) fn staged(&self) -> Vec<VolumeData> {
        let drivers = entries(&self.plugin());
        let staged = drivers.iter().filter(|(name, _)| name != "volumeDevices").flat_map(|(_, path)| entries(path));
        staged.filter_map(|(_, path)| VolumeData::read(&path).ok()).collect()
    }

    /// The notes of devices that are staged.
    pub(crate) fn block_staged(&self) -> Vec<VolumeData> {
        let staged = entries(&self.plugin().join("volumeDevices/staging"));
        staged.iter().filter_map(|(volume, _)| VolumeData::read(&self.block_data(volume)).ok()).collect()
    }

    /// Whatever is left of volumes: notes, staging and target paths.
    pub(crate) fn remains(&self) -> Vec<PathBuf> {
        let mut remains = Vec::new();
        let kinds = ["volumes/kubernetes.io~csi", "volumeDevices/kubernetes.io~csi"];
        for (_, pod) in self.pods() {
            remains.extend(kinds.iter().flat_map(|kind| entries(&pod.join(kind))).map(|(_, path)| path));
        }
        let plugin = self.plugin();
        for (_, driver) in entries(&plugin).into_iter().filter(|(name, _)| name != "volumeDevices") {
            remains.extend(entries(&driver).into_iter().map(|(_, path)| path));
        }
        let devices = plugin.join("volumeDevices");
        remains.extend(entries(&devices.join("staging")).into_iter().map(|(_, path)| path));
        let published = entries(&devices.join("publish"));
        remains.extend(published.iter().flat_map(|(_, volume)| entries(volume)).map(|(_, path)| path));
        remains
    }
}

/// The entries of a directory, by name; none of one that is not there.
pub(super) fn entries(directory: &Path) -> Vec<(String, PathBuf)> {
    let Ok(entries) = fs::read_dir(directory) else { return Vec::new() };
    let entry = |entry: fs::DirEntry| (entry.file_name().to_string_lossy().into_owned(), entry.path());
    let mut entries: Vec<_> = entries.filter_map(Result::ok).map(entry).collect();
    entries.sort();
    entries
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_those_that_drivers_see_under_kubernetes() {
        let places = Places::new("/var/lib/kubelet".into());
        let spec = VolumeSpec {
            handle: "abc".into(),
            driver: "d".into(),
            volume_name: "pv".into(),
            staged_as: "first-pv".into(),
            ..VolumeSpec::default()
        };
        let digest = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        let below = |path: &Path| path.strip_prefix("/var/lib/kubelet").unwrap().to_str().unwrap().to_owned();
        assert_eq!(below(&places.staging(&spec)), format!("plugins/kubernetes.io/csi/d/{digest}/globalmount"));
        assert_eq!(below(&places.target(&spec, "p")), "pods/p/volumes/kubernetes.io~csi/pv/mount");
        assert_eq!(below(&places.block_staging(&spec)), "plugins/kubernetes.io/csi/volumeDevices/staging/first-pv");
        assert_eq!(below(&places.block_target(&spec, "p")), "plugins/kubernetes.io/csi/volumeDevices/publish/pv/p");
        assert_eq!(below(&places.block_link(&spec, "p")), "pods/p/volumeDevices/kubernetes.io~csi/pv");
    }

    #[test]
    fn a_note_has_the_keys_of_kubernetes_and_is_read_back() {
        let directory = tempfile::tempdir().unwrap();
        let data = VolumeData {
            volume_name: "pv".into(),
            volume_handle: "v".into(),
            driver_name: "d".into(),
            node_name: "n".into(),
            attachment: "csi-1".into(),
            volume_lifecycle_mode: VolumeData::PERSISTENT.into(),
            selinux_label: String::new(),
        };
        data.write(directory.path()).unwrap();
        let text = fs::read_to_string(directory.path().join("vol_data.json")).unwrap();
        let keys: Vec<String> =
            serde_json::from_str::<serde_json::Value>(&text).unwrap().as_object().unwrap().keys().cloned().collect();
        let expected = ["attachmentID", "driverName", "nodeName", "specVolID", "volumeHandle", "volumeLifecycleMode"];
        assert_eq!(keys, expected);
        assert_eq!(VolumeData::read(directory.path()).unwrap(), data);
        VolumeData::remove(directory.path());
        assert!(VolumeData::read(directory.path()).is_err());
    }
}
