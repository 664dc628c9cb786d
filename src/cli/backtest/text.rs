//! A report for people: at most 100 columns, readable without colour.

use std::fmt::Write;

use crate::cli::backtest::compare::Comparison;
use crate::cli::backtest::report::{Incident, Report};
use crate::labels::Labels;
use crate::message::truncate;
use crate::time::{Span, Time};

/// Cells of a bar, and the characters of a rule's name before it.
const CELLS: usize = 48;
const NAME: usize = 28;
const COLUMNS: usize = 100;
/// Incidents that are listed; JSON has all of them.
const LISTED: usize = 100;

/// `--format text`.
pub fn report(report: &Report) -> String {
    let mut out = head(report);
    bars(&mut out, report);
    skipped(&mut out, report);
    if !report.incidents.is_empty() {
        out.push_str("\nwhat fires:\n");
        list(&mut out, report, &(0..report.incidents.len()).collect::<Vec<_>>());
    }
    messages(&mut out, report);
    out.trim_end().to_owned()
}

/// The same of two versions of the rules.
pub fn comparison(report: &Report, against: &Report, comparison: &Comparison) -> String {
    let mut out = head(report);
    for (name, report) in [("rules", report), ("against", against)] {
        let (rules, fired, sent) = (report.rules.len(), report.incidents.len(), report.messages.len());
        let _ = writeln!(out, "\n{name}: {}, {} fired, {}", many(rules, "rule"), many(fired, "alert"), many(sent, "message"));
        bars(&mut out, report);
        skipped(&mut out, report);
    }
    let _ = writeln!(out, "\nin both: {}", comparison.both.len());
    for (i, other) in comparison.both.iter().take(LISTED) {
        let (a, b) = (&report.incidents[*i], &against.incidents[*other]);
        let _ = writeln!(out, "{}", line(a, report.until));
        if (a.fired_at, a.resolved_at) != (b.fired_at, b.resolved_at) {
            let _ = writeln!(out, "      against: from {} for {}", moment(b.fired_at), lasted(b));
        }
    }
    more(&mut out, comparison.both.len());
    for (name, report, only) in [("rules", report, &comparison.only_rules), ("against", against, &comparison.only_against)] {
        let _ = writeln!(out, "\nonly in {name}: {}", only.len());
        list(&mut out, report, only);
    }
    for (name, report) in [("rules", report), ("against", against)] {
        let mut text = String::new();
        messages(&mut text, report);
        let _ = write!(out, "{}", text.replacen("what is sent", &format!("what is sent, {name}"), 1));
    }
    out.trim_end().to_owned()
}

fn head(report: &Report) -> String {
    let span = Span((report.until - report.since).0.max(0));
    format!("{} to {}: {}, {} rows\n", moment(report.since), moment(report.until), rough(span), report.rows)
}

/// For each rule when its alerts fired: a cell is empty, fired in part, or fired all along.
fn bars(out: &mut String, report: &Report) {
    if report.rules.is_empty() {
        return;
    }
    let (begin, end) = (day(report.since), day(report.until));
    let gap = CELLS.saturating_sub(begin.len() + end.len());
    let _ = writeln!(out, "\n{:NAME$}  {begin}{:gap$}{end}", "", "");
    for (number, rule) in report.rules.iter().enumerate() {
        let name = fit(&rule.rule, NAME);
        let all: Vec<&Incident> = report.incidents.iter().filter(|incident| incident.number == number).collect();
        let bar = bar(report, &all);
        let mut said = match rule.fired {
            0 => "-".to_owned(),
            fired => format!("{fired} x, {}", rough(Span((rule.firing_seconds * 1e6) as i64))),
        };
        if rule.dropped > 0 {
            let _ = write!(said, " ({} pending)", rule.dropped);
        }
        let _ = writeln!(out, "{name:NAME$}  {bar}  {said}");
        if let Some(fault) = &rule.fault {
            let _ = writeln!(out, "    could not be evaluated at {}: {fault}", many(rule.faults as usize, "instant"));
        }
    }
    let _ = writeln!(out, "{:NAME$}  · quiet  ▄ fires in part  █ fires all along", "");
}

