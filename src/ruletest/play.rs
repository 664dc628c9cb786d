//! Plays a test: its rows become events of made-up tables and go through the pipeline on virtual time.
//!
//! A row is counted at the first tick from its time on, or as much later as it is late; each rule is evaluated at the whole
//! multiples of its interval. What holds at an instant is what the last tick up to it said.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use rustc_hash::FxHashMap;

use crate::alert::{Alert, Change, Kind as Happened};
use crate::event::{Event, Outcome};
use crate::labels::Op;
use crate::limits::{MAX_MEASURE, MAX_SERIES};
use crate::pipeline::{Replay, Setup};
use crate::rule::Rule;
use crate::ruletest::expectation::{Found, Mismatch, compare};
use crate::ruletest::file::{Expectation, Given, Test};
use crate::ruletest::rows::{MAX_LATE, Row, What};
use crate::source::query::{Answer, Query};
use crate::source::{Kind, mark};
use crate::time::{Span, Time};
use crate::window::{LATENCY, Table};

/// Where an expectation was not met, it is played on for this long, to tell when alerts fired instead.
const BEYOND: Span = Span::secs(7_200);

/// What a test showed.
#[derive(Debug, Default)]
pub struct Played {
    /// Expectations that were not met, each at the first instant.
    pub failures: Vec<Failure>,
    /// When alerts fired, in order.
    pub fired: Vec<Fired>,
    /// Rules that could not be evaluated, with the reason.
    pub faults: BTreeMap<String, String>,
    /// Rules that wait for answers that the test does not give.
    pub unanswered: Vec<String>,
    /// Rules that read none of the sources of the test.
    pub sourceless: Vec<String>,
    /// Keys of rows that no rule looks at.
    pub unused: BTreeSet<String>,
}

/// An expectation that was not met.
#[derive(Debug)]
pub struct Failure {
    /// Number of the expectation.
    pub expectation: usize,
    /// The instant.
    pub at: Time,
    /// Whether it is about what began to fire, over all of the span.
    pub of_fired: bool,
    /// In what it differs.
    pub mismatch: Mismatch,
}

/// That an alert fired.
#[derive(Debug)]
pub struct Fired {
    /// The alert as it was when it began.
    pub alert: Alert,
    /// Since when.
    pub from: Time,
    /// When people were told; later than `from` where its rows came late.
    pub told: Time,
    /// Until when; none where it did at the end.
    pub to: Option<Time>,
}

/// A row as an event of a table, and when it can be read.
struct Made {
    visible: Time,
    table: usize,
    event: Event,
}

/// The tables that the rows of a test come from.
#[derive(Default)]
struct Tables {
    tables: Vec<Table>,
    shapes: Vec<FxHashMap<Vec<String>, u32>>,
    dimensions: Vec<String>,
    measures: Vec<String>,
    marks: Vec<String>,
}

impl Tables {
    /// What the rules look at.
    fn new(rules: &[Rule]) -> Tables {
        let dimensions: BTreeSet<&str> = rules.iter().flat_map(|rule| rule.dimensions().map(|(name, _)| name)).collect();
        let measures: BTreeSet<String> =
            rules.iter().flat_map(Rule::measures).map(|(name, _)| name).filter(|name| name != LATENCY).collect();
        let marks: BTreeSet<String> = rules.iter().flat_map(Rule::marks).map(|(name, _)| name).collect();
        Tables {
            dimensions: dimensions.into_iter().filter(|name| !["source", "table"].contains(name)).map(str::to_owned).collect(),
            measures: measures.into_iter().collect(),
            marks: marks.into_iter().collect(),
            ..Tables::default()
        }
    }

    fn number(&mut self, source: &str, name: &str, kind: Kind) -> usize {
        let known = self.tables.iter().position(|table| table.source == source && table.name == name && table.kind == kind);
        known.unwrap_or_else(|| {
            self.tables.push(Table {
                source: source.to_owned(),
                name: name.to_owned(),
                kind,
                dimensions: self.dimensions.clone(),
                measures: self.measures.clone(),
                marks: self.marks.clone(),
                failures_are_errors: false,
            });
            self.shapes.push(FxHashMap::default());
            self.tables.len() - 1
        })
    }

