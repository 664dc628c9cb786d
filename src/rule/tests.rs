//! Each kind on virtual time, over windows that are built by hand.
//!
//! A call is a line: when (a span before or after [`NOON`]), how it ended (`x` failed, `.` succeeded, `?` abandoned, `e` is a
//! record of an error table), its model, and what else is known: `org=o`, `*3` calls, `$0.25`, that it took `@2s`, the
//! measure `quality=4.2`, and `user=u`.

mod budget;
mod cost_anomaly;
mod coverage;
mod error_rate;
mod error_spike;
mod freshness;
mod latency;
mod measure;
mod new_value;
mod no_data;
mod recount;
mod slo_burn_rate;
mod sql;
mod volume_anomaly;

use std::collections::BTreeSet;

use super::*;
use crate::event::{Event, Outcome};
use crate::limits::MAX_ALERTS;
use crate::source;
use crate::window::Table;

/// A multiple of every resolution that these tests use.
const NOON: Time = Time::from_secs(20_000 * 86_400 + 43_200);
const LATENESS: Span = Span::secs(900);

/// `-1h` is an hour before noon.
fn instant(text: &str) -> Time {
    let span = |text: &str| Span::parse(text).unwrap_or_else(|fault| panic!("{fault}"));
    text.strip_prefix('-').map_or_else(|| NOON + span(text), |before| NOON - span(before))
}

fn money(text: &str) -> i64 {
    let (whole, rest) = text.split_once('.').unwrap_or((text, ""));
    format!("{whole}{rest:0<9}").parse().unwrap()
}

/// The tables `calls` and `errors`; the latter has no dimension `org`.
fn tables(with_errors: bool) -> Vec<Table> {
    let table = |name: &str, kind, dimensions: &[&str]| Table {
        source: "app".to_owned(),
        name: name.to_owned(),
        kind,
        dimensions: dimensions.iter().map(|name| (*name).to_owned()).collect(),
        measures: if kind == source::Kind::Usage { vec!["quality".to_owned()] } else { Vec::new() },
        marks: if kind == source::Kind::Usage { vec!["user".to_owned()] } else { Vec::new() },
        failures_are_errors: kind == source::Kind::Usage && !with_errors,
    };
    let mut tables = vec![table("calls", source::Kind::Usage, &["model", "org"])];
    tables.extend(with_errors.then(|| table("errors", source::Kind::Errors, &["model"])));
    tables
}

/// The table's number, the values of its dimensions, and the event without its shape.
fn call(line: &str) -> (usize, Vec<String>, Event) {
    let words: Vec<&str> = line.split_whitespace().collect();
    let (mut event, mut org) = (Event { time: instant(words[0]), count: 1, ..Event::default() }, "");
    event.outcome = match words[1] {
        "." => Outcome::Success,
        "?" => Outcome::Abandoned,
        _ => Outcome::Failure,
    };
    for word in &words[3..] {
        match word.split_at(1) {
            ("$", amount) => event.cost = Some(money(amount)),
            ("*", count) => event.count = count.parse().unwrap(),
            ("@", took) => event.latency = Some(Span::parse(took).unwrap().0),
            ("q", _) => event.measures = vec![Some((word[8..].parse::<f64>().unwrap() * 1e6).round() as i64)],
            ("u", user) => event.marks = vec![source::mark::text(user.as_bytes())],
            _ => org = word.strip_prefix("org=").unwrap(),
        }
    }
    let model = words[2].trim_matches('\'').to_owned();
    if words[1] == "e" { (1, vec![model], event) } else { (0, vec![model, org.to_owned()], event) }
}

