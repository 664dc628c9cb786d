//! When rules are evaluated, and what becomes of what they find: a function of (windows, how far sources were read, now).
//!
//! A rule is evaluated at the multiples of its interval, each once all of its sources were read up to then, and at once
//! after a batch that brought rows which it reads; between two ticks the end of a window is still to come, so that alerts
//! begin there and none ends ([`Book::begin`]). Rows that belong before the last evaluation have the instants since
//! then evaluated again, in order, with the alerts as they were ([`Book::revise`]).

use std::collections::BTreeMap;

use crate::alert::{Alert, Book, Change};
use crate::limits::{CATCH_UP, TICKS_AT_ONCE};
use crate::rule::Rule;
use crate::time::{Span, Time};
use crate::window::Windows;

/// A rule with its alerts and the last instant that it was evaluated at.
#[derive(Debug)]
struct Watch {
    rule: Rule,
    /// Names of the sources that it reads.
    sources: Vec<String>,
    book: Book,
    evaluated: Option<Time>,
    /// The earliest time of the rows that came since then.
    fresh: Option<Time>,
}

/// The rules and their alerts.
#[derive(Debug, Default)]
pub struct Evaluation {
    watches: Vec<Watch>,
    lateness: Span,
}

/// What an evaluation brought.
#[derive(Debug, Default)]
pub struct Evaluated {
    /// What changed, in order.
    pub changes: Vec<Change>,
    /// Rules that could not be evaluated at some instant, each once, with the reason.
    pub faults: Vec<(String, String)>,
}

impl Evaluation {
    /// The rules of a configuration with what is stored of them, by key.
    pub fn new(
        rules: Vec<Rule>,
        sources: &[String],
        lateness: Span,
        windows: &mut Windows,
        mut books: BTreeMap<String, Book>,
        evaluated: &BTreeMap<String, Time>,
    ) -> (Evaluation, BTreeMap<String, Book>) {
        let watches = rules.into_iter().map(|mut rule| {
            rule.bind(windows);
            let reads = |source: &&String| {
                rule.selector.matchers.iter().filter(|matcher| matcher.name == "source").all(|matcher| matcher.matches(source))
            };
            let sources = sources.iter().filter(reads).cloned().collect();
            Watch {
                book: books.remove(&rule.key).unwrap_or_default(),
                evaluated: evaluated.get(&rule.key).copied(),
                fresh: None,
                sources,
                rule,
            }
        });
        let watches = watches.collect();
        // What is left belongs to rules that are gone.
        (Evaluation { watches, lateness }, books)
    }

    /// The books by rule, for another configuration.
    pub fn into_books(self) -> (BTreeMap<String, Book>, BTreeMap<String, Time>) {
        let evaluated = self.evaluated();
        (self.watches.into_iter().map(|watch| (watch.rule.key, watch.book)).collect(), evaluated)
    }

    /// The last instant that each rule was evaluated at.
    pub fn evaluated(&self) -> BTreeMap<String, Time> {
        self.watches.iter().filter_map(|watch| Some((watch.rule.key.clone(), watch.evaluated?))).collect()
    }

    /// The oldest instant that may still be evaluated, where sources are read up to `now`.
    pub fn horizon(&self, now: Time) -> Time {
        let waiting = self.watches.iter().filter_map(|watch| watch.evaluated).min();
        waiting.map_or(now, |oldest| oldest.min(now)).max(now - CATCH_UP)
    }

    /// Evaluates every rule up to where its sources were read; `read` has the sources that are up to date. `touched` says
    /// which pools got rows, from when on.
    pub fn advance(
        &mut self,
        windows: &mut Windows,
        read: &BTreeMap<String, Time>,
        touched: &BTreeMap<usize, Time>,
    ) -> Evaluated {
        let mut all = Evaluated::default();
        for watch in &mut self.watches {
            let rows = watch.rule.pool(windows).and_then(|pool| touched.get(&pool)).copied();
            watch.fresh = rows.into_iter().chain(watch.fresh).min();
            let known = watch.sources.iter().map(|source| read.get(source).copied()).min().flatten();
            // A source that is not up to date freezes its rules: missing rows are no evidence.
            let Some(until) = known.filter(|_| watch.rule.is_complete(windows)) else { continue };
            watch.advance(windows, until, self.lateness, &mut all);
        }
        all
    }

