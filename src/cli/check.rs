//! `modelwatch check`: every fault of the configuration and the rules at once.
//!
//! With `--connect` the databases are asked too: each column and expression of a mapping, and the indexes.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::ExitCode;

use crate::cli::{EXIT_FAULTS, show};
use crate::config::{self, Config, Source};
use crate::diag::{Diagnostic, Severity, any_error};
use crate::engine::ingest::connect;
use crate::source::Reader;
use crate::source::postgres::PlanError;
use crate::source::reader::FIRST_SLICE;

/// Options of `check`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The configuration.
    #[arg(short, long, default_value = "modelwatch.yml", env = "MODELWATCH_CONFIG")]
    config: PathBuf,
    /// Ask the databases too.
    #[arg(long)]
    connect: bool,
}

/// Exits with 0 where it can be run, else 1.
pub async fn run(args: &Args) -> ExitCode {
    let (config, mut faults) = config::load(&args.config);
    if let Some(config) = config.as_ref().filter(|_| args.connect) {
        let wanted = config.wanted_dimensions();
        for source in &config.sources {
            faults.extend(asked(source, &wanted).await);
        }
    }
    show(&faults);
    let count = |severity| faults.iter().filter(|fault| fault.severity == severity).count();
    let warnings = counted(count(Severity::Warning), "warning");
    match config.filter(|_| !any_error(&faults)) {
        Some(config) => {
            println!("{}: {}, {warnings}", args.config.display(), contents(&config));
            ExitCode::SUCCESS
        }
        None => {
            println!("{}: {}, {warnings}", args.config.display(), counted(count(Severity::Error), "error"));
            ExitCode::from(EXIT_FAULTS)
        }
    }
}

fn contents(config: &Config) -> String {
    let tables = config.sources.iter().map(|source| source.tables.len()).sum();
    [(config.sources.len(), "source"), (tables, "table"), (config.rules.len(), "rule")]
        .map(|(n, what)| counted(n, what))
        .join(", ")
}

fn counted(n: usize, what: &str) -> String {
    if n == 1 { format!("1 {what}") } else { format!("{n} {what}s") }
}

/// What a database says of the mappings over it.
async fn asked(source: &Source, wanted: &BTreeSet<String>) -> Vec<Diagnostic> {
    let unreadable = |error: String| vec![Diagnostic::nowhere("unreadable", format!("{} cannot be read: {error}", source.name))];
    let mut db = match connect(source).await {
        Ok(db) => db,
        Err(fault) => return unreadable(fault.to_string()),
    };
    let mut faults = Vec::new();
    for mapping in &source.tables {
        match Reader::new(&mut db, mapping.clone(), wanted, Default::default(), &[], FIRST_SLICE).await {
            Ok((_, warnings)) => faults.extend(warnings),
            Err(PlanError::Faults(found)) => faults.extend(found),
            Err(PlanError::Lost(error)) => return unreadable(source.url.redact(&error.to_string())),
        }
    }
    faults
}
