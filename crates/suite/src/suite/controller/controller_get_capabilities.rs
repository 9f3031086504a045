//! ControllerGetCapabilities: the answer does not change, and what it lists is served.

use crate::{
    csi::v1::{self, volume_capability::access_mode::Mode},
    history::Request,
    spec::{Gate, Rpc},
    suite::{Bench, Stopped, scenario::scenarios},
};

scenarios! { "controller_get_capabilities":
    the_answer_does_not_change, "asks three times", ["Plugin.CONTROLLER_SERVICE"],
        ["CTRL-CAPS-001", "CTRL-CAPS-009", "CTRL-CAPS-018", "IDENT-CAPS-014", "IDENT-CAPS-018", "CTRL-SNAPGET-003"];
    what_is_listed_is_served, "sends an empty request to each RPC that the capabilities promise",
        ["Plugin.CONTROLLER_SERVICE"], [
        "PROTO-CONN-004", "CTRL-CAPS-013", "CTRL-CAPS-016", "CTRL-CAPS-017", "CTRL-CREATE-001", "CTRL-DELETE-001",
        "CTRL-PUBLISH-001", "CTRL-UNPUBLISH-001", "CTRL-LIST-001", "CTRL-CAPACITY-001", "CTRL-SNAPCREATE-001",
        "CTRL-SNAPDELETE-001", "CTRL-SNAPLIST-001", "CTRL-SNAPGET-002", "CTRL-EXPAND-001", "CTRL-GET-002",
        "CTRL-MODIFY-001", "GEN-OVER-001",
    ];
    newer_modes, "creates volumes of the newer single-node modes, and of SINGLE_NODE_WRITER",
        ["Controller.SINGLE_NODE_MULTI_WRITER", "Controller.CREATE_DELETE_VOLUME"],
        ["CTRL-CAPS-014", "CTRL-CAPS-015"];
}

/// The RPCs that capabilities of the Controller service promise.
pub(in crate::suite) const PROMISED: [(&str, Rpc); 13] = [
    ("Controller.CREATE_DELETE_VOLUME", Rpc::CreateVolume),
    ("Controller.CREATE_DELETE_VOLUME", Rpc::DeleteVolume),
    ("Controller.PUBLISH_UNPUBLISH_VOLUME", Rpc::ControllerPublishVolume),
    ("Controller.PUBLISH_UNPUBLISH_VOLUME", Rpc::ControllerUnpublishVolume),
    ("Controller.LIST_VOLUMES", Rpc::ListVolumes),
    ("Controller.GET_CAPACITY", Rpc::GetCapacity),
    ("Controller.CREATE_DELETE_SNAPSHOT", Rpc::CreateSnapshot),
    ("Controller.CREATE_DELETE_SNAPSHOT", Rpc::DeleteSnapshot),
    ("Controller.LIST_SNAPSHOTS", Rpc::ListSnapshots),
    ("Controller.GET_SNAPSHOT", Rpc::GetSnapshot),
    ("Controller.EXPAND_VOLUME", Rpc::ControllerExpandVolume),
    ("Controller.GET_VOLUME", Rpc::ControllerGetVolume),
    ("Controller.MODIFY_VOLUME", Rpc::ControllerModifyVolume),
];

async fn the_answer_does_not_change(bench: &Bench) -> Result<(), Stopped> {
    for _ in 0..3 {
        bench.provoke(v1::ControllerGetCapabilitiesRequest {}).await;
    }
    Ok(())
}

async fn what_is_listed_is_served(bench: &Bench) -> Result<(), Stopped> {
    let open = |gate: &str| Gate::parse(gate).is_ok_and(|gate| gate.is_open(&bench.facts.capabilities));
    for (_, rpc) in PROMISED.into_iter().filter(|(gate, _)| open(gate)) {
        bench.provoke(Request::empty(rpc)).await;
    }
    Ok(())
}

async fn newer_modes(bench: &Bench) -> Result<(), Stopped> {
    for mode in [Mode::SingleNodeSingleWriter, Mode::SingleNodeMultiWriter, Mode::SingleNodeWriter] {
        let Ok(capability) = bench.capability_of_mode(mode) else { continue };
        let volume = bench.volume_for(capability.clone()).await?;
        bench.provoke(bench.validate(&volume, vec![capability])).await;
    }
    Ok(())
}
