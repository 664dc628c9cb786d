//! `modelwatch check` on files with one fault each: configurations `tests/bad/NAME.yml`, rule files `tests/bad/rules/NAME.yml`,
//! and beside each `NAME.txt`, what it says on stderr; `tests/bad/parts` has rule files that only a configuration makes bad.
//! With UPDATE_GOLDEN=1 the answers are written anew; read them before they are committed.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use regex::Regex;
use sqlx::Connection;

use crate::sqlite;

/// No answer may hold it. It stands in the files themselves and in the variable and the file that they name.
const SECRET: &str = "hunter2";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn configurations(folder: &str) -> Vec<PathBuf> {
    let files = std::fs::read_dir(root().join(folder)).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<PathBuf> = files.filter(|path| path.extension().is_some_and(|end| end == "yml")).collect();
    files.sort();
    files
}

/// The command as an operator would type it at the root of the repository, with a variable that holds a secret.
fn modelwatch(arguments: &[&str]) -> Output {
    let binary = std::env::var_os("MODELWATCH_BIN").unwrap_or_else(|| env!("CARGO_BIN_EXE_modelwatch").into());
    let mut command = Command::new(binary);
    command.current_dir(root()).env_clear().env("MODELWATCH_TEST_SECRET", SECRET).args(arguments).output().unwrap()
}

/// Rule files are checked alone.
fn check(path: &Path) -> Output {
    let name = path.strip_prefix(root()).unwrap().to_str().unwrap();
    if path.parent().is_some_and(|folder| folder.ends_with("rules")) {
        modelwatch(&["check", name])
    } else {
        modelwatch(&["check", "-c", name])
    }
}

fn texts(output: &Output) -> (String, String) {
    (String::from_utf8(output.stdout.clone()).unwrap(), String::from_utf8(output.stderr.clone()).unwrap())
}

#[test]
fn good_files_pass_without_a_word() {
    let files: Vec<PathBuf> = ["tests/good", "tests/good/rules", "rules"].into_iter().flat_map(configurations).collect();
    assert!(files.len() >= 3, "{files:?}");
    for path in files {
        let output = check(&path);
        let (stdout, stderr) = texts(&output);
        assert_eq!((output.status.code(), stderr.as_str()), (Some(0), ""), "{}", path.display());
        assert!(stdout.contains(", 0 warnings") && !stdout.contains(SECRET), "{stdout}");
    }
}

fn bad() -> Vec<PathBuf> {
    ["tests/bad", "tests/bad/rules"].into_iter().flat_map(configurations).collect()
}

#[test]
fn bad_files_are_answered_as_recorded() {
    let update = std::env::var_os("UPDATE_GOLDEN").is_some();
    let files = bad();
    let mut faults = Vec::new();
    for path in &files {
        let output = check(path);
        let (stdout, stderr) = texts(&output);
        // The excerpt has the place, `NAME.yml:3:5`; there is none where the file itself cannot be read.
        let name = path.strip_prefix(root()).unwrap().display();
        let error = stderr.contains("error[");
        let told = if error { stdout.contains(" error") } else { stderr.contains("warning[") && stdout.contains(" warning") };
        if output.status.code() != Some(i32::from(error)) || !told {
            faults.push(format!("{name}: exit code {:?}: {stdout}{stderr}", output.status.code()));
        }
        if stdout.contains(SECRET) || stderr.contains(SECRET) {
            faults.push(format!("{name}: shows a secret: {stdout}{stderr}"));
        }
        let golden = path.with_extension("txt");
        if update {
            std::fs::write(&golden, &stderr).unwrap();
        }
        let expected = std::fs::read_to_string(&golden).unwrap_or_default();
        if expected != stderr {
            faults.push(format!("{name}: expected\n{expected}\nfound\n{stderr}"));
        }
    }
    assert!(files.len() >= 60 && faults.is_empty(), "{} files\n{}", files.len(), faults.join("\n"));
}

