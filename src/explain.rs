//! Why somebody was told of an alert, or nobody: all that is known of it, from the value that a rule measured to the answer
//! of a receiver, in the order in which it happened, with the answer to the question first.
//!
//! [`Facts`] are gathered from router and outbox; [`Explanation::new`] is a function of them alone. It is shown as text
//! (`Display`), as JSON ([`Explanation::json`]) and as a page. What it says of secrets is nothing: what deliveries keep is free
//! of them.
//!
//! ```text
//! {alertname="AIErrorSpike", model="gpt-4o"} fires since 2026-11-20T20:00:00Z (5m): nobody was told: it is silenced until ...
//! ```

mod json;
mod route;
mod text;
mod timeline;
mod verdict;

use std::collections::{BTreeMap, BTreeSet};

use crate::alert::Alert;
use crate::labels::Labels;
use crate::notify::Integration;
use crate::outbox::{Delivery, Outbox};
use crate::route::{Acknowledgement, GroupView, Route, Router, Silence, Status, Trace};
use crate::time::{Span, Time};

pub use json::{alert as alert_json, delivery as delivery_json, group as group_json};
pub use route::{Outcome, Step};
pub use timeline::Moment;

/// Deliveries that one explanation looks at: the newest ones say how it stands.
const DELIVERIES: usize = 50;
/// Alerts of a group that its explanation goes into.
const MEMBERS: usize = 50;

/// What is explained.
#[derive(Clone, Debug, PartialEq)]
pub enum Subject {
    /// An alert that is known.
    Alert(Box<Alert>),
    /// Labels that no alert has now.
    Labels(Labels),
    /// A group, by its key.
    Group(String),
}

/// All that an explanation is made from.
#[derive(Debug)]
pub struct Facts<'a> {
    /// The present.
    pub now: Time,
    /// What is explained.
    pub subject: Subject,
    /// The tree of routes.
    pub root: &'a Route,
    /// What keeps it quiet; of an alert.
    pub status: Status,
    /// The silences that hold for it.
    pub silences: Vec<&'a Silence>,
    /// The groups that it is in.
    pub groups: Vec<GroupView>,
    /// What was decided about it, by receiver and group.
    pub traces: Vec<(String, String, &'a [Trace])>,
    /// The deliveries that tell it, the oldest first.
    pub deliveries: Vec<&'a Delivery>,
    /// The kinds of the integrations of each receiver that it may concern, by their numbers.
    pub kinds: BTreeMap<String, BTreeMap<usize, &'static str>>,
}

/// A group that the subject is in, and what was decided about it.
#[derive(Clone, Debug, PartialEq)]
pub struct Standing {
    /// The receiver's name.
    pub receiver: String,
    /// Identity of the group.
    pub key: String,
    /// Whose group it is, where it was escalated to the receiver.
    pub escalated_from: Option<String>,
    /// When it is looked at next; none where it is gone.
    pub next_flush: Option<Time>,
    /// Who takes care of it.
    pub acknowledgement: Option<Acknowledgement>,
    /// Names of the time intervals that mute it.
    pub muted_by: Vec<String>,
    /// What was decided, each with the kind of its integration.
    pub decisions: Vec<(String, Trace)>,
}

/// An alert of a group.
#[derive(Clone, Debug, PartialEq)]
pub struct Member {
    /// Its labels.
    pub labels: Labels,
    /// Who was told of it.
    pub verdict: String,
}

/// The answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Explanation {
    /// The present.
    pub now: Time,
    /// What is explained.
    pub subject: Subject,
    /// Who was told, and else why nobody: one line.
    pub verdict: String,
    /// The same without what is explained.
    pub answer: String,
    /// The way through the tree of routes; of an alert.
    pub route: Vec<Step>,
    /// What keeps it quiet now.
    pub quiet: Vec<String>,
    /// The groups that it is or was in.
    pub groups: Vec<Standing>,
    /// Its alerts; of a group.
    pub members: Vec<Member>,
    /// What happened, the oldest first.
    pub timeline: Vec<Moment>,
    /// The deliveries that tell it, the oldest first.
    pub deliveries: Vec<Delivery>,
}

