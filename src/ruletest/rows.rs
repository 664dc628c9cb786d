//! Rows of a test, many in a line that reads like a sentence.
//!
//! ```text
//! 12 failures of gpt-4o every 30s from 10:00
//! 40 calls of gpt-4o every 1m from day 2 09:00 with org=acme cost=0.02 latency=1.5s
//! 2000 calls of gpt-4o spread over 14d from day 1 with failures=5% user=u{i%20}
//! calls of gpt-4o every 10s from 10:00 until 12:00
//! 3 errors of gpt-4o from 10:00 committed 65s late with error_type=timeout
//! ```
//!
//! It begins with a number and what the rows are: `calls` (which succeed, but for `failures=5%`), `successes`, `failures`,
//! `abandoned` (calls), or `errors`, the records of an error table. Then, in any order,
//!
//! - `of MODEL`: the dimension `model`,
//! - `from TIME` or `at TIME`: when the first one is; 00:00 of day 1 unless it is said,
//! - `every SPAN`, or `spread over SPAN` (evenly, the first one at its beginning); all at once unless one of them is said,
//! - `until TIME` instead of the number: as many as there are `every` span before it,
//! - `on days 1-14`: all of it on each of these days,
//! - `committed SPAN late`: they can be read that long after their time,
//! - `with KEY=VALUE ...`: `cost` in US dollars or `unknown`, `latency` as a span or `unknown`, `tokens`, `input`, `output`, `count`
//!   (calls that a row stands for), `failures` (the share of calls that fail, evenly), `source` and `table` (the names of
//!   what they are read from), and any dimension or measure. In a value, `{i}` is the number of the row within its line,
//!   from 1, and `{i%20}` goes from 0 to 19 and begins again.

use std::ops::Range;

use crate::event::NanoUsd;
use crate::labels::is_label_name;
use crate::limits::MAX_TEST_ROWS;
use crate::ruletest::words::{Days, Fault, When, Word, Words};
use crate::time::{Span, Time};

const EXAMPLE: &str = "12 failures of gpt-4o every 30s from 10:00";
const WITH: &str = "12 calls of gpt-4o every 30s from 10:00 with org=acme cost=0.02 latency=1.5s";
const LATE: &str = "12 calls of gpt-4o from 10:00 committed 65s late";
/// Later ones are found by the repair pass, once an hour.
pub const MAX_LATE: Span = Span::secs(900);

/// What rows are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// Calls that succeed, but for a share.
    Calls,
    /// Calls that fail.
    Failures,
    /// Calls that never end.
    Abandoned,
    /// Records of an error table.
    Errors,
}

/// THE list of what rows can be.
const WHAT: &[(&str, What)] = &[
    ("call", What::Calls),
    ("calls", What::Calls),
    ("success", What::Calls),
    ("successes", What::Calls),
    ("failure", What::Failures),
    ("failures", What::Failures),
    ("abandoned", What::Abandoned),
    ("error", What::Errors),
    ("errors", What::Errors),
];

const CLAUSES: &[&str] = &["of", "every", "spread over", "from", "at", "until", "on days", "committed", "with"];

/// Text in which the number of the row may stand.
#[derive(Clone, Debug, PartialEq)]
pub struct Pattern(Vec<Piece>);

#[derive(Clone, Debug, PartialEq)]
enum Piece {
    Text(String),
    /// `{i}`
    Number,
    /// `{i%20}`
    Rest(u64),
}

/// The rows of one line.
#[derive(Clone, Debug)]
pub struct Row {
    /// Calls or errors.
    pub what: What,
    /// When the first one of each series is, and how many there are.
    series: Vec<(Time, u64)>,
    /// Between two of a series.
    step: Span,
    /// How long after their time they can be read.
    pub late: Span,
    /// The share of calls that fail, in millionths.
    failing: u64,
    /// None where unknown.
    pub cost: Option<NanoUsd>,
    /// In microseconds; none where unknown.
    pub latency: Option<i64>,
    /// Of the prompt, of the answer, and of which only the total is known.
    pub tokens: [u64; 3],
    /// How many calls each stands for.
    pub count: u32,
    /// Dimensions and measures; `source` and `table` too.
    pub values: Vec<(String, Pattern)>,
}

