//! The cost of a poll at growing tables with the same traffic, against the query that a SQL exporter would run.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use crate::Scale;
use crate::postgres::{Cluster, ERRORS_OF_USAGE, SETTLE, TIME_INDEXES, Usage, cpu_seconds, execute, spread_over};
use crate::product::{Config, Daemon, sum_of};
use crate::report::{Report, median, seconds};

/// Rows a second while it is measured, and over the default lateness before.
const RATE: u64 = 20;
/// The default lateness: what every poll looks back over.
const LATENESS_SECONDS: u64 = 15 * 60;
/// A poll takes at most this long...
const AIM_SECONDS: f64 = 0.010;
/// ... and the dearest at most this many times the cheapest.
const AIM_SPREAD: f64 = 1.2;

const EXPORTER_QUERY: &str = "SELECT provider_id, model_id_used, success, count(*), sum(total_tokens), sum(estimated_cost_usd)
    FROM ai_log_usage GROUP BY 1, 2, 3";

/// What a poll cost at one size.
struct Cost {
    median_seconds: f64,
    mean_seconds: f64,
    /// None where the backends changed meanwhile.
    server_cpu_seconds: Option<f64>,
    polls: f64,
}

/// One size after the other, each in its own database.
pub fn run(scale: Scale) -> Result<Report> {
    let sizes = scale.of([100_000u64, 1_000_000, 10_000_000], [20_000, 30_000, 40_000]);
    let window = Duration::from_secs(scale.of(40, 5));
    let cluster = Cluster::start()?;
    let mut report = Report::default();
    let (mut walls, mut cpus) = (Vec::new(), Vec::new());
    for rows in sizes {
        let database = format!("poll_{rows}");
        build(&cluster, &database, rows)?;
        let exporter = median((0..3).map(|_| cluster.time(&database, EXPORTER_QUERY)).collect::<Result<_>>()?);
        let limit = format!("{} exporter's query", seconds(exporter));
        let what = format!("poll, {rows} rows");
        match measure(&cluster, &database, window) {
            Ok(cost) => {
                walls.push(cost.median_seconds);
                cpus.extend(cost.server_cpu_seconds);
                let figure = format!("{} (mean {})", seconds(cost.median_seconds), seconds(cost.mean_seconds));
                report.judge(&what, figure, limit, "10 ms", cost.median_seconds < AIM_SECONDS);
                let cpu = cost.server_cpu_seconds.map_or("its backends changed".to_owned(), seconds);
                report.add(&format!("server CPU of a poll, {rows} rows"), cpu, format!("{} polls", cost.polls));
            }
            Err(error) => report.missing(&what, limit, &error),
        }
        cluster.remove(&database)?;
    }
    for (what, figures) in [("wall of the dearest poll / the cheapest", walls), ("the same of server CPU", cpus)] {
        if figures.len() == sizes.len() {
            let (low, high) = figures.iter().fold((f64::MAX, 0.0f64), |(low, high), x| (low.min(*x), high.max(*x)));
            report.judge(what, format!("{:.2}", high / low), "1", &format!("{AIM_SPREAD}"), high / low <= AIM_SPREAD);
        }
    }
    report.note(format!(
        "{RATE} rows/s, each its own transaction, for {} s; {} rows within the lateness; poll: 1s; indexes on id and time only",
        window.as_secs(),
        RATE * LATENESS_SECONDS
    ));
    Ok(report)
}

/// A table of `rows` rows, the last 15 minutes of it as dense as the traffic to come.
fn build(cluster: &Cluster, database: &str, rows: u64) -> Result<()> {
    let began = Instant::now();
    cluster.create(database, "")?;
    let recent = RATE * LATENESS_SECONDS;
    let old = rows - recent;
    cluster.load(database, &Usage::at(&spread_over(30, 15, old), old))?;
    cluster.psql(database, ERRORS_OF_USAGE)?;
    cluster.psql(database, TIME_INDEXES)?;
    SETTLE.iter().try_for_each(|sql| cluster.psql(database, sql).map(drop))?;
    // Last, so that they are recent when the program starts.
    let even = format!("now()::timestamp - ({recent} - g) * (interval '{LATENESS_SECONDS} s' / {recent})");
    cluster.psql(database, &Usage { seed: old, ..Usage::at(&even, recent) }.sql())?;
    eprintln!("  {rows} rows built in {:.0} s", began.elapsed().as_secs_f64());
    Ok(())
}

/// Runs the program over the traffic.
fn measure(cluster: &Cluster, database: &str, window: Duration) -> Result<Cost> {
    let url = cluster.url(database);
    let daemon = Daemon::start(&Config { poll: Some("1s"), ..Config::cora(&url) }, Duration::from_secs(300))?;
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| write_rows(cluster, database, &stop));
        std::thread::sleep(Duration::from_secs(3));
        let cost = watch(cluster, database, &daemon, window);
        stop.store(true, Ordering::Relaxed);
        let written = writer.join().map_err(|_| anyhow::anyhow!("the writer panicked"))?;
        ensure!(written? > 0, "nothing was written");
        cost
    })
}

/// Inserts rows at the rate until it is told to stop; how many there were.
fn write_rows(cluster: &Cluster, database: &str, stop: &AtomicBool) -> Result<u64> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut connection = cluster.connect(database).await?;
        let began = Instant::now();
        let mut written = 0;
        while !stop.load(Ordering::Relaxed) {
            let row = Usage { seed: written, ..Usage::at("clock_timestamp()::timestamp", 1) };
            execute(&mut connection, row.sql()).await?;
            written += 1;
            let due = Duration::from_micros(written * 1_000_000 / RATE);
            tokio::time::sleep(due.saturating_sub(began.elapsed())).await;
        }
        Ok(written)
    })
}

/// Looks at the program's histogram of polls each second, and at the server's CPU before and after.
fn watch(cluster: &Cluster, database: &str, daemon: &Daemon, window: Duration) -> Result<Cost> {
    let polls = || -> Result<(f64, f64)> {
        let metrics = daemon.metrics()?;
        let of = |part| sum_of(&metrics, &format!("modelwatch_poll_duration_seconds_{part}"));
        Ok((of("sum"), of("count")))
    };
    let cpu = || -> Result<BTreeMap<u32, f64>> {
        cluster.backends(database)?.into_iter().map(|pid| Ok((pid, cpu_seconds(pid)?))).collect()
    };
    let (began, cpu_before) = (Instant::now(), cpu()?);
    let first = polls()?;
    let (mut last, mut walls) = (first, Vec::new());
    while began.elapsed() < window {
        std::thread::sleep(Duration::from_secs(1));
        let next = polls()?;
        if next.1 > last.1 {
            walls.push((next.0 - last.0) / (next.1 - last.1));
        }
        last = next;
    }
    let cpu_after = cpu()?;
    let polls = last.1 - first.1;
    ensure!(polls > 0.0, "modelwatch_poll_duration_seconds did not move: {}", daemon.log());
    let same = !cpu_before.is_empty() && cpu_before.keys().eq(cpu_after.keys());
    let used = cpu_after.values().sum::<f64>() - cpu_before.values().sum::<f64>();
    Ok(Cost {
        median_seconds: median(walls),
        mean_seconds: (last.0 - first.0) / polls,
        server_cpu_seconds: same.then_some(used / polls),
        polls,
    })
}
