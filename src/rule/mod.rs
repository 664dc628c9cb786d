//! Rules that teams keep in YAML: what all of them share, and THE list of kinds.
//!
//! Files look like Prometheus rule files; where Prometheus has `expr`, a rule names its kind as a key. A kind is one file
//! here and its line in [`KINDS`]: it parses its options, says which windows it needs, and gives its verdict on a group.
//! Its header is its documentation.

mod baseline;
mod budget;
mod check;
mod cost_anomaly;
mod coverage;
mod docs;
mod error_rate;
mod error_spike;
mod failure_streak;
mod file;
mod freshness;
mod latency;
mod measure;
mod new_value;
mod no_data;
mod past;
mod quantile;
mod share;
mod slo_burn_rate;
mod sql;
mod view;
mod volume_anomaly;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use crate::alert::{Finding, Policy};
use crate::calendar::{Active, TimeInterval, TimeIntervals};
use crate::diag::Place;
use crate::labels::{Labels, Matcher, Op, sha256_hex};
use crate::limits::MAX_GAUGED_GROUPS;
use crate::source::query::{Answer, Query};
use crate::template::{Facts, Template};
use crate::time::{Span, Time};
use crate::window::{self, Group, Need, Selector, Sums, Windows};
use crate::yaml::{Faults, Fields};

pub use check::identities;
pub use docs::{docs, page};
pub use file::{parse_file, schema};
pub use slo_burn_rate::{BUDGET_LEFT_METRIC as SLO_BUDGET_LEFT, BURN_RATE_METRIC as SLO_BURN_RATE};
pub use view::View;

/// A kind of rule.
#[derive(Debug)]
pub struct KindEntry {
    /// Its key in a rule.
    pub name: &'static str,
    /// Its source, whose header is its documentation.
    pub source: &'static str,
    /// Reads its options; asks for all that it knows, whatever is given.
    pub parse: fn(&mut Fields<'_>, &mut Faults) -> Option<Box<dyn Kind>>,
}

macro_rules! kinds {
    ($($name:ident),* $(,)?) => {
        &[$(KindEntry { name: stringify!($name), source: include_str!(concat!(stringify!($name), ".rs")), parse: $name::parse }),*]
    };
}

/// Every kind.
pub const KINDS: &[KindEntry] = kinds![
    budget,
    cost_anomaly,
    coverage,
    error_rate,
    error_spike,
    failure_streak,
    freshness,
    latency,
    measure,
    new_value,
    no_data,
    slo_burn_rate,
    sql,
    volume_anomaly,
];

/// What a kind of rule does.
///
/// A verdict on a group depends on what its windows hold and where they end, on the answers to the queries, on which calls
/// of the group there were until the instant, and on the phase that the rule is in; on the instant itself in no other way.
/// So a group that is not broken is looked at again only once one of these changed; one that is broken, each time.
pub trait Kind: fmt::Debug + Send + Sync {
    /// The windows that it reads of each group; the view gives them in this order.
    fn needs(&self) -> Vec<Need>;
    /// How often it is evaluated; told once, before all else.
    fn evaluated_each(&mut self, _interval: Span) {}
    /// What is broken about a group; several verdicts differ in their labels, and where the rule's own labels make two of
    /// them the same alert, the first is told.
    fn verdicts(&self, view: &View<'_>, group: Group) -> Vec<Verdict>;
    /// What the verdicts on all groups depend on beside their windows, such as whether it has been active for long enough:
    /// when it changes, every group is looked at.
    fn phase(&self, _view: &View<'_>) -> bool {
        true
    }
    /// Whether it finds that calls are missing. Then its windows end at the last multiple of their resolution instead of the
    /// next one, so that what is still to come is not taken for missing.
    fn misses_calls(&self) -> bool {
        false
    }
    /// The events and groups that it looks at, where they are others than `by` and `where` say.
    fn select(&self, selector: Selector) -> Selector {
        selector
    }
    /// What it asks of the databases beside their events; the view gives the answers in this order.
    fn queries(&self) -> Vec<Query> {
        Vec::new()
    }
    /// What is wrong with an answer to one of its queries; what it objects to is no answer. The rows may be made up, where
    /// `check` asks.
    fn objection(&self, _query: usize, _answer: &Answer) -> Option<String> {
        None
    }
    /// What is broken beside the groups, or about them where that is judged by time alone; asked at each evaluation.
    fn overall(&self, _view: &View<'_>) -> Vec<Verdict> {
        Vec::new()
    }
    /// Whether it has numbers to export.
    fn exports(&self) -> bool {
        false
    }
    /// Numbers about a group for /metrics, whether or not it is broken; their labels are those beside the group's.
    fn gauges(&self, _view: &View<'_>, _group: Group) -> Vec<Gauge> {
        Vec::new()
    }
    /// By what contributors are ordered, over which of its windows of sums.
    fn rank(&self) -> Option<(usize, Rank)> {
        None
    }
    /// Labels that its verdicts have beside those of their group; none where only the database knows them.
    fn labels(&self) -> Option<Vec<&'static str>> {
        Some(Vec::new())
    }
}

/// Stands for a kind whose options are at fault, so that all else of its rule is checked.
#[derive(Debug)]
struct AtFault;

impl Kind for AtFault {
    fn needs(&self) -> Vec<Need> {
        Vec::new()
    }

