//! `modelwatch check` on files with one fault each: `tests/bad/NAME.yml`, and beside it `NAME.txt`, what it says on stderr.
//! With UPDATE_GOLDEN=1 the answers are written anew; read them before they are committed.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

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
fn check(path: &Path) -> Output {
    let binary = std::env::var_os("MODELWATCH_BIN").unwrap_or_else(|| env!("CARGO_BIN_EXE_modelwatch").into());
    let mut command = Command::new(binary);
    command.current_dir(root()).env_clear().env("MODELWATCH_TEST_SECRET", SECRET);
    command.args(["check", "-c"]).arg(path.strip_prefix(root()).unwrap()).output().unwrap()
}

#[test]
fn good_files_pass_without_a_word() {
    let files = configurations("tests/good");
    assert!(files.len() >= 3, "{files:?}");
    for path in files {
        let output = check(&path);
        let (stdout, stderr) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
        assert_eq!((output.status.code(), stderr.as_str()), (Some(0), ""), "{}", path.display());
        assert!(stdout.contains(", 0 warnings") && !stdout.contains(SECRET), "{stdout}");
    }
}

#[test]
fn bad_files_are_answered_as_recorded() {
    let update = std::env::var_os("UPDATE_GOLDEN").is_some();
    let files = configurations("tests/bad");
    let mut faults = Vec::new();
    for path in &files {
        let output = check(path);
        let (stdout, stderr) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
        // The excerpt has the place, `NAME.yml:3:5`; there is none where the file itself cannot be read.
        let name = path.file_name().unwrap().to_string_lossy();
        if output.status.code() != Some(1) || !stderr.contains("error[") || !stdout.contains(" error") {
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
    assert!(files.len() >= 20 && faults.is_empty(), "{} files\n{}", files.len(), faults.join("\n"));
}

/// A file of answers without its question is left over.
#[test]
fn every_answer_has_its_file() {
    let texts = std::fs::read_dir(root().join("tests/bad")).unwrap().map(|entry| entry.unwrap().path());
    let mut left = texts.filter(|path| path.extension().is_some_and(|end| end == "txt") && !path.with_extension("yml").exists());
    assert_eq!(left.next(), None);
}
