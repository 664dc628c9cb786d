//! No call for a span: a pipeline that stopped, an integration that fell silent.
//!
//! ```yaml
//! no_data: {for: 2h, by: [org]}
//! no_data: {for: 2h, active: {times: [{start_time: "08:00", end_time: "19:00"}], location: America/Los_Angeles}}
//! no_data: {for: 15m, of: successes, where: ['model="gpt-4o"']}
//! ```
//!
//! calls in (t - for, t] = 0, where the group had a call before that, in (t - forget_after, t]
//!
//! Options:
//!
//! - `for` (required, at most 30d): how long there has to be silence
//! - `of` (calls): `calls`, however they ended; or `successes`, so that calls that all fail are silence too
//! - `forget_after` (7d, or twice `for` where that is longer): a group without any call for so long is forgotten, and its alert
//!   resolves
//! - `active`: silence of closed hours does not count: it is broken only where the interval has been open for all of the span
//!
//! Half-open: a call exactly `for` ago is not in the span. A group is silent only once it has been there for as long as `for`. Without
//! `by` there is one group, which is always there and is never forgotten: an empty table, or one in which nothing matches `where`, is
//! silent from the first evaluation on. The span ends at the last multiple of its resolution (max(interval, for / 240)); a
//! call since then ends the silence at once. While a source is not up to date nothing is judged: missing rows are no silence. The
//! value is the seconds since the last call, or since the interval opened if that is later, or since it is not known, `for`.
//!
//! For example:
//!
//! ```yaml
//! rows:
//!   - 10 calls of gpt-4o every 10m from 08:00 with org=acme
//!   - 1 call of gpt-4o from 12:00 with org=acme
//! expect:
//!   - {at: "11:29", alerts: []}
//!   - {at: "11:30", alerts: [{org: acme}]}
//!   - {at: "12:00", alerts: []}
//!   - {at: "14:00", alerts: [{org: acme}]}
//!   - {at: "day 8 11:59", alerts: [{org: acme}]}
//!   - {at: "day 8 12:00", alerts: []}
//! ```

use crate::rule::{Kind, Verdict, View};
use crate::time::{Span, Time};
use crate::window::{Group, Need, Sums};
use crate::yaml::{self, Faults, Fields};

/// Intervals know when they opened for little more than this.
const LONGEST: Span = Span::secs(30 * 86_400);
const FORGET_AFTER: Span = Span::secs(7 * 86_400);

#[derive(Debug)]
struct NoData {
    span: Span,
    of: Of,
    forget_after: Span,
}

/// What there has to be none of.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Of {
    Calls,
    Successes,
}

impl Of {
    fn count(self, sums: &Sums) -> u64 {
        match self {
            Of::Calls => sums.finished() + sums.abandoned,
            Of::Successes => sums.success,
        }
    }

    fn words(self) -> &'static str {
        if self == Of::Calls { "calls" } else { "successes" }
    }
}

pub(super) fn parse(fields: &mut Fields<'_>, faults: &mut Faults) -> Option<Box<dyn Kind>> {
    let at_most = |span: Span| if span <= LONGEST { Ok(span) } else { Err(format!("must be at most {LONGEST}")) };
    let span = fields.required("for", faults, yaml::POSITIVE_SPAN.then(at_most));
    let of = fields.optional("of", faults, yaml::one_of(&[("calls", Of::Calls), ("successes", Of::Successes)]));
    let forget_after = fields.optional("forget_after", faults, yaml::POSITIVE_SPAN);
    let span = span?;
    if let Some(given) = forget_after.filter(|given| *given <= span) {
        let node = fields.node("forget_after").unwrap_or(fields.node);
        let message = format!("forget_after: {given} must be longer than `for`, {span}");
        faults.error_help("bad-value", node, message, "a group is told as long as it is not forgotten");
        return None;
    }
    let forget_after = forget_after.unwrap_or(FORGET_AFTER.max(Span(2 * span.0)));
    Some(Box::new(NoData { span, of: of.unwrap_or(Of::Calls), forget_after }))
}

impl NoData {
    /// Whether a group was there when the span began, and is not forgotten.
    fn is_known(&self, view: &View<'_>, group: Group) -> bool {
        if view.values(group).is_empty() {
            return true;
        }
        let (end, last) = (view.edge(0), view.last(group));
        // At an instant of the past, the last call until then is not known any more; the window is.
        let heard = if last <= view.at { last > end - self.forget_after } else { Of::Calls.count(view.sums(1, group)) > 0 };
        heard && view.first(group) <= end - self.span
    }

    fn is_silent(&self, view: &View<'_>, group: Group) -> bool {
        let last = view.last(group);
        let since_then = self.of == Of::Calls && last > view.edge(0) && last <= view.at;
        self.of.count(view.sums(0, group)) == 0 && !since_then
    }
}

impl Kind for NoData {
    fn needs(&self) -> Vec<Need> {
        [self.span, self.forget_after].map(|width| Need::Window { width, lag: Span::ZERO }).into()
    }

    fn verdicts(&self, view: &View<'_>, group: Group) -> Vec<Verdict> {
        if !view.phase || !self.is_silent(view, group) || !self.is_known(view, group) {
            return Vec::new();
        }
        let (end, last) = (view.edge(0), view.last(group));
        let known = Some(last).filter(|last| self.of == Of::Calls && *last > Time::MIN && *last <= end);
        let silence = known.map_or(self.span, |last| end - last.max(view.open_since));
        let since = match known {
            Some(last) => format!(", the last one at {last}"),
            None if last == Time::MIN => ", and none before".to_owned(),
            None => String::new(),
        };
        let open = if view.open_since > known.unwrap_or(Time::MIN) {
            format!("; active since {}", view.open_since)
        } else {
            String::new()
        };
        let evidence = format!("no {} in the {} up to {end}{since}{open}", self.of.words(), self.span);
        vec![Verdict::on(group, silence.as_secs_f64(), evidence)]
    }

    /// Whether it has been active for all of the span.
    fn phase(&self, view: &View<'_>) -> bool {
        view.open_since <= view.edge(0) - self.span
    }

    fn misses_calls(&self) -> bool {
        true
    }
}
