//! The Node service over mount pods that only remember.

use std::sync::Arc;

use csi_certify::{
    csi::v1::{self, volume_capability, volume_usage::Unit},
    driver::Configuration,
};
use tonic::Code;

use crate::world::{Gate, MIB, Mode, World, block, code, create_volume, mount, refused, strings};

fn stage(volume: &str, capability: v1::VolumeCapability) -> v1::NodeStageVolumeRequest {
    v1::NodeStageVolumeRequest {
        volume_id: volume.into(),
        staging_target_path: "/staging".into(),
        volume_capability: Some(capability),
        ..Default::default()
    }
}

fn publish(volume: &str, target: &str, capability: v1::VolumeCapability) -> v1::NodePublishVolumeRequest {
    v1::NodePublishVolumeRequest {
        volume_id: volume.into(),
        staging_target_path: "/staging".into(),
        target_path: target.into(),
        volume_capability: Some(capability),
        ..Default::default()
    }
}

fn unpublish(volume: &str, target: &str) -> v1::NodeUnpublishVolumeRequest {
    v1::NodeUnpublishVolumeRequest { volume_id: volume.into(), target_path: target.into() }
}

fn stats(volume: &str, path: &str) -> v1::NodeGetVolumeStatsRequest {
    v1::NodeGetVolumeStatsRequest { volume_id: volume.into(), volume_path: path.into(), ..Default::default() }
}

#[tokio::test]
async fn the_life_of_a_volume_on_a_node_may_be_repeated_step_by_step() {
    let mut world = World::new();
    let volume = world.create("a").await.volume_id;
    let capability = mount(Mode::SingleNodeWriter);
    for _ in 0..2 {
        world.node.node_stage_volume(stage(&volume, capability.clone())).await.unwrap();
    }
    for _ in 0..2 {
        world.node.node_publish_volume(publish(&volume, "/target", capability.clone())).await.unwrap();
    }
    // Not attached by the controller, but in use all the same.
    assert_eq!(refused(&world.delete(&volume).await.unwrap_err()), Code::FailedPrecondition);
    let answer = world.node.node_get_volume_stats(stats(&volume, "/target")).await.unwrap().into_inner();
    assert!(!answer.volume_condition.unwrap().message.is_empty());
    let bytes = answer.usage.iter().find(|usage| usage.unit == i32::from(Unit::Bytes)).unwrap();
    assert_eq!((bytes.total, bytes.used, bytes.available), (MIB, 4096, MIB - 4096));
    for _ in 0..2 {
        world.node.node_unpublish_volume(unpublish(&volume, "/target")).await.unwrap();
    }
    let answer = world.node.node_get_volume_stats(stats(&volume, "/target")).await;
    assert_eq!(code(&answer), Code::NotFound);
    let unstage = v1::NodeUnstageVolumeRequest { volume_id: volume.clone(), staging_target_path: "/staging".into() };
    for _ in 0..2 {
        world.node.node_unstage_volume(unstage.clone()).await.unwrap();
    }
    world.delete(&volume).await.unwrap();
    world.node.node_unstage_volume(unstage).await.unwrap();
    world.node.node_unpublish_volume(unpublish(&volume, "/target")).await.unwrap();
}

#[tokio::test]
async fn a_publish_needs_a_staging_path_where_the_volume_is_staged() {
    let mut world = World::new();
    let volume = world.create("a").await.volume_id;
    let request = publish(&volume, "/target", mount(Mode::SingleNodeWriter));
    assert_eq!(code(&world.node.node_publish_volume(request.clone()).await), Code::FailedPrecondition);
    world.node.node_stage_volume(stage(&volume, mount(Mode::SingleNodeWriter))).await.unwrap();
    let without = v1::NodePublishVolumeRequest { staging_target_path: String::new(), ..request.clone() };
    assert_eq!(code(&world.node.node_publish_volume(without).await), Code::FailedPrecondition);
    let elsewhere = v1::NodePublishVolumeRequest { staging_target_path: "/other".into(), ..request.clone() };
    assert_eq!(code(&world.node.node_publish_volume(elsewhere).await), Code::FailedPrecondition);
    world.node.node_publish_volume(request).await.unwrap();
}

