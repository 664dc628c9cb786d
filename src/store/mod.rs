//! Our own state: one SQLite file, written by one transaction for each step of the core.
//!
//! What has been counted is a checkpoint and a journal of the batches since: state = fold(apply, checkpoint, journal). A
//! step appends its batch and replaces the documents that it changed (alerts, routing, position of the evaluation) and the
//! deliveries, all in one transaction; only then is it seen outside. Losing power or being killed loses nothing that was
//! seen, since the file is in WAL mode with synchronous=FULL.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqliteLockingMode, SqliteSynchronous};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Executor, Row, SqliteExecutor};

use crate::time::{Span, Time};

/// Version of the layout, kept in `PRAGMA user_version`. Versions 1 and 2 were written before the first release only.
pub const VERSION: i64 = 3;

const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS documents (kind TEXT NOT NULL, name TEXT NOT NULL, body BLOB NOT NULL, PRIMARY KEY (kind, name)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS journal (seq INTEGER PRIMARY KEY, body BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS counted (seq INTEGER PRIMARY KEY, source TEXT NOT NULL, tbl TEXT NOT NULL, oldest INTEGER NOT NULL, newest INTEGER NOT NULL, keys BLOB NOT NULL);
CREATE INDEX IF NOT EXISTS counted_newest ON counted (newest);
CREATE TABLE IF NOT EXISTS deliveries (id INTEGER PRIMARY KEY, body BLOB NOT NULL);
";

/// Kind, name and body; none deletes it.
pub type Document = (&'static str, String, Option<Vec<u8>>);

/// What one step changes.
#[derive(Debug, Default)]
pub struct Commit {
    /// The batch that was counted.
    pub journal: Option<Vec<u8>>,
    /// Keys that were counted, for the repair pass.
    pub counted: Vec<Counted>,
    /// Documents that changed, by kind and name; none deletes one.
    pub documents: Vec<Document>,
    /// Deliveries that changed; none deletes one.
    pub deliveries: Vec<(u64, Option<Vec<u8>>)>,
    /// Counted keys older than this are not needed again.
    pub forget_counted: Option<Time>,
}

/// Keys that a batch counted in one table.
#[derive(Debug)]
pub struct Counted {
    /// The source's name.
    pub source: String,
    /// The table's name.
    pub table: String,
    /// Time of the oldest row.
    pub oldest: Time,
    /// Time of the newest row.
    pub newest: Time,
    /// The keys.
    pub keys: Vec<u8>,
}

impl Commit {
    /// Whether there is nothing to write.
    pub fn is_empty(&self) -> bool {
        self.journal.is_none()
            && self.counted.is_empty()
            && self.documents.is_empty()
            && self.deliveries.is_empty()
            && self.forget_counted.is_none()
    }
}

/// The state file.
#[derive(Debug)]
pub struct Store {
    /// None after a fault: what is left of a transaction that failed is known only to SQLite, so that the file is opened
    /// anew before anything else is written.
    connection: Option<SqliteConnection>,
    path: Option<PathBuf>,
    /// The number of the next entry of the journal; a try that is repeated replaces what the last one may have written.
    next_entry: i64,
    journal_bytes: u64,
    checkpoint_bytes: u64,
}

/// The journal may grow to this before a checkpoint replaces it, or to the size of the last checkpoint if that is more.
const JOURNAL_BYTES: u64 = 8 << 20;
/// A value of SQLite may have a billion bytes.
const PART_BYTES: usize = 256 << 20;

impl Store {
    /// Opens the file, or creates it; `None` is a state that is never written (once).
    pub async fn open(path: Option<&Path>) -> Result<Store> {
        let mut connection = connect(path).await?;
        let size = "SELECT (SELECT coalesce(sum(length(body)), 0) FROM journal), (SELECT coalesce(max(seq), 0) FROM journal),
            (SELECT coalesce(sum(length(body)), 0) FROM documents WHERE kind = 'checkpoint')";
        let row = connection.fetch_one(size).await?;
        let (journal_bytes, checkpoint_bytes) = (row.get::<i64, _>(0) as u64, row.get::<i64, _>(2) as u64);
        let next_entry = row.get::<i64, _>(1) + 1;
        Ok(Store { connection: Some(connection), path: path.map(Path::to_owned), next_entry, journal_bytes, checkpoint_bytes })
    }

    async fn connection(&mut self) -> Result<&mut SqliteConnection> {
        if self.connection.is_none() {
            self.connection = Some(connect(self.path.as_deref()).await?);
        }
        self.connection.as_mut().context("the state file is not open")
    }

    /// Gives the connection up after a fault.
    fn ended<T>(&mut self, result: Result<T>) -> Result<T> {
        if result.is_err() && self.path.is_some() {
            self.connection = None;
        }
        result
    }

    /// One step, all or nothing.
    pub async fn commit(&mut self, commit: &Commit) -> Result<()> {
        if commit.is_empty() {
            return Ok(());
        }
        let entry = self.next_entry;
        let written = match self.connection().await {
            Ok(connection) => write(connection, commit, entry).await,
            Err(error) => Err(error),
        };
        self.ended(written)?;
        if let Some(body) = &commit.journal {
            self.next_entry += 1;
            self.journal_bytes += body.len() as u64;
        }
        Ok(())
    }

    /// Whether the journal has grown so long that a checkpoint should replace it.
    pub fn wants_checkpoint(&self) -> bool {
        self.journal_bytes > JOURNAL_BYTES.max(self.checkpoint_bytes)
    }

    /// Replaces the journal by the state that it leads to, in parts that SQLite can hold.
    pub async fn checkpoint(&mut self, body: &[u8]) -> Result<()> {
        // Should it fail, the next try waits until the journal has doubled.
        self.checkpoint_bytes = self.checkpoint_bytes.max(2 * self.journal_bytes);
        let written = match self.connection().await {
            Ok(connection) => replace(connection, body).await,
            Err(error) => Err(error),
        };
        self.ended(written)?;
        (self.journal_bytes, self.checkpoint_bytes) = (0, body.len() as u64);
        Ok(())
    }

    /// The documents of a kind.
    pub async fn documents(&mut self, kind: &str) -> Result<Vec<(String, Vec<u8>)>> {
        let rows = sqlx::query("SELECT name, body FROM documents WHERE kind = $1 ORDER BY name")
            .bind(kind)
            .fetch_all(self.connection().await?)
            .await?;
        rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?))).collect()
    }

    /// The journal in its order.
    pub async fn journal(&mut self) -> Result<Vec<Vec<u8>>> {
        let rows = self.connection().await?.fetch_all("SELECT body FROM journal ORDER BY seq").await?;
        rows.iter().map(|row| Ok(row.try_get(0)?)).collect()
    }

    /// The deliveries.
    pub async fn deliveries(&mut self) -> Result<Vec<Vec<u8>>> {
        let rows = self.connection().await?.fetch_all("SELECT body FROM deliveries ORDER BY id").await?;
        rows.iter().map(|row| Ok(row.try_get(0)?)).collect()
    }

    /// Keys that were counted in a table for rows of a span.
    pub async fn counted(&mut self, source: &str, table: &str, from: Time, to: Time) -> Result<Vec<Vec<u8>>> {
        let sql = "SELECT keys FROM counted WHERE source = $1 AND tbl = $2 AND newest >= $3 AND oldest < $4";
        let rows = sqlx::query(sql).bind(source).bind(table).bind(from.0).bind(to.0).fetch_all(self.connection().await?).await?;
        rows.iter().map(|row| Ok(row.try_get(0)?)).collect()
    }

    /// Size of the state on disk.
    pub fn bytes(&self) -> u64 {
        let size = |suffix: &str| {
            let path = self.path.as_ref()?;
            std::fs::metadata(format!("{}{suffix}", path.display())).ok().map(|file| file.len())
        };
        ["", "-wal"].into_iter().filter_map(size).sum()
    }

    /// Moves what is in the write-ahead log into the file, so that a copy of that one file is a whole backup.
    pub async fn shrink(&mut self) -> Result<()> {
        self.connection().await?.execute("PRAGMA wal_checkpoint(TRUNCATE)").await?;
        Ok(())
    }
}

