//! Where choices come from: a seed, or the bytes of a fuzzer.

/// A stream of choices.
pub trait Source {
    /// A number below the bound; zero when the bound is zero or one.
    fn below(&mut self, bound: usize) -> usize;

    /// Whether nothing but zeros will come from now on.
    fn is_exhausted(&self) -> bool {
        false
    }

    /// Whether something happens that happens once in `often` times.
    fn once_in(&mut self, often: usize) -> bool {
        // The zeros of an exhausted source stand for what is usual.
        self.below(often) + 1 == often.max(2)
    }
}

/// Choices that a seed decides, the same on every machine.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Seeded(u64);

impl Seeded {
    /// The choices of this seed.
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }
}

impl Source for Seeded {
    fn below(&mut self, bound: usize) -> usize {
        // SplitMix64: every seed is a good one, also small ones.
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^= mixed >> 31;
        let bound = u64::try_from(bound.max(1)).unwrap_or(u64::MAX);
        usize::try_from(mixed % bound).unwrap_or_default()
    }
}

/// Choices out of bytes, one byte each where that is enough, so that a fuzzer can change one choice alone.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    /// The choices in these bytes.
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// The bytes that are left.
    pub const fn rest(&self) -> &'a [u8] {
        self.0
    }

    fn next(&mut self) -> usize {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        usize::from(*first)
    }
}

impl Source for Bytes<'_> {
    fn below(&mut self, bound: usize) -> usize {
        match bound {
            0 | 1 => 0,
            2..=256 => self.next() % bound,
            _ => (0..4).fold(0_usize, |number, _| (number << 8) | self.next()) % bound,
        }
    }

    fn is_exhausted(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_seeds_give_equal_choices_and_different_seeds_do_not() {
        let choices = |seed| {
            let mut source = Seeded::new(seed);
            (0..20).map(|_| source.below(1000)).collect::<Vec<_>>()
        };
        assert_eq!(choices(7), choices(7));
        assert_ne!(choices(7), choices(8));
    }

    #[test]
    fn bytes_run_out_into_zeros() {
        let mut source = Bytes::new(&[5, 9]);
        assert_eq!((source.below(4), source.below(10)), (1, 9));
        assert!(source.is_exhausted());
        assert_eq!(source.below(10), 0);
        assert!(!source.once_in(3));
    }
}
