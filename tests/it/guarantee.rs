//! The resolve guarantee, end to end: whoever was told that something fires is told that it stopped, whatever came between.
//!
//! First one thing at a time, with a rule over a table of calls; then a random walk of alerts that others post, silences,
//! configurations, receivers that fail, and SIGKILLs.

use crate::daemon::{Daemon, SOON, client};
use crate::ground::{Chance, until};
use crate::receiver::{Behaviour, OK, Receiver};
use crate::sqlite;
use serde_json::{Value, json};
use sqlx::{Connection, SqliteConnection};
use std::collections::BTreeMap;
use std::time::Duration;

const CALLS: &str = "CREATE TABLE calls (id integer PRIMARY KEY, at text NOT NULL, model text NOT NULL, ok boolean NOT NULL); CREATE INDEX calls_at ON calls (at)";
const RULES: &str = "groups:
  - name: calls
    interval: 1s
    rules:
      - {alert: CallsFail, failure_streak: {in_a_row: 1, by: [model]}, labels: {team: models}}
";
const ROUTE: &str = "routes: [{receiver: oncall, matchers: [team=models]}]";
const FOR_EVER: &str = "time_intervals: [{name: always, time_intervals: [{years: ['2000:2200']}]}]";

/// A daemon over a table of calls, and two receivers.
struct Scene {
    daemon: Daemon,
    oncall: Receiver,
    lead: Receiver,
    calls: SqliteConnection,
    dir: tempfile::TempDir,
}

/// What a receiver was told about one model.
fn told(receiver: &Receiver, model: &str) -> Vec<String> {
    let mut told = Vec::new();
    for request in receiver.accepted() {
        let body: Value = serde_json::from_str(&request.body).unwrap();
        let of = body["alerts"].as_array().unwrap().iter().filter(|alert| alert["labels"]["model"] == model);
        told.extend(of.map(|alert| alert["status"].as_str().unwrap().to_owned()));
    }
    told
}

async fn hears(receiver: &Receiver, model: &str, expected: &[&str]) {
    let heard = || async { (told(receiver, model) == expected).then_some(()) };
    let waited = tokio::time::timeout(SOON, until(Duration::MAX, "messages", heard)).await;
    waited.unwrap_or_else(|_| panic!("{model}: {:?} instead of {expected:?}", told(receiver, model)));
}

async fn call(calls: &mut SqliteConnection, model: &str, ok: bool) {
    let insert = "INSERT INTO calls (at, model, ok) VALUES (strftime('%Y-%m-%d %H:%M:%f', 'now'), $1, $2)";
    sqlx::query(insert).bind(model).bind(ok).execute(calls).await.unwrap();
}

impl Scene {
    /// The model `gpt` fails, and oncall was told.
    async fn told() -> Self {
        Self::told_under("").await
    }

    async fn told_under(more: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (oncall, lead) = (Receiver::start(&[]), Receiver::start(&[]));
        let mut calls = sqlite::open(&dir.path().join("calls.db")).await;
        sqlite::execute(&mut calls, CALLS).await;
        std::fs::write(dir.path().join("rules.yml"), RULES).unwrap();
        let config = config(&dir, &oncall, &lead, ROUTE, more);
        let daemon = Daemon::spawn(&config, dir.path()).await;
        let mut scene = Self { daemon, oncall, lead, calls, dir };
        scene.call("gpt", false).await;
        hears(&scene.oncall, "gpt", &["firing"]).await;
        // Who is killed before that tells it again.
        let noted = |scrape: &crate::scrape::Scrape| scrape.sum("modelwatch_deliveries_total", &[("outcome", "delivered")]);
        scene.daemon.metric("the delivery to be noted", noted).await;
        scene
    }

    async fn call(&mut self, model: &str, ok: bool) {
        call(&mut self.calls, model, ok).await;
    }

