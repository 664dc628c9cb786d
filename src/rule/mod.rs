//! Rules that teams keep in YAML: what all of them share, and THE list of kinds.
//!
//! Files look like Prometheus rule files; where Prometheus has `expr`, a rule names its kind as a key. A kind is one file
//! here and its line in [`KINDS`]: it parses its options, says which windows it needs, and gives its verdicts on them.

mod cost_anomaly;
mod error_spike;
mod failure_streak;

use std::collections::BTreeSet;
use std::fmt;

use crate::alert::{Finding, Policy};
use crate::diag::{Place, nearest};
use crate::labels::{Labels, Matcher, is_label_name};
use crate::limits::MAX_ALERTS;
use crate::template::Template;
use crate::time::{Span, Time};
use crate::window::{Group, Handle, Need, RunState, Selector, Sums, Windows};
use crate::yaml::{self, Faults, Fields, Node, Value};

/// Reads the options of a kind.
type Parse = fn(&mut Fields<'_>, &mut Faults) -> Option<Box<dyn Kind>>;

/// Every kind by its key.
pub const KINDS: &[(&str, Parse)] =
    &[("cost_anomaly", cost_anomaly::parse), ("error_spike", error_spike::parse), ("failure_streak", failure_streak::parse)];

/// How often a group of rules is evaluated unless it says `interval`.
const DEFAULT_INTERVAL: Span = Span::secs(15);

/// What a kind of rule does.
pub trait Kind: fmt::Debug + Send + Sync {
    /// The windows it reads; their handles come back in this order.
    fn needs(&self) -> Vec<Need>;
    /// The groups where it is broken.
    fn verdicts(&self, view: &View<'_>) -> Vec<Verdict>;
}

/// That a rule is broken for a group.
#[derive(Clone, Debug, PartialEq)]
pub struct Verdict {
    /// The group's number.
    pub group: Group,
    /// What was measured.
    pub value: f64,
    /// What was compared with what.
    pub evidence: String,
}

/// What a kind sees at one instant.
#[derive(Debug)]
pub struct View<'a> {
    /// The instant.
    pub at: Time,
    windows: &'a Windows,
    handles: &'a [Handle],
}

impl View<'_> {
    /// Sums of every group over the window of a need.
    pub fn sums(&self, need: usize) -> &[Sums] {
        self.windows.sums(self.handles[need])
    }

    /// The end of the window of a need.
    pub fn edge(&self, need: usize) -> Time {
        self.windows.edge(self.handles[need])
    }

    /// How many groups there are.
    pub fn groups(&self) -> usize {
        self.handles.first().map_or(0, |handle| self.windows.groups(*handle))
    }

    /// Time of the oldest call of a group.
    pub fn first(&self, group: Group) -> Time {
        self.windows.first(self.handles[0], group)
    }

    /// The run of failures of a group.
    pub fn run(&self, group: Group) -> RunState {
        self.windows.run(self.handles[0], group, self.at)
    }
}

/// One rule.
#[derive(Debug)]
pub struct Rule {
    /// Group and name; stays the same over reloads.
    pub key: String,
    /// `alert`
    pub name: String,
    /// Which events and groups.
    pub selector: Selector,
    /// How often its group is evaluated.
    pub interval: Span,
    /// How its alerts live.
    pub policy: Policy,
    /// Where it stands.
    pub place: Place,
    /// Where each dimension of the selector stands.
    places: Vec<Place>,
    kind: Box<dyn Kind>,
    labels: Vec<(String, Template)>,
    annotations: Vec<(String, Template)>,
    handles: Vec<Handle>,
}

impl Rule {
    /// The dimensions that it looks at, each with where it is named.
    pub fn dimensions(&self) -> impl Iterator<Item = (&str, &Place)> {
        self.selector.dimensions().zip(&self.places)
    }

    /// What it needs of its selection.
    pub fn needs(&self) -> Vec<Need> {
        self.kind.needs()
    }

    /// Finds the windows that were made for its needs.
    pub fn bind(&mut self, windows: &mut Windows) {
        let nothing_new = BTreeSet::new();
        self.handles =
            self.needs().into_iter().map(|need| windows.need(&self.selector, need, self.interval, &nothing_new)).collect();
    }

