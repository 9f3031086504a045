//! Field matrices: each field of each request left out alone, at its limits, beyond them, and of a later version.

use crate::{
    csi::v1,
    history::{Reply, Request},
    spec::{Rpc, Service},
    suite::{
        Bench, Stopped,
        group_controller::groups,
        matrix::{Variation, Varied, variations},
        scenario::scenarios,
        volumes::{from_snapshot, from_volume, list_volumes},
    },
    sut::Answer,
};

scenarios! { "fields":
    of_create_volume, "changes each field of CreateVolume alone", ["Controller.CREATE_DELETE_VOLUME"],
        ["GEN-ERR-005", "GEN-ERR-006", "GEN-ERR-009", "GEN-ERR-001", "GEN-REQ-001", "GEN-SIZE-002", "GEN-SIZE-003"];
    of_copies, "changes each field of a content source alone",
        ["Controller.CREATE_DELETE_VOLUME"], ["GEN-ERR-005", "GEN-ERR-006", "GEN-ERR-001"];
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
    of_stagings, "changes each field of NodeStageVolume and NodeUnstageVolume alone", ["Node.STAGE_UNSTAGE_VOLUME"],
        ["GEN-ERR-005", "GEN-ERR-006", "GEN-ERR-001"];
    of_publications, "changes each field of NodePublishVolume and NodeUnpublishVolume alone", [],
        ["GEN-ERR-005", "GEN-ERR-006", "GEN-ERR-001"];
    of_calls_on_what_is_published, "changes each field of NodeGetVolumeStats and NodeExpandVolume alone", [],
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

/// Sends each variation of a request, which is made anew each time, and takes back what it may have done; at last the
/// request itself, with a field of a later version.
async fn vary(bench: &Bench, make: impl Fn() -> Request) {
    vary_some(bench, make, |_| true).await;
}

async fn vary_some(bench: &Bench, make: impl Fn() -> Request, is_wanted: impl Fn(&Variation) -> bool) {
    let text = |length| text(bench, length);
    for variation in variations(&make()).into_iter().filter(is_wanted) {
        let Some(Varied { request, made_up }) = variation.of(&make(), &text) else { continue };
        // What is made by a name is no invention.
        if let Some(made_up) = made_up.filter(|_| variation.field() != "name") {
            bench.run.recorder.invent(&made_up);
        }
        let answer = bench.exchange(request.clone()).await;
        undo(bench, &request, &answer).await;
        // Who hangs or dies of one would do so of the next, too.
        if matches!(answer, Answer::Lost(_)) {
            return;
        }
    }
    let request = make();
    let answer = bench.exchange_with_an_unknown_field(request.clone()).await;
    undo(bench, &request, &answer).await;
}

/// Takes back what a call may have done; a creation whose outcome is open is left to the clean-up.
async fn undo(bench: &Bench, request: &Request, answer: &Answer) {
    let undoing: Request = match (request, answer) {
        (_, Answer::Reply(Reply::CreateVolume(v1::CreateVolumeResponse { volume: Some(volume) }))) => {
            bench.delete_volume(&volume.volume_id).into()
        }
        (_, Answer::Reply(Reply::CreateSnapshot(v1::CreateSnapshotResponse { snapshot: Some(snapshot) }))) => {
            bench.delete_snapshot(&snapshot.snapshot_id).into()
        }
        (_, Answer::Reply(Reply::CreateVolumeGroupSnapshot(reply))) => match &reply.group_snapshot {
            Some(group) => groups::delete(bench, &group.group_snapshot_id, groups::members(group)).into(),
            None => return,
        },
        (_, answer) if !matches!(answer, Answer::Reply(_)) && !answer.leaves_open() => return,
        (Request::ControllerPublishVolume(it), _) => bench.detach(&it.volume_id, &it.node_id).into(),
        (Request::NodeStageVolume(it), _) => v1::NodeUnstageVolumeRequest {
            volume_id: it.volume_id.clone(),
            staging_target_path: it.staging_target_path.clone(),
        }
        .into(),
        (Request::NodePublishVolume(it), _) => {
            v1::NodeUnpublishVolumeRequest { volume_id: it.volume_id.clone(), target_path: it.target_path.clone() }
                .into()
        }
        _ => return,
    };
    bench.provoke(undoing).await;
}

async fn of_create_volume(bench: &Bench) -> Result<(), Stopped> {
    for capability in bench.one_of_each_type() {
        let make =
            || v1::CreateVolumeRequest { volume_capabilities: vec![capability.clone()], ..bench.create_volume() };
        vary(bench, || make().into()).await;
    }
    Ok(())
}

async fn of_copies(bench: &Bench) -> Result<(), Stopped> {
    let volume = bench.volume().await?;
    let size = bench.run.options.profile.capacity_bytes.max(volume.capacity);
    if bench.has("Controller.CREATE_DELETE_SNAPSHOT") {
        let snapshot = bench.snapshot(&volume.id).await?.snapshot_id;
        vary_source(bench, || bench.create_from(from_snapshot(&snapshot), &volume, size).into()).await;
    }
    if bench.has("Controller.CLONE_VOLUME") {
        vary_source(bench, || bench.create_from(from_volume(&volume.id), &volume, size).into()).await;
    }
    Ok(())
}

/// The rest of the request is no other than that of an empty volume.
async fn vary_source(bench: &Bench, make: impl Fn() -> Request) {
    vary_some(bench, make, |variation| variation.is_within("volume_content_source")).await;
}

async fn of_calls_on_a_volume(bench: &Bench) -> Result<(), Stopped> {
    let volume = bench.volume().await?;
    let capability = bench.capability();
    vary(bench, || bench.validate(&volume, vec![capability.clone()]).into()).await;
    if bench.has("Controller.GET_VOLUME") {
        vary(bench, || v1::ControllerGetVolumeRequest { volume_id: volume.id.clone() }.into()).await;
    }
    if bench.has("Controller.MODIFY_VOLUME") && !bench.run.options.profile.mutable_parameters.is_empty() {
        let modify = || v1::ControllerModifyVolumeRequest {
            volume_id: volume.id.clone(),
            secrets: bench.secrets(Rpc::ControllerModifyVolume),
            mutable_parameters: volume.request.mutable_parameters.clone(),
        };
        vary(bench, || modify().into()).await;
    }
    if bench.has("Controller.PUBLISH_UNPUBLISH_VOLUME") {
        vary(bench, || bench.attach(&volume, &capability).into()).await;
        vary(bench, || bench.detach(&volume.id, &bench.facts.node_id).into()).await;
    }
    if bench.has("Controller.EXPAND_VOLUME") {
        vary(bench, || bench.expand(&volume, bench.larger(&volume)).into()).await;
    }
    vary(bench, || bench.delete_volume(&volume.id).into()).await;
    Ok(())
}

async fn of_lists_and_capacity(bench: &Bench) -> Result<(), Stopped> {
    if bench.has("Controller.LIST_VOLUMES") {
        vary(bench, || list_volumes(1, "").into()).await;
    }
    if bench.has("Controller.LIST_SNAPSHOTS") {
        vary(bench, || v1::ListSnapshotsRequest { max_entries: 1, ..bench.list_snapshots() }.into()).await;
    }
    if bench.has("Controller.GET_CAPACITY") {
        let parameters = bench.run.options.profile.parameters.clone();
        let volume_capabilities = vec![bench.capability()];
        let ask = v1::GetCapacityRequest { volume_capabilities, parameters, accessible_topology: None };
        vary(bench, || ask.clone().into()).await;
    }
    Ok(())
}

async fn of_snapshots(bench: &Bench) -> Result<(), Stopped> {
    let volume = bench.volume().await?;
    vary(bench, || bench.create_snapshot(&volume.id).into()).await;
    let snapshot = bench.snapshot(&volume.id).await?;
    if bench.has("Controller.GET_SNAPSHOT") {
        vary(bench, || bench.get_snapshot(&snapshot.snapshot_id).into()).await;
    }
    vary(bench, || bench.delete_snapshot(&snapshot.snapshot_id).into()).await;
    Ok(())
}

async fn of_groups(bench: &Bench) -> Result<(), Stopped> {
    let volume = bench.volume().await?;
    vary(bench, || groups::create(bench, &[&volume.id]).into()).await;
    let group = groups::group(bench, &[&volume.id]).await?;
    let members = groups::members(&group);
    vary(bench, || groups::get(bench, &group.group_snapshot_id, members.clone()).into()).await;
    vary(bench, || groups::delete(bench, &group.group_snapshot_id, members.clone()).into()).await;
    Ok(())
}

async fn of_metadata(bench: &Bench) -> Result<(), Stopped> {
    let volume = bench.volume().await?;
    let base_snapshot_id = bench.snapshot(&volume.id).await?.snapshot_id;
    let target_snapshot_id = bench.snapshot(&volume.id).await?.snapshot_id;
    let allocated = v1::GetMetadataAllocatedRequest {
        snapshot_id: base_snapshot_id.clone(),
        secrets: bench.secrets(Rpc::GetMetadataAllocated),
        ..Default::default()
    };
    vary(bench, || allocated.clone().into()).await;
    let delta = v1::GetMetadataDeltaRequest {
        base_snapshot_id,
        target_snapshot_id,
        secrets: bench.secrets(Rpc::GetMetadataDelta),
        ..Default::default()
    };
    vary(bench, || delta.clone().into()).await;
    Ok(())
}

/// A driver without state takes away whatever is at a path, whichever volume is named: such a call comes while nothing is.
fn names_the_volume(variation: &Variation) -> bool {
    variation.is_within("volume_id")
}

async fn of_stagings(bench: &Bench) -> Result<(), Stopped> {
    let capability = bench.capability();
    let volume = bench.volume_for(capability.clone()).await?;
    let prepared = bench.unstaged(volume, capability).await?;
    vary(bench, || bench.stage(&prepared).into()).await;
    vary_some(bench, || bench.unstage(&prepared).into(), names_the_volume).await;
    bench.need(bench.stage(&prepared)).await?;
    vary_some(bench, || bench.unstage(&prepared).into(), |variation| !names_the_volume(variation)).await;
    Ok(())
}

async fn of_publications(bench: &Bench) -> Result<(), Stopped> {
    let prepared = bench.prepared().await?;
    let target = bench.target().await?;
    vary(bench, || bench.publish(&prepared, &target).into()).await;
    vary_some(bench, || bench.unpublish(&prepared, &target).into(), names_the_volume).await;
    bench.need(bench.publish(&prepared, &target)).await?;
    vary_some(bench, || bench.unpublish(&prepared, &target).into(), |variation| !names_the_volume(variation)).await;
    Ok(())
}

async fn of_calls_on_what_is_published(bench: &Bench) -> Result<(), Stopped> {
    let prepared = bench.prepared().await?;
    let target = bench.published(&prepared).await?;
    if bench.has("Node.GET_VOLUME_STATS") {
        vary(bench, || bench.stats(&prepared, &target).into()).await;
    }
    if bench.has("Node.EXPAND_VOLUME") {
        let size = prepared.volume.capacity.max(bench.run.options.profile.capacity_bytes);
        vary(bench, || bench.node_expand(&prepared, &target, size).into()).await;
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