    async fn reload(&self, routes: &str, more: &str) {
        std::fs::write(self.dir.path().join("modelwatch.yml"), config(&self.dir, &self.oncall, &self.lead, routes, more))
            .unwrap();
        let (status, said) = self.daemon.post("/-/reload").await;
        assert_eq!(status, 200, "{said}");
    }

    /// `gpt` works again: oncall is told, and once only.
    async fn ends(mut self) {
        self.call("gpt", true).await;
        hears(&self.oncall, "gpt", &["firing", "resolved"]).await;
        let log = self.daemon.terminate().await;
        assert!(!log.contains("panicked"), "{log}");
        assert_eq!(told(&self.oncall, "gpt"), ["firing", "resolved"]);
        self.calls.close().await.unwrap();
    }
}

fn config(dir: &tempfile::TempDir, oncall: &Receiver, lead: &Receiver, routes: &str, more: &str) -> String {
    format!(
        "listen: 127.0.0.1:0
state: modelwatch.db
watch: false
rule_files: [rules.yml]
{more}
sources:
  - name: calls
    url: '{}'
    poll: 200ms
    tables: [{{name: calls, from: calls, id: id, time: at, dimensions: {{model: model}}, success: ok, lateness: 5s}}]
route:
  receiver: lead
  group_by: ['...']
  group_wait: 0s
  group_interval: 1s
  repeat_interval: 4h
  {routes}
receivers:
  - {{name: oncall, webhook_configs: [{{url: '{}'}}]}}
  - {{name: lead, webhook_configs: [{{url: '{}'}}]}}
",
        sqlite::url(&dir.path().join("calls.db")),
        oncall.url("/"),
        lead.url("/")
    )
}

async fn post(daemon: &Daemon, path: &str, body: &Value) -> (u16, String) {
    let url = format!("http://{}{path}", daemon.address().unwrap());
    let answer = client().post(url).header("Content-Type", "application/json").body(body.to_string()).send().await.unwrap();
    (answer.status().as_u16(), answer.text().await.unwrap())
}

fn silence(matchers: Value) -> Value {
    let at = |minutes: i64| (jiff::Timestamp::now() + jiff::SignedDuration::from_mins(minutes)).to_string();
    json!({ "matchers": matchers, "startsAt": at(0), "endsAt": at(60), "createdBy": "tester", "comment": "test" })
}

#[tokio::test]
async fn after_a_silence() {
    let mut scene = Scene::told().await;
    let all = json!([{ "name": "alertname", "value": "CallsFail", "isRegex": false, "isEqual": true }]);
    let (status, said) = post(&scene.daemon, "/api/v2/silences", &silence(all)).await;
    assert_eq!(status, 200, "{said}");
    // It holds: of another model nobody hears.
    scene.call("claude", false).await;
    scene.daemon.metric("the other alert", |scrape| scrape.find("ALERTS", &[("model", "claude")]).next().map(drop)).await;
    scene.call("gpt", true).await;
    hears(&scene.oncall, "gpt", &["firing", "resolved"]).await;
    assert_eq!(told(&scene.oncall, "claude"), [] as [&str; 0]);
    scene.ends().await;
}

#[tokio::test]
async fn after_it_was_routed_elsewhere() {
    let scene = Scene::told().await;
    scene.reload("routes: [{receiver: lead, matchers: [team=models]}]", "").await;
    // For oncall it is over as soon as it is somebody else's.
    hears(&scene.oncall, "gpt", &["firing", "resolved"]).await;
    hears(&scene.lead, "gpt", &["firing"]).await;
    let Scene { mut calls, lead, daemon, oncall, .. } = scene;
    call(&mut calls, "gpt", true).await;
    hears(&lead, "gpt", &["firing", "resolved"]).await;
    daemon.terminate().await;
    assert_eq!(told(&oncall, "gpt"), ["firing", "resolved"]);
    calls.close().await.unwrap();
}

