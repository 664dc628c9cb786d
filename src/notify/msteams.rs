//! Microsoft Teams through an incoming webhook of Microsoft 365, for as long as there still are any: one message card for
//! each notification. What is made anew is a workflow: `msteamsv2_configs`.
//!
//! ```yaml
//! msteams_configs:
//!   - webhook_url: https://example.webhook.office.com/webhookb2/XXXXXXXXXXXXXXXXXXXXXXXX   # or webhook_url_file
//!     send_resolved: true
//! ```
//!
//! Source: <https://learn.microsoft.com/microsoftteams/platform/webhooks-and-connectors/how-to/add-incoming-webhook> (28 KB a
//! message, four requests a second) and
//! <https://learn.microsoft.com/outlook/actionable-messages/message-card-reference> (ten sections, four actions). A bar in the
//! colour of state and severity, a section for each alert, the labels that all share as facts, buttons.
//!
//! `title`, `summary` and `text` (for the alerts) are Alertmanager's, and templates: there Markdown is read.
//!
//! Other sections are without Markdown, and what means something to HTML is escaped, so that text from rows can only be read. An
//! answer of 200 may hold the error that Teams met behind it.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::alert::Alert;
use crate::labels::Labels;
use crate::message::{self, Data, Text};
use crate::notify::msteamsv2::{PACE, message_that_fits};
use crate::notify::text::{self, Story};
use crate::notify::{self, Answer, Context, Globals, HttpOptions, Kind, Notifier, Outcome, Pace, Request};
use crate::route::Notification;
use crate::secret::Secret;
use crate::yaml::{Faults, Fields};

/// `msteams_configs`
pub(super) const KIND: Kind = Kind { name: "msteams", key: "msteams_configs", parse };

/// A card has ten sections: one is that of the labels.
const MAX_SECTIONS: usize = 9;

/// A card has four actions.
const MAX_ACTIONS: usize = 4;

/// Characters of a `text` of the configuration, of which the card cannot show less.
const TEXT_CHARS: usize = 4_000;

/// Characters of all alerts, of the title, and of the names and values of labels.
const ALERTS_CHARS: usize = 8_000;
const TITLE_CHARS: usize = 300;
const LABEL_CHARS: usize = 150;

/// Labels that are shown.
const MAX_LABELS: usize = 10;

#[derive(Debug)]
struct Teams {
    webhook_url: Secret,
    title: Option<Text>,
    summary: Option<Text>,
    text: Option<Text>,
    http: Arc<HttpOptions>,
}

fn parse(fields: &mut Fields<'_>, faults: &mut Faults, globals: &Globals) -> Option<Arc<dyn Notifier>> {
    let webhook_url = notify::secret(fields, faults, ["webhook_url", "webhook_url_file"], notify::http_url);
    let mut words = |key| text::words(key, fields, faults, globals, escape_all);
    let (title, summary, text) = (words("title"), words("summary"), words("text"));
    let http = notify::http_options(fields, faults, globals);
    Some(Arc::new(Teams { webhook_url: webhook_url?, title, summary, text, http }))
}

impl Notifier for Teams {
    fn request(&self, notification: &Notification, context: &Context<'_>) -> Option<Request> {
        let body =
            || message_that_fits(notification, |shown| self.card(notification, context.external_url, shown.min(MAX_SECTIONS)));
        (context.step == 0).then(|| Request::json(&self.webhook_url, &self.http, &body()))
    }

    /// `Webhook message delivery failed with error: Microsoft Teams endpoint returned HTTP error 429 with ContextId ...`
    fn classify(&self, answer: &Answer) -> Outcome {
        let behind = answer.body.split_once("returned HTTP error ").and_then(|(_, rest)| rest.get(..3)?.parse().ok());
        match behind.filter(|_| answer.status == 200) {
            Some(status) => notify::by_status(&Answer { status, ..answer.clone() }, &[]),
            None => notify::by_status(answer, &[]),
        }
    }

    fn pace(&self) -> Option<Pace> {
        Some(Pace::of(KIND.name, &self.webhook_url, PACE))
    }

    fn secrets(&self) -> Vec<&Secret> {
        [&self.webhook_url].into_iter().chain(self.http.secrets()).collect()
    }
}

impl Teams {
    fn card(&self, notification: &Notification, external_url: &str, shown: usize) -> Value {
        let common = message::common_labels(&notification.alerts);
        let data = Data::new(notification, external_url);
        let said = |text: &Option<Text>, max| text.as_ref().map(|text| text::said(text, &data, max));
        let title = said(&self.title, TITLE_CHARS).unwrap_or_else(|| escape(&message::title(notification), TITLE_CHARS));
        let budget = (ALERTS_CHARS / shown.max(1)).min(1_500);
        let mut sections: Vec<Value> = match said(&self.text, TEXT_CHARS) {
            Some(text) => vec![json!({ "text": text })],
            None => notification.alerts.iter().take(shown).map(|alert| section(alert, &common, notification, budget)).collect(),
        };
        let more = message::and_more(notification.alerts.len(), shown).filter(|_| self.text.is_none());
        let more = more.map(|more| more + "; ").unwrap_or_default();
        let facts = text::shared_labels(&common).take(MAX_LABELS);
        let facts: Vec<Value> =
            facts.map(|(name, value)| json!({ "name": escape(&name, 60), "value": escape(&value, LABEL_CHARS) })).collect();
        let footer = escape(&format!("{more}{}", notification.reason), LABEL_CHARS);
        sections.push(json!({ "facts": facts, "text": footer, "markdown": false }));
        json!({
            "@type": "MessageCard",
            "@context": "https://schema.org/extensions",
            "themeColor": format!("{:06x}", text::colour(notification)),
            "summary": said(&self.summary, TITLE_CHARS).unwrap_or_else(|| title.clone()),
            "title": title,
            "sections": sections,
            "potentialAction": actions(notification, external_url),
        })
    }
}

