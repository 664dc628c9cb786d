//! Slack: posts to an incoming webhook, one message for each notification.
//!
//! ```yaml
//! slack_configs:
//!   - api_url: https://hooks.slack.com/services/T00000000/B00000000/XXXXXXXXXXXXXXXXXXXXXXXX   # or api_url_file
//!     send_resolved: true
//! ```
//!
//! Source: <https://docs.slack.dev/reference/block-kit/blocks> and <https://docs.slack.dev/messaging/formatting-message-text>.
//! A bar in the colour of state and severity; the title links to modelwatch; the labels that all alerts share are
//! fields; a section for each alert; buttons for runbook and dashboard.
//!
//! Text from rows is escaped (`&`, `<`, `>`), marked verbatim, and `@channel` and its like are broken, so that it can
//! neither link nor call anybody. Bounds: 3000 characters a section, 50 blocks, and so few characters in all that Slack
//! takes the message.

use std::sync::{Arc, LazyLock};

use regex::Regex;
use serde_json::{Value, json};

use crate::alert::{Alert, State};
use crate::labels::Labels;
use crate::message::{self, Severity};
use crate::notify::{self, Answer, Kind, Notifier, Outcome, Request};
use crate::route::Notification;
use crate::secret::Secret;
use crate::time::Time;
use crate::yaml::{Faults, Fields};

/// `slack_configs`
pub(super) const KIND: Kind = Kind { name: "slack", key: "slack_configs", parse };

/// Slack's bound for the text of a section.
const SECTION_CHARS: usize = 3_000;

/// Characters of all alerts together; Slack refuses a message of more than about 13 000 in all (`msg_blocks_too_long`).
const ALERTS_CHARS: usize = 8_000;

/// Alerts that are shown one by one.
const MAX_ALERTS: usize = 20;

/// Slack's bound for the fields of a section.
const MAX_FIELDS: usize = 10;

/// Characters of a field (Slack takes 2000) and of the title.
const FIELD_CHARS: usize = 200;
const TITLE_CHARS: usize = 500;

#[derive(Debug)]
struct Slack {
    api_url: Secret,
}

fn parse(fields: &mut Fields<'_>, faults: &mut Faults) -> Option<Arc<dyn Notifier>> {
    let api_url = notify::secret(fields, faults, ["api_url", "api_url_file"], notify::http_url);
    Some(Arc::new(Slack { api_url: api_url? }))
}

impl Notifier for Slack {
    fn request(&self, notification: &Notification, external_url: &str) -> Request {
        Request::json(&self.api_url, &body(notification, external_url))
    }

    /// Slack may refuse with status 200: then the body is not `ok`, or is JSON that says `"ok": false`.
    fn classify(&self, answer: &Answer) -> Outcome {
        let said = answer.body.trim();
        let json_ok = || serde_json::from_str::<Value>(said).is_ok_and(|json| json["ok"] == true);
        if answer.status == 200 && said != "ok" && !json_ok() {
            return Outcome::Rejected { reason: format!("status 200, but the answer is not `ok`: {}", notify::quote(said)) };
        }
        notify::by_status(answer, &[])
    }

    fn secrets(&self) -> Vec<&Secret> {
        vec![&self.api_url]
    }
}

fn body(notification: &Notification, external_url: &str) -> Value {
    // The one text that cannot be marked verbatim: an URL in a label must not become a link.
    let title = escape(&message::title(notification), TITLE_CHARS).replace("://", ":\u{200b}//");
    let title = match message::http_url(external_url) {
        Some(url) => format!("*<{}|{title}>*", escape_url(&url)),
        None => format!("*{title}*"),
    };
    json!({
        "text": title,
        "link_names": false,
        "unfurl_links": false,
        "unfurl_media": false,
        "attachments": [{ "color": colour(notification), "blocks": blocks(notification) }],
    })
}