#[tokio::test]
async fn without_staging_a_publish_stands_alone() {
    let without = ["Node.STAGE_UNSTAGE_VOLUME".parse().unwrap()].into();
    let mut world = World::with(Configuration { without, ..Configuration::default() });
    let volume = world.create("a").await.volume_id;
    let request = v1::NodePublishVolumeRequest {
        staging_target_path: String::new(),
        ..publish(&volume, "/target", block(Mode::SingleNodeWriter))
    };
    world.node.node_publish_volume(request).await.unwrap();
    let answer = world.node.node_stage_volume(stage(&volume, mount(Mode::SingleNodeWriter))).await;
    assert_eq!(code(&answer), Code::Unimplemented);
}

#[tokio::test]
async fn second_publishes_follow_the_tables() {
    let mut world = World::new();
    for (mode, second_target) in [
        (Mode::SingleNodeWriter, Code::FailedPrecondition),
        (Mode::SingleNodeSingleWriter, Code::FailedPrecondition),
        (Mode::SingleNodeMultiWriter, Code::Ok),
        (Mode::MultiNodeMultiWriter, Code::Ok),
    ] {
        let volume = world.create(mode.as_str_name()).await.volume_id;
        let staging = format!("/staging/{}", mode.as_str_name());
        let request =
            v1::NodeStageVolumeRequest { staging_target_path: staging.clone(), ..stage(&volume, mount(mode)) };
        world.node.node_stage_volume(request).await.unwrap();
        let target = format!("/target/{}", mode.as_str_name());
        let first =
            v1::NodePublishVolumeRequest { staging_target_path: staging, ..publish(&volume, &target, mount(mode)) };
        world.node.node_publish_volume(first.clone()).await.unwrap();
        assert_eq!(code(&world.node.node_publish_volume(first.clone()).await), Code::Ok, "{mode:?}");
        let readonly = v1::NodePublishVolumeRequest { readonly: true, ..first.clone() };
        assert_eq!(code(&world.node.node_publish_volume(readonly).await), Code::AlreadyExists, "{mode:?}");
        let other_kind = v1::NodePublishVolumeRequest { volume_capability: Some(block(mode)), ..first.clone() };
        assert_eq!(code(&world.node.node_publish_volume(other_kind).await), Code::AlreadyExists, "{mode:?}");
        let other = v1::NodePublishVolumeRequest { target_path: format!("{target}-2"), ..first };
        assert_eq!(code(&world.node.node_publish_volume(other).await), second_target, "{mode:?}");
    }
}

