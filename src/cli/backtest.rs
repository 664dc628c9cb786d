//! `modelwatch backtest`: what would have fired, and what would have been sent to whom, over the database's own past.
//!
//! The engine is the daemon's ([`Replay`]), and so are the readers. Each row is visible from its own time on, as if it had
//! been written and finished then; rows that are not finished are left out, or abandoned, as of `until`. The windows
//! are filled first with as much of what was before `since` as the rules look back. Databases are only read, nothing is
//! sent, and the state file is not touched.

mod compare;
mod feed;
mod play;
mod report;
mod text;

use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result};
use serde_json::json;

use crate::cli::{EXIT_FAILURE, EXIT_FAULTS, show};
use crate::config::{self, Config, wanted_by};
use crate::diag::{Diagnostic, any_error};
use crate::engine::clock;
use crate::engine::ingest::Fault;
use crate::pipeline::{Replay, Setup};
use crate::rule::Rule;
use crate::source::query::Query;
use crate::time::{Span, Time};

use compare::Comparison;
use feed::Feed;
use report::{Report, Skipped};

/// Options of `backtest`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The configuration.
    #[arg(short, long, default_value = "modelwatch.yml", env = "MODELWATCH_CONFIG")]
    config: PathBuf,
    /// Where it begins: so long before the end (30d), or an instant.
    #[arg(long, default_value = "7d", value_name = "SPAN or TIME", value_parser = Since::parse)]
    since: Since,
    /// Where it ends; now unless given.
    #[arg(long, value_name = "TIME", value_parser = Time::parse)]
    until: Option<Time>,
    /// Rule files, instead of those that the configuration names.
    #[arg(long, value_name = "FILE", num_args = 1..)]
    rules: Option<Vec<PathBuf>>,
    /// Other versions of the rule files, to be held against the first ones.
    #[arg(long, value_name = "FILE", num_args = 1..)]
    against: Option<Vec<PathBuf>>,
    /// How the result is written to stdout.
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    /// Exit with 1 where more than so many alerts fire.
    #[arg(long, value_name = "N")]
    fail_over: Option<usize>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, clap::ValueEnum)]
enum Format {
    #[default]
    Text,
    Json,
}

/// Where a backtest begins.
#[derive(Clone, Copy, Debug)]
enum Since {
    Ago(Span),
    At(Time),
}

impl Since {
    fn parse(text: &str) -> Result<Since, String> {
        let fault = |_| format!("`{text}` is neither a span such as 30d nor a time such as 2026-11-20T20:00:00Z");
        Span::parse(text).map(Since::Ago).or_else(|_| Time::parse(text).map(Since::At)).map_err(fault)
    }
}

/// Exits with 0; with 1 where something is at fault, or more alerts fire than may; with 2 where a database cannot be read.
pub async fn run(args: Args) -> Result<ExitCode> {
    let until = args.until.unwrap_or_else(clock::now);
    let since = match args.since {
        Since::Ago(span) => until - span,
        Since::At(time) => time,
    };
    if since > until {
        eprintln!("error: it begins at {since}, after its end at {until}");
        return Ok(ExitCode::from(EXIT_FAILURE));
    }
    let mut versions = Vec::new();
    for rules in [Some(args.rules.as_deref()), args.against.as_deref().map(Some)].into_iter().flatten() {
        match load(&args.config, rules) {
            Ok(config) => versions.push(config),
            Err(code) => return Ok(code),
        }
    }
    let mut reports = match replay(versions, since, until).await {
        Ok(reports) => reports.into_iter(),
        Err((_, Fault::Mapping(faults))) => {
            show(&faults);
            return Ok(ExitCode::from(EXIT_FAULTS));
        }
        Err((source, Fault::Database(error))) => {
            eprintln!("error: cannot read {source}: {error}");
            return Ok(ExitCode::from(EXIT_FAILURE));
        }
    };
    let Some(report) = reports.next() else { return Ok(ExitCode::from(EXIT_FAILURE)) };
    let other = reports.next().map(|other| (Comparison::of(&report, &other), other));
    let mut out = match (args.format, &other) {
        (Format::Text, None) => text::report(&report),
        (Format::Text, Some((comparison, other))) => text::comparison(&report, other, comparison),
        (Format::Json, None) => format!("{:#}", json!(report)),
        (Format::Json, Some((comparison, other))) => {
            format!("{:#}", json!({ "rules": report, "against": other, "comparison": comparison }))
        }
    };
    out.push('\n');
    std::io::stdout().write_all(out.as_bytes()).context("cannot write the result")?;
    Ok(verdict(&report, args.fail_over))
}

