//! What each kind says of itself: the header of its file is its documentation, and the example in it is tested.

use super::{KINDS, KindEntry};

/// The documentation of a kind in Markdown; none where there is no such kind.
pub fn docs(kind: &str) -> Option<String> {
    let entry = KINDS.iter().find(|entry| entry.name == kind)?;
    let header = entry.source.lines().map_while(|line| line.strip_prefix("//!"));
    Some(header.map(|line| format!("{}\n", line.strip_prefix(' ').unwrap_or(line))).collect())
}

/// All kinds in one page.
pub fn page() -> String {
    let mut page =
        "# Kinds of rules\n\nMade from the headers of src/rule: `modelwatch check --explain KIND` says the same.\n".to_owned();
    for KindEntry { name, .. } in KINDS {
        page += &format!("\n## {name}\n\n{}", docs(name).unwrap_or_default());
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rule::{KINDS, parse_file};
    use crate::yaml::Faults;

    /// The examples of a kind, each a rule's one line `KIND: ...` with what is indented below it.
    fn examples(kind: &str, docs: &str) -> Vec<String> {
        let mut examples: Vec<String> = Vec::new();
        // Within a block, and within one of options.
        let (mut within, mut options) = (false, false);
        for line in docs.lines() {
            match line.strip_prefix("```") {
                Some(language) => (within, options) = (language == "yaml", false),
                None if within && line.starts_with(&format!("{kind}:")) => {
                    options = true;
                    examples.push(line.to_owned());
                }
                None if options => {
                    if let Some(last) = examples.last_mut() {
                        *last += &format!("\n        {line}");
                    }
                }
                None => {}
            }
        }
        examples
    }

    #[test]
    fn every_kind_is_documented_by_examples_that_parse() {
        for KindEntry { name: kind, .. } in KINDS {
            let docs = docs(kind).unwrap_or_default();
            let examples = examples(kind, &docs);
            assert!(docs.lines().count() > 3 && !examples.is_empty(), "{kind}: {docs}");
            for example in examples {
                let file = format!("groups:\n  - name: g\n    rules:\n      - alert: A\n        {example}\n");
                let mut faults = Faults::default();
                let rules = parse_file("docs.yml", &file, &mut faults);
                assert!(rules.len() == 1 && faults.0.is_empty(), "{file}{:?}", faults.0);
            }
        }
    }
}
