//! What a template computes with: Go's values, as far as templates have them.

use std::fmt;
use std::sync::Arc;

use jiff::tz::TimeZone;

use super::{moment, number};
use crate::time::{Span, Time};

/// A value while a template runs.
#[derive(Clone, Debug)]
pub enum Value {
    /// Nothing: Go's nil.
    Nil,
    /// True or false.
    Bool(bool),
    /// A whole number.
    Whole(i64),
    /// Any other number.
    Number(f64),
    /// Text.
    Text(Arc<str>),
    /// Text that is written as it is, also where text is escaped.
    Safe(Arc<str>),
    /// An instant, as seen from a time zone.
    Time(Time, TimeZone),
    /// A length of time.
    Span(Span),
    /// A list.
    List(Arc<[Value]>),
    /// Anything with fields and methods.
    Object(Arc<dyn Object>),
}

/// A struct or a map.
pub trait Object: fmt::Debug + Send + Sync {
    /// What it is, for messages: `an alert`.
    fn kind(&self) -> &'static str;

    /// A field, an entry of a map, or a method without arguments.
    fn field(&self, name: &str) -> Option<Value>;

    /// What a method gives; none where there is none of that name.
    fn call(&self, _name: &str, _arguments: &[Value]) -> Option<Result<Value, String>> {
        None
    }

    /// Names of fields, for messages.
    fn fields(&self) -> &'static [&'static str] {
        &[]
    }

    /// Keys and values in order, where it can be looped over.
    fn entries(&self) -> Option<Vec<(Value, Value)>> {
        None
    }

    /// How many they are.
    fn count(&self) -> Option<usize> {
        self.entries().map(|entries| entries.len())
    }

    /// As Go prints it.
    fn text(&self) -> String;
}

impl From<&str> for Value {
    fn from(text: &str) -> Value {
        Value::text(text)
    }
}

impl From<String> for Value {
    fn from(text: String) -> Value {
        Value::Text(text.into())
    }
}

impl From<f64> for Value {
    fn from(number: f64) -> Value {
        Value::Number(number)
    }
}

impl From<i64> for Value {
    fn from(whole: i64) -> Value {
        Value::Whole(whole)
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Value {
        Value::Bool(value)
    }
}

impl Value {
    /// From text.
    pub fn text(text: impl AsRef<str>) -> Value {
        Value::Text(text.as_ref().into())
    }

    /// A list of texts.
    pub fn texts<T: AsRef<str>>(texts: impl IntoIterator<Item = T>) -> Value {
        Value::List(texts.into_iter().map(Value::text).collect())
    }

    /// An object.
    pub fn object(object: impl Object + 'static) -> Value {
        Value::Object(Arc::new(object))
    }

    /// The text, where it is one.
    pub(super) fn as_str(&self) -> Option<&str> {
        match self {
            Value::Text(text) | Value::Safe(text) => Some(text),
            _ => None,
        }
    }

    /// The number, where it is one.
    pub(super) fn as_number(&self) -> Option<f64> {
        match self {
            Value::Whole(whole) => Some(*whole as f64),
            Value::Number(number) => Some(*number),
            Value::Span(span) => Some(span.as_secs_f64()),
            _ => None,
        }
    }

    /// Whether Go's `if` holds.
    pub(super) fn is_true(&self) -> bool {
        match self {
            Value::Nil => false,
            Value::Bool(value) => *value,
            Value::Whole(whole) => *whole != 0,
            Value::Number(number) => *number != 0.0,
            Value::Text(text) | Value::Safe(text) => !text.is_empty(),
            Value::Time(..) => true,
            Value::Span(span) => *span != Span::ZERO,
            Value::List(items) => !items.is_empty(),
            Value::Object(object) => object.count() != Some(0),
        }
    }

    /// How many bytes or items it has; none where that is not known.
    pub(super) fn count(&self) -> Option<usize> {
        match self {
            Value::Nil => Some(0),
            Value::Text(text) | Value::Safe(text) => Some(text.len()),
            Value::List(items) => Some(items.len()),
            Value::Object(object) => object.count(),
            _ => None,
        }
    }

    /// About how many bytes it is as text, counted until there are `enough`.
    pub(super) fn size(&self, enough: usize) -> usize {
        match self {
            Value::Text(text) | Value::Safe(text) => 1 + text.len(),
            Value::List(items) => {
                let mut size = 1;
                for item in items.iter() {
                    if size >= enough {
                        break;
                    }
                    size += item.size(enough - size);
                }
                size
            }
            Value::Object(object) => 1 + object.text().len(),
            Value::Time(..) => 40,
            _ => 8,
        }
    }

    /// Keys and values of what can be looped over.
    pub(super) fn entries(&self) -> Result<Vec<(Value, Value)>, String> {
        let numbered =
            |items: &Arc<[Value]>| items.iter().cloned().enumerate().map(|(at, item)| (Value::Whole(at as i64), item)).collect();
        match self {
            Value::Nil => Ok(Vec::new()),
            Value::List(items) => Ok(numbered(items)),
            Value::Object(object) => object.entries().ok_or_else(|| format!("cannot loop over {}", object.kind())),
            _ => Err(format!("cannot loop over `{self}`")),
        }
    }

    /// `.name` of it.
    pub(super) fn member(&self, name: &str, arguments: &[Value]) -> Result<Value, String> {
        let found = match self {
            Value::Object(object) => object.call(name, arguments).or_else(|| {
                let field = object.field(name)?;
                let taken = if arguments.is_empty() { Ok(field) } else { Err(format!("`.{name}` takes no arguments")) };
                Some(taken)
            }),
            Value::Time(time, zone) => moment::time_member(*time, zone, name, arguments),
            Value::Span(span) => moment::span_member(*span, name),
            Value::Nil => return Err(format!("`.{name}` of nothing")),
            _ => None,
        };
        found.unwrap_or_else(|| Err(self.lacks(name)))
    }

    fn lacks(&self, name: &str) -> String {
        match self {
            Value::Object(object) if !object.fields().is_empty() => {
                format!("{} has no `.{name}`; it has .{}", object.kind(), object.fields().join(", ."))
            }
            Value::Object(object) => format!("{} has no `.{name}`", object.kind()),
            Value::List(_) => format!("a list has no `.{name}`"),
            _ => format!("`{self}` has no `.{name}`"),
        }
    }
}

impl fmt::Display for Value {
    /// As Go's `%v` prints it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Nil => f.write_str("<no value>"),
            Value::Bool(value) => value.fmt(f),
            Value::Whole(whole) => whole.fmt(f),
            Value::Number(number) => f.write_str(&number::shortest(*number)),
            Value::Text(text) | Value::Safe(text) => f.write_str(text),
            Value::Time(time, zone) => f.write_str(&moment::go_time(*time, zone)),
            Value::Span(span) => f.write_str(&moment::go_span(*span)),
            Value::List(items) => {
                let items: Vec<String> = items.iter().map(Value::to_string).collect();
                write!(f, "[{}]", items.join(" "))
            }
            Value::Object(object) => f.write_str(&object.text()),
        }
    }
}
