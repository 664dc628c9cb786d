//! Deliveries between the decision to notify and the receiver's word that it has it.
//!
//! A state machine without I/O: the store writes what [`Outbox::take_changes`] names in the transaction of the mutation,
//! the engine sends what [`Outbox::lease`] gives and says with [`Outbox::record`] what came of it.
//!
//! A *lane* is one integration of one receiver and one group of alerts. Guarantees, for each lane:
//!
//! - Deliveries go in order, one at a time. A newer notification replaces an older one that waits, and keeps its
//!   schedule of retries: a receiver that fails is not hit faster because the alerts change.
//! - At least once: what was being sent when the program stopped is sent again. Nothing is lost in silence: a delivery
//!   ends as delivered, given up or replaced, and says so until [`crate::limits::RETENTION`] has passed.
//! - Whoever may have been told that an alert fires is told that it is over: each delivery carries which alerts the
//!   receiver may take for firing ([`Before::told`]), and a resolve that was not delivered moves into the next message.
//!   Conversely an alert that nobody can have heard of is not resolved: its firing and its resolve go together.

mod again;
mod index;
mod lease;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::alert::{self, Alert};
use crate::labels::Labels;
use crate::message;
use crate::notify::{Integration, Outcome, retry};
use crate::route::Notification;
use crate::time::{Span, Time};
pub use again::NotAgain;
use index::Index;
use lease::Paces;

/// Attempts that a delivery keeps: the first ones tell how it began, the last ones how it stands.
pub const FIRST_ATTEMPTS: usize = 5;
const LAST_ATTEMPTS: usize = 20;

/// To whom: an integration of a receiver, as far as deliveries need to know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct To {
    /// The receiver's name.
    pub receiver: String,
    /// The integration's number within the receiver.
    pub integration: usize,
    /// The name of its kind.
    pub kind: String,
    /// Whether it is told what is over.
    pub send_resolved: bool,
}

impl From<&Integration> for To {
    fn from(integration: &Integration) -> To {
        To {
            receiver: integration.receiver.clone(),
            integration: integration.index,
            kind: integration.kind.to_owned(),
            send_resolved: integration.send_resolved,
        }
    }
}

/// What is kept in order: the key of the notification log too.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Lane {
    /// The receiver's name.
    pub receiver: String,
    /// The integration's number within the receiver.
    pub integration: usize,
    /// The name of its kind: an integration that a reload made another one begins anew.
    pub kind: String,
    /// The group of alerts.
    pub group_key: String,
}

/// One notification on its way to one integration.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Delivery {
    /// Later ones have higher ids.
    pub id: u64,
    /// The receiver's name.
    pub receiver: String,
    /// The integration's number within the receiver.
    pub integration: usize,
    /// The name of its kind.
    pub kind: String,
    /// Whether the integration is told what is over.
    pub send_resolved: bool,
    /// What is told; resolves that an earlier delivery still had to tell have been added.
    pub notification: Notification,
    /// When it was queued.
    pub created: Time,
    /// Its attempts: the first 5 and the last 20.
    pub attempts: Vec<Attempt>,
    /// How many attempts there were.
    pub attempts_total: u32,
    /// What it took over from those before it in the lane.
    pub before: Before,
    /// Where the receiver keeps the message about this group, for those whose messages can be changed.
    pub handle: Option<String>,
    /// Where it stands.
    pub state: State,
}

/// One attempt to deliver.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// When it began.
    pub at: Time,
    /// What came of it; free of secrets.
    pub outcome: String,
}

/// What a delivery takes over from those before it in the lane.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Before {
    /// Failed attempts of those that it replaced.
    pub attempts: u32,
    /// When the first of those began.
    pub first_attempt: Option<Time>,
    /// Fingerprints of the alerts that the receiver may take for firing before this delivery.
    pub told: BTreeSet<String>,
}

/// Where a delivery stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum State {
    /// It waits.
    Queued {
        /// When it is due.
        next_at: Time,
    },
    /// It was handed out.
    Sending {
        /// When.
        since: Time,
    },
    /// The receiver has it.
    Delivered {
        /// Since when.
        at: Time,
    },
    /// The receiver refused it for good, or failed for too long.
    GivenUp {
        /// When.
        at: Time,
        /// The last real error.
        reason: String,
    },
    /// It was not sent, or not again, because there is newer to tell, or nothing any more.
    Replaced {
        /// The delivery that tells it instead; none where nothing is left to be told.
        by: Option<u64>,
        /// When.
        at: Time,
        /// Why.
        reason: String,
    },
}

