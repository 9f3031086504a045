//! Writes a long history of a driver that keeps the contract: volumes come and go, some hundred at a time.
//!
//!     cargo run --release --example long_history -- 1000000 /tmp/long.jsonl
//!     csi-certify judge /tmp/long.jsonl

use std::{collections::BTreeMap, path::Path};

use csi_certify::{
    csi::v1::{
        self, controller_service_capability as controller, node_service_capability as node,
        plugin_capability as plugin,
        volume_capability::{AccessMode, AccessType, MountVolume, access_mode::Mode},
        volume_usage::Unit,
    },
    history::{FORMAT, Header, Recorder, Reply, Request, Writer},
};

/// Volumes that exist at a time.
const LIVE: usize = 200;

/// How often each volume is measured while it is mounted.
const MEASURED: usize = 4;

/// Where everything happens.
const NODE: &str = "node-a";

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(events), Some(path)) = (arguments.next(), arguments.next()) else {
        return Err("usage: long_history EVENTS FILE".into());
    };
    let events: u64 = events.parse()?;
    let header = Header { format: FORMAT, endpoints: vec!["unix:///csi.sock".into()], ..Header::default() };
    let writer = Writer::create(Path::new(&path), &header)?;
    let mut traffic = Traffic { recorder: Recorder::on_disk(header, writer), calls: 0 };
    traffic.greet();
    let mut volumes: Vec<(usize, usize)> = (0..LIVE).map(|number| (number, number % Step::COUNT)).collect();
    // They are at different steps of their lives; what comes before the first of them has happened by then.
    for &(number, upto) in &volumes {
        (0..upto).for_each(|step| traffic.step(number, step));
    }
    let mut next = LIVE;
    while traffic.calls * 2 < events {
        for volume in &mut volumes {
            traffic.step(volume.0, volume.1);
            volume.1 += 1;
            if volume.1 == Step::COUNT {
                *volume = (next, 0);
                next += 1;
            }
        }
    }
    traffic.recorder.flush()?;
    eprintln!("{} events, {next} volumes of which {LIVE} at a time", traffic.calls * 2);
    Ok(())
}

/// The steps of a volume's life.
struct Step;

impl Step {
    const COUNT: usize = 8 + MEASURED;
}

struct Traffic {
    recorder: Recorder,
    calls: u64,
}

impl Traffic {
    fn call(&mut self, node: &str, request: impl Into<Request>, reply: impl Into<Reply>) {
        // A call a millisecond, which takes half of one.
        self.recorder.turn_to(self.calls * 1000);
        let call = self.recorder.call("plugin", node, "", &request.into());
        self.recorder.turn_to(self.calls * 1000 + 500);
        self.recorder.reply(call, reply.into());
        self.calls += 1;
    }

