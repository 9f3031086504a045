//! DeleteVolume: repetitions, unknown ids, volumes in use, and volumes with snapshots.

use super::gates::{CREATE_DELETE_SNAPSHOT, CREATE_DELETE_VOLUME, PUBLISH_UNPUBLISH_VOLUME};
use crate::{
    csi::v1,
    suite::{
        Bench, Stopped,
        scenario::scenarios,
        volumes::{from_snapshot, list_volumes},
    },
};

scenarios! { "delete_volume":
    repeat_is_idempotent, "deletes a volume three times", [CREATE_DELETE_VOLUME],
        ["CTRL-DELETE-001", "CTRL-DELETE-002", "CTRL-DELETE-003", "CTRL-DELETE-014", "CTRL-DELETE-015", "GEN-ERR-001"];
    volume_that_never_was, "deletes ids that the driver never gave out", [CREATE_DELETE_VOLUME], ["CTRL-DELETE-003"];
    missing_id, "leaves the id empty", [CREATE_DELETE_VOLUME],
        ["CTRL-DELETE-012", "GEN-ERR-006", "GEN-REQ-001", "GEN-ERR-025", "GEN-ERR-027"];
    the_name_is_not_the_id, "deletes by the name under which the volume was created", [CREATE_DELETE_VOLUME],
        ["CTRL-INTERACT-001"];
    deleted_volume_is_gone, "asks every RPC for a deleted volume", [CREATE_DELETE_VOLUME],
        ["CTRL-DELETE-014", "CTRL-VALIDATE-024"];
    attached_volume, "deletes a volume while it is attached to a node", [CREATE_DELETE_VOLUME, PUBLISH_UNPUBLISH_VOLUME],
        ["CTRL-DELETE-017"];
    published_volume, "deletes a volume while it is published on the node", [CREATE_DELETE_VOLUME], ["CTRL-DELETE-017"];
    volume_with_a_snapshot, "deletes a volume that has a snapshot, and uses whatever is left",
        [CREATE_DELETE_VOLUME, CREATE_DELETE_SNAPSHOT], [
        "CTRL-DELETE-005", "CTRL-DELETE-006", "CTRL-DELETE-008", "CTRL-DELETE-010", "CTRL-DELETE-018",
        "CTRL-SNAPCREATE-037", "CTRL-LIST-002",
    ];
    content_outlives_the_volume, "deletes a volume with data that has a snapshot, and looks for the data",
        [CREATE_DELETE_VOLUME, CREATE_DELETE_SNAPSHOT], ["CTRL-DELETE-007", "CTRL-DELETE-009"];
    overlapping_deletes, "deletes a volume eight times at once, then again", [CREATE_DELETE_VOLUME],
        ["CTRL-DELETE-002", "GEN-CONC-003", "GEN-ERR-016"];
}

async fn repeat_is_idempotent(bench: &Bench) -> Result<(), Stopped> {
    let volume = bench.volume().await?;
    for _ in 0..3 {
        bench.provoke(bench.delete_volume(&volume.id)).await;
    }
    Ok(())
}

async fn volume_that_never_was(bench: &Bench) -> Result<(), Stopped> {
    let volume = bench.volume().await?;
    bench.provoke(bench.delete_volume(&bench.made_up_id(&volume.id))).await;
    bench.provoke(bench.delete_volume(&bench.made_up_id(""))).await;
    Ok(())
}

async fn missing_id(bench: &Bench) -> Result<(), Stopped> {
    bench.provoke(bench.delete_volume("")).await;
    Ok(())
}

async fn the_name_is_not_the_id(bench: &Bench) -> Result<(), Stopped> {
    let volume = bench.volume().await?;
    if volume.id == volume.request.name {
        return Err(Stopped::because("the driver uses names as ids"));
    }
    bench.provoke(bench.delete_volume(&volume.request.name)).await;
    bench.provoke(bench.validate(&volume, volume.request.volume_capabilities.clone())).await;
    Ok(())
}

async fn deleted_volume_is_gone(bench: &Bench) -> Result<(), Stopped> {
    let volume = bench.volume().await?;
    bench.need(bench.delete_volume(&volume.id)).await?;
    bench.provoke(bench.validate(&volume, volume.request.volume_capabilities.clone())).await;
    if bench.has("Controller.LIST_VOLUMES") {
        bench.provoke(list_volumes(0, "")).await;
    }
    if bench.has("Controller.GET_VOLUME") {
        bench.provoke(v1::ControllerGetVolumeRequest { volume_id: volume.id.clone() }).await;
    }
    Ok(())
}

