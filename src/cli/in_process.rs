//! The built-in driver on several nodes of this process, with simulated mounts, and what its pods have of them.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio_util::sync::CancellationToken;
use tonic::service::Routes;

use super::exit::Failure;
use crate::{
    driver::{
        Configuration, Driver as Reference, Parts,
        clock::SystemClock,
        content::{Content, ContentDirectory, Durability},
        identifier::OrderedIdentifiers,
        store::{Memory, Store},
    },
    mountpod::{
        MountPods, Protocol, TargetPath, annotations,
        memory::{Layer, MemoryMountPods, MemoryOptions, PodApiRequest, PodApiWatcher, SharedWorld},
        protocol::DaemonId,
    },
    orchestrator::{Dice, NodeMounts, NodeSetup, Tables},
    sut::{Driver, InProcess, Lane, Profile, Target},
};

/// What a driver over a published protocol is without: the driver that it was published for neither stages nor attaches.
const WITHOUT: [&str; 2] = ["Controller.PUBLISH_UNPUBLISH_VOLUME", "Node.STAGE_UNSTAGE_VOLUME"];

/// How long an answer of the pod API is on its way at most, under a published protocol.
const SLOWEST_ANSWER: Duration = Duration::from_secs(2);

/// How long a daemon takes to start, under a published protocol: now and then longer than its publish waits.
const DAEMON_START: Duration = Duration::from_secs(31);

/// Answers of the pod API that take their time, as chance will have it.
struct SlowAnswers(Dice);

impl PodApiWatcher for SlowAnswers {
    fn took_effect(&self, _: PodApiRequest<'_>) -> Duration {
        SLOWEST_ANSWER.mul_f64(self.0.below(1000) as f64 / 1000.0)
    }
}

/// What mounts are on a node.
pub(super) enum Mounts {
    /// Simulated ones, their references counted by this protocol.
    Simulated(Protocol),
    /// Real ones, of FUSE daemons and loop devices.
    Real,
}

/// Makes the mount pods of a node, over what is on it already.
type MakeMountPods = Box<dyn Fn() -> Result<Arc<dyn MountPods>, Failure> + Send + Sync>;

/// The driver of one node; each start finds the node as the one before it left it.
struct Process {
    configuration: Configuration,
    store: Arc<dyn Store>,
    content: Arc<dyn Content>,
    mount_pods: MakeMountPods,
    /// Ends the one that runs.
    killed: Mutex<Option<CancellationToken>>,
}

impl Process {
    fn reference(&self) -> Result<Reference, Failure> {
        let reference = Reference::new(Parts {
            configuration: self.configuration.clone(),
            store: self.store.clone(),
            content: self.content.clone(),
            mount_pods: (self.mount_pods)()?,
            clock: Arc::new(SystemClock),
            identifiers: Arc::new(OrderedIdentifiers::default()),
        })
        .map_err(Failure::ours)?;
        reference.recover().map_err(Failure::ours)?;
        Ok(reference)
    }

    /// The service of a new process; the one before it is killed.
    fn start(&self, first: &Mutex<Option<Reference>>) -> InProcess {
        let token = CancellationToken::new();
        let before = self.killed.lock().unwrap_or_else(PoisonError::into_inner).replace(token.clone());
        if let Some(before) = before {
            before.cancel();
        }
        let first = first.lock().unwrap_or_else(PoisonError::into_inner).take();
        match first.map_or_else(|| self.reference(), Ok) {
            Ok(reference) => InProcess::new(reference.routes()).until(token),
            // A driver that does not start again answers nothing more.
            Err(failure) => {
                tracing::error!("the built-in driver does not start again: {failure}");
                token.cancel();
                InProcess::new(Routes::default()).until(token)
            }
        }
    }
}

/// The nodes of the cluster.
pub(super) struct Nodes {
    pub(super) setups: Vec<NodeSetup>,
    /// Where mounts are simulated.
    pub(super) witness: Option<Arc<MountWitness>>,
}

