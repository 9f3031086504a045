//! Which volumes pods need: the desired state of world follows the pods of the node.

use std::collections::BTreeSet;

use super::{
    super::{
        access_mode::first,
        names,
        object::{AccessMode, CsiDriver, PersistentVolumeClaim, Pod, PodPhase, VolumeMode},
        store::Tables,
    },
    ActualStateOfWorld, DesiredPod, DesiredStateOfWorld, VolumeSpec,
};

/// Takes in the pods of a node; `containers` are the identities of pods whose containers run there.
pub(super) fn populate(
    desired: &mut DesiredStateOfWorld,
    actual: &ActualStateOfWorld,
    tables: &Tables,
    csi_driver: &CsiDriver,
    node: &str,
    containers: &BTreeSet<String>,
) {
    let pods: Vec<&Pod> = tables.pods.values().filter(|pod| pod.node_name == node).collect();
    for pod in &pods {
        if may_run(pod, containers) {
            add(desired, pod, csi_driver, tables);
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

fn add(desired: &mut DesiredStateOfWorld, pod: &Pod, csi_driver: &CsiDriver, tables: &Tables) {
    for volume in &pod.volumes {
        let claim = volume.claim().and_then(|claim| tables.claims.get(claim));
        if volume.claim().is_some() && !claim.is_some_and(is_usable) {
            continue;
        }
        let Some(spec) = VolumeSpec::of_pod(pod, volume, tables) else { continue };
        // The controller has done all of the expansion where it says so.
        let is_done =
            |claim: &PersistentVolumeClaim| claim.metadata.annotations.contains_key(names::NODE_EXPANSION_NOT_REQUIRED);
        let grows = claim.filter(|claim| !is_done(claim)).and_then(|claim| tables.volumes.get(&claim.volume_name));
        let size = grows.map_or(0, |volume| volume.capacity);
        let wanted = DesiredPod {
            name: pod.metadata.name.clone(),
            read_only: volume.read_only,
            fs_group: pod.fs_group,
            selinux_label: selinux_label(pod, &spec, csi_driver),
            spec,
        };
        desired.add(&pod.metadata.uid, wanted, size);
    }
}

/// Only volumes for a single pod are mounted with a label: the gate for all others is off.
fn selinux_label(pod: &Pod, spec: &VolumeSpec, csi_driver: &CsiDriver) -> Option<String> {
    let is_single = spec.access_modes.len() == 1 && first(&spec.access_modes) == AccessMode::ReadWriteOncePod;
    let applies = csi_driver.selinux_mount && is_single && spec.volume_mode == VolumeMode::Filesystem;
    pod.selinux_label.clone().filter(|_| applies)
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
    use crate::orchestrator::object::{InlineVolume, Metadata, PersistentVolume, PodVolume, VolumeSource};

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
        let wanted = PodVolume::of_claim("data", "c");
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

    fn driver() -> CsiDriver {
        CsiDriver::named("d")
    }

    const UNIQUE: &str = "kubernetes.io/csi/d^v";

    #[test]
    fn a_claim_used_twice_in_a_pod_is_one_volume_and_pods_of_other_nodes_do_not_count() {
        let mut desired = DesiredStateOfWorld::default();
        let actual = ActualStateOfWorld::default();
        populate(&mut desired, &actual, &tables(), &driver(), "another", &BTreeSet::new());
        assert!(desired.volumes.is_empty() && desired.is_complete);
        populate(&mut desired, &actual, &tables(), &driver(), "n", &BTreeSet::new());
        assert_eq!(desired.volumes[UNIQUE].pods.len(), 1);
    }

    #[test]
    fn a_pod_that_never_got_its_volume_wants_it_until_it_is_gone() {
        let mut desired = DesiredStateOfWorld::default();
        let mut actual = ActualStateOfWorld::default();
        let mut tables = tables();
        populate(&mut desired, &actual, &tables, &driver(), "n", &BTreeSet::new());
        tables.pods.get_mut("p").unwrap().metadata.deletion_timestamp = Some(1);
        populate(&mut desired, &actual, &tables, &driver(), "n", &BTreeSet::new());
        assert!(desired.wants(UNIQUE, "1"));
        let spec = desired.volumes[UNIQUE].pods["1"].spec.clone();
        actual.reconstructed(spec, "1");
        populate(&mut desired, &actual, &tables, &driver(), "n", &["1".to_owned()].into());
        assert!(desired.wants(UNIQUE, "1"), "its containers run");
        populate(&mut desired, &actual, &tables, &driver(), "n", &BTreeSet::new());
        assert!(!desired.wants(UNIQUE, "1"));
    }

    #[test]
    fn a_label_is_mounted_with_only_where_the_driver_wants_it_and_the_volume_is_for_a_single_pod() {
        let pod = Pod { selinux_label: Some("system_u:object_r:container_file_t:s0:c1,c2".into()), ..Pod::default() };
        let single = VolumeSpec { access_modes: vec![AccessMode::ReadWriteOncePod], ..VolumeSpec::default() };
        let shared = VolumeSpec { access_modes: vec![AccessMode::ReadWriteOnce], ..VolumeSpec::default() };
        let wants = CsiDriver { selinux_mount: true, ..driver() };
        assert_eq!(selinux_label(&pod, &single, &wants), pod.selinux_label);
        assert_eq!(selinux_label(&pod, &shared, &wants), None);
        assert_eq!(selinux_label(&pod, &single, &driver()), None);
    }

    #[test]
    fn an_inline_volume_needs_no_claim_and_has_a_handle_of_its_own() {
        let mut tables = tables();
        let inline = VolumeSource::Inline(InlineVolume { driver: "d".into(), ..InlineVolume::default() });
        let volume = PodVolume { name: "scratch".into(), source: inline, read_only: false };
        tables.pods.get_mut("p").unwrap().volumes = vec![volume];
        let mut desired = DesiredStateOfWorld::default();
        populate(&mut desired, &ActualStateOfWorld::default(), &tables, &driver(), "n", &BTreeSet::new());
        let (name, volume) = desired.volumes.first_key_value().unwrap();
        assert_eq!(name, "kubernetes.io/csi/1-scratch");
        // The digest of "1scratch".
        assert_eq!(volume.pods["1"].spec.handle, names::inline_handle("1", "scratch"));
        assert!(volume.pods["1"].spec.is_inline);
    }
}
