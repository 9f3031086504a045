//! GetSnapshot: current information, unknown ids, missing id.

use super::gates::CREATE_DELETE_SNAPSHOT;
use crate::suite::{Bench, Stopped, scenario::scenarios};

const GET_SNAPSHOT: &str = "Controller.GET_SNAPSHOT";

scenarios! { "get_snapshot":
    current_information, "gets a snapshot right after its creation, and when it is ready",
        [GET_SNAPSHOT, CREATE_DELETE_SNAPSHOT], [
        "CTRL-SNAPGET-002", "CTRL-SNAPGET-004", "CTRL-SNAPGET-006", "CTRL-SNAPGET-009", "CTRL-SNAPGET-010",
        "CTRL-SNAPGET-011", "CTRL-CAPS-017", "CTRL-SNAPCREATE-032", "CTRL-SNAPCREATE-033", "CTRL-SNAPCREATE-037",
        "CTRL-SNAPCREATE-038",
    ];
    snapshot_that_does_not_exist, "gets a deleted snapshot, and one that never was",
        [GET_SNAPSHOT, CREATE_DELETE_SNAPSHOT], ["CTRL-SNAPGET-005", "CTRL-SNAPGET-013"];
    missing_id, "leaves the id empty", [GET_SNAPSHOT], ["CTRL-SNAPGET-007", "GEN-ERR-006", "GEN-ERR-025", "GEN-ERR-027"];
}

async fn current_information(bench: &Bench) -> Result<(), Stopped> {
    let volume = bench.volume().await?;
    let request = bench.create_snapshot(&volume.id);
    let created = bench.need(request.clone()).await?;
    if let Some(snapshot) = created.snapshot {
        bench.provoke(bench.get_snapshot(&snapshot.snapshot_id)).await;
    }
    let snapshot = bench.snapshot_by(request).await?;
    bench.provoke(bench.get_snapshot(&snapshot.snapshot_id)).await;
    Ok(())
}

async fn snapshot_that_does_not_exist(bench: &Bench) -> Result<(), Stopped> {
    let dead = bench.dead_snapshot().await?;
    bench.provoke(bench.get_snapshot(&bench.made_up_id(&dead))).await;
    bench.provoke(bench.get_snapshot(&dead)).await;
    Ok(())
}

async fn missing_id(bench: &Bench) -> Result<(), Stopped> {
    bench.provoke(bench.get_snapshot("")).await;
    Ok(())
}
