//! NodeUnstageVolume: repetitions, volumes that are not staged, missing fields, unknown volumes.

use super::bounds::STAGE_UNSTAGE_VOLUME;
use crate::{
    csi::v1::NodeUnstageVolumeRequest,
    suite::{Bench, Stopped, scenario::scenarios},
};

scenarios! { "node_unstage_volume":
    repeat_is_idempotent, "unstages a volume three times, then stages it again", [STAGE_UNSTAGE_VOLUME], [
        "NODE-UNSTAGE-001", "NODE-UNSTAGE-002", "NODE-UNSTAGE-008", "NODE-UNSTAGE-009", "NODE-UNSTAGE-016",
        "NODE-UNSTAGE-017",
    ];
    staged_again, "unstages a volume, stages it again at the same path, and uses it", [STAGE_UNSTAGE_VOLUME],
        ["NODE-UNSTAGE-002", "NODE-UNSTAGE-008", "NODE-STAGE-006", "NODE-PUBLISH-065"];
    never_staged, "unstages a volume that was never staged, at a path that exists and at one that does not",
        [STAGE_UNSTAGE_VOLUME], ["NODE-UNSTAGE-009"];
    missing_fields, "leaves out volume and path, one at a time", [STAGE_UNSTAGE_VOLUME],
        ["NODE-UNSTAGE-011", "NODE-UNSTAGE-013", "GEN-ERR-006", "GEN-ERR-025", "GEN-ERR-027"];
    volume_that_does_not_exist, "unstages a deleted volume, and one that never was", [STAGE_UNSTAGE_VOLUME],
        ["NODE-UNSTAGE-019"];
    while_published, "unstages a volume that is still published, which is an error of the orchestrator, and cleans up",
        [STAGE_UNSTAGE_VOLUME], ["NODE-UNPUBLISH-006"];
    data_outlives_unstaging, "writes, unstages, stages and reads", [STAGE_UNSTAGE_VOLUME],
        ["NODE-UNSTAGE-002", "NODE-UNPUBLISH-002"];
}

async fn repeat_is_idempotent(bench: &Bench) -> Result<(), Stopped> {
    let prepared = bench.prepared().await?;
    for _ in 0..3 {
        bench.provoke(bench.unstage(&prepared)).await;
    }
    // Whether the plugin kept the directory is open; the orchestrator makes it anew.
    bench.make_directory(prepared.staging.clone().into()).await?;
    bench.provoke(bench.stage(&prepared)).await;
    bench.provoke(bench.unstage(&prepared)).await;
    Ok(())
}

async fn staged_again(bench: &Bench) -> Result<(), Stopped> {
    let prepared = bench.prepared().await?;
    bench.need(bench.unstage(&prepared)).await?;
    bench.make_directory(prepared.staging.clone().into()).await?;
    bench.need(bench.stage(&prepared)).await?;
    let target = bench.published(&prepared).await?;
    bench.write(&prepared.capability, &target, "staged again").await;
    bench.read(&prepared.capability, &target).await;
    bench.released(&prepared, &[&target]).await
}

async fn never_staged(bench: &Bench) -> Result<(), Stopped> {
    let prepared = bench.unstaged(bench.volume().await?, bench.capability()).await?;
    bench.provoke(bench.unstage(&prepared)).await;
    let staging_target_path = bench.target().await?;
    bench.provoke(NodeUnstageVolumeRequest { staging_target_path, ..bench.unstage(&prepared) }).await;
    Ok(())
}

async fn missing_fields(bench: &Bench) -> Result<(), Stopped> {
    let prepared = bench.prepared().await?;
    let valid = bench.unstage(&prepared);
    bench.provoke(NodeUnstageVolumeRequest { volume_id: String::new(), ..valid.clone() }).await;
    bench.provoke(NodeUnstageVolumeRequest { staging_target_path: String::new(), ..valid }).await;
    bench.released(&prepared, &[]).await
}

async fn volume_that_does_not_exist(bench: &Bench) -> Result<(), Stopped> {
    let staging_target_path = bench.staging_directory().await?;
    let dead = bench.dead_volume().await?;
    for volume_id in [bench.made_up_id(&dead), dead] {
        let staging_target_path = staging_target_path.clone();
        bench.provoke(NodeUnstageVolumeRequest { volume_id, staging_target_path }).await;
    }
    Ok(())
}

async fn while_published(bench: &Bench) -> Result<(), Stopped> {
    let prepared = bench.prepared().await?;
    let target = bench.published(&prepared).await?;
    bench.provoke(bench.unstage(&prepared)).await;
    // Whatever came of that, the target can be taken away.
    bench.released(&prepared, &[&target]).await
}

async fn data_outlives_unstaging(bench: &Bench) -> Result<(), Stopped> {
    let prepared = bench.prepared().await?;
    let target = bench.published(&prepared).await?;
    bench.write(&prepared.capability, &target, "outlives").await;
    bench.released(&prepared, &[&target]).await?;
    let again = bench.prepare(prepared.volume, prepared.capability).await?;
    let target = bench.published(&again).await?;
    bench.read(&again.capability, &target).await;
    bench.released(&again, &[&target]).await
}
