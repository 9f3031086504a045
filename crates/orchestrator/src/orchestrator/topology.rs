//! Where a new volume is asked to be: requisite and preferred topologies.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    names,
    object::{self, Node, PersistentVolumeClaim},
};
use crate::csi::v1;

/// The requirement of a claim; `None` while no node has the driver.
///
/// Requisite are all segments of all nodes. Preferred is the same list, beginning with the selected node's segment, or
/// with one that the claim's name decides, so that claims spread.
pub(super) fn requirement(nodes: &[Node], claim: &PersistentVolumeClaim) -> Option<v1::TopologyRequirement> {
    let segment =
        |node: &Node| node.registration.as_ref().map(|one| one.topology.clone()).filter(|one| !one.is_empty());
    let requisite: BTreeSet<BTreeMap<String, String>> = nodes.iter().filter_map(segment).collect();
    let mut preferred: Vec<_> = requisite.iter().collect();
    let length = preferred.len();
    let first = match claim.metadata.annotations.get(names::SELECTED_NODE) {
        Some(selected) => {
            let node = nodes.iter().find(|node| node.metadata.name == *selected)?;
            let selected = segment(node)?;
            preferred.iter().position(|one| **one == selected)?
        }
        None => spread(&claim.metadata.name).checked_rem(length)?,
    };
    preferred.rotate_left(first);
    Some(v1::TopologyRequirement {
        preferred: preferred.into_iter().map(object::topology).collect(),
        requisite: requisite.iter().map(object::topology).collect(),
    })
}

/// A number for a claim: replicas of one set get numbers in a row.
fn spread(name: &str) -> usize {
    let (base, replica) = match name.rsplit_once('-') {
        Some((base, number)) => number.parse::<u32>().map_or((name, 0), |number| (base, number)),
        None => (name, 0),
    };
    let hash = base.bytes().fold(0x811c_9dc5_u32, |hash, byte| hash.wrapping_mul(0x0100_0193) ^ u32::from(byte));
    hash.wrapping_add(replica) as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::orchestrator::object::{Metadata, Registration};

    fn node(name: &str, zone: &str) -> Node {
        let topology = BTreeMap::from([("zone".to_owned(), zone.to_owned())]);
        let registration = Some(Registration { node_id: name.into(), topology, limit: 0 });
        Node { metadata: Metadata::named(name), registration, ..Node::default() }
    }

    #[test]
    fn the_selected_nodes_segment_is_preferred() {
        let nodes = [node("n1", "a"), node("n2", "b"), node("n3", "b")];
        let mut claim = PersistentVolumeClaim::default();
        claim.metadata.annotations.insert(names::SELECTED_NODE.into(), "n3".into());
        let requirement = requirement(&nodes, &claim).unwrap();
        let zones = |list: &[v1::Topology]| list.iter().map(|one| one.segments["zone"].clone()).collect::<Vec<_>>();
        assert_eq!(zones(&requirement.requisite), ["a", "b"]);
        assert_eq!(zones(&requirement.preferred), ["b", "a"]);
    }

    #[test]
    fn replicas_of_a_set_spread_and_nothing_is_asked_before_a_node_is_there() {
        let nodes = [node("n1", "a"), node("n2", "b")];
        let first = |name: &str| {
            let claim = PersistentVolumeClaim { metadata: Metadata::named(name), ..Default::default() };
            requirement(&nodes, &claim).unwrap().preferred[0].segments["zone"].clone()
        };
        assert_ne!(first("data-0"), first("data-1"));
        assert_eq!(requirement(&[], &PersistentVolumeClaim::default()), None);
    }
}
