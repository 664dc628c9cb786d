//! Buckets of one resolution, and the sliding sums over them.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::{AddAssign, SubAssign};

use rustc_hash::FxHashMap;
use serde::{Deserialize, Serialize};

use crate::event::NanoUsd;
use crate::time::{Span, Time};
use crate::window::Group;
use crate::window::gap::Gap;

/// A window is cut into this many buckets at most, so that long ones stay cheap.
const BUCKETS_PER_WINDOW: i64 = 240;

/// What is counted of a group in a bucket or window.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sums {
    /// Calls that succeeded.
    pub success: u64,
    /// Calls that failed.
    pub failure: u64,
    /// Calls that were never finished.
    pub abandoned: u64,
    /// Records of error tables; failed calls where there is none.
    pub errors: u64,
    /// Cost in billionths of a dollar.
    pub cost: NanoUsd,
    /// Calls of unknown cost.
    pub uncosted: u64,
}

impl AddAssign<&Sums> for Sums {
    fn add_assign(&mut self, other: &Sums) {
        self.success = self.success.saturating_add(other.success);
        self.failure = self.failure.saturating_add(other.failure);
        self.abandoned = self.abandoned.saturating_add(other.abandoned);
        self.errors = self.errors.saturating_add(other.errors);
        self.cost = self.cost.saturating_add(other.cost);
        self.uncosted = self.uncosted.saturating_add(other.uncosted);
    }
}

impl SubAssign<&Sums> for Sums {
    fn sub_assign(&mut self, other: &Sums) {
        self.success = self.success.saturating_sub(other.success);
        self.failure = self.failure.saturating_sub(other.failure);
        self.abandoned = self.abandoned.saturating_sub(other.abandoned);
        self.errors = self.errors.saturating_sub(other.errors);
        // What was cut off is not known any more: a cost that is full stays so until its window is summed anew. The others
        // cannot be filled: that takes as many rows as no table has.
        if self.cost < NanoUsd::MAX {
            self.cost = self.cost.saturating_sub(other.cost);
        }
        self.uncosted = self.uncosted.saturating_sub(other.uncosted);
    }
}

/// Buckets of one resolution. Bucket k holds (k - 1, k] in units of it.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Stream {
    /// Length of a bucket.
    pub resolution: Span,
    /// The history that has still to be read into it.
    pub gap: Gap,
    keep: Span,
    buckets: BTreeMap<i64, FxHashMap<Group, Sums>>,
    #[serde(skip)]
    views: Vec<View>,
}

/// The sums over one window for every group.
#[derive(Debug)]
struct View {
    width: i64,
    lag: i64,
    /// The last bucket of the window; none before the first look.
    edge: Option<i64>,
    sums: Vec<Sums>,
}

impl View {
    fn holds(&self, bucket: i64) -> bool {
        self.edge.is_some_and(|edge| bucket <= edge && bucket > edge - self.width)
    }

    fn at(&mut self, group: Group) -> &mut Sums {
        let group = group as usize;
        if group >= self.sums.len() {
            self.sums.resize(group + 1, Sums::default());
        }
        &mut self.sums[group]
    }
}

/// The length of the buckets of a window: as fine as the rule is evaluated, at most so many of them, and a divisor of
/// both the window and its lag, so that edges fall on edges.
pub fn resolution(width: Span, lag: Span, interval: Span) -> Span {
    let finest = interval.0.max(width.0 / BUCKETS_PER_WINDOW).max(1);
    let whole = if lag == Span::ZERO { width.0 } else { greatest_common_divisor(width.0, lag.0) };
    // The coarsest number of buckets whose length is not below `finest`.
    let buckets = (1..=whole / finest).rev().find(|n| whole % n == 0).unwrap_or(1);
    Span(whole / buckets)
}

fn greatest_common_divisor(a: i64, b: i64) -> i64 {
    if b == 0 { a } else { greatest_common_divisor(b, a % b) }
}

impl Stream {
    /// Without buckets or views.
    pub fn new(resolution: Span) -> Stream {
        Stream { resolution, ..Stream::default() }
    }

    /// How far back its buckets go.
    pub fn keep(&self) -> Span {
        self.keep
    }

    /// Whether a rule reads it.
    pub fn is_needed(&self) -> bool {
        !self.views.is_empty()
    }

    /// Before the rules say again what they need.
    pub fn forget_needs(&mut self) {
        self.views.clear();
    }

    /// Frees what no rule needs any more; should one need it again, it is filled again.
    pub fn drop_unneeded(&mut self) {
        if !self.is_needed() {
            (self.buckets, self.keep, self.gap) = (BTreeMap::new(), Span::ZERO, Gap::default());
        }
    }

    /// Adds a view or finds it; one that looks further back than the buckets go has them filled again.
    pub fn need(&mut self, width: Span, lag: Span, keep: Span, read_before: &BTreeSet<String>) -> usize {
        if keep > self.keep {
            self.clear();
            self.gap = Gap::of(read_before.clone());
            self.keep = keep;
        }
        let (width, lag) = (width.0 / self.resolution.0, lag.0 / self.resolution.0);
        self.views.iter().position(|view| (view.width, view.lag) == (width, lag)).unwrap_or_else(|| {
            self.views.push(View { width, lag, edge: None, sums: Vec::new() });
            self.views.len() - 1
        })
    }

