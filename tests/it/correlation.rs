//! The example of `deploy/examples/correlation`: an outage of a provider, played by `backtest` through rules, routing and all,
//! with and without what the example is about. Its README quotes the table.

use crate::daemon::output;
use crate::sqlite;
use serde_json::Value;
use sqlx::Connection;
use std::path::{Path, PathBuf};

/// An hour and a half of two providers, a call each 10 s of each model and organisation. From 10:00 to 10:30 `openai`
/// fails, one model after another within four minutes: 8 models for 5 organisations. One model of `anthropic` fails for
/// one organisation at the same time, for reasons of its own.
const OUTAGE: &str = "
    CREATE TABLE calls (id integer PRIMARY KEY, at text, provider text, model text, org text, ok boolean, seconds real);
    CREATE INDEX calls_at ON calls (at);
    WITH RECURSIVE tick(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM tick WHERE n < 540),
    model(m) AS (SELECT 0 UNION ALL SELECT m + 1 FROM model WHERE m < 11),
    org(o) AS (SELECT 1 UNION ALL SELECT o + 1 FROM org WHERE o < 5),
    call AS (
        SELECT strftime('%Y-%m-%d %H:%M:%S', '2026-03-10 09:30:00', (n * 10 + (m * 7 + o * 3) % 10) || ' seconds') AS at, m, o,
            m < 8 AND n >= 180 + m * 3 AND n < 360 OR m = 9 AND o = 2 AND n >= 200 AND n < 260 AS down
        FROM tick, model, org)
    INSERT INTO calls (at, provider, model, org, ok, seconds)
    SELECT at, CASE WHEN m < 8 THEN 'openai' ELSE 'anthropic' END, 'model-' || m, 'org-' || o, NOT down,
        CASE WHEN down THEN 30.0 ELSE 1.5 END FROM call ORDER BY at";

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/examples/correlation")
}

/// How many messages a configuration sends about the outage, and how many alerts they name.
fn noise(dir: &Path, config: &str) -> (usize, usize) {
    std::fs::write(dir.join("modelwatch.yml"), config).unwrap();
    let span = ["--since", "2026-03-10T09:40:00Z", "--until", "2026-03-10T11:00:00Z"];
    let played = output(dir, &[&["backtest", "-c", "modelwatch.yml", "--format", "json"], &span[..]].concat());
    assert_eq!(played.code, Some(0), "{}", played.stderr);
    let report: Value = serde_json::from_str(&played.stdout).unwrap();
    let messages = report["messages"].as_array().unwrap();
    // 40 of openai by three rules, one of anthropic by the same, and the provider itself.
    assert_eq!(report["incidents"].as_array().unwrap().len(), 40 * 3 + 3 + 1);
    let told = messages.iter().map(|message| message["alerts"].as_array().unwrap().len()).sum();
    // Whatever is left out, both are told, and that they are over.
    for (name, value) in [("alertname", "ProviderDown"), ("provider", "anthropic")] {
        let about = |message: &&Value| message["alerts"].as_array().unwrap().iter().any(|alert| alert["labels"][name] == value);
        let kinds: Vec<&str> = messages.iter().filter(about).map(|message| message["kind"].as_str().unwrap()).collect();
        assert!(kinds.contains(&"firing") && kinds.contains(&"resolved"), "{value}: {kinds:?}");
    }
    (messages.len(), told)
}

#[tokio::test]
async fn an_outage_is_told_in_few_messages() {
    let dir = tempfile::tempdir().unwrap();
    let mut calls = sqlite::open(&dir.path().join("calls.db")).await;
    sqlite::execute(&mut calls, OUTAGE).await;
    calls.close().await.unwrap();
    let read = |name: &str| std::fs::read_to_string(folder().join(name)).unwrap();
    std::fs::write(dir.path().join("rules.yml"), read("rules.yml")).unwrap();
    let example = read("modelwatch.yml");
    let (begin, end) = (example.find("inhibit_rules:").unwrap(), example.find("receivers:").unwrap());
    let grouped = format!("{}{}", &example[..begin], &example[end..]);
    let apart = grouped.replace("group_by: [provider]", "group_by: ['...']").replace("group_wait: 1m", "group_wait: 0s");
    assert_ne!(apart, grouped);
    let mut table = "| | messages | alerts named in them |\n|---|---|---|\n".to_owned();
    for (what, config) in [
        ("each alert by itself", &apart),
        ("grouped by provider", &grouped),
        ("grouped, and inhibited while the provider is down", &example),
    ] {
        let (messages, told) = noise(dir.path(), config);
        table += &format!("| {what} | {messages} | {told} |\n");
    }
    println!("{table}");
    assert!(read("README.md").contains(&table), "README.md of the example should say:\n{table}");
}
