//! What was measured, as a table for the terminal and for BENCHMARKS.md, and on what machine.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

/// The columns of every table.
const HEAD: [&str; 5] = ["what", "measured", "limit, same run", "aim", ""];

/// One benchmark's results.
#[derive(Debug, Default)]
pub struct Report {
    rows: Vec<[String; 5]>,
    notes: Vec<String>,
    incomplete: bool,
}

impl Report {
    /// A figure with the limit it stands against.
    pub fn add(&mut self, what: &str, measured: impl Into<String>, limit: impl Into<String>) {
        self.rows.push([what.to_owned(), measured.into(), limit.into(), String::new(), String::new()]);
    }

    /// A figure with an aim, and whether it was reached.
    pub fn judge(&mut self, what: &str, measured: impl Into<String>, limit: impl Into<String>, aim: &str, met: bool) {
        let verdict = if met { "met" } else { "MISSED" };
        self.rows.push([what.to_owned(), measured.into(), limit.into(), aim.to_owned(), verdict.to_owned()]);
    }

    /// A figure that could not be had.
    pub fn missing(&mut self, what: &str, limit: impl Into<String>, error: &anyhow::Error) {
        self.rows.push([what.to_owned(), "not measured".to_owned(), limit.into(), String::new(), String::new()]);
        self.notes.push(format!("{what}: {error:#}"));
        self.incomplete = true;
    }

    /// A sentence under the table.
    pub fn note(&mut self, text: impl Into<String>) {
        self.notes.push(text.into());
    }

    /// Whether every figure could be had.
    pub fn is_complete(&self) -> bool {
        !self.incomplete
    }

    /// Heading, table, notes: Markdown that is readable as it is.
    pub fn text(&self, name: &str) -> String {
        let width = |column: usize| {
            let cells = self.rows.iter().map(|row| row[column].chars().count());
            cells.chain([HEAD[column].len(), 3]).max().unwrap_or(3)
        };
        let widths: [usize; 5] = std::array::from_fn(width);
        let line = |cells: [&str; 5]| {
            let padded: Vec<String> = cells.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
            format!("| {} |\n", padded.join(" | "))
        };
        let rule = widths.map(|width| "-".repeat(width));
        let mut text = format!("## {name}\n\n");
        if !self.rows.is_empty() {
            text += &line(HEAD);
            text += &line(std::array::from_fn(|column| rule[column].as_str()));
            self.rows.iter().for_each(|row| text += &line(std::array::from_fn(|column| row[column].as_str())));
        }
        for note in &self.notes {
            text += &format!("\n- {}", note.replace('\n', "\n  "));
        }
        text.trim_end().to_owned()
    }
}

/// The middle of some figures; of an even number the upper of the two in the middle.
pub fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied().unwrap_or(f64::NAN)
}

/// Seconds in the unit that suits them.
pub fn seconds(value: f64) -> String {
    if value.is_nan() {
        "-".to_owned()
    } else if value >= 1.0 {
        format!("{value:.2} s")
    } else {
        format!("{:.2} ms", value * 1e3)
    }
}

/// Date and machine in one line.
pub fn machine() -> String {
    let first_line = |program: &str, argument: &str| {
        let output = Command::new(program).arg(argument).output().ok()?;
        Some(String::from_utf8_lossy(&output.stdout).lines().next()?.trim().to_owned())
    };
    let field = |file: &str, key: &str| {
        let text = fs::read_to_string(file).ok()?;
        let line = text.lines().find(|line| line.starts_with(key))?;
        Some(line.split_once(':')?.1.trim().to_owned())
    };
    let memory = field("/proc/meminfo", "MemTotal").and_then(|kib| kib.split(' ').next()?.parse::<u64>().ok());
    let facts = [
        Some(jiff::Timestamp::now().strftime("%Y-%m-%d").to_string()),
        field("/proc/cpuinfo", "model name"),
        std::thread::available_parallelism().ok().map(|cores| format!("{cores} cores")),
        memory.map(|kib| format!("{} GiB", (kib + 524_288) / 1_048_576)),
        first_line("rustc", "-V"),
        first_line("psql", "-V").map(|version| version.replace("psql (PostgreSQL)", "PostgreSQL")),
        fs::read_to_string("/proc/sys/kernel/osrelease").ok().map(|release| format!("kernel {}", release.trim())),
    ];
    facts.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

/// Puts a benchmark's section into BENCHMARKS.md, in place of its last one or at the end.
pub fn record(name: &str, what: &str, machine: &str, report: &Report) -> Result<()> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("BENCHMARKS.md");
    let old = fs::read_to_string(&path).unwrap_or_else(|_| "# Benchmarks\n\nWritten by `make bench`.\n".to_owned());
    let (heading, table) =
        report.text(name).split_once('\n').map(|(h, t)| (h.to_owned(), t.trim().to_owned())).unwrap_or_default();
    let section = format!("{heading}\n\n{}{}.\n\n{table}\n", what[..1].to_uppercase(), &what[1..]);
    let section = section.replacen("\n\n|", &format!("\n\nMeasured {machine}.\n\n|"), 1);
    fs::write(&path, replace_section(&old, &heading, &section)).with_context(|| format!("cannot write {}", path.display()))
}

/// The text with the section under `heading` replaced, or added at the end.
fn replace_section(old: &str, heading: &str, section: &str) -> String {
    let Some(begin) = old.find(&format!("{heading}\n")) else {
        return format!("{}\n\n{section}", old.trim_end());
    };
    let after = old[begin + heading.len()..].find("\n## ").map(|at| &old[begin + heading.len() + at + 1..]);
    let end = after.map_or(String::new(), |rest| format!("\n{rest}"));
    format!("{}{section}{end}", &old[..begin])
}
