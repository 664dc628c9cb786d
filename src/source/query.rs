//! What rules ask of a database beside its events: a SELECT now and then, and its answer as text.
//!
//! `:now` in a SELECT stands for the instant that it is asked at, as the database takes instants: a `timestamptz` in
//! PostgreSQL, the text `2026-11-20 20:00:00` in SQLite. It is handed over as a parameter. A SELECT that looks at the clock
//! in no other way can be asked about the past. The time zone of each asking is UTC.

use crate::diag::Place;
use crate::limits::{MAX_ANSWER_BYTES, MAX_ANSWER_ROWS};
use crate::time::{Span, Time};

/// How often a query is asked unless it says `every`.
pub const EVERY: Span = Span::secs(60);
/// An answer speaks for so many times the span after which the next one is due.
const SPEAKS_FOR: i64 = 3;

/// The name that stands for the instant of asking.
const NOW: &str = ":now";

/// A SELECT of a rule.
#[derive(Clone, Debug)]
pub struct Query {
    /// As it was written.
    pub sql: String,
    /// Where, for what the database says of it.
    pub place: Place,
    /// How often it is asked.
    pub every: Span,
}

/// What a source answered.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Answer {
    /// The database's now() then.
    pub at: Time,
    /// Names of the columns.
    pub columns: Vec<String>,
    /// Rows; none is null.
    pub rows: Vec<Vec<Option<String>>>,
}

impl Answer {
    /// The number of a column.
    pub fn column(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|known| known == name)
    }
}

impl Query {
    /// Whether it can be asked about the past: it says `:now` instead of looking at the clock.
    pub fn is_replayable(&self) -> bool {
        has_now(&self.sql)
    }

    /// How far from an instant an answer may lie that speaks for it; beyond that nothing is known.
    pub fn patience(&self) -> Span {
        Span(self.every.0.saturating_mul(SPEAKS_FOR)).max(EVERY)
    }
}

/// The columns of an answer while it is read: each once, and at least one.
pub(super) fn checked_columns(columns: &[String]) -> Result<(), String> {
    let twice = columns.iter().enumerate().find(|(i, name)| columns[..*i].contains(name));
    match twice {
        Some((_, name)) => Err(format!("two columns are called `{name}`; name one of them with AS")),
        None if columns.is_empty() => Err("it has no columns".to_owned()),
        None => Ok(()),
    }
}

/// Rows of an answer, as many as are allowed.
#[derive(Debug, Default)]
pub(super) struct Rows {
    rows: Vec<Vec<Option<String>>>,
    bytes: usize,
}

impl Rows {
    /// One more.
    ///
    /// # Errors
    /// There are too many, or they are too long.
    pub(super) fn push(&mut self, row: Vec<Option<String>>) -> Result<(), String> {
        self.bytes += row.iter().flatten().map(String::len).sum::<usize>();
        if self.rows.len() == MAX_ANSWER_ROWS {
            return Err(format!("it has more than {MAX_ANSWER_ROWS} rows; a condition or GROUP BY leaves fewer"));
        }
        if self.bytes > MAX_ANSWER_BYTES {
            return Err(format!(
                "its rows hold more than {} MiB; leave out columns that the rule does not need",
                MAX_ANSWER_BYTES >> 20
            ));
        }
        self.rows.push(row);
        Ok(())
    }

    /// All of them.
    pub(super) fn into_answer(self, at: Time, columns: Vec<String>) -> Answer {
        Answer { at, columns, rows: self.rows }
    }
}

/// One SELECT without what ends it.
///
/// # Errors
/// There is nothing, or more than one statement.
pub fn one_statement(sql: &str) -> Result<String, String> {
    let end = |part: &Part<'_>| if let Part::Code(code) = part { code.contains(';') } else { false };
    let parts = parts(sql);
    let Some(first_end) = parts.iter().position(end) else {
        return if is_blank(&parts) { Err("there is no SELECT".to_owned()) } else { Ok(sql.trim_end().to_owned()) };
    };
    let before = parts[..first_end].iter().map(Part::text).collect::<String>();
    let (head, tail) = parts[first_end].text().split_once(';').unwrap_or_default();
    if !tail.trim_matches([';', ' ', '\t', '\r', '\n']).is_empty() || !is_blank(&parts[first_end + 1..]) {
        return Err("expected one SELECT, found `;` and more".to_owned());
    }
    one_statement(&format!("{before}{head}"))
}

