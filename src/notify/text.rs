//! What receivers that show text to people share: what is said of an alert, in which colour, and text that cannot do more
//! than be read.

use std::sync::LazyLock;

use regex::Regex;

use crate::alert::{Alert, State};
use crate::labels::Labels;
use crate::message::{self, Data, Severity, Text};
use crate::notify::Globals;
use crate::route::Notification;
use crate::template::Escape;
use crate::time::Time;
use crate::yaml::{Faults, Fields};

/// No part of a message has room for more.
const PART_CHARS: usize = 5_000;

/// What is said of an alert: a headline, then what else there is, the most useful first; nothing is escaped yet.
pub(super) struct Story {
    pub headline: String,
    pub rest: Vec<String>,
}

impl Story {
    /// Of one alert among others with which it shares labels.
    pub fn of(alert: &Alert, common: &Labels, at: Time) -> Story {
        let headline = message::headline(alert);
        let mark = if alert.state == State::Firing { "" } else { "Resolved: " };
        let own = message::own_labels(alert, common);
        let own: Vec<String> =
            own.iter().map(|(name, value)| format!("{name}={}", message::one_line(head(value, PART_CHARS)))).collect();
        let evidence = if headline.contains(&alert.evidence) { "" } else { head(&alert.evidence, PART_CHARS) };
        let rest = [message::facts(alert, at), message::one_line(evidence), own.join("  ")];
        let description = head(message::description(alert).unwrap_or_default(), PART_CHARS);
        let rest = rest.into_iter().chain([description.to_owned()]).filter(|part| !part.trim().is_empty());
        Story { headline: format!("{mark}{}", headline.trim()), rest: rest.map(|part| part.trim().to_owned()).collect() }
    }

    /// The same within about `budget` characters after its escapes: half at most for the headline, a quarter for each other
    /// part.
    pub fn within(&self, budget: usize, escape: impl Fn(&str, usize) -> String) -> Story {
        let headline = escape(&self.headline, budget / 2);
        let mut left = budget.saturating_sub(units(&headline));
        let mut rest = Vec::new();
        for part in &self.rest {
            // One for the line break before it.
            let part = escape(part, left.saturating_sub(1).min(budget / 4));
            left = left.saturating_sub(units(&part) + 1);
            if !part.is_empty() && part != "…" {
                rest.push(part);
            }
        }
        Story { headline, rest }
    }
}

/// The reader of a text in which what is filled in is escaped for its receiver; one that names a default of Alertmanager's
/// is none, since that default is ours.
pub(super) fn words(
    key: &'static str,
    fields: &mut Fields<'_>,
    faults: &mut Faults,
    globals: &Globals,
    escape: fn(&str) -> String,
) -> Option<Text> {
    let reader = globals.templates.escaped(Escape::With(escape));
    fields.optional(key, faults, reader).filter(|text| !text.is_default())
}

/// The same where there must be one, though it be the default.
pub(super) fn required_words(
    key: &'static str,
    fields: &mut Fields<'_>,
    faults: &mut Faults,
    globals: &Globals,
    escape: fn(&str) -> String,
) -> Option<Text> {
    fields.required(key, faults, globals.templates.escaped(Escape::With(escape)))
}

/// What a text says, within `max` characters; what was filled in has been escaped, what else stands in it is the operator's.
pub(super) fn said(text: &Text, data: &Data, max: usize) -> String {
    let said = text.render_or(data, String::new);
    escape_within(said.trim(), max, |c, out| out.push(c))
}

/// The labels that all alerts share, without the name that the title has.
pub(super) fn shared_labels(common: &Labels) -> impl Iterator<Item = (String, String)> {
    let labels = common.iter().filter(|(name, _)| *name != "alertname");
    labels.map(|(name, value)| (message::one_line(head(name, PART_CHARS)), message::one_line(head(value, PART_CHARS))))
}

