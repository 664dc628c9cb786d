//! Time intervals by name, and what the `active` of a rule says: one of them, or its own.

use std::collections::BTreeMap;

use serde_json::json;

use super::TimeInterval;
use super::notation::LINE;
use crate::diag::{Place, nearest};
use crate::yaml::{self, Faults, Fields, Node, Value};

/// The top-level `time_intervals` of a configuration.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TimeIntervals {
    /// None where it is at fault, which was told.
    named: BTreeMap<String, Option<TimeInterval>>,
}

impl TimeIntervals {
    /// Reads the lists under `time_intervals` and under `mute_time_intervals`, as Alertmanager called it once; an empty list
    /// of specs is an interval that never holds.
    pub fn read(fields: &mut Fields<'_>, faults: &mut Faults) -> TimeIntervals {
        let mut named = BTreeMap::new();
        for key in ["time_intervals", "mute_time_intervals"] {
            fields.each(key, faults, |fields, faults| one(fields, &mut named, faults));
        }
        TimeIntervals { named }
    }

    /// The same of the items of that list.
    pub fn parse(items: &[Node], faults: &mut Faults) -> TimeIntervals {
        let mut named = BTreeMap::new();
        for node in items {
            node.map(faults, |fields, faults| one(fields, &mut named, faults));
        }
        TimeIntervals { named }
    }

    /// By its name.
    pub fn get(&self, name: &str) -> Option<&TimeInterval> {
        self.named.get(name)?.as_ref()
    }

    /// All that are not at fault, in the order of their names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &TimeInterval)> {
        self.named.iter().filter_map(|(name, interval)| Some((name.as_str(), interval.as_ref()?)))
    }

    /// All names in order, also of those at fault.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.named.keys().map(String::as_str)
    }
}

fn one(fields: &mut Fields<'_>, named: &mut BTreeMap<String, Option<TimeInterval>>, faults: &mut Faults) -> Option<()> {
    let node = fields.node;
    let name = fields.required("name", faults, yaml::TEXT);
    fields.constrain(|| json!({ "required": ["time_intervals"] }));
    let interval = match fields.node_as("time_intervals", TimeInterval::schema) {
        Some(node) if matches!(&node.value, Value::List(specs) if specs.is_empty()) => Some(TimeInterval { specs: Vec::new() }),
        Some(node) => TimeInterval::parse(node, faults),
        None => {
            let help = "time_intervals: [{weekdays: ['monday:friday']}]";
            faults.error_help("missing-key", node, "`time_intervals` is missing", help);
            None
        }
    };
    let name = name?;
    if named.contains_key(&name) {
        faults.error("duplicate", node.at("name"), format!("there is another time interval `{name}`"));
    }
    named.insert(name, interval);
    Some(())
}

/// When a rule is evaluated, as it is written.
#[derive(Clone, Debug)]
pub enum Active {
    /// In an interval of the configuration, named at a place.
    Named(String, Place),
    /// In one of its own.
    Inline(TimeInterval),
}

impl Active {
    /// Reads a name, or an interval as [`TimeInterval::parse`] does. Text with a colon is an interval.
    pub fn parse(node: &Node, faults: &mut Faults) -> Option<Active> {
        match &node.value {
            Value::List(_) | Value::Map(_) => TimeInterval::parse(node, faults).map(Active::Inline),
            Value::Text(text) if text.contains(':') => TimeInterval::parse(node, faults).map(Active::Inline),
            _ => match yaml::text(node) {
                Ok(name) => Some(Active::Named(name, node.place.clone())),
                Err(message) => {
                    faults.error("wrong-type", node, message);
                    None
                }
            },
        }
    }

    /// The interval that is meant.
    pub fn resolve(self, intervals: &TimeIntervals, faults: &mut Faults) -> Option<TimeInterval> {
        let (name, place) = match self {
            Active::Inline(interval) => return Some(interval),
            Active::Named(name, place) => (name, place),
        };
        if !intervals.named.contains_key(&name) {
            let help = match nearest(&name, intervals.names()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("name one of `time_intervals`, or write it as {LINE}"),
            };
            faults.at("unknown-interval", &place, format!("there is no time interval `{name}`"), help);
        }
        intervals.get(&name).cloned()
    }
}
