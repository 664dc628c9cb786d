//! Spikes and drops at their boundaries, against a recount, and on real traffic.

use std::io::Read as _;

use proptest::prelude::*;

use super::*;

/// Calls of model `a` an hour before noon, today and on the days before.
fn by_day(counts: &[u32]) -> Vec<String> {
    let counted = counts.iter().enumerate().filter(|(_, count)| **count > 0);
    counted.map(|(day, count)| format!("-{}h . a *{count}", 24 * day + 1)).collect()
}

#[track_caller]
fn on(options: &str, counts: &[u32], expected: &str) {
    let lines = by_day(counts);
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    check(&format!("volume_anomaly: {{{options}}}"), &lines, "0", expected);
}

#[test]
fn volume_is_strictly_more_or_less_than_usual() {
    let factors = "spike: 1.75, drop: 0.4, days: 4, min_days: 3";
    on(factors, &[175, 100, 100, 100, 100], "");
    on(factors, &[176, 100, 100, 100, 100], "direction=spike 176");
    on(factors, &[40, 100, 100, 100, 100], "");
    on(factors, &[39, 100, 100, 100, 100], "direction=drop 39");
    on(factors, &[0, 100, 100, 100, 100], "direction=drop 0");
    // The median lies between the two in the middle.
    on(factors, &[262, 100, 200, 1, 900], "");
    on(factors, &[263, 100, 200, 1, 900], "direction=spike 263");
    on(factors, &[59, 100, 200, 1, 900], "direction=drop 59");
    on(factors, &[60, 100, 200, 1, 900], "");
    // Only what is asked for, and no farther back than that.
    on("drop: 0.4, days: 3", &[900, 100, 100, 100], "");
    on("spike: 1.75, days: 3", &[1, 100, 100, 100], "");
    on("spike: 2, days: 3", &[201, 100, 100, 100, 900, 900, 900, 900], "direction=spike 201");
    on("drop: 100%, days: 1", &[99, 100], "direction=drop 99");
}

#[test]
fn nothing_is_usual_before_there_are_days_enough() {
    let factors = "spike: 1.75, drop: 0.4, days: 4, min_days: 3";
    on(factors, &[900, 100, 100], "");
    on(factors, &[900, 100, 100, 1], "direction=spike 900");
    // Empty days since the first call are days.
    on(factors, &[0, 100, 0, 100], "direction=drop 0");
    on(factors, &[100, 0, 0, 100], "");
    on(factors, &[100], "");
    check("volume_anomaly: {drop: 0.5, days: 3}", &[], "0", "");
}

#[test]
fn thin_data_does_not_cry_wolf() {
    on("spike: 2, days: 3, min_baseline: 10", &[100, 9, 9, 9], "");
    on("spike: 2, days: 3, min_baseline: 10", &[100, 10, 10, 10], "direction=spike 100");
    on("drop: 0.4, days: 3, min_baseline: 10", &[0, 9, 9, 9], "");
    on("spike: 2, days: 4, min_baseline: 10", &[100, 9, 10, 9, 10], "");
    on("spike: 2, drop: 0.5, days: 3, min_calls: 100", &[99, 10, 10, 10], "");
    on("spike: 2, drop: 0.5, days: 3, min_calls: 100", &[100, 10, 10, 10], "direction=spike 100");
    on("spike: 2, drop: 0.5, days: 3, min_calls: 100", &[4, 10, 10, 10], "direction=drop 4");
}

#[test]
fn deviations_are_from_the_mean_or_the_median() {
    // Mean 5, standard deviation 2.
    let usual = |today| [today, 2, 4, 4, 4, 5, 5, 7, 9];
    on("sigma: 2, days: 8", &usual(9), "");
    on("sigma: 2, days: 8", &usual(10), "direction=spike 10");
    on("sigma: 2, days: 8", &usual(1), "");
    on("sigma: 2, days: 8", &usual(0), "direction=drop 0");
    on("sigma: 2, days: 8, only: drop", &usual(10), "");
    on("sigma: 2, days: 8, only: spike", &usual(10), "direction=spike 10");
    on("sigma: 2, days: 8, only: spike", &usual(0), "");
    // Median 4.5, distance 0.5.
    on("mads: 3, days: 8", &usual(6), "");
    on("mads: 3, days: 8", &usual(7), "direction=spike 7");
    on("mads: 3, days: 8", &usual(3), "");
    on("mads: 3, days: 8", &usual(2), "direction=drop 2");
    // What never changes is infinitely far from anything else; a little is not told.
    on("mads: 3, days: 3", &[109, 100, 100, 100], "");
    on("mads: 3, days: 3", &[110, 100, 100, 100], "direction=spike 110");
    on("sigma: 3, days: 3, min_change: 1%", &[99, 100, 100, 100], "direction=drop 99");
}