    /// Where a source has no table of errors, its failed calls are its errors.
    fn settle(&mut self) {
        let with_errors: BTreeSet<String> =
            self.tables.iter().filter(|table| table.kind == Kind::Errors).map(|table| table.source.clone()).collect();
        for table in &mut self.tables {
            table.failures_are_errors = table.kind == Kind::Usage && !with_errors.contains(&table.source);
        }
    }

    /// The events of a row.
    fn make(&mut self, row: &Row, names: &[String; 3], made: &mut Vec<Made>) {
        let kind = if row.what == What::Errors { Kind::Errors } else { Kind::Usage };
        let pattern = |key: &str| row.values.iter().find(|(name, _)| name == key).map(|(_, pattern)| pattern);
        let text = |key: &str, i: u64| pattern(key).map(|pattern| pattern.fill(i));
        let default = &names[if kind == Kind::Errors { 2 } else { 1 }];
        for (i, time) in row.times() {
            let source = text("source", i).unwrap_or_else(|| names[0].clone());
            let table = self.number(&source, &text("table", i).unwrap_or_else(|| default.clone()), kind);
            let values: Vec<String> = self.dimensions.iter().map(|name| text(name, i).unwrap_or_default()).collect();
            let shapes = &mut self.shapes[table];
            let next = shapes.len() as u32;
            let shape = *shapes.entry(values).or_insert(next);
            let measures = self.measures.iter().map(|name| text(name, i).and_then(|text| millionths(&text))).collect();
            let marks = self.marks.iter().map(|name| text(name, i).and_then(|text| mark::text(text.as_bytes()))).collect();
            let outcome = match row.what {
                What::Abandoned => Outcome::Abandoned,
                _ if row.fails(i) => Outcome::Failure,
                _ => Outcome::Success,
            };
            let [input_tokens, output_tokens, unspecified_tokens] = row.tokens;
            let (count, cost, latency) = (row.count, row.cost, row.latency);
            let event = Event {
                time,
                shape,
                count,
                outcome,
                input_tokens,
                output_tokens,
                unspecified_tokens,
                cost,
                latency,
                measures,
                marks,
            };
            made.push(Made { visible: time + row.late, table, event });
        }
    }
}

/// A measure; one that is no number is unknown.
fn millionths(text: &str) -> Option<i64> {
    let millionths = (text.parse::<f64>().ok()? * 1e6).round();
    (millionths.abs() <= MAX_MEASURE as f64).then_some(millionths as i64)
}

/// What is asked of a source for a rule, and what it answers when.
struct Asked {
    source: String,
    query: Query,
    answers: VecDeque<Given>,
    current: Option<Given>,
    told: Option<Time>,
}

impl Asked {
    /// The answer to be given at a tick, where it is time to ask. The first one holds before its time too.
    fn at(&mut self, tick: Time) -> Option<Answer> {
        let mut news = self.told.is_none();
        while self.answers.front().is_some_and(|next| next.at <= tick || self.current.is_none()) {
            (self.current, news) = (self.answers.pop_front(), true);
        }
        let due = news || self.told.is_none_or(|told| tick.floor(self.query.every) > told);
        let Given { columns, rows, .. } = self.current.as_ref().filter(|_| due)?;
        self.told = Some(tick);
        Some(Answer { at: tick, columns: columns.clone(), rows: rows.clone() })
    }
}

