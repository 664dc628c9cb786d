//! What has been counted: reading positions, windows and totals, moved together by batches.
//!
//! A ledger is a fold over batches, so what is stored is a checkpoint and the batches since. It is laid out for a
//! configuration ([`Layout`]); the layout is stored with it, so that a journal written under one configuration is folded
//! under the same, whatever the configuration says by then.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::config::Config;
use crate::event::Key;
use crate::export::totals::TableTotals;
use crate::labels::Matcher;
use crate::limits::CATCH_UP;
use crate::rule::Rule;
use crate::source::{Batch, Kind, Position};
use crate::time::{Span, Time};
use crate::window::{Handle, Need, Selector, Stored, Table, Windows};

/// What a ledger is for.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Layout {
    tables: Vec<Table>,
    /// Labels of the series on /metrics.
    labels: Vec<String>,
    max_series: usize,
    lateness: Span,
    wants: Vec<Want>,
}

/// What a rule reads of the windows, as it is stored.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Want {
    by: Vec<String>,
    matchers: Vec<String>,
    slower_than: Option<Span>,
    need: Need,
    resolution: Span,
}

impl Want {
    fn of((selector, need, resolution): (Selector, Need, Span)) -> Want {
        let matchers = selector.matchers.iter().map(ToString::to_string).collect();
        Want { by: selector.by, matchers, slower_than: selector.slower_than, need, resolution }
    }

    fn selector(&self) -> Selector {
        // They were read from a valid configuration.
        let matchers = self.matchers.iter().filter_map(|text| Matcher::parse(text).ok()).collect();
        Selector { by: self.by.clone(), matchers, slower_than: self.slower_than }
    }
}

impl Layout {
    /// What a configuration asks for.
    pub fn of(config: &Config) -> Layout {
        Layout {
            tables: config.tables(&config.wanted()),
            wants: config.rules.iter().flat_map(Rule::needs).map(Want::of).collect(),
            labels: config.dimensions.clone(),
            max_series: config.max_series,
            lateness: config.lateness(),
        }
    }
}

/// What has been counted of one table.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Counted {
    position: Position,
    shapes: Vec<Vec<String>>,
}

/// A table that the configuration does not name any more. Should it again, its reader goes on from where it was, so that
/// nothing is counted twice.
type Parked = (Table, Counted, TableTotals);

/// All that has been counted but the totals, which are published apart.
#[derive(Debug)]
pub struct Ledger {
    layout: Layout,
    tables: Vec<Counted>,
    parked: Vec<Parked>,
    /// Sources of which every table was read up to the present since we started.
    caught_up: BTreeSet<String>,
    /// The windows of the rules.
    pub windows: Windows,
    runs: Handle,
}

/// A ledger and its totals as they are stored.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Checkpoint {
    layout: Layout,
    tables: Vec<Counted>,
    windows: Stored,
    totals: Vec<TableTotals>,
    parked: Vec<Parked>,
}

/// The same, by reference, for writing.
#[derive(Serialize)]
struct CheckpointRef<'a> {
    layout: &'a Layout,
    tables: &'a [Counted],
    windows: &'a [crate::window::Pool],
    totals: &'a [TableTotals],
    parked: &'a [Parked],
}

impl Checkpoint {
    /// Makes a ledger of it as it was laid out.
    pub fn open(self) -> (Ledger, Vec<TableTotals>) {
        let layout = self.layout.clone();
        self.lay_out(layout)
    }

