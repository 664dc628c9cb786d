//! The tree of routes: whose an alert is, and with which others it is told.
//!
//! Names, defaults and what inherits are Alertmanager's (`dispatch/route.go`): receiver, `group_by` and timers go down the
//! tree until a route says otherwise, time intervals do not. `escalation` is ours, and goes down as well.

use serde_json::json;

use super::Semantics;
use crate::calendar::TimeIntervals;
use crate::diag::{Diagnostic, nearest};
use crate::labels::{Labels, Matcher, Matchers, Op, is_label_name, quote};
use crate::time::Span;
use crate::yaml::{self, Faults, Fields, Node, Read, Value};

/// By which labels alerts are put together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GroupBy {
    /// `['...']`: by every label, so that each alert is alone.
    All,
    /// By these; by none of them: all alerts are one group.
    Labels(Vec<String>),
}

/// One node of the tree with all that it inherits: whose an alert is and how it is grouped.
#[derive(Clone, Debug, PartialEq)]
pub struct Route {
    /// Identity of the route in a group's key: the matchers on the way from the root, `{}/{team="a"}`.
    pub key: String,
    /// Which alerts it takes of those that reach it; the root takes all.
    pub matchers: Matchers,
    /// Whether the siblings after it may take the same alert too (`continue`).
    pub continues: bool,
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
    /// Within any of these time intervals nothing is told; not inherited.
    pub mute_time_intervals: Vec<String>,
    /// Outside of all of these nothing is told, where there are any; not inherited.
    pub active_time_intervals: Vec<String>,
    /// Who else is told of what nobody acknowledges, in the order of the spans.
    pub escalation: Vec<Escalation>,
    /// The children, in their order.
    pub routes: Vec<Route>,
}

/// One step of an escalation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Escalation {
    /// How long after the first notification.
    pub after: Span,
    /// The receiver's name.
    pub receiver: String,
}

/// What a route may name, and whose defaults hold.
#[derive(Clone, Copy, Debug)]
pub struct Scope<'a> {
    /// Whose defaults hold.
    pub semantics: Semantics,
    /// The names of the receivers.
    pub receivers: &'a [String],
    /// The intervals.
    pub time_intervals: &'a TimeIntervals,
}

impl Route {
    /// Reads the root route with all below it; none where it names no receiver that there is.
    ///
    /// ```
    /// # use modelwatch::{calendar::TimeIntervals, route::{Route, Scope, Semantics}, time::Span, yaml::{self, Faults}};
    /// let mut faults = Faults::default();
    /// let text = "receiver: oncall\nroutes: [{matchers: ['team=\"b\"'], group_wait: 1m}]\n";
    /// let node = yaml::parse("demo.yml", text, &mut faults).unwrap();
    /// let (receivers, time_intervals) = (["oncall".to_owned()], TimeIntervals::default());
    /// let scope = Scope { semantics: Semantics::Ours, receivers: &receivers, time_intervals: &time_intervals };
    /// let route = node.map(&mut faults, |fields, faults| Route::parse(fields, faults, &scope)).unwrap();
    /// assert_eq!((route.group_wait, route.group_interval), (Span::ZERO, Span::secs(300)));
    /// assert_eq!((route.routes[0].key.as_str(), route.routes[0].receiver.as_str()), (r#"{}/{team="b"}"#, "oncall"));
    /// ```
    pub fn parse(fields: &mut Fields<'_>, faults: &mut Faults, scope: &Scope<'_>) -> Option<Route> {
        fields.required("receiver", faults, yaml::TEXT);
        let place = fields.node;
        let matchers = matchers(fields, faults, MATCHER_KEYS);
        let is_given = matchers.is_some_and(|matchers| !matchers.0.is_empty());
        let mut of_children = vec![(is_given, MATCHER_KEYS[0], "it takes every alert")];
        let root = read(fields, faults, scope, Matchers::default(), &Route::root(scope.semantics))?;
        of_children.push((!root.mute_time_intervals.is_empty(), "mute_time_intervals", "it is the fallback for every alert"));
        of_children.push((!root.active_time_intervals.is_empty(), "active_time_intervals", "it is the fallback for every alert"));
        of_children.push((root.continues, "continue", "nothing comes after it"));
        for (is_given, key, reason) in of_children {
            if is_given {
                let message = format!("the root route has no `{key}`: {reason}");
                faults.error_help("root-route", place.at(key), message, "give it to a route under `routes:`");
            }
        }
        (!root.receiver.is_empty()).then_some(root)
    }

