//! Reading a table exactly once, whatever the order in which its rows become visible.
//!
//! Each turn is one transaction of the database (see [`Database::begin`]). A table that is behind is read in slices of
//! time from its floor on, each streamed and counted before the next; one that is not is polled: every row from the floor
//! on, of which those that were seen are left out. Rows that are not finished are looked up by id until they are.

use std::sync::Arc;

use rustc_hash::FxHashSet;

use crate::diag::Diagnostic;
use crate::event::Key;
use crate::limits::{BATCH_ROWS, LOOKUP_KEYS, MAX_OPEN, SLICE_ROWS};
use crate::source::batch::TableBatch;
use crate::source::database::{Database, Plan, Turn};
use crate::source::lookups::Lookups;
use crate::source::mapping::{Mapping, Wanted};
use crate::source::position::{Moved, Position};
use crate::source::postgres::{PlanError, Rows, Snapshot};
use crate::source::shapes::Shapes;
use crate::source::sift::Sift;
use crate::time::{Span, Time};

/// How often the repair pass looks at the past.
const REPAIR_EVERY: Span = Span::secs(3_600);
/// Slices of history begin with this length and grow or shrink to hold a batch.
pub const FIRST_SLICE: Span = Span::secs(600);
/// How often abandoned rows are looked up.
const ABANDONED_EVERY: Span = Span::secs(60);
/// The longest and the shortest slice.
const SLICES: (Span, Span) = (Span::secs(1), Span::secs(400 * 86_400));
const HOUR: Span = Span::secs(3_600);
/// After every row.
const NEVER: Time = Time(i64::MAX / 4);

/// The reader of one table over one connection.
#[derive(Debug)]
pub struct Reader {
    mapping: Arc<Mapping>,
    plan: Plan,
    position: Position,
    shapes: Shapes,
    lookups: Lookups,
    /// Up to where slices of history go; none once they have.
    target: Option<Time>,
    target_known: bool,
    /// Whether a poll over this connection has read all that is newer.
    polled: bool,
    slice: Span,
    /// Slices of a replay grow no longer than this: rows were too dense for that once.
    longest: Span,
    unseen_by: Option<Snapshot>,
    abandoned_at: Option<Time>,
}

impl Reader {
    /// Prepares to read; `shapes` and `position` are what is stored, `slice` is how much history to begin with.
    pub async fn new(
        db: &mut Database,
        mapping: Arc<Mapping>,
        wanted: &Wanted,
        position: Position,
        shapes: &[Vec<String>],
        slice: Span,
    ) -> Result<(Reader, Vec<Diagnostic>), PlanError> {
        let (plan, warnings) = db.plan(&mapping, wanted).await?;
        let lookups = Lookups::of(mapping.wanted_dimensions(wanted));
        let shapes = Shapes::restore(shapes);
        let reader = Reader {
            mapping,
            plan,
            position,
            shapes,
            lookups,
            target: None,
            target_known: false,
            polled: false,
            slice,
            longest: SLICES.1,
            unseen_by: None,
            abandoned_at: None,
        };
        Ok((reader, warnings))
    }

    /// The table's name.
    pub fn table(&self) -> &str {
        &self.mapping.name
    }

    /// Whether history and all that is newer was read once.
    pub fn caught_up(&self) -> bool {
        self.polled
    }

    /// How much history it would read next.
    pub fn slice(&self) -> Span {
        self.slice
    }

    /// One turn: a slice of history where the table is behind, else a poll. The position has moved when it returns.
    pub async fn turn(&mut self, db: &mut Database, turn: Turn) -> Result<TableBatch, sqlx::Error> {
        self.refresh_lookups(db, turn.now).await?;
        let mut batch = match self.slice_of_history(db, turn.now).await? {
            Some((from, to)) => self.read_slice(db, turn, from, to).await?,
            None => self.poll(db, turn).await?,
        };
        batch.moved.frontier = self.position.frontier.max(batch.moved.newest.min(turn.now));
        if self.polled {
            batch.moved.floor = batch.moved.floor.map(|floor| floor.max(batch.moved.frontier - self.mapping.lateness));
        }
        self.finish(db, turn, &mut batch).await?;
        Ok(batch)
    }

