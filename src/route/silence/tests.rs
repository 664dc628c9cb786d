use proptest::prelude::*;

use super::*;

fn at(minute: i64) -> Time {
    Time::from_secs(1_700_000_000 + minute * 60)
}

fn draft(matchers: &str, from: i64, to: i64) -> Draft {
    let (created_by, comment) = ("ann".to_owned(), "deploy".to_owned());
    Draft { id: None, matchers: Matchers::parse(matchers).unwrap(), starts_at: at(from), ends_at: at(to), created_by, comment }
}

fn labels(text: &str) -> Labels {
    text.split_whitespace().map(|pair| pair.split_once('=').unwrap()).collect()
}

/// Silences with one called `old` that was made at minute 0.
fn with_one(matchers: &str, from: i64, to: i64) -> Silences {
    let mut silences = Silences::default();
    assert_eq!(silences.set(draft(matchers, from, to), "old".to_owned(), at(0)), Ok("old".to_owned()));
    silences
}

#[test]
fn states_follow_from_time() {
    let silences = with_one("a=1", 5, 10);
    for (minute, state, holds) in [
        (0, SilenceState::Pending, false),
        (5, SilenceState::Active, true),
        (9, SilenceState::Active, true),
        (10, SilenceState::Expired, false),
    ] {
        assert_eq!(silences.get("old").unwrap().state(at(minute)), state, "{minute}");
        assert_eq!(silences.of(&labels("a=1 b=2"), at(minute)) == ["old"], holds, "{minute}");
    }
    assert!(silences.of(&labels("a=2"), at(6)).is_empty());
    assert_eq!((silences.next_change(at(0)), silences.next_change(at(5))), (Some(at(5)), Some(at(10))));
    assert_eq!(silences.next_change(at(10)), None);
}

#[test]
fn a_new_one_begins_no_sooner_than_now() {
    let silences = with_one("a=1", -30, 10);
    let old = silences.get("old").unwrap();
    assert_eq!((old.starts_at, old.ends_at, old.updated_at), (at(0), at(10), at(0)));
}

#[test]
fn what_makes_no_sense_is_refused() {
    #[track_caller]
    fn check(draft: Draft, expected: &str) {
        let refused = Silences::default().set(draft, "new".to_owned(), at(0)).unwrap_err();
        assert_eq!(refused.to_string(), expected);
    }
    check(draft("a=1", 5, 5), "Failed to create silence: start time must be before end time");
    check(draft("a=1", 5, 4), "Failed to create silence: start time must be before end time");
    check(draft("a=1", -5, -1), "Failed to create silence: end time can't be in the past");
    check(draft("", 0, 5), "silence invalid: at least one matcher required");
    let empty = "silence invalid: at least one matcher must not match the empty string";
    check(draft("a=\"\"", 0, 5), empty);
    check(draft("a=~\".*\",b=\"\"", 0, 5), empty);
    check(draft("a=~\"x|\"", 0, 5), empty);
    check(Draft { id: Some("who".to_owned()), ..draft("a=1", 0, 5) }, "silence not found");
    let comment = "x".repeat(MAX_SILENCE_BYTES);
    check(
        Draft { comment, ..draft("a=1", 0, 5) },
        "silence invalid: silence exceeded maximum size: 65541 bytes (limit: 65536 bytes)",
    );
    for enough in ["a=~\".+\"", "a=\"\",b=1", "a!=\"\"", "a!~\"b\"", "a!=1"] {
        assert_eq!(Silences::default().set(draft(enough, 0, 5), "new".to_owned(), at(0)), Ok("new".to_owned()), "{enough}");
    }
    // An empty id is none.
    let unnamed = Draft { id: Some(String::new()), ..draft("a=1", 0, 5) };
    assert_eq!(Silences::default().set(unnamed, "new".to_owned(), at(0)), Ok("new".to_owned()));
}

