use super::*;
use crate::rule::share::three_digits;

/// `severity value`, or `condition value`, of each finding.
fn burns(rules: &mut [Rule], windows: &mut Windows, at: Time) -> String {
    let findings = rules[0].findings(windows, &Answers::new(), at);
    let one = |finding: &Finding| {
        let labels = ["model", "severity", "condition"].map(|label| finding.labels.get(label)).join(" ");
        format!("{} {}", labels.trim(), three_digits(finding.value)).trim().to_owned()
    };
    findings.iter().map(one).collect::<Vec<_>>().join(", ")
}

#[track_caller]
fn on(options: &str, calls: &[&str], at: &str, expected: &str) {
    let kind = format!("slo_burn_rate: {{{options}}}");
    let (mut rules, mut windows) = world(&one_rule(&kind), false, calls, Time::MIN);
    assert_eq!(burns(&mut rules, &mut windows, instant(at)), expected, "{options} at {at}");
}

#[test]
fn both_windows_burn_faster_than_the_factor() {
    let week = "objective: 99%, period: 7d, conditions: [{long: 15m, factor: 8}]";
    on(week, &[], "0", "");
    on(week, &["-1m . a *92", "-30s x a *8"], "0", "");
    on(week, &["-1m . a *91", "-30s x a *9"], "0", "9");
    on(week, &["-1m . a *100"], "0", "");
    // The short one is a twelfth of the long one; there the failures are over, or nothing happens.
    on(week, &["-2m x a *9", "-30s . a *91"], "0", "");
    on(week, &["-2m x a *9"], "0", "");
    on(week, &["-75s x a *9"], "0", "");
    on(week, &["-74s x a *9"], "0", "100");
    on("objective: 99%, conditions: [{long: 15m, short: none, factor: 8}]", &["-14m x a *9", "-30s . a *91"], "0", "9");
    on("objective: 99%, conditions: [{long: 15m, short: 5m, factor: 8}]", &["-4m x a *9", "-6m . a *91"], "0", "9");
    on("objective: 99%, conditions: [{long: 15m, short: 5m, factor: 8}]", &["-6m x a *9", "-4m . a *91"], "0", "");
    // The old end of the long one.
    on(week, &["-15m . a *900", "-30s x a *9"], "0", "100");
    on(week, &["-14m59s . a *900", "-30s x a *9"], "0", "");
    on(week, &["-1m ? a *900", "-30s x a *9"], "0", "100");
    on(&format!("{week}, by: [model]"), &["-30s x a *9", "-30s . b *9"], "0", "a 100");
}

#[test]
fn few_calls_hold_no_condition() {
    let guarded = "objective: 99%, conditions: [{long: 15m, factor: 8}], min_requests: 20";
    on(guarded, &["-30s x a *19", "-30s ? a *9"], "0", "");
    on(guarded, &["-30s x a *20"], "0", "100");
    // The long window has enough of them; how many there are in the short one does not matter.
    on(guarded, &["-5m . a *19", "-30s x a *2"], "0", "9.52");
}

/// One alert for each severity, and its name stays the same while the condition behind it changes.
#[test]
fn the_first_condition_of_each_severity_is_told() {
    let both = "objective: 99%, conditions: [{long: 1h, factor: 2, severity: page}, {long: 10m, factor: 5, severity: page}, \
                {long: 2h, factor: 1, severity: ticket}]";
    let calls = ["-55m . a *1000", "-30s x a *60"];
    on(both, &["-50s . a *90", "-30s x a *10"], "0", "page 10, ticket 10");
    on(both, &["-50s . a *97", "-30s x a *3"], "0", "page 3, ticket 3");
    on(both, &calls, "0", "page 100, ticket 5.66");
    on(both, &calls, "3m", "page 5.66, ticket 5.66");
    on(both, &calls, "5m", "ticket 5.66");
    on(both, &["-50s . a *985", "-30s x a *15"], "0", "ticket 1.5");
    // The rule's own label makes one alert of all; that of the fastest condition.
    let kind = format!("slo_burn_rate: {{{both}}}, labels: {{severity: high}}");
    let (mut rules, mut windows) = world(&one_rule(&kind), false, &calls, Time::MIN);
    assert_eq!(burns(&mut rules, &mut windows, NOON), "high 100");
    assert_eq!(burns(&mut rules, &mut windows, instant("5m")), "high 5.66");
}

