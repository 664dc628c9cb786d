//! Go's `time.Time` and `time.Duration` as templates see them: layouts such as `2006-01-02 15:04`, and their methods.

use jiff::tz::TimeZone;

use super::value::Value;
use crate::time::{Span, Time};

/// Go's layouts spell this instant: Monday, the 2nd of January 2006, 15:04:05 -0700. Longer spellings come first.
const LAYOUT: [(&str, &str); 26] = [
    ("January", "%B"),
    ("Monday", "%A"),
    ("-07:00", "%:z"),
    ("-0700", "%z"),
    ("2006", "%Y"),
    ("Jan", "%b"),
    ("Mon", "%a"),
    ("MST", "%Z"),
    ("002", "%j"),
    ("01", "%m"),
    ("02", "%d"),
    ("03", "%I"),
    ("04", "%M"),
    ("05", "%S"),
    ("06", "%y"),
    ("15", "%H"),
    ("PM", "%p"),
    ("pm", "%P"),
    ("_2", "%e"),
    ("-07", "%z"),
    ("1", "%-m"),
    ("2", "%-d"),
    ("3", "%-I"),
    ("4", "%-M"),
    ("5", "%-S"),
    ("%", "%%"),
];

/// Fractions of a second after `05`: `.000` always, `.999` without its trailing zeros.
const FRACTION_DIGITS: usize = 9;

/// An instant in a layout of Go's.
pub(super) fn format(time: Time, zone: &TimeZone, layout: &str) -> String {
    let at = time.to_jiff().to_zoned(zone.clone());
    let is_utc = at.offset().is_zero();
    let mut out = String::new();
    let mut rest = layout;
    while let Some(first) = rest.chars().next() {
        // `Z07:00` is `Z` in UTC.
        let zulu = ["Z07:00", "Z0700"].into_iter().find(|spelling| rest.starts_with(spelling));
        if let Some(spelling) = zulu {
            let shown = if spelling.contains(':') { "%:z" } else { "%z" };
            out += &if is_utc { "Z".to_owned() } else { at.strftime(shown).to_string() };
            rest = &rest[spelling.len()..];
        } else if let Some(digits) = fraction(rest) {
            let nanos = format!("{:09}", at.subsec_nanosecond());
            let shown = &nanos[..digits.min(FRACTION_DIGITS)];
            let shown = if rest[1..].starts_with('9') { shown.trim_end_matches('0') } else { shown };
            if !shown.is_empty() {
                out.push(first);
                out += shown;
            }
            rest = &rest[1 + digits..];
        } else if let Some((spelling, shown)) = LAYOUT.iter().find(|(spelling, _)| rest.starts_with(spelling)) {
            let text = at.strftime(shown).to_string();
            out += if *spelling == "-07" { &text[..text.len().min(3)] } else { &text };
            rest = &rest[spelling.len()..];
        } else {
            out.push(first);
            rest = &rest[first.len_utf8()..];
        }
    }
    out
}

/// How many digits a fraction of a second has, where one begins here.
fn fraction(rest: &str) -> Option<usize> {
    let digits = rest.strip_prefix(['.', ','])?;
    let of = |digit: char| digits.len() - digits.trim_start_matches(digit).len();
    let count = of('0').max(of('9'));
    let more = digits[count..].starts_with(|c: char| c.is_ascii_digit());
    (count > 0 && !more).then_some(count)
}

/// As Go prints a time.
pub(super) fn go_time(time: Time, zone: &TimeZone) -> String {
    format(time, zone, "2006-01-02 15:04:05.999999999 -0700 MST")
}

/// As Go prints a duration: `1h2m3.5s`, `150ms`, `0s`.
pub(super) fn go_span(span: Span) -> String {
    let micros = span.0.unsigned_abs();
    let sign = if span.0 < 0 { "-" } else { "" };
    let decimal = |number: f64| format!("{number}");
    let text = match micros {
        0 => "0s".to_owned(),
        1..1_000 => format!("{micros}µs"),
        1_000..1_000_000 => format!("{}ms", decimal(micros as f64 / 1e3)),
        _ => {
            let (hours, minutes) = (micros / 3_600_000_000, micros / 60_000_000 % 60);
            let seconds = format!("{}s", decimal((micros % 60_000_000) as f64 / 1e6));
            match (hours, minutes) {
                (0, 0) => seconds,
                (0, _) => format!("{minutes}m{seconds}"),
                _ => format!("{hours}h{minutes}m{seconds}"),
            }
        }
    };
    format!("{sign}{text}")
}