/// Plays a test over rules that are read for it alone.
pub fn play(test: &Test, names: &[Option<String>; 3], rules: Vec<Rule>) -> Played {
    let (names, mut tables) = (&settled(names, &rules), Tables::new(&rules));
    let mut made = Vec::new();
    test.rows.iter().for_each(|row| tables.make(row, names, &mut made));
    if made.is_empty() {
        let source = test.answers.iter().find_map(|given| given.source.as_ref()).unwrap_or(&names[0]);
        tables.number(source, &names[1], Kind::Usage);
    }
    tables.settle();
    made.sort_by_key(|made| (made.visible, made.event.time));
    let sources: BTreeSet<String> = tables.tables.iter().map(|table| table.source.clone()).collect();
    let sources: BTreeSet<String> =
        sources.into_iter().chain(test.answers.iter().filter_map(|given| given.source.clone())).collect();
    let mut played = Played { unused: unused(test, &tables), ..Played::default() };
    let asked = asked(test, &rules, &sources, &mut played);
    let reads = |rule: &&Rule| sources.iter().any(|source| rule.reads("source", source));
    played.sourceless = rules.iter().filter(|rule| !reads(rule)).map(|rule| rule.name.clone()).collect();
    let longest = rules.iter().map(|rule| rule.interval).max().unwrap_or(Span::secs(60));
    let firsts = made.iter().map(|made| made.event.time).chain(test.expect.iter().map(|expect| expect.from));
    let since = firsts.min().unwrap_or_default().floor(longest) - longest;
    let setup = Setup { rules, sources: sources.into_iter().collect(), lateness: MAX_LATE, ..Setup::default() };
    let mut replay = Replay::with_lateness(tables.tables, setup, MAX_SERIES, since);
    for (table, shapes) in tables.shapes.into_iter().enumerate() {
        let mut shapes: Vec<(Vec<String>, u32)> = shapes.into_iter().collect();
        shapes.sort_by_key(|(_, number)| *number);
        shapes.iter().for_each(|(values, _)| replay.add_shape(table, values));
    }
    let stage = Stage { made: made.into(), asked, replay, played };
    stage.run(&test.expect)
}

/// Names of what rows are read from, where the file does not say them: those that the rules ask for, if they agree.
fn settled(names: &[Option<String>; 3], rules: &[Rule]) -> [String; 3] {
    let asked = |dimension: &str| {
        let matchers = rules.iter().flat_map(|rule| &rule.selector.matchers);
        let equal = matchers.filter(|matcher| matcher.name == dimension && matcher.op == Op::Equal && !matcher.value.is_empty());
        let values: BTreeSet<&str> = equal.map(|matcher| matcher.value.as_str()).collect();
        (values.len() == 1).then(|| values.into_iter().next().map(str::to_owned)).flatten()
    };
    let name = |given: &Option<String>, asked: Option<String>, default: &str| {
        given.clone().or(asked).unwrap_or_else(|| default.to_owned())
    };
    [name(&names[0], asked("source"), "test"), name(&names[1], asked("table"), "calls"), name(&names[2], None, "errors")]
}

/// Keys of rows that nobody looks at: mistyped, or just colour.
fn unused(test: &Test, tables: &Tables) -> BTreeSet<String> {
    let known = |key: &str| {
        let mut all = tables.dimensions.iter().chain(&tables.measures).chain(&tables.marks);
        ["source", "table"].contains(&key) || all.any(|name| name == key)
    };
    test.rows.iter().flat_map(|row| &row.values).map(|(key, _)| key.clone()).filter(|key| !known(key)).collect()
}

fn asked(test: &Test, rules: &[Rule], sources: &BTreeSet<String>, played: &mut Played) -> Vec<Asked> {
    let mut all = Vec::new();
    for rule in rules {
        let reads = |source: &&String| rule.reads("source", source);
        for query in rule.queries() {
            for source in sources.iter().filter(reads) {
                let mut answers: Vec<Given> = test
                    .answers
                    .iter()
                    .filter(|given| given.rule.0 == rule.name && given.source.as_ref().is_none_or(|name| name == source))
                    .cloned()
                    .collect();
                answers.sort_by_key(|given| given.at);
                if answers.is_empty() {
                    played.unanswered.push(rule.name.clone());
                }
                let (source, query) = (source.clone(), query.clone());
                all.push(Asked { source, query, answers: answers.into(), current: None, told: None });
            }
        }
    }
    all
}

