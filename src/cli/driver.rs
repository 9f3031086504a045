//! `csi-certify driver`: the reference driver alone, on a Unix socket.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use clap::{Args, ValueEnum};
use thiserror::Error;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::{
    driver::{
        BadConfiguration, Configuration, Expansion, Parts,
        capability::Capability,
        clock::SystemClock,
        content::{ContentDirectory, Durability},
        identifier::OrderedIdentifiers,
        server::{ListenAddress, Listener, ServeError, serve},
        size::Sizes,
        store::{Database, StoreError},
        topology::Topology,
    },
    faults::{self, Assembled, UnknownFault},
    mountpod::{
        MountPods,
        admission::SecondTarget,
        memory::{MemoryMountPods, MemoryOptions},
        protocol::Policy,
    },
};

/// The settings of `csi-certify driver`.
#[derive(Args, Clone, Debug)]
pub struct DriverArguments {
    /// Where to listen: unix:///absolute/path.sock
    #[arg(long, env = "CSI_ENDPOINT")]
    pub endpoint: String,
    /// Where records and volume content are kept; made when it is missing
    #[arg(long)]
    pub state_dir: PathBuf,
    /// What serves the mount pods
    #[arg(long, value_enum, default_value_t = Runtime::Process)]
    pub runtime: Runtime,
    /// A node that volumes can be attached to; the first is this one
    #[arg(long = "node-id")]
    pub node_ids: Vec<String>,
    /// A capability to leave out, such as Controller.CLONE_VOLUME
    #[arg(long, value_name = "CAPABILITY")]
    pub without: Vec<Capability>,
    /// A topology with a pool, as key=value[,key=value]; the first is this node's, the nodes are spread over all
    #[arg(long = "topology")]
    pub topologies: Vec<Topology>,
    /// How many volumes can be attached to a node; 0 for any number
    #[arg(long)]
    pub max_volumes_per_node: Option<u32>,
    /// The size of the pool of each topology, such as 10Ti
    #[arg(long, value_parser = size)]
    pub pool_capacity: Option<u64>,
    /// The least size of a volume, such as 1Mi
    #[arg(long, value_parser = size)]
    pub minimum_volume_size: Option<u64>,
    /// The greatest size of a volume, such as 1Ti
    #[arg(long, value_parser = size)]
    pub maximum_volume_size: Option<u64>,
    /// Sizes are multiples of this
    #[arg(long, value_parser = size)]
    pub allocation_unit: Option<u64>,
    /// Whether volumes grow while they are published
    #[arg(long, value_enum)]
    pub expansion: Option<Expansion>,
    /// How long a mount pod outlives its last reference, such as 500ms or 10s
    #[arg(long, value_parser = duration)]
    pub delete_delay: Option<Duration>,
    /// What a second target of a single-node access mode gets on the same node
    #[arg(long, value_enum)]
    pub single_node_writer_second_target: Option<SecondTarget>,
    /// A fault to commit, or a legal variant to be, as listed by `csi-certify faults`
    #[arg(long, value_name = "ID")]
    pub fault: Option<String>,
}

/// What serves the mount pods.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub enum Runtime {
    /// Nothing is really mounted.
    Memory,
    /// A FUSE process or a loop device for each pod.
    Process,
}

