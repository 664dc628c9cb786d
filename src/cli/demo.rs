//! `modelwatch demo`: all of it, without a config and without a service.
//!
//! An embedded SQLite database gets live traffic, made up by [`Scenario`] or recorded in a [`Trace`], and the daemon reads
//! it like any other source. This file is the traffic's side: [`prepare`] makes database, config and rules in a
//! directory; [`feed`] then writes rows as time goes by. The clock and the timer are arguments.

pub mod chance;
pub mod rows;
pub mod world;
pub mod incident;
pub mod scenario;
pub mod trace;
pub mod database;
pub mod files;
pub mod screen;

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result};
use jiff::tz::TimeZone;

use self::database::Database;
use self::files::Files;
use self::rows::{Note, NoteKind, Rows};
use self::scenario::Scenario;
use self::screen::Screen;
use self::trace::{PLAYING_TIME, Recording, Trace};
use crate::cli::run::{Signals, access, until_told};
use crate::cli::{EXIT_FAULTS, LogFormat, load, log_at};
use crate::engine::{Daemon, clock};
use crate::time::{Span, Time};

/// Options of `demo`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Play this recorded trace (CSV, plain or gzip) instead of made-up traffic.
    #[arg(long)]
    trace: Option<PathBuf>,
    /// How many times faster than it was recorded; by default so that it takes five minutes.
    #[arg(long, requires = "trace")]
    speed: Option<f64>,
    /// Where /metrics is served.
    #[arg(long, default_value = "127.0.0.1:9464")]
    listen: String,
    /// Other seeds make other traffic.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// Runs the daemon over a database that lives while it does.
pub async fn run(args: Args) -> Result<ExitCode> {
    let screen = Screen { colour: std::io::stdout().is_terminal(), zone: TimeZone::system() };
    let start = clock::now();
    let (traffic, header) = traffic(&args, start, &screen)?;
    println!("{header}");
    let scratch = Scratch::new()?;
    let (files, mut database) = prepare(scratch.path(), &args.listen, &traffic).await?;
    let config = match load(&files.config) {
        Ok(config) => config,
        Err(code) => return Ok(code),
    };
    let Some(access) = access(&config, None) else { return Ok(ExitCode::from(EXIT_FAULTS)) };
    log_at(LogFormat::Text, "warn");
    let signals = Signals::new()?;
    let (daemon, listener) = Daemon::start(files.config, config).await?;
    let sleep = |span: Span| tokio::time::sleep(span.to_std());
    let feeding = async {
        feed(&mut database, &traffic, start, clock::now, sleep, |note| println!("{}", screen.line(note))).await?;
        // What a trace brought stays to be looked at.
        std::future::pending::<Result<()>>().await
    };
    tokio::select! {
        ended = feeding => ended?,
        ended = until_told(signals, daemon, listener, access) => ended?,
    }
    database.close().await?;
    Ok(ExitCode::SUCCESS)
}

fn traffic(args: &Args, start: Time, screen: &Screen) -> Result<(Traffic, String)> {
    let Some(file) = &args.trace else {
        let scenario = Scenario { seed: args.seed, start };
        let (plan, every) = scenario.plan();
        return Ok((Traffic::Scenario(scenario), screen.scenario_header(&args.listen, &plan, every)));
    };
    let recording = Recording::open(file)?;
    for bad in &recording.bad {
        eprintln!("{}: {bad}", file.display());
    }
    let speed = args.speed.filter(|speed| *speed > 0.0).unwrap_or_else(|| recording.speed_for(PLAYING_TIME));
    let calls = recording.len();
    let trace = Trace::new(recording, start, speed);
    let header = screen.trace_header(&args.listen, &file.display().to_string(), calls, speed, trace.end);
    Ok((Traffic::Trace(trace), header))
}

/// Rows are written this often.
const TICK: Span = Span::millis(500);
/// After a pause (a laptop that slept) no more than this is made up for.
const CATCH_UP: Span = Span::secs(60);

/// What is played.
#[derive(Clone, Debug)]
pub enum Traffic {
    /// Made up.
    Scenario(Scenario),
    /// Recorded.
    Trace(Trace),
}

impl Traffic {
    /// Rows of before the start.
    pub fn history(&self) -> Rows {
        match self {
            Traffic::Scenario(scenario) => scenario.history(),
            Traffic::Trace(_) => Rows::default(),
        }
    }

