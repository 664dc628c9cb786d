//! Where the reader of a table stands: what it has counted and what it still has to.

use std::collections::BTreeMap;

use rustc_hash::FxHashMap;
use serde::{Deserialize, Serialize};

use crate::event::Key;
use crate::limits::{ABANDONED_KEPT, MAX_OPEN};
use crate::time::{Span, Time};

/// Hours whose rows are counted for the repair pass, at most: a week and a day.
const HOURS_KEPT: i64 = 8 * 24;

const HOUR: Span = Span::secs(3_600);

fn hour(time: Time) -> i64 {
    time.0.div_euclid(HOUR.0)
}

/// A row that was not finished when it was last seen.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Open {
    /// Its time.
    pub time: Time,
    /// Its id as text, for the look-up.
    pub id: String,
    /// It was counted as abandoned; what it still brings are tokens and cost.
    pub abandoned: bool,
}

/// How far a table was read.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Position {
    /// Rows before it are settled: counted, or left to the repair pass. None before the first read.
    pub floor: Option<Time>,
    /// The highest min(newest row, the database's now) of any poll; it never goes back, also when a server does.
    pub frontier: Time,
    /// Time of the newest row that was seen.
    pub newest: Time,
    /// Keys that were counted, with their times, from the floor on.
    pub seen: FxHashMap<Key, Time>,
    /// Rows that are not finished.
    pub open: BTreeMap<Key, Open>,
    /// Finished rows that were counted, by the hour since the epoch in which they happened; for the repair pass.
    pub hours: BTreeMap<i64, u64>,
    /// From when on the keys of all rows that were counted are kept, and `hours` is whole.
    pub known_from: Time,
    /// The last repair pass.
    pub repaired_at: Time,
    /// Seen keys are dropped when the floor has passed this.
    prune_at: Time,
}

/// How a batch moves a position.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Moved {
    /// The new floor.
    pub floor: Option<Time>,
    /// The new frontier.
    pub frontier: Time,
    /// The newest row.
    pub newest: Time,
    /// Keys that were counted by this batch.
    pub counted: Vec<(Key, Time)>,
    /// Rows that are open from now on, or changed.
    pub opened: Vec<(Key, Open)>,
    /// Rows that are open no more.
    pub closed: Vec<Key>,
    /// Set where keys of older rows were not kept.
    pub known_from: Option<Time>,
    /// Keys that were counted by earlier batches and are looked out for again, where the clock went back.
    pub recalled: Vec<Key>,
    /// Set where this batch is a repair pass.
    pub repaired_at: Option<Time>,
}

impl Moved {
    /// Whether there is anything that must be stored.
    pub fn is_empty(&self, position: &Position) -> bool {
        self.counted.is_empty()
            && self.opened.is_empty()
            && self.closed.is_empty()
            && self.repaired_at.is_none()
            && self.recalled.is_empty()
            && self.floor == position.floor
            && self.frontier == position.frontier
            && self.newest == position.newest
    }
}

impl Position {
    /// Goes on to where a batch leads; `counted` keys below the new floor need not be remembered.
    pub fn apply(&mut self, moved: &Moved) {
        self.floor = moved.floor;
        self.frontier = moved.frontier;
        self.newest = moved.newest;
        let floor = moved.floor.unwrap_or(Time::MIN);
        self.seen.extend(moved.counted.iter().filter(|(_, time)| *time >= floor).copied());
        for (_, time) in &moved.counted {
            *self.hours.entry(hour(*time)).or_default() += 1;
        }
        for (key, open) in &moved.opened {
            // Counted, but not finished.
            if let Some(rows) = self.hours.get_mut(&hour(open.time)).filter(|_| open.abandoned) {
                *rows = rows.saturating_sub(1);
            }
            self.open.insert(*key, open.clone());
        }
        for key in &moved.closed {
            if let Some(open) = self.open.remove(key).filter(|open| open.abandoned) {
                *self.hours.entry(hour(open.time)).or_default() += 1;
            }
        }
        // They are forgotten when the floor is where it was before.
        let until = self.prune_at.max(floor);
        self.seen.extend(moved.recalled.iter().map(|key| (*key, until)));
        self.prune_at = self.prune_at.min(floor + Span::secs(60));
        self.known_from = self.known_from.max(moved.known_from.unwrap_or(self.known_from));
        if let Some(at) = moved.repaired_at {
            self.repaired_at = at;
        }
        // Not at each poll: dropping costs a look at every key.
        if floor >= self.prune_at {
            self.seen.retain(|_, time| *time >= floor);
            self.hours.retain(|at, _| *at >= hour(self.frontier) - HOURS_KEPT);
            self.prune_at = floor + Span::secs(60);
        }
    }

    /// Whether the clock is so far behind what was read that rows of now would pass for settled.
    pub fn is_ahead_of(&self, now: Time, lateness: Span) -> bool {
        self.floor.is_some() && self.frontier - now > Span(lateness.0 / 2)
    }

    /// The first whole hour of which every counted row is known.
    pub fn hours_from(&self) -> Time {
        self.known_from.max(self.frontier - Span(HOURS_KEPT * HOUR.0)).ceil(HOUR)
    }

    /// Abandoned rows that are not looked up any more: they are old, or there are too many of them.
    pub fn expired(&self, now: Time, abandon_after: Span) -> Vec<Key> {
        let mut abandoned: Vec<(Time, Key)> =
            self.open.iter().filter(|(_, open)| open.abandoned).map(|(key, open)| (open.time, *key)).collect();
        abandoned.sort_unstable();
        let oldest = now - abandon_after - ABANDONED_KEPT;
        let over = abandoned.len().saturating_sub(MAX_OPEN);
        abandoned.into_iter().enumerate().filter(|(i, (time, _))| *i < over || *time < oldest).map(|(_, (_, key))| key).collect()
    }
}
