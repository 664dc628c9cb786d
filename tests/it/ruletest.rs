//! `modelwatch test`: shipped tests pass, failing ones are told as recorded (`tests/ruletest/failing.txt`), and so are faults of
//! test files (`tests/bad/tests/NAME.test.txt`). With UPDATE_GOLDEN=1 the answers are written anew.

use std::path::{Path, PathBuf};
use std::process::Command;

use regex::Regex;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Exit code, stdout without durations, stderr.
fn test_in(folder: &Path, args: &[&str]) -> (i32, String, String) {
    let binary = std::env::var_os("MODELWATCH_BIN").unwrap_or_else(|| env!("CARGO_BIN_EXE_modelwatch").into());
    let output = Command::new(binary).current_dir(folder).env_clear().arg("test").args(args).output().unwrap();
    let (stdout, stderr) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    let stdout = Regex::new(r"in \d+\.\d\d s").unwrap().replace_all(&stdout, "in 0.00 s").into_owned();
    (output.status.code().unwrap(), stdout, stderr)
}

fn test(args: &[&str]) -> (i32, String, String) {
    test_in(root(), args)
}

/// What differs from the recorded answer.
fn golden(path: &Path, found: &str) -> Option<String> {
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(path, found).unwrap();
    }
    let expected = std::fs::read_to_string(path).unwrap_or_default();
    (expected != found).then(|| format!("{}: expected\n{expected}\nfound\n{found}", path.display()))
}

#[test]
fn shipped_rules_pass_their_tests() {
    let (code, told, stderr) = test(&["rules", "src/cli/demo", "--verbose"]);
    assert_eq!((code, stderr.as_str()), (0, ""), "{told}");
    assert!(
        told.contains("rules/cora/cora.test.yml\n  ok    ") && told.contains("src/cli/demo/rules.test.yml\n  ok    "),
        "{told}"
    );
    // Every rule that is shipped fires in some test.
    for alert in ["AIErrorSpike", "AIModelFailing", "AICostAnomaly", "AIFailuresInARow"] {
        assert!(Regex::new(&format!(r"{alert}\{{.*\}} fired (from|since) ")).unwrap().is_match(&told), "{alert}: {told}");
    }
}

#[test]
fn good_tests_pass() {
    let (code, stdout, stderr) = test(&["tests/ruletest/errors.test.yml"]);
    let expected = "tests/ruletest/errors.test.yml
  ok    twelve errors within an hour are enough
  ok    failures in a row are told in office hours alone
  ok    so is what became known late

3 tests in 1 file: 3 passed, in 0.00 s
";
    assert_eq!((code, stdout.as_str(), stderr.as_str()), (0, expected, ""));
}

#[test]
fn failing_tests_are_told_as_recorded() {
    let (code, stdout, stderr) = test(&["tests/ruletest/failing.test.yml"]);
    assert_eq!((code, stderr.as_str()), (1, ""));
    assert_eq!(golden(&root().join("tests/ruletest/failing.txt"), &stdout), None);
}

#[test]
fn faults_of_test_files_are_told_as_recorded() {
    let folder = root().join("tests/bad/tests");
    let entries = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<PathBuf> = entries.filter(|path| path.to_string_lossy().ends_with(".test.yml")).collect();
    files.sort();
    let mut faults = Vec::new();
    for path in &files {
        let name = path.strip_prefix(root()).unwrap().to_string_lossy();
        let (code, stdout, stderr) = test(&[&name]);
        if code != 1 || !stdout.starts_with(&format!("{name}\n  FAIL  the file is at fault\n")) {
            faults.push(format!("{name}: exit code {code}: {stdout}{stderr}"));
        }
        faults.extend(golden(&path.with_extension("txt"), &stderr));
    }
    assert!(files.len() >= 20 && faults.is_empty(), "{} files\n{}", files.len(), faults.join("\n"));
}

