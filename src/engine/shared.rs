//! What the core shares with those who only look.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::RwLock;

use tokio::sync::Notify;

use crate::alert::Alert;
use crate::export::own::Own;
use crate::export::totals::TableTotals;
use crate::route::Semantics;
use crate::time::Span;

/// What scrapes and pages see: all of it is stored.
#[derive(Debug, Default)]
pub struct Published {
    /// Totals of all tables.
    pub totals: Vec<TableTotals>,
    /// Alerts of rules, and about ourselves; those that others post are shown by whoever has the rules.
    pub alerts: Vec<Alert>,
    /// Labels of error tables with how many records nobody has dealt with.
    pub unresolved: BTreeMap<String, u64>,
    /// The configuration, as far as Alertmanager has such keys.
    pub original: String,
    /// How long an alert fires that was posted without its end.
    pub resolve_timeout: Span,
    /// Whose semantics hold.
    pub semantics: Semantics,
    /// Sources that were not read up to the present once; none before that is known.
    pub unread: Option<BTreeSet<String>>,
}

/// What the core shares with those who only look.
#[derive(Debug)]
pub struct Shared {
    /// What is seen.
    pub published: RwLock<Published>,
    /// Metrics about ourselves.
    pub own: Own,
    /// There may be something to deliver.
    pub wake: Notify,
}

impl Shared {
    /// Reads what is published; a panic elsewhere does not take it away.
    pub fn read<T>(&self, look: impl FnOnce(&Published) -> T) -> T {
        look(&self.published.read().unwrap_or_else(std::sync::PoisonError::into_inner))
    }

    /// Changes what is published; for the core alone, after it has stored it.
    pub fn write(&self, change: impl FnOnce(&mut Published)) {
        change(&mut self.published.write().unwrap_or_else(std::sync::PoisonError::into_inner));
    }

    /// Notes how many error records of a table nobody has dealt with.
    pub fn set_unresolved(&self, labels: String, count: u64) {
        self.write(|published| {
            published.unresolved.insert(labels, count);
        });
    }
}
