//! A bot that keeps one message for each incident: which step comes next, as a function of the handle alone.
//!
//! The handle says where the message is, for which delivery it was last written, and how far that has come. So an attempt
//! that failed midway goes on where it was: it neither posts a second message nor repeats what the thread has.
//!
//! - No message yet: post it. Else change it. If that cannot be (it was deleted, is not ours, may no longer be edited), post
//!   a new one: the reader who sees only the old one has lost nothing, the others must be told.
//! - Then the thread: under a new message what it had no room for (descriptions, further alerts); under a changed one what
//!   is told now, since a change alone rings no bell. If something fires that is shown in the channel too, so that a new alert
//!   of a group is not missed and a repeat reminds.

use serde_json::{Value, json};

use super::{ALERTS_CHARS, MAX_ALERTS, SECTION_CHARS, alert_text, escape, section};
use crate::alert::State;
use crate::message;
use crate::notify::{Answer, Context};
use crate::route::{Notification, Reason};
use crate::secret::Secret;

/// Where messages are posted, unless the configuration says otherwise; where they are changed stands beside it.
const POST_URL: &str = "https://slack.com/api/chat.postMessage";
const POST: &str = "/chat.postMessage";
const UPDATE: &str = "/chat.update";

/// Errors of `chat.update` after which the message is given up: it was deleted, is another's, or is too old to be edited.
const LOST: [&str; 3] = ["message_not_found", "cant_update_message", "edit_window_closed"];

/// Errors of a reply, whose message has been told already: no reason to tell it again, or to call it failed.
const NO_THREAD: [&str; 4] = [
    "cannot_reply_to_message",
    "thread_not_found",
    "restricted_action_non_threadable_channel",
    "restricted_action_thread_locked",
];

/// Errors that pass: the same request succeeds later.
const PASSING: [&str; 8] = [
    "ratelimited",
    "rate_limited",
    "message_limit_exceeded",
    "internal_error",
    "fatal_error",
    "service_unavailable",
    "request_timeout",
    "team_added_to_org",
];

/// Whether a URL is that of the method `chat.postMessage`.
pub(super) fn is_endpoint(url: &Secret) -> bool {
    url.reveal().split(['?', '#']).next().is_some_and(|url| url.ends_with(POST))
}

/// Whether the step that was refused so is done with, and the next one may come.
pub(super) fn is_passed_over(error: &str) -> bool {
    LOST.contains(&error) || NO_THREAD.contains(&error)
}

/// Whether what was refused so may be taken later.
pub(super) fn is_passing(error: &str) -> bool {
    PASSING.contains(&error)
}

#[derive(Debug)]
pub(super) struct Bot {
    post_url: Secret,
    update_url: Secret,
    /// Whether messages are changed; else each notification is a new one.
    update: bool,
}

/// The handle.
#[derive(Clone, Debug, PartialEq)]
struct Place {
    channel: String,
    ts: String,
    /// The delivery that the message last told.
    delivery: u64,
    done: Done,
}

/// How far that delivery has come.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Done {
    Posted,
    Updated,
    /// The thread has it too.
    Told,
    /// The message is gone.
    Lost,
}

const DONE: [(&str, Done); 4] =
    [("posted", Done::Posted), ("updated", Done::Updated), ("told", Done::Told), ("lost", Done::Lost)];

#[derive(Debug, PartialEq)]
enum Step {
    Post,
    Update(Place),
    Reply(Place),
}

impl Place {
    fn parse(handle: &str) -> Option<Place> {
        let mut parts = handle.split(' ');
        let (channel, ts) = (parts.next()?.to_owned(), parts.next()?.to_owned());
        let delivery = parts.next()?.parse().ok()?;
        let word = parts.next()?;
        let (_, done) = DONE.iter().find(|(known, _)| *known == word)?;
        Some(Place { channel, ts, delivery, done: *done })
    }

    fn write(&self) -> String {
        let word = DONE.iter().find(|(_, done)| *done == self.done).map_or("", |(word, _)| word);
        format!("{} {} {} {word}", self.channel, self.ts, self.delivery)
    }
}

impl Bot {
    pub fn new(post_url: Option<Secret>, update: bool) -> Bot {
        let post_url = post_url.unwrap_or_else(|| Secret::new(POST_URL));
        let update_url = Secret::new(post_url.reveal().replacen(POST, UPDATE, 1));
        Bot { post_url, update_url, update }
    }

