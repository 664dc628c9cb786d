//! What all rules with the same selection share.

use std::collections::BTreeSet;

use rustc_hash::FxHashMap;
use serde::{Deserialize, Serialize};

use crate::event::{Event, Outcome};
use crate::source::Kind;
use crate::source::shapes::OTHER;
use crate::time::{Span, Time};
use crate::window::stream::Cell;
use crate::window::{Distinct, Gap, Group, LATENCY, Log, Need, Run, RunState, Selector, Spread, Stream, Sums, Table, spread};

/// How far back calls are read into a run that is new.
const RUN_HISTORY: Span = Span::secs(86_400);

/// Where a pool keeps what was asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Slot {
    /// The runs of failures.
    #[default]
    Run,
    /// The oldest rows.
    Oldest,
    /// Stream and view of sums.
    Sums(usize, usize),
    /// Stream and view of a measure.
    Spread(usize, usize),
    /// Stream and view of distinct values.
    Distinct(usize, usize),
}

/// What all rules with the same selection share.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Pool {
    pub(super) key: String,
    /// Values of `by` of each group.
    pub(super) values: Vec<Vec<String>>,
    /// Time of the oldest call of each group.
    pub(super) first: Vec<Time>,
    /// Time of the newest call of each group.
    pub(super) last: Vec<Time>,
    sums: Vec<Stream<Sums>>,
    /// By the name of the measure.
    spreads: Vec<(String, Stream<Spread>)>,
    /// By the dimension.
    distinct: Vec<(String, Stream<Distinct>)>,
    runs: Option<Vec<Run>>,
    /// The history that has still to be read into the runs.
    runs_gap: Gap,
    /// Time of the oldest row of each group, whatever it records.
    pub(super) oldest: Option<Vec<Time>>,
    /// The history that has still to be read into that.
    oldest_gap: Gap,
    /// How far back that was looked for.
    oldest_back: Span,
    #[serde(skip)]
    pub(super) selector: Selector,
    #[serde(skip)]
    numbers: FxHashMap<Vec<String>, Group>,
    #[serde(skip)]
    runs_needed: bool,
    #[serde(skip)]
    oldest_needed: bool,
    /// Groups that had a call.
    #[serde(skip)]
    pub(super) calls: Log,
    /// Groups whose run changed.
    #[serde(skip)]
    runs_log: Log,
}

/// A stream, whatever its buckets hold.
trait AnyStream {
    fn gap(&self) -> &Gap;
    fn gap_mut(&mut self) -> &mut Gap;
    fn keep(&self) -> Span;
    fn is_needed(&self) -> bool;
    fn forget_needs(&mut self);
    fn drop_unneeded(&mut self);
    fn clear(&mut self);
    fn forget(&mut self, now: Time);
}

impl<C: Cell> AnyStream for Stream<C> {
    fn gap(&self) -> &Gap {
        &self.gap
    }
    fn gap_mut(&mut self) -> &mut Gap {
        &mut self.gap
    }
    fn keep(&self) -> Span {
        Stream::keep(self)
    }
    fn is_needed(&self) -> bool {
        Stream::is_needed(self)
    }
    fn forget_needs(&mut self) {
        Stream::forget_needs(self);
    }
    fn drop_unneeded(&mut self) {
        Stream::drop_unneeded(self);
    }
    fn clear(&mut self) {
        Stream::clear(self);
    }
    fn forget(&mut self, now: Time) {
        Stream::forget(self, now);
    }
}

fn named<C: Cell>(streams: &mut Vec<(String, Stream<C>)>, name: &str, resolution: Span) -> usize {
    let same = |(known, stream): &(String, Stream<C>)| known == name && stream.resolution == resolution;
    streams.iter().position(same).unwrap_or_else(|| {
        streams.push((name.to_owned(), Stream::new(resolution, false)));
        streams.len() - 1
    })
}

impl Pool {
    /// Without groups; `key` tells its selection from others.
    pub fn new(key: String) -> Pool {
        Pool { key, ..Pool::default() }
    }

    fn streams(&self) -> impl Iterator<Item = &dyn AnyStream> {
        let sums = self.sums.iter().map(|stream| stream as &dyn AnyStream);
        let spreads = self.spreads.iter().map(|(_, stream)| stream as &dyn AnyStream);
        sums.chain(spreads).chain(self.distinct.iter().map(|(_, stream)| stream as &dyn AnyStream))
    }

