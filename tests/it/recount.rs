//! When alerts hold over a recorded trace: modelwatch against a brute-force recount in SQL, at every tick that matters.
//!
//! A rule is evaluated at instants t (whole multiples of its interval) over the events of (t - w, t], by started_at.

use crate::ground::Chance;
use crate::postgres::{self, Postgres};
use crate::traces::{Trace, find, in_both, once_at};
use sqlx::{AssertSqlSafe, PgConnection};
use std::collections::{BTreeMap, BTreeSet};

/// One rule of a kind that can be recounted.
#[derive(Clone, Copy)]
struct Rule {
    kind: Kind,
    n: i64,
    minutes: i64,
    by: By,
}

#[derive(Clone, Copy)]
enum Kind {
    /// More than `n` failures within the window.
    Spike,
    /// At least `n` failures since the last success, the last of them within the window.
    Streak,
}

#[derive(Clone, Copy)]
enum By {
    Model,
    ProviderAndModel,
}

/// Each call with the group that a rule puts it into.
const CALLS: &str =
    "CREATE TABLE calls AS SELECT u.*, model_id_used::text AS model, name || '/' || model_id_used AS provider_and_model
    FROM ai_log_usage u JOIN ai_providers p ON p.id = u.provider_id;
    CREATE INDEX ON calls (model, started_at); CREATE INDEX ON calls (provider_and_model, started_at); ANALYZE calls";

/// The group's condition begins or ceases to hold at a tick (`2023-12-19T00:01:15Z`).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Transition {
    tick: String,
    group: String,
    holds: bool,
}

impl Rule {
    fn column(self) -> &'static str {
        match self.by {
            By::Model => "model",
            By::ProviderAndModel => "provider_and_model",
        }
    }

    /// The number that is compared, for a group `g` at tick `t`, as SQL; null where the condition cannot hold.
    fn value(self) -> String {
        let (column, minutes) = (self.column(), self.minutes);
        match self.kind {
            Kind::Spike => format!(
                "(SELECT count(*) FROM calls u WHERE u.{column} = g AND NOT success AND started_at <= t
                  AND started_at > t - interval '{minutes} min')"
            ),
            // Where times are equal, failures come after successes.
            Kind::Streak => format!(
                "(SELECT CASE WHEN max(started_at) > t - interval '{minutes} min' THEN count(*) END FROM calls u
                  WHERE u.{column} = g AND NOT success AND started_at <= t AND started_at >= coalesce(
                    (SELECT max(started_at) FROM calls s WHERE s.{column} = g AND success AND started_at <= t), '-infinity'))"
            ),
        }
    }

    /// At each of the ticks (an SQL set of timestamps `t`), for each group `g`: the number, and whether the condition holds.
    fn asked(self, ticks: &str) -> String {
        let comparison = match self.kind {
            Kind::Spike => ">",
            Kind::Streak => ">=",
        };
        format!(
            "SELECT t, g, value, coalesce(value {comparison} {}, false) AS holds FROM (SELECT t, g, {} AS value
             FROM {ticks} CROSS JOIN (SELECT DISTINCT {} AS g FROM calls) groups) asked",
            self.n,
            self.value(),
            self.column()
        )
    }

    fn yaml(self, name: &str) -> String {
        let by = match self.by {
            By::Model => "[model]",
            By::ProviderAndModel => "[provider, model]",
        };
        let options = match self.kind {
            Kind::Spike => format!("error_spike: {{more_than: {}, within: {}m, by: {by}}}", self.n, self.minutes),
            Kind::Streak => format!("failure_streak: {{in_a_row: {}, within: {}m, by: {by}}}", self.n, self.minutes),
        };
        format!("      - alert: {name}\n        {options}\n")
    }

    /// Every change over the ticks `from`..=`to`, by asking at each of them anew.
    async fn transitions(self, connection: &mut PgConnection, from: &str, to: &str) -> Vec<Transition> {
        let ticks = format!("generate_series('{from}'::timestamp, '{to}'::timestamp, interval '15 s') t");
        let sql = format!(
            "SELECT to_char(t, 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"'), g, holds
             FROM (SELECT *, lag(holds, 1, false) OVER (PARTITION BY g ORDER BY t) AS before FROM ({}) asked) compared
             WHERE holds <> before ORDER BY t, g",
            self.asked(&ticks)
        );
        let rows: Vec<(String, String, bool)> = sqlx::query_as(AssertSqlSafe(sql)).fetch_all(connection).await.unwrap();
        rows.into_iter().map(|(tick, group, holds)| Transition { tick, group, holds }).collect()
    }

    /// The groups for which it holds at one instant, with the number.
    async fn holding(self, connection: &mut PgConnection, tick: &str) -> BTreeMap<String, f64> {
        let ticks = format!("(SELECT '{}'::timestamp AS t) ticks", tick.trim_end_matches('Z'));
        let sql = format!("SELECT g, value::float8 FROM ({}) held WHERE holds", self.asked(&ticks));
        let rows: Vec<(String, f64)> = sqlx::query_as(AssertSqlSafe(sql)).fetch_all(connection).await.unwrap();
        rows.into_iter().collect()
    }
}