/// What followed from the outcome of an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Recorded {
    /// It is done.
    Delivered,
    /// The lane goes on then, with this delivery or with a newer one that replaced it.
    RetryAt(Time),
    /// It will not be tried again.
    GivenUp {
        /// Its entry in the notification log must go, so that the next flush tries again...
        lane: Lane,
        /// ...unless a newer delivery waits: then the entry speaks of that one.
        newer_waits: bool,
    },
}

/// Which deliveries the store has to write and which to delete.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// New or changed ones.
    pub changed: BTreeSet<u64>,
    /// Forgotten ones.
    pub removed: BTreeSet<u64>,
}

/// All deliveries that are known.
#[derive(Clone, Debug, Default)]
pub struct Outbox {
    rows: BTreeMap<u64, Delivery>,
    lanes: BTreeMap<Lane, Slots>,
    next_id: u64,
    changes: Changes,
    index: Index,
    paces: Paces,
}

/// The deliveries of a lane that matter: at most one is being sent, at most one waits; the latest knows what was told.
#[derive(Clone, Copy, Debug, Default)]
struct Slots {
    sending: Option<u64>,
    queued: Option<u64>,
    latest: Option<u64>,
}

impl Outbox {
    /// From the rows of the store; call [`Outbox::recover`] before anything is leased.
    pub fn new(rows: impl IntoIterator<Item = Delivery>) -> Outbox {
        let rows: BTreeMap<u64, Delivery> = rows.into_iter().map(|row| (row.id, row)).collect();
        let mut lanes: BTreeMap<Lane, Slots> = BTreeMap::new();
        for row in rows.values() {
            let slots = lanes.entry(row.lane()).or_default();
            slots.latest = Some(row.id);
            match row.state {
                State::Queued { .. } => slots.queued = Some(row.id),
                State::Sending { .. } => slots.sending = Some(row.id),
                _ => {}
            }
        }
        let next_id = rows.keys().next_back().map_or(0, |last| last + 1);
        let outbox = Outbox { rows, lanes, next_id, ..Outbox::default() };
        Outbox { index: outbox.filed(), ..outbox }
    }

    /// After a restart: what was being sent is queued again, as it may or may not have arrived.
    pub fn recover(&mut self, now: Time) {
        let interrupted: Vec<u64> = self.index.sending.keys().copied().collect();
        for id in interrupted {
            if let Some(row) = self.rows.get_mut(&id)
                && let State::Sending { since } = row.state
            {
                row.push_attempt(Attempt { at: since, outcome: "interrupted: modelwatch stopped".to_owned() });
                row.state = State::Queued { next_at: now };
                self.settle(id, now);
            }
        }
    }

    /// Queues a notification behind what is being sent in its lane; what waits there is replaced. None where nothing is
    /// left to be told: then what waited is dropped too.
    pub fn enqueue(&mut self, to: &To, mut notification: Notification, now: Time) -> Option<u64> {
        if notification.alerts.is_empty() {
            return None;
        }
        if !to.send_resolved {
            notification.alerts.retain(|alert| alert.state == alert::State::Firing);
        }
        let mut newer = Delivery::new(self.next_id, to, notification, now);
        let lane = newer.lane();
        let slots = self.lanes.get(&lane).copied().unwrap_or_default();
        if let Some(older) = slots.latest.and_then(|id| self.rows.get(&id)) {
            newer.follow(older);
        }
        let told = !newer.notification.alerts.is_empty();
        let id = told.then_some(newer.id);
        let mut after = slots;
        if let Some(older) = slots.queued.and_then(|id| self.rows.get_mut(&id)) {
            let reason = if told { "there was newer to tell" } else { "it was over before it was sent" };
            older.state = State::Replaced { by: id, at: now, reason: reason.to_owned() };
            self.changes.changed.insert(older.id);
            after.queued = None;
        }
        if let Some(id) = id {
            self.next_id += 1;
            self.rows.insert(id, newer);
            self.changes.changed.insert(id);
            after = Slots { queued: Some(id), latest: Some(id), ..after };
        }
        if after.latest.is_some() {
            self.lanes.insert(lane.clone(), after);
            self.refile(&lane, slots);
        }
        id
    }

