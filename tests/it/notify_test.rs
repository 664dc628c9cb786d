//! `modelwatch notify-test` against a real HTTP peer.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::receiver::{Behaviour, OK, Receiver};

/// A token that nothing may show.
const TOKEN: &str = "t0ps3cr3t-token";

struct Said {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

/// The command over a configuration with a webhook and a PagerDuty at `peer`, and rules where they are given.
fn notify_test(folder: &Path, peer: &Receiver, arguments: &[&str]) -> Said {
    let config = format!(
        "route: {{receiver: oncall}}\n\
         receivers:\n\
         - name: oncall\n\
        \x20 pagerduty_configs: [{{routing_key: {TOKEN}, url: \"{0}\", description: '{{{{ .CommonLabels.alertname }}}} broke'}}]\n\
        \x20 webhook_configs: [{{url: \"{1}\"}}]\n\
         - name: quiet\n\
        \x20 webhook_configs: [{{url: \"{1}\", send_resolved: false}}]\n\
         rule_files: [rules/*.yml]\n\
         sources: [{{name: app, url: \"sqlite:calls.db\", tables: [{{name: calls, from: c, kind: usage, id: id, time: t, success: ok, dimensions: {{model: m}}}}]}}]\n",
        peer.url("/pagerduty"),
        peer.url(&format!("/hook/{TOKEN}?token={TOKEN}")),
    );
    std::fs::write(folder.join("modelwatch.yml"), config).unwrap();
    let binary = std::env::var_os("MODELWATCH_BIN").unwrap_or_else(|| env!("CARGO_BIN_EXE_modelwatch").into());
    let output = Command::new(binary).current_dir(folder).arg("notify-test").args(arguments).output().unwrap();
    let [stdout, stderr] = [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap());
    assert!(!stdout.contains(TOKEN) && !stderr.contains(TOKEN), "{stdout}{stderr}");
    Said { code: output.status.code(), stdout, stderr }
}

/// A folder with rules.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("rules")).unwrap();
    let rules = "groups: [{name: g, rules: [{alert: TooSlow, error_spike: {by: [model], more_than: 3, within: 1h}, \
                 labels: {severity: high}, annotations: {summary: '{{ $labels.model }} broke {{ $value }} times'}}]}]\n";
    std::fs::write(folder.path().join("rules/r.yml"), rules).unwrap();
    folder
}

#[test]
fn sends_and_says_what_was_answered() {
    let (folder, peer) = (folder(), Receiver::start(&[Behaviour::Answer(202, "{\"status\":\"success\"}"), OK]));
    let said = notify_test(folder.path(), &peer, &["oncall"]);
    assert_eq!(said.code, Some(0), "{}{}", said.stdout, said.stderr);
    let lines: Vec<&str> = said.stdout.lines().collect();
    let host = format!("POST http://127.0.0.1:{}/<secret>", peer.port);
    assert_eq!(
        lines,
        [
            format!("oncall pagerduty (1 of 2): {host}: answered 202 {{\"status\":\"success\"}}: delivered"),
            format!("oncall webhook (2 of 2): {host}: answered 200 ok: delivered"),
        ]
    );
    let [pagerduty, webhook] = peer.requests().try_into().unwrap();
    let event: Value = serde_json::from_str(&pagerduty.body).unwrap();
    assert_eq!((&event["event_action"], &event["routing_key"]), (&"trigger".into(), &TOKEN.into()));
    assert_eq!(event["payload"]["summary"], "TooSlow broke");
    let hook: Value = serde_json::from_str(&webhook.body).unwrap();
    assert_eq!(hook["alerts"][0]["annotations"]["summary"], "sample-model broke 12 times");
    assert_eq!((&hook["status"], &hook["receiver"]), (&"firing".into(), &"oncall".into()));

    let over = notify_test(folder.path(), &peer, &["oncall", "--resolved"]);
    assert_eq!(over.code, Some(0), "{}", over.stderr);
    let resolve: Value = serde_json::from_str(&peer.requests()[2].body).unwrap();
    assert_eq!((&resolve["event_action"], &resolve["dedup_key"]), (&"resolve".into(), &event["dedup_key"]));
}

#[test]
fn one_that_fails_fails_it() {
    let (folder, peer) = (folder(), Receiver::start(&[Behaviour::Answer(400, "bad t0ps3cr3t-token"), Behaviour::Reset]));
    let said = notify_test(folder.path(), &peer, &["oncall", "--firing"]);
    assert_eq!(said.code, Some(1), "{}", said.stderr);
    let lines: Vec<&str> = said.stdout.lines().collect();
    assert!(lines[0].ends_with("answered 400 bad <secret>: refused for good: status 400: bad <secret>"), "{}", lines[0]);
    assert!(lines[1].contains("no answer: failed, would be tried again: "), "{}", lines[1]);
}

#[test]
fn prints_the_bytes_and_sends_nothing() {
    let (folder, peer) = (folder(), Receiver::start(&[]));
    let said = notify_test(folder.path(), &peer, &["oncall", "--print"]);
    assert_eq!(said.code, Some(0), "{}", said.stderr);
    assert!(said.stdout.contains("content-type: application/json\n\n{"), "{}", said.stdout);
    assert!(said.stdout.contains("\"routing_key\":\"<secret>\""), "{}", said.stdout);
    assert!(peer.requests().is_empty());
}

#[test]
fn who_is_not_told_what_is_over_is_not_sent_it() {
    let (folder, peer) = (folder(), Receiver::start(&[]));
    let said = notify_test(folder.path(), &peer, &["quiet", "--resolved"]);
    assert_eq!((said.code, peer.requests().len()), (Some(0), 0));
    assert!(said.stdout.contains("send_resolved is false"), "{}", said.stdout);
}

#[test]
fn a_receiver_that_is_not_there_is_told() {
    let (folder, peer) = (folder(), Receiver::start(&[]));
    let said = notify_test(folder.path(), &peer, &["onkall"]);
    assert_eq!(said.code, Some(2), "{}", said.stderr);
    assert!(said.stderr.contains("did you mean `oncall`?"), "{}", said.stderr);
}
