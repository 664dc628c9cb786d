//! SQLite: values carry their own types, and times are texts or numbers in a form that the newest row tells.

mod asking;

use std::borrow::Cow;
use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::TryStreamExt;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteRow, SqliteValueRef};
use sqlx::{AssertSqlSafe, Column, Connection as _, Decode, Executor, Row as _, Sqlite, Statement, TypeInfo, ValueRef};

use crate::diag::{Diagnostic, nearest};
use crate::secret::Secret;
use crate::source::decode::{Id, Row, float_count, float_micros, float_nanos, integer_micros, number_time, text_time};
use crate::source::mapping::{Field, Lookup, Mapping, Measure, Slot, Wanted, is_preset};
use crate::source::mark;
use crate::source::postgres::{PlanError, Rows};
use crate::time::{Span, Time};

/// A table is large, for the warning about scans, from this many rows on.
const LARGE_TABLE_ROWS: i64 = 50_000;
/// Texts are compared with this much room on both sides: `11:45` and `11:45:00` are one instant but not one text.
const ROOM: Span = Span::secs(60);
/// The same where texts carry offsets from UTC, of which there are some up to 14 hours.
const WIDE_ROOM: Span = Span::secs(15 * 3_600);
/// So many rows, the last ones written, are looked at for offsets at each turn.
const SNIFFED_ROWS: u32 = 32;

/// One connection.
#[derive(Debug)]
pub struct Connection {
    inner: SqliteConnection,
}

/// How a mapping is read.
#[derive(Debug)]
pub struct Plan {
    select: String,
    from: String,
    time: String,
    id: String,
    complete: Option<String>,
    slots: Vec<Slot>,
    /// Whether a row can be told to be the last one written.
    has_rowid: bool,
    /// Whether texts of times were seen whose order is not that of their instants: with offsets, or in several forms.
    unordered: AtomicBool,
}

/// In which form a column keeps its times.
#[derive(Clone, Copy, Debug, PartialEq)]
enum TimeForm {
    /// `2026-11-20T20:00:00`, with this character in the middle.
    Text(char),
    /// Texts whose order is not that of their instants.
    Texts,
    /// A number of which so many make a second.
    Number(f64),
}

impl TimeForm {
    /// What times are compared with that are not to be missed: all from an instant on, or all before it.
    fn bound(self, at: Time, upper: bool) -> Argument {
        let second = Span::secs(1);
        let moved = |room: Span| if upper { at.ceil(second) + room } else { Time(at.0.max(0)).floor(second) - room };
        let text = |at: Time, between: &str| Argument::Text(at.to_string().trim_end_matches('Z').replace('T', between));
        match self {
            TimeForm::Text(between) => text(moved(ROOM), &between.to_string()),
            // The first and the last of all that may stand there.
            TimeForm::Texts => text(moved(WIDE_ROOM), if upper { "t" } else { " " }),
            TimeForm::Number(per_second) => Argument::Number(moved(second).as_secs_f64() * per_second),
        }
    }
}

impl Connection {
    /// Opens the file, read-only.
    pub async fn open(url: &Secret) -> Result<Connection, sqlx::Error> {
        let options: SqliteConnectOptions = url.reveal().parse()?;
        let options = options.read_only(true).create_if_missing(false).busy_timeout(Span::secs(5).to_std());
        Ok(Connection { inner: SqliteConnection::connect_with(&options).await? })
    }

    /// Begins the transaction of one poll and says what time it is.
    pub async fn begin(&mut self) -> Result<Time, sqlx::Error> {
        self.inner.execute("BEGIN").await?;
        // The read takes the snapshot; BEGIN alone does not.
        let now = "SELECT strftime('%Y-%m-%d %H:%M:%f', 'now'), (SELECT count(*) FROM sqlite_schema)";
        let row = sqlx::query(now).fetch_one(&mut self.inner).await?;
        text_time(row.try_get(0)?).ok_or_else(|| sqlx::Error::Protocol("SQLite gave no time".to_owned()))
    }

