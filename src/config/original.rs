//! The configuration in Alertmanager's words: what its API calls `config.original`.
//!
//! amtool reads it strictly, so it holds nothing that Alertmanager 0.25 does not know: neither sources nor rules, no
//! escalation, no kinds of receivers of ours. Where our defaults are others than Alertmanager's they are written out, so that
//! `amtool config routes test` says what happens here. Of receivers only what anybody may see: secrets are `<secret>`,
//! URLs with one keep their host.

use serde_json::Value as Json;

use super::receivers::Receiver;
use crate::labels::Matchers;
use crate::notify::{self, Globals};
use crate::route::{GroupBy, InhibitRule, Route, Routing};
use crate::secret::Secret;
use crate::yaml::{Node, Value};

/// YAML that is to be written, its keys in an order for people.
enum Yaml {
    Text(String),
    /// A number or the like, as it was written.
    Plain(String),
    List(Vec<Yaml>),
    Map(Vec<(String, Yaml)>),
}

const SECRET: &str = "<secret>";

/// Keys of receivers that may be seen, by kind, and the one that is secret and that Alertmanager demands.
const KINDS: &[(&str, &str, &str, &[&str])] = &[
    (
        "slack_configs",
        "slack",
        "api_url",
        &["channel", "username", "color", "title", "title_link", "pretext", "text", "fallback"],
    ),
    ("pagerduty_configs", "pagerduty", "routing_key", &["severity", "class", "component", "group", "client", "description"]),
    ("webhook_configs", "webhook", "url", &["max_alerts"]),
    ("email_configs", "email", "to", &["from", "smarthost", "hello", "require_tls", "auth_username", "auth_identity"]),
    ("discord_configs", "discord", "webhook_url", &["title", "message"]),
];

/// All of it, as a text.
pub(super) fn render(routing: &Routing, globals: &Globals, receivers: &[Receiver<'_>]) -> String {
    let mut all = vec![("global", global(globals)), ("route", route(&routing.root, None))];
    let list = |items: Vec<Yaml>| (!items.is_empty()).then_some(Yaml::List(items));
    let rules = list(routing.inhibit_rules.iter().map(inhibit_rule).collect());
    all.extend(rules.map(|rules| ("inhibit_rules", rules)));
    let mut told: Vec<Yaml> = receivers.iter().map(|written| receiver(written, globals)).collect();
    if receivers.is_empty() {
        told.push(map([("name", text(&routing.root.receiver))]));
    }
    all.push(("receivers", Yaml::List(told)));
    all.push(("templates", Yaml::List(Vec::new())));
    let interval = |(name, interval): (&str, &crate::calendar::TimeInterval)| {
        map([("name", text(name)), ("time_intervals", from_json(interval.to_alertmanager()))])
    };
    let intervals = list(routing.time_intervals.iter().map(interval).collect());
    all.extend(intervals.map(|intervals| ("time_intervals", intervals)));
    let mut out = String::new();
    map(all).write(0, &mut out);
    out
}

fn text(text: impl ToString) -> Yaml {
    Yaml::Text(text.to_string())
}

fn flag(is: bool) -> Yaml {
    Yaml::Plain(is.to_string())
}

fn texts(names: &[String]) -> Yaml {
    Yaml::List(names.iter().map(text).collect())
}

fn map<'a>(pairs: impl IntoIterator<Item = (&'a str, Yaml)>) -> Yaml {
    Yaml::Map(pairs.into_iter().map(|(key, value)| (key.to_owned(), value)).collect())
}

fn matchers(matchers: &Matchers) -> Yaml {
    Yaml::List(matchers.0.iter().map(text).collect())
}

fn global(globals: &Globals) -> Yaml {
    let smtp = &globals.smtp;
    let shown = [
        ("smtp_from", smtp.from.clone()),
        ("smtp_hello", smtp.hello.clone()),
        ("smtp_smarthost", smtp.smarthost.as_ref().map(|(host, port)| format!("{host}:{port}"))),
        ("smtp_auth_username", smtp.auth_username.clone()),
        ("smtp_auth_identity", smtp.auth_identity.clone()),
    ];
    let mut pairs = vec![("resolve_timeout", text(globals.resolve_timeout))];
    pairs.extend(shown.into_iter().filter_map(|(key, value)| Some((key, text(value?)))));
    pairs.extend(smtp.auth_password.is_some().then(|| ("smtp_auth_password", text(SECRET))));
    pairs.extend(smtp.require_tls.map(|required| ("smtp_require_tls", flag(required))));
    pairs.extend(globals.slack_api_url.is_some().then(|| ("slack_api_url", text(SECRET))));
    map(pairs)
}

/// What a route says that the one above it does not.
fn route(route: &Route, above: Option<&Route>) -> Yaml {
    let mut pairs = Vec::new();
    if above.is_none_or(|above| above.receiver != route.receiver) {
        pairs.push(("receiver", text(&route.receiver)));
    }
    if above.is_none_or(|above| above.group_by != route.group_by) {
        pairs.push((
            "group_by",
            match &route.group_by {
                GroupBy::All => texts(&["...".to_owned()]),
                GroupBy::Labels(names) => texts(names),
            },
        ));
    }
    if above.is_some() {
        pairs.push(("matchers", matchers(&route.matchers)));
    }
    let intervals =
        [("mute_time_intervals", &route.mute_time_intervals), ("active_time_intervals", &route.active_time_intervals)];
    pairs.extend(intervals.into_iter().filter(|(_, names)| !names.is_empty()).map(|(key, names)| (key, texts(names))));
    pairs.extend(route.continues.then_some(("continue", flag(true))));
    let timers = |route: &Route| [route.group_wait, route.group_interval, route.repeat_interval];
    for (i, key) in ["group_wait", "group_interval", "repeat_interval"].into_iter().enumerate() {
        let timer = timers(route)[i];
        if above.is_none_or(|above| timers(above)[i] != timer) {
            pairs.push((key, text(timer)));
        }
    }
    if !route.routes.is_empty() {
        pairs.push(("routes", Yaml::List(route.routes.iter().map(|child| self::route(child, Some(route))).collect())));
    }
    map(pairs)
}

