//! The process that serves one volume through FUSE; it outlives the driver that started it.

use std::{
    ffi::OsString,
    fs::{self, File, TryLockError},
    io::{self, Read as _},
    path::{Path, PathBuf},
    sync::Arc,
    thread,
    time::Duration,
};

use fuse_backend_rs::{
    abi::fuse_abi::Opcode,
    api::server::Server,
    passthrough::{CachePolicy, Config, PassthroughFs},
    transport::{FuseChannel, FuseSession, Reader},
};
use rustix::{
    fs::Mode,
    process::{Resource, Rlimit, getrlimit, setrlimit, setsid, umask},
};
use serde::{Deserialize, Serialize};

use super::{
    super::{
        VolumeContent, WriteGate, annotations,
        pod::{Pod, Uid},
        protocol::DaemonId,
    },
    mountinfo,
    mounts::unmount_path,
    places::{Places, replace_file},
    records::read_record,
};

/// What a daemon, or for block volumes the driver, writes down of the current run.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Run {
    /// Which run of the pod it is.
    pub(super) run: u32,
    /// The process that serves.
    pub(super) pid: Option<i32>,
    /// The device number of its mount, once that stands.
    pub(super) device: Option<(u32, u32)>,
    /// The backing file of its loop devices.
    pub(super) backing_file: Option<PathBuf>,
}

impl Run {
    /// Reads the run that was written down last.
    pub(super) fn read(directory: &Path) -> Option<Self> {
        serde_json::from_slice(&fs::read(directory.join(RUN)).ok()?).ok()
    }

    /// Writes this run down.
    pub(super) fn write(&self, directory: &Path) -> io::Result<()> {
        replace_file(&directory.join(RUN), &serde_json::to_vec(self)?)
    }
}

/// Serves the volume of a pod until it is unmounted or killed; the body of `mount-daemon --pod-file F --uid U`.
///
/// Exactly one such process serves a pod: it holds the pod's lock file for as long as it lives.
pub fn mount_daemon_main(arguments: impl IntoIterator<Item = OsString>) -> Result<(), String> {
    let (pod_file, uid) = parse(arguments)?;
    // The driver's terminal and process group must not take the daemon along.
    let _ = setsid();
    umask(Mode::empty());
    let limit = getrlimit(Resource::Nofile);
    // Every file that a workload knows of costs one descriptor.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });

    let places = Places::of_pod_file(&pod_file).map_err(|error| error.to_string())?;
    let directory = places.daemon(&uid);
    let Some(_lock) = take_lock(&directory)? else { return Ok(()) };
    let before = Run::read(&directory);
    let run = before.as_ref().map_or(1, |before| before.run + 1);
    let pid = i32::try_from(std::process::id()).map_err(|error| error.to_string())?;
    let mut record = Run { run, pid: Some(pid), device: None, backing_file: None };
    record.write(&directory).map_err(|error| format!("cannot write {RUN}: {error}"))?;

    // Only now, when whoever tears the pod down can see this process, may the pod be looked at.
    let pod = read_record(&pod_file)?;
    let root = wanted(&pod, &uid)?;
    let daemon = DaemonId { pod: uid, run };
    if let Some(before) = before {
        let stale = places.mount(&DaemonId { run: before.run, ..daemon.clone() });
        unmount_path(&stale).map_err(|error| format!("{}: {error}", stale.display()))?;
        let _ = fs::remove_dir(stale);
    }
    let mount = places.mount(&daemon);
    fs::create_dir_all(&mount).map_err(|error| format!("{}: {error}", mount.display()))?;
    let (session, channels, server) = open(&root, &mount, &places.source(&daemon))?;
    record.device = Some(device_of(&mount)?);
    record.write(&directory).map_err(|error| format!("cannot write {RUN}: {error}"))?;
    serve(channels, &server, &root)?;
    drop(session);
    Ok(())
}

pub(super) const LOCK: &str = "lock";
pub(super) const LOG: &str = "log";
pub(super) const SUBCOMMAND: &str = "mount-daemon";
const RUN: &str = "run.json";
const THREADS: usize = 4;
const LOCK_ATTEMPTS: u32 = 40;
const LOCK_PAUSE: Duration = Duration::from_millis(25);

type Volume = PassthroughFs<()>;
type Serving = (FuseSession, Vec<FuseChannel>, Arc<Server<Volume>>);

fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<(PathBuf, Uid), String> {
    let (mut pod_file, mut uid) = (None, None);
    let mut arguments = arguments.into_iter();
    while let Some(name) = arguments.next() {
        let value = arguments.next().ok_or_else(|| format!("{} needs a value", name.display()))?;
        match name.to_str() {
            Some("--pod-file") => pod_file = Some(PathBuf::from(value)),
            Some("--uid") => uid = value.into_string().ok().map(Uid::new),
            _ => return Err(format!("{} is no option of {SUBCOMMAND}", name.display())),
        }
    }
    match (pod_file, uid) {
        (Some(pod_file), Some(uid)) => Ok((pod_file, uid)),
        _ => Err(format!("{SUBCOMMAND} needs --pod-file and --uid")),
    }
}

