//! The resolve guarantee from posted alerts to what receivers hear: router and outbox together, with receivers that fail,
//! configurations that change, and crashes between any two steps, after which there is nothing but what was stored.

use std::collections::BTreeMap;
use std::path::Path;

use proptest::prelude::*;

use super::*;
use crate::alert::State;
use crate::config::{self, Config};
use crate::labels::{Matcher, Matchers};
use crate::notify::Outcome;
use crate::outbox::{Delivery, Outbox, Recorded};
use crate::route::{Draft, Selection};
use crate::yaml::Faults;

const RECEIVERS: &str = "
receivers:
  - {name: a, webhook_configs: [{url: 'http://127.0.0.1:1/'}]}
  - {name: b, webhook_configs: [{url: 'http://127.0.0.1:1/'}, {url: 'http://127.0.0.1:1/', send_resolved: false}]}
  - {name: c, webhook_configs: [{url: 'http://127.0.0.1:1/'}]}
";
const ROUTES: [&str; 4] = [
    "route: {receiver: a, group_by: [alertname], group_interval: 1m, repeat_interval: 10m, escalation: [{after: 3m, receiver: c}]}",
    "route: {receiver: b, group_by: []}",
    "route: {receiver: c, routes: [{matchers: [alertname=x], receiver: a, continue: true}, {matchers: [n=~'1|2'], receiver: b}]}
inhibit_rules: [{source_matchers: [n=1], target_matchers: [n=2], equal: [alertname]}]",
    "route: {receiver: b, group_by: ['...'], routes: [{receiver: a, mute_time_intervals: [lunch], group_interval: 2m}]}
time_intervals: [{name: lunch, time_intervals: [{times: [{start_time: '02:50', end_time: '03:10'}]}]}]",
];
const ALERTS: [(&str, &str); 4] = [("x", "1"), ("x", "2"), ("y", "1"), ("y", "3")];

#[derive(Clone, Debug)]
enum Op {
    /// Posted, to end by itself after five minutes.
    Post(usize),
    /// Posted as over.
    End(usize),
    Pass(i64),
    Reload(usize),
    Silence(usize, i64),
    Ack,
    /// What is due is sent; how each attempt ends.
    Send(Vec<Attempt>),
    Crash,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Attempt {
    Delivered,
    /// It arrived, but the answer was lost.
    Unanswered,
    Failed,
    Rejected,
    /// It arrived, and then we crashed.
    Crashed,
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    use Attempt::{Crashed, Delivered, Failed, Rejected, Unanswered};
    let attempt =
        prop_oneof![4 => Just(Delivered), 1 => Just(Unanswered), 2 => Just(Failed), 1 => Just(Rejected), 1 => Just(Crashed)];
    let op = prop_oneof![
        4 => (0..ALERTS.len()).prop_map(Op::Post),
        3 => (0..ALERTS.len()).prop_map(Op::End),
        4 => prop_oneof![Just(1), Just(60), 1..400i64].prop_map(Op::Pass),
        1 => (0..ROUTES.len()).prop_map(Op::Reload),
        1 => (0..ALERTS.len(), 1..900i64).prop_map(|(n, seconds)| Op::Silence(n, seconds)),
        1 => Just(Op::Ack),
        5 => prop::collection::vec(attempt, 1..5).prop_map(Op::Send),
        1 => Just(Op::Crash),
    ];
    prop::collection::vec(op, 1..60)
}

/// A program with its store, and what its receivers heard.
struct Scene {
    pipeline: Pipeline,
    outbox: Outbox,
    windows: Windows,
    routes: usize,
    now: Time,
    documents: BTreeMap<(&'static str, String), Vec<u8>>,
    rows: BTreeMap<u64, Vec<u8>>,
    /// Whether each integration thinks that an alert of a group fires.
    thinks: BTreeMap<(String, usize, String, Labels), bool>,
}

fn setup(routes: usize) -> Setup {
    let text = format!("{RECEIVERS}{}", ROUTES[routes]);
    let mut faults = Faults::default();
    let config: Config = config::parse("t.yml", &text, Path::new("/"), None, &mut faults).unwrap();
    let broken = faults.0.iter().filter(|fault| fault.severity == crate::diag::Severity::Error).count();
    assert_eq!(broken, 0, "{:?}", faults.0);
    let Config { routing, receivers, .. } = config;
    Setup { routing, receivers, resolve_timeout: Span::secs(300), ..Setup::default() }
}

fn labels(n: usize) -> Labels {
    [("alertname", ALERTS[n].0), ("n", ALERTS[n].1)].into_iter().collect()
}

impl Scene {
    fn new() -> Scene {
        let now = Time::from_secs(10_000);
        let mut windows = Windows::new(Vec::new(), 1, Span::ZERO);
        let (pipeline, ..) = Pipeline::new(setup(0), Kept::default(), &mut windows, now);
        let (documents, rows, thinks) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        Scene { pipeline, outbox: Outbox::default(), windows, routes: 0, now, documents, rows, thinks }
    }

    /// One transaction.
    fn save(&mut self) {
        for (kind, name, body) in self.pipeline.take_changed_routing() {
            match body {
                Some(body) => drop(self.documents.insert((kind, name), body)),
                None => drop(self.documents.remove(&(kind, name))),
            }
        }
        let changes = self.outbox.take_changes();
        for id in changes.changed {
            self.rows.insert(id, postcard::to_stdvec(self.outbox.get(id).unwrap()).unwrap());
        }
        changes.removed.iter().for_each(|id| drop(self.rows.remove(id)));
    }

