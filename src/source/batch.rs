//! What a turn over a source brings.

use std::borrow::Cow;
use std::ops::AddAssign;

use serde::{Deserialize, Serialize};

use crate::event::Event;
use crate::source::position::Moved;
use crate::time::Time;

/// What one table brought.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct TableBatch {
    /// The table's name.
    pub table: String,
    /// Shapes met for the first time; their numbers follow those known.
    pub shapes: Vec<Vec<String>>,
    /// What is to be counted.
    pub events: Vec<Event>,
    /// How the position moves with it.
    pub moved: Moved,
    /// Rows that the database sent.
    pub rows: u64,
    /// Of the events, those that the repair pass found.
    pub late: u64,
    /// Events dated after now.
    pub future: u64,
    /// Calls finished after they had been counted as abandoned.
    pub finished_after_abandon: u64,
    /// What could not be taken as it stands.
    pub unreadable: Unreadable,
}

/// What of a table could not be taken as it stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unreadable {
    /// Rows without an id or a time, which cannot be counted once.
    pub rows: u64,
    /// Values of rows, negative or beyond their limit, taken as unknown.
    pub values: u64,
    /// Combinations of dimensions beyond those that are kept, counted as `other`.
    pub shapes: u64,
}

impl AddAssign for Unreadable {
    fn add_assign(&mut self, more: Unreadable) {
        self.rows += more.rows;
        self.values += more.values;
        self.shapes += more.shapes;
    }
}

/// What one turn over a source brought.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Batch {
    /// The source's name.
    pub source: String,
    /// The database's now() in that transaction.
    pub now: Time,
    /// Whether all of its tables are read up to now.
    pub caught_up: bool,
    /// These events are old ones, for streams that are new; nothing else counts them again.
    pub fill: bool,
    /// Table by table.
    pub tables: Vec<TableBatch>,
}

impl Batch {
    /// What has to be stored of it. Of history only the shapes that were met: the numbers of later ones follow theirs,
    /// while its events are read again until the windows that they fill are stored.
    pub fn to_journal(&self) -> Option<Cow<'_, Batch>> {
        if !self.fill {
            return Some(Cow::Borrowed(self));
        }
        let new = self.tables.iter().filter(|table| !table.shapes.is_empty());
        let shapes =
            |table: &TableBatch| TableBatch { table: table.table.clone(), shapes: table.shapes.clone(), ..TableBatch::default() };
        let tables: Vec<TableBatch> = new.map(shapes).collect();
        (!tables.is_empty()).then(|| Cow::Owned(Batch { source: self.source.clone(), tables, ..*self }))
    }
}