/// Rules over windows that they asked for; calls come in the order given, each in a batch of its own.
fn world(yaml: &str, with_errors: bool, calls: &[&str], settled: Time) -> (Vec<Rule>, Windows) {
    let mut faults = Faults::default();
    let mut rules = parse_file("t.yml", yaml, &mut faults);
    assert!(faults.0.is_empty(), "{:?}", faults.0);
    let (tables, nothing) = (tables(with_errors), BTreeSet::new());
    let mut shapes: Vec<Vec<Vec<String>>> = tables.iter().map(|_| Vec::new()).collect();
    let mut windows = Windows::new(tables, 1_000, LATENESS);
    for rule in &rules {
        for (selector, need, resolution) in rule.needs() {
            windows.need(&selector, &need, resolution, &nothing);
        }
    }
    windows.settle_needs(shapes.iter().map(Vec::as_slice));
    for (i, line) in calls.iter().enumerate() {
        let (table, values, mut event) = call(line);
        let known = shapes[table].iter().position(|known| *known == values);
        event.shape = known.unwrap_or(shapes[table].len()) as u32;
        if known.is_none() {
            windows.add_shape(table, &values);
            shapes[table].push(values);
        }
        windows.add(table, &[event], NOON, false);
        // The last call comes when what is before `settled` is.
        windows.forget(NOON, if i + 2 == calls.len() { settled } else { Time::MIN });
    }
    rules.iter_mut().for_each(|rule| rule.bind(&mut windows));
    (rules, windows)
}

/// One rule `A`, evaluated each second.
fn one_rule(kind: &str) -> String {
    format!("groups: [{{name: g, interval: 1s, rules: [{{alert: A, {kind}}}]}}]")
}

/// What `app` answered at noon to the one query of a rule; `-` is NULL.
fn answer(columns: &str, rows: &[&[&str]]) -> Answer {
    let columns = columns.split_whitespace().map(str::to_owned).collect();
    let text = |text: &&str| Some((*text).to_owned()).filter(|text| text != "-");
    Answer { at: NOON, columns, rows: rows.iter().map(|row| row.iter().map(text).collect()).collect() }
}

fn answers(of: &[(&str, &Answer)]) -> Answers {
    vec![of.iter().map(|(source, answer)| ((*source).to_owned(), Arc::new((*answer).clone()))).collect()]
}

/// `model=a value`, one for each finding, in the order of the groups.
fn found(rules: &mut [Rule], windows: &mut Windows, at: Time) -> String {
    found_with(rules, windows, &Answers::new(), at)
}

fn found_with(rules: &mut [Rule], windows: &mut Windows, answers: &Answers, at: Time) -> String {
    let findings = rules.iter_mut().flat_map(|rule| rule.findings(windows, answers, at)).collect::<Vec<_>>();
    let one = |finding: &Finding| {
        let labels = finding.labels.iter().filter(|(name, _)| *name != "alertname");
        let labels: String = labels.map(|(name, value)| format!("{name}={value} ")).collect();
        format!("{labels}{}", finding.value)
    };
    findings.iter().map(one).collect::<Vec<_>>().join(", ")
}

#[track_caller]
fn check(kind: &str, calls: &[&str], at: &str, expected: &str) {
    let (mut rules, mut windows) = world(&one_rule(kind), false, calls, Time::MIN);
    assert_eq!(found(&mut rules, &mut windows, instant(at)), expected, "{kind} at {at}");
}

/// The evidence of the one finding.
fn evidence(kind: &str, with_errors: bool, calls: &[&str]) -> String {
    let (mut rules, mut windows) = world(&one_rule(kind), with_errors, calls, Time::MIN);
    let findings = rules[0].findings(&mut windows, &Answers::new(), NOON);
    assert_eq!(findings.len(), 1, "{findings:?}");
    findings[0].evidence.clone()
}

#[test]
fn error_spikes_are_more_than_a_count() {
    let spike = "error_spike: {more_than: 2, within: 1m, by: [model]}";
    check(spike, &[], "0", "");
    check(spike, &["-9s x a", "-8s x a"], "0", "");
    check(spike, &["-9s x a", "-8s x a", "-7s x a"], "0", "model=a 3");
    check(spike, &["-9s x a *2", "-8s x a"], "0", "model=a 3");
    check(spike, &["-9s x a *3", "-8s x b *2", "-8s x c *4"], "0", "model=a 3, model=c 4");
    check(spike, &["-9s ? a *3", "-8s . a *3"], "0", "");
    check("error_spike: {more_than: 0, within: 1m}", &["-9s x a"], "0", "1");
    check("error_spike: {more_than: 2, within: 1m}", &["-9s x a", "-8s x b", "-7s x c"], "0", "3");
}

