//! Many alerts at once, and SIGKILLs while they are delivered: each is told, and no more than what was under way is told twice.
//! `tests/bench/storm.rs` measures the same with 10,000.

use crate::daemon::{Daemon, SOON, client};
use crate::ground::until;
use crate::receiver::{Behaviour, Receiver};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Duration;

const ALERTS: usize = 300;
const ROUTES: usize = 10;
const RECEIVERS: usize = 3;
/// Of all receivers together: `limits::MAX_SENDING`.
const AT_ONCE: usize = 16;

fn config(receivers: &[Receiver]) -> String {
    let route = |number: usize| format!("    - {{receiver: r{}, matchers: ['service=\"s{number}\"']}}\n", number % RECEIVERS);
    let receiver = |(number, receiver): (usize, &Receiver)| {
        format!("  - {{name: r{number}, webhook_configs: [{{url: '{}'}}]}}\n", receiver.url("/"))
    };
    let routes: String = (0..ROUTES).map(route).collect();
    let receivers: String = receivers.iter().enumerate().map(receiver).collect();
    format!(
        "listen: 127.0.0.1:0\nstate: modelwatch.db\nroute:\n  receiver: r0\n  group_by: ['...']\n  routes:\n{routes}receivers:\n{receivers}"
    )
}

/// How often each alert was told, by its number; a request that was cut off may have been read.
fn told(receivers: &[Receiver]) -> BTreeMap<String, usize> {
    let mut told = BTreeMap::new();
    for request in receivers.iter().flat_map(Receiver::accepted) {
        let body: Value = serde_json::from_str(&request.body).unwrap();
        for alert in body["alerts"].as_array().unwrap() {
            *told.entry(alert["labels"]["number"].to_string()).or_default() += 1;
        }
    }
    told
}

#[tokio::test]
async fn nothing_is_lost_through_two_kills() {
    let dir = tempfile::tempdir().unwrap();
    // Some refuse at first, so that attempts are repeated, too.
    let scripts = [vec![], vec![Behaviour::Answer(500, "no"); 5], vec![Behaviour::Reset; 3]];
    let receivers: Vec<Receiver> = scripts.iter().map(|script| Receiver::start(script)).collect();
    let mut daemon = Daemon::spawn(&config(&receivers), dir.path()).await;
    let alert = |number: usize| json!({ "labels": { "alertname": "Down", "service": format!("s{}", number % ROUTES), "number": number.to_string() } });
    let alerts: Vec<Value> = (0..ALERTS).map(alert).collect();
    let url = format!("http://{}/api/v2/alerts", daemon.address().unwrap());
    let request = client().post(url).header("Content-Type", "application/json").body(json!(alerts).to_string());
    assert_eq!(request.send().await.unwrap().status(), 200);
    // Stored with the answer: it may be killed from now on.
    for third in 0..2 {
        let enough = || async { (told(&receivers).len() >= ALERTS * third / 3).then_some(()) };
        until(SOON, "a third of the alerts", enough).await;
        daemon.kill9();
        daemon = Daemon::again(dir.path());
        daemon.ready().await;
    }
    let all = || async { (told(&receivers).len() == ALERTS).then_some(()) };
    until(SOON * 2, "every alert to be told", all).await;
    let empty = |scrape: &crate::scrape::Scrape| (scrape.sum("modelwatch_deliveries_queued", &[])? == 0.0).then_some(());
    daemon.metric("an empty queue", empty).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    let twice: usize = told(&receivers).values().map(|times| times - 1).sum();
    assert!(twice <= 2 * AT_ONCE, "{twice} of {ALERTS} were told more than once");
    let log = daemon.terminate().await;
    assert!(!log.contains("panicked"), "{log}");
}
