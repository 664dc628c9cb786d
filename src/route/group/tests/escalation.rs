//! Escalation and acknowledgement, and receivers that are told again and again.

use super::*;

const STEPS: &str = "receiver: oncall, group_interval: 5m, repeat_interval: 1h, escalation: [{after: 15m, receiver: lead}, {after: 32m, receiver: boss}]";

#[test]
fn each_step_is_told_once_and_then_what_the_others_are() {
    check(
        STEPS,
        "0s fire a
         0s flush -> oncall/0 first alert: +a
         5m flush -> oncall/0 nothing new within repeat_interval
         10m flush -> oncall/0 nothing new within repeat_interval
         10m next -> 15m
         15m flush -> oncall/0 nothing new within repeat_interval; lead/0 escalated: +a
         16m fire b
         20m flush -> oncall/0 new alert: +a +b; lead/0 new alert: +a +b
         25m flush -> oncall/0 nothing new within repeat_interval; lead/0 nothing new within repeat_interval
         30m flush -> oncall/0 nothing new within repeat_interval; lead/0 nothing new within repeat_interval
         30m next -> 32m
         32m flush -> boss/0 escalated: +a +b
         32m next -> 35m
         35m flush -> oncall/0 nothing new within repeat_interval; boss/0 nothing new within repeat_interval; lead/0 nothing new within repeat_interval
         80m flush -> oncall/0 repeat: +a +b; boss/0 nothing new within repeat_interval; lead/0 repeat: +a +b
         85m resolve a
         85m resolve b
         85m flush -> oncall/0 resolved: -a -b; boss/0 resolved: -a -b; lead/0 resolved: -a -b
         85m next ->",
    );
    // It begins anew with the next incident.
    check(
        STEPS,
        "0s fire a
         0s flush -> oncall/0 first alert: +a
         5m resolve a
         5m flush -> oncall/0 resolved: -a
         6m fire a
         6m flush -> oncall/0 new alert: +a
         11m flush -> oncall/0 nothing new within repeat_interval
         16m flush -> oncall/0 nothing new within repeat_interval
         21m flush -> oncall/0 nothing new within repeat_interval; lead/0 escalated: +a",
    );
}

#[test]
fn an_escalation_waits_for_nobody_but_the_clock() {
    // The receiver of the route cannot be reached at all.
    check(
        STEPS,
        "0s fire a
         0s flush -> oncall/0 first alert: +a
         1m give_up oncall 0
         5m flush -> oncall/0 first alert: +a
         6m give_up oncall 0
         10m flush -> oncall/0 first alert: +a
         15m flush -> oncall/0 nothing new within repeat_interval; lead/0 escalated: +a
         16m give_up lead 0
         20m flush -> oncall/0 nothing new within repeat_interval; lead/0 first alert: +a",
    );
    // A restart in between; several steps at once.
    check(
        STEPS,
        "0s fire a
         0s flush -> oncall/0 first alert: +a
         1m restart
         40m restart
         40m flush -> oncall/0 nothing new within repeat_interval; lead/0 escalated: +a; boss/0 escalated: +a
         41m restart
         45m resolve a
         45m flush -> oncall/0 resolved: -a; boss/0 resolved: -a; lead/0 resolved: -a",
    );
    // What is kept quiet is not escalated before it is heard.
    check(
        STEPS,
        "0s fire a
         0s flush -> oncall/0 first alert: +a
         1m silence s1 alertname=a 19m
         5m flush -> oncall/0 silenced
         15m flush -> oncall/0 silenced
         15m next -> 20m
         20m flush -> oncall/0 nothing new within repeat_interval; lead/0 escalated: +a",
    );
    // To one that cannot be reached in any way: nothing happens, once.
    check(
        "receiver: oncall, group_interval: 30m, escalation: [{after: 20m, receiver: gone}]",
        "0s fire a
         0s flush -> oncall/0 first alert: +a
         0s next -> 20m
         20m flush ->
         20m next -> 30m",
    );
}

#[test]
fn a_reload_takes_along_who_was_escalated_to() {
    check(
        STEPS,
        "0s fire a
         0s flush -> oncall/0 first alert: +a
         15m flush -> oncall/0 nothing new within repeat_interval; lead/0 escalated: +a
         16m reload receiver: oncall
         17m resolve a
         20m flush -> oncall/0 resolved: -a; lead/0 resolved: -a",
    );
    check(
        STEPS,
        "0s fire a
         0s flush -> oncall/0 first alert: +a
         15m flush -> oncall/0 nothing new within repeat_interval; lead/0 escalated: +a
         16m reload receiver: boss
         16m flush -> boss/0 first alert: +a
         20m flush -> oncall/0 resolved: -a; lead/0 resolved: -a",
    );
}

