//! What is stored: one document a group, and only where something changed that matters after a restart.

use super::*;

/// Documents that changed since the last call, by the labels of the group; `-` where it is gone.
fn changed(bench: &mut Bench) -> Vec<String> {
    let mut names = Vec::new();
    for (kind, name, body) in bench.router.take_changed() {
        let case =
            |body: &Vec<u8>| postcard::from_bytes::<(GroupId, Case)>(body).map(|(_, case)| case.labels.to_string()).unwrap();
        names.push(match &body {
            Some(body) if kind == "group" => case(body),
            Some(_) => kind.to_owned(),
            None => format!("-{kind}"),
        });
        match body {
            Some(body) => drop(bench.stored.insert((kind, name), body)),
            None => drop(bench.stored.remove(&(kind, name))),
        }
    }
    names
}

#[test]
fn what_did_not_change_is_not_written() {
    let mut bench = Bench::new("receiver: oncall, group_by: [alertname]");
    let second = Time::from_secs;
    ["a1", "a2", "b1"].iter().for_each(|name| drop(bench.step(second(0), "fire", name)));
    assert_eq!(changed(&mut bench), ["{alertname=\"a\"}", "{alertname=\"b\"}"]);
    bench.router.flush(second(0));
    assert_eq!(changed(&mut bench).len(), 2);
    // Another value, another text.
    let again = Alert { value: 7.0, annotations: [("summary", "worse")].into_iter().collect(), ..bench.alerts["a1"].clone() };
    bench.router.update(&again, second(1));
    assert_eq!(changed(&mut bench), Vec::<String>::new());
    // One that joins is stored by its book.
    bench.step(second(2), "fire", "b2");
    assert_eq!(changed(&mut bench), Vec::<String>::new());
    let said: Vec<String> = bench.router.flush(second(300)).iter().map(shown).collect();
    assert_eq!(said[1], "oncall/0{alertname=\"b\"} new alert: +b1 +b2");
    // That nothing is new is worth a word, once.
    assert_eq!(changed(&mut bench), ["{alertname=\"a\"}", "{alertname=\"b\"}"]);
    bench.router.flush(second(600));
    assert_eq!(changed(&mut bench), ["{alertname=\"b\"}"]);
    bench.router.flush(second(900));
    assert_eq!(changed(&mut bench), Vec::<String>::new());
    // The value that it has is told, not the one that it had.
    bench.step(second(901), "fire", "a3");
    let told = bench.router.flush(second(1_200)).remove(0);
    let Action::Notify(notification) = told.action else { panic!("{told:?}") };
    assert_eq!((notification.alerts[0].value, notification.alerts[1].value), (7.0, 1.0));
}

#[test]
fn a_silence_and_an_acknowledgement_write_what_they_change() {
    let mut bench = Bench::new("receiver: oncall, group_by: [alertname]");
    ["a1", "b1"].iter().for_each(|name| drop(bench.step(Time(0), "fire", name)));
    bench.flush(Time(0));
    bench.step(Time(1), "silence", "s1 alertname=a 1h");
    assert_eq!(changed(&mut bench), ["silence"]);
    bench.step(Time(1), "ack", "alertname=b");
    assert_eq!(changed(&mut bench), ["{alertname=\"b\"}"]);
    bench.restart(Time(2));
    assert_eq!(bench.step(Time(2), "status", "a1"), "oncall/s1//");
    let acknowledged = |group: &GroupView| group.acknowledgement.as_ref().map(|ack| ack.by.clone());
    let groups: Vec<_> = bench.router.groups(Time(2)).iter().map(acknowledged).collect();
    assert_eq!(groups, [None, Some("me".to_owned())]);
}

#[test]
fn what_is_over_is_forgotten_in_the_store_too() {
    let mut bench = Bench::new(ONE);
    bench.step(Time(0), "fire", "a");
    bench.flush(Time(0));
    bench.step(Time::from_secs(1), "resolve", "a");
    bench.flush(Time::from_secs(300));
    assert_eq!(bench.stored.len(), 1);
    bench.flush(Time::from_secs(300) + crate::limits::GIVE_UP + Span::secs(1));
    assert_eq!(bench.stored.len(), 0);
}

#[test]
fn a_restart_changes_nothing_of_what_is_told() {
    // A group that waits for its first look; an end that was not told yet; one that nobody heard of.
    check(
        "receiver: oncall, group_wait: 30s",
        "0s fire a
         10s flush ->
         10s restart
         20s fire b
         25s restart
         30s flush -> oncall/0 first alert: +a +b
         30s restart
         1m resolve a
         1m fire c
         1m flush ->
         2m resolve c
         2m restart
         5m30s flush -> oncall/0 partly resolved: +b -a
         6m restart
         10m30s flush -> oncall/0 nothing new within repeat_interval",
    );
    // Its alert is known to nobody any more: it is over since we know.
    let mut bench = Bench::new(ONE);
    bench.step(Time(0), "fire", "a");
    bench.flush(Time(0));
    bench.alerts.clear();
    bench.restart(Time::from_secs(60));
    assert_eq!(bench.step(Time::from_secs(300), "flush", ""), "oncall/0 resolved: -a");
}
