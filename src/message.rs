//! What notifiers share when they put a notification into words: title, severity, common labels, links, bounds.
//!
//! Label values come from rows, so from anybody: [`one_line`] takes the control characters out of them, [`links`] gives
//! only http(s), and [`truncate`] counts characters, so that no text is cut within one. Escapes that belong to one
//! receiver's own format stay with that notifier.

use std::collections::BTreeSet;
use std::fmt;

use reqwest::Url;

use crate::alert::{Alert, State};
use crate::labels::Labels;
use crate::route::Notification;
use crate::time::{Span, Time};

/// The annotation in which the evidence goes to programs, where the rule has none of that name.
pub const EVIDENCE: &str = "modelwatch_evidence";

/// A label value in a title is cut here, so that one cannot push out the rest.
const TITLE_VALUE_CHARS: usize = 80;

/// Names of alerts that a title lists before it counts.
const TITLE_NAMES: usize = 3;

/// Links of one kind that a message carries; alerts of one group mostly share them.
const LINKS_OF_A_KIND: usize = 3;

/// The longest URL that is linked; receivers refuse longer ones, and with them the whole message.
const URL_CHARS: usize = 2_000;

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
    if notification.alerts.iter().any(|alert| alert.late) {
        out += " (late)";
    }
    out
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
    written.map_or_else(|| format!("{}: {}", alert.labels.get("alertname"), alert.evidence), str::to_owned)
}

/// The `description`, where the headline has not said it already.
pub fn description(alert: &Alert) -> Option<&str> {
    let text = alert.annotations.get("description");
    (!text.is_empty() && !alert.annotations.get("summary").is_empty()).then_some(text)
}

/// `value 12, since 2026-11-20T20:00:00Z (5m)`, `value 12, resolved after 5m`; with the mark of late data.
pub fn facts(alert: &Alert, at: Time) -> String {
    let began = alert.fired_at.unwrap_or(alert.active_at);
    let timing = match alert.resolved_at.filter(|_| alert.state == State::Resolved) {
        Some(ended) => format!("resolved after {}", whole_seconds(ended - began)),
        None => format!("since {} ({})", began.floor(Span::secs(1)), whole_seconds(at - began)),
    };
    let late = if alert.late { ", found late: its rows came late" } else { "" };
    format!("value {}, {timing}{late}", value(alert.value))
}

/// A span for people: nothing finer than a second, nothing below zero.
pub fn whole_seconds(span: Span) -> Span {
    Span::secs(span.0.max(0) / 1_000_000)
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

/// Something to click on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// What it leads to: `Runbook`, `Dashboard`.
    pub text: &'static str,
    /// An http or https URL.
    pub url: String,
}

/// The distinct `runbook_url`s and `dashboard_url`s of the alerts; what is no http(s) URL is left out.
pub fn links(notification: &Notification) -> Vec<Link> {
    let mut links: Vec<Link> = Vec::new();
    for (name, text) in [("runbook_url", "Runbook"), ("dashboard_url", "Dashboard")] {
        let mut of_this_kind = 0;
        for url in notification.alerts.iter().filter_map(|alert| http_url(alert.annotations.get(name))) {
            let link = Link { text, url };
            if of_this_kind < LINKS_OF_A_KIND && !links.contains(&link) {
                links.push(link);
                of_this_kind += 1;
            }
        }
    }
    links
}

/// A URL in its normal form, where it is http or https and of a length that receivers take.
pub fn http_url(text: &str) -> Option<String> {
    let url = Url::parse(text).ok().filter(|url| matches!(url.scheme(), "http" | "https"))?;
    let url = String::from(url);
    (url.chars().count() <= URL_CHARS).then_some(url)
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
}
