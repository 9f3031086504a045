//! Loop devices over the files of block volumes.

use std::{
    fs::{self, File},
    io,
    os::unix::fs::FileTypeExt as _,
    path::{Path, PathBuf},
};

use rustix::fs::{FileType, Mode, mknodat};

use super::system_call::{attach, detach, free_loop_device, take_new_size};

/// A loop device with a file behind it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct LoopDevice {
    /// Its number.
    pub(super) number: u32,
    /// The path of the file behind it.
    pub(super) backing_file: PathBuf,
    /// Whether that file was deleted; another one may have its path by now.
    pub(super) deleted: bool,
    /// Whether it refuses writes.
    pub(super) read_only: bool,
}

impl LoopDevice {
    /// The device node.
    pub(super) fn path(&self) -> PathBuf {
        node_path(self.number)
    }

    /// Lets the device have the size that its file has now.
    pub(super) fn take_new_size(&self) -> io::Result<()> {
        take_new_size(&File::open(self.path())?)
    }

    /// Gives the device back.
    pub(super) fn detach(&self) -> io::Result<()> {
        match detach(&File::open(self.path())?) {
            // Somebody else was faster.
            Err(error) if error.raw_os_error() == Some(libc::ENXIO) => Ok(()),
            other => other,
        }
    }
}

/// Every loop device that is in use.
pub(super) fn in_use() -> io::Result<Vec<LoopDevice>> {
    let mut devices = Vec::new();
    for entry in fs::read_dir("/sys/block")? {
        let entry = entry?;
        let name = entry.file_name();
        let Some(number) = name.to_str().and_then(number_of) else { continue };
        // Without the file, nothing is attached, or it was detached while we look.
        let Ok(backing_file) = fs::read_to_string(entry.path().join("loop/backing_file")) else { continue };
        let read_only = fs::read_to_string(entry.path().join("ro")).unwrap_or_default().trim() == "1";
        let backing_file = backing_file.trim_end_matches('\n');
        let existing = backing_file.strip_suffix(" (deleted)");
        let (backing_file, deleted) = (existing.unwrap_or(backing_file).into(), existing.is_some());
        devices.push(LoopDevice { number, backing_file, deleted, read_only });
    }
    devices.sort_by_key(|device| device.number);
    Ok(devices)
}

/// The device over this file that refuses or takes writes; attached when there is none. The caller holds a lock under which
/// nobody else attaches the same file.
pub(super) fn over(file: &Path, read_only: bool) -> io::Result<LoopDevice> {
    let file = fs::canonicalize(file)?;
    let existing = in_use()?
        .into_iter()
        .find(|device| device.backing_file == file && !device.deleted && device.read_only == read_only);
    if let Some(device) = existing {
        ensure_node(device.number)?;
        return Ok(device);
    }
    let control = File::options().read(true).write(true).open(CONTROL)?;
    let backing = File::options().read(true).write(!read_only).open(&file)?;
    for _ in 0..ATTEMPTS {
        let number = free_loop_device(&control)?;
        ensure_node(number)?;
        let device = File::options().read(true).write(!read_only).open(node_path(number))?;
        match attach(&device, &backing, read_only) {
            Ok(()) => return Ok(LoopDevice { number, backing_file: file, deleted: false, read_only }),
            Err(error) if error.raw_os_error() == Some(libc::EBUSY) => {}
            Err(error) => return Err(error),
        }
    }
    Err(io::Error::other(format!("no free loop device after {ATTEMPTS} attempts: others take them as they come free")))
}

/// Writes out what the devices over a file have taken and not passed on yet.
pub fn flush_over(file: &Path) -> io::Result<()> {
    for device in writable_over(file)? {
        match File::open(device.path()) {
            Ok(open) => open.sync_all()?,
            // Without a node nobody has the device open.
            Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENXIO)) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// What the devices over a file have passed on to it so far: while it stays the same, the file does.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PassedOn(Vec<(u32, String)>);

/// What the devices over a file have passed on to it; `None` while something is on its way.
pub fn passed_on(file: &Path) -> io::Result<Option<PassedOn>> {
    let mut counts = Vec::new();
    for device in writable_over(file)? {
        let statistics = fs::read_to_string(format!("/sys/block/loop{}/stat", device.number))?;
        let fields: Vec<&str> = statistics.split_whitespace().collect();
        let field = |index: usize| fields.get(index).copied().unwrap_or("0");
        if field(IN_FLIGHT) != "0" {
            return Ok(None);
        }
        counts.push((device.number, format!("{} {}", field(WRITES), field(DISCARDS))));
    }
    Ok(Some(PassedOn(counts)))
}

fn writable_over(file: &Path) -> io::Result<impl Iterator<Item = LoopDevice>> {
    let file = fs::canonicalize(file)?;
    let over = move |device: &LoopDevice| device.backing_file == file && !device.deleted && !device.read_only;
    let devices = match in_use() {
        // Without sysfs nobody here has a loop device.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        devices => devices?,
    };
    Ok(devices.into_iter().filter(over))
}

/// Where the kernel's statistics of a block device have the completed writes, the requests in flight, the discards.
const WRITES: usize = 4;
const IN_FLIGHT: usize = 8;
const DISCARDS: usize = 11;

/// The number in a name such as `loop7`.
pub(super) fn number_of(name: &str) -> Option<u32> {
    name.strip_prefix("loop")?.parse().ok()
}

/// In a container, `/dev` may lack the node of a device that the kernel has just made.
fn ensure_node(number: u32) -> io::Result<()> {
    let path = node_path(number);
    match fs::metadata(&path) {
        Ok(found) if found.file_type().is_block_device() => return Ok(()),
        Ok(_) => return Err(io::Error::other(format!("{} is no block device", path.display()))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let device = rustix::fs::makedev(LOOP_MAJOR, number);
    match mknodat(rustix::fs::CWD, &path, FileType::BlockDevice, Mode::from_raw_mode(0o660), device) {
        Ok(()) | Err(rustix::io::Errno::EXIST) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn node_path(number: u32) -> PathBuf {
    PathBuf::from(format!("/dev/loop{number}"))
}

pub(super) const CONTROL: &str = "/dev/loop-control";
const LOOP_MAJOR: u32 = 7;
const ATTEMPTS: u32 = 32;
