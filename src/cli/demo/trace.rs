//! A recorded trace, played from now and sped up.
//!
//! A CSV file (plain or gzip) whose first line names its columns: `started_at`, `model` and `success` must be there;
//! `completed_at, provider, request_source, operation_type, prompt_tokens, completion_tokens, total_tokens, latency_ms,
//! error_type, org_id` may; others are ignored. An empty cell is an unknown value. A line that cannot be read is reported
//! with its number and left out.
//!
//! Speeding up moves calls closer together, so there are more of them a minute than there were; how long each took stays as
//! it was recorded.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use flate2::bufread::MultiGzDecoder;

use super::chance::Chance;
use super::rows::{Rows, UsageRow};
use super::scenario::error_of;
use crate::time::{Span, Time};

/// A trace plays about this long.
pub const PLAYING_TIME: Span = Span::secs(300);

/// A file that was read.
#[derive(Clone, Debug, Default)]
pub struct Recording {
    /// Its calls at their own times, the earliest first, failed ones with their error type.
    calls: Vec<Recorded>,
    /// What could not be read.
    pub bad: Vec<BadLine>,
}

#[derive(Clone, Debug)]
struct Recorded {
    usage: UsageRow,
    error_type: Option<Arc<str>>,
}

/// A line that was left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadLine {
    /// From 1; the header is line 1.
    pub line: usize,
    /// What is wrong with it.
    pub message: String,
}

impl fmt::Display for BadLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.message)
    }
}

impl Recording {
    /// Reads a file; gzip is known by its first bytes.
    pub fn open(path: &Path) -> Result<Recording> {
        let context = || format!("cannot read the trace {}", path.display());
        let mut file = BufReader::new(File::open(path).with_context(context)?);
        let zipped = file.fill_buf().with_context(context)?.starts_with(&[0x1f, 0x8b]);
        let text: Box<dyn Read> = if zipped { Box::new(MultiGzDecoder::new(file)) } else { Box::new(file) };
        Recording::read(BufReader::new(text)).with_context(context)
    }

    /// Reads CSV text. Fails where the header lacks a column, or no line at all can be read.
    pub fn read(mut text: impl BufRead) -> Result<Recording> {
        let mut line = Vec::new();
        text.read_until(b'\n', &mut line)?;
        let columns = Columns::of(&String::from_utf8_lossy(&line))?;
        let mut recording = Recording::default();
        for number in 2.. {
            line.clear();
            if text.read_until(b'\n', &mut line)? == 0 {
                break;
            }
            let content = String::from_utf8_lossy(&line);
            let content = content.trim_end_matches(['\r', '\n']);
            if content.is_empty() {
                continue;
            }
            match columns.call(content, number as u64) {
                Ok(call) => recording.calls.push(call),
                Err(message) => recording.bad.push(BadLine { line: number, message }),
            }
        }
        let worst = recording.bad.first().map_or(String::new(), |bad| format!(": {bad}"));
        ensure!(!recording.calls.is_empty(), "no line of it is a call{worst}");
        recording.calls.sort_by_key(|call| call.usage.started_at);
        Ok(recording)
    }

    /// How many calls there are.
    pub fn len(&self) -> usize {
        self.calls.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.calls.is_empty()
    }

    /// From the first call to the last.
    pub fn length(&self) -> Span {
        let at = |call: Option<&Recorded>| call.map_or(Time(0), |call| call.usage.started_at);
        at(self.calls.last()) - at(self.calls.first())
    }

    /// The factor that makes it play in `time`; never slower than it was.
    pub fn speed_for(&self, time: Span) -> f64 {
        (self.length().as_secs_f64() / time.as_secs_f64()).max(1.0)
    }
}

/// A recording set to a start and a speed.
#[derive(Clone, Debug)]
pub struct Trace {
    /// At their new times, in the order in which they become visible.
    calls: Vec<Recorded>,
    /// When the last row is visible.
    pub end: Time,
}

