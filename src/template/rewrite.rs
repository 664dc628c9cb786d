//! Go's template notation rewritten to Jinja's.
//!
//! Text becomes a constant (`{{ "..." }}`), so that no character of it means anything to Jinja. A pipeline
//! `a | f b` becomes the call `f(b, a)`; `and`, `or`, `not` become operators, since Go's stop early too.

use std::ops::RangeInclusive;

use crate::diag::nearest;

/// The functions that a template may call, and how many arguments each takes.
const FUNCTIONS: &[(&str, RangeInclusive<usize>)] = &[
    ("and", 1..=MANY),
    ("eq", 2..=MANY),
    ("ge", 2..=2),
    ("gt", 2..=2),
    ("humanize", 1..=1),
    ("humanize1024", 1..=1),
    ("humanizeDuration", 1..=1),
    ("humanizePercentage", 1..=1),
    ("humanizeTimestamp", 1..=1),
    ("le", 2..=2),
    ("lt", 2..=2),
    ("match", 2..=2),
    ("ne", 2..=2),
    ("not", 1..=1),
    ("or", 1..=MANY),
    ("parseDuration", 1..=1),
    ("printf", 1..=MANY),
    ("reReplaceAll", 3..=3),
    ("stripPort", 1..=1),
    ("title", 1..=1),
    ("toLower", 1..=1),
    ("toUpper", 1..=1),
    ("urlQueryEscape", 1..=1),
];

/// Go sets no bound; nobody writes more.
const MANY: usize = 64;

/// What Prometheus knows and we do not: there is no PromQL here, and an alert has nothing to loop over.
const NOT_HERE: &[&str] = &[
    "args",
    "block",
    "break",
    "continue",
    "define",
    "externalURL",
    "first",
    "graphLink",
    "label",
    "pathPrefix",
    "query",
    "range",
    "safeHtml",
    "sortByLabel",
    "strvalue",
    "tableLink",
    "template",
    "toTime",
    "value",
    "with",
];

/// Parentheses within each other; bounds the recursion.
const MAX_DEPTH: usize = 32;

/// What Go trims at `{{-` and `-}}`.
const SPACE: [char; 4] = [' ', '\t', '\r', '\n'];

/// Rewrites a whole template.
pub(super) fn to_jinja(text: &str) -> Result<String, String> {
    let mut out = String::new();
    // One entry for each open `if`: whether its `else` has been seen.
    let mut open_ifs: Vec<bool> = Vec::new();
    let (mut rest, mut trim_start) = (text, false);
    while let Some((before, after)) = rest.split_once("{{") {
        let trimming = after.strip_prefix('-').filter(|after| after.starts_with(SPACE));
        push_text(&mut out, before, trim_start, trimming.is_some());
        let after = trimming.unwrap_or(after);
        let end = action_end(after).ok_or("`{{` without its `}}`")?;
        let action = &after[..end];
        rest = &after[end + 2..];
        let trimmed = action.strip_suffix('-').filter(|action| action.ends_with(SPACE));
        trim_start = trimmed.is_some();
        out += &rewrite_action(trimmed.unwrap_or(action), &mut open_ifs)?;
    }
    push_text(&mut out, rest, trim_start, false);
    if open_ifs.is_empty() { Ok(out) } else { Err("`{{ if }}` without its `{{ end }}`".to_owned()) }
}

/// The labels that a template names, in order, each once.
pub(super) fn labels(text: &str) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    let mut rest = text;
    while let Some((_, after)) = rest.split_once("{{") {
        let Some(end) = action_end(after) else { break };
        let action = after[..end].trim_start_matches('-').trim_start();
        let tokens = if action.starts_with("/*") { Vec::new() } else { tokens(action).unwrap_or_default() };
        for token in tokens {
            let Token::Path(path) = token else { continue };
            let name = ["$labels.", "$.Labels.", ".Labels."].iter().find_map(|root| path.strip_prefix(root));
            if let Some(name) = name.filter(|name| !found.iter().any(|known| known == name)) {
                found.push(name.to_owned());
            }
        }
        rest = &after[end + 2..];
    }
    found
}

fn push_text(out: &mut String, text: &str, trim_start: bool, trim_end: bool) {
    let text = if trim_start { text.trim_start_matches(SPACE) } else { text };
    let text = if trim_end { text.trim_end_matches(SPACE) } else { text };
    if !text.is_empty() {
        *out += &format!("{{{{ {} }}}}", constant(text));
    }
}

