//! What notifiers share when they put a notification into words: title, severity, common labels, links, bounds.
//!
//! Label values come from rows, so from anybody: [`one_line`] takes the control characters out of them, [`links()`] gives
//! only http(s), and [`truncate`] counts characters, so that no text is cut within one. Escapes that belong to one
//! receiver's own format stay with that notifier.

use std::collections::BTreeSet;
use std::fmt;

use crate::alert::{Alert, State};
use crate::labels::Labels;
use crate::route::Notification;
use crate::time::{Span, Time};

mod data;
mod links;
pub mod sample;
mod text;

pub use data::Data;
pub use links::{Link, ack_url, actions, http_url, links, silence_url};
pub use text::{Templates, Text, TextReader};

/// The annotation in which the evidence goes to programs, where the rule has none of that name.
pub const EVIDENCE: &str = "modelwatch_evidence";

/// The reason of a notification that is a test.
pub const TEST: &str = "notify-test";

/// A label value in a title is cut here, so that one cannot push out the rest.
const TITLE_VALUE_CHARS: usize = 80;

/// Labels that a table lists; nobody reads more.
pub const MAX_LABELS: usize = 40;

/// Names of alerts that a title lists before it counts.
const TITLE_NAMES: usize = 3;

/// Alerts that the plain text shows one by one, and characters of a line of it.
const BODY_ALERTS: usize = 20;
const BODY_LINE: usize = 500;

/// What stands in an evidence before those who contributed most (`rule/mod.rs`).
const TOP: &str = "; top ";

/// Labels that mean people, with the larger circles first.
const PEOPLE: [&str; 16] = [
    "customer",
    "tenant",
    "tenant_id",
    "organization",
    "organisation",
    "organization_id",
    "org",
    "org_id",
    "account",
    "account_id",
    "workspace",
    "team",
    "project",
    "user",
    "user_id",
    "username",
];

/// Values of one such label that are named before they are counted.
const AFFECTED_VALUES: usize = 5;

/// How bad it is, in PagerDuty's words; the order is that of urgency.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Good to know.
    Info,
    /// Soon.
    Warning,
    /// Now.
    Error,
    /// Now, and it is the worst there is.
    Critical,
}

impl Severity {
    /// As PagerDuty's API spells it.
    pub fn as_str(self) -> &'static str {
        match self {
            Severity::Info => "info",
            Severity::Warning => "warning",
            Severity::Error => "error",
            Severity::Critical => "critical",
        }
    }

    /// Reads what people write into a `severity` label; none where it means nothing to us.
    pub fn parse(text: &str) -> Option<Severity> {
        Some(match text.to_ascii_lowercase().as_str() {
            "critical" | "page" => Severity::Critical,
            "high" | "error" => Severity::Error,
            "medium" | "warning" | "warn" | "ticket" => Severity::Warning,
            "low" | "info" | "none" => Severity::Info,
            _ => return None,
        })
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The highest severity of what fires, or of all where nothing does; a missing or unknown label means error, since
/// somebody wanted to be told.
pub fn severity(notification: &Notification) -> Severity {
    let of = |alert: &Alert| Severity::parse(alert.labels.get("severity")).unwrap_or(Severity::Error);
    let firing = firing(notification).map(of).max();
    firing.or_else(|| notification.alerts.iter().map(of).max()).unwrap_or(Severity::Error)
}

/// The alerts that fire.
pub fn firing(notification: &Notification) -> impl Iterator<Item = &Alert> {
    notification.alerts.iter().filter(|alert| alert.state == State::Firing)
}

/// The alerts that are over.
pub fn resolved(notification: &Notification) -> impl Iterator<Item = &Alert> {
    notification.alerts.iter().filter(|alert| alert.state == State::Resolved)
}

/// Whether anything fires; a notification in which nothing does is a resolve.
pub fn is_firing(notification: &Notification) -> bool {
    firing(notification).next().is_some()
}

/// `firing` or `resolved`, as Alertmanager calls them.
pub fn status(is_firing: bool) -> &'static str {
    if is_firing { "firing" } else { "resolved" }
}

