//! The life of an alert: pending, firing, resolved, as a function of (state, findings, now).
//!
//! This file holds one alert and the one step of its life; [`Book`] holds all alerts of a rule, and the way back into
//! the past for rows that come late. The steps are Prometheus' own (`rules/alerting.go`), but firing alerts outlive
//! an evaluation that fails.

mod book;
mod posted;

use serde::{Deserialize, Serialize};

use crate::labels::Labels;
use crate::limits::RESOLVED_KEPT;
use crate::time::{Span, Time};

pub use book::Book;
pub use posted::{Inbox, Incoming};

/// What a rule found at one instant for one label set: that the rule is broken there.
#[derive(Clone, Debug, PartialEq)]
pub struct Finding {
    /// The alert's identity: labels of the group, labels of the rule, `alertname`.
    pub labels: Labels,
    /// Expanded texts.
    pub annotations: Labels,
    /// What the rule measured.
    pub value: f64,
    /// What was compared with what, in words.
    pub evidence: String,
}

/// Where in its life an alert is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum State {
    /// The rule is broken, but not yet for as long as `for` asks.
    Pending,
    /// It is announced.
    Firing,
    /// It is over.
    Resolved,
}

/// One alert.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Alert {
    /// Its identity.
    pub labels: Labels,
    /// Texts of the last evaluation that found it.
    pub annotations: Labels,
    /// Value of the last evaluation that found it.
    pub value: f64,
    /// Evidence of the last evaluation that found it.
    pub evidence: String,
    /// Pending, firing, resolved.
    pub state: State,
    /// When the rule was first found broken.
    pub active_at: Time,
    /// When it began to fire.
    pub fired_at: Option<Time>,
    /// When it was resolved.
    pub resolved_at: Option<Time>,
    /// Since when a firing alert has been missing (`keep_firing_for`).
    pub absent_since: Option<Time>,
    /// Its rows came late: it was found when the past was evaluated again.
    pub late: bool,
    /// What only an alert that somebody else posted has; it has no value and no evidence.
    pub posted: Option<Posted>,
}

/// What comes with an alert from outside.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Posted {
    /// Where it comes from.
    pub generator_url: String,
    /// When it ends unless it is posted again.
    pub ends_at: Time,
    /// That end was not said, but assumed.
    pub timeout: bool,
    /// When it was posted last.
    pub updated_at: Time,
}

/// How a rule's alerts live.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    /// `for`
    pub hold: Span,
    /// `keep_firing_for`
    pub keep_firing_for: Span,
    /// The group's `limit`.
    pub limit: usize,
}

/// What happened to an alert.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It waits for as long as `for` asks.
    Pending,
    /// It was pending, and is gone without a word.
    Dropped,
    /// It fires.
    Fired,
    /// It fires no more.
    Resolved,
}

/// One thing that happened to one alert.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// What happened.
    pub kind: Kind,
    /// At which instant of the rule's evaluation.
    pub at: Time,
    /// The alert right after it (a dropped one: right before). The book may have moved on: of an incident that came
    /// late and is over, this is the only sight as firing. `alert.late` says whether it came late.
    pub alert: Alert,
}

impl Alert {
    /// Whether it is pending or firing.
    pub fn is_live(&self) -> bool {
        self.state != State::Resolved
    }

    /// The same alert, over since `at`.
    pub fn resolved(&self, at: Time) -> Alert {
        Alert { state: State::Resolved, resolved_at: Some(at), absent_since: None, ..self.clone() }
    }

    /// The same alert as it was while it fired.
    pub fn firing(&self) -> Alert {
        Alert { state: State::Firing, resolved_at: None, absent_since: None, ..self.clone() }
    }

    /// The alert of one label set after the evaluation at `at`; none where nothing is left to remember.
    fn next(policy: &Policy, before: Option<&Alert>, found: Option<Finding>, at: Time) -> Option<Alert> {
        let live = before.filter(|alert| alert.is_live());
        let Some(Finding { labels, annotations, value, evidence }) = found else {
            let kept = |alert: &&Alert| alert.resolved_at.is_some_and(|resolved_at| at - resolved_at <= RESOLVED_KEPT);
            return live.map_or_else(|| before.filter(kept).cloned(), |alert| alert.missing(policy, at));
        };
        let (mut state, mut fired_at) = live.map_or((State::Pending, None), |alert| (alert.state, alert.fired_at));
        let active_at = live.map_or(at, |alert| alert.active_at);
        if state == State::Pending && at - active_at >= policy.hold {
            (state, fired_at) = (State::Firing, Some(at));
        }
        let late = live.is_some_and(|alert| alert.late);
        let (resolved_at, absent_since) = (None, None);
        Some(Alert {
            labels,
            annotations,
            value,
            evidence,
            state,
            active_at,
            fired_at,
            resolved_at,
            absent_since,
            late,
            posted: None,
        })
    }

    /// A live alert after an evaluation that did not find it.
    fn missing(&self, policy: &Policy, at: Time) -> Option<Alert> {
        let since = self.absent_since.unwrap_or(at);
        match self.state {
            State::Firing if at - since < policy.keep_firing_for => Some(Alert { absent_since: Some(since), ..self.clone() }),
            State::Firing => Some(self.resolved(at)),
            State::Pending | State::Resolved => None,
        }
    }
}

impl Kind {
    /// What it means to people that an alert was in one state and is in another; none: nothing.
    fn of(before: Option<State>, after: Option<State>) -> Option<Kind> {
        match (before, after) {
            (before, after) if before == after => None,
            (_, Some(State::Firing)) => Some(Kind::Fired),
            (Some(State::Firing), _) => Some(Kind::Resolved),
            (_, Some(State::Pending)) => Some(Kind::Pending),
            (Some(State::Pending), _) => Some(Kind::Dropped),
            (None | Some(State::Resolved), None | Some(State::Resolved)) => None,
        }
    }
}
