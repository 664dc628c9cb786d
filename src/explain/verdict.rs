//! The answer in one line: who was told, and else why nobody.

use std::collections::BTreeMap;

use super::{Facts, Subject, second};
use crate::alert::{Alert, State};
use crate::labels::Labels;
use crate::message::{one_line, truncate, whole_seconds};
use crate::outbox::{self, Delivery};
use crate::route::{Acknowledgement, GroupView};
use crate::time::Time;

/// Characters of what people or receivers wrote that one line repeats.
const QUOTED: usize = 200;

/// What an integration was told.
#[derive(Debug, Default)]
struct Heard {
    /// That it fires.
    fires: Option<Time>,
    /// That it is over.
    over: Option<Time>,
    /// What still waits, with the last failure.
    waits: Option<String>,
    /// What was given up.
    given_up: Option<String>,
}

/// One line, without what it is about.
pub(super) fn answer(facts: &Facts<'_>) -> String {
    let heard = heard(facts);
    let told: Vec<String> = heard.iter().filter_map(|(name, heard)| Some(format!("{name} {}", told(heard)?))).collect();
    let missing = heard.iter().filter_map(|(name, heard)| {
        let fault = heard.waits.as_ref().or(heard.given_up.as_ref().filter(|_| heard.fires.is_none()))?;
        Some(format!("{name}: {fault}"))
    });
    let missing: Vec<String> = missing.collect();
    let quiet = quiet(facts);
    if told.is_empty() {
        let why = if missing.is_empty() { why_nobody(facts, &quiet) } else { missing.join("; ") };
        return format!("nobody was told: {why}");
    }
    let rest = missing.into_iter().chain(quiet.into_iter().chain(partly(facts)).map(|quiet| format!("now {quiet}")));
    std::iter::once(format!("told {}", told.join(", "))).chain(rest).collect::<Vec<_>>().join("; ")
}

fn told(heard: &Heard) -> Option<String> {
    match (heard.fires, heard.over) {
        (Some(fires), Some(over)) if over >= fires => Some(format!("at {} and of its end at {}", second(fires), second(over))),
        (Some(fires), _) => Some(format!("at {}", second(fires))),
        (None, Some(over)) => Some(format!("of its end at {}", second(over))),
        (None, None) => None,
    }
}

/// What it is about, and how that stands.
pub(super) fn subject(facts: &Facts<'_>) -> String {
    match &facts.subject {
        Subject::Alert(alert) => format!("{} {}", alert.labels, standing(alert, facts.now)),
        Subject::Labels(labels) => format!("{labels} is no alert now"),
        Subject::Group(key) => format!("group {}", truncate(&one_line(key), QUOTED)),
    }
}

pub(super) fn standing(alert: &Alert, now: Time) -> String {
    let began = alert.fired_at.unwrap_or(alert.active_at);
    match (alert.state, alert.resolved_at) {
        (State::Pending, _) => {
            format!("is pending since {} ({})", second(alert.active_at), whole_seconds(now - alert.active_at))
        }
        (State::Resolved, Some(ended)) => format!("was over at {} after {}", second(ended), whole_seconds(ended - began)),
        (State::Firing | State::Resolved, _) => format!("fires since {} ({})", second(began), whole_seconds(now - began)),
    }
}

/// What each integration heard of the subject; of an alert, in this incident.
fn heard(facts: &Facts<'_>) -> BTreeMap<String, Heard> {
    let mut all: BTreeMap<String, Heard> = BTreeMap::new();
    for delivery in &facts.deliveries {
        let Some((fires, over)) = tells(facts, delivery) else { continue };
        let heard = all.entry(format!("{} ({})", delivery.receiver, delivery.kind)).or_default();
        match &delivery.state {
            outbox::State::Delivered { at } => {
                if fires {
                    heard.fires = heard.fires.or(Some(*at));
                }
                if over {
                    heard.over = Some(*at);
                }
                (heard.waits, heard.given_up) = (None, None);
            }
            outbox::State::Queued { next_at } => heard.waits = Some(waiting(delivery, *next_at)),
            outbox::State::Sending { since } => heard.waits = Some(format!("is being sent since {}", second(*since))),
            outbox::State::GivenUp { at, reason } => {
                heard.waits = None;
                heard.given_up = Some(format!("given up at {}: {}", second(*at), truncate(&one_line(reason), QUOTED)));
            }
            outbox::State::Replaced { .. } => {}
        }
    }
    all
}

/// Whether a delivery tells of the subject that it fires, that it is over; none: of another incident.
fn tells(facts: &Facts<'_>, delivery: &Delivery) -> Option<(bool, bool)> {
    let state = |labels: &Labels| delivery.notification.alerts.iter().find(|alert| alert.labels == *labels);
    match &facts.subject {
        Subject::Alert(alert) => {
            let told = state(&alert.labels)?;
            let same = told.fired_at == alert.fired_at || alert.fired_at.is_some_and(|fired_at| delivery.created >= fired_at);
            same.then_some((told.state == State::Firing, told.state == State::Resolved))
        }
        // What was told of it is history.
        Subject::Labels(_) => None,
        Subject::Group(_) => {
            let fires = delivery.notification.alerts.iter().any(|alert| alert.state == State::Firing);
            Some((fires, !fires))
        }
    }
}

