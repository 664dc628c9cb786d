//! How a table is mapped to events: each part a column or an SQL expression, from a preset, the configuration, or both.
//!
//! ```yaml
//! tables:
//!   - preset: cora_usage         # a built-in mapping; keys beside it win over the preset's
//!     lateness: 30m
//!   - name: calls                # a mapping of one's own
//!     from: my_calls
//!     id: id
//!     time: started_at
//!     success: status = 'ok'
//!     dimensions: {model: model_name, provider: "'openai'"}
//! ```

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::diag::{Place, nearest};
use crate::labels::is_label_name;
use crate::time::Span;
use crate::yaml::{self, Faults, Fields, Node, Value};

/// The built-in mappings, by name; a new one is a file in `presets/` and its line here.
pub const PRESETS: &[(&str, &str)] =
    &[("cora_usage", include_str!("presets/cora_usage.yml")), ("cora_errors", include_str!("presets/cora_errors.yml"))];

/// Labels that are ours and no dimension may take.
const RESERVED: &[&str] = &["source", "table", "outcome", "token_type", "le", "alertname", "alertstate", "__name__"];

/// What rows of a table are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kind {
    /// Calls.
    Usage,
    /// Records of failed calls.
    Errors,
}

/// A column or an SQL expression, with the place that faults of the database are shown at.
#[derive(Clone, Debug)]
pub struct Field {
    /// As it was written.
    pub sql: String,
    /// Where.
    pub place: Place,
}

/// A dimension of a mapping.
#[derive(Clone, Debug)]
pub struct Dimension {
    /// Its label.
    pub name: String,
    /// Its value, or the key of the lookup.
    pub field: Field,
    /// Where the value is the key of another table: that table, read apart and joined in memory.
    pub lookup: Option<Lookup>,
}

/// A small table of names.
#[derive(Clone, Debug)]
pub struct Lookup {
    /// The table.
    pub table: String,
    /// Its key.
    pub key: String,
    /// The name that the key stands for.
    pub value: String,
}

/// The mapping of one table.
#[derive(Clone, Debug)]
pub struct Mapping {
    /// The label `table`.
    pub name: String,
    /// Calls or errors.
    pub kind: Kind,
    /// A table, or a SELECT.
    pub from: Field,
    /// Identity of a row.
    pub id: Field,
    /// When it happened; a time without a zone is UTC.
    pub time: Field,
    /// When a row is finished; every row is, where it is absent.
    pub complete: Option<Field>,
    /// Labels.
    pub dimensions: Vec<Dimension>,
    /// Whether a call succeeded.
    pub success: Option<Field>,
    /// Tokens of the prompt.
    pub input_tokens: Option<Field>,
    /// Tokens of the answer.
    pub output_tokens: Option<Field>,
    /// All tokens, for rows that know no parts.
    pub total_tokens: Option<Field>,
    /// Cost in US dollars.
    pub cost_usd: Option<Field>,
    /// Duration, in units of `latency_unit`.
    pub latency: Option<Field>,
    /// The unit of `latency`.
    pub latency_unit: Span,
    /// How many calls a row stands for.
    pub count: Option<Field>,
    /// Which error records nobody has dealt with.
    pub unresolved: Option<Field>,
    /// How far behind the newest row a row may appear.
    pub lateness: Span,
    /// How far back the first read goes.
    pub history: Span,
    /// How far back the hourly repair pass looks.
    pub repair_window: Span,
    /// When an unfinished row is counted as abandoned.
    pub abandon_after: Span,
    /// The database's limit for one of our statements.
    pub statement_timeout: Span,
}

/// What a column of our SELECT is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Slot {
    /// `id`
    Id,
    /// `time`
    Time,
    /// `complete`
    Complete,
    /// `success`
    Success,
    /// `input_tokens`
    InputTokens,
    /// `output_tokens`
    OutputTokens,
    /// `total_tokens`
    TotalTokens,
    /// `cost_usd`
    Cost,
    /// `latency_ms` or `latency_seconds`
    Latency,
    /// `count`
    Count,
    /// One of the dimensions; they stand last, in their order.
    Dimension,
}

impl Mapping {
    /// The columns that are read, in order; of the dimensions those that are wanted.
    pub fn slots(&self, wanted: &BTreeSet<String>) -> Vec<(Slot, &Field)> {
        let optional = [
            (Slot::Complete, &self.complete),
            (Slot::Success, &self.success),
            (Slot::InputTokens, &self.input_tokens),
            (Slot::OutputTokens, &self.output_tokens),
            (Slot::TotalTokens, &self.total_tokens),
            (Slot::Cost, &self.cost_usd),
            (Slot::Latency, &self.latency),
            (Slot::Count, &self.count),
        ];
        let mut slots = vec![(Slot::Id, &self.id), (Slot::Time, &self.time)];
        slots.extend(optional.into_iter().filter_map(|(slot, field)| Some((slot, field.as_ref()?))));
        slots.extend(self.wanted(wanted).map(|dimension| (Slot::Dimension, &dimension.field)));
        slots
    }

