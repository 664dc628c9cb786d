//! Tests through texts, and the examples in the headers of all kinds.

use super::*;
use crate::rule::{KINDS, docs};

const RULES: &str = "
groups:
  - name: g
    interval: 1m
    rules:
      - alert: Spike
        error_spike: {more_than: 10, within: 1h, by: [model]}
        for: 1m
        labels: {severity: high}
        annotations: {summary: '{{ $labels.model }}: {{ $value }}'}
";

fn suite(tests: &str, rules: &str) -> Result<Suite, Vec<String>> {
    let mut faults = Faults::default();
    let suite = file::parse("t.test.yml", tests, &mut faults)
        .and_then(|file| Suite::new(file, vec![("t.yml".to_owned(), rules.to_owned())], &Default::default(), &mut faults));
    suite.ok_or_else(|| faults.0.iter().map(ToString::to_string).collect())
}

/// What the tests of a file say, each that fails.
fn failures(suite: &Suite) -> String {
    let failed = |test: &Test| {
        let played = suite.play(test);
        (!played.failures.is_empty()).then(|| report::failed(suite, test, &played))
    };
    suite.file.tests.iter().filter_map(failed).collect()
}

/// One test over rows, with what is expected; nothing where it passes.
#[track_caller]
fn check(rules: &str, rows: &[&str], expect: &[&str], expected: &str) {
    let list = |lines: &[&str]| lines.iter().map(|line| format!("      - {line}\n")).collect::<String>();
    let tests = format!("tests:\n  - name: t\n    rows:\n{}    expect:\n{}", list(rows), list(expect));
    let suite = suite(&tests, rules).unwrap_or_else(|faults| panic!("{}", faults.join("\n")));
    assert_eq!(failures(&suite), expected, "{tests}");
}

#[test]
fn alerts_are_looked_at_between_ticks() {
    check(
        RULES,
        &["11 failures of a from 10:00"],
        &[
            "{at: '09:59:59', alerts: []}",
            "{at: '10:00', alerts: []}",
            "{at: '10:00', alerts: [{labels: {alertname: Spike}, state: pending, value: 11}]}",
            "{at: '10:00:59', alerts: []}",
            "{at: '10:01', alerts: [{alertname: Spike, model: a, severity: high}]}",
            "{from: '10:01', to: '10:59:59', alerts: [{model: a}]}",
            "{from: '11:00', to: '23:00', alerts: []}",
            "{from: '00:00', to: '23:00', fired: [{labels: {model: a}, late: false, annotations: {summary: 'a: 11'}}]}",
        ],
        "",
    );
}

#[test]
fn rows_are_seen_when_they_can_be_read() {
    let short = "groups: [{name: g, interval: 15s, rules: [{alert: Spike, error_spike: {more_than: 2, within: 1m}}]}]";
    let rows = ["3 failures from 10:00 committed 75s late"];
    // It is over before anybody could know; people are told once.
    check(
        short,
        &rows,
        &[
            "{from: '09:00', to: '11:00', alerts: []}",
            "{from: '09:00', to: '10:01', fired: []}",
            "{at: '10:01:15', fired: [{labels: {alertname: Spike}, late: true}]}",
            "{from: '10:01:30', to: '11:00', fired: []}",
        ],
        "",
    );
    let rows = ["3 failures from 10:00 committed 45s late"];
    check(short, &rows, &["{at: '10:00:30', alerts: []}", "{at: '10:00:45', alerts: [{alertname: Spike}]}"], "");
}

#[test]
fn late_rows_reach_rules_with_longer_intervals() {
    let rule = |name: &str, interval: &str| {
        format!("{{name: {name}, interval: {interval}, rules: [{{alert: {name}, error_spike: {{more_than: 2, within: 1h}}}}]}}")
    };
    let rules = format!("groups: [{}, {}]", rule("A", "15s"), rule("B", "5m"));
    let rows = ["3 failures from 09:59:50 committed 30s late"];
    let expect = ["{at: '10:00:30', alerts: [{alertname: A}]}", "{at: '10:05', alerts: [{alertname: A}, {alertname: B}]}"];
    check(&rules, &rows, &expect, "");
}

#[test]
fn records_of_errors_take_the_place_of_failed_calls() {
    let errors = "groups: [{name: g, interval: 1m, rules: [{alert: E, error_spike: {more_than: 2, within: 1h, of: errors, by: [table]}}]}]";
    let rows = ["3 failures from 10:00"];
    check(errors, &rows, &["{at: '10:00', alerts: [{table: calls}]}"], "");
    check(errors, &["9 failures from 10:00", "1 error from 10:00"], &["{at: '10:00', alerts: []}"], "");
    check(errors, &["3 errors from 10:00 with table=e{i%1}"], &["{at: '10:00', alerts: [{table: e0}]}"], "");
}

