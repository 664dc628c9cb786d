//! What one row becomes: an event, and the shape that holds its dimensions.

use serde::{Deserialize, Serialize};

use crate::time::Time;

/// Identity of a row: its uuid or integer as it is, any other id as 128 bits of SHA-256.
pub type Key = u128;

/// Billionths of a US dollar: exact, so that sums do not depend on the order of their parts.
pub type NanoUsd = i64;

/// How a call ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// It gave an answer.
    #[default]
    Success,
    /// It gave none.
    Failure,
    /// Its row was not finished within `abandon_after`: neither success nor failure.
    Abandoned,
}

/// One finished call, or one record of an error table.
///
/// The dimensions are kept apart, once for all rows that share them: `shape` counts from 0 in the order in which the
/// reader of a table met them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// When it happened, as the mapping's `time` says.
    pub time: Time,
    /// Which dimensions it has.
    pub shape: u32,
    /// How many calls it stands for; 0 where it only adds tokens and cost, measures and marks to a call that is counted
    /// already, as abandoned.
    pub count: u32,
    /// How the call ended; of no meaning for error records.
    pub outcome: Outcome,
    /// Tokens of the prompt.
    pub input_tokens: u64,
    /// Tokens of the answer.
    pub output_tokens: u64,
    /// Tokens of which only the total is known.
    pub unspecified_tokens: u64,
    /// What it cost; none where no price was known.
    pub cost: Option<NanoUsd>,
    /// How long it took, in microseconds.
    pub latency: Option<i64>,
    /// Measures that some rule reads, in the order of their table, in millionths of their unit; none where unknown.
    /// Empty where the call was abandoned.
    pub measures: Vec<Option<i64>>,
    /// Digests of the values of dimensions that some rule counts the distinct values of (users), in the order of their
    /// table; none where there is no value. Empty where the call was abandoned. Kept apart from the shape, which so many values would multiply.
    pub marks: Vec<Option<u64>>,
}
