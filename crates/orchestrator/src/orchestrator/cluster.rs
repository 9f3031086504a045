//! A cluster: all components running over one store, and what a user or a nemesis does to it.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use thiserror::Error;
use tokio::{
    sync::Notify,
    task::{AbortHandle, JoinHandle},
    time::{sleep, timeout},
};

use super::{
    attach_detach_controller,
    capabilities::driver_name,
    context::{Context, Nemesis, Peace, Troubles},
    controller::supervise,
    csi_client::{CsiClient, Turns},
    departure::Departure,
    dice::Dice,
    external_attacher, external_health_monitor, external_provisioner, external_resizer, external_snapshotter,
    kubelet::{self, Kubelet, Machine, Places},
    livenessprobe::{self, Container},
    names,
    node_driver_registrar::{self, Registrar},
    object::{CsiDriver, Metadata, Node, PersistentVolumeClaim, Pod, StorageClass, VolumeSnapshot},
    pv_controller, scheduler, snapshot_controller,
    store::{Store, StoreError, Tables},
    timing::{PROBE_PAUSE, Timing},
};
use crate::{
    history::Recorder,
    sut::{Driver, Profile, Signal},
};

/// How often a registrar asks before the driver counts as absent.
const REGISTRAR_TRIES: u32 = 10;

/// A node of the cluster.
#[derive(Clone, Debug)]
pub struct NodeSetup {
    /// Its name.
    pub name: String,
    /// The node service of the driver there.
    pub driver: Arc<Driver>,
    /// The directory of its kubelet.
    pub root: PathBuf,
}

/// What a cluster is made of.
#[derive(Clone)]
pub struct Settings {
    /// The seed of everything random.
    pub seed: u64,
    /// How fast time passes.
    pub timing: Timing,
    /// Parameters, secrets and sizes.
    pub profile: Profile,
    /// The controller service of the driver.
    pub controller: Arc<Driver>,
    /// The nodes.
    pub nodes: Vec<NodeSetup>,
    /// How the driver wants to be treated; its name is what it says itself.
    pub csi_driver: CsiDriver,
    /// Where calls are recorded.
    pub recorder: Recorder,
    /// What is done to calls on purpose.
    pub nemesis: Arc<dyn Nemesis>,
    /// Departures of Kubernetes that are switched off.
    pub without: BTreeSet<Departure>,
    /// What is asked beside the work: probes, measurements, conditions.
    pub watching: Watching,
    /// What holds the mounts of the nodes, where it can be made to lose them; without it no node reboots.
    pub mounts: Option<Arc<dyn NodeMounts>>,
}

/// What holds the mounts of nodes.
pub trait NodeMounts: Send + Sync {
    /// All mounts of a node are gone, as with a reboot; what lies on its disk stays.
    fn lose_all(&self, node: &str);
}

/// What is asked beside the work.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Watching {
    /// Whether livenessprobes ask, and drivers that are not well are started again where that is possible.
    pub liveness: bool,
    /// Whether kubelets measure volumes, and look at the condition of what they measure.
    pub statistics: bool,
    /// Whether external-health-monitor runs.
    pub health_monitor: bool,
}

impl Watching {
    /// All of it.
    pub const ALL: Self = Self { liveness: true, statistics: true, health_monitor: true };
}

impl Settings {
    /// A cluster of these nodes, as it is without a CSIDriver object and without faults.
    pub fn new(seed: u64, controller: Arc<Driver>, nodes: Vec<NodeSetup>, recorder: Recorder) -> Self {
        Self {
            seed,
            timing: Timing::default(),
            profile: Profile::default(),
            controller,
            nodes,
            csi_driver: CsiDriver::named(""),
            recorder,
            nemesis: Arc::new(Peace),
            without: BTreeSet::new(),
            watching: Watching::default(),
            mounts: None,
        }
    }
}

