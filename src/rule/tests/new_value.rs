//! What is new, until when, and what is too young to tell.

use proptest::prelude::*;

use super::*;

const MODEL: &str = "new_value: {of: model, learn: 1d}";

#[test]
fn a_value_is_new_from_its_first_call_for_as_long_as_within() {
    let calls = ["-30d . a", "-1h . a", "-50m x b *3", "-10m ? b"];
    check(MODEL, &calls, "0", "model=b 4");
    check(MODEL, &calls, "-50m", "model=b 3");
    check(MODEL, &calls, "-51m", "");
    check(MODEL, &calls, "9m45s", "model=b 4");
    check(MODEL, &calls, "10m", "");
    check("new_value: {of: model, within: 20m, learn: 1d}", &calls, "0", "");
    check("new_value: {of: model, learn: 1d, min_calls: 5}", &calls, "0", "");
    check("new_value: {of: model, learn: 1d, min_calls: 4}", &calls, "0", "model=b 4");
    // Rare is not new, and an empty value is none.
    check(MODEL, &["-30d . a", "-29d . b", "-1m . b", "-1m . ''"], "0", "");
    check(MODEL, &["-30d . a", "-1m . b org=o", "-1m . b org=p"], "0", "model=b 2");
}

#[test]
fn nothing_is_new_while_all_is() {
    check(MODEL, &["-1d . a", "-1m . b"], "0", "model=b 1");
    check(MODEL, &["-23h59m59s . a", "-1m . b"], "0", "");
    check(MODEL, &["-1m . b"], "0", "");
    check(MODEL, &[], "0", "");
    check("new_value: {of: model}", &["-7d . a", "-1m . b"], "0", "model=b 1");
    check("new_value: {of: model}", &["-6d . a", "-1m . b"], "0", "");
    // What matches is what is learnt.
    check("new_value: {of: model, learn: 1d, where: [org=o]}", &["-2d . a", "-1m . b org=o"], "0", "");
    // Nothing happens in b when enough is learnt; it is looked at all the same.
    let (mut rules, mut windows) = world(&one_rule(MODEL), false, &["-1d . a", "-30m . b"], Time::MIN);
    let told = ["-10m", "-15s", "0", "1s", "-15s"].map(|at| found(&mut rules, &mut windows, instant(at)));
    assert_eq!(told, ["", "", "model=b 1", "model=b 1", ""]);
}

#[test]
fn a_value_is_new_to_each_group() {
    let calls = ["-3d . a org=o", "-3d . b org=p", "-1m . a org=o", "-1m . a org=p", "-1m . a org=q"];
    check("new_value: {of: model, by: [org], learn: 1d}", &calls, "0", "model=a org=p 1, model=a org=q 1");
    check("new_value: {of: model, by: [model, org], learn: 1d}", &calls, "0", "model=a org=p 1, model=a org=q 1");
    check(MODEL, &calls, "0", "");
}

/// A type of error may be in tables of errors alone; a call and its record are one.
#[test]
fn records_of_errors_have_values_too() {
    let of = |calls: &[&str]| {
        let (mut rules, mut windows) = world(&one_rule(MODEL), true, calls, Time::MIN);
        let findings = rules[0].findings(&mut windows, &Answers::new(), NOON);
        findings.into_iter().map(|finding| finding.evidence).collect::<Vec<_>>().join(", ")
    };
    let first = instant("-5m");
    assert_eq!(
        of(&["-3d e timeout", "-5m e overload *7"]),
        format!("model `overload` was never seen before {first}; 7 errors in the 1h up to {NOON}")
    );
    assert_eq!(
        of(&["-3d e timeout", "-5m e overload *7", "-5m x overload *7"]),
        format!("model `overload` was never seen before {first}; 7 calls in the 1h up to {NOON}")
    );
    assert_eq!(of(&["-3d e timeout", "-2d e overload", "-5m x overload"]), "");
    assert_eq!(of(&["-23h e timeout", "-5m e overload"]), "");
}

#[test]
fn faults_of_new_value() {
    for (options, expected) in [
        ("within: 1h", "`of` is missing"),
        ("of: a-b", "of: `a-b` is no dimension"),
        ("of: [model]", "of: expected text, found a list"),
        ("of: model, min_calls: 0", "min_calls: must be at least 1"),
        ("of: model, learn: 30m", "learn: 30m must be at least `within`, 1h"),
        ("of: model, known_for: 1d", "known_for: 1d must be at least `learn`, 7d"),
    ] {
        let found = fault(&format!("new_value: {{{options}}}"));
        assert!(found.contains(expected) && !found.contains(" | "), "{options}: {found}");
    }
}

proptest! {
    /// Whatever rows come in whatever order, wherever one looks, it is what a recount gives.
    #[test]
    fn what_is_new_equals_a_recount(
        rows in prop::collection::vec((-300i64..60, 0usize..5, prop::bool::ANY), 0..20),
        // No farther back than buckets are kept.
        looks in prop::collection::vec(-15i64..130, 1..30),
    ) {
        let line = |(minute, model, call): &(i64, usize, bool)| {
            let sign = if *minute < 0 { "-" } else { "" };
            format!("{sign}{}m {} m{model}", minute.abs(), if *call { "x" } else { "e" })
        };
        let lines: Vec<String> = rows.iter().map(line).collect();
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        let yaml = one_rule("new_value: {of: model, learn: 2h, known_for: 1d}").replace("interval: 1s", "interval: 1m");
        let (mut rules, mut windows) = world(&yaml, true, &lines, Time::MIN);
        let oldest = rows.iter().map(|(minute, ..)| *minute).min();
        for at in looks {
            let findings = rules[0].findings(&mut windows, &Answers::new(), NOON + Span::secs(60 * at));
            let told: BTreeSet<String> = findings.iter().map(|finding| finding.labels.get("model").to_owned()).collect();
            let first = |model: usize| rows.iter().filter(|row| row.1 == model).map(|row| row.0).min();
            let is_new = |model: &usize| first(*model).is_some_and(|first| first <= at && first > at - 60);
            let learnt = oldest.is_some_and(|oldest| oldest <= at - 120);
            let expected = (0..5).filter(|model| learnt && is_new(model)).map(|model| format!("m{model}"));
            prop_assert_eq!(told, expected.collect::<BTreeSet<_>>(), "at {}", at);
        }
    }
}
