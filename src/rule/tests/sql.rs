//! Rows are alerts.

use super::*;

const SQL: &str = "sql: {query: SELECT 1}";

/// What is found in an answer of `app`, or what there is to say against it.
#[track_caller]
fn check(answer: &Answer, expected: &str) {
    let (mut rules, mut windows) = world(&one_rule(SQL), false, &[], Time::MIN);
    let found = match rules[0].objection(0, answer) {
        Some(objection) => objection,
        None => found_with(&mut rules, &mut windows, &answers(&[("app", answer)]), NOON),
    };
    assert_eq!(found, expected);
}

#[test]
fn each_row_is_an_alert() {
    check(&answer("value", &[]), "");
    check(&answer("", &[]), "");
    check(&answer("value", &[&["3"]]), "source=app 3");
    check(&answer("org value", &[&["a", "3"], &["b", "-1.5e3"]]), "org=a source=app 3, org=b source=app -1500");
    check(&answer("value org team", &[&["1", "-", ""], &["2", "a", "-"]]), "source=app 1, org=a source=app 2");
    check(&answer("org value", &[&["a", " 0.10 "]]), "org=a source=app 0.1");
}

#[test]
fn what_is_no_alert_is_refused() {
    let no_number = |found: &str| format!("`value` is {found} in the row {{org=\"a\"}}, which is no number");
    for (value, found) in
        [("-", "NULL"), ("", "``"), ("many", "`many`"), ("NaN", "`NaN`"), ("inf", "`inf`"), ("1 000", "`1 000`")]
    {
        check(&answer("org value", &[&["b", "1"], &["a", value]]), &no_number(found));
    }
    check(&answer("org", &[&["a"]]), "there is no column `value`; name one so: count(*) AS value");
    check(&answer("org", &[]), "there is no column `value`; name one so: count(*) AS value");
    for name in ["?column?", "count(*)", "1st", "alertname", "alertstate", "source", "__x"] {
        let expected = format!("the column `{name}` cannot be a label; give it another name with AS");
        check(&answer(&format!("{name} value"), &[]), &expected);
    }
    let twins = "two rows have the same labels {org=\"a\"}";
    check(&answer("org team value", &[&["a", "-", "1"], &["b", "-", "1"], &["a", "", "2"]]), twins);
}

#[test]
fn each_source_has_its_own_rows() {
    let (mut rules, mut windows) = world(&one_rule(SQL), false, &[], Time::MIN);
    let (one, two) = (answer("org value", &[&["a", "1"]]), answer("org value", &[&["a", "2"]]));
    let both = answers(&[("eu", &one), ("us", &two)]);
    assert_eq!(found_with(&mut rules, &mut windows, &both, NOON), "org=a source=eu 1, org=a source=us 2");
    let told: Vec<String> = rules[0].findings(&mut windows, &both, NOON).into_iter().map(|finding| finding.evidence).collect();
    assert_eq!(told, [format!("eu answered 1 for org a at {NOON}"), format!("us answered 2 for org a at {NOON}")]);
    let (mut rules, mut windows) = world(&one_rule(SQL), false, &[], Time::MIN);
    let told = rules[0].findings(&mut windows, &answers(&[("eu", &answer("value", &[&["7"]]))]), NOON).remove(0).evidence;
    assert_eq!(told, format!("eu answered 7 for all at {NOON}"));
}

#[test]
fn the_query_is_as_it_was_written() {
    let rules = parse_file("r.yml", &one_rule("sql: {query: 'SELECT 1 ;', every: 5m}"), &mut Faults::default());
    let query = rules[0].queries().remove(0);
    assert_eq!((query.sql.as_str(), query.every, query.place.line_column()), ("SELECT 1", Span::secs(300), (1, 66)));
    assert_eq!((query.is_replayable(), query.patience()), (false, Span::secs(900)));
    let rules = parse_file("r.yml", &one_rule("sql: {query: 'SELECT :now AS value', every: 5s}"), &mut Faults::default());
    let query = rules[0].queries().remove(0);
    assert_eq!((query.is_replayable(), query.patience()), (true, Span::secs(60)));
}

#[test]
fn faults() {
    for (options, expected) in [
        ("{query: SELECT 1}", ""),
        ("{}", "`query` is missing"),
        ("{query: ''}", "query: there is no SELECT"),
        ("{query: 'SELECT 1; SELECT 2'}", "query: expected one SELECT, found `;` and more"),
        ("{query: SELECT 1, every: 0s}", "every: must be longer than 0s"),
        (
            "{query: SELECT 1, by: [org]}",
            "there is nothing to group here [no-groups]; hint: the columns of the SELECT are the labels",
        ),
        ("{query: SELECT 1, where: ['model=\"a\"']}", "this looks at no events [no-events]"),
        ("{query: SELECT 1, where: ['source=\"a\"']}", ""),
        ("{sql: SELECT 1}", "`query` is missing"),
    ] {
        let found = fault(&format!("sql: {options}"));
        assert!(found.contains(expected) && found.is_empty() == expected.is_empty(), "{options}: {found}");
    }
}
