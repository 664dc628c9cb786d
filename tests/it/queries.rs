//! What rules ask of the databases beside the calls: `sql`, `freshness` of a table, `coverage`; and what becomes of a rule
//! whose query fails, hangs or names what is not there.

use crate::daemon::{Daemon, once, output};
use crate::postgres::{self, CORA, Database, Postgres};
use crate::recount::alerts;
use crate::scrape::Scrape;
use crate::sqlite;
use std::collections::BTreeMap;
use std::path::Path;

/// A password that no log may hold; the server takes any.
const SECRET: &str = "hunter2";

fn with_secret(database: &Database) -> String {
    database.url.replace("postgres@", &format!("postgres:{SECRET}@"))
}

/// One source `app`, and rules that are evaluated each second.
fn config(url: &str, table: &str, rules: &str, dir: &Path) -> String {
    std::fs::write(dir.join("rules.yml"), format!("groups:\n  - name: q\n    interval: 1s\n    rules:\n{rules}\n")).unwrap();
    format!(
        "listen: 127.0.0.1:0
state: modelwatch.db
rule_files: [rules.yml]
sources: [{{name: app, url: '{url}', poll: 200ms, tables: [{table}]}}]
"
    )
}

const CALLS: &str = "{preset: cora_usage, lateness: 60s, statement_timeout: 1s}";

async fn call(database: &Database) {
    let insert =
        "INSERT INTO ai_log_usage (request_source, operation_type, model_id_used, latency_ms, success, started_at, completed_at)
        SELECT 'chat', 'text_generation', 'claude', 5, true, t, t FROM (SELECT clock_timestamp() AT TIME ZONE 'UTC' AS t) x";
    postgres::execute(&mut database.connect().await, insert).await;
}

/// Labels of what fires, without its name.
fn firing(scrape: &Scrape) -> Vec<BTreeMap<String, String>> {
    let found = scrape.find("ALERTS", &[("alertstate", "firing")]);
    found.map(|sample| sample.labels.clone().into_iter().filter(|(name, _)| !name.starts_with("alert")).collect()).collect()
}

async fn fires(daemon: &Daemon, n: usize) -> Vec<BTreeMap<String, String>> {
    daemon.metric(&format!("{n} alerts"), |scrape| Some(firing(scrape)).filter(|found| found.len() == n)).await
}

async fn counted(daemon: &Daemon, calls: f64) {
    let found = |scrape: &Scrape| (scrape.sum("ai_requests_total", &[])? == calls).then_some(());
    daemon.metric(&format!("{calls} calls"), found).await;
}

fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

#[tokio::test]
async fn rows_are_alerts_and_a_query_that_fails_leaves_them_as_they_are() {
    let Some(postgres) = Postgres::shared().await else { return };
    let exports = "CREATE TABLE exports (id uuid, at timestamptz, tags text[], facts jsonb, amount numeric, note text)";
    let row = "INSERT INTO exports VALUES ('00000000-0000-0000-0000-00000000000A', '2026-03-10 12:00:00.5+02', '{a,\"b c\"}', '{\"k\": [1, null]}', 12.50, NULL)";
    let database = postgres.database(&format!("{CORA};{exports};{row}")).await;
    postgres::execute(
        &mut database.connect().await,
        "ALTER DATABASE CURRENT SET timezone = 'Asia/Tokyo'".replace("CURRENT", &name(&database)).as_str(),
    )
    .await;
    let rules = "      - alert: Exports
        sql:
          query: |
            -- whatever is there; and :now is no parameter here
            SELECT id, at, tags, facts, amount AS value, note, true AS \"Yes\" FROM exports
            WHERE at < :now AND note IS DISTINCT FROM ':now';
          every: 200ms";
    let dir = tempfile::tempdir().unwrap();
    let daemon = Daemon::spawn(&config(&with_secret(&database), CALLS, rules, dir.path()), dir.path()).await;
    let expected = labels(&[
        ("source", "app"),
        ("id", "00000000-0000-0000-0000-00000000000a"),
        ("at", "2026-03-10 10:00:00.5+00"),
        ("tags", "{a,\"b c\"}"),
        ("facts", "{\"k\": [1, null]}"),
        ("Yes", "true"),
    ]);
    assert_eq!(fires(&daemon, 1).await, std::slice::from_ref(&expected));

    postgres::execute(&mut database.connect().await, "ALTER TABLE exports RENAME TO gone; DELETE FROM gone").await;
    let failed = |scrape: &Scrape| {
        let labels = [("source", "app"), ("rule", "q/Exports")];
        (scrape.sum("modelwatch_rule_query_failures_total", &labels)? >= 2.0).then_some(())
    };
    daemon.metric("failures", failed).await;
    call(&database).await;
    counted(&daemon, 1.0).await;
    let scrape = daemon.scrape().await;
    assert_eq!(firing(&scrape), [expected]);
    assert_eq!(
        (scrape.sum("modelwatch_source_up", &[]), scrape.sum("modelwatch_poll_failures_total", &[]).unwrap_or(0.0)),
        (Some(1.0), 0.0)
    );
    // A row that is no alert is no answer either.
    postgres::execute(
        &mut database.connect().await,
        "ALTER TABLE gone RENAME TO exports; INSERT INTO exports (at) VALUES ('2026-03-10')",
    )
    .await;
    daemon.logged("`value` is NULL in the row").await;
    assert_eq!(firing(&daemon.scrape().await).len(), 1);
    postgres::execute(&mut database.connect().await, "TRUNCATE exports").await;
    fires(&daemon, 0).await;
    daemon.logged("the query of a rule is answered again").await;

    let log = daemon.terminate().await;
    let told = log.matches("relation \\\"exports\\\" does not exist (SQLSTATE 42P01)").count();
    assert!(told == 1 && log.contains("rules.yml:8:13"), "told {told} times: {log}");
    assert!(!log.contains(SECRET) && !log.contains("panicked"), "{log}");
}

