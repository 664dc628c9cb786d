//! Rules and configuration that change while modelwatch runs: read again by themselves, all files or none, and alerts go on.

use crate::daemon::{Daemon, SOON};
use crate::ground::until;
use crate::receiver::Receiver;
use crate::scrape::Scrape;
use crate::sqlite;
use serde_json::Value;
use sqlx::SqliteConnection;
use std::os::unix::fs::symlink;
use std::path::Path;

const CALLS: &str = "CREATE TABLE calls (id integer PRIMARY KEY, at text NOT NULL, model text NOT NULL, ok boolean NOT NULL); CREATE INDEX calls_at ON calls (at)";
const FAILURE: &str = "INSERT INTO calls (at, model, ok) VALUES (strftime('%Y-%m-%d %H:%M:%f', 'now'), 'gpt', 0)";
/// Polls in which the files are looked at more often than it takes to read them again.
const LOOKS: u32 = 30;

/// A daemon over a table of calls and the rule files `rules/*.yml`, with a webhook.
struct Scene {
    daemon: Daemon,
    receiver: Receiver,
    calls: SqliteConnection,
    dir: tempfile::TempDir,
}

fn config(dir: &Path, receiver: &Receiver, rule_files: &str, more: &str) -> String {
    format!(
        "listen: 127.0.0.1:0
state: modelwatch.db
rule_files: [{rule_files}]
{more}
sources:
  - name: calls
    url: '{}'
    poll: 200ms
    tables: [{{name: calls, from: calls, id: id, time: at, dimensions: {{model: model}}, success: ok, lateness: 5s}}]
export: {{dimensions: [model]}}
route: {{receiver: oncall, group_by: [alertname], group_wait: 0s, group_interval: 1s, repeat_interval: 4h}}
receivers: [{{name: oncall, webhook_configs: [{{url: '{}'}}]}}]
",
        sqlite::url(&dir.join("calls.db")),
        receiver.url("/hook")
    )
}

/// One group with rules that fire at the first failed call; each with what else it says.
fn rules(group: &str, rules: &[(&str, &str)]) -> String {
    let rule = |(name, more): &(&str, &str)| {
        format!("      - {{alert: {name}, error_spike: {{more_than: 0, within: 1h, by: [model]}}{more}}}\n")
    };
    format!("groups:\n  - name: {group}\n    interval: 1s\n    rules:\n{}", rules.iter().map(rule).collect::<String>())
}

/// As editors do it: the file is another one afterwards.
fn replace(path: &Path, text: &str) {
    let new = path.with_extension("new");
    std::fs::write(&new, text).unwrap();
    std::fs::rename(new, path).unwrap();
}

impl Scene {
    async fn start(text: &str, more: &str) -> Scene {
        let dir = tempfile::tempdir().unwrap();
        let receiver = Receiver::start(&[]);
        let mut calls = sqlite::open(&dir.path().join("calls.db")).await;
        sqlite::execute(&mut calls, CALLS).await;
        std::fs::create_dir(dir.path().join("rules")).unwrap();
        std::fs::write(dir.path().join("rules/a.yml"), text).unwrap();
        let daemon = Daemon::spawn(&config(dir.path(), &receiver, "rules/*.yml", more), dir.path()).await;
        Scene { daemon, receiver, calls, dir }
    }

    async fn fail(&mut self) {
        sqlite::execute(&mut self.calls, FAILURE).await;
    }

    fn write(&self, name: &str, text: &str) {
        replace(&self.dir.path().join("rules").join(name), text);
    }

    async fn state(&self, alert: &str, state: &str) {
        let labels = [("alertname", alert), ("alertstate", state)];
        self.daemon.metric(&format!("{alert} to be {state}"), |scrape| scrape.sum("ALERTS", &labels).map(drop)).await;
    }

    async fn since(&self, alert: &str) -> f64 {
        self.daemon.scrape().await.sum("ALERTS_FOR_STATE", &[("alertname", alert)]).unwrap_or_else(|| panic!("no {alert}"))
    }

    /// Waits until so many reloads have succeeded and failed.
    async fn reloads(&self, succeeded: f64, failed: f64) {
        self.daemon
            .metric(&format!("{succeeded} reloads and {failed} in vain"), |scrape| {
                (reloads(scrape) == (succeeded, failed)).then_some(())
            })
            .await;
    }

    /// `A firing`, in order of arrival.
    fn told(&self) -> Vec<String> {
        let told = |body: &str| {
            let body: Value = serde_json::from_str(body).unwrap();
            let alerts = body["alerts"].as_array().unwrap().clone();
            let one = |alert: &Value| {
                format!("{} {}", alert["labels"]["alertname"].as_str().unwrap(), alert["status"].as_str().unwrap())
            };
            alerts.iter().map(one).collect::<Vec<_>>()
        };
        self.receiver.accepted().iter().flat_map(|request| told(&request.body)).collect()
    }

