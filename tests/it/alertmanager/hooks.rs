//! The receivers of one side of a scenario: one for each `$HOOK/NAME` of its configuration.

use crate::ground::until;
use crate::receiver::{Behaviour, Receiver};
use regex::Regex;
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

pub struct Hooks(BTreeMap<String, Mutex<Receiver>>);

impl Hooks {
    /// Starts those that a configuration names.
    pub fn start(config: &str) -> Self {
        let named = Regex::new(r"\$HOOK/(\w+)").unwrap();
        let names = named.captures_iter(config).map(|found| found[1].to_owned());
        Self(names.map(|name| (name, Mutex::new(Receiver::start(&[])))).collect())
    }

    /// The configuration with their addresses.
    pub fn fill(&self, config: &str) -> String {
        let fill = |text: String, (name, hook): (&String, &Mutex<Receiver>)| {
            let url = hook.lock().unwrap().url("/");
            Regex::new(&format!(r"\$HOOK/{name}\b")).unwrap().replace_all(&text, url.as_str()).into_owned()
        };
        self.0.iter().fold(config.to_owned(), fill)
    }

    fn hook(&self, name: &str) -> &Mutex<Receiver> {
        self.0.get(name).unwrap_or_else(|| panic!("no $HOOK/{name} in the configuration"))
    }

    pub fn script(&self, name: &str, script: &[Behaviour]) {
        self.hook(name).lock().unwrap().script(script);
    }

    pub fn down(&self, name: &str) {
        self.hook(name).lock().unwrap().down();
    }

    pub fn up(&self, name: &str) {
        self.hook(name).lock().unwrap().up();
    }

    /// Waits until a hook has accepted so many messages; says whether it did.
    pub async fn heard(&self, name: &str, count: usize, limit: Duration) -> bool {
        let enough = || async { (self.hook(name).lock().unwrap().accepted().len() >= count).then_some(()) };
        tokio::time::timeout(limit, until(Duration::MAX, "messages", enough)).await.is_ok()
    }

    /// Waits until a hook was asked so often, whatever it answered; says whether it was.
    pub async fn asked(&self, name: &str, count: usize, limit: Duration) -> bool {
        let enough = || async { (self.hook(name).lock().unwrap().requests().len() >= count).then_some(()) };
        tokio::time::timeout(limit, until(Duration::MAX, "requests", enough)).await.is_ok()
    }

    /// Everything that was accepted, hook and body, in the order in which it came.
    pub fn accepted(&self) -> Vec<(String, Value)> {
        let of = |(name, hook): (&String, &Mutex<Receiver>)| {
            let named = |request: crate::receiver::Request| (request.at, name.clone(), request.body);
            hook.lock().unwrap().accepted().into_iter().map(named).collect::<Vec<_>>()
        };
        let mut all: Vec<_> = self.0.iter().flat_map(of).collect();
        all.sort_by_key(|(at, ..)| *at);
        let read = |body: &str| serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {body}"));
        all.into_iter().map(|(_, name, body)| (name, read(&body))).collect()
    }
}
