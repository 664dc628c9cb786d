//! PostgreSQL: rows as the wire carries them, decoded by hand.
//!
//! One poll is one REPEATABLE READ, READ ONLY transaction. Everything is set within it and no statement is named, so
//! that it works behind a transaction pooler. On tables (not views) the span of the lateness is narrowed to rows whose
//! `xmin` is not older than the snapshot of the poll before: see [`Snapshot`]. A server that falls silent is noticed:
//! nothing here waits longer than the statement timeout and a little.

mod asking;
mod planning;

use std::future::Future;

use futures_util::{FutureExt, TryStreamExt};
use sqlx::postgres::{PgConnectOptions, PgConnection, PgRow};
use sqlx::{AssertSqlSafe, Column, Connection as _, Executor, Row as _, TypeInfo, ValueRef};

use crate::secret::Secret;
use crate::source::decode::{
    Id, Row, float_count, float_micros, float_nanos, integer_micros, postgres_numeric_micros, postgres_numeric_nanos,
    postgres_time,
};
use crate::source::mapping::{Field, Lookup, Slot};
use crate::source::mark;
use crate::time::{Span, Time};

pub use planning::PlanError;
use planning::one_row;

/// How much longer than the statement timeout an answer is waited for: then the server is gone, or the way to it.
const GRACE: Span = Span::secs(10);

/// Which transactions a poll could see.
///
/// A later poll over the same unbroken connection need look only at rows whose `xmin` is not older than `xmin` here: all
/// others were visible before. It says nothing about another server, so the server's start is kept with it, and it is
/// never stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Snapshot {
    xmin: i64,
    server_started: i64,
}

impl Snapshot {
    /// Whether the server is the same and did not go back (a fail-over, a restored backup).
    pub fn is_earlier_of_same_server(&self, now: &Snapshot) -> bool {
        self.server_started == now.server_started && self.xmin <= now.xmin
    }
}

/// One connection.
#[derive(Debug)]
pub struct Connection {
    inner: PgConnection,
    timeout: Span,
}

/// How a mapping is read: the SQL and how each column is decoded.
#[derive(Debug)]
pub struct Plan {
    select: String,
    from: String,
    time: String,
    time_type: &'static str,
    id: String,
    id_type: String,
    complete: Option<String>,
    columns: Vec<(Slot, Codec)>,
    has_xmin: bool,
}

/// Which rows are asked for.
#[derive(Debug)]
pub enum Rows<'a> {
    /// With a time from `from` on, up to and without `to`.
    Span {
        /// The first instant.
        from: Time,
        /// The first instant that is not meant.
        to: Option<Time>,
        /// Only what the poll with this snapshot could not see.
        unseen_by: Option<Snapshot>,
    },
    /// With these ids.
    Ids(&'a [String]),
}

/// How the bytes of a column are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Codec {
    Bool,
    Int2,
    Int4,
    Int8,
    Float4,
    Float8,
    Numeric,
    Text,
    Uuid,
    Timestamp,
}

impl Codec {
    fn of(type_name: &str) -> Option<Codec> {
        Some(match type_name {
            "BOOL" => Codec::Bool,
            "INT2" => Codec::Int2,
            "INT4" => Codec::Int4,
            "INT8" => Codec::Int8,
            "FLOAT4" => Codec::Float4,
            "FLOAT8" => Codec::Float8,
            "NUMERIC" => Codec::Numeric,
            // Not CHAR(n): its blanks are no part of the value, and a cast to text drops them.
            "TEXT" | "VARCHAR" | "NAME" => Codec::Text,
            "UUID" => Codec::Uuid,
            "TIMESTAMP" | "TIMESTAMPTZ" => Codec::Timestamp,
            _ => return None,
        })
    }
}

impl Connection {
    /// Connects; the error never shows the URL.
    pub async fn open(url: &Secret) -> Result<Connection, sqlx::Error> {
        let options: PgConnectOptions = url.reveal().parse()?;
        let options = options.application_name("modelwatch").statement_cache_capacity(0);
        Ok(Connection { inner: PgConnection::connect_with(&options).await?, timeout: GRACE })
    }

