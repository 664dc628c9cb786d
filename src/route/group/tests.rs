//! Timelines are scripts, a step a line: `5m resolve a` or `5m flush -> what is decided`.

mod alertmanager;
mod escalation;
mod guarantee;
mod quiet;
mod storage;
mod tree;

use super::*;
use crate::calendar::TimeIntervals;
use crate::labels::{Matcher, Matchers};
use crate::route::{Endpoint, InhibitRule, Route, Scope};
use crate::yaml::{self, Faults};

/// `a1` is alertname="a", model="1".
fn labels(name: &str) -> Labels {
    let (alertname, model) = name.split_at(1);
    [("alertname", alertname), ("model", model)].into_iter().collect()
}

fn alert(name: &str, fired_at: Time) -> Alert {
    Alert {
        labels: labels(name),
        annotations: Labels::default(),
        value: 1.0,
        evidence: String::new(),
        state: State::Firing,
        active_at: fired_at,
        fired_at: Some(fired_at),
        resolved_at: None,
        absent_since: None,
        late: false,
        posted: None,
    }
}

const RECEIVERS: [&str; 7] = ["oncall", "both", "quiet", "lead", "boss", "mirror", "gone"];

/// `receiver: oncall, repeat_interval: 10m`, or with `route:` all that a configuration says about routing.
fn route(text: &str) -> Routing {
    let mut faults = Faults::default();
    // One group for all, unless the test says otherwise.
    let one = if text.contains("group_by") { "" } else { ", group_by: []" };
    let whole = if text.contains("route:") { text.to_owned() } else { format!("{{route: {{{text}{one}}}}}") };
    let node = yaml::parse("t.yml", &whole, &mut faults).unwrap();
    let receivers = RECEIVERS.map(str::to_owned);
    let routing = node.map(&mut faults, |fields, faults| {
        let theirs = fields.optional("compatibility", faults, yaml::TEXT).is_some();
        let semantics = if theirs { Semantics::Alertmanager } else { Semantics::Ours };
        let time_intervals = TimeIntervals::read(fields, faults);
        let scope = Scope { semantics, receivers: &receivers, time_intervals: &time_intervals };
        let root = fields.nested("route", faults, |fields, faults| Route::parse(fields, faults, &scope)).unwrap();
        let inhibit_rules = fields.each("inhibit_rules", faults, InhibitRule::parse);
        Some(Routing { semantics, root, inhibit_rules, time_intervals, receivers: endpoints() })
    });
    assert!(faults.0.is_empty(), "{:?}", faults.0);
    routing.unwrap()
}

fn endpoints() -> BTreeMap<String, Vec<Endpoint>> {
    let endpoint = |index, send_resolved, refresh: i64| {
        let refresh = (refresh > 0).then_some(Span::secs(refresh));
        Endpoint { index, send_resolved, refresh }
    };
    let all = [
        ("oncall", vec![endpoint(0, true, 0)]),
        ("both", vec![endpoint(0, true, 0), endpoint(1, false, 0)]),
        ("quiet", vec![endpoint(0, false, 0)]),
        ("lead", vec![endpoint(0, true, 0)]),
        ("boss", vec![endpoint(0, true, 0)]),
        ("mirror", vec![endpoint(0, true, 60)]),
    ];
    all.into_iter().map(|(name, endpoints)| (name.to_owned(), endpoints)).collect()
}

/// `oncall/0{alertname="a"} new alert: +a -b`, without a colon where it is held.
fn shown(decision: &Decision) -> String {
    let Decision { receiver, integration, group_key, action, reason } = decision;
    let group = group_key.strip_prefix("{}").unwrap().replace("/{}", "").replace(":{}", "").replace(':', "");
    let head = format!("{receiver}/{integration}{group} {reason}");
    let Action::Notify(notification) = action else { return head };
    let sign = |alert: &Alert| if alert.state == State::Firing { '+' } else { '-' };
    let name = |alert: &Alert| format!(" {}{}{}", sign(alert), alert.labels.get("alertname"), alert.labels.get("model"));
    assert_eq!((&notification.receiver, &notification.reason), (receiver, &reason.to_string()));
    format!("{head}:{}", notification.alerts.iter().map(name).collect::<String>())
}

