//! Rows that arrive late and in any order, over polls at any instant, against an evaluation with complete data.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::alert::{Kind, State};
use crate::event::{Event, Outcome};
use crate::source;
use crate::window::Table;
use crate::yaml::Faults;

/// A multiple of every interval and resolution that these tests use.
const START: Time = Time::from_secs(20_000 * 86_400);
const LATENESS: Span = Span::secs(60);
const INTERVAL: Span = Span::secs(10);
const MODELS: [&str; 2] = ["a", "b"];

fn at(seconds: i64) -> Time {
    START + Span::secs(seconds)
}

/// A call: when it was, when its row can be read, whether it failed, and its model.
#[derive(Clone, Copy, Debug)]
struct Call {
    time: Time,
    visible: Time,
    failure: bool,
    model: u32,
}

/// A source `app` with one table, the windows over it, and one rule.
struct World {
    windows: Windows,
    evaluation: Evaluation,
    calls: Vec<Call>,
    polled: Time,
}

fn rules(options: &str) -> Vec<Rule> {
    rules_of(&format!("groups: [{{name: g, interval: 10s, rules: [{{alert: A, {options}}}]}}]"))
}

fn rules_of(yaml: &str) -> Vec<Rule> {
    let mut faults = Faults::default();
    let rules = crate::rule::parse_file("t.yml", yaml, &mut faults);
    assert!(faults.0.is_empty(), "{:?}", faults.0);
    rules
}

impl World {
    /// Nothing was read or evaluated yet; `calls` are there to be read.
    fn new(options: &str, calls: Vec<Call>) -> World {
        World::of(rules(options), calls)
    }

    fn of(rules: Vec<Rule>, calls: Vec<Call>) -> World {
        let (source, name, dimensions) = ("app".to_owned(), "calls".to_owned(), vec!["model".to_owned()]);
        let table = Table {
            source,
            name,
            kind: source::Kind::Usage,
            dimensions,
            measures: Vec::new(),
            marks: Vec::new(),
            failures_are_errors: true,
        };
        let mut windows = Windows::new(vec![table], 100, LATENESS);
        for rule in &rules {
            for (selector, need, resolution) in rule.needs() {
                windows.need(&selector, &need, resolution, &BTreeSet::new());
            }
        }
        let shapes: Vec<Vec<String>> = MODELS.iter().map(|model| vec![(*model).to_owned()]).collect();
        windows.settle_needs([shapes.as_slice()].into_iter());
        let sources = ["app".to_owned()];
        let (evaluation, _) = Evaluation::new(rules, &sources, LATENESS, &mut windows, BTreeMap::new(), &BTreeMap::new());
        World { windows, evaluation, calls, polled: Time::MIN }
    }

    /// Reads what became visible since the last poll, as `engine::core` does, and evaluates where the source is not stale.
    fn poll(&mut self, now: Time, stale: bool) -> Evaluated {
        let horizon = self.evaluation.horizon(now);
        let visible = |call: &&Call| call.visible > self.polled && call.visible <= now;
        let outcome = |failure| if failure { Outcome::Failure } else { Outcome::Success };
        let event = |call: &Call| Event {
            time: call.time,
            shape: call.model,
            count: 1,
            outcome: outcome(call.failure),
            ..Event::default()
        };
        let events: Vec<Event> = self.calls.iter().filter(visible).map(event).collect();
        self.polled = self.polled.max(now);
        self.windows.add(0, &events, horizon, false);
        self.windows.forget(horizon, horizon - LATENESS);
        let touched = self.windows.touched(0, &events);
        let read = if stale { BTreeMap::new() } else { [("app".to_owned(), now)].into() };
        self.evaluation.advance(&mut self.windows, &read, &touched)
    }

