//! First read: all rows of 30 days into totals and windows, against psql's COPY of the same columns.

use anyhow::{Result, ensure};

use crate::Scale;
use crate::postgres::{ALL_INDEXES, Cluster, ERRORS_OF_USAGE, SETTLE, Usage, spread_over};
use crate::product::{Config, once, sum_of};
use crate::report::{Report, median, seconds};

/// The columns of ai_log_usage that the preset cora_usage reads.
const COLUMNS: &str = "id, started_at, completed_at, provider_id, model_id_used, request_source, operation_type, org_id, \
    prompt_tokens, completion_tokens, total_tokens, latency_ms, success, estimated_cost_usd";
/// At most this many times as long as COPY.
const AIM: f64 = 1.3;

/// Builds the table, then alternates the program and psql.
pub fn run(scale: Scale) -> Result<Report> {
    let (rows, runs) = (scale.of(2_000_000, 20_000), scale.of(5, 2));
    let cluster = Cluster::start()?;
    cluster.create("first_read", "")?;
    cluster.load("first_read", &Usage::at(&spread_over(30, 1, rows), rows))?;
    cluster.psql("first_read", ERRORS_OF_USAGE)?;
    cluster.psql("first_read", ALL_INDEXES)?;
    SETTLE.iter().try_for_each(|sql| cluster.psql("first_read", sql).map(drop))?;

    let directory = tempfile::tempdir()?;
    let url = cluster.url("first_read");
    let config = Config::cora(&url).write(directory.path(), 0)?;
    let state = directory.path().join("once.db");
    let copy = format!("COPY (SELECT {COLUMNS} FROM ai_log_usage) TO STDOUT");
    let mut report = Report::default();
    // The warm-up is also the proof that all rows were counted.
    cluster.time("first_read", &copy)?;
    let ready = once(&config, None, true).and_then(|warm| {
        let counted = sum_of(&warm.metrics, "ai_requests_total");
        ensure!(counted == rows as f64, "{counted} of {rows} rows were counted");
        Ok(())
    });
    let (mut copied, mut read, mut stored) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..runs {
        copied.push(cluster.time("first_read", &copy)?);
        if ready.is_ok() {
            read.push(once(&config, None, false)?.seconds);
            for suffix in ["", "-wal", "-shm"] {
                let _ = std::fs::remove_file(directory.path().join(format!("once.db{suffix}")));
            }
            stored.push(once(&config, Some(&state), false)?.seconds);
        }
    }
    let limit = median(copied);
    let what = format!("once, {rows} usage rows and their errors");
    let limit_text = format!("{} psql copy", seconds(limit));
    if let Err(error) = ready {
        report.missing(&what, limit_text, &error);
        return Ok(report);
    }
    for (what, figures) in [(what.clone(), read), (format!("{what}, with --state"), stored)] {
        let figure = median(figures);
        let ratio = figure / limit;
        let aim = format!("{AIM} x");
        report.judge(&what, format!("{} = {ratio:.2} x", seconds(figure)), &limit_text, &aim, ratio <= AIM);
    }
    report.note(format!(
        "medians of {runs} alternating runs after one of each; all indexes of cora; both over TCP on the loopback"
    ));
    Ok(report)
}
