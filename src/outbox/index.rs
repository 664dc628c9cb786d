//! Where each delivery is filed, so that no question looks at all of them: which are due for whom, which are being sent,
//! and which may be forgotten when.
//!
//! Whoever changes a delivery or its lane calls [`Outbox::refile`] for it: a step costs what it changed, however many
//! deliveries there are.

use std::collections::{BTreeMap, BTreeSet};

use super::{Delivery, Lane, Outbox, Slots, State};
use crate::limits::{MAX_ENDED, RETENTION};
use crate::time::{Span, Time};

/// How long a lane's last word about alerts that fire is kept: their resolve may come late, but not all of them come (the
/// group may have been deleted, or its log entry given up), so not for ever.
pub(super) const LAST_WORD_KEPT: Span = Span(6 * RETENTION.0);

/// An integration: the receiver's name and the number within it.
pub(super) type To = (String, usize);

/// To which integration a lane leads.
pub(super) fn to(lane: &Lane) -> To {
    (lane.receiver.clone(), lane.integration)
}

/// All that is filed.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Index {
    places: BTreeMap<u64, Place>,
    /// Deliveries that wait for their time alone, for each integration by when they are due.
    pub due: BTreeMap<To, BTreeSet<(Time, u64)>>,
    /// Deliveries that are being sent.
    pub sending: BTreeMap<u64, To>,
    /// How many wait or are being sent.
    pub open: usize,
    /// Those that have ended, by when they are forgotten.
    pub expiring: BTreeSet<(Time, u64)>,
    /// Those that may be forgotten earlier where there are too many, by when they ended.
    pub history: BTreeSet<(Time, u64)>,
}

/// Where one delivery is filed.
#[derive(Clone, Debug, PartialEq)]
enum Place {
    /// It waits behind what is being sent.
    Behind,
    /// It waits for its time.
    Due(To, Time),
    /// It is being sent.
    Sending(To),
    /// It has ended, but its lane is busy and begins with it.
    Held,
    /// It has ended.
    Ended {
        expires: Time,
        /// When, where it is no last word about something that fires.
        history: Option<Time>,
    },
}

impl Index {
    fn file(&mut self, id: u64, place: Place) {
        match &place {
            Place::Due(to, next_at) => drop(self.due.entry(to.clone()).or_default().insert((*next_at, id))),
            Place::Ended { expires, history } => {
                self.expiring.insert((*expires, id));
                self.history.extend(history.map(|at| (at, id)));
            }
            Place::Sending(to) => drop(self.sending.insert(id, to.clone())),
            Place::Behind | Place::Held => {}
        }
        self.open += usize::from(place.is_open());
        self.places.insert(id, place);
    }

    fn unfile(&mut self, id: u64) {
        let Some(place) = self.places.remove(&id) else { return };
        self.open -= usize::from(place.is_open());
        match place {
            Place::Due(to, next_at) => {
                if let Some(queue) = self.due.get_mut(&to) {
                    queue.remove(&(next_at, id));
                    if queue.is_empty() {
                        self.due.remove(&to);
                    }
                }
            }
            Place::Ended { expires, history } => {
                self.expiring.remove(&(expires, id));
                history.map(|at| self.history.remove(&(at, id)));
            }
            Place::Sending(_) => drop(self.sending.remove(&id)),
            Place::Behind | Place::Held => {}
        }
    }
}

impl Place {
    fn of(row: &Delivery, lane: &Lane, slots: &Slots) -> Place {
        let at = match row.state {
            State::Sending { .. } => return Place::Sending(to(lane)),
            State::Queued { .. } if slots.sending.is_some() => return Place::Behind,
            State::Queued { next_at } => return Place::Due(to(lane), next_at),
            State::Delivered { at } | State::GivenUp { at, .. } | State::Replaced { at, .. } => at,
        };
        if slots.latest != Some(row.id) {
            return Place::Ended { expires: at + RETENTION, history: Some(at) };
        }
        if row.told_after().next().is_some() {
            return Place::Ended { expires: at + LAST_WORD_KEPT, history: None };
        }
        if slots.sending.or(slots.queued).is_some() {
            return Place::Held;
        }
        Place::Ended { expires: at + RETENTION, history: Some(at) }
    }

    fn is_open(&self) -> bool {
        matches!(self, Place::Behind | Place::Due(..) | Place::Sending(_))
    }
}

impl Outbox {
    /// Files the deliveries of a lane anew: those that matter now, and those that did `before`.
    pub(super) fn refile(&mut self, lane: &Lane, before: Slots) {
        let now = self.lanes.get(lane).copied().unwrap_or_default();
        let ids = [before.sending, before.queued, before.latest, now.sending, now.queued, now.latest];
        for id in ids.into_iter().flatten().collect::<BTreeSet<_>>() {
            self.index.unfile(id);
            if let Some(row) = self.rows.get(&id) {
                self.index.file(id, Place::of(row, lane, &now));
            }
        }
    }

    /// All of it anew.
    pub(super) fn filed(&self) -> Index {
        let mut index = Index::default();
        for (id, row) in &self.rows {
            let lane = row.lane();
            let slots = self.lanes.get(&lane).copied().unwrap_or_default();
            index.file(*id, Place::of(row, &lane, &slots));
        }
        index
    }

    /// Forgets what ended longer than [`RETENTION`] ago; the last word about alerts that still fire stays six times as
    /// long. Of all the rest no more than [`MAX_ENDED`] are kept.
    pub fn prune(&mut self, now: Time) {
        self.prune_to(MAX_ENDED, now);
    }

    pub(super) fn prune_to(&mut self, max_ended: usize, now: Time) {
        while let Some((_, id)) = self.index.expiring.first().copied().filter(|(at, _)| *at <= now) {
            self.forget(id);
        }
        while self.index.history.len() > max_ended
            && let Some((_, id)) = self.index.history.first().copied()
        {
            self.forget(id);
        }
    }

    fn forget(&mut self, id: u64) {
        self.index.unfile(id);
        let Some(row) = self.rows.remove(&id) else { return };
        let lane = row.lane();
        if self.lanes.get(&lane).is_some_and(|slots| slots.latest == Some(id)) {
            self.lanes.remove(&lane);
        }
        self.changes.changed.remove(&id);
        self.changes.removed.insert(id);
    }
}
