//! The resolve guarantee over random timelines.

use proptest::prelude::*;

use super::*;

/// A step of the random timeline.
#[derive(Clone, Debug)]
enum Op {
    Fire(usize),
    Resolve(usize),
    Late(usize),
    Pass(i64),
    Reload(usize),
    Restart,
    GiveUp(usize),
}

const NAMES: [&str; 4] = ["a", "a1", "a2", "b1"];
const ROUTES: [&str; 5] = [
    "receiver: oncall",
    "receiver: oncall, group_by: [alertname], group_wait: 30s",
    "receiver: both, group_by: [alertname]",
    "receiver: both, group_by: [alertname, model], group_interval: 1m, repeat_interval: 10m",
    "receiver: quiet, group_by: ['...']",
];

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let op = prop_oneof![
        3 => (0..NAMES.len()).prop_map(Op::Fire),
        3 => (0..NAMES.len()).prop_map(Op::Resolve),
        1 => (0..NAMES.len()).prop_map(Op::Late),
        6 => prop_oneof![Just(1), Just(60), Just(300), 1..900i64].prop_map(Op::Pass),
        1 => (0..ROUTES.len()).prop_map(Op::Reload),
        1 => Just(Op::Restart),
        1 => (0..9usize).prop_map(Op::GiveUp),
    ];
    prop::collection::vec(op, 1..60)
}

/// What one integration received about one group: what it thinks of each alert, and its last message.
#[derive(Default)]
struct Inbox {
    messages: Vec<Notification>,
    /// The last was given up.
    lost: bool,
}

#[derive(Default)]
struct World {
    inboxes: BTreeMap<(String, usize, String), Inbox>,
}

impl World {
    fn flush(&mut self, bench: &mut Bench, now: Time) -> Result<(), TestCaseError> {
        let repeat = bench.router.route.repeat_interval;
        for decision in bench.flush(now) {
            let Action::Notify(message) = decision.action else { continue };
            let inbox = self.inboxes.entry((decision.receiver, decision.integration, decision.group_key)).or_default();
            let content = |message: &Notification| -> Vec<(Labels, State, Option<Time>)> {
                message.alerts.iter().map(|alert| (alert.labels.clone(), alert.state, alert.fired_at)).collect()
            };
            if let Some(last) = inbox.messages.last().filter(|_| !inbox.lost) {
                prop_assert!(content(last) != content(&message) || now - last.at >= repeat, "twice: {message:?}");
            }
            prop_assert!(!message.alerts.is_empty());
            if std::mem::take(&mut inbox.lost) {
                inbox.messages.pop();
            }
            inbox.messages.push(message);
        }
        Ok(())
    }

    fn give_up(&mut self, bench: &mut Bench, n: usize) {
        let count = self.inboxes.len().max(1);
        if let Some(((receiver, integration, key), inbox)) = self.inboxes.iter_mut().nth(n % count) {
            bench.router.forget_log(receiver, *integration, key);
            inbox.lost = true;
        }
    }

    /// Who still thinks that something fires.
    fn believers(&self) -> Vec<String> {
        let mut believers = Vec::new();
        for ((receiver, integration, key), inbox) in &self.inboxes {
            let wants = integrations(receiver).contains(&(*integration, true));
            let received = inbox.messages.len() - usize::from(inbox.lost);
            let said = inbox.messages[..received].iter().flat_map(|message| &message.alerts);
            let last: BTreeMap<&Labels, State> = said.map(|alert| (&alert.labels, alert.state)).collect();
            let firing = last.into_iter().filter(|(_, state)| wants && *state == State::Firing);
            believers.extend(firing.map(|(labels, _)| format!("{receiver}/{integration} {key} {labels}")));
        }
        believers
    }
}

proptest! {
    /// The resolve guarantee, and that nothing is said twice in a row.
    #[test]
    fn who_was_told_is_told_the_end(ops in ops()) {
        let (mut bench, mut world, mut now) = (Bench::new(ROUTES[0]), World::default(), Time::from_secs(10_000));
        for op in ops {
            match op {
                Op::Fire(n) if bench.alerts.get(NAMES[n]).is_none_or(|alert| !alert.is_live()) => {
                    bench.step(now, "fire", NAMES[n]);
                }
                Op::Late(n) if !bench.alerts.contains_key(NAMES[n]) => {
                    bench.step(now, "late", NAMES[n]);
                }
                Op::Resolve(n) if bench.alerts.get(NAMES[n]).is_some_and(Alert::is_live) => {
                    bench.step(now, "resolve", NAMES[n]);
                }
                Op::Fire(n) | Op::Late(n) | Op::Resolve(n) if bench.alerts.contains_key(NAMES[n]) => {
                    bench.step(now, "again", NAMES[n]);
                }
                Op::Fire(_) | Op::Late(_) | Op::Resolve(_) => {}
                Op::Pass(seconds) => now = now + Span::secs(seconds),
                Op::Reload(n) => bench.router.reload(route(ROUTES[n])),
                Op::Restart => {
                    bench.step(now, "restart", "");
                }
                Op::GiveUp(n) => world.give_up(&mut bench, n),
            }
            world.flush(&mut bench, now)?;
        }
        for name in NAMES {
            if bench.alerts.get(name).is_some_and(Alert::is_live) {
                bench.step(now, "resolve", name);
            }
        }
        for _ in 0..4 {
            now = now + Span::secs(300);
            world.flush(&mut bench, now)?;
        }
        prop_assert_eq!(world.believers(), Vec::<String>::new());
        prop_assert_eq!(bench.router.next_flush(), None);
        bench.router.flush(now + RETENTION + Span::secs(1), integrations);
        prop_assert_eq!(bench.router.saved(), &Saved::default(), "all is forgotten in the end");
    }
}
