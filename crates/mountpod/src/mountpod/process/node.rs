//! The protocol's mount operations on this host.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File},
    io,
    os::fd::OwnedFd,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use rustix::fs::{Mode, OFlags};
use tokio::{task::spawn_blocking, time::timeout};

use super::{
    super::{
        TargetPath, Usage, VolumeContent,
        api::PodApi,
        content,
        executor::Node,
        pod::{Phase, Pod, PodStatus, Uid},
        protocol::{Answer, DaemonId, Liveness, MountOperation, Mounted, TargetState},
    },
    daemon::{LOCK, Run},
    loop_device::{self, LoopDevice},
    mountinfo::{MountInfo, layers},
    mounts::{bind, table, table_path, unmount_beneath, unmount_layers, unmount_path},
    places::Places,
    supervisor::Supervisor,
};

/// This host.
#[derive(Clone)]
pub(super) struct HostNode {
    places: Places,
    supervisor: Supervisor,
    api: Arc<dyn PodApi>,
    /// The roots that were verified, until they are mounted from.
    roots: Arc<Mutex<BTreeMap<DaemonId, Arc<OwnedFd>>>>,
}

impl HostNode {
    pub(super) fn new(places: Places, supervisor: Supervisor, api: Arc<dyn PodApi>) -> Self {
        Self { places, supervisor, api, roots: Arc::default() }
    }

    fn do_perform(&self, operation: MountOperation) -> io::Result<Answer> {
        match operation {
            MountOperation::Look(target) => self.look(&target).map(Answer::Target),
            MountOperation::Verify(pod) => self.verify(&pod),
            MountOperation::Prepare { target, role, content, mount_group } => {
                content::make_target(&target, role, &content).map_err(io::Error::other)?;
                if let Some(group) = mount_group {
                    content::admit_group(&content, group).map_err(io::Error::other)?;
                }
                Ok(Answer::Done)
            }
            MountOperation::Bind { daemon, target, read_only, from_descriptor } => {
                self.bind(&daemon, &target, read_only, from_descriptor)
            }
            MountOperation::UnmountBeneath(target) => {
                let path = table_path(target.as_path())?;
                unmount_beneath(&path, layers(&table()?, &path).len())?;
                Ok(Answer::Done)
            }
            MountOperation::UnmountAll(target) => self.unmount_all(&target),
            MountOperation::RemoveTarget(target) => {
                content::remove_target(&target).map_err(io::Error::other)?;
                Ok(Answer::Done)
            }
            MountOperation::Teardown(pod) => {
                self.remove_remains(&pod.uid)?;
                Ok(Answer::Done)
            }
        }
    }

    fn verify(&self, pod: &Pod) -> io::Result<Answer> {
        content::check(&pod.spec.content).map_err(io::Error::other)?;
        if let VolumeContent::BlockFile(file) = &pod.spec.content {
            return self.attach(pod, file).map(Answer::Serving);
        }
        match self.supervisor.open_root(&pod.uid)? {
            Some((daemon, root)) => {
                let mut roots = self.roots();
                // The root of an earlier run would keep its dead mount in memory.
                roots.retain(|known, _| known.pod != pod.uid);
                roots.insert(daemon.clone(), Arc::new(root));
                Ok(Answer::Serving(daemon))
            }
            None => {
                self.supervisor.start(pod)?;
                Ok(Answer::NotServing)
            }
        }
    }

    /// A block volume has no process; its run begins anew when its device had to be attached anew.
    fn attach(&self, pod: &Pod, file: &Path) -> io::Result<DaemonId> {
        let directory = self.supervisor.prepare(&pod.uid)?;
        let _lock = self.loop_lock()?;
        let file = fs::canonicalize(file)?;
        let was_attached = loop_device::in_use()?.iter().any(|device| device.backing_file == file && !device.deleted);
        let before = Run::read(&directory).map_or(0, |before| before.run);
        let run = if was_attached && before > 0 { before } else { before + 1 };
        // Written down first: a device that is attached and then forgotten would stay for ever.
        let record = Run { run, pid: None, device: None, backing_file: Some(file.clone()) };
        if run != before {
            record.write(&directory)?;
        }
        loop_device::over(&file, false)?;
        Ok(DaemonId { pod: pod.uid.clone(), run })
    }

