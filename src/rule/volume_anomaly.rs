//! More or less traffic than usual: the calls, tokens or users of a window against those of the same window before.
//!
//! ```yaml
//! volume_anomaly: {of: calls, window: 1h, spike: 1.75, drop: 0.4, days: 14, min_days: 3, by: [model]}
//! volume_anomaly: {of: tokens, window: 1h, sigma: 2, weeks: 4}    # the same hour of past weeks
//! volume_anomaly: {of: users, window: 1d, drop: 0.8, days: 1, min_days: 1}    # 20 % below yesterday
//! ```
//!
//! A = the amount in (t - window, t]; B = the amounts in the same window 1, 2, ... `days` days earlier, (t - n d - window, t - n d].
//!
//! - with `spike` and `drop`: A > spike x median(B) is a spike, A < drop x median(B) is a drop;
//! - with `sigma`: |A - mean(B)| > sigma x the standard deviation of B (of all of B, as `stddev_over_time` has it);
//! - with `mads`: |A - median(B)| > mads x the median of |b - median(B)|.
//!
//! Options:
//!
//! - `of` (calls): `calls`, however they ended; `tokens`; `users`, `workspaces`, or `{distinct: DIMENSION}`, of which each value
//!   counts once in a window, and calls without one not at all
//! - `window` (1d; with `hours` 1h): how long each window is
//! - `spike`, `drop`: factors, one of them or both: from 1 up, and below or at 1
//! - `sigma` or `mads`: instead of factors
//! - `only`: with `sigma` or `mads`, `spike` or `drop` looks at that side alone
//! - `days` (14): with how many earlier days it is compared; or `weeks`, the same hours of the same day of the week; or
//!   `hours`, of the hours before
//! - `min_days` (3, `min_weeks` 2, `min_hours` 3; fewer where fewer are looked at): with fewer earlier windows nothing is found
//! - `min_baseline` (1): the median, or mean, must be at least this, so that what is rare at all has no spikes
//! - `min_calls` (0): a spike has at least so many calls
//! - `min_change` (10%): with `sigma` or `mads`, A must differ from the mean or median by at least this share of it, since what
//!   hardly ever changes is soon many deviations away
//!
//! Strictly more or less: exactly the factor is usual. Windows that ended before the first call of a group do not count, empty ones
//! since then are 0. Where calls vanish entirely that is a drop; if they do for good it ends by itself, once more than half of B
//! is empty. Nothing is found on a new group before it has `min_days`. The window ends at the last multiple of its
//! resolution (max(interval, window / 240)), so that no part of it is still to come. Alerts have the label `direction`: `spike` or
//! `drop`; their value is A.
//!
//! For example:
//!
//! ```yaml
//! rows:
//!   - 10 calls of gpt-4o every 1m from 10:00
//!   - 10 calls of gpt-4o every 1m from day 2 10:00
//!   - 10 calls of gpt-4o every 1m from day 3 10:00
//!   - 18 calls of gpt-4o every 1m from day 4 10:00
//!   - 3 calls of gpt-4o every 1m from day 5 10:00
//! expect:
//!   - {at: "day 3 10:30", alerts: []}
//!   - {at: "day 4 10:20", alerts: [{model: gpt-4o, direction: spike}]}
//!   - {at: "day 4 11:30", alerts: []}
//!   - {at: "day 5 10:59", alerts: [{model: gpt-4o, direction: drop}]}
//!   - {at: "day 5 12:30", alerts: []}
//! ```

use serde_json::json;

use crate::labels::is_label_name;
use crate::rule::baseline::{Baseline, Deviation, Factor, Usual};
use crate::rule::past::{Past, gathered};
use crate::rule::{Kind, Rank, Verdict, View};
use crate::time::Span;
use crate::window::{Group, Need, Sums};
use crate::yaml::{self, Faults, Fields, Node, Read, Value};

const DEFAULT_MIN_CHANGE: Factor = Factor(100_000);

#[derive(Debug)]
struct VolumeAnomaly {
    of: Of,
    window: Span,
    past: Past,
    test: Test,
    min_baseline: i64,
    min_calls: u64,
}

/// What is counted.
#[derive(Clone, Debug, PartialEq)]
enum Of {
    Calls,
    Tokens,
    Distinct(String),
}

