//! NodeUnpublishVolume: repetitions, targets that are not published, siblings, missing fields, unknown volumes.

use std::time::Duration;

use crate::{
    csi::v1::NodeUnpublishVolumeRequest,
    suite::{
        Bench, Stopped,
        facts::{is_multi_node, mode},
        scenario::scenarios,
    },
    sut::Answer,
};

scenarios! { "node_unpublish_volume":
    repeat_is_idempotent, "unpublishes a volume three times, then publishes it again", [], [
        "NODE-UNPUBLISH-001", "NODE-UNPUBLISH-006", "NODE-UNPUBLISH-014", "NODE-UNPUBLISH-015", "GEN-RPC-009",
    ];
    target_is_removed, "publishes and unpublishes a directory and a device", [],
        ["NODE-UNPUBLISH-002", "NODE-UNPUBLISH-010", "NODE-UNPUBLISH-014"];
    never_published, "unpublishes a target that was never published, absent and as a bare directory", [],
        ["NODE-UNPUBLISH-006"];
    missing_fields, "leaves out volume and target, one at a time", [],
        ["NODE-UNPUBLISH-008", "NODE-UNPUBLISH-011", "GEN-ERR-006", "GEN-ERR-025", "GEN-ERR-027"];
    volume_that_does_not_exist, "unpublishes a deleted volume, and one that never was", [], ["NODE-UNPUBLISH-017"];
    siblings_stay, "unpublishes one target of several, twice, and uses the others", [],
        ["NODE-UNPUBLISH-002", "NODE-UNPUBLISH-006", "NODE-PUBLISH-051"];
    in_a_hurry, "unpublishes with deadlines that hardly any driver meets, and goes on if the answer is OK all the same", [],
        ["NODE-UNPUBLISH-002", "NODE-UNPUBLISH-014", "NODE-UNSTAGE-017"];
    target_that_is_gone, "unpublishes, unstages and deletes a volume whose target went away, as at a reboot of the node", [],
        ["NODE-UNPUBLISH-002", "NODE-UNPUBLISH-006", "CTRL-DELETE-015"];
    data_outlives_unpublishing, "writes, unpublishes, publishes and reads", [], ["NODE-UNPUBLISH-002"];
}

async fn repeat_is_idempotent(bench: &Bench) -> Result<(), Stopped> {
    let prepared = bench.prepared().await?;
    let target = bench.published(&prepared).await?;
    for _ in 0..3 {
        bench.provoke(bench.unpublish(&prepared, &target)).await;
    }
    bench.provoke(bench.publish(&prepared, &target)).await;
    bench.released(&prepared, &[&target]).await
}

async fn target_is_removed(bench: &Bench) -> Result<(), Stopped> {
    for capability in bench.one_of_each_type() {
        let prepared = bench.prepared_for(capability).await?;
        let target = bench.target().await?;
        bench.look(&target).await;
        bench.need(bench.publish(&prepared, &target)).await?;
        bench.released(&prepared, &[&target]).await?;
    }
    Ok(())
}

async fn never_published(bench: &Bench) -> Result<(), Stopped> {
    let prepared = bench.prepared().await?;
    let target = bench.target().await?;
    bench.provoke(bench.unpublish(&prepared, &target)).await;
    // So it looks after a driver that was killed between the unmount and the removal; whether the directory, which no
    // call made, is left there is nobody's business.
    bench.make_directory(target.clone().into()).await?;
    bench.together(vec![bench.unpublish(&prepared, &target).into()]).await;
    bench.released(&prepared, &[]).await
}

async fn missing_fields(bench: &Bench) -> Result<(), Stopped> {
    let prepared = bench.prepared().await?;
    let target = bench.published(&prepared).await?;
    let valid = bench.unpublish(&prepared, &target);
    bench.provoke(NodeUnpublishVolumeRequest { volume_id: String::new(), ..valid.clone() }).await;
    bench.provoke(NodeUnpublishVolumeRequest { target_path: String::new(), ..valid }).await;
    bench.look(&target).await;
    bench.released(&prepared, &[&target]).await
}

async fn volume_that_does_not_exist(bench: &Bench) -> Result<(), Stopped> {
    let dead = bench.dead_volume().await?;
    for volume_id in [bench.made_up_id(&dead), dead] {
        let target_path = bench.target().await?;
        bench.provoke(NodeUnpublishVolumeRequest { volume_id, target_path }).await;
    }
    Ok(())
}

async fn siblings_stay(bench: &Bench) -> Result<(), Stopped> {
    let capability = bench.facts.supported.iter().find(|it| is_multi_node(mode(it))).cloned();
    let prepared = bench.prepared_for(capability.unwrap_or_else(|| bench.capability())).await?;
    let first = bench.published(&prepared).await?;
    bench.write(&prepared.capability, &first, "shared").await;
    let mut siblings = Vec::new();
    for _ in 0..2 {
        let target = bench.target().await?;
        // A mode with one target only may refuse.
        if bench.ask(bench.publish(&prepared, &target)).await.is_ok() {
            bench.read(&prepared.capability, &target).await;
            siblings.push(target);
        }
    }
    bench.need(bench.unpublish(&prepared, &first)).await?;
    // The repetition finds nothing more to take away.
    for repetition in [false, true] {
        if repetition {
            bench.provoke(bench.unpublish(&prepared, &first)).await;
        }
        for target in &siblings {
            bench.look(target).await;
            bench.read(&prepared.capability, target).await;
        }
    }
    let targets: Vec<&str> = siblings.iter().map(String::as_str).collect();
    bench.released(&prepared, &targets).await
}

async fn in_a_hurry(bench: &Bench) -> Result<(), Stopped> {
    // How soon an answer comes that is not the truth depends on the machine.
    for deadline in [1, 5, 25, 100, 400].map(Duration::from_millis) {
        let prepared = bench.prepared().await?;
        let target = bench.published(&prepared).await?;
        let answer = bench.hurry(deadline, bench.unpublish(&prepared, &target)).await;
        if matches!(answer, Answer::Reply(_)) {
            bench.look(&target).await;
            if !prepared.staging.is_empty() {
                bench.provoke(bench.unstage(&prepared)).await;
            }
        }
        bench.released(&prepared, &[&target]).await?;
    }
    Ok(())
}

async fn target_that_is_gone(bench: &Bench) -> Result<(), Stopped> {
    let node_fs = bench.need_node_fs()?;
    let prepared = bench.prepared().await?;
    let target = bench.published(&prepared).await?;
    let is_gone = node_fs.take_away(&target).await;
    bench.released(&prepared, &[&target]).await?;
    if !is_gone {
        return Err(Stopped::because("what is mounted at the target cannot be taken away from here"));
    }
    // Whatever was held for the target is given back with it.
    if bench.has("Controller.CREATE_DELETE_VOLUME") {
        bench.provoke(bench.delete_volume(&prepared.volume.id)).await;
    }
    Ok(())
}

async fn data_outlives_unpublishing(bench: &Bench) -> Result<(), Stopped> {
    let prepared = bench.prepared().await?;
    let target = bench.published(&prepared).await?;
    bench.write(&prepared.capability, &target, "outlives").await;
    bench.need(bench.unpublish(&prepared, &target)).await?;
    let again = bench.published(&prepared).await?;
    bench.read(&prepared.capability, &again).await;
    bench.released(&prepared, &[&again]).await
}
