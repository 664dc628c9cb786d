//! The same for people, as text.

use std::fmt;

use super::route::{Outcome, Step};
use super::{Explanation, Standing, Subject, second};
use crate::message::{one_line, truncate, value};

/// Characters of a label's value that are shown.
const VALUE: usize = 80;

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.verdict)?;
        if let Subject::Alert(alert) = &self.subject {
            writeln!(f, "\nalert {}", alert.labels.fingerprint())?;
            for (name, text) in alert.labels.iter() {
                writeln!(f, "  {name} = {}", truncate(&one_line(text), VALUE))?;
            }
            if alert.posted.is_none() {
                writeln!(f, "  measured: {} ({})", value(alert.value), one_line(&alert.evidence))?;
            }
        }
        if !self.members.is_empty() {
            writeln!(f, "\nalerts")?;
            self.members.iter().try_for_each(|member| writeln!(f, "  {}", member.verdict))?;
        }
        if !self.route.is_empty() {
            writeln!(f, "\nroute")?;
            self.route.iter().try_for_each(|step| writeln!(f, "  {}", line(step)))?;
        }
        if !self.quiet.is_empty() {
            writeln!(f, "\nquiet")?;
            self.quiet.iter().try_for_each(|quiet| writeln!(f, "  {quiet}"))?;
        }
        for group in &self.groups {
            standing(f, group)?;
        }
        if !self.timeline.is_empty() {
            writeln!(f, "\ntimeline")?;
            self.timeline.iter().try_for_each(|moment| writeln!(f, "  {}  {}", second(moment.at), moment.what))?;
        }
        Ok(())
    }
}

fn line(step: &Step) -> String {
    let indent = "  ".repeat(step.depth);
    let matchers: Vec<&str> = step.matchers.iter().map(|(text, ..)| text.as_str()).collect();
    let what = if step.depth == 0 { "the root".to_owned() } else { format!("{{{}}}", matchers.join(",")) };
    let outcome = match step.outcome {
        Outcome::Taken => format!("is told to {}", step.receiver),
        Outcome::PassedOn => "holds, a route below takes it".to_owned(),
        Outcome::Differs => {
            let first = step.matchers.iter().find(|(_, _, holds)| !holds);
            let (text, held) = first.map_or(("", ""), |(text, held, _)| (text.as_str(), held.as_str()));
            format!("does not hold: {text}, but it is \"{}\"", truncate(&one_line(held), VALUE))
        }
    };
    let go_on = if step.continues && step.outcome != Outcome::Differs { "; `continue` asks the next ones too" } else { "" };
    format!("{indent}{what} {outcome}{go_on}")
}

fn standing(f: &mut fmt::Formatter<'_>, group: &Standing) -> fmt::Result {
    let from = group.escalated_from.as_ref().map(|owner| format!(", escalated from {owner}")).unwrap_or_default();
    writeln!(f, "\ngroup {} of {}{from}", one_line(&group.key), group.receiver)?;
    match group.next_flush {
        Some(at) => writeln!(f, "  is looked at next at {}", second(at))?,
        None => writeln!(f, "  is gone")?,
    }
    for (kind, trace) in &group.decisions {
        let word = if trace.reason.notifies() { "notify" } else { "hold" };
        let times = if trace.times > 1 { format!(", {} times until {}", trace.times, second(trace.last)) } else { String::new() };
        writeln!(f, "  {}  {kind}: {word}: {}{times}; {} firing", second(trace.at), trace.reason, trace.firing)?;
        trace.quiet.iter().try_for_each(|quiet| writeln!(f, "    {quiet}"))?;
    }
    Ok(())
}
