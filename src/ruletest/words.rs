//! The words of a line, each with its place, and the numbers, spans and times that they stand for.

use std::ops::Range;

use jiff::civil::{self, Date, DateTime};

use crate::calendar::Zone;
use crate::diag::nearest;
use crate::time::{Span, Time};

/// What is wrong with a line: which bytes of it, what was expected there, and how it is written.
#[derive(Clone, Debug, PartialEq)]
pub struct Fault {
    /// Bytes of the line.
    pub at: Range<usize>,
    /// What is wrong.
    pub message: String,
    /// What to write.
    pub help: String,
}

/// A word and its bytes.
#[derive(Clone, Debug)]
pub struct Word<'a> {
    /// As it is written.
    pub text: &'a str,
    /// Where in the line.
    pub at: Range<usize>,
}

impl Word<'_> {
    /// The word is at fault.
    pub fn fault(&self, message: impl Into<String>, help: impl Into<String>) -> Fault {
        Fault { at: self.at.clone(), message: message.into(), help: help.into() }
    }
}

/// A line while it is read.
#[derive(Debug)]
pub struct Words<'a> {
    line: &'a str,
    words: Vec<Word<'a>>,
    next: usize,
}

impl<'a> Words<'a> {
    /// The words between white space; what is between double quotes is no white space.
    pub fn new(line: &'a str) -> Words<'a> {
        let (mut words, mut begin, mut quoted) = (Vec::new(), None, false);
        for (at, character) in line.char_indices() {
            quoted ^= character == '"';
            match (begin, character.is_whitespace() && !quoted) {
                (None, false) => begin = Some(at),
                (Some(from), true) => {
                    words.push(Word { text: &line[from..at], at: from..at });
                    begin = None;
                }
                _ => {}
            }
        }
        words.extend(begin.map(|from| Word { text: &line[from..], at: from..line.len() }));
        Words { line, words, next: 0 }
    }

    /// The next word, which stays the next one.
    pub fn peek(&self) -> Option<&Word<'a>> {
        self.words.get(self.next)
    }

    /// The next word.
    pub fn take(&mut self) -> Option<Word<'a>> {
        let word = self.words.get(self.next).cloned();
        self.next += usize::from(word.is_some());
        word
    }

    /// The next word, which has to be there.
    pub fn need(&mut self, what: &str, help: &str) -> Result<Word<'a>, Fault> {
        self.take().ok_or_else(|| self.ends(what, help))
    }

    /// The next word, which has to be this one.
    pub fn need_word(&mut self, text: &str, help: &str) -> Result<Word<'a>, Fault> {
        let word = self.need(&format!("`{text}`"), help)?;
        if word.text == text { Ok(word) } else { Err(word.fault(format!("expected `{text}`, found `{}`", word.text), help)) }
    }

    /// The line ends where more is expected.
    pub fn ends(&self, what: &str, help: &str) -> Fault {
        let end = self.line.trim_end().len();
        let last = self.line[..end].char_indices().next_back().map_or(0, |(at, _)| at);
        Fault { at: last..end, message: format!("expected {what}, but the line ends"), help: help.to_owned() }
    }

    /// A span such as `30s`.
    pub fn span(&mut self, help: &str) -> Result<Span, Fault> {
        let word = self.need("a duration", help)?;
        match Span::parse(word.text) {
            Ok(span) if span > Span::ZERO => Ok(span),
            Ok(_) => Err(word.fault("expected a duration longer than 0s", help)),
            Err(_) => Err(word.fault(format!("expected a duration, found `{}`", word.text), help)),
        }
    }

    /// A time such as `10:00`, `day 2 10:00` or `2026-01-05T10:00:00Z`.
    pub fn when(&mut self) -> Result<When, Fault> {
        let first = self.need("a time", WHEN)?;
        let no_time = |word: &Word<'_>| word.fault(format!("expected a time, found `{}`", word.text), WHEN);
        if first.text == "day" {
            let day = self.need("the number of a day", WHEN)?;
            let number = day.text.parse().ok().filter(|n| (1..=MAX_DAY).contains(n));
            let Some(number) = number else {
                return Err(day.fault(format!("expected a day from 1 to {MAX_DAY}, found `{}`", day.text), WHEN));
            };
            let clock = match self.peek().map(|word| (clock(word.text), looks_like_clock(word.text))) {
                Some((Some(clock), _)) => {
                    self.take();
                    clock
                }
                Some((None, true)) => return Err(no_time(&self.need("a time", WHEN)?)),
                _ => Clock::default(),
            };
            return Ok(When::Day(Some(number), clock));
        }
        if let Some(clock) = clock(first.text) {
            return Ok(When::Day(None, clock));
        }
        if let Ok(at) = first.text.parse::<jiff::Timestamp>() {
            return Ok(When::At(Time(at.as_microsecond())));
        }
        if let Ok(date) = first.text.parse::<Date>().or_else(|_| first.text.parse::<DateTime>().map(DateTime::date)) {
            if first.text.len() > "2026-01-05".len() {
                return first.text.parse().map(When::Civil).map_err(|_| no_time(&first));
            }
            let time = self.peek().and_then(|word| clock(word.text));
            self.next += usize::from(time.is_some());
            let Clock { days, time } = time.unwrap_or_default();
            let date = date.checked_add(jiff::Span::new().days(days)).map_err(|_| no_time(&first))?;
            return Ok(When::Civil(date.to_datetime(time)));
        }
        Err(no_time(&first))
    }

    /// `1-14`
    pub fn days(&mut self) -> Result<(i64, i64), Fault> {
        let word = self.need("days such as 1-14", DAYS)?;
        let (first, last) = word.text.split_once('-').unwrap_or((word.text, word.text));
        match (first.parse(), last.parse()) {
            (Ok(first), Ok(last)) if 1 <= first && first <= last && last <= MAX_DAY => Ok((first, last)),
            _ => Err(word.fault(format!("expected days such as 1-14, found `{}`", word.text), DAYS)),
        }
    }

    /// The next word is none of those that may stand here.
    pub fn unknown(&self, word: &Word<'_>, known: &[&str], example: &str) -> Fault {
        let near = nearest(word.text, known.iter().copied());
        let help = near.map_or_else(|| format!("known here: {}.", known.join(", ")), |near| format!("did you mean `{near}`?"));
        word.fault(format!("`{}` means nothing here", word.text), format!("{help} Such as: {example}"))
    }
}

