//! Seconds on a virtual clock. A post is `at: start-end`, where either may be left out.

use proptest::prelude::*;

use super::*;

const TIMEOUT: Span = Span::secs(300);

fn secs(n: i64) -> Time {
    Time::from_secs(n)
}

fn labels(name: &str) -> Labels {
    [("alertname", name)].into_iter().collect()
}

fn incoming(name: &str, starts_at: Option<i64>, ends_at: Option<i64>) -> Incoming {
    Incoming { labels: labels(name), starts_at: starts_at.map(secs), ends_at: ends_at.map(secs), ..Incoming::default() }
}

/// `at: start-end, ...` posted one after the other.
fn posted(posts: &str) -> (Inbox, Time) {
    let (mut inbox, mut now) = (Inbox::default(), secs(0));
    for post in posts.split(", ") {
        let (at, life) = post.split_once(": ").unwrap();
        let (start, end) = life.split_once('-').unwrap();
        now = secs(at.parse().unwrap());
        inbox.expire(now);
        assert!(inbox.post(incoming("a", start.parse().ok(), end.parse().ok()), TIMEOUT, now));
    }
    (inbox, now)
}

#[test]
fn what_is_posted_lives_as_in_alertmanager() {
    #[track_caller]
    fn check(posts: &str, expected: &str) {
        let (inbox, _) = posted(posts);
        let alert = inbox.get(&labels("a")).unwrap();
        let secs = |at: Time| at.0 / 1_000_000;
        let end = alert.posted.as_ref().unwrap();
        let assumed = if end.timeout { "?" } else { "" };
        let state = if alert.state == State::Firing { "fires" } else { "is over" };
        let found = format!("{state} {}-{}{assumed}", secs(alert.active_at), secs(end.ends_at));
        assert_eq!(found, expected, "{posts}");
        assert_eq!(alert.fired_at, Some(alert.active_at));
        assert_eq!(alert.resolved_at, (alert.state == State::Resolved).then_some(end.ends_at));
    }
    // Defaults: from now, for the resolve timeout; an end alone is a start too.
    check("1000: -", "fires 1000-1300?");
    check("1000: 900-", "fires 900-1300?");
    check("1000: -2000", "fires 2000-2000");
    check("1000: -900", "is over 900-900");
    check("1000: 900-1100", "fires 900-1100");
    // One that begins in the future fires already.
    check("1000: 1200-1300", "fires 1200-1300");
    check("1000: 900-1000", "is over 900-1000");
    // Posted again, its end moves and its start does not.
    check("1000: -, 1060: -", "fires 1000-1360?");
    check("1000: 900-1240, 1060: 900-1300", "fires 900-1300");
    // The same start and a later end do not overlap: the new one takes its place, with what it says.
    check("1000: 900-1240, 1060: 950-1300", "fires 900-1300");
    check("1000: 900-1240, 1060: 800-1300", "fires 800-1300");
    // An end that was said outlasts an earlier one, for one post without an end; one that was assumed does not.
    check("1000: 900-2000, 1060: 900-1500", "fires 900-2000");
    check("1000: 900-2000, 1060: -", "fires 900-2000?");
    check("1000: 900-2000, 1060: -, 1070: -", "fires 900-1370?");
    check("1000: -, 1010: 1000-1200", "fires 1000-1200");
    // Resolved by its end, whatever was said before.
    check("1000: 900-2000, 1060: 900-1050", "is over 900-1050");
    check("1000: -, 1060: 1000-1060", "is over 1000-1060");
    // Of two ends that are past the later one counts.
    check("1000: 900-990, 1010: 900-950", "is over 900-990");
    check("1000: 900-950, 1010: 940-990", "is over 900-990");
    // One that is over fires anew, as the same alert where the two overlap.
    check("1000: 900-950, 1010: 1010-2000", "fires 1010-2000");
    check("1000: 900-950, 1010: 940-2000", "fires 900-2000");
    check("1000: -, 1400: -", "fires 1400-1700?");
}

#[test]
fn what_is_wrong_is_said_in_alertmanagers_words() {
    #[track_caller]
    fn check(incoming: Incoming, expected: Result<(), &str>) {
        let found = incoming.check(TIMEOUT, secs(1000));
        assert_eq!(found.as_ref().copied().map_err(String::as_str), expected, "{incoming:?}");
    }
    let good = incoming("a", None, None);
    check(good.clone(), Ok(()));
    check(incoming("a", Some(1200), None), Ok(()));
    check(incoming("a", Some(1000), Some(1000)), Ok(()));
    check(incoming("a", Some(1000), Some(999)), Err("start time must be before end time"));
    check(incoming("a", Some(1301), None), Err("start time must be before end time"));
    // An empty value is no label.
    check(incoming("", None, None), Err("at least one label pair required"));
    let named = |name: &str| [("alertname", "a"), (name, "x")].into_iter().collect::<Labels>();
    check(Incoming { labels: named(""), ..good.clone() }, Err("invalid label set: invalid name \"\""));
    check(Incoming { annotations: named(""), ..good.clone() }, Err("invalid annotations: invalid name \"\""));
    // Any text is a name, as since Alertmanager 0.27.
    check(Incoming { labels: named("http.status é"), ..good.clone() }, Ok(()));
    let long = |bytes: usize| Incoming { generator_url: "x".repeat(bytes), ..good.clone() };
    let used = "alertname".len() + 1;
    check(long(MAX_POSTED_BYTES - used), Ok(()));
    check(long(MAX_POSTED_BYTES - used + 1), Err("65537 bytes of text in one alert; 65536 are taken"));
}

