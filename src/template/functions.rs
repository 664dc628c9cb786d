//! The functions of Prometheus' templates that need nothing but their arguments, with Prometheus' results.
//!
//! Source: prometheus/template/template.go; `title` is Go's strings.Title, `stripPort` its net.SplitHostPort.

use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

use minijinja::value::{Enumerator, Object, Rest, ValueKind};
use minijinja::{AutoEscape, Environment, Error, ErrorKind, Output, State, Value};
use regex::Regex;

use super::number;
use super::printf;
use crate::labels::Labels;
use crate::time::Span;

/// An environment with these functions and nothing of Jinja's own.
pub(super) fn environment() -> Environment<'static> {
    let mut environment = Environment::empty();
    environment.set_auto_escape_callback(|_| AutoEscape::None);
    environment.set_formatter(write_value);
    environment.add_function("eq", |first: Value, others: Rest<Value>| equals_any(&first, &others));
    environment.add_function("ne", |a: Value, b: Value| equals_any(&a, &[b]).map(|equal| !equal));
    environment.add_function("lt", |a: Value, b: Value| compare(&a, &b).map(|order| order == Some(Ordering::Less)));
    environment.add_function("le", |a: Value, b: Value| compare(&a, &b).map(|order| order.is_some_and(Ordering::is_le)));
    environment.add_function("gt", |a: Value, b: Value| compare(&a, &b).map(|order| order == Some(Ordering::Greater)));
    environment.add_function("ge", |a: Value, b: Value| compare(&a, &b).map(|order| order.is_some_and(Ordering::is_ge)));
    environment.add_function("humanize", |value: Value| float(&value).map(humanize));
    environment.add_function("humanize1024", |value: Value| float(&value).map(humanize1024));
    environment.add_function("humanizeDuration", |value: Value| float(&value).map(humanize_duration));
    environment
        .add_function("humanizePercentage", |value: Value| float(&value).map(|v| number::general(v * 100.0, Some(4)) + "%"));
    environment.add_function("humanizeTimestamp", |value: Value| float(&value).and_then(humanize_timestamp));
    environment.add_function("match", |pattern: Value, text: Value| Ok::<_, Error>(regex(&pattern)?.is_match(&text_of(&text))));
    environment.add_function("parseDuration", |text: Value| Span::parse(&text_of(&text)).map(Span::as_secs_f64).map_err(fault));
    environment.add_function("printf", |format: Value, arguments: Rest<Value>| {
        printf::printf(&text_of(&format), &arguments).map_err(fault)
    });
    environment.add_function("reReplaceAll", |pattern: Value, with: Value, text: Value| {
        Ok::<_, Error>(regex(&pattern)?.replace_all(&text_of(&text), text_of(&with)).into_owned())
    });
    environment.add_function("stripPort", |text: Value| strip_port(&text_of(&text)).to_owned());
    environment.add_function("title", |text: Value| title(&text_of(&text)));
    environment.add_function("toLower", |text: Value| text_of(&text).to_lowercase());
    environment.add_function("toUpper", |text: Value| text_of(&text).to_uppercase());
    environment.add_function("urlQueryEscape", |text: Value| url_query_escape(&text_of(&text)));
    environment
}

/// `$labels`: a map in which a label that is missing is the empty text.
#[derive(Debug)]
pub(super) struct LabelsValue(pub(super) Labels);

impl Object for LabelsValue {
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        Some(Value::from(self.0.get(key.as_str()?)))
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::Values(self.0.iter().map(|(name, _)| Value::from(name)).collect())
    }

    /// As Go prints a map.
    fn render(self: &Arc<Self>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pairs: Vec<String> = self.0.iter().map(|(name, value)| format!("{name}:{value}")).collect();
        write!(f, "map[{}]", pairs.join(" "))
    }
}

fn write_value(out: &mut Output<'_>, _: &mut State<'_, '_>, value: &Value) -> Result<(), Error> {
    out.write_str(&text_of(value)).map_err(Error::from)
}

/// A value as Go's `%v` prints it.
pub(super) fn text_of(value: &Value) -> String {
    match value.kind() {
        ValueKind::Bool => value.is_true().to_string(),
        ValueKind::Number if !value.is_integer() => {
            f64::try_from(value.clone()).map_or_else(|_| value.to_string(), number::shortest)
        }
        _ => value.to_string(),
    }
}

fn fault(message: String) -> Error {
    Error::new(ErrorKind::InvalidOperation, message)
}

/// A number, also one that is written in a text.
pub(super) fn float(value: &Value) -> Result<f64, Error> {
    let read = match value.as_str() {
        Some(text) => text.parse().ok(),
        None if value.is_number() => f64::try_from(value.clone()).ok(),
        None => None,
    };
    read.ok_or_else(|| fault(format!("`{value}` is no number")))
}

fn regex(pattern: &Value) -> Result<Regex, Error> {
    let pattern = text_of(pattern);
    Regex::new(&pattern).map_err(|_| fault(format!("`{pattern}` is no regular expression")))
}

