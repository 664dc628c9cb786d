//! The whole configuration: one file, the rule files that it names, and every fault of all of them at once.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::diag::{Diagnostic, Severity, nearest};
use crate::labels::is_label_name;
use crate::limits::MAX_SERIES;
use crate::notify::{self, Integration};
use crate::route::Route;
use crate::rule::{self, Rule};
use crate::secret::Secret;
use crate::source::{Database, Kind, Mapping};
use crate::time::Span;
use crate::yaml::{self, Faults, Fields, Node, Value};

/// Every key with its default and a word on it.
pub const SAMPLE: &str = include_str!("default.yml");

/// What every configuration may be asked for though no mapping has it.
const PSEUDO_DIMENSIONS: [&str; 2] = ["source", "table"];
/// The dimensions that series on /metrics have.
const DEFAULT_DIMENSIONS: [&str; 4] = ["provider", "model", "operation", "service"];

/// A configuration that can be run.
#[derive(Debug)]
pub struct Config {
    /// Where HTTP is served.
    pub listen: SocketAddr,
    /// Our own state.
    pub state: PathBuf,
    /// How people reach this process, for links.
    pub external_url: String,
    /// Databases that are read.
    pub sources: Vec<Source>,
    /// Dimensions that series on /metrics have.
    pub dimensions: Vec<String>,
    /// Series a table may have.
    pub max_series: usize,
    /// What is evaluated.
    pub rules: Vec<Rule>,
    /// Who is told; none where nobody is.
    pub route: Option<Route>,
    /// The ways to reach each receiver.
    pub receivers: BTreeMap<String, Vec<Integration>>,
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
    /// The dimensions that must be read: those exported, and those that rules look at.
    pub fn wanted_dimensions(&self) -> BTreeSet<String> {
        let rules = self.rules.iter().flat_map(|rule| rule.selector.dimensions());
        let exported = self.dimensions.iter().map(String::as_str);
        rules.chain(exported).chain(["error_type"]).map(str::to_owned).collect()
    }

    /// The longest lateness of any table.
    pub fn lateness(&self) -> Span {
        self.sources.iter().flat_map(|source| &source.tables).map(|table| table.lateness).max().unwrap_or(Span::secs(900))
    }
}

/// Reads a configuration and its rule files; none where there is an error among the faults.
pub fn load(path: &Path) -> (Option<Config>, Vec<Diagnostic>) {
    let mut faults = Faults::default();
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) => return (None, vec![Diagnostic::nowhere("unreadable", format!("cannot read {}: {error}", path.display()))]),
    };
    let config = parse(&path.display().to_string(), &text, path.parent().unwrap_or(Path::new(".")), &mut faults);
    let broken = faults.0.iter().any(|fault| fault.severity == Severity::Error);
    (config.filter(|_| !broken), faults.0)
}

/// Reads a configuration from its text; `folder` is where relative rule files are.
pub fn parse(name: &str, text: &str, folder: &Path, faults: &mut Faults) -> Option<Config> {
    let root = yaml::parse(name, text, faults)?;
    let mut fields = root.fields(faults)?;
    let listen = fields.optional("listen", faults, address).unwrap_or(SocketAddr::from(([127, 0, 0, 1], 9464)));
    let state = fields.optional("state", faults, yaml::text).unwrap_or_else(|| "modelwatch.db".to_owned());
    let external_url = fields.optional("external_url", faults, yaml::text).unwrap_or_else(|| format!("http://{listen}"));
    let sources = sources(&mut fields, faults);
    let (dimensions, max_series) = export(&mut fields, faults);
    let receivers = receivers(&mut fields, faults);
    let names: Vec<String> = receivers.keys().cloned().collect();
    let route_node = fields.node("route");
    let route = route_node.and_then(|node| Route::parse(node, faults, &names));
    if route_node.is_none() && !names.is_empty() {
        faults.error_help(
            "missing-key",
            &root,
            "there are receivers but no `route` to them",
            format!("route: {{receiver: {}}}", names[0]),
        );
    }
    let rules = rules(&mut fields, folder, faults);
    // One that is there and at fault was told already.
    let given = fields.node("sources").is_some_and(|node| !matches!(&node.value, Value::List(items) if items.is_empty()));
    fields.finish(faults);
    if !given {
        faults.error_help("missing-key", &root, "there is nothing to read", "sources: [{name: app, url: ..., tables: [...]}]");
    }
    check_sources(&rules, &sources, faults);
    check_dimensions(&rules, root.at("export"), &sources, faults);
    let state = folder.join(state);
    Some(Config { listen, state, external_url, sources, dimensions, max_series, rules, route, receivers })
}

