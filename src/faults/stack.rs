//! One mount more, or less, than there should be.

use std::process::Command;

/// Mounts a path over itself, as a driver does that forgets what it has mounted.
pub(super) fn mount_over(path: &str) {
    // Where it cannot be done, there is nothing to see.
    let _ = Command::new("mount").args(["--bind", path, path]).status();
}

/// Takes the uppermost mount off a path.
pub(super) fn unmount(path: &str) {
    let _ = Command::new("umount").args(["--lazy", path]).status();
}
