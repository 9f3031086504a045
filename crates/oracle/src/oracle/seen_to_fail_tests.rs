//! Rules that no single changed answer of an honest history breaks (`tests/oracle/power.rs`), each seen to fail by a history of
//! its own.

use std::collections::{BTreeMap, BTreeSet};

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
    history::{Fault, Header, Lost, Recorder, Reply, Request},
};

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

const SNAPSHOTS: &[Controller] =
    &[Controller::CreateDeleteSnapshot, Controller::ListSnapshots, Controller::GetSnapshot];
const PLACES: plugin::Type =
    plugin::Type::Service(plugin::Service { r#type: plugin::service::Type::VolumeAccessibilityConstraints as i32 });

#[test]
fn capacity_that_cannot_be_had() {
    let parameters = BTreeMap::from([("tier".to_owned(), "fast".to_owned())]);
    let plugin = Plugin::with(&[Controller::GetCapacity], &[]);
    let ask = v1::GetCapacityRequest {
        parameters: parameters.clone(),
        volume_capabilities: vec![capability(SingleNodeWriter)],
        ..Default::default()
    };
    plugin.ok(ask, v1::GetCapacityResponse { available_capacity: 100, ..Default::default() });
    let range = v1::CapacityRange { required_bytes: 100, limit_bytes: 0 };
    let request = v1::CreateVolumeRequest { parameters, capacity_range: Some(range), ..create("a", SingleNodeWriter) };
    plugin.refused(request, Code::OutOfRange, "no room");
    breaks(&["CTRL-CAPACITY-004", "CTRL-CAPACITY-014"], plugin);

    let plugin = Plugin::with(&[Controller::GetCapacity], &[]);
    plugin.refused(create("a", Mode::MultiNodeMultiWriter), Code::InvalidArgument, "one writer only");
    let ask = v1::GetCapacityRequest {
        volume_capabilities: vec![capability(Mode::MultiNodeMultiWriter)],
        ..Default::default()
    };
    let offer = v1::GetCapacityResponse {
        available_capacity: 100,
        maximum_volume_size: Some(50),
        minimum_volume_size: Some(1),
    };
    plugin.ok(ask, offer);
    breaks(&["CTRL-CAPACITY-002", "CTRL-CAPACITY-011", "CTRL-CAPACITY-016"], plugin);
}

#[test]
fn single_node_modes() {
    let both = (&[Controller::SingleNodeMultiWriter], &[Node::SingleNodeMultiWriter]);
    let plugin = Plugin::with(both.0, both.1);
    plugin.refused(create("a", SingleNodeSingleWriter), Code::InvalidArgument, "no such mode");
    plugin.refused(create("a", SingleNodeMultiWriter), Code::InvalidArgument, "no such mode");
    breaks(&["CTRL-CAPS-014", "NODE-CAPS-007"], plugin);

    let plugin = Plugin::with(both.0, both.1);
    plugin.created_for("a", SingleNodeSingleWriter);
    plugin.refused(create("b", SingleNodeWriter), Code::InvalidArgument, "no such mode");
    breaks(&["CTRL-CAPS-015"], plugin);

    for (readonly, rule) in [(false, "NODE-PUBLISH-026"), (true, "NODE-PUBLISH-027")] {
        let plugin = Plugin::with(both.0, both.1);
        plugin.created_for("a", SingleNodeMultiWriter);
        plugin.ok(publish("/1", SingleNodeMultiWriter), v1::NodePublishVolumeResponse {});
        let second = v1::NodePublishVolumeRequest { readonly, ..publish("/2", SingleNodeMultiWriter) };
        plugin.refused(second, Code::FailedPrecondition, "published already");
        breaks(&[rule], plugin);
    }
}

#[test]
fn what_clients_keep_over_a_restart() {
    let publish = Request::from(publish("/1", SingleNodeWriter));
    for (request, reply, node, rule) in [
        (publish, Reply::from(v1::NodePublishVolumeResponse {}), &[][..], "CTRL-CREATE-093"),
        (stage("/1").into(), v1::NodeStageVolumeResponse {}.into(), &[Node::StageUnstageVolume], "CTRL-PUBLISH-023"),
    ] {
        let plugin = Plugin::with(&[], node);
        plugin.created("a");
        plugin.ok(request.clone(), reply);
        plugin.restarted();
        plugin.refused(request, Code::InvalidArgument, "no such context");
        breaks(&[rule, "NODE-INFO-005"], plugin);
    }
    let plugin = Plugin::with(&[], &[]);
    plugin.advertises(&[PLACES]);
    plugin.restarted();
    plugin.advertises(&[]);
    breaks(&["IDENT-CAPS-002"], plugin);
}

#[test]
fn a_repeat_that_tells_another_context() {
    let plugin = Plugin::with(&[], &[]);
    plugin.created("a");
    let mut other = volume("a");
    other.volume.as_mut().unwrap().volume_context.insert("share".into(), "other".into());
    plugin.ok(create("a", SingleNodeWriter), other);
    breaks(&["CTRL-CREATE-097"], plugin);
}

#[test]
fn places() {
    let (one, two) = (segments(&[("zone", "1")]), segments(&[("zone", "2")]));
    let within = |place: v1::Topology| {
        let mut reply = volume("a");
        reply.volume.as_mut().unwrap().accessible_topology = vec![place];
        reply
    };
    let plugin = Plugin::with(&[], &[]);
    plugin.advertises(&[PLACES]);
    let requirements = v1::TopologyRequirement {
        requisite: vec![one.clone(), two.clone()],
        preferred: vec![two.clone(), one.clone()],
    };
    let request =
        v1::CreateVolumeRequest { accessibility_requirements: Some(requirements), ..create("a", SingleNodeWriter) };
    plugin.ok(request, within(one));
    breaks(&["CTRL-CREATE-121", "CTRL-CREATE-126"], plugin);

    for (place, rule) in
        [(segments(&[("zone", "1"), ("Zone", "1")]), "CTRL-CREATE-138"), (segments(&[("zone", "")]), "CTRL-CREATE-139")]
    {
        let plugin = Plugin::with(&[], &[]);
        plugin.advertises(&[PLACES]);
        plugin.ok(create("a", SingleNodeWriter), within(place));
        breaks(&[rule], plugin);
    }
}

#[test]
fn snapshots_that_go_with_their_volume() {
    let orphaned = || {
        let plugin = Plugin::with(SNAPSHOTS, &[]);
        plugin.created("a");
        plugin.cut("s", "a");
        plugin.deleted("a");
        plugin
    };
    let plugin = orphaned();
    plugin.refused(v1::GetSnapshotRequest { snapshot_id: "s".into(), ..Default::default() }, Code::NotFound, "gone");
    breaks(&["CTRL-DELETE-005", "CTRL-DELETE-006"], plugin);
    let plugin = orphaned();
    plugin.ok(v1::ListSnapshotsRequest::default(), v1::ListSnapshotsResponse::default());
    breaks(&["CTRL-DELETE-008"], plugin);
}

#[test]
fn ids_that_a_plugin_does_not_know_again() {
    let plugin = Plugin::with(SNAPSHOTS, &[]);
    plugin.created("a");
    plugin.refused(
        v1::DeleteVolumeRequest { volume_id: "a".into(), ..Default::default() },
        Code::NotFound,
        "no such volume",
    );
    breaks(&["CTRL-INTERACT-001"], plugin);

    let plugin = Plugin::with(SNAPSHOTS, &[]);
    plugin.created("a");
    plugin.cut("s", "a");
    plugin.refused(
        v1::DeleteSnapshotRequest { snapshot_id: "s".into(), ..Default::default() },
        Code::NotFound,
        "no such snapshot",
    );
    breaks(&["CTRL-INTERACT-007"], plugin);

    let plugin = Plugin::with(SNAPSHOTS, &[]);
    plugin.created("a");
    plugin.cut("", "a");
    breaks(&["CTRL-INTERACT-008"], plugin);
}

#[test]
fn snapshots_that_are_listed_as_they_were_before() {
    let plugin = Plugin::with(SNAPSHOTS, &[]);
    plugin.created("a");
    plugin.cut("s", "a");
    let entry = v1::list_snapshots_response::Entry {
        snapshot: Some(v1::Snapshot { ready_to_use: false, ..snapshot("s", "a") }),
    };
    let request = v1::ListSnapshotsRequest { snapshot_id: "s".into(), ..Default::default() };
    plugin.ok(request, v1::ListSnapshotsResponse { entries: vec![entry], ..Default::default() });
    breaks(&["CTRL-INTERACT-013", "CTRL-SNAPLIST-017"], plugin);
}

#[test]
fn a_snapshot_that_never_ripens() {
    let plugin = Plugin::with(SNAPSHOTS, &[]);
    plugin.created("a");
    let unripe = || v1::Snapshot { ready_to_use: false, ..snapshot("s", "a") };
    plugin.ok(cut("s", "a"), v1::CreateSnapshotResponse { snapshot: Some(unripe()) });
    for look in 1..=10 {
        plugin.0.turn_to(look * 5_000_000);
        let request = v1::GetSnapshotRequest { snapshot_id: "s".into(), ..Default::default() };
        plugin.ok(request, v1::GetSnapshotResponse { snapshot: Some(unripe()) });
    }
    breaks(&["CTRL-SNAPCREATE-015"], plugin);
}

#[test]
fn a_modification_that_cannot_be_repeated() {
    let plugin = Plugin::with(&[Controller::ModifyVolume], &[]);
    plugin.created("a");
    let modify = |tier: &str| v1::ControllerModifyVolumeRequest {
        volume_id: "a".into(),
        mutable_parameters: BTreeMap::from([("tier".to_owned(), tier.to_owned())]),
        ..Default::default()
    };
    plugin.ok(modify("fast"), v1::ControllerModifyVolumeResponse {});
    plugin.refused(modify("slow"), Code::InvalidArgument, "there is nothing slower");
    plugin.refused(modify("fast"), Code::InvalidArgument, "it is fast already");
    breaks(&["CTRL-MODIFY-002"], plugin);

    // Back again is another modification, and may be one too many; whether it is, after one without an answer, nobody knows.
    for is_lost in [false, true] {
        let plugin = Plugin::with(&[Controller::ModifyVolume], &[]);
        plugin.created("a");
        plugin.ok(modify("fast"), v1::ControllerModifyVolumeResponse {});
        if is_lost {
            let call = plugin.0.call("plugin", "", "scenario", &modify("slow").into());
            plugin.0.lost(call, Lost::Deadline);
        } else {
            plugin.ok(modify("slow"), v1::ControllerModifyVolumeResponse {});
        }
        plugin.refused(modify("fast"), Code::InvalidArgument, "once only");
        assert!(!plugin.broken().contains("CTRL-MODIFY-002"), "lost: {is_lost}");
    }
}

#[test]
fn attachments() {
    let plugin = Plugin::with(&[Controller::PublishUnpublishVolume, Controller::PublishReadonly], &[]);
    plugin.created("a");
    let readonly = v1::ControllerPublishVolumeRequest { readonly: true, ..attach("node") };
    plugin.refused(readonly, Code::Unimplemented, "not read-only");
    breaks(&["CTRL-CAPS-007"], plugin);

    // The volume was attached to both nodes before, one after the other.
    for (again, expected) in [("node", true), ("new", false)] {
        let plugin = Plugin::with(&[Controller::PublishUnpublishVolume], &[]);
        plugin.created("a");
        for node in ["node", "other"] {
            plugin.attached(node);
            plugin.detached(node);
        }
        plugin.refused(attach(again), Code::FailedPrecondition, "published elsewhere");
        assert_eq!(plugin.broken().contains("CTRL-UNPUBLISH-003"), expected, "{again}");
    }
}

#[test]
fn a_single_writer_on_two_nodes() {
    let plugin = Plugin::with(&[Controller::PublishUnpublishVolume], &[]);
    plugin.created_for("a", SingleNodeSingleWriter);
    for node in ["node", "other"] {
        let volume_capability = Some(capability(SingleNodeSingleWriter));
        let request = v1::ControllerPublishVolumeRequest { volume_capability, ..attach(node) };
        plugin.ok(request, v1::ControllerPublishVolumeResponse::default());
    }
    breaks(&["CTRL-CREATE-070"], plugin);
}

#[test]
fn a_key_that_either_map_may_have_and_not_both() {
    let tier = |tier: &str| BTreeMap::from([("tier".to_owned(), tier.to_owned())]);
    let made_with = |parameters, mutable_parameters| v1::CreateVolumeRequest {
        parameters,
        mutable_parameters,
        ..create("", SingleNodeWriter)
    };
    for (fixed_is_fine, broken) in [(true, true), (false, false)] {
        let plugin = Plugin::with(&[Controller::ModifyVolume], &[]);
        let named = |name: &str, request| v1::CreateVolumeRequest { name: name.into(), ..request };
        plugin.ok(named("a", made_with(BTreeMap::new(), tier("fast"))), volume("a"));
        let fixed = named("b", made_with(tier("slow"), BTreeMap::new()));
        match fixed_is_fine {
            true => plugin.ok(fixed, volume("b")),
            false => plugin.refused(fixed, Code::InvalidArgument, "tier can be modified"),
        }
        plugin.refused(named("c", made_with(tier("slow"), tier("fast"))), Code::InvalidArgument, "tier is given twice");
        assert_eq!(plugin.broken().contains("CTRL-CREATE-009"), broken, "{fixed_is_fine}");
    }
}

#[test]
fn rpcs_without_a_handler() {
    let plugin = Plugin::with(&[], &[]);
    let service = |kind: plugin::service::Type| plugin::Type::Service(plugin::Service { r#type: kind.into() });
    plugin.advertises(&[service(plugin::service::Type::ControllerService)]);
    plugin.refused(v1::ListVolumesRequest::default(), Code::Unimplemented, "unknown method ListVolumes");
    breaks(&["GEN-LIFE-003", "GEN-LIFE-004"], plugin);

    let plugin = Plugin::with(&[], &[]);
    let online = plugin::VolumeExpansion { r#type: plugin::volume_expansion::Type::Online.into() };
    plugin.advertises(&[service(plugin::service::Type::ControllerService), plugin::Type::VolumeExpansion(online)]);
    breaks(&["IDENT-CAPS-014"], plugin);
}

#[test]
fn long_paths() {
    for (length, rules) in [
        (128, ["NODE-STAGE-023", "NODE-EXPAND-013", "NODE-EXPAND-021"]),
        (1000, ["NODE-STAGE-022", "NODE-EXPAND-012", "NODE-EXPAND-020"]),
    ] {
        let plugin = Plugin::with(&[], &[Node::StageUnstageVolume, Node::ExpandVolume]);
        plugin.created("a");
        plugin.refused(stage(&path(length)), Code::InvalidArgument, "too long");
        plugin.ok(stage(&path(length)), v1::NodeStageVolumeResponse {});
        let published = v1::NodePublishVolumeRequest {
            staging_target_path: path(length),
            ..publish(&path(length), SingleNodeWriter)
        };
        plugin.ok(published, v1::NodePublishVolumeResponse {});
        let expand = v1::NodeExpandVolumeRequest {
            volume_id: "a".into(),
            volume_path: path(length),
            staging_target_path: path(length),
            capacity_range: Some(v1::CapacityRange { required_bytes: 20, limit_bytes: 0 }),
            ..Default::default()
        };
        plugin.refused(expand, Code::InvalidArgument, "too long");
        breaks(&rules, plugin);
    }
}

#[test]
fn calls_without_a_capability() {
    let plugin = Plugin::with(&[], &[Node::StageUnstageVolume]);
    plugin.created("a");
    plugin.ok(v1::NodeStageVolumeRequest { volume_capability: None, ..stage("/s") }, v1::NodeStageVolumeResponse {});
    breaks(&["NODE-STAGE-026"], plugin);
    let plugin = Plugin::with(&[], &[]);
    plugin.created("a");
    let request = v1::NodePublishVolumeRequest { volume_capability: None, ..publish("/t", SingleNodeWriter) };
    plugin.ok(request, v1::NodePublishVolumeResponse {});
    breaks(&["NODE-PUBLISH-058"], plugin);
}

#[test]
fn what_is_told_or_refused_amiss() {
    let plugin = Plugin::with(&[], &[]);
    let mount = MountVolume { mount_flags: vec!["password=1234".into()], ..Default::default() };
    let flagged = v1::VolumeCapability { access_type: Some(AccessType::Mount(mount)), ..capability(SingleNodeWriter) };
    let request = v1::CreateVolumeRequest { volume_capabilities: vec![flagged], ..create("a", SingleNodeWriter) };
    plugin.refused(request, Code::InvalidArgument, "password=1234 is no flag");
    breaks(&["CTRL-CREATE-060"], plugin);

    let plugin = Plugin::with(&[], &[]);
    let secrets = BTreeMap::from([("token".to_owned(), "1234".to_owned())]);
    plugin.ok(v1::CreateVolumeRequest { secrets: secrets.clone(), ..create("a", SingleNodeWriter) }, volume("a"));
    let delete = v1::DeleteVolumeRequest { volume_id: "a".into(), secrets };
    plugin.refused(delete, Code::Unauthenticated, "no such user");
    breaks(&["GEN-SECRET-008"], plugin);

    let plugin = Plugin::with(&[], &[]);
    plugin.refused(v1::ProbeRequest {}, Code::Internal, "starting");
    plugin.ok(v1::ProbeRequest {}, v1::ProbeResponse::default());
    breaks(&["IDENT-PROBE-014"], plugin);
}
