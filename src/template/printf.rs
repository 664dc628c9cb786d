//! Go's `printf` for what a template has: numbers, texts, true and false.
//!
//! Where Go would print its fault into the text (`%!d(float64=5)`), this one fails, so that `check` finds it.

use super::number;
use super::value::Value;

/// No message needs wider fields; bounds what a template can make.
const MAX_WIDTH: usize = 500;

/// `%[flags][width][.precision]verb`
#[derive(Debug, Default)]
struct Directive {
    left: bool,
    plus: bool,
    zero: bool,
    width: usize,
    precision: Option<usize>,
}

/// Fills in the arguments.
pub(super) fn printf(format: &str, arguments: &[Value]) -> Result<String, String> {
    let mut out = String::new();
    let mut arguments = arguments.iter();
    let mut rest = format;
    while let Some((before, after)) = rest.split_once('%') {
        out += before;
        let length =
            after.find(|c: char| !"+-0123456789.".contains(c)).ok_or_else(|| format!("printf: `%{after}` has no verb"))?;
        let verb = after[length..].chars().next().unwrap_or('%');
        rest = &after[length + verb.len_utf8()..];
        if verb == '%' {
            out.push('%');
            continue;
        }
        let written = format!("%{}{verb}", &after[..length]);
        let directive = Directive::parse(&after[..length]).ok_or_else(|| format!("printf: cannot read `{written}`"))?;
        let argument = arguments.next().ok_or_else(|| format!("printf: no argument for `{written}`"))?;
        let text = directive.print(verb, argument).map_err(|fault| format!("printf: `{written}` {fault}"))?;
        out += &directive.pad(text, verb);
    }
    if arguments.next().is_some() {
        return Err(format!("printf: more arguments than `{format}` has places"));
    }
    Ok(out + rest)
}

impl Directive {
    fn parse(text: &str) -> Option<Directive> {
        let mut directive = Directive::default();
        let sizes = text.trim_start_matches(['+', '-', '0']);
        for flag in text[..text.len() - sizes.len()].chars() {
            match flag {
                '+' => directive.plus = true,
                '-' => directive.left = true,
                _ => directive.zero = true,
            }
        }
        let size = |digits: &str| match digits {
            "" => Some(0),
            _ => digits.parse().ok().filter(|size| *size <= MAX_WIDTH),
        };
        let (width, precision) = sizes.split_once('.').map_or((sizes, None), |(width, precision)| (width, Some(precision)));
        directive.width = size(width)?;
        if let Some(precision) = precision {
            directive.precision = Some(size(precision)?);
        }
        Some(directive)
    }

    /// The argument in words, not yet padded.
    fn print(&self, verb: char, argument: &Value) -> Result<String, String> {
        let precision = self.precision.unwrap_or(6);
        let is_whole = matches!(argument, Value::Whole(_));
        let number = || argument.as_number();
        let text = match (verb, number()) {
            ('v', Some(value)) if matches!(argument, Value::Number(_)) => number::general(value, self.precision),
            ('v' | 'd', _) if is_whole => argument.to_string(),
            ('v', _) => argument.to_string(),
            ('g', Some(value)) => number::general(value, self.precision),
            ('f' | 'F', Some(value)) => number::fixed(value, precision),
            ('e', Some(value)) => number::scientific(value, precision),
            ('s', None) | ('s', Some(_)) if !matches!(argument, Value::Whole(_) | Value::Number(_)) => {
                argument.to_string().chars().take(self.precision.unwrap_or(usize::MAX)).collect()
            }
            ('q', None) => serde_json::Value::from(argument.to_string()).to_string(),
            ('t', None) if matches!(argument.to_string().as_str(), "true" | "false") => argument.to_string(),
            ('d', Some(_)) => return Err("wants a whole number; use %.0f".to_owned()),
            ('s' | 'q', Some(_)) => return Err("wants text; use %v for a number".to_owned()),
            ('d' | 'g' | 'f' | 'F' | 'e' | 't', _) => return Err(format!("cannot print `{argument}`")),
            _ => return Err("is unknown; known verbs are v d f e g s q t".to_owned()),
        };
        let signed = self.plus && number().is_some() && !text.starts_with(['+', '-']);
        Ok(if signed { format!("+{text}") } else { text })
    }

    fn pad(&self, text: String, verb: char) -> String {
        let missing = self.width.saturating_sub(text.chars().count());
        match text.strip_prefix(['+', '-']) {
            _ if self.left => text + &" ".repeat(missing),
            Some(digits) if self.zero && verb != 's' => format!("{}{}{digits}", &text[..1], "0".repeat(missing)),
            None if self.zero => "0".repeat(missing) + &text,
            _ => " ".repeat(missing) + &text,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_as_go_does() {
        #[track_caller]
        fn check(format: &str, argument: impl Into<Value>, expected: &str) {
            assert_eq!(printf(format, &[argument.into()]).as_deref(), Ok(expected), "{format}");
        }
        check("%v", 1e6, "1e+06");
        check("%v", 123_456.0, "123456");
        check("%v", 1_234_567.0, "1.234567e+06");
        check("%v", 0.1 + 0.2, "0.30000000000000004");
        check("%v", 1e-5, "1e-05");
        check("%v", 0.0001, "0.0001");
        check("%v", 5_i64, "5");
        check("%.3g", 1234.0, "1.23e+03");
        check("%g", 100_000.0, "100000");
        check("%.0f|", 2.5, "2|");
        check("%f", 1.0, "1.000000");
        check("%e", 123_456.0, "1.234560e+05");
        check("%5.1f|", 1.25, "  1.2|");
        check("%-6.1f|", 1.25, "1.2   |");
        check("%06.1f", -1.25, "-001.2");
        check("%+d", 5_i64, "+5");
        check("%s", "é", "é");
        check("%.2s", "éàü", "éà");
        check("%q", "a\"b", "\"a\\\"b\"");
        check("%t %%", true, "true %");
        check("%5s", "ab", "   ab");
        check("%v", f64::NAN, "NaN");
    }
}
