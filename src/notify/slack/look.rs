//! What a configuration says of how a message looks, in Alertmanager's keys; each text is a template.

use serde_json::json;

use super::{FIELD_CHARS, MAX_FIELDS, SECTION_CHARS, TITLE_CHARS, escape};
use crate::message::{self, Data, Text};
use crate::notify::{Globals, text};
use crate::route::Notification;
use crate::yaml::{self, Faults, Fields};

/// Slack's bound for the text of a button.
const BUTTON_CHARS: usize = 75;

/// Slack's bound for the buttons of a block that still are seen without a click.
const MAX_BUTTONS: usize = 5;

/// Texts before they are filled in; none is our own.
#[derive(Debug, Default)]
pub(super) struct Look {
    pub channel: Option<Text>,
    pub link_names: bool,
    username: Option<Text>,
    icon_emoji: Option<Text>,
    icon_url: Option<Text>,
    colour: Option<Text>,
    title: Option<Text>,
    title_link: Option<Text>,
    pretext: Option<Text>,
    text: Option<Text>,
    footer: Option<Text>,
    message_text: Option<Text>,
    /// Titles and values.
    fields: Vec<(Text, Text)>,
    /// Texts and URLs.
    actions: Vec<(Text, Text)>,
}

/// The same filled in.
#[derive(Clone, Debug, Default)]
pub(super) struct Filled {
    pub channel: Option<String>,
    pub username: Option<String>,
    pub icon_emoji: Option<String>,
    pub icon_url: Option<String>,
    pub colour: Option<String>,
    pub title: Option<String>,
    pub title_link: Option<String>,
    pub pretext: Option<String>,
    pub text: Option<String>,
    pub footer: Option<String>,
    pub message_text: Option<String>,
    pub fields: Option<Vec<String>>,
    /// Texts and URLs.
    pub buttons: Option<Vec<(String, String)>>,
}

impl Look {
    pub fn parse(fields: &mut Fields<'_>, faults: &mut Faults, globals: &Globals) -> Look {
        let mut plain = |key| text::words(key, fields, faults, globals, as_it_is);
        let (channel, username) = (plain("channel"), plain("username"));
        let (icon_emoji, icon_url, colour) = (plain("icon_emoji"), plain("icon_url"), plain("color"));
        let (title, title_link) = (plain("title"), plain("title_link"));
        let mut words = |key| text::words(key, fields, faults, globals, escape_all);
        let mut look = Look {
            channel,
            link_names: false,
            username,
            icon_emoji,
            icon_url,
            colour,
            title,
            title_link,
            pretext: words("pretext"),
            text: words("text"),
            footer: words("footer"),
            message_text: words("message_text"),
            fields: Vec::new(),
            actions: Vec::new(),
        };
        words("fallback");
        words("callback_id");
        words("image_url");
        words("thumb_url");
        look.link_names = fields.optional("link_names", faults, yaml::BOOLEAN).unwrap_or(false);
        fields.optional("short_fields", faults, yaml::BOOLEAN);
        fields.optional("mrkdwn_in", faults, yaml::list(yaml::TEXT));
        look.fields = fields.each("fields", faults, |fields, faults| {
            let title = text::required_words("title", fields, faults, globals, escape_all);
            let value = text::required_words("value", fields, faults, globals, escape_all);
            fields.optional("short", faults, yaml::BOOLEAN);
            title.zip(value)
        });
        let actions = fields.each("actions", faults, |fields, faults| {
            let text = text::required_words("text", fields, faults, globals, as_it_is);
            let url = text::words("url", fields, faults, globals, as_it_is);
            for key in ["type", "style", "name", "value"] {
                fields.optional(key, faults, yaml::TEXT);
            }
            fields.node_as("confirm", || json!({ "type": "object" }));
            // One without a URL would call an application that Slack knows, and does not know us.
            Some(text.zip(url))
        });
        look.actions = actions.into_iter().flatten().collect();
        look
    }

    pub fn fill(&self, notification: &Notification, external_url: &str) -> Filled {
        let data = Data::new(notification, external_url);
        let said = |text: &Option<Text>, max| text.as_ref().map(|text| text::said(text, &data, max));
        // No markup to Slack, and on one line.
        let plain = |text: &Text, max| message::truncate(&message::one_line(text.render_or(&data, String::new).trim()), max);
        let shown = |text: &Option<Text>, max| text.as_ref().map(|text| plain(text, max));
        let field = |(title, value): &(Text, Text)| {
            format!("*{}*\n{}", text::said(title, &data, FIELD_CHARS), text::said(value, &data, 5 * FIELD_CHARS))
        };
        let button = |(text, url): &(Text, Text)| {
            let url = message::http_url(url.render_or(&data, String::new).trim())?;
            Some((plain(text, BUTTON_CHARS), url)).filter(|(text, _)| !text.is_empty())
        };
        Filled {
            channel: shown(&self.channel, FIELD_CHARS),
            username: shown(&self.username, FIELD_CHARS),
            icon_emoji: shown(&self.icon_emoji, FIELD_CHARS),
            icon_url: shown(&self.icon_url, SECTION_CHARS),
            colour: shown(&self.colour, FIELD_CHARS).filter(|text| !text.is_empty()),
            title: shown(&self.title, TITLE_CHARS).map(|title| escape(&title, TITLE_CHARS)),
            title_link: shown(&self.title_link, SECTION_CHARS),
            pretext: said(&self.pretext, SECTION_CHARS),
            text: said(&self.text, SECTION_CHARS),
            footer: said(&self.footer, FIELD_CHARS),
            message_text: said(&self.message_text, SECTION_CHARS),
            fields: (!self.fields.is_empty()).then(|| self.fields.iter().take(MAX_FIELDS).map(field).collect()),
            buttons: (!self.actions.is_empty()).then(|| self.actions.iter().take(MAX_BUTTONS).filter_map(button).collect()),
        }
    }
}

/// What a template fills in means nothing to Slack; it is cut later.
fn escape_all(text: &str) -> String {
    escape(text, SECTION_CHARS)
}

fn as_it_is(text: &str) -> String {
    text.to_owned()
}
