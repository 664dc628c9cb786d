//! Groups of alerts, and when each is looked at.
//!
//! A group is looked at `group_wait` after its first alert, at once where that is past, and then every `group_interval`.
//! A look ([`Router::flush`]) shows each integration all of its alerts; those that are resolved leave the group with it,
//! and a group with nothing left is gone, so that its next alert starts it anew.
//!
//! Guarantees: the **resolve guarantee** (whoever was told that an alert fires is told that it stopped, whatever keeps it
//! quiet by then, and also when a reload moved it elsewhere: what the log says and no group holds is over); and an incident
//! that came late and is over is told as firing by one flush and as resolved by the next, once.
//!
//! Restarts: what must be remembered is in [`Saved`], to be stored with the deliveries that a flush decided. Every update
//! may be repeated, so after a restart the caller gives all alerts that there are to [`Router::recall`].

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, OnceLock};

use rustc_hash::FxHashMap;

use super::case::{Case, GroupId, Home, Terms};
use super::quiet::Quiet;
use super::schedule::Schedule;
use super::{
    Draft, GroupView, Inhibitions, Notification, Reason, Refused, Routing, Saved, Selection, Semantics, Silences, Trace,
};
use crate::alert::{Alert, State};
use crate::labels::Labels;
use crate::time::{Span, Time};

/// How often what cannot matter any more is looked for.
const PRUNED_EVERY: Span = Span::secs(60);

/// What a flush decided for one integration of a receiver about one group.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision {
    /// The receiver's name.
    pub receiver: String,
    /// Which of its integrations.
    pub integration: usize,
    /// Which group.
    pub group_key: String,
    /// What to do.
    pub action: Action,
    /// Why.
    pub reason: Reason,
}

/// What to do about a group.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Send this; the log says already that it was sent.
    Notify(Notification),
    /// Nothing.
    Hold,
}

/// Groups and log under the routes of the current configuration.
#[derive(Clone, Debug, Default)]
pub struct Router {
    pub(super) routing: Routing,
    pub(super) saved: Saved,
    pub(super) silences: Silences,
    /// Where each alert of a group belongs, found once.
    homes: FxHashMap<Labels, Arc<[Home]>>,
    pub(super) schedule: Schedule,
    /// Of the alerts that fire now, where that is known.
    inhibitions: OnceLock<Inhibitions>,
    pruned: Option<Time>,
}

impl Router {
    /// Goes on where a router left off, perhaps under another configuration.
    pub fn new(routing: Routing, saved: Saved, silences: Silences, now: Time) -> Router {
        let mut router = Router { saved, silences, ..Router::default() };
        router.reload(routing, now);
        router
    }

    /// What goes on under another configuration.
    pub fn into_saved(self) -> (Saved, Silences) {
        (self.saved, self.silences)
    }

    /// The configuration that it follows.
    pub fn routing(&self) -> &Routing {
        &self.routing
    }

    /// All silences.
    pub fn silences(&self) -> &Silences {
        &self.silences
    }

    /// Makes or changes a silence; see [`Silences::set`].
    ///
    /// # Errors
    /// It is not there, or what is asked makes no sense.
    pub fn silence(&mut self, draft: Draft, new_id: String, now: Time) -> Result<String, Refused> {
        self.silences.set(draft, new_id, now)
    }

    /// Ends a silence now.
    ///
    /// # Errors
    /// It is not there, or has ended.
    pub fn expire_silence(&mut self, id: &str, now: Time) -> Result<(), Refused> {
        self.silences.expire(id, now)
    }

    /// Takes it that somebody takes care of what fires in the groups that are selected: neither repeated nor escalated from
    /// now on. Says which groups, by receiver and key; none where nothing of it fires.
    pub fn acknowledge(&mut self, selection: &Selection, by: &str, comment: &str, now: Time) -> Vec<GroupView> {
        if self.routing.semantics == Semantics::Alertmanager {
            return Vec::new();
        }
        let mut touched = Vec::new();
        for (id, case) in &mut self.saved.cases {
            let alerts: Vec<Labels> = selection.of(id, case).into_iter().cloned().collect();
            if !alerts.is_empty() {
                case.acknowledge(alerts, by, comment, now);
                touched.push(id.clone());
            }
        }
        self.touched(&touched, now)
    }

