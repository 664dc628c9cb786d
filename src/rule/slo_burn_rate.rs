//! An objective (99.9 % of the calls of 30 days succeed) uses up the failures that it allows too fast, or has few of them left.
//!
//! ```yaml
//! slo_burn_rate: {objective: 99.9%, period: 30d, by: [model]}
//! ```
//!
//! The burn rate over a window is its failed / (failed + succeeded) by (1 - objective): at 1 the budget lasts exactly for the
//! period. A condition holds where the burn rates over a long and a short window are both more than its factor. The long
//! one says that it matters, the short one that it still goes on. An objective's own conditions, on durations, with a
//! warning when little is left:
//!
//! ```yaml
//! slo_burn_rate:
//!   objective: 95%
//!   period: 24h
//!   latency: {under: 2s}
//!   conditions:
//!     - {long: 10m, short: 1m, factor: 10, severity: page}
//!     - {long: 1h, budget: 10%, severity: ticket}
//!   min_requests: 20
//!   budget_left: {less_than: 10%, severity: warning}
//! ```
//!
//! - `objective` (required): the share of good calls, `99.9%`, below 100 %.
//! - `period` (30d): the length of the time, ending now, that the objective holds for.
//! - `latency` (none): with `{under: 2s}` a bad call is one that took longer than 2s, whatever its outcome; calls of unknown
//!   duration are left out. Without it a bad call is one that failed.
//! - `conditions` (as below): each with
//!   - `long` (required): the long window, at most the period,
//!   - `short` (long / 12, at least the interval of the group): the short window; `none` for the long one alone,
//!   - `factor` or `budget` (one of them): the burn rate, or the share of the budget that it uses up within the long window:
//!     factor = budget x period / long; 2 % of 30 days in an hour are 14.4,
//!   - `severity` (none): the label of the alert.
//! - `min_requests` (1): with fewer calls in the long window (for `budget_left`: in the period) nothing holds.
//! - `budget_left` (none): `{less_than: 10%, severity: ticket}` is an alert of its own, with the label `condition: budget_left`,
//!   where 1 - (bad calls) / ((1 - objective) x (calls of the period)) is less. Its value is that share; below 0 it is overspent.
//!
//! The conditions that are used where none are given, with their factors for 30 days:
//!
//! | severity | long | short | factor | budget used | full outage found at 99.9 % |
//! |---|---|---|---|---|---|
//! | page | 1h | 5m | 14.4 | 2 % | 52 s |
//! | page | 6h | 30m | 6 | 5 % | 2.2 min |
//! | ticket | 1d | 2h | 3 | 10 % | 4.3 min |
//! | ticket | 3d | 6h | 1 | 10 % | 4.3 min |
//!
//! Other periods keep the shares of the budget. For periods under 28d those are dropped whose factor is 1 or less or whose
//! long window is more than a quarter of the period; where none is left, give some. Steady failures e are found after
//! (1 - objective) / e x long x factor. A factor that no failure can reach, factor x (1 - objective) >= 1, is a fault.
//!
//! Comparisons are strict and exact; a window without calls never holds; calls that were never finished do not count. There
//! is one alert for each severity, about the condition with the shortest long window that holds, so that an incident that
//! grows from one to the next goes on under one name. Its value is the burn rate over the long window. A `severity` among
//! the rule's own labels wins, and makes one alert of them all.
//!
//! On /metrics, whether it fires or not: `modelwatch_slo_budget_left_ratio` (1 is all, below 0 is overspent) and, for each
//! window, `modelwatch_slo_burn_rate` (label `window`), both with the labels of `by` and `rule`.
//!
//! For example, with the default conditions:
//!
//! ```yaml
//! rows:
//!   - 720 successes of gpt-4o every 10s from 08:00
//!   - 60 failures of gpt-4o every 10s from 10:00
//! expect:
//!   - {at: "09:59", alerts: []}
//!   - {at: "10:05", alerts: [{model: gpt-4o, severity: page}, {model: gpt-4o, severity: ticket}]}
//!   - {at: "10:40", alerts: [{model: gpt-4o, severity: ticket}]}
//! ```

mod condition;

