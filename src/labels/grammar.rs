//! How matchers are written: the classic notation of Alertmanager, and the one for names in UTF-8.
//!
//! As in Alertmanager the classic notation wins where a text is right in both. Classic: names of ASCII, values with or
//! without quotes, and a backslash before anything but `\`, `"` and `n` is itself, so that regular expressions need no
//! second one. UTF-8: names and values in quotes, with the escapes of Go's strings, or bare without any of `{}!=~,\"'` and
//! backquotes.

use std::iter::Peekable;
use std::str::{CharIndices, Chars};
use std::sync::LazyLock;

use regex::Regex;

use super::Op;

/// Name, operator and value of one matcher.
pub(super) type Parts = (String, Op, String);

const OPS: [(&str, Op); 4] = [("=~", Op::Match), ("!~", Op::NotMatch), ("!=", Op::NotEqual), ("=", Op::Equal)];

/// What Go's regular expressions take for a space.
const SPACES: [char; 5] = ['\t', '\n', '\x0c', '\r', ' '];

/// A list of matchers in the classic notation, with or without braces.
pub(super) fn classic(text: &str) -> Result<Vec<Parts>, String> {
    let text = text.strip_prefix('{').unwrap_or(text);
    let text = text.strip_suffix('}').unwrap_or(text);
    let mut items = Vec::new();
    let (mut start, mut is_quoted, mut is_escaped) = (0, false, false);
    for (at, character) in text.char_indices() {
        match character {
            ',' if !is_quoted => {
                items.push(&text[start..at]);
                start = at + 1;
            }
            '"' if is_escaped => is_escaped = false,
            '"' => is_quoted = !is_quoted,
            '\\' => is_escaped = !is_escaped,
            _ => is_escaped = false,
        }
    }
    let last = text[start..].trim();
    items.extend((!last.is_empty()).then_some(last));
    items.into_iter().map(classic_one).collect()
}

/// One matcher in the classic notation.
pub(super) fn classic_one(text: &str) -> Result<Parts, String> {
    let text = text.trim_matches(SPACES);
    let end = text.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == ':')).unwrap_or(text.len());
    let (name, rest) = text.split_at(end);
    let rest = rest.trim_start_matches(SPACES);
    let op = OPS.iter().find_map(|(sign, op)| rest.strip_prefix(sign).map(|value| (*op, value)));
    let Some((op, value)) = op.filter(|_| !name.is_empty() && !name.starts_with(|c: char| c.is_ascii_digit())) else {
        return Err(format!("`{text}` is no matcher"));
    };
    let value =
        classic_value(value.trim_start_matches(SPACES)).ok_or_else(|| format!("`{text}` has a quote too many or too few"))?;
    Ok((name.to_owned(), op, value))
}

/// A value with its escapes undone; none where its quotes do not fit.
fn classic_value(written: &str) -> Option<String> {
    let (raw, mut is_open) = match written.strip_prefix('"') {
        Some(raw) => (raw, true),
        None => (written, false),
    };
    let (mut value, mut rest) = (String::new(), raw.chars());
    while let Some(character) = rest.next() {
        match character {
            '\\' => match rest.next() {
                Some('n') => value.push('\n'),
                Some(same @ ('\\' | '"')) => value.push(same),
                Some(other) => value.extend(['\\', other]),
                None => value.push('\\'),
            },
            '"' if is_open && rest.as_str().is_empty() => is_open = false,
            '"' => return None,
            other => value.push(other),
        }
    }
    (!is_open).then_some(value)
}

/// Whether a character ends a bare name or value, and makes quotes necessary.
pub(super) fn is_reserved(character: char) -> bool {
    character.is_whitespace() || "{}!=~,\\\"'`".contains(character)
}

#[derive(Clone, Debug, PartialEq)]
enum Token {
    Open,
    Close,
    Comma,
    Op(Op),
    Text(String),
}

/// A list of matchers in the notation for UTF-8, with or without braces.
pub(super) fn utf8(text: &str) -> Result<Vec<Parts>, String> {
    let tokens = tokens(text)?;
    let (is_open, mut tokens) = match tokens.as_slice() {
        [Token::Open, inner @ ..] => (true, inner),
        all => (false, all),
    };
    if is_open {
        tokens = match tokens {
            [inner @ .., Token::Close] => inner,
            _ => return Err(format!("`{text}` lacks a closing brace")),
        };
    }
    let mut matchers = Vec::new();
    while !tokens.is_empty() {
        let [Token::Text(name), Token::Op(op), Token::Text(value), rest @ ..] = tokens else {
            return Err(format!("`{text}` is no list of matchers"));
        };
        if name.is_empty() {
            return Err(format!("`{text}` has a matcher without a name"));
        }
        matchers.push((name.clone(), *op, value.clone()));
        tokens = match rest {
            [Token::Comma, rest @ ..] => rest,
            [] => rest,
            _ => return Err(format!("`{text}` lacks a comma between matchers")),
        };
    }
    Ok(matchers)
}