fn matchers(text: &str) -> Matchers {
    Matchers(vec![Matcher::parse(text).unwrap()])
}

/// A matcher, or a receiver and the key of one of its groups; nothing: all that fires.
fn selection(text: &str) -> Selection {
    match text.split_once(' ') {
        Some((receiver, key)) => {
            Selection::Group { receiver: Some(receiver.to_owned()).filter(|name| name != "any"), key: key.to_owned() }
        }
        None if text.is_empty() => Selection::Matching(Matchers::default()),
        None => Selection::Matching(matchers(text)),
    }
}

/// `oncall{} by me: a1 b1`
fn told(groups: &[GroupView]) -> String {
    let name = |labels: &Labels| format!(" {}{}", labels.get("alertname"), labels.get("model"));
    let by = |group: &GroupView| {
        let by =
            |ack: &crate::route::Acknowledgement| format!("by {}:{}", ack.by, ack.alerts.iter().map(name).collect::<String>());
        group.acknowledgement.as_ref().map_or("by nobody".to_owned(), by)
    };
    groups.iter().map(|group| format!("{}{} {}", group.receiver, group.labels, by(group))).collect::<Vec<_>>().join("; ")
}

/// A router and what a book would know.
#[derive(Default)]
struct Bench {
    router: Router,
    alerts: BTreeMap<String, Alert>,
    /// The documents in the store, by kind and name.
    stored: BTreeMap<(&'static str, String), Vec<u8>>,
}

impl Bench {
    fn new(text: &str) -> Bench {
        Bench { router: Router::new(route(text), Saved::default(), Silences::default(), Time(0)), ..Bench::default() }
    }

    fn flush(&mut self, now: Time) -> Vec<Decision> {
        let decisions = self.router.flush(now);
        self.store();
        decisions
    }

    fn store(&mut self) {
        for (kind, name, body) in self.router.take_changed() {
            match body {
                Some(body) => drop(self.stored.insert((kind, name), body)),
                None => drop(self.stored.remove(&(kind, name))),
            }
        }
    }

    /// From nothing but what is stored, and the alerts that the books know.
    fn restart(&mut self, now: Time) {
        self.store();
        let groups = self.stored.iter().filter(|((kind, _), _)| Saved::KINDS.contains(kind));
        let saved = groups.map(|((kind, name), body)| (*kind, name.clone(), body.clone())).collect();
        let saved = Saved::restore(saved).unwrap();
        let silences = self.stored.iter().filter(|((kind, _), _)| *kind == "silence");
        let silences = Silences::restore(silences.map(|((_, name), body)| (name.clone(), body.clone())).collect()).unwrap();
        self.router = Router::new(self.router.routing.clone(), saved, silences, now);
        self.router.recall(self.alerts.values(), now);
    }

    fn update(&mut self, name: &str, alert: Alert, now: Time) {
        self.router.update(&alert, now);
        self.alerts.insert(name.to_owned(), alert);
    }

