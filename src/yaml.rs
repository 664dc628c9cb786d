//! YAML files read so that every fault is found at once, each with its place.
//!
//! A typed deserializer stops at the first fault. Here the parser (serde-saphyr, behind the name serde_yaml) makes a
//! tree in which each node knows its bytes, and a [`Fields`] reads one map of it: each key is asked for once, with the
//! function that parses its value; what was not asked for is an unknown key. Faults go to the [`Faults`] and reading
//! goes on.
//!
//! ```
//! # use modelwatch::{yaml::{self, Faults}, time::Span};
//! let mut faults = Faults::default();
//! let root = yaml::parse("demo.yml", "within: 1h\nmore_then: 3\n", &mut faults).unwrap();
//! let mut fields = root.fields(&mut faults).unwrap();
//! assert_eq!(fields.optional("within", &mut faults, yaml::span), Some(Span::secs(3600)));
//! assert_eq!(fields.required("more_than", &mut faults, yaml::whole), None);
//! fields.finish(&mut faults); // `more_than` is missing, `more_then` is unknown: two faults, both reported
//! assert_eq!(faults.0.len(), 2);
//! ```

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use serde::de::{self, Deserialize, Deserializer};
use serde_yaml::Spanned;

use crate::diag::{Diagnostic, File, Place, nearest};
use crate::secret::Secret;
use crate::time::Span;

/// The faults found so far.
#[derive(Debug, Default)]
pub struct Faults(pub Vec<Diagnostic>);

impl Faults {
    /// Notes an error at a node.
    pub fn error(&mut self, code: &'static str, node: &Node, message: impl Into<String>) {
        self.0.push(Diagnostic::error(code, &node.place, message));
    }

    /// Notes an error with advice.
    pub fn error_help(&mut self, code: &'static str, node: &Node, message: impl Into<String>, help: impl Into<String>) {
        self.0.push(Diagnostic::error(code, &node.place, message).help(help));
    }

    /// Notes an error with advice where a node was kept only as its place.
    pub fn at(&mut self, code: &'static str, place: &Place, message: impl Into<String>, help: impl Into<String>) {
        self.0.push(Diagnostic::error(code, place, message).help(help));
    }
}

/// A value with its place.
#[derive(Clone, Debug)]
pub struct Node {
    /// What it is.
    pub value: Value,
    /// Where it stands.
    pub place: Place,
}

/// What a node can be.
#[derive(Clone, Debug)]
pub enum Value {
    /// Nothing, `~` or `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A number; the text as it was written is in the file.
    Number(f64),
    /// Any other scalar, or a quoted one.
    Text(String),
    /// A list.
    List(Vec<Node>),
    /// A map in the order of the file.
    Map(Vec<(Node, Node)>),
}

/// Reads a document; a fault of syntax gives none. An empty document is an empty map.
pub fn parse(name: &str, text: &str, faults: &mut Faults) -> Option<Node> {
    let file = Arc::new(File { name: name.to_owned(), text: text.to_owned() });
    let options = serde_yaml::options! { strict_booleans: true, with_snippet: false };
    match serde_yaml::from_str_with_options::<Spanned<Raw>>(text, options) {
        Ok(raw) => {
            let node = Node::new(raw, &file);
            let empty = matches!(node.value, Value::Null);
            Some(if empty { Node { value: Value::Map(Vec::new()), ..node } } else { node })
        }
        Err(error) => {
            let bytes = error.location().map_or(0..0, |at| clamp(byte_range(&at, text), text));
            let message = error.to_string();
            let first = message.lines().next().unwrap_or("no YAML");
            // The place is shown apart; the parser repeats it in words. What a programmer could set is no help to an author.
            let first = first.split_once(" at line ").map_or(first, |(before, _)| before);
            let first = match first.strip_prefix("duplicate mapping key: ").and_then(|rest| rest.split_once(", set ")) {
                Some((key, _)) => format!("the key `{key}` is given twice"),
                None => first.to_owned(),
            };
            faults.0.push(Diagnostic::error("yaml", &Place { file, bytes }, first));
            None
        }
    }
}

