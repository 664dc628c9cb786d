//! The rule files of a configuration, and what rules and mappings say of each other.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::config::Source;
use crate::diag::{Diagnostic, Place, nearest};
use crate::rule::{self, Rule};
use crate::window::LATENCY;
use crate::yaml::{self, Faults, Fields, Node, Read, Value};

/// What every configuration may be asked for though no mapping has it.
const PSEUDO_DIMENSIONS: [&str; 2] = ["source", "table"];
/// What the tests of rules end with: they stand beside them and are no rules.
const TESTS: &str = ".test.yml";

/// Whether a file holds tests of rules.
pub fn is_test_file(path: &Path) -> bool {
    path.to_string_lossy().ends_with(TESTS)
}

/// Reads rule files that were given by name, those with tests left out; those that cannot be read are faults too.
pub fn read_rules(paths: &[PathBuf], faults: &mut Faults) -> Vec<Rule> {
    let mut rules = Vec::new();
    for path in paths.iter().filter(|path| !is_test_file(path)) {
        if let Err(error) = read(path, &mut rules, faults) {
            faults.0.push(Diagnostic::nowhere("unreadable", format!("cannot read {}: {error}", path.display())));
        }
    }
    rule::identities(&rules, faults);
    rules
}

/// The rules of the files that `rule_files` names, or of those that are given instead.
pub(super) fn rules(fields: &mut Fields<'_>, folder: &Path, given: Option<&[PathBuf]>, faults: &mut Faults) -> Vec<Rule> {
    let named = fields.node_of("rule_files", yaml::list(yaml::TEXT)).map_or(&[][..], Node::items);
    if let Some(given) = given {
        return read_rules(given, faults);
    }
    let (mut rules, mut seen): (Vec<Rule>, BTreeSet<PathBuf>) = Default::default();
    for item in named {
        let Some(pattern) = yaml::TEXT.read("rule_files", item, faults) else { continue };
        // Two patterns may find one file.
        for path in found(&pattern, item, folder, faults).into_iter().filter(|path| seen.insert(path.clone())) {
            if let Err(error) = read(&path, &mut rules, faults) {
                faults.error("unreadable", item, format!("cannot read {}: {error}", path.display()));
            }
        }
    }
    rule::identities(&rules, faults);
    rules
}

fn found(pattern: &str, item: &Node, folder: &Path, faults: &mut Faults) -> Vec<PathBuf> {
    let paths: Vec<PathBuf> = match glob::glob(&folder.join(pattern).to_string_lossy()) {
        Ok(paths) => paths.flatten().filter(|path| !is_test_file(path)).collect(),
        Err(error) => {
            faults.error("bad-value", item, format!("`{pattern}`: {error}"));
            return Vec::new();
        }
    };
    if paths.is_empty() {
        let shown = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
        let help = format!("looked in {}", shown.display());
        faults.error_help("no-file", item, format!("no file is named `{pattern}`"), help);
    }
    paths
}

fn read(path: &Path, rules: &mut Vec<Rule>, faults: &mut Faults) -> std::io::Result<()> {
    let text = std::fs::read_to_string(path)?;
    for rule in rule::parse_file(&path.display().to_string(), &text, faults) {
        if rules.iter().any(|known| known.key == rule.key) {
            let help = "name the groups differently: alerts are kept by group and name";
            faults.at("duplicate", &rule.place, format!("there is another rule `{}`", rule.key), help);
        }
        rules.push(rule);
    }
    Ok(())
}

/// What rules ask of the mappings. Where a table is at fault, nothing is said of what it may have.
pub(super) fn check(rules: &[Rule], root: &Node, sources: &[Source], faults: &mut Faults) {
    let given: usize = root.at("sources").items().iter().map(|source| source.at("tables").items().len()).sum();
    sources_read(rules, sources, faults);
    let tables: usize = sources.iter().map(|source| source.tables.len()).sum();
    if tables > 0 && given == tables {
        tables_read(rules, sources, faults);
        dimensions(rules, root.at("export"), sources, faults);
        values(rules, sources, faults);
    }
    history(rules, sources, faults);
}

/// A rule that matches no source would never be evaluated, and nobody would miss it.
fn sources_read(rules: &[Rule], sources: &[Source], faults: &mut Faults) {
    let names = || sources.iter().map(|source| source.name.as_str()).collect::<Vec<_>>().join(", ");
    for rule in rules.iter().filter(|_| !sources.is_empty()) {
        if !sources.iter().any(|source| rule.reads("source", &source.name)) {
            faults.at(
                "no-source",
                place(rule, "source"),
                format!("{}: no source is matched", rule.name),
                format!("sources: {}", names()),
            );
        }
    }
}

