//! `backtest` against the engine of the daemon, tick by tick over the same rows.

use crate::daemon::{Output, output};
use crate::postgres::Postgres;
use modelwatch::alert::{Alert, Change, Kind, State};
use modelwatch::config::{self, Config};
use modelwatch::engine::core::Core;
use modelwatch::engine::deliver::Attempted;
use modelwatch::engine::{ingest, shared};
use modelwatch::notify::Outcome;
use modelwatch::outbox::Delivery;
use modelwatch::source::reader::FIRST_SLICE;
use modelwatch::source::{Batch, Database, Position, Reader};
use modelwatch::store::Store;
use modelwatch::time::{Span, Time};
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

const SINCE: &str = "2026-03-10T08:00:00Z";
const UNTIL: &str = "2026-03-10T12:00:00Z";
const MINUTE: Span = Span::secs(60);

/// Calls of three models and two organisations: some each hour for two and a half days, then many for four hours, with two
/// outages, a dear spell, and three rows exactly on each whole minute. Their order in the table is not that of their times.
const CALLS: &str = "
    CREATE TABLE calls (id bigint PRIMARY KEY, at timestamptz, ok boolean, model text, org text, cost numeric, ms int);
    INSERT INTO calls
    SELECT row_number() OVER (ORDER BY h), at,
        CASE WHEN at BETWEEN '2026-03-10 09:00Z' AND '2026-03-10 09:20Z' AND h % 3 = 0 THEN h / 8 % 4 = 0
             WHEN at BETWEEN '2026-03-10 10:30Z' AND '2026-03-10 10:32Z' THEN false ELSE h / 8 % 25 <> 0 END,
        'model-' || h % 3, 'org-' || h / 16 % 2,
        CASE WHEN h % 7 > 0 THEN round((h % 1000) / 1e4 * CASE WHEN at > '2026-03-10 11:00Z' AND h % 3 = 1 THEN 9 ELSE 1 END, 6) END,
        h % 4000
    FROM (SELECT at, hashint8(extract(epoch FROM at)::bigint + n) & 2147483647 AS h FROM (
        SELECT generate_series('2026-03-07 20:00:01Z'::timestamptz, '2026-03-10 08:00Z', interval '411 s') AS at, 0 AS n
        UNION ALL SELECT generate_series('2026-03-10 08:00:01Z'::timestamptz, '2026-03-10 12:00Z', interval '11.5 s'), 0
        UNION ALL SELECT generate_series('2026-03-10 08:00Z'::timestamptz, '2026-03-10 12:10Z', interval '1 min'), n
        FROM generate_series(1, 3) n) times) hashed";

const RULES: &str = "groups:
  - name: app
    interval: 1m
    labels: {team: ai}
    rules:
      - alert: Spike
        error_spike: {more_than: 6, within: 10m, by: [model], top: {by: org}}
        annotations: {summary: '{{ $labels.model }}: {{ $value }}; {{ $evidence }}'}
      - alert: Held
        error_spike: {more_than: 3, within: 5m, by: [model, org]}
        for: 2m
        keep_firing_for: 4m
        labels: {severity: '{{ if gt $value 5.0 }}high{{ else }}low{{ end }}'}
      - alert: Row
        failure_streak: {in_a_row: 4, within: 30m, by: [model]}
      - alert: Many
        failure_streak: {more_than: 9, within: 1h, by: []}
      - alert: Rate
        error_rate: {more_than: 12.5%, within: 15m, min_requests: 10, by: [model]}
      - alert: Slow
        latency: {quantile: p90, more_than: 3700ms, within: 10m, min_requests: 5, by: [model]}
      - alert: Volume
        volume_anomaly: {of: calls, window: 30m, spike: 1.75, days: 1, min_days: 1, by: [org]}
      - alert: Quiet
        no_data: {for: 5m, by: [model, org]}
      - alert: Cost
        cost_anomaly: {factor: 2, of: median, window: 1h, days: 2, min_days: 1, by: [model]}