impl Row {
    /// Reads a line.
    pub fn parse(line: &str, days: &Days) -> Result<Row, Fault> {
        let mut words = Words::new(line);
        let number = number(&mut words)?;
        let what = what(&mut words)?;
        let mut said = Said::default();
        let mut row = Row {
            what,
            series: Vec::new(),
            step: Span::ZERO,
            late: Span::ZERO,
            failing: 0,
            cost: None,
            latency: None,
            tokens: [0; 3],
            count: 1,
            values: Vec::new(),
        };
        while let Some(word) = words.take() {
            clause(&word, &mut words, &mut row, &mut said)?;
        }
        row.lay_out(number, said, days, &words)?;
        Ok(row)
    }

    /// The instants of its rows from what was said of them.
    fn lay_out(&mut self, number: Option<u64>, said: Said, days: &Days, words: &Words<'_>) -> Result<(), Fault> {
        let from = said.from.unwrap_or(When::Day(None, Default::default()));
        let (first, last) = said.days.unwrap_or((1, 1));
        let series = (first..=last).map(|day| (days.instant(from, day), said.until.map(|until| days.instant(until, day))));
        for (begin, until) in series {
            let count = match (number, until, said.every) {
                (Some(number), None, _) => number,
                (None, Some(until), Some(every)) => ((until - begin).0.max(0) as u64).div_ceil(every.0 as u64),
                (Some(_), Some(_), _) => {
                    return Err(
                        words.ends("either a number of rows or `until`", "calls of gpt-4o every 10s from 10:00 until 12:00")
                    );
                }
                (None, Some(_), None) => return Err(words.ends("`every`", "calls of gpt-4o every 10s from 10:00 until 12:00")),
                (None, None, _) => return Err(words.ends("`until`, since it begins with no number", EXAMPLE)),
            };
            self.series.push((begin, count));
        }
        let most = self.series.iter().map(|(_, count)| *count).max().unwrap_or(0);
        self.step = match (said.every, said.over) {
            (Some(every), _) => every,
            (None, Some(over)) => Span(over.0 / most.max(1) as i64),
            _ => Span::ZERO,
        };
        if self.len() > MAX_TEST_ROWS as u64 {
            let help = "a row may stand for many calls: 100 calls every 1m with count=1000";
            return Err(words.ends(&format!("at most {MAX_TEST_ROWS} rows"), help));
        }
        Ok(())
    }

    /// How many rows there are.
    pub fn len(&self) -> u64 {
        self.series.iter().map(|(_, count)| count).fold(0, |sum, count| sum.saturating_add(*count))
    }

    /// When its series begin.
    pub fn begins(&self) -> impl Iterator<Item = Time> + '_ {
        self.series.iter().map(|(begin, _)| *begin)
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The number of each row, from 1, with its time.
    pub fn times(&self) -> impl Iterator<Item = (u64, Time)> + '_ {
        let all = self
            .series
            .iter()
            .flat_map(|(begin, count)| (0..*count).map(|k| *begin + Span(self.step.0.saturating_mul(k as i64))));
        (1..).zip(all)
    }

    /// Whether the row of this number failed.
    pub fn fails(&self, i: u64) -> bool {
        let failed = |rows: u64| rows * self.failing / MILLION;
        self.what == What::Failures || failed(i) > failed(i - 1)
    }
}

const MILLION: u64 = 1_000_000;

/// What a line said of its times.
#[derive(Debug, Default)]
struct Said {
    from: Option<When>,
    until: Option<When>,
    every: Option<Span>,
    over: Option<Span>,
    days: Option<(i64, i64)>,
    words: Vec<String>,
}

fn number(words: &mut Words<'_>) -> Result<Option<u64>, Fault> {
    let word = words.peek().cloned().ok_or_else(|| words.ends("a number and what the rows are", EXAMPLE))?;
    if !word.text.starts_with(|c: char| c.is_ascii_digit() || c == '-' || c == '+') {
        return Ok(None);
    }
    words.take();
    match word.text.parse() {
        Ok(number) if number > 0 => Ok(Some(number)),
        _ => Err(word.fault(format!("expected a whole number from 1, found `{}`", word.text), EXAMPLE)),
    }
}

