//! Which alerts are told to whom, when, and why.
//!
//! A tree of routes (this file; one root for now) says into which group an alert falls and whose it is. The [`Router`]
//! (`group.rs`) holds the groups and looks at each when its time has come; the notification log (`log.rs`) knows what
//! each integration was told last, and decides whether there is something to tell. Semantics and names are
//! Alertmanager's.

mod group;
mod log;

use serde::{Deserialize, Serialize};

use crate::alert::Alert;
use crate::diag::nearest;
use crate::labels::{Labels, is_label_name};
use crate::time::{Span, Time};
use crate::yaml::{self, Faults, Fields};

pub use group::{Action, Decision, Router, Saved};
pub use log::Reason;

/// One message to one receiver about one group of alerts, in no receiver's words yet.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Notification {
    /// The receiver's name.
    pub receiver: String,
    /// Identity of the group, as Alertmanager writes it: `{}:{alertname="AIErrorSpike"}`.
    pub group_key: String,
    /// The labels that the group was formed by.
    pub group_labels: Labels,
    /// The alerts, firing and resolved, firing first, each kind in the order of their labels.
    pub alerts: Vec<Alert>,
    /// Why it is sent: `new alert`, `resolved`, `repeat`...
    pub reason: String,
    /// When it was decided.
    pub at: Time,
}

/// By which labels alerts are put together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GroupBy {
    /// `['...']`: by every label, so that each alert is alone.
    All,
    /// By these; by none of them: all alerts are one group.
    Labels(Vec<String>),
}

/// Whose an alert is and how it is grouped. The root of the tree takes every alert.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// The receiver's name.
    pub receiver: String,
    /// How alerts are put together.
    pub group_by: GroupBy,
    /// How long the first alert of a group waits for others.
    pub group_wait: Span,
    /// How long a group that was looked at is left alone.
    pub group_interval: Span,
    /// After how long the same is told again.
    pub repeat_interval: Span,
}

impl Route {
    /// Reads the root route; none where it names no receiver that there is.
    ///
    /// ```
    /// # use modelwatch::{route::Route, time::Span, yaml::{self, Faults}};
    /// let mut faults = Faults::default();
    /// let node = yaml::parse("demo.yml", "receiver: oncall\ngroup_by: [alertname]\n", &mut faults).unwrap();
    /// let known = ["oncall".to_owned()];
    /// let route = node.map(&mut faults, |fields, faults| Route::parse(fields, faults, &known)).unwrap();
    /// assert_eq!((route.group_wait, route.group_interval), (Span::ZERO, Span::secs(300)));
    /// ```
    pub fn parse(fields: &mut Fields<'_>, faults: &mut Faults, receivers: &[String]) -> Option<Route> {
        let receiver = fields.required("receiver", faults, yaml::TEXT);
        let place = fields.node("receiver");
        let group_by = fields.optional("group_by", faults, yaml::list(yaml::TEXT.then(group_label)).then(group_by));
        let group_wait = fields.optional("group_wait", faults, yaml::SPAN);
        let group_interval = fields.optional("group_interval", faults, yaml::POSITIVE_SPAN);
        let repeat_interval = fields.optional("repeat_interval", faults, yaml::POSITIVE_SPAN);
        let (receiver, place) = (receiver?, place?);
        if !receivers.contains(&receiver) {
            let known = receivers.iter().map(String::as_str);
            let help = match nearest(&receiver, known) {
                Some(known) => format!("did you mean `{known}`?"),
                None if receivers.is_empty() => "there are no receivers; add one under `receivers:`".to_owned(),
                None => format!("the receivers are: {}", receivers.join(", ")),
            };
            faults.error_help("unknown-receiver", place, format!("there is no receiver `{receiver}`"), help);
            return None;
        }
        Some(Route {
            receiver,
            group_by: group_by.unwrap_or_else(|| GroupBy::Labels(vec!["alertname".to_owned()])),
            group_wait: group_wait.unwrap_or(Span::ZERO),
            group_interval: group_interval.unwrap_or(Span::secs(300)),
            repeat_interval: repeat_interval.unwrap_or(Span::secs(4 * 3_600)),
        })
    }

    /// The routes that take an alert; where a tree branches, it will be here.
    fn matching(&self, _labels: &Labels) -> impl Iterator<Item = &Route> {
        std::iter::once(self)
    }

    /// The labels of the group into which an alert falls.
    fn group_labels(&self, labels: &Labels) -> Labels {
        match &self.group_by {
            GroupBy::All => labels.clone(),
            GroupBy::Labels(names) => names.iter().map(|name| (name, labels.get(name))).collect(),
        }
    }

