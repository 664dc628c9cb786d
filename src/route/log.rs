//! The notification log: what each integration was told about a group, and whether there is something to tell it now.
//!
//! The decision is that of Alertmanager's `dedup_stage.go`. The entry differs: it holds each alert as last told, and
//! whether its end was told, which is what keeps the resolve guarantee. So the end can be told after the alert's group
//! is gone, and again after the message that told it was given up. Under [`Semantics::Alertmanager`] the entry is what
//! Alertmanager's is: the alerts that the last message told as firing, and as resolved.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::{Reason, Semantics, order};
use crate::alert::{Alert, State};
use crate::labels::Labels;
use crate::limits::{GIVE_UP, RETENTION};
use crate::time::{Span, Time};

/// Alertmanager looks this often for entries of its log that have expired.
const THEIR_LOG_CLEANED: Span = Span::secs(900);

/// What one integration was told about one group.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Entry {
    /// When the last message was decided.
    pub at: Time,
    /// How many there were; two may be of one instant.
    messages: u64,
    /// The last message was given up, and nothing was told since.
    given_up: bool,
    told: BTreeMap<Labels, Told>,
}

/// An alert as it was last told.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Told {
    alert: Alert,
    /// The number of the message that first told it.
    first: u64,
    /// The number of the message that last told it as firing.
    last: u64,
    /// When its end was told, or passed over in silence (then the alert here fires still); kept for a while, as the
    /// message may be given up and a reload may bring the incident back.
    settled: Option<Time>,
}

/// The alerts of a group as a look sees them.
#[derive(Debug, Default)]
pub(super) struct View<'a> {
    /// What fires and may be told.
    pub firing: BTreeMap<&'a Labels, Cow<'a, Alert>>,
    /// What is over and may be told.
    pub resolved: BTreeMap<&'a Labels, &'a Alert>,
    /// What fires and is kept quiet.
    pub quiet: BTreeSet<&'a Labels>,
    /// Why nothing may be told, where there is something.
    pub why_quiet: Option<Reason>,
    /// Somebody takes care of all that fires and may be told.
    pub is_acknowledged: bool,
}

/// How an integration wants to be told.
#[derive(Clone, Copy, Debug)]
pub(super) struct Manner {
    pub semantics: Semantics,
    pub send_resolved: bool,
    pub repeat_interval: Span,
    /// How often what fires is told again, whatever else holds.
    pub refresh: Option<Span>,
    /// A step of an escalation is due that leads here.
    pub escalates: bool,
}

impl View<'_> {
    fn fires(&self, labels: &Labels) -> bool {
        self.firing.contains_key(labels) || self.quiet.contains(labels)
    }

    /// The same where nothing that fires is told.
    pub fn hushed(&self, why: Option<Reason>) -> View<'_> {
        let quiet = self.quiet.iter().chain(self.firing.keys()).copied().collect();
        View { firing: BTreeMap::new(), resolved: self.resolved.clone(), quiet, why_quiet: why, is_acknowledged: false }
    }
}

impl Entry {
    /// Those that the receiver thinks are firing.
    fn believed(&self) -> impl Iterator<Item = (&Labels, &Told)> {
        self.told.iter().filter(|(_, told)| told.settled.is_none())
    }

    /// Whether the receiver thinks that this fires.
    pub fn believes(&self, labels: &Labels) -> bool {
        self.told.get(labels).is_some_and(|told| told.settled.is_none())
    }

    /// Whether the receiver must still be told that something is over, where nothing of the group is left.
    pub fn owes(&self, semantics: Semantics) -> bool {
        match semantics {
            Semantics::Ours => self.believed().next().is_some(),
            Semantics::Alertmanager => self.lost_ends().next().is_some(),
        }
    }

    /// Whether anything that the receiver was told fires still.
    pub fn tells_of(&self, fires: impl Fn(&Labels) -> bool) -> bool {
        self.believed().any(|(labels, _)| fires(labels))
    }

    /// Ends that were told by a message that was given up.
    fn lost_ends(&self) -> impl Iterator<Item = &Alert> {
        self.believed().map(|(_, told)| &told.alert).filter(|alert| alert.state == State::Resolved)
    }

