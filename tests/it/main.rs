//! One binary that drives the built `modelwatch` from outside, as an operator would, and checks the repository itself.
//!
//! The first group is what tests stand on, the second one is the tests. `tests/setup` installs what they need.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::disallowed_methods,
    reason = "a test may fail loudly and read the clock"
)]

mod ground;
mod postgres;
mod sqlite;
mod scrape;
mod daemon;
mod receiver;
mod writers;

mod tidy;
mod runbooks;
mod check;
mod metrics;
mod traces;
mod recount;
mod cost;
mod late;
mod odd_sources;
mod exactly_once;
mod delivery;
mod failures;
