//! Events to mergeable buckets, and sliding sums over them that cost only what changed.
//!
//! A [`Pool`] holds what all rules with the same selection share: the groups, numbered from 0, and one [`Stream`] of
//! buckets for each resolution and for each kind of thing that is kept ([`Need`]). A bucket ends at a multiple of its
//! resolution and does not contain its beginning, so that a window (t - w, t] is a whole number of them; at an instant
//! between two multiples the window ends at the later one. Days, weeks and months of a calendar begin with an instant and end
//! before one, and so do their buckets. A view is what one window holds for every group, kept as a
//! plain array: it slides by adding the buckets that enter and taking away those that leave, forwards and back, and
//! notes which groups that changed ([`Log`]), so that a tick costs what changed.

mod gap;
mod histogram;
mod log;
mod pool;
mod run;
mod spread;
mod stream;

pub use gap::Gap;
pub use histogram::Histogram;
pub use log::Log;
pub use pool::Pool;
pub use run::{Run, RunState};
pub use spread::{Distinct, Spread};
use stream::Frame;
pub use stream::{Stream, Sums};

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::calendar::{Period, Zone};
use crate::event::{Event, Outcome};
use crate::labels::{Labels, Matcher};
use crate::source::Kind;
use crate::time::{Span, Time};

/// Number of a group within its pool.
pub type Group = u32;

/// The measure that every call has: its duration in seconds.
pub const LATENCY: &str = "latency";

/// Which events a rule reads and what it groups them on.
#[derive(Clone, Debug, Default)]
pub struct Selector {
    /// Dimensions; `source` and `table` count as such.
    pub by: Vec<String>,
    /// `where`
    pub matchers: Vec<Matcher>,
    /// Calls are told apart by their duration and not by their outcome: one that took longer than this failed, any
    /// other succeeded, and one of unknown duration is left out.
    pub slower_than: Option<Span>,
}

impl Selector {
    fn key(&self) -> String {
        let matchers: Vec<String> = self.matchers.iter().map(ToString::to_string).collect();
        let slower = self.slower_than.map_or_else(String::new, |span| format!(" slower than {span}"));
        format!("by {} where {}{slower}", self.by.join(","), matchers.join(","))
    }

    /// The dimensions that it looks at.
    pub fn dimensions(&self) -> impl Iterator<Item = &str> {
        self.by.iter().map(String::as_str).chain(self.matchers.iter().map(|matcher| matcher.name.as_str()))
    }
}

/// What a rule reads of its selection; a window is (t - lag - width, t - lag].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Need {
    /// Counts and sums over a window.
    Window {
        /// Length of the window.
        width: Span,
        /// How long before the evaluation it ends.
        lag: Span,
    },
    /// How the values of a measure are spread over a window.
    Measure {
        /// Its name; [`LATENCY`] is one that every table has.
        name: String,
        /// Length of the window.
        width: Span,
        /// How long before the evaluation it ends.
        lag: Span,
    },
    /// The distinct values of a dimension in a window.
    Distinct {
        /// The dimension.
        dimension: String,
        /// Length of the window.
        width: Span,
        /// How long before the evaluation it ends.
        lag: Span,
    },
    /// The current run of failures.
    Run,
    /// The time of the oldest row of each group, calls and records of errors alike.
    Oldest {
        /// How far back rows are looked for.
        back: Span,
    },
    /// Counts and sums since the beginning of the day, week or month that the evaluation lies in.
    Since {
        /// Day, week or month.
        period: Period,
        /// Whose calendar.
        zone: Zone,
    },
    /// Counts and sums over whole days of a calendar, up to the beginning of the one that the evaluation lies in.
    Days {
        /// How many.
        days: u16,
        /// Whose calendar.
        zone: Zone,
    },
}

