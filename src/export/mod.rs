//! What others see: totals of the tables as series, and metrics about ourselves.
//!
//! Names and meanings are the catalogue in README.md ("Metrics"); the tidy test holds the two together.

pub mod own;
pub mod prometheus;
pub mod totals;