#[tokio::test]
async fn every_refusal_has_the_code_of_the_table() {
    let mut world = World::new();
    let request = v1::CreateVolumeRequest {
        volume_capabilities: vec![mount(Mode::SingleNodeWriter)],
        ..create_volume("mount only")
    };
    let volume = world.create_as(request).await.unwrap().volume_id;
    let good = mount(Mode::SingleNodeWriter);
    world.node.node_stage_volume(stage(&volume, good.clone())).await.unwrap();
    let flagged = |mount_flags: Vec<String>, fs_type: &str, group: &str| v1::VolumeCapability {
        access_type: Some(volume_capability::AccessType::Mount(volume_capability::MountVolume {
            fs_type: fs_type.into(),
            mount_flags,
            volume_mount_group: group.into(),
        })),
        ..good.clone()
    };
    let stagings = [
        (stage("", good.clone()), Code::InvalidArgument),
        (
            v1::NodeStageVolumeRequest { staging_target_path: String::new(), ..stage(&volume, good.clone()) },
            Code::InvalidArgument,
        ),
        (
            v1::NodeStageVolumeRequest { staging_target_path: "rel".into(), ..stage(&volume, good.clone()) },
            Code::InvalidArgument,
        ),
        (v1::NodeStageVolumeRequest { volume_capability: None, ..stage(&volume, good.clone()) }, Code::InvalidArgument),
        (stage(&volume, mount(Mode::Unknown)), Code::InvalidArgument),
        (stage(&volume, flagged(vec![], "", "staff")), Code::InvalidArgument),
        (stage("vol-unknown", good.clone()), Code::NotFound),
        (stage(&volume, block(Mode::SingleNodeWriter)), Code::FailedPrecondition),
        (stage(&volume, flagged(vec!["bogus".into()], "", "")), Code::FailedPrecondition),
        (stage(&volume, flagged(vec![], "ntfs", "")), Code::FailedPrecondition),
        (stage(&volume, flagged(vec![], "fuse", "")), Code::AlreadyExists),
    ];
    for (request, expected) in stagings {
        let answer = world.node.node_stage_volume(request.clone()).await;
        assert_eq!(code(&answer), expected, "{request:?}");
    }
    let publishes = [
        (publish("", "/t", good.clone()), Code::InvalidArgument),
        (publish(&volume, "", good.clone()), Code::InvalidArgument),
        (publish(&volume, "/a/../b", good.clone()), Code::InvalidArgument),
        (
            v1::NodePublishVolumeRequest { volume_capability: None, ..publish(&volume, "/t", good.clone()) },
            Code::InvalidArgument,
        ),
        (publish("vol-unknown", "/t", good.clone()), Code::NotFound),
        (publish(&volume, "/t", block(Mode::SingleNodeWriter)), Code::FailedPrecondition),
        (
            v1::NodePublishVolumeRequest {
                volume_context: strings(&[("other", "x")]),
                ..publish(&volume, "/t", good.clone())
            },
            Code::InvalidArgument,
        ),
    ];
    for (request, expected) in publishes {
        let answer = world.node.node_publish_volume(request.clone()).await;
        assert_eq!(code(&answer), expected, "{request:?}");
    }
    assert_eq!(code(&world.node.node_unpublish_volume(unpublish("", "/t")).await), Code::InvalidArgument);
    assert_eq!(code(&world.node.node_unpublish_volume(unpublish(&volume, "")).await), Code::InvalidArgument);
    assert_eq!(code(&world.node.node_unpublish_volume(unpublish("No Id", "/t")).await), Code::Ok);
    for (volume, path, expected) in [
        ("", "/staging", Code::InvalidArgument),
        (volume.as_str(), "", Code::InvalidArgument),
        (&volume, "/elsewhere", Code::NotFound),
        (&volume, "some/path", Code::NotFound),
        ("vol-unknown", "/staging", Code::NotFound),
        (&volume, "/staging", Code::Ok),
    ] {
        let answer = world.node.node_get_volume_stats(stats(volume, path)).await;
        assert_eq!(code(&answer), expected, "{volume:?} {path:?}");
    }
}

#[tokio::test]
async fn staging_again_with_another_access_type_is_already_exists_either_way_round() {
    let mut world = World::new();
    let volume = world.create("a").await.volume_id;
    let unstage = v1::NodeUnstageVolumeRequest { volume_id: volume.clone(), staging_target_path: "/staging".into() };
    let (mount, block) = (mount(Mode::SingleNodeWriter), block(Mode::SingleNodeWriter));
    for (first, second) in [(&mount, &block), (&block, &mount)] {
        world.node.node_stage_volume(stage(&volume, first.clone())).await.unwrap();
        let answer = world.node.node_stage_volume(stage(&volume, second.clone())).await;
        assert_eq!(code(&answer), Code::AlreadyExists);
        world.node.node_publish_volume(publish(&volume, "/target", first.clone())).await.unwrap();
        assert_eq!(code(&world.node.node_get_volume_stats(stats(&volume, "/staging")).await), Code::Ok);
        world.node.node_unpublish_volume(unpublish(&volume, "/target")).await.unwrap();
        world.node.node_unstage_volume(unstage.clone()).await.unwrap();
        assert_eq!(code(&world.node.node_get_volume_stats(stats(&volume, "/staging")).await), Code::NotFound);
    }
    world.delete(&volume).await.unwrap();
}

