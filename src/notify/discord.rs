//! Discord: posts to a webhook of a channel, one message with one embed for each notification.
//!
//! ```yaml
//! discord_configs:
//!   - webhook_url: https://discord.com/api/webhooks/000000000000000000/XXXXXXXXXXXXXXXXXXXXXXXX   # or webhook_url_file
//!     send_resolved: true
//! ```
//!
//! `title`, `message` (for the alerts), `content`, `username` and `avatar_url` are Alertmanager's, and templates.
//!
//! Source: <https://discord.com/developers/docs/resources/webhook#execute-webhook>,
//! <https://discord.com/developers/docs/resources/message#embed-object-embed-limits> and
//! <https://discord.com/developers/docs/topics/rate-limits>. A bar in the colour of state and severity; the title links to
//! modelwatch; a paragraph for each alert, the labels that all share as fields, links to runbook and dashboard.
//!
//! Text from rows is escaped for Discord's Markdown and cannot link; no mention is parsed (`allowed_mentions`), and
//! `@everyone` is broken besides. Bounds: content 2000, title 256, description 4096, 25 fields of 256 and 1024, footer 2048, 6000
//! characters in all. A webhook takes five requests in two seconds.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::labels::Labels;
use crate::message::{self, Data, Text};
use crate::notify::text::{self, Story};
use crate::notify::{self, Answer, Context, Globals, HttpOptions, Kind, Notifier, Outcome, Pace, Request};
use crate::route::Notification;
use crate::secret::Secret;
use crate::time::Span;
use crate::yaml::{Faults, Fields};

/// `discord_configs`
pub(super) const KIND: Kind = Kind { name: "discord", key: "discord_configs", parse };

/// Discord's bound for what stands above the embed.
const CONTENT_CHARS: usize = 2_000;

/// Discord's bound for a title.
const TITLE_CHARS: usize = 256;

/// Characters of all alerts together (Discord takes 4096, and 6000 of all parts).
const ALERTS_CHARS: usize = 2_900;

/// Alerts that are shown one by one.
const MAX_ALERTS: usize = 10;

/// Labels that are shown, and characters of their names and values (Discord takes 25, 256 and 1024, but not together).
const MAX_FIELDS: usize = 10;
const NAME_CHARS: usize = 60;
const VALUE_CHARS: usize = 140;

/// Characters of all links and of the footer.
const LINKS_CHARS: usize = 600;
const FOOTER_CHARS: usize = 200;

/// Five requests in two seconds.
const PACE: Span = Span::millis(400);

#[derive(Debug)]
struct Discord {
    webhook_url: Secret,
    title: Option<Text>,
    message: Option<Text>,
    content: Option<Text>,
    username: Option<Text>,
    avatar_url: Option<Text>,
    http: Arc<HttpOptions>,
}

fn parse(fields: &mut Fields<'_>, faults: &mut Faults, globals: &Globals) -> Option<Arc<dyn Notifier>> {
    let webhook_url = notify::secret(fields, faults, ["webhook_url", "webhook_url_file"], notify::http_url);
    let mut words = |key| text::words(key, fields, faults, globals, escape_all);
    let (title, message, content) = (words("title"), words("message"), words("content"));
    let (username, avatar_url) = (words("username"), words("avatar_url"));
    let http = notify::http_options(fields, faults, globals);
    Some(Arc::new(Discord { webhook_url: webhook_url?, title, message, content, username, avatar_url, http }))
}

impl Notifier for Discord {
    fn request(&self, notification: &Notification, context: &Context<'_>) -> Option<Request> {
        let body = || self.body(notification, context.external_url);
        (context.step == 0).then(|| Request::json(&self.webhook_url, &self.http, &body()))
    }

    /// How long to wait also stands in the body of a 429, in seconds with a fraction.
    fn classify(&self, answer: &Answer) -> Outcome {
        let said = || serde_json::from_str::<Value>(&answer.body).ok()?.get("retry_after")?.as_f64();
        match notify::by_status(answer, &[]) {
            Outcome::Retry { reason, after: None } if answer.status == 429 => {
                Outcome::Retry { reason, after: said().and_then(notify::retry_after) }
            }
            outcome => outcome,
        }
    }

    fn pace(&self) -> Option<Pace> {
        Some(Pace::of(KIND.name, &self.webhook_url, PACE))
    }

    fn secrets(&self) -> Vec<&Secret> {
        [&self.webhook_url].into_iter().chain(self.http.secrets()).collect()
    }
}

impl Discord {
    fn body(&self, notification: &Notification, external_url: &str) -> Value {
        let common = message::common_labels(&notification.alerts);
        let shown = notification.alerts.len().min(MAX_ALERTS);
        let more = message::and_more(notification.alerts.len(), shown).map(|more| more + "; ").unwrap_or_default();
        let footer = message::truncate(&message::one_line(&format!("{more}{}", notification.reason)), FOOTER_CHARS);
        let data = Data::new(notification, external_url);
        let said = |text: &Option<Text>, max| text.as_ref().map(|text| text::said(text, &data, max));
        let mut embed = json!({
            "title": said(&self.title, TITLE_CHARS).unwrap_or_else(|| escape(&message::title(notification), TITLE_CHARS)),
            "description": said(&self.message, ALERTS_CHARS).unwrap_or_else(|| paragraphs(notification, &common, shown)),
            "color": text::colour(notification),
            "fields": fields(notification, &common, external_url),
            "footer": { "text": footer },
        });
        if let Some(url) = message::http_url(external_url) {
            embed["url"] = url.into();
        }
        let mut body = json!({ "embeds": [embed], "allowed_mentions": { "parse": [] } });
        let others = [
            ("content", said(&self.content, CONTENT_CHARS)),
            ("username", said(&self.username, NAME_CHARS)),
            ("avatar_url", said(&self.avatar_url, CONTENT_CHARS)),
        ];
        for (key, value) in others {
            if let Some(value) = value.filter(|value| !value.is_empty()) {
                body[key] = value.into();
            }
        }
        body
    }
}

