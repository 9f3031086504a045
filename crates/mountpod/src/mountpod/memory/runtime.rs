//! Mount pods of the simulated node, with the directories and files that a caller sees.

use std::{
    fs, io,
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use tokio::time::{Instant, sleep};

use super::{
    super::{
        Deadline, MountPods, Protocol, Publication, PublishError, Published, Role, TargetPath, UnpublishError, Usage,
        VolumeContent, VolumeId,
        api::{ApiError, PodApi, Preconditions, Selector, WriteMode},
        content,
        executor::{Clock, Engine, NoWorkloads, Node, Running, RunningPublished, Workloads},
        instant::Timestamp,
        pod::{NodeId, Pod, PodName, PodStatus, Uid},
        protocol::{Answer, MountOperation, Policy},
    },
    PodApiRequest, PodApiWatcher, World,
};

/// What a simulated node is made of.
#[derive(Clone)]
pub struct MemoryOptions {
    /// The node.
    pub node: NodeId,
    /// Which protocol counts the references.
    pub protocol: Protocol,
    /// The choices of the protocol.
    pub policy: Policy,
    /// Who sees the requests to the pod API, and says how long its answers take.
    pub watcher: Option<Arc<dyn PodApiWatcher>>,
    /// How long a daemon takes to start.
    pub daemon_start: Duration,
    /// How often housekeeping looks.
    pub housekeeping: Duration,
    /// Who still runs.
    pub workloads: Arc<dyn Workloads>,
    /// The time at which the simulation begins.
    pub epoch: Timestamp,
}

impl MemoryOptions {
    /// The node of this id, with the hardened protocol and daemons that start at once.
    pub fn new(node: impl Into<String>) -> Self {
        Self {
            node: NodeId::from(node.into()),
            protocol: Protocol::Current,
            policy: Policy::default(),
            watcher: None,
            daemon_start: Duration::ZERO,
            housekeeping: Duration::from_secs(5),
            workloads: Arc::new(NoWorkloads),
            epoch: Timestamp(1_767_225_600_000),
        }
    }
}

/// The mount pods of a simulated node.
pub struct MemoryMountPods {
    running: Serving,
    world: SharedWorld,
}

/// The protocol at work.
enum Serving {
    Current(Running),
    Published(RunningPublished),
}

impl Serving {
    fn mount_pods(&self) -> &dyn MountPods {
        match self {
            Self::Current(running) => running,
            Self::Published(running) => running,
        }
    }
}

impl MemoryMountPods {
    /// Starts an empty node. Needs a tokio runtime; its clock is the runtime's, so paused time works.
    pub fn new(options: MemoryOptions) -> Self {
        Self::on(SharedWorld::of(&options), options)
    }

    /// Starts another instance over the same node, as a restarted driver would.
    pub fn beside(&self, options: MemoryOptions) -> Self {
        Self::on(self.world.clone(), options)
    }

    /// Looks at the simulated node, or changes it.
    pub fn with_world<T>(&self, look: impl FnOnce(&mut World) -> T) -> T {
        look(&mut self.world.lock())
    }

    /// The engine, for a caller that wants its rounds of housekeeping one by one.
    pub fn engine(&self) -> &Arc<Engine> {
        match &self.running {
            Serving::Current(running) => running.engine(),
            Serving::Published(running) => running.engine(),
        }
    }

    /// Stops the housekeeping; the node stays as it is.
    pub async fn shutdown(&self) {
        match &self.running {
            Serving::Current(running) => running.shutdown().await,
            Serving::Published(running) => running.shutdown().await,
        }
    }

    /// Starts an instance over a node that is there already.
    pub fn on(world: SharedWorld, options: MemoryOptions) -> Self {
        let clock = Arc::new(RuntimeClock { started: Instant::now(), epoch: options.epoch });
        let (api, node) = (Arc::new(world.clone()), Arc::new(world.clone()));
        let engine = Engine::new(options.node, api, node, clock, options.workloads, options.policy);
        let running = match RunningPublished::start(engine, options.protocol, options.housekeeping) {
            Ok(published) => Serving::Published(published),
            Err(engine) => Serving::Current(Running::start(*engine, options.housekeeping)),
        };
        Self { running, world }
    }
}

#[async_trait]
impl MountPods for MemoryMountPods {
    async fn publish(&self, publication: Publication, deadline: Deadline) -> Result<(), PublishError> {
        self.running.mount_pods().publish(publication, deadline).await
    }

    async fn unpublish(
        &self,
        volume: &VolumeId,
        target: &TargetPath,
        role: Role,
        deadline: Deadline,
    ) -> Result<(), UnpublishError> {
        self.running.mount_pods().unpublish(volume, target, role, deadline).await
    }

    async fn published(&self, volume: &VolumeId) -> Result<Vec<Published>, UnpublishError> {
        self.running.mount_pods().published(volume).await
    }

    async fn usage(&self, volume: &VolumeId, target: &TargetPath) -> Result<Option<Usage>, UnpublishError> {
        self.running.mount_pods().usage(volume, target).await
    }

    async fn resized(&self, volume: &VolumeId) -> Result<(), UnpublishError> {
        self.running.mount_pods().resized(volume).await
    }

    async fn ready(&self) -> Result<(), String> {
        self.running.mount_pods().ready().await
    }

    async fn condition(&self, volume: &VolumeId) -> Result<String, String> {
        self.running.mount_pods().condition(volume).await
    }
}

/// Moments that follow the time of the tokio runtime.
struct RuntimeClock {
    started: Instant,
    epoch: Timestamp,
}

impl Clock for RuntimeClock {
    fn now(&self) -> Timestamp {
        self.epoch.after(self.started.elapsed())
    }
}

/// The simulated node behind a lock that is never held across an await.
#[derive(Clone)]
pub struct SharedWorld {
    world: Arc<Mutex<World>>,
    daemon_start: Duration,
    watcher: Option<Arc<dyn PodApiWatcher>>,
}

impl SharedWorld {
    /// Shares the world; a daemon of it takes this long to start.
    pub fn new(world: World, daemon_start: Duration) -> Self {
        Self { world: Arc::new(Mutex::new(world)), daemon_start, watcher: None }
    }

    /// An empty node with these options.
    pub fn of(options: &MemoryOptions) -> Self {
        Self { watcher: options.watcher.clone(), ..Self::new(World::default(), options.daemon_start) }
    }

    /// The world, as long as the guard lives.
    pub fn lock(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The kubelet sees what was written.
    fn run_kubelet(&self) {
        if self.daemon_start.is_zero() {
            self.lock().run_kubelet();
        } else if self.lock().kubelet_is_due() {
            let later = self.clone();
            tokio::spawn(async move {
                sleep(later.daemon_start).await;
                later.lock().run_kubelet();
            });
        }
    }

    /// The request has taken effect; its answer is on its way.
    async fn answer(&self, request: PodApiRequest<'_>) {
        let Some(watcher) = &self.watcher else { return };
        let on_its_way = watcher.took_effect(request);
        if !on_its_way.is_zero() {
            sleep(on_its_way).await;
        }
    }
}

#[async_trait]
impl PodApi for SharedWorld {
    async fn get(&self, name: &PodName) -> Result<Pod, ApiError> {
        let pod = self.lock().pods.get(name).cloned().ok_or(ApiError::NotFound);
        self.answer(PodApiRequest::Read).await;
        pod
    }

    async fn list(&self, selector: &Selector) -> Result<Vec<Pod>, ApiError> {
        let pods = self.lock().list(selector);
        self.answer(PodApiRequest::Read).await;
        Ok(pods)
    }

    async fn create(&self, pod: Pod) -> Result<Pod, ApiError> {
        let created = self.lock().create(pod);
        self.run_kubelet();
        self.answer(created.as_ref().map_or(PodApiRequest::Refused, PodApiRequest::Create)).await;
        created
    }

    async fn update(&self, pod: Pod, mode: WriteMode) -> Result<Option<Pod>, ApiError> {
        let name = pod.name.clone();
        let updated = self.lock().update(pod, mode);
        self.run_kubelet();
        match &updated {
            Ok(pod) => self.answer(PodApiRequest::Update(&name, pod.as_ref())).await,
            Err(_) => self.answer(PodApiRequest::Refused).await,
        }
        updated
    }

    async fn delete(&self, name: &PodName, preconditions: Preconditions) -> Result<Option<Pod>, ApiError> {
        let deleted = self.lock().delete(name, &preconditions);
        match &deleted {
            Ok(pod) => self.answer(PodApiRequest::Delete(name, pod.as_ref())).await,
            Err(_) => self.answer(PodApiRequest::Refused).await,
        }
        deleted
    }

    async fn update_status(&self, name: &PodName, uid: &Uid, status: PodStatus) -> Result<(), ApiError> {
        self.lock().update_status(name, uid, status)
    }
}

#[async_trait]
impl Node for SharedWorld {
    async fn perform(&self, operation: MountOperation) -> Answer {
        let result = match &operation {
            MountOperation::Verify(pod) => {
                let present = content::check(&pod.spec.content);
                self.run_kubelet();
                present
            }
            MountOperation::Prepare { target, role, content, mount_group } => {
                content::make_target(target, *role, content)
                    .and_then(|()| mount_group.map_or(Ok(()), |group| content::admit_group(content, group)))
            }
            MountOperation::RemoveTarget(target) if !self.lock().layers.contains_key(target) => {
                content::remove_target(target)
            }
            MountOperation::Bind { target, .. } => exists(target.as_path()),
            _ => Ok(()),
        };
        match result {
            Ok(()) => self.lock().perform(operation),
            Err(text) => Answer::Failed(text),
        }
    }

    async fn measure(&self, content: &VolumeContent) -> Result<Usage, String> {
        content::measure(content)
    }

    async fn resize(&self, _: &Pod) -> Result<(), String> {
        // The simulated device has the size of its file at every moment.
        Ok(())
    }

    async fn ready(&self) -> Result<(), String> {
        Ok(())
    }

    async fn serves(&self, pod: &Pod) -> bool {
        self.lock().daemons.get(&pod.uid).is_some_and(|(_, alive)| *alive)
    }

    async fn remains(&self) -> Result<Vec<Uid>, String> {
        Ok(self.lock().daemons.keys().cloned().collect())
    }

    async fn discard(&self, pod: &Uid) -> Result<(), String> {
        self.lock().daemons.remove(pod);
        Ok(())
    }
}

fn exists(path: &Path) -> Result<(), String> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(format!("{} does not exist", path.display())),
        _ => Ok(()),
    }
}