#[tokio::test]
async fn node_expansion_follows_the_controller() {
    let mut world = World::new();
    let volume = world.create("a").await.volume_id;
    world.node.node_stage_volume(stage(&volume, block(Mode::SingleNodeWriter))).await.unwrap();
    let expand = |volume: &str, path: &str, required: Option<i64>, limit: i64| v1::NodeExpandVolumeRequest {
        volume_id: volume.into(),
        volume_path: path.into(),
        capacity_range: required.map(|required_bytes| v1::CapacityRange { required_bytes, limit_bytes: limit }),
        ..Default::default()
    };
    for (request, expected) in [
        (expand("", "/staging", None, 0), Code::InvalidArgument),
        (expand(&volume, "", None, 0), Code::InvalidArgument),
        (expand("vol-unknown", "/staging", None, 0), Code::NotFound),
        (expand(&volume, "/staging", Some(1 << 60), 0), Code::OutOfRange),
        (expand(&volume, "/staging", Some(0), 1), Code::OutOfRange),
        (expand(&volume, "/staging", Some(1), 0), Code::Ok),
        (expand(&volume, "/staging", None, 0), Code::Ok),
    ] {
        let answer = world.node.node_expand_volume(request.clone()).await;
        assert_eq!(code(&answer), expected, "{request:?}");
    }
    assert_eq!(world.ground.pods.resized.lock().unwrap().len(), 2);
}

/// An expansion that began on a smaller volume does not make it smaller than another has answered meanwhile.
#[tokio::test]
async fn the_node_grows_volumes_where_the_controller_does_not() {
    let without = ["Controller.EXPAND_VOLUME".parse().unwrap()].into();
    let mut world = World::with(Configuration { without, ..Configuration::default() });
    let store = world.ground.store.clone();
    let volume = world.create("a").await.volume_id;
    world.node.node_stage_volume(stage(&volume, block(Mode::SingleNodeWriter))).await.unwrap();
    let stored = || i64::try_from(store.volume(&volume.parse().unwrap()).unwrap().unwrap().capacity).unwrap();
    let before = stored();
    let expand = |required_bytes: i64| {
        let (mut node, volume_id) = (world.node.clone(), volume.clone());
        let capacity_range = Some(v1::CapacityRange { required_bytes, limit_bytes: 0 });
        let volume_path = "/staging".into();
        let request = v1::NodeExpandVolumeRequest { volume_id, volume_path, capacity_range, ..Default::default() };
        async move { node.node_expand_volume(request).await }
    };
    let gate = Arc::new(Gate::default());
    *world.ground.pods.gate.lock().unwrap() = Some(gate.clone());
    let first = tokio::spawn(expand(before + 2 * MIB));
    gate.reached.notified().await;
    let second = expand(before + 8 * MIB).await;
    gate.open.notify_one();
    let first = first.await.unwrap();
    assert_eq!(code(&second), Code::Aborted);
    assert_eq!(first.unwrap().into_inner().capacity_bytes, before + 2 * MIB);
    assert_eq!(stored(), before + 2 * MIB);
    assert_eq!(code(&expand(before + 8 * MIB).await), Code::Ok);
    assert_eq!(stored(), before + 8 * MIB);
    // Never smaller again.
    assert_eq!(expand(before).await.unwrap().into_inner().capacity_bytes, before + 8 * MIB);
}

#[tokio::test]
async fn a_read_only_attachment_reaches_the_node() {
    let mut world = World::new();
    let volume = world.create("a").await.volume_id;
    let attach = v1::ControllerPublishVolumeRequest {
        volume_id: volume.clone(),
        node_id: "node-1".into(),
        volume_capability: Some(mount(Mode::SingleNodeWriter)),
        readonly: true,
        ..Default::default()
    };
    let context = world.controller.controller_publish_volume(attach).await.unwrap().into_inner().publish_context;
    let staging =
        v1::NodeStageVolumeRequest { publish_context: context, ..stage(&volume, mount(Mode::SingleNodeWriter)) };
    world.node.node_stage_volume(staging).await.unwrap();
    use csi_certify::mountpod::MountPods as _;
    let published = world.ground.pods.published(&volume.parse().unwrap()).await.unwrap();
    assert!(published[0].fingerprint.read_only);
    let writable = publish(&volume, "/target", mount(Mode::SingleNodeWriter));
    assert_eq!(code(&world.node.node_publish_volume(writable).await), Code::FailedPrecondition);
}

#[tokio::test]
async fn the_node_tells_who_and_where_it_is() {
    let mut world = World::new();
    let info = world.node.node_get_info(v1::NodeGetInfoRequest {}).await.unwrap().into_inner();
    assert_eq!((info.node_id.as_str(), info.max_volumes_per_node), ("node-1", 256));
    let segments = info.accessible_topology.unwrap().segments;
    assert_eq!(segments, strings(&[("csi-certify.reference/zone", "zone-a")]));
}
