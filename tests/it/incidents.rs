//! Incidents that an exporter and Prometheus get wrong, over PostgreSQL: found here, once, and nothing else is.

use crate::daemon::{Daemon, SOON, once};
use crate::ground::until;
use crate::postgres::{Database, Postgres, execute};
use crate::receiver::Receiver;
use crate::scrape::Scrape;
use serde_json::Value;
use sqlx::{Connection, PgConnection};
use std::path::Path;

const SCHEMA: &str = "
CREATE TABLE calls (id bigserial PRIMARY KEY, at timestamptz NOT NULL, model text NOT NULL, org text, ok boolean NOT NULL, cost numeric);
CREATE INDEX ON calls (at);
CREATE TABLE errors (id bigserial PRIMARY KEY, at timestamptz NOT NULL, model text NOT NULL, kind text NOT NULL);
CREATE INDEX ON errors (at);
";

fn config(database: &Database, receiver: &Receiver, interval: &str, rules: &str, dir: &Path) -> String {
    let group = format!("groups:\n  - name: incidents\n    interval: {interval}\n    rules:\n{rules}");
    std::fs::write(dir.join("rules.yml"), group).unwrap();
    format!(
        "listen: 127.0.0.1:0
state: modelwatch.db
rule_files: [rules.yml]
sources:
  - name: shop
    url: '{}'
    poll: 200ms
    tables:
      - {{name: calls, from: calls, id: id, time: at, success: ok, dimensions: {{model: model, org: org}}, cost_usd: cost, history: 40d}}
      - {{name: errors, kind: errors, from: errors, id: id, time: at, error_type: kind, dimensions: {{model: model}}, history: 40d}}
export: {{dimensions: [model]}}
route: {{receiver: oncall, group_by: ['...'], group_wait: 0s, group_interval: 1s, repeat_interval: 4h}}
receivers: [{{name: oncall, slack_configs: [{{api_url: '{}'}}]}}]
",
        database.url,
        receiver.url("/slack")
    )
}

/// A database, its rules, and whom they tell.
struct Scene {
    database: Database,
    connection: PgConnection,
    receiver: Receiver,
    dir: tempfile::TempDir,
    config: String,
}

impl Scene {
    async fn start(interval: &str, rules: &str) -> Option<Scene> {
        let database = Postgres::shared().await?.database(SCHEMA).await;
        let (dir, receiver) = (tempfile::tempdir().unwrap(), Receiver::start(&[]));
        let config = config(&database, &receiver, interval, rules, dir.path());
        Some(Scene { connection: database.connect().await, database, receiver, dir, config })
    }

    async fn sql(&mut self, sql: &str) {
        execute(&mut self.connection, sql).await;
    }

    async fn daemon(&self) -> Daemon {
        Daemon::spawn(&self.config, self.dir.path()).await
    }

    /// The same on the daemon's state at another instant, without a word to anybody; what it says on stderr.
    fn at(&self, instant: &str) -> (Scrape, String) {
        let output = once(&self.config, self.dir.path(), &["--at", instant, "--state", "modelwatch.db"]);
        assert_eq!(output.code, Some(0), "{}", output.stderr);
        (Scrape::parse(&output.stdout).unwrap(), output.stderr)
    }

    /// The titles of the messages, in order of arrival.
    fn told(&self) -> Vec<String> {
        let title = |body: &str| {
            let body: Value = serde_json::from_str(body).unwrap();
            let text = body["text"].as_str().unwrap();
            text[text.find('[').unwrap()..].trim_end_matches(['>', '*']).to_owned()
        };
        self.receiver.accepted().iter().map(|request| title(&request.body)).collect()
    }

    async fn is_told(&self, count: usize) -> Vec<String> {
        until(SOON, "the messages", || async { (self.told().len() >= count).then(|| self.told()) }).await
    }
}

fn firing<'a>(alert: &'a str, more: (&'a str, &'a str)) -> impl Fn(&Scrape) -> Option<()> + 'a {
    move |scrape| scrape.sum("ALERTS", &[("alertname", alert), ("alertstate", "firing"), more]).map(drop)
}

