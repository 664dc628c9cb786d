//! The program from outside: its config, its runs, its /metrics.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::http::Client;
use crate::postgres::free_port;

const EXE: &str = env!("CARGO_BIN_EXE_modelwatch");

/// The three alarms of a cora deployment.
pub const CORA_RULES: &str = "\
groups:
  - name: cora
    interval: 15s
    rules:
      - alert: AIErrorSpike
        error_spike: {more_than: 10, within: 1h, by: [model]}
      - alert: AIFailuresInARow
        failure_streak: {more_than: 5, within: 1h, by: [model]}
      - alert: AICostAnomaly
        cost_anomaly: {factor: 2, of: mean, window: 24h, days: 14, min_days: 3, min_cost: 1, by: [org]}
";

/// What differs between the configs of the benchmarks.
#[derive(Clone, Debug)]
pub struct Config<'a> {
    /// Of the source.
    pub url: &'a str,
    /// `poll:`, where it is not the default.
    pub poll: Option<&'a str>,
    /// The whole rule file; none where there are no rules.
    pub rules: Option<&'a str>,
    /// Where alerts go; to stdout where none is given.
    pub webhook: Option<&'a str>,
    /// `max_series:`, where it is not the default.
    pub max_series: Option<u64>,
}

impl<'a> Config<'a> {
    /// The cora presets and rules on a database, all else by default.
    pub fn cora(url: &'a str) -> Config<'a> {
        Config { url, poll: None, rules: Some(CORA_RULES), webhook: None, max_series: None }
    }

    /// Writes config and rules into a directory and gives the config's path.
    pub fn write(&self, directory: &Path, port: u16) -> Result<PathBuf> {
        let poll = self.poll.map_or(String::new(), |poll| format!("\n    poll: {poll}"));
        let rules = if self.rules.is_some() { "\nrule_files: [rules.yml]" } else { "" };
        let export = self.max_series.map_or(String::new(), |most| format!("\nexport: {{max_series: {most}}}"));
        let receiver =
            self.webhook.map_or("stdout_configs: [{}]".to_owned(), |url| format!("webhook_configs: [{{url: '{url}'}}]"));
        let text = format!(
            "\
listen: 127.0.0.1:{port}
state: '{state}'
external_url: http://127.0.0.1:{port}{rules}{export}
sources:
  - name: cora
    url: '{url}'{poll}
    tables:
      # The rows go back 30 d from before the benchmark began.
      - {{preset: cora_usage, history: 31d}}
      - {{preset: cora_errors, history: 31d}}
route: {{receiver: bench, group_by: ['...']}}
receivers:
  - name: bench
    {receiver}
",
            state = directory.join("state.db").display(),
            url = self.url,
        );
        fs::write(directory.join("rules.yml"), self.rules.unwrap_or_default())?;
        let path = directory.join("modelwatch.yml");
        fs::write(&path, text)?;
        Ok(path)
    }
}

/// One run of a command that ends.
#[derive(Debug)]
pub struct Once {
    /// From start to exit.
    pub seconds: f64,
    /// What it printed, where that was asked for.
    pub metrics: String,
}

/// Runs `once`; its metrics are kept only when `keep`, else they go to /dev/null as psql's rows do.
pub fn once(config: &Path, state: Option<&Path>, keep: bool) -> Result<Once> {
    let mut command = Command::new(EXE);
    command.args(["once", "-c"]).arg(config);
    if let Some(state) = state {
        command.arg("--state").arg(state);
    }
    command.stdout(if keep { Stdio::piped() } else { Stdio::null() });
    timed(command)
}

/// Runs `backtest`; its JSON stands for the metrics.
pub fn backtest(config: &Path, since: &str) -> Result<Once> {
    let mut command = Command::new(EXE);
    command.args(["backtest", "--format", "json", "--since", since, "-c"]).arg(config).stdout(Stdio::piped());
    timed(command)
}

fn timed(mut command: Command) -> Result<Once> {
    command.stdin(Stdio::null()).stderr(Stdio::piped());
    let began = Instant::now();
    let output = command.output().context("cannot run modelwatch")?;
    let seconds = began.elapsed().as_secs_f64();
    ensure!(output.status.success(), "{command:?}: {}: {}", output.status, tail(&String::from_utf8_lossy(&output.stderr)));
    Ok(Once { seconds, metrics: String::from_utf8_lossy(&output.stdout).into_owned() })
}

/// `modelwatch run`; killed with this value.
#[derive(Debug)]
pub struct Daemon {
    child: Child,
    /// HOST:PORT
    pub address: String,
    directory: tempfile::TempDir,
}

impl Daemon {
    /// Starts it with a fresh state and waits until every source was read once.
    pub fn start(config: &Config<'_>, timeout: Duration) -> Result<Daemon> {
        let directory = directory()?;
        let port = free_port()?;
        config.write(directory.path(), port)?;
        Daemon::run(directory, port, timeout)
    }

