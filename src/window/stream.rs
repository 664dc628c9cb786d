//! Buckets of one resolution, and the sliding sums over them.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::{AddAssign, SubAssign};

use rustc_hash::FxHashMap;
use serde::{Deserialize, Serialize};

use crate::calendar::{Period, Zone};
use crate::event::NanoUsd;
use crate::time::{Span, Time};
use crate::window::Group;
use crate::window::gap::Gap;
use crate::window::log::Log;

/// A window is cut into this many buckets at most, so that long ones stay cheap.
const BUCKETS_PER_WINDOW: i64 = 240;
/// The buckets of calendar windows: zones are a whole number of quarters of an hour off UTC, so that each of their days
/// begins where one of these does.
pub const QUARTER: Span = Span::secs(900);
const HOUR: Span = Span::secs(3_600);
const DAY: Span = Span::secs(86_400);

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
    /// Tokens of all types.
    pub tokens: u64,
}

impl Sums {
    /// Calls that ended.
    pub fn finished(&self) -> u64 {
        self.success + self.failure
    }
}

impl AddAssign<&Sums> for Sums {
    fn add_assign(&mut self, other: &Sums) {
        self.success = self.success.saturating_add(other.success);
        self.failure = self.failure.saturating_add(other.failure);
        self.abandoned = self.abandoned.saturating_add(other.abandoned);
        self.errors = self.errors.saturating_add(other.errors);
        self.cost = self.cost.saturating_add(other.cost);
        self.uncosted = self.uncosted.saturating_add(other.uncosted);
        self.tokens = self.tokens.saturating_add(other.tokens);
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
        self.tokens = self.tokens.saturating_sub(other.tokens);
    }
}

/// What a bucket holds of a group: it merges, and what was merged can be taken away.
pub trait Cell: Clone + Default + for<'a> AddAssign<&'a Self> + for<'a> SubAssign<&'a Self> {}

impl<C: Clone + Default + for<'a> AddAssign<&'a C> + for<'a> SubAssign<&'a C>> Cell for C {}

/// Buckets of one resolution. Bucket k holds (k - 1, k] in units of it; in a stream of calendar windows it holds [k - 1, k),
/// since a day has its first instant and not that of the next.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Stream<C> {
    /// Length of a bucket.
    pub resolution: Span,
    /// It is one of calendar windows.
    pub calendar: bool,
    /// The history that has still to be read into it.
    pub gap: Gap,
    keep: Span,
    buckets: BTreeMap<i64, FxHashMap<Group, C>>,
    #[serde(skip, default = "Vec::new")]
    views: Vec<View<C>>,
}

/// Which instants a window has, as seen from the one that it is asked at.
#[derive(Clone, Debug, PartialEq)]
pub enum Frame {
    /// (t - lag - width, t - lag]
    Sliding {
        /// Length of the window.
        width: Span,
        /// How long before the instant it ends.
        lag: Span,
    },
    /// From the beginning of the period of a calendar that the instant lies in.
    Since(Period, Zone),
    /// So many whole days of a calendar before the one that the instant lies in.
    Days(u16, Zone),
}

impl Frame {
    /// Whether it begins and ends where a calendar says.
    pub fn is_calendar(&self) -> bool {
        !matches!(self, Frame::Sliding { .. })
    }

    /// How far back it reaches at most, by days of 24 hours.
    pub fn reach(&self) -> Span {
        let day = |n: i64| Span(n * DAY.0);
        match self {
            Frame::Sliding { width, lag } => *width + *lag,
            Frame::Since(Period::Day, _) => day(1),
            Frame::Since(Period::Week, _) => day(7),
            Frame::Since(Period::Month, _) => day(31),
            Frame::Days(days, _) => day(i64::from(*days) + 1),
        }
    }

    /// For how long its buckets are kept: a day may have an hour more where clocks go back, two at Troll.
    pub fn keep(&self) -> Span {
        if self.is_calendar() { self.reach() + Span(2 * HOUR.0) } else { self.reach() }
    }

    /// The buckets (from, to] at an instant that lies in bucket `now`.
    fn at(&self, at: Time, now: i64, resolution: Span) -> (i64, i64) {
        match self {
            Frame::Sliding { width, lag } => {
                let end = now - lag.0 / resolution.0;
                (end - width.0 / resolution.0, end)
            }
            Frame::Since(period, zone) => (period.start(at, zone).0.div_euclid(resolution.0), now),
            Frame::Days(days, zone) => {
                let today = Period::Day.start(at, zone);
                let first = Period::Day.start_before(at, zone, *days);
                (first.0.div_euclid(resolution.0), today.0.div_euclid(resolution.0))
            }
        }
    }
}

