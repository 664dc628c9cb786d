//! Fires when the spend of a calendar day, week or month passes shares of a limit, or will pass it.
//!
//! ```yaml
//! budget: {period: month, zone: America/New_York, by: [org], limits: {acme: 500, globex: 200}, default: 100, shares: [50%, 80%, 100%], forecast: true}
//! budget: {period: week, limit: 1000, shares: {80%: warning, 100%: critical}}
//! budget: {by: [team], limits_from: {table: team_budgets, key: team, limit: monthly_usd}, default: 50}
//! ```
//!
//! spent = the cost of the group's calls since the period began; a share is passed when spent >= share x limit, to the billionth of
//! a dollar. Each passed share is an alert of its own, with the label `share` ("80%"), so that each crossing is told once; it
//! stays until the next period begins, also when the next share is passed. Its value is spent / limit.
//!
//! - `period` (`month`): `day`, `week` (from Monday) or `month`. It has its first instant and not its last: [start, end).
//! - `zone` (`UTC`): whose calendar.
//! - `limit`: US dollars for each group; or
//! - `limits`: US dollars by the value of the first dimension of `by`; or
//! - `limits_from`: the same from a table or a SELECT (`table`), with the names of its columns (`key`, `limit`), asked `every` 5m. What is no
//!   number above 0 there is no limit. Every source that the rule reads is asked, and the first by name counts; where not all have the
//!   table, name one that has: `where: ['source="app"']`.
//! - `default` (none): the limit of those without one in `limits` or `limits_from`. Whoever has none is not watched.
//! - `shares` (`[50%, 80%, 100%]`): they may be more than 100%; as a map, with the label `severity` of each (the rule's own `labels` win).
//! - `forecast` (`false`): also fires, with the label `share: forecast`, when the limit will be reached before a week or month ends; a
//!   severity instead of `true` becomes its label. The rate is the mean of the last 7 whole days, or of the whole time from
//!   the group's first call to midnight where that is less, but at least 2 days. Forecast = spent until today + the larger of today's
//!   spend and one day at the rate + the rate x the days from tomorrow on; it fires at forecast >= limit, and its value is forecast /
//!   limit. So it moves when a day is over or when today costs more than a usual day, and not with the hour.
//! - `by`, `where`, `active`, `top` as everywhere. Where `by` has several dimensions, each combination has the limit of its first.
//!
//! Calls of unknown cost count 0; how many there were is said. What was spent before the first row that was read is not known: let
//! `history` of the table reach back to the beginning of the period.
//!
//! For example:
//!
//! ```yaml
//! rows:
//!   - 10 calls every 1h from day 2 10:00 with org=acme cost=50
//!   - 4 calls every 1d from 12:00 with org=globex cost=10
//! expect:
//!   - {at: "day 2 13:59", alerts: []}
//!   - {at: "day 2 14:00", alerts: [{org: acme, share: 50%}]}
//!   - {at: "day 2 19:00", alerts: [{org: acme, share: 50%}, {org: acme, share: 80%}, {org: acme, share: 100%}]}
//!   - {at: "day 4 05:00", alerts: [{org: globex, share: forecast}, {org: acme, share: 50%}, {org: acme, share: 80%}, {org: acme, share: 100%}]}
//! ```

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use serde_json::json;

use crate::calendar::{Period, Zone, period, zone};
use crate::event::NanoUsd;
use crate::rule::cost_anomaly::money;
use crate::rule::{Kind, Rank, Verdict, View};
use crate::source::query::{Answer, Query};
use crate::time::{Span, Time};
use crate::window::{Group, Need, Sums};
use crate::yaml::{self, Faults, Fields, Node, Read, Value};

const DAY: Span = Span::secs(86_400);
const NANOS: f64 = 1e9;
/// Shares are compared in millionths, so that money is compared exactly.
const MILLION: f64 = 1e6;
/// How many whole days the rate of a forecast is the mean of.
const RATE_DAYS: u16 = 7;
/// A group that is younger has no rate yet.
const RATE_AT_LEAST: Span = Span(2 * DAY.0);
/// How often a table of limits is read unless it says `every`.
const ASK_EVERY: Span = Span::secs(300);
const FORECAST: &str = "forecast";