    fn verdicts(&self, _: &View<'_>, _: Group) -> Vec<Verdict> {
        Vec::new()
    }

    fn labels(&self) -> Option<Vec<&'static str>> {
        None
    }
}

/// That a rule is broken.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Verdict {
    /// The group's number; none where it is not about one.
    pub group: Option<Group>,
    /// Labels beside those of the group; the rule's own win over them.
    pub labels: Labels,
    /// What was measured.
    pub value: f64,
    /// What was compared with what.
    pub evidence: String,
}

impl Verdict {
    /// On a group, without further labels.
    pub fn on(group: Group, value: f64, evidence: String) -> Verdict {
        Verdict { group: Some(group), labels: Labels::default(), value, evidence }
    }
}

/// A number of a rule for /metrics.
#[derive(Clone, Debug, PartialEq)]
pub struct Gauge {
    /// Its metric.
    pub name: &'static str,
    /// The rule, the group, and what else tells it from others.
    pub labels: Labels,
    /// Its value.
    pub value: f64,
}

/// A verdict with who contributed to it; its words are made when somebody is to read them.
#[derive(Clone, Debug, PartialEq)]
pub struct Draft {
    verdict: Verdict,
    top: String,
}

/// By what the contributors to a verdict are ordered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rank {
    /// Calls that ended.
    Calls,
    /// Calls that failed.
    Failures,
    /// Errors.
    Errors,
    /// Tokens.
    Tokens,
    /// Cost.
    Cost,
}

impl Rank {
    fn of(self, sums: &Sums) -> u64 {
        match self {
            Rank::Calls => sums.finished(),
            Rank::Failures => sums.failure,
            Rank::Errors => sums.errors,
            Rank::Tokens => sums.tokens,
            Rank::Cost => sums.cost.max(0) as u64,
        }
    }

    fn text(self, amount: u64) -> String {
        if self == Rank::Cost { cost_anomaly::money(amount as f64) } else { amount.to_string() }
    }
}

/// Whom to name beside a verdict: the values of a second dimension that contribute most.
#[derive(Clone, Debug)]
pub struct Top {
    by: String,
    limit: usize,
    place: Place,
}

