//! modelwatch as a process: started on a config, scraped, killed at any instant and started again on the same folder.

use crate::ground::until;
use crate::scrape::Scrape;
use serde_json::Value;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

/// Long enough for a busy machine with two cores; nothing waits for it to pass.
pub const SOON: Duration = Duration::from_secs(30);

/// A running `modelwatch run`; killed when dropped.
pub struct Daemon {
    child: Child,
    dir: PathBuf,
    lines: Arc<Mutex<Vec<String>>>,
    http: reqwest::Client,
}

/// What a command that ends has said.
pub struct Output {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Daemon {
    /// Writes the config into `dir`, starts the daemon and waits until /-/ready is green.
    pub async fn spawn(config: &str, dir: &Path) -> Self {
        let daemon = Self::launch(config, dir);
        daemon.ready().await;
        daemon
    }

    /// Starts it and waits for nothing.
    pub fn launch(config: &str, dir: &Path) -> Self {
        std::fs::write(dir.join("modelwatch.yml"), config).unwrap();
        Self::again(dir)
    }

    /// Starts it on what an earlier one left in `dir`.
    pub fn again(dir: &Path) -> Self {
        Self::start(dir, Stdio::piped())
    }

    /// Starts it with a stdout that nobody reads any more.
    pub fn unheard(config: &str, dir: &Path) -> Self {
        std::fs::write(dir.join("modelwatch.yml"), config).unwrap();
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        Self::start(dir, writer.into())
    }

    fn start(dir: &Path, stdout: Stdio) -> Self {
        let mut child = command(dir, &["run", "-c", "modelwatch.yml", "--log-format", "json"])
            .stdout(stdout)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = Arc::default();
        if let Some(stdout) = child.stdout.take() {
            collect(stdout, &lines);
        }
        collect(child.stderr.take().unwrap(), &lines);
        Self { child, dir: dir.to_owned(), lines, http: client() }
    }

    pub async fn ready(&self) {
        until(SOON, "/-/ready to be green", || async {
            assert!(self.running(), "modelwatch ended:\n{}", self.log());
            self.get("/-/ready", "").await.filter(|(status, _, _)| *status == 200)
        })
        .await;
    }

    /// HOST:PORT, as soon as the log line `listening` names it.
    pub fn address(&self) -> Option<String> {
        self.events().iter().find_map(|event| (field(event, "message")? == "listening").then(|| field(event, "address"))?)
    }

    /// Status, content type and body; `None` while nobody answers.
    pub async fn get(&self, path: &str, accept: &str) -> Option<(u16, String, String)> {
        let url = format!("http://{}{path}", self.address()?);
        let answer = self.http.get(url).header("Accept", accept).send().await.ok()?;
        let content_type = answer.headers().get("content-type").map_or("", |value| value.to_str().unwrap()).to_owned();
        Some((answer.status().as_u16(), content_type, answer.text().await.ok()?))
    }

    pub async fn post(&self, path: &str) -> (u16, String) {
        let url = format!("http://{}{path}", self.address().unwrap());
        let answer = self.http.post(url).send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    }

    /// `None` while it does not answer; an answer that cannot be read is a failure.
    pub async fn try_scrape(&self) -> Option<Scrape> {
        let (status, _, text) = self.get("/metrics", "").await?;
        (status == 200).then(|| Scrape::parse(&text).unwrap())
    }

    pub async fn scrape(&self) -> Scrape {
        until(SOON, "an answer of /metrics", || self.try_scrape()).await
    }

