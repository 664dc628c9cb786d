//! Budgets over days of calendars. [`NOON`] is 2024-10-04T12:00Z, a Friday.

use super::*;

/// Answers of a source `app` to the one query of a rule.
fn answers(rows: &[(&str, &str)], at: Time) -> Answers {
    let text = |text: &str| (text != "NULL").then(|| text.to_owned());
    let rows = rows.iter().map(|(key, limit)| vec![text(key), text(limit)]).collect();
    let answer = Answer { at, columns: vec!["org".to_owned(), "usd".to_owned()], rows };
    vec![[("app".to_owned(), Arc::new(answer))].into()]
}

/// `acme 80%`, for each finding at an instant.
fn shares(kind: &str, calls: &[&str], answers: &Answers, at: Time) -> String {
    let (mut rules, mut windows) = world(&one_rule(kind), false, calls, Time::MIN);
    named(&rules[0].findings(&mut windows, answers, at))
}

fn named(findings: &[Finding]) -> String {
    let name = |finding: &Finding| {
        let names = ["org", "model", "share", "severity"].map(|name| finding.labels.get(name));
        names.into_iter().filter(|name| !name.is_empty()).collect::<Vec<_>>().join(" ")
    };
    findings.iter().map(name).collect::<Vec<_>>().join(", ")
}

#[track_caller]
fn check(kind: &str, calls: &[&str], at: &str, expected: &str) {
    assert_eq!(shares(kind, calls, &Answers::new(), instant(at)), expected, "{kind} at {at}");
}

#[test]
fn a_share_is_passed_when_it_is_spent() {
    let budget = "budget: {period: day, limit: 10, by: [org]}";
    check(budget, &["-1h . a org=o $4.999999999"], "0", "");
    check(budget, &["-1h . a org=o $5"], "0", "o 50%");
    check(budget, &["-1h . a org=o $7.999999999"], "0", "o 50%");
    check(budget, &["-1h . a org=o $8", "-1h x a org=p $5"], "0", "o 50%, o 80%, p 50%");
    check(budget, &["-1h . a org=o $10", "-1h ? a org=p $5"], "0", "o 50%, o 80%, o 100%, p 50%");
    check("budget: {period: day, limit: 10}", &["-1h . a org=o $4", "-2h . b org=p $4"], "0", "50%, 80%");
    check("budget: {period: day, limit: 0.3, shares: 100%}", &["-1h . a $0.1", "-1h . a $0.1", "-1h . a $0.1"], "0", "100%");
    check("budget: {period: day, limit: 10, shares: [120%, 0.999, 12.5%]}", &["-1h . a $12"], "0", "12.5%, 99.9%, 120%");
    check(
        "budget: {period: day, limit: 10, shares: {50%: info, 100%: critical}}",
        &["-1h . a $12"],
        "0",
        "50% info, 100% critical",
    );
    check("budget: {period: day, limit: 10}", &[], "0", "");
}

#[test]
fn a_period_has_its_first_instant_and_not_its_last() {
    let day = "budget: {period: day, limit: 1, shares: [100%]}";
    check(day, &["-12h . a $1"], "0", "100%");
    check(day, &["-12h . a $1"], "-12h", "100%");
    check(day, &["-12h1ms . a $1"], "0", "");
    check(day, &["-12h1ms . a $1"], "-12h", "");
    check(day, &["-12h1ms . a $1"], "-12h1ms", "100%");
    check(day, &["-1h . a $1"], "11h59m59s", "100%");
    check(day, &["-1h . a $1"], "12h", "");
    // 2024-10-04 was a Friday.
    check("budget: {period: week, limit: 1, shares: [100%]}", &["-108h . a $1"], "0", "100%");
    check("budget: {period: week, limit: 1, shares: [100%]}", &["-108h1ms . a $1"], "0", "");
    check("budget: {limit: 1, shares: [100%]}", &["-84h . a $1"], "0", "100%");
    check("budget: {limit: 1, shares: [100%]}", &["-84h1ms . a $1"], "0", "");
    // Four hours later in New York, five and a half earlier in Kolkata.
    check("budget: {period: day, zone: America/New_York, limit: 1, shares: [100%]}", &["-8h . a $1"], "0", "100%");
    check("budget: {period: day, zone: America/New_York, limit: 1, shares: [100%]}", &["-8h1ms . a $1"], "0", "");
    check("budget: {period: day, zone: Asia/Kolkata, limit: 1, shares: [100%]}", &["-17h30m . a $1"], "0", "100%");
    check("budget: {period: day, zone: Asia/Kolkata, limit: 1, shares: [100%]}", &["-17h30m1ms . a $1"], "0", "");
}