    fn step(&mut self, now: Time, op: &str, argument: &str) -> String {
        match op {
            "fire" => self.update(argument, alert(argument, now), now),
            "resolve" => self.update(argument, self.alerts[argument].resolved(now), now),
            "posted_over" => {
                let posted = crate::alert::Posted { generator_url: String::new(), ends_at: now, updated_at: now, timeout: false };
                self.router.update(&Alert { posted: Some(posted), ..alert(argument, now).resolved(now) }, now);
            }
            "again" => self.router.update(&self.alerts[argument], now),
            // Fired ten minutes ago, and over since five; told as a book does, in two changes.
            "late" => {
                let firing = Alert { late: true, ..alert(argument, now - Span::secs(600)) };
                self.router.update(&firing, now);
                self.update(argument, firing.resolved(now - Span::secs(300)), now);
            }
            "late_firing" => self.update(argument, Alert { late: true, ..alert(argument, now - Span::secs(600)) }, now),
            "reload" => self.router.reload(route(argument), now),
            "restart" => self.restart(now),
            // Under an id, what a matcher says, for so long.
            "silence" => {
                let words: Vec<&str> = argument.split(' ').collect();
                let (starts_at, ends_at) = (now, now + Span::parse(words[2]).unwrap());
                let (created_by, comment) = ("me".to_owned(), "because".to_owned());
                let draft = Draft { id: None, matchers: matchers(words[1]), starts_at, ends_at, created_by, comment };
                assert_eq!(self.router.silence(draft, words[0].to_owned(), now), Ok(words[0].to_owned()));
            }
            "unsilence" => self.router.expire_silence(argument, now).unwrap(),
            "ack" => return told(&self.router.acknowledge(&selection(argument), "me", "on it", now)),
            "unack" => return told(&self.router.unacknowledge(&selection(argument), now)),
            "trace" => {
                let quiet =
                    |trace: &Trace| if trace.quiet.is_empty() { String::new() } else { format!(" ({})", trace.quiet.join(", ")) };
                let line = |trace: &Trace| format!("{}x {}{}", trace.times, trace.reason, quiet(trace));
                let key = self.router.groups(now).into_iter().find(|group| group.receiver == argument).unwrap().key;
                return self.router.trace(argument, &key).iter().map(line).collect::<Vec<_>>().join("; ");
            }
            "status" => {
                let status = self.router.status(&labels(argument), now);
                let inhibited: Vec<String> = status.inhibited_by.iter().map(ToString::to_string).collect();
                let all = [status.receivers, status.silenced_by, inhibited, status.muted_by].map(|names| names.join(","));
                return format!("{} {}", all.join("/"), if status.is_unprocessed { "new" } else { "" }).trim().to_owned();
            }
            "give_up" => {
                let mut words = argument.splitn(3, ' ');
                let mut word = || words.next().unwrap_or("{}:{}");
                self.router.forget_log(word(), word().parse().unwrap(), word(), &BTreeSet::new());
            }
            // A configuration with all receivers but this one.
            "lose" => {
                let mut routing = Routing { receivers: route(ONE).receivers, ..self.router.routing.clone() };
                routing.receivers.remove(argument);
                self.router.reload(routing, now);
            }
            "next" => return self.router.next_flush().map_or(String::new(), |at| (at - Time(0)).to_string()),
            "flush" => return self.flush(now).iter().map(shown).collect::<Vec<_>>().join("; "),
            _ => panic!("no step is called {op}"),
        }
        String::new()
    }
}

#[track_caller]
fn check(text: &str, script: &str) {
    let mut bench = Bench::new(text);
    for line in script.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let (step, expected) = line.split_once("->").unwrap_or((line, ""));
        let mut words = step.trim().splitn(3, ' ');
        let (at, op) = (words.next().unwrap(), words.next().unwrap());
        let now = Time(0) + Span::parse(at).unwrap();
        assert_eq!(bench.step(now, op, words.next().unwrap_or("")), expected.trim(), "{line}");
    }
}

const ONE: &str = "receiver: oncall";

#[test]
fn each_row_of_the_decision() {
    check(
        ONE,
        "0s fire a
         0s flush -> oncall/0 first alert: +a
         1s fire b
         1s flush ->
         5m flush -> oncall/0 new alert: +a +b
         6m resolve b
         10m flush -> oncall/0 partly resolved: +a -b
         15m flush -> oncall/0 nothing new within repeat_interval
         16m resolve a
         20m flush -> oncall/0 resolved: -a
         25m flush ->",
    );
    // Repeats, as long as it fires.
    check(
        "receiver: oncall, repeat_interval: 10m",
        "0s fire a
         0s flush -> oncall/0 first alert: +a
         5m flush -> oncall/0 nothing new within repeat_interval
         10m flush -> oncall/0 repeat: +a
         15m flush -> oncall/0 nothing new within repeat_interval
         20m flush -> oncall/0 repeat: +a
         21m resolve a
         25m flush -> oncall/0 resolved: -a
         40m flush ->",
    );
    // Whoever does not want ends hears of none; and is told anew.
    check(
        "receiver: both",
        "0s fire a
         0s fire b
         0s flush -> both/0 first alert: +a +b; both/1 first alert: +a +b
         1m resolve a
         5m flush -> both/0 partly resolved: +b -a; both/1 nothing new within repeat_interval
         6m fire c
         10m flush -> both/0 new alert: +b +c; both/1 new alert: +b +c
         11m resolve b
         11m resolve c
         15m flush -> both/0 resolved: -b -c; both/1 resolved, but send_resolved is false
         16m fire a
         16m flush -> both/0 new alert: +a; both/1 new alert: +a",
    );
}

