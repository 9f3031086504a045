//! What certainly holds of other objects while a call runs.

use super::{
    capability::{Access, Capability},
    forgetting::restored,
    judge::Judge,
    lists::Certain,
    names::{Key, Names},
    objects::{Object, Objects},
    operation::Operation,
    snapshot::Snapshot,
    volume::{Existence, Volume},
    world::{Source, Surroundings},
};
use crate::{
    csi::v1::volume_content_source::Type as SourceType,
    history::{CallId, Request},
};

impl Judge {
    /// Brings what is known around the calls that are open beside this one up to now.
    pub(super) fn refresh(&mut self, operation: &Operation) {
        let volume = self.volumes.of(&self.names, operation).map(|object| object.open.clone());
        let snapshot = self.snapshots.of(&self.names, operation).map(|object| object.open.clone());
        let group = self.groups.of(&self.names, operation).map(|object| object.open.clone());
        let own = (volume.is_none() && snapshot.is_none() && group.is_none()).then(|| vec![operation.call.id]);
        for call in volume.into_iter().chain(snapshot).chain(group).chain(own).flatten() {
            let Some(operation) = self.world.operations.share(call) else { continue };
            let now = self.surroundings(&operation);
            if let Some(known) = self.world.surroundings.get_mut(&call) {
                *known = known.and(&now);
            }
        }
    }

    /// What certainly holds around the call at this moment.
    pub(super) fn surroundings(&self, operation: &Operation) -> Surroundings {
        let mut around = Surroundings::default();
        match operation.request() {
            Request::CreateVolume(request) => {
                match request.volume_content_source.as_ref().and_then(|source| source.r#type.as_ref()) {
                    Some(SourceType::Snapshot(source)) => {
                        around.source = self.snapshot_source(&source.snapshot_id, operation);
                    }
                    Some(SourceType::Volume(source)) => {
                        around.source = self.volume_source(&source.volume_id, operation);
                    }
                    None => {}
                }
            }
            Request::CreateSnapshot(request) => {
                around.source = self.volume_source(&request.source_volume_id, operation);
            }
            Request::CreateVolumeGroupSnapshot(request) => {
                around.source = all(request.source_volume_ids.iter().map(|id| self.volume_source(id, operation)));
            }
            Request::DeleteVolumeGroupSnapshot(request) => {
                let restored = request.snapshot_ids.iter().map(|id| self.restored_from(id));
                around.restored = restored.max().unwrap_or(Existence::Absent);
            }
            Request::GetMetadataAllocated(request) => {
                around.source = self.snapshot_source(&request.snapshot_id, operation);
            }
            Request::GetMetadataDelta(request) => {
                let ids = [&request.base_snapshot_id, &request.target_snapshot_id];
                around.source = all(ids.into_iter().map(|id| self.snapshot_source(id, operation)));
            }
            Request::DeleteVolume(request) => around.snapshots = self.snapshots_of(&request.volume_id),
            Request::DeleteSnapshot(request) => around.restored = self.restored_from(&request.snapshot_id),
            Request::ControllerPublishVolume(request) => {
                let holds = |(_, object): &(&Key, &Object<Volume>)| {
                    object.certainly(|state| state.attachments.contains_key(&request.node_id))
                };
                around.attached = self.volumes.living().filter(holds).count();
            }
            _ => {}
        }
        around
    }

    fn volume_source(&self, id: &str, operation: &Operation) -> Source {
        let unknown = Source { existence: Existence::Unknown, size: 0, access: None };
        let key = self.names.volume(id, operation.started);
        let Some(object) = self.volumes.get(&key) else {
            let existence = if operation.invented(id) { Existence::Absent } else { Existence::Unknown };
            return Source { existence, size: 0, access: None };
        };
        let Some(first) = object.worlds.states().next() else { return unknown };
        let existence = first.existence_of(id);
        if !object.certainly(|state| state.existence_of(id) == existence) {
            return unknown;
        }
        let size = if object.certainly(|state| state.capacity == first.capacity) { first.capacity } else { 0 };
        Source { existence, size, access: self.access_of(first) }
    }

    fn snapshot_source(&self, id: &str, operation: &Operation) -> Source {
        let unknown = Source { existence: Existence::Unknown, size: 0, access: None };
        let key = self.names.snapshot(id, operation.started);
        let Some(object) = self.snapshots.get(&key) else {
            let existence = if operation.invented(id) { Existence::Absent } else { Existence::Unknown };
            return Source { existence, size: 0, access: None };
        };
        let Some(first) = object.worlds.states().next() else { return unknown };
        let existence = first.existence_of(id);
        if !object.certainly(|state| state.existence_of(id) == existence) {
            return unknown;
        }
        let source = first.source.as_ref().and_then(|id| self.volumes.get(&self.names.volume(id, operation.started)));
        let access = source.and_then(|object| self.access_of(object.worlds.states().next()?));
        Source { existence, size: first.size, access }
    }