    /// Notes what came of an attempt, and the handle that it left, if any; none where that delivery was not being sent.
    /// `jitter` is random in [0, 1).
    pub fn record(&mut self, id: u64, outcome: &Outcome, handle: Option<String>, now: Time, jitter: f64) -> Option<Recorded> {
        let row = self.rows.get_mut(&id)?;
        let State::Sending { since } = row.state else { return None };
        row.handle = handle.or(row.handle.take());
        let told = match outcome {
            Outcome::Delivered => "delivered",
            Outcome::Retry { reason, .. } | Outcome::Rejected { reason } => reason,
        };
        row.push_attempt(Attempt { at: since, outcome: told.to_owned() });
        row.state = match outcome {
            Outcome::Delivered => State::Delivered { at: now },
            Outcome::Rejected { reason } => State::GivenUp { at: now, reason: reason.clone() },
            Outcome::Retry { reason, after } => row.after_failure(reason, *after, now, jitter),
        };
        let (lane, state) = (row.lane(), row.state.clone());
        self.settle(id, now);
        let next_at = self.due_at(&lane);
        Some(match state {
            State::Delivered { .. } => Recorded::Delivered,
            State::Queued { next_at: own } => Recorded::RetryAt(next_at.unwrap_or(own)),
            _ => Recorded::GivenUp { lane, newer_waits: next_at.is_some() },
        })
    }

    /// What has changed since this was last asked; write it in the transaction of the mutation.
    pub fn take_changes(&mut self) -> Changes {
        std::mem::take(&mut self.changes)
    }

    /// One delivery.
    pub fn get(&self, id: u64) -> Option<&Delivery> {
        self.rows.get(&id)
    }

    /// All deliveries, oldest first.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &Delivery> {
        self.rows.values()
    }

    /// How many wait or are being sent.
    pub fn open(&self) -> usize {
        self.index.open
    }

    /// Fingerprints of the alerts that the receiver may take for firing: whom the resolve guarantee holds for, also where
    /// the entry of the notification log is gone.
    pub fn may_be_told(&self, lane: &Lane) -> BTreeSet<String> {
        let latest = self.lanes.get(lane).and_then(|slots| self.rows.get(&slots.latest?));
        latest.map(|row| row.told_after().collect()).unwrap_or_default()
    }

    /// A delivery is no longer being sent: it waits again or has ended, and the one behind it follows.
    fn settle(&mut self, id: u64, now: Time) {
        self.changes.changed.insert(id);
        let Some(mut row) = self.rows.remove(&id) else { return };
        let lane = row.lane();
        let before = self.lanes.get(&lane).copied().unwrap_or_default();
        if let Some(slots) = self.lanes.get_mut(&lane) {
            slots.sending = None;
            let waits_again = matches!(row.state, State::Queued { .. });
            if let Some(newer) = slots.queued.and_then(|newer| self.rows.get_mut(&newer)) {
                newer.follow(&row);
                self.changes.changed.insert(newer.id);
                if waits_again {
                    let reason = "there was newer to tell when it failed".to_owned();
                    row.state = State::Replaced { by: Some(newer.id), at: now, reason };
                }
            } else if waits_again {
                slots.queued = Some(id);
            }
        }
        self.rows.insert(id, row);
        self.refile(&lane, before);
    }
}

impl Delivery {
    fn new(id: u64, to: &To, notification: Notification, now: Time) -> Delivery {
        Delivery {
            id,
            receiver: to.receiver.clone(),
            integration: to.integration,
            kind: to.kind.clone(),
            send_resolved: to.send_resolved,
            notification,
            created: now,
            attempts: Vec::new(),
            attempts_total: 0,
            before: Before::default(),
            handle: None,
            state: State::Queued { next_at: now },
        }
    }

    /// Where it stands in order.
    pub fn lane(&self) -> Lane {
        Lane {
            receiver: self.receiver.clone(),
            integration: self.integration,
            kind: self.kind.clone(),
            group_key: self.notification.group_key.clone(),
        }
    }

    /// When it was delivered, given up or replaced.
    pub fn ended_at(&self) -> Option<Time> {
        match self.state {
            State::Queued { .. } | State::Sending { .. } => None,
            State::Delivered { at } | State::GivenUp { at, .. } | State::Replaced { at, .. } => Some(at),
        }
    }

