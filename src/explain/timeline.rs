//! What happened to the subject, in the order of time.

use super::{Facts, Subject, second};
use crate::alert::{Alert, State};
use crate::message::{one_line, truncate, value};
use crate::outbox::{self, Delivery};
use crate::route::Silence;
use crate::time::Time;

/// Characters of what people or receivers wrote that one entry repeats.
const QUOTED: usize = 400;

/// One thing that happened.
#[derive(Clone, Debug, PartialEq)]
pub struct Moment {
    /// When.
    pub at: Time,
    /// What, as a line.
    pub what: String,
}

/// The oldest first; what is of one instant in the order of its causes.
pub(super) fn timeline(facts: &Facts<'_>) -> Vec<Moment> {
    let mut moments = Vec::new();
    let mut add = |at: Time, what: String| moments.push(Moment { at, what });
    if let Subject::Alert(alert) = &facts.subject {
        alive(alert, &mut add);
    }
    let ended = match &facts.subject {
        Subject::Alert(alert) => alert.resolved_at,
        _ => None,
    };
    let concerned = |silence: &&&Silence| ended.is_none_or(|ended| silence.starts_at < ended);
    for silence in facts.silences.iter().filter(concerned) {
        let by = truncate(&one_line(&silence.created_by), QUOTED);
        add(silence.starts_at, format!("silenced by {by} until {}: {}", second(silence.ends_at), quoted(&silence.comment)));
    }
    for (receiver, _, traces) in &facts.traces {
        for trace in *traces {
            let kind = facts.kind(receiver, trace.integration);
            let word = if trace.reason.notifies() { "notify" } else { "hold" };
            let mut what = format!("{word} {receiver} ({kind}): {}", trace.reason);
            if !trace.quiet.is_empty() {
                what += &format!("; {}", trace.quiet.join("; "));
            }
            if trace.times > 1 {
                what += &format!(" ({} times, last at {})", trace.times, second(trace.last));
            }
            add(trace.at, what);
        }
    }
    for group in &facts.groups {
        if let Some(ack) = &group.acknowledgement {
            let comment = if ack.comment.is_empty() { String::new() } else { format!(": {}", quoted(&ack.comment)) };
            add(ack.at, format!("acknowledged by {}{comment}", quoted(&ack.by)));
        }
    }
    facts.deliveries.iter().for_each(|delivery| delivered(delivery, &mut add));
    if let Some(at) = ended {
        add(at, "resolved".to_owned());
    }
    moments.sort_by_key(|moment| moment.at);
    moments
}

fn alive(alert: &Alert, add: &mut impl FnMut(Time, String)) {
    let late = if alert.late { ", found late: its rows came late" } else { "" };
    match &alert.posted {
        Some(posted) => {
            let from =
                if posted.generator_url.is_empty() { String::new() } else { format!(" by {}", quoted(&posted.generator_url)) };
            add(alert.active_at, format!("fires, as somebody posted{from}"));
            let again = if posted.updated_at > alert.active_at { "posted again" } else { "posted" };
            let at = posted.updated_at.max(alert.active_at);
            match alert.state {
                // What was posted last may be its end, which is told as such.
                State::Resolved => {}
                _ => add(at, format!("{again}; it ends at {} unless it is posted again", second(posted.ends_at))),
            }
        }
        None => {
            let fires_at_once = alert.fired_at == Some(alert.active_at);
            let measured = format!("value {}{}", value(alert.value), evidence(alert));
            let found = if fires_at_once { "found and fires" } else { "found, pending" };
            add(alert.active_at, format!("{found}{late}; at last {measured}"));
            if let Some(at) = alert.fired_at.filter(|_| !fires_at_once) {
                add(at, format!("fires{late}"));
            }
        }
    }
    if let Some(at) = alert.absent_since.filter(|_| alert.state == State::Firing) {
        add(at, "not found any more; fires on for `keep_firing_for`".to_owned());
    }
}

fn evidence(alert: &Alert) -> String {
    if alert.evidence.is_empty() { String::new() } else { format!(" ({})", quoted(&alert.evidence)) }
}

fn delivered(delivery: &Delivery, add: &mut impl FnMut(Time, String)) {
    let to = format!("{} ({})", delivery.receiver, delivery.kind);
    let id = delivery.id;
    add(delivery.created, format!("delivery {id} to {to} queued: {}", quoted(&delivery.notification.reason)));
    let shown = delivery.attempts.len() as u32;
    // What it was given up for is told there.
    let last = match &delivery.state {
        outbox::State::GivenUp { reason, .. } if delivery.attempts.last().is_some_and(|last| last.outcome == *reason) => shown,
        _ => 0,
    };
    for (i, attempt) in delivery.attempts.iter().enumerate() {
        if i as u32 + 1 != last {
            add(attempt.at, format!("delivery {id} to {to}: {}", quoted(&attempt.outcome)));
        }
        // Of many attempts the first and the last ones are kept.
        if i + 1 == outbox::FIRST_ATTEMPTS && delivery.attempts_total > shown {
            add(attempt.at, format!("delivery {id} to {to}: {} more attempts", delivery.attempts_total - shown));
        }
    }
    match &delivery.state {
        // That attempt says so.
        outbox::State::Delivered { .. } if delivery.attempts.last().is_some_and(|last| last.outcome == "delivered") => {}
        outbox::State::Delivered { at } => add(*at, format!("delivery {id} to {to}: delivered")),
        outbox::State::GivenUp { at, reason } => add(*at, format!("delivery {id} to {to}: given up: {}", quoted(reason))),
        outbox::State::Replaced { at, reason, .. } => add(*at, format!("delivery {id} to {to}: not sent: {}", quoted(reason))),
        outbox::State::Queued { .. } | outbox::State::Sending { .. } => {}
    }
}

fn quoted(text: &str) -> String {
    truncate(&one_line(text), QUOTED)
}
