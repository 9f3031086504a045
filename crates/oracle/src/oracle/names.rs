//! Which object a call is about: names and ids, and which id belongs to which name.

use std::{collections::HashMap, fmt};

use super::{
    operation::{Operation, Operations},
    ruling::Answer,
};
use crate::history::{CallId, Reply, Request};

/// Names an object.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(super) enum Key {
    /// Created in this history, by that name.
    Name(String),
    /// Never created in this history; known by its id.
    Id(String),
    /// The request names nothing.
    Call(CallId),
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => write!(f, "the name {name:?}"),
            Self::Id(id) => write!(f, "the id {id:?}"),
            Self::Call(_) => f.write_str("a request without a name"),
        }
    }
}

/// Which id belongs to which name, as the replies of a history tell.
#[derive(Debug, Default)]
pub(super) struct Names {
    volumes: HashMap<String, Vec<(usize, String)>>,
    snapshots: HashMap<String, Vec<(usize, String)>>,
    groups: HashMap<String, Vec<(usize, String)>>,
}

impl Names {
    /// Reads the replies to creates.
    pub(super) fn of(operations: &Operations<'_>) -> Self {
        let mut names = Self::default();
        for operation in operations.in_order() {
            let Some(Answer::Ok(reply)) = operation.answer() else { continue };
            match (operation.request(), reply) {
                (Request::CreateVolume(request), Reply::CreateVolume(reply)) => {
                    if let Some(volume) = &reply.volume {
                        note(&mut names.volumes, &volume.volume_id, operation.ended, &request.name);
                    }
                }
                (Request::CreateSnapshot(request), Reply::CreateSnapshot(reply)) => {
                    if let Some(snapshot) = &reply.snapshot {
                        note(&mut names.snapshots, &snapshot.snapshot_id, operation.ended, &request.name);
                    }
                }
                (Request::CreateVolumeGroupSnapshot(request), Reply::CreateVolumeGroupSnapshot(reply)) => {
                    if let Some(group) = &reply.group_snapshot {
                        note(&mut names.groups, &group.group_snapshot_id, operation.ended, &request.name);
                    }
                }
                _ => {}
            }
        }
        names
    }

    /// The volume that an id means at a moment.
    pub(super) fn volume(&self, id: &str, at: usize) -> Key {
        find(&self.volumes, id, at)
    }

    /// The snapshot that an id means at a moment.
    pub(super) fn snapshot(&self, id: &str, at: usize) -> Key {
        find(&self.snapshots, id, at)
    }

    /// Whether several volumes went by the id: the end of one says nothing of the next, which may be under way.
    pub(super) fn is_reused_for_volumes(&self, id: &str) -> bool {
        self.volumes.get(id).is_some_and(|known| known.len() > 1)
    }

    /// Whether several snapshots went by the id.
    pub(super) fn is_reused_for_snapshots(&self, id: &str) -> bool {
        self.snapshots.get(id).is_some_and(|known| known.len() > 1)
    }

    /// The volume that a call is about.
    pub(super) fn volume_of(&self, operation: &Operation<'_>) -> Option<Key> {
        let id = match operation.request() {
            Request::CreateVolume(r) if r.name.is_empty() => return Some(Key::Call(operation.call.id)),
            Request::CreateVolume(r) => return Some(Key::Name(r.name.clone())),
            request => request.volume_id()?,
        };
        Some(if id.is_empty() { Key::Call(operation.call.id) } else { self.volume(id, operation.started) })
    }

    /// The group snapshot that a call is about.
    pub(super) fn group_of(&self, operation: &Operation<'_>) -> Option<Key> {
        let id = match operation.request() {
            Request::CreateVolumeGroupSnapshot(r) if r.name.is_empty() => return Some(Key::Call(operation.call.id)),
            Request::CreateVolumeGroupSnapshot(r) => return Some(Key::Name(r.name.clone())),
            Request::DeleteVolumeGroupSnapshot(r) => &r.group_snapshot_id,
            Request::GetVolumeGroupSnapshot(r) => &r.group_snapshot_id,
            _ => return None,
        };
        Some(if id.is_empty() { Key::Call(operation.call.id) } else { find(&self.groups, id, operation.started) })
    }

    /// The snapshot that a call is about.
    pub(super) fn snapshot_of(&self, operation: &Operation<'_>) -> Option<Key> {
        let id = match operation.request() {
            Request::CreateSnapshot(r) if r.name.is_empty() => return Some(Key::Call(operation.call.id)),
            Request::CreateSnapshot(r) => return Some(Key::Name(r.name.clone())),
            Request::DeleteSnapshot(r) => &r.snapshot_id,
            Request::GetSnapshot(r) => &r.snapshot_id,
            _ => return None,
        };
        Some(if id.is_empty() { Key::Call(operation.call.id) } else { self.snapshot(id, operation.started) })
    }
}

fn note(names: &mut HashMap<String, Vec<(usize, String)>>, id: &str, at: usize, name: &str) {
    if id.is_empty() {
        return;
    }
    let known = names.entry(id.to_owned()).or_default();
    if known.last().is_none_or(|(_, last)| last != name) {
        known.push((at, name.to_owned()));
    }
}

fn find(names: &HashMap<String, Vec<(usize, String)>>, id: &str, at: usize) -> Key {
    let Some(known) = names.get(id) else { return Key::Id(id.to_owned()) };
    let latest = known.iter().rev().find(|(since, _)| *since <= at).or(known.first());
    latest.map_or_else(|| Key::Id(id.to_owned()), |(_, name)| Key::Name(name.clone()))
}
