//! Matchers: conditions on labels.

use std::fmt;

use regex::{Regex, RegexBuilder};
use serde::{Deserialize, Serialize};

use super::grammar::{self, Parts, is_reserved};
use super::{Labels, escape, is_label_name, quote, regexp};
use crate::limits::{MAX_MATCHERS, MAX_MATCHERS_BYTES, MAX_REGEX_BYTES};

/// How a matcher compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
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

/// One condition on one label; regular expressions are Go's, anchored at both ends.
#[derive(Clone, Debug)]
pub struct Matcher {
    /// The label's name.
    pub name: String,
    /// How it compares.
    pub op: Op,
    /// With what.
    pub value: String,
    accepts: Accepts,
}

/// The values that a matcher's text stands for, before a negation.
#[derive(Clone, Debug)]
enum Accepts {
    /// The text itself.
    Text,
    /// One of these, in order: most regular expressions are no more.
    Choice(Vec<String>),
    Regex(Regex),
}

impl Op {
    /// `=`, `!=`, `=~` or `!~`.
    pub fn as_str(self) -> &'static str {
        match self {
            Op::Equal => "=",
            Op::NotEqual => "!=",
            Op::Match => "=~",
            Op::NotMatch => "!~",
        }
    }

    /// Whether the value is a regular expression.
    pub fn is_regex(self) -> bool {
        matches!(self, Op::Match | Op::NotMatch)
    }

    /// Whether values are wanted rather than excluded.
    pub fn is_positive(self) -> bool {
        matches!(self, Op::Equal | Op::Match)
    }
}

impl Matcher {
    /// Reads one matcher as Alertmanager does: `model = gpt-4o`, `provider=~"open.*|azure"`, `"the model"="x"`.
    ///
    /// # Errors
    /// It is none, it is several, or its regular expression is none.
    pub fn parse(text: &str) -> Result<Matcher, String> {
        let classic = grammar::classic_one(text).and_then(Matcher::of);
        classic.or_else(|fault| match grammar::utf8(text).as_deref() {
            Ok([one]) if !text.trim_start().starts_with('{') => Matcher::of(one.clone()),
            // A regular expression at fault is more to the point than the notation for UTF-8.
            _ if fault.contains("regular expression") => Err(fault),
            _ => Err(no_matcher(text)),
        })
    }

    /// The same for files of ours, where what is taken for a value would often be a slip: `model==x`, `model='x'`, a name
    /// that Prometheus does not take.
    ///
    /// # Errors
    /// As with [`Matcher::parse`].
    pub fn parse_strictly(text: &str) -> Result<Matcher, String> {
        let matcher = Matcher::parse(text)?;
        let is_quoted = text.trim_end().ends_with('"');
        let is_slip = !is_quoted && matcher.value.starts_with(['=', '~', '!', '\'']);
        if is_slip || !is_label_name(&matcher.name) { Err(no_matcher(text)) } else { Ok(matcher) }
    }

    /// From its parts.
    ///
    /// # Errors
    /// The value is no regular expression and must be one.
    pub fn new(name: &str, op: Op, value: String) -> Result<Matcher, String> {
        let accepts = match op {
            Op::Equal | Op::NotEqual => Accepts::Text,
            Op::Match | Op::NotMatch => match regexp::choices(&value) {
                Some(mut choices) => {
                    choices.sort_unstable();
                    Accepts::Choice(choices)
                }
                None => Accepts::Regex(compile(&value)?),
            },
        };
        Ok(Matcher { name: name.to_owned(), op, value, accepts })
    }

    fn of((name, op, value): Parts) -> Result<Matcher, String> {
        Matcher::new(&name, op, value)
    }

    /// Whether a value of the label satisfies it.
    pub fn matches(&self, value: &str) -> bool {
        let accepted = match &self.accepts {
            Accepts::Text => value == self.value,
            Accepts::Choice(choices) => choices.binary_search_by(|choice| choice.as_str().cmp(value)).is_ok(),
            Accepts::Regex(regex) => regex.is_match(value),
        };
        accepted == self.op.is_positive()
    }

