//! `modelwatch explain`: why somebody was told of an alert, or nobody.
//!
//! ```text
//! modelwatch explain AIErrorSpike model=gpt-4o
//! modelwatch explain --group '{}:{alertname="AIErrorSpike"}'
//! ```

use std::process::ExitCode;

use anyhow::Result;
use serde_json::Value;

use crate::cli::client::{Chosen, Server, items, text};

/// Options of `explain`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    server: Server,
    #[command(flatten)]
    chosen: Chosen,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

/// Exits with 1 where nothing is known of it, with 2 where nobody answers.
pub async fn run(args: &Args) -> Result<ExitCode> {
    let answer = match args.server.get("/api/v1/explain", &args.chosen.query()).await? {
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
