//! The same tables over every kind in the list.

use serde_json::Value as Json;

use super::*;
use crate::alert::{Alert, State};
use crate::labels::Labels;

/// Secrets that the examples in the headers carry.
const SECRETS: [&str; 4] =
    ["XXXXXXXXXXXXXXXXXXXXXXXX", "0123456789abcdef0123456789abcdef", "hooks.slack.com", "127.0.0.1:8080/hook"];

/// A group of `firing` and then `resolved` alerts of one rule.
pub(super) fn notification(firing: usize, resolved: usize) -> Notification {
    let alert = |number: usize| {
        let state = if number < firing { State::Firing } else { State::Resolved };
        let org = format!("org-{number}");
        let labels = [("alertname", "AIErrorSpike"), ("model", "gpt-4o"), ("org", &org), ("severity", "high")];
        let annotations = [
            ("summary", format!("gpt-4o: {} errors in the last hour for org-{number}", 12 + number)),
            ("runbook_url", "https://wiki.example/runbooks/errors".to_owned()),
        ];
        Alert {
            labels: labels.into_iter().collect(),
            annotations: annotations.into_iter().collect(),
            value: (12 + number) as f64,
            evidence: format!("{} errors > 10 within 1h", 12 + number),
            state,
            active_at: Time::from_secs(1_700_000_000),
            fired_at: Some(Time::from_secs(1_700_000_060)),
            resolved_at: (state == State::Resolved).then_some(Time::from_secs(1_700_000_360)),
            absent_since: None,
            late: false,
        }
    };
    Notification {
        receiver: "oncall".to_owned(),
        group_key: "{}:{alertname=\"AIErrorSpike\"}".to_owned(),
        group_labels: [("alertname", "AIErrorSpike")].into_iter().collect(),
        alerts: (0..firing + resolved).map(alert).collect(),
        reason: "new alert".to_owned(),
        at: Time::from_secs(1_700_000_360),
    }
}

#[track_caller]
fn read(text: &str) -> (Vec<Integration>, Faults) {
    let mut faults = Faults::default();
    let root = yaml::parse("demo.yml", text, &mut faults).unwrap();
    let mut fields = root.fields(&mut faults).unwrap();
    let found = integrations("oncall", &mut fields, &mut faults);
    fields.finish(&mut faults);
    (found, faults)
}

/// The example in the header of a kind's file.
fn example(kind: &Kind) -> String {
    let file = format!("{}/src/notify/{}.rs", env!("CARGO_MANIFEST_DIR"), kind.name);
    let source = std::fs::read_to_string(file).unwrap();
    let lines = source.lines().skip_while(|line| *line != "//! ```yaml").skip(1).take_while(|line| *line != "//! ```");
    lines.map(|line| line.trim_start_matches("//! ").to_owned() + "\n").collect()
}

/// One integration of each kind, as its header shows it.
fn each() -> impl Iterator<Item = Integration> {
    KINDS.iter().map(|kind| {
        let (found, faults) = read(&example(kind));
        assert!(faults.0.is_empty(), "{}: {}", kind.name, faults.0[0]);
        assert_eq!((found.len(), found[0].kind, found[0].send_resolved), (1, kind.name, true));
        found.into_iter().next().unwrap()
    })
}

fn at() -> Time {
    Time::parse("2026-11-20T20:00:00Z").unwrap()
}

#[test]
fn every_example_parses_and_names_are_distinct() {
    assert_eq!(each().count(), KINDS.len());
    for kind in KINDS {
        assert_eq!(kind.key, format!("{}_configs", kind.name));
    }
}

