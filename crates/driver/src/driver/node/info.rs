//! NodeGetCapabilities and NodeGetInfo (specification lines 2719–2847).

use super::NodeService;
use crate::{
    csi::v1::{self, NodeServiceCapability as Advertised, node_service_capability as advertised},
    driver::capability::Plugin,
};

impl NodeService {
    pub(super) fn advertised(&self) -> v1::NodeGetCapabilitiesResponse {
        let advertise = |capability: advertised::rpc::Type| Advertised {
            r#type: Some(advertised::Type::Rpc(advertised::Rpc { r#type: capability.into() })),
        };
        let capabilities = self.state.capabilities.of_node().map(advertise).collect();
        v1::NodeGetCapabilitiesResponse { capabilities }
    }

    pub(super) fn info(&self) -> v1::NodeGetInfoResponse {
        let configuration = &self.state.configuration;
        let has_topology = self.state.capabilities.plugin(Plugin::VolumeAccessibilityConstraints);
        v1::NodeGetInfoResponse {
            node_id: configuration.node_id().to_owned(),
            max_volumes_per_node: configuration.max_volumes_per_node.into(),
            accessible_topology: configuration
                .topology_of(configuration.node_id())
                .filter(|_| has_topology)
                .map(Into::into),
        }
    }
}
