//! What the receivers of one side heard, without what differs from run to run.

use jiff::Timestamp;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Instants that a scenario named, and what they are called.
pub type Marks = BTreeMap<Timestamp, String>;

pub struct Transcript {
    told: Vec<Told>,
    trouble: Vec<String>,
    in_order: bool,
}

/// One message.
struct Told {
    hook: String,
    group_key: String,
    /// Status and alerts, readable.
    line: String,
    /// All else that must be the same.
    detail: Value,
}

impl Transcript {
    /// What was accepted, hook and body; `marks` are the instants that the scenario named.
    pub fn new(accepted: Vec<(String, Value)>, marks: &Marks, trouble: Vec<String>, in_order: bool) -> Self {
        Self { told: accepted.into_iter().map(|(hook, body)| Told::new(hook, body, marks)).collect(), trouble, in_order }
    }

    /// The messages of each group at each receiver, in their order.
    fn lanes(&self) -> BTreeMap<String, Vec<&Told>> {
        let mut lanes: BTreeMap<String, Vec<&Told>> = BTreeMap::new();
        for told in &self.told {
            lanes.entry(format!("{} {}", told.hook, told.group_key)).or_default().push(told);
        }
        lanes
    }

    pub fn text(&self) -> String {
        let mut text = String::new();
        for (lane, told) in self.lanes() {
            text += &format!("{lane}\n");
            told.iter().for_each(|told| text += &format!("  {}\n", told.line));
        }
        if self.in_order {
            let hooks: Vec<&str> = self.told.iter().map(|told| told.hook.as_str()).collect();
            text += &format!("in the order: {}\n", hooks.join(", "));
        }
        self.trouble.iter().for_each(|trouble| text += &format!("{trouble}\n"));
        text
    }

    /// The first message, of transcripts with equal texts, that is not the same in every part.
    pub fn differing_detail(&self, other: &Self) -> Option<String> {
        let (these, others) = (self.lanes(), other.lanes());
        let pairs = these.iter().flat_map(|(lane, told)| told.iter().zip(&others[lane]).map(move |pair| (lane, pair)));
        let differing = pairs.into_iter().find(|(_, (this, other))| this.detail != other.detail);
        differing.map(|(lane, (this, other))| {
            format!("{lane}, {}:\n{}\n--- modelwatch:\n{}\n", this.line, pretty(&this.detail), pretty(&other.detail))
        })
    }
}

fn pretty(value: &Value) -> String {
    serde_json::to_string_pretty(value).unwrap()
}

impl Told {
    fn new(hook: String, mut body: Value, marks: &Marks) -> Self {
        let mut alerts: Vec<Value> = body["alerts"].as_array().unwrap().clone();
        alerts.sort_by_cached_key(|alert| alert["labels"].to_string());
        let shown: Vec<String> = alerts.iter().map(|alert| format!("{}{}", name(&alert["labels"]), end(alert))).collect();
        let left_out = match body["truncatedAlerts"].as_u64().unwrap() {
            0 => String::new(),
            count => format!(" and {count} more"),
        };
        let line = format!("{}: {}{left_out}", body["status"].as_str().unwrap(), shown.join(", "));
        for alert in &mut alerts {
            for key in ["startsAt", "endsAt"] {
                let at: Timestamp = alert[key].as_str().unwrap().parse().unwrap();
                // All others are up to the clock.
                let none = at < Timestamp::UNIX_EPOCH;
                alert[key] = json!(marks.get(&at).map_or(if none { "none" } else { "some time" }, String::as_str));
            }
        }
        body["alerts"] = Value::Array(alerts);
        body["externalURL"] = json!(body["externalURL"].is_string());
        Self { hook, group_key: body["groupKey"].as_str().unwrap().to_owned(), line, detail: body }
    }
}

/// `Down{instance="a"}`
fn name(labels: &Value) -> String {
    let labels = labels.as_object().unwrap();
    let pairs = labels.iter().filter(|(name, _)| *name != "alertname").map(|(name, value)| format!("{name}={value}"));
    let pairs: Vec<String> = pairs.collect();
    let alertname = labels.get("alertname").and_then(Value::as_str).unwrap_or_default();
    if pairs.is_empty() { alertname.to_owned() } else { format!("{alertname}{{{}}}", pairs.join(", ")) }
}

fn end(alert: &Value) -> &'static str {
    if alert["status"] == "resolved" { " (over)" } else { "" }
}
