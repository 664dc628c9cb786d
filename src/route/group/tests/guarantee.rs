//! The resolve guarantee over random timelines.

use proptest::prelude::*;

use super::*;
use crate::limits::RETENTION;

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
    Silence(usize, i64),
    Unsilence,
    Ack(usize),
    Unack,
    /// The rule is gone while nobody looks: nobody says that it is over.
    Forget(usize),
    /// A configuration without a receiver, or with all of them.
    Lose(usize),
}

const NAMES: [&str; 4] = ["a", "a1", "a2", "b1"];
const ROUTES: [&str; 8] = [
    "receiver: oncall",
    "receiver: oncall, group_by: [alertname], group_wait: 30s",
    "receiver: both, group_by: [alertname]",
    "receiver: both, group_by: [alertname, model], group_interval: 1m, repeat_interval: 10m",
    "receiver: quiet, group_by: ['...']",
    "receiver: oncall, repeat_interval: 10m, escalation: [{after: 3m, receiver: lead}, {after: 10m, receiver: boss}]",
    "{route: {receiver: oncall, group_by: [], routes: [{matchers: ['alertname=\"a\"'], receiver: both, continue: true,
      mute_time_intervals: [lunch]}, {matchers: ['model=~\"1|2\"'], receiver: lead, active_time_intervals: [tea],
      escalation: [{after: 7m, receiver: boss}]}]}, inhibit_rules: [{source_matchers: ['model=\"1\"'],
      target_matchers: ['model=\"2\"'], equal: [alertname]}], time_intervals: [
      {name: lunch, time_intervals: [{times: [{start_time: '02:50', end_time: '03:10'}]}]},
      {name: tea, time_intervals: [{times: [{start_time: '03:00', end_time: '03:20'}]}]}]}",
    "receiver: mirror, group_by: [alertname]",
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
        1 => (0..NAMES.len(), 1..1_200i64).prop_map(|(n, seconds)| Op::Silence(n, seconds)),
        1 => Just(Op::Unsilence),
        1 => (0..NAMES.len()).prop_map(Op::Ack),
        1 => Just(Op::Unack),
        1 => (0..NAMES.len()).prop_map(Op::Forget),
        1 => (0..2 * RECEIVERS.len()).prop_map(Op::Lose),
    ];
    prop::collection::vec(op, 1..80)
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
        for decision in bench.flush(now) {
            let Action::Notify(message) = decision.action else { continue };
            let inbox = self.inboxes.entry((decision.receiver, decision.integration, decision.group_key)).or_default();
            let content = |message: &Notification| -> Vec<(Labels, State, Option<Time>)> {
                message.alerts.iter().map(|alert| (alert.labels.clone(), alert.state, alert.fired_at)).collect()
            };
            let again = [Reason::Repeat, Reason::Refresh, Reason::Escalated].contains(&decision.reason);
            if let Some(last) = inbox.messages.last().filter(|_| !inbox.lost && !again) {
                prop_assert!(content(last) != content(&message), "twice: {message:?}");
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
            bench.router.forget_log(receiver, *integration, key, &BTreeSet::new());
            inbox.lost = true;
        }
    }

    /// Who still thinks that something fires.
    fn believers(&self) -> Vec<String> {
        let mut believers = Vec::new();
        for ((receiver, integration, key), inbox) in &self.inboxes {
            let wants = receiver != "quiet" && *integration == 0;
            let received = inbox.messages.len() - usize::from(inbox.lost);
            let said = inbox.messages[..received].iter().flat_map(|message| &message.alerts);
            let last: BTreeMap<&Labels, State> = said.map(|alert| (&alert.labels, alert.state)).collect();
            let firing = last.into_iter().filter(|(_, state)| wants && *state == State::Firing);
            believers.extend(firing.map(|(labels, _)| format!("{receiver}/{integration} {key} {labels}")));
        }
        believers
    }
}