/// Of many groups that are due, each is looked at once, however many a step may look at.
#[test]
fn groups_are_looked_at_in_portions() {
    let mut bench = Bench::new("receiver: oncall, group_by: [alertname]");
    let names = ["a1", "a2", "a3", "b1", "b2", "c1", "d1"];
    names.iter().for_each(|name| bench.update(name, alert(name, Time(0)), Time(0)));
    let mut portions = Vec::new();
    while bench.router.is_due(Time(0)) {
        portions.push(bench.router.flush_some(Time(0), 3).iter().map(shown).collect::<Vec<_>>().join("; "));
    }
    // The last group of a portion may have more alerts than there is room for.
    let [a, b, c, d] = [("a", "+a1 +a2 +a3"), ("b", "+b1 +b2"), ("c", "+c1"), ("d", "+d1")]
        .map(|(name, alerts)| format!("oncall/0{{alertname=\"{name}\"}} first alert: {alerts}"));
    assert_eq!(portions, [a, format!("{b}; {c}"), d]);
}

#[test]
fn groups_wait_and_end() {
    // The first alert waits for others; one that is over by then is never told.
    check(
        "receiver: oncall, group_wait: 30s",
        "0s fire a
         0s flush ->
         0s next -> 30s
         10s fire b
         20s resolve b
         30s flush -> oncall/0 first alert: +a
         30s next -> 5m30s
         31s again b
         60s resolve a
         330s flush -> oncall/0 resolved: -a
         330s next ->
         331s fire a
         331s next -> 6m1s
         361s flush -> oncall/0 new alert: +a",
    );
    check(
        "receiver: oncall, group_wait: 30s",
        "0s fire a
         10s resolve a
         30s flush -> oncall/0 nothing fires
         30s next ->",
    );
    // One that has waited long enough elsewhere is told at once.
    check(
        "receiver: oncall, group_wait: 30s",
        "0s fire a
         0s late_firing b
         0s flush -> oncall/0 first alert: +a +b",
    );
    // It fires again before anybody was told that it stopped: nothing happened.
    check(
        ONE,
        "0s fire a
         0s flush -> oncall/0 first alert: +a
         1m resolve a
         2m fire a
         5m flush -> oncall/0 nothing new within repeat_interval",
    );
    check(
        "receiver: oncall, group_by: [alertname]",
        "0s fire a1
         0s fire b1
         0s flush -> oncall/0{alertname=\"a\"} first alert: +a1; oncall/0{alertname=\"b\"} first alert: +b1
         1m fire a2
         1m flush ->
         5m flush -> oncall/0{alertname=\"a\"} new alert: +a1 +a2; oncall/0{alertname=\"b\"} nothing new within repeat_interval",
    );
}

#[test]
fn a_late_incident_is_told_once() {
    check(
        ONE,
        "20m late a
         20m flush -> oncall/0 first alert: +a
         20m again a
         21m flush ->
         25m flush -> oncall/0 resolved: -a
         26m again a
         26m restart
         26m again a
         35m flush ->",
    );
    // Without its firing form, and across a restart between the two messages.
    check(
        "receiver: quiet, group_wait: 1m",
        "20m late a
         20m restart
         20m flush -> quiet/0 first alert: +a
         20m restart
         25m flush -> quiet/0 resolved, but send_resolved is false
         26m again a
         30m flush ->",
    );
    // It fires still, for longer than anything is remembered.
    check(
        "receiver: oncall, repeat_interval: 7d",
        "20m late_firing a
         20m flush -> oncall/0 first alert: +a
         6d resolve a
         6d flush -> oncall/0 resolved: -a
         6d again a
         6d flush ->",
    );
    // A new one of the same labels is another.
    check(
        ONE,
        "20m late a
         20m flush -> oncall/0 first alert: +a
         25m flush -> oncall/0 resolved: -a
         30m late a
         30m flush -> oncall/0 new alert: +a
         35m flush -> oncall/0 resolved: -a",
    );
}

#[test]
fn a_reload_leaves_nobody_behind() {
    // Another receiver: the old one is told the end under the old key.
    check(
        "receiver: oncall, group_by: [alertname]",
        "0s fire a1
         0s flush -> oncall/0{alertname=\"a\"} first alert: +a1
         1m reload receiver: both
         1m flush -> both/0 first alert: +a1; both/1 first alert: +a1
         1m next -> 5m
         5m flush -> oncall/0{alertname=\"a\"} resolved: -a1
         6m flush -> both/0 nothing new within repeat_interval; both/1 nothing new within repeat_interval
         6m next -> 11m",
    );
    // Another group_by: the group is another. Its alert was over by then.
    check(
        "receiver: oncall, group_by: [alertname]",
        "0s fire a1
         0s flush -> oncall/0{alertname=\"a\"} first alert: +a1
         1m resolve a1
         1m reload receiver: oncall
         1m flush -> oncall/0 nothing fires
         5m flush -> oncall/0{alertname=\"a\"} resolved: -a1",
    );
    // The key stays, but not all of its alerts.
    check(
        "receiver: oncall, group_by: [alertname]",
        "0s fire a
         0s fire a1
         0s flush -> oncall/0{alertname=\"a\"} first alert: +a +a1
         1m reload receiver: oncall, group_by: [alertname, model]
         1m flush -> oncall/0{alertname=\"a\", model=\"1\"} first alert: +a1
         5m flush -> oncall/0{alertname=\"a\"} partly resolved: +a -a1",
    );
}

#[test]
fn a_reload_there_and_back_leaves_nobody_behind() {
    // Where no end was wanted.
    check(
        "receiver: quiet",
        "0s fire a
         0s flush -> quiet/0 first alert: +a
         1m reload receiver: gone
         5m flush -> quiet/0 resolved, but send_resolved is false
         6m reload receiver: quiet
         6m flush -> quiet/0 nothing new within repeat_interval
         7m resolve a
         8m fire a
         8m reload receiver: gone
         8m reload receiver: quiet
         11m flush -> quiet/0 nothing new within repeat_interval
         12m resolve a
         16m flush -> quiet/0 resolved, but send_resolved is false
         17m fire a
         17m flush -> quiet/0 new alert: +a",
    );
    // There and back within an interval: nothing was said, nothing is.
    check(
        ONE,
        "0s fire a
         0s flush -> oncall/0 first alert: +a
         1m reload receiver: gone
         1m flush ->
         2m reload receiver: oncall
         5m flush -> oncall/0 nothing new within repeat_interval",
    );
    // A receiver that comes back is told what it missed.
    check(
        ONE,
        "0s fire a
         0s flush -> oncall/0 first alert: +a
         1m reload receiver: quiet
         1m lose oncall
         1m flush -> quiet/0 first alert: +a
         2m resolve a
         9m flush -> quiet/0 resolved, but send_resolved is false
         10m lose nobody
         19m flush -> oncall/0 resolved: -a
         30m flush ->",
    );
    // The same route: nothing happens. A shorter interval holds from now on.
    check(
        ONE,
        "0s fire a
         0s flush -> oncall/0 first alert: +a
         1s fire b
         2s reload receiver: oncall, group_interval: 1m
         2s flush ->
         2s next -> 1m
         60s flush -> oncall/0 new alert: +a +b",
    );
}

#[test]
fn what_was_given_up_is_told_again() {
    check(
        ONE,
        "0s fire a
         0s flush -> oncall/0 first alert: +a
         1s give_up oncall 0
         1s flush ->
         5m flush -> oncall/0 first alert: +a
         10m flush -> oncall/0 nothing new within repeat_interval",
    );
    // Nobody ever heard of it: nothing to take back.
    check(
        ONE,
        "0s fire a
         0s flush -> oncall/0 first alert: +a
         1s give_up oncall 0
         2s resolve a
         5m flush -> oncall/0 nothing fires",
    );
    // A repeat; an end; an end whose group is gone.
    check(
        "receiver: oncall, repeat_interval: 5m",
        "0s fire a
         0s fire b
         0s flush -> oncall/0 first alert: +a +b
         5m flush -> oncall/0 repeat: +a +b
         6m give_up oncall 0
         10m flush -> oncall/0 the last message was given up: +a +b
         11m resolve b
         15m flush -> oncall/0 partly resolved: +a -b
         16m give_up oncall 0
         20m flush -> oncall/0 the last message was given up: +a -b
         21m resolve a
         25m flush -> oncall/0 resolved: -a
         26m give_up oncall 0
         26m restart
         26m next -> 30m
         30m flush -> oncall/0 resolved: -a -b
         60m flush ->",
    );
}

#[test]
fn nobody_is_waited_for_for_ever() {
    check(
        ONE,
        "0s fire a
         0s flush -> oncall/0 first alert: +a
         1m reload receiver: quiet
         1m lose oncall
         1m resolve a
         9m flush -> quiet/0 nothing fires
         9m next -> 14m
         6d flush ->
         6d next ->",
    );
}

#[test]
fn an_end_carries_the_alert_as_last_known() {
    let seconds = Time::from_secs;
    let ends = |bench: &mut Bench, at: i64| -> Vec<Option<Time>> {
        let decisions = bench.flush(seconds(at)).into_iter();
        let notifications = decisions.filter_map(|decision| match decision.action {
            Action::Notify(notification) => Some(notification),
            Action::Hold => None,
        });
        notifications.flat_map(|n| n.alerts).map(|alert| alert.resolved_at).collect()
    };
    let mut bench = Bench::new(ONE);
    bench.step(seconds(0), "fire", "a");
    assert_eq!(ends(&mut bench, 0), [None]);
    bench.step(seconds(60), "resolve", "a");
    assert_eq!(ends(&mut bench, 300), [Some(seconds(60))]);
    // Given up: the same end again. Moved elsewhere: over for this receiver since it is told so.
    bench.step(seconds(301), "give_up", "oncall 0");
    assert_eq!(ends(&mut bench, 600), [Some(seconds(60))]);
    bench.step(seconds(601), "fire", "a");
    assert_eq!(ends(&mut bench, 601), [None]);
    bench.step(seconds(602), "reload", "receiver: gone");
    assert_eq!(ends(&mut bench, 901), [Some(seconds(901))]);
}

#[test]
fn a_clock_that_was_a_day_ahead_holds_nothing_back() {
    // Its alert is told as it was, its next one, and what fires on is repeated once.
    check(
        "receiver: oncall, group_wait: 30s, repeat_interval: 10m",
        "1d fire a
         1d1m flush -> oncall/0 first alert: +a
         1m fire b
         1m flush -> oncall/0 new alert: +a +b
         2m flush ->
         6m flush -> oncall/0 nothing new within repeat_interval
         11m flush -> oncall/0 repeat: +a +b",
    );
    check(
        "receiver: oncall, repeat_interval: 10m",
        "1d fire a
         1d flush -> oncall/0 first alert: +a
         1m restart
         1m flush -> oncall/0 repeat: +a
         2m flush ->",
    );
    // Neither a group that waits for its first look, nor the end of what a reload took away.
    check(
        "receiver: oncall, group_wait: 30s",
        "1d fire a
         1m flush -> oncall/0 first alert: +a
         6m flush -> oncall/0 nothing new within repeat_interval",
    );
    check(
        ONE,
        "1d fire a
         1d flush -> oncall/0 first alert: +a
         1m reload receiver: quiet
         1m flush -> oncall/0 resolved: -a; quiet/0 first alert: +a",
    );
}
