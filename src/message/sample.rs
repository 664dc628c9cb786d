//! Made-up notifications: what templates are checked against, and what `notify-test` sends where there are no rules.

use crate::alert::{Alert, Finding, State};
use crate::labels::Labels;
use crate::message;
use crate::route::Notification;
use crate::time::{Span, Time};

/// When the samples were decided.
const AT: Time = Time::from_secs(1_795_000_000);

/// Two alerts of one rule that fire.
pub fn firing() -> Notification {
    notification(State::Firing, AT)
}

/// The same, over.
pub fn resolved() -> Notification {
    notification(State::Resolved, AT)
}

/// Two alerts of one rule in that state, told at `at`.
pub fn notification(state: State, at: Time) -> Notification {
    let finding = |org: &str, errors: i32| {
        let labels = [("alertname", "AIErrorSpike"), ("model", "gpt-4o"), ("org", org), ("severity", "high")];
        let annotations = [
            ("summary", format!("gpt-4o: {errors} errors in the last hour for {org}")),
            ("description", "Calls of this organisation fail far more often than before.".to_owned()),
            ("runbook_url", "https://runbooks.example.com/ai-errors".to_owned()),
            ("dashboard_url", "https://grafana.example.com/d/ai".to_owned()),
        ];
        Finding {
            labels: labels.into_iter().collect(),
            annotations: annotations.into_iter().collect(),
            value: f64::from(errors),
            evidence: format!("{errors} errors > 10 within 1h; top user: user-1 9, user-2 3"),
        }
    };
    let told = of_findings([finding("acme", 12), finding("globex", 15)], state, at);
    let group_labels: Labels = [("alertname", "AIErrorSpike"), ("model", "gpt-4o")].into_iter().collect();
    Notification { group_key: format!("{{}}:{group_labels}"), group_labels, ..told }
}

/// Alerts of these findings in that state, told at `at` as one group, by the labels that all of them share.
pub fn of_findings(findings: impl IntoIterator<Item = Finding>, state: State, at: Time) -> Notification {
    let alert = |Finding { labels, annotations, value, evidence }| Alert {
        labels,
        annotations,
        value,
        evidence,
        state,
        active_at: at - Span::secs(360),
        fired_at: Some(at - Span::secs(300)),
        resolved_at: (state == State::Resolved).then_some(at),
        absent_since: None,
        late: false,
        posted: None,
    };
    let alerts: Vec<Alert> = findings.into_iter().map(alert).collect();
    let group_labels = message::common_labels(&alerts);
    Notification {
        receiver: "oncall".to_owned(),
        group_key: format!("{{}}:{group_labels}"),
        group_labels,
        alerts,
        reason: if state == State::Firing { "first alert" } else { "resolved" }.to_owned(),
        at,
    }
}