#[test]
fn a_receiver_with_a_group_of_its_own_is_told_there() {
    check(
        "{route: {receiver: gone, group_by: [], routes: [{matchers: ['alertname!=\"\"'], receiver: oncall, continue: true,
          escalation: [{after: 10m, receiver: lead}]}, {matchers: ['alertname!=\"\"'], receiver: lead, group_by: []}]}}",
        "0s fire a
         0s flush -> lead/0/{alertname!=\"\"} first alert: +a; oncall/0/{alertname!=\"\"} first alert: +a
         10m flush -> lead/0/{alertname!=\"\"} nothing new within repeat_interval; oncall/0/{alertname!=\"\"} nothing new within repeat_interval
         11m resolve a
         15m flush -> lead/0/{alertname!=\"\"} resolved: -a; oncall/0/{alertname!=\"\"} resolved: -a",
    );
}

#[test]
fn an_acknowledgement_stops_escalation_and_repeats() {
    check(
        STEPS,
        "0s fire a
         0s flush -> oncall/0 first alert: +a
         1m ack -> oncall{} by me: a
         1m next -> 5m
         15m flush -> oncall/0 nothing new within repeat_interval
         60m flush -> oncall/0 acknowledged
         61m resolve a
         65m flush -> oncall/0 resolved: -a
         66m ack ->",
    );
    // Also the repeats of who was escalated to.
    check(
        STEPS,
        "0s fire a
         0s flush -> oncall/0 first alert: +a
         15m flush -> oncall/0 nothing new within repeat_interval; lead/0 escalated: +a
         16m ack lead {}:{} -> oncall{} by me: a
         17m restart
         80m flush -> oncall/0 acknowledged
         81m reload receiver: oncall, repeat_interval: 1h, escalation: [{after: 15m, receiver: lead}]
         85m flush -> oncall/0 acknowledged
         86m resolve a
         90m flush -> oncall/0 resolved: -a; lead/0 resolved: -a",
    );
}

#[test]
fn an_alert_that_joins_is_not_acknowledged() {
    check(
        STEPS,
        "0s fire a
         0s flush -> oncall/0 first alert: +a
         1m ack -> oncall{} by me: a
         20m fire b
         20m flush -> oncall/0 new alert: +a +b
         30m flush -> oncall/0 nothing new within repeat_interval
         35m flush -> oncall/0 nothing new within repeat_interval; lead/0 escalated: +a +b
         36m ack alertname=b -> oncall{} by me: a b
         52m flush -> oncall/0 nothing new within repeat_interval
         85m flush -> oncall/0 acknowledged
         86m resolve a
         90m flush -> oncall/0 partly resolved: +b -a; lead/0 partly resolved: -a
         91m fire a
         95m flush -> oncall/0 new alert: +a +b",
    );
    // It ends by itself when the group resolves.
    check(
        STEPS,
        "0s fire a
         0s flush -> oncall/0 first alert: +a
         1m ack -> oncall{} by me: a
         2m resolve a
         5m flush -> oncall/0 resolved: -a
         6m fire a
         6m flush -> oncall/0 new alert: +a
         21m flush -> oncall/0 nothing new within repeat_interval; lead/0 escalated: +a
         66m flush -> oncall/0 repeat: +a; boss/0 escalated: +a; lead/0 nothing new within repeat_interval",
    );
}

#[test]
fn an_acknowledgement_is_taken_back() {
    check(
        STEPS,
        "0s fire a
         0s fire b
         0s flush -> oncall/0 first alert: +a +b
         1m ack any {}:{} -> oncall{} by me: a b
         1m unack alertname=b -> oncall{} by me: a
         1m unack alertname=b ->
         1m next -> 5m
         15m flush -> oncall/0 nothing new within repeat_interval; lead/0 escalated: +a +b
         16m unack -> oncall{} by nobody
         32m flush -> oncall/0 nothing new within repeat_interval; boss/0 escalated: +a +b; lead/0 nothing new within repeat_interval
         33m ack oncall {}:{x=\"1\"} ->
         33m ack quiet {}:{} ->
         33m ack alertname=c ->",
    );
}

#[test]
fn a_mirror_is_told_again_and_again() {
    check(
        "receiver: mirror, repeat_interval: 4h",
        "0s fire a
         0s flush -> mirror/0 first alert: +a
         0s next -> 1m
         1m flush -> mirror/0 refresh: +a
         90s fire b
         2m flush -> mirror/0 new alert: +a +b
         2m30s ack -> mirror{} by me: a b
         3m flush -> mirror/0 refresh: +a +b
         3m10s silence s1 alertname=b 1h
         4m flush -> mirror/0 refresh: +a
         4m10s resolve a
         4m10s next -> 5m
         5m flush -> mirror/0 partly resolved: -a
         5m next -> 6m
         6m flush -> mirror/0 silenced
         6m next -> 10m
         10m flush -> mirror/0 silenced
         11m unsilence s1
         15m flush -> mirror/0 new alert: +b
         15m next -> 16m
         15m10s resolve b
         15m20s restart
         20m flush -> mirror/0 resolved: -b
         20m next ->",
    );
}
