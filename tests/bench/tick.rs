//! One tick of 1,000 rules of all kinds with 40 distinct windows over 10 k groups: with 1 % of them changed since the last
//! tick, and all.
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

const RULES: usize = 1_000;
const WINDOWS: usize = 40;
const INTERVAL: Span = Span::secs(15);
const TICKS: usize = 40;

/// Every kind that asks nothing of a database, each as often as it is here; `$w` is one of the windows, `$s` one of an hour
/// at most, and `$n` a number that differs. They are set so high that few alerts fire.
const KINDS: [&str; 25] = [
    "error_spike: {more_than: $n, within: $w, by: [model]}",
    "error_spike: {more_than: $n, within: $w, by: [model]}",
    "error_spike: {more_than: $n, within: $w, by: [model]}",
    "error_spike: {more_than: $n, within: $w, by: [model]}",
    "error_spike: {more_than: $n, within: $w, by: [model], where: ['model=~\"model-.*\"']}",
    "error_spike: {more_than: $n, within: $w}",
    "error_rate: {more_than: 99%, within: $w, min_requests: $n, by: [model]}",
    "error_rate: {more_than: 98%, within: $w, min_requests: $n, by: [model]}",
    "error_rate: {more_than: 97%, within: $w, min_requests: $n, by: [model]}",
    "error_rate: {more_than: 99%, within: $w, min_requests: $n}",
    "failure_streak: {more_than: $n, within: $w, by: [model]}",
    "failure_streak: {more_than: $n, within: $w, by: [model]}",
    "failure_streak: {in_a_row: $n, within: $w, by: [model]}",
    "failure_streak: {in_a_row: $n, within: $w, by: [model]}",
    "latency: {quantile: p95, more_than: 90s, within: $s, min_requests: 3, by: [model]}",
    "latency: {quantile: p50, more_than: 60s, within: $s, min_requests: 3, by: [model]}",
    "measure: {of: latency, above: 600, stat: mean, within: $s, min_values: 3, by: [model]}",
    "measure: {of: quality, below: -5, stat: p10, within: $s, min_values: 3, by: [model]}",
    "slo_burn_rate: {objective: 50%, period: 1d, conditions: [{long: 1h, short: 5m, factor: 1.9}, {long: 6h, short: 30m, factor: 1.8}], by: [model]}",
    "cost_anomaly: {factor: 100, window: 6h, days: 3, min_cost: $n, by: [model]}",
    "volume_anomaly: {of: calls, window: 1h, spike: 1000, days: 3, by: [model]}",
    "budget: {period: day, by: [model], limit: $n}",
    "no_data: {for: 2d, by: [model]}",
    "freshness: {older_than: 2d, by: [model]}",
    "new_value: {of: model, learn: 30d}",
];

/// Aims: 250 ms and a second.
pub fn run(scale: Scale) -> Result<Report> {
    let groups = scale.of(10_000, 100);
    let mut report = Report::default();
    let limit = seconds(walk(groups));
    for (what, share, aim) in [("1 % of the groups changed", 100, 0.25), ("all groups changed", 1, 1.0)] {
        let took = Bench::new(groups)?.ticks(share);
        report.judge(&format!("one tick, {what}"), seconds(took), &limit, &seconds(aim), took < aim);
    }
    report.note(format!(
        "{RULES} rules of {} kinds, {WINDOWS} windows of 5 min to 24 h, {groups} groups, every group with calls in each hour; median of {TICKS} ticks",
        KINDS.iter().filter_map(|kind| kind.split(':').next()).collect::<BTreeSet<_>>().len()
    ));
    report.note("limit: a walk through one array of sums for each rule");
    Ok(report)
}

struct Bench {
    windows: Windows,
    evaluation: Evaluation,
    groups: usize,
    now: Time,
}

/// The rules as YAML: each kind with each window.
fn rules() -> Result<Vec<Rule>> {
    let mut text = format!("groups:\n  - name: bench\n    interval: {INTERVAL}\n    rules:\n");
    for i in 0..RULES {
        let (window, kind) = (i % WINDOWS, KINDS[i / WINDOWS % KINDS.len()]);
        let minutes = if window < 20 { 5 * (window + 1) } else { 60 * (window - 15) };
        let options = kind.replace("$w", &format!("{minutes}m")).replace("$s", &format!("{}m", minutes.min(60)));
        writeln!(text, "      - {{alert: Rule{i}, {}}}", options.replace("$n", &(100_000 + i).to_string()))?;
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
            measures: vec!["quality".into()],
            marks: Vec::new(),
            failures_are_errors: true,
        };
        let mut windows = Windows::new(vec![table], groups, Span::secs(900));
        let rules = rules()?;
        let nothing = BTreeSet::new();
        for rule in &rules {
            for (selector, need, resolution) in rule.needs() {
                windows.need(&selector, &need, resolution, &nothing);
            }
        }
        let names: Vec<Vec<String>> = (0..groups).map(|i| vec![format!("model-{i}")]).collect();
        windows.settle_needs([names.as_slice()].into_iter());
        let now = Time::from_secs(1_800_000_000);
        for hour in 0..24 {
            let at = now - Span::secs(hour * 3_600 + 60);
            windows.add(0, &calls(0..groups, at, hour % 2 == 1), now, false);
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
            let changed = calls((tick % share..self.groups).step_by(share), self.now + Span::secs(1), tick % 2 == 0);
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

fn calls(groups: impl Iterator<Item = usize>, at: Time, fail: bool) -> Vec<Event> {
    let event = |group| Event {
        time: at,
        shape: group as u32,
        count: 1,
        outcome: if fail { Outcome::Failure } else { Outcome::Success },
        cost: Some(1_000_000),
        latency: Some(1_000_000),
        measures: vec![Some(5_000_000)],
        ..Event::default()
    };
    groups.map(event).collect()
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
