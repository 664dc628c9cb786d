//! What breaks around modelwatch breaks nothing in it: it says clearly what is wrong, loses nothing, and recovers by itself.

use crate::daemon::{Daemon, SOON, check, output};
use crate::ground::{is_root, skipped, until};
use crate::postgres::{CORA, Database, Postgres, execute};
use crate::scrape::Scrape;
use crate::sqlite;
use sqlx::Connection;
use std::io::Write;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

fn config(url: &str, state: &str) -> String {
    format!(
        "listen: 127.0.0.1:0
state: {state}
external_url: http://localhost:9464
sources: [{{name: cora, url: '{url}', poll: 200ms, tables: [{{preset: cora_usage, lateness: 60s}}]}}]
export: {{dimensions: [model]}}
route: {{receiver: oncall}}
receivers: [{{name: oncall, stdout_configs: [{{}}]}}]
"
    )
}

/// A cluster of its own with `rows` calls, and the daemon that has counted them.
struct Scene {
    postgres: Postgres,
    database: Database,
    daemon: Daemon,
    /// Keeps the folder.
    _dir: tempfile::TempDir,
    written: u32,
}

impl Scene {
    async fn start() -> Option<Self> {
        let postgres = Postgres::start().await?;
        let database = postgres.database(CORA).await;
        let dir = tempfile::tempdir().unwrap();
        let daemon = Daemon::spawn(&config(&database.url, "modelwatch.db"), dir.path()).await;
        let mut scene = Self { postgres, database, daemon, _dir: dir, written: 0 };
        scene.write(5).await;
        scene.counted().await;
        Some(scene)
    }

    async fn write(&mut self, rows: u32) {
        execute(&mut self.database.connect().await, &insert(rows)).await;
        self.written += rows;
    }

    async fn sql(&self, sql: &str) {
        execute(&mut self.database.connect().await, sql).await;
    }

    /// Everything that was written is counted, once.
    async fn counted(&self) {
        all_counted(&self.daemon, self.written).await;
    }

    async fn source_is(&self, up: f64) {
        let found = |scrape: &Scrape| (scrape.sum("modelwatch_source_up", &[("source", "cora")])? == up).then_some(());
        self.daemon.metric(&format!("modelwatch_source_up {up}"), found).await;
    }

    /// While the source is broken, what was counted stays on /metrics.
    async fn still_shows(&self, rows: f64) {
        assert_eq!(self.daemon.scrape().await.sum("ai_requests_total", &[]), Some(rows));
        assert_eq!(self.daemon.get("/-/healthy", "").await.unwrap().0, 200);
    }

    async fn ends_well(self) {
        assert_calm(&self.daemon.terminate().await);
    }
}

fn insert(rows: u32) -> String {
    format!(
        "INSERT INTO ai_log_usage (request_source, operation_type, model_id_used, prompt_tokens, latency_ms, success, started_at, completed_at)
         SELECT 'chat', 'text_generation', 'claude', 10, 5, true, t, t FROM (SELECT clock_timestamp() AT TIME ZONE 'UTC' AS t FROM generate_series(1, {rows})) x"
    )
}

async fn all_counted(daemon: &Daemon, rows: u32) {
    let found = |scrape: &Scrape| (scrape.sum("ai_requests_total", &[])? >= f64::from(rows)).then_some(());
    daemon.metric(&format!("{rows} requests"), found).await;
    daemon.polls(2).await;
    assert_eq!(daemon.scrape().await.sum("ai_requests_total", &[]), Some(f64::from(rows)));
}

fn assert_calm(log: &str) {
    assert!(!log.contains("panicked"), "{log}");
    assert!(log.lines().count() < 2_000, "a flood of {} lines:\n{}", log.lines().count(), &log[..4_000]);
}

#[tokio::test]
async fn postgresql_stops_crashes_and_comes_back() {
    let Some(mut scene) = Scene::start().await else { return };
    for crash in [false, true] {
        if crash {
            scene.postgres.crash()
        } else {
            scene.postgres.stop()
        }
        scene.source_is(0.0).await;
        scene.still_shows(f64::from(scene.written)).await;
        scene.postgres.restart().await;
        scene.source_is(1.0).await;
        scene.write(7).await;
        scene.counted().await;
    }
    scene.ends_well().await;
}

