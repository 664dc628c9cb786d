//! In which order alerts stand in a message of Alertmanager: by `job`, by `instance`, then as its label sets are ordered
//! (`alert.AlertSlice`, and `LabelSet.Before` of prometheus/common).

use std::cmp::Ordering;

use crate::alert::Alert;
use crate::labels::Labels;

/// Sorts as Alertmanager does.
pub(super) fn sort(alerts: &mut [Alert]) {
    alerts.sort_by(|a, b| before(&a.labels, &b.labels));
}

fn before(a: &Labels, b: &Labels) -> Ordering {
    let by = |name| first_with(a.0.get(name), b.0.get(name));
    // The one with fewer labels first; else the first name that only one of them has (the other one is first), or whose
    // values differ, decides.
    let names = || a.0.keys().chain(b.0.keys()).collect::<std::collections::BTreeSet<_>>();
    let order = |name| a.0.get(name).cmp(&b.0.get(name));
    let by_names = || names().into_iter().map(order).find(|order| order.is_ne()).unwrap_or(Ordering::Equal);
    by("job").then_with(|| by("instance")).then_with(|| a.0.len().cmp(&b.0.len())).then_with(by_names)
}

/// Whoever has the label comes first.
fn first_with(a: Option<&String>, b: Option<&String>) -> Ordering {
    match (a, b) {
        (Some(a), Some(b)) => a.cmp(b),
        (a, b) => b.is_some().cmp(&a.is_some()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_ordered_as_in_alertmanager() {
        #[track_caller]
        fn check(a: &[(&str, &str)], b: &[(&str, &str)]) {
            let [a, b]: [Labels; 2] = [a, b].map(|pairs| pairs.iter().copied().collect());
            assert_eq!((before(&a, &b), before(&b, &a)), (Ordering::Less, Ordering::Greater), "{a} {b}");
        }
        check(&[("job", "a"), ("x", "2"), ("y", "1")], &[("job", "b")]);
        check(&[("job", "b")], &[("alertname", "a")]);
        check(&[("instance", "b"), ("x", "1")], &[("a", "a")]);
        check(&[("job", "a"), ("instance", "1"), ("z", "1")], &[("job", "a"), ("instance", "2")]);
        check(&[("z", "9")], &[("a", "1"), ("b", "1")]);
        check(&[("a", "1"), ("c", "9")], &[("a", "2"), ("c", "1")]);
        check(&[("a", "1"), ("c", "1")], &[("a", "1"), ("b", "9")]);
    }
}
