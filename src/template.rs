//! Go's templates, as rules and messages have them: `{{ $labels.model }}: {{ $value | humanize }}`,
//! `{{ range .Alerts.Firing }}{{ .Labels.model }} {{ end }}`.
//!
//! Rules and receivers come from Prometheus and Alertmanager, and their authors know that language: it is read into a
//! tree (`parse`) and run (`run`) with their functions (`functions`) and Go's way to print (`number`, `moment`). A
//! [`Template`] is the text of a rule; a [`Page`] is one over any data. What exists there and not here (`query`) is refused
//! when a template is read, by name.
//!
//! Guarantees: a label that is missing is the empty text; text outside of `{{ }}` comes out as it went in; a template
//! neither panics nor runs for ever; one that fails at run time still gives a text ([`Template::render_or_explain`]).

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use crate::diag::nearest;
use crate::labels::Labels;
use crate::time::Time;

mod expression;
mod functions;
mod moment;
mod number;
mod parse;
mod printf;
mod run;
mod tokens;
mod tree;
mod value;
mod words;

use parse::Language;
use run::Run;
use tree::{Nodes, Parsed};

pub use moment::ZERO;
pub use run::Escape;
pub use value::{Object, Value};
pub use words::escape_html;

/// What a template may say of an alert.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// `$labels`
    pub labels: &'a Labels,
    /// `$value`
    pub value: f64,
    /// `$evidence`: what was compared with what.
    pub evidence: &'a str,
    /// `$top`: who contributed most.
    pub top: &'a str,
}

/// A text with its places to fill in; read once, rendered often, cheap to clone.
#[derive(Clone)]
pub struct Template {
    text: Arc<str>,
    nodes: Arc<Nodes>,
}

const RULE: Language<'static> = Language {
    functions: &[functions::SHARED, functions::RULES],
    variables: &["$labels", "$value", "$evidence", "$top", "$"],
    fields: Some(&["Labels", "Value"]),
    known: "$labels.NAME, $value and functions of them",
    has_templates: false,
};

impl Template {
    /// Reads a template; the error is a sentence for the author of the rule.
    pub fn parse(text: &str) -> Result<Template, String> {
        let Parsed { nodes, .. } = parse::parse(text, &RULE).map_err(|fault| fault.message)?;
        Ok(Template { text: text.into(), nodes: Arc::new(nodes) })
    }

    /// Whether there is no place to fill in.
    pub fn is_plain(&self) -> bool {
        !self.text.contains("{{")
    }

    /// The template as it was written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The labels that it names.
    pub fn labels(&self) -> Vec<String> {
        parse::labels(&self.text)
    }

    /// Fills in what is known of an alert; the error says which function could not do what.
    pub fn render(&self, facts: &Facts<'_>) -> Result<String, String> {
        let Facts { labels, value, evidence, top } = *facts;
        let labels = Value::object(RuleLabels(labels.clone()));
        let dot = Value::object(RuleData { labels: labels.clone(), value });
        let variables = vec![("$labels", labels), ("$value", value.into()), ("$evidence", evidence.into()), ("$top", top.into())];
        // Nothing that a rule may call looks at the time.
        Run::new(&[], Escape::None, Time::default()).render(&self.nodes, &dot, variables)
    }

    /// The same, but a failure is told in the text itself, beside the template: an alert is never lost to its words.
    pub fn render_or_explain(&self, facts: &Facts<'_>) -> String {
        self.render(facts).unwrap_or_else(|error| format!("<error expanding template: {error}> {}", self.text))
    }
}

impl fmt::Debug for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Template").field(&self.text).finish()
    }
}

impl PartialEq for Template {
    fn eq(&self, other: &Template) -> bool {
        self.text == other.text
    }
}

/// `$labels`: a map in which a label that is missing is the empty text.
#[derive(Debug)]
struct RuleLabels(Labels);

