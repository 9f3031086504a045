//! A cluster over the built-in driver, all in one process and on virtual time.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
    time::Duration,
};

use csi_certify::{
    driver::{
        Configuration, Driver as Reference, Parts,
        clock::SystemClock,
        content::{Content, ContentDirectory, Durability},
        identifier::OrderedIdentifiers,
        store::{Memory, Store},
    },
    history::{FORMAT, Header, Recorder},
    mountpod::{
        admission::SecondTarget,
        memory::{MemoryMountPods, MemoryOptions, SharedWorld},
    },
    orchestrator::{
        AccessMode, Cluster, Metadata, NodeMounts, NodeSetup, PersistentVolume, PersistentVolumeClaim, Pod, PodVolume,
        ReclaimPolicy, Settings, Tables, VolumeMode,
    },
    sut::{Driver, InProcess, Lane, Profile, Target},
};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use super::interposer::Script;

pub(crate) const MIB: i64 = 1 << 20;

/// Longer than all patience of all components together.
pub(crate) const LONG: Duration = Duration::from_secs(4000);

/// A cluster and what stands behind it.
pub(crate) struct Stage {
    pub(crate) cluster: Cluster,
    pub(crate) recorder: Recorder,
    pub(crate) script: Script,
    pub(crate) driver_store: Arc<dyn Store>,
    pub(crate) worlds: Vec<SharedWorld>,
    directory: TempDir,
}

/// What the driver and the cluster are like.
pub(crate) struct Setup {
    pub(crate) nodes: Vec<String>,
    pub(crate) configuration: Configuration,
    pub(crate) attach_required: bool,
    pub(crate) seed: u64,
    pub(crate) mount_pods: Box<MountPodOptions>,
}

impl Setup {
    pub(crate) fn new(nodes: usize) -> Self {
        let nodes: Vec<String> = (1..=nodes).map(|number| format!("n{number}")).collect();
        // Two pods of a node with a single-writer volume are everyday business of Kubernetes.
        let configuration = Configuration { second_target: SecondTarget::Allow, ..Configuration::default() };
        let mount_pods: Box<MountPodOptions> = Box::new(|node: &str| {
            let mut options = MemoryOptions::new(node);
            options.policy.single_node_writer_second_target = SecondTarget::Allow;
            options
        });
        Self { nodes, configuration, attach_required: true, seed: 1, mount_pods }
    }
}

/// Runs a test on virtual time.
pub(crate) fn play<F: Future<Output = ()>>(test: F) {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_all().start_paused(true).build().unwrap().block_on(test);
}

impl Stage {
    pub(crate) async fn with(setup: Setup) -> Self {
        Self::with_settings(setup, |_| {}).await
    }