/// `[FIRING:2] AIErrorSpike model=gpt-4o`, `[RESOLVED] AIErrorSpike model=gpt-4o`: names, then the labels that all share.
pub fn title(notification: &Notification) -> String {
    let state = match firing(notification).count() {
        0 => "[RESOLVED]".to_owned(),
        count => format!("[FIRING:{count}]"),
    };
    let mut out = format!("{state} {}", names(notification));
    for (name, value) in common_labels(&notification.alerts).iter().filter(|(name, _)| !matches!(*name, "alertname" | "severity"))
    {
        out += &format!(" {name}={}", truncate(&one_line(value), TITLE_VALUE_CHARS));
    }
    let late = notification.alerts.iter().any(|alert| alert.late).then_some("late");
    for mark in mark(notification).into_iter().chain(late) {
        out += &format!(" ({mark})");
    }
    out
}

/// What sets the message apart from the first one about the same: that it escalates, or says nothing new.
fn mark(notification: &Notification) -> Option<&'static str> {
    match notification.reason.as_str() {
        "escalated" => Some("escalated"),
        "repeat" => Some("repeated"),
        TEST => Some("a test"),
        _ => None,
    }
}

/// Why the message comes, as a sentence.
pub fn occasion(notification: &Notification) -> String {
    match notification.reason.as_str() {
        "first alert" => "It began to fire.".to_owned(),
        "new alert" => "Another alert fires.".to_owned(),
        "resolved" => "Nothing fires any more.".to_owned(),
        "partly resolved" => "Some of it is over.".to_owned(),
        "the last message was given up" => "The message before could not be delivered.".to_owned(),
        "repeat" | "refresh" => "It still fires.".to_owned(),
        "escalated" => "Escalated: nobody has acknowledged it yet.".to_owned(),
        TEST => "This is a test: `modelwatch notify-test` has made it up.".to_owned(),
        other => other.to_owned(),
    }
}

/// The names of what fires, or of all where nothing does.
fn names(notification: &Notification) -> String {
    let any_firing = is_firing(notification);
    let told = notification.alerts.iter().filter(|alert| !any_firing || alert.state == State::Firing);
    let names: BTreeSet<&str> = told.map(|alert| alert.labels.get("alertname")).collect();
    let mut listed: Vec<String> =
        names.iter().take(TITLE_NAMES).map(|name| truncate(&one_line(name), TITLE_VALUE_CHARS)).collect();
    listed.extend(and_more(names.len(), listed.len()));
    listed.join(", ")
}

/// What the rule says of this alert: its `summary`, else its `description`, else its name and evidence.
pub fn headline(alert: &Alert) -> String {
    let written = ["summary", "description"].into_iter().map(|name| alert.annotations.get(name)).find(|text| !text.is_empty());
    match (written, alert.labels.get("alertname")) {
        (Some(text), _) => text.to_owned(),
        (None, "") => own_labels(alert, &Labels::default()).to_string(),
        (None, name) if alert.evidence.is_empty() => name.to_owned(),
        (None, name) => format!("{name}: {}", alert.evidence),
    }
}

/// The rule's evidence (`12 errors > 10 within 1h`) without the [`contributors`]; empty where the alert was posted.
pub fn evidence(alert: &Alert) -> &str {
    alert.evidence.split_once(TOP).map_or(&*alert.evidence, |(evidence, _)| evidence)
}

/// Who contributed most, by what the rule's `top` names: `user: u-17 9, u-3 2`.
pub fn contributors(alert: &Alert) -> Option<&str> {
    alert.evidence.split_once(TOP).map(|(_, contributors)| contributors)
}

/// Whose the trouble is, by the labels that mean people: `org acme, globex, user u-17`; none where there are no such
/// labels.
pub fn affected(notification: &Notification) -> Option<String> {
    let any_firing = is_firing(notification);
    let told: Vec<&Alert> = notification.alerts.iter().filter(|alert| !any_firing || alert.state == State::Firing).collect();
    let of_label = |name: &&str| {
        let values: BTreeSet<&str> = told.iter().map(|alert| alert.labels.get(name)).filter(|value| !value.is_empty()).collect();
        let mut listed: Vec<String> =
            values.iter().take(AFFECTED_VALUES).map(|value| truncate(&one_line(value), TITLE_VALUE_CHARS)).collect();
        listed.extend(and_more(values.len(), listed.len()));
        (!values.is_empty()).then(|| format!("{name} {}", listed.join(", ")))
    };
    let parts: Vec<String> = PEOPLE.iter().filter_map(of_label).collect();
    (!parts.is_empty()).then(|| parts.join("; "))
}