#[tokio::test]
async fn a_database_that_is_not_there_yet() {
    let Some(postgres) = Postgres::start().await else { return };
    let database = postgres.database(CORA).await;
    execute(&mut database.connect().await, &insert(3)).await;
    postgres.stop();
    let dir = tempfile::tempdir().unwrap();
    let daemon = Daemon::launch(&config(&database.url, "modelwatch.db"), dir.path());
    until(SOON, "an answer", || async {
        assert!(daemon.running(), "modelwatch ended:\n{}", daemon.log());
        daemon.get("/-/healthy", "").await.filter(|answer| answer.0 == 200)
    })
    .await;
    assert_ne!(daemon.get("/-/ready", "").await.unwrap().0, 200, "ready although no source was read");
    postgres.restart().await;
    daemon.ready().await;
    all_counted(&daemon, 3).await;
    assert_calm(&daemon.terminate().await);
}

#[tokio::test]
async fn a_dropped_table_is_named_and_its_return_is_seen() {
    let Some(mut scene) = Scene::start().await else { return };
    scene.sql("ALTER TABLE ai_log_usage RENAME TO gone").await;
    scene.daemon.logged("ai_log_usage").await;
    scene.source_is(0.0).await;
    scene.still_shows(5.0).await;
    scene.sql("DROP TABLE gone").await;
    scene
        .sql(
            CORA.split_once("CREATE TABLE ai_log_usage")
                .map(|(_, rest)| format!("CREATE TABLE ai_log_usage{rest}"))
                .unwrap()
                .split("CREATE TABLE ai_log_error")
                .next()
                .unwrap(),
        )
        .await;
    scene.source_is(1.0).await;
    scene.write(4).await;
    scene.counted().await;
    scene.ends_well().await;
}

#[tokio::test]
async fn a_renamed_column_is_named() {
    let Some(mut scene) = Scene::start().await else { return };
    scene.sql("ALTER TABLE ai_log_usage RENAME COLUMN latency_ms TO latency_msec").await;
    scene.write_renamed(6).await;
    scene.daemon.logged("latency_ms").await;
    scene.source_is(0.0).await;
    scene.still_shows(5.0).await;
    scene.sql("ALTER TABLE ai_log_usage RENAME COLUMN latency_msec TO latency_ms").await;
    scene.source_is(1.0).await;
    scene.counted().await;
    scene.ends_well().await;
}

impl Scene {
    async fn write_renamed(&mut self, rows: u32) {
        self.sql(&insert(rows).replace("latency_ms", "latency_msec")).await;
        self.written += rows;
    }
}

/// Wider numbers are read on; a type that cannot be a number of tokens is an error that names the column, until it is one again.
#[tokio::test]
async fn a_changed_type_is_read_on_or_named() {
    let Some(mut scene) = Scene::start().await else { return };
    scene.sql("ALTER TABLE ai_log_usage ALTER COLUMN prompt_tokens TYPE bigint").await;
    scene.write(3).await;
    scene.counted().await;
    scene.sql("ALTER TABLE ai_log_usage ALTER COLUMN prompt_tokens TYPE boolean USING prompt_tokens > 0").await;
    scene.sql(&insert(2).replace(", 10, 5,", ", true, 5,")).await;
    scene.written += 2;
    scene.daemon.logged("prompt_tokens").await;
    scene.still_shows(8.0).await;
    scene.sql("ALTER TABLE ai_log_usage ALTER COLUMN prompt_tokens TYPE integer USING CASE WHEN prompt_tokens THEN 10 END").await;
    scene.source_is(1.0).await;
    scene.counted().await;
    let tokens = |scrape: &Scrape| (scrape.sum("ai_tokens_total", &[("token_type", "input")])? == 100.0).then_some(());
    scene.daemon.metric("the tokens of all ten rows", tokens).await;
    scene.ends_well().await;
}

/// A file system of a few megabytes; a shell unmounts it when the test ends, however it ends.
struct SmallDisk {
    shell: Child,
    dir: tempfile::TempDir,
}

