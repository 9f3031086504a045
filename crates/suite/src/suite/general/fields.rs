//! Fields of a later version of the interface, which an older driver passes over.

use crate::{
    csi::v1,
    history::Request,
    spec::Service,
    suite::{Bench, Stopped, group_controller::groups, scenario::scenarios},
};

scenarios! { "fields":
    that_nobody_knows_yet, "adds a field of a later version to a call of each service", [],
        ["GEN-OVER-001", "GEN-ERR-001"];
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