/// Opens the file for us alone, and makes sure that it is ours.
async fn connect(path: Option<&Path>) -> Result<SqliteConnection> {
    let options = match path {
        Some(path) => SqliteConnectOptions::new().filename(path).create_if_missing(true),
        None => SqliteConnectOptions::new().in_memory(true),
    };
    let shown = path.map_or_else(|| "memory".to_owned(), |path| path.display().to_string());
    let options = options
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .locking_mode(SqliteLockingMode::Exclusive)
        .busy_timeout(Span::secs(1).to_std())
        .disable_statement_logging();
    if let Some(path) = path {
        make_private(path).with_context(|| format!("cannot create the state file {shown}"))?;
        refuse_others(path).await?;
    }
    let in_use = |error: &sqlx::Error| error.to_string().contains("locked");
    let mut connection = match SqliteConnection::connect_with(&options).await {
        Ok(connection) => connection,
        Err(error) if in_use(&error) => bail!("the state file {shown} is in use by another modelwatch"),
        Err(error) => return Err(error).with_context(|| format!("cannot open the state file {shown}")),
    };
    let prepare = async {
        let mut transaction = connection.begin().await?;
        transaction.execute(sqlx::raw_sql(SCHEMA)).await?;
        transaction.execute(sqlx::raw_sql(AssertSqlSafe(format!("PRAGMA user_version = {VERSION}")))).await?;
        transaction.commit().await
    };
    match prepare.await {
        Ok(()) => Ok(connection),
        Err(error) if in_use(&error) => bail!("the state file {shown} is in use by another modelwatch"),
        Err(error) => Err(error).with_context(|| format!("cannot write the state file {shown}")),
    }
}

