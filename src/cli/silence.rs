//! `modelwatch silence`: what nobody wants to be told for a while, for those without amtool.
//!
//! ```text
//! modelwatch silence add AIErrorSpike model=gpt-4o --duration 2h --comment "the provider is down"
//! modelwatch silence query
//! modelwatch silence expire 3f2a1c2e-...
//! ```

use std::process::ExitCode;

use anyhow::{Result, anyhow};
use serde_json::{Value, json};

use crate::cli::client::{Server, items, seconds, table, text, user};
use crate::engine::clock;
use crate::labels::{Matcher, Op};
use crate::time::{Span, Time};

/// Options of `silence`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Make one, and print its id.
    Add(Add),
    /// List those that hold or will.
    Query(Query),
    /// End some now.
    Expire(Expire),
}

#[derive(Debug, clap::Args)]
struct Add {
    #[command(flatten)]
    server: Server,
    /// Which alerts: `model=gpt-4o`, `severity=~"high|critical"`; all must hold. A name alone is that of the alert.
    #[arg(required = true)]
    matchers: Vec<String>,
    /// How long.
    #[arg(short, long, default_value = "1h")]
    duration: String,
    /// From when on (RFC 3339); from now on where it is left out.
    #[arg(long)]
    start: Option<String>,
    /// Until when (RFC 3339), instead of a duration.
    #[arg(long, conflicts_with = "duration")]
    end: Option<String>,
    /// Who wants it; $USER where it is left out.
    #[arg(short, long)]
    author: Option<String>,
    /// Why.
    #[arg(long)]
    comment: String,
}

#[derive(Debug, clap::Args)]
struct Query {
    #[command(flatten)]
    server: Server,
    /// Only those with these matchers.
    matchers: Vec<String>,
    /// Those that are over, too.
    #[arg(long)]
    expired: bool,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
struct Expire {
    #[command(flatten)]
    server: Server,
    /// Which ones.
    #[arg(required = true)]
    ids: Vec<String>,
}

/// Exits with 1 where it was refused, with 2 where nobody answers.
pub async fn run(args: &Args) -> Result<ExitCode> {
    match &args.command {
        Command::Add(add) => self::add(add).await,
        Command::Query(query) => self::query(query).await,
        Command::Expire(expire) => self::expire(expire).await,
    }
}

async fn add(args: &Add) -> Result<ExitCode> {
    let fault = |fault: String| anyhow!(fault);
    let starts_at = args.start.as_deref().map(Time::parse).transpose().map_err(fault)?.unwrap_or_else(clock::now);
    let ends_at = match &args.end {
        Some(end) => Time::parse(end).map_err(fault)?,
        None => starts_at + Span::parse(&args.duration).map_err(fault)?,
    };
    let matchers = args.matchers.iter().map(|text| matcher(text)).collect::<Result<Vec<_>, _>>().map_err(fault)?;
    let matcher = |matcher: &Matcher| json!({ "name": matcher.name, "value": matcher.value, "isRegex": matcher.op.is_regex(), "isEqual": matcher.op.is_positive() });
    let body = json!({
        "matchers": matchers.iter().map(matcher).collect::<Vec<_>>(),
        "startsAt": starts_at.to_string(),
        "endsAt": ends_at.to_string(),
        "createdBy": args.author.clone().unwrap_or_else(user),
        "comment": args.comment,
    });
    match args.server.post("/api/v2/silences", &body).await? {
        Ok(answer) => {
            println!("{}", text(&answer, "silenceID"));
            Ok(ExitCode::SUCCESS)
        }
        Err(refused) => Ok(refused.show()),
    }
}

/// A matcher; a name alone is that of the alert, as in amtool.
fn matcher(text: &str) -> Result<Matcher, String> {
    if text.contains(['=', '!', '~']) { Matcher::parse(text) } else { Matcher::new("alertname", Op::Equal, text.to_owned()) }
}

async fn query(args: &Query) -> Result<ExitCode> {
    let filters = args.matchers.iter().map(|text| matcher(text).map(|matcher| ("filter", matcher.to_string())));
    let filters = filters.collect::<Result<Vec<_>, _>>().map_err(|fault| anyhow!(fault))?;
    let answer = match args.server.get("/api/v2/silences", &filters).await? {
        Ok(answer) => answer,
        Err(refused) => return Ok(refused.show()),
    };
    let wanted = |silence: &&Value| args.expired || silence["status"]["state"] != "expired";
    let silences: Vec<&Value> = answer.as_array().into_iter().flatten().filter(wanted).collect();
    if args.json {
        println!("{:#}", json!(silences));
        return Ok(ExitCode::SUCCESS);
    }
    let row = |silence: &&Value| {
        let state = text(&silence["status"], "state");
        let ends = seconds(&text(silence, "endsAt"));
        vec![text(silence, "id"), state, matchers_of(silence), ends, text(silence, "createdBy"), text(silence, "comment")]
    };
    let rows: Vec<Vec<String>> = silences.iter().map(row).collect();
    print!("{}", table(&["ID", "STATE", "MATCHERS", "ENDS", "BY", "COMMENT"], &rows));
    Ok(ExitCode::SUCCESS)
}

fn matchers_of(silence: &Value) -> String {
    let matcher = |matcher: &Value| {
        let op = match (matcher["isEqual"].as_bool().unwrap_or(true), matcher["isRegex"].as_bool().unwrap_or(false)) {
            (true, false) => "=",
            (false, false) => "!=",
            (true, true) => "=~",
            (false, true) => "!~",
        };
        format!("{}{op}\"{}\"", text(matcher, "name"), text(matcher, "value"))
    };
    items(silence, "matchers").iter().map(matcher).collect::<Vec<_>>().join(" ")
}

async fn expire(args: &Expire) -> Result<ExitCode> {
    let mut code = ExitCode::SUCCESS;
    for id in &args.ids {
        if !id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') {
            return Err(anyhow!("`{}` is no id of a silence", id.escape_debug()));
        }
        match args.server.delete(&format!("/api/v2/silence/{id}"), &[]).await? {
            Ok(_) => println!("{id} has ended"),
            Err(refused) => code = refused.show(),
        }
    }
    Ok(code)
}