fn sources(fields: &mut Fields<'_>, faults: &mut Faults) -> Vec<Source> {
    let mut sources: Vec<Source> = Vec::new();
    for node in list(fields, "sources", faults) {
        if let Some(source) = source(node, faults) {
            if sources.iter().any(|known| known.name == source.name) {
                faults.error("duplicate", node.at("name"), format!("there is another source `{}`", source.name));
            }
            sources.push(source);
        }
    }
    sources
}

fn source(node: &Node, faults: &mut Faults) -> Option<Source> {
    let mut fields = node.fields(faults)?;
    let name = fields.required("name", faults, yaml::text);
    let written = fields.optional("url", faults, yaml::secret);
    let filed = match (fields.node("url"), fields.node("url_file")) {
        (Some(_), Some(file)) => {
            faults.error_help("conflicting-keys", file, "both `url` and `url_file` are set", "remove one of them");
            None
        }
        _ => fields.optional("url_file", faults, yaml::secret_file),
    };
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
    let poll = fields.optional("poll", faults, yaml::positive_span).unwrap_or(Span::secs(5));
    let mut tables: Vec<Arc<Mapping>> = Vec::new();
    for table in list(&mut fields, "tables", faults) {
        if let Some(mapping) = Mapping::parse(table, faults) {
            if tables.iter().any(|known| known.name == mapping.name) {
                faults.error_help(
                    "duplicate",
                    table.at("name"),
                    format!("there is another table `{}`", mapping.name),
                    "give one of them a `name`",
                );
            }
            tables.push(Arc::new(mapping));
        }
    }
    if tables.is_empty() && fields.node("tables").is_none() {
        faults.error_help("missing-key", node, "`tables` is missing", "tables: [{preset: cora_usage}]");
    }
    fields.finish(faults);
    Some(Source { name: name?, url: url?, poll, tables })
}

/// The URL of an SQLite file with its path taken from the folder of the configuration.
fn beside(url: Secret, node: &Node) -> Secret {
    let Some(path) = url.reveal().strip_prefix("sqlite:") else { return url };
    let path = path.strip_prefix("//").unwrap_or(path);
    if path.starts_with([':', '/']) { url } else { Secret::new(format!("sqlite://{}", node.place.beside(path).display())) }
}

fn export(fields: &mut Fields<'_>, faults: &mut Faults) -> (Vec<String>, usize) {
    let default = || DEFAULT_DIMENSIONS.map(str::to_owned).to_vec();
    let Some(mut fields) = fields.node("export").and_then(|node| node.fields(faults)) else { return (default(), MAX_SERIES) };
    let dimensions = fields.optional("dimensions", faults, yaml::list(dimension)).unwrap_or_else(default);
    let max_series = fields.optional("max_series", faults, yaml::whole).map_or(MAX_SERIES, |n| n.max(1) as usize);
    fields.finish(faults);
    (dimensions, max_series)
}

fn dimension(node: &Node) -> Result<String, String> {
    let name = yaml::text(node)?;
    let ours = ["source", "table", "outcome", "token_type", "le", "error_type"].contains(&name.as_str());
    if is_label_name(&name) && !ours { Ok(name) } else { Err(format!("`{name}` cannot be exported as a dimension")) }
}

fn receivers(fields: &mut Fields<'_>, faults: &mut Faults) -> BTreeMap<String, Vec<Integration>> {
    let mut receivers = BTreeMap::new();
    for node in list(fields, "receivers", faults) {
        let Some(mut fields) = node.fields(faults) else { continue };
        let Some(name) = fields.required("name", faults, yaml::text) else { continue };
        let integrations = notify::integrations(&name, &mut fields, faults);
        fields.finish(faults);
        if receivers.insert(name.clone(), integrations).is_some() {
            faults.error("duplicate", node.at("name"), format!("there is another receiver `{name}`"));
        }
    }
    receivers
}

