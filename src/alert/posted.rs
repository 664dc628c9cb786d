//! Alerts that others post: Prometheus, Grafana, scripts. They live as Alertmanager's do (`provider/mem`, `types.Alert.Merge`):
//! each fires until its end, which moves whenever it is posted again.
//!
//! What is posted takes the place of what was known under the same labels, unless the two overlap: then they are one
//! alert with the earliest start, and an end that somebody named outlasts one that was only assumed. An alert that
//! begins in the future fires at once. What is over is remembered for as long as any other alert.

use std::collections::{BTreeMap, BTreeSet};

use super::{Alert, Posted, State};
use crate::labels::Labels;
use crate::limits::{MAX_POSTED, MAX_POSTED_BYTES, RESOLVED_KEPT};
use crate::time::{Span, Time};

/// An alert as it was posted.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Incoming {
    /// Its identity; not empty.
    pub labels: Labels,
    /// Its texts.
    pub annotations: Labels,
    /// Since when it fires; since now where it is not said.
    pub starts_at: Option<Time>,
    /// When it ends; after the `resolve_timeout` where it is not said.
    pub ends_at: Option<Time>,
    /// Where it comes from.
    pub generator_url: String,
}

/// All alerts that others posted, by their labels.
#[derive(Clone, Debug, Default)]
pub struct Inbox {
    alerts: BTreeMap<Labels, Alert>,
    /// When each of those that fire ends.
    ends: BTreeSet<(Time, Labels)>,
    /// When each of those that are over ended.
    ended: BTreeSet<(Time, Labels)>,
    changed: BTreeSet<Labels>,
}

impl Incoming {
    /// What is wrong with it, in Alertmanager's words.
    ///
    /// # Errors
    /// It ends before it starts, has no labels, one without a name, or more text than [`MAX_POSTED_BYTES`].
    pub fn check(&self, resolve_timeout: Span, now: Time) -> Result<(), String> {
        let (starts_at, ends_at, _) = self.life(resolve_timeout, now);
        let nameless = |labels: &Labels| labels.0.contains_key("");
        let texts = self.labels.iter().chain(self.annotations.iter());
        let bytes = texts.map(|(name, value)| name.len() + value.len()).sum::<usize>() + self.generator_url.len();
        let fault = if ends_at < starts_at {
            "start time must be before end time"
        } else if self.labels.0.is_empty() {
            "at least one label pair required"
        } else if nameless(&self.labels) {
            "invalid label set: invalid name \"\""
        } else if nameless(&self.annotations) {
            "invalid annotations: invalid name \"\""
        } else if bytes > MAX_POSTED_BYTES {
            return Err(format!("{bytes} bytes of text in one alert; {MAX_POSTED_BYTES} are taken"));
        } else {
            return Ok(());
        };
        Err(fault.to_owned())
    }

    /// Since when it fires, when it ends, and whether that is only assumed.
    fn life(&self, resolve_timeout: Span, now: Time) -> (Time, Time, bool) {
        let starts_at = self.starts_at.or(self.ends_at).unwrap_or(now);
        (starts_at, self.ends_at.unwrap_or(now + resolve_timeout), self.ends_at.is_none())
    }

    fn alert(self, resolve_timeout: Span, now: Time) -> Alert {
        let (starts_at, ends_at, timeout) = self.life(resolve_timeout, now);
        let alert = Alert {
            labels: self.labels,
            annotations: self.annotations,
            value: 0.0,
            evidence: String::new(),
            state: State::Firing,
            active_at: starts_at,
            fired_at: Some(starts_at),
            resolved_at: None,
            absent_since: None,
            late: false,
            posted: None,
        };
        ending(alert, Posted { generator_url: self.generator_url, ends_at, timeout, updated_at: now }, now)
    }
}

impl Inbox {
    /// Takes an alert that was posted. Says whether there was room for it: one that is known already always has it.
    pub fn post(&mut self, incoming: Incoming, resolve_timeout: Span, now: Time) -> bool {
        let new = incoming.alert(resolve_timeout, now);
        let old = self.alerts.get(&new.labels);
        if old.is_none() && self.alerts.len() >= MAX_POSTED {
            return false;
        }
        let alert = match old {
            Some(old) if overlap(old, &new) => merge(old, new, now),
            _ => new,
        };
        if old != Some(&alert) {
            self.put(alert);
        }
        true
    }

