//! Slack: posts to an incoming webhook; or, with a bot's token, keeps one message for each incident up to date.
//!
//! ```yaml
//! slack_configs:
//!   - api_url: https://hooks.slack.com/services/T00000000/B00000000/XXXXXXXXXXXXXXXXXXXXXXXX   # or api_url_file
//!     send_resolved: true
//! ```
//!
//! Or `bot_token` (`bot_token_file`) and `channel`. As in Alertmanager the token may stand in
//! `http_config.authorization.credentials` where `api_url` is `https://slack.com/api/chat.postMessage`; `app_token` and `app_url` are
//! its newer names. All other keys are Alertmanager's, and templates; those of texts that Slack shows no more beside blocks
//! (`fallback`, `callback_id`, `mrkdwn_in`, `image_url`, `thumb_url`) are read and change nothing (`look.rs`).
//!
//! Source: <https://docs.slack.dev/reference/block-kit/blocks>, <https://docs.slack.dev/messaging/formatting-message-text>,
//! <https://docs.slack.dev/reference/methods/chat.postMessage>, <https://docs.slack.dev/reference/methods/chat.update> and
//! <https://docs.slack.dev/apis/web-api/rate-limits>. A bar in the colour of state and severity; the title links to modelwatch;
//! the labels that all alerts share are fields; a section for each alert; buttons for runbook and dashboard.
//!
//! Text from rows is escaped (`&`, `<`, `>`), marked verbatim, and `@channel` and its like are broken, so that it can
//! neither link nor call anybody. Bounds: 3000 characters a section, 50 blocks, and so few characters in all that Slack
//! takes the message. One message a second a channel.
//!
//! A bot posts a message when a group begins to fire, changes it whenever there is something to tell, and adds to its thread
//! what does not fit in it, and what changed (`bot.rs`). `update_message: false` posts a new one each time.

mod bot;
mod look;

use std::sync::Arc;

use serde_json::{Value, json};

use crate::alert::Alert;
use crate::labels::Labels;
use crate::message;
use crate::notify::http::Authorization;
use crate::notify::text::{self, Story};
use crate::notify::{self, Answer, Context, Globals, HttpOptions, Kind, Notifier, Outcome, Pace, Request};
use crate::route::{Notification, Semantics};
use crate::secret::Secret;
use crate::time::{Span, Time};
use crate::yaml::{self, Faults, Fields};

use bot::Bot;
use look::{Filled, Look};

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

/// One message a second in each channel.
const PACE: Span = Span::secs(1);

#[derive(Debug)]
struct Slack {
    way: Way,
    look: Look,
    http: Arc<HttpOptions>,
}

#[derive(Debug)]
enum Way {
    Webhook(Secret),
    Bot(Bot),
}

fn parse(fields: &mut Fields<'_>, faults: &mut Faults, globals: &Globals) -> Option<Arc<dyn Notifier>> {
    let url = notify::optional_secret(fields, faults, ["api_url", "api_url_file"], notify::http_url);
    let token = notify::optional_secret(fields, faults, ["bot_token", "bot_token_file"], bearer);
    let app_token = notify::optional_secret(fields, faults, ["app_token", "app_token_file"], bearer);
    let app_url = fields.optional("app_url", faults, yaml::SECRET.then(notify::http_url));
    let update = fields.optional("update_message", faults, yaml::BOOLEAN);
    let look = Look::parse(fields, faults, globals);
    let http = notify::http_options(fields, faults, globals);
    let given = ["api_url", "api_url_file"].iter().any(|key| fields.node(key).is_some());
    let token_given =
        ["bot_token", "bot_token_file", "app_token", "app_token_file"].into_iter().find(|key| fields.node(key).is_some());
    if url.is_none() && !given && token_given.is_none() && globals.slack_api_url.is_none() {
        let help = "the URL of an incoming webhook, or `bot_token` and `channel`; `global` may say `slack_api_url` for all";
        faults.error_help("missing-key", fields.node, "`api_url`, `api_url_file` or `bot_token` is missing", help);
        return None;
    }
    let is_bot = token_given.is_some() || url.as_ref().or(globals.slack_api_url.as_ref()).is_some_and(bot::is_endpoint);
    if !is_bot {
        let url = url.or_else(|| globals.slack_api_url.clone().filter(|_| !given));
        return Some(Arc::new(Slack { way: Way::Webhook(url?), look, http }));
    }
    if let Some(key) = token_given.filter(|_| url.as_ref().is_some_and(|url| !bot::is_endpoint(url))) {
        let help = "a webhook needs no token; a bot posts to https://slack.com/api/chat.postMessage by itself";
        faults.error_help("conflicting-keys", fields.node.at(key), format!("both a webhook's URL and `{key}` are set"), help);
    }
    if look.channel.as_ref().is_none_or(|channel| channel.source().trim().is_empty()) {
        let help = "the channel's id or name; a bot posts where it was invited";
        faults.error_help("missing-key", fields.node, "`channel` is missing, where the bot posts", help);
        return None;
    }
    let http = match token.or(app_token) {
        Some(secret) => {
            let header = Secret::new(format!("Bearer {}", secret.reveal()));
            Arc::new(HttpOptions { authorization: Some(Authorization { header, secret }), ..HttpOptions::clone(&http) })
        }
        None if token_given.is_some() => return None,
        None => http,
    };
    let post_url = url.or(app_url).or_else(|| globals.slack_api_url.clone().filter(bot::is_endpoint));
    let bot = Bot::new(post_url, update.unwrap_or(globals.semantics == Semantics::Ours));
    Some(Arc::new(Slack { way: Way::Bot(bot), look, http }))
}