/// When an amount is not usual.
#[derive(Clone, Copy, Debug)]
enum Test {
    Factors { spike: Option<Factor>, drop: Option<Factor> },
    Deviations { by: Deviation, times: Factor, only: Option<Direction>, min_change: Factor },
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Direction {
    Spike,
    Drop,
}

const OF: yaml::Type<Of> = yaml::Type::new(Of::read, || {
    let distinct = json!({ "type": "object", "required": ["distinct"], "additionalProperties": false,
        "properties": { "distinct": yaml::TEXT.schema() } });
    json!({ "anyOf": [{ "enum": ["calls", "tokens", "users", "workspaces"] }, distinct] })
});

impl Of {
    fn read(node: &Node) -> Result<Of, String> {
        let distinct = |dimension: &str| Ok(Of::Distinct(dimension.to_owned()));
        if let Value::Map(pairs) = &node.value {
            return match pairs.as_slice() {
                [(key, name)] if key.key_name() == "distinct" => {
                    let name = yaml::text(name)?;
                    if is_label_name(&name) { distinct(&name) } else { Err(format!("`{name}` is no dimension")) }
                }
                _ => Err("write it as {distinct: user}".to_owned()),
            };
        }
        match yaml::text(node)?.as_str() {
            "calls" => Ok(Of::Calls),
            "tokens" => Ok(Of::Tokens),
            "users" => distinct("user"),
            "workspaces" => distinct("workspace"),
            other => Err(format!("`{other}` is none of `calls`, `tokens`, `users`, `workspaces`, {{distinct: DIMENSION}}")),
        }
    }

    fn need(&self, width: Span, lag: Span) -> Need {
        match self {
            Of::Distinct(dimension) => Need::Distinct { dimension: dimension.clone(), width, lag },
            Of::Calls | Of::Tokens => Need::Window { width, lag },
        }
    }

    fn amount(&self, view: &View<'_>, need: usize, group: Group) -> i64 {
        let amount = match self {
            Of::Calls => calls(view.sums(need, group)),
            Of::Tokens => view.sums(need, group).tokens,
            Of::Distinct(_) => view.distinct(need, group),
        };
        i64::try_from(amount).unwrap_or(i64::MAX)
    }

    fn words(&self) -> String {
        match self {
            Of::Calls => "calls".to_owned(),
            Of::Tokens => "tokens".to_owned(),
            Of::Distinct(dimension) if dimension == "user" || dimension == "workspace" => format!("{dimension}s"),
            Of::Distinct(dimension) => format!("distinct values of {dimension}"),
        }
    }
}

/// However they ended.
fn calls(sums: &Sums) -> u64 {
    sums.finished() + sums.abandoned
}

impl Direction {
    fn name(self) -> &'static str {
        if self == Direction::Spike { "spike" } else { "drop" }
    }
}

pub(super) fn parse(fields: &mut Fields<'_>, faults: &mut Faults) -> Option<Box<dyn Kind>> {
    let of = fields.optional("of", faults, OF);
    let test = parse_test(fields, faults);
    let min_baseline = fields.optional("min_baseline", faults, yaml::WHOLE).unwrap_or(1);
    let min_calls = fields.optional("min_calls", faults, yaml::WHOLE).unwrap_or(0);
    let past = Past::parse(fields, faults);
    if of.is_none() && fields.node("of").is_some() {
        return None;
    }
    let ((past, window), of) = (past?, of.unwrap_or(Of::Calls));
    Some(Box::new(VolumeAnomaly { of, window, past, test: test?, min_baseline: min_baseline as i64, min_calls }))
}

/// `spike` and `drop`, or `sigma`, or `mads`.
fn parse_test(fields: &mut Fields<'_>, faults: &mut Faults) -> Option<Test> {
    let from_one = |factor: f64| if factor >= 1.0 { Factor::of(factor) } else { Err("must be at least 1".to_owned()) };
    let spike = fields.optional("spike", faults, yaml::POSITIVE.then(from_one));
    let drop = fields.optional("drop", faults, yaml::SHARE.then(Factor::of));
    let sigma = fields.optional("sigma", faults, yaml::POSITIVE.then(Factor::of));
    let mads = fields.optional("mads", faults, yaml::POSITIVE.then(Factor::of));
    let sides = yaml::one_of(&[("spike", Direction::Spike), ("drop", Direction::Drop)]);
    let only = fields.optional("only", faults, sides);
    let min_change = fields.optional("min_change", faults, yaml::SHARE.then(Factor::of)).unwrap_or(DEFAULT_MIN_CHANGE);
    let given = ["spike", "drop", "sigma", "mads"].map(|key| fields.node(key));
    fields.constrain(|| {
        let factors = json!({ "anyOf": [{ "required": ["spike"] }, { "required": ["drop"] }] });
        json!({ "oneOf": [factors, { "required": ["sigma"] }, { "required": ["mads"] }] })
    });
    match given {
        [None, None, None, None] => {
            let message = "volume_anomaly needs `spike` or `drop`, or `sigma`, or `mads`";
            faults.error_help("missing-key", fields.node, message, "spike: 1.75, drop: 0.4");
            None
        }
        [_, _, None, None] => {
            for (key, node) in ["only", "min_change"].map(|key| (key, fields.node(key))) {
                if let Some(node) = node {
                    let message = format!("`{key}` goes with `sigma` and `mads`");
                    faults.error_help("bad-value", node, message, "the factors say it: leave out `spike` or `drop`");
                }
            }
            (spike.is_some() || drop.is_some()).then_some(Test::Factors { spike, drop })
        }
        [None, None, Some(_), None] => Some(Test::Deviations { by: Deviation::Standard, times: sigma?, only, min_change }),
        [None, None, None, Some(_)] => Some(Test::Deviations { by: Deviation::Median, times: mads?, only, min_change }),
        _ => {
            let message = "`spike` and `drop`, `sigma`, and `mads` exclude each other";
            faults.error_help("bad-value", fields.node, message, "write a rule for each");
            None
        }
    }
}

