//! What the specification leaves open draws a warning where it hurts, and never more than that.

use tonic::Code;

use super::{Severity, judge};
use crate::{
    csi::v1::{self, plugin_capability as plugin},
    history::{CallId, Header, Recorder, Reply, Request},
    spec::RuleId,
};

struct History(Recorder);

impl History {
    fn new() -> Self {
        Self(Recorder::new(Header::default(), None))
    }

    fn start(&self, request: impl Into<Request>) -> CallId {
        let request = request.into();
        let node = if request.rpc().is_node() { "node" } else { "" };
        self.0.call("plugin", node, "scenario", &request)
    }

    fn answered(&self, request: impl Into<Request>, reply: impl Into<Reply>) {
        let call = self.start(request);
        self.0.reply(call, reply.into());
    }

    fn created(&self, name: &str) {
        let request = v1::CreateVolumeRequest {
            name: name.into(),
            volume_capabilities: vec![capability()],
            ..Default::default()
        };
        let volume = v1::Volume { volume_id: name.into(), ..Default::default() };
        self.answered(request, v1::CreateVolumeResponse { volume: Some(volume) });
    }

    fn listed(&self, token: &str, ids: &[&str], next_token: &str) {
        let volume = |id: &&str| v1::Volume { volume_id: (*id).into(), ..Default::default() };
        let entry = |id| v1::list_volumes_response::Entry { volume: Some(volume(id)), status: None };
        let reply = v1::ListVolumesResponse { entries: ids.iter().map(entry).collect(), next_token: next_token.into() };
        self.answered(v1::ListVolumesRequest { max_entries: 2, starting_token: token.into() }, reply);
    }

    fn advertises(&self, capabilities: &[v1::controller_service_capability::rpc::Type]) {
        use v1::controller_service_capability::{Rpc, Type};
        let capability = |kind: &v1::controller_service_capability::rpc::Type| v1::ControllerServiceCapability {
            r#type: Some(Type::Rpc(Rpc { r#type: (*kind).into() })),
        };
        let capabilities = capabilities.iter().map(capability).collect();
        self.answered(v1::ControllerGetCapabilitiesRequest {}, v1::ControllerGetCapabilitiesResponse { capabilities });
    }