    /// Ends, and begins again with what is stored and these rules; the answer is what the end of rules that are gone says.
    fn again(&mut self, rules: Vec<Rule>) -> String {
        let stored = |(key, book): (String, &Book)| (key, postcard::from_bytes(&postcard::to_stdvec(book).unwrap()).unwrap());
        let books: BTreeMap<String, Book> = self.evaluation.take_changed().into_iter().map(stored).collect();
        let evaluated = self.evaluation.evaluated();
        let sources = ["app".to_owned()];
        let (evaluation, gone) = Evaluation::new(rules, &sources, LATENESS, &mut self.windows, books, &evaluated);
        self.evaluation = evaluation;
        let last = evaluated.values().max().copied().unwrap();
        words(&gone.into_values().flat_map(|mut book| book.close(last)).collect::<Vec<_>>())
    }

    /// `12s a fired late` for what a poll at a second told.
    fn told(&mut self, now: i64) -> String {
        let evaluated = self.poll(at(now), false);
        assert_eq!(evaluated.faults, []);
        words(&evaluated.changes)
    }
}

fn words(changes: &[Change]) -> String {
    let announced = changes.iter().filter(|change| matches!(change.kind, Kind::Fired | Kind::Resolved));
    let word = |change: &Change| {
        let kind = if change.kind == Kind::Fired { "fired" } else { "resolved" };
        let late = if change.alert.late { " late" } else { "" };
        format!("{}s {} {kind}{late}", (change.at - START).as_secs_f64(), change.alert.labels.get("model"))
    };
    announced.map(word).collect::<Vec<_>>().join(", ")
}

/// `12 x a` happened at second 12 and can be read at once; `12+30 . b` half a minute later.
fn calls(lines: &[&str]) -> Vec<Call> {
    let call = |line: &&str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let (time, delay) = words[0].split_once('+').unwrap_or((words[0], "0"));
        let (time, delay): (i64, i64) = (time.parse().unwrap(), delay.parse().unwrap());
        let model = MODELS.iter().position(|model| *model == words[2]).unwrap() as u32;
        Call { time: at(time), visible: at(time + delay), failure: words[1] == "x", model }
    };
    lines.iter().map(call).collect()
}

const SPIKE: &str = "error_spike: {more_than: 1, within: 40s, by: [model]}";
const STREAK: &str = "failure_streak: {in_a_row: 2, within: 30s, by: [model]}";

#[test]
fn missed_ticks_are_evaluated_after_a_stop() {
    let mut world = World::new(SPIKE, calls(&["3 x a", "4 x a", "101 x b", "102 x b", "205 x a", "206 x a"]));
    assert_eq!(world.told(0), "");
    assert_eq!(world.told(212), "10s a fired, 50s a resolved, 110s b fired, 150s b resolved, 210s a fired");
    assert_eq!(world.told(300), "250s a resolved");
}

#[test]
fn a_stale_source_changes_nothing() {
    let mut world = World::new(SPIKE, calls(&["3 x a", "4 x a", "35 x b", "36+5 x b", "90 x a"]));
    assert_eq!((world.told(0).as_str(), world.told(20).as_str()), ("", "10s a fired"));
    for now in [30, 41, 60, 100] {
        let frozen = world.poll(at(now), true);
        assert_eq!((frozen.changes, frozen.faults), (vec![], vec![]), "{now}");
        assert!(world.evaluation.alerts().all(|alert| alert.state == State::Firing));
    }
    assert_eq!(world.told(101), "40s b fired, 50s a resolved, 80s b resolved");
}

/// Rows of the past fill windows; what they mean now is told, what they meant then is not.
#[test]
fn a_new_rule_pages_nobody_for_the_past() {
    let old = ["3 x a", "4 x a", "150 x b", "151 x b"];
    let mut world = World::new(SPIKE, calls(&[&old[..], &["109+60 . a", "110+65 . a", "161+9 . b"]].concat()));
    assert_eq!(world.told(160), "160s b fired");
    // Late rows look back, but not to before the rule.
    assert_eq!((world.told(170).as_str(), world.told(176).as_str()), ("", ""));
    let mut world = World::new(SPIKE, calls(&["103 x a", "104 x a", "105+60 . a"]));
    assert_eq!((world.told(160).as_str(), world.told(166).as_str()), ("", ""));
}