#[tokio::test]
async fn after_its_rule_was_deleted() {
    let scene = Scene::told().await;
    std::fs::write(scene.dir.path().join("rules.yml"), RULES.replace("CallsFail", "CallsFailAnew")).unwrap();
    scene.reload(ROUTE, "").await;
    let over = || async { (told(&scene.oncall, "gpt").contains(&"resolved".to_owned())).then_some(()) };
    until(SOON, "the end of what no rule finds any more", over).await;
}

/// Another integration stands before the one that was told: each hears what it has begun to hear.
async fn after_another_came_first(restart: bool, semantics: &str) {
    let mut scene = Scene::told_under(semantics).await;
    let newcomer = Receiver::start(&[]);
    scene.call("claude", false).await;
    scene.call("llama", false).await;
    hears(&scene.oncall, "claude", &["firing"]).await;
    hears(&scene.oncall, "llama", &["firing"]).await;
    scene.call("llama", true).await;
    hears(&scene.oncall, "llama", &["firing", "resolved"]).await;
    let (old, new) = (scene.oncall.url("/"), newcomer.url("/"));
    let config = config(&scene.dir, &scene.oncall, &scene.lead, ROUTE, semantics);
    let config = config.replace(&format!("{{url: '{old}'}}"), &format!("{{url: '{new}'}}, {{url: '{old}'}}"));
    assert!(config.contains(&new));
    if restart {
        let log = scene.daemon.terminate().await;
        assert!(!log.contains("panicked"), "{log}");
        call(&mut scene.calls, "gpt", true).await;
        scene.daemon = Daemon::spawn(&config, scene.dir.path()).await;
    } else {
        std::fs::write(scene.dir.path().join("modelwatch.yml"), config).unwrap();
        let (status, said) = scene.daemon.post("/-/reload").await;
        assert_eq!(status, 200, "{said}");
        hears(&newcomer, "gpt", &["firing"]).await;
        scene.call("gpt", true).await;
        hears(&newcomer, "gpt", &["firing", "resolved"]).await;
    }
    hears(&scene.oncall, "gpt", &["firing", "resolved"]).await;
    hears(&newcomer, "claude", &["firing"]).await;
    scene.call("claude", true).await;
    hears(&scene.oncall, "claude", &["firing", "resolved"]).await;
    hears(&newcomer, "claude", &["firing", "resolved"]).await;
    assert_eq!(told(&newcomer, "llama"), [] as [&str; 0]);
    let log = scene.daemon.terminate().await;
    assert!(!log.contains("panicked"), "{log}");
    scene.calls.close().await.unwrap();
}

#[tokio::test]
async fn after_another_came_first_by_a_reload() {
    after_another_came_first(false, "").await;
}

#[tokio::test]
async fn after_another_came_first_at_a_restart() {
    after_another_came_first(true, "").await;
}

#[tokio::test]
async fn after_another_came_first_as_alertmanager_has_it() {
    after_another_came_first(false, "compatibility: alertmanager").await;
}

#[tokio::test]
async fn after_its_route_was_deleted() {
    let scene = Scene::told().await;
    scene.reload("routes: []", "").await;
    hears(&scene.oncall, "gpt", &["firing", "resolved"]).await;
    hears(&scene.lead, "gpt", &["firing"]).await;
}

#[tokio::test]
async fn after_its_route_was_muted() {
    let scene = Scene::told().await;
    let muted = "routes: [{receiver: oncall, matchers: [team=models], mute_time_intervals: [always]}]";
    scene.reload(muted, FOR_EVER).await;
    scene.ends().await;
}

#[tokio::test]
async fn after_it_was_inhibited() {
    let scene = Scene::told().await;
    scene.reload(ROUTE, "inhibit_rules: [{source_matchers: [alertname=Outage], target_matchers: [alertname=CallsFail]}]").await;
    let (status, said) = post(&scene.daemon, "/api/v2/alerts", &json!([{ "labels": { "alertname": "Outage" } }])).await;
    assert_eq!(status, 200, "{said}");
    until(SOON, "lead to hear of the outage", || async { (!scene.lead.accepted().is_empty()).then_some(()) }).await;
    scene.ends().await;
}

