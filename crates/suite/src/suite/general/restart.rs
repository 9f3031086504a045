//! The driver is killed and started again; whatever it had confirmed still holds.

use std::time::Duration;

use tokio::time::sleep;

use crate::{
    csi::v1,
    history::{Reply, Request},
    suite::{
        Bench, Stopped,
        facts::{is_multi_node, mode},
        node_use::Prepared,
        scenario::scenarios,
        volumes::list_volumes,
    },
    sut::{Answer, Signal},
};

scenarios! { "restart":
    @restart volumes_are_remembered, "kills the driver between repetitions of the controller's calls",
        ["Controller.CREATE_DELETE_VOLUME"], [
        "IDENT-CAPS-002", "IDENT-PROBE-014", "CTRL-CREATE-002", "CTRL-CREATE-093", "CTRL-CREATE-097",
        "CTRL-VALIDATE-003", "CTRL-DELETE-002", "CTRL-SNAPCREATE-002", "CTRL-SNAPDELETE-002", "CTRL-LIST-002",
        "CTRL-SNAPLIST-002", "CTRL-EXPAND-002", "CTRL-PUBLISH-004", "CTRL-PUBLISH-022", "CTRL-PUBLISH-023",
        "CTRL-UNPUBLISH-005", "NODE-INFO-007", "NODE-CAPS-001",
    ];
    @restart publications_are_remembered, "kills the driver between repetitions of the node's calls", [], [
        "NODE-STAGE-006", "NODE-UNSTAGE-008", "NODE-PUBLISH-003", "NODE-UNPUBLISH-006", "NODE-INFO-005",
        "NODE-EXPAND-002", "NODE-UNPUBLISH-015",
    ];
    @restart siblings_are_remembered, "kills the driver while a volume has two targets, then takes one of them away", [],
        ["NODE-UNPUBLISH-002", "NODE-PUBLISH-056"];
    @restart publications_are_taken_back, "kills the driver while volumes are published, then takes them off the node",
        [], ["NODE-UNPUBLISH-002", "NODE-UNPUBLISH-006", "NODE-UNSTAGE-002", "NODE-UNSTAGE-008"];
    @restart in_the_middle_of_creations, "kills the driver while it creates volumes, then repeats the calls",
        ["Controller.CREATE_DELETE_VOLUME"], ["CTRL-CREATE-002", "CTRL-CREATE-019", "GEN-TIME-005", "PROTO-CONN-006"];
    @restart in_the_middle_of_publications, "kills the driver while it publishes volumes, then repeats the calls", [],
        ["NODE-PUBLISH-003", "NODE-UNPUBLISH-006", "GEN-TIME-005"];
    @restart politely, "ends the driver with SIGTERM and starts it again", [],
        ["IDENT-CAPS-002", "IDENT-PROBE-014", "PROTO-CONN-006"];
}

/// How often Probe is asked after a start before the driver is taken as it is.
const PROBES: u32 = 200;

/// Ends and starts every process of the driver, then asks what every orchestrator asks first.
async fn restart(bench: &Bench, signal: Signal) -> Result<(), Stopped> {
    for instance in bench.run.driver.instances() {
        let restarted = instance.restart(&bench.run.recorder, signal).await;
        restarted.map_err(|error| Stopped::because(error.to_string()))?;
        for _ in 0..PROBES {
            match bench.exchange_on(&instance, v1::ProbeRequest {}).await {
                Answer::Reply(Reply::Probe(reply)) if reply.ready != Some(false) => break,
                _ => sleep(Duration::from_millis(20)).await,
            }
        }
        bench.exchange_on(&instance, v1::GetPluginInfoRequest {}).await;
        bench.exchange_on(&instance, v1::GetPluginCapabilitiesRequest {}).await;
    }
    if bench.has_controller_endpoint() && bench.has("Plugin.CONTROLLER_SERVICE") {
        bench.provoke(v1::ControllerGetCapabilitiesRequest {}).await;
    }
    bench.provoke(v1::NodeGetCapabilitiesRequest {}).await;
    Ok(())
}

