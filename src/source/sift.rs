//! Decides about each row that a database sends: counted already, to be counted, or not finished.

use std::ops::RangeInclusive;

use rustc_hash::FxHashSet;

use crate::event::{Event, Key, Outcome};
use crate::limits::{MAX_COST, MAX_COUNT, MAX_LATENCY, MAX_MEASURE, MAX_TOKENS};
use crate::source::batch::TableBatch;
use crate::source::database::Turn;
use crate::source::decode::Row;
use crate::source::lookups::Lookups;
use crate::source::mapping::{Kind, Mapping};
use crate::source::position::{Moved, Open, Position};
use crate::source::shapes::Shapes;
use crate::time::{Span, Time};

const HOUR: Span = Span::secs(3_600);

/// What is decided about the rows of one query.
#[derive(Debug)]
pub struct Sift<'a> {
    mapping: &'a Mapping,
    position: &'a Position,
    shapes: &'a mut Shapes,
    lookups: &'a mut Lookups,
    now: Time,
    until: Option<Time>,
    /// Keys that were counted, beside those of the position.
    pub known: Option<&'a FxHashSet<Key>>,
    /// Unfinished rows older than this are given up.
    pub abandon_before: Option<Time>,
    /// Keys of rows older than this are not needed again.
    pub remember_from: Time,
    /// What was decided.
    pub batch: TableBatch,
}

impl<'a> Sift<'a> {
    /// Nothing decided yet.
    pub fn new(
        mapping: &'a Mapping,
        position: &'a Position,
        shapes: &'a mut Shapes,
        lookups: &'a mut Lookups,
        turn: Turn,
    ) -> Sift<'a> {
        let moved = Moved { newest: position.newest, ..Moved::default() };
        let batch = TableBatch { table: mapping.name.clone(), moved, ..TableBatch::default() };
        let (now, until) = (turn.now, turn.replay.then_some(turn.now));
        let remember_from = now - mapping.repair_window - HOUR;
        Sift { mapping, position, shapes, lookups, now, until, known: None, abandon_before: None, remember_from, batch }
    }

    /// Decides about one row.
    pub fn row(&mut self, row: &Row) {
        if self.until.is_some_and(|until| row.time > until) {
            return;
        }
        self.batch.rows += 1;
        if row.time <= Time::MIN {
            return self.without_time(row);
        }
        self.batch.moved.newest = self.batch.moved.newest.max(row.time);
        let Some(key) = row.key else { return self.without_id(row) };
        match self.position.open.get(&key) {
            Some(open) if row.complete => self.finished(row, key, open.abandoned),
            Some(open) if !open.abandoned && self.abandon_before.is_some_and(|limit| row.time < limit) => {
                self.abandoned(row, key)
            }
            Some(_) => {}
            None if self.is_counted(key) => {}
            None if row.complete => {
                let event = self.event(row);
                self.count_event(row, key, event);
            }
            None if self.abandon_before.is_some_and(|limit| row.time < limit) => self.abandoned(row, key),
            None => self.batch.moved.opened.push((key, Open { time: row.time, id: row.id.text(), abandoned: false })),
        }
    }

    fn is_counted(&self, key: Key) -> bool {
        self.position.seen.contains_key(&key) || self.known.is_some_and(|known| known.contains(&key))
    }

    /// It is remembered by all that it holds, so that it is unreadable once. One that is not finished is seen again.
    fn without_id(&mut self, row: &Row) {
        let key = row.digest();
        if row.complete && !self.is_counted(key) {
            self.batch.unreadable.rows += 1;
            self.remember(row, key);
        }
    }

    /// Only a row that was open is asked for without regard to its time; it is not asked for again.
    fn without_time(&mut self, row: &Row) {
        self.batch.unreadable.rows += 1;
        self.batch.moved.closed.extend(row.key);
    }

    fn remember(&mut self, row: &Row, key: Key) {
        if row.time >= self.remember_from {
            self.batch.moved.counted.push((key, row.time));
        }
    }

    /// A row that was open is finished; one that was counted as abandoned brings only what it lacked.
    fn finished(&mut self, row: &Row, key: Key, abandoned: bool) {
        self.batch.moved.closed.push(key);
        let event = self.event(row);
        if abandoned {
            self.batch.finished_after_abandon += 1;
            self.batch.events.push(Event { count: 0, ..event });
        } else {
            self.count_event(row, key, event);
        }
    }

    /// Its tokens and cost, measures and marks wait until it is finished after all.
    fn abandoned(&mut self, row: &Row, key: Key) {
        let shape = self.shape(row);
        self.count_event(row, key, Event { time: row.time, shape, count: 1, outcome: Outcome::Abandoned, ..Event::default() });
        self.batch.moved.opened.push((key, Open { time: row.time, id: row.id.text(), abandoned: true }));
    }

    fn count_event(&mut self, row: &Row, key: Key, event: Event) {
        self.remember(row, key);
        self.batch.future += u64::from(row.time > self.now);
        self.batch.events.push(event);
    }

    fn shape(&mut self, row: &Row) -> u32 {
        let lookups = &mut *self.lookups;
        let shape = self.shapes.intern(row.dimensions.bytes(), || lookups.names(row.dimensions.values()));
        self.batch.unreadable.shapes += self.shapes.take_over_limit();
        shape
    }

    /// Values beyond their bounds are unknown, so that no counter goes back or overflows.
    fn event(&mut self, row: &Row) -> Event {
        let shape = self.shape(row);
        let refused = &mut self.batch.unreadable.values;
        let mut tokens = |value| within(0..=MAX_TOKENS, value, refused);
        let (input, output, total) = (tokens(row.input_tokens), tokens(row.output_tokens), tokens(row.total_tokens));
        let unspecified = if input.is_none() && output.is_none() { total } else { None };
        let unit = self.mapping.latency_unit.0 as f64;
        let latency = row.latency.filter(|value| !value.is_nan()).map(|value| (value * unit).round());
        let success = row.success && self.mapping.kind == Kind::Usage;
        Event {
            time: row.time,
            shape,
            count: within(0..=MAX_COUNT, row.count, refused).map_or(1, |count| count as u32),
            outcome: if success { Outcome::Success } else { Outcome::Failure },
            input_tokens: input.unwrap_or(0),
            output_tokens: output.unwrap_or(0),
            unspecified_tokens: unspecified.unwrap_or(0),
            cost: within(0..=MAX_COST, row.cost, refused),
            latency: within(0.0..=MAX_LATENCY.0 as f64, latency, refused).map(|latency| latency as i64),
            measures: row.measures.iter().map(|value| within(-MAX_MEASURE..=MAX_MEASURE, *value, refused)).collect(),
            marks: row.marks.clone(),
        }
    }
}

