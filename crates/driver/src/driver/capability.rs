//! What the driver offers: capabilities of the plugin and its services, each of which can be left out.

use std::{collections::BTreeSet, fmt, str::FromStr};

use thiserror::Error;

use crate::csi::v1::{
    controller_service_capability::rpc::Type as Controller,
    group_controller_service_capability::rpc::Type as GroupController, node_service_capability::rpc::Type as Node,
};

/// One capability, named as in the specification with its service before it.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Capability {
    /// A capability of the plugin as a whole.
    Plugin(Plugin),
    /// An RPC type of the Controller service.
    Controller(Controller),
    /// An RPC type of the GroupController service.
    GroupController(GroupController),
    /// An RPC type of the Node service.
    Node(Node),
}

/// A capability of the plugin as a whole.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Plugin {
    /// The Controller service is there.
    ControllerService,
    /// Volumes are not reachable from everywhere.
    VolumeAccessibilityConstraints,
    /// Volumes grow, online or offline.
    VolumeExpansion,
    /// The GroupController service is there.
    GroupControllerService,
    /// The SnapshotMetadata service is there.
    SnapshotMetadataService,
}

impl Plugin {
    const ALL: [Self; 5] = [
        Self::ControllerService,
        Self::VolumeAccessibilityConstraints,
        Self::VolumeExpansion,
        Self::GroupControllerService,
        Self::SnapshotMetadataService,
    ];

    const fn as_str(self) -> &'static str {
        match self {
            Self::ControllerService => "CONTROLLER_SERVICE",
            Self::VolumeAccessibilityConstraints => "VOLUME_ACCESSIBILITY_CONSTRAINTS",
            Self::VolumeExpansion => "VOLUME_EXPANSION",
            Self::GroupControllerService => "GROUP_CONTROLLER_SERVICE",
            Self::SnapshotMetadataService => "SNAPSHOT_METADATA_SERVICE",
        }
    }
}

impl fmt::Display for Capability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Plugin(plugin) => write!(f, "Plugin.{}", plugin.as_str()),
            Self::Controller(controller) => write!(f, "Controller.{}", controller.as_str_name()),
            Self::GroupController(group) => write!(f, "GroupController.{}", group.as_str_name()),
            Self::Node(node) => write!(f, "Node.{}", node.as_str_name()),
        }
    }
}

/// The text names no capability of this driver.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[error("{given:?} is no capability of this driver: choose from {}", names())]
pub struct UnknownCapability {
    given: String,
}

impl FromStr for Capability {
    type Err = UnknownCapability;

    fn from_str(text: &str) -> Result<Self, UnknownCapability> {
        Self::all()
            .find(|capability| capability.to_string().eq_ignore_ascii_case(text))
            .ok_or_else(|| UnknownCapability { given: text.to_owned() })
    }
}

fn names() -> String {
    Capability::all().map(|capability| capability.to_string()).collect::<Vec<_>>().join(", ")
}

impl Capability {
    /// Every capability that the driver has.
    pub fn all() -> impl Iterator<Item = Self> {
        let plugin = Plugin::ALL.into_iter().map(Self::Plugin);
        plugin
            .chain(CONTROLLER.into_iter().map(Self::Controller))
            .chain(GROUP_CONTROLLER.into_iter().map(Self::GroupController))
            .chain(NODE.into_iter().map(Self::Node))
    }

    /// What this capability makes no sense without: each group needs one of its members.
    fn needs(self) -> Vec<Vec<Self>> {
        let plugin = |capability| vec![Self::Plugin(capability)];
        let controller = |capability| vec![Self::Controller(capability)];
        let volumes_are_shown =
            || vec![Self::Controller(Controller::ListVolumes), Self::Controller(Controller::GetVolume)];
        let mut needs = match self {
            Self::Plugin(Plugin::VolumeExpansion) => {
                vec![vec![Self::Controller(Controller::ExpandVolume), Self::Node(Node::ExpandVolume)]]
            }
            Self::Controller(Controller::ExpandVolume) => vec![plugin(Plugin::VolumeExpansion)],
            // Specification line 1839.
            Self::Controller(Controller::ListVolumesPublishedNodes) => {
                vec![controller(Controller::PublishUnpublishVolume), volumes_are_shown()]
            }
            Self::Controller(Controller::PublishReadonly) => vec![controller(Controller::PublishUnpublishVolume)],
            Self::Controller(Controller::CloneVolume) => vec![controller(Controller::CreateDeleteVolume)],
            Self::Controller(Controller::VolumeCondition) => vec![volumes_are_shown()],
            // Members are looked up one by one (specification line 2162).
            Self::GroupController(GroupController::CreateDeleteGetVolumeGroupSnapshot) => {
                vec![plugin(Plugin::GroupControllerService), controller(Controller::GetSnapshot)]
            }
            Self::Plugin(Plugin::SnapshotMetadataService) => vec![controller(Controller::CreateDeleteSnapshot)],
            Self::Node(Node::ExpandVolume) => vec![plugin(Plugin::VolumeExpansion)],
            _ => vec![],
        };
        if matches!(self, Self::Controller(_)) {
            needs.push(plugin(Plugin::ControllerService));
        }
        needs
    }
}