#[test]
fn users_are_counted_once_and_tokens_all() {
    let calls = ["-1h . a user=u *9", "-1h x a user=u", "-2h . a user=v", "-3h . a", "-4h ? a user=w"];
    let yesterday = ["-25h . a user=u", "-26h . a user=v", "-27h . a user=x"];
    let calls: Vec<&str> = calls.into_iter().chain(yesterday).collect();
    let users = |drop: &str| format!("volume_anomaly: {{of: users, window: 1d, drop: {drop}, days: 1, min_days: 1}}");
    check(&users("0.8"), &calls, "0", "direction=drop 2");
    check(&users("0.6"), &calls, "0", "");
    check(&users("0.8").replace("users", "{distinct: user}"), &calls, "0", "direction=drop 2");
    let told = evidence(&users("0.8"), false, &calls);
    assert_eq!(
        told,
        format!("2 users in the 1d up to {NOON}, less than 0.8 x 3, the median of the same window on the day before")
    );
    // However they ended, each stands for as many calls as it says.
    check("volume_anomaly: {spike: 2, days: 1}", &calls, "0", "direction=spike 13");
    let many = "volume_anomaly: {of: users, spike: 1.5, days: 1, min_calls: 13}";
    let more = [calls.as_slice(), &["-5h . a user=z", "-6h . a user=y", "-7h . a user=c"]].concat();
    check(many, &more, "0", "direction=spike 5");
    check(&many.replace("13", "17"), &more, "0", "");
}

/// What is gone is told until it is the usual.
#[test]
fn a_group_that_ended_does_not_fire_for_ever() {
    let calls: Vec<String> = (1..=5).map(|day| format!("-{}h . a *100", 24 * day - 23)).collect();
    let calls: Vec<&str> = calls.iter().map(String::as_str).collect();
    let rule = one_rule("volume_anomaly: {drop: 0.4, days: 4, min_days: 3, by: [model]}");
    let (mut rules, mut windows) = world(&rule, false, &calls, Time::MIN);
    let at = |days: i64| NOON + Span::secs(days * 86_400);
    let told: Vec<String> = (0..6).map(|days| found(&mut rules, &mut windows, at(days))).collect();
    // Of four windows before, two and then three are empty.
    let drop = "direction=drop model=a 0";
    assert_eq!(told, ["", drop, drop, drop, "", ""], "{:?}", rules[0].findings(&mut windows, &Answers::new(), at(3)));
    check("volume_anomaly: {drop: 0.4, days: 4, min_baseline: 51}", &calls, "2d23h59m59s", "");
}

/// Between two ends of windows, what is still to come is not missing.
#[test]
fn a_part_of_a_window_is_never_held_against_whole_ones() {
    let calls: Vec<String> = (0..4).flat_map(|day| (0..60).map(move |i| format!("-{}m . a", 1_440 * day + i))).collect();
    let calls: Vec<&str> = calls.iter().map(String::as_str).collect();
    let yaml = one_rule("volume_anomaly: {window: 5m, drop: 100%, days: 3}").replace("interval: 1s", "interval: 1m");
    let (mut rules, mut windows) = world(&yaml, false, &calls, Time::MIN);
    for seconds in -3_000..0 {
        assert_eq!(found(&mut rules, &mut windows, NOON + Span::secs(seconds)), "", "{seconds}");
    }
}

#[test]
fn volume_says_what_it_compared() {
    let calls = ["-30m . a *5", "-90m . a *1", "-150m . a *2", "-210m . a *2"];
    for (options, expected) in [
        (
            "spike: 1.75, hours: 3",
            "5 calls in the 1h up to {}, more than 1.75 x 2, the median of the same window in 3 hours before",
        ),
        (
            "sigma: 2, hours: 3",
            "5 calls in the 1h up to {}, more than 2 standard deviations (0.47 each) above 1.67, \
             the mean of the same window in 3 hours before",
        ),
        (
            "mads: 2, hours: 2, min_hours: 2",
            "5 calls in the 1h up to {}, more than 2 median deviations (0.5 each) above 1.5, \
             the median of the same window in 2 hours before",
        ),
    ] {
        let told = evidence(&format!("volume_anomaly: {{{options}}}"), false, &calls);
        assert_eq!(told, expected.replace("{}", &NOON.to_string()), "{options}");
    }
    let weekly = ["-1h . a *5", "-169h . a", "-337h . a"];
    check("volume_anomaly: {spike: 2, weeks: 4}", &weekly, "0", "direction=spike 5");
}

