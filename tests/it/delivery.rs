//! Every alert and every resolve arrives, however the receiver behaves, and the attempts follow the table of the receivers:
//! again after network faults, 5xx, 429 and (webhook) 408; never again after other 4xx; from 1 s, doubling, with jitter.

use crate::daemon::{Daemon, SOON};
use crate::ground::until;
use crate::receiver::{Behaviour, OK, Receiver, Request};
use crate::sqlite;
use serde_json::Value;
use sqlx::{Connection, SqliteConnection};
use std::path::Path;
use std::time::Duration;

/// Part of each receiver's URL or key; it may stand in no log.
const SECRET: &str = "s3cr3t-t0ken";

pub const CALLS: &str = "CREATE TABLE calls (id integer PRIMARY KEY, at text NOT NULL, model text NOT NULL, ok boolean NOT NULL); CREATE INDEX calls_at ON calls (at)";
pub const FAILURE: &str = "INSERT INTO calls (at, model, ok) VALUES (strftime('%Y-%m-%d %H:%M:%f', 'now'), 'gpt', 0)";

/// Seconds that failures stay in the window of the rule.
pub const WITHIN: u64 = 8;

/// A daemon over a SQLite table of calls, a rule that fires while calls fail, and one receiver.
struct Scene {
    daemon: Daemon,
    receiver: Receiver,
    calls: SqliteConnection,
    kind: Kind,
    dir: tempfile::TempDir,
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Webhook,
    Slack,
    Pagerduty,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum State {
    Firing,
    Resolved,
}

impl Kind {
    fn config(self, receiver: &Receiver) -> String {
        let url = receiver.url(&format!("/{SECRET}"));
        match self {
            Self::Webhook => format!("webhook_configs: [{{url: '{url}'}}]"),
            Self::Slack => format!("slack_configs: [{{api_url: '{url}', send_resolved: true}}]"),
            Self::Pagerduty => format!("pagerduty_configs: [{{routing_key: {SECRET}, url: '{}'}}]", receiver.url("/v2/enqueue")),
        }
    }

    /// What a body tells the person who is paged.
    fn state(self, request: &Request) -> State {
        let body: Value = serde_json::from_str(&request.body).unwrap_or_else(|error| panic!("{error}: {}", request.body));
        let word = match self {
            Self::Webhook => body["status"].as_str().unwrap().to_owned(),
            Self::Pagerduty => body["event_action"].as_str().unwrap().to_owned(),
            Self::Slack => request.body.to_lowercase(),
        };
        let resolved = matches!(self, Self::Slack) && word.contains("resolved");
        if resolved || word == "resolved" || word == "resolve" { State::Resolved } else { State::Firing }
    }
}

pub fn config(file: &Path, integrations: &str, group_interval: &str) -> String {
    format!(
        "listen: 127.0.0.1:0
state: modelwatch.db
external_url: http://localhost:9464
rule_files: [rules.yml]
sources:
  - name: calls
    url: {}
    poll: 200ms
    tables: [{{name: calls, kind: usage, from: calls, id: id, time: at, dimensions: {{model: model}}, success: ok, lateness: 5s}}]
export: {{dimensions: [model]}}
route: {{receiver: oncall, group_by: [alertname, model], group_wait: 0s, group_interval: {group_interval}, repeat_interval: 4h}}
receivers: [{{name: oncall, {integrations}}}]
",
        sqlite::url(file)
    )
}

pub fn write_rules(dir: &Path) {
    let rules = format!(
        "groups:
  - name: calls
    interval: 1s
    rules:
      - alert: CallsFail
        error_spike: {{more_than: 2, within: {WITHIN}s, by: [model]}}
        labels: {{severity: high}}
        annotations: {{summary: '{{{{ $labels.model }}}} fails'}}
"
    );
    std::fs::write(dir.join("rules.yml"), rules).unwrap();
}

impl Scene {
    async fn start(kind: Kind, script: &[Behaviour], group_interval: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let receiver = Receiver::start(script);
        let file = dir.path().join("calls.db");
        let mut calls = sqlite::open(&file).await;
        sqlite::execute(&mut calls, CALLS).await;
        let config = config(&file, &kind.config(&receiver), group_interval);
        write_rules(dir.path());
        let daemon = Daemon::spawn(&config, dir.path()).await;
        Self { daemon, receiver, calls, kind, dir }
    }

    async fn fail(&mut self, rows: u32) {
        for _ in 0..rows {
            sqlite::execute(&mut self.calls, FAILURE).await;
        }
    }

