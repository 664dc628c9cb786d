//! Regular expressions as Go writes them (RE2), in the words of the regex crate.
//!
//! What is written the same and means the same stays. The rest is rewritten: `\d`, `\w`, `\s` and `\b` are of ASCII, a `{`
//! that begins no repetition is itself, `\Q...\E`, octal escapes, escaped punctuation (`\<`), and classes, in which Go
//! knows neither nested classes nor `&&`, `--` and `~~`.
//!
//! What differs still: a few things are taken that Go refuses (`a**`, Unicode properties that it does not know), and a
//! pattern whose program would be larger than the crate's 10 MB is refused.

use std::iter::Peekable;
use std::str::Chars;

const DIGIT: &str = "0-9";
const WORD: &str = "0-9A-Za-z_";
const SPACE: &str = r"\t\n\x0C\r ";

/// The pattern for the regex crate that matches what Go's `regexp` matches; fails where Go knows no such thing.
pub(super) fn from_go(pattern: &str) -> Result<String, String> {
    let (mut out, mut rest) = (String::with_capacity(pattern.len() + 16), pattern);
    while let Some(character) = rest.chars().next() {
        let after = &rest[character.len_utf8()..];
        rest = match character {
            '\\' => escape(after, &mut out)?,
            '[' => class(after, &mut out)?,
            '(' => group(after, &mut out)?,
            '{' if !is_repetition(after) => {
                out.push_str(r"\{");
                after
            }
            '}' => {
                // One that ends a repetition was passed with it.
                out.push_str(r"\}");
                after
            }
            '{' => {
                let end = after.find('}').map_or(after.len(), |at| at + 1);
                out.push('{');
                out.push_str(&after[..end]);
                &after[end..]
            }
            other => {
                out.push(other);
                after
            }
        };
    }
    Ok(out)
}

/// Whether a text behind `{` is `2}`, `2,}` or `2,3}`.
fn is_repetition(text: &str) -> bool {
    let Some((counts, _)) = text.split_once('}') else { return false };
    let (least, most) = counts.split_once(',').unwrap_or((counts, ""));
    let is_number = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    !least.is_empty() && is_number(least) && is_number(most)
}

/// What is behind a backslash outside of a class; gives what is left.
fn escape<'a>(text: &'a str, out: &mut String) -> Result<&'a str, String> {
    let Some(character) = text.chars().next() else { return Err("trailing backslash at end of expression".to_owned()) };
    let rest = &text[character.len_utf8()..];
    match character {
        'Q' => {
            let (literal, rest) = rest.split_once("\\E").unwrap_or((rest, ""));
            out.push_str(&regex::escape(literal));
            return Ok(rest);
        }
        'd' | 'w' | 's' => out.push_str(&format!("[{}]", perl_class(character))),
        'D' | 'W' | 'S' => out.push_str(&format!("[^{}]", perl_class(character))),
        'b' => out.push_str(r"(?-u:\b)"),
        'B' => out.push_str(r"(?-u:\B)"),
        'A' | 'z' => out.extend(['\\', character]),
        'p' | 'P' => return Ok(property(character, rest, out)),
        _ => {
            let (character, rest) = escaped_character(text)?;
            push_literal(character, out);
            return Ok(rest);
        }
    }
    Ok(rest)
}

fn perl_class(letter: char) -> &'static str {
    match letter.to_ascii_lowercase() {
        'd' => DIGIT,
        'w' => WORD,
        _ => SPACE,
    }
}

/// `\pL` or `\p{Greek}`, as it is.
fn property<'a>(letter: char, rest: &'a str, out: &mut String) -> &'a str {
    let end = if rest.starts_with('{') { rest.find('}').map_or(rest.len(), |at| at + 1) } else { 0 };
    let end = if end == 0 { rest.chars().next().map_or(0, char::len_utf8) } else { end };
    out.extend(['\\', letter]);
    out.push_str(&rest[..end]);
    &rest[end..]
}

/// The character that an escape behind a backslash stands for.
fn escaped_character(text: &str) -> Result<(char, &str), String> {
    let unknown = |length: usize| Err(format!("invalid escape sequence: `\\{}`", text.chars().take(length).collect::<String>()));
    let Some(character) = text.chars().next() else { return Err("trailing backslash at end of expression".to_owned()) };
    let rest = &text[character.len_utf8()..];
    let known = match character {
        'a' => '\x07',
        'f' => '\x0c',
        'n' => '\n',
        'r' => '\r',
        't' => '\t',
        'v' => '\x0b',
        '0'..='7' => return octal(text).map_or_else(|| unknown(1), Ok),
        'x' => return hexadecimal(rest).map_or_else(|| unknown(1), Ok),
        other if other.is_ascii() && !other.is_ascii_alphanumeric() => other,
        _ => return unknown(1),
    };
    Ok((known, rest))
}

