//! Test files: what they say, and every fault of them.

use std::ops::Range;

use jiff::civil::{Date, date};
use serde_json::json;

use crate::alert::State;
use crate::calendar::{TimeIntervals, Zone, zone};
use crate::diag::Place;
use crate::ruletest::rows::Row;
use crate::ruletest::words::{Days, Fault, WHEN};
use crate::time::{Span, Time};
use crate::yaml::{self, Faults, Fields, Node, Read, Value};

/// A test file as it is written.
#[derive(Clone, Debug)]
pub struct TestFile {
    /// Its name as the user gave it.
    pub name: String,
    /// The rule files that it names, from its own folder, each with its place.
    pub rule_files: Vec<(String, Place)>,
    /// All of it, for faults that no part of it is to blame for.
    pub place: Place,
    /// Days and hours.
    pub days: Days,
    /// Intervals that its rules may name.
    pub intervals: Option<TimeIntervals>,
    /// Names of the source, of the table of calls and of that of errors, where rows do not say others and where they are said.
    pub names: [Option<String>; 3],
    /// Its tests.
    pub tests: Vec<Test>,
}

/// One test.
#[derive(Clone, Debug)]
pub struct Test {
    /// What it shows.
    pub name: String,
    /// Where it stands.
    pub place: Place,
    /// The only rules that are evaluated, each with its place; all where none is named.
    pub rules: Vec<(String, Place)>,
    /// Rows.
    pub rows: Vec<Row>,
    /// What the databases answer.
    pub answers: Vec<Given>,
    /// What is expected.
    pub expect: Vec<Expectation>,
}

/// What a database answers to the query of a rule from an instant on.
#[derive(Clone, Debug)]
pub struct Given {
    /// The rule, and where it is named.
    pub rule: (String, Place),
    /// The source that answers; each that the rule reads where it is not said.
    pub source: Option<String>,
    /// From when on.
    pub at: Time,
    /// Names of the columns.
    pub columns: Vec<String>,
    /// Rows; none is null.
    pub rows: Vec<Vec<Option<String>>>,
}

/// Which alerts there are at an instant, or at each of a span.
#[derive(Clone, Debug)]
pub struct Expectation {
    /// Where it stands.
    pub place: Place,
    /// The first instant.
    pub from: Time,
    /// The last one; the same where it is about one.
    pub to: Time,
    /// Those that fire, and those that are pending where one of them says so.
    pub alerts: Option<Vec<Expected>>,
    /// Those that began to fire within the span, as people were told.
    pub fired: Option<Vec<Expected>>,
}

impl Expectation {
    /// Every alert that is listed.
    pub fn expected(&self) -> impl Iterator<Item = &Expected> {
        self.alerts.iter().chain(&self.fired).flatten()
    }
}

/// One alert that is expected.
#[derive(Clone, Debug)]
pub struct Expected {
    /// Where it stands.
    pub place: Place,
    /// Labels that it has.
    pub labels: Vec<(String, String)>,
    /// Whether it has no others.
    pub exact: bool,
    /// Pending or firing.
    pub state: State,
    /// Whether its rows came late.
    pub late: Option<bool>,
    /// Its value.
    pub value: Option<f64>,
    /// Annotations that it has.
    pub annotations: Vec<(String, String)>,
    /// What its evidence contains.
    pub evidence: Option<String>,
}

/// Reads a test file; none where it is no YAML.
pub fn parse(name: &str, text: &str, faults: &mut Faults) -> Option<TestFile> {
    let root = yaml::parse(name, text, faults)?;
    root.map(faults, parse_root)
}

/// The JSON Schema of a test file.
pub fn schema() -> serde_json::Value {
    yaml::schema(parse_root)
}

