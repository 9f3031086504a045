//! The rate of calls through `csi-certify record` beside the direct one: eight clients, the built-in driver.
//!
//!     cargo bench --bench record

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a measurement that cannot go on ends")]

use std::{
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use csi_certify::csi::v1::{
    self,
    controller_client::ControllerClient,
    node_client::NodeClient,
    volume_capability::{AccessMode, AccessType, MountVolume, access_mode::Mode},
};
use tonic::transport::{Channel, Endpoint};

const CLIENTS: usize = 8;

/// Lives of a volume that each client goes through in a round.
const LIVES: usize = 40;

/// Calls of one life.
const CALLS: usize = 12;

/// Rounds of each kind, in turn, so that both meet the same machine.
const ROUNDS: usize = 9;

/// A process that ends with the measurement.
struct Running(Child);

impl Running {
    fn start(arguments: &[&str], socket: &Path) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_csi-certify"));
        let child = command.args(arguments).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let begun = Instant::now();
        while !socket.exists() {
            assert!(begun.elapsed() < Duration::from_secs(30), "{} does not appear", socket.display());
            std::thread::sleep(Duration::from_millis(5));
        }
        Self(child)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn main() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    let driver = ["driver", "--runtime", "memory", "--endpoint", &path("d.sock"), "--state-dir", &path("state")];
    let _driver = Running::start(&driver, Path::new(&path("d.sock")));
    let record = ["record", "--listen", &path("p.sock"), "--upstream", &path("d.sock"), "--history", &path("h.jsonl")];
    let _record = Running::start(&record, Path::new(&path("p.sock")));
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let (mut direct, mut through) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        // Each kind is the first one as often as the other, as nearly as can be.
        for kind in [round % 2, (round + 1) % 2] {
            let (socket, rates) = if kind == 0 { ("d.sock", &mut direct) } else { ("p.sock", &mut through) };
            rates.push(runtime.block_on(rate(&path(socket), directory.path(), &format!("{round}-{kind}"))));
        }
    }
    let (direct, through) = (median(direct), median(through));
    println!(
        "{CLIENTS} clients, median of {ROUNDS} rounds: {direct:.0} calls/s direct, {through:.0} calls/s through record, {:.0} %",
        100.0 * through / direct
    );
}

fn median(mut rates: Vec<f64>) -> f64 {
    rates.sort_by(f64::total_cmp);
    rates[rates.len() / 2]
}

/// Calls in a second, over all clients.
async fn rate(socket: &str, directory: &Path, round: &str) -> f64 {
    let endpoint = Endpoint::try_from(format!("unix://{socket}")).unwrap();
    let mut channels = Vec::new();
    for _ in 0..CLIENTS {
        channels.push(endpoint.connect().await.unwrap());
    }
    let begun = Instant::now();
    let clients = channels.into_iter().enumerate().map(|(client, channel)| {
        let (name, directory) = (format!("{round}-{client}"), directory.to_owned());
        tokio::spawn(async move {
            for life in 0..LIVES {
                live(&channel, &directory, &format!("{name}-{life}")).await;
            }
        })
    });
    for client in clients.collect::<Vec<_>>() {
        client.await.unwrap();
    }
    (CLIENTS * LIVES * CALLS) as f64 / begun.elapsed().as_secs_f64()
}

/// What an orchestrator does with a volume, from its creation to its deletion.
async fn live(channel: &Channel, directory: &Path, name: &str) {
    let mut controller = ControllerClient::new(channel.clone());
    let mut node = NodeClient::new(channel.clone());
    let volume_capability = Some(v1::VolumeCapability {
        access_mode: Some(AccessMode { mode: Mode::SingleNodeWriter.into() }),
        access_type: Some(AccessType::Mount(MountVolume::default())),
    });
    let request = v1::CreateVolumeRequest {
        name: name.to_owned(),
        volume_capabilities: volume_capability.iter().cloned().collect(),
        ..Default::default()
    };
    let volume = controller.create_volume(request).await.unwrap().into_inner().volume.unwrap();
    let (volume_id, volume_context) = (volume.volume_id, volume.volume_context);
    let node_id = node.node_get_info(v1::NodeGetInfoRequest {}).await.unwrap().into_inner().node_id;
    let request = v1::ControllerPublishVolumeRequest {
        volume_id: volume_id.clone(),
        node_id: node_id.clone(),
        volume_capability: volume_capability.clone(),
        volume_context: volume_context.clone(),
        ..Default::default()
    };
    let publish_context = controller.controller_publish_volume(request).await.unwrap().into_inner().publish_context;
    let place = |kind: &str| directory.join(format!("{name}-{kind}")).to_str().unwrap().to_owned();
    let (staging_target_path, target_path) = (place("staging"), place("target"));
    // The staging directory is the orchestrator's.
    std::fs::create_dir(&staging_target_path).unwrap();
    let request = v1::NodeStageVolumeRequest {
        volume_id: volume_id.clone(),
        publish_context: publish_context.clone(),
        staging_target_path: staging_target_path.clone(),
        volume_capability: volume_capability.clone(),
        volume_context: volume_context.clone(),
        ..Default::default()
    };
    node.node_stage_volume(request).await.unwrap();
    let request = v1::NodePublishVolumeRequest {
        volume_id: volume_id.clone(),
        publish_context,
        staging_target_path: staging_target_path.clone(),
        target_path: target_path.clone(),
        volume_capability,
        volume_context,
        ..Default::default()
    };
    node.node_publish_volume(request).await.unwrap();
    for _ in 0..3 {
        let request = v1::NodeGetVolumeStatsRequest {
            volume_id: volume_id.clone(),
            volume_path: target_path.clone(),
            staging_target_path: staging_target_path.clone(),
        };
        node.node_get_volume_stats(request).await.unwrap();
    }
    node.node_unpublish_volume(v1::NodeUnpublishVolumeRequest { volume_id: volume_id.clone(), target_path })
        .await
        .unwrap();
    let request = v1::NodeUnstageVolumeRequest { volume_id: volume_id.clone(), staging_target_path };
    node.node_unstage_volume(request).await.unwrap();
    let request = v1::ControllerUnpublishVolumeRequest { volume_id: volume_id.clone(), node_id, ..Default::default() };
    controller.controller_unpublish_volume(request).await.unwrap();
    controller.delete_volume(v1::DeleteVolumeRequest { volume_id, ..Default::default() }).await.unwrap();
}
