//! Any program: POSTs Alertmanager's JSON, version "4", so that every existing receiver of it works.
//!
//! ```yaml
//! webhook_configs:
//!   - url: http://127.0.0.1:8080/hook                 # or url_file
//!     max_alerts: 0                                   # 0: all of them; what is left out is counted in truncatedAlerts
//!     hmac_secret: hmac-XXXXXXXXXXXXXXXXXXXXXXXX      # or hmac_secret_file: signs what is sent; default: not signed
//!     timeout: 10s
//!     send_resolved: true
//! ```
//!
//! Source: <https://prometheus.io/docs/alerting/latest/configuration/#webhook_config>. An alert's evidence goes along
//! as the annotation `modelwatch_evidence`, unless the rule has one of that name; not under `compatibility: alertmanager`.
//!
//! With `hmac_secret` a request has two more headers: `X-Modelwatch-Timestamp`, seconds since 1970, and
//! `X-Modelwatch-Signature`, `sha256=` and the HMAC-SHA256 in lower-case hex, under that secret, of the timestamp, a dot
//! and the body. To verify it: compute the same over the bytes that came, compare in constant time, and refuse timestamps
//! that are more than five minutes off, so that a recorded request cannot be sent again. In Python:
//!
//! ```python
//! signed = request.headers["X-Modelwatch-Timestamp"].encode() + b"." + body
//! expected = "sha256=" + hmac.new(secret, signed, "sha256").hexdigest()
//! ok = hmac.compare_digest(expected, request.headers["X-Modelwatch-Signature"])
//! ```

use std::sync::Arc;

use hmac::{Hmac, Mac};
use serde::Serialize;
use sha2::Sha256;

use crate::alert::{Alert, State};
use crate::labels::Labels;
use crate::message;
use crate::notify::{self, Answer, Context, Globals, HttpOptions, Kind, Notifier, Outcome, Request};
use crate::route::{Notification, Semantics};
use crate::secret::Secret;
use crate::time::Time;
use crate::yaml::{self, Faults, Fields};

/// `webhook_configs`
pub(super) const KIND: Kind = Kind { name: "webhook", key: "webhook_configs", parse };

/// Go's zero time: what Alertmanager sends as the end of an alert that fires.
const NOT_ENDED: &str = "0001-01-01T00:00:00Z";

#[derive(Debug)]
struct Webhook {
    url: Secret,
    /// 0: no bound.
    max_alerts: usize,
    hmac_secret: Option<Secret>,
    /// Whether what only we have goes along.
    with_evidence: bool,
    http: Arc<HttpOptions>,
}

/// The whole body, its keys in Alertmanager's order.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Body<'a> {
    receiver: &'a str,
    status: &'static str,
    alerts: Vec<AlertBody<'a>>,
    group_labels: &'a Labels,
    common_labels: Labels,
    common_annotations: Labels,
    #[serde(rename = "externalURL")]
    external_url: &'a str,
    version: &'static str,
    group_key: &'a str,
    truncated_alerts: usize,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct AlertBody<'a> {
    status: &'static str,
    labels: &'a Labels,
    annotations: Labels,
    starts_at: String,
    ends_at: String,
    #[serde(rename = "generatorURL")]
    generator_url: &'a str,
    fingerprint: String,
}

fn parse(fields: &mut Fields<'_>, faults: &mut Faults, globals: &Globals) -> Option<Arc<dyn Notifier>> {
    let url = notify::secret(fields, faults, ["url", "url_file"], notify::http_url);
    let max_alerts = fields.optional("max_alerts", faults, yaml::WHOLE).unwrap_or(0) as usize;
    let hmac_secret = notify::optional_secret(fields, faults, ["hmac_secret", "hmac_secret_file"], notify::not_empty);
    let http = notify::http_options(fields, faults, globals);
    let with_evidence = globals.semantics == Semantics::Ours;
    Some(Arc::new(Webhook { url: url?, max_alerts, hmac_secret, with_evidence, http }))
}

