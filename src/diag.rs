//! What is wrong with a file that a person wrote: where, what, and what to do.
//!
//! Faults are collected, never thrown, so that one run reports them all. A diagnostic carries the text it points
//! into, so it can be drawn anywhere, later.

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};

use annotate_snippets::{AnnotationKind, Level, Renderer, Snippet};
use regex::Regex;
use serde_json::{Value, json};

/// A file that was read: its name as the user gave it and its text.
#[derive(Debug, Default)]
pub struct File {
    /// As the user wrote it, for `file:line:col`.
    pub name: String,
    /// The whole text.
    pub text: String,
}

/// A place in a file.
#[derive(Clone, Debug)]
pub struct Place {
    /// The file.
    pub file: Arc<File>,
    /// Bytes of its text.
    pub bytes: Range<usize>,
}

impl Place {
    /// A path as it is meant in this file: from the folder that the file is in.
    pub fn beside(&self, path: &str) -> PathBuf {
        Path::new(&self.file.name).parent().unwrap_or(Path::new("")).join(path)
    }

    /// Line and column, both from 1; the column counts characters.
    pub fn line_column(&self) -> (usize, usize) {
        self.line_column_of(self.bytes.start)
    }

    /// Line and column after its last character.
    pub fn end(&self) -> (usize, usize) {
        self.line_column_of(self.bytes.end)
    }

    fn line_column_of(&self, at: usize) -> (usize, usize) {
        let before = &self.file.text[..at];
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
    }
}

/// Whether work can go on in spite of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The file cannot be used.
    Error,
    /// It can, but probably not as meant.
    Warning,
}

impl Severity {
    /// `error` or `warning`.
    pub fn as_str(self) -> &'static str {
        match self {
            Severity::Error => "error",
            Severity::Warning => "warning",
        }
    }
}

/// One fault.
#[derive(Clone, Debug)]
pub struct Diagnostic {
    /// Error or warning.
    pub severity: Severity,
    /// Stable and short, such as `unknown-key`; what a reader searches for.
    pub code: &'static str,
    /// Where; none where no file is to blame.
    pub place: Option<Place>,
    /// What is wrong, as a sentence without a full stop.
    pub message: String,
    /// What to do about it.
    pub help: Option<String>,
}

impl Diagnostic {
    /// An error at a place.
    pub fn error(code: &'static str, place: &Place, message: impl Into<String>) -> Diagnostic {
        Diagnostic { severity: Severity::Error, code, place: Some(place.clone()), message: message.into(), help: None }
    }

    /// A warning at a place.
    pub fn warning(code: &'static str, place: &Place, message: impl Into<String>) -> Diagnostic {
        Diagnostic { severity: Severity::Warning, ..Diagnostic::error(code, place, message) }
    }

    /// An error that no place in a file shows.
    pub fn nowhere(code: &'static str, message: impl Into<String>) -> Diagnostic {
        Diagnostic { severity: Severity::Error, code, place: None, message: message.into(), help: None }
    }

    /// Whether a file or database that was named could not be read at all.
    pub fn is_unreadable(&self) -> bool {
        self.code == "unreadable" && self.place.is_none()
    }

    /// The same with advice.
    pub fn help(self, help: impl Into<String>) -> Diagnostic {
        Diagnostic { help: Some(help.into()), ..self }
    }

    /// For machines: `severity`, `code`, `message`, `help`, and `file` with `line`, `column`, `end_line`, `end_column` from 1.
    pub fn json(&self) -> Value {
        let mut json = json!({ "severity": self.severity.as_str(), "code": self.code, "message": self.message });
        if let Some(place) = &self.place {
            let ((line, column), (end_line, end_column)) = (place.line_column(), place.end());
            let at = [("line", line), ("column", column), ("end_line", end_line), ("end_column", end_column)];
            at.into_iter().for_each(|(key, n)| json[key] = json!(n));
            json["file"] = json!(place.file.name);
        }
        if let Some(help) = &self.help {
            json["help"] = json!(help);
        }
        json
    }

    /// As an annotation of GitHub Actions: `::error file=rules/a.yml,line=3,...::message`.
    pub fn github(&self) -> String {
        let text = |text: &str| text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A");
        let property = |value: &str| text(value).replace(':', "%3A").replace(',', "%2C");
        let mut out = format!("::{} ", self.severity.as_str());
        if let Some(place) = &self.place {
            let ((line, column), (end_line, end_column)) = (place.line_column(), place.end());
            out += &format!("file={},line={line},col={column},", property(&place.file.name));
            out += &format!("endLine={end_line},endColumn={end_column},");
        }
        let help = self.help.as_ref().map_or(String::new(), |help| format!("\nhint: {help}"));
        out + &format!("title={}::{}", property(self.code), text(&format!("{}{help}", self.message)))
    }

    /// Draws the excerpt with its caret, as compilers do.
    pub fn render(&self, colour: bool) -> String {
        let level = match self.severity {
            Severity::Error => Level::ERROR,
            Severity::Warning => Level::WARNING,
        };
        let mut group = level.primary_title(&self.message).id(self.code).elements(Vec::<annotate_snippets::Padding>::new());
        if let Some(place) = &self.place {
            let snippet = Snippet::source(without_secrets(&place.file.text)).path(&place.file.name);
            group = group.element(snippet.annotation(AnnotationKind::Primary.span(place.bytes.clone())));
        }
        if let Some(help) = &self.help {
            group = group.element(Level::HELP.message(help));
        }
        let renderer = if colour { Renderer::styled() } else { Renderer::plain() };
        renderer.render(&[group])
    }
}

