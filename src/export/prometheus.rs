//! Exposition: Prometheus' text 0.0.4 and OpenMetrics 1.0 by negotiation.
//!
//! The product's series have their own encoder, since there may be hundreds of thousands: their label text is kept
//! rendered, so that a line costs a copy and a number. What is about ourselves goes through the library.

use std::collections::BTreeMap;
use std::fmt::Write;

use crate::alert::{Alert, State};
use crate::export::totals::{Calls, LATENCY_BOUNDS, Series, TableTotals};
use crate::labels::escape;

/// How a scrape wants it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// `text/plain; version=0.0.4`
    Text,
    /// `application/openmetrics-text; version=1.0.0`
    OpenMetrics,
}

impl Format {
    /// What an `Accept` header prefers.
    pub fn negotiate(accept: &str) -> Format {
        let wanted = |media: &str| {
            let ranges = accept.split(',').map(|range| range.split(';').map(str::trim));
            let asked = ranges.filter_map(|mut parts| (parts.next() == Some(media)).then(|| quality(parts)));
            asked.fold(0.0, f64::max)
        };
        let open = wanted("application/openmetrics-text");
        if open > 0.0 && open >= wanted("text/plain") { Format::OpenMetrics } else { Format::Text }
    }

    /// The `Content-Type` of the answer.
    pub fn content_type(self) -> &'static str {
        match self {
            Format::Text => "text/plain; version=0.0.4; charset=utf-8",
            Format::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// The `q` among the parameters of a media range; 1 where there is none.
fn quality<'a>(mut parameters: impl Iterator<Item = &'a str>) -> f64 {
    parameters.find_map(|parameter| parameter.strip_prefix("q=")?.parse().ok()).unwrap_or(1.0)
}

/// Writes one exposition.
#[derive(Debug)]
pub struct Encoder {
    format: Format,
    out: String,
}

impl Encoder {
    /// With room for as much as the last one took.
    pub fn new(format: Format, capacity: usize) -> Encoder {
        Encoder { format, out: String::with_capacity(capacity) }
    }

