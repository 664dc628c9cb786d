//! The same for programs. Keys are stable: new ones may come, none goes or changes what it means. Times are RFC 3339.

use serde_json::{Value, json};

use super::{Explanation, Subject};
use crate::alert::{Alert, State};
use crate::labels::Labels;
use crate::outbox::{self, Delivery};
use crate::route::{Acknowledgement, GroupView};
use crate::time::Time;

impl Explanation {
    /// `verdict`, `subject`, `route`, `quiet`, `groups`, `members`, `timeline`, `deliveries`, and all of it for people as `text`.
    pub fn json(&self) -> Value {
        let subject = match &self.subject {
            Subject::Alert(alert) => json!({ "alert": self::alert(alert) }),
            Subject::Labels(labels) => json!({ "labels": labels.0 }),
            Subject::Group(key) => json!({ "group": key }),
        };
        let route = self.route.iter().map(|step| {
            let matchers =
                step.matchers.iter().map(|(text, value, holds)| json!({ "matcher": text, "value": value, "holds": holds }));
            json!({
                "depth": step.depth,
                "key": step.key,
                "receiver": step.receiver,
                "matchers": matchers.collect::<Vec<_>>(),
                "outcome": step.outcome.as_str(),
                "continue": step.continues,
            })
        });
        let groups = self.groups.iter().map(|group| {
            let decisions = group.decisions.iter().map(|(kind, trace)| {
                json!({
                    "integration": kind,
                    "at": time(trace.at),
                    "last": time(trace.last),
                    "times": trace.times,
                    "notify": trace.reason.notifies(),
                    "reason": trace.reason.to_string(),
                    "firing": trace.firing,
                    "quiet": trace.quiet,
                })
            });
            json!({
                "receiver": group.receiver,
                "key": group.key,
                "escalated_from": group.escalated_from,
                "next_flush": group.next_flush.map(time),
                "acknowledgement": group.acknowledgement.as_ref().map(acknowledgement),
                "muted_by": group.muted_by,
                "decisions": decisions.collect::<Vec<_>>(),
            })
        });
        let member = |member: &super::Member| json!({ "fingerprint": member.labels.fingerprint(), "labels": member.labels.0, "verdict": member.verdict });
        json!({
            "verdict": self.verdict,
            "at": time(self.now),
            "subject": subject,
            "route": route.collect::<Vec<_>>(),
            "quiet": self.quiet,
            "groups": groups.collect::<Vec<_>>(),
            "members": self.members.iter().map(member).collect::<Vec<_>>(),
            "timeline": self.timeline.iter().map(|moment| json!({ "at": time(moment.at), "what": moment.what })).collect::<Vec<_>>(),
            "deliveries": self.deliveries.iter().map(delivery).collect::<Vec<_>>(),
            "text": self.to_string(),
        })
    }
}

/// An alert.
pub fn alert(alert: &Alert) -> Value {
    let state = match alert.state {
        State::Pending => "pending",
        State::Firing => "firing",
        State::Resolved => "resolved",
    };
    let posted = alert.posted.as_ref();
    json!({
        "fingerprint": alert.labels.fingerprint(),
        "labels": alert.labels.0,
        "annotations": alert.annotations.0,
        "state": state,
        "value": posted.is_none().then_some(alert.value).filter(|value| value.is_finite()),
        "evidence": posted.is_none().then_some(&alert.evidence),
        "active_at": time(alert.active_at),
        "fired_at": alert.fired_at.map(time),
        "resolved_at": alert.resolved_at.map(time),
        "late": alert.late,
        "posted": posted.map(|posted| json!({
            "generator_url": posted.generator_url,
            "ends_at": time(posted.ends_at),
            "updated_at": time(posted.updated_at),
        })),
    })
}

/// A group with its alerts.
pub fn group(group: &GroupView) -> Value {
    json!({
        "receiver": group.receiver,
        "key": group.key,
        "labels": group.labels.0,
        "next_flush": time(group.next_flush),
        "acknowledgement": group.acknowledgement.as_ref().map(acknowledgement),
        "muted_by": group.muted_by,
        "alerts": group.alerts.iter().map(alert).collect::<Vec<_>>(),
    })
}

fn acknowledgement(ack: &Acknowledgement) -> Value {
    let alerts: Vec<String> = ack.alerts.iter().map(Labels::fingerprint).collect();
    json!({ "by": ack.by, "at": time(ack.at), "comment": ack.comment, "alerts": alerts })
}

/// A delivery; what was sent is not told, as it is in the receiver's words.
pub fn delivery(delivery: &Delivery) -> Value {
    let (state, at, reason, by) = match &delivery.state {
        outbox::State::Queued { next_at } => ("queued", *next_at, None, None),
        outbox::State::Sending { since } => ("sending", *since, None, None),
        outbox::State::Delivered { at } => ("delivered", *at, None, None),
        outbox::State::GivenUp { at, reason } => ("given_up", *at, Some(reason), None),
        outbox::State::Replaced { by, at, reason } => ("replaced", *at, Some(reason), *by),
    };
    let attempts = delivery.attempts.iter().map(|attempt| json!({ "at": time(attempt.at), "outcome": attempt.outcome }));
    let count = |state: State| delivery.notification.alerts.iter().filter(|alert| alert.state == state).count();
    let alerts: Vec<String> = delivery.notification.alerts.iter().map(|alert| alert.labels.fingerprint()).collect();
    json!({
        "id": delivery.id,
        "receiver": delivery.receiver,
        "integration": delivery.kind,
        "group": delivery.notification.group_key,
        "why": delivery.notification.reason,
        "created": time(delivery.created),
        "state": state,
        "at": time(at),
        "reason": reason,
        "replaced_by": by,
        "firing": count(State::Firing),
        "resolved": count(State::Resolved),
        "alerts": alerts,
        "attempts_total": delivery.attempts_total,
        "attempts": attempts.collect::<Vec<_>>(),
    })
}

fn time(at: Time) -> String {
    at.to_string()
}
