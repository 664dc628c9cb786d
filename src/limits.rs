//! Every bound in one place: its name, its reason and what happens when it is reached.

use crate::time::Span;

/// Series a table may have on /metrics, and groups a stream of windows may have; later ones are summed in `other`.
pub const MAX_SERIES: usize = 50_000;
/// Distinct combinations of dimensions kept per table, to count without hashing text; later ones become `other`.
pub const MAX_SHAPES: usize = 400_000;
/// Rows that one batch holds before it is committed; bounds memory and what a kill -9 makes us read again.
pub const BATCH_ROWS: usize = 131_072;
/// Unfinished rows that are looked up by id in one query.
pub const LOOKUP_KEYS: usize = 5_000;
/// Unfinished and abandoned rows that a table may have; the oldest are counted as abandoned beyond it.
pub const MAX_OPEN: usize = 100_000;
/// How long an abandoned row is still looked up, for its tokens and cost.
pub const ABANDONED_KEPT: Span = Span::secs(86_400);
/// Missed ticks are evaluated after a stop, but not further back than this.
pub const CATCH_UP: Span = Span::secs(86_400);
/// Bytes of a receiver's answer that are read.
pub const ANSWER_BYTES: usize = 64 * 1024;
/// Time to connect to a receiver.
pub const CONNECT_TIMEOUT: Span = Span::secs(5);
/// Time for a whole request to a receiver.
pub const REQUEST_TIMEOUT: Span = Span::secs(10);
/// The longest wait between two attempts of a delivery.
pub const RETRY_MAX: Span = Span::secs(300);
/// The longest `Retry-After` that is obeyed.
pub const RETRY_AFTER_MAX: Span = Span::secs(3_600);
/// When a delivery is given up; it stays visible.
pub const GIVE_UP: Span = Span::secs(86_400);
/// How long a resolved alert is shown before it is forgotten.
pub const RESOLVED_KEPT: Span = Span::secs(900);
/// How long delivered and given-up deliveries, and entries of the notification log, are kept.
pub const RETENTION: Span = Span::secs(120 * 3_600);
/// Alerts of one rule at once, unless its group says `limit`; more are an error of the rule.
pub const MAX_ALERTS: usize = 10_000;
