//! Silence at its boundaries, in opening hours, and against a recount.

use proptest::prelude::*;

use super::*;
use crate::calendar::TimeIntervals;

const BY_MODEL: &str = "no_data: {for: 2h, by: [model]}";

#[test]
fn silence_is_no_call_for_a_span() {
    check(BY_MODEL, &["-2h . a"], "0", "model=a 7200");
    check(BY_MODEL, &["-1h59m59s999ms . a"], "0", "");
    check(BY_MODEL, &["-2h . a"], "-1s", "");
    check(BY_MODEL, &["-3h x a", "-1h . b", "-5h ? c"], "0", "model=a 10800, model=c 18000");
    check(BY_MODEL, &[], "0", "");
    // Not before it has been there for the span, and not after it was forgotten.
    check(BY_MODEL, &["1ms . a"], "0", "");
    check(BY_MODEL, &["-1h . a"], "-30m", "");
    check(BY_MODEL, &["-167h59m59s . a"], "0", "model=a 604799");
    check(BY_MODEL, &["-168h . a"], "0", "");
    check("no_data: {for: 2h, forget_after: 3h, by: [model]}", &["-3h . a", "-2h59m . b"], "0", "model=b 10740");
    check("no_data: {for: 6d, by: [model]}", &["-11d . a", "-12d . b"], "0", "model=a 950400");
}

#[test]
fn what_is_not_grouped_is_always_there() {
    check("no_data: {for: 2h}", &[], "0", "7200");
    check("no_data: {for: 2h}", &["-30d . a"], "0", "2592000");
    check("no_data: {for: 2h}", &["-1h . a"], "0", "");
    check("no_data: {for: 2h}", &["-1h . a"], "-90m", "7200");
    check("no_data: {for: 2h, where: [model=b]}", &["-1h . a"], "0", "7200");
    // A record of an error is no call.
    let (mut rules, mut windows) = world(&one_rule("no_data: {for: 2h}"), true, &["-1h e a"], Time::MIN);
    assert_eq!(found(&mut rules, &mut windows, NOON), "7200");
}

#[test]
fn calls_that_all_fail_are_no_successes() {
    let successes = "no_data: {for: 2h, of: successes, by: [model]}";
    let calls = ["-3h . a", "-1h x a", "-1h . b", "-3h x c", "-1h x c", "-1h x d"];
    check(successes, &calls, "0", "model=a 7200, model=c 7200");
    check(BY_MODEL, &calls, "0", "");
}

/// The span ends where no part of it is still to come, and a call since then counts.
#[test]
fn a_call_after_the_end_of_the_span_ends_the_silence() {
    let every_minute = |calls: &[&str], at: &str| {
        let (mut rules, mut windows) =
            world(&one_rule(BY_MODEL).replace("interval: 1s", "interval: 1m"), false, calls, Time::MIN);
        found(&mut rules, &mut windows, instant(at))
    };
    assert_eq!(every_minute(&["-2h . a"], "30s"), "model=a 7200");
    assert_eq!(every_minute(&["-119m50s . a"], "30s"), "");
    assert_eq!(every_minute(&["-119m50s . a"], "1m"), "model=a 7250");
    assert_eq!(every_minute(&["-2h . a", "20s . a"], "30s"), "");
    assert_eq!(every_minute(&["-2h . a", "20s . a"], "10s"), "model=a 7200");
}

/// A group that was forgotten, and one that was not there yet, were not silent before they came, as one sees later.
#[test]
fn the_past_is_judged_as_it_was() {
    let calls = ["-12d . old", "-1h . old", "-1h . new", "-10h . a", "-1h . a"];
    check(BY_MODEL, &calls, "-2h", "model=a 7200");
}

fn active(calls: &[&str], hours: &str) -> (Vec<Rule>, Windows) {
    let yaml = one_rule(&format!("no_data: {{for: 2h, by: [model], active: {{times: [{{{hours}}}]}}}}"));
    let (mut rules, windows) = world(&yaml.replace("interval: 1s", "interval: 1m"), false, calls, Time::MIN);
    let mut faults = Faults::default();
    rules[0].settle_hours(&TimeIntervals::default(), &mut faults);
    assert!(faults.0.is_empty(), "{:?}", faults.0);
    (rules, windows)
}

