//! The life of an alert: pending, firing, resolved, as a function of (state, findings, now).

use serde::{Deserialize, Serialize};

use crate::labels::Labels;
use crate::time::{Span, Time};

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