/// A file of a newer version, or one that somebody else keeps his tables in, is left as it is.
async fn refuse_others(path: &Path) -> Result<()> {
    let shown = path.display();
    let options = SqliteConnectOptions::new().filename(path).read_only(true).disable_statement_logging();
    let look = async {
        let mut connection = SqliteConnection::connect_with(&options).await?;
        let version: i64 = connection.fetch_one("PRAGMA user_version").await?.try_get(0)?;
        let tables = "SELECT count(*), coalesce(sum(name = 'documents'), 0) FROM sqlite_schema WHERE type = 'table'";
        let row = connection.fetch_one(tables).await?;
        let (tables, ours): (i64, i64) = (row.try_get(0)?, row.try_get(1)?);
        connection.close().await?;
        Ok::<_, sqlx::Error>((version, tables, ours))
    };
    match look.await {
        Ok((version, ..)) if version > VERSION => bail!(
            "the state file {shown} is of version {version}, written by a newer modelwatch; this one reads up to {VERSION}: \
             run the newer binary, or move the file away to begin anew"
        ),
        Ok((version, _, ours)) if ours > 0 && version < VERSION => bail!(
            "the state file {shown} is of version {version}, written before the first release; this one reads version {VERSION}: \
             move the file away to begin anew (history is read again, and counters begin with it)"
        ),
        Ok((_, tables, 0)) if tables > 0 => {
            bail!("the state file {shown} is a database of something else; name another file for `state`")
        }
        Ok(_) => Ok(()),
        Err(error) if error.to_string().contains("locked") => bail!("the state file {shown} is in use by another modelwatch"),
        Err(error) => Err(error).with_context(|| format!("cannot read the state file {shown}")),
    }
}

async fn write(connection: &mut SqliteConnection, commit: &Commit, entry: i64) -> Result<()> {
    // Refused where an earlier transaction is still open, which a nested one would hide.
    let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
    if let Some(body) = &commit.journal {
        let insert = sqlx::query("INSERT OR REPLACE INTO journal (seq, body) VALUES ($1, $2)");
        insert.bind(entry).bind(body.as_slice()).execute(&mut *transaction).await?;
    }
    for counted in &commit.counted {
        sqlx::query("INSERT INTO counted (source, tbl, oldest, newest, keys) VALUES ($1, $2, $3, $4, $5)")
            .bind(&counted.source)
            .bind(&counted.table)
            .bind(counted.oldest.0)
            .bind(counted.newest.0)
            .bind(counted.keys.as_slice())
            .execute(&mut *transaction)
            .await?;
    }
    put_documents(&mut transaction, &commit.documents).await?;
    put_deliveries(&mut transaction, &commit.deliveries).await?;
    if let Some(before) = commit.forget_counted {
        sqlx::query("DELETE FROM counted WHERE newest < $1").bind(before.0).execute(&mut *transaction).await?;
    }
    Ok(transaction.commit().await?)
}

async fn replace(connection: &mut SqliteConnection, checkpoint: &[u8]) -> Result<()> {
    let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
    transaction.execute("DELETE FROM documents WHERE kind = 'checkpoint'").await?;
    for (i, part) in checkpoint.chunks(PART_BYTES).enumerate() {
        put_document(&mut *transaction, "checkpoint", &format!("ledger/{i:06}"), Some(part)).await?;
    }
    transaction.execute("DELETE FROM journal").await?;
    Ok(transaction.commit().await?)
}

/// Creates the file readable by nobody else: it holds who was told what.
fn make_private(path: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::OpenOptionsExt;
    std::fs::OpenOptions::new().create(true).append(true).mode(0o600).open(path).map(drop)
}

/// Rows that one statement writes: each statement costs two changes of threads, and each number of rows a place among the
/// prepared ones.
const ROWS: [usize; 4] = [64, 16, 4, 1];

