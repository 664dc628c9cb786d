//! Numbers as Go prints them: `%v`, `%.4g`, `%e`.
//!
//! The rules are those of Go's strconv.FormatFloat: `g` takes the exponent form below 1e-4, and from 10^precision on;
//! without a precision the digits are the shortest that read back the same, and the limit is 10^6.

/// Up to which power of ten `%v` writes a number out: 123456 is itself, a million is `1e+06`.
const SHORTEST_LIMIT: i32 = 6;

/// `%v`: the shortest digits; `5`, `0.25`, `1e+06`.
pub(super) fn shortest(value: f64) -> String {
    general(value, None)
}

/// `%.{precision}g`, or `%v` without one.
pub(super) fn general(value: f64, precision: Option<usize>) -> String {
    if !value.is_finite() {
        return not_finite(value);
    }
    let scientific = match precision {
        None => format!("{value:e}"),
        Some(precision) => format!("{value:.*e}", precision.max(1) - 1),
    };
    let (mantissa, power) = split(&scientific);
    let (sign, mantissa) = mantissa.strip_prefix('-').map_or(("", mantissa), |rest| ("-", rest));
    let digits: String = mantissa.chars().filter(char::is_ascii_digit).collect();
    let digits = match digits.trim_end_matches('0') {
        "" => "0",
        digits => digits,
    };
    let limit = precision.map_or(SHORTEST_LIMIT, |precision| precision.max(1) as i32);
    if power < -4 || power >= limit {
        let (first, rest) = digits.split_at(1);
        let point = if rest.is_empty() { "" } else { "." };
        return format!("{sign}{first}{point}{rest}{}", exponent(power));
    }
    let whole = usize::try_from(power + 1).unwrap_or(0);
    let text = match power {
        ..0 => format!("0.{}{digits}", "0".repeat(power.unsigned_abs() as usize - 1)),
        _ if digits.len() <= whole => format!("{digits}{}", "0".repeat(whole - digits.len())),
        _ => format!("{}.{}", &digits[..whole], &digits[whole..]),
    };
    format!("{sign}{text}")
}

/// `%.{precision}e`.
pub(super) fn scientific(value: f64, precision: usize) -> String {
    if !value.is_finite() {
        return not_finite(value);
    }
    let text = format!("{value:.precision$e}");
    let (mantissa, power) = split(&text);
    format!("{mantissa}{}", exponent(power))
}

/// `%.{precision}f`.
pub(super) fn fixed(value: f64, precision: usize) -> String {
    if value.is_finite() { format!("{value:.precision$}") } else { not_finite(value) }
}

fn not_finite(value: f64) -> String {
    if value.is_nan() {
        "NaN"
    } else if value > 0.0 {
        "+Inf"
    } else {
        "-Inf"
    }
    .to_owned()
}

/// Rust's `1.5e-7` in its two parts.
fn split(scientific: &str) -> (&str, i32) {
    let (mantissa, power) = scientific.split_once('e').unwrap_or((scientific, "0"));
    (mantissa, power.parse().unwrap_or(0))
}

/// Go writes a sign and at least two digits.
fn exponent(power: i32) -> String {
    let sign = if power < 0 { '-' } else { '+' };
    format!("e{sign}{:02}", power.unsigned_abs())
}
