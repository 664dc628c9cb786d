//! Calls take longer than a bound: a quantile of their durations within a window.
//!
//! ```yaml
//! latency: {quantile: p95, more_than: 2s, within: 5m, min_requests: 20, by: [model]}
//! ```
//!
//! It fires where the quantile of the durations of the calls that ended in (t - within, t], whatever the outcome, is more
//! than `more_than`. The value is in seconds: `{{ $value | humanizeDuration }}`.
//!
//! - `quantile` (p95): `p95` or 0.95: of 100 calls the 95th in the order of their durations (nearest rank).
//! - `more_than` (required): a duration; exactly as long is not more.
//! - `within` (required): the length of the window; a call at its old end is outside, one at its new end inside.
//! - `min_requests` (1): with fewer calls of known duration in the window it stays silent.
//!
//! Durations are kept in a histogram, so that a quantile is within 1.1 % of the duration of its rank: a bound of 2s may take
//! one of 1.98s to be more, or one of 2.02s not to be. Where all calls take equally long it is exact. Calls without a
//! duration, and those that were never finished, do not count.
//!
//! For example:
//!
//! ```yaml
//! rows:
//!   - 60 calls of gpt-4o every 5s from 10:00 with latency=800ms
//!   - 6 calls of gpt-4o every 5s from 10:04 with latency=4s
//!   - 10 calls of o3 every 5s from 10:00 with latency=30s
//! expect:
//!   - {at: "10:03", alerts: []}
//!   - {at: "10:05", alerts: [{model: gpt-4o}]}
//!   - {at: "10:15", alerts: []}
//! ```

use crate::rule::quantile::{self, QUANTILE};
use crate::rule::share::three_digits;
use crate::rule::{Kind, Rank, Verdict, View};
use crate::time::Span;
use crate::window::{Group, LATENCY, Need, Spread};
use crate::yaml::{self, Faults, Fields};

#[derive(Debug)]
struct Latency {
    quantile: f64,
    more_than: Span,
    within: Span,
    min_requests: u64,
}

pub(super) fn parse(fields: &mut Fields<'_>, faults: &mut Faults) -> Option<Box<dyn Kind>> {
    let quantile = fields.optional("quantile", faults, QUANTILE).unwrap_or(0.95);
    let more_than = fields.required("more_than", faults, yaml::POSITIVE_SPAN);
    let within = fields.required("within", faults, yaml::POSITIVE_SPAN);
    let min_requests = fields.optional("min_requests", faults, yaml::POSITIVE_WHOLE).unwrap_or(1);
    Some(Box::new(Latency { quantile, more_than: more_than?, within: within?, min_requests }))
}

impl Kind for Latency {
    fn needs(&self) -> Vec<Need> {
        let (width, lag) = (self.within, Span::ZERO);
        vec![Need::Measure { name: LATENCY.to_owned(), width, lag }, Need::Window { width, lag }]
    }

    fn verdicts(&self, view: &View<'_>, group: Group) -> Vec<Verdict> {
        let calls = view.spread(0, group).map_or(0, Spread::count);
        if calls < self.min_requests {
            return Vec::new();
        }
        let bound = self.more_than.0 as f64;
        let Some(found) = quantile::beyond(view, 0, group, self.quantile, bound, |found, bound| found > bound) else {
            return Vec::new();
        };
        let seconds = found / 1e6;
        let evidence = format!(
            "{} of {calls} calls is {}s in the {} up to {}, more than {}",
            quantile::name(self.quantile),
            three_digits(seconds),
            self.within,
            view.edge(0),
            self.more_than
        );
        vec![Verdict::on(group, seconds, evidence)]
    }

    fn rank(&self) -> Option<(usize, Rank)> {
        Some((1, Rank::Calls))
    }
}
