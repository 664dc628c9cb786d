//! Days, weeks and months of the calendar, for budgets.

use std::fmt;

use jiff::ToSpan;
use jiff::civil::Date;
use serde::{Deserialize, Serialize};

use super::Zone;
use crate::diag::nearest;
use crate::time::{Span, Time};
use crate::yaml::{self, Node};

/// A period of the calendar of some zone, [start, end).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Period {
    /// From midnight to midnight.
    Day,
    /// From Monday to Monday.
    Week,
    /// From the first of a month to the first of the next.
    Month,
}

const PERIODS: [(&str, Period); 3] = [("day", Period::Day), ("week", Period::Week), ("month", Period::Month)];

impl Period {
    /// When the period that an instant lies in begins.
    pub fn start(self, at: Time, zone: &Zone) -> Time {
        self.around(at, zone).0
    }

    /// When the next one begins.
    pub fn end(self, at: Time, zone: &Zone) -> Time {
        self.around(at, zone).1
    }

    /// When the period began that is so many before the one that an instant lies in.
    pub fn start_before(self, at: Time, zone: &Zone, periods: u16) -> Time {
        // Each by the instant before the next: no other way back is sure to meet every one.
        (0..periods).fold(self.start(at, zone), |start, _| self.start(start - Span(1), zone))
    }

    fn around(self, at: Time, zone: &Zone) -> (Time, Time) {
        let first = self.first(zone.civil(at).date());
        let next = self.next(first);
        let end = zone.midnight(next);
        // Where clocks go back over midnight, the old date is shown again after the new one has begun.
        if at < end { (zone.midnight(first), end) } else { (end, zone.midnight(self.next(next))) }
    }

    fn first(self, date: Date) -> Date {
        match self {
            Period::Day => date,
            Period::Week => {
                let since_monday = i64::from(date.weekday().to_monday_zero_offset());
                date.checked_sub(since_monday.days()).unwrap_or(date)
            }
            Period::Month => date.first_of_month(),
        }
    }

    fn next(self, first: Date) -> Date {
        let span = match self {
            Period::Day => 1.day(),
            Period::Week => 1.week(),
            Period::Month => 1.month(),
        };
        first.checked_add(span).unwrap_or(first)
    }
}

impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(PERIODS[*self as usize].0)
    }
}

