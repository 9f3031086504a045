//! ControllerUnpublishVolume: repetitions, volumes and nodes that are unknown, and all nodes at once.

use super::gates::PUBLISH_UNPUBLISH_VOLUME;
use crate::{
    csi::v1::{self, ControllerPublishVolumeRequest},
    suite::{
        Bench, Stopped,
        facts::{is_multi_node, mode},
        scenario::scenarios,
        volumes::{Volume, list_volumes},
    },
};

scenarios! { "controller_unpublish_volume":
    repeat_is_idempotent, "detaches a volume three times", [PUBLISH_UNPUBLISH_VOLUME], [
        "CTRL-UNPUBLISH-001", "CTRL-UNPUBLISH-005", "CTRL-UNPUBLISH-006", "CTRL-UNPUBLISH-017", "CTRL-UNPUBLISH-018",
    ];
    never_attached, "detaches a volume that was never attached", [PUBLISH_UNPUBLISH_VOLUME], ["CTRL-UNPUBLISH-006"];
    volume_that_does_not_exist, "detaches a deleted volume, and one that never was", [PUBLISH_UNPUBLISH_VOLUME],
        ["CTRL-UNPUBLISH-007", "CTRL-UNPUBLISH-020"];
    node_that_does_not_exist, "detaches a volume from a node that never was", [PUBLISH_UNPUBLISH_VOLUME],
        ["CTRL-UNPUBLISH-008", "CTRL-UNPUBLISH-022"];
    missing_id, "leaves the volume's id empty", [PUBLISH_UNPUBLISH_VOLUME],
        ["CTRL-UNPUBLISH-010", "GEN-ERR-006", "GEN-ERR-025", "GEN-ERR-027"];
    detached_volume_is_free, "attaches, detaches, looks where it is, and attaches again", [PUBLISH_UNPUBLISH_VOLUME],
        ["CTRL-UNPUBLISH-003", "CTRL-UNPUBLISH-013", "CTRL-UNPUBLISH-017"];
    from_all_nodes, "detaches without naming a node", [PUBLISH_UNPUBLISH_VOLUME], ["CTRL-UNPUBLISH-014"];
}

async fn repeat_is_idempotent(bench: &Bench) -> Result<(), Stopped> {
    let volume = bench.volume().await?;
    bench.attached(&volume, &bench.capability()).await?;
    for _ in 0..3 {
        bench.provoke(bench.detach(&volume.id, &bench.facts.node_id)).await;
    }
    Ok(())
}

async fn never_attached(bench: &Bench) -> Result<(), Stopped> {
    let volume = bench.volume().await?;
    bench.provoke(bench.detach(&volume.id, &bench.facts.node_id)).await;
    Ok(())
}

async fn volume_that_does_not_exist(bench: &Bench) -> Result<(), Stopped> {
    let dead = bench.dead_volume().await?;
    for id in [bench.made_up_id(&dead), dead] {
        bench.provoke(bench.detach(&id, &bench.facts.node_id)).await;
    }
    Ok(())
}

async fn node_that_does_not_exist(bench: &Bench) -> Result<(), Stopped> {
    let volume = bench.volume().await?;
    bench.provoke(bench.detach(&volume.id, &bench.made_up_id(&bench.facts.node_id))).await;
    Ok(())
}

async fn missing_id(bench: &Bench) -> Result<(), Stopped> {
    bench.provoke(bench.detach("", &bench.facts.node_id)).await;
    Ok(())
}

/// Looks where the driver believes that the volume is.
async fn look(bench: &Bench, volume: &Volume) {
    if bench.has("Controller.GET_VOLUME") {
        bench.provoke(v1::ControllerGetVolumeRequest { volume_id: volume.id.clone() }).await;
    }
    if bench.has("Controller.LIST_VOLUMES_PUBLISHED_NODES") && bench.has("Controller.LIST_VOLUMES") {
        bench.provoke(list_volumes(0, "")).await;
    }
}

async fn detached_volume_is_free(bench: &Bench) -> Result<(), Stopped> {
    let volume = bench.volume().await?;
    let capability = bench.capability();
    bench.attached(&volume, &capability).await?;
    look(bench, &volume).await;
    bench.need(bench.detach(&volume.id, &bench.facts.node_id)).await?;
    look(bench, &volume).await;
    let node_id = bench.run.options.profile.other_nodes.first().unwrap_or(&bench.facts.node_id).clone();
    bench
        .provoke(ControllerPublishVolumeRequest { node_id: node_id.clone(), ..bench.attach(&volume, &capability) })
        .await;
    bench.need(bench.detach(&volume.id, &node_id)).await?;
    if bench.has(super::gates::CREATE_DELETE_VOLUME) {
        bench.provoke(bench.delete_volume(&volume.id)).await;
    }
    Ok(())
}

async fn from_all_nodes(bench: &Bench) -> Result<(), Stopped> {
    let other = bench.run.options.profile.other_nodes.first();
    let multi = bench.facts.supported.iter().find(|it| is_multi_node(mode(it)) && other.is_some()).cloned();
    let capability = multi.clone().unwrap_or_else(|| bench.capability());
    let volume = bench.volume_for(capability.clone()).await?;
    bench.attached(&volume, &capability).await?;
    if let (Some(_), Some(node_id)) = (multi, other) {
        let node_id = node_id.clone();
        bench.provoke(ControllerPublishVolumeRequest { node_id, ..bench.attach(&volume, &capability) }).await;
    }
    bench.provoke(bench.detach(&volume.id, "")).await;
    look(bench, &volume).await;
    if bench.has(super::gates::CREATE_DELETE_VOLUME) {
        bench.provoke(bench.delete_volume(&volume.id)).await;
    }
    Ok(())
}
