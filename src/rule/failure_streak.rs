//! Fires when calls fail again and again: so many in a row, or so many within a span.
//!
//! ```yaml
//! failure_streak: {in_a_row: 5, within: 1h, by: [model]}
//! failure_streak: {more_than: 5, within: 1h, by: [model]}
//! ```
//!
//! With `in_a_row`, the failures since the last success are at least `in_a_row`, and the last of them lies in (t - within, t]. With
//! `more_than`, failures in (t - within, t] are more than `more_than`, whatever succeeded between them. The value is their number.
//!
//! - `in_a_row`: at least so many failures since the last success; either this or `more_than`.
//! - `more_than`: strictly more failures than this within the window.
//! - `within` (1h): the window; with `in_a_row` a run may have begun long before it, but one without a failure in it is over.
//!
//! Abandoned calls are neither failures nor successes: they neither end a run nor lengthen it. Of calls at the same instant
//! the failures count as later. The window is half-open: a failure exactly `within` ago is outside. Without traffic a run stays
//! as it is until its last failure leaves the window; then the alert ends, and with the next failure it fires again.
//! A call that comes later than `lateness` has no place in a run any more, but counts within the window of `more_than`.
//!
//! For example:
//!
//! ```yaml
//! rows:
//!   - 4 failures of gpt-4o every 1m from 10:00
//!   - 4 failures of gpt-4o-mini every 1m from 10:00
//!   - 1 success of gpt-4o-mini at 10:04
//!   - 1 failure of gpt-4o at 10:05
//!   - 1 failure of gpt-4o-mini at 10:05
//! expect:
//!   - {at: "10:04", alerts: []}
//!   - {at: "10:05", alerts: [{labels: {model: gpt-4o}, value: 5}]}
//!   - {at: "11:04", alerts: [{model: gpt-4o}]}
//!   - {at: "11:05", alerts: []}
//! ```

use crate::rule::{Kind, Rank, Verdict, View};
use crate::time::Span;
use crate::window::{Group, Need};
use crate::yaml::{self, Faults, Fields};

const DEFAULT_WITHIN: Span = Span::secs(3_600);

#[derive(Debug)]
struct InARow {
    at_least: u64,
    within: Span,
}

#[derive(Debug)]
struct MoreThan {
    more_than: u64,
    within: Span,
}

pub(super) fn parse(fields: &mut Fields<'_>, faults: &mut Faults) -> Option<Box<dyn Kind>> {
    let in_a_row = fields.optional("in_a_row", faults, yaml::POSITIVE_WHOLE);
    let more_than = fields.optional("more_than", faults, yaml::WHOLE);
    let within = fields.optional("within", faults, yaml::POSITIVE_SPAN).unwrap_or(DEFAULT_WITHIN);
    fields.exactly_one(&["in_a_row", "more_than"]);
    // One that is there and at fault was told already.
    let given = fields.node("in_a_row").is_some() != fields.node("more_than").is_some();
    match (in_a_row, more_than) {
        (None, None) if given => {}
        (Some(at_least), None) => return Some(Box::new(InARow { at_least, within })),
        (None, Some(more_than)) => return Some(Box::new(MoreThan { more_than, within })),
        (Some(_), Some(_)) => {
            let help = "`in_a_row` counts since the last success, `more_than` whatever succeeded between";
            faults.error_help("conflicting-keys", fields.node, "both `in_a_row` and `more_than` are set", help);
        }
        (None, None) => {
            faults.error_help("missing-key", fields.node, "failure_streak needs `in_a_row` or `more_than`", "in_a_row: 5")
        }
    }
    None
}

impl Kind for InARow {
    fn needs(&self) -> Vec<Need> {
        vec![Need::Run, Need::Window { width: self.within, lag: Span::ZERO }]
    }

    fn verdicts(&self, view: &View<'_>, group: Group) -> Vec<Verdict> {
        let run = view.run(group);
        if run.length < self.at_least || run.last <= view.edge(1) - self.within {
            return Vec::new();
        }
        let evidence = format!("{} failures in a row from {} to {}, {} or more", run.length, run.first, run.last, self.at_least);
        vec![Verdict::on(group, run.length as f64, evidence)]
    }

    fn rank(&self) -> Option<(usize, Rank)> {
        Some((1, Rank::Failures))
    }
}

impl Kind for MoreThan {
    fn needs(&self) -> Vec<Need> {
        vec![Need::Window { width: self.within, lag: Span::ZERO }]
    }

    fn verdicts(&self, view: &View<'_>, group: Group) -> Vec<Verdict> {
        let failures = view.sums(0, group).failure;
        if failures <= self.more_than {
            return Vec::new();
        }
        let evidence = format!("{failures} failures in the {} up to {}, more than {}", self.within, view.edge(0), self.more_than);
        vec![Verdict::on(group, failures as f64, evidence)]
    }

    fn rank(&self) -> Option<(usize, Rank)> {
        Some((0, Rank::Failures))
    }
}