impl fmt::Display for Diagnostic {
    /// One line: `file:line:col: message (help)`, for logs and answers.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(place) = &self.place {
            let (line, column) = place.line_column();
            write!(f, "{}:{line}:{column}: ", place.file.name)?;
        }
        write!(f, "{} [{}]", self.message, self.code)?;
        if let Some(help) = &self.help {
            write!(f, "; hint: {help}")?;
        }
        Ok(())
    }
}

/// The text with stars for all that may be secret in a configuration, byte for byte: excerpts get into logs. Values under
/// the keys of secrets go but for a URL's scheme and variables of the environment, file names only where they are URLs,
/// and whatever a URL has before its host.
fn without_secrets(text: &str) -> String {
    static SECRET: LazyLock<Option<Regex>> = LazyLock::new(|| {
        let key = r#"(?m)(?:^|[\s{,"'])(?:(?:api_)?url|routing_key)(_file)?["']?[ \t]*:[ \t]+"#;
        Regex::new(&format!(r#"{key}(?:"([^"\n]*)|'([^'\n]*)|([^\s"'][^\s]*))"#)).ok()
    });
    static USER: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(r#"://([^\s/"']*)@"#).ok());
    let (Some(secret), Some(user)) = (&*SECRET, &*USER) else { return "*".repeat(text.len()) };
    let mut out = text.to_owned();
    for found in secret.captures_iter(text) {
        let Some(value) = [2, 3, 4].into_iter().find_map(|group| found.get(group)) else { continue };
        // Unquoted it may end a list or map.
        let shown = value.as_str().trim_end_matches([',', '}', ']']);
        let scheme = shown.find("://").map(|at| at + 3);
        if scheme.is_some() || found.get(1).is_none() {
            let (from, to) = (value.start() + scheme.unwrap_or(0), value.start() + shown.len());
            out.replace_range(from..to, &stars(&text[from..to]));
        }
    }
    for found in user.captures_iter(&out.clone()) {
        found.get(1).into_iter().for_each(|user| out.replace_range(user.range(), &stars(user.as_str())));
    }
    out
}

fn stars(value: &str) -> String {
    let (mut out, mut rest) = (String::new(), value);
    while let Some((before, after)) = rest.split_once("${") {
        let name = after.split_inclusive('}').next().unwrap_or_default();
        out += &format!("{}${{{name}", "*".repeat(before.len()));
        rest = &after[name.len()..];
    }
    out + &"*".repeat(rest.len())
}

/// Whether any of them forbids to go on.
pub fn any_error(diagnostics: &[Diagnostic]) -> bool {
    diagnostics.iter().any(|d| d.severity == Severity::Error)
}

/// The name nearest to a mistyped one, where one is near enough to be meant.
pub fn nearest<'a>(wrong: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let limit = (wrong.len() / 3).max(2);
    let distance = |name: &str| strsim::damerau_levenshtein(&wrong.to_lowercase(), &name.to_lowercase());
    known.into_iter().map(|name| (distance(name), name)).filter(|(d, _)| *d <= limit).min().map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn excerpts_hide_what_may_be_secret() {
        for (text, shown) in [
            ("url: postgres://me:pass@host/db", "url: postgres://***************"),
            ("  url: \"postgres://me:${PG}@host\" # x", "  url: \"postgres://***${PG}*****\" # x"),
            ("- {api_url: https://h/x, send_resolved: true}", "- {api_url: https://***, send_resolved: true}"),
            ("routing_key: abc", "routing_key: ***"),
            ("{'routing_key': 'abc', x: y}", "{'routing_key': '***', x: y}"),
            ("routing_key: ${KEY}", "routing_key: ${KEY}"),
            ("routing_key: \u{e9}\u{e9}", "routing_key: ****"),
            ("url_file: /run/secrets/url", "url_file: /run/secrets/url"),
            ("url_file: https://h/x", "url_file: https://***"),
            ("external_url: http://me:9464", "external_url: http://me:9464"),
            ("runbook_url: https://runbooks/x", "runbook_url: https://runbooks/x"),
            ("url:\n  a: b", "url:\n  a: b"),
            ("url: a://b${X}c}, d", "url: a://*${X}*}, d"),
            ("url: a://b#c,d@e", "url: a://*******"),
            ("url: 'a://b c, d' # e", "url: 'a://******' # e"),
            ("url: >-\n  postgres://me:pass@host", "url: **\n  postgres://*******@host"),
        ] {
            assert_eq!(without_secrets(text), shown);
        }
    }

    #[test]
    fn machines_are_told_the_place() {
        let file = Arc::new(File { name: "a,b.yml".to_owned(), text: "x: 1\n\u{e9}: 5%\n".to_owned() });
        let fault = Diagnostic::error("bad-value", &Place { file, bytes: 9..11 }, "5% of what").help("say it");
        assert_eq!(
            fault.json().to_string(),
            r#"{"code":"bad-value","column":4,"end_column":6,"end_line":2,"file":"a,b.yml","help":"say it","line":2,"message":"5% of what","severity":"error"}"#
        );
        assert_eq!(
            fault.github(),
            "::error file=a%2Cb.yml,line=2,col=4,endLine=2,endColumn=6,title=bad-value::5%25 of what%0Ahint: say it"
        );
        assert_eq!(Diagnostic::nowhere("unreadable", "no").github(), "::error title=unreadable::no");
    }

    #[test]
    fn the_nearest_name_is_near() {
        let known = ["more_than", "within", "by"];
        for (wrong, near) in [("more_then", Some("more_than")), ("WITHIN", Some("within")), ("bye", Some("by")), ("until", None)]
        {
            assert_eq!(nearest(wrong, known), near, "{wrong}");
        }
    }
}
