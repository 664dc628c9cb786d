//! How time intervals are written: Alertmanager's YAML, or one line of text.
//!
//! ```yaml
//! - times: [{start_time: '08:00', end_time: '19:00'}]   # [start, end); 24:00 is the end of the day
//!   weekdays: ['monday:friday', sunday]                 # weeks begin on sunday, ranges do not wrap
//!   days_of_month: ['1:5', '-3:-1']                     # -1 is the last day
//!   months: ['january:march', '5', '10:12']
//!   years: ['2024:2026']
//!   location: America/Los_Angeles                       # UTC where it is left out
//! - mon-fri,sun 08:00-12:00,13:00-19:00 America/Los_Angeles   # days and zone may be left out
//! ```

use serde_json::json;

use super::Fault;
use super::interval::{ALL_MONTHS, ALL_WEEKDAYS, Spec, TimeInterval};
use super::zone::Zone;
use crate::diag::nearest;
use crate::yaml::{self, Faults, Fields, Node, Read, Value};

pub(super) const WEEKDAYS: [&str; 7] = ["sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday"];
pub(super) const MONTHS: [&str; 12] =
    ["january", "february", "march", "april", "may", "june", "july", "august", "september", "october", "november", "december"];
/// A spec in one line, for help.
pub(super) const LINE: &str = "mon-fri 08:00-19:00 America/Los_Angeles";

impl TimeInterval {
    /// Reads one spec or a list of them.
    pub fn parse(node: &Node, faults: &mut Faults) -> Option<TimeInterval> {
        if matches!(&node.value, Value::List(items) if items.is_empty()) {
            faults.error_help("bad-value", node, "an empty list holds at no time", format!("write it as {LINE}"));
            return None;
        }
        let specs: Vec<_> = node.items().iter().map(|item| Spec::parse(item, faults)).collect();
        Some(TimeInterval { specs: specs.into_iter().collect::<Option<_>>()? })
    }

    /// The JSON Schema of what is read.
    pub fn schema() -> serde_json::Value {
        let spec = json!({ "anyOf": [{ "type": "string" }, yaml::schema(Spec::read)] });
        json!({ "anyOf": [{ "type": "array", "items": spec }, spec] })
    }
}

impl Spec {
    fn parse(node: &Node, faults: &mut Faults) -> Option<Spec> {
        if let Value::Text(text) = &node.value {
            return told(line(text), "", node, faults);
        }
        let before = faults.0.len();
        node.map(faults, Spec::read).filter(|_| faults.0.len() == before)
    }

    fn read(fields: &mut Fields<'_>, faults: &mut Faults) -> Option<Spec> {
        let text = || yaml::TEXT.schema();
        Some(Spec {
            times: each(fields, "times", || yaml::schema(time_range), faults, |node, faults| node.map(faults, time_range)),
            weekdays: bits(&each(fields, "weekdays", text, faults, scalar("weekdays", weekdays)), ALL_WEEKDAYS.into()) as u8,
            days_of_month: each(fields, "days_of_month", text, faults, scalar("days_of_month", days_of_month)),
            months: bits(&each(fields, "months", text, faults, scalar("months", months)), ALL_MONTHS),
            years: each(fields, "years", text, faults, scalar("years", years)),
            zone: fields
                .node_of("location", yaml::TEXT)
                .and_then(|node| scalar("location", Zone::named)(node, faults))
                .unwrap_or_else(Zone::utc),
        })
    }
}

/// The union of ranges; all of them where none is given.
fn bits(ranges: &[(u8, u8)], all: u16) -> u16 {
    if ranges.is_empty() { all } else { ranges.iter().flat_map(|&(first, last)| first..=last).fold(0, |bits, n| bits | 1 << n) }
}

/// The items of a field that are not at fault.
fn each<T>(
    fields: &mut Fields<'_>,
    key: &'static str,
    item: impl Fn() -> serde_json::Value,
    faults: &mut Faults,
    parse: impl Fn(&Node, &mut Faults) -> Option<T>,
) -> Vec<T> {
    let list = || json!({ "anyOf": [{ "type": "array", "items": item(), "minItems": 1 }, item()] });
    let Some(node) = fields.node_as(key, list) else { return Vec::new() };
    if node.items().is_empty() {
        faults.error_help("bad-value", node, format!("{key}: an empty list holds at no time"), "leave the key out");
    }
    node.items().iter().filter_map(|item| parse(item, faults)).collect()
}