fn actions(notification: &Notification, external_url: &str) -> Vec<Value> {
    let own = message::http_url(external_url).map(|url| ("modelwatch", url));
    let links = message::links(notification).into_iter().chain(message::actions(notification, external_url));
    let links = own.into_iter().chain(links.map(|link| (link.text, link.url)));
    let action = |(text, url)| json!({ "@type": "OpenUri", "name": text, "targets": [{ "os": "default", "uri": url }] });
    links.take(MAX_ACTIONS).map(action).collect()
}

fn section(alert: &Alert, common: &Labels, notification: &Notification, budget: usize) -> Value {
    let Story { headline, rest } = Story::of(alert, common, notification.at).within(budget, escape);
    json!({ "activityTitle": headline, "text": rest.join("\n").replace('\n', "<br>"), "markdown": false })
}

/// Text that means nothing to HTML and cannot link, in at most `max` characters after its escapes. The Markdown that is left
/// in a title cannot but embolden.
fn escape(text: &str, max: usize) -> String {
    let text = text::without_links(&text::without_calls(text::head(text, max)));
    text::escape_within(&text, max, |c, out| match c {
        '&' => out.push_str("&amp;"),
        '<' => out.push_str("&lt;"),
        '>' => out.push_str("&gt;"),
        _ => out.push(c),
    })
}

/// The same for what a template fills in, which is cut later.
fn escape_all(text: &str) -> String {
    escape(text, ALERTS_CHARS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notify::tests::notification;
    use crate::time::Time;

    fn teams() -> Teams {
        let (title, summary, text) = (None, None, None);
        Teams { webhook_url: Secret::new("http://x"), title, summary, text, http: Arc::default() }
    }

    #[test]
    fn shows_alerts() {
        let body = teams().card(&notification(1, 1), "http://modelwatch", 2);
        insta::assert_snapshot!(crate::notify::tests::lines(&body["potentialAction"], &body["sections"]), @r#"
        [{"@type":"OpenUri","name":"modelwatch","targets":[{"os":"default","uri":"http://modelwatch/"}]},{"@type":"OpenUri","name":"Runbook","targets":[{"os":"default","uri":"https://wiki.example/runbooks/errors"}]},{"@type":"OpenUri","name":"Silence","targets":[{"os":"default","uri":"http://modelwatch/silences/new?filter=%7Balertname%3D%22AIErrorSpike%22%7D"}]},{"@type":"OpenUri","name":"Acknowledge","targets":[{"os":"default","uri":"http://modelwatch/ack?receiver=oncall&group=%7B%7D%3A%7Balertname%3D%22AIErrorSpike%22%7D"}]}]
        {"activityTitle":"gpt-4o: 12 errors in the last hour for org-0","markdown":false,"text":"value 12, since 2023-11-14T22:14:20Z (5m)<br>12 errors &gt; 10 within 1h<br>org=org-0"}
        {"activityTitle":"Resolved: gpt-4o: 13 errors in the last hour for org-1","markdown":false,"text":"value 13, resolved after 5m<br>13 errors &gt; 10 within 1h<br>org=org-1"}
        {"facts":[{"name":"model","value":"gpt-4o"},{"name":"severity","value":"high"}],"markdown":false,"text":"new alert"}
        "#);
    }

    #[test]
    fn text_can_only_be_read() {
        let hostile = "<b>x</b> [a](http://b) *c* @everyone";
        let escaped = "&lt;b&gt;x&lt;/b&gt; [a](http:\u{200b}//b) *c* @\u{200b}everyone";
        assert_eq!(escape(hostile, 200), escaped);
    }

    #[test]
    fn an_error_behind_a_200_counts() {
        #[track_caller]
        fn check(body: &str, expected: char) {
            let letter = match teams().classify(&Answer::new(200, None, body.as_bytes(), Time(0))) {
                Outcome::Delivered => 'D',
                Outcome::Retry { .. } => 'A',
                Outcome::Rejected { .. } => 'N',
            };
            assert_eq!(letter, expected, "{body}");
        }
        let failed = |status| {
            format!(
                "Webhook message delivery failed with error: Microsoft Teams endpoint returned HTTP error {status} with ContextId x"
            )
        };
        check("1", 'D');
        check("", 'D');
        check(&failed(429), 'A');
        check(&failed(502), 'A');
        check(&failed(413), 'N');
    }
}
