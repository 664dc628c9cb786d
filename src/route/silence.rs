//! Silences: what people do not want to be told for a while.
//!
//! What is allowed, and in which words the rest is refused, is Alertmanager's (`silence/silence.go` and its API, 0.25).
//! History is not rewritten: an edit that would make it look as if something had been silent, or not, expires the silence
//! and makes a new one.
//!
//! Most silences name the value of some label. [`Silences::of`] finds those by it, and looks only at the others one by one.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use rustc_hash::FxHashMap;
use serde::{Deserialize, Serialize};

use crate::labels::{Labels, Matcher, Matchers};
use crate::limits::{MAX_SILENCE_BYTES, MAX_SILENCES, RETENTION};
use crate::time::{Span, Time};

/// What somebody wants to be silent.
#[derive(Clone, Debug, PartialEq)]
pub struct Draft {
    /// Which silence it changes; a new one where there is none.
    pub id: Option<String>,
    /// Which alerts; at least one matcher must not match the empty text.
    pub matchers: Matchers,
    /// From when on.
    pub starts_at: Time,
    /// Until when.
    pub ends_at: Time,
    /// Who wants it.
    pub created_by: String,
    /// Why.
    pub comment: String,
}

/// A silence that is known.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Silence {
    /// A UUID.
    pub id: String,
    /// Which alerts.
    pub matchers: Matchers,
    /// From when on.
    pub starts_at: Time,
    /// Until when.
    pub ends_at: Time,
    /// When it was last changed.
    pub updated_at: Time,
    /// Who wants it.
    pub created_by: String,
    /// Why.
    pub comment: String,
}

/// Where in its life a silence is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SilenceState {
    /// It holds.
    Active,
    /// It will.
    Pending,
    /// It did.
    Expired,
}

/// Why a silence cannot be made, changed or ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refused {
    /// There is no silence of that id.
    Unknown,
    /// What is wrong with it, as a sentence.
    Invalid(String),
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refused::Unknown => f.write_str("silence not found"),
            Refused::Invalid(reason) => f.write_str(reason),
        }
    }
}

/// All silences.
#[derive(Clone, Debug, Default)]
pub struct Silences {
    by_id: BTreeMap<String, Silence>,
    index: Index,
    /// Ids of those that changed and are not stored yet.
    changed: BTreeSet<String>,
}

impl PartialEq for Silences {
    fn eq(&self, other: &Silences) -> bool {
        self.by_id == other.by_id
    }
}

/// Which silences may hold for an alert.
#[derive(Clone, Debug, Default)]
struct Index {
    /// Ids by a label and a value that it must have.
    by_value: BTreeMap<String, FxHashMap<String, BTreeSet<String>>>,
    /// Ids of those that name no value.
    others: BTreeSet<String>,
}

impl Silence {
    /// Pending, active or expired.
    pub fn state(&self, now: Time) -> SilenceState {
        if now >= self.ends_at {
            SilenceState::Expired
        } else if now >= self.starts_at {
            SilenceState::Active
        } else {
            SilenceState::Pending
        }
    }

    /// Whether an edit leaves what was silent until now as it was.
    fn may_become(&self, draft: &Draft, now: Time) -> bool {
        if self.matchers.clone().sorted() != draft.matchers.clone().sorted() {
            return false;
        }
        // Whoever reads a silence and writes it back may have lost the fraction of the second.
        let second = |at: Time| at.floor(Span::secs(1));
        match self.state(now) {
            SilenceState::Active => second(self.starts_at) == second(draft.starts_at) && draft.ends_at >= now,
            SilenceState::Pending => draft.starts_at >= now,
            SilenceState::Expired => false,
        }
    }
}

impl Draft {
    fn check_times(&self, now: Time) -> Result<(), Refused> {
        let refused = |reason: &str| Err(Refused::Invalid(format!("Failed to create silence: {reason}")));
        if self.starts_at >= self.ends_at {
            return refused("start time must be before end time");
        }
        if self.ends_at < now {
            return refused("end time can't be in the past");
        }
        Ok(())
    }

    fn check_matchers(&self) -> Result<(), Refused> {
        let refused = |reason: String| Err(Refused::Invalid(format!("silence invalid: {reason}")));
        let matchers = &self.matchers.0;
        if matchers.is_empty() {
            return refused("at least one matcher required".to_owned());
        }
        if let Some(number) = matchers.iter().position(|matcher| matcher.name.is_empty()) {
            return refused(format!("invalid label matcher {number}: invalid label name \"\""));
        }
        // As there, one that excludes a value counts as if it did not match the empty text.
        if matchers.iter().all(|matcher| matcher.op.is_positive() && matcher.matches("")) {
            return refused("at least one matcher must not match the empty string".to_owned());
        }
        let texts = matchers.iter().map(|matcher| matcher.name.len() + matcher.value.len());
        let bytes = texts.sum::<usize>() + self.created_by.len() + self.comment.len();
        if bytes > MAX_SILENCE_BYTES {
            return refused(format!("silence exceeded maximum size: {bytes} bytes (limit: {MAX_SILENCE_BYTES} bytes)"));
        }
        Ok(())
    }
}

