//! Inhibition: alerts that keep quiet while others fire, since those say it all.
//!
//! An alert that matches both sides of a rule is not kept quiet by another such alert, itself among them: else two that
//! inhibit each other would both be silent.

use rustc_hash::FxHashMap;

use super::tree::matchers;
use crate::alert::{Alert, State};
use crate::diag::Diagnostic;
use crate::labels::{Labels, Matchers, is_label_name};
use crate::yaml::{self, Faults, Fields};

/// While an alert fires that `source` matches, those that `target` matches are quiet, where the labels `equal` have the same
/// values in both.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct InhibitRule {
    /// Which alerts quieten others.
    pub source: Matchers,
    /// Which alerts are quietened.
    pub target: Matchers,
    /// Labels that both have with the same value; missing ones are the empty text.
    pub equal: Vec<String>,
}

/// The alerts that fire, as far as they quieten others: an index over the source sides of all rules.
#[derive(Clone, Debug, Default)]
pub struct Inhibitions {
    /// By the number of the rule and the values of its equal labels.
    sources: FxHashMap<(usize, Vec<String>), Sources>,
}

/// Of the sources with the same equal values, those that are named: the first in the order of labels.
#[derive(Clone, Debug, Default)]
struct Sources {
    any: Labels,
    /// The first that is no target of the same rule.
    one_sided: Option<Labels>,
}

impl InhibitRule {
    /// Reads one item of `inhibit_rules`.
    pub fn parse(fields: &mut Fields<'_>, faults: &mut Faults) -> Option<InhibitRule> {
        // For people; Alertmanager since 0.28.
        fields.optional("name", faults, yaml::TEXT);
        let source = matchers(fields, faults, ["source_matchers", "source_match", "source_match_re"]);
        let target = matchers(fields, faults, ["target_matchers", "target_match", "target_match_re"]);
        let name = |name: String| if is_label_name(&name) { Ok(name) } else { Err(format!("`{name}` is no name of a label")) };
        let equal = fields.optional("equal", faults, yaml::list(yaml::TEXT.then(name))).unwrap_or_default();
        let (source, target) = (source?, target?);
        for (side, keys, what) in [(&source, "source_matchers", "quietens"), (&target, "target_matchers", "is quietened by")] {
            if side.0.is_empty() {
                let message = format!("without `{keys}` every alert {what} others");
                let help = format!("{keys}: ['severity=\"critical\"']");
                faults.0.push(Diagnostic::warning("inhibits-all", &fields.node.place, message).help(help));
            }
        }
        Some(InhibitRule { source, target, equal })
    }

    fn equal_values(&self, labels: &Labels) -> Vec<String> {
        self.equal.iter().map(|name| labels.get(name).to_owned()).collect()
    }
}

impl Inhibitions {
    /// Of the alerts that fire now; what else is among them is left out.
    pub fn new<'a>(rules: &[InhibitRule], firing: impl IntoIterator<Item = &'a Alert>) -> Inhibitions {
        let mut inhibitions = Inhibitions::default();
        for alert in firing.into_iter().filter(|alert| alert.state == State::Firing) {
            for (number, rule) in rules.iter().enumerate().filter(|(_, rule)| rule.source.matches(&alert.labels)) {
                let sources = inhibitions.sources.entry((number, rule.equal_values(&alert.labels)));
                sources.or_insert_with(|| Sources { any: alert.labels.clone(), one_sided: None }).take(&alert.labels, rule);
            }
        }
        inhibitions
    }

    /// The alerts that keep this one quiet: their labels, one for each rule, each once. There may be thousands more.
    pub fn of(&self, rules: &[InhibitRule], labels: &Labels) -> Vec<Labels> {
        let mut found: Vec<Labels> = Vec::new();
        for (number, rule) in rules.iter().enumerate().filter(|(_, rule)| rule.target.matches(labels)) {
            let Some(sources) = self.sources.get(&(number, rule.equal_values(labels))) else { continue };
            let source = if rule.source.matches(labels) { sources.one_sided.as_ref() } else { Some(&sources.any) };
            found.extend(source.filter(|source| !found.contains(source)).cloned());
        }
        found
    }
}

impl Sources {
    fn take(&mut self, labels: &Labels, rule: &InhibitRule) {
        if *labels < self.any {
            self.any = labels.clone();
        }
        let is_first = self.one_sided.as_ref().is_none_or(|known| labels < known);
        if is_first && !rule.target.matches(labels) {
            self.one_sided = Some(labels.clone());
        }
    }
}

#[cfg(test)]
mod tests;
