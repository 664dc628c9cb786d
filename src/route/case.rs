//! One group of alerts and all that was said about it: its alerts, its clock, and what each integration was told.
//!
//! A case outlives its group: until everybody knows that all of it is over, and for a while after that. What is stored of
//! it is small: alerts are stored where they live (books, posted ones), and join their groups again after a restart.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::escalation::Alarm;
use super::log::{Entry, View};
use super::quiet::{Hush, Quiet};
use super::schedule::Due;
use super::{Acknowledgement, Endpoint, Escalation, Route, Semantics, Trace};
use crate::alert::{Alert, State};
use crate::labels::Labels;
use crate::limits::GIVE_UP;
use crate::time::{Span, Time};

/// Identity of a group.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct GroupId {
    /// The receiver's name.
    pub receiver: String,
    /// Route and labels, as Alertmanager writes them.
    pub key: String,
}

/// Where an alert belongs.
#[derive(Clone, Debug)]
pub(super) struct Home {
    pub id: Arc<GroupId>,
    pub labels: Labels,
    pub terms: Arc<Terms>,
}

/// What the route says about a group.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Terms {
    pub wait: Span,
    pub interval: Span,
    pub repeat: Span,
    pub mute: Vec<String>,
    pub active: Vec<String>,
    pub escalation: Vec<Escalation>,
}

/// A group and all that was said about it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Case {
    pub labels: Labels,
    /// When all of it is looked at next; also what is still to be told of a group that is gone.
    pub due: Time,
    /// When that was decided: when it was last looked at, or began.
    pub seen: Time,
    /// There is a group.
    pub lives: bool,
    /// The group was looked at.
    pub looked: bool,
    #[serde(serialize_with = "only_late_ones")]
    pub members: BTreeMap<Labels, Member>,
    /// By receiver: that of the route, and those that it was escalated to.
    pub channels: BTreeMap<String, Channel>,
    pub alarm: Option<Alarm>,
    pub acknowledgement: Option<Acknowledgement>,
    /// Of the route that led here last.
    #[serde(skip)]
    pub terms: Arc<Terms>,
}

/// What one receiver was told, by integration, and why.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Channel {
    pub entries: BTreeMap<usize, Entry>,
    pub traces: Vec<Trace>,
}

/// An alert in a group.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Member {
    pub alert: Alert,
    /// A look has shown it.
    pub looked: bool,
}

/// What came late and is over already is known to nobody else.
fn only_late_ones<S: serde::Serializer>(members: &BTreeMap<Labels, Member>, serializer: S) -> Result<S::Ok, S::Error> {
    let late = |member: &&Member| member.alert.late && member.alert.state == State::Resolved;
    let late: BTreeMap<&Labels, &Member> = members.iter().filter(|(_, member)| late(member)).collect();
    late.serialize(serializer)
}

impl Home {
    pub fn of(route: &Route, labels: &Labels) -> Home {
        let labels = route.group_labels(labels);
        let id = Arc::new(GroupId { receiver: route.receiver.clone(), key: route.group_key(&labels) });
        Home { id, labels, terms: Arc::new(Terms::of(route)) }
    }
}

impl Terms {
    pub fn of(route: &Route) -> Terms {
        Terms {
            wait: route.group_wait,
            interval: route.group_interval,
            repeat: route.repeat_interval,
            mute: route.mute_time_intervals.clone(),
            active: route.active_time_intervals.clone(),
            escalation: route.escalation.clone(),
        }
    }
}

impl Case {
    /// Begins a group, where there is none.
    fn begin(&mut self, home: &Home, due: Time, now: Time) {
        (self.labels, self.terms) = (home.labels.clone(), home.terms.clone());
        (self.due, self.seen, self.lives, self.looked) = (due, now, true, false);
        (self.alarm, self.acknowledgement) = (None, None);
    }

    /// Takes an alert. Says whether there is something to store.
    pub fn take(&mut self, home: &Home, alert: &Alert, now: Time) -> bool {
        let begins = !self.lives;
        if begins {
            self.begin(home, now + home.terms.wait, now);
        }
        self.terms = home.terms.clone();
        if !self.looked && fired_at(alert) + self.terms.wait <= now {
            self.due = self.due.min(now);
        }
        let known = self.members.get_mut(&alert.labels);
        match known {
            Some(member) if member.alert != *alert => member.alert = alert.clone(),
            Some(_) => {}
            None => {
                let looked = self.channels.values().any(|channel| channel.believes(&alert.labels));
                self.members.insert(alert.labels.clone(), Member { alert: alert.clone(), looked });
            }
        }
        begins || (alert.late && alert.state == State::Resolved)
    }

    /// Takes an alert along that another configuration leads here; `lived`: there was a group before.
    pub fn join(&mut self, home: &Home, member: Member, lived: bool, now: Time) {
        let since = fired_at(&member.alert);
        let due = (since + home.terms.wait).min(now + home.terms.wait);
        if !self.lives {
            self.begin(home, due, since.min(now));
        } else if !lived {
            self.due = self.due.min(due);
        } else if self.looked {
            self.due = self.due.min(self.seen + home.terms.interval);
        }
        self.terms = home.terms.clone();
        self.members.insert(member.alert.labels.clone(), member);
    }

