//! What may be seen of the routing: the standing of an alert, the groups, and why a group was or was not told.

use serde::{Deserialize, Serialize};

use crate::alert::{Alert, State};
use crate::labels::Labels;
use crate::time::Time;

use super::case::{Case, GroupId, Home, Terms};
use super::quiet::hours;
use super::{Reason, Router};

/// How an alert stands with all that may keep it quiet.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Status {
    /// The receivers of the routes that take it, in the order of the tree, each once.
    pub receivers: Vec<String>,
    /// Ids of the silences that hold for it.
    pub silenced_by: Vec<String>,
    /// The alerts that inhibit it.
    pub inhibited_by: Vec<Labels>,
    /// Names of the time intervals that mute a group that it is in.
    pub muted_by: Vec<String>,
    /// Those of them that it is outside of: active ones.
    pub outside_of: Vec<String>,
    /// No group with it was looked at yet.
    pub is_unprocessed: bool,
}

impl Status {
    /// Whether it keeps quiet for one reason or another.
    pub fn is_suppressed(&self) -> bool {
        !(self.silenced_by.is_empty() && self.inhibited_by.is_empty() && self.muted_by.is_empty())
    }
}

/// A group of alerts as it is now.
#[derive(Clone, Debug, PartialEq)]
pub struct GroupView {
    /// The receiver's name.
    pub receiver: String,
    /// Identity of the group.
    pub key: String,
    /// The labels that it was formed by.
    pub labels: Labels,
    /// Its alerts, in the order of their labels.
    pub alerts: Vec<Alert>,
    /// When it is looked at next.
    pub next_flush: Time,
    /// Who acknowledged it, if somebody did.
    pub acknowledgement: Option<Acknowledgement>,
    /// Names of the time intervals that mute it now.
    pub muted_by: Vec<String>,
    /// Those of them that it is outside of: active ones.
    pub outside_of: Vec<String>,
    /// Whom it was told to: the receiver, and those that it was escalated to.
    pub told: Vec<String>,
}

impl GroupView {
    /// The group that a receiver means by a key: its own, or one that was escalated to it; as [`Router::trace`] finds it.
    pub fn find<'a>(groups: &'a [GroupView], receiver: &str, key: &str) -> Option<&'a GroupView> {
        let mut found: Vec<&GroupView> = groups.iter().filter(|group| group.key == key && group.concerns(receiver)).collect();
        found.sort_by_key(|group| group.receiver != receiver);
        found.into_iter().next()
    }

    /// Whether it is a receiver's own, or was escalated to it.
    pub fn concerns(&self, receiver: &str) -> bool {
        self.receiver == receiver || self.told.iter().any(|told| told == receiver)
    }

    /// How many of the alerts that fire somebody takes care of, and how many fire.
    pub fn acknowledged(&self) -> (usize, usize) {
        let is_taken =
            |alert: &&Alert| self.acknowledgement.as_ref().is_some_and(|ack| ack.alerts.binary_search(&alert.labels).is_ok());
        let firing = || self.alerts.iter().filter(|alert| alert.state == State::Firing);
        (firing().filter(is_taken).count(), firing().count())
    }

    /// Somebody takes care of all that fires.
    pub fn is_acknowledged(&self) -> bool {
        let (taken, firing) = self.acknowledged();
        self.acknowledgement.is_some() && taken == firing
    }
}

/// That somebody takes care of the alerts of a group that fired then.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Acknowledgement {
    /// Who.
    pub by: String,
    /// When.
    pub at: Time,
    /// What they said to it; may be empty.
    pub comment: String,
    /// Of which alerts.
    pub alerts: Vec<Labels>,
}

/// Which groups are acknowledged.
#[derive(Clone, Debug, PartialEq)]
pub enum Selection {
    /// One group, by its key; the receiver where it is told to several.
    Group {
        /// The receiver's name.
        receiver: Option<String>,
        /// Identity of the group.
        key: String,
    },
    /// All groups with a firing alert that these match, and of those only such alerts.
    Matching(crate::labels::Matchers),
}

/// What a look at a group decided for one integration; equal ones in a row are one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Trace {
    /// When it was first decided so.
    pub at: Time,
    /// When it was last decided so.
    pub last: Time,
    /// How often.
    pub times: u64,
    /// The number of the integration.
    pub integration: usize,
    /// What was decided, and why.
    pub reason: Reason,
    /// How many alerts fired, without those kept quiet.
    pub firing: usize,
    /// What kept alerts quiet, in words: `silenced by 3f2a... (2 alerts)`, `outside of business_hours`.
    pub quiet: Vec<String>,
}

impl Router {
    /// How an alert stands.
    pub fn status(&self, labels: &Labels, now: Time) -> Status {
        let routing = self.routing();
        let mut status = Status {
            silenced_by: self.silences().of(labels, now),
            inhibited_by: self.inhibitions().of(&routing.inhibit_rules, labels),
            ..Status::default()
        };
        let (mut groups, mut looked) = (0, 0);
        for route in routing.root.matching(labels) {
            if !status.receivers.contains(&route.receiver) {
                status.receivers.push(route.receiver.clone());
            }
            let hours = hours(&Terms::of(route), &routing.time_intervals, now);
            status.outside_of.extend(hours.outside_of());
            let new: Vec<String> = hours.names.into_iter().filter(|name| !status.muted_by.contains(name)).collect();
            status.muted_by.extend(new);
            let case = self.saved.cases.get(&Home::of(route, labels).id);
            if let Some(member) = case.and_then(|case| case.members.get(labels)) {
                (groups, looked) = (groups + 1, looked + usize::from(member.looked));
            }
        }
        status.is_unprocessed = groups > 0 && looked == 0;
        status
    }

    /// All groups, in the order of receiver and key.
    pub fn groups(&self, now: Time) -> Vec<GroupView> {
        self.saved.cases.iter().filter(|(_, case)| case.lives).map(|(id, case)| self.shown(id, case, now)).collect()
    }

    pub(super) fn shown(&self, id: &GroupId, case: &Case, now: Time) -> GroupView {
        let routing = self.routing();
        let next = case.next(id, &routing.receivers, routing.semantics).map(|due| due.at);
        let hours = hours(&case.terms, &routing.time_intervals, now);
        GroupView {
            receiver: id.receiver.clone(),
            key: id.key.clone(),
            labels: case.labels.clone(),
            alerts: case.members.values().map(|member| member.shown().into_owned()).collect(),
            next_flush: next.unwrap_or(case.due),
            acknowledgement: case.acknowledgement.clone(),
            outside_of: hours.outside_of(),
            muted_by: hours.names,
            told: case.channels.keys().cloned().collect(),
        }
    }
}
