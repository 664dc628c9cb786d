use super::*;
use crate::alert::{Posted, State};
use crate::labels::Matchers;
use crate::notify::Outcome as Sent;
use crate::outbox::To;
use crate::route::{Notification, Reason};

const NOW: i64 = 1_763_000_000;

fn at(seconds: i64) -> Time {
    Time::from_secs(NOW + seconds)
}

fn alert(state: State) -> Alert {
    Alert {
        labels: [("alertname", "Spike"), ("model", "m")].into_iter().collect(),
        annotations: Labels::default(),
        value: 42.0,
        evidence: "42 failures in 1h, more than 10".to_owned(),
        state,
        active_at: at(-360),
        fired_at: (state != State::Pending).then(|| at(-300)),
        resolved_at: (state == State::Resolved).then(|| at(-60)),
        absent_since: None,
        late: false,
        posted: None,
    }
}

/// A world in which nothing is known but the alert and a tree with one receiver.
struct World {
    root: Route,
    outbox: Outbox,
    silence: Silence,
    traces: Vec<Trace>,
}

impl World {
    fn new() -> World {
        let child = Route {
            key: "{}/{team=\"data\"}".to_owned(),
            matchers: Matchers::parse("team=data").unwrap(),
            receiver: "data".to_owned(),
            ..Route::default()
        };
        let root = Route { receiver: "oncall".to_owned(), routes: vec![child], ..Route::default() };
        let silence = Silence {
            id: "3f2a".to_owned(),
            matchers: Matchers::parse("model=m").unwrap(),
            starts_at: at(-200),
            ends_at: at(3_600),
            updated_at: at(-200),
            created_by: "alice".to_owned(),
            comment: "deploy\u{7}".to_owned(),
        };
        World { root, outbox: Outbox::new([]), silence, traces: Vec::new() }
    }

    /// Queues a message about the alert, `seconds` from now, and notes what came of each attempt.
    fn tell(&mut self, alert: &Alert, seconds: i64, outcomes: &[Sent]) {
        let to = To { receiver: "oncall".to_owned(), integration: 0, kind: "slack".to_owned(), send_resolved: true };
        let notification = Notification {
            receiver: "oncall".to_owned(),
            group_key: "{}:{alertname=\"Spike\"}".to_owned(),
            group_labels: Labels::default(),
            alerts: vec![alert.clone()],
            reason: "first alert".to_owned(),
            at: at(seconds),
        };
        let id = self.outbox.enqueue(&to, notification, at(seconds)).unwrap();
        for (i, outcome) in outcomes.iter().enumerate() {
            let now = at(seconds + 1 + i as i64 * 10);
            self.outbox.lease(now);
            self.outbox.record(id, outcome, None, now, 0.0);
        }
    }

    fn facts(&self, subject: Subject) -> Facts<'_> {
        let kinds = BTreeMap::from([("oncall".to_owned(), BTreeMap::from([(0, "slack")]))]);
        let group = GroupView {
            receiver: "oncall".to_owned(),
            key: "{}:{alertname=\"Spike\"}".to_owned(),
            labels: Labels::default(),
            alerts: Vec::new(),
            next_flush: at(60),
            acknowledgement: None,
            muted_by: Vec::new(),
            outside_of: Vec::new(),
            told: vec!["oncall".to_owned()],
        };
        Facts {
            now: at(0),
            subject,
            root: &self.root,
            status: Status::default(),
            silences: Vec::new(),
            traces: vec![(group.receiver.clone(), group.key.clone(), &self.traces)],
            groups: vec![group],
            deliveries: self.outbox.iter().collect(),
            kinds,
        }
    }

    fn of(&self, state: State) -> Facts<'_> {
        self.facts(Subject::Alert(Box::new(alert(state))))
    }
}

fn trace(reason: Reason, quiet: &[&str]) -> Trace {
    let quiet = quiet.iter().map(|&text| text.to_owned()).collect();
    Trace { at: at(-300), last: at(-100), times: 3, integration: 0, reason, firing: 0, quiet }
}

fn refused() -> Sent {
    Sent::Retry { reason: "status 500: \u{1b}[2J oops".to_owned(), after: None }
}

#[track_caller]
fn check(facts: &Facts<'_>, expected: &str) {
    let explanation = Explanation::new(facts);
    assert_eq!(explanation.answer, expected);
    assert!(explanation.verdict.ends_with(&explanation.answer));
    let text = explanation.to_string();
    assert!(text.starts_with(&explanation.verdict) && !text.contains(['\u{1b}', '\u{7}']), "{text:?}");
    assert_eq!(explanation.json()["verdict"], explanation.verdict);
}