    /// The same with a config of the caller's, which says neither `listen` nor `state`.
    pub fn start_on(config: &str, timeout: Duration) -> Result<Daemon> {
        let directory = directory()?;
        let port = free_port()?;
        let text = format!("listen: 127.0.0.1:{port}\nstate: state.db\n{config}");
        fs::write(directory.path().join("modelwatch.yml"), text)?;
        Daemon::run(directory, port, timeout)
    }

    /// SIGKILL, and a new one on what is left.
    pub fn kill_and_restart(mut self, timeout: Duration) -> Result<Daemon> {
        self.child.kill()?;
        self.child.wait()?;
        let port = self.address.rsplit(':').next().context("an address without a port")?.parse()?;
        let left = std::mem::replace(&mut self.directory, directory()?);
        Daemon::run(left, port, timeout)
    }

    fn run(directory: tempfile::TempDir, port: u16, timeout: Duration) -> Result<Daemon> {
        let log = fs::File::options().create(true).append(true).open(directory.path().join("log"))?;
        let mut command = Command::new(EXE);
        command.args(["run", "-c"]).arg(directory.path().join("modelwatch.yml"));
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let child = command.spawn().context("cannot run modelwatch")?;
        let mut daemon = Daemon { child, address: format!("127.0.0.1:{port}"), directory };
        let deadline = Instant::now() + timeout;
        loop {
            let ready = Client::connect(&daemon.address).and_then(|mut client| client.get("/-/ready"));
            if ready.is_ok_and(|answer| answer.status == 200) {
                return Ok(daemon);
            }
            if let Some(status) = daemon.child.try_wait()? {
                bail!("modelwatch ended before it was ready ({status}): {}", daemon.log());
            }
            ensure!(Instant::now() < deadline, "modelwatch was not ready in {timeout:?}: {}", daemon.log());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// The end of what it wrote.
    pub fn log(&self) -> String {
        tail(&fs::read_to_string(self.directory.path().join("log")).unwrap_or_default())
    }

    /// The text of /metrics.
    pub fn metrics(&self) -> Result<String> {
        let answer = Client::connect(&self.address)?.get("/metrics")?;
        ensure!(answer.status == 200, "/metrics answers {}", answer.status);
        Ok(String::from_utf8(answer.body)?)
    }

    /// Resident memory in MiB: now, and at its highest.
    pub fn resident_mib(&self) -> Result<(f64, f64)> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let field = |key: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(key)).with_context(|| format!("no {key} in /proc"))?;
            let kib: f64 = line.trim().trim_end_matches(" kB").parse()?;
            anyhow::Ok(kib / 1024.0)
        };
        Ok((field("VmRSS:")?, field("VmHWM:")?))
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn directory() -> Result<tempfile::TempDir> {
    Ok(tempfile::Builder::new().prefix("modelwatch-bench-").tempdir()?)
}

/// The sum of all samples of that name.
pub fn sum_of(metrics: &str, name: &str) -> f64 {
    let of_name = metrics.lines().filter_map(|line| line.strip_prefix(name)).filter(|rest| rest.starts_with(['{', ' ']));
    // Not `sum`: that of nothing is -0.
    of_name.filter_map(|rest| rest.rsplit_once(' ')?.1.parse::<f64>().ok()).fold(0.0, |sum, value| sum + value)
}

/// How many lines are samples.
pub fn sample_lines(metrics: &str) -> usize {
    metrics.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).count()
}

/// The last lines of a log.
fn tail(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(8)..].join("\n")
}
