//! Prints notifications: for a first look, for `modelwatch demo`, and for whoever reads the log.
//!
//! ```yaml
//! stdout_configs:
//!   - send_resolved: true
//! ```
//!
//! No options. The text is what Slack would show, without colour; control characters from rows are escaped, and all
//! but the title is indented, so that no row can forge a title.

use std::sync::Arc;

use crate::message;
use crate::notify::{Answer, Context, Kind, Notifier, Outcome, Request};
use crate::route::Notification;
use crate::secret::Secret;

/// `stdout_configs`
pub(super) const KIND: Kind = Kind { name: "stdout", key: "stdout_configs", parse: |_, _, _| Some(Arc::new(Stdout)) };

/// Alerts that are shown one by one.
const MAX_ALERTS: usize = 20;

/// Characters of a line; longer ones are cut.
const MAX_LINE: usize = 500;

/// Lines of a description that are shown.
const MAX_LINES: usize = 10;

#[derive(Debug)]
struct Stdout;

impl Notifier for Stdout {
    fn request(&self, notification: &Notification, context: &Context<'_>) -> Option<Request> {
        (context.step == 0).then(|| Request::Print(print(notification, context.external_url)))
    }

    /// There is no answer to printing; that it failed is said by `classify_network`.
    fn classify(&self, _: &Answer) -> Outcome {
        Outcome::Delivered
    }

    fn secrets(&self) -> Vec<&Secret> {
        Vec::new()
    }
}

fn print(notification: &Notification, external_url: &str) -> String {
    let common = message::common_labels(&notification.alerts);
    let mut lines = vec![message::truncate(&message::title(notification), MAX_LINE)];
    let mut push = |indent: usize, text: &str| {
        lines.push(format!("{}{}", " ".repeat(indent), message::truncate(&message::one_line(text), MAX_LINE)));
    };
    for alert in notification.alerts.iter().take(MAX_ALERTS) {
        let mut headline = message::headline(alert);
        headline = headline.trim().to_owned();
        push(2, &headline);
        for line in message::description(alert).unwrap_or_default().lines().take(MAX_LINES) {
            push(4, line);
        }
        let evidence = message::evidence(alert);
        if !evidence.is_empty() && !headline.contains(evidence) {
            push(4, evidence);
        }
        if let Some(contributors) = message::contributors(alert) {
            push(4, &format!("most by {contributors}"));
        }
        push(4, &message::facts(alert, notification.at));
        let own = message::own_labels(alert, &common);
        let labels: Vec<String> = own.iter().map(|(name, value)| format!("{name}={value}")).collect();
        if !labels.is_empty() {
            push(4, &labels.join("  "));
        }
    }
    if let Some(more) = message::and_more(notification.alerts.len(), MAX_ALERTS) {
        push(2, &more);
    }
    if let Some(affected) = message::affected(notification) {
        push(2, &format!("Affected: {affected}"));
    }
    for link in message::links(notification).into_iter().chain(message::actions(notification, external_url)) {
        push(2, &format!("{}: {}", link.text, link.url));
    }
    push(2, &format!("{} Severity {}, {external_url}", message::occasion(notification), message::severity(notification)));
    lines.join("\n") + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notify::tests::notification;

    #[test]
    fn shows_what_slack_would() {
        let text = print(&notification(2, 1), "http://modelwatch");
        insta::assert_snapshot!(text, @r#"
        [FIRING:2] AIErrorSpike model=gpt-4o
          gpt-4o: 12 errors in the last hour for org-0
            12 errors > 10 within 1h
            value 12, since 2023-11-14T22:14:20Z (5m)
            org=org-0
          gpt-4o: 13 errors in the last hour for org-1
            13 errors > 10 within 1h
            value 13, since 2023-11-14T22:14:20Z (5m)
            org=org-1
          gpt-4o: 14 errors in the last hour for org-2
            14 errors > 10 within 1h
            value 14, resolved after 5m
            org=org-2
          Affected: org org-0, org-1
          Runbook: https://wiki.example/runbooks/errors
          Silence: http://modelwatch/silences/new?filter=%7Balertname%3D%22AIErrorSpike%22%7D
          Acknowledge: http://modelwatch/ack?receiver=oncall&group=%7B%7D%3A%7Balertname%3D%22AIErrorSpike%22%7D
          Another alert fires. Severity error, http://modelwatch
        "#);
    }

    #[test]
    fn rows_cannot_forge_lines() {
        let mut hostile = notification(1, 0);
        hostile.alerts[0].labels.set("org", "x\n[FIRING:9] Forged\u{1b}[2J");
        hostile.alerts[0].annotations.set("description", "fine\n[FIRING:9] Forged\u{1b}[2J");
        let text = print(&hostile, "http://modelwatch");
        assert!(!text.contains('\u{1b}'), "{text}");
        assert_eq!(text.lines().filter(|line| !line.starts_with(' ')).count(), 1, "{text}");
    }
}
