//! The pipeline over rows that are there already, tick by tick: what `test` and `backtest` do.
//!
//! What is visible at a tick are the rows with a time of at most the tick, as if each had been written at its time. So
//! nothing comes late, and each rule is evaluated at the whole multiples of its interval alone, whatever the others are.

use std::collections::{BTreeMap, BTreeSet};

use crate::alert::{Alert, Change};
use crate::event::Event;
use crate::pipeline::{Kept, Message, Pipeline, Setup};
use crate::source::query::{Answer, Query};
use crate::time::{Span, Time};
use crate::window::{Table, Windows};

/// Rows through windows, rules, alerts and routing. In this order:
///
/// 1. [`Replay::add_shape`] for each new shape of a table, before its first event;
/// 2. [`Replay::warm`] with events before the first tick, if there are any;
/// 3. for each [`Replay::next_tick`]: [`Replay::count`] with the events up to and with it that were not counted yet, then
///    [`Replay::advance`] to it.
#[derive(Debug)]
pub struct Replay {
    windows: Windows,
    pipeline: Pipeline,
    sources: Vec<String>,
    /// The intervals of the rules, each once.
    intervals: Vec<Span>,
    since: Time,
    at: Option<Time>,
    lateness: Span,
    /// Which pools got rows since the last tick, from when on; nothing where none may come late.
    touched: BTreeMap<usize, Time>,
}

/// What a tick brought.
#[derive(Debug, Default)]
pub struct Step {
    /// What happened to alerts, in order.
    pub changes: Vec<Change>,
    /// The number of the rule of each change, in the order of the setup.
    pub rules: Vec<usize>,
    /// What would have been sent, in order; each has its own instant, between the tick before and this one.
    pub messages: Vec<Message>,
    /// Rules that could not be evaluated, with the reason.
    pub faults: Vec<(String, String)>,
}

impl Replay {
    /// Nothing is counted yet. The first tick is the first multiple of an interval that is not before `since`; a pool has
    /// at most `max_groups` groups. The lateness of the setup is of no meaning here.
    pub fn new(tables: Vec<Table>, setup: Setup, max_groups: usize, since: Time) -> Replay {
        Replay::with_lateness(tables, Setup { lateness: Span::ZERO, ..setup }, max_groups, since)
    }

    /// The same where rows may be counted at a tick that is up to the setup's lateness after their time.
    pub fn with_lateness(tables: Vec<Table>, setup: Setup, max_groups: usize, since: Time) -> Replay {
        let lateness = setup.lateness;
        // Each was read before, so that what its windows still miss says how far back they look.
        let sources: BTreeSet<String> = tables.iter().map(|table| table.source.clone()).collect();
        let shapes: Vec<Vec<Vec<String>>> = tables.iter().map(|_| Vec::new()).collect();
        let mut windows = Windows::new(tables, max_groups, lateness);
        for rule in &setup.rules {
            for (selector, need, resolution) in rule.needs() {
                windows.need(&selector, &need, resolution, &sources);
            }
        }
        windows.settle_needs(shapes.iter().map(Vec::as_slice));
        let intervals: BTreeSet<Span> = setup.rules.iter().map(|rule| rule.interval).collect();
        let evaluated = setup.rules.iter().map(|rule| (rule.key.clone(), since - Span(1))).collect();
        let kept = Kept { evaluated, ..Kept::default() };
        let sources = setup.sources.clone();
        let (mut pipeline, ..) = Pipeline::new(setup, kept, &mut windows, since);
        pipeline.evaluation.at_ticks_only();
        let mut replay = Replay {
            windows,
            pipeline,
            sources,
            intervals: intervals.into_iter().collect(),
            since,
            at: None,
            lateness,
            touched: BTreeMap::new(),
        };
        replay.begin_warm();
        replay
    }

    /// From when on rows before the first tick matter: the rows at and after it are to be given to [`Replay::warm`].
    pub fn warm_from(&self) -> Time {
        let from = |source: &String| self.windows.missing_from(source, self.since);
        self.sources.iter().filter_map(from).min().unwrap_or(self.since)
    }

