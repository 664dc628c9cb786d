//! Every finished, committed row is counted exactly once, whatever the writers do and whenever modelwatch is killed.
//!
//! MODELWATCH_SEED repeats the choices of a run, MODELWATCH_KILLS changes how many there are.

use crate::daemon::{Daemon, SOON};
use crate::ground::Chance;
use crate::postgres::{CORA, Database, Postgres};
use crate::scrape::Scrape;
use crate::writers::{AUDIT, LATEST, Writers};
use sqlx::{AssertSqlSafe, PgConnection};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

type Totals = BTreeMap<Vec<String>, i64>;

const WRITERS: u32 = 10;

fn config(url: &str) -> String {
    assert!(LATEST < Duration::from_secs(60));
    format!(
        "listen: 127.0.0.1:0
state: modelwatch.db
external_url: http://localhost:9464
sources:
  - {{name: cora, url: '{url}', poll: 100ms, tables: [{{preset: cora_usage, lateness: 60s}}]}}
export: {{dimensions: [provider, model, operation, service]}}
route: {{receiver: oncall}}
receivers: [{{name: oncall, stdout_configs: [{{}}]}}]
"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn totals_equal_the_audit_table_after_many_kills() {
    let Some(postgres) = Postgres::shared().await else { return };
    let kills = std::env::var("MODELWATCH_KILLS").map_or(55, |text| text.parse().unwrap());
    let mut chance = Chance::announced();
    let database = postgres.database(&format!("{CORA}{AUDIT}")).await;
    let dir = tempfile::tempdir().unwrap();
    let writers = Writers::start(WRITERS, &database, &mut chance).await;
    let mut witness = Witness { highest: BTreeMap::new(), deleting: Deleting::default(), connection: database.connect().await };

    let mut daemon = Daemon::launch(&config(&database.url), dir.path());
    for life in 0..kills {
        // Some die while they start, some live long enough for rows to be deleted behind them.
        let longest = [150, 700, 1_200][life % 3] + if life % 12 == 11 { 3_000 } else { 0 };
        let end = Instant::now() + chance.millis(0, longest);
        witness.watch(&daemon, end).await;
        assert!(daemon.running(), "modelwatch ended by itself:\n{}", daemon.log());
        assert!(!daemon.log().contains("panicked"), "{}", daemon.log());
        daemon.kill9();
        daemon = Daemon::again(dir.path());
    }
    writers.finish(&database).await;
    daemon.ready().await;
    eprintln!("{} rows deleted, {} rows audited", witness.deleting.deleted, count(&database, "audit").await);
    let expected = Expected::read(&mut witness.connection).await;
    expected.reached(&daemon, &mut witness).await;

    // Nor is anything counted again later: not by further polls, and not by the next process.
    daemon.polls(3).await;
    expected.holds(&daemon.scrape().await).unwrap();
    daemon.terminate().await;
    let daemon = Daemon::again(dir.path());
    daemon.ready().await;
    daemon.polls(3).await;
    expected.holds(&daemon.scrape().await).unwrap();
    assert!(witness.deleting.deleted > 0, "no life was long enough for a deletion");
}

/// Sees that no counter goes back, and deletes rows that have surely been read.
struct Witness {
    highest: BTreeMap<String, f64>,
    deleting: Deleting,
    connection: PgConnection,
}

#[derive(Default)]
struct Deleting {
    /// Committed rows, and the number of polls that a scrape showed after they were seen.
    candidates: Option<(Vec<String>, f64)>,
    deleted: u64,
}

impl Witness {
    async fn watch(&mut self, daemon: &Daemon, end: Instant) {
        let mut ready = false;
        self.deleting.candidates = None;
        while Instant::now() < end {
            ready = ready || daemon.get("/-/ready", "").await.is_some_and(|(status, _, _)| status == 200);
            if let Some(scrape) = daemon.try_scrape().await {
                self.see(&scrape, ready);
                self.delete(daemon, &scrape).await;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    fn see(&mut self, scrape: &Scrape, ready: bool) {
        let counters = scrape.counters();
        for (series, highest) in &self.highest {
            match counters.get(series) {
                Some(value) => assert!(value >= highest, "{series} went back from {highest} to {value}"),
                None => assert!(!ready, "{series} is gone; it was {highest}"),
            }
        }
        self.highest.extend(counters);
    }

    /// Rows seen before a scrape with c polls were read by poll c + 2 at the latest: c + 1 may have begun before them.
    async fn delete(&mut self, daemon: &Daemon, scrape: &Scrape) {
        let polls = |scrape: &Scrape| scrape.sum("modelwatch_poll_duration_seconds_count", &[]);
        let Some(now) = polls(scrape) else { return };
        match self.deleting.candidates.take() {
            None => {
                let sql = "SELECT u.id::text FROM ai_log_usage u JOIN audit USING (id) WHERE random() < 0.1 LIMIT 200";
                let rows = sqlx::query_scalar(sql).fetch_all(&mut self.connection).await.unwrap();
                self.deleting.candidates = daemon.try_scrape().await.as_ref().and_then(polls).map(|polls| (rows, polls));
            }
            Some((rows, before)) if now >= before + 2.0 => {
                let deleted = sqlx::query("DELETE FROM ai_log_usage WHERE id::text = ANY($1)")
                    .bind(&rows)
                    .execute(&mut self.connection)
                    .await;
                self.deleting.deleted += deleted.unwrap().rows_affected();
            }
            waiting => self.deleting.candidates = waiting,
        }
    }
}

/// The audit table, by exported label set.
struct Expected {
    requests: Totals,
    tokens: Totals,
    micro_dollars: Totals,
    timed: Totals,
}

impl Expected {
    async fn read(connection: &mut PgConnection) -> Self {
        const BASE: [&str; 4] = ["provider", "model", "operation", "service"];
        let mut sums = async |further: &str, value: &str, from: &str| -> Totals {
            let sql = format!(
                "SELECT array[{}, {further}], ({value})::bigint FROM {from} GROUP BY 1 HAVING {value} <> 0",
                BASE.join(", ")
            );
            let rows: Vec<(Vec<String>, i64)> = sqlx::query_as(AssertSqlSafe(sql)).fetch_all(&mut *connection).await.unwrap();
            rows.into_iter().collect()
        };
        let tokens = "(SELECT *, 'input' AS kind, input AS n FROM audit UNION ALL SELECT *, 'output', output FROM audit
            UNION ALL SELECT *, 'unspecified', unspecified FROM audit) tokens";
        Self {
            requests: sums("outcome", "count(*)", "audit").await,
            tokens: sums("kind", "sum(n)", tokens).await,
            micro_dollars: sums("''", "sum(cost) * 1000000", "audit").await,
            timed: sums("''", "sum(timed)", "audit").await,
        }
    }

    fn holds(&self, scrape: &Scrape) -> Result<(), String> {
        let check = |name: &str, further: &str, factor: f64, expected: &Totals| {
            let found = scrape.by(name, &["provider", "model", "operation", "service", further]);
            let found: Totals = found.into_iter().map(|(key, value)| (key, (value * factor).round() as i64)).collect();
            let keys = expected.keys().chain(found.keys()).collect::<std::collections::BTreeSet<_>>();
            let wrong: Vec<String> = keys
                .into_iter()
                .filter(|key| expected.get(*key) != found.get(*key))
                .map(|key| format!("{name} {key:?}: audit {:?}, modelwatch {:?}", expected.get(key), found.get(key)))
                .collect();
            if wrong.is_empty() { Ok(()) } else { Err(wrong.join("\n")) }
        };
        check("ai_requests_total", "outcome", 1.0, &self.requests)?;
        check("ai_tokens_total", "token_type", 1.0, &self.tokens)?;
        check("ai_cost_usd_total", "", 1e6, &self.micro_dollars)?;
        check("ai_request_duration_seconds_count", "", 1.0, &self.timed)
    }

    async fn reached(&self, daemon: &Daemon, witness: &mut Witness) {
        let start = Instant::now();
        loop {
            let scrape = daemon.scrape().await;
            witness.see(&scrape, true);
            match self.holds(&scrape) {
                Ok(()) => return,
                Err(difference) => {
                    assert!(start.elapsed() < SOON, "totals differ from the audit table:\n{difference}\n{}", daemon.log())
                }
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

async fn count(database: &Database, table: &str) -> i64 {
    let sql = AssertSqlSafe(format!("SELECT count(*) FROM {table}"));
    sqlx::query_scalar(sql).fetch_one(&mut database.connect().await).await.unwrap()
}

/// The writers themselves: all that they do happens, and the audit table agrees with what is left of theirs.
#[tokio::test(flavor = "multi_thread")]
async fn the_audit_table_holds_every_finished_row() {
    let Some(postgres) = Postgres::shared().await else { return };
    let database = postgres.database(&format!("{CORA}{AUDIT}")).await;
    let writers = Writers::start(WRITERS, &database, &mut Chance::announced()).await;
    let rows = || async { (count(&database, "audit").await > 400).then_some(()) };
    crate::ground::until(SOON, "400 audited rows", rows).await;
    writers.finish(&database).await;
    assert_eq!(count(&database, "audit").await, count(&database, "ai_log_usage").await);
    assert_eq!(count(&database, "audit a JOIN ai_log_usage u USING (id) WHERE (a.outcome = 'success') <> u.success").await, 0);
    let late = "ai_log_usage WHERE started_at < completed_at - interval '40 s'";
    assert!(count(&database, late).await > 0, "none was dated back");
    let expected = Expected::read(&mut database.connect().await).await;
    assert_eq!(expected.requests.values().sum::<i64>(), count(&database, "audit").await);
    let difference = expected.holds(&Scrape::default()).unwrap_err();
    assert!(difference.contains("modelwatch None"), "{difference}");
}