fn is_blank(parts: &[Part<'_>]) -> bool {
    let blank = |part: &Part<'_>| match part {
        Part::Code(code) => code.trim_matches([';', ' ', '\t', '\r', '\n']).is_empty(),
        Part::Comment(_) => true,
        Part::Quoted(_) => false,
    };
    parts.iter().all(blank)
}

/// A name in quotes, as it is.
///
/// # Errors
/// It is no name.
pub fn quoted(name: &str) -> Result<String, String> {
    if name.trim().is_empty() || name.contains(['\0', '"', '`', '\n']) {
        return Err(format!("`{name}` is no name"));
    }
    Ok(format!("\"{name}\""))
}

/// The same of a table, which may have its schema and a dot before it.
///
/// # Errors
/// A part of it is no name.
pub fn quoted_table(name: &str) -> Result<String, String> {
    let parts: Option<Vec<String>> = name.split('.').map(|part| quoted(part).ok()).collect();
    parts
        .map(|parts| parts.join("."))
        .ok_or_else(|| format!("`{name}` is no name of a table; write it as sync_state or audit.sync_state"))
}

/// The SQL with what stands for `:now` in its place.
pub(super) fn with_now(sql: &str, now: &str) -> String {
    parts(sql)
        .iter()
        .map(|part| match part {
            Part::Code(code) => replaced(code, now),
            other => other.text().to_owned(),
        })
        .collect()
}

/// Whether the SQL says `:now`.
pub(super) fn has_now(sql: &str) -> bool {
    parts(sql).iter().any(|part| matches!(part, Part::Code(code) if replaced(code, "") != *code))
}

fn replaced(code: &str, now: &str) -> String {
    let (mut out, mut rest) = (String::new(), code);
    while let Some(at) = rest.find(NOW) {
        let (before, after) = (&rest[..at], &rest[at + NOW.len()..]);
        // `::now` is a cast, `:nowhere` another name.
        let other = before.ends_with(':') || after.starts_with(|c: char| c.is_alphanumeric() || c == '_');
        out += before;
        out += if other { NOW } else { now };
        rest = after;
    }
    out + rest
}

/// A part of SQL.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Part<'a> {
    Code(&'a str),
    Quoted(&'a str),
    Comment(&'a str),
}

impl<'a> Part<'a> {
    fn text(&self) -> &'a str {
        match self {
            Part::Code(text) | Part::Quoted(text) | Part::Comment(text) => text,
        }
    }
}

/// Tells what is quoted and what is a comment from the rest.
fn parts(sql: &str) -> Vec<Part<'_>> {
    let (mut parts, mut from, mut at) = (Vec::new(), 0, 0);
    while at < sql.len() {
        let (rest, before) = (&sql[at..], &sql[from..at]);
        let found = if let Some(length) = comment(rest) {
            Some((length, Part::Comment(&rest[..length])))
        } else {
            quote(before, rest).map(|length| (length, Part::Quoted(&rest[..length])))
        };
        match found {
            Some((length, part)) => {
                parts.push(Part::Code(before));
                parts.push(part);
                at += length;
                from = at;
            }
            None => at += rest.chars().next().map_or(1, char::len_utf8),
        }
    }
    parts.push(Part::Code(&sql[from..]));
    parts
}

/// The length of a comment that a text begins with.
fn comment(text: &str) -> Option<usize> {
    if text.starts_with("--") {
        return Some(text.find('\n').unwrap_or(text.len()));
    }
    let mut rest = text.strip_prefix("/*")?;
    let mut depth = 1;
    while depth > 0 {
        let Some(at) = rest.find("*/").into_iter().chain(rest.find("/*")).min() else { return Some(text.len()) };
        depth = if rest[at..].starts_with("*/") { depth - 1 } else { depth + 1 };
        rest = &rest[at + 2..];
    }
    Some(text.len() - rest.len())
}