impl Trace {
    /// The first call begins at `start`; each later one `speed` (above 0) times sooner after it than it did.
    pub fn new(recording: Recording, start: Time, speed: f64) -> Trace {
        let first = recording.calls.first().map_or(start, |call| call.usage.started_at);
        let mut calls = recording.calls;
        for call in &mut calls {
            let took = call.usage.visible_at() - call.usage.started_at;
            let after = (call.usage.started_at - first).0 as f64 / speed;
            call.usage.started_at = start + Span(after as i64);
            call.usage.completed_at = call.usage.completed_at.map(|_| call.usage.started_at + took);
        }
        calls.sort_by_key(|call| call.usage.visible_at());
        let end = calls.last().map_or(start, |call| call.usage.visible_at());
        Trace { calls, end }
    }

    /// The rows that become visible in [from, to).
    pub fn rows(&self, from: Time, to: Time) -> Rows {
        let place = |at: Time| self.calls.partition_point(|call| call.usage.visible_at() < at);
        let (first, last) = (place(from), place(to));
        let mut rows = Rows::default();
        for call in self.calls.get(first..last).unwrap_or_default() {
            if !call.usage.success {
                let id = format!("e{}", call.usage.id.get(1..).unwrap_or_default());
                let message = call.error_type.as_deref().unwrap_or_default().to_owned();
                rows.errors.push(error_of(&call.usage, id, call.error_type.clone(), message));
            }
            rows.usage.push(call.usage.clone());
        }
        rows
    }
}

/// Where each column stands.
struct Columns(BTreeMap<String, usize>);

impl Columns {
    fn of(header: &str) -> Result<Columns> {
        let header = header.trim_start_matches('\u{feff}').trim_end_matches(['\r', '\n']);
        let cells = cells(header).map_err(anyhow::Error::msg)?;
        let columns: BTreeMap<_, _> =
            cells.into_iter().enumerate().map(|(place, name)| (name.trim().to_lowercase(), place)).collect();
        let missing = ["started_at", "model", "success"].into_iter().find(|name| !columns.contains_key(*name));
        ensure!(missing.is_none(), "its first line must name the columns; `{}` is missing", missing.unwrap_or_default());
        Ok(Columns(columns))
    }

    fn call(&self, line: &str, number: u64) -> Result<Recorded, String> {
        let cells = cells(line)?;
        let width = self.0.values().max().map_or(0, |last| last + 1);
        if cells.len() < width {
            return Err(format!("{} cells where the header has {width}", cells.len()));
        }
        let row = Line { columns: self, cells };
        let latency_ms = row.number("latency_ms")?;
        let started_at = row.time("started_at")?.ok_or("started_at is empty")?;
        let after_latency = latency_ms.map(|ms| started_at + Span((ms * 1e3) as i64));
        let completed_at = row.time("completed_at")?.or(after_latency);
        if completed_at.is_some_and(|at| at < started_at) {
            return Err("completed_at is before started_at".to_owned());
        }
        let (prompt_tokens, completion_tokens) = (row.count("prompt_tokens")?, row.count("completion_tokens")?);
        let usage = UsageRow {
            id: Chance::at(number, 0).uuid(),
            started_at,
            completed_at,
            provider: row.name("provider"),
            model: row.name("model"),
            source: row.name("request_source"),
            operation: row.name("operation_type"),
            org: row.text("org_id").map(Arc::from),
            prompt_tokens,
            completion_tokens,
            total_tokens: row.count("total_tokens")?,
            latency_ms: latency_ms.map(|ms| ms.round() as i64),
            success: row.success()?,
            cost_usd: None,
        };
        Ok(Recorded { usage, error_type: row.text("error_type").map(Arc::from) })
    }
}

/// One line with its columns.
struct Line<'a> {
    columns: &'a Columns,
    cells: Vec<String>,
}

