//! A measure of the calls, such as a quality score, is above or below a bound: its mean, lowest, highest or a quantile.
//!
//! ```yaml
//! measure: {of: quality, below: 3.5, stat: mean, within: 1h, min_values: 10, by: [model]}
//! ```
//!
//! It fires where the `stat` of the values in (t - within, t] is less than `below`, or more than `above`. The value is that
//! number.
//!
//! - `of` (required): a measure that a table maps (`measures: {quality: quality_score}`), or `latency` in seconds.
//! - `below` or `above` (one of them): a number; exactly that is neither below nor above.
//! - `stat` (mean): `mean`, `min`, `max`, or a quantile: `median`, `p10`, 0.1 (nearest rank). Mean, min and max are exact to the
//!   millionth; a quantile is within 1.1 % of the value of its rank.
//! - `within` (required): the length of the window; a call at its old end is outside, one at its new end inside.
//! - `min_values` (1): with fewer values in the window it stays silent.
//!
//! Calls without a value, and those that were never finished, do not count.
//!
//! For example:
//!
//! ```yaml
//! rows:
//!   - 10 calls of gpt-4o every 1m from 10:00 with quality=4.5
//!   - 9 calls of o3 every 1m from 10:00 with quality=1
//!   - 10 calls of gpt-4o every 1m from 10:10 with quality=2.4
//! expect:
//!   - {at: "10:15", alerts: []}
//!   - {at: "10:20", alerts: [{model: gpt-4o}]}
//!   - {at: "11:30", alerts: []}
//! ```

use serde_json::json;

use crate::rule::quantile::{self, QUANTILE};
use crate::rule::share::three_digits;
use crate::rule::{Kind, Rank, Verdict, View};
use crate::time::Span;
use crate::window::{Group, Need};
use crate::yaml::{self, Faults, Fields, Node, Read};

#[derive(Debug)]
struct Measure {
    of: String,
    side: Side,
    /// In millionths.
    bound: i64,
    stat: Stat,
    within: Span,
    min_values: u64,
}

/// What is made of the values.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Stat {
    Mean,
    Min,
    Max,
    Quantile(f64),
}

/// Where it may not be.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Side {
    Below,
    Above,
}

const STAT: yaml::Type<Stat> =
    yaml::Type::new(stat, || json!({ "anyOf": [{ "enum": ["mean", "min", "max", "median"] }, QUANTILE.schema()] }));

fn stat(node: &Node) -> Result<Stat, String> {
    let written = yaml::text(node)?;
    match written.as_str() {
        "mean" => Ok(Stat::Mean),
        "min" => Ok(Stat::Min),
        "max" => Ok(Stat::Max),
        "median" => Ok(Stat::Quantile(0.5)),
        _ => quantile::parse(&written)
            .map(Stat::Quantile)
            .ok_or_else(|| format!("`{written}` is none of `mean`, `min`, `max`, `median`, and no quantile such as p10")),
    }
}

fn millionths(bound: f64) -> Result<i64, String> {
    let millionths = (bound * 1e6).round();
    if millionths.abs() < 9e18 { Ok(millionths as i64) } else { Err("is too large".to_owned()) }
}

pub(super) fn parse(fields: &mut Fields<'_>, faults: &mut Faults) -> Option<Box<dyn Kind>> {
    let of = fields.required("of", faults, yaml::TEXT);
    let below = fields.optional("below", faults, yaml::NUMBER.then(millionths));
    let above = fields.optional("above", faults, yaml::NUMBER.then(millionths));
    let stat = fields.optional("stat", faults, STAT).unwrap_or(Stat::Mean);
    let within = fields.required("within", faults, yaml::POSITIVE_SPAN);
    let min_values = fields.optional("min_values", faults, yaml::POSITIVE_WHOLE).unwrap_or(1);
    fields.exactly_one(&["below", "above"]);
    let (side, bound) = match (fields.node("below"), fields.node("above")) {
        (Some(_), None) => (Side::Below, below?),
        (None, Some(_)) => (Side::Above, above?),
        (Some(_), Some(place)) => {
            faults.error_help("conflicting-keys", place, "a rule has one bound, and this one has two", "write a rule for each");
            return None;
        }
        (None, None) => {
            faults.error_help("missing-key", fields.node, "measure needs either `below` or `above`", "below: 3.5");
            return None;
        }
    };
    Some(Box::new(Measure { of: of?, side, bound, stat, within: within?, min_values }))
}

impl Side {
    fn is_crossed<T: PartialOrd>(self, value: T, bound: T) -> bool {
        match self {
            Side::Below => value < bound,
            Side::Above => value > bound,
        }
    }
}

impl Measure {
    /// What is beyond the bound, in millionths.
    fn beyond(&self, view: &View<'_>, group: Group) -> Option<f64> {
        let spread = view.spread(0, group)?;
        let one = |value: i64| self.side.is_crossed(value, self.bound).then_some(value as f64);
        match self.stat {
            Stat::Mean => {
                let whole = i128::from(self.bound) * i128::from(spread.count());
                spread.mean().filter(|_| self.side.is_crossed(spread.sum, whole))
            }
            Stat::Min => view.bounds(0, group).and_then(|(low, _)| one(low)),
            Stat::Max => view.bounds(0, group).and_then(|(_, high)| one(high)),
            Stat::Quantile(share) => {
                let crosses = match self.side {
                    Side::Below => |value: f64, bound: f64| value < bound,
                    Side::Above => |value: f64, bound: f64| value > bound,
                };
                quantile::beyond(view, 0, group, share, self.bound as f64, crosses)
            }
        }
    }
}

impl Kind for Measure {
    fn needs(&self) -> Vec<Need> {
        let (width, lag) = (self.within, Span::ZERO);
        vec![Need::Measure { name: self.of.clone(), width, lag }, Need::Window { width, lag }]
    }

    fn verdicts(&self, view: &View<'_>, group: Group) -> Vec<Verdict> {
        let count = view.spread(0, group).map_or(0, |spread| spread.count());
        let Some(found) = self.beyond(view, group).filter(|_| count >= self.min_values) else { return Vec::new() };
        let stat = match self.stat {
            Stat::Mean => "mean".to_owned(),
            Stat::Min => "lowest".to_owned(),
            Stat::Max => "highest".to_owned(),
            Stat::Quantile(share) => quantile::name(share),
        };
        let (value, bound) = (found / 1e6, self.bound as f64 / 1e6);
        let evidence = format!(
            "{stat} {} of {count} values is {} in the {} up to {}, {} {bound}",
            self.of,
            three_digits(value),
            self.within,
            view.edge(0),
            if self.side == Side::Below { "below" } else { "above" }
        );
        vec![Verdict::on(group, value, evidence)]
    }

    fn rank(&self) -> Option<(usize, Rank)> {
        Some((1, Rank::Calls))
    }
}
