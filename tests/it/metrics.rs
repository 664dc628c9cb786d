//! /metrics is valid for who reads it: promtool for the text format, a strict reading for OpenMetrics.

use crate::daemon::Daemon;
use crate::ground::{missing, program};
use crate::scrape::Scrape;
use crate::sqlite;
use sqlx::Connection;
use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::process::{Command, Stdio};

const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Label values that have broken exporters before.
const MODELS: [&str; 5] = ["plain", "two words", "quote\"d", "back\\slash", "line\nbreak ünïcode {}=,#"];

async fn daemon(dir: &std::path::Path) -> Daemon {
    let file = dir.join("calls.db");
    let mut connection = sqlite::open(&file).await;
    let table =
        "CREATE TABLE calls (name text, at text, model text, ok boolean, input integer, output integer, cost real, ms integer)";
    sqlite::execute(&mut connection, table).await;
    for (number, model) in MODELS.iter().enumerate() {
        let insert = "INSERT INTO calls (name, at, model, ok, input, output, cost, ms)
            VALUES (hex(randomblob(8)), strftime('%Y-%m-%d %H:%M:%f', 'now', '-5 minutes'), $1, $2, 100, 20, 0.000125, 1500)";
        sqlx::query(insert).bind(model).bind(number != 1).execute(&mut connection).await.unwrap();
    }
    connection.close().await.unwrap();
    let config = format!(
        "listen: 127.0.0.1:0
state: modelwatch.db
external_url: http://localhost:9464
rule_files: [rules.yml]
sources:
  - name: calls
    url: {}
    poll: 200ms
    tables:
      - {{name: calls, kind: usage, from: calls, id: name, time: at, dimensions: {{model: model}}, success: ok,
         input_tokens: input, output_tokens: output, cost_usd: cost, latency_ms: ms}}
export: {{dimensions: [model]}}
route: {{receiver: oncall}}
receivers: [{{name: oncall, stdout_configs: [{{}}]}}]
",
        sqlite::url(&file)
    );
    let rules =
        "groups: [{name: a, interval: 1s, rules: [{alert: Fails, error_spike: {more_than: 0, within: 1h, by: [model]}}]}]\n";
    std::fs::write(dir.join("rules.yml"), rules).unwrap();
    let daemon = Daemon::spawn(&config, dir).await;
    daemon.metric("a firing alert", |scrape| scrape.find("ALERTS", &[("alertstate", "firing")]).next().map(drop)).await;
    daemon
}

#[tokio::test]
async fn metrics_please_promtool() {
    let Some(promtool) = program("promtool") else { return missing("promtool") };
    let dir = tempfile::tempdir().unwrap();
    let daemon = daemon(dir.path()).await;
    let (status, content_type, text) = daemon.get("/metrics", "").await.unwrap();
    assert_eq!(status, 200);
    assert!(content_type.starts_with("text/plain; version=0.0.4"), "{content_type}");
    let said = promtool_says(&promtool, &text);
    assert!(said.is_empty(), "promtool check metrics:\n{said}\nof:\n{text}");
    let scrape = Scrape::parse(&text).unwrap();
    let models: BTreeSet<&str> = scrape.find("ai_requests_total", &[]).map(|sample| sample.labels["model"].as_str()).collect();
    assert_eq!(models, MODELS.into_iter().collect());
    assert_eq!(scrape.sum("ai_requests_total", &[("outcome", "failure"), ("model", "two words")]), Some(1.0));
    assert_eq!(scrape.sum("ai_tokens_total", &[("token_type", "input")]), Some(500.0));
    assert_eq!(
        scrape
            .sum("ai_request_duration_seconds_bucket", &[("le", "600")])
            .or(scrape.sum("ai_request_duration_seconds_bucket", &[("le", "600.0")])),
        Some(5.0)
    );
}

/// A credit, a mistaken unit, a broken writer: no counter goes back, none is swamped, and each is counted.
#[tokio::test]
async fn values_that_no_call_can_have_are_refused_and_counted() {
    let dir = tempfile::tempdir().unwrap();
    let daemon = daemon(dir.path()).await;
    let sums = |scrape: &Scrape| {
        let sum = |name| scrape.sum(name, &[]).unwrap_or(0.0);
        [sum("ai_cost_usd_total"), sum("ai_tokens_total"), sum("ai_request_duration_seconds_sum")]
    };
    let before = sums(&daemon.scrape().await);
    let mut connection = sqlite::open(&dir.path().join("calls.db")).await;
    for (id, values) in [
        ("100", "10, 1, -1000.0, 1000"),
        ("101", "9000000000000000, 1, 1e300, 9e999"),
        ("102", "-5, 1, 0.0, -1000"),
        // A row without an id, as SQLite allows it for keys that are no integers: it is there at each poll.
        ("NULL", "1, 1, 1.0, 1000"),
    ] {
        let insert = format!(
            "INSERT INTO calls (name, at, model, ok, input, output, cost, ms) VALUES ({id}, strftime('%Y-%m-%d %H:%M:%f', 'now'), 'plain', 1, {values})"
        );
        sqlite::execute(&mut connection, &insert).await;
    }
    connection.close().await.unwrap();
    let counted = |scrape: &Scrape| (scrape.sum("ai_requests_total", &[])? == 8.0).then(|| sums(scrape));
    let after = daemon.metric("three more calls", counted).await;
    assert_eq!(after, [before[0], before[1] + 13.0, before[2] + 1.0]);
    daemon.polls(2).await;
    let scrape = daemon.scrape().await;
    assert_eq!(scrape.sum("modelwatch_values_refused_total", &[]), Some(6.0));
    assert_eq!(scrape.sum("modelwatch_rows_unreadable_total", &[]), Some(1.0));
    assert_eq!(scrape.sum("modelwatch_shapes_over_limit_total", &[]), Some(0.0));
}