    fn stages(&self) {
        use v1::node_service_capability::{Rpc, Type, rpc::Type::StageUnstageVolume};
        let capability =
            v1::NodeServiceCapability { r#type: Some(Type::Rpc(Rpc { r#type: StageUnstageVolume.into() })) };
        let reply = v1::NodeGetCapabilitiesResponse { capabilities: vec![capability] };
        self.answered(v1::NodeGetCapabilitiesRequest {}, reply);
    }

    /// What comes of a rule.
    fn severities(&self, rule: RuleId) -> Vec<Severity> {
        let findings = judge(&self.0.history()).findings;
        findings.iter().filter(|one| one.rule == rule).map(|one| one.severity).collect()
    }
}

fn capability() -> v1::VolumeCapability {
    use v1::volume_capability::{AccessMode, AccessType, MountVolume, access_mode::Mode};
    v1::VolumeCapability {
        access_mode: Some(AccessMode { mode: Mode::SingleNodeWriter.into() }),
        access_type: Some(AccessType::Mount(MountVolume::default())),
    }
}

#[test]
fn a_volume_that_is_passed_over_between_pages_draws_a_warning_once_it_is_listed_again() {
    use v1::controller_service_capability::rpc::Type::{CreateDeleteVolume, ListVolumes};
    for (second_page, expected) in [(&["d"][..], &[Severity::Warning][..]), (&["c", "d"], &[])] {
        let history = History::new();
        history.advertises(&[CreateDeleteVolume, ListVolumes]);
        ["a", "b", "c", "d"].into_iter().for_each(|name| history.created(name));
        history.listed("", &["a", "b"], "2");
        let delete = v1::DeleteVolumeRequest { volume_id: "a".into(), ..Default::default() };
        history.answered(delete, v1::DeleteVolumeResponse {});
        history.listed("2", second_page, "");
        history.listed("", &["b", "c"], "2");
        history.listed("2", &["d"], "");
        assert_eq!(history.severities(crate::rule!("CTRL-LIST-003")), expected, "{second_page:?}");
        assert_eq!(history.severities(crate::rule!("CTRL-LIST-006")), []);
    }
}

#[test]
fn a_snapshot_that_is_ready_and_tells_no_size_draws_a_warning() {
    for (ready_to_use, size_bytes, expected) in [(true, 0, &[Severity::Warning][..]), (true, 1, &[]), (false, 0, &[])] {
        let history = History::new();
        let request =
            v1::CreateSnapshotRequest { source_volume_id: "1".into(), name: "a".into(), ..Default::default() };
        let snapshot = v1::Snapshot {
            size_bytes,
            snapshot_id: "s".into(),
            source_volume_id: "1".into(),
            ready_to_use,
            ..Default::default()
        };
        history.answered(request, v1::CreateSnapshotResponse { snapshot: Some(snapshot) });
        assert_eq!(history.severities(crate::rule!("CTRL-SNAPCREATE-031")), expected, "{ready_to_use} {size_bytes}");
    }
}

#[test]
fn a_node_without_a_place_draws_a_warning_where_places_matter() {
    for (constrained, is_placed, expected) in
        [(true, false, &[Severity::Warning][..]), (true, true, &[]), (false, false, &[])]
    {
        let history = History::new();
        let kind = plugin::service::Type::VolumeAccessibilityConstraints;
        let service = plugin::Service { r#type: kind.into() };
        let capabilities = vec![v1::PluginCapability { r#type: Some(plugin::Type::Service(service)) }];
        let reply = v1::GetPluginCapabilitiesResponse { capabilities: if constrained { capabilities } else { vec![] } };
        history.answered(v1::GetPluginCapabilitiesRequest {}, reply);
        let segments = [("zone".to_owned(), "a".to_owned())].into_iter().collect();
        let info = v1::NodeGetInfoResponse {
            node_id: "node".into(),
            accessible_topology: is_placed.then_some(v1::Topology { segments }),
            ..Default::default()
        };
        history.answered(v1::NodeGetInfoRequest {}, info);
        assert_eq!(history.severities(crate::rule!("NODE-INFO-017")), expected, "{constrained} {is_placed}");
    }
}

#[test]
fn a_second_staging_path_may_be_refused_and_draws_a_warning_if_nothing_says_why() {
    let stage = |path: &str| v1::NodeStageVolumeRequest {
        volume_id: "a".into(),
        staging_target_path: path.into(),
        volume_capability: Some(capability()),
        ..Default::default()
    };
    for (code, expected) in [
        (Code::Internal, &[Severity::Warning][..]),
        (Code::FailedPrecondition, &[]),
        (Code::AlreadyExists, &[]),
        (Code::Aborted, &[]),
        (Code::NotFound, &[]),
    ] {
        let history = History::new();
        history.stages();
        history.created("a");
        history.answered(stage("/one"), v1::NodeStageVolumeResponse {});
        let call = history.start(stage("/two"));
        history.0.status(call, code as i32, "staged elsewhere", 0);
        assert_eq!(history.severities(crate::rule!("NODE-STAGE-031")), expected, "{code:?}");
    }
}

#[test]
fn what_becomes_of_two_staging_paths_is_not_held_against_the_driver() {
    let history = History::new();
    history.stages();
    history.created("a");
    for path in ["/one", "/two"] {
        let request = v1::NodeStageVolumeRequest {
            volume_id: "a".into(),
            staging_target_path: path.into(),
            volume_capability: Some(capability()),
            ..Default::default()
        };
        history.answered(request, v1::NodeStageVolumeResponse {});
    }
    for (path, code) in [("/two", Code::FailedPrecondition), ("/one", Code::NotFound)] {
        let request = v1::NodeUnstageVolumeRequest { volume_id: "a".into(), staging_target_path: path.into() };
        let call = history.start(request);
        history.0.status(call, code as i32, "not staged there", 0);
    }
    let findings = judge(&history.0.history()).findings;
    let about: Vec<_> = findings.iter().filter(|one| one.rule.as_str().starts_with("NODE-UNSTAGE-")).collect();
    assert!(about.iter().all(|one| one.severity == Severity::Warning), "{about:?}");
}
