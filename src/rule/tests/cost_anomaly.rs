//! What cost_anomaly has in common with other kinds is in the parent; here are its windows.

use super::*;

#[test]
fn cost_is_held_against_the_hours_before() {
    let hourly = |options: &str| format!("cost_anomaly: {{hours: 4, factor: 2{options}}}");
    let calls = ["-30m . a $2.1", "-90m . a $1", "-150m . a $1", "-210m . a $1"];
    check(&hourly(""), &calls, "0", "2.1");
    check(&hourly(", min_hours: 4"), &calls, "0", "");
    check(&hourly(""), &calls[..3], "0", "");
    check(&hourly(", min_hours: 2"), &calls[..3], "0", "2.1");
    // An hour without calls cost nothing.
    check(&hourly(", of: median"), &["-30m . a $0.1", "-210m . a $9"], "0", "0.1");
    assert!(evidence(&hourly(""), false, &calls).ends_with("more than 2 x $1.00, the mean of the same window in 3 hours before"));
}

#[test]
fn cost_is_held_against_the_weeks_before() {
    let calls = ["-1h . a $2.1", "-25h . a $9", "-169h . a $1", "-337h . a $1"];
    check("cost_anomaly: {weeks: 4, factor: 2}", &calls, "0", "2.1");
    check("cost_anomaly: {weeks: 1, factor: 2}", &calls[..3], "0", "2.1");
    check("cost_anomaly: {weeks: 4, factor: 2}", &calls[..3], "0", "");
}

/// Of 7 hours, the greatest part that days have too is an hour; those of a week before end where those of now do.
#[test]
fn odd_windows_end_at_the_same_distances() {
    let calls: Vec<String> = (0..9).map(|day| format!("-{}h . a $1", 24 * day + 7)).collect();
    let calls: Vec<&str> = calls.iter().map(String::as_str).collect();
    let rule = one_rule("cost_anomaly: {window: 7h, days: 8, factor: 1.5}");
    let (mut rules, mut windows) = world(&rule, false, &calls, Time::MIN);
    let mut at = instant("-40m");
    while at < NOON {
        // The windows hold their calls all at once, or none does.
        assert_eq!(found(&mut rules, &mut windows, at), "", "{at}");
        at = at + Span::secs(37);
    }
    let resolutions: BTreeSet<Span> = rules[0].needs().into_iter().map(|(.., resolution)| resolution).collect();
    assert_eq!(resolutions, BTreeSet::from([Span::millis(112_500)]));
}

#[test]
fn faults_of_what_is_compared() {
    for (options, expected) in [
        ("days: 7, weeks: 4", "`days` and `weeks` exclude each other"),
        ("hours: 7, min_days: 4", "`min_days` goes with `days`, and this looks at hours"),
        ("min_weeks: 4", "`min_weeks` goes with `weeks`, and this looks at days"),
        ("weeks: 60", "weeks: 60 must be between min_weeks (2) and 53"),
        ("days: 0", "days: 0 must be between min_days (1) and 366"),
        ("hours: x", "hours: expected a number, found text"),
        ("window: 7h13s", "window: 7h13s has too little in common with 1d"),
        ("window: 0s", "window: must be longer than 0s"),
    ] {
        let found = fault(&format!("cost_anomaly: {{{options}}}"));
        assert!(found.contains(expected) && !found.contains(" | "), "{options}: {found}");
    }
}
