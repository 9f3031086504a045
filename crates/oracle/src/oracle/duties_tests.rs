//! Each duty of the orchestrator is seen broken once, and none where it is kept or cannot be known.

use std::collections::BTreeMap;

use super::duties;
use crate::{
    csi::v1,
    history::{FORMAT, Header, Recorder, Reply, Request},
};

struct Traffic(Recorder);

impl Traffic {
    /// A plugin that attaches and stages, with one node.
    fn new() -> Self {
        let traffic = Self(Recorder::new(Header { format: FORMAT, ..Header::default() }, None));
        use v1::{controller_service_capability as controller, node_service_capability as node};
        let rpc =
            controller::Type::Rpc(controller::Rpc { r#type: controller::rpc::Type::PublishUnpublishVolume.into() });
        let capabilities = vec![v1::ControllerServiceCapability { r#type: Some(rpc) }];
        traffic.ok(v1::ControllerGetCapabilitiesRequest {}, v1::ControllerGetCapabilitiesResponse { capabilities });
        let rpc = node::Type::Rpc(node::Rpc { r#type: node::rpc::Type::StageUnstageVolume.into() });
        let capabilities = vec![v1::NodeServiceCapability { r#type: Some(rpc) }];
        traffic.ok(v1::NodeGetCapabilitiesRequest {}, v1::NodeGetCapabilitiesResponse { capabilities });
        traffic.ok(v1::GetPluginCapabilitiesRequest {}, v1::GetPluginCapabilitiesResponse::default());
        traffic.ok(v1::NodeGetInfoRequest {}, v1::NodeGetInfoResponse { node_id: "n-1".into(), ..Default::default() });
        traffic
    }

    fn send(&self, request: impl Into<Request>) -> crate::history::CallId {
        let request = request.into();
        let node = if request.rpc().is_node() { "here" } else { "" };
        self.0.call("plugin", node, "", &request)
    }

    fn ok(&self, request: impl Into<Request>, reply: impl Into<Reply>) -> &Self {
        let call = self.send(request);
        self.0.reply(call, reply.into());
        self
    }

    fn created(&self) -> &Self {
        let volume = v1::Volume {
            volume_id: "v".into(),
            volume_context: BTreeMap::from([("share".to_owned(), "a".to_owned())]),
            ..Default::default()
        };
        let request = v1::CreateVolumeRequest {
            name: "pvc".into(),
            volume_capabilities: vec![v1::VolumeCapability::default()],
            ..Default::default()
        };
        self.ok(request, v1::CreateVolumeResponse { volume: Some(volume) })
    }

    fn attached(&self) -> &Self {
        let publish_context = BTreeMap::from([("device".to_owned(), "7".to_owned())]);
        let request = v1::ControllerPublishVolumeRequest {
            volume_id: "v".into(),
            node_id: "n-1".into(),
            volume_capability: Some(v1::VolumeCapability::default()),
            ..Default::default()
        };
        self.ok(request, v1::ControllerPublishVolumeResponse { publish_context })
    }

    fn detached(&self) -> &Self {
        let request =
            v1::ControllerUnpublishVolumeRequest { volume_id: "v".into(), node_id: "n-1".into(), ..Default::default() };
        self.ok(request, v1::ControllerUnpublishVolumeResponse {})
    }

    fn staged(&self) -> &Self {
        self.ok(stage(), v1::NodeStageVolumeResponse {})
    }

    fn unstaged(&self) -> &Self {
        let request = v1::NodeUnstageVolumeRequest { volume_id: "v".into(), staging_target_path: "/staging".into() };
        self.ok(request, v1::NodeUnstageVolumeResponse {})
    }

    fn published(&self) -> &Self {
        self.ok(publish(), v1::NodePublishVolumeResponse {})
    }

    fn unpublished(&self) -> &Self {
        let request = v1::NodeUnpublishVolumeRequest { volume_id: "v".into(), target_path: "/target".into() };
        self.ok(request, v1::NodeUnpublishVolumeResponse {})
    }

    fn broken(&self) -> Vec<&'static str> {
        duties(&self.0.history()).iter().map(|breach| breach.rule.as_str()).collect()
    }
}

fn stage() -> v1::NodeStageVolumeRequest {
    v1::NodeStageVolumeRequest {
        volume_id: "v".into(),
        staging_target_path: "/staging".into(),
        publish_context: BTreeMap::from([("device".to_owned(), "7".to_owned())]),
        volume_context: BTreeMap::from([("share".to_owned(), "a".to_owned()), ("added".to_owned(), "x".to_owned())]),
        ..Default::default()
    }
}

fn publish() -> v1::NodePublishVolumeRequest {
    let v1::NodeStageVolumeRequest { publish_context, volume_context, .. } = stage();
    v1::NodePublishVolumeRequest {
        volume_id: "v".into(),
        staging_target_path: "/staging".into(),
        target_path: "/target".into(),
        publish_context,
        volume_context,
        ..Default::default()
    }
}

const NONE: [&str; 0] = [];

#[test]
fn a_whole_life_in_order_breaks_nothing() {
    let traffic = Traffic::new();
    traffic.created().attached().staged().staged().published().published();
    traffic.unpublished().unpublished().unstaged().detached();
    traffic.ok(v1::DeleteVolumeRequest { volume_id: "v".into(), ..Default::default() }, v1::DeleteVolumeResponse {});
    assert_eq!(traffic.broken(), NONE);
}

#[test]
fn what_was_there_before_the_recording_is_in_an_order_that_nobody_saw() {
    let traffic = Traffic::new();
    traffic.published().unpublished().unstaged().detached();
    assert_eq!(traffic.broken(), NONE);
}

#[test]
fn each_step_out_of_order_is_a_breach_of_its_own() {
    type Steps = fn(&Traffic);
    let cases: [(Steps, &[&str]); 8] = [
        (
            |t| {
                t.created().staged();
            },
            &["NODE-STAGE-004"],
        ),
        (
            |t| {
                t.created().attached().published();
            },
            &["NODE-STAGE-005"],
        ),
        (
            |t| {
                t.created().staged().published();
            },
            &["NODE-PUBLISH-002", "NODE-STAGE-004"],
        ),
        (
            |t| {
                t.attached().staged().published().unstaged();
            },
            &["NODE-UNSTAGE-005"],
        ),
        (
            |t| {
                t.attached().staged().published().detached();
            },
            &["CTRL-UNPUBLISH-002"],
        ),
        (
            |t| {
                t.attached().staged().detached();
            },
            &["NODE-UNSTAGE-004"],
        ),
        (
            |t| {
                t.created().attached().staged();
                t.send(v1::NodeStageVolumeRequest { staging_target_path: "/other".into(), ..stage() });
            },
            &["NODE-STAGE-017"],
        ),
        (
            |t| {
                t.created();
                t.send(v1::NodeExpandVolumeRequest { volume_id: "v".into(), ..Default::default() });
            },
            &["NODE-EXPAND-004"],
        ),
    ];
    for (steps, expected) in cases {
        let traffic = Traffic::new();
        steps(&traffic);
        assert_eq!(traffic.broken(), expected);
    }
}

#[test]
fn contexts_are_passed_on_as_they_were_given() {
    let changed = BTreeMap::from([("device".to_owned(), "8".to_owned())]);
    let traffic = Traffic::new();
    traffic.created().attached();
    traffic.send(v1::NodeStageVolumeRequest { publish_context: changed.clone(), ..stage() });
    assert_eq!(traffic.broken(), ["NODE-STAGE-011"]);
    traffic.staged();
    traffic.send(v1::NodePublishVolumeRequest { publish_context: changed, ..publish() });
    traffic.send(v1::NodePublishVolumeRequest { volume_context: BTreeMap::new(), ..publish() });
    traffic.send(v1::NodePublishVolumeRequest { staging_target_path: String::new(), ..publish() });
    assert_eq!(traffic.broken(), ["NODE-PUBLISH-038", "NODE-PUBLISH-042", "NODE-PUBLISH-063", "NODE-STAGE-011"]);
}

#[test]
fn what_a_request_shows_by_itself_needs_no_past() {
    let traffic = Traffic::new();
    traffic.send(v1::CreateVolumeRequest {
        accessibility_requirements: Some(v1::TopologyRequirement::default()),
        mutable_parameters: BTreeMap::from([("iops".to_owned(), "1".to_owned())]),
        ..Default::default()
    });
    traffic.send(v1::NodePublishVolumeRequest { target_path: "relative".into(), ..publish() });
    let expected = ["CTRL-CREATE-018", "CTRL-CREATE-036", "CTRL-CREATE-046", "CTRL-CREATE-050", "NODE-PUBLISH-046"];
    assert_eq!(traffic.broken(), expected);
}

#[test]
fn what_is_not_served_is_not_asked_for_again() {
    let traffic = Traffic::new();
    let request = v1::GetCapacityRequest::default();
    let call = traffic.send(request.clone());
    traffic.0.status(call, 12, "no", 0);
    assert_eq!(traffic.broken(), NONE);
    traffic.send(request.clone());
    traffic.send(request);
    let breaches = duties(&traffic.0.history());
    assert_eq!((breaches[0].rule.as_str(), breaches[0].times), ("GEN-ERR-020", 2));
    assert_eq!(breaches[0].calls.len(), 2, "the refusal and the first call that ignores it");
}

#[test]
fn a_member_of_a_group_is_not_deleted_alone() {
    let traffic = Traffic::new();
    let member = v1::Snapshot { snapshot_id: "s".into(), group_snapshot_id: "g".into(), ..Default::default() };
    let group_snapshot = v1::VolumeGroupSnapshot { snapshots: vec![member], ..Default::default() };
    let request = v1::CreateVolumeGroupSnapshotRequest {
        name: "g".into(),
        source_volume_ids: vec!["v".into()],
        ..Default::default()
    };
    traffic.ok(request, v1::CreateVolumeGroupSnapshotResponse { group_snapshot: Some(group_snapshot) });
    traffic.send(v1::DeleteSnapshotRequest { snapshot_id: "s".into(), ..Default::default() });
    assert_eq!(traffic.broken(), ["CTRL-SNAPDELETE-005"]);
}
