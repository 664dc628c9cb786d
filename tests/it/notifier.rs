//! Alerts that others post, beside our own: a real Prometheus takes modelwatch for its Alertmanager, and what a rule of ours
//! finds is served and told like what was posted.

use crate::daemon::{Daemon, SOON, client};
use crate::ground::{missing, program, stable_port, until};
use crate::receiver::{Behaviour, Receiver};
use crate::sqlite;
use serde_json::{Value, json};
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// A running Prometheus; killed when dropped.
struct Prometheus(Child);

impl Prometheus {
    /// It evaluates a rule over what it reads from `target`, each second, and tells `alertmanager`.
    fn start(dir: &Path, target: u16, alertmanager: &str) -> Self {
        let config = format!(
            "global: {{scrape_interval: 1s, evaluation_interval: 1s, external_labels: {{cluster: test}}}}
rule_files: [rules.yml]
alerting: {{alertmanagers: [{{static_configs: [{{targets: ['{alertmanager}']}}]}}]}}
scrape_configs: [{{job_name: target, static_configs: [{{targets: ['127.0.0.1:{target}']}}]}}]
"
        );
        let rules = "groups:
  - name: test
    rules:
      - alert: Faulty
        expr: fault > 0
        labels: {severity: page}
        annotations: {summary: '{{ $labels.job }} has {{ $value }} faults'}
";
        std::fs::write(dir.join("prometheus.yml"), config).unwrap();
        std::fs::write(dir.join("rules.yml"), rules).unwrap();
        let mut command = Command::new(program("prometheus").unwrap());
        command.args(["--config.file=prometheus.yml", "--storage.tsdb.path=data"]);
        command.arg(format!("--web.listen-address=127.0.0.1:{}", stable_port()));
        command.current_dir(dir).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        Self(command.spawn().unwrap())
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// A router alone: nothing to read, somebody to tell.
fn router(hook: &Receiver) -> String {
    format!(
        "listen: 127.0.0.1:0
state: modelwatch.db
route: {{receiver: oncall, group_by: [alertname], group_wait: 0s, group_interval: 1s}}
receivers: [{{name: oncall, webhook_configs: [{{url: '{}'}}]}}]
",
        hook.url("/")
    )
}

async fn told(hook: &Receiver, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    until(SOON, what, || async {
        let bodies = hook.accepted().into_iter().map(|request| serde_json::from_str::<Value>(&request.body).unwrap());
        bodies.filter(&wanted).last()
    })
    .await
}

async fn alerts(daemon: &Daemon, query: &str) -> Vec<Value> {
    let (status, content_type, body) = daemon.get(&format!("/api/v2/alerts{query}"), "").await.unwrap();
    assert_eq!((status, content_type.as_str()), (200, "application/json"), "{body}");
    serde_json::from_str(&body).unwrap()
}

async fn post(daemon: &Daemon, body: &Value) -> u16 {
    let url = format!("http://{}/api/v2/alerts", daemon.address().unwrap());
    let request = client().post(url).header("Content-Type", "application/json").body(body.to_string());
    request.send().await.unwrap().status().as_u16()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn prometheus_takes_it_for_its_alertmanager() {
    if program("prometheus").is_none() {
        return missing("prometheus");
    }
    let (dir, prometheus) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (hook, target) = (Receiver::start(&[]), Receiver::start(&[]));
    let says = |text: &'static str| target.script(&vec![Behaviour::Answer(200, text); 600]);
    says("fault 3\n");
    let daemon = Daemon::spawn(&router(&hook), dir.path()).await;
    let _prometheus = Prometheus::start(prometheus.path(), target.port, &daemon.address().unwrap());
    let firing = told(&hook, "the alert to fire", |body| body["status"] == "firing").await;
    let alert = &firing["alerts"][0];
    let labels = json!({
        "alertname": "Faulty",
        "cluster": "test",
        "instance": format!("127.0.0.1:{}", target.port),
        "job": "target",
        "severity": "page",
    });
    assert_eq!(alert["labels"], labels);
    assert_eq!(alert["annotations"], json!({ "summary": "target has 3 faults" }));
    let served = alerts(&daemon, "").await;
    assert_eq!((served.len(), &served[0]["labels"], &served[0]["status"]["state"]), (1, &labels, &json!("active")));
    assert!(served[0]["generatorURL"].as_str().unwrap().contains("/graph?g0.expr=fault"), "{served:?}");
    assert_eq!(alert["fingerprint"], served[0]["fingerprint"]);
    says("fault 0\n");
    let resolved = told(&hook, "the alert to be resolved", |body| body["status"] == "resolved").await;
    assert_eq!((&resolved["alerts"][0]["labels"], &resolved["groupKey"]), (&labels, &firing["groupKey"]));
    until(SOON, "it to be served no more", || async { alerts(&daemon, "").await.is_empty().then_some(()) }).await;
    // It is Prometheus' alert, so it is in Prometheus' ALERTS.
    assert!(!daemon.get("/metrics", "").await.unwrap().2.contains("Faulty"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn posted_alerts_outlive_a_kill() {
    let (dir, hook) = (tempfile::tempdir().unwrap(), Receiver::start(&[]));
    let daemon = Daemon::spawn(&router(&hook), dir.path()).await;
    let labels = json!({ "alertname": "Kept", "a.b": "any name", "e": "" });
    assert_eq!(post(&daemon, &json!([{ "labels": labels, "endsAt": "2040-01-01T00:00:00Z" }])).await, 200);
    let before = alerts(&daemon, "").await;
    assert_eq!((before.len(), &before[0]["labels"]), (1, &json!({ "alertname": "Kept", "a.b": "any name" })));
    told(&hook, "the alert to fire", |body| body["status"] == "firing").await;
    let delivered = [("outcome", "delivered")];
    daemon.metric("it to be delivered", |scrape| scrape.sum("modelwatch_deliveries_total", &delivered)).await;
    // That is counted before it is stored, and stored before anybody else gets the core.
    assert_eq!(alerts(&daemon, "").await, before);
    let dir = daemon.kill9();
    let daemon = Daemon::again(&dir);
    daemon.ready().await;
    assert_eq!(alerts(&daemon, "").await, before);
    assert_eq!(post(&daemon, &json!([{ "labels": labels, "endsAt": "2020-01-01T00:00:00Z" }])).await, 200);
    let resolved = told(&hook, "the alert to be resolved", |body| body["status"] == "resolved").await;
    assert_eq!(resolved["alerts"].as_array().unwrap().len(), 1);
    assert_eq!(alerts(&daemon, "").await, Vec::<Value>::new());
    let firing = hook.accepted().iter().filter(|request| !request.body.contains("resolved")).count();
    assert_eq!(firing, 1, "the kill made it new");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn alerts_of_rules_and_of_others_are_served_alike() {
    let (dir, hook) = (tempfile::tempdir().unwrap(), Receiver::start(&[]));
    let file = dir.path().join("calls.db");
    let mut calls = sqlite::open(&file).await;
    sqlite::execute(&mut calls, "CREATE TABLE calls (id integer PRIMARY KEY, at text, model text, ok boolean)").await;
    let rules =
        "groups: [{name: calls, interval: 1s, rules: [{alert: Fails, error_spike: {more_than: 1, within: 1h, by: [model]},
  labels: {team: ai}, annotations: {summary: '{{ $labels.model }} fails'}}]}]\n";
    std::fs::write(dir.path().join("rules.yml"), rules).unwrap();
    let source = format!(
        "rule_files: [rules.yml]
sources:
  - name: calls
    url: {}
    poll: 200ms
    tables: [{{name: calls, kind: usage, from: calls, id: id, time: at, dimensions: {{model: model}}, success: ok}}]
export: {{dimensions: [model]}}
",
        sqlite::url(&file)
    );
    let daemon = Daemon::spawn(&(router(&hook) + &source), dir.path()).await;
    let insert = "INSERT INTO calls (at, model, ok) VALUES (strftime('%Y-%m-%d %H:%M:%f', 'now'), 'gpt', 0)";
    for _ in 0..3 {
        sqlite::execute(&mut calls, insert).await;
    }
    until(SOON, "the rule's alert", || async { (!alerts(&daemon, "").await.is_empty()).then_some(()) }).await;
    // Somebody else finds the same, and something else.
    let (same, other) =
        (json!({ "alertname": "Fails", "model": "gpt", "team": "ai" }), json!({ "alertname": "Fails", "team": "web" }));
    assert_eq!(
        post(&daemon, &json!([{ "labels": same, "annotations": { "summary": "theirs" } }, { "labels": other }])).await,
        200
    );
    let mut served = alerts(&daemon, "?filter=alertname%3DFails").await;
    served.sort_by_key(|alert| alert["labels"]["team"].to_string());
    assert_eq!(served.iter().map(|alert| &alert["labels"]).collect::<Vec<_>>(), [&same, &other], "one of each label set");
    assert_eq!(served[0]["annotations"]["summary"], "gpt fails", "ours is the one that is shown");
    assert_eq!(served[0]["generatorURL"], format!("http://{}", daemon.address().unwrap()));
    assert!(served[0]["endsAt"].as_str() > served[0]["updatedAt"].as_str(), "{}", served[0]);
    for alert in &served {
        assert_eq!(alert["receivers"], json!([{ "name": "oncall" }]));
        assert_eq!(alert["status"]["state"], "active");
    }
    let both = told(&hook, "one message about both", |body| body["alerts"].as_array().unwrap().len() == 2).await;
    assert_eq!(both["groupLabels"], json!({ "alertname": "Fails" }));
    let summaries: Vec<&Value> =
        both["alerts"].as_array().unwrap().iter().map(|alert| &alert["annotations"]["summary"]).collect();
    assert!(summaries.contains(&&json!("gpt fails")) && !summaries.contains(&&json!("theirs")), "{summaries:?}");
    let groups = daemon.get("/api/v2/alerts/groups", "").await.unwrap().2;
    let groups: Value = serde_json::from_str(&groups).unwrap();
    assert_eq!((groups.as_array().unwrap().len(), groups[0]["alerts"].as_array().unwrap().len()), (1, 2), "{groups:#}");
    // Only ours are in our ALERTS.
    let scrape = daemon.get("/metrics", "").await.unwrap().2;
    assert_eq!(scrape.lines().filter(|line| line.starts_with("ALERTS{")).count(), 1, "{scrape}");
    assert!(scrape.contains("\nalertmanager_build_info{version=\"0.28.0\"} 1\n"), "karma asks for it");
}
