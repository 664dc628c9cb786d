//! When a delivery is tried again: exponential, with jitter, bounded at both ends, and never for ever.
//!
//! Jitter takes up to half of a step ("equal jitter"): many deliveries that failed together come back apart, and none
//! comes back at once. A receiver's `Retry-After` can only make the wait longer, so that one that answers with zero is
//! not hit faster than one that says nothing.

use crate::limits::{GIVE_UP, RETRY_AFTER_MAX, RETRY_MAX};
use crate::time::{Span, Time};

/// The first step; each further one is twice as long.
const FIRST_STEP: Span = Span::secs(1);

/// When to try again after `attempts_so_far` (at least one) have failed; none where it is time to give up.
///
/// `after` is the receiver's own wish, `jitter` a random number in [0, 1).
pub fn next_attempt(attempts_so_far: u32, first_attempt: Time, now: Time, after: Option<Span>, jitter: f64) -> Option<Time> {
    if now - first_attempt >= GIVE_UP {
        return None;
    }
    // 2^20 steps are far beyond the cap, so that the shift cannot overflow.
    let doublings = attempts_so_far.saturating_sub(1).min(20);
    let step = Span(FIRST_STEP.0 << doublings).min(RETRY_MAX);
    let half = step.0 / 2;
    let wait = Span(half + (half as f64 * jitter.clamp(0.0, 1.0)) as i64);
    Some(now + wait.max(after.unwrap_or(Span::ZERO).min(RETRY_AFTER_MAX)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_and_end() {
        #[track_caller]
        fn check(attempts: u32, since_first: Span, after: Option<Span>, expected: Option<(i64, i64)>) {
            let now = Time::from_secs(1_000_000);
            let wait = |jitter| next_attempt(attempts, now - since_first, now, after, jitter).map(|at| (at - now).0 / 1_000);
            assert_eq!(wait(0.0).zip(wait(1.0)), expected, "{attempts} {since_first} {after:?}");
        }
        check(1, Span::ZERO, None, Some((500, 1_000)));
        check(2, Span::ZERO, None, Some((1_000, 2_000)));
        check(5, Span::ZERO, None, Some((8_000, 16_000)));
        check(10, Span::ZERO, None, Some((150_000, 300_000)));
        check(u32::MAX, Span::ZERO, None, Some((150_000, 300_000)));
        check(1, Span::ZERO, Some(Span::secs(30)), Some((30_000, 30_000)));
        check(1, Span::ZERO, Some(Span::secs(86_400)), Some((3_600_000, 3_600_000)));
        check(10, Span::ZERO, Some(Span::ZERO), Some((150_000, 300_000)));
        check(3, Span(GIVE_UP.0 - 1), None, Some((2_000, 4_000)));
        check(3, GIVE_UP, None, None);
        check(3, GIVE_UP, Some(Span::secs(1)), None);
    }
}
