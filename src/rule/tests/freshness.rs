//! The newest, by time alone.

use super::*;

const CALLS: &str = "freshness: {older_than: 5m}";
const TABLE: &str = "freshness: {table: audit.sync_state, column: last_synced_at, older_than: 5m}";

#[test]
fn the_newest_call_is_too_old() {
    check(CALLS, &["-5m . a"], "0", "");
    check(CALLS, &["-5m . a"], "1ms", "300.001");
    check(CALLS, &["-9m . a", "-6m x a"], "0", "360");
    check(CALLS, &["-9m . a", "-6m x a", "-1m ? a"], "0", "");
    // A call of the future says nothing of now; one of the past was not there before.
    check(CALLS, &["-6m . a", "1h . a"], "0", "300");
    check(CALLS, &["-4m . a", "1h . a"], "0", "");
    check(CALLS, &["-20m . a", "0s . a"], "-10m", "300");
    check(CALLS, &["-20m . a", "0s . a"], "-16m", "");
    check(CALLS, &[], "0", "inf");
}

#[test]
fn groups_are_judged_by_themselves_and_forgotten() {
    let by = "freshness: {older_than: 5m, forget_after: 1h, by: [model]}";
    check(by, &["-6m . a", "-4m . b", "-60m . c", "-61m . d"], "0", "model=a 360, model=c 3600");
    check(by, &["-6m . a", "-4m . b"], "1m1s", "model=a 421, model=b 301");
    check("freshness: {older_than: 5m, by: [model]}", &["-167h . a", "-169h . b"], "0", "model=a 601200");
    // Of a group that is met later nothing is known before.
    check(by, &["-1m . a"], "-30m", "");
    check("freshness: {older_than: 5m, forget_after: 1h}", &["-61m . d"], "0", "3660");
    check("freshness: {older_than: 4d}", &["-167h . a"], "0", "601200");
}

/// The cheap look at candidates alone must not miss that time passes.
#[test]
fn it_is_judged_while_nothing_comes() {
    let (mut rules, mut windows) = world(&one_rule(CALLS), false, &["-1m . a"], Time::MIN);
    for (at, expected) in [("0", ""), ("3m", ""), ("4m", ""), ("4m1s", "301"), ("4m2s", "302"), ("1h", "3660")] {
        assert_eq!(found(&mut rules, &mut windows, instant(at)), expected, "{at}");
    }
}

#[test]
fn outside_of_its_hours_the_age_does_not_count() {
    let active =
        |options: &str| format!("freshness: {{{options}, active: [{{times: [{{start_time: '12:00', end_time: '13:00'}}]}}]}}");
    let rule = active("older_than: 5m");
    for (at, expected) in [("-1m", ""), ("0", ""), ("5m", ""), ("5m1s", "3901"), ("59m", "7140"), ("1h", "")] {
        let (mut rules, mut windows) = world(&one_rule(&rule), false, &["-1h . a"], Time::MIN);
        rules.iter_mut().for_each(|rule| rule.settle_hours(&crate::calendar::TimeIntervals::default(), &mut Faults::default()));
        assert_eq!(found(&mut rules, &mut windows, instant(at)), expected, "{at}");
    }
}

/// What is found from an answer of noon.
#[track_caller]
fn check_table(newest: &str, at: &str, expected: &str) {
    let (mut rules, mut windows) = world(&one_rule(TABLE), false, &[], Time::MIN);
    let answer = answer("newest", &[&[newest]]);
    let found = match rules[0].objection(0, &answer) {
        Some(objection) => objection,
        None => found_with(&mut rules, &mut windows, &answers(&[("app", &answer)]), instant(at)),
    };
    assert_eq!(found, expected, "{newest} at {at}");
}

#[test]
fn the_newest_time_of_a_table_is_too_old() {
    let text = |before: &str, end: &str| instant(before).to_string().replace('T', " ").replace('Z', end);
    for form in ["", "+00", "+00:00", "Z"] {
        check_table(&text("-5m", form), "0", "");
        check_table(&text("-5m", form), "1s", "source=app 301");
        check_table(&text("-10m", form), "0", "source=app 600");
        check_table(&text("10m", form), "0", "");
    }
    let seconds = instant("-10m").0 / 1_000_000;
    check_table(&seconds.to_string(), "0", "source=app 600");
    check_table(&format!("{seconds}000"), "0", "source=app 600");
    check_table("2024-10-04", "0", "source=app 43200");
    check_table("-", "0", "source=app inf");
    for bad in ["yesterday", "infinity", "NaN", "last_synced_at"] {
        check_table(bad, "0", &format!("audit.sync_state.last_synced_at is `{bad}`, which is no time"));
    }
}

#[test]
fn a_table_without_rows_was_never_synced() {
    let (mut rules, mut windows) = world(&one_rule(TABLE), false, &[], Time::MIN);
    let nothing = answer("newest", &[]);
    let finding = rules[0].findings(&mut windows, &answers(&[("app", &nothing)]), NOON).remove(0);
    assert_eq!(finding.evidence, format!("audit.sync_state.last_synced_at has no time: never synced, as of {NOON}"));
    let old = answer("newest", &[&["2024-10-04 11:52:30.25"]]);
    let finding = rules[0].findings(&mut windows, &answers(&[("app", &old)]), NOON).remove(0);
    let expected = "audit.sync_state.last_synced_at is 2024-10-04T11:52:30.25Z, 7m29s before 2024-10-04T12:00:00Z, more than 5m";
    assert_eq!(finding.evidence, expected);
    let query = rules[0].queries().remove(0);
    assert_eq!(query.sql, r#"SELECT max(asked."last_synced_at") AS newest FROM "audit"."sync_state" AS asked"#);
    let told = evidence(CALLS, false, &["-450s . a"]);
    assert_eq!(told, "the newest call is of 2024-10-04T11:52:30Z, 7m30s before 2024-10-04T12:00:00Z, more than 5m");
}

#[test]
fn faults() {
    for (options, expected) in [
        ("{older_than: 5m}", ""),
        ("{older_than: 5m, by: [model], forget_after: 1h}", ""),
        ("{}", "`older_than` is missing"),
        ("{older_than: 0s}", "older_than: must be longer than 0s"),
        ("{older_than: 5m, forget_after: 5m}", "forget_after: 5m must be longer than older_than (5m)"),
        ("{older_than: 30d}", ""),
        ("{older_than: 5m, table: t, column: c, every: 5m}", ""),
        ("{older_than: 5m, table: t}", "`column` is missing [missing-key]; hint: `table` and `column` go together"),
        ("{older_than: 5m, column: t}", "`table` is missing"),
        ("{older_than: 5m, table: 't\"', column: c}", "table: `t\"` is no name"),
        ("{older_than: 5m, table: t, column: ''}", "column: `` is no name"),
        ("{older_than: 5m, table: t, column: c, by: [model]}", "there is nothing to group here"),
        ("{older_than: 5m, table: t, column: c, where: ['model=\"a\"']}", "this looks at no events"),
        ("{older_than: 5m, table: t, column: c, forget_after: 1d}", "there are no groups to forget"),
        ("{older_than: 5m, top: {by: model}}", "freshness has no contributors to name"),
    ] {
        let found = fault(&format!("freshness: {options}"));
        assert!(found.contains(expected) && found.is_empty() == expected.is_empty(), "{options}: {found}");
    }
}
