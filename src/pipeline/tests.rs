//! Alerts that others post, beside one of ours under the same labels.

use super::*;
use crate::config;
use crate::yaml::Faults;
use std::path::Path;

fn secs(n: i64) -> Time {
    Time::from_secs(1_000_000 + n)
}

fn labels() -> Labels {
    [("alertname", "Same")].into_iter().collect()
}

fn finding() -> Finding {
    let annotations = [("summary", "ours")].into_iter().collect();
    Finding { labels: labels(), annotations, value: 1.0, evidence: String::new() }
}

/// Under one route that tells at once.
fn pipeline() -> Pipeline {
    let text = "route: {receiver: oncall, group_by: [alertname], group_wait: 0s, group_interval: 1s}
receivers: [{name: oncall, webhook_configs: [{url: 'http://localhost/'}]}]\n";
    let mut faults = Faults::default();
    let config = config::parse("t.yml", text, Path::new(""), None, &mut faults).unwrap();
    assert!(faults.0.is_empty(), "{:?}", faults.0);
    let (routing, receivers, resolve_timeout) = (config.routing, config.receivers, config.resolve_timeout);
    let setup = Setup { routing, receivers, resolve_timeout, ..Setup::default() };
    Pipeline::new(setup, Kept::default(), &mut Windows::default(), secs(0)).0
}

/// Seconds: what happens to `ours` and `theirs`, and what is told then.
#[test]
fn ours_is_told_while_it_fires_and_theirs_before_and_after() {
    #[track_caller]
    fn check(script: &[(i64, &str, &str)]) {
        let mut pipeline = pipeline();
        for &(second, what, expected) in script {
            let now = secs(second);
            let mut changes = Vec::new();
            let theirs = |ends_at: Option<i64>| Incoming {
                labels: labels(),
                annotations: [("summary", "theirs")].into_iter().collect(),
                ends_at: ends_at.map(secs),
                ..Incoming::default()
            };
            match what {
                "ours fires" => changes = pipeline.watch_own(vec![finding()], now),
                "ours is over" => changes = pipeline.watch_own(Vec::new(), now),
                "theirs fires" => assert_eq!(pipeline.post(vec![theirs(None)], now), 0),
                "theirs is over" => assert_eq!(pipeline.post(vec![theirs(Some(second))], now), 0),
                _ => {}
            }
            let told = |message: Message| {
                let word = |alert: &Alert| format!("{} {:?}", alert.annotations.get("summary"), alert.state);
                message.notification.alerts.iter().map(word).collect::<Vec<_>>().join("+")
            };
            let told: Vec<String> = pipeline.route(&changes, now).into_iter().map(told).collect();
            assert_eq!(told.join(", "), expected, "at {second} of {script:?}");
            let firing = pipeline.alerts().filter(|alert| alert.state == State::Firing).count();
            assert!(firing <= 1, "at {second} of {script:?}: {firing} of one label set");
        }
    }
    check(&[
        (0, "ours fires", "ours Firing"),
        (2, "theirs fires", ""),
        (4, "ours is over", ""),
        (6, "theirs is over", "theirs Resolved"),
    ]);
    check(&[
        (0, "ours fires", "ours Firing"),
        (2, "theirs fires", ""),
        (4, "theirs is over", ""),
        (6, "ours is over", "ours Resolved"),
    ]);
    check(&[
        (0, "theirs fires", "theirs Firing"),
        (2, "ours fires", ""),
        (4, "theirs is over", ""),
        (6, "ours is over", "ours Resolved"),
    ]);
    // Also where its end comes by itself.
    check(&[(0, "ours fires", "ours Firing"), (2, "theirs fires", ""), (302, "", ""), (304, "ours is over", "ours Resolved")]);
    check(&[(0, "ours fires", "ours Firing"), (2, "theirs fires", ""), (4, "ours is over", ""), (302, "", "theirs Resolved")]);
    // One after the other they are two.
    check(&[(0, "ours fires", "ours Firing"), (2, "ours is over", "ours Resolved"), (4, "theirs fires", "theirs Firing")]);
}
