//! Nothing new arrives any more: the newest call, or the newest time in a table, is older than a span.
//!
//! ```yaml
//! freshness: {older_than: 5m, where: ['source="app"']}
//! ```
//! ```yaml
//! freshness: {table: ai_audit_sync_state, column: last_synced_at, older_than: 5m}
//! ```
//!
//! It fires when t - (time of the newest) > `older_than`, strictly, at the instant t of the evaluation. The value is that age in
//! seconds, `+Inf` where there is nothing at all. It is judged at each evaluation: also while nothing arrives, and between two
//! askings from the time that was found last.
//!
//! - `older_than` (required): how old the newest may be.
//! - `by` (none): each group by itself. A group without a call for longer than `forget_after` (7d, or twice `older_than` where that is
//!   longer) is gone and fires no more.
//! - `active`: outside of these hours nothing is found, and at their beginning the age is counted from 0: `older_than` after it is the
//!   earliest that it fires.
//! - `table` and `column`: instead of the calls, the highest `column` of another table of the same database, asked each `every` (1m).
//!   The table may be given with its schema, `audit.sync_state`; both names are taken as they are, with upper and lower case.
//!   Times without a zone are UTC; numbers are seconds (or milli-, micro-, nanoseconds) since 1970. No row, or NULL: never synced,
//!   which fires. Alerts have the label `source`; `where: ['source="app"']` chooses the sources that are asked. While it cannot be asked,
//!   the age goes on for three times `every`; after that the alerts stay as they are until there is an answer again.
//!
//! For example:
//!
//! ```yaml
//! rows:
//!   - 3 calls of gpt-4o every 1m from 10:00
//! expect:
//!   - {at: "10:07", alerts: []}
//!   - {at: "10:08", alerts: [{}]}
//! ```

use serde_json::json;

use crate::labels::Labels;
use crate::rule::file::{refuse_by, refuse_where};
use crate::rule::{Kind, Verdict, View};
use crate::source::decode::{number_time, text_time};
use crate::source::query::{self, Answer, Query, quoted, quoted_table};
use crate::time::{Span, Time};
use crate::window::{Group, Need};
use crate::yaml::{self, Faults, Fields};

/// When a group is gone unless `forget_after` says so.
const FORGET_AFTER: Span = Span::secs(7 * 86_400);

/// Of the calls of each group.
#[derive(Debug)]
struct Calls {
    older_than: Span,
    forget_after: Span,
}

/// Of a column of another table.
#[derive(Debug)]
struct Column {
    older_than: Span,
    query: Query,
    /// As it was written, for people.
    name: String,
}

pub(super) fn parse(fields: &mut Fields<'_>, faults: &mut Faults) -> Option<Box<dyn Kind>> {
    let older_than = fields.required("older_than", faults, yaml::POSITIVE_SPAN);
    let forget_after = fields.optional("forget_after", faults, yaml::POSITIVE_SPAN);
    let table = fields.optional("table", faults, yaml::TEXT.then(|name| Ok((quoted_table(&name)?, name))));
    let column = fields.optional("column", faults, yaml::TEXT.then(|name| Ok((quoted(&name)?, name))));
    let every = fields.optional("every", faults, yaml::POSITIVE_SPAN);
    fields.constrain(|| json!({ "dependencies": { "table": ["column"], "column": ["table"], "every": ["table"] } }));
    let of_table = ["table", "column", "every"].map(|key| fields.node(key));
    if of_table.iter().all(Option::is_none) {
        let older_than = older_than?;
        let forget_after = forget_after.unwrap_or(FORGET_AFTER.max(Span(older_than.0.saturating_mul(2))));
        if forget_after <= older_than {
            let node = fields.node("forget_after").or(fields.node("older_than")).unwrap_or(fields.node);
            let message = format!("forget_after: {forget_after} must be longer than older_than ({older_than})");
            faults.error_help("bad-value", node, message, "a group is gone before its newest call is too old");
            return None;
        }
        return Some(Box::new(Calls { older_than, forget_after }));
    }
    refuse_by(fields, "the newest row of the table is that of all", faults);
    refuse_where(fields, faults);
    if let Some(node) = fields.node("forget_after") {
        faults.error("no-groups", node, "there are no groups to forget");
    }
    for (key, _) in ["table", "column"].iter().zip(&of_table).filter(|(_, node)| node.is_none()) {
        faults.error_help("missing-key", fields.node, format!("`{key}` is missing"), "`table` and `column` go together");
    }
    let place = fields.node("column")?.place.clone();
    let ((table, table_name), (column, column_name)) = (table?, column?);
    // With the table's name before it, a column that is missing is no text in SQLite.
    let sql = format!("SELECT max(asked.{column}) AS newest FROM {table} AS asked");
    let query = Query { sql, place, every: every.unwrap_or(query::EVERY) };
    Some(Box::new(Column { older_than: older_than?, query, name: format!("{table_name}.{column_name}") }))
}