/// Reads `day`, `week` or `month`.
pub fn period(node: &Node) -> Result<Period, String> {
    let text = yaml::text(node)?;
    let known = PERIODS.iter().find(|(name, _)| *name == text).map(|(_, period)| *period);
    known.ok_or_else(|| match nearest(&text, PERIODS.map(|(name, _)| name)) {
        Some(near) => format!("`{text}` is no period; did you mean `{near}`?"),
        None => format!("`{text}` is no period; write it as day, week or month"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::yaml::Faults;
    use proptest::prelude::*;

    #[track_caller]
    fn check(period: Period, zone: &str, at: &str, start: &str, end: &str) {
        let (at, zone) = (Time::parse(at).unwrap(), Zone::named(zone).unwrap());
        assert_eq!((period.start(at, &zone), period.end(at, &zone)), (Time::parse(start).unwrap(), Time::parse(end).unwrap()));
    }

    #[test]
    fn days_are_as_long_as_clocks_make_them() {
        let la = "America/Los_Angeles";
        check(Period::Day, "UTC", "2026-11-20T00:00:00Z", "2026-11-20T00:00:00Z", "2026-11-21T00:00:00Z");
        check(Period::Day, "UTC", "2026-11-19T23:59:59.999999Z", "2026-11-19T00:00:00Z", "2026-11-20T00:00:00Z");
        check(Period::Day, la, "2026-11-20T07:59:59Z", "2026-11-19T08:00:00Z", "2026-11-20T08:00:00Z");
        check(Period::Day, la, "2026-03-08T12:00:00Z", "2026-03-08T08:00:00Z", "2026-03-09T07:00:00Z");
        check(Period::Day, la, "2026-11-01T09:30:00Z", "2026-11-01T07:00:00Z", "2026-11-02T08:00:00Z");
    }

    #[test]
    fn midnight_may_be_skipped_or_come_twice() {
        // 00:00 to 01:00 does not exist.
        check(Period::Day, "Africa/Cairo", "2024-04-25T22:00:00Z", "2024-04-25T22:00:00Z", "2024-04-26T21:00:00Z");
        // 01:00 becomes 00:00.
        check(Period::Day, "America/Havana", "2025-11-02T04:30:00Z", "2025-11-02T04:00:00Z", "2025-11-03T05:00:00Z");
        check(Period::Day, "America/Havana", "2025-11-02T05:30:00Z", "2025-11-02T04:00:00Z", "2025-11-03T05:00:00Z");
        // 00:00 becomes 23:00.
        check(Period::Day, "Africa/Cairo", "2024-10-31T21:30:00Z", "2024-10-30T21:00:00Z", "2024-10-31T22:00:00Z");
        // 00:01 becomes 23:01 of the day before, which is over.
        check(Period::Day, "America/St_Johns", "2010-11-07T02:30:30Z", "2010-11-07T02:30:00Z", "2010-11-08T03:30:00Z");
        check(Period::Day, "America/St_Johns", "2010-11-07T03:00:00Z", "2010-11-07T02:30:00Z", "2010-11-08T03:30:00Z");
        check(Period::Day, "America/St_Johns", "2010-11-07T02:29:59Z", "2010-11-06T02:30:00Z", "2010-11-07T02:30:00Z");
        // There was no 30 December.
        check(Period::Day, "Pacific/Apia", "2011-12-30T09:59:59Z", "2011-12-29T10:00:00Z", "2011-12-30T10:00:00Z");
        check(Period::Day, "Pacific/Apia", "2011-12-30T10:00:00Z", "2011-12-30T10:00:00Z", "2011-12-31T10:00:00Z");
        // 23:30 became 00:30.
        check(Period::Day, "America/Toronto", "1919-03-31T04:30:00Z", "1919-03-31T04:30:00Z", "1919-04-01T04:00:00Z");
    }

    #[test]
    fn weeks_begin_on_monday_and_months_on_the_first() {
        check(Period::Week, "UTC", "2026-11-16T00:00:00Z", "2026-11-16T00:00:00Z", "2026-11-23T00:00:00Z");
        check(Period::Week, "UTC", "2026-11-15T23:59:59Z", "2026-11-09T00:00:00Z", "2026-11-16T00:00:00Z");
        check(Period::Week, "Europe/Berlin", "2026-03-29T12:00:00Z", "2026-03-22T23:00:00Z", "2026-03-29T22:00:00Z");
        check(Period::Week, "Europe/Berlin", "2026-01-01T12:00:00Z", "2025-12-28T23:00:00Z", "2026-01-04T23:00:00Z");
        check(Period::Month, "UTC", "2024-02-29T23:59:59Z", "2024-02-01T00:00:00Z", "2024-03-01T00:00:00Z");
        check(Period::Month, "UTC", "2025-12-31T12:00:00Z", "2025-12-01T00:00:00Z", "2026-01-01T00:00:00Z");
        check(Period::Month, "America/Los_Angeles", "2026-11-30T12:00:00Z", "2026-11-01T07:00:00Z", "2026-12-01T08:00:00Z");
    }

    #[test]
    fn periods_are_read() {
        #[track_caller]
        fn check(text: &str, expected: Result<Period, &str>) {
            let node = yaml::parse("t.yml", text, &mut Faults::default()).unwrap();
            assert_eq!(period(&node), expected.map_err(str::to_owned));
        }
        for (name, period) in PERIODS {
            check(name, Ok(period));
            assert_eq!((period.to_string().as_str(), serde_json::to_string(&period).unwrap()), (name, format!("\"{name}\"")));
        }
        check("mounth", Err("`mounth` is no period; did you mean `month`?"));
        check("quarter", Err("`quarter` is no period; write it as day, week or month"));
    }

    #[test]
    fn the_ends_of_time_are_no_fault() {
        for at in [Time::MIN, Time(i64::MAX)] {
            for (_, period) in PERIODS {
                period.around(at, &Zone::named("Asia/Tokyo").unwrap());
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]
        #[test]
        fn periods_follow_each_other(
            zone in proptest::sample::select(vec!["UTC", "America/St_Johns", "Africa/Cairo", "America/Havana", "Pacific/Apia", "Australia/Lord_Howe"]),
            period in proptest::sample::select(PERIODS.map(|(_, period)| period).to_vec()),
            secs in 0i64..2_000_000_000,
            beside in -200_000i64..200_000,
        ) {
            let zone = Zone::named(zone).unwrap();
            let at = Time::from_secs(secs);
            let at = zone.next_change(at).map_or(at, |change| change + crate::time::Span::secs(beside));
            let (start, end) = period.around(at, &zone);
            prop_assert!(start <= at && at < end, "{start} {at} {end}");
            prop_assert_eq!(period.around(start, &zone), (start, end));
            prop_assert_eq!(period.around(Time(end.0 - 1), &zone), (start, end));
            prop_assert_eq!(period.start(end, &zone), end);
        }
    }
}