fn name(database: &Database) -> String {
    database.url.rsplit('/').next().unwrap().to_owned()
}

#[tokio::test]
async fn a_query_that_hangs_does_not_stop_the_polls() {
    let Some(postgres) = Postgres::shared().await else { return };
    let database = postgres.database(CORA).await;
    let rules = "      - {alert: Hangs, sql: {query: 'SELECT 1 AS value FROM pg_sleep(3600)', every: 200ms}}
      - {alert: Hangs Too, sql: {query: 'SELECT count(*) AS value FROM generate_series(1, 1000000000000) AS n WHERE n < 0', every: 200ms}}
      - {alert: Writes, sql: {query: 'SELECT nextval(''ai_log_usage_id_seq'') AS value', every: 200ms}}
      - {alert: Works, sql: {query: 'SELECT 7 AS value', every: 200ms}}";
    let dir = tempfile::tempdir().unwrap();
    let daemon = Daemon::spawn(&config(&with_secret(&database), CALLS, rules, dir.path()), dir.path()).await;
    let failures = |scrape: &Scrape, rule: &str| scrape.sum("modelwatch_rule_query_failures_total", &[("rule", rule)]);
    let all = |scrape: &Scrape| {
        Some(["q/Hangs", "q/Hangs Too", "q/Writes"].iter().all(|rule| failures(scrape, rule).is_some())).filter(|all| *all)
    };
    daemon.metric("a failure of each", all).await;
    assert_eq!(fires(&daemon, 1).await, [labels(&[("source", "app")])]);
    for calls in 1..=4 {
        call(&database).await;
        counted(&daemon, f64::from(calls)).await;
    }
    daemon.polls(3).await;
    let scrape = daemon.scrape().await;
    assert_eq!(
        (scrape.sum("modelwatch_source_up", &[]), scrape.sum("modelwatch_poll_failures_total", &[]).unwrap_or(0.0)),
        (Some(1.0), 0.0)
    );
    let log = daemon.terminate().await;
    assert_eq!(log.matches("canceling statement due to statement timeout").count(), 2, "{log}");
    assert!(log.contains("read-only transaction") || log.contains("does not exist"), "{log}");
    assert!(!log.contains(SECRET), "{log}");
}

/// `once` at an instant of 2026-03-10: the alerts, each as its labels and value.
fn at(config: &str, dir: &Path, at: &str) -> Vec<String> {
    let said = once(config, dir, &["--at", &format!("2026-03-10T{at}Z")]);
    assert_eq!(said.code, Some(0), "{}", said.stderr);
    let told = |alert: &crate::recount::Alert| {
        let labels: Vec<String> = alert.labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
        format!("{} {}", labels.join(" "), alert.value)
    };
    alerts(&said.stderr).iter().map(told).collect()
}