#[test]
fn a_window_ends_at_the_instant_and_begins_after_it_was() {
    let spike = "error_spike: {more_than: 0, within: 1m}";
    check(spike, &["0s x a"], "0", "1");
    check(spike, &["1ms x a"], "0", "");
    check(spike, &["-60s x a"], "0", "");
    check(spike, &["-59s999ms x a"], "0", "1");
    check(spike, &["-60s x a"], "-1s", "1");
    check(spike, &["-60s x a"], "-1m", "1");
    check(spike, &["-60s x a"], "-61s", "");
    // Between two multiples of the resolution the window is that of the later one.
    check(spike, &["500ms x a", "1s x a"], "100ms", "2");
    check(spike, &["-59s x a", "-58s500ms x a"], "100ms", "1");
}

#[test]
fn errors_are_records_of_error_tables_where_there_are_any() {
    let of = |of: &str| one_rule(&format!("error_spike: {{more_than: 0, within: 1m, by: [model], of: {of}}}"));
    let calls = ["-9s x a", "-8s . a", "-7s x b"];
    let records = ["-9s x a", "-9s e a", "-9s e a", "-8s x b", "-7s e c", "-6s . d"];
    for (kind, with_errors, lines, expected) in [
        ("calls", false, &calls[..], "model=a 1, model=b 1"),
        ("errors", false, &calls[..], "model=a 1, model=b 1"),
        ("calls", true, &records[..], "model=a 1, model=b 1"),
        ("errors", true, &records[..], "model=a 2, model=c 1"),
    ] {
        let (mut rules, mut windows) = world(&of(kind), with_errors, lines, Time::MIN);
        assert_eq!(found(&mut rules, &mut windows, NOON), expected, "of: {kind}, {lines:?}");
    }
    let told = evidence("error_spike: {more_than: 0, within: 90s, of: errors}", true, &["-9s e a"]);
    assert_eq!(told, format!("1 errors in the 1m30s up to {NOON}, more than 0"));
}

#[test]
fn where_chooses_and_by_groups() {
    let calls = ["-9s x a org=o", "-8s x b org=o", "-7s x b org=p", "-6s x ''"];
    let check = |options: &str, expected: &str| {
        check(&format!("error_spike: {{more_than: 0, within: 1m, {options}}}"), &calls, "0", expected);
    };
    check("by: [org]", "org=o 2, org=p 1, 1");
    check("by: [model, org]", "model=a org=o 1, model=b org=o 1, model=b org=p 1, 1");
    check("by: model, where: 'org=\"o\"'", "model=a 1, model=b 1");
    check("by: [model], where: ['model=~\"a\\.?\"', org=o]", "model=a 1");
    check("by: [model], where: ['org!=\"\"', 'model=~\"b|c\"']", "model=b 2");
    check("where: ['model=\"\"']", "1");
    check("where: ['model!~\"[ab]\"', 'org=\"o\"']", "");
    check("by: [source, table], where: ['table=\"calls\"']", "source=app table=calls 4");
    check("where: ['source=\"other\"']", "");
}

/// A table without the dimension has the empty value; its group has no such label.
#[test]
fn a_missing_dimension_is_an_absent_label() {
    let rule = one_rule("error_spike: {more_than: 0, within: 1m, by: [org], of: errors}");
    let (mut rules, mut windows) = world(&rule, true, &["-9s e a", "-8s x a org=o", "-7s e b"], Time::MIN);
    let findings = rules[0].findings(&mut windows, &Answers::new(), NOON);
    assert_eq!(findings.iter().map(|f| f.labels.to_string()).collect::<Vec<_>>(), ["{alertname=\"A\"}"]);
    assert_eq!(findings[0].value, 2.0);
}

