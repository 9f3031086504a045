//! Ids that the driver gives out.

use std::{
    fmt,
    str::FromStr,
    sync::{Mutex, PoisonError},
    time::{SystemTime, UNIX_EPOCH},
};

use crate::mountpod::VolumeId;

/// An id of a snapshot of ours; of the same shape as a [`VolumeId`].
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct SnapshotId(VolumeId);

impl SnapshotId {
    /// The id as text.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

impl FromStr for SnapshotId {
    type Err = NotAnIdOfOurs;

    fn from_str(text: &str) -> Result<Self, NotAnIdOfOurs> {
        text.parse().map(Self).map_err(NotAnIdOfOurs)
    }
}

impl fmt::Display for SnapshotId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// An id of a group snapshot of ours; of the same shape as a [`VolumeId`].
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct GroupSnapshotId(VolumeId);

impl GroupSnapshotId {
    /// The id as text.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

impl FromStr for GroupSnapshotId {
    type Err = NotAnIdOfOurs;

    fn from_str(text: &str) -> Result<Self, NotAnIdOfOurs> {
        text.parse().map(Self).map_err(NotAnIdOfOurs)
    }
}

impl fmt::Display for GroupSnapshotId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The text cannot be an id of this driver.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error(transparent)]
pub struct NotAnIdOfOurs(<VolumeId as FromStr>::Err);

/// Where new ids come from.
pub trait Identifiers: Send + Sync + 'static {
    /// A volume id that was never given out before.
    fn next_volume(&self) -> VolumeId;

    /// A snapshot id that was never given out before.
    fn next_snapshot(&self) -> SnapshotId;

    /// An id of a group snapshot that was never given out before.
    fn next_group_snapshot(&self) -> GroupSnapshotId;
}

/// Ids of a time and random bits, each greater than the one before: lists show objects in the order of their creation,
/// so what is created during a walk through the pages comes after them.
#[derive(Debug, Default)]
pub struct OrderedIdentifiers {
    last: Mutex<u128>,
}

impl OrderedIdentifiers {
    fn next(&self, prefix: &str) -> VolumeId {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let milliseconds = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
        let random: u128 = rand::random();
        // Within a millisecond, or when the clock was set back, the order goes on from the last one.
        let bits = ((milliseconds << RANDOM_BITS) | (random >> TIME_BITS)).max(*last + 1 + (random >> 64));
        *last = bits;
        format!("{prefix}-{bits:032x}").parse().expect("a prefix, a dash and hexadecimal digits are an id")
    }
}

impl Identifiers for OrderedIdentifiers {
    fn next_volume(&self) -> VolumeId {
        self.next("vol")
    }

    fn next_snapshot(&self) -> SnapshotId {
        SnapshotId(self.next("snap"))
    }

    fn next_group_snapshot(&self) -> GroupSnapshotId {
        GroupSnapshotId(self.next("group"))
    }
}

const TIME_BITS: u32 = 48;
const RANDOM_BITS: u32 = 128 - TIME_BITS;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_grow() {
        let ids = OrderedIdentifiers::default();
        let volumes: Vec<VolumeId> = (0..1000).map(|_| ids.next_volume()).collect();
        assert!(volumes.is_sorted_by(|a, b| a < b));
        assert!(ids.next_snapshot().as_str().starts_with("snap-"));
    }
}
