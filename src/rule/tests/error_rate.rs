use super::*;

const RATE: &str = "error_rate: {more_than: 5%, within: 15m, by: [model]}";

#[test]
fn a_share_is_exceeded_strictly() {
    check(RATE, &[], "0", "");
    check(RATE, &["-9s x a", "-8s . a *19"], "0", "");
    check(RATE, &["-9s x a", "-8s . a *18"], "0", "model=a 0.05263157894736842");
    check(RATE, &["-9s x a *10", "-8s . a *189", "-8s x b *9", "-8s . b *189"], "0", "model=a 0.05025125628140704");
    check(RATE, &["-9s x a"], "0", "model=a 1");
    check(RATE, &["-9s . a *100"], "0", "");
    // Shares have no binary fractions: 7 of 100 is not more than 7 %, nor 29 of 100 than 29 %.
    for (share, failed, all) in [("7%", 7, 100), ("29%", 29, 100), ("0.07", 7, 100), ("0.1%", 1, 1_000), ("57%", 57, 100)] {
        let kind = format!("error_rate: {{more_than: {share}, within: 15m}}");
        let failures = format!("-9s x a *{failed}");
        check(&kind, &[&failures, &format!("-8s . a *{}", all - failed)], "0", "");
        let (mut rules, mut windows) =
            world(&one_rule(&kind), false, &[&failures, &format!("-8s . a *{}", all - failed - 1)], Time::MIN);
        assert_eq!(rules[0].findings(&mut windows, &Answers::new(), NOON).len(), 1, "{kind}");
    }
}

#[test]
fn few_calls_say_nothing() {
    let rate = "error_rate: {more_than: 5%, within: 15m, min_requests: 20}";
    check(rate, &["-9s x a *19"], "0", "");
    check(rate, &["-9s x a *20"], "0", "1");
    check(rate, &["-9s x a *10", "-8s . a *10"], "0", "0.5");
    // What was never finished is no call here, neither for the share nor for the number.
    check(rate, &["-9s x a *19", "-8s ? a *5"], "0", "");
    check(rate, &["-9s x a *2", "-9s . a *18", "-8s ? a *500"], "0", "0.1");
}

#[test]
fn the_window_is_open_at_its_old_end() {
    check(RATE, &["-15m x a", "-1m . a"], "0", "");
    check(RATE, &["-14m59s x a", "-1m . a"], "0", "model=a 0.5");
    check(RATE, &["-15m . a *99", "0s x a"], "0", "model=a 1");
    check(RATE, &["5s x a", "-1m . a"], "0", "");
}

/// A group that was silent is looked at again when what leaves its window raises the share.
#[test]
fn successes_that_leave_raise_the_share() {
    let calls = ["-16m . a *80", "-10m . a *18", "-9m x a *2"];
    let (mut rules, mut windows) = world(&one_rule(RATE), false, &calls, Time::MIN);
    for (at, expected) in [("-2m", ""), ("-1m", "model=a 0.1"), ("5m", "model=a 1"), ("6m", ""), ("-2m", "")] {
        assert_eq!(found(&mut rules, &mut windows, instant(at)), expected, "{at}");
    }
}

#[test]
fn it_says_what_it_compared() {
    let told = evidence("error_rate: {more_than: 5%, within: 15m}", false, &["-9s x a *12", "-8s . a *138"]);
    assert_eq!(told, format!("12 of 150 calls failed (8%) in the 15m up to {NOON}, more than 5%"));
}

#[test]
fn faults_of_its_options() {
    for (options, expected) in [
        ("within: 15m", "`more_than` is missing"),
        ("more_than: 5%", "`within` is missing"),
        ("more_than: 5, within: 15m", "more_than: `5` must be above 0 and at most 100%"),
        (
            "more_than: 100%, within: 15m",
            "more_than: no share is more than 100% [never-fires]; hint: a share below it, such as 50%",
        ),
        ("more_than: 5%, within: 15m, min_requests: 0", "min_requests: must be at least 1"),
        ("more_than: 5%, within: 15m, min_request: 5", "did you mean `min_requests`?"),
    ] {
        let found = fault(&format!("error_rate: {{{options}}}"));
        assert!(found.contains(expected) && !found.contains(" | "), "{options}: {found}");
    }
}