/// More days than any test looks at.
const MAX_DAY: i64 = 1_000;
/// How a time is written.
pub const WHEN: &str = "a time is 10:00, 10:00:30, day 2 10:00, or 2026-01-05T10:00:00Z";
const DAYS: &str = "5 calls of gpt-4o every 1m from 10:00 on days 1-14";

/// A time of day; 24:00 is midnight of the day after.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Clock {
    days: i64,
    time: civil::Time,
}

/// A time as it is written.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum When {
    /// On a day of the test, the first one unless it is named.
    Day(Option<i64>, Clock),
    /// What calendar and clock show in the zone of the test.
    Civil(DateTime),
    /// With its offset.
    At(Time),
}

fn looks_like_clock(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_digit()) && text.contains(':')
}

fn clock(text: &str) -> Option<Clock> {
    let parts: Vec<&str> = text.split(':').collect();
    let whole = |text: &str, digits: usize| (text.len() == digits).then(|| text.parse::<i8>().ok()).flatten();
    let (hours, rest) = parts.split_first()?;
    let hour = if hours.len() == 1 { whole(hours, 1)? } else { whole(hours, 2)? };
    let (minute, second, millis) = match rest {
        [minute] => (whole(minute, 2)?, 0, 0),
        [minute, seconds] => {
            let (second, millis) = seconds.split_once('.').unwrap_or((seconds, "000"));
            (whole(minute, 2)?, whole(second, 2)?, (millis.len() == 3).then(|| millis.parse::<u16>().ok()).flatten()?)
        }
        _ => return None,
    };
    if (hour, minute, second, millis) == (24, 0, 0, 0) {
        return Some(Clock { days: 1, time: civil::Time::midnight() });
    }
    let time = civil::Time::new(hour, minute, second, i32::from(millis) * 1_000_000).ok()?;
    Some(Clock { days: 0, time })
}

/// The days of a test: the first one is `start`, in a zone.
#[derive(Clone, Debug)]
pub struct Days {
    /// Whose days and hours they are.
    pub zone: Zone,
    /// Day 1.
    pub start: Date,
}