/// What explanations are gathered from.
#[derive(Debug)]
pub struct Known<'a> {
    router: &'a Router,
    outbox: &'a Outbox,
    receivers: &'a BTreeMap<String, Vec<Integration>>,
    groups: Vec<GroupView>,
    now: Time,
}

impl<'a> Known<'a> {
    /// All that is known now.
    pub fn new(
        router: &'a Router,
        outbox: &'a Outbox,
        receivers: &'a BTreeMap<String, Vec<Integration>>,
        now: Time,
    ) -> Known<'a> {
        Known { router, outbox, receivers, groups: router.groups(now), now }
    }

    /// Explains an alert.
    pub fn alert(&self, alert: &Alert) -> Explanation {
        self.alert_among(alert, &self.outbox.iter().collect::<Vec<_>>())
    }

    fn alert_among(&self, alert: &Alert, deliveries: &[&'a Delivery]) -> Explanation {
        Explanation::new(&self.of_labels(Subject::Alert(Box::new(alert.clone())), &alert.labels, deliveries))
    }

    /// Explains what would become of an alert with these labels.
    pub fn labels(&self, labels: &Labels) -> Explanation {
        let deliveries: Vec<&Delivery> = self.outbox.iter().collect();
        Explanation::new(&self.of_labels(Subject::Labels(labels.clone()), labels, &deliveries))
    }

    /// Explains a group; none where nothing is known of it.
    pub fn group(&self, key: &str, receiver: Option<&str>) -> Option<Explanation> {
        let is_meant = |name: &str| receiver.is_none_or(|receiver| receiver == name);
        let groups: Vec<GroupView> = match receiver {
            Some(receiver) => GroupView::find(&self.groups, receiver, key).into_iter().cloned().collect(),
            None => self.groups.iter().filter(|group| group.key == key).cloned().collect(),
        };
        let told = |delivery: &&Delivery| delivery.notification.group_key == key && is_meant(&delivery.receiver);
        let deliveries: Vec<&Delivery> = self.outbox.iter().filter(told).collect();
        if groups.is_empty() && deliveries.is_empty() {
            return None;
        }
        let ids = groups.iter().map(|group| (receiver.unwrap_or(&group.receiver).to_owned(), key.to_owned()));
        let facts = self.facts(Subject::Group(key.to_owned()), ids.collect(), groups, newest(&deliveries, |_| true));
        let mut explanation = Explanation::new(&facts);
        let alerts: BTreeMap<&Labels, &Alert> =
            facts.groups.iter().flat_map(|group| &group.alerts).map(|alert| (&alert.labels, alert)).collect();
        let member = |alert: &&Alert| {
            let verdict = self.alert_among(alert, &deliveries).verdict;
            Member { labels: alert.labels.clone(), verdict }
        };
        explanation.members = alerts.values().take(MEMBERS).map(member).collect();
        Some(explanation)
    }

    fn of_labels(&self, subject: Subject, labels: &Labels, deliveries: &[&'a Delivery]) -> Facts<'a> {
        let root = &self.router.routing().root;
        let routed = root.matching(labels).into_iter().map(|route| {
            let key = route.group_key(&route.group_labels(labels));
            (route.receiver.clone(), key)
        });
        let mut ids: BTreeSet<(String, String)> = routed.collect();
        let is_in = |group: &&GroupView| group.alerts.iter().any(|alert| alert.labels == *labels);
        let groups: Vec<GroupView> = self.groups.iter().filter(is_in).cloned().collect();
        ids.extend(groups.iter().map(|group| (group.receiver.clone(), group.key.clone())));
        let tells = |delivery: &Delivery| delivery.notification.alerts.iter().any(|alert| alert.labels == *labels);
        let mut facts = self.facts(subject, ids, groups, newest(deliveries, tells));
        facts.status = self.router.status(labels, self.now);
        facts.silences = facts.status.silenced_by.iter().filter_map(|id| self.router.silences().get(id)).collect();
        facts
    }

    fn facts(
        &self,
        subject: Subject,
        mut ids: BTreeSet<(String, String)>,
        groups: Vec<GroupView>,
        deliveries: Vec<&'a Delivery>,
    ) -> Facts<'a> {
        let told = |delivery: &&Delivery| (delivery.receiver.clone(), delivery.notification.group_key.clone());
        ids.extend(deliveries.iter().map(told));
        let kinds = |receiver: &String| {
            let integrations = self.receivers.get(receiver).into_iter().flatten();
            (receiver.clone(), integrations.map(|integration| (integration.index, integration.kind)).collect())
        };
        let kinds = ids.iter().map(|(receiver, _)| kinds(receiver)).collect();
        let traces = ids.into_iter().map(|(receiver, key)| {
            let trace = self.router.trace(&receiver, &key);
            (receiver, key, trace)
        });
        Facts {
            now: self.now,
            subject,
            root: &self.router.routing().root,
            status: Status::default(),
            silences: Vec::new(),
            groups,
            traces: traces.collect(),
            deliveries,
            kinds,
        }
    }
}

/// The newest that are about it, the oldest of them first.
fn newest<'a>(deliveries: &[&'a Delivery], concerns: impl Fn(&Delivery) -> bool) -> Vec<&'a Delivery> {
    let mut newest: Vec<&Delivery> =
        deliveries.iter().rev().filter(|delivery| concerns(delivery)).take(DELIVERIES).copied().collect();
    newest.reverse();
    newest
}