/// The age of the newest, where it is too old; it does not grow while the rule is not active.
fn age(view: &View<'_>, newest: Time, older_than: Span) -> Option<Span> {
    let age = view.at - newest;
    (age.min(view.at - view.open_since) > older_than).then_some(age)
}

fn since(view: &View<'_>, newest: Time) -> String {
    if view.open_since > newest { format!("; active since {}", view.open_since) } else { String::new() }
}

fn whole_seconds(span: Span) -> Span {
    Span(span.0 - span.0 % 1_000_000)
}

impl Calls {
    fn verdict(&self, view: &View<'_>, group: Group) -> Option<Verdict> {
        let (newest, grouped) = (view.last(group), !view.values(group).is_empty());
        let age = age(view, newest.min(view.at), self.older_than);
        if newest > view.at {
            // An instant of the past, or a call of the future: which one was the newest then is not known.
            let sums = view.sums(0, group);
            let quiet = sums.finished() + sums.abandoned == 0 && view.at - view.open_since > self.older_than;
            let known = !grouped || view.first(group) <= view.at;
            let evidence = format!("no call in the {} up to {}{}", self.older_than, view.edge(0), since(view, Time::MIN));
            return (quiet && known).then(|| Verdict::on(group, self.older_than.as_secs_f64(), evidence));
        }
        let age = age?;
        if newest <= Time::MIN {
            let evidence = format!("no call is known at {}, there should be one each {}", view.at, self.older_than);
            return (!grouped).then(|| Verdict::on(group, f64::INFINITY, evidence));
        }
        let evidence = format!(
            "the newest call is of {newest}, {} before {}, more than {}{}",
            whole_seconds(age),
            view.at,
            self.older_than,
            since(view, newest)
        );
        (!grouped || age <= self.forget_after).then(|| Verdict::on(group, age.as_secs_f64(), evidence))
    }
}

impl Kind for Calls {
    fn needs(&self) -> Vec<Need> {
        vec![Need::Window { width: self.older_than, lag: Span::ZERO }]
    }

    fn verdicts(&self, _view: &View<'_>, _group: Group) -> Vec<Verdict> {
        Vec::new()
    }

    /// Time alone makes a group stale, so all of them are looked at.
    fn overall(&self, view: &View<'_>) -> Vec<Verdict> {
        (0..view.groups()).filter_map(|group| self.verdict(view, group)).collect()
    }
}

/// An instant as databases write it.
fn instant(text: &str) -> Option<Time> {
    let text = text.trim();
    match text.parse::<f64>() {
        Ok(number) => number_time(number),
        Err(_) => text_time(text),
    }
}

/// What stands in the only row; none where there is nothing.
fn newest(answer: &Answer) -> Option<&str> {
    answer.rows.first()?.first()?.as_deref()
}

impl Kind for Column {
    fn needs(&self) -> Vec<Need> {
        Vec::new()
    }

    fn queries(&self) -> Vec<Query> {
        vec![self.query.clone()]
    }

    fn labels(&self) -> Option<Vec<&'static str>> {
        Some(vec!["source"])
    }

    fn objection(&self, _query: usize, answer: &Answer) -> Option<String> {
        let text = newest(answer).filter(|text| instant(text).is_none())?;
        let text: String = text.chars().take(50).collect();
        Some(format!("{} is `{text}`, which is no time", self.name))
    }

    fn verdicts(&self, _view: &View<'_>, _group: Group) -> Vec<Verdict> {
        Vec::new()
    }

    fn overall(&self, view: &View<'_>) -> Vec<Verdict> {
        let verdict = |(source, answer): (&str, &Answer)| {
            let newest = newest(answer).and_then(instant);
            let age = age(view, newest.unwrap_or(Time::MIN), self.older_than)?;
            let (name, at, older_than) = (&self.name, view.at, self.older_than);
            let (value, evidence) = match newest {
                Some(newest) => {
                    let told = whole_seconds(age);
                    let since = since(view, newest);
                    (age.as_secs_f64(), format!("{name} is {newest}, {told} before {at}, more than {older_than}{since}"))
                }
                None => (f64::INFINITY, format!("{name} has no time: never synced, as of {}", answer.at)),
            };
            Some(Verdict { group: None, labels: Labels::from_iter([("source", source)]), value, evidence })
        };
        view.answers(0).filter_map(verdict).collect()
    }
}
