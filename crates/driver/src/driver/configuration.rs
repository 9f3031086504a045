//! What can be set: identity of the node, capabilities, topologies, sizes, limits.

use std::{collections::BTreeSet, time::Duration};

use thiserror::Error;

use super::{
    capability::{Capabilities, Capability},
    refusal::DEFAULT_DEADLINE,
    size::Sizes,
    topology::Topology,
};
use crate::{
    csi::v1::{controller_service_capability::rpc::Type as Controller, node_service_capability::rpc::Type as Node},
    mountpod::admission::SecondTarget,
};

/// The name of the plugin (specification lines 574–576).
pub const PLUGIN_NAME: &str = "csi-certify.reference";

/// The settings of the driver.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Configuration {
    /// The nodes that volumes can be attached to; the first is the one that this process serves. A node lies in the
    /// topology of its position, counted round.
    pub nodes: Vec<String>,
    /// The places where volumes can be, each with a pool of its own; the first is that of this process.
    pub topologies: Vec<Topology>,
    /// Capabilities that are neither advertised nor served.
    pub without: BTreeSet<Capability>,
    /// Whether volumes grow while they are published.
    pub expansion: Expansion,
    /// The bytes that each topology has to give.
    pub pool_capacity: u64,
    /// The sizes that volumes can have.
    pub sizes: Sizes,
    /// How many volumes can be attached to a node; zero for any number.
    pub max_volumes_per_node: u32,
    /// How long a mount pod outlives its last reference.
    pub delete_delay: Duration,
    /// What a second target of a single-node access mode gets on the same node.
    pub second_target: SecondTarget,
    /// How long a request may take when it brings no deadline.
    pub deadline: Duration,
}

/// Whether volumes grow while they are published.
#[derive(Clone, Copy, Debug, Eq, PartialEq, clap::ValueEnum)]
pub enum Expansion {
    /// They do.
    Online,
    /// Only while they are published nowhere.
    Offline,
}

/// The settings contradict each other.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[non_exhaustive]
pub enum BadConfiguration {
    /// There is no node.
    #[error("no node id is given: name at least this node")]
    NoNode,
    /// A node id is empty, too long, or there twice.
    #[error("node id {0:?} is empty, longer than 128 bytes or given twice: choose another")]
    BadNode(String),
    /// There is no topology.
    #[error("no topology is given: name at least one")]
    NoTopology,
    /// A topology is there twice.
    #[error("topology {0} is given twice: remove one")]
    TopologyTwice(Topology),
    /// No volume fits these sizes.
    #[error("no volume size lies between {minimum} and {maximum} in steps of {unit}: widen the sizes")]
    NoSize {
        /// The least size.
        minimum: u64,
        /// The greatest size.
        maximum: u64,
        /// The step.
        unit: u64,
    },
}

impl Default for Configuration {
    fn default() -> Self {
        Self {
            nodes: vec!["node-1".into(), "node-2".into(), "node-3".into()],
            topologies: vec![
                format!("{PLUGIN_NAME}/zone=zone-a").parse().expect("a domain, a name and a value are a topology"),
            ],
            without: BTreeSet::new(),
            expansion: Expansion::Online,
            pool_capacity: 10 << 40,
            sizes: Sizes { minimum: 1 << 20, maximum: 1 << 40, unit: 4096, default: 1 << 30 },
            max_volumes_per_node: 256,
            delete_delay: Duration::ZERO,
            second_target: SecondTarget::Refuse,
            deadline: DEFAULT_DEADLINE,
        }
    }
}

impl Configuration {
    /// Checks that the settings go together.
    pub fn check(&self) -> Result<(), BadConfiguration> {
        let mut nodes = BTreeSet::new();
        for node in &self.nodes {
            if node.is_empty() || node.len() > 128 || !nodes.insert(node) {
                return Err(BadConfiguration::BadNode(node.clone()));
            }
        }
        let mut topologies = BTreeSet::new();
        for topology in &self.topologies {
            if !topologies.insert(topology) {
                return Err(BadConfiguration::TopologyTwice(topology.clone()));
            }
        }
        let Sizes { minimum, maximum, unit, default } = self.sizes;
        let fits = unit > 0 && minimum > 0 && (minimum..=maximum).contains(&default) && default.is_multiple_of(unit);
        match () {
            () if self.nodes.is_empty() => Err(BadConfiguration::NoNode),
            () if self.topologies.is_empty() => Err(BadConfiguration::NoTopology),
            () if !fits => Err(BadConfiguration::NoSize { minimum, maximum, unit }),
            () => Ok(()),
        }
    }

    /// The node that this process serves.
    pub fn node_id(&self) -> &str {
        self.nodes.first().map_or("", String::as_str)
    }

    /// The topology of a node; `None` when there is no such node.
    pub fn topology_of(&self, node: &str) -> Option<&Topology> {
        let index = self.nodes.iter().position(|known| known == node)?;
        self.topologies.get(index % self.topologies.len().max(1))
    }

    /// What the driver offers under these settings.
    pub fn capabilities(&self) -> Capabilities {
        let offered = Capabilities::without(&self.without);
        // Where the controller grows nothing, the node does, which it can only while the volume is there.
        let alone = offered.node(Node::ExpandVolume) && !offered.controller(Controller::ExpandVolume);
        if self.expansion == Expansion::Offline && alone {
            let node = Capability::Node(Node::ExpandVolume);
            return Capabilities::without(&self.without.iter().copied().chain([node]).collect());
        }
        offered
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_is_sound() {
        assert_eq!(Configuration::default().check(), Ok(()));
    }

    #[test]
    fn nodes_are_spread_over_the_topologies() {
        let topologies = vec!["zone=a".parse().unwrap(), "zone=b".parse().unwrap()];
        let configuration = Configuration { topologies, ..Configuration::default() };
        assert_eq!(configuration.topology_of("node-2"), configuration.topologies.get(1));
        assert_eq!(configuration.topology_of("node-3"), configuration.topologies.first());
        assert_eq!(configuration.topology_of("node-4"), None);
    }

    #[test]
    fn settings_that_contradict_each_other_are_refused() {
        let twice = Configuration { nodes: vec!["a".into(), "a".into()], ..Configuration::default() };
        assert!(twice.check().is_err());
        let sizes = Sizes { minimum: 10, maximum: 5, unit: 1, default: 5 };
        assert!(Configuration { sizes, ..Configuration::default() }.check().is_err());
    }
}
