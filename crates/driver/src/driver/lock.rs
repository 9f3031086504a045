//! Locks on single objects: an overlapping request is told to come back instead of waiting (specification line 456).

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use super::{GroupSnapshotId, Refusal, SnapshotId};
use crate::mountpod::VolumeId;

/// What a request works on.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(super) enum Object {
    /// A volume, by its name.
    VolumeName(String),
    /// A volume, by its id.
    Volume(VolumeId),
    /// A snapshot, by its name.
    SnapshotName(String),
    /// A snapshot, by its id.
    Snapshot(SnapshotId),
    /// A group snapshot, by its name.
    GroupSnapshotName(String),
    /// A group snapshot, by its id.
    GroupSnapshot(GroupSnapshotId),
}

impl fmt::Display for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::VolumeName(name) => write!(f, "the volume named {name:?}"),
            Self::Volume(id) => write!(f, "volume {id}"),
            Self::SnapshotName(name) => write!(f, "the snapshot named {name:?}"),
            Self::Snapshot(id) => write!(f, "snapshot {id}"),
            Self::GroupSnapshotName(name) => write!(f, "the group snapshot named {name:?}"),
            Self::GroupSnapshot(id) => write!(f, "group snapshot {id}"),
        }
    }
}

/// Whether others may work on the object at the same time.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Hold {
    /// Others that share may, too.
    Shared,
    /// Nobody else.
    Exclusive,
}

/// The objects that are being worked on.
#[derive(Clone, Debug, Default)]
pub(super) struct Locks(Arc<Mutex<HashMap<Object, Holders>>>);

#[derive(Clone, Copy, Debug)]
enum Holders {
    Shared(usize),
    Exclusive,
}

/// An object held; let go on drop.
#[derive(Debug)]
#[must_use = "the object is let go at once when this is dropped"]
pub(super) struct Held {
    locks: Locks,
    object: Object,
}

impl Locks {
    /// Takes hold of the object, or refuses when somebody else holds it.
    pub(super) fn hold(&self, object: Object, hold: Hold) -> Result<Held, Refusal> {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let holders = match (held.get(&object), hold) {
            (None, Hold::Shared) => Holders::Shared(1),
            (None, Hold::Exclusive) => Holders::Exclusive,
            (Some(Holders::Shared(count)), Hold::Shared) => Holders::Shared(count + 1),
            _ => return Err(Refusal::InProgress(object.to_string())),
        };
        held.insert(object.clone(), holders);
        Ok(Held { locks: self.clone(), object })
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut held = self.locks.0.lock().unwrap_or_else(PoisonError::into_inner);
        match held.get_mut(&self.object) {
            Some(Holders::Shared(count)) if *count > 1 => *count -= 1,
            _ => {
                held.remove(&self.object);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sharers_keep_an_exclusive_holder_out_until_the_last_is_gone() {
        let locks = Locks::default();
        let object = || Object::VolumeName("a".into());
        let first = locks.hold(object(), Hold::Shared).unwrap();
        let second = locks.hold(object(), Hold::Shared).unwrap();
        drop(first);
        assert!(locks.hold(object(), Hold::Exclusive).is_err());
        drop(second);
        let alone = locks.hold(object(), Hold::Exclusive).unwrap();
        assert!(locks.hold(object(), Hold::Shared).is_err());
        drop(alone);
        assert!(locks.0.lock().unwrap().is_empty());
    }
}
