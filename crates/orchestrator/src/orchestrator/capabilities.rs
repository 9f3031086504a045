//! What a component learns of the driver before it begins: readiness, name, capabilities.

use std::collections::BTreeSet;

use tokio::time::sleep;

use super::{
    csi_client::{CsiClient, RpcError},
    timing::PROBE_PAUSE,
};
use crate::csi::v1::{
    self, controller_service_capability, controller_service_capability::rpc::Type as Controller,
    node_service_capability, plugin_capability, plugin_capability::service::Type as Plugin,
};

/// How the start of a component names itself in its troubles.
const START: &str = "start-up";

/// The capabilities that a sidecar keeps for its life.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Capabilities {
    plugin: BTreeSet<i32>,
    controller: BTreeSet<i32>,
    expands_in_use: bool,
}

impl Capabilities {
    /// Whether the plugin says that volumes in use can be expanded. Kubernetes never looks.
    pub(super) const fn expands_in_use(&self) -> bool {
        self.expands_in_use
    }

    pub(super) fn plugin(&self, capability: Plugin) -> bool {
        self.plugin.contains(&capability.into())
    }

    pub(super) fn controller(&self, capability: Controller) -> bool {
        self.plugin(Plugin::ControllerService) && self.controller.contains(&capability.into())
    }
}

/// Why a sidecar ended; its container is started again.
pub(super) type Exit = String;

/// Asks until the driver is ready; a refusal of another kind ends the sidecar.
pub(super) async fn probe(client: &CsiClient, limit: std::time::Duration) -> Result<(), Exit> {
    loop {
        match client.call(START, v1::ProbeRequest {}, limit).await {
            Ok(reply) if reply.ready.unwrap_or(true) => return Ok(()),
            Err(error) if !error.is_deadline() => return Err(error.to_string()),
            Ok(_) | Err(_) => sleep(client.context.timing.of(PROBE_PAUSE)).await,
        }
    }
}

/// The name; an empty one ends the sidecar.
pub(super) async fn driver_name(client: &CsiClient, limit: std::time::Duration) -> Result<String, Exit> {
    let reply = client.call(START, v1::GetPluginInfoRequest {}, limit).await.map_err(exit)?;
    match reply.name.is_empty() {
        true => Err("GetPluginInfo answers an empty name".to_owned()),
        false => Ok(reply.name),
    }
}

/// Plugin capabilities, and those of the controller where there is one.
pub(super) async fn of_plugin(client: &CsiClient, limit: std::time::Duration) -> Result<Capabilities, Exit> {
    let reply = client.call(START, v1::GetPluginCapabilitiesRequest {}, limit).await.map_err(exit)?;
    let service = |capability: v1::PluginCapability| match capability.r#type {
        Some(plugin_capability::Type::Service(service)) => Some(service.r#type),
        _ => None,
    };
    let is_online = |capability: &v1::PluginCapability| match &capability.r#type {
        Some(plugin_capability::Type::VolumeExpansion(expansion)) => {
            expansion.r#type == i32::from(plugin_capability::volume_expansion::Type::Online)
        }
        _ => false,
    };
    let expands_in_use = reply.capabilities.iter().any(is_online);
    let plugin = reply.capabilities.into_iter().filter_map(service).collect();
    let mut capabilities = Capabilities { plugin, controller: BTreeSet::new(), expands_in_use };
    if capabilities.plugin(Plugin::ControllerService) {
        capabilities.controller = controller(client, START, limit).await.map_err(exit)?;
    }
    Ok(capabilities)
}

/// The capabilities of the controller service, asked anew.
pub(super) async fn controller(
    client: &CsiClient,
    subject: &str,
    limit: std::time::Duration,
) -> Result<BTreeSet<i32>, RpcError> {
    let reply = client.call(subject, v1::ControllerGetCapabilitiesRequest {}, limit).await?;
    let rpc = |capability: v1::ControllerServiceCapability| {
        capability.r#type.map(|controller_service_capability::Type::Rpc(rpc)| rpc.r#type)
    };
    Ok(reply.capabilities.into_iter().filter_map(rpc).collect())
}

/// The capabilities of the node service, asked anew.
pub(super) async fn node(
    client: &CsiClient,
    subject: &str,
    limit: std::time::Duration,
) -> Result<BTreeSet<i32>, RpcError> {
    let reply = client.call(subject, v1::NodeGetCapabilitiesRequest {}, limit).await?;
    let rpc = |capability: v1::NodeServiceCapability| {
        capability.r#type.map(|node_service_capability::Type::Rpc(rpc)| rpc.r#type)
    };
    Ok(reply.capabilities.into_iter().filter_map(rpc).collect())
}

fn exit(error: RpcError) -> Exit {
    error.to_string()
}
