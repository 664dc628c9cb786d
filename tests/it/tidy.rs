//! Properties of the repository itself: what imports what, how long things are, and that lists, docs and files agree.
//!
//! Each test gathers every fault and shows them together. A check of parts that are not there yet holds of what is there.

use regex::Regex;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

const FILE_LINES: usize = 500;
const FUNCTION_LINES: usize = 70;

/// The one file that reads the clock.
const CLOCK: &str = "src/engine/clock.rs";

/// Files of a folder with a list that are not themselves in the list, but used by those that are.
const NOT_LISTED: [&str; 7] = [
    "src/cli/client.rs",
    "src/notify/retry.rs",
    "src/notify/text.rs",
    "src/rule/baseline.rs",
    "src/rule/past.rs",
    "src/rule/quantile.rs",
    "src/rule/share.rs",
];

/// Literals of src that look like a metric: the annotation that carries a rule's evidence.
const NO_METRICS: [&str; 1] = ["modelwatch_evidence"];

/// Keys of a rule that are no kind.
const RULE_KEYS: [&str; 6] = ["alert", "for", "keep_firing_for", "labels", "annotations", "active"];

struct Source {
    /// Relative to the repository, with `/`.
    path: String,
    text: String,
}

impl Source {
    /// `tests.rs` and `tests/` beside a module hold its tests.
    fn is_test(&self) -> bool {
        self.path.starts_with("src/") && (self.path.ends_with("/tests.rs") || self.path.contains("/tests/"))
    }

    /// What is not a test: all above the line `#[cfg(test)]`.
    fn body(&self) -> impl Iterator<Item = &str> {
        self.text.lines().take_while(|line| !self.is_test() && line.trim() != "#[cfg(test)]")
    }

    /// The body without comments.
    fn code(&self) -> String {
        self.body().filter(|line| !line.trim_start().starts_with("//")).map(|line| format!("{line}\n")).collect()
    }

    /// The module of lib.rs that it belongs to.
    fn module(&self) -> &str {
        self.path.trim_start_matches("src/").split(['/', '.']).next().unwrap_or("")
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn files(folder: &str, extension: &str) -> Vec<Source> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(dir) = folders.pop() {
        for path in std::fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path()) {
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|end| end == extension) {
                let relative = path.strip_prefix(root()).unwrap().to_string_lossy().replace('\\', "/");
                found.push(Source { path: relative, text: std::fs::read_to_string(&path).unwrap() });
            }
        }
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found
}

fn all_code() -> Vec<Source> {
    ["src", "tests/it", "benches"].into_iter().flat_map(|folder| files(folder, "rs")).collect()
}

fn read(path: &str) -> Option<String> {
    std::fs::read_to_string(root().join(path)).ok()
}

fn none(faults: Vec<String>) {
    assert!(faults.is_empty(), "\n{}\n", faults.join("\n"));
}

/// Modules in the order of lib.rs.
fn modules() -> Vec<String> {
    let lib = read("src/lib.rs").unwrap();
    Regex::new(r"(?m)^(?:pub(?:\(crate\))? )?mod (\w+);").unwrap().captures_iter(&lib).map(|found| found[1].to_owned()).collect()
}

/// The modules that `crate::x` and `use crate::{x, y::z}` name.
fn imports(code: &str) -> BTreeSet<String> {
    let path = Regex::new(r"\bcrate::(\{)?(\w+)?").unwrap();
    let mut named = BTreeSet::new();
    for found in path.captures_iter(code) {
        if let Some(name) = found.get(2).filter(|_| found.get(1).is_none()) {
            named.insert(name.as_str().to_owned());
        }
        if let Some(brace) = found.get(1) {
            named.extend(first_names(&code[brace.end()..]));
        }
    }
    named
}

/// The first name of each path of a braced list, up to its closing brace.
fn first_names(list: &str) -> Vec<String> {
    let (mut names, mut name, mut depth, mut within) = (Vec::new(), String::new(), 0, true);
    for character in list.chars() {
        match character {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                names.push(std::mem::take(&mut name));
                within = true;
            }
            ':' => within = false,
            other if depth == 0 && within && (other.is_alphanumeric() || other == '_') => name.push(other),
            _ => {}
        }
    }
    names.push(name);
    names.into_iter().filter(|name| !name.is_empty()).collect()
}

