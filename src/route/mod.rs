//! Which alerts are told to whom, when, and why.

use serde::{Deserialize, Serialize};

use crate::alert::Alert;
use crate::labels::Labels;
use crate::time::Time;

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