fn parse_root(fields: &mut Fields<'_>, faults: &mut Faults) -> Option<TestFile> {
    let rule_files = placed(fields.node_of("rule_files", yaml::list(yaml::TEXT)), "rule_files", faults);
    let start = fields.optional("start", faults, START).unwrap_or(date(2026, 1, 5));
    let zone = fields.optional("zone", faults, zone).unwrap_or_else(Zone::utc);
    let days = Days { zone, start };
    let own = fields.node("time_intervals").is_some();
    let intervals = Some(TimeIntervals::read(fields, faults)).filter(|_| own);
    let names = names(fields, faults);
    let shared = rows(fields, &days, faults);
    let mut tests: Vec<Test> = Vec::new();
    fields.each("tests", faults, |fields, faults| {
        let mut test = parse_test(fields, &days, faults)?;
        if tests.iter().any(|known| known.name == test.name) {
            faults.error("duplicate", fields.node.at("name"), format!("there is another test `{}`", test.name));
        }
        test.rows.splice(0..0, shared.iter().cloned());
        tests.push(test);
        Some(())
    });
    fields.constrain(|| json!({ "required": ["tests"] }));
    if fields.node("tests").is_none() {
        let help = "tests: [{name: ..., rows: [...], expect: [{at: \"10:05\", alerts: []}]}]";
        faults.error_help("missing-key", fields.node, "there is nothing to test: `tests` is missing", help);
    }
    let place = fields.node.place.clone();
    Some(TestFile { name: place.file.name.clone(), rule_files, place, days, intervals, names, tests })
}

/// `source: cora`, `tables: {calls: cora_usage, errors: cora_errors}`
fn names(fields: &mut Fields<'_>, faults: &mut Faults) -> [Option<String>; 3] {
    let source = fields.optional("source", faults, yaml::TEXT);
    let tables = fields
        .nested("tables", faults, |fields, faults| Some(["calls", "errors"].map(|key| fields.optional(key, faults, yaml::TEXT))));
    let [calls, errors] = tables.unwrap_or_default();
    [source, calls, errors]
}

const START: yaml::Type<Date> = yaml::Type::new(start, || json!({ "type": "string", "pattern": "^[0-9]{4}-[0-9]{2}-[0-9]{2}$" }));

fn start(node: &Node) -> Result<Date, String> {
    let text = yaml::text(node)?;
    text.parse().map_err(|_| format!("`{text}` is no date; write it as 2026-01-05"))
}

/// Texts of a list with their places.
fn placed(node: Option<&Node>, key: &str, faults: &mut Faults) -> Vec<(String, Place)> {
    let items = node.map_or(&[][..], Node::items);
    items.iter().filter_map(|item| Some((yaml::TEXT.read(key, item, faults)?, item.place.clone()))).collect()
}

fn parse_test(fields: &mut Fields<'_>, days: &Days, faults: &mut Faults) -> Option<Test> {
    let name = fields.required("name", faults, yaml::TEXT);
    let rules = placed(fields.node_of("rules", yaml::list(yaml::TEXT)), "rules", faults);
    let (rows, answers, expect) = scene(fields, days, faults);
    let firsts = rows.iter().flat_map(Row::begins).chain(expect.iter().map(|expectation| expectation.from));
    let last = expect.iter().map(|expectation| expectation.to).max().unwrap_or_default();
    if firsts.min().is_some_and(|first| last - first > LONGEST) {
        faults.error_help(
            "bad-time",
            fields.node.at("expect"),
            format!("a test takes at most {LONGEST}"),
            "its rows begin too early for that",
        );
    }
    Some(Test { name: name?, place: fields.node.at("name").place.clone(), rules, rows, answers, expect })
}

/// Every tick of a test is played.
const LONGEST: Span = Span::secs(1_000 * 86_400);

/// What the examples of kinds have too.
fn scene(fields: &mut Fields<'_>, days: &Days, faults: &mut Faults) -> (Vec<Row>, Vec<Given>, Vec<Expectation>) {
    let rows = rows(fields, days, faults);
    let answers = fields.each("answers", faults, |fields, faults| parse_answer(fields, days, faults));
    let expect = fields.each("expect", faults, |fields, faults| parse_expectation(fields, days, faults));
    fields.constrain(|| json!({ "required": ["expect"] }));
    if fields.node("expect").is_none_or(|node| node.items().is_empty()) {
        let help = "expect: [{at: \"10:05\", alerts: []}]";
        faults.error_help("missing-key", fields.node, "nothing is expected: `expect` is missing", help);
    }
    (rows, answers, expect)
}

/// A line of rows as it is written.
const LINE: yaml::Type<String> = yaml::Type::new(yaml::text, || {
    json!({
        "type": "string",
        "pattern": "^([0-9]+ +)?(calls?|success(es)?|failures?|abandoned|errors?)( |$)",
        "patternErrorMessage": "expected rows such as: 12 failures of gpt-4o every 30s from 10:00",
    })
});

