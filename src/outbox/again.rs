//! A delivery that was given up goes again because somebody asks for it: `modelwatch deliveries --retry ID`.
//!
//! It goes as a new delivery with a schedule of its own, behind what it was: so the attempts of the one that was given up
//! stay to be seen, and its day of patience begins anew. Nothing is told out of order: where the lane has anything newer,
//! that one has taken over what was to be told.

use std::fmt;

use super::{Delivery, Outbox, State, To};
use crate::time::Time;

/// Why a delivery does not go again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotAgain {
    /// There is none of that number; it may have been forgotten.
    Unknown,
    /// It was not given up; how it stands.
    NotGivenUp(&'static str),
    /// That delivery tells the same group something newer.
    Newer(u64),
}

impl fmt::Display for NotAgain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NotAgain::Unknown => f.write_str("there is no delivery of that number; one that ended is kept for five days"),
            NotAgain::NotGivenUp(state) => write!(f, "only what was given up goes again, and this one {state}"),
            NotAgain::Newer(id) => write!(f, "there is newer to tell about the group: see delivery {id}"),
        }
    }
}

impl Outbox {
    /// Queues what was given up once more, as a new delivery, whose number it gives.
    ///
    /// # Errors
    /// It is not there, was not given up, or its lane has a newer one.
    pub fn retry(&mut self, id: u64, now: Time) -> Result<u64, NotAgain> {
        let older = self.rows.get(&id).ok_or(NotAgain::Unknown)?;
        let lane = older.lane();
        let slots = self.lanes.get(&lane).copied().unwrap_or_default();
        if let Some(newer) = slots.latest.filter(|latest| *latest != id) {
            return Err(NotAgain::Newer(newer));
        }
        match older.state {
            State::GivenUp { .. } => {}
            State::Queued { .. } => return Err(NotAgain::NotGivenUp("waits to be sent")),
            State::Sending { .. } => return Err(NotAgain::NotGivenUp("is being sent")),
            State::Delivered { .. } => return Err(NotAgain::NotGivenUp("was delivered")),
            State::Replaced { .. } => return Err(NotAgain::NotGivenUp("had nothing left to tell")),
        }
        let to = To {
            receiver: older.receiver.clone(),
            integration: older.integration,
            kind: older.kind.clone(),
            send_resolved: older.send_resolved,
        };
        let mut newer = Delivery::new(self.next_id, &to, older.notification.clone(), now);
        newer.follow(older);
        let by = newer.id;
        self.next_id += 1;
        self.rows.insert(by, newer);
        if let Some(older) = self.rows.get_mut(&id) {
            older.state = State::Replaced { by: Some(by), at: now, reason: "it was to be tried again by hand".to_owned() };
        }
        self.changes.changed.extend([id, by]);
        self.lanes.insert(lane.clone(), super::Slots { queued: Some(by), latest: Some(by), ..slots });
        self.refile(&lane, slots);
        Ok(by)
    }
}