fn scalar<T>(key: &'static str, read: impl Fn(&str) -> Result<T, Fault>) -> impl Fn(&Node, &mut Faults) -> Option<T> {
    move |node, faults| match yaml::text(node) {
        Ok(text) => told(read(text.trim()), key, node, faults),
        Err(message) => {
            faults.error("wrong-type", node, format!("{key}: {message}"));
            None
        }
    }
}

fn told<T>(read: Result<T, Fault>, key: &str, node: &Node, faults: &mut Faults) -> Option<T> {
    let colon = if key.is_empty() { "" } else { ": " };
    read.map_err(|(message, help)| faults.error_help("bad-value", node, format!("{key}{colon}{message}"), help)).ok()
}

fn time_range(fields: &mut Fields<'_>, faults: &mut Faults) -> Option<(u16, u16)> {
    fields.constrain(|| json!({ "required": ["start_time", "end_time"] }));
    let [start, end] = ["start_time", "end_time"].map(|key| match fields.node_of(key, yaml::TEXT) {
        Some(node) => scalar(key, minute)(node, faults),
        None => {
            let help = "{start_time: '08:00', end_time: '19:00'}";
            faults.error_help("missing-key", fields.node, format!("`{key}` is missing"), help);
            None
        }
    });
    told(ordered(start?, end?), "times", fields.node, faults)
}

/// Minutes of the day of which the first is before the second.
fn ordered(start: u16, end: u16) -> Result<(u16, u16), Fault> {
    let shown = |minute: u16| format!("{:02}:{:02}", minute / 60, minute % 60);
    let (from, to) = (shown(start), shown(end));
    match start.cmp(&end) {
        std::cmp::Ordering::Less => Ok((start, end)),
        std::cmp::Ordering::Equal => {
            Err((format!("{from} to {to} is no time at all"), "a whole day is 00:00 to 24:00".to_owned()))
        }
        std::cmp::Ordering::Greater if end == 0 => {
            Err((format!("{from} to {to} ends before it starts"), "the end of a day is 24:00".to_owned()))
        }
        std::cmp::Ordering::Greater => Err((
            format!("{from} to {to} ends before it starts"),
            format!("over midnight it is two: {from} to 24:00, and 00:00 to {to}"),
        )),
    }
}

/// The minute of the day of `08:00`, up to `24:00`.
fn minute(text: &str) -> Result<u16, Fault> {
    let two_digits = |part: &str| part.parse().ok().filter(|_: &u16| part.len() == 2 && part.bytes().all(|b| b.is_ascii_digit()));
    let minute = text.split_once(':').and_then(|(hour, minute)| Some((two_digits(hour)?, two_digits(minute)?)));
    match minute {
        Some((hour, minute)) if hour < 24 && minute < 60 || (hour, minute) == (24, 0) => Ok(hour * 60 + minute),
        _ => Err((format!("`{text}` is no time of day"), "write it as 08:00, from 00:00 to 24:00".to_owned())),
    }
}

/// Both ends of `first:last`, or of one alone.
fn range<T>(text: &str, sign: char, read: impl Fn(&str) -> Result<T, Fault>) -> Result<(T, T), Fault> {
    let (first, last) = text.split_once(sign).unwrap_or((text, text));
    Ok((read(first.trim())?, read(last.trim())?))
}

/// The number of a name, of which three letters are enough.
fn name(text: &str, names: &'static [&'static str], kind: &str) -> Result<u8, Fault> {
    let lower = text.to_lowercase();
    let named = names.iter().position(|name| *name == lower || lower.len() == 3 && name.starts_with(&lower));
    named.map(|n| n as u8).ok_or_else(|| {
        let help = match nearest(&lower, names.iter().copied()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("write it as one of {}", names.join(", ")),
        };
        (format!("`{text}` is no {kind}"), help)
    })
}

fn weekday(text: &str) -> Result<u8, Fault> {
    name(text, &WEEKDAYS, "weekday")
}

fn weekdays(text: &str) -> Result<(u8, u8), Fault> {
    let (first, last) = range(text, ':', weekday)?;
    if first <= last {
        Ok((first, last))
    } else {
        Err((format!("`{text}` goes over the end of a week, which begins on sunday"), two(&WEEKDAYS, first, last)))
    }
}