const SYNC: &str = "      - {alert: Sync, freshness: {table: ai_audit_sync_state, column: last_synced_at, older_than: 5m}}";

#[tokio::test]
async fn the_copy_is_as_fresh_as_its_table_says() {
    let Some(postgres) = Postgres::shared().await else { return };
    let database = postgres.database(include_str!("schemas/audit.sql")).await;
    let mut connection = database.connect().await;
    postgres::execute(&mut connection, &format!("ALTER DATABASE {} SET timezone = 'America/New_York'", name(&database))).await;
    let dir = tempfile::tempdir().unwrap();
    let config = config(&database.url, "{preset: audit}", SYNC, dir.path());
    assert_eq!(at(&config, dir.path(), "12:00:00"), ["alertname=Sync source=app inf"]);
    for (column, written) in
        [("timestamptz", "2026-03-10 06:54:00-05"), ("timestamp", "2026-03-10 11:54:00"), ("text", "2026-03-10T11:54:00Z")]
    {
        let sql = format!(
            "DROP TABLE ai_audit_sync_state; CREATE TABLE ai_audit_sync_state (last_synced_at {column});
             INSERT INTO ai_audit_sync_state VALUES (NULL), ('2026-03-10 11:40:00'), ('{written}')"
        );
        postgres::execute(&mut connection, &sql).await;
        assert_eq!(at(&config, dir.path(), "12:00:00"), ["alertname=Sync source=app 360"], "{column}");
        assert!(at(&config, dir.path(), "11:59:00").is_empty(), "{column}");
    }
}

#[tokio::test]
async fn active_workspaces_are_covered() {
    let Some(postgres) = Postgres::shared().await else { return };
    let rows = "
        INSERT INTO workflows SELECT md5('w' || n)::uuid, 'o', '2026-03-09' FROM generate_series(1, 10) AS n;
        INSERT INTO workflows VALUES (md5('old')::uuid, 'o', '2026-02-01'), (md5('never')::uuid, 'o', NULL);
        INSERT INTO ai_audit_logs (workflow_id, created_at, response_metadata)
        SELECT md5('w' || n)::uuid, '2026-03-08 12:00', '{\"status\": \"success\"}' FROM generate_series(1, 4) AS n;
        INSERT INTO ai_audit_logs (workflow_id, created_at) VALUES (md5('old')::uuid, '2026-03-08 12:00'), (NULL, '2026-03-08 12:00');
        INSERT INTO ai_audit_logs (workflow_id, created_at) VALUES (md5('w5')::uuid, '2026-03-10 12:30')";
    let database = postgres.database(&format!("{};{rows}", include_str!("schemas/audit.sql"))).await;
    let rules = "      - alert: Unused
        coverage:
          of: workspace
          among: SELECT id FROM workflows WHERE last_accessed_at > :now - interval '14 days'
          within: 14d
          less_than: 50%
          min_values: 5";
    let dir = tempfile::tempdir().unwrap();
    let config = config(&database.url, "{preset: audit}", rules, dir.path());
    assert_eq!(at(&config, dir.path(), "12:00:00"), ["alertname=Unused 0.4"]);
    assert!(at(&config, dir.path(), "12:31:00").is_empty());
    let said = once(&config, dir.path(), &["--at", "2026-03-10T12:00:00Z"]).stderr;
    assert!(
        said.contains("4 of 10 active values of workspace (40.0%) had a call in the 14d") && said.contains(" and 1 more"),
        "{said}"
    );
}