#[test]
fn bad_calls_may_be_slow_ones() {
    let slow = "objective: 95%, period: 24h, latency: {under: 2s}, conditions: [{long: 10m, factor: 10}]";
    on(slow, &["-30s . a @2001ms *51", "-30s x a @1s *49"], "0", "10.2");
    on(slow, &["-30s . a @2001ms *50", "-30s x a @1s *50"], "0", "");
    on(slow, &["-30s . a @2s *51", "-30s x a @1s *49"], "0", "");
    on(slow, &["-30s . a @3s *51", "-30s x a *99", "-30s ? a @1s *99"], "0", "20");
    let told = evidence(&format!("slo_burn_rate: {{{slow}}}"), false, &["-30s . a @3s *60", "-30s . a @1s *40"]);
    assert!(told.starts_with("60 of 100 calls took longer than 2s in the 10m up to"), "{told}");
}

#[test]
fn what_is_left_is_an_alert_of_its_own() {
    let left = "objective: 99%, period: 24h, conditions: [{long: 5m, factor: 50, severity: page}], \
                budget_left: {less_than: 10%, severity: page}";
    on(left, &["-20h . a *9910", "-10h x a *90"], "0", "");
    on(left, &["-20h . a *9909", "-10h x a *91"], "0", "page budget_left 0.09");
    on(left, &["-20h . a *9900", "-10h x a *100"], "0", "page budget_left 0");
    on(left, &["-20h . a *9800", "-10h x a *200"], "0", "page budget_left -1");
    on(left, &["-24h x a *200", "-1h . a"], "0", "");
    // Both at once are two alerts, though of one severity.
    on(left, &["-20h . a *9000", "-10s x a *1000"], "0", "page 100, page budget_left -9");
    on(&format!("{left}, min_requests: 100"), &["-20h x a *99"], "0", "");
    let told = |calls: &[&str]| evidence(&format!("slo_burn_rate: {{{left}}}"), false, calls);
    for (calls, expected) in [
        (
            ["-20h . a *9909", "-10h x a *91"],
            "91 of 10000 calls failed in the 1d up to NOON: the error budget of 99% over 1d is 9% left, less than 10%",
        ),
        (
            ["-20h . a *9800", "-10h x a *200"],
            "200 of 10000 calls failed in the 1d up to NOON: the error budget of 99% over 1d is overspent by 100%, less than 10%",
        ),
    ] {
        assert!(told(&calls).starts_with(&expected.replace("NOON", &NOON.to_string())), "{}", told(&calls));
    }
}

/// What is exported of each group that changed, broken or not.
#[test]
fn budgets_and_burn_rates_are_exported() {
    let kind = "slo_burn_rate: {objective: 99%, period: 24h, by: [model], \
                conditions: [{long: 1h, short: 5m, factor: 50}, {long: 5m, short: none, factor: 90}]}";
    let calls = ["-20h . a *9900", "-30m . a *95", "-20m x a *5", "-1m . b"];
    let (mut rules, mut windows) = world(&one_rule(kind), false, &calls, Time::MIN);
    let mut exported = |at: &str| {
        assert_eq!(rules[0].findings(&mut windows, &Answers::new(), instant(at)), []);
        let text = |gauge: Gauge| {
            let name = gauge.name.trim_start_matches("modelwatch_slo_");
            format!("{name} {} {}", gauge.labels, three_digits(gauge.value)).replace('"', "")
        };
        let mut lines: Vec<String> = rules[0].take_gauges(&mut windows).into_iter().map(text).collect();
        lines.sort();
        lines
    };
    assert_eq!(
        exported("0"),
        [
            "budget_left_ratio {model=a, rule=g/A} 0.95",
            "budget_left_ratio {model=b, rule=g/A} 1",
            "burn_rate {model=a, rule=g/A, window=1h} 5",
            "burn_rate {model=a, rule=g/A, window=5m} 0",
            "burn_rate {model=b, rule=g/A, window=1h} 0",
            "burn_rate {model=b, rule=g/A, window=5m} 0",
        ]
    );
    assert_eq!(exported("0"), Vec::<String>::new());
    assert_eq!(exported("45m").into_iter().filter(|line| line.contains("model=a")).count(), 3);
}

