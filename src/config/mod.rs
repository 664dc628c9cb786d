//! The whole configuration: one file, the rule files that it names, and every fault of all of them at once.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::json;

use crate::calendar::TimeIntervals;
use crate::diag::{Diagnostic, Severity};
use crate::labels::is_label_name;
use crate::limits::MAX_SERIES;
use crate::message::Templates;
use crate::notify::{Globals, Integration};
use crate::route::{Endpoint, InhibitRule, Route, Routing, Scope, Semantics};
use crate::rule::Rule;
use crate::secret::Secret;
use crate::source::{Database, Kind, Mapping, Wanted};
use crate::time::Span;
use crate::window::Table;
use crate::yaml::{self, Faults, Fields, Node, Value};

mod files;
mod original;
mod receivers;
mod rules;

pub use files::Content;
use receivers::Receiver;
pub use rules::{is_test_file, read_rules};

/// Every key with its default and a word on it.
pub const SAMPLE: &str = include_str!("default.yml");

/// The dimensions that series on /metrics have.
const DEFAULT_DIMENSIONS: [&str; 4] = ["provider", "model", "operation", "service"];

/// Where HTTP is served where nothing is said: nobody but this machine can connect.
const DEFAULT_LISTEN: ([u8; 4], u16) = ([127, 0, 0, 1], 9464);

/// A configuration that can be run.
#[derive(Debug)]
pub struct Config {
    /// Where HTTP is served.
    pub listen: SocketAddr,
    /// Our own state.
    pub state: PathBuf,
    /// Whether it is read again when its files change.
    pub watch: bool,
    /// What its files held just before they were read.
    pub content: Content,
    /// How people reach this process, for links.
    pub external_url: String,
    /// Who may do what: a file in the format of the Prometheus exporter toolkit, read by `api`.
    pub web_config_file: Option<PathBuf>,
    /// Databases that are read.
    pub sources: Vec<Source>,
    /// Dimensions that series on /metrics have.
    pub dimensions: Vec<String>,
    /// Series a table may have.
    pub max_series: usize,
    /// What is evaluated.
    pub rules: Vec<Rule>,
    /// Who is told; nobody where it has no `route`.
    pub routing: Routing,
    /// How long an alert fires that was posted without its end.
    pub resolve_timeout: Span,
    /// The ways to reach each receiver.
    pub receivers: BTreeMap<String, Vec<Integration>>,
    /// What of it Alertmanager has words for, as YAML without secrets.
    pub original: String,
}

/// A database that is read.
#[derive(Clone, Debug)]
pub struct Source {
    /// The label `source`.
    pub name: String,
    /// Where it is and who we are there.
    pub url: Secret,
    /// How often it is read.
    pub poll: Span,
    /// What is read there.
    pub tables: Vec<Arc<Mapping>>,
}

impl Source {
    /// After how long without a successful poll the rules over it are frozen.
    pub fn stale_after(&self) -> Span {
        Span(self.poll.0 * 3).max(Span::secs(60))
    }

    /// The longest time that one of our statements may take.
    pub fn statement_timeout(&self) -> Span {
        self.tables.iter().map(|table| table.statement_timeout).max().unwrap_or(Span::secs(30))
    }

    /// Whether records of errors are read there.
    pub fn has_error_table(&self) -> bool {
        self.tables.iter().any(|table| table.kind == Kind::Errors)
    }
}

impl Config {
    /// What must be read: the dimensions that are exported, and what rules look at.
    pub fn wanted(&self) -> Wanted {
        let mut wanted = wanted_by(&self.rules);
        wanted.dimensions.extend(self.dimensions.iter().map(String::as_str).chain(["error_type"]).map(str::to_owned));
        wanted
    }

    /// The tables as windows know them, source by source, where so much is read of them.
    pub fn tables(&self, wanted: &Wanted) -> Vec<Table> {
        let tables = |source: &Source| {
            let table = |mapping: &Arc<Mapping>| Table {
                source: source.name.clone(),
                name: mapping.name.clone(),
                kind: mapping.kind,
                dimensions: mapping.wanted_dimensions(wanted).map(|dimension| dimension.name.clone()).collect(),
                measures: mapping.wanted_measures(wanted).map(|measure| measure.name.clone()).collect(),
                marks: mapping.wanted_marks(wanted).map(|mark| mark.name.clone()).collect(),
                failures_are_errors: mapping.kind == Kind::Usage && !source.has_error_table(),
            };
            source.tables.iter().map(table).collect::<Vec<_>>()
        };
        self.sources.iter().flat_map(tables).collect()
    }