fn rows(fields: &mut Fields<'_>, days: &Days, faults: &mut Faults) -> Vec<Row> {
    let items = fields.node_of("rows", yaml::list(LINE)).map_or(&[][..], Node::items);
    let read = |item: &Node, faults: &mut Faults| {
        let line = LINE.read("rows", item, faults)?;
        told("bad-row", Row::parse(&line, days), &line, item, faults)
    };
    items.iter().filter_map(|item| read(item, faults)).collect()
}

/// A fault within a line is shown at its words.
fn told<T>(code: &'static str, read: Result<T, Fault>, line: &str, node: &Node, faults: &mut Faults) -> Option<T> {
    read.map_err(|Fault { at, message, help }| faults.at(code, &within(node, line, at), message, help)).ok()
}

/// Bytes of a text within the place where it is written; the place itself where it is written in another way.
fn within(node: &Node, text: &str, at: Range<usize>) -> Place {
    let Some(begin) = node.written().find(text).filter(|_| !text.is_empty() && !at.is_empty()) else { return node.place.clone() };
    let begin = node.place.bytes.start + begin;
    Place { bytes: begin + at.start..begin + at.end, ..node.place.clone() }
}

const WHEN_TEXT: yaml::Type<String> = yaml::Type::new(yaml::text, || json!({ "type": "string", "description": WHEN }));

/// A time such as `day 2 10:00`.
fn when(fields: &mut Fields<'_>, key: &'static str, days: &Days, faults: &mut Faults) -> Option<Time> {
    let node = fields.node_of(key, WHEN_TEXT)?;
    let text = WHEN_TEXT.read(key, node, faults)?;
    told("bad-time", days.parse(&text), &text, node, faults)
}

fn parse_answer(fields: &mut Fields<'_>, days: &Days, faults: &mut Faults) -> Option<Given> {
    let rule = fields.required("query_of", faults, yaml::TEXT);
    let source = fields.optional("source", faults, yaml::TEXT);
    let at = when(fields, "at", days, faults).or_else(|| fields.node("at").is_none().then_some(Time::MIN));
    let columns = fields.optional("columns", faults, yaml::list(yaml::TEXT));
    let row = json!({ "type": "object", "additionalProperties": { "type": ["string", "number", "boolean", "null"] } });
    let maps = fields.node_of("rows", Rows(row)).map_or(&[][..], Node::items);
    let mut columns = columns.unwrap_or_default();
    let mut rows = Vec::new();
    for node in maps {
        let Value::Map(pairs) = &node.value else {
            let message = format!("rows: expected a map of columns to values, found {}", node.kind());
            faults.error_help("wrong-type", node, message, "rows: [{org: acme, value: 3}]");
            continue;
        };
        let mut row: Vec<Option<String>> = vec![None; columns.len()];
        for (key, value) in pairs {
            let column = columns.iter().position(|known| known == key.key_name()).unwrap_or(columns.len());
            if column == columns.len() {
                columns.push(key.key_name().to_owned());
            }
            row.resize(columns.len(), None);
            row[column] = if let Value::Null = value.value { None } else { yaml::TEXT.read("rows", value, faults) };
        }
        rows.push(row);
    }
    rows.iter_mut().for_each(|row| row.resize(columns.len(), None));
    let place = fields.node.at("query_of").place.clone();
    Some(Given { rule: (rule?, place), source, at: at?, columns, rows })
}

/// A list of maps with the given schema; they are read elsewhere.
struct Rows(serde_json::Value);

impl Read<()> for Rows {
    fn read(&self, _: &str, _: &Node, _: &mut Faults) -> Option<()> {
        Some(())
    }

    fn schema(&self) -> serde_json::Value {
        json!({ "type": "array", "items": self.0 })
    }
}