/// The two ranges of names that one over the end may mean.
fn two(names: &[&str], first: u8, last: u8) -> String {
    let range = |range: &[&str]| match range {
        [one] => format!("'{one}'"),
        more => format!("'{}:{}'", more[0], more[more.len() - 1]),
    };
    format!("write {}, {}", range(&names[first as usize..]), range(&names[..=last as usize]))
}

fn month(text: &str) -> Result<u8, Fault> {
    match text.parse::<i64>() {
        Ok(number @ 1..=12) => Ok(number as u8),
        Ok(_) => Err((format!("there is no month {text}"), "months are 1 to 12, or january to december".to_owned())),
        Err(_) => Ok(name(text, &MONTHS, "month")? + 1),
    }
}

fn months(text: &str) -> Result<(u8, u8), Fault> {
    let (first, last) = range(text, ':', month)?;
    if first <= last {
        Ok((first, last))
    } else {
        Err((format!("`{text}` goes over the end of a year"), two(&MONTHS, first - 1, last - 1)))
    }
}

fn years(text: &str) -> Result<(i16, i16), Fault> {
    let year = |text: &str| match text.parse() {
        Ok(year @ 1..=9_999) => Ok(year),
        _ => Err((format!("`{text}` is no year"), "write it as 2026 or '2026:2028'".to_owned())),
    };
    let (first, last) = range(text, ':', year)?;
    if first <= last { Ok((first, last)) } else { Err((format!("`{text}` runs backwards"), format!("write '{last}:{first}'"))) }
}

fn days_of_month(text: &str) -> Result<(i8, i8), Fault> {
    let day = |text: &str| match text.parse::<i64>() {
        Ok(day @ (1..=31 | -31..=-1)) => Ok(day as i8),
        Ok(_) => Err((format!("there is no day {text} in a month"), "days are 1 to 31, or -1 (the last) to -31".to_owned())),
        Err(_) => Err((format!("`{text}` is no day of a month"), "write it as 15, '1:5' or '-3:-1' (the last three)".to_owned())),
    };
    let (first, last) = range(text, ':', day)?;
    if first < 0 && last > 0 {
        let help = format!("write '{first}:-1', '1:{last}'");
        return Err((format!("`{text}` goes over the end of a month"), help));
    }
    // A day counted from the end is at its latest in the longest month.
    let latest = if first > 0 && last < 0 { 32 + last } else { last };
    if first <= latest {
        Ok((first, last))
    } else {
        Err((format!("`{text}` ends before it starts in every month"), "days are first:last".to_owned()))
    }
}

fn no_line(text: &str) -> Fault {
    (format!("`{text}` is no time interval"), format!("write it as {LINE}"))
}

/// A spec in one line.
fn line(text: &str) -> Result<Spec, Fault> {
    let words: Vec<&str> = text.split_whitespace().collect();
    let (days, rest) = match words.split_first() {
        Some((days, rest)) if !days.contains(':') => (Some(*days), rest),
        _ => (None, words.as_slice()),
    };
    let (times, zone) = match rest {
        [times] if times.contains(':') => (times, Zone::utc()),
        [times, zone] if times.contains(':') => (times, Zone::named(zone)?),
        _ => return Err(no_line(text)),
    };
    let time = |time: &str| {
        let (start, end) = time.split_once('-').ok_or_else(|| no_line(text))?;
        ordered(minute(start)?, minute(end)?)
    };
    let day = |days: &str| {
        let (first, last) = range(days, '-', weekday)?;
        // On a line a week has no beginning: sat-sun is two days.
        Ok(if first <= last { vec![(first, last)] } else { vec![(first, 6), (0, last)] })
    };
    let days: Vec<Vec<(u8, u8)>> = days.iter().flat_map(|days| days.split(',')).map(day).collect::<Result<_, Fault>>()?;
    Ok(Spec {
        times: times.split(',').map(time).collect::<Result<_, Fault>>()?,
        weekdays: bits(&days.concat(), ALL_WEEKDAYS.into()) as u8,
        days_of_month: Vec::new(),
        months: ALL_MONTHS,
        years: Vec::new(),
        zone,
    })
}
