//! When a time interval holds, and since when: Alertmanager's `timeinterval` package says what its fields mean.

use jiff::civil::DateTime;

use super::Zone;
use crate::time::{Span, Time};

/// How far back [`TimeInterval::opened`] looks: no rule waits longer for something to arrive, and an interval without hours
/// is open day after day.
const LOOK_BACK: Span = Span::secs(32 * 86_400);

/// A time interval, such as business hours: any of its specs holds.
#[derive(Clone, Debug, PartialEq)]
pub struct TimeInterval {
    pub(super) specs: Vec<Spec>,
}

/// Fields of which each one that is given holds; all by the clock and calendar of a zone.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Spec {
    /// Minutes of the day, [from, to); none is the whole day.
    pub(super) times: Vec<(u16, u16)>,
    /// Bit by day, from Sunday.
    pub(super) weekdays: u8,
    /// First and last; a negative day counts from the end of the month. None is every day.
    pub(super) days_of_month: Vec<(i8, i8)>,
    /// Bit by month, January is bit 1.
    pub(super) months: u16,
    /// First and last; none is every year.
    pub(super) years: Vec<(i16, i16)>,
    pub(super) zone: Zone,
}

/// Every day of the week.
pub(super) const ALL_WEEKDAYS: u8 = 0x7f;
/// Every month.
pub(super) const ALL_MONTHS: u16 = 0x1ffe;

impl TimeInterval {
    /// Whether it holds at an instant.
    pub fn contains(&self, at: Time) -> bool {
        self.specs.iter().any(|spec| spec.contains(at))
    }

    /// Where it holds at an instant: since when it has without a gap, or 32 days before, whichever is later.
    pub fn opened(&self, at: Time) -> Option<Time> {
        let bound = at - LOOK_BACK;
        let (mut opened, mut before) = (None, at);
        loop {
            let open = self.specs.iter().filter(|spec| spec.contains(before));
            match open.map(|spec| spec.held_since(before)).min() {
                None => return opened,
                Some(since) if since <= bound => return Some(bound),
                Some(since) => (opened, before) = (Some(since), since - Span(1)),
            }
        }
    }
}

impl Spec {
    fn contains(&self, at: Time) -> bool {
        let local = self.zone.civil(at);
        let (day, minute, days) = (local.day(), minute_of_day(local), local.date().days_in_month());
        let from_start = |n: i8| if n < 0 { days + n + 1 } else { n };
        let within = |&(first, last): &(i8, i8)| (from_start(first)..=from_start(last)).contains(&day);
        (self.times.is_empty() || self.times.iter().any(|&(from, to)| (from..to).contains(&minute)))
            && self.weekdays >> local.weekday().to_sunday_zero_offset() & 1 == 1
            && (self.days_of_month.is_empty() || self.days_of_month.iter().any(within))
            && self.months >> local.month() & 1 == 1
            && (self.years.is_empty() || self.years.iter().any(|&(first, last)| (first..=last).contains(&local.year())))
    }

    /// Where it holds: since when it surely has, from midnight, the start of a time, or the last change of clocks.
    fn held_since(&self, at: Time) -> Time {
        let local = self.zone.civil(at);
        let starts = self.times.iter().map(|&(from, _)| from).filter(|from| *from <= minute_of_day(local));
        let start = i64::from(starts.max().unwrap_or(0));
        let seconds = (i64::from(local.hour()) * 60 + i64::from(local.minute()) - start) * 60 + i64::from(local.second());
        let since = at - Span::secs(seconds) - Span(i64::from(local.subsec_nanosecond()) / 1_000);
        self.zone.changed(at).map_or(since, |change| since.max(change))
    }
}

fn minute_of_day(local: DateTime) -> u16 {
    local.hour() as u16 * 60 + local.minute() as u16
}