#[test]
fn there_is_a_bound() {
    let mut silences = Silences::default();
    for n in 0..MAX_SILENCES {
        silences.set(draft(&format!("a={n}"), 0, 5), n.to_string(), at(0)).unwrap();
    }
    let refused = silences.set(draft("a=x", 0, 5), "more".to_owned(), at(0)).unwrap_err();
    assert_eq!(refused.to_string(), "exceeded maximum number of silences: 10000 (limit: 10000)");
    // An edit in place needs no room.
    assert!(silences.set(Draft { id: Some("7".to_owned()), ..draft("a=7", 0, 9) }, "more".to_owned(), at(1)).is_ok());
}

#[test]
fn an_edit_that_leaves_the_past_alone_is_in_place() {
    /// Of a silence for `a=1,b=2` that was made at minute 0: an edit at a minute; whether it is in place.
    #[track_caller]
    fn check((from, to): (i64, i64), now: i64, edit: Draft, in_place: bool) {
        let mut silences = with_one("a=1,b=2", from, to);
        let old = silences.get("old").unwrap().clone();
        let (starts_at, ends_at) = (edit.starts_at, edit.ends_at);
        let set = silences.set(Draft { id: Some("old".to_owned()), ..edit }, "new".to_owned(), at(now));
        assert_eq!(set.as_deref(), Ok(if in_place { "old" } else { "new" }));
        let holds = silences.get(&set.unwrap()).unwrap();
        assert_eq!((holds.starts_at, holds.ends_at), (if in_place { starts_at } else { starts_at.max(at(now)) }, ends_at));
        assert_eq!(holds.updated_at, at(now));
        let left = silences.get("old").unwrap();
        assert_eq!(left.state(at(now)) == SilenceState::Expired, !in_place);
        if !in_place && old.state(at(now)) == SilenceState::Expired {
            assert_eq!(left, &old);
        }
    }
    let same = "a=1,b=2";
    // Active: the end moves, the start stays to the second.
    check((0, 10), 5, draft(same, 0, 20), true);
    check((0, 10), 5, draft(same, 0, 6), true);
    check((0, 10), 5, draft("b=2,a=1", 0, 20), true);
    check((0, 10), 5, Draft { starts_at: at(0) + Span::millis(999), ..draft(same, 0, 20) }, true);
    check((0, 10), 5, draft(same, 1, 20), false);
    check((0, 10), 5, draft(same, -1, 20), false);
    check((0, 10), 5, draft(same, 7, 20), false);
    check((0, 10), 5, draft("a=1", 0, 20), false);
    check((0, 10), 5, draft("a=1,b!=2", 0, 20), false);
    check((0, 10), 5, draft("a=1,b=3", 0, 20), false);
    // Pending: both ends move, as long as it does not begin in the past.
    check((8, 10), 5, draft(same, 5, 20), true);
    check((8, 10), 5, draft(same, 9, 30), true);
    check((8, 10), 5, draft(same, 4, 20), false);
    check((8, 10), 5, draft("a=1", 8, 10), false);
    // Expired: history.
    check((0, 3), 5, draft(same, 0, 20), false);
}

#[test]
fn whoever_is_told_something_else_stays_the_same() {
    let mut silences = with_one("a=1", 0, 10);
    let edit =
        Draft { id: Some("old".to_owned()), comment: "longer".to_owned(), created_by: "bob".to_owned(), ..draft("a=1", 0, 20) };
    assert_eq!(silences.set(edit, "new".to_owned(), at(1)), Ok("old".to_owned()));
    let held = silences.get("old").unwrap();
    assert_eq!((held.comment.as_str(), held.created_by.as_str(), silences.iter().count()), ("longer", "bob", 1));
}

#[test]
fn one_that_is_refused_changes_nothing() {
    let mut silences = with_one("a=1", 0, 10);
    silences.take_changed();
    let before = silences.clone();
    for edit in [draft("b=\"\"", 0, 20), draft("", 0, 20), draft("a=1", 5, 4)] {
        assert!(silences.set(Draft { id: Some("old".to_owned()), ..edit }, "new".to_owned(), at(1)).is_err());
    }
    assert_eq!((silences.clone(), silences.take_changed()), (before, vec![]));
}