/// Takes the pod's lock; `None` when another daemon serves it. Whoever looks whether a daemon runs holds the lock for a
/// moment, so one failure means nothing.
fn take_lock(directory: &Path) -> Result<Option<File>, String> {
    let path = directory.join(LOCK);
    let lock = File::options().write(true).open(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    for _ in 0..LOCK_ATTEMPTS {
        match lock.try_lock() {
            Ok(()) => return Ok(Some(lock)),
            Err(TryLockError::WouldBlock) => thread::sleep(LOCK_PAUSE),
            Err(TryLockError::Error(error)) => return Err(format!("{}: {error}", path.display())),
        }
    }
    Ok(None)
}

fn wanted(pod: &Pod, uid: &Uid) -> Result<PathBuf, String> {
    if pod.uid != *uid || pod.deleting || annotations::is_unconfirmed(pod) {
        return Err(format!("pod {} does not want a daemon of {uid} any more", pod.name));
    }
    match &pod.spec.content {
        VolumeContent::Directory(root) => Ok(root.clone()),
        VolumeContent::BlockFile(_) => Err("a block volume has no mount daemon".to_owned()),
    }
}

fn open(root: &Path, mount: &Path, source: &str) -> Result<Serving, String> {
    let config = Config {
        root_dir: root.to_str().ok_or("the volume's path is not UTF-8")?.to_owned(),
        do_import: true,
        xattr: true,
        // Other nodes and the controller write to the same content behind this daemon's back.
        cache_policy: CachePolicy::Auto,
        entry_timeout: Duration::ZERO,
        attr_timeout: Duration::ZERO,
        ..Config::default()
    };
    let volume = Volume::new(config).map_err(|error| format!("cannot open {}: {error}", root.display()))?;
    volume.import().map_err(|error| format!("cannot open {}: {error}", root.display()))?;
    let mut session = FuseSession::new(mount, source, "mountpod", false).map_err(|error| error.to_string())?;
    session.mount().map_err(|error| error.to_string())?;
    let channels: Result<Vec<_>, _> = (0..THREADS).map(|_| session.new_channel()).collect();
    Ok((session, channels.map_err(|error| error.to_string())?, Arc::new(Server::new(volume))))
}

/// The device number is taken from the mount table: a look at the mount itself would wait for this very process.
fn device_of(mount: &Path) -> Result<(u32, u32), String> {
    let table = fs::read("/proc/self/mountinfo").map_err(|error| error.to_string())?;
    let table = mountinfo::parse(&table).map_err(|error| error.to_string())?;
    let found = mountinfo::layers(&table, mount).last().map(|layer| layer.device);
    found.ok_or_else(|| format!("{} is not mounted", mount.display()))
}

fn serve(channels: Vec<FuseChannel>, server: &Arc<Server<Volume>>, root: &Path) -> Result<(), String> {
    let gates: Result<Vec<WriteGate>, _> = channels.iter().map(|_| WriteGate::of(root)).collect();
    let gates = gates.map_err(|error| format!("cannot open the gate of {}: {error}", root.display()))?;
    let threads: Vec<_> = channels
        .into_iter()
        .zip(gates)
        .map(|(mut channel, gate)| {
            let server = server.clone();
            thread::spawn(move || {
                // A channel ends when the mount is gone; one request that cannot be answered does not end it.
                while let Ok(Some((reader, writer))) = channel.get_request() {
                    let _entered = if changes_something(&reader) {
                        match gate.enter() {
                            Ok(entered) => Some(entered),
                            // Better no daemon than one that writes into a copy under way.
                            Err(_) => break,
                        }
                    } else {
                        None
                    };
                    match server.handle_message(reader, writer.into(), None, None) {
                        Err(fuse_backend_rs::Error::EncodeMessage(error))
                            if error.raw_os_error() == Some(libc::EBADF) =>
                        {
                            break;
                        }
                        _ => {}
                    }
                }
            })
        })
        .collect();
    for thread in threads {
        // A thread that panicked has said so in the log; the others go on.
        let _ = thread.join();
    }
    Ok(())
}

/// Whether a request may change the volume. One that is too short to tell is answered with an error anyway.
fn changes_something(request: &Reader<'_>) -> bool {
    // Its length, then its operation, both words of 32 bits; a clone leaves the request itself unread.
    let mut start = [0; 8];
    if request.clone().read_exact(&mut start).is_err() {
        return false;
    }
    let [_, _, _, _, operation @ ..] = start;
    let operation = u32::from_ne_bytes(operation);
    !HARMLESS.iter().any(|&harmless| harmless as u32 == operation)
}

/// The operations that only look. Opening may truncate, so it is not among them.
const HARMLESS: [Opcode; 22] = [
    Opcode::Lookup,
    Opcode::Forget,
    Opcode::Getattr,
    Opcode::Readlink,
    Opcode::Read,
    Opcode::Statfs,
    Opcode::Release,
    Opcode::Fsync,
    Opcode::Getxattr,
    Opcode::Listxattr,
    Opcode::Flush,
    Opcode::Init,
    Opcode::Opendir,
    Opcode::Readdir,
    Opcode::Releasedir,
    Opcode::Fsyncdir,
    Opcode::Access,
    Opcode::Interrupt,
    Opcode::Destroy,
    Opcode::BatchForget,
    Opcode::Readdirplus,
    Opcode::Lseek,
];