impl Explanation {
    /// From the facts alone.
    pub fn new(facts: &Facts<'_>) -> Explanation {
        let (labels, answer) = (facts.labels(), verdict::answer(facts));
        Explanation {
            now: facts.now,
            verdict: format!("{}: {answer}", verdict::subject(facts)),
            answer,
            route: labels.map(|labels| route::walk(facts.root, labels)).unwrap_or_default(),
            quiet: [verdict::quiet(facts), verdict::partly(facts)].concat(),
            groups: facts.standings(),
            members: Vec::new(),
            timeline: timeline::timeline(facts),
            deliveries: facts.deliveries.iter().map(|delivery| (*delivery).clone()).collect(),
            subject: facts.subject.clone(),
        }
    }
}

impl Facts<'_> {
    /// Whose labels; a group has none that matter here.
    fn labels(&self) -> Option<&Labels> {
        match &self.subject {
            Subject::Alert(alert) => Some(&alert.labels),
            Subject::Labels(labels) => Some(labels),
            Subject::Group(_) => None,
        }
    }

    fn kind(&self, receiver: &str, integration: usize) -> String {
        let known = self.kinds.get(receiver).and_then(|kinds| kinds.get(&integration));
        let delivered = || {
            let of_it =
                self.deliveries.iter().find(|delivery| delivery.receiver == receiver && delivery.integration == integration);
            of_it.map(|delivery| delivery.kind.as_str())
        };
        known.copied().or_else(delivered).unwrap_or("an integration that is gone").to_owned()
    }

    fn standings(&self) -> Vec<Standing> {
        let standing = |(receiver, key, traces): &(String, String, &[Trace])| {
            let group = GroupView::find(&self.groups, receiver, key);
            let decisions = traces.iter().map(|trace| (self.kind(receiver, trace.integration), trace.clone())).collect();
            Standing {
                receiver: receiver.clone(),
                key: key.clone(),
                escalated_from: group.map(|group| group.receiver.clone()).filter(|owner| owner != receiver),
                next_flush: group.map(|group| group.next_flush),
                acknowledgement: group.and_then(|group| group.acknowledgement.clone()),
                muted_by: group.map(|group| group.muted_by.clone()).unwrap_or_default(),
                decisions,
            }
        };
        let known = |standing: &Standing| standing.next_flush.is_some() || !standing.decisions.is_empty();
        self.traces.iter().map(standing).filter(known).collect()
    }
}

/// An instant for people: nothing finer than a second.
fn second(at: Time) -> Time {
    at.floor(Span::secs(1))
}

#[cfg(test)]
mod tests;