impl Notifier for Webhook {
    fn request(&self, notification: &Notification, context: &Context<'_>) -> Option<Request> {
        if context.step > 0 {
            return None;
        }
        let body = serde_json::to_vec(&self.body(notification, context.external_url)).ok()?;
        let mut headers = vec![("content-type", "application/json".to_owned())];
        if let Some(secret) = &self.hmac_secret {
            let timestamp = (context.now.0 / 1_000_000).to_string();
            headers.push(("x-modelwatch-signature", signature(secret, &timestamp, &body)));
            headers.push(("x-modelwatch-timestamp", timestamp));
        }
        Some(Request::Http { url: self.url.clone(), headers, body, options: self.http.clone() })
    }

    fn classify(&self, answer: &Answer) -> Outcome {
        notify::by_status(answer, &[408])
    }

    fn secrets(&self) -> Vec<&Secret> {
        [&self.url].into_iter().chain(&self.hmac_secret).chain(self.http.secrets()).collect()
    }
}

impl Webhook {
    fn body<'a>(&self, notification: &'a Notification, external_url: &'a str) -> Body<'a> {
        let all = &notification.alerts;
        // What is left out is in no part of the message but its number, as Alertmanager has it.
        let shown = &all[..if self.max_alerts == 0 { all.len() } else { self.max_alerts.min(all.len()) }];
        let annotations =
            |alert: &Alert| if self.with_evidence { message::annotations(alert) } else { alert.annotations.clone() };
        let alerts = shown.iter().map(|alert| AlertBody {
            status: message::status(alert.state == State::Firing),
            labels: &alert.labels,
            annotations: annotations(alert),
            starts_at: alert.fired_at.unwrap_or(alert.active_at).to_string(),
            ends_at: ended_at(alert).map_or_else(|| NOT_ENDED.to_owned(), |at| at.to_string()),
            generator_url: notify::generator_url(alert, external_url),
            fingerprint: alert.labels.fingerprint(),
        });
        Body {
            receiver: &notification.receiver,
            status: message::status(shown.iter().any(|alert| alert.state == State::Firing)),
            alerts: alerts.collect(),
            group_labels: &notification.group_labels,
            common_labels: message::common_labels(shown),
            common_annotations: common(shown.iter().map(annotations)),
            external_url,
            version: "4",
            group_key: &notification.group_key,
            truncated_alerts: all.len() - shown.len(),
        }
    }
}

fn ended_at(alert: &Alert) -> Option<Time> {
    alert.resolved_at.filter(|_| alert.state == State::Resolved)
}

/// What all of them have with the same text.
fn common(mut sets: impl Iterator<Item = Labels>) -> Labels {
    let mut shared = sets.next().unwrap_or_default();
    sets.for_each(|set| shared.0.retain(|name, text| set.get(name) == text));
    shared
}

