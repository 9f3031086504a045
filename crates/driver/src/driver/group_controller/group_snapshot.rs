//! CreateVolumeGroupSnapshot, DeleteVolumeGroupSnapshot and GetVolumeGroupSnapshot (specification lines 2980–3186).
//!
//! A group and its members are written in one commit each time, so they are always equally far.

use std::collections::{BTreeMap, BTreeSet};

use super::GroupControllerService;
use crate::{
    csi::v1,
    driver::{
        Refusal,
        assembly::State,
        content::Cut,
        controller::{has_room, no_room, snapshot_message},
        field,
        lock::{Hold, Object},
        parameters,
        record::{GroupSnapshot, Progress, Snapshot, Volume},
        store::Change,
        topology::Topology,
    },
    mountpod::VolumeId,
};

/// A group with its members.
struct Whole {
    group: GroupSnapshot,
    members: Vec<Snapshot>,
}

impl GroupControllerService {
    pub(super) async fn create(
        &self,
        request: &v1::CreateVolumeGroupSnapshotRequest,
    ) -> Result<v1::CreateVolumeGroupSnapshotResponse, Refusal> {
        let name = field::name("name", &request.name)?;
        if request.source_volume_ids.is_empty() {
            return Err(Refusal::Missing("source_volume_ids"));
        }
        field::map("secrets", &request.secrets)?;
        field::map("parameters", &request.parameters)?;
        parameters::snapshot_parameters(&request.parameters)?;
        // A set: neither order nor repetition means anything.
        let mut sources = BTreeSet::new();
        let mut unknown = None;
        for text in &request.source_volume_ids {
            match field::volume_id("source_volume_ids", text)? {
                Some(id) => drop(sources.insert(id)),
                None => unknown = Some(text.clone()),
            }
        }
        let mut held = vec![self.state.locks.hold(Object::GroupSnapshotName(name.clone()), Hold::Exclusive)?];
        for source in &sources {
            held.push(self.state.locks.hold(Object::Volume(source.clone()), Hold::Shared)?);
        }
        let whole = self
            .state
            .blocking(move |state| {
                let _held = held;
                if let Some(existing) = state.store.group_snapshot_named(&name)? {
                    if existing.is_ready() {
                        let whole = state.whole(existing)?;
                        return whole.is_of(&sources, unknown.is_some()).map(|()| whole);
                    }
                    // Left behind by a call that failed half way, unless somebody is at it right now.
                    let _held = state.locks.hold(Object::GroupSnapshot(existing.id.clone()), Hold::Exclusive)?;
                    state.remove_group_snapshot(&existing)?;
                }
                match unknown {
                    Some(text) => Err(Refusal::no_volume(text)),
                    None => state.cut_together(name, &sources),
                }
            })
            .await?;
        Ok(v1::CreateVolumeGroupSnapshotResponse { group_snapshot: Some(whole.message()) })
    }

    pub(super) async fn delete(
        &self,
        request: &v1::DeleteVolumeGroupSnapshotRequest,
    ) -> Result<v1::DeleteVolumeGroupSnapshotResponse, Refusal> {
        let done = v1::DeleteVolumeGroupSnapshotResponse {};
        let id = field::group_snapshot_id(&request.group_snapshot_id)?;
        field::map("secrets", &request.secrets)?;
        let Some(id) = id else { return Ok(done) };
        let held_group = self.state.locks.hold(Object::GroupSnapshot(id.clone()), Hold::Exclusive)?;
        let given = request.snapshot_ids.clone();
        self.state
            .blocking(move |state| {
                let _held_group = held_group;
                let known = state.store.group_snapshot(&id)?.filter(|group| group.progress != Progress::Creating);
                let Some(mut group) = known else { return Ok(()) };
                if group.is_ready() {
                    members_match(&group, &given)?;
                }
                // Nobody may be making a volume from a member.
                let hold = |member: &_| state.locks.hold(Object::Snapshot(Clone::clone(member)), Hold::Exclusive);
                let _held_members = group.members.iter().map(hold).collect::<Result<Vec<_>, _>>()?;
                let mut changes = Vec::new();
                for mut member in state.members(&group)? {
                    member.progress = Progress::Deleting;
                    changes.push(Change::PutSnapshot(member));
                }
                group.progress = Progress::Deleting;
                changes.push(Change::PutGroupSnapshot(group.clone()));
                state.store.commit(&changes)?;
                state.remove_group_snapshot(&group)
            })
            .await?;
        Ok(done)
    }

    pub(super) async fn one(
        &self,
        request: v1::GetVolumeGroupSnapshotRequest,
    ) -> Result<v1::GetVolumeGroupSnapshotResponse, Refusal> {
        let id = field::group_snapshot_id(&request.group_snapshot_id)?;
        field::map("secrets", &request.secrets)?;
        let id = id.ok_or_else(|| Refusal::no_group_snapshot(&request.group_snapshot_id))?;
        self.state
            .blocking(move |state| {
                let group = state.store.group_snapshot(&id)?.filter(GroupSnapshot::is_ready);
                let group = group.ok_or_else(|| Refusal::no_group_snapshot(&id))?;
                members_match(&group, &request.snapshot_ids)?;
                Ok(v1::GetVolumeGroupSnapshotResponse { group_snapshot: Some(state.whole(group)?.message()) })
            })
            .await
    }
}

