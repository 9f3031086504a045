//! Which volumes pods need: the desired state of world follows the pods of the node.

use std::collections::BTreeSet;

use super::{
    super::{
        names,
        object::{PersistentVolumeClaim, Pod, PodPhase},
        store::Tables,
    },
    ActualStateOfWorld, DesiredPod, DesiredStateOfWorld, VolumeSpec,
};

/// Takes in the pods of a node; `containers` are the identities of pods whose containers run there.
pub(super) fn populate(
    desired: &mut DesiredStateOfWorld,
    actual: &ActualStateOfWorld,
    tables: &Tables,
    node: &str,
    containers: &BTreeSet<String>,
) {
    let pods: Vec<&Pod> = tables.pods.values().filter(|pod| pod.node_name == node).collect();
    for pod in &pods {
        if may_run(pod, containers) {
            add(desired, pod, tables);
        }
    }
    remove(desired, actual, &pods, containers);
    desired.is_complete = true;
}

/// Whether containers of the pod run, or may still be started.
pub(super) fn may_run(pod: &Pod, containers: &BTreeSet<String>) -> bool {
    let ends = pod.metadata.is_deleting() || pod.phase == PodPhase::Succeeded;
    !ends || containers.contains(&pod.metadata.uid)
}

fn add(desired: &mut DesiredStateOfWorld, pod: &Pod, tables: &Tables) {
    for volume in &pod.volumes {
        let Some(claim) = tables.claims.get(&volume.claim).filter(|claim| is_usable(claim)) else { continue };
        let Some(object) = tables.volumes.get(&claim.volume_name) else { continue };
        let spec = VolumeSpec::of(object, &claim.metadata.name);
        // The controller has done all of the expansion where it says so.
        let is_done = claim.metadata.annotations.contains_key(names::NODE_EXPANSION_NOT_REQUIRED);
        let size = if is_done { 0 } else { object.capacity };
        let wanted = DesiredPod { name: pod.metadata.name.clone(), spec, read_only: volume.read_only };
        desired.add(&pod.metadata.uid, wanted, size);
    }
}

fn is_usable(claim: &PersistentVolumeClaim) -> bool {
    let is_let_go = claim.metadata.is_deleting() && !claim.metadata.finalizers.contains(names::CLAIM_PROTECTION);
    claim.is_bound && !is_let_go
}

/// A volume goes when the pod's containers are gone, and either it is mounted, so that unmounting can begin, or the pod
/// itself is gone: a pod on its way out that never got its volume is tried for until then.
fn remove(
    desired: &mut DesiredStateOfWorld,
    actual: &ActualStateOfWorld,
    pods: &[&Pod],
    containers: &BTreeSet<String>,
) {
    let mut gone = Vec::new();
    for (name, volume) in &desired.volumes {
        for uid in volume.pods.keys().filter(|uid| !containers.contains(*uid)) {
            let is_over = match pods.iter().find(|pod| pod.metadata.uid == *uid) {
                None => true,
                Some(pod) => !may_run(pod, containers) && actual.has(name, uid),
            };
            if is_over {
                gone.push((name.clone(), uid.clone()));
            }
        }
    }
    for (volume, pod) in gone {
        desired.remove(&volume, &pod);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::orchestrator::object::{Metadata, PersistentVolume, PodVolume};

    fn tables() -> Tables {
        let volume = PersistentVolume {
            metadata: Metadata::named("pv"),
            driver: "d".into(),
            handle: "v".into(),
            ..PersistentVolume::default()
        };
        let claim = PersistentVolumeClaim {
            metadata: Metadata::named("c"),
            volume_name: "pv".into(),
            is_bound: true,
            ..PersistentVolumeClaim::default()
        };
        let wanted = PodVolume { name: "data".into(), claim: "c".into(), read_only: false };
        let pod = Pod {
            metadata: Metadata { uid: "1".into(), ..Metadata::named("p") },
            node_name: "n".into(),
            volumes: vec![wanted.clone(), PodVolume { name: "again".into(), ..wanted }],
            ..Pod::default()
        };
        Tables {
            claims: [("c".to_owned(), claim)].into(),
            volumes: [("pv".to_owned(), volume)].into(),
            pods: [("p".to_owned(), pod)].into(),
            ..Tables::default()
        }
    }

    const UNIQUE: &str = "kubernetes.io/csi/d^v";

    #[test]
    fn a_claim_used_twice_in_a_pod_is_one_volume_and_pods_of_other_nodes_do_not_count() {
        let mut desired = DesiredStateOfWorld::default();
        let actual = ActualStateOfWorld::default();
        populate(&mut desired, &actual, &tables(), "another", &BTreeSet::new());
        assert!(desired.volumes.is_empty() && desired.is_complete);
        populate(&mut desired, &actual, &tables(), "n", &BTreeSet::new());
        assert_eq!(desired.volumes[UNIQUE].pods.len(), 1);
    }

    #[test]
    fn a_pod_that_never_got_its_volume_wants_it_until_it_is_gone() {
        let mut desired = DesiredStateOfWorld::default();
        let mut actual = ActualStateOfWorld::default();
        let mut tables = tables();
        populate(&mut desired, &actual, &tables, "n", &BTreeSet::new());
        tables.pods.get_mut("p").unwrap().metadata.deletion_timestamp = Some(1);
        populate(&mut desired, &actual, &tables, "n", &BTreeSet::new());
        assert!(desired.wants(UNIQUE, "1"));
        let spec = desired.volumes[UNIQUE].pods["1"].spec.clone();
        actual.reconstructed(spec, "1");
        populate(&mut desired, &actual, &tables, "n", &["1".to_owned()].into());
        assert!(desired.wants(UNIQUE, "1"), "its containers run");
        populate(&mut desired, &actual, &tables, "n", &BTreeSet::new());
        assert!(!desired.wants(UNIQUE, "1"));
    }
}
