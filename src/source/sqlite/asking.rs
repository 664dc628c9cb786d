//! Queries of rules: any SELECT, its values as text.

use futures_util::TryStreamExt;
use sqlx::sqlite::SqliteRow;
use sqlx::{AssertSqlSafe, Column, Executor, Row as _, Statement};

use super::{Connection, Scalar, scalar};
use crate::limits::MAX_ANSWER_ROWS;
use crate::source::query::{Answer, Query, Rows, checked_columns, has_now, with_now};
use crate::time::{Span, Time};

/// Steps of the virtual machine between two looks at whether it is to go on: some milliseconds.
const STEPS: i32 = 100_000;

impl Connection {
    /// What it answers to a query within the transaction that was begun.
    ///
    /// # Errors
    /// Within: what there is to say against the answer. An objection of the database is an error like any other.
    pub async fn answer(&mut self, asked: &Query, now: Time, timeout: Span) -> Result<Result<Answer, String>, sqlx::Error> {
        let columns = match self.describe(asked).await? {
            Ok(columns) => columns,
            Err(objection) => return Ok(Err(objection)),
        };
        let (cut_off, run_out) = tokio::sync::watch::channel(false);
        self.inner.lock_handle().await?.set_progress_handler(STEPS, move || !*run_out.borrow());
        let mut read = Box::pin(read(&mut self.inner, asked, now, &columns));
        let answer = match tokio::time::timeout(timeout.to_std(), &mut read).await {
            Ok(answer) => answer,
            Err(_) => {
                cut_off.send_replace(true);
                // It ends now, unless it just has.
                drop((&mut read).await);
                Ok(Err(format!("no answer within the statement timeout of {timeout}")))
            }
        };
        drop(read);
        self.inner.lock_handle().await?.remove_progress_handler();
        Ok(answer?.map(|rows| rows.into_answer(now, columns)))
    }

    /// The names of the columns of a query.
    ///
    /// # Errors
    /// As [`Connection::answer`].
    pub async fn describe(&mut self, asked: &Query) -> Result<Result<Vec<String>, String>, sqlx::Error> {
        let sql = sqlx::SqlSafeStr::into_sql_str(AssertSqlSafe(select(asked)));
        let statement = self.inner.prepare(sql).await?;
        let columns: Vec<String> = statement.columns().iter().map(|column| column.name().to_owned()).collect();
        Ok(checked_columns(&columns).map(|()| columns))
    }
}

async fn read(
    connection: &mut sqlx::SqliteConnection,
    asked: &Query,
    now: Time,
    columns: &[String],
) -> Result<Result<Rows, String>, sqlx::Error> {
    let mut query = sqlx::query(AssertSqlSafe(select(asked))).persistent(false);
    if has_now(&asked.sql) {
        query = query.bind(now.to_string().replace('T', " ").trim_end_matches('Z').to_owned());
    }
    let mut stream = query.fetch(connection);
    let mut rows = Rows::default();
    while let Some(row) = stream.try_next().await? {
        let row: Result<Vec<Option<String>>, _> = (0..columns.len()).map(|i| text(&row, i)).collect();
        if let Err(objection) = rows.push(row?) {
            return Ok(Err(objection));
        }
    }
    Ok(Ok(rows))
}

fn select(asked: &Query) -> String {
    format!("SELECT * FROM ({}\n) LIMIT {}", with_now(&asked.sql, "$1"), MAX_ANSWER_ROWS + 1)
}

/// A value as text, a blob as its hexadecimal digits.
fn text(row: &SqliteRow, i: usize) -> Result<Option<String>, sqlx::Error> {
    Ok(match scalar(row.try_get_raw(i)?) {
        Scalar::Null => None,
        Scalar::Integer(n) => Some(n.to_string()),
        Scalar::Real(n) => Some(n.to_string()),
        Scalar::Text(text) => Some(text.into_owned()),
        Scalar::Blob => {
            let bytes: &[u8] = row.try_get_unchecked(i)?;
            Some(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
        }
    })
}