/// A text as a constant of Jinja, whose escapes are those of JSON.
fn constant(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// Where the action's `}}` stands: not within quotes, nor within a comment.
fn action_end(text: &str) -> Option<usize> {
    if text.trim_start().starts_with("/*") {
        let comment_end = text.find("*/")? + 2;
        return text[comment_end..].find("}}").map(|at| comment_end + at);
    }
    let (mut quote, mut escaped) = (None, false);
    for (at, c) in text.char_indices() {
        match (quote, c) {
            (Some('"'), '\\') if !escaped => {
                escaped = true;
                continue;
            }
            (Some(open), _) if c == open && !escaped => quote = None,
            (None, '"' | '`') => quote = Some(c),
            (None, '}') if text[at..].starts_with("}}") => return Some(at),
            _ => {}
        }
        escaped = false;
    }
    None
}

fn rewrite_action(action: &str, open_ifs: &mut Vec<bool>) -> Result<String, String> {
    let action = action.trim_matches(SPACE);
    if action.starts_with("/*") {
        return if action.ends_with("*/") { Ok(String::new()) } else { Err("a comment must end with `*/}}`".to_owned()) };
    }
    let tokens = tokens(action)?;
    let word = |at: usize| match tokens.get(at) {
        Some(Token::Word(word)) => word.as_str(),
        _ => "",
    };
    let no_if = || format!("`{{{{ {action} }}}}` without its `{{{{ if }}}}`");
    match (word(0), word(1)) {
        _ if tokens.is_empty() => Err("empty `{{ }}`".to_owned()),
        ("if", _) => {
            open_ifs.push(false);
            Ok(format!("{{% if {} %}}", whole_pipeline(&tokens[1..])?))
        }
        ("else", second) => {
            let else_seen = open_ifs.last_mut().ok_or_else(no_if)?;
            if *else_seen {
                return Err("a second `{{ else }}`".to_owned());
            }
            if second == "if" {
                return Ok(format!("{{% elif {} %}}", whole_pipeline(&tokens[2..])?));
            }
            *else_seen = true;
            if tokens.len() == 1 { Ok("{% else %}".to_owned()) } else { Err(format!("cannot read `{{{{ {action} }}}}`")) }
        }
        ("end", _) if tokens.len() == 1 => open_ifs.pop().map(|_| "{% endif %}".to_owned()).ok_or_else(no_if),
        (_, ":=" | "=") => Err("variables cannot be set here; write the expression where it is used".to_owned()),
        _ => Ok(format!("{{{{ {} }}}}", whole_pipeline(&tokens)?)),
    }
}

#[derive(Clone, Debug, PartialEq)]
enum Token {
    Text(String),
    Number(String),
    /// `$labels.model`, `.Value`
    Path(String),
    Word(String),
    Open,
    Close,
    Pipe,
}

fn tokens(action: &str) -> Result<Vec<Token>, String> {
    let mut tokens = Vec::new();
    let mut rest = action.trim_start_matches(SPACE);
    while let Some(first) = rest.chars().next() {
        let (token, length) = match first {
            '(' => (Token::Open, 1),
            ')' => (Token::Close, 1),
            '|' => (Token::Pipe, 1),
            '"' | '`' => quoted(rest)?,
            _ => {
                let length = rest.find(|c| SPACE.contains(&c) || "()|\"`".contains(c)).unwrap_or(rest.len());
                (bare(&rest[..length]), length)
            }
        };
        tokens.push(token);
        rest = rest[length..].trim_start_matches(SPACE);
    }
    Ok(tokens)
}

/// A quoted text at the start of `rest`, and how many bytes it takes.
fn quoted(rest: &str) -> Result<(Token, usize), String> {
    let fault = || format!("cannot read the text that begins at {rest}");
    if let Some(raw) = rest.strip_prefix('`') {
        let end = raw.find('`').ok_or_else(fault)?;
        return Ok((Token::Text(raw[..end].to_owned()), end + 2));
    }
    let mut reader = serde_json::Deserializer::from_str(rest).into_iter::<String>();
    let text = reader.next().ok_or_else(fault)?.map_err(|_| fault())?;
    Ok((Token::Text(text), reader.byte_offset()))
}

fn bare(text: &str) -> Token {
    let unsigned = text.trim_start_matches(['+', '-']);
    let numeric = unsigned.trim_start_matches('.').starts_with(|c: char| c.is_ascii_digit());
    match text.chars().next() {
        _ if numeric => Token::Number(text.to_owned()),
        Some('$' | '.') => Token::Path(text.to_owned()),
        _ => Token::Word(text.to_owned()),
    }
}

fn whole_pipeline(tokens: &[Token]) -> Result<String, String> {
    let mut parser = Parser { tokens, at: 0, depth: 0 };
    let expression = parser.pipeline()?;
    if parser.at == tokens.len() { Ok(expression) } else { Err("parentheses do not match".to_owned()) }
}

struct Parser<'a> {
    tokens: &'a [Token],
    at: usize,
    depth: usize,
}

