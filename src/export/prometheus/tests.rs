//! Small expositions as they must be, to the byte, in both formats.

use prometheus_client::encoding::text::encode_registry;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

use super::*;
use crate::event::{Event, Outcome};
use crate::labels::Labels;
use crate::source::Kind;
use crate::time::Time;
use crate::window::Table;

const BOTH: [Format; 2] = [Format::Text, Format::OpenMetrics];

fn table(source: &str, kind: Kind, model: &str, events: &[Event]) -> TableTotals {
    let dimensions = ["model", "error_type"].map(str::to_owned).to_vec();
    let table = Table {
        source: source.into(),
        name: "t".into(),
        kind,
        dimensions,
        measures: Vec::new(),
        marks: Vec::new(),
        failures_are_errors: true,
    };
    let mut totals = TableTotals::new(&table, &["model".to_owned()], 10, None);
    totals.add_shape(&table, &[model.to_owned(), "quota".to_owned()]);
    totals.add(events);
    totals
}

fn totals(format: Format, tables: &[TableTotals]) -> String {
    let mut encoder = Encoder::new(format, 0);
    encoder.totals(tables);
    encoder.finish()
}

fn calls() -> TableTotals {
    let ok = Event {
        time: Time(1_500_000),
        count: 2,
        input_tokens: 7,
        cost: Some(1_250_000_000),
        latency: Some(250_000),
        ..Event::default()
    };
    let slow = Event { time: Time(500_000), count: 1, unspecified_tokens: 9, latency: Some(700_000_001), ..Event::default() };
    let failed = Event { time: Time(2_000_000), count: 3, outcome: Outcome::Failure, cost: Some(7), ..Event::default() };
    let given_up = Event { count: 1, outcome: Outcome::Abandoned, ..Event::default() };
    table("s", Kind::Usage, "m", &[ok, slow, failed, given_up])
}

#[test]
fn totals_in_the_text_format() {
    let text = totals(Format::Text, &[calls()]);
    assert_eq!(
        text,
        r##"# HELP ai_requests_total Finished calls by outcome
# TYPE ai_requests_total counter
ai_requests_total{source="s",table="t",model="m",outcome="success"} 3
ai_requests_total{source="s",table="t",model="m",outcome="failure"} 3
ai_requests_total{source="s",table="t",model="m",outcome="abandoned"} 1
# HELP ai_tokens_total Tokens by type; unspecified where only their total is known
# TYPE ai_tokens_total counter
ai_tokens_total{source="s",table="t",model="m",token_type="input"} 7
ai_tokens_total{source="s",table="t",model="m",token_type="output"} 0
ai_tokens_total{source="s",table="t",model="m",token_type="unspecified"} 9
# HELP ai_cost_usd_total Cost of calls in US dollars, where a price was known
# TYPE ai_cost_usd_total counter
ai_cost_usd_total{source="s",table="t",model="m"} 1.250000007
# HELP ai_request_duration_seconds Duration of calls
# TYPE ai_request_duration_seconds histogram
ai_request_duration_seconds_bucket{source="s",table="t",model="m",le="0.1"} 0
ai_request_duration_seconds_bucket{source="s",table="t",model="m",le="0.25"} 2
ai_request_duration_seconds_bucket{source="s",table="t",model="m",le="0.5"} 2
ai_request_duration_seconds_bucket{source="s",table="t",model="m",le="1.0"} 2
ai_request_duration_seconds_bucket{source="s",table="t",model="m",le="2.5"} 2
ai_request_duration_seconds_bucket{source="s",table="t",model="m",le="5.0"} 2
ai_request_duration_seconds_bucket{source="s",table="t",model="m",le="10.0"} 2
ai_request_duration_seconds_bucket{source="s",table="t",model="m",le="15.0"} 2
ai_request_duration_seconds_bucket{source="s",table="t",model="m",le="30.0"} 2
ai_request_duration_seconds_bucket{source="s",table="t",model="m",le="60.0"} 2
ai_request_duration_seconds_bucket{source="s",table="t",model="m",le="120.0"} 2
ai_request_duration_seconds_bucket{source="s",table="t",model="m",le="300.0"} 2
ai_request_duration_seconds_bucket{source="s",table="t",model="m",le="600.0"} 2
ai_request_duration_seconds_bucket{source="s",table="t",model="m",le="+Inf"} 3
ai_request_duration_seconds_sum{source="s",table="t",model="m"} 700.500001
ai_request_duration_seconds_count{source="s",table="t",model="m"} 3
# HELP ai_errors_total Records of error tables; failed calls where a source has none
# TYPE ai_errors_total counter
ai_errors_total{source="s",table="t",model="m",error_type="quota"} 3
# HELP ai_failure_run Failed calls since the last success
# TYPE ai_failure_run gauge
ai_failure_run{source="s",table="t",model="m"} 0
# HELP ai_last_event_timestamp_seconds Time of the newest call
# TYPE ai_last_event_timestamp_seconds gauge
ai_last_event_timestamp_seconds{source="s",table="t",model="m"} 2
"##
    );
}

