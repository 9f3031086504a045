//! The PV controller: binds claims and volumes, asks provisioners, and lets go of what nobody uses. It makes no calls.

use std::convert::Infallible;

use super::{
    access_mode,
    context::Context,
    names,
    object::{
        BindingMode, ClaimReference, PersistentVolume, PersistentVolumeClaim, Pod, PodPhase, StorageClass, VolumePhase,
    },
    store::{Store, Tables},
};

/// Runs it.
pub(super) async fn run(context: Context) -> Infallible {
    let mut watch = context.store.watch();
    loop {
        pass(&context.store);
        // What the pass wrote may allow more.
        if watch.changes().is_empty() {
            watch.changed().await;
        }
    }
}

fn pass(store: &Store) {
    for claim in store.list::<PersistentVolumeClaim>() {
        let name = &claim.metadata.name;
        // Objects that change or vanish meanwhile are met again in the next pass.
        match store.read(|tables| next_for_claim(&claim, tables)) {
            ClaimStep::Nothing => {}
            ClaimStep::Release => {
                let release = |claim: &mut PersistentVolumeClaim| {
                    claim.metadata.finalizers.remove(names::CLAIM_PROTECTION);
                };
                let _ = store.modify(name, release);
            }
            ClaimStep::AskProvisioner(provisioner) => {
                let ask = |claim: &mut PersistentVolumeClaim| {
                    for key in [names::STORAGE_PROVISIONER, names::STORAGE_PROVISIONER_BETA] {
                        claim.metadata.annotations.insert(key.to_owned(), provisioner.clone());
                    }
                };
                let _ = store.modify(name, ask);
            }
            ClaimStep::Bind(volume) => bind(store, &claim, &volume),
        }
    }
    for volume in store.list::<PersistentVolume>() {
        let (is_orphan, is_free) = store.read(|tables| {
            let claim = volume.claim.as_ref();
            let is_orphan = claim.is_some_and(|claim| !exists(claim, tables)) && volume.phase != VolumePhase::Released;
            (is_orphan, volume.metadata.is_deleting() && volume.phase != VolumePhase::Bound)
        });
        let change = |volume: &mut PersistentVolume| {
            if is_orphan {
                volume.phase = VolumePhase::Released;
            }
            if is_free {
                volume.metadata.finalizers.remove(names::VOLUME_PROTECTION);
            }
        };
        let _ = store.modify(&volume.metadata.name, change);
    }
}

/// What is to be done for a claim.
#[derive(Clone, Debug, Eq, PartialEq)]
enum ClaimStep {
    Nothing,
    /// It is being deleted and nobody uses it.
    Release,
    AskProvisioner(String),
    /// To the volume of this name.
    Bind(String),
}

fn next_for_claim(claim: &PersistentVolumeClaim, tables: &Tables) -> ClaimStep {
    let name = &claim.metadata.name;
    if claim.metadata.is_deleting() && claim.metadata.finalizers.contains(names::CLAIM_PROTECTION) {
        let is_used = tables.pods.values().any(|pod| uses(pod, name));
        return if is_used { ClaimStep::Nothing } else { ClaimStep::Release };
    }
    if claim.is_bound || claim.metadata.is_deleting() {
        return ClaimStep::Nothing;
    }
    let is_its = |volume: &&PersistentVolume| {
        volume.claim.as_ref().is_some_and(|owner| owner.name == *name && owner.uid == claim.metadata.uid)
    };
    let fitting = || tables.volumes.values().find(|volume| fits(claim, volume));
    if let Some(volume) = tables.volumes.values().find(is_its).or_else(fitting) {
        return ClaimStep::Bind(volume.metadata.name.clone());
    }
    let Some(class) = tables.storage_classes.get(&claim.storage_class) else { return ClaimStep::Nothing };
    match claim.metadata.annotations.contains_key(names::STORAGE_PROVISIONER) || !may_provision(claim, class) {
        true => ClaimStep::Nothing,
        false => ClaimStep::AskProvisioner(class.provisioner.clone()),
    }
}

fn may_provision(claim: &PersistentVolumeClaim, class: &StorageClass) -> bool {
    claim.volume_name.is_empty()
        && (class.binding_mode == BindingMode::Immediate
            || claim.metadata.annotations.contains_key(names::SELECTED_NODE))
}

/// Whether a volume that nobody has is what the claim wants.
fn fits(claim: &PersistentVolumeClaim, volume: &PersistentVolume) -> bool {
    let is_free = volume.claim.is_none() && volume.phase == VolumePhase::Available && !volume.metadata.is_deleting();
    let is_named = claim.volume_name.is_empty() || claim.volume_name == volume.metadata.name;
    is_free
        && is_named
        && claim.data_source.is_none()
        && volume.storage_class == claim.storage_class
        && volume.capacity >= claim.request
        && volume.volume_mode == claim.volume_mode
        && claim.access_modes.iter().all(|mode| volume.access_modes.contains(mode))
        && access_mode::combined(&volume.access_modes).is_some()
}

