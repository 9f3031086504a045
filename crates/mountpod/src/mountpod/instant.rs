//! Moments and durations as mount pods record them: RFC 3339 in UTC, and Go's duration notation.

use std::{fmt, str::FromStr, time::Duration};

use thiserror::Error;

/// A moment, in milliseconds since 1970 in UTC.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Timestamp(pub u64);

/// The text is no moment that can be trusted.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[error("not an RFC 3339 moment with a zone, such as 2026-01-31T12:00:00Z")]
pub struct NotATimestamp;

impl Timestamp {
    /// The moment that is `duration` later.
    #[must_use]
    pub fn after(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)))
    }

    /// How long it is from `earlier` to this moment; zero when it is not later.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }

    /// The moment as a clock on a wall that is `offset_minutes` ahead of UTC shows it, without naming the zone.
    ///
    /// Only the protocol of before 2026 writes this form.
    pub fn wall_clock(self, offset_minutes: i32) -> String {
        let shift = i64::from(offset_minutes) * 60_000;
        let shifted = Self(self.0.saturating_add_signed(shift)).to_string();
        shifted.trim_end_matches('Z').to_owned()
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = i64::try_from(self.0 / 1000).unwrap_or(i64::MAX);
        let nanos = i32::try_from(self.0 % 1000).unwrap_or_default() * 1_000_000;
        write!(f, "{}", prost_types::Timestamp { seconds, nanos })
    }
}

impl FromStr for Timestamp {
    type Err = NotATimestamp;

    fn from_str(text: &str) -> Result<Self, NotATimestamp> {
        let clock = text.split_once(['T', 't']).ok_or(NotATimestamp)?.1;
        // Without a zone the writer's local time is unknown: reading it as UTC would be hours off.
        if !clock.contains(['Z', 'z', '+', '-']) {
            return Err(NotATimestamp);
        }
        let parsed: prost_types::Timestamp = text.parse().map_err(|_| NotATimestamp)?;
        let seconds = u64::try_from(parsed.seconds).map_err(|_| NotATimestamp)?;
        let millis = u64::try_from(parsed.nanos / 1_000_000).map_err(|_| NotATimestamp)?;
        Ok(Self(seconds.saturating_mul(1000).saturating_add(millis)))
    }
}

/// The text is no duration in Go's notation.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[error("not a duration such as 90s, 1m30s or 2h")]
pub struct NotADuration;

/// Reads a duration in Go's notation (`1h30m`, `250ms`, `1.5s`, `0`).
pub fn parse_duration(text: &str) -> Result<Duration, NotADuration> {
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    let mut rest = text;
    let mut total = Duration::ZERO;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or(NotADuration)?;
        let (number, tail) = rest.split_at(digits);
        let unit_length = tail.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(unit_length);
        let seconds = match unit {
            "h" => 3600.0,
            "m" => 60.0,
            "s" => 1.0,
            "ms" => 1e-3,
            "us" | "µs" => 1e-6,
            "ns" => 1e-9,
            _ => return Err(NotADuration),
        };
        let number: f64 = number.parse().map_err(|_| NotADuration)?;
        let part = Duration::try_from_secs_f64(number * seconds).map_err(|_| NotADuration)?;
        total = total.checked_add(part).ok_or(NotADuration)?;
        rest = tail;
    }
    if text.is_empty() { Err(NotADuration) } else { Ok(total) }
}

/// Writes a duration in Go's notation.
pub fn format_duration(duration: Duration) -> String {
    match duration.subsec_millis() {
        0 => format!("{}s", duration.as_secs()),
        _ => format!("{}ms", duration.as_millis()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_survives_being_written_and_read() {
        let moment = Timestamp(1_769_860_800_123);
        assert_eq!(moment.to_string(), "2026-01-31T12:00:00.123Z");
        assert_eq!(moment.to_string().parse(), Ok(moment));
        assert_eq!("2026-01-31T20:00:00.123+08:00".parse(), Ok(moment));
    }

    #[test]
    fn a_moment_without_a_zone_is_refused_because_it_could_mean_any_hour() {
        assert_eq!("2026-01-31 12:00:00".parse::<Timestamp>(), Err(NotATimestamp));
        assert_eq!("2026-01-31T12:00:00".parse::<Timestamp>(), Err(NotATimestamp));
        assert_eq!(Timestamp(1_769_860_800_000).wall_clock(480), "2026-01-31T20:00:00");
        assert_eq!("2026-01-31".parse::<Timestamp>(), Err(NotATimestamp));
        assert_eq!("soon".parse::<Timestamp>(), Err(NotATimestamp));
    }

    #[test]
    fn durations_are_read_as_go_writes_them() {
        assert_eq!(parse_duration("1h30m"), Ok(Duration::from_secs(5400)));
        assert_eq!(parse_duration("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(parse_duration("1m0s"), Ok(Duration::from_secs(60)));
        assert_eq!(parse_duration("1.5s"), Ok(Duration::from_millis(1500)));
        for bad in ["", "5", "s", "-5s", "5 s", "5d"] {
            assert_eq!(parse_duration(bad), Err(NotADuration), "{bad:?}");
        }
        assert_eq!(parse_duration(&format_duration(Duration::from_millis(1250))), Ok(Duration::from_millis(1250)));
    }
}
