//! CreateVolumeGroupSnapshot, DeleteVolumeGroupSnapshot, GetVolumeGroupSnapshot: all members or none.

use csi_certify::{
    csi::v1::{self, VolumeGroupSnapshot, volume_content_source},
    driver::Configuration,
};
use tonic::Code;

use crate::world::{MIB, World, code, create_volume, refused, strings};

fn members(group: &VolumeGroupSnapshot) -> Vec<String> {
    group.snapshots.iter().map(|member| member.snapshot_id.clone()).collect()
}

fn get(group: &str, snapshot_ids: Vec<String>) -> v1::GetVolumeGroupSnapshotRequest {
    v1::GetVolumeGroupSnapshotRequest { group_snapshot_id: group.into(), snapshot_ids, ..Default::default() }
}

fn delete(group: &str, snapshot_ids: Vec<String>) -> v1::DeleteVolumeGroupSnapshotRequest {
    v1::DeleteVolumeGroupSnapshotRequest { group_snapshot_id: group.into(), snapshot_ids, ..Default::default() }
}

#[tokio::test]
async fn a_group_has_a_member_for_each_volume_and_a_repeat_in_any_order_returns_it() {
    let mut world = World::new();
    let (first, second) = (world.create("a").await.volume_id, world.create("b").await.volume_id);
    let group = world.group("g", &[&first, &second]).await.unwrap();
    assert!(group.ready_to_use);
    let mut sources: Vec<&str> = group.snapshots.iter().map(|member| member.source_volume_id.as_str()).collect();
    sources.sort_unstable();
    assert_eq!(sources, [first.as_str(), second.as_str()]);
    for member in &group.snapshots {
        assert!(member.ready_to_use);
        assert_eq!((&member.group_snapshot_id, member.creation_time), (&group.group_snapshot_id, group.creation_time));
    }
    for repeat in [[&*first, &*second, &*first].as_slice(), &[&*second, &*first]] {
        assert_eq!(world.group("g", repeat).await.unwrap(), group);
    }
    assert_eq!(world.restarted().group("g", &[&second, &first]).await.unwrap(), group);
    let answer = world.groups.get_volume_group_snapshot(get(&group.group_snapshot_id, members(&group))).await.unwrap();
    assert_eq!(answer.into_inner().group_snapshot, Some(group.clone()));
    let third = world.create("c").await.volume_id;
    for other in [[&*first].as_slice(), &[&*first, &*third], &[&*first, &*second, "Not an id"]] {
        assert_eq!(refused(&world.group("g", other).await.unwrap_err()), Code::AlreadyExists, "{other:?}");
    }
    // A snapshot may have the name of a group.
    world.snapshot("g", &first).await.unwrap();
}

#[tokio::test]
async fn a_group_with_a_volume_that_does_not_exist_leaves_nothing_behind() {
    let mut world = World::new();
    let volume = world.create("a").await.volume_id;
    let available = world.available().await;
    for missing in ["vol-unknown", "Not an id"] {
        assert_eq!(refused(&world.group("g", &[&volume, missing]).await.unwrap_err()), Code::NotFound);
    }
    assert_eq!((world.ground.contents(), world.available().await), ((1, 0, 0), available));
}

#[tokio::test]
async fn a_group_for_which_there_is_no_room_is_refused_whole() {
    let room = 3 * u64::try_from(MIB).unwrap();
    let mut world = World::with(Configuration { pool_capacity: room, ..Configuration::default() });
    let (first, second) = (world.create("a").await.volume_id, world.create("b").await.volume_id);
    let refusal = world.group("g", &[&first, &second]).await.unwrap_err();
    assert_eq!(refused(&refusal), Code::ResourceExhausted);
    assert_eq!((world.ground.contents(), world.available().await), ((2, 0, 0), MIB));
    world.group("g", &[&first]).await.unwrap();
}

