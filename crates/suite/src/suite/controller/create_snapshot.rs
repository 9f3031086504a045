//! CreateSnapshot: repetitions, conflicts, names, and the way from the cut to ready to use.

use super::gates::{CREATE_DELETE_SNAPSHOT, CREATE_DELETE_VOLUME};
use crate::{
    csi::v1::CreateSnapshotRequest,
    suite::{Bench, Stopped, bench::MADE_UP_KEY, scenario::scenarios, volumes::from_snapshot},
};

scenarios! { "create_snapshot":
    repeat_is_idempotent, "sends the same request three times", [CREATE_DELETE_SNAPSHOT], [
        "CTRL-SNAPCREATE-001", "CTRL-SNAPCREATE-002", "CTRL-SNAPCREATE-003", "CTRL-SNAPCREATE-029",
        "CTRL-SNAPCREATE-032", "CTRL-SNAPCREATE-033", "CTRL-SNAPCREATE-037", "CTRL-SNAPCREATE-038",
        "CTRL-SNAPCREATE-046", "CTRL-SNAPCREATE-047", "CTRL-INTERACT-008", "GEN-SIZE-002",
    ];
    becomes_ready, "repeats until the snapshot is ready, and uses it at once",
        [CREATE_DELETE_SNAPSHOT, CREATE_DELETE_VOLUME], [
        "CTRL-SNAPCREATE-005", "CTRL-SNAPCREATE-006", "CTRL-SNAPCREATE-014", "CTRL-SNAPCREATE-015",
        "CTRL-SNAPCREATE-016", "CTRL-SNAPCREATE-039",
    ];
    missing_fields, "leaves out source and name, one at a time", [CREATE_DELETE_SNAPSHOT], [
        "CTRL-SNAPCREATE-022", "CTRL-SNAPCREATE-023", "GEN-ERR-006", "GEN-ERR-025", "GEN-ERR-027",
    ];
    unusual_names, "uses names of other scripts, with signs and blanks, and of 128 bytes", [CREATE_DELETE_SNAPSHOT],
        ["CTRL-SNAPCREATE-024", "CTRL-SNAPCREATE-034", "GEN-SIZE-004"];
    source_that_does_not_exist, "snapshots a deleted volume, and one that never was",
        [CREATE_DELETE_SNAPSHOT, CREATE_DELETE_VOLUME], ["CTRL-SNAPCREATE-004", "CTRL-SNAPCREATE-019"];
    same_name_other_source, "uses a snapshot's name for a snapshot of another volume",
        [CREATE_DELETE_SNAPSHOT, CREATE_DELETE_VOLUME], ["CTRL-SNAPCREATE-049", "CTRL-SNAPCREATE-034"];
    several_snapshots, "takes three snapshots of one volume", [CREATE_DELETE_SNAPSHOT], ["CTRL-SNAPCREATE-034"];
    unknown_parameter, "adds a parameter that no driver knows", [CREATE_DELETE_SNAPSHOT], ["CTRL-SNAPCREATE-028"];
    overlapping_repeats_make_one_snapshot, "sends the same request eight times at once, then again",
        [CREATE_DELETE_SNAPSHOT], ["CTRL-SNAPCREATE-051", "GEN-CONC-003"];
}

async fn repeat_is_idempotent(bench: &Bench) -> Result<(), Stopped> {
    let volume = bench.volume().await?;
    let request = bench.create_snapshot(&volume.id);
    bench.need(request.clone()).await?;
    for _ in 0..2 {
        bench.provoke(request.clone()).await;
    }
    Ok(())
}

async fn becomes_ready(bench: &Bench) -> Result<(), Stopped> {
    let volume = bench.volume().await?;
    let request = bench.create_snapshot(&volume.id);
    let snapshot = bench.snapshot_by(request.clone()).await?;
    bench.provoke(request).await;
    let size = volume.capacity.max(snapshot.size_bytes).max(bench.run.options.profile.capacity_bytes);
    bench.provoke(bench.create_from(from_snapshot(&snapshot.snapshot_id), &volume, size)).await;
    if bench.has("Controller.LIST_SNAPSHOTS") {
        bench.provoke(bench.list_snapshot(&snapshot.snapshot_id)).await;
    }
    if bench.has("Controller.GET_SNAPSHOT") {
        bench.provoke(bench.get_snapshot(&snapshot.snapshot_id)).await;
    }
    Ok(())
}

async fn missing_fields(bench: &Bench) -> Result<(), Stopped> {
    let volume = bench.volume().await?;
    let valid = bench.create_snapshot(&volume.id);
    bench.provoke(CreateSnapshotRequest { source_volume_id: String::new(), ..valid.clone() }).await;
    bench.provoke(CreateSnapshotRequest { name: String::new(), ..valid }).await;
    Ok(())
}

async fn unusual_names(bench: &Bench) -> Result<(), Stopped> {
    let volume = bench.volume().await?;
    for suffix in [" with blanks", "/slash", "UPPER", "имя-名前", "🐙", "../../x", "$(id)"] {
        let name = format!("{}{suffix}", bench.name());
        bench.provoke(CreateSnapshotRequest { name, ..bench.create_snapshot(&volume.id) }).await;
    }
    let name = format!("{:x<128}", bench.name());
    bench.provoke(CreateSnapshotRequest { name, ..bench.create_snapshot(&volume.id) }).await;
    Ok(())
}

async fn source_that_does_not_exist(bench: &Bench) -> Result<(), Stopped> {
    let dead = bench.dead_volume().await?;
    bench.provoke(bench.create_snapshot(&bench.made_up_id(&dead))).await;
    bench.provoke(bench.create_snapshot(&dead)).await;
    Ok(())
}

async fn same_name_other_source(bench: &Bench) -> Result<(), Stopped> {
    let (first, second) = (bench.volume().await?, bench.volume().await?);
    let request = bench.create_snapshot(&first.id);
    bench.need(request.clone()).await?;
    bench.provoke(CreateSnapshotRequest { source_volume_id: second.id, ..request.clone() }).await;
    bench.provoke(request).await;
    Ok(())
}

async fn several_snapshots(bench: &Bench) -> Result<(), Stopped> {
    let volume = bench.volume().await?;
    for _ in 0..3 {
        bench.provoke(bench.create_snapshot(&volume.id)).await;
    }
    Ok(())
}

async fn unknown_parameter(bench: &Bench) -> Result<(), Stopped> {
    let volume = bench.volume().await?;
    let mut request = bench.create_snapshot(&volume.id);
    request.parameters.insert(MADE_UP_KEY.to_owned(), "x".to_owned());
    bench.provoke(request).await;
    Ok(())
}

async fn overlapping_repeats_make_one_snapshot(bench: &Bench) -> Result<(), Stopped> {
    let volume = bench.volume().await?;
    let request = bench.create_snapshot(&volume.id);
    bench.together(vec![request.clone().into(); 8]).await;
    bench.provoke(request).await;
    if bench.has("Controller.LIST_SNAPSHOTS") {
        bench.provoke(bench.list_snapshots_of(&volume.id)).await;
    }
    Ok(())
}
