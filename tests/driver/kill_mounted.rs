//! `kill -9` a hundred times under load, with real mounts: nothing is lost, doubled or left, and mounts go on serving.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use csi_certify::csi::v1::{self, controller_client::ControllerClient, node_client::NodeClient};
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use tokio::{task::JoinSet, time::sleep};
use tonic::{Code, Response, Status, transport::Channel};

use crate::{
    real::{can_mount, run},
    world::{Mode, block, create_volume, mount},
};

/// Calls until nothing else is under way on the object, for a thousand times at most.
macro_rules! repeat {
    ($call:expr) => {{
        let mut last = Err(Status::aborted("not tried"));
        for _ in 0..1000 {
            last = $call.await.map(Response::into_inner);
            if !matches!(&last, Err(status) if status.code() == Code::Aborted) {
                break;
            }
            sleep(Duration::from_millis(5)).await;
        }
        last
    }};
}

const KILLS: usize = 100;
const PATIENCE: Duration = Duration::from_secs(20);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_kills_under_load_lose_double_and_leave_nothing_and_published_targets_go_on_serving() {
    if !can_mount() {
        return;
    }
    let seed: u64 = rand::random();
    eprintln!("seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    let mut kept = Client::new(path, "kept", mount(Mode::SingleNodeMultiWriter));
    let mut clients: Vec<Client> = [block, mount, mount]
        .into_iter()
        .enumerate()
        .map(|(index, capability)| {
            Client::new(path, &format!("client-{index}"), capability(Mode::SingleNodeMultiWriter))
        })
        .collect();
    let mut pair: Option<Pair> = None;

    for _ in 0..KILLS {
        let (mut driver, channel) = run(path).await;
        let pair = match &mut pair {
            Some(pair) => pair,
            none => {
                kept.publish(&mut Calls::over(&channel)).await.unwrap();
                none.insert(Pair::start(&kept.targets))
            }
        };
        pair.goes_on().await;
        let mut working = JoinSet::new();
        for mut client in clients.drain(..) {
            let mut calls = Calls::over(&channel);
            working.spawn(async move {
                loop {
                    match client.cycle(&mut calls).await {
                        Ok(()) => {}
                        Err(status) if is_lost(&status) => return client,
                        Err(status) => panic!("{}: {status:?}", client.name),
                    }
                }
            });
        }
        // The moment of the kill is what is random; nothing depends on how long it takes.
        sleep(Duration::from_millis(random.random_range(0..60))).await;
        driver.kill().await.unwrap();
        while let Some(client) = working.join_next().await {
            clients.push(client.unwrap());
        }
        pair.goes_on().await;
    }

    let (mut driver, channel) = run(path).await;
    let mut calls = Calls::over(&channel);
    for client in &mut clients {
        client.cycle(&mut calls).await.unwrap();
    }
    let pair = pair.unwrap();
    pair.goes_on().await;
    pair.stop();
    assert_eq!(calls.volumes().await, [kept.volume.clone().unwrap()]);
    kept.cycle(&mut calls).await.unwrap();
    assert_eq!(calls.volumes().await, [""; 0]);
    let snapshots = calls.controller.list_snapshots(v1::ListSnapshotsRequest::default()).await.unwrap().into_inner();
    assert_eq!(snapshots.entries, []);
    nothing_is_left(path).await;
    driver.kill().await.unwrap();
}

/// Somebody who wants a volume, uses it and gives it back, over and over, whatever becomes of the driver.
struct Client {
    name: String,
    capability: v1::VolumeCapability,
    staging: PathBuf,
    targets: [PathBuf; 2],
    /// The id of the volume, from the answer that gave it until its deletion is asked for.
    volume: Option<String>,
    snapshot: Option<String>,
    /// Whether the volume holds what was written.
    written: bool,
}

impl Client {
    fn new(directory: &Path, name: &str, capability: v1::VolumeCapability) -> Self {
        let staging = directory.join(format!("{name}-staging"));
        fs::create_dir(&staging).unwrap();
        let targets = ["a", "b"].map(|target| directory.join(format!("{name}-{target}")));
        let name = name.to_owned();
        Self { name, capability, staging, targets, volume: None, snapshot: None, written: false }
    }

    /// From nothing, or from wherever the last attempt was cut off, to nothing.
    async fn cycle(&mut self, calls: &mut Calls) -> Result<(), Status> {
        self.publish(calls).await?;
        self.write_and_read();
        self.take_snapshot(calls).await?;
        let volume_id = self.volume.clone().unwrap();
        for target in &self.targets {
            let target_path = text(target);
            let unpublish = v1::NodeUnpublishVolumeRequest { volume_id: volume_id.clone(), target_path };
            repeat!(calls.node.node_unpublish_volume(unpublish.clone()))?;
            assert!(!target.exists());
        }
        let unstage =
            v1::NodeUnstageVolumeRequest { volume_id: volume_id.clone(), staging_target_path: text(&self.staging) };
        repeat!(calls.node.node_unstage_volume(unstage.clone()))?;
        (self.volume, self.written) = (None, false);
        let delete = v1::DeleteVolumeRequest { volume_id, ..Default::default() };
        repeat!(calls.controller.delete_volume(delete.clone()))?;
        Ok(())
    }

    async fn publish(&mut self, calls: &mut Calls) -> Result<(), Status> {
        let request =
            v1::CreateVolumeRequest { volume_capabilities: vec![self.capability.clone()], ..create_volume(&self.name) };
        let answer = repeat!(calls.controller.create_volume(request.clone()))?;
        let volume_id = answer.volume.unwrap().volume_id;
        let before = self.volume.replace(volume_id.clone());
        assert!(before.is_none_or(|before| before == volume_id), "{} is another volume", self.name);
        let stage = v1::NodeStageVolumeRequest {
            volume_id: volume_id.clone(),
            staging_target_path: text(&self.staging),
            volume_capability: Some(self.capability.clone()),
            ..Default::default()
        };
        repeat!(calls.node.node_stage_volume(stage.clone()))?;
        for target in &self.targets {
            let publish = v1::NodePublishVolumeRequest {
                volume_id: volume_id.clone(),
                staging_target_path: text(&self.staging),
                target_path: text(target),
                volume_capability: Some(self.capability.clone()),
                ..Default::default()
            };
            repeat!(calls.node.node_publish_volume(publish.clone()))?;
        }
        Ok(())
    }

    fn write_and_read(&mut self) {
        let [first, second] = &self.targets;
        if first.is_dir() {
            let volume = self.volume.clone().unwrap();
            if self.written {
                assert_eq!(fs::read_to_string(second.join("id")).unwrap(), volume, "{} lost its data", self.name);
            }
            fs::write(first.join("id"), &volume).unwrap();
            self.written = true;
            assert_eq!(fs::read_to_string(second.join("id")).unwrap(), volume);
        } else {
            assert!(fs::File::open(second).is_ok());
        }
    }

    async fn take_snapshot(&mut self, calls: &mut Calls) -> Result<(), Status> {
        let source_volume_id = self.volume.clone().unwrap();
        let request = v1::CreateSnapshotRequest { source_volume_id, name: self.name.clone(), ..Default::default() };
        let answer = repeat!(calls.controller.create_snapshot(request.clone()))?;
        let snapshot_id = answer.snapshot.unwrap().snapshot_id;
        let before = self.snapshot.replace(snapshot_id.clone());
        assert!(before.is_none_or(|before| before == snapshot_id), "{} is another snapshot", self.name);
        self.snapshot = None;
        let delete = v1::DeleteSnapshotRequest { snapshot_id, ..Default::default() };
        repeat!(calls.controller.delete_snapshot(delete.clone()))?;
        Ok(())
    }
}

/// The services of one life of the driver.
struct Calls {
    controller: ControllerClient<Channel>,
    node: NodeClient<Channel>,
}

impl Calls {
    fn over(channel: &Channel) -> Self {
        Self { controller: ControllerClient::new(channel.clone()), node: NodeClient::new(channel.clone()) }
    }

    async fn volumes(&mut self) -> Vec<String> {
        let answer = self.controller.list_volumes(v1::ListVolumesRequest::default()).await.unwrap().into_inner();
        answer.entries.into_iter().map(|entry| entry.volume.unwrap().volume_id).collect()
    }
}

/// Writes to one target of a volume and reads from another without a pause, driver or not.
struct Pair {
    rounds: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Pair {
    fn start(targets: &[PathBuf; 2]) -> Self {
        let [written, read] = targets.each_ref().map(|target| target.join("counter"));
        let (rounds, stop) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let (count, stopped) = (rounds.clone(), stop.clone());
        let thread = std::thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                let round = count.load(Ordering::Relaxed).to_string();
                fs::write(&written, &round).unwrap();
                assert_eq!(fs::read_to_string(&read).unwrap(), round);
                count.fetch_add(1, Ordering::Relaxed);
                std::thread::sleep(Duration::from_millis(1));
            }
        });
        Self { rounds, stop, thread }
    }

    /// Two more rounds pass: at least one of them began after this was called.
    async fn goes_on(&self) {
        let before = self.rounds.load(Ordering::Relaxed);
        let begun = Instant::now();
        while self.rounds.load(Ordering::Relaxed) < before + 2 {
            assert!(!self.thread.is_finished(), "a published target failed");
            assert!(begun.elapsed() < PATIENCE, "a published target hangs");
            sleep(Duration::from_millis(1)).await;
        }
    }

    fn stop(self) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap();
    }
}

