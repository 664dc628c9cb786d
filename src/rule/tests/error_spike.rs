use super::*;

const SPIKE: &str = "error_spike: {factor: 3, within: 1h, days: 5, min_errors: 4, by: [model]";

/// Failures of `a` half an hour before noon, today and on the days before, and a success where there is none.
fn days(failures: &[u32]) -> Vec<String> {
    let line = |(day, n): (usize, &u32)| match n {
        0 => format!("-{}h30m . a", 24 * day),
        n => format!("-{}h30m x a *{n}", 24 * day),
    };
    failures.iter().enumerate().map(line).collect()
}

#[track_caller]
fn on(options: &str, failures: &[u32], expected: &str) {
    let lines = days(failures);
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    check(&format!("{SPIKE}{options}}}"), &lines, "0", expected);
}

#[test]
fn failures_are_held_against_the_days_before() {
    on("", &[10, 3, 3, 3], "model=a 10");
    on("", &[9, 3, 3, 3], "");
    on("", &[9, 3, 2, 3, 2], "model=a 9");
    // One bad day does not move the median; the mean it does.
    on("", &[10, 3, 3, 90], "model=a 10");
    on(", usual: mean", &[10, 3, 3, 90], "");
    on(", usual: mean", &[10, 3, 4, 3], "");
    on(", usual: mean", &[11, 3, 4, 3], "model=a 11");
    // Days without a failure are 0, and the floor alone decides.
    on("", &[3, 0, 0, 0], "");
    on("", &[4, 0, 0, 0], "model=a 4");
    on("", &[4, 0, 0, 9], "model=a 4");
    // Too few days since the first call.
    on("", &[99, 1, 1], "");
    on(", min_days: 2", &[99, 1, 1], "model=a 99");
    on("", &[99], "");
    // Further back than `days` is not looked at.
    on("", &[10, 3, 3, 3, 3, 3, 99, 99, 99, 99, 99, 99], "model=a 10");
    let factor = SPIKE.replace("factor: 3", "factor: 1.1");
    check(&format!("{factor}}}"), &["-30m x a *11", "-24h30m x a *10", "-48h30m x a *10", "-72h30m x a *10"], "0", "");
    check(&format!("{factor}}}"), &["-30m x a *12", "-24h30m x a *10", "-48h30m x a *10", "-72h30m x a *10"], "0", "model=a 12");
}

/// Only the same hour of the day is looked at.
#[test]
fn other_hours_do_not_count() {
    let calls = ["-30m x a *4", "-73h x a *9", "-25h x a *9", "-24h30m x a", "-48h x a", "-49h x a *9"];
    check(&format!("{SPIKE}}}"), &calls, "0", "model=a 4");
    let calls = [&calls[..], &["-24h x a *9", "-48h10m x a *9"]].concat();
    check(&format!("{SPIKE}}}"), &calls, "0", "");
}

#[test]
fn errors_may_be_records() {
    let calls = ["-30m e a *9", "-24h30m e a", "-48h30m e a", "-72h30m e a", "-96h . a", "-30m x a", "-24h30m x a *9"];
    for (of, expected) in [("errors", "model=a 9"), ("calls", "")] {
        let (mut rules, mut windows) = world(&one_rule(&format!("{SPIKE}, of: {of}}}")), true, &calls, Time::MIN);
        assert_eq!(found(&mut rules, &mut windows, NOON), expected, "{of}");
    }
}

#[test]
fn it_says_what_is_usual() {
    let calls = ["-30m x a *12", "-24h30m x a *3", "-48h30m x a *2", "-72h30m x a *2", "-96h30m x a *3"];
    assert_eq!(
        evidence("error_spike: {factor: 2.5, within: 1h}", false, &calls),
        format!("12 failed calls in the 1h up to {NOON}, more than 2.5 x 2.5, the median of the same window on 4 days before")
    );
}

#[test]
fn faults_of_its_options() {
    for (options, expected) in [
        ("more_than: 1, factor: 2, within: 1h", "`more_than` and `factor` are two ways to say when; give one of them"),
        ("more_than: 1, within: 1h, min_errors: 3", "`min_errors` goes with `factor`"),
        ("factor: 0, within: 1h", "factor: must be more than 0"),
        ("factor: 3, within: 1h, min_days: 9", "days: 7 must be between min_days (9) and 366"),
        ("factor: 3, within: 25h", "within: 1d1h is more than a day, so that it overlaps what it is compared with"),
        ("factor: 3, within: 1h, usual: max", "usual: `max` is neither `mean` nor `median`"),
        ("factor: 3", "`within` is missing"),
    ] {
        let found = fault(&format!("error_spike: {{{options}}}"));
        assert!(found.contains(expected) && !found.contains(" | "), "{options}: {found}");
    }
}
