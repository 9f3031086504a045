//! How long the proxy itself holds up what passes.

use std::{
    fmt,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

/// Counts by powers of two of a microsecond.
const BUCKETS: usize = 32;

/// The time from reading bytes until they were handed on; a call has at least two such passages, there and back.
#[derive(Debug, Default)]
pub struct Latency {
    buckets: [AtomicU64; BUCKETS],
}

impl Latency {
    /// Enters the time of one passage.
    pub fn enter(&self, spent: Duration) {
        let microseconds = spent.as_micros() as u64;
        let bucket = (u64::BITS - microseconds.leading_zeros()) as usize;
        self.buckets[bucket.min(BUCKETS - 1)].fetch_add(1, Ordering::Relaxed);
    }

    /// A bound that this share of the passages, in percent, did not exceed; nothing without any.
    pub fn percentile(&self, percent: u64) -> Option<Duration> {
        let counts: Vec<u64> = self.buckets.iter().map(|bucket| bucket.load(Ordering::Relaxed)).collect();
        let total: u64 = counts.iter().sum();
        let wanted = (total * percent).div_ceil(100);
        let mut seen = 0;
        let bucket = counts.iter().position(|count| {
            seen += count;
            seen >= wanted && wanted > 0
        })?;
        Some(Duration::from_micros(1 << bucket))
    }
}

impl fmt::Display for Latency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.percentile(50), self.percentile(99)) {
            (Some(half), Some(most)) => {
                write!(f, "added latency below {half:?} each way for half of what passed, below {most:?} for 99 %")
            }
            _ => f.write_str("nothing passed"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_upper_bounds() {
        let latency = Latency::default();
        assert_eq!(latency.percentile(50), None);
        for microseconds in [0, 10, 10, 10, 5000] {
            latency.enter(Duration::from_micros(microseconds));
        }
        assert_eq!(latency.percentile(50), Some(Duration::from_micros(16)));
        assert_eq!(latency.percentile(99), Some(Duration::from_micros(8192)));
    }
}