#[test]
fn faults_of_volume_anomaly() {
    for (options, expected) in [
        ("days: 7", "needs `spike` or `drop`, or `sigma`, or `mads`"),
        ("spike: 2, sigma: 2", "exclude each other"),
        ("sigma: 2, mads: 2", "exclude each other"),
        ("spike: 0.5", "spike: must be at least 1"),
        ("drop: 1.5", "drop: `1.5` must be above 0 and at most 100%"),
        ("sigma: 0", "sigma: must be more than 0"),
        ("spike: 2, only: drop", "`only` goes with `sigma` and `mads`"),
        ("sigma: 2, only: up", "`up` is neither `spike` nor `drop`"),
        ("spike: 2, of: rows", "`rows` is none of `calls`, `tokens`, `users`, `workspaces`, {distinct: DIMENSION}"),
        ("spike: 2, of: {distinct: a-b}", "`a-b` is no dimension"),
        ("spike: 2, of: {distnct: user}", "write it as {distinct: user}"),
        ("spike: 2, days: 3, min_days: 7", "days: 3 must be between min_days (7) and 366"),
        ("spike: 2, of: users, top: {by: org}", "volume_anomaly has no contributors to name"),
    ] {
        let found = fault(&format!("volume_anomaly: {{{options}}}"));
        assert!(found.contains(expected) && !found.contains(" | "), "{options}: {found}");
    }
}

/// The spike or drop that a recount of rows gives, as `found` writes it.
fn recounted(rows: &[(i64, u32)], at: i64, days: i64) -> String {
    let volume =
        |to: i64| rows.iter().filter(|(m, _)| (to - 60 < *m) && *m <= to).map(|(_, count)| u64::from(*count)).sum::<u64>();
    let Some(first) = rows.iter().map(|(minute, _)| *minute).min() else { return String::new() };
    let mut earlier: Vec<u64> = (1..=days).map(|day| at - 1_440 * day).take_while(|to| *to >= first).map(volume).collect();
    if earlier.len() < 2 {
        return String::new();
    }
    earlier.sort_unstable();
    let (n, now) = (earlier.len(), volume(at));
    // In twentieths: 1.75 is 35, 0.4 is 8; the median is half of this.
    let twice = earlier[(n - 1) / 2] + earlier[n / 2];
    match now * 40 {
        _ if twice < 2 => String::new(),
        amount if amount > 35 * twice => format!("direction=spike {now}"),
        amount if amount < 8 * twice => format!("direction=drop {now}"),
        _ => String::new(),
    }
}

proptest! {
    /// Whatever rows come in whatever order, wherever one looks and in whatever order, it is what a recount gives.
    #[test]
    fn volume_equals_a_recount(
        rows in prop::collection::vec((0i64..6, 0i64..240, 1u32..20), 0..60),
        looks in prop::collection::vec((0i64..7, 0i64..240), 1..20),
    ) {
        let rows: Vec<(i64, u32)> = rows.into_iter().map(|(day, minute, count)| (minute - 1_440 * day, count)).collect();
        let line = |(minute, count): &(i64, u32)| {
            if *minute < 0 { format!("-{}m . a *{count}", -minute) } else { format!("{minute}m . a *{count}") }
        };
        let lines: Vec<String> = rows.iter().map(line).collect();
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        let yaml = one_rule("volume_anomaly: {window: 1h, spike: 1.75, drop: 0.4, days: 5, min_days: 2}");
        let (mut rules, mut windows) = world(&yaml.replace("interval: 1s", "interval: 1m"), false, &lines, Time::MIN);
        for (day, minute) in looks {
            let at = minute - 1_440 * day;
            prop_assert_eq!(found(&mut rules, &mut windows, NOON + Span::secs(60 * at)), recounted(&rows, at, 5), "at {}", at);
        }
    }
}

/// `../shared/data` beside the repository, or wherever MODELWATCH_TRACES says.
fn trace(name: &str) -> Option<Vec<u8>> {
    let beside = || std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data");
    let folder = std::env::var_os("MODELWATCH_TRACES").map_or_else(beside, Into::into);
    std::fs::read(folder.join(name)).inspect_err(|_| println!("skipped: no {name} in {}", folder.display())).ok()
}