#[derive(Debug)]
struct Budget {
    period: Period,
    zone: Zone,
    limits: Limits,
    /// Of those without a limit of their own.
    default: Option<NanoUsd>,
    shares: Vec<Share>,
    /// Whether there is one; its severity, where it has one, is not empty.
    forecast: Option<String>,
}

#[derive(Debug)]
enum Limits {
    Same,
    By(BTreeMap<String, NanoUsd>),
    From(Query, Mutex<Known>),
}

/// The limits of the answers that were looked at last, since each group asks for its own.
#[derive(Debug, Default)]
struct Known {
    /// When each source answered.
    answered: Vec<(String, Time)>,
    limits: BTreeMap<String, NanoUsd>,
}

#[derive(Clone, Debug, PartialEq)]
struct Share {
    millionths: i64,
    /// Empty: it says none.
    severity: String,
}

pub(super) fn parse(fields: &mut Fields<'_>, faults: &mut Faults) -> Option<Box<dyn Kind>> {
    let told = faults.0.len();
    let period = fields.optional("period", faults, yaml::Type::new(period, || json!({ "enum": ["day", "week", "month"] })));
    let zone = fields.optional("zone", faults, yaml::Type::new(zone, || json!({ "type": "string" })));
    let limits = limits(fields, faults);
    let default = fields.optional("default", faults, yaml::POSITIVE).map(nanos);
    let shares = fields.optional("shares", faults, Shares);
    let forecast = fields.optional("forecast", faults, FORECASTS).flatten();
    let period = period.unwrap_or(Period::Month);
    if let Some(node) = fields.node("forecast").filter(|_| forecast.is_some() && period == Period::Day) {
        let help = "`period: week` or `month`; for a day, `shares` below 100% warn early";
        faults.error_help("no-forecast", node, "a forecast looks at whole days, so a day has none", help);
    }
    if faults.0.len() > told {
        return None;
    }
    let (zone, shares) = (zone.unwrap_or_else(Zone::utc), shares.unwrap_or_else(|| DEFAULT_SHARES.map(Share::of).to_vec()));
    let (limits, limit) = limits?;
    Some(Box::new(Budget { period, zone, limits, default: limit.or(default), shares, forecast }))
}

/// Where limits come from, and the one of all groups.
fn limits(fields: &mut Fields<'_>, faults: &mut Faults) -> Option<(Limits, Option<NanoUsd>)> {
    const KEYS: [&str; 3] = ["limit", "limits", "limits_from"];
    let limit = fields.optional("limit", faults, yaml::POSITIVE).map(nanos);
    let mut by = BTreeMap::new();
    for (key, value) in fields.entries("limits", faults, || yaml::POSITIVE.schema()) {
        if let Some(limit) = yaml::POSITIVE.read(key.key_name(), value, faults) {
            by.insert(key.key_name().to_owned(), nanos(limit));
        }
    }
    let from = fields.nested("limits_from", faults, limits_from);
    fields.exactly_one(&KEYS);
    let told_apart = json!({ "anyOf": [{ "required": ["limits"] }, { "required": ["limits_from"] }] });
    fields.constrain(|| json!({ "if": told_apart, "then": { "required": ["by"] } }));
    let given: Vec<&str> = KEYS.into_iter().filter(|key| fields.node(key).is_some()).collect();
    match given.as_slice() {
        [] => {
            let help = "limit: 1000, or `limits` by name, or `limits_from` a table";
            faults.error_help("missing-key", fields.node, "the budget has no limit", help);
        }
        [_] => {}
        [first, second, ..] => {
            let message = format!("both `{first}` and `{second}` are set");
            let help = "`default` is the limit of those without one of their own";
            faults.error_help("conflicting-keys", fields.node, message, help);
        }
    }
    if let (["limit"], Some(node)) = (given.as_slice(), fields.node("default")) {
        faults.error_help("conflicting-keys", node, "with `limit` every group has one", "remove `default`");
    }
    if let (["limits" | "limits_from"], None) = (given.as_slice(), fields.node("by").filter(|by| !by.items().is_empty())) {
        let message = format!("`{}` are told apart by the first dimension of `by`, and there is none", given[0]);
        faults.error_help("missing-key", fields.node, message, "by: [org], or `limit` for all together");
    }
    match (limit, from) {
        (Some(limit), _) => Some((Limits::Same, Some(limit))),
        (None, Some(query)) => Some((Limits::From(query, Mutex::default()), None)),
        (None, None) => Some((Limits::By(by), None)),
    }
}

