//! What is expected against what is found.
//!
//! The alerts that are listed are, one to one, those that fire. Pending ones count just where one of those listed is
//! said to be pending; then all that are pending have to be listed too.

use crate::alert::{Alert, State};
use crate::ruletest::file::Expected;

/// Alerts at an instant: those that fire and those that are pending.
#[derive(Clone, Debug, Default)]
pub struct Found {
    alerts: Vec<Alert>,
}

impl Found {
    /// Of all alerts those that live.
    pub fn new<'a>(alerts: impl Iterator<Item = &'a Alert>) -> Found {
        Found { alerts: alerts.filter(|alert| alert.is_live()).cloned().collect() }
    }
}

/// In what alerts are not as expected.
#[derive(Clone, Debug, Default)]
pub struct Mismatch {
    /// Expected, and nothing is like them.
    pub missing: Vec<Expected>,
    /// Not expected.
    pub extra: Vec<Alert>,
    /// Nearly as expected.
    pub near: Vec<(Expected, Alert)>,
    /// As expected.
    pub met: Vec<Alert>,
    /// Pending, where that does not count.
    pub pending: Vec<Alert>,
}

impl Expected {
    /// Whether an alert is this one in all that is said of it.
    pub fn is(&self, alert: &Alert) -> bool {
        self.state == alert.state && self.differences(alert).is_empty()
    }

    /// Whether an alert has the labels.
    pub fn has_labels(&self, alert: &Alert) -> bool {
        self.labels.iter().all(|(name, value)| alert.labels.get(name) == value)
    }

    /// What is otherwise: name, what is expected, what is found; one of them may be missing.
    pub fn differences(&self, alert: &Alert) -> Vec<Difference> {
        let mut all = Vec::new();
        let mut differ = |name: String, expected: Option<String>, found: Option<String>| {
            all.push(Difference { name, expected, found });
        };
        let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        let label = |name: &str| format!("label {name}");
        for (name, value) in self.labels.iter().filter(|(name, value)| alert.labels.get(name) != value) {
            differ(label(name), some(value), some(alert.labels.get(name)));
        }
        let more = alert.labels.iter().filter(|(name, _)| self.exact && self.labels.iter().all(|(known, _)| known != name));
        more.for_each(|(name, value)| differ(label(name), None, some(value)));
        if self.state != alert.state {
            differ("state".to_owned(), Some(word(self.state).to_owned()), Some(word(alert.state).to_owned()));
        }
        if let Some(late) = self.late.filter(|late| *late != alert.late) {
            differ("late".to_owned(), Some(late.to_string()), Some(alert.late.to_string()));
        }
        if let Some(value) = self.value.filter(|value| !same(*value, alert.value)) {
            differ("value".to_owned(), Some(value.to_string()), Some(alert.value.to_string()));
        }
        for (name, text) in self.annotations.iter().filter(|(name, text)| alert.annotations.get(name) != text) {
            differ(name.clone(), some(text), some(alert.annotations.get(name)));
        }
        if let Some(part) = self.evidence.as_ref().filter(|part| !alert.evidence.contains(*part)) {
            differ("evidence".to_owned(), Some(format!("... {part} ...")), Some(alert.evidence.clone()));
        }
        all
    }
}

/// Something that is otherwise than expected.
#[derive(Clone, Debug, PartialEq)]
pub struct Difference {
    /// What.
    pub name: String,
    /// None where nothing is expected.
    pub expected: Option<String>,
    /// None where there is nothing.
    pub found: Option<String>,
}

/// A state in a word.
pub fn word(state: State) -> &'static str {
    match state {
        State::Pending => "pending",
        State::Firing => "firing",
        State::Resolved => "resolved",
    }
}

/// A millionth is no difference: quotients have no end, and nobody writes them out.
fn same(expected: f64, found: f64) -> bool {
    expected == found || (expected - found).abs() <= 1e-6 * expected.abs().max(found.abs())
}