/// Each group has an interval of its own, also where two read the same windows.
#[test]
fn groups_have_intervals_of_their_own() {
    let group = |name: &str, interval: &str| {
        format!(
            "  - {{name: {name}, interval: {interval}, rules: [{{alert: {name}, error_spike: {{more_than: 1, within: 40s, by: [model]}}}}]}}\n"
        )
    };
    let rules = rules_of(&format!("groups:\n{}{}", group("Fine", "10s"), group("Coarse", "20s")));
    let mut world = World::of(rules, calls(&["3 x a", "4 x a"]));
    // The coarse one is due at 20; until then it looks only because there are new rows.
    assert_eq!((world.told(0).as_str(), world.told(15).as_str()), ("", "10s a fired, 15s a fired"));
    assert_eq!((world.told(49).as_str(), world.told(59).as_str()), ("", "50s a resolved"));
    assert_eq!(world.told(60), "60s a resolved");
}

/// More alerts than `limit` are an error of the rule: none of them begins, what fires goes on.
#[test]
fn a_group_has_a_limit() {
    let rules =
        |limit: u32| rules_of(&format!("groups: [{{name: g, interval: 10s, limit: {limit}, rules: [{{alert: A, {SPIKE}}}]}}]"));
    let lines = ["3 x a", "4 x a", "15 x b", "16 x b", "35 x a", "36 x a"];
    let mut world = World::new(SPIKE, calls(&lines));
    assert_eq!(world.told(0), "");
    world.again(rules(1));
    assert_eq!(world.told(10), "10s a fired");
    let over = world.poll(at(20), false);
    assert_eq!((words(&over.changes).as_str(), over.faults.len()), ("", 1));
    assert!(over.faults[0].1.contains("2 alerts at once, more than the limit of 1"), "{:?}", over.faults);
    let firing: Vec<&str> =
        world.evaluation.alerts().filter(|alert| alert.is_live()).map(|alert| alert.labels.get("model")).collect();
    assert_eq!(firing, ["a"]);
    // A higher one lets it begin.
    world.again(rules(2));
    assert_eq!(world.told(30), "30s b fired");
}

/// `keep_firing_for` begins when the alert is missed, and anew each time that it is back.
#[test]
fn alerts_are_kept_firing() {
    let kept = format!("{SPIKE}, keep_firing_for: 30s");
    let mut world = World::new(&kept, calls(&["3 x a", "4 x a", "62 x a", "63 x a"]));
    assert_eq!((world.told(0).as_str(), world.told(10).as_str()), ("", "10s a fired"));
    // Missed at 50; back before it is 80.
    assert_eq!((world.told(50).as_str(), world.told(79).as_str()), ("", ""));
    // Missed at 110, also over a restart.
    assert_eq!(world.told(120), "");
    assert_eq!(world.again(rules(&kept)), "");
    assert_eq!((world.told(130).as_str(), world.told(140).as_str()), ("", "140s a resolved"));
}

#[test]
fn a_restart_makes_a_new_rule_no_older() {
    let mut world = World::new(SPIKE, calls(&["103 x a", "104 x a", "105+60 . a"]));
    assert_eq!(world.told(160), "");
    assert_eq!(world.again(rules(SPIKE)), "");
    assert_eq!(world.told(166), "");
    // What is late after the rule was there is told after a restart too.
    let mut world = World::new(SPIKE, calls(&["103+60 x a", "104+60 x a"]));
    assert_eq!((world.told(0).as_str(), world.told(160).as_str()), ("", ""));
    assert_eq!(world.again(rules(SPIKE)), "");
    assert_eq!(world.told(166), "110s a fired late, 150s a resolved late");
}

