//! What a cluster is made of, and why it cannot be used.

use std::{collections::BTreeSet, path::PathBuf, sync::Arc, time::Duration};

use thiserror::Error;

use crate::{
    history::Recorder,
    orchestrator::{
        context::{Nemesis, Peace},
        departure::Departure,
        object::CsiDriver,
        store::StoreError,
        timing::Timing,
    },
    sut::{Driver, Profile},
};

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
