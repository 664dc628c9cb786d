//! `modelwatch notify-test`: a made-up notification to one receiver, by the same code as the daemon's.
//!
//! ```text
//! modelwatch notify-test oncall              # sends that something fires, and shows what was answered
//! modelwatch notify-test oncall --resolved   # sends that it is over: the same group, so an incident that was made ends
//! modelwatch notify-test oncall --print      # shows the bytes, with secrets as <secret>, and sends nothing
//! ```
//!
//! The alerts are those of the first rules of the configuration, with made-up values. Their group is no real one, so that
//! no real incident ends by it.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Result, anyhow};
use reqwest::Url;

use crate::alert::State;
use crate::cli::{EXIT_FAILURE, EXIT_FAULTS, load};
use crate::config::Config;
use crate::diag::nearest;
use crate::engine::clock;
use crate::engine::send::{Fault, Sender};
use crate::message::{self, sample};
use crate::notify::{Answer, Context, Integration, Outcome, Request};
use crate::route::Notification;
use crate::secret::Secret;
use crate::time::Time;

/// Options of `notify-test`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The receiver's name.
    receiver: String,
    /// The configuration.
    #[arg(short, long, default_value = "modelwatch.yml", env = "MODELWATCH_CONFIG")]
    config: PathBuf,
    /// Say that something fires; so it does without this too.
    #[arg(long)]
    firing: bool,
    /// Say that it is over.
    #[arg(long, conflicts_with = "firing")]
    resolved: bool,
    /// Show what would be sent, and send nothing.
    #[arg(long)]
    print: bool,
}

/// Rules of which the message has an alert each.
const RULES: usize = 3;

/// Steps of one message; more are a fault of a notifier.
const MAX_STEPS: usize = 1_000;

/// Exits with 0 where all of it was taken, with 1 where something was not, with 2 where there is no such receiver.
pub async fn run(args: &Args) -> Result<ExitCode> {
    let config = match load(&args.config) {
        Ok(config) => config,
        Err(code) => return Ok(code),
    };
    let Some(integrations) = config.receivers.get(&args.receiver) else {
        eprintln!("error: there is no receiver `{}`", args.receiver);
        let names = || config.receivers.keys().map(String::as_str);
        match nearest(&args.receiver, names()) {
            Some(near) => eprintln!("hint: did you mean `{near}`?"),
            None if config.receivers.is_empty() => eprintln!("hint: {} has no receivers", args.config.display()),
            None => eprintln!("hint: the receivers are {}", names().collect::<Vec<_>>().join(", ")),
        }
        return Ok(ExitCode::from(EXIT_FAILURE));
    };
    if integrations.is_empty() {
        println!("{}: has nothing to send to", args.receiver);
    }
    let state = if args.resolved { State::Resolved } else { State::Firing };
    let now = clock::now();
    let told = made_up(&config, &args.receiver, state, now);
    let mut all_taken = true;
    for (number, integration) in integrations.iter().enumerate() {
        let name = format!("{} {} ({} of {})", args.receiver, integration.kind, number + 1, integrations.len());
        if args.resolved && !integration.send_resolved {
            println!("{name}: is not told what is over, since send_resolved is false");
            continue;
        }
        let test = Test { integration, told: &told, external_url: &config.external_url, now, name: &name };
        all_taken &= if args.print { test.print()? } else { test.send().await? };
    }
    Ok(if all_taken { ExitCode::SUCCESS } else { ExitCode::from(EXIT_FAULTS) })
}

/// What is told: alerts of the first rules, or made up from nothing.
fn made_up(config: &Config, receiver: &str, state: State, at: Time) -> Notification {
    let told = match config.rules.as_slice() {
        [] => sample::notification(state, at),
        rules => sample::of_findings(rules.iter().take(RULES).map(|rule| rule.sample()), state, at),
    };
    // A real group has no such key.
    let group_key = format!("{{}}/notify-test:{}", told.group_labels);
    Notification { receiver: receiver.to_owned(), group_key, reason: message::TEST.to_owned(), ..told }
}

/// One integration that is told.
struct Test<'a> {
    integration: &'a Integration,
    told: &'a Notification,
    external_url: &'a str,
    now: Time,
    name: &'a str,
}

