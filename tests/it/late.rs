//! Rows that come late or are finished late, and rules that come after the rows: each counted once, in steps of virtual
//! time (`once --at` over a state that is kept).

use crate::daemon::{Daemon, Output, once};
use crate::postgres;
use crate::recount::alerts;
use crate::scrape::Scrape;
use crate::sqlite;
use sqlx::SqliteConnection;
use std::path::Path;

const CALLS: &str =
    "CREATE TABLE calls (id integer PRIMARY KEY, model text, at text, ended text, ok boolean, tokens integer, cost real)";

fn config(url: &str, rules: &str, dir: &Path) -> String {
    std::fs::write(dir.join("rules.yml"), format!("groups: [{{name: late, interval: 15s, rules: [{rules}]}}]\n")).unwrap();
    format!(
        "listen: 127.0.0.1:0
state: modelwatch.db
rule_files: [rules.yml]
export: {{dimensions: [model]}}
sources:
  - name: late
    url: '{url}'
    poll: 100ms
    tables:
      - {{name: calls, from: calls, id: id, time: at, complete: ended IS NOT NULL, success: ok, dimensions: {{model: model}},
         output_tokens: tokens, cost_usd: cost, history: 7d}}
"
    )
}

/// A database of SQLite, and modelwatch over it at instants of its day.
struct Scene {
    dir: tempfile::TempDir,
    connection: SqliteConnection,
    config: String,
}

impl Scene {
    async fn start(rules: &str) -> Scene {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("calls.sqlite");
        let mut connection = sqlite::open(&file).await;
        sqlite::execute(&mut connection, CALLS).await;
        let config = config(&sqlite::url(&file), rules, dir.path());
        Scene { dir, connection, config }
    }

    async fn sql(&mut self, sql: &str) {
        sqlite::execute(&mut self.connection, sql).await;
    }

    /// A finished call of model `m` at a time of the day.
    async fn call(&mut self, id: u32, at: &str, ok: bool) {
        self.sql(&format!("INSERT INTO calls VALUES ({id}, 'm', '2026-03-10 {at}', '2026-03-10 {at}', {ok}, 10, 0.5)")).await;
    }

    fn at(&self, at: &str) -> (Scrape, Output) {
        let state = self.dir.path().join("kept.db");
        let output =
            once(&self.config, self.dir.path(), &["--at", &format!("2026-03-10T{at}Z"), "--state", state.to_str().unwrap()]);
        assert_eq!(output.code, Some(0), "{}", output.stderr);
        (Scrape::parse(&output.stdout).unwrap(), output)
    }

    /// Successes, failures, abandoned, tokens at a time of the day.
    fn counts(&self, at: &str) -> [f64; 4] {
        let (scrape, _) = self.at(at);
        let outcome = |outcome| scrape.sum("ai_requests_total", &[("outcome", outcome)]).unwrap_or(0.0);
        let tokens = scrape.sum("ai_tokens_total", &[("token_type", "output")]).unwrap_or(0.0);
        [outcome("success"), outcome("failure"), outcome("abandoned"), tokens]
    }
}

#[tokio::test]
async fn rows_later_than_the_lateness_are_found_by_the_hourly_repair() {
    let mut scene = Scene::start("").await;
    scene.call(1, "09:10:00", true).await;
    scene.call(2, "12:00:00", true).await;
    assert_eq!(scene.counts("12:00:01"), [2.0, 0.0, 0.0, 20.0]);
    // Within the lateness it counts at once; hours later only when the repair pass is due.
    scene.call(3, "11:50:00", true).await;
    scene.call(4, "09:20:00", false).await;
    assert_eq!(scene.counts("12:10:00"), [3.0, 0.0, 0.0, 30.0]);
    scene.call(5, "13:05:00", true).await;
    let (scrape, _) = scene.at("13:05:01");
    assert_eq!(scrape.sum("ai_requests_total", &[("outcome", "failure")]), Some(1.0));
    assert_eq!(scrape.sum("modelwatch_rows_late_total", &[]), Some(1.0));
    // It is found once; what retention deletes is no reason to look again, nor to count less.
    scene.sql("DELETE FROM calls WHERE id IN (1, 2)").await;
    assert_eq!(scene.counts("14:10:00"), [4.0, 1.0, 0.0, 50.0]);
    assert_eq!(scene.counts("15:20:00"), [4.0, 1.0, 0.0, 50.0]);
}

