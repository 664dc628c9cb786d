//! When each case is looked at next, in order: the next one is known without asking all of them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::case::GroupId;
use crate::time::Time;

/// Due times by case.
#[derive(Clone, Debug, Default)]
pub(super) struct Schedule {
    by_due: BTreeSet<(Time, Arc<GroupId>)>,
    by_set: BTreeSet<(Time, Arc<GroupId>)>,
    of: BTreeMap<Arc<GroupId>, Due>,
}

/// When something is to be looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Due {
    /// When.
    pub at: Time,
    /// When that was decided.
    pub set: Time,
}

impl Schedule {
    /// Says when a case is due; none: never.
    pub fn put(&mut self, id: &Arc<GroupId>, due: Option<Due>) {
        let before = match due {
            Some(due) => self.of.insert(id.clone(), due),
            None => self.of.remove(id),
        };
        if before == due {
            return;
        }
        if let Some(Due { at, set }) = before {
            self.by_due.remove(&(at, id.clone()));
            self.by_set.remove(&(set, id.clone()));
        }
        if let Some(Due { at, set }) = due {
            self.by_due.insert((at, id.clone()));
            self.by_set.insert((set, id.clone()));
        }
    }

    /// What is to be looked at now, so many at most. What a clock has set that was ahead and has been corrected since is not
    /// waited for.
    pub fn come(&self, now: Time, most: usize) -> BTreeSet<Arc<GroupId>> {
        let due = self.by_due.iter().take_while(|(at, _)| *at <= now);
        let ahead = self.by_set.iter().rev().take_while(|(set, _)| *set > now);
        due.chain(ahead).take(most).map(|(_, id)| id.clone()).collect()
    }

    /// Whether there is anything of that.
    pub fn has_come(&self, now: Time) -> bool {
        self.by_due.first().is_some_and(|(at, _)| *at <= now) || self.by_set.last().is_some_and(|(set, _)| *set > now)
    }

    /// When the next one is due; it may be past.
    pub fn next(&self) -> Option<Time> {
        self.by_due.first().map(|(at, _)| *at)
    }

    /// Nothing is due any more.
    pub fn clear(&mut self) {
        *self = Schedule::default();
    }
}
