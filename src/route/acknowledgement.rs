//! Acknowledgement: somebody takes care of what fires, so that it is neither repeated nor escalated.

use std::collections::BTreeSet;

use super::case::{Case, GroupId};
use super::{Acknowledgement, Selection};
use crate::labels::Labels;
use crate::time::Time;

impl Selection {
    /// Which alerts of a group are meant, of those that fire.
    pub(super) fn of<'a>(&'a self, id: &'a GroupId, case: &'a Case) -> Vec<&'a Labels> {
        match self {
            Selection::Group { receiver, key } => {
                let is_told = |receiver: &String| *receiver == id.receiver || case.channels.contains_key(receiver);
                if *key == id.key && receiver.as_ref().is_none_or(is_told) { case.firing().collect() } else { Vec::new() }
            }
            Selection::Matching(matchers) => case.firing().filter(|labels| matchers.matches(labels)).collect(),
        }
    }
}

impl Case {
    /// Notes that somebody takes care of alerts that fire; what was acknowledged before stays so.
    pub fn acknowledge(&mut self, alerts: Vec<Labels>, by: &str, comment: &str, now: Time) {
        let before = self.acknowledgement.take().map(|before| before.alerts).unwrap_or_default();
        // In order, each once.
        let all: BTreeSet<Labels> = before.into_iter().chain(alerts).collect();
        let (by, comment, alerts) = (by.to_owned(), comment.to_owned(), all.into_iter().collect());
        self.acknowledgement = Some(Acknowledgement { by, at: now, comment, alerts });
        self.settle_alarm();
    }

    /// The same taken back. Says whether that changed anything.
    pub fn unacknowledge(&mut self, alerts: &BTreeSet<Labels>) -> bool {
        let Some(acknowledgement) = &mut self.acknowledgement else { return false };
        let before = acknowledgement.alerts.len();
        acknowledgement.alerts.retain(|labels| !alerts.contains(labels));
        let changed = acknowledgement.alerts.len() != before;
        if acknowledgement.alerts.is_empty() {
            self.acknowledgement = None;
        }
        self.settle_alarm();
        changed
    }
}