#[test]
fn rows_are_from_where_the_rules_ask() {
    let of = |places: &str| {
        format!(
            "groups: [{{name: g, interval: 1m, rules: [{{alert: A, error_spike: {{more_than: 2, within: 1h, where: [{places}]}}}}]}}]"
        )
    };
    let (rows, fires) = (["3 failures from 10:00"], ["{at: '10:00', alerts: [{alertname: A}]}"]);
    check(&of("'source=\"cora\"', 'table=\"cora_usage\"'"), &rows, &fires, "");
    check(&of("source=cora"), &["3 failures from 10:00 with source=cora"], &fires, "");
    check(&of("'source!=\"\"'"), &rows, &fires, "");
    let told = "  at 10:00 (2026-01-05T10:00:00Z), t.test.yml:6:9
    - A firing
  note: A never fired
  note: A reads none of the sources of the rows; `source: NAME` in the test file names theirs
";
    check(&of("'source=~\"cora\"'"), &rows, &fires, told);
}

const SQL: &str = "groups: [{name: g, interval: 15s, rules: [{alert: Late, sql: {query: 'SELECT 1 AS value'}}]}]";

#[test]
fn answers_hold_until_the_next_one() {
    let tests = "tests:
  - name: t
    answers:
      - {query_of: Late, at: '10:00', rows: [{org: a, value: 3}, {value: 4.5, org: null}]}
      - {query_of: Late, at: '10:05', columns: [org, value], rows: []}
    expect:
      # The first one holds before its time too.
      - {from: '09:00', to: '10:04:59', alerts: [{labels: {org: a}, value: 3}, {labels: {org: '', source: test}, value: 4.5}]}
      - {from: '10:05', to: '11:00', alerts: []}
";
    assert_eq!(failures(&suite(tests, SQL).unwrap()), "");
    let tests = "tests:
  - name: t
    rows: [1 call with source=one, 1 call with source=two]
    answers: [{query_of: Late, rows: [{value: 1}]}, {query_of: Late, source: two, at: '10:00', rows: [{value: 2}]}]
    expect:
      - {at: '09:59', alerts: [{labels: {source: one}, value: 1}, {labels: {source: two}, value: 1}]}
      - {at: '10:00', alerts: [{labels: {source: one}, value: 1}, {labels: {source: two}, value: 2}]}
";
    assert_eq!(failures(&suite(tests, SQL).unwrap()), "");
}

#[test]
fn a_rule_without_answers_is_named() {
    let told = "  at 10:00 (2026-01-05T10:00:00Z), t.test.yml:6:9
    - Late firing
  note: Late never fired
  note: Late asks the database and was not evaluated, since the test has no `answers` for it
";
    check(SQL, &["1 call from 10:00"], &["{at: '10:00', alerts: [{alertname: Late}]}"], told);
}

#[test]
fn what_failed_is_told_with_what_helps() {
    check(
        RULES,
        &["11 failures of a every 1s from 10:00:01 with team=x"],
        &[
            "{at: '10:01', alerts: [{alertname: Spike, model: a}]}",
            "{at: '10:02', alerts: [{labels: {alertname: Spike, model: b}, value: 12}]}",
            "{at: '12:00', alerts: [{alertname: Spike, model: b, severity: low}]}",
            "{at: '12:00', alerts: [{alertname: Spike, model: a}]}",
            "{at: '10:30', alerts: []}",
        ],
        r#"  at 10:01 (2026-01-05T10:01:00Z), t.test.yml:6:9
    - Spike{model="a"} firing
  note: Spike{model="a", severity="high"} is pending since 10:01, value 11
  at 10:02 (2026-01-05T10:02:00Z), t.test.yml:7:9
      Spike{model="a", severity="high"} firing
    -     label model: b
    +     label model: a
    -     value: 12
    +     value: 11
          11 failed calls in the 1h up to 2026-01-05T10:02:00Z, more than 10
  at 12:00 (2026-01-05T12:00:00Z), t.test.yml:8:9
    - Spike{model="b", severity="low"} firing
  note: Spike{model="b", severity="low"} never fired
  note: Spike{model="a", severity="high"} did
  at 12:00 (2026-01-05T12:00:00Z), t.test.yml:9:9
    - Spike{model="a"} firing
  note: Spike{model="a", severity="high"} fired from 10:02 to 11:01
  at 10:30 (2026-01-05T10:30:00Z), t.test.yml:10:9
    + Spike{model="a", severity="high"} firing, value 11
          11 failed calls in the 1h up to 2026-01-05T10:30:00Z, more than 10
  note: Spike{model="a", severity="high"} firing since 10:02
  note: no rule looks at `team` of the rows
"#,
    );
}