#[test]
fn modules_import_only_what_stands_above_them() {
    let order = modules();
    let place = |name: &str| order.iter().position(|module| module == name);
    let mut faults = Vec::new();
    for source in files("src", "rs").iter().filter(|source| !["src/lib.rs", "src/main.rs"].contains(&source.path.as_str())) {
        let code = source.code();
        let Some(own) = place(source.module()) else {
            faults.push(format!("{}: lib.rs declares no module {}", source.path, source.module()));
            continue;
        };
        for name in imports(&code) {
            match place(&name) {
                Some(other) if other <= own => {}
                Some(_) => {
                    faults.push(format!("{}: imports {name}, which stands below {} in lib.rs", source.path, source.module()))
                }
                None => faults.push(format!("{}: crate::{name} is no module of lib.rs", source.path)),
            }
        }
        if code.contains("super::super::") {
            faults.push(format!("{}: super::super:: hides what is imported; say crate::", source.path));
        }
        let top = !source.path.trim_start_matches("src/").contains('/') || source.path.ends_with("/mod.rs");
        if top && order.iter().any(|module| code.contains(&format!("use super::{module}"))) {
            faults.push(format!("{}: super:: hides what is imported; say crate::", source.path));
        }
    }
    none(faults);
}

#[test]
fn imports_are_found() {
    let code = "use crate::time::Span;\nuse crate::{alert, rule::{self, Kind}, route::tree as t};\nfn f() { crate::diag::new(); $crate::yaml::x!() }";
    let found: Vec<String> = imports(code).into_iter().collect();
    assert_eq!(found, ["alert", "diag", "route", "rule", "time", "yaml"]);
}

#[test]
fn files_are_short_without_their_tests() {
    let lines = |source: &Source| source.body().count();
    let sources = all_code();
    let long = sources.iter().filter(|source| lines(source) > FILE_LINES);
    none(long.map(|source| format!("{}: {} lines, {FILE_LINES} are allowed", source.path, lines(source))).collect());
}

/// Name, first line and length of each function; the code is formatted, so the closing brace stands below its `fn`.
fn functions(text: &str) -> Vec<(String, usize, usize)> {
    let start = Regex::new(r"^(\s*)(?:pub(?:\([\w ]+\))? )?(?:const )?(?:async )?(?:unsafe )?fn (\w+)").unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let mut found = Vec::new();
    for (number, line) in lines.iter().enumerate() {
        let Some(head) = start.captures(line) else { continue };
        let close = format!("{}}}", &head[1]);
        let opens = lines[number..]
            .iter()
            .position(|line| line.ends_with('{') || line.ends_with(';') || line.ends_with('}'))
            .unwrap_or(0);
        if lines[number + opens].ends_with('{') {
            let length = lines[number..].iter().position(|line| line.starts_with(&close)).unwrap_or(0) + 1;
            found.push((head[2].to_owned(), number + 1, length));
        }
    }
    found
}

#[test]
fn functions_are_short() {
    let sources = all_code();
    let mut faults = Vec::new();
    for source in &sources {
        let long = functions(&source.text).into_iter().filter(|(_, _, length)| *length > FUNCTION_LINES);
        faults.extend(long.map(|(name, line, length)| {
            format!("{}:{line}: {name} has {length} lines, {FUNCTION_LINES} are allowed", source.path)
        }));
    }
    none(faults);
}

#[test]
fn functions_are_measured() {
    let text = "trait T {\n    fn a(&self);\n}\npub async fn b(\n    x: u8,\n) {\n    y();\n}\nimpl T {\n    pub(crate) fn c() -> u8 { 1 }\n    fn d() {\n        if x {\n        }\n    }\n}\n";
    assert_eq!(functions(text), [("b".to_owned(), 4, 5), ("d".to_owned(), 11, 4)]);
}

#[test]
fn nothing_is_left_to_do() {
    let marker = Regex::new(r"\b(todo|unimplemented|dbg)!\s*[(\[{]").unwrap();
    let mut faults = Vec::new();
    for source in files("src", "rs") {
        let found = source.text.lines().enumerate().filter(|(_, line)| marker.is_match(line));
        faults.extend(found.map(|(number, line)| format!("{}:{}: {}", source.path, number + 1, line.trim())));
    }
    none(faults);
}

#[test]
fn the_clock_is_read_in_one_file() {
    let clock = Regex::new(r"\b(SystemTime|Instant|Timestamp|Zoned|Utc)::now\b").unwrap();
    let mut faults = Vec::new();
    for source in files("src", "rs").into_iter().filter(|source| source.path != CLOCK) {
        let code = source.code();
        faults.extend(clock.find_iter(&code).map(|found| format!("{}: {} outside {CLOCK}", source.path, found.as_str())));
    }
    none(faults);
}

