//! Starts, finds and ends the daemons of this host's pods; the kubelet's part of the process runtime.

use std::{
    collections::BTreeMap,
    fs::{self, File, TryLockError},
    io,
    os::fd::OwnedFd,
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

use rustix::{
    fs::{Mode, OFlags, fstat, fstatfs, major, minor},
    process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal},
};

use super::{
    super::{
        pod::{Pod, Uid},
        protocol::DaemonId,
    },
    daemon::{LOCK, LOG, Run, SUBCOMMAND},
    places::Places,
};

/// The daemons of one state directory.
#[derive(Clone, Debug)]
pub(super) struct Supervisor {
    places: Places,
    executable: PathBuf,
    /// Those that this process started, so that they are reaped and not started twice.
    children: Arc<Mutex<BTreeMap<Uid, Child>>>,
}

impl Supervisor {
    pub(super) fn new(places: Places, executable: PathBuf) -> Self {
        Self { places, executable, children: Arc::default() }
    }

    /// The run of the pod that is alive now.
    pub(super) fn running(&self, uid: &Uid) -> Option<Run> {
        self.is_locked(uid).then(|| Run::read(&self.places.daemon(uid))).flatten()
    }

    /// Opens the mount root of the pod's daemon and checks, on that descriptor, that it is a FUSE mount that answers, and the
    /// very one that the running daemon made. What is mounted from the descriptor cannot be anything else.
    ///
    /// The device number stands in for the root's inode number: a passed-through root has the number of the host's
    /// directory, while no directory of the host has the device number of this mount.
    pub(super) fn open_root(&self, uid: &Uid) -> io::Result<Option<(DaemonId, OwnedFd)>> {
        let Some(Run { run, device: Some(device), .. }) = self.running(uid) else { return Ok(None) };
        let daemon = DaemonId { pod: uid.clone(), run };
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let Ok(root) = rustix::fs::open(self.places.mount(&daemon), flags, Mode::empty()) else { return Ok(None) };
        let (Ok(system), Ok(found)) = (fstatfs(&root), fstat(&root)) else { return Ok(None) };
        let is_this_mount = (major(found.st_dev), minor(found.st_dev)) == device;
        Ok((system.f_type == FUSE_MAGIC && is_this_mount).then_some((daemon, root)))
    }

    /// Starts a daemon for the pod unless one runs or is on its way.
    pub(super) fn start(&self, pod: &Pod) -> io::Result<()> {
        let mut children = self.children.lock().unwrap_or_else(PoisonError::into_inner);
        // Reaps every child that ended, not only this pod's.
        children.retain(|_, child| matches!(child.try_wait(), Ok(None)));
        if children.contains_key(&pod.uid) || self.is_locked(&pod.uid) {
            return Ok(());
        }
        let directory = self.prepare(&pod.uid)?;
        let log = File::options().create(true).append(true).open(directory.join(LOG))?;
        let child = Command::new(&self.executable)
            .arg(SUBCOMMAND)
            .arg("--pod-file")
            .arg(self.places.pod_file(&pod.name))
            .args(["--uid", pod.uid.as_str()])
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()?;
        children.insert(pod.uid.clone(), child);
        Ok(())
    }

    /// The directory of a pod's runs, with its lock file.
    pub(super) fn prepare(&self, uid: &Uid) -> io::Result<PathBuf> {
        let directory = self.places.daemon(uid);
        fs::create_dir_all(&directory)?;
        File::options().create(true).append(true).open(directory.join(LOCK))?;
        Ok(directory)
    }

    /// Kills the pod's daemon and waits until it is gone, within a bound.
    pub(super) fn kill(&self, uid: &Uid) -> io::Result<()> {
        let deadline = Instant::now() + KILL_TIME;
        while self.is_locked(uid) {
            if Instant::now() > deadline {
                return Err(io::Error::other(format!("the daemon of pod {uid} does not end: kill it")));
            }
            if let Some(pid) = self.running(uid).and_then(|run| run.pid).and_then(Pid::from_raw)
                && let Ok(process) = pidfd_open(pid, PidfdFlags::empty())
                // The descriptor holds on to the process that has the number now; it is the daemon's if the daemon
                // still runs under that number.
                && self.running(uid).and_then(|run| run.pid) == Some(pid.as_raw_nonzero().get())
            {
                pidfd_send_signal(process, Signal::KILL)?;
            }
            thread::sleep(PAUSE);
        }
        self.reap(uid);
        Ok(())
    }

    /// The end of the daemon's log, for an error message.
    pub(super) fn last_words(&self, uid: &Uid) -> String {
        let log = fs::read(self.places.daemon(uid).join(LOG)).unwrap_or_default();
        let text = String::from_utf8_lossy(&log);
        text.lines().next_back().unwrap_or("it said nothing").to_owned()
    }

    /// Whether a process holds the pod's lock.
    fn is_locked(&self, uid: &Uid) -> bool {
        let Ok(lock) = File::open(self.places.daemon(uid).join(LOCK)) else { return false };
        matches!(lock.try_lock_shared(), Err(TryLockError::WouldBlock))
    }

    fn reap(&self, uid: &Uid) {
        let child = self.children.lock().unwrap_or_else(PoisonError::into_inner).remove(uid);
        if let Some(mut child) = child {
            // It has let go of its lock, so it has ended.
            let _ = child.wait();
        }
    }
}

const FUSE_MAGIC: rustix::fs::FsWord = 0x6573_5546;
const KILL_TIME: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(5);
