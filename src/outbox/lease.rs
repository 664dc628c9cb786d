//! Which deliveries go out now: those that are due, as many as may be sent at once, and no faster than a receiver takes.
//!
//! What waits longest goes first. An integration that is busy, or that comes too early for its pace, is passed over; its
//! deliveries are none that are due, so that whoever asks [`Outbox::next_due`] does not ask in vain until something
//! changes. A question looks at one delivery of each integration, however many wait.

use std::collections::{BTreeMap, BTreeSet};

use super::index::To;
use super::{Delivery, Lane, Outbox, Slots, State};
use crate::limits::{MAX_SENDING, MAX_SENDING_TO_ONE, RETRY_AFTER_MAX};
use crate::notify::Pace;
use crate::time::{Span, Time};

/// How fast each integration may be told, and when something was last handed out under each key. Not stored: a restart
/// takes long enough.
#[derive(Clone, Debug, Default)]
pub(super) struct Paces {
    paces: BTreeMap<To, Pace>,
    last: BTreeMap<String, Time>,
}

/// Whether an instant has come. One further ahead than a wait can be was set by a clock that was ahead and has been
/// corrected since: it is not waited for.
fn has_come(at: Time, now: Time) -> bool {
    at <= now || at > now + RETRY_AFTER_MAX
}

/// The next delivery of an integration that is due: the one that waits longest, or one that a wrong clock put off.
fn next(queue: &BTreeSet<(Time, u64)>, now: Time) -> Option<(Time, u64)> {
    let first = queue.first().copied().filter(|(at, _)| has_come(*at, now));
    first.or_else(|| queue.range((now + RETRY_AFTER_MAX + Span(1), 0)..).next().copied())
}

impl Paces {
    /// From when on an integration may be sent to.
    fn from(&self, to: &To) -> Time {
        let pace = self.paces.get(to).and_then(|pace| Some((pace, self.last.get(&pace.key)?)));
        pace.map_or(Time::MIN, |(pace, last)| *last + pace.every)
    }

    /// Whether that is now, also where the clock was set back.
    fn allow(&self, to: &To, now: Time) -> bool {
        let every = self.paces.get(to).map_or(Span::ZERO, |pace| pace.every);
        let from = self.from(to);
        from <= now || from > now + every
    }

    fn note(&mut self, to: &To, now: Time) {
        if let Some(pace) = self.paces.get(to) {
            self.last.insert(pace.key.clone(), now);
        }
    }
}

impl Outbox {
    /// How fast integrations may be told, each by its receiver and its number there: those of a configuration, of which the
    /// ones with equal keys share their pace.
    pub fn set_paces(&mut self, paces: impl IntoIterator<Item = (String, usize, Pace)>) {
        self.paces.paces = paces.into_iter().map(|(receiver, index, pace)| ((receiver, index), pace)).collect();
        let known: BTreeSet<&str> = self.paces.paces.values().map(|pace| pace.key.as_str()).collect();
        self.paces.last.retain(|key, _| known.contains(key.as_str()));
    }

    /// The deliveries that are due, oldest first, as far as there is room; they count as being sent until
    /// [`Outbox::record`].
    pub fn lease(&mut self, now: Time) -> Vec<Delivery> {
        let mut leased = Vec::new();
        while let Some(id) = self.next_to_send(now) {
            let Some(row) = self.rows.get_mut(&id) else { break };
            row.state = State::Sending { since: now };
            let lane = row.lane();
            leased.push(row.clone());
            let before = self.lanes.get(&lane).copied().unwrap_or_default();
            self.lanes.insert(lane.clone(), Slots { sending: Some(id), queued: None, ..before });
            self.refile(&lane, before);
            self.paces.note(&super::index::to(&lane), now);
            self.changes.changed.insert(id);
        }
        leased.sort_by_key(|delivery| delivery.id);
        leased
    }

    fn next_to_send(&self, now: Time) -> Option<u64> {
        let free = self.index.due.iter().filter(|(to, _)| self.has_room(to) && self.paces.allow(to, now));
        free.filter_map(|(_, queue)| next(queue, now)).min().map(|(_, id)| id)
    }

    /// When the next delivery is due; none while all that waits stands behind what is being sent.
    pub fn next_due(&self) -> Option<Time> {
        let free = self.index.due.iter().filter(|(to, _)| self.has_room(to));
        free.filter_map(|(to, queue)| Some(queue.first()?.0.max(self.paces.from(to)))).min()
    }

    /// Whether one more may be sent to an integration.
    fn has_room(&self, to: &To) -> bool {
        let sending = &self.index.sending;
        sending.len() < MAX_SENDING && sending.values().filter(|other| *other == to).count() < MAX_SENDING_TO_ONE
    }

    /// When the next delivery of a lane is due; none while one is being sent.
    pub(super) fn due_at(&self, lane: &Lane) -> Option<Time> {
        let slots = self.lanes.get(lane).filter(|slots| slots.sending.is_none())?;
        match self.rows.get(&slots.queued?)?.state {
            State::Queued { next_at } => Some(next_at),
            _ => None,
        }
    }
}
