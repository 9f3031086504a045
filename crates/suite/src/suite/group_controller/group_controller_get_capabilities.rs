//! GroupControllerGetCapabilities: the answer does not change, and what it lists is served.

use super::groups::GROUP_SNAPSHOT;
use crate::{
    csi::v1,
    history::Request,
    spec::Rpc,
    suite::{Bench, Stopped, scenario::scenarios},
};

scenarios! { "group_controller_get_capabilities":
    the_answer_does_not_change, "asks three times", ["Plugin.GROUP_CONTROLLER_SERVICE"],
        ["GROUP-CAPS-001", "GROUP-CAPS-004", "IDENT-CAPS-012", "CTRL-SNAPGET-003"];
    what_is_listed_is_served, "sends an empty request to each RPC of group snapshots", [GROUP_SNAPSHOT],
        ["GROUP-CAPS-003", "GROUP-CREATE-001", "GROUP-DELETE-001", "GROUP-GET-002"];
}

async fn the_answer_does_not_change(bench: &Bench) -> Result<(), Stopped> {
    for _ in 0..3 {
        bench.provoke(v1::GroupControllerGetCapabilitiesRequest {}).await;
    }
    Ok(())
}

async fn what_is_listed_is_served(bench: &Bench) -> Result<(), Stopped> {
    for rpc in [Rpc::CreateVolumeGroupSnapshot, Rpc::DeleteVolumeGroupSnapshot, Rpc::GetVolumeGroupSnapshot] {
        bench.provoke(Request::empty(rpc)).await;
    }
    Ok(())
}
