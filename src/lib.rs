//! modelwatch reads the tables in which a product logs its AI calls, and turns them into metrics and pages.
//!
//! Modules stand in the order in which data meets them; each imports only those above it (`tests/it/tidy.rs` proves it).

// The derive macros of the library look for it under its own name.
extern crate prometheus as prometheus_client;

pub mod time;
pub mod limits;
pub mod labels;
pub mod secret;
pub mod diag;
pub mod yaml;
pub mod calendar;
pub mod event;
pub mod source;
pub mod window;
pub mod template;
pub mod alert;
pub mod rule;
pub mod route;
pub mod message;
pub mod notify;
pub mod outbox;
pub mod export;
pub mod config;
pub mod ledger;
pub mod evaluation;
pub mod pipeline;
pub mod explain;
pub mod ruletest;
pub mod store;
pub mod engine;
pub mod api;
pub mod cli;