    /// The JSON Schema of a route under another.
    pub fn schema() -> serde_json::Value {
        let (time_intervals, receivers) = (TimeIntervals::default(), []);
        let scope = Scope { semantics: Semantics::Ours, receivers: &receivers, time_intervals: &time_intervals };
        yaml::schema(|fields, faults| child(fields, faults, &scope, &Route::default()))
    }

    /// What the root inherits, so to speak.
    fn root(semantics: Semantics) -> Route {
        let ours = Route { receiver: String::new(), ..Route::default() };
        match semantics {
            Semantics::Ours => ours,
            Semantics::Alertmanager => Route { group_wait: Span::secs(30), group_by: GroupBy::Labels(Vec::new()), ..ours },
        }
    }

    /// The routes that take an alert, in the order of the tree: depth first, the first child whose matchers hold and, as
    /// long as they say `continue`, those after it; the node itself where no child takes it.
    pub fn matching(&self, labels: &Labels) -> Vec<&Route> {
        let mut found = Vec::new();
        self.collect(labels, &mut found);
        found
    }

    fn collect<'a>(&'a self, labels: &Labels, found: &mut Vec<&'a Route>) {
        let before = found.len();
        for child in self.routes.iter().filter(|child| child.matchers.matches(labels)) {
            child.collect(labels, found);
            if !child.continues {
                break;
            }
        }
        if found.len() == before {
            found.push(self);
        }
    }

    /// The node and all below it, depth first.
    pub fn walk(&self) -> Vec<&Route> {
        std::iter::once(self).chain(self.routes.iter().flat_map(Route::walk)).collect()
    }

    /// The labels of the group into which an alert falls.
    pub fn group_labels(&self, labels: &Labels) -> Labels {
        match &self.group_by {
            GroupBy::All => labels.clone(),
            GroupBy::Labels(names) => names.iter().map(|name| (name, labels.get(name))).collect(),
        }
    }

    /// The identity of a group of this route, as Alertmanager writes it: the matchers that lead here, then the labels.
    pub fn group_key(&self, group_labels: &Labels) -> String {
        let labels: Vec<String> = group_labels.iter().map(|(name, value)| format!("{name}={}", quote(value))).collect();
        format!("{}:{{{}}}", self.key, labels.join(", "))
    }
}

impl Default for Route {
    /// A root that tells nobody.
    fn default() -> Route {
        Route {
            key: "{}".to_owned(),
            matchers: Matchers::default(),
            continues: false,
            receiver: "none".to_owned(),
            group_by: GroupBy::Labels(vec!["alertname".to_owned()]),
            group_wait: Span::ZERO,
            group_interval: Span::secs(300),
            repeat_interval: Span::secs(4 * 3_600),
            mute_time_intervals: Vec::new(),
            active_time_intervals: Vec::new(),
            escalation: Vec::new(),
            routes: Vec::new(),
        }
    }
}

/// The keys of the matchers of a route: as they are written today, and the two deprecated ways.
const MATCHER_KEYS: [&str; 3] = ["matchers", "match", "match_re"];

/// Reads matchers under three keys: a list (or one) of texts, a map of labels to values, and one to regular expressions.
/// None where any is at fault.
pub(super) fn matchers(fields: &mut Fields<'_>, faults: &mut Faults, keys: [&'static str; 3]) -> Option<Matchers> {
    let ([key, equal, regex], before) = (keys, faults.0.len());
    let texts = yaml::list(yaml::TEXT.then(|text| Matchers::parse(&text)));
    let mut all: Vec<Matcher> = fields.optional(key, faults, texts).into_iter().flatten().flat_map(|list| list.0).collect();
    for (key, op) in [(equal, Op::Equal), (regex, Op::Match)] {
        for (name, value) in fields.entries(key, faults, || yaml::TEXT.schema()) {
            if !is_label_name(name.key_name()) {
                faults.error("bad-value", name, format!("{key}: `{}` is no name of a label", name.key_name()));
                continue;
            }
            let matcher = |text: String| match op {
                // So Alertmanager keeps it, and so it stands in the group's key.
                Op::Match => Matcher::new(name.key_name(), op, text.clone())
                    .and_then(|_| Matcher::new(name.key_name(), op, format!("^(?:{text})$"))),
                _ => Matcher::new(name.key_name(), op, text),
            };
            all.extend(yaml::TEXT.then(matcher).read(key, value, faults));
        }
    }
    (faults.0.len() == before).then(|| Matchers(all).sorted())
}

