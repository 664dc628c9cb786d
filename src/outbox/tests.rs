use proptest::prelude::*;

use super::index::LAST_WORD_KEPT;
use super::*;
use crate::alert;
use crate::limits::{MAX_SENDING, MAX_SENDING_TO_ONE, RETENTION, RETRY_AFTER_MAX};
use crate::notify::Pace;

fn to(send_resolved: bool) -> To {
    To { receiver: "oncall".to_owned(), integration: 0, kind: "webhook".to_owned(), send_resolved }
}

fn at(secs: i64) -> Time {
    Time::from_secs(secs)
}

/// A notification in a few letters: `AB c` is A and B firing, C resolved.
fn notification(group: &str, letters: &str, at: Time) -> Notification {
    let alert = |letter: char| Alert {
        labels: Labels::from_iter([("alertname", letter.to_ascii_uppercase().to_string())]),
        annotations: Labels::default(),
        value: 1.0,
        evidence: String::new(),
        state: if letter.is_ascii_uppercase() { alert::State::Firing } else { alert::State::Resolved },
        active_at: at,
        fired_at: Some(at),
        resolved_at: letter.is_ascii_lowercase().then_some(at),
        absent_since: None,
        late: false,
        posted: None,
    };
    Notification {
        receiver: "oncall".to_owned(),
        group_key: group.to_owned(),
        group_labels: Labels::default(),
        alerts: letters.chars().filter(char::is_ascii_alphabetic).map(alert).collect(),
        reason: String::new(),
        at,
    }
}

/// The letters of a notification again.
fn letters(notification: &Notification) -> String {
    let letter = |alert: &Alert| match alert.state {
        alert::State::Resolved => alert.labels.get("alertname").to_lowercase(),
        _ => alert.labels.get("alertname").to_owned(),
    };
    notification.alerts.iter().map(letter).collect()
}

fn failed() -> Outcome {
    Outcome::Retry { reason: "status 503".to_owned(), after: None }
}

fn rejected() -> Outcome {
    Outcome::Rejected { reason: "status 400".to_owned() }
}

