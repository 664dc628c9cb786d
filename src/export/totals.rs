//! What has been counted since ever, for each table and combination of exported dimensions.

use rustc_hash::FxHashMap;
use serde::{Deserialize, Serialize};

use crate::event::{Event, NanoUsd, Outcome};
use crate::labels::escape;
use crate::source::Kind;
use crate::source::batch::Unreadable;
use crate::source::shapes::OTHER;
use crate::time::Time;
use crate::window::Table;

/// Upper bounds of the latency buckets in microseconds: 0.1 s to 600 s, since model calls are slow.
pub const LATENCY_BOUNDS: [i64; 13] = [
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    15_000_000,
    30_000_000,
    60_000_000,
    120_000_000,
    300_000_000,
    600_000_000,
];

/// A total that is full stays so: it does not go back.
fn add(total: &mut u64, more: u64) {
    *total = total.saturating_add(more);
}

/// Calls of one series.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Calls {
    /// Calls that succeeded.
    pub success: u64,
    /// Calls that failed.
    pub failure: u64,
    /// Calls that were never finished.
    pub abandoned: u64,
    /// Tokens of prompts.
    pub input_tokens: u64,
    /// Tokens of answers.
    pub output_tokens: u64,
    /// Tokens of which only the total is known.
    pub unspecified_tokens: u64,
    /// Cost in billionths of a dollar.
    pub cost: NanoUsd,
    /// Calls by latency bucket, not cumulative; the last is beyond all bounds.
    pub latency: [u64; LATENCY_BOUNDS.len() + 1],
    /// Sum of all latencies in microseconds.
    pub latency_sum: i64,
    /// Time of the newest call.
    pub last: Time,
    /// Failures since the last success, as far as calls are known.
    #[serde(skip)]
    pub run: u64,
}

impl Calls {
    fn add(&mut self, event: &Event) {
        let count = u64::from(event.count);
        match event.outcome {
            Outcome::Success => add(&mut self.success, count),
            Outcome::Failure => add(&mut self.failure, count),
            Outcome::Abandoned => add(&mut self.abandoned, count),
        }
        add(&mut self.input_tokens, event.input_tokens);
        add(&mut self.output_tokens, event.output_tokens);
        add(&mut self.unspecified_tokens, event.unspecified_tokens);
        self.cost = self.cost.saturating_add(event.cost.unwrap_or(0));
        self.last = self.last.max(event.time);
        if let Some(latency) = event.latency.filter(|_| count > 0) {
            add(&mut self.latency[LATENCY_BOUNDS.partition_point(|bound| *bound < latency)], count);
            self.latency_sum = self.latency_sum.saturating_add(latency.saturating_mul(i64::from(event.count)));
        }
    }

    fn merge(&mut self, other: &Calls) {
        add(&mut self.success, other.success);
        add(&mut self.failure, other.failure);
        add(&mut self.abandoned, other.abandoned);
        add(&mut self.input_tokens, other.input_tokens);
        add(&mut self.output_tokens, other.output_tokens);
        add(&mut self.unspecified_tokens, other.unspecified_tokens);
        self.cost = self.cost.saturating_add(other.cost);
        self.latency.iter_mut().zip(other.latency).for_each(|(own, other)| add(own, other));
        self.latency_sum = self.latency_sum.saturating_add(other.latency_sum);
        self.last = self.last.max(other.last);
    }
}

/// Series by their values.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Series<T> {
    /// Values of the labels of each series.
    values: Vec<Vec<String>>,
    /// What was counted for each.
    counts: Vec<T>,
    /// `{source="cora",table="cora_usage",model="gpt-4o"` of each, as it stands on /metrics, without the closing brace.
    #[serde(skip)]
    rendered: Vec<String>,
    #[serde(skip)]
    numbers: FxHashMap<Vec<String>, u32>,
}

