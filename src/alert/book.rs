//! All alerts of one rule, and the way back into the past.
//!
//! A rule is evaluated tick by tick ([`Book::step`]), and between two ticks when there are new rows ([`Book::begin`]). When rows arrive late, the ticks whose windows they change are
//! evaluated again ([`Book::revise`]): the book goes back to how it stood before the first of them, lives through them
//! anew, and says only what nobody was told yet. For that it remembers, until [`Book::forget`] lets go of it,
//!
//! - what each changed alert had been before (`undo`), and
//! - which incidents were announced, from when to when (`announced`).
//!
//! Guarantees: an evaluation that fails changes no firing alert. An incident is announced once, however often its ticks
//! are evaluated again; incidents of one label set that overlap are one, and one that is found in the past of an alert
//! that fires now is covered by its page. For each label set the changes handed out alternate between `Fired` and
//! `Resolved`. Values and annotations are refreshed by each evaluation; they are no part of an alert's identity, so
//! they are not brought back.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::{Alert, Change, Finding, Kind, Policy, State};
use crate::labels::Labels;
use crate::limits::RESOLVED_KEPT;
use crate::time::{Span, Time};

/// An alert that fires is late where it should have been known this long ago. Calls become rows when they end, so that a
/// few seconds are the rule.
const LATE_AFTER: Span = Span::secs(60);

/// All alerts of one rule. Stored with postcard (its maps have label sets as keys, which JSON cannot write).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Book {
    alerts: BTreeMap<Labels, Alert>,
    /// Oldest first.
    undo: Vec<Undo>,
    announced: BTreeMap<Labels, Vec<Incident>>,
    /// The newest instant that was evaluated.
    newest: Option<Time>,
    /// What is before it cannot be evaluated again.
    horizon: Option<Time>,
    /// The rule as it was when it was last evaluated.
    definition: String,
    #[serde(skip)]
    changed: bool,
}

/// What an alert had been before the evaluation at `at`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Undo {
    at: Time,
    labels: Labels,
    before: Option<Alert>,
}

/// A span [from, to) in which people were told that an alert fires; open while it does.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct Incident {
    from: Time,
    to: Option<Time>,
}

/// What it means that an alert was not found.
#[derive(Clone, Copy, PartialEq)]
enum Missing {
    IsOver,
    Stays,
}

impl Incident {
    fn of(alert: &Alert) -> Incident {
        Incident { from: alert.fired_at.unwrap_or(alert.active_at), to: alert.resolved_at }
    }

    fn overlaps(&self, other: &Incident) -> bool {
        self.to.is_none_or(|to| other.from < to) && other.to.is_none_or(|to| self.from < to)
    }
}

impl Book {
    /// Takes what the rule found at `at`, and says what that changed.
    ///
    /// # Errors
    /// Two findings with equal labels, or an instant before one that was evaluated already: nothing changes. More alerts
    /// than the limit: pending ones are dropped, firing ones keep their state.
    pub fn step(&mut self, policy: &Policy, findings: Vec<Finding>, at: Time) -> Result<Vec<Change>, String> {
        self.take(policy, findings, at, Missing::IsOver)
    }

    /// The same between two ticks, where rows are still to come: an alert that is not found stays as it is.
    ///
    /// # Errors
    /// As [`Book::step`].
    pub fn begin(&mut self, policy: &Policy, findings: Vec<Finding>, at: Time) -> Result<Vec<Change>, String> {
        self.take(policy, findings, at, Missing::Stays)
    }

    fn take(&mut self, policy: &Policy, findings: Vec<Finding>, at: Time, missing: Missing) -> Result<Vec<Change>, String> {
        if let Some(newest) = self.newest.filter(|newest| at < *newest) {
            return Err(format!("the evaluation at {at} comes after that at {newest}"));
        }
        let changes = self.advance(policy, findings, at, missing)?;
        changes.iter().for_each(|change| self.announce(change));
        Ok(changes)
    }