impl Parser<'_> {
    /// `command | command | ...`: each result is the last argument of the next.
    fn pipeline(&mut self) -> Result<String, String> {
        let mut value = self.command(None)?;
        while self.tokens.get(self.at) == Some(&Token::Pipe) {
            self.at += 1;
            value = self.command(Some(value))?;
        }
        Ok(value)
    }

    /// A function with its arguments, or a single value.
    fn command(&mut self, piped: Option<String>) -> Result<String, String> {
        if let Some(Token::Word(name)) = self.tokens.get(self.at).filter(|token| !is_boolean(token)) {
            self.at += 1;
            let mut arguments = Vec::new();
            while let Some(argument) = self.operand()? {
                arguments.push(argument);
            }
            arguments.extend(piped);
            return call(name, &arguments);
        }
        if piped.is_some() {
            return Err("after `|` a function is expected".to_owned());
        }
        let value = self.operand()?.ok_or("a value or a function is missing")?;
        match self.tokens.get(self.at) {
            None | Some(Token::Pipe | Token::Close) => Ok(value),
            Some(Token::Word(word)) => Err(format!("unexpected `{word}`; functions come first: `humanize $value`")),
            Some(_) => Err("a value takes no arguments; functions come first: `humanize $value`".to_owned()),
        }
    }

    /// One value, where there is one.
    fn operand(&mut self) -> Result<Option<String>, String> {
        let expression = match self.tokens.get(self.at) {
            None | Some(Token::Pipe | Token::Close) => return Ok(None),
            Some(Token::Text(text)) => constant(text),
            Some(Token::Number(text)) => number(text)?,
            Some(Token::Path(text)) => path(text)?,
            Some(token @ Token::Word(word)) if is_boolean(token) => word.clone(),
            Some(Token::Word(word)) => return Err(format!("write the call of `{word}` in parentheses")),
            Some(Token::Open) => {
                self.depth += 1;
                if self.depth > MAX_DEPTH {
                    return Err(format!("more than {MAX_DEPTH} parentheses within each other"));
                }
                self.at += 1;
                let inner = self.pipeline()?;
                if self.tokens.get(self.at) != Some(&Token::Close) {
                    return Err("parentheses do not match".to_owned());
                }
                self.depth -= 1;
                format!("({inner})")
            }
        };
        self.at += 1;
        Ok(Some(expression))
    }
}

fn is_boolean(token: &Token) -> bool {
    matches!(token, Token::Word(word) if word == "true" || word == "false")
}

fn call(name: &str, arguments: &[String]) -> Result<String, String> {
    if NOT_HERE.contains(&name) {
        return Err(format!("`{name}` does not exist here; a template has $labels, $value and functions of them"));
    }
    let names = || FUNCTIONS.iter().map(|(name, _)| *name);
    let Some((_, count)) = FUNCTIONS.iter().find(|(known, _)| *known == name) else {
        return Err(match nearest(name, names()) {
            Some(known) => format!("unknown function `{name}`; did you mean `{known}`?"),
            None => format!("unknown function `{name}`; known are {}", names().collect::<Vec<_>>().join(", ")),
        });
    };
    if !count.contains(&arguments.len()) {
        let least = count.start();
        let wanted = if count.start() == count.end() { format!("{least}") } else { format!("{least} or more") };
        return Err(format!("`{name}` takes {wanted} argument(s), found {}", arguments.len()));
    }
    Ok(match name {
        "and" => format!("({})", arguments.join(" and ")),
        "or" => format!("({})", arguments.join(" or ")),
        "not" => format!("(not {})", arguments.concat()),
        _ => format!("{name}({})", arguments.join(", ")),
    })
}

fn number(text: &str) -> Result<String, String> {
    if let Ok(whole) = text.parse::<i64>() {
        return Ok(format!("({whole})"));
    }
    match text.parse::<f64>() {
        Ok(value) if value.is_finite() => Ok(format!("({value:?})")),
        _ => Err(format!("`{text}` is no number")),
    }
}

fn path(text: &str) -> Result<String, String> {
    let (root, field) = match text.strip_prefix("$.").or_else(|| text.strip_prefix('.')) {
        Some(inner) => inner.split_once('.').map_or((inner, None), |(root, field)| (root, Some(field))),
        None => text.split_once('.').map_or((text, None), |(root, field)| (root, Some(field))),
    };
    match (root, field) {
        ("$value" | "Value", None) => Ok("value".to_owned()),
        ("$evidence", None) => Ok("evidence".to_owned()),
        ("$top", None) => Ok("top".to_owned()),
        ("$labels" | "Labels", None) => Ok("labels".to_owned()),
        ("$labels" | "Labels", Some(name)) if !name.is_empty() && !name.contains('.') => {
            Ok(format!("labels[{}]", constant(name)))
        }
        _ => Err(format!("`{text}` does not exist here; known are $labels.NAME and $value")),
    }
}