/// The tags of a document in order, without their attributes; panics where it is not well-formed.
fn tags(xml: &str) -> Vec<String> {
    let tag = Regex::new(r#"^<(/?)([a-z]+)((?: [a-z]+="[^"<]*")*)(/?)>"#).unwrap();
    let entity = Regex::new("^&(amp|lt|gt|quot|apos);").unwrap();
    let mut rest = xml.strip_prefix("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n").unwrap();
    let (mut open, mut all): (Vec<String>, Vec<String>) = Default::default();
    while let Some(character) = rest.chars().next() {
        if character == '<' {
            let found = tag.captures(rest).unwrap_or_else(|| panic!("no tag: {rest}"));
            match (&found[1], &found[4]) {
                ("/", _) => assert_eq!(open.pop().as_deref(), Some(&found[2]), "{rest}"),
                (_, "/") => all.push(found[2].to_owned()),
                _ => {
                    open.push(found[2].to_owned());
                    all.push(found[2].to_owned());
                }
            }
            rest = &rest[found[0].len()..];
        } else {
            assert!(character != '&' || entity.is_match(rest), "{rest}");
            rest = &rest[character.len_utf8()..];
        }
    }
    assert!(open.is_empty(), "{open:?}");
    all
}

#[test]
fn results_are_written_as_junit() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let path = file.path().to_str().unwrap();
    let (code, ..) = test(&["tests/ruletest", "tests/bad/tests/zone.test.yml", "--junit", path]);
    let xml = std::fs::read_to_string(path).unwrap();
    let tags = tags(&xml);
    let count = |name: &str| tags.iter().filter(|tag| *tag == name).count();
    assert_eq!((code, count("testsuites"), count("testsuite"), count("testcase")), (1, 1, 3, 10), "{xml}");
    assert_eq!((count("failure"), count("error")), (5, 1), "{xml}");
    assert!(xml.contains(r#"<testsuites name="modelwatch" tests="10" failures="5" errors="1" time=""#), "{xml}");
    let case = r#"<testcase name="too early, while it is pending" classname="tests/ruletest/failing.test.yml" file="tests/ruletest/failing.test.yml" line="6" time=""#;
    assert!(xml.contains(case), "{xml}");
    let (code, _, stderr) = test(&["tests/ruletest/errors.test.yml", "--junit", "/nowhere/results.xml"]);
    assert_eq!(code, 2);
    assert!(stderr.contains("error: cannot write /nowhere/results.xml"), "{stderr}");
}

#[test]
fn names_are_filtered() {
    let (code, stdout, _) = test(&["tests/ruletest", "--filter", "ERRORS.test.yml: twelve"]);
    let only = "tests/ruletest/errors.test.yml\n  ok    twelve errors within an hour are enough\n\n1 test in 1 file: 1 passed, in 0.00 s\n";
    assert_eq!((code, stdout.as_str()), (0, only));
    let (code, _, stderr) = test(&["tests/ruletest", "--filter", "thirteen"]);
    assert_eq!((code, stderr.as_str()), (2, "error: no test in 2 files contains `thirteen`\n"));
}

#[test]
fn where_there_is_nothing_to_test_it_says_so() {
    for (args, said) in [
        (
            &["rules/cora/cora.yml"][..],
            "rules/cora/cora.yml is no file of tests; those of its rules would be in rules/cora/cora.test.yml",
        ),
        (&["dashboards"][..], "there are no tests in dashboards: no file there is named `*.test.yml`"),
        (&["-c", "nowhere.yml"][..], "cannot read nowhere.yml"),
    ] {
        let (code, stdout, stderr) = test(args);
        assert!(code == 2 && stdout.is_empty() && stderr.contains(said), "{args:?}: {stdout}{stderr}");
    }
    let (code, _, stderr) = test(&["nowhere.test.yml"]);
    assert!(code == 1 && stderr.contains("cannot read nowhere.test.yml"), "{stderr}");
    let empty = tempfile::tempdir().unwrap();
    let (code, _, stderr) = test_in(empty.path(), &[]);
    assert!(code == 2 && stderr.contains("there are no tests: no `*.test.yml` below rules/"), "{stderr}");
}

/// The tests beside the rule files of a configuration are found, and its intervals are known; its secrets are not needed.
#[test]
fn the_configuration_says_where_tests_are_and_names_intervals() {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = dir.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    let config = "sources: [{name: app, url: 'postgres://${NOWHERE}', tables: []}]
rule_files: [alarms/*.yml]
time_intervals: [{name: office, time_intervals: [mon-fri 09:00-17:00]}]
";
    write("modelwatch.yml", config);
    let rule = "error_spike: {more_than: 0, within: 1h, active: office}";
    write("alarms/a.yml", &format!("groups: [{{name: g, interval: 1m, rules: [{{alert: A, {rule}}}]}}]"));
    let test_file = "tests:
  - name: in office hours
    rows: [1 failure at 08:30]
    expect: [{at: '08:59', alerts: []}, {at: '09:00', alerts: [{alertname: A}]}]
";
    write("alarms/a.test.yml", test_file);
    let passed = "alarms/a.test.yml\n  ok    in office hours\n\n1 test in 1 file: 1 passed, in 0.00 s\n";
    assert_eq!(test_in(dir.path(), &[]), (0, passed.to_owned(), String::new()));
    write("rules/b/b.test.yml", &test_file.replace("tests:", "rule_files: [../../alarms/a.yml]\ntests:"));
    let (code, stdout, stderr) = test_in(dir.path(), &[]);
    assert!(code == 0 && stdout.contains("2 tests in 2 files: 2 passed"), "{stdout}{stderr}");
    std::fs::rename(dir.path().join("modelwatch.yml"), dir.path().join("other.yml")).unwrap();
    let (code, _, stderr) = test_in(dir.path(), &[]);
    assert!(code == 1 && stderr.contains("there is no time interval `office`"), "{stderr}");
    let (code, ..) = test_in(dir.path(), &["-c", "other.yml", "alarms/a.test.yml"]);
    assert_eq!(code, 0);
    write("other.yml", &config.replace("mon-fri", "mon-tuesday-fri"));
    let (code, stdout, stderr) = test_in(dir.path(), &["-c", "other.yml"]);
    assert!(code == 1 && stdout.is_empty() && stderr.contains("other.yml:3:"), "{stdout}{stderr}");
}

/// The example of README.md tests the rule that stands above it there.
#[test]
fn the_documented_test_passes() {
    let readme = std::fs::read_to_string(root().join("README.md")).unwrap();
    let blocks: Vec<&str> = readme.split("```yaml\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    let block = |begin: &str, holds: &str| *blocks.iter().find(|b| b.starts_with(begin) && b.contains(holds)).unwrap();
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("rules")).unwrap();
    std::fs::write(dir.path().join("rules/errors.yml"), block("groups:", "AIErrorSpike")).unwrap();
    std::fs::write(dir.path().join("rules/errors.test.yml"), block("tests:", "AIErrorSpike")).unwrap();
    let (code, stdout, stderr) = test_in(dir.path(), &[]);
    assert_eq!((code, stderr.as_str()), (0, ""), "{stdout}");
    for command in ["modelwatch test", "modelwatch test rules --filter cora --verbose", "modelwatch test --junit results.xml"] {
        assert!(readme.contains(&format!("\n{command} ")), "{command}");
    }
    let (code, ..) = test_in(dir.path(), &["rules", "--filter", "ERRORS", "--verbose", "--junit", "results.xml"]);
    assert!(code == 0 && dir.path().join("results.xml").exists());
}
