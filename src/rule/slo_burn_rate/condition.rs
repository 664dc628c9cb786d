//! Objectives, and the conditions under which their budget burns too fast.

use std::fmt;

use serde_json::json;

use crate::rule::baseline::{DAY, Factor};
use crate::rule::share::Share;
use crate::time::Span;
use crate::yaml::{self, Faults, Fields, Node, Read};

const HOUR: Span = Span::secs(3_600);
const DEFAULT_PERIOD: Span = Span(30 * DAY.0);
/// Periods shorter than this cannot bear all default conditions.
const LONG_PERIOD: Span = Span(28 * DAY.0);
/// The short window as a part of the long one.
const SHORT: i64 = 12;

/// Long window, share of the budget that is used in it, severity.
/// <https://sre.google/workbook/alerting-on-slos/#6-multiwindow-multi-burn-rate-alerts>
const DEFAULTS: [(Span, f64, &str); 4] =
    [(HOUR, 0.02, "page"), (Span(6 * HOUR.0), 0.05, "page"), (DAY, 0.1, "ticket"), (Span(3 * DAY.0), 0.1, "ticket")];

/// The share of calls that are to be good, and over what time.
#[derive(Clone, Copy, Debug)]
pub struct Objective {
    share: Share,
    /// Its length.
    pub period: Span,
}

/// When the budget burns too fast.
#[derive(Clone, Debug)]
pub struct Condition {
    /// The long window.
    pub long: Span,
    /// The short window; none where the long one is enough.
    pub short: Option<Span>,
    /// The short window is none of the user's.
    by_default: bool,
    /// Both burn rates are more than this.
    pub factor: Factor,
    /// The label of the alert.
    pub severity: String,
}

/// How the short window is written.
#[derive(Clone, Copy, Debug)]
enum Written {
    Nothing,
    Width(Span),
}

const WRITTEN: yaml::Type<Written> =
    yaml::Type::new(written, || json!({ "anyOf": [{ "enum": ["none"] }, yaml::POSITIVE_SPAN.schema()] }));

fn written(node: &Node) -> Result<Written, String> {
    if yaml::text(node)? == "none" { Ok(Written::Nothing) } else { yaml::positive_span(node).map(Written::Width) }
}

impl Objective {
    /// `objective` and `period`
    pub fn parse(fields: &mut Fields<'_>, faults: &mut Faults) -> Option<Objective> {
        let share = fields.required("objective", faults, yaml::SHARE.then(Share::of));
        let period = fields.optional("period", faults, yaml::POSITIVE_SPAN);
        if fields.node("period").is_some() && period.is_none() {
            return None;
        }
        let objective = Objective { share: share?, period: period.unwrap_or(DEFAULT_PERIOD) };
        if objective.share.is_nothing_or_all() {
            let place = fields.node("objective").unwrap_or(fields.node);
            let message = "objective: 100% allows no failure, so that there is no budget to burn";
            faults.error_help("bad-value", place, message, "99.9%, or `error_spike: {more_than: 0, within: 5m}`");
            return None;
        }
        Some(objective)
    }

    /// The share of calls that may be bad.
    pub fn budget(self) -> Share {
        self.share.rest()
    }

    /// The share of the budget that is used within the long window at a condition's factor.
    pub fn used(self, condition: &Condition) -> f64 {
        condition.factor.value() * condition.long.0 as f64 / self.period.0 as f64
    }

    /// The factor that uses a share of the budget within a window.
    fn factor(self, used: f64, long: Span) -> Result<Factor, String> {
        Factor::of(used * self.period.0 as f64 / long.0 as f64)
    }
}

impl fmt::Display for Objective {
    /// `99.9% over 30d`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} over {}", self.share, self.period)
    }
}

impl Condition {
    /// A short window that nobody gave is at least as long as the time between two looks at it.
    pub fn evaluated_each(&mut self, interval: Span) {
        if self.by_default {
            self.short = self.short.map(|short| short.max(interval));
        }
    }

    fn new(long: Span, short: Option<Written>, factor: Factor, severity: String) -> Condition {
        let width = match short {
            None => Some(Span((long.0 / SHORT).max(1))),
            Some(Written::Width(width)) => Some(width),
            Some(Written::Nothing) => None,
        };
        Condition { long, short: width, by_default: short.is_none(), factor, severity }
    }
}

