//! Between the traffic and the thread that writes the journal: neither is held up for each entry.

use std::{
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use prost::bytes::Bytes;

use super::conversation::Way;
use crate::history::Lost;

/// How many entries may wait for the disk before the traffic has to wait too, and how many bytes.
const MANY: usize = 4096;
const MUCH: usize = 32 << 20;

/// How often the thread looks for entries. It is not woken for each: that would take longer than writing it.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Something that happened on a connection.
#[derive(Debug)]
pub(super) enum Happening {
    /// Bytes are about to be passed on.
    Passing(Way, Bytes),
    /// It is gone; so are calls that were under way.
    Gone(Lost),
}

/// A happening, when it happened, in microseconds since the journal began, and on which connection.
pub(super) type Entry = (u64, u64, Happening);

/// Between the traffic and the thread.
pub(super) struct Queue {
    /// The moment 0.
    began: Instant,
    waiting: Mutex<Waiting>,
    /// Told when there is much to write, or no more to come.
    filled: Condvar,
    /// Told when there is room again.
    drained: Condvar,
}

#[derive(Default)]
struct Waiting {
    /// The number of the next connection.
    next: u64,
    entries: Vec<Entry>,
    /// How many bytes those hold.
    bytes: usize,
    /// Whether the thread is at work on what it took.
    busy: bool,
    /// How many calls were under way when the thread looked last.
    under_way: usize,
    /// Nobody is left to enter anything.
    complete: bool,
    /// Nobody is left to write anything.
    abandoned: bool,
}

impl Waiting {
    fn is_much(&self) -> bool {
        self.entries.len() >= MANY / 2 || self.bytes >= MUCH / 2
    }

    fn is_full(&self) -> bool {
        (self.entries.len() >= MANY || self.bytes >= MUCH) && !self.abandoned
    }
}

impl Queue {
    /// An empty one, from which moments are counted from now on.
    pub(super) fn new() -> Self {
        Self { began: Instant::now(), waiting: Mutex::default(), filled: Condvar::new(), drained: Condvar::new() }
    }

    /// The number of a connection that has just been made.
    pub(super) fn number(&self) -> u64 {
        let mut waiting = self.lock();
        let connection = waiting.next;
        waiting.next += 1;
        connection
    }

    /// Whether everything is written, and no call under way.
    pub(super) fn is_idle(&self) -> bool {
        let waiting = self.lock();
        waiting.abandoned || (waiting.entries.is_empty() && !waiting.busy && waiting.under_way == 0)
    }

    /// Nobody will enter anything any more.
    pub(super) fn complete(&self) {
        self.lock().complete = true;
        self.filled.notify_one();
    }

    /// A full queue makes the traffic wait: memory is bounded, and nothing is left out.
    pub(super) fn enter(&self, connection: u64, happening: Happening) {
        let Self { filled, drained, .. } = self;
        let is_full = |waiting: &mut Waiting| waiting.is_full();
        let mut waiting = drained.wait_while(self.lock(), is_full).unwrap_or_else(PoisonError::into_inner);
        // Without a thread nothing can be journalled; `Writing::end` tells why.
        if waiting.abandoned {
            return;
        }
        let was_much = waiting.is_much();
        if let Happening::Passing(_, bytes) = &happening {
            waiting.bytes += bytes.len();
        }
        // Under the lock, so that moments are in the order of the entries.
        waiting.entries.push((self.began.elapsed().as_micros() as u64, connection, happening));
        if !was_much && waiting.is_much() {
            filled.notify_one();
        }
    }

    /// A panic elsewhere leaves the list whole: pushing is the last thing done under the lock.
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The thread's end of the queue; when it is gone, the traffic waits for nobody.
pub(super) struct Reading(pub(super) Arc<Queue>);

impl Reading {
    /// What has come; nothing if that is nothing, and `None` if nothing will come any more.
    pub(super) fn next(&self, under_way: usize) -> Option<Vec<Entry>> {
        let Queue { filled, drained, .. } = &*self.0;
        let mut waiting = self.0.lock();
        (waiting.busy, waiting.under_way) = (false, under_way);
        let is_little = |waiting: &mut Waiting| !waiting.is_much() && !waiting.complete;
        let (mut waiting, _) =
            filled.wait_timeout_while(waiting, LOOK_EVERY, is_little).unwrap_or_else(PoisonError::into_inner);
        let entries = std::mem::take(&mut waiting.entries);
        waiting.bytes = 0;
        waiting.busy = !entries.is_empty();
        drained.notify_all();
        (!entries.is_empty() || !waiting.complete).then_some(entries)
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        self.0.lock().abandoned = true;
        self.0.drained.notify_all();
    }
}
