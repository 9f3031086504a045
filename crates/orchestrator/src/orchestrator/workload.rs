//! A random workload: claims, pods, snapshots, expansions and deletions, with faults beside them, all from one seed.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::time::{Instant, sleep};

use super::{
    cluster::{Cluster, ClusterError},
    context::{Fate, Nemesis},
    dice::Dice,
    names,
    object::{
        AccessMode, DataSource, Metadata, PersistentVolume, PersistentVolumeClaim, Pod, PodVolume, ReclaimPolicy,
        StorageClass, VolumeGroupSnapshot, VolumeMode, VolumeSnapshot, VolumeSnapshotContent,
    },
    outcome::{Stuck, WorkloadOutcome, has_settled, leftovers, stuck_pods, waiting_pods},
    store::{Store, Tables},
};
use crate::history::Request;

/// The longest pause between two actions, in the cluster's time.
const LONGEST_PAUSE: Duration = Duration::from_secs(20);

/// How long all pods may take to run after the faults have stopped: longer than any back-off upstream.
const CONVERGENCE: Duration = Duration::from_secs(3600);

/// How long a node stays lost at least: longer than it takes to detach its volumes by force.
const NODE_LOSS: Duration = Duration::from_secs(400);

/// How long a node takes to boot.
const REBOOT: Duration = Duration::from_secs(40);

/// A kind of fault.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, clap::ValueEnum)]
pub enum FaultKind {
    /// Kubelets are restarted.
    KubeletRestart,
    /// Sidecars and the attach/detach controller are restarted.
    SidecarRestart,
    /// Nodes reboot: their mounts are gone, their pods start again in place.
    NodeReboot,
    /// Drivers are killed and started again.
    DriverRestart,
    /// Nodes are lost and come back after their volumes were detached by force.
    NodeLoss,
    /// Answers of the driver get lost.
    LostAnswers,
    /// Callers give up before the driver has answered.
    Impatience,
}

/// A workload.
#[derive(Clone, Debug)]
pub struct Workload {
    /// The seed.
    pub seed: u64,
    /// How many pods are created.
    pub pods: usize,
    /// How many claims are created.
    pub volumes: usize,
    /// Which faults happen.
    pub faults: BTreeSet<FaultKind>,
    /// How the volumes may be used.
    pub access_modes: Vec<AccessMode>,
    /// How the volumes may appear.
    pub volume_modes: Vec<VolumeMode>,
    /// Whether snapshots are cut and restored.
    pub snapshots: bool,
    /// The class of the snapshots; empty for the profile's parameters.
    pub snapshot_class: String,
    /// Whether claims grow.
    pub expansions: bool,
}

/// Makes answers get lost, and callers impatient, as long as it is not told to stop.
#[derive(Clone, Debug)]
pub struct RandomNemesis {
    dice: Dice,
    faults: BTreeSet<FaultKind>,
    is_active: Arc<AtomicBool>,
}

impl RandomNemesis {
    /// In every hundred calls, so many lose their answer.
    const LOST: usize = 5;
    /// In every hundred calls, so many meet an impatient caller.
    const HURRIED: usize = 3;

    /// A nemesis of these faults.
    pub fn new(seed: u64, faults: &BTreeSet<FaultKind>) -> Self {
        let dice = Dice::new(seed ^ 0x6e65_6d65_7369_7321);
        Self { dice, faults: faults.clone(), is_active: Arc::new(AtomicBool::new(true)) }
    }

    /// From now on nothing is done to calls.
    pub fn stop(&self) {
        self.is_active.store(false, Ordering::Relaxed);
    }
}

impl Nemesis for RandomNemesis {
    fn fate(&self, _: &Request) -> Fate {
        if !self.is_active.load(Ordering::Relaxed) {
            return Fate::Calm;
        }
        if self.faults.contains(&FaultKind::LostAnswers) && self.dice.percent(Self::LOST) {
            return Fate::LoseAnswer;
        }
        if self.faults.contains(&FaultKind::Impatience) && self.dice.percent(Self::HURRIED) {
            return Fate::Hurry(Duration::from_millis(1 + self.dice.below(20) as u64));
        }
        Fate::Calm
    }
}

