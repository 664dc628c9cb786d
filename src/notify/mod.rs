//! How a notification reaches people: one file for each kind of receiver, and the list of them.
//!
//! A notifier is pure: it turns a [`Notification`] into a [`Request`], and the [`Answer`] into an [`Outcome`]. The
//! engine sends; the outbox keeps order and tries again ([`retry`]). A new kind is its file and its line in [`KINDS`].
//!
//! Guarantees, which `tests.rs` proves for every kind in the list: what an answer means is what its table says; no
//! secret shows in `Debug`, in a request's `Debug` or in an outcome, also when the receiver or the HTTP library repeats
//! it; a message is valid and within the receiver's bounds whatever the alerts are and however many.

use std::fmt;
use std::sync::{Arc, LazyLock};

use jiff::fmt::rfc2822;
use regex::Regex;
use reqwest::Url;

use crate::limits::{ANSWER_BYTES, RETRY_AFTER_MAX};
use crate::message;
use crate::route::Notification;
use crate::secret::Secret;
use crate::time::{Span, Time};
use crate::yaml::{self, Faults, Fields};

mod pagerduty;
pub mod retry;
mod slack;
mod stdout;
mod webhook;

/// The list: every kind of receiver there is. New ones come last: what was told is stored under a number that has the
/// place here in it ([`Integration::index`]).
pub const KINDS: &[Kind] = &[slack::KIND, pagerduty::KIND, webhook::KIND, stdout::KIND];

/// A kind of receiver.
#[derive(Clone, Copy, Debug)]
pub struct Kind {
    /// As metrics and the API call it: `slack`.
    pub name: &'static str,
    /// The key of a receiver's configuration: `slack_configs`.
    pub key: &'static str,
    /// Reads one item of the list under that key; `send_resolved` and unknown keys are the caller's.
    parse: fn(&mut Fields<'_>, &mut Faults) -> Option<Arc<dyn Notifier>>,
}

/// What a kind does.
pub trait Notifier: fmt::Debug + Send + Sync {
    /// The notification in the receiver's words.
    fn request(&self, notification: &Notification, external_url: &str) -> Request;

    /// What an answer means. Secrets have been taken out of it already.
    fn classify(&self, answer: &Answer) -> Outcome;

    /// All that must not be seen.
    fn secrets(&self) -> Vec<&Secret>;
}

/// One configured way to reach a receiver.
#[derive(Clone, Debug)]
pub struct Integration {
    /// The receiver's name.
    pub receiver: String,
    /// Its number among the integrations of the receiver: it stays when integrations of other kinds come and go, since the
    /// log of what was told is kept under it.
    pub index: usize,
    /// The name of its kind.
    pub kind: &'static str,
    /// Whether resolved alerts are told.
    pub send_resolved: bool,
    notifier: Arc<dyn Notifier>,
}

/// What to do to deliver a notification.
#[derive(Clone)]
pub enum Request {
    /// POST it; redirects must not be followed.
    Http {
        /// May carry a secret in its path, query or user name.
        url: Secret,
        /// Names and values.
        headers: Vec<(&'static str, String)>,
        /// May carry a secret too (PagerDuty's routing key).
        body: Vec<u8>,
    },
    /// Write it to stdout.
    Print(String),
}

/// What a receiver answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// How long the receiver asks us to wait, at most [`RETRY_AFTER_MAX`].
    pub retry_after: Option<Span>,
    /// The text, as far as it is read.
    pub body: String,
}

/// What came of an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The receiver has it.
    Delivered,
    /// Not now.
    Retry {
        /// For the operator; free of secrets.
        reason: String,
        /// How long the receiver asks us to wait.
        after: Option<Span>,
    },
    /// Never: the same request would be refused again.
    Rejected {
        /// For the operator; free of secrets.
        reason: String,
    },
}

/// Room for the integrations of one kind in the numbers of a receiver's integrations.
const EACH_KIND: usize = 1_000;

/// Characters of an answer or an error that a reason quotes.
const QUOTED_CHARS: usize = 200;

/// A part of a URL's path, query or user at least this long is taken for a secret of its own: receivers repeat tokens
/// without the URL. Shorter ones (`services`, `hook`) are words.
const SECRET_PART_BYTES: usize = 9;

/// Reads the integrations of one receiver: the lists under the keys of [`KINDS`].
pub fn integrations(receiver: &str, fields: &mut Fields<'_>, faults: &mut Faults) -> Vec<Integration> {
    let mut found = Vec::new();
    for (number, kind) in KINDS.iter().enumerate() {
        let read = fields.each(kind.key, faults, |fields, faults| {
            let send_resolved = fields.optional("send_resolved", faults, yaml::BOOLEAN).unwrap_or(true);
            Some((send_resolved, (kind.parse)(fields, faults)?))
        });
        // One at fault is left out, but then nothing of the file is used.
        found.extend(read.into_iter().enumerate().map(|(i, (send_resolved, notifier))| Integration {
            receiver: receiver.to_owned(),
            index: number * EACH_KIND + i,
            kind: kind.name,
            send_resolved,
            notifier,
        }));
    }
    found
}

impl Integration {
    /// The notification in the receiver's words.
    pub fn request(&self, notification: &Notification, external_url: &str) -> Request {
        self.notifier.request(notification, external_url)
    }

