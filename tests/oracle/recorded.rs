//! Histories of the suite against the built-in driver and what it may also be like.

use std::{
    collections::BTreeMap,
    path::Path,
    process::Command,
    sync::{Arc, LazyLock},
    time::Duration,
};

use csi_certify::{
    driver::{
        Configuration, Parts,
        clock::SystemClock,
        content::{ContentDirectory, Durability},
        identifier::OrderedIdentifiers,
        store::Database,
    },
    faults::{self, Assembled, Lifetimes},
    history::{FORMAT, Header, History, Recorder},
    mountpod::{
        MountPods,
        memory::{MemoryMountPods, MemoryOptions},
        process::{ProcessMountPods, ProcessOptions},
    },
    suite::{self, Options, Silent},
    sut::{Driver, InProcess, Lane, NodeFs, NodeFsMode, Profile, Target},
};
use tokio_util::sync::CancellationToken;

/// How a driver of this process is put together and certified.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Setup {
    /// A legal variant; the reference driver itself without one.
    pub(crate) variant: Option<&'static str>,
    /// Whether volumes are really mounted.
    pub(crate) mounted: bool,
    /// Which scenarios are run.
    pub(crate) filter: Option<&'static str>,
}

/// What the suite did and the driver answered.
pub(crate) fn history() -> &'static History {
    static HISTORY: LazyLock<History> = LazyLock::new(|| run(Setup::default()));
    &HISTORY
}

/// The same on real mounts, where this machine lets us have some.
pub(crate) fn mounted() -> Option<&'static History> {
    static HISTORY: LazyLock<Option<History>> =
        LazyLock::new(|| mounts_are_possible().then(|| run(Setup { mounted: true, ..Setup::default() })));
    HISTORY.as_ref()
}

/// Whether this process may mount FUSE file systems.
fn mounts_are_possible() -> bool {
    let fuse = std::fs::File::options().read(true).write(true).open("/dev/fuse");
    rustix::process::geteuid().is_root() && fuse.is_ok()
}

/// Certifies a driver of this process.
pub(crate) fn run(setup: Setup) -> History {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(record(setup))
}

/// Certifies the built-in driver as a process of its own, by the program itself.
pub(crate) fn of_the_program(filter: &str) -> History {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("history.jsonl");
    let run = Command::new(env!("CARGO_BIN_EXE_csi-certify"))
        .args(["run", "--runtime", "memory", "--filter", filter, "--history"])
        .arg(&path)
        .env_remove("CSI_ENDPOINT")
        .output()
        .unwrap();
    let printed = String::from_utf8_lossy(&run.stderr);
    History::read(&path).unwrap_or_else(|error| panic!("{error}: {printed}"))
}

fn parts(directory: &Path, mounted: bool) -> Parts {
    let mount_pods: Arc<dyn MountPods> = match mounted {
        true => Arc::new(ProcessMountPods::start(ProcessOptions::new(directory.join("pods"), "node-a")).unwrap()),
        false => Arc::new(MemoryMountPods::new(MemoryOptions::new("node-a"))),
    };
    Parts {
        mount_pods,
        configuration: Configuration { nodes: vec!["node-a".into(), "node-b".into()], ..Configuration::default() },
        store: Arc::new(Database::in_memory().unwrap()),
        content: Arc::new(ContentDirectory::open(&directory.join("content"), Durability::Relaxed).unwrap()),
        clock: Arc::new(SystemClock),
        identifiers: Arc::new(OrderedIdentifiers::default()),
    }
}

async fn record(setup: Setup) -> History {
    let directory = tempfile::tempdir().unwrap();
    let base = parts(directory.path(), setup.mounted);
    let seeded = setup.variant.map(|id| faults::find(id).unwrap());
    let lifetimes = Lifetimes::default();
    let lane = Lane::InProcess(Arc::new(move || {
        let assembled = Assembled::new(&lifetimes.next(base.clone()), seeded.as_ref()).unwrap();
        assembled.driver.recover().unwrap();
        InProcess::new(assembled.routes)
    }));
    let one = |key: &str, value: &str| BTreeMap::from([(key.to_owned(), value.to_owned())]);
    let denied = match setup.variant {
        Some("wants-secrets") => one("token", "somebody-who-may-do-nothing"),
        _ => BTreeMap::new(),
    };
    let profile = Profile {
        other_nodes: vec!["node-b".into()],
        node_fs: if setup.mounted { NodeFsMode::Auto } else { NodeFsMode::Off },
        directory: Some(directory.path().to_owned()),
        parameters: one("directoryMode", "0755"),
        incompatible_parameters: one("directoryMode", "0700"),
        mutable_parameters: one("iops", "500").into_iter().chain(one("tier", "standard")).collect(),
        modified_parameters: one("iops", "900"),
        secrets: one("token", "a-secret-that-nobody-guesses"),
        denied_secrets: denied,
        ..Profile::default()
    };
    let driver = Driver::connect(Target::Plugin(lane), &profile, Duration::from_secs(10)).await.unwrap();
    let node_fs = NodeFs::of(&driver, &profile).is_some();
    let header = Header { format: FORMAT, node_fs, restartable: driver.is_restartable(), ..Header::default() };
    let recorder = Recorder::new(header, None);
    let filter = setup.filter.map(str::to_owned);
    let options = Options { profile, filter, jobs: 1, seed: 1, ..Options::default() };
    suite::run(driver, options, &recorder, &Silent, CancellationToken::new()).await;
    recorder.finish().0
}
