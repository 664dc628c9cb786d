//! What is wrong with a file that a person wrote: where, what, and what to do.
//!
//! Faults are collected, never thrown, so that one run reports them all. A diagnostic carries the text it points
//! into, so it can be drawn anywhere, later.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use annotate_snippets::{AnnotationKind, Level, Renderer, Snippet};

/// A file that was read: its name as the user gave it and its text.
#[derive(Debug)]
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
    /// Line and column, both from 1; the column counts characters.
    pub fn line_column(&self) -> (usize, usize) {
        let before = &self.file.text[..self.bytes.start];
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

    /// The same with advice.
    pub fn help(self, help: impl Into<String>) -> Diagnostic {
        Diagnostic { help: Some(help.into()), ..self }
    }

    /// Draws the excerpt with its caret, as compilers do.
    pub fn render(&self, colour: bool) -> String {
        let level = match self.severity {
            Severity::Error => Level::ERROR,
            Severity::Warning => Level::WARNING,
        };
        let mut group = level.primary_title(&self.message).id(self.code).elements(Vec::<annotate_snippets::Padding>::new());
        if let Some(place) = &self.place {
            let snippet = Snippet::source(&place.file.text).path(&place.file.name);
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