/// The sums over one window for every group.
#[derive(Debug)]
struct View<C> {
    frame: Frame,
    /// The buckets (from, to] that it holds; none before the first look.
    held: Option<(i64, i64)>,
    cells: Vec<C>,
    log: Log,
}

impl<C: Cell> View<C> {
    fn holds(&self, bucket: i64) -> bool {
        self.held.is_some_and(|(from, to)| bucket <= to && bucket > from)
    }

    fn change(&mut self, group: Group, change: impl FnOnce(&mut C)) {
        let at = group as usize;
        if at >= self.cells.len() {
            self.cells.resize(at + 1, C::default());
        }
        change(&mut self.cells[at]);
        self.log.push(group, self.cells.len());
    }

    fn clear(&mut self) {
        (self.held, self.cells) = (None, Vec::new());
        self.log.forget();
    }
}

/// The length of the buckets of a window: as fine as the rule is evaluated, at most so many of them, and a divisor of
/// both the window and its lags, so that edges fall on edges. Of several lags, `lag` is what all are multiples of.
pub fn resolution(width: Span, lag: Span, interval: Span) -> Span {
    let whole = width.common(lag);
    // Where that is fine enough, edges fall on ticks, so that each tick sees its window in full.
    let on_ticks = whole.common(interval);
    if on_ticks.0 * BUCKETS_PER_WINDOW >= width.0 {
        return on_ticks;
    }
    let finest = interval.0.max(width.0 / BUCKETS_PER_WINDOW).max(1);
    // The coarsest number of buckets whose length is not below `finest`.
    let buckets = (1..=whole.0 / finest).rev().find(|n| whole.0 % n == 0).unwrap_or(1);
    Span(whole.0 / buckets)
}

