//! What the databases say of mappings, of what rules ask, and of what they look for.

use std::collections::{BTreeMap, BTreeSet};

use crate::config::{Config, Source};
use crate::diag::Diagnostic;
use crate::engine::ingest::connect;
use crate::rule::Rule;
use crate::source::postgres::PlanError;
use crate::source::query::Answer;
use crate::source::reader::FIRST_SLICE;
use crate::source::values::{self, Values};
use crate::source::{Database, Reader, Wanted};
use crate::time::Time;

/// Values that a fault names.
const NAMED: usize = 5;

/// Asks all databases about their mappings; with `for_values` also about what rules look for.
pub(super) async fn databases(config: &Config, for_values: bool) -> Vec<Diagnostic> {
    let wanted = config.wanted();
    let (mut faults, mut found, mut whole) = (Vec::new(), Vec::new(), true);
    for source in &config.sources {
        let unreadable = |error: String| Diagnostic::nowhere("unreadable", format!("{} cannot be read: {error}", source.name));
        let mut db = match connect(source).await {
            Ok(db) => db,
            Err(fault) => {
                faults.push(unreadable(fault.to_string()));
                whole = false;
                continue;
            }
        };
        match queries(&mut db, source, config).await {
            Ok(told) => faults.extend(told),
            Err(error) => faults.push(unreadable(source.url.redact(&error.to_string()))),
        }
        let asked = match mappings(&mut db, source, &wanted).await {
            Ok(warnings) if for_values => {
                faults.extend(warnings);
                seen(&mut db, source, config).await.map(|seen| found.extend(seen)).map(|()| Vec::new())
            }
            other => other,
        };
        whole &= asked.is_ok();
        match asked {
            Ok(told) | Err(PlanError::Faults(told)) => faults.extend(told),
            Err(PlanError::Lost(error)) => faults.push(unreadable(source.url.redact(&error.to_string()))),
        }
    }
    // What could not be asked may have what is missed.
    if for_values && whole {
        config.rules.iter().for_each(|rule| missed(rule, &found, &mut faults));
    }
    faults
}

/// Each column and expression of the mappings, and the indexes.
async fn mappings(db: &mut Database, source: &Source, wanted: &Wanted) -> Result<Vec<Diagnostic>, PlanError> {
    let mut warnings = Vec::new();
    let mut faults = Vec::new();
    for mapping in &source.tables {
        match Reader::new(db, mapping.clone(), wanted, Default::default(), &[], FIRST_SLICE).await {
            Ok((_, told)) => warnings.extend(told),
            Err(PlanError::Faults(told)) => faults.extend(told),
            Err(lost) => return Err(lost),
        }
    }
    if faults.is_empty() {
        return Ok(warnings);
    }
    faults.extend(warnings);
    Err(PlanError::Faults(faults))
}

/// What a text in an answer may be taken for: a number, a time.
const SAMPLE_TEXTS: [&str; 2] = ["1", "2026-11-20 20:00:00"];

/// What the database, and the rule itself, say of what each rule would ask it; nothing is read.
async fn queries(db: &mut Database, source: &Source, config: &Config) -> Result<Vec<Diagnostic>, sqlx::Error> {
    let mut faults = Vec::new();
    for rule in config.rules.iter().filter(|rule| rule.reads("source", &source.name)) {
        for (i, query) in rule.queries().iter().enumerate() {
            let objection = match db.describe(query, source.statement_timeout()).await? {
                Ok(columns) => SAMPLE_TEXTS.iter().map(|text| rule.objection(i, &sample(&columns, text))).min().flatten(),
                Err(said) => Some(source.url.redact(&said)),
            };
            let Some(objection) = objection else { continue };
            let message = format!("{} cannot ask {}: {objection}", rule.name, source.name);
            let fault = Diagnostic::error("bad-query", &query.place, message);
            let other = config.sources.len() > 1;
            faults.push(if other {
                fault.help(format!("`where: ['source!=\"{}\"']` leaves this source out", source.name))
            } else {
                fault
            });
        }
    }
    Ok(faults)
}