    /// The same taken back.
    pub fn unacknowledge(&mut self, selection: &Selection, now: Time) -> Vec<GroupView> {
        let mut touched = Vec::new();
        for (id, case) in &mut self.saved.cases {
            let alerts = selection.of(id, case).into_iter().cloned().collect();
            if case.unacknowledge(&alerts) {
                touched.push(id.clone());
            }
        }
        self.touched(&touched, now)
    }

    fn touched(&mut self, ids: &[Arc<GroupId>], now: Time) -> Vec<GroupView> {
        for id in ids {
            self.saved.mark(id);
            self.plan(id);
        }
        ids.iter().filter_map(|id| Some(self.shown(id, self.saved.cases.get(id)?, now))).collect()
    }

    /// Why a group was or was not told, the oldest first; the receiver may be one that it was escalated to.
    pub fn trace(&self, receiver: &str, group_key: &str) -> &[Trace] {
        let channel = self.told(receiver, group_key).and_then(|id| self.saved.cases.get(&id)?.channels.get(receiver));
        channel.map_or(&[], |channel| &channel.traces)
    }

    /// The case that a receiver was told of: its own, or one that was escalated to it.
    fn told(&self, receiver: &str, group_key: &str) -> Option<Arc<GroupId>> {
        let id = GroupId { receiver: receiver.to_owned(), key: group_key.to_owned() };
        let told = |case: &Case| case.channels.contains_key(receiver);
        let own = self.saved.cases.get_key_value(&id).filter(|(_, case)| told(case));
        let escalated = || self.saved.cases.iter().find(|(id, case)| id.key == group_key && told(case));
        own.or_else(escalated).map(|(id, _)| id.clone())
    }

    /// What changed of groups, log and silences since this was last called, each a document by kind and name; none: it is
    /// gone. To be stored in one transaction with what was decided.
    pub fn take_changed(&mut self) -> Vec<(&'static str, String, Option<Vec<u8>>)> {
        let silences = self.silences.take_changed().into_iter().map(|(name, body)| ("silence", name, body));
        silences.chain(self.saved.take_changed()).collect()
    }

    /// Takes over another configuration: the groups are formed anew. A group that there was before goes on with its
    /// clock (Alertmanager's begins again); the end of what was told where it is told no more follows within a
    /// `group_interval`.
    pub fn reload(&mut self, routing: Routing, now: Time) {
        self.routing = routing;
        self.homes.clear();
        self.schedule.clear();
        self.inhibitions.take();
        let root = Arc::new(Terms { escalation: Vec::new(), ..Terms::of(&self.routing.root) });
        let (mut members, mut lived, mut moved) = (BTreeMap::new(), Vec::new(), Vec::new());
        for (id, case) in &mut self.saved.cases {
            case.lives &= self.routing.semantics == Semantics::Ours;
            if case.lives {
                lived.push(id.clone());
            }
            if !case.members.is_empty() {
                moved.push(id.clone());
            }
            members.append(&mut case.members);
            if case.terms.interval == Span::ZERO {
                case.terms = root.clone();
            }
        }
        for (labels, member) in members {
            for home in self.homes_of(&labels).iter() {
                let lived = lived.binary_search(&home.id).is_ok();
                self.saved.cases.entry(home.id.clone()).or_default().join(home, member.clone(), lived, now);
            }
        }
        moved.iter().for_each(|id| self.end_if_empty(id));
        for id in self.saved.cases.keys().cloned().collect::<Vec<_>>() {
            self.saved.mark(&id);
            self.plan(&id);
        }
    }