    /// The longest lateness of any table.
    pub fn lateness(&self) -> Span {
        self.sources.iter().flat_map(|source| &source.tables).map(|table| table.lateness).max().unwrap_or(Span::secs(900))
    }
}

/// What must be read for rules alone.
pub fn wanted_by<'a>(rules: impl IntoIterator<Item = &'a Rule>) -> Wanted {
    let mut wanted = Wanted::default();
    for rule in rules {
        wanted.dimensions.extend(rule.dimensions().map(|(name, _)| name.to_owned()));
        wanted.measures.extend(rule.measures().map(|(name, _)| name));
        wanted.marks.extend(rule.marks().map(|(name, _)| name));
    }
    wanted
}

/// Reads a configuration and its rule files; none where there is an error among the faults.
pub fn load(path: &Path) -> (Option<Config>, Vec<Diagnostic>) {
    load_with(path, None)
}

/// The same with `rules` instead of the rule files that it names, where they are given.
pub fn load_with(path: &Path, rules: Option<&[PathBuf]>) -> (Option<Config>, Vec<Diagnostic>) {
    let mut faults = Faults::default();
    let content = Content::of(path);
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) => return (None, vec![Diagnostic::nowhere("unreadable", format!("cannot read {}: {error}", path.display()))]),
    };
    let config = parse(&path.display().to_string(), &text, path.parent().unwrap_or(Path::new(".")), rules, &mut faults);
    let broken = faults.0.iter().any(|fault| fault.severity == Severity::Error);
    (config.filter(|_| !broken).map(|config| Config { content, ..config }), faults.0)
}

/// Reads a configuration from its text; `folder` is where relative rule files are, `rules` are given instead of them.
pub fn parse(name: &str, text: &str, folder: &Path, rules: Option<&[PathBuf]>, faults: &mut Faults) -> Option<Config> {
    let root = yaml::parse(name, text, faults)?;
    root.map(faults, |fields, faults| parse_root(fields, folder, rules, faults))
}

/// Where the modelwatch that runs with a configuration is asked; little of the file is read for it, and nothing secret.
///
/// # Errors
/// It cannot be read, or its `listen` is no address; as a sentence.
pub fn own_url(path: &Path) -> Result<String, String> {
    let name = path.display().to_string();
    let text = std::fs::read_to_string(path).map_err(|error| format!("cannot read {name}: {error}"))?;
    let mut faults = Faults::default();
    let root = yaml::parse(&name, &text, &mut faults).ok_or_else(|| format!("{name} is no YAML"))?;
    let given = |key: &str| yaml::text(root.at(key)).ok();
    let listen = given("listen").map_or_else(|| Ok(SocketAddr::from(DEFAULT_LISTEN)), address)?;
    if listen.port() == 0 {
        return Err(format!("{name} leaves the port to the system (`listen: {listen}`)"));
    }
    let folder = path.parent().unwrap_or(Path::new("."));
    let web = given("web_config_file").and_then(|file| std::fs::read_to_string(folder.join(file)).ok()).unwrap_or_default();
    let web = yaml::parse("web", &web, &mut faults);
    let is_tls = web.is_some_and(|web| !std::ptr::eq(web.at("tls_server_config"), &web));
    match given("external_url").filter(|url| url.starts_with("https://")) {
        // Its certificate is for that name.
        Some(url) if is_tls => Ok(url),
        _ => {
            let host = if listen.ip().is_unspecified() { IpAddr::from(DEFAULT_LISTEN.0) } else { listen.ip() };
            let scheme = if is_tls { "https" } else { "http" };
            Ok(format!("{scheme}://{}", SocketAddr::new(host, listen.port())))
        }
    }
}

/// The JSON Schema of the configuration; what a key is for is told by the comment beside it in [`SAMPLE`].
pub fn schema() -> serde_json::Value {
    let mut schema = yaml::schema(|fields, faults| parse_root(fields, Path::new(""), None, faults));
    schema["$defs"] = json!({ "route": Route::schema() });
    if let Some(sample) = yaml::parse("default.yml", SAMPLE, &mut Faults::default()) {
        sample.explain(&mut schema);
    }
    schema
}