#[test]
fn a_rule_that_changed_pages_nobody_for_the_past() {
    let other = "error_spike: {more_than: 2, within: 40s, by: [model]}";
    let mut world = World::new(other, calls(&["103 x a", "104 x a", "105+60 . a", "170 x b", "171 x b"]));
    assert_eq!((world.told(0).as_str(), world.told(160).as_str()), ("", ""));
    assert_eq!(world.again(rules(SPIKE)), "");
    assert_eq!((world.told(166).as_str(), world.told(175).as_str()), ("", "175s b fired"));
    // Other words for the same rule are no other rule.
    let mut world = World::new(SPIKE, calls(&["103+60 x a", "104+60 x a"]));
    assert_eq!((world.told(0).as_str(), world.told(160).as_str()), ("", ""));
    world.again(rules("annotations: {summary: other}, error_spike: {by: model, within: 40s, of: calls, more_than: 1}"));
    assert_eq!(world.told(166), "110s a fired late, 150s a resolved late");
}

#[test]
fn a_changed_rule_goes_on_with_the_alerts_that_it_still_finds() {
    let mut world = World::new(SPIKE, calls(&["3 x a", "4 x a", "5 x a", "6 x b", "7 x b"]));
    assert_eq!((world.told(0).as_str(), world.told(10).as_str()), ("", "10s a fired, 10s b fired"));
    assert_eq!(world.again(rules("error_spike: {more_than: 2, within: 40s, by: [model]}")), "");
    assert_eq!(world.told(20), "20s b resolved");
    assert!(world.evaluation.alerts().any(|alert| alert.fired_at == Some(at(10)) && alert.state == State::Firing));
}

#[test]
fn a_rule_that_moves_takes_its_alerts_along() {
    let group = |name: &str| rules_of(&format!("groups: [{{name: {name}, interval: 10s, rules: [{{alert: A, {SPIKE}}}]}}]"));
    let start = || {
        let mut world = World::new(SPIKE, calls(&["3 x a", "4 x a", "35 x a", "36 x a"]));
        assert_eq!((world.told(0).as_str(), world.told(12).as_str()), ("", "10s a fired"));
        world
    };
    let mut world = start();
    assert_eq!(world.again(group("h")), "");
    assert_eq!((world.told(40).as_str(), world.told(80).as_str()), ("", "80s a resolved"));
    // Which of two it would be is not known.
    let mut world = start();
    assert_eq!(world.again(group("h").into_iter().chain(group("i")).collect()), "12s a resolved");
    // With another name it is another rule.
    let mut world = start();
    assert_eq!(
        world.again(rules_of(&format!("groups: [{{name: h, interval: 10s, rules: [{{alert: B, {SPIKE}}}]}}]"))),
        "12s a resolved"
    );
}

#[test]
fn a_clock_that_goes_back_loses_nothing() {
    let mut world = World::new(SPIKE, calls(&["3 x a", "62+30 x b", "63+30 x b", "130 x b", "131 x b"]));
    assert_eq!((world.told(0).as_str(), world.told(91).as_str()), ("", ""));
    // The rows that can be read at 92 and 93 come while the clock is behind.
    world.polled = at(80);
    world.calls.iter_mut().filter(|call| call.visible > at(80) && call.visible < at(100)).for_each(|call| call.visible = at(85));
    assert_eq!(world.told(85), "");
    assert_eq!(world.told(90), "");
    assert_eq!(world.told(95), "70s b fired");
    assert_eq!(world.told(111), "110s b resolved");
    assert_eq!(world.told(132), "132s b fired");
}

