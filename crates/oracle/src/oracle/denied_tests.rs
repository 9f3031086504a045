//! Uses that are denied each time, staging paths from which a mount vanishes, and volumes of which less is told again.

use tonic::Code;

use super::{RuleStatus, Severity, judge};
use crate::{
    csi::v1::{
        self,
        controller_service_capability::{Rpc as Offered, Type as Kind, rpc::Type as Controller},
        node_service_capability as node,
        volume_capability::{AccessMode, AccessType, BlockVolume, MountVolume, access_mode::Mode},
    },
    history::{CallId, FORMAT, Header, Mount, Observation, PathKind, Recorder, Reply, Request},
};

const NODE: &str = "node-1";
const STAGING: &str = "/staging";

struct Written(Recorder);

impl Written {
    fn with(controller: &[Controller], node: &[node::rpc::Type]) -> Self {
        let written = Self(Recorder::new(Header { format: FORMAT, node_fs: true, ..Header::default() }, None));
        let offered = |kind: &Controller| v1::ControllerServiceCapability {
            r#type: Some(Kind::Rpc(Offered { r#type: (*kind).into() })),
        };
        let capabilities = [Controller::CreateDeleteVolume].iter().chain(controller).map(offered).collect();
        written.ok(v1::ControllerGetCapabilitiesRequest {}, v1::ControllerGetCapabilitiesResponse { capabilities });
        let offered = |kind: &node::rpc::Type| v1::NodeServiceCapability {
            r#type: Some(node::Type::Rpc(node::Rpc { r#type: (*kind).into() })),
        };
        let capabilities = node.iter().map(offered).collect();
        written.ok(v1::NodeGetCapabilitiesRequest {}, v1::NodeGetCapabilitiesResponse { capabilities });
        let info = v1::NodeGetInfoResponse { node_id: NODE.into(), ..Default::default() };
        written.ok(v1::NodeGetInfoRequest {}, info);
        written
    }

    fn start(&self, request: impl Into<Request>) -> CallId {
        let request = request.into();
        let node = if request.rpc().is_node() { NODE } else { "" };
        self.0.call("plugin", node, "scenario", &request)
    }

    fn ok(&self, request: impl Into<Request>, reply: impl Into<Reply>) {
        let call = self.start(request);
        self.0.reply(call, reply.into());
    }

    fn refused(&self, request: impl Into<Request>, code: Code) {
        let call = self.start(request);
        self.0.status(call, code as i32, "no", 0);
    }

    fn create(&self, id: &str, capability: v1::VolumeCapability) {
        let volume = Some(v1::Volume { volume_id: id.into(), ..Default::default() });
        self.ok(create(id, capability), v1::CreateVolumeResponse { volume });
    }

    fn seen(&self, path: &str, mounts: usize) {
        let mount = Mount { fs_type: "fuse".into(), read_only: false, device: "0:1".into() };
        let (node, path, kind) = (NODE.into(), path.into(), PathKind::Directory);
        self.0.observed(Observation::Path { node, path, kind, mounts: vec![mount; mounts] });
    }

    fn broken(self, severity: Severity) -> Vec<&'static str> {
        let findings = judge(&self.0.finish().0).findings;
        findings.iter().filter(|one| one.severity == severity).map(|one| one.rule.as_str()).collect()
    }
}

fn mount(mode: Mode) -> v1::VolumeCapability {
    let access_type = Some(AccessType::Mount(MountVolume::default()));
    v1::VolumeCapability { access_mode: Some(AccessMode { mode: mode.into() }), access_type }
}

fn block() -> v1::VolumeCapability {
    v1::VolumeCapability { access_type: Some(AccessType::Block(BlockVolume {})), ..mount(Mode::SingleNodeWriter) }
}

fn create(id: &str, capability: v1::VolumeCapability) -> v1::CreateVolumeRequest {
    v1::CreateVolumeRequest { name: id.into(), volume_capabilities: vec![capability], ..Default::default() }
}

fn attach(id: &str, capability: v1::VolumeCapability) -> v1::ControllerPublishVolumeRequest {
    v1::ControllerPublishVolumeRequest {
        volume_id: id.into(),
        node_id: NODE.into(),
        volume_capability: Some(capability),
        ..Default::default()
    }
}