fn parse_root(fields: &mut Fields<'_>, folder: &Path, given: Option<&[PathBuf]>, faults: &mut Faults) -> Option<Config> {
    let root = fields.node;
    let listen = fields.optional("listen", faults, yaml::TEXT.then(address)).unwrap_or(SocketAddr::from(DEFAULT_LISTEN));
    let state = fields.optional("state", faults, yaml::TEXT).unwrap_or_else(|| "modelwatch.db".to_owned());
    let watch = fields.optional("watch", faults, yaml::BOOLEAN).unwrap_or(true);
    let external_url = fields.optional("external_url", faults, yaml::TEXT).unwrap_or_else(|| format!("http://{listen}"));
    let web_config_file = fields.optional("web_config_file", faults, yaml::TEXT).map(|path| folder.join(path));
    let sources = sources(fields, faults);
    let (dimensions, max_series) = export(fields, faults);
    let semantics = fields.optional("compatibility", faults, yaml::one_of(SEMANTICS)).unwrap_or_default();
    let globals = fields.nested("global", faults, |fields, faults| Some(Globals::parse(fields, faults, semantics)));
    let globals = globals.unwrap_or(Globals { semantics, ..Globals::default() });
    let globals = Globals { templates: Templates::read(fields, folder, faults), ..globals };
    let written = receivers::read(fields, faults, &globals);
    let routing = routing(fields, faults, &written, semantics);
    let original = original::render(&routing, &globals, &written);
    let receivers = written.into_iter().map(|receiver| (receiver.name, receiver.integrations)).collect();
    for (key, hint) in NOT_HERE {
        fields.hint(key, *hint);
    }
    let mut rules = rules::rules(fields, folder, given, faults);
    rules.iter_mut().for_each(|rule| rule.settle_hours(&routing.time_intervals, faults));
    // One that is there and at fault was told already.
    let given = |node: Option<&Node>| node.is_some_and(|node| !matches!(&node.value, Value::List(items) if items.is_empty()));
    let something = given(fields.node("sources")) || given(fields.node("receivers"));
    fields.constrain(|| json!({ "anyOf": [{ "required": ["sources"] }, { "required": ["receivers"] }] }));
    let receivers_given = json!({ "required": ["receivers"], "properties": { "receivers": { "minItems": 1 } } });
    fields.constrain(|| json!({ "if": receivers_given, "then": { "required": ["route"] } }));
    if !something {
        let help = "sources: [{name: app, url: ..., tables: [...]}], or receivers and a route for alerts that others post";
        faults.error_help("missing-key", root, "there is nothing to read and nobody to tell", help);
    }
    rules::check(&rules, root, &sources, faults);
    let state = folder.join(state);
    let content = Content::default();
    Some(Config {
        listen,
        state,
        watch,
        content,
        external_url,
        web_config_file,
        sources,
        dimensions,
        max_series,
        rules,
        routing,
        resolve_timeout: globals.resolve_timeout,
        receivers,
        original,
    })
}

/// Sections of Alertmanager for which there is nothing here.
const NOT_HERE: &[(&str, &str)] = &[
    ("tracing", "remove it: modelwatch sends no traces of itself; its log and /metrics say what it does"),
    ("event_recorder", "remove it: `modelwatch explain` and /api/v1/explain show what was decided and sent, and why"),
];

const SEMANTICS: &[(&str, Semantics)] = &[("modelwatch", Semantics::Ours), ("alertmanager", Semantics::Alertmanager)];

fn routing(fields: &mut Fields<'_>, faults: &mut Faults, receivers: &[Receiver<'_>], semantics: Semantics) -> Routing {
    let time_intervals = TimeIntervals::read(fields, faults);
    let names: Vec<String> = receivers.iter().map(|receiver| receiver.name.clone()).collect();
    let scope = Scope { semantics, receivers: &names, time_intervals: &time_intervals };
    let root = fields.nested("route", faults, |fields, faults| Route::parse(fields, faults, &scope));
    if fields.node("route").is_none() && !names.is_empty() {
        let help = format!("route: {{receiver: {}}}", names[0]);
        faults.error_help("missing-key", fields.node, "there are receivers but no `route` to them", help);
    }
    if let Some(root) = &root {
        receivers::unused(receivers, root, faults);
    }
    let inhibit_rules = fields.each("inhibit_rules", faults, InhibitRule::parse);
    let endpoints = |receiver: &Receiver<'_>| receiver.integrations.iter().map(Endpoint::from).collect();
    let receivers = receivers.iter().map(|receiver| (receiver.name.clone(), endpoints(receiver))).collect();
    Routing { semantics, root: root.unwrap_or_default(), inhibit_rules, time_intervals, receivers }
}

