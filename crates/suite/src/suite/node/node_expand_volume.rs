//! NodeExpandVolume: repetitions, ranges, missing fields, long paths, unknown volumes.

use super::bounds::{PATH_LENGTHS, STAGE_UNSTAGE_VOLUME};
use crate::{
    csi::v1::{CapacityRange, NodeExpandVolumeRequest},
    suite::{Bench, Stopped, node_use::Prepared, scenario::scenarios},
};

const EXPAND_VOLUME: &str = "Node.EXPAND_VOLUME";

scenarios! { "node_expand_volume":
    repeat_is_idempotent, "expands to the same size three times, to the present size, and below it", [EXPAND_VOLUME],
        ["NODE-EXPAND-001", "NODE-EXPAND-002", "NODE-EXPAND-003", "NODE-EXPAND-031", "NODE-CAPS-003"];
    missing_fields, "leaves out volume and path, one at a time", [EXPAND_VOLUME],
        ["NODE-EXPAND-010", "NODE-EXPAND-011", "GEN-ERR-006", "GEN-ERR-025", "GEN-ERR-027"];
    ranges_that_make_no_sense, "asks for 1 EiB, for a limit below the size, and for negative sizes", [EXPAND_VOLUME],
        ["NODE-EXPAND-033", "GEN-ERR-009"];
    volume_that_does_not_exist, "expands a deleted volume, and one that never was", [EXPAND_VOLUME],
        ["NODE-EXPAND-029"];
    unsupported_capability, "expands with a capability that the driver refuses", [EXPAND_VOLUME], ["NODE-EXPAND-027"];
    long_volume_paths, "expands at targets of 128 bytes up to the kernel's bound", [EXPAND_VOLUME],
        ["NODE-EXPAND-012", "NODE-EXPAND-013"];
    long_staging_paths, "expands with staging paths of 128 bytes up to the kernel's bound",
        [EXPAND_VOLUME, STAGE_UNSTAGE_VOLUME], ["NODE-EXPAND-020", "NODE-EXPAND-021"];
}

/// Expands on the controller first, where that is the way; the size that the node may be asked for.
async fn enlarge(bench: &Bench, prepared: &Prepared) -> i64 {
    let larger = bench.larger(&prepared.volume);
    if !bench.has("Controller.EXPAND_VOLUME") {
        return larger;
    }
    match bench.ask(bench.expand(&prepared.volume, larger)).await {
        Ok(reply) => larger.max(reply.capacity_bytes),
        // A driver that only expands offline refuses here: the present size is what is left to ask for.
        Err(_) => prepared.volume.capacity.max(bench.run.options.profile.capacity_bytes),
    }
}

async fn repeat_is_idempotent(bench: &Bench) -> Result<(), Stopped> {
    for capability in bench.one_of_each_type() {
        let prepared = bench.prepared_for(capability).await?;
        let target = bench.published(&prepared).await?;
        bench.write(&prepared.capability, &target, "grows").await;
        let size = enlarge(bench, &prepared).await;
        for _ in 0..3 {
            bench.provoke(bench.node_expand(&prepared, &target, size)).await;
            bench.measure(&target).await;
        }
        bench.provoke(bench.node_expand(&prepared, &target, bench.run.options.profile.capacity_bytes)).await;
        bench.measure(&target).await;
        bench.read(&prepared.capability, &target).await;
        bench.released(&prepared, &[&target]).await?;
    }
    Ok(())
}

async fn missing_fields(bench: &Bench) -> Result<(), Stopped> {
    let prepared = bench.prepared().await?;
    let target = bench.published(&prepared).await?;
    let size = enlarge(bench, &prepared).await;
    let valid = bench.node_expand(&prepared, &target, size);
    bench.provoke(NodeExpandVolumeRequest { volume_id: String::new(), ..valid.clone() }).await;
    bench.provoke(NodeExpandVolumeRequest { volume_path: String::new(), ..valid.clone() }).await;
    // The range is optional here (specification line 3020).
    bench.provoke(NodeExpandVolumeRequest { capacity_range: None, ..valid }).await;
    bench.released(&prepared, &[&target]).await
}

async fn ranges_that_make_no_sense(bench: &Bench) -> Result<(), Stopped> {
    let prepared = bench.prepared().await?;
    let target = bench.published(&prepared).await?;
    let larger = bench.larger(&prepared.volume);
    for (required_bytes, limit_bytes) in [(1 << 60, 0), (0, 1), (-1, 0), (larger, -1), (larger, larger - 1)] {
        let capacity_range = Some(CapacityRange { required_bytes, limit_bytes });
        let request = bench.node_expand(&prepared, &target, larger);
        bench.provoke(NodeExpandVolumeRequest { capacity_range, ..request }).await;
    }
    bench.released(&prepared, &[&target]).await
}

async fn volume_that_does_not_exist(bench: &Bench) -> Result<(), Stopped> {
    let prepared = bench.prepared().await?;
    let target = bench.published(&prepared).await?;
    let valid = bench.node_expand(&prepared, &target, bench.larger(&prepared.volume));
    for volume_id in [bench.dead_volume().await?, bench.made_up_id(&prepared.volume.id)] {
        bench.provoke(NodeExpandVolumeRequest { volume_id, ..valid.clone() }).await;
    }
    bench.released(&prepared, &[&target]).await
}

async fn unsupported_capability(bench: &Bench) -> Result<(), Stopped> {
    let unsupported = bench.unsupported()?;
    let prepared = bench.prepared().await?;
    bench.provoke(bench.validate(&prepared.volume, vec![unsupported.clone()])).await;
    let target = bench.published(&prepared).await?;
    let size = enlarge(bench, &prepared).await;
    let request = bench.node_expand(&prepared, &target, size);
    bench.provoke(NodeExpandVolumeRequest { volume_capability: Some(unsupported), ..request }).await;
    bench.released(&prepared, &[&target]).await
}

async fn long_volume_paths(bench: &Bench) -> Result<(), Stopped> {
    let prepared = bench.prepared().await?;
    let size = bench.run.options.profile.capacity_bytes;
    for length in PATH_LENGTHS {
        let target = bench.path_of_length(length).await?;
        if bench.ask(bench.publish(&prepared, &target)).await.is_ok() {
            bench.provoke(bench.node_expand(&prepared, &target, size)).await;
        }
        bench.provoke(bench.unpublish(&prepared, &target)).await;
    }
    bench.released(&prepared, &[]).await
}

async fn long_staging_paths(bench: &Bench) -> Result<(), Stopped> {
    let prepared = bench.unstaged(bench.volume().await?, bench.capability()).await?;
    let size = bench.run.options.profile.capacity_bytes;
    for length in PATH_LENGTHS {
        let staging = bench.make_directory(bench.path_of_length(length).await?.into()).await?;
        let prepared = Prepared { staging, ..prepared.clone() };
        if bench.ask(bench.stage(&prepared)).await.is_ok() {
            let target = bench.target().await?;
            if bench.ask(bench.publish(&prepared, &target)).await.is_ok() {
                bench.provoke(bench.node_expand(&prepared, &target, size)).await;
            }
            bench.provoke(bench.unpublish(&prepared, &target)).await;
        }
        bench.provoke(bench.unstage(&prepared)).await;
    }
    Ok(())
}
