//! A SELECT of your own finds something: each row that it returns is an alert.
//!
//! ```yaml
//! sql: {query: "SELECT org, count(*) AS value FROM exports WHERE failed_at > :now - interval '1 hour' GROUP BY org HAVING count(*) > 10"}
//! ```
//!
//! The alerts are the rows of the last answer of each source; no row, no alert. The column `value` is the value and must be a
//! number. Every other column is a label, so that its name must be one (letters, digits, underscores); NULL and the empty
//! text mean that the alert has no such label. The label `source` says which source answered. The labels are what an
//! alert is known by: a column that changes from answer to answer (a count, a time) makes a new alert each time.
//!
//! - `query` (required): one SELECT. `:now` stands for the instant of asking, a `timestamptz` in PostgreSQL and a text such as
//!   `2026-11-20 20:00:00` in SQLite. With it instead of `now()` it can be asked about the past, as `once --at` does.
//! - `every` (1m): how often it is asked.
//! - `where`: `['source="app"']` chooses the sources that are asked; all are unless it says so. `by` is not taken: columns are the labels.
//!
//! It is asked between two polls, read-only, in UTC, within the `statement_timeout` of the source's tables. While there is no answer
//! (an error, a time-out), or one with a fault (no `value`, two rows with the same labels, more than 100000 rows), the last good one
//! stands for three times `every`, at least 1m; after that the alerts stay as they are until there is one again.
//! `modelwatch_rule_query_failures_total` counts these.
//!
//! For example:
//!
//! ```yaml
//! answers:
//!   - {query_of: Example, at: "10:00", rows: [{org: acme, value: 12}, {org: null, value: 30}]}
//!   - {query_of: Example, at: "10:01", rows: [{org: null, value: 31}]}
//!   - {query_of: Example, at: "10:02", columns: [org, value], rows: []}
//! expect:
//!   - {at: "10:00", alerts: [{org: acme}, {org: ""}]}
//!   - {at: "10:01", alerts: [{org: ""}]}
//!   - {at: "10:02", alerts: []}
//! ```

use std::collections::BTreeSet;

use crate::labels::{Labels, is_label_name};
use crate::rule::file::{parse_query, refuse_by, refuse_where};
use crate::rule::{Kind, Verdict, View};
use crate::source::query::{Answer, Query};
use crate::window::{Group, Need};
use crate::yaml::{Faults, Fields};

/// The column that is the value.
const VALUE: &str = "value";
/// Labels that are set already.
const OURS: [&str; 3] = ["alertname", "alertstate", "source"];

#[derive(Debug)]
struct Sql {
    query: Query,
}

pub(super) fn parse(fields: &mut Fields<'_>, faults: &mut Faults) -> Option<Box<dyn Kind>> {
    let query = parse_query("query", fields, faults);
    refuse_by(fields, "the columns of the SELECT are the labels", faults);
    refuse_where(fields, faults);
    if let Some(node) = fields.node("top") {
        faults.error("no-top", node, "sql has no contributors to name");
    }
    Some(Box::new(Sql { query: query? }))
}

/// The value of a row.
fn value(answer: &Answer, row: &[Option<String>]) -> Option<f64> {
    let text = row.get(answer.column(VALUE)?)?.as_deref()?;
    text.trim().parse().ok().filter(|value: &f64| value.is_finite())
}

/// The labels of a row.
fn labels(source: &str, answer: &Answer, row: &[Option<String>]) -> Labels {
    let named = answer.columns.iter().zip(row).filter(|(name, _)| *name != VALUE);
    let mut labels: Labels = named.map(|(name, text)| (name.as_str(), text.as_deref().unwrap_or_default())).collect();
    labels.set("source", source);
    labels
}

impl Kind for Sql {
    fn needs(&self) -> Vec<Need> {
        Vec::new()
    }

    fn queries(&self) -> Vec<Query> {
        vec![self.query.clone()]
    }

    fn labels(&self) -> Option<Vec<&'static str>> {
        None
    }

    fn objection(&self, _query: usize, answer: &Answer) -> Option<String> {
        let bad = |name: &&String| !is_label_name(name) || name.starts_with("__") || OURS.contains(&name.as_str());
        if let Some(name) = answer.columns.iter().find(bad) {
            return Some(format!("the column `{name}` cannot be a label; give it another name with AS"));
        }
        if answer.column(VALUE).is_none() && !(answer.columns.is_empty() && answer.rows.is_empty()) {
            return Some("there is no column `value`; name one so: count(*) AS value".to_owned());
        }
        let mut known = BTreeSet::new();
        answer.rows.iter().find_map(|row| {
            let labels = labels("", answer, row);
            if value(answer, row).is_none() {
                let text = answer.column(VALUE).and_then(|i| row.get(i)?.as_deref());
                let found =
                    text.map_or_else(|| "NULL".to_owned(), |text| format!("`{}`", text.chars().take(50).collect::<String>()));
                return Some(format!("`value` is {found} in the row {labels}, which is no number"));
            }
            (!known.insert(labels.clone())).then(|| format!("two rows have the same labels {labels}"))
        })
    }

    fn verdicts(&self, _view: &View<'_>, _group: Group) -> Vec<Verdict> {
        Vec::new()
    }

    fn overall(&self, view: &View<'_>) -> Vec<Verdict> {
        let rows = view.answers(0).flat_map(|(source, answer)| answer.rows.iter().map(move |row| (source, answer, row)));
        let verdict = |(source, answer, row): (&str, &Answer, &Vec<Option<String>>)| {
            let (value, labels) = (value(answer, row)?, labels(source, answer, row));
            let evidence = format!("{source} answered {value} for {} at {}", labels_told(&labels), answer.at);
            Some(Verdict { group: None, labels, value, evidence })
        };
        rows.filter_map(verdict).collect()
    }
}

/// The labels that the row gave, as a person would name them.
fn labels_told(labels: &Labels) -> String {
    let named: Vec<String> =
        labels.iter().filter(|(name, _)| *name != "source").map(|(name, value)| format!("{name} {value}")).collect();
    if named.is_empty() { "all".to_owned() } else { named.join(", ") }
}
