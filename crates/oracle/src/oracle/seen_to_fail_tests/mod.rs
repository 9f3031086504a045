//! Rules that no single changed answer of an honest history breaks (`tests/oracle/power.rs`), each seen to fail by a history of
//! its own.

use std::collections::{BTreeMap, BTreeSet};

use prost_reflect::prost_types::Timestamp;
use tonic::Code;

use super::{RuleStatus, judge};
use crate::{
    csi::v1::{
        self,
        controller_service_capability::{self as controller, rpc::Type as Controller},
        node_service_capability::{self as node, rpc::Type as Node},
        plugin_capability as plugin,
        volume_capability::{
            AccessMode, AccessType, MountVolume,
            access_mode::Mode::{self, SingleNodeMultiWriter, SingleNodeSingleWriter, SingleNodeWriter},
        },
    },
    history::{DENIED, Fault, Header, Launch, Lost, Mount, Observation, PathKind, Recorder, Reply, Request},
};

mod contents;
mod expansion;
mod groups;
mod metadata;
mod mounts;
mod nodes;
mod process;
mod second_publish;
mod snapshots;
mod volumes;

/// A plugin that answers whatever the test says.
struct Plugin(Recorder);

impl Plugin {
    fn with(controller: &[Controller], node: &[Node]) -> Self {
        let plugin = Self(Recorder::new(Header { restartable: true, ..Header::default() }, None));
        let capability = |kind: &Controller| v1::ControllerServiceCapability {
            r#type: Some(controller::Type::Rpc(controller::Rpc { r#type: (*kind).into() })),
        };
        let capabilities = [Controller::CreateDeleteVolume].iter().chain(controller).map(capability).collect();
        plugin.ok(v1::ControllerGetCapabilitiesRequest {}, v1::ControllerGetCapabilitiesResponse { capabilities });
        let capability = |kind: &Node| v1::NodeServiceCapability {
            r#type: Some(node::Type::Rpc(node::Rpc { r#type: (*kind).into() })),
        };
        let capabilities = node.iter().map(capability).collect();
        plugin.ok(v1::NodeGetCapabilitiesRequest {}, v1::NodeGetCapabilitiesResponse { capabilities });
        plugin.ok(v1::NodeGetInfoRequest {}, v1::NodeGetInfoResponse { node_id: "node".into(), ..Default::default() });
        plugin
    }

    /// Advertises these of the plugin itself.
    fn advertises(&self, capabilities: &[plugin::Type]) {
        let capability = |kind: &plugin::Type| v1::PluginCapability { r#type: Some(*kind) };
        let capabilities = capabilities.iter().map(capability).collect();
        self.ok(v1::GetPluginCapabilitiesRequest {}, v1::GetPluginCapabilitiesResponse { capabilities });
    }

    fn ok(&self, request: impl Into<Request>, reply: impl Into<Reply>) {
        let request = request.into();
        let call = self.0.call("plugin", if request.rpc().is_node() { "node" } else { "" }, "scenario", &request);
        self.0.reply(call, reply.into());
    }

    fn refused(&self, request: impl Into<Request>, code: Code, message: &str) {
        let request = request.into();
        let call = self.0.call("plugin", if request.rpc().is_node() { "node" } else { "" }, "scenario", &request);
        self.0.status(call, code as i32, message, 0);
    }

    /// Makes a volume of that name and id.
    fn created(&self, name: &str) {
        self.created_for(name, SingleNodeWriter);
    }

    fn created_for(&self, name: &str, mode: Mode) {
        self.ok(create(name, mode), volume(name));
    }

    /// Cuts a snapshot of that name and id, which is ready.
    fn cut(&self, name: &str, volume: &str) {
        let snapshot = Some(snapshot(name, volume));
        self.ok(cut(name, volume), v1::CreateSnapshotResponse { snapshot });
    }

    fn deleted(&self, volume: &str) {
        self.ok(
            v1::DeleteVolumeRequest { volume_id: volume.into(), ..Default::default() },
            v1::DeleteVolumeResponse {},
        );
    }

    fn attached(&self, node: &str) {
        self.ok(attach(node), v1::ControllerPublishVolumeResponse::default());
    }

    fn detached(&self, node: &str) {
        let request =
            v1::ControllerUnpublishVolumeRequest { volume_id: "a".into(), node_id: node.into(), ..Default::default() };
        self.ok(request, v1::ControllerUnpublishVolumeResponse {});
    }

    /// Publishes a volume at a target.
    fn published(&self, volume: &str, target: &str) {
        let request = v1::NodePublishVolumeRequest { volume_id: volume.into(), ..publish(target, SingleNodeWriter) };
        self.ok(request, v1::NodePublishVolumeResponse {});
    }

    /// Somebody looks at a path of the node.
    fn seen(&self, path: &str, kind: PathKind, mounts: usize) {
        let mount = Mount { fs_type: "ext4".into(), read_only: false, device: "0:1".into() };
        self.0.observed(Observation::Path {
            node: "node".into(),
            path: path.into(),
            kind,
            mounts: vec![mount; mounts],
        });
    }

    /// Somebody writes a file below a path of the node.
    fn written(&self, path: &str, name: &str, content: &str, error: &str) {
        let (path, name, content) = (path.into(), name.into(), content.into());
        self.0.observed(Observation::Write { node: "node".into(), path, name, content, error: error.into() });
    }

    /// Somebody reads it; without content there is no such file.
    fn read(&self, path: &str, name: &str, content: &str) {
        let error = if content.is_empty() { "ENOENT" } else { "" };
        let (path, name, content) = (path.into(), name.into(), content.into());
        self.0.observed(Observation::Read { node: "node".into(), path, name, content, error: error.into() });
    }

    fn restarted(&self) {
        self.0.fault(Fault::Killed { instance: "plugin".into(), signal: "SIGKILL".into() });
        self.0.fault(Fault::Restarted { instance: "plugin".into() });
    }

    /// The rules that were broken, if only to draw a warning.
    fn broken(self) -> BTreeSet<&'static str> {
        let rules = judge(&self.0.history()).rules;
        rules.iter().filter(|one| one.status == RuleStatus::Broken).map(|one| one.rule.as_str()).collect()
    }
}

