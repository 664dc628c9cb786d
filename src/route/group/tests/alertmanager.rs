//! `compatibility: alertmanager`: what it does differently from ours, as it does it.

use super::*;

fn theirs(route: &str, script: &str) {
    let one = if route.contains("group_by") { "" } else { ", group_by: []" };
    let wait = if route.contains("group_wait") { "" } else { ", group_wait: 0s" };
    check(&format!("{{compatibility: alertmanager, route: {{{route}{one}{wait}}}}}"), script);
}

#[test]
fn each_row_of_the_decision() {
    theirs(
        ONE,
        "0s fire b
         0s flush -> oncall/0 first alert: +b
         1s fire a
         5m flush -> oncall/0 new alert: +a +b
         6m resolve a
         10m flush -> oncall/0 partly resolved: -a +b
         15m flush -> oncall/0 nothing new within repeat_interval
         16m resolve b
         20m flush -> oncall/0 resolved: -b
         25m flush ->
         26m fire b
         26m flush -> oncall/0 first alert: +b",
    );
    theirs(
        "receiver: oncall, repeat_interval: 9m",
        "0s fire a
         0s flush -> oncall/0 first alert: +a
         5m flush -> oncall/0 nothing new within repeat_interval
         10m flush -> oncall/0 repeat: +a",
    );
    // An entry of just that age is not older.
    theirs(
        "receiver: oncall, repeat_interval: 10m",
        "0s fire a
         0s flush -> oncall/0 first alert: +a
         10m flush -> oncall/0 nothing new within repeat_interval
         15m flush -> oncall/0 repeat: +a",
    );
    theirs(
        "receiver: both",
        "0s fire a
         0s fire b
         0s flush -> both/0 first alert: +a +b; both/1 first alert: +a +b
         1m resolve a
         5m flush -> both/0 partly resolved: -a +b; both/1 nothing new within repeat_interval
         6m resolve b
         10m flush -> both/0 resolved: -b; both/1 resolved, but send_resolved is false
         11m fire b
         11m flush -> both/0 first alert: +b; both/1 first alert: +b",
    );
}

#[test]
fn groups_wait_and_end() {
    // One that is over before the first flush is told beside others, and alone never.
    theirs(
        "receiver: oncall, group_wait: 30s",
        "0s fire a
         10s fire b
         20s resolve b
         30s flush -> oncall/0 first alert: +a -b
         5m30s flush -> oncall/0 nothing new within repeat_interval",
    );
    theirs(
        "receiver: oncall, group_wait: 30s",
        "0s fire a
         10s resolve a
         30s flush -> oncall/0 nothing fires
         30s next ->",
    );
    // Began and over between two flushes: told beside others.
    theirs(
        ONE,
        "0s fire a
         0s flush -> oncall/0 first alert: +a
         1m fire b
         2m resolve b
         5m flush -> oncall/0 partly resolved: +a -b
         10m flush -> oncall/0 nothing new within repeat_interval",
    );
    // Posted as over: told beside others, once.
    theirs(
        ONE,
        "0s fire a
         0s flush -> oncall/0 first alert: +a
         1m posted_over b
         5m flush -> oncall/0 partly resolved: +a -b
         6m posted_over b
         10m flush -> oncall/0 nothing new within repeat_interval
         11m resolve a
         11m posted_over b
         15m flush -> oncall/0 resolved: -a -b",
    );
}