    /// The rows that become visible in [from, to).
    pub fn rows(&self, from: Time, to: Time) -> Rows {
        match self {
            Traffic::Scenario(scenario) => scenario.rows(from, to),
            Traffic::Trace(trace) => trace.rows(from, to),
        }
    }

    /// What there is to tell of [from, to).
    pub fn notes(&self, from: Time, to: Time) -> Vec<Note> {
        match self {
            Traffic::Scenario(scenario) => scenario.notes(from, to),
            Traffic::Trace(trace) if from <= trace.end && trace.end < to => {
                vec![Note { at: trace.end, kind: NoteKind::Info, text: "the trace has ended".to_owned() }]
            }
            Traffic::Trace(_) => Vec::new(),
        }
    }

    /// Whether nothing comes from `at` on.
    pub fn is_over(&self, at: Time) -> bool {
        matches!(self, Traffic::Trace(trace) if trace.end < at)
    }
}

/// Makes the database with its history, the config and the rules in an existing directory.
pub async fn prepare(directory: &Path, listen: &str, traffic: &Traffic) -> Result<(Files, Database)> {
    let files = Files::within(directory);
    files.write(listen)?;
    let mut database = Database::create(&files.database).await?;
    database.insert(&traffic.history()).await.context("cannot write the demo's history")?;
    Ok((files, database))
}

/// Writes rows as they become visible, from `start` on, and tells each note; ends when the traffic does (made-up traffic
/// never does). Stop it by dropping the future: a tick is one transaction.
pub async fn feed<Timer: Future<Output = ()>>(
    database: &mut Database,
    traffic: &Traffic,
    start: Time,
    now: impl Fn() -> Time,
    sleep: impl Fn(Span) -> Timer,
    mut tell: impl FnMut(&Note),
) -> Result<()> {
    let mut from = start;
    while !traffic.is_over(from) {
        // A clock that was set back writes nothing until it is where it was.
        let to = now().max(from);
        from = from.max(to - CATCH_UP);
        for note in traffic.notes(from, to) {
            tell(&note);
        }
        database.insert(&traffic.rows(from, to)).await.context("cannot write the demo's rows")?;
        from = to;
        sleep(TICK).await;
    }
    Ok(())
}

/// A new directory that goes away with this value.
#[derive(Debug)]
pub struct Scratch(PathBuf);

