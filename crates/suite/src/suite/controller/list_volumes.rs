//! ListVolumes: completeness, pages, and tokens that make no sense.

use super::gates::{CREATE_DELETE_VOLUME, PUBLISH_UNPUBLISH_VOLUME};
use crate::{
    history::{Reply, Request},
    suite::{Bench, Stopped, scenario::scenarios, volumes::list_volumes},
    sut::Answer,
};

const LIST_VOLUMES: &str = "Controller.LIST_VOLUMES";

/// The most pages that are turned; a list that goes on is cut off there.
pub(super) const PAGES: usize = 400;

/// Tokens that no driver gives out.
pub(in crate::suite) const BOGUS_TOKENS: [&str; 4] = ["bogus", "-1", "0", "99999999999"];

scenarios! { "list_volumes":
    @exclusive own_volumes_are_listed, "creates three volumes, lists, deletes one, lists again",
        [LIST_VOLUMES, CREATE_DELETE_VOLUME], [
        "CTRL-LIST-001", "CTRL-LIST-002", "CTRL-LIST-017", "CTRL-LIST-018", "CTRL-LIST-020", "CTRL-LIST-023",
        "CTRL-LIST-024", "CTRL-CREATE-085", "CTRL-CREATE-086", "CTRL-CREATE-087", "CTRL-CREATE-092",
        "CTRL-CREATE-101",
    ];
    @exclusive pages, "walks through the list one, two and three entries at a time", [LIST_VOLUMES, CREATE_DELETE_VOLUME],
        ["CTRL-LIST-005", "CTRL-LIST-006", "CTRL-LIST-007", "CTRL-LIST-002"];
    @exclusive deletion_between_pages, "deletes the first volume on the way through the pages, then lists all at once",
        [LIST_VOLUMES, CREATE_DELETE_VOLUME], ["CTRL-LIST-002", "CTRL-LIST-006"];
    negative_max_entries, "asks for minus one entries", [LIST_VOLUMES], ["CTRL-LIST-009", "GEN-ERR-009"];
    tokens_that_make_no_sense, "starts from tokens that the driver never gave out", [LIST_VOLUMES],
        ["CTRL-LIST-026", "CTRL-LIST-024", "GEN-ERR-025", "GEN-ERR-027"];
    published_nodes, "lists a volume before, while and after it is attached",
        [LIST_VOLUMES, "Controller.LIST_VOLUMES_PUBLISHED_NODES", PUBLISH_UNPUBLISH_VOLUME],
        ["CTRL-LIST-020", "CTRL-CAPS-008", "CTRL-CAPS-009"];
}

async fn own_volumes_are_listed(bench: &Bench) -> Result<(), Stopped> {
    let mut volumes = Vec::new();
    for _ in 0..3 {
        volumes.push(bench.volume().await?);
    }
    walk(bench, |token| list_volumes(0, token).into()).await;
    bench.need(bench.delete_volume(&volumes[0].id)).await?;
    walk(bench, |token| list_volumes(0, token).into()).await;
    Ok(())
}

async fn pages(bench: &Bench) -> Result<(), Stopped> {
    for _ in 0..4 {
        bench.volume().await?;
    }
    for entries in [1, 2, 3] {
        walk(bench, |token| list_volumes(entries, token).into()).await;
    }
    // The second page may be of another size than the first.
    walk(bench, |token| list_volumes(if token.is_empty() { 1 } else { 0 }, token).into()).await;
    Ok(())
}

async fn deletion_between_pages(bench: &Bench) -> Result<(), Stopped> {
    let mut own = Vec::new();
    for _ in 0..6 {
        own.push(bench.volume().await?.id);
    }
    let mut token = String::new();
    let mut is_deleted = false;
    for _ in 0..PAGES {
        let Answer::Reply(Reply::ListVolumes(page)) = bench.settle(list_volumes(2, &token)).await else { break };
        let listed = page.entries.iter().filter_map(|entry| entry.volume.as_ref());
        let first = listed.map(|volume| &volume.volume_id).find(|id| own.contains(id));
        if page.next_token.is_empty() || page.next_token == token {
            break;
        }
        // One that the next pages do not miss, since it has been listed.
        if let Some(first) = first.filter(|_| !is_deleted) {
            bench.need(bench.delete_volume(first)).await?;
            is_deleted = true;
        }
        token = page.next_token;
    }
    walk(bench, |token| list_volumes(0, token).into()).await;
    Ok(())
}

/// Turns the pages of a list until its end.
pub(super) async fn walk(bench: &Bench, page: impl Fn(&str) -> Request) {
    let mut token = String::new();
    for _ in 0..PAGES {
        let next = match bench.settle(page(&token)).await {
            Answer::Reply(Reply::ListVolumes(reply)) => reply.next_token,
            Answer::Reply(Reply::ListSnapshots(reply)) => reply.next_token,
            _ => return,
        };
        if next.is_empty() || next == token {
            return;
        }
        token = next;
    }
}

async fn negative_max_entries(bench: &Bench) -> Result<(), Stopped> {
    bench.provoke(list_volumes(-1, "")).await;
    Ok(())
}

async fn tokens_that_make_no_sense(bench: &Bench) -> Result<(), Stopped> {
    let junk = "~".repeat(128);
    for token in BOGUS_TOKENS.into_iter().chain([junk.as_str()]) {
        bench.run.recorder.invent(token);
        bench.provoke(list_volumes(0, token)).await;
    }
    Ok(())
}

async fn published_nodes(bench: &Bench) -> Result<(), Stopped> {
    let volume = bench.volume().await?;
    bench.provoke(list_volumes(0, "")).await;
    bench.attached(&volume, &bench.capability()).await?;
    bench.provoke(list_volumes(0, "")).await;
    bench.need(bench.detach(&volume.id, &bench.facts.node_id)).await?;
    bench.provoke(list_volumes(0, "")).await;
    Ok(())
}