impl Days {
    /// The instant that is meant; `day` is the one where none is named.
    pub fn instant(&self, when: When, day: i64) -> Time {
        match when {
            When::At(time) => time,
            When::Civil(civil) => self.zone.instant(civil),
            When::Day(named, Clock { days, time }) => {
                let days = named.unwrap_or(day) - 1 + days;
                let date = self.start.checked_add(jiff::Span::new().days(days)).unwrap_or(Date::MAX);
                self.zone.instant(date.to_datetime(time))
            }
        }
    }

    /// Reads a time that stands alone.
    pub fn parse(&self, text: &str) -> Result<Time, Fault> {
        let mut words = Words::new(text);
        let when = words.when()?;
        match words.take() {
            None => Ok(self.instant(when, 1)),
            Some(more) => Err(more.fault(format!("the time ends before `{}`", more.text), WHEN)),
        }
    }

    /// As a test would write it: `10:06`, `day 2 10:06:30`.
    pub fn name(&self, at: Time) -> String {
        let civil = self.zone.civil(at);
        let days = (civil.date() - self.start).get_days();
        let seconds = if civil.second() != 0 { format!(":{:02}", civil.second()) } else { String::new() };
        let day = if days == 0 { String::new() } else { format!("day {} ", days + 1) };
        format!("{day}{:02}:{:02}{seconds}", civil.hour(), civil.minute())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn days(zone: &str) -> Days {
        let zone = crate::calendar::zone(&node(zone)).unwrap();
        Days { zone, start: civil::date(2026, 1, 5) }
    }

    fn node(text: &str) -> crate::yaml::Node {
        crate::yaml::parse("t", &format!("a: {text}"), &mut Default::default()).unwrap().at("a").clone()
    }

    #[test]
    fn times_are_of_a_day_or_full() {
        for (text, at, name) in [
            ("10:00", "2026-01-05T10:00:00Z", "10:00"),
            ("9:05", "2026-01-05T09:05:00Z", "09:05"),
            ("10:00:30", "2026-01-05T10:00:30Z", "10:00:30"),
            ("10:00:30.250", "2026-01-05T10:00:30.25Z", "10:00:30"),
            ("24:00", "2026-01-06T00:00:00Z", "day 2 00:00"),
            ("day 2 10:00", "2026-01-06T10:00:00Z", "day 2 10:00"),
            ("day 29", "2026-02-02T00:00:00Z", "day 29 00:00"),
            ("2026-01-07T10:00:00+01:00", "2026-01-07T09:00:00Z", "day 3 09:00"),
            ("2026-01-07T10:00:00", "2026-01-07T10:00:00Z", "day 3 10:00"),
            ("2026-01-07 10:00", "2026-01-07T10:00:00Z", "day 3 10:00"),
            ("2026-01-07", "2026-01-07T00:00:00Z", "day 3 00:00"),
        ] {
            let found = days("UTC").parse(text).unwrap();
            assert_eq!((found.to_string().as_str(), days("UTC").name(found).as_str()), (at, name), "{text}");
        }
        let found = days("America/Los_Angeles").parse("day 2 10:00").unwrap();
        assert_eq!(
            (found.to_string().as_str(), days("America/Los_Angeles").name(found).as_str()),
            ("2026-01-06T18:00:00Z", "day 2 10:00")
        );
    }

    #[test]
    fn no_times_are_told_with_their_place() {
        for (text, at, message) in [
            ("ten", 0..3, "expected a time, found `ten`"),
            ("25:00", 0..5, "expected a time, found `25:00`"),
            ("10:60", 0..5, "expected a time, found `10:60`"),
            ("day", 2..3, "expected the number of a day, but the line ends"),
            ("day x", 4..5, "expected a day from 1 to 1000, found `x`"),
            ("day 0 10:00", 4..5, "expected a day from 1 to 1000, found `0`"),
            ("day 2 10:0", 6..10, "expected a time, found `10:0`"),
            ("10:00 pm", 6..8, "the time ends before `pm`"),
            ("", 0..0, "expected a time, but the line ends"),
        ] {
            let fault = days("UTC").parse(text).unwrap_err();
            assert_eq!((fault.at, fault.message.as_str()), (at, message), "{text}");
        }
    }
}
