//! GetMetadataDelta: whole streams, small messages, resumptions, arguments that make no sense.

use super::written::{SERVICE, SNAPSHOTS, resumptions, source, written_and_cut};
use crate::{
    csi::v1::{GetMetadataDeltaRequest, GetMetadataDeltaResponse},
    history::Reply,
    spec::Rpc,
    suite::{Bench, Stopped, scenario::scenarios},
    sut::Answer,
};

scenarios! { "get_metadata_delta":
    whole_stream, "writes blocks between two snapshots, reads the stream in messages of several sizes",
        [SERVICE, SNAPSHOTS], [
        "META-DELTA-001", "META-DELTA-002", "META-DELTA-013", "META-DELTA-014", "META-DELTA-015", "META-DELTA-016",
        "META-DELTA-017", "META-DELTA-018", "META-DELTA-020", "META-DELTA-021", "META-DELTA-022", "META-DELTA-024",
        "META-FORMAT-002", "META-FORMAT-003", "META-FORMAT-004", "META-FORMAT-005", "META-FORMAT-006",
        "META-FORMAT-007", "META-FORMAT-010", "META-STREAM-001",
    ];
    resumed, "starts again from the ends, the middle and the last byte of ranges", [SERVICE, SNAPSHOTS],
        ["META-DELTA-007", "META-DELTA-019", "META-STREAM-005"];
    offsets_out_of_range, "starts from negative offsets, and beyond the end", [SERVICE, SNAPSHOTS],
        ["META-DELTA-031", "META-DELTA-032"];
    arguments_that_make_no_sense, "leaves out base and target, one at a time, and asks for minus one results",
        [SERVICE, SNAPSHOTS],
        ["META-DELTA-003", "META-DELTA-004", "META-DELTA-025", "GEN-ERR-006", "GEN-ERR-025", "GEN-ERR-027"];
    snapshot_that_does_not_exist, "names a deleted snapshot, and one that never was, in each of the two places",
        [SERVICE, SNAPSHOTS], ["META-DELTA-027"];
}

fn ask(bench: &Bench, base: &str, target: &str) -> GetMetadataDeltaRequest {
    GetMetadataDeltaRequest {
        base_snapshot_id: base.to_owned(),
        target_snapshot_id: target.to_owned(),
        starting_offset: 0,
        max_results: 0,
        secrets: bench.secrets(Rpc::GetMetadataDelta),
    }
}

/// Two snapshots of a volume between which some blocks were written.
async fn snapshots(bench: &Bench) -> Result<(String, String), Stopped> {
    let (source, target) = source(bench).await?;
    let base = written_and_cut(bench, &source, &target, 0).await?;
    let later = written_and_cut(bench, &source, &target, 1).await?;
    bench.released(&source, &[&target]).await?;
    Ok((base.snapshot_id, later.snapshot_id))
}

/// The messages of a full stream.
async fn stream(bench: &Bench, base: &str, target: &str) -> Result<Vec<GetMetadataDeltaResponse>, Stopped> {
    match bench.settle(ask(bench, base, target)).await {
        Answer::Reply(Reply::GetMetadataDelta(messages)) => Ok(messages),
        answer => Err(Stopped::because(format!("{}: {answer}", Rpc::GetMetadataDelta))),
    }
}

async fn whole_stream(bench: &Bench) -> Result<(), Stopped> {
    let (base, target) = snapshots(bench).await?;
    for max_results in [0, 1, 2, 1000] {
        bench.provoke(GetMetadataDeltaRequest { max_results, ..ask(bench, &base, &target) }).await;
    }
    // Between a snapshot and itself nothing has changed.
    bench.provoke(ask(bench, &base, &base)).await;
    Ok(())
}

async fn resumed(bench: &Bench) -> Result<(), Stopped> {
    let (base, target) = snapshots(bench).await?;
    let messages = stream(bench, &base, &target).await?;
    let ranges: Vec<(i64, i64)> =
        messages.iter().flat_map(|it| &it.block_metadata).map(|it| (it.byte_offset, it.size_bytes)).collect();
    for starting_offset in resumptions(&ranges) {
        bench.provoke(GetMetadataDeltaRequest { starting_offset, ..ask(bench, &base, &target) }).await;
    }
    Ok(())
}

async fn offsets_out_of_range(bench: &Bench) -> Result<(), Stopped> {
    let (base, target) = snapshots(bench).await?;
    let capacity = stream(bench, &base, &target).await?.first().map_or(0, |it| it.volume_capacity_bytes);
    for starting_offset in [-1, capacity.saturating_add(1), i64::MIN, 1 << 62] {
        bench.provoke(GetMetadataDeltaRequest { starting_offset, ..ask(bench, &base, &target) }).await;
    }
    Ok(())
}

async fn arguments_that_make_no_sense(bench: &Bench) -> Result<(), Stopped> {
    let (base, target) = snapshots(bench).await?;
    bench.provoke(ask(bench, "", &target)).await;
    bench.provoke(ask(bench, &base, "")).await;
    bench.provoke(GetMetadataDeltaRequest { max_results: -1, ..ask(bench, &base, &target) }).await;
    Ok(())
}

async fn snapshot_that_does_not_exist(bench: &Bench) -> Result<(), Stopped> {
    let dead = bench.dead_snapshot().await?;
    let (base, target) = snapshots(bench).await?;
    for id in [bench.made_up_id(&dead), dead] {
        bench.provoke(ask(bench, &id, &target)).await;
        bench.provoke(ask(bench, &base, &id)).await;
    }
    Ok(())
}
