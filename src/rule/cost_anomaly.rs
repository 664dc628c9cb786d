//! Cost that runs away from its own past: the last day, or any window, against the same window before.
//!
//! ```yaml
//! cost_anomaly: {factor: 2, of: mean, window: 24h, days: 14, min_days: 3, min_cost: 1, by: [org]}
//! cost_anomaly: {factor: 3, of: median, window: 1h, hours: 24, by: [model]}    # by the hour
//! ```
//!
//! cost(t - window, t] > factor x mean of cost(t - n d - window, t - n d] for n = 1 .. `days`
//!
//! Options:
//!
//! - `factor` (2): strictly more than so many times the usual cost
//! - `of` (mean): what is usual, `mean` or `median`; the median forgets a day that ran away before
//! - `window` (24h; with `hours` 1h): how long each window is
//! - `days` (14): with how many earlier days it is compared, at the same time of day; or `weeks`, at the same time of the same
//!   day of the week; or `hours`, with each of the hours before
//! - `min_days` (3, `min_weeks` 2, `min_hours` 3; fewer where fewer are looked at): with fewer earlier windows nothing is found
//! - `min_cost` (0): dollars that the window must have cost at least, so that cents page nobody
//!
//! Windows that ended before the first call of a group do not count, empty ones since then are 0: the first cost after days without
//! any is found. No cost is never found. Calls of unknown cost count 0 and are shown. Money is counted in billionths of a dollar
//! and compared exactly. The value is the cost in dollars.
//!
//! For example:
//!
//! ```yaml
//! rows:
//!   - 10 calls of gpt-4o every 1m from 10:00 with org=acme cost=0.10
//!   - 10 calls of gpt-4o every 1m from day 2 10:00 with org=acme cost=0.10
//!   - 10 calls of gpt-4o every 1m from day 3 10:00 with org=acme cost=0.10
//!   - 10 calls of gpt-4o every 1m from day 4 10:00 with org=acme cost=0.25
//! expect:
//!   - {at: "day 3 10:30", alerts: []}
//!   - {at: "day 4 09:30", alerts: []}
//!   - {at: "day 4 10:20", alerts: [{org: acme}]}
//!   - {at: "day 5 10:30", alerts: []}
//! ```

use crate::event::NanoUsd;
use crate::rule::baseline::{Factor, USUALS, Usual};
use crate::rule::past::{Past, gathered};
use crate::rule::{Kind, Rank, Verdict, View};
use crate::time::Span;
use crate::window::{Group, Need};
use crate::yaml::{self, Faults, Fields};

#[derive(Debug)]
struct CostAnomaly {
    factor: Factor,
    of: Usual,
    window: Span,
    past: Past,
    min_cost: NanoUsd,
}

const NANOS: f64 = 1e9;

pub(super) fn parse(fields: &mut Fields<'_>, faults: &mut Faults) -> Option<Box<dyn Kind>> {
    let factor = fields.optional("factor", faults, yaml::NUMBER.then(Factor::of));
    let of = fields.optional("of", faults, yaml::one_of(USUALS));
    let min_cost = fields.optional("min_cost", faults, yaml::NUMBER).unwrap_or(0.0);
    let (past, window) = Past::parse(fields, faults)?;
    Some(Box::new(CostAnomaly {
        factor: factor.unwrap_or(Factor(2 * Factor::ONE.0)),
        of: of.unwrap_or(Usual::Mean),
        window,
        past,
        min_cost: (min_cost * NANOS).round() as NanoUsd,
    }))
}

/// `$12.34`; below a dollar with as many digits as there are, since calls cost fractions of a cent.
pub(super) fn money(nanos: f64) -> String {
    let dollars = nanos / NANOS;
    if dollars >= 1.0 {
        return format!("${dollars:.2}");
    }
    let text = format!("{dollars:.6}");
    let (cents, finer) = text.split_at(text.len() - 4);
    format!("${cents}{}", finer.trim_end_matches('0'))
}

impl Kind for CostAnomaly {
    fn needs(&self) -> Vec<Need> {
        self.past.needs(self.window)
    }

    fn verdicts(&self, view: &View<'_>, group: Group) -> Vec<Verdict> {
        let sums = view.sums(0, group);
        if sums.cost <= 0 || sums.cost < self.min_cost {
            return Vec::new();
        }
        let Some(known) = self.past.known(view, group) else { return Vec::new() };
        let usual = gathered(known, |n| view.sums(n, group).cost, |earlier| self.of.of(earlier));
        let Some(usual) = usual.filter(|usual| usual.is_exceeded(i128::from(sums.cost), self.factor)) else {
            return Vec::new();
        };
        let (cost, usual, factor, name) = (money(sums.cost as f64), money(usual.value()), self.factor.value(), self.of.name());
        let unknown =
            if sums.uncosted == 0 { String::new() } else { format!("; {} calls of unknown cost count 0", sums.uncosted) };
        let evidence = format!(
            "{cost} in the {} up to {}, more than {factor} x {usual}, the {name} of the same window {}{unknown}",
            self.window,
            view.edge(0),
            self.past.text(known)
        );
        vec![Verdict::on(group, sums.cost as f64 / NANOS, evidence)]
    }

    fn rank(&self) -> Option<(usize, Rank)> {
        Some((0, Rank::Cost))
    }
}
