//! `kill -9` at any moment: a real process, real files, requests under way.

use std::{
    collections::BTreeMap,
    path::Path,
    process::Stdio,
    sync::{Arc, Mutex},
    time::Duration,
};

use csi_certify::{
    cli::driver::run_until,
    csi::v1::{self, controller_client::ControllerClient},
};
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use tokio::{process::Child, task::JoinSet};
use tokio_util::sync::CancellationToken;
use tonic::{Code, Status, transport::Channel};

use crate::{
    process::{arguments, connect},
    world::{MIB, RememberedPods, create_volume},
};

/// Not a test: the process that the other test starts and kills.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn serves_until_it_is_killed() {
    let Ok(directory) = std::env::var(DIRECTORY) else { return };
    let directory = Path::new(&directory);
    let arguments = arguments(&directory.join("csi.sock"), &directory.join("state"));
    run_until(arguments, Arc::new(RememberedPods::default()), CancellationToken::new()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_driver_killed_at_any_moment_answers_a_repeat_the_same_and_loses_and_leaks_nothing() {
    let seed: u64 = rand::random();
    eprintln!("seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let directory = tempfile::tempdir().unwrap();
    let answered = Answers::default();
    for _ in 0..ROUNDS {
        let (mut driver, controller) = start(directory.path()).await;
        let mut clients = JoinSet::new();
        for index in 0..CLIENTS {
            clients.spawn(work(controller.clone(), index, answered.clone()));
        }
        // The moment of the kill is what is random; nothing depends on how long it takes.
        tokio::time::sleep(Duration::from_millis(random.random_range(0..80))).await;
        driver.kill().await.unwrap();
        while clients.join_next().await.is_some() {}
    }
    let (mut driver, mut controller) = start(directory.path()).await;
    let before = answered.0.lock().unwrap().clone();
    for index in 0..CLIENTS {
        work(controller.clone(), index, answered.clone()).await.unwrap();
    }
    for (name, id) in before {
        assert_eq!(answered.0.lock().unwrap()[&name], id, "{name} got another id");
    }
    let kept = CLIENTS - CLIENTS / 3;
    let volumes = controller.list_volumes(v1::ListVolumesRequest::default()).await.unwrap().into_inner();
    assert_eq!(volumes.entries.len(), kept);
    let snapshots = controller.list_snapshots(v1::ListSnapshotsRequest::default()).await.unwrap().into_inner();
    assert_eq!(snapshots.entries.len(), kept);
    let capacity = controller.get_capacity(v1::GetCapacityRequest::default()).await.unwrap().into_inner();
    assert_eq!(capacity.available_capacity, (10 << 40) - 2 * i64::try_from(kept).unwrap() * MIB);
    let count = |part: &str| std::fs::read_dir(directory.path().join("state/content").join(part)).unwrap().count();
    assert_eq!((count("volumes"), count("snapshots"), count("unfinished"), count("trash")), (kept, kept, 0, 0));
    driver.kill().await.unwrap();
}

/// The ids that were answered, by name.
#[derive(Clone, Default)]
struct Answers(Arc<Mutex<BTreeMap<String, String>>>);

impl Answers {
    fn note(&self, name: &str, id: &str) {
        let before = self.0.lock().unwrap().insert(name.to_owned(), id.to_owned());
        assert!(before.is_none_or(|before| before == id), "{name} got another id");
    }
}

/// Starts this very test binary as a driver and waits until it is ready.
async fn start(directory: &Path) -> (Child, ControllerClient<Channel>) {
    let driver = tokio::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "kill::serves_until_it_is_killed"])
        .env(DIRECTORY, directory)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    (driver, ControllerClient::new(connect(&directory.join("csi.sock")).await))
}

/// What one client wants: a volume and a snapshot of it; every third one only a volume that goes again.
async fn work(mut controller: ControllerClient<Channel>, index: usize, answers: Answers) -> Result<(), Status> {
    let name = format!("volume {index}");
    let volume = create(&mut controller, &name).await?;
    if index % 3 == 2 {
        let delete = v1::DeleteVolumeRequest { volume_id: volume, ..Default::default() };
        return controller.delete_volume(delete).await.map(drop);
    }
    answers.note(&name, &volume);
    let name = format!("snapshot {index}");
    let request = v1::CreateSnapshotRequest { source_volume_id: volume, name: name.clone(), ..Default::default() };
    let snapshot = controller.create_snapshot(request).await?.into_inner().snapshot.unwrap();
    answers.note(&name, &snapshot.snapshot_id);
    Ok(())
}

async fn create(controller: &mut ControllerClient<Channel>, name: &str) -> Result<String, Status> {
    for _ in 0..1000 {
        match controller.create_volume(create_volume(name)).await {
            // The volume of an earlier life is still being deleted.
            Err(status) if status.code() == Code::Aborted => tokio::time::sleep(Duration::from_millis(5)).await,
            answer => return Ok(answer?.into_inner().volume.unwrap().volume_id),
        }
    }
    Err(Status::aborted("still in progress after a thousand attempts"))
}

const DIRECTORY: &str = "CSI_CERTIFY_TEST_KILLED_DRIVER";
const ROUNDS: usize = 8;
const CLIENTS: usize = 12;