fn sources(fields: &mut Fields<'_>, faults: &mut Faults) -> Vec<Source> {
    let mut sources: Vec<Source> = Vec::new();
    fields.each("sources", faults, |fields, faults| {
        let source = source(fields, faults)?;
        if sources.iter().any(|known| known.name == source.name) {
            faults.error("duplicate", fields.node.at("name"), format!("there is another source `{}`", source.name));
        }
        sources.push(source);
        Some(())
    });
    sources
}

fn source(fields: &mut Fields<'_>, faults: &mut Faults) -> Option<Source> {
    let node = fields.node;
    let name = fields.required("name", faults, yaml::TEXT);
    let written = fields.optional("url", faults, yaml::SECRET);
    let filed = match (fields.node("url"), fields.node_of("url_file", yaml::SECRET_FILE)) {
        (Some(_), Some(file)) => {
            faults.error_help("conflicting-keys", file, "both `url` and `url_file` are set", "remove one of them");
            None
        }
        _ => fields.optional("url_file", faults, yaml::SECRET_FILE),
    };
    fields.exactly_one(&["url", "url_file"]);
    if written.is_none() && filed.is_none() && fields.node("url").is_none() && fields.node("url_file").is_none() {
        faults.error_help(
            "missing-key",
            node,
            "`url` is missing",
            "postgres://user@host/database or sqlite:///path/to/file.db; `url_file` reads it from a file",
        );
    }
    let url = written.or(filed).map(|url| beside(url, node));
    if let Some(url) = url.as_ref().filter(|url| !Database::knows(url.reveal())) {
        let message = match url.reveal().split_once("://") {
            Some((scheme, _)) => format!("url: no database of the kind `{scheme}` can be read"),
            None => "url: this is no URL of a database".to_owned(),
        };
        let place = fields.node("url").or(fields.node("url_file")).unwrap_or(node);
        faults.error_help("bad-value", place, message, "postgres://... or sqlite://...");
    }
    let poll = fields.optional("poll", faults, yaml::POSITIVE_SPAN).unwrap_or(Span::secs(5));
    let tables = tables(fields, faults);
    Some(Source { name: name?, url: url?, poll, tables })
}

fn tables(fields: &mut Fields<'_>, faults: &mut Faults) -> Vec<Arc<Mapping>> {
    let mut tables: Vec<Arc<Mapping>> = Vec::new();
    fields.each("tables", faults, |fields, faults| {
        let mapping = Mapping::read(fields, faults)?;
        if tables.iter().any(|known| known.name == mapping.name) {
            let message = format!("there is another table `{}`", mapping.name);
            faults.error_help("duplicate", fields.node.at("name"), message, "give one of them a `name`");
        }
        tables.push(Arc::new(mapping));
        Some(())
    });
    fields.constrain(|| json!({ "required": ["tables"] }));
    if fields.node("tables").is_none() {
        faults.error_help("missing-key", fields.node, "`tables` is missing", "tables: [{preset: cora_usage}]");
    }
    tables
}

/// The URL of an SQLite file with its path taken from the folder of the configuration.
fn beside(url: Secret, node: &Node) -> Secret {
    let Some(path) = url.reveal().strip_prefix("sqlite:") else { return url };
    let path = path.strip_prefix("//").unwrap_or(path);
    if path.starts_with([':', '/']) { url } else { Secret::new(format!("sqlite://{}", node.place.beside(path).display())) }
}

fn export(fields: &mut Fields<'_>, faults: &mut Faults) -> (Vec<String>, usize) {
    let default = || DEFAULT_DIMENSIONS.map(str::to_owned).to_vec();
    let export = fields.nested("export", faults, |fields, faults| {
        let dimensions = fields.optional("dimensions", faults, yaml::list(yaml::TEXT.then(dimension))).unwrap_or_else(default);
        let max_series = fields.optional("max_series", faults, yaml::WHOLE).map_or(MAX_SERIES, |n| n.max(1) as usize);
        Some((dimensions, max_series))
    });
    export.unwrap_or_else(|| (default(), MAX_SERIES))
}