fn bind(store: &Store, claim: &PersistentVolumeClaim, volume: &str) {
    let owner = ClaimReference { name: claim.metadata.name.clone(), uid: claim.metadata.uid.clone() };
    let (mut capacity, mut attributes_class) = (0, String::new());
    let bind_volume = |volume: &mut PersistentVolume| {
        volume.claim = Some(owner);
        volume.phase = VolumePhase::Bound;
        capacity = volume.capacity;
        attributes_class.clone_from(&volume.attributes_class);
    };
    if store.modify(volume, bind_volume).is_err() {
        return;
    }
    let bind_claim = |claim: &mut PersistentVolumeClaim| {
        claim.volume_name = volume.to_owned();
        claim.is_bound = true;
        claim.capacity = capacity;
        claim.current_attributes_class = attributes_class;
        claim.metadata.annotations.insert(names::BIND_COMPLETED.to_owned(), "yes".to_owned());
    };
    let _ = store.modify(&claim.metadata.name, bind_claim);
}

fn exists(claim: &ClaimReference, tables: &Tables) -> bool {
    tables.claims.get(&claim.name).is_some_and(|one| one.metadata.uid == claim.uid)
}

/// Whether a pod keeps a claim from being deleted.
pub(super) fn uses(pod: &Pod, claim: &str) -> bool {
    let has_ended = pod.phase == PodPhase::Succeeded && !pod.containers_run;
    !has_ended && pod.has_claim(claim)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::orchestrator::object::{AccessMode, Metadata, PodVolume};

    fn tables() -> Tables {
        let class = StorageClass { metadata: Metadata::named("fast"), provisioner: "d".into(), ..Default::default() };
        Tables { storage_classes: [("fast".to_owned(), class)].into(), ..Tables::default() }
    }

    fn claim() -> PersistentVolumeClaim {
        PersistentVolumeClaim {
            metadata: Metadata { uid: "u".into(), ..Metadata::named("c") },
            storage_class: "fast".into(),
            access_modes: vec![AccessMode::ReadWriteOnce],
            request: 10,
            ..Default::default()
        }
    }

    fn volume(claim: Option<&str>) -> PersistentVolume {
        PersistentVolume {
            metadata: Metadata::named("v"),
            storage_class: "fast".into(),
            access_modes: vec![AccessMode::ReadWriteOnce],
            capacity: 10,
            claim: claim.map(|uid| ClaimReference { name: "c".into(), uid: uid.into() }),
            ..Default::default()
        }
    }

    #[test]
    fn a_static_volume_is_preferred_to_a_new_one() {
        let mut tables = tables();
        assert_eq!(next_for_claim(&claim(), &tables), ClaimStep::AskProvisioner("d".into()));
        tables.volumes.insert("v".into(), volume(None));
        assert_eq!(next_for_claim(&claim(), &tables), ClaimStep::Bind("v".into()));
    }

    #[test]
    fn a_volume_of_a_former_claim_of_the_same_name_is_not_bound() {
        let mut tables = tables();
        tables.volumes.insert("v".into(), volume(Some("former")));
        assert_eq!(next_for_claim(&claim(), &tables), ClaimStep::AskProvisioner("d".into()));
        tables.volumes.insert("v".into(), volume(Some("u")));
        assert_eq!(next_for_claim(&claim(), &tables), ClaimStep::Bind("v".into()));
    }

    #[test]
    fn a_late_binding_class_waits_for_the_scheduler() {
        let mut tables = tables();
        if let Some(class) = tables.storage_classes.get_mut("fast") {
            class.binding_mode = BindingMode::WaitForFirstConsumer;
        }
        assert_eq!(next_for_claim(&claim(), &tables), ClaimStep::Nothing);
        let mut claim = claim();
        claim.metadata.annotations.insert(names::SELECTED_NODE.into(), "n".into());
        assert_eq!(next_for_claim(&claim, &tables), ClaimStep::AskProvisioner("d".into()));
    }

    #[test]
    fn a_deleted_claim_stays_while_a_pod_uses_it() {
        let mut tables = tables();
        let mut claim = claim();
        claim.metadata.deletion_timestamp = Some(1);
        claim.metadata.finalizers.insert(names::CLAIM_PROTECTION.into());
        let volume = PodVolume::of_claim("data", "c");
        tables.pods.insert("p".into(), Pod { volumes: vec![volume], ..Pod::default() });
        assert_eq!(next_for_claim(&claim, &tables), ClaimStep::Nothing);
        tables.pods.clear();
        assert_eq!(next_for_claim(&claim, &tables), ClaimStep::Release);
    }
}