impl Object for RuleLabels {
    fn kind(&self) -> &'static str {
        "the set of labels"
    }

    fn field(&self, name: &str) -> Option<Value> {
        Some(self.0.get(name).into())
    }

    fn entries(&self) -> Option<Vec<(Value, Value)>> {
        Some(self.0.iter().map(|(name, value)| (name.into(), value.into())).collect())
    }

    fn count(&self) -> Option<usize> {
        Some(self.0.0.len())
    }

    /// As Go prints a map.
    fn text(&self) -> String {
        let pairs: Vec<String> = self.0.iter().map(|(name, value)| format!("{name}:{value}")).collect();
        format!("map[{}]", pairs.join(" "))
    }
}

/// The `.` of a rule's template.
#[derive(Debug)]
struct RuleData {
    labels: Value,
    value: f64,
}

impl Object for RuleData {
    fn kind(&self) -> &'static str {
        "an alert"
    }

    fn field(&self, name: &str) -> Option<Value> {
        match name {
            "Labels" => Some(self.labels.clone()),
            "Value" => Some(self.value.into()),
            _ => None,
        }
    }

    fn fields(&self) -> &'static [&'static str] {
        &["Labels", "Value"]
    }

    fn text(&self) -> String {
        format!("{{{} {}}}", self.labels, Value::from(self.value))
    }
}

/// Templates that others may use by name.
#[derive(Clone, Debug, Default)]
pub struct Library(BTreeMap<String, Arc<Nodes>>);

impl Library {
    /// Reads what a text defines (`{{ define "x" }}`), beside what is there, and gives the names; a later definition wins.
    /// `known` is what an author may look for, for messages. A fault comes with the bytes that it concerns.
    pub fn define(&mut self, text: &str, known: &'static str) -> Result<Vec<String>, (Range<usize>, String)> {
        let parsed = parse::parse(text, &message_language(None, known));
        let Parsed { defined, .. } = parsed.map_err(|fault| (fault.bytes, fault.message))?;
        let names = defined.keys().cloned().collect();
        self.0.extend(defined);
        Ok(names)
    }

    /// Whether there is one of that name.
    pub fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// Names that templates use and nobody defines.
    pub fn missing(&self) -> Vec<String> {
        let mut used = Vec::new();
        self.0.values().for_each(|nodes| tree::used(nodes, &mut used));
        used.into_iter().filter(|name| !self.has(name)).map(str::to_owned).collect()
    }

    /// All names.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }
}

/// A template over any data, with what it defines itself.
#[derive(Clone, Debug)]
pub struct Page {
    parsed: Arc<Parsed>,
    library: Arc<Library>,
    escape: Escape,
}

fn message_language<'a>(fields: Option<&'a [&'static str]>, known: &'static str) -> Language<'a> {
    Language { functions: &[functions::SHARED, functions::MESSAGES], variables: &["$"], fields, known, has_templates: true }
}

