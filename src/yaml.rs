//! YAML files read so that every fault is found at once, each with its place.
//!
//! A typed deserializer stops at the first fault. Here the parser (serde-saphyr, behind the name serde_yaml) makes a
//! tree in which each node knows its bytes, and a [`Fields`] reads one map of it: each key is asked for with the reader of
//! its value; what was not asked for is an unknown key. Faults go to the [`Faults`] and reading goes on. A reader
//! ([`Read`]) knows the JSON Schema of what it takes, so that [`schema`] tells what may stand in a file.
//!
//! ```
//! # use modelwatch::{yaml::{self, Faults}, time::Span};
//! let mut faults = Faults::default();
//! let root = yaml::parse("demo.yml", "within: 1h\nmore_then: 3\n", &mut faults).unwrap();
//! let more_than = root.map(&mut faults, |fields, faults| {
//!     assert_eq!(fields.optional("within", faults, yaml::SPAN), Some(Span::secs(3600)));
//!     fields.required("more_than", faults, yaml::WHOLE)
//! });
//! // `more_than` is missing, `more_then` is unknown: two faults, both reported.
//! assert_eq!((more_than, faults.0.len()), (None, 2));
//! ```

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use serde::de::{self, Deserialize, Deserializer};
use serde_yaml::Spanned;

use crate::diag::{Diagnostic, File, Place};

mod fields;
mod hide;
mod read;

pub use fields::{Fields, schema};
pub use read::*;

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
    let file = Arc::new(File::new(name, text));
    let options = serde_yaml::options! { strict_booleans: true, with_snippet: false };
    match serde_yaml::from_str_with_options::<Spanned<Raw>>(text, options) {
        Ok(raw) => {
            let (mut starts, mut aliases) = (Vec::new(), Vec::new());
            let node = Node::new(raw, &file, &mut starts, &mut aliases);
            file.nodes(starts, aliases);
            hide::by_name(&node);
            let empty = matches!(node.value, Value::Null);
            Some(if empty { Node { value: Value::Map(Vec::new()), ..node } } else { node })
        }
        Err(error) => {
            file.hide_all_but_keys();
            let bytes = error.location().map_or(0..0, |at| clamp(byte_range(&at, text), text));
            let message = error.to_string();
            let first = message.lines().next().unwrap_or("no YAML");
            // The place is shown apart; the parser repeats it in words. What a programmer could set is no help to an author.
            let first = first.split_once(" at line ").map_or(first, |(before, _)| before);
            let first = match first.strip_prefix("duplicate mapping key: ").and_then(|rest| rest.split_once(", set ")) {
                Some((key, _)) => format!("the key `{}` is given twice", fields::shown_key(key)),
                None => first.to_owned(),
            };
            faults.0.push(Diagnostic::error("yaml", &Place { file, bytes }, first));
            None
        }
    }
}

impl Node {
    fn new(raw: Spanned<Raw>, file: &Arc<File>, starts: &mut Vec<usize>, aliases: &mut Vec<(usize, usize)>) -> Node {
        let [start, defined] = [&raw.referenced, &raw.defined].map(|at| clamp(byte_range(at, &file.text), &file.text));
        starts.push(start.start);
        if defined.start != start.start {
            aliases.push((start.start, defined.start));
        }
        let mut node = |raw| Node::new(raw, file, starts, aliases);
        let value = match raw.value {
            Raw::Null => Value::Null,
            Raw::Bool(b) => Value::Bool(b),
            Raw::Number(n) => Value::Number(n),
            Raw::Text(t) => Value::Text(t),
            Raw::List(items) => Value::List(items.into_iter().map(node).collect()),
            Raw::Map(pairs) => Value::Map(pairs.into_iter().map(|(k, v)| (node(k), node(v))).collect()),
        };
        Node { value, place: Place { file: file.clone(), bytes: start } }
    }

    /// The keys and values, where it is a map, to end with [`Fields::finish`]; else a fault.
    pub fn fields(&self, faults: &mut Faults) -> Option<Fields<'_>> {
        match &self.value {
            Value::Map(pairs) => Some(Fields::new(self, pairs)),
            _ => {
                self.hide_in_zone();
                faults.error("wrong-type", self, format!("expected a map of keys and values, found {}", self.kind()));
                None
            }
        }
    }

    /// Reads a map by `parse`, and reports the keys that it did not ask for.
    pub fn map<'a, T>(&'a self, faults: &mut Faults, parse: impl FnOnce(&mut Fields<'a>, &mut Faults) -> Option<T>) -> Option<T> {
        let mut fields = self.fields(faults)?;
        let value = parse(&mut fields, faults);
        fields.finish(faults);
        value
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
    use crate::time::Span;

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
