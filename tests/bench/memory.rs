//! Resident memory: idle, and with many series.

use std::time::Duration;

use anyhow::Result;

use crate::Scale;
use crate::metrics::{fill, label_sets_for};
use crate::postgres::{Cluster, TIME_INDEXES};
use crate::product::{Config, Daemon, sample_lines};
use crate::report::Report;

/// MiB with empty tables.
const AIM_IDLE: f64 = 30.0;
/// MiB with 10 k series.
const AIM_SERIES: f64 = 100.0;

/// Empty tables; 10 k sample lines, which is what Prometheus calls series; and 10 k label sets, which is far more.
pub fn run(scale: Scale) -> Result<Report> {
    let many = scale.of(10_000, 1_000);
    let cluster = Cluster::start()?;
    let mut report = Report::default();
    cluster.create("idle", TIME_INDEXES)?;
    judge(&mut report, &cluster, "idle", "idle, empty tables", Some(AIM_IDLE));
    let series = label_sets_for(&cluster, many).and_then(|label_sets| fill(&cluster, "series", label_sets));
    match series {
        Ok(()) => judge(&mut report, &cluster, "series", &format!("{many} series"), Some(AIM_SERIES)),
        Err(error) => report.missing(&format!("{many} series"), "", &error),
    }
    fill(&cluster, "label_sets", many)?;
    judge(&mut report, &cluster, "label_sets", &format!("{many} label sets, each of many series"), None);
    report
        .note("VmRSS 10 s after the first read and one GET of /metrics, the highest so far in brackets; with the rules of cora");
    Ok(report)
}

fn judge(report: &mut Report, cluster: &Cluster, database: &str, what: &str, aim: Option<f64>) {
    match measure(cluster, database) {
        Ok((lines, now, highest)) => {
            let what = format!("{what}: {lines} lines of /metrics");
            let figure = format!("{now:.1} MiB ({highest:.1})");
            match aim {
                Some(aim) => report.judge(&what, figure, "", &format!("{aim} MiB"), now < aim),
                None => report.add(&what, figure, ""),
            }
        }
        Err(error) => report.missing(what, "", &error),
    }
}

fn measure(cluster: &Cluster, database: &str) -> Result<(usize, f64, f64)> {
    let url = cluster.url(database);
    let daemon = Daemon::start(&Config::cora(&url), Duration::from_secs(120))?;
    let lines = sample_lines(&daemon.metrics()?);
    std::thread::sleep(Duration::from_secs(10));
    let (now, highest) = daemon.resident_mib()?;
    Ok((lines, now, highest))
}