/// The length of what is quoted at the beginning of a text that stands behind `before`.
fn quote(before: &str, text: &str) -> Option<usize> {
    let first = text.chars().next().filter(|c| ['\'', '"', '`', '$'].contains(c))?;
    let within = before.chars().last().is_some_and(|c| c.is_alphanumeric() || c == '_' || c == '$');
    if first == '$' {
        let tag = text[1..].find('$').map(|end| &text[..end + 2]);
        let name = |tag: &str| tag[1..tag.len() - 1].chars().all(|c| c.is_alphanumeric() || c == '_');
        let tag = tag.filter(|tag| !within && name(tag) && !tag[1..].starts_with(|c: char| c.is_ascii_digit()))?;
        return Some(text[tag.len()..].find(tag).map_or(text.len(), |end| end + 2 * tag.len()));
    }
    // In E'it\'s' a backslash takes the next character along.
    let escapes =
        first == '\'' && before.ends_with(['e', 'E']) && !before[..before.len() - 1].ends_with(|c: char| c.is_alphanumeric());
    let mut escaped = false;
    let end = text.char_indices().skip(1).find(|(_, c)| {
        let ends = *c == first && !escaped;
        escaped = escapes && *c == '\\' && !escaped;
        ends
    });
    Some(end.map_or(text.len(), |(at, _)| at + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn now_is_replaced_where_it_is_code() {
        for (sql, expected) in [
            ("a > :now - interval '1 h'", Some("a > $1 - interval '1 h'")),
            ("(:now,:now)", Some("($1,$1)")),
            ("x = ':now'", None),
            ("x = 'it''s :now' AND y < :now", Some("x = 'it''s :now' AND y < $1")),
            (r"x = E'\':now' OR :now", Some(r"x = E'\':now' OR $1")),
            (r"x = '\' OR :now > y", Some(r"x = '\' OR $1 > y")),
            ("\":now\" -- :now\n/* :now /* :now */ :now */", None),
            ("-- :now\n:now", Some("-- :now\n$1")),
            ("$$ :now $$ || $a$ :now $$ $a$ || :now", Some("$$ :now $$ || $a$ :now $$ $a$ || $1")),
            ("x::now, :nowhere, now()", None),
            ("'ü' || :now || 'open :now", Some("'ü' || $1 || 'open :now")),
            ("", None),
        ] {
            assert_eq!(with_now(sql, "$1"), expected.unwrap_or(sql), "{sql}");
            assert_eq!(has_now(sql), expected.is_some(), "{sql}");
        }
    }

    #[test]
    fn a_query_is_one_statement() {
        for (sql, expected) in [
            ("SELECT 1", Ok("SELECT 1")),
            ("SELECT 1;", Ok("SELECT 1")),
            ("SELECT 1 ; ;\n-- that is all\n", Ok("SELECT 1")),
            ("SELECT ';' -- ;\n, \";\"", Ok("SELECT ';' -- ;\n, \";\"")),
            ("SELECT 1; COMMIT", Err("expected one SELECT, found `;` and more")),
            ("SELECT 1; 'x'", Err("expected one SELECT, found `;` and more")),
            ("SELECT 'it'';' ; DROP TABLE t;", Err("expected one SELECT, found `;` and more")),
            (" -- nothing", Err("there is no SELECT")),
            (";", Err("there is no SELECT")),
            ("", Err("there is no SELECT")),
        ] {
            assert_eq!(one_statement(sql), expected.map(str::to_owned).map_err(str::to_owned), "{sql}");
        }
    }

    #[test]
    fn names_are_quoted_whatever_they_hold() {
        assert_eq!(quoted("Sync.At").unwrap(), "\"Sync.At\"");
        assert_eq!(quoted_table("ai_audit_sync_state").unwrap(), "\"ai_audit_sync_state\"");
        assert_eq!(quoted_table("audit.Sync State").unwrap(), "\"audit\".\"Sync State\"");
        assert_eq!(quoted_table("t; DROP TABLE t").unwrap(), "\"t; DROP TABLE t\"");
        for bad in ["", ".", "a.", "a\".b", "a\nb", "`a`", " "] {
            assert!(quoted_table(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn answers_are_bounded() {
        let mut rows = Rows::default();
        (0..MAX_ANSWER_ROWS).for_each(|_| rows.push(vec![None]).unwrap());
        assert!(rows.push(vec![None]).unwrap_err().contains("more than 100000 rows"));
        let mut rows = Rows::default();
        rows.push(vec![Some("x".repeat(MAX_ANSWER_BYTES)), None]).unwrap();
        assert!(rows.push(vec![Some("x".to_owned())]).unwrap_err().contains("more than 8 MiB"));
    }

    #[test]
    fn columns_have_names_of_their_own() {
        let check = |names: &[&str]| checked_columns(&names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>());
        assert_eq!(check(&["a", "b"]), Ok(()));
        assert!(check(&["a", "b", "a"]).unwrap_err().contains("`a`"));
        assert!(check(&[]).is_err());
    }
}
