//! Giving a volume to the group of a pod, as the kubelet does for drivers that cannot.

use std::{fs, io, os::unix::fs::lchown, path::Path};

use super::{
    super::{
        access_mode::first,
        object::{AccessMode, FsGroupPolicy, VolumeMode},
    },
    DesiredPod,
    operation_executor::{Certainty, OperationError},
};

/// Gives everything below the path to the group, where the policy wants that. What fails is uncertain: the volume is
/// published by then.
pub(super) fn apply(wanted: &DesiredPod, policy: FsGroupPolicy, path: &Path) -> Result<(), OperationError> {
    let Some(group) = wanted.fs_group.filter(|_| is_wanted(wanted, policy)) else { return Ok(()) };
    give(path, group).map_err(|error| {
        let text = format!("{} cannot be given to group {group}: {error}", path.display());
        OperationError::plain(Certainty::Uncertain, text)
    })
}

fn is_wanted(wanted: &DesiredPod, policy: FsGroupPolicy) -> bool {
    let spec = &wanted.spec;
    let for_one_node = matches!(first(&spec.access_modes), AccessMode::ReadWriteOnce | AccessMode::ReadWriteOncePod);
    let applies = match policy {
        FsGroupPolicy::File => true,
        FsGroupPolicy::ReadWriteOnceWithFsType => for_one_node && !spec.fs_type.is_empty(),
        FsGroupPolicy::None => false,
    };
    applies && !wanted.read_only && spec.volume_mode == VolumeMode::Filesystem
}

/// Links are given themselves, never what they lead to.
fn give(path: &Path, group: u32) -> io::Result<()> {
    lchown(path, None, Some(group))?;
    if !fs::symlink_metadata(path)?.is_dir() {
        return Ok(());
    }
    for entry in fs::read_dir(path)? {
        give(&entry?.path(), group)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::orchestrator::kubelet::VolumeSpec;

    fn wanted(fs_type: &str, access_mode: AccessMode) -> DesiredPod {
        let spec = VolumeSpec { fs_type: fs_type.into(), access_modes: vec![access_mode], ..VolumeSpec::default() };
        DesiredPod { spec, fs_group: Some(1000), ..DesiredPod::default() }
    }

    #[test]
    fn the_default_policy_needs_a_named_file_system_and_a_single_node() {
        let policy = FsGroupPolicy::ReadWriteOnceWithFsType;
        assert!(is_wanted(&wanted("ext4", AccessMode::ReadWriteOnce), policy));
        assert!(is_wanted(&wanted("ext4", AccessMode::ReadWriteOncePod), policy));
        assert!(!is_wanted(&wanted("", AccessMode::ReadWriteOnce), policy));
        assert!(!is_wanted(&wanted("ext4", AccessMode::ReadWriteMany), policy));
        assert!(is_wanted(&wanted("", AccessMode::ReadWriteMany), FsGroupPolicy::File));
        assert!(!is_wanted(&wanted("ext4", AccessMode::ReadWriteOnce), FsGroupPolicy::None));
        let reader = DesiredPod { read_only: true, ..wanted("ext4", AccessMode::ReadWriteOnce) };
        assert!(!is_wanted(&reader, FsGroupPolicy::File));
    }

    #[test]
    fn everything_below_is_given_and_links_are_not_followed() {
        use std::os::unix::fs::{MetadataExt as _, symlink};
        let directory = tempfile::tempdir().unwrap();
        let outside = tempfile::NamedTempFile::new().unwrap();
        let below = directory.path().join("below");
        fs::create_dir(&below).unwrap();
        symlink(outside.path(), below.join("link")).unwrap();
        // A group that the process has: only a superuser may give to others.
        let group = fs::metadata(&below).unwrap().gid();
        give(directory.path(), group).unwrap();
        assert_eq!(fs::symlink_metadata(below.join("link")).unwrap().gid(), group);
        assert!(give(&directory.path().join("absent"), group).is_err());
    }
}
