//! Time zones by the names that IANA gives them.

use std::fmt;
use std::sync::LazyLock;

use jiff::civil::{Date, DateTime};
use jiff::tz::{AmbiguousOffset, TimeZone, TimeZoneDatabase};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::Fault;
use crate::diag::nearest;
use crate::time::Time;
use crate::yaml::{self, Node};

/// Those built in, not the system's: a backtest elsewhere has to give the same days.
static ZONES: LazyLock<TimeZoneDatabase> = LazyLock::new(TimeZoneDatabase::bundled);

/// A time zone; its name is what is compared, printed and stored.
#[derive(Clone)]
pub struct Zone(TimeZone);

impl Zone {
    /// Without daylight saving.
    pub fn utc() -> Zone {
        Zone(TimeZone::UTC)
    }

    /// By its name, such as `America/Los_Angeles`, in upper or lower case.
    pub(super) fn named(name: &str) -> Result<Zone, Fault> {
        match ZONES.get(name) {
            Ok(zone) if !zone.is_unknown() => Ok(Zone(zone)),
            _ => Err((format!("`{name}` is no time zone"), suggestion(name))),
        }
    }

    /// As IANA writes it.
    pub fn name(&self) -> &str {
        self.0.iana_name().unwrap_or("UTC")
    }

    /// When calendar and clock show this there: the first time where they do twice, and where they skip it, as long after
    /// the change as it would have been without.
    pub fn instant(&self, civil: DateTime) -> Time {
        let last = if civil.year() < 0 { jiff::Timestamp::MIN } else { jiff::Timestamp::MAX };
        Time(self.0.to_ambiguous_timestamp(civil).compatible().unwrap_or(last).as_microsecond())
    }

    /// What calendar and clock show there.
    pub fn civil(&self, at: Time) -> DateTime {
        self.0.to_datetime(at.to_jiff())
    }

    /// The date there: `2026-11-24`.
    pub fn day(&self, at: Time) -> String {
        self.civil(at).date().to_string()
    }

    /// The day of the month there: `24th`.
    pub fn ordinal_day(&self, at: Time) -> String {
        let day = self.civil(at).day();
        let ending = match (day / 10, day % 10) {
            (1, _) => "th",
            (_, 1) => "st",
            (_, 2) => "nd",
            (_, 3) => "rd",
            _ => "th",
        };
        format!("{day}{ending}")
    }

    /// The first instant of a date: where clocks skip midnight, that of the change; where they show it twice, the first.
    pub(super) fn midnight(&self, date: Date) -> Time {
        let midnight = self.0.to_ambiguous_timestamp(date.at(0, 0, 0, 0));
        let skipped = matches!(midnight.offset(), AmbiguousOffset::Gap { .. });
        let last = if date.year() < 0 { jiff::Timestamp::MIN } else { jiff::Timestamp::MAX };
        let mut first = midnight.earlier().unwrap_or(last);
        if skipped {
            first = self.0.following(first).next().map_or(first, |change| change.timestamp());
        }
        Time(first.as_microsecond())
    }

    /// When clocks were last changed, up to and including an instant.
    pub(super) fn changed(&self, at: Time) -> Option<Time> {
        let after = Time(at.0.saturating_add(1)).to_jiff();
        self.0.preceding(after).next().map(|change| Time(change.timestamp().as_microsecond()))
    }

    #[cfg(test)]
    pub(super) fn next_change(&self, at: Time) -> Option<Time> {
        self.0.following(at.to_jiff()).next().map(|change| Time(change.timestamp().as_microsecond()))
    }
}

/// Reads the name of a zone.
pub fn zone(node: &Node) -> Result<Zone, String> {
    Zone::named(yaml::text(node)?.trim()).map_err(|(message, help)| format!("{message}; {help}"))
}

