//! `modelwatch check`: every fault of the configuration and the rules at once.
//!
//! Rule files that are named are checked instead of those of the configuration; without `-c` they are checked alone, and
//! nothing is known of dimensions. With `--connect` the databases are asked about each column and expression of a mapping
//! and its indexes, with `--db` also about the values that rules look for. `--explain` is the documentation of the kinds.

use std::path::PathBuf;
use std::process::ExitCode;

use serde_json::json;

use crate::api::access;
use crate::cli::{EXIT_FAILURE, EXIT_FAULTS, show};
use crate::config::{self, Config};
use crate::diag::{Diagnostic, Severity, nearest};
use crate::yaml::Faults;
use crate::{rule, ruletest};

mod ask;

/// Where the configuration is unless `-c` says otherwise.
const DEFAULT_CONFIG: &str = "modelwatch.yml";

/// Options of `check`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Rule files and their tests, instead of those that the configuration names; without a configuration they are checked alone.
    rule_files: Vec<PathBuf>,
    /// The configuration; modelwatch.yml where no rule files are named.
    #[arg(short, long, env = "MODELWATCH_CONFIG")]
    config: Option<PathBuf>,
    /// How faults are told: text on stderr, or json or annotations of GitHub on stdout.
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    /// Ask the databases about the mappings too.
    #[arg(long)]
    connect: bool,
    /// The same, and whether their rows have the values that rules look for.
    #[arg(long)]
    db: bool,
    /// Print what a kind of rule does and takes, without a name all kinds.
    #[arg(long, value_name = "KIND", num_args = 0..=1, default_missing_value = "")]
    explain: Option<String>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, clap::ValueEnum)]
enum Format {
    #[default]
    Text,
    Json,
    Github,
}

/// Exits with 0 where it can be run, 1 where it has faults, 2 where something could not be read.
pub async fn run(args: &Args) -> ExitCode {
    if let Some(kind) = &args.explain {
        return explain(kind);
    }
    let (contents, mut faults) = match (&args.config, args.rule_files.as_slice()) {
        (None, rules @ [_, ..]) => rules_alone(rules),
        (config, rules) => {
            let path = config.clone().unwrap_or_else(|| DEFAULT_CONFIG.into());
            configuration(args, &path, (!rules.is_empty()).then_some(rules)).await
        }
    };
    faults.extend(tests(&args.rule_files));
    report(args.format, &contents, &faults);
    let cannot = faults.iter().any(Diagnostic::is_unreadable);
    match faults.iter().map(|fault| fault.severity).min() {
        _ if cannot => ExitCode::from(EXIT_FAILURE),
        Some(Severity::Error) => ExitCode::from(EXIT_FAULTS),
        _ => ExitCode::SUCCESS,
    }
}

/// What was checked, in words, and its faults.
type Checked = (String, Vec<Diagnostic>);

fn rules_alone(paths: &[PathBuf]) -> Checked {
    let mut faults = Faults::default();
    let rules = config::read_rules(paths, &mut faults);
    (format!("{}: {}", counted(paths.len(), "file"), counted(rules.len(), "rule")), faults.0)
}

/// What is wrong with the files of tests among those that are named; `modelwatch test` runs them.
fn tests(paths: &[PathBuf]) -> Vec<Diagnostic> {
    let mut faults = Faults::default();
    for path in paths.iter().filter(|path| config::is_test_file(path)) {
        let name = path.display().to_string();
        match std::fs::read_to_string(path) {
            Ok(text) => drop(ruletest::file::parse(&name, &text, &mut faults)),
            Err(error) => faults.0.push(Diagnostic::nowhere("unreadable", format!("cannot read {name}: {error}"))),
        }
    }
    faults.0
}

async fn configuration(args: &Args, path: &std::path::Path, rules: Option<&[PathBuf]>) -> Checked {
    let (config, mut faults) = config::load_with(path, rules);
    faults.extend(config.as_ref().map(access::check).unwrap_or_default());
    if let Some(config) = config.as_ref().filter(|_| args.connect || args.db) {
        faults.extend(ask::databases(config, args.db).await);
    }
    let contents = config.as_ref().map_or_else(String::new, contents);
    (format!("{}: {contents}", path.display()), faults)
}

fn contents(config: &Config) -> String {
    let tables = config.sources.iter().map(|source| source.tables.len()).sum();
    let rules = (config.rules.len(), "rule");
    let parts = match config.sources.len() {
        // A router alone.
        0 => [(config.routing.root.walk().len(), "route"), (config.receivers.len(), "receiver"), rules],
        sources => [(sources, "source"), (tables, "table"), rules],
    };
    parts.map(|(n, what)| counted(n, what)).join(", ")
}

fn counted(n: usize, what: &str) -> String {
    if n == 1 { format!("1 {what}") } else { format!("{n} {what}s") }
}

fn report(format: Format, contents: &str, faults: &[Diagnostic]) {
    let count = |severity| faults.iter().filter(|fault| fault.severity == severity).count();
    let (errors, warnings) = (count(Severity::Error), count(Severity::Warning));
    match format {
        Format::Text => {
            show(faults);
            let what = contents.split_once(": ").map_or(contents, |(what, _)| what);
            let begin = if errors == 0 { contents.to_owned() } else { format!("{what}: {}", counted(errors, "error")) };
            println!("{begin}, {}", counted(warnings, "warning"));
        }
        Format::Json => {
            let told: Vec<_> = faults.iter().map(Diagnostic::json).collect();
            println!("{:#}", json!({ "errors": errors, "warnings": warnings, "diagnostics": told }));
        }
        Format::Github => faults.iter().for_each(|fault| println!("{}", fault.github())),
    }
}

/// The documentation of a kind, or of all.
fn explain(kind: &str) -> ExitCode {
    if kind.is_empty() {
        print!("{}", rule::page());
        return ExitCode::SUCCESS;
    }
    if let Some(docs) = rule::docs(kind) {
        print!("{docs}");
        return ExitCode::SUCCESS;
    }
    let kinds: Vec<&str> = rule::KINDS.iter().map(|kind| kind.name).collect();
    eprintln!("error: there is no kind `{kind}`");
    let holds = kinds.iter().copied().find(|name| name.contains(kind));
    match holds.or_else(|| nearest(kind, kinds.iter().copied())) {
        Some(near) => eprintln!("hint: did you mean `{near}`?"),
        None => eprintln!("hint: the kinds are {}", kinds.join(", ")),
    }
    ExitCode::from(EXIT_FAILURE)
}
