//! RPCs that the driver does not advertise, and empty requests to those of the services that it has.

use crate::{
    csi::v1,
    history::Request,
    spec::{Gate, Rpc},
    suite::{
        Bench, Stopped,
        controller::controller_get_capabilities::PROMISED as OF_CONTROLLER,
        node::node_get_capabilities::PROMISED as OF_NODE,
        node_use::Prepared,
        scenario::scenarios,
        volumes::{Volume, list_volumes},
    },
};

scenarios! { "unimplemented":
    rpcs_that_are_not_advertised, "calls each RPC whose capability is missing with a plausible request", [], [
        "GEN-LIFE-005", "GEN-ERR-019", "GEN-LIFE-004", "PROTO-CONN-004", "GEN-ERR-001", "GEN-ERR-002", "GEN-ERR-025",
        "GEN-ERR-027",
    ];
    empty_requests, "sends an empty request to each RPC of each service that the driver has", [], [
        "GEN-OVER-001", "GEN-LIFE-003", "GEN-RPC-008", "GEN-RPC-009", "GEN-ERR-001", "GEN-ERR-002", "GEN-ERR-005",
        "GEN-ERR-025", "GEN-ERR-027",
    ];
}

async fn rpcs_that_are_not_advertised(bench: &Bench) -> Result<(), Stopped> {
    let shut = |gate: &str| !Gate::parse(gate).is_ok_and(|gate| gate.is_open(&bench.facts.capabilities));
    let of_controller = OF_CONTROLLER.into_iter().filter(|_| bench.has_controller_endpoint());
    for (_, rpc) in of_controller.chain(OF_NODE).filter(|(gate, _)| shut(gate)) {
        if let Some(request) = plausible(bench, rpc).await? {
            bench.provoke(request).await;
        }
    }
    if !bench.has("Plugin.GROUP_CONTROLLER_SERVICE") && bench.has_controller_endpoint() {
        bench.provoke(v1::GroupControllerGetCapabilitiesRequest {}).await;
    }
    if !bench.has("Plugin.SNAPSHOT_METADATA_SERVICE") && bench.has_controller_endpoint() {
        let snapshot_id = bench.made_up_id("");
        bench.provoke(v1::GetMetadataAllocatedRequest { snapshot_id, ..Default::default() }).await;
    }
    Ok(())
}

/// A request in which nothing is wrong but that its RPC is not advertised.
async fn plausible(bench: &Bench, rpc: Rpc) -> Result<Option<Request>, Stopped> {
    // Ids that nobody has keep a driver that serves the RPC all the same from doing harm.
    let id = bench.made_up_id("");
    let volume = Volume { id: id.clone(), request: bench.create_volume(), ..Volume::default() };
    let capability = bench.capability();
    let prepared = Prepared {
        volume: volume.clone(),
        capability: capability.clone(),
        publish_context: Default::default(),
        staging: bench.staging_directory().await?,
    };
    Ok(Some(match rpc {
        Rpc::CreateVolume => bench.create_volume().into(),
        Rpc::DeleteVolume => bench.delete_volume(&id).into(),
        Rpc::ControllerPublishVolume => {
            v1::ControllerPublishVolumeRequest { node_id: "node".to_owned(), ..bench.attach(&volume, &capability) }
                .into()
        }
        Rpc::ControllerUnpublishVolume => bench.detach(&id, "node").into(),
        Rpc::ListVolumes => list_volumes(0, "").into(),
        Rpc::GetCapacity => v1::GetCapacityRequest::default().into(),
        Rpc::CreateSnapshot => bench.create_snapshot(&id).into(),
        Rpc::DeleteSnapshot => bench.delete_snapshot(&id).into(),
        Rpc::ListSnapshots => bench.list_snapshots().into(),
        Rpc::GetSnapshot => bench.get_snapshot(&id).into(),
        Rpc::ControllerExpandVolume => bench.expand(&volume, bench.larger(&volume)).into(),
        Rpc::ControllerGetVolume => v1::ControllerGetVolumeRequest { volume_id: id }.into(),
        Rpc::ControllerModifyVolume => v1::ControllerModifyVolumeRequest {
            volume_id: id,
            secrets: bench.secrets(rpc),
            mutable_parameters: [("key".to_owned(), "value".to_owned())].into(),
        }
        .into(),
        Rpc::NodeStageVolume => bench.stage(&prepared).into(),
        Rpc::NodeUnstageVolume => bench.unstage(&prepared).into(),
        Rpc::NodeGetVolumeStats => bench.stats(&prepared, &prepared.staging).into(),
        Rpc::NodeExpandVolume => bench.node_expand(&prepared, &prepared.staging, bench.larger(&volume)).into(),
        _ => return Ok(None),
    }))
}

async fn empty_requests(bench: &Bench) -> Result<(), Stopped> {
    for &rpc in Rpc::ALL.iter().filter(|rpc| bench.serves(rpc.service())) {
        bench.provoke(Request::empty(rpc)).await;
    }
    Ok(())
}
