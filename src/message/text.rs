//! Templates over a whole notification, in Alertmanager's language.
//!
//! ```
//! # use modelwatch::message::{Data, Text, Templates};
//! # use modelwatch::message::sample;
//! let text = Text::parse("{{ .Alerts.Firing | len }} x {{ .GroupLabels.alertname | toUpper }}", &Templates::default()).unwrap();
//! let data = Data::new(&sample::firing(), "http://modelwatch");
//! assert_eq!(text.render(&data).unwrap(), "2 x AIERRORSPIKE");
//! ```
//!
//! A fault that can be known is told when a template is read, with both samples rendered ([`sample`]); one that comes
//! later is told in the text, before the default: a message is never lost to its words.

use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::diag::{Diagnostic, File, Place};
use crate::message::data::{Data, FIELDS, KNOWN};
use crate::message::sample;
use crate::template::{Escape, Library, Page};
use crate::yaml::{self, Faults, Fields, Node, Read};

/// What templates of Alertmanager's own names say here.
const DEFAULTS: &str = include_str!("defaults.tmpl");

/// The largest file of templates; a larger one was named by mistake.
const FILE_BYTES: u64 = 1 << 20;

/// The templates that all texts may use: ours, and those of the files under `templates`.
#[derive(Clone, Debug)]
pub struct Templates {
    library: Arc<Library>,
    /// Those that stand for our own words.
    ours: Arc<BTreeSet<String>>,
}

impl Default for Templates {
    fn default() -> Templates {
        let mut library = Library::default();
        // A test proves that it can be read.
        let _ = library.define(DEFAULTS, KNOWN);
        let ours = library.names().map(str::to_owned).collect();
        Templates { library: Arc::new(library), ours: Arc::new(ours) }
    }
}

impl Templates {
    /// Reads the key `templates`: patterns of files, relative to `folder`. As in Alertmanager a pattern may find nothing.
    pub fn read(fields: &mut Fields<'_>, folder: &Path, faults: &mut Faults) -> Templates {
        let Templates { library, ours } = Templates::default();
        let (mut library, mut ours) = (Arc::unwrap_or_clone(library), Arc::unwrap_or_clone(ours));
        let patterns = fields.node_of("templates", yaml::list(yaml::TEXT)).map_or(&[][..], Node::items);
        for item in patterns {
            let Some(pattern) = yaml::TEXT.read("templates", item, faults) else { continue };
            for path in found(&pattern, item, folder, faults) {
                let name = path.display().to_string();
                let Some(text) = read_file(&path, item, faults) else { continue };
                match library.define(&text, KNOWN) {
                    Ok(defined) => ours.retain(|name| !defined.contains(name)),
                    Err((bytes, message)) => {
                        let place = Place { file: Arc::new(File::new(name, text)), bytes };
                        faults.at("bad-template", &place, message, HELP);
                    }
                }
            }
        }
        if let (Some(missing), Some(item)) = (library.missing().first(), patterns.first()) {
            let message = format!("templates: a template uses `{missing}`, which none of the files defines");
            faults.error_help("bad-template", item, message, "name the file that defines it too");
        }
        Templates { library: Arc::new(library), ours: Arc::new(ours) }
    }

    /// The reader of a text: `fields.optional("title", faults, templates.text())`.
    pub fn text(&self) -> TextReader {
        self.escaped(Escape::None)
    }

    /// The reader of a text that is HTML: what actions print is escaped, as in Go's html/template.
    pub fn html(&self) -> TextReader {
        self.escaped(Escape::Html)
    }

    /// The reader of a text where what actions print is escaped for the receiver; `safeHtml` and `safeUrl` spare it that.
    pub fn escaped(&self, escape: Escape) -> TextReader {
        TextReader { templates: self.clone(), escape }
    }
}

const HELP: &str = "a template is Alertmanager's: {{ .CommonLabels.alertname }}, {{ range .Alerts.Firing }}...{{ end }}";

fn found(pattern: &str, item: &Node, folder: &Path, faults: &mut Faults) -> Vec<PathBuf> {
    match glob::glob(&folder.join(pattern).to_string_lossy()) {
        Ok(paths) => {
            let paths: Vec<PathBuf> = paths.flatten().collect();
            if paths.is_empty() && !pattern.contains(['*', '?', '[']) {
                faults.error("no-file", item, format!("no file is named `{pattern}`"));
            }
            paths
        }
        Err(error) => {
            faults.error("bad-value", item, format!("`{pattern}`: {error}"));
            Vec::new()
        }
    }
}