";

fn config(url: &str) -> String {
    format!(
        "listen: 127.0.0.1:0
state: modelwatch.db
external_url: http://localhost:9464
rule_files: [rules.yml]
sources:
  - name: app
    url: {url}
    tables: [{{name: calls, from: calls, id: id, time: at, success: ok, cost_usd: cost, latency_ms: ms, dimensions: {{model: model, org: org}}}}]
route: {{receiver: oncall, group_by: [alertname], group_wait: 30s, group_interval: 5m, repeat_interval: 20m}}
receivers: [{{name: oncall, stdout_configs: [{{}}], webhook_configs: [{{url: 'http://127.0.0.1:1/', send_resolved: false}}]}}]
"
    )
}

/// What the daemon's engine says where it polls at each whole minute.
struct Engine {
    core: Core,
    db: Database,
    readers: Vec<Reader>,
    changes: Vec<Change>,
    sent: Vec<Delivery>,
}

impl Engine {
    async fn open(config: Config, now: Time) -> Engine {
        let (source, wanted) = (config.sources[0].clone(), config.wanted());
        let core = Core::open(Store::open(None).await.unwrap(), config, shared(), now).await.unwrap();
        let mut db = ingest::connect(&source).await.unwrap();
        let mut readers = Vec::new();
        for mapping in &source.tables {
            let reader = Reader::new(&mut db, mapping.clone(), &wanted, Position::default(), &[], FIRST_SLICE).await;
            readers.push(reader.unwrap().0);
        }
        Engine { core, db, readers, changes: Vec::new(), sent: Vec::new() }
    }

    async fn poll(&mut self, now: Time) {
        loop {
            let turn = self.db.begin(Span::secs(30), Some(now)).await.unwrap();
            let mut tables = Vec::new();
            for reader in &mut self.readers {
                tables.push(reader.turn(&mut self.db, turn).await.unwrap());
            }
            self.db.end().await.unwrap();
            let caught_up = self.readers.iter().all(Reader::caught_up);
            let batch = Batch { source: "app".to_owned(), now, caught_up, fill: false, tables };
            self.changes.extend(self.core.count(batch, now).await);
            if caught_up {
                break self.deliver(now).await;
            }
        }
    }

    async fn deliver(&mut self, now: Time) {
        loop {
            let leased = self.core.lease(now).await;
            if leased.is_empty() {
                break;
            }
            for (delivery, _) in leased {
                self.core.record(&delivery, Attempted { outcome: Outcome::Delivered, handle: None }, now).await;
                self.sent.push(delivery);
            }
        }
    }
}

/// Changes as `backtest` tells them: each incident once, with how it began and how it ended.
fn incidents(changes: &[Change], rules: &BTreeMap<String, String>, alerts: &[Alert]) -> Vec<Value> {
    let mut all: Vec<Map<String, Value>> = Vec::new();
    let ended = |incident: &mut Map<String, Value>, alert: &Alert, until: Time| {
        let resolved = alert.resolved_at.map(|at| at.to_string());
        let seconds = (alert.resolved_at.unwrap_or(until) - alert.fired_at.unwrap()).as_secs_f64();
        incident.insert("resolved_at".into(), json!(resolved));
        incident.insert("seconds".into(), json!(seconds));
        incident.insert("last_value".into(), json!(alert.value));
        incident.insert("last_evidence".into(), json!(alert.evidence));
    };
    for Change { kind, alert, at } in changes {
        match kind {
            Kind::Fired => {
                assert_eq!(alert.fired_at, Some(*at));
                let fired = json!({
                    "rule": rules[alert.labels.get("alertname")], "labels": alert.labels, "annotations": alert.annotations,
                    "active_at": alert.active_at.to_string(), "fired_at": at.to_string(), "resolved_at": null,
                    "value": alert.value, "evidence": alert.evidence,
                });
                all.push(fired.as_object().unwrap().clone());
            }
            Kind::Resolved => {
                let open = |incident: &&mut Map<String, Value>| incident["labels"] == json!(alert.labels);
                ended(all.iter_mut().rev().find(open).unwrap(), alert, *at);
            }
            Kind::Pending | Kind::Dropped => {}
        }
    }
    for alert in alerts.iter().filter(|alert| alert.state == State::Firing) {
        let open = |incident: &&mut Map<String, Value>| incident["labels"] == json!(alert.labels);
        ended(all.iter_mut().rev().find(open).unwrap(), alert, Time::parse(UNTIL).unwrap());
    }
    all.into_iter().map(Value::Object).collect()
}

