//! `backtest` against the truth of recorded traffic, in PostgreSQL and in SQLite.

use crate::backtest::{backtest, json_of};
use crate::postgres::Postgres;
use crate::traces::{self, Trace, find, in_both};
use modelwatch::time::{Span, Time};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

const MINUTE: Span = Span::secs(60);

/// A backtest over a trace in each database that there is; both say the same.
async fn over(trace: &Trace, rules: &str, since: &str, until: &str) -> Value {
    let dir = tempfile::tempdir().unwrap();
    let mut said: Option<Value> = None;
    for url in in_both(trace, dir.path()).await {
        std::fs::write(dir.path().join("modelwatch.yml"), traces::config(&url)).unwrap();
        std::fs::write(dir.path().join("rules.yml"), rules).unwrap();
        let output = backtest(dir.path(), &["--since", since, "--until", until, "--format", "json"]);
        assert_eq!(output.code, Some(0), "{url}:\n{}", output.stderr);
        let seen = json_of(&output);
        assert_eq!(said.get_or_insert_with(|| seen.clone()), &seen, "{url}");
    }
    said.unwrap()
}

/// The trace with every time a microsecond later: windows are (t - w, t] and hours of the truth [start, end), so that at
/// t = end a window then holds just the rows of the hour.
fn within_windows(mut trace: Trace) -> Trace {
    let later = |time: &str| Time::parse(time).map_or_else(|_| time.to_owned(), |at| (at + Span(1)).to_string());
    let line = |line: &str| {
        let mut cells: Vec<String> = line.split(',').map(str::to_owned).collect();
        (cells[0], cells[1]) = (later(&cells[0]), later(&cells[1]));
        cells.join(",") + "\n"
    };
    let (head, rows) = trace.csv.split_once('\n').unwrap();
    trace.csv = format!("{head}\n{}", rows.lines().map(line).collect::<String>());
    trace
}

/// The instants of a rule's interval at which each label set fired, with the value it had at the first of them.
fn fired(said: &Value, name: &str, interval: Span) -> BTreeMap<(String, Time), Option<f64>> {
    let mut found = BTreeMap::new();
    for incident in said["incidents"].as_array().unwrap().iter().filter(|incident| incident["labels"]["alertname"] == name) {
        let time = |key: &str| incident[key].as_str().map(|text| Time::parse(text).unwrap());
        let (mut at, end) = (time("fired_at").unwrap(), time("resolved_at"));
        let mut value = incident["value"].as_f64();
        let until = Time::parse(said["until"].as_str().unwrap()).unwrap();
        while at <= until && end.is_none_or(|end| at < end) {
            found.insert((incident["labels"]["model"].as_str().unwrap_or_default().to_owned(), at), value.take());
            at = at + interval;
        }
    }
    found
}

fn time_of(row: &Value, key: &str) -> Time {
    Time::parse(row[key].as_str().unwrap()).unwrap()
}

fn model_of(row: &Value) -> String {
    row["model"].as_str().unwrap_or_default().to_owned()
}

fn rows<'a>(truth: &'a Value, keys: &[&str]) -> &'a [Value] {
    keys.iter().fold(truth, |value, key| &value[*key]).as_array().unwrap()
}

/// Where they are, with how many failed where that is known.
type Fired = BTreeMap<(String, Time), Option<f64>>;

#[tokio::test]
async fn hours_with_many_failures_are_those_of_the_truth() {
    let hour = Span::secs(3_600);
    for (name, day) in [("llmperf", "2023-12-19"), ("azure", "2023-11-16")] {
        let Some(trace) = find(name).map(within_windows) else { return };
        let rule = |n: u32, by: &str| {
            format!("      - {{alert: Over{n}{by}, error_spike: {{more_than: {n}, within: 1h, by: [{by}]}}}}\n")
        };
        let rules: String = [5, 10, 20].iter().flat_map(|n| [rule(*n, "model"), rule(*n, "")]).collect();
        let rules = format!("groups:\n  - name: hours\n    interval: 1h\n    rules:\n{rules}");
        let said = over(&trace, &rules, &format!("{day}T00:00:00Z"), &format!("{day}T23:00:00Z")).await;
        for n in [5, 10, 20] {
            for (by, key) in [("model", "per_model"), ("", "all_models")] {
                let truth = rows(&trace.truth, &["hours_with_more_than_n_failures", "n", &n.to_string(), key]);
                let truth: Fired =
                    truth.iter().map(|row| ((model_of(row), time_of(row, "hour") + hour), row["failed"].as_f64())).collect();
                let found = fired(&said, &format!("Over{n}{by}"), hour);
                assert_eq!(found, truth, "{name}: more than {n} by {by:?}");
            }
        }
    }
}