impl SmallDisk {
    fn mount() -> Option<Self> {
        let dir = tempfile::Builder::new().prefix("modelwatch-disk-").tempdir_in("/tmp").unwrap();
        let mounted = is_root()
            && Command::new("mount")
                .args(["-t", "tmpfs", "-o", "size=6m", "modelwatch"])
                .arg(dir.path())
                .output()
                .unwrap()
                .status
                .success();
        if !mounted {
            skipped("a full disk needs root, to mount a small tmpfs");
            return None;
        }
        let mut shell = Command::new("/bin/sh");
        std::os::unix::process::CommandExt::process_group(&mut shell, 0);
        shell.args(["-c", "cat >/dev/null; umount -l \"$0\"; rmdir \"$0\""]).arg(dir.path());
        let shell = shell.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        Some(Self { shell, dir })
    }

    fn fill(&self) {
        let mut file = std::fs::File::create(self.dir.path().join("ballast")).unwrap();
        for size in [65_536, 1_024, 1] {
            while file.write_all(&vec![0; size]).is_ok() {}
        }
    }

    fn relieve(&self) {
        std::fs::remove_file(self.dir.path().join("ballast")).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        drop(self.shell.stdin.take());
        self.shell.wait().ok();
    }
}

#[tokio::test]
async fn a_full_disk_stops_counting_and_loses_nothing() {
    let Some(disk) = SmallDisk::mount() else { return };
    let Some(postgres) = Postgres::shared().await else { return };
    let database = postgres.database(CORA).await;
    execute(&mut database.connect().await, &insert(5)).await;
    let dir = tempfile::tempdir().unwrap();
    let state = disk.dir.path().join("modelwatch.db");
    let daemon = Daemon::spawn(&config(&database.url, &state.display().to_string()), dir.path()).await;
    all_counted(&daemon, 5).await;
    disk.fill();
    // The write-ahead log may have room left in what it has allocated: enough rows that it has not.
    let full = until(SOON, "a complaint about the disk", || async {
        execute(&mut database.connect().await, &insert(2_000)).await;
        let log = daemon.log().to_lowercase();
        (log.contains("full") || log.contains("no space")).then_some(log)
    });
    full.await;
    let written: i64 =
        sqlx::query_scalar("SELECT count(*) FROM ai_log_usage").fetch_one(&mut database.connect().await).await.unwrap();
    assert_eq!(daemon.get("/-/healthy", "").await.unwrap().0, 200);
    let shown = daemon.scrape().await.sum("ai_requests_total", &[]).unwrap();
    assert!(shown <= written as f64, "{shown} of {written}");
    // Shown is stored: also a kill now takes nothing back.
    daemon.kill9();
    disk.relieve();
    let daemon = Daemon::again(dir.path());
    daemon.ready().await;
    assert!(daemon.scrape().await.sum("ai_requests_total", &[]).unwrap() >= shown);
    all_counted(&daemon, written as u32).await;

    disk.fill();
    until(SOON, "another complaint", || async {
        execute(&mut database.connect().await, &insert(2_000)).await;
        let log = daemon.log().to_lowercase();
        (log.contains("full") || log.contains("no space")).then_some(())
    })
    .await;
    // However often it was tried, what is shown after it is stored: a kill takes nothing back.
    let tries = |scrape: &Scrape| (scrape.sum("modelwatch_state_write_failures_total", &[])? >= 4.0).then_some(());
    daemon.metric("four tries to write the state", tries).await;
    disk.relieve();
    let written: i64 =
        sqlx::query_scalar("SELECT count(*) FROM ai_log_usage").fetch_one(&mut database.connect().await).await.unwrap();
    all_counted(&daemon, written as u32).await;
    execute(&mut database.connect().await, "DELETE FROM ai_log_usage").await;
    daemon.kill9();
    let daemon = Daemon::again(dir.path());
    daemon.ready().await;
    assert_eq!(daemon.scrape().await.sum("ai_requests_total", &[]), Some(written as f64));
    assert_calm(&daemon.terminate().await);
}

