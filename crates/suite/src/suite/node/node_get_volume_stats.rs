//! NodeGetVolumeStats: usage, condition, and paths where the volume is not.

use super::bounds::{PATH_LENGTHS, STAGE_UNSTAGE_VOLUME};
use crate::{
    csi::v1::NodeGetVolumeStatsRequest,
    suite::{Bench, Stopped, node_use::Prepared, scenario::scenarios},
};

const STATS: &str = "Node.GET_VOLUME_STATS|Node.VOLUME_CONDITION";

scenarios! { "node_get_volume_stats":
    usage_and_condition, "asks for a directory and a device, before and after writing", [STATS], [
        "NODE-STATS-001", "NODE-STATS-002", "NODE-STATS-019", "NODE-STATS-021", "NODE-STATS-022", "NODE-STATS-023",
        "NODE-STATS-025", "NODE-STATS-026", "NODE-STATS-028", "NODE-STATS-029", "NODE-STATS-030", "NODE-CAPS-003",
    ];
    missing_fields, "leaves out volume and path, one at a time", [STATS],
        ["NODE-STATS-006", "NODE-STATS-009", "GEN-ERR-006", "GEN-ERR-025", "GEN-ERR-027"];
    volume_is_not_there, "asks for unknown volumes, for paths without the volume, and after unpublishing", [STATS],
        ["NODE-STATS-032"];
    long_volume_paths, "asks at targets of 128 bytes up to the kernel's bound", [STATS],
        ["NODE-STATS-010", "NODE-STATS-011"];
    long_staging_paths, "asks with staging paths of 128 bytes up to the kernel's bound", [STATS, STAGE_UNSTAGE_VOLUME],
        ["NODE-STATS-015", "NODE-STATS-016"];
}

async fn usage_and_condition(bench: &Bench) -> Result<(), Stopped> {
    for capability in bench.one_of_each_type() {
        let prepared = bench.prepared_for(capability).await?;
        let target = bench.published(&prepared).await?;
        bench.provoke(bench.stats(&prepared, &target)).await;
        bench.write(&prepared.capability, &target, "used").await;
        for _ in 0..2 {
            bench.provoke(bench.stats(&prepared, &target)).await;
        }
        bench.measure(&target).await;
        bench.released(&prepared, &[&target]).await?;
    }
    Ok(())
}

async fn missing_fields(bench: &Bench) -> Result<(), Stopped> {
    let prepared = bench.prepared().await?;
    let target = bench.published(&prepared).await?;
    let valid = bench.stats(&prepared, &target);
    bench.provoke(NodeGetVolumeStatsRequest { volume_id: String::new(), ..valid.clone() }).await;
    bench.provoke(NodeGetVolumeStatsRequest { volume_path: String::new(), ..valid }).await;
    bench.released(&prepared, &[&target]).await
}

async fn volume_is_not_there(bench: &Bench) -> Result<(), Stopped> {
    let dead = bench.dead_volume().await?;
    let prepared = bench.prepared().await?;
    let target = bench.published(&prepared).await?;
    let absent = bench.target().await?;
    let present = bench.staging_directory().await?;
    let good = bench.stats(&prepared, &target);
    // Before a good call and right after one: a cache by volume alone answers whatever the path is.
    for _ in 0..2 {
        for volume_path in [&absent, &present] {
            bench.provoke(NodeGetVolumeStatsRequest { volume_path: volume_path.clone(), ..good.clone() }).await;
        }
        for volume_id in [dead.clone(), bench.made_up_id(&prepared.volume.id)] {
            bench.provoke(NodeGetVolumeStatsRequest { volume_id, ..good.clone() }).await;
        }
        bench.provoke(good.clone()).await;
    }
    bench.need(bench.unpublish(&prepared, &target)).await?;
    bench.provoke(good).await;
    bench.released(&prepared, &[]).await
}

async fn long_volume_paths(bench: &Bench) -> Result<(), Stopped> {
    let prepared = bench.prepared().await?;
    for length in PATH_LENGTHS {
        let target = bench.path_of_length(length).await?;
        if bench.ask(bench.publish(&prepared, &target)).await.is_ok() {
            bench.provoke(bench.stats(&prepared, &target)).await;
        }
        bench.provoke(bench.unpublish(&prepared, &target)).await;
    }
    bench.released(&prepared, &[]).await
}

async fn long_staging_paths(bench: &Bench) -> Result<(), Stopped> {
    let prepared = bench.unstaged(bench.volume().await?, bench.capability()).await?;
    for length in PATH_LENGTHS {
        let staging = bench.make_directory(bench.path_of_length(length).await?.into()).await?;
        let prepared = Prepared { staging, ..prepared.clone() };
        if bench.ask(bench.stage(&prepared)).await.is_ok() {
            let target = bench.target().await?;
            if bench.ask(bench.publish(&prepared, &target)).await.is_ok() {
                bench.provoke(bench.stats(&prepared, &target)).await;
            }
            bench.provoke(bench.unpublish(&prepared, &target)).await;
        }
        bench.provoke(bench.unstage(&prepared)).await;
    }
    Ok(())
}
