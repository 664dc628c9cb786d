//! The pure middle: what was counted to what is told, as a function of (state, input, now).
//!
//! Rules find, alerts live, the router decides; nobody here reads a table, a clock or a file, stores or sends. `run`,
//! `once` and `demo` drive it from `engine/core.rs`, which keeps what it says; [`Replay`] drives it over rows at
//! instants of the caller's choice, for `test` and `backtest`.

mod replay;

use std::collections::{BTreeMap, BTreeSet};

use crate::alert::{Alert, Book, Change, Finding, Policy, State};
use crate::evaluation::{Evaluated, Evaluation};
use crate::labels::Labels;
use crate::limits::MAX_ALERTS;
use crate::notify::Integration;
use crate::outbox::To;
use crate::route::{Action, Decision, Notification, Reason, Route, Router, Saved};
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
    /// Who is told; none where nobody is.
    pub route: Option<Route>,
    /// The ways to reach each receiver.
    pub receivers: BTreeMap<String, Vec<Integration>>,
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
    /// Who was told what.
    pub router: Option<Saved>,
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
    router: Option<Router>,
    receivers: BTreeMap<String, Vec<Integration>>,
}

impl Pipeline {
    /// Goes on with what is kept, under a configuration. Comes with the keys of the rules that are gone, and the changes by
    /// which their alerts end: they are to be routed at `now`.
    pub fn new(setup: Setup, kept: Kept, windows: &mut Windows, now: Time) -> (Pipeline, Vec<String>, Vec<Change>) {
        let Setup { rules, sources, lateness, route, receivers } = setup;
        let Kept { books, evaluated, own, router } = kept;
        let (evaluation, orphans) = Evaluation::new(rules, &sources, lateness, windows, books, &evaluated);
        let router = route.map(|route| match router {
            Some(saved) => Router::restore(route, saved),
            None => Router::new(route),
        });
        let mut pipeline = Pipeline { evaluation, own, router, receivers };
        let firing: BTreeSet<Labels> = pipeline.firing().map(|alert| alert.labels.clone()).collect();
        if let Some(router) = &mut pipeline.router {
            router.reconcile(|labels| firing.contains(labels), now);
        }
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
        Kept { books, evaluated, own: self.own, router: self.router.map(Router::into_saved) }
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
        let firing: Vec<Alert> = self.firing().cloned().collect();
        let Some(router) = &mut self.router else { return Vec::new() };
        for alert in changes.iter().map(|change| &change.alert).chain(&firing) {
            router.update(alert, now);
        }
        let receivers = &self.receivers;
        let integrations = |receiver: &str| receivers.get(receiver).into_iter().flatten();
        let decisions = router.flush(now, |receiver| {
            integrations(receiver).map(|integration| (integration.index, integration.send_resolved)).collect()
        });
        let message = |Decision { receiver, integration, action, reason, .. }: Decision| {
            let Action::Notify(notification) = action else { return None };
            let to = To::from(integrations(&receiver).find(|known| known.index == integration)?);
            Some(Message { to, reason, notification })
        };
        decisions.into_iter().filter_map(message).collect()
    }

    /// When time alone brings a message; it may be past.
    pub fn next_flush(&self) -> Option<Time> {
        self.router.as_ref().and_then(Router::next_flush)
    }

    /// The last message to an integration about a group was given up.
    pub fn forget_log(&mut self, receiver: &str, integration: usize, group_key: &str) {
        if let Some(router) = &mut self.router {
            router.forget_log(receiver, integration, group_key);
        }
    }

    /// Numbers of rules that changed since the last call.
    pub fn take_gauges(&mut self) -> Vec<Gauge> {
        self.evaluation.take_gauges()
    }

    /// All alerts.
    pub fn alerts(&self) -> impl Iterator<Item = &Alert> {
        self.evaluation.alerts().chain(self.own.alerts())
    }

    fn firing(&self) -> impl Iterator<Item = &Alert> {
        self.alerts().filter(|alert| alert.state == State::Firing)
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

    /// What must be remembered of the routing; none where nobody is told.
    pub fn routing(&self) -> Option<&Saved> {
        self.router.as_ref().map(Router::saved)
    }
}
