//! The loop over one source: connect, read a turn, hand it to the core; after any fault begin again from what is stored.

use std::sync::Arc;

use rustc_hash::FxHashSet;
use tokio::sync::{Mutex, watch};
use tokio::task::JoinHandle;

use crate::config::Source;
use crate::diag::Diagnostic;
use crate::engine::asking::Asking;
use crate::engine::clock::{self, Stopwatch};
use crate::engine::core::Core;
use crate::engine::shared::Shared;
use crate::event::Key;
use crate::export::own::SourceLabel;
use crate::labels::escape;
use crate::source::postgres::PlanError;
use crate::source::reader::FIRST_SLICE;
use crate::source::{Batch, Database, Reader, TableBatch, Turn, Wanted};
use crate::time::{Span, Time};

/// After every row.
const FAR: Time = Time(i64::MAX / 4);
/// How long a connection may take to be made.
const CONNECT: Span = Span::secs(10);
/// The longest wait before a source that failed is tried again.
const BACKOFF_MAX: Span = Span::secs(15);
/// The first wait.
const BACKOFF_MIN: Span = Span::millis(250);
/// How often gauges over old rows are asked for.
const GAUGES_EVERY: Span = Span::secs(60);

/// Why a session over a source ended.
#[derive(Debug)]
pub enum Fault {
    /// The mapping does not fit the database.
    Mapping(Vec<Diagnostic>),
    /// The database cannot be read.
    Database(String),
}

impl From<PlanError> for Fault {
    fn from(error: PlanError) -> Fault {
        match error {
            PlanError::Faults(faults) => Fault::Mapping(faults),
            PlanError::Lost(error) => Fault::from(error),
        }
    }
}

impl From<sqlx::Error> for Fault {
    fn from(error: sqlx::Error) -> Fault {
        // The line that the driver's own text names is one of the server's source code.
        Fault::Database(match error.as_database_error() {
            Some(said) => {
                format!("{}{}", said.message(), said.code().map_or_else(String::new, |code| format!(" (SQLSTATE {code})")))
            }
            None => error.to_string(),
        })
    }
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Fault::Mapping(faults) => f.write_str(&faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")),
            Fault::Database(error) => f.write_str(error),
        }
    }
}

/// The batch that the core is counting while the next one is read. Whoever owns it settles it before anybody asks the core
/// where to go on, whatever became of the session.
#[derive(Debug, Default)]
pub struct Counting(Option<JoinHandle<()>>);

impl Counting {
    /// Waits until all that was handed over is counted.
    pub async fn settle(&mut self) {
        // It stays here while it is waited for: this wait may itself be cut off.
        let Some(counting) = &mut self.0 else { return };
        if counting.await.is_err_and(|error| error.is_panic()) {
            // Half of a batch is counted in memory and none on disk; only the disk is right.
            std::process::abort();
        }
        self.0 = None;
    }
}

/// Connects to a source; no fault shows its URL.
pub async fn connect(source: &Source) -> Result<Database, Fault> {
    match tokio::time::timeout(CONNECT.to_std(), Database::open(&source.url)).await {
        Ok(Ok(db)) => Ok(db),
        Ok(Err(error)) => Err(Fault::Database(source.url.redact(&error.to_string()))),
        Err(_) => Err(Fault::Database(format!("no connection within {CONNECT}"))),
    }
}

/// A connection with the readers of all tables of a source.
#[derive(Debug)]
pub struct Session<'a> {
    source: Source,
    db: Database,
    readers: Vec<Reader>,
    core: Arc<Mutex<Core>>,
    counting: &'a mut Counting,
}

/// Runs a step of the core to its end, also where whoever waits for it is cut off.
async fn whole<T: Send + 'static>(step: impl Future<Output = T> + Send + 'static) -> Result<T, Fault> {
    tokio::spawn(step).await.map_err(|error| Fault::Database(format!("the state cannot be changed: {error}")))
}

