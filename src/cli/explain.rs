//! `modelwatch explain`: why somebody was told of an alert, or nobody.
//!
//! ```text
//! modelwatch explain AIErrorSpike model=gpt-4o
//! modelwatch explain --group '{}:{alertname="AIErrorSpike"}'
//! ```

use std::process::ExitCode;

use anyhow::Result;
use serde_json::Value;

use crate::cli::ack::one_of_many;
use crate::cli::client::{Server, items, text};

/// Options of `explain`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    server: Server,
    /// Which alerts: `model=gpt-4o`; all must hold. A name alone is that of the alert; a fingerprint will do too.
    #[arg(required_unless_present = "group", conflicts_with = "group")]
    alerts: Vec<String>,
    /// Which group, by its key.
    #[arg(long, value_name = "KEY")]
    group: Option<String>,
    /// Only as it is told to this receiver.
    #[arg(long, requires = "group")]
    receiver: Option<String>,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

/// Exits with 1 where nothing is known of it, with 2 where nobody answers.
pub async fn run(args: &Args) -> Result<ExitCode> {
    let alert = one_of_many(&args.alerts);
    let mut query: Vec<(&str, &str)> = match &args.group {
        Some(group) => vec![("group", group)],
        None => vec![("alert", &alert)],
    };
    query.extend(args.receiver.iter().map(|receiver| ("receiver", receiver.as_str())));
    let answer = match args.server.get("/api/v1/explain", &query).await? {
        Ok(answer) => answer,
        Err(refused) => return Ok(refused.show()),
    };
    if args.json {
        println!("{answer:#}");
        return Ok(ExitCode::SUCCESS);
    }
    let texts: Vec<String> = items(&answer, "explanations").iter().map(|one: &Value| text(one, "text")).collect();
    print!("{}", texts.join("\n---\n\n"));
    Ok(ExitCode::SUCCESS)
}