/// Each streak of the truth is there with its length. A rule sees what holds at a tick, and every streak of this trace is
/// followed by at least 100 ms without a success. Of calls at one instant failures count as later here, and as they stand in
/// the file there: that makes one more streak, which the truth has as two.
#[tokio::test]
async fn streaks_are_those_of_the_truth() {
    let Some(trace) = find("llmperf") else { return };
    let rules = "groups: [{name: g, interval: 50ms, rules: [{alert: Streak, failure_streak: {in_a_row: 3, by: [model]}}]}]\n";
    let said = over(&trace, rules, "2023-12-19T00:00:00Z", "2023-12-19T00:38:00Z").await;
    let found = rows(&said, &["incidents"]).iter().map(|incident| {
        let begin = Time::parse(incident["fired_at"].as_str().unwrap()).unwrap();
        (incident["labels"]["model"].as_str().unwrap().to_owned(), begin, incident["last_value"].as_f64().unwrap() as i64)
    });
    let mut found: Vec<(String, Time, i64)> = found.collect();
    let truth = rows(&trace.truth, &["all_failure_streaks_ge3", "rows"]);
    for row in truth {
        let (model, length, last) = (model_of(row), row["length"].as_i64().unwrap(), time_of(row, "last_started_at"));
        let begun = |at: Time| at >= time_of(row, "first_started_at") && at <= last.ceil(Span::millis(50));
        let place = found.iter().position(|(m, at, l)| (m, *l) == (&model, length) && begun(*at));
        found.remove(place.unwrap_or_else(|| panic!("{row} is not among {found:?}")));
    }
    assert!(truth.len() >= 11 && found.len() == 1 && found[0].2 == 3, "{found:?}");
    for row in rows(&trace.truth, &["longest_failure_streak_per_model", "rows"]) {
        let of = |incident: &&Value| incident["labels"]["model"] == row["model"];
        let longest =
            rows(&said, &["incidents"]).iter().filter(of).map(|incident| incident["last_value"].as_f64().unwrap() as i64).max();
        assert_eq!(longest, row["by_started_at"]["length"].as_i64());
    }
}

/// Windows of 15 minutes in which more than 5 % of at least 20 calls failed: sliding ones at whole minutes, (T-15m, T] there
/// as here, and tumbling ones, [start, end) there.
#[tokio::test]
async fn shares_of_failures_are_those_of_the_truth() {
    let rate =
        |by: &str| format!("{{alert: Rate{by}, error_rate: {{more_than: 5%, within: 15m, min_requests: 20, by: [{by}]}}}}");
    let rules =
        |interval: &str| format!("groups: [{{name: rates, interval: {interval}, rules: [{}, {}]}}]\n", rate("model"), rate(""));
    for (name, day) in [("llmperf", "2023-12-19"), ("azure", "2023-11-16")] {
        let Some(trace) = find(name) else { return };
        let (since, until) = (format!("{day}T00:00:00Z"), format!("{day}T20:00:00Z"));
        let said = over(&trace, &rules("1m"), &since, &until).await;
        for (rule, key) in [("Ratemodel", "right_per_model"), ("Rate", "right_all_models")] {
            let mut truth = Fired::new();
            for row in rows(&trace.truth, &["sliding15m_error_rate_gt_5pct_min20", key]) {
                let (mut at, first) = (time_of(row, "first_true"), row["at_max"] == row["first_true"]);
                while at <= time_of(row, "last_true") {
                    truth.insert((model_of(row), at), None);
                    at = at + MINUTE;
                }
                if first {
                    truth.insert((model_of(row), time_of(row, "at_max")), row["max_rate"].as_f64());
                }
            }
            let found = fired(&said, rule, MINUTE);
            assert_eq!(found.keys().collect::<Vec<_>>(), truth.keys().collect::<Vec<_>>(), "{name}: {key}");
            for (window, rate) in truth.iter().filter(|(_, rate)| rate.is_some()) {
                assert_eq!(&found[window], rate, "{name}: {key}: {window:?}");
            }
        }
        let quarter = Span::secs(900);
        let trace = within_windows(trace);
        let said = over(&trace, &rules("15m"), &since, &until).await;
        for (rule, key) in [("Ratemodel", "per_model"), ("Rate", "all_models")] {
            let truth = rows(&trace.truth, &["windows15m_error_rate_gt_5pct_min20", key]).iter();
            let truth: Vec<_> = truth.map(|row| (model_of(row), time_of(row, "start") + quarter)).collect();
            assert_eq!(fired(&said, rule, quarter).into_keys().collect::<Vec<_>>(), truth, "{name}: tumbling, {key}");
        }
    }
}

