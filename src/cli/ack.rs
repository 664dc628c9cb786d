//! `modelwatch ack`: somebody takes care, so that nothing of it is repeated or escalated until it is over.
//!
//! ```text
//! modelwatch ack AIErrorSpike model=gpt-4o --comment "I am on it"
//! modelwatch ack --group '{}:{alertname="AIErrorSpike"}' --receiver oncall --undo
//! ```

use std::process::ExitCode;

use anyhow::Result;
use serde_json::{Value, json};

use crate::cli::client::{Server, items, table, text, user};

/// Options of `ack`.
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
    let alert = one_of_many(&args.alerts);
    let mut query: Vec<(&str, &str)> = Vec::new();
    match (&args.group, &args.receiver) {
        (None, _) => query.push(("alert", &alert)),
        (Some(group), receiver) => {
            query.push(("group", group));
            query.extend(receiver.iter().map(|receiver| ("receiver", receiver.as_str())));
        }
    }
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

/// Matchers in one text; one alone may be the name or the fingerprint of an alert.
pub(super) fn one_of_many(alerts: &[String]) -> String {
    let matcher = |text: &String| match text.contains(['=', '!', '~', '{']) {
        true => text.trim().trim_start_matches('{').trim_end_matches('}').to_owned(),
        false => format!("alertname={}", crate::labels::quote(text)),
    };
    match alerts {
        [one] => one.clone(),
        many => format!("{{{}}}", many.iter().map(matcher).collect::<Vec<_>>().join(",")),
    }
}
