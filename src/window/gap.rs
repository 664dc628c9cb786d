//! What a stream that is new still lacks: the history of sources that were read before there was a rule for it.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

/// The sources whose history has still to be read, and those for which that has begun.
///
/// Filling may end early, with the connection or the process. What it brought until then is somewhere among the buckets,
/// so that the next attempt begins with none, and with the history of all sources.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Gap {
    missing: BTreeSet<String>,
    begun: BTreeSet<String>,
}

impl Gap {
    /// The history of these has to be read.
    pub fn of(missing: BTreeSet<String>) -> Gap {
        Gap { missing, begun: BTreeSet::new() }
    }

    /// Whether nothing is missing.
    pub fn is_closed(&self) -> bool {
        self.missing.is_empty()
    }

    /// Whether the history of a source is missing.
    pub fn lacks(&self, source: &str) -> bool {
        self.missing.contains(source)
    }

    /// Whether an event is to be counted: one of history while that is read, any other one when it is there.
    pub fn takes(&self, source: &str, fill: bool) -> bool {
        if fill { self.lacks(source) && self.begun.contains(source) } else { !self.lacks(source) }
    }

    /// The history of a source is read from its beginning; the answer is whether all that was counted must go first.
    #[must_use]
    pub fn begin(&mut self, source: &str, all: &BTreeSet<String>) -> bool {
        if !self.lacks(source) {
            return false;
        }
        let again = self.begun.contains(source);
        if again {
            *self = Gap::of(all.clone());
        }
        self.begun.insert(source.to_owned());
        again
    }

    /// The history of a source was read to its end.
    pub fn end(&mut self, source: &str) {
        if self.begun.remove(source) {
            self.missing.remove(source);
        }
    }

    /// Sources that there are no more lack nothing.
    pub fn keep(&mut self, sources: &BTreeSet<String>) {
        self.missing.retain(|source| sources.contains(source));
        self.begun.retain(|source| sources.contains(source));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_begun_twice_begins_with_nothing() {
        let all: BTreeSet<String> = ["a", "b", "c"].map(str::to_owned).into();
        let mut gap = Gap::of(["a", "b"].map(str::to_owned).into());
        assert!(!gap.begin("c", &all) && !gap.begin("a", &all) && !gap.begin("b", &all));
        assert_eq!(
            ["a", "b", "c"].map(|source| (gap.takes(source, true), gap.takes(source, false))),
            [(true, false), (true, false), (false, true)]
        );
        gap.end("a");
        assert!(gap.begin("b", &all), "its first attempt ended early");
        // The history of a is missing again, and what still comes of its first reading is not taken.
        assert!(gap.lacks("a") && gap.lacks("c") && !gap.takes("a", true));
        assert!(!gap.begin("a", &all) && !gap.begin("c", &all));
        all.iter().for_each(|source| gap.end(source));
        assert!(gap.is_closed());
    }

    #[test]
    fn a_reading_that_was_overtaken_does_not_count() {
        let all: BTreeSet<String> = ["a", "b"].map(str::to_owned).into();
        let mut gap = Gap::of(all.clone());
        assert!(!gap.begin("a", &all) && !gap.begin("b", &all));
        assert!(gap.begin("b", &all));
        gap.end("a");
        assert!(gap.lacks("a"));
    }
}