#[test]
fn failures_in_a_row_end_with_a_success() {
    let streak = "failure_streak: {in_a_row: 3, within: 1m, by: [model]}";
    let three = ["-50s x a", "-40s x a", "-30s x a"];
    check(streak, &three[..2], "0", "");
    check(streak, &three, "0", "model=a 3");
    check(streak, &three, "-30s", "model=a 3");
    check(streak, &three, "-31s", "");
    check(streak, &["-50s x a *2", "-40s x a"], "0", "model=a 3");
    check(streak, &["-50s x a", "-40s . b", "-30s x a *2"], "0", "model=a 3");
    check(streak, &["-50s x a", "-45s ? a", "-40s x a", "-30s x a", "-20s ? a"], "0", "model=a 3");
    check(streak, &["-50s x a", "-40s x a", "-30s x a", "-20s . a"], "0", "");
    check(streak, &["-50s x a", "-40s x a", "-30s x a", "-20s . a"], "-21s", "model=a 3");
    // The last failure counts, not the first.
    check(streak, &["-2h x a", "-1h x a", "-59s x a"], "0", "model=a 3");
    check(streak, &["-80s x a", "-70s x a", "-60s x a"], "0", "");
    check(streak, &["-80s x a", "-70s x a", "-60s x a"], "-1s", "model=a 3");
    check("failure_streak: {in_a_row: 1}", &["-1h x a"], "0", "");
    check("failure_streak: {in_a_row: 1}", &["-59m59s x a"], "0", "1");
}

/// Rows come in any order; of calls at the same instant failures count as later.
#[test]
fn failures_in_a_row_are_ordered_by_time() {
    let streak = "failure_streak: {in_a_row: 3, within: 1m}";
    check(streak, &["-30s x a", "-30s x a", "-30s . a", "-30s x a"], "0", "3");
    check(streak, &["-30s . a *5", "-30s x a *2"], "0", "");
    check(streak, &["-10s x a", "-30s x a", "-20s x a"], "0", "3");
    check(streak, &["-10s x a", "-30s x a", "-20s x a", "-15s . a"], "0", "");
    check(streak, &["-10s x a", "-15s . a", "-8s x a", "-9s x a", "-20s x a"], "0", "3");
    check(streak, &["-30s x a", "-20s x a", "-10s . a", "-5s x a"], "0", "");
    let told = evidence(streak, false, &["-10s x a", "-30s x a *2", "-20s x a", "-40s . a"]);
    assert_eq!(told, format!("4 failures in a row from {} to {}, 3 or more", instant("-30s"), instant("-10s")));
}

/// What is settled is one state; a call from before it has no place any more.
#[test]
fn failures_in_a_row_go_on_from_what_is_settled() {
    let rule = one_rule("failure_streak: {in_a_row: 3, within: 1h}");
    let calls = ["-40m . a", "-30m x a", "-20m x a", "-10m x a", "-25m . a"];
    let (mut rules, mut windows) = world(&rule, false, &calls, instant("-15m"));
    assert_eq!(found(&mut rules, &mut windows, NOON), "3");
}

#[test]
fn more_failures_than_a_count_whatever_succeeded() {
    let streak = "failure_streak: {more_than: 2, within: 1m, by: [model]}";
    let calls = ["-50s x a", "-40s . a", "-30s x a", "-25s ? a", "-20s . a", "-10s x a"];
    check(streak, &calls, "0", "model=a 3");
    check(streak, &calls, "-11s", "");
    check(streak, &calls, "9s", "model=a 3");
    check(streak, &calls, "10s", "");
    check(streak, &["-50s x a *2"], "0", "");
    check("failure_streak: {more_than: 2, by: [model]}", &["-59m x a *3", "-61m x b *3"], "0", "model=a 3");
}

const COST: &str = "cost_anomaly: {factor: 2, days: 4, min_days: 3, by: [org]";

/// A day's cost for an org `o`, an hour before noon, for today and the days before.
fn days(costs: &[&str]) -> Vec<String> {
    let line = |(day, cost): (usize, &&str)| format!("-{}h . a org=o ${cost}", 24 * day + 1);
    costs.iter().enumerate().filter(|(_, cost)| !cost.is_empty()).map(line).collect()
}

