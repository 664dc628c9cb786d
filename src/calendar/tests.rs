//! Time intervals from their YAML to their instants; those of Alertmanager's own tests are among them.

use proptest::prelude::*;

use super::interval::{ALL_MONTHS, ALL_WEEKDAYS, Spec};
use super::{Active, TimeInterval, TimeIntervals, Zone};
use crate::time::{Span, Time};
use crate::yaml::{self, Faults};

fn at(text: &str) -> Time {
    Time::parse(text).unwrap_or_else(|_| Time::parse(&format!("{text}:00Z")).unwrap())
}

#[track_caller]
fn parsed(text: &str) -> TimeInterval {
    let mut faults = Faults::default();
    let node = yaml::parse("t.yml", text, &mut faults).unwrap();
    let interval = TimeInterval::parse(&node, &mut faults);
    assert!(faults.0.is_empty(), "{:?}", faults.0.iter().map(ToString::to_string).collect::<Vec<_>>());
    interval.unwrap()
}

#[track_caller]
fn check(text: &str, within: &[&str], without: &[&str]) {
    let interval = parsed(text);
    within.iter().for_each(|time| assert!(interval.contains(at(time)), "{time} is not in {text}"));
    without.iter().for_each(|time| assert!(!interval.contains(at(time)), "{time} is in {text}"));
}

#[test]
fn times_hold_up_to_their_end() {
    let day = "times: [{start_time: '09:00', end_time: '17:00'}]";
    check(
        day,
        &["2020-07-08T09:00", "2020-07-08T16:59", "2020-07-08T16:59:59.999999Z"],
        &["2020-07-08T08:59:59.999999Z", "2020-07-08T17:00"],
    );
    check(
        "times: [{start_time: 18:00, end_time: 24:00}]",
        &["2020-07-08T18:00", "2020-07-08T23:59:59.9Z"],
        &["2020-07-09T00:00"],
    );
    check("times: [{start_time: 00:00, end_time: 24:00}]", &["2020-07-08T00:00", "2020-07-08T23:59:59.9Z"], &[]);
    let two = "times: [{start_time: '00:00', end_time: '01:00'}, {start_time: '02:00', end_time: '03:00'}]";
    check(two, &["2020-07-08T00:59", "2020-07-08T02:00"], &["2020-07-08T01:00", "2020-07-08T03:00"]);
    check("{}", &["2020-07-08T00:59"], &[]);
}

#[test]
fn days_months_and_years_hold_to_their_last() {
    let april = "{days_of_month: ['4:6'], months: [april], years: ['2020']}";
    check(april, &["2020-04-04T15:04", "2020-04-05T00:00", "2020-04-06T23:05"], &["2018-05-03T15:04", "2020-04-03T23:59"]);
    check(april, &[], &["2020-06-04T23:59", "2019-04-06T23:59", "2020-04-07T00:00"]);
    let last = "days_of_month: ['-3:-1']";
    check(last, &["2020-01-31T15:04", "2020-01-29T15:04", "2020-06-30T00:00", "2020-02-27T00:00", "2020-02-29T23:05"], &[]);
    check(last, &["2021-02-26T00:00", "2021-02-28T23:59"], &["2020-01-28T23:59", "2020-02-26T23:59", "2021-02-25T23:59"]);
    check(last, &[], &["2018-05-03T15:04", "2020-04-03T23:59", "2020-03-01T00:00"]);
    check("days_of_month: [-31]", &["2020-01-01T00:00"], &["2020-01-02T00:00", "2020-02-01T00:00", "2020-04-01T00:00"]);
    check("{months: [6], days_of_month: ['-31:-1']}", &["2020-06-01T00:00", "2020-06-30T23:59"], &["2020-05-31T00:00"]);
    check("{months: [february], days_of_month: ['30:31']}", &[], &["2021-02-28T13:00", "2021-03-30T13:00"]);
    check("days_of_month: ['30:-1']", &["2021-01-31T13:00", "2021-04-30T13:00"], &["2021-02-28T13:00", "2021-01-29T13:00"]);
    check("days_of_month: ['31:-1', 15]", &["2021-01-31T13:00", "2021-04-15T13:00"], &["2021-04-30T13:00"]);
    check("{months: ['January:december']}", &["2021-01-01T00:00", "2021-12-31T23:59"], &[]);
    check("{months: ['10:12', mar]}", &["2021-10-01T00:00", "2021-03-31T23:59"], &["2021-04-01T00:00", "2021-09-30T23:59"]);
    check("{years: ['2020:2021', 2024]}", &["2020-01-01T00:00", "2021-12-31T23:59", "2024-06-01T00:00"], &["2022-01-01T00:00"]);
    check(
        "weekdays: [Saturday, 'sunday:monday']",
        &["2026-11-21T00:00", "2026-11-23T23:59"],
        &["2026-11-24T00:00", "2026-11-20T23:59"],
    );
}

