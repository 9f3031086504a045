//! What a kubelet that starts finds on disk: volumes that may be mounted, for pods that may be gone.

use super::{
    super::{names, object::VolumeMode},
    ActualStateOfWorld, Places, VolumeData, VolumeSpec,
    places::entries,
};

/// Reads the notes below the directories of pods. A volume that is staged and has no pod directory is not found, unless
/// staged volumes are looked for as well.
pub(super) fn reconstruct(places: &Places, forgets_staged: bool) -> ActualStateOfWorld {
    let mut actual = ActualStateOfWorld::default();
    for (pod, directory) in places.pods() {
        for (_, volume) in entries(&directory.join("volumes/kubernetes.io~csi")) {
            if let Ok(data) = VolumeData::read(&volume) {
                let label = data.selinux_label.clone();
                let spec = of_pod(data, &pod);
                let volume = spec.unique_name.clone();
                actual.reconstructed(spec, &pod);
                actual.labelled(&volume, &label);
            }
        }
        for (volume, _) in entries(&directory.join("volumeDevices/kubernetes.io~csi")) {
            if let Ok(data) = VolumeData::read(&places.block_data(&volume)) {
                actual.reconstructed(spec(data, VolumeMode::Block), &pod);
            }
        }
    }
    if !forgets_staged {
        for data in places.staged() {
            actual.staged(spec(data, VolumeMode::Filesystem));
        }
    }
    for data in places.block_staged() {
        let spec = spec(data, VolumeMode::Block);
        if !forgets_staged || actual.volumes.contains_key(&spec.unique_name) {
            actual.staged(spec);
        }
    }
    actual
}

/// Of a volume below the directory of a pod, which may live and die with that pod.
fn of_pod(data: VolumeData, pod: &str) -> VolumeSpec {
    let is_inline = data.volume_lifecycle_mode == VolumeData::EPHEMERAL;
    let spec = spec(data, VolumeMode::Filesystem);
    match is_inline {
        true => VolumeSpec { unique_name: names::unique_inline_volume(pod, &spec.volume_name), is_inline, ..spec },
        false => spec,
    }
}

/// As much of a volume as it takes to unmount it.
fn spec(data: VolumeData, volume_mode: VolumeMode) -> VolumeSpec {
    VolumeSpec {
        unique_name: names::unique_volume(&data.driver_name, &data.volume_handle),
        staged_as: data.volume_name.clone(),
        volume_name: data.volume_name,
        driver: data.driver_name,
        handle: data.volume_handle,
        volume_mode,
        ..VolumeSpec::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_noted_is_found_and_what_is_only_staged_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let places = Places::new(directory.path().to_owned());
        let data = |name: &str| VolumeData {
            volume_name: name.into(),
            volume_handle: format!("handle-{name}"),
            driver_name: "d".into(),
            ..VolumeData::default()
        };
        let published = spec(data("pv-1"), VolumeMode::Filesystem);
        let staged = spec(data("pv-2"), VolumeMode::Filesystem);
        let target = places.target(&published, "pod").parent().unwrap().to_owned();
        let staging = places.staging(&staged).parent().unwrap().to_owned();
        for (path, name) in [(target, "pv-1"), (staging, "pv-2")] {
            std::fs::create_dir_all(&path).unwrap();
            data(name).write(&path).unwrap();
        }
        let actual = reconstruct(&places, true);
        assert_eq!(actual.volumes.keys().collect::<Vec<_>>(), ["kubernetes.io/csi/d^handle-pv-1"]);
        assert!(actual.has("kubernetes.io/csi/d^handle-pv-1", "pod"));
        assert_eq!(places.remains().len(), 2);
        assert_eq!(reconstruct(&places, false).volumes.len(), 2);
    }
}
