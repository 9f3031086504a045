//! A work queue with back-off for each key: no key is worked on twice at once, and no wish gets lost.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration,
};

use super::timing::Backoff;

/// What is to become of a key that was worked on.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Next {
    /// It is as it should be; failures are forgotten.
    Settled,
    /// It failed; again after the back-off.
    Retry,
    /// Again after a while that has nothing to do with failures.
    After(Duration),
}

/// The queue; its clock is the caller's.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct WorkQueue<K> {
    backoff: Backoff,
    ready: VecDeque<K>,
    waiting: BTreeMap<K, Duration>,
    working: BTreeSet<K>,
    wanted_again: BTreeSet<K>,
    failures: BTreeMap<K, u32>,
}

impl<K: Clone + Ord> WorkQueue<K> {
    /// An empty queue.
    pub(super) fn new(backoff: Backoff) -> Self {
        Self {
            backoff,
            ready: VecDeque::new(),
            waiting: BTreeMap::new(),
            working: BTreeSet::new(),
            wanted_again: BTreeSet::new(),
            failures: BTreeMap::new(),
        }
    }

    /// Wants a key to be worked on at once, whatever its back-off; after the work that is under way.
    pub(super) fn add(&mut self, key: K) {
        if self.working.contains(&key) {
            self.wanted_again.insert(key);
        } else if !self.ready.contains(&key) {
            self.waiting.remove(&key);
            self.ready.push_back(key);
        }
    }

    /// The next key to work on.
    pub(super) fn take(&mut self, now: Duration) -> Option<K> {
        let due: Vec<K> = self.waiting.iter().filter(|(_, at)| **at <= now).map(|(key, _)| key.clone()).collect();
        for key in due {
            self.waiting.remove(&key);
            self.ready.push_back(key);
        }
        let key = self.ready.pop_front()?;
        self.working.insert(key.clone());
        Some(key)
    }

    /// Ends the work on a key; the moment at which it comes again because of a failure.
    pub(super) fn finish(&mut self, key: &K, next: Next, now: Duration) -> Option<Duration> {
        self.working.remove(key);
        let pause = match next {
            Next::Settled => {
                self.failures.remove(key);
                None
            }
            Next::Retry => {
                let failures = self.failures.entry(key.clone()).or_insert(0);
                *failures += 1;
                Some(self.backoff.pause(*failures))
            }
            Next::After(pause) => Some(pause),
        };
        if self.wanted_again.remove(key) {
            self.ready.push_back(key.clone());
            return Some(now);
        }
        let due = pause.map(|pause| now + pause)?;
        self.waiting.insert(key.clone(), due);
        Some(due)
    }

    /// When the next key that waits is due.
    pub(super) fn next_due(&self) -> Option<Duration> {
        self.waiting.values().min().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::orchestrator::timing::SIDECAR_BACKOFF;

    const fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn failures_make_pauses_longer_and_success_forgets_them() {
        let mut queue = WorkQueue::new(SIDECAR_BACKOFF);
        queue.add("a");
        assert_eq!(queue.take(at(0)), Some("a"));
        assert_eq!(queue.finish(&"a", Next::Retry, at(0)), Some(at(1)));
        assert_eq!(queue.take(at(0)), None);
        assert_eq!(queue.take(at(1)), Some("a"));
        assert_eq!(queue.finish(&"a", Next::Retry, at(1)), Some(at(3)));
        assert_eq!(queue.take(at(3)), Some("a"));
        assert_eq!(queue.finish(&"a", Next::Settled, at(3)), None);
        assert_eq!(queue.next_due(), None);
        queue.add("a");
        queue.take(at(4));
        assert_eq!(queue.finish(&"a", Next::Retry, at(4)), Some(at(5)));
    }

    #[test]
    fn an_event_beats_the_back_off_and_waits_for_work_under_way() {
        let mut queue = WorkQueue::new(SIDECAR_BACKOFF);
        queue.add("a");
        queue.take(at(0));
        queue.add("a");
        assert_eq!(queue.take(at(0)), None, "one at a time");
        assert_eq!(queue.finish(&"a", Next::Retry, at(0)), Some(at(0)));
        assert_eq!(queue.take(at(0)), Some("a"));
        queue.finish(&"a", Next::Retry, at(0));
        queue.add("a");
        assert_eq!(queue.take(at(0)), Some("a"));
    }
}
