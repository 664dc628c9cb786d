//! Combinations of dimensions, numbered in the order in which they are met, so that a row costs one look-up.

use rustc_hash::FxHashMap;

use crate::limits::{MAX_SHAPES, VALUE_BYTES};

/// The value that stands for all that is over a limit.
pub const OTHER: &str = "other";

/// Cuts a value that is too long, between two characters.
pub fn cut(value: &mut String) {
    if value.len() > VALUE_BYTES {
        value.truncate(value.floor_char_boundary(VALUE_BYTES - '…'.len_utf8()));
        value.push('…');
    }
}

/// The shapes of one table.
#[derive(Debug, Default)]
pub struct Shapes {
    by_bytes: FxHashMap<Box<[u8]>, u32>,
    by_values: FxHashMap<Vec<String>, u32>,
    /// How many there are; two of them may have come to mean the same.
    known: u32,
    fresh: Vec<Vec<String>>,
    over_limit: u64,
}

impl Shapes {
    /// Takes up shapes that were stored, in their order.
    pub fn restore(stored: &[Vec<String>]) -> Shapes {
        let by_values = stored.iter().enumerate().map(|(i, values)| (values.clone(), i as u32)).collect();
        Shapes { by_values, known: stored.len() as u32, ..Shapes::default() }
    }

    /// The shape of a row: `bytes` are its dimensions as the database sent them, `values` reads them where they are new.
    pub fn intern(&mut self, bytes: &[u8], values: impl FnOnce() -> Vec<String>) -> u32 {
        if let Some(&shape) = self.by_bytes.get(bytes) {
            return shape;
        }
        let mut values = values();
        values.iter_mut().for_each(cut);
        if self.by_values.len() >= MAX_SHAPES && !self.by_values.contains_key(&values) {
            values.fill(OTHER.to_owned());
            self.over_limit += 1;
        }
        let shape = *self.by_values.entry(values).or_insert_with_key(|values| {
            self.fresh.push(values.clone());
            self.known += 1;
            self.known - 1
        });
        // Bounded like the shapes: many byte strings may mean one shape.
        if self.by_bytes.len() >= 2 * MAX_SHAPES {
            self.by_bytes.clear();
        }
        self.by_bytes.insert(bytes.into(), shape);
        shape
    }

    /// Forgets how bytes were read, after a lookup table changed; shapes keep their numbers.
    pub fn forget_bytes(&mut self) {
        self.by_bytes.clear();
    }

    /// How many combinations beyond the limit were met since the last call; one that was forgotten counts again.
    pub fn take_over_limit(&mut self) -> u64 {
        std::mem::take(&mut self.over_limit)
    }

    /// The shapes met since the last call.
    pub fn take_fresh(&mut self) -> Vec<Vec<String>> {
        std::mem::take(&mut self.fresh)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn combinations_over_the_limit_are_other_and_counted_and_known_ones_stay() {
        let values = |n: usize| vec![n.to_string()];
        let stored: Vec<Vec<String>> = (0..MAX_SHAPES).map(values).collect();
        let mut shapes = Shapes::restore(&stored);
        assert_eq!(shapes.intern(b"7", || values(7)), 7);
        assert_eq!((shapes.take_over_limit(), shapes.take_fresh().len()), (0, 0));
        let other = shapes.intern(b"new", || values(MAX_SHAPES));
        assert_eq!(shapes.intern(b"newer", || values(MAX_SHAPES + 1)), other);
        assert_eq!(shapes.intern(b"new", || values(MAX_SHAPES)), other);
        assert_eq!((shapes.take_over_limit(), shapes.take_over_limit()), (2, 0));
        assert_eq!(shapes.take_fresh(), [[OTHER]]);
    }
}
