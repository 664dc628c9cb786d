//! What was decided about a group, and what kept which of its alerts quiet: the last decisions of each integration, for
//! those who ask why they were or were not told.

use super::Trace;
use crate::limits::MAX_TRACES;
use crate::time::Time;

/// Notes a decision: one that is as the last one of its integration only lasts longer. Says whether it is another.
pub(super) fn note(traces: &mut Vec<Trace>, new: Trace) -> bool {
    let of_it = |trace: &&mut Trace| trace.integration == new.integration;
    if let Some(last) = traces.iter_mut().rev().find(of_it).filter(|last| is_same(last, &new)) {
        (last.last, last.times) = (new.last, last.times.saturating_add(1));
        return false;
    }
    if traces.iter().filter(|trace| trace.integration == new.integration).count() >= MAX_TRACES
        && let Some(oldest) = traces.iter().position(|trace| trace.integration == new.integration)
    {
        traces.remove(oldest);
    }
    traces.push(new);
    true
}

/// A message is always one of its own.
fn is_same(last: &Trace, new: &Trace) -> bool {
    !new.reason.notifies() && (last.reason, last.firing, &last.quiet) == (new.reason, new.firing, &new.quiet)
}

/// A decision that was just made.
pub(super) fn now(integration: usize, reason: super::Reason, firing: usize, quiet: &[String], now: Time) -> Trace {
    Trace { at: now, last: now, times: 1, integration, reason, firing, quiet: quiet.to_vec() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::route::Reason;

    #[test]
    fn equal_ones_in_a_row_are_one() {
        let mut traces = Vec::new();
        let mut note = |at, integration, reason, quiet: &str| {
            super::note(&mut traces, now(integration, reason, 1, &[quiet.to_owned()], Time(at)));
            traces
                .iter()
                .map(|t| format!("{}-{}/{}x{}{}", t.at.0, t.last.0, t.integration, t.times, t.quiet[0]))
                .collect::<Vec<_>>()
        };
        note(1, 0, Reason::First, "");
        note(1, 1, Reason::First, "");
        note(2, 0, Reason::NothingNew, "");
        note(2, 1, Reason::NothingNew, "");
        note(3, 0, Reason::NothingNew, "");
        assert_eq!(note(3, 1, Reason::NothingNew, "q"), ["1-1/0x1", "1-1/1x1", "2-3/0x2", "2-2/1x1", "3-3/1x1q"]);
        // Two messages are two.
        note(4, 0, Reason::Repeat, "");
        assert_eq!(note(5, 0, Reason::Repeat, "").len(), 7);
    }

    #[test]
    fn the_last_ones_of_each_integration_are_kept() {
        let mut traces = Vec::new();
        note(&mut traces, now(1, Reason::First, 1, &[], Time(0)));
        for at in 0..100 {
            note(&mut traces, now(0, Reason::Repeat, 1, &[], Time(at)));
        }
        assert_eq!(traces.len(), MAX_TRACES + 1);
        assert_eq!((traces[0].integration, traces[1].at), (1, Time(100 - MAX_TRACES as i64)));
    }
}
