//! A look at a case: what keeps its alerts quiet, then for each integration whether there is something to tell.
//!
//! A whole look is that of the group's clock; after it what is over leaves. In between, only those are asked whose own time
//! has come: integrations that want to be told again and again, and the next step of an escalation.

use std::collections::BTreeMap;

use super::case::{Case, Channel, GroupId};
use super::log::{Manner, View};
use super::quiet::Quiet;
use super::{Action, Decision, Endpoint, Notification, Reason, Semantics, trace};
use crate::alert::Alert;
use crate::labels::Labels;
use crate::time::{Span, Time};

/// What came of a look.
#[derive(Debug, Default)]
pub(super) struct Looked {
    pub decisions: Vec<Decision>,
    /// Alerts that left the group.
    pub left: Vec<Labels>,
    /// There is something to store.
    pub changed: bool,
}

/// Whom a look asks.
struct Asked {
    receiver: String,
    /// A step of the escalation is due that leads there.
    escalates: bool,
    /// It is told what fires; else only what is over.
    included: bool,
}

impl Case {
    /// Looks at what is due. `is_told` says whether there is a group of the same key for another receiver.
    pub fn look(
        &mut self,
        id: &GroupId,
        quiet: &mut Quiet<'_>,
        receivers: &BTreeMap<String, Vec<Endpoint>>,
        is_told: impl Fn(&str) -> bool,
    ) -> Looked {
        let (semantics, now) = (quiet.semantics, quiet.now);
        let whole = self.due <= now || self.seen > now;
        let (was_looked, lived, alarm, acknowledgement) =
            (self.looked, self.lives, self.alarm.clone(), self.acknowledgement.clone());
        let mut channels = std::mem::take(&mut self.channels);
        let (view, hush) = self.view(quiet, semantics);
        let words = hush.words();
        let steps = self.steps(&view, now);
        let (mut looked, mut alarms) = (Looked::default(), false);
        for Asked { receiver, escalates, included } in self.asked(id, &channels, &steps, is_told) {
            let hushed;
            let view = if included {
                &view
            } else {
                hushed = view.hushed(None);
                &hushed
            };
            let channel = channels.entry(receiver.clone()).or_default();
            for endpoint in receivers.get(&receiver).into_iter().flatten() {
                if !whole && !escalates && !self.refreshes(channel, endpoint, now) {
                    continue;
                }
                let manner = Manner {
                    semantics,
                    send_resolved: endpoint.send_resolved,
                    repeat_interval: self.terms.repeat,
                    refresh: endpoint.refresh,
                    escalates,
                };
                let (reason, alerts) = channel.entries.entry(endpoint.index).or_default().look(view, manner, now);
                let tells = reason.notifies() || reason == Reason::ResolveUnwanted;
                alarms |= reason.notifies() && included && receiver == id.receiver;
                if included || tells {
                    let new = trace::now(endpoint.index, reason, view.firing.len(), &words, now);
                    looked.changed |= trace::note(&mut channel.traces, new) || tells;
                    looked.decisions.push(self.decision(id, &receiver, endpoint.index, (reason, alerts), now));
                }
            }
        }
        channels.retain(|_, channel| !(channel.entries.is_empty() && channel.traces.is_empty()));
        let told: Vec<Labels> = if alarms { view.firing.keys().map(|labels| (*labels).clone()).collect() } else { Vec::new() };
        self.channels = channels;
        if semantics == Semantics::Ours && !told.is_empty() {
            self.raise_alarm(&told, now);
        }
        if let Some((alarm, last)) = self.alarm.as_mut().zip(steps.iter().map(|(after, _)| *after).max()) {
            alarm.told = Some(last);
        }
        if whole {
            looked.left = self.go_on(self.terms.interval, hush.hours.opens, now);
        } else {
            self.seen = now;
        }
        let after = (self.looked, self.lives, &self.alarm, &self.acknowledgement);
        looked.changed |= after != (was_looked, lived, &alarm, &acknowledgement);
        looked
    }

    /// The steps that are due, where something fires that nobody has acknowledged.
    fn steps(&self, view: &View<'_>, now: Time) -> Vec<(Span, String)> {
        let alarm = self.alarm.as_ref().filter(|_| !view.firing.is_empty() && !view.is_acknowledged);
        let due = alarm.into_iter().flat_map(|alarm| alarm.due(&self.terms.escalation, now));
        due.map(|step| (step.after, step.receiver.clone())).collect()
    }

    /// The receiver of the route, those that it is and was escalated to, and whoever may think still that something fires.
    fn asked(
        &self,
        id: &GroupId,
        channels: &BTreeMap<String, Channel>,
        steps: &[(Span, String)],
        is_told: impl Fn(&str) -> bool,
    ) -> Vec<Asked> {
        let due = steps.iter().map(|(_, receiver)| receiver);
        let mut all: Vec<Asked> = Vec::new();
        for receiver in [&id.receiver].into_iter().chain(due.clone()).chain(channels.keys()) {
            if all.iter().any(|asked| asked.receiver == *receiver) {
                continue;
            }
            let own = *receiver == id.receiver;
            // A group of its own tells it already.
            let elsewhere = !own && is_told(receiver);
            let escalates = !elsewhere && due.clone().any(|due| due == receiver);
            let included = own || escalates || (!elsewhere && self.includes(id, receiver));
            if included || channels.contains_key(receiver) {
                all.push(Asked { receiver: receiver.clone(), escalates, included });
            }
        }
        all
    }

    fn refreshes(&self, channel: &Channel, endpoint: &Endpoint, now: Time) -> bool {
        let due = || self.refresh_of(channel.entries.get(&endpoint.index)?, endpoint.refresh?);
        due().is_some_and(|due| due <= now)
    }

    fn decision(
        &self,
        id: &GroupId,
        receiver: &str,
        integration: usize,
        (reason, alerts): (Reason, Vec<Alert>),
        at: Time,
    ) -> Decision {
        let (receiver, group_key) = (receiver.to_owned(), id.key.clone());
        let action = if reason.notifies() {
            let (group_labels, reason) = (self.labels.clone(), reason.to_string());
            let (receiver, group_key) = (receiver.clone(), group_key.clone());
            Action::Notify(Notification { receiver, group_key, group_labels, alerts, reason, at })
        } else {
            Action::Hold
        };
        Decision { receiver, integration, group_key, action, reason }
    }
}
