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
//!     measures: {quality: quality_score}
//! ```

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::diag::{Place, nearest};
use crate::labels::is_label_name;
use crate::time::Span;
use crate::yaml::{self, Faults, Fields, Node, Read, Value};

/// The built-in mappings, by name; a new one is a file in `presets/` and its line here.
pub const PRESETS: &[(&str, &str)] = &[
    ("cora_usage", include_str!("presets/cora_usage.yml")),
    ("cora_errors", include_str!("presets/cora_errors.yml")),
    ("audit", include_str!("presets/audit.yml")),
    ("executions", include_str!("presets/executions.yml")),
    ("aigym", include_str!("presets/aigym.yml")),
    ("aigym_conversations", include_str!("presets/aigym_conversations.yml")),
    ("xorstack", include_str!("presets/xorstack.yml")),
    ("litellm", include_str!("presets/litellm.yml")),
];

/// What the name of a preset's file begins with in faults.
const PRESET_FILE: &str = "preset ";

/// Labels that are ours and no dimension may take.
const RESERVED: &[&str] = &["source", "table", "outcome", "token_type", "le", "alertname", "alertstate", "__name__"];

/// The measure that every mapping has under another key.
const BUILT_IN_MEASURE: &str = "latency";

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

/// A number of a row beside those that every call has.
#[derive(Clone, Debug)]
pub struct Measure {
    /// By which rules know it.
    pub name: String,
    /// Its value.
    pub field: Field,
}

/// What is read of rows beside what every call has: nothing that nobody asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Dimensions that make up the shape of an event.
    pub dimensions: BTreeSet<String>,
    /// Measures.
    pub measures: BTreeSet<String>,
    /// Dimensions whose distinct values are counted, by their digests.
    pub marks: BTreeSet<String>,
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

/// Whether a field was written by a preset and not by the user.
pub fn is_preset(place: &Place) -> bool {
    place.file.name.starts_with(PRESET_FILE)
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
    /// Further numbers.
    pub measures: Vec<Measure>,
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
    /// One of the dimensions, in their order.
    Dimension,
    /// One of the measures, in their order.
    Measure,
    /// One of the dimensions as a mark, in their order.
    Mark,
}

impl Mapping {
    /// The columns that are read, in order; of dimensions and measures those that are wanted.
    pub fn slots(&self, wanted: &Wanted) -> Vec<(Slot, &Field)> {
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
        slots.extend(self.wanted_dimensions(wanted).map(|dimension| (Slot::Dimension, &dimension.field)));
        slots.extend(self.wanted_measures(wanted).map(|measure| (Slot::Measure, &measure.field)));
        slots.extend(self.wanted_marks(wanted).map(|mark| (Slot::Mark, &mark.field)));
        slots
    }

    /// The dimensions of shapes that are wanted, in order.
    pub fn wanted_dimensions(&self, wanted: &Wanted) -> impl Iterator<Item = &Dimension> {
        self.dimensions.iter().filter(|dimension| wanted.dimensions.contains(&dimension.name))
    }

    /// The measures that are wanted, in order.
    pub fn wanted_measures(&self, wanted: &Wanted) -> impl Iterator<Item = &Measure> {
        self.measures.iter().filter(|measure| wanted.measures.contains(&measure.name))
    }

    /// The dimensions that are wanted as marks, in order. Where one has a lookup, its keys are what is told apart.
    pub fn wanted_marks(&self, wanted: &Wanted) -> impl Iterator<Item = &Dimension> {
        self.dimensions.iter().filter(|dimension| wanted.marks.contains(&dimension.name))
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
        node.map(faults, Mapping::read)
    }

    /// The same of a map that is being read.
    pub fn read(own: &mut Fields<'_>, faults: &mut Faults) -> Option<Mapping> {
        let node = own.node;
        own.constrain(|| {
            json!({ "anyOf": [{ "required": ["preset"] }, { "required": ["name", "from", "id", "time", "success"] },
            { "required": ["name", "kind", "from", "id", "time"], "properties": { "kind": { "const": "errors" } } }] })
        });
        let preset = own.optional("preset", faults, PRESET);
        let preset_node = match &preset {
            Some(name) => match PRESETS.iter().find(|(known, _)| known == name) {
                Some((known, text)) => yaml::parse(&format!("{PRESET_FILE}{known}"), text, faults),
                None => {
                    unknown_preset(name, node, faults);
                    // So that its other keys are known.
                    Layers { own, base: None }.mapping(None, node, &mut Faults::default());
                    return None;
                }
            },
            None => None,
        };
        let base = match &preset_node {
            Some(preset) => Some(preset.fields(faults)?),
            None => None,
        };
        Layers { own, base }.mapping(preset, node, faults)
    }
}

