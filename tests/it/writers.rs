//! Concurrent writers of the cora usage table that do everything a busy product does to one: long transactions, rollbacks,
//! savepoints, rows finished long after they began, rows dated back, providers that appear while we look.

use crate::ground::Chance;
use crate::postgres::{Database, execute};
use sqlx::{AssertSqlSafe, PgConnection};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::task::JoinHandle;

/// Fills the table `audit` with every finished row as it is committed.
pub const AUDIT: &str = include_str!("audit.sql");

/// A row is visible at the latest this long after the time it carries; less than the config's lateness.
pub const LATEST: Duration = Duration::from_secs(50);

const LONGEST_TRANSACTION: Duration = Duration::from_secs(8);

pub struct Writers {
    shared: Arc<Shared>,
    tasks: Vec<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    stop: AtomicBool,
    /// Ids of committed rows that are not finished.
    open: Mutex<Vec<String>>,
    providers: AtomicU32,
}

struct Writer {
    chance: Chance,
    connection: PgConnection,
    shared: Arc<Shared>,
}

impl Writers {
    pub async fn start(number: u32, database: &Database, chance: &mut Chance) -> Self {
        let shared = Arc::<Shared>::default();
        let mut tasks = Vec::new();
        for _ in 0..number {
            let connection = database.connect().await;
            let mut writer = Writer { chance: Chance::new(chance.next()), connection, shared: Arc::clone(&shared) };
            tasks.push(tokio::spawn(async move {
                while !writer.shared.stop.load(Ordering::Relaxed) {
                    writer.act().await;
                    let pause = writer.chance.millis(1, 20);
                    writer.pause(pause).await;
                }
            }));
        }
        Self { shared, tasks }
    }

    /// Ends all of them and finishes every row that is still open.
    pub async fn finish(self, database: &Database) {
        self.shared.stop.store(true, Ordering::Relaxed);
        for task in self.tasks {
            task.await.unwrap();
        }
        let finish = "UPDATE ai_log_usage SET completed_at = clock_timestamp() AT TIME ZONE 'UTC', success = true WHERE completed_at IS NULL";
        execute(&mut database.connect().await, finish).await;
    }
}

impl Writer {
    async fn act(&mut self) {
        match self.chance.below(100) {
            0..40 => {
                let furthest = if self.chance.percent(30) { LATEST.as_millis() as u64 } else { 100 };
                let back = self.chance.millis(0, furthest);
                self.insert(true, back).await;
            }
            40..55 => {
                let id = self.insert(false, Duration::ZERO).await;
                self.shared.open.lock().unwrap().push(id);
            }
            55..75 => self.finish_one().await,
            75..90 => self.transaction().await,
            90..97 => self.savepoints().await,
            _ => self.new_provider().await,
        }
    }

    /// Several rows with pauses between; most of them are committed.
    async fn transaction(&mut self) {
        let longest = if self.chance.percent(8) { LONGEST_TRANSACTION.as_millis() as u64 } else { 250 };
        let span = self.chance.millis(10, longest);
        let back = self.chance.millis(0, (LATEST - LONGEST_TRANSACTION).as_millis() as u64);
        execute(&mut self.connection, "BEGIN").await;
        let mut opened = Vec::new();
        let rows = 1 + self.chance.below(6) as u32;
        for _ in 0..rows {
            let finished = self.chance.percent(80);
            let id = self.insert(finished, back).await;
            if !finished {
                opened.push(id);
            }
            self.pause(span / rows).await;
        }
        if self.chance.percent(25) {
            execute(&mut self.connection, "ROLLBACK").await;
        } else {
            execute(&mut self.connection, "COMMIT").await;
            self.shared.open.lock().unwrap().append(&mut opened);
        }
    }

    /// Rows of subtransactions have ids of their own, some of which never commit.
    async fn savepoints(&mut self) {
        execute(&mut self.connection, "BEGIN").await;
        self.insert(true, Duration::ZERO).await;
        for _ in 0..1 + self.chance.below(3) {
            execute(&mut self.connection, "SAVEPOINT s").await;
            let back = self.chance.millis(0, 20_000);
            self.insert(true, back).await;
            let pause = self.chance.millis(0, 300);
            self.pause(pause).await;
            let end = if self.chance.percent(40) { "ROLLBACK TO SAVEPOINT s" } else { "RELEASE SAVEPOINT s" };
            execute(&mut self.connection, end).await;
        }
        let end = if self.chance.percent(20) { "ROLLBACK" } else { "COMMIT" };
        execute(&mut self.connection, end).await;
    }

