//! Snapshots of volumes to which blocks were written at known places.

use crate::{
    csi::v1::{Snapshot, volume_capability::access_mode::Mode},
    suite::{Bench, Stopped, node_use::Prepared},
    sut::AccessType,
};

/// The gates of all scenarios here: a service, and snapshots to ask it about.
pub(super) const SERVICE: &str = "Plugin.SNAPSHOT_METADATA_SERVICE";
pub(super) const SNAPSHOTS: &str = "Controller.CREATE_DELETE_SNAPSHOT";

/// Where blocks are written before a snapshot, and, half a mebibyte later, before the next one.
const OFFSETS: [u64; 4] = [1 << 20, 5 << 20, 9 << 20, 17 << 20];

/// How far the blocks of one snapshot lie from those of the one before.
const STEP: u64 = 1 << 19;

/// A block volume where there is one, published so that blocks can be written to it, and the target.
pub(super) async fn source(bench: &Bench) -> Result<(Prepared, String), Stopped> {
    let block = bench.capability_for(AccessType::Block, Mode::SingleNodeWriter);
    let prepared = bench.prepared_for(block.unwrap_or_else(|_| bench.capability())).await?;
    let target = bench.published(&prepared).await?;
    Ok((prepared, target))
}

/// Writes a marker and some blocks, and snapshots the volume; `round` decides where the blocks lie.
pub(super) async fn written_and_cut(
    bench: &Bench,
    source: &Prepared,
    target: &str,
    round: u64,
) -> Result<Snapshot, Stopped> {
    bench.write(&source.capability, target, &format!("round {round}")).await;
    if let Some(node_fs) = bench.node_fs() {
        let offsets = OFFSETS.iter().map(|offset| offset + round * STEP).collect();
        bench.observed(node_fs.scatter(target, offsets).await);
    }
    bench.snapshot(&source.volume.id).await
}

/// Offsets from which a stream is resumed, taken from the ranges of a full one.
pub(super) fn resumptions(ranges: &[(i64, i64)]) -> Vec<i64> {
    let mut offsets: Vec<i64> = ranges
        .iter()
        .take(3)
        .flat_map(|&(offset, size)| [offset, offset + size / 2, offset + size - 1, offset + size])
        .chain(ranges.last().map(|&(offset, size)| offset + size))
        .filter(|&offset| offset >= 0)
        .collect();
    offsets.sort_unstable();
    offsets.dedup();
    offsets
}