#[test]
fn nobody_is_promised_the_end() {
    theirs(
        ONE,
        "0s fire a
         0s flush -> oncall/0 first alert: +a
         1m silence s1 alertname=a 1h
         2m resolve a
         5m flush -> oncall/0 silenced
         5m next ->
         70m flush ->",
    );
    // What is quiet drops out; it is told anew if another message was told without it.
    theirs(
        ONE,
        "0s fire a
         0s fire b
         0s flush -> oncall/0 first alert: +a +b
         1m silence s1 alertname=a 10h
         5m flush -> oncall/0 nothing new within repeat_interval
         6m unsilence s1
         10m flush -> oncall/0 nothing new within repeat_interval
         11m silence s2 alertname=a 10h
         12m fire c
         15m flush -> oncall/0 new alert: +b +c
         16m unsilence s2
         20m flush -> oncall/0 new alert: +a +b +c
         21m silence s3 alertname=a 10h
         22m resolve b
         22m resolve c
         25m flush -> oncall/0 resolved: -b -c
         26m unsilence s3
         30m flush -> oncall/0 first alert: +a",
    );
    // Moved by a reload: the first receiver hears no more.
    theirs(
        ONE,
        "0s fire a
         0s flush -> oncall/0 first alert: +a
         1m reload {compatibility: alertmanager, route: {receiver: lead, group_by: [], group_wait: 0s}}
         1m flush -> lead/0 first alert: +a
         2m resolve a
         6m flush -> lead/0 resolved: -a
         6m next ->",
    );
}

#[test]
fn a_muted_group_is_left_alone() {
    const MUTED: &str =
        "{compatibility: alertmanager, route: {receiver: gone, routes: [{receiver: oncall, group_by: [], group_wait: 0s,
        group_interval: 5m, mute_time_intervals: [lunch]}]},
        time_intervals: [{name: lunch, time_intervals: [{times: [{start_time: '12:00', end_time: '13:00'}]}]}]}";
    check(
        MUTED,
        "11h58m fire a
         11h58m fire b
         11h58m flush -> oncall/0 first alert: +a +b
         12h resolve a
         12h3m flush -> oncall/0 within mute_time_intervals
         12h58m flush -> oncall/0 within mute_time_intervals
         12h58m next -> 13h3m
         13h3m flush -> oncall/0 nothing new within repeat_interval
         13h4m resolve b
         13h8m flush -> oncall/0 resolved: -b",
    );
}

#[test]
fn a_reload_begins_all_groups_anew() {
    theirs(
        "receiver: oncall, group_wait: 30s",
        "0s fire a
         30s flush -> oncall/0 first alert: +a
         1m fire b
         2m reload {compatibility: alertmanager, route: {receiver: oncall, group_by: [], group_wait: 30s}}
         2m next -> 30s
         2m flush -> oncall/0 new alert: +a +b
         2m next -> 7m",
    );
}

#[test]
fn what_was_given_up_is_told_again() {
    theirs(
        ONE,
        "0s fire a
         0s fire b
         0s flush -> oncall/0 first alert: +a +b
         1m resolve b
         5m flush -> oncall/0 partly resolved: +a -b
         6m give_up oncall 0
         10m flush -> oncall/0 the last message was given up: +a -b
         11m resolve a
         15m flush -> oncall/0 resolved: -a
         16m give_up oncall 0
         16m restart
         20m flush -> oncall/0 resolved: -a
         25m flush ->",
    );
    theirs(
        ONE,
        "0s fire a
         0s flush -> oncall/0 first alert: +a
         1m give_up oncall 0
         2m resolve a
         5m flush -> oncall/0 nothing fires",
    );
}

#[test]
fn nothing_of_ours_is_there() {
    theirs(
        "receiver: oncall, repeat_interval: 9m",
        "0s fire a
         0s flush -> oncall/0 first alert: +a
         1m ack ->
         10m flush -> oncall/0 repeat: +a",
    );
}

#[test]
fn entries_expire_after_twice_the_repeat_interval() {
    let mut bench =
        Bench::new("{compatibility: alertmanager, route: {receiver: oncall, group_by: [], group_wait: 0s, repeat_interval: 1h}}");
    let minute = |n: i64| Time::from_secs(60 * n);
    bench.step(minute(0), "fire", "a");
    bench.flush(minute(0));
    bench.step(minute(0), "silence", "s1 alertname=a 10h");
    bench.flush(minute(119));
    assert!(bench.router.saved.cases.values().any(|case| case.believes(&labels("a"))));
    bench.flush(minute(121));
    assert!(!bench.router.saved.cases.values().any(|case| case.believes(&labels("a"))));
}
