//! Every bound in one place: its name, its reason and what happens when it is reached.

use crate::time::Span;

/// Series a table may have on /metrics, and groups a stream of windows may have; later ones are summed in `other`.
pub const MAX_SERIES: usize = 50_000;
/// Distinct combinations of dimensions kept per table, to count without hashing text; later ones become `other`.
pub const MAX_SHAPES: usize = 400_000;
/// The largest cost of one row, in billionths of a dollar: a million dollars. No call costs that; more is a unit that was
/// mistaken or a fault of the writer, and so is a credit (a counter may not go back): unknown, and counted as refused.
pub const MAX_COST: i64 = 1_000_000 * 1_000_000_000;
/// The most tokens of one row and type: a hundred thousand full contexts of 100 000; refused like [`MAX_COST`].
pub const MAX_TOKENS: u64 = 10_000_000_000;
/// The longest call: no connection lives for thirty days; refused like [`MAX_COST`].
pub const MAX_LATENCY: Span = Span::secs(30 * 86_400);
/// The most calls that one row stands for; it fits an event's 32 bits, and 18 billion such rows fit a total. More is
/// refused like [`MAX_COST`]: the row counts as one call.
pub const MAX_COUNT: u64 = 1_000_000_000;
/// The largest measure of one row, in millionths of its unit, and the smallest with a minus: a million million. It
/// fits 64 bits, though a sum of ten does not; more is refused like [`MAX_COST`].
pub const MAX_MEASURE: i64 = 1_000_000_000_000 * 1_000_000;
/// Bytes of a dimension's value; longer ones are cut, since whoever may choose the name of a model could fill every scrape.
pub const VALUE_BYTES: usize = 256;
/// Rows that one batch holds before it is committed; bounds memory and what a kill -9 makes us read again.
pub const BATCH_ROWS: usize = 131_072;
/// A slice of history that brings more than this is cut and read again.
pub const SLICE_ROWS: usize = 8 * BATCH_ROWS;
/// Unfinished rows that are looked up by id in one query.
pub const LOOKUP_KEYS: usize = 5_000;
/// Unfinished rows that a table may have, and abandoned ones; beyond it the oldest are counted as abandoned, or forgotten.
pub const MAX_OPEN: usize = 100_000;
/// How long an abandoned row is still looked up, for its tokens and cost.
pub const ABANDONED_KEPT: Span = Span::secs(86_400);
/// Missed ticks of a rule that one step evaluates, so that deliveries need not wait for the rest.
pub const TICKS_AT_ONCE: usize = 480;
/// Missed ticks are evaluated after a stop, but not further back than this.
pub const CATCH_UP: Span = Span::secs(86_400);
/// Bytes of a receiver's answer that are read.
pub const ANSWER_BYTES: usize = 64 * 1024;
/// Time to connect to a receiver.
pub const CONNECT_TIMEOUT: Span = Span::secs(5);
/// Time for a whole request to a receiver.
pub const REQUEST_TIMEOUT: Span = Span::secs(10);
/// HTTP clients that are kept, one for each way to connect; the one that was not used for longest goes first, and is built
/// again when it is needed.
pub const MAX_CLIENTS: usize = 64;
/// Deliveries that are sent at once, by all receivers together: bounds connections and memory; the others wait their turn.
pub const MAX_SENDING: usize = 16;
/// Of those, deliveries to one integration: a receiver that hangs does not hold up the others.
pub const MAX_SENDING_TO_ONE: usize = 4;
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
/// Silences at once, those that ended and are kept among them; a further one is refused. Each is looked at for each alert.
pub const MAX_SILENCES: usize = 10_000;
/// Bytes of the texts of one silence: its matchers twice over and a long comment; a larger one is refused.
pub const MAX_SILENCE_BYTES: usize = 64 * 1024;
/// Deliveries that are kept after their end, unless one is the last word about something that fires; the oldest are
/// forgotten first. They are history: what was counted of them stays.
pub const MAX_ENDED: usize = 10_000;
/// Alerts of one rule at once, unless its group says `limit`; more are an error of the rule.
pub const MAX_ALERTS: usize = 10_000;
/// Alerts that others posted and that are remembered; ten Prometheus servers at their worst. The poster of a new one is told
/// that there is no room.
pub const MAX_POSTED: usize = 100_000;
/// Alerts that one step takes from a POST, and that it tells of: where there are more, other steps follow, and who silences or
/// acknowledges takes turns with them.
pub const ALERTS_AT_ONCE: usize = 100;
/// Bytes of the labels, annotations and link of one posted alert; those that people write have a hundredth. Longer ones are
/// refused.
pub const MAX_POSTED_BYTES: usize = 64 * 1024;
/// Bytes of the body of a request to the API: ten thousand alerts of a kilobyte and a half; longer ones are refused.
pub const MAX_BODY_BYTES: usize = 16 * 1024 * 1024;
/// Rows of one answer to a query of a rule, ten times the alerts that a rule may have; more are an error of the rule.
pub const MAX_ANSWER_ROWS: usize = 100_000;
/// Bytes of their texts, a hundred thousand ids twice over; more are an error of the rule.
pub const MAX_ANSWER_BYTES: usize = 8 * 1024 * 1024;
/// Groups of which a rule shows numbers on /metrics, those met first; each is several series, and costs every scrape. Of
/// the others alerts alone tell.
pub const MAX_GAUGED_GROUPS: u32 = 200;
/// Answers that are kept of one query, an hour of them at the usual pace, for instants that are evaluated again; the oldest
/// go first, and late rows from before what is left change nothing.
pub const MAX_ANSWERS: usize = 64;
/// Rows of one test: a gigabyte; a row may stand for many calls instead.
pub const MAX_TEST_ROWS: usize = 2_000_000;
/// Decisions that a group keeps of each integration, for those who ask why; the oldest go first.
pub const MAX_TRACES: usize = 32;
/// What a decision says in words of what kept alerts quiet; the rest is counted.
pub const MAX_QUIET_WORDS: usize = 8;
/// Connections that are served at once: a page, its scrapers and other tools have tens, and a process may often open no more
/// than 1024 files. Further ones wait until one ends.
pub const MAX_CONNECTIONS: usize = 512;
/// Time from the connection, or the last answer, to the end of a request's head; who is slower is disconnected, as slow heads
/// by the hundred would keep all others out. Who scrapes less often connects again.
pub const HEAD_TIMEOUT: Span = Span::secs(10);
/// Time for a whole request to us, its body among it: a body that never ends would hold its connection for ever. A state
/// that cannot be written makes others wait so long too; what they asked is done all the same when it can be.
pub const ANSWER_TIMEOUT: Span = Span::secs(60);
/// Requests that wait for the hash of a password, of which one is computed at a time: a few seconds. Further ones are told to
/// come again.
pub const MAX_PASSWORDS_WAITING: usize = 32;
/// Matchers of one request; nobody writes that many by hand. More are refused.
pub const MAX_MATCHERS: usize = 64;
/// Bytes of their text, a hundred of each; more are refused.
pub const MAX_MATCHERS_BYTES: usize = 8 * 1024;
/// Bytes of a compiled regular expression: hundreds of names. `(a{1000}){1000}` is short and takes more, so it is refused.
pub const MAX_REGEX_BYTES: usize = 1024 * 1024;