/// Five production models over 14 days, in windows of 10 minutes: every spike and drop of the truth table, and no other.
#[test]
fn spikes_and_drops_of_real_traffic_are_those_of_the_truth_table() {
    let (Some(packed), Some(truth)) = (trace("servegen_rates.csv.gz"), trace("truth/servegen.json")) else { return };
    let mut csv = String::new();
    flate2::read::GzDecoder::new(packed.as_slice()).read_to_string(&mut csv).unwrap();
    let truth: serde_json::Value = serde_json::from_slice(&truth).unwrap();
    let yaml = one_rule("volume_anomaly: {window: 10m, spike: 1.75, drop: 0.4, days: 7, min_days: 7, by: [model]}");
    let (mut rules, mut windows) = world(&yaml.replace("interval: 1s", "interval: 10m"), false, &[], Time::MIN);
    let begin = NOON;
    let (mut shapes, mut end): (Vec<&str>, _) = (Vec::new(), begin);
    for line in csv.lines().skip(1) {
        let cells: Vec<&str> = line.split(',').collect();
        let (model, at) = (cells[0], begin + Span::secs(cells[1].parse().unwrap()));
        let shape = shapes.iter().position(|known| *known == model).unwrap_or_else(|| {
            shapes.push(model);
            windows.add_shape(0, &[model.to_owned(), String::new()]);
            shapes.len() - 1
        });
        // A row stands in the middle of its window, so that it does not matter to which side that is open.
        let count = cells[2].parse().unwrap();
        let event = Event { time: at + Span::secs(300), shape: shape as u32, count, ..Event::default() };
        windows.add(0, &[event], begin, false);
        end = end.max(at + Span::secs(600));
    }
    let mut flags: BTreeMap<String, Vec<(i64, String)>> = BTreeMap::new();
    let mut at = begin;
    while at <= end {
        for finding in rules[0].findings(&mut windows, &Answers::new(), at) {
            let start = (at - begin).0 / 1_000_000 - 600;
            let flag = format!("{} {}", finding.labels.get("direction"), finding.value);
            flags.entry(finding.labels.get("model").to_owned()).or_default().push((start, flag));
        }
        at = at + Span::secs(600);
    }
    for (model, known) in truth.as_object().unwrap() {
        let rows = known["same_time_of_day_flags"]["rows"].as_array().unwrap();
        let expected = rows.iter().map(|row| (row[0].as_i64().unwrap(), format!("{} {}", row[4].as_str().unwrap(), row[1])));
        assert_eq!(flags.remove(model).unwrap_or_default(), expected.collect::<Vec<_>>(), "{model}");
    }
    assert!(flags.is_empty(), "{flags:?}");
}

/// Nanoseconds that this thread had a processor for.
fn on_processor() -> f64 {
    let told = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    told.split(' ').next().unwrap().parse().unwrap()
}

/// Time for a verdict: `cargo nextest run --release --lib --run-ignored only --no-capture nanoseconds`.
#[test]
#[ignore = "a measurement"]
fn nanoseconds_of_a_verdict() {
    for kind in [
        "volume_anomaly: {window: 1h, spike: 1.75, drop: 0.4, days: 14, by: [model]}",
        "volume_anomaly: {window: 1h, sigma: 6, days: 14, by: [model]}",
        "volume_anomaly: {window: 1h, mads: 6, days: 14, by: [model]}",
        "cost_anomaly: {window: 1h, days: 14, by: [model]}",
        "cost_anomaly: {window: 1h, days: 14, of: median, by: [model]}",
    ] {
        let (mut rules, mut windows) = world(&one_rule(kind).replace("interval: 1s", "interval: 1m"), false, &[], Time::MIN);
        // As many as the windows of these tests take.
        let groups = 1_000u32;
        for group in 0..groups {
            windows.add_shape(0, &[format!("m{group}"), String::new()]);
        }
        for day in 0..=14 {
            let event = |group: u32| {
                let count = 100 + (group * 7 + day * 13) % 40;
                let time = NOON - Span::secs(86_400 * i64::from(day) + 600);
                Event { time, shape: group, count, cost: Some(i64::from(count) * 1_000_000), ..Event::default() }
            };
            windows.add(0, &(0..groups).map(event).collect::<Vec<_>>(), NOON, false);
        }
        assert_eq!(rules[0].findings(&mut windows, &Answers::new(), NOON).len(), 0);
        let (bound, kind) = (&rules[0].bound, &rules[0].kind);
        let answers = Answers::new();
        let view = bound.view(&windows, &answers, NOON, Time::MIN);
        let start = on_processor();
        let rounds = 500;
        for _ in 0..rounds {
            for group in 0..groups {
                assert!(std::hint::black_box(kind.verdicts(&view, group)).is_empty());
            }
        }
        println!("{:.0} ns: {kind:?}", (on_processor() - start) / f64::from(rounds * groups));
    }
}