    fn route(&mut self) {
        for Message { to, notification, .. } in self.pipeline.route(&[], self.now) {
            self.outbox.enqueue(&to, notification, self.now);
        }
        self.save();
    }

    fn pass(&mut self, span: Span) {
        let until = self.now + span;
        while let Some(due) = self.pipeline.next_flush().filter(|due| *due <= until) {
            self.now = due.max(self.now);
            self.route();
        }
        self.now = until;
    }

    fn configure(&mut self, kept: Kept) {
        (self.pipeline, ..) = Pipeline::new(setup(self.routes), kept, &mut self.windows, self.now);
        self.route();
    }

    fn crash(&mut self) {
        let of = |kind: &str| {
            let all = self.documents.iter().filter(move |((known, _), _)| *known == kind);
            all.map(|((_, name), body)| (name.clone(), body.clone())).collect::<Vec<_>>()
        };
        let groups = Saved::KINDS.iter().flat_map(|kind| of(kind).into_iter().map(move |(name, body)| (*kind, name, body)));
        let router = Saved::restore(groups.collect()).unwrap();
        let (inbox, silences) = (Inbox::restore(of("posted")).unwrap(), Silences::restore(of("silence")).unwrap());
        self.outbox = Outbox::new(self.rows.values().map(|body| postcard::from_bytes::<Delivery>(body).unwrap()));
        self.outbox.recover(self.now);
        self.configure(Kept { inbox, router, silences, ..Kept::default() });
    }

    fn send(&mut self, attempts: &[Attempt]) {
        let leased = self.outbox.lease(self.now);
        self.save();
        for (n, delivery) in leased.into_iter().enumerate() {
            let attempt = attempts[n % attempts.len()];
            if attempt != Attempt::Failed && attempt != Attempt::Rejected {
                self.hear(&delivery);
            }
            let failed = || Outcome::Retry { reason: "500".to_owned(), after: None };
            let outcome = match attempt {
                Attempt::Crashed => return self.crash(),
                Attempt::Delivered => Outcome::Delivered,
                Attempt::Unanswered | Attempt::Failed => failed(),
                Attempt::Rejected => Outcome::Rejected { reason: "400".to_owned() },
            };
            let recorded = self.outbox.record(delivery.id, &outcome, None, self.now, 0.5);
            if let Some(Recorded::GivenUp { newer_waits: false, lane }) = recorded {
                self.pipeline.forget_log(&lane, &self.outbox.may_be_told(&lane));
            }
            self.save();
        }
    }

    fn hear(&mut self, delivery: &Delivery) {
        for alert in &delivery.notification.alerts {
            let (receiver, group) = (delivery.receiver.clone(), delivery.notification.group_key.clone());
            let key = (receiver, delivery.integration, group, alert.labels.clone());
            self.thinks.insert(key, alert.state == State::Firing);
        }
    }

    fn post(&mut self, n: usize, ends: bool) {
        let ends_at = ends.then_some(self.now);
        let starts_at = self.pipeline.inbox.get(&labels(n)).filter(|alert| alert.is_live()).map(|alert| alert.active_at);
        let (annotations, generator_url) = (Labels::default(), String::new());
        let posted = Incoming { labels: labels(n), annotations, starts_at: starts_at.or(Some(self.now)), ends_at, generator_url };
        self.pipeline.post(vec![posted], self.now);
        self.route();
    }

    fn play(&mut self, op: &Op) {
        match op {
            Op::Post(n) => self.post(*n, false),
            Op::End(n) => self.post(*n, true),
            Op::Pass(seconds) => self.pass(Span::secs(*seconds)),
            Op::Reload(routes) => {
                self.routes = *routes;
                let kept = std::mem::take(&mut self.pipeline).into_kept();
                self.configure(kept);
            }
            Op::Silence(n, seconds) => {
                let matchers = Matchers(vec![Matcher::parse(&format!("alertname={}", ALERTS[*n].0)).unwrap()]);
                let (created_by, comment) = ("me".to_owned(), "because".to_owned());
                let (starts_at, ends_at) = (self.now, self.now + Span::secs(*seconds));
                let draft = Draft { id: None, matchers, starts_at, ends_at, created_by, comment };
                let id = format!("s{}", self.documents.len());
                let _ = self.pipeline.router_mut().silence(draft, id, self.now);
                self.save();
            }
            Op::Ack => {
                self.pipeline.router_mut().acknowledge(&Selection::Matching(Matchers::default()), "me", "", self.now);
                self.save();
            }
            Op::Send(attempts) => self.send(attempts),
            Op::Crash => self.crash(),
        }
    }
}

proptest! {
    #[test]
    fn who_heard_that_it_fires_hears_the_end(ops in ops()) {
        let mut scene = Scene::new();
        ops.iter().for_each(|op| scene.play(op));
        // All is over, and every receiver answers from now on.
        (0..ALERTS.len()).for_each(|n| scene.post(n, true));
        for _ in 0..40 {
            scene.pass(Span::secs(60));
            scene.send(&[Attempt::Delivered]);
        }
        let wants = |receiver: &str, n: usize| {
            scene.pipeline.router().routing().receivers[receiver].iter().any(|end| end.index == n && end.send_resolved)
        };
        let deceived: Vec<_> =
            scene.thinks.iter().filter(|((receiver, n, ..), fires)| **fires && wants(receiver, *n)).map(|(key, _)| key).collect();
        prop_assert!(deceived.is_empty(), "{deceived:?}");
        prop_assert_eq!(scene.outbox.open(), 0);
        prop_assert_eq!(scene.pipeline.router().next_flush(), None);
    }
}