/// Two weeks of traffic of three models, each row a window of ten minutes, against the same window of seven days before.
#[tokio::test]
async fn spikes_and_drops_of_volume_are_those_of_the_truth() {
    let Some((csv, truth)) = traces::servegen() else { return };
    let begin = Time::parse("2024-01-01T00:00:00Z").unwrap();
    let window = Span::secs(600);
    // A second after its beginning each row is in the window (t - 10m, t] that ends with the one it stands for.
    let row = |(i, line): (usize, &str)| {
        let cells: Vec<&str> = line.split(',').collect();
        let at = begin + Span::secs(cells[1].parse::<i64>().unwrap() + 1);
        let at = at.to_string().replace('T', " ").replace('Z', "");
        (cells[2] != "0").then(|| format!("({i}, '{at}', '{}', {})", cells[0], cells[2]))
    };
    let values: Vec<String> = csv.lines().skip(1).enumerate().filter_map(row).collect();
    let fill = format!(
        "CREATE TABLE volume (id bigint PRIMARY KEY, at timestamp, model text, n bigint); INSERT INTO volume VALUES {}",
        values.join(",")
    );
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("volume.db");
    crate::sqlite::execute(&mut crate::sqlite::open(&file).await, &fill.replace("timestamp", "text")).await;
    let mut urls = vec![crate::sqlite::url(&file)];
    if let Some(postgres) = Postgres::shared().await {
        urls.push(postgres.database(&fill).await.url);
    }
    let rules = "groups: [{name: g, interval: 10m, rules: [{alert: Volume, volume_anomaly:
        {of: calls, window: 10m, spike: 1.75, drop: 0.4, days: 7, min_days: 7, by: [model]}}]}]\n";
    std::fs::write(dir.path().join("rules.yml"), rules).unwrap();
    let (since, until) = (begin + Span::secs(7 * 86_400), begin + Span::secs(14 * 86_400));
    let mut expected = BTreeSet::new();
    for (model, known) in truth.as_object().unwrap() {
        for row in rows(known, &["same_time_of_day_flags", "rows"]) {
            let end = begin + Span::secs(row[0].as_i64().unwrap()) + window;
            expected.insert((model.clone(), row[4].as_str().unwrap().to_owned(), end));
        }
    }
    for url in urls {
        let config = format!(
            "listen: 127.0.0.1:0
rule_files: [rules.yml]
sources:
  - {{name: s, url: '{url}', tables: [{{name: volume, from: volume, id: id, time: at, success: 'true', count: n, dimensions: {{model: model}}}}]}}
"
        );
        std::fs::write(dir.path().join("modelwatch.yml"), config).unwrap();
        let span = ["--since", &since.to_string(), "--until", &until.to_string(), "--format", "json"];
        let said = json_of(&backtest(dir.path(), &span));
        let mut found = BTreeSet::new();
        for incident in rows(&said, &["incidents"]) {
            let label = |name: &str| incident["labels"][name].as_str().unwrap().to_owned();
            let mut at = time_of(incident, "fired_at");
            let end = incident["resolved_at"].as_str().map_or(until + Span(1), |text| Time::parse(text).unwrap());
            while at < end {
                found.insert((label("model"), label("direction"), at));
                at = at + window;
            }
        }
        let (more, less) = (found.difference(&expected).collect::<Vec<_>>(), expected.difference(&found).collect::<Vec<_>>());
        assert!(more.is_empty() && less.is_empty() && expected.len() > 400, "{url}: too many {more:?}, too few {less:?}");
    }
}