/// Up to three octal digits; a lone one but 0 would be a reference back, which there is none.
fn octal(text: &str) -> Option<(char, &str)> {
    let digits = text.bytes().take(3).take_while(|byte| (b'0'..=b'7').contains(byte)).count();
    if digits < 2 && !text.starts_with('0') {
        return None;
    }
    let code = u32::from_str_radix(&text[..digits], 8).ok()?;
    Some((char::from_u32(code)?, &text[digits..]))
}

/// Two digits, or any number of them in braces.
fn hexadecimal(text: &str) -> Option<(char, &str)> {
    let (digits, rest) = match text.strip_prefix('{') {
        Some(braced) => braced.split_once('}')?,
        None => text.split_at_checked(2)?,
    };
    let is_hexadecimal = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    let code = is_hexadecimal.then(|| u32::from_str_radix(digits, 16).ok())??;
    Some((char::from_u32(code)?, rest))
}

fn push_literal(character: char, out: &mut String) {
    out.push_str(&format!("\\x{{{:X}}}", u32::from(character)));
}

/// What is behind `(`: only its flags may mean something else.
fn group<'a>(text: &'a str, out: &mut String) -> Result<&'a str, String> {
    out.push('(');
    let Some(flags) = text.strip_prefix('?') else { return Ok(text) };
    if flags.starts_with(['P', '<']) {
        return Ok(text);
    }
    let end = flags.find([':', ')']).ok_or("missing closing )")?;
    if flags[..end].chars().all(|flag| "imsU-".contains(flag)) {
        return Ok(text);
    }
    Err(format!("invalid or unsupported Perl syntax: `(?{}`", &flags[..=end]))
}

/// What is behind `[`, to its end.
fn class<'a>(text: &'a str, out: &mut String) -> Result<&'a str, String> {
    let missing = || "missing closing ]".to_owned();
    out.push('[');
    let mut rest = text;
    if let Some(after) = rest.strip_prefix('^') {
        out.push('^');
        rest = after;
    }
    let mut is_first = true;
    loop {
        if let Some(after) = rest.strip_prefix(']').filter(|_| !is_first) {
            out.push(']');
            return Ok(after);
        }
        is_first = false;
        if let Some(after) = set(rest, out) {
            rest = after;
            continue;
        }
        let (low, after) = member(rest).ok_or_else(missing)??;
        rest = after;
        push_literal(low, out);
        if let Some(after) = rest.strip_prefix('-').filter(|after| !after.starts_with(']') && !after.is_empty()) {
            let (high, after) = member(after).ok_or_else(missing)??;
            if high < low {
                return Err(format!("invalid character class range: `{low}-{high}`"));
            }
            out.push('-');
            push_literal(high, out);
            rest = after;
        }
    }
}

/// A named set within a class: `[:alpha:]`, `\d`, `\pL`.
fn set<'a>(text: &'a str, out: &mut String) -> Option<&'a str> {
    if let Some(named) = text.strip_prefix("[:") {
        let (name, rest) = named.split_once(":]")?;
        out.push_str(&format!("[:{name}:]"));
        return Some(rest);
    }
    let escaped = text.strip_prefix('\\')?;
    let letter = escaped.chars().next()?;
    let rest = &escaped[letter.len_utf8()..];
    match letter {
        'd' | 'w' | 's' => out.push_str(perl_class(letter)),
        'D' | 'W' | 'S' => out.push_str(&format!("[^{}]", perl_class(letter))),
        'p' | 'P' => return Some(property(letter, rest, out)),
        _ => return None,
    }
    Some(rest)
}

/// One character of a class; none at the end of the text.
fn member(text: &str) -> Option<Result<(char, &str), String>> {
    let character = text.chars().next()?;
    let rest = &text[character.len_utf8()..];
    Some(if character == '\\' { escaped_character(rest) } else { Ok((character, rest)) })
}

/// The texts that a pattern matches from end to end, where it is no more than a choice of texts: `a|b`, `(a|b)`,
/// `^(?:a|b)$`.
pub(super) fn choices(pattern: &str) -> Option<Vec<String>> {
    let inner = pattern.strip_prefix('^').unwrap_or(pattern);
    let inner = inner.strip_suffix('$').unwrap_or(inner);
    let group = |open| inner.strip_prefix(open).and_then(|rest| rest.strip_suffix(')'));
    let inner = group("(?:").or_else(|| group("(")).unwrap_or(inner);
    inner.split('|').map(literal).collect()
}

