//! The pure middle: what was counted to what is told, as a function of (state, input, now).
//!
//! Rules find, alerts live, the router decides; nobody here reads a table, a clock or a file, stores or sends. `run`,
//! `once` and `demo` drive it from `engine/core.rs`, which keeps what it says; [`Replay`] drives it over rows at
//! instants of the caller's choice, for `test` and `backtest`.

#[cfg(test)]
mod guarantee;
mod replay;

use std::collections::{BTreeMap, BTreeSet};

use crate::alert::{Alert, Book, Change, Finding, Inbox, Incoming, Policy, State};
use crate::evaluation::{Evaluated, Evaluation};
use crate::labels::Labels;
use crate::limits::MAX_ALERTS;
use crate::notify::Integration;
use crate::outbox::{Lane, To};
use crate::route::{Action, Decision, Notification, Reason, Router, Routing, Saved, Silences};
use crate::rule::{Gauge, Rule};
use crate::source::query::{Answer, Query};
use crate::time::{Span, Time};
use crate::window::Windows;

pub use replay::{Replay, Step};

/// The part of a configuration that it follows.
#[derive(Debug, Default)]
pub struct Setup {
    /// What is evaluated.
    pub rules: Vec<Rule>,
    /// Names of the sources.
    pub sources: Vec<String>,
    /// How far back the past may be evaluated again.
    pub lateness: Span,
    /// Who is told.
    pub routing: Routing,
    /// The ways to reach each receiver.
    pub receivers: BTreeMap<String, Vec<Integration>>,
    /// How long an alert fires that was posted without its end.
    pub resolve_timeout: Span,
}

/// What outlives a configuration.
#[derive(Debug, Default)]
pub struct Kept {
    /// The alerts of each rule, by its key.
    pub books: BTreeMap<String, Book>,
    /// The last instant that each rule was evaluated at.
    pub evaluated: BTreeMap<String, Time>,
    /// The alerts about ourselves.
    pub own: Book,
    /// The alerts that others posted.
    pub inbox: Inbox,
    /// Who was told what.
    pub router: Saved,
    /// What is silent.
    pub silences: Silences,
}

/// A message to one integration of a receiver.
#[derive(Clone, Debug, PartialEq)]
pub struct Message {
    /// To whom.
    pub to: To,
    /// Why.
    pub reason: Reason,
    /// What.
    pub notification: Notification,
}

/// Rules, alerts and routing.
#[derive(Debug, Default)]
pub struct Pipeline {
    evaluation: Evaluation,
    /// Alerts about ourselves.
    own: Book,
    inbox: Inbox,
    router: Router,
    receivers: BTreeMap<String, Vec<Integration>>,
    resolve_timeout: Span,
}

impl Pipeline {
    /// Goes on with what is kept, under a configuration. Comes with the keys of the rules that are gone, and the changes by
    /// which their alerts end: they are to be routed at `now`.
    pub fn new(setup: Setup, kept: Kept, windows: &mut Windows, now: Time) -> (Pipeline, Vec<String>, Vec<Change>) {
        let Setup { rules, sources, lateness, routing, receivers, resolve_timeout } = setup;
        let Kept { books, evaluated, own, inbox, router, silences } = kept;
        let (evaluation, orphans) = Evaluation::new(rules, &sources, lateness, windows, books, &evaluated);
        let router = Router::new(routing, router, silences, now);
        let mut pipeline = Pipeline { evaluation, own, inbox, router, receivers, resolve_timeout };
        let alerts: Vec<Alert> = pipeline.alerts().cloned().collect();
        pipeline.router.recall(&alerts, now);
        let (mut gone, mut changes) = (Vec::new(), Vec::new());
        for (key, mut book) in orphans {
            changes.append(&mut book.close(now));
            gone.push(key);
        }
        (pipeline, gone, changes)
    }

    /// What another configuration goes on with.
    pub fn into_kept(self) -> Kept {
        let (books, evaluated) = self.evaluation.into_books();
        let (router, silences) = self.router.into_saved();
        Kept { books, evaluated, own: self.own, inbox: self.inbox, router, silences }
    }

    /// Evaluates every rule up to where its sources were read; see [`Evaluation::advance`].
    pub fn advance(
        &mut self,
        windows: &mut Windows,
        read: &BTreeMap<String, Time>,
        touched: &BTreeMap<usize, Time>,
    ) -> Evaluated {
        self.evaluation.advance(windows, read, touched)
    }

    /// Takes what is wrong with ourselves at an instant.
    pub fn watch_own(&mut self, findings: Vec<Finding>, now: Time) -> Vec<Change> {
        if findings.is_empty() && !self.own.alerts().any(Alert::is_live) {
            return Vec::new();
        }
        let policy = Policy { hold: Span::ZERO, keep_firing_for: Span::ZERO, limit: MAX_ALERTS };
        // A clock that goes back is no reason to change anything.
        let changes = self.own.step(&policy, findings, now).unwrap_or_default();
        self.own.forget(now);
        changes
    }

    /// Tells the router what changed, and every group whose time has come to whom it concerns.
    pub fn route(&mut self, changes: &[Change], now: Time) -> Vec<Message> {
        self.route_some(changes, now, usize::MAX)
    }

