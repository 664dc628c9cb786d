//! What a router must remember over a restart: a document for each case, so that a step writes only what it changed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::case::{Case, GroupId, fired_at};
use crate::alert::Alert;
use crate::labels::{Labels, sha256_hex};
use crate::limits::RETENTION;
use crate::time::Time;

/// Groups, who was told what, acknowledgements. Stored with postcard (its maps have keys that JSON cannot write).
#[derive(Clone, Debug, Default)]
pub struct Saved {
    pub(super) cases: BTreeMap<Arc<GroupId>, Case>,
    /// The newest late incident of each label set, to know it when it is seen again.
    late: BTreeMap<Labels, Late>,
    /// Cases that differ from what is stored.
    changed: BTreeSet<Arc<GroupId>>,
    late_changed: bool,
}

impl PartialEq for Saved {
    /// What is to be stored of it is no part of it.
    fn eq(&self, other: &Saved) -> bool {
        (&self.cases, &self.late) == (&other.cases, &other.late)
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Late {
    fired_at: Time,
    seen: Time,
}

const GROUP: &str = "group";
const LATE: &str = "late";

impl Saved {
    /// From the documents of the kinds in [`Saved::KINDS`], by kind and name.
    ///
    /// # Errors
    /// They are not what was stored.
    pub fn restore(stored: Vec<(&'static str, String, Vec<u8>)>) -> Result<Saved, postcard::Error> {
        let mut saved = Saved::default();
        for (kind, _, body) in stored {
            if kind == LATE {
                saved.late = postcard::from_bytes(&body)?;
            } else {
                let (id, case): (GroupId, Case) = postcard::from_bytes(&body)?;
                saved.cases.insert(Arc::new(id), case);
            }
        }
        Ok(saved)
    }

    /// The kinds of documents that it is stored in.
    pub const KINDS: &[&str] = &[GROUP, LATE];

    /// What changed since this was last called, by kind and name; none: it is gone.
    pub(super) fn take_changed(&mut self) -> Vec<(&'static str, String, Option<Vec<u8>>)> {
        let name = |id: &GroupId| sha256_hex(&format!("{}\0{}", id.receiver, id.key));
        let body = |id: &Arc<GroupId>| self.cases.get(id).and_then(|case| postcard::to_stdvec(&(id.as_ref(), case)).ok());
        let changed = std::mem::take(&mut self.changed);
        let mut all: Vec<_> = changed.iter().map(|id| (GROUP, name(id), body(id))).collect();
        if std::mem::take(&mut self.late_changed) {
            all.push((LATE, LATE.to_owned(), postcard::to_stdvec(&self.late).ok()));
        }
        all
    }

    /// A case is to be stored, or to be removed from the store.
    pub(super) fn mark(&mut self, id: &Arc<GroupId>) {
        self.changed.insert(id.clone());
    }

    /// Whether an incident that came late was not seen before.
    pub(super) fn is_late_news(&mut self, alert: &Alert, now: Time) -> bool {
        let late = Late { fired_at: fired_at(alert), seen: now };
        let known = self.late.insert(alert.labels.clone(), late);
        let news = known.is_none_or(|known| known.fired_at != fired_at(alert));
        self.late_changed |= news;
        news
    }

    /// Forgets late incidents of long ago; those in a group stay.
    pub(super) fn prune_late(&mut self, now: Time) {
        let before = self.late.len();
        let cases = &self.cases;
        let is_member = |labels: &Labels| cases.values().any(|case| case.members.contains_key(labels));
        self.late.retain(|labels, late| now - late.seen <= RETENTION || is_member(labels));
        self.late_changed |= self.late.len() != before;
    }
}