/// The same samples, under families without the suffix of a counter's samples, and with an end.
#[test]
fn openmetrics_differs_in_names_of_families_and_its_end() {
    let (text, open) = (totals(Format::Text, &[calls()]), totals(Format::OpenMetrics, &[calls()]));
    let samples = |text: &str| text.lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(samples(&text), samples(&open));
    let header = |line: &str| match line.split_once("_total ") {
        Some((name, rest)) if line.starts_with('#') => format!("{name} {rest}\n"),
        _ => format!("{line}\n"),
    };
    assert_eq!(text.lines().map(header).collect::<String>() + "# EOF\n", open);
    let families = "# HELP ai_requests Finished calls by outcome\n# TYPE ai_requests counter\n";
    assert!(open.starts_with(families), "{open}");
}

/// Whatever a table holds, a line stays a line, and its labels stay apart.
#[test]
fn hostile_values_are_escaped() {
    for (model, written) in [
        ("a\"b", r#"a\"b"#),
        ("a\\b", r"a\\b"),
        ("a\\", r"a\\"),
        ("a\nb", r"a\nb"),
        ("\\n", r"\\n"),
        ("}\" 1\nai_requests_total 9", r#"}\" 1\nai_requests_total 9"#),
        ("", ""),
        ("{a,b=c}#", "{a,b=c}#"),
        ("gpt-4\u{e9}\u{1f600}\t\r", "gpt-4\u{e9}\u{1f600}\t\r"),
    ] {
        for format in BOTH {
            let event = Event { count: 1, outcome: Outcome::Failure, ..Event::default() };
            let text = totals(format, &[table(model, Kind::Errors, model, &[event])]);
            let line = format!("ai_errors_total{{source=\"{written}\",table=\"t\",model=\"{written}\",error_type=\"quota\"}} 1");
            assert_eq!(
                text.split('\n').filter(|line| !line.starts_with('#')).collect::<Vec<_>>(),
                [line.as_str(), ""],
                "{model:?}"
            );
        }
        let own = table(model, Kind::Usage, "m", &[]);
        let mut encoder = Encoder::new(Format::Text, 0);
        encoder.unresolved(&[(own.table_labels(), 3)].into());
        encoder.tables(&[own]);
        let text = encoder.finish();
        assert!(text.contains(&format!("\nai_errors_unresolved{{source=\"{written}\",table=\"t\"}} 3\n")), "{text}");
        assert!(text.contains(&format!("\nmodelwatch_series{{source=\"{written}\",table=\"t\"}} 2\n")), "{text}");
    }
}

#[test]
fn parts_of_a_whole_are_written_exactly() {
    for (value, parts, written) in [
        (0, 1_000_000_000, "0"),
        (1, 1_000_000_000, "0.000000001"),
        (-1, 1_000_000_000, "-0.000000001"),
        (-2_500_000, 1_000_000, "-2.500000"),
        (i64::MAX, 1_000_000_000, "9223372036.854775807"),
        (i64::MIN, 1_000_000, "-9223372036854.775808"),
        (1_700_000_000_000_000, 1_000_000, "1700000000"),
    ] {
        let mut encoder = Encoder::new(Format::Text, 0);
        encoder.fraction("x", "{a=\"b\"", "", value, parts);
        assert_eq!(encoder.finish(), format!("x{{a=\"b\"}} {written}\n"));
    }
}

fn alert(name: &str, model: &str, state: State) -> Alert {
    let labels: Labels = [("alertname", name), ("model", model)].into_iter().collect();
    Alert {
        labels,
        annotations: Labels::default(),
        value: 3.0,
        evidence: String::new(),
        state,
        active_at: Time(1_500_000),
        fired_at: None,
        resolved_at: None,
        absent_since: None,
        late: false,
        posted: None,
    }
}

#[test]
fn alerts_as_prometheus_has_them() {
    let alerts = [alert("A", "m\"\n", State::Firing), alert("B", "", State::Pending), alert("C", "m", State::Resolved)];
    let mut encoder = Encoder::new(Format::OpenMetrics, 0);
    encoder.alerts(alerts.iter());
    assert_eq!(
        encoder.finish(),
        r#"# HELP ALERTS Alerts that are pending or firing
# TYPE ALERTS gauge
ALERTS{alertname="A",model="m\"\n",alertstate="firing"} 1
ALERTS{alertname="B",alertstate="pending"} 1
# HELP ALERTS_FOR_STATE Since when an alert's rule has been broken, in seconds since 1970
# TYPE ALERTS_FOR_STATE gauge
ALERTS_FOR_STATE{alertname="A",model="m\"\n"} 1.500000
ALERTS_FOR_STATE{alertname="B"} 1.500000
# EOF
"#
    );
}

/// A registry of the library with one of each kind.
fn library() -> String {
    let mut registry = Registry::default();
    let (counter, gauge) = (Counter::<u64>::default(), Gauge::<i64>::default());
    let attempts = Family::<Vec<(String, String)>, Counter>::default();
    let seconds = Histogram::new([0.5, 1.0]);
    registry.register("jobs", "Jobs that were done", counter.clone());
    registry.register("queue", "Jobs that wait", gauge.clone());
    registry.register("attempts", "Attempts by outcome", attempts.clone());
    registry.register_with_unit("job", "Duration of jobs", Unit::Seconds, seconds.clone());
    registry.register("build", "Version", Info::new([("version", "1.0")]));
    counter.inc_by(3);
    gauge.set(-2);
    attempts.get_or_create(&vec![("to".to_owned(), "a\"\\\nb".to_owned())]).inc();
    seconds.observe(0.75);
    let mut text = String::new();
    encode_registry(&mut text, &registry).unwrap();
    text
}

#[test]
fn the_librarys_text_is_passed_on_or_translated() {
    let of = |format| {
        let mut encoder = Encoder::new(format, 0);
        encoder.library(&library());
        encoder.finish()
    };
    assert_eq!(of(Format::OpenMetrics), library() + "# EOF\n");
    assert_eq!(
        of(Format::Text),
        r#"# HELP jobs_total Jobs that were done.
# TYPE jobs_total counter
jobs_total 3
# HELP queue Jobs that wait.
# TYPE queue gauge
queue -2
# HELP attempts_total Attempts by outcome.
# TYPE attempts_total counter
attempts_total{to="a\"\\\nb"} 1
# HELP job_seconds Duration of jobs.
# TYPE job_seconds histogram
job_seconds_sum 0.75
job_seconds_count 1
job_seconds_bucket{le="0.5"} 0
job_seconds_bucket{le="1.0"} 1
job_seconds_bucket{le="+Inf"} 1
# HELP build_info Version.
# TYPE build_info gauge
build_info{version="1.0"} 1
"#
    );
}

#[test]
fn a_scrape_gets_the_format_that_it_asks_for() {
    let prometheus = "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.4,*/*;q=0.1";
    for (accept, format) in [
        (prometheus, Format::OpenMetrics),
        ("", Format::Text),
        ("*/*", Format::Text),
        ("text/plain;version=0.0.4", Format::Text),
        ("text/plain;version=0.0.4;q=0.9,application/openmetrics-text;q=0", Format::Text),
        ("text/plain;q=0.9, application/openmetrics-text;version=1.0.0;q=0.3", Format::Text),
        (
            "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
            Format::OpenMetrics,
        ),
    ] {
        assert_eq!(Format::negotiate(accept), format, "{accept}");
    }
}