    async fn is_told(&self, what: &str) {
        until(SOON, what, || async { self.told().contains(&what.to_owned()).then_some(()) }).await;
    }
}

fn reloads(scrape: &Scrape) -> (f64, f64) {
    let count = |outcome| scrape.sum("modelwatch_config_reloads_total", &[("outcome", outcome)]).unwrap();
    (count("success"), count("failure"))
}

#[tokio::test]
async fn a_rule_file_that_is_broken_changes_nothing_until_it_is_mended() {
    let mut scene = Scene::start(&rules("g", &[("A", "")]), "").await;
    scene.fail().await;
    scene.state("A", "firing").await;
    let since = scene.since("A").await;
    // One file is right and one is not: neither is taken.
    scene.write("b.yml", &rules("h", &[("B", "")]));
    scene.write("a.yml", &rules("g", &[("A", ", fro: 1m"), ("C", "")]));
    scene.reloads(0.0, 1.0).await;
    scene.daemon.polls(LOOKS).await;
    let scrape = scene.daemon.scrape().await;
    assert_eq!(reloads(&scrape), (0.0, 1.0), "it was tried again without a change");
    assert_eq!(scene.daemon.log().matches("unknown key `fro`").count(), 1);
    assert_eq!(scrape.sum("modelwatch_config_last_reload_successful", &[]), Some(0.0));
    assert_eq!(scrape.sum("modelwatch_rules", &[]), Some(1.0));
    scene.write("a.yml", &rules("g", &[("A", ", labels: {team: ml}"), ("C", "")]));
    scene.reloads(1.0, 1.0).await;
    scene.state("B", "firing").await;
    scene.state("C", "firing").await;
    // With another label it is another alert.
    scene.is_told("A resolved").await;
    assert!(scene.since("A").await > since);
    scene.daemon.terminate().await;
}

#[tokio::test]
async fn a_new_file_is_read_and_one_that_is_gone_is_resolved() {
    let mut scene = Scene::start(&rules("g", &[("A", "")]), "").await;
    scene.fail().await;
    scene.is_told("A firing").await;
    scene.write("b.test.yml", "these are tests");
    scene.write("b.yml", &rules("h", &[("B", "")]));
    scene.is_told("B firing").await;
    assert_eq!(reloads(&scene.daemon.scrape().await), (1.0, 0.0));
    std::fs::remove_file(scene.dir.path().join("rules/a.yml")).unwrap();
    scene.is_told("A resolved").await;
    assert_eq!(scene.told(), ["A firing", "B firing", "A resolved"]);
    let log = scene.daemon.terminate().await;
    assert_eq!(log.matches("files of the configuration have changed").count(), 2, "{log}");
}

/// What pends and what fires goes on as it was: where another rule changes, where the rule is moved to another group, and where
/// it changes so that the same alerts are found.
#[tokio::test]
async fn alerts_keep_their_state_over_reloads() {
    let mut scene = Scene::start(&rules("g", &[("A", ""), ("P", ", for: 1h")]), "").await;
    scene.fail().await;
    scene.is_told("A firing").await;
    scene.state("P", "pending").await;
    let before = (scene.since("A").await, scene.since("P").await);
    let changes = [
        rules("g", &[("A", ""), ("P", ", for: 1h"), ("B", ", for: 1h")]),
        rules("moved", &[("A", ""), ("P", ", for: 1h")]),
        rules("moved", &[("A", ", annotations: {summary: other}"), ("P", ", for: 2h")])
            .replace("more_than: 0", "more_than: 0, of: errors"),
    ];
    for (n, change) in changes.iter().enumerate() {
        scene.write("a.yml", change);
        scene.reloads(n as f64 + 1.0, 0.0).await;
        scene.fail().await;
        scene.daemon.polls(3).await;
        scene.state("A", "firing").await;
        scene.state("P", "pending").await;
        assert_eq!((scene.since("A").await, scene.since("P").await), before, "{change}");
    }
    assert_eq!(scene.told(), ["A firing"]);
    // It is still that alert, also after a restart.
    let Scene { daemon, receiver, calls, dir } = scene;
    daemon.kill9();
    let daemon = Daemon::again(dir.path());
    daemon.ready().await;
    let scene = Scene { daemon, receiver, calls, dir };
    scene.state("A", "firing").await;
    assert_eq!((scene.since("A").await, scene.since("P").await), before);
    scene.write("a.yml", &rules("moved", &[("P", ", for: 2h")]));
    scene.is_told("A resolved").await;
    assert_eq!(scene.told(), ["A firing", "A resolved"]);
    scene.daemon.terminate().await;
}

