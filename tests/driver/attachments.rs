//! ControllerPublishVolume and ControllerUnpublishVolume.

use csi_certify::{csi::v1, driver::Configuration};
use tonic::{Code, Status};

use crate::world::{Mode, World, block, code, mount, refused, strings};

fn publish(volume: &str, node: &str, mode: Mode) -> v1::ControllerPublishVolumeRequest {
    v1::ControllerPublishVolumeRequest {
        volume_id: volume.into(),
        node_id: node.into(),
        volume_capability: Some(mount(mode)),
        ..Default::default()
    }
}

fn unpublish(volume: &str, node: &str) -> v1::ControllerUnpublishVolumeRequest {
    v1::ControllerUnpublishVolumeRequest { volume_id: volume.into(), node_id: node.into(), ..Default::default() }
}

async fn published_on(world: &mut World, volume: &str) -> Result<Vec<String>, Status> {
    let request = v1::ControllerGetVolumeRequest { volume_id: volume.into() };
    let answer = world.controller.controller_get_volume(request).await?.into_inner();
    Ok(answer.status.unwrap().published_node_ids)
}

#[tokio::test]
async fn attaching_is_idempotent_with_a_stable_context_also_after_a_restart() {
    let mut world = World::new();
    let volume = world.create("a").await.volume_id;
    let request = publish(&volume, "node-1", Mode::SingleNodeWriter);
    let first = world.controller.controller_publish_volume(request.clone()).await.unwrap().into_inner();
    assert!(!first.publish_context.is_empty());
    let again = world.controller.controller_publish_volume(request.clone()).await.unwrap().into_inner();
    assert_eq!(again, first);
    let again = world.restarted().controller.controller_publish_volume(request).await.unwrap().into_inner();
    assert_eq!(again, first);
    assert_eq!(published_on(&mut world, &volume).await.unwrap(), ["node-1"]);
}

#[tokio::test]
async fn every_refusal_has_the_code_of_the_table() {
    let mut world = World::new();
    let volume = world.create("a").await.volume_id;
    let base = publish(&volume, "node-1", Mode::SingleNodeWriter);
    world.controller.controller_publish_volume(base.clone()).await.unwrap();
    let refusals = [
        (v1::ControllerPublishVolumeRequest { volume_id: String::new(), ..base.clone() }, Code::InvalidArgument),
        (v1::ControllerPublishVolumeRequest { node_id: String::new(), ..base.clone() }, Code::InvalidArgument),
        (v1::ControllerPublishVolumeRequest { volume_capability: None, ..base.clone() }, Code::InvalidArgument),
        (
            v1::ControllerPublishVolumeRequest { volume_context: strings(&[("other", "x")]), ..base.clone() },
            Code::InvalidArgument,
        ),
        (v1::ControllerPublishVolumeRequest { volume_id: "vol-unknown".into(), ..base.clone() }, Code::NotFound),
        (v1::ControllerPublishVolumeRequest { node_id: "node-9".into(), ..base.clone() }, Code::NotFound),
        (v1::ControllerPublishVolumeRequest { readonly: true, ..base.clone() }, Code::AlreadyExists),
        (
            v1::ControllerPublishVolumeRequest {
                volume_capability: Some(block(Mode::SingleNodeWriter)),
                ..base.clone()
            },
            Code::AlreadyExists,
        ),
        (v1::ControllerPublishVolumeRequest { node_id: "node-2".into(), ..base.clone() }, Code::FailedPrecondition),
    ];
    for (request, expected) in refusals {
        let answer = world.controller.controller_publish_volume(request.clone()).await;
        assert_eq!(code(&answer), expected, "{request:?}");
    }
    let elsewhere = v1::ControllerPublishVolumeRequest { node_id: "node-2".into(), ..base };
    let refusal = world.controller.controller_publish_volume(elsewhere).await.unwrap_err();
    assert!(refusal.message().contains("node-1"), "{}", refusal.message());
}

#[tokio::test]
async fn a_multi_node_volume_is_on_several_nodes_until_an_empty_node_id_takes_it_from_all() {
    let mut world = World::new();
    let volume = world.create("a").await.volume_id;
    for node in ["node-1", "node-2"] {
        let request = publish(&volume, node, Mode::MultiNodeMultiWriter);
        world.controller.controller_publish_volume(request).await.unwrap();
    }
    assert_eq!(published_on(&mut world, &volume).await.unwrap(), ["node-1", "node-2"]);
    assert_eq!(refused(&world.delete(&volume).await.unwrap_err()), Code::FailedPrecondition);
    world.controller.controller_unpublish_volume(unpublish(&volume, "node-2")).await.unwrap();
    assert_eq!(published_on(&mut world, &volume).await.unwrap(), ["node-1"]);
    for _ in 0..2 {
        world.controller.controller_unpublish_volume(unpublish(&volume, "")).await.unwrap();
    }
    assert!(published_on(&mut world, &volume).await.unwrap().is_empty());
    world.delete(&volume).await.unwrap();
}

#[tokio::test]
async fn detaching_what_is_not_attached_is_success() {
    let mut world = World::new();
    let volume = world.create("a").await.volume_id;
    for (volume, node) in [(volume.as_str(), "node-1"), (&volume, "node-9"), ("vol-unknown", "node-1"), ("No Id", "")] {
        world.controller.controller_unpublish_volume(unpublish(volume, node)).await.unwrap();
    }
    let answer = world.controller.controller_unpublish_volume(unpublish("", "node-1")).await;
    assert_eq!(code(&answer), Code::InvalidArgument);
}

#[tokio::test]
async fn a_full_node_takes_no_more_until_one_is_detached() {
    let mut world = World::with(Configuration { max_volumes_per_node: 1, ..Configuration::default() });
    let first = world.create("a").await.volume_id;
    let second = world.create("b").await.volume_id;
    let of = |volume: &str| publish(volume, "node-1", Mode::SingleNodeWriter);
    world.controller.controller_publish_volume(of(&first)).await.unwrap();
    world.controller.controller_publish_volume(of(&first)).await.unwrap();
    let full = world.controller.controller_publish_volume(of(&second)).await;
    assert_eq!(code(&full), Code::ResourceExhausted);
    world.controller.controller_unpublish_volume(unpublish(&first, "node-1")).await.unwrap();
    world.controller.controller_publish_volume(of(&second)).await.unwrap();
}
