//! modelwatch reads the tables in which a product logs its AI calls, and turns them into metrics and pages.
//!
//! Modules stand in the order in which data meets them; each imports only those above it (`tests/it/tidy.rs` proves it).

pub mod time;
pub mod labels;
pub mod secret;
pub mod diag;
pub mod yaml;
pub mod limits;
pub mod template;
pub mod alert;
pub mod route;
pub mod message;
pub mod notify;
pub mod outbox;