    fn bind(&self, daemon: &DaemonId, target: &TargetPath, read_only: bool, verified: bool) -> io::Result<Answer> {
        let path = table_path(target.as_path())?;
        let run = Run::read(&self.places.daemon(&daemon.pod));
        if let Some(file) = run.as_ref().and_then(|run| run.backing_file.as_ref()) {
            let _lock = self.loop_lock()?;
            let device = loop_device::over(file, read_only)?;
            // The device refuses writes itself: a read-only mount of a device node would not.
            bind(open_node(&device.path())?, &path, false)?;
            return Ok(Answer::Done);
        }
        let root = match verified {
            true => self.roots().get(daemon).cloned(),
            false => open_node(&self.places.mount(daemon)).ok().map(Arc::new),
        };
        let Some(root) = root else { return Ok(Answer::NotServing) };
        match bind(&*root, &path, read_only) {
            Ok(()) => Ok(Answer::Done),
            // The daemon's mount has gone since it was verified.
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {
                self.roots().remove(daemon);
                Ok(Answer::NotServing)
            }
            Err(error) => Err(error),
        }
    }

    fn look(&self, target: &TargetPath) -> io::Result<TargetState> {
        let path = match table_path(target.as_path()) {
            Ok(path) => path,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(TargetState::Bare),
            Err(error) => return Err(error),
        };
        let table = table()?;
        let layers = layers(&table, &path);
        let Some(top) = layers.last() else { return Ok(TargetState::Bare) };
        let devices = loop_device::in_use().unwrap_or_default();
        let Some(daemon) = self.daemon_of(top, &devices) else { return Ok(TargetState::Foreign) };
        let ours = layers.iter().filter(|layer| self.daemon_of(layer, &devices).is_some()).count();
        let loop_read_only = loop_of(top).and_then(|number| devices.iter().find(|device| device.number == number));
        let read_only = top.read_only || loop_read_only.is_some_and(|device| device.read_only);
        let alive = if self.is_alive(&daemon, top) { Liveness::Alive } else { Liveness::Dead };
        let top = Mounted { daemon, read_only, alive };
        Ok(TargetState::Ours { top, layers: u32::try_from(ours).unwrap_or(u32::MAX) })
    }

    fn is_alive(&self, daemon: &DaemonId, layer: &MountInfo) -> bool {
        if loop_of(layer).is_some() {
            return Run::read(&self.places.daemon(&daemon.pod)).is_some_and(|run| run.run == daemon.run);
        }
        let running = self.supervisor.running(&daemon.pod);
        running.is_some_and(|run| run.run == daemon.run && run.device == Some(layer.device))
    }

    /// The daemon behind a layer; `None` when the layer is not ours.
    fn daemon_of(&self, layer: &MountInfo, devices: &[LoopDevice]) -> Option<DaemonId> {
        let Some(number) = loop_of(layer) else { return self.places.daemon_of_source(&layer.source) };
        let device = devices.iter().find(|device| device.number == number);
        let known = device.and_then(|device| {
            self.runs().into_iter().find(|(_, run)| run.backing_file.as_ref() == Some(&device.backing_file))
        });
        // A device node that leads nowhere is what a reboot or another's clean-up left of ours.
        Some(match known {
            Some((pod, run)) => DaemonId { pod, run: run.run },
            None => DaemonId { pod: Uid::default(), run: 0 },
        })
    }