/// Between two ticks the end of the window is still to come: what is found there is told, what is missing is not over.
#[test]
fn between_ticks_alerts_begin_and_none_ends() {
    let mut world = World::new(SPIKE, calls(&["3 x a", "4 x a", "43 . a", "45 x a", "46 x a", "48 x b", "49 x b"]));
    assert_eq!(world.told(0), "");
    assert_eq!(world.told(5), "5s a fired");
    // The window of the coming tick lacks the first two; it has two others when it is there.
    assert_eq!(world.told(43), "");
    assert_eq!(world.told(46), "");
    assert_eq!(world.told(49), "49s b fired");
    assert_eq!(world.told(60), "");
    assert_eq!(world.told(95), "90s a resolved, 90s b resolved");
    let held = format!("{SPIKE}, for: 20s");
    let mut world = World::new(&held, calls(&["13 x a", "14 x a", "53 . a", "57 x a", "58 x a"]));
    assert_eq!(world.told(0), "");
    assert_eq!((world.told(25).as_str(), world.told(54).as_str(), world.told(62).as_str()), ("", "40s a fired", ""));
}

const SQL: &str = "sql: {query: SELECT 1, every: 30s}";

impl World {
    /// `app` answers at a second with these models; `!` is an answer that the rule cannot use.
    fn answers(&mut self, seconds: i64, models: &[&str]) -> Vec<(String, String)> {
        let row = |model: &&str| vec![Some((*model).to_owned()), (*model != "!").then(|| "1".to_owned())];
        let columns = vec!["model".to_owned(), "value".to_owned()];
        self.evaluation.answer("app", "SELECT 1", Answer { at: at(seconds), columns, rows: models.iter().map(row).collect() })
    }
}

/// An answer stands for three times `every`; after that nothing is known and nothing changes.
#[test]
fn without_an_answer_that_is_near_nothing_changes() {
    let mut world = World::new(SQL, Vec::new());
    // Before the first answer the rule is not even new.
    assert_eq!((world.told(5).as_str(), world.told(15).as_str()), ("", ""));
    assert!(world.evaluation.evaluated().is_empty());
    world.answers(16, &["a"]);
    assert_eq!(world.told(16), "16s a fired");
    world.answers(46, &["a", "b"]);
    assert_eq!(world.told(61), "50s b fired");
    assert_eq!(world.told(136), "");
    // Too old from 136 on. Of the ticks since then only those are judged that an answer speaks for.
    assert_eq!(world.told(200), "");
    world.answers(205, &[]);
    assert_eq!(world.told(205), "");
    assert_eq!(world.told(210), "210s a resolved, 210s b resolved");
}

#[test]
fn an_answer_that_a_rule_cannot_use_is_none() {
    let mut world = World::new(SQL, Vec::new());
    assert_eq!(world.answers(1, &["!"]).len(), 1);
    assert_eq!(world.told(10), "");
    assert_eq!((world.answers(11, &["a"]).len(), world.told(11).as_str()), (0, "11s a fired"));
    let told = world.answers(20, &["a", "!"]);
    let fault = "`value` is NULL in the row {model=\"!\"}, which is no number";
    assert_eq!(told, [("g/A".to_owned(), fault.to_owned())]);
    assert_eq!(world.told(30), "");
    world.answers(31, &[]);
    assert_eq!(world.told(41), "40s a resolved");
}

/// What was known at an instant is what it is judged by, also when it is judged again.
#[test]
fn instants_of_the_past_have_the_answers_of_then() {
    let mut world = World::new("sql: {query: SELECT 1}", Vec::new());
    world.answers(1, &["a"]);
    assert_eq!(world.told(5), "5s a fired");
    world.answers(12, &[]);
    world.answers(33, &["a"]);
    world.answers(44, &[]);
    assert_eq!(world.told(60), "20s a resolved, 40s a fired, 50s a resolved");
    // A clock that goes back takes what was known with it.
    world.answers(43, &["b"]);
    assert_eq!(world.evaluation.answered.values().next().unwrap().len(), 4);
    // They are kept for the lateness, and one before that.
    world.answers(200, &[]);
    assert_eq!(world.evaluation.answered.values().next().unwrap().len(), 2);
    for second in 201..400 {
        world.answers(second, &[]);
    }
    assert!(world.evaluation.answered.values().next().unwrap().len() <= MAX_ANSWERS);
}