    fn streams_mut(&mut self) -> impl Iterator<Item = &mut dyn AnyStream> {
        let sums = self.sums.iter_mut().map(|stream| stream as &mut dyn AnyStream);
        let spreads = self.spreads.iter_mut().map(|(_, stream)| stream as &mut dyn AnyStream);
        sums.chain(spreads).chain(self.distinct.iter_mut().map(|(_, stream)| stream as &mut dyn AnyStream))
    }

    /// Before the rules say again what they need.
    pub fn forget_needs(&mut self) {
        self.numbers = self.values.iter().cloned().enumerate().map(|(i, values)| (values, i as Group)).collect();
        self.streams_mut().for_each(AnyStream::forget_needs);
        (self.runs_needed, self.oldest_needed) = (false, false);
    }

    /// Keeps something from now on.
    pub fn need(&mut self, need: &Need, resolution: Span, lateness: Span, read_before: &BTreeSet<String>) -> Slot {
        let Some(frame) = need.frame() else { return self.need_times(need, read_before) };
        let keep = frame.keep() + lateness + resolution;
        match need {
            Need::Measure { name, .. } => {
                let at = named(&mut self.spreads, name, resolution);
                Slot::Spread(at, self.spreads[at].1.need(frame, keep, read_before))
            }
            Need::Distinct { dimension, .. } => {
                let at = named(&mut self.distinct, dimension, resolution);
                Slot::Distinct(at, self.distinct[at].1.need(frame, keep, read_before))
            }
            _ => {
                let same = |stream: &Stream<Sums>| stream.resolution == resolution && stream.calendar == frame.is_calendar();
                let at = self.sums.iter().position(same).unwrap_or_else(|| {
                    self.sums.push(Stream::new(resolution, frame.is_calendar()));
                    self.sums.len() - 1
                });
                Slot::Sums(at, self.sums[at].need(frame, keep, read_before))
            }
        }
    }

    /// What has no window.
    fn need_times(&mut self, need: &Need, read_before: &BTreeSet<String>) -> Slot {
        if let Need::Oldest { back } = need {
            self.oldest_needed = true;
            self.oldest.get_or_insert_with(|| vec![Time(i64::MAX); self.values.len()]);
            if *back > self.oldest_back {
                (self.oldest_gap, self.oldest_back) = (Gap::of(read_before.clone()), *back);
            }
            return Slot::Oldest;
        }
        self.runs_needed = true;
        if self.runs.is_none() {
            self.runs = Some(self.values.iter().map(|_| Run::default()).collect());
            self.runs_gap = Gap::of(read_before.clone());
        }
        Slot::Run
    }

    /// Empties what nobody asked for; of the sources only these are read.
    pub fn settle_needs(&mut self, sources: &BTreeSet<String>) {
        self.runs_gap.keep(sources);
        if !self.runs_needed {
            self.runs = None;
        }
        self.oldest_gap.keep(sources);
        if !self.oldest_needed {
            (self.oldest, self.oldest_gap, self.oldest_back) = (None, Gap::default(), Span::ZERO);
        }
        for stream in self.streams_mut() {
            stream.gap_mut().keep(sources);
            stream.drop_unneeded();
        }
    }

    /// The number of a group, also of one that is new.
    pub fn group(&mut self, values: Vec<String>, max_groups: usize) -> Group {
        if let Some(&group) = self.numbers.get(&values) {
            return group;
        }
        if self.values.len() >= max_groups && values.iter().any(|value| value != OTHER) {
            return self.group(vec![OTHER.to_owned(); values.len()], max_groups);
        }
        let group = self.values.len() as Group;
        self.values.push(values.clone());
        self.first.push(Time(i64::MAX));
        self.last.push(Time::MIN);
        self.numbers.insert(values, group);
        if let Some(runs) = &mut self.runs {
            runs.push(Run::default());
        }
        if let Some(oldest) = &mut self.oldest {
            oldest.push(Time(i64::MAX));
        }
        group
    }

    /// Whether rows of a kind are counted here; a record of an error is no call, and has no place in a run.
    pub fn counts(&self, kind: Kind) -> bool {
        self.streams().any(AnyStream::is_needed) || self.oldest_needed || (self.runs_needed && kind == Kind::Usage)
    }