fn what(words: &mut Words<'_>) -> Result<What, Fault> {
    let word = words.need("what the rows are: calls, failures, abandoned or errors", EXAMPLE)?;
    let known: Vec<&str> = WHAT.iter().map(|(name, _)| *name).collect();
    let found = WHAT.iter().find(|(name, _)| *name == word.text);
    found.map(|(_, what)| *what).ok_or_else(|| words.unknown(&word, &known, EXAMPLE))
}

fn clause(word: &Word<'_>, words: &mut Words<'_>, row: &mut Row, said: &mut Said) -> Result<(), Fault> {
    let name = if word.text == "at" { "from" } else { word.text };
    if said.words.iter().any(|known| known == name) {
        return Err(word.fault(format!("`{}` is said twice", word.text), EXAMPLE));
    }
    said.words.push(name.to_owned());
    match name {
        "of" => {
            let model = words.need("the name of a model", EXAMPLE)?;
            row.values.push(("model".to_owned(), pattern(&model, model.text, model.at.start)?));
        }
        "from" => said.from = Some(words.when()?),
        "until" => said.until = Some(words.when()?),
        "every" if said.over.is_none() => said.every = Some(words.span(EXAMPLE)?),
        "spread" if said.every.is_none() => {
            let example = "2000 calls of gpt-4o spread over 14d";
            words.need_word("over", example)?;
            said.over = Some(words.span(example)?);
        }
        "every" | "spread" => return Err(word.fault("rows come `every` span or are `spread over` one, not both", EXAMPLE)),
        "on" => {
            words.need_word("days", "5 calls of gpt-4o every 1m from 10:00 on days 1-14")?;
            said.days = Some(words.days()?);
        }
        "committed" => {
            let span = words.peek().cloned();
            row.late = words.span(LATE)?;
            words.need_word("late", LATE)?;
            if let Some(span) = span.filter(|_| row.late > MAX_LATE) {
                let help = "rows that come later than `lateness` are found by the repair pass, once an hour";
                return Err(span.fault(format!("at most {MAX_LATE} late"), help));
            }
        }
        "with" => {
            let first = words.need("`key=value`", WITH)?;
            pair(&first, row)?;
            while let Some(word) = words.peek().filter(|word| word.text.contains('=')).cloned() {
                words.take();
                pair(&word, row)?;
            }
        }
        _ => return Err(words.unknown(word, CLAUSES, WITH)),
    }
    Ok(())
}

/// `org=acme`
fn pair(word: &Word<'_>, row: &mut Row) -> Result<(), Fault> {
    let Some((key, value)) = word.text.split_once('=').filter(|(key, _)| is_label_name(key)) else {
        return Err(word.fault(format!("expected `key=value`, found `{}`", word.text), WITH));
    };
    let at = word.at.start + key.len() + 1..word.at.end;
    let fault = |what: &str, help: &str| Fault {
        at: if value.is_empty() { word.at.clone() } else { at.clone() },
        message: format!("{key}: expected {what}, found `{value}`"),
        help: help.to_owned(),
    };
    let whole = || value.parse::<u64>().ok().filter(|n| *n <= crate::limits::MAX_TOKENS);
    let tokens = |row: &mut Row, place: usize| {
        row.tokens[place] = whole().ok_or_else(|| fault("a number of tokens", "tokens=1200"))?;
        Ok(())
    };
    if row.what == What::Errors && ["cost", "latency", "tokens", "input", "output", "failures"].contains(&key) {
        let help = "the records of an error table are no calls; give it to the calls of another line";
        return Err(word.fault(format!("an error has no {key}"), help));
    }
    match key {
        "cost" if value == "unknown" => row.cost = None,
        "cost" => row.cost = Some(dollars(value).ok_or_else(|| fault("US dollars or `unknown`", "cost=0.02"))?),
        "latency" if value == "unknown" => row.latency = None,
        "latency" => row.latency = Some(duration(value).ok_or_else(|| fault("a duration or `unknown`", "latency=1.5s"))?),
        "input" => return tokens(row, 0),
        "output" => return tokens(row, 1),
        "tokens" => return tokens(row, 2),
        "count" => {
            let count = value.parse().ok().filter(|n| (1..=crate::limits::MAX_COUNT as u32).contains(n));
            row.count = count.ok_or_else(|| fault("a whole number from 1", "count=100"))?;
        }
        "failures" if row.what != What::Calls => {
            return Err(word.fault("only `calls` fail in part", "100 calls of gpt-4o every 10s from 10:00 with failures=5%"));
        }
        "failures" => row.failing = share(value).ok_or_else(|| fault("a share from 0% to 100%", "failures=5%"))?,
        "model" if row.values.iter().any(|(name, _)| name == "model") => {
            return Err(word.fault("`model` is said twice", EXAMPLE));
        }
        _ => row.values.push((key.to_owned(), pattern(word, value, at.start)?)),
    }
    Ok(())
}