/// Whether an amount is plainly neither: more than half of the earlier ones are so that it is not above `spike` times them, and so
/// for `drop`. The median lies among these then. Most groups are, and most of what is here costs no more than this.
fn is_usual(amount: i64, spike: Option<Factor>, drop: Option<Factor>, known: usize, earlier: impl Fn(usize) -> i64) -> bool {
    let scaled = i128::from(amount) * Factor::ONE.0;
    let (mut not_above, mut not_below) = (0, 0);
    for n in 1..=known {
        let earlier = i128::from(earlier(n));
        not_above += usize::from(spike.is_none_or(|spike| scaled <= spike.0 * earlier));
        not_below += usize::from(drop.is_none_or(|drop| scaled >= drop.0 * earlier));
        if 2 * not_above.min(not_below) > known {
            return true;
        }
    }
    false
}

/// What was found, and what an amount was held against, for people.
struct Found {
    direction: Direction,
    usual: Baseline,
    /// `more than 1.75 x 100, the median`
    against: String,
}

impl VolumeAnomaly {
    fn find(&self, amount: i64, known: usize, earlier: impl Fn(usize) -> i64) -> Option<Found> {
        match self.test {
            Test::Factors { spike, drop } => {
                if is_usual(amount, spike, drop, known, &earlier) {
                    return None;
                }
                let usual = gathered(known, earlier, |amounts| Usual::Median.of(amounts))?;
                let exact = i128::from(amount);
                let above =
                    spike.filter(|factor| usual.is_exceeded(exact, *factor)).map(|factor| (Direction::Spike, factor, "more"));
                let below =
                    || drop.filter(|factor| usual.is_undercut(exact, *factor)).map(|factor| (Direction::Drop, factor, "less"));
                let (direction, factor, word) = above.or_else(below)?;
                let against = format!("{word} than {} x {}, the median", factor.value(), number(usual.value()));
                Some(Found { direction, usual, against })
            }
            Test::Deviations { by, times, only, min_change } => {
                let (usual, unit) = gathered(known, earlier, |amounts| by.beyond(amount, times, amounts))?;
                let above = usual.is_exceeded(amount.into(), Factor::ONE);
                let (direction, word) = if above { (Direction::Spike, "above") } else { (Direction::Drop, "below") };
                if only.is_some_and(|only| only != direction) || !usual.differs(amount, min_change) {
                    return None;
                }
                let (what, name) = match by {
                    Deviation::Standard => ("standard deviations", "mean"),
                    Deviation::Median => ("median deviations", "median"),
                };
                let (times, unit, usual_amount) = (times.value(), number(unit), number(usual.value()));
                let against = format!("more than {times} {what} ({unit} each) {word} {usual_amount}, the {name}");
                Some(Found { direction, usual, against })
            }
        }
    }
}

/// At most two digits after the point.
fn number(value: f64) -> String {
    format!("{value:.2}").trim_end_matches('0').trim_end_matches('.').to_owned()
}

impl Kind for VolumeAnomaly {
    fn needs(&self) -> Vec<Need> {
        let calls = (self.min_calls > 0).then_some(Need::Window { width: self.window, lag: Span::ZERO });
        self.past.lags().map(|lag| self.of.need(self.window, lag)).chain(calls).collect()
    }

    fn verdicts(&self, view: &View<'_>, group: Group) -> Vec<Verdict> {
        let Some(known) = self.past.known(view, group) else { return Vec::new() };
        let amount = self.of.amount(view, 0, group);
        let found = self.find(amount, known, |n| self.of.amount(view, n, group));
        let Some(Found { direction, against, .. }) = found.filter(|found| found.usual.reaches(self.min_baseline)) else {
            return Vec::new();
        };
        let few = || calls(view.sums(self.past.count as usize + 1, group)) < self.min_calls;
        if direction == Direction::Spike && self.min_calls > 0 && few() {
            return Vec::new();
        }
        let (words, before) = (self.of.words(), self.past.text(known));
        let window = format!("the {} up to {}", self.window, view.edge(0));
        let evidence = format!("{amount} {words} in {window}, {against} of the same window {before}");
        let mut verdict = Verdict::on(group, amount as f64, evidence);
        verdict.labels.set("direction", direction.name());
        vec![verdict]
    }

    fn misses_calls(&self) -> bool {
        match self.test {
            Test::Factors { drop, .. } => drop.is_some(),
            Test::Deviations { only, .. } => only != Some(Direction::Spike),
        }
    }

    fn rank(&self) -> Option<(usize, Rank)> {
        match self.of {
            Of::Calls => Some((0, Rank::Calls)),
            Of::Tokens => Some((0, Rank::Tokens)),
            Of::Distinct(_) => None,
        }
    }

    fn labels(&self) -> Option<Vec<&'static str>> {
        Some(vec!["direction"])
    }
}