fn blocks(notification: &Notification) -> Vec<Value> {
    let common = message::common_labels(&notification.alerts);
    let shown = notification.alerts.len().min(MAX_ALERTS);
    let budget = (ALERTS_CHARS / shown.max(1)).min(SECTION_CHARS);
    let sections = notification.alerts.iter().take(shown);
    let mut blocks: Vec<Value> = sections
        .map(|alert| json!({ "type": "section", "text": markdown(alert_text(alert, &common, notification.at, budget)) }))
        .collect();
    let fields = fields(&common);
    if !fields.is_empty() {
        blocks.push(json!({ "type": "section", "fields": fields }));
    }
    let buttons: Vec<Value> = message::links(notification).into_iter().map(button).collect();
    if !buttons.is_empty() {
        blocks.push(json!({ "type": "actions", "elements": buttons }));
    }
    let more = message::and_more(notification.alerts.len(), shown).map(|more| more + "; ").unwrap_or_default();
    let footer = format!("{more}{}", notification.reason);
    blocks.push(json!({ "type": "context", "elements": [markdown(escape(&footer, FIELD_CHARS))] }));
    blocks
}

/// What is said of one alert, in about `budget` characters: half at most for the headline, a quarter for each other part.
fn alert_text(alert: &Alert, common: &Labels, at: Time, budget: usize) -> String {
    let headline = message::headline(alert);
    let mark = if alert.state == State::Firing { "" } else { "Resolved: " };
    let mut text = format!("*{mark}{}*", escape(headline.trim(), budget / 2));
    let own: Vec<String> =
        message::own_labels(alert, common).iter().map(|(name, value)| format!("{name}={}", message::one_line(value))).collect();
    let evidence = if headline.contains(&alert.evidence) { String::new() } else { message::one_line(&alert.evidence) };
    let facts = message::facts(alert, at);
    for part in [&facts, &evidence, &own.join("  "), message::description(alert).unwrap_or_default()] {
        let left = budget.saturating_sub(text.chars().count() + 1);
        if !part.trim().is_empty() && left > 0 {
            text = format!("{text}\n{}", escape(part.trim(), left.min(budget / 4)));
        }
    }
    text
}

fn fields(common: &Labels) -> Vec<Value> {
    let labels = common.iter().filter(|(name, _)| *name != "alertname");
    let text = |text: &str| escape(&message::one_line(text), FIELD_CHARS);
    labels.take(MAX_FIELDS).map(|(name, value)| markdown(format!("*{}*\n{}", text(name), text(value)))).collect()
}

/// Text in Slack's markdown in which names and URLs are not turned into links by themselves.
fn markdown(text: String) -> Value {
    json!({ "type": "mrkdwn", "text": text, "verbatim": true })
}

fn button(link: message::Link) -> Value {
    json!({ "type": "button", "text": { "type": "plain_text", "text": link.text }, "url": link.url })
}

fn colour(notification: &Notification) -> &'static str {
    match message::severity(notification) {
        _ if !message::is_firing(notification) => "#2eb67d",
        Severity::Critical => "#a30200",
        Severity::Error => "#e01e5a",
        Severity::Warning => "#ecb22e",
        Severity::Info => "#36c5f0",
    }
}

/// Text that means nothing to Slack, in at most `max` characters after its escapes.
fn escape(text: &str, max: usize) -> String {
    static CALLS: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(r"(?i)@(channel|here|everyone|all|group)\b").ok());
    // A character without width: Slack itself needs `<!channel>`, but servers that imitate it call on the bare word.
    let text = match &*CALLS {
        Some(calls) => calls.replace_all(text, "@\u{200b}$1"),
        None => text.into(),
    };
    let lines: Vec<String> = text.lines().map(message::one_line).collect();
    let mut out = String::new();
    let mut length = 0;
    for c in lines.join("\n").chars() {
        let mut buffer = [0; 4];
        let escaped = match c {
            '&' => "&amp;",
            '<' => "&lt;",
            '>' => "&gt;",
            _ => c.encode_utf8(&mut buffer),
        };
        length += escaped.chars().count();
        if length >= max {
            out.push('…');
            break;
        }
        out += escaped;
    }
    out
}

