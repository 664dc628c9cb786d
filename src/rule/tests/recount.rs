//! Whatever calls come, in whatever order: what each kind finds is what a recount of the calls says.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

/// A call as it was made up.
#[derive(Clone, Debug)]
struct Call {
    /// Before noon.
    ago_ms: i64,
    outcome: char,
    model: &'static str,
    count: i64,
    latency_ms: Option<i64>,
    /// In tenths.
    quality: Option<i64>,
}

impl Call {
    fn line(&self) -> String {
        let latency = self.latency_ms.map_or_else(String::new, |ms| format!(" @{ms}ms"));
        let quality = self.quality.map_or_else(String::new, |tenths| format!(" quality={}", tenths as f64 / 10.0));
        format!("-{}ms {} {} *{}{latency}{quality}", self.ago_ms, self.outcome, self.model, self.count)
    }
}

fn calls(ago_ms: impl Strategy<Value = i64>) -> impl Strategy<Value = Vec<Call>> {
    let outcome = prop_oneof![Just('x'), Just('.'), Just('.'), Just('?')];
    let numbers = (prop::option::of(100i64..6_000), prop::option::of(-20i64..60));
    let call = (ago_ms, outcome, prop_oneof![Just("a"), Just("b")], 1i64..4, numbers);
    let call = call.prop_map(|(ago_ms, outcome, model, count, (latency_ms, quality))| Call {
        ago_ms,
        outcome,
        model,
        count,
        latency_ms,
        quality,
    });
    prop::collection::vec(call, 0..60)
}

/// The calls of a window that end at an instant, in minutes after noon, each as often as it counts.
fn window(calls: &[Call], at: i64, minutes: i64) -> Vec<&Call> {
    let ends = |call: &&Call| {
        let before = call.ago_ms + at * 60_000;
        (0..minutes * 60_000).contains(&before) && call.outcome != '?'
    };
    calls.iter().filter(ends).flat_map(|call| std::iter::repeat_n(call, call.count as usize)).collect()
}

