use super::*;

#[test]
fn means_are_exact() {
    let mean = "measure: {of: quality, below: 3.5, within: 1h, by: [model]}";
    check(mean, &[], "0", "");
    check(mean, &["-9s . a quality=4", "-8s . a quality=3"], "0", "");
    check(mean, &["-9s . a quality=4", "-8s . a quality=2.999998"], "0", "model=a 3.499999");
    check(mean, &["-9s . a quality=4 *9", "-8s . a quality=1 *9", "-8s . b quality=5"], "0", "model=a 2.5");
    check(mean, &["-9s . a", "-8s . a quality=3"], "0", "model=a 3");
    check(mean, &["-9s ? a quality=1", "-8s . a quality=4"], "0", "");
    check(mean, &["-9s x a quality=-3"], "0", "model=a -3");
    // Ten times 0.1 is 1.
    let above = "measure: {of: quality, above: 0.1, within: 1h}";
    check(above, &["-9s . a quality=0.1 *10", "-7s . a quality=0.1"], "0", "");
    check(above, &["-9s . a quality=0.1 *10", "-7s . a quality=0.100011"], "0", "0.100001");
}

#[test]
fn lowest_and_highest_are_exact_while_the_window_slides() {
    let calls = ["-75m . a quality=1", "-50m . a quality=3", "-30m . a quality=4.999999", "-10m . a quality=4"];
    for (options, at, expected) in [
        ("stat: min, below: 3", "0", ""),
        ("stat: min, below: 3", "-16m", "1"),
        ("stat: min, below: 3", "-15m", ""),
        ("stat: min, below: 3.000001", "0", "3"),
        ("stat: min, above: 3", "10m", "4"),
        ("stat: max, above: 4.999998", "0", "4.999999"),
        ("stat: max, above: 4.999999", "0", ""),
        ("stat: max, below: 5", "0", "4.999999"),
    ] {
        check(&format!("measure: {{of: quality, within: 1h, {options}}}"), &calls, at, expected);
    }
}

#[test]
fn quantiles_are_near_and_exact_where_all_are_equal() {
    let p10 = "measure: {of: quality, below: 3.5, stat: p10, within: 1h}";
    check(p10, &["-9s . a quality=3.5 *50"], "0", "");
    check(p10, &["-9s . a quality=3.499999 *50"], "0", "3.499999");
    check(p10, &["-9s . a quality=1 *9", "-8s . a quality=5 *91"], "0", "");
    let (mut rules, mut windows) = world(&one_rule(p10), false, &["-9s . a quality=1 *10", "-8s . a quality=5 *90"], Time::MIN);
    let value = rules[0].findings(&mut windows, &Answers::new(), NOON)[0].value;
    assert!((value - 1.0).abs() <= 0.011, "{value}");
    let median = "measure: {of: latency, above: 2, stat: median, within: 1h}";
    check(median, &["-9s . a @2s *3"], "0", "");
    check(median, &["-9s . a @2500ms *3"], "0", "2.5");
    check("measure: {of: quality, above: -2, stat: 0.5, within: 1h}", &["-9s . a quality=-2"], "0", "");
    check("measure: {of: quality, above: -2, stat: 0.5, within: 1h}", &["-9s . a quality=-1.99"], "0", "-1.99");
    check("measure: {of: quality, below: 0, stat: 0.5, within: 1h}", &["-9s . a quality=0"], "0", "");
}

#[test]
fn few_values_say_nothing() {
    let guarded = "measure: {of: quality, below: 3.5, within: 1h, min_values: 10}";
    check(guarded, &["-9s . a quality=1 *9", "-8s . a *9"], "0", "");
    check(guarded, &["-9s . a quality=1 *10"], "0", "1");
    check(guarded, &["-1h . a quality=1", "-9s . a quality=1 *9"], "0", "");
}

#[test]
fn it_says_what_it_compared() {
    let calls = ["-9s . a quality=3 *12", "-8s . a quality=3.4 *2"];
    for (options, expected) in [
        ("below: 3.5", "mean quality of 14 values is 3.06 in the 1h up to NOON, below 3.5"),
        ("above: 3, stat: max", "highest quality of 14 values is 3.4 in the 1h up to NOON, above 3"),
        ("below: 3.5, stat: p10", "p10 quality of 14 values is 3 in the 1h up to NOON, below 3.5"),
    ] {
        let told = evidence(&format!("measure: {{of: quality, within: 1h, {options}}}"), false, &calls);
        assert_eq!(told, expected.replace("NOON", &NOON.to_string()));
    }
}

#[test]
fn faults_of_its_options() {
    for (options, expected) in [
        ("of: quality, within: 1h", "measure needs either `below` or `above`"),
        ("of: quality, within: 1h, below: 1, above: 2", "a rule has one bound, and this one has two"),
        ("within: 1h, below: 1", "`of` is missing"),
        ("of: quality, within: 1h, below: low", "below: expected a number, found text"),
        ("of: quality, within: 1h, below: 1e15", "below: is too large"),
        ("of: quality, within: 1h, below: 1, stat: avg", "stat: `avg` is none of `mean`, `min`, `max`, `median`"),
        ("of: quality, within: 1h, below: 1, min_values: 0", "min_values: must be at least 1"),
    ] {
        let found = fault(&format!("measure: {{{options}}}"));
        assert!(found.contains(expected) && !found.contains(" | "), "{options}: {found}");
    }
}
