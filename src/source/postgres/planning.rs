//! What a mapping is to PostgreSQL: the types of its parts, whether rows show their `xmin`, and whether an index serves.
//!
//! Each question is a transaction of its own by the simple protocol: nothing is prepared, so that nothing with a name is
//! left behind a pooler, and an error ends with its transaction.

use std::collections::BTreeSet;

use serde_json::Value;
use sqlx::postgres::{PgDatabaseError, PgRow};
use sqlx::{AssertSqlSafe, Column, Executor, Row as _, TypeInfo};

use crate::diag::{Diagnostic, nearest};
use crate::source::mapping::{Field, Mapping, Slot, Wanted};
use crate::source::postgres::{Codec, Connection, Plan, within};

/// A table is large, for the warning about sequential scans, from this many rows on.
const LARGE_TABLE_ROWS: u32 = 50_000;
/// So many tables of a plan are looked at; one with thousands of partitions names the like of them.
const TABLES_LOOKED_AT: usize = 50;

/// Why there is no plan.
#[derive(Debug)]
pub enum PlanError {
    /// The mapping is at fault.
    Faults(Vec<Diagnostic>),
    /// The database is.
    Lost(sqlx::Error),
}

impl From<sqlx::Error> for PlanError {
    fn from(error: sqlx::Error) -> PlanError {
        PlanError::Lost(error)
    }
}

impl PlanError {
    /// What the database says of a field is a fault of the mapping; what it does not say is a lost connection.
    fn of(error: sqlx::Error, what: &str, field: &Field, columns: &[String]) -> PlanError {
        let Some(database) = error.as_database_error().and_then(|e| e.try_downcast_ref::<PgDatabaseError>()) else {
            return PlanError::Lost(error);
        };
        // Class 57 is the operator's doing (shutdown, time-out), 53 a lack of resources, 08 the connection.
        if ["57", "53", "08"].iter().any(|class| database.code().starts_with(class)) {
            return PlanError::Lost(error);
        }
        let message = format!("{what} `{}`: {} (SQLSTATE {})", field.sql, database.message(), database.code());
        let wrong = database.message().split('"').nth(1).unwrap_or(&field.sql);
        let near = nearest(wrong, columns.iter().map(String::as_str)).map(|name| format!("did you mean `{name}`?"));
        let fault = Diagnostic::error("bad-mapping", &field.place, message);
        PlanError::Faults(vec![match near.or_else(|| database.hint().map(str::to_owned)) {
            Some(help) => fault.help(help),
            None if columns.is_empty() => fault,
            None => fault.help(format!("columns here: {}", columns.join(", "))),
        }])
    }
}

/// The type of an expression.
#[derive(Clone, Debug, Default)]
struct Type {
    /// Under which the wire carries it: a domain is what it stands on.
    wire: String,
    /// As PostgreSQL calls it.
    name: String,
}

impl Connection {
    /// Asks the database what each part of a mapping is; the faults of all parts, where there are any.
    pub async fn plan(&mut self, mapping: &Mapping, wanted: &Wanted) -> Result<(Plan, Vec<Diagnostic>), PlanError> {
        self.timeout = mapping.statement_timeout;
        let from = mapping.from_clause();
        let slots = mapping.slots(wanted);
        let mut faults = Vec::new();
        let fields: Vec<&Field> = slots.iter().map(|(_, field)| *field).collect();
        let types = match self.types_of(&fields, &from).await {
            Ok(types) => types.into_iter().map(Some).collect(),
            // Which of them is at fault, and whether others are too.
            Err(sqlx::Error::Database(_)) => self.types_one_by_one(mapping, &fields, &from, &mut faults).await?,
            Err(lost) => return Err(lost.into()),
        };
        let (mut list, mut columns, mut id_type, mut time_type) = (Vec::new(), Vec::new(), String::new(), "timestamp");
        for ((slot, field), found) in slots.into_iter().zip(types) {
            let Some(found) = found else { continue };
            match column(slot, field, &found) {
                Ok((sql, codec)) => {
                    list.push(sql);
                    columns.push((slot, codec));
                }
                Err(fault) => faults.push(*fault),
            }
            match slot {
                Slot::Id => id_type = found.wire,
                Slot::Time if found.wire == "TIMESTAMPTZ" => time_type = "timestamptz",
                _ => {}
            }
        }
        if !faults.is_empty() {
            return Err(PlanError::Faults(faults));
        }
        let has_xmin = match table_name(&mapping.from.sql).filter(|_| !mapping.is_select()) {
            Some(name) => self.shows_xmin(name).await?,
            None => false,
        };
        let parenthesized = |field: &Field| format!("({})", field.sql);
        let plan = Plan {
            select: list.join(", "),
            from,
            time: parenthesized(&mapping.time),
            time_type,
            id: parenthesized(&mapping.id),
            id_type,
            complete: mapping.complete.as_ref().map(parenthesized),
            columns,
            has_xmin,
        };
        let warning = self.scan_warning(&plan, mapping).await?;
        Ok((plan, warning.into_iter().collect()))
    }