    /// Evaluates the past again, at `ticks` (ascending) up to `last`, the newest instant evaluated so far, where it is as in
    /// [`Book::begin`] unless it is a tick, and says what people were not told yet:
    ///
    /// - an alert fires that did not: `Fired`, late where it would have been known a minute before;
    /// - an alert fires no more: `Resolved` at `last`, since until then people had been told that it fires;
    /// - an incident began and ended within the ticks, and none that overlaps it was announced: `Fired`, late, and
    ///   `Resolved` at the tick where it ended.
    ///
    /// An announced alert that still fires, or ended as announced, keeps its times as announced. Ticks before what
    /// [`Book::forget`] let go of are left out.
    ///
    /// # Errors
    /// A tick whose findings are at fault is passed over as [`Book::step`] would; the fault is returned where there is
    /// no change to return instead.
    pub fn revise(
        &mut self,
        policy: &Policy,
        ticks: &[Time],
        last: Time,
        mut find: impl FnMut(Time) -> Vec<Finding>,
    ) -> Result<Vec<Change>, String> {
        let ticks = &ticks[ticks.partition_point(|tick| Some(*tick) < self.horizon)..];
        let Some(&first) = ticks.first() else { return Ok(Vec::new()) };
        let mut before = self.clone();
        self.rewind(first);
        let (mut ended, mut fault) = (Vec::new(), None);
        let between = (ticks.last() != Some(&last)).then_some((last, Missing::Stays));
        for (at, missing) in ticks.iter().map(|tick| (*tick, Missing::IsOver)).chain(between) {
            match self.advance(policy, find(at), at, missing) {
                Ok(changes) => ended.extend(changes.into_iter().filter(|c| c.kind == Kind::Resolved).map(|c| c.alert)),
                Err(message) => fault = Some(message),
            }
        }
        let mut changes = self.compare(&before, last);
        changes.extend(self.late_and_over(ended));
        // That time passed is nothing to store.
        (before.newest, self.changed) = (self.newest, before.changed);
        self.changed |= *self != before;
        fault.filter(|_| changes.is_empty()).map_or(Ok(changes), Err)
    }

    /// The clock went back to `at`: instants from then on are evaluated as if for the first time. Alerts stay.
    pub fn set_back(&mut self, at: Time) {
        self.undo.clear();
        self.newest = self.newest.map(|newest| newest.min(at));
        self.horizon = Some(at);
        self.changed = true;
    }

    /// Lets go of what is needed only to evaluate instants before `before` again. To be called now and then with the
    /// newest tick less the lateness; it is what bounds the book.
    pub fn forget(&mut self, before: Time) {
        // The first one says that the rule was new then, which is to be known after a restart too.
        self.changed |= self.horizon.is_none();
        self.horizon = self.horizon.max(Some(before));
        if self.undo.is_empty() && self.announced.is_empty() {
            return;
        }
        let size = |book: &Book| (book.undo.len(), book.announced.values().map(Vec::len).sum::<usize>());
        let size_before = size(self);
        self.undo.retain(|undo| undo.at >= before);
        self.announced.retain(|_, incidents| {
            incidents.retain(|incident| incident.to.is_none_or(|to| to >= before));
            !incidents.is_empty()
        });
        self.changed |= size(self) != size_before;
    }

    /// The rule is from now on as `definition` says. Where it was another, instants up to the newest are not evaluated
    /// again: nobody is paged because it would have fired. Its alerts stay, until the next evaluation does not find them.
    pub fn define(&mut self, definition: String) {
        if self.definition == definition {
            return;
        }
        if let Some(newest) = self.newest {
            self.forget(newest + Span(1));
        }
        (self.definition, self.changed) = (definition, true);
    }

    /// The same book for a rule that has another key now.
    pub fn moved(self) -> Book {
        Book { changed: true, ..self }
    }

    /// The rule is gone: all that fires is resolved, all that is pending dropped.
    pub fn close(&mut self, at: Time) -> Vec<Change> {
        let policy = Policy { hold: Span::ZERO, keep_firing_for: Span::ZERO, limit: usize::MAX };
        // No findings have no fault.
        let changes = self.advance(&policy, Vec::new(), at, Missing::IsOver).unwrap_or_default();
        changes.iter().for_each(|change| self.announce(change));
        changes
    }

