//! Copies of trees and files: shared extents where the file system has them, else without filling holes.

use std::{
    collections::HashMap,
    fs::{self, File, OpenOptions},
    io::{self, Read as _, Seek as _, SeekFrom, Write as _},
    os::unix::fs::{MetadataExt as _, symlink},
    path::{Path, PathBuf},
};

use rustix::fs::{AtFlags, CWD, Gid, Timespec, Timestamps, Uid, XattrFlags};

/// One copy under way; it remembers hard links, so that they stay links.
pub(super) struct Copy {
    synced: bool,
    links: HashMap<(u64, u64), PathBuf>,
}

impl Copy {
    pub(super) fn new(synced: bool) -> Self {
        Self { synced, links: HashMap::new() }
    }

    /// Copies a directory with everything in it; `target` must not exist.
    pub(super) fn tree(mut self, source: &Path, target: &Path) -> io::Result<()> {
        // A stack instead of recursion: trees may be deeper than our own stack.
        fs::create_dir(target)?;
        let mut pending = vec![(source.to_owned(), target.to_owned())];
        let mut directories = Vec::new();
        while let Some((from, to)) = pending.pop() {
            let Some(entries) = unless_gone(fs::read_dir(&from))? else { continue };
            for entry in entries {
                let entry = entry?;
                let (from, to) = (entry.path(), to.join(entry.file_name()));
                let Some(about) = unless_gone(fs::symlink_metadata(&from))? else { continue };
                if about.is_dir() {
                    fs::create_dir(&to)?;
                    pending.push((from, to));
                } else if let Err(error) = self.entry(&from, &to, &about)
                    && unless_gone(fs::symlink_metadata(&from))?.is_some()
                {
                    return Err(error);
                }
            }
            directories.push((from, to));
        }
        // Times and modes of directories last: filling them would change or forbid it.
        for (from, to) in directories.iter().rev() {
            if let Some(about) = unless_gone(fs::symlink_metadata(from))? {
                self.attributes(from, to, &about)?;
            }
        }
        Ok(())
    }

    /// Copies one regular file; `target` must not exist.
    pub(super) fn file(mut self, source: &Path, target: &Path) -> io::Result<()> {
        self.entry(source, target, &fs::symlink_metadata(source)?)
    }

    fn entry(&mut self, from: &Path, to: &Path, about: &fs::Metadata) -> io::Result<()> {
        let inode = (about.dev(), about.ino());
        if about.nlink() > 1 {
            if let Some(first) = self.links.get(&inode) {
                return fs::hard_link(first, to);
            }
            self.links.insert(inode, to.to_owned());
        }
        let kind = about.file_type();
        if kind.is_file() {
            contents(from, to)?;
        } else if kind.is_symlink() {
            symlink(fs::read_link(from)?, to)?;
        } else {
            special(to, about)?;
        }
        self.attributes(from, to, about)
    }

