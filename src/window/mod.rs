//! Events to mergeable buckets, and sliding sums over them that cost only what changed.
//!
//! A [`Pool`] holds what all rules with the same `by` and `where` share: the groups, numbered from 0, and one [`Stream`]
//! of buckets for each resolution. A bucket ends at a multiple of its resolution and does not contain its beginning, so
//! that a window (t - w, t] is a whole number of them; at an instant between two multiples the window ends at the later
//! one. A view is the sum over one window for every group, kept as a plain array: it slides by adding the buckets that
//! enter and taking away those that leave, forwards and back, so that a tick costs what changed and a rule's scan is a
//! walk through memory.

mod gap;
mod run;
mod stream;

pub use gap::Gap;
pub use run::{Run, RunState};
pub use stream::{Stream, Sums};

use std::collections::{BTreeMap, BTreeSet};

use rustc_hash::FxHashMap;
use serde::{Deserialize, Serialize};

use crate::event::{Event, Outcome};
use crate::labels::{Labels, Matcher};
use crate::source::Kind;
use crate::source::shapes::OTHER;
use crate::time::{Span, Time};

/// Number of a group within its pool.
pub type Group = u32;

/// Which events a rule reads and what it groups them on.
#[derive(Clone, Debug, Default)]
pub struct Selector {
    /// Dimensions; `source` and `table` count as such.
    pub by: Vec<String>,
    /// `where`
    pub matchers: Vec<Matcher>,
}

impl Selector {
    fn key(&self) -> String {
        let matchers: Vec<String> = self.matchers.iter().map(ToString::to_string).collect();
        format!("by {} where {}", self.by.join(","), matchers.join(","))
    }

    /// The dimensions that it looks at.
    pub fn dimensions(&self) -> impl Iterator<Item = &str> {
        self.by.iter().map(String::as_str).chain(self.matchers.iter().map(|matcher| matcher.name.as_str()))
    }
}

/// What a rule reads of its selection.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum Need {
    /// Sums over (t - lag - width, t - lag].
    Window {
        /// Length of the window.
        width: Span,
        /// How long before the evaluation it ends.
        lag: Span,
    },
    /// The current run of failures.
    Run,
}

/// Where a rule finds what it needs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Handle {
    pool: usize,
    stream: usize,
    view: usize,
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

/// What all rules with the same selection share.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Pool {
    key: String,
    values: Vec<Vec<String>>,
    /// Time of the oldest call of each group.
    first: Vec<Time>,
    streams: Vec<Stream>,
    runs: Option<Vec<Run>>,
    /// The history that has still to be read into the runs.
    runs_gap: Gap,
    #[serde(skip)]
    selector: Selector,
    #[serde(skip)]
    numbers: FxHashMap<Vec<String>, Group>,
    #[serde(skip)]
    runs_needed: bool,
}

impl Pool {
    fn group(&mut self, values: Vec<String>, max_groups: usize) -> Group {
        if let Some(&group) = self.numbers.get(&values) {
            return group;
        }
        if self.values.len() >= max_groups && values.iter().any(|value| value != OTHER) {
            return self.group(vec![OTHER.to_owned(); values.len()], max_groups);
        }
        let group = self.values.len() as Group;
        self.values.push(values.clone());
        self.first.push(Time(i64::MAX));
        self.numbers.insert(values, group);
        if let Some(runs) = &mut self.runs {
            runs.push(Run::default());
        }
        group
    }
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
            pool.numbers = pool.values.iter().cloned().enumerate().map(|(i, values)| (values, i as Group)).collect();
            pool.streams.iter_mut().for_each(Stream::forget_needs);
            pool.runs_needed = false;
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

    /// Asks for something to be kept for rules evaluated each `interval`; what is new lacks the history of the sources
    /// that were read before.
    pub fn need(&mut self, selector: &Selector, need: Need, interval: Span, read_before: &BTreeSet<String>) -> Handle {
        let key = selector.key();
        let pool = self.pools.iter().position(|pool| pool.key == key).unwrap_or_else(|| {
            self.pools.push(Pool { key, ..Pool::default() });
            self.pools.len() - 1
        });
        let lateness = self.lateness;
        let entry = &mut self.pools[pool];
        entry.selector = selector.clone();
        match need {
            Need::Run => {
                entry.runs_needed = true;
                if entry.runs.is_none() {
                    entry.runs = Some(entry.values.iter().map(|_| Run::default()).collect());
                    entry.runs_gap = Gap::of(read_before.clone());
                }
                Handle { pool, ..Handle::default() }
            }
            Need::Window { width, lag } => {
                let resolution = stream::resolution(width, lag, interval);
                let keep = width + lag + lateness + resolution;
                let stream = entry.streams.iter().position(|stream| stream.resolution == resolution).unwrap_or_else(|| {
                    entry.streams.push(Stream::new(resolution));
                    entry.streams.len() - 1
                });
                let view = entry.streams[stream].need(width, lag, keep, read_before);
                Handle { pool, stream, view }
            }
        }
    }