    /// What an answer means.
    pub fn classify(&self, answer: &Answer) -> Outcome {
        self.notifier.classify(&Answer { body: self.redact(&answer.body), ..answer.clone() })
    }

    /// What it means that there was no answer: not connected, reset, timed out, or stdout closed. It may have arrived.
    pub fn classify_network(&self, error: &str) -> Outcome {
        Outcome::Retry { reason: quote(&self.redact(error)), after: None }
    }

    /// The text without the secrets of this integration, their parts, and any URL at all.
    fn redact(&self, text: &str) -> String {
        static URL: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(r#"(?i)https?:\\?/\\?/[^\s"'<>()]+"#).ok());
        let mut out = text.to_owned();
        for secret in self.notifier.secrets() {
            out = secret.redact(&out);
            for part in secret_parts(secret.reveal()) {
                out = out.replace(part, "<secret>");
            }
        }
        match &*URL {
            Some(url) => url.replace_all(&out, "<url>").into_owned(),
            None => out,
        }
    }
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Request::Http { url, headers, body } => {
                let body = format_args!("<{} bytes>", body.len());
                f.debug_struct("Http").field("url", url).field("headers", headers).field("body", &body).finish()
            }
            Request::Print(text) => f.debug_tuple("Print").field(text).finish(),
        }
    }
}

impl Request {
    /// A POST of JSON.
    fn json(url: &Secret, body: &serde_json::Value) -> Request {
        let headers = vec![("content-type", "application/json".to_owned())];
        Request::Http { url: url.clone(), headers, body: body.to_string().into_bytes() }
    }
}

impl Answer {
    /// From the status, the header `Retry-After` (seconds or an HTTP date) and the body, of which the start counts.
    pub fn new(status: u16, retry_after: Option<&str>, body: &[u8], now: Time) -> Answer {
        let body = String::from_utf8_lossy(&body[..body.len().min(ANSWER_BYTES)]).into_owned();
        Answer { status, retry_after: retry_after.and_then(|text| read_retry_after(text.trim(), now)), body }
    }
}

fn read_retry_after(text: &str, now: Time) -> Option<Span> {
    if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
        let max = RETRY_AFTER_MAX.0 / 1_000_000;
        return Some(Span::secs(text.parse().unwrap_or(max).min(max)));
    }
    let date = rfc2822::DateTimeParser::new().parse_timestamp(text).ok()?;
    Some((Time(date.as_microsecond()) - now).clamp(Span::ZERO, RETRY_AFTER_MAX))
}

/// The outcome that a status alone tells: 2xx is delivered; 5xx, 429 and those in `also_again` are worth another
/// attempt; all else is not, redirects among it.
fn by_status(answer: &Answer, also_again: &[u16]) -> Outcome {
    let reason = || match answer.body.trim() {
        "" => format!("status {}", answer.status),
        body => format!("status {}: {}", answer.status, quote(body)),
    };
    match answer.status {
        200..=299 => Outcome::Delivered,
        status if status >= 500 || status == 429 || also_again.contains(&status) => {
            Outcome::Retry { reason: reason(), after: answer.retry_after }
        }
        300..=399 => Outcome::Rejected { reason: format!("{}; redirects are not followed", reason()) },
        _ => Outcome::Rejected { reason: reason() },
    }
}

/// The parts of a secret URL that are secrets too; its host is none, and an error is of no use without it.
fn secret_parts(secret: &str) -> impl Iterator<Item = &str> {
    let (_, rest) = secret.split_once("://").unwrap_or((secret, ""));
    let host_end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (user_and_host, path) = rest.split_at(host_end);
    let user = user_and_host.rsplit_once('@').map_or("", |(user, _)| user);
    let parts = user.split(':').chain(path.split(['/', '?', '&', '=', '#']));
    parts.filter(|part| part.len() >= SECRET_PART_BYTES)
}

fn quote(text: &str) -> String {
    message::truncate(&message::one_line(text.trim()), QUOTED_CHARS)
}

/// The secret under exactly one of two keys: the text itself or a file that holds it.
fn secret(
    fields: &mut Fields<'_>,
    faults: &mut Faults,
    [key, file_key]: [&'static str; 2],
    check: fn(Secret) -> Result<Secret, String>,
) -> Option<Secret> {
    fields.exactly_one(&[key, file_key]);
    match (fields.node_of(key, yaml::SECRET), fields.node_of(file_key, yaml::SECRET_FILE)) {
        (Some(_), Some(file)) => {
            faults.error_help("conflicting-keys", file, format!("both `{key}` and `{file_key}` are set"), "remove one of them");
            None
        }
        (None, None) => {
            faults.error("missing-key", fields.node, format!("`{key}` or `{file_key}` is missing"));
            None
        }
        (Some(_), None) => fields.optional(key, faults, yaml::SECRET.then(check)),
        (None, Some(_)) => fields.optional(file_key, faults, yaml::SECRET_FILE.then(check)),
    }
}

/// A URL to POST to; the fault does not repeat it.
fn http_url(url: Secret) -> Result<Secret, String> {
    let parsed = Url::parse(url.reveal()).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
    parsed.map(|_| url).ok_or_else(|| "must be a URL that begins with http:// or https://".to_owned())
}

/// Any text but an empty one.
fn not_empty(secret: Secret) -> Result<Secret, String> {
    if secret.reveal().trim().is_empty() { Err("is empty".to_owned()) } else { Ok(secret) }
}

#[cfg(test)]
mod tests;