#[tokio::test]
async fn a_row_is_counted_when_it_is_finished_or_given_up() {
    let mut scene = Scene::start("").await;
    let open = |id: u32, at: &str| format!("INSERT INTO calls VALUES ({id}, 'm', '2026-03-10 {at}', NULL, 0, NULL, NULL)");
    scene.sql(&open(1, "12:00:00")).await;
    scene.sql(&open(2, "12:00:00")).await;
    scene.sql(&open(3, "12:00:00")).await;
    scene.call(4, "12:00:30", true).await;
    assert_eq!(scene.counts("12:01:00"), [1.0, 0.0, 0.0, 10.0]);
    let finish = |id: u32| format!("UPDATE calls SET ended = at, ok = 1, tokens = 7 WHERE id = {id}");
    // It is behind the lateness by then; its id is known.
    scene.sql(&finish(1)).await;
    scene.call(5, "12:40:00", true).await;
    assert_eq!(scene.counts("12:40:01"), [3.0, 0.0, 0.0, 27.0]);
    // After an hour it is abandoned; a row that is gone by then never was.
    scene.sql("DELETE FROM calls WHERE id = 3").await;
    assert_eq!(scene.counts("13:00:01"), [3.0, 0.0, 1.0, 27.0]);
    // Should it be finished after all, only its tokens are new.
    scene.sql(&finish(2)).await;
    assert_eq!(scene.counts("13:30:00"), [3.0, 0.0, 1.0, 34.0]);
    let (scrape, _) = scene.at("14:45:00");
    assert_eq!(scrape.sum("modelwatch_rows_finished_after_abandon_total", &[]), Some(1.0));
    assert_eq!(scrape.sum("modelwatch_rows_late_total", &[]), Some(0.0));
}

#[tokio::test]
async fn rows_of_the_future_count_at_once_and_a_clock_that_goes_back_changes_nothing() {
    let mut scene = Scene::start("{alert: Fails, error_spike: {more_than: 1, within: 10m, by: [model]}}").await;
    scene.call(1, "12:00:00", false).await;
    scene.call(2, "12:01:00", false).await;
    let (_, output) = scene.at("12:02:00");
    assert_eq!(alerts(&output.stderr).len(), 1);
    assert_eq!(scene.counts("12:02:00"), [0.0, 2.0, 0.0, 20.0]);
    // An hour back: nothing is counted twice, forgotten, or decided anew.
    let (scrape, output) = scene.at("11:02:00");
    assert_eq!(scrape.sum("ai_requests_total", &[]), Some(2.0));
    assert_eq!(alerts(&output.stderr).len(), 1);
    scene.call(3, "12:03:00", true).await;
    assert_eq!(scene.counts("12:03:30"), [1.0, 2.0, 0.0, 30.0]);
}

#[tokio::test]
async fn a_clock_that_was_ahead_is_followed_back() {
    let mut scene = Scene::start("{alert: Fails, error_spike: {more_than: 1, within: 10m, by: [model]}}").await;
    scene.call(1, "12:00:00", true).await;
    assert_eq!(scene.counts("12:00:01"), [1.0, 0.0, 0.0, 10.0]);
    // For one poll it is late in the evening, and a row was written then.
    scene.call(2, "23:00:00", true).await;
    assert_eq!(scene.counts("23:00:01"), [2.0, 0.0, 0.0, 20.0]);
    scene.call(3, "12:03:00", false).await;
    scene.call(4, "12:04:00", false).await;
    assert_eq!(scene.counts("12:05:00"), [2.0, 2.0, 0.0, 40.0]);
    scene.call(5, "12:05:30", false).await;
    let (scrape, output) = scene.at("12:06:00");
    assert_eq!(scrape.sum("ai_requests_total", &[]), Some(5.0));
    assert_eq!(alerts(&output.stderr).len(), 1, "{}", output.stderr);
}

#[tokio::test]
async fn a_longer_repair_window_counts_nothing_twice() {
    let mut scene = Scene::start("").await;
    let days = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 700)
        INSERT INTO calls SELECT 1000 + i, 'm', datetime('2026-03-10 11:00', '-' || (i * 10) || ' minutes'), 'x', 1, 1, 0 FROM n";
    scene.sql(days).await;
    assert_eq!(scene.counts("12:00:00")[0], 700.0);
    scene.config = scene.config.replace("history: 7d", "history: 7d, repair_window: 3d");
    scene.call(1, "13:30:00", true).await;
    assert_eq!(scene.counts("13:30:01")[0], 701.0);
    scene.call(2, "14:40:00", true).await;
    assert_eq!(scene.counts("14:40:01")[0], 702.0);
}

