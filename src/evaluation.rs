//! When rules are evaluated, and what becomes of what they find: a function of (windows, how far sources were read, now).
//!
//! A rule is evaluated at the multiples of its interval, each once all of its sources were read up to then, and at once
//! after a batch that brought rows which it reads; between two ticks the end of a window is still to come, so that alerts
//! begin there and none ends ([`Book::begin`]). Rows that belong before the last evaluation have the instants since
//! then evaluated again, in order, with the alerts as they were ([`Book::revise`]).
//!
//! A rule that asks its sources something is not evaluated before each of its queries was answered by each of them. Later
//! an instant for which there is no answer near enough ([`Query::patience`]) is passed over: nothing is known of it, so that
//! nothing changes.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use crate::alert::{Alert, Book, Change, Finding};
use crate::limits::{CATCH_UP, MAX_ANSWERS, TICKS_AT_ONCE};
use crate::rule::{Answers, Draft, Gauge, Rule};
use crate::source::query::{Answer, Query};
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
    /// What it asks of its sources.
    queries: Vec<Query>,
    steady: Steady,
    /// Its alerts may say other things than when they were last asked for.
    is_news: bool,
}

/// What a rule found last, at ticks alone. Where alerts fire on and on, only the last words are needed, and that seldom.
#[derive(Debug, Default)]
struct Steady {
    found: Vec<Draft>,
    /// The book has just these alerts, and all of them fire.
    fires: bool,
    /// When it was, where the book was not told.
    untold: Option<Time>,
}

/// What was answered to each query of each source, oldest first; as far back as instants may be evaluated again.
type Answered = BTreeMap<(String, String), VecDeque<Arc<Answer>>>;

/// The rules and their alerts.
#[derive(Debug, Default)]
pub struct Evaluation {
    watches: Vec<Watch>,
    answered: Answered,
    lateness: Span,
    ticks_only: bool,
}

/// What an evaluation brought.
#[derive(Debug, Default)]
pub struct Evaluated {
    /// What changed, in order.
    pub changes: Vec<Change>,
    /// The number of the rule of each change, in the order in which they were given.
    pub rules: Vec<usize>,
    /// Rules that could not be evaluated at some instant, each once, with the reason.
    pub faults: Vec<(String, String)>,
}

impl Evaluation {
    /// The rules of a configuration with what is stored of them, by key. A rule that moved to another group takes its alerts
    /// along.
    pub fn new(
        rules: Vec<Rule>,
        sources: &[String],
        lateness: Span,
        windows: &mut Windows,
        mut books: BTreeMap<String, Book>,
        evaluated: &BTreeMap<String, Time>,
    ) -> (Evaluation, BTreeMap<String, Book>) {
        let moved = moved(&rules, &books);
        let watches = rules.into_iter().map(|mut rule| {
            rule.bind(windows);
            let from = moved.get(&rule.key).unwrap_or(&rule.key);
            let evaluated = evaluated.get(from).copied();
            // Nothing is left behind under its old key.
            let before = moved.get(&rule.key).and_then(|from| books.insert(from.clone(), Book::default())).map(Book::moved);
            let mut book = before.or_else(|| books.remove(&rule.key)).unwrap_or_default();
            book.define(rule.definition());
            let reads = |source: &&String| {
                rule.selector.matchers.iter().filter(|matcher| matcher.name == "source").all(|matcher| matcher.matches(source))
            };
            let sources = sources.iter().filter(reads).cloned().collect();
            Watch {
                book,
                evaluated,
                fresh: None,
                sources,
                queries: rule.queries(),
                steady: Steady::default(),
                is_news: false,
                rule,
            }
        });
        let watches = watches.collect();
        // What is left belongs to rules that are gone.
        (Evaluation { watches, answered: Answered::new(), lateness, ticks_only: false }, books)
    }

    /// From now on nothing is evaluated between two ticks, and each rule has its own, whenever the others have theirs. Where
    /// nothing comes late, what fires on and on is told to the books by [`Evaluation::tell`] only.
    pub fn at_ticks_only(&mut self) {
        self.ticks_only = true;
    }

    /// The books by rule, for another configuration.
    pub fn into_books(self) -> (BTreeMap<String, Book>, BTreeMap<String, Time>) {
        let evaluated = self.evaluated();
        (self.watches.into_iter().map(|watch| (watch.rule.key, watch.book)).collect(), evaluated)
    }

    /// What a source is asked beside its events: each query once, as often as the most eager of its rules asks.
    pub fn queries(&self, source: &str) -> Vec<Query> {
        let mut all: BTreeMap<&str, &Query> = BTreeMap::new();
        let watches = self.watches.iter().filter(|watch| watch.sources.iter().any(|known| known == source));
        for query in watches.flat_map(|watch| &watch.queries) {
            let known = all.entry(&query.sql).or_insert(query);
            if query.every < known.every {
                *known = query;
            }
        }
        all.into_values().cloned().collect()
    }