async fn attached_volume(bench: &Bench) -> Result<(), Stopped> {
    let volume = bench.volume().await?;
    let capability = bench.capability();
    bench.attached(&volume, &capability).await?;
    bench.provoke(bench.delete_volume(&volume.id)).await;
    bench.provoke(bench.validate(&volume, vec![capability])).await;
    bench.need(bench.detach(&volume.id, &bench.facts.node_id)).await?;
    bench.provoke(bench.delete_volume(&volume.id)).await;
    Ok(())
}

async fn published_volume(bench: &Bench) -> Result<(), Stopped> {
    let prepared = bench.prepared().await?;
    let target = bench.published(&prepared).await?;
    bench.write(&prepared.capability, &target, "in use").await;
    bench.provoke(bench.delete_volume(&prepared.volume.id)).await;
    bench.read(&prepared.capability, &target).await;
    bench.released(&prepared, &[&target]).await?;
    bench.provoke(bench.delete_volume(&prepared.volume.id)).await;
    Ok(())
}

async fn volume_with_a_snapshot(bench: &Bench) -> Result<(), Stopped> {
    let volume = bench.volume().await?;
    let snapshot = bench.snapshot(&volume.id).await?;
    let deleted = bench.ask(bench.delete_volume(&volume.id)).await.is_ok();
    if deleted {
        let id = snapshot.snapshot_id.clone();
        if bench.has("Controller.LIST_SNAPSHOTS") {
            let by_id = v1::ListSnapshotsRequest { snapshot_id: id.clone(), ..bench.list_snapshots() };
            bench.provoke(by_id).await;
            let source_volume_id = volume.id.clone();
            bench.provoke(v1::ListSnapshotsRequest { source_volume_id, ..bench.list_snapshots() }).await;
            bench.provoke(bench.list_snapshots()).await;
        }
        if bench.has("Controller.GET_SNAPSHOT") {
            bench.provoke(bench.get_snapshot(&id)).await;
        }
        if bench.has("Controller.LIST_VOLUMES") {
            bench.provoke(list_volumes(0, "")).await;
        }
        let size = volume.capacity.max(snapshot.size_bytes).max(bench.run.options.profile.capacity_bytes);
        bench.provoke(bench.create_from(from_snapshot(&id), &volume, size)).await;
    } else {
        bench.provoke(bench.validate(&volume, volume.request.volume_capabilities.clone())).await;
    }
    bench.provoke(bench.delete_snapshot(&snapshot.snapshot_id)).await;
    bench.provoke(bench.delete_volume(&volume.id)).await;
    Ok(())
}

async fn content_outlives_the_volume(bench: &Bench) -> Result<(), Stopped> {
    bench.need_node_fs()?;
    let prepared = bench.prepared().await?;
    let target = bench.published(&prepared).await?;
    bench.write(&prepared.capability, &target, "outlives").await;
    bench.released(&prepared, &[&target]).await?;
    let snapshot = bench.snapshot(&prepared.volume.id).await?;
    let volume = match bench.ask(bench.delete_volume(&prepared.volume.id)).await {
        Ok(_) => {
            let size = prepared.volume.capacity.max(snapshot.size_bytes).max(bench.run.options.profile.capacity_bytes);
            let source = from_snapshot(&snapshot.snapshot_id);
            bench.volume_by(bench.create_from(source, &prepared.volume, size)).await?
        }
        // A refusal must have left the volume as it was (specification line 1283).
        Err(_) => prepared.volume,
    };
    let again = bench.prepare(volume, prepared.capability).await?;
    let target = bench.published(&again).await?;
    bench.read(&again.capability, &target).await;
    bench.released(&again, &[&target]).await
}

async fn overlapping_deletes(bench: &Bench) -> Result<(), Stopped> {
    let volume = bench.volume().await?;
    bench.together(vec![bench.delete_volume(&volume.id).into(); 8]).await;
    bench.provoke(bench.delete_volume(&volume.id)).await;
    Ok(())
}
