//! Label sets and the matchers that choose among them, as Prometheus and Alertmanager have them.

use std::collections::BTreeMap;
use std::fmt;

use regex::Regex;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// Names and values in the order of their names; a missing label and an empty one are the same.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Labels(pub BTreeMap<String, String>);

impl Labels {
    /// The value of a label; the empty string where there is none.
    pub fn get(&self, name: &str) -> &str {
        self.0.get(name).map_or("", String::as_str)
    }

    /// Sets a label; an empty value removes it.
    pub fn set(&mut self, name: impl Into<String>, value: impl Into<String>) {
        let (name, value) = (name.into(), value.into());
        if value.is_empty() {
            self.0.remove(&name);
        } else {
            self.0.insert(name, value);
        }
    }

    /// Names and values in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// Sixteen hex digits of SHA-256 over the set: the identity that Alertmanager's JSON calls `fingerprint`.
    pub fn fingerprint(&self) -> String {
        sha256_hex(&self.to_string())[..16].to_owned()
    }
}

/// SHA-256 of a text in lower-case hex.
pub fn sha256_hex(text: &str) -> String {
    Sha256::digest(text.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}

impl<N: Into<String>, V: Into<String>> FromIterator<(N, V)> for Labels {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(pairs: I) -> Labels {
        let mut labels = Labels::default();
        for (name, value) in pairs {
            labels.set(name, value);
        }
        labels
    }
}

impl fmt::Display for Labels {
    /// `{name="value", ...}` with Prometheus' escapes.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("{")?;
        for (i, (name, value)) in self.iter().enumerate() {
            let comma = if i == 0 { "" } else { ", " };
            write!(f, "{comma}{name}=\"{}\"", escape(value))?;
        }
        f.write_str("}")
    }
}

/// A label value as it stands between quotes in Prometheus' text: `\`, `"` and line feeds escaped.
pub fn escape(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

/// The value before its closing quote, which must be all there is; as in Alertmanager a backslash before anything but
/// `\`, `"` and `n` is itself, so that regular expressions need no second one.
fn unescape(quoted: &str) -> Option<String> {
    let (mut value, mut rest) = (String::new(), quoted.chars());
    while let Some(character) = rest.next() {
        match character {
            '"' => return rest.as_str().is_empty().then_some(value),
            '\\' => match rest.next()? {
                'n' => value.push('\n'),
                same @ ('\\' | '"') => value.push(same),
                other => value.extend(['\\', other]),
            },
            other => value.push(other),
        }
    }
    None
}

/// Whether Prometheus takes it as the name of a label.
pub fn is_label_name(name: &str) -> bool {
    let mut bytes = name.bytes();
    bytes.next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_') && bytes.all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

/// How a matcher compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// `=`
    Equal,
    /// `!=`
    NotEqual,
    /// `=~`
    Match,
    /// `!~`
    NotMatch,
}

/// One condition on one label; regular expressions are anchored at both ends.
#[derive(Clone, Debug)]
pub struct Matcher {
    /// The label's name.
    pub name: String,
    /// How it compares.
    pub op: Op,
    /// With what.
    pub value: String,
    regex: Option<Regex>,
}

impl Matcher {
    /// Reads `model = "gpt-4o"`, `provider=~"open.*|azure"`; the quotes may be left out.
    pub fn parse(text: &str) -> Result<Matcher, String> {
        let fault = || {
            format!("`{text}` is no matcher; write it as model=\"gpt-4o\", model!=\"x\", model=~\"gpt.*\" or model!~\"gpt.*\"")
        };
        let at = text.find(['=', '!']).ok_or_else(fault)?;
        let (name, rest) = (text[..at].trim(), &text[at..]);
        let (op, rest) = [("=~", Op::Match), ("!~", Op::NotMatch), ("!=", Op::NotEqual), ("=", Op::Equal)]
            .into_iter()
            .find_map(|(sign, op)| rest.strip_prefix(sign).map(|rest| (op, rest.trim())))
            .ok_or_else(fault)?;
        let value = match rest.strip_prefix('"') {
            Some(quoted) => unescape(quoted).ok_or_else(fault)?,
            None if rest.contains('"') || rest.starts_with(['=', '~', '!', '\'']) => return Err(fault()),
            None => rest.to_owned(),
        };
        if !is_label_name(name) {
            return Err(fault());
        }
        Matcher::new(name, op, value)
    }

    /// From its parts; fails where the value is no regular expression and must be one.
    pub fn new(name: &str, op: Op, value: String) -> Result<Matcher, String> {
        let regex = match op {
            Op::Match | Op::NotMatch => {
                // Where it is wrong is drawn in further lines; the last one says what.
                let reason = |error: regex::Error| error.to_string().lines().last().unwrap_or_default().replace("error: ", "");
                let regex = Regex::new(&format!("^(?:{value})$"));
                Some(regex.map_err(|error| format!("`{value}` is no regular expression: {}", reason(error)))?)
            }
            Op::Equal | Op::NotEqual => None,
        };
        Ok(Matcher { name: name.to_owned(), op, value, regex })
    }

    /// Whether a value of the label satisfies it.
    pub fn matches(&self, value: &str) -> bool {
        let by_regex = || self.regex.as_ref().is_some_and(|regex| regex.is_match(value));
        match self.op {
            Op::Equal => value == self.value,
            Op::NotEqual => value != self.value,
            Op::Match => by_regex(),
            Op::NotMatch => !by_regex(),
        }
    }
}

impl fmt::Display for Matcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let op = match self.op {
            Op::Equal => "=",
            Op::NotEqual => "!=",
            Op::Match => "=~",
            Op::NotMatch => "!~",
        };
        write!(f, "{}{op}\"{}\"", self.name, escape(&self.value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matchers_match() {
        #[track_caller]
        fn check(matcher: &str, value: &str, expected: bool) {
            let parsed = Matcher::parse(matcher).unwrap();
            assert_eq!(parsed.matches(value), expected, "{matcher} on {value:?}");
            let again = Matcher::parse(&parsed.to_string()).unwrap();
            assert_eq!(again.matches(value), expected, "{again}");
        }
        check("model=gpt-4o", "gpt-4o", true);
        check("model = \"gpt-4o\"", "gpt-4o-mini", false);
        check("model!=\"\"", "", false);
        check("model=~\"gpt.*\"", "gpt-4o", true);
        check("model=~\"gpt\"", "gpt-4o", false);
        check("model!~\"a|b\"", "b", false);
        check("model=\"a\\\"b\"", "a\"b", true);
        check("model=\"a\\\\b\\nc\td\"", "a\\b\nc\td", true);
        check(r#"model=~"gpt-4\.1""#, "gpt-4.1", true);
        check(r#"model=~"gpt-4\\.1""#, "gpt-4.1", true);
        check(r#"model=~"gpt-4\.1""#, "gpt-4x1", false);
        for bad in ["model", "=x", "model=~\"(\"", "model=\"x", "mo del=x", "model=\"x\"y\"", "model=\"x\\\""] {
            assert!(Matcher::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn empty_labels_are_absent() {
        let labels: Labels = [("a", "1"), ("b", "")].into_iter().collect();
        assert_eq!(labels.to_string(), "{a=\"1\"}");
        assert_eq!(labels.get("b"), "");
    }
}
