//! One mount more, or less, than there should be, or one that is dead.

use std::process::Command;

/// Mounts a path over itself, as a driver does that forgets what it has mounted.
pub(super) fn mount_over(path: &str) {
    bind(path, path);
}

/// Makes a directory appear at another path.
pub(super) fn bind(directory: &str, path: &str) {
    // Where it cannot be done, there is nothing to see.
    let _ = Command::new("mount").args(["--bind", directory, path]).status();
}

/// Takes the uppermost mount off a path.
pub(super) fn unmount(path: &str) {
    let _ = Command::new("umount").args(["--lazy", path]).status();
}

/// Makes what is mounted at a path refuse writes, as the kernel does after an error of the disk.
pub(super) fn make_read_only(path: &str) {
    let _ = Command::new("mount").args(["-o", "remount,bind,ro", path]).status();
}

/// Puts a mount on a path whose server is dead: whoever looks gets "Transport endpoint is not connected".
#[cfg(target_os = "linux")]
pub(super) fn die(path: &str) {
    use std::{os::fd::AsRawFd as _, path::Path};

    use rustix::mount::{MountFlags, mount};

    if !Path::new(path).is_dir() {
        return;
    }
    let Ok(server) = std::fs::File::options().read(true).write(true).open("/dev/fuse") else { return };
    let options = format!("fd={},rootmode=40000,user_id=0,group_id=0", server.as_raw_fd());
    let Ok(options) = std::ffi::CString::new(options) else { return };
    // The server ends with the descriptor, that is, now.
    let _ = mount("dead", path, "fuse", MountFlags::empty(), options.as_c_str());
}

/// Nothing is really mounted elsewhere.
#[cfg(not(target_os = "linux"))]
pub(super) fn die(_: &str) {}
