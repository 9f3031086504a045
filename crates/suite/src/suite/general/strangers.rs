//! Files and directories of others, put where a careless driver reaches them.

use std::{fs, os::unix::fs::symlink, path::Path};

use crate::{
    csi::v1::NodePublishVolumeRequest,
    history::Observation,
    spec::Rpc,
    suite::{Bench, Stopped, scenario::scenarios},
    sut::blocking,
};

scenarios! { "strangers":
    named_by_an_id, "deletes an id that reads as the path of a directory of somebody else",
        ["Controller.CREATE_DELETE_VOLUME"], ["CTRL-DELETE-003"];
    behind_a_link, "publishes and unpublishes where a link leads to a directory of somebody else", [],
        ["NODE-UNPUBLISH-002"];
    above_the_target, "publishes with a context that names a file above the target", [], ["NODE-UNPUBLISH-002"];
}

/// More directories than any driver keeps its volumes below.
const UP: usize = 12;

/// An empty directory that no call is about.
async fn stranger(bench: &Bench) -> Result<String, Stopped> {
    if !bench.run.driver.is_local() {
        return Err(Stopped::because("the node's file system is not visible from here"));
    }
    bench.make_directory(bench.directory().join("x")).await
}

/// Records what became of the directory, and removes what was put into it.
async fn look_at(bench: &Bench, stranger: String, rpc: Rpc) {
    let path = stranger.clone();
    let found = blocking(move || {
        let Ok(entries) = fs::read_dir(&path) else { return "it is gone".to_owned() };
        let put: Vec<_> = entries.flatten().collect();
        put.iter().for_each(|entry| drop(fs::remove_file(entry.path())));
        let names: Vec<_> = put.iter().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
        if names.is_empty() { String::new() } else { format!("it holds {names:?}") }
    });
    let node = bench.run.driver.node().to_owned();
    if let Some(damage) = found.await {
        bench.observed(Observation::Stranger { node, path: stranger, rpc: rpc.name().to_owned(), damage });
    }
}

async fn named_by_an_id(bench: &Bench) -> Result<(), Stopped> {
    let stranger = stranger(bench).await?;
    let id = format!("{}{}", "../".repeat(UP), stranger.trim_start_matches('/'));
    bench.run.recorder.invent(&id);
    bench.provoke(bench.delete_volume(&id)).await;
    look_at(bench, stranger, Rpc::DeleteVolume).await;
    Ok(())
}

async fn behind_a_link(bench: &Bench) -> Result<(), Stopped> {
    let stranger = stranger(bench).await?;
    let prepared = bench.prepared().await?;
    let target = bench.target().await?;
    let (from, to) = (stranger.clone(), target.clone());
    blocking(move || symlink(from, to)).await;
    bench.provoke(bench.publish(&prepared, &target)).await;
    bench.provoke(bench.unpublish(&prepared, &target)).await;
    look_at(bench, stranger, Rpc::NodeUnpublishVolume).await;
    let link = target.clone();
    blocking(move || fs::remove_file(link)).await;
    bench.released(&prepared, &[&target]).await
}

async fn above_the_target(bench: &Bench) -> Result<(), Stopped> {
    // The parent of the target is the stranger: the target itself may come and go there.
    let stranger = stranger(bench).await?;
    let prepared = bench.prepared().await?;
    let target = Path::new(&stranger).join("target").display().to_string();
    let mut request: NodePublishVolumeRequest = bench.publish(&prepared, &target);
    // Keys of the orchestrator may be added to any context.
    request.volume_context.insert("csi.storage.k8s.io/file".to_owned(), "../planted".to_owned());
    bench.provoke(request).await;
    bench.released(&prepared, &[&target]).await?;
    look_at(bench, stranger, Rpc::NodeUnpublishVolume).await;
    Ok(())
}