fn signature(secret: &Secret, timestamp: &str, body: &[u8]) -> String {
    // A key of any length is taken.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(secret.reveal().as_bytes()) else { return String::new() };
    for part in [timestamp.as_bytes(), b".", body] {
        mac.update(part);
    }
    let hex: String = mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256={hex}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alert::Posted;
    use crate::notify::tests::{CONTEXT, notification};
    use serde_json::{Value, json};

    fn webhook() -> Webhook {
        let url = Secret::new("http://localhost/");
        Webhook { url, max_alerts: 0, hmac_secret: None, with_evidence: true, http: Arc::default() }
    }

    fn told(webhook: &Webhook, notification: &Notification) -> Value {
        serde_json::to_value(webhook.body(notification, "http://modelwatch")).unwrap()
    }

    #[test]
    fn sends_what_alertmanager_sends() {
        let body = serde_json::to_string_pretty(&webhook().body(&notification(1, 1), "http://modelwatch")).unwrap();
        insta::assert_snapshot!(body, @r#"
        {
          "receiver": "oncall",
          "status": "firing",
          "alerts": [
            {
              "status": "firing",
              "labels": {
                "alertname": "AIErrorSpike",
                "model": "gpt-4o",
                "org": "org-0",
                "severity": "high"
              },
              "annotations": {
                "modelwatch_evidence": "12 errors > 10 within 1h",
                "runbook_url": "https://wiki.example/runbooks/errors",
                "summary": "gpt-4o: 12 errors in the last hour for org-0"
              },
              "startsAt": "2023-11-14T22:14:20Z",
              "endsAt": "0001-01-01T00:00:00Z",
              "generatorURL": "http://modelwatch",
              "fingerprint": "0a2b882911b8d438"
            },
            {
              "status": "resolved",
              "labels": {
                "alertname": "AIErrorSpike",
                "model": "gpt-4o",
                "org": "org-1",
                "severity": "high"
              },
              "annotations": {
                "modelwatch_evidence": "13 errors > 10 within 1h",
                "runbook_url": "https://wiki.example/runbooks/errors",
                "summary": "gpt-4o: 13 errors in the last hour for org-1"
              },
              "startsAt": "2023-11-14T22:14:20Z",
              "endsAt": "2023-11-14T22:19:20Z",
              "generatorURL": "http://modelwatch",
              "fingerprint": "1c6e28d87677b201"
            }
          ],
          "groupLabels": {
            "alertname": "AIErrorSpike"
          },
          "commonLabels": {
            "alertname": "AIErrorSpike",
            "model": "gpt-4o",
            "severity": "high"
          },
          "commonAnnotations": {
            "runbook_url": "https://wiki.example/runbooks/errors"
          },
          "externalURL": "http://modelwatch",
          "version": "4",
          "groupKey": "{}:{alertname=\"AIErrorSpike\"}",
          "truncatedAlerts": 0
        }
        "#);
    }

    #[test]
    fn counts_what_it_leaves_out() {
        let body = told(&Webhook { max_alerts: 2, ..webhook() }, &notification(5, 1));
        assert_eq!((body["alerts"].as_array().unwrap().len(), &body["truncatedAlerts"]), (2, &json!(4)));
        let body = told(&Webhook { max_alerts: 6, ..webhook() }, &notification(5, 1));
        assert_eq!((body["alerts"].as_array().unwrap().len(), &body["truncatedAlerts"]), (6, &json!(0)));
    }

    #[test]
    fn an_alert_of_others_comes_as_it_was_posted() {
        let mut theirs = notification(1, 0);
        let alert = &mut theirs.alerts[0];
        alert.evidence = String::new();
        alert.posted = Some(Posted {
            generator_url: "http://prometheus:9090/graph?g0.expr=up".to_owned(),
            ends_at: Time::from_secs(1_700_009_999),
            updated_at: Time::from_secs(1_700_000_100),
            timeout: false,
        });
        let body = told(&webhook(), &theirs);
        let alert = &body["alerts"][0];
        assert_eq!(alert["generatorURL"], "http://prometheus:9090/graph?g0.expr=up");
        assert_eq!((&alert["startsAt"], &alert["endsAt"]), (&json!("2023-11-14T22:14:20Z"), &json!(NOT_ENDED)));
        assert_eq!(alert["annotations"].get(message::EVIDENCE), None);
    }

    #[test]
    fn nothing_of_ours_comes_where_alertmanager_is_to_be_taken_for() {
        let body = told(&Webhook { with_evidence: false, ..webhook() }, &notification(1, 0));
        assert!(!body.to_string().contains(message::EVIDENCE), "{body}");
    }

    /// The vectors of RFC 4231 say that it is HMAC; tests/it/conformance.rs lets Python verify a request.
    #[test]
    fn signs_timestamp_and_body() {
        let signed = signature(&Secret::new("Jefe"), "what do ya want for nothing?", b"");
        // HMAC-SHA256("Jefe", "what do ya want for nothing?.") by `openssl dgst -sha256 -hmac Jefe`.
        assert_eq!(signed, "sha256=38c6c848e5a2f57451f5095df6370d5c9b83175b99df46422b34960c28def6ae");
        let webhook = Webhook { hmac_secret: Some(Secret::new("key")), ..webhook() };
        let Some(Request::Http { headers, body, .. }) = webhook.request(&notification(1, 0), &CONTEXT) else { panic!() };
        let header = |name| headers.iter().find(|(known, _)| *known == name).unwrap().1.as_str();
        assert_eq!(header("x-modelwatch-timestamp"), "1700000361");
        assert_eq!(header("x-modelwatch-signature"), signature(&Secret::new("key"), "1700000361", &body));
    }
}
