//! Tables unlike the ones we were made for: odd names, odd types, odd forms of time, and servers that fall silent.

use crate::daemon::{Daemon, Output, once};
use crate::ground::until;
use crate::postgres::{self, Database, Postgres};
use crate::scrape::Scrape;
use crate::sqlite;
use modelwatch::diag::Diagnostic;
use modelwatch::secret::Secret;
use modelwatch::source::postgres::{Connection, Plan};
use modelwatch::source::{Mapping, Wanted};
use modelwatch::yaml::{self, Faults};
use std::path::Path;
use std::time::Duration;

fn config(url: &str, table: &str) -> String {
    format!(
        "listen: 127.0.0.1:0
state: modelwatch.db
export: {{dimensions: [model, kind, place, note]}}
sources:
  - name: odd
    url: '{url}'
    poll: 100ms
    tables:
      - {{name: calls, {table}}}
"
    )
}

fn count(config: &str, dir: &Path, arguments: &[&str]) -> (Scrape, Output) {
    let output = once(config, dir, arguments);
    assert_eq!(output.code, Some(0), "{}", output.stderr);
    (Scrape::parse(&output.stdout).unwrap(), output)
}

fn requests(scrape: &Scrape) -> f64 {
    scrape.sum("ai_requests_total", &[]).unwrap_or(0.0)
}

async fn plan(database: &Database, table: &str) -> (Plan, Vec<Diagnostic>) {
    let mut faults = Faults::default();
    let mapping = yaml::parse("t.yml", &format!("{{name: calls, {table}}}"), &mut faults).unwrap();
    let mapping = Mapping::parse(&mapping, &mut faults).unwrap();
    let mut connection = Connection::open(&Secret::new(&database.url)).await.unwrap();
    connection.plan(&mapping, &Wanted::default()).await.unwrap()
}

/// Calls every ten minutes of three days, and one that comes in the minute after, in these forms by turns.
async fn check_forms(forms: [&str; 2]) {
    let dir = tempfile::tempdir().unwrap();
    let mut connection = sqlite::open(&dir.path().join("odd.sqlite")).await;
    let text = |n: u32, at: &str| {
        let form = forms[n as usize % 2];
        let (offset, form) = form.split_once('|').unwrap();
        format!("INSERT INTO calls VALUES ({n}, strftime('{form}', '{at}', '{offset}'))")
    };
    let mut rows = vec!["CREATE TABLE calls (id integer PRIMARY KEY, at text); CREATE INDEX calls_at ON calls (at)".to_owned()];
    for n in 0..432 {
        rows.push(text(n, &format!("2026-03-{:02} {:02}:{:02}:00", 7 + (n / 6 + 12) / 24, (n / 6 + 12) % 24, n % 6 * 10)));
    }
    sqlite::execute(&mut connection, &format!("BEGIN; {}; COMMIT", rows.join("; "))).await;
    let config =
        config(&sqlite::url(&dir.path().join("odd.sqlite")), "from: calls, id: id, time: at, success: 'true', history: 7d");
    let at = |at: &str| {
        let (scrape, _) = count(&config, dir.path(), &["--at", at, "--state", dir.path().join("kept").to_str().unwrap()]);
        (requests(&scrape), scrape.sum("modelwatch_rows_late_total", &[]))
    };
    assert_eq!(at("2026-03-10T12:00:00Z").0, 432.0, "{forms:?}");
    for n in [1000, 1001] {
        sqlite::execute(&mut connection, &text(n, "2026-03-10 12:00:00")).await;
    }
    assert_eq!(at("2026-03-10T12:01:00Z"), (434.0, Some(0.0)), "{forms:?}");
}

#[tokio::test]
async fn texts_of_times_count_once_in_every_form() {
    let [seconds, east, west] =
        ["+0 hours|%Y-%m-%d %H:%M:%S", "+5 hours|%Y-%m-%dT%H:%M:%S+05:00", "-5 hours|%Y-%m-%dT%H:%M:%S-05:00"];
    check_forms([seconds, seconds]).await;
    check_forms([east, east]).await;
    check_forms([west, west]).await;
    check_forms([seconds, west]).await;
    check_forms(["+0 hours|%Y-%m-%d %H:%M", "+0 hours|%Y-%m-%d %H:%M"]).await;
    check_forms(["+0 hours|%Y-%m-%dT%H:%M:%SZ", "+0 hours|%Y-%m-%dT%H:%M:%S+00:00"]).await;
    check_forms([seconds, "+0 hours|%Y-%m-%dT%H:%MZ"]).await;
}