fn unknown_preset(name: &str, node: &Node, faults: &mut Faults) {
    let names = || PRESETS.iter().map(|(name, _)| *name);
    let near = nearest(name, names()).map_or(String::new(), |near| format!("did you mean `{near}`? "));
    let help = format!("{near}known: {}", names().collect::<Vec<_>>().join(", "));
    faults.error_help("unknown-preset", node.at("preset"), format!("there is no preset `{name}`"), help);
}

/// A mapping of the user's own over a preset.
struct Layers<'f, 'a, 'b> {
    own: &'f mut Fields<'a>,
    base: Option<Fields<'b>>,
}

const PRESET: yaml::Type<String> =
    yaml::Type::new(yaml::text, || json!({ "enum": PRESETS.iter().map(|(name, _)| name).collect::<Vec<_>>() }));
const FIELD: yaml::Type<Field> = yaml::Type::new(field, || yaml::TEXT.schema());
const KIND: yaml::OneOf<Kind> = yaml::one_of(&[("usage", Kind::Usage), ("errors", Kind::Errors)]);

impl Layers<'_, '_, '_> {
    fn mapping(&mut self, preset: Option<String>, node: &Node, faults: &mut Faults) -> Option<Mapping> {
        let name = self.optional("name", faults, yaml::TEXT).or(preset);
        if name.is_none() {
            faults.error_help("missing-key", node, "a table needs `name`", "or `preset`, for a built-in mapping");
        }
        let kind = self.optional("kind", faults, KIND).unwrap_or(Kind::Usage);
        let latency_ms = self.field("latency_ms", faults);
        let latency_seconds = self.field("latency_seconds", faults);
        let latency_unit = if latency_ms.is_some() { Span::millis(1) } else { Span::secs(1) };
        let (from, id, time) = (self.field("from", faults), self.field("id", faults), self.field("time", faults));
        for (key, field) in [("from", &from), ("id", &id), ("time", &time)] {
            if field.is_none() && self.own.node(key).is_none() {
                faults.error("missing-key", node, format!("`{key}` is missing"));
            }
        }
        let success = self.field("success", faults);
        if success.is_none() && kind == Kind::Usage && self.own.node("success").is_none() {
            faults.error_help(
                "missing-key",
                node,
                "`success` is missing",
                "a condition such as `status = 'ok'`; `true` where every row is a success",
            );
        }
        let mapping = Mapping {
            dimensions: self.dimensions(faults),
            measures: self.measures(faults),
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

    fn optional<T>(&mut self, key: &'static str, faults: &mut Faults, read: impl Read<T> + Copy) -> Option<T> {
        // Asked of both, so that both know the key.
        let base = self.base.as_mut().and_then(|base| base.optional(key, faults, read));
        self.own.optional(key, faults, read).or(base)
    }

    fn field(&mut self, key: &'static str, faults: &mut Faults) -> Option<Field> {
        self.optional(key, faults, FIELD)
    }

    /// The entries of a map from names to columns, the preset's before the user's.
    fn pairs(&mut self, key: &'static str, faults: &mut Faults, values: fn() -> serde_json::Value) -> Vec<&(Node, Node)> {
        let base = self.base.as_mut().map_or(&[][..], |base| base.entries(key, faults, values));
        base.iter().chain(self.own.entries(key, faults, values)).collect()
    }

    fn span(&mut self, key: &'static str, default: Span, faults: &mut Faults) -> Span {
        self.optional(key, faults, yaml::POSITIVE_SPAN).unwrap_or(default)
    }

    /// The preset's, with those of the same name replaced, then the user's further ones; `error_type` is one of them.
    fn dimensions(&mut self, faults: &mut Faults) -> Vec<Dimension> {
        let mut all: Vec<Dimension> = Vec::new();
        for (name, value) in self.pairs("dimensions", faults, dimension_schema) {
            if let Some(dimension) = dimension(name, value, faults) {
                all.retain(|known| known.name != dimension.name);
                all.push(dimension);
            }
        }
        if let Some(field) = self.field("error_type", faults) {
            all.retain(|known| known.name != "error_type");
            all.push(Dimension { name: "error_type".to_owned(), field, lookup: None });
        }
        all
    }

    /// The preset's, with those of the same name replaced, then the user's further ones.
    fn measures(&mut self, faults: &mut Faults) -> Vec<Measure> {
        let mut all: Vec<Measure> = Vec::new();
        for (name, value) in self.pairs("measures", faults, || yaml::TEXT.schema()) {
            if let Some(measure) = measure(name, value, faults) {
                all.retain(|known| known.name != measure.name);
                all.push(measure);
            }
        }
        all
    }
}

/// A name that rules and labels can have.
fn label(name: &Node, faults: &mut Faults) -> Option<String> {
    let label = name.key_name();
    if is_label_name(label) && !label.starts_with("__") {
        return Some(label.to_owned());
    }
    let help = "letters, digits and underscores, not beginning with a digit or `__`";
    faults.error_help("bad-label", name, format!("`{label}` is no label name"), help);
    None
}

fn measure(name: &Node, value: &Node, faults: &mut Faults) -> Option<Measure> {
    let label = label(name, faults)?;
    if label == BUILT_IN_MEASURE {
        let help = "`latency_ms` or `latency_seconds` is where it comes from; choose another name for another number";
        faults.error_help("bad-label", name, format!("rules know `{label}` as the duration of calls"), help);
        return None;
    }
    match field(value) {
        Ok(field) => Some(Measure { name: label, field }),
        Err(message) => {
            faults.error("bad-value", value, format!("{label}: {message}"));
            None
        }
    }
}

fn dimension(name: &Node, value: &Node, faults: &mut Faults) -> Option<Dimension> {
    let label = label(name, faults)?;
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
    let (field, lookup) = value.map(faults, looked_up)?;
    Some(Dimension { name: label, field, lookup: Some(lookup) })
}

fn looked_up(fields: &mut Fields<'_>, faults: &mut Faults) -> Option<(Field, Lookup)> {
    let column = fields.required("column", faults, FIELD);
    let table = fields.required("lookup", faults, yaml::TEXT);
    let key = fields.optional("key", faults, yaml::TEXT).unwrap_or_else(|| "id".to_owned());
    let value = fields.optional("value", faults, yaml::TEXT).unwrap_or_else(|| "name".to_owned());
    Some((column?, Lookup { table: table?, key, value }))
}

fn dimension_schema() -> serde_json::Value {
    json!({ "anyOf": [FIELD.schema(), yaml::schema(looked_up)] })
}

fn field(node: &Node) -> Result<Field, String> {
    let sql = yaml::text(node)?.trim().to_owned();
    if sql.is_empty() {
        Err("expected a column or an SQL expression".to_owned())
    } else {
        Ok(Field { sql, place: node.place.clone() })
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
        check("{preset: cora_usage, measures: {quality: score, depth: \"a -> 'b'\"}}", Ok("cora_usage"));
        check("{preset: cora_usage, measures: {latency: ms}}", Err("rules know `latency` as the duration of calls"));
        check("{preset: cora_usage, measures: {first token: ms}}", Err("`first token` is no label name"));
        check("{preset: cora_usage, measures: {quality: }}", Err("quality: expected"));
        check("{preset: cora_usage, measures: [quality]}", Err("expected a map of names to values"));
    }

    #[test]
    fn own_keys_win_over_the_preset() {
        let mut faults = Faults::default();
        let text = "preset: cora_usage\ndimensions: {model: \"upper(model_id_used)\", team: ws_id}\nmeasures: {depth: hops}\n";
        let root = yaml::parse("t.yml", text, &mut faults).unwrap();
        let mapping = Mapping::parse(&root, &mut faults).unwrap();
        let sql = |name: &str| mapping.dimensions.iter().find(|d| d.name == name).unwrap().field.sql.clone();
        assert_eq!(
            (sql("model").as_str(), sql("team").as_str(), sql("operation").as_str()),
            ("upper(model_id_used)", "ws_id", "operation_type")
        );
    }
}