/// Starts the driver on nodes of these names, with their kubelets below a directory.
///
/// # Errors
///
/// When the directory cannot be used.
pub(super) async fn nodes(names: &[String], mounts: Mounts, seed: u64, below: &Path) -> Result<Nodes, Failure> {
    let store = Arc::new(Memory::default());
    let content = ContentDirectory::open(&below.join("content"), Durability::Relaxed).map_err(Failure::usage)?;
    let content = Arc::new(content);
    let protocol = match mounts {
        Mounts::Simulated(protocol) => protocol,
        Mounts::Real => Protocol::Current,
    };
    let without = if protocol == Protocol::Current { &[][..] } else { &WITHOUT[..] };
    let without: Result<BTreeSet<_>, _> = without.iter().map(|name| name.parse()).collect();
    let without = without.map_err(Failure::ours)?;
    let (mut setups, mut witnessed) = (Vec::new(), BTreeMap::new());
    for (at, name) in names.iter().enumerate() {
        let mut all = names.to_vec();
        all.rotate_left(at);
        let root = below.join(name);
        let mount_pods: MakeMountPods = match mounts {
            Mounts::Real => real_mounts(below.join(format!("{name}-mount-pods")), name.clone()),
            Mounts::Simulated(_) => {
                let mut options = MemoryOptions { protocol, ..MemoryOptions::new(name.clone()) };
                if protocol != Protocol::Current {
                    options.watcher = Some(Arc::new(SlowAnswers(Dice::new(seed ^ at as u64))));
                    options.daemon_start = DAEMON_START;
                }
                let world = SharedWorld::of(&options);
                witnessed.insert(name.clone(), (root.clone(), world.clone()));
                Box::new(move || Ok(Arc::new(MemoryMountPods::on(world.clone(), options.clone()))))
            }
        };
        let process = Process {
            configuration: Configuration { nodes: all, without: without.clone(), ..Configuration::default() },
            store: store.clone(),
            content: content.clone(),
            mount_pods,
            killed: Mutex::default(),
        };
        // Made here, so that what is wrong with it is told.
        let first = Mutex::new(Some(process.reference()?));
        let lane = Lane::InProcess(Arc::new(move || process.start(&first)));
        let driver = Driver::connect(Target::Plugin(lane), &Profile::default(), Duration::from_secs(1)).await;
        let driver = Arc::new(driver.map_err(Failure::ours)?.on_node(name));
        setups.push(NodeSetup { name: name.clone(), driver, root });
    }
    let witness = MountWitness { nodes: witnessed, seen: Mutex::default() };
    Ok(Nodes { setups, witness: (!witness.nodes.is_empty()).then(|| Arc::new(witness)) })
}

#[cfg(target_os = "linux")]
fn real_mounts(state: PathBuf, node: String) -> MakeMountPods {
    use crate::mountpod::process::{ProcessMountPods, ProcessOptions};
    Box::new(move || {
        let mount_pods = ProcessMountPods::start(ProcessOptions::new(&state, &node));
        Ok(Arc::new(mount_pods.map_err(Failure::usage)?))
    })
}

#[cfg(not(target_os = "linux"))]
fn real_mounts(_: PathBuf, _: String) -> MakeMountPods {
    Box::new(|| Err(Failure::usage("real mounts need Linux: leave --runtime process out")))
}

/// Sees what the containers of pods have of their mounts: that with which they have started, whatever is mounted on the
/// host later.
pub(super) struct MountWitness {
    nodes: BTreeMap<String, (PathBuf, SharedWorld)>,
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    /// The daemons behind the mounts of containers that run, by the identity of the pod.
    running: BTreeMap<String, Vec<(TargetPath, DaemonId)>>,
    lost: BTreeMap<String, String>,
}

impl MountWitness {
    /// Looks at all pods.
    pub(super) fn look(&self, tables: &Tables) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let running = tables.pods.values().filter(|pod| pod.containers_run);
        let mut still = BTreeSet::new();
        for pod in running {
            let Some((root, world)) = self.nodes.get(&pod.node_name) else { continue };
            let uid = pod.metadata.uid.clone();
            still.insert(uid.clone());
            let below = root.join("pods").join(&uid);
            let mounts = seen.running.entry(uid).or_insert_with(|| {
                let world = world.lock();
                let here = world.layers.iter().filter(|(target, _)| target.as_path().starts_with(&below));
                let top = |(target, layers): (&TargetPath, &Vec<Layer>)| {
                    Some((target.clone(), layers.last()?.daemon.clone()?))
                };
                here.filter_map(top).collect()
            });
            let lost = mounts.iter().find(|(_, daemon)| !world.lock().is_alive(daemon)).cloned();
            if let Some((target, daemon)) = lost {
                let name = format!("pod {}", pod.metadata.name);
                let text = format!("{name} lost the mount at {target} while it ran: daemon {daemon} has ended");
                seen.lost.entry(name).or_insert(text);
            }
        }
        seen.running.retain(|uid, _| still.contains(uid));
    }

    /// What went wrong, by object: lost mounts, and mount pods that are left when all pods are gone.
    pub(super) fn report(&self) -> BTreeMap<String, String> {
        let mut report = self.seen.lock().unwrap_or_else(PoisonError::into_inner).lost.clone();
        for (node, (_, world)) in &self.nodes {
            for pod in world.lock().pods.values() {
                let references: Vec<String> =
                    annotations::references(pod).into_iter().map(|one| one.target.to_string()).collect();
                let text = match references.is_empty() {
                    true => format!("mount pod {} is left on {node} and nothing refers to it", pod.name),
                    false => {
                        format!("mount pod {} is left on {node}, referred to by {}", pod.name, references.join(", "))
                    }
                };
                report.insert(format!("mount pod {}", pod.name), text);
            }
        }
        report
    }
}

impl NodeMounts for MountWitness {
    fn lose_all(&self, node: &str) {
        if let Some((_, world)) = self.nodes.get(node) {
            world.lock().reboot();
        }
    }
}