#[tokio::test]
async fn sqlite_is_asked_as_well() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("app.sqlite");
    let mut connection = sqlite::open(&file).await;
    let schema = "CREATE TABLE calls (id integer PRIMARY KEY, at text, ok boolean, org);
        CREATE TABLE ai_audit_sync_state (last_synced_at text);
        INSERT INTO calls VALUES (1, '2026-03-10 11:00:00', true, 'a');
        CREATE TABLE exports (org, n, note, at text);
        INSERT INTO exports VALUES ('acme', 3, NULL, '2026-03-10 11:30:00'), (x'00ff', 2.5, 'x', '2026-03-10 11:58:00')";
    sqlite::execute(&mut connection, schema).await;
    let table = "{name: calls, from: calls, id: id, time: at, success: ok, dimensions: {org: org}, statement_timeout: 1s}";
    let rules = format!(
        "{SYNC}
      - {{alert: Exports, sql: {{query: \"SELECT org, n AS value, note FROM exports WHERE at > datetime(:now, '-1 hour')\"}}}}
      - {{alert: Unused, coverage: {{of: org, among: SELECT org FROM exports, within: 1d, less_than: 100%}}}}
      - {{alert: Hangs, sql: {{query: 'WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) AS value FROM n'}}}}
      - {{alert: Typo, freshness: {{table: exports, column: att, older_than: 5m}}}}"
    );
    let config = config(&sqlite::url(&file), table, &rules, dir.path());
    let unused = "alertname=Unused 0";
    assert_eq!(
        at(&config, dir.path(), "12:00:00"),
        [
            "alertname=Sync source=app inf",
            "alertname=Exports note=x org=00ff source=app 2.5",
            "alertname=Exports org=acme source=app 3",
            unused
        ]
    );
    sqlite::execute(&mut connection, "INSERT INTO ai_audit_sync_state VALUES ('2026-03-10 12:27:00')").await;
    let said = once(&config, dir.path(), &["--at", "2026-03-10T12:31:00Z"]).stderr;
    let found: Vec<String> = alerts(&said).iter().map(|alert| alert.labels["alertname"].clone()).collect();
    assert_eq!(found, ["Exports", "Unused"], "{said}");
    assert!(
        said.contains("no answer within the statement timeout of 1s") && said.contains("no such column: asked.att"),
        "{said}"
    );
}

/// `check --connect` shows what is wrong with each query where it stands, and nothing is read for it.
#[tokio::test]
async fn what_cannot_be_asked_is_told_beforehand() {
    let Some(postgres) = Postgres::shared().await else { return };
    let database = postgres.database(&format!("{CORA}; CREATE TABLE exports (org text, at timestamptz, n integer)")).await;
    let rules = "      - {alert: Good, sql: {query: 'SELECT org, n AS value FROM exports, pg_sleep(3600)'}}
      - {alert: Text, sql: {query: 'SELECT org AS value FROM exports'}}
      - {alert: Typo, sql: {query: 'SELECT ogr, n AS value FROM exports'}}
      - {alert: Table, sql: {query: 'SELECT 1 AS value FROM imports'}}
      - {alert: NoValue, sql: {query: 'SELECT org, n FROM exports'}}
      - {alert: NoNumber, sql: {query: 'SELECT org, at AS value FROM exports'}}
      - {alert: NoName, sql: {query: 'SELECT count(*) + 1, 2 AS value FROM exports'}}
      - {alert: Twice, sql: {query: 'SELECT org, org, 2 AS value FROM exports'}}
      - {alert: Sync, freshness: {table: exports, column: at, older_than: 5m}}
      - {alert: NoTime, freshness: {table: exports, column: flag, older_than: 5m}}
      - {alert: Writes, sql: {query: 'DELETE FROM exports RETURNING n AS value'}}";
    let dir = tempfile::tempdir().unwrap();
    postgres::execute(&mut database.connect().await, "ALTER TABLE exports ADD flag boolean").await;
    std::fs::write(dir.path().join("modelwatch.yml"), config(&with_secret(&database), CALLS, rules, dir.path())).unwrap();
    let said = output(dir.path(), &["check", "-c", "modelwatch.yml", "--connect"]);
    let faults = |what: &str| said.stderr.contains(what);
    assert_eq!(said.code, Some(1), "{}", said.stderr);
    for expected in [
        "Typo cannot ask app: column \"ogr\" does not exist (SQLSTATE 42703)",
        "rules.yml:7:36",
        "Table cannot ask app: relation \"imports\" does not exist (SQLSTATE 42P01)",
        "rules.yml:8:37",
        "NoValue cannot ask app: there is no column `value`; name one so: count(*) AS value",
        "NoNumber cannot ask app: `value` is `2026-11-20 20:00:00` in the row",
        "NoName cannot ask app: the column `?column?` cannot be a label; give it another name with AS",
        "Twice cannot ask app: two columns are called `org`; name one of them with AS",
        "NoTime cannot ask app: ",
        "Writes cannot ask app: ",
    ] {
        assert!(faults(expected), "{expected}\n{}", said.stderr);
    }
    for fine in ["Good", "Text", "Sync", SECRET] {
        assert!(!faults(&format!("{fine} cannot")) && !faults(SECRET), "{fine}: {}", said.stderr);
    }
}