#[tokio::test]
async fn after_it_was_killed_and_the_end_came_meanwhile() {
    let Scene { daemon, oncall, lead, mut calls, dir } = Scene::told().await;
    daemon.kill9();
    call(&mut calls, "gpt", true).await;
    let daemon = Daemon::again(dir.path());
    daemon.ready().await;
    Scene { daemon, oncall, lead, calls, dir }.ends().await;
}

/// Configurations of the random walk; receivers are r0, r1 and r2.
const WALKS: [&str; 6] = [
    "route: {receiver: r0, group_by: [alertname], group_interval: 1s}",
    "route: {receiver: r0, group_by: ['...'], group_interval: 1s, routes: [{receiver: r1, matchers: ['org=~\"[12]\"'], continue: true}, {receiver: r2, matchers: [alertname=A]}]}",
    "route: {receiver: r1, group_by: [org], group_interval: 2s, routes: [{matchers: [alertname=B], mute_time_intervals: [always]}]}",
    "route: {receiver: r2, group_interval: 1s, routes: [{receiver: r0, matchers: [org=1], active_time_intervals: [always]}]}",
    "route: {receiver: r2, group_by: [alertname], group_interval: 1s}
inhibit_rules: [{source_matchers: [alertname=A], target_matchers: [alertname!=A], equal: [org]}]",
    "route: {receiver: r0, group_by: [alertname], group_wait: 1s, group_interval: 1s, repeat_interval: 3s, routes: [{receiver: r1, matchers: [org!=1], repeat_interval: 2s}]}",
];

struct Walk {
    daemon: Option<Daemon>,
    receivers: Vec<Receiver>,
    dir: tempfile::TempDir,
    silences: Vec<String>,
    chance: Chance,
}

/// Who thinks that what fires: the receiver, the group, the alert.
type Believed = (usize, String, String);

impl Walk {
    fn daemon(&self) -> &Daemon {
        self.daemon.as_ref().unwrap()
    }

    fn config(&mut self) -> String {
        let receiver = |(number, receiver): (usize, &Receiver)| {
            format!("  - {{name: r{number}, webhook_configs: [{{url: '{}'}}]}}\n", receiver.url("/"))
        };
        let receivers: String = self.receivers.iter().enumerate().map(receiver).collect();
        let route = *self.chance.pick(&WALKS);
        format!("listen: 127.0.0.1:0\nstate: modelwatch.db\nwatch: false\n{FOR_EVER}\n{route}\nreceivers:\n{receivers}")
    }

    fn some_alerts(&mut self) -> Vec<Value> {
        let mut some = Vec::new();
        for alertname in ["A", "B", "C"] {
            for org in ["1", "2", "3"] {
                if self.chance.percent(25) {
                    some.push(json!({ "alertname": alertname, "org": org }));
                }
            }
        }
        some
    }

    async fn post_alerts(&self, alerts: Vec<Value>, over: bool) {
        let now = jiff::Timestamp::now();
        let ends = if over { now } else { now + jiff::SignedDuration::from_mins(10) };
        let alerts: Vec<Value> =
            alerts.into_iter().map(|labels| json!({ "labels": labels, "endsAt": ends.to_string() })).collect();
        let (status, said) = post(self.daemon(), "/api/v2/alerts", &json!(alerts)).await;
        assert_eq!(status, 200, "{said}");
    }

