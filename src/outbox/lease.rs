//! Which deliveries go out now: those that are due, as many as may be sent at once, and no faster than a receiver takes.
//!
//! What waits longest goes first. A lane whose receiver is busy, or that comes too early for its pace, is passed over; it
//! is no delivery that is due, so that whoever asks [`Outbox::next_due`] does not ask in vain until something changes.

use std::collections::BTreeMap;

use super::{Delivery, Lane, Outbox, Slots, State};
use crate::limits::{MAX_SENDING, MAX_SENDING_TO_ONE, RETRY_AFTER_MAX, SLACK_PACE};
use crate::time::{Span, Time};

/// An integration: the receiver's name and the number within it.
type To = (String, usize);

/// When something was last handed out, for each integration that has a pace. Not stored: a restart takes long enough.
#[derive(Clone, Debug, Default)]
pub(super) struct Paces(BTreeMap<To, Time>);

/// How many deliveries are being sent to each integration.
#[derive(Default)]
struct Busy(BTreeMap<To, usize>);

fn to(lane: &Lane) -> To {
    (lane.receiver.clone(), lane.integration)
}

/// The least time between two messages of one integration of a kind.
fn pace(kind: &str) -> Span {
    if kind == "slack" { SLACK_PACE } else { Span::ZERO }
}

/// Whether an instant has come. One further ahead than a wait can be was set by a clock that was ahead and has been
/// corrected since: it is not waited for.
fn has_come(at: Time, now: Time) -> bool {
    at <= now || at > now + RETRY_AFTER_MAX
}

impl Paces {
    /// From when on the pace of a lane's integration lets it be sent to.
    fn from(&self, lane: &Lane) -> Time {
        self.0.get(&to(lane)).map_or(Time::MIN, |last| *last + pace(&lane.kind))
    }

    /// Whether that is now, also where the clock was set back.
    fn allow(&self, lane: &Lane, now: Time) -> bool {
        let from = self.from(lane);
        from <= now || from > now + pace(&lane.kind)
    }

    fn note(&mut self, lane: &Lane, now: Time) {
        if pace(&lane.kind) > Span::ZERO {
            self.0.insert(to(lane), now);
        }
    }
}

impl Busy {
    fn note(&mut self, lane: &Lane) {
        *self.0.entry(to(lane)).or_default() += 1;
    }

    fn allows(&self, lane: &Lane) -> bool {
        self.0.values().sum::<usize>() < MAX_SENDING && self.0.get(&to(lane)).is_none_or(|count| *count < MAX_SENDING_TO_ONE)
    }
}

impl Outbox {
    /// The deliveries that are due, oldest first, as far as there is room; they count as being sent until
    /// [`Outbox::record`].
    pub fn lease(&mut self, now: Time) -> Vec<Delivery> {
        let due = self.waiting().filter(|(_, next_at)| has_come(*next_at, now));
        let mut due: Vec<(Time, u64, Lane)> =
            due.filter_map(|(lane, next_at)| Some((next_at, self.lanes.get(lane)?.queued?, lane.clone()))).collect();
        due.sort_unstable();
        let (mut busy, mut leased) = (self.busy(), Vec::new());
        for (_, id, lane) in due {
            if !busy.allows(&lane) || !self.paces.allow(&lane, now) {
                continue;
            }
            busy.note(&lane);
            if let (Some(slots), Some(row)) = (self.lanes.get_mut(&lane), self.rows.get_mut(&id)) {
                row.state = State::Sending { since: now };
                *slots = Slots { sending: Some(id), queued: None, ..*slots };
                self.paces.note(&lane, now);
                self.changes.changed.insert(id);
                leased.push(row.clone());
            }
        }
        leased.sort_by_key(|delivery| delivery.id);
        leased
    }

    /// When the next delivery is due; none while all that waits stands behind what is being sent.
    pub fn next_due(&self) -> Option<Time> {
        let busy = self.busy();
        let free = self.waiting().filter(|(lane, _)| busy.allows(lane));
        free.map(|(lane, next_at)| next_at.max(self.paces.from(lane))).min()
    }

    /// Lanes whose next delivery waits for its time alone.
    fn waiting(&self) -> impl Iterator<Item = (&Lane, Time)> {
        self.lanes.keys().filter_map(|lane| Some((lane, self.due_at(lane)?)))
    }

    pub(super) fn due_at(&self, lane: &Lane) -> Option<Time> {
        let slots = self.lanes.get(lane).filter(|slots| slots.sending.is_none())?;
        match self.rows.get(&slots.queued?)?.state {
            State::Queued { next_at } => Some(next_at),
            _ => None,
        }
    }

    fn busy(&self) -> Busy {
        let mut busy = Busy::default();
        self.lanes.iter().filter(|(_, slots)| slots.sending.is_some()).for_each(|(lane, _)| busy.note(lane));
        busy
    }
}