fn rules(fields: &mut Fields<'_>, folder: &Path, faults: &mut Faults) -> Vec<Rule> {
    let (mut rules, mut read): (Vec<Rule>, BTreeSet<PathBuf>) = Default::default();
    for item in list(fields, "rule_files", faults) {
        let Ok(pattern) = yaml::text(item) else {
            faults.error("bad-value", item, format!("expected the name of a file, found {}", item.kind()));
            continue;
        };
        let paths: Vec<PathBuf> = match glob::glob(&folder.join(&pattern).to_string_lossy()) {
            Ok(paths) => paths.flatten().collect(),
            Err(error) => {
                faults.error("bad-value", item, format!("`{pattern}`: {error}"));
                continue;
            }
        };
        if paths.is_empty() {
            faults.error_help(
                "no-file",
                item,
                format!("no file is named `{pattern}`"),
                format!("looked in {}", folder.display()),
            );
        }
        // Two patterns may find one file.
        for path in paths.into_iter().filter(|path| read.insert(path.clone())) {
            match std::fs::read_to_string(&path) {
                Ok(text) => {
                    for rule in rule::parse_file(&path.display().to_string(), &text, faults) {
                        if rules.iter().any(|known| known.key == rule.key) {
                            let help = "name the groups differently: alerts are kept by group and name";
                            faults.at("duplicate", &rule.place, format!("there is another rule `{}`", rule.key), help);
                        }
                        rules.push(rule);
                    }
                }
                Err(error) => faults.error("unreadable", item, format!("cannot read {}: {error}", path.display())),
            }
        }
    }
    rules
}

/// A rule that matches no source would never be evaluated, and nobody would miss it.
fn check_sources(rules: &[Rule], sources: &[Source], faults: &mut Faults) {
    for rule in rules.iter().filter(|_| !sources.is_empty()) {
        let wanted = || rule.selector.matchers.iter().filter(|matcher| matcher.name == "source");
        if !sources.iter().any(|source| wanted().all(|matcher| matcher.matches(&source.name))) {
            let names = sources.iter().map(|source| source.name.as_str()).collect::<Vec<_>>().join(", ");
            faults.at("no-source", &rule.place, format!("{}: no source is matched", rule.name), format!("sources: {names}"));
        }
    }
}

/// Rules may look only at dimensions that some table has; an exported label that none has is of no use.
fn check_dimensions(rules: &[Rule], export: &Node, sources: &[Source], faults: &mut Faults) {
    let mapped = sources.iter().flat_map(|source| &source.tables).flat_map(|table| &table.dimensions);
    let known: BTreeSet<&str> = mapped.map(|dimension| dimension.name.as_str()).chain(PSEUDO_DIMENSIONS).collect();
    // Without a table nothing is known, and that is reported already.
    if known.len() == PSEUDO_DIMENSIONS.len() {
        return;
    }
    let help = |name: &str| match nearest(name, known.iter().copied()) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("known: {}", known.iter().copied().collect::<Vec<_>>().join(", ")),
    };
    for (name, place) in rules.iter().flat_map(Rule::dimensions).filter(|(name, _)| !known.contains(name)) {
        faults.at("unknown-dimension", place, format!("no table has a dimension `{name}`"), help(name));
    }
    let mut seen = BTreeSet::new();
    for node in export.at("dimensions").items() {
        let Value::Text(name) = &node.value else { continue };
        if !seen.insert(name) {
            faults.error("duplicate", node, format!("`{name}` is exported already"));
        } else if !known.contains(name.as_str()) && dimension(node).is_ok() {
            let message = format!("no table has a dimension `{name}`; this label will be empty");
            faults.0.push(Diagnostic::warning("unknown-dimension", &node.place, message).help(help(name)));
        }
    }
}

fn list<'a>(fields: &mut Fields<'a>, key: &'static str, faults: &mut Faults) -> &'a [Node] {
    match fields.node(key).map(|node| (node, &node.value)) {
        None => &[],
        Some((_, Value::List(items))) => items,
        Some((node, _)) => {
            let message = format!("{key}: expected a list, found {}", node.kind());
            faults.error_help("wrong-type", node, message, "each item of a list begins with `- `");
            &[]
        }
    }
}

fn address(node: &Node) -> Result<SocketAddr, String> {
    let text = yaml::text(node)?;
    let address = if text.starts_with(':') { format!("0.0.0.0{text}") } else { text.replace("localhost:", "127.0.0.1:") };
    address.parse().map_err(|_| format!("`{text}` is no address; write it as 127.0.0.1:9464"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documented_sample_is_valid() {
        let mut faults = Faults::default();
        let config = parse("default.yml", SAMPLE, Path::new("/nonexistent"), &mut faults);
        let faults: Vec<String> = faults.0.iter().map(ToString::to_string).filter(|fault| !fault.contains("no-file")).collect();
        assert_eq!(faults, Vec::<String>::new());
        let config = config.unwrap();
        assert_eq!((config.sources.len(), config.lateness()), (2, Span::secs(900)));
        assert!(config.wanted_dimensions().contains("operation"));
    }
}