    /// All alerts, in the order of their labels.
    pub fn alerts(&self) -> impl Iterator<Item = &Alert> {
        self.alerts.values()
    }

    /// Whether just so many alerts are known, and all of them fire and were found last time.
    pub fn just_fires(&self, alerts: usize) -> bool {
        let fires = |alert: &Alert| alert.state == State::Firing && alert.absent_since.is_none();
        self.alerts.len() == alerts && self.alerts.values().all(fires)
    }

    /// Whether there is something to store since this was last asked, be it only a value.
    pub fn changed(&mut self) -> bool {
        std::mem::take(&mut self.changed)
    }

    /// One evaluation, without a word about what was announced.
    fn advance(&mut self, policy: &Policy, findings: Vec<Finding>, at: Time, missing: Missing) -> Result<Vec<Change>, String> {
        if findings.is_empty() && self.alerts.is_empty() {
            self.newest = self.newest.max(Some(at));
            return Ok(Vec::new());
        }
        let mut found = BTreeMap::new();
        for finding in findings {
            if let Some(twin) = found.insert(finding.labels.clone(), finding) {
                return Err(format!("two alerts have the same labels {}", twin.labels));
            }
        }
        let labels: BTreeSet<Labels> = self.alerts.keys().chain(found.keys()).cloned().collect();
        let next = |labels: Labels| {
            let (before, found) = (self.alerts.get(&labels), found.remove(&labels));
            let stays = found.is_none() && missing == Missing::Stays;
            let alert = if stays { before.cloned() } else { Alert::next(policy, before, found, at) };
            (labels, alert)
        };
        let after: Vec<(Labels, Option<Alert>)> = labels.into_iter().map(next).collect();
        let live = after.iter().filter(|(_, alert)| alert.as_ref().is_some_and(Alert::is_live)).count();
        if live > policy.limit {
            let pending = self.alerts.values().filter(|alert| alert.state == State::Pending);
            for labels in pending.map(|alert| alert.labels.clone()).collect::<Vec<_>>() {
                self.put(labels, None, at);
            }
            return Err(format!("{live} alerts at once, more than the limit of {}", policy.limit));
        }
        self.newest = self.newest.max(Some(at));
        Ok(after.into_iter().filter_map(|(labels, alert)| self.put(labels, alert, at)).collect())
    }

    /// Replaces an alert, remembers what it had been, and says what that means.
    fn put(&mut self, labels: Labels, after: Option<Alert>, at: Time) -> Option<Change> {
        let before = match &after {
            Some(alert) => self.alerts.insert(labels.clone(), alert.clone()),
            None => self.alerts.remove(&labels),
        };
        self.changed |= before != after;
        let kind = Kind::of(before.as_ref().map(|alert| alert.state), after.as_ref().map(|alert| alert.state));
        let life = |alert: &Alert| (alert.state, alert.active_at, alert.fired_at, alert.resolved_at, alert.absent_since);
        if before.as_ref().map(life) != after.as_ref().map(life) {
            self.undo.push(Undo { at, labels, before: before.clone() });
        }
        Some(Change { kind: kind?, at, alert: after.or(before)? })
    }

    /// Back to how it stood before anything was evaluated at or after `first`.
    fn rewind(&mut self, first: Time) {
        while let Some(Undo { labels, before, .. }) = self.undo.pop_if(|undo| undo.at >= first) {
            match before {
                Some(alert) => self.alerts.insert(labels, alert),
                None => self.alerts.remove(&labels),
            };
        }
    }