/// One rule.
#[derive(Debug)]
pub struct Rule {
    /// Group and name; stays the same over reloads.
    pub key: String,
    /// `alert`
    pub name: String,
    /// Which events and groups.
    pub selector: Selector,
    /// How often its group is evaluated.
    pub interval: Span,
    /// How its alerts live.
    pub policy: Policy,
    /// Where it stands.
    pub place: Place,
    /// Where each dimension of `by` stands, and where each matcher does.
    by_places: Vec<Place>,
    matcher_places: Vec<Place>,
    /// Where it says what each of the kind's needs is about.
    need_places: Vec<Place>,
    /// When it is evaluated, as it is written; at any other time it finds nothing.
    active: Option<Active>,
    hours: Option<TimeInterval>,
    kind: Box<dyn Kind>,
    top: Option<Top>,
    labels: Vec<(String, Template)>,
    annotations: Vec<(String, Template)>,
    bound: view::Bound,
    /// Groups of which numbers that are exported may have changed.
    changed: BTreeSet<Group>,
    /// The instant of the last look, and since when the rule had been active then.
    at: (Time, Time),
}

/// The answers to the queries of a rule, in their order, each from the sources that it reads, by name.
pub type Answers = Vec<BTreeMap<String, Arc<Answer>>>;

impl Rule {
    /// The dimensions that it looks at, each with where it is named.
    pub fn dimensions(&self) -> impl Iterator<Item = (&str, &Place)> {
        let by = self.selector.by.iter().map(String::as_str).zip(&self.by_places);
        let matchers = self.matchers().map(|(matcher, place)| (matcher.name.as_str(), place));
        by.chain(matchers).chain(self.top.iter().map(|top| (top.by.as_str(), &top.place)))
    }

    /// Its matchers, each with where it stands.
    pub fn matchers(&self) -> impl Iterator<Item = (&Matcher, &Place)> {
        self.selector.matchers.iter().zip(&self.matcher_places)
    }

    /// The labels that its alerts have beside its own and `alertname`; none where only the database knows them.
    pub fn label_names(&self) -> Option<Vec<String>> {
        let more = self.kind.labels()?.into_iter().map(str::to_owned);
        Some(self.selector.by.iter().cloned().chain(more).collect())
    }

    /// Whether its matchers on a dimension let a value pass.
    pub fn reads(&self, dimension: &str, value: &str) -> bool {
        self.selector.matchers.iter().filter(|matcher| matcher.name == dimension).all(|matcher| matcher.matches(value))
    }

    /// How far back its windows go.
    pub fn reach(&self) -> Span {
        self.kind.needs().iter().map(Need::reach).max().unwrap_or_default()
    }

    /// Whether alerts of it could not be told from those of another rule: the same names of labels, and no label that both
    /// know to be another.
    fn shares_alerts(&self, other: &Rule) -> bool {
        let same_name = self.name == other.name;
        let (Some(own), Some(others)) = (self.known_labels(), other.known_labels()) else { return false };
        let differ = |(name, value): (&String, &Option<String>)| match (value, &others[name]) {
            (Some(value), Some(other)) => value != other,
            _ => false,
        };
        same_name && own.keys().eq(others.keys()) && !own.iter().any(differ)
    }

    /// The labels of its alerts, each with its text where that is known; none where only the database knows them.
    fn known_labels(&self) -> Option<BTreeMap<String, Option<String>>> {
        let mut labels: BTreeMap<String, Option<String>> = self.label_names()?.into_iter().map(|name| (name, None)).collect();
        for matcher in self.selector.matchers.iter().filter(|matcher| matcher.op == Op::Equal) {
            labels.entry(matcher.name.clone()).and_modify(|value| *value = Some(matcher.value.clone()));
        }
        // A template may give anything, but not what another one does.
        labels.extend(self.labels.iter().map(|(name, template)| (name.clone(), Some(template.text().to_owned()))));
        Some(labels)
    }

    /// The selections that it reads, what it needs of each, and how long the buckets of that are.
    pub fn needs(&self) -> Vec<(Selector, Need, Span)> {
        let needs = self.kind.needs();
        let resolutions = window::resolutions(&needs, self.interval);
        let parts = self.top.as_ref().zip(self.kind.rank()).and_then(|(top, (need, _))| {
            let by = self.selector.by.iter().chain([&top.by]).cloned().collect();
            Some((Selector { by, ..self.selector.clone() }, needs.get(need)?.clone(), *resolutions.get(need)?))
        });
        let own = needs.iter().zip(&resolutions).map(|(need, resolution)| (self.selector.clone(), need.clone(), *resolution));
        own.chain(parts).collect()
    }