/// Why the driver could not start, or stopped.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum DriverFailure {
    /// The settings contradict each other.
    #[error(transparent)]
    Configuration(#[from] BadConfiguration),
    /// The state directory cannot be used.
    #[error("cannot use the state directory {0}: {1}")]
    StateDirectory(PathBuf, #[source] io::Error),
    /// The store cannot be opened.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The mount pods cannot be served.
    #[error("the {0:?} runtime cannot serve mount pods: {1}")]
    Runtime(Runtime, String),
    /// There is no such fault.
    #[error(transparent)]
    Fault(#[from] UnknownFault),
    /// The socket cannot be served.
    #[error(transparent)]
    Serve(#[from] ServeError),
    /// The signals cannot be watched.
    #[error("cannot watch for signals: {0}")]
    Signals(#[source] io::Error),
}

/// Runs the driver until SIGTERM or SIGINT.
pub async fn run(arguments: DriverArguments) -> Result<(), DriverFailure> {
    let mount_pods = mount_pods(&arguments)?;
    let shutdown = CancellationToken::new();
    let mut terminate = signal(SignalKind::terminate()).map_err(DriverFailure::Signals)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(DriverFailure::Signals)?;
    let signalled = shutdown.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        signalled.cancel();
    });
    run_until(arguments, mount_pods, shutdown).await
}

/// Runs the driver over these mount pods until the token is cancelled.
pub async fn run_until(
    arguments: DriverArguments,
    mount_pods: Arc<dyn MountPods>,
    shutdown: CancellationToken,
) -> Result<(), DriverFailure> {
    let address: ListenAddress = arguments.endpoint.parse()?;
    let configuration = arguments.configuration();
    configuration.check()?;
    let state_directory = &arguments.state_dir;
    let unusable = |error| DriverFailure::StateDirectory(state_directory.clone(), error);
    fs::create_dir_all(state_directory).map_err(unusable)?;
    let store = Database::open(&state_directory.join("store.redb"))?;
    let content = content(state_directory).map_err(unusable)?;
    let base = Parts {
        configuration,
        store: Arc::new(store),
        content: Arc::new(content),
        mount_pods,
        clock: Arc::new(SystemClock),
        identifiers: Arc::new(OrderedIdentifiers::default()),
    };
    let seeded = arguments.fault.as_deref().map(faults::find).transpose()?;
    let Assembled { driver, routes } = Assembled::new(&base, seeded.as_ref())?;
    // After the store, which only one process can have: whoever loses leaves the socket alone.
    let listener = Listener::bind(&address)?;
    Ok(serve(driver, routes, listener, shutdown).await?)
}

/// The mount pods of this node.
fn mount_pods(arguments: &DriverArguments) -> Result<Arc<dyn MountPods>, DriverFailure> {
    let configuration = arguments.configuration();
    let policy = Policy {
        single_node_writer_second_target: configuration.second_target,
        delete_delay: (!configuration.delete_delay.is_zero()).then_some(configuration.delete_delay),
        ..Policy::default()
    };
    match arguments.runtime {
        Runtime::Memory => {
            let options = MemoryOptions { policy, ..MemoryOptions::new(configuration.node_id()) };
            Ok(Arc::new(MemoryMountPods::new(options)))
        }
        Runtime::Process => process_mount_pods(arguments, configuration.node_id(), policy),
    }
}

#[cfg(target_os = "linux")]
fn process_mount_pods(
    arguments: &DriverArguments,
    node: &str,
    policy: Policy,
) -> Result<Arc<dyn MountPods>, DriverFailure> {
    use crate::mountpod::process::{ProcessMountPods, ProcessOptions};
    let options = ProcessOptions { policy, ..ProcessOptions::new(arguments.state_dir.join("pods"), node) };
    let failed = |error: &dyn std::fmt::Display| DriverFailure::Runtime(arguments.runtime, error.to_string());
    let pods = ProcessMountPods::start(options).map_err(|error| failed(&error))?;
    Ok(Arc::new(pods))
}

#[cfg(not(target_os = "linux"))]
fn process_mount_pods(
    arguments: &DriverArguments,
    _node: &str,
    _policy: Policy,
) -> Result<Arc<dyn MountPods>, DriverFailure> {
    Err(DriverFailure::Runtime(arguments.runtime, "it needs Linux: use --runtime memory".into()))
}

fn content(state_directory: &Path) -> io::Result<ContentDirectory> {
    ContentDirectory::open(&state_directory.join("content"), Durability::Synced)
}

impl DriverArguments {
    /// The settings of the driver; the defaults where nothing is given.
    pub fn configuration(&self) -> Configuration {
        let default = Configuration::default();
        let given = |list: &[String], default| if list.is_empty() { default } else { list.to_vec() };
        let minimum = self.minimum_volume_size.unwrap_or(default.sizes.minimum);
        let maximum = self.maximum_volume_size.unwrap_or(default.sizes.maximum);
        let unit = self.allocation_unit.unwrap_or(default.sizes.unit);
        Configuration {
            nodes: given(&self.node_ids, default.nodes),
            topologies: if self.topologies.is_empty() { default.topologies } else { self.topologies.clone() },
            without: self.without.iter().copied().collect(),
            expansion: self.expansion.unwrap_or(default.expansion),
            pool_capacity: self.pool_capacity.unwrap_or(default.pool_capacity),
            sizes: Sizes {
                minimum,
                maximum,
                unit,
                default: default_size(default.sizes.default, minimum, maximum, unit),
            },
            max_volumes_per_node: self.max_volumes_per_node.unwrap_or(default.max_volumes_per_node),
            delete_delay: self.delete_delay.unwrap_or(default.delete_delay),
            second_target: self.single_node_writer_second_target.unwrap_or(default.second_target),
            deadline: default.deadline,
        }
    }
}

/// The usual default size, moved to where volumes can be.
fn default_size(usual: u64, minimum: u64, maximum: u64, unit: u64) -> u64 {
    let moved = usual.min(maximum).max(minimum);
    let rounded = moved.checked_div(unit).map_or(moved, |units| units * unit);
    if rounded < minimum { rounded.saturating_add(unit) } else { rounded }
}

/// A number of bytes with a binary unit.
fn size(text: &str) -> Result<u64, String> {
    let (digits, unit) = text.split_at(text.find(|character: char| !character.is_ascii_digit()).unwrap_or(text.len()));
    let shift = match unit.trim_end_matches('B') {
        "" => 0,
        "Ki" => 10,
        "Mi" => 20,
        "Gi" => 30,
        "Ti" => 40,
        "Pi" => 50,
        _ => return Err("write a number of bytes, such as 1048576, 10Mi or 1Ti".into()),
    };
    let number: u64 = digits.parse().map_err(|_| "write a number of bytes, such as 1048576, 10Mi or 1Ti".to_owned())?;
    number
        .checked_mul(1 << shift)
        .filter(|&bytes| i64::try_from(bytes).is_ok())
        .ok_or_else(|| "is too large".to_owned())
}

/// A duration with its unit.
fn duration(text: &str) -> Result<Duration, String> {
    let (digits, unit) = text.split_at(text.find(|character: char| !character.is_ascii_digit()).unwrap_or(text.len()));
    let number: u64 = digits.parse().map_err(|_| "write a duration such as 500ms, 10s or 2m".to_owned())?;
    match unit {
        "ms" => Ok(Duration::from_millis(number)),
        "s" => Ok(Duration::from_secs(number)),
        "m" => Ok(Duration::from_secs(number.saturating_mul(60))),
        _ => Err("write a duration such as 500ms, 10s or 2m".into()),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Command {
        #[command(flatten)]
        arguments: DriverArguments,
    }

    fn parse(arguments: &[&str]) -> Result<DriverArguments, clap::Error> {
        let always = ["driver", "--endpoint", "unix:///run/csi.sock", "--state-dir", "/var/lib/csi"];
        Command::try_parse_from(always.iter().chain(arguments)).map(|command| command.arguments)
    }

    #[test]
    fn without_arguments_the_defaults_hold() {
        assert_eq!(parse(&[]).unwrap().configuration(), Configuration::default());
    }

    #[test]
    fn arguments_reach_the_configuration() {
        let arguments = parse(&[
            "--node-id",
            "a",
            "--node-id",
            "b",
            "--without",
            "Controller.CLONE_VOLUME",
            "--topology",
            "example.com/zone=x",
            "--pool-capacity",
            "2Gi",
            "--maximum-volume-size",
            "512Mi",
            "--expansion",
            "offline",
            "--delete-delay",
            "500ms",
            "--single-node-writer-second-target",
            "allow",
        ]);
        let configuration = arguments.unwrap().configuration();
        assert_eq!(configuration.check(), Ok(()));
        assert_eq!(configuration.nodes, ["a", "b"]);
        assert_eq!(configuration.pool_capacity, 2 << 30);
        assert_eq!(configuration.sizes.default, 512 << 20);
        assert_eq!(configuration.expansion, Expansion::Offline);
        assert_eq!(configuration.delete_delay, Duration::from_millis(500));
        assert_eq!(configuration.second_target, SecondTarget::Allow);
        assert_eq!(configuration.without.len(), 1);
    }

    #[test]
    fn junk_is_refused() {
        for junk in [["--pool-capacity", "ten"], ["--delete-delay", "5"], ["--without", "X"], ["--topology", "x"]] {
            assert!(parse(&junk).is_err(), "{junk:?}");
        }
        assert!(size("99999999Pi").is_err());
    }
}
