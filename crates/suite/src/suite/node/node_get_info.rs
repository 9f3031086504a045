//! NodeGetInfo: the node's id, limit and place.

use crate::{
    csi::v1,
    suite::{Bench, Stopped, scenario::scenarios},
};

scenarios! { "node_get_info":
    the_answer_does_not_change, "asks three times", [], [
        "NODE-INFO-001", "NODE-INFO-006", "NODE-INFO-007", "NODE-INFO-010", "NODE-INFO-011", "NODE-INFO-013",
        "NODE-INFO-015", "NODE-INFO-020", "CTRL-CREATE-128", "CTRL-CREATE-129", "CTRL-CREATE-131", "CTRL-CREATE-132",
        "CTRL-CREATE-133", "CTRL-CREATE-134", "CTRL-CREATE-135", "CTRL-CREATE-138", "CTRL-CREATE-139",
        "CTRL-CREATE-140", "CTRL-CREATE-141", "GEN-SIZE-003",
    ];
    once_is_enough, "uses a volume on the node without asking again", [], ["NODE-INFO-005"];
}

async fn the_answer_does_not_change(bench: &Bench) -> Result<(), Stopped> {
    for _ in 0..3 {
        bench.provoke(v1::NodeGetInfoRequest {}).await;
    }
    Ok(())
}

async fn once_is_enough(bench: &Bench) -> Result<(), Stopped> {
    let prepared = bench.prepared().await?;
    let target = bench.published(&prepared).await?;
    bench.released(&prepared, &[&target]).await
}