/// A writer in another zone that comes while we read.
#[tokio::test]
async fn an_offset_is_noticed_when_it_comes() {
    let dir = tempfile::tempdir().unwrap();
    let mut connection = sqlite::open(&dir.path().join("odd.sqlite")).await;
    sqlite::execute(
        &mut connection,
        "CREATE TABLE calls (id integer PRIMARY KEY, at text); INSERT INTO calls VALUES (1, datetime('now'))",
    )
    .await;
    let config = config(&sqlite::url(&dir.path().join("odd.sqlite")), "from: calls, id: id, time: at, success: 'true'");
    let daemon = Daemon::spawn(&config, dir.path()).await;
    daemon.metric("the first call", |scrape| (requests(scrape) == 1.0).then_some(())).await;
    let insert = "INSERT INTO calls VALUES (2, strftime('%Y-%m-%dT%H:%M:%S-05:00', 'now', '-5 hours'))";
    sqlite::execute(&mut connection, insert).await;
    daemon.metric("the call with an offset", |scrape| (requests(scrape) == 2.0).then_some(())).await;
    daemon.terminate().await;
}

/// The server's process of our connection is stopped: the connection stands, and nothing comes.
#[tokio::test]
async fn a_silent_server_is_left_and_asked_anew() {
    let Some(server) = Postgres::shared().await else { return };
    let database =
        server.database("CREATE TABLE calls (id int PRIMARY KEY, at timestamptz); INSERT INTO calls VALUES (1, now())").await;
    let dir = tempfile::tempdir().unwrap();
    let config = config(&database.url, "from: calls, id: id, time: at, success: 'true', statement_timeout: 100ms");
    let daemon = Daemon::spawn(&config, dir.path()).await;
    let mut connection = database.connect().await;
    let find = "SELECT pid FROM pg_stat_activity WHERE application_name = 'modelwatch' AND datname = current_database()";
    let process: i32 = sqlx::query_scalar(find).fetch_one(&mut connection).await.unwrap();
    let signal = |name: &str| {
        let sent = std::process::Command::new("/bin/kill").args([name, &process.to_string()]).status().unwrap();
        assert!(sent.success());
    };
    signal("-STOP");
    postgres::execute(&mut connection, "INSERT INTO calls VALUES (2, now())").await;
    daemon.metric("the call behind the silence", |scrape| (requests(scrape) == 2.0).then_some(())).await;
    signal("-CONT");
    assert!(daemon.log().contains("no answer within"), "{}", daemon.log());
    daemon.terminate().await;
}

#[tokio::test]
async fn no_statement_has_a_name() {
    let Some(server) = Postgres::start().await else { return };
    let schema = "CREATE TYPE state AS ENUM ('new', 'done');
        CREATE TABLE calls (id uuid PRIMARY KEY, at timestamptz, state state, kind state, ended timestamptz);
        INSERT INTO calls SELECT gen_random_uuid(), now(), 'done', 'new', CASE WHEN n > 1 THEN now() END FROM generate_series(1, 9) n;
        DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET log_min_duration_statement = 0', current_database()); END $$;";
    let database = server.database(schema).await;
    let dir = tempfile::tempdir().unwrap();
    let table = "from: calls, id: id, time: at, success: state = 'done', complete: ended IS NOT NULL, dimensions: {kind: kind, model: \"'o''ne'\"}";
    let (scrape, _) = count(&config(&database.url, table), dir.path(), &[]);
    assert_eq!(scrape.sum("ai_requests_total", &[("kind", "new"), ("model", "o'ne"), ("outcome", "success")]), Some(8.0));
    let output = once(&config(&database.url, "from: calls, id: id, time: att, success: state = 'did'"), dir.path(), &[]);
    assert_eq!(output.code, Some(1), "{}{}", output.stdout, output.stderr);
    let log = "SELECT pg_read_file(current_setting('data_directory') || '/../log')";
    let log: String = sqlx::query_scalar(log).persistent(false).fetch_one(&mut database.connect().await).await.unwrap();
    assert!(log.contains("parse <unnamed>") && log.contains("SET LOCAL statement_timeout"), "{log}");
    assert!(!log.contains("sqlx_s_"), "{log}");
}

/// All faults of a mapping at once, with what the database says of each.
#[tokio::test]
async fn faults_are_told_together() {
    let Some(server) = Postgres::shared().await else { return };
    let schema =
        "CREATE TABLE calls (id int PRIMARY KEY, started_at timestamptz, day date, epoch numeric, model text, status text)";
    let database = server.database(schema).await;
    let dir = tempfile::tempdir().unwrap();
    let told = |table: &str, expected: &[&str]| {
        let output = once(&config(&database.url, table), dir.path(), &[]);
        let text = output.stdout + &output.stderr;
        assert_eq!(output.code, Some(1), "{text}");
        expected.iter().for_each(|part| assert!(text.contains(part), "{part:?} is not in:\n{text}"));
    };
    told(
        "from: calls, id: id, time: startd_at, success: status, dimensions: {model: nosuch(model)}",
        &["did you mean `started_at`?", "42703", "42883", "is of type text, but a condition"],
    );
    told("from: cals, id: id, time: at, success: ok", &["\"cals\" does not exist", "42P01"]);
    told("from: calls, id: id, time: day, success: 'true'", &["of type date", "column::timestamp"]);
    told("from: calls, id: id, time: epoch, success: 'true'", &["of type numeric", "to_timestamp(column)"]);
    told("from: calls, id: id, time: model, success: 'true'", &["of type text", "column::timestamptz"]);
}