/// Tells how a workload goes on.
pub trait Watcher: Send + Sync {
    /// Something was done.
    fn acted(&self, what: &str, tables: &Tables);
}

/// What is done next.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Action {
    CreateClaim,
    CreatePod,
    DeletePod,
    DeleteClaim,
    Snapshot,
    Expand,
    RestartKubelet,
    RestartSidecar,
    LoseNode,
    RebootNode,
    RestartDriver,
}

/// A workload under way.
struct Play<'a> {
    workload: &'a Workload,
    cluster: &'a mut Cluster,
    dice: Dice,
    claims: usize,
    pods: usize,
    snapshots: usize,
    actions: usize,
    faults: usize,
}

impl Workload {
    /// The name of the class of its claims, which it makes where there is none.
    pub const CLASS: &'static str = "standard";

    /// Plays the workload, lets the cluster settle, takes everything away again, and says what did not come about.
    ///
    /// # Errors
    ///
    /// When objects cannot be written, which is a fault of our own.
    pub async fn play(
        &self,
        cluster: &mut Cluster,
        nemesis: &RandomNemesis,
        watcher: &dyn Watcher,
    ) -> Result<WorkloadOutcome, ClusterError> {
        let class: StorageClass = cluster.class(Self::CLASS);
        let size = cluster.context().profile.capacity_bytes;
        if cluster.store().get::<StorageClass>(Self::CLASS).is_none() {
            cluster.create_class(class)?;
        }
        let began = Instant::now();
        let dice = Dice::new(self.seed);
        let mut play = Play { workload: self, cluster, dice, claims: 0, pods: 0, snapshots: 0, actions: 0, faults: 0 };
        while play.claims < self.volumes || play.pods < self.pods {
            let action = play.draw();
            let what = play.act(action, size).await?;
            if let Some(what) = what {
                play.cluster.store().read(|tables| watcher.acted(&what, tables));
            }
            let pause = LONGEST_PAUSE.mul_f64(play.dice.below(1000) as f64 / 1000.0);
            sleep(play.cluster.context().timing.of(pause)).await;
        }
        nemesis.stop();
        let (claims, pods, snapshots, faults) = (play.claims, play.pods, play.snapshots, play.faults);
        for node in cluster.nodes() {
            cluster.start_kubelet(&node)?;
        }
        let settled = cluster.wait_until("all pods run", CONVERGENCE, has_settled).await;
        cluster.store().read(|tables| watcher.acted("faults have stopped", tables));
        let mut stuck: Vec<Stuck> = match settled {
            Ok(()) => Vec::new(),
            Err(_) => stuck_pods(cluster.context()),
        };
        let waiting = waiting_pods(cluster.context());
        let (steady_after, steady) = (began.elapsed(), Instant::now());
        let running = cluster.store().read(|tables| tables.pods.values().filter(|pod| pod.containers_run).count());
        stuck.extend(tear_down(cluster).await);
        cluster.store().read(|tables| watcher.acted("everything was deleted", tables));
        let gone_after = steady.elapsed();
        Ok(WorkloadOutcome { claims, pods, snapshots, faults, running, steady_after, gone_after, waiting, stuck })
    }
}

/// Deletes everything, and waits; what is left when the time is up.
pub async fn tear_down(cluster: &mut Cluster) -> Vec<Stuck> {
    for node in cluster.nodes() {
        // A node that is there has a kubelet, and one that runs goes on.
        let _ = cluster.start_kubelet(&node);
    }
    let (pods, snapshots, claims) = cluster.store().read(|tables| {
        let pods: Vec<String> = tables.pods.keys().cloned().collect();
        let snapshots: Vec<String> = tables.snapshots.keys().cloned().collect();
        (pods, snapshots, tables.claims.keys().cloned().collect::<Vec<_>>())
    });
    pods.iter().for_each(|name| cluster.delete_pod(name));
    retain_nothing_of_ours(cluster.store());
    let groups = cluster.store().list::<VolumeGroupSnapshot>();
    groups.iter().for_each(|group| cluster.store().delete::<VolumeGroupSnapshot>(&group.metadata.name));
    snapshots.iter().for_each(|name| cluster.store().delete::<VolumeSnapshot>(name));
    claims.iter().for_each(|name| cluster.delete_claim(name));
    let is_empty = |tables: &Tables| {
        tables.pods.is_empty()
            && tables.claims.is_empty()
            && tables.volumes.is_empty()
            && tables.attachments.is_empty()
            && tables.snapshots.is_empty()
            && tables.snapshot_contents.is_empty()
            && tables.group_snapshots.is_empty()
            && tables.group_snapshot_contents.is_empty()
            && tables.nodes.values().all(|node| node.volumes_in_use.is_empty())
    };
    // What is left says more than that time ran out.
    let remains = match cluster.wait_until("nothing is left", CONVERGENCE, is_empty).await {
        Ok(()) => cluster.vacated(CONVERGENCE).await,
        Err(_) => cluster.remains(),
    };
    leftovers(cluster.context(), &remains)
}

