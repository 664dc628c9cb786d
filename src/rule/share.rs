//! Shares of calls, compared without floating point: 1 of 20 is not more than 5 %.

use std::fmt;

use crate::rule::baseline::Factor;

/// A part of a whole, in billionths.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Share(u64);

const WHOLE: u64 = 1_000_000_000;

impl Share {
    /// The nearest one, for readers of options: `yaml::SHARE.then(Share::of)`.
    pub fn of(share: f64) -> Result<Share, String> {
        Ok(Share((share * WHOLE as f64).round() as u64))
    }

    /// What it leaves of the whole.
    pub fn rest(self) -> Share {
        Share(WHOLE.saturating_sub(self.0))
    }

    /// Whether it is nothing or all.
    pub fn is_nothing_or_all(self) -> bool {
        self.0 == 0 || self.0 >= WHOLE
    }

    /// For people.
    pub fn value(self) -> f64 {
        self.0 as f64 / WHOLE as f64
    }

    /// Whether `part` is more than this share of `whole`; nothing is more than any share of nothing.
    pub fn is_exceeded(self, part: u64, whole: u64) -> bool {
        u128::from(part) * u128::from(WHOLE) > u128::from(self.0) * u128::from(whole)
    }

    /// Whether `part` is more than `factor` times this share of `whole`.
    pub fn is_burnt_beyond(self, factor: Factor, part: u64, whole: u64) -> bool {
        let allowed = factor.0 * i128::from(self.0) * i128::from(whole);
        i128::from(part) * i128::from(WHOLE) * Factor::ONE.0 > allowed
    }

    /// Whether `part` is more than a share `used` of this share of `whole`.
    pub fn is_used_beyond(self, used: Share, part: u64, whole: u64) -> bool {
        let allowed = u128::from(used.0) * u128::from(self.0) * u128::from(whole);
        u128::from(part) * u128::from(WHOLE) * u128::from(WHOLE) > allowed
    }
}

impl fmt::Display for Share {
    /// `99.9%`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = format!("{}.{:07}", self.0 / 10_000_000, self.0 % 10_000_000);
        write!(f, "{}%", text.trim_end_matches('0').trim_end_matches('.'))
    }
}

/// A measured share for people, with three digits that count: `8%`, `0.0312%`, `-12.4%`.
pub fn percent(share: f64) -> String {
    format!("{}%", three_digits(share * 100.0))
}

/// A measured number for people, with three digits that count: `14.4`, `0.0312`, `1250`.
pub fn three_digits(number: f64) -> String {
    if number == 0.0 || !number.is_finite() {
        return format!("{number}");
    }
    let decimals = (2 - number.abs().log10().floor() as i32).clamp(0, 9) as usize;
    let text = format!("{number:.decimals$}");
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_compared_exactly() {
        for (share, part, whole, exceeded) in [
            (0.05, 1, 20, false),
            (0.05, 10, 199, true),
            (0.1, 3, 30, false),
            (0.07, 7, 100, false),
            (0.001, 1, 1_000, false),
            (0.001, 1, 999, true),
            (0.29, 29, 100, false),
            (1.0, 5, 5, false),
            (0.05, 0, 0, false),
        ] {
            assert_eq!(Share::of(share).unwrap().is_exceeded(part, whole), exceeded, "{part} of {whole} and {share}");
        }
    }

    #[test]
    fn shares_are_written_as_percentages() {
        for (share, rest) in [(0.999, "0.1%"), (0.05, "95%"), (1.0, "0%"), (0.9999, "0.01%"), (0.995, "0.5%")] {
            assert_eq!(Share::of(share).unwrap().rest().to_string(), rest);
        }
        for (number, text) in
            [(0.08, "8%"), (1.0 / 3.0, "33.3%"), (0.000312, "0.0312%"), (-0.1236, "-12.4%"), (12.5, "1250%"), (0.0, "0%")]
        {
            assert_eq!(percent(number), text);
        }
    }
}
