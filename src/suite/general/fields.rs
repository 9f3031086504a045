//! Field matrices: each field of each request left out alone, at its limits, beyond them, and unknown.

use crate::{
    csi::v1,
    history::Request,
    spec::Service,
    suite::{
        Bench, Stopped,
        group_controller::groups,
        matrix::{Change, variations},
        scenario::scenarios,
        volumes::list_volumes,
    },
    sut::Answer,
};

scenarios! { "fields":
    of_create_volume, "changes each field of CreateVolume alone", ["Controller.CREATE_DELETE_VOLUME"],
        ["GEN-ERR-005", "GEN-ERR-006", "GEN-ERR-009", "GEN-ERR-001", "GEN-REQ-001", "GEN-SIZE-002", "GEN-SIZE-003"];
    of_calls_on_a_volume, "changes each field of the controller's calls on a volume alone",
        ["Controller.CREATE_DELETE_VOLUME"], ["GEN-ERR-005", "GEN-ERR-006", "GEN-ERR-009", "GEN-ERR-001"];
    of_lists_and_capacity, "changes each field of ListVolumes, ListSnapshots and GetCapacity alone", [],
        ["GEN-ERR-009", "GEN-ERR-001"];
    of_snapshots, "changes each field of the calls on a snapshot alone", ["Controller.CREATE_DELETE_SNAPSHOT"],
        ["GEN-ERR-005", "GEN-ERR-006", "GEN-ERR-001"];
    of_groups, "changes each field of the calls on a group snapshot alone", [groups::GROUP_SNAPSHOT],
        ["GEN-ERR-005", "GEN-ERR-006", "GEN-REQ-003", "GEN-ERR-001"];
    of_metadata, "changes each field of the calls for block metadata alone",
        ["Plugin.SNAPSHOT_METADATA_SERVICE", "Controller.CREATE_DELETE_SNAPSHOT"], ["GEN-ERR-005", "GEN-ERR-001"];
    of_calls_on_a_node, "changes each field of the node's calls alone", [],
        ["GEN-ERR-005", "GEN-ERR-006", "GEN-ERR-001"];
    that_nobody_knows_yet, "adds a field of a later version to a call of each service", [],
        ["GEN-OVER-001", "GEN-ERR-001"];
}

/// A string of a length, the beginning of which nobody else uses as far as it fits.
fn text(bench: &Bench, length: usize) -> String {
    let mut text = bench.name();
    text.push_str(&"x".repeat(length.saturating_sub(text.len())));
    text.truncate(length);
    text
}

/// Sends each variation of a request that is made anew each time; `tidy` takes back what it did.
async fn vary(bench: &Bench, make: impl Fn() -> Request, tidy: impl Fn(&Request) -> Option<Request>) {
    let text = |length| text(bench, length);
    for at in 0..variations(&make(), &text).len() {
        let Some(variation) = variations(&make(), &text).into_iter().nth(at) else { continue };
        let is_name = variation.field == "name";
        for made_up in variation.text.iter().filter(|_| !is_name) {
            bench.run.recorder.invent(made_up);
        }
        // A list of many of the same is one of them for some, and far too large for others.
        let far = matches!(variation.change, Change::Elements(100) | Change::Bytes(65_536..));
        let answer = if far {
            bench.exchange(variation.request.clone()).await
        } else {
            bench.settle(variation.request.clone()).await
        };
        if let (Answer::Reply(_), Some(tidy)) = (answer, tidy(&variation.request)) {
            bench.provoke(tidy).await;
        }
    }
}

fn nothing(_: &Request) -> Option<Request> {
    None
}

async fn of_create_volume(bench: &Bench) -> Result<(), Stopped> {
    for capability in bench.one_of_each_type() {
        let make =
            || v1::CreateVolumeRequest { volume_capabilities: vec![capability.clone()], ..bench.create_volume() };
        vary(bench, || make().into(), nothing).await;
    }
    Ok(())
}

async fn of_calls_on_a_volume(bench: &Bench) -> Result<(), Stopped> {
    let volume = bench.volume().await?;
    let capability = bench.capability();
    vary(bench, || bench.validate(&volume, vec![capability.clone()]).into(), nothing).await;
    if bench.has("Controller.GET_VOLUME") {
        vary(bench, || v1::ControllerGetVolumeRequest { volume_id: volume.id.clone() }.into(), nothing).await;
    }
    if bench.has("Controller.PUBLISH_UNPUBLISH_VOLUME") {
        let detach = |_: &Request| Some(bench.detach(&volume.id, &bench.facts.node_id).into());
        vary(bench, || bench.attach(&volume, &capability).into(), detach).await;
        vary(bench, || bench.detach(&volume.id, &bench.facts.node_id).into(), nothing).await;
    }
    if bench.has("Controller.EXPAND_VOLUME") {
        vary(bench, || bench.expand(&volume, bench.larger(&volume)).into(), nothing).await;
    }
    vary(bench, || bench.delete_volume(&volume.id).into(), nothing).await;
    Ok(())
}