#[test]
fn it_says_what_it_compared() {
    let calls = ["-10h . a *98900", "-40m . a *800", "-1m . a *40", "-30s x a *60"];
    assert_eq!(
        evidence("slo_burn_rate: {objective: 99.9%, conditions: [{long: 1h, factor: 14.4}]}", false, &calls),
        format!(
            "60 of 900 calls failed in the 1h up to {NOON}: a burn rate of 66.7, and of 600 in the 5m up to {NOON}, both more \
             than 14.4, which uses 2% of the error budget of 99.9% over 30d in 1h; 39.9% of it is left"
        )
    );
    let alone = "slo_burn_rate: {objective: 99%, period: 7d, conditions: [{long: 15m, short: none, factor: 8}]}";
    assert_eq!(
        evidence(alone, false, &["-1m . a *80", "-30s x a *20"]),
        format!(
            "20 of 100 calls failed in the 15m up to {NOON}: a burn rate of 20, more than 8, which uses 1.19% of the error \
             budget of 99% over 7d in 15m; it is overspent by 1900%"
        )
    );
}

/// The conditions of a rule as `long/short factor severity`.
fn conditions(options: &str, interval: &str) -> String {
    let yaml = format!("groups: [{{name: g, interval: {interval}, rules: [{{alert: A, slo_burn_rate: {{{options}}}}}]}}]");
    let mut faults = Faults::default();
    let rules = parse_file("t.yml", &yaml, &mut faults);
    assert!(faults.0.is_empty(), "{:?}", faults.0);
    let widths = rules[0].needs().into_iter().map(|(_, need, _)| match need {
        Need::Window { width, .. } => width.to_string(),
        _ => panic!("{need:?}"),
    });
    widths.collect::<Vec<_>>().join(" ")
}

#[test]
fn windows_are_googles_or_given() {
    for (options, interval, expected) in [
        ("objective: 99.9%", "15s", "30d 1h 5m 6h 30m 1d 2h 3d 6h"),
        ("objective: 99%, period: 28d", "15s", "28d 1h 5m 6h 30m 1d 2h 3d 6h"),
        // 10 % in 1 or 3 days are no faster than 1 there.
        ("objective: 99%, period: 7d", "15s", "7d 1h 5m 6h 30m"),
        ("objective: 99%, period: 14d", "15s", "14d 1h 5m 6h 30m 1d 2h"),
        ("objective: 99%, period: 90d", "15s", "90d 1h 5m 6h 30m 1d 2h 3d 6h"),
        // Shorter than the time between two looks would see a part of what happens.
        ("objective: 99%, conditions: [{long: 10m, factor: 5}, {long: 6m, factor: 9}]", "1m", "30d 6m 1m 10m 1m"),
        ("objective: 99%, conditions: [{long: 10m, factor: 5}]", "15s", "30d 10m 50s"),
        ("objective: 99%, conditions: [{long: 10m, short: 30s, factor: 5}]", "1m", "30d 10m 30s"),
        ("objective: 99%, conditions: [{long: 10m, short: none, factor: 5}]", "1m", "30d 10m"),
    ] {
        assert_eq!(conditions(options, interval), expected, "{options} each {interval}");
    }
}

/// A rule in steady traffic of 10 000 calls a second, healthy until the errors begin.
struct Lab {
    rules: Vec<Rule>,
    windows: Windows,
}

const BEGIN: Time = Time(NOON.0 + 3 * 86_400_000_000);
const RATE: f64 = 10_000.0;

impl Lab {
    /// Healthy for `secs` seconds, with a row for each `step` of them.
    fn new(options: &str, secs: i64, step: i64) -> Lab {
        let (rules, windows) = world(&one_rule(&format!("slo_burn_rate: {{{options}}}")), false, &["0s . a"], Time::MIN);
        let mut lab = Lab { rules, windows };
        (0..secs / step).for_each(|i| lab.calls(BEGIN - Span::secs(i * step), step, 0.0));
        lab
    }

    /// The calls of the last `secs` seconds, of which a share failed.
    fn calls(&mut self, at: Time, secs: i64, share: f64) {
        let failed = (share * RATE).round() as u32 * secs as u32;
        let both = [(Outcome::Failure, failed), (Outcome::Success, RATE as u32 * secs as u32 - failed)];
        for (outcome, count) in both.into_iter().filter(|(_, count)| *count > 0) {
            let event = Event { time: at, count, outcome, ..Event::default() };
            self.windows.add(0, &[event], at, false);
        }
    }