    /// One of the open rows ends, well or not; sometimes that is rolled back, and it stays open.
    async fn finish_one(&mut self) {
        let id = {
            let mut open = self.shared.open.lock().unwrap();
            if open.is_empty() {
                return;
            }
            let at = self.chance.below(open.len() as u64) as usize;
            open.swap_remove(at)
        };
        let (success, latency, output) = (self.chance.percent(80), self.chance.below(90_000), self.chance.below(900));
        let finish = format!(
            "UPDATE ai_log_usage SET completed_at = clock_timestamp() AT TIME ZONE 'UTC', success = {success}, latency_ms = {latency},
             completion_tokens = {output}, total_tokens = {output} + 3, estimated_cost_usd = {latency} / 1000000.0 WHERE id = '{id}'"
        );
        execute(&mut self.connection, "BEGIN").await;
        execute(&mut self.connection, &finish).await;
        let pause = self.chance.millis(0, 200);
        self.pause(pause).await;
        if self.chance.percent(20) {
            execute(&mut self.connection, "ROLLBACK").await;
            self.shared.open.lock().unwrap().push(id);
        } else {
            execute(&mut self.connection, "COMMIT").await;
        }
    }

    /// A provider and its first row become visible together.
    async fn new_provider(&mut self) {
        let number = self.shared.providers.fetch_add(1, Ordering::Relaxed);
        if number >= 5 {
            return;
        }
        execute(&mut self.connection, &format!("BEGIN; INSERT INTO ai_providers (name) VALUES ('provider{number}')")).await;
        self.insert_by(&format!("'provider{number}'"), true, Duration::ZERO).await;
        execute(&mut self.connection, "COMMIT").await;
    }

    async fn insert(&mut self, finished: bool, back: Duration) -> String {
        let provider = *self.chance.pick(&["'anthropic'", "'anthropic'", "'openai'", "'aws.bedrock'", "NULL"]);
        self.insert_by(provider, finished, back).await
    }

    async fn insert_by(&mut self, provider: &str, finished: bool, back: Duration) -> String {
        let chance = &mut self.chance;
        let maybe =
            |chance: &mut Chance, bound| if chance.percent(85) { chance.below(bound).to_string() } else { "NULL".to_owned() };
        let model = chance.pick(&["claude", "gpt", "nova \"micro\"", "llama\\70b"]);
        let (service, operation) =
            (chance.pick(&["chat-stream", "kb-processor"]), chance.pick(&["text_generation", "embedding"]));
        // Nothing that only the end of a call can tell stands in a row that is not finished.
        let result = |chance: &mut Chance, bound| if finished { maybe(chance, bound) } else { "NULL".to_owned() };
        let (input, output, total) = (maybe(chance, 5_000), result(chance, 900), result(chance, 6_000));
        let (latency, success, cost) = (result(chance, 90_000), finished && chance.percent(80), result(chance, 2_000_000));
        let completed = if finished { "clock_timestamp() AT TIME ZONE 'UTC'" } else { "NULL" };
        let sql = format!(
            "INSERT INTO ai_log_usage (provider_id, request_source, operation_type, model_id_used, prompt_tokens, completion_tokens, total_tokens,
                latency_ms, success, estimated_cost_usd, started_at, completed_at)
             VALUES ((SELECT id FROM ai_providers WHERE name = {provider}), '{service}', '{operation}', '{model}', {input}, {output}, {total},
                {latency}, {success}, {cost} / 1000000.0, clock_timestamp() AT TIME ZONE 'UTC' - interval '{} ms', {completed})
             RETURNING id::text",
            back.as_millis()
        );
        sqlx::query_scalar(AssertSqlSafe(sql)).persistent(false).fetch_one(&mut self.connection).await.unwrap()
    }

    /// As long as that, unless all are told to stop.
    async fn pause(&self, length: Duration) {
        let stopped = async {
            while !self.shared.stop.load(Ordering::Relaxed) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(length, stopped).await.ok();
    }
}
