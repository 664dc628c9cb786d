//! The kinds of databases behind one face.

use crate::diag::Diagnostic;
use crate::secret::Secret;
use crate::source::decode::Row;
use crate::source::mapping::{Field, Lookup, Mapping, Wanted};
use crate::source::postgres::{self, PlanError, Rows, Snapshot};
use crate::source::query::{Answer, Query};
use crate::source::sqlite;
use crate::time::{Span, Time};

/// A connection to a database that we read.
#[derive(Debug)]
pub enum Database {
    /// PostgreSQL.
    Postgres(postgres::Connection),
    /// SQLite.
    Sqlite(sqlite::Connection),
}

/// How a mapping is read there.
#[derive(Debug)]
pub enum Plan {
    /// Of a PostgreSQL table.
    Postgres(postgres::Plan),
    /// Of an SQLite table.
    Sqlite(sqlite::Plan),
}

/// The transaction of one turn.
#[derive(Clone, Copy, Debug)]
pub struct Turn {
    /// The instant that counts as now.
    pub now: Time,
    /// The past is played again: rows after `now` do not exist yet.
    pub replay: bool,
    /// What the transaction can see, where the database can tell.
    pub snapshot: Option<Snapshot>,
}

impl Database {
    /// Whether a URL is of a kind that can be read.
    pub fn knows(url: &str) -> bool {
        ["postgres://", "postgresql://", "sqlite:"].iter().any(|scheme| url.starts_with(scheme))
    }

    /// Connects.
    pub async fn open(url: &Secret) -> Result<Database, sqlx::Error> {
        if url.reveal().starts_with("sqlite:") {
            sqlite::Connection::open(url).await.map(Database::Sqlite)
        } else {
            postgres::Connection::open(url).await.map(Database::Postgres)
        }
    }

    /// Begins the transaction of one turn; `now` replaces the database's clock (replay).
    pub async fn begin(&mut self, timeout: Span, now: Option<Time>) -> Result<Turn, sqlx::Error> {
        let (at, snapshot) = match self {
            Database::Postgres(db) => db.begin(timeout).await.map(|(at, snapshot)| (at, Some(snapshot)))?,
            Database::Sqlite(db) => (db.begin().await?, None),
        };
        // What a replay leaves out must not pass for seen.
        Ok(Turn { now: now.unwrap_or(at), replay: now.is_some(), snapshot: snapshot.filter(|_| now.is_none()) })
    }

    /// Ends it.
    pub async fn end(&mut self) -> Result<(), sqlx::Error> {
        match self {
            Database::Postgres(db) => db.end().await,
            Database::Sqlite(db) => db.end().await,
        }
    }

    /// Asks the database about each part of a mapping; faults of all parts, or warnings.
    pub async fn plan(&mut self, mapping: &Mapping, wanted: &Wanted) -> Result<(Plan, Vec<Diagnostic>), PlanError> {
        Ok(match self {
            Database::Postgres(db) => db.plan(mapping, wanted).await.map(|(plan, warnings)| (Plan::Postgres(plan), warnings))?,
            Database::Sqlite(db) => db.plan(mapping, wanted).await.map(|(plan, warnings)| (Plan::Sqlite(plan), warnings))?,
        })
    }

    /// Streams rows into `sink`.
    pub async fn rows(&mut self, plan: &Plan, rows: &Rows<'_>, sink: &mut (dyn FnMut(&Row) + Send)) -> Result<(), sqlx::Error> {
        match (self, plan) {
            (Database::Postgres(db), Plan::Postgres(plan)) => db.rows(plan, rows, sink).await,
            (Database::Sqlite(db), Plan::Sqlite(plan)) => db.rows(plan, rows, sink).await,
            _ => Err(mismatch()),
        }
    }

    /// Time of the newest row.
    pub async fn newest(&mut self, plan: &Plan) -> Result<Option<Time>, sqlx::Error> {
        self.end_of(plan, true).await
    }

    /// Time of the oldest row.
    pub async fn oldest(&mut self, plan: &Plan) -> Result<Option<Time>, sqlx::Error> {
        self.end_of(plan, false).await
    }

