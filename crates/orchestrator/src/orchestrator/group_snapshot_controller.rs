//! The part of the snapshot controller for groups: one content for a group, and a snapshot with its content for each member.

use super::{
    context::Context,
    names,
    object::{
        Metadata, PersistentVolumeClaim, VolumeGroupSnapshot, VolumeGroupSnapshotContent, VolumeSnapshot,
        VolumeSnapshotContent,
    },
    store::{Store, Tables},
};

/// One look at all groups.
pub(super) fn pass(context: &Context) {
    let store = &context.store;
    for group in store.list::<VolumeGroupSnapshot>() {
        // Objects that vanish meanwhile are met in the next pass.
        match store.read(|tables| step(&group, &context.csi_driver.name, tables)) {
            Step::Nothing => {}
            Step::Create(content) => create(store, &group, *content),
            Step::Update(content) => update(store, &group, &content),
            Step::DeleteMembers(members) => members.iter().for_each(|name| store.delete::<VolumeSnapshot>(name)),
            Step::DeleteContent(content) => store.delete::<VolumeGroupSnapshotContent>(&content),
            Step::Release => {
                let release = |group: &mut VolumeGroupSnapshot| {
                    group.metadata.finalizers.remove(names::SNAPSHOT_PROTECTION);
                };
                let _ = store.modify(&group.metadata.name, release);
            }
        }
    }
}

/// What is to be done for a group.
#[derive(Clone, Debug, PartialEq)]
enum Step {
    Nothing,
    /// Make this content.
    Create(Box<VolumeGroupSnapshotContent>),
    /// Take over what the content says, and make what its members lack.
    Update(Box<VolumeGroupSnapshotContent>),
    /// The snapshots of the members have to go first.
    DeleteMembers(Vec<String>),
    /// Then the content.
    DeleteContent(String),
    /// Nothing holds it.
    Release,
}

/// The name of the snapshot of a member.
fn member(group: &VolumeGroupSnapshot, number: usize) -> String {
    format!("{}-{}", group.metadata.name, number + 1)
}

fn step(group: &VolumeGroupSnapshot, driver: &str, tables: &Tables) -> Step {
    let metadata = &group.metadata;
    let name = names::group_snapshot_content(&metadata.uid);
    let content = tables.group_snapshot_contents.get(&name);
    if metadata.is_deleting() {
        let members = content.map_or(0, |content| content.members.len());
        let left = (0..members).map(|number| member(group, number)).filter(|name| tables.snapshots.contains_key(name));
        let left: Vec<String> = left.collect();
        return match content {
            Some(_) if !left.is_empty() => Step::DeleteMembers(left),
            Some(content) if content.metadata.is_deleting() => Step::Nothing,
            Some(_) => Step::DeleteContent(name),
            None => Step::Release,
        };
    }
    if let Some(content) = content {
        return Step::Update(Box::new(content.clone()));
    }
    let is_meant = |claim: &&PersistentVolumeClaim| {
        group.selector.iter().all(|(key, value)| claim.metadata.labels.get(key) == Some(value))
    };
    let handle = |claim: &PersistentVolumeClaim| {
        let volume = tables.volumes.get(&claim.volume_name).filter(|_| claim.is_bound)?;
        Some(volume.handle.clone())
    };
    let handles: Option<Vec<String>> = tables.claims.values().filter(is_meant).map(handle).collect();
    // All that are meant have to be there.
    let Some(source_handles) = handles.filter(|handles| !handles.is_empty()) else { return Step::Nothing };
    let mut metadata = Metadata::named(name);
    metadata.finalizers.insert(names::CONTENT_PROTECTION.to_owned());
    Step::Create(Box::new(VolumeGroupSnapshotContent {
        metadata,
        driver: driver.to_owned(),
        group_snapshot: group.metadata.name.clone(),
        group_snapshot_uid: group.metadata.uid.clone(),
        source_handles,
        ..VolumeGroupSnapshotContent::default()
    }))
}

fn create(store: &Store, group: &VolumeGroupSnapshot, content: VolumeGroupSnapshotContent) {
    let name = content.metadata.name.clone();
    let bind = |group: &mut VolumeGroupSnapshot| {
        group.content = name;
        group.metadata.finalizers.insert(names::SNAPSHOT_PROTECTION.to_owned());
    };
    if store.modify(&group.metadata.name, bind).is_ok() {
        let _ = store.create(content);
    }
}

fn update(store: &Store, group: &VolumeGroupSnapshot, content: &VolumeGroupSnapshotContent) {
    for (number, (source_handle, handle)) in content.members.iter().enumerate() {
        let name = member(group, number);
        let content_name = format!("{}-{}", content.metadata.name, number + 1);
        let mut metadata = Metadata::named(&content_name);
        metadata.finalizers.insert(names::CONTENT_PROTECTION.to_owned());
        // What is there already stays as it is.
        let _ = store.create(VolumeSnapshotContent {
            metadata,
            driver: content.driver.clone(),
            source_handle: source_handle.clone(),
            handle: handle.clone(),
            group: content.handle.clone(),
            ..VolumeSnapshotContent::default()
        });
        let metadata = Metadata::named(name);
        let _ = store.create(VolumeSnapshot { metadata, content: content_name, ..VolumeSnapshot::default() });
    }
    let update = |group: &mut VolumeGroupSnapshot| {
        group.is_ready = content.is_ready;
        group.error.clone_from(&content.error);
    };
    let _ = store.modify(&group.metadata.name, update);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::orchestrator::object::PersistentVolume;

    #[test]
    fn a_group_waits_for_all_its_claims_and_goes_after_its_members() {
        let mut group = VolumeGroupSnapshot {
            metadata: Metadata { uid: "u".into(), ..Metadata::named("g") },
            selector: [("app".to_owned(), "db".to_owned())].into(),
            ..VolumeGroupSnapshot::default()
        };
        let mut tables = Tables::default();
        assert_eq!(step(&group, "d", &tables), Step::Nothing, "nothing is meant");
        let claim = |name: &str, app: &str, is_bound| {
            let mut claim = PersistentVolumeClaim { volume_name: name.into(), is_bound, ..Default::default() };
            claim.metadata.labels.insert("app".into(), app.into());
            (name.to_owned(), claim)
        };
        tables.claims.extend([claim("a", "db", true), claim("b", "db", false), claim("c", "web", true)]);
        for name in ["a", "b", "c"] {
            tables.volumes.insert(name.into(), PersistentVolume { handle: name.into(), ..Default::default() });
        }
        assert_eq!(step(&group, "d", &tables), Step::Nothing, "one is not bound");
        tables.claims.extend([claim("b", "db", true)]);
        let Step::Create(content) = step(&group, "d", &tables) else { panic!("no content") };
        assert_eq!(content.source_handles, ["a", "b"]);
        let name = content.metadata.name.clone();
        let members = vec![("a".to_owned(), "s1".to_owned()), ("b".to_owned(), "s2".to_owned())];
        tables.group_snapshot_contents.insert(name.clone(), VolumeGroupSnapshotContent { members, ..*content });
        group.metadata.deletion_timestamp = Some(1);
        tables.snapshots.insert("g-2".into(), VolumeSnapshot::default());
        assert_eq!(step(&group, "d", &tables), Step::DeleteMembers(vec!["g-2".into()]));
        tables.snapshots.clear();
        assert_eq!(step(&group, "d", &tables), Step::DeleteContent(name.clone()));
        tables.group_snapshot_contents.clear();
        assert_eq!(step(&group, "d", &tables), Step::Release);
    }
}
