//! ControllerExpandVolume: repetitions, ranges, volumes in use, and what the node sees of it.

use crate::{
    csi::v1::{CapacityRange, ControllerExpandVolumeRequest, ControllerGetVolumeRequest},
    suite::{Bench, Stopped, scenario::scenarios, volumes::list_volumes},
};

const EXPAND_VOLUME: &str = "Controller.EXPAND_VOLUME";

scenarios! { "controller_expand_volume":
    repeat_is_idempotent, "expands a volume to the same size three times, then asks for less", [EXPAND_VOLUME],
        ["CTRL-EXPAND-001", "CTRL-EXPAND-002", "CTRL-EXPAND-003", "CTRL-EXPAND-016", "CTRL-EXPAND-012"];
    sizes_within_the_range, "expands to an exact size, an odd one, and looks it up", [EXPAND_VOLUME],
        ["CTRL-EXPAND-012", "CTRL-EXPAND-016"];
    missing_fields, "leaves out volume and range, one at a time, and sends an empty range", [EXPAND_VOLUME], [
        "CTRL-EXPAND-010", "CTRL-EXPAND-011", "GEN-ERR-006", "GEN-REQ-001", "GEN-ERR-025", "GEN-ERR-027",
    ];
    ranges_that_make_no_sense, "sends negative sizes, 4 EiB, and limits that are too low", [EXPAND_VOLUME],
        ["CTRL-EXPAND-025", "GEN-ERR-009"];
    volume_that_does_not_exist, "expands a deleted volume, and one that never was", [EXPAND_VOLUME],
        ["CTRL-EXPAND-021"];
    unsupported_capability, "expands with a capability that the driver refuses", [EXPAND_VOLUME], ["CTRL-EXPAND-019"];
    online, "expands a volume while it is in use, and looks at its size", [EXPAND_VOLUME, "VolumeExpansion.ONLINE"],
        ["IDENT-CAPS-015", "CTRL-EXPAND-018", "IDENT-CAPS-014"];
    offline, "expands a volume between two publications, and looks at its size", [EXPAND_VOLUME],
        ["CTRL-EXPAND-018", "IDENT-CAPS-018"];
    offline_only, "expands a published volume though the driver only expands offline",
        [EXPAND_VOLUME, "VolumeExpansion.OFFLINE", "!VolumeExpansion.ONLINE"],
        ["IDENT-CAPS-017", "CTRL-EXPAND-023"];
    overlapping_calls, "expands a volume eight times at once, then again", [EXPAND_VOLUME],
        ["GEN-CONC-003", "CTRL-EXPAND-002"];
}

async fn repeat_is_idempotent(bench: &Bench) -> Result<(), Stopped> {
    let volume = bench.volume().await?;
    let request = bench.expand(&volume, bench.larger(&volume));
    for _ in 0..3 {
        bench.provoke(request.clone()).await;
    }
    bench.provoke(bench.expand(&volume, bench.run.options.profile.capacity_bytes)).await;
    Ok(())
}

async fn sizes_within_the_range(bench: &Bench) -> Result<(), Stopped> {
    let size = bench.larger(&bench.volume().await?);
    for (required_bytes, limit_bytes) in [(size, size), (size + 1, 0), (size + 1, size + 1), (size, 2 * size)] {
        let volume = bench.volume().await?;
        let capacity_range = Some(CapacityRange { required_bytes, limit_bytes });
        bench.provoke(ControllerExpandVolumeRequest { capacity_range, ..bench.expand(&volume, size) }).await;
        if bench.has("Controller.GET_VOLUME") {
            bench.provoke(ControllerGetVolumeRequest { volume_id: volume.id.clone() }).await;
        }
        if bench.has("Controller.LIST_VOLUMES") {
            bench.provoke(list_volumes(0, "")).await;
        }
    }
    Ok(())
}

async fn missing_fields(bench: &Bench) -> Result<(), Stopped> {
    let volume = bench.volume().await?;
    let valid = bench.expand(&volume, bench.larger(&volume));
    bench.provoke(ControllerExpandVolumeRequest { volume_id: String::new(), ..valid.clone() }).await;
    for capacity_range in [None, Some(CapacityRange::default())] {
        bench.provoke(ControllerExpandVolumeRequest { capacity_range, ..valid.clone() }).await;
    }
    Ok(())
}

