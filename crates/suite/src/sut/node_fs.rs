//! Looking at the node's file system beside the driver: what a path is, what is mounted there, whether it can be used.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read as _, Seek as _, SeekFrom, Write as _},
    path::{Path, PathBuf},
    time::Duration,
};

use super::{Driver, Profile, mountinfo::mounts_on, profile::NodeFsMode};
use crate::history::{Observation, PathKind};

/// The first block of a device, which holds the marker.
const BLOCK: usize = 512;

/// The length of a block that is written somewhere in the middle.
const SCATTERED: usize = 4096;

/// How long a file operation may take; a dead network or FUSE file system never returns.
const PATIENCE: Duration = Duration::from_secs(10);

/// A view of the file system of a node that is this machine.
#[derive(Clone, Debug)]
pub struct NodeFs {
    node: String,
}

impl NodeFs {
    /// The view, where there is one: the driver is on this machine, and this process is root on Linux.
    pub fn of(driver: &Driver, profile: &Profile) -> Option<Self> {
        let visible = profile.node_fs == NodeFsMode::Auto && driver.is_local() && is_root();
        visible.then(|| Self { node: driver.node().to_owned() })
    }

    /// What stands at the path.
    pub async fn look(&self, path: &str) -> Observation {
        let (node, path) = (self.node.clone(), path.to_owned());
        let fallback =
            Observation::Path { node: node.clone(), path: path.clone(), kind: PathKind::Other, mounts: Vec::new() };
        let look = move || {
            let table = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
            let mounts = mounts_on(&table, &path);
            Observation::Path { node, kind: kind(Path::new(&path)), path, mounts }
        };
        blocking(look).await.unwrap_or(fallback)
    }

    /// Takes a mount away and removes the directory below it, as a reboot of the node does; whether that worked.
    pub async fn take_away(&self, path: &str) -> bool {
        let path = path.to_owned();
        blocking(move || unmount(&path) && fs::remove_dir(&path).is_ok()).await.unwrap_or(false)
    }

    /// Writes a marker: a file in a directory, the first block of a device.
    pub async fn write(&self, path: &str, name: &str, content: &str) -> Observation {
        let (file, text) = (file_in(path, name), content.to_owned());
        let outcome = blocking(move || write(&file, &text)).await;
        Observation::Write {
            node: self.node.clone(),
            path: path.to_owned(),
            name: name.to_owned(),
            content: content.to_owned(),
            error: error_of(&outcome),
        }
    }

    /// Reads a marker back.
    pub async fn read(&self, path: &str, name: &str) -> Observation {
        let file = file_in(path, name);
        let outcome = blocking(move || read(&file)).await;
        let error = error_of(&outcome);
        let content = outcome.and_then(Result::ok).unwrap_or_default();
        Observation::Read { node: self.node.clone(), path: path.to_owned(), name: name.to_owned(), content, error }
    }

    /// Writes a block at each of the offsets: into a device, or a file of a directory.
    pub async fn scatter(&self, path: &str, offsets: Vec<u64>) -> Observation {
        let (file, places) = (PathBuf::from(path), offsets.clone());
        let outcome = blocking(move || scatter(&file, &places)).await;
        Observation::Blocks {
            node: self.node.clone(),
            path: path.to_owned(),
            offsets,
            length: SCATTERED as u64,
            error: error_of(&outcome),
        }
    }

    /// The size of the file system or device at the path, unless it cannot be told.
    pub async fn size(&self, path: &str) -> Option<Observation> {
        let file = PathBuf::from(path);
        let bytes = blocking(move || size(&file)).await?.ok()?;
        Some(Observation::Size { node: self.node.clone(), path: path.to_owned(), bytes })
    }

    /// The group of a new file in the published directory, unless none can be made.
    pub async fn group(&self, path: &str, name: &str) -> Option<Observation> {
        let file = file_in(path, name);
        let gid = blocking(move || group(&file)).await?.ok()?;
        Some(Observation::Group { node: self.node.clone(), path: path.to_owned(), gid })
    }
}

/// Runs a file operation where it may hang; `None` when it took too long.
///
/// The thread of an operation that hangs is lost until the kernel lets go of it.
pub async fn blocking<T: Send + 'static>(operation: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    tokio::time::timeout(PATIENCE, tokio::task::spawn_blocking(operation)).await.ok()?.ok()
}

fn file_in(path: &str, name: &str) -> PathBuf {
    match name {
        "" => PathBuf::from(path),
        name => Path::new(path).join(name),
    }
}

fn kind(path: &Path) -> PathKind {
    match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_dir() => PathKind::Directory,
        Ok(metadata) if metadata.is_file() => PathKind::File,
        Ok(metadata) if metadata.is_symlink() => PathKind::Symlink,
        Ok(metadata) if is_block_device(&metadata) => PathKind::BlockDevice,
        Ok(_) => PathKind::Other,
        Err(error) if error.kind() == io::ErrorKind::NotFound => PathKind::Absent,
        Err(_) => PathKind::Other,
    }
}

