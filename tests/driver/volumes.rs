//! CreateVolume, DeleteVolume, expand, modify, capacity.

use csi_certify::{
    csi::v1::{self, volume_content_source},
    driver::{Configuration, Expansion, capability::Capability},
};
use tonic::Code;

use crate::world::{MIB, Mode, World, block, code, create_volume, mount, refused, strings};

fn from_volume(id: &str) -> Option<v1::VolumeContentSource> {
    let source = volume_content_source::VolumeSource { volume_id: id.into() };
    Some(v1::VolumeContentSource { r#type: Some(volume_content_source::Type::Volume(source)) })
}

fn range(required_bytes: i64, limit_bytes: i64) -> Option<v1::CapacityRange> {
    Some(v1::CapacityRange { required_bytes, limit_bytes })
}

fn topology(zone: &str) -> v1::Topology {
    v1::Topology { segments: strings(&[("csi-certify.reference/zone", zone)]) }
}

#[tokio::test]
async fn a_repeat_returns_the_same_volume_also_after_a_restart() {
    let mut world = World::new();
    let odd = v1::CreateVolumeRequest { capacity_range: range(MIB + 1, 0), ..create_volume("odd") };
    let volume = world.create_as(odd.clone()).await.unwrap();
    assert_eq!(volume.capacity_bytes, MIB + 4096);
    assert_eq!(world.create_as(odd.clone()).await.unwrap(), volume);
    let mut restarted = world.restarted();
    assert_eq!(restarted.create_as(odd).await.unwrap(), volume);
    assert_eq!(restarted.ground.contents(), (1, 0, 0));
}

#[tokio::test]
async fn a_request_that_the_volume_does_not_meet_is_already_exists() {
    let mut world = World::new();
    let source = world.create("source").await;
    let base = v1::CreateVolumeRequest {
        volume_capabilities: vec![mount(Mode::SingleNodeWriter)],
        capacity_range: range(MIB, MIB),
        ..create_volume("base")
    };
    let volume = world.create_as(base.clone()).await.unwrap();
    let differing = [
        v1::CreateVolumeRequest { capacity_range: range(2 * MIB, 2 * MIB), ..base.clone() },
        v1::CreateVolumeRequest { volume_capabilities: vec![block(Mode::SingleNodeWriter)], ..base.clone() },
        v1::CreateVolumeRequest { parameters: strings(&[("tier", "fast")]), ..base.clone() },
        v1::CreateVolumeRequest { volume_content_source: from_volume(&source.volume_id), ..base.clone() },
        v1::CreateVolumeRequest {
            accessibility_requirements: Some(v1::TopologyRequirement {
                requisite: vec![topology("nowhere")],
                preferred: vec![],
            }),
            ..base.clone()
        },
    ];
    for request in differing {
        let answer = world.controller.create_volume(request.clone()).await;
        assert_eq!(code(&answer), Code::AlreadyExists, "{request:?}");
    }
    let wider = v1::CreateVolumeRequest {
        capacity_range: range(MIB / 2, 0),
        volume_capabilities: vec![mount(Mode::MultiNodeMultiWriter)],
        ..base
    };
    assert_eq!(world.create_as(wider).await.unwrap().volume_id, volume.volume_id);
}

#[tokio::test]
async fn requests_that_cannot_be_are_refused_with_the_code_of_the_table() {
    let mut world = World::new();
    let base = create_volume("base");
    let invalid = [
        v1::CreateVolumeRequest { name: String::new(), ..base.clone() },
        v1::CreateVolumeRequest { name: "a\u{1}b".into(), ..base.clone() },
        v1::CreateVolumeRequest { volume_capabilities: vec![], ..base.clone() },
        v1::CreateVolumeRequest { volume_capabilities: vec![mount(Mode::Unknown)], ..base.clone() },
        v1::CreateVolumeRequest {
            volume_capabilities: vec![v1::VolumeCapability { access_type: None, ..mount(Mode::SingleNodeWriter) }],
            ..base.clone()
        },
        v1::CreateVolumeRequest {
            volume_capabilities: vec![v1::VolumeCapability { access_mode: None, ..mount(Mode::SingleNodeWriter) }],
            ..base.clone()
        },
        v1::CreateVolumeRequest { capacity_range: range(-1, 0), ..base.clone() },
        v1::CreateVolumeRequest { capacity_range: range(0, 0), ..base.clone() },
        v1::CreateVolumeRequest { capacity_range: range(2, 1), ..base.clone() },
        v1::CreateVolumeRequest { parameters: strings(&[("bogus", "x")]), ..base.clone() },
        v1::CreateVolumeRequest { mutable_parameters: strings(&[("bogus", "x")]), ..base.clone() },
        v1::CreateVolumeRequest { volume_content_source: Some(v1::VolumeContentSource::default()), ..base.clone() },
        v1::CreateVolumeRequest { volume_content_source: from_volume(""), ..base.clone() },
        v1::CreateVolumeRequest {
            accessibility_requirements: Some(v1::TopologyRequirement::default()),
            ..base.clone()
        },
    ];
    for request in invalid {
        let answer = world.controller.create_volume(request.clone()).await;
        assert_eq!(code(&answer), Code::InvalidArgument, "{request:?}");
    }
    let other = [
        (v1::CreateVolumeRequest { capacity_range: range(1 << 62, 0), ..base.clone() }, Code::OutOfRange),
        (v1::CreateVolumeRequest { capacity_range: range(1, 4096), ..base.clone() }, Code::OutOfRange),
        (v1::CreateVolumeRequest { capacity_range: range(MIB + 1, MIB + 1), ..base.clone() }, Code::OutOfRange),
        (v1::CreateVolumeRequest { volume_content_source: from_volume("vol-unknown"), ..base.clone() }, Code::NotFound),
        (v1::CreateVolumeRequest { volume_content_source: from_volume("No Id"), ..base.clone() }, Code::NotFound),
        (
            v1::CreateVolumeRequest {
                accessibility_requirements: Some(v1::TopologyRequirement {
                    requisite: vec![topology("nowhere")],
                    preferred: vec![],
                }),
                ..base.clone()
            },
            Code::ResourceExhausted,
        ),
    ];
    for (request, expected) in other {
        let answer = world.controller.create_volume(request.clone()).await;
        assert_eq!(code(&answer), expected, "{request:?}");
    }
    assert_eq!(world.ground.contents(), (0, 0, 0));
}

#[tokio::test]
async fn exotic_names_make_different_volumes_inside_the_directory() {
    let mut world = World::new();
    let mut ids = std::collections::BTreeSet::new();
    for name in ["a", "A", " a", "a/b", "../x", "日本語", "🦀", "tab\t", &"x".repeat(128)] {
        ids.insert(world.create(name).await.volume_id);
    }
    assert_eq!(ids.len(), 9);
    assert_eq!(world.ground.contents(), (9, 0, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn concurrent_identical_creates_make_one_volume() {
    let world = World::new();
    let calls = (0..32).map(|_| {
        let mut controller = world.controller.clone();
        tokio::spawn(async move { controller.create_volume(create_volume("same")).await })
    });
    let calls: Vec<_> = calls.collect();
    let mut ids = std::collections::BTreeSet::new();
    for call in calls {
        match call.await.unwrap() {
            Ok(answer) => drop(ids.insert(answer.into_inner().volume.unwrap().volume_id)),
            Err(status) => assert_eq!(refused(&status), Code::Aborted),
        }
    }
    assert_eq!(ids.len(), 1);
    assert_eq!(world.ground.contents(), (1, 0, 0));
}

#[tokio::test]
async fn a_clone_is_independent_of_its_source_and_may_be_larger() {
    let mut world = World::new();
    let source = world.create("source").await;
    let file = world.ground.volume(&source.volume_id, "fs").join("file");
    std::fs::write(&file, "before").unwrap();
    let request = v1::CreateVolumeRequest {
        volume_content_source: from_volume(&source.volume_id),
        capacity_range: range(2 * MIB, 0),
        ..create_volume("clone")
    };
    let clone = world.create_as(request.clone()).await.unwrap();
    assert_eq!(clone.content_source, from_volume(&source.volume_id));
    std::fs::write(&file, "after").unwrap();
    world.delete(&source.volume_id).await.unwrap();
    let content = std::fs::read_to_string(world.ground.volume(&clone.volume_id, "fs").join("file")).unwrap();
    assert_eq!(content, "before");
    assert_eq!(std::fs::metadata(world.ground.volume(&clone.volume_id, "block")).unwrap().len(), 2 << 20);
    // The clone is there: a repeat does not need the source any more.
    assert_eq!(world.create_as(request).await.unwrap(), clone);
}

#[tokio::test]
async fn a_clone_is_never_smaller_and_never_of_another_kind() {
    let mut world = World::new();
    let request = v1::CreateVolumeRequest {
        volume_capabilities: vec![mount(Mode::SingleNodeWriter)],
        capacity_range: range(2 * MIB, 0),
        ..create_volume("source")
    };
    let source = world.create_as(request.clone()).await.unwrap();
    let volume_content_source = from_volume(&source.volume_id);
    let small = v1::CreateVolumeRequest {
        name: "small".into(),
        capacity_range: range(MIB, MIB),
        volume_content_source: volume_content_source.clone(),
        ..request.clone()
    };
    assert_eq!(code(&world.controller.create_volume(small).await), Code::OutOfRange);
    let other_kind = v1::CreateVolumeRequest { volume_content_source, ..create_volume("block") };
    assert_eq!(code(&world.controller.create_volume(other_kind).await), Code::InvalidArgument);
}

#[tokio::test]
async fn deleting_is_idempotent_and_knows_ids_not_names() {
    let mut world = World::new();
    let volume = world.create("name").await;
    world.delete("name").await.unwrap();
    assert_eq!(world.ground.contents(), (1, 0, 0));
    std::fs::remove_dir_all(world.ground.volume(&volume.volume_id, "")).unwrap();
    for id in [volume.volume_id.as_str(), &volume.volume_id, "vol-unknown", "Not/An:Id"] {
        world.delete(id).await.unwrap();
    }
    assert_eq!(refused(&world.delete("").await.unwrap_err()), Code::InvalidArgument);
    assert_eq!(world.available().await, 10 << 40);
}

#[tokio::test]
async fn capacity_adds_up_whatever_happens() {
    let mut world = World::new();
    let whole = world.available().await;
    let volume = world.create("a").await;
    world.snapshot("s", &volume.volume_id).await.unwrap();
    assert_eq!(world.available().await, whole - 2 * MIB);
    let request = v1::ControllerExpandVolumeRequest {
        volume_id: volume.volume_id.clone(),
        capacity_range: range(4 * MIB, 0),
        ..Default::default()
    };
    world.controller.controller_expand_volume(request).await.unwrap();
    assert_eq!(world.available().await, whole - 5 * MIB);
    world.delete(&volume.volume_id).await.unwrap();
    assert_eq!(world.available().await, whole - MIB);
    let elsewhere = v1::GetCapacityRequest { accessible_topology: Some(topology("nowhere")), ..Default::default() };
    let capacity = world.controller.get_capacity(elsewhere).await.unwrap().into_inner();
    assert_eq!(capacity.available_capacity, 0);
}

#[tokio::test]
async fn a_full_pool_is_resource_exhausted_until_something_is_deleted() {
    let configuration = Configuration { pool_capacity: 2 << 20, ..Configuration::default() };
    let mut world = World::with(configuration);
    let first = world.create("a").await;
    world.create("b").await;
    assert_eq!(code(&world.controller.create_volume(create_volume("c")).await), Code::ResourceExhausted);
    let full = world.snapshot("s", &first.volume_id).await;
    assert_eq!(refused(&full.unwrap_err()), Code::ResourceExhausted);
    world.delete(&first.volume_id).await.unwrap();
    world.create("c").await;
}

#[tokio::test]
async fn preferred_topologies_are_tried_in_order() {
    let topologies = ["a", "b"].map(|zone| format!("csi-certify.reference/zone={zone}").parse().unwrap());
    let configuration =
        Configuration { topologies: topologies.into(), pool_capacity: 1 << 20, ..Configuration::default() };
    let mut world = World::with(configuration);
    let preferring = |name: &str| v1::CreateVolumeRequest {
        accessibility_requirements: Some(v1::TopologyRequirement {
            requisite: vec![topology("a"), topology("b")],
            preferred: vec![topology("b"), topology("a")],
        }),
        ..create_volume(name)
    };
    assert_eq!(world.create_as(preferring("1")).await.unwrap().accessible_topology, [topology("b")]);
    assert_eq!(world.create_as(preferring("2")).await.unwrap().accessible_topology, [topology("a")]);
    let full = world.create_as(preferring("3")).await;
    assert_eq!(refused(&full.unwrap_err()), Code::ResourceExhausted);
}

#[tokio::test]
async fn a_volume_grows_and_never_shrinks() {
    let mut world = World::new();
    let volume = world.create("a").await;
    let expand = |volume_id: &str, capacity_range| v1::ControllerExpandVolumeRequest {
        volume_id: volume_id.into(),
        capacity_range,
        ..Default::default()
    };
    for required in [3 * MIB, 3 * MIB, MIB] {
        let request = expand(&volume.volume_id, range(required, 0));
        let answer = world.controller.controller_expand_volume(request).await.unwrap().into_inner();
        assert_eq!((answer.capacity_bytes, answer.node_expansion_required), (3 * MIB, true));
    }
    assert_eq!(std::fs::metadata(world.ground.volume(&volume.volume_id, "block")).unwrap().len(), 3 << 20);
    let refusals = [
        (expand(&volume.volume_id, range(MIB, MIB)), Code::OutOfRange),
        (expand(&volume.volume_id, range(1 << 62, 0)), Code::OutOfRange),
        (expand(&volume.volume_id, None), Code::InvalidArgument),
        (expand("", range(MIB, 0)), Code::InvalidArgument),
        (expand("vol-unknown", range(MIB, 0)), Code::NotFound),
    ];
    for (request, expected) in refusals {
        let answer = world.controller.controller_expand_volume(request.clone()).await;
        assert_eq!(code(&answer), expected, "{request:?}");
    }
}

#[tokio::test]
async fn offline_expansion_waits_until_the_volume_is_detached() {
    let mut world = World::with(Configuration { expansion: Expansion::Offline, ..Configuration::default() });
    let volume = world.create("a").await;
    let publish = v1::ControllerPublishVolumeRequest {
        volume_id: volume.volume_id.clone(),
        node_id: "node-1".into(),
        volume_capability: Some(mount(Mode::SingleNodeWriter)),
        ..Default::default()
    };
    world.controller.controller_publish_volume(publish).await.unwrap();
    let expand = v1::ControllerExpandVolumeRequest {
        volume_id: volume.volume_id.clone(),
        capacity_range: range(2 * MIB, 0),
        ..Default::default()
    };
    let answer = world.controller.controller_expand_volume(expand.clone()).await;
    assert_eq!(code(&answer), Code::FailedPrecondition);
    let unpublish = v1::ControllerUnpublishVolumeRequest { volume_id: volume.volume_id, ..Default::default() };
    world.controller.controller_unpublish_volume(unpublish).await.unwrap();
    world.controller.controller_expand_volume(expand).await.unwrap();
}

#[tokio::test]
async fn without_node_expansion_the_controller_tells_the_daemons() {
    let without = ["Node.EXPAND_VOLUME".parse::<Capability>().unwrap()].into();
    let mut world = World::with(Configuration { without, ..Configuration::default() });
    let volume = world.create("a").await;
    let expand = v1::ControllerExpandVolumeRequest {
        volume_id: volume.volume_id.clone(),
        capacity_range: range(2 * MIB, 0),
        ..Default::default()
    };
    let answer = world.controller.controller_expand_volume(expand).await.unwrap().into_inner();
    assert!(!answer.node_expansion_required);
    let resized = world.ground.pods.resized.lock().unwrap();
    assert_eq!(resized.iter().map(ToString::to_string).collect::<Vec<_>>(), [volume.volume_id]);
}

#[tokio::test]
async fn modifying_changes_the_given_keys_all_or_none() {
    let mut world = World::new();
    let request = v1::CreateVolumeRequest {
        mutable_parameters: strings(&[("tier", "fast"), ("iops", "500")]),
        parameters: strings(&[("tier", "standard")]),
        ..create_volume("a")
    };
    let volume = world.create_as(request.clone()).await.unwrap();
    let modify = |entries: &[(&str, &str)]| v1::ControllerModifyVolumeRequest {
        volume_id: volume.volume_id.clone(),
        mutable_parameters: strings(entries),
        ..Default::default()
    };
    let bad = [modify(&[]), modify(&[("iops", "600"), ("bogus", "x")]), modify(&[("iops", "many")])];
    for request in bad {
        assert_eq!(code(&world.controller.controller_modify_volume(request).await), Code::InvalidArgument);
    }
    assert!(confirms(&mut world, &volume, &[("tier", "fast"), ("iops", "500")]).await);
    for _ in 0..2 {
        world.controller.controller_modify_volume(modify(&[("iops", "600")])).await.unwrap();
    }
    assert!(confirms(&mut world, &volume, &[("tier", "fast"), ("iops", "600")]).await);
    assert!(!confirms(&mut world, &volume, &[("iops", "500")]).await);
    // The creation is repeated as it was, and the context stays what it was.
    assert_eq!(world.create_as(request).await.unwrap(), volume);
    let unknown = v1::ControllerModifyVolumeRequest { volume_id: "vol-unknown".into(), ..modify(&[("iops", "600")]) };
    assert_eq!(code(&world.controller.controller_modify_volume(unknown).await), Code::NotFound);
}

async fn confirms(world: &mut World, volume: &v1::Volume, mutable: &[(&str, &str)]) -> bool {
    let request = v1::ValidateVolumeCapabilitiesRequest {
        volume_id: volume.volume_id.clone(),
        volume_context: volume.volume_context.clone(),
        volume_capabilities: vec![mount(Mode::SingleNodeWriter)],
        mutable_parameters: strings(mutable),
        ..Default::default()
    };
    let answer = world.controller.validate_volume_capabilities(request).await.unwrap().into_inner();
    assert_eq!(answer.confirmed.is_none(), !answer.message.is_empty());
    answer.confirmed.is_some()
}

#[tokio::test]
async fn validation_confirms_all_or_nothing() {
    let mut world = World::new();
    let request =
        v1::CreateVolumeRequest { volume_capabilities: vec![mount(Mode::SingleNodeWriter)], ..create_volume("a") };
    let volume = world.create_as(request).await.unwrap();
    let validate = |capabilities: Vec<v1::VolumeCapability>| v1::ValidateVolumeCapabilitiesRequest {
        volume_id: volume.volume_id.clone(),
        volume_capabilities: capabilities,
        ..Default::default()
    };
    let good = vec![mount(Mode::SingleNodeWriter), mount(Mode::MultiNodeMultiWriter)];
    let answer = world.controller.validate_volume_capabilities(validate(good.clone())).await.unwrap().into_inner();
    assert_eq!(answer.confirmed.unwrap().volume_capabilities, good);
    let mixed = vec![mount(Mode::SingleNodeWriter), block(Mode::SingleNodeWriter)];
    let answer = world.controller.validate_volume_capabilities(validate(mixed)).await.unwrap().into_inner();
    assert_eq!(answer.confirmed, None);
    let answer = world.controller.validate_volume_capabilities(validate(vec![])).await;
    assert_eq!(code(&answer), Code::InvalidArgument);
    let unknown = v1::ValidateVolumeCapabilitiesRequest { volume_id: "vol-unknown".into(), ..validate(good) };
    assert_eq!(code(&world.controller.validate_volume_capabilities(unknown).await), Code::NotFound);
}