/// One step of a story about one lane, one second each: `+AB c` enqueues, `lease` expects these letters or nothing.
enum Step {
    Enqueue(&'static str),
    Lease(&'static str),
    Record(Outcome),
    Wait(i64),
    Restart,
}

#[track_caller]
fn check(send_resolved: bool, steps: &[Step]) -> Outbox {
    let (mut outbox, mut now, mut sending) = (Outbox::default(), 0, None);
    for (number, step) in steps.iter().enumerate() {
        now += 1;
        match step {
            Step::Enqueue(letters) => {
                outbox.enqueue(&to(send_resolved), notification("g", letters, at(now)), at(now));
            }
            Step::Lease(expected) => {
                let leased = outbox.lease(at(now));
                assert!(leased.len() <= 1);
                assert_eq!(leased.first().map_or(String::new(), |d| letters(&d.notification)), *expected, "step {number}");
                sending = leased.first().map(|delivery| delivery.id).or(sending);
            }
            Step::Record(outcome) => {
                assert!(outbox.record(sending.unwrap(), outcome, None, at(now), 0.0).is_some(), "step {number}");
            }
            Step::Wait(secs) => now += secs,
            Step::Restart => {
                outbox = Outbox::new(outbox.iter().cloned().collect::<Vec<_>>());
                outbox.recover(at(now));
            }
        }
    }
    outbox
}

use Outcome::Delivered;
use Step::{Enqueue, Lease, Record, Restart, Wait};

#[test]
fn the_order_of_alerts_stays_where_none_are_added() {
    check(true, &[Enqueue("A"), Lease("A"), Record(failed()), Enqueue("aCB"), Lease("aCB")]);
    check(true, &[Enqueue("AC"), Lease("AC"), Record(failed()), Enqueue("acB"), Enqueue("cBA"), Lease("cBA")]);
    check(true, &[Enqueue("AC"), Lease("AC"), Record(failed()), Enqueue("aBC"), Enqueue("CB"), Lease("BCa")]);
}

#[test]
fn stories_of_a_lane() {
    // In order, one at a time.
    check(true, &[Enqueue("A"), Lease("A"), Enqueue("AB"), Lease(""), Record(Delivered), Lease("AB")]);
    // What waits is replaced by what is newer.
    check(true, &[Enqueue("A"), Enqueue("AB"), Lease("AB"), Record(Delivered), Lease("")]);
    // A resolve whose firing was never attempted goes with it.
    check(true, &[Enqueue("A"), Enqueue("a"), Lease("")]);
    check(true, &[Enqueue("AB"), Enqueue("Ab"), Lease("A")]);
    // But it goes out where an attempt of the firing may have arrived.
    check(true, &[Enqueue("A"), Lease("A"), Record(failed()), Enqueue("a"), Lease("a")]);
    check(true, &[Enqueue("A"), Lease("A"), Enqueue("a"), Record(failed()), Lease("a")]);
    check(true, &[Enqueue("A"), Lease("A"), Restart, Enqueue("a"), Lease("a")]);
    check(true, &[Enqueue("A"), Lease("A"), Enqueue("a"), Restart, Lease("a")]);
    // Also when it was replaced by one that was not attempted.
    check(true, &[Enqueue("A"), Lease("A"), Record(failed()), Enqueue("AB"), Enqueue("ab"), Lease("a")]);
    // A resolve that waits is carried over, but not one that was delivered, nor that of an alert that fires again.
    check(true, &[Enqueue("AB"), Lease("AB"), Record(Delivered), Enqueue("Ab"), Enqueue("AC"), Lease("ACb")]);
    check(
        true,
        &[
            Enqueue("AB"),
            Lease("AB"),
            Record(Delivered),
            Enqueue("Ab"),
            Lease("Ab"),
            Enqueue("AC"),
            Record(failed()),
            Wait(5),
            Lease("ACb"),
        ],
    );
    check(
        true,
        &[
            Enqueue("AB"),
            Lease("AB"),
            Record(Delivered),
            Enqueue("Ab"),
            Lease("Ab"),
            Record(Delivered),
            Enqueue("AC"),
            Lease("AC"),
        ],
    );
    check(true, &[Enqueue("AB"), Lease("AB"), Record(Delivered), Enqueue("Ab"), Enqueue("AB"), Lease("AB")]);
    // One that was given up moves into the next message.
    check(
        true,
        &[Enqueue("A"), Lease("A"), Record(Delivered), Enqueue("a"), Lease("a"), Record(rejected()), Enqueue("B"), Lease("Ba")],
    );
    // Who is not told of resolves is told of nothing else.
    check(false, &[Enqueue("A"), Lease("A"), Record(Delivered), Enqueue("a"), Lease(""), Enqueue("Ab"), Lease("A")]);
    check(false, &[Enqueue("A"), Enqueue("a"), Lease("")]);
    // Nothing comes of nothing.
    check(true, &[Enqueue("A"), Enqueue(""), Lease("A")]);
}

#[test]
fn a_newer_notification_keeps_the_schedule_of_the_one_that_failed() {
    let mut outbox = Outbox::default();
    let mut now = at(0);
    let mut last_wait = Span::ZERO;
    for round in 0..12 {
        outbox.enqueue(&to(true), notification("g", if round % 2 == 0 { "A" } else { "AB" }, now), now);
        let due = outbox.next_due().unwrap();
        assert!(due - now >= last_wait, "round {round}");
        now = due.max(now);
        let [delivery] = outbox.lease(now).try_into().unwrap();
        assert_eq!(outbox.next_due(), None);
        let Some(Recorded::RetryAt(next_at)) = outbox.record(delivery.id, &failed(), None, now, 0.0) else { panic!() };
        last_wait = next_at - now;
        assert_eq!(last_wait, Span((500_000 << round).min(150_000_000)));
    }
}

#[test]
fn giving_up_names_the_lane() {
    let mut outbox = Outbox::default();
    let first = outbox.enqueue(&to(true), notification("g", "A", at(0)), at(0)).unwrap();
    let lane = outbox.get(first).unwrap().lane();
    outbox.lease(at(0));
    let gone = Recorded::GivenUp { lane: lane.clone(), newer_waits: false };
    assert_eq!(outbox.record(first, &rejected(), None, at(1), 0.0), Some(gone));
    assert_eq!(outbox.record(first, &Outcome::Delivered, None, at(1), 0.0), None);
    let second = outbox.enqueue(&to(true), notification("g", "A", at(2)), at(2)).unwrap();
    outbox.lease(at(2));
    outbox.enqueue(&to(true), notification("g", "AB", at(3)), at(3));
    let gone = Recorded::GivenUp { lane, newer_waits: true };
    assert_eq!(outbox.record(second, &rejected(), None, at(3), 0.0), Some(gone));
    assert_eq!(outbox.open(), 1);
}

#[test]
fn a_day_of_failures_is_enough_and_its_history_is_bounded() {
    let mut outbox = Outbox::default();
    let id = outbox.enqueue(&to(true), notification("g", "A", at(0)), at(0)).unwrap();
    while let Some(now) = outbox.next_due() {
        outbox.lease(now);
        outbox.record(id, &failed(), None, now, 0.0);
    }
    let delivery = outbox.get(id).unwrap();
    let State::GivenUp { at: ended, reason } = &delivery.state else { panic!("{delivery:?}") };
    assert!((86_400..86_800).contains(&(ended.0 / 1_000_000)), "{ended}");
    assert!(reason.starts_with("given up after 5") && reason.ends_with(": status 503"), "{reason}");
    assert!(delivery.attempts_total > 500);
    assert_eq!(delivery.attempts.len(), 25);
    assert_eq!(delivery.attempts[0].at, at(0));
}

#[test]
fn what_has_ended_is_forgotten_but_not_what_still_fires() {
    let mut outbox = Outbox::default();
    for (group, letters) in [("fires", "A"), ("is over", "A"), ("is over", "a")] {
        let id = outbox.enqueue(&to(true), notification(group, letters, at(0)), at(0)).unwrap();
        outbox.lease(at(0));
        outbox.record(id, &Outcome::Delivered, None, at(0), 0.0);
    }
    outbox.take_changes();
    let forgotten = |outbox: &mut Outbox, now| {
        outbox.prune(now);
        outbox.take_changes().removed.into_iter().collect::<Vec<_>>()
    };
    assert_eq!(forgotten(&mut outbox, Time(RETENTION.0 - 1)), [] as [u64; 0]);
    assert_eq!(forgotten(&mut outbox, Time(RETENTION.0)), [1, 2]);
    let lane = outbox.get(0).unwrap().lane();
    assert_eq!(outbox.may_be_told(&lane).len(), 1);
    assert_eq!(forgotten(&mut outbox, Time(LAST_WORD_KEPT.0)), [0]);
    assert_eq!(outbox.may_be_told(&lane).len(), 0);
}

/// Queues one notification for each of so many lanes of a receiver.
fn fill(outbox: &mut Outbox, receiver: &str, kind: &str, lanes: usize, now: Time) {
    let to = To { receiver: receiver.to_owned(), kind: kind.to_owned(), ..to(true) };
    for lane in 0..lanes {
        let mut notification = notification(&lane.to_string(), "A", now);
        receiver.clone_into(&mut notification.receiver);
        outbox.enqueue(&to, notification, now);
    }
}

#[test]
fn as_many_are_sent_at_once_as_may_be_and_no_receiver_takes_all_places() {
    let mut outbox = Outbox::default();
    fill(&mut outbox, "hangs", "webhook", 30, at(0));
    let hanging = outbox.lease(at(0));
    assert_eq!((hanging.len(), outbox.next_due()), (MAX_SENDING_TO_ONE, None));
    fill(&mut outbox, "works", "webhook", 1, at(1));
    assert_eq!(outbox.next_due(), Some(at(1)));
    assert_eq!(outbox.lease(at(1))[0].receiver, "works");
    for receiver in ["b", "c", "d", "e"] {
        fill(&mut outbox, receiver, "webhook", 30, at(2));
    }
    assert_eq!(outbox.lease(at(2)).len(), MAX_SENDING - MAX_SENDING_TO_ONE - 1);
    assert_eq!((outbox.lease(at(2)).len(), outbox.next_due()), (0, None));
    // A place that gets free goes to what has waited longest.
    outbox.record(hanging[0].id, &failed(), None, at(3), 0.0);
    let next = outbox.lease(at(3));
    assert_eq!(next.iter().map(|delivery| delivery.receiver.as_str()).collect::<Vec<_>>(), ["hangs"]);
    assert!(next[0].id > hanging[3].id);
}

#[test]
fn integrations_with_one_key_share_their_pace() {
    let pace =
        |receiver: &str, key: &str, millis| (receiver.to_owned(), 0, Pace { key: key.to_owned(), every: Span::millis(millis) });
    let mut outbox = Outbox::default();
    outbox.set_paces([pace("team", "#alerts", 1_000), pace("same channel", "#alerts", 1_000), pace("other", "#quiet", 400)]);
    for (receiver, lanes) in [("team", 2), ("same channel", 1), ("other", 3), ("hook", 3)] {
        fill(&mut outbox, receiver, "any", lanes, at(0));
    }
    let mut sent = |now: Time| {
        let leased = outbox.lease(now);
        leased.iter().for_each(|delivery| drop(outbox.record(delivery.id, &Outcome::Delivered, None, now, 0.0)));
        let names: Vec<String> = leased.into_iter().map(|delivery| delivery.receiver).collect();
        (names.join(" "), outbox.next_due())
    };
    let ms = |millis: i64| Time(millis * 1_000);
    assert_eq!(sent(ms(0)), ("team other hook hook hook".to_owned(), Some(ms(400))));
    assert_eq!(sent(ms(399)), (String::new(), Some(ms(400))));
    assert_eq!(sent(ms(400)), ("other".to_owned(), Some(ms(800))));
    assert_eq!(sent(ms(999)), ("other".to_owned(), Some(ms(1_000))));
    // What waits longest goes first, whoever shares the channel.
    assert_eq!(sent(ms(1_000)), ("team".to_owned(), Some(ms(2_000))));
    // The clock is set back by a day: it is not waited for.
    assert_eq!(sent(ms(-86_400_000)), ("same channel".to_owned(), None));
    // Another configuration, another pace; where one stays, so does what was sent.
    fill(&mut outbox, "team", "any", 2, at(10));
    assert_eq!(outbox.lease(at(10)).len(), 1);
    outbox.set_paces([pace("team", "#alerts", 5_000)]);
    assert_eq!(outbox.next_due(), Some(at(15)));
    outbox.set_paces([]);
    assert_eq!(outbox.next_due(), Some(at(10)));
}

#[test]
fn what_was_given_up_goes_again_where_nothing_newer_was_told() {
    let mut outbox = Outbox::default();
    let tell = |outbox: &mut Outbox, letters: &str, outcome: Option<Outcome>, secs| {
        let id = outbox.enqueue(&to(true), notification("g", letters, at(secs)), at(secs)).unwrap();
        outbox.lease(at(secs));
        outcome.map(|outcome| outbox.record(id, &outcome, Some("here".to_owned()), at(secs), 0.0));
        id
    };
    let first = tell(&mut outbox, "A", Some(rejected()), 0);
    let second = outbox.retry(first, at(200_000)).unwrap();
    assert_eq!(outbox.retry(first, at(200_000)), Err(NotAgain::Newer(second)));
    assert_eq!(outbox.retry(second, at(200_000)), Err(NotAgain::NotGivenUp("waits to be sent")));
    assert_eq!(outbox.retry(99, at(200_000)), Err(NotAgain::Unknown));
    let [again] = outbox.lease(at(200_000)).try_into().unwrap();
    assert_eq!((again.id, letters(&again.notification), again.handle.as_deref()), (second, "A".to_owned(), Some("here")));
    // Its patience has begun anew: one failure is no reason to give up.
    let recorded = outbox.record(second, &failed(), None, at(200_000), 0.0);
    assert!(matches!(recorded, Some(Recorded::RetryAt(_))), "{recorded:?}");
    assert!(matches!(outbox.get(first).unwrap().state, State::Replaced { by: Some(by), .. } if by == second));
    let third = tell(&mut outbox, "AB", Some(Outcome::Delivered), 200_100);
    assert_eq!(outbox.retry(second, at(200_101)), Err(NotAgain::Newer(third)));
    assert_eq!(outbox.retry(third, at(200_101)), Err(NotAgain::NotGivenUp("was delivered")));
    let fourth = tell(&mut outbox, "C", None, 200_102);
    assert_eq!(outbox.retry(fourth, at(200_103)), Err(NotAgain::NotGivenUp("is being sent")));
    assert_eq!(NotAgain::Newer(7).to_string(), "there is newer to tell about the group: see delivery 7");
}

#[test]
fn the_handle_stays_with_its_incident() {
    #[track_caller]
    fn check(send_resolved: bool, steps: &[(&str, Outcome, Option<&str>)]) {
        let mut outbox = Outbox::default();
        for (number, (letters, outcome, expected)) in steps.iter().enumerate() {
            let now = at(10_000 * number as i64);
            // The same incident of A for as long as it is told.
            outbox.enqueue(&to(send_resolved), notification("g", letters, at(0)), now);
            let [delivery] = outbox.lease(now).try_into().unwrap();
            assert_eq!(delivery.handle.as_deref(), *expected, "step {number}");
            let handle = delivery.handle.unwrap_or_else(|| format!("h{number}"));
            outbox.record(delivery.id, outcome, Some(handle), now, 0.0);
        }
    }
    check(true, &[("A", Delivered, None), ("AB", Delivered, Some("h0")), ("ab", Delivered, Some("h0")), ("A", Delivered, None)]);
    // What failed midway has been posted; what was given up may still be changed.
    check(true, &[("A", failed(), None), ("AB", Delivered, Some("h0"))]);
    check(true, &[("A", Delivered, None), ("a", rejected(), Some("h0")), ("B", Delivered, Some("h0"))]);
    // Where ends are not told, the alerts say whether it is the same incident.
    check(false, &[("A", Delivered, None), ("AB", Delivered, Some("h0")), ("Ba", Delivered, Some("h0")), ("A", Delivered, None)]);
    let mut outbox = Outbox::default();
    let id = outbox.enqueue(&to(false), notification("g", "A", at(0)), at(0)).unwrap();
    outbox.lease(at(0));
    outbox.record(id, &Delivered, Some("h".to_owned()), at(0), 0.0);
    outbox.enqueue(&to(false), notification("g", "A", at(500)), at(500));
    assert_eq!(outbox.lease(at(500))[0].handle, None, "A fires anew");
}

#[test]
fn a_clock_that_was_a_day_ahead_holds_nothing_back() {
    let mut outbox = Outbox::default();
    let (ahead, now) = (at(86_400), at(0));
    let id = outbox.enqueue(&to(true), notification("g", "A", ahead), ahead).unwrap();
    assert_eq!(outbox.lease(ahead).len(), 1);
    outbox.record(id, &failed(), None, ahead, 0.0);
    assert_eq!(outbox.lease(now).len(), 1);
    // What a receiver may ask for is waited for.
    let busy = Outcome::Retry { reason: "status 429".to_owned(), after: Some(RETRY_AFTER_MAX) };
    outbox.record(id, &busy, None, now, 0.0);
    assert_eq!((outbox.lease(now).len(), outbox.lease(now + RETRY_AFTER_MAX).len()), (0, 1));
}

#[test]
fn ended_deliveries_are_bounded_in_number_but_not_the_last_words() {
    let mut outbox = Outbox::default();
    let mut tell = |group: &str, letters: &str, outcome: Option<Outcome>, secs| {
        let id = outbox.enqueue(&to(true), notification(group, letters, at(secs)), at(secs)).unwrap();
        outbox.lease(at(secs));
        outcome.map(|outcome| outbox.record(id, &outcome, None, at(secs), 0.0));
        id
    };
    let last_words = [tell("fires", "A", Some(Outcome::Delivered), 0), tell("may fire", "A", Some(rejected()), 0)];
    for secs in [1, 3, 5] {
        tell("comes and goes", "A", Some(Outcome::Delivered), secs);
        tell("comes and goes", "a", Some(Outcome::Delivered), secs + 1);
    }
    tell("hangs", "A", Some(Outcome::Delivered), 7);
    let sending = tell("hangs", "a", None, 8);
    outbox.enqueue(&to(true), notification("hangs", "B", at(9)), at(9));
    // It is over before it was sent: the latest of its lane has ended, but the one before it is being sent.
    assert_eq!(outbox.enqueue(&to(true), notification("hangs", "b", at(10)), at(10)), None);
    let kept = |outbox: &mut Outbox, max| {
        outbox.prune_to(max, at(11));
        outbox.iter().map(|delivery| delivery.id).collect::<Vec<_>>()
    };
    // The newest that ended, and what must stay.
    assert_eq!(kept(&mut outbox, 2), [last_words[0], last_words[1], 7, 8, sending, sending + 1]);
    outbox.take_changes();
    assert_eq!(kept(&mut outbox, 1), [last_words[0], last_words[1], 8, sending, sending + 1]);
    assert_eq!(outbox.take_changes().removed, BTreeSet::from([7]));
    assert!(outbox.record(sending, &Outcome::Delivered, None, at(12), 0.0).is_some());
    // The lane's latest was queued before the end of A was delivered, so it is the last word still.
    assert_eq!(kept(&mut outbox, 0), [last_words[0], last_words[1], sending + 1]);
    assert_eq!(outbox.open(), 0);
}

/// The world around the outbox, as simple as it can be: a router that tells what changed, a store, and a receiver that
/// believes what it is told.
#[derive(Default)]
struct World {
    outbox: Outbox,
    now: Time,
    stored: BTreeMap<u64, Vec<u8>>,
    sending: Vec<Delivery>,
    groups: [Group; 2],
}

#[derive(Default)]
struct Group {
    firing: BTreeSet<char>,
    /// The router's log: what it takes for told.
    logged: BTreeSet<char>,
    /// A delivery was given up and took the log along: what the outbox knows is all there is.
    log_lost: bool,
    attempted: BTreeSet<char>,
    believed: BTreeSet<char>,
    newest_seen: Time,
    /// The message that is open about the incident, as the last delivery that arrived left it.
    handle: Option<String>,
    /// Messages about incidents whose end was told.
    closed: BTreeSet<String>,
}

#[derive(Clone, Debug)]
enum Event {
    Toggle(usize, char),
    Flush(usize),
    Send,
    /// The answer to what is being sent: whether it arrived, and what came back.
    Answer(usize, bool, u8),
    Advance(i64),
    /// With or without the arrival of what was being sent.
    Restart(bool),
    Prune,
    PruneTo(usize),
}

impl World {
    /// Applies what the outbox says has changed to the store.
    fn store(&mut self) {
        let changes = self.outbox.take_changes();
        for id in changes.changed {
            self.stored.insert(id, postcard::to_stdvec(self.outbox.get(id).unwrap()).unwrap());
        }
        for id in changes.removed {
            self.stored.remove(&id);
        }
        let whole = self.outbox.iter().map(|delivery| (delivery.id, postcard::to_stdvec(delivery).unwrap()));
        assert!(whole.eq(self.stored.iter().map(|(id, bytes)| (*id, bytes.clone()))), "a change was not reported");
        assert_eq!(self.outbox.index, self.outbox.filed(), "filed wrongly");
    }

    fn group(delivery: &Delivery) -> usize {
        delivery.notification.group_key.parse().unwrap()
    }

    fn lane(number: usize) -> Lane {
        Lane { receiver: "oncall".to_owned(), integration: 0, kind: "webhook".to_owned(), group_key: number.to_string() }
    }

    fn flush(&mut self, number: usize) {
        let told = self.outbox.may_be_told(&World::lane(number));
        let forgotten = !self.outbox.lanes.contains_key(&World::lane(number));
        let group = &mut self.groups[number];
        group.handle = group.handle.take().filter(|_| !forgotten);
        let fingerprint = |letter: &char| Labels::from_iter([("alertname", letter.to_string())]).fingerprint();
        let over =
            |letter: &char| if group.log_lost { told.contains(&fingerprint(letter)) } else { group.logged.contains(letter) };
        let resolved = ('A'..='C').filter(|letter| !group.firing.contains(letter) && over(letter));
        let resolved: String = resolved.map(|letter| letter.to_ascii_lowercase()).collect();
        if group.firing.difference(&group.logged).next().is_none() && resolved.is_empty() {
            return;
        }
        let letters: String = group.firing.iter().copied().chain(resolved.chars()).collect();
        (group.logged, group.log_lost) = (group.firing.clone(), false);
        self.now = self.now + Span(1);
        self.outbox.enqueue(&to(true), notification(&number.to_string(), &letters, self.now), self.now);
    }

    fn lease(&mut self) {
        for delivery in self.outbox.lease(self.now) {
            let number = World::group(&delivery);
            let group = &self.groups[number];
            assert_eq!(delivery.handle, group.handle, "the message of another incident, or a second one about this");
            assert!(delivery.handle.iter().all(|handle| !group.closed.contains(handle)));
            assert!(self.sending.iter().all(|other| World::group(other) != number), "two at a time");
            for alert in &delivery.notification.alerts {
                let letter = alert.labels.get("alertname").chars().next().unwrap();
                if alert.state == alert::State::Firing {
                    self.groups[number].attempted.insert(letter);
                } else {
                    assert!(self.groups[number].attempted.contains(&letter), "a resolve of what nobody heard of");
                }
            }
            self.sending.push(delivery);
        }
    }

    fn arrive(&mut self, delivery: &Delivery) {
        let group = &mut self.groups[World::group(delivery)];
        assert!(delivery.notification.at >= group.newest_seen, "out of order");
        group.newest_seen = delivery.notification.at;
        for letter in letters(&delivery.notification).chars() {
            if letter.is_ascii_uppercase() {
                group.believed.insert(letter);
            } else {
                group.believed.remove(&letter.to_ascii_uppercase());
            }
        }
    }

    fn answer(&mut self, which: usize, arrives: bool, kind: u8) {
        if self.sending.is_empty() {
            return;
        }
        let delivery = self.sending.remove(which % self.sending.len());
        let outcome = match kind {
            0 => Outcome::Delivered,
            1 => rejected(),
            2 => Outcome::Retry { reason: "status 429".to_owned(), after: Some(Span::secs(30)) },
            _ => failed(),
        };
        if arrives || outcome == Outcome::Delivered {
            self.arrive(&delivery);
        }
        let handle = self.message(&delivery, &outcome, arrives);
        let recorded = self.outbox.record(delivery.id, &outcome, handle, self.now, 0.5).unwrap();
        if let Recorded::GivenUp { lane, newer_waits: false } = recorded {
            let group = &mut self.groups[lane.group_key.parse::<usize>().unwrap()];
            (group.logged, group.log_lost) = (BTreeSet::new(), true);
        }
    }

    /// The handle that an attempt leaves: its first step may succeed although a later one fails.
    fn message(&mut self, delivery: &Delivery, outcome: &Outcome, arrives: bool) -> Option<String> {
        let group = &mut self.groups[World::group(delivery)];
        if arrives || *outcome == Outcome::Delivered {
            let posted = delivery.handle.clone().unwrap_or_else(|| format!("message {}", delivery.id));
            group.handle = Some(posted.clone());
            if *outcome == Outcome::Delivered && !message::is_firing(&delivery.notification) {
                group.closed.extend(group.handle.take());
            }
            return Some(posted);
        }
        None
    }

    fn restart(&mut self, arrives: bool) {
        for delivery in std::mem::take(&mut self.sending) {
            if arrives {
                self.arrive(&delivery);
            }
        }
        self.outbox = Outbox::new(self.stored.values().map(|bytes| postcard::from_bytes::<Delivery>(bytes).unwrap()));
        self.outbox.recover(self.now);
    }

    fn happen(&mut self, event: &Event) {
        match event {
            Event::Toggle(group, letter) => {
                let firing = &mut self.groups[*group].firing;
                if !firing.remove(letter) {
                    firing.insert(*letter);
                }
            }
            Event::Flush(group) => self.flush(*group),
            Event::Send => self.lease(),
            Event::Answer(which, arrives, kind) => self.answer(*which, *arrives, *kind),
            Event::Advance(secs) => self.now = self.now + Span::secs(*secs),
            Event::Restart(arrives) => self.restart(*arrives),
            Event::Prune => self.outbox.prune(self.now),
            Event::PruneTo(max) => self.outbox.prune_to(*max, self.now),
        }
        self.store();
    }

    /// Everything is over, and the receiver has recovered.
    fn settle(&mut self) {
        while !self.sending.is_empty() {
            self.happen(&Event::Answer(0, false, 3));
        }
        for number in 0..self.groups.len() {
            self.groups[number].firing.clear();
            self.happen(&Event::Flush(number));
        }
        while let Some(due) = self.outbox.next_due() {
            self.now = self.now.max(due);
            self.happen(&Event::Send);
            while !self.sending.is_empty() {
                self.happen(&Event::Answer(0, true, 0));
            }
        }
    }
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        4 => (0..2usize, prop_oneof![Just('A'), Just('B'), Just('C')]).prop_map(|(group, letter)| Event::Toggle(group, letter)),
        4 => (0..2usize).prop_map(Event::Flush),
        4 => Just(Event::Send),
        4 => (0..2usize, any::<bool>(), 0..5u8).prop_map(|(which, arrives, kind)| Event::Answer(which, arrives, kind)),
        2 => prop_oneof![Just(1i64), Just(30), Just(600)].prop_map(Event::Advance),
        1 => prop_oneof![Just(90_000i64), Just(500_000)].prop_map(Event::Advance),
        1 => any::<bool>().prop_map(Event::Restart),
        1 => Just(Event::Prune),
        1 => (0..3usize).prop_map(Event::PruneTo),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whoever may have been told that an alert fires is told that it is over; nothing is out of order, nothing is sent
    /// twice at a time, nobody hears the end of what they have not heard of, and the store knows all of it.
    #[test]
    fn the_resolve_guarantee_holds(events in proptest::collection::vec(event(), 0..60)) {
        let mut world = World::default();
        for event in &events {
            world.happen(event);
        }
        world.settle();
        for group in &world.groups {
            prop_assert!(group.believed.is_empty(), "still believed: {:?}", group.believed);
        }
        prop_assert_eq!(world.outbox.open(), 0);
    }
}

/// Ten thousand groups at once: each step looks at what it changes, not at all that waits.
#[test]
fn ten_thousand_lanes_are_told_in_order_and_none_is_left() {
    let mut outbox = Outbox::default();
    for (receiver, lanes) in [("a", 4_000), ("b", 3_000), ("c", 3_000)] {
        fill(&mut outbox, receiver, "any", lanes, at(0));
    }
    assert_eq!(outbox.open(), 10_000);
    let (mut now, mut told) = (at(0), BTreeMap::<String, Vec<u64>>::new());
    while outbox.next_due().is_some() {
        now = now + Span::millis(1);
        for delivery in outbox.lease(now) {
            told.entry(delivery.receiver.clone()).or_default().push(delivery.id);
            outbox.record(delivery.id, &Outcome::Delivered, None, now, 0.0);
            outbox.prune(now);
        }
    }
    let counts: Vec<usize> = told.values().map(Vec::len).collect();
    assert_eq!((counts, outbox.open()), (vec![4_000, 3_000, 3_000], 0));
    assert!(told.values().all(|ids| ids.is_sorted()));
}