fn dimension(name: String) -> Result<String, String> {
    let ours = ["source", "table", "outcome", "token_type", "le", "error_type"].contains(&name.as_str());
    if is_label_name(&name) && !ours { Ok(name) } else { Err(format!("`{name}` cannot be exported as a dimension")) }
}

fn address(text: String) -> Result<SocketAddr, String> {
    let address = if text.starts_with(':') { format!("0.0.0.0{text}") } else { text.replace("localhost:", "127.0.0.1:") };
    address.parse().map_err(|_| format!("`{text}` is no address; write it as 127.0.0.1:9464"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::route::GroupBy;

    #[test]
    fn the_documented_sample_is_valid() {
        let mut faults = Faults::default();
        let config = parse("default.yml", SAMPLE, Path::new("/nonexistent"), None, &mut faults);
        let faults: Vec<String> = faults.0.iter().map(ToString::to_string).filter(|fault| !fault.contains("no-file")).collect();
        assert_eq!(faults, Vec::<String>::new());
        let config = config.unwrap();
        assert_eq!((config.sources.len(), config.lateness()), (2, Span::secs(900)));
        assert!(config.wanted().dimensions.contains("operation"));
    }

    fn config(text: &str) -> Config {
        let mut faults = Faults::default();
        let config = parse("t.yml", text, Path::new("/nonexistent"), None, &mut faults);
        assert!(faults.0.is_empty(), "{:?}", faults.0);
        config.unwrap()
    }

    #[test]
    fn one_switch_sets_every_default_to_alertmanagers() {
        let text = "
global: {smtp_smarthost: 'localhost:25', smtp_from: me@example.org}
route: {receiver: all}
receivers:
  - name: all
    slack_configs: [{api_url: 'https://example.com/x'}, {api_url: 'https://example.com/x', send_resolved: true}]
    email_configs: [{to: you@example.org}]
    pagerduty_configs: [{routing_key: 0123456789abcdef0123456789abcdef}]
    webhook_configs: [{url: 'https://example.com/x'}]
";
        let seen = |switch: &str| {
            let config = config(&format!("{switch}{text}"));
            let told: Vec<_> = config.receivers["all"].iter().map(|one| (one.kind, one.send_resolved)).collect();
            let root = &config.routing.root;
            let by_name = root.group_by == GroupBy::Labels(vec!["alertname".to_owned()]);
            (
                config.routing.semantics,
                root.group_wait,
                by_name,
                root.group_interval,
                root.repeat_interval,
                config.resolve_timeout,
                told,
            )
        };
        let told = |people| {
            let mut told = vec![("slack", people), ("slack", true), ("pagerduty", true), ("webhook", true), ("email", people)];
            told.sort_unstable();
            told
        };
        let shared = (Span::secs(300), Span::secs(14_400), Span::secs(300));
        for (switch, semantics, wait, by_name, people) in [
            ("", Semantics::Ours, Span::ZERO, true, true),
            ("compatibility: modelwatch", Semantics::Ours, Span::ZERO, true, true),
            ("compatibility: alertmanager", Semantics::Alertmanager, Span::secs(30), false, false),
        ] {
            let (is, waits, is_by_name, interval, repeat, timeout, mut integrations) = seen(switch);
            integrations.sort_unstable();
            assert_eq!((is, waits, is_by_name, integrations), (semantics, wait, by_name, told(people)), "{switch}");
            assert_eq!((interval, repeat, timeout), shared, "{switch}");
        }
    }

    #[test]
    fn a_router_alone_is_a_whole_configuration() {
        let config = config(
            "route: {receiver: a, routes: [{matchers: [b=c], mute_time_intervals: [nights]}]}
mute_time_intervals: [{name: nights, time_intervals: [{times: [{start_time: '22:00', end_time: '24:00'}]}]}]
receivers: [{name: a}]",
        );
        assert_eq!((config.sources.len(), config.rules.len(), config.routing.receivers["a"].len()), (0, 0, 0));
        assert!(config.routing.time_intervals.get("nights").is_some());
        // A route that a time interval mutes takes the alert all the same.
        let labels = [("b", "c")].into_iter().collect();
        assert_eq!(config.routing.root.matching(&labels)[0].mute_time_intervals, ["nights"]);
    }
}
