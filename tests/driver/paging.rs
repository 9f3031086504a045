//! ListVolumes and ListSnapshots.

use std::collections::BTreeSet;

use csi_certify::csi::v1;
use tonic::Code;

use crate::world::{World, code};

async fn walk_volumes(world: &mut World, max_entries: i32) -> Vec<String> {
    let mut ids = Vec::new();
    let mut starting_token = String::new();
    loop {
        let request = v1::ListVolumesRequest { max_entries, starting_token };
        let page = world.controller.list_volumes(request).await.unwrap().into_inner();
        assert!(max_entries == 0 || page.entries.len() <= max_entries as usize);
        ids.extend(page.entries.into_iter().map(|entry| entry.volume.unwrap().volume_id));
        starting_token = page.next_token;
        if starting_token.is_empty() {
            return ids;
        }
        assert!(ids.len() < 1000, "the walk does not end");
    }
}

#[tokio::test]
async fn pages_of_any_size_show_every_volume_once() {
    let mut world = World::new();
    let mut created = BTreeSet::new();
    for index in 0..70 {
        created.insert(world.create(&format!("volume {index}")).await.volume_id);
    }
    for max_entries in [0, 1, 2, 64, 69, 70, 71] {
        let ids = walk_volumes(&mut world, max_entries).await;
        assert_eq!(ids.len(), 70, "max_entries {max_entries}");
        assert_eq!(ids.into_iter().collect::<BTreeSet<_>>(), created, "max_entries {max_entries}");
    }
}

#[tokio::test]
async fn a_token_survives_the_deletion_of_the_volume_it_stands_at() {
    let mut world = World::new();
    for name in ["a", "b", "c", "d"] {
        world.create(name).await;
    }
    let request = v1::ListVolumesRequest { max_entries: 2, starting_token: String::new() };
    let first = world.controller.list_volumes(request).await.unwrap().into_inner();
    for entry in &first.entries {
        world.delete(&entry.volume.as_ref().unwrap().volume_id).await.unwrap();
    }
    let request = v1::ListVolumesRequest { max_entries: 0, starting_token: first.next_token };
    let rest = world.restarted().controller.list_volumes(request).await.unwrap().into_inner();
    assert_eq!((rest.entries.len(), rest.next_token.as_str()), (2, ""));
    assert!(rest.entries.iter().all(|entry| !first.entries.contains(entry)));
}

#[tokio::test]
async fn what_is_created_during_a_walk_is_found_at_its_end() {
    let mut world = World::new();
    for name in ["a", "b", "c"] {
        world.create(name).await;
    }
    let request = v1::ListVolumesRequest { max_entries: 2, starting_token: String::new() };
    let first = world.controller.list_volumes(request).await.unwrap().into_inner();
    let late = world.create("d").await.volume_id;
    let request = v1::ListVolumesRequest { max_entries: 0, starting_token: first.next_token };
    let rest = world.controller.list_volumes(request).await.unwrap().into_inner();
    assert_eq!(rest.entries.last().unwrap().volume.as_ref().unwrap().volume_id, late);
}

#[tokio::test]
async fn bad_tokens_are_aborted_and_negative_counts_invalid() {
    let mut world = World::new();
    world.create("a").await;
    for token in ["bogus", "-1", "0", "99999999999", &"x".repeat(128)] {
        let volumes = v1::ListVolumesRequest { starting_token: token.into(), ..Default::default() };
        assert_eq!(code(&world.controller.list_volumes(volumes).await), Code::Aborted, "{token}");
        let snapshots = v1::ListSnapshotsRequest {
            starting_token: token.into(),
            source_volume_id: "vol-unknown".into(),
            ..Default::default()
        };
        assert_eq!(code(&world.controller.list_snapshots(snapshots).await), Code::Aborted, "{token}");
    }
    let volumes = v1::ListVolumesRequest { max_entries: -1, ..Default::default() };
    assert_eq!(code(&world.controller.list_volumes(volumes).await), Code::InvalidArgument);
    let snapshots = v1::ListSnapshotsRequest { max_entries: -1, ..Default::default() };
    assert_eq!(code(&world.controller.list_snapshots(snapshots).await), Code::InvalidArgument);
}

#[tokio::test]
async fn snapshots_are_filtered_also_across_pages() {
    let mut world = World::new();
    let first = world.create("a").await.volume_id;
    let second = world.create("b").await.volume_id;
    let mut of_first = BTreeSet::new();
    for index in 0..3 {
        of_first.insert(world.snapshot(&format!("a{index}"), &first).await.unwrap().snapshot_id);
        world.snapshot(&format!("b{index}"), &second).await.unwrap();
    }
    let mut found = Vec::new();
    let mut starting_token = String::new();
    loop {
        let request = v1::ListSnapshotsRequest {
            max_entries: 1,
            starting_token,
            source_volume_id: first.clone(),
            ..Default::default()
        };
        let page = world.controller.list_snapshots(request).await.unwrap().into_inner();
        assert!(page.entries.len() <= 1);
        found.extend(page.entries.into_iter().map(|entry| entry.snapshot.unwrap().snapshot_id));
        starting_token = page.next_token;
        if starting_token.is_empty() {
            break;
        }
    }
    assert_eq!(found.len(), 3);
    assert_eq!(found.into_iter().collect::<BTreeSet<_>>(), of_first);
    let one = of_first.first().unwrap();
    let request = v1::ListSnapshotsRequest { snapshot_id: one.clone(), ..Default::default() };
    let page = world.controller.list_snapshots(request.clone()).await.unwrap().into_inner();
    assert_eq!(page.entries.len(), 1);
    for request in [
        v1::ListSnapshotsRequest { source_volume_id: second, ..request.clone() },
        v1::ListSnapshotsRequest { snapshot_id: "snap-unknown".into(), ..request },
    ] {
        assert!(world.controller.list_snapshots(request).await.unwrap().into_inner().entries.is_empty());
    }
}
