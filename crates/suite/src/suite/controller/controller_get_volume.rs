//! ControllerGetVolume: current information, unknown ids, missing id.

use super::gates::PUBLISH_UNPUBLISH_VOLUME;
use crate::{
    csi::v1::ControllerGetVolumeRequest,
    suite::{Bench, Stopped, scenario::scenarios},
};

const GET_VOLUME: &str = "Controller.GET_VOLUME";

scenarios! { "controller_get_volume":
    current_information, "gets a volume, expands it where possible, gets it again", [GET_VOLUME], [
        "CTRL-GET-002", "CTRL-GET-003", "CTRL-GET-004", "CTRL-GET-012", "CTRL-GET-013", "CTRL-GET-014",
        "CTRL-GET-015", "CTRL-CAPS-013", "CTRL-CREATE-085", "CTRL-CREATE-086", "CTRL-CREATE-092", "CTRL-CREATE-101",
    ];
    published_nodes, "gets a volume before, while and after it is attached", [GET_VOLUME, PUBLISH_UNPUBLISH_VOLUME],
        ["CTRL-GET-008", "CTRL-GET-004", "CTRL-CAPS-008"];
    volume_that_does_not_exist, "gets a deleted volume, and one that never was", [GET_VOLUME],
        ["CTRL-GET-005", "CTRL-GET-017"];
    missing_id, "leaves the id empty", [GET_VOLUME], ["CTRL-GET-006", "GEN-ERR-006", "GEN-ERR-025", "GEN-ERR-027"];
}

fn get(id: &str) -> ControllerGetVolumeRequest {
    ControllerGetVolumeRequest { volume_id: id.to_owned() }
}

async fn current_information(bench: &Bench) -> Result<(), Stopped> {
    let volume = bench.volume().await?;
    bench.provoke(get(&volume.id)).await;
    if bench.has("Controller.EXPAND_VOLUME") {
        bench.provoke(bench.expand(&volume, bench.larger(&volume))).await;
        bench.provoke(get(&volume.id)).await;
    }
    Ok(())
}

async fn published_nodes(bench: &Bench) -> Result<(), Stopped> {
    let volume = bench.volume().await?;
    bench.provoke(get(&volume.id)).await;
    bench.attached(&volume, &bench.capability()).await?;
    bench.provoke(get(&volume.id)).await;
    bench.need(bench.detach(&volume.id, &bench.facts.node_id)).await?;
    bench.provoke(get(&volume.id)).await;
    Ok(())
}

async fn volume_that_does_not_exist(bench: &Bench) -> Result<(), Stopped> {
    let dead = bench.dead_volume().await?;
    bench.provoke(get(&bench.made_up_id(&dead))).await;
    bench.provoke(get(&dead)).await;
    Ok(())
}

async fn missing_id(bench: &Bench) -> Result<(), Stopped> {
    bench.provoke(get("")).await;
    Ok(())
}