    /// The only values that satisfy it, where they can be told.
    pub fn values(&self) -> Option<&[String]> {
        match &self.accepts {
            _ if !self.op.is_positive() => None,
            Accepts::Text => Some(std::slice::from_ref(&self.value)),
            Accepts::Choice(choices) => Some(choices),
            Accepts::Regex(_) => None,
        }
    }
}

fn no_matcher(text: &str) -> String {
    format!("`{text}` is no matcher; write it as model=\"gpt-4o\", model!=\"x\", model=~\"gpt.*\" or model!~\"gpt.*\"")
}

fn compile(pattern: &str) -> Result<Regex, String> {
    let translated = regexp::from_go(pattern)?;
    bounded_regex(&format!("^(?:{translated})$")).map_err(|fault| match fault {
        RegexFault::TooLarge => format!("`{pattern}` is too large a regular expression"),
        RegexFault::Wrong(reason) => format!("`{pattern}` is no regular expression: {reason}"),
    })
}

/// Why a regular expression cannot be had.
#[derive(Debug)]
pub enum RegexFault {
    /// It takes more memory than one may.
    TooLarge,
    /// It is none, and why.
    Wrong(String),
}

/// Compiles what anybody may have written.
///
/// # Errors
/// It is none, or takes too much memory.
pub fn bounded_regex(pattern: &str) -> Result<Regex, RegexFault> {
    RegexBuilder::new(pattern).size_limit(MAX_REGEX_BYTES).build().map_err(|error| match error {
        regex::Error::CompiledTooBig(_) => RegexFault::TooLarge,
        // Where it is wrong is drawn in further lines; the last one says what.
        error => RegexFault::Wrong(error.to_string().lines().last().unwrap_or_default().replace("error: ", "")),
    })
}

impl PartialEq for Matcher {
    fn eq(&self, other: &Matcher) -> bool {
        (&self.name, self.op, &self.value) == (&other.name, other.op, &other.value)
    }
}

impl fmt::Display for Matcher {
    /// As Alertmanager writes it; [`Matcher::parse`] reads it again.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let op = self.op.as_str();
        if self.name.contains(is_reserved) {
            return write!(f, "{}{op}{}", quote(&self.name), quote(&self.value));
        }
        write!(f, "{}{op}\"{}\"", self.name, escape(&self.value))
    }
}

/// Conditions that must all hold.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Matchers(pub Vec<Matcher>);

impl Matchers {
    /// Reads a list of matchers as Alertmanager does: `foo = bar`, `a="b",c!="d"`, `{a=~"b.*", "the c"="d"}`.
    ///
    /// # Errors
    /// It is none, or has a regular expression that is none.
    pub fn parse(text: &str) -> Result<Matchers, String> {
        let of = |parts: Vec<Parts>| parts.into_iter().map(Matcher::of).collect::<Result<Vec<_>, _>>().map(Matchers);
        let classic = grammar::classic(text).and_then(of);
        classic.or_else(|fault| match grammar::utf8(text) {
            Ok(parts) => of(parts),
            Err(_) if fault.contains("regular expression") => Err(fault),
            Err(_) => Err(no_matcher(text)),
        })
    }

    /// The same for the text of a request, which is measured before any regular expression of it is compiled.
    ///
    /// # Errors
    /// As with [`Matchers::parse`], or there are too many.
    pub fn parse_bounded(text: &str) -> Result<Matchers, String> {
        Matchers::check_bounds(0, text.len())?;
        // A text may be read in two ways.
        let counts = [grammar::classic(text).map(|parts| parts.len()).ok(), grammar::utf8(text).map(|parts| parts.len()).ok()];
        Matchers::check_bounds(counts.into_iter().flatten().max().unwrap_or(0), text.len())?;
        Matchers::parse(text)
    }

    /// Whether one request may bring so many, and so many bytes of them.
    ///
    /// # Errors
    /// It may not.
    pub fn check_bounds(count: usize, bytes: usize) -> Result<(), String> {
        match (count, bytes) {
            (count, _) if count > MAX_MATCHERS => {
                Err(format!("{count} matchers are too many for one request: {MAX_MATCHERS} are the most"))
            }
            (_, bytes) if bytes > MAX_MATCHERS_BYTES => {
                Err(format!("{bytes} bytes of matchers are too many for one request: {MAX_MATCHERS_BYTES} are the most"))
            }
            _ => Ok(()),
        }
    }

