//! The one rule that is built in: a source that cannot be read.

use crate::alert::Finding;
use crate::labels::Labels;
use crate::message::whole_seconds;
use crate::time::{Span, Time};

/// The alert that says that a source could not be read for too long; its book is kept beside those of the rules.
pub const SOURCE_STALE: &str = "SourceStale";

/// How far a source was read.
#[derive(Clone, Copy, Debug)]
pub struct SourceState {
    /// The database's now of the last poll that read all of it.
    pub read: Option<Time>,
    /// Our clock at the last successful poll.
    pub polled_at: Time,
    /// After how long without a poll it is stale.
    pub stale_after: Span,
}

/// What the built-in rule finds of a source that was not polled for so long.
pub fn finding(source: &str, since: Span) -> Finding {
    let labels: Labels = [("alertname", SOURCE_STALE), ("source", source), ("severity", "critical")].into_iter().collect();
    let summary = format!("{source} has not been read for {}: its rules are frozen", whole_seconds(since));
    let evidence = format!("no successful poll for {}", whole_seconds(since));
    Finding { labels, annotations: [("summary", summary)].into_iter().collect(), value: since.as_secs_f64(), evidence }
}
