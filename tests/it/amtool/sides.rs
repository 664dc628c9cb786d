//! The real Alertmanager and modelwatch side by side, asked the same, their answers made comparable.

use crate::alertmanager::peer::{Kind, Peer};
use crate::daemon::client;
use crate::ground::program;
use regex::{Captures, Regex};
use serde_json::{Value, json};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// How long both may take until they say the same: each takes notice of what it was told in its own time.
const AGREE: Duration = Duration::from_secs(15);

/// One of the two, and the ids of silences that it has shown, in their order.
pub struct Side {
    pub name: &'static str,
    peer: Peer,
    dir: tempfile::TempDir,
    ids: Vec<String>,
}

/// Both.
pub struct Sides {
    pub theirs: Side,
    pub ours: Side,
    faults: Vec<String>,
}

/// A request, as the path with its query, and a body with its type for those that have one.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    pub method: &'a str,
    pub path: &'a str,
    pub content_type: &'a str,
    pub body: &'a str,
}

impl Side {
    async fn start(name: &'static str, kind: Kind, config: &str) -> Self {
        Self { name, peer: Peer::start(kind, config).await, dir: tempfile::tempdir().unwrap(), ids: Vec::new() }
    }

    /// A file that commands find beside them.
    pub fn write(&self, file: &str, text: &str) {
        std::fs::write(self.dir.path().join(file), text).unwrap();
    }

    /// What a command prints, whether it fails, and with which words; `$1` is the first id that it has shown.
    pub async fn amtool(&self, command: &str) -> String {
        let output = amtool(&self.peer.url, self.dir.path(), &self.fill(command)).await;
        let failed = if output.2 { "" } else { "fails\n" };
        format!("{failed}{}{}", output.0, output.1)
    }

    /// Status and body of an answer.
    pub async fn ask(&self, asked: &Asked<'_>) -> (u16, String) {
        let url = format!("{}{}", self.peer.url, self.fill(asked.path));
        let mut request = client().request(asked.method.parse().unwrap(), url);
        if !asked.content_type.is_empty() {
            request = request.header("Content-Type", asked.content_type);
        }
        let answer = request.body(self.fill(asked.body)).send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap().trim().to_owned())
    }

    pub async fn post(&self, alerts: &Value) {
        self.peer.post(alerts).await.unwrap();
    }

    fn fill(&self, text: &str) -> String {
        let id = |found: &Captures<'_>| self.ids[found[1].parse::<usize>().unwrap() - 1].clone();
        Regex::new(r"\$(\d)").unwrap().replace_all(text, id).into_owned()
    }

    /// Ids by their number, instants as such: what else differs is a difference.
    fn normalized(&mut self, text: &str) -> String {
        let uuid = Regex::new(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}").unwrap();
        for id in uuid.find_iter(text).map(|id| id.as_str().to_owned()).filter(|id| *id != UNKNOWN) {
            if !self.ids.contains(&id) {
                self.ids.push(id);
            }
        }
        let number = |found: &Captures<'_>| match self.ids.iter().position(|id| *id == found[0]) {
            Some(n) => format!("<silence {}>", n + 1),
            None => found[0].to_owned(),
        };
        let text = uuid.replace_all(text, number);
        let instant = Regex::new(r"(\d{4}-\d\d-\d\d)([ T]\d\d:\d\d:\d\d)(?:\.\d+)?(Z| UTC|[+-]\d\d:\d\d)").unwrap();
        // Those of the test itself are in other years than those that the sides' clocks give.
        let shown = |found: &Captures<'_>| match &found[1][..4] {
            "2020" | "2040" => found[0].to_owned(),
            _ => "<now>".to_owned(),
        };
        instant.replace_all(&text, shown).into_owned()
    }
}

/// The id of no silence.
pub const UNKNOWN: &str = "11111111-1111-1111-1111-111111111111";

/// What it prints, what it complains of, and whether it succeeds.
async fn amtool(url: &str, dir: &Path, command: &str) -> (String, String, bool) {
    let mut process = Command::new(program("amtool").unwrap());
    // It compares versions, in vain; it reads a configuration of its own in $HOME; it shows times of the machine's zone.
    process.args([&format!("--alertmanager.url={url}"), "--no-version-check"]).args(words(command));
    process.current_dir(dir).env("HOME", dir).env("TZ", "UTC").stdin(Stdio::null());
    let output = tokio::task::spawn_blocking(move || process.output().unwrap()).await.unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).replace(url, "<url>");
    (text(&output.stdout), text(&output.stderr), output.status.success())
}

/// Words between spaces; single quotes hold spaces.
fn words(command: &str) -> Vec<String> {
    let word = Regex::new(r"(?:'[^']*'|[^\s'])+").unwrap();
    word.find_iter(command).map(|word| word.as_str().replace('\'', "")).collect()
}

impl Sides {
    pub async fn start(config: &str) -> Self {
        let (theirs, ours) = tokio::join!(
            Side::start("Alertmanager", Kind::Alertmanager, config),
            Side::start("modelwatch", Kind::Modelwatch, config)
        );
        Self { theirs, ours, faults: Vec::new() }
    }

    /// Alerts for both.
    pub async fn post(&self, alerts: &Value) {
        tokio::join!(self.theirs.post(alerts), self.ours.post(alerts));
    }

    /// Runs a command that changes something, once on each side, and compares what it says.
    pub async fn change(&mut self, command: &str) {
        let (theirs, ours) = tokio::join!(self.theirs.amtool(command), self.ours.amtool(command));
        self.compare(command, theirs, ours);
    }

    /// Runs a command that looks, until both sides say the same, and something.
    pub async fn look(&mut self, command: &str) -> String {
        let start = Instant::now();
        loop {
            let (theirs, ours) = tokio::join!(self.theirs.amtool(command), self.ours.amtool(command));
            let same = self.theirs.normalized(&theirs) == self.ours.normalized(&ours);
            if same || start.elapsed() > AGREE {
                self.compare(command, theirs.clone(), ours);
                return theirs;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Asks both the same and compares status and body as JSON, until they agree. `known` takes from both what is known to
    /// differ.
    pub async fn ask(&mut self, asked: &Asked<'_>, known: impl Fn(&mut Value)) -> Value {
        let start = Instant::now();
        loop {
            let (theirs, ours) = tokio::join!(self.theirs.ask(asked), self.ours.ask(asked));
            let mut shown = |side: fn(&mut Self) -> &mut Side, (status, body): (u16, String)| {
                let body = side(self).normalized(&body);
                let body = serde_json::from_str(&body).unwrap_or(Value::String(format!("no JSON: {body}")));
                let mut answer = json!({ "status": status, "body": body });
                known(&mut answer);
                answer
            };
            let theirs = shown(|sides| &mut sides.theirs, theirs);
            let ours = shown(|sides| &mut sides.ours, ours);
            if theirs == ours || start.elapsed() > AGREE || asked.method != "GET" {
                self.compare(&format!("{asked:?}"), format!("{theirs:#}"), format!("{ours:#}"));
                return theirs;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    fn compare(&mut self, what: &str, theirs: String, ours: String) {
        let (theirs, ours) = (self.theirs.normalized(&theirs), self.ours.normalized(&ours));
        if theirs != ours {
            self.faults.push(format!("=== {what}\n--- {} says\n{theirs}\n--- {} says\n{ours}", self.theirs.name, self.ours.name));
        }
    }

    /// Fails where the two said different things.
    pub fn agree(self) {
        assert!(self.faults.is_empty(), "{}", self.faults.join("\n"));
    }
}
