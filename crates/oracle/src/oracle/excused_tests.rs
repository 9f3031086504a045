//! Requests that may be refused for a reason of their own, beside like ones that may not.

use tonic::Code;

use super::judge;
use crate::{
    csi::v1::{
        self,
        controller_service_capability::{Rpc as Offered, Type as Kind, rpc::Type as Controller},
        node_service_capability as node, plugin_capability as plugin,
        volume_capability::{AccessMode, AccessType, MountVolume, access_mode::Mode},
    },
    history::{Header, Recorder, Reply, Request},
    rule,
};

/// A driver with one volume of 10 bytes, `1`, published at `/target`, and one snapshot of it, `s`.
struct Driver(Recorder);

impl Driver {
    fn new() -> Self {
        let driver = Self(Recorder::new(Header::default(), None));
        let service = plugin::Service { r#type: plugin::service::Type::SnapshotMetadataService.into() };
        let capabilities = vec![v1::PluginCapability { r#type: Some(plugin::Type::Service(service)) }];
        driver.ok(v1::GetPluginCapabilitiesRequest {}, v1::GetPluginCapabilitiesResponse { capabilities });
        use Controller::{CreateDeleteSnapshot, CreateDeleteVolume, ExpandVolume, PublishUnpublishVolume};
        let capabilities = [CreateDeleteVolume, CreateDeleteSnapshot, PublishUnpublishVolume, ExpandVolume]
            .map(|one| v1::ControllerServiceCapability { r#type: Some(Kind::Rpc(Offered { r#type: one.into() })) })
            .to_vec();
        driver.ok(v1::ControllerGetCapabilitiesRequest {}, v1::ControllerGetCapabilitiesResponse { capabilities });
        let rpc = node::Rpc { r#type: node::rpc::Type::ExpandVolume.into() };
        let capabilities = vec![v1::NodeServiceCapability { r#type: Some(node::Type::Rpc(rpc)) }];
        driver.ok(v1::NodeGetCapabilitiesRequest {}, v1::NodeGetCapabilitiesResponse { capabilities });
        let create = v1::CreateVolumeRequest {
            name: "a".into(),
            volume_capabilities: vec![capability("")],
            ..Default::default()
        };
        let volume = Some(v1::Volume { volume_id: "1".into(), capacity_bytes: 10, ..Default::default() });
        driver.ok(create, v1::CreateVolumeResponse { volume });
        let publish = v1::NodePublishVolumeRequest {
            volume_id: "1".into(),
            target_path: "/target".into(),
            volume_capability: Some(capability("")),
            ..Default::default()
        };
        driver.ok(publish, v1::NodePublishVolumeResponse {});
        let cut = v1::CreateSnapshotRequest { source_volume_id: "1".into(), name: "s".into(), ..Default::default() };
        let snapshot = v1::Snapshot {
            snapshot_id: "s".into(),
            source_volume_id: "1".into(),
            size_bytes: 10,
            ready_to_use: true,
            ..Default::default()
        };
        driver.ok(cut, v1::CreateSnapshotResponse { snapshot: Some(snapshot) });
        driver
    }

    fn ok(&self, request: impl Into<Request>, reply: impl Into<Reply>) {
        let request = request.into();
        let call = self.0.call("plugin", if request.rpc().is_node() { "node" } else { "" }, "scenario", &request);
        self.0.reply(call, reply.into());
    }
}

/// The rules that are found broken or warned of when such a request is refused.
fn blamed(request: impl Into<Request>, made_up: Option<&str>, code: Code) -> Vec<&'static str> {
    let (driver, request) = (Driver::new(), request.into());
    made_up.into_iter().for_each(|id| driver.0.invent(id));
    let node = if request.rpc().is_node() { "node" } else { "" };
    let call = driver.0.call("plugin", node, "scenario", &request);
    driver.0.status(call, code as i32, "no", 0);
    judge(&driver.0.history()).findings.iter().map(|one| one.rule.as_str()).collect()
}

fn capability(fs_type: &str) -> v1::VolumeCapability {
    let mount = MountVolume { fs_type: fs_type.into(), ..Default::default() };
    v1::VolumeCapability {
        access_mode: Some(AccessMode { mode: Mode::SingleNodeWriter.into() }),
        access_type: Some(AccessType::Mount(mount)),
    }
}

#[test]
fn an_id_over_its_limit_may_be_refused_and_one_at_its_limit_is_only_unknown() {
    for (length, excused) in [(128, false), (129, true)] {
        let id = "x".repeat(length);
        let volume = v1::DeleteVolumeRequest { volume_id: id.clone(), ..Default::default() };
        let snapshot = v1::DeleteSnapshotRequest { snapshot_id: id.clone(), ..Default::default() };
        let metadata = v1::GetMetadataAllocatedRequest { snapshot_id: id.clone(), ..Default::default() };
        let detach = v1::ControllerUnpublishVolumeRequest { volume_id: id.clone(), ..Default::default() };
        for (request, rule) in [
            (Request::from(volume), "CTRL-DELETE-003"),
            (snapshot.into(), "CTRL-SNAPDELETE-003"),
            (metadata.into(), "META-ALLOCATED-025"),
            (detach.into(), "CTRL-UNPUBLISH-007"),
        ] {
            let rpc = request.rpc();
            let blamed = blamed(request, Some(&id), Code::InvalidArgument);
            assert_eq!(blamed.contains(&rule), !excused, "{rpc}, {length} bytes: {blamed:?}");
        }
    }
}

#[test]
fn ids_of_nodes_have_a_limit_of_their_own() {
    for (length, excused) in [(129, false), (256, false), (257, true)] {
        let node_id = "x".repeat(length);
        let request = v1::ControllerUnpublishVolumeRequest {
            volume_id: "2".into(),
            node_id: node_id.clone(),
            ..Default::default()
        };
        let blamed = blamed(request, Some(&node_id), Code::InvalidArgument);
        assert_eq!(blamed.contains(&"CTRL-UNPUBLISH-022"), !excused, "{length} bytes: {blamed:?}");
    }
}

#[test]
fn a_volume_need_not_grow_for_a_mount_that_it_was_not_made_for() {
    for (fs_type, expected) in [("", true), ("other", false)] {
        let request = v1::ControllerExpandVolumeRequest {
            volume_id: "1".into(),
            capacity_range: Some(v1::CapacityRange { required_bytes: 5, limit_bytes: 0 }),
            volume_capability: Some(capability(fs_type)),
            ..Default::default()
        };
        let blamed = blamed(request, None, Code::InvalidArgument);
        assert_eq!(blamed.contains(&"CTRL-EXPAND-003"), expected, "{fs_type:?}: {blamed:?}");
    }
}

#[test]
fn a_range_without_a_size_may_be_refused_on_the_node() {
    for (required_bytes, expected) in [(5, true), (0, false)] {
        let request = v1::NodeExpandVolumeRequest {
            volume_id: "1".into(),
            volume_path: "/target".into(),
            capacity_range: Some(v1::CapacityRange { required_bytes, limit_bytes: 0 }),
            ..Default::default()
        };
        let blamed = blamed(request, None, Code::InvalidArgument);
        assert_eq!(blamed.contains(&"NODE-EXPAND-003"), expected, "{required_bytes}: {blamed:?}");
    }
}

/// A group that is no number was refused, and said to have to be answered OK.
#[test]
fn a_mount_that_no_volume_was_made_for_may_be_invalid() {
    for (fs_type, expected) in [("", true), ("no such file system", false)] {
        let request = v1::ValidateVolumeCapabilitiesRequest {
            volume_id: "1".into(),
            volume_capabilities: vec![capability(fs_type)],
            ..Default::default()
        };
        let blamed = blamed(request, None, Code::InvalidArgument);
        assert_eq!(blamed.contains(&"CTRL-VALIDATE-003"), expected, "{fs_type:?}: {blamed:?}");
    }
}

#[test]
fn a_snapshot_without_metadata_may_say_so_before_it_looks_at_the_offset() {
    for (code, expected) in [(Code::FailedPrecondition, false), (Code::OutOfRange, false), (Code::NotFound, true)] {
        let request =
            v1::GetMetadataAllocatedRequest { snapshot_id: "s".into(), starting_offset: -1, ..Default::default() };
        let blamed = blamed(request, None, code);
        assert_eq!(blamed.contains(&"META-ALLOCATED-027"), expected, "{code:?}: {blamed:?}");
    }
}

#[test]
fn what_repeats_an_excess_of_the_caller_may_be_as_long() {
    for (length, excused) in [(128, false), (129, true)] {
        let (driver, name) = (Driver::new(), "n".repeat(length));
        let request = v1::CreateVolumeRequest {
            name: name.clone(),
            volume_capabilities: vec![capability("")],
            ..Default::default()
        };
        let made = v1::Volume { volume_id: format!("disks/{name}"), capacity_bytes: 10, ..Default::default() };
        driver.ok(request, v1::CreateVolumeResponse { volume: Some(made.clone()) });
        let entry = v1::list_volumes_response::Entry { volume: Some(made), status: None };
        let list = v1::ListVolumesResponse { entries: vec![entry], next_token: String::new() };
        driver.ok(v1::ListVolumesRequest::default(), list);
        let findings = judge(&driver.0.history()).findings;
        let broken = findings.iter().any(|one| one.rule == rule!("GEN-SIZE-002"));
        assert_eq!(broken, !excused, "{length} bytes: {findings:?}");
    }
}

#[test]
fn a_context_that_repeats_parameters_beyond_their_limit_may_be_as_large() {
    for (bytes, excused) in [(4096, false), (4097, true)] {
        let driver = Driver::new();
        let mut parameters = std::collections::BTreeMap::from([("k".to_owned(), "v".repeat(bytes - 1))]);
        let request = v1::CreateVolumeRequest {
            name: "b".into(),
            volume_capabilities: vec![capability("")],
            parameters: parameters.clone(),
            ..Default::default()
        };
        parameters.insert("name".into(), "b".into());
        let made = v1::Volume { volume_id: "2".into(), volume_context: parameters, ..Default::default() };
        driver.ok(request, v1::CreateVolumeResponse { volume: Some(made) });
        let findings = judge(&driver.0.history()).findings;
        let broken = findings.iter().any(|one| one.rule == rule!("GEN-SIZE-003"));
        assert_eq!(broken, !excused, "{bytes} bytes: {findings:?}");
    }
}

#[test]
fn a_capability_without_access_type_is_no_other_one_when_a_volume_grows_on_its_node() {
    let block = v1::volume_capability::BlockVolume {};
    for (access_type, warned) in [(None, false), (Some(AccessType::Block(block)), true)] {
        let driver = Driver::new();
        let request = v1::NodeExpandVolumeRequest {
            volume_id: "1".into(),
            volume_path: "/target".into(),
            capacity_range: Some(v1::CapacityRange { required_bytes: 5, limit_bytes: 0 }),
            volume_capability: Some(v1::VolumeCapability { access_type, ..capability("") }),
            ..Default::default()
        };
        driver.ok(request, v1::NodeExpandVolumeResponse { capacity_bytes: 10 });
        let findings = judge(&driver.0.history()).findings;
        assert_eq!(findings.iter().any(|one| one.rule == rule!("NODE-EXPAND-027")), warned, "{findings:?}");
    }
}
