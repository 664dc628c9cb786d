//! More failures within a window than a count, or than a factor of what is usual at that time of day.
//!
//! ```yaml
//! error_spike: {more_than: 10, within: 1h, by: [model]}
//! ```
//!
//! It fires where the failures of (t - within, t] are more than `more_than`. Or:
//!
//! ```yaml
//! error_spike: {factor: 3, within: 1h, days: 7, min_errors: 10, by: [model]}
//! ```
//!
//! It fires where they are at least `min_errors` and more than `factor` times the usual: the median of the same window 1, 2,
//! ... `days` days earlier. Days before the group's first call do not count, days without failures since then are 0; where
//! that makes the usual 0, `min_errors` alone decides. The value is the number of failures.
//!
//! - `more_than` or `factor` (one of them): both are compared strictly and exactly. 10 is not more than 10, 9 not more than 3 x 3.
//! - `within` (required): the length of the window; a call at its old end is outside, one at its new end inside. At most a
//!   day with `factor`, so that no day is held against a part of itself.
//! - `of` (calls): `calls` counts failed calls, `errors` the records of error tables, where there are any.
//! - `days` (7): with `factor`, how many earlier days are looked at.
//! - `min_days` (3): with `factor`, it stays silent until so many of them count.
//! - `usual` (median): with `factor`, `median` or `mean`; one bad day does not move the median.
//! - `min_errors` (5): with `factor`, fewer failures than this are no spike, however rare failures are.
//!
//! For example, for the first:
//!
//! ```yaml
//! rows:
//!   - 11 failures of gpt-4o every 1m from 10:00
//!   - 10 failures of gpt-4o-mini every 1m from 10:00
//! expect:
//!   - {at: "10:09", alerts: []}
//!   - {at: "10:10", alerts: [{model: gpt-4o}]}
//!   - {at: "11:00", alerts: []}
//! ```

use serde_json::json;

use crate::rule::baseline::{self, Factor, MAX_DAYS, USUALS, Usual};
use crate::rule::{Kind, Rank, Verdict, View};
use crate::time::Span;
use crate::window::{Group, Need, Sums};
use crate::yaml::{self, Faults, Fields};

#[derive(Debug)]
struct MoreThan {
    more_than: u64,
    within: Span,
    of: Of,
}

#[derive(Debug)]
struct MoreThanUsual {
    factor: Factor,
    within: Span,
    of: Of,
    days: u64,
    min_days: u64,
    usual: Usual,
    min_errors: u64,
}

/// What is counted.
#[derive(Clone, Copy, Debug)]
enum Of {
    Calls,
    Errors,
}

impl Of {
    fn count(self, sums: &Sums) -> u64 {
        match self {
            Of::Calls => sums.failure,
            Of::Errors => sums.errors,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Of::Calls => "failed calls",
            Of::Errors => "errors",
        }
    }

    fn rank(self) -> Rank {
        match self {
            Of::Calls => Rank::Failures,
            Of::Errors => Rank::Errors,
        }
    }
}

/// Options that only a comparison with the usual has.
const OF_FACTOR: [&str; 4] = ["days", "min_days", "usual", "min_errors"];

