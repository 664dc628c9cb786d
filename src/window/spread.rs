//! What is kept of a measure, and of the distinct values of a dimension, in a bucket or window.

use std::ops::{AddAssign, SubAssign};

use rustc_hash::FxHashMap;
use serde::{Deserialize, Serialize};

use crate::window::histogram::Histogram;

/// The values of a measure, in millionths of its unit.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Spread {
    /// Their sum, exact, so that it does not depend on their order.
    pub sum: i128,
    /// How they are spread.
    pub histogram: Histogram,
    /// The lowest and the highest; of a bucket alone, since what left a window cannot be taken away from them.
    pub bounds: Option<(i64, i64)>,
}

impl Spread {
    /// Of one value that counts for several calls.
    pub fn of(value: i64, count: u32) -> Spread {
        let mut histogram = Histogram::default();
        histogram.add(value, count);
        Spread { sum: i128::from(value) * i128::from(count), histogram, bounds: Some((value, value)) }
    }

    /// How many values there are.
    pub fn count(&self) -> u64 {
        self.histogram.count()
    }

    /// Their mean; none where there is none.
    pub fn mean(&self) -> Option<f64> {
        let count = self.count();
        (count > 0).then(|| self.sum as f64 / count as f64)
    }
}

/// Bounds that hold those of both.
pub fn join(a: Option<(i64, i64)>, b: Option<(i64, i64)>) -> Option<(i64, i64)> {
    match (a, b) {
        (Some((low, high)), Some((l, h))) => Some((low.min(l), high.max(h))),
        (a, b) => a.or(b),
    }
}

impl AddAssign<&Spread> for Spread {
    fn add_assign(&mut self, other: &Spread) {
        self.sum += other.sum;
        self.histogram += &other.histogram;
        self.bounds = join(self.bounds, other.bounds);
    }
}

impl SubAssign<&Spread> for Spread {
    fn sub_assign(&mut self, other: &Spread) {
        self.sum -= other.sum;
        self.histogram -= &other.histogram;
    }
}

/// Distinct values of a dimension, by digest, with how often each was there.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Distinct(FxHashMap<u64, u32>);

impl Distinct {
    /// Of one value that counts for several calls.
    pub fn of(mark: u64, count: u32) -> Distinct {
        Distinct([(mark, count)].into_iter().collect())
    }

    /// How many there are.
    pub fn count(&self) -> u64 {
        self.0.len() as u64
    }
}

impl AddAssign<&Distinct> for Distinct {
    fn add_assign(&mut self, other: &Distinct) {
        for (mark, count) in &other.0 {
            let known = self.0.entry(*mark).or_default();
            *known = known.saturating_add(*count);
        }
    }
}

impl SubAssign<&Distinct> for Distinct {
    fn sub_assign(&mut self, other: &Distinct) {
        for (mark, count) in &other.0 {
            if let Some(known) = self.0.get_mut(mark) {
                *known = known.saturating_sub(*count);
                if *known == 0 {
                    self.0.remove(mark);
                }
            }
        }
    }
}
