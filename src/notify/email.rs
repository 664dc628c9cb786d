//! Mail: one message in text and HTML for each notification, to all addresses at once, in one thread while the group fires.
//!
//! ```yaml
//! email_configs:
//!   - to: oncall@example.com, Jane <jane@example.com>
//!     from: modelwatch@example.com       # from here to tls_config, where left out, as in `global` with `smtp_` before it
//!     smarthost: mail.example.com:587    # port 465 speaks TLS from the start, others begin it by STARTTLS
//!     hello: localhost                   # by what name we greet
//!     auth_username: modelwatch
//!     auth_password: XXXXXXXXXXXXXXXXXXXXXXXX   # or auth_password_file; sent by PLAIN or LOGIN, never unencrypted
//!     auth_identity: ''                  # for whom we act, where it is not the user
//!     require_tls: true                  # false: unencrypted
//!     tls_config: {server_name: mail.example.com, min_version: TLS12}   # keys as in http_config
//!     headers: {Reply-To: team@example.com}   # further headers, or Subject, From and To in other words
//!     threading: {enabled: true}         # thread_by_date: daily or none for threads by day or for ever, not by incident
//!     send_resolved: true
//! ```
//!
//! `text` and `html` replace what is written otherwise; an empty one is left out. They, `to`, `from` and the headers are
//! templates.
//!
//! What an SMTP server says is final with 5xx, and worth another attempt with 4xx. Faults of TLS and of addresses are final.
//! Of several recipients those that are accepted get it at once; those refused for now get it in a later attempt, those
//! refused for good are named in the log, and where nobody is accepted the delivery fails.
//!
//! Label values come from rows: in headers they have no control characters, in HTML they are escaped. Bounds: 50 alerts, 256
//! KiB a part, 250 characters of subject.

mod handle;
mod html;
mod letter;
mod text;

use std::net::IpAddr;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use lettre::message::Mailboxes;

use crate::alert::Alert;
use crate::diag::Diagnostic;
use crate::labels::sha256_hex;
use crate::message::{self, Data, Templates, Text, TextReader};
use crate::notify::http::either;
use crate::notify::{self, Answer, Context, Globals, Kind, Notifier, Outcome, Request, TlsOptions};
use crate::route::{Notification, Semantics};
use crate::secret::Secret;
use crate::yaml::{self, Faults, Fields, Node, Read};
use handle::Handle;
use letter::Letter;

/// `email_configs`
pub(super) const KIND: Kind = Kind { name: "email", key: "email_configs", parse };

/// Alerts that are shown one by one.
const MAX_ALERTS: usize = 50;

/// Where TLS is spoken from the start.
const IMPLICIT_TLS_PORT: u16 = 465;

/// A mail to be handed to a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mail {
    /// To whom it is handed.
    pub smarthost: Arc<Smarthost>,
    /// The address that it comes from.
    pub from: String,
    /// The addresses that it goes to.
    pub to: Vec<String>,
    /// All of it; or why there is none.
    pub message: Result<Vec<u8>, String>,
    /// What is known of the thread and of earlier attempts.
    handle: Handle,
}

/// A server that takes mail, and who we are to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Smarthost {
    /// Its name.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// By what name we greet.
    pub hello: String,
    /// Who we are.
    pub auth: Option<Auth>,
    /// Whether TLS is spoken from the start.
    pub implicit_tls: bool,
    /// Whether TLS must have begun before anything is told.
    pub require_tls: bool,
    /// Whom it trusts.
    pub tls: TlsOptions,
}

/// Who we are to a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Auth {
    /// The name.
    pub username: String,
    /// The password.
    pub password: Secret,
    /// For whom we act; empty for ourselves.
    pub identity: String,
}

#[derive(Debug)]
struct Email {
    smarthost: Arc<Smarthost>,
    from: Text,
    to: Text,
    headers: Vec<(String, Text)>,
    html: Option<Text>,
    text: Option<Text>,
    threads: Option<Threads>,
    /// The password, also as it is sent.
    secrets: Vec<Secret>,
}

/// What is one thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Threads {
    /// From the first alert of a group until all are resolved.
    Incident,
    /// A group, each day anew.
    Daily,
    /// A group, for ever.
    Group,
}

const BY_DATE: &[(&str, Threads)] = &[("daily", Threads::Daily), ("none", Threads::Group)];

