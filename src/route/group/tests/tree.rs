//! Groups of the routes of a tree.

use super::*;

const TREE: &str = "{route: {receiver: oncall, group_by: [alertname], routes: [
    {matchers: ['alertname=\"a\"'], receiver: both, continue: true, group_by: [kind], group_interval: 10m},
    {matchers: ['model=\"1\"'], receiver: lead, group_wait: 30s, routes: [{matchers: ['alertname=\"b\"']}]},
    {matchers: ['model=\"2\"'], receiver: gone}]}}";

#[test]
fn an_alert_is_told_by_each_route_that_takes_it() {
    let mut bench = Bench::new(TREE);
    for name in ["a1", "a2", "b1", "c", "a"] {
        bench.step(Time(0), "fire", name);
    }
    let said = |bench: &mut Bench, now| bench.flush(now).iter().map(shown).collect::<Vec<_>>();
    assert_eq!(
        said(&mut bench, Time(0)),
        [
            "both/0/{alertname=\"a\"} first alert: +a +a1 +a2",
            "both/1/{alertname=\"a\"} first alert: +a +a1 +a2",
            "oncall/0{alertname=\"c\"} first alert: +c",
        ]
    );
    assert_eq!(
        said(&mut bench, Time::from_secs(30)),
        [
            "lead/0/{model=\"1\"}/{alertname=\"b\"}{alertname=\"b\"} first alert: +b1",
            "lead/0/{model=\"1\"}{alertname=\"a\"} first alert: +a1",
        ]
    );
    assert_eq!(bench.step(Time(0), "status", "a1"), "both,lead///");
    assert_eq!(bench.step(Time(0), "status", "d"), "oncall///");
    let groups = bench.router.groups(Time(0));
    let groups: Vec<_> = groups.iter().map(|group| (group.receiver.as_str(), group.key.as_str(), group.alerts.len())).collect();
    assert_eq!(
        groups,
        [
            ("both", "{}/{alertname=\"a\"}:{}", 3),
            ("gone", "{}/{model=\"2\"}:{alertname=\"a\"}", 1),
            ("lead", "{}/{model=\"1\"}/{alertname=\"b\"}:{alertname=\"b\"}", 1),
            ("lead", "{}/{model=\"1\"}:{alertname=\"a\"}", 1),
            ("oncall", "{}:{alertname=\"c\"}", 1),
        ]
    );
    assert_eq!(bench.router.trace("both", "{}/{alertname=\"a\"}:{}").len(), 2);
    assert_eq!(bench.router.trace("both", "{}:{}").len(), 0);
}

#[test]
fn defaults_are_ours() {
    let routing = route("receiver: oncall");
    let root = &routing.root;
    let spans = [root.group_wait, root.group_interval, root.repeat_interval].map(|span| span.to_string());
    assert_eq!(spans, ["0s", "5m", "4h"]);
    let theirs = route("{compatibility: alertmanager, route: {receiver: oncall}}");
    assert_eq!((theirs.root.group_wait, theirs.root.group_by), (Span::secs(30), crate::route::GroupBy::Labels(Vec::new())));
}

#[test]
fn two_routes_of_one_key_are_one_group() {
    check(
        "{route: {receiver: gone, group_by: [], routes: [{matchers: ['alertname=\"a\"'], receiver: oncall, continue: true},
          {matchers: ['alertname=\"a\"'], receiver: oncall}]}}",
        "0s fire a
         0s flush -> oncall/0/{alertname=\"a\"} first alert: +a
         1m resolve a
         5m flush -> oncall/0/{alertname=\"a\"} resolved: -a",
    );
}

#[test]
fn a_reload_to_another_tree_tells_the_end_where_it_was_told() {
    check(
        "receiver: oncall",
        "0s fire a
         0s fire b
         0s flush -> oncall/0 first alert: +a +b
         1m reload {route: {receiver: oncall, group_by: [], routes: [{matchers: ['alertname=\"b\"'], receiver: both}]}}
         1m flush -> both/0/{alertname=\"b\"} first alert: +b; both/1/{alertname=\"b\"} first alert: +b
         5m flush -> oncall/0 partly resolved: +a -b
         6m resolve b
         6m flush -> both/0/{alertname=\"b\"} resolved: -b; both/1/{alertname=\"b\"} resolved, but send_resolved is false",
    );
}