#[tokio::test]
async fn a_group_goes_with_all_of_its_members_and_not_one_by_one() {
    let mut world = World::new();
    let (first, second) = (world.create("a").await.volume_id, world.create("b").await.volume_id);
    let available = world.available().await;
    let group = world.group("g", &[&first, &second]).await.unwrap();
    let ids = members(&group);
    let alone = v1::DeleteSnapshotRequest { snapshot_id: ids[0].clone(), ..Default::default() };
    assert_eq!(code(&world.controller.delete_snapshot(alone).await), Code::InvalidArgument);
    let of = |id: &str| v1::GetSnapshotRequest { snapshot_id: id.into(), ..Default::default() };
    let member = world.controller.get_snapshot(of(&ids[0])).await.unwrap().into_inner().snapshot.unwrap();
    assert_eq!(member.group_snapshot_id, group.group_snapshot_id);

    // A volume that is made from a member is a copy of its own.
    let source = volume_content_source::SnapshotSource { snapshot_id: ids[0].clone() };
    let restore = v1::CreateVolumeRequest {
        volume_content_source: Some(v1::VolumeContentSource {
            r#type: Some(volume_content_source::Type::Snapshot(source)),
        }),
        ..create_volume("restored")
    };
    world.create_as(restore).await.unwrap();

    let id = &group.group_snapshot_id;
    let foreign = world.snapshot("s", &first).await.unwrap().snapshot_id;
    let more = ids.iter().cloned().chain([foreign]).collect();
    for wrong in [vec![], vec![ids[0].clone()], more] {
        assert_eq!(
            code(&world.groups.delete_volume_group_snapshot(delete(id, wrong.clone())).await),
            Code::InvalidArgument
        );
        assert_eq!(code(&world.groups.get_volume_group_snapshot(get(id, wrong)).await), Code::InvalidArgument);
    }
    assert_eq!(world.ground.contents(), (3, 3, 0));
    for _ in 0..2 {
        world.groups.delete_volume_group_snapshot(delete(id, ids.clone())).await.unwrap();
    }
    assert_eq!(code(&world.groups.get_volume_group_snapshot(get(id, ids.clone())).await), Code::NotFound);
    for member in &ids {
        assert_eq!(code(&world.controller.get_snapshot(of(member)).await), Code::NotFound);
    }
    assert_eq!((world.ground.contents(), world.available().await), ((3, 1, 0), available - 2 * MIB));
}

#[tokio::test]
async fn what_is_missing_or_makes_no_sense_is_refused_and_what_never_was_is_gone() {
    let mut world = World::new();
    let volume = world.create("a").await.volume_id;
    assert_eq!(refused(&world.group("", &[&volume]).await.unwrap_err()), Code::InvalidArgument);
    assert_eq!(refused(&world.group("g", &[]).await.unwrap_err()), Code::InvalidArgument);
    assert_eq!(refused(&world.group("g", &[""]).await.unwrap_err()), Code::InvalidArgument);
    let parameters = strings(&[("bogus", "x")]);
    let source_volume_ids = vec![volume];
    let unknown =
        v1::CreateVolumeGroupSnapshotRequest { name: "g".into(), source_volume_ids, parameters, ..Default::default() };
    assert_eq!(code(&world.groups.create_volume_group_snapshot(unknown).await), Code::InvalidArgument);
    for id in ["group-unknown", "Not an id"] {
        let ids = vec!["snap-x".to_owned()];
        assert_eq!(code(&world.groups.delete_volume_group_snapshot(delete(id, ids.clone())).await), Code::Ok);
        assert_eq!(code(&world.groups.get_volume_group_snapshot(get(id, ids)).await), Code::NotFound);
    }
    assert_eq!(code(&world.groups.delete_volume_group_snapshot(delete("", vec![])).await), Code::InvalidArgument);
    assert_eq!(code(&world.groups.get_volume_group_snapshot(get("", vec![])).await), Code::InvalidArgument);
}

#[tokio::test]
async fn many_requests_for_one_group_at_once_make_one_group() {
    let mut world = World::new();
    let (first, second) = (world.create("a").await.volume_id, world.create("b").await.volume_id);
    let request = v1::CreateVolumeGroupSnapshotRequest {
        name: "g".into(),
        source_volume_ids: vec![first, second],
        ..Default::default()
    };
    let calls = (0..16).map(|_| {
        let (mut groups, request) = (world.groups.clone(), request.clone());
        tokio::spawn(async move { groups.create_volume_group_snapshot(request).await })
    });
    let calls: Vec<_> = calls.collect();
    let mut groups = Vec::new();
    for call in calls {
        match call.await.unwrap() {
            Ok(answer) => groups.push(answer.into_inner().group_snapshot.unwrap().group_snapshot_id),
            Err(status) => assert_eq!(refused(&status), Code::Aborted),
        }
    }
    groups.sort_unstable();
    groups.dedup();
    assert_eq!(groups.len(), 1);
    assert_eq!(world.ground.contents(), (2, 2, 0));
}
