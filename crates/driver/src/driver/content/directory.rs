//! The content in a directory: `volumes/<id>/{fs,block}` and `snapshots/<id>/{fs,block}`.
//!
//! New content grows under a name in `unfinished/` and is renamed into place when it is complete; content that goes is
//! renamed into `trash/` first. So whatever has its final name is whole, after any crash.

use std::{
    collections::BTreeSet,
    fs::{self, DirBuilder, File, OpenOptions, Permissions},
    io,
    os::unix::fs::{DirBuilderExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use super::{
    Content, Cut, Plan, Ranges,
    copy::Copy,
    moment::{Part, copy_at_one_moment, copy_what_nobody_changes},
    ranges,
};
use crate::{
    driver::{
        SnapshotId,
        record::{AccessTypes, Source},
    },
    mountpod::{AccessType, VolumeContent, VolumeId},
};

/// Whether content is written through to the disk.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Durability {
    /// It survives the loss of power.
    Synced,
    /// It survives the loss of the process only.
    Relaxed,
}

/// Content in a directory of the host.
#[derive(Clone, Debug)]
pub struct ContentDirectory {
    root: PathBuf,
    durability: Durability,
}

impl ContentDirectory {
    /// Uses the directory, and makes what is missing of it.
    pub fn open(root: &Path, durability: Durability) -> io::Result<Self> {
        for part in [VOLUMES, SNAPSHOTS, UNFINISHED, TRASH] {
            DirBuilder::new().recursive(true).mode(0o700).create(root.join(part))?;
        }
        // A daemon gets this path from another working directory.
        Ok(Self { root: root.canonicalize()?, durability })
    }

    fn volume(&self, volume: &VolumeId) -> PathBuf {
        self.root.join(VOLUMES).join(volume.as_str())
    }

    fn snapshot(&self, snapshot: &SnapshotId) -> PathBuf {
        self.root.join(SNAPSHOTS).join(snapshot.as_str())
    }

    fn unfinished(&self, name: &str) -> io::Result<PathBuf> {
        let path = self.root.join(UNFINISHED).join(name);
        remove_tree(&path)?;
        DirBuilder::new().mode(0o700).create(&path)?;
        Ok(path)
    }

    fn finish(&self, unfinished: &Path, place: &Path) -> io::Result<()> {
        self.sync(unfinished)?;
        fs::rename(unfinished, place)?;
        self.sync_parent(place)
    }

    fn discard(&self, place: &Path, name: &str) -> io::Result<()> {
        let trash = self.root.join(TRASH).join(name);
        remove_tree(&trash)?;
        match fs::rename(place, &trash) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            renamed => renamed?,
        }
        self.sync_parent(place)?;
        remove_tree(&trash)
    }

    fn copy(&self) -> Copy {
        Copy::new(self.durability == Durability::Synced)
    }

    fn fill(&self, place: &Path, plan: &Plan) -> io::Result<()> {
        let (directory, file) = (place.join(DIRECTORY), place.join(BLOCK_FILE));
        match &plan.source {
            Some(source) => {
                let source = match source {
                    Source::Volume(volume) => self.volume(volume),
                    Source::Snapshot(snapshot) => self.snapshot(snapshot),
                };
                let mut parts = Vec::new();
                if plan.access.mount {
                    parts.push(Part::Directory { from: source.join(DIRECTORY), to: directory });
                }
                if plan.access.block {
                    parts.push(Part::BlockFile { from: source.join(BLOCK_FILE), to: file.clone() });
                }
                match &plan.source {
                    // Nobody writes to a snapshot, so several volumes can be made from it side by side.
                    Some(Source::Snapshot(_)) => copy_what_nobody_changes(parts, || self.copy())?,
                    _ => copy_at_one_moment(parts, || self.copy())?,
                }
            }
            None => {
                if plan.access.mount {
                    DirBuilder::new().create(&directory)?;
                    // Not through the builder, whose mode the umask would narrow.
                    fs::set_permissions(&directory, Permissions::from_mode(plan.directory_mode))?;
                    self.sync(&directory)?;
                }
                if plan.access.block {
                    drop(File::create_new(&file)?);
                }
            }
        }
        if plan.access.block { self.lengthen(&file, plan.capacity) } else { Ok(()) }
    }

    /// What is copied when the volume is cut.
    fn parts(&self, volume: &VolumeId, unfinished: &Path) -> Vec<Part> {
        let source = self.volume(volume);
        let (directory, file) = (source.join(DIRECTORY), source.join(BLOCK_FILE));
        let mut parts = Vec::new();
        if directory.exists() {
            parts.push(Part::Directory { from: directory, to: unfinished.join(DIRECTORY) });
        }
        if file.exists() {
            parts.push(Part::BlockFile { from: file, to: unfinished.join(BLOCK_FILE) });
        }
        parts
    }

    fn block_file(&self, snapshot: &SnapshotId) -> io::Result<File> {
        File::open(self.snapshot(snapshot).join(BLOCK_FILE))
    }

    fn lengthen(&self, path: &Path, capacity: u64) -> io::Result<()> {
        let file = OpenOptions::new().write(true).open(path)?;
        if file.metadata()?.len() < capacity {
            file.set_len(capacity)?;
        }
        if self.durability == Durability::Synced { file.sync_all() } else { Ok(()) }
    }

    fn sync(&self, directory: &Path) -> io::Result<()> {
        if self.durability == Durability::Synced { File::open(directory)?.sync_all() } else { Ok(()) }
    }

    fn sync_parent(&self, path: &Path) -> io::Result<()> {
        path.parent().map_or(Ok(()), |parent| self.sync(parent))
    }

    fn keep_only(&self, part: &str, keep: impl Fn(&str) -> bool) -> io::Result<()> {
        for entry in fs::read_dir(self.root.join(part))? {
            let entry = entry?;
            let name = entry.file_name();
            if !name.to_str().is_some_and(&keep) {
                self.discard(&entry.path(), &format!("swept-{}", name.to_string_lossy()))?;
            }
        }
        Ok(())
    }
}