    /// Resolves what has come to its end, and forgets what did a while ago. Gives those that ended.
    pub fn expire(&mut self, now: Time) -> Vec<Alert> {
        let mut over = Vec::new();
        while let Some((at, labels)) = self.ends.pop_first() {
            if at > now {
                self.ends.insert((at, labels));
                break;
            }
            if let Some(alert) = self.alerts.get(&labels).map(|alert| alert.resolved(at)) {
                over.push(alert.clone());
                self.put(alert);
            }
        }
        while let Some((at, labels)) = self.ended.pop_first() {
            if now - at <= RESOLVED_KEPT {
                self.ended.insert((at, labels));
                break;
            }
            self.alerts.remove(&labels);
            self.changed.insert(labels);
        }
        over
    }

    /// When the next one ends.
    pub fn next_end(&self) -> Option<Time> {
        self.ends.first().map(|(at, _)| *at)
    }

    /// The alert of a label set.
    pub fn get(&self, labels: &Labels) -> Option<&Alert> {
        self.alerts.get(labels)
    }

    /// Those of the given label sets that it has an alert of.
    pub fn known<'a>(&self, labels: impl Iterator<Item = &'a Labels>) -> BTreeSet<Labels> {
        if self.alerts.is_empty() {
            return BTreeSet::new();
        }
        labels.filter(|labels| self.alerts.contains_key(*labels)).cloned().collect()
    }

    /// All of them.
    pub fn alerts(&self) -> impl Iterator<Item = &Alert> {
        self.alerts.values()
    }

    /// Alerts that changed since this was last called, by fingerprint; none: it is forgotten. To be stored.
    pub fn take_changed(&mut self) -> Vec<(String, Option<Vec<u8>>)> {
        let changed = std::mem::take(&mut self.changed);
        let body = |labels: &Labels| self.alerts.get(labels).and_then(|alert| postcard::to_stdvec(alert).ok());
        changed.iter().map(|labels| (labels.fingerprint(), body(labels))).collect()
    }

    /// From what was stored.
    ///
    /// # Errors
    /// It is not what was stored.
    pub fn restore(stored: Vec<(String, Vec<u8>)>) -> Result<Inbox, postcard::Error> {
        let mut inbox = Inbox::default();
        for (_, body) in &stored {
            inbox.put(postcard::from_bytes(body)?);
        }
        inbox.changed.clear();
        Ok(inbox)
    }

    fn put(&mut self, alert: Alert) {
        let labels = alert.labels.clone();
        if let Some(old) = self.alerts.get(&labels) {
            let at = (ends_at(old), labels.clone());
            self.ends.remove(&at);
            self.ended.remove(&at);
        }
        let index = if alert.state == State::Firing { &mut self.ends } else { &mut self.ended };
        index.insert((ends_at(&alert), labels.clone()));
        self.alerts.insert(labels.clone(), alert);
        self.changed.insert(labels);
    }
}

/// The alert with another end, over or not as of now.
fn ending(alert: Alert, posted: Posted, now: Time) -> Alert {
    let over = posted.ends_at <= now;
    let state = if over { State::Resolved } else { State::Firing };
    Alert { state, resolved_at: over.then_some(posted.ends_at), posted: Some(posted), ..alert }
}

fn ends_at(alert: &Alert) -> Time {
    alert.posted.as_ref().map_or(alert.active_at, |posted| posted.ends_at)
}

/// Whether one of the new alert's ends lies within the old one.
fn overlap(old: &Alert, new: &Alert) -> bool {
    let within = |at: Time| at > old.active_at && at < ends_at(old);
    within(new.active_at) || within(ends_at(new))
}

fn merge(old: &Alert, new: Alert, now: Time) -> Alert {
    let starts_at = old.active_at.min(new.active_at);
    let Some(posted) = new.posted.clone() else { return new };
    let before = old.posted.as_ref().map(|before| (before.ends_at, before.timeout));
    let lasts = |&(ends_at, timeout): &(Time, bool)| match posted.ends_at <= now {
        // Of two ends that are past the later one counts.
        true => ends_at <= now && ends_at > posted.ends_at,
        false => ends_at > posted.ends_at && !timeout,
    };
    let ends_at = before.filter(lasts).map_or(posted.ends_at, |(ends_at, _)| ends_at);
    let alert = Alert { active_at: starts_at, fired_at: Some(starts_at), ..new };
    ending(alert, Posted { ends_at, ..posted }, now)
}

#[cfg(test)]
mod tests;