/// A text without any meaning but itself; none where it has.
fn literal(pattern: &str) -> Option<String> {
    let (mut text, mut rest): (String, Peekable<Chars<'_>>) = (String::new(), pattern.chars().peekable());
    while let Some(character) = rest.next() {
        match character {
            '\\' => text.push(rest.next_if(|next| next.is_ascii_punctuation())?),
            '.' | '+' | '*' | '?' | '(' | ')' | '[' | ']' | '{' | '}' | '^' | '$' => return None,
            other => text.push(other),
        }
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use regex::Regex;

    use super::*;

    #[test]
    fn patterns_mean_what_they_mean_in_go() {
        #[track_caller]
        fn check(pattern: &str, matching: &[&str], not: &[&str]) {
            let translated = from_go(pattern).unwrap();
            let regex = Regex::new(&format!("^(?:{translated})$")).unwrap_or_else(|error| panic!("{pattern}: {error}"));
            for text in matching {
                assert!(regex.is_match(text), "{pattern} as {translated} on {text:?}");
            }
            for text in not {
                assert!(!regex.is_match(text), "{pattern} as {translated} on {text:?}");
            }
        }
        check(r"\d+", &["12"], &["\u{663}", "a"]);
        check(r"\w", &["a", "_"], &["\u{e9}"]);
        check(r"\W", &["\u{e9}", "-"], &["a"]);
        check(r"[\w-]+", &["a-b"], &["\u{e9}"]);
        check(r"\s", &[" ", "\t"], &["\u{a0}", "\x0b"]);
        check(r".*\bb.*", &["a b", "\u{e9}b"], &["ab"]);
        check(r".*\Bb", &["ab"], &["a b"]);
        check("a{2}", &["aa"], &["a{2}"]);
        check("a{2,}", &["aaa"], &["a"]);
        check("a{,2}", &["a{,2}"], &["a", "aa"]);
        check("{{x}}", &["{{x}}"], &["x"]);
        check(r"\Qa.b\E+", &["a.b", "a.bb"], &["axb"]);
        check(r"\101\x41\x{1F600}", &["AA\u{1f600}"], &[]);
        check(r"\<a\>\_\-", &["<a>_-"], &["a"]);
        check("[[]", &["["], &["a"]);
        check("[]a]", &["]", "a"], &["b"]);
        check("[^]a]", &["b"], &["]", "a"]);
        check("[a&&b]+", &["a&b"], &["c"]);
        check("[+--]", &["+", ",", "-"], &["."]);
        check("[a-]", &["a", "-"], &["b"]);
        check("[[:alpha:][:digit:]]+", &["a1"], &["\u{e9}"]);
        check(r"[\D]", &["a"], &["1"]);
        check(r"\pL\p{Greek}", &["a\u{3b1}"], &["1\u{3b1}"]);
        check("(?i)Ab", &["aB"], &["ac"]);
        check("(?i:a)b", &["Ab"], &["AB"]);
        check("(?s).", &["\n"], &[]);
        check(".", &["a"], &["\n"]);
        check("(?P<x>a)|b", &["a", "b"], &[]);
        check("a|", &["", "a"], &["b"]);
    }

    #[test]
    fn what_go_does_not_know_is_refused() {
        for pattern in [r"\8", r"\1", r"\Z", r"\y", "(?x)a", "(?u)a", "(?=a)", "[a", "[", "\\", "[b-a]", r"\xZZ", "(?i"] {
            assert!(from_go(pattern).is_err(), "{pattern}");
        }
    }

    #[test]
    fn choices_of_texts_are_seen() {
        #[track_caller]
        fn check(pattern: &str, expected: Option<&[&str]>) {
            let expected: Option<Vec<String>> = expected.map(|texts| texts.iter().map(|&text| text.to_owned()).collect());
            assert_eq!(choices(pattern), expected, "{pattern}");
        }
        check("a", Some(&["a"]));
        check("a|b", Some(&["a", "b"]));
        check("(a|b)", Some(&["a", "b"]));
        check("^(?:a|b)$", Some(&["a", "b"]));
        check("^a$", Some(&["a"]));
        check(r"gpt-4\.1|o3", Some(&["gpt-4.1", "o3"]));
        check("a|", Some(&["a", ""]));
        check(r"a\d", None);
        check("a.*", None);
        check("(a|b)|(c)", None);
        check("(?i)a", None);
        check("^a|b", Some(&["a", "b"]));
        check(r"a\$", None);
    }
}