fn waiting(delivery: &Delivery, next_at: Time) -> String {
    match delivery.attempts.last() {
        Some(last) => {
            let (outcome, tries) = (truncate(&one_line(&last.outcome), QUOTED), delivery.attempts_total);
            format!("attempt {tries} failed: {outcome}; the next one is at {}", second(next_at))
        }
        None => format!("waits to be sent at {}", second(next_at)),
    }
}

/// What keeps the subject quiet now; nothing does what is over.
pub(super) fn quiet(facts: &Facts<'_>) -> Vec<String> {
    let mut quiet = Vec::new();
    if matches!(&facts.subject, Subject::Alert(alert) if alert.state == State::Resolved) {
        return quiet;
    }
    for silence in &facts.silences {
        let comment = truncate(&one_line(&silence.comment), QUOTED);
        let by = truncate(&one_line(&silence.created_by), QUOTED);
        quiet.push(format!("silenced until {} by {by} ({comment}), silence {}", second(silence.ends_at), silence.id));
    }
    for labels in &facts.status.inhibited_by {
        quiet.push(format!("inhibited by {labels}, which fires"));
    }
    let mut muted: Vec<&String> = facts.status.muted_by.iter().collect();
    muted.extend(facts.groups.iter().flat_map(|group| &group.muted_by));
    muted.sort();
    muted.dedup();
    let is_outside = |name: &String| {
        facts.status.outside_of.contains(name) || facts.groups.iter().any(|group| group.outside_of.contains(name))
    };
    quiet.extend(muted.into_iter().map(|name| match is_outside(name) {
        true => format!("outside of the active time interval {name}"),
        false => format!("muted by the time interval {name}"),
    }));
    let counts = |ack: &Acknowledgement| facts.labels().is_none_or(|labels| ack.alerts.contains(labels));
    for group in &facts.groups {
        let Some(ack) = group.acknowledgement.as_ref().filter(|ack| counts(ack)) else { continue };
        // Of an alert it is said whether that one is; a group may be so in part.
        if facts.labels().is_some() || group.is_acknowledged() {
            quiet.push(acknowledged(ack));
        }
    }
    quiet
}

/// What somebody takes care of in groups of which the rest goes on.
pub(super) fn partly(facts: &Facts<'_>) -> Vec<String> {
    let partly = |group: &GroupView| {
        let (taken, firing) = group.acknowledged();
        let ack = group.acknowledgement.as_ref().filter(|_| facts.labels().is_none() && taken < firing)?;
        Some(format!("{taken} of {firing} {}; the rest is repeated and escalated", acknowledged(ack)))
    };
    facts.groups.iter().filter_map(partly).collect()
}

fn acknowledged(ack: &Acknowledgement) -> String {
    let (by, comment) = (truncate(&one_line(&ack.by), QUOTED), truncate(&one_line(&ack.comment), QUOTED));
    let comment = if comment.is_empty() { comment } else { format!(" ({comment})") };
    format!("acknowledged by {by} at {}{comment}", second(ack.at))
}

fn why_nobody(facts: &Facts<'_>, quiet: &[String]) -> String {
    if let Subject::Labels(labels) = &facts.subject {
        let receivers: Vec<&str> = facts.root.matching(labels).into_iter().map(|route| route.receiver.as_str()).collect();
        return format!("no alert has these labels; one that fires would go to {}", receivers.join(", "));
    }
    if matches!(&facts.subject, Subject::Alert(alert) if alert.state == State::Pending) {
        return "it does not fire yet (`for`)".to_owned();
    }
    if !quiet.is_empty() {
        return format!("it is {}", quiet.join(" and "));
    }
    let empty = facts.kinds.iter().find(|(_, kinds)| kinds.is_empty());
    if let Some((receiver, _)) = empty.filter(|_| facts.kinds.values().all(BTreeMap::is_empty)) {
        return format!("the receiver `{receiver}` has no way to be told");
    }
    let decided = facts.traces.iter().flat_map(|(receiver, _, traces)| traces.iter().map(move |trace| (receiver, trace)));
    if let Some((receiver, trace)) = decided.max_by_key(|(_, trace)| trace.last) {
        let quiet = if trace.quiet.is_empty() { String::new() } else { format!(" ({})", trace.quiet.join(", ")) };
        let kind = facts.kind(receiver, trace.integration);
        return format!("{receiver} ({kind}) at {}: {}{quiet}", second(trace.last), trace.reason);
    }
    let next = facts.groups.iter().map(|group| group.next_flush).min();
    match (&facts.subject, next) {
        (Subject::Alert(alert), _) if alert.state == State::Resolved => {
            "it was over before its group was first looked at".to_owned()
        }
        (_, Some(at)) => format!("its group is first looked at {} (`group_wait`)", second(at)),
        (_, None) => "no group holds it, and nothing is known of what was decided".to_owned(),
    }
}
