//! Microsoft Teams through a workflow ("When a Teams webhook request is received"): one adaptive card for each notification.
//!
//! ```yaml
//! msteamsv2_configs:
//!   - webhook_url: https://example.logic.azure.com/workflows/0000/triggers/manual/paths/invoke?sig=XXXXXXXXXXXXXXXXXXXXXXXX
//!     send_resolved: true
//! ```
//!
//! Or `webhook_url_file`. Source: <https://learn.microsoft.com/power-automate/teams/overview>,
//! <https://learn.microsoft.com/connectors/teams/#known-issues-and-limitations-with-actions> (28 KB a message) and
//! <https://adaptivecards.io/explorer/RichTextBlock.html>. The title in the colour of state and severity, a paragraph for each
//! alert, the labels that all share, buttons for modelwatch, runbook and dashboard.
//!
//! `title` and `text` (for the alerts) are Alertmanager's, and templates: blocks of text in which Teams reads Markdown.
//!
//! All other text stands in runs of rich text, in which Teams reads no Markdown, no HTML and no mention, so that text from rows
//! can only be read. The card shows fewer alerts until it fits.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::labels::Labels;
use crate::message::{self, Data, Severity, Text};
use crate::notify::text::{self, Story};
use crate::notify::{self, Answer, Context, Globals, HttpOptions, Kind, Notifier, Outcome, Pace, Request};
use crate::route::Notification;
use crate::secret::Secret;
use crate::time::Span;
use crate::yaml::{Faults, Fields};

/// `msteamsv2_configs`
pub(super) const KIND: Kind = Kind { name: "msteamsv2", key: "msteamsv2_configs", parse };

/// Teams takes "approximately 28 KB", in which what it makes of the card counts.
pub(super) const BODY_BYTES: usize = 24 * 1024;

/// Four requests a second.
pub(super) const PACE: Span = Span::millis(250);

/// Alerts that are shown one by one, and characters of all of them.
const MAX_ALERTS: usize = 20;
const ALERTS_CHARS: usize = 8_000;

/// Characters of a `text` of the configuration, of which the card cannot show less.
const TEXT_CHARS: usize = 4_000;

/// Labels that are shown, and characters of a name and a value, and of the title.
const MAX_LABELS: usize = 10;
const LABEL_CHARS: usize = 150;
const TITLE_CHARS: usize = 300;

#[derive(Debug)]
struct Teams {
    webhook_url: Secret,
    title: Option<Text>,
    text: Option<Text>,
    http: Arc<HttpOptions>,
}

fn parse(fields: &mut Fields<'_>, faults: &mut Faults, globals: &Globals) -> Option<Arc<dyn Notifier>> {
    let webhook_url = notify::secret(fields, faults, ["webhook_url", "webhook_url_file"], notify::http_url);
    let mut words = |key| text::words(key, fields, faults, globals, escape_markdown);
    let (title, text) = (words("title"), words("text"));
    let http = notify::http_options(fields, faults, globals);
    Some(Arc::new(Teams { webhook_url: webhook_url?, title, text, http }))
}

impl Notifier for Teams {
    fn request(&self, notification: &Notification, context: &Context<'_>) -> Option<Request> {
        let body = || message_that_fits(notification, |shown| self.message(notification, context.external_url, shown));
        (context.step == 0).then(|| Request::json(&self.webhook_url, &self.http, &body()))
    }

    fn classify(&self, answer: &Answer) -> Outcome {
        notify::by_status(answer, &[])
    }

    fn pace(&self) -> Option<Pace> {
        Some(Pace::of("msteams", &self.webhook_url, PACE))
    }

    fn secrets(&self) -> Vec<&Secret> {
        [&self.webhook_url].into_iter().chain(self.http.secrets()).collect()
    }
}

/// The message with as many alerts as it has room for.
pub(super) fn message_that_fits(notification: &Notification, message: impl Fn(usize) -> Value) -> Value {
    let mut shown = notification.alerts.len().min(MAX_ALERTS);
    loop {
        let body = message(shown);
        if shown == 0 || body.to_string().len() <= BODY_BYTES {
            return body;
        }
        shown /= 2;
    }
}