/// No record, content, mount, loop device or process below the directory remains.
async fn nothing_is_left(directory: &Path) {
    let begun = Instant::now();
    loop {
        let remains = remains(directory);
        if remains.is_empty() {
            return;
        }
        assert!(begun.elapsed() < PATIENCE, "{remains:#?}");
        sleep(Duration::from_millis(20)).await;
    }
}

fn remains(directory: &Path) -> Vec<String> {
    let state = directory.join("state");
    let parts = ["content/volumes", "content/snapshots", "content/unfinished", "content/trash", "pods/pods"];
    let mut remains: Vec<String> = parts
        .into_iter()
        .chain(["pods/daemons", "pods/mnt"])
        .flat_map(|part| fs::read_dir(state.join(part)).unwrap())
        .map(|entry| entry.unwrap().path())
        // One file there locks all daemons.
        .filter(|path| !path.ends_with("pods/daemons/lock"))
        .map(|path| path.display().to_string())
        .collect();
    let below = directory.to_str().unwrap();
    let ours = |text: &str| text.contains(below);
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    remains.extend(mounts.lines().filter(|line| ours(line)).map(str::to_owned));
    for device in fs::read_dir("/sys/block").unwrap().flatten() {
        let backing = fs::read_to_string(device.path().join("loop/backing_file")).unwrap_or_default();
        remains.extend(Some(backing).filter(|backing| ours(backing)));
    }
    for process in fs::read_dir("/proc").unwrap().flatten() {
        let command = fs::read(process.path().join("cmdline")).unwrap_or_default();
        let command = String::from_utf8_lossy(&command).replace('\0', " ");
        remains.extend(Some(command).filter(|command| ours(command) && command.contains("mount-daemon")));
    }
    remains
}

/// Whether the answer is missing because the driver is.
fn is_lost(status: &Status) -> bool {
    matches!(status.code(), Code::Unavailable | Code::Unknown | Code::Cancelled | Code::Internal)
        && std::error::Error::source(status).is_some()
}

fn text(path: &Path) -> String {
    path.to_str().unwrap().to_owned()
}