    /// Begins the transaction of one poll: its now(), and what it can see.
    pub async fn begin(&mut self, timeout: Span) -> Result<(Time, Snapshot), sqlx::Error> {
        self.timeout = timeout;
        let begin = format!(
            "BEGIN TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL statement_timeout = {}; SET LOCAL jit = off",
            timeout.0 / 1_000
        );
        within(timeout, self.inner.execute(sqlx::raw_sql(AssertSqlSafe(begin)))).await?;
        let head = "SELECT now(), pg_snapshot_xmin(pg_current_snapshot())::text::bigint, pg_postmaster_start_time()";
        let row = within(timeout, sqlx::query(head).persistent(false).fetch_one(&mut self.inner)).await?;
        let raw =
            |i: usize| row.try_get_raw(i).ok().and_then(|value| be_i64(value.as_bytes().unwrap_or_default())).unwrap_or_default();
        Ok((postgres_time(raw(0)), Snapshot { xmin: raw(1), server_started: raw(2) }))
    }

    /// Ends the transaction.
    pub async fn end(&mut self) -> Result<(), sqlx::Error> {
        within(self.timeout, self.inner.execute(sqlx::raw_sql("COMMIT"))).await.map(drop)
    }

    /// Gives the transaction up.
    pub async fn abort(&mut self) -> Result<(), sqlx::Error> {
        within(self.timeout, self.inner.execute(sqlx::raw_sql("ROLLBACK"))).await.map(drop)
    }

    /// Streams rows into `sink`.
    pub async fn rows(&mut self, plan: &Plan, rows: &Rows<'_>, sink: &mut (dyn FnMut(&Row) + Send)) -> Result<(), sqlx::Error> {
        let (condition, arguments) = plan.condition(rows);
        let sql = format!("SELECT {} FROM {} WHERE {condition}", plan.select, plan.from);
        let mut stream = query(sql, arguments).fetch(&mut self.inner);
        let mut decoded = Row::default();
        let mut checked = false;
        loop {
            // Most rows are there already; a timer for each would cost more than the row.
            let next = match stream.try_next().now_or_never() {
                Some(next) => next?,
                None => within(self.timeout, stream.try_next()).await?,
            };
            let Some(row) = next else { return Ok(()) };
            if !checked {
                plan.check_types(&row)?;
                checked = true;
            }
            plan.decode(&row, &mut decoded)?;
            sink(&decoded);
        }
    }

    /// Time of the oldest or the newest row.
    pub async fn end_of(&mut self, plan: &Plan, newest: bool) -> Result<Option<Time>, sqlx::Error> {
        let sql = format!("SELECT {}({}) FROM {}", if newest { "max" } else { "min" }, plan.time, plan.from);
        let row = within(self.timeout, query(sql, Vec::new()).fetch_one(&mut self.inner)).await?;
        let value = row.try_get_raw(0)?;
        Ok(if value.is_null() { None } else { value.as_bytes().ok().and_then(be_i64).map(postgres_time) })
    }

    /// Finished rows of each whole hour since the epoch, from `from` up to and without `to`.
    pub async fn hours(&mut self, plan: &Plan, from: Time, to: Time) -> Result<Vec<(i64, u64)>, sqlx::Error> {
        let complete = plan.complete.as_deref().unwrap_or("true");
        let (condition, arguments) = plan.condition(&Rows::Span { from, to: Some(to), unseen_by: None });
        let sql = format!(
            "SELECT floor(extract(epoch FROM {}) / 3600)::bigint, count(*) FILTER (WHERE {complete}) FROM {} WHERE {condition} GROUP BY 1",
            plan.time, plan.from
        );
        let rows = within(self.timeout, query(sql, arguments).fetch_all(&mut self.inner)).await?;
        rows.iter().map(|row| Ok((row.try_get::<i64, _>(0)?, row.try_get::<i64, _>(1)? as u64))).collect()
    }

    /// A lookup table, whole.
    pub async fn lookup(&mut self, lookup: &Lookup) -> Result<Vec<(String, String)>, sqlx::Error> {
        let sql = format!(
            "SELECT ({})::text, ({})::text FROM {} WHERE ({}) IS NOT NULL",
            lookup.key, lookup.value, lookup.table, lookup.key
        );
        let rows = within(self.timeout, query(sql, Vec::new()).fetch_all(&mut self.inner)).await?;
        rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get::<Option<String>, _>(1)?.unwrap_or_default()))).collect()
    }

    /// How many rows of the last `history` satisfy a condition.
    pub async fn count(&mut self, plan: &Plan, condition: &Field, from: Time) -> Result<u64, sqlx::Error> {
        let (span, arguments) = plan.condition(&Rows::Span { from, to: None, unseen_by: None });
        let sql = format!("SELECT count(*) FROM {} WHERE ({}) AND {span}", plan.from, condition.sql);
        let row = within(self.timeout, query(sql, arguments).fetch_one(&mut self.inner)).await?;
        Ok(row.try_get::<i64, _>(0)? as u64)
    }
}

