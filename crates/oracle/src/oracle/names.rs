//! Which object a call is about: names and ids, and which id belongs to which name.

use std::{
    collections::{HashMap, hash_map::Entry},
    fmt,
    hash::{DefaultHasher, Hash as _, Hasher as _},
};

use super::{mentions::Mentions, operation::Operation, ruling::Answer};
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

/// A kind of object that names and ids are given to.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(super) enum Kind {
    /// A volume.
    Volume,
    /// A snapshot.
    Snapshot,
    /// A group snapshot.
    Group,
}

/// An object that a reply gives an id to: its kind, the id, its name.
fn given(operation: &Operation) -> Option<(Kind, &str, &str)> {
    let Some(Answer::Ok(reply)) = operation.answer() else { return None };
    let (kind, id, name) = match (operation.request(), reply) {
        (Request::CreateVolume(request), Reply::CreateVolume(reply)) => {
            (Kind::Volume, &reply.volume.as_ref()?.volume_id, &request.name)
        }
        (Request::CreateSnapshot(request), Reply::CreateSnapshot(reply)) => {
            (Kind::Snapshot, &reply.snapshot.as_ref()?.snapshot_id, &request.name)
        }
        (Request::CreateVolumeGroupSnapshot(request), Reply::CreateVolumeGroupSnapshot(reply)) => {
            (Kind::Group, &reply.group_snapshot.as_ref()?.group_snapshot_id, &request.name)
        }
        _ => return None,
    };
    (!id.is_empty()).then_some((kind, id, name))
}

/// Something for each id, apart for each kind of object.
#[derive(Debug)]
struct ByKind<T>([HashMap<String, T>; 3]);

impl<T> Default for ByKind<T> {
    fn default() -> Self {
        Self([HashMap::new(), HashMap::new(), HashMap::new()])
    }
}

impl<T> ByKind<T> {
    const fn of(&self, kind: Kind) -> &HashMap<String, T> {
        &self.0[kind as usize]
    }

    const fn of_mut(&mut self, kind: Kind) -> &mut HashMap<String, T> {
        &mut self.0[kind as usize]
    }

    fn len(&self) -> usize {
        self.0.iter().map(HashMap::len).sum()
    }

    fn retain(&mut self, keep: impl Fn(Kind, &str) -> bool) {
        for kind in [Kind::Volume, Kind::Snapshot, Kind::Group] {
            self.of_mut(kind).retain(|id, _| keep(kind, id));
        }
    }
}

/// What is to be known of names before they are given.
#[derive(Debug, Default)]
pub(super) struct Foresight {
    /// Ids that are mentioned before their names are told, with the name that will be the first.
    early: ByKind<(usize, String)>,
    /// Ids that go with several names.
    reused: ByKind<()>,
    /// All ids that were given, by their hashes: where the call began that gave it first, and the hash of the name.
    given: HashMap<u64, (usize, u64)>,
}

impl Foresight {
    /// A call has ended; `mentions` knows what was mentioned before.
    pub(super) fn note(&mut self, operation: &Operation, mentions: &Mentions) {
        let Some((kind, id, name)) = given(operation) else { return };
        let hash = |value: (Kind, &str)| {
            let mut hasher = DefaultHasher::new();
            value.hash(&mut hasher);
            hasher.finish()
        };
        let name_hash = hash((kind, name));
        let is_first = match self.given.entry(hash((kind, id))) {
            Entry::Vacant(entry) => {
                entry.insert((operation.started, name_hash));
                mentions.knows(id)
            }
            Entry::Occupied(mut entry) => {
                if entry.get().1 != name_hash {
                    self.reused.of_mut(kind).insert(id.to_owned(), ());
                }
                let is_first = operation.started < entry.get().0;
                if is_first {
                    entry.get_mut().0 = operation.started;
                }
                is_first
            }
        };
        if is_first {
            self.early.of_mut(kind).insert(id.to_owned(), (operation.started, name.to_owned()));
        }
    }

    /// The whole history has been seen.
    pub(super) fn close(&mut self) {
        self.given = HashMap::new();
    }
}

/// Which id belongs to which name, as the replies of a history tell.
#[derive(Debug, Default)]
pub(super) struct Names {
    foresight: Foresight,
    known: ByKind<Vec<Given>>,
}

/// An id was given to an object of that name.
#[derive(Debug)]
struct Given {
    /// Where the call began.
    started: usize,
    /// Where it ended.
    since: usize,
    name: String,
}

