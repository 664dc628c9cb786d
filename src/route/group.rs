//! Groups of alerts, and when each is looked at.
//!
//! A group is looked at `group_wait` after its first alert, at once where that is past, and then every `group_interval`.
//! A look ([`Router::flush`]) shows each integration all of its alerts; those that are resolved leave the group with it,
//! and a group with nothing left is gone, so that its next alert starts it anew.
//!
//! Guarantees: the **resolve guarantee** (whoever was told that an alert fires is told that it stopped, also when a
//! reload moved the alert elsewhere: what the log says and no group holds is over); and an incident that came late and
//! is over is told as firing by one flush and as resolved by the next, once.
//!
//! Restarts: what must be remembered is in [`Saved`], to be stored with the deliveries that a flush decided. Every update
//! may be repeated, so after a restart the caller updates all alerts of its books, and what was lost in between is there.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::log::{Entry, Manner, Reason, View};
use super::{Notification, Route};
use crate::alert::{Alert, State};
use crate::labels::Labels;
use crate::limits::RETENTION;
use crate::time::{Span, Time};

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
#[derive(Clone, Debug)]
pub struct Router {
    route: Route,
    saved: Saved,
}

/// What a router must remember over a restart. Stored with postcard (its maps have keys that JSON cannot write).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Saved {
    groups: BTreeMap<GroupId, Group>,
    log: BTreeMap<GroupId, GroupLog>,
    /// The newest late incident of each label set, to know it when it is seen again.
    late: BTreeMap<Labels, Late>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Late {
    fired_at: Time,
    seen: Time,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct GroupId {
    receiver: String,
    key: String,
}

/// The alerts that are told together, and the clock of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Group {
    labels: Labels,
    /// The `group_wait` that its first look waits for.
    wait: Span,
    interval: Span,
    repeat: Span,
    due: Time,
    flushed: bool,
    members: BTreeMap<Labels, Member>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Member {
    alert: Alert,
    /// A flush has shown it.
    flushed: bool,
}

/// What the integrations of a receiver were told about one group; outlives the group.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct GroupLog {
    labels: Labels,
    /// When it is looked at if the group is gone: no sooner than the group would have been.
    due: Time,
    /// The interval that `due` waits for.
    interval: Span,
    entries: BTreeMap<usize, Entry>,
}

impl Router {
    /// Nothing fires, and nobody was told anything.
    pub fn new(route: Route) -> Router {
        Router { route, saved: Saved::default() }
    }

    /// Goes on where a router left off, perhaps under another configuration.
    pub fn restore(route: Route, saved: Saved) -> Router {
        let mut router = Router { route: route.clone(), saved };
        router.reload(route);
        router
    }

    /// What to store.
    pub fn saved(&self) -> &Saved {
        &self.saved
    }

    /// What goes on under another configuration.
    pub fn into_saved(self) -> Saved {
        self.saved
    }

    /// Takes over another configuration: the groups are formed anew. A group that there was before goes on with its
    /// clock; the end of what was told where it is told no more follows within a `group_interval`.
    pub fn reload(&mut self, route: Route) {
        self.route = route;
        let old = std::mem::take(&mut self.saved.groups);
        let members: BTreeMap<&Labels, &Member> = old.values().flat_map(|group| &group.members).collect();
        for (labels, member) in members {
            for route in self.route.matching(labels) {
                let id = GroupId::of(route, labels);
                let since = fired_at(&member.alert);
                let (due, flushed) = match old.get(&id) {
                    Some(group) if group.flushed => (group.due.min(group.due - group.interval + route.group_interval), true),
                    Some(group) => (group.due, false),
                    None => (since + route.group_wait, false),
                };
                // It goes on with the wait that it began.
                let wait = old.get(&id).map_or(Span::ZERO, |group| group.wait).max(route.group_wait);
                let new = || Group { due, flushed, wait, ..Group::new(route, labels, since) };
                let group = self.saved.groups.entry(id).or_insert_with(new);
                group.due = group.due.min(due);
                group.members.insert(labels.clone(), member.clone());
            }
        }
    }

