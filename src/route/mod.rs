//! Which alerts are told to whom, when, and why.
//!
//! A tree of routes (`tree.rs`) says into which group an alert falls and whose it is. The [`Router`] (`group.rs`) holds
//! a case (`case.rs`) for each group and looks at it (`look.rs`) when its time has come (`schedule.rs`): what keeps its
//! alerts quiet (`quiet.rs`), and what the notification log (`log.rs`), which knows what each integration was told last,
//! says that there is to tell, and why (`reason.rs`, `trace.rs`). Semantics and names are Alertmanager's; what is ours
//! beside it are the resolve guarantee (`log.rs`), `escalation.rs` and `acknowledgement.rs`.

mod acknowledgement;
mod case;
mod escalation;
mod group;
mod inhibition;
mod log;
mod look;
mod order;
mod quiet;
mod reason;
mod saved;
mod schedule;
mod silence;
mod trace;
mod tree;
mod view;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::alert::Alert;
use crate::calendar::TimeIntervals;
use crate::labels::Labels;
use crate::time::{Span, Time};

pub use group::{Action, Decision, Router};
pub use inhibition::{InhibitRule, Inhibitions};
pub use reason::Reason;
pub use saved::Saved;
pub use silence::{Draft, Refused, Silence, SilenceState, Silences};
pub use tree::{Escalation, GroupBy, Route, Scope};
pub use view::{Acknowledgement, GroupView, Selection, Status, Trace};

/// Whose semantics hold where Alertmanager's and ours differ: the key `compatibility`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Semantics {
    /// Ours: whoever was told that something fires is told that it stopped; a held page is sent when its interval opens.
    #[default]
    Ours,
    /// Alertmanager's, with its defaults.
    Alertmanager,
}

/// All that a configuration says about who is told.
#[derive(Clone, Debug, Default)]
pub struct Routing {
    /// Whose semantics hold.
    pub semantics: Semantics,
    /// The root of the tree.
    pub root: Route,
    /// Which alerts keep quiet while others fire.
    pub inhibit_rules: Vec<InhibitRule>,
    /// The intervals that routes name.
    pub time_intervals: TimeIntervals,
    /// The ways to reach each receiver.
    pub receivers: BTreeMap<String, Vec<Endpoint>>,
}

/// A way to reach a receiver, as far as it matters to what is told when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Its number among the integrations of its receiver.
    pub index: usize,
    /// Whether it is told what is over.
    pub send_resolved: bool,
    /// How often what fires is told again, where that is not for people to read (`repeat_interval` does not count then).
    pub refresh: Option<Span>,
}

/// One message to one receiver about one group of alerts, in no receiver's words yet.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Notification {
    /// The receiver's name.
    pub receiver: String,
    /// Identity of the group, as Alertmanager writes it: `{}:{alertname="AIErrorSpike"}`.
    pub group_key: String,
    /// The labels that the group was formed by.
    pub group_labels: Labels,
    /// The alerts, firing and resolved, firing first, each kind in the order of their labels.
    pub alerts: Vec<Alert>,
    /// Why it is sent: `new alert`, `resolved`, `repeat`...
    pub reason: String,
    /// When it was decided.
    pub at: Time,
}