fn paragraphs(notification: &Notification, common: &Labels, shown: usize) -> String {
    // For the marks around a headline and the lines between paragraphs.
    let budget = (ALERTS_CHARS / shown.max(1)).saturating_sub(8);
    let stories = notification.alerts.iter().take(shown).map(|alert| {
        let Story { headline, rest } = Story::of(alert, common, notification.at).within(budget, escape);
        format!("**{headline}**\n{}", rest.join("\n"))
    });
    stories.collect::<Vec<_>>().join("\n\n")
}

fn fields(notification: &Notification, common: &Labels, external_url: &str) -> Vec<Value> {
    let labels = text::shared_labels(common).take(MAX_FIELDS);
    let mut fields: Vec<Value> = labels
        .map(|(name, value)| json!({ "name": escape(&name, NAME_CHARS), "value": escape(&value, VALUE_CHARS), "inline": true }))
        .collect();
    let mut links = String::new();
    for link in message::links(notification).into_iter().chain(message::actions(notification, external_url)) {
        let link = format!("[{}]({}) ", link.text, link.url.replace('(', "%28").replace(')', "%29"));
        // One that does not fit is of no use cut.
        if links.len() + link.len() <= LINKS_CHARS {
            links += &link;
        }
    }
    if !links.is_empty() {
        fields.push(json!({ "name": "Links", "value": links.trim_end(), "inline": false }));
    }
    fields
}

/// Text that means nothing to Discord, in at most `max` characters after its escapes.
fn escape(text: &str, max: usize) -> String {
    let text = text::without_links(&text::without_calls(text::head(text, max)));
    text::escape_within(&text, max, |c, out| {
        if r"\*_~`|>#[]()<".contains(c) {
            out.push('\\');
        }
        out.push(c);
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

    fn discord() -> Discord {
        let webhook_url = Secret::new("https://discord.com/api/webhooks/1/x");
        let (title, message, content, username, avatar_url) = (None, None, None, None, None);
        Discord { webhook_url, title, message, content, username, avatar_url, http: Arc::default() }
    }

    #[test]
    fn shows_alerts() {
        let body = discord().body(&notification(1, 1), "http://modelwatch");
        insta::assert_snapshot!(serde_json::to_string_pretty(&body).unwrap(), @r#"
        {
          "allowed_mentions": {
            "parse": []
          },
          "embeds": [
            {
              "color": 14687834,
              "description": "**gpt-4o: 12 errors in the last hour for org-0**\nvalue 12, since 2023-11-14T22:14:20Z \\(5m\\)\n12 errors \\> 10 within 1h\norg=org-0\n\n**Resolved: gpt-4o: 13 errors in the last hour for org-1**\nvalue 13, resolved after 5m\n13 errors \\> 10 within 1h\norg=org-1",
              "fields": [
                {
                  "inline": true,
                  "name": "model",
                  "value": "gpt-4o"
                },
                {
                  "inline": true,
                  "name": "severity",
                  "value": "high"
                },
                {
                  "inline": false,
                  "name": "Links",
                  "value": "[Runbook](https://wiki.example/runbooks/errors) [Silence](http://modelwatch/silences/new?filter=%7Balertname%3D%22AIErrorSpike%22%7D) [Acknowledge](http://modelwatch/ack?receiver=oncall&group=%7B%7D%3A%7Balertname%3D%22AIErrorSpike%22%7D)"
                }
              ],
              "footer": {
                "text": "new alert"
              },
              "title": "\\[FIRING:1\\] AIErrorSpike model=gpt-4o",
              "url": "http://modelwatch/"
            }
          ]
        }
        "#);
    }

    #[test]
    fn text_can_only_be_read() {
        #[track_caller]
        fn check(text: &str, max: usize, expected: &str) {
            assert_eq!(escape(text, max), expected);
        }
        check("**x** _y_ ~~z~~ `q` ||s||", 99, r"\*\*x\*\* \_y\_ \~\~z\~\~ \`q\` \|\|s\|\|");
        check("[a](http://b) > <@1>", 99, "\\[a\\]\\(http:\u{200b}//b\\) \\> \\<@1\\>");
        check("@everyone", 99, "@\u{200b}everyone");
        check("***", 5, r"\*\*…");
    }

    #[test]
    fn a_wait_is_read_from_the_body_too() {
        let answer = |header, body: &str| Answer::new(429, header, body.as_bytes(), crate::time::Time(0));
        let after = |answer| match discord().classify(&answer) {
            Outcome::Retry { after, .. } => after,
            other => panic!("{other:?}"),
        };
        assert_eq!(after(answer(None, r#"{"retry_after": 0.65, "global": false}"#)), Some(Span::millis(650)));
        assert_eq!(after(answer(Some("3"), r#"{"retry_after": 0.65}"#)), Some(Span::secs(3)));
        assert_eq!(after(answer(None, r#"{"retry_after": 1e99}"#)), Some(crate::limits::RETRY_AFTER_MAX));
        assert_eq!(after(answer(None, r#"{"retry_after": -1}"#)), Some(Span::ZERO));
        assert_eq!(after(answer(None, "slow down")), None);
    }
}