    /// Reads a slice; one that holds too many rows is cut, so that memory stays bounded.
    async fn read_slice(&mut self, db: &mut Database, turn: Turn, from: Time, mut to: Time) -> Result<TableBatch, sqlx::Error> {
        loop {
            let span = Rows::Span { from, to: Some(to), unseen_by: None };
            let mut batch = self.collect(db, turn, &span, None).await?;
            if batch.rows > SLICE_ROWS as u64 && to - from > SLICES.0 {
                to = from + Span((to - from).0 / 16).max(SLICES.0);
                continue;
            }
            batch.moved.floor = Some(to);
            batch.moved.known_from = Some(turn.now - self.mapping.repair_window - HOUR);
            self.slice = to - from;
            self.after_slice(batch.rows, to);
            return Ok(batch);
        }
    }

    /// Whether the clock is so far behind what was read that rows of now would pass for settled; then from when on the
    /// keys of counted rows have to be recalled.
    pub fn recall_from(&self, now: Time) -> Option<Time> {
        self.position.is_ahead_of(now, self.mapping.lateness).then_some(now - self.mapping.lateness)
    }

    /// Goes back to a clock that went back; `counted` are the keys of the rows from [`Reader::recall_from`] on.
    pub fn step_back(&mut self, now: Time, counted: &FxHashSet<Key>) -> TableBatch {
        let floor = self.position.floor.map(|floor| floor.min(now - self.mapping.lateness));
        let recalled = counted.iter().copied().filter(|key| !self.position.seen.contains_key(key)).collect();
        let moved = Moved { floor, frontier: now, newest: self.position.newest, recalled, ..Moved::default() };
        self.position.apply(&moved);
        self.unseen_by = None;
        TableBatch { table: self.mapping.name.clone(), moved, ..TableBatch::default() }
    }

    /// Reads names again where they are old, or one was missing.
    async fn refresh_lookups(&mut self, db: &mut Database, now: Time) -> Result<(), sqlx::Error> {
        if self.lookups.refresh(db, now).await? {
            self.shapes.forget_bytes();
        }
        Ok(())
    }

    async fn poll(&mut self, db: &mut Database, turn: Turn) -> Result<TableBatch, sqlx::Error> {
        let from = self.position.floor.unwrap_or(turn.now - self.mapping.history);
        let same_server = self.unseen_by.zip(turn.snapshot).filter(|(before, now)| before.is_earlier_of_same_server(now));
        let span = Rows::Span { from, to: None, unseen_by: same_server.map(|(before, _)| before) };
        let mut batch = self.collect(db, turn, &span, None).await?;
        batch.moved.floor = Some(from);
        self.look_up_open(db, turn, &mut batch).await?;
        self.unseen_by = turn.snapshot;
        self.polled = true;
        Ok(batch)
    }

    /// Hands shapes over, with the names that were not known when their rows came, and takes the step itself.
    async fn finish(&mut self, db: &mut Database, turn: Turn, batch: &mut TableBatch) -> Result<(), sqlx::Error> {
        self.refresh_lookups(db, turn.now).await?;
        batch.shapes = self.lookups.renamed(self.shapes.take_fresh());
        self.position.apply(&batch.moved);
        Ok(())
    }

    /// The next slice, where the table is behind.
    async fn slice_of_history(&mut self, db: &mut Database, now: Time) -> Result<Option<(Time, Time)>, sqlx::Error> {
        let floor = self.position.floor.unwrap_or(now - self.mapping.history);
        if !self.target_known {
            let newest = db.newest(&self.plan).await?;
            self.position.newest = self.position.newest.max(newest.unwrap_or_default());
            self.target = newest.map(|newest| newest.min(now) - self.mapping.lateness);
            self.target_known = true;
        }
        self.target = self.target.filter(|target| floor < *target);
        Ok(self.target.map(|target| (floor, (floor + self.slice).min(target))))
    }

    fn after_slice(&mut self, rows: u64, to: Time) {
        self.target = self.target.filter(|target| to < *target);
        // As many rows as a batch holds, from what the last slice held; at most eightfold.
        let factor = (BATCH_ROWS as f64 / rows.max(1) as f64).clamp(0.1, 8.0);
        self.slice = Span((self.slice.0 as f64 * factor) as i64).clamp(SLICES.0, SLICES.1);
    }