    /// Ends the transaction.
    pub async fn end(&mut self) -> Result<(), sqlx::Error> {
        self.inner.execute("COMMIT").await.map(drop)
    }

    /// Gives the transaction up.
    pub async fn abort(&mut self) -> Result<(), sqlx::Error> {
        self.inner.execute("ROLLBACK").await.map(drop)
    }

    /// Asks the database about each part of a mapping; the faults of all parts, where there are any.
    pub async fn plan(&mut self, mapping: &Mapping, wanted: &Wanted) -> Result<(Plan, Vec<Diagnostic>), PlanError> {
        let from = mapping.from_clause();
        let names = match self.column_names("*", &from).await {
            Ok(names) => names,
            Err(error) => return Err(fault(error, "table", &mapping.from, &[])),
        };
        let (mut faults, mut list, mut slots) = (Vec::new(), Vec::new(), Vec::new());
        for (slot, field) in mapping.slots(wanted) {
            match self.column_names(&format!("({})", field.sql), &from).await {
                Ok(_) => {
                    list.push(format!("({})", field.sql));
                    slots.push(slot);
                }
                Err(error) => match fault(error, "column", field, &names) {
                    PlanError::Faults(mut found) => faults.append(&mut found),
                    lost => return Err(lost),
                },
            }
        }
        if !faults.is_empty() {
            return Err(PlanError::Faults(faults));
        }
        let parenthesized = |field: &Field| format!("({})", field.sql);
        let (id, time) = (parenthesized(&mapping.id), parenthesized(&mapping.time));
        let has_rowid = !mapping.is_select() && self.column_names("rowid", &from).await.is_ok();
        let plan = Plan {
            select: list.join(", "),
            from,
            time,
            id,
            complete: mapping.complete.as_ref().map(parenthesized),
            slots,
            has_rowid,
            unordered: AtomicBool::new(false),
        };
        self.check_values(&plan, mapping).await?;
        self.check_measures(&plan, mapping, wanted).await?;
        if let Some(TimeForm::Text(between)) = self.time_form(&plan).await? {
            self.sniff(&plan, between, &plan.time, &plan.from).await?;
        }
        let warnings = self.scan_warning(&plan, mapping).await?;
        Ok((plan, warnings))
    }

    /// Streams rows into `sink`.
    pub async fn rows(&mut self, plan: &Plan, rows: &Rows<'_>, sink: &mut (dyn FnMut(&Row) + Send)) -> Result<(), sqlx::Error> {
        let Some((condition, arguments)) = self.condition(plan, rows).await? else { return Ok(()) };
        let sql = format!("SELECT {} FROM {} WHERE {condition}", plan.select, plan.from);
        let mut query = sqlx::query(AssertSqlSafe(sql));
        for argument in arguments {
            query = match argument {
                Argument::Text(text) => query.bind(text),
                Argument::Number(number) => query.bind(number),
            };
        }
        let mut stream = query.fetch(&mut self.inner);
        let mut decoded = Row::default();
        while let Some(row) = stream.try_next().await? {
            plan.decode(&row, &mut decoded)?;
            // The condition on texts leaves room.
            let meant = match rows {
                Rows::Span { from, to, .. } => decoded.time >= *from && to.is_none_or(|to| decoded.time < to),
                Rows::Ids(_) => true,
            };
            if meant {
                sink(&decoded);
            }
        }
        Ok(())
    }

    /// Time of the oldest or the newest row.
    pub async fn end_of(&mut self, plan: &Plan, newest: bool) -> Result<Option<Time>, sqlx::Error> {
        let sql = format!("SELECT {}({}) FROM {}", if newest { "max" } else { "min" }, plan.time, plan.from);
        let row = sqlx::query(AssertSqlSafe(sql)).fetch_one(&mut self.inner).await?;
        Ok(time(row.try_get_raw(0)?))
    }

