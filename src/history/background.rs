//! Reading on a thread of its own, so that whoever judges does not wait for the parser.

use std::sync::mpsc::sync_channel;

/// Items that are handed over at once.
const BATCH: usize = 256;

/// Batches that may wait.
const QUEUE: usize = 8;

/// The same items, read ahead by a thread; it ends with the iterator.
pub fn in_background<T: Send + 'static>(items: impl Iterator<Item = T> + Send + 'static) -> impl Iterator<Item = T> {
    let (send, batches) = sync_channel::<Vec<T>>(QUEUE);
    std::thread::spawn(move || {
        let mut items = items.fuse();
        loop {
            let batch: Vec<T> = items.by_ref().take(BATCH).collect();
            // Nobody listens any more, or there is nothing more to say.
            if batch.is_empty() || send.send(batch).is_err() {
                break;
            }
        }
    });
    batches.into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_items_come_in_their_order_and_a_reader_may_leave() {
        assert!(in_background(0..10_000).eq(0..10_000));
        assert_eq!(in_background(0..).nth(1000), Some(1000));
        assert_eq!(in_background(std::iter::empty::<u8>()).next(), None);
    }
}
