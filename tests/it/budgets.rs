//! Budgets whose limits stand in a table of the database that is read.

use crate::daemon::Daemon;
use crate::postgres::{Postgres, execute};
use crate::scrape::Scrape;
use crate::sqlite;

const RULES: &str = "
groups:
  - name: budgets
    interval: 1s
    rules:
      - alert: Budget
        budget:
          by: [org]
          limits_from: {table: org_budgets, key: Org, limit: limit, every: 1s}
          shares: {50%: info, 100%: critical}
      - alert: Weekly
        budget:
          period: week
          by: [org]
          limits_from: {table: 'SELECT Org AS name, \"limit\" / 4 AS a_quarter FROM org_budgets -- all of them', key: name, limit: a_quarter, every: 1s}
          default: 1000
          shares: [100%]
";

fn config(url: &str) -> String {
    format!(
        "listen: 127.0.0.1:0
state: modelwatch.db
rule_files: [rules.yml]
sources:
  - name: app
    url: '{url}'
    poll: 200ms
    tables: [{{name: calls, from: calls, id: id, time: at, success: 'true', dimensions: {{org: org}}, cost_usd: cost}}]
export: {{dimensions: [org]}}
"
    )
}

/// acme has spent 60 of 100, globex 60 of 50, and nobody knows initech's limit.
async fn check(url: &str) {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("rules.yml"), RULES).unwrap();
    let daemon = Daemon::spawn(&config(url), dir.path()).await;
    let firing = |scrape: &Scrape| {
        let by = scrape.by("ALERTS", &["alertname", "org", "share", "severity", "alertstate"]);
        let by: Vec<String> = by.into_keys().map(|labels| labels.join(" ")).collect();
        (by.len() >= 5).then_some(by)
    };
    assert_eq!(
        daemon.metric("five alerts", firing).await,
        [
            "Budget acme 50% info firing",
            "Budget globex 100% critical firing",
            "Budget globex 50% info firing",
            "Weekly acme 100%  firing",
            "Weekly globex 100%  firing",
        ]
    );
    daemon.terminate().await;
}

const TABLES: &str = "
CREATE TABLE org_budgets (Org text, \"limit\" numeric);
INSERT INTO org_budgets VALUES ('acme', 100), ('globex', 50), ('initech', NULL);
";
const CALLS: &str = "INSERT INTO calls VALUES (1, NOW, 'acme', 60), (2, NOW, 'globex', 60), (3, NOW, 'initech', 60)";

#[tokio::test]
async fn limits_from_a_table_of_postgresql() {
    let Some(server) = Postgres::shared().await else { return };
    let database = server.database(TABLES).await;
    let mut connection = database.connect().await;
    execute(&mut connection, "CREATE TABLE calls (id int PRIMARY KEY, at timestamptz, org text, cost numeric)").await;
    execute(&mut connection, &CALLS.replace("NOW", "now()")).await;
    check(&database.url).await;
}

#[tokio::test]
async fn limits_from_a_table_of_sqlite() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("calls.db");
    let mut connection = sqlite::open(&file).await;
    sqlite::execute(&mut connection, TABLES).await;
    sqlite::execute(&mut connection, "CREATE TABLE calls (id integer PRIMARY KEY, at text, org text, cost real)").await;
    sqlite::execute(&mut connection, &CALLS.replace("NOW", "strftime('%Y-%m-%d %H:%M:%f', 'now')")).await;
    check(&sqlite::url(&file)).await;
}
