//! PagerDuty: one incident for each group of alerts, triggered while any of them fires, then resolved.
//!
//! ```yaml
//! pagerduty_configs:
//!   - routing_key: 0123456789abcdef0123456789abcdef   # or routing_key_file: the integration key of Events API v2
//!     url: https://events.pagerduty.com/v2/enqueue    # the default
//!     severity: critical                              # critical, error, warning or info; default: the severity label
//!     description: '{{ .Title }}'                     # the summary; all that follows may be templates, each with a good default
//!     client: modelwatch
//!     client_url: '{{ .ExternalURL }}'
//!     class: '{{ .CommonLabels.alertname }}'
//!     component: '{{ .CommonLabels.service }}'
//!     group: '{{ .CommonLabels.team }}'
//!     source: modelwatch
//!     details: {note: '{{ .CommonAnnotations.note }}'}   # beside ours, or instead of one of the same name
//!     links: [{href: 'https://wiki.example/{{ .CommonLabels.alertname }}', text: Wiki}]   # before ours
//!     images: [{src: 'https://charts.example/errors.png', href: 'https://charts.example/', alt: errors}]
//!     send_resolved: true
//! ```
//!
//! Source: <https://developer.pagerduty.com/docs/events-api-v2/trigger-events/>. The deduplication key is the SHA-256 of the
//! group key, so that a resolve ends the incident that its trigger began, also after a restart. Bounds: a summary of
//! 1024 characters, an event of 512 KB; the details shrink until it fits.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use crate::alert::Alert;
use crate::diag::nearest;
use crate::labels::{Labels, sha256_hex};
use crate::message::{self, Data, Severity, Text};
use crate::notify::{self, Answer, Context, Globals, HttpOptions, Kind, Notifier, Outcome, Request};
use crate::route::Notification;
use crate::secret::Secret;
use crate::time::Time;
use crate::yaml::{self, Faults, Fields, Node, Read};

/// `pagerduty_configs`
pub(super) const KIND: Kind = Kind { name: "pagerduty", key: "pagerduty_configs", parse };

/// Where events go, unless the configuration says otherwise.
const URL: &str = "https://events.pagerduty.com/v2/enqueue";

/// PagerDuty cuts longer summaries.
const SUMMARY_CHARS: usize = 1024;

/// PagerDuty refuses larger events (512 KB, taken as the smaller of the two meanings).
const BODY_BYTES: usize = 512_000;

/// A text among the details is cut here.
const DETAIL_CHARS: usize = 2_000;

/// Alerts among the details; more make an incident unreadable.
const DETAIL_ALERTS: usize = 50;

#[derive(Debug)]
struct PagerDuty {
    routing_key: Secret,
    url: Secret,
    http: Arc<HttpOptions>,
    texts: Texts,
}

