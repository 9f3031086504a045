//! ListSnapshots: completeness, filters, pages, and tokens that make no sense.

use super::{
    gates::CREATE_DELETE_SNAPSHOT,
    list_volumes::{BOGUS_TOKENS, walk},
};
use crate::{
    csi::v1::ListSnapshotsRequest,
    suite::{Bench, Stopped, scenario::scenarios},
};

const LIST_SNAPSHOTS: &str = "Controller.LIST_SNAPSHOTS";

scenarios! { "list_snapshots":
    @exclusive own_snapshots_are_listed, "takes snapshots of two volumes, lists, deletes one, lists again",
        [LIST_SNAPSHOTS, CREATE_DELETE_SNAPSHOT], [
        "CTRL-SNAPLIST-001", "CTRL-SNAPLIST-002", "CTRL-SNAPLIST-021", "CTRL-SNAPLIST-022", "CTRL-INTERACT-012",
        "CTRL-INTERACT-013", "CTRL-SNAPCREATE-032", "CTRL-SNAPCREATE-033", "CTRL-SNAPCREATE-037",
        "CTRL-SNAPCREATE-038", "CTRL-SNAPLIST-017",
    ];
    by_source_volume, "lists the snapshots of one volume of two, and of an unknown one",
        [LIST_SNAPSHOTS, CREATE_DELETE_SNAPSHOT], ["CTRL-SNAPLIST-014", "CTRL-SNAPLIST-002"];
    by_snapshot_id, "lists one snapshot, a deleted one, and one with another volume",
        [LIST_SNAPSHOTS, CREATE_DELETE_SNAPSHOT], [
        "CTRL-SNAPLIST-002", "CTRL-SNAPLIST-014", "CTRL-SNAPLIST-016", "CTRL-INTERACT-012", "CTRL-INTERACT-013",
    ];
    @exclusive pages, "walks through the list one and two entries at a time, with a filter and without",
        [LIST_SNAPSHOTS, CREATE_DELETE_SNAPSHOT],
        ["CTRL-SNAPLIST-007", "CTRL-SNAPLIST-008", "CTRL-SNAPLIST-009", "CTRL-SNAPLIST-002"];
    negative_max_entries, "asks for minus one entries", [LIST_SNAPSHOTS], ["CTRL-SNAPLIST-011", "GEN-ERR-009"];
    tokens_that_make_no_sense, "starts from tokens that the driver never gave out", [LIST_SNAPSHOTS],
        ["CTRL-SNAPLIST-024", "CTRL-SNAPLIST-022", "GEN-ERR-025", "GEN-ERR-027"];
    while_a_snapshot_is_created, "lists while a snapshot is being created",
        [LIST_SNAPSHOTS, CREATE_DELETE_SNAPSHOT], ["CTRL-SNAPLIST-004", "CTRL-SNAPLIST-017"];
}

async fn own_snapshots_are_listed(bench: &Bench) -> Result<(), Stopped> {
    let (first, second) = (bench.volume().await?, bench.volume().await?);
    let snapshot = bench.snapshot(&first.id).await?;
    bench.snapshot(&first.id).await?;
    bench.snapshot(&second.id).await?;
    let page = |token: &str| ListSnapshotsRequest { starting_token: token.to_owned(), ..bench.list_snapshots() }.into();
    walk(bench, page).await;
    bench.need(bench.delete_snapshot(&snapshot.snapshot_id)).await?;
    walk(bench, page).await;
    Ok(())
}

async fn by_source_volume(bench: &Bench) -> Result<(), Stopped> {
    let (first, second) = (bench.volume().await?, bench.volume().await?);
    for volume in [&first, &first, &second] {
        bench.snapshot(&volume.id).await?;
    }
    bench.provoke(bench.list_snapshots_of(&first.id)).await;
    bench.provoke(bench.list_snapshots_of(&second.id)).await;
    bench.provoke(bench.list_snapshots_of(&bench.made_up_id(&first.id))).await;
    Ok(())
}

async fn by_snapshot_id(bench: &Bench) -> Result<(), Stopped> {
    let (first, second) = (bench.volume().await?, bench.volume().await?);
    let snapshot = bench.snapshot(&first.id).await?;
    let id = snapshot.snapshot_id;
    bench.provoke(bench.list_snapshot(&id)).await;
    for volume in [&first, &second] {
        let both = ListSnapshotsRequest { source_volume_id: volume.id.clone(), ..bench.list_snapshot(&id) };
        bench.provoke(both).await;
    }
    bench.need(bench.delete_snapshot(&id)).await?;
    bench.provoke(bench.list_snapshot(&id)).await;
    bench.provoke(bench.list_snapshot(&bench.made_up_id(&id))).await;
    Ok(())
}

async fn pages(bench: &Bench) -> Result<(), Stopped> {
    let volume = bench.volume().await?;
    for _ in 0..4 {
        bench.snapshot(&volume.id).await?;
    }
    for max_entries in [1, 2] {
        for source_volume_id in [String::new(), volume.id.clone()] {
            let base = ListSnapshotsRequest { max_entries, source_volume_id, ..bench.list_snapshots() };
            walk(bench, |token| ListSnapshotsRequest { starting_token: token.to_owned(), ..base.clone() }.into()).await;
        }
    }
    Ok(())
}

async fn negative_max_entries(bench: &Bench) -> Result<(), Stopped> {
    bench.provoke(ListSnapshotsRequest { max_entries: -1, ..bench.list_snapshots() }).await;
    Ok(())
}

async fn tokens_that_make_no_sense(bench: &Bench) -> Result<(), Stopped> {
    let junk = "~".repeat(128);
    for token in BOGUS_TOKENS.into_iter().chain([junk.as_str()]) {
        bench.provoke(ListSnapshotsRequest { starting_token: token.to_owned(), ..bench.list_snapshots() }).await;
    }
    if bench.has(CREATE_DELETE_SNAPSHOT) {
        let volume = bench.volume().await?;
        let filtered = bench.list_snapshots_of(&volume.id);
        bench.provoke(ListSnapshotsRequest { starting_token: "bogus".to_owned(), ..filtered }).await;
    }
    Ok(())
}

async fn while_a_snapshot_is_created(bench: &Bench) -> Result<(), Stopped> {
    let volume = bench.volume().await?;
    let create = bench.create_snapshot(&volume.id);
    let list = bench.list_snapshots_of(&volume.id);
    let mut calls = vec![create.clone().into()];
    calls.extend((0..4).map(|_| list.clone().into()));
    bench.together(calls).await;
    bench.provoke(create).await;
    bench.provoke(list).await;
    Ok(())
}
