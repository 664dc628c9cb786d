//! Sends what the outbox has due: lease, store, send, record. No lock is held while a receiver is waited for.
//!
//! Whatever becomes of an attempt is recorded, a panic too: a delivery that is not recorded would hold its lane for ever.

use std::io::{self, Write};
use std::sync::Arc;

use tokio::sync::{Mutex, Semaphore, watch};

use crate::engine::clock;
use crate::engine::core::Core;
use crate::engine::shared::Shared;
use crate::limits::{ANSWER_BYTES, CONNECT_TIMEOUT, REQUEST_TIMEOUT};
use crate::notify::{Answer, Integration, Outcome, Request};
use crate::outbox::Delivery;
use crate::time::Span;

/// A client that follows no redirects and waits no longer than it should.
pub fn client() -> reqwest::Result<reqwest::Client> {
    reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(CONNECT_TIMEOUT.to_std())
        .timeout(REQUEST_TIMEOUT.to_std())
        .user_agent(concat!("modelwatch/", env!("CARGO_PKG_VERSION")))
        .build()
}

/// Delivers until told to stop.
pub async fn run(
    core: Arc<Mutex<Core>>,
    shared: Arc<Shared>,
    external_url: String,
    client: reqwest::Client,
    mut stop: watch::Receiver<bool>,
) {
    let external_url: Arc<str> = external_url.into();
    while !*stop.borrow() {
        let (leased, next) = {
            let mut core = core.lock().await;
            let now = clock::now();
            (core.lease(now).await, core.next_delivery().map(|at| at - now))
        };
        for (delivery, integration) in leased {
            let (core, client, shared, external_url) = (core.clone(), client.clone(), shared.clone(), external_url.clone());
            tokio::spawn(async move {
                let delivery = Arc::new(delivery);
                let outcome = match integration {
                    Some(integration) => whatever(attempt(client, integration, delivery.clone(), external_url)).await,
                    None => Outcome::Rejected { reason: "the configuration has no such receiver any more".to_owned() },
                };
                core.lock().await.record(&delivery, &outcome, clock::now()).await;
                // The next one of its lane may be due now.
                shared.wake.notify_one();
            });
        }
        let wait = next.unwrap_or(Span::secs(3_600)).clamp(Span::millis(1), Span::secs(3_600));
        tokio::select! {
            () = shared.wake.notified() => {}
            () = tokio::time::sleep(wait.to_std()) => {}
            _ = stop.changed() => {}
        }
    }
}

/// The outcome of an attempt, also where it ends in a panic; what that says is in the log and may hold a secret.
async fn whatever(attempt: impl Future<Output = Outcome> + Send + 'static) -> Outcome {
    let ended = tokio::spawn(attempt).await;
    ended.unwrap_or_else(|_| Outcome::Retry {
        reason: "the attempt panicked, which is a fault of modelwatch".to_owned(),
        after: None,
    })
}

async fn attempt(client: reqwest::Client, integration: Integration, delivery: Arc<Delivery>, external_url: Arc<str>) -> Outcome {
    match integration.request(&delivery.notification, &external_url) {
        Request::Print(text) => match print_in_time(text).await {
            Ok(()) => Outcome::Delivered,
            Err(error) => integration.classify_network(&format!("cannot write to stdout: {error}")),
        },
        Request::Http { url, headers, body } => {
            let mut request = client.post(url.reveal()).body(body);
            for (name, value) in headers {
                request = request.header(name, value);
            }
            match answer(request).await {
                Ok(answer) => integration.classify(&answer),
                Err(error) => integration.classify_network(&causes(&error.without_url())),
            }
        }
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
fn causes(error: &dyn std::error::Error) -> String {
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

    #[tokio::test]
    async fn an_attempt_that_panics_is_tried_again() {
        let Outcome::Retry { reason, after: None } = whatever(async { panic!("with s3cr3t") }).await else { panic!("no retry") };
        assert!(reason.contains("panicked") && !reason.contains("s3cr3t"), "{reason}");
        assert_eq!(whatever(async { Outcome::Delivered }).await, Outcome::Delivered);
    }

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