    fn attributes(&self, from: &Path, to: &Path, about: &fs::Metadata) -> io::Result<()> {
        let (uid, gid) = (Uid::from_raw(about.uid()), Gid::from_raw(about.gid()));
        rustix::fs::chownat(CWD, to, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
        extended_attributes(from, to)?;
        if !about.is_symlink() {
            // After the change of owner, which clears the set-id bits.
            fs::set_permissions(to, about.permissions())?;
        }
        let time = |seconds, nanoseconds| Timespec { tv_sec: seconds, tv_nsec: nanoseconds };
        let times = Timestamps {
            last_access: time(about.atime(), about.atime_nsec()),
            last_modification: time(about.mtime(), about.mtime_nsec()),
        };
        rustix::fs::utimensat(CWD, to, &times, AtFlags::SYMLINK_NOFOLLOW)?;
        if self.synced && (about.is_file() || about.is_dir()) {
            File::open(to)?.sync_all()?;
        }
        Ok(())
    }
}

/// A workload may remove things while they are copied; then they were not there at the cut.
fn unless_gone<T>(found: io::Result<T>) -> io::Result<Option<T>> {
    match found {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        found => found.map(Some),
    }
}

fn contents(from: &Path, to: &Path) -> io::Result<()> {
    let source = File::open(from)?;
    let target = OpenOptions::new().read(true).write(true).create_new(true).open(to)?;
    #[cfg(target_os = "linux")]
    if rustix::fs::ioctl_ficlone(&target, &source).is_ok() {
        return Ok(());
    }
    extents(source, target)
}

/// Makes a pipe, a socket or a device like the one that `about` describes.
#[cfg(target_os = "linux")]
fn special(to: &Path, about: &fs::Metadata) -> io::Result<()> {
    use std::os::unix::fs::FileTypeExt as _;

    use rustix::fs::{FileType, Mode};
    let kind = about.file_type();
    let kind = match () {
        () if kind.is_fifo() => FileType::Fifo,
        () if kind.is_socket() => FileType::Socket,
        () if kind.is_block_device() => FileType::BlockDevice,
        () => FileType::CharacterDevice,
    };
    Ok(rustix::fs::mknodat(CWD, to, kind, Mode::from_raw_mode(about.mode()), about.rdev())?)
}

/// Nothing is mounted on other systems, so no workload can have made such a file.
#[cfg(not(target_os = "linux"))]
fn special(to: &Path, _: &fs::Metadata) -> io::Result<()> {
    let message = format!("{} would be no regular file", to.display());
    Err(io::Error::new(io::ErrorKind::Unsupported, message))
}

/// Copies the parts that hold data and leaves the holes between them.
fn extents(mut source: File, mut target: File) -> io::Result<()> {
    let length = source.metadata()?.len();
    let mut position = 0;
    while position < length {
        let start = match rustix::fs::seek(&source, rustix::fs::SeekFrom::Data(position)) {
            Ok(start) => start,
            // No data from here to the end.
            Err(rustix::io::Errno::NXIO) => break,
            // A file system without holes.
            Err(_) => position,
        };
        let end = rustix::fs::seek(&source, rustix::fs::SeekFrom::Hole(start)).unwrap_or(length).min(length);
        if end <= start {
            break;
        }
        source.seek(SeekFrom::Start(start))?;
        target.seek(SeekFrom::Start(start))?;
        io::copy(&mut (&mut source).take(end - start), &mut target)?;
        position = end;
    }
    target.flush()?;
    target.set_len(length)
}

fn extended_attributes(from: &Path, to: &Path) -> io::Result<()> {
    let mut names = vec![0_u8; LARGEST_ATTRIBUTE];
    let length = match rustix::fs::llistxattr(from, &mut names[..]) {
        Ok(length) => length,
        // A file system without extended attributes.
        Err(rustix::io::Errno::NOTSUP) => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    let mut value = vec![0_u8; LARGEST_ATTRIBUTE];
    for name in names[..length].split(|&byte| byte == 0).filter(|name| !name.is_empty()) {
        let size = match rustix::fs::lgetxattr(from, name, &mut value[..]) {
            Ok(size) => size,
            // Removed meanwhile, or not ours to read.
            Err(rustix::io::Errno::NODATA | rustix::io::Errno::PERM | rustix::io::Errno::ACCESS) => continue,
            Err(error) => return Err(error.into()),
        };
        match rustix::fs::lsetxattr(to, name, &value[..size], XattrFlags::empty()) {
            // `security.*` and `trusted.*` belong to the host.
            Ok(()) | Err(rustix::io::Errno::NOTSUP | rustix::io::Errno::PERM) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// The kernel's limit for a value and for a list of names.
const LARGEST_ATTRIBUTE: usize = 65536;

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{FileExt as _, FileTypeExt as _, PermissionsExt as _};

    use rustix::fs::{FileType, Mode};

    use super::*;

    #[test]
    fn a_sparse_file_stays_sparse_and_equal() {
        let directory = tempfile::tempdir().unwrap();
        let (from, to) = (directory.path().join("from"), directory.path().join("to"));
        let file = File::create(&from).unwrap();
        file.set_len(64 << 20).unwrap();
        file.write_all_at(b"data", 32 << 20).unwrap();
        drop(file);
        extents(File::open(&from).unwrap(), File::create_new(&to).unwrap()).unwrap();
        let about = fs::metadata(&to).unwrap();
        assert_eq!(about.len(), 64 << 20);
        assert!(about.blocks() * 512 < 8 << 20, "{} blocks", about.blocks());
        let mut read = [0; 4];
        File::open(&to).unwrap().read_exact_at(&mut read, 32 << 20).unwrap();
        assert_eq!(&read, b"data");
    }

    #[test]
    fn a_tree_keeps_modes_links_times_and_attributes() {
        let directory = tempfile::tempdir().unwrap();
        let (from, to) = (directory.path().join("from"), directory.path().join("to"));
        fs::create_dir_all(from.join("deep/deeper")).unwrap();
        fs::write(from.join("deep/file"), "text").unwrap();
        fs::set_permissions(from.join("deep/file"), fs::Permissions::from_mode(0o4751)).unwrap();
        fs::hard_link(from.join("deep/file"), from.join("link")).unwrap();
        symlink("deep/nowhere", from.join("symlink")).unwrap();
        rustix::fs::mknodat(CWD, from.join("fifo"), FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
        let has_attributes =
            rustix::fs::lsetxattr(from.join("deep/file"), "user.note", b"kept", XattrFlags::empty()).is_ok();
        fs::set_permissions(from.join("deep"), fs::Permissions::from_mode(0o555)).unwrap();

        Copy::new(true).tree(&from, &to).unwrap();

        let about = |path: &str| fs::symlink_metadata(to.join(path)).unwrap();
        assert_eq!(about("deep/file").mode() & 0o7777, 0o4751);
        assert_eq!(about("deep").mode() & 0o7777, 0o555);
        assert_eq!(about("deep/file").ino(), about("link").ino());
        assert_eq!(fs::read_link(to.join("symlink")).unwrap(), Path::new("deep/nowhere"));
        assert!(about("fifo").file_type().is_fifo());
        let original = fs::metadata(from.join("deep/file")).unwrap();
        assert_eq!(about("deep/file").mtime_nsec(), original.mtime_nsec());
        if has_attributes {
            let mut value = [0; 4];
            rustix::fs::lgetxattr(to.join("deep/file"), "user.note", &mut value[..]).unwrap();
            assert_eq!(&value, b"kept");
        }
        fs::set_permissions(from.join("deep"), fs::Permissions::from_mode(0o755)).unwrap();
        fs::set_permissions(to.join("deep"), fs::Permissions::from_mode(0o755)).unwrap();
    }
}