impl Page {
    /// Reads a template that begins with data of these fields; the error is a sentence for its author.
    pub fn parse(
        text: &str,
        library: &Arc<Library>,
        escape: Escape,
        fields: &[&'static str],
        known: &'static str,
    ) -> Result<Page, String> {
        let parsed = parse::parse(text, &message_language(Some(fields), known)).map_err(|fault| fault.message)?;
        let mut used = Vec::new();
        std::iter::once(&parsed.nodes)
            .chain(parsed.defined.values().map(|nodes| &**nodes))
            .for_each(|nodes| tree::used(nodes, &mut used));
        if let Some(name) = used.into_iter().find(|name| !library.has(name) && !parsed.defined.contains_key(*name)) {
            let near = nearest(name, library.names().chain(parsed.defined.keys().map(String::as_str)));
            return Err(match near {
                Some(near) => format!("there is no template `{name}`; did you mean `{near}`?"),
                None => format!("there is no template `{name}`; `templates` names the files that define some"),
            });
        }
        Ok(Page { parsed: Arc::new(parsed), library: library.clone(), escape })
    }

    /// Fills in the data.
    pub fn render(&self, data: &Value, now: Time) -> Result<String, String> {
        let defined = [&self.parsed.defined, &self.library.0];
        Run::new(&defined, self.escape, now).render(&self.parsed.nodes, data, Vec::new())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Labels {
        [("model", "gpt-4o"), ("org", "a<b>&c"), ("instance", "db:5432")].into_iter().collect()
    }

    fn facts(labels: &Labels, value: f64) -> Facts<'_> {
        Facts { labels, value, evidence: "12 of 40 failed", top: "chat 9, search 3" }
    }

    #[track_caller]
    fn check(text: &str, value: f64, expected: &str) {
        let template = Template::parse(text).unwrap_or_else(|e| panic!("{text}: {e}"));
        assert_eq!(template.render(&facts(&sample(), value)).as_deref(), Ok(expected), "{text}");
    }

    #[test]
    fn labels_and_values() {
        check("plain text\n", 1.0, "plain text\n");
        check("{{ $labels.model }}: {{ $value }} errors", 12.0, "gpt-4o: 12 errors");
        check("{{$labels.model}}/{{.Labels.model}}/{{$.Labels.model}}: {{.Value}}", 0.25, "gpt-4o/gpt-4o/gpt-4o: 0.25");
        check("{{ $labels.absent }}|{{ $labels.absent | toUpper }}", 1.0, "|");
        check("{{ $labels.org }}", 1.0, "a<b>&c");
        check("{{ $evidence }}{{ if $top }} ({{ $top }}){{ end }}", 1.0, "12 of 40 failed (chat 9, search 3)");
        check("{{ $labels }}", 1.0, "map[instance:db:5432 model:gpt-4o org:a<b>&c]");
        check("{{ $value }}", 1e6, "1e+06");
        check("{{ $value }}", f64::INFINITY, "+Inf");
        check(
            "{{ 1 }} {{ 5.0 }} {{ -2 }} {{ 1e300 }} {{ 0.00001 }} {{ 9223372036854775807 }}",
            0.0,
            "1 5 -2 1e+300 1e-05 9223372036854775807",
        );
    }

    #[test]
    fn text_of_other_template_languages_is_text() {
        check("{# no comment #} {% no block %} \\ \" {{ \"{{\" }}", 1.0, "{# no comment #} {% no block %} \\ \" {{");
        check("a }} b", 1.0, "a }} b");
    }

    #[test]
    fn labels_are_those_of_actions() {
        let text =
            "$labels.a {{/* $labels.b */}}{{ if eq $labels.c \"$labels.d\" }}{{- .Labels.e | title -}}{{ end }}{{ $labels.c }}";
        assert_eq!(Template::parse(text).unwrap().labels(), ["c", "e"]);
    }

    #[test]
    fn pipelines_arguments_and_parentheses() {
        check("{{ $value | humanize }} {{ humanize $value }}", 1_234_567.0, "1.235M 1.235M");
        check("{{ printf \"%.2f\" $value }}", 1.005, "1.00");
        check("{{ $value | printf `%.1f%%` }}", 12.34, "12.3%");
        check("{{ printf \"%0.2f\" (parseDuration \"1h2m10ms\") }}", 0.0, "3720.01");
        check("{{ $labels.model | reReplaceAll \"gpt-(.*)\" \"model $1\" | toUpper }}", 1.0, "MODEL 4O");
        check("{{ reReplaceAll \"(a)b\" \"x$1\" \"ab\" }}", 1.0, "xa");
        check("{{ \"a\\\"b\\n\" }}{{ `\\d` }}", 1.0, "a\"b\n\\d");
    }

    #[test]
    fn conditions() {
        let text = "{{ if gt $value 5.0 }}many{{ else if eq $value 5.0 }}five{{ else }}few{{ end }}";
        for (value, expected) in [(6.0, "many"), (5.0, "five"), (4.0, "few"), (f64::NAN, "few")] {
            check(text, value, expected);
        }
        check("{{ if and (ge $value 1.0) (not (eq $labels.model \"x\" \"y\")) }}yes{{ end }}", 1.0, "yes");
        check("{{ if or $labels.absent (match \"^gpt\" $labels.model) }}yes{{ end }}", 1.0, "yes");
        check("{{ if gt $value 5 }}{{ if lt $value 7 }}six{{ end }}{{ end }}", 6.0, "six");
    }

    #[test]
    fn loops_and_variables() {
        check(
            "{{ range $name, $value := $labels }}{{ $name }}={{ $value }} {{ end }}",
            1.0,
            "instance=db:5432 model=gpt-4o org=a<b>&c ",
        );
        check("{{ with $labels.absent }}{{ . }}{{ else }}none{{ end }}", 1.0, "none");
        check("{{ $x := 1 }}{{ if true }}{{ $x = 2 }}{{ $x := 3 }}{{ $x }}{{ end }}{{ $x }}", 1.0, "32");
    }

    #[test]
    fn comments_and_trimmed_space() {
        check("a {{- /* it's \"one\" }} */ -}} b", 1.0, "ab");
        check("a {{- $value -}} b", 1.0, "a1b");
        check("a {{ -1 }} b", 1.0, "a -1 b");
        check("x\n{{- if $value }}\n y\n{{- end }}\n", 1.0, "x\n y\n");
    }

    /// The expectations of prometheus/template/template_test.go for the functions that exist here.
    #[test]
    fn functions_give_what_prometheus_gives() {
        #[track_caller]
        fn each(function: &str, inputs: &[&str], expected: &str) {
            let text: String = inputs.iter().map(|input| format!("{{{{ {function} {input} }}}}:")).collect();
            check(&text, 0.0, expected);
        }
        each("humanize", &["0.0", "1.0", "1234567.0", ".12"], "0:1:1.235M:120m:");
        each("humanize", &["\"0.0\"", "\"1.0\"", "\"1234567.0\"", "\".12\""], "0:1:1.235M:120m:");
        each("humanize", &["0", "-1", "1", "1234567", "9223372036854775807"], "0:-1:1:1.235M:9.223E:");
        each("humanize1024", &["0.0", "1.0", "1048576.0", ".12"], "0:1:1Mi:0.12:");
        each("humanize1024", &["0", "-1", "1", "1234567", "9223372036854775807"], "0:-1:1:1.177Mi:8Ei:");
        let durations = ["0", "1", "60", "3600", "86400", "90000", "-183845", "899.99"];
        each("humanizeDuration", &durations, "0s:1s:1m 0s:1h 0m 0s:1d 0h 0m 0s:1d 1h 0m 0s:-2d 3h 4m 5s:14m 59s:");
        let fractions = [".1", ".0001", ".12345", "60.1", "60.5", "1.2345", "12.345"];
        each("humanizeDuration", &fractions, "100ms:100us:123.5ms:1m 0s:1m 0s:1.234s:12.35s:");
        each("humanizePercentage", &["-0.22222", "0.0", "0.1234567", "1.23456"], "-22.22%:0%:12.35%:123.5%:");
        each("humanizePercentage", &["-1", "1234567", "9223372036854775807"], "-100%:1.235e+08%:9.223e+20%:");
        for function in ["humanize", "humanize1024", "humanizeDuration", "humanizeTimestamp"] {
            each(function, &["\"+Inf\"", "\"-Inf\"", "\"NaN\""], "+Inf:-Inf:NaN:");
        }
        each(
            "humanizeTimestamp",
            &["0", "-1", "1234567", "9223372036", "1435065584.128", "\"1435065584.128\""],
            "1970-01-01 00:00:00 +0000 UTC:1969-12-31 23:59:59 +0000 UTC:1970-01-15 06:56:07 +0000 UTC:\
             2262-04-11 23:47:16 +0000 UTC:2015-06-23 13:19:44.128 +0000 UTC:2015-06-23 13:19:44.128 +0000 UTC:",
        );
        each("title", &["\"aa bb CC\"", "\"it's a_b c-d éa\""], "Aa Bb CC:It'S A_b C-D Éa:");
        each("toUpper", &["\"aa bb CC\""], "AA BB CC:");
        each("toLower", &["\"aA bB CC\""], "aa bb cc:");
        each("match", &["\"a+\" \"aa\"", "\"a+\" \"b\""], "true:false:");
        each("urlQueryEscape", &["\"a b&c/d=é~\""], "a+b%26c%2Fd%3D%C3%A9~:");
        let hosts = ["foo.example.com", "foo.example.com:12345", "192.0.2.1:12345", "2001:0DB8::1", "[2001:0DB8::1]:12345"];
        let hosts = hosts.map(|host| format!("\"{host}\""));
        let expected = "foo.example.com:foo.example.com:192.0.2.1:2001:0DB8::1:2001:0DB8::1:";
        each("stripPort", &hosts.each_ref().map(String::as_str), expected);
        each("stripPort", &["\"[2001:0DB8::1]::12345\"", "\"[::1]\""], "[2001:0DB8::1]::12345:[::1]:");
        each("parseDuration", &["\"1h30m\""], "5400:");
    }

    #[test]
    fn faults_are_found_when_a_template_is_read() {
        for (text, part) in [
            ("{{ $labels.model", "without its `}}`"),
            ("{{ }}", "empty"),
            ("{{ $value | humanise }}", "did you mean `humanize`"),
            ("{{ query \"up\" | first | value }}", "`query`"),
            ("{{ template \"x\" . }}", "`template`"),
            ("{{ $x }}", "$x"),
            ("{{ .Foo }}", ".Foo"),
            ("{{ $externalLabels.x }}", "$externalLabels"),
            ("{{ if $value }}", "without its `{{ end }}`"),
            ("{{ end }}", "without its `{{ if }}`"),
            ("{{ else }}", "without its `{{ if }}`"),
            ("{{ if 1 }}{{ else }}{{ else }}{{ end }}", "second `{{ else }}`"),
            ("{{ humanize }}", "takes 1"),
            ("{{ humanize 1 2 }}", "takes 1"),
            ("{{ humanize (1 }}", "parenthes"),
            ("{{ 1 | 2 }}", "function"),
            ("{{ \"a }}", "without its `}}`"),
            ("{{ \"\\q\" }}", "text"),
            ("{{ $value + 1 }}", "`+`"),
            ("{{ printf \"%d\" humanize $value }}", "parentheses"),
        ] {
            let error = Template::parse(text).expect_err(text);
            assert!(error.contains(part), "{text}: {error}");
        }
        let deep = format!("{{{{ {}1{} }}}}", "(".repeat(10_000), ")".repeat(10_000));
        assert!(Template::parse(&deep).is_err());
    }

    #[test]
    fn faults_at_run_time_are_told_in_the_text() {
        for (text, part) in [
            ("{{ humanize \"one\" }}", "`one` is no number"),
            ("{{ humanizeTimestamp 9223372036854775807 }}", "timestamp"),
            ("{{ printf \"%d\" $value }}", "%d"),
            ("{{ printf \"%.2f\" }}", "%.2f"),
            ("{{ printf \"%.1f\" 1.0 2.0 }}", "more arguments"),
            ("{{ printf \"%99999d\" 1 }}", "%99999d"),
            ("{{ match \"(\" \"a\" }}", "regular expression"),
            ("{{ parseDuration \"soon\" }}", "duration"),
            ("{{ if gt $labels.model 5.0 }}{{ end }}", "compare"),
        ] {
            let text = format!("lead {text}");
            let template = Template::parse(&text).unwrap_or_else(|e| panic!("{text}: {e}"));
            let error = template.render(&facts(&sample(), 5.0)).expect_err(&text);
            assert!(error.contains(part), "{text}: {error}");
            let told = template.render_or_explain(&facts(&sample(), 5.0));
            assert!(told.contains(part) && told.contains(&text), "{told}");
        }
    }

    #[test]
    fn a_template_can_be_shared() {
        fn shared<T: Clone + fmt::Debug + Send + Sync>(_: &T) {}
        let template = Template::parse("{{ $value }}").unwrap();
        shared(&template);
        assert_eq!(format!("{template:?}"), "Template(\"{{ $value }}\")");
    }
}