    /// The dimensions that are wanted, in order.
    pub fn wanted(&self, wanted: &BTreeSet<String>) -> impl Iterator<Item = &Dimension> {
        self.dimensions.iter().filter(|dimension| wanted.contains(&dimension.name))
    }

    /// Whether `from` is a SELECT and not a table.
    pub fn is_select(&self) -> bool {
        let first = self.from.sql.split_whitespace().next().unwrap_or_default().to_ascii_lowercase();
        matches!(first.as_str(), "select" | "with")
    }

    /// `from` as it stands behind FROM.
    pub fn from_clause(&self) -> String {
        if self.is_select() {
            format!("({}) AS modelwatch_rows", self.from.sql.trim_end_matches(';'))
        } else {
            self.from.sql.clone()
        }
    }

    /// Reads one entry of `tables`.
    pub fn parse(node: &Node, faults: &mut Faults) -> Option<Mapping> {
        let mut own = node.fields(faults)?;
        let preset = own.optional("preset", faults, yaml::text);
        let preset_node = match &preset {
            Some(name) => match PRESETS.iter().find(|(known, _)| known == name) {
                Some((known, text)) => yaml::parse(&format!("preset {known}"), text, faults),
                None => {
                    let names = || PRESETS.iter().map(|(name, _)| *name);
                    let near = nearest(name, names()).map_or(String::new(), |near| format!("did you mean `{near}`? "));
                    let known = names().collect::<Vec<_>>().join(", ");
                    faults.error_help(
                        "unknown-preset",
                        node.at("preset"),
                        format!("there is no preset `{name}`"),
                        format!("{near}known: {known}"),
                    );
                    return None;
                }
            },
            None => None,
        };
        let base = match &preset_node {
            Some(preset) => Some(preset.fields(faults)?),
            None => None,
        };
        let mut layers = Layers { own, base };
        let mapping = layers.mapping(preset, node, faults);
        layers.own.finish(faults);
        mapping
    }
}

/// A mapping of the user's own over a preset.
struct Layers<'a> {
    own: Fields<'a>,
    base: Option<Fields<'a>>,
}

impl Layers<'_> {
    fn mapping(&mut self, preset: Option<String>, node: &Node, faults: &mut Faults) -> Option<Mapping> {
        let name = self.optional("name", faults, yaml::text).or(preset);
        if name.is_none() {
            faults.error_help("missing-key", node, "a table needs `name`", "or `preset`, for a built-in mapping");
        }
        let kind = self.optional("kind", faults, kind).unwrap_or(Kind::Usage);
        let latency_ms = self.field("latency_ms", faults);
        let latency_seconds = self.field("latency_seconds", faults);
        let latency_unit = if latency_ms.is_some() { Span::millis(1) } else { Span::secs(1) };
        let (from, id, time) = (self.field("from", faults), self.field("id", faults), self.field("time", faults));
        for (key, field) in [("from", &from), ("id", &id), ("time", &time)] {
            if field.is_none() {
                faults.error("missing-key", node, format!("`{key}` is missing"));
            }
        }
        let success = self.field("success", faults);
        if success.is_none() && kind == Kind::Usage {
            faults.error_help(
                "missing-key",
                node,
                "`success` is missing",
                "a condition such as `status = 'ok'`; `true` where every row is a success",
            );
        }
        let mapping = Mapping {
            dimensions: self.dimensions(faults),
            complete: self.field("complete", faults),
            input_tokens: self.field("input_tokens", faults),
            output_tokens: self.field("output_tokens", faults),
            total_tokens: self.field("total_tokens", faults),
            cost_usd: self.field("cost_usd", faults),
            latency: latency_ms.or(latency_seconds),
            count: self.field("count", faults),
            unresolved: self.field("unresolved", faults),
            lateness: self.span("lateness", Span::secs(900), faults),
            history: self.span("history", Span::secs(30 * 86_400), faults),
            repair_window: self.span("repair_window", Span::secs(86_400), faults),
            abandon_after: self.span("abandon_after", Span::secs(3_600), faults),
            statement_timeout: self.span("statement_timeout", Span::secs(30), faults),
            name: name?,
            kind,
            from: from?,
            id: id?,
            time: time?,
            success,
            latency_unit,
        };
        Some(mapping)
    }

    fn optional<T>(&mut self, key: &'static str, faults: &mut Faults, parse: impl Fn(&Node) -> Result<T, String>) -> Option<T> {
        // Asked of both, so that both know the key.
        let base = self.base.as_mut().and_then(|base| base.optional(key, faults, &parse));
        self.own.optional(key, faults, &parse).or(base)
    }

    fn field(&mut self, key: &'static str, faults: &mut Faults) -> Option<Field> {
        self.optional(key, faults, field)
    }

    fn span(&mut self, key: &'static str, default: Span, faults: &mut Faults) -> Span {
        self.optional(key, faults, yaml::positive_span).unwrap_or(default)
    }

    /// The preset's, with those of the same name replaced, then the user's further ones; `error_type` is one of them.
    fn dimensions(&mut self, faults: &mut Faults) -> Vec<Dimension> {
        let mut all: Vec<Dimension> = Vec::new();
        let nodes = [self.base.as_mut().and_then(|base| base.node("dimensions")), self.own.node("dimensions")];
        for node in nodes.into_iter().flatten() {
            let Value::Map(pairs) = &node.value else {
                faults.error("wrong-type", node, format!("expected a map of labels to columns, found {}", node.kind()));
                continue;
            };
            for (name, value) in pairs {
                if let Some(dimension) = dimension(name, value, faults) {
                    all.retain(|known| known.name != dimension.name);
                    all.push(dimension);
                }
            }
        }
        if let Some(field) = self.field("error_type", faults) {
            all.retain(|known| known.name != "error_type");
            all.push(Dimension { name: "error_type".to_owned(), field, lookup: None });
        }
        all
    }
}