    fn begin_warm(&mut self) {
        for source in &self.sources {
            self.windows.begin_fill(source, self.since);
        }
    }

    /// A combination of dimensions of a table, in the order of their numbers.
    pub fn add_shape(&mut self, table: usize, values: &[String]) {
        self.windows.add_shape(table, values);
    }

    /// Counts events of a table from before the first tick, in any order.
    pub fn warm(&mut self, table: usize, events: &[Event]) {
        self.windows.add(table, events, self.since, true);
    }

    /// Counts events of a table up to the next tick, in any order.
    pub fn count(&mut self, table: usize, events: &[Event]) {
        self.end_warm();
        let now = self.at.unwrap_or(self.since);
        self.windows.add(table, events, now, false);
        if self.lateness > Span::ZERO {
            for (pool, from) in self.windows.touched(table, events) {
                let earliest = self.touched.entry(pool).or_insert(from);
                *earliest = (*earliest).min(from);
            }
        }
    }

    /// What a source is asked beside its events.
    pub fn queries(&self, source: &str) -> Vec<Query> {
        self.pipeline.queries(source)
    }

    /// The rules that ask a source this, by key.
    pub fn askers(&self, source: &str, sql: &str) -> Vec<String> {
        self.pipeline.askers(source, sql)
    }

    /// A source answered a query of a rule; what rules have against it comes back, by their keys.
    pub fn answer(&mut self, source: &str, sql: &str, answer: Answer) -> Vec<(String, String)> {
        self.pipeline.answer(source, sql, answer)
    }

    /// The next instant that some rule is evaluated at; none where there is no rule.
    pub fn next_tick(&self) -> Option<Time> {
        let after = self.at.map_or(self.since, |at| at + Span(1));
        self.intervals.iter().map(|interval| after.ceil(*interval)).min()
    }

    /// Evaluates the rules whose tick it is, and tells whom it concerns. All rows up to `tick` must have been counted, and
    /// none after it.
    pub fn advance(&mut self, tick: Time) -> Step {
        self.end_warm();
        let mut step = Step { messages: self.messages_before(tick), ..Step::default() };
        // Puts what was counted in order, too.
        let horizon = self.at.unwrap_or(self.since);
        self.windows.forget(horizon, horizon - self.lateness);
        let read = self.sources.iter().map(|source| (source.clone(), tick)).collect();
        let touched = std::mem::take(&mut self.touched);
        let evaluated = self.pipeline.advance(&mut self.windows, &read, &touched);
        (step.changes, step.rules, step.faults) = (evaluated.changes, evaluated.rules, evaluated.faults);
        let messages = self.route(&step.changes, tick);
        step.messages.extend(messages);
        self.at = Some(tick);
        step
    }

    fn route(&mut self, changes: &[Change], now: Time) -> Vec<Message> {
        if changes.is_empty() && self.pipeline.next_flush().is_none_or(|due| due > now) {
            return Vec::new();
        }
        self.pipeline.evaluation.tell(&self.windows);
        self.pipeline.route(changes, now)
    }

    /// What time alone brings until an instant.
    fn messages_before(&mut self, tick: Time) -> Vec<Message> {
        let mut messages = Vec::new();
        while let Some(due) = self.pipeline.next_flush().filter(|due| *due < tick) {
            messages.extend(self.route(&[], due));
        }
        messages
    }

    fn end_warm(&mut self) {
        if self.at.is_none() {
            self.sources.iter().for_each(|source| self.windows.filled(source));
        }
    }