/// PRAGMA user_version is the version of the state file.
async fn check_version(version: i64, said: &str) {
    let dir = tempfile::tempdir().unwrap();
    let config = on_sqlite(dir.path()).await;
    Daemon::spawn(&config, dir.path()).await.terminate().await;
    let state = dir.path().join("modelwatch.db");
    let mut connection = sqlite::open(&state).await;
    sqlite::execute(&mut connection, &format!("PRAGMA user_version = {version}; PRAGMA wal_checkpoint(TRUNCATE)")).await;
    connection.close().await.unwrap();
    let before = std::fs::read(&state).unwrap();
    let refused = output(dir.path(), &["run", "-c", "modelwatch.yml"]);
    assert!(refused.code.is_some_and(|code| code != 0), "{:?}: {}", refused.code, refused.stderr);
    assert!(refused.stderr.contains(said) && refused.stderr.contains(&format!("version {version}")), "{}", refused.stderr);
    assert!(!refused.stderr.contains("panicked"), "{}", refused.stderr);
    assert_eq!(std::fs::read(&state).unwrap(), before, "the state file was changed");
}

#[tokio::test]
async fn a_state_file_of_another_version_is_left_alone() {
    check_version(9999, "newer").await;
    check_version(1, "before the first release").await;
}

#[tokio::test]
async fn a_state_file_that_is_no_database_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("modelwatch.yml"), on_sqlite(dir.path()).await).unwrap();
    let garbage = b"this is somebody's letter, not a database\n".repeat(200);
    std::fs::write(dir.path().join("modelwatch.db"), &garbage).unwrap();
    let refused = output(dir.path(), &["run", "-c", "modelwatch.yml"]);
    assert!(refused.code.is_some_and(|code| code != 0), "{}", refused.stderr);
    assert!(refused.stderr.contains("modelwatch.db") && !refused.stderr.contains("panicked"), "{}", refused.stderr);
    assert_eq!(std::fs::read(dir.path().join("modelwatch.db")).unwrap(), garbage);
}

/// The last good rules stay in force, and the fault is said in the answer, in the log and in a metric.
#[tokio::test]
async fn a_broken_rule_file_keeps_the_last_good_rules() {
    let dir = tempfile::tempdir().unwrap();
    let config = on_sqlite(dir.path()).await.replace("sources:", "rule_files: [rules.yml]\nsources:");
    let rules = dir.path().join("rules.yml");
    let good = "groups: [{name: a, rules: [{alert: A, error_spike: {more_than: 1, within: 1h}}]}]\n";
    std::fs::write(&rules, good).unwrap();
    let daemon = Daemon::spawn(&config, dir.path()).await;
    let loaded =
        |good: f64| move |scrape: &Scrape| (scrape.sum("modelwatch_config_last_reload_successful", &[])? == good).then_some(());
    daemon.metric("a good first load", loaded(1.0)).await;
    std::fs::write(&rules, good.replace("more_than", "mroe_than")).unwrap();
    let (status, answer) = daemon.post("/-/reload").await;
    assert!(status >= 400 && answer.contains("rules.yml") && answer.contains("more_than"), "{status} {answer}");
    daemon.metric("a failed reload", loaded(0.0)).await;
    daemon.logged("mroe_than").await;
    assert_eq!(daemon.scrape().await.sum("modelwatch_rules", &[]), Some(1.0));
    let found = check(&config, dir.path());
    assert_eq!(found.code, Some(1));
    assert!(found.stdout.contains("rules.yml:1:") || found.stderr.contains("rules.yml:1:"), "{}{}", found.stdout, found.stderr);
    std::fs::write(&rules, good).unwrap();
    daemon.hang_up();
    daemon.metric("a reload by SIGHUP", loaded(1.0)).await;
    assert_calm(&daemon.terminate().await);
}

async fn on_sqlite(dir: &Path) -> String {
    let file = dir.join("source.db");
    let mut connection = sqlite::open(&file).await;
    sqlite::execute(&mut connection, sqlite::CORA).await;
    connection.close().await.unwrap();
    config(&sqlite::url(&file), "modelwatch.db")
}

#[test]
fn a_small_disk_fills_and_is_relieved() {
    let Some(disk) = SmallDisk::mount() else { return };
    disk.fill();
    let full = std::fs::write(disk.dir.path().join("more"), "more").unwrap_err();
    assert_eq!(full.kind(), std::io::ErrorKind::StorageFull);
    disk.relieve();
    std::fs::write(disk.dir.path().join("more"), "more").unwrap();
    let path = disk.dir.path().to_owned();
    drop(disk);
    let gone = std::time::Instant::now();
    while path.exists() {
        assert!(gone.elapsed() < Duration::from_secs(5), "{} is still mounted", path.display());
    }
}