fn inhibit_rule(rule: &InhibitRule) -> Yaml {
    let sides = [("source_matchers", matchers(&rule.source)), ("target_matchers", matchers(&rule.target))];
    map(sides.into_iter().chain((!rule.equal.is_empty()).then(|| ("equal", texts(&rule.equal)))))
}

fn receiver(receiver: &Receiver<'_>, globals: &Globals) -> Yaml {
    let mut pairs = vec![("name", text(&receiver.name))];
    for (key, kind, needed, shown) in KINDS {
        let node = receiver.node.at(key);
        let items = if std::ptr::eq(node, receiver.node) { &[] } else { node.items() };
        let items: Vec<Yaml> = items.iter().filter_map(|item| integration(item, kind, needed, shown, globals)).collect();
        pairs.extend((!items.is_empty()).then_some((*key, Yaml::List(items))));
    }
    map(pairs)
}

fn integration(item: &Node, kind: &str, needed: &str, shown: &[&str], globals: &Globals) -> Option<Yaml> {
    let Value::Map(pairs) = &item.value else { return None };
    let written = |key: &str| pairs.iter().find(|(name, _)| name.key_name() == key).and_then(|(_, value)| scalar(value));
    let send_resolved = written("send_resolved").unwrap_or_else(|| flag(notify::sends_resolved(kind, globals.semantics)));
    let needed_value = match (kind, written(needed)) {
        ("email", Some(to)) => to,
        // Alertmanager took it for no secret, and wants a URL.
        ("webhook", Some(Yaml::Text(url))) => text(without_secrets(&url)),
        ("webhook", _) => text(format!("http://{SECRET}")),
        _ => text(SECRET),
    };
    let mut out = vec![("send_resolved", send_resolved), (needed, needed_value)];
    out.extend(shown.iter().filter_map(|key| Some((*key, written(key)?))));
    Some(map(out))
}

/// A value as it is written, but for variables of the environment, which stand for secrets.
fn scalar(node: &Node) -> Option<Yaml> {
    match &node.value {
        Value::Text(text) if text.contains("${") => Some(Yaml::Text(SECRET.to_owned())),
        Value::Text(text) => Some(Yaml::Text(text.clone())),
        Value::Bool(is) => Some(flag(*is)),
        Value::Number(_) => Some(Yaml::Plain(node.written().to_owned())),
        Value::Null | Value::List(_) | Value::Map(_) => None,
    }
}

/// The scheme and host of a URL.
fn without_secrets(url: &str) -> String {
    let url = Secret::new(url);
    let Some((scheme, rest)) = url.reveal().split_once("://") else { return format!("http://{SECRET}") };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host = authority.rsplit('@').next().unwrap_or_default();
    format!("{scheme}://{host}/{SECRET}")
}

fn from_json(json: Json) -> Yaml {
    match json {
        Json::Array(items) => Yaml::List(items.into_iter().map(from_json).collect()),
        Json::Object(pairs) => Yaml::Map(pairs.into_iter().map(|(key, value)| (key, from_json(value))).collect()),
        Json::Bool(is) => flag(is),
        Json::String(text) => Yaml::Text(text),
        other => Yaml::Text(other.to_string()),
    }
}

impl Yaml {
    /// Writes it in block style, so many columns in, where a line has begun.
    fn write(&self, indent: usize, out: &mut String) {
        let margin = " ".repeat(indent);
        match self {
            Yaml::Text(text) => *out += &quoted(text),
            Yaml::Plain(text) => *out += text,
            Yaml::List(items) if items.is_empty() => *out += "[]",
            Yaml::Map(pairs) if pairs.is_empty() => *out += "{}",
            Yaml::List(items) => {
                for (i, item) in items.iter().enumerate() {
                    let begin = if i == 0 { "" } else { &margin };
                    *out += &format!("{begin}- ");
                    item.write(indent + 2, out);
                    end_line(out);
                }
            }
            Yaml::Map(pairs) => {
                for (i, (key, value)) in pairs.iter().enumerate() {
                    let begin = if i == 0 { "" } else { &margin };
                    *out += &format!("{begin}{}:", quoted(key));
                    let is_block = match value {
                        Yaml::List(items) => !items.is_empty(),
                        Yaml::Map(pairs) => !pairs.is_empty(),
                        Yaml::Text(_) | Yaml::Plain(_) => false,
                    };
                    *out += &if is_block { format!("\n{margin}  ") } else { " ".to_owned() };
                    value.write(indent + 2, out);
                    end_line(out);
                }
            }
        }
    }
}

fn end_line(out: &mut String) {
    if !out.ends_with('\n') {
        out.push('\n');
    }
}

/// A text, in quotes where YAML could take it for something else.
fn quoted(text: &str) -> String {
    let is_word = text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "_-./".contains(c))
        && !["true", "false", "null", "yes", "no", "on", "off", "y", "n"].contains(&text.to_ascii_lowercase().as_str());
    if is_word {
        return text.to_owned();
    }
    // What JSON lets stand and YAML does not.
    let is_odd = |c: &char| matches!(c, '\u{7f}'..='\u{9f}' | '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}');
    let escaped = |c: char| if is_odd(&c) { format!("\\u{:04x}", u32::from(c)) } else { c.to_string() };
    Json::from(text).to_string().chars().map(escaped).collect()
}