#[test]
fn the_first_line_says_why_nobody_was_told() {
    let mut world = World::new();
    check(&world.of(State::Pending), "nobody was told: it does not fire yet (`for`)");
    check(&world.of(State::Firing), "nobody was told: its group is first looked at 2025-11-13T02:14:20Z (`group_wait`)");
    check(&world.of(State::Resolved), "nobody was told: it was over before its group was first looked at");
    let empty = Facts { kinds: BTreeMap::from([("oncall".to_owned(), BTreeMap::new())]), ..world.of(State::Firing) };
    check(&empty, "nobody was told: the receiver `oncall` has no way to be told");
    let labels = [("team", "data")].into_iter().collect();
    check(&world.facts(Subject::Labels(labels)), "nobody was told: no alert has these labels; one that fires would go to data");
    let silence = world.silence.clone();
    let silenced = Facts { silences: vec![&silence], ..world.of(State::Firing) };
    check(&silenced, "nobody was told: it is silenced until 2025-11-13T03:13:20Z by alice (deploy\\u{7}), silence 3f2a");
    let mut inhibited = world.of(State::Firing);
    inhibited.status.inhibited_by = vec![[("alertname", "Down")].into_iter().collect()];
    inhibited.status.muted_by = vec!["night".to_owned()];
    let expected = "nobody was told: it is inhibited by {alertname=\"Down\"}, which fires and muted by the time interval night";
    check(&inhibited, expected);
    world.traces = vec![trace(Reason::NothingFires, &["silenced by 3f2a (1 alert)"])];
    check(
        &world.of(State::Firing),
        "nobody was told: oncall (slack) at 2025-11-13T02:11:40Z: nothing fires (silenced by 3f2a (1 alert))",
    );
}

#[test]
fn the_first_line_says_who_was_told_and_what_failed() {
    let (firing, resolved) = (alert(State::Firing), alert(State::Resolved));
    let mut world = World::new();
    world.tell(&firing, -300, &[]);
    check(&world.of(State::Firing), "nobody was told: oncall (slack): waits to be sent at 2025-11-13T02:08:20Z");
    let mut world = World::new();
    world.tell(&firing, -300, &[refused()]);
    let answer = Explanation::new(&world.of(State::Firing)).answer;
    assert!(answer.starts_with("nobody was told: oncall (slack): attempt 1 failed: status 500: "), "{answer}");
    assert!(answer.contains("; the next one is at 2025-11-13T02:08:2"), "{answer}");
    let mut world = World::new();
    world.tell(&firing, -300, &[Sent::Rejected { reason: "status 404: no_service".to_owned() }]);
    check(&world.of(State::Firing), "nobody was told: oncall (slack): given up at 2025-11-13T02:08:21Z: status 404: no_service");
    let mut world = World::new();
    world.tell(&firing, -300, &[Sent::Delivered]);
    check(&world.of(State::Firing), "told oncall (slack) at 2025-11-13T02:08:21Z");
    let silenced = Facts { silences: vec![&world.silence], ..world.of(State::Firing) };
    check(
        &silenced,
        "told oncall (slack) at 2025-11-13T02:08:21Z; now silenced until 2025-11-13T03:13:20Z by alice (deploy\\u{7}), silence 3f2a",
    );
    world.tell(&resolved, -60, &[Sent::Delivered]);
    check(&world.of(State::Resolved), "told oncall (slack) at 2025-11-13T02:08:21Z and of its end at 2025-11-13T02:12:21Z");
    // Another incident of the same labels was told, this one was not.
    let again = Alert { fired_at: Some(at(-10)), active_at: at(-10), ..firing };
    let facts = world.facts(Subject::Alert(Box::new(again)));
    assert!(Explanation::new(&facts).answer.starts_with("nobody was told"), "{}", Explanation::new(&facts).answer);
}