/// A token as a header can carry it.
fn bearer(token: Secret) -> Result<Secret, String> {
    let text = token.reveal().trim();
    match text.bytes().all(|b| b.is_ascii_graphic()) && !text.is_empty() {
        true => Ok(Secret::new(text)),
        false => Err("is no token such as xoxb-...".to_owned()),
    }
}

impl Notifier for Slack {
    fn request(&self, notification: &Notification, context: &Context<'_>) -> Option<Request> {
        match &self.way {
            Way::Webhook(url) => {
                let body = || self.body(notification, context.external_url);
                (context.step == 0).then(|| Request::json(url, &self.http, &body()))
            }
            Way::Bot(bot) => {
                let (url, body) = bot.request(notification, context, || self.body(notification, context.external_url))?;
                let headers = vec![("content-type", "application/json; charset=utf-8".to_owned())];
                let body = body.to_string().into_bytes();
                Some(Request::Http { url: url.clone(), headers, body, options: self.http.clone() })
            }
        }
    }

    /// Slack may refuse with status 200: then the body is not `ok`, or is JSON that says `"ok": false`.
    fn classify(&self, answer: &Answer) -> Outcome {
        let said = answer.body.trim();
        let json = serde_json::from_str::<Value>(said).unwrap_or_default();
        if answer.status != 200 || said == "ok" && matches!(self.way, Way::Webhook(_)) || json["ok"] == true {
            return notify::by_status(answer, &[]);
        }
        let error = json["error"].as_str().unwrap_or_default();
        if matches!(self.way, Way::Bot(_)) && bot::is_passed_over(error) {
            return Outcome::Delivered;
        }
        let reason = format!("status 200, but the answer is not `ok`: {}", notify::quote(said));
        if bot::is_passing(error) {
            return Outcome::Retry { reason, after: answer.retry_after };
        }
        Outcome::Rejected { reason }
    }

    fn handle(&self, answer: &Answer, context: &Context<'_>) -> Option<String> {
        match &self.way {
            Way::Webhook(_) => None,
            Way::Bot(bot) => bot.handle(answer, context),
        }
    }

    fn pace(&self) -> Option<Pace> {
        Some(Pace::of(KIND.name, &Secret::new(self.target()), PACE))
    }

    fn secrets(&self) -> Vec<&Secret> {
        let url = match &self.way {
            Way::Webhook(url) => Some(url),
            Way::Bot(_) => None,
        };
        url.into_iter().chain(self.http.secrets()).collect()
    }

    fn target(&self) -> String {
        match (&self.way, &self.http.authorization, &self.look.channel) {
            (Way::Webhook(url), ..) => url.reveal().to_owned(),
            (Way::Bot(_), token, channel) => {
                let token = token.as_ref().map_or("", |known| known.secret.reveal());
                let channel = channel.as_ref().map_or("", |channel| channel.source().trim_start_matches('#'));
                format!("{token} {channel}")
            }
        }
    }
}

impl Slack {
    fn body(&self, notification: &Notification, external_url: &str) -> Value {
        let look = self.look.fill(notification, external_url);
        // The one text that cannot be marked verbatim: an URL in a label must not become a link.
        let title = look.title.clone().unwrap_or_else(|| escape(&message::title(notification), TITLE_CHARS));
        let title = text::without_links(&title);
        let title = match look.title_link.as_deref().map_or_else(|| message::http_url(external_url), message::http_url) {
            Some(url) => format!("*<{}|{title}>*", escape_url(&url)),
            None => format!("*{title}*"),
        };
        let colour = look.colour.clone().unwrap_or_else(|| format!("#{:06x}", text::colour(notification)));
        let mut blocks = blocks(notification, external_url, &look);
        if look.message_text.is_some() {
            blocks.insert(0, section(title.clone()));
        }
        let mut body = json!({
            "text": look.message_text.unwrap_or(title),
            "link_names": self.look.link_names,
            "unfurl_links": false,
            "unfurl_media": false,
            "attachments": [{ "color": colour, "blocks": blocks }],
        });
        let own = [
            ("channel", look.channel),
            ("username", look.username),
            ("icon_emoji", look.icon_emoji),
            ("icon_url", look.icon_url),
        ];
        for (key, value) in own {
            if let Some(value) = value.filter(|value| !value.is_empty()) {
                body[key] = value.into();
            }
        }
        body
    }
}

