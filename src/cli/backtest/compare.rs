//! Two versions of rules held against each other: what both find, and what only one does.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::cli::backtest::report::{Incident, Report};
use crate::labels::Labels;
use crate::time::Time;

/// Incidents of both versions, by their places in the two reports. Two are the same where their labels are, and there was
/// an instant at which both fired.
#[derive(Debug, PartialEq, Serialize)]
pub struct Comparison {
    /// Those of the rules, each with the first that it overlaps of the others.
    pub both: Vec<(usize, usize)>,
    /// Only of the rules.
    pub only_rules: Vec<usize>,
    /// Only of those that they are held against.
    pub only_against: Vec<usize>,
}

fn overlap(a: &Incident, b: &Incident) -> bool {
    let end = |incident: &Incident| incident.resolved_at.unwrap_or(Time(i64::MAX));
    a.fired_at < end(b) && b.fired_at < end(a)
}

impl Comparison {
    /// Holds one report against another.
    pub fn of(rules: &Report, against: &Report) -> Comparison {
        let mut by_labels: BTreeMap<&Labels, Vec<usize>> = BTreeMap::new();
        for (i, incident) in against.incidents.iter().enumerate() {
            by_labels.entry(&incident.labels).or_default().push(i);
        }
        let mut met = vec![false; against.incidents.len()];
        let (mut both, mut only_rules) = (Vec::new(), Vec::new());
        for (i, incident) in rules.incidents.iter().enumerate() {
            let same = by_labels.get(&incident.labels).into_iter().flatten().copied();
            let same: Vec<usize> = same.filter(|other| overlap(incident, &against.incidents[*other])).collect();
            same.iter().for_each(|other| met[*other] = true);
            match same.first() {
                Some(other) => both.push((i, *other)),
                None => only_rules.push(i),
            }
        }
        let only_against = met.iter().enumerate().filter(|(_, met)| !**met).map(|(i, _)| i).collect();
        Comparison { both, only_rules, only_against }
    }
}