/// Reads a route under another.
fn child(fields: &mut Fields<'_>, faults: &mut Faults, scope: &Scope<'_>, parent: &Route) -> Option<Route> {
    let matchers = matchers(fields, faults, MATCHER_KEYS);
    let route = read(fields, faults, scope, matchers.clone().unwrap_or_default(), parent);
    matchers.and(route)
}

/// Reads what routes at all places have, and the routes below; none where it is at fault.
fn read(fields: &mut Fields<'_>, faults: &mut Faults, scope: &Scope<'_>, matchers: Matchers, parent: &Route) -> Option<Route> {
    let written = fields.optional("receiver", faults, yaml::TEXT);
    let known = written.as_ref().is_none_or(|name| is_receiver(name, fields.node.at("receiver"), faults, scope));
    let labels = |name| group_label(name, scope.semantics);
    let group_by = fields.optional("group_by", faults, yaml::list(yaml::TEXT.then(labels)).then(group_by));
    let [wait, interval, repeat] = TIMERS;
    let group_wait = fields.optional(wait, faults, yaml::SPAN).unwrap_or(parent.group_wait);
    let group_interval = fields.optional(interval, faults, yaml::POSITIVE_SPAN).unwrap_or(parent.group_interval);
    let repeat_interval = fields.optional(repeat, faults, yaml::POSITIVE_SPAN).unwrap_or(parent.repeat_interval);
    let continues = fields.optional("continue", faults, yaml::BOOLEAN).unwrap_or(false);
    let [mute_time_intervals, active_time_intervals] =
        ["mute_time_intervals", "active_time_intervals"].map(|key| intervals(key, fields, faults, scope));
    let is_root = parent.receiver.is_empty();
    // Below the root an empty list is none.
    let group_by = group_by.filter(|by| is_root || *by != GroupBy::Labels(Vec::new()));
    let mut route = Route {
        key: if is_root { "{}".to_owned() } else { format!("{}/{matchers}", parent.key) },
        matchers,
        continues,
        receiver: written.unwrap_or_else(|| parent.receiver.clone()),
        group_by: group_by.unwrap_or_else(|| parent.group_by.clone()),
        group_wait,
        group_interval,
        repeat_interval,
        mute_time_intervals,
        active_time_intervals,
        escalation: Vec::new(),
        routes: Vec::new(),
    };
    route.escalation = escalation(fields, faults, scope, &route.receiver).unwrap_or_else(|| {
        let inherited = parent.escalation.iter().filter(|step| step.receiver != route.receiver);
        inherited.cloned().collect()
    });
    slow_repeats(fields, faults, &route);
    route.routes = routes(fields, faults, scope, &route);
    known.then_some(route)
}

const TIMERS: [&str; 3] = ["group_wait", "group_interval", "repeat_interval"];

fn is_receiver(name: &str, place: &Node, faults: &mut Faults, scope: &Scope<'_>) -> bool {
    if scope.receivers.iter().any(|known| known == name) {
        return true;
    }
    let known = scope.receivers.iter().map(String::as_str);
    let help = match nearest(name, known) {
        Some(known) => format!("did you mean `{known}`?"),
        None if scope.receivers.is_empty() => "there are no receivers; add one under `receivers:`".to_owned(),
        None => format!("the receivers are: {}", scope.receivers.join(", ")),
    };
    faults.error_help("unknown-receiver", place, format!("there is no receiver `{name}`"), help);
    false
}

/// Reads the names of time intervals under a key.
fn intervals(key: &'static str, fields: &mut Fields<'_>, faults: &mut Faults, scope: &Scope<'_>) -> Vec<String> {
    let names = fields.optional(key, faults, yaml::list(yaml::TEXT)).unwrap_or_default();
    let items = fields.node(key).map_or(&[][..], Node::items);
    for (name, place) in names.iter().zip(items) {
        if scope.time_intervals.names().all(|known| known != name) {
            let help = match nearest(name, scope.time_intervals.names()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => "name one of `time_intervals`".to_owned(),
            };
            faults.error_help("unknown-interval", place, format!("there is no time interval `{name}`"), help);
        }
    }
    names
}