    /// Lets a share fail, and says after how many seconds that is found, with the finding.
    fn detect(&mut self, share: f64, step: i64, until: i64) -> Option<(i64, Finding)> {
        (1..=until / step).map(|i| i * step).find_map(|secs| {
            let at = BEGIN + Span::secs(secs);
            self.calls(at, step, share);
            Some((secs, self.rules[0].findings(&mut self.windows, &Answers::new(), at).pop()?))
        })
    }
}

/// One condition of an objective: after how long steady errors are found, and what they have used of the budget by then.
#[track_caller]
fn check_detection(objective: f64, period: &str, long: &str, short: &str, factor: f64, errors: f64) -> Option<i64> {
    let options =
        format!("objective: {objective}%, period: {period}, conditions: [{{long: {long}, short: {short}, factor: {factor}}}]");
    let [period, window] = [period, long].map(|text| Span::parse(text).unwrap().as_secs_f64());
    let budget = 1.0 - objective / 100.0;
    let expected = budget / errors * window * factor;
    let can = errors > factor * budget * (1.0 + 1e-9);
    // Second by second, and where that would take days minute by minute.
    let step = if expected <= 3_600.0 { 1 } else { 60 };
    let mut lab = Lab::new(&options, (window * 1.1) as i64, (window / 3_600.0).max(1.0) as i64);
    let found = lab.detect(errors, step, (window * 1.1) as i64);
    let what = format!("{options}, {errors} failing: expected {expected} s, found {found:?}");
    assert_eq!(found.is_some(), can, "{what}");
    let (secs, finding) = found?;
    // A window ends at the end of its last bucket, and so misses up to one of 240 at its old end.
    let (early, late) = (expected * (1.0 - 1.0 / 240.0), expected * (1.0 + 1.0 / 1_000.0) + step as f64);
    assert!((early..=late).contains(&(secs as f64)), "{what}");
    let (used, share) = (errors * secs as f64 / (budget * period), factor * window / period);
    let of_step = errors * step as f64 / (budget * period);
    assert!(
        (share * (1.0 - 1.0 / 240.0)..=share * (1.0 + 1.0 / 1_000.0) + of_step).contains(&used),
        "{what}: used {used}, not {share}"
    );
    let told = format!("uses {} of the error budget", crate::rule::share::percent(share));
    assert!(finding.evidence.contains(&told), "{told}: {}", finding.evidence);
    Some(secs)
}

const GOOGLE: [(&str, &str, f64, f64); 4] =
    [("1h", "5m", 14.4, 0.02), ("6h", "30m", 6.0, 0.05), ("1d", "2h", 3.0, 0.1), ("3d", "6h", 1.0, 0.1)];

/// The table of SEMANTICS.md section 5.
#[test]
fn full_outages_are_found_as_the_table_says() {
    for (objective, seconds) in
        [(99.0, ["518", "1296", "2592", "2592"]), (99.9, ["52", "130", "259", "259"]), (99.99, ["6", "13", "26", "26"])]
    {
        for ((long, short, factor, used), expected) in GOOGLE.into_iter().zip(seconds) {
            let secs = check_detection(objective, "30d", long, short, factor, 1.0).unwrap();
            let window = Span::parse(long).unwrap().as_secs_f64();
            assert!((used - factor * window / (30.0 * 86_400.0)).abs() < 1e-12);
            let expected: i64 = expected.parse().unwrap();
            // 0.4 % early at most: the part of a bucket.
            assert!((expected - expected / 240 - 1..=expected + 1).contains(&secs), "{objective} {long}: {secs}, {expected}");
        }
    }
}

#[test]
fn steady_errors_are_found_in_proportion() {
    for objective in [99.0, 99.9, 99.99] {
        for (long, short, factor, _) in GOOGLE {
            for errors in [0.5, 0.1, 0.02, 0.01, 0.001] {
                check_detection(objective, "30d", long, short, factor, errors);
            }
        }
    }
}

