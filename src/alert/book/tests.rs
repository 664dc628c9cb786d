//! Timelines are strings, a character a minute: `#` the rule finds the label set, `.` it does not.

use proptest::prelude::*;

use super::*;

const MINUTE: Span = Span::secs(60);

fn minute(n: usize) -> Time {
    Time(MINUTE.0 * n as i64)
}

fn policy(hold: i64, keep_firing_for: i64) -> Policy {
    Policy { hold: Span(MINUTE.0 * hold), keep_firing_for: Span(MINUTE.0 * keep_firing_for), limit: 100 }
}

fn name(i: usize) -> Labels {
    [("model", ["a", "b", "c"][i])].into_iter().collect()
}

/// What the timelines (one for each label set) show at a minute; the value is that minute.
fn findings(timelines: &[&str], at: Time) -> Vec<Finding> {
    let n = (at.0 / MINUTE.0) as usize;
    let found = timelines.iter().enumerate().filter(|(_, line)| line.as_bytes()[n] == b'#');
    let finding = |(i, _)| Finding { labels: name(i), annotations: name(i), value: n as f64, evidence: String::new() };
    found.map(finding).collect()
}

/// Lives through minutes `0..` of the timelines.
fn stepped(policy: &Policy, timelines: &[&str]) -> (Book, Vec<Change>) {
    let (mut book, mut changes) = (Book::default(), Vec::new());
    for at in (0..timelines[0].len()).map(minute) {
        changes.extend(book.step(policy, findings(timelines, at), at).unwrap());
    }
    (book, changes)
}

/// Evaluates minutes `from..` of the timelines again.
fn revised(book: &mut Book, policy: &Policy, timelines: &[&str], from: usize) -> Vec<Change> {
    let ticks: Vec<Time> = (from..timelines[0].len()).map(minute).collect();
    book.revise(policy, &ticks, ticks[ticks.len() - 1], |at| findings(timelines, at)).unwrap()
}

/// `2 a fired late, 5 a resolved`, without what is pending or dropped.
fn told(changes: &[Change]) -> String {
    let word = |change: &Change| {
        let kind = match change.kind {
            Kind::Fired => "fired",
            Kind::Resolved => "resolved",
            Kind::Pending | Kind::Dropped => return None,
        };
        let late = if change.alert.late { " late" } else { "" };
        Some(format!("{} {} {kind}{late}", change.at.0 / MINUTE.0, change.alert.labels.get("model")))
    };
    changes.iter().filter_map(word).collect::<Vec<_>>().join(", ")
}

#[test]
fn an_alert_lives_as_in_prometheus() {
    /// `states`: what the alert is after each minute: pending, firing, missing but kept, resolved, or unknown.
    #[track_caller]
    fn check(hold: i64, keep: i64, timeline: &str, states: &str) {
        let (policy, mut book, mut seen) = (policy(hold, keep), Book::default(), String::new());
        for at in (0..timeline.len()).map(minute) {
            book.step(&policy, findings(&[timeline], at), at).unwrap();
            seen.push(match book.alerts().next() {
                None => '-',
                Some(alert) if alert.absent_since.is_some() => 'm',
                Some(alert) => ["p", "f", "r"][alert.state as usize].chars().next().unwrap(),
            });
        }
        assert_eq!(seen, states, "for {hold}m, keep_firing_for {keep}m, {timeline}");
    }
    check(0, 0, "..#..", "--frr");
    check(0, 0, "#.#", "frf");
    check(2, 0, "####.", "ppffr");
    check(2, 0, "##.###", "pp-ppf");
    check(1, 0, "##..#.", "pfrrp-");
    check(0, 2, "#...#", "fmmrf");
    check(0, 2, "#..#..", "fmmfmm");
    check(0, 0, "#.................", "frrrrrrrrrrrrrrrr-");
}

#[test]
fn a_faulty_evaluation_changes_no_firing_alert() {
    let policy = Policy { limit: 2, ..policy(1, 0) };
    let mut book = Book::default();
    book.step(&policy, findings(&["#"], minute(0)), minute(0)).unwrap();
    book.step(&policy, findings(&[".#", ".#"], minute(1)), minute(1)).unwrap();
    let before = book.clone();
    let twins = [findings(&["#"], minute(0)), findings(&["#"], minute(0))].concat();
    let fault = book.step(&policy, twins, minute(2)).unwrap_err();
    assert_eq!(fault, "two alerts have the same labels {model=\"a\"}");
    assert!(book.step(&policy, Vec::new(), minute(0)).is_err(), "the past is for revise");
    assert_eq!(book, before);

    let fault = book.step(&policy, findings(&["#"; 3], minute(0)), minute(2)).unwrap_err();
    assert_eq!(fault, "3 alerts at once, more than the limit of 2");
    let left: Vec<&Alert> = book.alerts().collect();
    assert_eq!(left, before.alerts().filter(|alert| alert.state == State::Firing).collect::<Vec<_>>());
}

