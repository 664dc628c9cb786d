//! A model that fails again and again.
//!
//! ```yaml
//! failure_streak: {in_a_row: 5, within: 1h, by: [model]}    # 5 or more failures since the last success, the last within 1h
//! failure_streak: {more_than: 5, within: 1h, by: [model]}   # more than 5 failures in 1h, whatever succeeded between them
//! ```

use crate::rule::{Kind, Verdict, View};
use crate::time::Span;
use crate::window::Need;
use crate::yaml::{self, Faults, Fields};

const DEFAULT_WITHIN: Span = Span::secs(3_600);

#[derive(Debug)]
struct InARow {
    at_least: u64,
    within: Span,
}

#[derive(Debug)]
struct MoreThan {
    more_than: u64,
    within: Span,
}

pub(super) fn parse(fields: &mut Fields<'_>, faults: &mut Faults) -> Option<Box<dyn Kind>> {
    let in_a_row = fields.optional("in_a_row", faults, yaml::whole);
    let more_than = fields.optional("more_than", faults, yaml::whole);
    let within = fields.optional("within", faults, yaml::positive_span).unwrap_or(DEFAULT_WITHIN);
    // One that is there and at fault was told already.
    let given = fields.node("in_a_row").is_some() != fields.node("more_than").is_some();
    match (in_a_row, more_than) {
        (None, None) if given => {}
        (Some(0), None) => {
            faults.error("bad-value", fields.node("in_a_row").unwrap_or(fields.node), "in_a_row: must be at least 1")
        }
        (Some(at_least), None) => return Some(Box::new(InARow { at_least, within })),
        (None, Some(more_than)) => return Some(Box::new(MoreThan { more_than, within })),
        _ => {
            faults.error_help("missing-key", fields.node, "failure_streak needs either `in_a_row` or `more_than`", "in_a_row: 5")
        }
    }
    None
}

impl Kind for InARow {
    fn needs(&self) -> Vec<Need> {
        vec![Need::Run]
    }

    fn verdicts(&self, view: &View<'_>) -> Vec<Verdict> {
        let groups = 0..view.groups() as u32;
        let broken = groups
            .map(|group| (group, view.run(group)))
            .filter(|(_, run)| run.length >= self.at_least && run.last > view.at - self.within);
        let verdict = |(group, run): (u32, crate::window::RunState)| {
            let evidence =
                format!("{} failures in a row from {} to {}, {} or more", run.length, run.first, run.last, self.at_least);
            Verdict { group, value: run.length as f64, evidence }
        };
        broken.map(verdict).collect()
    }
}

impl Kind for MoreThan {
    fn needs(&self) -> Vec<Need> {
        vec![Need::Window { width: self.within, lag: Span::ZERO }]
    }

    fn verdicts(&self, view: &View<'_>) -> Vec<Verdict> {
        let broken = view.sums(0).iter().enumerate().filter(|(_, sums)| sums.failure > self.more_than);
        let verdict = |(group, sums): (usize, &crate::window::Sums)| {
            let evidence =
                format!("{} failures in the {} up to {}, more than {}", sums.failure, self.within, view.edge(0), self.more_than);
            Verdict { group: group as u32, value: sums.failure as f64, evidence }
        };
        broken.map(verdict).collect()
    }
}