    /// Measures that it reads, each with where it is named.
    pub fn measures(&self) -> impl Iterator<Item = (String, &Place)> {
        let measure = |need| if let Need::Measure { name, .. } = need { Some(name) } else { None };
        self.named(measure)
    }

    /// Dimensions of which it counts the distinct values, each with where it is named.
    pub fn marks(&self) -> impl Iterator<Item = (String, &Place)> {
        let dimension = |need| if let Need::Distinct { dimension, .. } = need { Some(dimension) } else { None };
        self.named(dimension)
    }

    fn named(&self, name: impl Fn(Need) -> Option<String>) -> impl Iterator<Item = (String, &Place)> {
        self.kind.needs().into_iter().zip(&self.need_places).filter_map(move |(need, place)| Some((name(need)?, place)))
    }

    /// What it asks of the databases.
    pub fn queries(&self) -> Vec<Query> {
        self.kind.queries()
    }

    /// What is wrong with an answer to one of its queries.
    pub fn objection(&self, query: usize, answer: &Answer) -> Option<String> {
        self.kind.objection(query, answer)
    }

    /// Looks up the interval that it is active in.
    pub fn settle_hours(&mut self, intervals: &TimeIntervals, faults: &mut Faults) {
        self.hours = self.active.take().and_then(|active| active.resolve(intervals, faults));
    }

    /// Finds the windows that were made for its needs.
    pub fn bind(&mut self, windows: &mut Windows) {
        let nothing_new = BTreeSet::new();
        let needs = self.needs().into_iter();
        let handles =
            needs.map(|(selector, need, resolution)| windows.need(&selector, &need, resolution, &nothing_new)).collect();
        self.bound = view::Bound::new(handles, self.kind.needs().len(), self.kind.misses_calls());
    }

    /// Whether its windows hold all that the databases have.
    pub fn is_complete(&self, windows: &Windows) -> bool {
        self.bound.all().all(|handle| windows.is_complete(handle))
    }

    /// All that its findings depend on but the calls: two that are alike find the same.
    pub fn definition(&self) -> String {
        let labels: Vec<(&str, &str)> = self.labels.iter().map(|(name, template)| (name.as_str(), template.text())).collect();
        let Rule { selector, interval, policy, hours, kind, .. } = self;
        sha256_hex(&format!("{labels:?} {selector:?} {interval:?} {policy:?} {hours:?} {kind:?}"))
    }

    /// The pool that it reads.
    pub fn pool(&self, windows: &Windows) -> Option<usize> {
        self.bound.all().next().map(|handle| windows.pool(handle))
    }

    /// What it finds at an instant.
    pub fn findings(&mut self, windows: &mut Windows, answers: &Answers, at: Time) -> Vec<Finding> {
        let drafts = self.drafts(windows, answers, at);
        drafts.iter().map(|draft| self.finding(windows, draft)).collect()
    }

    /// The same, not yet in words.
    pub fn drafts(&mut self, windows: &mut Windows, answers: &Answers, at: Time) -> Vec<Draft> {
        self.bound.seek(windows, at);
        let open_since = self.hours.as_ref().map_or(Some(Time::MIN), |hours| hours.opened(at));
        let phase = open_since.map(|open_since| self.kind.phase(&self.bound.view(windows, answers, at, open_since)));
        let candidates = self.bound.candidates(windows, answers, at, phase);
        let (Some(open_since), Some(phase)) = (open_since, phase) else {
            self.bound.broken = candidates;
            return Vec::new();
        };
        if self.kind.exports() {
            self.changed.extend(candidates.iter().filter(|group| **group < MAX_GAUGED_GROUPS));
        }
        self.at = (at, open_since);
        let mut view = self.bound.view(windows, answers, at, open_since);
        view.phase = phase;
        let top = |group| self.contributors(&view, group);
        let draft = |verdict: Verdict| Draft { top: verdict.group.and_then(top).unwrap_or_default(), verdict };
        let mut drafts: Vec<Draft> = self.kind.overall(&view).into_iter().map(draft).collect();
        let mut broken: Vec<Group> = drafts.iter().filter_map(|draft| draft.verdict.group).collect();
        for group in candidates {
            let mut told = BTreeSet::new();
            let verdicts = self.kind.verdicts(&view, group);
            broken.extend((!verdicts.is_empty()).then_some(group));
            let several = verdicts.len() > 1;
            // Labels of the rule may make one of several: the first.
            let news = |draft: &Draft| !several || told.insert(self.finding(windows, draft).labels);
            drafts.extend(verdicts.into_iter().map(draft).filter(news));
        }
        self.bound.broken = broken;
        drafts
    }

