//! From the commit of a failed call's row to the webhook's receipt.

use std::time::{Duration, Instant};

use anyhow::Result;

use crate::Scale;
use crate::http::Hook;
use crate::postgres::{ALL_INDEXES, Cluster, Usage, execute};
use crate::product::{Config, Daemon};
use crate::report::{Report, median, seconds};

/// Any failure of a model fires; each trial is a new model, so a new alert.
const RULES: &str = "\
groups:
  - name: latency
    rules:
      - alert: AnyFailure
        error_spike: {more_than: 0, within: 1h, by: [model]}
";

/// Settings, what they make of a poll, and the median aimed at.
const SETTINGS: [(&str, Option<&str>, f64, f64); 2] =
    [("default settings", None, 5.0, 3.0), ("poll: 200ms", Some("200ms"), 0.2, 0.3)];

/// Both settings, one after the other, over a table with some traffic in it.
pub fn run(scale: Scale) -> Result<Report> {
    let trials = scale.of(15, 3);
    let cluster = Cluster::start()?;
    let mut report = Report::default();
    for (place, (what, poll, poll_seconds, aim)) in SETTINGS.into_iter().enumerate() {
        let database = format!("latency_{place}");
        cluster.create(&database, ALL_INDEXES)?;
        // Successes only: nothing fires before the first trial.
        let times = "now()::timestamp - interval '14 min' - g * interval '1 s'";
        let past = Usage { success: "true", ..Usage::at(times, 10_000) }.sql();
        cluster.psql(&database, &past)?;
        let what = format!("commit to webhook, {what}");
        match measure(&cluster, &database, poll, poll_seconds, trials) {
            Ok(figures) => {
                let (fastest, slowest) = figures.iter().fold((f64::MAX, 0.0f64), |(low, high), x| (low.min(*x), high.max(*x)));
                let figure = median(figures);
                let text = format!("{} ({} to {})", seconds(figure), seconds(fastest), seconds(slowest));
                report.judge(&what, text, format!("{} half a poll", seconds(poll_seconds / 2.0)), &seconds(aim), figure < aim);
            }
            Err(error) => report.missing(&what, format!("{} half a poll", seconds(poll_seconds / 2.0)), &error),
        }
    }
    report.note(format!("medians of {trials} trials at different phases of the poll, fastest and slowest in brackets"));
    Ok(report)
}

fn measure(cluster: &Cluster, database: &str, poll: Option<&str>, poll_seconds: f64, trials: u32) -> Result<Vec<f64>> {
    let hook = Hook::start()?;
    let url = cluster.url(database);
    let config = Config { poll, rules: Some(RULES), webhook: Some(&hook.url), ..Config::cora(&url) };
    let _daemon = Daemon::start(&config, Duration::from_secs(60))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut connection = runtime.block_on(cluster.connect(database))?;
    let mut figures = Vec::new();
    for trial in 0..trials {
        // Multiples of the golden ratio spread evenly over the phases of a poll, however many there are.
        let phase = (f64::from(trial) * 0.618_034).fract() * poll_seconds;
        std::thread::sleep(Duration::from_secs_f64(0.3 + phase));
        let (model, quoted) = (format!("trial-{trial}-"), format!("'trial-{trial}-'"));
        let row = Usage { model: &quoted, success: "false", ..Usage::at("clock_timestamp()::timestamp", 1) };
        runtime.block_on(execute(&mut connection, row.sql()))?;
        let committed = Instant::now();
        let received = hook.wait_for(&model, Duration::from_secs(60))?;
        figures.push(received.saturating_duration_since(committed).as_secs_f64());
    }
    Ok(figures)
}
