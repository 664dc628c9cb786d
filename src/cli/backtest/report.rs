//! What a backtest found; its JSON is what `--format json` prints, and stays as it is: keys may be added.

use std::collections::BTreeMap;

use serde::{Serialize, Serializer};

use crate::alert::{Alert, Change, Kind, State};
use crate::labels::Labels;
use crate::pipeline::{Message, Step};
use crate::route::Reason;
use crate::rule::Rule;
use crate::time::{Span, Time};

/// What a backtest found.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Where it begins.
    #[serde(serialize_with = "written")]
    pub since: Time,
    /// Where it ends.
    #[serde(serialize_with = "written")]
    pub until: Time,
    /// Rows that were read, with those that fill the windows.
    pub rows: u64,
    /// The rules that were replayed, in their order.
    pub rules: Vec<Replayed>,
    /// Those that were not.
    pub not_replayed: Vec<Skipped>,
    /// What fired, in the order in which it began.
    pub incidents: Vec<Incident>,
    /// What would have been sent, in order.
    pub messages: Vec<Sent>,
    /// How many of them to whom.
    pub receivers: Vec<Receiver>,
    /// The incident of each rule and label set that is not over.
    #[serde(skip)]
    open: BTreeMap<(usize, Labels), usize>,
}

/// A rule that was replayed.
#[derive(Debug, Serialize)]
pub struct Replayed {
    /// Its group and name.
    pub rule: String,
    /// Its interval.
    #[serde(serialize_with = "written")]
    pub interval: Span,
    /// How often an alert of it fired.
    pub fired: usize,
    /// How often one was pending and never fired.
    pub dropped: usize,
    /// How long its alerts fired, all together.
    pub firing_seconds: f64,
    /// Why it could not be evaluated at some instant.
    pub fault: Option<String>,
    /// At how many instants.
    pub faults: u64,
}

/// A rule that was not replayed.
#[derive(Debug, Serialize)]
pub struct Skipped {
    /// Its group and name.
    pub rule: String,
    /// Why.
    pub reason: String,
}

/// An alert from when it fires until it is resolved.
#[derive(Debug, Serialize)]
pub struct Incident {
    /// Group and name of its rule.
    pub rule: String,
    /// The number of its rule among the replayed ones.
    #[serde(skip)]
    pub number: usize,
    /// The alert's labels.
    pub labels: Labels,
    /// When the rule was first found broken; earlier than `fired_at` where there is a `for`.
    #[serde(serialize_with = "written")]
    pub active_at: Time,
    /// When it fired.
    #[serde(serialize_with = "written")]
    pub fired_at: Time,
    /// When it was resolved; null where it still fires at the end.
    #[serde(serialize_with = "written_or_null")]
    pub resolved_at: Option<Time>,
    /// How long it fired, until the end where it still does.
    pub seconds: f64,
    /// What was measured when it fired.
    pub value: f64,
    /// What was compared with what then.
    pub evidence: String,
    /// Its texts then.
    pub annotations: Labels,
    /// What was measured last while it was found.
    pub last_value: f64,
    /// What was compared with what then.
    pub last_evidence: String,
}

/// A message that would have been sent.
#[derive(Debug, Serialize)]
pub struct Sent {
    /// When.
    #[serde(serialize_with = "written")]
    pub at: Time,
    /// To whom.
    pub receiver: String,
    /// The kind of its integration.
    pub integration: String,
    /// `firing`, `resolved` or `repeat`.
    pub kind: &'static str,
    /// Why.
    pub reason: String,
    /// The group of alerts that it is about.
    pub group: String,
    /// Them.
    pub alerts: Vec<Told>,
}

/// An alert as it stands in a message.
#[derive(Debug, Serialize)]
pub struct Told {
    /// Its labels.
    pub labels: Labels,
    /// `firing` or `resolved`.
    pub state: &'static str,
    /// Its value.
    pub value: f64,
    /// Its evidence.
    pub evidence: String,
    /// Its texts.
    pub annotations: Labels,
}

/// How many messages one integration of a receiver would have got.
#[derive(Debug, PartialEq, Serialize)]
pub struct Receiver {
    /// The receiver's name.
    pub receiver: String,
    /// The kind of its integration.
    pub integration: String,
    /// All of them.
    pub messages: usize,
    /// That something began to fire.
    pub firing: usize,
    /// That something is over.
    pub resolved: usize,
    /// That something fires still.
    pub repeat: usize,
}

fn written<T: std::fmt::Display, S: Serializer>(what: &T, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(what)
}

fn written_or_null<S: Serializer>(what: &Option<Time>, serializer: S) -> Result<S::Ok, S::Error> {
    match what {
        Some(time) => serializer.collect_str(time),
        None => serializer.serialize_none(),
    }
}

