//! The history of the whole suite against the built-in driver, in one process.

use std::{
    collections::BTreeMap,
    sync::{Arc, LazyLock},
};

use csi_certify::{
    driver::{
        Configuration, Driver as Reference, Parts,
        clock::SystemClock,
        content::{ContentDirectory, Durability},
        identifier::OrderedIdentifiers,
        store::Database,
    },
    history::{FORMAT, Header, History, Recorder},
    mountpod::memory::{MemoryMountPods, MemoryOptions},
    suite::{self, Options, Silent},
    sut::{Driver, InProcess, Lane, NodeFsMode, Profile, Target},
};
use tokio_util::sync::CancellationToken;

/// What the suite did and the driver answered.
pub(crate) fn history() -> &'static History {
    static HISTORY: LazyLock<History> = LazyLock::new(|| {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        runtime.block_on(record())
    });
    &HISTORY
}

async fn record() -> History {
    let directory = tempfile::tempdir().unwrap();
    let configuration = Configuration { nodes: vec!["node-a".into(), "node-b".into()], ..Configuration::default() };
    let reference = Reference::new(Parts {
        mount_pods: Arc::new(MemoryMountPods::new(MemoryOptions::new("node-a"))),
        configuration,
        store: Arc::new(Database::in_memory().unwrap()),
        content: Arc::new(ContentDirectory::open(directory.path(), Durability::Relaxed).unwrap()),
        clock: Arc::new(SystemClock),
        identifiers: Arc::new(OrderedIdentifiers::default()),
    })
    .unwrap();
    reference.recover().unwrap();
    let lane = Lane::InProcess(Arc::new(move || InProcess::new(reference.routes())));
    let one = |key: &str, value: &str| BTreeMap::from([(key.to_owned(), value.to_owned())]);
    let profile = Profile {
        other_nodes: vec!["node-b".into()],
        node_fs: NodeFsMode::Off,
        parameters: one("directoryMode", "0755"),
        incompatible_parameters: one("directoryMode", "0700"),
        mutable_parameters: one("iops", "500").into_iter().chain(one("tier", "standard")).collect(),
        modified_parameters: one("iops", "900"),
        secrets: one("token", "a-secret-that-nobody-guesses"),
        ..Profile::default()
    };
    let driver = Driver::connect(Target::Plugin(lane), &profile, std::time::Duration::from_secs(10)).await.unwrap();
    let header = Header { format: FORMAT, ..Header::default() };
    let recorder = Recorder::new(header, None);
    let options = Options { profile, jobs: 1, seed: 1, ..Options::default() };
    suite::run(driver, options, &recorder, &Silent, CancellationToken::new()).await;
    recorder.finish().0
}