    /// Takes over from the delivery before it: what the receiver may believe, the schedule of one that it replaces, and
    /// the resolves that one did not bring.
    fn follow(&mut self, older: &Delivery) {
        let told: BTreeSet<String> = older.told_after().collect();
        if !older.may_have_arrived() {
            let unheard: BTreeSet<String> =
                message::firing(&older.notification).map(fingerprint).filter(|alert| !told.contains(alert)).collect();
            self.notification
                .alerts
                .retain(|alert| alert.state == alert::State::Firing || !unheard.contains(&fingerprint(alert)));
        }
        if self.send_resolved && !matches!(older.state, State::Delivered { .. } | State::Sending { .. }) {
            let present: BTreeSet<&Labels> = self.notification.alerts.iter().map(|alert| &alert.labels).collect();
            let missing: Vec<Alert> = message::resolved(&older.notification)
                .filter(|alert| told.contains(&fingerprint(alert)) && !present.contains(&alert.labels))
                .cloned()
                .collect();
            // Else the order stays as it was decided: Alertmanager's is another.
            if !missing.is_empty() {
                self.notification.alerts.extend(missing);
                let order = |alert: &Alert| (alert.state != alert::State::Firing, alert.labels.clone());
                self.notification.alerts.sort_by_cached_key(order);
            }
        }
        self.handle = older.handle.clone().filter(|_| self.continues(older));
        self.before.told = told;
        if let (State::Queued { next_at: theirs }, State::Queued { next_at }) = (&older.state, &mut self.state) {
            *next_at = (*next_at).max(*theirs);
            self.before.attempts = older.tries();
            self.before.first_attempt = older.first_attempt();
        }
    }

    /// Whether it tells of the same incident as the one before it: then the message about that is changed. What has ended
    /// as told is left alone; where ends are not told, an incident goes on as long as one of its alerts does.
    fn continues(&self, older: &Delivery) -> bool {
        let delivered = matches!(older.state, State::Delivered { .. });
        if self.send_resolved {
            return !delivered || message::is_firing(&older.notification);
        }
        let same = |a: &Alert, b: &Alert| a.labels == b.labels && a.fired_at == b.fired_at;
        message::firing(&self.notification).any(|alert| message::firing(&older.notification).any(|other| same(alert, other)))
    }

    /// The alerts that the receiver may take for firing after this delivery, as far as it has got.
    fn told_after(&self) -> impl Iterator<Item = String> {
        let mut told = if self.send_resolved { self.before.told.clone() } else { BTreeSet::new() };
        if self.send_resolved && self.may_have_arrived() {
            told.extend(message::firing(&self.notification).map(fingerprint));
        }
        if matches!(self.state, State::Delivered { .. }) {
            for alert in message::resolved(&self.notification) {
                told.remove(&fingerprint(alert));
            }
        }
        told.into_iter()
    }

    fn may_have_arrived(&self) -> bool {
        self.attempts_total > 0 || matches!(self.state, State::Sending { .. })
    }

    /// Failed attempts by which the wait until the next one grows.
    fn tries(&self) -> u32 {
        self.before.attempts.saturating_add(self.attempts_total)
    }

    fn first_attempt(&self) -> Option<Time> {
        self.before.first_attempt.or_else(|| self.attempts.first().map(|attempt| attempt.at))
    }

    fn push_attempt(&mut self, attempt: Attempt) {
        if self.attempts.len() == FIRST_ATTEMPTS + LAST_ATTEMPTS {
            self.attempts.remove(FIRST_ATTEMPTS);
        }
        self.attempts.push(attempt);
        self.attempts_total = self.attempts_total.saturating_add(1);
    }

    fn after_failure(&self, reason: &str, after: Option<Span>, now: Time, jitter: f64) -> State {
        let first = self.first_attempt().unwrap_or(now);
        match retry::next_attempt(self.tries(), first, now, after, jitter) {
            Some(next_at) => State::Queued { next_at },
            None => {
                let spent = message::whole_seconds(now - first);
                State::GivenUp { at: now, reason: format!("given up after {} attempts in {spent}: {reason}", self.tries()) }
            }
        }
    }
}

fn fingerprint(alert: &Alert) -> String {
    alert.labels.fingerprint()
}

#[cfg(test)]
mod tests;
