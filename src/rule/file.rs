//! Rule files: groups of rules, what all kinds share, and every fault of all of them.

use std::collections::BTreeSet;

use serde_json::json;

use crate::alert::Policy;
use crate::calendar::{Active, TimeInterval};
use crate::diag::{Place, nearest};
use crate::labels::{Matcher, is_label_name};
use crate::limits::MAX_ALERTS;
use crate::rule::check::{self, Text};
use crate::rule::docs::docs;
use crate::rule::view::Bound;
use crate::rule::{AtFault, KINDS, Kind, KindEntry, Rule, Top};
use crate::source::query::{self, Query};
use crate::template::Template;
use crate::time::Span;
use crate::window::{Need, Selector};
use crate::yaml::{self, Faults, Fields, Node, Read, Value};

/// Every key of a rule file that is not of one kind, with a word on it.
pub(super) const SAMPLE: &str = include_str!("sample.yml");
/// How often a group of rules is evaluated unless it says `interval`.
const DEFAULT_INTERVAL: Span = Span::secs(15);
/// How many contributors are named unless `top` says `limit`.
const DEFAULT_TOP: usize = 5;

/// What the rules of a group share.
#[derive(Debug)]
struct Group {
    interval: Span,
    limit: usize,
    labels: Vec<Text>,
}

/// Reads a rule file: every rule that is right, and every fault of those that are not.
pub fn parse_file(name: &str, text: &str, faults: &mut Faults) -> Vec<Rule> {
    let mut rules = Vec::new();
    let Some(root) = yaml::parse(name, text, faults) else { return rules };
    root.map(faults, |fields, faults| parse_root(fields, &mut rules, faults));
    rules
}

/// The JSON Schema of a rule file; what a key is for is told by the comment beside it in `sample.yml`.
pub fn schema() -> serde_json::Value {
    let mut schema = yaml::schema(|fields, faults| parse_root(fields, &mut Vec::new(), faults));
    if let Some(sample) = yaml::parse("sample.yml", SAMPLE, &mut Faults::default()) {
        sample.explain(&mut schema);
    }
    // The sample has one kind; what all kinds share is told of each.
    if let Some(rule) = schema.pointer_mut("/properties/groups/items/properties/rules/items/properties") {
        let shared =
            ["by", "where", "active", "top"].map(|key| (key, rule["failure_streak"]["properties"][key]["description"].clone()));
        for kind in KINDS {
            shared.iter().for_each(|(key, told)| rule[kind.name]["properties"][*key]["description"] = told.clone());
        }
    }
    schema
}

fn parse_root(fields: &mut Fields<'_>, rules: &mut Vec<Rule>, faults: &mut Faults) -> Option<()> {
    // A file that was cut off is not one without rules.
    if fields.node("groups").is_none() && fields.rest().is_empty() {
        faults.error_help("missing-key", fields.node, "`groups` is missing", "`groups: []` where there are to be no rules");
    }
    fields.constrain(|| json!({ "required": ["groups"] }));
    fields.each("groups", faults, |fields, faults| parse_group(fields, rules, faults));
    Some(())
}

fn parse_group(fields: &mut Fields<'_>, rules: &mut Vec<Rule>, faults: &mut Faults) -> Option<()> {
    let name = fields.required("name", faults, yaml::TEXT).unwrap_or_default();
    let interval = fields.optional("interval", faults, yaml::POSITIVE_SPAN).unwrap_or(DEFAULT_INTERVAL);
    let limit = fields.optional("limit", faults, yaml::WHOLE).filter(|n| *n > 0).map_or(MAX_ALERTS, |n| n as usize);
    let labels = label_texts(fields.node_of("labels", yaml::TEXTS), faults);
    let group = Group { interval, limit, labels };
    for mut rule in fields.each("rules", faults, |fields, faults| parse_rule(fields, &group, faults)) {
        let prefix = format!("{name}/{}", rule.name);
        let same = rules.iter().filter(|known| known.key.starts_with(&prefix) && known.name == rule.name).count();
        rule.key = if same == 0 { prefix } else { format!("{prefix}#{}", same + 1) };
        rules.push(rule);
    }
    Some(())
}