    /// Books that changed since the last call, by rule.
    pub fn take_changed(&mut self) -> Vec<(String, &Book)> {
        let changed =
            self.watches.iter_mut().filter_map(|watch| watch.book.changed().then_some((watch.rule.key.clone(), &watch.book)));
        changed.collect()
    }

    /// All alerts.
    pub fn alerts(&self) -> impl Iterator<Item = &Alert> + Clone {
        self.watches.iter().flat_map(|watch| watch.book.alerts().collect::<Vec<_>>())
    }

    /// How many rules there are.
    pub fn len(&self) -> usize {
        self.watches.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.watches.is_empty()
    }
}

impl Evaluated {
    /// A fault at one instant takes nothing away from what was told at the others.
    fn take(&mut self, rule: &Rule, result: Result<Vec<Change>, String>) {
        match result {
            Ok(mut changes) => self.changes.append(&mut changes),
            Err(_) if self.faults.iter().any(|(key, _)| *key == rule.key) => {}
            Err(fault) => self.faults.push((rule.key.clone(), fault)),
        }
    }
}

impl Watch {
    /// Evaluates what is due up to an instant.
    fn advance(&mut self, windows: &mut Windows, until: Time, lateness: Span, all: &mut Evaluated) {
        let Some(last) = self.evaluated else {
            // The past is not evaluated when a rule is new, nor when rows of it come late: nobody is paged for it.
            self.book.forget(until);
            (self.evaluated, self.fresh) = (Some(until), None);
            return self.step(windows, until, all);
        };
        // A clock that went back a little evaluates nothing until it is where it was; the rows that came wait for that.
        // After more than that the evaluation goes back with it.
        if until < last {
            if last - until > lateness {
                self.book.set_back(until);
                self.evaluated = Some(until);
            }
            return;
        }
        let fresh = self.fresh.take();
        let begin = last.max(until - CATCH_UP);
        let late = fresh.map(|from| from.max(last - lateness)).filter(|from| from.ceil(self.rule.interval) <= last);
        if let Some(from) = late {
            let ticks: Vec<Time> = self.ticks(from - Span(1), last).collect();
            let (rule, book) = (&self.rule, &mut self.book);
            all.take(rule, book.revise(&rule.policy, &ticks, last, |at| rule.findings(windows, at)));
        }
        let due: Vec<Time> = self.ticks(begin, until).take(TICKS_AT_ONCE).collect();
        for tick in &due {
            self.evaluated = Some(*tick);
            self.step(windows, *tick, all);
        }
        if due.len() == TICKS_AT_ONCE {
            // The rest is evaluated after the next poll; what is fresh stays so.
            self.fresh = fresh;
            return;
        }
        if fresh.is_some() && self.evaluated != Some(until) {
            self.evaluated = Some(until);
            let findings = self.rule.findings(windows, until);
            all.take(&self.rule, self.book.begin(&self.rule.policy, findings, until));
        }
        self.book.forget(until - lateness);
    }

    fn step(&mut self, windows: &mut Windows, at: Time, all: &mut Evaluated) {
        let findings = self.rule.findings(windows, at);
        all.take(&self.rule, self.book.step(&self.rule.policy, findings, at));
    }

    /// Multiples of the interval in (after, until].
    fn ticks(&self, after: Time, until: Time) -> impl Iterator<Item = Time> + use<> {
        let interval = self.rule.interval;
        let first = (after + Span(1)).ceil(interval);
        std::iter::successors(Some(first), move |tick| Some(*tick + interval)).take_while(move |tick| *tick <= until)
    }
}

#[cfg(test)]
mod tests;