fn nanos(dollars: f64) -> NanoUsd {
    (dollars * NANOS).round() as NanoUsd
}

/// `limits_from: {table: org_budgets, key: org, limit: monthly_usd}`
fn limits_from(fields: &mut Fields<'_>, faults: &mut Faults) -> Option<Query> {
    let table = fields.required("table", faults, yaml::TEXT.then(table));
    let key = fields.required("key", faults, yaml::TEXT.then(|text| name(&text)));
    let limit = fields.required("limit", faults, yaml::TEXT.then(|text| name(&text)));
    let every = fields.optional("every", faults, yaml::POSITIVE_SPAN).unwrap_or(ASK_EVERY);
    let place = fields.node("table").unwrap_or(fields.node).place.clone();
    // With the name of the table: SQLite takes a quoted name that is no column for a text.
    let sql = format!("SELECT limits.{}, limits.{} FROM {} AS limits", key?, limit?, table?);
    Some(Query { sql, place, every })
}

/// A table with its schema, or a SELECT in brackets.
fn table(text: String) -> Result<String, String> {
    let text = text.trim().trim_end_matches(';');
    let first = text.split(|c: char| !c.is_ascii_alphabetic()).next().unwrap_or_default().to_ascii_lowercase();
    if ["select", "with"].contains(&first.as_str()) {
        // On lines of its own, since it may end with a comment.
        return Ok(format!("(\n{text}\n)"));
    }
    text.split('.').map(name).collect::<Result<Vec<_>, _>>().map(|parts| parts.join("."))
}

/// A name as SQL has it, in quotes where that changes nothing but that it may be a word of SQL.
fn name(text: &str) -> Result<String, String> {
    let text = text.trim();
    let quoted = text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    if quoted.is_some_and(|name| !name.is_empty() && !name.contains('"')) {
        return Ok(text.to_owned());
    }
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if text.is_empty() || !text.chars().all(plain) || text.starts_with(|c: char| c.is_ascii_digit()) {
        return Err(format!("`{text}` is no name of SQL; another than letters, digits and _ stands in double quotes"));
    }
    Ok(if text.chars().any(|c| c.is_ascii_uppercase()) { text.to_owned() } else { format!("\"{text}\"") })
}

const DEFAULT_SHARES: [i64; 3] = [500_000, 800_000, 1_000_000];

impl Share {
    fn of(millionths: i64) -> Share {
        Share { millionths, severity: String::new() }
    }

    /// `80%`
    fn text(&self) -> String {
        format!("{}%", self.millionths as f64 / 10_000.0)
    }
}

/// Reads `[50%, 80%]`, or `{80%: warning, 100%: critical}`.
struct Shares;

impl Read<Vec<Share>> for Shares {
    fn read(&self, key: &str, node: &Node, faults: &mut Faults) -> Option<Vec<Share>> {
        let pairs = match &node.value {
            Value::Map(pairs) => pairs.iter().map(|(share, severity)| (share, Some(severity))).collect::<Vec<_>>(),
            _ => node.items().iter().map(|share| (share, None)).collect(),
        };
        let told = faults.0.len();
        let mut shares: Vec<Share> = Vec::new();
        for (share, severity) in pairs {
            let severity = severity.map_or(Some(String::new()), |severity| SEVERITY.read(key, severity, faults));
            let Some(millionths) = SHARE.read(key, share, faults) else { continue };
            if shares.iter().any(|known| known.millionths == millionths) {
                faults.error("duplicate", share, format!("{key}: {} is there twice", share.written()));
            }
            shares.push(Share { millionths, severity: severity.unwrap_or_default() });
        }
        if shares.is_empty() && faults.0.len() == told {
            faults.error_help("bad-value", node, format!("{key}: there is none"), "shares: [80%, 100%]");
        }
        shares.sort_by_key(|share| share.millionths);
        (faults.0.len() == told).then_some(shares)
    }