#[test]
fn fields_hold_together_and_specs_each_alone() {
    let quarter = "weekdays: ['monday:friday', 'sunday']\nmonths: ['january:march']\ndays_of_month: ['-7:-1']\n\
                   years: ['2020:2025', '2030:2035']\ntimes: [{start_time: '09:00', end_time: '17:00'}]";
    check(quarter, &["2021-01-27T09:00", "2021-01-28T16:59", "2025-03-31T13:00", "2035-01-31T13:00"], &["2021-01-30T13:00"]);
    check(quarter, &[], &["2021-04-01T13:00", "2026-01-30T13:00", "2035-01-31T17:01"]);
    check("[{weekdays: [monday]}, 'tue 00:00-01:00']", &["2026-11-23T23:59", "2026-11-24T00:59"], &["2026-11-24T01:00"]);
}

#[test]
fn the_clock_is_that_of_the_location() {
    let sydney = "times: [{start_time: '09:00', end_time: '17:00'}]\nweekdays: ['monday:friday']\nlocation: Australia/Sydney";
    check(sydney, &["2021-04-06T03:00", "2021-10-31T22:00"], &["2021-04-06T13:00", "2021-10-31T21:00"]);
    let new_york = "days_of_month: ['-1']\nlocation: 'America/New_York'";
    check(new_york, &["2021-03-31T16:00", "2021-04-01T03:59"], &["2021-03-30T16:00", "2021-04-01T04:00"]);
    // Clocks show 01:30 twice in autumn and never 02:30 in spring.
    let early = "01:00-02:00 America/Los_Angeles";
    check(early, &["2026-11-01T08:00", "2026-11-01T09:59"], &["2026-11-01T07:59", "2026-11-01T10:00"]);
    check("02:00-03:00 America/Los_Angeles", &["2026-03-09T09:00"], &["2026-03-08T09:59", "2026-03-08T10:00"]);
}

#[test]
fn a_line_says_the_same() {
    #[track_caller]
    fn check(line: &str, long: &str) {
        assert_eq!(parsed(line), parsed(long));
    }
    let hours = "times: [{start_time: '08:00', end_time: '19:00'}]";
    check("08:00-19:00", hours);
    check("mon-fri 08:00-19:00", &format!("{{weekdays: ['monday:friday'], {hours}}}"));
    check("Sat-Mon,wednesday 08:00-19:00 UTC", &format!("{{weekdays: ['saturday', 'sunday:monday', 'wednesday'], {hours}}}"));
    check(
        "08:00-12:00,13:00-24:00 Europe/Berlin",
        "{times: [{start_time: '08:00', end_time: '12:00'}, {start_time: '13:00', end_time: '24:00'}], location: Europe/Berlin}",
    );
}

#[track_caller]
fn check_faults(text: &str, expected: &[&str]) {
    let mut faults = Faults::default();
    let node = yaml::parse("t.yml", text, &mut faults).unwrap();
    assert!(TimeInterval::parse(&node, &mut faults).is_none());
    assert_eq!(faults.0.iter().map(|fault| fault.to_string().replace("t.yml:", "")).collect::<Vec<_>>(), expected);
}

#[test]
fn faults_of_times_are_told() {
    let order = "[bad-value]; hint: over midnight it is two: 22:00 to 24:00, and 00:00 to 06:00";
    check_faults(
        "times: [{start_time: '22:00', end_time: '06:00'}]",
        &[&format!("1:9: times: 22:00 to 06:00 ends before it starts {order}")],
    );
    check_faults(
        "times: [{start_time: '17:00', end_time: '00:00'}]",
        &["1:9: times: 17:00 to 00:00 ends before it starts [bad-value]; hint: the end of a day is 24:00"],
    );
    check_faults(
        "times: [{start_time: '17:31', end_time: '17:31'}]",
        &["1:9: times: 17:31 to 17:31 is no time at all [bad-value]; hint: a whole day is 00:00 to 24:00"],
    );
    let time = "is no time of day [bad-value]; hint: write it as 08:00, from 00:00 to 24:00";
    for wrong in ["8:00", "24:01", "01:99", "99:99", "08:0a", "+8:00", "0800", "", "0é:00"] {
        check_faults(
            &format!("times: [{{start_time: '00:00', end_time: '{wrong}'}}]"),
            &[&format!("1:41: end_time: `{wrong}` {time}")],
        );
    }
    check_faults(
        "times: [{start_time: '14:03', end: '15:00'}]",
        &[
            "1:9: `end_time` is missing [missing-key]; hint: {start_time: '08:00', end_time: '19:00'}",
            "1:31: unknown key `end` [unknown-key]; hint: known here: start_time, end_time",
        ],
    );
}