/// Rows in their order, in portions of those that are written and those that are deleted.
fn portions<T>(rows: &[T], is_written: impl Fn(&T) -> bool) -> impl Iterator<Item = &[T]> {
    let runs = rows.chunk_by(move |a, b| is_written(a) == is_written(b));
    runs.flat_map(|mut run| {
        std::iter::from_fn(move || {
            let rows = ROWS.into_iter().find(|rows| *rows <= run.len())?;
            let (portion, rest) = run.split_at(rows);
            run = rest;
            Some(portion)
        })
    })
}

async fn put_documents(connection: &mut SqliteConnection, documents: &[Document]) -> Result<(), sqlx::Error> {
    for portion in portions(documents, |(.., body)| body.is_some()) {
        if portion.iter().any(|(.., body)| body.is_none()) {
            for (kind, name, _) in portion {
                put_document(&mut *connection, kind, name, None).await?;
            }
            continue;
        }
        let values = vec!["(?, ?, ?)"; portion.len()].join(", ");
        let sql = format!("INSERT OR REPLACE INTO documents (kind, name, body) VALUES {values}");
        let mut query = sqlx::query(AssertSqlSafe(sql));
        for (kind, name, body) in portion {
            query = query.bind(*kind).bind(name).bind(body.as_deref());
        }
        query.execute(&mut *connection).await?;
    }
    Ok(())
}

async fn put_deliveries(connection: &mut SqliteConnection, deliveries: &[(u64, Option<Vec<u8>>)]) -> Result<(), sqlx::Error> {
    for portion in portions(deliveries, |(_, body)| body.is_some()) {
        let is_written = portion.iter().all(|(_, body)| body.is_some());
        let values = vec![if is_written { "(?, ?)" } else { "?" }; portion.len()].join(", ");
        let sql = match is_written {
            true => format!("INSERT OR REPLACE INTO deliveries (id, body) VALUES {values}"),
            false => format!("DELETE FROM deliveries WHERE id IN ({values})"),
        };
        let mut query = sqlx::query(AssertSqlSafe(sql));
        for (id, body) in portion {
            query = query.bind(*id as i64);
            if let Some(body) = body {
                query = query.bind(body.as_slice());
            }
        }
        query.execute(&mut *connection).await?;
    }
    Ok(())
}

async fn put_document(executor: impl SqliteExecutor<'_>, kind: &str, name: &str, body: Option<&[u8]>) -> Result<(), sqlx::Error> {
    let query = match body {
        Some(body) => sqlx::query("INSERT OR REPLACE INTO documents (kind, name, body) VALUES ($1, $2, $3)")
            .bind(kind)
            .bind(name)
            .bind(body),
        None => sqlx::query("DELETE FROM documents WHERE kind = $1 AND name = $2").bind(kind).bind(name),
    };
    query.execute(executor).await.map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn portions_keep_the_order_and_leave_out_nothing() {
        let rows: Vec<(u32, bool)> = (0..200).map(|n| (n, !(90..95).contains(&n) && n != 150)).collect();
        let portions: Vec<&[(u32, bool)]> = portions(&rows, |row| row.1).collect();
        let lengths: Vec<usize> = portions.iter().map(|portion| portion.len()).collect();
        assert_eq!(lengths, [64, 16, 4, 4, 1, 1, 4, 1, 16, 16, 16, 4, 1, 1, 1, 1, 16, 16, 16, 1]);
        assert_eq!(portions.concat(), rows);
        assert!(portions.iter().all(|portion| portion.iter().all(|row| row.1 == portion[0].1)));
    }

    #[tokio::test]
    async fn many_rows_are_what_one_after_another_would_be() {
        let mut store = Store::open(None).await.unwrap();
        let put = |n: u64| ("group", format!("{n:03}"), Some(vec![n as u8; 3]));
        let mut documents: Vec<Document> = (0..150).map(put).collect();
        documents.extend((10..140).map(|n| ("group", format!("{n:03}"), None)));
        documents.extend([put(20), ("other", "020".to_owned(), Some(vec![7]))]);
        let deliveries = (0..90).map(|id| (id, Some(vec![id as u8]))).chain((5..85).map(|id| (id, None))).collect();
        store.commit(&Commit { documents, deliveries, ..Commit::default() }).await.unwrap();
        let left: Vec<(String, Vec<u8>)> =
            (0..10).chain([20]).chain(140..150).map(|n: u64| (format!("{n:03}"), vec![n as u8; 3])).collect();
        assert_eq!(store.documents("group").await.unwrap(), left);
        assert_eq!(store.documents("other").await.unwrap(), [("020".to_owned(), vec![7])]);
        let left: Vec<Vec<u8>> = (0..5).chain(85..90).map(|id| vec![id]).collect();
        assert_eq!(store.deliveries().await.unwrap(), left);
    }
}