/// D delivered, A again, N never again.
#[test]
fn answers_mean_what_the_table_says() {
    const TABLE: [(u16, &str, &str); 14] = [
        // status, body, and slack pagerduty webhook stdout
        (200, "ok", "DDDD"),
        (200, "", "NDDD"),
        (200, "{\"ok\":true}", "DDDD"),
        (200, "{\"ok\":false,\"error\":\"x\"}", "NDDD"),
        (200, "invalid_blocks", "NDDD"),
        (202, "{\"status\":\"success\"}", "DDDD"),
        (302, "", "NNND"),
        (400, "invalid_payload", "NNND"),
        (403, "", "NNND"),
        (404, "", "NNND"),
        (408, "", "NNAD"),
        (429, "slow down", "AAAD"),
        (500, "", "AAAD"),
        (503, "", "AAAD"),
    ];
    for integration in each() {
        let column = ["slack", "pagerduty", "webhook", "stdout"].iter().position(|kind| *kind == integration.kind).unwrap();
        for (status, body, expected) in TABLE {
            let outcome = integration.classify(&Answer::new(status, None, body.as_bytes(), at()));
            let letter = match &outcome {
                Outcome::Delivered => 'D',
                Outcome::Retry { after, .. } => {
                    assert_eq!(*after, None);
                    'A'
                }
                Outcome::Rejected { .. } => 'N',
            };
            assert_eq!(Some(letter), expected.chars().nth(column), "{} {status} {body}: {outcome:?}", integration.kind);
        }
        let network = integration.classify_network("connection reset by peer");
        assert_eq!(network, Outcome::Retry { reason: "connection reset by peer".to_owned(), after: None });
    }
}

#[test]
fn retry_after_is_read_in_both_forms_and_bounded() {
    for integration in each().filter(|integration| integration.kind != "stdout") {
        for status in [429, 503] {
            for (header, seconds) in [
                ("30", Some(30)),
                (" 0 ", Some(0)),
                ("Fri, 20 Nov 2026 20:00:30 GMT", Some(30)),
                ("Fri, 20 Nov 2026 19:00:00 GMT", Some(0)),
                ("99999999999999999999999", Some(3_600)),
                ("Fri, 20 Nov 2099 20:00:00 GMT", Some(3_600)),
                ("-5", None),
                ("soon", None),
                ("", None),
            ] {
                let outcome = integration.classify(&Answer::new(status, Some(header), b"", at()));
                let Outcome::Retry { after, .. } = outcome else { panic!("{outcome:?}") };
                assert_eq!(after, seconds.map(Span::secs), "{} {header}", integration.kind);
            }
        }
    }
}

#[test]
fn no_secret_is_ever_shown() {
    for integration in each() {
        let Request::Http { url, body, .. } = integration.request(&notification(1, 0), "http://modelwatch") else { continue };
        let url = url.reveal();
        let path = url.splitn(4, '/').nth(3).unwrap();
        let hostile = format!(
            "{url} bad {path} {} {} {SECRETS:?}",
            url.replace('/', "\\/"),
            String::from_utf8_lossy(&body).replace(' ', "")
        );
        let request = integration.request(&notification(1, 0), "http://modelwatch");
        let mut shown = vec![format!("{integration:?} {request:?}"), format!("{:?}", integration.classify_network(&hostile))];
        for status in [200, 302, 400, 429, 503] {
            shown.push(format!("{:?}", integration.classify(&Answer::new(status, None, hostile.as_bytes(), at()))));
        }
        for text in shown {
            let secrets = integration.notifier.secrets();
            assert!(secrets.iter().all(|secret| !text.contains(secret.reveal())), "{text}");
            assert!(SECRETS.iter().all(|secret| !text.contains(secret)), "{text}");
        }
        // What is cut at 200 characters must not begin within a secret that is no longer recognised.
        let cut = format!("{}{url}", "x".repeat(QUOTED_CHARS - 30));
        let Outcome::Retry { reason, .. } = integration.classify_network(&cut) else { panic!() };
        assert!(reason.ends_with("<secret>") || reason.ends_with("<url>"), "{reason}");
    }
}

#[test]
fn parts_of_a_url_are_secret_but_not_its_host() {
    #[track_caller]
    fn check(secret: &str, expected: &[&str]) {
        assert_eq!(secret_parts(secret).collect::<Vec<_>>(), expected, "{secret}");
    }
    check("https://hooks.slack.com/services/T00000000/b", &["T00000000"]);
    check(
        "https://somebody1:password2@host.example.com?token=0123456789#fragment-x",
        &["somebody1", "password2", "0123456789", "fragment-x"],
    );
    check("0123456789abcdef", &[]);
}