fn bar(report: &Report, incidents: &[&Incident]) -> String {
    let all = (report.until - report.since).0.max(1);
    let cell = |i: usize| {
        let edge = |i: usize| report.since + Span((i128::from(all) * i as i128 / CELLS as i128) as i64);
        let (from, to) = (edge(i), edge(i + 1).max(edge(i) + Span(1)));
        let within = |incident: &&&Incident| incident.fired_at < to && incident.resolved_at.is_none_or(|at| at > from);
        let whole = |incident: &&Incident| incident.fired_at <= from && incident.resolved_at.is_none_or(|at| at >= to);
        let mut within = incidents.iter().filter(within).peekable();
        if within.peek().is_none() {
            '·'
        } else if within.any(whole) {
            '█'
        } else {
            '▄'
        }
    };
    (0..CELLS).map(cell).collect()
}

fn skipped(out: &mut String, report: &Report) {
    if !report.not_replayed.is_empty() {
        out.push_str("\nnot replayed:\n");
    }
    for skipped in &report.not_replayed {
        let _ = writeln!(out, "  {}: {}", skipped.rule, skipped.reason);
    }
}

fn list(out: &mut String, report: &Report, places: &[usize]) {
    for i in places.iter().take(LISTED) {
        let incident = &report.incidents[*i];
        let _ = writeln!(out, "{}", line(incident, report.until));
        let _ = writeln!(out, "      {}", fit(&incident.evidence, COLUMNS - 6));
    }
    more(out, places.len());
}

fn more(out: &mut String, all: usize) {
    if all > LISTED {
        let _ = writeln!(out, "  ... and {} more; --format json has all of them", all - LISTED);
    }
}

fn line(incident: &Incident, until: Time) -> String {
    let mut labels = incident.labels.clone();
    let name = labels.get("alertname").to_owned();
    labels.set("alertname", "");
    let labels = if labels == Labels::default() { String::new() } else { format!(" {labels}") };
    let still = if incident.resolved_at.is_none() && incident.fired_at <= until { " (still)" } else { "" };
    let tail = format!("  for {}{still}", lasted(incident));
    let begin = format!("  {}  {name}{labels}", moment(incident.fired_at));
    format!("{}{tail}", fit(&begin, COLUMNS - tail.chars().count()))
}

fn messages(out: &mut String, report: &Report) {
    out.push_str("\nwhat is sent:\n");
    for to in &report.receivers {
        let _ = writeln!(
            out,
            "  {} ({}): {}: {} firing, {} resolved, {} repeated",
            to.receiver,
            to.integration,
            many(to.messages, "message"),
            to.firing,
            to.resolved,
            to.repeat
        );
    }
    if report.receivers.is_empty() {
        out.push_str("  nothing\n");
    }
}

fn many(n: usize, what: &str) -> String {
    if n == 1 { format!("1 {what}") } else { format!("{n} {what}s") }
}

/// `2026-11-20 20:00:15`; in UTC like all that is told here.
fn moment(time: Time) -> String {
    time.to_jiff().strftime("%Y-%m-%d %H:%M:%S").to_string()
}

fn day(time: Time) -> String {
    time.to_jiff().strftime("%b %d %H:%M").to_string()
}

fn lasted(incident: &Incident) -> String {
    rough(Span((incident.seconds * 1e6) as i64))
}

/// To the second, and of more than a day to the minute.
fn rough(span: Span) -> String {
    let step = if span.0 >= 86_400_000_000 { 60_000_000 } else { 1_000_000 };
    Span(span.0 / step * step).to_string()
}

fn fit(text: &str, width: usize) -> String {
    truncate(&text.replace('\n', " "), width)
}
