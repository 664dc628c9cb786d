//! Any program: POSTs Alertmanager's JSON, version "4", so that every existing receiver of it works.
//!
//! ```yaml
//! webhook_configs:
//!   - url: http://127.0.0.1:8080/hook   # or url_file
//!     max_alerts: 0                     # 0: all of them; what is left out is counted in truncatedAlerts
//!     send_resolved: true
//! ```
//!
//! Source: <https://prometheus.io/docs/alerting/latest/configuration/#webhook_config>. An alert's evidence goes along
//! as the annotation `modelwatch_evidence`, unless the rule has one of that name.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::alert::{Alert, State};
use crate::message;
use crate::notify::{self, Answer, Kind, Notifier, Outcome, Request};
use crate::route::Notification;
use crate::secret::Secret;
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
}

fn parse(fields: &mut Fields<'_>, faults: &mut Faults) -> Option<Arc<dyn Notifier>> {
    let url = notify::secret(fields, faults, ["url", "url_file"], notify::http_url);
    let max_alerts = fields.optional("max_alerts", faults, yaml::WHOLE).unwrap_or(0) as usize;
    Some(Arc::new(Webhook { url: url?, max_alerts }))
}

impl Notifier for Webhook {
    fn request(&self, notification: &Notification, external_url: &str) -> Request {
        Request::json(&self.url, &self.body(notification, external_url))
    }

    fn classify(&self, answer: &Answer) -> Outcome {
        notify::by_status(answer, &[408])
    }

    fn secrets(&self) -> Vec<&Secret> {
        vec![&self.url]
    }
}

impl Webhook {
    fn body(&self, notification: &Notification, external_url: &str) -> Value {
        let all = &notification.alerts;
        let shown = if self.max_alerts == 0 { all.len() } else { self.max_alerts.min(all.len()) };
        let alerts: Vec<Value> = all[..shown].iter().map(|alert| alert_json(alert, external_url)).collect();
        json!({
            "version": "4",
            "groupKey": notification.group_key,
            "truncatedAlerts": all.len() - shown,
            "status": message::status(message::is_firing(notification)),
            "receiver": notification.receiver,
            "groupLabels": notification.group_labels,
            "commonLabels": message::common_labels(all),
            "commonAnnotations": message::common_annotations(all),
            "externalURL": external_url,
            "alerts": alerts,
        })
    }
}

fn alert_json(alert: &Alert, external_url: &str) -> Value {
    json!({
        "status": message::status(alert.state == State::Firing),
        "labels": alert.labels,
        "annotations": message::annotations(alert),
        "startsAt": alert.fired_at.unwrap_or(alert.active_at).to_string(),
        "endsAt": alert.resolved_at.filter(|_| alert.state == State::Resolved).map_or_else(|| NOT_ENDED.to_owned(), |at| at.to_string()),
        "generatorURL": external_url,
        "fingerprint": alert.labels.fingerprint(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notify::tests::notification;

    #[test]
    fn sends_what_alertmanager_sends() {
        let webhook = Webhook { url: Secret::new("http://localhost/"), max_alerts: 0 };
        let body = webhook.body(&notification(1, 1), "http://modelwatch");
        insta::assert_snapshot!(serde_json::to_string_pretty(&body).unwrap(), @r#"
        {
          "alerts": [
            {
              "annotations": {
                "modelwatch_evidence": "12 errors > 10 within 1h",
                "runbook_url": "https://wiki.example/runbooks/errors",
                "summary": "gpt-4o: 12 errors in the last hour for org-0"
              },
              "endsAt": "0001-01-01T00:00:00Z",
              "fingerprint": "1e1386d439696124",
              "generatorURL": "http://modelwatch",
              "labels": {
                "alertname": "AIErrorSpike",
                "model": "gpt-4o",
                "org": "org-0",
                "severity": "high"
              },
              "startsAt": "2023-11-14T22:14:20Z",
              "status": "firing"
            },
            {
              "annotations": {
                "modelwatch_evidence": "13 errors > 10 within 1h",
                "runbook_url": "https://wiki.example/runbooks/errors",
                "summary": "gpt-4o: 13 errors in the last hour for org-1"
              },
              "endsAt": "2023-11-14T22:19:20Z",
              "fingerprint": "0642afdf98398b9f",
              "generatorURL": "http://modelwatch",
              "labels": {
                "alertname": "AIErrorSpike",
                "model": "gpt-4o",
                "org": "org-1",
                "severity": "high"
              },
              "startsAt": "2023-11-14T22:14:20Z",
              "status": "resolved"
            }
          ],
          "commonAnnotations": {
            "runbook_url": "https://wiki.example/runbooks/errors"
          },
          "commonLabels": {
            "alertname": "AIErrorSpike",
            "model": "gpt-4o",
            "severity": "high"
          },
          "externalURL": "http://modelwatch",
          "groupKey": "{}:{alertname=\"AIErrorSpike\"}",
          "groupLabels": {
            "alertname": "AIErrorSpike"
          },
          "receiver": "oncall",
          "status": "firing",
          "truncatedAlerts": 0,
          "version": "4"
        }
        "#);
    }

    #[test]
    fn counts_what_it_leaves_out() {
        let webhook = Webhook { url: Secret::new("http://localhost/"), max_alerts: 2 };
        let body = webhook.body(&notification(5, 1), "http://modelwatch");
        assert_eq!((body["alerts"].as_array().unwrap().len(), &body["truncatedAlerts"]), (2, &json!(4)));
    }
}
