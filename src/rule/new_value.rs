//! A value never seen before: a capability, a model, or a type of error that is new.
//!
//! ```yaml
//! new_value: {of: capability, within: 1h, learn: 7d}
//! new_value: {of: model, by: [org], min_calls: 10}    # a model that is new to an organisation
//! new_value: {of: error_type, within: 15m}
//! ```
//!
//! t - within < the first row with the value <= t
//!
//! Options:
//!
//! - `of` (required): the dimension; it becomes a label of the alert. Rows without a value are passed over
//! - `within` (1h): how long after its first row a value is new; the alert lasts until then
//! - `learn` (7d): nothing is told before the table's history is this long, since all would be new
//! - `known_for` (30d): how far back a rule that is new looks for values in the database; what was seen since then is never new again
//! - `min_calls` (1): how many rows with the value there must be in (t - within, t]
//! - `by`: a value is new to each of these groups; to a group that is new itself, all are
//!
//! Rows are calls, however they ended, and records of error tables; a call and its record are never added up. `learn` counts from the
//! oldest row that matches `where`. The value is the number of rows.
//!
//! For example:
//!
//! ```yaml
//! rows:
//!   - 10 calls of gpt-4o every 1d from 10:00 with capability=chat
//!   - 3 calls of gpt-4o every 1m from 12:00 with capability=search
//!   - 3 calls of gpt-4o every 1m from day 9 12:00 with capability=image-edit
//! expect:
//!   - {at: "12:05", alerts: []}
//!   - {at: "day 9 11:00", alerts: []}
//!   - {at: "day 9 12:05", alerts: [{capability: image-edit}]}
//!   - {at: "day 9 13:30", alerts: []}
//! ```

use crate::rule::file::DIMENSION;
use crate::rule::{Kind, Rank, Verdict, View};
use crate::time::Span;
use crate::window::{Group, Need, Selector};
use crate::yaml::{self, Faults, Fields};

const WITHIN: Span = Span::secs(3_600);
const LEARN: Span = Span::secs(7 * 86_400);
const KNOWN_FOR: Span = Span::secs(30 * 86_400);

#[derive(Debug)]
struct NewValue {
    of: String,
    within: Span,
    learn: Span,
    known_for: Span,
    min_calls: u64,
}

pub(super) fn parse(fields: &mut Fields<'_>, faults: &mut Faults) -> Option<Box<dyn Kind>> {
    let of = fields.required("of", faults, DIMENSION);
    let within = fields.optional("within", faults, yaml::POSITIVE_SPAN).unwrap_or(WITHIN);
    let learn = fields.optional("learn", faults, yaml::POSITIVE_SPAN).unwrap_or(LEARN.max(within));
    let known_for = fields.optional("known_for", faults, yaml::POSITIVE_SPAN).unwrap_or(KNOWN_FOR.max(learn));
    let min_calls = fields.optional("min_calls", faults, yaml::POSITIVE_WHOLE).unwrap_or(1);
    for (key, longer, [name, shorter]) in
        [("learn", learn, ["within", &within.to_string()]), ("known_for", known_for, ["learn", &learn.to_string()])]
    {
        let too_short = if name == "within" { learn < within } else { known_for < learn };
        if let Some(node) = fields.node(key).filter(|_| too_short) {
            let message = format!("{key}: {longer} must be at least `{name}`, {shorter}");
            faults.error_help("bad-value", node, message, "what was not looked for is not known");
            return None;
        }
    }
    Some(Box::new(NewValue { of: of?, within, learn, known_for, min_calls }))
}

impl Kind for NewValue {
    fn needs(&self) -> Vec<Need> {
        vec![Need::Window { width: self.within, lag: Span::ZERO }, Need::Oldest { back: self.known_for }]
    }

    fn verdicts(&self, view: &View<'_>, group: Group) -> Vec<Verdict> {
        let (end, oldest, sums) = (view.edge(0), view.oldest(group), view.sums(0, group));
        let calls = sums.finished() + sums.abandoned;
        let rows = calls.max(sums.errors);
        let value = view.values(group).last().map_or("", String::as_str);
        if rows < self.min_calls || oldest <= end - self.within || value.is_empty() || !view.phase {
            return Vec::new();
        }
        let what = if calls == 0 { "errors" } else { "calls" };
        let (of, within) = (&self.of, self.within);
        let evidence = format!("{of} `{value}` was never seen before {oldest}; {rows} {what} in the {within} up to {end}");
        vec![Verdict::on(group, rows as f64, evidence)]
    }

    /// Whether enough was learnt.
    fn phase(&self, view: &View<'_>) -> bool {
        view.oldest_of_all() <= view.edge(0) - self.learn
    }

    /// The dimension comes last.
    fn select(&self, mut selector: Selector) -> Selector {
        selector.by.retain(|name| *name != self.of);
        selector.by.push(self.of.clone());
        selector
    }

    fn rank(&self) -> Option<(usize, Rank)> {
        Some((0, Rank::Calls))
    }
}