#[test]
fn faults_of_days_and_months_are_told() {
    check_faults(
        "{weekday: [monday], weekdays: ['mondy:friday', '1:3', 'friday:monday'], location: America/Los_Angelos}",
        &[
            "1:32: weekdays: `mondy` is no weekday [bad-value]; hint: did you mean `monday`?",
            "1:48: weekdays: `1` is no weekday [bad-value]; hint: write it as one of sunday, monday, tuesday, wednesday, \
             thursday, friday, saturday",
            "1:55: weekdays: `friday:monday` goes over the end of a week, which begins on sunday [bad-value]; hint: write \
             'friday:saturday', 'sunday:monday'",
            "1:83: location: `America/Los_Angelos` is no time zone [bad-value]; hint: did you mean `America/Los_Angeles`?",
            "1:2: unknown key `weekday` [unknown-key]; hint: did you mean `weekdays`?",
        ],
    );
    let range = "days are 1 to 31, or -1 (the last) to -31";
    check_faults(
        "days_of_month: [0, '-50:-20', '1:50', '-15:5', '10:-25', '6:5', '-1:-3', first]",
        &[
            &format!("1:17: days_of_month: there is no day 0 in a month [bad-value]; hint: {range}"),
            &format!("1:20: days_of_month: there is no day -50 in a month [bad-value]; hint: {range}"),
            &format!("1:31: days_of_month: there is no day 50 in a month [bad-value]; hint: {range}"),
            "1:39: days_of_month: `-15:5` goes over the end of a month [bad-value]; hint: write '-15:-1', '1:5'",
            "1:48: days_of_month: `10:-25` ends before it starts in every month [bad-value]; hint: days are first:last",
            "1:58: days_of_month: `6:5` ends before it starts in every month [bad-value]; hint: days are first:last",
            "1:65: days_of_month: `-1:-3` ends before it starts in every month [bad-value]; hint: days are first:last",
            "1:74: days_of_month: `first` is no day of a month [bad-value]; hint: write it as 15, '1:5' or '-3:-1' (the last three)",
        ],
    );
    check_faults(
        "{months: ['martch', 13, 'december:january', []], years: ['2022:2020', '20x', 0]}",
        &[
            "1:11: months: `martch` is no month [bad-value]; hint: did you mean `march`?",
            "1:21: months: there is no month 13 [bad-value]; hint: months are 1 to 12, or january to december",
            "1:25: months: `december:january` goes over the end of a year [bad-value]; hint: write 'december', 'january'",
            "1:45: months: expected text, found a list [wrong-type]",
            "1:58: years: `2022:2020` runs backwards [bad-value]; hint: write '2020:2022'",
            "1:71: years: `20x` is no year [bad-value]; hint: write it as 2026 or '2026:2028'",
            "1:78: years: `0` is no year [bad-value]; hint: write it as 2026 or '2026:2028'",
        ],
    );
    check_faults("times: []", &["1:8: times: an empty list holds at no time [bad-value]; hint: leave the key out"]);
    check_faults(
        "[]",
        &["1:1: an empty list holds at no time [bad-value]; hint: write it as mon-fri 08:00-19:00 America/Los_Angeles"],
    );
    check_faults("[3]", &["1:2: expected a map of keys and values, found a number [wrong-type]"]);
}

#[test]
fn faults_of_a_line_are_told() {
    #[track_caller]
    fn check(line: &str, expected: &str) {
        let mut faults = Faults::default();
        let node = yaml::parse("t.yml", &format!("'{line}'"), &mut faults).unwrap();
        assert!(TimeInterval::parse(&node, &mut faults).is_none());
        assert_eq!(faults.0.iter().map(ToString::to_string).collect::<Vec<_>>(), [format!("t.yml:1:1: {expected}")]);
    }
    let form = "is no time interval [bad-value]; hint: write it as mon-fri 08:00-19:00 America/Los_Angeles";
    for wrong in ["", "mon-fri", "mon-fri UTC", "mon-fri 08:00 - 19:00", "08:00-09:00 UTC now", "mon tue 08:00-09:00", "08:00"] {
        check(wrong, &format!("`{wrong}` {form}"));
    }
    check("mon-fridy 08:00-19:00", "`fridy` is no weekday [bad-value]; hint: did you mean `friday`?");
    check("17:00-00:00", "17:00 to 00:00 ends before it starts [bad-value]; hint: the end of a day is 24:00");
    check("8:00-19:00", "`8:00` is no time of day [bad-value]; hint: write it as 08:00, from 00:00 to 24:00");
    check("08:00-19:00 Berlin", "`Berlin` is no time zone [bad-value]; hint: did you mean `Europe/Berlin`?");
}