    fn family(&mut self, name: &str, kind: &str, help: &str) {
        // OpenMetrics names a counter's family without the suffix of its samples.
        let name = if self.format == Format::OpenMetrics && kind == "counter" { name.trim_end_matches("_total") } else { name };
        let _ = write!(self.out, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
    }

    /// One sample: name, labels without their closing brace, further labels, a whole number.
    fn line(&mut self, name: &str, labels: &str, more: &str, value: u64) {
        self.start(name, labels, more);
        self.out.push_str(itoa::Buffer::new().format(value));
        self.out.push('\n');
    }

    /// The same for a number of parts of a whole: `value / parts`, written exactly.
    fn fraction(&mut self, name: &str, labels: &str, more: &str, value: i64, parts: i64) {
        self.start(name, labels, more);
        let (whole, rest) = (value.unsigned_abs() / parts as u64, value.unsigned_abs() % parts as u64);
        let width = parts.ilog10() as usize;
        let sign = if value < 0 { "-" } else { "" };
        let _ = if rest == 0 { write!(self.out, "{sign}{whole}") } else { write!(self.out, "{sign}{whole}.{rest:0width$}") };
        self.out.push('\n');
    }

    fn start(&mut self, name: &str, labels: &str, more: &str) {
        self.out.push_str(name);
        self.out.push_str(labels);
        self.out.push_str(more);
        self.out.push_str("} ");
    }

    /// The series of all tables.
    pub fn totals(&mut self, tables: &[TableTotals]) {
        self.requests(tables);
        self.tokens(tables);
        self.family("ai_cost_usd_total", "counter", "Cost of calls in US dollars, where a price was known");
        self.each_call(tables, |out, labels, calls| out.fraction("ai_cost_usd_total", labels, "", calls.cost, 1_000_000_000));
        self.latencies(tables);
        self.family("ai_errors_total", "counter", "Records of error tables; failed calls where a source has none");
        // A combination of labels without a failure is no type of error.
        for (labels, count) in tables.iter().flat_map(|table| table.errors.iter()).filter(|(_, count)| **count > 0) {
            self.line("ai_errors_total", labels, "", *count);
        }
        self.family("ai_failure_run", "gauge", "Failed calls since the last success");
        self.each_call(tables, |out, labels, calls| out.line("ai_failure_run", labels, "", calls.run));
        self.family("ai_last_event_timestamp_seconds", "gauge", "Time of the newest call");
        self.each_call(tables, |out, labels, calls| {
            out.fraction("ai_last_event_timestamp_seconds", labels, "", calls.last.0, 1_000_000)
        });
    }

    fn each_call(&mut self, tables: &[TableTotals], mut line: impl FnMut(&mut Encoder, &str, &Calls)) {
        let series = tables.iter().map(|table| &table.calls).flat_map(Series::iter);
        series.for_each(|(labels, calls)| line(self, labels, calls));
    }

    fn requests(&mut self, tables: &[TableTotals]) {
        const NAME: &str = "ai_requests_total";
        self.family(NAME, "counter", "Finished calls by outcome");
        self.each_call(tables, |out, labels, calls| {
            out.line(NAME, labels, ",outcome=\"success\"", calls.success);
            out.line(NAME, labels, ",outcome=\"failure\"", calls.failure);
            out.line(NAME, labels, ",outcome=\"abandoned\"", calls.abandoned);
        });
    }

    fn tokens(&mut self, tables: &[TableTotals]) {
        const NAME: &str = "ai_tokens_total";
        self.family(NAME, "counter", "Tokens by type; unspecified where only their total is known");
        self.each_call(tables, |out, labels, calls| {
            out.line(NAME, labels, ",token_type=\"input\"", calls.input_tokens);
            out.line(NAME, labels, ",token_type=\"output\"", calls.output_tokens);
            if calls.unspecified_tokens > 0 {
                out.line(NAME, labels, ",token_type=\"unspecified\"", calls.unspecified_tokens);
            }
        });
    }

    fn latencies(&mut self, tables: &[TableTotals]) {
        self.family("ai_request_duration_seconds", "histogram", "Duration of calls");
        let bounds: Vec<String> = LATENCY_BOUNDS.iter().map(|bound| format!(",le=\"{:?}\"", *bound as f64 / 1e6)).collect();
        self.each_call(tables, |out, labels, calls| {
            let mut cumulative = 0;
            for (bound, count) in bounds.iter().map(String::as_str).chain([",le=\"+Inf\""]).zip(calls.latency) {
                cumulative = count.saturating_add(cumulative);
                out.line("ai_request_duration_seconds_bucket", labels, bound, cumulative);
            }
            out.fraction("ai_request_duration_seconds_sum", labels, "", calls.latency_sum, 1_000_000);
            out.line("ai_request_duration_seconds_count", labels, "", cumulative);
        });
    }

    /// What we know of reading the tables; counted with the rows, so that it survives a restart as they do.
    pub fn tables(&mut self, tables: &[TableTotals]) {
        type Value = fn(&TableTotals) -> u64;
        let families: [(&str, &str, Value, &str); 9] = [
            ("modelwatch_rows_read_total", "counter", |t| t.rows, "Rows that the database sent"),
            ("modelwatch_rows_late_total", "counter", |t| t.late, "Calls found by the repair pass, later than the lateness"),
            ("modelwatch_rows_future_total", "counter", |t| t.future, "Rows dated after the database's now"),
            (
                "modelwatch_rows_unreadable_total",
                "counter",
                |t| t.unreadable.rows,
                "Finished rows without an id or a time, which are not counted as calls; one without an id is known again by all that it holds",
            ),
            (
                "modelwatch_values_refused_total",
                "counter",
                |t| t.unreadable.values,
                "Costs, tokens, latencies and counts of rows, negative or absurd, taken as unknown",
            ),
            (
                "modelwatch_rows_finished_after_abandon_total",
                "counter",
                |t| t.finished_after_abandon,
                "Calls finished after they were counted as abandoned",
            ),
            ("modelwatch_series", "gauge", |t| (t.calls.len() + t.errors.len()) as u64, "Label sets of a table"),
            ("modelwatch_series_over_limit_total", "counter", |t| t.over_limit, "Label sets over max_series, summed as other"),
            (
                "modelwatch_shapes_over_limit_total",
                "counter",
                |t| t.unreadable.shapes,
                "Combinations of dimensions met beyond those that are kept, counted as other; met anew after a restart",
            ),
        ];
        for (name, kind, value, help) in families {
            self.family(name, kind, help);
            for table in tables {
                self.line(name, table.table_labels().trim_end_matches('}'), "", value(table));
            }
        }
    }

    /// Gauges of error tables: how many records nobody has dealt with; `labels` complete with both braces.
    pub fn unresolved(&mut self, counts: &BTreeMap<String, u64>) {
        self.family("ai_errors_unresolved", "gauge", "Error records that nobody has dealt with yet");
        for (labels, count) in counts {
            self.line("ai_errors_unresolved", labels.trim_end_matches('}'), "", *count);
        }
    }

    /// `ALERTS` and `ALERTS_FOR_STATE`, as Prometheus has them.
    pub fn alerts<'a>(&mut self, alerts: impl Iterator<Item = &'a Alert> + Clone) {
        let live = alerts.filter(|alert| alert.state != State::Resolved);
        let labels = |alert: &Alert| {
            let pairs: Vec<String> = alert.labels.iter().map(|(name, value)| format!("{name}=\"{}\"", escape(value))).collect();
            format!("{{{}", pairs.join(","))
        };
        self.family("ALERTS", "gauge", "Alerts that are pending or firing");
        for alert in live.clone() {
            let state = if alert.state == State::Firing { ",alertstate=\"firing\"" } else { ",alertstate=\"pending\"" };
            self.line("ALERTS", &labels(alert), state, 1);
        }
        self.family("ALERTS_FOR_STATE", "gauge", "Since when an alert's rule has been broken, in seconds since 1970");
        for alert in live {
            self.fraction("ALERTS_FOR_STATE", &labels(alert), "", alert.active_at.0, 1_000_000);
        }
    }