    /// Rows of one statement, in a transaction of its own.
    async fn ask(&mut self, sql: &str) -> Result<Vec<PgRow>, sqlx::Error> {
        let timeout = self.timeout;
        let sql = format!("BEGIN READ ONLY; SET LOCAL statement_timeout = {};\n{sql}\n; COMMIT", timeout.0 / 1_000);
        let answer = within(timeout, self.inner.fetch_all(sqlx::raw_sql(AssertSqlSafe(sql)))).await;
        if matches!(answer, Err(sqlx::Error::Database(_))) {
            within(timeout, self.inner.execute(sqlx::raw_sql("ROLLBACK"))).await?;
        }
        answer
    }

    /// The same for what can be done without: none where the database has an objection.
    async fn ask_for_more(&mut self, sql: &str) -> Result<Vec<PgRow>, sqlx::Error> {
        match self.ask(sql).await {
            Err(sqlx::Error::Database(_)) => Ok(Vec::new()),
            answer => answer,
        }
    }

    /// The types of expressions over a table, of which nothing is read.
    async fn types_of(&mut self, fields: &[&Field], from: &str) -> Result<Vec<Type>, sqlx::Error> {
        let list: Vec<String> = fields.iter().enumerate().map(|(i, field)| format!("({}) AS c{i}", field.sql)).collect();
        let names: Vec<String> = (0..fields.len()).map(|i| format!("pg_typeof(c{i})::text")).collect();
        let sql = one_row(&format!("*, {}", names.join(", ")), &list.join(", "), from);
        let rows = self.ask(&sql).await?;
        let Some(row) = rows.first().filter(|row| row.columns().len() == 2 * fields.len()) else {
            return Err(sqlx::Error::Protocol("the types of the columns cannot be told".to_owned()));
        };
        let wire = row.columns().iter().map(|column| column.type_info().name().to_owned());
        wire.take(fields.len()).enumerate().map(|(i, wire)| Ok(Type { wire, name: row.try_get(fields.len() + i)? })).collect()
    }

    async fn types_one_by_one(
        &mut self,
        mapping: &Mapping,
        fields: &[&Field],
        from: &str,
        faults: &mut Vec<Diagnostic>,
    ) -> Result<Vec<Option<Type>>, PlanError> {
        let whole =
            self.ask(&one_row("asked.*", "*", from)).await.map_err(|error| PlanError::of(error, "table", &mapping.from, &[]))?;
        let names: Vec<String> = whole.iter().flat_map(|row| row.columns()).map(|column| column.name().to_owned()).collect();
        let mut types = Vec::new();
        for field in fields {
            types.push(match self.types_of(&[field], from).await {
                Ok(found) => found.into_iter().next(),
                Err(error) => match PlanError::of(error, "column", field, &names) {
                    PlanError::Faults(mut found) => {
                        faults.append(&mut found);
                        None
                    }
                    lost => return Err(lost),
                },
            });
        }
        Ok(types)
    }

