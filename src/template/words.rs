//! Numbers, durations, instants and names in words, with Prometheus' results.
//!
//! Source: prometheus/template/template.go; `title` is Go's strings.Title, `stripPort` its net.SplitHostPort.

use super::number;

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

pub(super) fn humanize(value: f64) -> String {
    if value == 0.0 || !value.is_finite() {
        return four_digits(value);
    }
    let (value, prefix) = if value.abs() >= 1.0 { reduce(value, 1000.0, LARGE) } else { enlarge(value) };
    four_digits(value) + prefix
}

pub(super) fn humanize1024(value: f64) -> String {
    if value.abs() <= 1.0 || !value.is_finite() {
        return four_digits(value);
    }
    let (value, prefix) = reduce(value, 1024.0, BINARY);
    four_digits(value) + prefix
}

pub(super) fn humanize_duration(value: f64) -> String {
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
pub(super) fn humanize_timestamp(value: f64) -> Result<String, String> {
    if !value.is_finite() {
        return Ok(four_digits(value));
    }
    // Go counts nanoseconds in 64 bits.
    let overflow = || format!("{} is too far from 1970 to be a timestamp", number::shortest(value));
    if value.abs() > i64::MAX as f64 / 1e9 {
        return Err(overflow());
    }
    let at = jiff::Timestamp::from_millisecond((value * 1e3) as i64).map_err(|_| overflow())?;
    Ok(at.strftime("%Y-%m-%d %H:%M:%S%.f +0000 UTC").to_string())
}

/// The first letter of each word in upper case; an apostrophe or a hyphen ends a word, an underscore does not.
pub(super) fn title(text: &str) -> String {
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
pub(super) fn strip_port(text: &str) -> &str {
    let Some((host, _)) = text.rsplit_once(':') else { return text };
    let plain = |host: &str| !host.contains(['[', ']']);
    match host.strip_prefix('[').map(|host| host.strip_suffix(']')) {
        Some(Some(inner)) if plain(inner) => inner,
        None if plain(host) && !host.contains(':') => host,
        _ => text,
    }
}

pub(super) fn url_query_escape(text: &str) -> String {
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

/// The reverse; text that is no such escape is itself.
pub(super) fn url_unescape(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len());
    let bytes = text.as_bytes();
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let hex = bytes.get(at + 1..at + 3).and_then(|digits| std::str::from_utf8(digits).ok());
        match (byte, hex.and_then(|digits| u8::from_str_radix(digits, 16).ok())) {
            (b'%', Some(escaped)) => {
                out.push(escaped);
                at += 3;
                continue;
            }
            (b'+', _) => out.push(b' '),
            _ => out.push(byte),
        }
        at += 1;
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// Text as it stands in HTML, between tags and in quoted attributes.
pub fn escape_html(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out += "&amp;",
            '<' => out += "&lt;",
            '>' => out += "&gt;",
            '"' => out += "&#34;",
            '\'' => out += "&#39;",
            _ => out.push(c),
        }
    }
    out
}
