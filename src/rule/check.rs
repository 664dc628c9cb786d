//! What can be wrong with a rule though each of its parts is right.

use std::collections::BTreeMap;

use reqwest::Url;

use crate::alert::Finding;
use crate::diag::{Place, nearest};
use crate::labels::{Labels, Op};
use crate::rule::Rule;
use crate::template::{Facts, Template};
use crate::yaml::Faults;

/// Annotations that are links.
const LINKS: [&str; 2] = ["runbook_url", "dashboard_url"];
/// What a label may hold: a name, or what functions of numbers, durations and instants take.
const SAMPLES: [&str; 4] = ["sample", "1", "5m", "2026-11-20T20:00:00Z"];

/// A label or annotation with where its name and its template stand.
pub(super) type Text = (String, Template, Place, Place);

/// The texts of a rule against the labels that its alerts have; none where only the database knows them.
pub(super) fn texts(name: &str, dimensions: Option<&[String]>, labels: &[Text], annotations: &[Text], faults: &mut Faults) {
    let dimensions: Option<Vec<&str>> = dimensions.map(|names| names.iter().map(String::as_str).collect());
    for text in labels {
        template(name, text, dimensions.as_deref(), faults);
        let (label, given, name_place, _) = text;
        // The severity of a kind is only its default.
        let hides =
            given.is_plain() && label != "severity" && dimensions.as_deref().is_some_and(|names| names.contains(&label.as_str()));
        if hides {
            let message = format!("the alerts of {name} have a label `{label}` already, which tells them from each other");
            faults.at("hides-label", name_place, message, "choose another name for this one");
        }
    }
    let own = labels.iter().map(|(label, ..)| label.as_str()).chain(["alertname"]);
    let known: Option<Vec<&str>> = dimensions.map(|names| names.into_iter().chain(own).collect());
    for text in annotations {
        template(name, text, known.as_deref(), faults);
        if LINKS.contains(&text.0.as_str()) {
            link(text, faults);
        }
    }
}

/// A template whose labels exist, rendered against made-up alerts, so that most faults never get as far as a page.
fn template(name: &str, (key, template, _, place): &Text, known: Option<&[&str]>, faults: &mut Faults) {
    let used = template.labels();
    for label in used.iter().filter(|label| known.is_some_and(|known| !known.contains(&label.as_str()))) {
        let known = known.unwrap_or_default();
        let help = match nearest(label, known.iter().copied()) {
            Some(near) => format!("did you mean `$labels.{near}`?"),
            None if known.is_empty() => "if it is a dimension, add it to `by`".to_owned(),
            None => format!("if it is a dimension, add it to `by`; known here: {}", known.join(", ")),
        };
        faults.at("unknown-label", place, format!("{key}: the alerts of {name} have no label `{label}`"), help);
    }
    let rendered = SAMPLES.map(|value| template.render(&facts(&sample(name, &used, value))));
    if rendered.iter().all(Result::is_err)
        && let Some(Err(message)) = rendered.first()
    {
        let help = "labels are `{{ $labels.model }}`, the value is `{{ $value }}`";
        faults.at("bad-template", place, format!("{key}: {message}"), help);
    }
}

/// An annotation that becomes a link; what begins with a template may be anything.
fn link((key, template, _, place): &Text, faults: &mut Faults) {
    if template.text().trim_start().starts_with("{{") {
        return;
    }
    let Ok(text) = template.render(&facts(&sample("sample", &template.labels(), "sample"))) else { return };
    if !Url::parse(text.trim()).is_ok_and(|url| matches!(url.scheme(), "http" | "https")) {
        let help = "write it as https://runbooks.example.com/ai-errors";
        faults.at("bad-url", place, format!("{key}: this is no URL that begins with http:// or https://"), help);
    }
}

fn facts(labels: &Labels) -> Facts<'_> {
    Facts { labels, value: 1.5, evidence: "", top: "" }
}

fn sample(name: &str, labels: &[String], value: &str) -> Labels {
    let mut sample: Labels = labels.iter().map(|label| (label.as_str(), value)).collect();
    sample.set("alertname", name);
    sample
}

impl Rule {
    /// What it might find, made up: labels have the values that its matchers ask for, else ones that say what they are.
    pub fn sample(&self) -> Finding {
        let matched = |name: &str| self.matchers().find(|(matcher, _)| matcher.name == name && matcher.op == Op::Equal);
        let value = |name: &str| matched(name).map_or_else(|| format!("sample-{name}"), |(matcher, _)| matcher.value.clone());
        let names = self.label_names().unwrap_or_default();
        let mut labels: Labels = names.iter().map(|name| (name.as_str(), value(name))).collect();
        let (value, evidence, known) = (12.0, "12 > 10 (a sample)", labels.clone());
        let facts = |labels| Facts { labels, value, evidence, top: "sample-a 9, sample-b 3" };
        for (name, template) in &self.labels {
            labels.set(name.as_str(), template.render_or_explain(&facts(&known)));
        }
        labels.set("alertname", self.name.as_str());
        let texts = self.annotations.iter().map(|(name, template)| (name.clone(), template.render_or_explain(&facts(&labels))));
        let annotations = texts.collect();
        let named = self.top.as_ref().map(|top| format!("; top {}: sample-a 9, sample-b 3", top.by));
        Finding { annotations, value, evidence: format!("{evidence}{}", named.unwrap_or_default()), labels }
    }
}

/// Rules whose alerts could not be told apart: receivers would take the end of one for the end of the other.
pub fn identities(rules: &[Rule], faults: &mut Faults) {
    let mut known: BTreeMap<&str, Vec<&Rule>> = BTreeMap::new();
    for rule in rules {
        let namesakes = known.entry(&rule.name).or_default();
        // Rules of one key are reported for that.
        if let Some(first) = namesakes.iter().find(|first| first.key != rule.key && first.shares_alerts(rule)) {
            let (line, _) = first.place.line_column();
            let place = format!("{}:{line}", first.place.file.name);
            let message = format!("alerts of `{}` would be those of the rule at {place}", rule.name);
            faults.at("same-alerts", &rule.place, message, "give one of them another name, or a label of its own");
        }
        namesakes.push(rule);
    }
}