    fn unmount_all(&self, target: &TargetPath) -> io::Result<Answer> {
        let path = match table_path(target.as_path()) {
            Ok(path) => path,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Answer::Done),
            Err(error) => return Err(error),
        };
        for _ in 0..UNMOUNT_ROUNDS {
            let table = table()?;
            let layers = layers(&table, &path);
            let devices = loop_device::in_use().unwrap_or_default();
            let is_ours = |layer: &&&MountInfo| self.daemon_of(layer, &devices).is_some();
            match layers.iter().rev().take_while(is_ours).count() {
                0 if layers.iter().any(|layer| is_ours(&layer)) => {
                    return Ok(Answer::Failed(format!(
                        "{target} is covered by a mount of somebody else: remove it first"
                    )));
                }
                0 => return Ok(Answer::Done),
                ours => unmount_layers(&path, ours)?,
            }
        }
        Ok(Answer::Failed(format!("{target} is being mounted again and again by somebody else")))
    }

    /// Ends the pod's daemon and removes its mounts, devices and directories; the directory that lists them goes last.
    fn remove_remains(&self, uid: &Uid) -> io::Result<()> {
        self.supervisor.kill(uid)?;
        self.roots().retain(|daemon, _| daemon.pod != *uid);
        let prefix = format!("{uid}.");
        for entry in fs::read_dir(self.places.mounts())? {
            let entry = entry?;
            if entry.file_name().to_string_lossy().starts_with(&prefix) {
                unmount_path(&entry.path())?;
                gone(fs::remove_dir(entry.path()))?;
            }
        }
        let directory = self.places.daemon(uid);
        if let Some(file) = Run::read(&directory).and_then(|run| run.backing_file) {
            self.detach(uid, &file)?;
        }
        gone(fs::remove_dir_all(directory))
    }

    /// Detaches the devices of a file, unless a target still shows them or another pod serves the same file.
    fn detach(&self, uid: &Uid, file: &Path) -> io::Result<()> {
        let _lock = self.loop_lock()?;
        let shared = self.runs().iter().any(|(other, run)| other != uid && run.backing_file.as_deref() == Some(file));
        let table = table()?;
        for device in loop_device::in_use()?.into_iter().filter(|device| device.backing_file == file) {
            let shown = table.iter().any(|layer| loop_of(layer) == Some(device.number));
            if !shared && !shown {
                device.detach()?;
            }
        }
        Ok(())
    }

    /// Nobody else attaches or detaches meanwhile, in no process that shares the state directory.
    fn loop_lock(&self) -> io::Result<File> {
        let lock = File::create(self.places.daemons().join(LOCK))?;
        lock.lock()?;
        Ok(lock)
    }

    fn runs(&self) -> Vec<(Uid, Run)> {
        let directories = fs::read_dir(self.places.daemons()).into_iter().flatten().flatten();
        directories
            .filter_map(|entry| Some((Uid::new(entry.file_name().into_string().ok()?), Run::read(&entry.path())?)))
            .collect()
    }

    fn do_remains(&self) -> io::Result<Vec<Uid>> {
        let mut remains = BTreeSet::new();
        for entry in fs::read_dir(self.places.daemons())? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                remains.insert(entry.file_name().to_string_lossy().into_owned());
            }
        }
        for entry in fs::read_dir(self.places.mounts())? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            remains.extend(name.rsplit_once('.').map(|(uid, _)| uid.to_owned()));
        }
        Ok(remains.into_iter().map(Uid::new).collect())
    }

    fn do_resize(&self, pod: &Pod) -> io::Result<()> {
        let VolumeContent::BlockFile(file) = &pod.spec.content else { return Ok(()) };
        let file = fs::canonicalize(file)?;
        for device in loop_device::in_use()?.iter().filter(|device| device.backing_file == file) {
            device.take_new_size()?;
        }
        Ok(())
    }

    fn do_serves(&self, pod: &Pod) -> bool {
        match &pod.spec.content {
            VolumeContent::Directory(_) => matches!(self.supervisor.open_root(&pod.uid), Ok(Some(_))),
            VolumeContent::BlockFile(file) => fs::canonicalize(file).is_ok_and(|file| {
                loop_device::in_use().unwrap_or_default().iter().any(|device| device.backing_file == file)
            }),
        }
    }

    fn roots(&self) -> std::sync::MutexGuard<'_, BTreeMap<DaemonId, Arc<OwnedFd>>> {
        self.roots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn blocking<T: Send + 'static>(&self, work: impl FnOnce(&Self) -> T + Send + 'static) -> Result<T, String> {
        let node = self.clone();
        spawn_blocking(move || work(&node)).await.map_err(|error| error.to_string())
    }

    /// Writes what the kubelet would write once the daemon was seen. People read it; nothing is decided on it.
    async fn note_status(&self, pod: &Pod) {
        let status = PodStatus { phase: Phase::Running, ready: true };
        if pod.status != status {
            // The next look at the pod writes it if this one cannot.
            let _ = self.api.update_status(&pod.name, &pod.uid, status).await;
        }
    }
}