    /// The rules that ask a source this, by key.
    pub fn askers(&self, source: &str, sql: &str) -> Vec<String> {
        self.asking(source, sql).map(|(watch, _)| watch.rule.key.clone()).collect()
    }

    fn asking<'a>(&'a self, source: &'a str, sql: &'a str) -> impl Iterator<Item = (&'a Watch, usize)> {
        let reads = move |watch: &&Watch| watch.sources.iter().any(|known| known == source);
        self.watches.iter().filter(reads).filter_map(move |watch| {
            let query = watch.queries.iter().position(|query| query.sql == sql)?;
            Some((watch, query))
        })
    }

    /// A source answered. What one of the rules that asked cannot use is no answer; the objections come back, by rule.
    pub fn answer(&mut self, source: &str, sql: &str, answer: Answer) -> Vec<(String, String)> {
        let object = |(watch, query): (&Watch, usize)| Some((watch.rule.key.clone(), watch.rule.objection(query, &answer)?));
        let objections: Vec<(String, String)> = self.asking(source, sql).filter_map(object).collect();
        if !objections.is_empty() {
            return objections;
        }
        let oldest = answer.at - self.lateness;
        let answers = self.answered.entry((source.to_owned(), sql.to_owned())).or_default();
        // A clock that went back takes what was known with it.
        while answers.back().is_some_and(|last| last.at > answer.at) {
            answers.pop_back();
        }
        // Of those from before that, the last one is what was known then.
        while answers.get(1).is_some_and(|second| second.at <= oldest) || answers.len() >= MAX_ANSWERS {
            answers.pop_front();
        }
        answers.push_back(Arc::new(answer));
        objections
    }

    /// Brings values and texts of the alerts up to the last tick.
    pub fn tell(&mut self, windows: &Windows) {
        self.watches.iter_mut().for_each(|watch| watch.tell(windows));
    }

    /// The alerts of the rules that were evaluated since this was last called.
    pub fn take_evaluated(&mut self) -> impl Iterator<Item = &Alert> {
        let watches = self.watches.iter_mut().filter_map(|watch| std::mem::take(&mut watch.is_news).then_some(&watch.book));
        watches.flat_map(Book::alerts)
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
        let until = read.values().max().copied();
        for (number, watch) in self.watches.iter_mut().enumerate() {
            let rows = watch.rule.pool(windows).and_then(|pool| touched.get(&pool)).copied();
            watch.fresh = rows.into_iter().chain(watch.fresh).min();
            if self.ticks_only && !until.is_some_and(|until| watch.has_tick(until)) {
                continue;
            }
            let known = watch.sources.iter().map(|source| read.get(source).copied()).min().flatten();
            // A source that is not up to date freezes its rules: missing rows are no evidence.
            let Some(until) = known.filter(|_| watch.rule.is_complete(windows)) else { continue };
            if self.ticks_only && self.lateness == Span::ZERO {
                watch.tick(windows, &self.answered, until, &mut all);
            } else {
                watch.advance(windows, &self.answered, until, self.lateness, &mut all);
            }
            all.rules.resize(all.changes.len(), number);
        }
        all
    }

    /// Numbers of rules that changed since the last call.
    pub fn take_gauges(&mut self, windows: &mut Windows) -> Vec<Gauge> {
        self.watches.iter_mut().flat_map(|watch| watch.rule.take_gauges(windows)).collect()
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
    fn advance(&mut self, windows: &mut Windows, answered: &Answered, until: Time, lateness: Span, all: &mut Evaluated) {
        // What has no answer yet is not known; nothing is evaluated without it.
        let once = |query: &Query| self.sources.iter().all(|source| first(answered, source, query).is_some());
        if !self.queries.iter().all(once) {
            return;
        }
        let Some(last) = self.evaluated else {
            if self.known(answered, until).is_none() {
                return;
            }
            // The past is not evaluated when a rule is new, nor when rows of it come late: nobody is paged for it.
            self.book.forget(until);
            (self.evaluated, self.fresh) = (Some(until), None);
            return self.step(windows, answered, until, all);
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
            self.is_news = true;
            let mut ticks: Vec<Time> = self.ticks(from - Span(1), last).collect();
            ticks.retain(|tick| self.known(answered, *tick).is_some());
            let policy = self.rule.policy.clone();
            let (sources, queries, rule) = (&self.sources, &self.queries, &mut self.rule);
            // Of the last instant itself nothing may be known; what is not found there stays.
            let find =
                |at| answers(answered, sources, queries, at).map_or_else(Vec::new, |known| rule.findings(windows, &known, at));
            let revised = self.book.revise(&policy, &ticks, last, find);
            all.take(&self.rule, revised);
        }
        let mut due = 0;
        for tick in self.ticks(begin, until).take(TICKS_AT_ONCE) {
            (self.evaluated, due) = (Some(tick), due + 1);
            self.step(windows, answered, tick, all);
        }
        if due == TICKS_AT_ONCE {
            // The rest is evaluated after the next poll; what is fresh stays so.
            self.fresh = fresh;
            return;
        }
        if fresh.is_some() && self.evaluated != Some(until) {
            self.evaluated = Some(until);
            let Some(findings) = self.find(windows, answered, until) else { return };
            all.take(&self.rule, self.book.begin(&self.rule.policy, findings, until));
        }
        self.book.forget(until - lateness);
    }

    /// Whether there is a tick that it was not evaluated at.
    fn has_tick(&self, until: Time) -> bool {
        self.evaluated.is_none_or(|last| until.floor(self.rule.interval) > last)
    }

    /// None where nothing is known of the instant.
    fn find(&mut self, windows: &mut Windows, answered: &Answered, at: Time) -> Option<Vec<Finding>> {
        let answers = self.known(answered, at)?;
        self.is_news = true;
        Some(self.rule.findings(windows, &answers, at))
    }

    fn step(&mut self, windows: &mut Windows, answered: &Answered, at: Time, all: &mut Evaluated) {
        if let Some(findings) = self.find(windows, answered, at) {
            all.take(&self.rule, self.book.step(&self.rule.policy, findings, at));
        }
    }

    fn known(&self, answered: &Answered, at: Time) -> Option<Answers> {
        answers(answered, &self.sources, &self.queries, at)
    }

    /// Evaluates the tick that is due at an instant, where nothing comes late.
    fn tick(&mut self, windows: &mut Windows, answered: &Answered, until: Time, all: &mut Evaluated) {
        let at = until.floor(self.rule.interval);
        self.evaluated = Some(at);
        let Some(answers) = self.known(answered, at) else { return };
        let found = self.rule.drafts(windows, &answers, at);
        if self.steady.fires && self.rule.are_same_alerts(&self.steady.found, &found) {
            (self.steady.found, self.steady.untold) = (found, Some(at));
            return;
        }
        self.tell(windows);
        let findings = found.iter().map(|draft| self.rule.finding(windows, draft)).collect();
        self.is_news = true;
        let changes = self.book.step(&self.rule.policy, findings, at);
        self.steady = Steady { fires: changes.is_ok() && self.book.just_fires(found.len()), found, untold: None };
        all.take(&self.rule, changes);
        self.book.forget(at);
    }

    fn tell(&mut self, windows: &Windows) {
        let Some(at) = self.steady.untold.take() else { return };
        let findings = self.steady.found.iter().map(|draft| self.rule.finding(windows, draft)).collect();
        self.is_news = true;
        // The alerts are those of the step before, so that nothing changes but what they say.
        let _ = self.book.step(&self.rule.policy, findings, at);
    }

    /// Multiples of the interval in (after, until].
    fn ticks(&self, after: Time, until: Time) -> impl Iterator<Item = Time> + use<> {
        let interval = self.rule.interval;
        let first = (after + Span(1)).ceil(interval);
        std::iter::successors(Some(first), move |tick| Some(*tick + interval)).take_while(move |tick| *tick <= until)
    }
}

