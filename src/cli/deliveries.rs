//! `modelwatch deliveries`: what was sent to whom, what failed, and the way to try it again.

use std::process::ExitCode;

use anyhow::Result;
use serde_json::{Value, json};

use crate::cli::EXIT_FAULTS;
use crate::cli::client::{Server, items, seconds, table, text};
use crate::message::one_line;

/// Options of `deliveries`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    server: Server,
    /// Only what was given up, or waits after a failed attempt.
    #[arg(long)]
    failed: bool,
    /// Only those to this receiver.
    #[arg(long)]
    receiver: Option<String>,
    /// How many, the newest first.
    #[arg(long, default_value_t = 50)]
    limit: usize,
    /// Send once more what was given up.
    #[arg(long, value_name = "ID", conflicts_with_all = ["failed", "receiver"])]
    retry: Option<u64>,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

/// Exits with 1 where it was refused, with 2 where nobody answers.
pub async fn run(args: &Args) -> Result<ExitCode> {
    if let Some(id) = args.retry {
        let answer = match args.server.post(&format!("/api/v1/deliveries/{id}/retry"), &json!({})).await? {
            Ok(answer) => answer,
            Err(refused) => return Ok(refused.show()),
        };
        if args.json {
            println!("{answer:#}")
        } else {
            println!("queued again as {}", text(&answer, "id"))
        }
        return Ok(ExitCode::SUCCESS);
    }
    let mut query = vec![("limit", args.limit.to_string())];
    query.extend(args.failed.then(|| ("failed", "true".to_owned())));
    query.extend(args.receiver.iter().map(|receiver| ("receiver", receiver.clone())));
    let answer = match args.server.get("/api/v1/deliveries", &query).await? {
        Ok(answer) => answer,
        Err(refused) => return Ok(refused.show()),
    };
    if let Some(receiver) = args.receiver.as_ref().filter(|_| items(&answer, "deliveries").is_empty())
        && !is_known(&args.server, receiver).await?
    {
        eprintln!("error: there is no receiver `{}`", one_line(receiver));
        return Ok(ExitCode::from(EXIT_FAULTS));
    }
    if args.json {
        println!("{answer:#}");
        return Ok(ExitCode::SUCCESS);
    }
    let rows: Vec<Vec<String>> = items(&answer, "deliveries").iter().map(row).collect();
    let headers = ["ID", "CREATED", "TO", "STATE", "TRIES", "FIRING", "RESOLVED", "GROUP", "LAST WORD"];
    print!("{}", table(&headers, &rows));
    Ok(ExitCode::SUCCESS)
}

/// Whether there is such a receiver; where that is not told there may be.
async fn is_known(server: &Server, receiver: &str) -> Result<bool> {
    let Ok(answer) = server.get("/api/v2/receivers", &[]).await? else { return Ok(true) };
    Ok(answer.as_array().is_none_or(|receivers| receivers.iter().any(|known| known["name"] == *receiver)))
}

fn row(delivery: &Value) -> Vec<String> {
    let last = items(delivery, "attempts").last().map(|attempt| text(attempt, "outcome"));
    let said = Some(text(delivery, "reason")).filter(|reason| !reason.is_empty()).or(last).unwrap_or_default();
    vec![
        text(delivery, "id"),
        seconds(&text(delivery, "created")),
        format!("{} ({})", text(delivery, "receiver"), text(delivery, "integration")),
        text(delivery, "state"),
        text(delivery, "attempts_total"),
        text(delivery, "firing"),
        text(delivery, "resolved"),
        text(delivery, "group"),
        said,
    ]
}