    /// Finished rows of each whole hour since the epoch, from `from` up to and without `to`.
    pub async fn hours(&mut self, plan: &Plan, from: Time, to: Time) -> Result<Vec<(i64, u64)>, sqlx::Error> {
        // What each turn looks at is a sample; the repair pass, once an hour, looks at all.
        if let Some(TimeForm::Text(between)) = self.time_form(plan).await? {
            self.sniff(plan, between, &plan.time, &plan.from).await?;
        }
        let mut hours = std::collections::BTreeMap::new();
        let select = Plan {
            select: format!("1, {}, ({})", plan.time, plan.complete.as_deref().unwrap_or("1")),
            from: plan.from.clone(),
            time: plan.time.clone(),
            id: plan.id.clone(),
            complete: None,
            slots: vec![Slot::Id, Slot::Time, Slot::Complete],
            has_rowid: plan.has_rowid,
            unordered: AtomicBool::new(plan.unordered.load(Ordering::Relaxed)),
        };
        let mut count = |row: &Row| *hours.entry(row.time.0.div_euclid(3_600_000_000)).or_insert(0) += u64::from(row.complete);
        self.rows(&select, &Rows::Span { from, to: Some(to), unseen_by: None }, &mut count).await?;
        Ok(hours.into_iter().collect())
    }

