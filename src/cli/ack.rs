//! `modelwatch ack`: somebody takes care, so that nothing of it is repeated or escalated until it is over.
//!
//! ```text
//! modelwatch ack AIErrorSpike model=gpt-4o --comment "I am on it"
//! modelwatch ack --group '{}:{alertname="AIErrorSpike"}' --receiver oncall --undo
//! ```

use std::process::ExitCode;

use anyhow::Result;
use serde_json::{Value, json};

use crate::cli::client::{Chosen, Server, items, table, text, user};

/// Options of `ack`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    server: Server,
    #[command(flatten)]
    chosen: Chosen,
    /// What to say to it.
    #[arg(long, default_value = "")]
    comment: String,
    /// Who takes care; $USER where it is left out.
    #[arg(long)]
    by: Option<String>,
    /// Take it back.
    #[arg(long)]
    undo: bool,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

/// Exits with 1 where nothing of it fires, with 2 where nobody answers.
pub async fn run(args: &Args) -> Result<ExitCode> {
    let query = args.chosen.query();
    let answered = if args.undo {
        args.server.delete("/api/v1/acks", &query).await?
    } else {
        let mut body = json!({});
        query.iter().for_each(|(key, value)| body[key] = json!(value));
        body["by"] = json!(args.by.clone().unwrap_or_else(user));
        body["comment"] = json!(args.comment);
        args.server.post("/api/v1/acks", &body).await?
    };
    let answer = match answered {
        Ok(answer) => answer,
        Err(refused) => return Ok(refused.show()),
    };
    if args.json {
        println!("{answer:#}");
        return Ok(ExitCode::SUCCESS);
    }
    let row = |group: &Value| {
        let alerts = items(&group["acknowledgement"], "alerts").len();
        vec![text(group, "receiver"), text(group, "key"), alerts.to_string(), text(&group["acknowledgement"], "by")]
    };
    let rows: Vec<Vec<String>> = items(&answer, "groups").iter().map(row).collect();
    print!("{}", table(&["RECEIVER", "GROUP", "ALERTS", "BY"], &rows));
    Ok(ExitCode::SUCCESS)
}