/// A rule of two sources waits for both; a query is asked as often as the most eager rule says.
#[test]
fn sources_are_asked_by_those_who_read_them() {
    let rule =
        |name: &str, options: &str| rules(&format!("sql: {{query: SELECT 1, {options}}}, labels: {{rule: {name}}}")).remove(0);
    let rules = vec![rule("both", "every: 1m"), rule("eu", "every: 20s, where: ['source=\"eu\"']")];
    let sources = ["eu".to_owned(), "us".to_owned()];
    let mut windows = Windows::new(Vec::new(), 100, LATENESS);
    let (mut evaluation, _) = Evaluation::new(rules, &sources, LATENESS, &mut windows, BTreeMap::new(), &BTreeMap::new());
    let every = |source: &str| evaluation.queries(source).iter().map(|query| query.every).collect::<Vec<_>>();
    assert_eq!((every("eu"), every("us"), every("no")), (vec![Span::secs(20)], vec![Span::secs(60)], vec![]));
    assert_eq!((evaluation.askers("eu", "SELECT 1").len(), evaluation.askers("us", "SELECT 1").len()), (2, 1));
    let read = BTreeMap::from([("eu".to_owned(), at(10)), ("us".to_owned(), at(10))]);
    let row = || Answer { at: at(9), columns: vec!["value".to_owned()], rows: vec![vec![Some("1".to_owned())]] };
    evaluation.answer("eu", "SELECT 1", row());
    assert_eq!(evaluation.advance(&mut windows, &read, &BTreeMap::new()).changes.len(), 1);
    evaluation.answer("us", "SELECT 1", row());
    assert_eq!(evaluation.advance(&mut windows, &read, &BTreeMap::new()).changes.len(), 2);
}

/// An evaluation that fails takes nothing away from what the others of the same poll told.
#[test]
fn a_fault_hides_no_change() {
    // All alerts have the same labels, so that two at once are a fault.
    let same = format!("{SPIKE}, labels: {{model: '{{{{ `all` }}}}'}}");
    let mut world =
        World::new(&same, calls(&["3 x a", "4 x a", "101 x a", "102 x a", "103 x b", "104 x b", "135 x a", "136 x a"]));
    assert_eq!(world.told(0), "");
    let evaluated = world.poll(at(212), false);
    assert_eq!(words(&evaluated.changes), "10s all fired, 50s all resolved, 150s all fired, 180s all resolved");
    assert_eq!(evaluated.faults.len(), 1, "{:?}", evaluated.faults);
}

/// A span [from, to) in which an alert fires; open while it does.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Incident {
    from: Time,
    to: Option<Time>,
}

impl Incident {
    fn overlaps(&self, other: &Incident) -> bool {
        self.to.is_none_or(|to| other.from < to) && other.to.is_none_or(|to| self.from < to)
    }
}

/// A rule as words say it, evaluated from nothing.
#[derive(Clone, Copy, Debug)]
struct Recount {
    streak: bool,
    hold: Span,
}

impl Recount {
    fn options(&self) -> String {
        let kind = if self.streak { STREAK } else { SPIKE };
        format!("{kind}, for: {}s", self.hold.0 / 1_000_000)
    }

    /// Whether the rule is broken at an instant by these calls of one model.
    fn holds(&self, calls: &[Call], at: Time) -> bool {
        if !self.streak {
            let end = at.ceil(INTERVAL);
            let within = |call: &&Call| call.failure && call.time <= end && call.time > end - Span::secs(40);
            return calls.iter().filter(within).count() > 1;
        }
        let mut past: Vec<(Time, bool)> =
            calls.iter().filter(|call| call.time <= at).map(|call| (call.time, call.failure)).collect();
        past.sort_unstable();
        let run: Vec<_> = past.iter().rev().take_while(|(_, failure)| *failure).collect();
        run.len() >= 2 && run[0].0 > at.ceil(INTERVAL) - Span::secs(30)
    }