/// An answer with these columns and one row, made up by their types where these are known.
fn sample(columns: &[(String, Option<String>)], text: &str) -> Answer {
    let value = |kind: &String| match kind.as_str() {
        "INT2" | "INT4" | "INT8" | "NUMERIC" | "FLOAT4" | "FLOAT8" | "OID" => "1",
        "DATE" | "TIMESTAMP" | "TIMESTAMPTZ" => SAMPLE_TEXTS[1],
        "TEXT" | "VARCHAR" | "NAME" | "CHAR" => text,
        _ => "of another type",
    };
    let typed: Option<Vec<&String>> = columns.iter().map(|(_, kind)| kind.as_ref()).collect();
    let rows = typed.into_iter().map(|kinds| kinds.into_iter().map(|kind| Some(value(kind).to_owned())).collect()).collect();
    Answer { at: Time::default(), columns: columns.iter().map(|(name, _)| name.clone()).collect(), rows }
}

/// A table with the values that its newest rows have.
struct Seen {
    source: String,
    table: String,
    values: Values,
}

async fn seen(db: &mut Database, source: &Source, config: &Config) -> Result<Vec<Seen>, PlanError> {
    let dimensions = config.rules.iter().flat_map(|rule| rule.selector.dimensions()).map(str::to_owned).collect();
    let wanted = Wanted { dimensions, ..Wanted::default() };
    let mut all = Vec::new();
    for mapping in &source.tables {
        let (values, _) = values::recent(db, mapping, &wanted).await?;
        all.push(Seen { source: source.name.clone(), table: mapping.name.clone(), values });
    }
    Ok(all)
}

/// What a rule looks for and no row has.
fn missed(rule: &Rule, found: &[Seen], faults: &mut Vec<Diagnostic>) {
    let read = |seen: &&Seen| rule.reads("source", &seen.source) && rule.reads("table", &seen.table);
    let tables: Vec<&Seen> = found.iter().filter(read).filter(|seen| seen.values.span.is_some()).collect();
    let Some(from) = tables.iter().filter_map(|seen| seen.values.span).map(|(from, _)| from).min() else { return };
    let mut of: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for (name, values) in tables.iter().flat_map(|seen| &seen.values.of) {
        of.entry(name).or_default().extend(values.iter().map(String::as_str));
    }
    for (matcher, place) in rule.matchers() {
        if let Some(values) = of.get(matcher.name.as_str()).filter(|values| !values.iter().any(|value| matcher.matches(value))) {
            let message = format!("{}: no row since {from} satisfies `{matcher}`", rule.name);
            faults.push(Diagnostic::warning("never-matches", place, message).help(known(&matcher.name, values)));
        }
    }
    for (name, place) in rule.dimensions().take(rule.selector.by.len()) {
        if of.get(name).is_some_and(|values| values.iter().all(|value| value.is_empty())) {
            let message = format!("{}: no row since {from} has a `{name}`, so it makes no groups", rule.name);
            faults.push(Diagnostic::warning("never-matches", place, message));
        }
    }
    // Where not all of the past was looked at, it goes back further.
    let oldest: Option<Vec<Time>> = tables.iter().map(|seen| seen.values.oldest).collect();
    if let Some((oldest, newest)) = oldest.and_then(|all| all.into_iter().min()).zip(newest(&tables))
        && newest - oldest < rule.reach()
    {
        let (name, reach) = (&rule.name, rule.reach());
        let message = format!("{name}: its windows go back {reach}, but the oldest row is of {oldest}");
        let help = "until there are older rows it compares with less than it asks for";
        faults.push(Diagnostic::warning("beyond-history", &rule.place, message).help(help));
    }
}

fn newest(tables: &[&Seen]) -> Option<Time> {
    tables.iter().filter_map(|seen| seen.values.span).map(|(_, newest)| newest).max()
}

fn known(name: &str, values: &BTreeSet<&str>) -> String {
    let named: Vec<String> =
        values.iter().filter(|value| !value.is_empty()).take(NAMED).map(|value| format!("`{value}`")).collect();
    match named.as_slice() {
        [] => format!("`{name}` is empty in every row"),
        named if values.len() > NAMED => format!("{name} is {}, ... there", named.join(", ")),
        named => format!("{name} is {} there", named.join(" or ")),
    }
}