use std::collections::BTreeSet;

use crate::labels::Labels;
use crate::rule::share::{Share, percent, three_digits};
use crate::rule::{Gauge, Kind, Rank, Verdict, View};
use crate::time::Span;
use crate::window::{Group, Need, Selector, Sums};
use crate::yaml::{self, Faults, Fields};
use condition::{Condition, Objective};

/// The share of the budget that is left, by rule and group.
pub const BUDGET_LEFT_METRIC: &str = "modelwatch_slo_budget_left_ratio";
/// The burn rate, by rule, group and `window`.
pub const BURN_RATE_METRIC: &str = "modelwatch_slo_burn_rate";

/// The label that tells the alert on what is left from those on how fast it is used.
const CONDITION: &str = "condition";
const BUDGET_LEFT: &str = "budget_left";

#[derive(Debug)]
struct SloBurnRate {
    objective: Objective,
    /// A call that took longer is bad; none where failed calls are.
    under: Option<Span>,
    /// The one with the shortest long window first.
    conditions: Vec<Condition>,
    min_requests: u64,
    budget_left: Option<BudgetLeft>,
}

/// When too little is left.
#[derive(Debug)]
struct BudgetLeft {
    less_than: Share,
    severity: String,
}

pub(super) fn parse(fields: &mut Fields<'_>, faults: &mut Faults) -> Option<Box<dyn Kind>> {
    let objective = Objective::parse(fields, faults);
    let under = fields.nested("latency", faults, |fields, faults| fields.required("under", faults, yaml::POSITIVE_SPAN));
    let conditions = condition::parse(fields, objective, faults);
    let min_requests = fields.optional("min_requests", faults, yaml::POSITIVE_WHOLE).unwrap_or(1);
    let budget_left = fields.nested("budget_left", faults, |fields, faults| {
        let less_than = fields.required("less_than", faults, yaml::SHARE.then(Share::of));
        let severity = fields.optional("severity", faults, yaml::TEXT).unwrap_or_default();
        Some(BudgetLeft { less_than: less_than?, severity })
    });
    let (objective, conditions) = (objective?, conditions?);
    Some(Box::new(SloBurnRate { objective, under, conditions, min_requests, budget_left }))
}

/// Where the windows of the conditions begin among the needs; before them is the period.
const FIRST: usize = 1;

impl SloBurnRate {
    /// The needs of each condition: long and short.
    fn windows(&self) -> impl Iterator<Item = (&Condition, usize, Option<usize>)> {
        let mut next = FIRST;
        self.conditions.iter().map(move |condition| {
            let long = next;
            let short = condition.short.is_some().then_some(long + 1);
            next = long + 1 + usize::from(short.is_some());
            (condition, long, short)
        })
    }

    /// How fast the budget is used.
    fn burn(&self, sums: &Sums) -> f64 {
        sums.failure as f64 / sums.finished() as f64 / self.objective.budget().value()
    }

    fn holds(&self, view: &View<'_>, group: Group, condition: &Condition, long: usize, short: Option<usize>) -> bool {
        let burns = |need| {
            let sums = view.sums(need, group);
            self.objective.budget().is_burnt_beyond(condition.factor, sums.failure, sums.finished())
        };
        view.sums(long, group).finished() >= self.min_requests && burns(long) && short.is_none_or(burns)
    }

    /// The share of the budget of the period that is left; less than nothing where more was used.
    fn left(&self, view: &View<'_>, group: Group) -> f64 {
        let sums = view.sums(0, group);
        if sums.finished() == 0 { 1.0 } else { 1.0 - self.burn(sums) }
    }

    fn bad_calls(&self, sums: &Sums) -> String {
        let (bad, all) = (sums.failure, sums.finished());
        match self.under {
            None => format!("{bad} of {all} calls failed"),
            Some(under) => format!("{bad} of {all} calls took longer than {under}"),
        }
    }