/// An answer, or the error that the server has fallen silent. What is left of the connection must not be used again.
async fn within<T>(timeout: Span, answer: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T, sqlx::Error> {
    let patience = timeout + GRACE;
    tokio::time::timeout(patience.to_std(), answer).await.unwrap_or_else(|_| {
        let message = format!("no answer within {patience}");
        Err(sqlx::Error::Io(std::io::Error::new(std::io::ErrorKind::TimedOut, message)))
    })
}

/// A statement without a name.
fn query(sql: String, arguments: Vec<Argument>) -> sqlx::query::Query<'static, sqlx::Postgres, sqlx::postgres::PgArguments> {
    arguments.into_iter().fold(sqlx::query(AssertSqlSafe(sql)).persistent(false), |query, argument| match argument {
        Argument::Text(text) => query.bind(text),
        Argument::Texts(texts) => query.bind(texts),
    })
}

enum Argument {
    Text(String),
    Texts(Vec<String>),
}

impl Plan {
    /// Whether the span can be narrowed by what a poll could see.
    pub fn has_xmin(&self) -> bool {
        self.has_xmin
    }

    fn condition(&self, rows: &Rows<'_>) -> (String, Vec<Argument>) {
        match rows {
            Rows::Ids(ids) => {
                // The column as it is, so that its index serves. A stored id that its type cannot be (the column was
                // altered) is no error.
                let whole = |id: &&String| id.parse::<i64>().is_ok();
                let (array, ids): (&str, Vec<String>) = match self.id_type.as_str() {
                    "UUID" => ("uuid[]", ids.iter().filter(|id| is_uuid(id)).cloned().collect()),
                    "INT2" | "INT4" | "INT8" => ("bigint[]", ids.iter().filter(whole).cloned().collect()),
                    "NUMERIC" => ("numeric[]", ids.iter().filter(|id| id.parse::<f64>().is_ok()).cloned().collect()),
                    "CHAR" => ("bpchar[]", ids.to_vec()),
                    _ => ("text[]", ids.to_vec()),
                };
                let id = if array == "text[]" { format!("{}::text", self.id) } else { self.id.clone() };
                (format!("{id} = ANY($1::text[]::{array})"), vec![Argument::Texts(ids)])
            }
            Rows::Span { from, to, unseen_by } => {
                let (time, kind) = (&self.time, self.time_type);
                let mut sql = format!("{time} >= $1::text::{kind}");
                let mut arguments = vec![Argument::Text(self.literal(*from))];
                if let Some(to) = to {
                    arguments.push(Argument::Text(self.literal(*to)));
                    sql += &format!(" AND {time} < ${}::text::{kind}", arguments.len());
                }
                if let Some(snapshot) = unseen_by.filter(|_| self.has_xmin) {
                    // Ages compare modulo 2^32, as transaction ids do.
                    arguments.push(Argument::Text((snapshot.xmin as u32).to_string()));
                    sql += &format!(" AND age(xmin) <= age(${}::text::xid)", arguments.len());
                }
                (sql, arguments)
            }
        }
    }

    fn literal(&self, time: Time) -> String {
        match time {
            time if time <= Time::MIN => "-infinity".to_owned(),
            time if self.time_type == "timestamptz" => time.to_string(),
            time => time.to_string().trim_end_matches('Z').to_owned(),
        }
    }

    /// A column that was altered since the plan was made is read with another decoder; the plan is made anew then.
    fn check_types(&self, row: &PgRow) -> Result<(), sqlx::Error> {
        for (column, (_, codec)) in row.columns().iter().zip(&self.columns) {
            if Codec::of(column.type_info().name()) != Some(*codec) {
                return Err(sqlx::Error::Protocol(format!("the type of column `{}` has changed", column.name())));
            }
        }
        Ok(())
    }

