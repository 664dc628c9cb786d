//! Quantiles of a measure: how they are written, and how exact they are.

use serde_json::json;

use crate::rule::View;
use crate::window::Group;
use crate::yaml::{self, Node};

/// A quantile is at most this far from the value whose rank it is, as a part of itself.
const WITHIN: f64 = 0.012;

/// `0.95` or `p95`, above 0 and at most 1.
pub const QUANTILE: yaml::Type<f64> = yaml::Type::new(read, || {
    json!({ "anyOf": [{ "type": "number", "exclusiveMinimum": 0, "maximum": 1 }, { "type": "string", "pattern": "^p[0-9]+(\\.[0-9]+)?$",
        "patternErrorMessage": "expected a quantile such as p95 or 0.95" }] })
});

fn read(node: &Node) -> Result<f64, String> {
    let written = yaml::text(node)?;
    parse(&written).ok_or_else(|| format!("`{written}` is no quantile; write it as p95 or 0.95"))
}

/// The share below a quantile.
pub fn parse(text: &str) -> Option<f64> {
    let share = match text.strip_prefix('p') {
        Some(percent) if percent.starts_with(|c: char| c.is_ascii_digit()) => percent.parse::<f64>().ok()? / 100.0,
        Some(_) => return None,
        None => text.parse().ok()?,
    };
    // p99.9 is the same as 0.999.
    let share = (share * 1e9).round() / 1e9;
    (share > 0.0 && share <= 1.0).then_some(share)
}

/// `p95`, `p99.9`
pub fn name(share: f64) -> String {
    format!("p{}", (share * 1e8).round() / 1e6)
}

/// A quantile of a measure in its window, in millionths, where it is beyond a bound as `crosses` says.
///
/// It is within 1.1 % of the value of its rank, and never outside the lowest and highest value, so that where all values
/// are equal it is exact.
pub fn beyond(view: &View<'_>, need: usize, group: Group, share: f64, bound: f64, crosses: fn(f64, f64) -> bool) -> Option<f64> {
    let rough = view.spread(need, group)?.histogram.quantile(share)?;
    // The bounds are looked up only where they may matter: near the bound, and where the value is told.
    if !crosses(rough, bound) && (rough - bound).abs() > WITHIN * rough.abs() {
        return None;
    }
    let (low, high) = view.bounds(need, group)?;
    Some(rough.clamp(low as f64, high as f64)).filter(|value| crosses(*value, bound))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_written_in_two_ways() {
        for (text, share, written) in
            [("p95", Some(0.95), "p95"), ("0.95", Some(0.95), "p95"), ("p99.9", Some(0.999), "p99.9"), ("1", Some(1.0), "p100")]
        {
            assert_eq!((parse(text), name(share.unwrap()).as_str()), (share, written));
        }
        for text in ["95", "0", "p0", "p101", "p-5", "p", "pinf", "nan", "95%", "median"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
