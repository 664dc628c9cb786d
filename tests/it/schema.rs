//! `modelwatch schema` against the files that `modelwatch check` is tested on: what is good is accepted, and what is bad in
//! its structure is refused.

use std::path::Path;
use std::process::Command;

use boon::{Compiler, Schemas};
use regex::Regex;
use serde_json::Value;

/// Faults that a schema sees. Others are of values (`bad-value` may be either), of what values mean, or of other files.
const STRUCTURAL: [&str; 7] =
    ["conflicting-keys", "missing-key", "no-kind", "two-kinds", "unknown-key", "unknown-preset", "wrong-type"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn schema(files: &str) -> Value {
    let binary = std::env::var_os("MODELWATCH_BIN").unwrap_or_else(|| env!("CARGO_BIN_EXE_modelwatch").into());
    let output = Command::new(binary).args(["schema", files]).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Whether a schema accepts a file; the reason where it does not.
struct Validator {
    schemas: Schemas,
    index: boon::SchemaIndex,
}

impl Validator {
    fn new(files: &str) -> Validator {
        let (mut schemas, mut compiler) = (Schemas::new(), Compiler::new());
        compiler.add_resource("schema.json", schema(files)).unwrap();
        let index = compiler.compile("schema.json", &mut schemas).unwrap();
        Validator { schemas, index }
    }

    fn check(&self, path: &Path) -> Result<(), String> {
        let text = std::fs::read_to_string(path).unwrap();
        let value: Value = serde_yaml::from_str(&text).map_err(|error| error.to_string())?;
        // A file without anything is a map without anything.
        let value = if value.is_null() { serde_json::json!({}) } else { value };
        self.schemas.validate(&value, self.index).map_err(|error| error.to_string())
    }
}

fn is_test(path: &Path) -> bool {
    path.to_string_lossy().ends_with(".test.yml")
}

/// Of the files below a folder those that are tests of rules, or those that are not.
fn files(folder: &str, tests: bool) -> Vec<std::path::PathBuf> {
    let files = std::fs::read_dir(root().join(folder)).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = files.filter(|path| path.extension().is_some_and(|end| end == "yml")).collect();
    files.retain(|path| is_test(path) == tests);
    files.sort();
    files
}

#[test]
fn good_files_are_accepted() {
    let (config, rules) = (Validator::new("config"), Validator::new("rules"));
    let mut faults = Vec::new();
    for (validator, folders) in [(&config, ["tests/good", "deploy"]), (&rules, ["tests/good/rules", "rules"])] {
        for path in folders.into_iter().flat_map(|folder| files(folder, false)).filter(|path| !path.ends_with("compose.yml")) {
            faults.extend(validator.check(&path).err().map(|fault| format!("{}: {fault}", path.display())));
        }
    }
    let tests = Validator::new("tests");
    for path in ["tests/ruletest", "rules", "src/cli/demo"].into_iter().flat_map(|folder| files(folder, true)) {
        faults.extend(tests.check(&path).err().map(|fault| format!("{}: {fault}", path.display())));
    }
    for (validator, sample) in [(&config, "src/config/default.yml"), (&rules, "src/rule/sample.yml")] {
        faults.extend(validator.check(&root().join(sample)).err().map(|fault| format!("{sample}: {fault}")));
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn what_is_bad_in_its_structure_is_refused() {
    let code = Regex::new(r"(?m)^error\[([a-z-]+)\].*\n\s*--> (\S+\.yml)").unwrap();
    let (mut faults, mut refused) = (Vec::new(), 0);
    let folders = [("config", "tests/bad"), ("rules", "tests/bad/rules"), ("tests", "tests/bad/tests")];
    for (files_of, folder) in folders {
        let validator = Validator::new(files_of);
        for path in files(folder, files_of == "tests") {
            let golden = std::fs::read_to_string(path.with_extension("txt")).unwrap_or_default();
            // Of the faults those of this file, and not of one that it names.
            let own = |found: &regex::Captures<'_>| root().join(&found[2]) == path;
            let codes: Vec<&str> = code.captures_iter(&golden).filter(own).map(|found| found.get(1).unwrap().as_str()).collect();
            if codes.iter().any(|code| STRUCTURAL.contains(code)) {
                refused += 1;
                if validator.check(&path).is_ok() {
                    faults.push(format!("{}: accepted in spite of {codes:?}", path.display()));
                }
            }
        }
    }
    assert!(faults.is_empty() && refused >= 10, "{refused} refused; {}", faults.join("\n"));
}

#[test]
fn editors_are_told_what_keys_and_kinds_are_for() {
    let config = schema("config");
    let table = &config["properties"]["sources"]["items"]["properties"]["tables"]["items"]["properties"];
    assert_eq!(table["lateness"]["description"], "how far behind the newest row a row may appear");
    assert_eq!(table["kind"]["enum"], serde_json::json!(["usage", "errors"]));
    let rules = schema("rules");
    let rule = &rules["properties"]["groups"]["items"]["properties"]["rules"]["items"]["properties"];
    let spike = &rule["error_spike"];
    assert!(spike["description"].as_str().unwrap().contains("More failures within a window"), "{spike}");
    assert_eq!(spike["required"], serde_json::json!(["within"]));
    assert_eq!(spike["additionalProperties"], false);
    assert!(spike["properties"]["by"]["description"].as_str().unwrap().starts_with("dimensions"), "{spike}");
    assert_eq!(rule["keep_firing_for"]["description"], "how long it must be well before the alert is resolved; default 0s");
}