fn dollars(text: &str) -> Option<NanoUsd> {
    let nanos = (text.strip_prefix('$').unwrap_or(text).parse::<f64>().ok()? * 1e9).round();
    (0.0..=crate::limits::MAX_COST as f64).contains(&nanos).then_some(nanos as NanoUsd)
}

/// `1.5s` beside what spans can be.
fn duration(text: &str) -> Option<i64> {
    let digits = text.find(|c: char| c.is_ascii_alphabetic())?;
    let unit = Span::parse(&format!("1{}", &text[digits..])).ok();
    let fraction = unit.and_then(|unit| Some((text[..digits].parse::<f64>().ok()? * unit.0 as f64).round() as i64));
    fraction
        .or_else(|| Span::parse(text).ok().map(|span| span.0))
        .filter(|micros| (0..=crate::limits::MAX_LATENCY.0).contains(micros))
}

fn share(text: &str) -> Option<u64> {
    let share = match text.strip_suffix('%') {
        Some(percent) => percent.parse::<f64>().ok()? / 100.0,
        None => text.parse::<f64>().ok()?,
    };
    (0.0..=1.0).contains(&share).then_some((share * MILLION as f64).round() as u64)
}

/// Text, without the quotes around it, in which `{i}` may stand; `from` is where in the line.
fn pattern(word: &Word<'_>, text: &str, from: usize) -> Result<Pattern, Fault> {
    let unquoted = text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    if unquoted.is_none() && text.contains('"') {
        return Err(word.fault("a quote without the other one around the value", "org=\"Pied Piper\""));
    }
    let from = from + usize::from(unquoted.is_some());
    let (mut rest, mut pieces) = (unquoted.unwrap_or(text), Vec::new());
    let mut at = from;
    while let Some((before, after)) = rest.split_once('{') {
        let begin = at + before.len();
        let Some((inner, tail)) = after.split_once('}') else { break };
        let end = begin + inner.len() + 2;
        let piece = match inner.strip_prefix("i%").map(str::parse) {
            _ if inner == "i" => Piece::Number,
            Some(Ok(n)) if n > 0 => Piece::Rest(n),
            _ => return Err(braces(begin..end)),
        };
        pieces.extend([Piece::Text(before.to_owned()), piece]);
        (rest, at) = (tail, end);
    }
    pieces.push(Piece::Text(rest.to_owned()));
    pieces.retain(|piece| *piece != Piece::Text(String::new()));
    Ok(Pattern(pieces))
}

fn braces(at: Range<usize>) -> Fault {
    let help = "`{i}` is the number of the row, `{i%20}` goes from 0 to 19 and begins again";
    Fault { at, message: "only the number of the row can stand in braces".to_owned(), help: help.to_owned() }
}

