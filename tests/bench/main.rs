//! Benchmarks of the finished program, each with its limit measured in the same run.
//!
//! ```text
//! cargo bench --bench bench -- all                    # everything; half an hour, most of it building tables
//! cargo bench --bench bench -- first-read poll        # some
//! cargo bench --bench bench -- all --record           # and write the results into BENCHMARKS.md
//! cargo bench --bench bench -- all --quick            # small tables and few trials: does the harness itself work?
//! ```
//!
//! Everything runs against a throw-away PostgreSQL cluster (server programs needed; no running server). The program is only
//! looked at from outside: its exit, its /metrics, its webhooks, its and the server's counters in /proc.

// A benchmark reads clocks and prints; that is what it is for.
#![allow(clippy::disallowed_methods)]

mod backtest;
mod first_read;
mod http;
mod latency;
mod memory;
mod metrics;
mod poll;
mod postgres;
mod product;
mod report;
mod storm;
mod tick;

use std::process::ExitCode;

use anyhow::{Result, ensure};

use report::{Report, machine, record};

/// How much is measured.
#[derive(Clone, Copy, Debug)]
pub struct Scale {
    /// Only to see that the harness works: no figure is worth anything.
    pub quick: bool,
}

impl Scale {
    /// `full`, or `small` where it is to be quick.
    pub fn of<T>(self, full: T, small: T) -> T {
        if self.quick { small } else { full }
    }
}

/// A name for the command line, what it measures, and how.
type Bench = (&'static str, &'static str, fn(Scale) -> Result<Report>);

/// The benchmarks.
const BENCHES: [Bench; 8] = [
    ("first-read", "2,000,000 rows into totals and windows, against psql's COPY of the same columns", first_read::run),
    ("poll", "one poll of tables of 100 k, 1 M and 10 M rows, against a SQL exporter's query", poll::run),
    ("metrics", "GET /metrics with 10 k and 100 k lines, against a server that only sends the same bytes", metrics::run),
    ("latency", "from the commit of a row to the webhook", latency::run),
    ("memory", "resident memory, idle and at 10 k series", memory::run),
    ("backtest", "30 days, 10,000,000 rows and 20 rules, against the first read of the same rows", backtest::run),
    ("tick", "one tick of 1,000 rules over 10 k groups", tick::run),
    ("storm", "10,000 alerts at once over 50 routes and 5 receivers, with two SIGKILLs, against Alertmanager", storm::run),
];

fn main() -> ExitCode {
    // Cargo adds `--bench`.
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let (flags, names): (Vec<_>, Vec<_>) = arguments.into_iter().partition(|argument| argument.starts_with("--"));
    let unknown_flag = flags.iter().find(|flag| !["--record", "--quick"].contains(&flag.as_str()));
    let unknown_name = names.iter().find(|name| *name != "all" && !BENCHES.iter().any(|bench| bench.0 == name.as_str()));
    if let Some(unknown) = unknown_flag.or(unknown_name) {
        eprintln!("`{unknown}` is no benchmark and no flag; there are:");
        BENCHES.iter().for_each(|(name, what, _)| eprintln!("  {name:<11} {what}"));
        eprintln!("  all, --record (into BENCHMARKS.md), --quick (small; only tries the harness)");
        return ExitCode::from(2);
    }
    let has = |flag: &str| flags.iter().any(|given| given == flag);
    let scale = Scale { quick: has("--quick") };
    if has("--record") && scale.quick {
        eprintln!("--quick measures nothing worth recording");
        return ExitCode::from(2);
    }
    let all = names.is_empty() || names.iter().any(|name| name == "all");
    let machine = machine();
    println!("{machine}\n");
    let mut worst = ExitCode::SUCCESS;
    for (name, what, run) in BENCHES.into_iter().filter(|(name, _, _)| all || names.iter().any(|given| given == name)) {
        eprintln!("{name}: {what}");
        let outcome = run(scale).and_then(|report| {
            println!("{}\n", report.text(name));
            ensure!(report.is_complete(), "some figures are missing");
            if has("--record") { record(name, what, &machine, &report) } else { Ok(()) }
        });
        if let Err(error) = outcome {
            eprintln!("{name}: failed: {error:#}");
            worst = ExitCode::FAILURE;
        }
    }
    worst
}