#[async_trait]
impl Node for HostNode {
    async fn perform(&self, operation: MountOperation) -> Answer {
        let verified = match &operation {
            MountOperation::Verify(pod) => Some(pod.clone()),
            _ => None,
        };
        let what = format!("{operation:?}");
        let work = self.blocking(move |node| node.do_perform(operation));
        // A daemon that hangs answers no look at its root; that must not hang the request.
        let done = match &verified {
            Some(_) => timeout(VERIFY_TIME, work).await.unwrap_or(Ok(Ok(Answer::NotServing))),
            None => work.await,
        };
        let answer = done.and_then(|result| result.map_err(|error| error.to_string())).unwrap_or_else(Answer::Failed);
        if let Answer::Failed(text) = &answer {
            tracing::debug!("{what}: {text}");
        }
        if let (Some(pod), Answer::Serving(_)) = (&verified, &answer) {
            self.note_status(pod).await;
        }
        if let (Some(pod), Answer::NotServing) = (&verified, &answer) {
            tracing::debug!(pod = %pod.name, "not serving yet: {}", self.supervisor.last_words(&pod.uid));
        }
        answer
    }

    async fn measure(&self, content: &VolumeContent) -> Result<Usage, String> {
        let content = content.clone();
        self.blocking(move |_| content::measure(&content)).await?
    }

    async fn resize(&self, pod: &Pod) -> Result<(), String> {
        let pod = pod.clone();
        self.blocking(move |node| node.do_resize(&pod)).await?.map_err(|error| error.to_string())
    }

    async fn ready(&self) -> Result<(), String> {
        let mut missing = Vec::new();
        if !rustix::process::geteuid().is_root() {
            missing.push("the rights of root");
        }
        if File::options().read(true).write(true).open("/dev/fuse").is_err() {
            missing.push("/dev/fuse");
        }
        if File::options().read(true).write(true).open(loop_device::CONTROL).is_err() {
            missing.push(loop_device::CONTROL);
        }
        match missing.as_slice() {
            [] => Ok(()),
            missing => Err(format!("the process runtime needs {}", missing.join(" and "))),
        }
    }

    async fn serves(&self, pod: &Pod) -> bool {
        let pod = pod.clone();
        timeout(VERIFY_TIME, self.blocking(move |node| node.do_serves(&pod)))
            .await
            .is_ok_and(|serves| serves == Ok(true))
    }

    async fn remains(&self) -> Result<Vec<Uid>, String> {
        self.blocking(Self::do_remains).await?.map_err(|error| error.to_string())
    }

    async fn discard(&self, pod: &Uid) -> Result<(), String> {
        let uid = pod.clone();
        self.blocking(move |node| node.remove_remains(&uid)).await?.map_err(|error| format!("pod {pod}: {error}"))
    }
}

/// The loop device that a layer shows.
fn loop_of(layer: &MountInfo) -> Option<u32> {
    loop_device::number_of(layer.root.file_name()?.to_str()?)
}

fn open_node(path: &Path) -> io::Result<OwnedFd> {
    Ok(rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC | OFlags::NOFOLLOW, Mode::empty())?)
}

/// What is gone already needs no removal.
fn gone(removed: io::Result<()>) -> io::Result<()> {
    match removed {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

const UNMOUNT_ROUNDS: u32 = 8;
const VERIFY_TIME: Duration = Duration::from_secs(5);