/// `conditions`, or the default ones; those with the shortest long window first.
pub fn parse(fields: &mut Fields<'_>, objective: Option<Objective>, faults: &mut Faults) -> Option<Vec<Condition>> {
    let before = faults.0.len();
    let mut conditions = fields.each("conditions", faults, |fields, faults| condition(fields, objective, faults));
    let given = fields.node("conditions");
    if given.is_none() {
        conditions = defaults(fields, objective?, faults)?;
    }
    if let Some(node) = given.filter(|_| conditions.is_empty() && faults.0.len() == before) {
        faults.error_help("bad-value", node, "conditions: expected at least one", "[{long: 1h, factor: 14.4}]");
    }
    conditions.sort_by_key(|condition| condition.long);
    (!conditions.is_empty()).then_some(conditions)
}

fn condition(fields: &mut Fields<'_>, objective: Option<Objective>, faults: &mut Faults) -> Option<Condition> {
    let long = fields.required("long", faults, yaml::POSITIVE_SPAN);
    let short = fields.optional("short", faults, WRITTEN);
    let factor = fields.optional("factor", faults, yaml::NUMBER.then(Factor::of));
    let budget = fields.optional("budget", faults, yaml::SHARE);
    let severity = fields.optional("severity", faults, yaml::TEXT).unwrap_or_default();
    fields.exactly_one(&["factor", "budget"]);
    let place = match (fields.node("factor"), fields.node("budget")) {
        (Some(place), None) | (None, Some(place)) => place,
        (Some(_), Some(place)) => {
            let message = "`factor` and `budget` say the same in two ways; give one of them";
            faults.error_help("conflicting-keys", place, message, "factor = budget x period / long");
            return None;
        }
        (None, None) => {
            let message = "a condition needs either `factor` or `budget`";
            faults.error_help("missing-key", fields.node, message, "factor: 14.4, or budget: 2% of the period's within `long`");
            return None;
        }
    };
    let (long, objective) = (long?, objective?);
    if long > objective.period {
        let place = fields.node("long").unwrap_or(fields.node);
        let message = format!("long: {long} is longer than the period of the objective, {}", objective.period);
        faults.error_help("bad-value", place, message, "a shorter window, or a longer `period`");
        return None;
    }
    if let Some((node, width)) = fields.node("short").zip(short)
        && matches!(width, Written::Width(width) if width >= long)
    {
        let message = format!("short: must be shorter than the long window, {long}");
        faults.error_help("bad-value", node, message, "leave it out for a twelfth of it, or `none`");
        return None;
    }
    let of_budget = budget.and_then(|used| objective.factor(used, long).ok());
    let factor = factor.or(of_budget)?;
    if !can_hold(factor, objective) {
        let message = format!("this condition never holds: {}", never(factor, objective));
        faults.error_help("never-fires", place, message, format!("a factor below {}", most(objective)));
        return None;
    }
    Some(Condition::new(long, short, factor, severity))
}

fn can_hold(factor: Factor, objective: Objective) -> bool {
    objective.budget().is_burnt_beyond(factor, 1, 1)
}

/// Why a factor is never exceeded.
fn never(factor: Factor, objective: Objective) -> String {
    let (most, factor) = (most(objective), factor.value());
    format!("where all calls fail, the budget of {objective} burns {most} times too fast, which is not more than {factor}")
}

/// How fast the budget burns where all calls fail.
fn most(objective: Objective) -> f64 {
    (1e6 / objective.budget().value()).round() / 1e6
}

/// Google's four, at the same shares of the budget of any period.
fn defaults(fields: &mut Fields<'_>, objective: Objective, faults: &mut Faults) -> Option<Vec<Condition>> {
    let (period, mut conditions) = (objective.period, Vec::new());
    for (long, used, severity) in DEFAULTS {
        let factor = objective.factor(used, long).ok()?;
        let fits = factor.0 > Factor::ONE.0 && long.0 <= period.0 / 4;
        if period < LONG_PERIOD && !fits {
            continue;
        }
        if !can_hold(factor, objective) {
            let place = fields.node("objective").unwrap_or(fields.node);
            let message = format!("the default condition over {long} never holds: {}", never(factor, objective));
            let help = format!("give `conditions`, each with a factor below {}", most(objective));
            faults.error_help("never-fires", place, message, help);
            return None;
        }
        conditions.push(Condition::new(long, None, factor, severity.to_owned()));
    }
    if conditions.is_empty() {
        let place = fields.node("period").unwrap_or(fields.node);
        let message = format!("no default condition fits a period of {period}");
        faults.error_help("bad-value", place, message, "give some: conditions: [{long: 5m, factor: 12}, {long: 30m, factor: 4}]");
    }
    Some(conditions)
}