#[test]
fn an_access_mode_that_is_refused_each_time_was_not_to_be_promised() {
    use Mode::{MultiNodeMultiWriter, MultiNodeReaderOnly};
    for (mode, refusals, code, other_is_fine, expected) in [
        (MultiNodeMultiWriter, 2, Code::InvalidArgument, true, &["CTRL-CREATE-030"][..]),
        // Once may have any reason, and so may a refusal that others get too, or another code.
        (MultiNodeMultiWriter, 1, Code::InvalidArgument, true, &[]),
        (MultiNodeMultiWriter, 2, Code::InvalidArgument, false, &[]),
        (MultiNodeMultiWriter, 2, Code::Internal, true, &[]),
        // A reader may have to say that it only reads.
        (MultiNodeReaderOnly, 2, Code::InvalidArgument, true, &[]),
    ] {
        let written = Written::with(&[Controller::PublishUnpublishVolume], &[]);
        if other_is_fine {
            written.create("other", mount(Mode::SingleNodeWriter));
            let attached = v1::ControllerPublishVolumeResponse::default();
            written.ok(attach("other", mount(Mode::SingleNodeWriter)), attached);
        }
        for at in 0..refusals {
            let id = format!("volume-{at}");
            written.create(&id, mount(mode));
            written.refused(attach(&id, mount(mode)), code);
        }
        assert_eq!(written.broken(Severity::Violation), expected, "{mode:?} {refusals} {code:?} {other_is_fine}");
    }
}

#[test]
fn the_older_mode_stays_accepted_beside_the_newer_ones() {
    use Mode::{MultiNodeMultiWriter, SingleNodeSingleWriter, SingleNodeWriter};
    for (newer, other, expected) in [
        (true, SingleNodeSingleWriter, &["CTRL-CREATE-030", "NODE-CAPS-008", "NODE-PUBLISH-036"][..]),
        // A plugin without the newer modes made no such promise.
        (false, MultiNodeMultiWriter, &["CTRL-CREATE-030"]),
    ] {
        let written = Written::with(&[], if newer { &[node::rpc::Type::SingleNodeMultiWriter] } else { &[] });
        for (at, mode) in [other, SingleNodeWriter, SingleNodeWriter].into_iter().enumerate() {
            let id = format!("volume-{at}");
            written.create(&id, mount(mode));
            let publish = v1::NodePublishVolumeRequest {
                target_path: format!("/{id}"),
                volume_id: id,
                volume_capability: Some(mount(mode)),
                ..Default::default()
            };
            match mode {
                SingleNodeWriter => written.refused(publish, Code::InvalidArgument),
                _ => written.ok(publish, v1::NodePublishVolumeResponse {}),
            }
        }
        let rules = judge(&written.0.finish().0).rules;
        let broken = rules.iter().filter(|one| one.status == RuleStatus::Broken).map(|one| one.rule.as_str());
        assert_eq!(broken.collect::<Vec<_>>(), expected, "{newer}");
    }
}

