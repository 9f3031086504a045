//! Ids that the driver gives out.

use std::{fmt, str::FromStr};

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
}

/// Ids of 128 random bits: unique without a counter that a crash could set back.
#[derive(Clone, Copy, Debug, Default)]
pub struct RandomIdentifiers;

impl Identifiers for RandomIdentifiers {
    fn next_volume(&self) -> VolumeId {
        random("vol")
    }

    fn next_snapshot(&self) -> SnapshotId {
        SnapshotId(random("snap"))
    }
}

fn random(prefix: &str) -> VolumeId {
    let bits: u128 = rand::random();
    format!("{prefix}-{bits:032x}").parse().expect("a prefix, a dash and hexadecimal digits are an id")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_differ() {
        let ids = RandomIdentifiers;
        assert_ne!(ids.next_volume(), ids.next_volume());
        assert!(ids.next_snapshot().as_str().starts_with("snap-"));
    }
}
