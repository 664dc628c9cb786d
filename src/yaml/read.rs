//! Readers of single values, each with the JSON Schema of what it takes.

use std::fs::File;
use std::io::Read as _;
use std::marker::PhantomData;

use serde_json::json;

use super::{Faults, Node, Value};
use crate::diag::{Diagnostic, nearest};
use crate::secret::Secret;
use crate::time::Span;

/// Reads a value and knows the schema of what it takes. Functions of a node are readers too, whose schema takes anything.
pub trait Read<T> {
    /// The value under `key`; where there is none, why is among the faults.
    fn read(&self, key: &str, node: &Node, faults: &mut Faults) -> Option<T>;

    /// The JSON Schema of what is taken.
    fn schema(&self) -> serde_json::Value {
        json!({})
    }

    /// Whether nobody should see what it reads.
    fn is_secret(&self) -> bool {
        false
    }
}

impl<T, F: Fn(&Node) -> Result<T, String>> Read<T> for F {
    fn read(&self, key: &str, node: &Node, faults: &mut Faults) -> Option<T> {
        self(node).map_err(|message| faults.error("bad-value", node, format!("{key}: {message}"))).ok()
    }
}

/// A function of a node together with its schema.
#[derive(Debug)]
pub struct Type<T> {
    read: fn(&Node) -> Result<T, String>,
    schema: fn() -> serde_json::Value,
    secret: bool,
}

impl<T> Type<T> {
    /// From its parts.
    pub const fn new(read: fn(&Node) -> Result<T, String>, schema: fn() -> serde_json::Value) -> Type<T> {
        Type { read, schema, secret: false }
    }

    const fn secret(self) -> Type<T> {
        Type { secret: true, ..self }
    }

    /// The same with one more step; its errors are shown at the value.
    ///
    /// ```
    /// # use modelwatch::yaml;
    /// let even = yaml::WHOLE.then(|n| if n % 2 == 0 { Ok(n / 2) } else { Err("must be even".to_owned()) });
    /// ```
    pub const fn then<U, F: Fn(T) -> Result<U, String>>(self, step: F) -> Then<Type<T>, T, F> {
        Then { read: self, step, between: PhantomData }
    }
}

impl<T> Clone for Type<T> {
    fn clone(&self) -> Type<T> {
        *self
    }
}

impl<T> Copy for Type<T> {}

impl<T> Read<T> for Type<T> {
    fn read(&self, key: &str, node: &Node, faults: &mut Faults) -> Option<T> {
        self.read.read(key, node, faults)
    }

    fn schema(&self) -> serde_json::Value {
        (self.schema)()
    }

    fn is_secret(&self) -> bool {
        self.secret
    }
}

/// A reader and a step after it.
#[derive(Clone, Copy, Debug)]
pub struct Then<R, T, F> {
    read: R,
    step: F,
    between: PhantomData<fn() -> T>,
}

impl<T, U, R: Read<T>, F: Fn(T) -> Result<U, String>> Read<U> for Then<R, T, F> {
    fn read(&self, key: &str, node: &Node, faults: &mut Faults) -> Option<U> {
        let value = self.read.read(key, node, faults)?;
        (self.step)(value).map_err(|message| faults.error("bad-value", node, format!("{key}: {message}"))).ok()
    }

    fn schema(&self) -> serde_json::Value {
        self.read.schema()
    }

    fn is_secret(&self) -> bool {
        self.read.is_secret()
    }
}

/// One of several words, each with what it stands for.
#[derive(Clone, Copy, Debug)]
pub struct OneOf<T: 'static>(&'static [(&'static str, T)]);

/// One of several words: `yaml::one_of(&[("mean", Baseline::Mean), ("median", Baseline::Median)])`.
pub const fn one_of<T: Copy>(words: &'static [(&'static str, T)]) -> OneOf<T> {
    OneOf(words)
}

impl<T: Copy> Read<T> for OneOf<T> {
    fn read(&self, key: &str, node: &Node, faults: &mut Faults) -> Option<T> {
        let word = TEXT.read(key, node, faults)?;
        if let Some((_, value)) = self.0.iter().find(|(known, _)| *known == word) {
            return Some(*value);
        }
        let known: Vec<String> = self.0.iter().map(|(known, _)| format!("`{known}`")).collect();
        let message = match known.as_slice() {
            [one, other] => format!("{key}: `{word}` is neither {one} nor {other}"),
            _ => format!("{key}: `{word}` is none of {}", known.join(", ")),
        };
        let fault = Diagnostic::error("bad-value", &node.place, message);
        faults.0.push(match nearest(&word, self.0.iter().map(|(known, _)| *known)) {
            Some(near) => fault.help(format!("did you mean `{near}`?")),
            None => fault,
        });
        None
    }

    fn schema(&self) -> serde_json::Value {
        json!({ "enum": self.0.iter().map(|(word, _)| word).collect::<Vec<_>>() })
    }
}

/// A list, each item by the same reader.
#[derive(Clone, Copy, Debug)]
pub struct List<R>(R);

