//! The words of an action: what stands between `{{` and `}}`.

/// What Go trims at `{{-` and `-}}`.
pub(super) const SPACE: [char; 4] = [' ', '\t', '\r', '\n'];

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Token {
    Text(String),
    Number(String),
    /// `.Labels.model`, `.`
    Path(String),
    /// `.Labels` right behind a `)`.
    Member(String),
    /// `$labels.model`, `$`
    Variable(String),
    Word(String),
    Open,
    Close,
    Pipe,
    Comma,
    /// `:=`
    Declare,
    /// `=`
    Assign,
}

/// Where the action's `}}` stands: not within quotes, nor within a comment.
pub(super) fn action_end(text: &str) -> Option<usize> {
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

pub(super) fn tokens(action: &str) -> Result<Vec<Token>, String> {
    let mut tokens = Vec::new();
    let mut rest = action.trim_start_matches(SPACE);
    let mut follows_parenthesis = false;
    while let Some(first) = rest.chars().next() {
        let (token, length) = match first {
            '(' => (Token::Open, 1),
            ')' => (Token::Close, 1),
            '|' => (Token::Pipe, 1),
            ',' => (Token::Comma, 1),
            '"' | '`' => quoted(rest)?,
            _ if rest.starts_with(":=") => (Token::Declare, 2),
            '=' => (Token::Assign, 1),
            _ => {
                let length = rest.find(|c| SPACE.contains(&c) || "()|\"`,=".contains(c)).unwrap_or(rest.len());
                let length = rest[..length].find(":=").or(rest[..length].strip_suffix(':').map(str::len)).unwrap_or(length);
                // A lone `:` is a word of its own, and no reason to stand still.
                let length = length.max(first.len_utf8());
                (bare(&rest[..length], follows_parenthesis), length)
            }
        };
        let closes = token == Token::Close;
        tokens.push(token);
        follows_parenthesis = closes && rest[length..].starts_with('.');
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

fn bare(text: &str, follows_parenthesis: bool) -> Token {
    let unsigned = text.trim_start_matches(['+', '-']);
    let numeric = unsigned.trim_start_matches('.').starts_with(|c: char| c.is_ascii_digit());
    match text.chars().next() {
        _ if numeric => Token::Number(text.to_owned()),
        Some('.') if follows_parenthesis => Token::Member(text.to_owned()),
        Some('.') => Token::Path(text.to_owned()),
        Some('$') => Token::Variable(text.to_owned()),
        _ => Token::Word(text.to_owned()),
    }
}