/// Reads the steps of an escalation; none where the route does not say.
fn escalation(fields: &mut Fields<'_>, faults: &mut Faults, scope: &Scope<'_>, told: &str) -> Option<Vec<Escalation>> {
    let mut steps: Vec<Escalation> = Vec::new();
    fields.each("escalation", faults, |fields, faults| {
        let after = fields.required("after", faults, yaml::POSITIVE_SPAN);
        let receiver = fields.required("receiver", faults, yaml::TEXT);
        let (after, receiver) = (after?, receiver?);
        let place = fields.node;
        if !is_receiver(&receiver, place.at("receiver"), faults, scope) {
            return None;
        }
        if receiver == told || steps.iter().any(|step| step.receiver == receiver) {
            let message = format!("`{receiver}` is told already when this step comes");
            faults.error_help("told-already", place.at("receiver"), message, "name another receiver, or leave the step out");
        }
        if steps.last().is_some_and(|last| last.after >= after) {
            let message = "the steps of an escalation come one after the other";
            faults.error_help(
                "bad-order",
                place.at("after"),
                message,
                "`after` counts from the first notification, not from the step before",
            );
        }
        steps.push(Escalation { after, receiver });
        Some(())
    });
    let node = fields.node("escalation")?;
    if scope.semantics == Semantics::Alertmanager {
        let help = "leave it out, or set `compatibility: modelwatch`";
        faults.error_help("ours-alone", node, "Alertmanager knows no `escalation`, and its semantics were asked for", help);
    }
    Some(steps)
}

/// Warns of a `repeat_interval` that the `group_interval` slows down, once where either is written.
fn slow_repeats(fields: &mut Fields<'_>, faults: &mut Faults, route: &Route) {
    let [_, interval, repeat] = TIMERS;
    let Some(place) = fields.node(repeat).or(fields.node(interval)) else { return };
    if route.repeat_interval < route.group_interval {
        let (repeat, interval) = (route.repeat_interval, route.group_interval);
        let message = format!("repeat_interval {repeat} is shorter than group_interval {interval}");
        let help = format!("a group is looked at every {interval}, so it repeats no sooner; shorten `group_interval`");
        faults.0.push(Diagnostic::warning("slow-repeat", &place.place, message).help(help));
    }
}

/// Reads the routes below one, and warns of those that no alert reaches.
fn routes(fields: &mut Fields<'_>, faults: &mut Faults, scope: &Scope<'_>, parent: &Route) -> Vec<Route> {
    // A schema of routes below routes would have no end.
    let Some(node) = fields.node_as("routes", || json!({ "type": "array", "items": { "$ref": "#/$defs/route" } })) else {
        return Vec::new();
    };
    let Value::List(items) = &node.value else {
        let message = format!("routes: expected a list, found {}", node.kind());
        faults.error_help("wrong-type", node, message, "each item of a list begins with `- `");
        return Vec::new();
    };
    let mut routes: Vec<Route> = Vec::new();
    for item in items {
        let route = item.map(faults, |fields, faults| child(fields, faults, scope, parent));
        let Some(route) = route else { continue };
        let takes_all = |before: &&Route| !before.continues && before.matchers.0.iter().all(|m| route.matchers.0.contains(m));
        if let Some(before) = routes.iter().find(takes_all) {
            let what = if before.matchers.0.is_empty() { "every alert".to_owned() } else { before.matchers.to_string() };
            let message = format!("no alert gets here: a route before it takes {what}");
            let help = "put this route before that one, or give that one `continue: true`";
            faults.0.push(Diagnostic::warning("unreachable-route", &item.place, message).help(help));
        }
        routes.push(route);
    }
    routes
}

fn group_label(name: String, semantics: Semantics) -> Result<String, String> {
    // Alerts that others post may have labels in UTF-8.
    let is_other = semantics == Semantics::Alertmanager && !name.is_empty();
    if name == "..." || is_other || is_label_name(&name) { Ok(name) } else { Err(format!("`{name}` is no name of a label")) }
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
mod tests;
