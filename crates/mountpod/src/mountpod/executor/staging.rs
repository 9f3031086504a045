//! Where a block volume is staged: the orchestrator's staging path is always a directory, and a device cannot be mounted on a
//! directory, so the device appears as one file inside.

use std::{fs, path::Path};

use super::super::{
    AccessType, Publication, PublishError, Published, Role, TargetPath, VolumeContent, VolumeId, annotations, pod::Pod,
};

/// The path of the device inside a staging directory.
pub(super) fn device_in(staging: &TargetPath) -> Option<TargetPath> {
    format!("{staging}/{DEVICE}").parse().ok()
}

/// The path on which the publication is really mounted.
pub(super) fn mount_target(publication: &Publication) -> TargetPath {
    let staged_device = publication.role == Role::Staging && matches!(publication.content, VolumeContent::BlockFile(_));
    let inner = if staged_device { device_in(&publication.target) } else { None };
    inner.unwrap_or_else(|| publication.target.clone())
}

/// The path that the orchestrator knows the reference by.
pub(super) fn as_requested(published: Published) -> Published {
    let Published { target, role, fingerprint } = published;
    let is_staged_device = role == Role::Staging && fingerprint.access_type == AccessType::Block;
    let outer = target.as_str().strip_suffix(&format!("/{DEVICE}")).filter(|_| is_staged_device);
    let target = outer.and_then(|outer| outer.parse().ok()).unwrap_or(target);
    Published { target, role, fingerprint }
}

/// Refuses a staging path that holds a volume of the other access type.
pub(super) fn check_other_kind(publication: &Publication, pods: &[Pod]) -> Result<(), PublishError> {
    let own = mount_target(publication);
    let other = if own == publication.target { device_in(&own) } else { Some(publication.target.clone()) };
    let Some(other) = other else { return Ok(()) };
    let Some(pod) = pods.iter().find(|pod| annotations::refers_to(pod, &other)) else { return Ok(()) };
    let (volume, target) = (publication.volume.clone(), publication.target.clone());
    if pod.spec.key.volume == volume {
        return Err(PublishError::Incompatible { volume, target, difference: "access type".to_owned() });
    }
    Err(PublishError::Occupied { target, holder: pod.spec.key.volume.clone() })
}

/// Whether a device of the volume is, or was until a crash, inside the staging directory.
pub(super) fn holds_device(staging: &TargetPath, volume: &VolumeId, pods: &[Pod]) -> bool {
    let Some(inner) = device_in(staging) else { return false };
    let holder = pods.iter().find(|pod| annotations::refers_to(pod, &inner));
    if let Some(pod) = holder {
        return pod.spec.key.volume == *volume;
    }
    // An empty file in a directory that nobody refers to is the trace of an unpublish that was cut off.
    let staged = pods.iter().any(|pod| annotations::refers_to(pod, staging));
    !staged && is_empty_file(inner.as_path())
}

fn is_empty_file(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|found| found.is_file() && found.len() == 0)
}

const DEVICE: &str = "csi-block-device";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mountpod::{AccessMode, Fingerprint};

    #[test]
    fn a_staged_device_is_named_by_its_directory_and_nothing_else_is_renamed() {
        let fingerprint = Fingerprint {
            access_type: AccessType::Block,
            access_mode: AccessMode::SingleNodeWriter,
            read_only: false,
            fs_type: String::new(),
            mount_flags: String::new(),
            mount_group: String::new(),
        };
        let staging: TargetPath = "/stage/v".parse().unwrap();
        let inner = device_in(&staging).unwrap();
        let published =
            |target: &TargetPath, role| Published { target: target.clone(), role, fingerprint: fingerprint.clone() };
        assert_eq!(as_requested(published(&inner, Role::Staging)).target, staging);
        assert_eq!(as_requested(published(&inner, Role::Target)).target, inner);
        assert_eq!(as_requested(published(&staging, Role::Staging)).target, staging);
    }
}