impl Content for ContentDirectory {
    fn create(&self, volume: &VolumeId, plan: &Plan) -> io::Result<()> {
        let place = self.volume(volume);
        if place.exists() {
            return Ok(());
        }
        let unfinished = self.unfinished(volume.as_str())?;
        self.fill(&unfinished, plan)?;
        self.finish(&unfinished, &place)
    }

    fn cut(&self, cuts: &[Cut]) -> io::Result<()> {
        let (mut parts, mut places) = (Vec::new(), Vec::new());
        for Cut { snapshot, source } in cuts {
            let unfinished = self.unfinished(snapshot.as_str())?;
            parts.extend(self.parts(source, &unfinished));
            places.push((unfinished, self.snapshot(snapshot)));
        }
        copy_at_one_moment(parts, || self.copy())?;
        places.iter().try_for_each(|(unfinished, place)| self.finish(unfinished, place))
    }

    fn allocated(&self, snapshot: &SnapshotId, start: u64) -> io::Result<Ranges> {
        ranges::allocated(self.block_file(snapshot)?, start)
    }

    fn changed(&self, base: &SnapshotId, target: &SnapshotId, start: u64) -> io::Result<Ranges> {
        ranges::changed(self.block_file(base)?, self.block_file(target)?, start)
    }

    fn grow(&self, volume: &VolumeId, capacity: u64) -> io::Result<()> {
        match self.lengthen(&self.volume(volume).join(BLOCK_FILE), capacity) {
            // A volume without block access has nothing to grow: its size is an entry of the store.
            Err(error) if error.kind() == io::ErrorKind::NotFound && self.volume(volume).exists() => Ok(()),
            grown => grown,
        }
    }

    fn remove_volume(&self, volume: &VolumeId) -> io::Result<()> {
        remove_tree(&self.root.join(UNFINISHED).join(volume.as_str()))?;
        self.discard(&self.volume(volume), volume.as_str())
    }

    fn remove_snapshot(&self, snapshot: &SnapshotId) -> io::Result<()> {
        remove_tree(&self.root.join(UNFINISHED).join(snapshot.as_str()))?;
        self.discard(&self.snapshot(snapshot), snapshot.as_str())
    }

    fn sweep(&self, volumes: &BTreeSet<VolumeId>, snapshots: &BTreeSet<SnapshotId>) -> io::Result<()> {
        self.keep_only(VOLUMES, |name| name.parse().is_ok_and(|id| volumes.contains(&id)))?;
        self.keep_only(SNAPSHOTS, |name| name.parse().is_ok_and(|id| snapshots.contains(&id)))?;
        for part in [UNFINISHED, TRASH] {
            for entry in fs::read_dir(self.root.join(part))? {
                remove_tree(&entry?.path())?;
            }
        }
        Ok(())
    }

