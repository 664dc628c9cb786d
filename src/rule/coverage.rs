//! Too few of those that should call do: the share of the active values of a dimension, such as workspaces, that had a call.
//!
//! ```yaml
//! coverage: {of: workspace, among: "SELECT id FROM workflows WHERE last_accessed_at > :now - interval '14 days'", within: 14d, less_than: 50%, min_values: 5}
//! ```
//!
//! share = active values with at least one call in (t - `within`, t] / active values. It fires when share < `less_than`, strictly. The
//! value is the share, between 0 and 1. There is one alert, without a group; its evidence names some that had no call.
//!
//! - `of` (required): the dimension. Its values are compared with those of the SELECT as text, so that a uuid is one.
//! - `among` (required): one SELECT, whose first column has the active values, each counted once; NULL and the empty text are none. `:now`
//!   stands for the instant of asking. Where several sources are asked their values are taken together.
//! - `every` (1m): how often it is asked; while it cannot be, the last answer stands for three times as long, after that the alert stays
//!   as it is.
//! - `within` (required): the window; any call counts, however it ended.
//! - `less_than` (required): the bound, `50%` or 0.5.
//! - `min_values` (1): with fewer active values nothing is found.
//! - `where`: which calls count; of it, matchers of `source` also choose the sources that are asked.
//!
//! For example:
//!
//! ```yaml
//! answers:
//!   - {query_of: Example, at: "10:00", rows: [{id: a}, {id: b}, {id: c}, {id: d}, {id: e}]}
//! rows:
//!   - 1 call of gpt-4o from 10:00 with workspace=a
//!   - 1 call of gpt-4o from 10:00 with workspace=b
//!   - 1 call of gpt-4o from 10:01 with workspace=e
//! expect:
//!   - {at: "10:00", alerts: [{}]}
//!   - {at: "10:01", alerts: []}
//! ```

use std::collections::{BTreeMap, BTreeSet};

use crate::rule::file::{DIMENSION, parse_query, refuse_by};
use crate::rule::{Kind, Verdict, View};
use crate::source::query::Query;
use crate::time::Span;
use crate::window::{Group, Need, Selector};
use crate::yaml::{self, Faults, Fields};

/// So many values without a call are named.
const NAMED: usize = 5;
const MILLION: u128 = 1_000_000;

#[derive(Debug)]
struct Coverage {
    of: String,
    among: Query,
    within: Span,
    /// In millionths, so that shares are compared exactly.
    less_than: u128,
    min_values: usize,
}

pub(super) fn parse(fields: &mut Fields<'_>, faults: &mut Faults) -> Option<Box<dyn Kind>> {
    let of = fields.required("of", faults, DIMENSION);
    let among = parse_query("among", fields, faults);
    let within = fields.required("within", faults, yaml::POSITIVE_SPAN);
    let less_than = fields.required("less_than", faults, yaml::SHARE);
    let min_values = fields.optional("min_values", faults, yaml::POSITIVE_WHOLE).unwrap_or(1) as usize;
    refuse_by(fields, "the share is one of all values of the dimension `of`", faults);
    let less_than = (less_than? * MILLION as f64).round() as u128;
    Some(Box::new(Coverage { of: of?, among: among?, within: within?, less_than, min_values }))
}

impl Kind for Coverage {
    fn needs(&self) -> Vec<Need> {
        vec![Need::Window { width: self.within, lag: Span::ZERO }]
    }

    fn select(&self, selector: Selector) -> Selector {
        Selector { by: vec![self.of.clone()], ..selector }
    }

    fn queries(&self) -> Vec<Query> {
        vec![self.among.clone()]
    }

    fn misses_calls(&self) -> bool {
        true
    }

    fn verdicts(&self, _view: &View<'_>, _group: Group) -> Vec<Verdict> {
        Vec::new()
    }

    fn overall(&self, view: &View<'_>) -> Vec<Verdict> {
        let rows = view.answers(0).flat_map(|(_, answer)| &answer.rows);
        let active: BTreeSet<&str> = rows.filter_map(|row| row.first()?.as_deref()).filter(|value| !value.is_empty()).collect();
        if active.len() < self.min_values {
            return Vec::new();
        }
        let groups: BTreeMap<&str, Group> =
            (0..view.groups()).filter_map(|group| Some((view.values(group).first()?.as_str(), group))).collect();
        let calls = |value: &&str| {
            let group = groups.get(value).copied();
            group.is_some_and(|group| {
                let (sums, last) = (view.sums(0, group), view.last(group));
                // A call since the window ended counts at once.
                sums.finished() + sums.abandoned > 0 || (last > view.edge(0) && last <= view.at)
            })
        };
        let missing: Vec<&str> = active.iter().copied().filter(|value| !calls(value)).collect();
        let (all, with) = (active.len(), active.len() - missing.len());
        if with as u128 * MILLION >= self.less_than * all as u128 {
            return Vec::new();
        }
        let (share, bound) = (100.0 * with as f64 / all as f64, self.less_than as f64 / 1e4);
        let named = missing.iter().take(NAMED).copied().collect::<Vec<_>>().join(", ");
        let more = missing.len().checked_sub(NAMED).filter(|n| *n > 0).map_or_else(String::new, |n| format!(" and {n} more"));
        let evidence = format!(
            "{with} of {all} active values of {} ({share:.1}%) had a call in the {} up to {}, less than {bound}%; none had {named}{more}",
            self.of,
            self.within,
            view.edge(0)
        );
        vec![Verdict { group: None, value: with as f64 / all as f64, evidence, ..Verdict::default() }]
    }
}
