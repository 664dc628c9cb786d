//! One tick of 500 rules with 20 distinct windows over 10 k groups: with 1 % of them changed since the last tick, and all.
//!
//! It is the library's own evaluation, as the daemon runs it, over calls that are made up. The limit is a walk through as
//! many sums in memory as the rules have to look at.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::hint::black_box;
use std::time::Instant;

use anyhow::{Result, ensure};
use modelwatch::evaluation::Evaluation;
use modelwatch::event::{Event, Outcome};
use modelwatch::rule::{self, Rule};
use modelwatch::source::Kind;
use modelwatch::time::{Span, Time};
use modelwatch::window::{Sums, Table, Windows};
use modelwatch::yaml::Faults;

use crate::Scale;
use crate::report::{Report, median, seconds};

const RULES: usize = 500;
const WINDOWS: usize = 20;
const INTERVAL: Span = Span::secs(15);
const TICKS: usize = 40;

/// Aim: 100 ms.
pub fn run(scale: Scale) -> Result<Report> {
    let groups = scale.of(10_000, 100);
    let mut report = Report::default();
    let limit = seconds(walk(groups));
    for (what, share) in [("1 % of the groups changed", 100), ("all groups changed", 1)] {
        let took = Bench::new(groups)?.ticks(share);
        report.judge(&format!("one tick, {what}"), seconds(took), &limit, "100 ms", took < 0.1);
    }
    report.note(format!("{RULES} rules, {WINDOWS} windows of 5 min to 24 h, {groups} groups, every group with calls in each hour; median of {TICKS} ticks"));
    report.note("limit: a walk through one array of sums for each rule");
    Ok(report)
}

struct Bench {
    windows: Windows,
    evaluation: Evaluation,
    groups: usize,
    now: Time,
}

/// The rules as YAML: 20 windows, 25 thresholds each, high enough that few alerts fire.
fn rules() -> Result<Vec<Rule>> {
    let mut text = format!("groups:\n  - name: bench\n    interval: {INTERVAL}\n    rules:\n");
    for i in 0..RULES {
        let (window, threshold) = (i % WINDOWS, 100_000 + i / WINDOWS);
        let within = if window < 12 { format!("{}m", 5 * (window + 1)) } else { format!("{}h", 3 * (window - 11)) };
        writeln!(text, "      - {{alert: Rule{i}, error_spike: {{more_than: {threshold}, within: {within}, by: [model]}}}}")?;
    }
    let mut faults = Faults::default();
    let rules = rule::parse_file("bench.yml", &text, &mut faults);
    ensure!(
        faults.0.is_empty() && rules.len() == RULES,
        "the rules are at fault: {:?}",
        faults.0.first().map(ToString::to_string)
    );
    Ok(rules)
}

impl Bench {
    fn new(groups: usize) -> Result<Bench> {
        let table = Table {
            source: "s".into(),
            name: "t".into(),
            kind: Kind::Usage,
            dimensions: vec!["model".into()],
            failures_are_errors: true,
        };
        let mut windows = Windows::new(vec![table], groups, Span::secs(900));
        let rules = rules()?;
        let nothing = BTreeSet::new();
        for rule in &rules {
            for need in rule.needs() {
                windows.need(&rule.selector, need, rule.interval, &nothing);
            }
        }
        let names: Vec<Vec<String>> = (0..groups).map(|i| vec![format!("model-{i}")]).collect();
        windows.settle_needs([names.as_slice()].into_iter());
        let now = Time::from_secs(1_800_000_000);
        for hour in 0..24 {
            let at = now - Span::secs(hour * 3_600 + 60);
            windows.add(0, &failures(0..groups, at), now, false);
        }
        let (mut evaluation, _) =
            Evaluation::new(rules, &["s".to_owned()], Span::secs(900), &mut windows, BTreeMap::new(), &BTreeMap::new());
        evaluation.advance(&mut windows, &BTreeMap::from([("s".to_owned(), now)]), &BTreeMap::new());
        Ok(Bench { windows, evaluation, groups, now })
    }

    /// Median seconds of a tick in which one group of `share` got a call.
    fn ticks(mut self, share: usize) -> f64 {
        let mut took = Vec::new();
        for tick in 0..TICKS {
            let changed = failures((tick % share..self.groups).step_by(share), self.now + Span::secs(1));
            self.now = self.now + INTERVAL;
            let start = Instant::now();
            self.windows.add(0, &changed, self.now, false);
            let touched = self.windows.touched(0, &changed);
            self.windows.forget(self.now, self.now - Span::secs(900));
            black_box(self.evaluation.advance(&mut self.windows, &BTreeMap::from([("s".to_owned(), self.now)]), &touched));
            took.push(start.elapsed().as_secs_f64());
        }
        median(took)
    }
}

fn failures(groups: impl Iterator<Item = usize>, at: Time) -> Vec<Event> {
    groups.map(|group| Event { time: at, shape: group as u32, count: 1, outcome: Outcome::Failure, ..Event::default() }).collect()
}

/// Seconds for a look at one number of each group, once for each rule.
fn walk(groups: usize) -> f64 {
    let arrays: Vec<Vec<Sums>> = (0..WINDOWS).map(|i| vec![Sums { failure: i as u64, ..Sums::default() }; groups]).collect();
    let walk = || {
        let start = Instant::now();
        for rule in 0..RULES {
            black_box(arrays[rule % WINDOWS].iter().filter(|sums| sums.failure > black_box(100)).count());
        }
        start.elapsed().as_secs_f64()
    };
    median((0..9).map(|_| walk()).collect())
}
