//! What keeps alerts quiet, asked in Alertmanager's order: inhibition, active time, mute time, silences.

use std::collections::BTreeMap;

use super::case::Terms;
use super::{InhibitRule, Inhibitions, Reason, Semantics, Silences};
use crate::calendar::TimeIntervals;
use crate::labels::Labels;
use crate::limits::MAX_QUIET_WORDS;
use crate::time::{Span, Time};

/// Time intervals begin and end with minutes.
const MINUTE: Span = Span::secs(60);

/// All that may keep alerts quiet at one instant.
#[derive(Debug)]
pub(super) struct Quiet<'a> {
    pub semantics: Semantics,
    pub rules: &'a [InhibitRule],
    pub inhibitions: &'a Inhibitions,
    pub silences: &'a Silences,
    pub intervals: &'a TimeIntervals,
    pub now: Time,
    /// What was found of routes, by what they mute, when they are active, and how often their groups are looked at.
    pub routes: BTreeMap<(Vec<String>, Vec<String>, Span), Hours>,
}

/// What the time says to a route.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Hours {
    /// Why nothing may be told.
    pub why: Option<Reason>,
    /// The intervals that say so.
    pub names: Vec<String>,
    /// When that is over, where it is before the next look.
    pub opens: Option<Time>,
}

impl Hours {
    /// The intervals outside of which nothing may be told.
    pub fn outside_of(&self) -> Vec<String> {
        if self.why == Some(Reason::Inactive) { self.names.clone() } else { Vec::new() }
    }
}

/// What keeps alerts of one group quiet.
#[derive(Debug, Default)]
pub(super) struct Hush {
    pub hours: Hours,
    inhibited: usize,
    silenced: usize,
    timed: usize,
    /// How many alerts, by what keeps them quiet.
    by: BTreeMap<String, usize>,
}

/// What the time says to a route.
pub(super) fn hours(terms: &Terms, intervals: &TimeIntervals, now: Time) -> Hours {
    let holds = |name: &&String| intervals.get(name).is_some_and(|interval| interval.contains(now));
    if !terms.active.is_empty() && !terms.active.iter().any(|name| holds(&name)) {
        return Hours { why: Some(Reason::Inactive), names: terms.active.clone(), opens: None };
    }
    let names: Vec<String> = terms.mute.iter().filter(holds).cloned().collect();
    Hours { why: (!names.is_empty()).then_some(Reason::Muted), names, opens: None }
}

/// The first minute until the next look at which a route may tell again.
fn opens(terms: &Terms, intervals: &TimeIntervals, now: Time) -> Option<Time> {
    let until = now + terms.interval.min(Span::secs(32 * 86_400));
    let minutes = std::iter::successors(Some(now.floor(MINUTE) + MINUTE), |at| Some(*at + MINUTE));
    minutes.take_while(|at| *at <= until).find(|at| hours(terms, intervals, *at).why.is_none())
}

impl Quiet<'_> {
    /// What the time says to a route.
    pub fn of_route(&mut self, terms: &Terms) -> Hush {
        if terms.mute.is_empty() && terms.active.is_empty() {
            return Hush::default();
        }
        let key = (terms.mute.clone(), terms.active.clone(), terms.interval);
        let look = || {
            let hours = hours(terms, self.intervals, self.now);
            let held = hours.why.is_some() && self.semantics == Semantics::Ours;
            Hours { opens: held.then(|| opens(terms, self.intervals, self.now)).flatten(), ..hours }
        };
        Hush { hours: self.routes.entry(key).or_insert_with(look).clone(), ..Hush::default() }
    }
}

impl Hush {
    /// Whether an alert may be told; what keeps it quiet is noted.
    pub fn take(&mut self, quiet: &Quiet<'_>, labels: &Labels) -> bool {
        let sources = if quiet.rules.is_empty() { Vec::new() } else { quiet.inhibitions.of(quiet.rules, labels) };
        if let Some(source) = sources.first() {
            self.inhibited += 1;
            self.note(format!("inhibited by {source}"));
        } else if self.hours.why.is_some() {
            self.timed += 1;
        } else if let Some(id) = quiet.silences.of(labels, quiet.now).first() {
            self.silenced += 1;
            self.note(format!("silenced by {id}"));
        } else {
            return true;
        }
        false
    }

    fn note(&mut self, word: String) {
        *self.by.entry(word).or_default() += 1;
    }

    /// Why nothing is told, where something is kept quiet.
    pub fn why(&self) -> Option<Reason> {
        match (self.timed, self.silenced, self.inhibited) {
            (0, 0, 0) => None,
            (0, 0, _) => Some(Reason::Inhibited),
            (0, ..) => Some(Reason::Silenced),
            _ => self.hours.why,
        }
    }

    /// The same in words.
    pub fn words(&self) -> Vec<String> {
        let hours = self.hours.names.join(", ");
        let time = match self.hours.why {
            Some(Reason::Inactive) => vec![format!("outside of {hours}")],
            Some(_) => vec![format!("within {hours}")],
            None => Vec::new(),
        };
        let alerts = |count| if count == 1 { "1 alert".to_owned() } else { format!("{count} alerts") };
        let mut words = time;
        words.extend(self.by.iter().take(MAX_QUIET_WORDS).map(|(word, count)| format!("{word} ({})", alerts(*count))));
        if self.by.len() > MAX_QUIET_WORDS {
            words.push(format!("... and {} more", self.by.len() - MAX_QUIET_WORDS));
        }
        words
    }
}
