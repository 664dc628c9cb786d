//! Results as JUnit's XML, as CI systems read it: a suite for each file, a case for each test.

use std::fmt::Write;

/// The results of one file.
#[derive(Clone, Debug, Default)]
pub struct Results {
    /// Its name.
    pub file: String,
    /// Why it could not be run.
    pub error: Option<String>,
    /// Its tests.
    pub cases: Vec<Case>,
}

/// The result of one test.
#[derive(Clone, Debug, Default)]
pub struct Case {
    /// Its name.
    pub name: String,
    /// Its line in the file.
    pub line: usize,
    /// How long it took.
    pub seconds: f64,
    /// Why it failed.
    pub failure: Option<String>,
}

/// The whole document.
pub fn document(all: &[Results]) -> String {
    let mut out = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n".to_owned();
    let sum = |of: &dyn Fn(&Results) -> usize| all.iter().map(of).sum::<usize>();
    let seconds = all.iter().fold(0.0, |sum, results| sum + results.seconds());
    let _ = writeln!(
        out,
        "<testsuites name=\"modelwatch\" tests=\"{}\" failures=\"{}\" errors=\"{}\" time=\"{seconds:.3}\">",
        sum(&Results::tests),
        sum(&Results::failures),
        sum(&Results::errors)
    );
    all.iter().for_each(|results| results.write(&mut out));
    out + "</testsuites>\n"
}

impl Results {
    /// A file that could not be run counts as a test.
    fn tests(&self) -> usize {
        self.cases.len() + self.errors()
    }

    fn failures(&self) -> usize {
        self.cases.iter().filter(|case| case.failure.is_some()).count()
    }

    fn errors(&self) -> usize {
        usize::from(self.error.is_some())
    }

    fn seconds(&self) -> f64 {
        self.cases.iter().fold(0.0, |sum, case| sum + case.seconds)
    }

    fn write(&self, out: &mut String) {
        let (file, seconds) = (escape(&self.file), self.seconds());
        let (tests, failures, errors) = (self.tests(), self.failures(), self.errors());
        let _ = writeln!(
            out,
            "  <testsuite name=\"{file}\" tests=\"{tests}\" failures=\"{failures}\" errors=\"{errors}\" time=\"{seconds:.3}\">"
        );
        if let Some(error) = &self.error {
            let _ = writeln!(out, "    <testcase name=\"{file}\" classname=\"{file}\" file=\"{file}\" time=\"0.000\">");
            let message = escape(error.lines().next().unwrap_or_default());
            let _ = writeln!(out, "      <error message=\"{message}\" type=\"file\">{}</error>\n    </testcase>", escape(error));
        }
        for Case { name, line, seconds, failure } in &self.cases {
            let name = escape(name);
            let _ = write!(
                out,
                "    <testcase name=\"{name}\" classname=\"{file}\" file=\"{file}\" line=\"{line}\" time=\"{seconds:.3}\""
            );
            let _ = match failure {
                None => writeln!(out, "/>"),
                Some(text) => {
                    let message = escape(text.lines().next().unwrap_or_default().trim());
                    let text = escape(text);
                    writeln!(out, ">\n      <failure message=\"{message}\" type=\"alerts\">{text}</failure>\n    </testcase>")
                }
            };
        }
        *out += "  </testsuite>\n";
    }
}

/// Text as it may stand in XML 1.0, also within quotes: what no document may hold is shown as a question mark.
fn escape(text: &str) -> String {
    let mut out = String::new();
    for character in text.chars() {
        match character {
            '&' => out += "&amp;",
            '<' => out += "&lt;",
            '>' => out += "&gt;",
            '"' => out += "&quot;",
            '\'' => out += "&apos;",
            '\n' | '\t' => out.push(character),
            '\u{fffe}' | '\u{ffff}' => out.push('?'),
            control if control < ' ' => out.push('?'),
            other => out.push(other),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_texts_are_escaped() {
        let case = |name: &str, failure: Option<&str>| Case {
            name: name.to_owned(),
            line: 3,
            seconds: 0.25,
            failure: failure.map(str::to_owned),
        };
        let cases = vec![case("a < b & \"c\"", None), case("d", Some("  at 10:00\n    - A{m='x'}\u{1b}[1m"))];
        let good = Results { file: "r/a.test.yml".to_owned(), error: None, cases };
        let bad = Results { file: "r/b.test.yml".to_owned(), error: Some("no YAML".to_owned()), cases: Vec::new() };
        assert_eq!(
            document(&[good, bad]),
            r#"<?xml version="1.0" encoding="UTF-8"?>
<testsuites name="modelwatch" tests="3" failures="1" errors="1" time="0.500">
  <testsuite name="r/a.test.yml" tests="2" failures="1" errors="0" time="0.500">
    <testcase name="a &lt; b &amp; &quot;c&quot;" classname="r/a.test.yml" file="r/a.test.yml" line="3" time="0.250"/>
    <testcase name="d" classname="r/a.test.yml" file="r/a.test.yml" line="3" time="0.250">
      <failure message="at 10:00" type="alerts">  at 10:00
    - A{m=&apos;x&apos;}?[1m</failure>
    </testcase>
  </testsuite>
  <testsuite name="r/b.test.yml" tests="1" failures="0" errors="1" time="0.000">
    <testcase name="r/b.test.yml" classname="r/b.test.yml" file="r/b.test.yml" time="0.000">
      <error message="no YAML" type="file">no YAML</error>
    </testcase>
  </testsuite>
</testsuites>
"#
        );
    }
}