/// Holds what is found against what is expected; none where all is as expected.
pub fn compare(expected: &[Expected], found: &Found) -> Option<Mismatch> {
    let pending_too = expected.iter().any(|expected| expected.state == State::Pending);
    let counts = |alert: &&Alert| alert.state == State::Firing || pending_too;
    let alerts: Vec<&Alert> = found.alerts.iter().filter(counts).collect();
    let matched = pairs(expected, &alerts);
    if expected.len() == alerts.len() && matched.iter().all(Option::is_some) {
        return None;
    }
    let pending = found.alerts.iter().filter(|alert| !counts(alert)).cloned().collect();
    let mut mismatch = Mismatch { pending, ..Mismatch::default() };
    let taken = |i: usize| matched.contains(&Some(i));
    mismatch.met = (0..alerts.len()).filter(|i| taken(*i)).map(|i| alerts[i].clone()).collect();
    let mut missing: Vec<&Expected> = expected.iter().zip(&matched).filter(|(_, at)| at.is_none()).map(|(e, _)| e).collect();
    let mut extra: Vec<&Alert> = (0..alerts.len()).filter(|i| !taken(*i)).map(|i| alerts[i]).collect();
    while let Some((_, e, f)) = nearest(&missing, &extra) {
        mismatch.near.push((missing.remove(e).clone(), extra.remove(f).clone()));
    }
    mismatch.missing = missing.into_iter().cloned().collect();
    mismatch.extra = extra.into_iter().cloned().collect();
    Some(mismatch)
}

/// The pair that has most in common: of one name, or of some label where no name is expected.
fn nearest(missing: &[&Expected], extra: &[&Alert]) -> Option<(usize, usize, usize)> {
    let score = |expected: &Expected, alert: &Alert| {
        let common = |(name, value): &&(String, String)| alert.labels.get(name) == value;
        let named = expected.labels.iter().filter(|(name, _)| name == "alertname").all(|pair| common(&pair));
        let common = expected.labels.iter().filter(common).count();
        let alike = expected.labels.len() - common <= 1 && common >= expected.labels.len().min(1);
        (named && alike).then_some(2 * common + usize::from(expected.state == alert.state))
    };
    let mut best: Option<(usize, usize, usize)> = None;
    for (e, expected) in missing.iter().enumerate() {
        for (f, alert) in extra.iter().enumerate() {
            let Some(score) = score(expected, alert) else { continue };
            if best.is_none_or(|(known, ..)| score > known) {
                best = Some((score, e, f));
            }
        }
    }
    best
}

/// For each that is expected an alert of its own, for as many as there can be.
fn pairs(expected: &[Expected], alerts: &[&Alert]) -> Vec<Option<usize>> {
    let fits: Vec<Vec<usize>> =
        expected.iter().map(|expected| (0..alerts.len()).filter(|i| expected.is(alerts[*i])).collect()).collect();
    let mut owner: Vec<Option<usize>> = vec![None; alerts.len()];
    for e in 0..expected.len() {
        find_place(e, &fits, &mut owner, &mut vec![false; alerts.len()]);
    }
    (0..expected.len()).map(|e| owner.iter().position(|owner| *owner == Some(e))).collect()
}