    /// A lookup table, whole.
    pub async fn lookup(&mut self, lookup: &Lookup) -> Result<Vec<(String, String)>, sqlx::Error> {
        let (key, value, table) = (&lookup.key, &lookup.value, &lookup.table);
        let sql = format!("SELECT CAST(({key}) AS TEXT), CAST(({value}) AS TEXT) FROM {table} WHERE ({key}) IS NOT NULL");
        let rows = sqlx::query(AssertSqlSafe(sql)).fetch_all(&mut self.inner).await?;
        rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get::<Option<String>, _>(1)?.unwrap_or_default()))).collect()
    }

    /// How many rows from `from` on satisfy a condition.
    pub async fn count(&mut self, plan: &Plan, condition: &Field, from: Time) -> Result<u64, sqlx::Error> {
        let Some((span, arguments)) = self.condition(plan, &Rows::Span { from, to: None, unseen_by: None }).await? else {
            return Ok(0);
        };
        let sql = format!("SELECT count(*) FROM {} WHERE ({}) AND {span}", plan.from, condition.sql);
        let mut query = sqlx::query(AssertSqlSafe(sql));
        for argument in arguments {
            query = match argument {
                Argument::Text(text) => query.bind(text),
                Argument::Number(number) => query.bind(number),
            };
        }
        Ok(query.fetch_one(&mut self.inner).await?.try_get::<i64, _>(0)? as u64)
    }

    async fn column_names(&mut self, expression: &str, from: &str) -> Result<Vec<String>, sqlx::Error> {
        let sql = AssertSqlSafe(format!("SELECT {expression} FROM {from} LIMIT 0"));
        let statement = self.inner.prepare(sqlx::SqlSafeStr::into_sql_str(sql)).await?;
        Ok(statement.columns().iter().map(|column| column.name().to_owned()).collect())
    }

    /// The form of times, from the newest row; none while the table is empty.
    async fn time_form(&mut self, plan: &Plan) -> Result<Option<TimeForm>, sqlx::Error> {
        let sql = format!("SELECT max({}) FROM {}", plan.time, plan.from);
        let row = sqlx::query(AssertSqlSafe(sql)).fetch_one(&mut self.inner).await?;
        let value = row.try_get_raw(0)?;
        Ok(match scalar(value) {
            Scalar::Text(text) => Some(TimeForm::Text(if text.as_bytes().get(10) == Some(&b'T') { 'T' } else { ' ' })),
            Scalar::Integer(n) => number_time(n as f64).map(|time| TimeForm::Number((n as f64 / time.as_secs_f64()).round())),
            Scalar::Real(n) => number_time(n).map(|time| TimeForm::Number((n / time.as_secs_f64()).round())),
            Scalar::Null | Scalar::Blob => None,
        })
    }

    /// Looks for texts of times that do not sort as their instants do, `time` among the rows of `from`. Once seen, they stay so.
    async fn sniff(&mut self, plan: &Plan, between: char, time: &str, from: &str) -> Result<(), sqlx::Error> {
        // What follows the minutes tells the offset; one of nothing is UTC.
        let tail = format!("substr({time}, 17)");
        let offset = format!(
            "{tail} GLOB '*[-+]*' AND NOT {tail} GLOB '*[-+]00' AND NOT {tail} GLOB '*[-+]00:00' AND NOT {tail} GLOB '*[-+]0000'"
        );
        let form = format!("substr({time}, 11, 1) NOT IN ('', '{between}')");
        let sql = format!("SELECT EXISTS (SELECT 1 FROM {from} WHERE typeof({time}) = 'text' AND ({offset} OR {form}))");
        let seen = sqlx::query(AssertSqlSafe(sql)).fetch_one(&mut self.inner).await?.try_get::<i64, _>(0)? != 0;
        plan.unordered.fetch_or(seen, Ordering::Relaxed);
        Ok(())
    }

    async fn condition(&mut self, plan: &Plan, rows: &Rows<'_>) -> Result<Option<(String, Vec<Argument>)>, sqlx::Error> {
        let (from, to) = match rows {
            Rows::Ids(ids) => {
                let json = serde_json::to_string(ids).unwrap_or_default();
                // Affinity does not reach into IN: integers are compared as integers beside their texts.
                let values = "SELECT value FROM json_each($1) UNION ALL SELECT CAST(value AS INTEGER) FROM json_each($1) WHERE CAST(CAST(value AS INTEGER) AS TEXT) = value";
                return Ok(Some((format!("{} IN ({values})", plan.id), vec![Argument::Text(json)])));
            }
            Rows::Span { from, to, .. } => (*from, *to),
        };
        let Some(mut form) = self.time_form(plan).await? else { return Ok(None) };
        if let TimeForm::Text(between) = form {
            if plan.has_rowid {
                let (time, from) = (&plan.time, &plan.from);
                let last = format!("(SELECT {time} AS time FROM {from} ORDER BY rowid DESC LIMIT {SNIFFED_ROWS})");
                self.sniff(plan, between, "time", &last).await?;
            }
            if plan.unordered.load(Ordering::Relaxed) {
                form = TimeForm::Texts;
            }
        }
        let mut sql = format!("{} >= $1", plan.time);
        let mut arguments = vec![form.bound(from, false)];
        if let Some(to) = to {
            sql += &format!(" AND {} < $2", plan.time);
            arguments.push(form.bound(to, true));
        }
        Ok(Some((sql, arguments)))
    }

    /// The newest row must have a time and an id that can be read.
    async fn check_values(&mut self, plan: &Plan, mapping: &Mapping) -> Result<(), PlanError> {
        let sql = format!("SELECT {}, {} FROM {} WHERE {} IS NOT NULL LIMIT 1", plan.id, plan.time, plan.from, plan.time);
        let Some(row) = sqlx::query(AssertSqlSafe(sql)).fetch_optional(&mut self.inner).await? else { return Ok(()) };
        let (id, at) = (row.try_get_raw(0)?, row.try_get_raw(1)?);
        if matches!(scalar(id), Scalar::Blob) {
            let message = format!("`{}` is a blob", mapping.id.sql);
            return Err(PlanError::Faults(vec![
                Diagnostic::error("bad-mapping", &mapping.id.place, message).help("write it as hex(column)"),
            ]));
        }
        if time(at).is_none() {
            let message = format!("`{}` holds no times that can be read", mapping.time.sql);
            let help = "texts such as `2026-11-20 20:00:00` or numbers since 1970";
            return Err(PlanError::Faults(vec![Diagnostic::error("bad-mapping", &mapping.time.place, message).help(help)]));
        }
        Ok(())
    }

    /// Columns have no type that counts: of the first rows that have a measure, one must have a number.
    async fn check_measures(&mut self, plan: &Plan, mapping: &Mapping, wanted: &Wanted) -> Result<(), PlanError> {
        let mut faults = Vec::new();
        for Measure { field, .. } in mapping.wanted_measures(wanted) {
            let all = format!("SELECT ({}) AS value FROM {} LIMIT {SNIFFED_ROWS}", field.sql, plan.from);
            let sql = AssertSqlSafe(format!("SELECT value FROM ({all}) WHERE value IS NOT NULL"));
            let rows = sqlx::query(sql).fetch_all(&mut self.inner).await?;
            let is_number = |row: &SqliteRow| row.try_get_raw(0).ok().and_then(number).is_some();
            if !rows.is_empty() && !rows.iter().any(is_number) {
                let message = format!("`{}` holds texts, but a number is needed here", field.sql);
                faults.push(
                    Diagnostic::error("bad-mapping", &field.place, message).help("choose a column or an expression of numbers"),
                );
            }
        }
        if faults.is_empty() { Ok(()) } else { Err(PlanError::Faults(faults)) }
    }

    async fn scan_warning(&mut self, plan: &Plan, mapping: &Mapping) -> Result<Vec<Diagnostic>, sqlx::Error> {
        let sql = format!("EXPLAIN QUERY PLAN SELECT {} FROM {} WHERE {} >= 'x'", plan.select, plan.from, plan.time);
        let lines = sqlx::query(AssertSqlSafe(sql)).fetch_all(&mut self.inner).await?;
        let scans = lines.iter().filter_map(|line| line.try_get::<String, _>(3).ok()).any(|line| line.starts_with("SCAN "));
        if !scans || mapping.is_select() {
            return Ok(Vec::new());
        }
        let table = &mapping.from.sql;
        // A view has no rowid; what it reads is then its owner's business.
        let count = sqlx::query(AssertSqlSafe(format!("SELECT max(rowid) FROM {table}"))).fetch_one(&mut self.inner).await;
        let rows = count.ok().and_then(|row| row.try_get::<Option<i64>, _>(0).ok().flatten()).unwrap_or_default();
        if rows < LARGE_TABLE_ROWS {
            return Ok(Vec::new());
        }
        let message = format!("each poll reads all of {table} (about {rows} rows): no index serves `{}`", mapping.time.sql);
        let help = format!("CREATE INDEX modelwatch_time ON {table} ({})", mapping.time.sql);
        Ok(vec![Diagnostic::warning("no-index", &mapping.time.place, message).help(help)])
    }
}

