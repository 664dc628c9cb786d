//! More failures within a window than a count.
//!
//! ```yaml
//! error_spike: {more_than: 10, within: 1h, by: [model]}
//! ```
//!
//! `of: calls` (default) counts failed calls, `of: errors` the records of error tables, where there are any.

use crate::rule::{Kind, Verdict, View};
use crate::time::Span;
use crate::window::{Need, Sums};
use crate::yaml::{self, Faults, Fields, Node};

#[derive(Debug)]
struct ErrorSpike {
    more_than: u64,
    within: Span,
    of: Of,
}

/// What is counted.
#[derive(Clone, Copy, Debug)]
enum Of {
    Calls,
    Errors,
}

impl Of {
    fn count(self, sums: &Sums) -> u64 {
        match self {
            Of::Calls => sums.failure,
            Of::Errors => sums.errors,
        }
    }
}

pub(super) fn parse(fields: &mut Fields<'_>, faults: &mut Faults) -> Option<Box<dyn Kind>> {
    let more_than = fields.required("more_than", faults, yaml::whole);
    let within = fields.required("within", faults, yaml::positive_span);
    let of = fields.optional("of", faults, of).unwrap_or(Of::Calls);
    Some(Box::new(ErrorSpike { more_than: more_than?, within: within?, of }))
}

fn of(node: &Node) -> Result<Of, String> {
    match yaml::text(node)?.as_str() {
        "calls" => Ok(Of::Calls),
        "errors" => Ok(Of::Errors),
        other => Err(format!("`{other}` is neither `calls` nor `errors`")),
    }
}

impl Kind for ErrorSpike {
    fn needs(&self) -> Vec<Need> {
        vec![Need::Window { width: self.within, lag: Span::ZERO }]
    }

    fn verdicts(&self, view: &View<'_>) -> Vec<Verdict> {
        let broken = view.sums(0).iter().enumerate().filter(|(_, sums)| self.of.count(sums) > self.more_than);
        let verdict = |(group, sums): (usize, &Sums)| {
            let what = match self.of {
                Of::Calls => "failed calls",
                Of::Errors => "errors",
            };
            let (count, end) = (self.of.count(sums), view.edge(0));
            let evidence = format!("{count} {what} in the {} up to {end}, more than {}", self.within, self.more_than);
            Verdict { group: group as u32, value: count as f64, evidence }
        };
        broken.map(verdict).collect()
    }
}