/// The `description`, where the headline has not said it already.
pub fn description(alert: &Alert) -> Option<&str> {
    let text = alert.annotations.get("description");
    (!text.is_empty() && !alert.annotations.get("summary").is_empty()).then_some(text)
}

/// `value 12, since 2026-11-20T20:00:00Z (5m)`, `value 12, resolved after 5m`; with the mark of late data. A posted alert
/// has no value.
pub fn facts(alert: &Alert, at: Time) -> String {
    let began = alert.fired_at.unwrap_or(alert.active_at);
    let timing = match alert.resolved_at.filter(|_| alert.state == State::Resolved) {
        Some(ended) => format!("resolved after {}", whole_seconds(ended - began)),
        None => format!("since {} ({})", began.floor(Span::secs(1)), whole_seconds(at - began)),
    };
    let late = if alert.late { ", found late: its rows came late" } else { "" };
    match alert.posted {
        Some(_) => format!("{timing}{late}"),
        None => format!("value {}, {timing}{late}", value(alert.value)),
    }
}

/// A span for people: nothing finer than a second, from an hour on than a minute, from a day on than an hour; nothing
/// below zero.
pub fn whole_seconds(span: Span) -> Span {
    let seconds = span.0.max(0) / 1_000_000;
    let unit = match seconds {
        ..3_600 => 1,
        3_600..86_400 => 60,
        _ => 3_600,
    };
    Span::secs(seconds / unit * unit)
}

