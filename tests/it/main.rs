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
mod receivers;
mod authority;
mod writers;

mod tidy;
mod access;
mod packs;
mod pages;
mod runbooks;
mod check;
mod schema;
mod ruletest;
mod metrics;
mod traces;
mod recount;
mod reload;
mod routes;
mod backtest;
mod truth;
mod cost;
mod budgets;
mod late;
mod incidents;
mod odd_sources;
mod measures;
mod presets;
mod queries;
mod exactly_once;
mod delivery;
mod conformance;
mod mail;
mod http_options;
mod notify_test;
mod failures;
mod correlation;
mod storm;
mod guarantee;
mod alertmanager;
mod amtool;
mod notifier;