/// Nothing changes in a group that is silent when hours begin; it is looked at all the same.
#[test]
fn silence_of_closed_hours_does_not_count() {
    let (mut rules, mut windows) = active(&["-20h . a", "-11h . b"], "start_time: '08:00', end_time: '12:00'");
    for (at, expected) in [
        ("-20h", ""),
        ("-4h1m", ""),
        ("-4h", ""),
        ("-2h1m", ""),
        ("-2h", "model=a 7200, model=b 7200"),
        ("-1m", "model=a 14340, model=b 14340"),
        ("0", ""),
        ("1h", ""),
        ("20h", ""),
        ("22h", "model=a 7200, model=b 7200"),
        ("21h59m", ""),
    ] {
        assert_eq!(found(&mut rules, &mut windows, instant(at)), expected, "{at}");
    }
    let told = rules[0].findings(&mut windows, &Answers::new(), instant("-1h")).remove(0).evidence;
    let expected = format!(
        "no calls in the 2h up to {}, the last one at {}; active since {}",
        instant("-1h"),
        instant("-20h"),
        instant("-4h")
    );
    assert_eq!(told, expected);
}

#[test]
fn silence_says_what_was_last() {
    assert_eq!(
        evidence("no_data: {for: 2h}", false, &["-3h . a"]),
        format!("no calls in the 2h up to {NOON}, the last one at {}", instant("-3h"))
    );
    assert_eq!(evidence("no_data: {for: 2h}", false, &[]), format!("no calls in the 2h up to {NOON}, and none before"));
    let failing = evidence("no_data: {for: 2h, of: successes}", false, &["-3h . a", "-1h x a"]);
    assert_eq!(failing, format!("no successes in the 2h up to {NOON}"));
}

#[test]
fn faults_of_no_data() {
    for (options, expected) in [
        ("by: [org]", "`for` is missing"),
        ("for: 0s", "for: must be longer than 0s"),
        ("for: 31d", "for: must be at most 30d"),
        ("for: 2h, of: rows", "`rows` is neither `calls` nor `successes`"),
        ("for: 2h, forget_after: 2h", "forget_after: 2h must be longer than `for`, 2h"),
        ("within: 2h, for: 2h", "unknown key `within`"),
        ("for: 2h, top: {by: org}", "no_data has no contributors to name"),
    ] {
        let found = fault(&format!("no_data: {{{options}}}"));
        assert!(found.contains(expected) && !found.contains(" | "), "{options}: {found}");
    }
}

/// The groups that are silent in minute `at`, as `found` writes them; `open` are minutes of the day.
fn recounted(rows: &[(i64, usize)], at: i64, open: (i64, i64)) -> String {
    let of_day = (at + 720).rem_euclid(1_440);
    if !(open.0 + 60..open.1).contains(&of_day) {
        return String::new();
    }
    let silent = |group: usize| {
        let until: Vec<i64> =
            rows.iter().filter(|(minute, of)| *of == group && *minute <= at).map(|(minute, _)| *minute).collect();
        let (first, last) = (*until.iter().min()?, *until.iter().max()?);
        (first <= at - 60 && last <= at - 60 && last > at - 240).then(|| ["a", "b", "c"][group])
    };
    (0..3).filter_map(silent).collect::<Vec<_>>().join(" ")
}

proptest! {
    /// Calls come as time goes on, or all are there: whatever the hours, silence is what a recount gives.
    #[test]
    fn silence_equals_a_recount(
        rows in prop::collection::vec((-700i64..700, 0usize..3), 0..40),
        (from, long, step) in (1i64..130, 1i64..60, 1i64..40),
        jumps in prop::collection::vec(-700i64..700, 0..20),
    ) {
        let open = (from * 10, ((from + long) * 10).min(1_430));
        let time = |minute: i64| format!("'{:02}:{:02}'", minute / 60, minute % 60);
        let hours = format!("times: [{{start_time: {}, end_time: {}}}]", time(open.0), time(open.1));
        let yaml = one_rule(&format!("no_data: {{for: 1h, forget_after: 4h, by: [model], active: {{{hours}}}}}"));
        let (mut rules, mut windows) = world(&yaml.replace("interval: 1s", "interval: 1m"), false, &[], Time::MIN);
        rules[0].settle_hours(&TimeIntervals::default(), &mut Faults::default());
        for model in ["a", "b", "c"] {
            windows.add_shape(0, &[model.to_owned(), String::new()]);
        }
        let instant = |minute: i64| NOON + Span::secs(60 * minute);
        let mut silent = |windows: &mut Windows, at: i64| {
            let findings = rules[0].findings(windows, &Answers::new(), instant(at));
            findings.iter().map(|finding| finding.labels.get("model").to_owned()).collect::<Vec<_>>().join(" ")
        };
        let mut before = -2_000;
        for at in (-700..=900).step_by(step as usize) {
            for (minute, group) in rows.iter().filter(|(minute, _)| *minute > before && *minute <= at) {
                let event = Event { time: instant(*minute), shape: *group as u32, count: 1, ..Event::default() };
                windows.add(0, &[event], instant(-700), false);
            }
            prop_assert_eq!(silent(&mut windows, at), recounted(&rows, at, open), "at {}", at);
            before = at;
        }
        for at in jumps {
            prop_assert_eq!(silent(&mut windows, at), recounted(&rows, at, open), "back at {}", at);
        }
    }
}
