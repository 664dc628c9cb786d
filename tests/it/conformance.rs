//! Every kind of receiver that speaks HTTP behaves by the same table over a real connection: what is tried again and what is
//! not, timeouts, resets, redirects, answers without end, and receivers that repeat what is secret.
//!
//! One daemon that only routes, one server. Alerts are posted; each case is a group of its own, by its label `case`, which
//! tells the server how to behave. Mail has its own server in mail.rs. A kind that is new has to say here how it is
//! configured: the list of kinds is that of the code.

use crate::daemon::{Daemon, SOON};
use crate::ground::until;
use crate::receiver::{Behaviour, Receiver, Request};
use modelwatch::notify::KINDS;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::Write;
use std::process::{Command, Stdio};
use std::time::Duration;

/// Part of each URL, key or token; it may be seen nowhere.
const SECRET: &str = "s3cr3t-t0ken-0123456789";

/// What an answer means.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fate {
    Delivered,
    Again,
    Never,
}
use Fate::{Again, Delivered, Never};

/// A way to reach a receiver of some kind: its name, the kind, the integration.
struct Target {
    name: &'static str,
    kind: &'static str,
    config: String,
}

fn targets(receiver: &Receiver) -> Vec<Target> {
    let url = |path: &str| receiver.url(&format!("/{path}/{SECRET}"));
    let target = |name, kind, config: String| Target { name, kind, config };
    let mut targets = Vec::new();
    for kind in KINDS {
        let url = url(kind.name);
        let config = match kind.name {
            "slack" => format!("api_url: '{url}'"),
            "pagerduty" => format!("routing_key: {SECRET}, url: '{url}'"),
            "webhook" => format!("url: '{url}', hmac_secret: hmac-{SECRET}"),
            "alertmanager" => format!("urls: ['{url}'], refresh: 1h"),
            "discord" | "msteams" | "msteamsv2" => format!("webhook_url: '{url}'"),
            // They speak no HTTP.
            "stdout" | "email" => continue,
            other => panic!("say here how {other} is configured"),
        };
        targets.push(target(kind.name, kind.name, format!("{}: [{{{config}}}]", kind.key)));
    }
    let bot = receiver.url("/bot/api/chat.postMessage");
    targets.push(target("bot", "slack", format!("slack_configs: [{{bot_token: {SECRET}, channel: C1, api_url: '{bot}'}}]")));
    let authorized = "http_config: {authorization: {credentials: ".to_owned() + SECRET + "}}";
    targets.push(target(
        "authorized",
        "webhook",
        format!("webhook_configs: [{{url: '{}', {authorized}}}]", receiver.url("/authorized/x")),
    ));
    targets
}

fn config(targets: &[Target]) -> String {
    let routes = targets.iter().map(|target| format!("    - {{matchers: ['target=\"{0}\"'], receiver: {0}}}\n", target.name));
    let receivers = targets.iter().map(|target| format!("  - {{name: {}, {}}}\n", target.name, target.config));
    format!(
        "listen: 127.0.0.1:0
state: modelwatch.db
external_url: http://localhost:9464
route:
  receiver: nobody
  group_by: [target, case]
  group_wait: 0s
  group_interval: 1h
  routes:
{}receivers:
  - name: nobody
{}",
        routes.collect::<String>(),
        receivers.collect::<String>()
    )
}

fn alert(target: &str, case: &str, more: &[(&str, &str)], summary: &str) -> Value {
    let mut labels = json!({ "alertname": "Case", "severity": "high", "target": target, "case": case });
    for (name, value) in more {
        labels[*name] = (*value).into();
    }
    json!({ "labels": labels, "annotations": { "summary": summary }, "generatorURL": "http://prometheus/graph" })
}

async fn post(daemon: &Daemon, alerts: &[Value]) {
    let url = format!("http://{}/api/v2/alerts", daemon.address().unwrap());
    let body = serde_json::to_string(alerts).unwrap();
    let request = crate::daemon::client().post(url).header("content-type", "application/json").body(body);
    let answer = request.send().await.unwrap();
    assert_eq!(answer.status(), 200, "{}", answer.text().await.unwrap_or_default());
}