    fn decode(&self, row: &PgRow, out: &mut Row) -> Result<(), sqlx::Error> {
        (out.complete, out.success) = (true, false);
        out.clear_lists();
        for (i, (slot, codec)) in self.columns.iter().enumerate() {
            let value = row.try_get_raw(i)?;
            let bytes = if value.is_null() { None } else { Some(value.as_bytes().map_err(sqlx::Error::Decode)?) };
            match slot {
                Slot::Id => {
                    out.id = bytes.map_or(Id::Null, |bytes| id(*codec, bytes));
                    out.key = out.id.key();
                }
                Slot::Time => out.time = bytes.and_then(be_i64).map_or(Time::MIN, postgres_time),
                Slot::Complete => out.complete = bytes == Some(&[1]),
                Slot::Success => out.success = bytes == Some(&[1]),
                Slot::InputTokens => out.input_tokens = bytes.and_then(|bytes| float_count(number(*codec, bytes)?)),
                Slot::OutputTokens => out.output_tokens = bytes.and_then(|bytes| float_count(number(*codec, bytes)?)),
                Slot::TotalTokens => out.total_tokens = bytes.and_then(|bytes| float_count(number(*codec, bytes)?)),
                Slot::Count => out.count = bytes.and_then(|bytes| float_count(number(*codec, bytes)?)),
                Slot::Latency => out.latency = bytes.and_then(|bytes| number(*codec, bytes)),
                Slot::Cost => {
                    out.cost = bytes.and_then(|bytes| match codec {
                        Codec::Numeric => postgres_numeric_nanos(bytes),
                        _ => float_nanos(number(*codec, bytes)?),
                    });
                }
                Slot::Dimension => match (bytes, codec) {
                    (None, _) => out.dimensions.null(),
                    (Some(bytes), Codec::Uuid) => out.dimensions.uuid(bytes.try_into().unwrap_or_default()),
                    (Some(bytes), Codec::Text) => out.dimensions.text(bytes),
                    (Some(bytes), _) => out.dimensions.integer(integer(bytes).unwrap_or_default()),
                },
                Slot::Measure => out.measures.push(bytes.and_then(|bytes| match codec {
                    Codec::Numeric => postgres_numeric_micros(bytes),
                    Codec::Int2 | Codec::Int4 | Codec::Int8 => integer(bytes).map(integer_micros),
                    _ => float_micros(number(*codec, bytes)?),
                })),
                Slot::Mark => out.marks.push(bytes.and_then(|bytes| match codec {
                    Codec::Uuid => mark::uuid(u128::from_be_bytes(bytes.try_into().ok()?)),
                    Codec::Text => mark::text(bytes),
                    _ => mark::integer(integer(bytes)?),
                })),
            }
        }
        Ok(())
    }
}

fn be_i64(bytes: &[u8]) -> Option<i64> {
    Some(i64::from_be_bytes(bytes.try_into().ok()?))
}

fn integer(bytes: &[u8]) -> Option<i64> {
    Some(match bytes.len() {
        2 => i64::from(i16::from_be_bytes(bytes.try_into().ok()?)),
        4 => i64::from(i32::from_be_bytes(bytes.try_into().ok()?)),
        _ => be_i64(bytes)?,
    })
}

fn number(codec: Codec, bytes: &[u8]) -> Option<f64> {
    match codec {
        Codec::Float4 => Some(f64::from(f32::from_be_bytes(bytes.try_into().ok()?))),
        Codec::Float8 => Some(f64::from_be_bytes(bytes.try_into().ok()?)),
        Codec::Numeric => postgres_numeric_nanos(bytes).map(|nanos| nanos as f64 / 1e9),
        _ => integer(bytes).map(|n| n as f64),
    }
    .filter(|number| !number.is_nan())
}

fn is_uuid(text: &str) -> bool {
    text.len() == 36 && text.bytes().all(|byte| byte == b'-' || byte.is_ascii_hexdigit())
}

fn id(codec: Codec, bytes: &[u8]) -> Id {
    match codec {
        Codec::Uuid => Id::Uuid(u128::from_be_bytes(bytes.try_into().unwrap_or_default())),
        Codec::Text => Id::Text(String::from_utf8_lossy(bytes).into_owned()),
        _ => integer(bytes).map_or(Id::Null, Id::Integer),
    }
}