/// A number for people: whole ones in full, others to six digits.
pub fn value(number: f64) -> String {
    let scale = number.abs();
    if !number.is_finite() || number.fract() == 0.0 && scale < 1e15 {
        return number.to_string();
    }
    if !(1e-6..1e15).contains(&scale) {
        return format!("{number:.5e}");
    }
    let decimals = (5 - scale.log10().floor() as i32).max(0) as usize;
    let text = format!("{number:.decimals$}");
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

/// The labels that all of them have with the same value.
pub fn common_labels(alerts: &[Alert]) -> Labels {
    common(alerts.iter().map(|alert| alert.labels.clone()))
}

/// The annotations that all of them have with the same text.
pub fn common_annotations(alerts: &[Alert]) -> Labels {
    common(alerts.iter().map(annotations))
}

fn common(mut sets: impl Iterator<Item = Labels>) -> Labels {
    let mut shared = sets.next().unwrap_or_default();
    for set in sets {
        shared.0.retain(|name, value| set.get(name) == value);
    }
    shared
}

/// The labels in which this alert differs from `common`.
pub fn own_labels(alert: &Alert, common: &Labels) -> Labels {
    alert.labels.iter().filter(|(name, value)| common.get(name) != *value).collect()
}

/// The alert's annotations and, under [`EVIDENCE`], its evidence.
pub fn annotations(alert: &Alert) -> Labels {
    let mut annotations = alert.annotations.clone();
    if annotations.get(EVIDENCE).is_empty() {
        annotations.set(EVIDENCE, alert.evidence.as_str());
    }
    annotations
}

/// The whole message in plain text, for whoever has no place for its parts: of each alert what, how much against what and
/// since when; who is affected; why it comes; links.
pub fn body(notification: &Notification, external_url: &str) -> String {
    let mut lines: Vec<String> = Vec::new();
    for alert in notification.alerts.iter().take(BODY_ALERTS) {
        let state = if alert.state == State::Firing { "" } else { "Resolved: " };
        let headline = headline(alert);
        lines.push(format!("{state}{}", line(&headline)));
        lines.extend(description(alert).map(line));
        lines.extend(Some(line(evidence(alert))).filter(|evidence| !evidence.is_empty() && !headline.contains(&**evidence)));
        lines.extend(contributors(alert).map(|contributors| format!("Most by {}", line(contributors))));
        lines.push(facts(alert, notification.at));
        lines.push(String::new());
    }
    lines.extend(and_more(notification.alerts.len(), BODY_ALERTS));
    lines.extend(affected(notification).map(|affected| format!("Affected: {affected}")));
    lines.push(occasion(notification));
    let links = links(notification).into_iter().chain(actions(notification, external_url));
    lines.extend(links.map(|link| format!("{}: {}", link.text, link.url)));
    lines.join("\n")
}

fn line(text: &str) -> String {
    truncate(&one_line(text.trim()), BODY_LINE)
}

/// At most `max` characters; what was cut shows as `…`.
pub fn truncate(text: &str, max: usize) -> String {
    if text.chars().count() <= max {
        return text.to_owned();
    }
    text.chars().take(max.saturating_sub(1)).chain((max > 0).then_some('…')).collect()
}

/// `… and 37 more`, where not all are shown.
pub fn and_more(total: usize, shown: usize) -> Option<String> {
    (total > shown).then(|| format!("… and {} more", total - shown))
}

/// The text with its control characters, and those that turn the direction of writing, as escapes: no row can forge a
/// line or drive a terminal.
pub fn one_line(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        let turns_direction = matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        if c.is_control() || turns_direction || matches!(c, '\u{2028}' | '\u{2029}') {
            out.extend(c.escape_default());
        } else {
            out.push(c);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use reqwest::Url;

    use super::*;

    fn alert(labels: &[(&str, &str)], state: State) -> Alert {
        Alert {
            labels: labels.iter().copied().collect(),
            annotations: Labels::default(),
            value: 12.0,
            evidence: "12 > 10".to_owned(),
            state,
            active_at: Time::from_secs(0),
            fired_at: Some(Time::from_secs(60)),
            resolved_at: (state == State::Resolved).then_some(Time::from_secs(90)),
            absent_since: None,
            late: false,
            posted: None,
        }
    }

    fn notification(alerts: Vec<Alert>) -> Notification {
        Notification {
            receiver: "r".to_owned(),
            group_key: "{}:{}".to_owned(),
            group_labels: Labels::default(),
            alerts,
            reason: "new alert".to_owned(),
            at: Time::from_secs(360),
        }
    }

    #[test]
    fn titles() {
        #[track_caller]
        fn check(alerts: Vec<Alert>, expected: &str) {
            assert_eq!(title(&notification(alerts)), expected);
        }
        let a = [("alertname", "AIErrorSpike"), ("model", "gpt-4o"), ("org", "a"), ("severity", "high")];
        let b = [("alertname", "AIErrorSpike"), ("model", "gpt-4o"), ("org", "b\nc")];
        check(vec![alert(&a, State::Firing), alert(&b, State::Firing)], "[FIRING:2] AIErrorSpike model=gpt-4o");
        check(vec![alert(&b, State::Resolved)], "[RESOLVED] AIErrorSpike model=gpt-4o org=b\\nc");
        check(vec![alert(&a, State::Firing), alert(&b, State::Resolved)], "[FIRING:1] AIErrorSpike model=gpt-4o");
        let named = |name| alert(&[("alertname", name)], State::Firing);
        check(["D", "A", "B", "C", "E"].map(named).to_vec(), "[FIRING:5] A, B, C, … and 2 more");
        let late = Alert { late: true, ..named("A") };
        check(vec![late], "[FIRING:1] A (late)");
    }

    #[test]
    fn severities() {
        #[track_caller]
        fn check(labels: &[(&str, State)], expected: &str) {
            let alerts = labels.iter().map(|(severity, state)| alert(&[("severity", severity)], *state)).collect();
            assert_eq!(severity(&notification(alerts)).as_str(), expected, "{labels:?}");
        }
        for (label, expected) in [
            ("critical", "critical"),
            ("page", "critical"),
            ("High", "error"),
            ("medium", "warning"),
            ("ticket", "warning"),
            ("low", "info"),
            ("info", "info"),
            ("", "error"),
            ("purple", "error"),
        ] {
            check(&[(label, State::Firing)], expected);
        }
        check(&[("low", State::Firing), ("medium", State::Firing), ("critical", State::Resolved)], "warning");
        check(&[("low", State::Resolved), ("critical", State::Resolved)], "critical");
    }

    #[test]
    fn numbers_for_people() {
        for (number, expected) in [
            (12.0, "12"),
            (-1_234_567.0, "-1234567"),
            (0.1 + 0.2, "0.3"),
            (3.456_789_1, "3.45679"),
            (123_456.789, "123457"),
            (0.000_123_4, "0.0001234"),
            (1e-9, "1.00000e-9"),
            (f64::NAN, "NaN"),
            (0.0, "0"),
        ] {
            assert_eq!(value(number), expected);
        }
    }

    #[test]
    fn facts_headlines_and_annotations() {
        let mut one = alert(&[("alertname", "A")], State::Firing);
        assert_eq!(facts(&one, Time(360_500_000)), "value 12, since 1970-01-01T00:01:00Z (5m)");
        assert_eq!(headline(&one), "A: 12 > 10");
        assert_eq!(annotations(&one).get(EVIDENCE), "12 > 10");
        one.annotations.set("description", "long");
        one.annotations.set(EVIDENCE, "the rule's own");
        assert_eq!((headline(&one).as_str(), description(&one)), ("long", None));
        assert_eq!(annotations(&one).get(EVIDENCE), "the rule's own");
        one.annotations.set("summary", "short");
        assert_eq!((headline(&one).as_str(), description(&one)), ("short", Some("long")));
        let over = Alert { late: true, ..alert(&[], State::Resolved) };
        assert_eq!(facts(&over, Time::from_secs(360)), "value 12, resolved after 30s, found late: its rows came late");
    }

    #[test]
    fn links_are_http_and_distinct() {
        let mut one = alert(&[], State::Firing);
        one.annotations.set("runbook_url", "https://wiki/x>|y");
        one.annotations.set("dashboard_url", "javascript:alert(1)");
        let found = links(&notification(vec![one.clone(), one]));
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].text, "Runbook");
        assert!(!found[0].url.contains('>'), "{found:?}");
        assert_eq!(http_url(&format!("https://wiki/{}", "x".repeat(3_000))), None);
    }

    #[test]
    fn text_is_cut_between_characters_and_kept_on_one_line() {
        assert_eq!(truncate("héllo", 5), "héllo");
        assert_eq!(truncate("héllo!", 5), "héll…");
        assert_eq!(truncate("héllo", 0), "");
        assert_eq!(and_more(5, 5), None);
        assert_eq!(one_line("a\n\u{1b}[31m\u{202e}é"), "a\\n\\u{1b}[31m\\u{202e}é");
    }

    #[test]
    fn bodies() {
        let body = |notification: &Notification| body(notification, "https://mw.example");
        insta::assert_snapshot!(body(&sample::firing()), @r#"
        gpt-4o: 12 errors in the last hour for acme
        Calls of this organisation fail far more often than before.
        12 errors > 10 within 1h
        Most by user: user-1 9, user-2 3
        value 12, since 2026-11-18T11:01:40Z (5m)

        gpt-4o: 15 errors in the last hour for globex
        Calls of this organisation fail far more often than before.
        15 errors > 10 within 1h
        Most by user: user-1 9, user-2 3
        value 15, since 2026-11-18T11:01:40Z (5m)

        Affected: org acme, globex
        It began to fire.
        Runbook: https://runbooks.example.com/ai-errors
        Dashboard: https://grafana.example.com/d/ai
        Silence: https://mw.example/silences/new?filter=%7Balertname%3D%22AIErrorSpike%22%2Cmodel%3D%22gpt-4o%22%7D
        Acknowledge: https://mw.example/ack?receiver=oncall&group=%7B%7D%3A%7Balertname%3D%22AIErrorSpike%22%2C+model%3D%22gpt-4o%22%7D
        "#);
        insta::assert_snapshot!(body(&sample::resolved()), @r#"
        Resolved: gpt-4o: 12 errors in the last hour for acme
        Calls of this organisation fail far more often than before.
        12 errors > 10 within 1h
        Most by user: user-1 9, user-2 3
        value 12, resolved after 5m

        Resolved: gpt-4o: 15 errors in the last hour for globex
        Calls of this organisation fail far more often than before.
        15 errors > 10 within 1h
        Most by user: user-1 9, user-2 3
        value 15, resolved after 5m

        Affected: org acme, globex
        Nothing fires any more.
        Runbook: https://runbooks.example.com/ai-errors
        Dashboard: https://grafana.example.com/d/ai
        "#);
        let escalated = Notification { reason: "escalated".to_owned(), ..sample::firing() };
        assert_eq!(title(&escalated), "[FIRING:2] AIErrorSpike model=gpt-4o (escalated)");
        assert!(body(&escalated).contains("Escalated: nobody has acknowledged it yet.\n"));
        let repeated = Notification { reason: "repeat".to_owned(), ..sample::firing() };
        assert_eq!(title(&repeated), "[FIRING:2] AIErrorSpike model=gpt-4o (repeated)");
    }

    #[test]
    fn a_body_of_many_alerts_counts_the_rest() {
        let mut many = sample::firing();
        many.alerts = (0..25).map(|_| many.alerts[0].clone()).collect();
        many.alerts.iter_mut().enumerate().for_each(|(n, alert)| alert.labels.set("org", format!("org-{n:02}")));
        let body = body(&many, "https://mw.example");
        assert_eq!(body.matches("errors in the last hour").count(), BODY_ALERTS);
        let tail = body.split_once("… and").unwrap().1;
        insta::assert_snapshot!(tail, @r#"
         5 more
        Affected: org org-00, org-01, org-02, org-03, org-04, … and 20 more
        It began to fire.
        Runbook: https://runbooks.example.com/ai-errors
        Dashboard: https://grafana.example.com/d/ai
        Silence: https://mw.example/silences/new?filter=%7Balertname%3D%22AIErrorSpike%22%2Cmodel%3D%22gpt-4o%22%7D
        Acknowledge: https://mw.example/ack?receiver=oncall&group=%7B%7D%3A%7Balertname%3D%22AIErrorSpike%22%2C+model%3D%22gpt-4o%22%7D
        "#);
    }

    #[test]
    fn posted_alerts_have_no_value_and_no_evidence() {
        let mut posted = sample::firing();
        posted.alerts.truncate(1);
        let alert = &mut posted.alerts[0];
        (alert.value, alert.evidence) = (0.0, String::new());
        alert.annotations = [("summary", "Disk is full"), ("description", "of node 7")].into_iter().collect();
        alert.labels = [("alertname", "DiskFull"), ("instance", "node7")].into_iter().collect();
        let generator_url = "https://prometheus.example/graph?g0.expr=up".to_owned();
        let (ends_at, updated_at) = (Time::MIN, Time::MIN);
        alert.posted = Some(crate::alert::Posted { generator_url, ends_at, timeout: false, updated_at });
        posted.group_labels = Labels::default();
        insta::assert_snapshot!(body(&posted, "https://mw.example/base/"), @r#"
        Disk is full
        of node 7
        since 2026-11-18T11:01:40Z (5m)

        It began to fire.
        Source: https://prometheus.example/graph?g0.expr=up
        Silence: https://mw.example/base/silences/new?filter=%7Balertname%3D%22DiskFull%22%2Cinstance%3D%22node7%22%7D
        Acknowledge: https://mw.example/base/ack?receiver=oncall&group=%7B%7D%3A%7Balertname%3D%22AIErrorSpike%22%2C+model%3D%22gpt-4o%22%7D
        "#);
        posted.alerts[0].annotations = Labels::default();
        assert_eq!(headline(&posted.alerts[0]), "DiskFull");
        posted.alerts[0].labels = [("instance", "node7")].into_iter().collect();
        assert_eq!(headline(&posted.alerts[0]), "{instance=\"node7\"}");
    }

    #[test]
    fn links_lead_back_however_odd_the_labels_are() {
        let mut odd = sample::firing();
        odd.group_labels = [("a", "x\"&=#\n{}"), ("b", "é")].into_iter().collect();
        odd.group_key = "{}:{a=\"x\"}".to_owned();
        let url = Url::parse(&silence_url(&odd, "http://mw/base/")).unwrap();
        assert_eq!((url.path(), url.query_pairs().count()), ("/base/silences/new", 1));
        assert_eq!(url.query_pairs().next().unwrap().1, "{a=\"x\\\"&=#\\n{}\",b=\"é\"}");
        assert_eq!(ack_url(&odd, "http://mw"), "http://mw/ack?receiver=oncall&group=%7B%7D%3A%7Ba%3D%22x%22%7D");
        odd.group_labels.set("a", "x".repeat(10_000));
        assert_eq!(silence_url(&odd, "http://mw"), "http://mw/silences/new");
        assert!(actions(&sample::resolved(), "http://mw").is_empty() && actions(&odd, "no url").is_empty());
    }

    #[test]
    fn who_is_affected() {
        let mut told = sample::firing();
        assert_eq!(affected(&told).as_deref(), Some("org acme, globex"));
        told.alerts.iter_mut().enumerate().for_each(|(n, alert)| alert.labels.set("user_id", format!("u{n}\n")));
        assert_eq!(affected(&told).as_deref(), Some("org acme, globex; user_id u0\\n, u1\\n"));
        assert_eq!(affected(&notification(vec![alert(&[("alertname", "A")], State::Firing)])), None);
        let alert = &told.alerts[0];
        assert_eq!((evidence(alert), contributors(alert)), ("12 errors > 10 within 1h", Some("user: user-1 9, user-2 3")));
    }
}
