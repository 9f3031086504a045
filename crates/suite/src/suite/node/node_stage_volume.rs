//! NodeStageVolume: repetitions, conflicts, missing fields, long paths, unknown volumes.

use super::bounds::{PATH_LENGTHS, STAGE_UNSTAGE_VOLUME};
use crate::{
    csi::v1::{
        NodeStageVolumeRequest, VolumeCapability,
        volume_capability::{AccessType as Kind, MountVolume, access_mode::Mode},
    },
    suite::{Bench, Stopped, node_use::Prepared, scenario::scenarios},
    sut::AccessType,
};

scenarios! { "node_stage_volume":
    repeat_is_idempotent, "stages a volume three times at the same path", [STAGE_UNSTAGE_VOLUME], [
        "NODE-STAGE-001", "NODE-STAGE-006", "NODE-STAGE-007", "NODE-STAGE-030", "NODE-STAGE-031",
    ];
    staged_volume_can_be_used, "stages a directory and a device, publishes and uses them", [STAGE_UNSTAGE_VOLUME],
        ["NODE-STAGE-024", "NODE-STAGE-030"];
    missing_fields, "leaves out volume, path and capability, one at a time", [STAGE_UNSTAGE_VOLUME], [
        "NODE-STAGE-010", "NODE-STAGE-021", "NODE-STAGE-026", "GEN-ERR-006", "GEN-REQ-001", "GEN-ERR-016",
        "GEN-ERR-025", "GEN-ERR-027",
    ];
    long_paths, "stages at paths of 128 bytes up to the kernel's bound", [STAGE_UNSTAGE_VOLUME], [
        "NODE-STAGE-022", "NODE-STAGE-023", "NODE-UNSTAGE-014", "NODE-UNSTAGE-015", "NODE-PUBLISH-044",
        "NODE-PUBLISH-045",
    ];
    relative_path, "stages at a relative path", [STAGE_UNSTAGE_VOLUME], ["GEN-ERR-009"];
    volume_that_does_not_exist, "stages a deleted volume, and one that never was", [STAGE_UNSTAGE_VOLUME],
        ["NODE-STAGE-033"];
    other_capability_at_the_same_path, "stages a directory where a device is staged, and the reverse",
        [STAGE_UNSTAGE_VOLUME], ["NODE-STAGE-035"];
    unsupported_capability, "stages a volume with a capability that the driver refuses", [STAGE_UNSTAGE_VOLUME],
        ["NODE-STAGE-025", "NODE-STAGE-037"];
    file_system_and_flags_that_do_not_exist, "stages with an unknown file system, then with an unknown mount flag",
        [STAGE_UNSTAGE_VOLUME], ["NODE-STAGE-025"];
    path_of_a_volume_before, "stages a volume where another one was staged before, and uses both in turn",
        [STAGE_UNSTAGE_VOLUME], ["NODE-UNPUBLISH-002", "NODE-UNSTAGE-002", "NODE-PUBLISH-056"];
    second_path, "stages a volume at a second path, as after a change of the orchestrator's paths", [STAGE_UNSTAGE_VOLUME],
        ["NODE-STAGE-031"];
    overlapping_calls, "stages eight times at once, then again", [STAGE_UNSTAGE_VOLUME],
        ["GEN-CONC-003", "GEN-ERR-016", "NODE-STAGE-006"];
}

async fn repeat_is_idempotent(bench: &Bench) -> Result<(), Stopped> {
    let prepared = bench.prepared().await?;
    for _ in 0..2 {
        bench.provoke(bench.stage(&prepared)).await;
    }
    bench.released(&prepared, &[]).await
}

async fn staged_volume_can_be_used(bench: &Bench) -> Result<(), Stopped> {
    for capability in bench.one_of_each_type() {
        let prepared = bench.prepared_for(capability).await?;
        let target = bench.published(&prepared).await?;
        bench.write(&prepared.capability, &target, "staged").await;
        bench.read(&prepared.capability, &target).await;
        bench.released(&prepared, &[&target]).await?;
    }
    Ok(())
}

async fn missing_fields(bench: &Bench) -> Result<(), Stopped> {
    let prepared = bench.unstaged(bench.volume().await?, bench.capability()).await?;
    let valid = bench.stage(&prepared);
    bench.provoke(NodeStageVolumeRequest { volume_id: String::new(), ..valid.clone() }).await;
    bench.provoke(NodeStageVolumeRequest { staging_target_path: String::new(), ..valid.clone() }).await;
    for volume_capability in bench.broken_capabilities() {
        bench.provoke(NodeStageVolumeRequest { volume_capability, ..valid.clone() }).await;
    }
    Ok(())
}

async fn long_paths(bench: &Bench) -> Result<(), Stopped> {
    let volume = bench.volume().await?;
    let prepared = bench.unstaged(volume, bench.capability()).await?;
    for length in PATH_LENGTHS {
        let path = bench.path_of_length(length).await?;
        let staging = bench.make_directory(path.into()).await?;
        let prepared = Prepared { staging, ..prepared.clone() };
        if bench.ask(bench.stage(&prepared)).await.is_ok() {
            let target = bench.target().await?;
            bench.provoke(bench.publish(&prepared, &target)).await;
            bench.provoke(bench.unpublish(&prepared, &target)).await;
        }
        bench.provoke(bench.unstage(&prepared)).await;
    }
    Ok(())
}

