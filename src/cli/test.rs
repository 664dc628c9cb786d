//! `modelwatch test`: the tests of rules, each played on virtual time through the engine that `run` has.
//!
//! Without names: every `*.test.yml` below `rules/` and beside the rule files of the configuration. Exits with 0 where all tests
//! pass, with 1 where one fails or a file is at fault, with 2 where there is nothing to test or a result cannot be written.

use std::collections::BTreeSet;
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};

use crate::calendar::TimeIntervals;
use crate::cli::{EXIT_FAULTS, show};
use crate::config::is_test_file;
use crate::diag::any_error;
use crate::engine::clock::Stopwatch;
use crate::ruletest::junit::{self, Case, Results};
use crate::ruletest::{Suite, report};
use crate::yaml::{self, Faults, Node};

/// Where the configuration is unless `-c` says otherwise.
const DEFAULT_CONFIG: &str = "modelwatch.yml";
/// Where rules are where nothing says otherwise.
const RULES: &str = "rules";

/// Options of `test`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Test files, and folders with some; without any those below rules/ and beside the rule files of the configuration.
    files: Vec<PathBuf>,
    /// The configuration, for its time intervals; modelwatch.yml where there is one.
    #[arg(short, long, env = "MODELWATCH_CONFIG")]
    config: Option<PathBuf>,
    /// Run only tests whose file and name contain this, as in `rules/cora/cora.test.yml: cost`.
    #[arg(long, value_name = "TEXT")]
    filter: Option<String>,
    /// Write the results to this file too, as JUnit's XML.
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
    /// Tell of each test when its alerts fired.
    #[arg(short, long)]
    verbose: bool,
}

/// Runs the tests that were asked for.
pub fn run(args: &Args) -> Result<ExitCode> {
    let mut faults = Faults::default();
    let config = args.config.clone().or_else(|| Some(PathBuf::from(DEFAULT_CONFIG)).filter(|path| path.exists()));
    let config = config.map(|path| configuration(&path, &mut faults)).transpose()?;
    let (intervals, folders) = config.unwrap_or_default();
    if any_error(&faults.0) {
        show(&faults.0);
        return Ok(ExitCode::from(EXIT_FAULTS));
    }
    let files = if args.files.is_empty() { beside(folders)? } else { given(&args.files)? };
    let watch = Stopwatch::start();
    let mut all: Vec<Results> = Vec::new();
    for file in &files {
        all.extend(run_file(args, file, &intervals)?);
    }
    let summary = summary(&all, watch.elapsed().as_secs_f64());
    let Some((summary, passed)) = summary else {
        match &args.filter {
            Some(filter) => bail!("no test in {} contains `{filter}`", counted(files.len(), "file")),
            None => bail!("there is no test in {}", counted(files.len(), "file")),
        }
    };
    println!("{summary}");
    if let Some(path) = &args.junit {
        std::fs::write(path, junit::document(&all)).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(if passed { ExitCode::SUCCESS } else { ExitCode::from(EXIT_FAULTS) })
}

/// The time intervals of a configuration, and the folders of its rule files. The rest of it is of no meaning here: a machine
/// that runs tests has none of its secrets.
fn configuration(path: &Path, faults: &mut Faults) -> Result<(TimeIntervals, BTreeSet<PathBuf>)> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let Some(root) = yaml::parse(&path.display().to_string(), &text, faults) else { return Ok(Default::default()) };
    let Some(mut fields) = root.fields(faults) else { return Ok(Default::default()) };
    let intervals = TimeIntervals::parse(fields.node("time_intervals").map_or(&[][..], Node::items), faults);
    let patterns = fields.node("rule_files").map_or(&[][..], Node::items).iter().filter_map(|item| yaml::text(item).ok());
    let folder = path.parent().unwrap_or(Path::new(""));
    let found = patterns.filter_map(|pattern| glob::glob(&folder.join(pattern).to_string_lossy()).ok());
    let folders = found.flatten().flatten().filter_map(|file| file.parent().map(Path::to_path_buf)).collect();
    Ok((intervals, folders))
}

/// The tests below rules/ and those in the folders of rule files.
fn beside(folders: BTreeSet<PathBuf>) -> Result<Vec<PathBuf>> {
    let mut files: BTreeSet<PathBuf> = folders.iter().flat_map(|folder| below(folder, "*.test.yml")).collect();
    files.extend(below(Path::new(RULES), "**/*.test.yml"));
    if files.is_empty() {
        bail!("there are no tests: no `*.test.yml` below {RULES}/, nor beside the rule files of a configuration");
    }
    Ok(files.into_iter().collect())
}