impl Teams {
    fn message(&self, notification: &Notification, external_url: &str, shown: usize) -> Value {
        let common = message::common_labels(&notification.alerts);
        let data = Data::new(notification, external_url);
        let said = |text: &Option<Text>, max| text.as_ref().map(|text| text::said(text, &data, max));
        let heading = |text: &str, of: &str| json!({ "type": of, "text": text, "weight": "bolder", "size": "large", "color": colour(notification) });
        let mut body = vec![match said(&self.title, TITLE_CHARS) {
            Some(title) => written(heading(&title, "TextBlock")),
            None => block(vec![heading(&plain(&message::title(notification), TITLE_CHARS), "TextRun")]),
        }];
        match said(&self.text, TEXT_CHARS) {
            Some(text) => body.push(written(json!({ "type": "TextBlock", "text": text }))),
            None => body.extend(stories(notification, &common, shown)),
        }
        body.extend(labels(&common));
        let more = message::and_more(notification.alerts.len(), shown).filter(|_| self.text.is_none());
        let more = more.map(|more| more + "; ").unwrap_or_default();
        let mut footer = run(&plain(&format!("{more}{}", notification.reason), LABEL_CHARS), false);
        footer["isSubtle"] = true.into();
        body.push(block(vec![footer]));
        card(body, actions(notification, external_url))
    }
}

fn stories(notification: &Notification, common: &Labels, shown: usize) -> Vec<Value> {
    let mut blocks = Vec::new();
    let budget = (ALERTS_CHARS / shown.max(1)).min(1_500);
    for alert in notification.alerts.iter().take(shown) {
        let Story { headline, rest } = Story::of(alert, common, notification.at).within(budget, plain);
        let mut first = block(vec![run(&headline, true)]);
        first["separator"] = true.into();
        blocks.push(first);
        // Each line is a block: not every client breaks lines within one.
        blocks.extend(rest.iter().flat_map(|part| part.lines()).map(|line| below(vec![run(line, false)])));
    }
    blocks
}

fn actions(notification: &Notification, external_url: &str) -> Vec<Value> {
    let own = message::http_url(external_url).map(|url| ("modelwatch", url));
    let links = message::links(notification).into_iter().chain(message::actions(notification, external_url));
    let links = own.into_iter().chain(links.map(|link| (link.text, link.url)));
    links.map(|(text, url)| json!({ "type": "Action.OpenUrl", "title": text, "url": url })).collect()
}

fn card(body: Vec<Value>, actions: Vec<Value>) -> Value {
    json!({
        "type": "message",
        "attachments": [{
            "contentType": "application/vnd.microsoft.card.adaptive",
            "content": {
                "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
                "type": "AdaptiveCard",
                "version": "1.4",
                "msteams": { "width": "Full" },
                "body": body,
                "actions": actions,
            },
        }],
    })
}

/// A block of the operator's own text.
fn written(mut block: Value) -> Value {
    block["wrap"] = true.into();
    block
}

/// What a template fills in, so that it means nothing to Markdown.
fn escape_markdown(text: &str) -> String {
    let text = text::without_links(&text::without_calls(text::head(text, ALERTS_CHARS)));
    text::escape_within(&text, ALERTS_CHARS, |c, out| {
        if r"\*_~`[]()#<>|".contains(c) {
            out.push('\\');
        }
        out.push(c);
    })
}

fn labels(common: &Labels) -> Vec<Value> {
    let shown = text::shared_labels(common).take(MAX_LABELS);
    shown
        .map(|(name, value)| below(vec![run(&format!("{}: ", plain(&name, 60)), true), run(&plain(&value, LABEL_CHARS), false)]))
        .collect()
}

fn run(text: &str, bold: bool) -> Value {
    let weight = if bold { "bolder" } else { "default" };
    json!({ "type": "TextRun", "text": text, "weight": weight })
}

