//! `csi-certify orchestrate`: drive a driver as Kubernetes does.

use std::{
    collections::BTreeSet,
    io::IsTerminal as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use clap::Args;
use indicatif::ProgressBar;
use tempfile::TempDir;

use super::{
    exit::{Exit, Failure},
    run::{ReportOptions, conclude},
    target::{BuiltInRuntime, DriverOptions, accepted, now},
};
use crate::{
    driver::{
        Configuration, Driver as Reference, Parts,
        clock::SystemClock,
        content::{ContentDirectory, Durability},
        identifier::OrderedIdentifiers,
        store::Memory,
    },
    history::{FORMAT, Header, Recorder, Writer},
    mountpod::memory::{MemoryMountPods, MemoryOptions},
    orchestrator::{
        AccessMode, Cluster, Departure, FaultKind, NodeSetup, PodPhase, RandomNemesis, Settings, Tables, Timing,
        VolumeMode, Watcher, Workload, WorkloadOutcome, tear_down,
    },
    report::Circumstances,
    sut::{AccessType, Driver, InProcess, Lane, Profile, Target},
};

/// How many nodes the built-in driver has without another number.
const NODES: usize = 3;

/// How much faster than upstream a cluster is whose driver is a process of its own.
const TIME_SCALE: f64 = 20.0;

/// What `csi-certify orchestrate` is asked.
#[derive(Args, Clone, Debug)]
pub(super) struct OrchestrateArguments {
    #[command(flatten)]
    driver: DriverOptions,
    #[command(flatten)]
    reports: ReportOptions,
    /// Write the history of the run, from which the verdict can be recomputed
    #[arg(long, value_name = "F")]
    history: Option<PathBuf>,
    /// How many nodes; a driver behind an endpoint has one [default: 3]
    #[arg(long, value_name = "N")]
    nodes: Option<usize>,
    /// How many pods are created
    #[arg(long, value_name = "N", default_value_t = 20)]
    pods: usize,
    /// How many claims are created
    #[arg(long, value_name = "N", default_value_t = 10)]
    volumes: usize,
    /// Seed of everything random; drawn anew without it
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Which faults happen
    #[arg(long, value_enum, value_delimiter = ',', value_name = "LIST")]
    faults: Vec<FaultKind>,
    /// Departures of Kubernetes from the specification that are switched off
    #[arg(long, value_enum, value_delimiter = ',', value_name = "LIST")]
    without: Vec<Departure>,
    /// How many times faster than upstream periods and back-offs pass; the built-in driver in this process runs on
    /// virtual time instead [default: 20]
    #[arg(long, value_name = "X")]
    time_scale: Option<f64>,
    /// Volumes are not attached, as for a CSIDriver with attachRequired: false
    #[arg(long)]
    no_attach: bool,
    /// Publishing tells of the pod, as for a CSIDriver with podInfoOnMount: true
    #[arg(long)]
    pod_info_on_mount: bool,
}

/// The nodes of a cluster, and what has to live as long as they do.
struct Ground {
    controller: Arc<Driver>,
    nodes: Vec<NodeSetup>,
    profile: Profile,
    timing: Timing,
    arguments: String,
    is_built_in: bool,
    _directory: TempDir,
}

/// Plays a workload and prints the certificate.
///
/// # Errors
///
/// When the options are wrong, no driver answers, or a report cannot be written.
pub(super) fn run(arguments: &OrchestrateArguments) -> Result<Exit, Failure> {
    let options = &arguments.driver;
    let has_endpoint =
        [&options.endpoint, &options.controller_endpoint, &options.node_endpoint].iter().any(|e| e.is_some());
    let has_process = options.runtime == Some(BuiltInRuntime::Process) || options.profile()?.start.is_some();
    if has_endpoint || has_process || arguments.time_scale.is_some() {
        return super::runtime()?.block_on(async {
            let connected = options.connect().await?;
            let driver = Arc::new(connected.driver);
            let ground = outside(arguments, driver.clone(), connected.profile, connected.arguments, !has_endpoint)?;
            let exit = play(arguments, ground).await;
            driver.shut_down().await;
            exit
        });
    }
    // In one process on virtual time: the same seed brings about the same workload.
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let runtime = builder.enable_all().start_paused(true).build().map_err(Failure::ours)?;
    runtime.block_on(async {
        let ground = in_process(arguments).await?;
        play(arguments, ground).await
    })
}

/// One node, served by a driver that runs elsewhere.
fn outside(
    arguments: &OrchestrateArguments,
    driver: Arc<Driver>,
    profile: Profile,
    named: String,
    is_built_in: bool,
) -> Result<Ground, Failure> {
    if arguments.nodes.is_some_and(|nodes| nodes != 1) {
        return Err(Failure::usage("a driver behind one endpoint serves one node: leave --nodes out"));
    }
    let parent = profile.directory.clone().unwrap_or_else(std::env::temp_dir);
    let directory = tempfile::Builder::new().prefix("kubelet-").tempdir_in(parent).map_err(Failure::usage)?;
    let node = NodeSetup { name: driver.node().to_owned(), driver: driver.clone(), root: directory.path().to_owned() };
    Ok(Ground {
        controller: driver,
        nodes: vec![node],
        profile,
        timing: Timing::scaled(arguments.time_scale.unwrap_or(TIME_SCALE), None),
        arguments: named,
        is_built_in,
        _directory: directory,
    })
}

/// The built-in driver on several nodes, with simulated mounts, all in this process.
async fn in_process(arguments: &OrchestrateArguments) -> Result<Ground, Failure> {
    let count = arguments.nodes.unwrap_or(NODES).max(1);
    let names: Vec<String> = (1..=count).map(|number| format!("node-{number}")).collect();
    let directory = TempDir::with_prefix("csi-certify-").map_err(Failure::usage)?;
    let store = Arc::new(Memory::default());
    let content = ContentDirectory::open(&directory.path().join("content"), Durability::Relaxed);
    let content = Arc::new(content.map_err(Failure::usage)?);
    let mut nodes = Vec::new();
    for (at, name) in names.iter().enumerate() {
        let mut all = names.clone();
        all.rotate_left(at);
        let reference = Reference::new(Parts {
            configuration: Configuration { nodes: all, ..Configuration::default() },
            store: store.clone(),
            content: content.clone(),
            mount_pods: Arc::new(MemoryMountPods::new(MemoryOptions::new(name.clone()))),
            clock: Arc::new(SystemClock),
            identifiers: Arc::new(OrderedIdentifiers::default()),
        })
        .map_err(Failure::ours)?;
        reference.recover().map_err(Failure::ours)?;
        let lane = Lane::InProcess(Arc::new(move || InProcess::new(reference.routes())));
        let plain = Profile::default();
        let driver = Driver::connect(Target::Plugin(lane), &plain, Duration::from_secs(1)).await;
        let driver = Arc::new(driver.map_err(Failure::ours)?.on_node(name));
        nodes.push(NodeSetup { name: name.clone(), driver, root: directory.path().join(name) });
    }
    let controller = nodes.first().map(|node| node.driver.clone());
    let controller = controller.ok_or_else(|| Failure::ours("a cluster without nodes"))?;
    let profile = arguments.driver.profile()?;
    let timing = Timing::default();
    Ok(Ground {
        controller,
        nodes,
        profile,
        timing,
        arguments: String::new(),
        is_built_in: true,
        _directory: directory,
    })
}

async fn play(arguments: &OrchestrateArguments, ground: Ground) -> Result<Exit, Failure> {
    let seed = arguments.seed.unwrap_or_else(rand::random);
    let header = Header {
        format: FORMAT,
        tool: env!("CARGO_PKG_VERSION").to_owned(),
        started: now(),
        seed,
        node_fs: false,
        restartable: ground.controller.is_restartable(),
        endpoints: ground.controller.endpoints(),
        recording: None,
    };
    let cannot_write =
        |path: &Path, error: &std::io::Error| Failure::usage(format!("cannot write {}: {error}", path.display()));
    let writer = match &arguments.history {
        Some(path) => Some(Writer::create(path, &header).map_err(|error| cannot_write(path, &error))?),
        None => None,
    };
    let recorder = Recorder::new(header, writer);
    let workload = workload(arguments, &ground, seed);
    let nemesis = RandomNemesis::new(seed, &workload.faults);
    let settings = Settings {
        timing: ground.timing,
        profile: ground.profile.clone(),
        attach_required: !arguments.no_attach,
        pod_info_on_mount: arguments.pod_info_on_mount,
        nemesis: Arc::new(nemesis.clone()),
        without: arguments.without.iter().copied().collect(),
        ..Settings::new(seed, ground.controller.clone(), ground.nodes.clone(), recorder.clone())
    };
    let mut cluster = Cluster::start(settings).await.map_err(Failure::usage)?;
    let picture = Picture::new();
    let outcome = tokio::select! {
        outcome = workload.play(&mut cluster, &nemesis, &picture) => Some(outcome.map_err(Failure::ours)?),
        _ = tokio::signal::ctrl_c() => None,
    };
    let is_interrupted = outcome.is_none();
    let outcome = match outcome {
        Some(outcome) => outcome,
        None => {
            anstream::eprintln!("interrupted: cleaning up");
            nemesis.stop();
            WorkloadOutcome { stuck: tear_down(&mut cluster).await, ..WorkloadOutcome::default() }
        }
    };
    picture.finish();
    drop(cluster);
    let (history, written) = recorder.finish();
    if let (Err(error), Some(path)) = (written, &arguments.history) {
        return Err(cannot_write(path, &error));
    }
    let WorkloadOutcome { claims, pods, snapshots, faults, running, stuck } = &outcome;
    anstream::eprintln!(
        "{claims} claims, {pods} pods, {snapshots} snapshots, {faults} faults; {running} pods ran in the end, {} stuck",
        stuck.len()
    );
    let stopped = stuck.iter().map(|one| (one.object.clone(), one.to_string())).collect();
    let circumstances = Circumstances {
        incomplete: is_interrupted.then(|| "it was interrupted".to_owned()),
        accepted: accepted(&ground.profile.known_failures),
        stopped,
        replay: replay(arguments, &ground, seed),
        ..Circumstances::default()
    };
    let exit = conclude(&history, circumstances, &arguments.reports)?;
    Ok(match exit {
        _ if is_interrupted => Exit::Interrupted,
        // A driver that lets pods wait for ever, or keeps what was deleted, does not do its work.
        Exit::Conformant if !stuck.is_empty() => Exit::Violations,
        exit => exit,
    })
}

/// Volumes as the profile allows them; without a word from it, as every driver has them.
fn workload(arguments: &OrchestrateArguments, ground: &Ground, seed: u64) -> Workload {
    let profile = &ground.profile;
    let everything =
        [AccessMode::ReadWriteOnce, AccessMode::ReadWriteOnce, AccessMode::ReadWriteMany, AccessMode::ReadWriteOncePod];
    let has_shared = |modes: &Vec<String>| modes.iter().any(|mode| mode == "MULTI_NODE_MULTI_WRITER");
    let may_share = profile.access_modes.as_ref().map_or(ground.is_built_in, has_shared);
    let access_modes = everything.into_iter().filter(|mode| may_share || *mode != AccessMode::ReadWriteMany).collect();
    let has = |access_type| profile.access_types.as_ref().map(|types| types.contains(&access_type));
    let mut volume_modes = Vec::new();
    if has(AccessType::Mount).unwrap_or(true) {
        volume_modes.push(VolumeMode::Filesystem);
    }
    if has(AccessType::Block).unwrap_or(ground.is_built_in) {
        volume_modes.push(VolumeMode::Block);
    }
    Workload {
        seed,
        pods: arguments.pods,
        volumes: arguments.volumes,
        faults: arguments.faults.iter().copied().collect::<BTreeSet<_>>(),
        access_modes,
        volume_modes,
        snapshots: true,
        expansions: true,
    }
}

fn replay(arguments: &OrchestrateArguments, ground: &Ground, seed: u64) -> String {
    let mut text = "csi-certify orchestrate".to_owned();
    let mut add = |part: String| {
        if !part.is_empty() {
            text.push(' ');
            text.push_str(&part);
        }
    };
    add(ground.arguments.clone());
    add(arguments.nodes.map(|nodes| format!("--nodes {nodes}")).unwrap_or_default());
    add(format!("--pods {} --volumes {} --seed {seed}", arguments.pods, arguments.volumes));
    let faults: Vec<String> = arguments
        .faults
        .iter()
        .filter_map(clap::ValueEnum::to_possible_value)
        .map(|value| value.get_name().to_owned())
        .collect();
    add(if faults.is_empty() { String::new() } else { format!("--faults {}", faults.join(",")) });
    text
}

/// How the workload goes on: one line that changes on a terminal, plain lines otherwise.
struct Picture {
    bar: Option<ProgressBar>,
}

impl Picture {
    fn new() -> Self {
        Self { bar: std::io::stderr().is_terminal().then(ProgressBar::new_spinner) }
    }

    fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

impl Watcher for Picture {
    fn acted(&self, what: &str, tables: &Tables) {
        let running = tables.pods.values().filter(|pod| pod.phase == PodPhase::Running).count();
        let bound = tables.claims.values().filter(|claim| claim.is_bound).count();
        let (pods, claims, attached) = (tables.pods.len(), tables.claims.len(), tables.attachments.len());
        let text =
            format!("{running} of {pods} pods run, {bound} of {claims} claims are bound, {attached} attached: {what}");
        match &self.bar {
            Some(bar) => {
                bar.set_message(text);
                bar.tick();
            }
            None => anstream::eprintln!("{text}"),
        }
    }
}
