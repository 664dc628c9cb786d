//! Unit tests of rules, in YAML beside them (`errors.test.yml` beside `errors.yml`).
//!
//! ```yaml
//! rule_files: [errors.yml]        # from the folder of this file; left out: the file of the same name without `.test`
//! start: 2026-01-05               # day 1 (default; a Monday)
//! zone: America/Los_Angeles       # of all times here; default UTC
//! time_intervals: []              # as in the configuration, for rules that name one
//! source: cora                    # what the rows are read from, unless a row says otherwise; default: what `where` of the rules
//! tables: {calls: cora_usage, errors: cora_errors}   # asks for, else test, calls, errors
//! rows: []                        # of each test
//! tests:
//!   - name: more than ten failures in an hour
//!     rules: [AIErrorSpike]       # only these; default all
//!     rows:
//!       - 12 failures of gpt-4o every 30s from 10:00
//!     answers:                    # of databases to the queries of rules; the first one holds before its time too
//!       - {query_of: OrgBudget, at: "09:00", rows: [{org: acme, value: 3}]}
//!     expect:
//!       - at: "10:06"             # or `from` one time `to` another: at each instant
//!         alerts:
//!           - {alertname: AIErrorSpike}                       # labels that it has, among others
//!           - labels: {alertname: AIModelFailing, model: gpt-4o}
//!             exact: true                                     # it has no other labels
//!             state: pending                                  # default firing
//!             late: true                                      # its rows came late
//!             value: 12
//!             annotations: {summary: "gpt-4o failed 12 times"}
//!             evidence: 12 failures in the 1h                 # a part of it
//!       - {at: "12:00", alerts: []}
//!       - {from: "10:00", to: "12:00", fired: [{alertname: AIErrorSpike}]}   # those that began to fire then, once
//! ```
//!
//! `rows` has the language of rows. The alerts of an expectation are, one to one, those that fire; pending ones count
//! where one that is listed is said to be pending, and then all of them. Errors are failed calls, unless rows of a test are
//! records of an error table. Nothing is there before the first row: history is what the rows say.

pub mod expectation;
pub mod file;
pub mod junit;
pub mod play;
pub mod report;
pub mod rows;
pub mod words;

use std::path::{Path, PathBuf};

use crate::calendar::TimeIntervals;
use crate::diag::{Diagnostic, Place, any_error, nearest};
use crate::rule::{Rule, parse_file};
use crate::ruletest::file::{Test, TestFile};
use crate::ruletest::play::Played;
use crate::yaml::Faults;

pub use file::schema;

/// A test file with the rules that it tests.
#[derive(Debug)]
pub struct Suite {
    /// What it says.
    pub file: TestFile,
    /// The rule files: their names and texts.
    rules: Vec<(String, String)>,
    intervals: TimeIntervals,
}

impl Suite {
    /// Reads a test file and its rule files; none where there is an error among the faults. `intervals` are those of the
    /// configuration.
    pub fn load(path: &Path, intervals: &TimeIntervals, faults: &mut Faults) -> Option<Suite> {
        let name = path.display().to_string();
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) => {
                faults.0.push(Diagnostic::nowhere("unreadable", format!("cannot read {name}: {error}")));
                return None;
            }
        };
        let file = file::parse(&name, &text, faults)?;
        let mut rules = Vec::new();
        for (path, place) in named(&file) {
            match std::fs::read_to_string(&path) {
                Ok(text) => rules.push((path.display().to_string(), text)),
                Err(error) => {
                    let help = "rule_files: [errors.yml]; a name is from the folder of the test file";
                    faults.at("no-file", &place, format!("cannot read the rules in {}: {error}", path.display()), help);
                }
            }
        }
        Suite::new(file, rules, intervals, faults)
    }

    /// The same of texts that were read.
    pub fn new(file: TestFile, rules: Vec<(String, String)>, intervals: &TimeIntervals, faults: &mut Faults) -> Option<Suite> {
        let intervals = file.intervals.clone().unwrap_or_else(|| intervals.clone());
        let suite = Suite { file, rules, intervals };
        let rules = suite.read_rules(faults);
        // Where a rule is at fault its name is not known.
        if !any_error(&faults.0) {
            suite.check_names(&rules, faults);
        }
        (!any_error(&faults.0)).then_some(suite)
    }

    fn read_rules(&self, faults: &mut Faults) -> Vec<Rule> {
        let mut rules: Vec<Rule> = self.rules.iter().flat_map(|(name, text)| parse_file(name, text, faults)).collect();
        rules.iter_mut().for_each(|rule| rule.settle_hours(&self.intervals, faults));
        rules
    }

    /// A rule that is named and not there would be tested by nothing.
    fn check_names(&self, rules: &[Rule], faults: &mut Faults) {
        let mut check = |name: &str, place: &Place| {
            if rules.iter().all(|rule| rule.name != name) {
                let near = nearest(name, rules.iter().map(|rule| rule.name.as_str()));
                let names = || rules.iter().map(|rule| rule.name.as_str()).collect::<Vec<_>>().join(", ");
                let help = near.map_or_else(|| format!("there are {}", names()), |near| format!("did you mean `{near}`?"));
                faults.at("unknown-rule", place, format!("there is no rule `{name}`"), help);
            }
        };
        for test in &self.file.tests {
            test.rules.iter().for_each(|(name, place)| check(name, place));
            test.answers.iter().for_each(|given| check(&given.rule.0, &given.rule.1));
            for expectation in &test.expect {
                for expected in expectation.expected() {
                    let name = expected.labels.iter().find(|(label, _)| label == "alertname");
                    name.into_iter().for_each(|(_, name)| check(name, &expected.place));
                }
            }
        }
    }

    /// Plays one of its tests.
    pub fn play(&self, test: &Test) -> Played {
        let mut rules = self.read_rules(&mut Faults::default());
        rules.retain(|rule| test.rules.is_empty() || test.rules.iter().any(|(name, _)| *name == rule.name));
        play::play(test, &self.file.names, rules)
    }
}

/// The rule files of a test file, each with where it is named.
fn named(file: &TestFile) -> Vec<(PathBuf, Place)> {
    if !file.rule_files.is_empty() {
        return file.rule_files.iter().map(|(name, place)| (place.beside(name), place.clone())).collect();
    }
    let rules = file.name.strip_suffix(".test.yml").unwrap_or(&file.name);
    vec![(PathBuf::from(format!("{rules}.yml")), file.place.clone())]
}

#[cfg(test)]
mod tests;