/// The capabilities that are offered: what was asked for, less what would make no sense alone.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Capabilities(BTreeSet<Capability>);

impl Capabilities {
    /// Everything but these, and but what depends on these.
    pub fn without(left_out: &BTreeSet<Capability>) -> Self {
        let mut offered: BTreeSet<Capability> = Capability::all().filter(|it| !left_out.contains(it)).collect();
        // Each round removes something or ends the loop.
        loop {
            let next: BTreeSet<Capability> = offered.iter().copied().filter(|it| is_coherent(*it, &offered)).collect();
            if next == offered {
                return Self(offered);
            }
            offered = next;
        }
    }

    /// Whether the plugin has this capability.
    pub fn plugin(&self, capability: Plugin) -> bool {
        self.0.contains(&Capability::Plugin(capability))
    }

    /// Whether the controller has this capability.
    pub fn controller(&self, capability: Controller) -> bool {
        self.0.contains(&Capability::Controller(capability))
    }

    /// Whether the group controller has this capability.
    pub fn group_controller(&self, capability: GroupController) -> bool {
        self.0.contains(&Capability::GroupController(capability))
    }

    /// Whether the node has this capability.
    pub fn node(&self, capability: Node) -> bool {
        self.0.contains(&Capability::Node(capability))
    }

    /// The controller's capabilities.
    pub fn of_controller(&self) -> impl Iterator<Item = Controller> {
        CONTROLLER.into_iter().filter(|&capability| self.controller(capability))
    }

    /// The group controller's capabilities.
    pub fn of_group_controller(&self) -> impl Iterator<Item = GroupController> {
        GROUP_CONTROLLER.into_iter().filter(|&capability| self.group_controller(capability))
    }

    /// The node's capabilities.
    pub fn of_node(&self) -> impl Iterator<Item = Node> {
        NODE.into_iter().filter(|&capability| self.node(capability))
    }
}

fn is_coherent(capability: Capability, offered: &BTreeSet<Capability>) -> bool {
    let met = capability.needs().iter().all(|any| any.iter().any(|needed| offered.contains(needed)));
    // Where both services are there, they must agree on the newer access modes.
    let twin = match capability {
        Capability::Node(Node::SingleNodeMultiWriter)
            if offered.contains(&Capability::Plugin(Plugin::ControllerService)) =>
        {
            offered.contains(&Capability::Controller(Controller::SingleNodeMultiWriter))
        }
        Capability::Controller(Controller::SingleNodeMultiWriter) => {
            offered.contains(&Capability::Node(Node::SingleNodeMultiWriter))
        }
        _ => true,
    };
    met && twin
}

const CONTROLLER: [Controller; 15] = [
    Controller::CreateDeleteVolume,
    Controller::PublishUnpublishVolume,
    Controller::ListVolumes,
    Controller::GetCapacity,
    Controller::CreateDeleteSnapshot,
    Controller::ListSnapshots,
    Controller::CloneVolume,
    Controller::PublishReadonly,
    Controller::ExpandVolume,
    Controller::ListVolumesPublishedNodes,
    Controller::VolumeCondition,
    Controller::GetVolume,
    Controller::SingleNodeMultiWriter,
    Controller::ModifyVolume,
    Controller::GetSnapshot,
];

const GROUP_CONTROLLER: [GroupController; 1] = [GroupController::CreateDeleteGetVolumeGroupSnapshot];

const NODE: [Node; 6] = [
    Node::StageUnstageVolume,
    Node::GetVolumeStats,
    Node::ExpandVolume,
    Node::VolumeCondition,
    Node::SingleNodeMultiWriter,
    Node::VolumeMountGroup,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_read_back() {
        for capability in Capability::all() {
            assert_eq!(capability.to_string().parse(), Ok(capability));
        }
        assert!("Node.NONSENSE".parse::<Capability>().is_err());
    }

    #[test]
    fn any_single_omission_leaves_a_coherent_set() {
        for omitted in Capability::all() {
            let Capabilities(offered) = Capabilities::without(&BTreeSet::from([omitted]));
            assert!(!offered.contains(&omitted));
            for &capability in &offered {
                assert!(is_coherent(capability, &offered), "{capability} without {omitted}");
            }
        }
    }

    #[test]
    fn published_nodes_go_with_controller_publish() {
        let publish = Capability::Controller(Controller::PublishUnpublishVolume);
        let capabilities = Capabilities::without(&BTreeSet::from([publish]));
        assert!(!capabilities.controller(Controller::ListVolumesPublishedNodes));
        assert!(!capabilities.controller(Controller::PublishReadonly));
        assert!(capabilities.controller(Controller::ListVolumes));
    }
}
