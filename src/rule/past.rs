//! The same window some times before: on each of the last days, weeks, or hours.

use serde_json::json;

use crate::rule::View;
use crate::rule::baseline::{DAY, MAX_DAYS};
use crate::time::Span;
use crate::window::{Group, Need};
use crate::yaml::{self, Faults, Fields};

/// How many are gathered without asking for memory; more than that are rare.
const FEW: usize = 32;
/// A window has at most this many buckets, else its length has too little in common with the step.
const MAX_BUCKETS: i64 = 1_440;

/// What windows are counted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// `days: 14`
    Days,
    /// `weeks: 4`: the same hours of the same day of the week.
    Weeks,
    /// `hours: 24`
    Hours,
}

/// What there is to know of a unit.
#[derive(Debug)]
struct Keys {
    unit: Unit,
    count: &'static str,
    at_least: &'static str,
    step: Span,
    most: u64,
    /// How many there must be unless options say so, or fewer are looked at.
    usually: u64,
}

const UNITS: [Keys; 3] = [
    Keys { unit: Unit::Days, count: "days", at_least: "min_days", step: DAY, most: MAX_DAYS, usually: 3 },
    Keys { unit: Unit::Weeks, count: "weeks", at_least: "min_weeks", step: Span(7 * DAY.0), most: 53, usually: 2 },
    Keys { unit: Unit::Hours, count: "hours", at_least: "min_hours", step: Span::secs(3_600), most: 336, usually: 3 },
];

/// How many days are looked at unless options say so.
const DEFAULT_DAYS: u64 = 14;

/// The same window 1, 2, ... `count` units before; with fewer than `at_least` of them nothing is usual yet.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Past {
    /// What they are counted by.
    pub unit: Unit,
    /// How many.
    pub count: u64,
    /// How many there must be.
    pub at_least: u64,
}

impl Past {
    /// Reads `window`, and `days` and `min_days`, or the same for weeks or hours.
    pub fn parse(fields: &mut Fields<'_>, faults: &mut Faults) -> Option<(Past, Span)> {
        let window = fields.optional("window", faults, yaml::POSITIVE_SPAN);
        let given = UNITS.each_ref().map(|keys| {
            let count = fields.optional(keys.count, faults, yaml::WHOLE);
            let at_least = fields.optional(keys.at_least, faults, yaml::WHOLE);
            (keys, [count, at_least], [keys.count, keys.at_least].map(|key| fields.node(key)))
        });
        fields.constrain(|| {
            let both = |a, b| json!({ "required": [a, b] });
            json!({ "not": { "anyOf": [both("days", "weeks"), both("days", "hours"), both("weeks", "hours")] } })
        });
        let whole = fields.node;
        let chosen: Vec<_> = given.iter().filter(|(.., [count, _])| count.is_some()).collect();
        if let [(one, ..), (other, _, [Some(node), _]), ..] = chosen[..] {
            let message = format!("`{}` and `{}` exclude each other", one.count, other.count);
            faults.error_help("bad-value", node, message, "write a rule for each");
            return None;
        }
        let (keys, [count, at_least], nodes) = chosen.first().map_or(&given[0], |one| one);
        let strange = given.iter().filter(|(other, ..)| other.unit != keys.unit);
        if let Some((other, node)) = strange.filter_map(|(other, _, [_, node])| Some((other, (*node)?))).next() {
            let message = format!("`{}` goes with `{}`, and this looks at {}", other.at_least, other.count, keys.count);
            faults.error_help("bad-value", node, message, format!("write `{}`", keys.at_least));
            return None;
        }
        // What is there and at fault was told already.
        if nodes.iter().zip([count, at_least]).any(|(node, value)| node.is_some() && value.is_none()) {
            return None;
        }
        let count = count.unwrap_or(DEFAULT_DAYS);
        let at_least = at_least.unwrap_or(keys.usually.min(count)).max(1);
        if count < at_least || count > keys.most {
            let node = nodes[0].or(nodes[1]).unwrap_or(whole);
            let range = format!("between {} ({at_least}) and {}", keys.at_least, keys.most);
            faults.error("bad-value", node, format!("{}: {count} must be {range}", keys.count));
            return None;
        }
        let past = Past { unit: keys.unit, count, at_least };
        let window = window.unwrap_or(keys.step.min(DAY));
        if window.0 / window.common(keys.step).0 > MAX_BUCKETS {
            let message = format!("window: {window} has too little in common with {}", keys.step);
            faults.error_help("bad-value", fields.node("window").unwrap_or(whole), message, "choose whole minutes, or hours");
            return None;
        }
        Some((past, window))
    }

    fn step(self) -> Span {
        UNITS.iter().find(|keys| keys.unit == self.unit).map_or(DAY, |keys| keys.step)
    }

    /// How long before the window the nth earlier one ends, of all of them, itself being the first.
    pub fn lags(self) -> impl Iterator<Item = Span> {
        (0..=self.count as i64).map(move |n| Span(n * self.step().0))
    }

    /// The window and those before it, as needs: the nth is n units earlier.
    pub fn needs(self, width: Span) -> Vec<Need> {
        self.lags().map(|lag| Need::Window { width, lag }).collect()
    }

    /// How many of the earlier windows there are for a group: those that ended before its first call do not count. None where
    /// these are too few.
    pub fn known(self, view: &View<'_>, group: Group) -> Option<usize> {
        // All end at whole steps from the edge, since they share a resolution.
        let age = view.edge(0) - view.first(group);
        let known = (age.0.max(-1).div_euclid(self.step().0)).min(self.count as i64);
        (known >= self.at_least as i64).then_some(known as usize)
    }

    /// What was `usual`: "of the same window" goes before it.
    pub fn text(self, known: usize) -> String {
        let (word, one) = match self.unit {
            Unit::Days => ("on", "day"),
            Unit::Weeks => ("in", "week"),
            Unit::Hours => ("in", "hour"),
        };
        if known == 1 { format!("{word} the {one} before") } else { format!("{word} {known} {one}s before") }
    }
}

/// Gathers the amounts of the windows 1 to `known`, and hands them on.
pub fn gathered<T>(known: usize, amount: impl Fn(usize) -> i64, take: impl FnOnce(&mut [i64]) -> T) -> T {
    let mut few = [0; FEW];
    let mut many = Vec::new();
    let amounts = if known <= FEW {
        &mut few[..known]
    } else {
        many.resize(known, 0);
        &mut many
    };
    amounts.iter_mut().enumerate().for_each(|(i, place)| *place = amount(i + 1));
    take(amounts)
}