#[test]
fn cost_is_held_against_the_days_before() {
    #[track_caller]
    fn on(options: &str, costs: &[&str], expected: &str) {
        let lines = days(costs);
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        check(&format!("{COST}{options}}}"), &lines, "0", expected);
    }
    on("", &["2.1", "1", "1", "1", "1"], "org=o 2.1");
    on("", &["2", "1", "1", "1", "1"], "");
    on("", &["2.000000001", "1", "1", "1", "1"], "org=o 2.000000001");
    // Not yet days enough, then just enough; days before the first row do not count, empty ones since then do.
    on("", &["9", "1", "1"], "");
    on("", &["9", "1", "1", "1"], "org=o 9");
    on("", &["1.1", "", "1", "1"], "");
    on("", &["1.4", "", "1", "1"], "org=o 1.4");
    on("", &["1.1", "", "", "1", "1"], "org=o 1.1");
    on("", &["0.01", "", "", "0"], "org=o 0.01");
    on("", &["9"], "");
    // Further back than `days` is not looked at.
    on("", &["2.1", "1", "1", "1", "1", "99"], "org=o 2.1");
    on(", of: median", &["2.1", "1", "1", "1", "99"], "org=o 2.1");
    on(", of: median", &["3.1", "1", "2", "1", "99"], "org=o 3.1");
    on(", of: median", &["3", "1", "2", "1", "99"], "");
    on(", of: median", &["2.1", "99", "1", "1"], "org=o 2.1");
    on(", min_cost: 5", &["4.99", "1", "1", "1"], "");
    on(", min_cost: 5", &["5", "1", "1", "1"], "org=o 5");
    on(", window: 2h", &["2.1", "1", "1", "1"], "org=o 2.1");
    on(", window: 1h", &["2.1", "1", "1", "1"], "");
}

/// Cents have no binary fractions; what is exactly twice the usual is not more than it.
#[test]
fn money_is_compared_exactly() {
    for (usual, double) in [("0.7", "1.4"), ("0.1", "0.2"), ("4.35", "8.7"), ("1.1", "2.2"), ("0.000000007", "0.000000014")] {
        for earlier in [3, 4] {
            let mut costs = vec![double];
            costs.extend(vec![usual; earlier]);
            let lines = days(&costs);
            let mut lines: Vec<&str> = lines.iter().map(String::as_str).collect();
            check(&format!("{COST}}}"), &lines, "0", "");
            lines.push("-2h . a org=o $0.000000001");
            let (mut rules, mut windows) = world(&one_rule(&format!("{COST}}}")), false, &lines, Time::MIN);
            assert_eq!(rules[0].findings(&mut windows, &Answers::new(), NOON).len(), 1, "{usual} on {earlier} days");
        }
    }
    // Ten dimes are a dollar.
    let dimes: Vec<String> = (0..10).map(|i| format!("-{}m . a org=o $0.1", i + 1)).collect();
    let calls: Vec<&str> = dimes.iter().map(String::as_str).chain(["-25h . a org=o $0.5", "-49h . a org=o $0.5"]).collect();
    check(&format!("{COST}, min_days: 2}}").replace("min_days: 3, ", ""), &calls, "0", "");
}

#[test]
fn cost_says_what_it_compared() {
    let usual = ["-25h . a $1.00", "-49h . a $1.50", "-73h x a $2"];
    let rule = "cost_anomaly: {factor: 1.5, days: 14}";
    let today = ["-3h . a $3.01", "-2h . a", "-1h x a *2", "-1h ? a"];
    let calls: Vec<&str> = usual.into_iter().chain(today).collect();
    assert_eq!(
        evidence(rule, false, &calls),
        format!(
            "$3.01 in the 1d up to {NOON}, more than 1.5 x $1.50, the mean of the same window on 3 days before; \
             3 calls of unknown cost count 0"
        )
    );
    assert!(!evidence(rule, false, &calls[..4]).contains("unknown cost"));
    let cents = ["-25h . a $0.001", "-49h . a $0.001", "-73h . a $0.001", "-1h . a $0.0042"];
    assert!(evidence(rule, false, &cents).starts_with("$0.0042 in the 1d"), "{}", evidence(rule, false, &cents));
}