impl Node {
    fn new(raw: Spanned<Raw>, file: &Arc<File>) -> Node {
        let start = clamp(byte_range(&raw.referenced, &file.text), &file.text);
        let value = match raw.value {
            Raw::Null => Value::Null,
            Raw::Bool(b) => Value::Bool(b),
            Raw::Number(n) => Value::Number(n),
            Raw::Text(t) => Value::Text(t),
            Raw::List(items) => Value::List(items.into_iter().map(|item| Node::new(item, file)).collect()),
            Raw::Map(pairs) => Value::Map(pairs.into_iter().map(|(k, v)| (Node::new(k, file), Node::new(v, file))).collect()),
        };
        Node { value, place: Place { file: file.clone(), bytes: start } }
    }

    /// The keys and values, where it is a map; else a fault.
    pub fn fields(&self, faults: &mut Faults) -> Option<Fields<'_>> {
        match &self.value {
            Value::Map(pairs) => Some(Fields { node: self, pairs, asked: Vec::new() }),
            _ => {
                faults.error("wrong-type", self, format!("expected a map of keys and values, found {}", self.kind()));
                None
            }
        }
    }

    /// The value under a key of a map, for faults that concern it; the node itself where there is none.
    pub fn at(&self, key: &str) -> &Node {
        let Value::Map(pairs) = &self.value else { return self };
        pairs.iter().find(|(name, _)| name.key_name() == key).map_or(self, |(_, value)| value)
    }

    /// The items of a list, or the node itself.
    pub fn items(&self) -> &[Node] {
        match &self.value {
            Value::List(items) => items,
            _ => std::slice::from_ref(self),
        }
    }

    /// The one key and its value of a map such as `error_spike: {...}`.
    pub fn key_name(&self) -> &str {
        match &self.value {
            Value::Text(text) => text,
            _ => self.written(),
        }
    }

    /// The text as it stands in the file.
    pub fn written(&self) -> &str {
        &self.place.file.text[self.place.bytes.clone()]
    }

    /// What it is, for messages.
    pub fn kind(&self) -> &'static str {
        match self.value {
            Value::Null => "nothing",
            Value::Bool(_) => "true or false",
            Value::Number(_) => "a number",
            Value::Text(_) => "text",
            Value::List(_) => "a list",
            Value::Map(_) => "a map",
        }
    }
}

/// One map while it is read; end with [`Fields::finish`].
#[derive(Debug)]
pub struct Fields<'a> {
    /// The map itself, for faults that concern all of it.
    pub node: &'a Node,
    pairs: &'a [(Node, Node)],
    asked: Vec<&'static str>,
}