    /// Whether the `xmin` of each row tells when it was written: so it is in ordinary tables alone, not in views, foreign
    /// tables, other ways to store, nor where a distributed table has its rows on other servers.
    async fn shows_xmin(&mut self, name: &str) -> Result<bool, sqlx::Error> {
        let name = literal(name);
        let tree = format!(
            "WITH RECURSIVE tree AS (SELECT to_regclass({name})::oid AS oid \
             UNION SELECT inhrelid FROM pg_inherits JOIN tree ON inhparent = tree.oid) "
        );
        let heaps = format!(
            "{tree} SELECT coalesce(bool_and(coalesce(relkind = 'p' OR relkind = 'r' AND amname = 'heap', false)), false)::text, \
             (to_regclass('pg_dist_partition') IS NOT NULL)::text \
             FROM tree LEFT JOIN pg_class ON pg_class.oid = tree.oid LEFT JOIN pg_am ON pg_am.oid = relam"
        );
        let rows = self.ask_for_more(&heaps).await?;
        let Some(row) = rows.first() else { return Ok(false) };
        let (heap, citus): (String, String) = (row.try_get(0)?, row.try_get(1)?);
        if heap != "true" || citus != "true" {
            return Ok(heap == "true");
        }
        let local =
            format!("{tree} SELECT 1 HAVING NOT EXISTS (SELECT FROM pg_dist_partition JOIN tree ON logicalrelid = tree.oid)");
        Ok(!self.ask_for_more(&local).await?.is_empty())
    }

    /// Looks at the plan of a poll: a sequential scan of a large table names the index that is missing.
    async fn scan_warning(&mut self, plan: &Plan, mapping: &Mapping) -> Result<Option<Diagnostic>, sqlx::Error> {
        let condition = format!("{} >= (now() AT TIME ZONE 'UTC')::text::{}", plan.time, plan.time_type);
        let sql = format!("EXPLAIN (FORMAT JSON, VERBOSE) SELECT {} FROM {} WHERE {condition}", plan.select, plan.from);
        let rows = self.ask_for_more(&sql).await?;
        let Some(explained) = rows.first() else { return Ok(None) };
        let explained = explained.try_get_raw(0)?.as_bytes().ok().and_then(|json| serde_json::from_slice(json).ok());
        let mut scanned = BTreeSet::new();
        scans(&explained.unwrap_or(Value::Null), &mut scanned);
        if scanned.is_empty() {
            return Ok(None);
        }
        let scanned: Vec<String> = scanned.into_iter().take(TABLES_LOOKED_AT).collect();
        let sql = format!(
            "SELECT pg_class.oid::regclass::text, reltuples::bigint::text FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace \
             WHERE (nspname, relname) IN ({}) AND reltuples >= {LARGE_TABLE_ROWS} ORDER BY reltuples DESC LIMIT 1",
            scanned.join(", ")
        );
        let rows = self.ask_for_more(&sql).await?;
        let Some(row) = rows.first() else { return Ok(None) };
        let (table, rows): (String, String) = (row.try_get(0)?, row.try_get(1)?);
        let time = &mapping.time;
        let message = format!("each poll reads all of {table} (about {rows} rows): no index serves `{}`", time.sql);
        let help = format!("CREATE INDEX CONCURRENTLY ON {table} ({})", time.sql);
        Ok(Some(Diagnostic::warning("no-index", &time.place, message).help(help)))
    }
}

/// A SELECT of exactly one row that shows the columns of another one, of which nothing is read.
pub(super) fn one_row(shown: &str, list: &str, from: &str) -> String {
    format!("SELECT {shown} FROM (SELECT {list} FROM {from} LIMIT 0) AS asked RIGHT JOIN (SELECT) AS one ON true")
}

/// A constant, whatever `standard_conforming_strings` is.
fn literal(text: &str) -> String {
    format!("E'{}'", text.replace('\\', "\\\\").replace('\'', "''"))
}

/// Schema and name of each table that a plan reads from end to end, as a row of constants.
fn scans(plan: &Value, found: &mut BTreeSet<String>) {
    match plan {
        Value::Array(all) => all.iter().for_each(|one| scans(one, found)),
        Value::Object(node) => {
            let text = |key: &str| node.get(key).and_then(Value::as_str);
            if let (Some("Seq Scan"), Some(schema), Some(name)) = (text("Node Type"), text("Schema"), text("Relation Name")) {
                found.insert(format!("({}, {})", literal(schema), literal(name)));
            }
            node.values().for_each(|part| scans(part, found));
        }
        _ => {}
    }
}