    /// Whether its windows hold all that the databases have.
    pub fn is_complete(&self, windows: &Windows) -> bool {
        self.handles.iter().all(|handle| windows.is_complete(*handle))
    }

    /// The pool that it reads.
    pub fn pool(&self, windows: &Windows) -> Option<usize> {
        self.handles.first().map(|handle| windows.pool(*handle))
    }

    /// What it finds at an instant.
    pub fn findings(&self, windows: &mut Windows, at: Time) -> Vec<Finding> {
        self.handles.iter().for_each(|handle| windows.seek(*handle, at));
        let view = View { at, windows, handles: &self.handles };
        self.kind.verdicts(&view).into_iter().map(|verdict| self.finding(&view, verdict)).collect()
    }

    fn finding(&self, view: &View<'_>, verdict: Verdict) -> Finding {
        let group = view.windows.labels(self.handles[0], verdict.group);
        let mut labels = group.clone();
        for (name, template) in &self.labels {
            labels.set(name.as_str(), template.render_or_explain(&group, verdict.value));
        }
        labels.set("alertname", self.name.as_str());
        let texts =
            self.annotations.iter().map(|(name, template)| (name.clone(), template.render_or_explain(&labels, verdict.value)));
        Finding { annotations: texts.collect(), labels, value: verdict.value, evidence: verdict.evidence }
    }

    /// Renders every template against a made-up alert, so that most faults never get as far as a page.
    fn check_templates(&self, places: &[(Place, Place)], faults: &mut Faults) {
        let mut sample: Labels = self.selector.by.iter().map(|name| (name.as_str(), "sample")).collect();
        sample.set("alertname", self.name.as_str());
        for ((name, template), (_, place)) in self.labels.iter().chain(&self.annotations).zip(places) {
            if let Err(message) = template.render(&sample, 1.5) {
                faults.at(
                    "bad-template",
                    place,
                    format!("{name}: {message}"),
                    "labels are `{{ $labels.model }}`, the value is `{{ $value }}`",
                );
            }
        }
    }
}

/// Reads a rule file: every rule that is right, and every fault of those that are not.
pub fn parse_file(name: &str, text: &str, faults: &mut Faults) -> Vec<Rule> {
    let mut rules = Vec::new();
    let Some(root) = yaml::parse(name, text, faults) else { return rules };
    let Some(mut fields) = root.fields(faults) else { return rules };
    for group in items(&mut fields, "groups", faults) {
        parse_group(group, &mut rules, faults);
    }
    fields.finish(faults);
    rules
}

fn items<'a>(fields: &mut Fields<'a>, key: &'static str, faults: &mut Faults) -> &'a [Node] {
    match fields.node(key).map(|node| (node, &node.value)) {
        Some((_, Value::List(items))) => items,
        Some((node, _)) => {
            faults.error("wrong-type", node, format!("{key}: expected a list, found {}", node.kind()));
            &[]
        }
        None => &[],
    }
}

fn parse_group(node: &Node, rules: &mut Vec<Rule>, faults: &mut Faults) {
    let Some(mut fields) = node.fields(faults) else { return };
    let name = fields.required("name", faults, yaml::text).unwrap_or_default();
    let interval = fields.optional("interval", faults, yaml::positive_span).unwrap_or(DEFAULT_INTERVAL);
    let limit = fields.optional("limit", faults, yaml::whole).filter(|n| *n > 0).map_or(MAX_ALERTS, |n| n as usize);
    for rule in items(&mut fields, "rules", faults) {
        if let Some(mut rule) = parse_rule(rule, interval, limit, faults) {
            let prefix = format!("{name}/{}", rule.name);
            let same = rules.iter().filter(|known| known.key.starts_with(&prefix) && known.name == rule.name).count();
            rule.key = if same == 0 { prefix } else { format!("{prefix}#{}", same + 1) };
            rules.push(rule);
        }
    }
    fields.finish(faults);
}