/// Why a cluster cannot be used.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ClusterError {
    /// The driver does not say who it is.
    #[error("the driver cannot be registered: {0}")]
    Registration(String),
    /// The path of a kubelet is too long for the sockets below it.
    #[error("the path of a socket below {0} is longer than a socket may have: set TMPDIR to a shorter directory")]
    LongPath(PathBuf),
    /// A class names another driver.
    #[error("StorageClass {class} is of driver {other}, and the driver here is {driver}: name it as provisioner")]
    OtherDriver {
        /// The class.
        class: String,
        /// Its driver.
        other: String,
        /// The driver of the cluster.
        driver: String,
    },
    /// The mounts are real ones.
    #[error(
        "no node can be made to reboot: only the built-in driver in this process has mounts that can be taken away"
    )]
    NoReboot,
    /// The driver does not come back.
    #[error("the driver was killed and does not start again: {0}")]
    Restart(String),
    /// The cluster has no such node.
    #[error("there is no node {0}: use one of those that the cluster was made of")]
    NoNode(String),
    /// An object cannot be written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Something did not come about.
    #[error("{what} did not come about within {limit:?}")]
    NotInTime {
        /// What was waited for.
        what: String,
        /// How long.
        limit: Duration,
    },
}

/// A cluster; its components end with it.
pub struct Cluster {
    context: Context,
    controller: Arc<Driver>,
    mounts: Option<Arc<dyn NodeMounts>>,
    dice: Dice,
    tasks: Vec<AbortHandle>,
    restarts: BTreeMap<String, Arc<Notify>>,
    nodes: BTreeMap<String, Slot>,
}

/// A node and its kubelet.
struct Slot {
    setup: NodeSetup,
    machine: Machine,
    kubelet: Option<JoinHandle<()>>,
}

impl Cluster {
    /// Starts all components.
    ///
    /// # Errors
    ///
    /// When the driver does not say its name.
    pub async fn start(settings: Settings) -> Result<Self, ClusterError> {
        let mut context = Context {
            store: Store::new(settings.seed),
            timing: settings.timing,
            recorder: settings.recorder,
            troubles: Troubles::default(),
            profile: Arc::new(settings.profile),
            csi_driver: CsiDriver::named(""),
            nemesis: settings.nemesis,
            without: settings.without,
            turns: Turns::default(),
            measures: settings.watching.statistics,
            checks_health: settings.watching.statistics,
        };
        context.recorder.learn(&context.profile.secrets);
        context.profile.secrets_by_rpc.values().for_each(|secrets| context.recorder.learn(secrets));
        let mut name = String::new();
        for node in &settings.nodes {
            let component = node_driver_registrar::component(&node.name);
            let client = CsiClient::new(node.driver.clone(), component, &context);
            name = register(&client).await.map_err(ClusterError::Registration)?;
            if node_driver_registrar::socket(&node.root, &name).is_none() {
                return Err(ClusterError::LongPath(node.root.clone()));
            }
        }
        context.csi_driver = CsiDriver { name: name.clone(), ..settings.csi_driver };
        let mut cluster = Self {
            context: context.clone(),
            controller: settings.controller.clone(),
            mounts: settings.mounts.clone(),
            dice: Dice::new(settings.seed ^ 0x6b75_6265_6c65_7421),
            tasks: Vec::new(),
            restarts: BTreeMap::new(),
            nodes: BTreeMap::new(),
        };
        cluster.start_control_plane(settings.seed);
        cluster.start_sidecars(&settings.controller, settings.watching.health_monitor);
        for setup in settings.nodes {
            cluster.start_driver_pod(&setup, &name, settings.watching.liveness);
            let slot = Slot { setup: setup.clone(), machine: Machine::default(), kubelet: None };
            cluster.nodes.insert(setup.name.clone(), slot);
            cluster.start_kubelet(&setup.name)?;
        }
        Ok(cluster)
    }

    fn start_control_plane(&mut self, seed: u64) {
        let context = self.context.clone();
        let dice = Dice::new(seed);
        self.tasks.push(tokio::spawn(pv_controller::run(context.clone())).abort_handle());
        self.tasks.push(tokio::spawn(snapshot_controller::run(context.clone())).abort_handle());
        self.tasks.push(tokio::spawn(scheduler::run(context.clone(), dice)).abort_handle());
        let restart = self.restart_handle("attach-detach-controller");
        let start = move || {
            let context = context.clone();
            async move { match attach_detach_controller::run(context).await {} }
        };
        self.tasks.push(tokio::spawn(supervise(self.context.clone(), restart, start)).abort_handle());
    }

