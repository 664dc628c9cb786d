//! What the terminal shows.
//!
//! ```text
//! 12:00:41  incident  gpt-4o at openai begins to fail: every second call times out
//! ```

use jiff::tz::TimeZone;

use super::rows::{Note, NoteKind};
use crate::time::{Span, Time};

/// How lines are written.
#[derive(Clone, Debug)]
pub struct Screen {
    /// Whether colours are understood: true only on a terminal.
    pub colour: bool,
    /// The zone of the times shown.
    pub zone: TimeZone,
}

impl Screen {
    /// One line, without its end.
    pub fn line(&self, note: &Note) -> String {
        let (word, colour) = match note.kind {
            NoteKind::Incident => ("incident", "31"),
            NoteKind::Recovery => ("recovery", "32"),
            NoteKind::Info => ("demo", "36"),
        };
        format!("{}  {}  {}", self.clock(note.at), self.paint(colour, &format!("{word:<8}")), note.text)
    }

    /// What is shown first in the demo of made-up traffic: where to look, what will happen and when.
    pub fn scenario_header(&self, address: &str, plan: &[Note], every: Span) -> String {
        let mut text = self.header(address, "made-up traffic of 4 providers, 12 models and 20 organisations");
        text += "What will happen:\n";
        for note in plan.iter().filter(|note| note.kind == NoteKind::Incident) {
            text += &format!("  {}  {}\n", self.clock(note.at), note.text);
        }
        text + &format!(
            "and again every {every}, with others. An alert follows each within seconds, and its end when it is over.\n"
        )
    }

    /// What is shown first when a trace is played.
    pub fn trace_header(&self, address: &str, file: &str, calls: usize, speed: f64, end: Time) -> String {
        let what = format!("the {calls} calls of {file}, {speed:.1} times as fast as they were");
        self.header(address, &what) + &format!("The trace ends at {}.\n", self.clock(end))
    }

    fn header(&self, address: &str, what: &str) -> String {
        let bold = |text: &str| self.paint("1", text);
        format!(
            "{} plays {what}.\n\n  metrics  {}\n  health   {}\n  stop     Ctrl-C\n\n",
            bold("modelwatch demo"),
            bold(&format!("http://{address}/metrics")),
            bold(&format!("http://{address}/-/ready")),
        )
    }

    fn clock(&self, at: Time) -> String {
        let at = jiff::Timestamp::from_microsecond(at.0).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
        at.to_zoned(self.zone.clone()).strftime("%H:%M:%S").to_string()
    }

    fn paint(&self, code: &str, text: &str) -> String {
        if self.colour { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_owned() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::demo::scenario::Scenario;

    const PLAIN: Screen = Screen { colour: false, zone: TimeZone::UTC };

    #[test]
    fn the_header_says_where_to_look_and_what_will_happen() {
        let scenario = Scenario { seed: 1, start: Time::parse("2026-11-20T12:00:21Z").unwrap() };
        let (plan, every) = scenario.plan();
        insta::assert_snapshot!(PLAIN.scenario_header("127.0.0.1:9464", &plan, every), @r"
        modelwatch demo plays made-up traffic of 4 providers, 12 models and 20 organisations.

          metrics  http://127.0.0.1:9464/metrics
          health   http://127.0.0.1:9464/-/ready
          stop     Ctrl-C

        What will happen:
          12:00:41  gpt-4o at openai begins to fail: every second call times out
          12:02:31  o3-mini at openai is gone: every call fails
          12:04:01  Umbrella sends whole archives to claude-3-5-sonnet-20241022: its cost jumps
        and again every 5m, with others. An alert follows each within seconds, and its end when it is over.
        ");
        assert!(PLAIN.line(&plan[0]).starts_with("12:00:41  incident  gpt-4o at openai begins to fail"));
        let header = PLAIN.trace_header("127.0.0.1:9464", "azure.csv", 28_185, 11.71, scenario.start);
        assert!(header.starts_with("modelwatch demo plays the 28185 calls of azure.csv, 11.7 times as fast as they were.\n"));
        assert!(header.ends_with("The trace ends at 12:00:21.\n"), "{header}");
    }

    #[test]
    fn colour_is_only_on_request() {
        let note = Note { at: Time(0), kind: NoteKind::Recovery, text: "x".to_owned() };
        assert_eq!(PLAIN.line(&note), "00:00:00  recovery  x");
        assert_eq!(Screen { colour: true, ..PLAIN }.line(&note), "00:00:00  \u{1b}[32mrecovery\u{1b}[0m  x");
    }
}
