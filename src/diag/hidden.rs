//! What of a file its excerpts must not show: they get into logs.
//!
//! Which nodes are secret is said by who reads them; how far they reach in the text is told here. In doubt too much is
//! starred: a value ends where the next node begins, unless its text stands there as it is.

use std::ops::Range;
use std::sync::{LazyLock, Mutex, PoisonError};

use regex::Regex;

/// What is hidden of one file.
#[derive(Debug, Default)]
pub(super) struct Hidden(Mutex<Parts>);

#[derive(Debug, Default)]
struct Parts {
    ranges: Vec<Range<usize>>,
    /// Where each node begins, in order.
    starts: Vec<usize>,
    /// Where an alias stands, and where what it means stands.
    aliases: Vec<(usize, usize)>,
    /// It is no YAML: where values begin and end is not known.
    only_keys: bool,
}

impl Hidden {
    fn with<T>(&self, work: impl FnOnce(&mut Parts) -> T) -> T {
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub fn all_but_keys(&self) {
        self.with(|parts| parts.only_keys = true);
    }

    pub fn nodes(&self, mut starts: Vec<usize>, aliases: Vec<(usize, usize)>) {
        starts.extend(aliases.iter().map(|(_, defined)| *defined));
        starts.sort_unstable();
        self.with(|parts| (parts.starts, parts.aliases) = (starts, aliases));
    }

    /// Hides a scalar that means `value`.
    pub fn hide(&self, text: &str, bytes: &Range<usize>, value: &str) {
        self.with(|parts| {
            let written = &text[bytes.clone()];
            let inner = ['"', '\''].into_iter().find_map(|quote| written.strip_prefix(quote)?.strip_suffix(quote));
            let found = match inner {
                Some(inner) if inner == value => bytes.start + 1..bytes.end - 1,
                _ if written == value => bytes.clone(),
                _ => {
                    let aliases = parts.aliases.iter().filter(|(at, _)| *at == bytes.start);
                    let defined: Vec<usize> = aliases.map(|(_, defined)| *defined).collect();
                    for start in defined.into_iter().chain([bytes.start]) {
                        let next = parts.starts.partition_point(|at| *at <= start);
                        let end = parts.starts.get(next).copied().unwrap_or(text.len());
                        parts.ranges.push(start..end);
                    }
                    return;
                }
            };
            // Of a URL the scheme is of use.
            let scheme = value.find("://").map_or(0, |at| at + 3);
            parts.ranges.push(found.start + scheme..found.end);
        });
    }

    /// The text with stars for what is hidden, byte for byte.
    pub fn stars(&self, text: &str) -> String {
        static KEY: LazyLock<Option<Regex>> =
            LazyLock::new(|| Regex::new(r#"^[ \t]*(?:- +)*["']?[\w.-]+["']?[ \t]*:(?:\s|$)"#).ok());
        static USER: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(r#"://([^\s/"']*)@"#).ok());
        static COMMENT: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(r"(?m)(?:^|\s)#[^\n]*?://([^\n]*)").ok());
        static VARIABLE: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(r"\$\{[A-Z0-9_]+\}").ok());
        let (Some(key), Some(user), Some(comment), Some(variable)) = (&*KEY, &*USER, &*COMMENT, &*VARIABLE) else {
            return "*".repeat(text.len());
        };
        let mut ranges = self.with(|parts| parts.ranges.clone());
        if self.with(|parts| parts.only_keys) {
            let mut at = 0;
            for line in text.split_inclusive('\n') {
                ranges.push(at + key.find(line).map_or(0, |key| key.end())..at + line.len());
                at += line.len();
            }
        }
        for found in user.captures_iter(text).chain(comment.captures_iter(text)) {
            ranges.extend(found.get(1).map(|part| part.range()));
        }
        let mut bytes = text.as_bytes().to_vec();
        for range in ranges {
            // Indentation stays; how long the words of a password are is nobody's business.
            for line in bytes[range].split_mut(|byte| *byte == b'\n') {
                let start = line.len() - line.trim_ascii_start().len();
                let end = line.trim_ascii_end().len().max(start);
                line[start..end].fill(b'*');
            }
        }
        // The name of a variable is no secret.
        for found in variable.find_iter(text) {
            bytes[found.range()].copy_from_slice(found.as_str().as_bytes());
        }
        String::from_utf8(bytes).unwrap_or_else(|_| "*".repeat(text.len()))
    }
}