impl<'a> Session<'a> {
    /// Connects and prepares every table, going on from what is stored.
    pub async fn open(
        source: &Source,
        wanted: &Wanted,
        core: &Arc<Mutex<Core>>,
        counting: &'a mut Counting,
        slice: Span,
    ) -> Result<Session<'a>, Fault> {
        let mut db = connect(source).await?;
        let (mut readers, mut faults) = (Vec::new(), Vec::new());
        for mapping in &source.tables {
            let stored = core.lock().await.position(&source.name, &mapping.name);
            let (position, shapes) = stored.unwrap_or_default();
            match Reader::new(&mut db, mapping.clone(), wanted, position, &shapes, slice).await {
                Ok((reader, warnings)) => {
                    warnings.iter().for_each(|warning| tracing::warn!(source = source.name, "{warning}"));
                    readers.push(reader);
                }
                Err(PlanError::Faults(mut found)) => faults.append(&mut found),
                Err(lost) => return Err(lost.into()),
            }
        }
        if !faults.is_empty() {
            return Err(Fault::Mapping(faults));
        }
        Ok(Session { source: source.clone(), db, readers, core: core.clone(), counting })
    }

    /// One turn over all tables in one transaction; says whether they are read up to now. `now` replays the past.
    pub async fn turn(&mut self, now: Option<Time>) -> Result<bool, Fault> {
        let turn = self.db.begin(self.source.statement_timeout(), now).await?;
        let mut tables = Vec::new();
        for i in 0..self.readers.len() {
            tables.extend(self.step_back(i, turn).await?);
            let batch = self.readers[i].turn(&mut self.db, turn).await?;
            let repaired = self.repair(i, turn, &batch).await?;
            tables.push(batch);
            tables.extend(repaired);
        }
        let caught_up = self.readers.iter().all(Reader::caught_up);
        self.hand_over(Batch { source: self.source.name.clone(), now: turn.now, caught_up, fill: false, tables }).await;
        if caught_up {
            self.fill(turn).await?;
        }
        self.db.end().await?;
        Ok(caught_up)
    }

    /// Keys that the core has counted in a table from an instant on, up to another.
    async fn counted(&mut self, table: &str, from: Time, to: Time) -> Result<FxHashSet<Key>, Fault> {
        self.counting.settle().await;
        let counted = self.core.lock().await.counted(&self.source.name, table, from, to).await;
        counted.map_err(|error| Fault::Database(format!("cannot read the state: {error:#}")))
    }

    /// Where the clock went back, what was counted since is looked out for again.
    async fn step_back(&mut self, i: usize, turn: Turn) -> Result<Option<TableBatch>, Fault> {
        let Some(from) = self.readers[i].recall_from(turn.now) else { return Ok(None) };
        let table = self.readers[i].table().to_owned();
        tracing::warn!(source = self.source.name, table, now = %turn.now, "the clock of the database went back; reading goes back with it");
        let counted = self.counted(&table, from, FAR).await?;
        Ok(Some(self.readers[i].step_back(turn.now, &counted)))
    }

    /// Looks for rows that came later than the lateness, and reads them; `batch` is what this turn counts already.
    async fn repair(&mut self, i: usize, turn: Turn, batch: &TableBatch) -> Result<Option<TableBatch>, Fault> {
        if !self.readers[i].repair_due(turn.now) {
            return Ok(None);
        }
        let hours = self.readers[i].short_hours(&mut self.db, turn.now).await?;
        let table = self.readers[i].table().to_owned();
        let hour = |n: i64| Time(n * Span::secs(3_600).0);
        let mut known = match (hours.first(), hours.last()) {
            (Some(first), Some(last)) => self.counted(&table, hour(*first), hour(*last + 1)).await?,
            _ => FxHashSet::default(),
        };
        known.extend(batch.moved.counted.iter().map(|(key, _)| *key));
        let core = self.core.clone();
        whole(async move { core.lock().await.forget_counted(turn.now).await }).await?;
        let batch = self.readers[i].repair(&mut self.db, turn, &hours, &known).await?;
        if batch.late > 0 {
            tracing::warn!(
                source = self.source.name,
                table,
                rows = batch.late,
                "rows came later than the lateness; they are counted now"
            );
        }
        Ok(Some(batch))
    }

    /// Reads history for rules that are new, as this transaction sees it; what it has newer was counted just now.
    async fn fill(&mut self, turn: Turn) -> Result<(), Fault> {
        // Without new rules nothing waits here for the batch to be counted.
        if self.core.lock().await.missing_from(&self.source.name, turn.now).is_none() {
            return Ok(());
        }
        self.counting.settle().await;
        let Some(from) = self.core.lock().await.begin_fill(&self.source.name, turn.now) else { return Ok(()) };
        for i in 0..self.readers.len() {
            let mut next = Some(from);
            while let Some(at) = next {
                let (table, more) = self.readers[i].fill(&mut self.db, turn, at).await?;
                let (source, now) = (self.source.name.clone(), turn.now);
                self.hand_over(Batch { source, now, caught_up: true, fill: true, tables: vec![table] }).await;
                next = more;
            }
        }
        self.counting.settle().await;
        let (core, source) = (self.core.clone(), self.source.name.clone());
        let filled = whole(async move { core.lock().await.filled(&source).await }).await?;
        filled.map_err(|error| Fault::Database(format!("cannot write the state: {error:#}")))
    }

    /// Gives a batch to the core, which counts it while the next one is read.
    async fn hand_over(&mut self, batch: Batch) {
        self.counting.settle().await;
        let core = self.core.clone();
        self.counting.0 = Some(tokio::spawn(async move {
            core.lock().await.count(batch, clock::now()).await;
        }));
    }

    /// Asks what rules want to know and is due, until so much time is spent: a query is not to hold up the next poll. The
    /// rest is asked after it.
    pub async fn ask(&mut self, asking: &mut Asking, now: Option<Time>, time: Span) -> Result<(), Fault> {
        self.counting.settle().await;
        let source = self.source.name.clone();
        let queries = self.core.lock().await.queries(&source);
        let watch = Stopwatch::start();
        for query in asking.due(queries) {
            let before = watch.elapsed();
            let answer = self.db.ask(&query, self.source.statement_timeout(), now).await;
            let (answer, lost) = match answer {
                Ok(answer) => (answer.map_err(|said| self.source.url.redact(&said)), None),
                Err(error) => (Err(self.source.url.redact(&error.to_string())), Some(error)),
            };
            asking.asked(&query, answer.is_ok(), Span(watch.elapsed().0 - before.0));
            let (core, name, sql) = (self.core.clone(), source.clone(), query.sql.clone());
            let step = async move { core.lock().await.answered(&name, &sql, answer, clock::now()).await };
            asking.tell(&source, &query, &whole(step).await?);
            if let Some(lost) = lost {
                return Err(lost.into());
            }
            if watch.elapsed() >= time {
                break;
            }
        }
        Ok(())
    }

    /// Asks for the gauges over old rows, each table in a transaction of its own.
    async fn gauges(&mut self, shared: &Shared) -> Result<(), Fault> {
        for i in 0..self.readers.len() {
            let turn = self.db.begin(self.source.statement_timeout(), None).await?;
            if let Some(count) = self.readers[i].unresolved(&mut self.db, turn.now).await? {
                let labels =
                    format!("{{source=\"{}\",table=\"{}\"}}", escape(&self.source.name), escape(self.readers[i].table()));
                shared.set_unresolved(labels, count);
            }
            self.db.end().await?;
        }
        Ok(())
    }
}

