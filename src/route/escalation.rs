//! Escalation: who else is told of what nobody acknowledges.
//!
//! An alarm begins with the first message of a group that nobody has acknowledged. Each step of the route waits from then
//! on, and tells its receiver once of its own accord; from then on that receiver is told what the group's is, until the
//! group resolves or is acknowledged. An alert that joins an acknowledged group raises another alarm.

use serde::{Deserialize, Serialize};

use super::Escalation;
use super::case::Case;
use crate::labels::Labels;
use crate::time::{Span, Time};

/// That a group was told and nobody has acknowledged it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Alarm {
    /// When it was first told.
    pub at: Time,
    /// Steps that wait no longer than this were told.
    pub told: Option<Span>,
    /// All that fired then was acknowledged.
    pub acknowledged: bool,
}

impl Alarm {
    /// The steps that were told, while it lasts.
    pub fn reached<'a>(&self, steps: &'a [Escalation]) -> impl Iterator<Item = &'a Escalation> {
        let told = self.told.filter(|_| !self.acknowledged);
        steps.iter().filter(move |step| told.is_some_and(|told| step.after <= told))
    }

    /// The steps that are to be told by now and were not.
    pub fn due<'a>(&self, steps: &'a [Escalation], now: Time) -> impl Iterator<Item = &'a Escalation> {
        let (at, told, acknowledged) = (self.at, self.told, self.acknowledged);
        steps.iter().filter(move |step| !acknowledged && told.is_none_or(|told| step.after > told) && at + step.after <= now)
    }
}

impl Case {
    /// When the next step is to be told.
    pub fn escalation_due(&self) -> Option<Time> {
        let alarm = self.alarm.as_ref().filter(|alarm| !alarm.acknowledged)?;
        let waits = |span: &Span| alarm.told.is_none_or(|told| *span > told);
        let after = self.terms.escalation.iter().map(|step| step.after).filter(waits).min()?;
        Some(alarm.at + after)
    }

    /// Whether somebody has acknowledged that an alert fires.
    pub fn is_acknowledged(&self, labels: &Labels) -> bool {
        self.acknowledgement.as_ref().is_some_and(|acknowledgement| acknowledgement.alerts.binary_search(labels).is_ok())
    }

    /// The receiver of the route was told that alerts fire.
    pub fn raise_alarm(&mut self, told: &[Labels], now: Time) {
        let lasts = self.alarm.as_ref().is_some_and(|alarm| !alarm.acknowledged);
        if !lasts && !told.iter().all(|labels| self.is_acknowledged(labels)) {
            self.alarm = Some(Alarm { at: now, told: None, acknowledged: false });
        }
    }

    /// The alarm ends where all that fires is acknowledged, and lasts again where that was taken back.
    pub fn settle_alarm(&mut self) {
        let all = self.firing().all(|labels| self.is_acknowledged(labels));
        if let Some(alarm) = &mut self.alarm {
            alarm.acknowledged = all;
        }
    }

    /// After a look: with the last alert that fires alarm and acknowledgement end.
    pub fn calm_down(&mut self) {
        if self.firing().next().is_none() {
            (self.alarm, self.acknowledgement) = (None, None);
            return;
        }
        let members = &self.members;
        if let Some(acknowledgement) = &mut self.acknowledgement {
            let fires = |labels: &Labels| members.get(labels).is_some_and(|member| !member.is_over());
            acknowledgement.alerts.retain(fires);
            if acknowledgement.alerts.is_empty() {
                self.acknowledgement = None;
            }
        }
    }
}
