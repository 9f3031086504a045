//! The snapshot controller: contents for snapshots, and their protection while they are cut or restored. It makes no calls.

use std::{collections::BTreeMap, convert::Infallible};

use super::{
    context::Context,
    group_snapshot_controller, names,
    object::{
        DataSource, Metadata, PersistentVolumeClaim, ReclaimPolicy, VolumeSnapshot, VolumeSnapshotClass,
        VolumeSnapshotContent,
    },
    store::{Store, Tables},
};

/// Runs it.
pub(super) async fn run(context: Context) -> Infallible {
    let mut watch = context.store.watch();
    loop {
        for snapshot in context.store.list::<VolumeSnapshot>() {
            reconcile(&context, &snapshot);
        }
        group_snapshot_controller::pass(&context);
        release_sources(&context.store);
        if watch.changes().is_empty() {
            watch.changed().await;
        }
    }
}

/// What is to be done for a snapshot.
#[derive(Clone, Debug, PartialEq)]
enum Step {
    Nothing,
    /// Protect the claim, and make this content.
    Create(Box<VolumeSnapshotContent>),
    /// Take over what the content says.
    Update(Box<VolumeSnapshotContent>),
    /// The content has to go first.
    DeleteContent,
    /// Nothing holds it.
    Release,
}

/// The content of a snapshot: one that was named, or the one that is made for it.
fn content_name(snapshot: &VolumeSnapshot) -> String {
    match snapshot.content.is_empty() {
        true => names::snapshot_content(&snapshot.metadata.uid),
        false => snapshot.content.clone(),
    }
}

fn step(snapshot: &VolumeSnapshot, driver: &str, tables: &Tables) -> Step {
    let metadata = &snapshot.metadata;
    let content = tables.snapshot_contents.get(&content_name(snapshot));
    if metadata.is_deleting() {
        let is_source = DataSource::Snapshot(metadata.name.clone());
        let is_restored = metadata.finalizers.contains(names::RESTORE_PROTECTION)
            || tables.claims.values().any(|one| !one.is_bound && one.data_source.as_ref() == Some(&is_source));
        return match content {
            Some(_) if is_restored => Step::Nothing,
            Some(content) if content.metadata.is_deleting() => Step::Nothing,
            // It stays, and so does the driver's snapshot.
            Some(content) if content.deletion_policy == ReclaimPolicy::Retain => Step::Release,
            Some(_) => Step::DeleteContent,
            None => Step::Release,
        };
    }
    if let Some(content) = content {
        return Step::Update(Box::new(content.clone()));
    }
    let claim = tables.claims.get(&snapshot.claim).filter(|claim| claim.is_bound && !claim.metadata.is_deleting());
    let Some(volume) = claim.and_then(|claim| tables.volumes.get(&claim.volume_name)) else { return Step::Nothing };
    let class = tables.snapshot_classes.get(&snapshot.class);
    if !snapshot.class.is_empty() && class.is_none() {
        return Step::Nothing;
    }
    let mut content = Metadata::named(names::snapshot_content(&metadata.uid));
    content.finalizers.insert(names::CONTENT_PROTECTION.to_owned());
    Step::Create(Box::new(VolumeSnapshotContent {
        metadata: content,
        driver: driver.to_owned(),
        snapshot: metadata.name.clone(),
        snapshot_uid: metadata.uid.clone(),
        source_handle: volume.handle.clone(),
        parameters: class.map(parameters).unwrap_or_default(),
        deletion_policy: class.map(|class| class.deletion_policy).unwrap_or_default(),
        ..VolumeSnapshotContent::default()
    }))
}

/// Class parameters as the driver sees them: without the reserved keys.
fn parameters(class: &VolumeSnapshotClass) -> BTreeMap<String, String> {
    let mut parameters = class.parameters.clone();
    parameters.retain(|key, _| !key.starts_with(names::RESERVED_PREFIX));
    parameters
}