    /// The same until groups of so many alerts were looked at; the others are still due ([`Pipeline::is_due`]).
    pub fn route_some(&mut self, changes: &[Change], now: Time, alerts: usize) -> Vec<Message> {
        let hidden = self.hidden();
        let ended = self.inbox.expire(now);
        for alert in changes.iter().map(|change| &change.alert) {
            self.router.update(alert, now);
            // One that was posted under the same labels is seen again, if it still fires.
            let posted = self.inbox.get(&alert.labels).filter(|posted| posted.state == State::Firing);
            if let Some(posted) = posted.filter(|_| alert.state == State::Resolved) {
                self.router.update(posted, now);
            }
        }
        for alert in ended.iter().filter(|alert| !hidden.contains(&alert.labels)) {
            self.router.update(alert, now);
        }
        // Values and texts of what fires on.
        let refreshed = self.evaluation.take_evaluated().chain(self.own.alerts());
        for alert in refreshed.filter(|alert| alert.state == State::Firing) {
            self.router.update(alert, now);
        }
        let receivers = &self.receivers;
        let integrations = |receiver: &str| receivers.get(receiver).into_iter().flatten();
        let decisions = self.router.flush_some(now, alerts);
        let message = |Decision { receiver, integration, action, reason, .. }: Decision| {
            let Action::Notify(notification) = action else { return None };
            let to = To::from(integrations(&receiver).find(|known| known.index == integration)?);
            Some(Message { to, reason, notification })
        };
        decisions.into_iter().filter_map(message).collect()
    }

    /// When time alone brings a message; it may be past.
    pub fn next_flush(&self) -> Option<Time> {
        self.router.next_flush().into_iter().chain(self.inbox.next_end()).min()
    }

    /// Whether there is such a message now, also where the clock went back.
    pub fn is_due(&self, now: Time) -> bool {
        self.router.is_due(now) || self.inbox.next_end().is_some_and(|at| at <= now)
    }

    /// Takes alerts that somebody else posted. Says for how many there was no room.
    pub fn post(&mut self, alerts: Vec<Incoming>, now: Time) -> usize {
        let posted: Vec<Labels> = alerts.iter().map(|alert| alert.labels.clone()).collect();
        let taken = alerts.into_iter().filter_map(|alert| self.inbox.post(alert, self.resolve_timeout, now).then_some(()));
        let refused = posted.len() - taken.count();
        let hidden = self.hidden();
        for labels in posted.iter().filter(|labels| !hidden.contains(labels)) {
            if let Some(alert) = self.inbox.get(labels) {
                self.router.update(alert, now);
            }
        }
        refused
    }

    /// Groups, silences, and who was told what.
    pub fn router(&self) -> &Router {
        &self.router
    }

    /// The same, to silence and to acknowledge.
    pub fn router_mut(&mut self) -> &mut Router {
        &mut self.router
    }

    /// The last message in a lane was given up; `heard`: what its receiver may think that it fires.
    pub fn forget_log(&mut self, lane: &Lane, heard: &BTreeSet<String>) {
        self.router.forget_log(&lane.receiver, lane.integration, &lane.group_key, heard);
    }

    /// Numbers of rules that changed since the last call.
    pub fn take_gauges(&mut self, windows: &mut Windows) -> Vec<Gauge> {
        self.evaluation.take_gauges(windows)
    }

    /// All alerts. While one of ours fires, one that others posted under the same labels is not seen.
    pub fn alerts(&self) -> impl Iterator<Item = &Alert> {
        let hidden = self.hidden();
        self.ours().chain(self.inbox.alerts().filter(move |alert| !hidden.contains(&alert.labels)))
    }

    /// The alerts of rules, and those about ourselves.
    pub fn ours(&self) -> impl Iterator<Item = &Alert> {
        self.evaluation.alerts().chain(self.own.alerts())
    }

    /// Labels under which others posted an alert and one of ours fires: it is the one that we know about.
    fn hidden(&self) -> BTreeSet<Labels> {
        let firing = self.ours().filter(|alert| alert.state == State::Firing);
        self.inbox.known(firing.map(|alert| &alert.labels))
    }

    /// The ways to reach each receiver.
    pub fn receivers(&self) -> &BTreeMap<String, Vec<Integration>> {
        &self.receivers
    }

    /// The integrations of a receiver.
    pub fn integrations(&self, receiver: &str) -> &[Integration] {
        self.receivers.get(receiver).map_or(&[], Vec::as_slice)
    }

    /// The oldest instant that may still be evaluated, where sources are read up to `now`.
    pub fn horizon(&self, now: Time) -> Time {
        self.evaluation.horizon(now)
    }

    /// What a source is asked beside its events.
    pub fn queries(&self, source: &str) -> Vec<Query> {
        self.evaluation.queries(source)
    }

    /// The rules that ask a source this, by key.
    pub fn askers(&self, source: &str, sql: &str) -> Vec<String> {
        self.evaluation.askers(source, sql)
    }

    /// A source answered; see [`Evaluation::answer`].
    pub fn answer(&mut self, source: &str, sql: &str, answer: Answer) -> Vec<(String, String)> {
        self.evaluation.answer(source, sql, answer)
    }

    /// The last instant that each rule was evaluated at.
    pub fn evaluated(&self) -> BTreeMap<String, Time> {
        self.evaluation.evaluated()
    }

    /// Books that changed since the last call, by rule.
    pub fn take_changed(&mut self) -> Vec<(String, &Book)> {
        self.evaluation.take_changed()
    }

    /// The alerts about ourselves, where they changed since the last call.
    pub fn take_changed_own(&mut self) -> Option<&Book> {
        self.own.changed().then_some(&self.own)
    }

    /// Documents of alerts that others posted and of the routing that changed since the last call, by kind and name; none: it is
    /// gone.
    pub fn take_changed_routing(&mut self) -> Vec<(&'static str, String, Option<Vec<u8>>)> {
        let posted = self.inbox.take_changed().into_iter().map(|(name, body)| ("posted", name, body));
        posted.chain(self.router.take_changed()).collect()
    }
}

#[cfg(test)]
mod tests;
