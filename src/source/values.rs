//! Which values the dimensions of a table have: what `check --db` holds matchers against.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::diag::Diagnostic;
use crate::source::database::Database;
use crate::source::lookups::Lookups;
use crate::source::mapping::{Mapping, Wanted};
use crate::source::postgres::{PlanError, Rows};
use crate::source::shapes::Shapes;
use crate::time::{Span, Time};

/// Rows that are looked at, newest first; more would tell little and take long.
const ENOUGH_ROWS: u64 = 200_000;
/// The first look back; each further one is twice as long.
const FIRST_LOOK: Span = Span::secs(600);

/// What was found in the newest rows of a table.
#[derive(Debug, Default)]
pub struct Values {
    /// Values of each wanted dimension; null is the empty text.
    pub of: BTreeMap<String, BTreeSet<String>>,
    /// From when on rows were looked at, and up to the newest; none where there are no rows.
    pub span: Option<(Time, Time)>,
    /// The oldest row within the mapping's history, where all of it was looked at.
    pub oldest: Option<Time>,
}

/// Looks at the newest rows of a table within its history.
pub async fn recent(db: &mut Database, mapping: &Arc<Mapping>, wanted: &Wanted) -> Result<(Values, Vec<Diagnostic>), PlanError> {
    let (plan, warnings) = db.plan(mapping, wanted).await?;
    let turn = db.begin(mapping.statement_timeout, None).await?;
    let (mut lookups, mut shapes) = (Lookups::of(mapping.wanted_dimensions(wanted)), Shapes::default());
    lookups.refresh(db, turn.now).await?;
    let mut values = Values::default();
    if let Some(newest) = db.newest(&plan).await? {
        let end = newest + Span(1);
        let start = turn.now.min(newest) - mapping.history;
        let (mut rows, mut oldest, mut to, mut look) = (0, newest, end, FIRST_LOOK);
        while rows < ENOUGH_ROWS && to > start {
            let from = (to - look).max(start);
            let span = Rows::Span { from, to: Some(to), unseen_by: None };
            let mut sink = |row: &crate::source::decode::Row| {
                (rows, oldest) = (rows + 1, oldest.min(row.time));
                shapes.intern(row.dimensions.bytes(), || lookups.names(row.dimensions.values()));
            };
            db.rows(&plan, &span, &mut sink).await?;
            (to, look) = (from, look + look);
        }
        values.span = Some((to, newest));
        values.oldest = (to <= start).then_some(oldest);
    }
    db.end().await?;
    let shapes = shapes.take_fresh();
    for (i, dimension) in mapping.wanted_dimensions(wanted).enumerate() {
        let of = shapes.iter().filter_map(|shape| shape.get(i).cloned());
        values.of.insert(dimension.name.clone(), of.collect());
    }
    Ok((values, warnings))
}