/// Files with more than one fault show that none hides another; all others have one, for one reason.
#[test]
fn bad_files_have_one_fault() {
    let several = [
        "several.yml",
        "rule_file.yml",
        "export.yml",
        "reserved_dimension.yml",
        "dimension_of_rule_at_fault.yml",
        "unknown_dimension.yml",
        "web_dear_hash.yml",
    ];
    let named = |path: &Path, name: &str| path.file_name().is_some_and(|file| file == name);
    let mut faults = Vec::new();
    for path in bad().iter().filter(|path| !several.iter().any(|name| named(path, name))) {
        let golden = std::fs::read_to_string(path.with_extension("txt")).unwrap();
        let n = golden.lines().filter(|line| line.starts_with("error[") || line.starts_with("warning[")).count();
        if n != 1 {
            faults.push(format!("{}: {n} faults", path.display()));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// Codes that no file alone can show: what a database says, what a reload refuses, a test of a rule that is not there.
const ELSEWHERE: [&str; 8] =
    ["bad-mapping", "bad-query", "needs-restart", "never-matches", "no-index", "reload", "state", "unknown-rule"];

#[test]
fn every_code_has_a_bad_file() {
    let code =
        Regex::new(r#"(?:Diagnostic::(?:error|warning|nowhere)|\.error|\.error_help|faults\s*\.at)\(\s*"([a-z-]+)""#).unwrap();
    let answers = bad().into_iter().chain(configurations("tests/bad/tests")).map(|path| path.with_extension("txt"));
    let goldens: String = answers.filter_map(|path| std::fs::read_to_string(path).ok()).collect();
    let (mut folders, mut codes) = (vec![root().join("src")], BTreeSet::new());
    while let Some(folder) = folders.pop() {
        for path in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|end| end == "rs") {
                let text = std::fs::read_to_string(&path).unwrap();
                let code_of = text.split("#[cfg(test)]").next().unwrap();
                codes.extend(code.captures_iter(code_of).map(|found| found[1].to_owned()));
            }
        }
    }
    assert!(codes.len() > 20, "{codes:?}");
    let shown = |code: &String| goldens.contains(&format!("[{code}]")) || ELSEWHERE.contains(&code.as_str());
    let missing: Vec<_> = codes.iter().filter(|code| !shown(code)).collect();
    assert!(missing.is_empty(), "no file of tests/bad shows {missing:?}");
}

#[test]
fn machines_are_answered_on_stdout() {
    let output = modelwatch(&["check", "--format", "json", "tests/bad/rules/bad_for.yml"]);
    let (stdout, stderr) = texts(&output);
    let answer: serde_json::Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!((output.status.code(), stderr.as_str(), &answer["errors"]), (Some(1), "", &serde_json::json!(1)));
    let fault = &answer["diagnostics"][0];
    assert_eq!(
        (&fault["code"], &fault["file"], &fault["line"]),
        (&"bad-value".into(), &"tests/bad/rules/bad_for.yml".into(), &6.into())
    );
    let (stdout, stderr) = texts(&modelwatch(&["check", "--format", "github", "tests/bad/rules/bad_for.yml"]));
    assert!(stdout.starts_with("::error file=tests/bad/rules/bad_for.yml,line=6,col=14,") && stderr.is_empty(), "{stdout}");
    let (stdout, _) = texts(&modelwatch(&["check", "--format", "json", "tests/good/rules/streak.yml"]));
    assert_eq!(serde_json::from_str::<serde_json::Value>(&stdout).unwrap()["diagnostics"], serde_json::json!([]));
}

#[test]
fn what_cannot_be_read_has_its_own_exit_code() {
    for arguments in [&["check", "-c", "missing.yml"][..], &["check", "missing.yml"], &["check", "--explain", "expr"]] {
        assert_eq!(modelwatch(arguments).status.code(), Some(2), "{arguments:?}");
    }
}

#[test]
fn named_rule_files_are_checked_against_a_configuration() {
    let against = |file: &str| modelwatch(&["check", "-c", "tests/bad/rule_syntax.yml", file]);
    // Those that it names itself are left out.
    assert_eq!(against("tests/good/rules/streak.yml").status.code(), Some(0));
    let (_, stderr) = texts(&against("tests/bad/parts/unknown_dimension.yml"));
    assert!(stderr.contains("error[unknown-dimension]") && !stderr.contains("error[yaml]"), "{stderr}");
}

#[test]
fn kinds_are_explained() {
    let (stdout, _) = texts(&modelwatch(&["check", "--explain", "error_spike"]));
    assert!(stdout.starts_with("More failures within a window") && stdout.contains("error_spike: {more_than:"), "{stdout}");
    let (page, _) = texts(&modelwatch(&["check", "--explain"]));
    let file = root().join("rules/KINDS.md");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&file, &page).unwrap();
    }
    assert_eq!(std::fs::read_to_string(file).unwrap_or_default(), page, "rules/KINDS.md is old; UPDATE_GOLDEN=1 makes it anew");
}