#[test]
fn limits_are_by_the_first_dimension() {
    let calls = ["-1h . a org=acme $5", "-1h . b org=acme $7", "-1h . a org=globex $5", "-1h . a org=other $5"];
    let shares = "period: day, shares: [100%]";
    let check = |options: &str, expected: &str| check(&format!("budget: {{{shares}, {options}}}"), &calls, "0", expected);
    check("by: [org], limits: {acme: 12, globex: 6}", "acme 100%");
    check("by: [org], limits: {acme: 12.01, globex: 5}, default: 5", "globex 100%, other 100%");
    check("by: [org, model], limits: {acme: 6}, default: 5", "acme b 100%, globex a 100%, other a 100%");
    check("by: [model, org], limits: {b: 7}", "acme b 100%");
}

#[test]
fn limits_come_from_a_table() {
    let calls = ["-1h . a org=acme $5", "-1h . a org=globex $5", "-1h . a org=other $5"];
    let budget = "budget: {period: day, shares: [100%], by: [org], limits_from: {table: org_budgets, key: org, limit: usd}, default: 5.01}";
    let check = |rows: &[(&str, &str)], expected: &str| {
        assert_eq!(shares(budget, &calls, &answers(rows, NOON), NOON), expected, "{rows:?}");
    };
    check(&[], "");
    check(&[("acme", "5"), ("globex", "5.01")], "acme 100%");
    check(&[("acme", "4.9999"), ("other", "$1.50"), ("globex", "$1,000.00")], "acme 100%, other 100%");
    for bad in ["0", "-1", "NULL", "many", "NaN", "inf"] {
        check(&[("acme", bad), ("globex", "1")], "globex 100%");
    }
    check(&[("NULL", "1"), ("acme", "1"), ("acme", "100")], "acme 100%");
}

/// Every group is judged again by another answer, though none has a call.
#[test]
fn another_answer_is_another_limit() {
    let budget = "budget: {period: day, shares: [100%], by: [org], limits_from: {table: budgets, key: org, limit: usd}}";
    let (mut rules, mut windows) = world(&one_rule(budget), false, &["-1h . a org=o $5"], Time::MIN);
    let mut found = |limit: &str, answered: &str, at: &str| {
        named(&rules[0].findings(&mut windows, &answers(&[("o", limit)], instant(answered)), instant(at)))
    };
    assert_eq!(found("6", "0", "0"), "");
    assert_eq!(found("5", "1m", "1m"), "o 100%");
    assert_eq!(found("7", "2m", "2m"), "");
    assert_eq!(found("6", "0", "0"), "");
    assert_eq!(found("5", "1m", "1m"), "o 100%");
}

#[test]
fn names_of_sql_are_names() {
    #[track_caller]
    fn sql(options: &str) -> String {
        let rule = one_rule(&format!("budget: {{by: [org], limits_from: {{{options}}}}}"));
        let mut faults = Faults::default();
        let rules = parse_file("t.yml", &rule, &mut faults);
        let faults: Vec<String> = faults.0.iter().map(ToString::to_string).collect();
        if faults.is_empty() { rules[0].queries()[0].sql.clone() } else { faults.join("; ") }
    }
    assert_eq!(
        sql("table: billing.org_budgets, key: org, limit: limit"),
        "SELECT limits.\"org\", limits.\"limit\" FROM \"billing\".\"org_budgets\" AS limits"
    );
    assert_eq!(
        sql("table: '\"Team\"', key: Team_Id, limit: '\"max $\"'"),
        "SELECT limits.Team_Id, limits.\"max $\" FROM \"Team\" AS limits"
    );
    assert_eq!(
        sql("table: 'SELECT o, sum(x) AS x FROM b GROUP BY 1 -- all;', key: o, limit: x"),
        "SELECT limits.\"o\", limits.\"x\" FROM (\nSELECT o, sum(x) AS x FROM b GROUP BY 1 -- all\n) AS limits"
    );
    for bad in ["b; DROP TABLE b", "b AS c", "a-b", "'\"a\"\"b\"'", "a..b", "1a", "\"''\""] {
        assert!(sql(&format!("table: {bad}, key: o, limit: x")).contains("is no name of SQL"), "{bad}");
    }
}