    /// Every incident at the ticks in (from, until].
    fn incidents(&self, calls: &[Call], from: Time, until: Time) -> Vec<Incident> {
        let (mut found, mut since): (Vec<Incident>, Option<Time>) = (Vec::new(), None);
        let mut tick = (from + Span(1)).ceil(INTERVAL);
        while tick <= until {
            let open = found.last_mut().filter(|incident| incident.to.is_none());
            match (self.holds(calls, tick), open) {
                (true, Some(_)) => {}
                (true, None) => {
                    let since = *since.get_or_insert(tick);
                    if tick - since >= self.hold {
                        found.push(Incident { from: tick, to: None });
                    }
                }
                (false, open) => {
                    since = None;
                    open.into_iter().for_each(|incident| incident.to = Some(tick));
                }
            }
            tick = tick + INTERVAL;
        }
        found
    }
}

/// What people know of one model.
#[derive(Debug, Default)]
struct Told {
    announced: Vec<Incident>,
    /// Incidents as they were known to be: one with what was announced of them, or late while the alert fired, so that its
    /// page covers them.
    covered: Vec<Incident>,
}

impl Told {
    fn fires(&self) -> bool {
        self.announced.iter().any(|incident| incident.to.is_none())
    }

    /// Whether an incident was told at the poll whose time is `last`; what fires was told up to then.
    fn knows(&self, incident: &Incident, last: Time) -> bool {
        let until = |known: &Incident| Incident { to: known.to.or(Some(last + Span(1))), ..*known };
        self.announced.iter().chain(&self.covered).any(|known| until(known).overlaps(incident))
    }

    /// Takes the changes of one poll and holds them against a recount with all that can be read by now.
    fn take(
        &mut self,
        recount: &Recount,
        changes: &[&Change],
        calls: &[Call],
        last: Time,
        now: Time,
    ) -> Result<(), TestCaseError> {
        let incidents = recount.incidents(calls, at(0), now);
        let new: Vec<Incident> = incidents.iter().filter(|incident| !self.knows(incident, last)).copied().collect();
        let (fired_before, mut fired) = (self.fires(), 0);
        for change in changes {
            match change.kind {
                Kind::Fired => {
                    prop_assert!(!self.fires(), "fired twice: {change:?}");
                    self.announced.push(Incident { from: change.at, to: None });
                    fired += 1;
                }
                Kind::Resolved => {
                    let open = self.announced.iter_mut().find(|incident| incident.to.is_none());
                    prop_assert!(open.is_some(), "resolved without having fired: {change:?}");
                    open.into_iter().for_each(|incident| incident.to = Some(change.at));
                }
                Kind::Pending | Kind::Dropped => {}
            }
        }
        let fires = incidents.iter().any(|incident| incident.to.is_none());
        prop_assert!(self.fires() || !fires, "it fires since {:?}, and nobody knows", incidents.last());
        // What began since the last tick ends at the next.
        let began = self.announced.last().is_some_and(|incident| incident.from > now.floor(INTERVAL));
        prop_assert!(!self.fires() || fires || began || recount.holds(calls, now), "it does not fire: {incidents:?}");
        // What is told to be over and fires after all, now or at the last poll, is told again.
        let at_last = Incident { from: last, to: Some(last + Span(1)) };
        let fired_at_last = incidents.iter().any(|incident| incident.overlaps(&at_last)) || recount.holds(calls, last);
        let again = usize::from(self.fires() && new.iter().all(|incident| incident.to.is_some()));
        let again = again + usize::from(fired_at_last && !fired_before);
        prop_assert!(fired <= new.len() + again, "{fired} are told, new are {new:?} of {incidents:?}");
        let untold = new.iter().find(|incident| !self.announced.iter().any(|known| known.overlaps(incident)));
        prop_assert!(fired_before || fired_at_last || self.fires() || untold.is_none(), "{untold:?} is not told");
        self.covered.extend(incidents.iter().filter(|incident| incident.to.is_some()));
        Ok(())
    }
}