    fn start_sidecars(&mut self, controller: &Arc<Driver>, has_monitor: bool) {
        let context = &self.context;
        let client = |name: &str| CsiClient::new(controller.clone(), name, context);
        let (provisioner, attacher) = (client(external_provisioner::NAME), client(external_attacher::NAME));
        let (resizer, snapshotter) = (client(external_resizer::NAME), client(external_snapshotter::NAME));
        let monitor = has_monitor.then(|| client(external_health_monitor::NAME));
        self.start_sidecar(external_provisioner::NAME, provisioner, external_provisioner::run);
        self.start_sidecar(external_attacher::NAME, attacher, external_attacher::run);
        self.start_sidecar(external_resizer::NAME, resizer, external_resizer::run);
        self.start_sidecar(external_snapshotter::NAME, snapshotter, external_snapshotter::run);
        if let Some(monitor) = monitor {
            self.start_sidecar(external_health_monitor::NAME, monitor, external_health_monitor::run);
        }
    }

    /// What stands beside the driver in its pod on a node: registrar and livenessprobe. The registrar has the name already.
    fn start_driver_pod(&mut self, node: &NodeSetup, name: &str, has_probe: bool) {
        let component = node_driver_registrar::component(&node.name);
        let registrar = Registrar {
            client: CsiClient::new(node.driver.clone(), &component, &self.context),
            root: node.root.clone(),
            name: Arc::new(Mutex::new(Some(name.to_owned()))),
        };
        let registration = self.restart_handle(&component);
        let start = move || node_driver_registrar::run(registrar.clone());
        self.tasks.push(tokio::spawn(supervise(self.context.clone(), registration.clone(), start)).abort_handle());
        if !has_probe || !node.driver.is_restartable() {
            return;
        }
        let component = livenessprobe::component(&node.name);
        let client = CsiClient::new(node.driver.clone(), &component, &self.context);
        let container: Arc<dyn Container> = Arc::new(DriverContainer {
            driver: node.driver.clone(),
            recorder: self.context.recorder.clone(),
            registration,
        });
        let restart = self.restart_handle(&component);
        let start = move || livenessprobe::run(client.clone(), container.clone());
        self.tasks.push(tokio::spawn(supervise(self.context.clone(), restart, start)).abort_handle());
    }