    fn next(&self, context: &Context<'_>) -> Option<Step> {
        let place = context.handle.and_then(Place::parse);
        match place {
            // Else an answer without a place for the message would have it posted for ever.
            None => (context.step == 0).then_some(Step::Post),
            Some(place) if place.done == Done::Lost => (context.step <= 1).then_some(Step::Post),
            Some(place) if place.delivery != context.delivery => match (self.update, context.step) {
                (true, 0) => Some(Step::Update(place)),
                (false, 0) => Some(Step::Post),
                _ => None,
            },
            Some(place) => (self.update && place.done != Done::Told).then_some(Step::Reply(place)),
        }
    }

    /// The URL and the body of the next step; `message` is the message itself.
    pub fn request(
        &self,
        notification: &Notification,
        context: &Context<'_>,
        message: impl FnOnce() -> Value,
    ) -> Option<(&Secret, Value)> {
        match self.next(context)? {
            Step::Post => Some((&self.post_url, message())),
            Step::Update(place) => {
                let mut body = message();
                (body["channel"], body["ts"]) = (place.channel.into(), place.ts.into());
                Some((&self.update_url, body))
            }
            Step::Reply(place) => {
                let blocks = match place.done {
                    Done::Posted => details(notification),
                    _ => changes(notification),
                };
                if blocks.is_empty() {
                    return None;
                }
                let rings = place.done == Done::Updated
                    && message::is_firing(notification)
                    && notification.reason != Reason::SomeResolved.to_string();
                let body = json!({
                    "channel": place.channel,
                    "thread_ts": place.ts,
                    "reply_broadcast": rings,
                    "text": escape(&format!("{}: {}", notification.reason, message::title(notification)), 300),
                    "blocks": blocks,
                    "link_names": false,
                    "unfurl_links": false,
                    "unfurl_media": false,
                });
                Some((&self.post_url, body))
            }
        }
    }

    pub fn handle(&self, answer: &Answer, context: &Context<'_>) -> Option<String> {
        let said: Value = serde_json::from_str(answer.body.trim()).ok()?;
        let (ok, error) = (said["ok"] == true, said["error"].as_str().unwrap_or_default());
        let delivery = context.delivery;
        let place = match self.next(context)? {
            Step::Post => {
                let word = |key: &str, of: fn(char) -> bool| {
                    said[key]
                        .as_str()
                        .filter(|text| !text.is_empty() && text.len() < 64 && text.chars().all(of))
                        .map(str::to_owned)
                };
                let channel = word("channel", |c| c.is_ascii_alphanumeric())?;
                let ts = word("ts", |c| c.is_ascii_digit() || c == '.')?;
                let done = if self.update { Done::Posted } else { Done::Told };
                ok.then_some(Place { channel, ts, delivery, done })?
            }
            Step::Update(place) if ok => Place { delivery, done: Done::Updated, ..place },
            Step::Update(place) => LOST.contains(&error).then_some(Place { delivery, done: Done::Lost, ..place })?,
            Step::Reply(place) => (ok || is_passed_over(error)).then_some(Place { done: Done::Told, ..place })?,
        };
        Some(place.write())
    }
}

/// What a new message had no room for: descriptions, and alerts beyond those that it shows.
fn details(notification: &Notification) -> Vec<Value> {
    let described = notification.alerts.iter().take(MAX_ALERTS).filter(|alert| message::description(alert).is_some());
    let beyond = notification.alerts.iter().skip(MAX_ALERTS).take(MAX_ALERTS);
    let shown: Vec<_> = described.chain(beyond).collect();
    let common = message::common_labels(&notification.alerts);
    let budget = (ALERTS_CHARS / shown.len().max(1)).min(SECTION_CHARS);
    let mut blocks: Vec<Value> = Vec::new();
    for alert in shown {
        let text = match message::description(alert) {
            Some(description) => {
                let headline = escape(message::headline(alert).trim(), budget / 4);
                format!("*{headline}*\n{}", escape(description.trim(), budget * 3 / 4 - 4))
            }
            None => alert_text(alert, &common, notification.at, budget),
        };
        blocks.push(section(text));
    }
    let left = message::and_more(notification.alerts.len(), 2 * MAX_ALERTS);
    blocks.extend(left.map(|more| section(escape(&more, 100))));
    blocks
}