    /// From when on the history of a source has still to be read.
    pub fn missing_from(&self, source: &str, now: Time) -> Option<Time> {
        let streams = self.streams().filter(|stream| stream.gap().lacks(source)).map(|stream| now - stream.keep());
        let runs = self.runs_gap.lacks(source).then_some(now - RUN_HISTORY);
        streams.chain(runs).chain(self.oldest_gap.lacks(source).then_some(now - self.oldest_back)).min()
    }

    /// The history of a source is read from now on.
    pub fn begin_fill(&mut self, source: &str, all: &BTreeSet<String>) {
        if self.runs_gap.begin(source, all) {
            self.runs.iter_mut().flatten().for_each(|run| *run = Run::default());
            self.runs_log.forget();
        }
        // What is oldest stays so, however often it is read.
        let _ = self.oldest_gap.begin(source, all);
        for stream in self.streams_mut() {
            if stream.gap_mut().begin(source, all) {
                stream.clear();
            }
        }
    }

    /// The history of a source was read to its end.
    pub fn filled(&mut self, source: &str) {
        self.runs_gap.end(source);
        self.oldest_gap.end(source);
        self.streams_mut().for_each(|stream| stream.gap_mut().end(source));
    }

    /// Whether what is kept at a place is complete.
    pub fn is_complete(&self, slot: Slot) -> bool {
        let gap = match slot {
            Slot::Run => Some(&self.runs_gap),
            Slot::Oldest => Some(&self.oldest_gap),
            Slot::Sums(stream, _) => self.sums.get(stream).map(|stream| &stream.gap),
            Slot::Spread(stream, _) => self.spreads.get(stream).map(|(_, stream)| &stream.gap),
            Slot::Distinct(stream, _) => self.distinct.get(stream).map(|(_, stream)| &stream.gap),
        };
        gap.is_none_or(Gap::is_closed)
    }

    /// Adds an event of a group, with what it counts for.
    pub fn add(&mut self, table: &Table, event: &Event, group: Group, sums: &Sums, now: Time, fill: bool) {
        let at = event.time;
        // Records of errors may go further back than calls do.
        if table.kind == Kind::Usage {
            let (first, last) = (&mut self.first[group as usize], &mut self.last[group as usize]);
            (*first, *last) = ((*first).min(at), (*last).max(at));
            self.calls.push(group, self.values.len());
        }
        if let Some(oldest) = self.oldest.as_mut().and_then(|oldest| oldest.get_mut(group as usize)) {
            *oldest = (*oldest).min(at);
        }
        if let Some(sums) = self.judged(event, sums) {
            for stream in self.sums.iter_mut().filter(|stream| stream.gap.takes(&table.source, fill)) {
                stream.add(at, group, &sums, now);
            }
        }
        if table.kind == Kind::Errors || event.count == 0 || event.outcome == Outcome::Abandoned {
            return;
        }
        for (name, stream) in self.spreads.iter_mut().filter(|(_, stream)| stream.gap.takes(&table.source, fill)) {
            let measure = || event.measures.get(table.measures.iter().position(|known| known == name)?).copied().flatten();
            let value = if name == LATENCY { event.latency } else { measure() };
            if let Some(value) = value {
                stream.add(at, group, &Spread::of(value, event.count), now);
            }
        }
        for (name, stream) in self.distinct.iter_mut().filter(|(_, stream)| stream.gap.takes(&table.source, fill)) {
            let mark = || event.marks.get(table.marks.iter().position(|known| known == name)?).copied().flatten();
            if let Some(mark) = mark() {
                stream.add(at, group, &Distinct::of(mark, event.count), now);
            }
        }
        if let Some(run) = self.runs.as_mut().and_then(|runs| runs.get_mut(group as usize))
            && self.runs_gap.takes(&table.source, fill)
        {
            run.add(at, event.outcome == Outcome::Failure, event.count);
            self.runs_log.push(group, self.values.len());
        }
    }

    /// What an event counts for, by its duration where that is what is asked.
    fn judged(&self, event: &Event, sums: &Sums) -> Option<Sums> {
        let Some(limit) = self.selector.slower_than else { return Some(*sums) };
        let (calls, slow) = (sums.success + sums.failure, event.latency? > limit.0);
        let (success, failure) = if slow { (0, calls) } else { (calls, 0) };
        Some(Sums { success, failure, ..*sums })
    }