impl Line<'_> {
    fn text(&self, column: &str) -> Option<&str> {
        let cell = self.cells.get(*self.columns.0.get(column)?)?.trim();
        (!cell.is_empty()).then_some(cell)
    }

    fn name(&self, column: &str) -> Arc<str> {
        self.text(column).unwrap_or_default().into()
    }

    fn number(&self, column: &str) -> Result<Option<f64>, String> {
        let Some(text) = self.text(column) else { return Ok(None) };
        let number = text.parse().ok().filter(|n: &f64| n.is_finite() && (0.0..1e12).contains(n));
        number.map(Some).ok_or_else(|| format!("{column}: `{text}` is no number from 0"))
    }

    fn count(&self, column: &str) -> Result<Option<i64>, String> {
        let number = self.number(column)?;
        number
            .map(|n| if n.fract() == 0.0 { Ok(n as i64) } else { Err(format!("{column}: `{n}` is no whole number")) })
            .transpose()
    }

    fn time(&self, column: &str) -> Result<Option<Time>, String> {
        self.text(column).map(|text| Time::parse(text).map_err(|e| format!("{column}: {e}"))).transpose()
    }

    fn success(&self) -> Result<bool, String> {
        match self.text("success").unwrap_or_default().to_ascii_lowercase().as_str() {
            "true" | "t" | "1" => Ok(true),
            "false" | "f" | "0" => Ok(false),
            other => Err(format!("success: `{other}` is neither true nor false")),
        }
    }
}

/// The cells of one line (RFC 4180, without line breaks in quotes).
fn cells(line: &str) -> Result<Vec<String>, String> {
    let (mut cells, mut rest) = (Vec::new(), line);
    loop {
        let Some(quoted) = rest.strip_prefix('"') else {
            let (cell, tail) = rest.split_once(',').map_or((rest, None), |(cell, tail)| (cell, Some(tail)));
            cells.push(cell.to_owned());
            match tail {
                Some(tail) => rest = tail,
                None => return Ok(cells),
            }
            continue;
        };
        let (cell, tail) = quoted_cell(quoted)?;
        cells.push(cell);
        match tail.strip_prefix(',') {
            Some(tail) => rest = tail,
            None if tail.is_empty() => return Ok(cells),
            None => return Err("text after a closing quote".to_owned()),
        }
    }
}