    /// Drops what nobody asked for since [`Windows::restore`], and gives every known shape its groups.
    pub fn settle_needs<'a>(&mut self, shapes: impl Iterator<Item = &'a [Vec<String>]>) {
        let sources: BTreeSet<String> = self.tables.iter().map(|table| table.source.clone()).collect();
        // Handles count pools and streams, so that none may move: what is not needed is emptied in place.
        for pool in &mut self.pools {
            pool.runs_gap.keep(&sources);
            if !pool.runs_needed {
                pool.runs = None;
            }
            for stream in &mut pool.streams {
                stream.gap.keep(&sources);
                stream.drop_unneeded();
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
        let streams = self.pools.iter().flat_map(|pool| &pool.streams).filter(|stream| stream.gap.lacks(source));
        let runs = self.pools.iter().filter(|pool| pool.runs_gap.lacks(source)).map(|_| now - Span::secs(86_400));
        streams.map(|stream| now - stream.keep()).chain(runs).min()
    }

    /// The history of a source is read from now on, from its beginning, where it is missing; the answer is from when on.
    pub fn begin_fill(&mut self, source: &str, now: Time) -> Option<Time> {
        let all: BTreeSet<String> = self.tables.iter().map(|table| table.source.clone()).collect();
        for pool in &mut self.pools {
            if pool.runs_gap.begin(source, &all) {
                pool.runs.iter_mut().flatten().for_each(|run| *run = Run::default());
            }
            for stream in &mut pool.streams {
                if stream.gap.begin(source, &all) {
                    stream.clear();
                }
            }
        }
        self.missing_from(source, now)
    }

    /// The history of a source is complete everywhere.
    pub fn filled(&mut self, source: &str) {
        for pool in &mut self.pools {
            pool.runs_gap.end(source);
            pool.streams.iter_mut().for_each(|stream| stream.gap.end(source));
        }
    }

    /// Whether what a handle shows is complete.
    pub fn is_complete(&self, handle: Handle) -> bool {
        let pool = &self.pools[handle.pool];
        pool.runs_gap.is_closed() && pool.streams.get(handle.stream).is_none_or(|stream| stream.gap.is_closed())
    }

    /// Adds events of one table; `fill` ones only where history is still missing. `now` bounds what is kept.
    pub fn add(&mut self, table: usize, events: &[Event], now: Time, fill: bool) {
        let info = &self.tables[table];
        for event in events {
            let sums = sums_of(info, event);
            let Some(targets) = self.targets[table].get(event.shape as usize) else { continue };
            for &(pool, group) in targets {
                let pool = &mut self.pools[pool];
                // Records of errors may go further back than calls do.
                if info.kind == Kind::Usage {
                    let first = &mut pool.first[group as usize];
                    *first = (*first).min(event.time);
                }
                for stream in &mut pool.streams {
                    if stream.gap.takes(&info.source, fill) {
                        stream.add(event.time, group, &sums, now);
                    }
                }
                if pool.runs_gap.takes(&info.source, fill)
                    && info.kind == Kind::Usage
                    && event.count > 0
                    && event.outcome != Outcome::Abandoned
                    && let Some(run) = pool.runs.as_mut().and_then(|runs| runs.get_mut(group as usize))
                {
                    run.add(event.time, event.outcome == Outcome::Failure, event.count);
                }
            }
        }
    }

    /// Forgets what no window will ask for again; calls before `settled` come no more.
    pub fn forget(&mut self, now: Time, settled: Time) {
        for pool in &mut self.pools {
            pool.streams.iter_mut().for_each(|stream| stream.forget(now));
            // History that is still to come is older than what is settled.
            let settled = if pool.runs_gap.is_closed() { settled } else { Time::MIN };
            pool.runs.iter_mut().flatten().for_each(|run| run.settle(settled));
        }
    }

    /// Slides a view to an instant; all reads of it are about that instant then.
    pub fn seek(&mut self, handle: Handle, at: Time) {
        let pool = &mut self.pools[handle.pool];
        let groups = pool.values.len();
        if let Some(stream) = pool.streams.get_mut(handle.stream) {
            stream.seek(handle.view, at, groups);
        }
    }

    /// The sums of every group, by its number, over the window that [`Windows::seek`] went to.
    pub fn sums(&self, handle: Handle) -> &[Sums] {
        self.pools[handle.pool].streams.get(handle.stream).map_or(&[], |stream| stream.sums(handle.view))
    }

    /// The end of the window that a view stands at.
    pub fn edge(&self, handle: Handle) -> Time {
        self.pools[handle.pool].streams.get(handle.stream).map_or(Time::MIN, |stream| stream.edge(handle.view))
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

    /// Time of the oldest call of a group.
    pub fn first(&self, handle: Handle, group: Group) -> Time {
        self.pools[handle.pool].first[group as usize]
    }

    /// The run of failures of a group at an instant.
    pub fn run(&self, handle: Handle, group: Group, at: Time) -> RunState {
        self.pools[handle.pool]
            .runs
            .as_ref()
            .and_then(|runs| runs.get(group as usize))
            .map_or_else(RunState::default, |run| run.at(at))
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

impl Pool {
    /// Whether rows of a kind are counted here; a record of an error is no call, and has no place in a run.
    fn counts(&self, kind: Kind) -> bool {
        self.streams.iter().any(Stream::is_needed) || (self.runs_needed && kind == Kind::Usage)
    }
}

fn sums_of(table: &Table, event: &Event) -> Sums {
    let count = u64::from(event.count);
    // A call and its error record are never added up.
    if table.kind == Kind::Errors {
        return Sums { errors: count, ..Sums::default() };
    }
    let mut sums = Sums { cost: event.cost.unwrap_or(0), ..Sums::default() };
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
            failures_are_errors: true,
        };
        let mut windows = Windows::new(vec![table("a"), table("b")], 10, Span::ZERO);
        let read_before = BTreeSet::from(["a".to_owned(), "b".to_owned()]);
        let need = Need::Window { width: Span::secs(100), lag: Span::ZERO };
        let sums = windows.need(&Selector::default(), need, Span::secs(10), &read_before);
        let run = windows.need(&Selector::default(), Need::Run, Span::secs(10), &read_before);
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