/// A list, each item by `read`; one scalar is a list of one. Every bad item is a fault.
pub const fn list<R>(read: R) -> List<R> {
    List(read)
}

impl<R> List<R> {
    /// The same with one more step over all items; its errors are shown at the list.
    pub const fn then<T, U, F: Fn(Vec<T>) -> Result<U, String>>(self, step: F) -> Then<List<R>, Vec<T>, F>
    where
        R: Read<T>,
    {
        Then { read: self, step, between: PhantomData }
    }
}

impl<T, R: Read<T>> Read<Vec<T>> for List<R> {
    fn read(&self, key: &str, node: &Node, faults: &mut Faults) -> Option<Vec<T>> {
        let items = match &node.value {
            Value::Map(_) => {
                faults.error("bad-value", node, format!("{key}: expected a list, found a map"));
                return None;
            }
            _ => node.items(),
        };
        // All are read before one that is at fault ends it.
        let items: Vec<Option<T>> = items.iter().map(|item| self.0.read(key, item, faults)).collect();
        items.into_iter().collect()
    }

    fn schema(&self) -> serde_json::Value {
        let item = self.0.schema();
        json!({ "anyOf": [{ "type": "array", "items": item }, item] })
    }

    fn is_secret(&self) -> bool {
        self.0.is_secret()
    }
}

/// Any scalar as the text that was written.
pub const TEXT: Type<String> = Type::new(text, || json!({ "type": ["string", "number", "boolean"] }));
/// `true` or `false`.
pub const BOOLEAN: Type<bool> = Type::new(boolean, || json!({ "type": "boolean" }));
/// A number.
pub const NUMBER: Type<f64> = Type::new(number, || json!({ "type": "number" }));
/// A number above 0.
pub const POSITIVE: Type<f64> = Type::new(positive, || json!({ "type": "number", "exclusiveMinimum": 0 }));
/// A number from 0.
pub const NOT_NEGATIVE: Type<f64> = Type::new(not_negative, || json!({ "type": "number", "minimum": 0 }));
/// A whole number from 0.
pub const WHOLE: Type<u64> = Type::new(whole, || json!({ "type": "integer", "minimum": 0 }));
/// A whole number from 1.
pub const POSITIVE_WHOLE: Type<u64> = Type::new(positive_whole, || json!({ "type": "integer", "minimum": 1 }));
/// A part of a whole, above 0 and at most 1: `5%` or 0.05.
pub const SHARE: Type<f64> = Type::new(share, || {
    json!({ "anyOf": [{ "type": "number", "exclusiveMinimum": 0, "maximum": 1 }, { "type": "string", "pattern": SHARE_PATTERN,
        "patternErrorMessage": "expected a share such as 5% or 0.05" }] })
});
/// A duration such as `5m`.
pub const SPAN: Type<Span> = Type::new(span, || json!({ "anyOf": [span_schema(), { "enum": [0, "0"] }] }));
/// A duration above zero.
pub const POSITIVE_SPAN: Type<Span> = Type::new(positive_span, span_schema);
/// A map of free names to text, in the order of the file.
pub const TEXTS: Type<Vec<(String, String)>> =
    Type::new(texts, || json!({ "type": "object", "additionalProperties": TEXT.schema() }));
/// A secret: the text, in which `${NAME}` stands for a variable of the environment.
pub const SECRET: Type<Secret> = Type::new(secret, || json!({ "type": ["string", "number"] })).secret();
/// A secret from the file that is named.
pub const SECRET_FILE: Type<Secret> = Type::new(secret_file, || json!({ "type": "string" })).secret();

/// What a file with a secret may hold: a longer one was named by mistake, or never ends.
const SECRET_BYTES: u64 = 65_536;

const SHARE_PATTERN: &str = r"^[0-9]+(\.[0-9]+)? ?%$";

fn span_schema() -> serde_json::Value {
    json!({
        "type": "string",
        "pattern": "^([0-9]+y)?([0-9]+w)?([0-9]+d)?([0-9]+h)?([0-9]+m)?([0-9]+s)?([0-9]+ms)?$",
        "minLength": 1,
        "patternErrorMessage": "expected a duration such as 30s, 5m, 1h30m, 14d or 200ms",
    })
}

/// Any scalar as the text that was written.
pub fn text(node: &Node) -> Result<String, String> {
    match &node.value {
        Value::Text(text) => Ok(text.clone()),
        Value::Bool(_) | Value::Number(_) => Ok(node.written().to_owned()),
        _ => Err(format!("expected text, found {}", node.kind())),
    }
}