#[tokio::test]
async fn names_of_every_kind() {
    let Some(server) = Postgres::shared().await else { return };
    let schema = "CREATE SCHEMA \"Odd.one\";
        CREATE TABLE \"Odd.one\".\"My Logs\" (id int PRIMARY KEY, \"At\" timestamp, ok boolean);
        INSERT INTO \"Odd.one\".\"My Logs\" SELECT n, now() AT TIME ZONE 'UTC' - n * interval '1 second', true FROM generate_series(1, 60000) n;
        ANALYZE \"Odd.one\".\"My Logs\";
        CREATE TABLE \"it's\" AS SELECT * FROM \"Odd.one\".\"My Logs\" LIMIT 10;
        CREATE VIEW seen AS SELECT * FROM \"it's\" WHERE ok;";
    let database = server.database(schema).await;
    let dir = tempfile::tempdir().unwrap();
    let run =
        |from: &str, rest: &str| requests(&count(&config(&database.url, &format!("from: {from}, {rest}")), dir.path(), &[]).0);
    let (plain, logs) = ("id: id, time: '\"At\"', success: ok", "'\"Odd.one\".\"My Logs\"'");
    assert_eq!(run(logs, plain), 60_000.0);
    let (_, warnings) = plan(&database, &format!("from: {logs}, {plain}")).await;
    let index = "CREATE INDEX CONCURRENTLY ON \"Odd.one\".\"My Logs\" (\"At\")";
    assert_eq!(warnings.iter().map(|warning| warning.help.as_deref()).collect::<Vec<_>>(), [Some(index)]);
    assert_eq!(run("\"\\\"it's\\\"\"", plain), 10.0);
    assert_eq!(run("seen", plain), 10.0);
    assert_eq!(run("\"\\\"it's\\\" x\"", "id: x.id, time: 'x.\"At\"', success: x.ok"), 10.0);
    let select = "\"SELECT x.* FROM \\\"it's\\\" x WHERE id > 3 AND ok;\"";
    assert_eq!(run(select, plain), 7.0);
}

#[tokio::test]
async fn xmin_is_trusted_in_ordinary_tables_alone() {
    let Some(server) = Postgres::shared().await else { return };
    let schema = "CREATE TABLE plain (id int PRIMARY KEY, at timestamptz, ok boolean);
        CREATE TABLE parts (LIKE plain) PARTITION BY RANGE (at);
        CREATE TABLE parts_1 PARTITION OF parts FOR VALUES FROM ('2026-01-01') TO ('2027-01-01');
        CREATE TABLE mixed (LIKE plain) PARTITION BY RANGE (at);
        CREATE TABLE mixed_1 PARTITION OF mixed FOR VALUES FROM ('2026-01-01') TO ('2027-01-01') PARTITION BY RANGE (at);
        CREATE EXTENSION file_fdw;
        CREATE SERVER elsewhere FOREIGN DATA WRAPPER file_fdw;
        CREATE FOREIGN TABLE mixed_2 PARTITION OF mixed_1 FOR VALUES FROM ('2026-01-01') TO ('2026-02-01') SERVER elsewhere OPTIONS (filename '/dev/null');
        CREATE TABLE parent (LIKE plain);
        CREATE FOREIGN TABLE child () INHERITS (parent) SERVER elsewhere OPTIONS (filename '/dev/null');
        CREATE VIEW seen AS SELECT *, xmin FROM plain;
        CREATE TABLE spread (LIKE plain)";
    let database = server.database(schema).await;
    let narrow = async |from: &str| plan(&database, &format!("from: {from}, id: id, time: at, success: ok")).await.0.has_xmin();
    let expected = [
        ("plain", true),
        ("plain AS p", true),
        ("'\"public\".\"plain\"'", true),
        ("parts", true),
        ("parts_1", true),
        ("mixed", false),
        ("parent", false),
        ("seen", false),
        ("SELECT * FROM plain", false),
        ("plain JOIN (SELECT id AS other FROM plain) o ON o.other = id", false),
        ("spread", true),
    ];
    for (from, narrowed) in expected {
        assert_eq!(narrow(from).await, narrowed, "{from}");
    }
    // As Citus keeps it.
    let citus = "CREATE TABLE pg_dist_partition (logicalrelid regclass); INSERT INTO pg_dist_partition VALUES ('spread')";
    postgres::execute(&mut database.connect().await, citus).await;
    assert_eq!((narrow("spread").await, narrow("plain").await), (false, true));
}