    fn greet(&mut self) {
        let name = v1::GetPluginInfoResponse {
            name: "long.csi.example".into(),
            vendor_version: "1".into(),
            ..Default::default()
        };
        self.call("", v1::GetPluginInfoRequest {}, name);
        let service = plugin::Service { r#type: plugin::service::Type::ControllerService.into() };
        let capabilities = vec![v1::PluginCapability { r#type: Some(plugin::Type::Service(service)) }];
        self.call("", v1::GetPluginCapabilitiesRequest {}, v1::GetPluginCapabilitiesResponse { capabilities });
        use controller::rpc::Type as Controller;
        let capabilities = [Controller::CreateDeleteVolume, Controller::PublishUnpublishVolume].map(|one| {
            let rpc = controller::Type::Rpc(controller::Rpc { r#type: one.into() });
            v1::ControllerServiceCapability { r#type: Some(rpc) }
        });
        let capabilities = v1::ControllerGetCapabilitiesResponse { capabilities: capabilities.into() };
        self.call("", v1::ControllerGetCapabilitiesRequest {}, capabilities);
        use node::rpc::Type as Node;
        let capabilities = [Node::StageUnstageVolume, Node::GetVolumeStats].map(|one| {
            let rpc = node::Type::Rpc(node::Rpc { r#type: one.into() });
            v1::NodeServiceCapability { r#type: Some(rpc) }
        });
        let capabilities = v1::NodeGetCapabilitiesResponse { capabilities: capabilities.into() };
        self.call(NODE, v1::NodeGetCapabilitiesRequest {}, capabilities);
        let info = v1::NodeGetInfoResponse { node_id: NODE.into(), ..Default::default() };
        self.call(NODE, v1::NodeGetInfoRequest {}, info);
    }

    /// One step of the life of a volume.
    fn step(&mut self, number: usize, step: usize) {
        let volume_id = format!("volume-{number}");
        let volume_capability = Some(v1::VolumeCapability {
            access_mode: Some(AccessMode { mode: Mode::SingleNodeWriter.into() }),
            access_type: Some(AccessType::Mount(MountVolume::default())),
        });
        let publish_context = BTreeMap::from([("device".to_owned(), format!("/dev/{number}"))]);
        let staging_target_path = format!("/var/lib/kubelet/plugins/staging/{number}");
        let target_path = format!("/var/lib/kubelet/pods/{number}/mount");
        match step {
            0 => {
                let request = v1::CreateVolumeRequest {
                    name: format!("pvc-{number}"),
                    capacity_range: Some(v1::CapacityRange { required_bytes: 1 << 30, limit_bytes: 0 }),
                    volume_capabilities: volume_capability.into_iter().collect(),
                    ..Default::default()
                };
                let volume = v1::Volume { volume_id, capacity_bytes: 1 << 30, ..Default::default() };
                self.call("", request, v1::CreateVolumeResponse { volume: Some(volume) });
            }
            1 => {
                let request = v1::ControllerPublishVolumeRequest {
                    volume_id,
                    node_id: NODE.into(),
                    volume_capability,
                    ..Default::default()
                };
                self.call("", request, v1::ControllerPublishVolumeResponse { publish_context });
            }
            2 => {
                let request = v1::NodeStageVolumeRequest {
                    volume_id,
                    publish_context,
                    staging_target_path,
                    volume_capability,
                    ..Default::default()
                };
                self.call(NODE, request, v1::NodeStageVolumeResponse {});
            }
            3 => {
                let request = v1::NodePublishVolumeRequest {
                    volume_id,
                    publish_context,
                    staging_target_path,
                    target_path,
                    volume_capability,
                    ..Default::default()
                };
                self.call(NODE, request, v1::NodePublishVolumeResponse {});
            }
            step if step < 4 + MEASURED => {
                let request =
                    v1::NodeGetVolumeStatsRequest { volume_id, volume_path: target_path, staging_target_path };
                let usage = v1::VolumeUsage {
                    total: 1 << 30,
                    used: 1 << 20,
                    available: (1 << 30) - (1 << 20),
                    unit: Unit::Bytes.into(),
                };
                self.call(NODE, request, v1::NodeGetVolumeStatsResponse { usage: vec![usage], volume_condition: None });
            }
            step => match step - MEASURED {
                4 => self.call(
                    NODE,
                    v1::NodeUnpublishVolumeRequest { volume_id, target_path },
                    v1::NodeUnpublishVolumeResponse {},
                ),
                5 => {
                    let request = v1::NodeUnstageVolumeRequest { volume_id, staging_target_path };
                    self.call(NODE, request, v1::NodeUnstageVolumeResponse {});
                }
                6 => {
                    let request =
                        v1::ControllerUnpublishVolumeRequest { volume_id, node_id: NODE.into(), ..Default::default() };
                    self.call("", request, v1::ControllerUnpublishVolumeResponse {});
                }
                _ => {
                    let request = v1::DeleteVolumeRequest { volume_id, ..Default::default() };
                    self.call("", request, v1::DeleteVolumeResponse {});
                }
            },
        }
    }
}