#[test]
fn expiring_ends_it_now() {
    let mut active = with_one("a=1", 0, 10);
    assert_eq!(active.expire("old", at(5)), Ok(()));
    let old = active.get("old").unwrap().clone();
    assert_eq!((old.starts_at, old.ends_at, old.state(at(5))), (at(0), at(5), SilenceState::Expired));
    assert!(active.of(&labels("a=1"), at(5)).is_empty());
    // Again: nothing happens, as in Alertmanager.
    active.take_changed();
    assert_eq!((active.expire("old", at(6)), active.take_changed()), (Ok(()), vec![]));
    assert_eq!(active.get("old"), Some(&old));
    let mut pending = with_one("a=1", 8, 10);
    assert_eq!(pending.expire("old", at(5)), Ok(()));
    let old = pending.get("old").unwrap();
    assert_eq!((old.starts_at, old.ends_at), (at(5), at(5)));
    assert_eq!(pending.expire("who", at(5)), Err(Refused::Unknown));
}

#[test]
fn they_are_kept_for_the_retention_and_stored() {
    let mut silences = with_one("a=1,\"b c\"=~\"d.*\"", 0, 10);
    let stored = silences.take_changed();
    assert_eq!((stored.len(), silences.take_changed().len()), (1, 0));
    let bodies = stored.into_iter().map(|(id, body)| (id, body.unwrap())).collect();
    let mut restored = Silences::restore(bodies).unwrap();
    assert_eq!((&restored, restored.clone().take_changed()), (&silences, vec![]));
    let labels: Labels = [("a", "1"), ("b c", "dd")].into_iter().collect();
    assert_eq!(restored.of(&labels, at(1)), ["old"]);
    let over = at(10) + RETENTION;
    restored.forget(over - Span(1));
    assert_eq!((restored.iter().count(), restored.take_changed()), (1, vec![]));
    restored.forget(over);
    assert_eq!(restored.take_changed(), [("old".to_owned(), None)]);
    assert!(restored.get("old").is_none() && restored.of(&labels, at(1)).is_empty());
    assert_eq!((restored.index.by_value.len(), restored.index.others.len()), (0, 0));
    assert!(Silences::restore(vec![("x".to_owned(), vec![255])]).is_err());
}

/// What happens in the property test.
#[derive(Clone, Debug)]
enum Step {
    Set { of: Option<usize>, matchers: Vec<(usize, usize, usize)>, from: i64, to: i64 },
    Expire(usize),
    Forget,
    Restart,
}

fn steps() -> impl Strategy<Value = Vec<(i64, Step)>> {
    let matchers = prop::collection::vec((0..3_usize, 0..6_usize, 0..3_usize), 0..3);
    let set = (prop::option::of(0..8_usize), matchers, -4..8_i64, -2..12_i64);
    let set = set.prop_map(|(of, matchers, from, to)| Step::Set { of, matchers, from, to });
    let step = prop_oneof![6 => set, 2 => (0..8_usize).prop_map(Step::Expire), 1 => Just(Step::Forget), 1 => Just(Step::Restart)];
    prop::collection::vec((prop_oneof![8 => 0..4_i64, 1 => Just(7_200)], step), 1..24)
}