fn parse(fields: &mut Fields<'_>, faults: &mut Faults, globals: &Globals) -> Option<Arc<dyn Notifier>> {
    let smarthost = smarthost(fields, faults, globals);
    let templates = &globals.templates;
    let to = fields.required("to", faults, Addresses(templates.text()));
    let from = fields.optional("from", faults, Addresses(templates.text()));
    let from = from.or_else(|| Text::parse(globals.smtp.from.as_ref()?, templates).ok());
    if from.is_none() && fields.node("from").is_none() {
        faults.error_help(
            "missing-key",
            fields.node,
            "`from` is missing",
            "from: modelwatch@example.com, or `smtp_from` in `global`",
        );
    }
    let headers = headers(fields, faults, templates);
    let html = fields.optional("html", faults, templates.html()).filter(|text| !text.is_default());
    let text = fields.optional("text", faults, templates.text()).filter(|text| !text.is_default());
    if [&html, &text].iter().all(|part| part.as_ref().is_some_and(|part| part.source().is_empty())) {
        faults.error_help("bad-value", fields.node, "both `html` and `text` are empty", "leave one of them out");
    }
    let threads = fields.nested("threading", faults, |fields, faults| {
        let by_date = fields.optional("thread_by_date", faults, yaml::one_of(BY_DATE));
        let enabled = fields.optional("enabled", faults, yaml::BOOLEAN).unwrap_or(globals.semantics == Semantics::Ours);
        let default = if globals.semantics == Semantics::Ours { Threads::Incident } else { Threads::Daily };
        Some(enabled.then_some(by_date.unwrap_or(default)))
    });
    let threads = threads.unwrap_or((globals.semantics == Semantics::Ours).then_some(Threads::Incident));
    let smarthost = smarthost?;
    let secrets = secrets(&smarthost);
    Some(Arc::new(Email { smarthost: Arc::new(smarthost), from: from?, to: to?, headers, html, text, threads, secrets }))
}

fn smarthost(fields: &mut Fields<'_>, faults: &mut Faults, globals: &Globals) -> Option<Smarthost> {
    let global = &globals.smtp;
    let address = fields.optional("smarthost", faults, yaml::TEXT.then(host_and_port)).or_else(|| global.smarthost.clone());
    if address.is_none() && fields.node("smarthost").is_none() {
        let help = "smarthost: mail.example.com:587, or `smtp_smarthost` in `global`";
        faults.error_help("missing-key", fields.node, "`smarthost` is missing", help);
    }
    let hello = fields.optional("hello", faults, yaml::TEXT.then(hello)).or_else(|| global.hello.clone());
    let auth = auth(fields, faults, globals);
    let implicit = fields.optional("force_implicit_tls", faults, yaml::BOOLEAN).or(global.force_implicit_tls);
    let require_tls = fields.optional("require_tls", faults, yaml::BOOLEAN).or(global.require_tls).unwrap_or(true);
    let tls = fields.nested("tls_config", faults, TlsOptions::parse).or_else(|| global.tls.clone()).unwrap_or_default();
    let (host, port) = address?;
    let hello = hello.unwrap_or_else(|| "localhost".to_owned());
    let implicit_tls = implicit.unwrap_or(port == IMPLICIT_TLS_PORT);
    let smarthost = Smarthost { host, port, hello, auth, implicit_tls, require_tls, tls };
    if smarthost.auth.is_some() && !smarthost.may_authenticate_unencrypted() && !implicit_tls && !require_tls {
        let help = "set `require_tls: true`, or leave the name and the password out";
        let place = fields.node("require_tls").unwrap_or(fields.node);
        faults.error_help("bad-value", place, "require_tls: no password is sent unencrypted to another machine", help);
    }
    Some(smarthost)
}