/// Deliveries as `backtest` tells them.
fn messages(sent: &[Delivery]) -> Vec<Value> {
    let alert = |alert: &Alert| {
        let state = if alert.state == State::Firing { "firing" } else { "resolved" };
        json!({
            "labels": alert.labels, "state": state, "value": alert.value, "evidence": alert.evidence,
            "annotations": alert.annotations,
        })
    };
    let message = |delivery: &Delivery| {
        let notification = &delivery.notification;
        let kind = match notification.reason.as_str() {
            "repeat" => "repeat",
            "resolved" | "partly resolved" => "resolved",
            _ => "firing",
        };
        json!({
            "at": notification.at.to_string(), "receiver": notification.receiver, "integration": delivery.kind, "kind": kind,
            "reason": notification.reason, "group": notification.group_key,
            "alerts": notification.alerts.iter().map(alert).collect::<Vec<_>>(),
        })
    };
    sent.iter().map(message).collect()
}

pub fn backtest(dir: &Path, arguments: &[&str]) -> Output {
    output(dir, &[&["backtest", "-c", "modelwatch.yml"], arguments].concat())
}

pub fn json_of(output: &Output) -> Value {
    serde_json::from_str(&output.stdout).unwrap_or_else(|error| panic!("{error}:\n{}\n{}", output.stdout, output.stderr))
}

/// Lists are shown one by one: a whole one is too long to read.
#[track_caller]
fn same(what: &str, seen: &Value, expected: &[Value]) {
    let seen = seen.as_array().unwrap();
    for (seen, expected) in seen.iter().zip(expected) {
        // What reads numbers here may miss the last bit: it is to miss the same of both.
        let expected: Value = serde_json::from_str(&expected.to_string()).unwrap();
        assert_eq!(serde_json::to_string_pretty(seen).unwrap(), serde_json::to_string_pretty(&expected).unwrap(), "{what}");
    }
    assert_eq!(seen.len(), expected.len(), "{what}");
}

async fn calls() -> Option<(String, tempfile::TempDir)> {
    let url = Postgres::shared().await?.database(CALLS).await.url;
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("modelwatch.yml"), config(&url)).unwrap();
    std::fs::write(dir.path().join("rules.yml"), RULES).unwrap();
    Some((url, dir))
}

#[tokio::test]
async fn it_says_what_the_engine_says() {
    let Some((_, dir)) = calls().await else { return };
    let (config, faults) = config::load(&dir.path().join("modelwatch.yml"));
    let config = config.unwrap_or_else(|| panic!("{faults:?}"));
    let rules = config.rules.iter().map(|rule| (rule.name.clone(), rule.key.clone())).collect();
    let (since, until) = (Time::parse(SINCE).unwrap(), Time::parse(UNTIL).unwrap());
    let mut engine = Engine::open(config, since).await;
    let mut now = since;
    while now <= until {
        // What waits for half a minute is due between two polls.
        engine.core.tick(now - Span::secs(30)).await;
        engine.deliver(now - Span::secs(30)).await;
        engine.poll(now).await;
        now = now + MINUTE;
    }
    let alerts: Vec<Alert> = engine.core.alerts().cloned().collect();
    let expected = incidents(&engine.changes, &rules, &alerts);

    let said = json_of(&backtest(dir.path(), &["--since", SINCE, "--until", UNTIL, "--format", "json"]));
    same("incidents", &said["incidents"], &expected);
    same("messages", &said["messages"], &messages(&engine.sent));
    let dropped = engine.changes.iter().filter(|change| change.kind == Kind::Dropped).count() as u64;
    let rules = said["rules"].as_array().unwrap();
    assert_eq!(rules.iter().map(|rule| rule["dropped"].as_u64().unwrap()).sum::<u64>(), dropped);
    // Each rule fires, and is over, and something is repeated: this proves something.
    assert!(rules.iter().all(|rule| rule["fired"].as_u64() > Some(0)), "{rules:#?}");
    assert!(dropped > 0 && said["receivers"][0]["repeat"].as_u64() > Some(0), "{:#}", said["receivers"]);
}