    fn location(&self, volume: &VolumeId, access_type: AccessType) -> VolumeContent {
        match access_type {
            AccessType::Mount => VolumeContent::Directory(self.volume(volume).join(DIRECTORY)),
            AccessType::Block => VolumeContent::BlockFile(self.volume(volume).join(BLOCK_FILE)),
        }
    }

    fn condition(&self, volume: &VolumeId, access: AccessTypes) -> Result<String, String> {
        let place = self.volume(volume);
        if access.mount && !place.join(DIRECTORY).is_dir() {
            return Err("the directory of the volume is missing".into());
        }
        if access.block && !place.join(BLOCK_FILE).is_file() {
            return Err("the block file of the volume is missing".into());
        }
        Ok("the content of the volume is there".into())
    }

    fn free_inodes(&self) -> Option<u64> {
        let about = rustix::fs::statvfs(&self.root).ok()?;
        // File systems without a fixed number of inodes report none at all.
        (about.f_files > 0).then_some(about.f_ffree)
    }

    fn check(&self) -> io::Result<()> {
        tempfile::tempfile_in(self.root.join(UNFINISHED)).map(drop)
    }
}

fn remove_tree(path: &Path) -> io::Result<()> {
    let removed = match fs::symlink_metadata(path) {
        Ok(about) if about.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) => Err(error),
    };
    match removed {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

const VOLUMES: &str = "volumes";
const SNAPSHOTS: &str = "snapshots";
const UNFINISHED: &str = "unfinished";
const TRASH: &str = "trash";
const DIRECTORY: &str = "fs";
const BLOCK_FILE: &str = "block";

#[cfg(test)]
mod tests {
    use super::*;

    const BOTH: AccessTypes = AccessTypes { mount: true, block: true };

    fn plan(source: Option<Source>) -> Plan {
        Plan { access: BOTH, capacity: 1 << 20, directory_mode: 0o2770, source }
    }

    fn id(text: &str) -> VolumeId {
        text.parse().unwrap()
    }

    #[test]
    fn a_new_volume_is_empty_and_exactly_as_large_as_asked_for() {
        let root = tempfile::tempdir().unwrap();
        let content = ContentDirectory::open(root.path(), Durability::Synced).unwrap();
        content.create(&id("v"), &plan(None)).unwrap();
        let place = root.path().join("volumes/v");
        assert_eq!(fs::metadata(place.join("block")).unwrap().len(), 1 << 20);
        assert_eq!(fs::metadata(place.join("fs")).unwrap().permissions().mode() & 0o7777, 0o2770);
        assert_eq!(fs::read_dir(place.join("fs")).unwrap().count(), 0);
        content.grow(&id("v"), 2 << 20).unwrap();
        content.grow(&id("v"), 1 << 20).unwrap();
        assert_eq!(fs::metadata(place.join("block")).unwrap().len(), 2 << 20);
    }

    #[test]
    fn a_snapshot_keeps_what_was_there_when_it_was_cut() {
        let root = tempfile::tempdir().unwrap();
        let content = ContentDirectory::open(root.path(), Durability::Relaxed).unwrap();
        content.create(&id("v"), &plan(None)).unwrap();
        let file = root.path().join("volumes/v/fs/file");
        fs::write(&file, "before").unwrap();
        let snapshot: SnapshotId = "s".parse().unwrap();
        content.cut(&[Cut { snapshot: snapshot.clone(), source: id("v") }]).unwrap();
        fs::write(&file, "after").unwrap();
        content.create(&id("w"), &plan(Some(Source::Snapshot(snapshot)))).unwrap();
        content.remove_volume(&id("v")).unwrap();
        assert_eq!(fs::read_to_string(root.path().join("volumes/w/fs/file")).unwrap(), "before");
    }

    #[test]
    fn a_sweep_leaves_only_what_is_known() {
        let root = tempfile::tempdir().unwrap();
        let content = ContentDirectory::open(root.path(), Durability::Relaxed).unwrap();
        content.create(&id("keep"), &plan(None)).unwrap();
        content.create(&id("orphan"), &plan(None)).unwrap();
        fs::create_dir(root.path().join("unfinished/half")).unwrap();
        fs::create_dir(root.path().join("trash/old")).unwrap();
        content.sweep(&BTreeSet::from([id("keep")]), &BTreeSet::new()).unwrap();
        let names = |part: &str| fs::read_dir(root.path().join(part)).unwrap().count();
        assert_eq!((names("volumes"), names("unfinished"), names("trash")), (1, 0, 0));
        assert!(root.path().join("volumes/keep").exists());
    }
}