/// A method of an instant.
pub(super) fn time_member(time: Time, zone: &TimeZone, name: &str, arguments: &[Value]) -> Option<Result<Value, String>> {
    let at = || time.to_jiff().to_zoned(zone.clone());
    let other = |compare: fn(Time, Time) -> Value| match arguments {
        [Value::Time(other, _)] => Ok(compare(time, *other)),
        _ => Err(format!("`.{name}` takes a time")),
    };
    let whole = |number: i64| Ok(Value::Whole(number));
    Some(match name {
        "Format" => match arguments {
            [layout] if layout.as_str().is_some() => Ok(Value::text(format(time, zone, layout.as_str().unwrap_or_default()))),
            _ => Err("`.Format` takes a layout such as \"2006-01-02 15:04\"".to_owned()),
        },
        "Sub" => other(|time, other| Value::Span(time - other)),
        "Before" => other(|time, other| Value::Bool(time < other)),
        "After" => other(|time, other| Value::Bool(time > other)),
        "Equal" => other(|time, other| Value::Bool(time == other)),
        _ if !arguments.is_empty() => return None,
        "UTC" | "Local" => Ok(Value::Time(time, TimeZone::UTC)),
        "Unix" => whole(time.0.div_euclid(1_000_000)),
        "UnixMilli" => whole(time.0.div_euclid(1_000)),
        "IsZero" => Ok(Value::Bool(time == ZERO)),
        "Year" => whole(at().year().into()),
        "Month" => Ok(Value::text(format(time, zone, "January"))),
        "Weekday" => Ok(Value::text(format(time, zone, "Monday"))),
        "Day" => whole(at().day().into()),
        "Hour" => whole(at().hour().into()),
        "Minute" => whole(at().minute().into()),
        "Second" => whole(at().second().into()),
        "String" => Ok(Value::text(go_time(time, zone))),
        _ => return None,
    })
}

/// A method of a length of time.
pub(super) fn span_member(span: Span, name: &str) -> Option<Result<Value, String>> {
    let seconds = span.as_secs_f64();
    Some(Ok(match name {
        "Hours" => Value::Number(seconds / 3_600.0),
        "Minutes" => Value::Number(seconds / 60.0),
        "Seconds" => Value::Number(seconds),
        "Milliseconds" => Value::Whole(span.0 / 1_000),
        "String" => Value::text(go_span(span)),
        _ => return None,
    }))
}

/// Go's zero time: the end of what has not ended.
pub const ZERO: Time = Time::from_secs(-62_135_596_800);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layouts_are_those_of_go() {
        #[track_caller]
        fn check(layout: &str, expected: &str) {
            let zone = TimeZone::get("America/Los_Angeles").unwrap();
            let time = Time::parse("2026-11-03T21:04:09.0405Z").unwrap();
            assert_eq!(format(time, &zone, layout), expected, "{layout}");
        }
        check("2006-01-02 15:04:05", "2026-11-03 13:04:09");
        check("2006-01-02T15:04:05Z07:00", "2026-11-03T13:04:09-08:00");
        check("Mon, 02 Jan 2006 15:04:05 MST", "Tue, 03 Nov 2026 13:04:09 PST");
        check("Monday, January 2 3:04PM", "Tuesday, November 3 1:04PM");
        check("02/01/06 03:04:05.000 pm -0700", "03/11/26 01:04:09.040 pm -0800");
        check("15:04:05.999999", "13:04:09.0405");
        check("100% _2", "1100%  3");
        assert_eq!(format(Time::from_secs(0), &TimeZone::UTC, "15:04Z07:00 -07"), "00:00Z +00");
        assert_eq!(go_time(ZERO, &TimeZone::UTC), "0001-01-01 00:00:00 +0000 UTC");
    }

    #[test]
    fn spans_print_as_in_go() {
        for (micros, expected) in
            [(0, "0s"), (5, "5µs"), (1_500, "1.5ms"), (61_500_000, "1m1.5s"), (3_600_000_000, "1h0m0s"), (-90_000_000, "-1m30s")]
        {
            assert_eq!(go_span(Span(micros)), expected);
        }
    }
}