    /// After a start: all alerts that there are join their groups. What fires here and not among them is over: it ended
    /// while nobody told us.
    pub fn recall<'a>(&mut self, alerts: impl IntoIterator<Item = &'a Alert>, now: Time) {
        let mut firing = BTreeSet::new();
        for alert in alerts {
            if alert.state == State::Firing {
                firing.insert(alert.labels.clone());
            }
            self.update(alert, now);
        }
        let members = self.saved.cases.values().flat_map(|case| case.members.values()).map(|member| &member.alert);
        let over = members.filter(|alert| alert.state == State::Firing && !firing.contains(&alert.labels));
        let over: Vec<Alert> = over.map(|alert| alert.resolved(now)).collect();
        over.iter().for_each(|alert| self.update(alert, now));
        for id in self.saved.cases.keys().cloned().collect::<Vec<_>>() {
            self.end_if_empty(&id);
            self.plan(&id);
        }
    }

    fn end_if_empty(&mut self, id: &Arc<GroupId>) {
        let Some(case) = self.saved.cases.get_mut(id).filter(|case| case.lives && case.members.is_empty()) else { return };
        case.lives = false;
        case.calm_down();
        self.saved.mark(id);
    }

    /// Where an alert belongs.
    fn homes_of(&mut self, labels: &Labels) -> Arc<[Home]> {
        if let Some(homes) = self.homes.get(labels) {
            return homes.clone();
        }
        let homes: Arc<[Home]> = self.routing.root.matching(labels).into_iter().map(|route| Home::of(route, labels)).collect();
        self.homes.insert(labels.clone(), homes.clone());
        homes
    }

    /// Says when a case is looked at next.
    fn plan(&mut self, id: &Arc<GroupId>) {
        let (receivers, semantics) = (&self.routing.receivers, self.routing.semantics);
        let due = self.saved.cases.get(id).and_then(|case| case.next(id, receivers, semantics));
        self.schedule.put(id, due);
    }

    /// Takes an alert that fires or is resolved. To be called for each change of a book (of an incident that is over
    /// already, also with its firing form) and whenever a firing alert is refreshed; to call it again does no harm.
    pub fn update(&mut self, alert: &Alert, now: Time) {
        if alert.state == State::Pending {
            return;
        }
        let is_news = alert.late && self.saved.is_late_news(alert, now);
        // Alertmanager takes what is posted whether it fires or not.
        let posted = self.routing.semantics == Semantics::Alertmanager && alert.posted.is_some();
        let (homes, fires) = (self.homes_of(&alert.labels), alert.state == State::Firing);
        let mut belongs = false;
        for home in homes.iter() {
            let known = self.saved.cases.get(&home.id);
            let knows = |case: &Case| case.lives && (case.members.contains_key(&alert.labels) || case.believes(&alert.labels));
            // Of what ended before anybody heard of it nobody hears, unless that was because its rows came late.
            if !fires && !is_news && !posted && !known.is_some_and(knows) {
                continue;
            }
            belongs = true;
            let case = self.saved.cases.entry(home.id.clone()).or_default();
            if fires != case.members.get(&alert.labels).is_some_and(|member| member.alert.state == State::Firing) {
                self.inhibitions.take();
            }
            let before = (case.lives, case.due);
            let stores = case.take(home, alert, now);
            if before != (case.lives, case.due) {
                self.plan(&home.id);
            }
            if stores {
                self.saved.mark(&home.id);
            }
        }
        if !belongs {
            self.homes.remove(&alert.labels);
        }
    }

    /// Looks at every group whose time has come, and decides for each integration of its receiver.
    ///
    /// What is decided counts as told at once: the caller stores [`Router::take_changed`] and the messages in one transaction.
    pub fn flush(&mut self, now: Time) -> Vec<Decision> {
        self.flush_some(now, usize::MAX)
    }

    /// The same until groups of so many alerts were looked at; the others are still due ([`Router::is_due`]).
    pub fn flush_some(&mut self, now: Time, mut alerts: usize) -> Vec<Decision> {
        let mut decisions = Vec::new();
        let come = self.schedule.come(now, alerts);
        if !come.is_empty() {
            let inhibitions = self.inhibitions.take().unwrap_or_else(|| self.find_inhibitions());
            let mut quiet = Quiet {
                semantics: self.routing.semantics,
                rules: &self.routing.inhibit_rules,
                inhibitions: &inhibitions,
                silences: &self.silences,
                intervals: &self.routing.time_intervals,
                now,
                routes: BTreeMap::new(),
            };
            for id in &come {
                if alerts == 0 {
                    break;
                }
                // Out of the map, so that its neighbours may be asked for.
                let Some(mut case) = self.saved.cases.remove(id) else { continue };
                alerts = alerts.saturating_sub(case.members.len().max(1));
                let neighbour = |receiver: &str| GroupId { receiver: receiver.to_owned(), key: id.key.clone() };
                let is_told = |receiver: &str| self.saved.cases.get(&neighbour(receiver)).is_some_and(|case| case.lives);
                let looked = case.look(id, &mut quiet, &self.routing.receivers, is_told);
                self.schedule.put(id, case.next(id, &self.routing.receivers, self.routing.semantics));
                self.saved.cases.insert(id.clone(), case);
                if looked.changed {
                    self.saved.mark(id);
                }
                looked.left.iter().for_each(|labels| drop(self.homes.remove(labels)));
                decisions.extend(looked.decisions);
            }
            let _ = self.inhibitions.set(inhibitions);
        }
        self.prune(now);
        decisions
    }

    fn find_inhibitions(&self) -> Inhibitions {
        let members = self.saved.cases.values().flat_map(|case| case.members.values());
        let firing = members.map(|member| &member.alert).filter(|alert| alert.state == State::Firing);
        let firing: BTreeMap<&Labels, &Alert> = firing.map(|alert| (&alert.labels, alert)).collect();
        Inhibitions::new(&self.routing.inhibit_rules, firing.into_values())
    }

    /// The alerts that keep others quiet now.
    pub(super) fn inhibitions(&self) -> &Inhibitions {
        self.inhibitions.get_or_init(|| self.find_inhibitions())
    }

    fn prune(&mut self, now: Time) {
        if self.pruned.is_some_and(|last| now >= last && now - last < PRUNED_EVERY) {
            return;
        }
        self.pruned = Some(now);
        let (mut changed, semantics) = (Vec::new(), self.routing.semantics);
        self.saved.cases.retain(|id, case| {
            let (differs, stays) = case.prune(semantics, now);
            if differs || !stays {
                changed.push(id.clone());
            }
            stays
        });
        for id in &changed {
            self.saved.mark(id);
            self.plan(id);
        }
        self.saved.prune_late(now);
        self.silences.forget(now);
    }

    /// When the next flush has something to look at; it may be past.
    pub fn next_flush(&self) -> Option<Time> {
        self.schedule.next()
    }

    /// Whether a flush has something to look at now.
    pub fn is_due(&self, now: Time) -> bool {
        self.schedule.has_come(now)
    }

    /// The last message to an integration about a group was given up: the group's next flush tells again what is then
    /// so, and what the receiver may still think; `heard`: fingerprints of alerts that it may have heard of nevertheless.
    pub fn forget_log(&mut self, receiver: &str, integration: usize, group_key: &str, heard: &BTreeSet<String>) {
        let Some(id) = self.told(receiver, group_key) else { return };
        let channel = self.saved.cases.get_mut(&id).and_then(|case| case.channels.get_mut(receiver));
        if let Some(entry) = channel.and_then(|channel| channel.entries.get_mut(&integration)) {
            entry.give_up(heard);
            self.saved.mark(&id);
            self.plan(&id);
        }
    }
}

#[cfg(test)]
mod tests;
