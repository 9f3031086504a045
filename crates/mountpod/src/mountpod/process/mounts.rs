//! Mounting from a descriptor, unmounting to the last layer, and reading what is mounted on a target.

use std::{
    fs, io,
    os::fd::AsFd,
    path::{Path, PathBuf},
};

use rustix::{
    fs::CWD,
    io::Errno,
    mount::{MoveMountFlags, OpenTreeFlags, UnmountFlags, move_mount, open_tree, unmount},
};

use super::{
    mountinfo::{MountInfo, layers, parse},
    system_call::make_read_only,
};

/// The mount table of this process.
pub(super) fn table() -> io::Result<Vec<MountInfo>> {
    parse(&fs::read("/proc/self/mountinfo")?).map_err(io::Error::other)
}

/// The path as the mount table spells it: symbolic links above the target are resolved, the target itself is not touched,
/// since it may be a dead mount.
pub(super) fn table_path(target: &Path) -> io::Result<PathBuf> {
    match (target.parent(), target.file_name()) {
        (Some(parent), Some(name)) => Ok(fs::canonicalize(parent)?.join(name)),
        _ => Ok(target.to_owned()),
    }
}

/// Mounts what the descriptor stands for on the target, on top of what is there. When the descriptor's own mount is gone by
/// now the kernel refuses, so a directory of the host can never be published.
pub(super) fn bind(source: impl AsFd, target: &Path, read_only: bool) -> io::Result<()> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_EMPTY_PATH;
    let tree = open_tree(source, c"", flags)?;
    if read_only {
        make_read_only(&tree)?;
    }
    move_mount(tree, c"", CWD, target, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)?;
    Ok(())
}

/// Removes `count` layers from the target, the visible one first.
pub(super) fn unmount_layers(target: &Path, count: usize) -> io::Result<()> {
    for _ in 0..count {
        match unmount(target, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW) {
            Ok(()) => {}
            // Nothing is mounted there any more: somebody else was faster.
            Err(Errno::INVAL | Errno::NOENT) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Removes all layers from a path that is ours alone.
pub(super) fn unmount_path(path: &Path) -> io::Result<()> {
    unmount_layers(path, layers(&table()?, path).len())
}

/// Leaves the visible layer alone on the target. The layers are shuffled so that the host's bare directory is seen at no
/// moment: a copy of the visible one is slipped beneath the last of the old ones before that goes.
pub(super) fn unmount_beneath(target: &Path, count: usize) -> io::Result<()> {
    if count < 2 {
        return Ok(());
    }
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let copy = open_tree(CWD, target, flags)?;
    unmount_layers(target, count - 1)?;
    let beneath = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_BENEATH;
    match move_mount(&copy, c"", CWD, target, beneath) {
        Ok(()) => unmount_layers(target, 1),
        // Kernels before 6.5, and parents whose propagation forbids it: the gap is as short as it can be.
        Err(_) => {
            unmount_layers(target, 1)?;
            move_mount(&copy, c"", CWD, target, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)?;
            Ok(())
        }
    }
}
