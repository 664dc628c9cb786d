//! One map while it is read, and the schema of what is asked of it.
//!
//! [`schema`] runs a reader over a map that has nothing: what it asks for is what may stand there. So a reader asks for
//! all its keys, whatever it finds, before it gives up.

use std::sync::{Arc, LazyLock};

use serde_json::{Map, json};

use super::{Faults, Node, Read, Value};
use crate::diag::{File, Place, nearest};

/// A map without anything, over which readers are run for their schema.
static NOTHING: LazyLock<Node> = LazyLock::new(|| {
    let file = Arc::new(File::default());
    Node { value: Value::Map(Vec::new()), place: Place { file, bytes: 0..0 } }
});

/// One map while it is read.
#[derive(Debug)]
pub struct Fields<'a> {
    /// The map itself, for faults that concern all of it.
    pub node: &'a Node,
    pairs: &'a [(Node, Node)],
    asked: Vec<&'static str>,
    hints: Vec<(&'static str, String)>,
    /// What was asked for, where that is the question.
    asking: Option<Asked>,
}

/// The schema of a map, so far.
#[derive(Debug, Default)]
struct Asked {
    properties: Map<String, serde_json::Value>,
    required: Vec<&'static str>,
    all_of: Vec<serde_json::Value>,
    description: Option<String>,
}

/// The JSON Schema of the map that `parse` reads.
///
/// ```
/// # use modelwatch::yaml;
/// let schema = yaml::schema(|fields, faults| {
///     fields.optional("within", faults, yaml::SPAN);
///     fields.required("more_than", faults, yaml::WHOLE)
/// });
/// assert_eq!(schema["required"], serde_json::json!(["more_than"]));
/// assert_eq!(schema["properties"]["more_than"]["type"], "integer");
/// ```
pub fn schema<'a, T>(parse: impl FnOnce(&mut Fields<'a>, &mut Faults) -> T) -> serde_json::Value {
    let mut fields = Fields { node: &NOTHING, pairs: &[], asked: Vec::new(), hints: Vec::new(), asking: Some(Asked::default()) };
    parse(&mut fields, &mut Faults::default());
    fields.asking.unwrap_or_default().into_schema()
}

impl Asked {
    fn into_schema(self) -> serde_json::Value {
        let mut schema = json!({ "type": "object", "additionalProperties": false, "properties": self.properties });
        let parts = [("required", json!(self.required)), ("allOf", json!(self.all_of)), ("description", json!(self.description))];
        for (key, part) in parts {
            let empty = part.is_null() || part.as_array().is_some_and(Vec::is_empty);
            if !empty {
                schema[key] = part;
            }
        }
        schema
    }
}

impl Node {
    /// Gives the properties of a schema, as descriptions, the comments behind the same keys of this map.
    pub fn explain(&self, schema: &mut serde_json::Value) {
        let Value::Map(pairs) = &self.value else { return };
        for (key, value) in pairs {
            let properties = schema.get_mut("properties");
            let Some(property) = properties.and_then(|known| known.get_mut(key.key_name())) else { continue };
            let line = self.place.file.text[key.place.bytes.end..].lines().next().unwrap_or_default();
            if let Some((_, comment)) = line.rsplit_once(" # ") {
                property["description"] = json!(comment.trim());
            }
            value.explain(property);
            if let (Value::List(items), Some(schema)) = (&value.value, property.get_mut("items")) {
                items.iter().for_each(|item| item.explain(schema));
            }
        }
    }
}

/// A key as a message may repeat it: without what may be its value.
pub(super) fn shown_key(name: &str) -> &str {
    name.split_once([':', ' ', '\n']).map_or(name, |(before, _)| before)
}