#[test]
fn what_ends_is_told_once_and_forgotten_later() {
    let mut inbox = Inbox::default();
    inbox.post(incoming("a", None, Some(100)), TIMEOUT, secs(0));
    inbox.post(incoming("b", None, Some(200)), TIMEOUT, secs(0));
    assert_eq!(inbox.next_end(), Some(secs(100)));
    assert_eq!(inbox.expire(secs(99)), []);
    let ended = inbox.expire(secs(100));
    assert_eq!(
        ended.iter().map(|alert| (&alert.labels, alert.resolved_at)).collect::<Vec<_>>(),
        [(&labels("a"), Some(secs(100)))]
    );
    assert_eq!(inbox.expire(secs(150)), []);
    assert_eq!(inbox.next_end(), Some(secs(200)));
    assert_eq!(inbox.expire(secs(5_000)).len(), 1);
    // `a` ended long ago; `b` did so only now, but its end counts.
    assert_eq!((inbox.alerts().count(), inbox.next_end()), (0, None));
    inbox.post(incoming("c", None, Some(5_100)), TIMEOUT, secs(5_000));
    inbox.expire(secs(5_100) + RESOLVED_KEPT);
    assert_eq!(inbox.alerts().count(), 1);
    inbox.expire(secs(5_101) + RESOLVED_KEPT);
    assert_eq!(inbox.alerts().count(), 0);
}

#[test]
fn only_what_changed_is_stored() {
    let mut inbox = Inbox::default();
    let names = |changed: Vec<(String, Option<Vec<u8>>)>| {
        changed.into_iter().map(|(name, body)| (name, body.is_some())).collect::<Vec<_>>()
    };
    let a = labels("a").fingerprint();
    inbox.post(incoming("a", Some(0), Some(100)), TIMEOUT, secs(0));
    assert_eq!(names(inbox.take_changed()), [(a.clone(), true)]);
    inbox.post(incoming("a", Some(0), Some(100)), TIMEOUT, secs(0));
    inbox.expire(secs(50));
    assert_eq!(names(inbox.take_changed()), []);
    inbox.expire(secs(100));
    assert_eq!(names(inbox.take_changed()), [(a.clone(), true)]);
    inbox.expire(secs(5_000));
    assert_eq!(names(inbox.take_changed()), [(a, false)]);
    assert_eq!(names(inbox.take_changed()), []);
}

#[test]
fn there_is_room_for_so_many_and_for_those_that_are_known() {
    let mut inbox = Inbox::default();
    inbox.post(incoming("7", None, None), TIMEOUT, secs(0));
    let one = inbox.get(&labels("7")).cloned().unwrap();
    let others = (0..MAX_POSTED - 2).map(|n| (labels(&format!("other {n}")), one.clone()));
    inbox.alerts.extend(others);
    assert!(inbox.post(incoming("the last", None, None), TIMEOUT, secs(0)));
    assert!(!inbox.post(incoming("one more", None, None), TIMEOUT, secs(0)));
    assert!(inbox.post(incoming("7", None, None), TIMEOUT, secs(1)));
    assert_eq!(inbox.alerts().count(), MAX_POSTED);
    inbox.expire(secs(10_000));
    assert!(inbox.post(incoming("one more", None, None), TIMEOUT, secs(10_000)));
}

proptest! {
    /// Whatever is posted when: the indexes say what the alerts do, and a restart changes nothing.
    #[test]
    fn indexes_agree_with_alerts(
        posts in prop::collection::vec((0..4u8, 0..2_000i64, prop::option::of(0..3_000i64), prop::option::of(0..3_000i64)), 1..40)
    ) {
        let mut inbox = Inbox::default();
        let mut stored = BTreeMap::new();
        let mut now = 0;
        for (name, wait, start, end) in posts {
            now += wait;
            let new = incoming(&name.to_string(), start, end);
            if new.check(TIMEOUT, secs(now)).is_ok() {
                inbox.post(new, TIMEOUT, secs(now));
            }
            inbox.expire(secs(now));
            let firing = |alert: &&Alert| alert.state == State::Firing;
            prop_assert_eq!(inbox.next_end(), inbox.alerts().filter(firing).map(ends_at).min());
            for alert in inbox.alerts() {
                prop_assert_eq!(alert.state == State::Firing, ends_at(alert) > secs(now));
                prop_assert!(alert.active_at <= ends_at(alert) && secs(now) - ends_at(alert) <= RESOLVED_KEPT);
            }
            prop_assert_eq!(inbox.ends.len() + inbox.ended.len(), inbox.alerts.len());
            for (name, body) in inbox.take_changed() {
                match body {
                    Some(body) => stored.insert(name, body),
                    None => stored.remove(&name),
                };
            }
            let restored = Inbox::restore(stored.clone().into_iter().collect()).unwrap();
            prop_assert_eq!(&restored.alerts, &inbox.alerts);
            prop_assert_eq!((&restored.ends, &restored.ended), (&inbox.ends, &inbox.ended));
        }
    }
}
