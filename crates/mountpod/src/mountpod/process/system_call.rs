//! The few system calls that no crate covers: mount attributes and loop devices.

use std::{
    fs::File,
    io,
    os::fd::{AsFd, AsRawFd as _},
};

/// Makes the mount behind the descriptor of a detached tree refuse writes.
#[allow(unsafe_code, reason = "rustix 1.1 has no mount_setattr")]
pub(super) fn make_read_only(tree: impl AsFd) -> io::Result<()> {
    let attributes = libc::mount_attr { attr_set: libc::MOUNT_ATTR_RDONLY, attr_clr: 0, propagation: 0, userns_fd: 0 };
    // SAFETY: the path is an empty C string, the structure outlives the call and its size is passed along.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            tree.as_fd().as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH,
            &raw const attributes,
            size_of::<libc::mount_attr>(),
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// The number of a loop device that nobody uses yet; the kernel makes one if need be.
#[allow(unsafe_code, reason = "rustix has no loop devices")]
pub(super) fn free_loop_device(control: &File) -> io::Result<u32> {
    // SAFETY: the request takes no argument.
    let number = unsafe { libc::ioctl(control.as_raw_fd(), LOOP_CTL_GET_FREE) };
    u32::try_from(number).map_err(|_| io::Error::last_os_error())
}

/// Attaches a file to a loop device; `EBUSY` says that somebody else was faster.
#[allow(unsafe_code, reason = "rustix has no loop devices")]
pub(super) fn attach(device: &File, backing: &File, read_only: bool) -> io::Result<()> {
    let backing_descriptor = u32::try_from(backing.as_raw_fd()).map_err(io::Error::other)?;
    let mut config = LoopConfig { descriptor: backing_descriptor, block_size: 0, info: [0; 232], reserved: [0; 8] };
    if read_only {
        config.info[FLAGS_AT..FLAGS_AT + 4].copy_from_slice(&LO_FLAGS_READ_ONLY.to_ne_bytes());
    }
    // SAFETY: the structure has the layout of the kernel's `loop_config` and outlives the call.
    let result = unsafe { libc::ioctl(device.as_raw_fd(), LOOP_CONFIGURE, &raw const config) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Detaches the file, at once or when the last user closes the device.
#[allow(unsafe_code, reason = "rustix has no loop devices")]
pub(super) fn detach(device: &File) -> io::Result<()> {
    // SAFETY: the request takes no argument.
    let result = unsafe { libc::ioctl(device.as_raw_fd(), LOOP_CLR_FD) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Lets the device have the size that its file has now.
#[allow(unsafe_code, reason = "rustix has no loop devices")]
pub(super) fn take_new_size(device: &File) -> io::Result<()> {
    // SAFETY: the request takes no argument.
    let result = unsafe { libc::ioctl(device.as_raw_fd(), LOOP_SET_CAPACITY) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// The kernel's `loop_config`: descriptor, block size, `loop_info64`, eight reserved words.
#[repr(C, align(8))]
struct LoopConfig {
    descriptor: u32,
    block_size: u32,
    info: [u8; 232],
    reserved: [u64; 8],
}

/// Where `lo_flags` stands in `loop_info64`: after five words of 64 bits and three of 32.
const FLAGS_AT: usize = 5 * 8 + 3 * 4;
const LO_FLAGS_READ_ONLY: u32 = 1;
const LOOP_CLR_FD: libc::Ioctl = 0x4C01;
const LOOP_SET_CAPACITY: libc::Ioctl = 0x4C07;
const LOOP_CONFIGURE: libc::Ioctl = 0x4C0A;
const LOOP_CTL_GET_FREE: libc::Ioctl = 0x4C82;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_structure_has_the_size_that_the_kernel_expects() {
        assert_eq!(size_of::<LoopConfig>(), 8 + 232 + 64);
    }
}