async fn get(daemon: &Daemon, path: &str) -> String {
    daemon.get(path, "*/*").await.map(|(_, _, body)| body).unwrap()
}

/// A status and what it means to a kind (SEMANTICS, section 3).
fn fate(kind: &str, status: u16) -> Fate {
    match (kind, status) {
        (_, 200..=299) => Delivered,
        (_, 429 | 500..) => Again,
        ("webhook" | "alertmanager", 408) => Again,
        _ => Never,
    }
}

/// The behaviours of the server by case, and what each means to a kind.
fn cases(target: &Target) -> Vec<(String, Behaviour, Fate)> {
    let statuses = [201, 204, 302, 400, 401, 403, 404, 408, 410, 413, 429, 500, 502, 503, 504];
    let mut cases: Vec<(String, Behaviour, Fate)> = statuses
        .map(|status| (format!("s{status}"), Behaviour::Answer(status, "no"), fate(target.kind, status)))
        .into_iter()
        .collect();
    let slack_is_strict = if target.kind == "slack" { Never } else { Delivered };
    cases.extend([
        ("reset".to_owned(), Behaviour::Reset, Again),
        ("hang".to_owned(), Behaviour::Hang, Again),
        ("redirect".to_owned(), Behaviour::Redirect("/stolen"), Never),
        ("flood400".to_owned(), Behaviour::Flood(400), Never),
        ("flood500".to_owned(), Behaviour::Flood(500), Again),
        ("echo400".to_owned(), Behaviour::Echo(400), Never),
        ("echo500".to_owned(), Behaviour::Echo(500), Again),
        ("empty200".to_owned(), Behaviour::Answer(200, ""), slack_is_strict),
        ("json200".to_owned(), Behaviour::Answer(200, r#"{"ok":false,"error":"invalid_auth"}"#), slack_is_strict),
        (
            "limited200".to_owned(),
            Behaviour::Answer(200, r#"{"ok":false,"error":"ratelimited"}"#),
            if target.kind == "slack" { Again } else { Delivered },
        ),
    ]);
    cases
}

/// Well received, by any kind.
fn well(target: &Target) -> Behaviour {
    let posted = r#"{"ok":true,"channel":"C1","ts":"1700000000.000100"}"#;
    Behaviour::Answer(200, if target.name == "bot" { posted } else { "ok" })
}

/// What arrived for a target and a case, without what a bot adds to its thread.
fn arrived(receiver: &Receiver, target: &str, case: &str) -> Vec<Request> {
    let of_case = |request: &Request| request.path.starts_with(&format!("/{target}/"));
    let marked = format!("case-{case}-x");
    let requests = receiver.requests().into_iter().filter(of_case);
    requests.filter(|request| request.body.contains(&marked) && !request.body.contains("thread_ts")).collect()
}

/// All there is to see of deliveries and alerts.
async fn shown(daemon: &Daemon) -> BTreeMap<&'static str, String> {
    let mut shown = BTreeMap::new();
    for path in
        ["/metrics", "/api/v1/deliveries?limit=1000", "/api/v1/groups", "/api/v1/alerts", "/api/v2/status", "/api/v2/receivers"]
    {
        shown.insert(path, get(daemon, path).await);
    }
    shown
}

#[tokio::test]
async fn every_kind_follows_the_table() {
    let receiver = Receiver::start(&[]);
    let targets = targets(&receiver);
    let mut alerts = Vec::new();
    for target in &targets {
        for (case, behaviour, _) in cases(target) {
            // Once so, and well from then on.
            receiver.when(&[&format!("/{}/", target.name), &format!("case-{case}-x")], &[behaviour, well(target)]);
            alerts.push(alert(target.name, &format!("case-{case}-x"), &[], "x"));
        }
    }
    let dir = tempfile::tempdir().unwrap();
    let daemon = Daemon::spawn(&config(&targets), dir.path()).await;
    post(&daemon, &alerts).await;
    // Slack takes a message a second, and the one that hangs ten seconds.
    until(SOON * 4, "an end of all deliveries", || async {
        let scrape = daemon.scrape().await;
        (scrape.sum("modelwatch_deliveries_queued", &[])? == 0.0 && receiver.requests().len() >= alerts.len()).then_some(())
    })
    .await;
    let mut faults = Vec::new();
    for target in &targets {
        for (case, _, fate) in cases(target) {
            let times = arrived(&receiver, target.name, &case).len();
            let expected = if fate == Again { 2 } else { 1 };
            if times != expected {
                faults.push(format!("{} {case}: {fate:?}, but it came {times} times", target.name));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    assert!(receiver.requests().iter().all(|request| !request.path.contains("stolen")), "a redirect was followed");

    let deliveries: Value = serde_json::from_str(&get(&daemon, "/api/v1/deliveries?limit=1000").await).unwrap();
    assert!(deliveries["deliveries"].as_array().unwrap().len() >= alerts.len());
    for (path, text) in shown(&daemon).await {
        assert!(!text.contains(SECRET), "a secret at {path}: {}", around(&text));
    }
    let state = dir.path().to_owned();
    let log = daemon.terminate().await;
    assert!(!log.contains(SECRET) && !log.contains("panicked"), "in the log: {}", around(&log));
    for file in std::fs::read_dir(state).unwrap().flatten().filter(|file| file.file_name() != "modelwatch.yml") {
        let bytes = std::fs::read(file.path()).unwrap();
        assert!(!String::from_utf8_lossy(&bytes).contains(SECRET), "a secret in {:?}", file.path());
    }
}

/// Where the secret, or a panic, stands in a text.
fn around(text: &str) -> &str {
    let at = text.find(SECRET).or(text.find("panicked")).unwrap_or_default();
    let (from, to) = (at.saturating_sub(200), (at + 200).min(text.len()));
    text.get(from..to).unwrap_or(text)
}

#[tokio::test]
async fn every_kind_gets_what_it_can_read_whatever_the_alerts_are() {
    let receiver = Receiver::start(&[]);
    let targets = targets(&receiver);
    let nasty =
        "<script>alert(1)</script> <!channel> @channel @everyone **b** [a](http://b) \u{1b}[31m\u{202e}\u{0} \"\\ é😀 {{ $x }}";
    let long = "0123456789<&>".repeat(1_500);
    let mut alerts = Vec::new();
    for target in &targets {
        receiver.when(&[&format!("/{}/", target.name)], &[well(target)]);
        alerts.push(alert(target.name, "case-nasty-x", &[("org", nasty), ("user", &long)], &format!("{nasty} {long}")));
        for number in 0..60 {
            alerts.push(alert(target.name, "case-many-x", &[("org", &format!("{number} {nasty}"))], nasty));
        }
    }
    let dir = tempfile::tempdir().unwrap();
    let daemon = Daemon::spawn(&config(&targets), dir.path()).await;
    post(&daemon, &alerts).await;
    for target in &targets {
        for case in ["nasty", "many"] {
            let found =
                until(SOON * 2, &format!("{} {case}", target.name), || async { arrived(&receiver, target.name, case).pop() })
                    .await;
            let _: Value = serde_json::from_str(&found.body).unwrap_or_else(|error| panic!("{}: {error}", target.name));
            if ["slack", "discord", "msteams", "msteamsv2"].contains(&target.kind) {
                for call in ["@channel", "@everyone", "\\u001b", "\u{202e}"] {
                    assert!(!found.body.contains(call), "{} {case}: {call} in {}", target.name, found.body);
                }
            }
            if ["slack", "msteams"].contains(&target.kind) {
                assert!(!found.body.contains("<!channel>") && !found.body.contains("<script>"), "{}", found.body);
            }
        }
    }
    assert!(!daemon.terminate().await.contains("panicked"));
}

/// A bot posts once, changes that message, and tells the thread; the message that was deleted is posted anew.
#[tokio::test]
async fn a_bot_keeps_one_message_for_each_incident() {
    let receiver = Receiver::start(&[]);
    let all = targets(&receiver);
    let bot: Vec<Target> = all.into_iter().filter(|target| target.name == "bot").collect();
    let gone = Behaviour::Answer(200, r#"{"ok":false,"error":"message_not_found"}"#);
    receiver.when(&["/chat.update", "case-gone-x"], &[gone]);
    receiver.when(&["/bot/"], &[well(&bot[0])]);
    let dir = tempfile::tempdir().unwrap();
    let config = config(&bot).replace("group_interval: 1h", "group_interval: 1s");
    let daemon = Daemon::spawn(&config, dir.path()).await;
    let steps = |case: &'static str| {
        let requests = receiver.requests().into_iter().filter(move |request| request.body.contains(&format!("case-{case}-x")));
        let step = |request: Request| {
            let body: Value = serde_json::from_str(&request.body).unwrap();
            assert!(request.head.to_lowercase().contains(&format!("authorization: bearer {SECRET}")), "{}", request.head);
            match (request.path.rsplit('/').next().unwrap(), body["thread_ts"].as_str()) {
                ("chat.update", _) => format!("update {}", body["ts"].as_str().unwrap()),
                (_, Some(ts)) => format!("reply {ts}"),
                _ => "post".to_owned(),
            }
        };
        requests.map(step).collect::<Vec<_>>()
    };
    for case in ["case-kept-x", "case-gone-x"] {
        post(&daemon, &[alert("bot", case, &[("org", "a")], case)]).await;
    }
    let two = || async { (steps("kept").len() == 1 && steps("gone").len() == 1).then_some(()) };
    until(SOON, "two messages", two).await;
    for case in ["case-kept-x", "case-gone-x"] {
        post(&daemon, &[alert("bot", case, &[("org", "b")], case)]).await;
    }
    let told = || async { (steps("kept").len() == 3 && steps("gone").len() == 3).then_some(()) };
    until(SOON, "what changed", told).await;
    let ts = "1700000000.000100";
    assert_eq!(steps("kept"), ["post".to_owned(), format!("update {ts}"), format!("reply {ts}")]);
    assert_eq!(steps("gone"), ["post".to_owned(), format!("update {ts}"), "post".to_owned()]);
    daemon.terminate().await;
}

/// Whoever has the secret can tell what we sent from what others send: Python, with nothing of ours.
#[tokio::test]
async fn python_verifies_what_a_webhook_signs() {
    let receiver = Receiver::start(&[]);
    let signed: Vec<Target> = targets(&receiver).into_iter().filter(|target| target.name == "webhook").collect();
    let dir = tempfile::tempdir().unwrap();
    let daemon = Daemon::spawn(&config(&signed), dir.path()).await;
    post(&daemon, &[alert("webhook", "case-signed-x", &[("org", "é \" \\")], "x")]).await;
    let request = until(SOON, "a signed request", || async { arrived(&receiver, "webhook", "signed").pop() }).await;
    daemon.terminate().await;
    let header = |name: &str| {
        let lines = request.head.lines().filter_map(|line| line.split_once(": "));
        lines.filter(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.to_owned()).next().unwrap()
    };
    let verify = "import hashlib, hmac, sys
timestamp, signature, secret = sys.argv[1:]
signed = timestamp.encode() + b'.' + sys.stdin.buffer.read()
expected = 'sha256=' + hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest()
sys.exit(0 if hmac.compare_digest(expected, signature) else 3)";
    let verified = |body: &str| {
        let (timestamp, signature) = (header("X-Modelwatch-Timestamp"), header("X-Modelwatch-Signature"));
        let mut python = Command::new("python3");
        python.args(["-c", verify, &timestamp, &signature, &format!("hmac-{SECRET}")]).stdin(Stdio::piped());
        let mut python = python.spawn().unwrap();
        python.stdin.take().unwrap().write_all(body.as_bytes()).unwrap();
        python.wait().unwrap().code()
    };
    assert_eq!(verified(&request.body), Some(0));
    assert_eq!(verified(&request.body.replace("case-signed-x", "case-forged-x")), Some(3));
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let timestamp = Duration::from_secs(header("X-Modelwatch-Timestamp").parse().unwrap());
    assert!(now.abs_diff(timestamp) < Duration::from_secs(60), "{timestamp:?}");
}
