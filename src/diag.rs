//! What is wrong with a file that a person wrote: where, what, and what to do.
//!
//! Faults are collected, never thrown, so that one run reports them all. A diagnostic carries the text it points
//! into, so it can be drawn anywhere, later.

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use annotate_snippets::{AnnotationKind, Level, Renderer, Snippet};
use serde_json::{Value, json};

mod hidden;

/// A file that was read: its name as the user gave it and its text.
#[derive(Debug, Default)]
pub struct File {
    /// As the user wrote it, for `file:line:col`.
    pub name: String,
    /// The whole text.
    pub text: String,
    hidden: hidden::Hidden,
}

impl File {
    /// From its parts; nothing of it is hidden.
    pub fn new(name: impl Into<String>, text: impl Into<String>) -> File {
        File { name: name.into(), text: text.into(), hidden: hidden::Hidden::default() }
    }

    /// From now on excerpts show nothing but keys: it could not be read.
    pub fn hide_all_but_keys(&self) {
        self.hidden.all_but_keys();
    }

    /// Where its nodes begin, and where aliases stand with what they mean; to be told before [`File::hide`].
    pub fn nodes(&self, starts: Vec<usize>, aliases: Vec<(usize, usize)>) {
        self.hidden.nodes(starts, aliases);
    }

    /// From now on excerpts show stars for the scalar at these bytes, which means `value`.
    pub fn hide(&self, bytes: &Range<usize>, value: &str) {
        self.hidden.hide(&self.text, bytes, value);
    }

    /// The text with stars for what is hidden, byte for byte.
    pub fn shown(&self) -> String {
        self.hidden.stars(&self.text)
    }
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
            let snippet = Snippet::source(place.file.shown()).path(&place.file.name);
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
    fn machines_are_told_the_place() {
        let file = Arc::new(File::new("a,b.yml", "x: 1\n\u{e9}: 5%\n"));
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