fn fault(error: sqlx::Error, what: &str, field: &Field, columns: &[String]) -> PlanError {
    let Some(database) = error.as_database_error() else { return PlanError::Lost(error) };
    let text = database.message().to_owned();
    // Locked, unreadable, no database: not the mapping's fault.
    if database.code().is_some_and(|code| code != "1") {
        return PlanError::Lost(error);
    }
    let message = format!("{what} `{}`: {text}", field.sql);
    let wrong = text.split("no such column: ").nth(1).unwrap_or(&field.sql).to_owned();
    let fault = Diagnostic::error("bad-mapping", &field.place, message);
    PlanError::Faults(vec![match nearest(&wrong, columns.iter().map(String::as_str)) {
        Some(near) => fault.help(format!("did you mean `{near}`?")),
        None if is_preset(&field.place) => fault.help("presets are written for PostgreSQL: set this key beside `preset:`"),
        None if columns.is_empty() => fault,
        None => fault.help(format!("columns here: {}", columns.join(", "))),
    }])
}

enum Argument {
    Text(String),
    Number(f64),
}

enum Scalar<'r> {
    Null,
    Integer(i64),
    Real(f64),
    Text(Cow<'r, str>),
    Blob,
}

impl Scalar<'_> {
    /// None where it is none, or not a number.
    fn number(&self) -> Option<f64> {
        match self {
            Scalar::Integer(n) => Some(*n as f64),
            Scalar::Real(n) => Some(*n),
            Scalar::Text(text) => text.trim().parse().ok(),
            Scalar::Null | Scalar::Blob => None,
        }
        .filter(|number: &f64| !number.is_nan())
    }
}

