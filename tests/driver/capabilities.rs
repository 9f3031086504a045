//! Each capability can be left out: it is not advertised, its RPC says so, and the rest works.

use csi_certify::{
    csi::v1,
    driver::{Configuration, capability::Capability},
};
use tonic::Code;

use crate::world::{Mode, World, code, create_volume, mount};

/// What a driver advertises, as the names of the configuration.
async fn advertised(world: &mut World) -> Vec<String> {
    let mut names = Vec::new();
    let plugin = world.identity.get_plugin_capabilities(v1::GetPluginCapabilitiesRequest {}).await.unwrap();
    for capability in plugin.into_inner().capabilities {
        use v1::plugin_capability::Type;
        names.push(match capability.r#type.unwrap() {
            Type::Service(service) => format!("Plugin.{}", service.r#type().as_str_name()),
            Type::VolumeExpansion(_) => "Plugin.VOLUME_EXPANSION".to_owned(),
        });
    }
    let controller = v1::ControllerGetCapabilitiesRequest {};
    if let Ok(answer) = world.controller.controller_get_capabilities(controller).await {
        for capability in answer.into_inner().capabilities {
            let Some(v1::controller_service_capability::Type::Rpc(rpc)) = capability.r#type else { continue };
            names.push(format!("Controller.{}", rpc.r#type().as_str_name()));
        }
    }
    let groups = v1::GroupControllerGetCapabilitiesRequest {};
    if let Ok(answer) = world.groups.group_controller_get_capabilities(groups).await {
        for capability in answer.into_inner().capabilities {
            let Some(v1::group_controller_service_capability::Type::Rpc(rpc)) = capability.r#type else { continue };
            names.push(format!("GroupController.{}", rpc.r#type().as_str_name()));
        }
    }
    let node = world.node.node_get_capabilities(v1::NodeGetCapabilitiesRequest {}).await.unwrap();
    for capability in node.into_inner().capabilities {
        let Some(v1::node_service_capability::Type::Rpc(rpc)) = capability.r#type else { continue };
        names.push(format!("Node.{}", rpc.r#type().as_str_name()));
    }
    names
}

/// Which RPCs are unimplemented, each called with an empty request.
async fn unimplemented(world: &mut World) -> Vec<(&'static str, bool)> {
    let mut calls = Vec::new();
    macro_rules! call {
        ($client:ident, $method:ident, $request:ident) => {
            let answer = world.$client.$method(v1::$request::default()).await;
            calls.push((stringify!($method), code(&answer) == Code::Unimplemented));
        };
    }
    call!(controller, create_volume, CreateVolumeRequest);
    call!(controller, delete_volume, DeleteVolumeRequest);
    call!(controller, controller_publish_volume, ControllerPublishVolumeRequest);
    call!(controller, controller_unpublish_volume, ControllerUnpublishVolumeRequest);
    call!(controller, validate_volume_capabilities, ValidateVolumeCapabilitiesRequest);
    call!(controller, list_volumes, ListVolumesRequest);
    call!(controller, get_capacity, GetCapacityRequest);
    call!(controller, controller_get_capabilities, ControllerGetCapabilitiesRequest);
    call!(controller, create_snapshot, CreateSnapshotRequest);
    call!(controller, delete_snapshot, DeleteSnapshotRequest);
    call!(controller, list_snapshots, ListSnapshotsRequest);
    call!(controller, get_snapshot, GetSnapshotRequest);
    call!(controller, controller_expand_volume, ControllerExpandVolumeRequest);
    call!(controller, controller_get_volume, ControllerGetVolumeRequest);
    call!(controller, controller_modify_volume, ControllerModifyVolumeRequest);
    call!(groups, group_controller_get_capabilities, GroupControllerGetCapabilitiesRequest);
    call!(groups, create_volume_group_snapshot, CreateVolumeGroupSnapshotRequest);
    call!(groups, delete_volume_group_snapshot, DeleteVolumeGroupSnapshotRequest);
    call!(groups, get_volume_group_snapshot, GetVolumeGroupSnapshotRequest);
    call!(metadata, get_metadata_allocated, GetMetadataAllocatedRequest);
    call!(metadata, get_metadata_delta, GetMetadataDeltaRequest);
    call!(node, node_stage_volume, NodeStageVolumeRequest);
    call!(node, node_unstage_volume, NodeUnstageVolumeRequest);
    call!(node, node_publish_volume, NodePublishVolumeRequest);
    call!(node, node_unpublish_volume, NodeUnpublishVolumeRequest);
    call!(node, node_get_volume_stats, NodeGetVolumeStatsRequest);
    call!(node, node_expand_volume, NodeExpandVolumeRequest);
    call!(node, node_get_capabilities, NodeGetCapabilitiesRequest);
    call!(node, node_get_info, NodeGetInfoRequest);
    calls
}

/// The capabilities of which any one makes an RPC be served.
fn needs(method: &str) -> &'static [&'static str] {
    match method {
        "create_volume" | "delete_volume" => &["Controller.CREATE_DELETE_VOLUME"],
        "controller_publish_volume" | "controller_unpublish_volume" => &["Controller.PUBLISH_UNPUBLISH_VOLUME"],
        "validate_volume_capabilities" | "controller_get_capabilities" => &["Plugin.CONTROLLER_SERVICE"],
        "list_volumes" => &["Controller.LIST_VOLUMES"],
        "get_capacity" => &["Controller.GET_CAPACITY"],
        "create_snapshot" | "delete_snapshot" => &["Controller.CREATE_DELETE_SNAPSHOT"],
        "list_snapshots" => &["Controller.LIST_SNAPSHOTS"],
        "get_snapshot" => &["Controller.GET_SNAPSHOT"],
        "controller_expand_volume" => &["Controller.EXPAND_VOLUME"],
        "controller_get_volume" => &["Controller.GET_VOLUME"],
        "controller_modify_volume" => &["Controller.MODIFY_VOLUME"],
        "group_controller_get_capabilities" => &["Plugin.GROUP_CONTROLLER_SERVICE"],
        "create_volume_group_snapshot" | "delete_volume_group_snapshot" | "get_volume_group_snapshot" => {
            &["GroupController.CREATE_DELETE_GET_VOLUME_GROUP_SNAPSHOT"]
        }
        "get_metadata_allocated" | "get_metadata_delta" => &["Plugin.SNAPSHOT_METADATA_SERVICE"],
        "node_stage_volume" | "node_unstage_volume" => &["Node.STAGE_UNSTAGE_VOLUME"],
        "node_get_volume_stats" => &["Node.GET_VOLUME_STATS", "Node.VOLUME_CONDITION"],
        "node_expand_volume" => &["Node.EXPAND_VOLUME"],
        _ => &[],
    }
}

#[tokio::test]
async fn everything_is_offered_by_default() {
    let mut world = World::new();
    let mut all: Vec<String> = Capability::all().map(|capability| capability.to_string()).collect();
    let mut offered = advertised(&mut world).await;
    all.sort();
    offered.sort();
    assert_eq!(offered, all);
    assert!(unimplemented(&mut world).await.iter().all(|(_, is_unimplemented)| !is_unimplemented));
}

#[tokio::test]
async fn what_is_left_out_is_not_advertised_and_unimplemented_and_the_rest_works() {
    for left_out in Capability::all() {
        let mut world = World::with(Configuration { without: [left_out].into(), ..Configuration::default() });
        let offered = advertised(&mut world).await;
        assert!(!offered.contains(&left_out.to_string()), "{left_out}");
        for (method, is_unimplemented) in unimplemented(&mut world).await {
            let is_offered =
                needs(method).is_empty() || needs(method).iter().any(|need| offered.contains(&(*need).to_owned()));
            assert_eq!(is_unimplemented, !is_offered, "{method} without {left_out}");
        }
        if offered.contains(&"Controller.CREATE_DELETE_VOLUME".to_owned()) {
            use_a_volume(&mut world, &offered).await;
        }
    }
}

async fn use_a_volume(world: &mut World, offered: &[String]) {
    let has = |name: &str| offered.contains(&name.to_owned());
    let volume = world.create("a").await;
    assert_eq!(volume.accessible_topology.is_empty(), !has("Plugin.VOLUME_ACCESSIBILITY_CONSTRAINTS"));
    let info = world.node.node_get_info(v1::NodeGetInfoRequest {}).await.unwrap().into_inner();
    assert_eq!(info.accessible_topology.is_none(), !has("Plugin.VOLUME_ACCESSIBILITY_CONSTRAINTS"));
    let newer = v1::CreateVolumeRequest {
        volume_capabilities: vec![mount(Mode::SingleNodeSingleWriter)],
        ..create_volume("newer mode")
    };
    let expected = if has("Node.SINGLE_NODE_MULTI_WRITER") { Code::Ok } else { Code::InvalidArgument };
    assert_eq!(code(&world.controller.create_volume(newer).await), expected);
    if has("Node.STAGE_UNSTAGE_VOLUME") {
        let stage = v1::NodeStageVolumeRequest {
            volume_id: volume.volume_id.clone(),
            staging_target_path: "/staging".into(),
            volume_capability: Some(mount(Mode::SingleNodeWriter)),
            ..Default::default()
        };
        world.node.node_stage_volume(stage).await.unwrap();
    }
    let publish = v1::NodePublishVolumeRequest {
        volume_id: volume.volume_id.clone(),
        staging_target_path: "/staging".into(),
        target_path: "/target".into(),
        volume_capability: Some(mount(Mode::SingleNodeWriter)),
        ..Default::default()
    };
    world.node.node_publish_volume(publish).await.unwrap();
    if has("Node.GET_VOLUME_STATS") || has("Node.VOLUME_CONDITION") {
        let stats = v1::NodeGetVolumeStatsRequest {
            volume_id: volume.volume_id.clone(),
            volume_path: "/target".into(),
            ..Default::default()
        };
        let answer = world.node.node_get_volume_stats(stats).await.unwrap().into_inner();
        assert_eq!(answer.usage.is_empty(), !has("Node.GET_VOLUME_STATS"));
        assert_eq!(answer.volume_condition.is_none(), !has("Node.VOLUME_CONDITION"));
    }
    for (target_path, staging_target_path) in [("/target", "/staging")] {
        let volume_id = volume.volume_id.clone();
        let unpublish =
            v1::NodeUnpublishVolumeRequest { volume_id: volume_id.clone(), target_path: target_path.into() };
        world.node.node_unpublish_volume(unpublish).await.unwrap();
        let unstage = v1::NodeUnstageVolumeRequest { volume_id, staging_target_path: staging_target_path.into() };
        let expected = if has("Node.STAGE_UNSTAGE_VOLUME") { Code::Ok } else { Code::Unimplemented };
        assert_eq!(code(&world.node.node_unstage_volume(unstage).await), expected);
    }
    world.delete(&volume.volume_id).await.unwrap();
}