    fn verdict(&self, view: &View<'_>, group: Group, condition: &Condition, long: usize, short: Option<usize>) -> Verdict {
        let (sums, objective) = (view.sums(long, group), self.objective);
        let burn = self.burn(sums);
        let both = short.zip(condition.short).map(|(need, short)| {
            format!(", and of {} in the {short} up to {}, both", three_digits(self.burn(view.sums(need, group))), view.edge(need))
        });
        let left = self.left(view, group);
        let rest = if left < 0.0 {
            format!("it is overspent by {}", percent(-left))
        } else {
            format!("{} of it is left", percent(left))
        };
        let evidence = format!(
            "{} in the {} up to {}: a burn rate of {}{} more than {}, which uses {} of the error budget of {objective} in {}; {rest}",
            self.bad_calls(sums),
            condition.long,
            view.edge(long),
            three_digits(burn),
            both.unwrap_or_else(|| ",".to_owned()),
            condition.factor.value(),
            percent(objective.used(condition)),
            condition.long,
        );
        let mut verdict = Verdict::on(group, burn, evidence);
        verdict.labels.set("severity", condition.severity.as_str());
        verdict
    }

    fn little_left(&self, view: &View<'_>, group: Group) -> Option<Verdict> {
        let (limit, sums) = (self.budget_left.as_ref()?, view.sums(0, group));
        let used = limit.less_than.rest();
        let all = sums.finished();
        if all < self.min_requests || !self.objective.budget().is_used_beyond(used, sums.failure, all) {
            return None;
        }
        let left = self.left(view, group);
        let told = if left < 0.0 { format!("overspent by {}", percent(-left)) } else { format!("{} left", percent(left)) };
        let evidence = format!(
            "{} in the {} up to {}: the error budget of {} is {told}, less than {} left",
            self.bad_calls(sums),
            self.objective.period,
            view.edge(0),
            self.objective,
            limit.less_than
        );
        let mut verdict = Verdict::on(group, left, evidence.replace(" is 0% left", " is used up"));
        verdict.labels.set("severity", limit.severity.as_str());
        verdict.labels.set(CONDITION, BUDGET_LEFT);
        Some(verdict)
    }
}

impl Kind for SloBurnRate {
    fn needs(&self) -> Vec<Need> {
        let windows = self.conditions.iter().flat_map(|condition| [Some(condition.long), condition.short]).flatten();
        std::iter::once(self.objective.period).chain(windows).map(|width| Need::Window { width, lag: Span::ZERO }).collect()
    }

    fn evaluated_each(&mut self, interval: Span) {
        self.conditions.iter_mut().for_each(|condition| condition.evaluated_each(interval));
    }

    fn verdicts(&self, view: &View<'_>, group: Group) -> Vec<Verdict> {
        let mut told: Vec<&str> = Vec::new();
        let mut verdicts = Vec::new();
        for (condition, long, short) in self.windows() {
            if !told.contains(&condition.severity.as_str()) && self.holds(view, group, condition, long, short) {
                told.push(&condition.severity);
                verdicts.push(self.verdict(view, group, condition, long, short));
            }
        }
        verdicts.extend(self.little_left(view, group));
        verdicts
    }

    fn exports(&self) -> bool {
        true
    }

    fn gauges(&self, view: &View<'_>, group: Group) -> Vec<Gauge> {
        let mut gauges = vec![Gauge { name: BUDGET_LEFT_METRIC, labels: Labels::default(), value: self.left(view, group) }];
        let mut widths = BTreeSet::new();
        for (condition, long, short) in self.windows() {
            for (width, need) in [(Some(condition.long), Some(long)), (condition.short, short)] {
                let Some((width, need)) = width.zip(need).filter(|(width, _)| widths.insert(*width)) else { continue };
                let sums = view.sums(need, group);
                let value = if sums.finished() == 0 { 0.0 } else { self.burn(sums) };
                gauges.push(Gauge {
                    name: BURN_RATE_METRIC,
                    labels: [("window", width.to_string())].into_iter().collect(),
                    value,
                });
            }
        }
        gauges
    }

    fn select(&self, selector: Selector) -> Selector {
        Selector { slower_than: self.under, ..selector }
    }

    fn rank(&self) -> Option<(usize, Rank)> {
        Some((FIRST, Rank::Failures))
    }

    fn labels(&self) -> Option<Vec<&'static str>> {
        Some(vec!["severity", CONDITION])
    }
}
