//! What templates see of a notification: Alertmanager's data, and what we add.
//!
//! Source: <https://prometheus.io/docs/alerting/latest/notifications/>. Ours are `.Title`, `.Text`, `.Severity`, `.SilenceURL`,
//! `.AckURL`, and of an alert `.Value`, `.Evidence`, `.Summary`, `.Facts`.

use std::sync::Arc;

use jiff::tz::TimeZone;

use crate::alert::{Alert, State};
use crate::labels::Labels;
use crate::message::{self, links};
use crate::route::Notification;
use crate::template::{Object, Value, ZERO};
use crate::time::Time;

/// Fields of the `.` that a template begins with.
pub(super) const FIELDS: [&str; 14] = [
    "Receiver",
    "Status",
    "Alerts",
    "GroupLabels",
    "CommonLabels",
    "CommonAnnotations",
    "ExternalURL",
    "GroupKey",
    "NotificationReason",
    "Title",
    "Text",
    "Severity",
    "SilenceURL",
    "AckURL",
];

/// What an author may look for.
pub(super) const KNOWN: &str = ".Status, .Alerts, .GroupLabels, .CommonLabels, .CommonAnnotations, .Receiver, .ExternalURL, .Title, \
                                .Text, .Severity, .SilenceURL, .AckURL";

/// A notification as templates see it; made once for all templates of a message.
#[derive(Clone, Debug)]
pub struct Data {
    pub(super) root: Value,
    pub(super) now: Time,
}

impl Data {
    /// Of a notification; `external_url` is how people reach this process.
    pub fn new(notification: &Notification, external_url: &str) -> Data {
        let external_url: Arc<str> = external_url.into();
        let alerts = |state: Option<State>| -> Arc<[Value]> {
            let alerts = notification.alerts.iter().filter(|alert| state.is_none_or(|state| alert.state == state));
            let data =
                |alert: &Alert| AlertData { alert: alert.clone(), external_url: external_url.clone(), at: notification.at };
            alerts.map(|alert| Value::object(data(alert))).collect()
        };
        let plain = |items: Arc<[Value]>| Value::object(Alerts { items, by_state: None });
        let by_state = Some((plain(alerts(Some(State::Firing))), plain(alerts(Some(State::Resolved)))));
        let alerts = Value::object(Alerts { items: alerts(None), by_state });
        let root = Root { notification: notification.clone(), alerts, external_url };
        Data { root: Value::object(root), now: notification.at }
    }
}

#[derive(Debug)]
struct Root {
    notification: Notification,
    alerts: Value,
    external_url: Arc<str>,
}

impl Object for Root {
    fn kind(&self) -> &'static str {
        "the notification"
    }

    fn field(&self, name: &str) -> Option<Value> {
        let told = &self.notification;
        Some(match name {
            "Receiver" => told.receiver.as_str().into(),
            "Status" => message::status(message::is_firing(told)).into(),
            "Alerts" => self.alerts.clone(),
            "GroupLabels" => pairs(told.group_labels.clone()),
            "CommonLabels" => pairs(message::common_labels(&told.alerts)),
            "CommonAnnotations" => pairs(message::common_annotations(&told.alerts)),
            "ExternalURL" => Value::Text(self.external_url.clone()),
            "GroupKey" => told.group_key.as_str().into(),
            "NotificationReason" => told.reason.as_str().into(),
            "Title" => message::title(told).into(),
            "Text" => message::body(told, &self.external_url).into(),
            "Severity" => message::severity(told).as_str().into(),
            "SilenceURL" => links::silence_url(told, &self.external_url).into(),
            "AckURL" => links::ack_url(told, &self.external_url).into(),
            _ => return None,
        })
    }

    fn fields(&self) -> &'static [&'static str] {
        &FIELDS
    }

    fn text(&self) -> String {
        message::title(&self.notification)
    }
}

/// `.Alerts`, `.Alerts.Firing`, `.Alerts.Resolved`
#[derive(Debug)]
struct Alerts {
    items: Arc<[Value]>,
    /// Those that fire and those that are over, where these are all of them.
    by_state: Option<(Value, Value)>,
}

impl Object for Alerts {
    fn kind(&self) -> &'static str {
        "the list of alerts"
    }

    fn field(&self, name: &str) -> Option<Value> {
        let (firing, resolved) = self.by_state.as_ref()?;
        match name {
            "Firing" => Some(firing.clone()),
            "Resolved" => Some(resolved.clone()),
            _ => None,
        }
    }

    fn fields(&self) -> &'static [&'static str] {
        &["Firing", "Resolved"]
    }

    fn entries(&self) -> Option<Vec<(Value, Value)>> {
        Some(self.items.iter().enumerate().map(|(at, item)| (Value::Whole(at as i64), item.clone())).collect())
    }

    fn count(&self) -> Option<usize> {
        Some(self.items.len())
    }

    fn text(&self) -> String {
        Value::List(self.items.clone()).to_string()
    }
}