/// An error record is no second call: neither its cost nor its time is one.
#[test]
fn cost_is_that_of_calls_alone() {
    let calls = ["-1h . a $2", "-1h e a $5", "-25h . a $1", "-49h . a $1", "-73h . a $1", "-97h e a"];
    let rule = one_rule("cost_anomaly: {factor: 2, days: 4, min_days: 3}");
    let (mut rules, mut windows) = world(&rule, true, &calls, Time::MIN);
    assert_eq!(found(&mut rules, &mut windows, NOON), "");
}

/// A comparison slides to any instant and back.
#[test]
fn windows_go_to_and_fro() {
    let lines = days(&["2.1", "1", "1", "1"]);
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    let (mut rules, mut windows) = world(&one_rule(&format!("{COST}}}")), false, &lines, Time::MIN);
    for (at, expected) in
        [("0", "org=o 2.1"), ("-2h", ""), ("-1h", "org=o 2.1"), ("22h", "org=o 2.1"), ("23h6m", ""), ("0", "org=o 2.1")]
    {
        assert_eq!(found(&mut rules, &mut windows, instant(at)), expected, "{at}");
    }
}

#[test]
fn labels_and_annotations_are_filled_in() {
    let yaml = "
groups:
  - name: g
    rules:
      - alert: Spike
        error_spike: {more_than: 0, within: 1h, by: [model]}
        labels: {severity: high, team: 'ml-{{ $labels.model }}', none: '{{ if eq $labels.model `none` }}x{{ end }}'}
        annotations: {summary: '{{ $labels.alertname }}: {{ $labels.model }} {{ $value }}', odd: '{{ match $labels.model \"x\" }}'}
";
    let (mut rules, mut windows) = world(yaml, false, &["-9s x gpt-(4o *12"], Time::MIN);
    let finding = rules[0].findings(&mut windows, &Answers::new(), NOON).remove(0);
    let labels = r#"{alertname="Spike", model="gpt-(4o", severity="high", team="ml-gpt-(4o"}"#;
    assert_eq!(finding.labels.to_string(), labels);
    assert_eq!(finding.annotations.get("summary"), "Spike: gpt-(4o 12");
    assert!(finding.annotations.get("odd").contains("error expanding template"), "{:?}", finding.annotations);
    assert_eq!((rules[0].key.as_str(), rules[0].interval), ("g/Spike", Span::secs(15)));
}

/// The faults of a rule file.
fn faults(yaml: &str) -> Vec<String> {
    let mut faults = Faults::default();
    parse_file("r.yml", yaml, &mut faults);
    faults.0.iter().map(ToString::to_string).collect()
}

/// The fault of one kind's options, without where it is.
fn fault(kind: &str) -> String {
    let found = faults(&format!("groups: [{{name: g, rules: [{{alert: A, {kind}}}]}}]"));
    found.iter().map(|fault| fault.splitn(4, ':').nth(3).unwrap().trim()).collect::<Vec<_>>().join(" | ")
}