    fn lay_out(self, layout: Layout) -> (Ledger, Vec<TableTotals>) {
        let known = self.layout.tables.into_iter().zip(self.tables).zip(self.totals);
        let known = known.map(|((table, counted), totals)| (table, counted, totals)).chain(self.parked);
        let mut old: BTreeMap<(String, String), Parked> =
            known.map(|known| ((known.0.source.clone(), known.0.name.clone()), known)).collect();
        let (mut tables, mut totals) = (Vec::new(), Vec::new());
        for table in &layout.tables {
            let found = old.remove(&(table.source.clone(), table.name.clone()));
            let (mut counted, stored) = match found {
                // Shapes are numbered combinations of just these dimensions; their counts are kept by value.
                Some((before, counted, stored)) if before == *table => (counted, Some(stored)),
                Some((_, counted, stored)) => (Counted { shapes: Vec::new(), ..counted }, Some(stored)),
                None => (Counted::default(), None),
            };
            let mut sum = TableTotals::new(table, &layout.labels, layout.max_series, stored);
            // Those over the limit were counted when they were met.
            let over_limit = sum.over_limit;
            counted.shapes.iter().for_each(|values| sum.add_shape(table, values));
            sum.over_limit = over_limit;
            counted.shapes.shrink_to_fit();
            tables.push(counted);
            totals.push(sum);
        }
        let read_before = layout.tables.iter().zip(&tables).filter(|(_, counted)| counted.position.floor.is_some());
        let read_before: BTreeSet<String> = read_before.map(|(table, _)| table.source.clone()).collect();
        let mut windows = Windows::new(layout.tables.clone(), layout.max_series, layout.lateness);
        windows.restore(self.windows);
        for want in &layout.wants {
            windows.need(&want.selector(), &want.need, want.resolution, &read_before);
        }
        let by = ["source", "table"].into_iter().map(str::to_owned).chain(layout.labels.iter().cloned()).collect();
        let runs = windows.need(&Selector { by, ..Selector::default() }, &Need::Run, Span::ZERO, &read_before);
        windows.settle_needs(tables.iter().map(|counted| counted.shapes.as_slice()));
        let parked = old.into_values().collect();
        let ledger = Ledger { layout, tables, parked, caught_up: BTreeSet::new(), windows, runs };
        ledger.all_runs(&mut totals);
        (ledger, totals)
    }
}

impl Ledger {
    /// Lays everything out anew for another configuration; nothing that was counted is lost.
    pub fn relayout(self, totals: Vec<TableTotals>, layout: Layout) -> (Ledger, Vec<TableTotals>) {
        let (layout_before, tables, parked) = (self.layout, self.tables, self.parked);
        let checkpoint = Checkpoint { layout: layout_before, tables, windows: self.windows.into_stored(), totals, parked };
        checkpoint.lay_out(layout)
    }

    /// What is stored of it.
    pub fn checkpoint(&self, totals: &[TableTotals]) -> postcard::Result<Vec<u8>> {
        let (layout, tables, parked) = (&self.layout, self.tables.as_slice(), self.parked.as_slice());
        postcard::to_stdvec(&CheckpointRef { layout, tables, windows: self.windows.stored(), totals, parked })
    }