async fn ranges_that_make_no_sense(bench: &Bench) -> Result<(), Stopped> {
    let volume = bench.volume().await?;
    let larger = bench.larger(&volume);
    for (required_bytes, limit_bytes) in [(1 << 62, 0), (-1, 0), (larger, -1), (larger, larger - 1), (0, 1)] {
        let capacity_range = Some(CapacityRange { required_bytes, limit_bytes });
        bench.provoke(ControllerExpandVolumeRequest { capacity_range, ..bench.expand(&volume, larger) }).await;
    }
    Ok(())
}

async fn volume_that_does_not_exist(bench: &Bench) -> Result<(), Stopped> {
    let mut volume = bench.volume().await?;
    let larger = bench.larger(&volume);
    let made_up = bench.made_up_id(&volume.id);
    for id in [bench.dead_volume().await?, made_up] {
        volume.id = id;
        bench.provoke(bench.expand(&volume, larger)).await;
    }
    Ok(())
}

async fn unsupported_capability(bench: &Bench) -> Result<(), Stopped> {
    let unsupported = bench.unsupported()?;
    let volume = bench.volume().await?;
    bench.provoke(bench.validate(&volume, vec![unsupported.clone()])).await;
    let request = bench.expand(&volume, bench.larger(&volume));
    bench.provoke(ControllerExpandVolumeRequest { volume_capability: Some(unsupported), ..request }).await;
    Ok(())
}

async fn online(bench: &Bench) -> Result<(), Stopped> {
    for capability in bench.one_of_each_type() {
        let prepared = bench.prepared_for(capability).await?;
        let target = bench.published(&prepared).await?;
        bench.write(&prepared.capability, &target, "grows").await;
        bench.measure(&target).await;
        let larger = bench.larger(&prepared.volume);
        if let Ok(reply) = bench.ask(bench.expand(&prepared.volume, larger)).await {
            if reply.node_expansion_required && bench.has("Node.EXPAND_VOLUME") {
                bench.provoke(bench.node_expand(&prepared, &target, larger)).await;
            }
            bench.measure(&target).await;
            bench.read(&prepared.capability, &target).await;
        }
        bench.released(&prepared, &[&target]).await?;
    }
    Ok(())
}

async fn offline(bench: &Bench) -> Result<(), Stopped> {
    let capability = bench.capability();
    let volume = bench.volume_for(capability.clone()).await?;
    let prepared = bench.prepare(volume, capability.clone()).await?;
    let target = bench.published(&prepared).await?;
    bench.write(&capability, &target, "grows").await;
    bench.measure(&target).await;
    bench.released(&prepared, &[&target]).await?;
    let larger = bench.larger(&prepared.volume);
    let Ok(reply) = bench.ask(bench.expand(&prepared.volume, larger)).await else { return Ok(()) };
    let prepared = bench.prepare(prepared.volume, capability).await?;
    let target = bench.published(&prepared).await?;
    if reply.node_expansion_required && bench.has("Node.EXPAND_VOLUME") {
        bench.provoke(bench.node_expand(&prepared, &target, larger)).await;
    }
    bench.measure(&target).await;
    bench.read(&prepared.capability, &target).await;
    bench.released(&prepared, &[&target]).await
}

async fn offline_only(bench: &Bench) -> Result<(), Stopped> {
    let prepared = bench.prepared().await?;
    let target = bench.published(&prepared).await?;
    let request = bench.expand(&prepared.volume, bench.larger(&prepared.volume));
    bench.provoke(request.clone()).await;
    bench.measure(&target).await;
    if bench.has("Controller.GET_VOLUME") {
        bench.provoke(ControllerGetVolumeRequest { volume_id: prepared.volume.id.clone() }).await;
    }
    bench.released(&prepared, &[&target]).await?;
    bench.provoke(request).await;
    Ok(())
}

async fn overlapping_calls(bench: &Bench) -> Result<(), Stopped> {
    let volume = bench.volume().await?;
    let request = bench.expand(&volume, bench.larger(&volume));
    bench.together(vec![request.clone().into(); 8]).await;
    bench.provoke(request).await;
    Ok(())
}