fn blocks(notification: &Notification, external_url: &str, look: &Filled) -> Vec<Value> {
    let common = message::common_labels(&notification.alerts);
    let shown = notification.alerts.len().min(MAX_ALERTS);
    let budget = (ALERTS_CHARS / shown.max(1)).min(SECTION_CHARS);
    let sections = notification.alerts.iter().take(shown).map(|alert| alert_text(alert, &common, notification.at, budget));
    let texts: Vec<String> = match &look.text {
        Some(text) => vec![text.clone()],
        None => sections.collect(),
    };
    let texts = look.pretext.iter().cloned().chain(texts).filter(|text| !text.is_empty());
    let mut blocks: Vec<Value> = texts.map(section).collect();
    let fields = look.fields.clone().unwrap_or_else(|| fields(&common));
    if !fields.is_empty() {
        let fields: Vec<Value> = fields.into_iter().take(MAX_FIELDS).map(markdown).collect();
        blocks.push(json!({ "type": "section", "fields": fields }));
    }
    let links = message::links(notification).into_iter().chain(message::actions(notification, external_url));
    let links = links.map(|link| (link.text.to_owned(), link.url));
    let buttons: Vec<Value> = look.buttons.clone().unwrap_or_else(|| links.collect()).into_iter().map(button).collect();
    if !buttons.is_empty() {
        blocks.push(json!({ "type": "actions", "elements": buttons }));
    }
    let more = message::and_more(notification.alerts.len(), shown).filter(|_| look.text.is_none());
    let footer = format!("{}{}", more.map(|more| more + "; ").unwrap_or_default(), notification.reason);
    let footer = look.footer.clone().filter(|text| !text.is_empty()).unwrap_or_else(|| escape(&footer, FIELD_CHARS));
    blocks.push(json!({ "type": "context", "elements": [markdown(footer)] }));
    blocks
}

/// What is said of one alert, in about `budget` characters.
fn alert_text(alert: &Alert, common: &Labels, at: Time, budget: usize) -> String {
    // Two for the marks around the headline.
    let Story { headline, rest } = Story::of(alert, common, at).within(budget.saturating_sub(2), escape);
    std::iter::once(format!("*{headline}*")).chain(rest).collect::<Vec<_>>().join("\n")
}

fn fields(common: &Labels) -> Vec<String> {
    let text = |text: &str| escape(text, FIELD_CHARS);
    let labels = text::shared_labels(common).take(MAX_FIELDS);
    labels.map(|(name, value)| format!("*{}*\n{}", text(&name), text(&value))).collect()
}

fn section(text: String) -> Value {
    json!({ "type": "section", "text": markdown(text) })
}

/// Text in Slack's markdown in which names and URLs are not turned into links by themselves.
fn markdown(text: String) -> Value {
    json!({ "type": "mrkdwn", "text": text, "verbatim": true })
}

fn button((text, url): (String, String)) -> Value {
    json!({ "type": "button", "text": { "type": "plain_text", "text": text }, "url": url })
}

/// Text that means nothing to Slack, in at most `max` characters after its escapes.
fn escape(text: &str, max: usize) -> String {
    text::escape_within(&text::without_calls(text::head(text, max)), max, |c, out| match c {
        '&' => out.push_str("&amp;"),
        '<' => out.push_str("&lt;"),
        '>' => out.push_str("&gt;"),
        _ => out.push(c),
    })
}

