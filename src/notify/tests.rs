//! The same tables over every kind in the list.

use serde_json::Value as Json;

use super::*;
use crate::alert::{Alert, State};
use crate::labels::Labels;

/// Secrets that the examples in the headers and [`VARIANTS`] carry.
const SECRETS: [&str; 7] = [
    "XXXXXXXXXXXXXXXXXXXXXXXX",
    "0123456789abcdef0123456789abcdef",
    "hooks.slack.com",
    "127.0.0.1:8080/hook",
    "am-s3cr3t-prefix",
    "xoxb-s3cr3t-token",
    "s3cr3t-passw0rd",
];

/// Further ways to configure kinds, that the same tables hold for.
const VARIANTS: [&str; 5] = [
    "slack_configs: [{bot_token: xoxb-s3cr3t-token, channel: '#alerts'}]",
    "slack_configs: [{api_url: 'https://slack.com/api/chat.postMessage', channel: C1, http_config: {authorization: {credentials: xoxb-s3cr3t-token}}}]",
    "webhook_configs: [{url: 'http://localhost/', http_config: {basic_auth: {username: me, password: s3cr3t-passw0rd}}}]",
    "alertmanager_configs: [{urls: ['http://a', 'http://me:s3cr3t-passw0rd@b'], http_config: {bearer_token: xoxb-s3cr3t-token}}]",
    "discord_configs: [{webhook_url: 'http://localhost/XXXXXXXXXXXXXXXXXXXXXXXX', username: x, http_config: {http_headers: {X-Key: {secrets: [s3cr3t-passw0rd]}}}}]",
];

pub(super) const CONTEXT: Context<'static> =
    Context { external_url: "http://modelwatch", step: 0, handle: None, delivery: 1, now: Time(1_700_000_361_000_000) };

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
            posted: None,
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

/// A value, and the items of a list, a line each.
pub(super) fn lines(first: &Json, list: &Json) -> String {
    let all = [first].into_iter().chain(list.as_array().unwrap());
    // A character without width is shown.
    all.map(|item| format!("{item}\n").replace('\u{200b}', "<200b>")).collect()
}

#[track_caller]
pub(super) fn read(text: &str) -> (Vec<Integration>, Faults) {
    let mut faults = Faults::default();
    let root = yaml::parse("demo.yml", text, &mut faults).unwrap();
    let mut fields = root.fields(&mut faults).unwrap();
    let found = integrations("oncall", &mut fields, &mut faults, &Globals::default());
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

/// One integration of each kind, as its header shows it, and the variants.
fn each() -> impl Iterator<Item = Integration> {
    let variants = VARIANTS.iter().map(|text| {
        let (found, faults) = read(text);
        assert!(faults.0.is_empty(), "{text}: {}", faults.0[0]);
        found.into_iter().next().unwrap()
    });
    let examples = KINDS.iter().map(|kind| {
        let (found, faults) = read(&example(kind));
        assert!(faults.0.is_empty(), "{}: {}", kind.name, faults.0[0]);
        assert_eq!((found.len(), found[0].kind, found[0].send_resolved), (1, kind.name, true));
        found.into_iter().next().unwrap()
    });
    examples.chain(variants)
}

fn at() -> Time {
    Time::parse("2026-11-20T20:00:00Z").unwrap()
}

#[test]
fn every_example_parses_and_names_are_distinct() {
    assert_eq!(each().count(), KINDS.len() + VARIANTS.len());
    for kind in KINDS {
        assert_eq!(kind.key, format!("{}_configs", kind.name));
    }
}

/// D delivered, A again, N never again.
#[test]
fn answers_mean_what_the_table_says() {
    // What SEMANTICS says of a kind is a column; D delivered, A again, N never again.
    const COLUMNS: [(&str, usize); 9] = [
        ("slack", 0),
        ("pagerduty", 1),
        ("webhook", 2),
        ("alertmanager", 2),
        ("stdout", 3),
        ("discord", 1),
        ("msteams", 1),
        ("msteamsv2", 1),
        ("email", 4),
    ];
    const TABLE: [(u16, &str, &str); 22] = [
        // status, body, and slack pagerduty webhook stdout email
        (200, "", "NDDDD"),
        (200, "{\"ok\":true}", "DDDDD"),
        (200, "{\"ok\":false,\"error\":\"x\"}", "NDDDD"),
        (200, "{\"ok\":false,\"error\":\"ratelimited\"}", "ADDDD"),
        (200, "{\"ok\":false,\"error\":\"internal_error\"}", "ADDDD"),
        (200, "{\"ok\":false,\"error\":\"channel_not_found\"}", "NDDDD"),
        (200, "invalid_blocks", "NDDDD"),
        (201, "", "DDDDD"),
        (202, "{\"status\":\"success\"}", "DDDDD"),
        (204, "", "DDDDD"),
        (302, "", "NNNDN"),
        (307, "", "NNNDN"),
        (400, "invalid_payload", "NNNDA"),
        (401, "", "NNNDA"),
        (403, "", "NNNDA"),
        (404, "", "NNNDA"),
        (408, "", "NNADA"),
        (429, "slow down", "AAADA"),
        (500, "", "AAADN"),
        (503, "", "AAADN"),
        (421, "try again later", "NNNDA"),
        (550, "no such user", "AAADN"),
    ];
    for integration in each() {
        let column = COLUMNS.iter().find(|(kind, _)| *kind == integration.kind);
        let (_, column) = column.unwrap_or_else(|| panic!("say here what answers mean to {}", integration.kind));
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
            assert_eq!(Some(letter), expected.chars().nth(*column), "{} {status} {body}: {outcome:?}", integration.kind);
        }
        let network = integration.classify_network("connection reset by peer");
        assert_eq!(network, Outcome::Retry { reason: "connection reset by peer".to_owned(), after: None });
    }
    // A webhook of Slack says `ok`, a method of its API says it in JSON.
    let (found, _) = read("slack_configs: [{api_url: http://x}, {bot_token: x, channel: y}]");
    let said = |number: usize| found[number].classify(&Answer::new(200, None, b"ok", at()));
    assert_eq!(said(0), Outcome::Delivered);
    assert!(matches!(said(1), Outcome::Rejected { .. }));
}

