//! What was usual before, compared exactly: fractions, no floating point.

use crate::rule::View;
use crate::time::{Span, Time};
use crate::window::{Group, Need, Sums};

/// A day: windows are held against those at the same time of day.
pub const DAY: Span = Span::secs(86_400);
/// No comparison looks farther back.
pub const MAX_DAYS: u64 = 366;
const MILLION: f64 = 1e6;

/// How one usual amount is made of several.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Usual {
    /// Their sum by their number.
    Mean,
    /// The middle one, or half the sum of the two in the middle.
    Median,
}

/// What options call them.
pub const USUALS: &[(&str, Usual)] = &[("mean", Usual::Mean), ("median", Usual::Median)];

/// The usual amount: a sum, and the number that it is to be divided by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Baseline {
    sum: i128,
    parts: i128,
}

/// A number in millionths, above 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Factor(pub i128);

impl Usual {
    /// As options call it.
    pub fn name(self) -> &'static str {
        if self == Usual::Mean { "mean" } else { "median" }
    }

    /// The usual one of some amounts, which may lose their order; none of none.
    pub fn of<N: Copy + Ord + Into<i128>>(self, mut amounts: impl AsMut<[N]>) -> Option<Baseline> {
        let amounts = amounts.as_mut();
        match self {
            _ if amounts.is_empty() => None,
            Usual::Mean => {
                let sum = amounts.iter().map(|amount| -> i128 { (*amount).into() }).sum();
                Some(Baseline { sum, parts: amounts.len() as i128 })
            }
            Usual::Median => {
                let odd = amounts.len() % 2 == 1;
                let (below, upper, _) = amounts.select_nth_unstable(amounts.len() / 2);
                let lower = if odd { *upper } else { below.iter().copied().max().unwrap_or(*upper) };
                Some(Baseline { sum: lower.into() + (*upper).into(), parts: 2 })
            }
        }
    }
}

impl Baseline {
    /// Whether an amount is more than `factor` times the usual one.
    pub fn is_exceeded(self, amount: i128, factor: Factor) -> bool {
        amount * self.parts * Factor::ONE.0 > factor.0 * self.sum
    }

    /// Whether an amount is less than `factor` times the usual one.
    pub fn is_undercut(self, amount: i128, factor: Factor) -> bool {
        amount * self.parts * Factor::ONE.0 < factor.0 * self.sum
    }

    /// Whether it is at least this.
    pub fn reaches(self, amount: i64) -> bool {
        self.sum >= i128::from(amount) * self.parts
    }

    /// Whether an amount differs from it by at least a share of it.
    pub fn differs(self, amount: i64, share: Factor) -> bool {
        (i128::from(amount) * self.parts - self.sum).abs() * Factor::ONE.0 >= share.0 * self.sum.abs()
    }

    /// For people.
    pub fn value(self) -> f64 {
        self.sum as f64 / self.parts as f64
    }
}

/// How far amounts are from the usual one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Deviation {
    /// From the mean: the root of the mean of the squares, as Prometheus' `stddev_over_time` has it.
    Standard,
    /// From the median: the median of the distances.
    Median,
}

impl Deviation {
    /// The usual of some amounts and how far they are from it, where one more is farther than `times` that; its order may be lost,
    /// and its contents.
    pub fn beyond(self, amount: i64, times: Factor, amounts: &mut [i64]) -> Option<(Baseline, f64)> {
        match self {
            Deviation::Standard => standard(amount, times, amounts),
            Deviation::Median => median(amount, times, amounts),
        }
    }
}

/// Distances from the mean are multiplied by the number of amounts, so that they are whole.
fn standard(amount: i64, times: Factor, amounts: &mut [i64]) -> Option<(Baseline, f64)> {
    let mean = Usual::Mean.of(&mut *amounts)?;
    let (n, times) = (mean.parts as f64, times.value());
    let square = |amount: i64| ((mean.parts * i128::from(amount) - mean.sum) as f64).powi(2);
    let squares: f64 = amounts.iter().map(|amount| square(*amount)).sum();
    (square(amount) * n > times * times * squares).then(|| (mean, (squares / n).sqrt() / n))
}

