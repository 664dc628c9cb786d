//! The one place where the clock is read.

use crate::time::{Span, Time};

/// The time of day now.
#[allow(clippy::disallowed_methods, reason = "this is the clock")]
pub fn now() -> Time {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    Time(since.map_or_else(|before| -(before.duration().as_micros() as i64), |since| since.as_micros() as i64))
}

/// Measures how long something takes, however the time of day is set meanwhile.
#[derive(Clone, Copy, Debug)]
pub struct Stopwatch(std::time::Instant);

impl Stopwatch {
    /// Starts now.
    #[allow(clippy::disallowed_methods, reason = "this is the clock")]
    pub fn start() -> Stopwatch {
        Stopwatch(std::time::Instant::now())
    }

    /// The time since the start.
    pub fn elapsed(&self) -> Span {
        Span(self.0.elapsed().as_micros() as i64)
    }
}

/// A new name that nothing else has.
pub fn uuid() -> String {
    uuid::Uuid::new_v4().to_string()
}

/// A number in [0, 1) that differs from attempt to attempt, for the jitter of retries.
pub fn jitter(seed: u64) -> f64 {
    // SplitMix64 over the seed and the time.
    let mut z = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15).wrapping_add(now().0 as u64);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64
}