    fn schema(&self) -> serde_json::Value {
        let names = json!({ "pattern": "^[0-9.]+ ?%?$" });
        json!({ "anyOf": [
            { "type": "array", "minItems": 1, "items": SHARE.schema() },
            { "type": "object", "minProperties": 1, "propertyNames": names, "additionalProperties": SEVERITY.schema() },
            SHARE.schema(),
        ] })
    }
}

/// A share that may be more than all.
const SHARE: yaml::Type<i64> = yaml::Type::new(share, || {
    json!({ "anyOf": [{ "type": "number", "exclusiveMinimum": 0, "maximum": 1 }, { "type": "string", "pattern": r"^[0-9]+(\.[0-9]+)? ?%$",
        "patternErrorMessage": "expected a share such as 80%" }] })
});

fn share(node: &Node) -> Result<i64, String> {
    let written = yaml::text(node)?;
    let value = match written.strip_suffix('%') {
        Some(percent) => percent.trim_end().parse().map(|n: f64| n / 100.0).ok(),
        None => written.parse().ok().filter(|n| *n <= 1.0),
    };
    let meant = if written.parse::<f64>().is_ok() { written.as_str() } else { "80" };
    let value = value.ok_or_else(|| format!("`{written}` is no share; write it as {meant}%"))?;
    let millionths = (value * MILLION).round();
    if (1.0..=1e9).contains(&millionths) {
        Ok(millionths as i64)
    } else {
        Err(format!("`{written}` must be above 0% and at most 100000%"))
    }
}

const SEVERITY: yaml::Type<String> = yaml::Type::new(severity, || json!({ "type": "string", "minLength": 1 }));

fn severity(node: &Node) -> Result<String, String> {
    let text = yaml::text(node)?;
    if text.trim().is_empty() { Err("the severity is empty".to_owned()) } else { Ok(text) }
}

/// `true`, `false`, or a severity.
const FORECASTS: yaml::Type<Option<String>> =
    yaml::Type::new(forecast, || json!({ "anyOf": [{ "type": "boolean" }, { "type": "string", "minLength": 1 }] }));

fn forecast(node: &Node) -> Result<Option<String>, String> {
    match node.value {
        Value::Bool(wanted) => Ok(wanted.then(String::new)),
        _ => severity(node).map(Some),
    }
}

/// What a group will have spent by the end of the period.
struct Forecast {
    total: f64,
    /// A day.
    rate: f64,
    /// When it reaches the limit.
    reached: Time,
}

impl Budget {
    fn limit(&self, view: &View<'_>, group: Group) -> Option<NanoUsd> {
        let of = view.values(group).first().map_or("", String::as_str);
        let own = match &self.limits {
            Limits::Same => None,
            Limits::By(limits) => limits.get(of).copied(),
            Limits::From(_, known) => {
                let mut known = known.lock().unwrap_or_else(PoisonError::into_inner);
                known.look(view);
                known.limits.get(of).copied()
            }
        };
        own.or(self.default)
    }

    fn verdict(&self, group: Group, share: String, severity: &str, value: f64, evidence: String) -> Verdict {
        let labels = [("share", share), ("severity", severity.to_owned())].into_iter().collect();
        Verdict { labels, ..Verdict::on(group, value, evidence) }
    }

    /// Only days that are over move it, and today where that is dearer than they were: it depends on the instant by its date.
    fn forecast(&self, view: &View<'_>, group: Group, limit: f64) -> Option<Forecast> {
        let [spent, today] = [0, 1].map(|need| view.sums(need, group).cost as f64);
        let begun = Period::Day.start(view.at, &self.zone);
        let (tomorrow, end) = (Period::Day.end(view.at, &self.zone), self.period.end(view.at, &self.zone));
        let since = Period::Day.start_before(view.at, &self.zone, RATE_DAYS).max(view.first(group));
        let known = begun - since;
        if known < RATE_AT_LEAST {
            return None;
        }
        let rate = view.sums(2, group).cost as f64 / known.0 as f64;
        let over = |from: Time, to: Time| rate * (to - from).0 as f64;
        let tonight = spent - today + today.max(over(begun, tomorrow));
        let total = tonight + over(tomorrow, end);
        if total < limit {
            return None;
        }
        let reached = if tonight >= limit { begun } else { tomorrow + Span(((limit - tonight) / rate) as i64) };
        Some(Forecast { total, rate: rate * DAY.0 as f64, reached: reached.min(end - Span(1)) })
    }
}