/// The objectives of AI GYM, with its own conditions.
#[test]
fn conditions_of_ones_own_are_found_in_proportion() {
    for (objective, period, conditions) in [
        (99.0, "7d", [("15m", 8.0), ("2h", 2.0)]),
        (95.0, "24h", [("10m", 10.0), ("1h", 2.0)]),
        (99.9, "30d", [("1h", 14.4), ("6h", 6.0)]),
        (99.5, "24h", [("5m", 12.0), ("30m", 4.0)]),
    ] {
        for (long, factor) in conditions {
            let short = Span(Span::parse(long).unwrap().0 / 12).to_string();
            for errors in [1.0, 0.6, 0.2, 0.05, 0.02] {
                check_detection(objective, period, long, &short, factor, errors);
            }
        }
    }
}

/// All default conditions at once: who is told first, and that it ends with the outage and not an hour later.
#[test]
fn an_outage_pages_first_and_its_page_ends_soon_after() {
    let mut lab = Lab::new("objective: 99.9%", 3 * 86_400, 60);
    let (secs, finding) = lab.detect(1.0, 1, 600).unwrap();
    assert_eq!((secs, finding.labels.get("severity")), (52, "page"));
    for (minutes, failing, expected) in
        [(2, true, "page"), (6, true, "page ticket"), (9, true, "page ticket"), (14, false, "page ticket"), (45, false, "ticket")]
    {
        let from = lab.windows.lasts(Default::default()).first().map_or(BEGIN, |last| *last);
        let until = BEGIN + Span::secs(60 * minutes);
        for secs in 1..=(until - from).0 / 1_000_000 {
            lab.calls(from + Span::secs(secs), 1, if failing { 1.0 } else { 0.0 });
        }
        let findings = lab.rules[0].findings(&mut lab.windows, &Answers::new(), until);
        let severities: Vec<&str> = findings.iter().map(|finding| finding.labels.get("severity")).collect();
        assert_eq!(severities.join(" "), expected, "after {minutes} minutes");
    }
}

#[test]
fn faults_of_its_options() {
    for (options, expected) in [
        ("period: 30d", "`objective` is missing"),
        ("objective: 100%", "objective: 100% allows no failure, so that there is no budget to burn"),
        ("objective: 99.9", "objective: `99.9` must be above 0 and at most 100%"),
        ("objective: 90%", "the default condition over 1h never holds"),
        ("objective: 99%, period: 24h", "no default condition fits a period of 1d [bad-value]; hint: give some"),
        ("objective: 99%, conditions: []", "conditions: expected at least one"),
        ("objective: 99%, conditions: [{factor: 5}]", "`long` is missing"),
        ("objective: 99%, conditions: [{long: 1h}]", "a condition needs either `factor` or `budget`"),
        ("objective: 99%, conditions: [{long: 1h, factor: 5, budget: 2%}]", "`factor` and `budget` say the same in two ways"),
        ("objective: 99%, conditions: [{long: 1h, factor: 0}]", "factor: must be more than 0"),
        (
            "objective: 95%, conditions: [{long: 1h, factor: 20}]",
            "this condition never holds: where all calls fail, the budget of 95% over 30d burns 20 times too fast, which is not \
             more than 20 [never-fires]; hint: a factor below 20",
        ),
        ("objective: 99%, conditions: [{long: 1h, budget: 90%}]", "burns 100 times too fast, which is not more than 648"),
        (
            "objective: 99%, period: 7d, conditions: [{long: 8d, factor: 2}]",
            "long: 8d is longer than the period of the objective, 7d",
        ),
        ("objective: 99%, conditions: [{long: 1h, short: 1h, factor: 5}]", "short: must be shorter than the long window, 1h"),
        ("objective: 99%, conditions: [{long: 1h, short: no, factor: 5}]", "short: `no` is no duration"),
        ("objective: 99%, latency: {over: 2s}", "`under` is missing [missing-key] | unknown key `over`"),
        ("objective: 99%, budget_left: {severity: page}", "`less_than` is missing"),
        ("objective: 99%, latency: 2s", "expected a map of keys and values"),
    ] {
        let found = fault(&format!("slo_burn_rate: {{{options}}}"));
        assert!(found.contains(expected), "{options}: {found}");
        assert!(expected.contains(" | ") || !found.contains(" | "), "{options}: {found}");
    }
}

#[test]
fn a_share_of_the_budget_is_a_factor() {
    let by_budget = "objective: 99.9%, conditions: [{long: 1h, budget: 2%}]";
    on(by_budget, &["-1m . a *9856", "-30s x a *144"], "0", "");
    on(by_budget, &["-1m . a *9855", "-30s x a *145"], "0", "14.5");
}