impl Report {
    /// Nothing was found yet.
    pub fn new(rules: &[Rule], not_replayed: Vec<Skipped>, since: Time, until: Time) -> Report {
        let replayed = |rule: &Rule| Replayed {
            rule: rule.key.clone(),
            interval: rule.interval,
            fired: 0,
            dropped: 0,
            firing_seconds: 0.0,
            fault: None,
            faults: 0,
        };
        Report {
            since,
            until,
            rows: 0,
            rules: rules.iter().map(replayed).collect(),
            not_replayed,
            incidents: Vec::new(),
            messages: Vec::new(),
            receivers: Vec::new(),
            open: BTreeMap::new(),
        }
    }

    /// Takes what a tick brought.
    pub fn take(&mut self, step: Step) {
        for (change, rule) in step.changes.into_iter().zip(step.rules) {
            self.change(change, rule);
        }
        self.messages.extend(step.messages.into_iter().map(Sent::of));
        step.faults.into_iter().for_each(|(rule, fault)| self.fault(&rule, fault));
    }

    /// A rule could not be evaluated at some instant.
    pub fn fault(&mut self, key: &str, fault: String) {
        if let Some(rule) = self.rules.iter_mut().find(|rule| rule.rule == key) {
            rule.faults += 1;
            rule.fault.get_or_insert(fault);
        }
    }

    fn change(&mut self, change: Change, number: usize) {
        let Change { kind, at, alert } = change;
        match kind {
            Kind::Pending => {}
            Kind::Dropped => self.rules[number].dropped += 1,
            Kind::Fired => {
                self.rules[number].fired += 1;
                self.open.insert((number, alert.labels.clone()), self.incidents.len());
                self.incidents.push(Incident {
                    rule: self.rules[number].rule.clone(),
                    number,
                    active_at: alert.active_at,
                    fired_at: alert.fired_at.unwrap_or(at),
                    resolved_at: None,
                    seconds: 0.0,
                    last_value: alert.value,
                    last_evidence: alert.evidence.clone(),
                    value: alert.value,
                    evidence: alert.evidence,
                    labels: alert.labels,
                    annotations: alert.annotations,
                });
            }
            Kind::Resolved => {
                if let Some(open) = self.open.remove(&(number, alert.labels)) {
                    let incident = &mut self.incidents[open];
                    (incident.resolved_at, incident.last_value) = (alert.resolved_at, alert.value);
                    incident.last_evidence = alert.evidence;
                }
            }
        }
    }

    /// Takes the alerts that fire at the end, and sums up.
    pub fn end<'a>(&mut self, rows: u64, alerts: impl Iterator<Item = &'a Alert>) {
        self.rows = rows;
        let firing: BTreeMap<&Labels, &Alert> =
            alerts.filter(|alert| alert.state == State::Firing).map(|alert| (&alert.labels, alert)).collect();
        for ((_, labels), open) in &self.open {
            if let Some(alert) = firing.get(labels) {
                let incident = &mut self.incidents[*open];
                (incident.last_value, incident.last_evidence) = (alert.value, alert.evidence.clone());
            }
        }
        for incident in &mut self.incidents {
            incident.seconds = (incident.resolved_at.unwrap_or(self.until) - incident.fired_at).as_secs_f64();
            self.rules[incident.number].firing_seconds += incident.seconds;
        }
        let mut receivers: BTreeMap<(&str, &str), [usize; 3]> = BTreeMap::new();
        for sent in &self.messages {
            let counts = receivers.entry((&sent.receiver, &sent.integration)).or_default();
            let kind = KINDS.iter().position(|kind| *kind == sent.kind).unwrap_or_default();
            counts[kind] += 1;
        }
        let receiver = |((receiver, integration), [firing, resolved, repeat]): ((&str, &str), [usize; 3])| Receiver {
            receiver: receiver.to_owned(),
            integration: integration.to_owned(),
            messages: firing + resolved + repeat,
            firing,
            resolved,
            repeat,
        };
        self.receivers = receivers.into_iter().map(receiver).collect();
    }
}

/// What a message says.
const KINDS: [&str; 3] = ["firing", "resolved", "repeat"];

impl Sent {
    fn of(message: Message) -> Sent {
        let Message { to, reason, notification } = message;
        let kind = match reason {
            Reason::AllResolved | Reason::SomeResolved => KINDS[1],
            Reason::Repeat => KINDS[2],
            _ => KINDS[0],
        };
        let told = |alert: Alert| Told {
            state: if alert.state == State::Firing { KINDS[0] } else { KINDS[1] },
            labels: alert.labels,
            value: alert.value,
            evidence: alert.evidence,
            annotations: alert.annotations,
        };
        Sent {
            at: notification.at,
            receiver: to.receiver,
            integration: to.kind,
            kind,
            reason: reason.to_string(),
            group: notification.group_key,
            alerts: notification.alerts.into_iter().map(told).collect(),
        }
    }
}