    fn arrived(&self) -> Vec<State> {
        self.receiver.accepted().iter().map(|request| self.kind.state(request)).collect()
    }

    /// Keeps the calls failing until `probe` holds, so that the alert cannot resolve before.
    async fn failing_until(&mut self, limit: Duration, what: &str, probe: impl Fn(&Self) -> bool) {
        let start = std::time::Instant::now();
        self.fail(3).await;
        while !probe(self) {
            assert!(start.elapsed() < limit, "waited {limit:?} in vain for: {what}\n{:#?}", self.receiver.requests());
            assert!(self.daemon.running(), "modelwatch ended:\n{}", self.daemon.log());
            tokio::time::sleep(Duration::from_millis(500)).await;
            self.fail(1).await;
        }
    }

    async fn resolved(&self) {
        let limit = Duration::from_secs(WITHIN) + SOON;
        until(limit, "the resolve to arrive", || async { self.arrived().contains(&State::Resolved).then_some(()) }).await;
    }

    /// The queue is empty, each state arrived exactly once, in order, and no log held a secret.
    async fn ends_well(mut self) {
        self.daemon
            .metric("an empty queue", |scrape| (scrape.sum("modelwatch_deliveries_queued", &[])? == 0.0).then_some(()))
            .await;
        assert_eq!(self.arrived(), [State::Firing, State::Resolved]);
        self.calls.close().await.unwrap();
        let log = self.daemon.terminate().await;
        assert!(!log.contains(SECRET), "a secret in the log:\n{log}");
        assert!(!log.contains("panicked"), "{log}");
        self.receiver.down();
    }
}

/// Seconds between each request and the one before.
fn gaps(requests: &[Request]) -> Vec<f64> {
    requests.windows(2).map(|pair| (pair[1].at - pair[0].at).as_secs_f64()).collect()
}

/// The attempts of the first delivery: as many as were scripted to fail, and one that was accepted.
async fn survives(kind: Kind, script: &[Behaviour], allowed: impl Fn(usize) -> std::ops::Range<f64>) {
    let mut scene = Scene::start(kind, script, "1s").await;
    let limit = SOON * 2;
    scene.failing_until(limit, "the alert to arrive", |scene| !scene.arrived().is_empty()).await;
    let attempts = scene.receiver.requests();
    assert_eq!(attempts.len(), script.len() + 1, "{attempts:#?}");
    for (number, gap) in gaps(&attempts).into_iter().enumerate() {
        assert!(allowed(number).contains(&gap), "attempt {} came after {gap:.2} s, not {:?}", number + 2, allowed(number));
    }
    scene.resolved().await;
    scene.ends_well().await;
}

/// From 1 s, doubling; half of it to one and a half as jitter, and time for a busy machine.
fn backoff(number: usize) -> std::ops::Range<f64> {
    let wait = 2_f64.powi(number as i32);
    wait * 0.45..wait * 1.55 + 2.0
}

#[tokio::test]
async fn a_webhook_that_answers_500_408_and_503() {
    let script = [500, 408, 503].map(|status| Behaviour::Answer(status, "no"));
    survives(Kind::Webhook, &script, backoff).await;
}

#[tokio::test]
async fn a_webhook_that_resets_connections() {
    survives(Kind::Webhook, &[Behaviour::Reset, Behaviour::Reset], backoff).await;
}

#[tokio::test]
async fn a_webhook_that_hangs_is_given_ten_seconds() {
    let allowed = |number| 10.0 + backoff(number).start..10.0 + backoff(number).end;
    survives(Kind::Webhook, &[Behaviour::Hang], allowed).await;
}

/// `Retry-After: 4`.
async fn obeys_retry_after(kind: Kind) {
    survives(kind, &[Behaviour::Busy(4)], |_| 3.9..8.0).await;
}

#[tokio::test]
async fn a_webhook_that_is_busy() {
    obeys_retry_after(Kind::Webhook).await;
}

#[tokio::test]
async fn a_slack_that_is_busy() {
    obeys_retry_after(Kind::Slack).await;
}

#[tokio::test]
async fn a_pagerduty_that_is_busy() {
    obeys_retry_after(Kind::Pagerduty).await;
}

#[tokio::test]
async fn a_slack_that_answers_500() {
    survives(Kind::Slack, &[Behaviour::Answer(500, "no")], backoff).await;
}

#[tokio::test]
async fn a_pagerduty_that_answers_500() {
    survives(Kind::Pagerduty, &[Behaviour::Answer(500, "no")], backoff).await;
}

/// A refusal is no reason to ask again at once; it is counted, and the next look at the group tries anew.
async fn refused(kind: Kind, refusal: Behaviour) {
    let mut scene = Scene::start(kind, &[refusal], "6s").await;
    scene.failing_until(SOON, "the alert to arrive", |scene| !scene.arrived().is_empty()).await;
    let gap = gaps(&scene.receiver.requests())[0];
    assert!(gap > 3.5, "tried again after {gap:.2} s: that is no group_interval");
    let failed = |scrape: &crate::scrape::Scrape| {
        let delivered: f64 = scrape.find("modelwatch_deliveries_total", &[]).map(|sample| sample.value).sum();
        let outcomes = scrape.by("modelwatch_deliveries_total", &["receiver", "outcome"]);
        (delivered >= 2.0 && outcomes.len() >= 2).then_some(())
    };
    scene.daemon.metric("the refusal and the success in modelwatch_deliveries_total", failed).await;
    scene.resolved().await;
    scene.ends_well().await;
}

#[tokio::test]
async fn a_webhook_that_refuses() {
    refused(Kind::Webhook, Behaviour::Answer(404, "no such hook")).await;
}

#[tokio::test]
async fn a_pagerduty_that_refuses() {
    refused(Kind::Pagerduty, Behaviour::Answer(400, "invalid")).await;
}

#[tokio::test]
async fn a_slack_that_refuses_with_a_200() {
    refused(Kind::Slack, Behaviour::Answer(200, "invalid_payload")).await;
}

/// Nobody reads stdout any more: what is printed there is tried again, like anything that does not arrive.
#[tokio::test]
async fn a_stdout_that_is_closed() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("calls.db");
    let mut calls = sqlite::open(&file).await;
    sqlite::execute(&mut calls, CALLS).await;
    write_rules(dir.path());
    let daemon = Daemon::unheard(&config(&file, "stdout_configs: [{}]", "1s"), dir.path());
    daemon.ready().await;
    for _ in 0..3 {
        sqlite::execute(&mut calls, FAILURE).await;
    }
    let retried = |scrape: &crate::scrape::Scrape| {
        (scrape.sum("modelwatch_deliveries_total", &[("outcome", "retried")])? >= 2.0).then_some(())
    };
    daemon.metric("a second attempt", retried).await;
    calls.close().await.unwrap();
    let log = daemon.terminate().await;
    assert!(log.contains("cannot write to stdout") && !log.contains("panicked"), "{log}");
}