impl<'a> Fields<'a> {
    /// The value under a key, unparsed; null counts as absent.
    pub fn node(&mut self, key: &'static str) -> Option<&'a Node> {
        if !self.asked.contains(&key) {
            self.asked.push(key);
        }
        let (_, value) = self.pairs.iter().find(|(name, _)| name.key_name() == key)?;
        (!matches!(value.value, Value::Null)).then_some(value)
    }

    /// The value under a key as `parse` reads it; none where it is absent or at fault.
    pub fn optional<T>(
        &mut self,
        key: &'static str,
        faults: &mut Faults,
        parse: impl FnOnce(&Node) -> Result<T, String>,
    ) -> Option<T> {
        let node = self.node(key)?;
        match parse(node) {
            Ok(value) => Some(value),
            Err(message) => {
                faults.error("bad-value", node, format!("{key}: {message}"));
                None
            }
        }
    }

    /// Like `optional`, but its absence is a fault.
    pub fn required<T>(
        &mut self,
        key: &'static str,
        faults: &mut Faults,
        parse: impl FnOnce(&Node) -> Result<T, String>,
    ) -> Option<T> {
        if self.node(key).is_none() {
            faults.error("missing-key", self.node, format!("`{key}` is missing"));
            return None;
        }
        self.optional(key, faults, parse)
    }

    /// All keys and values that were not asked for yet, as the caller's own (a map of free names).
    pub fn rest(&mut self) -> Vec<(&'a Node, &'a Node)> {
        let rest = self.pairs.iter().filter(|(name, _)| !self.asked.contains(&name.key_name()));
        rest.map(|(name, value)| (name, value)).collect()
    }

    /// Reports the keys that nobody asked for, each with the known one it may have meant.
    pub fn finish(mut self, faults: &mut Faults) {
        for (key, _) in self.rest() {
            let name = key.key_name();
            let help = match nearest(name, self.asked.iter().copied()) {
                Some(known) => format!("did you mean `{known}`?"),
                None => format!("known here: {}", self.asked.join(", ")),
            };
            faults.error_help("unknown-key", key, format!("unknown key `{name}`"), help);
        }
    }
}

/// Any scalar as the text that was written.
pub fn text(node: &Node) -> Result<String, String> {
    match &node.value {
        Value::Text(text) => Ok(text.clone()),
        Value::Bool(_) | Value::Number(_) => Ok(node.written().to_owned()),
        _ => Err(format!("expected text, found {}", node.kind())),
    }
}

/// `true` or `false`.
pub fn boolean(node: &Node) -> Result<bool, String> {
    match node.value {
        Value::Bool(value) => Ok(value),
        _ => Err(format!("expected true or false, found {}", node.kind())),
    }
}

/// A number.
pub fn number(node: &Node) -> Result<f64, String> {
    match node.value {
        Value::Number(value) if value.is_finite() => Ok(value),
        _ => Err(format!("expected a number, found {}", node.kind())),
    }
}

/// A whole number that is not negative.
pub fn whole(node: &Node) -> Result<u64, String> {
    let value = number(node)?;
    if value >= 0.0 && value.fract() == 0.0 && value < 9e15 {
        Ok(value as u64)
    } else {
        Err(format!("expected a whole number from 0, found {}", node.written()))
    }
}

/// A duration such as `5m`.
pub fn span(node: &Node) -> Result<Span, String> {
    Span::parse(&text(node)?)
}

/// A duration above zero.
pub fn positive_span(node: &Node) -> Result<Span, String> {
    let value = span(node)?;
    if value > Span::ZERO { Ok(value) } else { Err("must be longer than 0s".to_owned()) }
}

/// A list, each item by `parse`; one scalar is a list of one. The first bad item is the fault.
pub fn list<T>(parse: impl Fn(&Node) -> Result<T, String>) -> impl FnOnce(&Node) -> Result<Vec<T>, String> {
    move |node| match &node.value {
        Value::List(items) => items.iter().map(&parse).collect(),
        Value::Map(_) => Err("expected a list, found a map".to_owned()),
        _ => Ok(vec![parse(node)?]),
    }
}

/// A map of free names to text, in the order of the file.
pub fn texts(node: &Node) -> Result<Vec<(String, String)>, String> {
    match &node.value {
        Value::Map(pairs) => pairs.iter().map(|(key, value)| Ok((key.key_name().to_owned(), text(value)?))).collect(),
        _ => Err(format!("expected a map of names to text, found {}", node.kind())),
    }
}

/// A secret: the text, in which `${NAME}` stands for a variable of the environment.
pub fn secret(node: &Node) -> Result<Secret, String> {
    let written = text(node)?;
    let (mut out, mut rest) = (String::new(), written.as_str());
    while let Some((before, after)) = rest.split_once("${") {
        let (name, tail) = after.split_once('}').ok_or("`${` without its `}`")?;
        out += before;
        out += &std::env::var(name).map_err(|_| format!("the environment has no variable {name}"))?;
        rest = tail;
    }
    Ok(Secret::new(out + rest))
}

/// A secret from the file that is named (from the folder of the file that names it), without the white space around it.
pub fn secret_file(node: &Node) -> Result<Secret, String> {
    let path = text(node)?;
    // Not to be repeated: it may be the secret itself.
    if path.contains("://") {
        return Err("expected the name of a file, found a URL".to_owned());
    }
    let path = node.place.beside(&path);
    let content = std::fs::read_to_string(&path).map_err(|e| format!("cannot read {}: {e}", path.display()))?;
    Ok(Secret::new(content.trim()))
}

/// The bytes of a place; from line and column where the parser knows no more.
fn byte_range(at: &serde_yaml::Location, text: &str) -> Range<usize> {
    let Some(start) = at.span().byte_offset() else {
        let (line, column) = (at.line().max(1) as usize, at.column().max(1) as usize);
        let line_start: usize = text.split_inclusive('\n').take(line - 1).map(str::len).sum();
        let within: usize = text[line_start..].chars().take(column - 1).map(char::len_utf8).sum();
        return line_start + within..line_start + within;
    };
    let start = start as usize;
    start..start + at.span().byte_len().unwrap_or(0) as usize
}

/// At least one character, at most to the end of the line, and whole characters: what a caret can show.
fn clamp(bytes: Range<usize>, text: &str) -> Range<usize> {
    let start = (0..=bytes.start.min(text.len())).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0);
    let line_end = text[start..].find('\n').map_or(text.len(), |n| start + n);
    let next = text[start..].chars().next().map_or(start, |c| start + c.len_utf8());
    let end = (0..=bytes.end.min(line_end).max(next)).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(start);
    let shown = text[start..end.max(start)].trim_end();
    start..start + shown.len().max(next - start)
}