async fn relative_path(bench: &Bench) -> Result<(), Stopped> {
    let prepared = bench.unstaged(bench.volume().await?, bench.capability()).await?;
    let staging_target_path = "relative/staging".to_owned();
    bench.provoke(NodeStageVolumeRequest { staging_target_path, ..bench.stage(&prepared) }).await;
    Ok(())
}

async fn volume_that_does_not_exist(bench: &Bench) -> Result<(), Stopped> {
    let volume = bench.volume().await?;
    let made_up = bench.made_up_id(&volume.id);
    let prepared = bench.unstaged(volume, bench.capability()).await?;
    for volume_id in [bench.dead_volume().await?, made_up] {
        bench.provoke(NodeStageVolumeRequest { volume_id, ..bench.stage(&prepared) }).await;
    }
    Ok(())
}

async fn other_capability_at_the_same_path(bench: &Bench) -> Result<(), Stopped> {
    let mount = bench.capability_for(AccessType::Mount, Mode::SingleNodeWriter)?;
    let block = bench.capability_for(AccessType::Block, Mode::SingleNodeWriter)?;
    for (first, second) in [(mount.clone(), block.clone()), (block, mount)] {
        let prepared = bench.prepared_for(first).await?;
        bench.provoke(bench.validate(&prepared.volume, vec![second.clone()])).await;
        bench.provoke(NodeStageVolumeRequest { volume_capability: Some(second), ..bench.stage(&prepared) }).await;
        bench.provoke(bench.unstage(&prepared)).await;
    }
    Ok(())
}

async fn unsupported_capability(bench: &Bench) -> Result<(), Stopped> {
    let unsupported = bench.unsupported()?;
    let prepared = bench.unstaged(bench.volume().await?, bench.capability()).await?;
    bench.provoke(bench.validate(&prepared.volume, vec![unsupported.clone()])).await;
    bench.provoke(NodeStageVolumeRequest { volume_capability: Some(unsupported), ..bench.stage(&prepared) }).await;
    Ok(())
}

async fn file_system_and_flags_that_do_not_exist(bench: &Bench) -> Result<(), Stopped> {
    let mount = bench.capability_for(AccessType::Mount, Mode::SingleNodeWriter)?;
    let fs_type = MountVolume { fs_type: "csi-certify-fs".to_owned(), ..Default::default() };
    let flags = MountVolume { mount_flags: vec!["csi-certify-flag".to_owned()], ..Default::default() };
    for wish in [fs_type, flags] {
        let capability = VolumeCapability { access_type: Some(Kind::Mount(wish)), ..mount.clone() };
        let mut prepared = bench.unstaged(bench.volume_for(mount.clone()).await?, mount.clone()).await?;
        prepared.capability = capability;
        if bench.ask(bench.stage(&prepared)).await.is_ok() {
            let target = bench.target().await?;
            bench.provoke(bench.publish(&prepared, &target)).await;
            bench.provoke(bench.unpublish(&prepared, &target)).await;
            bench.provoke(bench.unstage(&prepared)).await;
        }
    }
    Ok(())
}

async fn path_of_a_volume_before(bench: &Bench) -> Result<(), Stopped> {
    let mut first = bench.prepared().await?;
    let path = first.staging.clone();
    let target = bench.published(&first).await?;
    bench.write(&first.capability, &target, "of the first").await;
    bench.released(&first, &[&target]).await?;
    bench.make_directory(path.clone().into()).await?;
    let mut second = bench.unstaged(bench.volume().await?, bench.capability()).await?;
    second.staging = path;
    bench.need(bench.stage(&second)).await?;
    let target = bench.published(&second).await?;
    bench.write(&second.capability, &target, "of the second").await;
    bench.released(&second, &[&target]).await?;
    first = bench.prepare(first.volume, first.capability).await?;
    let target = bench.published(&first).await?;
    bench.read(&first.capability, &target).await;
    bench.released(&first, &[&target]).await
}

async fn second_path(bench: &Bench) -> Result<(), Stopped> {
    let first = bench.prepared().await?;
    let second = Prepared { staging: bench.staging_directory().await?, ..first.clone() };
    if bench.ask(bench.stage(&second)).await.is_ok() {
        // What is where after two stagings is nobody's to say, and so is not looked at before both are gone.
        bench.together(vec![bench.unstage(&second).into()]).await;
    }
    bench.released(&first, &[]).await
}

async fn overlapping_calls(bench: &Bench) -> Result<(), Stopped> {
    let prepared = bench.unstaged(bench.volume().await?, bench.capability()).await?;
    let stage = bench.stage(&prepared);
    bench.together(vec![stage.clone().into(); 8]).await;
    bench.provoke(stage).await;
    let unstage = bench.unstage(&prepared);
    bench.together(vec![unstage.clone().into(); 8]).await;
    bench.provoke(unstage).await;
    Ok(())
}
