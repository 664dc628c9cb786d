//! A backtest of 20 rules over 30 days, against the first read of the same rows.

use std::fmt::Write;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::Scale;
use crate::postgres::{Cluster, ERRORS_OF_USAGE, SETTLE, TIME_INDEXES, Usage, spread_over};
use crate::product::{Config, backtest, once, sum_of};
use crate::report::{Report, median, seconds};

/// At most this many times as long as the first read.
const AIM: f64 = 1.5;

/// Twenty rules of several kinds by model: some never fire, some now and then, one nearly always.
fn rules() -> Result<String> {
    let windows = [("5m", 8), ("15m", 15), ("30m", 25), ("1h", 40), ("2h", 70), ("6h", 180), ("12h", 330), ("24h", 620)];
    let spikes = windows.iter().map(|(within, n)| format!("error_spike: {{more_than: {n}, within: {within}, by: [model]}}"));
    let many =
        windows[..4].iter().map(|(within, n)| format!("failure_streak: {{more_than: {n}, within: {within}, by: [model]}}"));
    let rows = [(2, "5m"), (3, "15m"), (4, "1h"), (5, "1h")];
    let rows = rows.iter().map(|(n, within)| format!("failure_streak: {{in_a_row: {n}, within: {within}, by: [model]}}"));
    let costs = ["window: 24h, days: 14, of: mean", "window: 6h, days: 7, of: median", "window: 1h, days: 7, of: mean"];
    let costs = costs.iter().map(|options| format!("cost_anomaly: {{factor: 1.5, {options}, by: [model]}}"));
    let always = ["error_spike: {more_than: 1, within: 1h, by: [model]}".to_owned()];
    let mut text = "groups:\n  - name: bench\n    interval: 1m\n    rules:\n".to_owned();
    for (i, kind) in spikes.chain(many).chain(rows).chain(costs).chain(always).enumerate() {
        writeln!(
            text,
            "      - {{alert: Rule{i}, {kind}, annotations: {{summary: '{{{{ $labels.model }}}}: {{{{ $evidence }}}}'}}}}"
        )?;
    }
    Ok(text)
}

/// Builds the table, then alternates the two.
pub fn run(scale: Scale) -> Result<Report> {
    let (rows, runs) = (scale.of(10_000_000, 20_000), scale.of(3, 1));
    let cluster = Cluster::start()?;
    cluster.create("backtest", "")?;
    cluster.load("backtest", &Usage::at(&spread_over(30, 1, rows), rows))?;
    cluster.psql("backtest", ERRORS_OF_USAGE)?;
    cluster.psql("backtest", TIME_INDEXES)?;
    SETTLE.iter().try_for_each(|sql| cluster.psql("backtest", sql).map(drop))?;
    let (directory, url, rules) = (tempfile::tempdir()?, cluster.url("backtest"), rules()?);
    let config = Config { rules: Some(&rules), ..Config::cora(&url) }.write(directory.path(), 0)?;
    let first = once(&config, None, true)?;
    let counted = sum_of(&first.metrics, "ai_requests_total");
    ensure!(counted == rows as f64, "{counted} of {rows} rows were counted");
    let fired = fired(&config)?;
    let (mut read, mut replayed) = (Vec::new(), Vec::new());
    for _ in 0..runs {
        read.push(once(&config, None, false)?.seconds);
        replayed.push(backtest(&config, "30d")?.seconds);
    }
    let (limit, figure) = (median(read), median(replayed));
    let mut report = Report::default();
    let what = format!("backtest --since 30d, {rows} rows, 20 rules each minute");
    let ratio = figure / limit;
    let limit = format!("{} first read", seconds(limit));
    report.judge(&what, format!("{} = {ratio:.2} x", seconds(figure)), limit, &format!("{AIM} x"), ratio <= AIM);
    report.note(format!(
        "medians of {runs} alternating runs after one of each; `once` with the same rules is the first read; {fired} alerts fired"
    ));
    Ok(report)
}

/// How many alerts fire; each rule was evaluated.
fn fired(config: &Path) -> Result<usize> {
    let said: Value = serde_json::from_str(&backtest(config, "30d")?.metrics)?;
    ensure!(said["rules"].as_array().is_some_and(|rules| rules.len() == 20), "not all rules were replayed");
    said["incidents"].as_array().map(Vec::len).context("there are no incidents")
}