    /// The identity of a group of this route: the matchers that lead here (the root has none), then the labels.
    fn group_key(&self, group_labels: &Labels) -> String {
        format!("{{}}:{group_labels}")
    }
}

fn group_label(name: String) -> Result<String, String> {
    if name == "..." || is_label_name(&name) { Ok(name) } else { Err(format!("`{name}` is no name of a label")) }
}

fn group_by(names: Vec<String>) -> Result<GroupBy, String> {
    if names.iter().any(|name| name == "...") {
        return if names.len() == 1 { Ok(GroupBy::All) } else { Err("`...` means every label and stands alone".to_owned()) };
    }
    for (i, name) in names.iter().enumerate() {
        if names[..i].contains(name) {
            return Err(format!("`{name}` is named twice"));
        }
    }
    Ok(GroupBy::Labels(names))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The route of a text, else the faults, a line each.
    fn parse(text: &str) -> Result<Route, String> {
        let mut faults = Faults::default();
        let node = yaml::parse("t.yml", text, &mut faults).unwrap();
        let known = ["oncall".to_owned(), "lead".to_owned()];
        let route = node.map(&mut faults, |fields, faults| Route::parse(fields, faults, &known));
        let lines: Vec<String> = faults.0.iter().map(ToString::to_string).collect();
        route.filter(|_| lines.is_empty()).ok_or(lines.join("\n"))
    }

    #[test]
    fn routes_are_read() {
        let route = Route {
            receiver: "oncall".to_owned(),
            group_by: GroupBy::Labels(vec!["alertname".to_owned()]),
            group_wait: Span::ZERO,
            group_interval: Span::secs(300),
            repeat_interval: Span::secs(14_400),
        };
        assert_eq!(parse("receiver: oncall").as_ref(), Ok(&route));
        let written = "{receiver: lead, group_by: [alertname, model], group_wait: 30s, group_interval: 1m, repeat_interval: 1h}";
        let group_by = GroupBy::Labels(vec!["alertname".to_owned(), "model".to_owned()]);
        let (receiver, second) = ("lead".to_owned(), Span::secs(1).0);
        let [group_wait, group_interval, repeat_interval] = [30, 60, 3_600].map(|n| Span(n * second));
        assert_eq!(parse(written), Ok(Route { receiver, group_by, group_wait, group_interval, repeat_interval }));
        assert_eq!(parse("{receiver: oncall, group_by: ['...']}"), Ok(Route { group_by: GroupBy::All, ..route }));
    }

    #[test]
    fn faults_are_all_found() {
        #[track_caller]
        fn check(text: &str, expected: &[&str]) {
            let seen = parse(text).unwrap_err();
            let lines: Vec<&str> = seen.lines().collect();
            assert_eq!(lines.len(), expected.len(), "{text}: {seen}");
            for (line, expected) in lines.iter().zip(expected) {
                assert!(line.contains(expected), "{text}: {line}");
            }
        }
        check("receiver: oncal", &["t.yml:1:11: there is no receiver `oncal` [unknown-receiver]; hint: did you mean `oncall`?"]);
        check("receiver: pagerduty", &["the receivers are: oncall, lead"]);
        check("group_wait: 1s", &["`receiver` is missing"]);
        check(
            "{receiver: oncall, group_interval: 0s, repeat_interval: x, group_wiat: 1s}",
            &["group_interval: must be longer than 0s", "repeat_interval: `x` is no duration", "did you mean `group_wait`?"],
        );
        check("{receiver: oncall, group_by: ['...', model]}", &["`...` means every label and stands alone"]);
        check("{receiver: oncall, group_by: [model, model]}", &["`model` is named twice"]);
        check("{receiver: oncall, group_by: [my-model]}", &["`my-model` is no name of a label"]);
    }

    #[test]
    fn groups_are_named_as_in_alertmanager() {
        #[track_caller]
        fn check(group_by: &str, expected: &str) {
            let route = parse(&format!("{{receiver: oncall, group_by: {group_by}}}")).unwrap();
            let labels = [("alertname", "X"), ("model", "a\"b")].into_iter().collect();
            assert_eq!(route.group_key(&route.group_labels(&labels)), expected);
        }
        check("[]", "{}:{}");
        check("[alertname]", "{}:{alertname=\"X\"}");
        check("[alertname, org]", "{}:{alertname=\"X\"}");
        check("['...']", "{}:{alertname=\"X\", model=\"a\\\"b\"}");
    }
}