impl<T: Default> Series<T> {
    fn number(&mut self, table: &Table, labels: &[String], mut values: Vec<String>, max: usize) -> u32 {
        if let Some(&number) = self.numbers.get(&values) {
            return number;
        }
        if self.values.len() >= max {
            values.fill(OTHER.to_owned());
            if let Some(&number) = self.numbers.get(&values) {
                return number;
            }
        }
        let mut rendered = format!("{{source=\"{}\",table=\"{}\"", escape(&table.source), escape(&table.name));
        for (label, value) in labels.iter().zip(&values) {
            rendered += &format!(",{label}=\"{}\"", escape(value));
        }
        let number = self.values.len() as u32;
        self.rendered.push(rendered);
        self.values.push(values.clone());
        self.counts.push(T::default());
        self.numbers.insert(values, number);
        number
    }

    /// Rendered labels and counts.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &T)> {
        self.rendered.iter().map(String::as_str).zip(&self.counts)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.values.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }
}

/// What is counted of one table.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct TableTotals {
    source: String,
    table: String,
    /// The labels of `calls`; `errors` has `error_type` behind them.
    labels: Vec<String>,
    /// Calls, for a usage table.
    pub calls: Series<Calls>,
    /// Errors by type: records of an error table, or failed calls where their source has none.
    pub errors: Series<u64>,
    /// Rows that the database sent.
    pub rows: u64,
    /// Events that the repair pass found.
    pub late: u64,
    /// Events that were dated after the database's now.
    pub future: u64,
    /// Calls finished after they were counted as abandoned.
    pub finished_after_abandon: u64,
    /// What could not be taken as it stands.
    pub unreadable: Unreadable,
    /// New label sets that were summed in `other`.
    pub over_limit: u64,
    #[serde(skip)]
    targets: Vec<(u32, u32)>,
    #[serde(skip)]
    max_series: usize,
}

/// No series of this kind for a shape.
const NONE: u32 = u32::MAX;

impl TableTotals {
    /// Of a table whose series shall have these labels; `stored` is taken over, summed where it has more labels.
    pub fn new(table: &Table, labels: &[String], max_series: usize, stored: Option<TableTotals>) -> TableTotals {
        let mut totals = TableTotals {
            source: table.source.clone(),
            table: table.name.clone(),
            labels: labels.to_vec(),
            max_series,
            ..TableTotals::default()
        };
        let Some(old) = stored else { return totals };
        let error_labels = totals.error_labels();
        let project = |values: &[String], wanted: &[String], had: &[String]| -> Vec<String> {
            let value = |label: &String| had.iter().position(|known| known == label).and_then(|i| values.get(i)).cloned();
            wanted.iter().map(|label| value(label).unwrap_or_default()).collect()
        };
        for (values, counts) in old.calls.values.iter().zip(&old.calls.counts) {
            let number = totals.calls.number(table, labels, project(values, labels, &old.labels), usize::MAX);
            totals.calls.counts[number as usize].merge(counts);
        }
        for (values, count) in old.errors.values.iter().zip(&old.errors.counts) {
            let number =
                totals.errors.number(table, &error_labels, project(values, &error_labels, &old.error_labels()), usize::MAX);
            add(&mut totals.errors.counts[number as usize], *count);
        }
        (totals.rows, totals.late, totals.future) = (old.rows, old.late, old.future);
        (totals.finished_after_abandon, totals.unreadable, totals.over_limit) =
            (old.finished_after_abandon, old.unreadable, old.over_limit);
        totals
    }

    /// Whose totals they are.
    pub fn is_of(&self, source: &str, table: &str) -> bool {
        self.source == source && self.table == table
    }

    /// `{source="cora",table="cora_usage"}`
    pub fn table_labels(&self) -> String {
        format!("{{source=\"{}\",table=\"{}\"}}", escape(&self.source), escape(&self.table))
    }

    fn error_labels(&self) -> Vec<String> {
        self.labels.iter().cloned().chain(["error_type".to_owned()]).collect()
    }

