//! GetVolumeGroupSnapshot: current information, lists of members that do not match, unknown groups.

use super::groups::{GROUP_SNAPSHOT, delete, get, group, members};
use crate::suite::{Bench, Stopped, scenario::scenarios};

scenarios! { "get_volume_group_snapshot":
    current_information, "gets a group twice", [GROUP_SNAPSHOT], [
        "GROUP-GET-002", "GROUP-GET-003", "GROUP-GET-010", "GROUP-GET-011", "GROUP-GET-012", "GROUP-CREATE-031",
        "GROUP-CREATE-032", "GROUP-CREATE-033",
    ];
    missing_fields, "leaves out group and members, one at a time", [GROUP_SNAPSHOT],
        ["GROUP-GET-005", "GROUP-GET-008", "GEN-ERR-006", "GEN-REQ-003", "GEN-ERR-025", "GEN-ERR-027"];
    members_that_do_not_match, "names one member too many, then one too few", [GROUP_SNAPSHOT],
        ["GROUP-GET-006", "GROUP-GET-007", "GROUP-GET-014"];
    group_that_does_not_exist, "gets a deleted group, and one that never was", [GROUP_SNAPSHOT],
        ["GROUP-GET-004", "GROUP-GET-016"];
}

async fn current_information(bench: &Bench) -> Result<(), Stopped> {
    let (first, second) = (bench.volume().await?, bench.volume().await?);
    let group = group(bench, &[&first.id, &second.id]).await?;
    for _ in 0..2 {
        bench.provoke(get(bench, &group.group_snapshot_id, members(&group))).await;
    }
    Ok(())
}

async fn missing_fields(bench: &Bench) -> Result<(), Stopped> {
    let volume = bench.volume().await?;
    let group = group(bench, &[&volume.id]).await?;
    bench.provoke(get(bench, "", members(&group))).await;
    bench.provoke(get(bench, &group.group_snapshot_id, Vec::new())).await;
    Ok(())
}

async fn members_that_do_not_match(bench: &Bench) -> Result<(), Stopped> {
    let (first, second) = (bench.volume().await?, bench.volume().await?);
    let foreign = group(bench, &[&first.id]).await?;
    let group = group(bench, &[&first.id, &second.id]).await?;
    let more = members(&group).into_iter().chain(members(&foreign)).collect();
    let fewer = members(&group).into_iter().skip(1).collect();
    for wrong in [more, fewer] {
        bench.provoke(get(bench, &group.group_snapshot_id, wrong)).await;
    }
    Ok(())
}

async fn group_that_does_not_exist(bench: &Bench) -> Result<(), Stopped> {
    let volume = bench.volume().await?;
    let group = group(bench, &[&volume.id]).await?;
    let ids = members(&group);
    bench.need(delete(bench, &group.group_snapshot_id, ids.clone())).await?;
    bench.provoke(get(bench, &group.group_snapshot_id, ids.clone())).await;
    let made_up = ids.iter().map(|id| bench.made_up_id(id)).collect();
    bench.provoke(get(bench, &bench.made_up_id(&group.group_snapshot_id), made_up)).await;
    Ok(())
}
