//! How pages show what several of them show: alerts, times, groups.

use minijinja::{Value, context};

use super::href;
use crate::alert::{Alert, State};
use crate::labels::{Matcher, Matchers, Op};
use crate::message::{Severity, headline, http_url, one_line, truncate, value, whole_seconds};
use crate::route::{GroupView, Status};
use crate::time::{Span, Time};

/// Characters of a label's value that are shown.
const VALUE: usize = 200;

/// An instant: for people and for machines, and how far it is away.
pub(super) fn time(at: Time, now: Time) -> Value {
    let second = at.floor(Span::secs(1)).to_string();
    let away = if at <= now { format!("{} ago", whole_seconds(now - at)) } else { format!("in {}", whole_seconds(at - now)) };
    context! { exact => &second, text => second.replace('T', " ").trim_end_matches('Z'), away }
}

/// An alert with its standing.
pub(super) fn alert(alert: &Alert, status: &Status, now: Time) -> Value {
    let state = match alert.state {
        State::Pending => "pending",
        State::Firing => "firing",
        State::Resolved => "resolved",
    };
    let since = match alert.state {
        State::Pending => alert.active_at,
        State::Firing => alert.fired_at.unwrap_or(alert.active_at),
        State::Resolved => alert.resolved_at.unwrap_or(alert.active_at),
    };
    let label = |(name, text): (&str, &str)| context! { name, text => truncate(&one_line(text), VALUE) };
    let mut quiet = Vec::new();
    if !status.silenced_by.is_empty() {
        quiet.push("silenced");
    }
    if !status.inhibited_by.is_empty() {
        quiet.push("inhibited");
    }
    if !status.muted_by.is_empty() {
        quiet.push("muted");
    }
    let given = alert.labels.get("severity");
    context! {
        fingerprint => alert.labels.fingerprint(),
        name => truncate(&one_line(alert.labels.get("alertname")), VALUE),
        headline => if is_told(alert) { truncate(&one_line(&headline(alert)), 2 * VALUE) } else { String::new() },
        state,
        severity => truncate(&one_line(given), 20),
        urgency => Severity::parse(given).map_or("", Severity::as_str),
        labels => alert.labels.iter().filter(|(name, _)| !matches!(*name, "alertname" | "severity")).map(label).collect::<Vec<_>>(),
        value => if alert.posted.is_none() { value(alert.value) } else { String::new() },
        evidence => truncate(&one_line(&alert.evidence), 2 * VALUE),
        since => time(since, now),
        late => &alert.late,
        quiet,
        runbook => http_url(alert.annotations.get("runbook_url")),
        dashboard => http_url(alert.annotations.get("dashboard_url")),
        silence => silence_link(alert.labels.iter()),
    }
}

/// Whether there is more to say of it than its name.
fn is_told(alert: &Alert) -> bool {
    ["summary", "description"].iter().any(|name| !alert.annotations.get(name).is_empty())
}

/// Where a silence of just these labels is made.
pub(super) fn silence_link<'a>(labels: impl Iterator<Item = (&'a str, &'a str)>) -> String {
    let equal = |(name, value): (&str, &str)| Matcher::new(name, Op::Equal, value.to_owned()).ok();
    let matchers = Matchers(labels.filter_map(equal).collect());
    href("/silences/new", &[("filter", &matchers.to_string())])
}

/// A group without its alerts.
pub(super) fn group(group: &GroupView, now: Time) -> Value {
    let label = |(name, text): (&str, &str)| match name {
        "alertname" => truncate(&one_line(text), VALUE),
        _ => format!("{name}={}", truncate(&one_line(text), VALUE)),
    };
    let labels: Vec<String> = group.labels.iter().map(label).collect();
    context! {
        key => &group.key,
        title => if labels.is_empty() { "all alerts".to_owned() } else { labels.join(", ") },
        receiver => &group.receiver,
        next_flush => time(group.next_flush, now),
        acknowledgement => acknowledgement(group, now),
        muted_by => group.muted_by.iter().filter(|name| !group.outside_of.contains(name)).cloned().collect::<Vec<_>>(),
        outside_of => &group.outside_of,
        ack => href("/ack", &[("receiver", &group.receiver), ("group", &group.key)]),
        silence => silence_link(group.labels.iter()),
        explain => href("/groups", &[("receiver", &group.receiver), ("group", &group.key)]),
    }
}

/// Who takes care, and of how much where that is not all.
fn acknowledgement(group: &GroupView, now: Time) -> Option<Value> {
    let ack = group.acknowledgement.as_ref()?;
    let comment = truncate(&one_line(&ack.comment), 2 * VALUE);
    let (taken, firing) = group.acknowledged();
    let part = (!group.is_acknowledged()).then(|| format!("{taken} of {firing}"));
    Some(context! { by => truncate(&one_line(&ack.by), VALUE), at => time(ack.at, now), comment, part })
}