#[test]
fn all_of_it_is_told_in_order() {
    let mut world = World::new();
    world.tell(&alert(State::Firing), -300, &[Sent::Delivered]);
    world.traces = vec![trace(Reason::First, &[])];
    let silenced = Facts { silences: vec![&world.silence], ..world.of(State::Firing) };
    let expected = "\
{alertname=\"Spike\", model=\"m\"} fires since 2025-11-13T02:08:20Z (5m): told oncall (slack) at 2025-11-13T02:08:21Z; now silenced until 2025-11-13T03:13:20Z by alice (deploy\\u{7}), silence 3f2a

alert FINGERPRINT
  alertname = Spike
  model = m
  measured: 42 (42 failures in 1h, more than 10)

route
  the root is told to oncall
    {team=\"data\"} does not hold: team=\"data\", but it is \"\"

quiet
  silenced until 2025-11-13T03:13:20Z by alice (deploy\\u{7}), silence 3f2a

group {}:{alertname=\"Spike\"} of oncall
  is looked at next at 2025-11-13T02:14:20Z
  2025-11-13T02:08:20Z  slack: notify: first alert, 3 times until 2025-11-13T02:11:40Z; 0 firing

timeline
  2025-11-13T02:07:20Z  found, pending; at last value 42 (42 failures in 1h, more than 10)
  2025-11-13T02:08:20Z  fires
  2025-11-13T02:08:20Z  notify oncall (slack): first alert (3 times, last at 2025-11-13T02:11:40Z)
  2025-11-13T02:08:20Z  delivery 0 to oncall (slack) queued: first alert
  2025-11-13T02:08:21Z  delivery 0 to oncall (slack): delivered
  2025-11-13T02:10:00Z  silenced by alice until 2025-11-13T03:13:20Z: deploy\\u{7}
";
    let fingerprint = alert(State::Firing).labels.fingerprint();
    assert_eq!(Explanation::new(&silenced).to_string(), expected.replace("FINGERPRINT", &fingerprint));
}

#[test]
fn what_others_posted_has_no_value() {
    let world = World::new();
    let posted =
        Posted { generator_url: "http://prometheus/graph".to_owned(), ends_at: at(240), updated_at: at(-60), timeout: false };
    let alert = Alert { posted: Some(posted), ..alert(State::Firing) };
    let explanation = Explanation::new(&world.facts(Subject::Alert(Box::new(alert))));
    let told: Vec<&str> = explanation.timeline.iter().map(|moment| moment.what.as_str()).collect();
    let expected = [
        "fires, as somebody posted by http://prometheus/graph",
        "posted again; it ends at 2025-11-13T02:17:20Z unless it is posted again",
    ];
    assert_eq!(told, expected);
    let json = explanation.json();
    assert_eq!(json["subject"]["alert"]["value"], serde_json::Value::Null);
    assert_eq!(json["subject"]["alert"]["posted"]["ends_at"], "2025-11-13T02:17:20Z");
}

#[test]
fn a_group_that_was_escalated_is_not_gone() {
    let mut world = World::new();
    world.traces = vec![trace(Reason::Escalated, &[])];
    let mut facts = world.of(State::Firing);
    facts.groups[0].told = vec!["lead".to_owned(), "oncall".to_owned()];
    facts.traces.push(("lead".to_owned(), facts.groups[0].key.clone(), &world.traces));
    let text = Explanation::new(&facts).to_string();
    let expected = "of lead, escalated from oncall\n  is looked at next at 2025-11-13T02:14:20Z\n";
    assert!(text.contains(expected) && !text.contains("  is gone"), "{text}");
}

#[test]
fn a_group_that_is_acknowledged_in_part_says_so() {
    let world = World::new();
    let mut facts = world.facts(Subject::Group("{}:{alertname=\"Spike\"}".to_owned()));
    let other = Alert { labels: [("alertname", "Spike"), ("model", "n")].into_iter().collect(), ..alert(State::Firing) };
    facts.groups[0].alerts = vec![alert(State::Firing), other.clone()];
    let taken = vec![alert(State::Firing).labels];
    facts.groups[0].acknowledgement =
        Some(Acknowledgement { by: "bob".to_owned(), at: at(-30), comment: String::new(), alerts: taken });
    let part = "1 of 2 acknowledged by bob at 2025-11-13T02:12:50Z; the rest is repeated and escalated";
    assert_eq!(Explanation::new(&facts).quiet, [part]);
    // It is not why nobody was told.
    check(&facts, "nobody was told: its group is first looked at 2025-11-13T02:14:20Z (`group_wait`)");
    facts.groups[0].acknowledgement.as_mut().unwrap().alerts.push(other.labels);
    assert_eq!(Explanation::new(&facts).quiet, ["acknowledged by bob at 2025-11-13T02:12:50Z"]);
}

#[test]
fn what_was_given_up_is_told_once() {
    let mut world = World::new();
    let rejected = Sent::Rejected { reason: "status 404".to_owned() };
    world.tell(&alert(State::Firing), -300, &[refused(), rejected]);
    let explanation = Explanation::new(&world.of(State::Firing));
    let told: Vec<&str> = explanation.timeline.iter().map(|moment| moment.what.as_str()).collect();
    let given_up = told.iter().filter(|what| what.contains("status 404")).collect::<Vec<_>>();
    assert_eq!(given_up, [&"delivery 0 to oncall (slack): given up: status 404"], "{told:?}");
    assert!(told.iter().any(|what| what.contains("status 500")), "{told:?}");
}

#[test]
fn times_outside_of_active_ones_are_told_as_such() {
    let world = World::new();
    let mut facts = world.of(State::Firing);
    facts.status.muted_by = vec!["office".to_owned()];
    facts.status.outside_of = vec!["office".to_owned()];
    check(&facts, "nobody was told: it is outside of the active time interval office");
}

#[test]
fn nothing_keeps_quiet_what_is_over() {
    let mut world = World::new();
    world.tell(&alert(State::Firing), -300, &[Sent::Delivered]);
    let silence = Silence { starts_at: at(-10), ..world.silence.clone() };
    let posted = Posted { generator_url: String::new(), ends_at: at(-60), updated_at: at(-60), timeout: false };
    let over = Alert { posted: Some(posted), ..alert(State::Resolved) };
    let mut facts = Facts { silences: vec![&silence], ..world.facts(Subject::Alert(Box::new(over))) };
    facts.status.inhibited_by = vec![[("alertname", "Down")].into_iter().collect()];
    check(&facts, "told oncall (slack) at 2025-11-13T02:08:21Z");
    let explanation = Explanation::new(&facts);
    assert!(explanation.quiet.is_empty());
    let told: Vec<&str> = explanation.timeline.iter().map(|moment| moment.what.as_str()).collect();
    assert!(!told.iter().any(|what| what.contains("posted again") || what.contains("silenced")), "{told:?}");
    assert_eq!(told.last(), Some(&"resolved"));
}
