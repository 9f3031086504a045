//! CreateSnapshot, DeleteSnapshot, GetSnapshot, restore.

use csi_certify::csi::v1::{self, volume_content_source};
use tonic::Code;

use crate::world::{MIB, World, code, create_volume, refused, strings};

fn from_snapshot(id: &str) -> Option<v1::VolumeContentSource> {
    let source = volume_content_source::SnapshotSource { snapshot_id: id.into() };
    Some(v1::VolumeContentSource { r#type: Some(volume_content_source::Type::Snapshot(source)) })
}

#[tokio::test]
async fn a_snapshot_shows_the_moment_of_the_cut_and_outlives_its_volume() {
    let mut world = World::new();
    let volume = world.create("a").await;
    let file = world.ground.volume(&volume.volume_id, "fs").join("file");
    std::fs::write(&file, "before").unwrap();
    std::fs::write(world.ground.volume(&volume.volume_id, "block"), "raw before").unwrap();
    let snapshot = world.snapshot("s", &volume.volume_id).await.unwrap();
    assert!(snapshot.ready_to_use);
    assert_eq!(snapshot.size_bytes, MIB);
    std::fs::write(&file, "after").unwrap();
    std::fs::write(world.ground.volume(&volume.volume_id, "block"), "raw after").unwrap();
    world.delete(&volume.volume_id).await.unwrap();
    assert_eq!(world.snapshot("s", &volume.volume_id).await.unwrap(), snapshot);

    let restore = v1::CreateVolumeRequest {
        volume_content_source: from_snapshot(&snapshot.snapshot_id),
        ..create_volume("restored")
    };
    let restored = world.create_as(restore).await.unwrap();
    let get = v1::DeleteSnapshotRequest { snapshot_id: snapshot.snapshot_id.clone(), ..Default::default() };
    for _ in 0..2 {
        world.controller.delete_snapshot(get.clone()).await.unwrap();
    }
    let content = std::fs::read_to_string(world.ground.volume(&restored.volume_id, "fs").join("file")).unwrap();
    assert_eq!(content, "before");
    let raw = std::fs::read(world.ground.volume(&restored.volume_id, "block")).unwrap();
    assert_eq!((&raw[..10], raw.len()), (b"raw before".as_slice(), 1 << 20));
    assert_eq!(world.ground.contents(), (1, 0, 0));
}

#[tokio::test]
async fn a_repeat_returns_the_same_snapshot_and_another_source_is_refused() {
    let mut world = World::new();
    let first = world.create("a").await;
    let second = world.create("b").await;
    let snapshot = world.snapshot("s", &first.volume_id).await.unwrap();
    assert_eq!(world.snapshot("s", &first.volume_id).await.unwrap(), snapshot);
    assert_eq!(world.restarted().snapshot("s", &first.volume_id).await.unwrap(), snapshot);
    for source in [second.volume_id.as_str(), "vol-unknown", "Not an id"] {
        let refusal = world.snapshot("s", source).await.unwrap_err();
        assert_eq!(refused(&refusal), Code::AlreadyExists, "{source}");
    }
    assert_eq!(refused(&world.snapshot("t", "vol-unknown").await.unwrap_err()), Code::NotFound);
    assert_eq!(refused(&world.snapshot("", &first.volume_id).await.unwrap_err()), Code::InvalidArgument);
    assert_eq!(refused(&world.snapshot("t", "").await.unwrap_err()), Code::InvalidArgument);
    let unknown = v1::CreateSnapshotRequest {
        source_volume_id: first.volume_id,
        name: "t".into(),
        parameters: strings(&[("bogus", "x")]),
        ..Default::default()
    };
    assert_eq!(code(&world.controller.create_snapshot(unknown).await), Code::InvalidArgument);
}

#[tokio::test]
async fn a_snapshot_is_found_until_it_is_deleted() {
    let mut world = World::new();
    let volume = world.create("a").await;
    let snapshot = world.snapshot("s", &volume.volume_id).await.unwrap();
    let get = |id: &str| v1::GetSnapshotRequest { snapshot_id: id.into(), ..Default::default() };
    let answer = world.controller.get_snapshot(get(&snapshot.snapshot_id)).await.unwrap().into_inner();
    assert_eq!(answer.snapshot, Some(snapshot.clone()));
    // The name is not the id.
    for id in ["s", snapshot.snapshot_id.as_str(), "snap-unknown"] {
        let delete = v1::DeleteSnapshotRequest { snapshot_id: id.into(), ..Default::default() };
        world.controller.delete_snapshot(delete).await.unwrap();
    }
    assert_eq!(code(&world.controller.get_snapshot(get(&snapshot.snapshot_id)).await), Code::NotFound);
    assert_eq!(code(&world.controller.get_snapshot(get("")).await), Code::InvalidArgument);
    let empty = v1::DeleteSnapshotRequest::default();
    assert_eq!(code(&world.controller.delete_snapshot(empty).await), Code::InvalidArgument);
}

#[tokio::test]
async fn a_restored_volume_is_never_smaller_than_the_snapshot() {
    let mut world = World::new();
    let volume = world.create("a").await;
    let snapshot = world.snapshot("s", &volume.volume_id).await.unwrap();
    let restore = v1::CreateVolumeRequest {
        volume_content_source: from_snapshot(&snapshot.snapshot_id),
        capacity_range: Some(v1::CapacityRange { required_bytes: 0, limit_bytes: MIB / 2 }),
        ..create_volume("b")
    };
    assert_eq!(code(&world.controller.create_volume(restore.clone()).await), Code::OutOfRange);
    let restored = world.create_as(v1::CreateVolumeRequest { capacity_range: None, ..restore.clone() }).await.unwrap();
    assert_eq!(restored.capacity_bytes, MIB);
    for (id, expected) in [("", Code::InvalidArgument), ("snap-unknown", Code::NotFound)] {
        let missing =
            v1::CreateVolumeRequest { name: "c".into(), volume_content_source: from_snapshot(id), ..restore.clone() };
        assert_eq!(code(&world.controller.create_volume(missing).await), expected, "{id:?}");
    }
}
