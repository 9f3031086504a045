//! GetMetadataAllocated and GetMetadataDelta: whole streams, pages, resumptions, refusals.

use std::os::unix::fs::FileExt as _;

use csi_certify::csi::v1::{self, BlockMetadataType};
use tokio_stream::StreamExt as _;
use tonic::{Code, Status};

use crate::world::{MIB, Mode, World, create_volume, mount, refused};

/// The ranges of a stream, message by message.
type Messages = Vec<Vec<(i64, i64)>>;

async fn allocated(world: &mut World, request: v1::GetMetadataAllocatedRequest) -> Result<Messages, Status> {
    let mut stream = world.metadata.get_metadata_allocated(request).await?.into_inner();
    let mut messages = Vec::new();
    while let Some(message) = stream.next().await {
        let message = message?;
        assert_eq!(message.block_metadata_type(), BlockMetadataType::VariableLength);
        assert_eq!(message.volume_capacity_bytes, MIB);
        messages.push(message.block_metadata.iter().map(|it| (it.byte_offset, it.size_bytes)).collect());
    }
    Ok(messages)
}

async fn delta(world: &mut World, request: v1::GetMetadataDeltaRequest) -> Result<Messages, Status> {
    let mut stream = world.metadata.get_metadata_delta(request).await?.into_inner();
    let mut messages = Vec::new();
    while let Some(message) = stream.next().await {
        let message = message?;
        assert_eq!(message.volume_capacity_bytes, MIB);
        messages.push(message.block_metadata.iter().map(|it| (it.byte_offset, it.size_bytes)).collect());
    }
    Ok(messages)
}

fn write(world: &World, volume: &str, blocks: &[u64]) {
    let file = std::fs::File::options().write(true).open(world.ground.volume(volume, "block")).unwrap();
    for block in blocks {
        file.write_all_at(&[7; 4096], block * 4096).unwrap();
    }
}

#[tokio::test]
async fn the_blocks_that_were_written_are_told_in_pages_and_from_any_offset() {
    let mut world = World::new();
    let volume = world.create("a").await.volume_id;
    write(&world, &volume, &[1, 2, 10, 100]);
    let snapshot_id = world.snapshot("s", &volume).await.unwrap().snapshot_id;
    // What comes later is not in the snapshot.
    write(&world, &volume, &[50]);
    let ask = |starting_offset, max_results| v1::GetMetadataAllocatedRequest {
        snapshot_id: snapshot_id.clone(),
        starting_offset,
        max_results,
        ..Default::default()
    };
    let (a, b, c) = ((4096, 8192), (40960, 4096), (409_600, 4096));
    for (max_results, expected) in
        [(0, vec![vec![a, b, c]]), (2, vec![vec![a, b], vec![c]]), (1, vec![vec![a], vec![b], vec![c]])]
    {
        assert_eq!(allocated(&mut world, ask(0, max_results)).await.unwrap(), expected);
    }
    for (offset, expected) in
        [(4096, vec![a, b, c]), (8191 + 4096, vec![(8192, 4096), b, c]), (12288, vec![b, c]), (MIB, vec![])]
    {
        assert_eq!(allocated(&mut world, ask(offset, 0)).await.unwrap(), [expected], "{offset}");
    }
    for offset in [-1, i64::MIN, MIB + 1, i64::MAX] {
        assert_eq!(refused(&allocated(&mut world, ask(offset, 0)).await.unwrap_err()), Code::OutOfRange, "{offset}");
    }
    assert_eq!(refused(&allocated(&mut world, ask(0, -1)).await.unwrap_err()), Code::InvalidArgument);
    // The stream goes on over a snapshot that is deleted meanwhile.
    let mut stream = world.metadata.get_metadata_allocated(ask(0, 1)).await.unwrap().into_inner();
    stream.next().await.unwrap().unwrap();
    let delete = v1::DeleteSnapshotRequest { snapshot_id: snapshot_id.clone(), ..Default::default() };
    world.controller.delete_snapshot(delete).await.unwrap();
    assert_eq!(stream.filter(Result::is_ok).collect::<Vec<_>>().await.len(), 2);
    assert_eq!(refused(&allocated(&mut world, ask(0, 0)).await.unwrap_err()), Code::NotFound);
}

#[tokio::test]
async fn the_blocks_that_changed_between_two_snapshots_are_told() {
    let mut world = World::new();
    let volume = world.create("a").await.volume_id;
    write(&world, &volume, &[1, 10]);
    let base = world.snapshot("s", &volume).await.unwrap().snapshot_id;
    write(&world, &volume, &[20, 21]);
    // A block that is zeroed has changed, too; one that is written with what it held has not.
    let file = std::fs::File::options().write(true).open(world.ground.volume(&volume, "block")).unwrap();
    file.write_all_at(&[0; 4096], 10 * 4096).unwrap();
    write(&world, &volume, &[1]);
    let target = world.snapshot("t", &volume).await.unwrap().snapshot_id;
    let ask = |base: &str, target: &str, starting_offset, max_results| v1::GetMetadataDeltaRequest {
        base_snapshot_id: base.into(),
        target_snapshot_id: target.into(),
        starting_offset,
        max_results,
        ..Default::default()
    };
    let (a, b) = ((40960, 4096), (81920, 8192));
    assert_eq!(delta(&mut world, ask(&base, &target, 0, 0)).await.unwrap(), [vec![a, b]]);
    assert_eq!(delta(&mut world, ask(&base, &target, 0, 1)).await.unwrap(), [vec![a], vec![b]]);
    assert_eq!(delta(&mut world, ask(&base, &target, 45056, 0)).await.unwrap(), [vec![b]]);
    assert_eq!(delta(&mut world, ask(&base, &base, 0, 0)).await.unwrap(), [vec![]]);
    let other = world.create("b").await.volume_id;
    let foreign = world.snapshot("u", &other).await.unwrap().snapshot_id;
    let cases = [
        (ask("", &target, 0, 0), Code::InvalidArgument),
        (ask(&base, "", 0, 0), Code::InvalidArgument),
        (ask(&base, &target, 0, -1), Code::InvalidArgument),
        (ask(&base, &foreign, 0, 0), Code::InvalidArgument),
        (ask("snap-unknown", &target, 0, 0), Code::NotFound),
        (ask(&base, "Not an id", 0, 0), Code::NotFound),
        (ask(&base, &target, -1, 0), Code::OutOfRange),
        (ask(&base, &target, MIB + 1, 0), Code::OutOfRange),
    ];
    for (request, expected) in cases {
        assert_eq!(refused(&delta(&mut world, request.clone()).await.unwrap_err()), expected, "{request:?}");
    }
}

#[tokio::test]
async fn a_snapshot_of_a_volume_without_block_access_has_no_block_metadata() {
    let mut world = World::new();
    let request =
        v1::CreateVolumeRequest { volume_capabilities: vec![mount(Mode::SingleNodeWriter)], ..create_volume("a") };
    let volume = world.create_as(request).await.unwrap().volume_id;
    let snapshot_id = world.snapshot("s", &volume).await.unwrap().snapshot_id;
    let ask = v1::GetMetadataAllocatedRequest { snapshot_id, ..Default::default() };
    assert_eq!(refused(&allocated(&mut world, ask).await.unwrap_err()), Code::FailedPrecondition);
}