/// Kuhn's augmenting path: an alert that is taken is free where its owner finds another one.
fn find_place(e: usize, fits: &[Vec<usize>], owner: &mut [Option<usize>], tried: &mut [bool]) -> bool {
    for &alert in &fits[e] {
        if std::mem::replace(&mut tried[alert], true) {
            continue;
        }
        if owner[alert].is_none_or(|other| find_place(other, fits, owner, tried)) {
            owner[alert] = Some(e);
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::labels::Labels;
    use crate::time::Time;

    /// `A m=a 12 pending`
    fn alert(text: &str) -> Alert {
        let mut words = text.split(' ');
        let mut labels: Labels = [("alertname", words.next().unwrap())].into_iter().collect();
        let (mut value, mut state) = (1.0, State::Firing);
        for word in words {
            match word.split_once('=') {
                Some((name, text)) => labels.set(name, text),
                None if word == "pending" => state = State::Pending,
                None => value = word.parse().unwrap(),
            }
        }
        let (annotations, evidence) = (Labels::default(), "12 of 13".to_owned());
        let (active_at, fired_at, resolved_at, absent_since) = (Time::default(), None, None, None);
        Alert {
            labels,
            annotations,
            value,
            evidence,
            state,
            active_at,
            fired_at,
            resolved_at,
            absent_since,
            late: false,
            posted: None,
        }
    }

    fn expected(text: &str) -> Expected {
        let alert = alert(text);
        let labels = alert.labels.iter().filter(|(_, value)| *value != "?").map(|(n, v)| (n.to_owned(), v.to_owned())).collect();
        let value = (alert.value != 1.0).then_some(alert.value);
        let place = crate::diag::Place { file: Default::default(), bytes: 0..0 };
        let (annotations, evidence, exact) = (Vec::new(), None, text.contains("exact="));
        Expected { place, labels, exact, state: alert.state, late: None, value, annotations, evidence }
    }

    /// `missing/extra/near`, by their number; nothing where all is met.
    fn check(wanted: &[&str], found: &[&str], counts: &str) {
        let wanted: Vec<Expected> = wanted.iter().map(|text| expected(text)).collect();
        let alerts: Vec<Alert> = found.iter().map(|text| alert(text)).collect();
        let said = compare(&wanted, &Found::new(alerts.iter()));
        let said = said.map(|m| format!("{}/{}/{}", m.missing.len(), m.extra.len(), m.near.len())).unwrap_or_default();
        assert_eq!(said, counts, "{wanted:?} {found:?}");
    }

    #[test]
    fn alerts_are_matched_one_to_one() {
        check(&[], &[], "");
        check(&["A"], &["A m=a s=high"], "");
        check(&["A m=a"], &["A m=b"], "0/0/1");
        check(&["A m=a n=b"], &["A m=b n=c"], "1/1/0");
        check(&["A"], &["B"], "1/1/0");
        check(&["A"], &[], "1/0/0");
        check(&[], &["A"], "0/1/0");
        // Each takes one, whichever comes first.
        check(&["A", "A m=a"], &["A m=a", "A m=b"], "");
        check(&["A", "A m=b"], &["A m=a", "A m=b"], "");
        check(&["A", "A"], &["A m=a"], "1/0/0");
        check(&["A"], &["A m=a", "A m=b"], "0/1/0");
        check(&["A", "A m=a", "A m=a n=1"], &["A m=a n=1", "A m=a n=2", "A m=b"], "");
    }

    #[test]
    fn values_are_compared_to_a_millionth() {
        check(&["A 12"], &["A 12"], "");
        check(&["A 12"], &["A 13"], "0/0/1");
        check(&["A 0.333333"], &["A 0.33333333333"], "");
        check(&["A 0.33333"], &["A 0.33333333333"], "0/0/1");
    }

    #[test]
    fn pending_alerts_count_where_one_is_expected() {
        check(&[], &["A pending"], "");
        check(&["A pending"], &["A pending"], "");
        check(&["A pending"], &["A"], "0/0/1");
        check(&["A"], &["A pending"], "1/0/0");
        check(&["A pending"], &["A pending", "B pending"], "0/1/0");
        check(&["A pending"], &["A pending", "B"], "0/1/0");
    }

    #[test]
    fn labels_may_be_exact() {
        let exact = Expected { exact: true, ..expected("A m=a") };
        assert!(exact.is(&alert("A m=a")) && !exact.is(&alert("A m=a s=high")));
        let found = exact.differences(&alert("A m=a s=high"));
        assert_eq!(found, [Difference { name: "label s".to_owned(), expected: None, found: Some("high".to_owned()) }]);
    }

    #[test]
    fn evidence_is_part_of_it() {
        let of = |text: &str| Expected { evidence: Some(text.to_owned()), ..expected("A") };
        assert!(of("12 of").is(&alert("A")) && !of("13 of").is(&alert("A")));
    }
}