/// A URL between `<` and `|`.
fn escape_url(url: &str) -> String {
    url.replace('&', "&amp;").replace('<', "%3C").replace('>', "%3E").replace('|', "%7C")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notify::tests::notification;

    #[test]
    fn shows_one_alert() {
        let body = body(&notification(1, 0), "http://modelwatch/?a=1&b=2|x");
        insta::assert_snapshot!(serde_json::to_string_pretty(&body).unwrap(), @r##"
        {
          "attachments": [
            {
              "blocks": [
                {
                  "text": {
                    "text": "*gpt-4o: 12 errors in the last hour for org-0*\nvalue 12, since 2023-11-14T22:14:20Z (5m)\n12 errors &gt; 10 within 1h",
                    "type": "mrkdwn",
                    "verbatim": true
                  },
                  "type": "section"
                },
                {
                  "fields": [
                    {
                      "text": "*model*\ngpt-4o",
                      "type": "mrkdwn",
                      "verbatim": true
                    },
                    {
                      "text": "*org*\norg-0",
                      "type": "mrkdwn",
                      "verbatim": true
                    },
                    {
                      "text": "*severity*\nhigh",
                      "type": "mrkdwn",
                      "verbatim": true
                    }
                  ],
                  "type": "section"
                },
                {
                  "elements": [
                    {
                      "text": {
                        "text": "Runbook",
                        "type": "plain_text"
                      },
                      "type": "button",
                      "url": "https://wiki.example/runbooks/errors"
                    }
                  ],
                  "type": "actions"
                },
                {
                  "elements": [
                    {
                      "text": "new alert",
                      "type": "mrkdwn",
                      "verbatim": true
                    }
                  ],
                  "type": "context"
                }
              ],
              "color": "#e01e5a"
            }
          ],
          "link_names": false,
          "text": "*<http://modelwatch/?a=1&amp;b=2%7Cx|[FIRING:1] AIErrorSpike model=gpt-4o org=org-0>*",
          "unfurl_links": false,
          "unfurl_media": false
        }
        "##);
    }

    #[test]
    fn colours_tell_state_and_severity() {
        let mut low = notification(1, 1);
        low.alerts[0].labels.set("severity", "low");
        let colours = [&notification(1, 0), &low, &notification(0, 1)].map(colour);
        assert_eq!(colours, ["#e01e5a", "#36c5f0", "#2eb67d"]);
    }

    #[test]
    fn many_alerts_are_one_valid_message() {
        let mut many = notification(57, 0);
        for alert in &mut many.alerts {
            alert.annotations.set("summary", "<&>".repeat(5_000));
            alert.labels.set("org", "&".repeat(10_000));
        }
        let blocks = blocks(&many);
        assert!(blocks.len() <= 50);
        let texts: Vec<&str> = blocks.iter().filter_map(|block| block["text"]["text"].as_str()).collect();
        assert_eq!(texts.len(), MAX_ALERTS);
        assert!(texts.iter().all(|text| text.chars().count() <= SECTION_CHARS));
        assert!(texts.iter().map(|text| text.chars().count()).sum::<usize>() <= ALERTS_CHARS + MAX_ALERTS);
        let footer = blocks.last().unwrap()["elements"][0]["text"].as_str().unwrap();
        assert!(footer.starts_with("… and 37 more; "), "{footer}");
    }

    #[test]
    fn text_cannot_link_or_call() {
        #[track_caller]
        fn check(text: &str, max: usize, expected: &str) {
            assert_eq!(escape(text, max), expected);
        }
        check("<!channel> & <https://evil|here>", 99, "&lt;!channel&gt; &amp; &lt;https://evil|here&gt;");
        check("@channel @Here @everyone a@b.org", 99, "@\u{200b}channel @\u{200b}Here @\u{200b}everyone a@b.org");
        check("a\n\u{1b}b", 99, "a\n\\u{1b}b");
        check("<<<", 8, "&lt;…");
        check("abc", 3, "ab…");
    }
}
