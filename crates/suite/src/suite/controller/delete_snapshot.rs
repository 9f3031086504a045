//! DeleteSnapshot: repetitions, unknown ids, and snapshots in use.

use super::gates::{CREATE_DELETE_SNAPSHOT, CREATE_DELETE_VOLUME};
use crate::suite::{Bench, Stopped, scenario::scenarios, volumes::from_snapshot};

scenarios! { "delete_snapshot":
    repeat_is_idempotent, "deletes a snapshot three times", [CREATE_DELETE_SNAPSHOT], [
        "CTRL-SNAPDELETE-001", "CTRL-SNAPDELETE-002", "CTRL-SNAPDELETE-003", "CTRL-SNAPDELETE-010",
        "CTRL-SNAPDELETE-011",
    ];
    snapshot_that_never_was, "deletes ids that the driver never gave out", [CREATE_DELETE_SNAPSHOT],
        ["CTRL-SNAPDELETE-003"];
    missing_id, "leaves the id empty", [CREATE_DELETE_SNAPSHOT],
        ["CTRL-SNAPDELETE-008", "GEN-ERR-006", "GEN-ERR-025", "GEN-ERR-027"];
    the_name_is_not_the_id, "deletes by the name under which the snapshot was created", [CREATE_DELETE_SNAPSHOT],
        ["CTRL-INTERACT-007"];
    snapshot_in_use, "deletes a snapshot from which a volume was made",
        [CREATE_DELETE_SNAPSHOT, CREATE_DELETE_VOLUME], ["CTRL-SNAPDELETE-015", "CTRL-PUBLISH-030"];
    overlapping_deletes, "deletes a snapshot eight times at once, then again", [CREATE_DELETE_SNAPSHOT],
        ["CTRL-SNAPDELETE-017", "GEN-CONC-003"];
}

async fn repeat_is_idempotent(bench: &Bench) -> Result<(), Stopped> {
    let volume = bench.volume().await?;
    let snapshot = bench.snapshot(&volume.id).await?;
    for _ in 0..3 {
        bench.provoke(bench.delete_snapshot(&snapshot.snapshot_id)).await;
    }
    Ok(())
}

async fn snapshot_that_never_was(bench: &Bench) -> Result<(), Stopped> {
    let volume = bench.volume().await?;
    let snapshot = bench.snapshot(&volume.id).await?;
    bench.provoke(bench.delete_snapshot(&bench.made_up_id(&snapshot.snapshot_id))).await;
    bench.provoke(bench.delete_snapshot(&bench.made_up_id(""))).await;
    Ok(())
}

async fn missing_id(bench: &Bench) -> Result<(), Stopped> {
    bench.provoke(bench.delete_snapshot("")).await;
    Ok(())
}

async fn the_name_is_not_the_id(bench: &Bench) -> Result<(), Stopped> {
    let volume = bench.volume().await?;
    let request = bench.create_snapshot(&volume.id);
    let snapshot = bench.snapshot_by(request.clone()).await?;
    if snapshot.snapshot_id == request.name {
        return Err(Stopped::because("the driver uses names as ids"));
    }
    bench.provoke(bench.delete_snapshot(&request.name)).await;
    bench.provoke(request).await;
    Ok(())
}

async fn snapshot_in_use(bench: &Bench) -> Result<(), Stopped> {
    let prepared = bench.prepared().await?;
    let target = bench.published(&prepared).await?;
    bench.write(&prepared.capability, &target, "kept").await;
    bench.released(&prepared, &[&target]).await?;
    let snapshot = bench.snapshot(&prepared.volume.id).await?;
    let size = prepared.volume.capacity.max(snapshot.size_bytes).max(bench.run.options.profile.capacity_bytes);
    let request = bench.create_from(from_snapshot(&snapshot.snapshot_id), &prepared.volume, size);
    let copy = bench.volume_by(request).await?;
    bench.provoke(bench.delete_snapshot(&snapshot.snapshot_id)).await;
    // Whatever the answer was, the copy stays readable.
    let copy = bench.prepare(copy, prepared.capability).await?;
    let target = bench.published(&copy).await?;
    bench.read(&copy.capability, &target).await;
    bench.released(&copy, &[&target]).await?;
    bench.provoke(bench.delete_volume(&copy.volume.id)).await;
    bench.provoke(bench.delete_snapshot(&snapshot.snapshot_id)).await;
    Ok(())
}

async fn overlapping_deletes(bench: &Bench) -> Result<(), Stopped> {
    let volume = bench.volume().await?;
    let snapshot = bench.snapshot(&volume.id).await?;
    bench.together(vec![bench.delete_snapshot(&snapshot.snapshot_id).into(); 8]).await;
    bench.provoke(bench.delete_snapshot(&snapshot.snapshot_id)).await;
    Ok(())
}
