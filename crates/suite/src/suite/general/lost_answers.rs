//! Calls whose answer gets lost, that are cancelled, or that run out of time; the same call is then repeated.

use std::time::Duration;

use crate::{
    history::Request,
    suite::{Bench, Stopped, scenario::scenarios},
};

scenarios! { "lost_answers":
    of_create_and_delete, "loses, cancels and cuts short the creation and deletion of volumes",
        ["Controller.CREATE_DELETE_VOLUME"],
        ["GEN-TIME-005", "CTRL-CREATE-002", "CTRL-CREATE-019", "CTRL-DELETE-002"];
    of_attach_and_detach, "loses, cancels and cuts short attaching and detaching",
        ["Controller.PUBLISH_UNPUBLISH_VOLUME"], ["GEN-TIME-005", "CTRL-PUBLISH-004", "CTRL-UNPUBLISH-005"];
    of_snapshots, "loses, cancels and cuts short the creation and deletion of snapshots",
        ["Controller.CREATE_DELETE_SNAPSHOT"], ["GEN-TIME-005", "CTRL-SNAPCREATE-002", "CTRL-SNAPDELETE-002"];
    of_expansion, "loses, cancels and cuts short an expansion", ["Controller.EXPAND_VOLUME"],
        ["GEN-TIME-005", "CTRL-EXPAND-002"];
    of_stage_and_unstage, "loses, cancels and cuts short staging and unstaging", ["Node.STAGE_UNSTAGE_VOLUME"],
        ["GEN-TIME-005", "NODE-STAGE-006", "NODE-UNSTAGE-008"];
    of_publish_and_unpublish, "loses, cancels and cuts short publishing and unpublishing", [],
        ["GEN-TIME-005", "NODE-PUBLISH-003", "NODE-UNPUBLISH-006", "NODE-UNSTAGE-017"];
    of_publish_alone, "gives up publishing after ever longer, and unpublishes instead", [],
        ["NODE-UNPUBLISH-002", "NODE-UNPUBLISH-006", "NODE-UNSTAGE-017"];
}

/// The ways in which an answer fails to arrive.
#[derive(Clone, Copy, Debug)]
enum Loss {
    Dropped,
    Cancelled,
    OutOfTime,
}

const LOSSES: [Loss; 3] = [Loss::Dropped, Loss::Cancelled, Loss::OutOfTime];

/// Sends a request whose answer does not arrive, then repeats it until one does.
async fn lose_and_repeat(bench: &Bench, loss: Loss, request: impl Into<Request>) {
    let request = request.into();
    match loss {
        Loss::Dropped => bench.lose_answer(request.clone()).await,
        Loss::Cancelled => bench.cancel_after(bench.moment(), request.clone()).await,
        Loss::OutOfTime => drop(bench.hurry(Duration::from_millis(1), request.clone()).await),
    }
    bench.provoke(request).await;
}

async fn of_create_and_delete(bench: &Bench) -> Result<(), Stopped> {
    for loss in LOSSES {
        let request = bench.create_volume();
        lose_and_repeat(bench, loss, request.clone()).await;
        let volume = bench.volume_by(request).await?;
        lose_and_repeat(bench, loss, bench.delete_volume(&volume.id)).await;
    }
    Ok(())
}

async fn of_attach_and_detach(bench: &Bench) -> Result<(), Stopped> {
    for loss in LOSSES {
        let volume = bench.volume().await?;
        lose_and_repeat(bench, loss, bench.attach(&volume, &bench.capability())).await;
        lose_and_repeat(bench, loss, bench.detach(&volume.id, &bench.facts.node_id)).await;
    }
    Ok(())
}

async fn of_snapshots(bench: &Bench) -> Result<(), Stopped> {
    let volume = bench.volume().await?;
    for loss in LOSSES {
        let request = bench.create_snapshot(&volume.id);
        lose_and_repeat(bench, loss, request.clone()).await;
        let snapshot = bench.snapshot_by(request).await?;
        lose_and_repeat(bench, loss, bench.delete_snapshot(&snapshot.snapshot_id)).await;
    }
    Ok(())
}

async fn of_expansion(bench: &Bench) -> Result<(), Stopped> {
    for loss in LOSSES {
        let volume = bench.volume().await?;
        lose_and_repeat(bench, loss, bench.expand(&volume, bench.larger(&volume))).await;
    }
    Ok(())
}

async fn of_stage_and_unstage(bench: &Bench) -> Result<(), Stopped> {
    for loss in LOSSES {
        let prepared = bench.unstaged(bench.volume().await?, bench.capability()).await?;
        lose_and_repeat(bench, loss, bench.stage(&prepared)).await;
        lose_and_repeat(bench, loss, bench.unstage(&prepared)).await;
    }
    Ok(())
}

async fn of_publish_and_unpublish(bench: &Bench) -> Result<(), Stopped> {
    for loss in LOSSES {
        let prepared = bench.prepared().await?;
        let target = bench.target().await?;
        lose_and_repeat(bench, loss, bench.publish(&prepared, &target)).await;
        lose_and_repeat(bench, loss, bench.unpublish(&prepared, &target)).await;
        bench.released(&prepared, &[]).await?;
    }
    Ok(())
}

async fn of_publish_alone(bench: &Bench) -> Result<(), Stopped> {
    for patience in [1, 5, 25, 100, 400] {
        let prepared = bench.prepared().await?;
        let target = bench.target().await?;
        drop(bench.hurry(Duration::from_millis(patience), bench.publish(&prepared, &target)).await);
        // Unpublished twice: what the publish does late shows at one of them.
        bench.need(bench.unpublish(&prepared, &target)).await?;
        bench.released(&prepared, &[&target]).await?;
    }
    Ok(())
}