#[test]
fn late_rows_are_told_once() {
    /// Evaluates the first timeline step by step and then, all of it again, each of the others; `expected`: what people
    /// are told by each. Replaying the last one says nothing more.
    #[track_caller]
    fn check(hold: i64, timelines: &[&str], expected: &[&str]) {
        let policy = policy(hold, 0);
        let (mut book, changes) = stepped(&policy, &timelines[..1]);
        let mut seen = vec![told(&changes)];
        seen.extend(timelines[1..].iter().map(|line| told(&revised(&mut book, &policy, &[line], 0))));
        assert_eq!(seen, expected, "{timelines:?}");
        let stood = book.clone();
        let last = timelines[timelines.len() - 1];
        assert_eq!(told(&revised(&mut book, &policy, &[last], 0)), "", "replay of {last}");
        assert!(book.alerts().eq(stood.alerts()), "replay of {last}");
        assert!(!book.clone().forgotten().changed(), "replay of {last}");
    }
    // It fires now.
    check(0, &["....", "..##"], &["", "2 a fired late"]);
    check(1, &["...#", "..##"], &["", "3 a fired"]);
    // The newest instant had not been evaluated before: it is no late one.
    check(0, &["...", "...#"], &["", "3 a fired"]);
    // It is over.
    check(0, &["......", ".##..."], &["", "1 a fired late, 3 a resolved late"]);
    check(0, &["......", ".#.#.."], &["", "1 a fired late, 2 a resolved late, 3 a fired late, 4 a resolved late"]);
    check(2, &["......", ".##..."], &["", ""]);
    // Its start, its end, or both move.
    check(0, &["...##.", ".####."], &["3 a fired, 5 a resolved", ""]);
    check(0, &["..#...", ".####."], &["2 a fired, 3 a resolved", ""]);
    check(0, &["...##", ".####"], &["3 a fired", ""]);
    check(0, &["...##", "..#.#"], &["3 a fired", ""]);
    // It was announced, and is no more.
    check(0, &["..###", "....."], &["2 a fired", "4 a resolved"]);
    check(0, &["..##..", "......"], &["2 a fired, 4 a resolved", ""]);
    check(0, &["..###", ".....", "...#."], &["2 a fired", "4 a resolved", ""]);
    // It was said to be over, and fires still.
    check(0, &["..##..", "..####"], &["2 a fired, 4 a resolved", "2 a fired late"]);
    // An earlier one is covered by the page of the one that fires now, also when that is over.
    check(0, &["....#", ".#..#"], &["4 a fired", ""]);
    check(0, &[".....", ".#..#"], &["", "4 a fired"]);
    check(0, &["....##", ".#..##", ".#...."], &["4 a fired", "", "5 a resolved"]);
    // An earlier one beside one that is over.
    check(0, &["....#.", ".#..#."], &["4 a fired, 5 a resolved", "1 a fired late, 2 a resolved late"]);
}

impl Book {
    /// The flag as after a store.
    fn forgotten(mut self) -> Book {
        self.changed = false;
        self
    }
}

#[test]
fn what_is_announced_keeps_its_times() {
    let policy = policy(0, 0);
    let (mut book, _) = stepped(&policy, &["...##"]);
    revised(&mut book, &policy, &[".####"], 0);
    let alert = book.alerts().next().unwrap();
    assert_eq!((alert.fired_at, alert.active_at, alert.value), (Some(minute(3)), minute(1), 4.0));

    let (mut book, _) = stepped(&policy, &["......"]);
    let changes = revised(&mut book, &policy, &[".##..."], 1);
    let alert = book.alerts().next().unwrap();
    assert_eq!((alert.state, alert.late, alert.resolved_at), (State::Resolved, true, Some(minute(3))));
    assert_eq!((changes[0].alert.state, &changes[1].alert), (State::Firing, alert));
}

#[test]
fn a_faulty_tick_of_the_past_is_passed_over() {
    let policy = Policy { limit: 1, ..policy(0, 0) };
    let (mut book, _) = stepped(&policy, &["...."]);
    let ticks = [minute(1), minute(2), minute(3)];
    let fault = book.revise(&policy, &ticks, ticks[ticks.len() - 1], |at| findings(&[".#..", ".#.."], at)).unwrap_err();
    assert_eq!(fault, "2 alerts at once, more than the limit of 1");
    let changes = book.revise(&policy, &ticks, ticks[ticks.len() - 1], |at| findings(&[".###", ".#.."], at)).unwrap();
    assert_eq!(told(&changes), "2 a fired late");
}

#[test]
fn what_is_forgotten_cannot_be_revised() {
    let policy = policy(0, 0);
    let (mut book, _) = stepped(&policy, &["#.#."]);
    book.forget(minute(2));
    assert_eq!((book.undo.len(), book.announced[&name(0)].len()), (2, 1));
    assert_eq!(told(&revised(&mut book, &policy, &[".#.."], 0)), "", "minute 1 is too old");
    book.forget(minute(60));
    book.step(&policy, Vec::new(), minute(60)).unwrap();
    book.forget(minute(61));
    assert_eq!(Book { newest: None, horizon: None, changed: true, ..book }, Book { changed: true, ..Book::default() });
}