fn tokens(text: &str) -> Result<Vec<Token>, String> {
    let mut tokens = Vec::new();
    let mut rest = text.char_indices().peekable();
    while let Some(&(at, character)) = rest.peek() {
        let single = match character {
            '{' => Some(Token::Open),
            '}' => Some(Token::Close),
            ',' => Some(Token::Comma),
            _ => None,
        };
        if let Some(token) = single {
            tokens.push(token);
        } else if let Some((sign, op)) = OPS.iter().find(|(sign, _)| text[at..].starts_with(sign)) {
            tokens.push(Token::Op(*op));
            if sign.len() == 2 {
                rest.next();
            }
        } else if character == '"' {
            let end = quoted_end(&mut rest).ok_or_else(|| format!("`{text}` lacks a closing quote"))?;
            let inner = unquote(&text[at + 1..end]).ok_or_else(|| format!("`{}` has an unknown escape", &text[at..=end]))?;
            tokens.push(Token::Text(inner));
        } else if !is_reserved(character) {
            let end = text[at..].find(is_reserved).map_or(text.len(), |length| at + length);
            tokens.push(Token::Text(text[at..end].to_owned()));
            while rest.next_if(|(next, _)| *next < end).is_some() {}
            continue;
        } else if !character.is_whitespace() {
            return Err(format!("`{text}` has a `{character}` that needs quotes"));
        }
        rest.next();
    }
    Ok(tokens)
}

/// Goes to the quote that ends a text that begins here; says where it is.
fn quoted_end(rest: &mut Peekable<CharIndices<'_>>) -> Option<usize> {
    rest.next();
    loop {
        match *rest.peek()? {
            (at, '"') => return Some(at),
            (_, '\\') => {
                rest.next();
            }
            _ => {}
        }
        rest.next();
    }
}

/// A Go string without its quotes.
fn unquote(text: &str) -> Option<String> {
    let (mut bytes, mut rest) = (Vec::with_capacity(text.len()), text.chars());
    while let Some(character) = rest.next() {
        let plain = match character {
            '\n' => return None,
            '\\' => match rest.next()? {
                'a' => '\x07',
                'b' => '\x08',
                'f' => '\x0c',
                'n' => '\n',
                'r' => '\r',
                't' => '\t',
                'v' => '\x0b',
                same @ ('\\' | '"') => same,
                'u' => char::from_u32(digits(&mut rest, 4, 16)?)?,
                'U' => char::from_u32(digits(&mut rest, 8, 16)?)?,
                'x' => {
                    bytes.push(digits(&mut rest, 2, 16)? as u8);
                    continue;
                }
                first @ '0'..='7' => {
                    let code = first.to_digit(8)? * 64 + digits(&mut rest, 2, 8)?;
                    bytes.push(u8::try_from(code).ok()?);
                    continue;
                }
                _ => return None,
            },
            other => other,
        };
        bytes.extend_from_slice(plain.encode_utf8(&mut [0; 4]).as_bytes());
    }
    String::from_utf8(bytes).ok()
}

/// A number of exactly so many digits.
fn digits(rest: &mut Chars<'_>, count: usize, radix: u32) -> Option<u32> {
    (0..count).try_fold(0_u32, |number, _| number.checked_mul(radix)?.checked_add(rest.next()?.to_digit(radix)?))
}

/// A text in quotes as Go's `strconv.Quote` writes it.
pub fn quote(text: &str) -> String {
    // Go's IsPrint: letters, marks, numbers, punctuation, symbols, and of spaces the one of ASCII.
    static PRINTABLE: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(r"^[\pL\pM\pN\pP\pS ]$").ok());
    let is_printable = |character: char| match character {
        ' '..='~' => true,
        '\0'..='\x7f' => false,
        _ => PRINTABLE.as_ref().is_some_and(|regex| regex.is_match(character.encode_utf8(&mut [0; 4]))),
    };
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for character in text.chars() {
        match character {
            '"' | '\\' => out.extend(['\\', character]),
            '\x07' => out.push_str("\\a"),
            '\x08' => out.push_str("\\b"),
            '\x0c' => out.push_str("\\f"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\x0b' => out.push_str("\\v"),
            printable if is_printable(printable) => out.push(printable),
            '\0'..='\x7f' => out.push_str(&format!("\\x{:02x}", u32::from(character))),
            '\u{80}'..='\u{ffff}' => out.push_str(&format!("\\u{:04x}", u32::from(character))),
            _ => out.push_str(&format!("\\U{:08x}", u32::from(character))),
        }
    }
    out.push('"');
    out
}
