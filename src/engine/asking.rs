//! When each query of a rule is asked again, and what was said of those that have no answer.

use std::collections::BTreeMap;

use crate::engine::clock::Stopwatch;
use crate::source::query::Query;
use crate::time::Span;

/// A query without an answer is asked again only after so many times as long as it took: one that runs into the statement
/// timeout holds up the polls for a tenth of the time at most.
const PATIENCE: i64 = 10;

/// What is remembered of the queries to one source, by their SQL, over all sessions.
#[derive(Debug, Default)]
pub struct Asking(BTreeMap<String, Asked>);

#[derive(Debug)]
struct Asked {
    at: Stopwatch,
    /// When it is due, counted from `at`; none where the query says that.
    wait: Option<Span>,
    /// What was logged of it last; empty while it has answers.
    told: String,
}

impl Asking {
    /// Those of the queries that are due, the one that has waited longest first.
    pub fn due(&mut self, queries: Vec<Query>) -> Vec<Query> {
        self.0.retain(|sql, _| queries.iter().any(|query| query.sql == *sql));
        let late = |query: &Query| {
            let Some(asked) = self.0.get(&query.sql) else { return Span(i64::MAX) };
            Span(asked.at.elapsed().0 - asked.wait.unwrap_or(query.every).0)
        };
        let mut due: Vec<(Span, Query)> = queries.into_iter().map(|query| (late(&query), query)).collect();
        due.retain(|(late, _)| *late >= Span::ZERO);
        due.sort_by_key(|(late, _)| std::cmp::Reverse(*late));
        due.into_iter().map(|(_, query)| query).collect()
    }

    /// Notes that a query was asked just now.
    pub fn asked(&mut self, query: &Query, answered: bool, took: Span) {
        let wait = (!answered).then(|| Span(took.0.saturating_mul(PATIENCE)).max(query.every));
        let told = self.0.remove(&query.sql).map(|known| known.told).unwrap_or_default();
        self.0.insert(query.sql.clone(), Asked { at: Stopwatch::start(), wait, told });
    }

    /// Logs what is wrong with an answer, each fault once; and that there is one again.
    pub fn tell(&mut self, source: &str, query: &Query, faults: &[(String, String)]) {
        let mut rules: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        faults.iter().for_each(|(rule, fault)| rules.entry(fault).or_default().push(rule));
        let text = rules.iter().map(|(fault, rules)| format!("{}: {fault}", rules.join(", "))).collect::<Vec<_>>().join("; ");
        let Some(asked) = self.0.get_mut(&query.sql).filter(|asked| asked.told != text) else { return };
        let (line, column) = query.place.line_column();
        let place = format!("{}:{line}:{column}", query.place.file.name);
        if text.is_empty() {
            tracing::info!(source, place, "the query of a rule is answered again");
        } else {
            let hint = format!("the rule keeps its state; `where: ['source!=\"{source}\"']` has it leave this source out");
            tracing::error!(source, place, hint, "the query of a rule has no answer: {text}");
        }
        asked.told = text;
    }

    /// What is wrong with those that have no answer.
    pub fn faults(&self) -> impl Iterator<Item = &str> {
        self.0.values().map(|asked| asked.told.as_str()).filter(|told| !told.is_empty())
    }
}
