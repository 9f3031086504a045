//! Calls of several kinds that overlap on one volume.

use crate::suite::{Bench, Stopped, scenario::scenarios};

scenarios! { "overlapping":
    create_and_delete, "creates and deletes a volume of one name at once", ["Controller.CREATE_DELETE_VOLUME"],
        ["GEN-CONC-003", "GEN-ERR-016", "CTRL-CREATE-019"];
    snapshot_and_delete, "snapshots and deletes a volume at once",
        ["Controller.CREATE_DELETE_VOLUME", "Controller.CREATE_DELETE_SNAPSHOT"], ["GEN-CONC-003", "GEN-ERR-016"];
    different_volumes, "creates eight volumes at once, and deletes them at once", ["Controller.CREATE_DELETE_VOLUME"],
        ["GEN-CONC-003", "CTRL-CREATE-087"];
}

async fn create_and_delete(bench: &Bench) -> Result<(), Stopped> {
    let volume = bench.volume().await?;
    let delete = bench.delete_volume(&volume.id);
    let create = volume.request.clone();
    bench.together(vec![delete.clone().into(), create.clone().into(), delete.into(), create.clone().into()]).await;
    let volume = bench.volume_by(create).await?;
    bench.provoke(bench.delete_volume(&volume.id)).await;
    Ok(())
}

async fn snapshot_and_delete(bench: &Bench) -> Result<(), Stopped> {
    let volume = bench.volume().await?;
    let snapshot = bench.create_snapshot(&volume.id);
    let delete = bench.delete_volume(&volume.id);
    bench.together(vec![snapshot.clone().into(), delete.clone().into()]).await;
    bench.provoke(snapshot).await;
    bench.provoke(delete).await;
    Ok(())
}

async fn different_volumes(bench: &Bench) -> Result<(), Stopped> {
    let requests: Vec<_> = (0..8).map(|_| bench.create_volume()).collect();
    bench.together(requests.iter().cloned().map(Into::into).collect()).await;
    let mut deletions = Vec::new();
    for request in requests {
        deletions.push(bench.delete_volume(&bench.volume_by(request).await?.id).into());
    }
    bench.together(deletions).await;
    Ok(())
}
