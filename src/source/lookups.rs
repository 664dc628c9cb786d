//! Small tables of names, kept in memory and joined there.

use rustc_hash::FxHashMap;

use crate::source::database::Database;
use crate::source::mapping::{Dimension, Lookup};
use crate::source::shapes::cut;
use crate::time::{Span, Time};

/// How often lookup tables are read again though no unknown key was met.
const REFRESH: Span = Span::secs(300);

/// Names by key for each wanted dimension that is looked up.
#[derive(Debug, Default)]
pub struct Lookups {
    dimensions: Vec<Option<(Lookup, FxHashMap<String, String>)>>,
    read_at: Option<Time>,
    missing: bool,
}

impl Lookups {
    /// Those of these dimensions; nothing is read yet.
    pub fn of<'a>(dimensions: impl Iterator<Item = &'a Dimension>) -> Lookups {
        let dimensions =
            dimensions.map(|dimension| dimension.lookup.clone().map(|lookup| (lookup, FxHashMap::default()))).collect();
        Lookups { dimensions, ..Lookups::default() }
    }

    /// The values of a shape, with names for keys.
    pub fn names(&mut self, cells: Vec<Option<String>>) -> Vec<String> {
        let values = cells.into_iter().zip(&self.dimensions).map(|(cell, lookup)| match (cell, lookup) {
            (None, _) => String::new(),
            (Some(value), None) => value,
            (Some(key), Some((_, names))) => names.get(&key).cloned().unwrap_or_else(|| {
                self.missing = true;
                key
            }),
        });
        values.collect()
    }

    /// Reads the tables again where they are old, or a name was missing; says whether anything changed.
    pub async fn refresh(&mut self, db: &mut Database, now: Time) -> Result<bool, sqlx::Error> {
        let fresh = self.read_at.is_some_and(|at| now - at < REFRESH && now >= at);
        if self.dimensions.iter().all(Option::is_none) || (fresh && !self.missing) {
            return Ok(false);
        }
        let mut changed = false;
        for (lookup, names) in self.dimensions.iter_mut().flatten() {
            let read: FxHashMap<String, String> = db.lookup(lookup).await?.into_iter().collect();
            changed |= read != *names;
            *names = read;
        }
        (self.read_at, self.missing) = (Some(now), false);
        Ok(changed)
    }

    /// Shapes in which a key stood for want of its name, with the name where it is known now.
    pub fn renamed(&self, mut shapes: Vec<Vec<String>>) -> Vec<Vec<String>> {
        for values in &mut shapes {
            for (value, lookup) in values.iter_mut().zip(&self.dimensions) {
                if let Some(name) = lookup.as_ref().and_then(|(_, names)| names.get(value)) {
                    value.clone_from(name);
                    cut(value);
                }
            }
        }
        shapes
    }
}