/// A test while it is played.
struct Stage {
    made: VecDeque<Made>,
    asked: Vec<Asked>,
    replay: Replay,
    played: Played,
}

impl Stage {
    fn run(mut self, expect: &[Expectation]) -> Played {
        let end = expect.iter().map(|expect| expect.to).max().unwrap_or_default();
        let mut open: Vec<usize> = (0..expect.len()).collect();
        open.sort_by_key(|i| expect[*i].from);
        let mut now = None;
        while let Some(tick) = self.replay.next_tick().filter(|tick| *tick <= end) {
            // Until the next tick all is as it is.
            self.check(expect, &mut open, now, tick);
            self.tick(tick);
            now = Some(tick);
        }
        self.check(expect, &mut open, now, Time(i64::MAX));
        expect.iter().enumerate().for_each(|(i, expectation)| self.check_fired(i, expectation));
        self.played.failures.sort_by_key(|failure| failure.expectation);
        let beyond = if self.played.failures.is_empty() { end } else { end + BEYOND };
        while let Some(tick) = self.replay.next_tick().filter(|tick| *tick <= beyond) {
            self.tick(tick);
        }
        self.played
    }

    /// Holds what began to fire within a span against what is expected of it.
    fn check_fired(&mut self, i: usize, Expectation { from, to, fired, .. }: &Expectation) {
        let Some(expected) = fired else { return };
        let told = self.played.fired.iter().filter(|fired| (*from..=*to).contains(&fired.told));
        if let Some(mismatch) = compare(expected, &Found::new(told.map(|fired| &fired.alert))) {
            self.played.failures.push(Failure { expectation: i, at: *from, of_fired: true, mismatch });
        }
    }

    /// Holds the alerts between a tick and the next one against what is expected then.
    fn check(&mut self, expect: &[Expectation], open: &mut Vec<usize>, now: Option<Time>, next: Time) {
        let due = open.iter().take_while(|i| expect[**i].from < next).count();
        if due == 0 {
            return;
        }
        let found = Found::new(self.replay.alerts());
        let mut rest = Vec::new();
        for i in open.drain(..due) {
            let Expectation { from, to, alerts, .. } = &expect[i];
            match alerts.as_ref().and_then(|alerts| compare(alerts, &found)) {
                Some(mismatch) => {
                    let at = now.map_or(*from, |now| now.max(*from));
                    self.played.failures.push(Failure { expectation: i, at, of_fired: false, mismatch });
                }
                None if *to >= next => rest.push(i),
                None => {}
            }
        }
        open.splice(0..0, rest);
    }

    fn tick(&mut self, tick: Time) {
        let mut events: BTreeMap<usize, Vec<Event>> = BTreeMap::new();
        while let Some(made) = self.made.pop_front_if(|made| made.visible <= tick) {
            events.entry(made.table).or_default().push(made.event);
        }
        events.iter().for_each(|(table, events)| self.replay.count(*table, events));
        for asked in &mut self.asked {
            if let Some(answer) = asked.at(tick) {
                let objections = self.replay.answer(&asked.source, &asked.query.sql, answer);
                self.played.faults.extend(objections);
            }
        }
        let step = self.replay.advance(tick);
        self.played.faults.extend(step.faults);
        step.changes.into_iter().for_each(|change| note(&mut self.played.fired, change, tick));
    }
}

/// Remembers when an alert fires and when it is over.
fn note(fired: &mut Vec<Fired>, change: Change, told: Time) {
    let Change { kind, at, alert } = change;
    match kind {
        Happened::Fired => fired.push(Fired { alert, from: at, told, to: None }),
        Happened::Resolved => {
            let open = fired.iter_mut().rev().find(|fired| fired.to.is_none() && fired.alert.labels == alert.labels);
            open.into_iter().for_each(|fired| fired.to = Some(at));
        }
        Happened::Pending | Happened::Dropped => {}
    }
}