    /// Takes an alert that fires or is resolved. To be called for each change of a book (of an incident that is over
    /// already, also with its firing form) and whenever a firing alert is refreshed; to call it again does no harm.
    pub fn update(&mut self, alert: &Alert, now: Time) {
        let is_news = alert.late && self.saved.is_late_news(alert, now);
        for route in self.route.matching(&alert.labels) {
            let id = GroupId::of(route, &alert.labels);
            let group = self.saved.groups.get(&id);
            let wanted = match alert.state {
                State::Pending => false,
                State::Firing => true,
                // Of what ended before anybody heard of it nobody hears, unless that was because its rows came late.
                State::Resolved => is_news || group.is_some_and(|group| group.members.contains_key(&alert.labels)),
            };
            if wanted {
                let group = self.saved.groups.entry(id).or_insert_with(|| Group::new(route, &alert.labels, now));
                group.take(alert, route.group_wait, now);
            }
        }
    }

    /// Looks at every group whose time has come, and decides for each integration of its receiver. `integrations` gives
    /// those of a receiver, each with its `send_resolved`; none for a receiver that there is no more.
    ///
    /// What is decided counts as told at once: the caller stores [`Router::saved`] and the messages in one transaction.
    pub fn flush(&mut self, now: Time, integrations: impl Fn(&str) -> Vec<(usize, bool)>) -> Vec<Decision> {
        let mut decisions = Vec::new();
        for id in self.saved.come(now) {
            decisions.extend(self.saved.look(&id, &self.route, now, &integrations(&id.receiver)));
        }
        self.saved.prune(now);
        decisions
    }

    /// Alerts that fire here and nowhere else any more are over: they ended while nobody told us.
    pub fn reconcile(&mut self, fires: impl Fn(&Labels) -> bool, now: Time) {
        let members = self.saved.groups.values().flat_map(|group| group.members.values()).map(|member| &member.alert);
        let over: Vec<Alert> = members
            .filter(|alert| alert.state == State::Firing && !fires(&alert.labels))
            .map(|alert| alert.resolved(now))
            .collect();
        over.iter().for_each(|alert| self.update(alert, now));
    }

    /// When the next flush has something to look at; it may be past.
    pub fn next_flush(&self) -> Option<Time> {
        self.saved.due().map(|(due, ..)| due).min()
    }

    /// The last message to an integration about a group was given up: the group's next flush tells again what is then
    /// so, and what the receiver may still think.
    pub fn forget_log(&mut self, receiver: &str, integration: usize, group_key: &str) {
        let id = GroupId { receiver: receiver.to_owned(), key: group_key.to_owned() };
        if let Some(entry) = self.saved.log.get_mut(&id).and_then(|log| log.entries.get_mut(&integration)) {
            entry.give_up();
        }
    }
}

impl Saved {
    /// What is to be looked at now.
    fn come(&self, now: Time) -> BTreeSet<GroupId> {
        self.due().filter(|(due, wait, _)| has_come(*due, *wait, now)).map(|(.., id)| id.clone()).collect()
    }

    /// All that will be looked at, when, and after how long a wait: groups, and what is owed about groups that are gone.
    fn due(&self) -> impl Iterator<Item = (Time, Span, &GroupId)> {
        let owed = self.log.iter().filter(|(id, log)| !self.groups.contains_key(id) && log.entries.values().any(Entry::owes));
        let groups = self.groups.iter().map(|(id, group)| (group.due, group.wait.max(group.interval), id));
        groups.chain(owed.map(|(id, log)| (log.due, log.interval, id)))
    }