impl Need {
    /// The instants that it is about; a run has no window, nor has what is oldest.
    pub(super) fn frame(&self) -> Option<Frame> {
        match self {
            Need::Run | Need::Oldest { .. } => None,
            Need::Window { width, lag } | Need::Measure { width, lag, .. } | Need::Distinct { width, lag, .. } => {
                Some(Frame::Sliding { width: *width, lag: *lag })
            }
            Need::Since { period, zone } => Some(Frame::Since(*period, zone.clone())),
            Need::Days { days, zone } => Some(Frame::Days(*days, zone.clone())),
        }
    }

    /// How far back it looks.
    pub fn reach(&self) -> Span {
        match self {
            Need::Oldest { back } => *back,
            _ => self.frame().map_or(Span::ZERO, |frame| frame.reach()),
        }
    }
}

/// The length of the buckets of each need of a rule; windows of one width share theirs, so that they can be compared: all end
/// at the same distances from each other, at whatever instant.
pub fn resolutions(needs: &[Need], interval: Span) -> Vec<Span> {
    let frames: Vec<Option<Frame>> = needs.iter().map(Need::frame).collect();
    let mut steps: BTreeMap<Span, Span> = BTreeMap::new();
    for frame in frames.iter().flatten() {
        if let Frame::Sliding { width, lag } = frame {
            let step = steps.entry(*width).or_default();
            *step = step.common(*lag);
        }
    }
    let resolution = |frame: &Option<Frame>| match frame {
        Some(Frame::Sliding { width, .. }) => stream::resolution(*width, steps[width], interval),
        Some(Frame::Since(..) | Frame::Days(..)) => stream::QUARTER,
        None => Span::ZERO,
    };
    frames.iter().map(resolution).collect()
}

/// Where a rule finds what it needs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Handle {
    pool: usize,
    slot: pool::Slot,
}

/// What is known of a table whose events come in.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Table {
    /// Label `source`.
    pub source: String,
    /// Label `table`.
    pub name: String,
    /// Calls or error records.
    pub kind: Kind,
    /// Names of the values of its shapes.
    pub dimensions: Vec<String>,
    /// Names of the measures of its events.
    pub measures: Vec<String>,
    /// Dimensions of which its events carry the digest.
    pub marks: Vec<String>,
    /// Its failures are the errors of their source, since no table of errors is read there.
    pub failures_are_errors: bool,
}

impl Table {
    /// The value of a label for a shape of this table.
    pub fn value<'a>(&'a self, label: &str, shape: &'a [String]) -> &'a str {
        match label {
            "source" => &self.source,
            "table" => &self.name,
            _ => self.dimensions.iter().position(|name| name == label).and_then(|i| shape.get(i)).map_or("", String::as_str),
        }
    }
}

/// The windows of all rules.
#[derive(Debug, Default)]
pub struct Windows {
    tables: Vec<Table>,
    pools: Vec<Pool>,
    /// For each table and shape: its group in each pool that takes it.
    targets: Vec<Vec<Vec<(usize, Group)>>>,
    max_groups: usize,
    lateness: Span,
}

/// What is stored of the windows.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Stored(Vec<Pool>);

impl Windows {
    /// No windows yet for these tables; streams keep `lateness` more than their longest window, to look back.
    pub fn new(tables: Vec<Table>, max_groups: usize, lateness: Span) -> Windows {
        let targets = tables.iter().map(|_| Vec::new()).collect();
        Windows { tables, pools: Vec::new(), targets, max_groups, lateness }
    }

    /// Takes up what was stored; call it before any [`Windows::need`].
    pub fn restore(&mut self, stored: Stored) {
        for mut pool in stored.0 {
            pool.forget_needs();
            self.pools.push(pool);
        }
    }

    /// What is to be stored; [`Stored`] reads it.
    pub fn stored(&self) -> &[Pool] {
        &self.pools
    }

    /// Gives up its pools, for windows over other tables or rules.
    pub fn into_stored(mut self) -> Stored {
        self.pools.retain(|pool| pool.counts(Kind::Usage) || pool.counts(Kind::Errors));
        Stored(self.pools)
    }

