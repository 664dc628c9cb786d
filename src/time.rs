//! Instants and spans as everything here uses them: whole microseconds, UTC, no clock.
//!
//! The wall clock is read in `engine/clock.rs` and nowhere else; all other code gets its `now` as an
//! argument, so that run, backtest and tests are one code on different clocks.

use std::fmt;
use std::ops::{Add, Sub};

use serde::{Deserialize, Serialize};

/// An instant: microseconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Time(pub i64);

/// A length of time in microseconds; written `90s`, `1h30m`, `200ms` as in Prometheus.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Span(pub i64);

/// The units of a written span, largest first, in microseconds.
const UNITS: [(&str, i64); 7] = [
    ("y", 365 * 86_400_000_000),
    ("w", 7 * 86_400_000_000),
    ("d", 86_400_000_000),
    ("h", 3_600_000_000),
    ("m", 60_000_000),
    ("s", 1_000_000),
    ("ms", 1_000),
];

impl Time {
    /// The earliest instant there is; older than any row.
    pub const MIN: Time = Time(i64::MIN / 4);

    /// From seconds since the epoch.
    pub const fn from_secs(secs: i64) -> Time {
        Time(secs * 1_000_000)
    }

    /// Seconds since the epoch, with their fraction.
    pub fn as_secs_f64(self) -> f64 {
        self.0 as f64 / 1e6
    }

    /// Reads RFC 3339 (`2026-11-20T20:00:00Z`), or the same without a zone and with a space, meaning UTC.
    pub fn parse(text: &str) -> Result<Time, String> {
        let zoned = text.parse::<jiff::Timestamp>();
        let naive =
            || text.parse::<jiff::civil::DateTime>().and_then(|at| at.to_zoned(jiff::tz::TimeZone::UTC)).map(|at| at.timestamp());
        zoned
            .or_else(|_| naive())
            .map(|at| Time(at.as_microsecond()))
            .map_err(|_| format!("`{text}` is no time; write it as 2026-11-20T20:00:00Z"))
    }

    /// The last multiple of `step` since the epoch that is not after this instant.
    pub fn floor(self, step: Span) -> Time {
        Time(self.0.div_euclid(step.0) * step.0)
    }

    /// The first multiple of `step` since the epoch that is not before this instant.
    pub fn ceil(self, step: Span) -> Time {
        Time(-((-self.0).div_euclid(step.0)) * step.0)
    }

    /// The same as jiff has it, at most its first or last instant.
    pub fn to_jiff(self) -> jiff::Timestamp {
        jiff::Timestamp::from_microsecond(self.0).unwrap_or(if self.0 < 0 { jiff::Timestamp::MIN } else { jiff::Timestamp::MAX })
    }
}

impl fmt::Display for Time {
    /// RFC 3339 in UTC, with as many digits of a second as there are.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.to_jiff().fmt(f)
    }
}

impl Span {
    /// No time at all.
    pub const ZERO: Span = Span(0);

    /// From whole seconds.
    pub const fn secs(secs: i64) -> Span {
        Span(secs * 1_000_000)
    }

    /// From milliseconds.
    pub const fn millis(millis: i64) -> Span {
        Span(millis * 1_000)
    }

    /// Seconds, with their fraction.
    pub fn as_secs_f64(self) -> f64 {
        self.0 as f64 / 1e6
    }

    /// For timers and timeouts; a negative span is zero.
    pub fn to_std(self) -> std::time::Duration {
        std::time::Duration::from_micros(self.0.max(0) as u64)
    }

    /// The longest span that both are multiples of; nothing is a multiple of any.
    pub fn common(self, other: Span) -> Span {
        let (mut a, mut b) = (self.0.abs(), other.0.abs());
        while b != 0 {
            (a, b) = (b, a % b);
        }
        Span(a)
    }

    /// Reads Prometheus' notation: units from large to small, each at most once.
    pub fn parse(text: &str) -> Result<Span, String> {
        let fault = || format!("`{text}` is no duration; write it as 30s, 5m, 1h30m, 14d or 200ms");
        if text == "0" {
            return Ok(Span::ZERO);
        }
        let (mut rest, mut total, mut last) = (text, 0i64, i64::MAX);
        while !rest.is_empty() {
            let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
            let (number, tail) = rest.split_at(digits);
            let letters = tail.bytes().take_while(u8::is_ascii_alphabetic).count();
            let (unit, tail) = tail.split_at(letters);
            let &(_, micros) = UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(fault)?;
            let number: i64 = number.parse().map_err(|_| fault())?;
            if micros >= last {
                return Err(fault());
            }
            last = micros;
            total = number.checked_mul(micros).and_then(|n| total.checked_add(n)).ok_or_else(fault)?;
            rest = tail;
        }
        if text.is_empty() { Err(fault()) } else { Ok(Span(total)) }
    }
}

impl fmt::Display for Span {
    /// The notation that `parse` reads; what is finer than a millisecond is dropped.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.0.abs();
        if rest < 1_000 {
            return f.write_str("0s");
        }
        if self.0 < 0 {
            f.write_str("-")?;
        }
        for (unit, micros) in &UNITS[2..] {
            let n = rest / micros;
            rest %= micros;
            if n > 0 {
                write!(f, "{n}{unit}")?;
            }
        }
        Ok(())
    }
}

impl Add<Span> for Time {
    type Output = Time;
    fn add(self, span: Span) -> Time {
        Time(self.0.saturating_add(span.0))
    }
}

impl Add for Span {
    type Output = Span;
    fn add(self, other: Span) -> Span {
        Span(self.0.saturating_add(other.0))
    }
}

impl Sub<Span> for Time {
    type Output = Time;
    fn sub(self, span: Span) -> Time {
        Time(self.0.saturating_sub(span.0))
    }
}

impl Sub for Time {
    type Output = Span;
    fn sub(self, other: Time) -> Span {
        Span(self.0.saturating_sub(other.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_round_trip() {
        for text in ["200ms", "30s", "5m", "1h30m", "14d", "1d2h3m4s5ms"] {
            assert_eq!(Span::parse(text).unwrap().to_string(), text);
        }
        for bad in ["", "5", "m", "5x", "5m1h", "5m5m", "-5m", "1.5h", "99999999999999y"] {
            assert!(Span::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn times_read_both_forms() {
        let at = Time::parse("2023-12-19T00:00:01.5Z").unwrap();
        assert_eq!(at, Time::parse("2023-12-19 00:00:01.500").unwrap());
        assert_eq!(at.to_string(), "2023-12-19T00:00:01.5Z");
        assert!(Time::parse("yesterday").is_err());
    }

    #[test]
    fn floor_and_ceil_hold_below_the_epoch() {
        let step = Span(10);
        assert_eq!((Time(-1).floor(step), Time(-1).ceil(step)), (Time(-10), Time(0)));
        assert_eq!((Time(11).floor(step), Time(11).ceil(step)), (Time(10), Time(20)));
        assert_eq!((Time(20).floor(step), Time(20).ceil(step)), (Time(20), Time(20)));
    }
}