fn parse_rule(node: &Node, interval: Span, limit: usize, faults: &mut Faults) -> Option<Rule> {
    let mut fields = node.fields(faults)?;
    let name = fields.required("alert", faults, yaml::text);
    let hold = fields.optional("for", faults, yaml::span).unwrap_or_default();
    let keep_firing_for = fields.optional("keep_firing_for", faults, yaml::span).unwrap_or_default();
    let mut places = Vec::new();
    let labels = templates(fields.node("labels"), &mut places, faults);
    let annotations = templates(fields.node("annotations"), &mut places, faults);
    for (label, (place, _)) in labels.iter().map(|(label, _)| label).zip(&places) {
        let ours = label == "alertname" || label == "alertstate" || label.starts_with("__");
        if ours || !is_label_name(label) {
            faults.at(
                "bad-label",
                place,
                format!("`{label}` cannot be the label of an alert"),
                "letters, digits, underscores; `alertname`, `alertstate` and what begins with `__` are set already",
            );
        }
    }
    let kind = parse_kind(&mut fields, faults);
    fields.finish(faults);
    let (selector, dimension_places, kind) = kind?;
    let policy = Policy { hold, keep_firing_for, limit };
    let rule = Rule {
        key: String::new(),
        name: name?,
        selector,
        interval,
        policy,
        place: node.place.clone(),
        places: dimension_places,
        kind,
        labels,
        annotations,
        handles: Vec::new(),
    };
    rule.check_templates(&places, faults);
    Some(rule)
}

/// What a rule reads, where each of its dimensions is named, and what it does.
type Selected = (Selector, Vec<Place>, Box<dyn Kind>);

/// The one key that names a kind, and the options under it that all kinds share.
fn parse_kind(fields: &mut Fields<'_>, faults: &mut Faults) -> Option<Selected> {
    let rule = fields.node;
    let known = || KINDS.iter().map(|(key, _)| *key).collect::<Vec<_>>().join(", ");
    let found: Vec<(&Node, &str, Parse)> =
        KINDS.iter().filter_map(|(key, parse)| Some((fields.node(key)?, *key, *parse))).collect();
    if found.is_empty() {
        // A mistyped kind is reported as an unknown key, with the kind it is near to.
        let typo = fields.rest().iter().any(|(key, _)| nearest(key.key_name(), KINDS.iter().map(|(key, _)| *key)).is_some());
        if !typo {
            faults.error_help("no-kind", rule, "the rule has no kind", format!("one of {}", known()));
        }
        return None;
    }
    if found.len() > 1 {
        let kinds = found.iter().map(|(_, key, _)| format!("`{key}`")).collect::<Vec<_>>().join(" and ");
        faults.error_help(
            "two-kinds",
            rule,
            format!("a rule has one kind only, and this one has {kinds}"),
            "write a rule for each",
        );
    }
    let mut parsed = None;
    for (options, _, parse) in found {
        parsed = parse_options(options, parse, faults);
    }
    parsed
}

fn parse_options(options: &Node, parse: Parse, faults: &mut Faults) -> Option<Selected> {
    let mut options = options.fields(faults)?;
    let by = options.optional("by", faults, yaml::list(label)).unwrap_or_default();
    let matchers = options.optional("where", faults, yaml::list(|node| Matcher::parse(&yaml::text(node)?))).unwrap_or_default();
    let kind = parse(&mut options, faults);
    let named = [("by", by.len()), ("where", matchers.len())].map(|(key, n)| options.node(key).filter(|_| n > 0));
    let places = named.into_iter().flatten().flat_map(Node::items).map(|item| item.place.clone()).collect();
    options.finish(faults);
    Some((Selector { by, matchers }, places, kind?))
}

fn label(node: &Node) -> Result<String, String> {
    let name = yaml::text(node)?;
    if is_label_name(&name) { Ok(name) } else { Err(format!("`{name}` is no dimension")) }
}

/// Names with their templates; `places` gets where each name and each template stands.
fn templates(node: Option<&Node>, places: &mut Vec<(Place, Place)>, faults: &mut Faults) -> Vec<(String, Template)> {
    let Some(node) = node else { return Vec::new() };
    let Value::Map(pairs) = &node.value else {
        faults.error("wrong-type", node, format!("expected a map of names to texts, found {}", node.kind()));
        return Vec::new();
    };
    let mut templates = Vec::new();
    for (key, value) in pairs {
        match yaml::text(value).and_then(|text| Template::parse(&text)) {
            Ok(template) => {
                templates.push((key.key_name().to_owned(), template));
                places.push((key.place.clone(), value.place.clone()));
            }
            Err(message) => faults.error("bad-template", value, format!("{}: {message}", key.key_name())),
        }
    }
    templates
}

#[cfg(test)]
mod tests;
