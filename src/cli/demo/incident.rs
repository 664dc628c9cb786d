//! What goes wrong in the demo, and when: three incidents a cycle, the victims changing from cycle to cycle.

use super::rows::{Note, NoteKind};
use super::world::{BUSY, EXPENSIVE, Model, ORGS, QUIET, model_named};
use crate::time::{Span, Time};

/// After this the incidents begin again, with other victims.
pub const CYCLE: Span = Span::secs(300);

/// Kind, begin and end in seconds from the start of a cycle. The first begins early, so that an alert fires within the
/// first minute; the rest leaves room for the one before to resolve (`rules.yml` has the windows).
const TIMETABLE: [(Kind, i64, i64); 3] =
    [(Kind::ErrorSpike, 20, 60), (Kind::FailuresInARow, 130, 175), (Kind::CostJump, 220, 255)];

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Every second call to a busy model fails.
    ErrorSpike,
    /// Every call to a quiet model fails.
    FailuresInARow,
    /// One organisation sends very long prompts.
    CostJump,
}

/// One incident: [begin, end).
#[derive(Clone, Debug, PartialEq)]
pub struct Incident {
    /// What goes wrong.
    pub kind: Kind,
    /// From.
    pub begin: Time,
    /// Until.
    pub end: Time,
    /// The model that fails or is paid for.
    pub model: &'static Model,
    /// The organisation that spends, for a cost jump.
    pub org: &'static str,
}

/// The incidents of cycle `n` (from 0) of a schedule that began at `start`.
pub fn cycle(start: Time, n: i64) -> [Incident; 3] {
    let begin = start + Span(CYCLE.0 * n);
    let turn = n.unsigned_abs() as usize;
    TIMETABLE.map(|(kind, from, until)| Incident {
        kind,
        begin: begin + Span::secs(from),
        end: begin + Span::secs(until),
        model: match kind {
            Kind::ErrorSpike => model_named(BUSY[turn % BUSY.len()]),
            Kind::FailuresInARow => model_named(QUIET[turn % QUIET.len()]),
            Kind::CostJump => model_named(EXPENSIVE),
        },
        org: ORGS[(turn * 7 + 4) % ORGS.len()],
    })
}

/// The cycle that an instant lies in.
pub fn cycle_of(start: Time, at: Time) -> i64 {
    (at - start).0.div_euclid(CYCLE.0)
}

/// The incident of this kind that goes on at an instant.
pub fn active(start: Time, at: Time, kind: Kind) -> Option<Incident> {
    let found = cycle(start, cycle_of(start, at)).into_iter().find(|incident| incident.kind == kind);
    found.filter(|incident| incident.begin <= at && at < incident.end)
}

impl Incident {
    /// What begins, in one line.
    pub fn begins(&self) -> String {
        let Model { provider, name, .. } = self.model;
        match self.kind {
            Kind::ErrorSpike => format!("{name} at {provider} begins to fail: every second call times out"),
            Kind::FailuresInARow => format!("{name} at {provider} is gone: every call fails"),
            Kind::CostJump => format!("{} sends whole archives to {name}: its cost jumps", self.org),
        }
    }

    /// What is over, in one line.
    pub fn ends(&self) -> String {
        match self.kind {
            Kind::ErrorSpike => format!("{} answers again", self.model.name),
            Kind::FailuresInARow => format!("{} is back", self.model.name),
            Kind::CostJump => format!("{} is back to its usual prompts", self.org),
        }
    }

    /// Begin and end as notes.
    pub fn notes(&self) -> [Note; 2] {
        [
            Note { at: self.begin, kind: NoteKind::Incident, text: self.begins() },
            Note { at: self.end, kind: NoteKind::Recovery, text: self.ends() },
        ]
    }
}