impl Pattern {
    /// The text for the row of this number.
    pub fn fill(&self, i: u64) -> String {
        let text = |piece: &Piece| match piece {
            Piece::Text(text) => text.clone(),
            Piece::Number => i.to_string(),
            Piece::Rest(n) => (i % n).to_string(),
        };
        self.0.iter().map(text).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::calendar::Zone;

    fn days() -> Days {
        Days { zone: Zone::utc(), start: jiff::civil::date(2026, 1, 5) }
    }

    fn parse(line: &str) -> Row {
        Row::parse(line, &days()).unwrap_or_else(|fault| panic!("{line}: {fault:?}"))
    }

    /// `N: FIRST to LAST`
    #[track_caller]
    fn check(line: &str, expected: &str) {
        let (row, days) = (parse(line), days());
        let times: Vec<String> = row.times().map(|(_, at)| days.name(at)).collect();
        assert_eq!(format!("{}: {} to {}", times.len(), times[0], times[times.len() - 1]), expected, "{line}");
        assert_eq!(row.len(), times.len() as u64);
    }

    #[test]
    fn lines_say_when_rows_are() {
        check("12 failures of gpt-4o every 30s from 10:00", "12: 10:00 to 10:05:30");
        check("1 failure at 10:00", "1: 10:00 to 10:00");
        check("3 calls", "3: 00:00 to 00:00");
        check("3 calls from day 2 10:00", "3: day 2 10:00 to day 2 10:00");
        check("3 calls every 1m from 2026-01-06 10:00 of gpt-4o", "3: day 2 10:00 to day 2 10:02");
        check("14 calls spread over 14d", "14: 00:00 to day 14 00:00");
        check("calls every 10s from 10:00 until 10:01", "6: 10:00 to 10:00:50");
        check("calls every 7s from 10:00 until 10:00:30", "5: 10:00 to 10:00:28");
        check("2 calls every 1h from 10:00 on days 2-4", "6: day 2 10:00 to day 4 11:00");
        check("calls every 1h from 23:00 until 24:00 on days 1-2", "2: 23:00 to day 2 23:00");
        let (row, days) = (parse("2 calls of a from 10:00 on days 1-2 with user=u{i}"), days());
        let numbered: Vec<_> = row.times().map(|(i, at)| format!("{i} {}", days.name(at))).collect();
        assert_eq!(numbered, ["1 10:00", "2 10:00", "3 day 2 10:00", "4 day 2 10:00"]);
    }

    #[test]
    fn hours_are_those_of_the_zone() {
        let zone = crate::yaml::parse("t", "a: America/New_York", &mut Default::default());
        let zone = crate::calendar::zone(zone.unwrap().at("a")).unwrap();
        let days = Days { zone, start: jiff::civil::date(2026, 3, 7) };
        // The clocks go forward in the night to day 2.
        let row = Row::parse("1 call from 10:00 on days 1-2", &days).unwrap();
        let times: Vec<String> = row.times().map(|(_, at)| at.to_string()).collect();
        assert_eq!(times, ["2026-03-07T15:00:00Z", "2026-03-08T14:00:00Z"]);
    }

    #[test]
    fn lines_say_what_rows_have() {
        let row = parse(
            r#"2 calls of "a b" with org="Pied Piper" cost=0.02 latency=1.5s tokens=3 input=1 output=2 count=7 quality=-1.5 committed 65s late"#,
        );
        let values: Vec<String> = row.values.iter().map(|(name, value)| format!("{name}={}", value.fill(1))).collect();
        assert_eq!(values, ["model=a b", "org=Pied Piper", "quality=-1.5"]);
        assert_eq!((row.cost, row.latency, row.tokens, row.count), (Some(20_000_000), Some(1_500_000), [1, 2, 3], 7));
        assert_eq!(row.late, Span::secs(65));
        let row = parse("1 call with cost=unknown latency=1m30s user=u{i}-{i%3}x empty=");
        assert_eq!((row.cost, row.latency), (None, Some(90_000_000)));
        let filled: Vec<String> = (1..=4).map(|i| row.values[0].1.fill(i)).collect();
        assert_eq!(filled, ["u1-1x", "u2-2x", "u3-0x", "u4-1x"]);
        assert_eq!(row.values[1].1.fill(1), "");
    }

    #[test]
    fn a_share_fails_evenly() {
        let failing = |line: &str| {
            let row = parse(line);
            (1..=row.len()).filter(|i| row.fails(*i)).collect::<Vec<_>>()
        };
        assert_eq!(failing("100 calls with failures=5%"), [20, 40, 60, 80, 100]);
        assert_eq!(failing("6 calls with failures=0.5"), [2, 4, 6]);
        assert_eq!(failing("3 calls with failures=0%"), [0u64; 0]);
        assert_eq!(failing("3 calls with failures=100%"), [1, 2, 3]);
        assert_eq!(failing("2 failures"), [1, 2]);
        assert_eq!(failing("1000 calls with failures=33.3%").len(), 333);
    }

    #[test]
    fn faults_point_at_their_word() {
        for (line, word, message) in [
            ("", "", "expected a number and what the rows are, but the line ends"),
            ("12", "2", "expected what the rows are: calls, failures, abandoned or errors, but the line ends"),
            ("0 calls", "0", "expected a whole number from 1, found `0`"),
            ("1.5 calls", "1.5", "expected a whole number from 1, found `1.5`"),
            (
                "99999999999999999999 calls",
                "99999999999999999999",
                "expected a whole number from 1, found `99999999999999999999`",
            ),
            ("12 fails", "fails", "`fails` means nothing here"),
            ("calls of a", "a", "expected `until`, since it begins with no number, but the line ends"),
            ("calls until 10:00", "0", "expected `every`, but the line ends"),
            ("3 calls every 1m until 10:00", "0", "expected either a number of rows or `until`, but the line ends"),
            ("3 calls of", "f", "expected the name of a model, but the line ends"),
            ("3 calls of a of b", "of", "`of` is said twice"),
            ("3 calls from 10:00 at 11:00", "at", "`at` is said twice"),
            ("3 calls every day", "day", "expected a duration, found `day`"),
            ("3 calls every 0s", "0s", "expected a duration longer than 0s"),
            ("3 calls every 1m spread over 1h", "spread", "rows come `every` span or are `spread over` one, not both"),
            ("3 calls spread 1h", "1h", "expected `over`, found `1h`"),
            ("3 calls on monday", "monday", "expected `days`, found `monday`"),
            ("3 calls on days 3-1", "3-1", "expected days such as 1-14, found `3-1`"),
            ("3 calls committed 65s", "s", "expected `late`, but the line ends"),
            ("3 calls committed 1h late", "1h", "at most 15m late"),
            ("3 calls with", "h", "expected `key=value`, but the line ends"),
            ("3 calls with org", "org", "expected `key=value`, found `org`"),
            ("3 calls with a-b=c", "a-b=c", "expected `key=value`, found `a-b=c`"),
            ("3 calls with cost=-1", "-1", "cost: expected US dollars or `unknown`, found `-1`"),
            ("3 calls with cost=nan", "nan", "cost: expected US dollars or `unknown`, found `nan`"),
            ("3 calls with latency=5", "5", "latency: expected a duration or `unknown`, found `5`"),
            ("3 calls with tokens=1.5", "1.5", "tokens: expected a number of tokens, found `1.5`"),
            ("3 calls with count=0", "0", "count: expected a whole number from 1, found `0`"),
            ("3 calls with failures=101%", "101%", "failures: expected a share from 0% to 100%, found `101%`"),
            ("3 failures with failures=5%", "failures=5%", "only `calls` fail in part"),
            ("3 errors with cost=1", "cost=1", "an error has no cost"),
            ("3 calls with org=\"a", "org=\"a", "a quote without the other one around the value"),
            ("3 calls with user=u{n}", "{n}", "only the number of the row can stand in braces"),
            ("3 calls with user=u{i%0}", "{i%0}", "only the number of the row can stand in braces"),
            ("3 calls of a with model=b", "model=b", "`model` is said twice"),
            ("3 calls with org=a every", "y", "expected a duration, but the line ends"),
            ("3000000 calls every 1s", "s", "expected at most 2000000 rows, but the line ends"),
        ] {
            let fault = Row::parse(line, &days()).unwrap_err();
            assert_eq!((&line[fault.at], fault.message.as_str()), (word, message), "{line}");
            assert!(!fault.help.is_empty(), "{line}");
        }
    }

    proptest::proptest! {
        /// Whatever is written, there is a row or a fault that points at something.
        #[test]
        fn no_line_is_too_odd(words in proptest::collection::vec(proptest::sample::select(vec![
            "12", "0", "calls", "failures", "errors", "of", "gpt-4o", "\"a b\"", "\"", "every", "30s", "99999y", "from", "at", "day", "2", "10:00",
            "24:00", "9999-12-31", "-9999-01-01", "until", "on", "days", "1-14", "1000", "committed", "late", "with", "cost=0.1", "user=u{i%3}", "é=é",
            "x={", "failures=5%", "spread", "over", "2026-01-05T10:00:00Z",
        ]), 0..12)) {
            let line = words.join(" ");
            match Row::parse(&line, &days()) {
                Ok(row) => assert_eq!(row.times().take(3).count() as u64, row.len().min(3)),
                Err(fault) => assert!(line.get(fault.at.clone()).is_some(), "{line}: {fault:?}"),
            }
        }
    }
}