    fn start_sidecar<F: Future<Output = String> + Send + 'static>(
        &mut self,
        name: &'static str,
        client: CsiClient,
        run: fn(CsiClient) -> F,
    ) {
        let restart = self.restart_handle(name);
        let start = move || run(client.clone());
        self.tasks.push(tokio::spawn(supervise(self.context.clone(), restart, start)).abort_handle());
    }

    fn restart_handle(&mut self, name: &str) -> Arc<Notify> {
        self.restarts.entry(name.to_owned()).or_default().clone()
    }

    /// What all components share: the store, the troubles, the recorder.
    pub const fn context(&self) -> &Context {
        &self.context
    }

    /// The objects.
    pub const fn store(&self) -> &Store {
        &self.context.store
    }

    /// The components that can be restarted, besides kubelets.
    pub fn sidecars(&self) -> Vec<String> {
        self.restarts.keys().cloned().collect()
    }

    /// The names of the nodes.
    pub fn nodes(&self) -> Vec<String> {
        self.nodes.keys().cloned().collect()
    }

    /// Ends a sidecar in the middle of whatever it does, and starts it again with an empty memory.
    pub fn restart_sidecar(&self, name: &str) {
        if let Some(restart) = self.restarts.get(name) {
            restart.notify_one();
        }
    }

    /// Starts the kubelet of a node, if it does not run.
    ///
    /// # Errors
    ///
    /// When there is no such node.
    pub fn start_kubelet(&mut self, node: &str) -> Result<(), ClusterError> {
        let context = self.context.clone();
        let slot = self.nodes.get_mut(node).ok_or_else(|| ClusterError::NoNode(node.to_owned()))?;
        if slot.kubelet.is_some() {
            return Ok(());
        }
        let kubelet = Kubelet {
            client: CsiClient::new(slot.setup.driver.clone(), kubelet::component(node), &context),
            node: node.to_owned(),
            places: Places::new(slot.setup.root.clone()),
            machine: slot.machine.clone(),
            dice: self.dice.clone(),
        };
        slot.kubelet = Some(tokio::spawn(async move { match kubelet.run().await {} }));
        Ok(())
    }

    /// Ends the kubelet of a node in the middle of whatever it does; containers and mounts stay.
    ///
    /// # Errors
    ///
    /// When there is no such node.
    pub async fn stop_kubelet(&mut self, node: &str) -> Result<(), ClusterError> {
        let slot = self.nodes.get_mut(node).ok_or_else(|| ClusterError::NoNode(node.to_owned()))?;
        if let Some(kubelet) = slot.kubelet.take() {
            kubelet.abort();
            // Cancelled is what it is meant to be.
            let _ = kubelet.await;
        }
        Ok(())
    }

    /// The driver of a node is killed and started again, and with it what stands beside it in its pod; calls under way get
    /// no answer.
    ///
    /// # Errors
    ///
    /// When there is no such node, or the driver does not come back.
    pub async fn restart_driver(&self, node: &str) -> Result<(), ClusterError> {
        let slot = self.nodes.get(node).ok_or_else(|| ClusterError::NoNode(node.to_owned()))?;
        restart(&slot.setup.driver, &self.context.recorder).await?;
        self.restart_sidecar(&node_driver_registrar::component(node));
        if Arc::ptr_eq(&slot.setup.driver, &self.controller) {
            // Their connection is lost, upon which they exit.
            let sidecars = [external_provisioner::NAME, external_attacher::NAME, external_resizer::NAME];
            sidecars.iter().chain(&[external_snapshotter::NAME]).for_each(|name| self.restart_sidecar(name));
        }
        Ok(())
    }

    /// Whether the driver of a node can be killed and started again.
    pub fn can_restart_driver(&self, node: &str) -> bool {
        self.nodes.get(node).is_some_and(|slot| slot.setup.driver.is_restartable())
    }

    /// A node is lost: its kubelet no longer reports, and in time its volumes are detached by force.
    ///
    /// # Errors
    ///
    /// When there is no such node.
    pub async fn lose_node(&mut self, node: &str) -> Result<(), ClusterError> {
        self.stop_kubelet(node).await?;
        self.context.store.modify(node, |node: &mut Node| node.is_ready = false)?;
        Ok(())
    }

    /// Taints a lost node as out of service: its pods are removed and its volumes detached at once.
    ///
    /// # Errors
    ///
    /// When there is no such node.
    pub fn set_out_of_service(&self, node: &str, is_out_of_service: bool) -> Result<(), ClusterError> {
        self.context.store.modify(node, |node: &mut Node| node.is_out_of_service = is_out_of_service)?;
        Ok(())
    }

    /// All containers of a node end, as when it reboots; a kubelet has to be started again after that.
    ///
    /// # Errors
    ///
    /// When there is no such node.
    pub async fn power_off(&mut self, node: &str) -> Result<(), ClusterError> {
        self.stop_kubelet(node).await?;
        if let Some(slot) = self.nodes.get(node) {
            slot.machine.stop_all();
        }
        Ok(())
    }

    /// Whether nodes can be made to reboot.
    pub fn can_reboot(&self) -> bool {
        self.mounts.is_some()
    }

    /// A node reboots: its containers end, its mounts are gone, its driver starts again. What was on its disk is there. Its
    /// kubelet is still to be started.
    ///
    /// # Errors
    ///
    /// When there is no such node, its mounts cannot be taken away, or its driver does not come back.
    pub async fn reboot_node(&mut self, node: &str) -> Result<(), ClusterError> {
        let mounts = self.mounts.clone().ok_or(ClusterError::NoReboot)?;
        self.power_off(node).await?;
        for pod in self.context.store.list::<Pod>().into_iter().filter(|pod| pod.node_name == node) {
            let ended = |pod: &mut Pod| pod.containers_run = false;
            // A pod that is gone has no status.
            let _ = self.context.store.modify(&pod.metadata.name, ended);
        }
        mounts.lose_all(node);
        if self.can_restart_driver(node) {
            self.restart_driver(node).await?;
        }
        Ok(())
    }

    /// Adds a class.
    ///
    /// # Errors
    ///
    /// When there is one of this name.
    pub fn create_class(&self, class: StorageClass) -> Result<(), ClusterError> {
        self.context.store.create(class)?;
        Ok(())
    }

    /// A class of the driver, with the profile's parameters.
    pub fn class(&self, name: &str) -> StorageClass {
        let mut parameters = self.context.profile.parameters.clone();
        let fs_type = &self.context.profile.fs_type;
        if !fs_type.is_empty() {
            parameters.insert(names::FS_TYPE.to_owned(), fs_type.clone());
        }
        StorageClass {
            metadata: Metadata::named(name),
            provisioner: self.context.csi_driver.name.clone(),
            parameters,
            allow_volume_expansion: true,
            ..StorageClass::default()
        }
    }

    /// Adds a claim.
    ///
    /// # Errors
    ///
    /// When there is one of this name.
    pub fn create_claim(&self, mut claim: PersistentVolumeClaim) -> Result<(), ClusterError> {
        claim.metadata.finalizers.insert(names::CLAIM_PROTECTION.to_owned());
        self.context.store.create(claim)?;
        Ok(())
    }

    /// Asks for the deletion of a claim.
    pub fn delete_claim(&self, name: &str) {
        self.context.store.delete::<PersistentVolumeClaim>(name);
    }

    /// Adds a pod.
    ///
    /// # Errors
    ///
    /// When there is one of this name.
    pub fn create_pod(&self, pod: Pod) -> Result<(), ClusterError> {
        self.context.store.create(pod)?;
        Ok(())
    }

    /// Asks for the deletion of a pod: its containers are stopped and its volumes unmounted first.
    pub fn delete_pod(&self, name: &str) {
        self.context.store.delete::<Pod>(name);
    }

    /// Deletes a pod by force: the object is gone at once, and its node cleans up when it can.
    pub fn force_delete_pod(&self, name: &str) {
        self.context.store.delete::<Pod>(name);
        // It may be gone by now.
        let _ = self.context.store.modify(name, |pod: &mut Pod| pod.metadata.finalizers.clear());
    }

    /// Asks for a snapshot of a claim; without a class it is cut with the profile's parameters.
    ///
    /// # Errors
    ///
    /// When there is one of this name.
    pub fn create_snapshot(&self, name: &str, claim: &str, class: &str) -> Result<(), ClusterError> {
        let (metadata, claim, class) = (Metadata::named(name), claim.to_owned(), class.to_owned());
        self.context.store.create(VolumeSnapshot { metadata, claim, class, ..Default::default() })?;
        Ok(())
    }

    /// Waits until the objects are as they should be; the limit is the cluster's time.
    ///
    /// # Errors
    ///
    /// When they do not get there in time.
    pub async fn wait_until(
        &self,
        what: &str,
        limit: Duration,
        mut reached: impl FnMut(&Tables) -> bool,
    ) -> Result<(), ClusterError> {
        let mut watch = self.context.store.watch();
        let limit = self.context.timing.of(limit);
        let waiting = async {
            while !self.context.store.read(&mut reached) {
                watch.changed().await;
            }
        };
        timeout(limit, waiting).await.map_err(|_| ClusterError::NotInTime { what: what.to_owned(), limit })
    }

    /// What is left on the disks of the nodes: notes, staging and target paths.
    pub fn remains(&self) -> BTreeSet<PathBuf> {
        self.nodes.values().flat_map(|slot| Places::new(slot.setup.root.clone()).remains()).collect()
    }
}