#[tokio::test]
async fn databases_are_asked_what_rules_can_ever_match() {
    let folder = tempfile::tempdir().unwrap();
    let mut connection = sqlite::open(&folder.path().join("calls.db")).await;
    sqlite::execute(&mut connection, "CREATE TABLE calls (id integer PRIMARY KEY, at text, ok boolean, model text, org text)")
        .await;
    for (at, model) in [("2026-11-01 10:00:00", "gpt-4o"), ("2026-11-03 10:00:00", "o3")] {
        let insert = format!("INSERT INTO calls (at, ok, model) VALUES ('{at}', true, '{model}')");
        sqlite::execute(&mut connection, &insert).await;
    }
    connection.close().await.unwrap();
    let mapping = "{name: calls, from: calls, id: id, time: at, success: ok, dimensions: {model: model, org: org}}";
    let config = format!("sources: [{{name: app, url: 'sqlite:calls.db', tables: [{mapping}]}}]\nrule_files: [rules.yml]\n");
    std::fs::write(folder.path().join("modelwatch.yml"), config).unwrap();
    let rules = r#"groups:
  - name: g
    rules:
      - alert: Matches
        error_spike: {more_than: 1, within: 1d, by: [model], where: ['model=~"gpt.*"', 'org=""']}
      - alert: Misses
        error_spike: {more_than: 1, within: 1d, where: ['model!="gpt-4o"', 'model="gpt-4"']}
      - alert: NoGroups
        error_spike: {more_than: 1, within: 1d, by: [org]}
      - alert: TooLong
        error_spike: {more_than: 1, within: 3d}
"#;
    std::fs::write(folder.path().join("rules.yml"), rules).unwrap();
    let config = folder.path().join("modelwatch.yml");
    let output = modelwatch(&["check", "-c", config.to_str().unwrap(), "--db", "--format", "json"]);
    let answer: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let told = answer["diagnostics"].as_array().unwrap().iter();
    let told: Vec<String> = told.map(|fault| format!("{} {} {}", fault["line"], fault["message"], fault["help"])).collect();
    let expected = [
        r#"7 "Misses: no row since 2026-10-04T10:00:00Z satisfies `model=\"gpt-4\"`" "model is `gpt-4o` or `o3` there""#,
        r#"9 "NoGroups: no row since 2026-10-04T10:00:00Z has a `org`, so it makes no groups" null"#,
        r#"10 "TooLong: its windows go back 3d, but the oldest row is of 2026-11-01T10:00:00Z" "until there are older rows it compares with less than it asks for""#,
    ];
    // An index is missed, too, where the table is large; here it is not.
    assert_eq!((output.status.code(), told.iter().map(String::as_str).collect::<Vec<_>>()), (Some(0), expected.to_vec()));
    assert_eq!(answer["errors"], 0);
}

/// A file of answers without its question is left over.
#[test]
fn every_answer_has_its_file() {
    let folders = ["tests/bad", "tests/bad/rules", "tests/bad/parts", "tests/bad/tests"].map(|folder| root().join(folder));
    let texts = folders.iter().flat_map(|folder| std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()));
    let mut left = texts.filter(|path| path.extension().is_some_and(|end| end == "txt") && !path.with_extension("yml").exists());
    assert_eq!(left.next(), None);
}
