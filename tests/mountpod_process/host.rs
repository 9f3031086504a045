//! A directory of this host with volumes, the instances over it, and what the kernel holds for them.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use csi_certify::mountpod::{
    AccessMode, AccessType, Fingerprint, MountPods, Publication, Role, TargetPath, VolumeContent, VolumeId,
    process::{MountInfo, ProcessMountPods, ProcessOptions, parse_mountinfo},
};
use tokio::time::{Instant, sleep};

/// A host directory with one volume of each kind, and instances over one state directory.
pub(crate) struct Host {
    pub(crate) dir: tempfile::TempDir,
}

impl Host {
    /// `None`, with the reason on the terminal, where the kernel's facilities are missing.
    pub(crate) async fn new() -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        for name in ["volume", "targets"] {
            fs::create_dir(dir.path().join(name)).unwrap();
        }
        fs::File::create(dir.path().join("block")).unwrap().set_len(4 << 20).unwrap();
        let host = Self { dir };
        let pods = host.start();
        let ready = pods.ready().await;
        pods.shutdown().await;
        match ready {
            Ok(()) => Some(host),
            Err(missing) => {
                println!("skipped: {missing}");
                None
            }
        }
    }

    pub(crate) fn start(&self) -> ProcessMountPods {
        self.borrowed().start()
    }

    pub(crate) fn publication(&self, target: &str) -> Publication {
        self.borrowed().publication(target)
    }

    pub(crate) fn borrowed(&self) -> Borrowed {
        Borrowed(self.dir.path().to_owned())
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn target(&self, name: &str) -> TargetPath {
        self.path("targets").join(name).to_str().unwrap().parse().unwrap()
    }

    pub(crate) fn block(&self, target: &str, read_only: bool) -> Publication {
        let mut publication = self.publication(target);
        publication.content = VolumeContent::BlockFile(self.path("block"));
        publication.fingerprint.access_type = AccessType::Block;
        publication.fingerprint.read_only = read_only;
        publication
    }

    pub(crate) fn mounts(&self) -> Vec<MountInfo> {
        let mut mounts = parse_mountinfo(&fs::read("/proc/self/mountinfo").unwrap()).unwrap();
        mounts.retain(|mount| mount.mount_point.starts_with(self.dir.path()));
        mounts
    }

    pub(crate) fn layers(&self, target: &str) -> usize {
        let target = self.target(target);
        self.mounts().iter().filter(|mount| mount.mount_point == target.as_path()).count()
    }

    /// The processes that serve this state directory.
    pub(crate) fn daemons(&self) -> Vec<i32> {
        let state = self.path("state");
        let of = |path: &Path| {
            let arguments = fs::read(path.join("cmdline")).unwrap_or_default();
            let text = String::from_utf8_lossy(&arguments).into_owned();
            text.contains("mount-daemon") && text.contains(state.to_str().unwrap())
        };
        let processes = fs::read_dir("/proc").unwrap().flatten().map(|entry| entry.path()).filter(|path| of(path));
        processes.filter_map(|path| path.file_name()?.to_str()?.parse().ok()).collect()
    }

    pub(crate) fn loop_devices(&self) -> Vec<String> {
        let block = self.path("block");
        let backing = |entry: &fs::DirEntry| fs::read_to_string(entry.path().join("loop/backing_file")).ok();
        fs::read_dir("/sys/block")
            .unwrap()
            .flatten()
            .filter(|entry| {
                backing(entry).is_some_and(|file| Path::new(file.trim_end().trim_end_matches(" (deleted)")) == block)
            })
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .collect()
    }

    pub(crate) async fn assert_nothing_left(&self) {
        eventually("nothing is left on the host", || {
            let left: Vec<PathBuf> = ["state/pods", "state/mnt", "targets"]
                .iter()
                .flat_map(|name| fs::read_dir(self.path(name)).unwrap().flatten().map(|entry| entry.path()))
                .collect();
            let runs = fs::read_dir(self.path("state/daemons")).unwrap().flatten();
            let runs = runs.filter(|entry| entry.path().is_dir()).count();
            left.is_empty()
                && runs == 0
                && self.mounts().is_empty()
                && self.daemons().is_empty()
                && self.loop_devices().is_empty()
        })
        .await;
    }
}

/// The host directory as another process sees it.
pub(crate) struct Borrowed(pub(crate) PathBuf);

pub(crate) const DRIVER_DIR: &str = "MOUNTPOD_DRIVER_DIR";

impl Borrowed {
    pub(crate) fn start(&self) -> ProcessMountPods {
        let mut options = ProcessOptions::new(self.0.join("state"), "node");
        options.executable = Some(env!("CARGO_BIN_EXE_csi-certify").into());
        options.housekeeping = Duration::from_millis(200);
        ProcessMountPods::start(options).unwrap()
    }

    pub(crate) fn publication(&self, target: &str) -> Publication {
        Publication {
            volume: volume(),
            content: VolumeContent::Directory(self.0.join("volume")),
            target: self.0.join("targets").join(target).to_str().unwrap().parse().unwrap(),
            role: Role::Target,
            fingerprint: Fingerprint {
                access_type: AccessType::Mount,
                access_mode: AccessMode::MultiNodeMultiWriter,
                read_only: false,
                fs_type: String::new(),
                mount_flags: String::new(),
                mount_group: String::new(),
            },
            mount_group: None,
            configuration: BTreeMap::new(),
        }
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        // A test that failed must not leave its mounts to the next one.
        for pid in self.daemons() {
            let _ = std::process::Command::new("kill").args(["-9", &pid.to_string()]).status();
        }
        for mount in self.mounts().iter().rev() {
            let _ = std::process::Command::new("umount").arg("-l").arg(&mount.mount_point).status();
        }
        for device in self.loop_devices() {
            let _ = std::process::Command::new("losetup").args(["-d", &format!("/dev/{device}")]).status();
        }
    }
}

pub(crate) fn volume() -> VolumeId {
    "volume-1".parse().unwrap()
}

pub(crate) fn soon() -> Instant {
    Instant::now() + Duration::from_secs(30)
}

pub(crate) async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    for _ in 0..600 {
        if holds() {
            return;
        }
        sleep(Duration::from_millis(25)).await;
    }
    panic!("within 15 s: {what}");
}
