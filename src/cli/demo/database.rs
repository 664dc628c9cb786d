//! The demo's database: an SQLite file with the tables of a cora deployment.
//!
//! Text timestamps without a zone, in UTC, and UUIDs as text: what such a database looks like in SQLite. Rows go in by one
//! transaction a call, one statement a table, over `json_each`.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result};
use serde_json::{Value, json};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqliteSynchronous};
use sqlx::{Connection, Executor};

use super::chance::name_uuid;
use super::rows::{ErrorRow, Rows, UsageRow};
use crate::time::Time;

const SCHEMA: &str = "
CREATE TABLE ai_providers (id text PRIMARY KEY, name text NOT NULL, provider_type text);
CREATE TABLE ai_models (
    id text PRIMARY KEY, provider_id text REFERENCES ai_providers(id), model_id varchar(255) NOT NULL, display_name text,
    validation_category text, last_validated_at text
);
CREATE TABLE orgs (id text PRIMARY KEY, name text NOT NULL);
CREATE TABLE ai_log_usage (
    id text PRIMARY KEY, provider_id text, model_id text, request_source varchar(100) NOT NULL,
    operation_type varchar(50) NOT NULL, model_id_used varchar(255) NOT NULL, prompt_tokens integer, completion_tokens integer,
    total_tokens integer, latency_ms integer, success boolean NOT NULL, estimated_cost_usd numeric(10,6), user_id text,
    org_id text, ws_id text, request_metadata text, started_at text NOT NULL, completed_at text, created_at text NOT NULL
);
CREATE INDEX idx_ai_log_usage_time ON ai_log_usage (started_at DESC);
CREATE TABLE ai_log_error (
    id text PRIMARY KEY, provider_id text, model_id text, request_source varchar(100) NOT NULL,
    operation_type varchar(50) NOT NULL, error_type varchar(100), error_message text, error_raw text,
    model_id_attempted varchar(255), validation_category text, request_params text, user_id text, org_id text, ws_id text,
    retry_count integer NOT NULL DEFAULT 0, occurred_at text NOT NULL, resolved_at text
);
CREATE INDEX idx_ai_log_error_time ON ai_log_error (occurred_at DESC);
";

const INSERT_PROVIDERS: &str = "INSERT OR IGNORE INTO ai_providers (id, name) SELECT value->>0, value->>1 FROM json_each(?)";
const INSERT_MODELS: &str =
    "INSERT OR IGNORE INTO ai_models (id, provider_id, model_id) SELECT value->>0, value->>1, value->>2 FROM json_each(?)";
const INSERT_ORGS: &str = "INSERT OR IGNORE INTO orgs (id, name) SELECT value->>0, value->>1 FROM json_each(?)";
const INSERT_USAGE: &str = "INSERT INTO ai_log_usage (id, provider_id, model_id, request_source, operation_type, model_id_used,
    prompt_tokens, completion_tokens, total_tokens, latency_ms, success, estimated_cost_usd, org_id, started_at, completed_at,
    created_at)
    SELECT value->>0, value->>1, value->>2, value->>3, value->>4, value->>5, value->>6, value->>7, value->>8, value->>9,
    value->>10, value->>11, value->>12, value->>13, value->>14, value->>15 FROM json_each(?)";
const INSERT_ERRORS: &str = "INSERT INTO ai_log_error (id, provider_id, model_id, request_source, operation_type, error_type,
    error_message, model_id_attempted, org_id, occurred_at)
    SELECT value->>0, value->>1, value->>2, value->>3, value->>4, value->>5, value->>6, value->>7, value->>8, value->>9
    FROM json_each(?)";

/// The open database; its one writer.
#[derive(Debug)]
pub struct Database {
    path: PathBuf,
    connection: SqliteConnection,
}

impl Database {
    /// Makes the file with its tables. It must not exist yet.
    pub async fn create(path: &Path) -> Result<Database> {
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            // Nobody needs the demo's rows after a power cut.
            .synchronous(SqliteSynchronous::Off);
        let opened = SqliteConnection::connect_with(&options).await;
        let mut connection = opened.with_context(|| format!("cannot create the demo's database {}", path.display()))?;
        connection.execute(SCHEMA).await.context("cannot create the demo's tables")?;
        Ok(Database { path: path.to_owned(), connection })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Adds the rows, and names that are new in them, in one transaction.
    pub async fn insert(&mut self, rows: &Rows) -> Result<()> {
        if rows.usage.is_empty() && rows.errors.is_empty() {
            return Ok(());
        }
        let names = Names::of(rows);
        let mut transaction = self.connection.begin().await?;
        let statements = [
            (INSERT_PROVIDERS, names.providers()),
            (INSERT_MODELS, names.models()),
            (INSERT_ORGS, names.orgs()),
            (INSERT_USAGE, rows.usage.iter().map(usage_values).collect()),
            (INSERT_ERRORS, rows.errors.iter().map(error_values).collect()),
        ];
        for (sql, values) in statements {
            let values: Vec<Value> = values;
            if !values.is_empty() {
                sqlx::query(sql).bind(Value::Array(values).to_string()).execute(&mut *transaction).await?;
            }
        }
        transaction.commit().await?;
        Ok(())
    }

    /// Closes it, so that its directory can be removed.
    pub async fn close(self) -> Result<()> {
        Ok(self.connection.close().await?)
    }
}

/// The distinct names in some rows.
struct Names {
    models: BTreeSet<(Arc<str>, Arc<str>)>,
    orgs: BTreeSet<Arc<str>>,
}

impl Names {
    fn of(rows: &Rows) -> Names {
        let used = rows.usage.iter().map(|row| (row.provider.clone(), row.model.clone()));
        let failed = rows.errors.iter().map(|row| (row.provider.clone(), row.model.clone()));
        let orgs =
            rows.usage.iter().filter_map(|row| row.org.clone()).chain(rows.errors.iter().filter_map(|row| row.org.clone()));
        Names { models: used.chain(failed).collect(), orgs: orgs.collect() }
    }

