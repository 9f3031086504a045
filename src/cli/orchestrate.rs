//! `csi-certify orchestrate`: drive a driver as Kubernetes does.

use std::{
    collections::{BTreeMap, BTreeSet},
    convert::Infallible,
    io::IsTerminal as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use clap::{Args, ValueEnum};
use indicatif::ProgressBar;
use tempfile::TempDir;

use super::{
    exit::{Exit, Failure},
    in_process::{self, MountWitness, Mounts, Nodes},
    modelcheck::protocol_names,
    run::{ReportOptions, conclude},
    target::{BuiltInRuntime, DriverOptions, accepted, now},
};
use crate::{
    history::{FORMAT, Header, Recorder, Writer},
    mountpod::Protocol,
    orchestrator::{
        AccessMode, Cluster, CsiDriver, Departure, Economy, FaultKind, Manifest, NodeMounts, NodeSetup, Objects,
        PodPhase, RandomNemesis, Settings, Store, Tables, Timing, VolumeMode, Watcher, Watching, Workload,
        WorkloadOutcome, parse_manifest, play_objects, tear_down,
    },
    report::Circumstances,
    sut::{AccessType, Driver, Profile},
};

/// How many nodes the built-in driver has without another number.
const NODES: usize = 3;

/// How much faster than upstream a cluster is whose driver is a process of its own.
const TIME_SCALE: f64 = 20.0;

/// How often a witness looks at the mounts of pods.
const LOOK: Duration = Duration::from_millis(500);

/// How long mount pods may take to go when all pods are gone.
const LAST_ROUNDS: Duration = Duration::from_secs(60);

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
    /// Play this instead of a random workload: Kubernetes YAML with StorageClass, PersistentVolumeClaim, Pod, VolumeSnapshot
    /// and the like, or draw the workload by the test-driver manifest of Kubernetes' External Storage tests
    #[arg(long, value_name = "F")]
    manifest: Option<PathBuf>,
    /// Whether the specification is departed from where Kubernetes does, or every duty of an orchestrator is kept
    #[arg(long = "as", value_enum, value_name = "CO", default_value_t = Orchestrator::Kubernetes)]
    orchestrator: Orchestrator,
    /// Departures of Kubernetes from the specification that are switched off
    #[arg(long, value_enum, value_delimiter = ',', value_name = "LIST")]
    without: Vec<Departure>,
    /// How many times faster than upstream periods and back-offs pass; the built-in driver in this process runs on
    /// virtual time instead [default: 20]
    #[arg(long, value_name = "X")]
    time_scale: Option<f64>,
    /// How the built-in driver in this process counts references: by its own protocol, or by one that was published for
    /// another driver, with slow answers of the pod API and slow daemons, to see what it does to pods
    #[arg(long, value_name = "NAME", default_value = "current", value_parser = protocol_names())]
    protocol: String,
    /// Volumes are not attached, as for a CSIDriver with attachRequired: false
    #[arg(long)]
    no_attach: bool,
    /// Publishing tells of the pod, as for a CSIDriver with podInfoOnMount: true
    #[arg(long)]
    pod_info_on_mount: bool,
}

/// How an orchestrator behaves.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
enum Orchestrator {
    /// As Kubernetes does.
    Kubernetes,
    /// As the specification wants it.
    Strict,
}

/// The nodes of a cluster, and what has to live as long as they do.
struct Ground {
    controller: Arc<Driver>,
    nodes: Vec<NodeSetup>,
    profile: Profile,
    timing: Timing,
    arguments: String,
    is_built_in: bool,
    /// Sees what pods have of their mounts, where these are simulated.
    witness: Option<Arc<MountWitness>>,
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
    let is_real = options.runtime == Some(BuiltInRuntime::Process);
    let is_cluster = is_real && arguments.nodes.is_some_and(|nodes| nodes > 1);
    let has_process = is_real && !is_cluster || options.profile()?.start.is_some();
    let is_outside = has_endpoint || has_process || arguments.time_scale.is_some() && !is_cluster;
    if (is_outside || is_real) && arguments.protocol() != Protocol::Current {
        return Err(Failure::usage(
            "a published protocol is run by the built-in driver in this process: leave --protocol out",
        ));
    }
    let seed = arguments.seed.unwrap_or_else(rand::random);
    if is_outside {
        return super::runtime()?.block_on(async {
            let connected = options.connect().await?;
            let driver = Arc::new(connected.driver);
            let ground = outside(arguments, driver.clone(), connected.profile, connected.arguments, !has_endpoint)?;
            let exit = play(arguments, ground, seed).await;
            driver.shut_down().await;
            exit
        });
    }
    if is_cluster {
        // Real mounts of several nodes on this machine, in real time.
        return super::runtime()?.block_on(async {
            let ground = in_process(arguments, Mounts::Real, seed).await?;
            play(arguments, ground, seed).await
        });
    }
    // In one process on virtual time: the same seed brings about the same workload.
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let runtime = builder.enable_all().start_paused(true).build().map_err(Failure::ours)?;
    runtime.block_on(async {
        let ground = in_process(arguments, Mounts::Simulated(arguments.protocol()), seed).await?;
        play(arguments, ground, seed).await
    })
}

