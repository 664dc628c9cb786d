//! What tests showed, in words: a line for each, and for what is otherwise a diff with what helps to see why.

use std::fmt::Write;

use crate::alert::{Alert, State};
use crate::diag::nearest;
use crate::labels::Labels;
use crate::ruletest::Suite;
use crate::ruletest::expectation::{Difference, word};
use crate::ruletest::file::{Expected, Test};
use crate::ruletest::play::{Failure, Fired, Played};
use crate::time::Time;

/// Incidents of one alert that are told.
const TOLD: usize = 3;

/// When alerts fired, a line for each time.
pub fn fired(suite: &Suite, played: &Played) -> String {
    let line = |fired: &Fired| {
        let Fired { alert, .. } = fired;
        let late = if alert.late { ", late" } else { "" };
        format!("  {} fired {}{late}, value {}: {}\n", named(&alert.labels), during(suite, fired), alert.value, alert.evidence)
    };
    played.fired.iter().map(line).collect()
}

/// `from 10:07 to 10:31`
fn during(suite: &Suite, fired: &Fired) -> String {
    let (days, from) = (&suite.file.days, fired.from);
    let told = if fired.told == from { String::new() } else { format!(" (told at {})", days.name(fired.told)) };
    match fired.to {
        Some(to) => format!("from {} to {}{told}", days.name(from), days.name(to)),
        None => format!("since {}{told}", days.name(from)),
    }
}

/// Why a test failed, a block of lines for each expectation that was not met.
pub fn failed(suite: &Suite, test: &Test, played: &Played) -> String {
    let mut out = String::new();
    for failure in &played.failures {
        write_failure(&mut out, suite, test, played, failure);
    }
    for (rule, fault) in &played.faults {
        let _ = writeln!(out, "  note: {rule} could not be evaluated: {fault}");
    }
    for rule in &played.unanswered {
        let _ = writeln!(out, "  note: {rule} asks the database and was not evaluated, since the test has no `answers` for it");
    }
    for rule in &played.sourceless {
        let _ =
            writeln!(out, "  note: {rule} reads none of the sources of the rows; `source: NAME` in the test file names theirs");
    }
    if !played.unused.is_empty() {
        let keys: Vec<String> = played.unused.iter().map(|key| format!("`{key}`")).collect();
        let _ = writeln!(out, "  note: no rule looks at {} of the rows", keys.join(", "));
    }
    out
}

fn write_failure(out: &mut String, suite: &Suite, test: &Test, played: &Played, failure: &Failure) {
    let expectation = &test.expect[failure.expectation];
    let (line, column) = expectation.place.line_column();
    let (days, file) = (&suite.file.days, &expectation.place.file.name);
    let _ = if failure.of_fired {
        let (from, to) = (days.name(expectation.from), days.name(expectation.to));
        writeln!(out, "  what fired from {from} to {to} ({} to {}), {file}:{line}:{column}", expectation.from, expectation.to)
    } else {
        writeln!(out, "  at {} ({}), {file}:{line}:{column}", days.name(failure.at), failure.at)
    };
    let mismatch = &failure.mismatch;
    for alert in &mismatch.met {
        let _ = writeln!(out, "      {}", said(&alert.labels, alert.state));
    }
    for (expected, alert) in &mismatch.near {
        let _ = writeln!(out, "      {}", said(&alert.labels, alert.state));
        let differences = expected.differences(alert);
        let told = differences.iter().any(|difference| difference.name == "evidence");
        for Difference { name, expected, found } in differences {
            expected.iter().for_each(|text| line_of(out, '-', &format!("    {name}: {text}")));
            found.iter().for_each(|text| line_of(out, '+', &format!("    {name}: {text}")));
            if expected.is_none() || found.is_none() {
                let sign = if expected.is_none() { '-' } else { '+' };
                line_of(out, sign, &format!("    {name}: nothing"));
            }
        }
        if !told {
            evidence(out, alert);
        }
    }
    for expected in &mismatch.missing {
        let labels: Labels = expected.labels.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let value = expected.value.map(|value| format!(", value {value}")).unwrap_or_default();
        line_of(out, '-', &format!("{}{value}", said(&labels, expected.state)));
    }
    for alert in &mismatch.extra {
        line_of(out, '+', &format!("{}, value {}", said(&alert.labels, alert.state), alert.value));
        evidence(out, alert);
    }
    for expected in &mismatch.missing {
        why_missing(out, suite, played, failure, expected);
    }
    for alert in mismatch.extra.iter().filter(|_| !failure.of_fired) {
        let _ = writeln!(out, "  note: {} since {}", said(&alert.labels, alert.state), since(suite, alert));
    }
}

fn line_of(out: &mut String, sign: char, text: &str) {
    for (i, line) in text.trim_end().lines().enumerate() {
        let indent = if i == 0 { "" } else { "      " };
        let _ = writeln!(out, "    {sign} {indent}{line}");
    }
}

fn evidence(out: &mut String, alert: &Alert) {
    let _ = writeln!(out, "          {}", alert.evidence.replace('\n', " "));
}

/// `AIErrorSpike{model="gpt-4o"} firing`
fn said(labels: &Labels, state: State) -> String {
    format!("{} {}", named(labels), word(state))
}

fn named(labels: &Labels) -> String {
    let name = labels.get("alertname");
    let rest: Labels = labels.iter().filter(|(name, _)| *name != "alertname").collect();
    match (name, rest.0.is_empty()) {
        ("", _) => rest.to_string(),
        (name, true) => name.to_owned(),
        (name, false) => format!("{name}{rest}"),
    }
}

fn since(suite: &Suite, alert: &Alert) -> String {
    suite.file.days.name(alert.fired_at.filter(|_| alert.state == State::Firing).unwrap_or(alert.active_at))
}

/// An alert that is not there: pending, earlier, later, or never.
fn why_missing(out: &mut String, suite: &Suite, played: &Played, failure: &Failure, expected: &Expected) {
    let labels: Labels = expected.labels.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    if let Some(alert) = failure.mismatch.pending.iter().find(|alert| expected.has_labels(alert)) {
        let _ = writeln!(out, "  note: {} is pending since {}, value {}", named(&alert.labels), since(suite, alert), alert.value);
        return;
    }
    let mut fired: Vec<&Fired> = played.fired.iter().filter(|fired| expected.has_labels(&fired.alert)).collect();
    fired.sort_by_key(|fired| distance(fired, failure.at));
    fired.truncate(TOLD);
    fired.sort_by_key(|fired| fired.from);
    for fired in &fired {
        let _ = writeln!(out, "  note: {} fired {}", named(&fired.alert.labels), during(suite, fired));
    }
    if fired.is_empty() {
        let _ = writeln!(out, "  note: {} never fired", named(&labels));
        // What did fire of the same rule has other labels.
        let name = labels.get("alertname");
        let others = played.fired.iter().map(|fired| &fired.alert.labels).filter(|other| other.get("alertname") == name);
        let others: Vec<String> = others.map(named).collect();
        if let Some(near) = nearest(&named(&labels), others.iter().map(String::as_str)).or(others.first().map(String::as_str)) {
            let _ = writeln!(out, "  note: {near} did");
        }
    }
}

fn distance(fired: &Fired, at: Time) -> i64 {
    let before = (fired.from - at).0.max(0);
    before.max(fired.to.map_or(0, |to| (at - to).0.max(0)))
}