/// Folders of one thing a file: the folder's mod.rs holds the list, so it names each file beyond declaring it.
#[test]
fn every_kind_is_in_its_list() {
    let mut faults = Vec::new();
    for folder in ["src/notify", "src/rule", "src/cli"] {
        let list = Source { path: String::new(), text: read(&format!("{folder}/mod.rs")).unwrap_or_default() }.code();
        for source in files(folder, "rs").iter().filter(|source| !source.path.ends_with("mod.rs") && !source.is_test()) {
            let rest = source.path.trim_start_matches(folder).trim_start_matches('/');
            let name = rest.split(['/', '.']).next().unwrap();
            let named = Regex::new(&format!(r"\b{name}\b")).unwrap().find_iter(&list).count();
            if named < 2 && !NOT_LISTED.contains(&source.path.as_str()) {
                faults.push(format!("{}: {folder}/mod.rs does not list {name}", source.path));
            }
        }
    }
    none(faults);
}

/// Metric names at the start of literals of src, or in TYPE and HELP lines, without what belongs to the tables we read.
fn metrics_of_src() -> BTreeSet<String> {
    let literal = Regex::new(r#"(?:"|TYPE |HELP )((?:ai|modelwatch)_[a-z0-9_]+|ALERTS(?:_FOR_STATE)?)\b"#).unwrap();
    let mut names = BTreeSet::new();
    for source in files("src", "rs") {
        names.extend(literal.captures_iter(&source.code()).map(|found| found[1].to_owned()));
    }
    names.retain(|name| !crate::postgres::CORA.contains(name.as_str()) && !NO_METRICS.contains(&name.as_str()));
    names
}

/// The documented names, and whether a name is one of them: a library adds `_total` and `_info`, a histogram has `_bucket`, `_sum`, `_count`.
fn known(names: &BTreeSet<String>, name: &str) -> bool {
    let ends = ["", "_total", "_info", "_bucket", "_sum", "_count"];
    ends.iter().any(|end| name.strip_suffix(end).is_some_and(|base| names.contains(base)))
        || ["_total", "_info"].iter().any(|end| names.contains(&format!("{name}{end}")))
}

fn documented() -> BTreeSet<String> {
    let docs = [read("README.md"), read("ARCHITECTURE.md")].map(Option::unwrap_or_default).concat();
    let name = Regex::new(r"\b(?:ai|modelwatch)_[a-z0-9_]+|\bALERTS(?:_FOR_STATE)?\b").unwrap();
    name.find_iter(&docs).map(|found| found.as_str().to_owned()).collect()
}

#[test]
fn every_metric_of_a_dashboard_exists() {
    let exported = if root().join("src/export").exists() { metrics_of_src() } else { documented() };
    let name = Regex::new(r"\b(?:ai|modelwatch)_[a-z0-9_]+|\bALERTS(?:_FOR_STATE)?\b").unwrap();
    let mut faults = Vec::new();
    for source in files("dashboards", "json") {
        let dashboard: Value = serde_json::from_str(&source.text).unwrap_or_else(|error| panic!("{}: {error}", source.path));
        let mut queries = Vec::new();
        walk(&dashboard, &mut |key, value| {
            if ["expr", "query", "definition"].contains(&key) {
                queries.extend(value.as_str().map(str::to_owned));
            }
        });
        assert!(queries.len() > 10, "{}: only {} queries", source.path, queries.len());
        for query in &queries {
            let unknown = name.find_iter(query).map(|found| found.as_str()).filter(|name| !known(&exported, name));
            faults.extend(unknown.map(|name| format!("{}: no metric {name}, in: {query}", source.path)));
        }
    }
    none(faults);
}

#[test]
fn dashboards_name_no_datasource_and_give_units() {
    let mut faults = Vec::new();
    for source in files("dashboards", "json") {
        let dashboard: Value = serde_json::from_str(&source.text).unwrap();
        walk(&dashboard, &mut |key, value| {
            let uid = value["uid"].as_str().unwrap_or("");
            if key == "datasource" && !["${datasource}", "-- Grafana --"].contains(&uid) {
                faults.push(format!("{}: datasource {value}", source.path));
            }
        });
        let mut ids = BTreeSet::new();
        for panel in dashboard["panels"].as_array().unwrap() {
            if !ids.insert(panel["id"].to_string()) {
                faults.push(format!("{}: two panels have id {}", source.path, panel["id"]));
            }
            if ["timeseries", "stat"].contains(&panel["type"].as_str().unwrap())
                && panel["fieldConfig"]["defaults"]["unit"].is_null()
            {
                faults.push(format!("{}: no unit: {}", source.path, panel["title"]));
            }
        }
    }
    none(faults);
}

/// Each key with its value, at any depth.
fn walk(value: &Value, visit: &mut impl FnMut(&str, &Value)) {
    match value {
        Value::Object(fields) => {
            for (key, value) in fields {
                visit(key, value);
                walk(value, visit);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| walk(item, visit)),
        _ => {}
    }
}

#[test]
fn every_metric_is_documented() {
    let documented = documented();
    let missing = metrics_of_src().into_iter().filter(|name| !known(&documented, name));
    none(missing.map(|name| format!("{name} is in src, but neither in README.md nor in ARCHITECTURE.md")).collect());
}

/// Shipped rules are of kinds that exist, and each names a section of the runbook that is shipped beside it.
#[test]
fn shipped_rules_are_of_known_kinds_and_have_a_runbook() {
    let list = read("src/rule/mod.rs").or_else(|| read("ARCHITECTURE.md")).unwrap();
    let mut faults = Vec::new();
    for source in files("rules", "yml") {
        let file: Value = serde_yaml::from_str(&source.text).unwrap_or_else(|error| panic!("{}: {error}", source.path));
        let rules = file["groups"].as_array().into_iter().flatten().flat_map(|group| group["rules"].as_array().unwrap());
        for rule in rules {
            let name = rule["alert"].as_str().unwrap_or("?");
            let kinds: Vec<&String> = rule.as_object().unwrap().keys().filter(|key| !RULE_KEYS.contains(&key.as_str())).collect();
            if kinds.len() != 1 || !Regex::new(&format!(r"\b{}\b", kinds[0])).unwrap().is_match(&list) {
                faults.push(format!("{}: {name}: no such kind: {kinds:?}", source.path));
            }
            faults.extend(runbook_fault(rule).map(|fault| format!("{}: {name}: {fault}", source.path)));
        }
    }
    none(faults);
}

fn runbook_fault(rule: &Value) -> Option<String> {
    let link = rule["annotations"]["runbook_url"].as_str()?;
    let place = link.rfind("rules/").map(|at| &link[at..]);
    let Some((file, anchor)) = place.and_then(|place| place.split_once('#')) else {
        return Some(format!("{link} is no section of rules/NAME/README.md"));
    };
    let text = read(file).unwrap_or_default();
    let slug =
        |heading: &str| heading.trim_start_matches('#').trim().to_lowercase().replace(' ', "-").replace(['`', ',', ':'], "");
    let found = text.lines().filter(|line| line.starts_with('#')).any(|line| slug(line) == anchor);
    (!found).then(|| format!("{file} has no section {anchor}"))
}

#[test]
fn every_limit_is_used() {
    if !root().join("src/engine").exists() {
        return;
    }
    let limits = read("src/limits.rs").unwrap();
    let sources = files("src", "rs");
    let used =
        |name: &str| sources.iter().filter(|source| source.path != "src/limits.rs").any(|source| source.code().contains(name));
    let names = Regex::new(r"(?m)^pub const (\w+):").unwrap();
    let unused = names.captures_iter(&limits).map(|found| found[1].to_owned()).filter(|name| !used(name));
    none(unused.map(|name| format!("src/limits.rs: {name} is used nowhere")).collect());
}

/// The schema that the tests load is the one that the project was given, where that is at hand.
#[test]
fn the_cora_schema_is_the_given_one() {
    let places: [PathBuf; 2] = ["../shared/schemas/cora.sql", "../../shared/schemas/cora.sql"].map(|place| root().join(place));
    if let Some(given) = places.iter().find_map(|place| std::fs::read_to_string(place).ok()) {
        assert_eq!(given, crate::postgres::CORA);
    }
}

#[test]
fn names_of_metrics_are_known_with_their_endings() {
    let names: BTreeSet<String> = ["ai_requests_total", "ai_cost_usd", "ai_request_duration_seconds"].map(str::to_owned).into();
    let asked = ["ai_requests_total", "ai_cost_usd_total", "ai_request_duration_seconds_bucket", "ai_request_total"];
    let answers: BTreeMap<&str, bool> = asked.into_iter().map(|name| (name, known(&names, name))).collect();
    assert_eq!(answers.values().filter(|known| **known).count(), 3, "{answers:?}");
}