async fn of_lists_and_capacity(bench: &Bench) -> Result<(), Stopped> {
    if bench.has("Controller.LIST_VOLUMES") {
        vary(bench, || list_volumes(1, "").into(), nothing).await;
    }
    if bench.has("Controller.LIST_SNAPSHOTS") {
        vary(bench, || v1::ListSnapshotsRequest { max_entries: 1, ..bench.list_snapshots() }.into(), nothing).await;
    }
    if bench.has("Controller.GET_CAPACITY") {
        let parameters = bench.run.options.profile.parameters.clone();
        let volume_capabilities = vec![bench.capability()];
        let ask = v1::GetCapacityRequest { volume_capabilities, parameters, accessible_topology: None };
        vary(bench, || ask.clone().into(), nothing).await;
    }
    Ok(())
}

async fn of_snapshots(bench: &Bench) -> Result<(), Stopped> {
    let volume = bench.volume().await?;
    vary(bench, || bench.create_snapshot(&volume.id).into(), nothing).await;
    let snapshot = bench.snapshot(&volume.id).await?;
    if bench.has("Controller.GET_SNAPSHOT") {
        vary(bench, || bench.get_snapshot(&snapshot.snapshot_id).into(), nothing).await;
    }
    vary(bench, || bench.delete_snapshot(&snapshot.snapshot_id).into(), nothing).await;
    Ok(())
}

async fn of_groups(bench: &Bench) -> Result<(), Stopped> {
    let volume = bench.volume().await?;
    vary(bench, || groups::create(bench, &[&volume.id]).into(), nothing).await;
    let group = groups::group(bench, &[&volume.id]).await?;
    let members = groups::members(&group);
    vary(bench, || groups::get(bench, &group.group_snapshot_id, members.clone()).into(), nothing).await;
    vary(bench, || groups::delete(bench, &group.group_snapshot_id, members.clone()).into(), nothing).await;
    Ok(())
}

async fn of_metadata(bench: &Bench) -> Result<(), Stopped> {
    let volume = bench.volume().await?;
    let base = bench.snapshot(&volume.id).await?.snapshot_id;
    let target = bench.snapshot(&volume.id).await?.snapshot_id;
    let allocated = v1::GetMetadataAllocatedRequest {
        snapshot_id: base.clone(),
        starting_offset: 0,
        max_results: 0,
        secrets: bench.secrets(crate::spec::Rpc::GetMetadataAllocated),
    };
    vary(bench, || allocated.clone().into(), nothing).await;
    let delta = v1::GetMetadataDeltaRequest {
        base_snapshot_id: base,
        target_snapshot_id: target,
        starting_offset: 0,
        max_results: 0,
        secrets: bench.secrets(crate::spec::Rpc::GetMetadataDelta),
    };
    vary(bench, || delta.clone().into(), nothing).await;
    Ok(())
}

async fn of_calls_on_a_node(bench: &Bench) -> Result<(), Stopped> {
    let prepared = bench.prepared().await?;
    let target = bench.target().await?;
    if !prepared.staging.is_empty() {
        bench.need(bench.unstage(&prepared)).await?;
        let unstage = |_: &Request| Some(bench.unstage(&prepared).into());
        vary(bench, || bench.stage(&prepared).into(), unstage).await;
        bench.need(bench.stage(&prepared)).await?;
    }
    let unpublish = |_: &Request| Some(bench.unpublish(&prepared, &target).into());
    vary(bench, || bench.publish(&prepared, &target).into(), unpublish).await;
    bench.need(bench.publish(&prepared, &target)).await?;
    if bench.has("Node.GET_VOLUME_STATS") {
        vary(bench, || bench.stats(&prepared, &target).into(), nothing).await;
    }
    if bench.has("Node.EXPAND_VOLUME") {
        let size = prepared.volume.capacity.max(bench.run.options.profile.capacity_bytes);
        vary(bench, || bench.node_expand(&prepared, &target, size).into(), nothing).await;
    }
    vary(bench, || bench.unpublish(&prepared, &target).into(), nothing).await;
    bench.provoke(bench.unpublish(&prepared, &target)).await;
    if !prepared.staging.is_empty() {
        vary(bench, || bench.unstage(&prepared).into(), nothing).await;
        bench.provoke(bench.unstage(&prepared)).await;
    }
    Ok(())
}

async fn that_nobody_knows_yet(bench: &Bench) -> Result<(), Stopped> {
    for request in [Request::from(v1::ProbeRequest {}), v1::GetPluginInfoRequest {}.into()] {
        bench.exchange_with_an_unknown_field(request).await;
    }
    if bench.serves(Service::Node) {
        bench.exchange_with_an_unknown_field(v1::NodeGetInfoRequest {}).await;
    }
    if bench.has("Controller.CREATE_DELETE_VOLUME") {
        // A repeat that says no more than the first one: the field has to make no difference.
        let volume = bench.volume().await?;
        bench.exchange_with_an_unknown_field(volume.request.clone()).await;
        bench.exchange_with_an_unknown_field(bench.validate(&volume, volume.request.volume_capabilities.clone())).await;
        bench.exchange_with_an_unknown_field(bench.delete_volume(&volume.id)).await;
    }
    if bench.has(groups::GROUP_SNAPSHOT) {
        bench.exchange_with_an_unknown_field(v1::GroupControllerGetCapabilitiesRequest {}).await;
    }
    Ok(())
}