    /// Decides, and writes down what that says. The alerts are those of the message, where the reason is one to send.
    pub fn look(&mut self, view: &View<'_>, manner: Manner, now: Time) -> (Reason, Vec<Alert>) {
        let reason = match manner.semantics {
            Semantics::Ours => {
                self.fire_on(view);
                self.decide(view, manner, now)
            }
            Semantics::Alertmanager => self.decide_as_alertmanager(view, manner, now),
        };
        // Also an end that is not wanted counts as told, or it would stand here for ever.
        if !reason.notifies() && reason != Reason::ResolveUnwanted {
            return (reason, Vec::new());
        }
        (self.at, self.given_up) = (now, false);
        self.messages += u64::from(reason.notifies());
        let alerts = match manner.semantics {
            Semantics::Ours => self.tell(view, manner.send_resolved, now),
            Semantics::Alertmanager => self.tell_as_alertmanager(view, manner.send_resolved, now),
        };
        (reason, if reason.notifies() { alerts } else { Vec::new() })
    }

    /// An incident whose end was passed over in silence, and that fires still (a reload took it away and back), is the one
    /// that was told.
    fn fire_on(&mut self, view: &View<'_>) {
        for (labels, alert) in &view.firing {
            let told = self.told.get_mut(*labels);
            if let Some(told) = told.filter(|t| t.alert.state == State::Firing && t.alert.fired_at == alert.fired_at) {
                told.settled = None;
            }
        }
    }

    /// Whether to tell, and why; the order of the questions is Alertmanager's.
    fn decide(&self, view: &View<'_>, manner: Manner, now: Time) -> Reason {
        let mut ended = self.believed().filter(|(labels, _)| !view.fires(labels));
        let ended = ended.next().is_some();
        if view.firing.is_empty() {
            return match (ended, manner.send_resolved) {
                (true, true) if self.tells_of(|labels| view.fires(labels)) => Reason::SomeResolved,
                (true, true) => Reason::AllResolved,
                (true, false) => Reason::ResolveUnwanted,
                (false, _) => view.why_quiet.unwrap_or(Reason::NothingFires),
            };
        }
        // One that the last message left out, as it was quiet then, is told anew.
        let knows = |labels: &&Labels| self.told.get(*labels).is_some_and(|t| t.settled.is_none() && t.last == self.messages);
        if manner.escalates {
            Reason::Escalated
        } else if self.told.is_empty() {
            Reason::First
        } else if !view.firing.keys().all(knows) {
            Reason::NewAlert
        } else if self.given_up {
            Reason::GivenUp
        } else if ended && manner.send_resolved {
            Reason::SomeResolved
        } else {
            let is_older = |span| now - self.at >= span || self.at > now;
            self.again(view, manner, is_older)
        }
    }

    /// Alertmanager's `needsUpdate`, in its order.
    fn decide_as_alertmanager(&self, view: &View<'_>, manner: Manner, now: Time) -> Reason {
        if view.firing.is_empty() && view.resolved.is_empty() && self.lost_ends().next().is_none() {
            return view.why_quiet.unwrap_or(Reason::NothingFires);
        }
        let knew_some = self.believed().next().is_some();
        if view.firing.is_empty() {
            return match (knew_some, manner.send_resolved) {
                (false, _) => Reason::NothingFires,
                (true, false) => Reason::ResolveUnwanted,
                (true, true) => Reason::AllResolved,
            };
        }
        let ended = |labels: &Labels| self.told.get(labels).is_none_or(|told| told.settled.is_none());
        if !view.firing.keys().all(|labels| self.believes(labels)) {
            if knew_some { Reason::NewAlert } else { Reason::First }
        } else if self.given_up {
            Reason::GivenUp
        } else if manner.send_resolved && view.resolved.keys().any(|labels| ended(labels)) {
            Reason::SomeResolved
        } else {
            self.again(view, manner, |span| now - self.at > span || self.at > now)
        }
    }