/// What the parser gives, before it knows its file.
enum Raw {
    Null,
    Bool(bool),
    Number(f64),
    Text(String),
    List(Vec<Spanned<Raw>>),
    Map(Vec<(Spanned<Raw>, Spanned<Raw>)>),
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Raw, D::Error> {
        deserializer.deserialize_any(RawVisitor)
    }
}

struct RawVisitor;

impl<'de> de::Visitor<'de> for RawVisitor {
    type Value = Raw;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("YAML")
    }
    fn visit_unit<E>(self) -> Result<Raw, E> {
        Ok(Raw::Null)
    }
    fn visit_none<E>(self) -> Result<Raw, E> {
        Ok(Raw::Null)
    }
    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Raw, D::Error> {
        deserializer.deserialize_any(self)
    }
    fn visit_bool<E>(self, value: bool) -> Result<Raw, E> {
        Ok(Raw::Bool(value))
    }
    fn visit_i64<E>(self, value: i64) -> Result<Raw, E> {
        Ok(Raw::Number(value as f64))
    }
    fn visit_u64<E>(self, value: u64) -> Result<Raw, E> {
        Ok(Raw::Number(value as f64))
    }
    fn visit_f64<E>(self, value: f64) -> Result<Raw, E> {
        Ok(Raw::Number(value))
    }
    fn visit_str<E>(self, value: &str) -> Result<Raw, E> {
        Ok(Raw::Text(value.to_owned()))
    }
    fn visit_seq<A: de::SeqAccess<'de>>(self, mut seq: A) -> Result<Raw, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element()? {
            items.push(item);
        }
        Ok(Raw::List(items))
    }
    fn visit_map<A: de::MapAccess<'de>>(self, mut map: A) -> Result<Raw, A::Error> {
        let mut pairs: Vec<(Spanned<Raw>, Spanned<Raw>)> = Vec::new();
        while let Some(pair) = map.next_entry()? {
            pairs.push(pair);
        }
        Ok(Raw::Map(pairs))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_exact_and_faults_all_found() {
        let yaml = "a: 5m\nb:\n  - x\n  - {c: true}\nd: [1, 2.5]\nlong: |\n  one\n  two\n";
        let mut faults = Faults::default();
        let root = parse("t.yml", yaml, &mut faults).unwrap();
        let mut fields = root.fields(&mut faults).unwrap();
        assert_eq!(fields.optional("a", &mut faults, span), Some(Span::secs(300)));
        assert_eq!(fields.optional("d", &mut faults, list(number)), Some(vec![1.0, 2.5]));
        let b = fields.node("b").unwrap();
        let Value::List(items) = &b.value else { panic!("{b:?}") };
        assert_eq!(items[1].place.line_column(), (4, 5));
        assert_eq!(fields.optional("long", &mut faults, text).as_deref(), Some("one\ntwo\n"));
        fields.finish(&mut faults);
        assert!(faults.0.is_empty(), "{:?}", faults.0);
    }

    #[test]
    fn duplicate_keys_and_syntax_faults_have_a_place() {
        for (yaml, line) in [("a: 1\na: 2\n", 2), ("a: [1\nb: 2\n", 2), ("a: 1\n\tb: 2\n", 1)] {
            let mut faults = Faults::default();
            assert!(parse("t.yml", yaml, &mut faults).is_none(), "{yaml}");
            assert_eq!(faults.0[0].place.as_ref().unwrap().line_column().0, line, "{yaml}: {}", faults.0[0]);
        }
    }
}