/// The trace in a database of its own, for the recount.
async fn recounting(trace: &Trace) -> Option<PgConnection> {
    let mut connection = Postgres::shared().await?.database(postgres::CORA).await.connect().await;
    trace.load_postgres(&mut connection).await;
    postgres::execute(&mut connection, CALLS).await;
    Some(connection)
}

/// One line `ALERT {labels} value=V state=S` of `once`.
pub struct Alert {
    pub labels: BTreeMap<String, String>,
    pub value: f64,
    pub state: String,
}

pub fn alerts(stderr: &str) -> Vec<Alert> {
    let parse = |line: &str| {
        let (labels, rest) = line.strip_prefix("ALERT ")?.rsplit_once(" value=")?;
        let (value, state) = rest.split_once(" state=")?;
        Some(Alert { labels: serde_json::from_str(labels).ok()?, value: value.parse().ok()?, state: state.trim().to_owned() })
    };
    stderr
        .lines()
        .filter(|line| line.starts_with("ALERT "))
        .map(|line| parse(line).unwrap_or_else(|| panic!("unreadable: {line}")))
        .collect()
}

/// SEAM: how modelwatch is asked what held at a tick. Today one `once --at` for each; when `backtest` can print every change
/// over a span, take its list for `Rule::transitions` to be compared with as a whole.
fn observed(url: &str, rules: &str, tick: &str, dir: &std::path::Path) -> BTreeMap<String, BTreeMap<String, f64>> {
    let mut found: BTreeMap<String, BTreeMap<String, f64>> = BTreeMap::new();
    for alert in alerts(&once_at(url, rules, tick, dir).stderr) {
        if alert.state == "firing" {
            let group: Vec<&str> =
                ["provider", "model"].iter().filter_map(|name| alert.labels.get(*name).map(String::as_str)).collect();
            found.entry(alert.labels["alertname"].clone()).or_default().insert(group.join("/"), alert.value);
        }
    }
    found
}

fn file(interval: &str, rules: &[(String, Rule)]) -> String {
    let rules: String = rules.iter().map(|(name, rule)| rule.yaml(name)).collect();
    format!("groups:\n  - name: recount\n    interval: {interval}\n    rules:\n{rules}")
}

/// modelwatch and SQL agree at every tick given, on both databases, on what holds and on the number.
async fn agree_at(ticks: &BTreeSet<String>, interval: &str, rules: &[(String, Rule)]) {
    let Some(trace) = find("llmperf") else { return };
    let Some(mut connection) = recounting(&trace).await else { return };
    let dir = tempfile::tempdir().unwrap();
    for url in in_both(&trace, dir.path()).await {
        for tick in ticks {
            let found = observed(&url, &file(interval, rules), tick, dir.path());
            for (name, rule) in rules {
                let expected = rule.holding(&mut connection, tick).await;
                assert_eq!(found.get(name).cloned().unwrap_or_default(), expected, "{name} at {tick} in {url}");
            }
        }
    }
}

fn recounted() -> Vec<(String, Rule)> {
    let rule = |kind, n, minutes, by| Rule { kind, n, minutes, by };
    let rules = [
        rule(Kind::Spike, 10, 15, By::Model),
        rule(Kind::Spike, 100, 60, By::Model),
        rule(Kind::Spike, 1, 5, By::ProviderAndModel),
        rule(Kind::Streak, 1, 10, By::Model),
        rule(Kind::Streak, 5, 10, By::ProviderAndModel),
    ];
    rules.into_iter().enumerate().map(|(at, rule)| (format!("Rule{at}"), rule)).collect()
}

#[tokio::test]
async fn alerts_hold_when_a_recount_says_so() {
    let Some(trace) = find("llmperf") else { return };
    let Some(mut connection) = recounting(&trace).await else { return };
    let mut ticks = BTreeSet::new();
    for (_, rule) in recounted() {
        for change in rule.transitions(&mut connection, "2023-12-19T00:00:00", "2023-12-19T02:00:00").await {
            ticks.insert(tick_before(&mut connection, &change.tick).await);
            ticks.insert(change.tick);
        }
    }
    assert!(ticks.len() > 8, "{ticks:?}");
    // Each is a run of its own: as many as fit into a minute, the same ones each time.
    let mut chance = Chance::new(1);
    let mut chosen: Vec<String> = ticks.into_iter().collect();
    while chosen.len() > 40 {
        chosen.remove(chance.below(chosen.len() as u64) as usize);
    }
    agree_at(&chosen.into_iter().collect(), "15s", &recounted()).await;
}