/// A URL between `<` and `|`.
fn escape_url(url: &str) -> String {
    url.replace('&', "&amp;").replace('<', "%3C").replace('>', "%3E").replace('|', "%7C")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notify::tests::notification;

    fn slack() -> Slack {
        Slack { way: Way::Webhook(Secret::new("http://x")), look: Look::default(), http: Arc::default() }
    }

    #[test]
    fn shows_one_alert() {
        let body = slack().body(&notification(1, 0), "http://modelwatch/?a=1&b=2|x");
        insta::assert_snapshot!(crate::notify::tests::lines(&body["text"], &body["attachments"][0]["blocks"]), @r#"
        "*<http://modelwatch/?a=1&amp;b=2%7Cx|[FIRING:1] AIErrorSpike model=gpt-4o org=org-0>*"
        {"text":{"text":"*gpt-4o: 12 errors in the last hour for org-0*\nvalue 12, since 2023-11-14T22:14:20Z (5m)\n12 errors &gt; 10 within 1h","type":"mrkdwn","verbatim":true},"type":"section"}
        {"fields":[{"text":"*model*\ngpt-4o","type":"mrkdwn","verbatim":true},{"text":"*org*\norg-0","type":"mrkdwn","verbatim":true},{"text":"*severity*\nhigh","type":"mrkdwn","verbatim":true}],"type":"section"}
        {"elements":[{"text":{"text":"Runbook","type":"plain_text"},"type":"button","url":"https://wiki.example/runbooks/errors"},{"text":{"text":"Silence","type":"plain_text"},"type":"button","url":"http://modelwatch/?a=1&b=2|x/silences/new&filter=%7Balertname%3D%22AIErrorSpike%22%7D"},{"text":{"text":"Acknowledge","type":"plain_text"},"type":"button","url":"http://modelwatch/?a=1&b=2|x/ack&receiver=oncall&group=%7B%7D%3A%7Balertname%3D%22AIErrorSpike%22%7D"}],"type":"actions"}
        {"elements":[{"text":"new alert","type":"mrkdwn","verbatim":true}],"type":"context"}
        "#);
    }

    #[test]
    fn says_what_the_configuration_says() {
        let (found, faults) = crate::notify::tests::read(
            "slack_configs:
  - api_url: http://x
    channel: '#{{ .CommonLabels.model }}'
    username: modelwatch
    color: '{{ if eq .Status \"firing\" }}danger{{ else }}good{{ end }}'
    title: '{{ .Status }} > {{ .CommonLabels.org }}'
    title_link: '{{ .ExternalURL }}/x'
    pretext: Look
    text: '{{ range .Alerts }}*{{ .Labels.org }}* <{{ .Annotations.runbook_url }}|book>{{ end }}'
    footer: '{{ template \"slack.default.footer\" . }}'
    fallback: f
    short_fields: true
    mrkdwn_in: [text]
    fields: [{title: Org, value: '{{ .CommonLabels.org }}', short: true}]
    actions: [{type: button, text: Book, url: '{{ .CommonAnnotations.runbook_url }}'}, {type: button, text: No, url: 'javascript:x'}]
",
        );
        assert!(faults.0.is_empty(), "{:?}", faults.0);
        let mut told = notification(1, 0);
        told.alerts[0].labels.set("org", "<!channel> @here");
        let context = crate::notify::tests::CONTEXT;
        let Some(Request::Http { body, .. }) = found[0].request(&told, &context) else { panic!() };
        let body: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!((&body["attachments"][0]["color"], &body["channel"]), (&json!("danger"), &json!("#gpt-4o")));
        insta::assert_snapshot!(crate::notify::tests::lines(&body["text"], &body["attachments"][0]["blocks"]), @r#"
        "*<http://modelwatch/x|firing &gt; &lt;!channel&gt; @<200b>here>*"
        {"text":{"text":"Look","type":"mrkdwn","verbatim":true},"type":"section"}
        {"text":{"text":"*&lt;!channel&gt; @<200b>here* <https://wiki.example/runbooks/errors|book>","type":"mrkdwn","verbatim":true},"type":"section"}
        {"fields":[{"text":"*Org*\n&lt;!channel&gt; @<200b>here","type":"mrkdwn","verbatim":true}],"type":"section"}
        {"elements":[{"text":{"text":"Book","type":"plain_text"},"type":"button","url":"https://wiki.example/runbooks/errors"}],"type":"actions"}
        {"elements":[{"text":"new alert","type":"mrkdwn","verbatim":true}],"type":"context"}
        "#);
    }

    #[test]
    fn colours_tell_state_and_severity() {
        let mut low = notification(1, 1);
        low.alerts[0].labels.set("severity", "low");
        let colours = [&notification(1, 0), &low, &notification(0, 1)].map(text::colour);
        assert_eq!(colours, [0xe0_1e5a, 0x36_c5f0, 0x2e_b67d]);
    }

    #[test]
    fn many_alerts_are_one_valid_message() {
        let mut many = notification(57, 0);
        for alert in &mut many.alerts {
            alert.annotations.set("summary", "<&>".repeat(5_000));
            alert.labels.set("org", "&".repeat(10_000));
        }
        let blocks = blocks(&many, "", &Filled::default());
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