    fn providers(&self) -> Vec<Value> {
        let names: BTreeSet<_> = self.models.iter().map(|(provider, _)| provider).collect();
        names.into_iter().map(|name| json!([name_uuid("provider", name), &**name])).collect()
    }

    fn models(&self) -> Vec<Value> {
        let row = |(provider, model): &(Arc<str>, Arc<str>)| {
            json!([model_uuid(provider, model), name_uuid("provider", provider), &**model])
        };
        self.models.iter().map(row).collect()
    }

    fn orgs(&self) -> Vec<Value> {
        self.orgs.iter().map(|name| json!([name_uuid("org", name), &**name])).collect()
    }
}

fn model_uuid(provider: &str, model: &str) -> String {
    name_uuid("model", &format!("{provider}\0{model}"))
}

/// In the order of `INSERT_USAGE`.
fn usage_values(row: &UsageRow) -> Value {
    json!([
        row.id,
        name_uuid("provider", &row.provider),
        model_uuid(&row.provider, &row.model),
        &*row.source,
        &*row.operation,
        &*row.model,
        row.prompt_tokens,
        row.completion_tokens,
        row.total_tokens,
        row.latency_ms,
        row.success,
        row.cost_usd,
        row.org.as_ref().map(|name| name_uuid("org", name)),
        sql_time(row.started_at),
        row.completed_at.map(sql_time),
        sql_time(row.visible_at()),
    ])
}

/// In the order of `INSERT_ERRORS`.
fn error_values(row: &ErrorRow) -> Value {
    json!([
        row.id,
        name_uuid("provider", &row.provider),
        model_uuid(&row.provider, &row.model),
        &*row.source,
        &*row.operation,
        row.error_type.as_deref(),
        row.message,
        &*row.model,
        row.org.as_ref().map(|name| name_uuid("org", name)),
        sql_time(row.occurred_at),
    ])
}

/// `YYYY-MM-DD HH:MM:SS.ffffff`, UTC.
fn sql_time(at: Time) -> String {
    let at = jiff::Timestamp::from_microsecond(at.0).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    at.strftime("%Y-%m-%d %H:%M:%S%.6f").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::demo::scenario::Scenario;
    use crate::time::Span;
    use sqlx::Row;

    #[tokio::test]
    async fn what_goes_in_can_be_read() {
        let directory = tempfile::tempdir().unwrap();
        let mut database = Database::create(&directory.path().join("demo.db")).await.unwrap();
        let start = Time::from_secs(1_763_700_000);
        let scenario = Scenario { seed: 1, start };
        let rows = scenario.rows(start, start + Span::secs(60));
        database.insert(&scenario.history()).await.unwrap();
        database.insert(&rows).await.unwrap();
        database.insert(&Rows::default()).await.unwrap();
        let sql = "SELECT count(*), sum(success = 0), min(started_at), max(length(started_at)), sum(typeof(success) = 'integer'),
            sum(estimated_cost_usd > 0) FROM ai_log_usage u JOIN ai_providers p ON p.id = u.provider_id
            JOIN ai_models m ON m.id = u.model_id AND m.model_id = u.model_id_used JOIN orgs o ON o.id = u.org_id
            WHERE started_at >= '2025-11-21 04:40:00.000000'";
        let row = database.connection.fetch_one(sql).await.unwrap();
        let count = rows.usage.len() as i64;
        assert_eq!((row.get::<i64, _>(0), row.get::<i64, _>(1)), (count, rows.errors.len() as i64));
        assert!(row.get::<String, _>(2).starts_with("2025-11-21 04:40:0"), "{}", row.get::<String, _>(2));
        assert_eq!((row.get::<i64, _>(3), row.get::<i64, _>(4)), (26, count));
        let counts = "SELECT (SELECT count(*) FROM ai_models), (SELECT count(*) FROM orgs), (SELECT count(*) FROM ai_log_error)";
        let row = database.connection.fetch_one(counts).await.unwrap();
        assert_eq!((row.get::<i64, _>(0), row.get::<i64, _>(1)), (12, 20));
        assert_eq!(row.get::<i64, _>(2), rows.errors.len() as i64);
        database.close().await.unwrap();
    }
}