fn block(runs: Vec<Value>) -> Value {
    json!({ "type": "RichTextBlock", "inlines": runs })
}

/// A block right below the one before.
fn below(runs: Vec<Value>) -> Value {
    json!({ "type": "RichTextBlock", "inlines": runs, "spacing": "none" })
}

/// What Teams has instead of free colours.
fn colour(notification: &Notification) -> &'static str {
    match message::severity(notification) {
        _ if !message::is_firing(notification) => "good",
        Severity::Critical | Severity::Error => "attention",
        Severity::Warning => "warning",
        Severity::Info => "accent",
    }
}

/// Text in at most `max` characters.
fn plain(text: &str, max: usize) -> String {
    text::escape_within(&text::without_calls(text::head(text, max)), max, |c, out| out.push(c))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notify::tests::notification;

    fn teams() -> Teams {
        Teams { webhook_url: Secret::new("http://x"), title: None, text: None, http: Arc::default() }
    }

    #[test]
    fn shows_alerts() {
        let body = teams().message(&notification(1, 1), "http://modelwatch", 2);
        insta::assert_snapshot!(crate::notify::tests::lines(&json!(null), &body["attachments"][0]["content"]["body"]), @r#"
        null
        {"inlines":[{"color":"attention","size":"large","text":"[FIRING:1] AIErrorSpike model=gpt-4o","type":"TextRun","weight":"bolder"}],"type":"RichTextBlock"}
        {"inlines":[{"text":"gpt-4o: 12 errors in the last hour for org-0","type":"TextRun","weight":"bolder"}],"separator":true,"type":"RichTextBlock"}
        {"inlines":[{"text":"value 12, since 2023-11-14T22:14:20Z (5m)","type":"TextRun","weight":"default"}],"spacing":"none","type":"RichTextBlock"}
        {"inlines":[{"text":"12 errors > 10 within 1h","type":"TextRun","weight":"default"}],"spacing":"none","type":"RichTextBlock"}
        {"inlines":[{"text":"org=org-0","type":"TextRun","weight":"default"}],"spacing":"none","type":"RichTextBlock"}
        {"inlines":[{"text":"Resolved: gpt-4o: 13 errors in the last hour for org-1","type":"TextRun","weight":"bolder"}],"separator":true,"type":"RichTextBlock"}
        {"inlines":[{"text":"value 13, resolved after 5m","type":"TextRun","weight":"default"}],"spacing":"none","type":"RichTextBlock"}
        {"inlines":[{"text":"13 errors > 10 within 1h","type":"TextRun","weight":"default"}],"spacing":"none","type":"RichTextBlock"}
        {"inlines":[{"text":"org=org-1","type":"TextRun","weight":"default"}],"spacing":"none","type":"RichTextBlock"}
        {"inlines":[{"text":"model: ","type":"TextRun","weight":"bolder"},{"text":"gpt-4o","type":"TextRun","weight":"default"}],"spacing":"none","type":"RichTextBlock"}
        {"inlines":[{"text":"severity: ","type":"TextRun","weight":"bolder"},{"text":"high","type":"TextRun","weight":"default"}],"spacing":"none","type":"RichTextBlock"}
        {"inlines":[{"isSubtle":true,"text":"new alert","type":"TextRun","weight":"default"}],"type":"RichTextBlock"}
        "#);
    }

    #[test]
    fn shows_as_many_alerts_as_fit() {
        let mut many = notification(40, 0);
        for alert in &mut many.alerts {
            alert.annotations.set("description", "é\"".repeat(5_000));
        }
        let body = message_that_fits(&many, |shown| teams().message(&many, "http://modelwatch", shown));
        let text = body.to_string();
        assert!(text.len() <= BODY_BYTES && text.len() > BODY_BYTES / 3, "{}", text.len());
        assert!(text.contains("… and 20 more") || text.contains("… and 30 more") || text.contains("… and 35 more"), "{text}");
    }
}
