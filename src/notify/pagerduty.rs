//! PagerDuty: one incident for each group of alerts, triggered while any of them fires, then resolved.
//!
//! ```yaml
//! pagerduty_configs:
//!   - routing_key: 0123456789abcdef0123456789abcdef   # or routing_key_file: the integration key of Events API v2
//!     url: https://events.pagerduty.com/v2/enqueue    # the default
//!     severity: critical                              # critical, error, warning or info; default: the severity label
//!     send_resolved: true
//! ```
//!
//! Source: <https://developer.pagerduty.com/docs/events-api-v2/trigger-events/>. The deduplication key is the SHA-256 of the
//! group key, so that a resolve ends the incident that its trigger began, also after a restart. Bounds: a summary of
//! 1024 characters, an event of 512 KB; the details shrink until it fits.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use crate::alert::Alert;
use crate::labels::{Labels, sha256_hex};
use crate::message::{self, Severity};
use crate::notify::{self, Answer, Kind, Notifier, Outcome, Request};
use crate::route::Notification;
use crate::secret::Secret;
use crate::time::Time;
use crate::yaml::{self, Faults, Fields};

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
    severity: Option<Severity>,
}

const SEVERITIES: &[(&str, Severity)] =
    &[("critical", Severity::Critical), ("error", Severity::Error), ("warning", Severity::Warning), ("info", Severity::Info)];

fn parse(fields: &mut Fields<'_>, faults: &mut Faults) -> Option<Arc<dyn Notifier>> {
    let routing_key = notify::secret(fields, faults, ["routing_key", "routing_key_file"], notify::not_empty);
    let url = fields.optional("url", faults, yaml::SECRET.then(notify::http_url));
    let severity = fields.optional("severity", faults, yaml::one_of(SEVERITIES));
    Some(Arc::new(PagerDuty { routing_key: routing_key?, url: url.unwrap_or_else(|| Secret::new(URL)), severity }))
}

impl Notifier for PagerDuty {
    fn request(&self, notification: &Notification, external_url: &str) -> Request {
        let mut shown = notification.alerts.len().min(DETAIL_ALERTS);
        let mut body = self.event(notification, external_url, shown);
        while shown > 0 && body.to_string().len() > BODY_BYTES {
            shown /= 2;
            body = self.event(notification, external_url, shown);
        }
        if body.to_string().len() > BODY_BYTES {
            body["payload"]["custom_details"] = json!({ "note": "the labels are too long to be sent" });
        }
        Request::json(&self.url, &body)
    }

    fn classify(&self, answer: &Answer) -> Outcome {
        notify::by_status(answer, &[])
    }

    fn secrets(&self) -> Vec<&Secret> {
        vec![&self.routing_key, &self.url]
    }
}

impl PagerDuty {
    fn event(&self, notification: &Notification, external_url: &str, shown: usize) -> Value {
        let severity = self.severity.unwrap_or_else(|| message::severity(notification));
        let common = message::common_labels(&notification.alerts);
        let began = notification.alerts.iter().map(|alert| alert.fired_at.unwrap_or(alert.active_at)).min();
        let links: Vec<Value> =
            message::links(notification).into_iter().map(|link| json!({ "href": link.url, "text": link.text })).collect();
        let mut event = json!({
            "routing_key": self.routing_key.reveal(),
            "event_action": if message::is_firing(notification) { "trigger" } else { "resolve" },
            "dedup_key": sha256_hex(&notification.group_key),
            "client": "modelwatch",
            "links": links,
            "payload": {
                "summary": summary(notification),
                "source": "modelwatch",
                "severity": severity.as_str(),
                "timestamp": began.unwrap_or(notification.at).to_string(),
                "class": message::truncate(common.get("alertname"), DETAIL_CHARS),
                "component": message::truncate(first_of(&common, &["service", "model", "provider"]), DETAIL_CHARS),
                "custom_details": details(notification, &common, shown),
            },
        });
        // PagerDuty refuses the whole event where a URL is none.
        if let Some(url) = message::http_url(external_url) {
            event["client_url"] = url.into();
        }
        event
    }
}

/// The title; and what the rule says, where there is one alert only.
fn summary(notification: &Notification) -> String {
    let title = message::title(notification);
    let text = match notification.alerts.as_slice() {
        [alert] => format!("{title}: {}", message::one_line(message::headline(alert).trim())),
        _ => title,
    };
    message::truncate(&text, SUMMARY_CHARS)
}

fn details(notification: &Notification, common: &Labels, shown: usize) -> Value {
    let alerts = notification.alerts.iter().take(shown);
    let mut listed: Vec<Value> = alerts.map(|alert| alert_details(alert, common, notification.at)).collect();
    listed.extend(message::and_more(notification.alerts.len(), shown).map(Value::from));
    json!({
        "num_firing": message::firing(notification).count(),
        "num_resolved": message::resolved(notification).count(),
        "reason": notification.reason,
        "labels": cut(common),
        "alerts": listed,
    })
}

fn alert_details(alert: &Alert, common: &Labels, at: Time) -> Value {
    let mut details = json!({
        "state": message::status(alert.state == crate::alert::State::Firing),
        "summary": message::truncate(&message::headline(alert), DETAIL_CHARS),
        "evidence": message::truncate(&alert.evidence, DETAIL_CHARS),
        "facts": message::facts(alert, at),
        "labels": cut(&message::own_labels(alert, common)),
    });
    if let Some(description) = message::description(alert) {
        details["description"] = message::truncate(description, DETAIL_CHARS).into();
    }
    details
}

fn cut(labels: &Labels) -> Map<String, Value> {
    labels.iter().map(|(name, value)| (name.to_owned(), message::truncate(value, DETAIL_CHARS).into())).collect()
}

fn first_of<'a>(labels: &'a Labels, names: &[&str]) -> &'a str {
    names.iter().map(|name| labels.get(name)).find(|value| !value.is_empty()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notify::tests::notification;

    fn pagerduty(severity: Option<Severity>) -> PagerDuty {
        PagerDuty { routing_key: Secret::new("KEY"), url: Secret::new(URL), severity }
    }

    #[test]
    fn triggers_an_incident() {
        let event = pagerduty(None).event(&notification(1, 0), "http://modelwatch", 50);
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
            }
          ],
          "payload": {
            "class": "AIErrorSpike",
            "component": "gpt-4o",
            "custom_details": {
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
              "reason": "new alert"
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
            [(2, 0), (1, 1), (0, 2)].map(|(f, r)| pagerduty(Some(Severity::Info)).event(&notification(f, r), "no url", 50));
        let actions = [&trigger, &both, &resolve].map(|event| event["event_action"].as_str().unwrap().to_owned());
        assert_eq!(actions, ["trigger", "trigger", "resolve"]);
        assert_eq!(trigger["dedup_key"], resolve["dedup_key"]);
        assert_eq!(trigger["dedup_key"].as_str().unwrap().len(), 64);
        assert_eq!(trigger["payload"]["severity"], "info");
        assert_eq!(trigger.get("client_url"), None);
    }
}
