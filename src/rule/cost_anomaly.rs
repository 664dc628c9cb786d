//! Cost that runs away from its own past: the last day against the days before, at the same time of day.
//!
//! ```yaml
//! cost_anomaly: {factor: 2, of: mean, window: 24h, days: 14, min_days: 3, min_cost: 1, by: [org]}
//! ```
//!
//! The cost of (t - window, t] is compared with the mean or median of the same window 1, 2, ... `days` days earlier. Windows
//! that end before the group's first row do not count; empty later ones are 0. Calls of unknown cost count 0 and are shown.

use crate::event::NanoUsd;
use crate::rule::{Kind, Verdict, View};
use crate::time::Span;
use crate::window::{Need, Sums};
use crate::yaml::{self, Faults, Fields, Node};

const DAY: Span = Span::secs(86_400);
const MAX_DAYS: u64 = 366;

#[derive(Debug)]
struct CostAnomaly {
    /// In millionths, so that money is compared exactly.
    factor: i128,
    of: Baseline,
    window: Span,
    days: u64,
    min_days: u64,
    min_cost: NanoUsd,
}

const MILLION: f64 = 1e6;
const NANOS: f64 = 1e9;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Baseline {
    Mean,
    Median,
}

pub(super) fn parse(fields: &mut Fields<'_>, faults: &mut Faults) -> Option<Box<dyn Kind>> {
    let factor = fields.optional("factor", faults, factor);
    let of = fields.optional("of", faults, baseline);
    let window = fields.optional("window", faults, yaml::positive_span);
    let days = fields.optional("days", faults, yaml::whole).unwrap_or(14);
    let min_days = fields.optional("min_days", faults, yaml::whole).unwrap_or(3).max(1);
    let min_cost = fields.optional("min_cost", faults, yaml::number).unwrap_or(0.0);
    if days < min_days || days > MAX_DAYS {
        let place = fields.node("days").or(fields.node("min_days")).unwrap_or(fields.node);
        let range = format!("days: {days} must be between min_days ({min_days}) and {MAX_DAYS}");
        faults.error("bad-value", place, range);
        return None;
    }
    Some(Box::new(CostAnomaly {
        factor: factor.unwrap_or(2 * MILLION as i128),
        of: of.unwrap_or(Baseline::Mean),
        window: window.unwrap_or(DAY),
        days,
        min_days,
        min_cost: (min_cost * NANOS).round() as NanoUsd,
    }))
}

fn factor(node: &Node) -> Result<i128, String> {
    let millionths = (yaml::number(node)? * MILLION).round() as i128;
    if millionths > 0 { Ok(millionths) } else { Err("must be more than 0".to_owned()) }
}

fn baseline(node: &Node) -> Result<Baseline, String> {
    match yaml::text(node)?.as_str() {
        "mean" => Ok(Baseline::Mean),
        "median" => Ok(Baseline::Median),
        other => Err(format!("`{other}` is neither `mean` nor `median`")),
    }
}

impl Baseline {
    /// The usual cost as a sum and the number that it is to be divided by.
    fn of(self, mut costs: Vec<NanoUsd>) -> (i128, i128) {
        let n = costs.len();
        match self {
            Baseline::Mean => (costs.into_iter().map(i128::from).sum(), n as i128),
            Baseline::Median => {
                costs.sort_unstable();
                (i128::from(costs[(n - 1) / 2]) + i128::from(costs[n / 2]), 2)
            }
        }
    }
}

impl CostAnomaly {
    /// The cost of the same window on earlier days, as far back as the group goes.
    fn earlier(&self, view: &View<'_>, group: usize) -> Vec<NanoUsd> {
        let first = view.first(group as u32);
        let days = 1..=self.days as usize;
        let known = days.take_while(|day| view.edge(*day) >= first);
        known.map(|day| view.sums(day).get(group).map_or(0, |sums| sums.cost)).collect()
    }
}

/// `$12.34`; below a dollar with as many digits as there are, since calls cost fractions of a cent.
fn money(nanos: f64) -> String {
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
        (0..=self.days as i64).map(|day| Need::Window { width: self.window, lag: Span(day * DAY.0) }).collect()
    }

    fn verdicts(&self, view: &View<'_>) -> Vec<Verdict> {
        let mut verdicts = Vec::new();
        let costly = |sums: &Sums| sums.cost > 0 && sums.cost >= self.min_cost;
        for (group, sums) in view.sums(0).iter().enumerate().filter(|(_, sums)| costly(sums)) {
            let earlier = self.earlier(view, group);
            let days = earlier.len();
            if (days as u64) < self.min_days {
                continue;
            }
            let (sum, n) = self.of.of(earlier);
            if i128::from(sums.cost) * n * (MILLION as i128) > self.factor * sum {
                let (cost, usual, factor) = (money(sums.cost as f64), money(sum as f64 / n as f64), self.factor as f64 / MILLION);
                let name = if self.of == Baseline::Mean { "mean" } else { "median" };
                let unknown =
                    if sums.uncosted == 0 { String::new() } else { format!("; {} calls of unknown cost count 0", sums.uncosted) };
                let evidence = format!(
                    "{cost} in the {} up to {}, more than {factor} x {usual}, the {name} of the same window on {days} days before{unknown}",
                    self.window,
                    view.edge(0)
                );
                verdicts.push(Verdict { group: group as u32, value: sums.cost as f64 / NANOS, evidence });
            }
        }
        verdicts
    }
}