/// How two numbers or two texts stand to each other; none with NaN. Unlike Go's, `5` and `5.0` are comparable.
fn compare(a: &Value, b: &Value) -> Result<Option<Ordering>, Error> {
    match (a.as_str(), b.as_str()) {
        (Some(a), Some(b)) => Ok(Some(a.cmp(b))),
        (None, None) if a.is_number() && b.is_number() => Ok(float(a)?.partial_cmp(&float(b)?)),
        (None, None) if a.kind() == ValueKind::Bool && b.kind() == ValueKind::Bool => Ok(Some(a.is_true().cmp(&b.is_true()))),
        _ => Err(fault(format!("cannot compare `{}` with `{}`: they are not of one kind", text_of(a), text_of(b)))),
    }
}

fn equals_any(first: &Value, others: &[Value]) -> Result<bool, Error> {
    for other in others {
        if compare(first, other)? == Some(Ordering::Equal) {
            return Ok(true);
        }
    }
    Ok(false)
}

const LARGE: [&str; 8] = ["k", "M", "G", "T", "P", "E", "Z", "Y"];
const SMALL: [&str; 8] = ["m", "u", "n", "p", "f", "a", "z", "y"];
const BINARY: [&str; 8] = ["ki", "Mi", "Gi", "Ti", "Pi", "Ei", "Zi", "Yi"];

fn four_digits(value: f64) -> String {
    number::general(value, Some(4))
}

/// Divides until the number is below `step`, as far as there are prefixes.
fn reduce(mut value: f64, step: f64, prefixes: [&'static str; 8]) -> (f64, &'static str) {
    let mut reached = "";
    for prefix in prefixes {
        if value.abs() < step {
            break;
        }
        (value, reached) = (value / step, prefix);
    }
    (value, reached)
}

/// Multiplies until the number is at least 1, as far as there are prefixes.
fn enlarge(mut value: f64) -> (f64, &'static str) {
    let mut reached = "";
    for prefix in SMALL {
        if value.abs() >= 1.0 {
            break;
        }
        (value, reached) = (value * 1000.0, prefix);
    }
    (value, reached)
}

fn humanize(value: f64) -> String {
    if value == 0.0 || !value.is_finite() {
        return four_digits(value);
    }
    let (value, prefix) = if value.abs() >= 1.0 { reduce(value, 1000.0, LARGE) } else { enlarge(value) };
    four_digits(value) + prefix
}

fn humanize1024(value: f64) -> String {
    if value.abs() <= 1.0 || !value.is_finite() {
        return four_digits(value);
    }
    let (value, prefix) = reduce(value, 1024.0, BINARY);
    four_digits(value) + prefix
}

fn humanize_duration(value: f64) -> String {
    if !value.is_finite() {
        return four_digits(value);
    }
    if value == 0.0 {
        return "0s".to_owned();
    }
    if value.abs() < 1.0 {
        let (value, prefix) = enlarge(value);
        return format!("{}{prefix}s", four_digits(value));
    }
    let sign = if value < 0.0 { "-" } else { "" };
    let whole = value.abs() as i64;
    let (days, hours, minutes, seconds) = (whole / 86_400, whole / 3_600 % 24, whole / 60 % 60, whole % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{sign}{}s", four_digits(value.abs())),
        (0, 0, _) => format!("{sign}{minutes}m {seconds}s"),
        (0, _, _) => format!("{sign}{hours}h {minutes}m {seconds}s"),
        _ => format!("{sign}{days}d {hours}h {minutes}m {seconds}s"),
    }
}

/// Seconds since the epoch as Go prints a time: to the millisecond, UTC.
fn humanize_timestamp(value: f64) -> Result<String, Error> {
    if !value.is_finite() {
        return Ok(four_digits(value));
    }
    // Go counts nanoseconds in 64 bits.
    let overflow = || fault(format!("{} is too far from 1970 to be a timestamp", number::shortest(value)));
    if value.abs() > i64::MAX as f64 / 1e9 {
        return Err(overflow());
    }
    let at = jiff::Timestamp::from_millisecond((value * 1e3) as i64).map_err(|_| overflow())?;
    Ok(at.strftime("%Y-%m-%d %H:%M:%S%.f +0000 UTC").to_string())
}

/// The first letter of each word in upper case; an apostrophe or a hyphen ends a word, an underscore does not.
fn title(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut within_word = false;
    for c in text.chars() {
        if within_word {
            out.push(c);
        } else {
            out.extend(c.to_uppercase());
        }
        within_word = c.is_alphanumeric() || c == '_' || !(c.is_ascii() || c.is_whitespace());
    }
    out
}

/// The host of `host:port` and `[host]:port`; any other text is itself.
fn strip_port(text: &str) -> &str {
    let Some((host, _)) = text.rsplit_once(':') else { return text };
    let plain = |host: &str| !host.contains(['[', ']']);
    match host.strip_prefix('[').map(|host| host.strip_suffix(']')) {
        Some(Some(inner)) if plain(inner) => inner,
        None if plain(host) && !host.contains(':') => host,
        _ => text,
    }
}

fn url_query_escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => out.push(char::from(byte)),
            b' ' => out.push('+'),
            _ => out += &format!("%{byte:02X}"),
        }
    }
    out
}