#[tokio::test]
async fn two_versions_are_held_against_each_other_and_too_many_alerts_are_a_failure() {
    let Some((_, dir)) = calls().await else { return };
    let rule = |n: u32| {
        format!("groups: [{{name: g, interval: 1m, rules: [{{alert: A, failure_streak: {{in_a_row: {n}, by: [model]}}}}]}}]\n")
    };
    std::fs::write(dir.path().join("new.yml"), rule(5)).unwrap();
    std::fs::write(dir.path().join("old.yml"), rule(2)).unwrap();
    let span = ["--since", SINCE, "--until", UNTIL];
    let both = ["--rules", "new.yml", "--against", "old.yml"];
    let said = json_of(&backtest(dir.path(), &[&span[..], &both, &["--format", "json"]].concat()));
    let count = |value: &Value| value.as_array().unwrap().len();
    let (new, old) = (count(&said["rules"]["incidents"]), count(&said["against"]["incidents"]));
    let [common, only_new, only_old] = ["both", "only_rules", "only_against"].map(|key| count(&said["comparison"][key]));
    assert!(0 < new && new < old, "{new} {old}");
    // What five in a row find, two in a row find too.
    assert_eq!((common, only_new), (new, 0));
    assert!(only_old >= old - new, "{only_old}");

    let text = backtest(dir.path(), &[&span[..], &both].concat());
    assert!(text.stdout.lines().all(|line| line.chars().count() <= 100), "{}", text.stdout);
    assert!(text.stdout.contains(&format!("in both: {new}")) && text.stdout.contains("only in rules: 0"), "{}", text.stdout);
    let alone =
        |most: usize| backtest(dir.path(), &[&span[..], &["--rules", "new.yml", "--fail-over", &most.to_string()]].concat());
    assert_eq!(alone(new).code, Some(0));
    let failed = alone(new - 1);
    assert_eq!((failed.code, failed.stderr.contains(&format!("g/A: {new}"))), (Some(1), true), "{}", failed.stderr);
}

#[tokio::test]
async fn nothing_is_written() {
    let Some((url, dir)) = calls().await else { return };
    let count = async || -> (i64, i64) {
        let mut connection = <sqlx::PgConnection as sqlx::Connection>::connect(&url).await.unwrap();
        let query = "SELECT count(*), coalesce(sum(hashtext(calls::text)), 0) FROM calls";
        sqlx::query_as(query).fetch_one(&mut connection).await.unwrap()
    };
    let before = count().await;
    let output = backtest(dir.path(), &["--since", "4h", "--until", UNTIL]);
    assert_eq!((output.code, output.stderr.as_str()), (Some(0), ""), "{}", output.stdout);
    assert!(output.stdout.lines().all(|line| line.chars().count() <= 100), "{}", output.stdout);
    assert_eq!(count().await, before);
    let files: BTreeSet<String> =
        std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    assert_eq!(files, BTreeSet::from(["modelwatch.yml".to_owned(), "rules.yml".to_owned()]));
}