    pub(crate) async fn with_settings(setup: Setup, change: impl FnOnce(&mut Settings)) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let driver_store: Arc<dyn Store> = Arc::new(Memory::default());
        let content: Arc<dyn Content> =
            Arc::new(ContentDirectory::open(&directory.path().join("content"), Durability::Relaxed).unwrap());
        let script = Script::default();
        let (mut drivers, mut worlds) = (Vec::new(), Vec::new());
        for at in 0..setup.nodes.len() {
            let mut names = setup.nodes.clone();
            names.rotate_left(at);
            // A node lies in the topology of its position, as each of the drivers has to see it.
            let mut topologies = setup.configuration.topologies.clone();
            let places = topologies.len();
            topologies.rotate_left(at % places);
            let options = (setup.mount_pods)(&names[0]);
            let world = SharedWorld::of(&options);
            worlds.push(world.clone());
            let process = Process {
                configuration: Configuration { nodes: names.clone(), topologies, ..setup.configuration.clone() },
                store: driver_store.clone(),
                content: content.clone(),
                world,
                options,
                killed: Mutex::default(),
            };
            drivers.push(connect(process, &script, &names[0]).await);
        }
        let nodes = setup.nodes.iter().zip(&drivers).map(|(name, driver)| NodeSetup {
            name: name.clone(),
            driver: driver.clone(),
            root: directory.path().join(name),
        });
        let recorder = Recorder::new(Header { format: FORMAT, seed: setup.seed, ..Header::default() }, None);
        let mut settings = Settings::new(setup.seed, drivers[0].clone(), nodes.collect(), recorder.clone());
        settings.csi_driver.attach_required = setup.attach_required;
        settings.profile = Profile { capacity_bytes: 4 * MIB, expanded_bytes: 8 * MIB, ..Profile::default() };
        settings.mounts = Some(Arc::new(Reboots(setup.nodes.iter().cloned().zip(worlds.clone()).collect())));
        change(&mut settings);
        let cluster = Cluster::start(settings).await.unwrap();
        cluster.create_class(cluster.class("standard")).unwrap();
        let all = setup.nodes.len();
        cluster
            .wait_until("the nodes", LONG, |tables| {
                tables.nodes.values().filter(|node| node.registration.is_some()).count() == all
            })
            .await
            .unwrap();
        // By then all sidecars have asked what they ask at their start.
        tokio::time::sleep(Duration::from_millis(10)).await;
        Self { cluster, recorder, script, driver_store, worlds, directory }
    }

    /// The position in the history from which a trace begins.
    pub(crate) fn mark(&self) -> usize {
        self.recorder.history().events.len()
    }

    /// The directories of the kubelets, with names for them.
    pub(crate) fn roots(&self) -> Vec<(String, String)> {
        let root =
            |node: &String| (self.directory.path().join(node).to_string_lossy().into_owned(), format!("${node}"));
        self.cluster.nodes().iter().map(root).collect()
    }

    pub(crate) fn claim(&self, name: &str, access_mode: AccessMode, volume_mode: VolumeMode) {
        self.claim_of_class(name, access_mode, volume_mode, "standard");
    }

    pub(crate) fn claim_of_class(&self, name: &str, access_mode: AccessMode, volume_mode: VolumeMode, class: &str) {
        let claim = PersistentVolumeClaim {
            metadata: Metadata::named(name),
            access_modes: vec![access_mode],
            volume_mode,
            request: 4 * MIB,
            storage_class: class.into(),
            ..PersistentVolumeClaim::default()
        };
        self.cluster.create_claim(claim).unwrap();
    }

    pub(crate) fn pod(&self, name: &str, claim: &str, node: &str) {
        let volume = PodVolume::of_claim("data", claim);
        let pod = Pod {
            metadata: Metadata::named(name),
            volumes: vec![volume],
            allowed_nodes: BTreeSet::from([node.to_owned()]),
            ..Pod::default()
        };
        self.cluster.create_pod(pod).unwrap();
    }

    pub(crate) async fn until(&self, what: &str, reached: impl FnMut(&Tables) -> bool) {
        if let Err(error) = self.cluster.wait_until(what, LONG, reached).await {
            let troubles = self.cluster.context().troubles.list();
            panic!("{error}; troubles: {troubles:#?}\n{:#?}", self.cluster.store().read(Clone::clone));
        }
    }

    pub(crate) async fn bound(&self, claim: &str) {
        self.until("the claim is bound", |tables| tables.claims[claim].is_bound).await;
    }

    pub(crate) async fn running(&self, pod: &str) {
        self.until("the pod runs", |tables| tables.pods[pod].containers_run).await;
    }

    pub(crate) async fn pod_gone(&self, pod: &str) {
        self.until("the pod is gone", |tables| !tables.pods.contains_key(pod)).await;
    }

    pub(crate) async fn detached(&self) {
        self.until("nothing is attached", |tables| tables.attachments.is_empty()).await;
    }

    /// Nothing is left in the directories of the kubelets, sooner or later.
    pub(crate) async fn vacated(&self) {
        assert_eq!(self.cluster.vacated(LONG).await, BTreeSet::new());
    }

    /// Deletes claims and waits until nothing is left anywhere.
    pub(crate) async fn clean(&self, claims: &[&str]) {
        claims.iter().for_each(|claim| self.cluster.delete_claim(claim));
        self.until("nothing is left", |tables| {
            tables.claims.is_empty() && tables.volumes.is_empty() && tables.attachments.is_empty()
        })
        .await;
        self.vacated().await;
        assert_eq!(self.driver_store.volumes_after(None, 1).unwrap().len(), 0);
    }
}

/// The mounts of the nodes.
struct Reboots(BTreeMap<String, SharedWorld>);

impl NodeMounts for Reboots {
    fn lose_all(&self, node: &str) {
        self.0[node].lock().reboot();
    }
}

/// The process of a driver: each start has the node as the one before it left it.
struct Process {
    configuration: Configuration,
    store: Arc<dyn Store>,
    content: Arc<dyn Content>,
    world: SharedWorld,
    options: MemoryOptions,
    /// Ends the one that runs.
    killed: Mutex<Option<CancellationToken>>,
}

/// The mount pods of a node.
pub(crate) type MountPodOptions = dyn Fn(&str) -> MemoryOptions;

impl Process {
    fn start(&self, script: &Script) -> InProcess {
        let token = CancellationToken::new();
        let before = self.killed.lock().unwrap().replace(token.clone());
        if let Some(before) = before {
            before.cancel();
        }
        let reference = Reference::new(Parts {
            mount_pods: Arc::new(MemoryMountPods::on(self.world.clone(), self.options.clone())),
            configuration: self.configuration.clone(),
            store: self.store.clone(),
            content: self.content.clone(),
            clock: Arc::new(SystemClock),
            identifiers: Arc::new(OrderedIdentifiers::default()),
        })
        .unwrap();
        reference.recover().unwrap();
        script.before(reference.routes()).until(token)
    }
}

async fn connect(process: Process, script: &Script, label: &str) -> Arc<Driver> {
    let script = script.clone();
    let lane = Lane::InProcess(Arc::new(move || process.start(&script)));
    let driver = Driver::connect(Target::Plugin(lane), &Profile::default(), Duration::from_secs(1)).await.unwrap();
    Arc::new(driver.on_node(label))
}

/// Another volume object of the volume, which nobody claims.
pub(super) fn twin(made: &PersistentVolume, name: &str) -> PersistentVolume {
    PersistentVolume {
        metadata: Metadata::named(name),
        storage_class: name.into(),
        reclaim_policy: ReclaimPolicy::Retain,
        claim: None,
        phase: Default::default(),
        ..made.clone()
    }
}