impl Silences {
    /// Makes one, or changes one: in place where its matchers stay and what is past stays, else the old one expires and
    /// `new_id` is made, which begins no sooner than now. Says which silence holds now.
    ///
    /// # Errors
    /// There is none of that id, what is asked makes no sense, or there are too many.
    pub fn set(&mut self, draft: Draft, new_id: String, now: Time) -> Result<String, Refused> {
        draft.check_times(now)?;
        let known = match draft.id.as_deref().filter(|id| !id.is_empty()) {
            Some(id) => Some(self.by_id.get(id).ok_or(Refused::Unknown)?),
            None => None,
        };
        draft.check_matchers()?;
        let in_place = known.filter(|known| known.may_become(&draft, now)).map(|known| known.id.clone());
        if in_place.is_none() && self.by_id.len() >= MAX_SILENCES {
            let reason = format!("exceeded maximum number of silences: {} (limit: {MAX_SILENCES})", self.by_id.len());
            return Err(Refused::Invalid(reason));
        }
        let replaced = known.filter(|_| in_place.is_none()).map(|known| known.id.clone());
        if let Some(old) = replaced {
            self.expire(&old, now)?;
        }
        let starts_at = if in_place.is_some() { draft.starts_at } else { draft.starts_at.max(now) };
        let id = in_place.unwrap_or(new_id);
        let Draft { matchers, ends_at, created_by, comment, .. } = draft;
        self.put(Silence { id: id.clone(), matchers, starts_at, ends_at, updated_at: now, created_by, comment });
        Ok(id)
    }

    /// Ends one now; one that has not begun never will, and to one that has ended nothing happens.
    ///
    /// # Errors
    /// There is none of that id.
    pub fn expire(&mut self, id: &str, now: Time) -> Result<(), Refused> {
        let silence = self.by_id.get_mut(id).ok_or(Refused::Unknown)?;
        match silence.state(now) {
            SilenceState::Expired => return Ok(()),
            SilenceState::Active => silence.ends_at = now,
            SilenceState::Pending => (silence.starts_at, silence.ends_at) = (now, now),
        }
        silence.updated_at = now;
        self.changed.insert(id.to_owned());
        Ok(())
    }

    /// The ids of those that keep an alert silent now, in order.
    pub fn of(&self, labels: &Labels, now: Time) -> Vec<String> {
        let named = self.index.by_value.iter().filter_map(|(name, by_value)| by_value.get(labels.get(name)));
        let candidates = named.flatten().chain(&self.index.others).filter_map(|id| self.by_id.get(id));
        let holding = candidates.filter(|silence| silence.state(now) == SilenceState::Active && silence.matchers.matches(labels));
        let mut ids: Vec<String> = holding.map(|silence| silence.id.clone()).collect();
        ids.sort_unstable();
        ids
    }

    /// One by its id.
    pub fn get(&self, id: &str) -> Option<&Silence> {
        self.by_id.get(id)
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Silence> {
        self.by_id.values()
    }

    /// When one begins or ends next, so that what it keeps silent may change.
    pub fn next_change(&self, now: Time) -> Option<Time> {
        self.by_id.values().flat_map(|silence| [silence.starts_at, silence.ends_at]).filter(|at| *at > now).min()
    }

    /// Forgets those that expired before the retention.
    pub fn forget(&mut self, now: Time) {
        let over: Vec<String> =
            self.by_id.values().filter(|silence| silence.ends_at + RETENTION <= now).map(|silence| silence.id.clone()).collect();
        for id in over {
            if let Some(silence) = self.by_id.remove(&id) {
                self.index.remove(&silence);
            }
            self.changed.insert(id);
        }
    }

    /// Silences that changed since this was last called, by id; none: it is forgotten. To be stored.
    pub fn take_changed(&mut self) -> Vec<(String, Option<Vec<u8>>)> {
        let stored = |id: &str| self.by_id.get(id).and_then(|silence| postcard::to_stdvec(silence).ok());
        std::mem::take(&mut self.changed).into_iter().map(|id| (id.clone(), stored(&id))).collect()
    }

    /// From what was stored.
    ///
    /// # Errors
    /// It is not what was stored.
    pub fn restore(stored: Vec<(String, Vec<u8>)>) -> Result<Silences, postcard::Error> {
        let mut silences = Silences::default();
        for (_, body) in stored {
            silences.put(postcard::from_bytes(&body)?);
        }
        silences.changed.clear();
        Ok(silences)
    }

    fn put(&mut self, silence: Silence) {
        if let Some(old) = self.by_id.get(&silence.id) {
            self.index.remove(old);
        }
        self.index.add(&silence);
        self.changed.insert(silence.id.clone());
        self.by_id.insert(silence.id.clone(), silence);
    }
}

impl Index {
    /// Under that of its values under which there are fewest.
    fn add(&mut self, silence: &Silence) {
        let crowd = |matcher: &Matcher| {
            let by_value = self.by_value.get(&matcher.name);
            let values = matcher.values().unwrap_or_default().iter();
            values.map(|value| 1 + by_value.and_then(|by_value| by_value.get(value)).map_or(0, BTreeSet::len)).sum::<usize>()
        };
        let named = silence.matchers.0.iter().filter(|matcher| matcher.values().is_some());
        let Some(best) = named.min_by_key(|matcher| crowd(matcher)) else {
            self.others.insert(silence.id.clone());
            return;
        };
        let by_value = self.by_value.entry(best.name.clone()).or_default();
        for value in best.values().unwrap_or_default() {
            by_value.entry(value.clone()).or_default().insert(silence.id.clone());
        }
    }

    fn remove(&mut self, silence: &Silence) {
        self.others.remove(&silence.id);
        for matcher in &silence.matchers.0 {
            let Some(by_value) = self.by_value.get_mut(&matcher.name) else { continue };
            for value in matcher.values().unwrap_or_default() {
                if by_value.get_mut(value).is_some_and(|ids| ids.remove(&silence.id) && ids.is_empty()) {
                    by_value.remove(value);
                }
            }
            if by_value.is_empty() {
                self.by_value.remove(&matcher.name);
            }
        }
    }
}

#[cfg(test)]
mod tests;