    async fn end_of(&mut self, plan: &Plan, newest: bool) -> Result<Option<Time>, sqlx::Error> {
        match (self, plan) {
            (Database::Postgres(db), Plan::Postgres(plan)) => db.end_of(plan, newest).await,
            (Database::Sqlite(db), Plan::Sqlite(plan)) => db.end_of(plan, newest).await,
            _ => Err(mismatch()),
        }
    }

    /// Finished rows of each whole hour since the epoch.
    pub async fn hours(&mut self, plan: &Plan, from: Time, to: Time) -> Result<Vec<(i64, u64)>, sqlx::Error> {
        match (self, plan) {
            (Database::Postgres(db), Plan::Postgres(plan)) => db.hours(plan, from, to).await,
            (Database::Sqlite(db), Plan::Sqlite(plan)) => db.hours(plan, from, to).await,
            _ => Err(mismatch()),
        }
    }

    /// A lookup table, whole.
    pub async fn lookup(&mut self, lookup: &Lookup) -> Result<Vec<(String, String)>, sqlx::Error> {
        match self {
            Database::Postgres(db) => db.lookup(lookup).await,
            Database::Sqlite(db) => db.lookup(lookup).await,
        }
    }

    /// Asks a query of a rule, in a transaction of its own that nothing is left of; `now` replaces the database's clock.
    ///
    /// # Errors
    /// Within: what there is to say against the query or its answer. Without: the connection is lost.
    pub async fn ask(&mut self, query: &Query, timeout: Span, now: Option<Time>) -> Result<Result<Answer, String>, sqlx::Error> {
        let now = self.begin(timeout, now).await?.now;
        let answer = match self {
            Database::Postgres(db) => db.answer(query, now).await,
            Database::Sqlite(db) => db.answer(query, now, timeout).await,
        };
        self.asked(answer).await
    }

    /// The columns of a query of a rule, each with its type where that is known; nothing is read.
    ///
    /// # Errors
    /// As [`Database::ask`].
    pub async fn describe(
        &mut self,
        query: &Query,
        timeout: Span,
    ) -> Result<Result<Vec<(String, Option<String>)>, String>, sqlx::Error> {
        let now = self.begin(timeout, None).await?.now;
        let columns = match self {
            Database::Postgres(db) => {
                let typed = |(name, kind)| (name, Some(kind));
                db.describe(query, now).await.map(|known| known.map(|columns| columns.into_iter().map(typed).collect()))
            }
            Database::Sqlite(db) => {
                let untyped = |name| (name, None);
                db.describe(query).await.map(|known| known.map(|columns| columns.into_iter().map(untyped).collect()))
            }
        };
        self.asked(columns).await
    }

    /// Ends the transaction of a question; after an objection of the database it can only be given up.
    async fn asked<T>(&mut self, answer: Result<Result<T, String>, sqlx::Error>) -> Result<Result<T, String>, sqlx::Error> {
        let answer = match answer {
            Ok(Ok(answer)) => {
                self.end().await?;
                return Ok(Ok(answer));
            }
            Ok(Err(objection)) => Err(objection),
            Err(sqlx::Error::Database(said)) => {
                let code = said.code().map_or_else(String::new, |code| format!(" (SQLSTATE {code})"));
                let code = if let Database::Sqlite(_) = self { String::new() } else { code };
                // Insufficient privilege.
                let cure =
                    if code.contains("42501") { ": GRANT SELECT on it to the role that modelwatch reads with" } else { "" };
                Err(format!("{}{code}{cure}", said.message()))
            }
            // A text that is none in UTF-8.
            Err(undecoded @ sqlx::Error::ColumnDecode { .. }) => Err(undecoded.to_string()),
            Err(lost) => return Err(lost),
        };
        match self {
            Database::Postgres(db) => db.abort().await?,
            Database::Sqlite(db) => db.abort().await?,
        }
        Ok(answer)
    }

    /// How many rows from `from` on satisfy a condition.
    pub async fn count(&mut self, plan: &Plan, condition: &Field, from: Time) -> Result<u64, sqlx::Error> {
        match (self, plan) {
            (Database::Postgres(db), Plan::Postgres(plan)) => db.count(plan, condition, from).await,
            (Database::Sqlite(db), Plan::Sqlite(plan)) => db.count(plan, condition, from).await,
            _ => Err(mismatch()),
        }
    }
}

fn mismatch() -> sqlx::Error {
    sqlx::Error::Protocol("a plan was used with another database than it was made for".to_owned())
}
