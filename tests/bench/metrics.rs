//! GET /metrics at growing numbers of lines, against a server that only sends the same bytes.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, ensure};

use crate::Scale;
use crate::http::{Client, serve_bytes};
use crate::postgres::{Cluster, TIME_INDEXES, Usage};
use crate::product::{Config, Daemon, once, sample_lines};
use crate::report::{Report, median, seconds};

/// Requests of which the median is taken.
const REQUESTS: usize = 50;
/// Label sets of the two runs that tell how many lines one makes.
const CALIBRATION: [u64; 2] = [100, 200];

/// Each size in its own database.
pub fn run(scale: Scale) -> Result<Report> {
    let cluster = Cluster::start()?;
    let mut report = Report::default();
    let sizes = scale.of([(10_000u64, 0.002), (100_000, 0.020)], [(2_000, 0.002), (4_000, 0.020)]);
    let calibrated = calibrate(&cluster);
    for (lines, aim_seconds) in sizes {
        let what = format!("GET /metrics, {lines} lines");
        let outcome = match &calibrated {
            Ok(per_set) => measure(&cluster, lines, *per_set),
            Err(error) => Err(anyhow::anyhow!("{error:#}")),
        };
        match outcome {
            Ok((seen, bytes, product, limit)) => {
                let what = format!("GET /metrics, {seen} lines, {:.1} MB", bytes as f64 / 1e6);
                report.judge(
                    &what,
                    seconds(product),
                    format!("{} same bytes", seconds(limit)),
                    &seconds(aim_seconds),
                    product < aim_seconds,
                );
            }
            Err(error) => {
                let limit = same_bytes(made_up(lines))?;
                report.missing(&what, format!("{} bytes alone", seconds(limit)), &error);
            }
        }
    }
    report.note(format!("medians of {REQUESTS} on one connection over the loopback; text, no gzip"));
    Ok(report)
}

/// A table whose rows make `label_sets` different exported label sets.
pub fn fill(cluster: &Cluster, database: &str, label_sets: u64) -> Result<()> {
    cluster.create(database, TIME_INDEXES)?;
    let rows = Usage { model: "'model-' || g", ..Usage::at("now()::timestamp - interval '1 min'", label_sets) }.sql();
    cluster.psql(database, &rows)?;
    Ok(())
}

/// Sample lines before any label set, and for each.
fn calibrate(cluster: &Cluster) -> Result<(f64, f64)> {
    let mut lines = [0.0; 2];
    for (label_sets, lines) in CALIBRATION.into_iter().zip(&mut lines) {
        let database = format!("calibrate_{label_sets}");
        fill(cluster, &database, label_sets)?;
        let directory = tempfile::tempdir()?;
        let config = Config { rules: None, ..Config::cora(&cluster.url(&database)) }.write(directory.path(), 0)?;
        *lines = sample_lines(&once(&config, None, true)?.metrics) as f64;
    }
    let per_set = (lines[1] - lines[0]) / (CALIBRATION[1] - CALIBRATION[0]) as f64;
    ensure!(per_set >= 1.0, "{} label sets make {} lines, {} make {}", CALIBRATION[0], lines[0], CALIBRATION[1], lines[1]);
    Ok((lines[0] - per_set * CALIBRATION[0] as f64, per_set))
}

/// Label sets for so many lines; also for the benchmark of memory.
pub fn label_sets_for(cluster: &Cluster, lines: u64) -> Result<u64> {
    let (base, per_set) = calibrate(cluster)?;
    Ok(((lines as f64 - base) / per_set).ceil().max(1.0) as u64)
}

/// Lines and bytes that were there, and the medians of the program and of the limit.
fn measure(cluster: &Cluster, lines: u64, (base, per_set): (f64, f64)) -> Result<(usize, usize, f64, f64)> {
    let label_sets = ((lines as f64 - base) / per_set).ceil().max(1.0) as u64;
    let database = format!("metrics_{lines}");
    fill(cluster, &database, label_sets)?;
    let url = cluster.url(&database);
    let config = Config { rules: None, max_series: Some(1_000_000), ..Config::cora(&url) };
    let daemon = Daemon::start(&config, Duration::from_secs(120))?;
    let text = daemon.metrics()?;
    let seen = sample_lines(&text);
    ensure!(seen as f64 > 0.9 * lines as f64, "only {seen} lines of {lines}");
    let product = median_get(&daemon.address)?;
    let limit = same_bytes(text.into_bytes())?;
    Ok((seen, daemon.metrics()?.len(), product, limit))
}

fn median_get(address: &str) -> Result<f64> {
    let mut client = Client::connect(address)?;
    let mut figures = Vec::new();
    for _ in 0..REQUESTS {
        let answer = client.get("/metrics")?;
        ensure!(answer.status == 200, "/metrics answers {}", answer.status);
        figures.push(answer.seconds);
    }
    Ok(median(figures))
}

fn same_bytes(body: Vec<u8>) -> Result<f64> {
    median_get(&serve_bytes(Arc::new(body))?)
}

/// Text of the usual length of a line, for the limit alone.
fn made_up(lines: u64) -> Vec<u8> {
    let labels =
        "source=\"cora\",table=\"cora_usage\",provider=\"provider-3\",model=\"model-12345\",operation=\"text_generation\"";
    format!("ai_requests_total{{{labels},service=\"chat-stream\",outcome=\"success\"}} 12345\n")
        .repeat(lines as usize)
        .into_bytes()
}