    /// Forgets all that was counted.
    pub fn clear(&mut self) {
        self.buckets.clear();
        self.views.iter_mut().for_each(|view| (view.edge, view.sums) = (None, Vec::new()));
    }

    fn bucket(&self, at: Time) -> i64 {
        at.ceil(self.resolution).0 / self.resolution.0
    }

    /// Adds what an event counts for.
    pub fn add(&mut self, at: Time, group: Group, sums: &Sums, now: Time) {
        if at <= now - self.keep {
            return;
        }
        let bucket = self.bucket(at);
        *self.buckets.entry(bucket).or_default().entry(group).or_default() += sums;
        for view in self.views.iter_mut().filter(|view| view.holds(bucket)) {
            *view.at(group) += sums;
        }
    }

    /// Drops buckets that no window reaches.
    pub fn forget(&mut self, now: Time) {
        let oldest = self.bucket(now - self.keep);
        while let Some(entry) = self.buckets.first_entry().filter(|entry| *entry.key() < oldest) {
            for view in self.views.iter_mut().filter(|view| view.holds(*entry.key())) {
                entry.get().iter().for_each(|(group, sums)| *view.at(*group) -= sums);
            }
            entry.remove();
        }
    }

    /// Slides a view so that its window is the one of an instant.
    pub fn seek(&mut self, view: usize, at: Time, groups: usize) {
        let edge = self.bucket(at);
        let Some(view) = self.views.get_mut(view) else { return };
        if view.sums.len() < groups {
            view.sums.resize(groups, Sums::default());
        }
        let edge = edge - view.lag;
        let width = view.width;
        match view.edge {
            Some(before) if (edge - before).abs() < width => {
                let (low, high) = (before.min(edge), before.max(edge));
                for (_, groups) in self.buckets.range(low + 1..high + 1) {
                    groups.iter().for_each(
                        |(group, sums)| if edge > before { *view.at(*group) += sums } else { *view.at(*group) -= sums },
                    );
                }
                for (_, groups) in self.buckets.range(low - width + 1..high - width + 1) {
                    groups.iter().for_each(
                        |(group, sums)| if edge > before { *view.at(*group) -= sums } else { *view.at(*group) += sums },
                    );
                }
            }
            _ => {
                view.sums.fill(Sums::default());
                for (_, groups) in self.buckets.range(edge - width + 1..=edge) {
                    groups.iter().for_each(|(group, sums)| *view.at(*group) += sums);
                }
            }
        }
        view.edge = Some(edge);
    }

    /// The sums that a view holds.
    pub fn sums(&self, view: usize) -> &[Sums] {
        self.views.get(view).map_or(&[], |view| &view.sums)
    }

    /// Where a view's window ends.
    pub fn edge(&self, view: usize) -> Time {
        let edge = self.views.get(view).and_then(|view| view.edge);
        edge.map_or(Time::MIN, |edge| Time(edge * self.resolution.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn resolutions_divide_their_windows() {
        #[track_caller]
        fn check(width: &str, lag: &str, interval: &str, expected: &str) {
            let span = |text| Span::parse(text).unwrap();
            assert_eq!(resolution(span(width), span(lag), span(interval)), span(expected));
        }
        check("1h", "0s", "15s", "15s");
        check("24h", "0s", "15s", "6m");
        check("24h", "24h", "15s", "6m");
        check("10s", "0s", "1m", "10s");
        check("70s", "0s", "15s", "17s500ms");
        check("6h", "9h", "15s", "90s");
    }

    #[test]
    fn a_cost_that_is_full_neither_wraps_nor_falls_short() {
        let most = Sums { cost: NanoUsd::MAX / 2 + 1, success: 1, ..Sums::default() };
        let mut sums = Sums::default();
        sums += &most;
        sums += &most;
        assert_eq!((sums.cost, sums.success), (NanoUsd::MAX, 2));
        sums -= &most;
        assert_eq!((sums.cost, sums.success), (NanoUsd::MAX, 1));
    }

    proptest! {
        /// Wherever a view goes and whatever comes meanwhile, it holds what a recount gives.
        #[test]
        fn views_equal_a_recount(steps in prop::collection::vec((0u32..4, 0i64..400, prop::bool::ANY), 1..120)) {
            let (width, lag) = (Span::secs(60), Span::secs(20));
            let mut stream = Stream::new(Span::secs(5));
            let view = stream.need(width, lag, Span::secs(10_000), &BTreeSet::new());
            let mut events: Vec<(Time, Group)> = Vec::new();
            for (group, at, add) in steps {
                let at = Time::from_secs(1_000 + at);
                if add {
                    events.push((at, group));
                    stream.add(at, group, &Sums { failure: 1, cost: 7, ..Sums::default() }, Time::from_secs(2_000));
                    continue;
                }
                stream.seek(view, at, 4);
                let end = at.ceil(Span::secs(5)) - lag;
                for group in 0..4u32 {
                    let expected = events.iter().filter(|(time, g)| *g == group && *time <= end && *time > end - width).count() as u64;
                    prop_assert_eq!(stream.sums(view)[group as usize].failure, expected);
                    prop_assert_eq!(stream.sums(view)[group as usize].cost, 7 * expected as i64);
                }
            }
        }
    }
}