    /// Streams rows and decides about each.
    async fn collect(
        &mut self,
        db: &mut Database,
        turn: Turn,
        rows: &Rows<'_>,
        known: Option<&FxHashSet<Key>>,
    ) -> Result<TableBatch, sqlx::Error> {
        let mut sift = Sift::new(&self.mapping, &self.position, &mut self.shapes, &mut self.lookups, turn);
        sift.known = known;
        // A poll must know again what it counted; a slice is behind the floor once it is read.
        if let Rows::Span { from, to: None, .. } = rows {
            sift.remember_from = sift.remember_from.min(*from);
        }
        db.rows(&self.plan, rows, &mut |row| sift.row(row)).await?;
        Ok(sift.batch)
    }

    /// Asks for the rows that are not finished; counts those that are now, and those that were given up.
    async fn look_up_open(&mut self, db: &mut Database, turn: Turn, batch: &mut TableBatch) -> Result<(), sqlx::Error> {
        let now = turn.now;
        let expired = self.position.expired(now, self.mapping.abandon_after);
        let mut done: FxHashSet<Key> = batch.moved.closed.iter().copied().collect();
        done.extend(&expired);
        batch.moved.closed.extend(expired);
        // What was given up may wait; what was not is waited for.
        let all = self.abandoned_at.is_none_or(|at| now < at || now - at >= ABANDONED_EVERY);
        if all {
            self.abandoned_at = Some(now);
        }
        let open: Vec<(Key, String)> = self
            .position
            .open
            .iter()
            .filter(|(_, open)| all || !open.abandoned)
            .filter(|(key, _)| !done.contains(key))
            .map(|(key, open)| (*key, open.id.clone()))
            .collect();
        let abandon_before = self.abandon_before(now);
        let mut found = FxHashSet::default();
        for page in open.chunks(LOOKUP_KEYS) {
            let ids: Vec<String> = page.iter().map(|(_, id)| id.clone()).collect();
            let mut sift = Sift::new(&self.mapping, &self.position, &mut self.shapes, &mut self.lookups, turn);
            sift.batch = std::mem::take(batch);
            sift.abandon_before = Some(abandon_before);
            sift.remember_from = sift.remember_from.min(self.position.floor.unwrap_or(now));
            db.rows(&self.plan, &Rows::Ids(&ids), &mut |row| {
                found.extend(row.key);
                sift.row(row);
            })
            .await?;
            *batch = sift.batch;
        }
        // Rows that are gone were deleted or rolled back; nothing is left to count.
        let gone = open.iter().filter(|(key, _)| !found.contains(key)).map(|(key, _)| *key);
        let over = |key: &Key| self.position.open.get(key).is_some_and(|open| !open.abandoned && open.time < abandon_before);
        batch.moved.closed.extend(gone.filter(over));
        Ok(())
    }

    /// Open rows older than this are abandoned: by age, and by number where there are too many.
    fn abandon_before(&self, now: Time) -> Time {
        let by_age = now - self.mapping.abandon_after;
        let waiting = self.position.open.values().filter(|open| !open.abandoned);
        let mut times: Vec<Time> = waiting.map(|open| open.time).collect();
        let over = times.len().saturating_sub(MAX_OPEN);
        if over == 0 {
            return by_age;
        }
        let (_, &mut limit, _) = times.select_nth_unstable(over);
        by_age.max(limit)
    }

    /// Rows that are not finished.
    pub fn open_rows(&self) -> usize {
        self.position.open.len()
    }

    /// Whether the hourly look at the past is due.
    pub fn repair_due(&self, now: Time) -> bool {
        let since = now - self.position.repaired_at;
        self.caught_up() && (since >= REPAIR_EVERY || since < Span::ZERO)
    }

    /// Whole hours of the repair window that hold more finished rows than were counted there.
    pub async fn short_hours(&mut self, db: &mut Database, now: Time) -> Result<Vec<i64>, sqlx::Error> {
        let from = (now - self.mapping.repair_window).ceil(HOUR).max(self.position.hours_from());
        let to = self.position.floor.unwrap_or_default().floor(HOUR);
        if from >= to {
            return Ok(Vec::new());
        }
        let counted = |hour: &i64| self.position.hours.get(hour).copied().unwrap_or(0);
        let hours = db.hours(&self.plan, from, to).await?;
        Ok(hours.into_iter().filter(|(hour, rows)| *rows > counted(hour)).map(|(hour, _)| hour).collect())
    }

