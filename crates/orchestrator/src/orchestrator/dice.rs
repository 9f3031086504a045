//! Seeded randomness: whatever is drawn is drawn again for the same seed.

use std::sync::{Arc, Mutex, PoisonError};

use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};

/// Dice; clones draw from the same sequence.
#[derive(Clone, Debug)]
pub struct Dice(Arc<Mutex<StdRng>>);

impl Dice {
    /// The dice of a seed.
    pub fn new(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(StdRng::seed_from_u64(seed))))
    }

    /// A number below the bound; zero for a bound of zero.
    pub fn below(&self, bound: usize) -> usize {
        match bound {
            0 => 0,
            bound => self.0.lock().unwrap_or_else(PoisonError::into_inner).random_range(0..bound),
        }
    }

    /// Whether something happens that happens so many times in a hundred.
    pub fn percent(&self, chance: usize) -> bool {
        self.below(100) < chance
    }

    /// One of these.
    pub fn pick<'a, T>(&self, from: &'a [T]) -> Option<&'a T> {
        from.get(self.below(from.len()))
    }
}