#[test]
fn retry_after_is_read_in_both_forms_and_bounded() {
    for integration in each().filter(|integration| !["stdout", "email"].contains(&integration.kind)) {
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

/// All requests of one attempt of which every step succeeds.
fn requests(integration: &Integration, notification: &Notification) -> Vec<Request> {
    let (mut requests, mut handle) = (Vec::new(), None::<String>);
    for step in 0..10 {
        let before = handle.clone();
        let context = Context { step, handle: before.as_deref(), ..CONTEXT };
        let Some(request) = integration.request(notification, &context) else { break };
        requests.push(request);
        let answer = Answer::new(200, None, br#"{"ok":true,"channel":"C1","ts":"1.2"}"#, at());
        handle = integration.handle(&answer, &context).or(handle);
    }
    assert!((1..10).contains(&requests.len()), "{}: {} steps", integration.kind, requests.len());
    requests
}

#[test]
fn no_secret_is_ever_shown() {
    for integration in each() {
        for request in requests(&integration, &notification(1, 0)) {
            let Request::Http { url, body, headers, options } = &request else { continue };
            let (url, path) = (url.reveal(), url.reveal().splitn(4, '/').nth(3).unwrap());
            let headers: Vec<&str> = headers.iter().map(|(_, value)| value.as_str()).collect();
            let options: Vec<&str> = options.secrets().into_iter().map(Secret::reveal).collect();
            // What a receiver or a library may repeat: the request, its parts, and what it makes of them.
            let hostile = format!(
                "{url} bad {path} {} {headers:?} {options:?} {} {SECRETS:?}",
                url.replace('/', "\\/"),
                String::from_utf8_lossy(body).replace(' ', "")
            );
            let mut shown = vec![format!("{integration:?} {request:?}"), format!("{:?}", integration.classify_network(&hostile))];
            for status in [200, 302, 400, 429, 503] {
                shown.push(format!("{:?}", integration.classify(&Answer::new(status, None, hostile.as_bytes(), at()))));
            }
            shown.extend(integration.pace().map(|pace| pace.key));
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
}

#[test]
fn parts_of_a_url_are_secret_but_not_its_host() {
    #[track_caller]
    fn check(secret: &str, expected: &[&str]) {
        assert_eq!(secret_parts(secret), expected, "{secret}");
    }
    check("https://hooks.slack.com/services/T00000000/b", &["T00000000"]);
    check(
        "https://somebody1:password2@host.example.com?token=0123456789#fragment-x",
        &["c29tZWJvZHkxOnBhc3N3b3JkMg==", "0123456789", "fragment-x", "password2", "somebody1"],
    );
    check("https://me:p%40ss@host/x?k=abcd&l=abc", &["bWU6cEBzcw==", "p%40ss", "abcd", "p@ss"]);
    check("https://me@host", &["bWU6"]);
    check("0123456789abcdef", &[]);
    check("Bearer xoxb-1", &["xoxb-1"]);
    check("Bearer ", &[]);
}

/// All texts of a JSON value, its keys too.
fn texts(json: &Json, found: &mut Vec<String>) {
    match json {
        Json::String(text) => found.push(text.clone()),
        Json::Array(items) => items.iter().for_each(|item| texts(item, found)),
        Json::Object(map) => map.iter().for_each(|(key, value)| {
            found.push(key.clone());
            texts(value, found);
        }),
        _ => {}
    }
}

fn chars(json: &Json) -> usize {
    json.as_str().map_or(0, |text| text.encode_utf16().count())
}

/// The bounds that a receiver documents, for a body that is sent to it.
fn assert_bounds(kind: &str, alerts: usize, body: &[u8]) {
    let json: Json = serde_json::from_slice(body).unwrap();
    let mut all = Vec::new();
    texts(&json, &mut all);
    match kind {
        // Programs get what there is.
        "webhook" => return assert_eq!(json["alerts"].as_array().unwrap().len(), alerts),
        "alertmanager" => return assert_eq!(json.as_array().unwrap().len(), alerts),
        "slack" => {
            let length: usize = all.iter().map(|text| text.chars().count()).sum();
            assert!(length < 20_000, "{length}");
            let blocks = json["blocks"].as_array().or(json["attachments"][0]["blocks"].as_array()).unwrap();
            assert!(blocks.len() <= 50);
            assert!(blocks.iter().all(|block| chars(&block["text"]["text"]) <= 3_000));
        }
        "pagerduty" => {
            assert!(body.len() <= 512_000, "{}", body.len());
            assert!(json["payload"]["summary"].as_str().unwrap().chars().count() <= 1_024);
            return;
        }
        "discord" => {
            let embed = &json["embeds"][0];
            let fields = embed["fields"].as_array().unwrap();
            assert!(chars(&embed["title"]) <= 256 && chars(&embed["description"]) <= 4_096 && fields.len() <= 25);
            assert!(
                fields
                    .iter()
                    .all(|field| (1..=256).contains(&chars(&field["name"])) && (1..=1_024).contains(&chars(&field["value"])))
            );
            let fields: usize = fields.iter().map(|field| chars(&field["name"]) + chars(&field["value"])).sum();
            let total = fields + chars(&embed["title"]) + chars(&embed["description"]) + chars(&embed["footer"]["text"]);
            assert!(total <= 6_000 && chars(&embed["footer"]["text"]) <= 2_048, "{total}");
            assert_eq!(json["allowed_mentions"]["parse"], serde_json::json!([]));
        }
        "msteams" => {
            assert!(body.len() <= 28_000, "{}", body.len());
            assert!(json["sections"].as_array().unwrap().len() <= 10);
            assert!(json["potentialAction"].as_array().unwrap().len() <= 4);
            assert!(all.iter().all(|text| !text.contains("<script>") && !text.contains("<b>")));
        }
        "msteamsv2" => {
            assert!(body.len() <= 28_000, "{}", body.len());
            // Rich text alone reads no Markdown.
            assert!(all.iter().all(|text| text != "TextBlock" && text != "FactSet"));
        }
        other => panic!("say here what bounds {other} has"),
    }
    // People read it: nothing calls them, drives a terminal, or turns the direction of writing.
    for text in &all {
        for call in ["@everyone", "@channel", "@here", "<!channel>", "<@1>", "<!everyone>"] {
            assert!(!text.contains(call) || kind == "msteamsv2" && call.starts_with('<'), "{kind}: {call} in {text}");
        }
        assert!(!text.contains(['\u{202e}', '\u{2067}', '\u{0}', '\u{7}', '\u{1b}', '\r']), "{kind}: {text:?}");
    }
}

fn assert_fits(hostile: &Notification) {
    for integration in each() {
        for request in requests(&integration, hostile) {
            match request {
                Request::Print(text) => {
                    assert!(text.len() < 200_000);
                    assert!(text.chars().all(|c| c == '\n' || !c.is_control()));
                }
                Request::Mail(mail) => {
                    let message = mail.message.unwrap();
                    assert!(message.len() < 1_500_000, "{}", message.len());
                    let lines: Vec<&[u8]> = message.split(|byte| *byte == b'\n').collect();
                    assert!(lines.iter().all(|line| line.len() <= 998 && line.is_ascii()));
                }
                Request::Http { body, .. } => assert_bounds(integration.kind, hostile.alerts.len(), &body),
            }
        }
    }
}

#[test]
fn messages_stay_within_bounds_and_valid_whatever_the_alerts_are() {
    let values = [
        "x".repeat(10_000),
        "\u{0}\"\\\r\n\u{202e}<!channel>&<script>alert(1)</script>@everyone".repeat(700),
        "é€😀".repeat(3_000),
        "{{ $x }} @channel <@1> **b** [a](http://b) \u{7}\u{1b}[31m\u{2067}".to_owned(),
        "\"".repeat(9_000),
        "https://wiki/".to_owned() + &"x".repeat(1_980),
    ];
    for count in [1, 2, 20, 100] {
        let mut hostile = notification(count, 1);
        for (number, alert) in hostile.alerts.iter_mut().enumerate() {
            let value = &values[number % values.len()];
            alert.labels.set("org", format!("{number}{value}"));
            // All share it, so that it is in titles and fields.
            alert.labels.set("shared", values[1].as_str());
            for name in ["summary", "description", "runbook_url", "dashboard_url"] {
                alert.annotations.set(name, value.as_str());
            }
            alert.evidence = value.clone();
            alert.value = if number % 2 == 0 { f64::NAN } else { f64::NEG_INFINITY };
        }
        assert_fits(&hostile);
    }
    // A notification without alerts is never sent; it must not panic either.
    each()
        .for_each(|integration| drop(integration.request(&Notification { alerts: Vec::new(), ..notification(0, 0) }, &CONTEXT)));
}

#[test]
fn a_megabyte_of_label_and_a_thousand_alerts_are_no_trouble() {
    let mut huge = notification(2, 0);
    for alert in &mut huge.alerts {
        alert.labels.set("org", "<&>\"@here".repeat(125_000));
        alert.labels.set("alertname", "x".repeat(1_000_000));
    }
    assert_fits(&huge);
    assert_fits(&notification(700, 300));
}

#[test]
fn faults_of_configuration_are_all_found() {
    #[track_caller]
    fn check(text: &str, codes: &[&str]) {
        let (_, faults) = read(text);
        assert_eq!(faults.0.iter().map(|fault| fault.code).collect::<Vec<_>>(), codes, "{text}: {:?}", faults.0);
    }
    check("slack_configs: [{}]", &["missing-key"]);
    check("slack_configs: [{bot_token: x}, {bot_token: x, channel: ' '}]", &["missing-key", "missing-key"]);
    check("slack_configs: [{bot_token: x, channel: y, api_url: http://hook}]", &["conflicting-keys"]);
    check("slack_configs: [{bot_token: x y, channel: y}]", &["bad-value"]);
    check("slack_configs: [{bot_token: x, bot_token_file: /dev/null, channel: y}]", &["conflicting-keys"]);
    check("discord_configs: [{}, {webhook_url: x}]", &["missing-key", "bad-value"]);
    check("msteams_configs: [{}]\nmsteamsv2_configs: [{webhook_url_file: /no/such}]", &["missing-key", "bad-value"]);
    check("alertmanager_configs: [{}, {urls: []}, {urls: [x, http://y]}]", &["missing-key", "bad-value", "bad-value"]);
    check("webhook_configs: [{url: http://x, hmac_secret: ' '}]", &["bad-value"]);
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
    let Some(Request::Http { body, .. }) = found[0].request(&one, &CONTEXT) else { panic!() };
    let json: Json = serde_json::from_slice(&body).unwrap();
    assert_eq!(json["alerts"][0]["annotations"][message::EVIDENCE], "own");
}