    /// Reads these hours again; `known` are the keys counted there.
    pub async fn repair(
        &mut self,
        db: &mut Database,
        turn: Turn,
        hours: &[i64],
        known: &FxHashSet<Key>,
    ) -> Result<TableBatch, sqlx::Error> {
        let mut whole = TableBatch { table: self.mapping.name.clone(), ..TableBatch::default() };
        for hour in hours {
            let (from, to) = (Time(hour * HOUR.0), Time((hour + 1) * HOUR.0));
            let batch = self.collect(db, turn, &Rows::Span { from, to: Some(to), unseen_by: None }, Some(known)).await?;
            whole.late += batch.events.iter().map(|event| u64::from(event.count)).sum::<u64>();
            whole.rows += batch.rows;
            whole.unreadable += batch.unreadable;
            whole.events.extend(batch.events);
            whole.moved.counted.extend(batch.moved.counted);
            whole.moved.opened.extend(batch.moved.opened);
            whole.moved.closed.extend(batch.moved.closed);
        }
        let position = &self.position;
        (whole.moved.floor, whole.moved.frontier, whole.moved.newest) = (position.floor, position.frontier, position.newest);
        whole.moved.repaired_at = Some(turn.now);
        whole.moved.known_from = Some(turn.now - self.mapping.repair_window - HOUR);
        self.finish(db, turn, &mut whole).await?;
        Ok(whole)
    }

    /// Everything from `from` on as the transaction sees it, slice by slice, for streams that are new; none at the end.
    pub async fn fill(&mut self, db: &mut Database, turn: Turn, from: Time) -> Result<(TableBatch, Option<Time>), sqlx::Error> {
        let now = turn.now;
        let to = from + self.slice;
        let last = to > now;
        let span = Rows::Span { from, to: (!last).then_some(to), unseen_by: None };
        let nothing = Position::default();
        let mut sift = Sift::new(&self.mapping, &nothing, &mut self.shapes, &mut self.lookups, turn);
        sift.abandon_before = Some(now - self.mapping.abandon_after);
        db.rows(&self.plan, &span, &mut |row| sift.row(row)).await?;
        let mut batch = sift.batch;
        let position = &self.position;
        batch.moved = Moved { floor: position.floor, frontier: position.frontier, newest: position.newest, ..Moved::default() };
        self.after_slice(batch.rows, to);
        batch.shapes = self.shapes.take_fresh();
        Ok((batch, (!last).then_some(to)))
    }

    /// Where a replay from `from` on begins: there is nothing before.
    pub async fn begin_past(&mut self, db: &mut Database, from: Time) -> Result<Time, sqlx::Error> {
        let oldest = db.oldest(&self.plan).await?;
        Ok(from.max(oldest.unwrap_or(from)))
    }

    /// A slice of what is dated from `from` on and before `end`, as the transaction sees it, for a replay: nothing is
    /// remembered of it. Comes with where the slice ends; its events are in the order of their times.
    pub async fn past(
        &mut self,
        db: &mut Database,
        turn: Turn,
        from: Time,
        end: Time,
    ) -> Result<(TableBatch, Time), sqlx::Error> {
        self.refresh_lookups(db, turn.now).await?;
        let nothing = Position::default();
        let mut to = (from + self.slice).min(end);
        loop {
            let mut sift = Sift::new(&self.mapping, &nothing, &mut self.shapes, &mut self.lookups, turn);
            sift.abandon_before = Some(turn.now - self.mapping.abandon_after);
            sift.remember_from = NEVER;
            db.rows(&self.plan, &Rows::Span { from, to: Some(to), unseen_by: None }, &mut |row| sift.row(row)).await?;
            let mut batch = sift.batch;
            if batch.rows > SLICE_ROWS as u64 && to - from > SLICES.0 {
                to = from + Span((to - from).0 / 16).max(SLICES.0);
                continue;
            }
            self.slice = to - from;
            // After a night without a row comes a day.
            if batch.rows >= BATCH_ROWS as u64 / 4 {
                self.longest = Span(self.slice.0.saturating_mul(4));
            }
            self.after_slice(batch.rows, to);
            self.slice = self.slice.min(self.longest);
            batch.events.sort_by_key(|event| event.time);
            self.refresh_lookups(db, turn.now).await?;
            batch.shapes = self.lookups.renamed(self.shapes.take_fresh());
            return Ok((batch, to));
        }
    }

    /// How many error records nobody has dealt with, where the mapping tells.
    pub async fn unresolved(&mut self, db: &mut Database, now: Time) -> Result<Option<u64>, sqlx::Error> {
        match &self.mapping.unresolved {
            Some(condition) => db.count(&self.plan, condition, now - self.mapping.history).await.map(Some),
            None => Ok(None),
        }
    }
}