/// The rows of a transaction that was open for 65 seconds show up when the window that they belong to is over.
///
/// An exporter that counts new rows at each scrape counts them in the minute in which they show up, if its `WHERE at > ...` still
/// reaches them; one that counts the last minute never sees them. Prometheus evaluates each instant once: what was missing
/// then stays missing, and a sample for the past is refused as out of order.
#[tokio::test]
async fn an_incident_that_is_committed_after_its_window_is_told_once_and_marked() {
    let rules = "      - {alert: Outage, error_spike: {more_than: 9, within: 1m, by: [model]}}\n";
    let Some(mut scene) = Scene::start("1s", rules).await else { return };
    scene
        .sql("INSERT INTO calls (at, model, ok) SELECT now() - n * interval '1 s', 'gpt', true FROM generate_series(1, 600) n")
        .await;
    // The rule is ten minutes old: nobody is paged for what was before it.
    let then: String =
        sqlx::query_scalar("SELECT to_char((now() - interval '10 min') AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"')")
            .fetch_one(&mut scene.connection)
            .await
            .unwrap();
    scene.at(&then);
    let daemon = scene.daemon().await;
    daemon.polls(2).await;
    let mut slow = scene.database.connect().await;
    execute(
        &mut slow,
        "BEGIN; INSERT INTO calls (at, model, ok) SELECT now() - interval '65 s', 'gpt', false FROM generate_series(1, 12)",
    )
    .await;
    daemon.polls(3).await;
    assert_eq!(scene.told(), [""; 0]);
    execute(&mut slow, "COMMIT").await;
    let told = scene.is_told(1).await;
    assert!(told[0].contains("Outage") && told[0].contains("late"), "{told:?}");
    // Polls and ticks later there is nothing more to say but that it is over.
    scene
        .sql("INSERT INTO calls (at, model, ok) SELECT now() - n * interval '1 s', 'gpt', true FROM generate_series(1, 90) n")
        .await;
    daemon.polls(20).await;
    let told = scene.told();
    assert_eq!(told.iter().filter(|title| title.starts_with("[FIRING")).count(), 1, "{told:?}");
    assert!(told.len() <= 2, "{told:?}");
    let log = daemon.terminate().await;
    let late = log.lines().filter(|line| line.contains("\"late\":true") && line.contains("\"state\":\"Fired\"")).count();
    assert_eq!(late, 1, "{log}");
}

/// The first row of a label value is already the whole burst.
///
/// An exporter's counter for it begins at 12. `increase()` and `rate()` need two samples: there is none before the first, so that
/// they see an increase of nothing, and the alert never fires.
#[tokio::test]
async fn a_burst_of_an_error_type_that_was_never_seen_fires() {
    let rules = "      - {alert: Errors, error_spike: {more_than: 9, within: 5m, by: [error_type], of: errors}}
      - {alert: Calls, error_spike: {more_than: 9, within: 5m, by: [model]}}\n";
    let Some(mut scene) = Scene::start("1s", rules).await else { return };
    scene.sql("INSERT INTO errors (at, model, kind) SELECT now() - n * interval '1 min', 'gpt', 'Timeout' FROM generate_series(1, 60) n").await;
    let daemon = scene.daemon().await;
    scene.sql("INSERT INTO errors (at, model, kind) SELECT now(), 'gpt', 'ContextOverflow' FROM generate_series(1, 12)").await;
    daemon.metric("the new error type to fire", firing("Errors", ("error_type", "ContextOverflow"))).await;
    // So does a model of which nobody had heard.
    scene.sql("INSERT INTO calls (at, model, ok) SELECT now(), 'newest', false FROM generate_series(1, 10)").await;
    daemon.metric("the new model to fire", firing("Calls", ("model", "newest"))).await;
    scene.is_told(2).await;
    daemon.polls(5).await;
    assert_eq!(scene.told().len(), 2, "{:?}", scene.told());
    daemon.terminate().await;
}

/// Thirty days of steady traffic, of which retention takes all but the last hours.
///
/// An exporter that counts the table shows a counter that falls: Prometheus takes that for a restart from nothing, and `rate()` sees the
/// whole rest of the table as new calls, errors and cost. Shown as gauges, what was deleted is a drop of volume, and the past that a
/// baseline needs is gone at its source.
#[tokio::test]
async fn retention_fires_nothing() {
    let rules = "      - {alert: Cost, cost_anomaly: {factor: 1.5, days: 14, by: [org]}}
      - {alert: Budget, budget: {period: month, by: [org], limit: 100, forecast: true}}
      - {alert: Spike, error_spike: {more_than: 5, within: 1h, by: [model]}}
      - {alert: Rate, error_rate: {more_than: 50%, within: 3h, by: [model]}}
      - {alert: Streak, failure_streak: {in_a_row: 3, by: [model]}}
      - {alert: Errors, error_spike: {more_than: 5, within: 1h, by: [error_type], of: errors}}\n";
    let Some(mut scene) = Scene::start("1m", rules).await else { return };
    let steady = |from: &str, to: &str| {
        format!(
            "INSERT INTO calls (at, model, org, ok, cost) SELECT t, 'gpt', 'acme', extract(minute FROM t) <> 30, 0.01
             FROM generate_series('{from}Z'::timestamptz, '{to}Z', '10 min') t;
             INSERT INTO errors (at, model, kind) SELECT t, 'gpt', 'Timeout' FROM generate_series('{from}Z'::timestamptz, '{to}Z', '1 h') t"
        )
    };
    scene.sql(&steady("2026-02-08 12:05", "2026-03-10 11:59")).await;
    let (scrape, said) = scene.at("2026-03-10T12:00:00Z");
    let counted = scrape.sum("ai_requests_total", &[]).unwrap();
    assert!(counted > 4_000.0 && !said.contains("ALERT"), "{counted} {said}");
    scene.sql("DELETE FROM calls WHERE at < '2026-03-10 09:00Z'; DELETE FROM errors WHERE at < '2026-03-10 09:00Z'").await;
    scene.sql("VACUUM calls").await;
    let mut before = counted;
    // At once, when the repair pass compares counts, and as days go by.
    for (from, to, at) in [
        ("2026-03-10 12:05", "2026-03-10 12:06", "2026-03-10T12:06:00Z"),
        ("2026-03-10 12:15", "2026-03-10 13:29", "2026-03-10T13:30:00Z"),
        ("2026-03-10 13:35", "2026-03-11 01:59", "2026-03-11T02:00:00Z"),
        ("2026-03-11 02:05", "2026-03-11 13:59", "2026-03-11T14:00:00Z"),
    ] {
        scene.sql(&steady(from, to)).await;
        let (scrape, said) = scene.at(at);
        let now = scrape.sum("ai_requests_total", &[]).unwrap();
        assert!(!said.contains("ALERT") && scrape.find("ALERTS", &[]).next().is_none(), "at {at}: {said}");
        assert!(now > before, "{now} calls at {at}, {before} before");
        before = now;
    }
    // The rules are awake: what costs more than the days that are gone from the table, fires.
    scene.sql("INSERT INTO calls (at, model, org, ok, cost) SELECT '2026-03-11 14:00:30Z', 'gpt', 'acme', true, 0.1 FROM generate_series(1, 20)").await;
    let (_, said) = scene.at("2026-03-11T14:01:00Z");
    assert!(said.contains("Cost") && said.contains("14 days before"), "{said}");
}

/// A model fails, and is taken out of service: no call of it comes any more, and its rows are deleted.
///
/// A client library keeps the last value of a series as long as the process lives: a gauge such as "failures in the last minutes" or
/// "share of failures" stays where it was, and the alert fires for ever. Where the series goes away, the alert ends only because
/// Prometheus forgot it, as it would while the model still fails and the exporter is down.
#[tokio::test]
async fn a_group_that_vanishes_resolves() {
    let rules = "      - {alert: Outage, error_spike: {more_than: 2, within: 8s, by: [model]}}
      - {alert: Streak, failure_streak: {in_a_row: 3, within: 8s, by: [model]}}\n";
    let Some(mut scene) = Scene::start("1s", rules).await else { return };
    let daemon = scene.daemon().await;
    scene.sql("INSERT INTO calls (at, model, ok) SELECT now(), 'retired', false FROM generate_series(1, 5)").await;
    daemon.metric("the outage", firing("Outage", ("model", "retired"))).await;
    daemon.metric("the streak", firing("Streak", ("model", "retired"))).await;
    scene.sql("DELETE FROM calls WHERE model = 'retired'").await;
    let told = scene.is_told(4).await;
    let resolved = told.iter().filter(|title| title.starts_with("[RESOLVED")).count();
    assert_eq!((told.len(), resolved), (4, 2), "{told:?}");
    assert!(daemon.scrape().await.find("ALERTS", &[]).next().is_none());
    scene.connection.close().await.unwrap();
    daemon.terminate().await;
}