    /// What it is laid out for.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    fn table(&self, source: &str, table: &str) -> Option<usize> {
        self.layout.tables.iter().position(|known| known.source == source && known.name == table)
    }

    /// Where the reader of a table goes on, and the shapes that it knows.
    pub fn position(&self, source: &str, table: &str) -> Option<(Position, Vec<Vec<String>>)> {
        self.table(source, table).map(|i| (self.tables[i].position.clone(), self.tables[i].shapes.clone()))
    }

    /// Whether a batch changes anything.
    pub fn is_moved_by(&self, batch: &Batch) -> bool {
        batch.tables.iter().any(|table| {
            let position = self.table(&batch.source, &table.table).map(|i| &self.tables[i].position);
            !table.shapes.is_empty()
                || !table.events.is_empty()
                || position.is_some_and(|position| !table.moved.is_empty(position))
        })
    }

    /// Counts a batch in windows and positions; `horizon` is the oldest instant that may still be evaluated. The result
    /// says which pools got events, from when on.
    pub fn apply(&mut self, batch: &Batch, horizon: Time) -> BTreeMap<usize, Time> {
        if batch.caught_up {
            self.caught_up.insert(batch.source.clone());
        }
        let mut touched: BTreeMap<usize, Time> = BTreeMap::new();
        for table in &batch.tables {
            let Some(i) = self.table(&batch.source, &table.table) else { continue };
            for values in &table.shapes {
                self.windows.add_shape(i, values);
                self.tables[i].shapes.push(values.clone());
            }
            self.windows.add(i, &table.events, horizon, batch.fill);
            if !batch.fill {
                self.tables[i].position.apply(&table.moved);
                for (pool, from) in self.windows.touched(i, &table.events) {
                    let earliest = touched.entry(pool).or_insert(from);
                    *earliest = (*earliest).min(from);
                }
            }
        }
        self.windows.forget(horizon, self.settled(horizon));
        touched
    }

    /// Calls from before it come no more: not before the floor of any table, nor before what may be evaluated again. A
    /// table that is idle does not keep those of the others open for longer than a day.
    fn settled(&self, horizon: Time) -> Time {
        let usage = self.layout.tables.iter().zip(&self.tables).filter(|(table, _)| table.kind == Kind::Usage);
        let floors = usage.map(|(table, counted)| {
            let floor = counted.position.floor.unwrap_or(Time::MIN);
            if self.caught_up.contains(&table.source) { floor.max(horizon - CATCH_UP) } else { floor }
        });
        floors.chain([horizon - self.layout.lateness]).min().unwrap_or(horizon)
    }

    /// Counts the same batch in the totals, once it is stored.
    pub fn publish(&self, batch: &Batch, totals: &mut [TableTotals]) {
        for table in &batch.tables {
            let Some(i) = self.table(&batch.source, &table.table) else { continue };
            let (info, totals) = (&self.layout.tables[i], &mut totals[i]);
            table.shapes.iter().for_each(|values| totals.add_shape(info, values));
            if !batch.fill {
                totals.add(&table.events);
                totals.rows += table.rows;
                totals.late += table.late;
                totals.future += table.future;
                totals.finished_after_abandon += table.finished_after_abandon;
                totals.unreadable += table.unreadable;
                self.runs_of(i, table.events.iter().map(|event| event.shape).collect(), totals);
            }
        }
    }

    /// The failure runs of the series of some shapes.
    fn runs_of(&self, i: usize, shapes: BTreeSet<u32>, totals: &mut TableTotals) {
        let info = &self.layout.tables[i];
        if info.kind == Kind::Errors {
            return;
        }
        for shape in shapes {
            if let (Some(group), Some(values)) =
                (self.windows.group_of(self.runs, i, shape), self.tables[i].shapes.get(shape as usize))
            {
                let labels: Vec<String> = self.layout.labels.iter().map(|label| info.value(label, values).to_owned()).collect();
                totals.set_run(&labels, self.windows.run(self.runs, group, FAR).length);
            }
        }
    }

    /// The failure runs of all series, after they were read from the store: by their labels, since shapes may have to be
    /// met anew, and by shape, since beyond the limit several series share a run.
    fn all_runs(&self, totals: &mut [TableTotals]) {
        for group in 0..self.windows.groups(self.runs) as u32 {
            let of = self.windows.labels(self.runs, group);
            let values: Vec<String> = self.layout.labels.iter().map(|label| of.get(label).to_owned()).collect();
            if let Some(totals) = totals.iter_mut().find(|totals| totals.is_of(of.get("source"), of.get("table"))) {
                totals.set_run(&values, self.windows.run(self.runs, group, FAR).length);
            }
        }
        for (i, totals) in totals.iter_mut().enumerate() {
            self.runs_of(i, (0..self.tables[i].shapes.len() as u32).collect(), totals);
        }
    }
}

/// After every call.
const FAR: Time = Time(i64::MAX / 4);

/// Keys as they are archived for the repair pass.
pub fn pack_keys(keys: &[(Key, Time)]) -> Vec<u8> {
    keys.iter().flat_map(|(key, _)| key.to_le_bytes()).collect()
}

/// The keys of an archived pack.
pub fn unpack_keys(bytes: &[u8]) -> impl Iterator<Item = Key> + '_ {
    bytes.as_chunks::<16>().0.iter().map(|key| Key::from_le_bytes(*key))
}

#[cfg(test)]
mod tests;