/// The zone that may have been meant: a name mistyped, or a city without its continent.
fn suggestion(wrong: &str) -> String {
    let city = wrong.replace(' ', "_");
    let is_city = |name: &str| name.rsplit('/').next().is_some_and(|last| last.eq_ignore_ascii_case(&city));
    // `Etc/GMT+2` is two hours west of Greenwich, which nobody means who writes `GMT+2`.
    let names: Vec<_> =
        ZONES.available().filter(|name| name.as_str().contains('/') && !name.as_str().starts_with("Etc/")).collect();
    let mut known = names.iter().map(|name| name.as_str());
    match nearest(wrong, known.clone().chain(["UTC"])).or_else(|| known.find(|name| is_city(name))) {
        Some(near) => format!("did you mean `{near}`?"),
        None => "write it as America/Los_Angeles, Europe/Berlin or UTC".to_owned(),
    }
}

impl PartialEq for Zone {
    fn eq(&self, other: &Zone) -> bool {
        self.name() == other.name()
    }
}

impl Eq for Zone {}

impl fmt::Display for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl fmt::Debug for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Zone({})", self.name())
    }
}

impl Serialize for Zone {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl<'de> Deserialize<'de> for Zone {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Zone, D::Error> {
        let name = String::deserialize(deserializer)?;
        Zone::named(&name).map_err(|(message, _)| de::Error::custom(message))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_and_suggested() {
        for (name, known) in
            [("UTC", "UTC"), ("utc", "UTC"), ("america/los_angeles", "America/Los_Angeles"), ("US/Pacific", "US/Pacific")]
        {
            assert_eq!(Zone::named(name).unwrap().to_string(), known);
        }
        #[track_caller]
        fn check(wrong: &str, help: &str) {
            assert_eq!(Zone::named(wrong).unwrap_err(), (format!("`{wrong}` is no time zone"), help.to_owned()));
        }
        check("America/Los_Angelos", "did you mean `America/Los_Angeles`?");
        check("Europe/Berlln", "did you mean `Europe/Berlin`?");
        check("Berlin", "did you mean `Europe/Berlin`?");
        check("los angeles", "did you mean `America/Los_Angeles`?");
        for nameless in ["PST", "PDT", "GMT+2", "+02:00", "Local", "", "Etc/Unknown"] {
            check(nameless, "write it as America/Los_Angeles, Europe/Berlin or UTC");
        }
    }

    #[test]
    fn a_zone_is_its_name() {
        let zone = Zone::named("Asia/Kathmandu").unwrap();
        assert_eq!(format!("{zone:?}"), "Zone(Asia/Kathmandu)");
        let json = serde_json::to_string(&zone).unwrap();
        assert_eq!(json, "\"Asia/Kathmandu\"");
        assert_eq!(serde_json::from_str::<Zone>(&json).unwrap(), zone);
        assert_eq!(postcard::from_bytes::<Zone>(&postcard::to_stdvec(&zone).unwrap()).unwrap(), zone);
        assert!(serde_json::from_str::<Zone>("\"Mars\"").is_err() && zone != Zone::utc());
    }

    #[test]
    fn dates_are_those_of_the_zone() {
        #[track_caller]
        fn check(at: &str, zone: &str, day: &str, ordinal: &str) {
            let (at, zone) = (Time::parse(at).unwrap(), Zone::named(zone).unwrap());
            assert_eq!((zone.day(at), zone.ordinal_day(at)), (day.to_owned(), ordinal.to_owned()));
        }
        check("2026-11-24T07:59:59Z", "America/Los_Angeles", "2026-11-23", "23rd");
        check("2026-11-24T08:00:00Z", "America/Los_Angeles", "2026-11-24", "24th");
        check("2024-02-29T00:00:00Z", "UTC", "2024-02-29", "29th");
        let days = [(1, "1st"), (2, "2nd"), (3, "3rd"), (4, "4th"), (11, "11th"), (12, "12th"), (13, "13th"), (21, "21st")];
        for (day, ordinal) in days.into_iter().chain([(22, "22nd"), (30, "30th"), (31, "31st")]) {
            check(&format!("2026-01-{day:02}T12:00:00Z"), "UTC", &format!("2026-01-{day:02}"), ordinal);
        }
    }
}