#[test]
fn faults_of_each_kind() {
    for (kind, expected) in [
        ("error_spike: {more_than: 1, within: 1h, by: [model]}", ""),
        ("error_spike: {within: 1h}", "error_spike needs either `more_than` or `factor`"),
        ("error_spike: {more_than: 5, within: 1h, wher: [a]}", "did you mean `where`?"),
        ("error_spike: {more_than: 1, within: 1h, of: rows}", "`rows` is neither `calls` nor `errors`"),
        ("error_spike: {more_than: 1, within: 0s}", "within: must be longer than 0s"),
        ("error_spike: {more_than: 1.5, within: 1h}", "more_than: expected a whole number from 0, found 1.5"),
        ("error_spike: {more_than: -1, within: 1h}", "more_than: expected a whole number from 0, found -1"),
        ("error_spike: {more_than: 1, within: 1 hour}", "`1 hour` is no duration; write it as 30s, 5m"),
        ("error_spike: {more_than: 1, within: 1h, by: [a-b]}", "by: `a-b` is no dimension"),
        ("error_spike: {more_than: 1, within: 1h, by: {a: b}}", "by: expected a list, found a map"),
        ("error_spike: {more_than: 1, within: 1h, where: [model]}", "`model` is no matcher; write it as"),
        ("error_spike: {more_than: 1, within: 1h, where: ['model~\"x\"']}", "`model~\"x\"` is no matcher; write it as"),
        ("error_spike: {more_than: 1, within: 1h, where: ['model=~\"(\"']}", "`(` is no regular expression"),
        ("error_spike: 5", "expected a map of keys and values, found a number"),
        ("error_spike: ", "the rule has no kind [no-kind]; hint: one of budget, cost_anomaly, coverage"),
        ("error_spik: {more_than: 1, within: 1h}", "did you mean `error_spike`?"),
        ("expr: up == 0", "unknown key `expr` [unknown-key]; hint: instead of an expression a rule names its kind: budget,"),
        ("failure_streak: {within: 1h}", "failure_streak needs `in_a_row` or `more_than`"),
        ("failure_streak: {in_a_row: 3, more_than: 3}", "both `in_a_row` and `more_than` are set"),
        ("failure_streak: {in_a_row: 0}", "in_a_row: must be at least 1"),
        ("failure_streak: {in_a_row: many}", "in_a_row: expected a number, found text"),
        ("cost_anomaly: {}", ""),
        ("cost_anomaly: {factor: 0}", "factor: must be more than 0"),
        ("cost_anomaly: {factor: .nan}", "non-finite float `.nan` rejected"),
        ("cost_anomaly: {of: max}", "`max` is neither `mean` nor `median`"),
        ("cost_anomaly: {days: 2, min_days: 3}", "days: 2 must be between min_days (3) and 366"),
        ("cost_anomaly: {days: 400}", "days: 400 must be between min_days (3) and 366"),
        ("error_spike: {more_than: 1, within: 1h}, cost_anomaly: {}", "a rule has one kind only"),
        ("error_spike: {more_than: 1, within: 1h}, for: soon", "for: `soon` is no duration"),
        ("error_spike: {more_than: 1, within: 1h}, labels: {alertname: B}", "`alertname` cannot be the label of an alert"),
        ("error_spike: {more_than: 1, within: 1h}, labels: {alertstate: B}", "`alertstate` cannot be the label of an alert"),
        ("error_spike: {more_than: 1, within: 1h}, labels: {a-b: B}", "`a-b` cannot be the label of an alert"),
        ("error_spike: {more_than: 1, within: 1h}, labels: [a]", "expected a map of names to texts, found a list"),
        ("error_spike: {more_than: 1, within: 1h}, annotations: {s: '{{ $value | humanise }}'}", "did you mean `humanize`?"),
        ("error_spike: {more_than: 1, within: 1h}, annotations: {s: '{{ parseDuration \"soon\" }}'}", "s: "),
        ("error_spike: {more_than: 1, within: 1h, by: [model]}, annotations: {s: '{{ humanize $labels.model }}'}", ""),
        (
            "error_spike: {more_than: 1, within: 1h}, annotations: {s: '{{ $labels.model }}'}",
            "if it is a dimension, add it to `by`; known here: alertname",
        ),
        ("error_spike: {more_than: 1, within: 1h, by: [model]}, labels: {a: '{{ $labels.alertname }}'}", "no label `alertname`"),
        (
            "error_spike: {more_than: 1, within: 1h, by: [org]}, labels: {a: b}, annotations: {s: '{{ $labels.a }}{{ $labels.org }}'}",
            "",
        ),
        ("error_spike: {more_than: x, within: 1h}, annotations: {s: '{{ $labels.model }}'}", "expected a number"),
        ("error_spike: {more_than: 1, within: 1h}, annotations: {runbook_url: www.example.com/x}", "no URL"),
        ("error_spike: {more_than: 1, within: 1h}, annotations: {runbook_url: 'https://x/{{ $labels.alertname }}#a b'}", ""),
        ("error_spike: {more_than: 1, within: 1h}, annotations: {dashboard_url: '{{ $labels.alertname }}/x'}", ""),
        ("error_spike: {more_than: 1, within: 1h}, annotation: {s: x}", "did you mean `annotations`?"),
    ] {
        let found = fault(kind);
        assert!(found.contains(expected) && found.is_empty() == expected.is_empty(), "{kind}: {found}");
        assert!(expected.contains(" | ") || !found.contains(" | "), "one fault is told once: {kind}: {found}");
    }
}