fn parse_rule(fields: &mut Fields<'_>, group: &Group, faults: &mut Faults) -> Option<Rule> {
    let name = fields.required("alert", faults, yaml::TEXT);
    let hold = fields.optional("for", faults, yaml::SPAN).unwrap_or_default();
    let keep_firing_for = fields.optional("keep_firing_for", faults, yaml::SPAN).unwrap_or_default();
    let own = label_texts(fields.node_of("labels", yaml::TEXTS), faults);
    // The rule's own win over the group's.
    let inherited = group.labels.iter().filter(|(name, ..)| own.iter().all(|(known, ..)| known != name));
    let labels: Vec<Text> = inherited.chain(&own).cloned().collect();
    let annotations = texts(fields.node_of("annotations", yaml::TEXTS), faults);
    let selected = parse_kind(fields, faults);
    let Selected { selector, by_places, matcher_places, need_places, active, top, mut kind } = selected?;
    kind.evaluated_each(group.interval);
    let policy = Policy { hold, keep_firing_for, limit: group.limit };
    let plain = |texts: &[Text]| texts.iter().map(|(name, template, ..)| (name.clone(), template.clone())).collect();
    let rule = Rule {
        key: String::new(),
        name: name.unwrap_or_default(),
        selector,
        interval: group.interval,
        policy,
        place: fields.node.place.clone(),
        by_places,
        matcher_places,
        need_places,
        active,
        hours: None,
        kind,
        top,
        labels: plain(&labels),
        annotations: plain(&annotations),
        bound: Bound::default(),
        changed: BTreeSet::new(),
        at: Default::default(),
    };
    check::texts(&rule.name, rule.label_names().as_deref(), &labels, &annotations, faults);
    Some(rule)
}

/// What the options under the key of a kind say.
struct Selected {
    selector: Selector,
    by_places: Vec<Place>,
    matcher_places: Vec<Place>,
    /// Where it says what each of the kind's needs is about.
    need_places: Vec<Place>,
    active: Option<Active>,
    top: Option<Top>,
    kind: Box<dyn Kind>,
}

/// The one key that names a kind, and the options under it that all kinds share.
fn parse_kind(fields: &mut Fields<'_>, faults: &mut Faults) -> Option<Selected> {
    let rule = fields.node;
    let known = KINDS.iter().map(|kind| kind.name).collect::<Vec<_>>();
    fields.exactly_one(&known);
    fields.hint("expr", format!("instead of an expression a rule names its kind: {}", known.join(", ")));
    let found: Vec<&str> = known.iter().copied().filter(|key| fields.node(key).is_some()).collect();
    if found.is_empty() {
        // A mistyped kind is reported as an unknown key, with the kind it is near to.
        let typo = |name: &str| name == "expr" || nearest(name, known.iter().copied()).is_some();
        let typo = fields.rest().iter().any(|(key, _)| typo(key.key_name()));
        if !typo {
            faults.error_help("no-kind", rule, "the rule has no kind", format!("one of {}", known.join(", ")));
        }
    }
    if found.len() > 1 {
        let kinds = found.iter().map(|key| format!("`{key}`")).collect::<Vec<_>>().join(" and ");
        faults.error_help(
            "two-kinds",
            rule,
            format!("a rule has one kind only, and this one has {kinds}"),
            "write a rule for each",
        );
    }
    let mut parsed = None;
    for kind in KINDS {
        parsed = fields.nested(kind.name, faults, |options, faults| parse_options(options, kind, faults)).or(parsed);
    }
    parsed
}

fn parse_options(options: &mut Fields<'_>, entry: &KindEntry, faults: &mut Faults) -> Option<Selected> {
    options.describe(|| docs(entry.name).unwrap_or_default());
    let by = options.optional("by", faults, yaml::list(DIMENSION)).unwrap_or_default();
    let matchers =
        options.optional("where", faults, yaml::list(yaml::TEXT.then(|text| Matcher::parse_strictly(&text)))).unwrap_or_default();
    let active = options.node_as("active", TimeInterval::schema).and_then(|node| Active::parse(node, faults));
    let top = options.nested("top", faults, parse_top);
    let kind = (entry.parse)(options, faults);
    let mut places = |key, n| -> Vec<Place> {
        let items = options.node(key).filter(|_| n > 0).map_or(&[][..], Node::items);
        items.iter().map(|item| item.place.clone()).collect()
    };
    let (mut by_places, matcher_places) = (places("by", by.len()), places("where", matchers.len()));
    // Without its kind it is never used: what was at fault is among the faults.
    let kind = kind.unwrap_or_else(|| Box::new(AtFault));
    let selector = kind.select(Selector { by, matchers, slower_than: None });
    // A dimension that the kind adds is named where the kind is.
    by_places.resize(selector.by.len(), options.node.place.clone());
    if let Some(node) = options.node("top").filter(|_| kind.rank().is_none() && kind.labels().is_some()) {
        faults.error("no-top", node, format!("{} has no contributors to name", entry.name));
    }
    let need_places = kind.needs().iter().map(|need| place_of(need, options.node)).collect();
    Some(Selected { selector, by_places, matcher_places, need_places, active, top, kind })
}

