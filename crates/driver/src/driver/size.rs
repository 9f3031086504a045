//! Sizes: what a capacity range means, and which size a volume gets.

use super::Refusal;
use crate::csi::v1;

/// A capacity range with at least one bound (specification lines 1006–1017).
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct SizeRange {
    /// The least size; zero for none.
    pub required: u64,
    /// The greatest size; `None` for no limit.
    pub limit: Option<u64>,
}

/// The sizes that volumes can have.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Sizes {
    /// The least size.
    pub minimum: u64,
    /// The greatest size.
    pub maximum: u64,
    /// Every size is a multiple of it.
    pub unit: u64,
    /// What a volume gets when nobody says.
    pub default: u64,
}

impl SizeRange {
    /// Reads the range of a request.
    pub fn parse(range: &v1::CapacityRange) -> Result<Self, Refusal> {
        let required = u64::try_from(range.required_bytes)
            .map_err(|_| Refusal::invalid("capacity_range.required_bytes", "is negative: give 0 or more"))?;
        let limit = u64::try_from(range.limit_bytes)
            .map_err(|_| Refusal::invalid("capacity_range.limit_bytes", "is negative: give 0 or more"))?;
        match (required, limit) {
            (0, 0) => Err(Refusal::invalid("capacity_range", "is empty: set required_bytes or limit_bytes")),
            (_, 0) => Ok(Self { required, limit: None }),
            _ if limit < required => {
                Err(Refusal::invalid("capacity_range", "has limit_bytes below required_bytes: swap or raise them"))
            }
            _ => Ok(Self { required, limit: Some(limit) }),
        }
    }

    /// Whether a volume of this size is what was asked for.
    pub fn holds(&self, size: u64) -> bool {
        size >= self.required && self.limit.is_none_or(|limit| size <= limit)
    }
}

impl Sizes {
    /// The size of a new volume that holds at least `least` bytes (those of its source).
    pub fn choose(&self, range: Option<SizeRange>, least: u64) -> Result<u64, Refusal> {
        let Some(range) = range else {
            return Ok(if least == 0 { self.default } else { self.rounded(least.max(self.minimum)).unwrap_or(least) });
        };
        if range.limit.is_some_and(|limit| limit < least) {
            return Err(Refusal::OutOfRange(format!(
                "the source has {least} bytes and the volume may not be smaller: raise capacity_range"
            )));
        }
        let size = self
            .rounded(range.required.max(least).max(self.minimum))
            .filter(|&size| size <= self.maximum)
            .ok_or_else(|| Refusal::OutOfRange(format!("volumes have at most {} bytes: ask for less", self.maximum)))?;
        match range.limit {
            Some(limit) if size > limit => Err(Refusal::OutOfRange(format!(
                "volumes have at least {} bytes and multiples of {}: no such size is within capacity_range",
                self.minimum, self.unit
            ))),
            _ => Ok(size),
        }
    }

    fn rounded(&self, size: u64) -> Option<u64> {
        size.checked_next_multiple_of(self.unit)
    }
}

/// A size for a message, whose numbers are signed.
pub fn signed(size: u64) -> i64 {
    i64::try_from(size).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tonic::Code;

    const SIZES: Sizes = Sizes { minimum: 4096, maximum: 1 << 20, unit: 4096, default: 8192 };

    fn range(required: i64, limit: i64) -> Result<SizeRange, Refusal> {
        SizeRange::parse(&v1::CapacityRange { required_bytes: required, limit_bytes: limit })
    }

    #[test]
    fn every_chosen_size_lies_in_the_range_and_on_the_unit() {
        for required in (0..40_000).step_by(999) {
            for limit in (0..40_000).step_by(777) {
                let Ok(range) = range(required, limit) else { continue };
                match SIZES.choose(Some(range), 0) {
                    Ok(size) => assert!(range.holds(size) && size % SIZES.unit == 0 && size >= SIZES.minimum),
                    Err(refusal) => assert_eq!(refusal.code(), Code::OutOfRange),
                }
            }
        }
    }

    #[test]
    fn ranges_that_cannot_be_are_invalid() {
        for (required, limit) in [(-1, 0), (1, -1), (0, 0), (2, 1)] {
            assert_eq!(range(required, limit).unwrap_err().code(), Code::InvalidArgument, "{required} {limit}");
        }
    }

    #[test]
    fn a_source_is_never_truncated() {
        assert_eq!(SIZES.choose(None, 12_000), Ok(12_288));
        assert_eq!(SIZES.choose(Some(range(4096, 0).unwrap()), 12_288), Ok(12_288));
        let small = SIZES.choose(Some(range(4096, 4096).unwrap()), 12_288);
        assert_eq!(small.unwrap_err().code(), Code::OutOfRange);
    }

    #[test]
    fn sizes_beyond_any_device_are_out_of_range() {
        let huge = SIZES.choose(Some(range(i64::MAX, 0).unwrap()), 0);
        assert_eq!(huge.unwrap_err().code(), Code::OutOfRange);
    }
}
