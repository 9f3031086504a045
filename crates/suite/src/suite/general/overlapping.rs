//! Calls of several kinds that overlap on one volume.

use crate::{
    history::Reply,
    suite::{Bench, Stopped, scenario::scenarios, volumes::from_snapshot},
    sut::Answer,
};

scenarios! { "overlapping":
    create_and_delete, "creates and deletes a volume of one name at once", ["Controller.CREATE_DELETE_VOLUME"],
        ["GEN-CONC-003", "GEN-ERR-016", "CTRL-CREATE-019"];
    snapshot_and_delete, "snapshots and deletes a volume at once",
        ["Controller.CREATE_DELETE_VOLUME", "Controller.CREATE_DELETE_SNAPSHOT"], ["GEN-CONC-003", "GEN-ERR-016"];
    restore_and_delete, "makes volumes of snapshots while these are deleted, and looks into them",
        ["Controller.CREATE_DELETE_VOLUME", "Controller.CREATE_DELETE_SNAPSHOT"],
        ["GEN-CONC-003", "CTRL-CREATE-040", "CTRL-SNAPCREATE-021"];
    attachments, "attaches two volumes at once and tells them apart on the node",
        ["Controller.CREATE_DELETE_VOLUME", "Controller.PUBLISH_UNPUBLISH_VOLUME"], ["GEN-CONC-003", "NODE-PUBLISH-056"];
    different_volumes, "creates eight volumes at once, and deletes them at once", ["Controller.CREATE_DELETE_VOLUME"],
        ["GEN-CONC-003", "CTRL-CREATE-087"];
}

/// How often two calls are sent at once whose order is left to chance.
const ROUNDS: u32 = 3;

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

async fn restore_and_delete(bench: &Bench) -> Result<(), Stopped> {
    let source = bench.prepared().await?;
    let target = bench.published(&source).await?;
    bench.write(&source.capability, &target, "in the snapshot").await;
    bench.released(&source, &[&target]).await?;
    for _ in 0..ROUNDS {
        let snapshot = bench.snapshot(&source.volume.id).await?;
        let size = source.volume.capacity.max(snapshot.size_bytes);
        let create = bench.create_from(from_snapshot(&snapshot.snapshot_id), &source.volume, size);
        let delete = bench.delete_snapshot(&snapshot.snapshot_id);
        let answers = bench.together(vec![create.clone().into(), delete.clone().into()]).await;
        if let Some(Answer::Reply(Reply::CreateVolume(reply))) = answers.first() {
            let copy = bench.prepare(bench.volume_in(create, reply.clone())?, source.capability.clone()).await?;
            let target = bench.published(&copy).await?;
            bench.read(&copy.capability, &target).await;
            bench.released(&copy, &[&target]).await?;
        }
        bench.provoke(delete).await;
    }
    Ok(())
}

async fn attachments(bench: &Bench) -> Result<(), Stopped> {
    let capability = bench.capability();
    let volumes = [bench.volume().await?, bench.volume().await?];
    bench.together(volumes.iter().map(|volume| bench.attach(volume, &capability).into()).collect()).await;
    let mut used = Vec::new();
    for volume in volumes {
        let prepared = bench.prepare(volume, capability.clone()).await?;
        let target = bench.published(&prepared).await?;
        bench.write(&capability, &target, &format!("in {}", prepared.volume.id)).await;
        used.push((prepared, target));
    }
    for (prepared, target) in &used {
        bench.read(&capability, target).await;
        bench.released(prepared, &[target]).await?;
    }
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
