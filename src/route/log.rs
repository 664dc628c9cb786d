//! The notification log: what each integration was told about a group, and whether there is something to tell it now.
//!
//! The decision is that of Alertmanager's `dedup_stage.go`. The entry differs: it holds each alert as last told, and
//! whether its end was told, which is what keeps the resolve guarantee. So the end can be told after the alert's group
//! is gone, and again after the message that told it was given up.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::alert::{Alert, State};
use crate::labels::Labels;
use crate::limits::{GIVE_UP, RETENTION};
use crate::time::{Span, Time};

/// Why a group was or was not told to an integration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reason {
    /// Something fires, and nothing was told of the group before.
    First,
    /// An alert fires that was not told as firing.
    NewAlert,
    /// Nothing fires any more.
    AllResolved,
    /// An alert that was told fires no more; others do.
    SomeResolved,
    /// The last message was given up.
    GivenUp,
    /// The last message is older than `repeat_interval`.
    Repeat,
    /// Held: nothing fires, and nobody thinks that something does.
    NothingFires,
    /// Held: nothing fires any more, but `send_resolved` is false.
    ResolveUnwanted,
    /// Held: nothing is new, and it is too early to repeat it.
    NothingNew,
}

impl Reason {
    /// Whether a message is sent for it.
    pub fn notifies(self) -> bool {
        !matches!(self, Reason::NothingFires | Reason::ResolveUnwanted | Reason::NothingNew)
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Reason::First => "first alert",
            Reason::NewAlert => "new alert",
            Reason::AllResolved => "resolved",
            Reason::SomeResolved => "partly resolved",
            Reason::GivenUp => "the last message was given up",
            Reason::Repeat => "repeat",
            Reason::NothingFires => "nothing fires",
            Reason::ResolveUnwanted => "resolved, but send_resolved is false",
            Reason::NothingNew => "nothing new within repeat_interval",
        })
    }
}

/// What one integration was told about one group.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Entry {
    /// When the last message was decided.
    at: Time,
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
    /// When its end was told, or passed over in silence (then the alert here fires still); kept for a while, as the
    /// message may be given up and a reload may bring the incident back.
    settled: Option<Time>,
}

/// The alerts of a group as a flush sees them.
#[derive(Debug, Default)]
pub(super) struct View {
    pub firing: BTreeMap<Labels, Alert>,
    pub resolved: BTreeMap<Labels, Alert>,
}

/// How an integration wants to be told.
#[derive(Clone, Copy, Debug)]
pub(super) struct Manner {
    pub send_resolved: bool,
    pub repeat_interval: Span,
}

impl Entry {
    /// Those that the receiver thinks are firing.
    fn believed(&self) -> impl Iterator<Item = (&Labels, &Told)> {
        self.told.iter().filter(|(_, told)| told.settled.is_none())
    }

    /// Whether the receiver thinks that something fires.
    pub fn owes(&self) -> bool {
        self.believed().next().is_some()
    }

    /// Decides, and writes down what that says. The alerts are those of the message, where the reason is one to send.
    pub fn look(&mut self, view: &View, manner: Manner, now: Time) -> (Reason, Vec<Alert>) {
        self.fire_on(view);
        let reason = self.decide(view, manner, now);
        let alerts = match reason {
            Reason::NothingFires | Reason::NothingNew => Vec::new(),
            // Also an end that is not wanted counts as told, or it would stand here for ever.
            _ => self.tell(view, manner.send_resolved, now),
        };
        (reason, alerts)
    }

    /// An incident whose end was passed over in silence, and that fires still (a reload took it away and back), is the one
    /// that was told.
    fn fire_on(&mut self, view: &View) {
        for (labels, alert) in &view.firing {
            let told = self.told.get_mut(labels);
            if let Some(told) = told.filter(|t| t.alert.state == State::Firing && t.alert.fired_at == alert.fired_at) {
                told.settled = None;
            }
        }
    }

    /// Whether to tell, and why; the order of the questions is Alertmanager's.
    fn decide(&self, view: &View, manner: Manner, now: Time) -> Reason {
        let believes = |labels: &Labels| self.told.get(labels).is_some_and(|told| told.settled.is_none());
        let ended = self.believed().any(|(labels, _)| !view.firing.contains_key(labels));
        if view.firing.is_empty() {
            return match (ended, manner.send_resolved) {
                (false, _) => Reason::NothingFires,
                (true, false) => Reason::ResolveUnwanted,
                (true, true) => Reason::AllResolved,
            };
        }
        if self.told.is_empty() {
            Reason::First
        } else if !view.firing.keys().all(believes) {
            Reason::NewAlert
        } else if self.given_up {
            Reason::GivenUp
        } else if ended && manner.send_resolved {
            Reason::SomeResolved
        } else if now - self.at >= manner.repeat_interval || self.at > now {
            // Of a message that a clock which was ahead has dated nobody knows how old it is.
            Reason::Repeat
        } else {
            Reason::NothingNew
        }
    }

    /// Notes the view as told, and gives the alerts that tell it: all that fire, then all of which the receiver still
    /// thinks that they do.
    fn tell(&mut self, view: &View, send_resolved: bool, now: Time) -> Vec<Alert> {
        (self.at, self.messages, self.given_up) = (now, self.messages + 1, false);
        let mut alerts: Vec<Alert> = view.firing.values().cloned().collect();
        for (labels, told) in &mut self.told {
            if told.settled.is_some() || view.firing.contains_key(labels) {
                continue;
            }
            told.settled = Some(now);
            if send_resolved {
                if told.alert.state != State::Resolved {
                    told.alert = view.resolved.get(labels).cloned().unwrap_or_else(|| told.alert.resolved(now));
                }
                alerts.push(told.alert.clone());
            }
        }
        for (labels, alert) in &view.firing {
            let first = self.told.get(labels).map_or(self.messages, |told| told.first);
            self.told.insert(labels.clone(), Told { alert: alert.clone(), first, settled: None });
        }
        alerts
    }

    /// The last message never arrived. What was first told by it is unknown to the receiver; of the rest it may still
    /// think that it fires, as it cannot be known which of the earlier messages the lost one had replaced.
    pub fn give_up(&mut self) {
        self.given_up = true;
        self.told.retain(|_, told| told.first != self.messages);
        self.told.values_mut().for_each(|told| told.settled = None);
    }

    /// Drops what cannot matter any more; `orphan`: the group is gone. Says whether anything is left.
    pub fn prune(&mut self, orphan: bool, now: Time) -> bool {
        self.told.retain(|_, told| match told.settled {
            Some(settled) => now - settled <= GIVE_UP,
            // Nobody could be reached for so long.
            None => !orphan || now - told.alert.resolved_at.unwrap_or(self.at) <= RETENTION,
        });
        !self.told.is_empty()
    }
}