fn read_file(path: &Path, item: &Node, faults: &mut Faults) -> Option<String> {
    let large = std::fs::metadata(path).is_ok_and(|file| file.len() > FILE_BYTES || !file.is_file());
    let read = if large { Err(std::io::Error::other("it is no file of templates")) } else { std::fs::read_to_string(path) };
    read.map_err(|error| faults.error("unreadable", item, format!("cannot read {}: {error}", path.display()))).ok()
}

/// A text with its places to fill in; cheap to clone.
#[derive(Clone)]
pub struct Text {
    source: Arc<str>,
    page: Page,
    is_default: bool,
}

impl Text {
    /// Reads a text; the error is a sentence for its author.
    pub fn parse(text: &str, templates: &Templates) -> Result<Text, String> {
        Text::parse_as(text, templates, Escape::None)
    }

    /// The same, where what is filled in is escaped.
    pub fn parse_as(text: &str, templates: &Templates, escape: Escape) -> Result<Text, String> {
        let page = Page::parse(text, &templates.library, escape, &FIELDS, KNOWN)?;
        // `{{ template "slack.default.title" . }}` and nothing else
        let squeezed: String = text.split_whitespace().collect();
        let action = squeezed.strip_prefix("{{").and_then(|rest| rest.strip_suffix("}}")).unwrap_or_default().trim_matches('-');
        let named = action.strip_prefix("template\"").and_then(|rest| rest.strip_suffix("\"."));
        let is_default = named.is_some_and(|name| templates.ours.contains(name));
        Ok(Text { source: text.into(), page, is_default })
    }

    /// As it was written.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Whether it does nothing but name the default of Alertmanager's, which here is ours: a notifier then does as if
    /// nothing were set.
    pub fn is_default(&self) -> bool {
        self.is_default
    }

    /// Whether there is no place to fill in.
    pub fn is_plain(&self) -> bool {
        !self.source.contains("{{")
    }

    /// Fills it in; the error says what could not be done.
    pub fn render(&self, data: &Data) -> Result<String, String> {
        self.page.render(&data.root, data.now)
    }

    /// What is set, filled in, else the default; see [`Text::render_or`].
    pub fn or_default(text: Option<&Text>, data: &Data, default: impl FnOnce() -> String) -> String {
        match text {
            Some(text) => text.render_or(data, default),
            None => default(),
        }
    }

    /// Fills it in; a failure is told in the text, before the default.
    pub fn render_or(&self, data: &Data, default: impl FnOnce() -> String) -> String {
        self.render(data).unwrap_or_else(|error| format!("<error expanding template: {error}> {}", default()))
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Text").field(&self.source).finish()
    }
}

impl PartialEq for Text {
    fn eq(&self, other: &Text) -> bool {
        self.source == other.source
    }
}

/// Reads a [`Text`] and renders both samples with it.
#[derive(Clone, Debug)]
pub struct TextReader {
    templates: Templates,
    escape: Escape,
}

impl Read<Text> for TextReader {
    fn read(&self, key: &str, node: &Node, faults: &mut Faults) -> Option<Text> {
        let text = yaml::TEXT.read(key, node, faults)?;
        match Text::parse_as(&text, &self.templates, self.escape) {
            Ok(text) => {
                try_samples(key, &text, node, faults);
                Some(text)
            }
            Err(message) => {
                faults.error_help("bad-template", node, format!("{key}: {message}"), HELP);
                None
            }
        }
    }

    fn schema(&self) -> serde_json::Value {
        yaml::TEXT.schema()
    }
}

/// A template that fails for both samples is a fault; one that fails for one of them may be meant so.
fn try_samples(key: &str, text: &Text, node: &Node, faults: &mut Faults) {
    if text.is_plain() {
        return;
    }
    let render = |notification| text.render(&Data::new(&notification, "http://127.0.0.1:9464")).err();
    match (render(sample::firing()), render(sample::resolved())) {
        (None, None) => {}
        (Some(message), Some(_)) => faults.error_help("bad-template", node, format!("{key}: {message}"), HELP),
        (firing, resolved) => {
            let state = if firing.is_some() { "firing" } else { "resolved" };
            let message = format!("{key}: this fails for {state} alerts: {}", firing.or(resolved).unwrap_or_default());
            let help = "then the message says so, and has the default; `{{ if eq .Status \"firing\" }}` tells them apart";
            faults.0.push(Diagnostic::warning("bad-template", &node.place, message).help(help));
        }
    }
}

#[cfg(test)]
mod tests;