    /// Asks for something to be kept in buckets of a length ([`resolutions`]); what is new lacks the history of the sources
    /// that were read before.
    pub fn need(&mut self, selector: &Selector, need: &Need, resolution: Span, read_before: &BTreeSet<String>) -> Handle {
        let key = selector.key();
        let pool = self.pools.iter().position(|pool| pool.key == key).unwrap_or_else(|| {
            self.pools.push(Pool::new(key));
            self.pools.len() - 1
        });
        let lateness = self.lateness;
        let entry = &mut self.pools[pool];
        entry.selector = selector.clone();
        Handle { pool, slot: entry.need(need, resolution, lateness, read_before) }
    }

    /// Drops what nobody asked for since [`Windows::restore`], and gives every known shape its groups.
    pub fn settle_needs<'a>(&mut self, shapes: impl Iterator<Item = &'a [Vec<String>]>) {
        let sources: BTreeSet<String> = self.tables.iter().map(|table| table.source.clone()).collect();
        // Handles count pools and streams, so that none may move: what is not needed is emptied in place.
        for pool in &mut self.pools {
            pool.settle_needs(&sources);
            // What is not grouped is there before its first call.
            if pool.selector.by.is_empty() {
                pool.group(Vec::new(), self.max_groups);
            }
        }
        for (table, shapes) in shapes.enumerate() {
            self.targets[table].clear();
            shapes.iter().for_each(|values| self.add_shape(table, values));
        }
    }

    /// A shape that was met for the first time; they come in the order of their numbers.
    pub fn add_shape(&mut self, table: usize, values: &[String]) {
        let info = &self.tables[table];
        let mut targets = Vec::new();
        for (i, pool) in self.pools.iter_mut().enumerate() {
            let matches = |matcher: &Matcher| matcher.matches(info.value(&matcher.name, values));
            if pool.counts(info.kind) && pool.selector.matchers.iter().all(matches) {
                let group = pool.selector.by.iter().map(|label| info.value(label, values).to_owned()).collect();
                targets.push((i, pool.group(group, self.max_groups)));
            }
        }
        self.targets[table].push(targets);
    }

    /// Whether the history of a source has still to be read for some stream, and from when on.
    pub fn missing_from(&self, source: &str, now: Time) -> Option<Time> {
        self.pools.iter().filter_map(|pool| pool.missing_from(source, now)).min()
    }

    /// The history of a source is read from now on, from its beginning, where it is missing; the answer is from when on.
    pub fn begin_fill(&mut self, source: &str, now: Time) -> Option<Time> {
        let all: BTreeSet<String> = self.tables.iter().map(|table| table.source.clone()).collect();
        self.pools.iter_mut().for_each(|pool| pool.begin_fill(source, &all));
        self.missing_from(source, now)
    }

    /// The history of a source is complete everywhere.
    pub fn filled(&mut self, source: &str) {
        self.pools.iter_mut().for_each(|pool| pool.filled(source));
    }

    /// Whether what a handle shows is complete.
    pub fn is_complete(&self, handle: Handle) -> bool {
        self.pools[handle.pool].is_complete(handle.slot)
    }

    /// Adds events of one table; `fill` ones only where history is still missing. `now` bounds what is kept.
    pub fn add(&mut self, table: usize, events: &[Event], now: Time, fill: bool) {
        let info = &self.tables[table];
        for event in events {
            let Some(targets) = self.targets[table].get(event.shape as usize) else { continue };
            let sums = sums_of(info, event);
            for &(pool, group) in targets {
                self.pools[pool].add(info, event, group, &sums, now, fill);
            }
        }
    }

    /// Forgets what no window will ask for again; calls before `settled` come no more.
    pub fn forget(&mut self, now: Time, settled: Time) {
        self.pools.iter_mut().for_each(|pool| pool.forget(now, settled));
    }

    /// Slides a view to an instant; all reads of it are about that instant then.
    pub fn seek(&mut self, handle: Handle, at: Time) {
        self.pools[handle.pool].seek(handle.slot, at);
    }

    /// Slides a view to the last instant up to `at` where its window ends: no part of it is still to come.
    pub fn seek_past(&mut self, handle: Handle, at: Time) {
        let pool = &mut self.pools[handle.pool];
        let at = pool.resolution(handle.slot).map_or(at, |resolution| at.floor(resolution));
        pool.seek(handle.slot, at);
    }

    /// The sums of every group, by its number, over the window that [`Windows::seek`] went to.
    pub fn sums(&self, handle: Handle) -> &[Sums] {
        self.pools[handle.pool].sums(handle.slot)
    }

    /// How a measure of every group is spread over the window that [`Windows::seek`] went to.
    pub fn spreads(&self, handle: Handle) -> &[Spread] {
        self.pools[handle.pool].spreads(handle.slot)
    }

    /// The lowest and the highest value of a measure of a group over that window.
    pub fn bounds(&self, handle: Handle, group: Group) -> Option<(i64, i64)> {
        self.pools[handle.pool].bounds(handle.slot, group)
    }

    /// The distinct values of every group over the window that [`Windows::seek`] went to.
    pub fn distinct(&self, handle: Handle) -> &[Distinct] {
        self.pools[handle.pool].distinct(handle.slot)
    }

    /// The end of the window that a view stands at.
    pub fn edge(&self, handle: Handle) -> Time {
        self.pools[handle.pool].edge(handle.slot)
    }

    /// Which groups of a view changed.
    pub fn log(&self, handle: Handle) -> Option<&Log> {
        self.pools[handle.pool].log(handle.slot)
    }

    /// How many groups a selection has.
    pub fn groups(&self, handle: Handle) -> usize {
        self.pools[handle.pool].values.len()
    }

    /// The labels of a group.
    pub fn labels(&self, handle: Handle, group: Group) -> Labels {
        let pool = &self.pools[handle.pool];
        pool.selector.by.iter().zip(&pool.values[group as usize]).map(|(name, value)| (name.as_str(), value.as_str())).collect()
    }

    /// The values of a group, in the order of `by`.
    pub fn values(&self, handle: Handle, group: Group) -> &[String] {
        &self.pools[handle.pool].values[group as usize]
    }

    /// Time of the oldest call of each group, by its number.
    pub fn firsts(&self, handle: Handle) -> &[Time] {
        &self.pools[handle.pool].first
    }

    /// Time of the newest call of each group, by its number.
    pub fn lasts(&self, handle: Handle) -> &[Time] {
        &self.pools[handle.pool].last
    }

    /// Time of the oldest row of each group, by its number, where that was asked for.
    pub fn oldest(&self, handle: Handle) -> &[Time] {
        self.pools[handle.pool].oldest.as_deref().unwrap_or_default()
    }

    /// Which groups had calls, in the order in which they were counted.
    pub fn calls(&self, handle: Handle) -> &Log {
        &self.pools[handle.pool].calls
    }

    /// The run of failures of a group at an instant.
    pub fn run(&self, handle: Handle, group: Group, at: Time) -> RunState {
        self.pools[handle.pool].run(group, at)
    }

    /// The group that a shape of a table belongs to in the pool of a handle.
    pub fn group_of(&self, handle: Handle, table: usize, shape: u32) -> Option<Group> {
        let targets = self.targets[table].get(shape as usize)?;
        targets.iter().find(|(pool, _)| *pool == handle.pool).map(|(_, group)| *group)
    }

    /// Which pools a batch's events go to, with the earliest time that they have there.
    pub fn touched(&self, table: usize, events: &[Event]) -> BTreeMap<usize, Time> {
        let mut touched = BTreeMap::new();
        for event in events {
            for (pool, _) in self.targets[table].get(event.shape as usize).into_iter().flatten() {
                let earliest = touched.entry(*pool).or_insert(event.time);
                *earliest = (*earliest).min(event.time);
            }
        }
        touched
    }

    /// The number of the pool of a handle, as [`Windows::touched`] gives it.
    pub fn pool(&self, handle: Handle) -> usize {
        handle.pool
    }
}