fn within<T: PartialOrd>(bounds: RangeInclusive<T>, value: Option<T>, refused: &mut u64) -> Option<T> {
    value.filter(|value| {
        let taken = bounds.contains(value);
        *refused += u64::from(!taken);
        taken
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::batch::Unreadable;
    use crate::source::decode::Id;
    use crate::yaml::{self, Faults};

    const NOW: Time = Time::from_secs(1_000_000);

    /// What a poll makes of rows, and the position after it.
    fn sift(position: &Position, rows: &[Row]) -> (TableBatch, Position) {
        let (batch, mut position) = (sift_with(position, rows, |_| {}), position.clone());
        position.apply(&batch.moved);
        (batch, position)
    }

    fn sift_with(position: &Position, rows: &[Row], change: impl FnOnce(&mut Sift<'_>)) -> TableBatch {
        let mut faults = Faults::default();
        let node =
            yaml::parse("t.yml", "{name: t, from: t, id: id, time: at, success: ok, latency_ms: ms}", &mut faults).unwrap();
        let mapping = Mapping::parse(&node, &mut faults).unwrap();
        let (mut shapes, mut lookups) = (Shapes::default(), Lookups::default());
        let turn = Turn { now: NOW, replay: false, snapshot: None };
        let mut sift = Sift::new(&mapping, position, &mut shapes, &mut lookups, turn);
        change(&mut sift);
        rows.iter().for_each(|row| sift.row(row));
        sift.batch
    }

    fn row(id: Id) -> Row {
        Row { key: id.key(), id, time: NOW, complete: true, success: true, ..Row::default() }
    }

    #[test]
    fn values_out_of_bounds_are_unknown_and_counted() {
        #[track_caller]
        fn check(change: impl FnOnce(&mut Row), expected: impl FnOnce(&mut Event), refused: u64) {
            let mut row = row(Id::Integer(1));
            row.latency = Some(1.0);
            change(&mut row);
            let mut event = Event { time: NOW, count: 1, latency: Some(1_000), ..Event::default() };
            expected(&mut event);
            let (batch, _) = sift(&Position::default(), &[row]);
            assert_eq!((&batch.events[..], batch.unreadable.values), (&[event][..], refused));
        }
        check(|row| row.cost = Some(MAX_COST), |event| event.cost = Some(MAX_COST), 0);
        check(|row| row.cost = Some(MAX_COST + 1), |_| {}, 1);
        check(|row| row.cost = Some(-1), |_| {}, 1);
        check(|row| row.input_tokens = Some(MAX_TOKENS), |event| event.input_tokens = MAX_TOKENS, 0);
        check(|row| (row.input_tokens, row.output_tokens) = (Some(u64::MAX), Some(7)), |event| event.output_tokens = 7, 1);
        check(|row| row.total_tokens = Some(MAX_TOKENS + 1), |_| {}, 1);
        check(|row| row.latency = Some(2_592_000_000.0), |event| event.latency = Some(MAX_LATENCY.0), 0);
        check(|row| row.latency = Some(2_592_000_001.0), |event| event.latency = None, 1);
        check(|row| row.latency = Some(f64::INFINITY), |event| event.latency = None, 1);
        check(|row| row.latency = Some(-1.0), |event| event.latency = None, 1);
        check(|row| row.latency = Some(f64::NAN), |event| event.latency = None, 0);
        check(|row| row.count = Some(MAX_COUNT), |event| event.count = MAX_COUNT as u32, 0);
        check(|row| row.count = Some(MAX_COUNT + 1), |_| {}, 1);
    }

    #[test]
    fn measures_may_be_negative_and_are_bounded() {
        let measured = Row { measures: vec![Some(MAX_MEASURE), Some(-MAX_MEASURE), None], ..row(Id::Integer(1)) };
        let refused = Row { measures: vec![Some(MAX_MEASURE + 1), Some(i64::MIN), Some(-1)], ..row(Id::Integer(2)) };
        let (batch, _) = sift(&Position::default(), &[measured, refused]);
        let measures: Vec<&[Option<i64>]> = batch.events.iter().map(|event| event.measures.as_slice()).collect();
        assert_eq!(measures, [[Some(MAX_MEASURE), Some(-MAX_MEASURE), None], [None, None, Some(-1)]]);
        assert_eq!(batch.unreadable.values, 2);
    }

    #[test]
    fn measures_and_marks_come_when_a_call_is_finished_and_once() {
        let told = |complete| Row { complete, measures: vec![Some(5)], marks: vec![Some(9)], ..row(Id::Integer(1)) };
        let (_, mut position) = sift(&Position::default(), &[told(false)]);
        let lists = |batch: &TableBatch| {
            let event = &batch.events[0];
            (event.count, event.measures.clone(), event.marks.clone())
        };
        assert_eq!(lists(&sift(&position, &[told(true)]).0), (1, vec![Some(5)], vec![Some(9)]));
        let abandoned = sift_with(&position, &[told(false)], |sift| sift.abandon_before = Some(NOW + Span::secs(1)));
        assert_eq!(lists(&abandoned), (1, vec![], vec![]));
        position.apply(&abandoned.moved);
        assert_eq!(lists(&sift(&position, &[told(true)]).0), (0, vec![Some(5)], vec![Some(9)]));
    }

    #[test]
    fn a_row_without_an_id_is_unreadable_once() {
        let nameless = |success| Row { success, ..row(Id::Null) };
        let unfinished = Row { complete: false, ..row(Id::Null) };
        let (batch, position) = sift(&Position::default(), &[nameless(true), nameless(false), unfinished]);
        assert_eq!((batch.unreadable, batch.events.len()), (Unreadable { rows: 2, ..Unreadable::default() }, 0));
        // The repair pass asks how many finished rows an hour has; these are no reason to read it again.
        assert_eq!(position.hours.values().sum::<u64>(), 2);
        let (batch, _) = sift(&position, &[nameless(true), nameless(false), row(Id::Integer(1))]);
        assert_eq!((batch.unreadable.rows, batch.events.len()), (0, 1));
    }

    #[test]
    fn an_open_row_that_loses_its_time_is_given_up() {
        let open = Row { complete: false, ..row(Id::Integer(1)) };
        let (_, position) = sift(&Position::default(), &[open]);
        assert_eq!(position.open.len(), 1);
        let (batch, position) = sift(&position, &[Row { time: Time::MIN, ..row(Id::Integer(1)) }]);
        assert_eq!((batch.unreadable.rows, position.open.len()), (1, 0));
    }
}