impl Test<'_> {
    fn context<'a>(&'a self, step: usize, handle: Option<&'a str>) -> Context<'a> {
        Context { external_url: self.external_url, step, handle, delivery: 0, now: self.now }
    }

    /// The request of each step that can be known without an answer.
    fn print(&self) -> Result<bool> {
        let mut all_made = true;
        for step in 0..MAX_STEPS {
            let Some(request) = self.integration.request(self.told, &self.context(step, None)) else { break };
            println!("# {}, request {}", self.name, step + 1);
            match bytes(&request) {
                Ok(text) => println!("{}\n", self.integration.hide(&text)),
                Err(reason) => {
                    println!("cannot be made: {}\n", self.integration.quote(&reason));
                    all_made = false;
                }
            }
        }
        Ok(all_made)
    }

    /// All steps, as `engine/deliver.rs` takes them. Says whether the receiver has it.
    async fn send(&self) -> Result<bool> {
        let sender = Sender::default();
        let (mut handle, mut delivered, mut failed) = (None, false, false);
        for step in 0..MAX_STEPS {
            let context = self.context(step, handle.as_deref());
            let Some(request) = self.integration.request(self.told, &context) else { break };
            let target = target(&request);
            let (said, outcome, left) = match sender.exchange(request).await {
                Ok(answer) => {
                    (self.said(&answer), self.integration.classify(&answer), self.integration.handle(&answer, &context))
                }
                Err(Fault::Network(error)) => ("no answer".to_owned(), self.integration.classify_network(&error), None),
                Err(Fault::Unable(fault)) => ("not sent".to_owned(), self.integration.classify_unable(&fault), None),
            };
            println!("{}: {target}: {said}: {}", self.name, in_words(&outcome));
            if outcome == Outcome::Delivered {
                delivered = true;
                handle = left.or(handle);
            } else {
                failed = true;
                if !self.integration.is_told_by_any() {
                    break;
                }
            }
        }
        if !delivered && !failed {
            return Err(anyhow!("{}: there was nothing to send", self.name));
        }
        Ok(!failed || delivered && self.integration.is_told_by_any())
    }

    fn said(&self, answer: &Answer) -> String {
        match answer.body.trim() {
            "" => format!("answered {}", answer.status),
            body => format!("answered {} {}", answer.status, self.integration.quote(body)),
        }
    }
}

fn in_words(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Delivered => "delivered".to_owned(),
        Outcome::Retry { reason, .. } => format!("failed, would be tried again: {reason}"),
        Outcome::Rejected { reason } => format!("refused for good: {reason}"),
    }
}

/// Where a request goes, without what is secret of it.
fn target(request: &Request) -> String {
    match request {
        Request::Http { url, .. } => format!("POST {}", host(url)),
        Request::Mail(mail) => format!("mail by {}:{} to {}", mail.smarthost.host, mail.smarthost.port, mail.to.join(", ")),
        Request::Print(_) => "stdout".to_owned(),
    }
}

/// The URL without name, password, path and query.
fn host(url: &Secret) -> String {
    let Ok(url) = Url::parse(url.reveal()) else { return "<secret>".to_owned() };
    let port = url.port().map_or(String::new(), |port| format!(":{port}"));
    let rest = if url.path() == "/" && url.query().is_none() { "/" } else { "/<secret>" };
    format!("{}://{}{port}{rest}", url.scheme(), url.host_str().unwrap_or_default())
}

/// Headers and body as they are sent; or why there are none.
fn bytes(request: &Request) -> Result<String, String> {
    let mut lines = vec![target(request)];
    match request {
        Request::Http { headers, body, options, .. } => {
            lines.extend(headers.iter().map(|(name, value)| format!("{name}: {value}")));
            lines.extend(options.headers.iter().map(|(name, _)| format!("{name}: <secret>")));
            lines.extend(options.authorization.as_ref().map(|_| "authorization: <secret>".to_owned()));
            lines.push(String::new());
            lines.push(String::from_utf8_lossy(body).into_owned());
        }
        Request::Mail(mail) => {
            lines.push(String::new());
            lines.push(String::from_utf8_lossy(mail.message.as_ref().map_err(String::clone)?).replace("\r\n", "\n"));
        }
        Request::Print(text) => lines.push(text.clone()),
    }
    Ok(lines.join("\n"))
}