/// The cell whose opening quote was just read, and what follows its closing one; `""` is a quote.
fn quoted_cell(text: &str) -> Result<(String, &str), String> {
    let (mut cell, mut rest) = (String::new(), text);
    loop {
        let (before, after) = rest.split_once('"').ok_or("a quote is never closed")?;
        cell += before;
        match after.strip_prefix('"') {
            Some(after) => {
                cell.push('"');
                rest = after;
            }
            None => return Ok((cell, after)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    const CSV: &str = "\
started_at,completed_at,provider,model,request_source,operation_type,prompt_tokens,completion_tokens,total_tokens,latency_ms,success,error_type,org_id
2023-12-19T00:01:00Z,2023-12-19T00:01:02.5Z,anyscale,llama-2-13b,llmperf,chat,550,151,701,2500.4,true,,
2023-12-19T00:00:00Z,,azure,gpt,conv,chat,374,44,418,,true,,
2023-12-19T00:10:00Z,2023-12-19T00:10:01Z,together,\"llama, 2 \"\"7b\"\"\",llmperf,chat,550,,,1000,false,429,Acme
";

    fn start() -> Time {
        Time::from_secs(1_763_700_000)
    }

    #[test]
    fn a_trace_is_shifted_and_sped_up() {
        let recording = Recording::read(CSV.as_bytes()).unwrap();
        assert_eq!((recording.len(), recording.length(), recording.bad.len()), (3, Span::secs(600), 0));
        assert_eq!((recording.speed_for(Span::secs(300)), recording.speed_for(Span::secs(6_000))), (2.0, 1.0));
        let trace = Trace::new(recording, start(), 2.0);
        let all = trace.rows(start(), start() + Span::secs(1_000));
        let at: Vec<_> =
            all.usage.iter().map(|row| (row.started_at - start(), row.completed_at.map(|t| t - row.started_at))).collect();
        let expected = [(Span::ZERO, None), (Span::secs(30), Some(Span::millis(2_500))), (Span::secs(300), Some(Span::secs(1)))];
        assert_eq!(at, expected);
        assert_eq!(trace.end, start() + Span::secs(301));
        let last = &all.usage[2];
        assert_eq!(
            (&*last.model, last.org.as_deref(), last.completion_tokens, last.success),
            ("llama, 2 \"7b\"", Some("Acme"), None, false)
        );
        assert_eq!((all.errors.len(), all.errors[0].error_type.as_deref()), (1, Some("429")));
        let (early, late) = (trace.rows(start(), start() + Span::secs(32)), trace.rows(start() + Span::secs(32), trace.end));
        assert_eq!((early.usage.len(), late.usage.len()), (1, 1));
        assert_eq!(trace.rows(trace.end, trace.end + Span(1)).usage.len(), 1);
        assert_eq!(trace.rows(trace.end, start()).usage.len(), 0);
    }

    #[test]
    fn bad_lines_are_told_by_number_and_left_out() {
        let csv = "model,success,started_at,extra,prompt_tokens\r\n\
            a,true,2023-12-19 00:00:00,x,1\r\n\
            a,maybe,2023-12-19 00:00:00,x,1\r\n\
            a,true,yesterday,x,1\r\n\
            \r\n\
            a,true\r\n\
            a,,2023-12-19 00:00:00,x,1\r\n\
            a,true,2023-12-19 00:00:00,x,1.5\r\n\
            a,true,2023-12-19 00:00:00,x,-1\r\n\
            \"a,true,2023-12-19 00:00:00,x,1\r\n\
            a,false,2023-12-19 00:00:01,x,\r\n";
        let recording = Recording::read(csv.as_bytes()).unwrap();
        assert_eq!(recording.len(), 2);
        let told: Vec<_> = recording.bad.iter().map(BadLine::to_string).collect();
        assert_eq!(
            told,
            [
                "line 3: success: `maybe` is neither true nor false",
                "line 4: started_at: `yesterday` is no time; write it as 2026-11-20T20:00:00Z",
                "line 6: 2 cells where the header has 5",
                "line 7: success: `` is neither true nor false",
                "line 8: prompt_tokens: `1.5` is no whole number",
                "line 9: prompt_tokens: `-1` is no number from 0",
                "line 10: a quote is never closed",
            ]
        );
    }

    #[test]
    fn a_file_that_is_no_trace_says_why() {
        let fault = |text: &str| format!("{:#}", Recording::read(text.as_bytes()).unwrap_err());
        assert!(fault("a,b\n1,2\n").contains("`started_at` is missing"));
        assert!(fault("started_at,model,success\nx,y,true\n").contains("no line of it is a call: line 2: started_at"));
        assert!(fault("").contains("missing"));
    }

    #[test]
    fn gzip_is_read_too() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        let mut zip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        zip.write_all(CSV.as_bytes()).unwrap();
        file.write_all(&zip.finish().unwrap()).unwrap();
        assert_eq!(Recording::open(file.path()).unwrap().len(), 3);
        assert!(format!("{:#}", Recording::open(Path::new("/no/such")).unwrap_err()).contains("cannot read the trace /no/such"));
    }

    /// The public traces that development has (not in the repository): `MODELWATCH_TRACES` or ../shared/data.
    #[test]
    fn real_traces_are_read_whole() {
        let given = std::env::var_os("MODELWATCH_TRACES").map(std::path::PathBuf::from);
        let directory = given.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data"));
        for (file, calls, failures) in [("azure.csv.gz", 28_185, 0), ("llmperf.csv.gz", 2_845, 539)] {
            let path = directory.join(file);
            if !path.exists() {
                eprintln!("skipped: {} is missing", path.display());
                continue;
            }
            let recording = Recording::open(&path).unwrap();
            assert_eq!((recording.len(), &*recording.bad), (calls, &[][..]), "{file}");
            let speed = recording.speed_for(PLAYING_TIME);
            let trace = Trace::new(recording, start(), speed);
            assert!(trace.end < start() + PLAYING_TIME + Span::secs(60), "{file} ends at {}", trace.end);
            let (mut usage, mut errors, mut from) = (0, 0, start());
            while from <= trace.end {
                let rows = trace.rows(from, from + Span::millis(500));
                (usage, errors, from) = (usage + rows.usage.len(), errors + rows.errors.len(), from + Span::millis(500));
            }
            assert_eq!((usage, errors), (calls, failures), "{file}");
        }
    }
}