#[track_caller]
fn breaks(rules: &[&str], plugin: Plugin) {
    let broken = plugin.broken();
    let missed: Vec<_> = rules.iter().filter(|rule| !broken.contains(**rule)).collect();
    assert!(missed.is_empty(), "{missed:?} not among {broken:?}");
}

/// The plugin breaks those of the rules that are expected to be broken, and keeps to the others. Where it keeps to all of
/// them, it is beyond reproach: no rule at all is broken.
#[track_caller]
fn breaks_only(expected: &[&str], rules: &[&str], plugin: Plugin) {
    let broken = plugin.broken();
    let of_these: Vec<_> = rules.iter().copied().filter(|rule| broken.contains(rule)).collect();
    assert_eq!(of_these, expected, "{broken:?}");
    assert!(!expected.is_empty() || broken.is_empty(), "{broken:?}");
}

fn capability(mode: Mode) -> v1::VolumeCapability {
    v1::VolumeCapability {
        access_mode: Some(AccessMode { mode: mode.into() }),
        access_type: Some(AccessType::Mount(MountVolume::default())),
    }
}

fn create(name: &str, mode: Mode) -> v1::CreateVolumeRequest {
    v1::CreateVolumeRequest { name: name.into(), volume_capabilities: vec![capability(mode)], ..Default::default() }
}

fn volume(id: &str) -> v1::CreateVolumeResponse {
    let volume = v1::Volume { volume_id: id.into(), capacity_bytes: 10, ..Default::default() };
    v1::CreateVolumeResponse { volume: Some(volume) }
}

fn cut(name: &str, volume: &str) -> v1::CreateSnapshotRequest {
    v1::CreateSnapshotRequest { name: name.into(), source_volume_id: volume.into(), ..Default::default() }
}

fn snapshot(id: &str, volume: &str) -> v1::Snapshot {
    v1::Snapshot {
        snapshot_id: id.into(),
        source_volume_id: volume.into(),
        size_bytes: 10,
        ready_to_use: true,
        creation_time: Some(Timestamp { seconds: 1, nanos: 0 }),
        ..Default::default()
    }
}

fn attach(node: &str) -> v1::ControllerPublishVolumeRequest {
    v1::ControllerPublishVolumeRequest {
        volume_id: "a".into(),
        node_id: node.into(),
        volume_capability: Some(capability(SingleNodeWriter)),
        ..Default::default()
    }
}

fn publish(target: &str, mode: Mode) -> v1::NodePublishVolumeRequest {
    v1::NodePublishVolumeRequest {
        volume_id: "a".into(),
        target_path: target.into(),
        volume_capability: Some(capability(mode)),
        ..Default::default()
    }
}

fn stage(path: &str) -> v1::NodeStageVolumeRequest {
    v1::NodeStageVolumeRequest {
        volume_id: "a".into(),
        staging_target_path: path.into(),
        volume_capability: Some(capability(SingleNodeWriter)),
        ..Default::default()
    }
}

/// A path of that many bytes.
fn path(length: usize) -> String {
    format!("/{}", "x".repeat(length - 1))
}

fn segments(pairs: &[(&str, &str)]) -> v1::Topology {
    v1::Topology { segments: pairs.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect() }
}

/// What a volume is made from.
fn from_volume(volume: &str) -> Option<v1::VolumeContentSource> {
    let source = v1::volume_content_source::VolumeSource { volume_id: volume.into() };
    Some(v1::VolumeContentSource { r#type: Some(v1::volume_content_source::Type::Volume(source)) })
}

fn from_snapshot(snapshot: &str) -> Option<v1::VolumeContentSource> {
    let source = v1::volume_content_source::SnapshotSource { snapshot_id: snapshot.into() };
    Some(v1::VolumeContentSource { r#type: Some(v1::volume_content_source::Type::Snapshot(source)) })
}

const fn service(kind: plugin::service::Type) -> plugin::Type {
    plugin::Type::Service(plugin::Service { r#type: kind as i32 })
}

const fn expansion(kind: plugin::volume_expansion::Type) -> plugin::Type {
    plugin::Type::VolumeExpansion(plugin::VolumeExpansion { r#type: kind as i32 })
}

const SNAPSHOTS: &[Controller] =
    &[Controller::CreateDeleteSnapshot, Controller::ListSnapshots, Controller::GetSnapshot];
const PLACES: plugin::Type = service(plugin::service::Type::VolumeAccessibilityConstraints);
const CONTROLLER: plugin::Type = service(plugin::service::Type::ControllerService);
