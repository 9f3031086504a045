//! Plain file work around volumes: making and removing targets, letting a group in, measuring content.

use std::{
    fs, io,
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, chown},
    path::Path,
};

use super::{Role, TargetPath, Usage, VolumeContent};

/// Whether the content is there and of its kind.
pub(super) fn check(content: &VolumeContent) -> Result<(), String> {
    let (path, is_right): (_, fn(&fs::Metadata) -> bool) = match content {
        VolumeContent::Directory(path) => (path, fs::Metadata::is_dir),
        VolumeContent::BlockFile(path) => (path, fs::Metadata::is_file),
    };
    match fs::metadata(path) {
        Ok(found) if is_right(&found) => Ok(()),
        Ok(_) => Err(format!("the volume's content at {} is of another kind", path.display())),
        Err(error) => Err(format!("the volume's content at {}: {error}", path.display())),
    }
}

/// Makes the directory or file that the volume is mounted on. Its parent is the orchestrator's (specification: the target's
/// parent must exist, the plugin makes the target); a staging path is made by the orchestrator as a whole.
pub(super) fn make_target(target: &TargetPath, role: Role, content: &VolumeContent) -> Result<(), String> {
    let path = target.as_path();
    // A dead mount answers "not connected" to every question: it is there, and will be covered.
    match fs::symlink_metadata(path) {
        Ok(found) => return check_kind(&found, target, content),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) if is_dead(&error) => return Ok(()),
        Err(error) => return Err(format!("{target}: {error}")),
    }
    let made = match (role, content) {
        (Role::Staging, VolumeContent::Directory(_)) => {
            return Err(format!("staging directory {target} does not exist: the orchestrator has to make it"));
        }
        (_, VolumeContent::Directory(_)) => fs::create_dir(path),
        (_, VolumeContent::BlockFile(_)) => {
            fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map(drop)
        }
    };
    match made {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            Err(format!("cannot make {target} (its parent has to exist): {error}"))
        }
        _ => Ok(()),
    }
}

fn check_kind(found: &fs::Metadata, target: &TargetPath, content: &VolumeContent) -> Result<(), String> {
    use std::os::unix::fs::FileTypeExt as _;
    let right = match content {
        VolumeContent::Directory(_) => found.is_dir(),
        // Already covered by a device, or still the bare file.
        VolumeContent::BlockFile(_) => found.is_file() || found.file_type().is_block_device(),
    };
    if right { Ok(()) } else { Err(format!("{target} exists and is of another kind than the volume")) }
}

/// Removes the directory or file of a target; what holds data is left, because the data is not the volume's.
pub(super) fn remove_target(target: &TargetPath) -> Result<(), String> {
    let path = target.as_path();
    let found = match fs::symlink_metadata(path) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(format!("{target}: {error}")),
    };
    let removed = if found.is_dir() {
        fs::remove_dir(path)
    } else if found.is_file() && found.len() == 0 {
        fs::remove_file(path)
    } else {
        return Err(format!("{target} holds something that is not of the volume: look at it and remove it"));
    };
    match removed {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(format!("cannot remove {target}: {error}")),
        _ => Ok(()),
    }
}

/// Gives the content to a group: files may be read and written by it, and what is made later inherits it.
pub(super) fn admit_group(content: &VolumeContent, group: u32) -> Result<(), String> {
    let VolumeContent::Directory(root) = content else { return Ok(()) };
    give(root, group).map_err(|error| format!("cannot give {} to group {group}: {error}", root.display()))
}

fn give(path: &Path, group: u32) -> io::Result<()> {
    let found = fs::symlink_metadata(path)?;
    if found.is_symlink() {
        return std::os::unix::fs::lchown(path, None, Some(group));
    }
    if found.gid() != group {
        chown(path, None, Some(group))?;
    }
    let wanted = if found.is_dir() { 0o2770 } else { 0o660 };
    let mode = found.mode() & 0o7777;
    // A change of group clears the set-group-ID bit of files, so the mode is compared with what was there before.
    if mode | wanted != mode || found.gid() != group {
        fs::set_permissions(path, fs::Permissions::from_mode(mode | wanted))?;
    }
    if found.is_dir() {
        for entry in fs::read_dir(path)? {
            give(&entry?.path(), group)?;
        }
    }
    Ok(())
}