fn write(path: &Path, content: &str) -> io::Result<()> {
    if fs::metadata(path).is_ok_and(|metadata| is_block_device(&metadata)) {
        let mut block = content.as_bytes().to_vec();
        block.resize(BLOCK, 0);
        let mut device = OpenOptions::new().write(true).open(path)?;
        device.write_all(&block)?;
        return device.sync_all();
    }
    let mut file = File::create(path)?;
    file.write_all(content.as_bytes())?;
    file.sync_all()
}

fn scatter(path: &Path, offsets: &[u64]) -> io::Result<()> {
    let path = if path.is_dir() { path.join("csi-certify-blocks") } else { path.to_owned() };
    let mut file = OpenOptions::new().write(true).create(true).truncate(false).open(path)?;
    for &offset in offsets {
        file.seek(SeekFrom::Start(offset))?;
        file.write_all(&[0xc5; SCATTERED])?;
    }
    file.sync_all()
}

fn read(path: &Path) -> io::Result<String> {
    let mut bytes = Vec::new();
    File::open(path)?.take(BLOCK as u64).read_to_end(&mut bytes)?;
    let end = bytes.iter().position(|&byte| byte == 0).unwrap_or(bytes.len());
    Ok(String::from_utf8_lossy(&bytes[..end]).into_owned())
}

fn error_of<T>(outcome: &Option<io::Result<T>>) -> String {
    match outcome {
        Some(Ok(_)) => String::new(),
        Some(Err(error)) => error_name(error),
        None => "ETIMEDOUT".to_owned(),
    }
}

/// The symbolic name of an error number.
fn error_name(error: &io::Error) -> String {
    let name = match error.raw_os_error() {
        Some(1) => "EPERM",
        Some(2) => "ENOENT",
        Some(5) => "EIO",
        Some(6) => "ENXIO",
        Some(13) => "EACCES",
        Some(16) => "EBUSY",
        Some(17) => "EEXIST",
        Some(19) => "ENODEV",
        Some(20) => "ENOTDIR",
        Some(21) => "EISDIR",
        Some(22) => "EINVAL",
        Some(27) => "EFBIG",
        Some(28) => "ENOSPC",
        Some(30) => "EROFS",
        Some(36) => "ENAMETOOLONG",
        Some(107) => "ENOTCONN",
        Some(110) => "ETIMEDOUT",
        Some(116) => "ESTALE",
        Some(117) => "EUCLEAN",
        Some(122) => "EDQUOT",
        Some(number) => return format!("errno {number}"),
        None => return error.kind().to_string(),
    };
    name.to_owned()
}

#[cfg(target_os = "linux")]
fn is_block_device(metadata: &fs::Metadata) -> bool {
    std::os::unix::fs::FileTypeExt::is_block_device(&metadata.file_type())
}

#[cfg(target_os = "linux")]
fn unmount(path: &str) -> bool {
    rustix::mount::unmount(path, rustix::mount::UnmountFlags::DETACH).is_ok()
}

#[cfg(not(target_os = "linux"))]
const fn unmount(_: &str) -> bool {
    false
}

#[cfg(target_os = "linux")]
fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

#[cfg(target_os = "linux")]
fn size(path: &Path) -> io::Result<u64> {
    if fs::metadata(path)?.is_dir() {
        let statistics = rustix::fs::statvfs(path)?;
        return Ok(statistics.f_blocks * statistics.f_frsize);
    }
    File::open(path)?.seek(SeekFrom::End(0))
}

#[cfg(target_os = "linux")]
fn group(path: &Path) -> io::Result<u32> {
    let file = File::create(path)?;
    Ok(std::os::unix::fs::MetadataExt::gid(&file.metadata()?))
}

#[cfg(not(target_os = "linux"))]
fn is_block_device(_: &fs::Metadata) -> bool {
    false
}

#[cfg(not(target_os = "linux"))]
fn is_root() -> bool {
    false
}

#[cfg(not(target_os = "linux"))]
fn size(_: &Path) -> io::Result<u64> {
    Err(io::ErrorKind::Unsupported.into())
}

#[cfg(not(target_os = "linux"))]
fn group(_: &Path) -> io::Result<u32> {
    Err(io::ErrorKind::Unsupported.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_directory_is_looked_at_written_to_and_read() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().to_str().unwrap();
        let node_fs = NodeFs { node: "n".into() };
        let Observation::Path { kind, mounts, .. } = node_fs.look(path).await else { panic!() };
        assert_eq!((kind, mounts.len()), (PathKind::Directory, 0));
        let Observation::Write { error, .. } = node_fs.write(path, "marker", "hello").await else { panic!() };
        assert_eq!(error, "");
        let Observation::Read { content, error, .. } = node_fs.read(path, "marker").await else { panic!() };
        assert_eq!((content.as_str(), error.as_str()), ("hello", ""));
        let Observation::Read { error, .. } = node_fs.read(path, "nothing").await else { panic!() };
        assert_eq!(error, "ENOENT");
        let Observation::Path { kind, .. } = node_fs.look(&format!("{path}/nothing")).await else { panic!() };
        assert_eq!(kind, PathKind::Absent);
        assert!(node_fs.size(path).await.is_some() && node_fs.group(path, "owned").await.is_some());
    }
}
