//! Days and hours as people count them: time zones, calendar periods, and intervals such as business hours.
//!
//! All of it is a function of an instant and of the time zones that are built in: the same on every machine, whatever zones it
//! has. A day has 23 or 25 hours where clocks change.

mod interval;
mod named;
mod notation;
mod period;
mod written;
mod zone;

pub use interval::TimeInterval;
pub use named::{Active, TimeIntervals};
pub use period::{Period, period};
pub use zone::{Zone, zone};

/// What is wrong, and what to do about it.
type Fault = (String, String);

#[cfg(test)]
mod tests;