fn sums_of(table: &Table, event: &Event) -> Sums {
    let count = u64::from(event.count);
    // A call and its error record are never added up.
    if table.kind == Kind::Errors {
        return Sums { errors: count, ..Sums::default() };
    }
    let tokens = event.input_tokens + event.output_tokens + event.unspecified_tokens;
    let mut sums = Sums { cost: event.cost.unwrap_or(0), tokens, ..Sums::default() };
    match event.outcome {
        Outcome::Success => sums.success = count,
        Outcome::Failure => sums.failure = count,
        Outcome::Abandoned => sums.abandoned = count,
    }
    if event.outcome == Outcome::Failure && table.failures_are_errors {
        sums.errors = count;
    }
    if event.cost.is_none() && event.outcome != Outcome::Abandoned {
        sums.uncosted = count;
    }
    sums
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two sources with a table each; a rule that is new after both were read.
    fn windows() -> (Windows, Handle, Handle) {
        let table = |source: &str| Table {
            source: source.into(),
            name: "t".into(),
            kind: Kind::Usage,
            dimensions: Vec::new(),
            measures: Vec::new(),
            marks: Vec::new(),
            failures_are_errors: true,
        };
        let mut windows = Windows::new(vec![table("a"), table("b")], 10, Span::ZERO);
        let read_before = BTreeSet::from(["a".to_owned(), "b".to_owned()]);
        let need = Need::Window { width: Span::secs(100), lag: Span::ZERO };
        let sums = windows.need(&Selector::default(), &need, Span::secs(10), &read_before);
        let run = windows.need(&Selector::default(), &Need::Run, Span::secs(10), &read_before);
        let shape = [Vec::new()];
        windows.settle_needs([shape.as_slice(), shape.as_slice()].into_iter());
        (windows, sums, run)
    }

    #[test]
    fn history_that_was_cut_off_is_read_again_and_counted_once() {
        let (mut windows, sums, run) = windows();
        let now = Time::from_secs(1_000);
        let failure = Event { time: Time::from_secs(950), count: 1, outcome: Outcome::Failure, ..Event::default() };
        let mut failures = |steps: &[(&str, usize, bool)]| {
            for (step, table, fill) in steps {
                match *step {
                    "add" => windows.add(*table, std::slice::from_ref(&failure), now, *fill),
                    "begin" => drop(windows.begin_fill(["a", "b"][*table], now)),
                    _ => windows.filled(["a", "b"][*table]),
                }
            }
            windows.forget(now, Time::MIN);
            windows.seek(sums, now);
            (
                windows.sums(sums)[0].failure,
                windows.run(run, 0, now).length,
                windows.is_complete(sums) && windows.is_complete(run),
            )
        };
        // New events of a source whose history is missing are part of what will be read.
        assert_eq!(failures(&[("add", 0, false)]), (0, 0, false));
        assert_eq!(failures(&[("begin", 0, true), ("add", 0, true), ("end", 0, true)]), (1, 1, false));
        assert_eq!(failures(&[("add", 0, false)]), (2, 2, false));
        // The other source's reading is cut off: all is read again.
        assert_eq!(failures(&[("begin", 1, true), ("add", 1, true)]), (3, 3, false));
        assert_eq!(failures(&[("begin", 1, true)]), (0, 0, false));
        assert_eq!(failures(&[("add", 1, true), ("end", 1, true)]), (1, 1, false));
        let again = [("begin", 0, true), ("add", 0, true), ("add", 0, true), ("end", 0, true)];
        assert_eq!(failures(&again), (3, 3, true));
        assert_eq!(failures(&[("add", 0, false), ("add", 1, false)]), (5, 5, true));
    }
}