fn read_manifest(path: &Path) -> Result<Manifest, Failure> {
    let text = std::fs::read_to_string(path);
    let text = text.map_err(|error| Failure::usage(format!("cannot read {}: {error}", path.display())))?;
    parse_manifest(&text).map_err(|error| Failure::usage(format!("{}: {error}", path.display())))
}

impl OrchestrateArguments {
    fn protocol(&self) -> Protocol {
        let named = |protocol: &Protocol| protocol.name() == self.protocol;
        Protocol::ALL.into_iter().find(named).unwrap_or_default()
    }
}

/// Looks at what pods have of their mounts, again and again.
async fn look(witness: Arc<MountWitness>, store: Store) -> Infallible {
    loop {
        store.read(|tables| witness.look(tables));
        tokio::time::sleep(LOOK).await;
    }
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
        witness: None,
        _directory: directory,
    })
}

/// The built-in driver on several nodes, all in this process.
async fn in_process(arguments: &OrchestrateArguments, mounts: Mounts, seed: u64) -> Result<Ground, Failure> {
    let count = arguments.nodes.unwrap_or(NODES).max(1);
    let names: Vec<String> = (1..=count).map(|number| format!("node-{number}")).collect();
    let directory = TempDir::with_prefix("csi-certify-").map_err(Failure::usage)?;
    let timing = match mounts {
        Mounts::Simulated(_) => Timing::default(),
        Mounts::Real => Timing::scaled(arguments.time_scale.unwrap_or(TIME_SCALE), None),
    };
    let Nodes { setups, witness } = in_process::nodes(&names, mounts, seed, directory.path()).await?;
    let controller = setups.first().map(|node| node.driver.clone());
    Ok(Ground {
        controller: controller.ok_or_else(|| Failure::ours("a cluster without nodes"))?,
        nodes: setups,
        profile: arguments.driver.profile()?,
        timing,
        arguments: if witness.is_none() { "--runtime process".to_owned() } else { String::new() },
        is_built_in: true,
        witness,
        _directory: directory,
    })
}

