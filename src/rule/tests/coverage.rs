//! The share of those that should call.

use super::*;

/// Calls of organisations, those that are active, and what is found.
#[track_caller]
fn check(options: &str, calls: &[&str], active: &[&str], expected: &str) {
    let rule = format!("coverage: {{of: org, among: SELECT id FROM orgs, within: 1h, {options}}}");
    let (mut rules, mut windows) = world(&one_rule(&rule), false, calls, Time::MIN);
    let rows: Vec<[&str; 2]> = active.iter().map(|id| [*id, "more"]).collect();
    let rows: Vec<&[&str]> = rows.iter().map(|row| &row[..]).collect();
    let answers = answers(&[("app", &answer("id name", &rows))]);
    assert_eq!(found_with(&mut rules, &mut windows, &answers, NOON), expected, "{options} {calls:?} {active:?}");
}

#[test]
fn too_few_of_the_active_ones_call() {
    let calls = ["-1m . m org=a", "-2m x m org=b", "-3m ? m org=c", "-1h . m org=d", "-59m . m org=z"];
    let half = "less_than: 50%";
    check(half, &calls, &["a", "b", "c", "d"], "");
    check(half, &calls, &["a", "e", "d"], "0.3333333333333333");
    check(half, &calls, &["a", "d"], "");
    check(half, &calls, &["a", "a", "d", "d"], "");
    check(half, &calls, &["d"], "0");
    check(half, &calls, &["d", "-", ""], "0");
    check("less_than: 51%", &calls, &["a", "d", "-", ""], "0.5");
    check(half, &calls, &[], "");
    check(half, &[], &["a", "b"], "0");
    check("less_than: 100%", &calls, &["a", "b", "c"], "");
    check("less_than: 100%", &calls, &["a", "b", "c", "d"], "0.75");
    check("less_than: 50%, min_values: 3", &calls, &["d", "e"], "");
    check("less_than: 50%, min_values: 3", &calls, &["d", "e", "f"], "0");
    check("less_than: 50%, where: ['model=\"n\"']", &calls, &["a"], "0");
    check("less_than: 50%, where: ['model=\"m\"']", &calls, &["a"], "");
}

/// 7 % of 100 is not less than 7 %, though 0.07 has no binary fraction.
#[test]
fn shares_are_compared_exactly() {
    let orgs: Vec<String> = (0..100).map(|i| format!("o{i}")).collect();
    let orgs: Vec<&str> = orgs.iter().map(String::as_str).collect();
    for share in [1, 7, 14, 28, 29, 57, 58, 99] {
        let calls: Vec<String> = (0..share).map(|i| format!("-1m . m org=o{i}")).collect();
        let calls: Vec<&str> = calls.iter().map(String::as_str).collect();
        check(&format!("less_than: {share}%"), &calls, &orgs, "");
        let less = (share - 1) as f64 / 100.0;
        check(&format!("less_than: {share}%"), &calls[1..], &orgs, &less.to_string());
    }
}

#[test]
fn it_names_some_that_are_missing() {
    let rule = "coverage: {of: org, among: SELECT id FROM orgs, within: 1h, less_than: 12.5%}";
    let (mut rules, mut windows) = world(&one_rule(rule), false, &["-1m . m org=a"], Time::MIN);
    let (one, two) = (answer("id", &[&["a"], &["h"], &["c"], &["b"], &["d"]]), answer("id", &[&["e"], &["f"], &["g"], &["i"]]));
    let both = answers(&[("eu", &one), ("us", &two)]);
    let finding = rules[0].findings(&mut windows, &both, NOON).remove(0);
    let expected = "1 of 9 active values of org (11.1%) had a call in the 1h up to 2024-10-04T12:00:00Z, less than 12.5%; \
                    none had b, c, d, e, f and 3 more";
    assert_eq!((finding.evidence.as_str(), finding.labels.to_string()), (expected, r#"{alertname="A"}"#.to_owned()));
}

#[test]
fn faults() {
    for (options, expected) in [
        ("{of: org, among: SELECT 1, within: 1h, less_than: 0.5}", ""),
        ("{among: SELECT 1, within: 1h, less_than: 50%}", "`of` is missing"),
        ("{of: a-b, among: SELECT 1, within: 1h, less_than: 50%}", "of: `a-b` is no dimension"),
        ("{of: org, within: 1h, less_than: 50%}", "`among` is missing"),
        ("{of: org, among: SELECT 1, less_than: 50%}", "`within` is missing"),
        ("{of: org, among: SELECT 1, within: 1h}", "`less_than` is missing"),
        ("{of: org, among: SELECT 1, within: 1h, less_than: 50}", "less_than: `50` must be above 0 and at most 100%"),
        ("{of: org, among: SELECT 1, within: 1h, less_than: 5%, min_values: 0}", "min_values: must be at least 1"),
        ("{of: org, among: SELECT 1, within: 1h, less_than: 5%, by: [org]}", "there is nothing to group here"),
        ("{of: org, among: 'SELECT 1; COMMIT', within: 1h, less_than: 5%}", "among: expected one SELECT"),
    ] {
        let found = fault(&format!("coverage: {options}"));
        assert!(found.contains(expected) && found.is_empty() == expected.is_empty(), "{options}: {found}");
    }
}