    /// The access type for which the volume was made, where it was one only.
    fn access_of(&self, volume: &Volume) -> Option<Access> {
        let created = self.world.operations.get(volume.created?)?;
        let Request::CreateVolume(request) = created.request() else { return None };
        let mut types = request.volume_capabilities.iter().map(|one| Capability::from(one).access);
        let first = types.next()?;
        types.all(|other| other == first).then_some(first)
    }

    /// Whether a volume has snapshots, as far as this history made them.
    fn snapshots_of(&self, volume: &str) -> Existence {
        let may_be_there = self.groups.gone.unknown || self.snapshots.gone.unknown;
        let mut result = if may_be_there { Existence::Unknown } else { Existence::Absent };
        for (_, object) in self.groups.living() {
            if object.certainly(|state| state.existence == Existence::Absent) {
                continue;
            }
            if object.worlds.states().any(|state| state.lenient || state.sources.contains(volume)) {
                result = Existence::Unknown;
            }
        }
        for (_, object) in self.snapshots.living() {
            if object.certainly(|state| state.existence == Existence::Absent) {
                continue;
            }
            let from_here = |state: &Snapshot| state.source.as_deref() == Some(volume);
            if object.certainly(|state| state.existence == Existence::Present && from_here(state)) {
                return Existence::Present;
            }
            if object.worlds.states().any(|state| state.source.is_none() || from_here(state)) {
                result = Existence::Unknown;
            }
        }
        result
    }

    /// Whether volumes were made from a snapshot and may still exist.
    fn restored_from(&self, snapshot: &str) -> Existence {
        let made_from = |call: CallId| restored(&self.world.operations, call) == Some(snapshot);
        let may_be_there = self.volumes.gone.unknown_from.contains(snapshot);
        let mut result = if may_be_there { Existence::Unknown } else { Existence::Absent };
        for (_, object) in self.volumes.living() {
            if object.certainly(|state| state.existence == Existence::Absent)
                || !object.calls.iter().any(|&call| made_from(call))
            {
                continue;
            }
            if object.certainly(|state| state.existence == Existence::Present) {
                return Existence::Present;
            }
            result = Existence::Unknown;
        }
        result
    }
}

/// Several sources together: one that is absent makes all of them so.
fn all(sources: impl Iterator<Item = Source>) -> Source {
    let existences: Vec<Existence> = sources.map(|source| source.existence).collect();
    let existence = match () {
        () if existences.contains(&Existence::Absent) => Existence::Absent,
        () if existences.contains(&Existence::Unknown) || existences.is_empty() => Existence::Unknown,
        () => Existence::Present,
    };
    Source { existence, size: 0, access: None }
}

/// Volumes that certainly are, and certainly are not, there.
pub(super) fn certain_volumes(volumes: &Objects<Volume>, names: &Names) -> Certain {
    let mut certain = Certain::default();
    for object in volumes.values() {
        let Some(first) = object.worlds.states().next() else { continue };
        match &first.id {
            Some(id) if object.certainly(|state| state.existence_of(id) == Existence::Present) => {
                certain.present.insert(id.clone());
            }
            _ => {}
        }
        let gone =
            first.dead_ids.iter().filter(|id| object.certainly(|state| state.existence_of(id) == Existence::Absent));
        certain.absent.extend(gone.cloned());
    }
    certain.absent.retain(|id| !names.is_reused_for_volumes(id));
    certain
}

/// Snapshots that certainly are, and certainly are not, there, as far as the call's filters let them through.
pub(super) fn certain_snapshots(
    snapshots: &Objects<Snapshot>,
    volumes: &Objects<Volume>,
    names: &Names,
    operation: &Operation,
) -> Certain {
    let (source, wanted) = match operation.request() {
        Request::ListSnapshots(request) => (request.source_volume_id.as_str(), request.snapshot_id.as_str()),
        _ => ("", ""),
    };
    let mut certain = Certain { vanished: snapshots.gone.vanished, ..Certain::default() };
    for object in snapshots.values() {
        let Some(first) = object.worlds.states().next() else { continue };
        if let Some(id) = &first.id
            && (wanted.is_empty() || id == wanted)
            && (source.is_empty() || first.source.as_deref() == Some(source))
            && object.certainly(|state| state.existence_of(id) == Existence::Present)
        {
            certain.present.insert(id.clone());
            let is_gone = |volume: &String| {
                let source = volumes.get(&names.volume(volume, operation.started));
                source.is_some_and(|object| object.certainly(|state| state.dead_ids.contains(volume)))
            };
            if first.source.as_ref().is_some_and(is_gone) {
                certain.outlived.insert(id.clone());
            }
        }
        let gone =
            first.dead_ids.iter().filter(|id| object.certainly(|state| state.existence_of(id) == Existence::Absent));
        certain.absent.extend(gone.cloned());
    }
    certain.absent.retain(|id| !names.is_reused_for_snapshots(id));
    certain
}