impl Names {
    /// None yet but those that the first pass has foreseen.
    pub(super) fn new(foresight: Foresight) -> Self {
        Self { foresight, known: ByKind::default() }
    }

    /// A call has ended; `open` are those that go on.
    pub(super) fn note<'a>(&mut self, operation: &Operation, open: impl Iterator<Item = &'a Operation>) {
        let Some((kind, id, name)) = given(operation) else { return };
        let known = self.known.of_mut(kind).entry(id.to_owned()).or_default();
        let at = known.partition_point(|one| one.started < operation.started);
        known.insert(at, Given { started: operation.started, since: operation.ended, name: name.to_owned() });
        // A repeat says nothing new, unless another one may still turn out to have come between the two.
        let oldest = open.filter(|one| one.rpc() == operation.rpc()).map(|one| one.started).min();
        known.dedup_by(|next, one| next.name == one.name && oldest.is_none_or(|oldest| next.started < oldest));
    }

    /// How many ids have names.
    pub(super) fn len(&self) -> usize {
        self.known.len() + self.foresight.early.len()
    }

    /// Forgets the names that go with ids for which this does not hold.
    pub(super) fn retain(&mut self, is_mentioned: impl Fn(Kind, &str) -> bool) {
        self.known.retain(&is_mentioned);
        self.foresight.early.retain(&is_mentioned);
    }

    /// The names of objects of a kind to which an id leads.
    pub(super) fn found(&self, wanted: Kind) -> impl Iterator<Item = &str> {
        let known = self.known.of(wanted).values().flatten().map(|one| one.name.as_str());
        known.chain(self.foresight.early.of(wanted).values().map(|(_, name)| name.as_str()))
    }

    fn find(&self, kind: Kind, id: &str, at: usize) -> Key {
        let known = self.known.of(kind).get(id).map(Vec::as_slice).unwrap_or_default();
        let latest = known.iter().rev().find(|one| one.since <= at).map(|one| &one.name);
        let first =
            || self.foresight.early.of(kind).get(id).map(|(_, name)| name).or(known.first().map(|one| &one.name));
        latest.or_else(first).map_or_else(|| Key::Id(id.to_owned()), |name| Key::Name(name.clone()))
    }

    /// The volume that an id means at a moment.
    pub(super) fn volume(&self, id: &str, at: usize) -> Key {
        self.find(Kind::Volume, id, at)
    }

    /// The snapshot that an id means at a moment.
    pub(super) fn snapshot(&self, id: &str, at: usize) -> Key {
        self.find(Kind::Snapshot, id, at)
    }

    /// Whether several volumes went by the id: the end of one says nothing of the next, which may be under way.
    pub(super) fn is_reused_for_volumes(&self, id: &str) -> bool {
        self.foresight.reused.of(Kind::Volume).contains_key(id)
    }

    /// Whether several snapshots went by the id.
    pub(super) fn is_reused_for_snapshots(&self, id: &str) -> bool {
        self.foresight.reused.of(Kind::Snapshot).contains_key(id)
    }

    /// The volume that a call is about.
    pub(super) fn volume_of(&self, operation: &Operation) -> Option<Key> {
        let id = match operation.request() {
            Request::CreateVolume(r) if r.name.is_empty() => return Some(Key::Call(operation.call.id)),
            Request::CreateVolume(r) => return Some(Key::Name(r.name.clone())),
            request => request.volume_id()?,
        };
        Some(if id.is_empty() { Key::Call(operation.call.id) } else { self.volume(id, operation.started) })
    }

    /// The group snapshot that a call is about.
    pub(super) fn group_of(&self, operation: &Operation) -> Option<Key> {
        let id = match operation.request() {
            Request::CreateVolumeGroupSnapshot(r) if r.name.is_empty() => return Some(Key::Call(operation.call.id)),
            Request::CreateVolumeGroupSnapshot(r) => return Some(Key::Name(r.name.clone())),
            Request::DeleteVolumeGroupSnapshot(r) => &r.group_snapshot_id,
            Request::GetVolumeGroupSnapshot(r) => &r.group_snapshot_id,
            _ => return None,
        };
        Some(if id.is_empty() { Key::Call(operation.call.id) } else { self.find(Kind::Group, id, operation.started) })
    }

    /// The snapshot that a call is about.
    pub(super) fn snapshot_of(&self, operation: &Operation) -> Option<Key> {
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
