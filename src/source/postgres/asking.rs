//! Queries of rules: any SELECT, its columns as text.
//!
//! It becomes a table of one statement in the extended protocol, which takes no second statement; what it writes is refused
//! by the transaction, which is read-only.

use futures_util::TryStreamExt;
use sqlx::postgres::PgRow;
use sqlx::{Column, Executor, Row as _, TypeInfo};

use super::{Argument, Connection, one_row, query, within};
use crate::limits::MAX_ANSWER_ROWS;
use crate::source::query::{Answer, Query, Rows, checked_columns, has_now, with_now};
use crate::time::Time;

/// Instants are shown, and naive ones compared, in UTC.
const IN_UTC: &str = "SET LOCAL timezone = 'UTC'; SET LOCAL datestyle = 'ISO, YMD'";
/// What stands for `:now`; text is what the parameter is sent as.
const NOW: &str = "$1::text::timestamptz";

impl Connection {
    /// What it answers to a query within the transaction that was begun.
    ///
    /// # Errors
    /// Within: what there is to say against the answer. An objection of the database is an error like any other.
    pub async fn answer(&mut self, asked: &Query, now: Time) -> Result<Result<Answer, String>, sqlx::Error> {
        within(self.timeout, self.inner.execute(IN_UTC)).await?;
        let (sql, arguments) = statement(asked, now);
        let columns = names(&self.head(&sql, &arguments).await?);
        if let Err(objection) = checked_columns(&columns) {
            return Ok(Err(objection));
        }
        let list: Vec<String> = columns.iter().map(|name| format!("asked.\"{}\"::text", name.replace('"', "\"\""))).collect();
        let select = format!("SELECT {} FROM ({sql}\n) AS asked LIMIT {}", list.join(", "), MAX_ANSWER_ROWS + 1);
        let mut stream = query(select, bound(&arguments)).fetch(&mut self.inner);
        let mut rows = Rows::default();
        while let Some(row) = within(self.timeout, stream.try_next()).await? {
            let row: Result<Vec<Option<String>>, _> = (0..columns.len()).map(|i| row.try_get(i)).collect();
            if let Err(objection) = rows.push(row?) {
                return Ok(Err(objection));
            }
        }
        Ok(Ok(rows.into_answer(now, columns)))
    }

    /// The names and types of the columns of a query, of which nothing is read.
    ///
    /// # Errors
    /// As [`Connection::answer`].
    pub async fn describe(&mut self, asked: &Query, now: Time) -> Result<Result<Vec<(String, String)>, String>, sqlx::Error> {
        within(self.timeout, self.inner.execute(IN_UTC)).await?;
        let (sql, arguments) = statement(asked, now);
        let head = self.head(&sql, &arguments).await?;
        let types = head.columns().iter().map(|column| column.type_info().name().to_owned());
        let names = names(&head);
        Ok(checked_columns(&names).map(|()| names.into_iter().zip(types).collect()))
    }

    async fn head(&mut self, sql: &str, arguments: &[String]) -> Result<PgRow, sqlx::Error> {
        let one = one_row("asked.*", "*", &format!("({sql}\n) AS asked"));
        within(self.timeout, query(one, bound(arguments)).fetch_one(&mut self.inner)).await
    }
}

fn statement(asked: &Query, now: Time) -> (String, Vec<String>) {
    let arguments = if has_now(&asked.sql) { vec![now.to_string()] } else { Vec::new() };
    (with_now(&asked.sql, NOW), arguments)
}

fn bound(arguments: &[String]) -> Vec<Argument> {
    arguments.iter().cloned().map(Argument::Text).collect()
}

fn names(row: &PgRow) -> Vec<String> {
    row.columns().iter().map(|column| column.name().to_owned()).collect()
}
