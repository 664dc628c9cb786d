//! What keeps alerts quiet: inhibition, time intervals, silences; and that who was told is told the end all the same.

use super::*;

#[test]
fn what_is_silenced_is_not_told() {
    check(
        ONE,
        "0s fire a
         0s silence s1 alertname=a 10m
         0s status a -> oncall/s1// new
         0s flush -> oncall/0 silenced
         0s status a -> oncall/s1//
         0s trace oncall -> 1x silenced (silenced by s1 (1 alert))
         5m flush -> oncall/0 silenced
         5m trace oncall -> 2x silenced (silenced by s1 (1 alert))
         10m flush -> oncall/0 first alert: +a",
    );
    // Others are told, without it; it is told when it is heard again.
    check(
        ONE,
        "0s fire a
         0s fire b
         0s silence s1 alertname=a 1h
         0s flush -> oncall/0 first alert: +b
         5m flush -> oncall/0 nothing new within repeat_interval
         6m unsilence s1
         10m flush -> oncall/0 new alert: +a +b",
    );
    // It never was told, so neither is its end.
    check(
        ONE,
        "0s fire a
         0s silence s1 alertname=a 1h
         0s flush -> oncall/0 silenced
         1m resolve a
         5m flush -> oncall/0 nothing fires",
    );
}

#[test]
fn the_end_is_told_of_what_is_silenced() {
    check(
        ONE,
        "0s fire a
         0s flush -> oncall/0 first alert: +a
         1m silence s1 alertname=a 10h
         5m flush -> oncall/0 silenced
         4h10m flush -> oncall/0 silenced
         4h11m resolve a
         4h15m flush -> oncall/0 resolved: -a",
    );
    // Beside others that fire; and one that a message left out is told anew when it is heard again.
    check(
        ONE,
        "0s fire a
         0s fire b
         0s flush -> oncall/0 first alert: +a +b
         1m silence s1 alertname=a 10h
         5m flush -> oncall/0 nothing new within repeat_interval
         6m fire c
         10m flush -> oncall/0 new alert: +b +c
         11m unsilence s1
         15m flush -> oncall/0 new alert: +a +b +c
         16m silence s2 alertname=a 10h
         17m resolve a
         20m flush -> oncall/0 partly resolved: +b +c -a",
    );
    // What is silent fires on while the others are over.
    check(
        ONE,
        "0s fire a
         0s fire b
         0s flush -> oncall/0 first alert: +a +b
         1m silence s1 alertname=a 10h
         2m resolve b
         5m flush -> oncall/0 partly resolved: -b
         10m flush -> oncall/0 silenced
         11m unsilence s1
         15m flush -> oncall/0 new alert: +a
         16m resolve a
         20m flush -> oncall/0 resolved: -a",
    );
}

const INHIBITS: &str = "{route: {receiver: oncall, group_by: [alertname]},
    inhibit_rules: [{source_matchers: ['alertname=\"down\"'], target_matchers: ['alertname=\"slow\"'], equal: [model]}]}";

fn named(name: &str, model: &str) -> Alert {
    Alert { labels: [("alertname", name), ("model", model)].into_iter().collect(), ..alert("a", Time(0)) }
}

#[test]
fn what_is_inhibited_is_not_told() {
    let mut bench = Bench::new(INHIBITS);
    let said = |bench: &mut Bench, now| bench.flush(now).iter().map(shown).collect::<Vec<_>>();
    let (down, slow) = (named("down", "1"), named("slow", "1"));
    let minute = |n: i64| Time::from_secs(60 * n);
    [&down, &slow, &named("slow", "2")].iter().for_each(|alert| bench.router.update(alert, minute(0)));
    let status = bench.router.status(&slow.labels, minute(0));
    assert_eq!((status.inhibited_by.as_slice(), status.is_suppressed()), ([down.labels.clone()].as_slice(), true));
    let slow_said = "oncall/0{alertname=\"slow\"} ";
    assert_eq!(
        said(&mut bench, minute(0)),
        ["oncall/0{alertname=\"down\"} first alert: +down1", &format!("{slow_said}first alert: +slow2")]
    );
    let words = |bench: &Bench| bench.router.trace("oncall", "{}:{alertname=\"slow\"}").last().unwrap().quiet.join("; ");
    assert_eq!(words(&bench), "inhibited by {alertname=\"down\", model=\"1\"} (1 alert)");
    // The source is over: the target is heard.
    bench.router.update(&down.resolved(minute(1)), minute(1));
    assert_eq!(bench.router.status(&slow.labels, minute(1)).inhibited_by, Vec::<Labels>::new());
    assert_eq!(said(&mut bench, minute(5))[1], format!("{slow_said}new alert: +slow1 +slow2"));
    // It fires again; the end of the target is told nevertheless.
    bench.router.update(&down, minute(6));
    bench.router.update(&slow.resolved(minute(7)), minute(7));
    assert_eq!(said(&mut bench, minute(10))[1], format!("{slow_said}partly resolved: +slow2 -slow1"));
}