async fn play(arguments: &OrchestrateArguments, ground: Ground, seed: u64) -> Result<Exit, Failure> {
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
    let manifest = arguments.manifest.as_deref().map(read_manifest).transpose()?;
    let mut workload = workload(arguments, &ground, seed);
    let mut profile = ground.profile.clone();
    let mut csi_driver = CsiDriver {
        attach_required: !arguments.no_attach && arguments.protocol() == Protocol::Current,
        pod_info_on_mount: arguments.pod_info_on_mount,
        ..CsiDriver::named("")
    };
    let mut classes = Objects::default();
    match &manifest {
        Some(Manifest::Objects(objects)) => {
            csi_driver = objects.csi_driver.clone().unwrap_or(csi_driver);
        }
        Some(Manifest::TestDriver(driver)) => {
            let path = arguments.manifest.as_deref().and_then(Path::parent).unwrap_or(Path::new("."));
            classes = driver.classes(path).map_err(Failure::usage)?;
            workload.access_modes = driver.access_modes();
            workload.volume_modes = driver.volume_modes();
            workload.snapshots = driver.snapshots();
            workload.expansions = driver.expansions();
            workload.snapshot_class =
                classes.snapshot_classes.first().map(|class| class.metadata.name.clone()).unwrap_or_default();
            profile.capacity_bytes = driver.least_size.unwrap_or(profile.capacity_bytes).max(profile.capacity_bytes);
            if let Some(fs_type) = driver.fs_types.first().filter(|_| profile.fs_type.is_empty()) {
                profile.fs_type.clone_from(fs_type);
            }
            // Its claims use the class of the manifest by the name that a workload knows.
            for class in &mut classes.storage_classes {
                class.metadata.name = Workload::CLASS.to_owned();
                class.mount_options.extend(driver.mount_options.iter().cloned());
            }
            classes.storage_classes.truncate(1);
        }
        None => {}
    }
    let nemesis = RandomNemesis::new(seed, &workload.faults);
    let settings = Settings {
        timing: ground.timing,
        profile,
        csi_driver,
        watching: Watching::ALL,
        mounts: ground.witness.clone().map(|witness| witness as Arc<dyn NodeMounts>),
        nemesis: Arc::new(nemesis.clone()),
        without: match arguments.orchestrator {
            Orchestrator::Kubernetes => arguments.without.iter().copied().collect(),
            Orchestrator::Strict => Departure::value_variants().iter().copied().collect(),
        },
        ..Settings::new(seed, ground.controller.clone(), ground.nodes.clone(), recorder.clone())
    };
    let mut cluster = Cluster::start(settings).await.map_err(Failure::usage)?;
    let picture = Picture::new();
    let looking = ground.witness.clone().map(|witness| tokio::spawn(look(witness, cluster.store().clone())));
    classes.create(cluster.store()).map_err(Failure::usage)?;
    let playing = async {
        match &manifest {
            Some(Manifest::Objects(objects)) => {
                nemesis.stop();
                play_objects(objects, &mut cluster, &picture).await.map_err(Failure::usage)
            }
            _ => workload.play(&mut cluster, &nemesis, &picture).await.map_err(Failure::ours),
        }
    };
    let outcome = tokio::select! {
        outcome = playing => Some(outcome?),
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
    let seen = match (&ground.witness, looking) {
        (Some(witness), Some(looking)) => {
            // What is on its way out goes meanwhile.
            tokio::time::sleep(LAST_ROUNDS).await;
            looking.abort();
            witness.report()
        }
        _ => BTreeMap::new(),
    };
    seen.values().for_each(|text| anstream::eprintln!("{text}"));
    drop(cluster);
    let (history, written) = recorder.finish();
    if let (Err(error), Some(path)) = (written, &arguments.history) {
        return Err(cannot_write(path, &error));
    }
    let WorkloadOutcome { claims, pods, snapshots, faults, running, steady_after, gone_after, waiting, stuck } =
        &outcome;
    anstream::eprintln!(
        "{claims} claims, {pods} pods, {snapshots} snapshots, {faults} faults; {running} pods ran in the end, {} stuck; \
         steady after {:.1} s, gone {:.1} s later",
        stuck.len(),
        steady_after.as_secs_f64(),
        gone_after.as_secs_f64()
    );
    anstream::eprintln!("{}", Economy::of(&history));
    waiting.iter().chain(stuck).for_each(|one| anstream::eprintln!("{one}"));
    let is_well = stuck.is_empty() && seen.is_empty();
    let stopped = stuck.iter().map(|one| (one.object.clone(), one.to_string())).chain(seen).collect();
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
        // A driver that lets pods wait for ever, takes mounts from under them, or keeps what was deleted, does not do its work.
        Exit::Conformant if !is_well => Exit::Violations,
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
    if has(AccessType::Block).unwrap_or(ground.is_built_in && arguments.protocol() == Protocol::Current) {
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
        snapshot_class: String::new(),
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
    add(match arguments.protocol() {
        Protocol::Current => String::new(),
        protocol => format!("--protocol {}", protocol.name()),
    });
    add(arguments.manifest.as_ref().map(|path| format!("--manifest {}", path.display())).unwrap_or_default());
    add(if arguments.orchestrator == Orchestrator::Strict { "--as strict".to_owned() } else { String::new() });
    add(arguments.nodes.map(|nodes| format!("--nodes {nodes}")).unwrap_or_default());
    add(format!("--pods {} --volumes {} --seed {seed}", arguments.pods, arguments.volumes));
    add(flag("--faults", &arguments.faults));
    add(flag("--without", &arguments.without));
    text
}

/// The flag with the names of its values; nothing without any.
fn flag<V: clap::ValueEnum>(flag: &str, values: &[V]) -> String {
    let names: Vec<String> =
        values.iter().filter_map(clap::ValueEnum::to_possible_value).map(|value| value.get_name().to_owned()).collect();
    if names.is_empty() { String::new() } else { format!("{flag} {}", names.join(",")) }
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
