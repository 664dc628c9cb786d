//! SQLite files as sources, with the table and column names of `cora.sql`.

use sqlx::{AssertSqlSafe, ConnectOptions, SqliteConnection, sqlite::SqliteConnectOptions};
use std::path::Path;
use std::time::Duration;

/// The usage and error tables of `cora.sql`; keys and timestamps are text, `YYYY-MM-DD HH:MM:SS.ffffff` in UTC.
pub const CORA: &str = include_str!("cora_sqlite.sql");

pub fn url(file: &Path) -> String {
    format!("sqlite://{}", file.display())
}

pub async fn open(file: &Path) -> SqliteConnection {
    let options = SqliteConnectOptions::new().filename(file).create_if_missing(true).busy_timeout(Duration::from_secs(10));
    options.connect().await.unwrap()
}

pub async fn execute(connection: &mut SqliteConnection, sql: &str) {
    sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(connection).await.unwrap_or_else(|error| panic!("{error}\nin: {sql}"));
}
