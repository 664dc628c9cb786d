//! `cost_anomaly` over made-up rows with known answers: the last 24 hours against the same 24 hours of days before.

use crate::daemon::once;
use crate::recount::alerts;
use crate::sqlite;
use sqlx::Connection;

const NOW: &str = "2026-03-10 12:00:00";

/// The value that the alert shows, or `None` where it does not fire. `days[k]` is the cost of the 24 hours that ended
/// k days ago (0: those that end now); `None` is a day without a row.
async fn fires(options: &str, days: &[Option<f64>]) -> Option<f64> {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("calls.db");
    let mut connection = sqlite::open(&file).await;
    sqlite::execute(&mut connection, "CREATE TABLE calls (id integer PRIMARY KEY, at text, ok boolean, cost real)").await;
    for (day, cost) in days.iter().enumerate() {
        // A minute after the window's beginning, and a row without a cost beside it.
        let at = format!("strftime('%Y-%m-%d %H:%M:%f', '{NOW}', '-{} days', '+1 minute')", day + 1);
        if let Some(cost) = cost {
            let insert = format!("INSERT INTO calls (at, ok, cost) VALUES ({at}, 1, {cost}), ({at}, 1, NULL)");
            sqlite::execute(&mut connection, &insert).await;
        }
    }
    connection.close().await.unwrap();
    let config = format!(
        "listen: 127.0.0.1:0
state: modelwatch.db
external_url: http://localhost:9464
rule_files: [rules.yml]
sources:
  - {{name: calls, url: '{}', tables: [{{name: calls, kind: usage, from: calls, id: id, time: at, success: ok, cost_usd: cost, history: 30d}}]}}
route: {{receiver: oncall}}
receivers: [{{name: oncall, stdout_configs: [{{}}]}}]
",
        sqlite::url(&file)
    );
    let rules = format!("groups: [{{name: cost, interval: 1m, rules: [{{alert: Cost, cost_anomaly: {{{options}}}}}]}}]\n");
    std::fs::write(dir.path().join("rules.yml"), rules).unwrap();
    let output = once(&config, dir.path(), &["--at", &NOW.replace(' ', "T").replace(":00:00", ":00:00Z")]);
    assert_eq!(output.code, Some(0), "{}", output.stderr);
    alerts(&output.stderr).into_iter().find(|alert| alert.labels["alertname"] == "Cost").map(|alert| alert.value)
}

/// What is shown, the rule's options, the days, and the value with which it fires.
type Case = (&'static str, &'static str, Vec<Option<f64>>, Option<f64>);

#[tokio::test]
async fn the_last_day_is_compared_with_the_days_before() {
    const MEAN: &str = "factor: 2, of: mean, window: 24h, days: 14, min_days: 3, min_cost: 1";
    let ten = Some(10.0);
    let cases: [Case; 9] = [
        ("just twice the mean is not more", MEAN, vec![Some(20.0), ten, ten, ten, ten], None),
        ("more than twice", MEAN, vec![Some(20.5), ten, ten, ten, ten], Some(20.5)),
        ("two days are too few", MEAN, vec![Some(99.0), ten, ten], None),
        ("three are enough", MEAN, vec![Some(99.0), ten, ten, ten], Some(99.0)),
        // (10 + 0 + 10 + 10) / 4 = 7.5; days before the first row would make it 30 / 14.
        ("an empty day after the first row counts 0", MEAN, vec![Some(15.5), ten, None, ten, ten], Some(15.5)),
        ("days before the first row do not count", MEAN, vec![Some(14.5), ten, None, ten, ten], None),
        ("below min_cost it is quiet", MEAN, vec![Some(0.9), Some(0.1), Some(0.1), Some(0.1)], None),
        ("one dear day moves the mean", MEAN, vec![Some(25.0), ten, ten, Some(100.0), ten], None),
        (
            "and not the median",
            "factor: 2, of: median, min_days: 3, min_cost: 1",
            vec![Some(25.0), ten, ten, Some(100.0), ten],
            Some(25.0),
        ),
    ];
    for (what, options, days, expected) in cases {
        assert_eq!(fires(options, &days).await, expected, "{what}");
    }
}
