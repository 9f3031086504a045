//! What a history tells of the plugin as a whole: who it is, what it advertises, which nodes it has.
//!
//! It is gathered before anything is judged, so that the verdict does not depend on which scenario asked first.

use std::collections::{BTreeMap, BTreeSet};

use super::{DriverInfo, capability::Capability, operation::Operation, ruling::Answer};
use crate::{
    csi::v1::{self, controller_service_capability, node_service_capability, plugin_capability},
    history::{Reply, Request, descriptors},
    spec::Rpc,
};

/// What a plugin is told of a volume in words of its own.
type Parameters = BTreeMap<String, String>;

/// What is known of the plugin.
#[derive(Clone, Debug, Default)]
pub(crate) struct Knowledge {
    /// Name, version, capabilities.
    pub(crate) driver: DriverInfo,
    /// The services whose capabilities some answer listed.
    told: BTreeSet<&'static str>,
    /// Node ids that exist: from NodeGetInfo and from lists.
    pub(crate) node_ids: BTreeSet<String>,
    /// By node id, the limit that NodeGetInfo gives; zero means that the orchestrator decides.
    pub(crate) max_volumes: BTreeMap<String, i64>,
    /// The topologies of the nodes.
    pub(crate) topologies: Vec<BTreeMap<String, String>>,
    /// Capabilities that some call showed to be supported.
    pub(crate) supported: BTreeSet<Capability>,
    /// Capabilities that were refused whenever they stood alone.
    pub(crate) unsupported: BTreeSet<Capability>,
    /// The greatest volume that GetCapacity speaks of.
    pub(crate) maximum_volume_size: Option<i64>,
    /// The smallest volume that GetCapacity speaks of.
    pub(crate) minimum_volume_size: Option<i64>,
    /// Parameter maps with which a volume was created.
    pub(crate) accepted_parameters: BTreeSet<Parameters>,
    /// The same, each with the mutable parameters beside it.
    pub(crate) accepted_together: BTreeSet<(Parameters, Parameters)>,
}

/// What is being gathered: calls end in another order than they begin, and the order of their beginnings counts.
#[derive(Debug, Default)]
pub(crate) struct Gathering {
    knowledge: Knowledge,
    /// Capabilities that were refused where they stood alone.
    refused: BTreeSet<Capability>,
    /// Where the call began that told the driver's name.
    introduced: usize,
    /// Where the calls began that told the limits of nodes.
    limited: BTreeMap<String, usize>,
}

impl Gathering {
    /// A call has ended.
    pub(crate) fn note(&mut self, operation: &Operation) {
        match operation.answer() {
            Some(Answer::Ok(reply)) => self.learn(operation, reply),
            Some(Answer::Status(status)) if status.code == tonic::Code::InvalidArgument as i32 => {
                if let Request::CreateVolume(request) = operation.request()
                    && let [only] = &*request.volume_capabilities
                    && !request.name.is_empty()
                    && request.volume_content_source.is_none()
                    && request.accessibility_requirements.is_none()
                {
                    self.refused.insert(Capability::from(only));
                }
            }
            _ => {}
        }
    }

    /// What is known in the end.
    pub(crate) fn close(self) -> Knowledge {
        let mut knowledge = self.knowledge;
        knowledge.unsupported =
            self.refused.into_iter().filter(|capability| !knowledge.supported.contains(capability)).collect();
        knowledge
    }

    fn learn(&mut self, operation: &Operation, reply: &Reply) {
        match reply {
            Reply::GetPluginInfo(info) => {
                let driver = &mut self.knowledge.driver;
                let is_first = operation.started < self.introduced;
                let tells_more = match info.name.is_empty() {
                    true => driver.name.is_empty() && !is_first,
                    false => driver.name.is_empty() || is_first,
                };
                if tells_more {
                    driver.name.clone_from(&info.name);
                    driver.vendor_version.clone_from(&info.vendor_version);
                    self.introduced = operation.started;
                }
            }
            Reply::NodeGetInfo(info) => {
                let limited = self.limited.entry(info.node_id.clone()).or_default();
                if *limited <= operation.started {
                    *limited = operation.started;
                    self.knowledge.max_volumes.insert(info.node_id.clone(), info.max_volumes_per_node);
                }
            }
            _ => {}
        }
        self.knowledge.learn(operation, reply);
    }
}

impl Knowledge {
    /// Whether the history tells if the plugin advertises the capability.
    pub(crate) fn told(&self, capability: &str) -> bool {
        capability.split('.').next().is_some_and(|service| self.told.contains(service))
    }

    /// Whether the plugin advertises the capability, e.g. `Node.EXPAND_VOLUME`.
    pub(crate) fn has(&self, capability: &str) -> bool {
        self.driver.capabilities.has(capability)
    }