    /// The numbers that may have changed since the last call, as of the last look.
    pub fn take_gauges(&mut self, windows: &mut Windows) -> Vec<Gauge> {
        let changed = std::mem::take(&mut self.changed);
        if changed.is_empty() {
            return Vec::new();
        }
        let (at, open_since) = self.at;
        self.bound.seek(windows, at);
        let nothing = Answers::new();
        let view = self.bound.view(windows, &nothing, at, open_since);
        let mut gauges = Vec::new();
        for group in changed {
            for mut gauge in self.kind.gauges(&view, group) {
                view.labels(group).iter().for_each(|(name, value)| gauge.labels.set(name, value));
                gauge.labels.set("rule", self.key.as_str());
                gauges.push(gauge);
            }
        }
        gauges
    }

    /// Whether two lists of drafts are about the same alerts, whatever was measured; false where that is not sure.
    pub fn are_same_alerts(&self, drafts: &[Draft], others: &[Draft]) -> bool {
        let same = |(a, b): (&Draft, &Draft)| (a.verdict.group, &a.verdict.labels) == (b.verdict.group, &b.verdict.labels);
        drafts.len() == others.len()
            && drafts.iter().zip(others).all(same)
            && (drafts.is_empty() || self.labels.iter().all(|(_, template)| template.is_plain()))
    }

    /// A draft in words.
    pub fn finding(&self, windows: &Windows, draft: &Draft) -> Finding {
        let Draft { verdict, top } = draft;
        let mut labels = verdict.group.map(|group| self.bound.labels(windows, group)).unwrap_or_default();
        verdict.labels.iter().for_each(|(name, value)| labels.set(name, value));
        let facts = |labels| Facts { labels, value: verdict.value, evidence: &verdict.evidence, top };
        let known = labels.clone();
        for (name, template) in &self.labels {
            labels.set(name.as_str(), template.render_or_explain(&facts(&known)));
        }
        labels.set("alertname", self.name.as_str());
        let texts = self.annotations.iter().map(|(name, template)| (name.clone(), template.render_or_explain(&facts(&labels))));
        let annotations = texts.collect();
        let named = self.top.as_ref().filter(|_| !top.is_empty()).map(|named| format!("; top {}: {top}", named.by));
        let evidence = format!("{}{}", verdict.evidence, named.unwrap_or_default());
        Finding { annotations, labels, value: verdict.value, evidence }
    }

    /// `chat 12, search 4`: who contributes most to a group.
    fn contributors(&self, view: &View<'_>, group: Group) -> Option<String> {
        let (top, (_, rank)) = (self.top.as_ref()?, self.kind.rank()?);
        let mut parts: Vec<(u64, &str)> =
            view.parts(group).into_iter().map(|(name, sums)| (rank.of(sums), name)).filter(|(n, _)| *n > 0).collect();
        parts.sort_unstable_by(|a, b| b.0.cmp(&a.0).then(a.1.cmp(b.1)));
        let name = |name: &str| if name.is_empty() { "(none)".to_owned() } else { name.to_owned() };
        let named = parts.iter().take(top.limit).map(|(amount, value)| format!("{} {}", name(value), rank.text(*amount)));
        Some(named.collect::<Vec<_>>().join(", "))
    }
}

#[cfg(test)]
mod tests;