/// What is told now, a line for each alert.
fn changes(notification: &Notification) -> Vec<Value> {
    let shown = notification.alerts.len().min(MAX_ALERTS);
    let budget = (SECTION_CHARS - 400) / shown.max(1);
    let mut lines = vec![format!("*{}*", escape(&notification.reason, 100))];
    for alert in notification.alerts.iter().take(shown) {
        let mark = if alert.state == State::Firing { ":red_circle:" } else { ":large_green_circle:" };
        let text = message::one_line(message::headline(alert).trim());
        lines.push(format!("{mark} {}", escape(&text, budget.saturating_sub(25))));
    }
    lines.extend(message::and_more(notification.alerts.len(), shown));
    vec![section(lines.join("\n"))]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notify::tests::{CONTEXT, notification};

    const POSTED: &str = r#"{"ok":true,"channel":"C0123","ts":"1700000361.000100"}"#;

    fn bot(update: bool) -> Bot {
        Bot::new(Some(Secret::new("http://slack/api/chat.postMessage")), update)
    }

    /// One attempt as the engine makes it: a word for each step that Slack answers with the next of `answers`, and the
    /// handle that is left.
    fn attempt(
        bot: &Bot,
        told: &Notification,
        delivery: u64,
        handle: Option<&str>,
        answers: &[&str],
    ) -> (String, Option<String>) {
        let (mut handle, mut steps) = (handle.map(str::to_owned), Vec::new());
        for step in 0..10 {
            let before = handle.clone();
            let context = Context { step, delivery, handle: before.as_deref(), ..CONTEXT };
            let Some((url, body)) = bot.request(told, &context, || json!({ "text": "x" })) else { break };
            steps.push(match (url.reveal().rsplit('/').next().unwrap(), body["thread_ts"].as_str()) {
                ("chat.update", _) => format!("update {}", body["ts"].as_str().unwrap()),
                (_, None) => "post".to_owned(),
                (_, Some(ts)) if body["reply_broadcast"] == true => format!("ring {ts}"),
                (_, Some(ts)) => format!("reply {ts}"),
            });
            let Some(said) = answers.get(step) else { break };
            let answer = Answer::new(200, None, said.as_bytes(), CONTEXT.now);
            let error = serde_json::from_str::<Value>(said).unwrap()["error"].as_str().unwrap_or_default().to_owned();
            if !error.is_empty() && !is_passed_over(&error) {
                break;
            }
            handle = bot.handle(&answer, &context).or(handle);
        }
        (steps.join(", "), handle)
    }

    fn described() -> Notification {
        let mut told = notification(1, 0);
        told.alerts[0].annotations.set("description", "long");
        told
    }

    #[track_caller]
    fn check(told: &Notification, delivery: u64, handle: Option<&str>, answers: &[&str], steps: &str, left: Option<&str>) {
        let (made, handle) = attempt(&bot(true), told, delivery, handle, answers);
        assert_eq!((made.as_str(), handle.as_deref()), (steps, left));
    }

    #[test]
    fn posts_once_and_then_changes_it() {
        let ok = r#"{"ok":true}"#;
        let ts = "1700000361.000100";
        let place = |delivery: u64, done: &str| format!("C0123 {ts} {delivery} {done}");
        // With nothing for the thread there is one step.
        check(&notification(1, 0), 7, None, &[POSTED], "post", Some(&place(7, "posted")));
        check(&described(), 7, None, &[POSTED, POSTED], &format!("post, reply {ts}"), Some(&place(7, "told")));
        // What changes is told in the thread, and shown in the channel where it fires.
        let told = place(7, "told");
        let steps = format!("update {ts}, ring {ts}");
        check(&notification(2, 0), 8, Some(&told), &[ok, POSTED], &steps, Some(&place(8, "told")));
        let over = Notification { reason: "resolved".to_owned(), ..notification(0, 2) };
        check(&over, 9, Some(&told), &[ok, POSTED], &format!("update {ts}, reply {ts}"), Some(&place(9, "told")));
        let partly = Notification { reason: Reason::SomeResolved.to_string(), ..notification(1, 1) };
        check(&partly, 9, Some(&told), &[ok, POSTED], &format!("update {ts}, reply {ts}"), Some(&place(9, "told")));
    }

    #[test]
    fn an_attempt_that_failed_midway_goes_on_where_it_was() {
        let ts = "1700000361.000100";
        let failed = r#"{"ok":false,"error":"ratelimited"}"#;
        let place = |delivery: u64, done: &str| format!("C0123 {ts} {delivery} {done}");
        check(&described(), 7, None, &[POSTED, failed], &format!("post, reply {ts}"), Some(&place(7, "posted")));
        check(&described(), 7, Some(&place(7, "posted")), &[POSTED], &format!("reply {ts}"), Some(&place(7, "told")));
        check(&described(), 7, Some(&place(7, "told")), &[], "", Some(&place(7, "told")));
        check(&described(), 8, Some(&place(8, "updated")), &[POSTED], &format!("ring {ts}"), Some(&place(8, "told")));
        // A newer delivery that replaced the one that failed changes what that one posted.
        let steps = format!("update {ts}");
        check(&described(), 8, Some(&place(7, "posted")), &[failed], &steps, Some(&place(7, "posted")));
    }

    #[test]
    fn a_message_that_is_gone_is_posted_anew() {
        let old = "C9 1600000000.000200 7 told";
        for error in LOST {
            let lost = format!(r#"{{"ok":false,"error":"{error}"}}"#);
            let steps = "update 1600000000.000200, post, reply 1700000361.000100";
            let left = "C0123 1700000361.000100 8 told";
            check(&described(), 8, Some(old), &[&lost, POSTED, POSTED], steps, Some(left));
            // It fails once it is known to be gone.
            let failed = r#"{"ok":false,"error":"ratelimited"}"#;
            let steps = "update 1600000000.000200, post";
            check(&described(), 8, Some(old), &[&lost, failed], steps, Some("C9 1600000000.000200 8 lost"));
            check(
                &notification(1, 0),
                8,
                Some("C9 1600000000.000200 8 lost"),
                &[POSTED],
                "post",
                Some("C0123 1700000361.000100 8 posted"),
            );
        }
    }

    #[test]
    fn nothing_is_posted_for_ever() {
        for strange in [r#"{"ok":true}"#, r#"{"ok":true,"channel":"C 1","ts":"x"}"#, r#"{"ok":true,"channel":7,"ts":null}"#] {
            check(&described(), 7, None, &[strange; 10], "post", None);
        }
        let old = "C9 1600000000.000200 7 told";
        let lost = r#"{"ok":false,"error":"message_not_found"}"#;
        let (steps, _) = attempt(&bot(true), &described(), 8, Some(old), &[lost; 10]);
        assert_eq!(steps, "update 1600000000.000200, post");
        for garbage in ["", "a", "a b c d", "a b 8 d"] {
            assert_eq!(attempt(&bot(true), &notification(1, 0), 8, Some(garbage), &[POSTED]).0, "post", "{garbage}");
        }
    }

    #[test]
    fn a_thread_that_cannot_be_is_no_failure() {
        let refused = r#"{"ok":false,"error":"cannot_reply_to_message"}"#;
        let ts = "1700000361.000100";
        check(&described(), 7, None, &[POSTED, refused], &format!("post, reply {ts}"), Some(&format!("C0123 {ts} 7 told")));
    }

    #[test]
    fn without_update_each_is_a_message_of_its_own() {
        let bot = bot(false);
        let (steps, left) = attempt(&bot, &described(), 7, None, &[POSTED; 3]);
        assert_eq!((steps.as_str(), left.as_deref()), ("post", Some("C0123 1700000361.000100 7 told")));
        assert_eq!(attempt(&bot, &described(), 8, left.as_deref(), &[POSTED; 3]).0, "post");
        // But not twice of one delivery.
        assert_eq!(attempt(&bot, &described(), 7, left.as_deref(), &[POSTED; 3]).0, "");
    }

    #[test]
    fn the_thread_stays_within_bounds() {
        let mut many = notification(90, 10);
        for alert in &mut many.alerts {
            alert.annotations.set("summary", "<&>".repeat(5_000));
            alert.annotations.set("description", "<!channel>\n".repeat(5_000));
        }
        for blocks in [details(&many), changes(&many)] {
            let texts: Vec<&str> = blocks.iter().map(|block| block["text"]["text"].as_str().unwrap()).collect();
            assert!(blocks.len() <= 50 && texts.iter().all(|text| text.chars().count() <= SECTION_CHARS));
            assert!(texts.iter().map(|text| text.chars().count()).sum::<usize>() < 12_000);
            assert!(texts.iter().all(|text| !text.contains("<!channel>")));
            assert!(texts.last().unwrap().contains("… and "), "{texts:?}");
        }
    }
}