fn load(path: &Path, rules: Option<&[PathBuf]>) -> Result<Config, ExitCode> {
    let (config, faults) = config::load_with(path, rules);
    show(&faults);
    let code = if faults.iter().any(Diagnostic::is_unreadable) { EXIT_FAILURE } else { EXIT_FAULTS };
    config.filter(|_| !any_error(&faults)).ok_or(ExitCode::from(code))
}

fn verdict(report: &Report, fail_over: Option<usize>) -> ExitCode {
    let fired = report.incidents.len();
    let silent: Vec<_> = report.rules.iter().filter(|rule| rule.faults > 0).collect();
    for rule in &silent {
        eprintln!("warning: {} could not be evaluated at all instants: its silence means nothing", rule.rule);
    }
    if fail_over.is_some() && !silent.is_empty() {
        return ExitCode::from(EXIT_FAULTS);
    }
    let Some(most) = fail_over.filter(|most| fired > *most) else { return ExitCode::SUCCESS };
    eprintln!("error: {fired} alerts fire, more than {most}");
    for rule in report.rules.iter().filter(|rule| rule.fired > 0) {
        eprintln!("  {}: {}", rule.rule, rule.fired);
    }
    ExitCode::from(EXIT_FAULTS)
}

/// Plays the rows through each version of the rules at once; a fault comes with the name of its source.
async fn replay(versions: Vec<Config>, since: Time, until: Time) -> Result<Vec<Report>, (String, Fault)> {
    let (mut replays, mut reports) = (Vec::new(), Vec::new());
    let wanted = wanted_by(versions.iter().flat_map(|config| &config.rules));
    let sources = versions.first().map(|config| config.sources.clone()).unwrap_or_default();
    for config in versions {
        let (tables, most) = (config.tables(&wanted), config.max_series);
        let can = |rule: &Rule| rule.queries().iter().all(Query::is_replayable);
        let (rules, skipped): (Vec<_>, Vec<_>) = config.rules.into_iter().partition(can);
        let skipped = skipped.iter().map(|rule| Skipped {
            rule: rule.key.clone(),
            reason: "it asks what is so now; where its SELECT says `:now` for the time it can be asked about the past".to_owned(),
        });
        reports.push(Report::new(&rules, skipped.collect(), since, until));
        let sources = config.sources.into_iter().map(|source| source.name).collect();
        let (routing, receivers, resolve_timeout) = (config.routing, config.receivers, config.resolve_timeout);
        let setup = Setup { rules, sources, lateness: Span::ZERO, routing, receivers, resolve_timeout };
        replays.push(Replay::new(tables, setup, most, since));
    }
    let from = replays.iter().map(Replay::warm_from).min().unwrap_or(since);
    let mut feed = Feed::start(sources.clone(), wanted, from, until);
    for source in sources {
        let mut queries: Vec<Query> = replays.iter().flat_map(|replay| replay.queries(&source.name)).collect();
        queries.sort_by(|a, b| (&a.sql, a.every).cmp(&(&b.sql, b.every)));
        queries.dedup_by(|a, b| a.sql == b.sql);
        if !queries.is_empty() {
            feed.ask(source, queries, since);
        }
    }
    let progress = std::io::stderr().is_terminal();
    let played = tokio::task::spawn_blocking(move || play::play(&mut replays, feed, &mut reports, progress).map(|()| reports));
    played.await.map_err(|error| ("the rows".to_owned(), Fault::Database(error.to_string())))?
}
