//! The command line: one file a subcommand.

pub mod ack;
pub mod backtest;
pub mod check;
mod client;
pub mod deliveries;
pub mod demo;
pub mod explain;
pub mod notify_test;
pub mod once;
pub mod route_test;
pub mod run;
pub mod schema;
pub mod silence;
pub mod test;

use std::io::IsTerminal;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::diag::{Diagnostic, any_error};

/// Turns the tables in which a product logs its AI calls into metrics and pages.
#[derive(Debug, Parser)]
#[command(name = "modelwatch", version, disable_help_subcommand = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

/// THE list of subcommands.
#[derive(Debug, Subcommand)]
enum Command {
    /// Read, count, evaluate and deliver until told to stop.
    Run(run::Args),
    /// Check the configuration and its rules; every fault with its place.
    Check(check::Args),
    /// Say which receivers an alert with some labels gets to, on which way and when.
    RouteTest(route_test::Args),
    /// Run the tests of rules on virtual time.
    Test(test::Args),
    /// Replay the past of the databases: what would have fired, and what would have been sent to whom.
    Backtest(backtest::Args),
    /// Tell why somebody was told of an alert, or nobody.
    Explain(explain::Args),
    /// Make, list and end silences.
    Silence(silence::Args),
    /// Take care of alerts: nothing of them is repeated or escalated until they are over.
    Ack(ack::Args),
    /// List what was sent to whom and what failed, and try it again.
    Deliveries(deliveries::Args),
    /// Send a made-up notification to a receiver, and show what it answers.
    NotifyTest(notify_test::Args),
    /// Print the JSON Schema of the files that people write, for editors.
    Schema(schema::Args),
    /// Read everything, evaluate once, print metrics to stdout and alerts to stderr; send nothing.
    Once(once::Args),
    /// Show all of it on an embedded database with live made-up traffic and incidents.
    Demo(demo::Args),
}

/// Faults of what the user wrote.
pub const EXIT_FAULTS: u8 = 1;
/// Something else went wrong.
pub const EXIT_FAILURE: u8 = 2;

/// Runs the command that was asked for.
pub async fn main(cli: Cli) -> ExitCode {
    let done = match cli.command {
        Command::Run(args) => run::run(args).await,
        Command::Check(args) => Ok(check::run(&args).await),
        Command::RouteTest(args) => route_test::run(&args),
        Command::Test(args) => test::run(&args),
        Command::Backtest(args) => backtest::run(args).await,
        Command::Explain(args) => explain::run(&args).await,
        Command::Silence(args) => silence::run(&args).await,
        Command::Ack(args) => ack::run(&args).await,
        Command::Deliveries(args) => deliveries::run(&args).await,
        Command::NotifyTest(args) => notify_test::run(&args).await,
        Command::Schema(args) => schema::run(&args).map(|()| ExitCode::SUCCESS),
        Command::Once(args) => once::run(args).await,
        Command::Demo(args) => demo::run(args).await,
    };
    done.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::from(EXIT_FAILURE)
    })
}

/// Faults that are shown in full; whoever has more will look again.
const SHOWN: usize = 100;

/// Shows faults on stderr, as compilers do.
pub fn show(faults: &[Diagnostic]) {
    let colour = std::io::stderr().is_terminal();
    for fault in faults.iter().take(SHOWN) {
        eprintln!("{}\n", fault.render(colour));
    }
    if faults.len() > SHOWN {
        eprintln!("... and {} more", faults.len() - SHOWN);
    }
}

/// The configuration, or the exit code after its faults were shown.
pub fn load(path: &std::path::Path) -> Result<crate::config::Config, ExitCode> {
    let (config, faults) = crate::config::load(path);
    show(&faults);
    config.filter(|_| !any_error(&faults)).ok_or_else(|| {
        eprintln!("hint: `modelwatch check -c {}` checks it again", path.display());
        ExitCode::from(EXIT_FAULTS)
    })
}

/// How the log is written.
#[derive(Clone, Copy, Debug, Default, clap::ValueEnum)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// For machines: one JSON object a line.
    Json,
}

/// Begins to log to stderr from `level` on; `RUST_LOG` chooses otherwise.
pub fn log_at(format: LogFormat, level: &str) {
    use tracing_subscriber::EnvFilter;
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(format!("{level},sqlx=error")));
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_target(false)
        .log_internal_errors(false);
    match format {
        LogFormat::Text => log.with_ansi(std::io::stderr().is_terminal()).init(),
        LogFormat::Json => log.json().flatten_event(true).init(),
    }
}