    /// Scrapes until `probe` finds what it looks for.
    pub async fn metric<T>(&self, what: &str, probe: impl Fn(&Scrape) -> Option<T>) -> T {
        let found = tokio::time::timeout(SOON, async {
            loop {
                if let Some(found) = self.try_scrape().await.as_ref().and_then(&probe) {
                    return found;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        });
        found.await.unwrap_or_else(|_| panic!("waited in vain for: {what}\nlog:\n{}", self.log()))
    }

    /// Waits until `count` polls of this process that began after now have ended and can be seen.
    pub async fn polls(&self, count: u32) {
        let polls = |scrape: &Scrape| scrape.sum("modelwatch_poll_duration_seconds_count", &[]);
        let before = self.metric("a first poll", polls).await;
        // One more, since one may be under way that has read already.
        self.metric("polls", |scrape| (polls(scrape)? >= before + f64::from(count) + 1.0).then_some(())).await;
    }

    pub fn running(&self) -> bool {
        Path::new(&format!("/proc/{}/stat", self.child.id()))
            .exists()
            .then(|| std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap_or_default())
            .is_some_and(|stat| !stat.rsplit(')').next().unwrap_or("").trim_start().starts_with('Z'))
    }

    /// SIGKILL; returns when it is gone.
    pub fn kill9(mut self) -> PathBuf {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.dir.clone()
    }

    /// SIGTERM; it must end with exit code 0 within five seconds.
    pub async fn terminate(mut self) -> String {
        signal(self.child.id(), "TERM");
        let child = &mut self.child;
        let mut tries = 0;
        let status = loop {
            if let Some(status) = child.try_wait().unwrap() {
                break status;
            }
            tries += 1;
            assert!(tries < 250, "still running 5 s after SIGTERM");
            tokio::time::sleep(Duration::from_millis(20)).await;
        };
        assert_eq!(status.code(), Some(0), "exit code after SIGTERM:\n{}", self.log());
        self.log()
    }

    pub fn hang_up(&self) {
        signal(self.child.id(), "HUP");
    }

    /// Everything it has written so far, stdout and stderr.
    pub fn log(&self) -> String {
        self.lines.lock().unwrap().join("\n")
    }

    pub async fn logged(&self, what: &str) {
        let found = until(SOON, what, || async { (self.log().contains(what) || !self.running()).then_some(()) });
        found.await;
        assert!(self.log().contains(what), "{what:?} is not in the log:\n{}", self.log());
    }

    /// The log lines that are JSON.
    fn events(&self) -> Vec<Value> {
        self.lines.lock().unwrap().iter().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
        if std::thread::panicking() {
            eprintln!("--- modelwatch said:\n{}\n---", self.log());
        }
    }
}

/// `modelwatch check` on a config.
pub fn check(config: &str, dir: &Path) -> Output {
    std::fs::write(dir.join("modelwatch.yml"), config).unwrap();
    output(dir, &["check", "-c", "modelwatch.yml"])
}

/// `modelwatch once` on a config, with further arguments.
pub fn once(config: &str, dir: &Path, arguments: &[&str]) -> Output {
    std::fs::write(dir.join("modelwatch.yml"), config).unwrap();
    output(dir, &[&["once", "-c", "modelwatch.yml"], arguments].concat())
}

/// Any command line, run in `dir` to its end.
pub fn output(dir: &Path, arguments: &[&str]) -> Output {
    let output = command(dir, arguments).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Output { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
}

/// A client for plain HTTP; reqwest wants a TLS provider all the same.
pub fn client() -> reqwest::Client {
    static PROVIDER: OnceLock<()> = OnceLock::new();
    PROVIDER.get_or_init(|| {
        rustls::crypto::ring::default_provider().install_default().ok();
    });
    // Each test has a runtime of its own: no connection may outlive it in a pool.
    reqwest::Client::builder().timeout(Duration::from_secs(10)).pool_max_idle_per_host(0).no_proxy().build().unwrap()
}

fn command(dir: &Path, arguments: &[&str]) -> Command {
    // Another build of it, such as a release one, can be put to the same tests.
    let binary = std::env::var_os("MODELWATCH_BIN").unwrap_or_else(|| env!("CARGO_BIN_EXE_modelwatch").into());
    let mut command = Command::new(binary);
    command.args(arguments).current_dir(dir).stdin(Stdio::null()).env_remove("RUST_LOG").env("RUST_BACKTRACE", "1");
    command
}

fn collect(stream: impl Read + Send + 'static, lines: &Arc<Mutex<Vec<String>>>) {
    let lines = Arc::clone(lines);
    std::thread::spawn(move || {
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            lines.lock().unwrap().push(line);
        }
    });
}

fn signal(process: u32, name: &str) {
    let sent = Command::new("/bin/kill").args([&format!("-{name}"), &process.to_string()]).status().unwrap();
    assert!(sent.success());
}

/// A field of a log line, flattened or below `fields`.
fn field(event: &Value, name: &str) -> Option<String> {
    let value = event.get("fields").and_then(|fields| fields.get(name)).or_else(|| event.get(name))?;
    value.as_str().map(str::to_owned)
}