/// Times in half seconds, so that some calls are on ticks; a tenth of the rows come late.
fn random_calls() -> impl Strategy<Value = Vec<Call>> {
    let delay = prop_oneof![6 => Just(0i64), 2 => 1i64..6, 2 => 1i64..120];
    let call = (2i64..800, delay, prop::bool::weighted(0.7), 0u32..2);
    let call = call.prop_map(|(time, delay, failure, model)| {
        let time = START + Span::millis(500 * time);
        Call { time, visible: time + Span::millis(500 * delay), failure, model }
    });
    prop::collection::vec(call, 0..60)
}

/// Seconds from poll to poll, now and then a stop, and whether the source is stale then.
fn random_polls() -> impl Strategy<Value = Vec<(i64, bool)>> {
    let gap = prop_oneof![10 => 1i64..12, 1 => 12i64..200];
    prop::collection::vec((gap, prop::bool::weighted(0.1)), 1..80)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn every_incident_is_announced_once(
        calls in random_calls(),
        polls in random_polls(),
        streak in prop::bool::ANY,
        hold in 0i64..3,
    ) {
        let recount = Recount { streak, hold: Span(INTERVAL.0 * hold) };
        let mut world = World::new(&recount.options(), calls.clone());
        world.poll(at(0), false);
        let mut told: [Told; 2] = Default::default();
        let (mut now, mut last) = (at(0), at(0));
        // At last all rows are there, a tick is now, and nothing is in between.
        for (gap, stale) in polls.into_iter().chain([(460, false), (0, false)]) {
            now = if gap == 460 { now.max(at(460)) } else { now + Span::secs(gap) };
            if gap == 0 {
                now = (now + Span(1)).ceil(INTERVAL);
            }
            let evaluated = world.poll(now, stale);
            prop_assert_eq!(evaluated.faults, []);
            if stale {
                prop_assert!(evaluated.changes.is_empty());
                continue;
            }
            for (model, told) in told.iter_mut().enumerate() {
                let readable: Vec<Call> =
                    calls.iter().filter(|call| call.visible <= now && call.model == model as u32).copied().collect();
                let changes: Vec<&Change> =
                    evaluated.changes.iter().filter(|change| change.alert.labels.get("model") == MODELS[model]).collect();
                told.take(&recount, &changes, &readable, last, now)?;
                let fires = world.evaluation.alerts().any(|alert| alert.state == State::Firing && alert.labels.get("model") == MODELS[model]);
                prop_assert_eq!(fires, told.fires());
            }
            last = now;
        }
    }

    /// Where rows come in time, what is told is what a recount finds, tick by tick.
    #[test]
    fn in_time_each_incident_is_told_as_it_is(calls in random_calls(), streak in prop::bool::ANY, hold in 0i64..3) {
        let recount = Recount { streak, hold: Span(INTERVAL.0 * hold) };
        let calls: Vec<Call> = calls.into_iter().map(|call| Call { visible: call.time, ..call }).collect();
        let mut world = World::new(&recount.options(), calls.clone());
        let changes: Vec<Change> = (0..50).flat_map(|tick| world.poll(at(10 * tick), false).changes).collect();
        for (model, name) in MODELS.iter().enumerate() {
            let own: Vec<Call> = calls.iter().filter(|call| call.model == model as u32).copied().collect();
            let mut expected = Vec::new();
            for incident in recount.incidents(&own, at(0), at(490)) {
                expected.push((Kind::Fired, incident.from));
                expected.extend(incident.to.map(|to| (Kind::Resolved, to)));
            }
            let own = changes.iter().filter(|change| change.alert.labels.get("model") == *name);
            let told = own.filter(|change| matches!(change.kind, Kind::Fired | Kind::Resolved)).map(|change| (change.kind, change.at));
            prop_assert_eq!(told.collect::<Vec<_>>(), expected);
        }
    }
}