    fn learn(&mut self, operation: &Operation, reply: &Reply) {
        self.told.extend(match reply {
            Reply::GetPluginCapabilities(_) => Some("Plugin"),
            Reply::ControllerGetCapabilities(_) => Some("Controller"),
            Reply::NodeGetCapabilities(_) => Some("Node"),
            Reply::GroupControllerGetCapabilities(_) => Some("GroupController"),
            _ => None,
        });
        match (operation.request(), reply) {
            (_, Reply::NodeGetInfo(info)) => {
                self.node_ids.insert(info.node_id.clone());
                if let Some(topology) = &info.accessible_topology
                    && !topology.segments.is_empty()
                    && !self.topologies.contains(&topology.segments)
                {
                    self.topologies.push(topology.segments.clone());
                }
            }
            (_, Reply::GetCapacity(capacity)) => {
                if let Some(size) = capacity.maximum_volume_size {
                    self.maximum_volume_size = Some(self.maximum_volume_size.map_or(size, |known| known.max(size)));
                }
                if let Some(size) = capacity.minimum_volume_size {
                    self.minimum_volume_size = Some(self.minimum_volume_size.map_or(size, |known| known.min(size)));
                }
            }
            (Request::CreateVolume(request), Reply::CreateVolume(_)) => {
                if let [only] = &*request.volume_capabilities {
                    self.supported.insert(Capability::from(only));
                }
                self.accepted_parameters.insert(request.parameters.clone());
                self.accepted_together.insert((request.parameters.clone(), request.mutable_parameters.clone()));
            }
            (Request::ValidateVolumeCapabilities(_), Reply::ValidateVolumeCapabilities(validated)) => {
                if let Some(confirmed) = &validated.confirmed {
                    self.supported.extend(confirmed.volume_capabilities.iter().map(Capability::from));
                }
            }
            (Request::ControllerPublishVolume(request), Reply::ControllerPublishVolume(_)) => {
                self.node_ids.insert(request.node_id.clone());
            }
            (_, Reply::ListVolumes(list)) => {
                let statuses = list.entries.iter().filter_map(|entry| entry.status.as_ref());
                self.node_ids.extend(statuses.flat_map(|status| status.published_node_ids.iter().cloned()));
            }
            (_, Reply::ControllerGetVolume(volume)) => {
                let nodes = volume.status.iter().flat_map(|status| status.published_node_ids.iter().cloned());
                self.node_ids.extend(nodes);
            }
            _ => self.driver.capabilities.extend(advertised(reply)),
        }
    }
}

/// What a reply advertises, as `Service.NAME`; nothing for replies that are not about capabilities.
pub(crate) fn advertised(reply: &Reply) -> Vec<String> {
    match reply {
        Reply::GetPluginCapabilities(list) => list.capabilities.iter().filter_map(plugin_capability).collect(),
        Reply::ControllerGetCapabilities(list) => list
            .capabilities
            .iter()
            .filter_map(|capability| {
                capability.r#type.as_ref().map(|controller_service_capability::Type::Rpc(rpc)| rpc.r#type)
            })
            .map(|number| named("Controller", "csi.v1.ControllerServiceCapability.RPC.Type", number))
            .collect(),
        Reply::GroupControllerGetCapabilities(list) => list
            .capabilities
            .iter()
            .filter_map(|capability| {
                capability.r#type.as_ref().map(|v1::group_controller_service_capability::Type::Rpc(rpc)| rpc.r#type)
            })
            .map(|number| named("GroupController", "csi.v1.GroupControllerServiceCapability.RPC.Type", number))
            .collect(),
        Reply::NodeGetCapabilities(list) => list
            .capabilities
            .iter()
            .filter_map(|capability| {
                capability.r#type.as_ref().map(|node_service_capability::Type::Rpc(rpc)| rpc.r#type)
            })
            .map(|number| named("Node", "csi.v1.NodeServiceCapability.RPC.Type", number))
            .collect(),
        _ => Vec::new(),
    }
}

/// Whether the RPC tells capabilities.
pub(crate) const fn tells_capabilities(rpc: Rpc) -> bool {
    matches!(
        rpc,
        Rpc::GetPluginCapabilities
            | Rpc::ControllerGetCapabilities
            | Rpc::GroupControllerGetCapabilities
            | Rpc::NodeGetCapabilities
    )
}

fn plugin_capability(capability: &v1::PluginCapability) -> Option<String> {
    Some(match capability.r#type.as_ref()? {
        plugin_capability::Type::Service(service) => {
            named("Plugin", "csi.v1.PluginCapability.Service.Type", service.r#type)
        }
        plugin_capability::Type::VolumeExpansion(expansion) => {
            named("VolumeExpansion", "csi.v1.PluginCapability.VolumeExpansion.Type", expansion.r#type)
        }
    })
}

fn named(kind: &str, enumeration: &str, number: i32) -> String {
    let value = descriptors().get_enum_by_name(enumeration).and_then(|values| values.get_value(number));
    match value {
        Some(value) => format!("{kind}.{}", value.name()),
        None => format!("{kind}.{number}"),
    }
}