#[test]
fn faults_of_a_file_have_their_place() {
    let tests = r#"
start: monday
tests:
  - name: a
    rules: [Spik]
    rows:
      - 12 failurs of gpt-4o
      - "12 failures of gpt-4o evry 30s"
    expect:
      - {at: "25:00", alerts: []}
      - {from: "10:00", alerts: []}
      - {from: "10:00", to: "09:00", alerts: []}
      - {at: "10:00"}
      - {at: "10:00", alerts: [{alertname: A, value: 3}, x, {labels: {a: b}, state: on}]}
  - name: a
    expect: []
"#;
    assert_eq!(
        suite(tests, RULES).unwrap_err(),
        [
            "t.test.yml:2:8: start: `monday` is no date; write it as 2026-01-05 [bad-value]",
            "t.test.yml:7:12: `failurs` means nothing here [bad-row]; hint: did you mean `failure`? Such as: 12 failures of gpt-4o every 30s from 10:00",
            "t.test.yml:8:32: `evry` means nothing here [bad-row]; hint: did you mean `every`? Such as: 12 calls of gpt-4o every 30s from 10:00 with org=acme cost=0.02 latency=1.5s",
            "t.test.yml:10:15: expected a time, found `25:00` [bad-time]; hint: a time is 10:00, 10:00:30, day 2 10:00, or 2026-01-05T10:00:00Z",
            "t.test.yml:11:9: an expectation is `at` an instant, or `from` one `to` another [missing-key]; hint: {at: \"10:05\", alerts: []} or {from: \"10:05\", to: \"12:00\", alerts: []}",
            "t.test.yml:12:29: to: 09:00 is before 10:00 [bad-time]",
            "t.test.yml:13:9: `alerts` is missing [missing-key]; hint: where nothing fires: alerts: []",
            "t.test.yml:14:47: `value` goes beside `labels`; without them all is labels [no-labels]; hint: {labels: {alertname: AIErrorSpike}, value: ...}",
            "t.test.yml:14:58: alerts: expected a map of labels, found text [wrong-type]; hint: {alertname: AIErrorSpike, model: gpt-4o}",
            "t.test.yml:14:85: state: `on` is neither `firing` nor `pending` [bad-value]",
            "t.test.yml:15:5: nothing is expected: `expect` is missing [missing-key]; hint: expect: [{at: \"10:05\", alerts: []}]",
            "t.test.yml:15:11: there is another test `a` [duplicate]",
        ]
    );
    let unknown = "tests: [{name: a, rules: [Spik], expect: [{at: '10:00', alerts: [{alertname: Other}]}]}]";
    assert_eq!(
        suite(unknown, RULES).unwrap_err(),
        [
            "t.test.yml:1:27: there is no rule `Spik` [unknown-rule]; hint: did you mean `Spike`?",
            "t.test.yml:1:66: there is no rule `Other` [unknown-rule]; hint: there are Spike",
        ]
    );
}

/// The rule of an example and its rows and expectations. The rule is the one after `For example:`, or the first one of all.
fn example(kind: &str) -> Option<(String, String)> {
    let docs = docs(kind)?;
    let blocks = |docs: &str| -> Vec<String> {
        docs.split("```yaml\n").skip(1).filter_map(|rest| rest.split("```").next()).map(str::to_owned).collect()
    };
    let is_rule = |block: &&String| block.starts_with(&format!("{kind}:"));
    let (all, own) = (blocks(&docs), blocks(docs.split_once("For example:").unwrap_or_default().1));
    let rule = own.iter().find(is_rule).or(all.iter().find(is_rule))?;
    // A block may show several ways to write it.
    let mut lines = rule.lines();
    let first = lines.next()?;
    let own = lines.take_while(|line| !line.starts_with(kind)).map(|line| format!("\n        {line}"));
    let rule = format!("{first}{}", own.collect::<String>());
    let test = all.iter().find(|block| block.lines().any(|line| line.starts_with("expect:")))?;
    let rules = format!("groups:\n  - name: example\n    interval: 1m\n    rules:\n      - alert: Example\n        {rule}\n");
    Some((rules, test.clone()))
}

#[test]
fn the_examples_of_all_kinds_are_as_they_say() {
    let mut faults = Vec::new();
    for kind in KINDS {
        let Some((rules, test)) = example(kind.name) else {
            faults.push(format!("{}: no example with `rows` and `expect`", kind.name));
            continue;
        };
        let mut found = Faults::default();
        let suite = file::parse_example(kind.name, &test, &mut found)
            .and_then(|file| Suite::new(file, vec![("example.yml".to_owned(), rules)], &Default::default(), &mut found));
        let said = suite.map(|suite| failures(&suite)).unwrap_or_default();
        let told: Vec<String> = found.0.iter().map(ToString::to_string).collect();
        if !said.is_empty() || !told.is_empty() {
            faults.push(format!("{}:\n{said}{}", kind.name, told.join("\n")));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}