#[test]
fn messages_stay_within_bounds_and_valid_whatever_the_alerts_are() {
    let values = ["x".repeat(10_000), "\u{0}\"\\\n\u{202e}<!channel>&".repeat(700), "é€😀".repeat(3_000), "{{ $x }}".to_owned()];
    for integration in each() {
        for count in [1, 2, 20, 100] {
            let mut hostile = notification(count, 1);
            for (number, alert) in hostile.alerts.iter_mut().enumerate() {
                let value = &values[number % values.len()];
                alert.labels.set("org", format!("{number}{value}"));
                for name in ["summary", "description", "runbook_url"] {
                    alert.annotations.set(name, value.as_str());
                }
                alert.evidence = value.clone();
                alert.value = if number % 2 == 0 { f64::NAN } else { f64::NEG_INFINITY };
            }
            match integration.request(&hostile, "http://modelwatch") {
                Request::Print(text) => {
                    assert!(text.len() < 200_000);
                    assert!(text.chars().all(|c| c == '\n' || !c.is_control()));
                }
                Request::Http { body, .. } => {
                    let json: Json = serde_json::from_slice(&body).unwrap();
                    let text = json.to_string();
                    match integration.kind {
                        "slack" => {
                            assert!(text.chars().count() < 20_000, "{}", text.len());
                            assert!(!text.contains("<!channel>"));
                        }
                        "pagerduty" => {
                            assert!(body.len() <= 512_000, "{}", body.len());
                            assert!(json["payload"]["summary"].as_str().unwrap().chars().count() <= 1_024);
                        }
                        "webhook" => assert_eq!(json["alerts"].as_array().unwrap().len(), count + 1),
                        other => panic!("say here what bounds {other} has"),
                    }
                }
            }
        }
        // A notification without alerts is never sent; it must not panic either.
        integration.request(&Notification { alerts: Vec::new(), ..notification(0, 0) }, "");
    }
}

#[test]
fn faults_of_configuration_are_all_found() {
    #[track_caller]
    fn check(text: &str, codes: &[&str]) {
        let (_, faults) = read(text);
        assert_eq!(faults.0.iter().map(|fault| fault.code).collect::<Vec<_>>(), codes, "{text}: {:?}", faults.0);
    }
    check("slack_configs: [{}]", &["missing-key"]);
    check("slack_configs: {api_url: https://x/}", &["wrong-type"]);
    check("slack_configs: [{api_url: https://x/, api_url_file: /dev/null}]", &["conflicting-keys"]);
    check("slack_configs: [{api_url: ftp://x/, sendresolved: false}]", &["bad-value", "unknown-key"]);
    check("slack_configs: [{api_url_file: /no/such/file}, {api_url: hooks}]", &["bad-value", "bad-value"]);
    check("pagerduty_configs: [{routing_key: ' '}, {routing_key: a, severity: bad}]", &["bad-value", "bad-value"]);
    check("pagerduty_configs: [{routing_key_file: /dev/null, url: x}]", &["bad-value", "bad-value"]);
    check("webhook_configs: [{url: http://x, max_alerts: -1}, 5]", &["bad-value", "wrong-type"]);
    check("stdout_configs: [{}, {send_resolved: no way}]", &["bad-value"]);
    check("stdout_config: [{}]", &["unknown-key"]);
}

#[test]
fn integrations_are_numbered_in_the_order_of_the_list() {
    let (found, faults) =
        read("stdout_configs: [{}]\nslack_configs: [{api_url: http://a}, {api_url: http://b, send_resolved: false}]\n");
    assert!(faults.0.is_empty());
    let numbered: Vec<_> = found.iter().map(|i| (i.index, i.kind, i.send_resolved)).collect();
    assert_eq!(numbered, [(0, "slack", true), (1, "slack", false), (3000, "stdout", true)]);
    assert!(found.iter().all(|integration| integration.receiver == "oncall"));
}

#[test]
fn the_own_evidence_of_a_rule_is_kept() {
    let mut one = notification(1, 0);
    one.alerts[0].annotations = Labels::from_iter([(message::EVIDENCE, "own")]);
    let (found, _) = read("webhook_configs: [{url: http://x}]");
    let Request::Http { body, .. } = found[0].request(&one, "") else { panic!() };
    let json: Json = serde_json::from_slice(&body).unwrap();
    assert_eq!(json["alerts"][0]["annotations"][message::EVIDENCE], "own");
}