/// What was made here goes with its objects, whatever its class says; what was there before stays with the driver, and only
/// its objects go.
fn retain_nothing_of_ours(store: &Store) {
    for volume in store.list::<PersistentVolume>() {
        let name = &volume.metadata.name;
        // Objects that vanish meanwhile are gone.
        if volume.metadata.annotations.contains_key(names::PROVISIONED_BY) {
            let _ = store.modify(name, |volume: &mut PersistentVolume| {
                volume.reclaim_policy = ReclaimPolicy::Delete;
                volume.metadata.finalizers.insert(names::PROVISIONER_FINALIZER.to_owned());
            });
        } else {
            store.delete::<PersistentVolume>(name);
        }
    }
    for content in store.list::<VolumeSnapshotContent>() {
        let name = &content.metadata.name;
        if content.source_handle.is_empty() {
            let stay = |content: &mut VolumeSnapshotContent| content.deletion_policy = ReclaimPolicy::Retain;
            let _ = store.modify(name, stay);
            store.delete::<VolumeSnapshotContent>(name);
        } else {
            let go = |content: &mut VolumeSnapshotContent| content.deletion_policy = ReclaimPolicy::Delete;
            let _ = store.modify(name, go);
        }
    }
}

impl Play<'_> {
    fn draw(&mut self) -> Action {
        let faults = &self.workload.faults;
        let mut choices = Vec::new();
        let mut weigh = |action: Action, weight: usize| choices.extend(std::iter::repeat_n(action, weight));
        if self.claims < self.workload.volumes {
            weigh(Action::CreateClaim, 6);
        }
        if self.pods < self.workload.pods && self.claims > 0 {
            weigh(Action::CreatePod, 8);
        }
        weigh(Action::DeletePod, 3);
        weigh(Action::DeleteClaim, 1);
        if self.workload.snapshots {
            weigh(Action::Snapshot, 1);
        }
        if self.workload.expansions {
            weigh(Action::Expand, 1);
        }
        if faults.contains(&FaultKind::KubeletRestart) {
            weigh(Action::RestartKubelet, 1);
        }
        if faults.contains(&FaultKind::SidecarRestart) {
            weigh(Action::RestartSidecar, 1);
        }
        if faults.contains(&FaultKind::NodeReboot) && self.cluster.can_reboot() {
            weigh(Action::RebootNode, 1);
        }
        if faults.contains(&FaultKind::DriverRestart) {
            weigh(Action::RestartDriver, 1);
        }
        if faults.contains(&FaultKind::NodeLoss) && self.actions % 10 == 9 {
            weigh(Action::LoseNode, 2);
        }
        self.actions += 1;
        self.dice.pick(&choices).copied().unwrap_or(Action::CreateClaim)
    }

    /// Does it where it makes sense; what was done, for people.
    async fn act(&mut self, action: Action, size: i64) -> Result<Option<String>, ClusterError> {
        match action {
            Action::CreateClaim => self.create_claim(size).map(Some),
            Action::CreatePod => self.create_pod(),
            Action::DeletePod => Ok(self.delete_pod()),
            Action::DeleteClaim => Ok(self.delete_claim()),
            Action::Snapshot => self.snapshot(),
            Action::Expand => Ok(self.expand(size)),
            Action::RestartKubelet => self.restart_kubelet().await,
            Action::RestartSidecar => Ok(self.restart_sidecar()),
            Action::LoseNode => self.lose_node().await,
            Action::RebootNode => self.reboot_node().await,
            Action::RestartDriver => self.restart_driver().await,
        }
    }

    fn names<T>(&self, of: impl Fn(&Tables) -> Vec<T>) -> Vec<T> {
        self.cluster.store().read(of)
    }

    fn create_claim(&mut self, size: i64) -> Result<String, ClusterError> {
        self.claims += 1;
        let name = format!("claim-{}", self.claims);
        let ready = self.names(|tables| {
            let ready = tables.snapshots.values().filter(|one| one.is_ready && !one.metadata.is_deleting());
            ready.map(|one| (one.metadata.name.clone(), one.restore_size, one.claim.clone())).collect()
        });
        let mut claim = PersistentVolumeClaim {
            metadata: Metadata::named(&name),
            access_modes: self.dice.pick(&self.workload.access_modes).copied().into_iter().collect(),
            volume_mode: self.dice.pick(&self.workload.volume_modes).copied().unwrap_or_default(),
            request: size,
            storage_class: Workload::CLASS.to_owned(),
            ..PersistentVolumeClaim::default()
        };
        if self.dice.percent(30)
            && let Some((snapshot, restore_size, source)) = self.dice.pick(&ready)
            && let Some(source) = self.cluster.store().get::<PersistentVolumeClaim>(source)
        {
            claim.data_source = Some(DataSource::Snapshot(snapshot.clone()));
            claim.request = size.max(*restore_size);
            claim.volume_mode = source.volume_mode;
        }
        self.cluster.create_claim(claim)?;
        Ok(format!("{name} is claimed"))
    }

    fn create_pod(&mut self) -> Result<Option<String>, ClusterError> {
        let claims = self.names(|tables| {
            let usable = tables.claims.values().filter(|claim| !claim.metadata.is_deleting());
            usable.map(|claim| (claim.metadata.name.clone(), claim.access_modes.clone())).collect()
        });
        let Some((claim, modes)) = self.dice.pick(&claims) else { return Ok(None) };
        let users = self.names(|tables| {
            let users = tables.pods.values().filter(|pod| pod.has_claim(claim));
            users.map(|pod| pod.allowed_nodes.clone()).collect()
        });
        let is_alone = modes.contains(&AccessMode::ReadWriteOncePod);
        if is_alone && !users.is_empty() {
            return Ok(None);
        }
        // Pods that share a volume of one node are sent to that node, as their owners would see to.
        let anywhere = self.dice.pick(&self.cluster.nodes()).cloned().into_iter().collect();
        let is_shared = modes.contains(&AccessMode::ReadWriteMany) || modes.contains(&AccessMode::ReadOnlyMany);
        let allowed_nodes = if is_shared { anywhere } else { users.first().cloned().unwrap_or(anywhere) };
        self.pods += 1;
        let name = format!("pod-{}", self.pods);
        let read_only = modes.contains(&AccessMode::ReadOnlyMany);
        let volume = PodVolume { read_only, ..PodVolume::of_claim("data", claim) };
        let pod = Pod { metadata: Metadata::named(&name), allowed_nodes, volumes: vec![volume], ..Pod::default() };
        self.cluster.create_pod(pod)?;
        Ok(Some(format!("{name} with {claim} is created")))
    }

    fn delete_pod(&self) -> Option<String> {
        let pods = self.names(|tables| tables.pods.keys().cloned().collect());
        let name = self.dice.pick(&pods)?;
        self.cluster.delete_pod(name);
        Some(format!("{name} is deleted"))
    }

    /// Only claims that no pod uses, so that every pod can run in the end.
    fn delete_claim(&self) -> Option<String> {
        let unused = self.names(|tables| {
            if tables.claims.values().filter(|claim| !claim.metadata.is_deleting()).count() < 2 {
                return Vec::new();
            }
            let is_used = |name: &str| {
                tables.pods.values().any(|pod| pod.has_claim(name))
                    || tables.snapshots.values().any(|snapshot| snapshot.claim == name && !snapshot.is_ready)
            };
            tables.claims.keys().filter(|name| !is_used(name)).cloned().collect::<Vec<_>>()
        });
        let name = self.dice.pick(&unused)?;
        self.cluster.delete_claim(name);
        Some(format!("{name} is deleted"))
    }

    fn snapshot(&mut self) -> Result<Option<String>, ClusterError> {
        let bound = self.names(|tables| {
            let bound = tables.claims.values().filter(|claim| claim.is_bound && !claim.metadata.is_deleting());
            bound.map(|claim| claim.metadata.name.clone()).collect::<Vec<_>>()
        });
        let Some(claim) = self.dice.pick(&bound) else { return Ok(None) };
        self.snapshots += 1;
        let name = format!("snapshot-{}", self.snapshots);
        self.cluster.create_snapshot(&name, claim, &self.workload.snapshot_class)?;
        Ok(Some(format!("{name} of {claim} is cut")))
    }

    fn expand(&self, size: i64) -> Option<String> {
        let bound = self.names(|tables| {
            let bound = tables.claims.values().filter(|claim| claim.is_bound && !claim.metadata.is_deleting());
            bound.map(|claim| claim.metadata.name.clone()).collect::<Vec<_>>()
        });
        let name = self.dice.pick(&bound)?;
        let grow = |claim: &mut PersistentVolumeClaim| claim.request += size;
        // A claim that is gone by now needs no room.
        let _ = self.cluster.store().modify(name, grow);
        Some(format!("{name} is to grow"))
    }

    async fn restart_kubelet(&mut self) -> Result<Option<String>, ClusterError> {
        let nodes = self.cluster.nodes();
        let Some(node) = self.dice.pick(&nodes) else { return Ok(None) };
        self.cluster.stop_kubelet(node).await?;
        self.cluster.start_kubelet(node)?;
        self.faults += 1;
        Ok(Some(format!("the kubelet of {node} restarts")))
    }

    fn restart_sidecar(&mut self) -> Option<String> {
        let sidecars = self.cluster.sidecars();
        let name = self.dice.pick(&sidecars)?;
        self.cluster.restart_sidecar(name);
        self.faults += 1;
        Some(format!("{name} restarts"))
    }

    async fn reboot_node(&mut self) -> Result<Option<String>, ClusterError> {
        let nodes = self.cluster.nodes();
        let Some(node) = self.dice.pick(&nodes) else { return Ok(None) };
        self.cluster.reboot_node(node).await?;
        self.faults += 1;
        sleep(self.cluster.context().timing.of(REBOOT)).await;
        self.cluster.start_kubelet(node)?;
        Ok(Some(format!("{node} has rebooted")))
    }

    async fn restart_driver(&mut self) -> Result<Option<String>, ClusterError> {
        let nodes = self.cluster.nodes();
        let restartable: Vec<String> = nodes.into_iter().filter(|node| self.cluster.can_restart_driver(node)).collect();
        let Some(node) = self.dice.pick(&restartable) else { return Ok(None) };
        self.cluster.restart_driver(node).await?;
        self.faults += 1;
        Ok(Some(format!("the driver of {node} was killed and is back")))
    }

    /// A node is lost, its pods are removed by force, and it comes back.
    async fn lose_node(&mut self) -> Result<Option<String>, ClusterError> {
        let nodes = self.cluster.nodes();
        let Some(node) = self.dice.pick(&nodes).filter(|_| nodes.len() > 1) else { return Ok(None) };
        self.cluster.lose_node(node).await?;
        self.faults += 1;
        let is_out_of_service = self.dice.percent(50);
        let pods = self.names(|tables| {
            let there = tables.pods.values().filter(|pod| pod.node_name == *node);
            there.map(|pod| pod.metadata.name.clone()).collect::<Vec<_>>()
        });
        if is_out_of_service {
            self.cluster.set_out_of_service(node, true)?;
        }
        pods.iter().for_each(|pod| self.cluster.force_delete_pod(pod));
        sleep(self.cluster.context().timing.of(NODE_LOSS)).await;
        self.cluster.set_out_of_service(node, false)?;
        self.cluster.start_kubelet(node)?;
        Ok(Some(format!("{node} was lost and is back")))
    }
}