/// A value by its own type, whatever its column was declared as.
fn scalar(value: SqliteValueRef<'_>) -> Scalar<'_> {
    if value.is_null() {
        return Scalar::Null;
    }
    let type_name = value.type_info().name().to_owned();
    let read = match type_name.as_str() {
        "INTEGER" | "BOOLEAN" => <i64 as Decode<Sqlite>>::decode(value).map(Scalar::Integer),
        "REAL" => <f64 as Decode<Sqlite>>::decode(value).map(Scalar::Real),
        "BLOB" => Ok(Scalar::Blob),
        // SQLite does not see to it that text is UTF-8.
        _ => <&[u8] as Decode<Sqlite>>::decode(value).map(|bytes| Scalar::Text(String::from_utf8_lossy(bytes))),
    };
    read.unwrap_or(Scalar::Null)
}

fn time(value: SqliteValueRef<'_>) -> Option<Time> {
    match scalar(value) {
        Scalar::Text(text) => text_time(&text),
        Scalar::Integer(n) => number_time(n as f64),
        Scalar::Real(n) => number_time(n),
        Scalar::Null | Scalar::Blob => None,
    }
}

fn number(value: SqliteValueRef<'_>) -> Option<f64> {
    scalar(value).number()
}

fn truth(value: SqliteValueRef<'_>) -> bool {
    match scalar(value) {
        Scalar::Text(text) => matches!(text.as_ref(), "true" | "t" | "1"),
        Scalar::Integer(n) => n != 0,
        Scalar::Real(n) => n != 0.0,
        Scalar::Null | Scalar::Blob => false,
    }
}

impl Plan {
    fn decode(&self, row: &SqliteRow, out: &mut Row) -> Result<(), sqlx::Error> {
        (out.complete, out.success) = (true, false);
        out.clear_lists();
        for (i, slot) in self.slots.iter().enumerate() {
            let value = row.try_get_raw(i)?;
            match slot {
                Slot::Id => {
                    out.id = match scalar(value) {
                        Scalar::Integer(n) => Id::Integer(n),
                        Scalar::Text(text) => Id::Text(text.into_owned()),
                        Scalar::Real(n) => Id::Text(n.to_string()),
                        Scalar::Null | Scalar::Blob => Id::Null,
                    };
                    out.key = out.id.key();
                }
                Slot::Time => out.time = time(value).unwrap_or(Time::MIN),
                Slot::Complete => out.complete = truth(value),
                Slot::Success => out.success = truth(value),
                Slot::InputTokens => out.input_tokens = number(value).and_then(float_count),
                Slot::OutputTokens => out.output_tokens = number(value).and_then(float_count),
                Slot::TotalTokens => out.total_tokens = number(value).and_then(float_count),
                Slot::Count => out.count = number(value).and_then(float_count),
                Slot::Latency => out.latency = number(value),
                Slot::Cost => out.cost = number(value).and_then(float_nanos),
                Slot::Dimension => match scalar(value) {
                    Scalar::Null | Scalar::Blob => out.dimensions.null(),
                    Scalar::Text(text) => out.dimensions.text(text.as_bytes()),
                    Scalar::Integer(n) => out.dimensions.integer(n),
                    Scalar::Real(n) => out.dimensions.text(n.to_string().as_bytes()),
                },
                Slot::Measure => out.measures.push(match scalar(value) {
                    Scalar::Integer(n) => Some(integer_micros(n)),
                    other => other.number().and_then(float_micros),
                }),
                Slot::Mark => out.marks.push(match scalar(value) {
                    Scalar::Null | Scalar::Blob => None,
                    Scalar::Text(text) => mark::text(text.as_bytes()),
                    Scalar::Integer(n) => mark::integer(n),
                    Scalar::Real(n) => mark::text(n.to_string().as_bytes()),
                }),
            }
        }
        Ok(())
    }
}