/// Measures what the content occupies.
pub(super) fn measure(content: &VolumeContent) -> Result<Usage, String> {
    let (path, measured) = match content {
        VolumeContent::Directory(path) => (path, walk(path)),
        VolumeContent::BlockFile(path) => {
            (path, fs::metadata(path).map(|file| Usage { used_bytes: file.blocks() * 512, used_inodes: 0 }))
        }
    };
    measured.map_err(|error| format!("cannot measure {}: {error}", path.display()))
}

fn walk(root: &Path) -> io::Result<Usage> {
    let mut usage = Usage::default();
    let mut left = vec![root.to_owned()];
    let mut linked = std::collections::BTreeSet::new();
    while let Some(path) = left.pop() {
        let found = match fs::symlink_metadata(&path) {
            Ok(found) => found,
            // Removed while we walk.
            Err(error) if error.kind() == io::ErrorKind::NotFound && path != root => continue,
            Err(error) => return Err(error),
        };
        if found.nlink() > 1 && !found.is_dir() && !linked.insert((found.dev(), found.ino())) {
            continue;
        }
        usage.used_bytes += found.blocks() * 512;
        usage.used_inodes += 1;
        if found.is_dir() {
            match fs::read_dir(&path) {
                Ok(entries) => left.extend(entries.filter_map(|entry| Some(entry.ok()?.path()))),
                Err(error) if error.kind() == io::ErrorKind::NotFound && path != root => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(usage)
}

/// Whether the error says that the daemon behind a mount is gone.
pub(super) fn is_dead(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotConnected | io::ErrorKind::ConnectionAborted | io::ErrorKind::StaleNetworkFileHandle
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hard_links_are_counted_once_and_sparse_files_by_what_they_occupy() {
        let dir = tempfile::tempdir().unwrap();
        let before = measure(&VolumeContent::Directory(dir.path().into())).unwrap();
        fs::write(dir.path().join("a"), vec![1; 8192]).unwrap();
        fs::hard_link(dir.path().join("a"), dir.path().join("b")).unwrap();
        fs::File::create(dir.path().join("hole")).unwrap().set_len(1 << 30).unwrap();
        let after = measure(&VolumeContent::Directory(dir.path().into())).unwrap();
        assert_eq!(after.used_inodes, before.used_inodes + 2);
        let grown = after.used_bytes - before.used_bytes;
        assert!((8192..1 << 20).contains(&grown), "{grown}");
    }

    #[test]
    fn a_target_with_data_is_never_removed() {
        let dir = tempfile::tempdir().unwrap();
        let target: TargetPath = dir.path().join("t").to_str().unwrap().parse().unwrap();
        make_target(&target, Role::Target, &VolumeContent::Directory("/v".into())).unwrap();
        fs::write(target.as_path().join("stray"), "x").unwrap();
        assert!(remove_target(&target).is_err());
        fs::remove_file(target.as_path().join("stray")).unwrap();
        assert_eq!(remove_target(&target), Ok(()));
        assert_eq!(remove_target(&target), Ok(()));
    }

    #[test]
    fn the_parent_of_a_target_and_a_staging_directory_are_not_made() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| -> TargetPath { dir.path().join(name).to_str().unwrap().parse().unwrap() };
        let content = VolumeContent::Directory("/v".into());
        assert!(make_target(&path("no/t"), Role::Target, &content).is_err());
        assert!(make_target(&path("s"), Role::Staging, &content).is_err());
        assert!(make_target(&path("b"), Role::Target, &VolumeContent::BlockFile("/v".into())).is_ok());
        assert!(path("b").as_path().is_file());
        assert!(make_target(&path("b"), Role::Target, &content).is_err(), "a file cannot carry a directory");
    }

    #[test]
    fn a_group_owns_what_is_there_and_directories_pass_it_on() {
        let dir = tempfile::tempdir().unwrap();
        let inner = dir.path().join("d");
        fs::create_dir(&inner).unwrap();
        fs::write(inner.join("f"), "x").unwrap();
        let group = fs::metadata(&inner).unwrap().gid();
        admit_group(&VolumeContent::Directory(dir.path().into()), group).unwrap();
        assert_eq!(fs::metadata(&inner).unwrap().mode() & 0o2070, 0o2070);
        assert_eq!(fs::metadata(inner.join("f")).unwrap().mode() & 0o060, 0o060);
    }
}
