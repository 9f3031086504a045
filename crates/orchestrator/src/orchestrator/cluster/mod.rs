//! A cluster: all components running over one store, and what a user or a nemesis does to it.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use tokio::{
    sync::Notify,
    task::{AbortHandle, JoinHandle},
    time::{sleep, timeout},
};

mod nodes;
mod objects;
mod setup;

use nodes::restart;
pub use setup::{ClusterError, NodeMounts, NodeSetup, Settings, Watching};

use super::{
    attach_detach_controller,
    attempts::Attempts,
    capabilities::driver_name,
    context::{Context, Rotated, Troubles},
    controller::supervise,
    csi_client::{CsiClient, Turns},
    dice::Dice,
    external_attacher, external_health_monitor,
    external_provisioner::{self, Orders},
    external_resizer, external_snapshotter,
    kubelet::{Machine, Places},
    livenessprobe::{self, Container},
    node_driver_registrar::{self, Registrar},
    object::CsiDriver,
    pv_controller,
    refusals::Refusals,
    scheduler, snapshot_controller,
    store::{Store, Tables},
    timing::{PROBE_PAUSE, RECONCILER_PERIOD},
};
use crate::{history::Recorder, sut::Driver};

/// How often a registrar asks before the driver counts as absent.
const REGISTRAR_TRIES: u32 = 10;

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
            rotated: Rotated::default(),
            turns: Turns::default(),
            attempts: Attempts::default(),
            refusals: Refusals::default(),
            orders: Orders::default(),
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

    /// Waits until nothing is left on the disks of the nodes, and says what is when the limit, the cluster's time, is over.
    /// Where nothing is attached, objects may be gone before their nodes have unstaged.
    pub async fn vacated(&self, limit: Duration) -> BTreeSet<PathBuf> {
        let timing = &self.context.timing;
        let vacating = async {
            while !self.remains().is_empty() {
                sleep(timing.of(RECONCILER_PERIOD)).await;
            }
        };
        let _ = timeout(timing.of(limit), vacating).await;
        self.remains()
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