impl<C: Cell> Stream<C> {
    /// Without buckets or views.
    pub fn new(resolution: Span, calendar: bool) -> Stream<C> {
        Stream { resolution, calendar, gap: Gap::default(), keep: Span::ZERO, buckets: BTreeMap::new(), views: Vec::new() }
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
    pub fn need(&mut self, frame: Frame, keep: Span, read_before: &BTreeSet<String>) -> usize {
        if keep > self.keep {
            self.clear();
            self.gap = Gap::of(read_before.clone());
            self.keep = keep;
        }
        self.views.iter().position(|view| view.frame == frame).unwrap_or_else(|| {
            self.views.push(View { frame, held: None, cells: Vec::new(), log: Log::default() });
            self.views.len() - 1
        })
    }

    /// Forgets all that was counted.
    pub fn clear(&mut self) {
        self.buckets.clear();
        self.views.iter_mut().for_each(View::clear);
    }

    fn bucket(&self, at: Time) -> i64 {
        if self.calendar { at.0.div_euclid(self.resolution.0) + 1 } else { at.ceil(self.resolution).0 / self.resolution.0 }
    }

    /// Adds what an event counts for.
    pub fn add(&mut self, at: Time, group: Group, cell: &C, now: Time) {
        if at <= now - self.keep {
            return;
        }
        let bucket = self.bucket(at);
        *self.buckets.entry(bucket).or_default().entry(group).or_default() += cell;
        for view in self.views.iter_mut().filter(|view| view.holds(bucket)) {
            view.change(group, |sum| *sum += cell);
        }
    }

    /// Drops buckets that no window reaches.
    pub fn forget(&mut self, now: Time) {
        let oldest = self.bucket(now - self.keep);
        while let Some(entry) = self.buckets.first_entry().filter(|entry| *entry.key() < oldest) {
            for view in self.views.iter_mut().filter(|view| view.holds(*entry.key())) {
                entry.get().iter().for_each(|(group, cell)| view.change(*group, |sum| *sum -= cell));
            }
            entry.remove();
        }
    }

    /// Slides a view so that its window is the one of an instant.
    pub fn seek(&mut self, view: usize, at: Time, groups: usize) {
        let now = self.bucket(at);
        let Some(view) = self.views.get_mut(view) else { return };
        if view.cells.len() < groups {
            view.cells.resize(groups, C::default());
        }
        let (from, to) = view.frame.at(at, now, self.resolution);
        if view.held == Some((from, to)) {
            return;
        }
        let buckets = &self.buckets;
        let shift = |view: &mut View<C>, from: i64, to: i64, plus: bool| {
            for (group, cell) in buckets.range(from + 1..to.max(from) + 1).flat_map(|(_, groups)| groups) {
                view.change(*group, |sum| if plus { *sum += cell } else { *sum -= cell });
            }
        };
        match view.held {
            Some((f, t)) if from < t && f < to => {
                shift(view, t, to, true);
                shift(view, from, f, true);
                shift(view, f, from, false);
                shift(view, to, t, false);
                // Another day: what is said of a group may depend on its length, whatever the group had.
                if view.frame.is_calendar() && f != from {
                    view.log.forget();
                }
            }
            _ => {
                view.cells.fill(C::default());
                shift(view, from, to, true);
                view.log.forget();
            }
        }
        view.held = Some((from, to));
    }

    /// What a view holds, by group.
    pub fn cells(&self, view: usize) -> &[C] {
        self.views.get(view).map_or(&[], |view| &view.cells)
    }

    /// Which groups changed in a view.
    pub fn log(&self, view: usize) -> Option<&Log> {
        self.views.get(view).map(|view| &view.log)
    }

    /// What a group had in each bucket of the window that a view stands at.
    pub fn parts(&self, view: usize, group: Group) -> impl Iterator<Item = &C> {
        let held = self.views.get(view).and_then(|view| view.held);
        let buckets = held.map(|(from, to)| self.buckets.range(from + 1..to.max(from) + 1));
        buckets.into_iter().flatten().filter_map(move |(_, groups)| groups.get(&group))
    }

    /// Where a view's window ends.
    pub fn edge(&self, view: usize) -> Time {
        let held = self.views.get(view).and_then(|view| view.held);
        held.map_or(Time::MIN, |(_, to)| Time(to * self.resolution.0))
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
        check("70s", "0s", "15s", "5s");
        check("90s", "0s", "1m", "30s");
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
            let mut stream = Stream::<Sums>::new(Span::secs(5), false);
            let view = stream.need(Frame::Sliding { width, lag }, Span::secs(10_000), &BTreeSet::new());
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
                    prop_assert_eq!(stream.cells(view)[group as usize].failure, expected);
                    prop_assert_eq!(stream.cells(view)[group as usize].cost, 7 * expected as i64);
                }
            }
        }
    }

    /// The first date of the period that a date lies in, told from the calendar alone.
    fn first_date(period: Period, date: jiff::civil::Date) -> jiff::civil::Date {
        match period {
            Period::Day => date,
            Period::Week => date.checked_sub(jiff::Span::new().days(i64::from(date.weekday().to_monday_zero_offset()))).unwrap(),
            Period::Month => date.first_of_month(),
        }
    }

    fn date(zone: &Zone, at: Time) -> jiff::civil::Date {
        zone.day(at).parse().unwrap()
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]
        /// Over ends of months and changes of clocks, in any order, a calendar window holds the calls whose date is in it.
        #[test]
        fn calendar_views_equal_a_recount_of_dates(
            zone in prop::sample::select(vec![
                "UTC", "America/New_York", "Asia/Kolkata", "Asia/Kathmandu", "America/St_Johns", "Australia/Lord_Howe", "Europe/Berlin",
            ]),
            period in prop::sample::select(vec![Period::Day, Period::Week, Period::Month]),
            days in 1u16..9,
            // Weeks around a change of clocks and an end of the month.
            around in prop::sample::select(vec!["2026-03-08T07:00Z", "2026-03-29T01:00Z", "2026-04-04T15:00Z", "2026-11-01T06:00Z"]),
            steps in prop::collection::vec((0u32..3, -1_900i64..1_900, prop::sample::select(vec![0, 1, -1, 61_000_000]), 0u8..7), 1..160),
        ) {
            let zone = zone_named(zone);
            let frames = [Frame::Since(period, zone.clone()), Frame::Days(days, zone.clone())];
            let mut stream = Stream::<Sums>::new(QUARTER, true);
            let keep = Span(90 * DAY.0);
            let views = frames.each_ref().map(|frame| stream.need(frame.clone(), keep, &BTreeSet::new()));
            let middle = Time::parse(&around.replace('Z', ":00Z")).unwrap();
            let mut events: Vec<(Time, Group)> = Vec::new();
            for (group, quarters, beside, what) in steps {
                // At the edges of buckets, just before and after them.
                let at = middle + Span(quarters * QUARTER.0 + beside);
                match what {
                    0..5 => {
                        events.push((at, group));
                        stream.add(at, group, &Sums { cost: 7, ..Sums::default() }, middle);
                    }
                    _ => {
                        let known = Time(at.0.div_euclid(QUARTER.0) * QUARTER.0 + QUARTER.0);
                        let today = date(&zone, at);
                        let first = first_date(period, today);
                        let before = today.checked_sub(jiff::Span::new().days(i64::from(days))).unwrap();
                        views.iter().for_each(|view| stream.seek(*view, at, 3));
                        for group in 0..3u32 {
                            let mine = || events.iter().filter(|(_, g)| *g == group).map(|(time, _)| (*time, date(&zone, *time)));
                            let since = mine().filter(|(time, date)| *time < known && first_date(period, *date) == first).count();
                            let whole = mine().filter(|(_, date)| *date >= before && *date < today).count();
                            let found = views.map(|view| stream.cells(view)[group as usize].cost);
                            prop_assert_eq!(found, [7 * since as i64, 7 * whole as i64], "{} {}", at, zone);
                        }
                    }
                }
            }
        }
    }

    fn zone_named(name: &str) -> Zone {
        serde_json::from_str(&format!("\"{name}\"")).unwrap()
    }

    /// Forgetting at the horizon takes nothing from a window that may still be asked for.
    #[test]
    fn what_is_forgotten_is_in_no_calendar_window() {
        let zone = zone_named("America/New_York");
        // November has an hour more.
        let (start, end) = (Time::parse("2026-11-01T04:00:00Z").unwrap(), Time::parse("2026-12-01T05:00:00Z").unwrap());
        let frame = Frame::Since(Period::Month, zone);
        let mut stream = Stream::<Sums>::new(QUARTER, true);
        let lateness = QUARTER;
        let view = stream.need(frame.clone(), frame.keep() + lateness + QUARTER, &BTreeSet::new());
        let one = Sums { success: 1, ..Sums::default() };
        for at in [start - Span(1), start, end - Span(1), end] {
            stream.add(at, 0, &one, start);
        }
        let mut seen = |at: Time| {
            stream.forget(at - lateness);
            stream.seek(view, at, 1);
            (stream.cells(view)[0].success, stream.edge(view))
        };
        assert_eq!(seen(start), (1, start + QUARTER));
        assert_eq!(seen(end - Span(1)), (2, end));
        assert_eq!(seen(end), (1, end + QUARTER));
        // Rows came late, and the last tick of the month is evaluated again.
        assert_eq!(seen(end - lateness), (2, end));
    }

    #[test]
    fn another_period_is_another_look_at_every_group() {
        let zone = zone_named("Asia/Kolkata");
        let midnight = Time::parse("2026-11-01T18:30:00Z").unwrap();
        let mut stream = Stream::<Sums>::new(QUARTER, true);
        let keep = Span(60 * DAY.0);
        let views = [Frame::Since(Period::Day, zone.clone()), Frame::Since(Period::Month, zone.clone()), Frame::Days(7, zone)]
            .map(|frame| stream.need(frame, keep, &BTreeSet::new()));
        views.iter().for_each(|view| stream.seek(*view, midnight - Span(1), 2));
        let ends = |stream: &Stream<Sums>| views.map(|view| stream.log(view).unwrap().end());
        let known = |stream: &Stream<Sums>, from: [u64; 3]| {
            [0, 1, 2].map(|i| stream.log(views[i]).unwrap().since(from[i]).map(<[Group]>::len))
        };
        let before = ends(&stream);
        stream.add(midnight - Span(1), 1, &Sums { success: 1, ..Sums::default() }, midnight);
        views.iter().for_each(|view| stream.seek(*view, midnight - Span(1), 2));
        assert_eq!(known(&stream, before), [Some(1), Some(1), Some(0)]);
        let before = ends(&stream);
        views.iter().for_each(|view| stream.seek(*view, midnight, 2));
        assert_eq!(known(&stream, before), [None, Some(0), None], "a new day, the same month");
    }
}