    /// All alerts as they are.
    pub fn alerts(&mut self) -> impl Iterator<Item = &Alert> {
        self.pipeline.evaluation.tell(&self.windows);
        self.pipeline.alerts()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alert::Kind;
    use crate::event::Outcome;
    use crate::source;
    use crate::yaml::Faults;

    /// A multiple of every interval here.
    const START: Time = Time::from_secs(20_000 * 86_400);

    fn at(seconds: i64) -> Time {
        START + Span::secs(seconds)
    }

    fn rule(name: &str, interval: &str, options: &str) -> String {
        format!("  - {{name: {name}, interval: {interval}, rules: [{{alert: {name}, {options}}}]}}\n")
    }

    /// Plays failures at these seconds over rules from START to `until`, and gives each change as `SECONDS NAME KIND`.
    fn play(rules: &str, failures: &[i64], until: i64) -> Vec<String> {
        play_calls(rules, &failures.iter().map(|second| (*second, true)).collect::<Vec<_>>(), until)
    }

    /// The same of calls, each with whether it failed.
    fn play_calls(rules: &str, calls: &[(i64, bool)], until: i64) -> Vec<String> {
        let mut faults = Faults::default();
        let rules = crate::rule::parse_file("t.yml", &format!("groups:\n{rules}"), &mut faults);
        assert!(faults.0.is_empty(), "{:?}", faults.0);
        let table = Table {
            source: "app".to_owned(),
            name: "calls".to_owned(),
            kind: source::Kind::Usage,
            dimensions: vec!["model".to_owned()],
            measures: Vec::new(),
            marks: Vec::new(),
            failures_are_errors: true,
        };
        let setup = Setup { rules, sources: vec!["app".to_owned()], ..Setup::default() };
        let mut replay = Replay::new(vec![table], setup, 100, START);
        replay.add_shape(0, &["m".to_owned()]);
        let outcome = |failed| if failed { Outcome::Failure } else { Outcome::Success };
        let mut events: Vec<Event> = calls
            .iter()
            .map(|(second, failed)| Event { time: at(*second), count: 1, outcome: outcome(*failed), ..Event::default() })
            .collect();
        events.sort_by_key(|event| event.time);
        let warm = events.partition_point(|event| event.time < START);
        let from = replay.warm_from();
        replay.warm(0, &events[events.partition_point(|event| event.time < from)..warm]);
        let (mut rest, mut said) = (&events[warm..], Vec::new());
        while let Some(tick) = replay.next_tick().filter(|tick| *tick <= at(until)) {
            let (now, later) = rest.split_at(rest.partition_point(|event| event.time <= tick));
            replay.count(0, now);
            rest = later;
            for change in replay.advance(tick).changes {
                let kind = if change.kind == Kind::Fired { "fires" } else { "is over" };
                said.push(format!("{} {} {kind}", (tick - START).0 / 1_000_000, change.alert.labels.get("alertname")));
            }
        }
        said
    }

    #[test]
    fn rows_up_to_a_tick_are_visible_at_it() {
        let spike = rule("A", "10s", "error_spike: {more_than: 1, within: 30s, by: [model]}");
        assert_eq!(play(&spike, &[1, 20], 100), ["20 A fires", "40 A is over"]);
        assert_eq!(play(&spike, &[1, 21], 100), ["30 A fires", "40 A is over"]);
        // The first tick sees what was there before it.
        assert_eq!(play(&spike, &[-10, -5, 100], 100), ["0 A fires", "20 A is over"]);
        assert_eq!(play(&spike, &[-30, -29, 0], 100), ["0 A fires", "10 A is over"]);
    }

    #[test]
    fn rows_of_one_instant_are_in_order_whatever_their_order_was() {
        let row = rule("A", "10s", "failure_streak: {in_a_row: 2, by: [model]}");
        // A negative second is a success; failures count as later.
        for order in [[3, 3, -3], [3, -3, 3], [-3, 3, 3]] {
            assert_eq!(play_calls(&row, &order.map(|at: i64| (at.abs(), at > 0)), 20), ["10 A fires"]);
        }
    }

    #[test]
    fn each_rule_has_ticks_of_its_own() {
        let a = rule("A", "10s", "error_spike: {more_than: 1, within: 30s, by: [model]}");
        let b = rule("B", "15s", "failure_streak: {in_a_row: 2, within: 30s, by: [model]}");
        let (alone_a, alone_b) = (play(&a, &[1, 12], 100), play(&b, &[1, 12], 100));
        assert_eq!(alone_a, ["20 A fires", "40 A is over"]);
        assert_eq!(alone_b, ["15 B fires", "45 B is over"]);
        assert_eq!(play(&(a + &b), &[1, 12], 100), ["15 B fires", "20 A fires", "40 A is over", "45 B is over"]);
    }
}