impl<'a> Fields<'a> {
    pub(super) fn new(node: &'a Node, pairs: &'a [(Node, Node)]) -> Fields<'a> {
        Fields { node, pairs, asked: Vec::new(), hints: Vec::new(), asking: None }
    }

    /// The value under a key, unparsed; null counts as absent.
    pub fn node(&mut self, key: &'static str) -> Option<&'a Node> {
        self.ask(key, || json!({}));
        let (_, value) = self.pairs.iter().find(|(name, _)| name.key_name() == key)?;
        (!matches!(value.value, Value::Null)).then_some(value)
    }

    /// The same, where the schema is to say what `read` reads.
    pub fn node_of<T>(&mut self, key: &'static str, read: impl Read<T>) -> Option<&'a Node> {
        let node = self.node_as(key, || read.schema());
        node.filter(|_| read.is_secret()).into_iter().for_each(|node| node.hide_secret(key));
        node
    }

    /// The same with the schema itself.
    pub fn node_as(&mut self, key: &'static str, schema: impl FnOnce() -> serde_json::Value) -> Option<&'a Node> {
        self.ask(key, schema);
        self.node(key)
    }

    /// The value under a key; none where it is absent or at fault.
    pub fn optional<T>(&mut self, key: &'static str, faults: &mut Faults, read: impl Read<T>) -> Option<T> {
        self.ask(key, || read.schema());
        let node = self.node(key)?;
        if read.is_secret() {
            node.hide_secret(key);
        }
        read.read(key, node, faults)
    }

    /// Like `optional`, but its absence is a fault.
    pub fn required<T>(&mut self, key: &'static str, faults: &mut Faults, read: impl Read<T>) -> Option<T> {
        if let Some(asked) = &mut self.asking {
            asked.required.push(key);
        } else if self.node(key).is_none() {
            faults.error("missing-key", self.node, format!("`{key}` is missing"));
        }
        self.optional(key, faults, read)
    }

    /// The map under a key; none where it is absent or `parse` gives none.
    pub fn nested<T>(
        &mut self,
        key: &'static str,
        faults: &mut Faults,
        parse: impl FnOnce(&mut Fields<'a>, &mut Faults) -> Option<T>,
    ) -> Option<T> {
        if self.asking.is_some() {
            let nested = schema(parse);
            self.ask(key, || nested);
            return None;
        }
        self.node(key)?.map(faults, parse)
    }

    /// The maps of a list under a key, those for which `parse` gives none left out.
    pub fn each<T>(
        &mut self,
        key: &'static str,
        faults: &mut Faults,
        mut parse: impl FnMut(&mut Fields<'a>, &mut Faults) -> Option<T>,
    ) -> Vec<T> {
        if self.asking.is_some() {
            let items = schema(parse);
            self.ask(key, || json!({ "type": "array", "items": items }));
            return Vec::new();
        }
        let Some(node) = self.node(key) else { return Vec::new() };
        let Value::List(items) = &node.value else {
            node.hide_in_zone();
            let message = format!("{key}: expected a list, found {}", node.kind());
            faults.error_help("wrong-type", node, message, "each item of a list begins with `- `");
            return Vec::new();
        };
        items.iter().filter_map(|item| item.map(faults, &mut parse)).collect()
    }

    /// The names and values of a map of free names under a key, of values with the given schema.
    pub fn entries(
        &mut self,
        key: &'static str,
        faults: &mut Faults,
        values: impl FnOnce() -> serde_json::Value,
    ) -> &'a [(Node, Node)] {
        self.ask(key, || json!({ "type": "object", "additionalProperties": values() }));
        match self.node(key).map(|node| (node, &node.value)) {
            None => &[],
            Some((_, Value::Map(pairs))) => pairs,
            Some((node, _)) => {
                node.hide_in_zone();
                faults.error("wrong-type", node, format!("{key}: expected a map of names to values, found {}", node.kind()));
                &[]
            }
        }
    }

    /// Tells the schema that exactly one of these keys is there; the caller reports where it is not so.
    pub fn exactly_one(&mut self, keys: &[&'static str]) {
        self.constrain(|| {
            let each = keys.iter().map(|key| json!({ "required": [key] })).collect::<Vec<_>>();
            json!({ "oneOf": each })
        });
    }

    /// Tells the schema what else holds of the map; the caller reports where it does not.
    pub fn constrain(&mut self, constraint: impl FnOnce() -> serde_json::Value) {
        if let Some(asked) = &mut self.asking {
            asked.all_of.push(constraint());
        }
    }

    /// Tells the schema what the map is for.
    pub fn describe(&mut self, description: impl FnOnce() -> String) {
        if let Some(asked) = &mut self.asking {
            asked.description = Some(description());
        }
    }

    /// All keys and values that were not asked for yet.
    pub fn rest(&mut self) -> Vec<(&'a Node, &'a Node)> {
        let rest = self.pairs.iter().filter(|(name, _)| !self.asked.contains(&name.key_name()));
        rest.map(|(name, value)| (name, value)).collect()
    }

    /// What to say to whoever writes a key that does not exist here, but elsewhere.
    pub fn hint(&mut self, key: &'static str, hint: impl Into<String>) {
        self.hints.push((key, hint.into()));
    }

    /// Reports the keys that nobody asked for, each with the known one it may have meant.
    pub fn finish(mut self, faults: &mut Faults) {
        for (key, value) in self.rest() {
            // It may be a secret, under a mistyped key or behind a colon without its space.
            value.hide_in_zone();
            let name = key.key_name();
            let shown = shown_key(name);
            if shown != name {
                key.hide();
            }
            let hint = self.hints.iter().find(|(key, _)| *key == name);
            let help = match (hint, nearest(name, self.asked.iter().copied())) {
                (Some((_, hint)), _) => hint.clone(),
                (None, Some(known)) => format!("did you mean `{known}`?"),
                (None, None) => format!("known here: {}", self.asked.join(", ")),
            };
            faults.error_help("unknown-key", key, format!("unknown key `{shown}`"), help);
        }
    }

    fn ask(&mut self, key: &'static str, schema: impl FnOnce() -> serde_json::Value) {
        if !self.asked.contains(&key) {
            self.asked.push(key);
        }
        if let Some(asked) = &mut self.asking {
            let known = asked.properties.entry(key).or_insert_with(|| json!({}));
            if known.as_object().is_some_and(Map::is_empty) {
                *known = schema();
            }
        }
    }
}