impl Known {
    /// Takes up the answers of an instant, where they are others than the last.
    fn look(&mut self, view: &View<'_>) {
        let same = |((source, at), (name, answer)): (&(String, Time), (&str, &Answer))| source == name && *at == answer.at;
        let known = self.answered.len() == view.answers(0).count() && self.answered.iter().zip(view.answers(0)).all(same);
        if !known {
            self.answered = view.answers(0).map(|(source, answer)| (source.to_owned(), answer.at)).collect();
            self.limits.clear();
            for row in view.answers(0).flat_map(|(_, answer)| &answer.rows) {
                let [Some(key), Some(limit), ..] = row.as_slice() else { continue };
                // PostgreSQL's type `money` is written as $1,000.00.
                let limit = limit
                    .trim()
                    .trim_start_matches('$')
                    .replace(',', "")
                    .parse()
                    .ok()
                    .filter(|limit: &f64| limit.is_finite() && *limit > 0.0);
                if let Some(limit) = limit {
                    self.limits.entry(key.clone()).or_insert(nanos(limit));
                }
            }
        }
    }
}

fn unknown(sums: &Sums) -> String {
    if sums.uncosted == 0 { String::new() } else { format!("; {} calls of unknown cost count 0", sums.uncosted) }
}

impl Kind for Budget {
    fn needs(&self) -> Vec<Need> {
        let (period, zone) = (self.period, self.zone.clone());
        let mut needs = vec![Need::Since { period, zone: zone.clone() }];
        if self.forecast.is_some() {
            needs.push(Need::Since { period: Period::Day, zone: zone.clone() });
            needs.push(Need::Days { days: RATE_DAYS, zone });
        }
        needs
    }

    fn verdicts(&self, view: &View<'_>, group: Group) -> Vec<Verdict> {
        let Some(limit) = self.limit(view, group) else { return Vec::new() };
        let sums = view.sums(0, group);
        let spent = || {
            let since = self.zone.day(self.period.start(view.at, &self.zone));
            format!("{} of {} spent since {since} ({})", money(sums.cost as f64), money(limit as f64), self.zone)
        };
        let passed = |share: &&Share| i128::from(sums.cost) * MILLION as i128 >= i128::from(limit) * i128::from(share.millionths);
        let verdict = |share: &Share| {
            let evidence = format!("{}, {} or more{}", spent(), share.text(), unknown(sums));
            self.verdict(group, share.text(), &share.severity, sums.cost as f64 / limit as f64, evidence)
        };
        let mut verdicts: Vec<Verdict> = self.shares.iter().filter(passed).map(verdict).collect();
        let forecast = self.forecast.as_ref().and_then(|severity| Some((severity, self.forecast(view, group, limit as f64)?)));
        if let Some((severity, Forecast { total, rate, reached })) = forecast {
            let will = match sums.cost >= limit {
                true => "it is exceeded".to_owned(),
                false => format!("at {} a day it will be exceeded on the {}", money(rate), self.zone.ordinal_day(reached)),
            };
            let evidence = format!("{}; {will}{}", spent(), unknown(sums));
            verdicts.push(self.verdict(group, FORECAST.to_owned(), severity, total / limit as f64, evidence));
        }
        verdicts
    }

    fn queries(&self) -> Vec<Query> {
        if let Limits::From(query, _) = &self.limits { vec![query.clone()] } else { Vec::new() }
    }

    fn rank(&self) -> Option<(usize, Rank)> {
        Some((0, Rank::Cost))
    }

    fn labels(&self) -> Option<Vec<&'static str>> {
        let severities = self.shares.iter().map(|share| &share.severity).chain(&self.forecast);
        let severity = severities.map(String::as_str).any(|severity| !severity.is_empty());
        Some(if severity { vec!["share", "severity"] } else { vec!["share"] })
    }
}