#[test]
fn a_volume_in_the_place_of_the_nodes_is_accessible_there() {
    let within = |zone: &str| v1::Topology { segments: [("zone".to_owned(), zone.to_owned())].into() };
    // One refusal may be an accident, what is somewhere else may well be refused, and so may everything.
    for (refusals, zone, others_fare_well, expected) in
        [(2, "1", true, &["CTRL-CREATE-111"][..]), (1, "1", true, &[]), (2, "2", true, &[]), (2, "1", false, &[])]
    {
        let written = Written::with(&[], &[]);
        let kind = v1::plugin_capability::service::Type::VolumeAccessibilityConstraints.into();
        let service = v1::plugin_capability::Type::Service(v1::plugin_capability::Service { r#type: kind });
        let capabilities = vec![v1::PluginCapability { r#type: Some(service) }];
        written.ok(v1::GetPluginCapabilitiesRequest {}, v1::GetPluginCapabilitiesResponse { capabilities });
        let accessible_topology = Some(within("1"));
        let info = v1::NodeGetInfoResponse { node_id: NODE.into(), accessible_topology, ..Default::default() };
        written.ok(v1::NodeGetInfoRequest {}, info);
        let anywhere = others_fare_well.then_some(None);
        let placed = (0..refusals).map(|_| Some(within(zone)));
        for (at, place) in anywhere.into_iter().chain(placed).enumerate() {
            let id = format!("volume-{at}");
            let accessibility_requirements = place
                .clone()
                .map(|place| v1::TopologyRequirement { requisite: vec![place.clone()], preferred: vec![place] });
            let request =
                v1::CreateVolumeRequest { accessibility_requirements, ..create(&id, mount(Mode::SingleNodeWriter)) };
            let is_placed = place.is_some();
            let accessible_topology = place.into_iter().collect();
            let volume = Some(v1::Volume { volume_id: id.clone(), accessible_topology, ..Default::default() });
            written.ok(request, v1::CreateVolumeResponse { volume });
            let publish = v1::NodePublishVolumeRequest {
                target_path: format!("/{id}"),
                volume_id: id,
                volume_capability: Some(mount(Mode::SingleNodeWriter)),
                ..Default::default()
            };
            match is_placed {
                true => written.refused(publish, Code::FailedPrecondition),
                false => written.ok(publish, v1::NodePublishVolumeResponse {}),
            }
        }
        assert_eq!(written.broken(Severity::Violation), expected, "{refusals} {zone} {others_fare_well}");
    }
}

#[test]
fn statistics_that_fail_for_every_device_are_worth_a_warning() {
    for (devices_fail, expected) in [(true, &["NODE-STATS-001"][..]), (false, &[])] {
        let written = Written::with(&[], &[node::rpc::Type::GetVolumeStats]);
        for (id, capability) in [("directory", mount(Mode::SingleNodeWriter)), ("device", block())] {
            let target = format!("/{id}");
            written.create(id, capability.clone());
            let publish = v1::NodePublishVolumeRequest {
                volume_id: id.into(),
                target_path: target.clone(),
                volume_capability: Some(capability),
                ..Default::default()
            };
            written.ok(publish, v1::NodePublishVolumeResponse {});
            let usage = v1::VolumeUsage { total: 1, available: 1, unit: 1, ..Default::default() };
            for again in [false, true] {
                let stats = v1::NodeGetVolumeStatsRequest {
                    volume_id: id.into(),
                    volume_path: target.clone(),
                    ..Default::default()
                };
                if id == "device" && (devices_fail || again) {
                    written.refused(stats, Code::Internal);
                } else {
                    let reply = v1::NodeGetVolumeStatsResponse { usage: vec![usage], volume_condition: None };
                    written.ok(stats, reply);
                }
            }
        }
        assert_eq!(written.broken(Severity::Warning), expected, "{devices_fail}");
    }
}

#[test]
fn what_is_mounted_on_a_staging_path_stays_when_the_volume_is_staged_again() {
    // A plugin need not mount anything there; and what was unstaged may be staged otherwise.
    for (first, unstaged, second, expected) in
        [(1, false, 1, &[][..]), (1, false, 0, &["NODE-STAGE-006"]), (0, false, 0, &[]), (1, true, 0, &[])]
    {
        let written = Written::with(&[], &[node::rpc::Type::StageUnstageVolume]);
        written.create("1", mount(Mode::SingleNodeWriter));
        let stage = v1::NodeStageVolumeRequest {
            volume_id: "1".into(),
            staging_target_path: STAGING.into(),
            volume_capability: Some(mount(Mode::SingleNodeWriter)),
            ..Default::default()
        };
        written.ok(stage.clone(), v1::NodeStageVolumeResponse {});
        written.seen(STAGING, first);
        if unstaged {
            let unstage = v1::NodeUnstageVolumeRequest { volume_id: "1".into(), staging_target_path: STAGING.into() };
            written.ok(unstage, v1::NodeUnstageVolumeResponse {});
        }
        written.ok(stage, v1::NodeStageVolumeResponse {});
        written.seen(STAGING, second);
        let broken = written.broken(Severity::Violation);
        assert!(expected.iter().all(|rule| broken.contains(rule)), "{first} {unstaged} {second}: {broken:?}");
        assert_eq!(broken.is_empty(), expected.is_empty(), "{first} {unstaged} {second}: {broken:?}");
    }
}

#[test]
fn a_repetition_that_says_nothing_of_the_source_is_worth_a_warning() {
    let source = v1::VolumeContentSource {
        r#type: Some(v1::volume_content_source::Type::Volume(v1::volume_content_source::VolumeSource {
            volume_id: "1".into(),
        })),
    };
    for (first, second, expected) in [(true, true, &[][..]), (true, false, &["CTRL-CREATE-004"]), (false, false, &[])] {
        let written = Written::with(&[Controller::CloneVolume], &[]);
        written.create("1", mount(Mode::SingleNodeWriter));
        for told in [first, second] {
            let request = v1::CreateVolumeRequest {
                volume_content_source: Some(source.clone()),
                ..create("copy", mount(Mode::SingleNodeWriter))
            };
            let content_source = told.then(|| source.clone());
            let volume = Some(v1::Volume { volume_id: "2".into(), content_source, ..Default::default() });
            written.ok(request, v1::CreateVolumeResponse { volume });
        }
        assert_eq!(written.broken(Severity::Warning), expected, "{first} {second}");
    }
}