#[derive(Debug)]
struct AlertData {
    alert: Alert,
    external_url: Arc<str>,
    at: Time,
}

impl Object for AlertData {
    fn kind(&self) -> &'static str {
        "an alert"
    }

    fn field(&self, name: &str) -> Option<Value> {
        let alert = &self.alert;
        let ended = alert.resolved_at.filter(|_| alert.state == State::Resolved);
        Some(match name {
            "Status" => message::status(alert.state == State::Firing).into(),
            "Labels" => pairs(alert.labels.clone()),
            "Annotations" => pairs(message::annotations(alert)),
            "StartsAt" => Value::Time(alert.fired_at.unwrap_or(alert.active_at), TimeZone::UTC),
            "EndsAt" => Value::Time(ended.unwrap_or(ZERO), TimeZone::UTC),
            "GeneratorURL" => match &alert.posted {
                Some(posted) => posted.generator_url.as_str().into(),
                None => Value::Text(self.external_url.clone()),
            },
            "Fingerprint" => alert.labels.fingerprint().into(),
            "Value" if alert.posted.is_some() => "".into(),
            "Value" => alert.value.into(),
            "Evidence" => alert.evidence.as_str().into(),
            "Summary" => message::headline(alert).into(),
            "Facts" => message::facts(alert, self.at).into(),
            _ => return None,
        })
    }

    fn fields(&self) -> &'static [&'static str] {
        &[
            "Status",
            "Labels",
            "Annotations",
            "StartsAt",
            "EndsAt",
            "GeneratorURL",
            "Fingerprint",
            "Value",
            "Evidence",
            "Summary",
            "Facts",
        ]
    }

    fn text(&self) -> String {
        message::headline(&self.alert)
    }
}

fn pairs(labels: Labels) -> Value {
    Value::object(Pairs { labels, is_map: true })
}

/// Labels or annotations as a map, or `.SortedPairs` of them.
#[derive(Debug)]
struct Pairs {
    labels: Labels,
    is_map: bool,
}

impl Pairs {
    /// `alertname` first, then by name.
    fn sorted(&self) -> Vec<(&str, &str)> {
        let mut pairs: Vec<_> = self.labels.iter().collect();
        pairs.sort_by_key(|(name, _)| *name != "alertname");
        pairs
    }
}

impl Object for Pairs {
    fn kind(&self) -> &'static str {
        if self.is_map { "the set of labels" } else { "the list of labels" }
    }

    fn field(&self, name: &str) -> Option<Value> {
        self.is_map.then(|| self.labels.get(name).into())
    }

    fn call(&self, name: &str, arguments: &[Value]) -> Option<Result<Value, String>> {
        let sorted = || self.sorted().into_iter();
        Some(Ok(match (name, arguments) {
            ("Names", []) => Value::texts(sorted().map(|(name, _)| name)),
            ("Values", []) => Value::texts(sorted().map(|(_, value)| value)),
            ("String", []) => self.text().into(),
            ("SortedPairs", []) if self.is_map => Value::object(Pairs { labels: self.labels.clone(), is_map: false }),
            ("Remove", [Value::List(names)]) if self.is_map => {
                let removed: Vec<String> = names.iter().map(Value::to_string).collect();
                let kept = self.labels.iter().filter(|(name, _)| !removed.iter().any(|removed| removed == name));
                pairs(kept.collect())
            }
            ("Remove", _) if self.is_map => {
                return Some(Err("`.Remove` takes a list, such as (stringSlice \"a\" \"b\")".to_owned()));
            }
            _ => return None,
        }))
    }

    fn fields(&self) -> &'static [&'static str] {
        &["SortedPairs", "Names", "Values", "Remove"]
    }

    fn entries(&self) -> Option<Vec<(Value, Value)>> {
        if self.is_map {
            return Some(self.labels.iter().map(|(name, value)| (name.into(), value.into())).collect());
        }
        let pair = |(name, value): (&str, &str)| Value::object(Pair(name.to_owned(), value.to_owned()));
        Some(self.sorted().into_iter().enumerate().map(|(at, found)| (Value::Whole(at as i64), pair(found))).collect())
    }

    fn count(&self) -> Option<usize> {
        Some(self.labels.0.len())
    }

    fn text(&self) -> String {
        self.sorted().iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(", ")
    }
}

/// One of `.SortedPairs`.
#[derive(Debug)]
struct Pair(String, String);

impl Object for Pair {
    fn kind(&self) -> &'static str {
        "a label"
    }

    fn field(&self, name: &str) -> Option<Value> {
        match name {
            "Name" => Some(self.0.as_str().into()),
            "Value" => Some(self.1.as_str().into()),
            _ => None,
        }
    }

    fn fields(&self) -> &'static [&'static str] {
        &["Name", "Value"]
    }

    fn text(&self) -> String {
        format!("{}={}", self.0, self.1)
    }
}