fn parse_expectation(fields: &mut Fields<'_>, days: &Days, faults: &mut Faults) -> Option<Expectation> {
    let place = fields.node.place.clone();
    let at = when(fields, "at", days, faults);
    let (from, to) = (when(fields, "from", days, faults), when(fields, "to", days, faults));
    fields.constrain(|| json!({ "oneOf": [{ "required": ["at"] }, { "required": ["from", "to"] }] }));
    let given = ["at", "from", "to"].map(|key| fields.node(key).is_some());
    let span = match given {
        [true, false, false] => at.zip(at),
        [false, true, true] => from.zip(to),
        _ => {
            let help = "{at: \"10:05\", alerts: []} or {from: \"10:05\", to: \"12:00\", alerts: []}";
            faults.error_help("missing-key", fields.node, "an expectation is `at` an instant, or `from` one `to` another", help);
            None
        }
    };
    if let Some((from, to)) = span.filter(|(from, to)| from > to) {
        let message = format!("to: {} is before {}", days.name(to), days.name(from));
        faults.error("bad-time", fields.node.at("to"), message);
    }
    let [alerts, fired] = ["alerts", "fired"].map(|key| {
        let node = fields.node_of(key, Rows(json!({ "anyOf": [yaml::schema(parse_alert), yaml::TEXTS.schema()] })))?;
        Some(node.items().iter().filter_map(|item| expected(key, item, faults)).collect())
    });
    fields.constrain(|| json!({ "anyOf": [{ "required": ["alerts"] }, { "required": ["fired"] }] }));
    if fields.node("alerts").is_none() && fields.node("fired").is_none() {
        faults.error_help("missing-key", fields.node, "`alerts` is missing", "where nothing fires: alerts: []");
    }
    let (from, to) = span?;
    Some(Expectation { place, from, to, alerts, fired })
}

/// The short form has labels alone.
fn expected(key: &str, node: &Node, faults: &mut Faults) -> Option<Expected> {
    let Value::Map(pairs) = &node.value else {
        let message = format!("{key}: expected a map of labels, found {}", node.kind());
        faults.error_help("wrong-type", node, message, "{alertname: AIErrorSpike, model: gpt-4o}");
        return None;
    };
    if pairs.iter().any(|(key, value)| key.key_name() == "labels" && matches!(value.value, Value::Map(_))) {
        return node.map(faults, parse_alert);
    }
    for (key, _) in pairs.iter().filter(|(key, _)| LONG.contains(&key.key_name())) {
        let help = format!("{{labels: {{alertname: AIErrorSpike}}, {}: ...}}", key.key_name());
        faults.error_help(
            "no-labels",
            key,
            format!("`{}` goes beside `labels`; without them all is labels", key.key_name()),
            help,
        );
    }
    let labels = yaml::TEXTS.read(key, node, faults)?;
    let place = node.place.clone();
    let (state, annotations) = (State::Firing, Vec::new());
    Some(Expected { place, labels, exact: false, state, late: None, value: None, annotations, evidence: None })
}

/// Keys beside `labels`.
const LONG: [&str; 6] = ["exact", "state", "late", "value", "annotations", "evidence"];

fn parse_alert(fields: &mut Fields<'_>, faults: &mut Faults) -> Option<Expected> {
    let labels = fields.required("labels", faults, yaml::TEXTS);
    let exact = fields.optional("exact", faults, yaml::BOOLEAN).unwrap_or(false);
    let states = yaml::one_of(&[("firing", State::Firing), ("pending", State::Pending)]);
    let state = fields.optional("state", faults, states).unwrap_or(State::Firing);
    let late = fields.optional("late", faults, yaml::BOOLEAN);
    let value = fields.optional("value", faults, yaml::NUMBER);
    let annotations = fields.optional("annotations", faults, yaml::TEXTS).unwrap_or_default();
    let evidence = fields.optional("evidence", faults, yaml::TEXT);
    let place = fields.node.place.clone();
    Some(Expected { place, labels: labels?, exact, state, late, value, annotations, evidence })
}

/// Reads what the header of a kind shows: the rows and the expectations of one test.
#[cfg(test)]
pub fn parse_example(name: &str, text: &str, faults: &mut Faults) -> Option<TestFile> {
    let root = yaml::parse(name, text, faults)?;
    root.map(faults, |fields, faults| {
        let zone = fields.optional("zone", faults, zone).unwrap_or_else(Zone::utc);
        let days = Days { zone, start: date(2026, 1, 5) };
        let own = fields.node("time_intervals").is_some();
        let intervals = Some(TimeIntervals::read(fields, faults)).filter(|_| own);
        let names = names(fields, faults);
        let (rows, answers, expect) = scene(fields, &days, faults);
        let place = fields.node.place.clone();
        let test = Test { name: name.to_owned(), place: place.clone(), rules: Vec::new(), rows, answers, expect };
        Some(TestFile { name: name.to_owned(), rule_files: Vec::new(), place, days, intervals, names, tests: vec![test] })
    })
}