/// The name in `from` where it is that of one table, with its schema, quotes and all, but without an alias.
fn table_name(from: &str) -> Option<&str> {
    let from = from.trim();
    let mut rest = &from[identifier(from)?..];
    while let Some(tail) = rest.strip_prefix('.') {
        rest = &tail[identifier(tail)?..];
    }
    let name = &from[..from.len() - rest.len()];
    let alias = rest.trim_start();
    let alias = match alias.split_once(char::is_whitespace) {
        Some((word, alias)) if word.eq_ignore_ascii_case("as") => alias.trim_start(),
        _ => alias,
    };
    let alone = alias.is_empty() || (alias.len() < rest.len() && identifier(alias)? == alias.len());
    alone.then_some(name)
}

/// The length of the name that a text begins with.
fn identifier(text: &str) -> Option<usize> {
    if !text.starts_with('"') {
        let part = |c: char| c.is_alphanumeric() || c == '_' || c == '$' || !c.is_ascii();
        let length = text.find(|c| !part(c)).unwrap_or(text.len());
        return (length > 0).then_some(length);
    }
    let mut at = 1;
    loop {
        at += text[at..].find('"')? + 1;
        if !text[at..].starts_with('"') {
            return Some(at);
        }
        at += 1;
    }
}

/// The SQL of a column, cast where its own type is none we read, and how it is decoded.
fn column(slot: Slot, field: &Field, found: &Type) -> Result<(String, Codec), Box<Diagnostic>> {
    use Codec::{Bool, Float4, Float8, Int2, Int4, Int8, Numeric, Text, Timestamp, Uuid};
    let own = Codec::of(&found.wire);
    let (readable, cast, codec): (&[Codec], &str, Codec) = match slot {
        Slot::Id => (&[Uuid, Int2, Int4, Int8, Text], "text", Text),
        Slot::Time => (&[Timestamp], "", Timestamp),
        Slot::Complete | Slot::Success => (&[Bool], "boolean", Bool),
        Slot::Dimension | Slot::Mark => (&[Text, Uuid, Int2, Int4, Int8], "text", Text),
        _ => (&[Int2, Int4, Int8, Float4, Float8, Numeric], "", Numeric),
    };
    match own {
        Some(own) if readable.contains(&own) => Ok((format!("({})", field.sql), own)),
        _ if slot == Slot::Success && matches!(own, Some(Int2 | Int4 | Int8)) => Ok((format!("({} <> 0)", field.sql), Bool)),
        _ if cast == "text" => Ok((format!("({})::text", field.sql), codec)),
        _ => {
            let (expected, help) = match slot {
                Slot::Time => ("a timestamp", time_help(&found.wire, own)),
                Slot::Complete | Slot::Success => ("a condition", "a comparison such as `status = 'ok'`"),
                _ => ("a number", "`column::numeric` makes one of text"),
            };
            let message = format!("`{}` is of type {}, but {expected} is needed here", field.sql, found.name);
            Err(Box::new(Diagnostic::error("bad-mapping", &field.place, message).help(help)))
        }
    }
}

fn time_help(wire: &str, own: Option<Codec>) -> &'static str {
    match own {
        Some(Codec::Text) => "`column::timestamptz` makes one of text",
        _ if wire == "DATE" => "`column::timestamp` makes one of a date, its midnight in UTC",
        _ => "to_timestamp(column) makes one of seconds since 1970; to_timestamp(column / 1000.0) of milliseconds",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_told_from_what_else_stands_behind_from() {
        let names = [
            ("t", Some("t")),
            (" public.t ", Some("public.t")),
            ("\"My Logs\"", Some("\"My Logs\"")),
            ("\"a.b\".\"say \"\"so\"\"\" AS x", Some("\"a.b\".\"say \"\"so\"\"\"")),
            ("t x", Some("t")),
            ("t as \"the x\"", Some("t")),
            ("größen", Some("größen")),
            ("t, u", None),
            ("t JOIN u USING (id)", None),
            ("t TABLESAMPLE SYSTEM (10)", None),
            ("f(1)", None),
            ("ONLY t x", None),
            ("\"open", None),
            ("t.", None),
            ("", None),
        ];
        for (from, name) in names {
            assert_eq!(table_name(from), name, "{from}");
        }
    }

    #[test]
    fn constants_hold_what_they_are_given() {
        assert_eq!(literal(r"it's \ so"), r"E'it''s \\ so'");
    }
}
