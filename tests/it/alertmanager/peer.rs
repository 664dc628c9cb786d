//! One that routes alerts: the real Alertmanager, or modelwatch in its place. Both are spoken to in the same words.

use crate::daemon::{Daemon, SOON, client};
use crate::ground::{program, until};
use serde_json::Value;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    Alertmanager,
    Modelwatch,
}

pub struct Peer {
    /// http://HOST:PORT
    pub url: String,
    http: reqwest::Client,
    dir: tempfile::TempDir,
    process: Process,
}

enum Process {
    Alertmanager(Alertmanager),
    Modelwatch(Daemon),
}

impl Peer {
    /// Starts it on a configuration and waits until it is ready.
    pub async fn start(kind: Kind, config: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), kind, config);
        let (process, address) = match kind {
            Kind::Alertmanager => {
                let process = Alertmanager::start(dir.path());
                let address = until(SOON, "Alertmanager to listen", || async { process.address() }).await;
                (Process::Alertmanager(process), address)
            }
            Kind::Modelwatch => {
                let daemon = Daemon::again(dir.path());
                daemon.ready().await;
                let address = daemon.address().unwrap();
                (Process::Modelwatch(daemon), address)
            }
        };
        let peer = Self { url: format!("http://{address}"), http: client(), dir, process };
        until(SOON, "/-/ready to be green", || async {
            let answer = peer.http.get(format!("{}/-/ready", peer.url)).send().await.ok()?;
            answer.status().is_success().then_some(())
        })
        .await;
        peer
    }

    /// Posts alerts as Prometheus does.
    pub async fn post(&self, alerts: &Value) -> Result<(), String> {
        let url = format!("{}/api/v2/alerts", self.url);
        let request = self.http.post(url).header("Content-Type", "application/json").body(alerts.to_string());
        said(request.send().await.unwrap()).await
    }

    /// Puts another configuration in force.
    pub async fn reload(&self, config: &str) -> Result<(), String> {
        let kind = match self.process {
            Process::Alertmanager(_) => Kind::Alertmanager,
            Process::Modelwatch(_) => Kind::Modelwatch,
        };
        write(self.dir.path(), kind, config);
        said(self.http.post(format!("{}/-/reload", self.url)).send().await.unwrap()).await
    }

    /// What `amtool` prints when it is told this, or what it complains of.
    pub async fn amtool(&self, arguments: &[&str]) -> Result<String, String> {
        let mut command = Command::new(program("amtool").unwrap());
        command.arg(format!("--alertmanager.url={}", self.url)).args(arguments);
        // It reads a configuration of its own in $HOME.
        command.env("HOME", self.dir.path()).stdin(Stdio::null());
        let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
        if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
    }

    pub fn log(&self) -> String {
        match &self.process {
            Process::Alertmanager(process) => process.lines.lock().unwrap().join("\n"),
            Process::Modelwatch(daemon) => daemon.log(),
        }
    }
}

/// modelwatch takes Alertmanager's file as it is; what it needs beside stands before it.
fn write(dir: &Path, kind: Kind, config: &str) {
    let (name, text) = match kind {
        Kind::Alertmanager => ("alertmanager.yml", config.to_owned()),
        Kind::Modelwatch => {
            let own = "listen: 127.0.0.1:0\nstate: modelwatch.db\nwatch: false\ncompatibility: alertmanager\n";
            ("modelwatch.yml", format!("{own}{config}"))
        }
    };
    std::fs::write(dir.join(name), text).unwrap();
}

async fn said(answer: reqwest::Response) -> Result<(), String> {
    let status = answer.status();
    if status.is_success() { Ok(()) } else { Err(format!("{status}: {}", answer.text().await.unwrap_or_default().trim())) }
}

/// A running `prometheus-alertmanager`; killed when dropped.
struct Alertmanager {
    child: Child,
    lines: Arc<Mutex<Vec<String>>>,
}

impl Alertmanager {
    fn start(dir: &Path) -> Self {
        let arguments = [
            "--config.file=alertmanager.yml",
            "--storage.path=data",
            "--web.listen-address=127.0.0.1:0",
            // Alone, without gossip.
            "--cluster.listen-address=",
        ];
        let mut command = Command::new(program("prometheus-alertmanager").unwrap());
        command.args(arguments).current_dir(dir).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let lines: Arc<Mutex<Vec<String>>> = Arc::default();
        let (stderr, kept) = (child.stderr.take().unwrap(), Arc::clone(&lines));
        std::thread::spawn(move || {
            BufReader::new(stderr).lines().map_while(Result::ok).for_each(|line| kept.lock().unwrap().push(line));
        });
        Self { child, lines }
    }

    /// HOST:PORT, once the log names it.
    fn address(&self) -> Option<String> {
        let lines = self.lines.lock().unwrap();
        let line = lines.iter().find(|line| line.contains("\"Listening on\""))?;
        Some(line.rsplit_once("address=")?.1.trim().to_owned())
    }
}

impl Drop for Alertmanager {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}