fn auth(fields: &mut Fields<'_>, faults: &mut Faults, globals: &Globals) -> Option<Auth> {
    let global = &globals.smtp;
    let username = fields.optional("auth_username", faults, yaml::TEXT).or_else(|| global.auth_username.clone());
    let password = either(fields, faults, ["auth_password", "auth_password_file"]).or_else(|| global.auth_password.clone());
    let identity = fields.optional("auth_identity", faults, yaml::TEXT).or_else(|| global.auth_identity.clone());
    let own_secret = either(fields, faults, ["auth_secret", "auth_secret_file"]).is_some();
    if own_secret || global.has_auth_secret {
        let place = fields.node("auth_secret").or(fields.node("auth_secret_file")).unwrap_or(fields.node);
        let message = "auth_secret: CRAM-MD5 is not supported";
        let fault = match password {
            Some(_) => Diagnostic::warning("unsupported", &place.place, message).help("the password is used instead"),
            None => Diagnostic::error("unsupported", &place.place, message).help("give `auth_password`, which is sent under TLS"),
        };
        faults.0.push(fault);
    }
    let username = username.filter(|name| !name.is_empty())?;
    if password.is_none() && !own_secret && !global.has_auth_secret && fields.node("auth_password_file").is_none() {
        let help = "auth_password or auth_password_file; or `smtp_auth_password` in `global`";
        faults.error_help("missing-key", fields.node, "there is an `auth_username` without its password", help);
    }
    Some(Auth { username, password: password?, identity: identity.unwrap_or_default() })
}

/// `host:port`, as `smtp_smarthost` has it too.
pub(super) fn host_and_port(text: String) -> Result<(String, u16), String> {
    let read = text.rsplit_once(':').and_then(|(host, port)| {
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        Some((host.to_owned(), port.parse::<u16>().ok()?)).filter(|(host, port)| !host.is_empty() && *port > 0)
    });
    read.ok_or_else(|| format!("`{text}` is no server; write it as mail.example.com:587"))
}

/// What may stand behind EHLO.
pub(super) fn hello(name: String) -> Result<String, String> {
    let good = !name.is_empty() && name.bytes().all(|b| b.is_ascii_graphic());
    if good { Ok(name) } else { Err("is no name of a host".to_owned()) }
}

/// One or several addresses, separated by commas.
pub(super) fn addresses(text: String) -> Result<String, String> {
    match text.parse::<Mailboxes>() {
        Ok(found) if found.iter().next().is_some() => Ok(text),
        _ => Err(format!("`{text}` is no address of mail; write it as oncall@example.com or Jane <jane@example.com>, ...")),
    }
}

/// Headers that say how the message is built, to whom it goes unseen, or which thread it belongs to.
const OURS: [&str; 8] =
    ["bcc", "content-transfer-encoding", "content-type", "date", "in-reply-to", "message-id", "mime-version", "references"];

fn headers(fields: &mut Fields<'_>, faults: &mut Faults, templates: &Templates) -> Vec<(String, Text)> {
    let mut found = Vec::new();
    for (key, node) in fields.entries("headers", faults, || yaml::TEXT.schema()) {
        let name = key.key_name();
        if !letter::is_header_name(name) {
            faults.error("bad-value", key, format!("headers: `{name}` is no name of a header"));
        } else if name.eq_ignore_ascii_case("bcc") {
            faults.error_help(
                "bad-value",
                key,
                "headers: `Bcc` would be seen by all",
                "add the address to `to`, and set `To` here",
            );
        } else if OURS.iter().any(|ours| name.eq_ignore_ascii_case(ours)) {
            faults.error("bad-value", key, format!("headers: `{name}` is set by modelwatch"));
        }
        let read = if letter::holds_addresses(name) {
            Addresses(templates.text()).read("headers", node, faults)
        } else {
            templates.text().read("headers", node, faults)
        };
        found.extend(read.filter(|text| !text.is_default()).map(|text| (name.to_owned(), text)));
    }
    found
}

/// Addresses, or a template that makes them: then they are looked at when it is filled in.
struct Addresses(TextReader);

impl Read<Text> for Addresses {
    fn read(&self, key: &str, node: &Node, faults: &mut Faults) -> Option<Text> {
        let text = self.0.read(key, node, faults)?;
        match addresses(text.source().to_owned()) {
            Err(message) if text.is_plain() => {
                faults.error("bad-value", node, format!("{key}: {message}"));
                None
            }
            _ => Some(text),
        }
    }

    fn schema(&self) -> serde_json::Value {
        self.0.schema()
    }
}

/// The password as it is written, and as it goes over the wire.
fn secrets(smarthost: &Smarthost) -> Vec<Secret> {
    let Some(Auth { username, password, identity }) = &smarthost.auth else { return Vec::new() };
    let plain = format!("{identity}\0{username}\0{}", password.reveal());
    let sent = [plain.as_str(), password.reveal()].map(|text| Secret::new(BASE64.encode(text)));
    [password.clone()].into_iter().chain(sent).collect()
}

