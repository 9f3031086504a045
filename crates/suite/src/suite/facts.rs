//! What the run has learnt of the driver before the first scenario: capabilities, its node, what volumes it makes.

use std::collections::BTreeMap;

use crate::{
    csi::v1::{
        self, VolumeCapability,
        controller_service_capability::{self, rpc},
        group_controller_service_capability, node_service_capability,
        plugin_capability::{self, service, volume_expansion},
        volume_capability::{AccessMode, AccessType as Kind, BlockVolume, MountVolume, access_mode::Mode},
    },
    spec::Capabilities,
    sut::AccessType,
};

/// What is known of the driver.
#[derive(Clone, Debug, Default)]
pub(crate) struct Facts {
    /// What it advertises.
    pub(crate) capabilities: Capabilities,
    /// The id of its node; empty where there is none.
    pub(crate) node_id: String,
    /// How many volumes the node takes; 0 where it does not say.
    pub(crate) max_volumes: i64,
    /// The segments of the node's topology; empty where it has none.
    pub(crate) topology: BTreeMap<String, String>,
    /// Capabilities that it makes volumes for, the plainest first.
    pub(crate) supported: Vec<VolumeCapability>,
    /// Capabilities that it refuses.
    pub(crate) unsupported: Vec<VolumeCapability>,
}

impl Facts {
    /// Notes the capabilities of the plugin as a whole.
    pub(crate) fn learn_plugin(&mut self, reply: &v1::GetPluginCapabilitiesResponse) {
        for capability in &reply.capabilities {
            match &capability.r#type {
                Some(plugin_capability::Type::Service(it)) => {
                    self.learn("Plugin", it.r#type, service::Type::try_from(it.r#type).map(|it| it.as_str_name()));
                }
                Some(plugin_capability::Type::VolumeExpansion(it)) => {
                    let name = volume_expansion::Type::try_from(it.r#type).map(|it| it.as_str_name());
                    self.learn("VolumeExpansion", it.r#type, name);
                }
                None => {}
            }
        }
    }

    /// Notes the capabilities of the Controller service.
    pub(crate) fn learn_controller(&mut self, reply: &v1::ControllerGetCapabilitiesResponse) {
        for capability in &reply.capabilities {
            if let Some(controller_service_capability::Type::Rpc(it)) = &capability.r#type {
                self.learn("Controller", it.r#type, rpc::Type::try_from(it.r#type).map(|it| it.as_str_name()));
            }
        }
    }

    /// Notes the capabilities of the GroupController service.
    pub(crate) fn learn_group_controller(&mut self, reply: &v1::GroupControllerGetCapabilitiesResponse) {
        for capability in &reply.capabilities {
            if let Some(group_controller_service_capability::Type::Rpc(it)) = &capability.r#type {
                let name = group_controller_service_capability::rpc::Type::try_from(it.r#type);
                self.learn("GroupController", it.r#type, name.map(|it| it.as_str_name()));
            }
        }
    }

    /// Notes the capabilities of the Node service.
    pub(crate) fn learn_node(&mut self, reply: &v1::NodeGetCapabilitiesResponse) {
        for capability in &reply.capabilities {
            if let Some(node_service_capability::Type::Rpc(it)) = &capability.r#type {
                let name = node_service_capability::rpc::Type::try_from(it.r#type).map(|it| it.as_str_name());
                self.learn("Node", it.r#type, name);
            }
        }
    }

    /// Notes the node.
    pub(crate) fn learn_node_info(&mut self, reply: v1::NodeGetInfoResponse) {
        self.node_id = reply.node_id;
        self.max_volumes = reply.max_volumes_per_node;
        self.topology = reply.accessible_topology.map(|topology| topology.segments).unwrap_or_default();
    }

    /// Whether the driver advertises it.
    pub(crate) fn has(&self, capability: &str) -> bool {
        self.capabilities.has(capability)
    }

    fn learn<E>(&mut self, kind: &str, number: i32, name: Result<&str, E>) {
        match name {
            Ok(name) => self.capabilities.insert(format!("{kind}.{name}")),
            Err(_) => self.capabilities.insert(format!("{kind}.{number}")),
        }
    }
}

/// A volume capability of that access type and mode, and nothing else asked for.
pub(super) fn capability(access_type: AccessType, mode: Mode, fs_type: &str) -> VolumeCapability {
    let kind = match access_type {
        AccessType::Mount => Kind::Mount(MountVolume { fs_type: fs_type.to_owned(), ..Default::default() }),
        AccessType::Block => Kind::Block(BlockVolume {}),
    };
    VolumeCapability { access_mode: Some(AccessMode { mode: mode.into() }), access_type: Some(kind) }
}

/// The access type that a capability asks for.
pub(super) fn access_type(capability: &VolumeCapability) -> Option<AccessType> {
    match capability.access_type {
        Some(Kind::Mount(_)) => Some(AccessType::Mount),
        Some(Kind::Block(_)) => Some(AccessType::Block),
        None => None,
    }
}

/// The access mode that a capability asks for.
pub(super) fn mode(capability: &VolumeCapability) -> Mode {
    capability.access_mode.as_ref().map_or(Mode::Unknown, AccessMode::mode)
}

/// Whether the mode is one of a single node; UNKNOWN is none.
pub(super) fn is_multi_node(mode: Mode) -> bool {
    matches!(mode, Mode::MultiNodeReaderOnly | Mode::MultiNodeSingleWriter | Mode::MultiNodeMultiWriter)
}

/// Whether the mode lets a workload write.
pub(super) fn may_write(mode: Mode) -> bool {
    !matches!(mode, Mode::SingleNodeReaderOnly | Mode::MultiNodeReaderOnly)
}