/// A dollar at noon on each of the days before noon's.
fn daily(days: std::ops::Range<i64>, cost: &str) -> Vec<String> {
    days.map(|day| format!("-{}h . a ${cost}", 24 * day)).collect()
}

fn forecast(options: &str, calls: &[String], at: Time) -> Option<(f64, String)> {
    let calls: Vec<&str> = calls.iter().map(String::as_str).collect();
    let rule = one_rule(&format!("budget: {{shares: [100%], forecast: true, {options}}}"));
    let (mut rules, mut windows) = world(&rule, false, &calls, Time::MIN);
    let findings = rules[0].findings(&mut windows, &Answers::new(), at);
    let found = findings.into_iter().find(|finding| finding.labels.get("share") == "forecast");
    found.map(|finding| (finding.value, finding.evidence))
}

#[test]
fn a_forecast_goes_on_as_the_last_days_did() {
    let at = |limit: &str, calls: &[String], at: Time| forecast(&format!("limit: {limit}"), calls, at);
    // A dollar a day for longer than a week: three before the fourth of October, 28 from then on.
    let usual = daily(1..10, "1");
    let (value, evidence) = at("31", &usual, NOON).unwrap();
    assert!((value - 1.0).abs() < 1e-9);
    assert_eq!(evidence, "$3.00 of $31.00 spent since 2024-10-01 (UTC); at $1.00 a day it will be exceeded on the 31st");
    assert_eq!(at("31.01", &usual, NOON), None);
    assert!(at("20", &usual, NOON).unwrap().1.ends_with("at $1.00 a day it will be exceeded on the 21st"));
    assert!(at("3.5", &usual, NOON).unwrap().1.ends_with("at $1.00 a day it will be exceeded on the 4th"));
    assert!(at("3", &usual, NOON).unwrap().1.ends_with("spent since 2024-10-01 (UTC); it is exceeded"));
    // At any hour of the day it is the same.
    for hour in ["-12h", "-1s", "11h59m59s"] {
        assert_eq!(at("31", &usual, instant(hour)).unwrap().0, value, "{hour}");
    }
    // What today costs beyond a usual day is no usual day's.
    let with_today = |cost: &str| [usual.clone(), daily(0..1, cost)].concat();
    assert_eq!(at("32", &with_today("1"), NOON), None);
    assert_eq!(at("32", &with_today("1.99"), NOON), None);
    assert!(at("32", &with_today("2"), NOON).is_some());
    // A week that has no calls any more is a rate of nothing.
    assert_eq!(at("3", &daily(8..20, "1"), NOON), None);
}

#[test]
fn a_young_group_has_a_rate_after_two_days() {
    let at = |limit: &str, calls: &[&str]| {
        forecast(&format!("limit: {limit}"), &calls.iter().map(|call| (*call).to_owned()).collect::<Vec<_>>(), NOON)
    };
    // Two days before midnight, and a moment less.
    assert!(at("5", &["-60h . a $4"]).unwrap().1.ends_with("at $2.00 a day it will be exceeded on the 4th"));
    assert_eq!(at("5", &["-59h59m . a $4"]), None);
    assert!(at("5", &["-61h . a", "-59h59m . a $4"]).is_some());
    // The time of the rate begins with the first call: three days.
    assert!(at("60", &["-84h . a $3", "-20h . a $3"]).unwrap().1.contains("at $2.00 a day"));
}

#[test]
fn a_forecast_is_that_of_its_period() {
    // Friday of a week with a dollar on each day: a dollar for today and two to come.
    let usual = daily(1..10, "1");
    assert!(forecast("period: week, limit: 7", &usual, NOON).is_some());
    assert_eq!(forecast("period: week, limit: 7.01", &usual, NOON), None);
    let told = forecast("period: week, limit: 6.5, zone: Asia/Kolkata", &usual, NOON).unwrap().1;
    assert_eq!(told, "$4.00 of $6.50 spent since 2024-09-30 (Asia/Kolkata); at $1.00 a day it will be exceeded on the 6th");
}