impl State {
    /// Cuts all of the volumes at one moment, or none of them.
    fn cut_together(&self, name: String, sources: &BTreeSet<VolumeId>) -> Result<Whole, Refusal> {
        let volumes = sources.iter().map(|source| self.ready_volume(source)).collect::<Result<Vec<Volume>, _>>()?;
        let (id, created) = (self.identifiers.next_group_snapshot(), self.clock.now());
        let member = |volume: Volume| Snapshot {
            id: self.identifiers.next_snapshot(),
            name: None,
            group: Some(id.clone()),
            progress: Progress::Creating,
            source: volume.id,
            size: volume.capacity,
            created,
            access: volume.access,
            topology: volume.topology,
        };
        let members: Vec<Snapshot> = volumes.into_iter().map(member).collect();
        let ids = members.iter().map(|member| member.id.clone()).collect();
        let mut whole =
            Whole { group: GroupSnapshot { id, name, progress: Progress::Creating, members: ids, created }, members };
        {
            let _reserving = self.reserving();
            let mut sizes: BTreeMap<&Topology, u64> = BTreeMap::new();
            for member in &whole.members {
                let size = sizes.entry(&member.topology).or_default();
                *size = size.saturating_add(member.size);
            }
            for (topology, size) in sizes {
                if !has_room(self, topology, size)? {
                    return Err(no_room(&self.configuration, size));
                }
            }
            self.store.commit(&whole.changes())?;
        }
        let cut = |member: &Snapshot| Cut { snapshot: member.id.clone(), source: member.source.clone() };
        let cuts: Vec<Cut> = whole.members.iter().map(cut).collect();
        if let Err(error) = self.content.cut(&cuts) {
            // What cannot be taken back now is taken back by a repeat, or at the next start.
            if let Err(refusal) = self.remove_group_snapshot(&whole.group) {
                tracing::warn!(group = %whole.group.id, %refusal, "an unfinished group is left for a repeat");
            }
            return Err(Self::no_content("copying the content of the volumes", &error));
        }
        whole.group.progress = Progress::Ready;
        whole.members.iter_mut().for_each(|member| member.progress = Progress::Ready);
        self.store.commit(&whole.changes())?;
        Ok(whole)
    }

    /// Takes back or finishes a group that is not ready, members and all.
    pub(in crate::driver) fn remove_group_snapshot(&self, group: &GroupSnapshot) -> Result<(), Refusal> {
        let mut changes = vec![Change::RemoveGroupSnapshot(group.id.clone())];
        for member in &group.members {
            self.content
                .remove_snapshot(member)
                .map_err(|error| Refusal::internal("removing the content of a snapshot", error))?;
            changes.push(Change::RemoveSnapshot(member.clone()));
        }
        Ok(self.store.commit(&changes)?)
    }

    fn whole(&self, group: GroupSnapshot) -> Result<Whole, Refusal> {
        Ok(Whole { members: self.members(&group)?, group })
    }

    fn members(&self, group: &GroupSnapshot) -> Result<Vec<Snapshot>, Refusal> {
        let mut members = Vec::new();
        for id in &group.members {
            members.extend(self.store.snapshot(id)?);
        }
        Ok(members)
    }
}

impl Whole {
    fn changes(&self) -> Vec<Change> {
        let members = self.members.iter().cloned().map(Change::PutSnapshot);
        std::iter::once(Change::PutGroupSnapshot(self.group.clone())).chain(members).collect()
    }

    fn is_of(&self, sources: &BTreeSet<VolumeId>, or_unknown: bool) -> Result<(), Refusal> {
        let own: BTreeSet<VolumeId> = self.members.iter().map(|member| member.source.clone()).collect();
        if own == *sources && !or_unknown {
            return Ok(());
        }
        Err(Refusal::AlreadyExists(format!(
            "group snapshot {} has this name, but shows other volumes: choose another name",
            self.group.id
        )))
    }

    fn message(&self) -> v1::VolumeGroupSnapshot {
        v1::VolumeGroupSnapshot {
            group_snapshot_id: self.group.id.to_string(),
            snapshots: self.members.iter().map(snapshot_message).collect(),
            creation_time: Some(self.group.created.into()),
            ready_to_use: self.group.is_ready(),
        }
    }
}

/// The members that a request names have to be those of the group (specification lines 3100 and 3152).
fn members_match(group: &GroupSnapshot, given: &[String]) -> Result<(), Refusal> {
    if given.is_empty() {
        return Err(Refusal::Missing("snapshot_ids"));
    }
    let own: BTreeSet<&str> = group.members.iter().map(|member| member.as_str()).collect();
    if given.iter().map(String::as_str).collect::<BTreeSet<_>>() == own {
        return Ok(());
    }
    Err(Refusal::invalid("snapshot_ids", "are not the members of the group: give all of them and no others"))
}