    /// Looks at one group, there or gone.
    fn look(&mut self, id: &GroupId, route: &Route, now: Time, integrations: &[(usize, bool)]) -> Vec<Decision> {
        let group = self.groups.get(id);
        let (interval, repeat_interval) =
            group.map_or((route.group_interval, route.repeat_interval), |group| (group.interval, group.repeat));
        let view = group.map(Group::view).unwrap_or_default();
        let log = self.log.entry(id.clone()).or_default();
        if let Some(group) = group {
            log.labels = group.labels.clone();
        }
        (log.due, log.interval) = (now + interval, interval);
        let mut decisions = Vec::new();
        for &(integration, send_resolved) in integrations {
            let manner = Manner { send_resolved, repeat_interval };
            let (reason, alerts) = log.entries.entry(integration).or_default().look(&view, manner, now);
            let action =
                if reason.notifies() { Action::Notify(id.notification(&log.labels, alerts, reason, now)) } else { Action::Hold };
            let (receiver, group_key) = (id.receiver.clone(), id.key.clone());
            decisions.push(Decision { receiver, integration, group_key, action, reason });
        }
        if self.groups.get_mut(id).is_some_and(|group| !group.go_on(now)) {
            self.groups.remove(id);
        }
        decisions
    }

    fn is_late_news(&mut self, alert: &Alert, now: Time) -> bool {
        let late = Late { fired_at: fired_at(alert), seen: now };
        let known = self.late.insert(alert.labels.clone(), late);
        known.is_none_or(|known| known.fired_at != fired_at(alert))
    }

    fn prune(&mut self, now: Time) {
        self.log.retain(|id, log| {
            let orphan = !self.groups.contains_key(id);
            log.entries.retain(|_, entry| entry.prune(orphan, now));
            !log.entries.is_empty()
        });
        self.late.retain(|_, late| now - late.seen <= RETENTION);
    }
}

impl GroupId {
    fn of(route: &Route, labels: &Labels) -> GroupId {
        GroupId { receiver: route.receiver.clone(), key: route.group_key(&route.group_labels(labels)) }
    }

    fn notification(&self, group_labels: &Labels, alerts: Vec<Alert>, reason: Reason, at: Time) -> Notification {
        let (receiver, group_key) = (self.receiver.clone(), self.key.clone());
        Notification { receiver, group_key, group_labels: group_labels.clone(), alerts, reason: reason.to_string(), at }
    }
}

impl Group {
    fn new(route: &Route, labels: &Labels, now: Time) -> Group {
        Group {
            labels: route.group_labels(labels),
            wait: route.group_wait,
            interval: route.group_interval,
            repeat: route.repeat_interval,
            due: now + route.group_wait,
            flushed: false,
            members: BTreeMap::new(),
        }
    }

    fn take(&mut self, alert: &Alert, group_wait: Span, now: Time) {
        if !self.flushed && fired_at(alert) + group_wait <= now {
            self.due = self.due.min(now);
        }
        let flushed = self.members.get(&alert.labels).is_some_and(|member| member.flushed);
        self.members.insert(alert.labels.clone(), Member { alert: alert.clone(), flushed });
    }

    fn view(&self) -> View {
        let mut view = View::default();
        for (labels, member) in &self.members {
            if member.is_over() {
                view.resolved.insert(labels.clone(), member.alert.clone());
            } else {
                view.firing.insert(labels.clone(), member.alert.firing());
            }
        }
        view
    }

    /// After a look: what is over leaves. Says whether anything is left.
    fn go_on(&mut self, now: Time) -> bool {
        self.members.retain(|_, member| !member.is_over());
        self.members.values_mut().for_each(|member| member.flushed = true);
        (self.due, self.flushed) = (now + self.interval, true);
        !self.members.is_empty()
    }
}

impl Member {
    /// Whether it is shown as resolved: one that came late is first shown as firing.
    fn is_over(&self) -> bool {
        self.alert.state == State::Resolved && (self.flushed || !self.alert.late)
    }
}

/// Whether an instant has come that was set by waiting `wait` at most. One further ahead was set by a clock that was ahead
/// and has been corrected since: it is not waited for.
fn has_come(due: Time, wait: Span, now: Time) -> bool {
    due <= now || due > now + wait
}

fn fired_at(alert: &Alert) -> Time {
    alert.fired_at.unwrap_or(alert.active_at)
}

#[cfg(test)]
mod tests;
