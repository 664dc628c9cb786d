//! What the daemon of the demo reads: a config and rules, written beside the database.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// The rules, as they are written.
pub const RULES: &str = include_str!("rules.yml");

/// Files of the demo in its directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Files {
    /// For `-c`.
    pub config: PathBuf,
    /// The rules that it names.
    pub rules: PathBuf,
    /// The embedded database, to be created by [`super::database::Database::create`].
    pub database: PathBuf,
}

impl Files {
    /// Where they are, or will be.
    pub fn within(directory: &Path) -> Files {
        let at = |name| directory.join(name);
        Files { config: at("modelwatch.yml"), rules: at("rules.yml"), database: at("demo.db") }
    }

    /// Writes config and rules; `listen` is an address such as `127.0.0.1:9464`.
    pub fn write(&self, listen: &str) -> Result<()> {
        let state = self.config.with_file_name("state.db");
        let written = [(&self.config, config(&self.database, &state, listen)), (&self.rules, RULES.to_owned())];
        for (path, text) in written {
            fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))?;
        }
        Ok(())
    }
}

/// The config.
fn config(database: &Path, state: &Path, listen: &str) -> String {
    let url = quoted(&format!("sqlite://{}", database.display()));
    let (state, external_url) = (quoted(&state.display().to_string()), quoted(&format!("http://{listen}")));
    let listen = quoted(listen);
    format!(
        "\
listen: {listen}
state: {state}
external_url: {external_url}
rule_files: [rules.yml]
sources:
  - name: demo
    url: {url}
    poll: 1s
    tables:
      # Rows of the demo come at most 20 s after their calls began.
      - {{preset: cora_usage, lateness: 1m}}
      - {{preset: cora_errors, lateness: 1m}}
route: {{receiver: terminal, group_by: [alertname], group_wait: 0s, group_interval: 5s, repeat_interval: 4h}}
receivers:
  - name: terminal
    stdout_configs: [{{}}]
"
    )
}

/// A YAML text in single quotes.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::demo::scenario::COST_WINDOW;
    use crate::yaml::{self, Faults};

    #[test]
    fn the_files_are_yaml() {
        let directory = tempfile::tempdir().unwrap();
        let files = Files::within(&directory.path().join("it's"));
        fs::create_dir(files.config.parent().unwrap()).unwrap();
        files.write("127.0.0.1:0").unwrap();
        for path in [&files.config, &files.rules] {
            let mut faults = Faults::default();
            let text = fs::read_to_string(path).unwrap();
            assert!(yaml::parse("x", &text, &mut faults).is_some(), "{:?}", faults.0);
            assert!(faults.0.is_empty(), "{:?}", faults.0);
        }
    }

    #[test]
    fn the_rule_has_the_window_of_the_history() {
        assert!(RULES.contains(&format!("window: {COST_WINDOW},")));
    }
}
