//! Failures in a row, though calls do not arrive in the order in which they happened.

use serde::{Deserialize, Serialize};

use crate::time::Time;

/// How many failures there were since the last success.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunState {
    /// The number of failures.
    pub length: u64,
    /// The first of them.
    pub first: Time,
    /// The last of them.
    pub last: Time,
}

impl RunState {
    fn next(self, time: Time, failure: bool, count: u32) -> RunState {
        match failure {
            false => RunState::default(),
            true => RunState {
                length: self.length + u64::from(count),
                first: if self.length == 0 { time } else { self.first },
                last: time,
            },
        }
    }
}

/// The calls of one group that may still be preceded by others, in order, on top of what is settled.
///
/// Of calls at the same instant failures count as later than successes.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Run {
    base: RunState,
    settled: Time,
    recent: Vec<(Time, bool, u32)>,
    /// Entries of `recent` from here on are not in their place yet.
    sorted: usize,
}

impl Run {
    /// A call that ended. One from before what is settled is left out: its place in the run is no longer known.
    pub fn add(&mut self, time: Time, failure: bool, count: u32) {
        if time >= self.settled {
            let in_order =
                self.sorted == self.recent.len() && self.recent.last().is_none_or(|(last, f, _)| (*last, *f) <= (time, failure));
            self.recent.push((time, failure, count));
            self.sorted += usize::from(in_order);
        }
    }

    /// Calls before `until` come no more: they are folded into one state. Call it after each batch of [`Run::add`]. An
    /// `until` that goes back (a clock did) lets older calls in again.
    pub fn settle(&mut self, until: Time) {
        if self.sorted < self.recent.len() {
            self.recent.sort_unstable_by_key(|(time, failure, _)| (*time, *failure));
            self.sorted = self.recent.len();
        }
        if until > self.settled {
            let old = self.recent.partition_point(|(time, ..)| *time < until);
            for (time, failure, count) in self.recent.drain(..old) {
                self.base = self.base.next(time, failure, count);
            }
            self.sorted = self.recent.len();
        }
        self.settled = until;
    }

    /// The run at an instant that is not before what is settled.
    pub fn at(&self, at: Time) -> RunState {
        // Mostly it is now.
        let is_now = self.recent.last().is_none_or(|(time, ..)| *time <= at);
        let end = if is_now { self.recent.len() } else { self.recent.partition_point(|(time, ..)| *time <= at) };
        // Nothing before the last success matters.
        let calls = &self.recent[..end];
        match calls.iter().rposition(|(_, failure, _)| !failure) {
            Some(success) => {
                calls[success..].iter().fold(self.base, |run, (time, failure, count)| run.next(*time, *failure, *count))
            }
            None => calls.iter().fold(self.base, |run, (time, failure, count)| run.next(*time, *failure, *count)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// In whatever order calls come, within what is not settled, the run is that of the ordered calls.
        #[test]
        fn runs_equal_a_recount(calls in prop::collection::vec((0i64..100, prop::bool::ANY), 0..80), cut in 0i64..100, at in 0i64..100) {
            let (first, second): (Vec<_>, Vec<_>) = calls.iter().partition(|(time, _)| *time < cut);
            let mut run = Run::default();
            for (time, failure) in first.into_iter().chain(second) {
                run.add(Time(time + 1), failure, 1);
            }
            let at = at.max(cut);
            run.settle(Time(cut + 1));
            let mut ordered: Vec<_> = calls.into_iter().filter(|(time, _)| *time <= at).collect();
            ordered.sort();
            let expected = ordered.iter().rev().take_while(|(_, failure)| *failure).count() as u64;
            prop_assert_eq!(run.at(Time(at + 1)).length, expected);
        }
    }
}
