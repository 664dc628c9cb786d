//! Alertmanager: hands alerts on to one or several, as Prometheus does.
//!
//! ```yaml
//! alertmanager_configs:
//!   - urls: [http://127.0.0.1:9093/am-s3cr3t-prefix]   # each without /api/v2/alerts; all are told, one is enough
//!     refresh: 1m                                      # how often what fires is told again
//!     send_resolved: true
//! ```
//!
//! Source: <https://prometheus.io/docs/alerting/latest/alerts_api/>, and `notifier/notifier.go` and `rules/alerting.go` of
//! Prometheus for times and for what counts as told. While an alert fires it ends, for them, four refreshes from now, so
//! that it outlives three that are lost and not this process; when it is over it has ended when it ended here. Members of
//! a cluster do not pass alerts on to each other: each is told all of them.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::alert::{Alert, State};
use crate::message;
use crate::notify::{self, Answer, Context, Globals, HttpOptions, Kind, Notifier, Outcome, Request};
use crate::route::Notification;
use crate::secret::Secret;
use crate::time::{Span, Time};
use crate::yaml::{self, Faults, Fields};

/// `alertmanager_configs`
pub(super) const KIND: Kind = Kind { name: "alertmanager", key: "alertmanager_configs", parse };

/// Where alerts are posted under a base URL.
const PATH: &str = "/api/v2/alerts";

/// How often what fires is told again, and the least that counts for its end: as in Prometheus.
const REFRESH: Span = Span::secs(60);

#[derive(Debug)]
struct Alertmanager {
    urls: Vec<Secret>,
    refresh: Span,
    http: Arc<HttpOptions>,
}

fn parse(fields: &mut Fields<'_>, faults: &mut Faults, globals: &Globals) -> Option<Arc<dyn Notifier>> {
    let urls = fields.required("urls", faults, yaml::list(yaml::SECRET.then(notify::http_url)).then(any));
    let refresh = fields.optional("refresh", faults, yaml::POSITIVE_SPAN).unwrap_or(REFRESH);
    let http = notify::http_options(fields, faults, globals);
    let urls = urls?.iter().map(endpoint).collect();
    Some(Arc::new(Alertmanager { urls, refresh, http }))
}

fn any(urls: Vec<Secret>) -> Result<Vec<Secret>, String> {
    if urls.is_empty() { Err("is empty".to_owned()) } else { Ok(urls) }
}

fn endpoint(base: &Secret) -> Secret {
    let base = base.reveal().trim_end_matches('/');
    Secret::new(if base.ends_with(PATH) { base.to_owned() } else { format!("{base}{PATH}") })
}

impl Notifier for Alertmanager {
    fn request(&self, notification: &Notification, context: &Context<'_>) -> Option<Request> {
        let url = self.urls.get(context.step)?;
        let ends_at = context.now + Span(4 * self.refresh.max(REFRESH).0);
        let alerts = notification.alerts.iter().map(|alert| posted(alert, ends_at, context.external_url));
        Some(Request::json(url, &self.http, &alerts.collect()))
    }

    fn classify(&self, answer: &Answer) -> Outcome {
        notify::by_status(answer, &[408])
    }

    fn is_told_by_any(&self) -> bool {
        true
    }

    fn refresh(&self) -> Option<Span> {
        Some(self.refresh)
    }

    fn secrets(&self) -> Vec<&Secret> {
        self.urls.iter().chain(self.http.secrets()).collect()
    }

    fn target(&self) -> String {
        self.urls.iter().map(Secret::reveal).collect::<Vec<_>>().join("\n")
    }
}

fn posted(alert: &Alert, ends_at: Time, external_url: &str) -> Value {
    let over = alert.resolved_at.filter(|_| alert.state == State::Resolved);
    json!({
        "labels": alert.labels,
        "annotations": message::annotations(alert),
        "startsAt": alert.fired_at.unwrap_or(alert.active_at).to_string(),
        "endsAt": over.unwrap_or(ends_at).to_string(),
        "generatorURL": notify::generator_url(alert, external_url),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notify::tests::{CONTEXT, notification};

    fn alertmanager(urls: &[&str], refresh: Span) -> Alertmanager {
        let urls = urls.iter().map(|url| endpoint(&Secret::new(*url))).collect();
        Alertmanager { urls, refresh, http: Arc::default() }
    }

    fn told(notifier: &Alertmanager, step: usize) -> (String, Value) {
        let request = notifier.request(&notification(1, 1), &Context { step, ..CONTEXT });
        let Some(Request::Http { url, body, .. }) = request else { panic!("no request") };
        (url.reveal().to_owned(), serde_json::from_slice(&body).unwrap())
    }

    #[test]
    fn posts_what_prometheus_posts() {
        let (_, body) = told(&alertmanager(&["http://a"], REFRESH), 0);
        insta::assert_snapshot!(serde_json::to_string_pretty(&body).unwrap(), @r#"
        [
          {
            "annotations": {
              "modelwatch_evidence": "12 errors > 10 within 1h",
              "runbook_url": "https://wiki.example/runbooks/errors",
              "summary": "gpt-4o: 12 errors in the last hour for org-0"
            },
            "endsAt": "2023-11-14T22:23:21Z",
            "generatorURL": "http://modelwatch",
            "labels": {
              "alertname": "AIErrorSpike",
              "model": "gpt-4o",
              "org": "org-0",
              "severity": "high"
            },
            "startsAt": "2023-11-14T22:14:20Z"
          },
          {
            "annotations": {
              "modelwatch_evidence": "13 errors > 10 within 1h",
              "runbook_url": "https://wiki.example/runbooks/errors",
              "summary": "gpt-4o: 13 errors in the last hour for org-1"
            },
            "endsAt": "2023-11-14T22:19:20Z",
            "generatorURL": "http://modelwatch",
            "labels": {
              "alertname": "AIErrorSpike",
              "model": "gpt-4o",
              "org": "org-1",
              "severity": "high"
            },
            "startsAt": "2023-11-14T22:14:20Z"
          }
        ]
        "#);
    }

    #[test]
    fn tells_each_of_them() {
        let two = alertmanager(&["http://a/", "http://b/prefix", "http://c/api/v2/alerts"], REFRESH);
        let urls: Vec<String> = (0..3).map(|step| told(&two, step).0).collect();
        assert_eq!(urls, ["http://a/api/v2/alerts", "http://b/prefix/api/v2/alerts", "http://c/api/v2/alerts"]);
        assert!(two.request(&notification(1, 0), &Context { step: 3, ..CONTEXT }).is_none());
        assert!(two.is_told_by_any());
    }

    #[test]
    fn what_fires_ends_four_refreshes_from_now() {
        #[track_caller]
        fn check(refresh: Span, expected: Span) {
            let (_, body) = told(&alertmanager(&["http://a"], refresh), 0);
            let ends_at = Time::parse(body[0]["endsAt"].as_str().unwrap()).unwrap();
            assert_eq!(ends_at - CONTEXT.now, expected);
            assert_eq!(body[1]["endsAt"], "2023-11-14T22:19:20Z");
        }
        check(Span::secs(60), Span::secs(240));
        check(Span::secs(5), Span::secs(240));
        check(Span::secs(300), Span::secs(1_200));
    }
}
