//! DeleteVolumeGroupSnapshot: repetitions, lists of members that do not match, members in use.

use super::groups::{GROUP_SNAPSHOT, create, delete, get, group, members};
use crate::suite::{Bench, Stopped, scenario::scenarios, volumes::from_snapshot};

scenarios! { "delete_volume_group_snapshot":
    repeat_is_idempotent, "deletes a group three times", [GROUP_SNAPSHOT],
        ["GROUP-DELETE-001", "GROUP-DELETE-003", "GROUP-DELETE-004", "GROUP-DELETE-011", "GROUP-DELETE-012"];
    group_that_never_was, "deletes a group that the driver never made", [GROUP_SNAPSHOT], ["GROUP-DELETE-004"];
    members_go_too, "deletes a group and looks for its members", [GROUP_SNAPSHOT],
        ["GROUP-DELETE-002", "CTRL-SNAPDELETE-007"];
    missing_fields, "leaves out group and members, one at a time", [GROUP_SNAPSHOT],
        ["GROUP-DELETE-006", "GROUP-DELETE-009", "GEN-ERR-006", "GEN-REQ-003", "GEN-ERR-025", "GEN-ERR-027"];
    members_that_do_not_match, "names one member too many, then one too few", [GROUP_SNAPSHOT],
        ["GROUP-DELETE-007", "GROUP-DELETE-008", "GROUP-DELETE-014"];
    member_in_use, "deletes a group from whose member a volume was made", [GROUP_SNAPSHOT], ["GROUP-DELETE-016"];
    one_member_alone, "deletes a single member of a group, then the group",
        [GROUP_SNAPSHOT, "Controller.CREATE_DELETE_SNAPSHOT"],
        ["CTRL-SNAPDELETE-013", "CTRL-SNAPCREATE-041", "CTRL-SNAPCREATE-044"];
}

async fn repeat_is_idempotent(bench: &Bench) -> Result<(), Stopped> {
    let volume = bench.volume().await?;
    let group = group(bench, &[&volume.id]).await?;
    for _ in 0..3 {
        bench.provoke(delete(bench, &group.group_snapshot_id, members(&group))).await;
    }
    Ok(())
}

async fn group_that_never_was(bench: &Bench) -> Result<(), Stopped> {
    let volume = bench.volume().await?;
    let group = group(bench, &[&volume.id]).await?;
    let made_up = members(&group).iter().map(|id| bench.made_up_id(id)).collect();
    bench.provoke(delete(bench, &bench.made_up_id(&group.group_snapshot_id), made_up)).await;
    Ok(())
}

async fn members_go_too(bench: &Bench) -> Result<(), Stopped> {
    let (first, second) = (bench.volume().await?, bench.volume().await?);
    let group = group(bench, &[&first.id, &second.id]).await?;
    bench.need(delete(bench, &group.group_snapshot_id, members(&group))).await?;
    bench.provoke(get(bench, &group.group_snapshot_id, members(&group))).await;
    for snapshot in &group.snapshots {
        if bench.has("Controller.LIST_SNAPSHOTS") {
            bench.provoke(bench.list_snapshot(&snapshot.snapshot_id)).await;
        }
        if bench.has("Controller.GET_SNAPSHOT") {
            bench.provoke(bench.get_snapshot(&snapshot.snapshot_id)).await;
        }
        let size = first.capacity.max(snapshot.size_bytes).max(bench.run.options.profile.capacity_bytes);
        bench.provoke(bench.create_from(from_snapshot(&snapshot.snapshot_id), &first, size)).await;
    }
    Ok(())
}

async fn missing_fields(bench: &Bench) -> Result<(), Stopped> {
    let volume = bench.volume().await?;
    let group = group(bench, &[&volume.id]).await?;
    bench.provoke(delete(bench, "", members(&group))).await;
    bench.provoke(delete(bench, &group.group_snapshot_id, Vec::new())).await;
    bench.provoke(delete(bench, &group.group_snapshot_id, members(&group))).await;
    Ok(())
}

async fn members_that_do_not_match(bench: &Bench) -> Result<(), Stopped> {
    let (first, second) = (bench.volume().await?, bench.volume().await?);
    let foreign = group(bench, &[&first.id]).await?;
    let group = group(bench, &[&first.id, &second.id]).await?;
    let more = members(&group).into_iter().chain(members(&foreign)).collect();
    let fewer = members(&group).into_iter().skip(1).collect();
    for wrong in [more, fewer] {
        bench.provoke(delete(bench, &group.group_snapshot_id, wrong)).await;
        bench.provoke(get(bench, &group.group_snapshot_id, members(&group))).await;
    }
    bench.provoke(get(bench, &foreign.group_snapshot_id, members(&foreign))).await;
    Ok(())
}

async fn member_in_use(bench: &Bench) -> Result<(), Stopped> {
    let volume = bench.volume().await?;
    let group = group(bench, &[&volume.id]).await?;
    let Some(snapshot) = group.snapshots.first() else { return Ok(()) };
    let size = volume.capacity.max(snapshot.size_bytes).max(bench.run.options.profile.capacity_bytes);
    let copy = bench.volume_by(bench.create_from(from_snapshot(&snapshot.snapshot_id), &volume, size)).await?;
    bench.provoke(delete(bench, &group.group_snapshot_id, members(&group))).await;
    bench.provoke(bench.validate(&copy, copy.request.volume_capabilities.clone())).await;
    bench.need(bench.delete_volume(&copy.id)).await?;
    bench.provoke(delete(bench, &group.group_snapshot_id, members(&group))).await;
    Ok(())
}

async fn one_member_alone(bench: &Bench) -> Result<(), Stopped> {
    let (first, second) = (bench.volume().await?, bench.volume().await?);
    let request = create(bench, &[&first.id, &second.id]);
    let group = super::groups::group_by(bench, request).await?;
    let Some(snapshot) = group.snapshots.first() else { return Ok(()) };
    bench.provoke(bench.delete_snapshot(&snapshot.snapshot_id)).await;
    if bench.has("Controller.LIST_SNAPSHOTS") {
        bench.provoke(bench.list_snapshot(&snapshot.snapshot_id)).await;
    }
    if bench.has("Controller.GET_SNAPSHOT") {
        bench.provoke(bench.get_snapshot(&snapshot.snapshot_id)).await;
    }
    bench.provoke(delete(bench, &group.group_snapshot_id, members(&group))).await;
    Ok(())
}