    /// The series of a shape that is new; shapes come in the order of their numbers.
    pub fn add_shape(&mut self, table: &Table, values: &[String]) {
        let pick =
            |labels: &[String]| -> Vec<String> { labels.iter().map(|label| table.value(label, values).to_owned()).collect() };
        let (labels, error_labels) = (self.labels.clone(), self.error_labels());
        let mut target = (NONE, NONE);
        if table.kind == Kind::Usage {
            let values = pick(&labels);
            self.over_limit += u64::from(self.calls.len() >= self.max_series && !self.calls.numbers.contains_key(&values));
            target.0 = self.calls.number(table, &labels, values, self.max_series);
        }
        if table.kind == Kind::Errors || table.failures_are_errors {
            target.1 = self.errors.number(table, &error_labels, pick(&error_labels), self.max_series);
        }
        self.targets.push(target);
    }

    /// Counts events.
    pub fn add(&mut self, events: &[Event]) {
        for event in events {
            let Some(&(calls, errors)) = self.targets.get(event.shape as usize) else { continue };
            if let Some(calls) = self.calls.counts.get_mut(calls as usize) {
                calls.add(event);
            }
            if let Some(errors) = self.errors.counts.get_mut(errors as usize).filter(|_| event.outcome == Outcome::Failure) {
                add(errors, u64::from(event.count));
            }
        }
    }

    /// Notes the run of failures of the series with these values.
    pub fn set_run(&mut self, values: &[String], run: u64) {
        if let Some(calls) = self.calls.numbers.get(values).and_then(|number| self.calls.counts.get_mut(*number as usize)) {
            calls.run = run;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        let dimensions = vec!["model".to_owned(), "org".to_owned()];
        Table {
            source: "s".into(),
            name: "t".into(),
            kind: Kind::Usage,
            dimensions,
            measures: Vec::new(),
            marks: Vec::new(),
            failures_are_errors: true,
        }
    }

    #[test]
    fn totals_survive_a_change_of_labels_and_bound_their_series() {
        let (both, model) = (["model".to_owned(), "org".to_owned()], ["model".to_owned()]);
        let mut totals = TableTotals::new(&table(), &both, 2, None);
        for org in ["a", "b", "c", "d"] {
            totals.add_shape(&table(), &["m".to_owned(), org.to_owned()]);
        }
        let event = |shape| Event { shape, count: 1, cost: Some(5), ..Event::default() };
        totals.add(&[event(0), event(1), event(2), event(3), event(3)]);
        assert_eq!((totals.calls.len(), totals.over_limit), (3, 2));
        assert_eq!(
            totals.calls.iter().last().map(|(labels, calls)| (labels, calls.success)),
            Some((r#"{source="s",table="t",model="other",org="other""#, 3))
        );
        let fewer = TableTotals::new(&table(), &model, 2, Some(totals));
        let sums: Vec<_> = fewer.calls.iter().map(|(labels, calls)| (labels, calls.success, calls.cost)).collect();
        assert_eq!(sums, [(r#"{source="s",table="t",model="m""#, 2, 10), (r#"{source="s",table="t",model="other""#, 3, 15)]);
    }

    #[test]
    fn totals_that_are_full_do_not_go_back() {
        let mut calls = Calls::default();
        let largest =
            Event { count: u32::MAX, input_tokens: u64::MAX, cost: Some(i64::MAX), latency: Some(i64::MAX), ..Event::default() };
        calls.add(&largest);
        calls.add(&largest);
        let same = calls.clone();
        calls.merge(&same);
        assert_eq!((calls.success, calls.input_tokens), (4 * u64::from(u32::MAX), u64::MAX));
        assert_eq!((calls.cost, calls.latency_sum), (i64::MAX, i64::MAX));
    }

    #[test]
    fn latencies_fall_on_the_right_side_of_their_bounds() {
        let mut calls = Calls::default();
        for (latency, bucket) in [(0, 0), (100_000, 0), (100_001, 1), (600_000_000, 12), (600_000_001, 13)] {
            let before = calls.latency[bucket];
            calls.add(&Event { count: 1, latency: Some(latency), ..Event::default() });
            assert_eq!(calls.latency[bucket], before + 1, "{latency}");
        }
    }
}