    /// Whether some receiver thinks that an alert fires.
    pub fn believes(&self, labels: &Labels) -> bool {
        self.channels.values().any(|channel| channel.believes(labels))
    }

    /// The alerts that fire.
    pub fn firing(&self) -> impl Iterator<Item = &Labels> {
        self.members.iter().filter(|(_, member)| !member.is_over()).map(|(labels, _)| labels)
    }

    /// Whether a receiver is told of it from time to time: that of the route, and those that it was escalated to.
    pub fn includes(&self, id: &GroupId, receiver: &str) -> bool {
        let reached = |alarm: &Alarm| alarm.reached(&self.terms.escalation).any(|step| step.receiver == receiver);
        receiver == id.receiver || self.alarm.as_ref().is_some_and(reached)
    }

    /// When it is to be looked at next.
    pub fn next(&self, id: &GroupId, receivers: &BTreeMap<String, Vec<Endpoint>>, semantics: Semantics) -> Option<Due> {
        let owes = || self.channels.values().flat_map(|channel| channel.entries.values()).any(|entry| entry.owes(semantics));
        let at = (self.lives || owes()).then_some(self.due)?;
        let sooner = self.escalation_due().into_iter().chain(self.refresh_due(id, receivers));
        // What has passed was looked at, and is looked at again with all the rest.
        let at = sooner.filter(|sooner| *sooner > self.seen).fold(at, Time::min);
        Some(Due { at, set: self.seen })
    }

    /// When an integration is told again what fires.
    fn refresh_due(&self, id: &GroupId, receivers: &BTreeMap<String, Vec<Endpoint>>) -> Option<Time> {
        let due = |(receiver, channel): (&String, &Channel)| {
            let endpoints = receivers.get(receiver).filter(|_| self.includes(id, receiver)).into_iter().flatten();
            let due = |endpoint: &Endpoint| self.refresh_of(channel.entries.get(&endpoint.index)?, endpoint.refresh?);
            endpoints.filter_map(due).min()
        };
        self.channels.iter().filter_map(due).min()
    }

    pub fn refresh_of(&self, entry: &Entry, refresh: Span) -> Option<Time> {
        let fires = |labels: &Labels| self.members.get(labels).is_some_and(|member| !member.is_over());
        entry.tells_of(fires).then_some(entry.at + refresh)
    }

    /// Its alerts as a look sees them, with what keeps some of them quiet.
    pub fn view<'a>(&'a self, quiet: &mut Quiet<'_>, semantics: Semantics) -> (View<'a>, Hush) {
        let mut hush = quiet.of_route(&self.terms);
        let mut view = View::default();
        for (labels, member) in &self.members {
            let over = member.is_over();
            // What is over is told by us whatever keeps it quiet: only those hear of it who heard that it fires.
            let may = (over && semantics == Semantics::Ours) || hush.take(quiet, labels);
            match (over, may) {
                (true, true) => drop(view.resolved.insert(labels, &member.alert)),
                (true, false) => {}
                (false, false) => drop(view.quiet.insert(labels)),
                (false, true) => drop(view.firing.insert(labels, member.shown())),
            }
        }
        view.why_quiet = hush.why();
        view.is_acknowledged = !view.firing.is_empty() && view.firing.keys().all(|labels| self.is_acknowledged(labels));
        (view, hush)
    }

    /// After a look: what is over leaves, and so does the group with its last alert. Gives what left.
    pub fn go_on(&mut self, interval: Span, opens: Option<Time>, now: Time) -> Vec<Labels> {
        let left: Vec<Labels> =
            self.members.iter().filter(|(_, member)| member.is_over()).map(|(labels, _)| labels.clone()).collect();
        left.iter().for_each(|labels| drop(self.members.remove(labels)));
        self.members.values_mut().for_each(|member| member.looked = true);
        let due = now + interval;
        (self.due, self.seen, self.looked) = (opens.map_or(due, |opens| opens.min(due)), now, true);
        self.lives = !self.members.is_empty();
        self.calm_down();
        left
    }

    /// Drops what cannot matter any more. Says whether anything changed, and whether anything is left.
    pub fn prune(&mut self, semantics: Semantics, now: Time) -> (bool, bool) {
        let (gone, repeat) = (!self.lives, self.terms.repeat);
        let mut changed = false;
        for channel in self.channels.values_mut() {
            let before = channel.entries.len();
            channel.entries.retain(|_, entry| entry.prune(gone, semantics, repeat, now));
            changed |= channel.entries.len() != before;
        }
        let told = self.channels.values().any(|channel| !channel.entries.is_empty());
        (changed, self.lives || told || now - self.seen <= GIVE_UP)
    }
}

impl Channel {
    pub fn believes(&self, labels: &Labels) -> bool {
        self.entries.values().any(|entry| entry.believes(labels))
    }
}

impl Member {
    /// Whether it is shown as resolved: one that came late is first shown as firing.
    pub fn is_over(&self) -> bool {
        self.alert.state == State::Resolved && (self.looked || !self.alert.late)
    }

    pub fn shown(&self) -> Cow<'_, Alert> {
        if self.is_over() || self.alert.state == State::Firing {
            Cow::Borrowed(&self.alert)
        } else {
            Cow::Owned(self.alert.firing())
        }
    }
}

pub(super) fn fired_at(alert: &Alert) -> Time {
    alert.fired_at.unwrap_or(alert.active_at)
}
