//! The scheduler, as far as volumes matter to it: a node for each pod, and the node that a late-binding claim waits for.

use std::convert::Infallible;

use super::{
    access_mode,
    context::Context,
    dice::Dice,
    names,
    object::{AccessMode, BindingMode, Node, PersistentVolumeClaim, Pod, PodVolume},
    pv_controller::uses,
    store::{Store, Tables},
};

/// Runs it.
pub(super) async fn run(context: Context, dice: Dice) -> Infallible {
    let mut watch = context.store.watch();
    loop {
        for pod in context.store.list::<Pod>() {
            place(&context.store, &pod, &dice);
        }
        if watch.changes().is_empty() {
            watch.changed().await;
        }
    }
}

/// What can be done for a pod.
#[derive(Clone, Debug, Eq, PartialEq)]
enum Placement {
    /// Something is missing.
    Wait,
    /// These claims wait for one of these nodes to be chosen.
    Select { claims: Vec<String>, nodes: Vec<String> },
    /// It can run on one of these nodes.
    Bind { nodes: Vec<String> },
}

fn place(store: &Store, pod: &Pod, dice: &Dice) {
    match store.read(|tables| placement(pod, tables)) {
        Placement::Wait => {}
        Placement::Select { claims, nodes } => {
            let Some(node) = dice.pick(&nodes) else { return };
            for claim in claims {
                let select = |claim: &mut PersistentVolumeClaim| {
                    claim.metadata.annotations.entry(names::SELECTED_NODE.to_owned()).or_insert_with(|| node.clone());
                };
                // A claim that is gone is met in the next pass.
                let _ = store.modify(&claim, select);
            }
        }
        Placement::Bind { nodes } => {
            let Some(node) = dice.pick(&nodes) else { return };
            let bind = |pod: &mut Pod| {
                pod.node_name = node.clone();
                pod.metadata.finalizers.insert(names::POD_GRACE.to_owned());
            };
            let _ = store.modify(&pod.metadata.name, bind);
        }
    }
}

fn placement(pod: &Pod, tables: &Tables) -> Placement {
    if !pod.node_name.is_empty() || pod.metadata.is_deleting() {
        return Placement::Wait;
    }
    let wanted: Vec<&str> = pod.volumes.iter().filter_map(PodVolume::claim).collect();
    let claims: Vec<_> = wanted.iter().filter_map(|claim| tables.claims.get(*claim)).collect();
    if claims.len() != wanted.len() || claims.iter().any(|claim| claim.metadata.is_deleting()) {
        return Placement::Wait;
    }
    if claims.iter().any(|claim| is_taken(pod, claim, tables)) {
        return Placement::Wait;
    }
    let nodes: Vec<String> =
        tables.nodes.values().filter(|node| can_run(pod, node, &claims, tables)).map(name).collect();
    let unbound: Vec<_> = claims.iter().filter(|claim| !claim.is_bound).collect();
    let is_late = |claim: &PersistentVolumeClaim| {
        let class = tables.storage_classes.get(&claim.storage_class);
        class.is_some_and(|class| class.binding_mode == BindingMode::WaitForFirstConsumer)
    };
    if nodes.is_empty() || unbound.iter().any(|claim| !is_late(claim)) {
        return Placement::Wait;
    }
    let unselected: Vec<String> = unbound
        .iter()
        .filter(|claim| !claim.metadata.annotations.contains_key(names::SELECTED_NODE))
        .map(|claim| claim.metadata.name.clone())
        .collect();
    match () {
        () if !unselected.is_empty() => Placement::Select { claims: unselected, nodes },
        () if !unbound.is_empty() => Placement::Wait,
        () => Placement::Bind { nodes },
    }
}

/// Whether another pod has a claim that only one may have.
fn is_taken(pod: &Pod, claim: &PersistentVolumeClaim, tables: &Tables) -> bool {
    access_mode::first(&claim.access_modes) == AccessMode::ReadWriteOncePod
        && tables.pods.values().any(|other| {
            other.metadata.uid != pod.metadata.uid && !other.node_name.is_empty() && uses(other, &claim.metadata.name)
        })
}

fn can_run(pod: &Pod, node: &Node, claims: &[&PersistentVolumeClaim], tables: &Tables) -> bool {
    let Some(registration) = &node.registration else { return false };
    let is_allowed = pod.allowed_nodes.is_empty() || pod.allowed_nodes.contains(&node.metadata.name);
    let reaches = |claim: &&PersistentVolumeClaim| {
        let selected = claim.metadata.annotations.get(names::SELECTED_NODE);
        match tables.volumes.get(&claim.volume_name) {
            Some(volume) => volume.is_reachable_from(node),
            None => selected.is_none_or(|selected| *selected == node.metadata.name),
        }
    };
    let has_room = registration.limit == 0 || (node.volumes_attached.len() as i64) < registration.limit;
    is_allowed
        && node.is_ready
        && !node.is_out_of_service
        && !node.metadata.is_deleting()
        && has_room
        && claims.iter().all(reaches)
}

fn name(node: &Node) -> String {
    node.metadata.name.clone()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::orchestrator::object::{Metadata, Registration, StorageClass};

    fn world(binding_mode: BindingMode, access: AccessMode) -> (Pod, Tables) {
        let class = StorageClass { metadata: Metadata::named("s"), binding_mode, ..Default::default() };
        let claim = PersistentVolumeClaim {
            metadata: Metadata::named("c"),
            storage_class: "s".into(),
            access_modes: vec![access],
            ..Default::default()
        };
        let node = Node {
            metadata: Metadata::named("n"),
            is_ready: true,
            registration: Some(Registration::default()),
            ..Node::default()
        };
        let volume = PodVolume::of_claim("data", "c");
        let pod = Pod {
            metadata: Metadata { uid: "1".into(), ..Metadata::named("p") },
            volumes: vec![volume],
            ..Pod::default()
        };
        let tables = Tables {
            storage_classes: [("s".to_owned(), class)].into(),
            claims: [("c".to_owned(), claim)].into(),
            nodes: [("n".to_owned(), node)].into(),
            pods: [("p".to_owned(), pod.clone())].into(),
            ..Tables::default()
        };
        (pod, tables)
    }

    #[test]
    fn a_late_binding_claim_gets_its_node_before_the_pod_does() {
        let (pod, mut tables) = world(BindingMode::WaitForFirstConsumer, AccessMode::ReadWriteOnce);
        let select = Placement::Select { claims: vec!["c".into()], nodes: vec!["n".into()] };
        assert_eq!(placement(&pod, &tables), select);
        tables.claims.get_mut("c").unwrap().metadata.annotations.insert(names::SELECTED_NODE.into(), "n".into());
        assert_eq!(placement(&pod, &tables), Placement::Wait);
        tables.claims.get_mut("c").unwrap().is_bound = true;
        assert_eq!(placement(&pod, &tables), Placement::Bind { nodes: vec!["n".into()] });
    }

    #[test]
    fn a_pod_waits_for_its_claims_and_for_the_only_place_of_a_single_pod_volume() {
        let (pod, mut tables) = world(BindingMode::Immediate, AccessMode::ReadWriteOncePod);
        assert_eq!(placement(&pod, &tables), Placement::Wait);
        tables.claims.get_mut("c").unwrap().is_bound = true;
        assert_eq!(placement(&pod, &tables), Placement::Bind { nodes: vec!["n".into()] });
        let mut other = pod.clone();
        other.metadata.uid = "2".into();
        other.node_name = "n".into();
        tables.pods.insert("q".into(), other);
        assert_eq!(placement(&pod, &tables), Placement::Wait);
    }
}