#[test]
fn faults_have_their_place_and_none_hides_another() {
    let yaml = "groups:
  - name: g
    interval: 0s
    rules:
      - alert: A
        error_spike: {more_than: x, within: 1h, wher: []}
        fro: 1m
      - error_spike: {more_than: 1, within: 1h}
        annotations:
          summary: \"{{ $value\"
      - alert: B
        cost_anomaly:
          min_days: 20
        failure_streak: {in_a_row: 5}
  - rules: {}
gruops: []
";
    assert_eq!(
        faults(yaml),
        [
            "r.yml:3:15: interval: must be longer than 0s [bad-value]",
            "r.yml:6:34: more_than: expected a number, found text [bad-value]",
            "r.yml:6:49: unknown key `wher` [unknown-key]; hint: did you mean `where`?",
            "r.yml:7:9: unknown key `fro` [unknown-key]; hint: did you mean `for`?",
            "r.yml:8:9: `alert` is missing [missing-key]",
            "r.yml:10:20: summary: `{{` without its `}}` [bad-template]",
            "r.yml:11:9: a rule has one kind only, and this one has `cost_anomaly` and `failure_streak` [two-kinds]; hint: write a rule for each",
            "r.yml:13:21: days: 14 must be between min_days (20) and 366 [bad-value]",
            "r.yml:15:5: `name` is missing [missing-key]",
            "r.yml:15:12: rules: expected a list, found a map [wrong-type]; hint: each item of a list begins with `- `",
            "r.yml:16:1: unknown key `gruops` [unknown-key]; hint: did you mean `groups`?",
        ]
    );
}

#[test]
fn labels_of_a_group_are_those_of_its_rules_unless_they_say_others() {
    let yaml = "
groups:
  - name: g
    labels: {team: ml, severity: low, of: '{{ $labels.model }}'}
    rules:
      - {alert: A, error_spike: {more_than: 0, within: 1h, by: [model]}}
      - {alert: B, error_spike: {more_than: 0, within: 1h, by: [model]}, labels: {severity: high, team: ''}}
  - name: h
    rules: [{alert: C, error_spike: {more_than: 0, within: 1h}}]
";
    let (mut rules, mut windows) = world(yaml, false, &["-9s x gpt"], Time::MIN);
    let labels: Vec<String> = rules
        .iter_mut()
        .flat_map(|rule| rule.findings(&mut windows, &Answers::new(), NOON))
        .map(|found| found.labels.to_string())
        .collect();
    assert_eq!(
        labels,
        [
            r#"{alertname="A", model="gpt", of="gpt", severity="low", team="ml"}"#,
            r#"{alertname="B", model="gpt", of="gpt", severity="high"}"#,
            r#"{alertname="C"}"#,
        ]
    );
}

#[test]
fn rules_of_one_name_have_keys_of_their_own() {
    let rule = "{alert: A, error_spike: {more_than: 1, within: 1h}}";
    let yaml = format!("groups: [{{name: g, rules: [{rule}, {rule}]}}, {{name: h, limit: 5, interval: 1m, rules: [{rule}]}}]");
    let rules = parse_file("r.yml", &yaml, &mut Faults::default());
    let keys: Vec<_> = rules.iter().map(|rule| (rule.key.as_str(), rule.interval, rule.policy.limit)).collect();
    let (usual, minute) = (Span::secs(15), Span::secs(60));
    assert_eq!(keys, [("g/A", usual, MAX_ALERTS), ("g/A#2", usual, MAX_ALERTS), ("h/A", minute, 5)]);
}

#[test]
fn the_sample_is_valid() {
    let mut faults = Faults::default();
    assert_eq!(parse_file("sample.yml", file::SAMPLE, &mut faults).len(), 1);
    assert!(faults.0.is_empty(), "{:?}", faults.0);
}
