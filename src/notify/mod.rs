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

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use jiff::fmt::rfc2822;
use regex::Regex;
use reqwest::Url;

use crate::alert::Alert;
use crate::labels::sha256_hex;
use crate::limits::{ANSWER_BYTES, RETRY_AFTER_MAX};
use crate::message;
use crate::route::{Endpoint, Notification, Semantics};
use crate::secret::Secret;
use crate::time::{Span, Time};
use crate::yaml::{self, Faults, Fields};

mod alertmanager;
mod discord;
mod email;
mod globals;
mod http;
mod msteams;
mod msteamsv2;
mod pagerduty;
mod places;
pub mod retry;
mod slack;
mod stdout;
mod text;
mod tls;
mod webhook;

pub use email::{Auth, Mail, Smarthost};
pub use globals::{Globals, Smtp};
pub use http::{HttpOptions, Proxy, Transport, http_options};
pub use places::Places;
pub use tls::{TlsOptions, TlsVersion};

/// The list: every kind of receiver there is. New ones come last: what was told is stored under a number that has the
/// place here in it ([`Integration::index`], [`Places`]).
pub const KINDS: &[Kind] = &[
    slack::KIND,
    pagerduty::KIND,
    webhook::KIND,
    stdout::KIND,
    email::KIND,
    alertmanager::KIND,
    discord::KIND,
    msteams::KIND,
    msteamsv2::KIND,
];

/// A kind of receiver.
#[derive(Clone, Copy, Debug)]
pub struct Kind {
    /// As metrics and the API call it: `slack`.
    pub name: &'static str,
    /// The key of a receiver's configuration: `slack_configs`.
    pub key: &'static str,
    /// Reads one item of the list under that key; `send_resolved` and unknown keys are the caller's.
    parse: fn(&mut Fields<'_>, &mut Faults, &Globals) -> Option<Arc<dyn Notifier>>,
}

/// What a kind does.
pub trait Notifier: fmt::Debug + Send + Sync {
    /// One step of telling a notification, in the receiver's words; none where it is told after the steps before. Mostly
    /// there is one, number 0. Another attempt begins at 0 again, with the handle that the last one left.
    fn request(&self, notification: &Notification, context: &Context<'_>) -> Option<Request>;

    /// What an answer means. Secrets have been taken out of it already.
    fn classify(&self, answer: &Answer) -> Outcome;

    /// Where the message is after the step of `context` was answered so, for a receiver whose messages can be changed.
    fn handle(&self, _answer: &Answer, _context: &Context<'_>) -> Option<String> {
        None
    }

    /// Whether the steps are several ways to tell the same, all of them tried: one that succeeds is enough.
    fn is_told_by_any(&self) -> bool {
        false
    }

    /// How fast it may be told; integrations with the same key share it.
    fn pace(&self) -> Option<Pace> {
        None
    }

    /// How often what fires is told again to a receiver that else takes it for over; `repeat_interval` does not count then.
    fn refresh(&self) -> Option<Span> {
        None
    }

    /// All that must not be seen; first what says whom it tells, such as a URL.
    fn secrets(&self) -> Vec<&Secret>;

    /// Whom it tells: what was told goes on with the integration that has the same. How that one is reached (passwords,
    /// proxies) is no part of it.
    fn target(&self) -> String {
        self.secrets().first().map(|secret| secret.reveal().to_owned()).unwrap_or_default()
    }
}

/// What a notifier knows beside the notification.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// How people reach this process.
    pub external_url: &'a str,
    /// Which step this is, from 0.
    pub step: usize,
    /// Where the message about this group is that was sent before; none where the group fires anew.
    pub handle: Option<&'a str>,
    /// The delivery's number, the same in each attempt.
    pub delivery: u64,
    /// When it is sent.
    pub now: Time,
}

/// The least time between two messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pace {
    /// What they share, such as a channel; free of secrets.
    pub key: String,
    /// The time.
    pub every: Span,
}

/// One configured way to reach a receiver.
#[derive(Clone, Debug)]
pub struct Integration {
    /// The receiver's name.
    pub receiver: String,
    /// Its number among the integrations of the receiver, by place until [`Places::settle`] has made it stay with whom is
    /// told, since the log of what was told is kept under it.
    pub index: usize,
    /// The name of its kind.
    pub kind: &'static str,
    /// Whether resolved alerts are told.
    pub send_resolved: bool,
    notifier: Arc<dyn Notifier>,
}