#[test]
fn it_opened_where_the_gap_ended() {
    #[track_caller]
    fn check(text: &str, time: &str, opened: Option<&str>) {
        assert_eq!(parsed(text).opened(at(time)), opened.map(at), "{text} at {time}");
    }
    let hours = "mon-fri 08:00-19:00 America/Los_Angeles";
    check(hours, "2026-11-20T16:00", Some("2026-11-20T16:00"));
    check(hours, "2026-11-21T02:59:59.999999Z", Some("2026-11-20T16:00"));
    check(hours, "2026-11-21T03:00", None);
    // The days on which clocks change.
    check("00:00-12:00 America/Los_Angeles", "2026-03-08T18:00", Some("2026-03-08T08:00"));
    check("00:00-12:00 America/Los_Angeles", "2026-03-08T10:00", Some("2026-03-08T08:00"));
    check("00:00-12:00 America/Los_Angeles", "2026-11-01T19:00", Some("2026-11-01T07:00"));
    check("01:30-02:00 America/Los_Angeles", "2026-11-01T08:45", Some("2026-11-01T08:30"));
    check("01:30-02:00 America/Los_Angeles", "2026-11-01T09:45", Some("2026-11-01T09:30"));
    check("02:30-04:00 America/Los_Angeles", "2026-03-08T10:30", Some("2026-03-08T10:00"));
    // Specs and times that touch are one, also over midnight and in different zones.
    check("['20:00-24:00', '00:00-06:00']", "2026-11-20T05:00", Some("2026-11-19T20:00"));
    check("['20:00-24:00', '01:00-07:00 Europe/Berlin']", "2026-11-20T05:00", Some("2026-11-19T20:00"));
    check("['20:00-24:00', '02:00-07:00 Europe/Berlin']", "2026-11-20T05:00", Some("2026-11-20T01:00"));
    check("weekdays: ['monday:friday']", "2026-11-20T12:00", Some("2026-11-16T00:00"));
    check("months: [11]", "2026-11-20T12:00", Some("2026-11-01T00:00"));
    check("years: [2026]", "2026-11-20T12:00", Some("2026-10-19T12:00"));
    check("{}", "2026-11-20T12:00", Some("2026-10-19T12:00"));
}

#[test]
fn intervals_are_found_by_name() {
    let mut faults = Faults::default();
    let text = "time_intervals:\n- {name: office, time_intervals: ['mon-fri 08:00-19:00', {weekdays: [sunday]}]}\n\
                - {name: never, time_intervals: []}\n- {name: broken, time_intervals: [{weekday: [monday]}]}\n\
                - {name: never, time_intervals: ['08:00-09:00']}\n- {time_intervals: ['08:00-09:00']}\n- {name: nothing}\n";
    let node = yaml::parse("t.yml", text, &mut faults).unwrap();
    let intervals = node.map(&mut faults, |fields, faults| Some(TimeIntervals::read(fields, faults))).unwrap();
    assert_eq!(
        faults.0.drain(..).map(|fault| fault.to_string()).collect::<Vec<_>>(),
        [
            "t.yml:4:36: unknown key `weekday` [unknown-key]; hint: did you mean `weekdays`?",
            "t.yml:5:10: there is another time interval `never` [duplicate]",
            "t.yml:6:3: `name` is missing [missing-key]",
            "t.yml:7:3: `time_intervals` is missing [missing-key]; hint: time_intervals: [{weekdays: ['monday:friday']}]",
        ]
    );
    assert_eq!(intervals.names().collect::<Vec<_>>(), ["broken", "never", "nothing", "office"]);
    assert!(intervals.get("office").unwrap().contains(at("2026-11-22T00:00")) && intervals.get("broken").is_none());
}