    /// Whether to tell once more what is known. Of a message that a clock which was ahead has dated nobody knows how old it
    /// is.
    fn again(&self, view: &View<'_>, manner: Manner, is_older: impl Fn(Span) -> bool) -> Reason {
        match manner.refresh {
            Some(refresh) if is_older(refresh) => Reason::Refresh,
            Some(_) => Reason::NothingNew,
            None if !is_older(manner.repeat_interval) => Reason::NothingNew,
            None if view.is_acknowledged => Reason::Acknowledged,
            None => Reason::Repeat,
        }
    }

    /// Notes the view as told, and gives the alerts that tell it: all that fire, then all of which the receiver still
    /// thinks that they do.
    fn tell(&mut self, view: &View<'_>, send_resolved: bool, now: Time) -> Vec<Alert> {
        let mut alerts: Vec<Alert> = view.firing.values().map(|alert| alert.as_ref().clone()).collect();
        for (labels, told) in &mut self.told {
            if told.settled.is_some() || view.fires(labels) {
                continue;
            }
            told.settled = Some(now);
            if send_resolved {
                if told.alert.state != State::Resolved {
                    let known = view.resolved.get(labels).map(|alert| (*alert).clone());
                    told.alert = known.unwrap_or_else(|| told.alert.resolved(now));
                }
                alerts.push(told.alert.clone());
            }
        }
        self.note_firing(view);
        alerts
    }

    /// The same of Alertmanager: only what the message says counts from now on.
    fn tell_as_alertmanager(&mut self, view: &View<'_>, send_resolved: bool, now: Time) -> Vec<Alert> {
        let mut over: BTreeMap<Labels, Alert> = self.lost_ends().map(|alert| (alert.labels.clone(), alert.clone())).collect();
        over.extend(view.resolved.iter().map(|(labels, alert)| ((*labels).clone(), (*alert).clone())));
        over.retain(|labels, _| !view.firing.contains_key(labels));
        self.told.retain(|labels, _| view.firing.contains_key(labels) || over.contains_key(labels));
        for (labels, alert) in &over {
            let first = self.told.get(labels).map_or(self.messages, |told| told.first);
            let told = Told { alert: alert.clone(), first, last: 0, settled: Some(now) };
            self.told.insert(labels.clone(), told);
        }
        self.note_firing(view);
        let mut alerts: Vec<Alert> = view.firing.values().map(|alert| alert.as_ref().clone()).collect();
        alerts.extend(over.into_values().filter(|_| send_resolved));
        order::sort(&mut alerts);
        alerts
    }

    fn note_firing(&mut self, view: &View<'_>) {
        for (labels, alert) in &view.firing {
            let first = self.told.get(*labels).map_or(self.messages, |told| told.first);
            let told = Told { alert: alert.as_ref().clone(), first, last: self.messages, settled: None };
            self.told.insert((*labels).clone(), told);
        }
    }

    /// The last message never arrived. What was first told by it is unknown to the receiver; of the rest it may still
    /// think that it fires, as it cannot be known which of the earlier messages the lost one had replaced; and so it may of
    /// what it `heard`, by fingerprint, since an attempt may arrive and fail all the same.
    pub fn give_up(&mut self, heard: &BTreeSet<String>) {
        self.given_up = true;
        self.told.retain(|labels, told| told.first != self.messages || heard.contains(&labels.fingerprint()));
        self.told.values_mut().for_each(|told| told.settled = None);
    }

    /// Drops what cannot matter any more; `gone`: nothing of the group is left. Says whether anything is left.
    pub fn prune(&mut self, gone: bool, semantics: Semantics, repeat_interval: Span, now: Time) -> bool {
        if semantics == Semantics::Alertmanager {
            let kept = Span(repeat_interval.0.saturating_mul(2)).max(THEIR_LOG_CLEANED).min(RETENTION);
            return now - self.at <= kept && !self.told.is_empty();
        }
        self.told.retain(|_, told| match told.settled {
            Some(settled) => now - settled <= GIVE_UP,
            // Nobody could be reached for so long.
            None => !gone || now - told.alert.resolved_at.unwrap_or(self.at) <= RETENTION,
        });
        !self.told.is_empty()
    }
}
