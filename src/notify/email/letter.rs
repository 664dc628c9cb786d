//! The message itself, byte for byte the same for the same input: RFC 5322, MIME, RFC 2047 for what is not ASCII.

use std::time::{Duration, SystemTime};

use lettre::message::header::{self, ContentTransferEncoding, ContentType, HeaderName, HeaderValue};
use lettre::message::{Body, Mailboxes, Message, MessageBuilder, MultiPart, MultiPartKind, SinglePart};

use crate::labels::sha256_hex;
use crate::message;
use crate::time::Time;

/// Bytes of a part; providers cut mails that are much longer, or refuse them.
const PART_BYTES: usize = 256 * 1024;

/// Characters of a subject; programs show less.
const SUBJECT_CHARS: usize = 250;

/// Characters of another header: a line may have 998 bytes, and one word cannot be folded.
const HEADER_CHARS: usize = 900;

/// What a message is made of.
#[derive(Debug)]
pub(super) struct Letter<'a> {
    pub id: &'a str,
    /// The Message-ID that began the thread; empty where it is this one.
    pub thread: &'a str,
    pub date: Time,
    pub from: &'a str,
    pub to: &'a str,
    pub subject: String,
    /// They win over those above.
    pub headers: Vec<(String, String)>,
    pub text: Option<String>,
    pub html: Option<String>,
}

impl Letter<'_> {
    /// All of it; or what is wrong with an address or a header.
    pub fn bytes(self) -> Result<Vec<u8>, String> {
        let date = SystemTime::UNIX_EPOCH + Duration::from_micros(self.date.0.max(0).unsigned_abs());
        let own =
            |name: &str| self.headers.iter().find(|(own, _)| own.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str());
        let subject = message::truncate(&message::one_line(own("Subject").unwrap_or(&self.subject).trim()), SUBJECT_CHARS);
        let mut builder = Message::builder()
            .date(date)
            .mailbox(header::From::from(mailboxes(own("From").unwrap_or(self.from))?))
            .mailbox(header::To::from(mailboxes(own("To").unwrap_or(self.to))?))
            .subject(subject)
            .message_id(Some(self.id.to_owned()));
        if !self.thread.is_empty() {
            builder = builder.in_reply_to(self.thread.to_owned()).references(self.thread.to_owned());
        }
        // No answer from those who are on holiday.
        builder = raw(builder, "Auto-Submitted", "auto-generated")?;
        for (name, value) in
            self.headers.iter().filter(|(name, _)| !["subject", "from", "to"].contains(&&*name.to_ascii_lowercase()))
        {
            builder = match name.to_ascii_lowercase().as_str() {
                "cc" => builder.mailbox(header::Cc::from(mailboxes(value)?)),
                "reply-to" => builder.mailbox(header::ReplyTo::from(mailboxes(value)?)),
                _ => raw(builder, name, value)?,
            };
        }
        // In quoted-printable no line of the text can be this one.
        let boundary = format!("=_{}", &sha256_hex(self.id)[..32]);
        let parts = [(ContentType::TEXT_PLAIN, self.text), (ContentType::TEXT_HTML, self.html)];
        let mut parts: Vec<SinglePart> = parts.into_iter().filter_map(|(kind, text)| part(kind, text?)).collect();
        let message = match parts.len() {
            1 => builder.singlepart(parts.remove(0)),
            _ => {
                let whole = MultiPart::builder().kind(MultiPartKind::Alternative).boundary(boundary).build();
                builder.multipart(parts.into_iter().fold(whole, MultiPart::singlepart))
            }
        };
        message.map(|message| message.formatted()).map_err(|error| error.to_string())
    }
}

fn part(kind: ContentType, text: String) -> Option<SinglePart> {
    let mut end = text.len().min(PART_BYTES);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let cut = if end < text.len() { "…" } else { "" };
    let lines: Vec<&str> = text[..end].lines().collect();
    let body = Body::new_with_encoding(format!("{}{cut}", lines.join("\r\n")), ContentTransferEncoding::QuotedPrintable).ok()?;
    Some(SinglePart::builder().header(kind).body(body))
}

fn raw(builder: MessageBuilder, name: &str, value: &str) -> Result<MessageBuilder, String> {
    let name = HeaderName::new_from_ascii(name.to_owned()).map_err(|_| format!("`{name}` is no name of a header"))?;
    Ok(builder.raw_header(HeaderValue::new(name, message::truncate(&message::one_line(value.trim()), HEADER_CHARS))))
}

fn mailboxes(text: &str) -> Result<Mailboxes, String> {
    let found: Mailboxes = text.parse().map_err(|_| format!("`{}` is no address of mail", message::one_line(text)))?;
    if found.iter().next().is_none() { Err("there is no address to send it to".to_owned()) } else { Ok(found) }
}

/// The distinct addresses in a list without the names; none where one is wrong.
pub(super) fn bare(text: &str) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    for mailbox in mailboxes(text).iter().flat_map(Mailboxes::iter) {
        let address = mailbox.email.to_string();
        if !found.contains(&address) {
            found.push(address);
        }
    }
    found
}

pub(super) fn is_header_name(name: &str) -> bool {
    HeaderName::new_from_ascii(name.to_owned()).is_ok()
}

/// Whether a header is a list of addresses.
pub(super) fn holds_addresses(name: &str) -> bool {
    ["cc", "from", "reply-to", "to"].contains(&name.to_ascii_lowercase().as_str())
}