/// Nobody listens when the alert fires, nor when it resolves, and modelwatch is killed meanwhile, more than once.
#[tokio::test]
async fn a_receiver_that_is_down_while_modelwatch_is_killed() {
    let queued = |scrape: &crate::scrape::Scrape| (scrape.sum("modelwatch_deliveries_queued", &[])? >= 1.0).then_some(());
    let mut scene = Scene::start(Kind::Webhook, &[], "1s").await;
    scene.receiver.down();
    scene.fail(3).await;
    scene.daemon.metric("a queued delivery", queued).await;
    for _ in 0..2 {
        scene = scene.killed_and_restarted().await;
        scene.fail(2).await;
        scene.daemon.metric("a delivery still queued", queued).await;
    }
    assert!(scene.receiver.requests().is_empty());
    scene.receiver.up();
    scene.failing_until(SOON, "the alert to arrive", |scene| !scene.arrived().is_empty()).await;

    scene.receiver.down();
    let resolved =
        |scrape: &crate::scrape::Scrape| scrape.find("ALERTS", &[("alertstate", "firing")]).next().is_none().then_some(());
    scene.daemon.metric("no firing alert", resolved).await;
    scene.daemon.metric("a queued resolve", queued).await;
    scene = scene.killed_and_restarted().await;
    scene.receiver.up();
    scene.resolved().await;
    scene.ends_well().await;
}

/// Killed between sending and recording: a receiver may see a notification twice, and never not at all.
#[tokio::test]
async fn a_kill_while_the_receiver_hangs() {
    let mut scene = Scene::start(Kind::Webhook, &[Behaviour::Hang], "1s").await;
    scene.failing_until(SOON, "a request that hangs", |scene| !scene.receiver.requests().is_empty()).await;
    scene = scene.killed_and_restarted().await;
    scene.failing_until(SOON, "the alert to arrive", |scene| !scene.arrived().is_empty()).await;
    scene.resolved().await;
    scene.receiver.script(&[OK]);
    scene.ends_well().await;
}

impl Scene {
    async fn killed_and_restarted(self) -> Self {
        self.daemon.kill9();
        let daemon = Daemon::again(self.dir.path());
        daemon.ready().await;
        Self { daemon, ..self }
    }
}