/// Thursday, the first of January 1970, is Time(0); everything here is UTC.
const ACTIVE: &str = "{route: {receiver: lead, group_by: [], routes: [{receiver: oncall, active_time_intervals: [office]}]},
    time_intervals: [{name: office, time_intervals: [{times: [{start_time: '09:00', end_time: '17:00'}]}]}]}";
const MUTED: &str = "{route: {receiver: lead, group_by: [], routes: [{receiver: oncall, mute_time_intervals: [night, lunch]}]},
    time_intervals: [{name: night, time_intervals: [{times: [{start_time: '17:00', end_time: '24:00'}]}]},
    {name: lunch, time_intervals: [{times: [{start_time: '12:00', end_time: '13:00'}]}]}]}";

#[test]
fn a_held_page_is_sent_when_its_interval_opens() {
    check(
        ACTIVE,
        "8h50m30s fire a
         8h50m30s status a -> oncall///office new
         8h50m30s flush -> oncall/0 outside of active_time_intervals
         8h50m30s trace oncall -> 1x outside of active_time_intervals (outside of office)
         8h50m30s next -> 8h55m30s
         8h55m30s flush -> oncall/0 outside of active_time_intervals
         8h55m30s next -> 9h
         9h flush -> oncall/0 first alert: +a
         9h next -> 9h5m
         16h59m flush -> oncall/0 repeat: +a
         17h4m flush -> oncall/0 outside of active_time_intervals",
    );
    // Not if it is over by then.
    check(
        ACTIVE,
        "8h58m fire a
         8h58m flush -> oncall/0 outside of active_time_intervals
         8h59m resolve a
         9h flush -> oncall/0 nothing fires
         9h next ->",
    );
    // The end of the range is no part of it.
    check(
        ACTIVE,
        "17h fire a
         17h flush -> oncall/0 outside of active_time_intervals",
    );
}

#[test]
fn the_end_is_told_within_a_muted_time() {
    check(
        ACTIVE,
        "16h59m fire a
         16h59m flush -> oncall/0 first alert: +a
         17h4m flush -> oncall/0 outside of active_time_intervals
         17h5m resolve a
         17h9m flush -> oncall/0 resolved: -a",
    );
    check(
        MUTED,
        "11h59m fire a
         11h59m flush -> oncall/0 first alert: +a
         12h fire b
         12h4m status b -> oncall///lunch new
         12h4m flush -> oncall/0 within mute_time_intervals
         12h4m trace oncall -> 1x first alert; 1x within mute_time_intervals (within lunch)
         12h5m resolve a
         12h9m flush -> oncall/0 resolved: -a
         12h57m flush -> oncall/0 within mute_time_intervals
         12h57m next -> 13h
         13h flush -> oncall/0 new alert: +b",
    );
}

#[test]
fn each_reason_comes_in_its_order() {
    // Inhibited before muted before silenced.
    let both = "{route: {receiver: lead, group_by: [], routes: [{receiver: oncall, mute_time_intervals: [always]}]},
        time_intervals: [{name: always, time_intervals: [{times: [{start_time: '00:00', end_time: '24:00'}]}]}],
        inhibit_rules: [{source_matchers: ['alertname=\"a\"'], target_matchers: ['alertname=\"b\"']}]}";
    check(
        both,
        "0s fire a
         0s fire b
         0s silence s1 alertname=a 1h
         0s flush -> oncall/0 within mute_time_intervals
         0s trace oncall -> 1x within mute_time_intervals (within always, inhibited by {alertname=\"a\"} (1 alert))",
    );
}