fn dimension(name: &Node, value: &Node, faults: &mut Faults) -> Option<Dimension> {
    let label = name.key_name().to_owned();
    if !is_label_name(&label) || label.starts_with("__") {
        faults.error_help(
            "bad-label",
            name,
            format!("`{label}` is no label name"),
            "letters, digits and underscores, not beginning with a digit or `__`",
        );
        return None;
    }
    if RESERVED.contains(&label.as_str()) {
        faults.error_help("bad-label", name, format!("`{label}` is a label that modelwatch sets itself"), "choose another name");
        return None;
    }
    if !matches!(value.value, Value::Map(_)) {
        return match field(value) {
            Ok(field) => Some(Dimension { name: label, field, lookup: None }),
            Err(message) => {
                faults.error("bad-value", value, format!("{label}: {message}"));
                None
            }
        };
    }
    let mut fields = value.fields(faults)?;
    let column = fields.required("column", faults, field);
    let table = fields.required("lookup", faults, yaml::text);
    let key = fields.optional("key", faults, yaml::text).unwrap_or_else(|| "id".to_owned());
    let name = fields.optional("value", faults, yaml::text).unwrap_or_else(|| "name".to_owned());
    fields.finish(faults);
    Some(Dimension { name: label, field: column?, lookup: Some(Lookup { table: table?, key, value: name }) })
}

fn field(node: &Node) -> Result<Field, String> {
    let sql = yaml::text(node)?.trim().to_owned();
    if sql.is_empty() {
        Err("expected a column or an SQL expression".to_owned())
    } else {
        Ok(Field { sql, place: node.place.clone() })
    }
}

fn kind(node: &Node) -> Result<Kind, String> {
    match yaml::text(node)?.as_str() {
        "usage" => Ok(Kind::Usage),
        "errors" => Ok(Kind::Errors),
        other => Err(format!("`{other}` is neither `usage` nor `errors`")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(yaml: &str, expected: Result<&str, &str>) {
        let mut faults = Faults::default();
        let root = yaml::parse("t.yml", yaml, &mut faults).unwrap();
        let mapping = Mapping::parse(&root, &mut faults);
        let faults: Vec<String> = faults.0.iter().map(ToString::to_string).collect();
        match expected {
            Ok(name) => assert_eq!((mapping.unwrap().name.as_str(), faults), (name, vec![])),
            Err(fault) => assert!(faults.iter().any(|f| f.contains(fault)), "{faults:?}"),
        }
    }

    #[test]
    fn mappings_are_read_with_all_their_faults() {
        for (name, _) in PRESETS {
            check(&format!("preset: {name}"), Ok(name));
        }
        check("preset: cora_usage\nname: calls\nlateness: 30m", Ok("calls"));
        check("{name: a, from: t, id: id, time: at, success: ok}", Ok("a"));
        check("{name: a, from: t, id: id, success: ok}", Err("`time` is missing"));
        check("{name: a, from: t, id: id, time: at}", Err("`success` is missing"));
        check("preset: cora_usge", Err("did you mean `cora_usage`"));
        check("{preset: cora_usage, latenes: 5m}", Err("did you mean `lateness`"));
        check("{preset: cora_usage, dimensions: {table: x}}", Err("modelwatch sets itself"));
        check("{preset: cora_usage, dimensions: {model: {column: x}}}", Err("`lookup` is missing"));
    }

    #[test]
    fn own_keys_win_over_the_preset() {
        let mut faults = Faults::default();
        let root =
            yaml::parse("t.yml", "preset: cora_usage\ndimensions: {model: \"upper(model_id_used)\", team: ws_id}\n", &mut faults)
                .unwrap();
        let mapping = Mapping::parse(&root, &mut faults).unwrap();
        let sql = |name: &str| mapping.dimensions.iter().find(|d| d.name == name).unwrap().field.sql.clone();
        assert_eq!(
            (sql("model").as_str(), sql("team").as_str(), sql("operation").as_str()),
            ("upper(model_id_used)", "ws_id", "operation_type")
        );
    }
}