impl Pace {
    /// Of all integrations of a kind that post to the same secret URL, or with the same token to the same channel.
    fn of(kind: &str, place: &Secret, every: Span) -> Pace {
        Pace { key: format!("{kind} {}", &sha256_hex(place.reveal())[..16]), every }
    }
}

impl From<&Integration> for Endpoint {
    fn from(integration: &Integration) -> Endpoint {
        let refresh = integration.notifier.refresh();
        Endpoint { index: integration.index, send_resolved: integration.send_resolved, refresh }
    }
}

/// What to do to deliver a notification.
#[derive(Clone)]
pub enum Request {
    /// POST it; redirects must not be followed.
    Http {
        /// May carry a secret in its path, query or user name.
        url: Secret,
        /// Names and values, which may be secrets too (a bot's token).
        headers: Vec<(&'static str, String)>,
        /// May carry a secret too (PagerDuty's routing key).
        body: Vec<u8>,
        /// How it is reached; [`http_options`] reads them.
        options: Arc<HttpOptions>,
    },
    /// Hand it to a mail server; what it says is the answer, its code the status.
    Mail(Box<Mail>),
    /// Write it to stdout.
    Print(String),
}

/// What a receiver answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The HTTP status, or the code of SMTP.
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

/// The same of a password and of what a query gives a value: those are hardly words.
const SHORT_SECRET_BYTES: usize = 4;

/// Reads the integrations of one receiver: the lists under the keys of [`KINDS`].
pub fn integrations(receiver: &str, fields: &mut Fields<'_>, faults: &mut Faults, globals: &Globals) -> Vec<Integration> {
    let mut found = Vec::new();
    for (number, kind) in KINDS.iter().enumerate() {
        let read = fields.each(kind.key, faults, |fields, faults| {
            let send_resolved = fields.optional("send_resolved", faults, yaml::BOOLEAN);
            let send_resolved = send_resolved.unwrap_or_else(|| sends_resolved(kind.name, globals.semantics));
            Some((send_resolved, (kind.parse)(fields, faults, globals)?))
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

/// Whether a kind of receiver is told what is over, where its configuration does not say.
pub fn sends_resolved(kind: &str, semantics: Semantics) -> bool {
    semantics == Semantics::Ours || !["slack", "email"].contains(&kind)
}

impl Integration {
    /// One step of telling a notification; see [`Notifier::request`].
    pub fn request(&self, notification: &Notification, context: &Context<'_>) -> Option<Request> {
        self.notifier.request(notification, context)
    }

    /// Where the message is after a step; see [`Notifier::handle`].
    pub fn handle(&self, answer: &Answer, context: &Context<'_>) -> Option<String> {
        self.notifier.handle(answer, context)
    }

    /// Whom it tells, without saying it; see [`Notifier::target`].
    fn digest(&self) -> String {
        sha256_hex(&format!("{}\0{}", self.kind, self.notifier.target()))
    }

    /// See [`Notifier::is_told_by_any`].
    pub fn is_told_by_any(&self) -> bool {
        self.notifier.is_told_by_any()
    }

    /// How fast it may be told.
    pub fn pace(&self) -> Option<Pace> {
        self.notifier.pace()
    }

    /// What an answer means.
    pub fn classify(&self, answer: &Answer) -> Outcome {
        self.notifier.classify(&Answer { body: self.redact(&answer.body), ..answer.clone() })
    }

    /// What it means that there was no answer: not connected, reset, timed out, or stdout closed. It may have arrived.
    pub fn classify_network(&self, error: &str) -> Outcome {
        Outcome::Retry { reason: self.quote(error), after: None }
    }

    /// What it means that it cannot be sent as it is configured: no attempt would succeed.
    pub fn classify_unable(&self, fault: &str) -> Outcome {
        Outcome::Rejected { reason: self.quote(fault) }
    }

    /// A text of the receiver as a reason quotes it: without secrets, in one line, not too long.
    pub fn quote(&self, text: &str) -> String {
        quote(&self.redact(text))
    }

    /// The text without the secrets of this integration and their parts.
    pub fn hide(&self, text: &str) -> String {
        let mut out = text.to_owned();
        for secret in self.notifier.secrets() {
            out = secret.redact(&out);
            for part in secret_parts(secret.reveal()) {
                out = out.replace(&part, "<secret>");
            }
        }
        out
    }

    /// The same without any URL at all.
    fn redact(&self, text: &str) -> String {
        static URL: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(r#"(?i)https?:\\?/\\?/[^\s"'<>()]+"#).ok());
        let out = self.hide(text);
        match &*URL {
            Some(url) => url.replace_all(&out, "<url>").into_owned(),
            None => out,
        }
    }
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Request::Http { url, headers, body, .. } => {
                let body = format_args!("<{} bytes>", body.len());
                let names: Vec<&str> = headers.iter().map(|(name, _)| *name).collect();
                f.debug_struct("Http").field("url", url).field("headers", &names).field("body", &body).finish()
            }
            Request::Mail(mail) => {
                let message = mail.message.as_ref().map(Vec::len);
                f.debug_struct("Mail")
                    .field("smarthost", &mail.smarthost)
                    .field("to", &mail.to)
                    .field("message", &message)
                    .finish()
            }
            Request::Print(text) => f.debug_tuple("Print").field(text).finish(),
        }
    }
}

impl Request {
    /// A POST of JSON.
    fn json(url: &Secret, options: &Arc<HttpOptions>, body: &serde_json::Value) -> Request {
        let headers = vec![("content-type", "application/json".to_owned())];
        Request::Http { url: url.clone(), headers, body: body.to_string().into_bytes(), options: options.clone() }
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

/// The wait that so many seconds ask for.
fn retry_after(seconds: f64) -> Option<Span> {
    let max = RETRY_AFTER_MAX.0 as f64;
    (!seconds.is_nan()).then_some(Span((seconds * 1e6).clamp(0.0, max) as i64))
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

/// The parts of a secret that are secrets too: of a URL all but its host, without which an error is of no use; of an
/// `Authorization` what stands behind its scheme.
fn secret_parts(secret: &str) -> Vec<String> {
    if let Some((_, credentials)) = secret.split_once(' ').filter(|(scheme, _)| !scheme.contains("://")) {
        return Vec::from_iter((!credentials.is_empty()).then(|| credentials.to_owned()));
    }
    let (_, rest) = secret.split_once("://").unwrap_or((secret, ""));
    let host_end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (user_and_host, path) = rest.split_at(host_end);
    let user = user_and_host.rsplit_once('@').map_or("", |(user, _)| user);
    let (name, password) = user.split_once(':').unwrap_or((user, ""));
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    let plain = percent_decode(user);
    // As the header `Authorization` has it.
    let basic = if plain.contains(':') { BASE64.encode(&plain) } else { BASE64.encode(format!("{plain}:")) };
    let basic = (!user.is_empty()).then_some(basic);
    let decoded = [password].map(percent_decode).into_iter().filter(|decoded| decoded != password);
    let values = query.split(['&', '#']).filter_map(|pair| Some(pair.split_once('=')?.1));
    let short = values.chain([password]).filter(|part| part.len() >= SHORT_SECRET_BYTES).map(str::to_owned);
    let parts = [name].into_iter().chain(path.split(['/', '&', '=', '#'])).chain(query.split(['/', '&', '=', '#']));
    let long = parts.filter(|part| part.len() >= SECRET_PART_BYTES).map(str::to_owned);
    let mut parts: Vec<String> = basic.into_iter().chain(long).chain(short).chain(decoded).collect();
    parts.retain(|part| part.len() >= SHORT_SECRET_BYTES);
    // One may be part of another.
    parts.sort_by(|a, b| (b.len(), a).cmp(&(a.len(), b)));
    parts.dedup();
    parts
}

fn percent_decode(text: &str) -> String {
    let mut pieces = text.split('%');
    let mut out = pieces.next().unwrap_or_default().as_bytes().to_vec();
    for piece in pieces {
        let byte = piece.get(..2).and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match (byte, piece.get(2..)) {
            (Some(byte), Some(rest)) => out.extend([&[byte], rest.as_bytes()].concat()),
            _ => out.extend([b"%", piece.as_bytes()].concat()),
        }
    }
    String::from_utf8_lossy(&out).into_owned()
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

/// The same where there may be none.
fn optional_secret(
    fields: &mut Fields<'_>,
    faults: &mut Faults,
    keys: [&'static str; 2],
    check: fn(Secret) -> Result<Secret, String>,
) -> Option<Secret> {
    fields.constrain(|| serde_json::json!({ "not": { "required": keys } }));
    let secret = http::either(fields, faults, keys)?;
    let place = keys.iter().find_map(|key| fields.node(key)).unwrap_or(fields.node);
    check(secret).map_err(|message| faults.error("bad-value", place, format!("{}: {message}", keys[0]))).ok()
}

/// Where an alert comes from: what whoever posted it said, else this process.
fn generator_url<'a>(alert: &'a Alert, external_url: &'a str) -> &'a str {
    alert.posted.as_ref().map_or(external_url, |posted| &posted.generator_url)
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
