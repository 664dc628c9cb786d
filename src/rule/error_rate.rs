//! More than a share of the calls within a window failed.
//!
//! ```yaml
//! error_rate: {more_than: 5%, within: 15m, min_requests: 20, by: [model]}
//! ```
//!
//! It fires where failed / (failed + succeeded) > `more_than` over (t - within, t] and failed + succeeded >= `min_requests`.
//! The value is the share itself: 0.08 are 8 %, `{{ $value | humanizePercentage }}`.
//!
//! - `more_than` (required): a share below 100 %, `5%` or `0.05`. The comparison is exact and strict: 1 of 20 is not more than 5 %.
//! - `within` (required): the length of the window; a call at its old end is outside, one at its new end inside.
//! - `min_requests` (1): with fewer calls in the window it stays silent, since 1 of 2 says nothing. Without calls it does so anyway.
//!
//! Calls that were never finished count for neither side.
//!
//! For example:
//!
//! ```yaml
//! rows:
//!   - 38 successes of gpt-4o every 5s from 10:00
//!   - 2 failures of gpt-4o every 10s from 10:04
//!   - 1 failure of gpt-4o from 10:06
//!   - 3 failures of gpt-4o-mini from 10:04
//! expect:
//!   - {at: "10:05", alerts: []}
//!   - {at: "10:07", alerts: [{model: gpt-4o}]}
//!   - {at: "10:30", alerts: []}
//! ```

use crate::rule::share::{Share, percent};
use crate::rule::{Kind, Rank, Verdict, View};
use crate::time::Span;
use crate::window::{Group, Need};
use crate::yaml::{self, Faults, Fields};

#[derive(Debug)]
struct ErrorRate {
    more_than: Share,
    within: Span,
    min_requests: u64,
}

pub(super) fn parse(fields: &mut Fields<'_>, faults: &mut Faults) -> Option<Box<dyn Kind>> {
    let more_than = fields.required("more_than", faults, yaml::SHARE.then(Share::of));
    let within = fields.required("within", faults, yaml::POSITIVE_SPAN);
    let min_requests = fields.optional("min_requests", faults, yaml::POSITIVE_WHOLE).unwrap_or(1);
    let (more_than, within) = (more_than?, within?);
    if more_than.is_nothing_or_all() {
        let place = fields.node("more_than").unwrap_or(fields.node);
        faults.error_help("never-fires", place, "more_than: no share is more than 100%", "a share below it, such as 50%");
        return None;
    }
    Some(Box::new(ErrorRate { more_than, within, min_requests }))
}

impl Kind for ErrorRate {
    fn needs(&self) -> Vec<Need> {
        vec![Need::Window { width: self.within, lag: Span::ZERO }]
    }

    fn verdicts(&self, view: &View<'_>, group: Group) -> Vec<Verdict> {
        let sums = view.sums(0, group);
        let (failed, all) = (sums.failure, sums.finished());
        if all < self.min_requests || !self.more_than.is_exceeded(failed, all) {
            return Vec::new();
        }
        let share = failed as f64 / all as f64;
        let (within, end, limit) = (self.within, view.edge(0), self.more_than);
        let evidence =
            format!("{failed} of {all} calls failed ({}) in the {within} up to {end}, more than {limit}", percent(share));
        vec![Verdict::on(group, share, evidence)]
    }

    fn rank(&self) -> Option<(usize, Rank)> {
        Some((0, Rank::Failures))
    }
}