    /// What the library encoded in OpenMetrics, in this format. Its families are named without the suffix that their
    /// samples have; in the older text format the two are named alike.
    pub fn library(&mut self, openmetrics: &str) {
        if self.format == Format::OpenMetrics {
            self.out.push_str(openmetrics);
            return;
        }
        let headers = |line: &'_ str, what: &str| {
            line.strip_prefix(what).and_then(|rest| rest.split_once(' ')).map(|(name, rest)| (name.to_owned(), rest.to_owned()))
        };
        let types: BTreeMap<String, String> = openmetrics.lines().filter_map(|line| headers(line, "# TYPE ")).collect();
        let suffix = |name: &str| match types.get(name).map(String::as_str) {
            Some("counter") => "_total",
            Some("info") => "_info",
            _ => "",
        };
        for line in openmetrics.lines().filter(|line| !line.starts_with("# UNIT ") && *line != "# EOF") {
            let _ = if let Some((name, help)) = headers(line, "# HELP ") {
                writeln!(self.out, "# HELP {name}{} {help}", suffix(&name))
            } else if let Some((name, kind)) = headers(line, "# TYPE ") {
                let kind = if kind == "info" { "gauge" } else { &kind };
                writeln!(self.out, "# TYPE {name}{} {kind}", suffix(&name))
            } else {
                writeln!(self.out, "{line}")
            };
        }
    }

    /// The text.
    pub fn finish(mut self) -> String {
        if self.format == Format::OpenMetrics {
            self.out.push_str("# EOF\n");
        }
        self.out
    }
}

#[cfg(test)]
mod tests;