pub(super) fn parse(fields: &mut Fields<'_>, faults: &mut Faults) -> Option<Box<dyn Kind>> {
    let more_than = fields.optional("more_than", faults, yaml::WHOLE);
    let factor = fields.optional("factor", faults, yaml::NUMBER.then(Factor::of));
    let within = fields.required("within", faults, yaml::POSITIVE_SPAN);
    let of = fields.optional("of", faults, yaml::one_of(&[("calls", Of::Calls), ("errors", Of::Errors)])).unwrap_or(Of::Calls);
    let days = fields.optional("days", faults, yaml::POSITIVE_WHOLE).unwrap_or(7);
    let min_days = fields.optional("min_days", faults, yaml::POSITIVE_WHOLE).unwrap_or(3);
    let usual = fields.optional("usual", faults, yaml::one_of(USUALS)).unwrap_or(Usual::Median);
    let min_errors = fields.optional("min_errors", faults, yaml::POSITIVE_WHOLE).unwrap_or(5);
    fields.exactly_one(&["more_than", "factor"]);
    let of_factor = OF_FACTOR.map(|key| json!({ "required": [key] }));
    fields.constrain(|| json!({ "if": { "required": ["more_than"] }, "then": { "not": { "anyOf": of_factor } } }));
    match (fields.node("more_than"), fields.node("factor")) {
        (Some(_), None) => {
            for node in OF_FACTOR.iter().filter_map(|key| Some((key, fields.node(key)?))) {
                let message = format!("`{}` goes with `factor`, and `more_than` is a count of its own", node.0);
                faults.error_help("conflicting-keys", node.1, message, "factor: 3 instead of more_than, or leave it out");
            }
            Some(Box::new(MoreThan { more_than: more_than?, within: within?, of }))
        }
        (None, Some(_)) => {
            let (factor, within) = (factor?, within?);
            let place = fields.node("days").or(fields.node("min_days")).unwrap_or(fields.node);
            if days < min_days || days > MAX_DAYS {
                let range = format!("days: {days} must be between min_days ({min_days}) and {MAX_DAYS}");
                faults.error("bad-value", place, range);
                return None;
            }
            if within > baseline::DAY {
                let place = fields.node("within").unwrap_or(fields.node);
                let message = format!("within: {within} is more than a day, so that it overlaps what it is compared with");
                faults.error_help("bad-value", place, message, "with `factor` at most 24h");
                return None;
            }
            Some(Box::new(MoreThanUsual { factor, within, of, days, min_days, usual, min_errors }))
        }
        (Some(_), Some(place)) => {
            let message = "`more_than` and `factor` are two ways to say when; give one of them";
            faults.error_help("conflicting-keys", place, message, "a count, or a factor of the usual: write a rule for each");
            None
        }
        (None, None) => {
            let message = "error_spike needs either `more_than` or `factor`";
            faults.error_help(
                "missing-key",
                fields.node,
                message,
                "more_than: 10 for a count, factor: 3 for three times the usual",
            );
            None
        }
    }
}

impl Kind for MoreThan {
    fn needs(&self) -> Vec<Need> {
        vec![Need::Window { width: self.within, lag: Span::ZERO }]
    }

    fn verdicts(&self, view: &View<'_>, group: Group) -> Vec<Verdict> {
        let count = self.of.count(view.sums(0, group));
        if count <= self.more_than {
            return Vec::new();
        }
        let what = self.of.name();
        let evidence = format!("{count} {what} in the {} up to {}, more than {}", self.within, view.edge(0), self.more_than);
        vec![Verdict::on(group, count as f64, evidence)]
    }

    fn rank(&self) -> Option<(usize, Rank)> {
        Some((0, self.of.rank()))
    }
}

impl Kind for MoreThanUsual {
    fn needs(&self) -> Vec<Need> {
        let mut needs = baseline::needs(self.within, self.days);
        if let Of::Errors = self.of {
            // A record of an error may be of a group without calls.
            needs.push(Need::Oldest { back: Span(self.days as i64 * 86_400_000_000) + self.within });
        }
        needs
    }

    fn verdicts(&self, view: &View<'_>, group: Group) -> Vec<Verdict> {
        let count = self.of.count(view.sums(0, group));
        if count < self.min_errors {
            return Vec::new();
        }
        let first = if let Of::Errors = self.of { view.oldest(group) } else { view.first(group) };
        let earlier = baseline::earlier(view, group, first, self.days, |sums| i128::from(self.of.count(sums)));
        let days = earlier.len();
        if (days as u64) < self.min_days {
            return Vec::new();
        }
        let Some(usual) = self.usual.of(earlier).filter(|usual| usual.is_exceeded(i128::from(count), self.factor)) else {
            return Vec::new();
        };
        let evidence = format!(
            "{count} {} in the {} up to {}, more than {} x {}, the {} of the same window on {days} days before",
            self.of.name(),
            self.within,
            view.edge(0),
            self.factor.value(),
            (usual.value() * 100.0).round() / 100.0,
            self.usual.name()
        );
        vec![Verdict::on(group, count as f64, evidence)]
    }

    fn rank(&self) -> Option<(usize, Rank)> {
        Some((0, self.of.rank()))
    }
}