#[test]
fn active_is_a_name_or_an_interval() {
    let mut faults = Faults::default();
    let office = "mon-fri 08:00-19:00";
    let node = yaml::parse(
        "c.yml",
        &format!("time_intervals: [{{name: office, time_intervals: {office}}}, {{name: broken}}]"),
        &mut faults,
    )
    .unwrap();
    let intervals = node.map(&mut faults, |fields, faults| Some(TimeIntervals::read(fields, faults))).unwrap();
    #[track_caller]
    fn check(intervals: &TimeIntervals, text: &str, expected: Result<&str, &[&str]>) {
        let mut faults = Faults::default();
        let node = yaml::parse("t.yml", text, &mut faults).unwrap();
        let active = Active::parse(&node, &mut faults).and_then(|active| active.resolve(intervals, &mut faults));
        assert_eq!(active, expected.ok().map(parsed));
        assert_eq!(faults.0.iter().map(ToString::to_string).collect::<Vec<_>>(), expected.err().unwrap_or_default());
    }
    check(&intervals, "office", Ok(office));
    check(&intervals, office, Ok(office));
    check(&intervals, "[sat 08:00-09:00, {months: [5]}]", Ok("[sat 08:00-09:00, {months: [5]}]"));
    check(&intervals, "{weekdays: [sunday]}", Ok("{weekdays: [sunday]}"));
    check(&intervals, "broken", Err(&[]));
    check(
        &intervals,
        "ofice",
        Err(&["t.yml:1:1: there is no time interval `ofice` [unknown-interval]; hint: did you mean `office`?"]),
    );
    check(
        &intervals,
        "mon-fri",
        Err(&["t.yml:1:1: there is no time interval `mon-fri` [unknown-interval]; hint: name one of `time_intervals`, or \
               write it as mon-fri 08:00-19:00 America/Los_Angeles"]),
    );
    check(
        &intervals,
        "[]",
        Err(&[
            "t.yml:1:1: an empty list holds at no time [bad-value]; hint: write it as mon-fri 08:00-19:00 America/Los_Angeles",
        ]),
    );
}

fn ranges<T: Copy + PartialOrd + std::fmt::Debug + 'static>(
    from: impl Strategy<Value = T> + Clone + 'static,
) -> BoxedStrategy<(T, T)> {
    (from.clone(), from).prop_map(|(a, b)| if a < b { (a, b) } else { (b, a) }).boxed()
}

fn specs() -> impl Strategy<Value = Spec> {
    let zones = [
        "UTC",
        "America/Los_Angeles",
        "America/St_Johns",
        "Africa/Cairo",
        "America/Havana",
        "Pacific/Apia",
        "Australia/Lord_Howe",
    ];
    let times = ranges(0u16..=1_440).prop_filter("empty", |(from, to)| from < to);
    let quarters = ranges(0u16..=96).prop_filter("empty", |(from, to)| from < to).prop_map(|(from, to)| (from * 15, to * 15));
    let days = prop_oneof![ranges(1i8..=31), ranges(-31i8..=-1), (1i8..=5, -5i8..=-1)];
    (
        proptest::collection::vec(prop_oneof![times, quarters], 0..3),
        prop_oneof![Just(ALL_WEEKDAYS), 1u8..=ALL_WEEKDAYS],
        prop_oneof![3 => Just(Vec::new()), 1 => proptest::collection::vec(days, 1..3)],
        prop_oneof![3 => Just(ALL_MONTHS), 1 => (1u16..4_096).prop_map(|bits| bits << 1)],
        prop_oneof![3 => Just(Vec::new()), 1 => proptest::collection::vec(ranges(2009i16..=2027), 1..3)],
        proptest::sample::select(zones.to_vec()).prop_map(|name| Zone::named(name).unwrap()),
    )
        .prop_map(|(times, weekdays, days_of_month, months, years, zone)| Spec {
            times,
            weekdays,
            days_of_month,
            months,
            years,
            zone,
        })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, ..ProptestConfig::default() })]
    /// Near changes of clocks, since there it is hard.
    #[test]
    fn opened_agrees_with_a_scan_by_minutes(
        specs in proptest::collection::vec(specs(), 1..4),
        from in at("2009-01-01T00:00").0..at("2027-01-01T00:00").0,
        beside in prop_oneof![1 => Just(0), 9 => (-3_000i64..6_000).prop_map(|minutes| minutes * 60_000_000 + 7_000_001)],
        near in proptest::bool::weighted(0.7),
    ) {
        let from = Time(from);
        let change = specs[0].zone.next_change(from).filter(|_| near);
        let interval = TimeInterval { specs };
        let now = change.map_or(from, |change| change + Span(beside));
        let bound = now - Span::secs(32 * 86_400);
        let scanned = interval.contains(now).then(|| {
            let mut since = now;
            let mut minute = now.floor(Span::secs(60));
            while minute > bound && interval.contains(minute) {
                since = minute;
                minute = minute - Span::secs(60);
            }
            if minute > bound { since } else { bound }
        });
        prop_assert_eq!(interval.opened(now), scanned);
    }
}