/// The keys that rules had which have another now: where one rule is new and one is gone whose alerts have its name. By the new
/// key.
fn moved(rules: &[Rule], books: &BTreeMap<String, Book>) -> BTreeMap<String, String> {
    let keys: BTreeSet<&str> = rules.iter().map(|rule| rule.key.as_str()).collect();
    let gone: Vec<(&String, &Book)> = books.iter().filter(|(key, _)| !keys.contains(key.as_str())).collect();
    let new: Vec<&Rule> = rules.iter().filter(|rule| !books.contains_key(&rule.key)).collect();
    let from = |rule: &Rule| {
        let mut named = gone.iter().filter(|(_, book)| book.alerts().any(|alert| alert.labels.get("alertname") == rule.name));
        let alone = new.iter().filter(|other| other.name == rule.name).count() == 1;
        match (named.next(), named.next()) {
            (Some((key, _)), None) if alone => Some(((rule.key.clone()), (*key).clone())),
            _ => None,
        }
    };
    new.iter().filter_map(|rule| from(rule)).collect()
}

/// What was known at an instant of what a rule asks: the last answers until then, or the first ones of all; none where some
/// are not near enough to speak for it.
fn answers(answered: &Answered, sources: &[String], queries: &[Query], at: Time) -> Option<Answers> {
    let known = |source: &String, query: &Query| {
        let all = answered.get(&(source.clone(), query.sql.clone()))?;
        let last = all.iter().rev().find(|answer| answer.at <= at).or(all.front())?;
        let apart = Span((at - last.at).0.abs());
        (apart <= query.patience()).then(|| (source.clone(), last.clone()))
    };
    queries.iter().map(|query| sources.iter().map(|source| known(source, query)).collect()).collect()
}

/// The oldest answer of a source that is kept.
fn first<'a>(answered: &'a Answered, source: &str, query: &Query) -> Option<&'a Arc<Answer>> {
    answered.get(&(source.to_owned(), query.sql.clone()))?.front()
}

#[cfg(test)]
mod tests;