/// What it finds wrong; that ALERTS is in capitals is Prometheus's own doing.
fn promtool_says(promtool: &std::path::Path, text: &str) -> String {
    let mut child = Command::new(promtool)
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    String::from_utf8_lossy(&said).lines().filter(|line| !line.starts_with("ALERTS")).map(|line| format!("{line}\n")).collect()
}

#[tokio::test]
async fn metrics_in_openmetrics_are_strictly_that() {
    let dir = tempfile::tempdir().unwrap();
    let daemon = daemon(dir.path()).await;
    let (status, content_type, text) = daemon.get("/metrics", OPENMETRICS).await.unwrap();
    assert_eq!(status, 200);
    assert!(content_type.starts_with("application/openmetrics-text; version=1.0.0"), "{content_type}");
    let faults = openmetrics_faults(&text);
    assert!(faults.is_empty(), "{}\nof:\n{text}", faults.join("\n"));
    // Prometheus's own header, with weights.
    let accept = "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3,*/*;q=0.2";
    assert!(daemon.get("/metrics", accept).await.unwrap().1.starts_with("application/openmetrics-text"));
    assert!(daemon.get("/metrics", "*/*").await.unwrap().1.starts_with("text/plain"));
}

/// What a strict parser would refuse: see the OpenMetrics specification 1.0, "Overall structure" and "MetricFamily".
fn openmetrics_faults(text: &str) -> Vec<String> {
    let mut faults = Vec::new();
    if !text.ends_with("# EOF\n") || text.matches("# EOF").count() != 1 {
        faults.push("does not end with one `# EOF`".to_owned());
    }
    let mut types: BTreeMap<&str, &str> = BTreeMap::new();
    let mut current = "";
    let mut seen = BTreeSet::new();
    for line in text.lines().filter(|line| *line != "# EOF") {
        if let Some(meta) = line.strip_prefix("# ") {
            let mut words = meta.splitn(3, ' ');
            let (keyword, family, rest) = (words.next().unwrap(), words.next().unwrap_or(""), words.next().unwrap_or(""));
            if !["TYPE", "HELP", "UNIT"].contains(&keyword) {
                faults.push(format!("unknown keyword: {line}"));
            }
            if keyword == "TYPE" && types.insert(family, rest).is_some() {
                faults.push(format!("a second TYPE: {line}"));
            }
            if keyword == "UNIT" && !family.ends_with(rest) {
                faults.push(format!("the unit is not in the name: {line}"));
            }
            current = family;
            continue;
        }
        let Ok(scrape) = Scrape::parse(line) else {
            faults.push(format!("no sample: {line:?}"));
            continue;
        };
        let Some(sample) = scrape.samples.first() else {
            faults.push(format!("an empty line or a comment: {line:?}"));
            continue;
        };
        let suffixes: &[&str] = match types.get(current) {
            Some(&"counter") => &["_total", "_created"],
            Some(&"histogram") => &["_bucket", "_count", "_sum", "_created"],
            Some(&"info") => &["_info"],
            Some(&"gauge" | &"unknown") => &[""],
            other => {
                faults.push(format!("{line}: family {current:?} has type {other:?}"));
                continue;
            }
        };
        if !sample.name.strip_prefix(current).is_some_and(|suffix| suffixes.contains(&suffix)) {
            faults.push(format!("{line}: does not belong to family {current}"));
        }
        if !seen.insert((sample.name.clone(), format!("{:?}", sample.labels))) {
            faults.push(format!("twice: {line}"));
        }
    }
    faults
}

#[test]
fn the_strict_reading_finds_faults() {
    let good = "# HELP a b\n# TYPE a counter\na_total{x=\"1\"} 2\n# TYPE b gauge\nb 1.5\n# TYPE c histogram\nc_bucket{le=\"+Inf\"} 1\nc_count 1\nc_sum 2\n# EOF\n";
    assert_eq!(openmetrics_faults(good), Vec::<String>::new());
    let bad = [
        good.replace("# EOF\n", ""),
        good.replace("a_total{", "a{"),
        good.replace("b 1.5", "b 1.5\nb 1.5"),
        good.replace("# TYPE b gauge", "# TYPE b gauge\n# TYPE b gauge"),
        good.replace("c_count", "d_count"),
        good.replace("b 1.5", "\nb 1.5"),
        good.replace("# HELP a b", "# hello"),
    ];
    for text in bad {
        assert_eq!(openmetrics_faults(&text).len(), 1, "{:?} of {text}", openmetrics_faults(&text));
    }
}

#[test]
fn promtool_finds_faults() {
    let Some(promtool) = program("promtool") else { return missing("promtool") };
    assert_eq!(promtool_says(&promtool, "# HELP a_total b\n# TYPE a_total counter\na_total 1\n"), "");
    assert_ne!(promtool_says(&promtool, "# HELP a b\n# TYPE a counter\na 1\na 1\n"), "");
}