    async fn step(&mut self) {
        match self.chance.below(10) {
            0..3 => {
                let alerts = self.some_alerts();
                self.post_alerts(alerts, false).await;
            }
            3..5 => {
                let alerts = self.some_alerts();
                self.post_alerts(alerts, true).await;
            }
            5 => {
                let matcher =
                    json!([{ "name": "org", "value": *self.chance.pick(&["1", "2", "3"]), "isRegex": false, "isEqual": true }]);
                let (status, said) = post(self.daemon(), "/api/v2/silences", &silence(matcher)).await;
                assert_eq!(status, 200, "{said}");
                let id = serde_json::from_str::<Value>(&said).unwrap()["silenceID"].as_str().unwrap().to_owned();
                self.silences.push(id);
            }
            6 => {
                if let Some(id) = self.silences.pop() {
                    let url = format!("http://{}/api/v2/silence/{id}", self.daemon().address().unwrap());
                    assert_eq!(client().delete(url).send().await.unwrap().status(), 200);
                }
            }
            7 => {
                let config = self.config();
                std::fs::write(self.dir.path().join("modelwatch.yml"), config).unwrap();
                let (status, said) = self.daemon().post("/-/reload").await;
                assert_eq!(status, 200, "{said}");
            }
            8 => {
                let script = [OK, Behaviour::Answer(500, "no"), Behaviour::Reset, Behaviour::Answer(400, "no")];
                let script: Vec<Behaviour> = (0..3).map(|_| self.chance.pick(&script).clone()).collect();
                let number = self.chance.below(3) as usize;
                self.receivers[number].script(&script);
            }
            _ => {
                self.daemon.take().unwrap().kill9();
                let daemon = Daemon::again(self.dir.path());
                daemon.ready().await;
                self.daemon = Some(daemon);
            }
        }
        let pause = self.chance.millis(0, 900);
        tokio::time::sleep(pause).await;
    }

    /// What receivers take for firing; what a reset cut off may have been read.
    fn believed(&self) -> Vec<Believed> {
        let mut believed: BTreeMap<Believed, bool> = BTreeMap::new();
        for (number, receiver) in self.receivers.iter().enumerate() {
            for request in receiver.requests() {
                let body: Value = serde_json::from_str(&request.body).unwrap();
                for alert in body["alerts"].as_array().unwrap() {
                    let key = (number, body["groupKey"].to_string(), alert["labels"].to_string());
                    match (alert["status"] == "firing", request.answered == OK) {
                        (firing, true) => drop(believed.insert(key, firing)),
                        (true, false) if request.answered == Behaviour::Reset => drop(believed.insert(key, true)),
                        _ => {}
                    }
                }
            }
        }
        believed.into_iter().filter(|(_, firing)| *firing).map(|(key, _)| key).collect()
    }
}

#[tokio::test]
async fn after_a_random_walk() {
    let dir = tempfile::tempdir().unwrap();
    let receivers = (0..3).map(|_| Receiver::start(&[])).collect();
    let mut walk = Walk { daemon: None, receivers, dir, silences: Vec::new(), chance: Chance::announced() };
    let config = walk.config();
    walk.daemon = Some(Daemon::spawn(&config, walk.dir.path()).await);
    for _ in 0..40 {
        walk.step().await;
    }
    let all = ["A", "B", "C"].iter().flat_map(|name| ["1", "2", "3"].map(|org| json!({ "alertname": name, "org": org })));
    walk.post_alerts(all.collect(), true).await;
    walk.receivers.iter().for_each(|receiver| receiver.script(&[]));
    let told = walk.receivers.iter().map(|receiver| receiver.accepted().len()).sum::<usize>();
    assert!(told > 5, "only {told} messages were told");
    let nobody = || async { walk.believed().is_empty().then_some(()) };
    let waited = tokio::time::timeout(SOON * 2, until(Duration::MAX, "resolves", nobody)).await;
    assert!(waited.is_ok(), "never told that it is over: {:#?}\n{}", walk.believed(), walk.daemon().log());
    let log = walk.daemon.take().unwrap().terminate().await;
    assert!(!log.contains("panicked"), "{log}");
}