/// The container of a driver, as its livenessprobe has it started again.
struct DriverContainer {
    driver: Arc<Driver>,
    recorder: Recorder,
    registration: Arc<Notify>,
}

#[async_trait]
impl Container for DriverContainer {
    async fn restart(&self) {
        // A driver that does not come back goes on failing its probe.
        if let Err(error) = restart(&self.driver, &self.recorder).await {
            tracing::warn!("the driver does not start again: {error}");
        }
        self.registration.notify_one();
    }
}

async fn restart(driver: &Driver, recorder: &Recorder) -> Result<(), ClusterError> {
    for instance in driver.instances() {
        instance.restart(recorder, Signal::Kill).await.map_err(|error| ClusterError::Restart(error.to_string()))?;
    }
    Ok(())
}

/// The name of the driver; a registrar that ends without one is started again a few times.
async fn register(client: &CsiClient) -> Result<String, String> {
    for _ in 1..REGISTRAR_TRIES {
        if let Ok(name) = driver_name(client, node_driver_registrar::LIMIT).await {
            return Ok(name);
        }
        sleep(client.context.timing.of(PROBE_PAUSE)).await;
    }
    driver_name(client, node_driver_registrar::LIMIT).await
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.tasks.iter().for_each(AbortHandle::abort);
        self.nodes.values().filter_map(|slot| slot.kubelet.as_ref()).for_each(JoinHandle::abort);
    }
}