/// Distances from the median are doubled, so that they are whole.
fn median(amount: i64, times: Factor, amounts: &mut [i64]) -> Option<(Baseline, f64)> {
    let usual = Usual::Median.of(&mut *amounts)?;
    let twice = |amount: i64| (2 * i128::from(amount) - usual.sum).abs();
    for amount in amounts.iter_mut() {
        *amount = i64::try_from(twice(*amount)).unwrap_or(i64::MAX);
    }
    let distance = Usual::Median.of(amounts)?;
    distance.is_exceeded(twice(amount), times).then(|| (usual, distance.value() / 2.0))
}

impl Factor {
    /// Once.
    pub const ONE: Factor = Factor(1_000_000);

    /// The nearest one, for readers of options: `yaml::POSITIVE.then(Factor::of)`.
    pub fn of(value: f64) -> Result<Factor, String> {
        let factor = Factor((value * MILLION).round() as i128);
        if factor.0 > 0 { Ok(factor) } else { Err("must be more than 0".to_owned()) }
    }

    /// For people.
    pub fn value(self) -> f64 {
        self.0 as f64 / MILLION
    }
}

/// A window and the same on each of `days` earlier days, as needs: that of day n is the nth.
pub fn needs(width: Span, days: u64) -> Vec<Need> {
    (0..=days as i64).map(|day| Need::Window { width, lag: Span(day * DAY.0) }).collect()
}

/// What [`needs`] held on the earlier days, nearest first, as far back as the group goes: days before its first call do
/// not count, empty ones since then are 0.
pub fn earlier(view: &View<'_>, group: Group, first: Time, days: u64, amount: impl Fn(&Sums) -> i128) -> Vec<i128> {
    (1..=days as usize).take_while(|day| view.edge(*day) >= first).map(|day| amount(view.sums(day, group))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_usual_amount_is_a_fraction() {
        for (usual, amounts, sum, parts) in [
            (Usual::Mean, vec![1, 2, 4], 7, 3),
            (Usual::Median, vec![4, 1, 2], 4, 2),
            (Usual::Median, vec![4, 1, 2, 9], 6, 2),
            (Usual::Median, vec![5], 10, 2),
        ] {
            assert_eq!(usual.of(amounts), Some(Baseline { sum, parts }));
        }
        assert_eq!(Usual::Mean.of(Vec::<i64>::new()), None);
    }

    #[test]
    fn what_is_exactly_the_factor_is_neither_above_nor_below() {
        let (third, usual) = (Factor::of(1.5).unwrap(), Usual::Mean.of(vec![1, 1, 2]).unwrap());
        for (amount, above, below) in [(1, false, true), (2, false, false), (3, true, false)] {
            assert_eq!((usual.is_exceeded(amount, third), usual.is_undercut(amount, third)), (above, below), "{amount}");
        }
        assert!(Factor::of(1e-7).is_err() && Factor::of(0.1).unwrap() == Factor(100_000));
    }

    #[test]
    fn what_is_exactly_so_many_deviations_away_is_not_beyond() {
        #[track_caller]
        fn check(deviation: Deviation, amounts: &[i64], times: f64, within: &[i64], beyond: &[i64], unit: f64) {
            let found = |amount| deviation.beyond(amount, Factor::of(times).unwrap(), &mut amounts.to_vec());
            within.iter().for_each(|amount| assert_eq!(found(*amount), None, "{amount}"));
            beyond.iter().for_each(|amount| assert_eq!(found(*amount).unwrap().1, unit, "{amount}"));
        }
        // Mean 5, standard deviation 2.
        check(Deviation::Standard, &[2, 4, 4, 4, 5, 5, 7, 9], 2.0, &[1, 5, 9], &[0, 10], 2.0);
        check(Deviation::Standard, &[3, 3, 3], 2.0, &[3], &[2, 4], 0.0);
        // Median 4.5, distances 2.5, 0.5, 0.5, 0.5, 0.5, 0.5, 2.5, 4.5.
        check(Deviation::Median, &[2, 4, 4, 4, 5, 5, 7, 9], 3.0, &[3, 6], &[2, 7], 0.5);
        check(Deviation::Median, &[1, 2, 4, 8, 100], 2.0, &[10, -2], &[11, -3], 3.0);
        check(Deviation::Median, &[i64::MAX, 0], 1.0, &[0, i64::MAX], &[], 0.0);
    }
}