    /// The same in Alertmanager's order, by name, value and operator.
    pub fn sorted(mut self) -> Matchers {
        self.0.sort_by(|a, b| (&a.name, &a.value, a.op).cmp(&(&b.name, &b.value, b.op)));
        self
    }

    /// Whether a label set satisfies all of them; a missing label is the empty text.
    pub fn matches(&self, labels: &Labels) -> bool {
        self.0.iter().all(|matcher| matcher.matches(labels.get(&matcher.name)))
    }
}

/// Stored as text: what was read once can be read again.
impl Serialize for Matchers {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.iter().map(Matcher::to_string).collect::<Vec<_>>().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Matchers {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Matchers, D::Error> {
        let texts = Vec::<String>::deserialize(deserializer)?;
        let matchers = texts.iter().map(|text| Matcher::parse(text)).collect::<Result<_, _>>();
        matchers.map(Matchers).map_err(serde::de::Error::custom)
    }
}

impl fmt::Display for Matchers {
    /// `{a="b",c=~"d"}`, as Alertmanager writes them.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("{")?;
        for (i, matcher) in self.0.iter().enumerate() {
            write!(f, "{}{matcher}", if i == 0 { "" } else { "," })?;
        }
        f.write_str("}")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

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
        check("model!~\"a|b\"", "c", true);
        check("model=~\"a|b\"", "b", true);
        check("model=\"a\\\"b\"", "a\"b", true);
        check("model=\"a\\\\b\\nc\td\"", "a\\b\nc\td", true);
        check(r#"model=~"gpt-4\.1""#, "gpt-4.1", true);
        check(r#"model=~"gpt-4\\.1""#, "gpt-4.1", true);
        check(r#"model=~"gpt-4\.1""#, "gpt-4x1", false);
        check("model=", "", true);
        check("a:b=c", "c", true);
        check("model==x", "=x", true);
        check("model=x=y", "x=y", true);
        for bad in ["model", "=x", "model=~\"(\"", "model=\"x", "mo del=x", "model=\"x\"y\"", "model=\"x\\\"", "{a=b}", "a=b,c=d"]
        {
            let read = Matcher::parse(bad);
            assert!(read.is_err() || bad == "a=b,c=d", "{bad}");
        }
        for slip in ["model==x", "model='x'", "model=!x", "a:b=c", "\"a b\"=x"] {
            assert!(Matcher::parse(slip).is_ok() && Matcher::parse_strictly(slip).is_err(), "{slip}");
        }
    }

    #[test]
    fn lists_are_read_as_alertmanager_does() {
        #[track_caller]
        fn check(text: &str, expected: Result<&str, &str>) {
            match (Matchers::parse(text), expected) {
                (Ok(read), Ok(expected)) => assert_eq!(read.to_string(), expected, "{text}"),
                (Err(fault), Err(expected)) => assert!(fault.contains(expected), "{text}: {fault}"),
                (read, _) => panic!("{text}: {read:?}"),
            }
        }
        check("", Ok("{}"));
        check("{}", Ok("{}"));
        check("foo = bar", Ok("{foo=\"bar\"}"));
        check("{foo = \"bar\", dings != \"bums\", }", Ok("{foo=\"bar\",dings!=\"bums\"}"));
        check("foo=bar, dings!=bums", Ok("{foo=\"bar\",dings!=\"bums\"}"));
        check(
            r#"{quote="She said: \"Hi, ladies! That's gender-neutral...\""}"#,
            Ok(r#"{quote="She said: \"Hi, ladies! That's gender-neutral...\""}"#),
        );
        check("statuscode=~\"5..\"", Ok("{statuscode=~\"5..\"}"));
        check("a=~\"x{1,2}\"", Ok("{a=~\"x{1,2}\"}"));
        check("foo=", Ok("{foo=\"\"}"));
        check(r"a=b\c", Ok(r#"{a="b\\c"}"#));
        // Only the notation for UTF-8 knows these.
        check("\"the model\"=\"a\\tb\"", Ok("{\"the model\"=\"a\\tb\"}"));
        check("{\"föö\"=bar,a=\"b\"}", Ok("{föö=\"bar\",a=\"b\"}"));
        check("\u{1f642}=x", Ok("{\u{1f642}=\"x\"}"));
        check(r#""a\u00e9\x41\101 b"=x"#, Ok("{\"aéAA b\"=\"x\"}"));
        // In the classic one a single backslash is itself, and wins.
        check(r#"a=~"\d+""#, Ok(r#"{a=~"\\d+"}"#));
        check(r#"a="\t""#, Ok(r#"{a="\\t"}"#));
        for bad in
            ["foo", "foo=\"bar", "foo=bar\"", "=bar", "foo bar", "{föö=bar", "föö=bar}", "föö=", "\"\"=x", "a=b,,c=d", "{,}"]
        {
            check(bad, Err("is no matcher"));
        }
        check("a=~\"(\"", Err("no regular expression"));
        check("a=b,c=~\"*\"", Err("no regular expression"));
    }

    #[test]
    fn what_a_request_brings_is_bounded() {
        #[track_caller]
        fn check(text: &str, expected: &str) {
            let fault = Matchers::parse_bounded(text).unwrap_err();
            assert!(fault.contains(expected), "{fault}");
        }
        let list = |n: usize| vec!["a=~\"x.*\""; n].join(",");
        assert_eq!(Matchers::parse_bounded(&list(MAX_MATCHERS)).unwrap().0.len(), MAX_MATCHERS);
        check(&list(MAX_MATCHERS + 1), "65 matchers are too many for one request: 64 are the most");
        check(&format!("a=\"{}\"", "x".repeat(MAX_MATCHERS_BYTES)), "8196 bytes of matchers are too many");
        // It is counted before it is compiled.
        check(&format!("{},b=~\"(\"", list(MAX_MATCHERS)), "too many");
        check("a=~\"(x{1000}){1000}\"", "`(x{1000}){1000}` is too large a regular expression");
        let one = Matcher::parse("a=~\"(x{1000}){1000}\"").unwrap_err();
        assert!(one.ends_with("is too large a regular expression"), "{one}");
    }

    #[test]
    fn the_order_is_by_name_value_and_operator() {
        let sorted = Matchers::parse(r#"b="1",a=~"2",a!="2",a="3",a="2",a!~"2""#).unwrap().sorted();
        assert_eq!(sorted.to_string(), r#"{a="2",a!="2",a=~"2",a!~"2",a="3",b="1"}"#);
    }

    proptest! {
        #[test]
        fn whatever_is_written_is_read_again(
            names in prop::collection::vec("[a-z_:][a-z0-9_:]{0,3}|\\PC{1,4}|[^\u{0}]{1,3}|.{1,3}", 1..4),
            values in prop::collection::vec("[ -~]{0,6}|(?s).{0,4}|[\"\\\\\n,{}]{0,5}", 4),
            equal in prop::collection::vec(any::<bool>(), 4),
        ) {
            let op = |equal: bool| if equal { Op::Equal } else { Op::NotEqual };
            let parts = names.iter().zip(values.iter().zip(&equal));
            let matchers = Matchers(parts.map(|(name, (value, equal))| Matcher::new(name, op(*equal), value.clone()).unwrap()).collect());
            prop_assert_eq!(Matchers::parse(&matchers.to_string()), Ok(matchers.clone()));
            for matcher in &matchers.0 {
                prop_assert_eq!(Matcher::parse(&matcher.to_string()), Ok(matcher.clone()));
            }
            let stored = postcard::to_stdvec(&matchers).unwrap();
            prop_assert_eq!(postcard::from_bytes::<Matchers>(&stored).unwrap(), matchers);
        }

        #[test]
        fn no_text_breaks_the_parsers(text in "(?s).{0,12}|[a={}\",!~\\\\ ]{0,12}") {
            let _ = Matchers::parse(&text);
            let _ = Matcher::parse(&text);
        }

        #[test]
        fn a_choice_is_what_its_regular_expression_is(pattern in "[ab|()^$.\\\\]{0,6}", value in "[ab|.]{0,3}") {
            if let (Some(choices), Ok(regex)) = (regexp::choices(&pattern), Regex::new(&format!("^(?:{pattern})$"))) {
                prop_assert_eq!(choices.contains(&value), regex.is_match(&value), "{} on {}", pattern, value);
            }
        }
    }
}
