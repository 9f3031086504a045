//! Operations under way by volume and part, and the back-off of those that failed.

use std::{collections::BTreeMap, time::Duration};

use super::timing::Backoff;

/// What an operation is about: all of a volume, or its part for one pod or node.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(super) struct OperationKey {
    /// The unique name of the volume.
    pub volume: String,
    /// The pod or node; without one the key meets every key of the volume.
    pub part: Option<String>,
}

impl OperationKey {
    /// All of a volume.
    pub(super) fn volume(volume: &str) -> Self {
        Self { volume: volume.to_owned(), part: None }
    }

    /// A part of a volume.
    pub(super) fn part(volume: &str, part: &str) -> Self {
        Self { volume: volume.to_owned(), part: Some(part.to_owned()) }
    }

    fn meets(&self, other: &Self) -> bool {
        self.volume == other.volume && (self.part == other.part || self.part.is_none() || other.part.is_none())
    }
}

/// The operations; the clock is the caller's.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct PendingOperations {
    backoff: Backoff,
    entries: BTreeMap<OperationKey, Entry>,
}

#[derive(Clone, Debug, Eq, PartialEq)]
struct Entry {
    name: &'static str,
    is_running: bool,
    failures: u32,
    not_before: Duration,
}

impl PendingOperations {
    /// Nothing under way.
    pub(super) const fn new(backoff: Backoff) -> Self {
        Self { backoff, entries: BTreeMap::new() }
    }

    /// Whether something is under way that the key meets.
    pub(super) fn is_pending(&self, key: &OperationKey) -> bool {
        self.entries.iter().any(|(other, entry)| entry.is_running && key.meets(other))
    }

    /// Whether an operation of this name is under way for exactly this key.
    pub(super) fn is_running(&self, key: &OperationKey, name: &str) -> bool {
        self.entries.get(key).is_some_and(|entry| entry.is_running && entry.name == name)
    }

    /// Begins an operation, unless another is under way or its back-off has not passed. One of another name does not
    /// wait for the back-off, and resets it.
    pub(super) fn begin(&mut self, key: &OperationKey, name: &'static str, now: Duration) -> bool {
        if self.is_pending(key) {
            return false;
        }
        let entry = self.entries.get(key).filter(|entry| entry.name == name);
        if entry.is_some_and(|entry| entry.not_before > now) {
            return false;
        }
        let failures = entry.map_or(0, |entry| entry.failures);
        self.entries.insert(key.clone(), Entry { name, is_running: true, failures, not_before: now });
        true
    }

    /// Ends an operation that succeeded.
    pub(super) fn succeeded(&mut self, key: &OperationKey) {
        self.entries.remove(key);
    }

    /// Ends an operation that failed; the moment before which it does not come again.
    pub(super) fn failed(&mut self, key: &OperationKey, now: Duration) -> Duration {
        let Some(entry) = self.entries.get_mut(key) else { return now };
        entry.is_running = false;
        entry.failures += 1;
        entry.not_before = now + self.backoff.pause(entry.failures);
        entry.not_before
    }

    /// When the next back-off after `now` passes.
    pub(super) fn next_due(&self, now: Duration) -> Option<Duration> {
        let waiting = self.entries.values().filter(|entry| !entry.is_running && entry.not_before > now);
        waiting.map(|entry| entry.not_before).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::orchestrator::timing::OPERATION_BACKOFF;

    #[test]
    fn a_volume_wide_operation_meets_all_and_those_of_two_pods_do_not_meet() {
        let mut pending = PendingOperations::new(OPERATION_BACKOFF);
        let (one, other, all) =
            (OperationKey::part("v", "p1"), OperationKey::part("v", "p2"), OperationKey::volume("v"));
        assert!(pending.begin(&one, "unmount", Duration::ZERO));
        assert!(pending.begin(&other, "unmount", Duration::ZERO));
        assert!(!pending.begin(&all, "mount", Duration::ZERO));
        pending.succeeded(&one);
        pending.succeeded(&other);
        assert!(pending.begin(&all, "mount", Duration::ZERO));
        assert!(!pending.begin(&one, "unmount", Duration::ZERO));
    }

    #[test]
    fn the_same_operation_waits_for_its_back_off_and_another_resets_it() {
        let mut pending = PendingOperations::new(OPERATION_BACKOFF);
        let key = OperationKey::volume("v");
        pending.begin(&key, "mount", Duration::ZERO);
        let due = pending.failed(&key, Duration::ZERO);
        assert_eq!(due, Duration::from_millis(500));
        assert!(!pending.begin(&key, "mount", Duration::ZERO));
        assert!(pending.begin(&key, "mount", due));
        assert_eq!(pending.failed(&key, due), due + Duration::from_secs(1));
        assert!(pending.begin(&key, "unmount device", due));
        assert_eq!(pending.failed(&key, due), due + Duration::from_millis(500));
    }
}
