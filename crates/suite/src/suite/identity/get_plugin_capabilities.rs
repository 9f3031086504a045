//! GetPluginCapabilities: the plugin as a whole advertises one set of services.

use crate::{
    csi::v1,
    suite::{Bench, Stopped, scenario::scenarios},
};

scenarios! { "get_plugin_capabilities":
    every_instance_advertises_the_same, "asks every process of the driver for the plugin's capabilities, twice", [], [
        "IDENT-CAPS-001", "IDENT-CAPS-003", "IDENT-CAPS-005", "IDENT-CAPS-014", "IDENT-CAPS-018", "IDENT-CAPS-019",
        "GEN-RPC-006", "GEN-RPC-007", "PROTO-CONN-003",
    ];
    advertised_services_answer, "asks each advertised service for its own capabilities", [], [
        "IDENT-CAPS-008", "IDENT-CAPS-012", "PROTO-CONN-004", "PROTO-CONN-008", "GEN-RPC-001", "GEN-RPC-002",
        "GEN-RPC-008", "CTRL-CAPS-001", "NODE-CAPS-001", "NODE-CAPS-010", "CTRL-CAPS-009", "CTRL-CAPS-018",
    ];
}

async fn every_instance_advertises_the_same(bench: &Bench) -> Result<(), Stopped> {
    for instance in bench.run.driver.instances() {
        for _ in 0..2 {
            bench.exchange_on(&instance, v1::GetPluginCapabilitiesRequest {}).await;
        }
    }
    Ok(())
}

async fn advertised_services_answer(bench: &Bench) -> Result<(), Stopped> {
    if bench.has_controller_endpoint() && bench.has("Plugin.CONTROLLER_SERVICE") {
        bench.provoke(v1::ControllerGetCapabilitiesRequest {}).await;
        // An empty request suffices to see that somebody handles it.
        bench.provoke(v1::ValidateVolumeCapabilitiesRequest::default()).await;
    }
    if bench.has_controller_endpoint() && bench.has("Plugin.GROUP_CONTROLLER_SERVICE") {
        bench.provoke(v1::GroupControllerGetCapabilitiesRequest {}).await;
    }
    if bench.has_controller_endpoint() && bench.has("Plugin.SNAPSHOT_METADATA_SERVICE") {
        bench.provoke(v1::GetMetadataAllocatedRequest::default()).await;
        bench.provoke(v1::GetMetadataDeltaRequest::default()).await;
    }
    bench.provoke(v1::NodeGetCapabilitiesRequest {}).await;
    Ok(())
}