async fn tick_before(connection: &mut PgConnection, tick: &str) -> String {
    let sql = "SELECT to_char($1::text::timestamp - interval '15 s', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"')";
    sqlx::query_scalar(sql).bind(tick.trim_end_matches('Z')).fetch_one(connection).await.unwrap()
}

/// At the whole second after each of the streaks that the truth lists, and at the end of the hour.
#[tokio::test]
async fn streaks_and_hours_have_the_lengths_that_a_recount_finds() {
    let Some(trace) = find("llmperf") else { return };
    let second_after = |time: &str| {
        let second: u32 = time[17..19].parse().unwrap();
        format!("{}{:02}Z", &time[..17], (second + 1).min(59))
    };
    let streaks = trace.truth["all_failure_streaks_ge3"]["rows"].as_array().unwrap();
    let ticks: BTreeSet<String> = streaks.iter().map(|row| second_after(row["last_started_at"].as_str().unwrap())).collect();
    agree_at(&ticks, "1s", &[("Streak".to_owned(), Rule { kind: Kind::Streak, n: 1, minutes: 60, by: By::Model })]).await;
    let hours = [5, 10, 20].map(|n| (format!("Hour{n}"), Rule { kind: Kind::Spike, n, minutes: 60, by: By::Model }));
    agree_at(&BTreeSet::from(["2023-12-19T01:00:00Z".to_owned()]), "15s", &hours).await;
}

/// The recount itself against the truth tables, so that a difference to modelwatch is modelwatch's.
#[tokio::test]
async fn the_recount_finds_what_the_truth_says() {
    const STREAKS: &str = "WITH ordered AS (SELECT model_id_used AS model, success, started_at,
            row_number() OVER (PARTITION BY model_id_used ORDER BY started_at, success DESC, completed_at, id)
            - row_number() OVER (PARTITION BY model_id_used, success ORDER BY started_at, completed_at, id) AS run FROM ai_log_usage)
        SELECT model::text, max(length) FROM (SELECT model, count(*) AS length FROM ordered WHERE NOT success GROUP BY model, run) runs GROUP BY model";
    const HOURS: &str =
        "SELECT model_id_used::text, count(*) FROM ai_log_usage WHERE NOT success GROUP BY 1, date_trunc('hour', started_at)";
    let Some(trace) = find("llmperf") else { return };
    let Some(mut connection) = recounting(&trace).await else { return };

    let found: Vec<(String, i64)> = sqlx::query_as(STREAKS).fetch_all(&mut connection).await.unwrap();
    let rows = trace.truth["longest_failure_streak_per_model"]["rows"].as_array().unwrap();
    let truth: BTreeMap<_, _> = rows
        .iter()
        .map(|row| (row["model"].as_str().unwrap().to_owned(), row["by_started_at"]["length"].as_i64().unwrap()))
        .collect();
    assert_eq!(found.into_iter().collect::<BTreeMap<_, _>>(), truth);

    let found: Vec<(String, i64)> = sqlx::query_as(HOURS).fetch_all(&mut connection).await.unwrap();
    for n in [5, 10, 20] {
        let rows = trace.truth["hours_with_more_than_n_failures"]["n"][n.to_string()]["per_model"].as_array().unwrap();
        let truth: BTreeMap<_, _> =
            rows.iter().map(|row| (row["model"].as_str().unwrap().to_owned(), row["failed"].as_i64().unwrap())).collect();
        assert_eq!(found.iter().filter(|row| row.1 > n).cloned().collect::<BTreeMap<_, _>>(), truth);
    }

    for (name, rule) in recounted() {
        let changes = rule.transitions(&mut connection, "2023-12-19T00:00:00", "2023-12-19T02:00:00").await;
        eprintln!("{name}: {} changes, {changes:?}", changes.len());
        let (begins, ends): (Vec<_>, Vec<_>) = changes.iter().partition(|change| change.holds);
        assert!(!begins.is_empty() && begins.len() == ends.len(), "{name}: {changes:?}");
        let during = rule.holding(&mut connection, &begins[0].tick).await;
        assert!(during.contains_key(&begins[0].group), "{name}: {during:?}");
    }
}

#[test]
fn alert_lines_are_read() {
    let found = alerts("reading cora\nALERT {\"alertname\":\"A\",\"model\":\"m} value=1\"} value=12.5 state=firing\n  13 > 12\n");
    assert_eq!((found[0].labels["model"].as_str(), found[0].value, found[0].state.as_str()), ("m} value=1", 12.5, "firing"));
}
