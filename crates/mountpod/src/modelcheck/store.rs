//! Keeps each distinct value once and calls it by a small number, so that states are a few words.

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Arc, OnceLock, PoisonError, RwLock},
};

use super::fingerprint::Shape;

/// The number of a value in its store.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(super) struct Kept(pub(super) u32);

/// Values of one kind, shared by all threads of a search. Whoever has a number reads its value without a lock.
#[derive(Debug)]
pub(super) struct Store<T> {
    numbers: RwLock<HashMap<Arc<T>, Kept>>,
    /// Each block has twice the room of the one before it, so that no value ever moves.
    blocks: [OnceLock<Block<T>>; BLOCKS],
}

type Block<T> = Box<[OnceLock<Entry<T>>]>;

#[derive(Debug)]
struct Entry<T> {
    value: Arc<T>,
    shape: Shape,
}

impl<T: Eq + Hash> Store<T> {
    pub(super) fn new() -> Self {
        Self { numbers: RwLock::default(), blocks: [const { OnceLock::new() }; BLOCKS] }
    }

    /// The number of the value.
    pub(super) fn keep(&self, value: T) -> Kept {
        let known = self.numbers.read().unwrap_or_else(PoisonError::into_inner).get(&value).copied();
        if let Some(kept) = known {
            return kept;
        }
        let shape = Shape::of(&value);
        let mut numbers = self.numbers.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(kept) = numbers.get(&value) {
            return *kept;
        }
        let value = Arc::new(value);
        let kept = Kept(u32::try_from(numbers.len()).unwrap_or(u32::MAX));
        let (block, place) = place(kept);
        let room = || (0..FIRST_BLOCK << block).map(|_| OnceLock::new()).collect();
        let entry = Entry { value: value.clone(), shape };
        // Numbers are given out under the lock, so the place is free.
        self.blocks[block].get_or_init(room)[place].get_or_init(|| entry);
        numbers.insert(value, kept);
        kept
    }

    pub(super) fn value(&self, kept: Kept) -> &T {
        &self.entry(kept).value
    }

    pub(super) fn shape(&self, kept: Kept) -> &Shape {
        &self.entry(kept).shape
    }

    #[expect(clippy::expect_used, reason = "a number is given out only after its value was put in its place")]
    fn entry(&self, kept: Kept) -> &Entry<T> {
        let (block, place) = place(kept);
        self.blocks[block].get().and_then(|block| block[place].get()).expect("a number has a value")
    }
}

/// The block of a number, and its place there.
fn place(kept: Kept) -> (usize, usize) {
    let number = kept.0 as usize + FIRST_BLOCK;
    let block = (number.ilog2() - FIRST_BLOCK.ilog2()) as usize;
    (block, number - (FIRST_BLOCK << block))
}

const FIRST_BLOCK: usize = 256;
const BLOCKS: usize = 25;
