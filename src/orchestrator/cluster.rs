//! A cluster: all components running over one store, and what a user or a nemesis does to it.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

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
    csi_client::CsiClient,
    departure::Departure,
    dice::Dice,
    external_attacher, external_provisioner, external_resizer, external_snapshotter,
    kubelet::{self, Kubelet, Machine, Places},
    names,
    object::{CsiDriver, Metadata, Node, PersistentVolumeClaim, Pod, StorageClass, VolumeSnapshot},
    pv_controller, scheduler, snapshot_controller,
    store::{Store, StoreError, Tables},
    timing::{PROBE_PAUSE, Timing},
};
use crate::{
    history::Recorder,
    sut::{Driver, Profile},
};

/// A GetPluginInfo of the registrar.
const REGISTRAR_LIMIT: Duration = Duration::from_secs(1);

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
    /// Whether volumes are attached.
    pub attach_required: bool,
    /// Whether publishing tells of the pod.
    pub pod_info_on_mount: bool,
    /// Whether volumes are published again and again.
    pub requires_republish: bool,
    /// Where calls are recorded.
    pub recorder: Recorder,
    /// What is done to calls on purpose.
    pub nemesis: Arc<dyn Nemesis>,
    /// Departures of Kubernetes that are switched off.
    pub without: BTreeSet<Departure>,
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
            attach_required: true,
            pod_info_on_mount: false,
            requires_republish: false,
            recorder,
            nemesis: Arc::new(Peace),
            without: BTreeSet::new(),
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
    tasks: Vec<AbortHandle>,
    restarts: BTreeMap<&'static str, Arc<Notify>>,
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
        };
        context.recorder.learn(&context.profile.secrets);
        context.profile.secrets_by_rpc.values().for_each(|secrets| context.recorder.learn(secrets));
        let mut name = String::new();
        for node in &settings.nodes {
            let client = CsiClient::new(node.driver.clone(), format!("node-driver-registrar@{}", node.name), &context);
            name = register(&client).await.map_err(ClusterError::Registration)?;
        }
        context.csi_driver = CsiDriver {
            attach_required: settings.attach_required,
            pod_info_on_mount: settings.pod_info_on_mount,
            requires_republish: settings.requires_republish,
            ..CsiDriver::named(name)
        };
        let mut cluster =
            Self { context: context.clone(), tasks: Vec::new(), restarts: BTreeMap::new(), nodes: BTreeMap::new() };
        cluster.start_control_plane(settings.seed);
        cluster.start_sidecars(&settings.controller);
        for setup in settings.nodes {
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

    fn start_sidecars(&mut self, controller: &Arc<Driver>) {
        let context = &self.context;
        let client = |name: &str| CsiClient::new(controller.clone(), name, context);
        let (provisioner, attacher) = (client(external_provisioner::NAME), client(external_attacher::NAME));
        let (resizer, snapshotter) = (client(external_resizer::NAME), client(external_snapshotter::NAME));
        self.start_sidecar(external_provisioner::NAME, provisioner, external_provisioner::run);
        self.start_sidecar(external_attacher::NAME, attacher, external_attacher::run);
        self.start_sidecar(external_resizer::NAME, resizer, external_resizer::run);
        self.start_sidecar(external_snapshotter::NAME, snapshotter, external_snapshotter::run);
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

    fn restart_handle(&mut self, name: &'static str) -> Arc<Notify> {
        self.restarts.entry(name).or_default().clone()
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
    pub fn sidecars(&self) -> Vec<&'static str> {
        self.restarts.keys().copied().collect()
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

    /// Asks for a snapshot of a claim.
    ///
    /// # Errors
    ///
    /// When there is one of this name.
    pub fn create_snapshot(&self, name: &str, claim: &str) -> Result<(), ClusterError> {
        let metadata = Metadata::named(name);
        self.context.store.create(VolumeSnapshot { metadata, claim: claim.to_owned(), ..Default::default() })?;
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

/// The name of the driver; a registrar that ends without one is started again a few times.
async fn register(client: &CsiClient) -> Result<String, String> {
    for _ in 1..REGISTRAR_TRIES {
        if let Ok(name) = driver_name(client, REGISTRAR_LIMIT).await {
            return Ok(name);
        }
        sleep(client.context.timing.of(PROBE_PAUSE)).await;
    }
    driver_name(client, REGISTRAR_LIMIT).await
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.tasks.iter().for_each(AbortHandle::abort);
        self.nodes.values().filter_map(|slot| slot.kubelet.as_ref()).for_each(JoinHandle::abort);
    }
}
