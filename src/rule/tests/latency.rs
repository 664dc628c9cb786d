use super::*;

const P95: &str = "latency: {quantile: p95, more_than: 2s, within: 5m, by: [model]}";

/// What is found, with values to one digit: a quantile is within 1.1 %.
#[track_caller]
fn near(kind: &str, calls: &[&str], at: &str, expected: &str) {
    let (mut rules, mut windows) = world(&one_rule(kind), false, calls, Time::MIN);
    let findings = rules[0].findings(&mut windows, &Answers::new(), instant(at));
    let found: Vec<String> = findings.iter().map(|f| format!("{} {:.1}", f.labels.get("model"), f.value)).collect();
    assert_eq!(found.join(", "), expected, "{kind} at {at}");
}

#[test]
fn a_quantile_is_more_than_a_duration() {
    near(P95, &[], "0", "");
    near(P95, &["-9s . a @1s *95", "-8s . a @5s *5"], "0", "");
    near(P95, &["-9s . a @1s *94", "-8s . a @5s *5"], "0", "a 5.0");
    near(P95, &["-9s . a @1s *94", "-8s x a @5s *6"], "0", "a 5.0");
    near(P95, &["-9s . a @1s *94", "-8s . a @5s *6", "-8s . b @9s *2"], "0", "a 5.0, b 9.0");
    near("latency: {quantile: 0.5, more_than: 2s, within: 5m}", &["-9s . a @1s", "-8s . a @3s"], "0", "");
    near("latency: {quantile: 0.5, more_than: 2s, within: 5m}", &["-9s . a @1s", "-8s . a @3s *2"], "0", " 3.0");
    // 55 % of 100 have no binary fraction; they are 55 calls all the same.
    near("latency: {quantile: p55, more_than: 2s, within: 5m}", &["-9s . a @1s *55", "-8s . a @3s *45"], "0", "");
    near("latency: {quantile: p55, more_than: 2s, within: 5m}", &["-9s . a @1s *54", "-8s . a @3s *46"], "0", " 3.0");
    near("latency: {more_than: 200ms, within: 5m}", &["-9s . a @300ms"], "0", " 0.3");
}

/// Where all calls take equally long nothing is lost by the histogram.
#[test]
fn exactly_the_bound_is_not_more() {
    check(P95, &["-9s . a @2s *50"], "0", "");
    check(P95, &["-9s . a @2001ms *50"], "0", "model=a 2.001");
    check(P95, &["-9s . a @1999ms *50"], "0", "");
    for ms in [137, 700, 999, 1_500, 30_000] {
        let rule = |bound: i64| format!("latency: {{quantile: p50, more_than: {bound}ms, within: 5m}}");
        check(&rule(ms), &[&format!("-9s . a @{ms}ms *3")], "0", "");
        check(&rule(ms - 1), &[&format!("-9s . a @{ms}ms *3")], "0", &(ms as f64 / 1e3).to_string());
    }
}

#[test]
fn calls_of_unknown_duration_do_not_count() {
    near(P95, &["-9s . a *99", "-8s . a @5s"], "0", "a 5.0");
    near(P95, &["-9s ? a @9s *99", "-8s . a @1s"], "0", "");
    let guarded = "latency: {more_than: 2s, within: 5m, min_requests: 20, by: [model]}";
    near(guarded, &["-9s . a @5s *19", "-9s . a *5", "-8s ? a @5s *9"], "0", "");
    near(guarded, &["-9s . a @5s *20"], "0", "a 5.0");
}

#[test]
fn the_window_is_open_at_its_old_end() {
    near(P95, &["-5m . a @5s", "1s . a @5s"], "0", "");
    near(P95, &["-4m59s . a @5s"], "0", "a 5.0");
    near(P95, &["0s . a @5s"], "0", "a 5.0");
    // What is fast leaves, and the rest is slow.
    let calls = ["-6m . a @1s *99", "-4m . a @5s"];
    let (mut rules, mut windows) = world(&one_rule(P95), false, &calls, Time::MIN);
    for (at, count) in [("-2m", 0), ("-1m", 1), ("1m", 0), ("-2m", 0)] {
        assert_eq!(rules[0].findings(&mut windows, &Answers::new(), instant(at)).len(), count, "{at}");
    }
}

#[test]
fn it_says_what_it_compared() {
    let told = evidence("latency: {more_than: 2s, within: 5m}", false, &["-9s . a @2310ms *120"]);
    assert_eq!(told, format!("p95 of 120 calls is 2.31s in the 5m up to {NOON}, more than 2s"));
}

#[test]
fn faults_of_its_options() {
    for (options, expected) in [
        ("within: 5m", "`more_than` is missing"),
        ("more_than: 2, within: 5m", "more_than: `2` is no duration"),
        ("more_than: 2s, within: 5m, quantile: 95", "quantile: `95` is no quantile; write it as p95 or 0.95"),
        ("more_than: 2s, within: 5m, quantile: p0", "quantile: `p0` is no quantile"),
        ("more_than: 2s, within: 5m, p95: 1", "unknown key `p95`"),
    ] {
        let found = fault(&format!("latency: {{{options}}}"));
        assert!(found.contains(expected) && !found.contains(" | "), "{options}: {found}");
    }
}
