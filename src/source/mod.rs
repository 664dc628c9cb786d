//! Databases that we read: what a table is mapped to, where its reader stands, and one file a kind of database.
//!
//! The reader of a table keeps a [`Position`]. Reading is a fold: the reader turns what a database shows into
//! [`TableBatch`]es and applies them to its own position; the ledger applies the same batches to the stored one, in the
//! transaction that counts their events. So every finished row is counted exactly once, whatever is killed when.

pub mod decode;
pub mod mark;
pub mod mapping;
pub mod position;
pub mod query;
pub mod shapes;
pub mod batch;
pub mod postgres;
pub mod sqlite;
pub mod database;
pub mod lookups;
pub mod sift;
pub mod reader;
pub mod values;

pub use batch::{Batch, TableBatch};
pub use database::{Database, Turn};
pub use mapping::{Dimension, Field, Kind, Mapping, Measure, Wanted};
pub use position::{Moved, Open, Position};
pub use reader::Reader;