fn reconcile(context: &Context, snapshot: &VolumeSnapshot) {
    let (store, driver) = (&context.store, context.csi_driver.name.as_str());
    let name = &snapshot.metadata.name;
    // Objects that vanish meanwhile are met in the next pass.
    match store.read(|tables| step(snapshot, driver, tables)) {
        Step::Nothing => {}
        Step::Create(content) => {
            let protect = |claim: &mut PersistentVolumeClaim| {
                claim.metadata.finalizers.insert(names::SNAPSHOT_SOURCE_PROTECTION.to_owned());
            };
            let _ = store.modify(&snapshot.claim, protect);
            let content_name = content.metadata.name.clone();
            let bind = |snapshot: &mut VolumeSnapshot| {
                snapshot.content = content_name;
                snapshot.metadata.finalizers.insert(names::SNAPSHOT_PROTECTION.to_owned());
            };
            let mut content = *content;
            if snapshot.class.is_empty() {
                content.parameters.clone_from(&context.profile.snapshot_parameters);
            }
            if store.modify(name, bind).is_ok() {
                let _ = store.create(content);
            }
        }
        Step::Update(content) => {
            if content.snapshot_uid.is_empty() {
                // It was there first, and is this snapshot's from now on.
                let uid = snapshot.metadata.uid.clone();
                let bind = |content: &mut VolumeSnapshotContent| {
                    name.clone_into(&mut content.snapshot);
                    content.snapshot_uid = uid;
                };
                let _ = store.modify(&content.metadata.name, bind);
            }
            let update = |snapshot: &mut VolumeSnapshot| {
                snapshot.metadata.finalizers.insert(names::SNAPSHOT_PROTECTION.to_owned());
                snapshot.content = content.metadata.name;
                snapshot.is_ready = content.is_ready;
                snapshot.restore_size = content.size;
                snapshot.error = content.error;
            };
            let _ = store.modify(name, update);
        }
        Step::DeleteContent => {
            let content = content_name(snapshot);
            let mark = |content: &mut VolumeSnapshotContent| {
                let annotations = &mut content.metadata.annotations;
                annotations.insert(names::SNAPSHOT_BEING_DELETED.to_owned(), "yes".to_owned());
            };
            let _ = store.modify(&content, mark);
            store.delete::<VolumeSnapshotContent>(&content);
        }
        Step::Release => {
            let release = |snapshot: &mut VolumeSnapshot| {
                snapshot.metadata.finalizers.remove(names::SNAPSHOT_PROTECTION);
            };
            let _ = store.modify(name, release);
        }
    }
}

/// Lets go of claims that are not being cut any more.
fn release_sources(store: &Store) {
    for claim in store.list::<PersistentVolumeClaim>() {
        let name = &claim.metadata.name;
        let is_being_cut = store.read(|tables| {
            tables.snapshots.values().any(|snapshot| {
                let content = tables.snapshot_contents.get(&names::snapshot_content(&snapshot.metadata.uid));
                snapshot.claim == *name && content.is_some_and(|content| !content.is_ready)
            })
        });
        if claim.metadata.finalizers.contains(names::SNAPSHOT_SOURCE_PROTECTION) && !is_being_cut {
            let release = |claim: &mut PersistentVolumeClaim| {
                claim.metadata.finalizers.remove(names::SNAPSHOT_SOURCE_PROTECTION);
            };
            let _ = store.modify(name, release);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::orchestrator::object::PersistentVolume;

    #[test]
    fn a_snapshot_waits_for_its_claim_and_its_content_for_pending_restores() {
        let mut tables = Tables::default();
        let mut snapshot = VolumeSnapshot {
            metadata: Metadata { uid: "u".into(), ..Metadata::named("s") },
            claim: "c".into(),
            ..VolumeSnapshot::default()
        };
        assert_eq!(step(&snapshot, "d", &tables), Step::Nothing);
        let bound = PersistentVolumeClaim { volume_name: "pv".into(), is_bound: true, ..Default::default() };
        tables.claims.insert("c".into(), bound);
        tables.volumes.insert("pv".into(), PersistentVolume { handle: "v".into(), ..Default::default() });
        let Step::Create(content) = step(&snapshot, "d", &tables) else { panic!("no content") };
        assert_eq!((content.source_handle.as_str(), content.metadata.name.as_str()), ("v", "snapcontent-u"));
        tables.snapshot_contents.insert(content.metadata.name.clone(), *content);
        snapshot.metadata.deletion_timestamp = Some(1);
        let restore = Some(DataSource::Snapshot("s".into()));
        tables.claims.insert("r".into(), PersistentVolumeClaim { data_source: restore, ..Default::default() });
        assert_eq!(step(&snapshot, "d", &tables), Step::Nothing);
        tables.claims.remove("r");
        assert_eq!(step(&snapshot, "d", &tables), Step::DeleteContent);
        tables.snapshot_contents.clear();
        assert_eq!(step(&snapshot, "d", &tables), Step::Release);
    }

    #[test]
    fn a_content_that_was_there_first_is_taken_over_and_stays_where_its_policy_says_so() {
        let content = VolumeSnapshotContent {
            metadata: Metadata::named("old"),
            handle: "h".into(),
            deletion_policy: ReclaimPolicy::Retain,
            ..VolumeSnapshotContent::default()
        };
        let tables = Tables { snapshot_contents: [("old".to_owned(), content)].into(), ..Tables::default() };
        let mut snapshot =
            VolumeSnapshot { metadata: Metadata::named("s"), content: "old".into(), ..VolumeSnapshot::default() };
        assert!(matches!(step(&snapshot, "d", &tables), Step::Update(content) if content.handle == "h"));
        snapshot.metadata.deletion_timestamp = Some(1);
        assert_eq!(step(&snapshot, "d", &tables), Step::Release);
    }
}