/// `true` or `false`; also YAML 1.1's words for them, as files for Alertmanager have them, where they are not quoted.
pub fn boolean(node: &Node) -> Result<bool, String> {
    match &node.value {
        Value::Bool(value) => Ok(*value),
        Value::Text(text) if node.written() == text => match text.to_ascii_lowercase().as_str() {
            "yes" | "on" | "y" => Ok(true),
            "no" | "off" | "n" => Ok(false),
            _ => Err("expected true or false, found text".to_owned()),
        },
        Value::Text(_) => Err("expected true or false, found quoted text; write `true` or `false`".to_owned()),
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

/// A number above 0.
pub fn positive(node: &Node) -> Result<f64, String> {
    let value = number(node)?;
    if value > 0.0 { Ok(value) } else { Err("must be more than 0".to_owned()) }
}

/// A number from 0.
pub fn not_negative(node: &Node) -> Result<f64, String> {
    let value = number(node)?;
    if value >= 0.0 { Ok(value) } else { Err("must not be below 0".to_owned()) }
}

/// A whole number from 1.
pub fn positive_whole(node: &Node) -> Result<u64, String> {
    let value = whole(node)?;
    if value > 0 { Ok(value) } else { Err("must be at least 1".to_owned()) }
}

/// A part of a whole, above 0 and at most 1: `5%` or 0.05.
pub fn share(node: &Node) -> Result<f64, String> {
    let written = text(node)?;
    let fault = || format!("`{written}` is no share; write it as 5% or 0.05");
    let value = match written.strip_suffix('%') {
        Some(percent) => percent.trim_end().parse().map(|n: f64| n / 100.0).map_err(|_| fault())?,
        None => number(node).map_err(|_| fault())?,
    };
    match value {
        _ if value > 0.0 && value <= 1.0 => Ok(value),
        _ => {
            let percent = value > 1.0 && value <= 100.0 && !written.ends_with('%');
            let hint = if percent { format!("; {value} percent are `{value}%`") } else { String::new() };
            Err(format!("`{written}` must be above 0 and at most 100%{hint}"))
        }
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
    let mut content = String::new();
    let read = File::open(&path).and_then(|file| file.take(SECRET_BYTES + 1).read_to_string(&mut content));
    let read = read.map_err(|e| format!("cannot read {}: {e}", path.display()))?;
    if read as u64 > SECRET_BYTES {
        return Err(format!("{} is too long for a secret", path.display()));
    }
    Ok(Secret::new(content.trim()))
}

#[cfg(test)]
mod tests {
    use super::super::{Fields, parse};
    use super::*;

    /// The faults of reading `a`, a line each.
    fn faults<T>(yaml: &str, read: impl Read<T>) -> String {
        let mut faults = Faults::default();
        let root = parse("t", yaml, &mut faults).unwrap();
        root.map(&mut faults, |fields: &mut Fields<'_>, faults| fields.optional("a", faults, read));
        faults.0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn faults_name_the_value_and_what_was_meant() {
        let mean = one_of(&[("mean", 1), ("median", 2)]);
        assert_eq!(faults("a: mean", mean), "");
        assert_eq!(
            faults("a: meen", mean),
            "t:1:4: a: `meen` is neither `mean` nor `median` [bad-value]; hint: did you mean `mean`?"
        );
        assert_eq!(
            faults("a: x", one_of(&[("b", 1), ("c", 2), ("d", 3)])),
            "t:1:4: a: `x` is none of `b`, `c`, `d` [bad-value]; hint: did you mean `b`?"
        );
    }

    #[test]
    fn each_bad_item_is_shown_where_it_stands() {
        assert_eq!(
            faults("a: [1, x, -2]", list(WHOLE)),
            "t:1:8: a: expected a number, found text [bad-value]\nt:1:11: a: expected a whole number from 0, found -2 [bad-value]"
        );
        assert_eq!(faults("a: 1", list(WHOLE)), "");
        assert_eq!(
            faults("a: [1]", list(WHOLE).then(|all| if all.len() > 1 { Ok(all) } else { Err("too few".to_owned()) })),
            "t:1:4: a: too few [bad-value]"
        );
    }

    #[test]
    fn a_file_that_never_ends_is_no_secret() {
        assert!(faults("a: /dev/zero", SECRET_FILE).contains("/dev/zero is too long for a secret"));
    }

    #[test]
    fn the_booleans_of_yaml_1_1_are_read_unless_quoted() {
        let read = |yaml| parse("t", yaml, &mut Faults::default()).and_then(|root| boolean(root.at("a")).ok());
        for (yaml, expected) in [
            ("a: yes", Some(true)),
            ("a: Off # x", Some(false)),
            ("{a: on}", Some(true)),
            ("a: no", Some(false)),
            ("a: 'yes'", None),
            ("a: yess", None),
        ] {
            assert_eq!(read(yaml), expected, "{yaml}");
        }
    }

    #[test]
    fn shares_are_above_nothing_and_at_most_all() {
        for good in ["5%", "0.05", "100 %", "1", "0.1%"] {
            assert_eq!(faults(&format!("a: {good}"), SHARE), "", "{good}");
        }
        for bad in ["0", "0%", "101%", "5", "five", "-1%", "nan%"] {
            assert_ne!(faults(&format!("a: {bad}"), SHARE), "", "{bad}");
        }
    }
}
