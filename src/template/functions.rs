//! The functions of templates: Go's own, Prometheus' for rules and Alertmanager's for messages, with their results.
//!
//! Source: prometheus/template/template.go, alertmanager/template/template.go, Go's text/template.

use std::cmp::Ordering;
use std::ops::RangeInclusive;

use jiff::tz::TimeZone;

use super::run::Run;
use super::value::Value;
use super::{moment, number, printf, words};
use crate::time::Span;

/// A function that a template may call.
pub(super) struct Function {
    pub name: &'static str,
    /// How many arguments it takes.
    pub takes: RangeInclusive<usize>,
    pub call: fn(&[Value], &mut Run<'_>) -> Result<Value, String>,
}

impl std::fmt::Debug for Function {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

/// Go sets no bound; nobody writes more.
const MANY: usize = 64;

const fn function(
    name: &'static str,
    takes: RangeInclusive<usize>,
    call: fn(&[Value], &mut Run<'_>) -> Result<Value, String>,
) -> Function {
    Function { name, takes, call }
}

/// What rules and messages have. `and` and `or` stop early, so they are run elsewhere (`run.rs`).
pub(super) const SHARED: &[Function] = &[
    function("and", 1..=MANY, |_, _| Ok(Value::Nil)),
    function("eq", 2..=MANY, |a, _| equals_any(&a[0], &a[1..]).map(Value::Bool)),
    function("ge", 2..=2, |a, _| order(a, Ordering::is_ge)),
    function("gt", 2..=2, |a, _| order(a, Ordering::is_gt)),
    function("humanize", 1..=1, |a, _| float(&a[0]).map(words::humanize).map(Value::text)),
    function("humanize1024", 1..=1, |a, _| float(&a[0]).map(words::humanize1024).map(Value::text)),
    function("humanizeDuration", 1..=1, |a, _| float(&a[0]).map(words::humanize_duration).map(Value::text)),
    function("humanizePercentage", 1..=1, |a, _| Ok(Value::text(number::general(float(&a[0])? * 100.0, Some(4)) + "%"))),
    function("humanizeTimestamp", 1..=1, |a, _| float(&a[0]).and_then(words::humanize_timestamp).map(Value::text)),
    function("index", 1..=MANY, |a, _| index(&a[0], &a[1..])),
    function("le", 2..=2, |a, _| order(a, Ordering::is_le)),
    function("len", 1..=1, |a, _| length(&a[0]).map(|length| Value::Whole(length as i64))),
    function("lt", 2..=2, |a, _| order(a, Ordering::is_lt)),
    function("match", 2..=2, |a, run| Ok(Value::Bool(run.regex(&a[0])?.is_match(&a[1].to_string())))),
    function("ne", 2..=2, |a, _| equals_any(&a[0], &a[1..]).map(|equal| Value::Bool(!equal))),
    function("not", 1..=1, |a, _| Ok(Value::Bool(!a[0].is_true()))),
    function("or", 1..=MANY, |_, _| Ok(Value::Nil)),
    function("parseDuration", 1..=1, |a, _| Span::parse(&a[0].to_string()).map(|span| Value::Number(span.as_secs_f64()))),
    function("print", 0..=MANY, |a, _| Ok(Value::text(print(a)))),
    function("printf", 1..=MANY, |a, _| printf::printf(&a[0].to_string(), &a[1..]).map(Value::text)),
    function("println", 0..=MANY, |a, _| {
        let texts: Vec<String> = a.iter().map(Value::to_string).collect();
        Ok(Value::text(texts.join(" ") + "\n"))
    }),
    function("reReplaceAll", 3..=3, |a, run| {
        let (regex, with, text) = (run.regex(&a[0])?, a[1].to_string(), a[2].to_string());
        replace_all(&regex, &with, &text).map(Value::text)
    }),
    function("slice", 1..=3, |a, _| slice(&a[0], &a[1..])),
    function("stripPort", 1..=1, |a, _| Ok(Value::text(words::strip_port(&a[0].to_string())))),
    function("toLower", 1..=1, |a, _| Ok(Value::text(a[0].to_string().to_lowercase()))),
    function("toUpper", 1..=1, |a, _| Ok(Value::text(a[0].to_string().to_uppercase()))),
    function("urlQueryEscape", 1..=1, |a, _| Ok(Value::text(words::url_query_escape(&a[0].to_string())))),
    function("urlquery", 1..=MANY, |a, _| Ok(Value::text(words::url_query_escape(&print(a))))),
];

/// What only rules have.
pub(super) const RULES: &[Function] = &[function("title", 1..=1, |a, _| Ok(Value::text(words::title(&a[0].to_string()))))];

/// What only messages have.
pub(super) const MESSAGES: &[Function] = &[
    function("date", 2..=2, |a, _| match (&a[0], &a[1]) {
        (layout, Value::Time(time, zone)) => Ok(Value::text(moment::format(*time, zone, &layout.to_string()))),
        (_, other) => Err(format!("date: `{other}` is no time")),
    }),
    function("html", 1..=MANY, |a, _| Ok(Value::text(words::escape_html(&print(a))))),
    function("join", 2..=2, |a, _| {
        let texts: Vec<String> = a[1].entries()?.into_iter().map(|(_, item)| item.to_string()).collect();
        Ok(Value::text(texts.join(&a[0].to_string())))
    }),
    function("safeHtml", 1..=1, |a, _| Ok(Value::Safe(a[0].to_string().into()))),
    function("safeUrl", 1..=1, |a, _| Ok(Value::Safe(a[0].to_string().into()))),
    function("since", 1..=1, |a, run| match &a[0] {
        Value::Time(time, _) => Ok(Value::Span(run.now - *time)),
        other => Err(format!("since: `{other}` is no time")),
    }),
    function("stringSlice", 0..=MANY, |a, _| Ok(Value::texts(a.iter().map(Value::to_string)))),
    function("title", 1..=1, |a, _| Ok(Value::text(words::title(&a[0].to_string().to_lowercase())))),
    function("toJson", 1..=1, |a, _| Ok(Value::text(json(&a[0])?.to_string()))),
    function("trimSpace", 1..=1, |a, _| Ok(Value::text(a[0].to_string().trim()))),
    function("tz", 2..=2, |a, _| match (&a[0].to_string(), &a[1]) {
        (name, Value::Time(time, _)) => {
            let zone = TimeZone::get(name).map_err(|_| format!("tz: there is no time zone `{name}`"))?;
            Ok(Value::Time(*time, zone))
        }
        (_, other) => Err(format!("tz: `{other}` is no time")),
    }),
    function("urlUnescape", 1..=1, |a, _| Ok(Value::text(words::url_unescape(&a[0].to_string())))),
];

/// What Prometheus or Go know and we do not: there is no PromQL here.
pub(super) const NOT_HERE: &[&str] = &[
    "append",
    "args",
    "call",
    "dict",
    "externalURL",
    "first",
    "graphLink",
    "js",
    "label",
    "list",
    "pathPrefix",
    "query",
    "safeHtml",
    "sortByLabel",
    "strvalue",
    "tableLink",
    "toTime",
    "value",
];

/// The longest text that a function may give; no message takes more.
pub(super) const MAX_TEXT_BYTES: usize = 1 << 20;

/// A number, also one that is written in a text.
pub(super) fn float(value: &Value) -> Result<f64, String> {
    let read = match value.as_str() {
        Some(text) => text.parse().ok(),
        None => value.as_number(),
    };
    read.ok_or_else(|| format!("`{value}` is no number"))
}

/// How two numbers or two texts stand to each other; none with NaN. Unlike Go's, `5` and `5.0` are comparable.
fn compare(a: &Value, b: &Value) -> Result<Option<Ordering>, String> {
    match (a, b) {
        (Value::Bool(a), Value::Bool(b)) => return Ok(Some(a.cmp(b))),
        (Value::Time(a, _), Value::Time(b, _)) => return Ok(Some(a.cmp(b))),
        (Value::Nil, Value::Nil) => return Ok(Some(Ordering::Equal)),
        _ => {}
    }
    match (a.as_str(), b.as_str(), a.as_number(), b.as_number()) {
        (Some(a), Some(b), ..) => Ok(Some(a.cmp(b))),
        (.., Some(a), Some(b)) => Ok(a.partial_cmp(&b)),
        _ => Err(format!("cannot compare `{a}` with `{b}`: they are not of one kind")),
    }
}

fn order(values: &[Value], holds: fn(Ordering) -> bool) -> Result<Value, String> {
    compare(&values[0], &values[1]).map(|order| Value::Bool(order.is_some_and(holds)))
}

fn equals_any(first: &Value, others: &[Value]) -> Result<bool, String> {
    for other in others {
        if compare(first, other)? == Some(Ordering::Equal) {
            return Ok(true);
        }
    }
    Ok(false)
}

fn length(value: &Value) -> Result<usize, String> {
    value.count().ok_or_else(|| format!("`{value}` has no length"))
}

/// Item after item of lists and maps within each other; an entry that a map has not is the empty text.
fn index(value: &Value, keys: &[Value]) -> Result<Value, String> {
    let mut value = value.clone();
    for key in keys {
        value = match (&value, key) {
            (Value::Object(object), Value::Text(name) | Value::Safe(name)) => {
                object.field(name).ok_or_else(|| format!("{} has no `{name}`", object.kind()))?
            }
            (_, Value::Whole(at)) => {
                let entries = value.entries()?;
                let found = usize::try_from(*at).ok().and_then(|at| entries.get(at));
                found.map(|(_, item)| item.clone()).ok_or_else(|| format!("index {at} of {} items", entries.len()))?
            }
            _ => return Err(format!("`{key}` is no index of `{value}`")),
        };
    }
    Ok(value)
}

/// `slice text 1 3`, as bytes; also of lists.
fn slice(value: &Value, bounds: &[Value]) -> Result<Value, String> {
    let length = length(value)?;
    let bound = |at: usize, default: usize| match bounds.get(at) {
        None => Ok(default),
        Some(Value::Whole(bound)) => usize::try_from(*bound).ok().filter(|bound| *bound <= length).ok_or(()),
        Some(_) => Err(()),
    };
    let fault = |()| format!("slice: out of the {length} that there are");
    let (start, end) = (bound(0, 0).map_err(fault)?, bound(1, length).map_err(fault)?);
    match value {
        _ if start > end => Err(fault(())),
        Value::List(items) => Ok(Value::List(items[start..end].into())),
        _ => match value.as_str().and_then(|text| text.get(start..end)) {
            Some(text) => Ok(Value::text(text)),
            None => Err("slice: takes text, cut between characters, or a list".to_owned()),
        },
    }
}

/// Go's Sprint: a space between two of which neither is text.
fn print(values: &[Value]) -> String {
    let mut out = String::new();
    let mut after_text = true;
    for value in values {
        let is_text = value.as_str().is_some();
        if !out.is_empty() && !is_text && !after_text {
            out.push(' ');
        }
        out += &value.to_string();
        after_text = is_text;
    }
    out
}

/// Replaces with `$1` and its like; an expansion beyond what a message takes is refused before it is made.
fn replace_all(regex: &regex::Regex, with: &str, text: &str) -> Result<String, String> {
    let matches = regex.find_iter(text).take(MAX_TEXT_BYTES).count();
    let references = with.matches('$').count();
    if matches.saturating_mul(with.len() + references.saturating_mul(text.len())) > 64 * MAX_TEXT_BYTES {
        return Err("reReplaceAll: the text would become too long".to_owned());
    }
    Ok(regex.replace_all(text, with).into_owned())
}

fn json(value: &Value) -> Result<serde_json::Value, String> {
    Ok(match value {
        Value::Nil => serde_json::Value::Null,
        Value::Bool(value) => (*value).into(),
        Value::Whole(whole) => (*whole).into(),
        Value::Number(number) => (*number).into(),
        Value::Time(time, _) => time.to_string().into(),
        Value::Span(span) => (span.0.saturating_mul(1_000)).into(),
        Value::List(_) => value.entries()?.iter().map(|(_, item)| json(item)).collect::<Result<_, _>>()?,
        Value::Object(object) => match object.entries() {
            Some(entries) if entries.iter().any(|(key, _)| key.as_str().is_some()) => {
                let pairs = entries.into_iter().map(|(key, item)| Ok((key.to_string(), json(&item)?)));
                serde_json::Value::Object(pairs.collect::<Result<_, String>>()?)
            }
            Some(entries) => entries.iter().map(|(_, item)| json(item)).collect::<Result<_, _>>()?,
            None => {
                let fields = object.fields().iter().filter_map(|name| Some((*name, object.field(name)?)));
                let pairs = fields.map(|(name, field)| Ok((name.to_owned(), json(&field)?)));
                serde_json::Value::Object(pairs.collect::<Result<_, String>>()?)
            }
        },
        Value::Text(_) | Value::Safe(_) => value.to_string().into(),
    })
}