/// A group without a call since yesterday is looked at again when a day begins.
#[test]
fn midnight_judges_every_group_again() {
    let budget = "budget: {limit: 20, by: [org], shares: [100%], forecast: warning}";
    // Two days are over at midnight: no call comes in or goes out of them then.
    let (mut rules, mut windows) = world(&one_rule(budget), false, &["-36h . a org=o $10"], Time::MIN);
    let mut found = |at: &str| named(&rules[0].findings(&mut windows, &Answers::new(), instant(at)));
    assert_eq!((found("0"), found("11h59m59s")), (String::new(), String::new()));
    assert_eq!(found("12h"), "o forecast warning");
    assert_eq!(found("11h59m59s"), "");
    assert_eq!(found("12h"), "o forecast warning");
}

#[test]
fn what_is_spent_is_told_in_words() {
    let calls = ["-1h . a $412.1", "-1h . a", "-1h x a *2"];
    let told = evidence("budget: {zone: America/New_York, limit: 500, shares: [80%]}", false, &calls);
    assert_eq!(
        told,
        "$412.10 of $500.00 spent since 2024-10-01 (America/New_York), 80% or more; 3 calls of unknown cost count 0"
    );
    let (mut rules, mut windows) = world(&one_rule("budget: {limit: 500, shares: [80%]}"), false, &calls, Time::MIN);
    assert_eq!(rules[0].findings(&mut windows, &Answers::new(), NOON)[0].value, 0.8242);
}

#[test]
fn faults_of_budgets() {
    for (options, expected) in [
        ("limit: 5", ""),
        ("by: [org], limits: {acme: 5}, default: 3, shares: {50%: info, 80%: warning}, forecast: true", ""),
        ("limit: 5, period: week, forecast: warning, top: {by: model}", ""),
        ("limit: 5, forecast: false, period: day", ""),
        ("period: month", "the budget has no limit [missing-key]; hint: limit: 1000"),
        ("limit: 5, limits: {acme: 5}, by: [org]", "both `limit` and `limits` are set [conflicting-keys]"),
        ("limit: 5, default: 3", "with `limit` every group has one [conflicting-keys]; hint: remove `default`"),
        (
            "limits: {acme: 5}",
            "`limits` are told apart by the first dimension of `by`, and there is none [missing-key]; hint: by: [org]",
        ),
        ("limits: {acme: 0}, by: [org]", "acme: must be more than 0"),
        ("limits: {acme: lots}, by: [org]", "acme: expected a number"),
        ("limits: [5], by: [org]", "limits: expected a map of names to values, found a list"),
        ("limit: 0", "limit: must be more than 0"),
        ("limit: 5, period: mounth", "`mounth` is no period; did you mean `month`?"),
        ("limit: 5, zone: Berlin", "`Berlin` is no time zone; did you mean `Europe/Berlin`?"),
        ("limit: 5, shares: [80]", "`80` is no share; write it as 80%"),
        ("limit: 5, shares: []", "shares: there is none"),
        ("limit: 5, shares: [0%]", "`0%` must be above 0%"),
        ("limit: 5, shares: [80%, 0.8]", "shares: 0.8 is there twice [duplicate]"),
        ("limit: 5, shares: {80%: ''}", "shares: the severity is empty"),
        ("limit: 5, forecast: true, period: day", "a forecast looks at whole days, so a day has none [no-forecast]"),
        ("limit: 5, forcast: true", "did you mean `forecast`?"),
        ("by: [org], limits_from: {table: b, key: o}", "`limit` is missing"),
        ("by: [org], limits_from: {table: b, key: o, limit: 'a b'}", "`a b` is no name of SQL"),
        ("limits_from: {table: b, key: o, limit: l}", "`limits_from` are told apart by the first dimension"),
    ] {
        let found = fault(&format!("budget: {{{options}}}"));
        assert!(found.contains(expected) && found.is_empty() == expected.is_empty(), "{options}: {found}");
        assert!(!found.contains(" | "), "one fault is told once: {options}: {found}");
    }
}