#[tokio::test]
async fn a_new_streak_rule_knows_the_run_so_far() {
    let mut scene = Scene::start("").await;
    scene.call(1, "08:00:00", true).await;
    for (id, at) in ["08:10:00", "09:00:00", "10:00:00", "11:20:00", "11:59:00"].into_iter().enumerate() {
        scene.call(10 + id as u32, at, false).await;
    }
    let (_, output) = scene.at("12:00:00");
    assert_eq!(alerts(&output.stderr).len(), 0);
    let rules =
        "{alert: Streak, failure_streak: {in_a_row: 5, by: [model]}}, {alert: More, failure_streak: {in_a_row: 6, by: [model]}}";
    std::fs::write(scene.dir.path().join("rules.yml"), format!("groups: [{{name: late, rules: [{rules}]}}]\n")).unwrap();
    let (_, output) = scene.at("12:00:30");
    let found = alerts(&output.stderr);
    assert_eq!(found.iter().map(|alert| alert.value).collect::<Vec<_>>(), [5.0], "{}", output.stderr);
}

#[tokio::test]
async fn a_success_at_the_edge_of_what_is_settled_ends_the_run() {
    let mut scene = Scene::start("{alert: Streak, failure_streak: {in_a_row: 3, by: [model]}}").await;
    // The lateness of 15 min ends just at the success.
    for (id, at, ok) in
        [(1, "11:40:00", false), (2, "11:41:00", false), (3, "11:45:00", true), (4, "11:50:00", false), (5, "12:00:00", false)]
    {
        scene.call(id, at, ok).await;
    }
    let (scrape, output) = scene.at("12:00:00");
    assert_eq!(alerts(&output.stderr).len(), 0, "{}", output.stderr);
    assert_eq!(scrape.sum("ai_failure_run", &[]), Some(2.0));
    // A table that is loaded in batches: rows of half an hour ago are within the lateness of the newest row.
    let (scrape, _) = scene.at("12:40:00");
    assert_eq!(scrape.sum("ai_failure_run", &[]), Some(2.0));
    scene.call(6, "11:55:00", true).await;
    scene.call(7, "12:01:00", false).await;
    let (scrape, _) = scene.at("12:41:00");
    assert_eq!(scrape.sum("ai_failure_run", &[]), Some(2.0));
}

/// A rule that is added by a reload knows what happened before, from the database.
#[tokio::test]
async fn a_new_rule_is_filled_from_history() {
    let Some(server) = postgres::Postgres::shared().await else { return };
    let database = server.database("CREATE TABLE calls (id bigint PRIMARY KEY, model text, at timestamptz, ended timestamptz, ok boolean, tokens integer, cost numeric)").await;
    let mut connection = database.connect().await;
    let insert = "INSERT INTO calls SELECT n, 'm' || n % 2, now() - interval '30 min', now(), n % 2 = 0, 1, 0.1 FROM generate_series(1, 40) n";
    postgres::execute(&mut connection, insert).await;
    let dir = tempfile::tempdir().unwrap();
    let rule =
        |name: &str, within: &str| format!("{{alert: {name}, error_spike: {{more_than: 19, within: {within}, by: [model]}}}}");
    let mut daemon = Daemon::spawn(&config(&database.url, &rule("Short", "5m"), dir.path()), dir.path()).await;
    daemon.ready().await;
    assert_eq!(daemon.scrape().await.find("ALERTS", &[]).count(), 0);
    config(&database.url, &format!("{}, {}", rule("Short", "5m"), rule("Long", "2h")), dir.path());
    assert_eq!(daemon.post("/-/reload").await.0, 200);
    let fires = |scrape: &Scrape| {
        (scrape.sum("ALERTS", &[("alertname", "Long"), ("model", "m1"), ("alertstate", "firing")])? == 1.0).then_some(())
    };
    daemon.metric("the new rule to fire over the past", fires).await;
    // Killed at once, it still knows.
    let path = daemon.kill9();
    daemon = Daemon::again(&path);
    daemon.ready().await;
    daemon.metric("the alert after a restart", fires).await;
    assert_eq!(daemon.scrape().await.sum("ai_requests_total", &[]), Some(40.0));
    daemon.terminate().await;
}