impl Scratch {
    /// Makes it among the system's temporary files, readable by nobody else.
    pub fn new() -> Result<Scratch> {
        let base = std::env::temp_dir();
        for attempt in 0..100 {
            let path = base.join(format!("modelwatch-demo-{}-{attempt}", std::process::id()));
            let mut builder = std::fs::DirBuilder::new();
            #[cfg(unix)]
            std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
            match builder.create(&path) {
                Ok(()) => return Ok(Scratch(path)),
                Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {}
                Err(e) => return Err(e).with_context(|| format!("cannot make {}", path.display())),
            }
        }
        anyhow::bail!("cannot make a directory in {}: all names are taken", base.display())
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // Nothing can be done where it fails, and nothing of value is left behind.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;
    use crate::cli::demo::incident::{CYCLE, Kind};
    use crate::cli::demo::rows::UsageRow;
    use crate::cli::demo::scenario::COST_WINDOW;
    use crate::cli::demo::trace::Recording;

    #[tokio::test]
    async fn a_trace_is_fed_to_its_end_whatever_the_clock_does() {
        let csv =
            "started_at,model,success\n2023-01-01 00:00:00,a,true\n2023-01-01 00:00:10,a,false\n2023-01-01 00:00:30,b,true\n";
        let start = Time::from_secs(1_763_700_000);
        let traffic = Traffic::Trace(Trace::new(Recording::read(csv.as_bytes()).unwrap(), start, 1.0));
        let scratch = Scratch::new().unwrap();
        let (files, mut database) = prepare(scratch.path(), "127.0.0.1:0", &traffic).await.unwrap();
        let (clock, ticks) = (Cell::new(start), Cell::new(0));
        let sleep = |_| {
            ticks.set(ticks.get() + 1);
            // Now and then the clock is set back.
            let step = if ticks.get() % 4 == 0 { -3 } else { 2 };
            clock.set(clock.get() + Span::secs(step));
            std::future::ready(())
        };
        let mut told = Vec::new();
        feed(&mut database, &traffic, start, || clock.get(), sleep, |note| told.push(note.text.clone())).await.unwrap();
        assert_eq!(told, ["the trace has ended"]);
        database.close().await.unwrap();
        let options = sqlx::sqlite::SqliteConnectOptions::new().filename(&files.database).read_only(true);
        let mut reader = sqlx::ConnectOptions::connect(&options).await.unwrap();
        let count: (i64, i64) = sqlx::query_as("SELECT (SELECT count(*) FROM ai_log_usage), (SELECT count(*) FROM ai_log_error)")
            .fetch_one(&mut reader)
            .await
            .unwrap();
        assert_eq!(count, (3, 1));
        let kept = scratch.path().to_owned();
        drop(scratch);
        assert!(!kept.exists());
    }

    /// Whom each of the three rules of `rules.yml` finds at an instant, counted by brute force.
    fn broken(usage: &[&UsageRow], history: &[UsageRow], now: Time) -> BTreeSet<(Kind, String)> {
        let within = |row: &UsageRow, window: Span, end: Time| end - window < row.started_at && row.started_at <= end;
        let mut failures: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
        let (mut spent, mut past): (BTreeMap<&str, f64>, BTreeMap<&str, f64>) = Default::default();
        for row in usage {
            let (minute, run) = failures.entry(&row.model).or_default();
            *minute += usize::from(!row.success && within(row, Span::secs(60), now));
            *run = if row.success { 0 } else { *run + 1 };
            if within(row, COST_WINDOW, now) {
                *spent.entry(row.org.as_deref().unwrap_or_default()).or_default() += row.cost_usd.unwrap_or_default();
            }
        }
        for row in history {
            if (1..=14).any(|days| within(row, COST_WINDOW, now - Span::secs(86_400 * days))) {
                *past.entry(row.org.as_deref().unwrap_or_default()).or_default() += row.cost_usd.unwrap_or_default() / 14.0;
            }
        }
        let spikes =
            failures.iter().filter(|(_, (minute, _))| *minute > 30).map(|(model, _)| (Kind::ErrorSpike, model.to_string()));
        let rows = failures.iter().filter(|(_, (_, run))| *run >= 5).map(|(model, _)| (Kind::FailuresInARow, model.to_string()));
        let dear = spent.iter().filter(|(org, usd)| **usd >= 3.0 && **usd > 2.0 * past.get(*org).copied().unwrap_or_default());
        spikes.chain(rows).chain(dear.map(|(org, _)| (Kind::CostJump, org.to_string()))).collect()
    }

    #[test]
    fn each_incident_breaks_its_rule_and_nothing_else_does() {
        let start = Time::from_secs(1_763_700_000);
        for seed in 0..2 {
            check_rules(&Scenario { seed, start });
        }
    }

    fn check_rules(scenario: &Scenario) {
        let start = scenario.start;
        let rows = scenario.rows(start, start + Span(CYCLE.0 * 2));
        let history = scenario.history().usage;
        let mut ordered: Vec<&UsageRow> = rows.usage.iter().collect();
        ordered.sort_by_key(|row| row.started_at);
        let mut found: BTreeMap<(Kind, String), (Time, Time)> = BTreeMap::new();
        for tick in 1..=CYCLE.0 * 2 / 5_000_000 {
            let now = start + Span::secs(tick * 5);
            let visible: Vec<&UsageRow> = ordered.iter().copied().filter(|row| row.visible_at() < now).collect();
            for key in broken(&visible, &history, now) {
                found.entry(key).or_insert((now, now)).1 = now;
            }
        }
        let incidents: Vec<_> = (0..2).flat_map(|n| incident::cycle(start, n)).collect();
        assert_eq!(found.len(), incidents.len(), "{found:?}");
        for incident in incidents {
            let whom = if incident.kind == Kind::CostJump { incident.org } else { incident.model.name };
            let (first, last) = found[&(incident.kind, whom.to_owned())];
            assert!(incident.begin < first && first < incident.end, "{whom}: begins to fire at {first}");
            assert!(last < incident.begin + CYCLE, "{whom}: still fires at {last}");
        }
        assert!(found[&(Kind::ErrorSpike, "gpt-4o".to_owned())].0 <= start + Span::secs(45));
    }
}
