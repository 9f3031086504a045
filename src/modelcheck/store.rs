//! Keeps each distinct value once and calls it by a small number, so that states are a few words.

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Arc, PoisonError, RwLock},
};

use super::fingerprint::Shape;

/// The number of a value in its store.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(super) struct Kept(u32);

/// Values of one kind, shared by all threads of a search.
#[derive(Debug)]
pub(super) struct Store<T> {
    numbers: RwLock<HashMap<Arc<T>, Kept>>,
    entries: RwLock<Vec<(Arc<T>, Arc<Shape>)>>,
}

impl<T: Eq + Hash> Store<T> {
    pub(super) fn new() -> Self {
        Self { numbers: RwLock::default(), entries: RwLock::default() }
    }

    /// The number of the value.
    pub(super) fn keep(&self, value: T) -> Kept {
        let known = self.numbers.read().unwrap_or_else(PoisonError::into_inner).get(&value).copied();
        if let Some(kept) = known {
            return kept;
        }
        let shape = Arc::new(Shape::of(&value));
        let mut numbers = self.numbers.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(kept) = numbers.get(&value) {
            return *kept;
        }
        let value = Arc::new(value);
        let mut entries = self.entries.write().unwrap_or_else(PoisonError::into_inner);
        let kept = Kept(u32::try_from(entries.len()).unwrap_or(u32::MAX));
        entries.push((value.clone(), shape));
        numbers.insert(value, kept);
        kept
    }

    pub(super) fn value(&self, kept: Kept) -> Arc<T> {
        self.entry(kept).0
    }

    pub(super) fn shape(&self, kept: Kept) -> Arc<Shape> {
        self.entry(kept).1
    }

    fn entry(&self, kept: Kept) -> (Arc<T>, Arc<Shape>) {
        self.entries.read().unwrap_or_else(PoisonError::into_inner)[kept.0 as usize].clone()
    }
}
