//! The files that a configuration is made of, and what stands in them: to know when to read it again.
//!
//! Contents are compared, not times: editors write a file anew or replace it, Kubernetes swaps a link to the folder that it
//! lies in, and all that matters is what would be read now.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::config::rules::is_test_file;
use crate::labels::sha256_hex;
use crate::yaml::{self, Faults};

/// What stands in the configuration and in the files of rules and templates that it names, by path; none where a file cannot be read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Content(BTreeMap<PathBuf, Option<String>>);

impl Content {
    /// As it is now. A configuration that is no YAML names no rule files.
    pub fn of(config: &Path) -> Content {
        let text = std::fs::read_to_string(config).ok();
        let name = config.display().to_string();
        let root = text.as_ref().and_then(|text| yaml::parse(&name, text, &mut Faults::default()));
        let folder = config.parent().unwrap_or(Path::new("."));
        let named = |key| root.iter().flat_map(move |root| root.at(key).items());
        let patterns = named("rule_files").chain(named("templates")).filter_map(|item| yaml::text(item).ok());
        let found = patterns.filter_map(|pattern| glob::glob(&folder.join(pattern).to_string_lossy()).ok());
        let rules: Vec<PathBuf> = found.flatten().flatten().filter(|path| !is_test_file(path)).collect();
        let digest = |text: String| sha256_hex(&text);
        let rules = rules.into_iter().map(|path| (path.clone(), std::fs::read_to_string(&path).ok().map(digest)));
        Content(rules.chain([(config.to_owned(), text.map(digest))]).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_is_that_of_every_file_that_would_be_read() {
        let dir = tempfile::tempdir().unwrap();
        let (config, at) = (dir.path().join("m.yml"), |name: &str| dir.path().join(name));
        let write = |name: &str, text: &str| std::fs::write(at(name), text).unwrap();
        let mut last = Content::of(&config);
        let mut changed = || {
            let now = Content::of(&config);
            std::mem::replace(&mut last, now.clone()) != now
        };
        assert!(!changed());
        write("m.yml", "rule_files: [rules/*.yml, more.yml]\n");
        assert!(changed() && !changed());
        std::fs::create_dir(at("rules")).unwrap();
        write("rules/a.yml", "groups: []");
        assert!(changed());
        // Of the same length at the same second.
        write("rules/a.yml", "groups: {}");
        assert!(changed());
        write("rules/a.test.yml", "tests: []");
        write("rules/a.yml~", "groups: []");
        assert!(!changed());
        write("more.yml", "groups: []");
        assert!(changed());
        std::fs::rename(at("rules/a.yml"), at("rules/b.yml")).unwrap();
        assert!(changed());
        std::fs::remove_file(at("rules/b.yml")).unwrap();
        assert!(changed());
        write("m.yml", "rule_files: [");
        assert!(changed() && !changed());
        write("more.yml", "groups: {}");
        assert!(!changed(), "nobody names it any more");
        std::fs::remove_file(at("m.yml")).unwrap();
        assert!(changed());
    }
}