    /// Holds the revised alerts against what people know, and lets those that they know keep their times.
    fn compare(&mut self, before: &Book, last: Time) -> Vec<Change> {
        let labels: BTreeSet<Labels> = before.alerts.keys().chain(self.alerts.keys()).cloned().collect();
        let mut changes = Vec::new();
        for labels in labels {
            let (old, new) = (before.alerts.get(&labels), self.alerts.get(&labels));
            let kind = Kind::of(old.map(|alert| alert.state), new.map(|alert| alert.state));
            let (at, alert) = match (kind, old, new) {
                (Some(Kind::Fired), _, Some(new)) => {
                    let late = new.fired_at.zip(before.newest).is_some_and(|(fired, newest)| fired <= newest - LATE_AFTER);
                    (new.fired_at.unwrap_or(last), Some(Alert { late, ..new.clone() }))
                }
                (Some(Kind::Resolved), Some(old), _) => (last, Some(old.resolved(last))),
                (Some(Kind::Dropped), Some(old), _) => (last, Some(old.clone())),
                (_, Some(old), new) => {
                    let fired = new.filter(|new| new.fired_at.is_some());
                    if let (Some(new), Some(known)) = (fired, self.announced.get_mut(&labels)) {
                        is_told(known, &Incident::of(new));
                    }
                    (last, as_announced(old, new, last))
                }
                (_, None, new) => (last, new.cloned()),
            };
            let Some(alert) = alert else { continue };
            let pending_again = kind == Some(Kind::Resolved) && new.is_some_and(Alert::is_live);
            if kind != Some(Kind::Dropped) && !pending_again {
                self.alerts.insert(labels, alert.clone());
            }
            if let Some(kind) = kind {
                let change = Change { kind, at, alert };
                self.announce(&change);
                changes.push(change);
            }
        }
        changes
    }

    /// Announces those of the incidents that were found in the past, are over, and that nobody was told of.
    fn late_and_over(&mut self, ended: Vec<Alert>) -> Vec<Change> {
        let mut changes = Vec::new();
        for alert in ended {
            let incident = Incident::of(&alert);
            let known = self.announced.entry(alert.labels.clone()).or_default();
            if is_told(known, &incident) {
                continue;
            }
            known.push(incident);
            let current = self.alerts.get_mut(&alert.labels);
            if current.as_ref().is_some_and(|current| current.state == State::Firing) {
                continue;
            }
            let alert = Alert { late: true, ..alert };
            let over = |current: &&mut Alert| current.state == State::Resolved && current.resolved_at <= alert.resolved_at;
            if let Some(current) = current.filter(over) {
                *current = alert.clone();
            }
            let to = incident.to.unwrap_or(incident.from);
            changes.push(Change { kind: Kind::Fired, at: incident.from, alert: alert.firing() });
            changes.push(Change { kind: Kind::Resolved, at: to, alert });
        }
        changes
    }

    /// Remembers what people are told by a change.
    fn announce(&mut self, change: &Change) {
        match change.kind {
            Kind::Fired => {
                let incident = Incident { to: None, ..Incident::of(&change.alert) };
                self.announced.entry(change.alert.labels.clone()).or_default().push(incident);
            }
            Kind::Resolved => {
                let known = self.announced.get_mut(&change.alert.labels).into_iter().flatten();
                known.filter(|incident| incident.to.is_none()).for_each(|incident| incident.to = Some(change.at));
            }
            Kind::Pending | Kind::Dropped => {}
        }
    }
}

/// Whether people were told of an incident. What they were told is one with what it turned out to be, and is remembered as
/// that: the next revision may leave another part of it.
fn is_told(known: &mut [Incident], incident: &Incident) -> bool {
    let Some(told) = known.iter_mut().find(|told| told.overlaps(incident)) else { return false };
    told.from = told.from.min(incident.from);
    told.to = told.to.zip(incident.to).map(|(told, to)| told.max(to));
    true
}

/// The alert to keep where an evaluation of the past tells nobody anything: the revised one, with what was announced.
fn as_announced(old: &Alert, new: Option<&Alert>, last: Time) -> Option<Alert> {
    let same = |new: &Alert| Incident::of(old).overlaps(&Incident::of(new));
    let (fired_at, resolved_at, late) = (old.fired_at, old.resolved_at, old.late);
    match new {
        Some(new) if new.state == old.state && same(new) => Some(Alert { fired_at, resolved_at, late, ..new.clone() }),
        Some(new) if new.is_live() => Some(new.clone()),
        // What was announced as over is shown for as long as any other.
        _ => Some(old.clone()).filter(|old| old.resolved_at.is_some_and(|at| last - at <= RESOLVED_KEPT)),
    }
}

#[cfg(test)]
mod tests;