/// Red for what is bad, green for what is over.
pub(super) fn colour(notification: &Notification) -> u32 {
    match message::severity(notification) {
        _ if !message::is_firing(notification) => 0x2e_b67d,
        Severity::Critical => 0xa3_0200,
        Severity::Error => 0xe0_1e5a,
        Severity::Warning => 0xec_b22e,
        Severity::Info => 0x36_c5f0,
    }
}

/// The part of a text that may be shown where there is room for `max` characters: values may be very long.
pub(super) fn head(text: &str, max: usize) -> &str {
    text.char_indices().nth(max + 1).map_or(text, |(end, _)| &text[..end])
}

/// Its length as most receivers count it.
pub(super) fn units(text: &str) -> usize {
    text.encode_utf16().count()
}

/// Text of at most `max` characters after its escapes, which `escape` appends one by one; lines stay lines, other control
/// characters show as escapes. Nothing is cut within an escape; what was cut shows as `…`.
pub(super) fn escape_within(text: &str, max: usize, escape: impl Fn(char, &mut String)) -> String {
    let (mut out, mut length, mut escaped) = (String::new(), 0, String::new());
    let lines: Vec<String> = head(text, max).lines().map(message::one_line).collect();
    for c in lines.join("\n").chars() {
        escaped.clear();
        escape(c, &mut escaped);
        length += units(&escaped);
        if length >= max {
            out.extend((max > 0).then_some('…'));
            break;
        }
        out += &escaped;
    }
    out
}

/// The text with `@everyone` and its like broken by a character without width, so that it calls nobody.
pub(super) fn without_calls(text: &str) -> String {
    static CALLS: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(r"(?i)@(channel|here|everyone|all|group)\b").ok());
    match &*CALLS {
        Some(calls) => calls.replace_all(text, "@\u{200b}$1").into_owned(),
        None => text.replace('@', "@\u{200b}"),
    }
}

/// The text with its URLs broken likewise, so that they do not become links.
pub(super) fn without_links(text: &str) -> String {
    text.replace("://", ":\u{200b}//")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notify::tests::notification;

    #[test]
    fn text_is_cut_between_escapes() {
        #[track_caller]
        fn check(text: &str, max: usize, expected: &str) {
            let escape = |c: char, out: &mut String| match c {
                '<' => out.push_str("&lt;"),
                other => out.push(other),
            };
            assert_eq!(escape_within(text, max, escape), expected);
        }
        check("<<<", 9, "&lt;&lt;…");
        check("<<<", 8, "&lt;…");
        check("abc", 3, "ab…");
        check("abc", 4, "abc");
        check("😀😀", 4, "😀…");
        check("a\r\nb\u{1b}\u{202e}", 99, "a\nb\\u{1b}\\u{202e}");
        check("abc", 0, "");
    }

    #[test]
    fn nobody_is_called() {
        assert_eq!(
            without_calls("@channel @Here a@b.org @everyone!"),
            "@\u{200b}channel @\u{200b}Here a@b.org @\u{200b}everyone!"
        );
        assert_eq!(without_links("see http://evil"), "see http:\u{200b}//evil");
    }

    #[test]
    fn a_story_fits() {
        let mut one = notification(1, 0).alerts.remove(0);
        one.annotations.set("description", "d".repeat(10_000));
        let story = Story::of(&one, &Labels::default(), Time::from_secs(1_700_000_360));
        assert_eq!(story.headline, "gpt-4o: 12 errors in the last hour for org-0");
        assert_eq!(story.rest.len(), 4);
        for budget in [0, 10, 100, 1_000] {
            let Story { headline, rest } = story.within(budget, |text, max| escape_within(text, max, |c, out| out.push(c)));
            let length = units(&headline) + rest.iter().map(|part| units(part) + 1).sum::<usize>();
            assert!(length <= budget, "{length} > {budget}: {headline} {rest:?}");
        }
    }
}