fn matchers(parts: &[(usize, usize, usize)]) -> Matchers {
    let one = |&(name, op, value): &(usize, usize, usize)| {
        let (name, value) = (["a", "b", "c"][name], ["", "1", "2"][value]);
        match op {
            0 | 1 => format!("{name}=\"{value}\""),
            2 => format!("{name}!=\"{value}\""),
            3 => format!("{name}=~\"{value}|1\""),
            4 => format!("{name}=~\"[{value}1].*\""),
            _ => format!("{name}!~\"{value}.*\""),
        }
    };
    Matchers::parse(&parts.iter().map(one).collect::<Vec<_>>().join(",")).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Against a list that is looked through, and whose rules are written down once more: what was silent at an instant in
    /// the past stays so whatever is done later.
    #[test]
    fn silences_behave_as_a_plain_list(steps in steps()) {
        let (mut silences, mut model, mut minute) = (Silences::default(), Vec::<Silence>::new(), 0);
        let sets: Vec<Labels> =
            (0..27).map(|n| [("a", n % 3), ("b", n / 3 % 3), ("c", n / 9)].into_iter().map(|(name, v)| (name, ["", "1", "2"][v])).collect()).collect();
        let mut stored: BTreeMap<String, Vec<u8>> = BTreeMap::new();
        for (number, (wait, step)) in steps.into_iter().enumerate() {
            minute += wait;
            let now = at(minute);
            match step {
                Step::Set { of, matchers: parts, from, to } => {
                    let id = of.map(|n| n.to_string());
                    let draft = Draft { id: id.clone(), matchers: matchers(&parts), ..draft("", minute + from, minute + to) };
                    let known = id.as_ref().and_then(|id| model.iter().position(|silence| &silence.id == id));
                    let named = parts.iter().any(|part| matchers(&[*part]).0[0].op.is_positive() && !matchers(&[*part]).0[0].matches("")
                        || !matchers(&[*part]).0[0].op.is_positive());
                    let sensible = from < to && to >= 0 && named && (id.is_none() || known.is_some());
                    let set = silences.set(draft.clone(), number.to_string(), now);
                    prop_assert_eq!(set.is_ok(), sensible, "{:?}", set);
                    if sensible {
                        let old = known.map(|at| model[at].clone());
                        let in_place = old.as_ref().is_some_and(|old| old.matchers.clone().sorted() == draft.matchers.clone().sorted()
                            && now < old.ends_at
                            && if old.starts_at <= now { old.starts_at == draft.starts_at } else { draft.starts_at >= now });
                        if let (Some(place), false) = (known, in_place) {
                            let old = &mut model[place];
                            if now < old.ends_at {
                                (old.starts_at, old.ends_at, old.updated_at) = (old.starts_at.min(now), now, now);
                            }
                        }
                        let id = if in_place { id.unwrap() } else { number.to_string() };
                        model.retain(|silence| silence.id != id);
                        let Draft { matchers, starts_at, ends_at, created_by, comment, .. } = draft;
                        let starts_at = starts_at.max(if in_place { starts_at } else { now });
                        model.push(Silence { id: id.clone(), matchers, starts_at, ends_at, updated_at: now, created_by, comment });
                        prop_assert_eq!(set, Ok(id));
                    }
                }
                Step::Expire(n) => {
                    let known = model.iter_mut().find(|silence| silence.id == n.to_string());
                    prop_assert_eq!(silences.expire(&n.to_string(), now).is_ok(), known.is_some());
                    if let Some(silence) = known.filter(|silence| now < silence.ends_at) {
                        (silence.starts_at, silence.ends_at, silence.updated_at) = (silence.starts_at.min(now), now, now);
                    }
                }
                Step::Forget => {
                    silences.forget(now);
                    model.retain(|silence| silence.ends_at + RETENTION > now);
                }
                Step::Restart => silences = Silences::restore(stored.clone().into_iter().collect()).unwrap(),
            }
            for (id, body) in silences.take_changed() {
                match body {
                    Some(body) => stored.insert(id, body),
                    None => stored.remove(&id),
                };
            }
            model.sort_by(|a, b| a.id.cmp(&b.id));
            prop_assert_eq!(silences.iter().cloned().collect::<Vec<_>>(), model.clone());
            for labels in &sets {
                let holds = |silence: &&Silence| silence.starts_at <= now && now < silence.ends_at && silence.matchers.matches(labels);
                let expected: Vec<String> = model.iter().filter(holds).map(|silence| silence.id.clone()).collect();
                prop_assert_eq!(silences.of(labels, now), expected);
            }
        }
    }
}