/// A volume of Kubernetes: every file is a link into `..data`, which is itself a link that is swapped.
#[tokio::test]
async fn a_config_map_is_swapped_as_a_whole() {
    let dir = tempfile::tempdir().unwrap();
    let receiver = Receiver::start(&[]);
    let mut calls = sqlite::open(&dir.path().join("calls.db")).await;
    sqlite::execute(&mut calls, CALLS).await;
    let at = |name: &str| dir.path().join(name);
    let version = |name: &str, rule: &str| {
        std::fs::create_dir(at(name)).unwrap();
        std::fs::write(at(name).join("modelwatch.yml"), config(dir.path(), &receiver, "rules_*.yml", "")).unwrap();
        std::fs::write(at(name).join("rules_a.yml"), rules("a", &[(rule, "")])).unwrap();
        std::fs::write(at(name).join("rules_b.yml"), rules("b", &[("B", "")])).unwrap();
    };
    version("..1", "A");
    symlink("..1", at("..data")).unwrap();
    for file in ["modelwatch.yml", "rules_a.yml", "rules_b.yml"] {
        symlink(Path::new("..data").join(file), at(file)).unwrap();
    }
    let daemon = Daemon::again(dir.path());
    daemon.ready().await;
    let mut scene = Scene { daemon, receiver, calls, dir };
    scene.fail().await;
    scene.state("A", "firing").await;
    let at = |name: &str| scene.dir.path().join(name);
    std::fs::create_dir(at("..2")).unwrap();
    for file in ["modelwatch.yml", "rules_b.yml"] {
        std::fs::copy(at("..1").join(file), at("..2").join(file)).unwrap();
    }
    std::fs::write(at("..2/rules_a.yml"), rules("a", &[("C", "")])).unwrap();
    symlink("..2", at("..new")).unwrap();
    std::fs::rename(at("..new"), at("..data")).unwrap();
    std::fs::remove_dir_all(at("..1")).unwrap();
    scene.state("C", "firing").await;
    let scrape = scene.daemon.scrape().await;
    assert_eq!((reloads(&scrape), scrape.sum("modelwatch_rules", &[])), ((1.0, 0.0), Some(2.0)));
    scene.is_told("A resolved").await;
    scene.daemon.terminate().await;
}

#[tokio::test]
async fn a_storm_of_reloads_loses_and_doubles_nothing() {
    let mut scene = Scene::start(&rules("g", &[("A", "")]), "").await;
    scene.fail().await;
    scene.is_told("A firing").await;
    let since = scene.since("A").await;
    let mut rows = 1;
    for n in 0..25 {
        for _ in 0..8 {
            scene.fail().await;
            rows += 1;
        }
        // A rule that comes and goes, with a window of its own that is filled from history.
        let more = format!("  - {{name: h, rules: [{{alert: N, error_spike: {{more_than: 100000, within: {}m}}}}]}}\n", n + 5);
        scene.write("a.yml", &(rules("g", &[("A", "")]) + if n % 2 == 0 { &more } else { "" }));
        match n % 3 {
            0 => scene.daemon.hang_up(),
            1 => assert_eq!(scene.daemon.post("/-/reload").await.0, 200),
            _ => {}
        }
    }
    let counted = |scrape: &Scrape| (scrape.sum("ai_requests_total", &[])? >= f64::from(rows)).then_some(());
    scene.daemon.metric("every row", counted).await;
    scene.daemon.polls(LOOKS).await;
    let scrape = scene.daemon.scrape().await;
    assert_eq!(scrape.sum("ai_requests_total", &[]), Some(f64::from(rows)));
    assert_eq!((scene.since("A").await, reloads(&scrape).1), (since, 0.0));
    assert_eq!(scene.told(), ["A firing"]);
    scene.daemon.terminate().await;
}

#[tokio::test]
async fn files_are_left_alone_where_that_is_asked() {
    let scene = Scene::start(&rules("g", &[("A", "")]), "watch: false").await;
    scene.write("a.yml", &rules("g", &[("A", ""), ("B", "")]));
    scene.daemon.polls(LOOKS).await;
    assert_eq!(reloads(&scene.daemon.scrape().await), (0.0, 0.0));
    // A reload that asks for it begins to watch.
    replace(&scene.dir.path().join("modelwatch.yml"), &config(scene.dir.path(), &scene.receiver, "rules/*.yml", "watch: true"));
    assert_eq!(scene.daemon.post("/-/reload").await.0, 200);
    scene.reloads(1.0, 0.0).await;
    scene.write("a.yml", &rules("g", &[("C", "")]));
    scene.reloads(2.0, 0.0).await;
    scene.daemon.terminate().await;
}