/// Where the options say what a need is about; all of them where they have it in other words.
fn place_of(need: &Need, options: &Node) -> Place {
    let name = match need {
        Need::Measure { name, .. } => Some(name),
        Need::Distinct { dimension, .. } => Some(dimension),
        _ => None,
    };
    let Value::Map(pairs) = &options.value else { return options.place.clone() };
    let named = pairs.iter().find(|(_, value)| matches!(&value.value, Value::Text(text) if Some(text) == name));
    named.map_or(options, |(_, value)| value).place.clone()
}

/// The name of a dimension.
pub(super) const DIMENSION: yaml::Type<String> = yaml::Type::new(dimension, || yaml::TEXT.schema());

fn dimension(node: &Node) -> Result<String, String> {
    let name = yaml::text(node)?;
    if is_label_name(&name) { Ok(name) } else { Err(format!("`{name}` is no dimension")) }
}

/// A SELECT under a key, with its `every` beside it.
pub(super) fn parse_query(key: &'static str, fields: &mut Fields<'_>, faults: &mut Faults) -> Option<Query> {
    let every = fields.optional("every", faults, yaml::POSITIVE_SPAN).unwrap_or(query::EVERY);
    let sql = fields.required(key, faults, yaml::TEXT.then(|sql| query::one_statement(&sql)));
    let place = fields.node(key)?.place.clone();
    Some(Query { sql: sql?, place, every })
}

/// For what does not group its verdicts: that it has no `by`.
pub(super) fn refuse_by(fields: &mut Fields<'_>, help: &str, faults: &mut Faults) {
    if let Some(by) = fields.node("by") {
        faults.error_help("no-groups", by, "there is nothing to group here", help);
    }
}

/// For what looks at no events: that `where` is about sources alone.
pub(super) fn refuse_where(fields: &mut Fields<'_>, faults: &mut Faults) {
    let Some(matchers) = fields.node("where") else { return };
    for item in matchers.items() {
        let matcher = yaml::text(item).and_then(|text| Matcher::parse_strictly(&text));
        if matcher.is_ok_and(|matcher| matcher.name != "source") {
            let help = "`where: ['source=\"app\"']` chooses the sources that are asked; other conditions belong into the SQL";
            faults.error_help("no-events", item, "this looks at no events", help);
        }
    }
}

/// `top: {by: capability, limit: 5}`
fn parse_top(fields: &mut Fields<'_>, faults: &mut Faults) -> Option<Top> {
    let by = fields.required("by", faults, DIMENSION);
    let limit = fields.optional("limit", faults, yaml::WHOLE).map_or(DEFAULT_TOP, |n| n.clamp(1, 50) as usize);
    let place = fields.node("by").unwrap_or(fields.node).place.clone();
    Some(Top { by: by?, limit, place })
}

/// Texts that become labels of an alert.
fn label_texts(node: Option<&Node>, faults: &mut Faults) -> Vec<Text> {
    let texts = texts(node, faults);
    for (label, _, place, _) in &texts {
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
    texts
}

fn texts(node: Option<&Node>, faults: &mut Faults) -> Vec<Text> {
    let Some(node) = node else { return Vec::new() };
    let Value::Map(pairs) = &node.value else {
        faults.error("wrong-type", node, format!("expected a map of names to texts, found {}", node.kind()));
        return Vec::new();
    };
    let mut texts = Vec::new();
    for (key, value) in pairs {
        match yaml::text(value).and_then(|text| Template::parse(&text)) {
            Ok(template) => texts.push((key.key_name().to_owned(), template, key.place.clone(), value.place.clone())),
            Err(message) => faults.error("bad-template", value, format!("{}: {message}", key.key_name())),
        }
    }
    texts
}
