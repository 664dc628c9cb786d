use proptest::prelude::*;

use super::*;
use crate::time::Time;
use crate::yaml;

fn rules(text: &str) -> (Vec<InhibitRule>, Vec<String>) {
    let mut faults = Faults::default();
    let node = yaml::parse("t.yml", text, &mut faults).unwrap();
    let rules = node.items().iter().filter_map(|item| item.map(&mut faults, InhibitRule::parse)).collect();
    (rules, faults.0.iter().map(ToString::to_string).collect())
}

fn labels(text: &str) -> Labels {
    text.split_whitespace().map(|pair| pair.split_once('=').unwrap()).collect()
}

fn alert(labels: Labels, state: State) -> Alert {
    let at = Time(0);
    Alert {
        labels,
        annotations: Labels::default(),
        value: 1.0,
        evidence: String::new(),
        state,
        active_at: at,
        fired_at: Some(at),
        resolved_at: None,
        absent_since: None,
        late: false,
        posted: None,
    }
}

fn inhibitions(rules: &[InhibitRule], firing: &[&str]) -> Inhibitions {
    let alerts: Vec<Alert> = firing.iter().map(|text| alert(labels(text), State::Firing)).collect();
    Inhibitions::new(rules, &alerts)
}

#[test]
fn a_source_keeps_targets_with_equal_labels_quiet() {
    #[track_caller]
    fn check(rule: &str, firing: &[&str], target: &str, expected: &[&str]) {
        let (rules, faults) = rules(rule);
        assert_eq!(faults, Vec::<String>::new());
        let expected: Vec<Labels> = expected.iter().map(|text| labels(text)).collect();
        assert_eq!(inhibitions(&rules, firing).of(&rules, &labels(target)), expected, "{target}");
    }
    let rule = r#"[{source_matchers: ['severity="page"'], target_matchers: ['severity=~"ticket|info"'], equal: [model, org]}]"#;
    let page = "alertname=Down severity=page model=m";
    check(rule, &[page], "severity=ticket model=m", &[page]);
    check(rule, &[page], "severity=ticket model=n", &[]);
    // A missing label is the empty text, on both sides.
    check(rule, &[page], "severity=info model=m org=x", &[]);
    check(rule, &["severity=page"], "severity=info", &["severity=page"]);
    check(rule, &[page], "severity=other model=m", &[]);
    check(rule, &[], "severity=ticket model=m", &[]);
    // Of many the first in the order of labels.
    check(
        rule,
        &["severity=page model=m z=2", "severity=page model=m z=1"],
        "severity=info model=m",
        &["severity=page model=m z=1"],
    );
    // The deprecated keys, and no equal labels: any source for any target.
    let old = "[{source_match: {a: '1'}, source_match_re: {b: 'x|y'}, target_match: {c: '1'}, target_match_re: {d: z.*}}]";
    check(old, &["a=1 b=y"], "c=1 d=zz", &["a=1 b=y"]);
    check(old, &["a=1 b=q"], "c=1 d=zz", &[]);
    check(old, &["a=1 b=x"], "c=1", &[]);
    // Several rules, each with its first; each alert once.
    let two = "[{source_matchers: [a=1], target_matchers: [t=1]}, {source_matchers: [b=1], target_matchers: [t=1]}]";
    check(two, &["a=1", "b=1"], "t=1", &["a=1", "b=1"]);
    check(two, &["a=1 b=1"], "t=1", &["a=1 b=1"]);
}

#[test]
fn those_that_match_both_sides_do_not_inhibit_each_other() {
    let (rules, _) = rules("[{source_matchers: ['a=~\"1|2\"'], target_matchers: ['b=~\"1|2\"'], equal: [e]}]");
    let found = |firing: &[&str], target: &str| inhibitions(&rules, firing).of(&rules, &labels(target));
    assert_eq!(found(&["a=1 b=1"], "a=1 b=1"), []);
    assert_eq!(found(&["a=1 b=1", "a=2 b=2"], "a=1 b=1"), []);
    // One that is only a source inhibits it all the same, and it inhibits one that is only a target.
    assert_eq!(found(&["a=1 b=1", "a=2"], "a=1 b=1"), [labels("a=2")]);
    assert_eq!(found(&["a=1 b=1"], "b=2"), [labels("a=1 b=1")]);
}