#[test]
fn a_closed_book_is_resolved() {
    let (mut book, _) = stepped(&policy(1, 0), &["##", ".#"]);
    let changes = book.close(minute(2));
    assert_eq!(told(&changes), "2 a resolved");
    assert_eq!(changes[1].kind, Kind::Dropped);
    assert!(book.alerts().all(|alert| alert.state == State::Resolved));
    assert!(book.close(minute(3)).is_empty());
}

#[test]
fn only_news_are_stored() {
    let mut book = Book::default();
    let mut step = |n: usize, timeline: &str| {
        book.step(&policy(0, 0), findings(&[timeline], minute(n)), minute(n)).unwrap();
        let stored: Book = postcard::from_bytes(&postcard::to_allocvec(&book).unwrap()).unwrap();
        assert_eq!(stored, book.clone().forgotten());
        (book.changed(), book.undo.len())
    };
    assert_eq!(step(0, "...."), (false, 0));
    assert_eq!(step(1, ".#.."), (true, 1));
    assert_eq!(step(2, "..#."), (true, 1), "a new value is stored, but is nothing to go back to");
    assert_eq!(step(3, "...."), (true, 2));
    assert_eq!(step(4, "....."), (false, 2));
}

/// Timelines of three label sets over 24 minutes, in runs as incidents are.
fn timelines() -> impl Strategy<Value = Vec<String>> {
    let runs = prop::collection::vec((any::<bool>(), 1usize..6), 24);
    let line = runs.prop_map(|runs| {
        let line: String = runs.into_iter().map(|(found, n)| if found { "#" } else { "." }.repeat(n)).collect();
        line[..24].to_owned()
    });
    prop::collection::vec(line, 3)
}

fn lines(timelines: &[String]) -> Vec<&str> {
    timelines.iter().map(String::as_str).collect()
}

/// Spans in which people believed that a label set fires, from what they were told.
fn incidents(changes: &[Change], labels: &Labels) -> Vec<Incident> {
    let mut spans: Vec<Incident> = Vec::new();
    for change in changes.iter().filter(|change| change.alert.labels == *labels) {
        let open = spans.last_mut().filter(|span| span.to.is_none());
        match (change.kind, open) {
            (Kind::Fired, None) => spans.push(Incident { from: change.at, to: None }),
            (Kind::Resolved, Some(open)) => open.to = Some(change.at),
            (Kind::Fired | Kind::Resolved, _) => panic!("fired and resolved must alternate: {changes:#?}"),
            (Kind::Pending | Kind::Dropped, _) => {}
        }
    }
    spans
}

proptest! {
    /// The same findings again: the same book, and not a word.
    #[test]
    fn the_same_past_changes_nothing(all in timelines(), hold in 0i64..3, keep in 0i64..3, limit in 1usize..4, from in 0usize..24) {
        let policy = Policy { limit, ..policy(hold, keep) };
        let (timelines, mut book) = (lines(&all), Book::default());
        for at in (0..24).map(minute) {
            let _ = book.step(&policy, findings(&timelines, at), at);
        }
        book.changed();
        let before = book.clone();
        let ticks: Vec<Time> = (from..24).map(minute).collect();
        let changes = book.revise(&policy, &ticks, ticks[ticks.len() - 1], |at| findings(&timelines, at)).unwrap_or_default();
        prop_assert_eq!(changes, Vec::new());
        prop_assert_eq!(book, before);
    }

    /// Whatever came late, in how many portions: what lives then lives as if all had been there in time, each incident
    /// was announced, and what is announced as firing is what fires.
    #[test]
    fn late_rows_end_where_timely_ones_do(
        seen in prop::collection::vec(timelines(), 1..4), all in timelines(), hold in 0i64..3, keep in 0i64..3,
    ) {
        let policy = policy(hold, keep);
        let (mut book, mut changes) = stepped(&policy, &lines(&seen[0]));
        for partial in &seen[1..] {
            changes.extend(revised(&mut book, &policy, &lines(partial), 0));
        }
        changes.extend(revised(&mut book, &policy, &lines(&all), 0));
        let (timely, timely_changes) = stepped(&policy, &lines(&all));

        let life = |book: &Book| -> Vec<Alert> {
            let live = book.alerts().filter(|alert| alert.is_live());
            live.map(|alert| Alert { late: false, fired_at: alert.fired_at.map(|_| Time(0)), ..alert.clone() }).collect()
        };
        prop_assert_eq!(life(&book), life(&timely));
        for labels in (0..3).map(name) {
            let known = book.announced.get(&labels).cloned().unwrap_or_default();
            for incident in incidents(&timely_changes, &labels) {
                prop_assert!(known.iter().any(|other| other.overlaps(&incident)), "{:?} of {} in {:?}", incident, labels, known);
            }
            let open = incidents(&changes, &labels).iter().filter(|span| span.to.is_none()).count();
            let fires = book.alerts().any(|alert| alert.labels == labels && alert.state == State::Firing);
            prop_assert_eq!(open, usize::from(fires));
        }
        prop_assert_eq!(revised(&mut book, &policy, &lines(&all), 0), Vec::new());
    }
}