    /// Forgets what no window will ask for again; calls before `settled` come no more.
    pub fn forget(&mut self, now: Time, settled: Time) {
        self.streams_mut().for_each(|stream| stream.forget(now));
        // History that is still to come is older than what is settled.
        let settled = if self.runs_gap.is_closed() { settled } else { Time::MIN };
        self.runs.iter_mut().flatten().for_each(|run| run.settle(settled));
    }

    /// Slides a view to an instant.
    pub fn seek(&mut self, slot: Slot, at: Time) {
        let groups = self.values.len();
        match slot {
            Slot::Run | Slot::Oldest => {}
            Slot::Sums(stream, view) => {
                self.sums.iter_mut().skip(stream).take(1).for_each(|stream| stream.seek(view, at, groups))
            }
            Slot::Spread(stream, view) => {
                self.spreads.iter_mut().skip(stream).take(1).for_each(|(_, stream)| stream.seek(view, at, groups));
            }
            Slot::Distinct(stream, view) => {
                self.distinct.iter_mut().skip(stream).take(1).for_each(|(_, stream)| stream.seek(view, at, groups));
            }
        }
    }

    /// What a view of sums holds, by group.
    pub fn sums(&self, slot: Slot) -> &[Sums] {
        let Slot::Sums(stream, view) = slot else { return &[] };
        self.sums.get(stream).map_or(&[], |stream| stream.cells(view))
    }

    /// What a view of a measure holds, by group.
    pub fn spreads(&self, slot: Slot) -> &[Spread] {
        let Slot::Spread(stream, view) = slot else { return &[] };
        self.spreads.get(stream).map_or(&[], |(_, stream)| stream.cells(view))
    }

    /// The lowest and the highest value of a group in a view of a measure.
    pub fn bounds(&self, slot: Slot, group: Group) -> Option<(i64, i64)> {
        let Slot::Spread(stream, view) = slot else { return None };
        let (_, stream) = self.spreads.get(stream)?;
        stream.parts(view, group).map(|spread| spread.bounds).fold(None, spread::join)
    }

    /// What a view of distinct values holds, by group.
    pub fn distinct(&self, slot: Slot) -> &[Distinct] {
        let Slot::Distinct(stream, view) = slot else { return &[] };
        self.distinct.get(stream).map_or(&[], |(_, stream)| stream.cells(view))
    }

    /// The length of the buckets there.
    pub fn resolution(&self, slot: Slot) -> Option<Span> {
        match slot {
            Slot::Run | Slot::Oldest => None,
            Slot::Sums(stream, _) => self.sums.get(stream).map(|stream| stream.resolution),
            Slot::Spread(stream, _) => self.spreads.get(stream).map(|(_, stream)| stream.resolution),
            Slot::Distinct(stream, _) => self.distinct.get(stream).map(|(_, stream)| stream.resolution),
        }
    }

    /// The end of the window that a view stands at.
    pub fn edge(&self, slot: Slot) -> Time {
        let edge = match slot {
            Slot::Run | Slot::Oldest => None,
            Slot::Sums(stream, view) => self.sums.get(stream).map(|stream| stream.edge(view)),
            Slot::Spread(stream, view) => self.spreads.get(stream).map(|(_, stream)| stream.edge(view)),
            Slot::Distinct(stream, view) => self.distinct.get(stream).map(|(_, stream)| stream.edge(view)),
        };
        edge.unwrap_or(Time::MIN)
    }

    /// Which groups changed there.
    pub fn log(&self, slot: Slot) -> Option<&Log> {
        match slot {
            Slot::Run => Some(&self.runs_log),
            Slot::Oldest => None,
            Slot::Sums(stream, view) => self.sums.get(stream)?.log(view),
            Slot::Spread(stream, view) => self.spreads.get(stream)?.1.log(view),
            Slot::Distinct(stream, view) => self.distinct.get(stream)?.1.log(view),
        }
    }

    /// The run of failures of a group at an instant.
    pub fn run(&self, group: Group, at: Time) -> RunState {
        let run = self.runs.as_ref().and_then(|runs| runs.get(group as usize));
        run.map_or_else(RunState::default, |run| run.at(at))
    }
}
