//! A mergeable histogram with base-2 exponential buckets, as OTLP and Prometheus' native histograms have them.
//!
//! Scale 5: bucket i holds (base^i, base^(i+1)] with base = 2^(1/32), so that a quantile is at most 1.1 % off. Values are
//! whole numbers (millionths of a unit); negative ones have buckets of their own.
//! <https://opentelemetry.io/docs/specs/otel/metrics/data-model/#exponentialhistogram>

use std::ops::{AddAssign, SubAssign};

use serde::{Deserialize, Serialize};

/// Buckets of each doubling.
const PER_OCTAVE: f64 = 32.0;

/// Counts by bucket.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Histogram {
    zero: u64,
    positive: Buckets,
    negative: Buckets,
}

/// Counts of consecutive buckets from `offset` on.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Buckets {
    offset: i16,
    counts: Vec<u32>,
}

fn index(value: u64) -> i16 {
    // One above a power of the base is in the next bucket, the power itself in this one.
    ((value as f64).log2() * PER_OCTAVE).ceil() as i16 - 1
}

/// The middle of a bucket: no value of it is farther away than half a bucket.
fn middle(index: i16) -> f64 {
    ((f64::from(index) + 0.5) / PER_OCTAVE).exp2()
}

impl Buckets {
    fn at(&mut self, index: i16) -> &mut u32 {
        if self.counts.is_empty() {
            self.offset = index;
        }
        if index < self.offset {
            let more = (self.offset - index) as usize;
            self.counts.splice(0..0, std::iter::repeat_n(0, more));
            self.offset = index;
        }
        let at = (index - self.offset) as usize;
        if at >= self.counts.len() {
            self.counts.resize(at + 1, 0);
        }
        &mut self.counts[at]
    }

    fn iter(&self) -> impl DoubleEndedIterator<Item = (i16, u32)> {
        self.counts.iter().enumerate().filter(|(_, n)| **n > 0).map(|(at, n)| (self.offset + at as i16, *n))
    }

    fn merge(&mut self, other: &Buckets, sum: impl Fn(u32, u32) -> u32) {
        for (index, n) in other.iter() {
            let at = self.at(index);
            *at = sum(*at, n);
        }
    }
}

impl Histogram {
    /// Counts a value `count` times.
    pub fn add(&mut self, value: i64, count: u32) {
        let buckets = match value {
            0 => {
                self.zero += u64::from(count);
                return;
            }
            1.. => &mut self.positive,
            _ => &mut self.negative,
        };
        let at = buckets.at(index(value.unsigned_abs()));
        *at = at.saturating_add(count);
    }

    /// How many values there are.
    pub fn count(&self) -> u64 {
        let buckets = self.positive.counts.iter().chain(&self.negative.counts);
        self.zero + buckets.map(|n| u64::from(*n)).sum::<u64>()
    }

    /// The value below or at which a share of all values lies (nearest rank); none where there is no value.
    pub fn quantile(&self, share: f64) -> Option<f64> {
        let count = self.count();
        // 55 % of 100 are 55, though a little more in floating point.
        let rank = ((share * count as f64 * (1.0 - 1e-12)).ceil() as u64).clamp(1, count.max(1));
        let negative = self.negative.iter().rev().map(|(index, n)| (-middle(index), u64::from(n)));
        let zero = std::iter::once((0.0, self.zero));
        let positive = self.positive.iter().map(|(index, n)| (middle(index), u64::from(n)));
        let mut seen = 0;
        negative
            .chain(zero)
            .chain(positive)
            .find(|(_, n)| {
                seen += n;
                count > 0 && seen >= rank
            })
            .map(|(value, _)| value)
    }
}

impl AddAssign<&Histogram> for Histogram {
    fn add_assign(&mut self, other: &Histogram) {
        self.zero += other.zero;
        self.positive.merge(&other.positive, u32::saturating_add);
        self.negative.merge(&other.negative, u32::saturating_add);
    }
}

impl SubAssign<&Histogram> for Histogram {
    fn sub_assign(&mut self, other: &Histogram) {
        self.zero = self.zero.saturating_sub(other.zero);
        self.positive.merge(&other.positive, u32::saturating_sub);
        self.negative.merge(&other.negative, u32::saturating_sub);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn bounds_belong_to_the_bucket_that_ends_there() {
        assert_eq!((index(1), index(2), index(4), index(1 << 40)), (-1, 31, 63, 40 * 32 - 1));
        assert_eq!((index(3), index(5)), (50, 74));
    }

    proptest! {
        /// Merged and taken apart, a quantile is the nearest-rank one within 1.1 %.
        #[test]
        fn quantiles_are_near(values in prop::collection::vec(-1_000_000i64..100_000_000, 1..60), gone in prop::collection::vec(-50i64..5_000, 0..20), share in 0.0f64..=1.0) {
            let of = |values: &[i64]| {
                let mut histogram = Histogram::default();
                values.iter().for_each(|value| histogram.add(*value, 1));
                histogram
            };
            let mut histogram = of(&gone);
            histogram += &of(&values);
            histogram -= &of(&gone);
            let mut sorted = values.clone();
            sorted.sort_unstable();
            let rank = ((share * values.len() as f64 * (1.0 - 1e-12)).ceil() as usize).clamp(1, values.len());
            let (exact, found) = (sorted[rank - 1] as f64, histogram.quantile(share).unwrap());
            prop_assert!((found - exact).abs() <= 0.011 * exact.abs(), "{} {}", found, exact);
            prop_assert_eq!(histogram.count(), values.len() as u64);
        }
    }
}
