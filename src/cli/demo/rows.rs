//! What traffic is made of: rows of the two cora tables, and the notes that the terminal shows beside them.

use std::sync::Arc;

use crate::time::Time;

/// A row of `ai_log_usage`, with names where the table has keys.
#[derive(Clone, Debug, PartialEq)]
pub struct UsageRow {
    /// A UUID.
    pub id: String,
    /// When the call began.
    pub started_at: Time,
    /// When it ended; none where the log does not say.
    pub completed_at: Option<Time>,
    /// Whose API was called.
    pub provider: Arc<str>,
    /// The model that answered.
    pub model: Arc<str>,
    /// The part of the product that called.
    pub source: Arc<str>,
    /// `text_generation`, `embedding`...
    pub operation: Arc<str>,
    /// The customer, where known.
    pub org: Option<Arc<str>>,
    /// Tokens in.
    pub prompt_tokens: Option<i64>,
    /// Tokens out.
    pub completion_tokens: Option<i64>,
    /// Both.
    pub total_tokens: Option<i64>,
    /// How long it took.
    pub latency_ms: Option<i64>,
    /// Whether it succeeded.
    pub success: bool,
    /// What it cost; none where no price is known.
    pub cost_usd: Option<f64>,
}

impl UsageRow {
    /// When a product would have written the row: at the end of the call.
    pub fn visible_at(&self) -> Time {
        self.completed_at.unwrap_or(self.started_at)
    }
}

/// A row of `ai_log_error`.
#[derive(Clone, Debug, PartialEq)]
pub struct ErrorRow {
    /// A UUID.
    pub id: String,
    /// When the call failed.
    pub occurred_at: Time,
    /// Whose API was called.
    pub provider: Arc<str>,
    /// The model that was asked for.
    pub model: Arc<str>,
    /// The part of the product that called.
    pub source: Arc<str>,
    /// `text_generation`, `embedding`...
    pub operation: Arc<str>,
    /// The customer, where known.
    pub org: Option<Arc<str>>,
    /// The class of the error; some writers leave it out.
    pub error_type: Option<Arc<str>>,
    /// What the provider said.
    pub message: String,
}

/// Rows of both tables, each in the order in which they become visible.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rows {
    /// For `ai_log_usage`.
    pub usage: Vec<UsageRow>,
    /// For `ai_log_error`.
    pub errors: Vec<ErrorRow>,
}

/// What happens to the traffic, for people.
#[derive(Clone, Debug, PartialEq)]
pub struct Note {
    /// When.
    pub at: Time,
    /// What sort of thing.
    pub kind: NoteKind,
    /// What, in one line.
    pub text: String,
}

/// What a note is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoteKind {
    /// Something begins to go wrong.
    Incident,
    /// It is over.
    Recovery,
    /// Anything else.
    Info,
}