/// What reads one source from session to session.
#[derive(Debug)]
struct Ingest {
    source: Source,
    wanted: Wanted,
    core: Arc<Mutex<Core>>,
    shared: Arc<Shared>,
    label: SourceLabel,
    /// The fault that was logged last.
    told: String,
    backoff: Span,
    /// How much history is read at a time.
    slice: Span,
    /// What rules ask.
    asking: Asking,
}

/// Reads a source until told to stop.
pub async fn run(source: Source, wanted: Wanted, core: Arc<Mutex<Core>>, shared: Arc<Shared>, mut stop: watch::Receiver<bool>) {
    let label = SourceLabel { source: source.name.clone() };
    let (told, asking) = (String::new(), Asking::default());
    let mut ingest = Ingest { source, wanted, core, shared, label, told, backoff: BACKOFF_MIN, slice: FIRST_SLICE, asking };
    while !*stop.borrow() {
        let mut counting = Counting::default();
        let fault = tokio::select! {
            fault = ingest.session(&mut counting) => Some(fault),
            _ = stop.changed() => None,
        };
        counting.settle().await;
        let Some(fault) = fault else { break };
        ingest.failed(&fault);
        tokio::select! {
            () = tokio::time::sleep(ingest.backoff.to_std()) => {}
            _ = stop.changed() => break,
        }
        ingest.backoff = Span(ingest.backoff.0 * 2).min(BACKOFF_MAX);
    }
}

impl Ingest {
    /// Polls over one connection until something fails.
    async fn session(&mut self, counting: &mut Counting) -> Fault {
        let source = self.source.clone();
        let mut session = match Session::open(&source, &self.wanted, &self.core, counting, self.slice).await {
            Ok(session) => session,
            Err(fault) => return fault,
        };
        let mut gauges: Option<Stopwatch> = None;
        loop {
            let watch = Stopwatch::start();
            let caught_up = match session.turn(None).await {
                Ok(caught_up) => caught_up,
                Err(fault) => return fault,
            };
            self.succeeded(&session, watch.elapsed());
            if !caught_up {
                continue;
            }
            session.counting.settle().await;
            if let Err(fault) = session.ask(&mut self.asking, None, source.poll).await {
                return fault;
            }
            if gauges.is_none_or(|since| since.elapsed() >= GAUGES_EVERY) {
                gauges = Some(Stopwatch::start());
                if let Err(fault) = session.gauges(&self.shared).await {
                    return fault;
                }
            }
            let left = Span(source.poll.0 - watch.elapsed().0);
            tokio::time::sleep(left.to_std()).await;
        }
    }

    fn succeeded(&mut self, session: &Session<'_>, took: Span) {
        let own = &self.shared.own;
        own.poll_duration.get_or_create(&self.label).observe(took.as_secs_f64());
        own.source_up.get_or_create(&self.label).set(1);
        let open: usize = session.readers.iter().map(Reader::open_rows).sum();
        own.rows_open.get_or_create(&self.label).set(open as i64);
        if !self.told.is_empty() {
            tracing::info!(source = self.source.name, "can be read again");
            self.told.clear();
        }
        self.backoff = BACKOFF_MIN;
        self.slice = session.readers.iter().map(Reader::slice).min().unwrap_or(self.slice);
    }

    fn failed(&mut self, fault: &Fault) {
        self.shared.own.source_up.get_or_create(&self.label).set(0);
        self.shared.own.poll_failures.get_or_create(&self.label).inc();
        let text = fault.to_string();
        if text != self.told {
            tracing::error!(source = self.source.name, "cannot read: {text}");
            self.told = text;
        }
        // Should the slice have been too long for the statement timeout, the next one is shorter.
        self.slice = Span(self.slice.0 / 2).max(Span::secs(1));
    }
}