fn below(folder: &Path, pattern: &str) -> Vec<PathBuf> {
    let folder = glob::Pattern::escape(&folder.to_string_lossy());
    let pattern = if folder.is_empty() { pattern.to_owned() } else { format!("{folder}/{pattern}") };
    glob::glob(&pattern).map(|paths| paths.flatten().collect()).unwrap_or_default()
}

/// Files as they are named, and those in the folders that are named.
fn given(paths: &[PathBuf]) -> Result<Vec<PathBuf>> {
    let mut files: Vec<PathBuf> = Vec::new();
    for path in paths {
        let found = if path.is_dir() { below(path, "**/*.test.yml") } else { vec![path.clone()] };
        if found.is_empty() {
            bail!("there are no tests in {}: no file there is named `*.test.yml`", path.display());
        }
        if !path.is_dir() && !is_test_file(path) {
            let tests = path.with_extension("test.yml");
            bail!("{} is no file of tests; those of its rules would be in {}", path.display(), tests.display());
        }
        let new: Vec<PathBuf> = found.into_iter().filter(|file| !files.contains(file)).collect();
        files.extend(new);
    }
    Ok(files)
}

/// Runs the tests of a file, and tells of each as soon as it is done; none where it has none that is wanted.
fn run_file(args: &Args, path: &Path, intervals: &TimeIntervals) -> Result<Option<Results>> {
    let (mut faults, name) = (Faults::default(), path.display().to_string());
    let suite = Suite::load(path, intervals, &mut faults);
    show(&faults.0);
    let mut out = std::io::stdout();
    let Some(suite) = suite else {
        writeln!(out, "{name}\n  {}", painted("FAIL  the file is at fault", false))?;
        let told: Vec<String> = faults.0.iter().map(ToString::to_string).collect();
        return Ok(Some(Results { file: name, error: Some(told.join("\n")), cases: Vec::new() }));
    };
    let filter = args.filter.as_ref().map(|text| text.to_lowercase());
    let wanted = |test: &str| filter.as_ref().is_none_or(|text| format!("{name}: {test}").to_lowercase().contains(text));
    let mut cases = Vec::new();
    for test in suite.file.tests.iter().filter(|test| wanted(&test.name)) {
        if cases.is_empty() {
            writeln!(out, "{name}")?;
        }
        let watch = Stopwatch::start();
        let played = suite.play(test);
        let seconds = watch.elapsed().as_secs_f64();
        let failure = (!played.failures.is_empty()).then(|| report::failed(&suite, test, &played));
        let word = if failure.is_none() { "ok   " } else { "FAIL " };
        writeln!(out, "  {} {}", painted(word, failure.is_none()), test.name)?;
        if args.verbose {
            write!(out, "{}", indented(&report::fired(&suite, &played)))?;
        }
        failure.iter().try_for_each(|text| write!(out, "{}", indented(text)))?;
        cases.push(Case { name: test.name.clone(), line: test.place.line_column().0, seconds, failure });
    }
    Ok((!cases.is_empty()).then_some(Results { file: name, error: None, cases }))
}

fn indented(text: &str) -> String {
    text.lines().map(|line| format!("      {line}\n")).collect()
}

/// Green or red, where somebody looks.
fn painted(text: &str, good: bool) -> String {
    let colour = if good { 32 } else { 31 };
    if std::io::stdout().is_terminal() { format!("\x1b[{colour}m{text}\x1b[0m") } else { text.to_owned() }
}

/// How it went in a line, and whether all is well; none where nothing was run.
fn summary(all: &[Results], seconds: f64) -> Option<(String, bool)> {
    let failed = all.iter().flat_map(|results| &results.cases).filter(|case| case.failure.is_some()).count();
    let tests = all.iter().map(|results| results.cases.len()).sum();
    let faulty = all.iter().filter(|results| results.error.is_some()).count();
    if all.is_empty() {
        return None;
    }
    let mut said = format!("\n{} in {}: {} passed", counted(tests, "test"), counted(all.len(), "file"), tests - failed);
    if failed > 0 {
        said += &format!(", {failed} failed (`-` is what was expected, `+` what was found)");
    }
    if faulty > 0 {
        said += &format!(", {} at fault", counted(faulty, "file"));
    }
    Some((format!("{said}, in {seconds:.2} s"), failed + faulty == 0))
}

fn counted(n: usize, what: &str) -> String {
    if n == 1 { format!("1 {what}") } else { format!("{n} {what}s") }
}
