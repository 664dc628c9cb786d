//! Why a group was or was not told to an integration.

use std::fmt;

use serde::{Deserialize, Serialize};

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
    /// The last message is older than the receiver wants it.
    Refresh,
    /// Nobody has acknowledged it for as long as a step of the escalation waits.
    Escalated,
    /// Held: nothing fires, and nobody thinks that something does.
    NothingFires,
    /// Held: nothing fires any more, but `send_resolved` is false.
    ResolveUnwanted,
    /// Held: nothing is new, and it is too early to repeat it.
    NothingNew,
    /// Held: it would be repeated, but somebody takes care of it.
    Acknowledged,
    /// Held: all that fires is inhibited.
    Inhibited,
    /// Held: it is outside of `active_time_intervals`.
    Inactive,
    /// Held: it is within `mute_time_intervals`.
    Muted,
    /// Held: all that fires is silenced, or inhibited.
    Silenced,
}

impl Reason {
    /// Whether a message is sent for it.
    pub fn notifies(self) -> bool {
        match self {
            Reason::First
            | Reason::NewAlert
            | Reason::AllResolved
            | Reason::SomeResolved
            | Reason::GivenUp
            | Reason::Repeat
            | Reason::Refresh
            | Reason::Escalated => true,
            Reason::NothingFires
            | Reason::ResolveUnwanted
            | Reason::NothingNew
            | Reason::Acknowledged
            | Reason::Inhibited
            | Reason::Inactive
            | Reason::Muted
            | Reason::Silenced => false,
        }
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
            Reason::Refresh => "refresh",
            Reason::Escalated => "escalated",
            Reason::NothingFires => "nothing fires",
            Reason::ResolveUnwanted => "resolved, but send_resolved is false",
            Reason::NothingNew => "nothing new within repeat_interval",
            Reason::Acknowledged => "acknowledged",
            Reason::Inhibited => "inhibited",
            Reason::Inactive => "outside of active_time_intervals",
            Reason::Muted => "within mute_time_intervals",
            Reason::Silenced => "silenced",
        })
    }
}