#[test]
fn only_what_fires_inhibits() {
    let (rules, _) = rules("[{source_matchers: [a=1], target_matchers: [b=1]}]");
    for (state, expected) in [(State::Pending, 0), (State::Firing, 1), (State::Resolved, 0)] {
        let alerts = [alert(labels("a=1"), state)];
        assert_eq!(Inhibitions::new(&rules, &alerts).of(&rules, &labels("b=1")).len(), expected);
    }
}

#[test]
fn faults_have_a_place() {
    #[track_caller]
    fn check(text: &str, expected: &[&str]) {
        let (_, faults) = rules(text);
        assert_eq!(faults.len(), expected.len(), "{faults:?}");
        for (fault, expected) in faults.iter().zip(expected) {
            assert!(fault.contains(expected), "{fault}");
        }
    }
    check(
        "[{source_matchers: [a], target_match: {b-c: d}, equal: [e-f]}]",
        &[
            "t.yml:1:21: source_matchers: `a` is no matcher",
            "target_match: `b-c` is no name of a label",
            "equal: `e-f` is no name of a label",
        ],
    );
    check(
        "[{name: x}]",
        &["without `source_matchers` every alert quietens", "without `target_matchers` every alert is quietened by"],
    );
    check("[{name: x, source_matchers: [a=b], target_matchers: [c=d], equals: [e]}]", &["did you mean `equal`?"]);
}

proptest! {
    /// Against the definition, alert by alert.
    #[test]
    fn the_index_finds_what_the_definition_says(
        firing in prop::collection::vec(prop::collection::vec(0..3_u8, 4), 0..12),
        targets in prop::collection::vec(prop::collection::vec(0..3_u8, 4), 1..6),
        sides in prop::collection::vec((0..4_usize, 1..3_u8, 0..4_usize, 1..3_u8, any::<bool>(), prop::collection::vec(0..4_usize, 0..3)), 1..4),
    ) {
        const NAMES: [&str; 4] = ["a", "b", "c", "d"];
        let set = |values: &Vec<u8>| -> Labels {
            NAMES.iter().zip(values).map(|(name, value)| (*name, if *value == 0 { String::new() } else { value.to_string() })).collect()
        };
        let rules: Vec<InhibitRule> = sides.iter().map(|(source, sv, target, tv, negated, equal)| InhibitRule {
            source: Matchers::parse(&format!("{}=\"{sv}\"", NAMES[*source])).unwrap(),
            target: Matchers::parse(&format!("{}{}=\"{tv}\"", NAMES[*target], if *negated { "!" } else { "" })).unwrap(),
            equal: equal.iter().map(|n| NAMES[*n].to_owned()).collect(),
        }).collect();
        let alerts: Vec<Alert> = firing.iter().map(|values| alert(set(values), State::Firing)).collect();
        let inhibitions = Inhibitions::new(&rules, &alerts);
        for target in targets.iter().map(set).chain(alerts.iter().map(|alert| alert.labels.clone())) {
            let by = |rule: &InhibitRule| {
                let two_sided = |labels: &Labels| rule.source.matches(labels) && rule.target.matches(labels);
                let holds = |source: &&Labels| {
                    rule.target.matches(&target)
                        && rule.source.matches(source)
                        && rule.equal.iter().all(|name| source.get(name) == target.get(name))
                        && !(two_sided(&target) && two_sided(source))
                };
                alerts.iter().map(|alert| &alert.labels).filter(holds).min().cloned()
            };
            let mut expected: Vec<Labels> = Vec::new();
            for source in rules.iter().filter_map(by) {
                if !expected.contains(&source) {
                    expected.push(source);
                }
            }
            prop_assert_eq!(inhibitions.of(&rules, &target), expected);
        }
    }
}
