//! One request and its answer: over HTTP, by mail, or to stdout.

use std::io::{self, Write};
use std::sync::Arc;

use reqwest::header::AUTHORIZATION;
use rustls::ClientConfig;
use tokio::sync::Semaphore;

use crate::engine::clients::{self, Built};
use crate::engine::clock;
use crate::engine::smtp::{self, Sent};
use crate::engine::tls;
use crate::limits::{ANSWER_BYTES, REQUEST_TIMEOUT};
use crate::notify::{Answer, Context, HttpOptions, Integration, Mail, Outcome, Request, TlsOptions, Transport};
use crate::secret::Secret;

/// Sends whatever a notifier asks for.
#[derive(Clone, Debug, Default)]
pub struct Sender {
    clients: Built<Transport, reqwest::Client>,
    tls: Built<TlsOptions, Arc<ClientConfig>>,
}

/// Why there is no answer; the text may hold secrets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Not connected, reset, timed out, or stdout closed. It may have arrived.
    Network(String),
    /// As it is configured it cannot be sent.
    Unable(String),
}

impl Sender {
    /// One request, what its answer means, and the handle that it leaves; a mail leaves one also where only some have it.
    pub async fn send(&self, integration: &Integration, request: Request, context: &Context<'_>) -> (Outcome, Option<String>) {
        let sent = match request {
            Request::Mail(mail) => self.mail(&mail).await,
            request => self.exchange(request).await.map(|answer| {
                let delivered = integration.classify(&answer) == Outcome::Delivered;
                let handle = delivered.then(|| integration.handle(&answer, context)).flatten();
                Sent { answer, handle, refused: Vec::new() }
            }),
        };
        match sent {
            Ok(Sent { answer, handle, refused }) => {
                if !refused.is_empty() {
                    let (receiver, refused) = (&integration.receiver, integration.quote(&refused.join("; ")));
                    tracing::warn!(receiver, integration = integration.kind, refused, "some recipients refused a mail for good");
                }
                (integration.classify(&answer), handle)
            }
            Err(Fault::Network(error)) => (integration.classify_network(&error), None),
            Err(Fault::Unable(fault)) => (integration.classify_unable(&fault), None),
        }
    }

    /// One request and its answer, which may repeat secrets.
    ///
    /// # Errors
    /// There was no answer.
    pub async fn exchange(&self, request: Request) -> Result<Answer, Fault> {
        match request {
            Request::Print(text) => match print_in_time(text).await {
                Ok(()) => Ok(Answer::new(200, None, b"", clock::now())),
                Err(error) => Err(Fault::Network(format!("cannot write to stdout: {error}"))),
            },
            Request::Http { url, headers, body, options } => self.post(&url, headers, body, &options).await,
            Request::Mail(mail) => self.mail(&mail).await.map(|sent| sent.answer),
        }
    }

    async fn mail(&self, mail: &Mail) -> Result<Sent, Fault> {
        let build = |options: &TlsOptions| tls::config(options, &[]).map(Arc::new);
        let tls = self.tls.of(&mail.smarthost.tls, build).await.map_err(Fault::Unable)?;
        smtp::send(mail, tls).await
    }

    async fn post(
        &self,
        url: &Secret,
        headers: Vec<(&'static str, String)>,
        body: Vec<u8>,
        options: &HttpOptions,
    ) -> Result<Answer, Fault> {
        let client = self.clients.of(&options.transport, clients::client).await.map_err(Fault::Unable)?;
        let mut request = client.post(url.reveal()).body(body).timeout(options.timeout.to_std());
        for (name, value) in headers {
            request = request.header(name, value);
        }
        for (name, value) in &options.headers {
            request = request.header(name.as_str(), value.reveal());
        }
        if let Some(authorization) = &options.authorization {
            request = request.header(AUTHORIZATION, authorization.header.reveal());
        }
        answer(request).await.map_err(|error| Fault::Network(causes(&error.without_url())))
    }
}

/// Prints where nobody waits for it: whoever reads stdout may be slow. While one text is not taken, no other is offered.
async fn print_in_time(text: String) -> io::Result<()> {
    static TURN: Semaphore = Semaphore::const_new(1);
    let late = || io::Error::new(io::ErrorKind::TimedOut, "nobody reads it");
    let turn = tokio::time::timeout(REQUEST_TIMEOUT.to_std(), TURN.acquire()).await.map_err(|_| late())?;
    let printing = tokio::task::spawn_blocking(move || {
        let _turn = turn;
        print(&mut io::stdout().lock(), &text)
    });
    tokio::time::timeout(REQUEST_TIMEOUT.to_std(), printing).await.map_err(|_| late())??
}

/// Writes all of it, or says that it could not; nobody may read stdout any more.
fn print(out: &mut impl Write, text: &str) -> io::Result<()> {
    writeln!(out, "{text}")?;
    out.flush()
}

async fn answer(request: reqwest::RequestBuilder) -> reqwest::Result<Answer> {
    let mut response = request.send().await?;
    let status = response.status().as_u16();
    let retry_after = response.headers().get("retry-after").and_then(|value| value.to_str().ok()).map(str::to_owned);
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        body.extend_from_slice(&chunk);
        if body.len() >= ANSWER_BYTES {
            body.truncate(ANSWER_BYTES);
            break;
        }
    }
    Ok(Answer::new(status, retry_after.as_deref(), &body, clock::now()))
}

/// An error with what caused it, in one line.
pub(super) fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_printed_is_an_error() {
        let (reader, mut writer) = io::pipe().unwrap();
        drop(reader);
        assert_eq!(print(&mut writer, "text").unwrap_err().kind(), io::ErrorKind::BrokenPipe);
        let mut out = Vec::new();
        print(&mut out, "text").unwrap();
        assert_eq!(out, b"text\n");
    }
}