/// What the configuration says in words; where it says nothing, we do.
#[derive(Debug, Default)]
struct Texts {
    severity: Option<Text>,
    description: Option<Text>,
    client: Option<Text>,
    client_url: Option<Text>,
    class: Option<Text>,
    component: Option<Text>,
    group: Option<Text>,
    source: Option<Text>,
    details: Vec<(String, Text)>,
    /// Each with its keys: `href` and `text`, or `src`, `href` and `alt`.
    links: Vec<Vec<(&'static str, Text)>>,
    images: Vec<Vec<(&'static str, Text)>>,
}

const SEVERITIES: [&str; 4] = ["critical", "error", "warning", "info"];

fn parse(fields: &mut Fields<'_>, faults: &mut Faults, globals: &Globals) -> Option<Arc<dyn Notifier>> {
    let of_v1 = ["service_key", "service_key_file"];
    for key in of_v1 {
        fields
            .hint(key, "it is of Events API v1, which is not spoken here: make an integration of v2, and give its `routing_key`");
    }
    let keys = ["routing_key", "routing_key_file"];
    let routing_key = if fields.rest().iter().any(|(key, _)| of_v1.contains(&key.key_name())) {
        // That is unknown says enough.
        for key in keys {
            let _ = fields.node(key);
        }
        None
    } else {
        notify::secret(fields, faults, keys, notify::not_empty)
    };
    let url = fields.optional("url", faults, yaml::SECRET.then(notify::http_url));
    let texts = Texts::parse(fields, faults, globals);
    let http = notify::http_options(fields, faults, globals);
    let url = url.or_else(|| globals.pagerduty_url.clone()).unwrap_or_else(|| Secret::new(URL));
    Some(Arc::new(PagerDuty { routing_key: routing_key?, url, http, texts }))
}

impl Texts {
    fn parse(fields: &mut Fields<'_>, faults: &mut Faults, globals: &Globals) -> Texts {
        let reader = globals.templates.text();
        let severity = fields.optional("severity", faults, reader.clone());
        if let Some(given) = severity.as_ref().filter(|text| text.is_plain() && !SEVERITIES.contains(&text.source())) {
            let message = format!("severity: `{}` is none of {}", given.source(), SEVERITIES.join(", "));
            let help = match nearest(given.source(), SEVERITIES) {
                Some(near) => format!("did you mean `{near}`?"),
                None => "left out, the label `severity` says it".to_owned(),
            };
            faults.error_help("bad-value", fields.node.at("severity"), message, help);
        }
        let mut text = |key| fields.optional(key, faults, reader.clone()).filter(|text| !text.is_default());
        let [description, client, client_url] = ["description", "client", "client_url"].map(&mut text);
        let [class, component, group, source] = ["class", "component", "group", "source"].map(&mut text);
        let details = fields.entries("details", faults, || yaml::TEXT.schema());
        let detail = |(name, value): &(Node, Node)| {
            let name = name.key_name();
            let read = reader.read(&format!("details.{name}"), value, faults)?;
            (!read.is_default()).then(|| (name.to_owned(), read))
        };
        let details = details.iter().filter_map(detail).collect();
        let mut parts = |key, names: &[&'static str]| {
            fields.each(key, faults, |fields, faults| {
                let read = |name: &&'static str| Some((*name, fields.optional(name, faults, reader.clone())?));
                Some(names.iter().filter_map(read).collect())
            })
        };
        let (links, images) = (parts("links", &["href", "text"]), parts("images", &["src", "href", "alt"]));
        Texts { severity, description, client, client_url, class, component, group, source, details, links, images }
    }

    /// Links or images, those without an http(s) URL left out: PagerDuty refuses the whole event for one.
    fn filled(parts: &[Vec<(&'static str, Text)>], data: &Data) -> Vec<Value> {
        let part = |keys: &Vec<(&'static str, Text)>| {
            let mut filled = Map::new();
            for (key, text) in keys {
                let text = text.render(data).ok()?;
                let text = if *key == "text" || *key == "alt" { cut(&text) } else { message::http_url(text.trim())? };
                filled.insert((*key).to_owned(), text.into());
            }
            (filled.contains_key("href") || filled.contains_key("src")).then_some(Value::Object(filled))
        };
        parts.iter().filter_map(part).collect()
    }
}

impl Notifier for PagerDuty {
    fn request(&self, notification: &Notification, context: &Context<'_>) -> Option<Request> {
        if context.step > 0 {
            return None;
        }
        let external_url = context.external_url;
        let mut shown = notification.alerts.len().min(DETAIL_ALERTS);
        let mut body = self.event(notification, external_url, shown);
        while shown > 0 && body.to_string().len() > BODY_BYTES {
            shown /= 2;
            body = self.event(notification, external_url, shown);
        }
        if body.to_string().len() > BODY_BYTES {
            body["payload"]["custom_details"] = json!({ "note": "the labels are too long to be sent" });
        }
        Some(Request::json(&self.url, &self.http, &body))
    }

    fn classify(&self, answer: &Answer) -> Outcome {
        notify::by_status(answer, &[])
    }

    fn secrets(&self) -> Vec<&Secret> {
        [vec![&self.routing_key, &self.url], self.http.secrets()].concat()
    }
}

impl PagerDuty {
    fn event(&self, notification: &Notification, external_url: &str, shown: usize) -> Value {
        let (texts, data) = (&self.texts, &Data::new(notification, external_url));
        let common = message::common_labels(&notification.alerts);
        let began = notification.alerts.iter().map(|alert| alert.fired_at.unwrap_or(alert.active_at)).min();
        let text = |text: &Option<Text>, default: &str| cut(&Text::or_default(text.as_ref(), data, || default.to_owned()));
        let description = Text::or_default(texts.description.as_ref(), data, || summary(notification));
        let ours = message::links(notification).into_iter().chain(message::actions(notification, external_url));
        let mut links = Texts::filled(&texts.links, data);
        links.extend(ours.map(|link| json!({ "href": link.url, "text": link.text })));
        let mut event = json!({
            "routing_key": self.routing_key.reveal(),
            "event_action": if message::is_firing(notification) { "trigger" } else { "resolve" },
            "dedup_key": sha256_hex(&notification.group_key),
            "client": text(&texts.client, "modelwatch"),
            "links": links,
            "payload": {
                "summary": message::truncate(&one_text(&description), SUMMARY_CHARS),
                "source": one_text(&text(&texts.source, "modelwatch")),
                "severity": self.severity(notification, data).as_str(),
                "timestamp": began.unwrap_or(notification.at).to_string(),
                "class": text(&texts.class, common.get("alertname")),
                "component": text(&texts.component, first_of(&common, &["service", "model", "provider"])),
                "custom_details": self.details(notification, &common, shown, data),
            },
        });
        if let Some(group) = &texts.group {
            event["payload"]["group"] = text(&Some(group.clone()), "").into();
        }
        let images = Texts::filled(&texts.images, data);
        if !images.is_empty() {
            event["images"] = images.into();
        }
        // PagerDuty refuses the whole event where a URL is none.
        let client_url = texts.client_url.as_ref().and_then(|text| text.render(data).ok());
        let client_url = client_url.and_then(|url| message::http_url(url.trim())).or_else(|| message::http_url(external_url));
        if let Some(url) = client_url {
            event["client_url"] = url.into();
        }
        event
    }

    /// What is set, where it is a severity, else that of the alerts.
    fn severity(&self, notification: &Notification, data: &Data) -> Severity {
        let written = self.texts.severity.as_ref().and_then(|text| text.render(data).ok());
        written.and_then(|text| Severity::parse(text.trim())).unwrap_or_else(|| message::severity(notification))
    }

    fn details(&self, notification: &Notification, common: &Labels, shown: usize, data: &Data) -> Value {
        let mut details = details(notification, common, shown);
        for (name, text) in &self.texts.details {
            details[name] = cut(&text.render_or(data, String::new)).into();
        }
        details
    }
}

/// The title; and what the rule says, where there is one alert only.
fn summary(notification: &Notification) -> String {
    let title = message::title(notification);
    match notification.alerts.as_slice() {
        [alert] => format!("{title}: {}", message::headline(alert).trim()),
        _ => title,
    }
}

/// What PagerDuty takes for a text that must be there: on one line, and not empty.
fn one_text(text: &str) -> String {
    let text = message::one_line(text.trim());
    if text.is_empty() { "modelwatch".to_owned() } else { text }
}

fn details(notification: &Notification, common: &Labels, shown: usize) -> Value {
    let alerts = notification.alerts.iter().take(shown);
    let mut listed: Vec<Value> = alerts.map(|alert| alert_details(alert, common, notification.at)).collect();
    listed.extend(message::and_more(notification.alerts.len(), shown).map(Value::from));
    let mut details = json!({
        "num_firing": message::firing(notification).count(),
        "num_resolved": message::resolved(notification).count(),
        "reason": message::occasion(notification),
        "labels": labels(common),
        "alerts": listed,
    });
    if let Some(affected) = message::affected(notification) {
        details["affected"] = cut(&affected).into();
    }
    details
}

fn alert_details(alert: &Alert, common: &Labels, at: Time) -> Value {
    let mut details = json!({
        "state": message::status(alert.state == crate::alert::State::Firing),
        "summary": cut(&message::headline(alert)),
        "facts": message::facts(alert, at),
        "labels": labels(&message::own_labels(alert, common)),
    });
    let further = [
        ("evidence", Some(message::evidence(alert))),
        ("most_by", message::contributors(alert)),
        ("description", message::description(alert)),
    ];
    for (name, text) in further {
        if let Some(text) = text.filter(|text| !text.is_empty()) {
            details[name] = cut(text).into();
        }
    }
    details
}

fn labels(labels: &Labels) -> Map<String, Value> {
    labels.iter().map(|(name, value)| (name.to_owned(), cut(value).into())).collect()
}

fn cut(text: &str) -> String {
    message::truncate(text, DETAIL_CHARS)
}

fn first_of<'a>(labels: &'a Labels, names: &[&str]) -> &'a str {
    names.iter().map(|name| labels.get(name)).find(|value| !value.is_empty()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notify::tests::notification;

    fn pagerduty(texts: Texts) -> PagerDuty {
        PagerDuty { routing_key: Secret::new("KEY"), url: Secret::new(URL), http: Arc::default(), texts }
    }

    /// The event of one configuration.
    fn event(config: &str, notification: &Notification, external_url: &str) -> Value {
        let node = yaml::parse("t.yml", config, &mut Faults::default()).unwrap();
        let mut faults = Faults::default();
        let texts = node.map(&mut faults, |fields, faults| Some(Texts::parse(fields, faults, &Globals::default())));
        assert!(faults.0.is_empty(), "{:?}", faults.0);
        pagerduty(texts.unwrap()).event(notification, external_url, DETAIL_ALERTS)
    }

    #[test]
    fn triggers_an_incident() {
        let event = event("{}", &notification(1, 0), "http://modelwatch");
        insta::assert_snapshot!(serde_json::to_string_pretty(&event).unwrap(), @r#"
        {
          "client": "modelwatch",
          "client_url": "http://modelwatch/",
          "dedup_key": "59a3416b5e2a2a0acb488a6af97b438b02343ff5c7c46ae15495a5842cbb2bb5",
          "event_action": "trigger",
          "links": [
            {
              "href": "https://wiki.example/runbooks/errors",
              "text": "Runbook"
            },
            {
              "href": "http://modelwatch/silences/new?filter=%7Balertname%3D%22AIErrorSpike%22%7D",
              "text": "Silence"
            },
            {
              "href": "http://modelwatch/ack?receiver=oncall&group=%7B%7D%3A%7Balertname%3D%22AIErrorSpike%22%7D",
              "text": "Acknowledge"
            }
          ],
          "payload": {
            "class": "AIErrorSpike",
            "component": "gpt-4o",
            "custom_details": {
              "affected": "org org-0",
              "alerts": [
                {
                  "evidence": "12 errors > 10 within 1h",
                  "facts": "value 12, since 2023-11-14T22:14:20Z (5m)",
                  "labels": {},
                  "state": "firing",
                  "summary": "gpt-4o: 12 errors in the last hour for org-0"
                }
              ],
              "labels": {
                "alertname": "AIErrorSpike",
                "model": "gpt-4o",
                "org": "org-0",
                "severity": "high"
              },
              "num_firing": 1,
              "num_resolved": 0,
              "reason": "Another alert fires."
            },
            "severity": "error",
            "source": "modelwatch",
            "summary": "[FIRING:1] AIErrorSpike model=gpt-4o org=org-0: gpt-4o: 12 errors in the last hour for org-0",
            "timestamp": "2023-11-14T22:14:20Z"
          },
          "routing_key": "KEY"
        }
        "#);
    }

    #[test]
    fn resolves_the_incident_that_it_triggered() {
        let [trigger, both, resolve] =
            [(2, 0), (1, 1), (0, 2)].map(|(f, r)| event("severity: info", &notification(f, r), "no url"));
        let actions = [&trigger, &both, &resolve].map(|event| event["event_action"].as_str().unwrap().to_owned());
        assert_eq!(actions, ["trigger", "trigger", "resolve"]);
        assert_eq!(trigger["dedup_key"], resolve["dedup_key"]);
        assert_eq!(trigger["dedup_key"].as_str().unwrap().len(), 64);
        assert_eq!(trigger["payload"]["severity"], "info");
        assert_eq!(trigger.get("client_url"), None);
    }

    #[test]
    fn says_what_is_configured() {
        let config = r#"
            description: '{{ .CommonLabels.model }} is broken'
            severity: '{{ if gt (len .Alerts.Firing) 1 }}critical{{ else }}{{ .CommonLabels.severity }}{{ end }}'
            client: '{{ template "pagerduty.default.client" . }}'
            client_url: 'https://status.example/{{ .GroupLabels.alertname }}'
            class: c
            component: '{{ .CommonLabels.model }}'
            group: g
            source: '{{ .Receiver }}'
            details: {firing: '{{ len .Alerts.Firing }}', num_firing: many, broken: '{{ if eq .Status "resolved" }}x{{ end }}'}
            links: [{href: 'https://wiki.example/{{ .Status }}', text: Wiki}, {href: 'javascript:x', text: no}]
            images: [{src: 'https://charts.example/a.png', alt: errors}]
        "#;
        let two = event(config, &notification(2, 0), "http://mw");
        assert_eq!(two["payload"]["summary"], "gpt-4o is broken");
        assert_eq!((&two["payload"]["severity"], &two["payload"]["group"]), (&json!("critical"), &json!("g")));
        assert_eq!((&two["payload"]["class"], &two["payload"]["component"]), (&json!("c"), &json!("gpt-4o")));
        assert_eq!((&two["client"], &two["client_url"]), (&json!("modelwatch"), &json!("https://status.example/AIErrorSpike")));
        let details = &two["payload"]["custom_details"];
        assert_eq!(
            (&details["firing"], &details["num_firing"], &details["num_resolved"]),
            (&json!("2"), &json!("many"), &json!(0))
        );
        assert_eq!(two["links"][0], json!({ "href": "https://wiki.example/firing", "text": "Wiki" }));
        assert_eq!(two["links"][1]["text"], "Runbook");
        assert_eq!(two["images"], json!([{ "src": "https://charts.example/a.png", "alt": "errors" }]));
        let one = event(config, &notification(1, 0), "http://mw");
        assert_eq!((&one["payload"]["severity"], &one["payload"]["source"]), (&json!("error"), &json!("oncall")));
    }
}