/// What a kind is to find in the calls of one model: labels beside it with the value, and whether they are certain.
type Recount = fn(&[Call], i64) -> Vec<(&'static str, f64, bool)>;

fn failed(calls: &[&Call]) -> (f64, f64) {
    (calls.iter().filter(|call| call.outcome == 'x').count() as f64, calls.len() as f64)
}

fn slow(calls: &[&Call]) -> (f64, f64) {
    let known = calls.iter().filter_map(|call| call.latency_ms);
    (known.clone().filter(|ms| *ms > 2_000).count() as f64, known.count() as f64)
}

/// Nearest rank: the value, and whether it is beyond the bound for certain, though it is known within 1.1 % only.
fn quantile(mut values: Vec<f64>, share: f64, bound: f64, above: bool) -> Vec<(&'static str, f64, bool)> {
    values.sort_by(f64::total_cmp);
    let Some(value) = values.get(((share * values.len() as f64).ceil() as usize).max(1) - 1).copied() else { return Vec::new() };
    let margin = 0.012 * value.abs();
    let beyond = |slack: f64| if above { value > bound + slack } else { value < bound - slack };
    if beyond(-margin) { vec![("", value, beyond(margin))] } else { Vec::new() }
}

fn when(holds: bool, label: &'static str, value: f64) -> Vec<(&'static str, f64, bool)> {
    if holds { vec![(label, value, true)] } else { Vec::new() }
}

fn quality(calls: &[&Call]) -> Vec<f64> {
    calls.iter().filter_map(|call| call.quality).map(|tenths| tenths as f64 / 10.0).collect()
}

/// A budget of 20 %: two burn conditions and what is left.
fn burn(calls: &[Call], at: i64, bad: fn(&[&Call]) -> (f64, f64)) -> Vec<(&'static str, f64, bool)> {
    let of = |minutes| bad(&window(calls, at, minutes));
    // In whole numbers: bad / all > factor / 5.
    let burns = |(bad, all): (f64, f64), factor: f64| 5.0 * bad > factor * all;
    let value = |(bad, all): (f64, f64)| 5.0 * bad / all;
    let (half, hour, two) = (of(30), of(60), of(120));
    let mut found = Vec::new();
    if half.1 >= 3.0 && burns(half, 3.0) {
        found.extend(when(true, "page", value(half)));
    } else if hour.1 >= 3.0 && burns(hour, 2.0) && burns(of(10), 2.0) {
        found.extend(when(true, "page", value(hour)));
    }
    found.extend(when(two.1 >= 3.0 && burns(two, 0.5), "left", 1.0 - value(two)));
    found
}

const BURN: &str = "objective: 80%, period: 2h, min_requests: 3, by: [model], budget_left: {less_than: 50%, severity: left}, \
    conditions: [{long: 1h, short: 10m, factor: 2, severity: page}, {long: 30m, short: none, factor: 3, severity: page}]";

const KINDS: [(&str, Recount); 9] = [
    ("error_rate: {more_than: 40%, within: 10m, min_requests: 3, by: [model]}", |calls, at| {
        let (bad, all) = failed(&window(calls, at, 10));
        when(all >= 3.0 && bad * 10.0 > all * 4.0, "", bad / all)
    }),
    ("error_spike: {more_than: 4, within: 20m, by: [model]}", |calls, at| {
        let (bad, _) = failed(&window(calls, at, 20));
        when(bad > 4.0, "", bad)
    }),
    ("latency: {quantile: p75, more_than: 2s, within: 10m, min_requests: 2, by: [model]}", |calls, at| {
        let known: Vec<f64> = window(calls, at, 10).iter().filter_map(|call| call.latency_ms).map(|ms| ms as f64 / 1e3).collect();
        if known.len() < 2 { Vec::new() } else { quantile(known, 0.75, 2.0, true) }
    }),
    ("measure: {of: quality, below: 2, within: 20m, min_values: 2, by: [model]}", |calls, at| {
        let tenths: Vec<i64> = window(calls, at, 20).iter().filter_map(|call| call.quality).collect();
        let (sum, n) = (tenths.iter().sum::<i64>(), tenths.len() as i64);
        when(n >= 2 && sum < 20 * n, "", sum as f64 / 10.0 / n as f64)
    }),
    ("measure: {of: quality, stat: min, below: 0, within: 20m, by: [model]}", |calls, at| {
        let low = quality(&window(calls, at, 20)).into_iter().reduce(f64::min);
        low.map_or_else(Vec::new, |low| when(low < 0.0, "", low))
    }),
    ("measure: {of: quality, stat: max, above: 4.2, within: 1h, by: [model]}", |calls, at| {
        let high = quality(&window(calls, at, 60)).into_iter().reduce(f64::max);
        high.map_or_else(Vec::new, |high| when(high > 4.2, "", high))
    }),
    ("measure: {of: quality, stat: median, below: 2.5, within: 20m, by: [model]}", |calls, at| {
        quantile(quality(&window(calls, at, 20)), 0.5, 2.5, false)
    }),
    ("slo_burn_rate: {BURN}", |calls, at| burn(calls, at, failed)),
    ("slo_burn_rate: {latency: {under: 2s}, BURN}", |calls, at| burn(calls, at, slow)),
];

/// What is found, by model and severity.
fn by_label(findings: &[Finding]) -> BTreeMap<(String, String), f64> {
    let key = |finding: &Finding| (finding.labels.get("model").to_owned(), finding.labels.get("severity").to_owned());
    findings.iter().map(|finding| (key(finding), finding.value)).collect()
}

/// All that is certain is found, and nothing that is not expected.
fn agrees(found: &BTreeMap<(String, String), f64>, expected: &BTreeMap<(String, String), (f64, bool)>) -> bool {
    let near = |a: f64, b: f64, exact: bool| (a - b).abs() <= if exact { 1e-9 } else { 0.012 * b.abs() + 1e-9 };
    expected.iter().all(|(key, (_, certain))| !certain || found.contains_key(key))
        && found.iter().all(|(key, value)| {
            expected.get(key).is_some_and(|(known, certain)| near(*value, *known, *certain) || near(*value, *known, false))
        })
}

fn rules_of<'a>(kinds: impl Iterator<Item = &'a str>) -> String {
    let rules: Vec<String> = kinds.map(|kind| format!("{{alert: A, {}}}", kind.replace("BURN", BURN))).collect();
    format!("groups: [{{name: g, interval: 1s, rules: [{}]}}]", rules.join(", "))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    /// Windows slide to instants in any order; the verdicts are those of a recount.
    #[test]
    fn verdicts_equal_a_recount(calls in calls(-30 * 60_000i64..130 * 60_000), at in prop::collection::vec(-10i64..40, 1..8)) {
        let lines: Vec<String> = calls.iter().map(Call::line).map(|line| line.replace("--", "")).collect();
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        let (mut rules, mut windows) = world(&rules_of(KINDS.iter().map(|(kind, _)| *kind)), false, &lines, Time::MIN);
        for at in at {
            for (rule, (kind, recount)) in rules.iter_mut().zip(&KINDS) {
                let findings = rule.findings(&mut windows, &Answers::new(), NOON + Span::secs(60 * at));
                let mut expected = BTreeMap::new();
                for model in ["a", "b"] {
                    let of_model: Vec<Call> = calls.iter().filter(|call| call.model == model).cloned().collect();
                    for (label, value, certain) in recount(&of_model, at) {
                        expected.insert((model.to_owned(), label.to_owned()), (value, certain));
                    }
                }
                let found = by_label(&findings);
                prop_assert!(agrees(&found, &expected), "{} at {}: found {:?}, expected {:?}", kind, at, found, expected);
            }
        }
    }

    /// The usual is that of the same hour on the days since the first call.
    #[test]
    fn spikes_over_the_usual_equal_a_recount(calls in calls((0i64..6, 0i64..90 * 60_000).prop_map(|(day, ms)| day * 86_400_000 + ms)), at in prop::collection::vec(-10i64..40, 1..8)) {
        let kind = "error_spike: {factor: 1.5, within: 1h, days: 4, min_days: 2, min_errors: 2, by: [model]}";
        let lines: Vec<String> = calls.iter().map(Call::line).collect();
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        let (mut rules, mut windows) = world(&rules_of([kind].into_iter()), false, &lines, Time::MIN);
        for at in at {
            let mut expected = BTreeMap::new();
            for model in ["a", "b"] {
                let of_model: Vec<Call> = calls.iter().filter(|call| call.model == model).cloned().collect();
                let Some(first) = of_model.iter().map(|call| call.ago_ms).max() else { continue };
                let failures = |day: i64| failed(&window(&of_model, at - day * 1_440, 60)).0 as i64;
                // A day whose window ends before the first call does not count.
                let counted = (1..=4).take_while(|day| first + (at - day * 1_440) * 60_000 >= 0);
                let mut earlier: Vec<i64> = counted.map(failures).collect();
                earlier.sort_unstable();
                let (n, now) = (earlier.len(), failures(0));
                if n >= 2 && now >= 2 && 4 * now > 3 * (earlier[(n - 1) / 2] + earlier[n / 2]) {
                    expected.insert((model.to_owned(), String::new()), (now as f64, true));
                }
            }
            let found = by_label(&rules[0].findings(&mut windows, &Answers::new(), NOON + Span::secs(60 * at)));
            prop_assert!(agrees(&found, &expected), "at {}: found {:?}, expected {:?}", at, found, expected);
        }
    }
}