/// Where a rule looks at a dimension.
fn place<'a>(rule: &'a Rule, dimension: &str) -> &'a Place {
    rule.matchers().find(|(matcher, _)| matcher.name == dimension).map_or(&rule.place, |(_, place)| place)
}

/// Nor would one that matches none of its tables.
fn tables_read(rules: &[Rule], sources: &[Source], faults: &mut Faults) {
    for rule in rules {
        let mut tables = sources.iter().filter(|source| rule.reads("source", &source.name)).flat_map(|source| &source.tables);
        let names = tables.clone().map(|table| table.name.as_str()).collect::<Vec<_>>();
        if !names.is_empty() && !tables.any(|table| rule.reads("table", &table.name)) {
            let help = format!("tables: {}", names.join(", "));
            faults.at("no-table", place(rule, "table"), format!("{}: no table is matched", rule.name), help);
        }
    }
}

/// Windows that are longer than the past that is read compare with nothing until modelwatch has run for as long.
fn history(rules: &[Rule], sources: &[Source], faults: &mut Faults) {
    for rule in rules {
        let read = sources.iter().filter(|source| rule.reads("source", &source.name)).flat_map(|source| &source.tables);
        let read = read.filter(|table| rule.reads("table", &table.name));
        if let Some(table) = read.max_by_key(|table| table.history).filter(|table| table.history < rule.reach()) {
            let (name, reach, table, history) = (&rule.name, rule.reach(), &table.name, table.history);
            let message = format!("{name}: its windows go back {reach}, but only {history} of `{table}` are read at first");
            let help = format!("`history: {reach}` in the mapping of `{table}`, or shorter windows");
            faults.0.push(Diagnostic::warning("beyond-history", &rule.place, message).help(help));
        }
    }
}

/// Rules may look only at dimensions that some table has; an exported label that none has is of no use.
fn dimensions(rules: &[Rule], export: &Node, sources: &[Source], faults: &mut Faults) {
    let mapped = sources.iter().flat_map(|source| &source.tables).flat_map(|table| &table.dimensions);
    let known: BTreeSet<&str> = mapped.map(|dimension| dimension.name.as_str()).chain(PSEUDO_DIMENSIONS).collect();
    let help = |name: &str| near_or_known(name, &known);
    for (name, place) in rules.iter().flat_map(Rule::dimensions).filter(|(name, _)| !known.contains(name)) {
        faults.at("unknown-dimension", place, format!("no table has a dimension `{name}`"), help(name));
    }
    let mut seen = BTreeSet::new();
    for node in export.at("dimensions").items() {
        let Value::Text(name) = &node.value else { continue };
        if !seen.insert(name) {
            faults.error("duplicate", node, format!("`{name}` is exported already"));
        } else if !known.contains(name.as_str()) && super::dimension(name.clone()).is_ok() {
            let message = format!("no table has a dimension `{name}`; this label will be empty");
            faults.0.push(Diagnostic::warning("unknown-dimension", &node.place, message).help(help(name)));
        }
    }
}

/// Rules may read only measures that some table has, and count only the values of dimensions that rows have.
fn values(rules: &[Rule], sources: &[Source], faults: &mut Faults) {
    let tables = || sources.iter().flat_map(|source| &source.tables);
    let measures = tables().flat_map(|table| &table.measures).map(|measure| measure.name.as_str());
    let measures: BTreeSet<&str> = measures.chain([LATENCY]).collect();
    for (name, place) in rules.iter().flat_map(Rule::measures).filter(|(name, _)| !measures.contains(name.as_str())) {
        let message = format!("no table has a measure `{name}`");
        faults.at("unknown-measure", place, message, near_or_known(&name, &measures));
    }
    let mut told = BTreeSet::new();
    let marks: BTreeSet<&str> = tables().flat_map(|table| &table.dimensions).map(|mark| mark.name.as_str()).collect();
    for (name, place) in rules.iter().flat_map(Rule::marks).filter(|(name, _)| !marks.contains(name.as_str())) {
        // A rule counts them in many windows.
        if told.insert((name.clone(), place.bytes.start)) {
            let message = format!("no table has a dimension `{name}`, whose values are to be counted");
            faults.at("unknown-dimension", place, message, near_or_known(&name, &marks));
        }
    }
}

fn near_or_known(name: &str, known: &BTreeSet<&str>) -> String {
    match nearest(name, known.iter().copied()) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("known: {}", known.iter().copied().collect::<Vec<_>>().join(", ")),
    }
}
