//! NodeGetCapabilities: the answer does not change, and what it lists is served.

use crate::{
    csi::v1,
    history::Request,
    spec::{Gate, Rpc},
    suite::{Bench, Stopped, scenario::scenarios},
};

scenarios! { "node_get_capabilities":
    the_answer_does_not_change, "asks three times", [],
        ["NODE-CAPS-001", "NODE-CAPS-010", "GEN-RPC-001", "GEN-RPC-009", "IDENT-CAPS-014"];
    what_is_listed_is_served, "sends an empty request to each RPC that the capabilities promise", [], [
        "NODE-CAPS-003", "PROTO-CONN-004", "GEN-RPC-009", "NODE-STAGE-001", "NODE-UNSTAGE-001", "NODE-STATS-001",
        "NODE-STATS-002", "NODE-EXPAND-001", "NODE-UNPUBLISH-001", "GEN-OVER-001",
    ];
}

/// The RPCs that capabilities of the Node service promise.
pub(in crate::suite) const PROMISED: [(&str, Rpc); 4] = [
    ("Node.STAGE_UNSTAGE_VOLUME", Rpc::NodeStageVolume),
    ("Node.STAGE_UNSTAGE_VOLUME", Rpc::NodeUnstageVolume),
    ("Node.GET_VOLUME_STATS|Node.VOLUME_CONDITION", Rpc::NodeGetVolumeStats),
    ("Node.EXPAND_VOLUME", Rpc::NodeExpandVolume),
];

async fn the_answer_does_not_change(bench: &Bench) -> Result<(), Stopped> {
    for _ in 0..3 {
        bench.provoke(v1::NodeGetCapabilitiesRequest {}).await;
    }
    Ok(())
}

async fn what_is_listed_is_served(bench: &Bench) -> Result<(), Stopped> {
    let open = |gate: &str| Gate::parse(gate).is_ok_and(|gate| gate.is_open(&bench.facts.capabilities));
    for (_, rpc) in PROMISED.into_iter().filter(|(gate, _)| open(gate)) {
        bench.provoke(Request::empty(rpc)).await;
    }
    for rpc in [Rpc::NodePublishVolume, Rpc::NodeUnpublishVolume] {
        bench.provoke(Request::empty(rpc)).await;
    }
    Ok(())
}