impl Smarthost {
    /// The machine itself hears what is said to it anyway.
    pub fn may_authenticate_unencrypted(&self) -> bool {
        self.host.eq_ignore_ascii_case("localhost") || self.host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
    }
}

impl Notifier for Email {
    fn request(&self, notification: &Notification, context: &Context<'_>) -> Option<Request> {
        (context.step == 0).then(|| Request::Mail(Box::new(self.mail(notification, context))))
    }

    fn classify(&self, answer: &Answer) -> Outcome {
        let reason = || notify::quote(&format!("SMTP {} {}", answer.status, answer.body));
        match answer.status {
            200..=299 => Outcome::Delivered,
            400..=499 => Outcome::Retry { reason: reason(), after: None },
            _ => Outcome::Rejected { reason: reason() },
        }
    }

    fn secrets(&self) -> Vec<&Secret> {
        self.secrets.iter().chain(self.smarthost.tls.secrets()).collect()
    }

    fn target(&self) -> String {
        let Smarthost { host, port, .. } = &*self.smarthost;
        format!("{host}:{port}\n{}", self.to.source())
    }
}

impl Email {
    fn mail(&self, notification: &Notification, context: &Context<'_>) -> Mail {
        let known = Handle::read(context.handle, context.delivery);
        let data = Data::new(notification, context.external_url);
        // What cannot be filled in is no address, which is told when the message is made.
        let [from_written, to_written] = [&self.from, &self.to].map(|text| text.render(&data).unwrap_or_else(|error| error));
        let (from, recipients) = (letter::bare(&from_written), letter::bare(&to_written));
        let from = from.into_iter().next().unwrap_or_default();
        let host = from.rsplit_once('@').map_or("modelwatch", |(_, host)| host);
        let group = &sha256_hex(&format!("{}\n{}", notification.receiver, notification.group_key))[..24];
        let id = format!("<{}.{}.{group}@{host}>", notification.at.0, context.delivery);
        let thread = match self.threads {
            None => String::new(),
            Some(Threads::Incident) => known.thread.clone(),
            Some(Threads::Daily) => format!("<{}.{group}@{host}>", context.now.to_jiff().strftime("%Y-%m-%d")),
            Some(Threads::Group) => format!("<{group}@{host}>"),
        };
        let title = || message::title(notification);
        let headers = self.headers.iter().map(|(name, value)| (name.clone(), value.render_or(&data, title)));
        let letter = Letter {
            id: &id,
            thread: &thread,
            date: context.now,
            from: &from_written,
            to: &to_written,
            subject: title(),
            headers: headers.collect(),
            text: part(&self.text, &data, |error| text::body(notification, context.external_url, error)),
            html: part(&self.html, &data, |error| html::body(notification, context.external_url, error)),
        };
        let began = if thread.is_empty() { id.clone() } else { thread.clone() };
        Mail {
            smarthost: self.smarthost.clone(),
            message: letter.bytes(),
            to: recipients.into_iter().filter(|address| !known.told.contains(address)).collect(),
            from,
            handle: Handle { thread: began, ..known },
        }
    }
}

/// Adds alerts one by one, as many as there is room for; says how many more there are.
fn fill(out: &mut String, alerts: &[Alert], bytes: usize, one: impl Fn(&Alert) -> String) -> Option<String> {
    let (limit, mut shown) = (out.len() + bytes, 0);
    for text in alerts.iter().take(MAX_ALERTS).map(one) {
        if out.len() + text.len() > limit {
            break;
        }
        *out += &text;
        shown += 1;
    }
    message::and_more(alerts.len(), shown)
}

/// What the configuration has, else the default, which says it where that could not be filled in.
fn part(own: &Option<Text>, data: &Data, default: impl Fn(Option<&str>) -> String) -> Option<String> {
    match own {
        None => Some(default(None)),
        Some(own) if own.source().is_empty() => None,
        Some(own) => Some(own.render(data).unwrap_or_else(|error| default(Some(&error)))),
    }
}

impl Mail {
    /// Whether an earlier attempt reached some of the recipients.
    pub fn has_been_told(&self) -> bool {
        !self.handle.told.is_empty()
    }

    /// What the next attempt or message must know, once some of the recipients have accepted it.
    pub fn handle(&self, accepted: &[String]) -> String {
        let told = self.handle.told.iter().chain(accepted).cloned().collect();
        Handle { told, ..self.handle.clone() }.to_string()
    }
}

#[cfg(test)]
mod tests;