async fn volumes_are_remembered(bench: &Bench) -> Result<(), Stopped> {
    let volume = bench.volume().await?;
    let capability = bench.capability();
    let mut repeated: Vec<Request> =
        vec![volume.request.clone().into(), bench.validate(&volume, vec![capability.clone()]).into()];
    if bench.has("Controller.EXPAND_VOLUME") {
        repeated.push(bench.expand(&volume, bench.larger(&volume)).into());
    }
    if bench.has("Controller.PUBLISH_UNPUBLISH_VOLUME") {
        repeated.push(bench.attach(&volume, &capability).into());
    }
    if bench.has("Controller.LIST_VOLUMES") {
        repeated.push(list_volumes(0, "").into());
    }
    let mut snapshot_id = None;
    if bench.has("Controller.CREATE_DELETE_SNAPSHOT") {
        let request = bench.create_snapshot(&volume.id);
        snapshot_id = Some(bench.snapshot_by(request.clone()).await?.snapshot_id);
        repeated.push(request.into());
        if bench.has("Controller.LIST_SNAPSHOTS") {
            repeated.push(bench.list_snapshots_of(&volume.id).into());
        }
    }
    for request in &repeated {
        bench.provoke(request.clone()).await;
    }
    restart(bench, Signal::Kill).await?;
    // What only asks comes before the creation, which would tell a forgetful driver anew.
    for request in repeated.iter().rev() {
        bench.provoke(request.clone()).await;
    }
    bench.provoke(v1::NodeGetInfoRequest {}).await;
    let mut removed: Vec<Request> = Vec::new();
    if bench.has("Controller.PUBLISH_UNPUBLISH_VOLUME") {
        removed.push(bench.detach(&volume.id, &bench.facts.node_id).into());
    }
    removed.extend(snapshot_id.map(|id| bench.delete_snapshot(&id).into()));
    removed.push(bench.delete_volume(&volume.id).into());
    for request in &removed {
        bench.provoke(request.clone()).await;
    }
    restart(bench, Signal::Kill).await?;
    for request in removed {
        bench.provoke(request).await;
    }
    bench.provoke(bench.validate(&volume, vec![capability])).await;
    Ok(())
}

async fn publications_are_remembered(bench: &Bench) -> Result<(), Stopped> {
    let prepared = bench.prepared().await?;
    let target = bench.published(&prepared).await?;
    bench.write(&prepared.capability, &target, "before the restart").await;
    restart(bench, Signal::Kill).await?;
    bench.look(&target).await;
    if !prepared.staging.is_empty() {
        bench.provoke(bench.stage(&prepared)).await;
    }
    bench.provoke(bench.publish(&prepared, &target)).await;
    bench.read(&prepared.capability, &target).await;
    take_back(bench, &prepared, &target).await;
    restart(bench, Signal::Kill).await?;
    take_back(bench, &prepared, &target).await;
    Ok(())
}

/// Takes a volume off the node, whatever each call answers.
async fn take_back(bench: &Bench, prepared: &Prepared, target: &str) {
    bench.provoke(bench.unpublish(prepared, target)).await;
    if !prepared.staging.is_empty() {
        bench.provoke(bench.unstage(prepared)).await;
    }
}

async fn siblings_are_remembered(bench: &Bench) -> Result<(), Stopped> {
    let capability = bench.facts.supported.iter().find(|it| is_multi_node(mode(it))).cloned();
    let prepared = bench.prepared_for(capability.unwrap_or_else(|| bench.capability())).await?;
    let (first, second) = (bench.published(&prepared).await?, bench.target().await?);
    // A mode with one target only may refuse.
    if bench.ask(bench.publish(&prepared, &second)).await.is_err() {
        return bench.released(&prepared, &[&first]).await;
    }
    bench.write(&prepared.capability, &second, "before the restart").await;
    restart(bench, Signal::Kill).await?;
    bench.provoke(bench.unpublish(&prepared, &first)).await;
    bench.look(&second).await;
    bench.read(&prepared.capability, &second).await;
    take_back(bench, &prepared, &second).await;
    Ok(())
}

async fn publications_are_taken_back(bench: &Bench) -> Result<(), Stopped> {
    let prepared = bench.prepared().await?;
    let target = bench.published(&prepared).await?;
    restart(bench, Signal::Kill).await?;
    take_back(bench, &prepared, &target).await;
    take_back(bench, &prepared, &target).await;
    Ok(())
}

/// Sends calls, kills the driver a moment later, and repeats the calls.
async fn kill_during(bench: &Bench, requests: Vec<Request>) -> Result<(), Stopped> {
    let moment = bench.moment();
    let killed = async {
        sleep(moment).await;
        restart(bench, Signal::Kill).await
    };
    let (_, killed) = tokio::join!(bench.together(requests.clone()), killed);
    killed?;
    for request in requests {
        bench.provoke(request).await;
    }
    Ok(())
}

async fn in_the_middle_of_creations(bench: &Bench) -> Result<(), Stopped> {
    for _ in 0..3 {
        let requests: Vec<v1::CreateVolumeRequest> = (0..4).map(|_| bench.create_volume()).collect();
        kill_during(bench, requests.iter().cloned().map(Into::into).collect()).await?;
        for request in requests {
            let volume = bench.volume_by(request).await?;
            bench.provoke(bench.delete_volume(&volume.id)).await;
        }
    }
    Ok(())
}

async fn in_the_middle_of_publications(bench: &Bench) -> Result<(), Stopped> {
    for _ in 0..3 {
        let prepared = bench.prepared().await?;
        let target = bench.target().await?;
        kill_during(bench, vec![bench.publish(&prepared, &target).into()]).await?;
        kill_during(bench, vec![bench.unpublish(&prepared, &target).into()]).await?;
        bench.released(&prepared, &[&target]).await?;
    }
    Ok(())
}

async fn politely(bench: &Bench) -> Result<(), Stopped> {
    restart(bench, Signal::Terminate).await
}