/// Rows that are open are found again by their ids, by way of the primary key.
async fn check_ids(server: &Postgres, id_type: &str, id: &str) {
    let database = server.database(&format!(
        "CREATE TABLE calls (id {id_type} PRIMARY KEY, at timestamptz, ended timestamptz);
        INSERT INTO calls SELECT {id}, now() - CASE WHEN n = 3 THEN interval '30 min' ELSE n * interval '10 ms' END, CASE WHEN n <> 3 THEN now() END FROM generate_series(1, 3000) n;
        CREATE INDEX ON calls (at);
        ANALYZE calls;"
    )).await;
    let dir = tempfile::tempdir().unwrap();
    let table = "from: calls, id: id, time: at, success: 'true', complete: ended IS NOT NULL";
    let run = || requests(&count(&config(&database.url, table), dir.path(), &["--state", "kept"]).0);
    assert_eq!(run(), 2999.0, "{id_type}");
    let mut connection = database.connect().await;
    // It is behind the lateness, so that only its id leads to it.
    postgres::execute(&mut connection, "UPDATE calls SET ended = now() WHERE ended IS NULL").await;
    let scans = async |database: &Database| {
        let sql = "SELECT coalesce(sum(idx_scan), 0)::bigint FROM pg_stat_user_indexes WHERE indexrelname = 'calls_pkey'";
        let scans: i64 = sqlx::query_scalar(sql).fetch_one(&mut database.connect().await).await.unwrap();
        scans
    };
    let before = scans(&database).await;
    assert_eq!(run(), 3000.0, "{id_type}");
    until(Duration::from_secs(10), &format!("an index scan for {id_type}"), || async {
        (scans(&database).await > before).then_some(())
    })
    .await;
}

#[tokio::test]
async fn open_rows_are_found_by_ids_of_every_type() {
    let Some(server) = Postgres::shared().await else { return };
    check_ids(server, "uuid", "md5(n::text)::uuid").await;
    check_ids(server, "integer", "n").await;
    check_ids(server, "bigint", "n * 10000000000").await;
    check_ids(server, "numeric(20, 2)", "n * 1.5").await;
    check_ids(server, "varchar(40)", "'id ' || n").await;
    check_ids(server, "text", "'id ' || n").await;
    check_ids(server, "char(12)", "'id ' || n").await;
}

#[tokio::test]
async fn values_of_every_kind() {
    let Some(server) = Postgres::shared().await else { return };
    let schema = "CREATE TYPE kind AS ENUM ('chat', 'it''s');
        CREATE DOMAIN stamp AS timestamp;
        CREATE TABLE calls (id char(8), at stamp, kind kind, place inet, note json, cost numeric, seconds float8, model char(10));
        INSERT INTO calls VALUES
          ('a', now() AT TIME ZONE 'UTC', 'it''s', '10.0.0.1', '{\"a\": 1}', 'NaN', 'NaN', 'm'),
          ('b', now() AT TIME ZONE 'UTC', 'chat', NULL, NULL, 0.25, 'Infinity', 'm'),
          ('c', now() AT TIME ZONE 'UTC', 'chat', '::1', to_json(repeat('x', 3000000)), 'Infinity', 1.5, 'm'),
          ('d', NULL, 'chat', NULL, NULL, 1, 1, 'm'),
          ('e', 'infinity', 'chat', NULL, NULL, 1, 1, 'm'),
          ('f', '-infinity', 'chat', NULL, NULL, 1, 1, 'm'),
          (NULL, now() AT TIME ZONE 'UTC', 'chat', NULL, NULL, 1, 1, 'm');";
    let database = server.database(schema).await;
    let dir = tempfile::tempdir().unwrap();
    let table = "from: calls, id: id, time: at, success: 'true', cost_usd: cost, latency_seconds: seconds, dimensions: {model: model, kind: kind, place: place, note: note}";
    let (scrape, _) = count(&config(&database.url, table), dir.path(), &[]);
    assert_eq!(requests(&scrape), 4.0, "a, b, c, e");
    assert_eq!(scrape.sum("ai_requests_total", &[("model", "m"), ("kind", "it's"), ("place", "10.0.0.1/32")]), Some(1.0));
    assert_eq!(scrape.sum("ai_cost_usd_total", &[]), Some(1.25));
}