/// Plays a step; what makes no sense is left out.
fn play(bench: &mut Bench, world: &mut World, now: &mut Time, op: &Op) {
    let lives = |bench: &Bench, n: usize| bench.alerts.get(NAMES[n]).is_some_and(Alert::is_live);
    let known = |bench: &Bench, n: usize| bench.alerts.contains_key(NAMES[n]);
    let step = match *op {
        Op::Fire(n) if !lives(bench, n) => ("fire", NAMES[n].to_owned()),
        Op::Late(n) if !known(bench, n) => ("late", NAMES[n].to_owned()),
        Op::Resolve(n) if lives(bench, n) => ("resolve", NAMES[n].to_owned()),
        Op::Fire(n) | Op::Late(n) | Op::Resolve(n) if known(bench, n) => ("again", NAMES[n].to_owned()),
        Op::Fire(_) | Op::Late(_) | Op::Resolve(_) => return,
        Op::Pass(seconds) => return *now = *now + Span::secs(seconds),
        Op::Reload(n) => ("reload", ROUTES[n].to_owned()),
        Op::Restart => ("restart", String::new()),
        Op::GiveUp(n) => return world.give_up(bench, n),
        Op::Silence(n, seconds) => {
            let id = format!("s{}", bench.router.silences.iter().count());
            ("silence", format!("{id} alertname={} {seconds}s", labels(NAMES[n]).get("alertname")))
        }
        Op::Unsilence => {
            let active = |silence: &&crate::route::Silence| silence.state(*now) == crate::route::SilenceState::Active;
            let Some(silence) = bench.router.silences.iter().find(active) else { return };
            ("unsilence", silence.id.clone())
        }
        Op::Ack(n) => ("ack", format!("alertname={}", labels(NAMES[n]).get("alertname"))),
        Op::Unack => ("unack", String::new()),
        Op::Forget(n) => {
            bench.alerts.remove(NAMES[n]);
            ("restart", String::new())
        }
        Op::Lose(n) => ("lose", RECEIVERS.get(n).copied().unwrap_or("nobody").to_owned()),
    };
    bench.step(*now, step.0, &step.1);
}

proptest! {
    /// The resolve guarantee, and that nothing is said twice in a row.
    #[test]
    fn who_was_told_is_told_the_end(ops in ops()) {
        let (mut bench, mut world, mut now) = (Bench::new(ROUTES[0]), World::default(), Time::from_secs(10_000));
        for op in ops {
            play(&mut bench, &mut world, &mut now, &op);
            world.flush(&mut bench, now)?;
        }
        for name in NAMES {
            if bench.alerts.get(name).is_some_and(Alert::is_live) {
                bench.step(now, "resolve", name);
            }
        }
        // A receiver that was lost is told when it is there again.
        bench.step(now, "lose", "nobody");
        for _ in 0..4 {
            now = now + Span::secs(300);
            world.flush(&mut bench, now)?;
        }
        prop_assert_eq!(world.believers(), Vec::<String>::new());
        prop_assert_eq!(bench.router.next_flush(), None);
        bench.router.flush(now + RETENTION + Span::secs(1));
        prop_assert_eq!(&bench.router.saved, &Saved::default(), "all is forgotten in the end");
        bench.store();
        prop_assert!(bench.stored.keys().all(|(kind, _)| *kind == "late"), "in the store too");
    }

    /// The same input gives the same bytes: decisions, and what is stored.
    #[test]
    fn it_is_deterministic(ops in ops(), theirs in any::<bool>()) {
        let run = || {
            let first = if theirs { "{compatibility: alertmanager, route: {receiver: both, group_by: [alertname]}}" } else { ROUTES[0] };
            let (mut bench, mut world, mut now) = (Bench::new(first), World::default(), Time::from_secs(10_000));
            let mut bytes = Vec::new();
            for op in ops.iter().filter(|op| !theirs || !matches!(op, Op::Reload(_))) {
                play(&mut bench, &mut world, &mut now, op);
                bytes.extend(format!("{:?}", bench.flush(now)).into_bytes());
                bytes.extend(bench.stored.values().flatten());
            }
            bytes
        };
        prop_assert!(run() == run());
    }
}
