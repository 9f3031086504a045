//! GetMetadataAllocated: whole streams, small messages, resumptions, arguments that make no sense.

use super::written::{SERVICE, SNAPSHOTS, resumptions, source, written_and_cut};
use crate::{
    csi::v1::{GetMetadataAllocatedRequest, GetMetadataAllocatedResponse},
    history::Reply,
    spec::Rpc,
    suite::{Bench, Stopped, scenario::scenarios},
    sut::Answer,
};

scenarios! { "get_metadata_allocated":
    whole_stream, "writes blocks, snapshots, reads the stream in messages of several sizes", [SERVICE, SNAPSHOTS], [
        "META-ALLOCATED-001", "META-ALLOCATED-002", "META-ALLOCATED-011", "META-ALLOCATED-012", "META-ALLOCATED-013",
        "META-ALLOCATED-014", "META-ALLOCATED-015", "META-ALLOCATED-016", "META-ALLOCATED-018", "META-ALLOCATED-019",
        "META-ALLOCATED-020", "META-ALLOCATED-022", "META-FORMAT-002", "META-FORMAT-003", "META-FORMAT-004",
        "META-FORMAT-005", "META-FORMAT-006", "META-FORMAT-007", "META-FORMAT-010", "META-STREAM-001",
    ];
    resumed, "starts again from the ends, the middle and the last byte of ranges", [SERVICE, SNAPSHOTS],
        ["META-ALLOCATED-005", "META-ALLOCATED-017", "META-STREAM-005"];
    offsets_out_of_range, "starts from negative offsets, and beyond the end", [SERVICE, SNAPSHOTS],
        ["META-ALLOCATED-027", "META-ALLOCATED-028"];
    arguments_that_make_no_sense, "leaves the id empty, and asks for minus one results", [SERVICE, SNAPSHOTS],
        ["META-ALLOCATED-003", "META-ALLOCATED-023", "GEN-ERR-006", "GEN-ERR-025", "GEN-ERR-027"];
    snapshot_that_does_not_exist, "asks for a deleted snapshot, and one that never was", [SERVICE, SNAPSHOTS],
        ["META-ALLOCATED-025"];
    cancelled_streams, "cancels streams half way, then reads one to its end", [SERVICE, SNAPSHOTS], ["META-ALLOCATED-001"];
}

fn ask(bench: &Bench, id: &str) -> GetMetadataAllocatedRequest {
    let secrets = bench.secrets(Rpc::GetMetadataAllocated);
    GetMetadataAllocatedRequest { snapshot_id: id.to_owned(), starting_offset: 0, max_results: 0, secrets }
}

/// A snapshot of a volume with some written blocks; the volume is taken off the node again.
async fn snapshot(bench: &Bench) -> Result<String, Stopped> {
    let (source, target) = source(bench).await?;
    let snapshot = written_and_cut(bench, &source, &target, 0).await?;
    bench.released(&source, &[&target]).await?;
    Ok(snapshot.snapshot_id)
}

/// The messages of a full stream.
async fn stream(bench: &Bench, id: &str) -> Result<Vec<GetMetadataAllocatedResponse>, Stopped> {
    match bench.settle(ask(bench, id)).await {
        Answer::Reply(Reply::GetMetadataAllocated(messages)) => Ok(messages),
        answer => Err(Stopped::because(format!("{}: {answer}", Rpc::GetMetadataAllocated))),
    }
}

async fn whole_stream(bench: &Bench) -> Result<(), Stopped> {
    let id = snapshot(bench).await?;
    for max_results in [0, 1, 2, 1000] {
        bench.provoke(GetMetadataAllocatedRequest { max_results, ..ask(bench, &id) }).await;
    }
    Ok(())
}

async fn resumed(bench: &Bench) -> Result<(), Stopped> {
    let id = snapshot(bench).await?;
    let messages = stream(bench, &id).await?;
    let ranges: Vec<(i64, i64)> =
        messages.iter().flat_map(|it| &it.block_metadata).map(|it| (it.byte_offset, it.size_bytes)).collect();
    for starting_offset in resumptions(&ranges) {
        bench.provoke(GetMetadataAllocatedRequest { starting_offset, ..ask(bench, &id) }).await;
    }
    Ok(())
}

async fn offsets_out_of_range(bench: &Bench) -> Result<(), Stopped> {
    let id = snapshot(bench).await?;
    let capacity = stream(bench, &id).await?.first().map_or(0, |it| it.volume_capacity_bytes);
    for starting_offset in [-1, capacity.saturating_add(1), i64::MIN, 1 << 62] {
        bench.provoke(GetMetadataAllocatedRequest { starting_offset, ..ask(bench, &id) }).await;
    }
    Ok(())
}

async fn arguments_that_make_no_sense(bench: &Bench) -> Result<(), Stopped> {
    bench.provoke(ask(bench, "")).await;
    let id = snapshot(bench).await?;
    bench.provoke(GetMetadataAllocatedRequest { max_results: -1, ..ask(bench, &id) }).await;
    Ok(())
}

async fn snapshot_that_does_not_exist(bench: &Bench) -> Result<(), Stopped> {
    let dead = bench.dead_snapshot().await?;
    bench.provoke(ask(bench, &bench.made_up_id(&dead))).await;
    bench.provoke(ask(bench, &dead)).await;
    Ok(())
}

async fn cancelled_streams(bench: &Bench) -> Result<(), Stopped> {
    let id = snapshot(bench).await?;
    for _ in 0..5 {
        let request = GetMetadataAllocatedRequest { max_results: 1, ..ask(bench, &id) };
        bench.cancel_after(bench.moment(), request).await;
    }
    bench.provoke(ask(bench, &id)).await;
    Ok(())
}
