//! An outage: 10,000 alerts fire at once, over 50 routes to 5 receivers that take their time, while people silence and
//! acknowledge and the program is killed twice.
//!
//! A receiver answers after [`TAKES`]; it is sent at most [`AT_ONCE`] messages at once, which is its pace.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{self, Child, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

use crate::Scale;
use crate::http::{Client, Length, read_chunks, read_head};
use crate::postgres::free_port;
use crate::product::{Daemon, sum_of};
use crate::report::{Report, seconds};

const ROUTES: usize = 50;
const RECEIVERS: usize = 5;
/// How long a receiver takes to answer.
const TAKES: Duration = Duration::from_millis(50);
/// `limits::MAX_SENDING_TO_ONE` and `limits::MAX_SENDING`.
const AT_ONCE: (usize, usize) = (4, 16);
/// Between two calls of each who silences or acknowledges.
const PAUSE: Duration = Duration::from_millis(25);
const READY: Duration = Duration::from_secs(60);
const LONG: Duration = Duration::from_secs(600);

/// Aims: all stored in two seconds; a command answered in a tenth of one; deliveries as fast as the receivers take them.
const AIM_STORED: f64 = 2.0;
const AIM_COMMAND: f64 = 0.1;
const AIM_PACE: f64 = 1.25;

/// Groups of 200 alerts, and groups of one.
pub fn run(scale: Scale) -> Result<Report> {
    let alerts = scale.of(10_000, 500);
    let mut report = Report::default();
    for (what, group_by, groups) in [("50 groups", "[service]", ROUTES), ("a group each", "['...']", alerts)] {
        let peer = peer(group_by, alerts);
        let theirs = peer.as_ref().map_or_else(|_| String::new(), |took| format!("{} Alertmanager", seconds(*took)));
        if let Err(error) = &peer {
            report.note(format!("Alertmanager, {what}: {error:#}"));
        }
        Storm::new(group_by, alerts, groups)?.undisturbed(&mut report, what, &theirs)?;
        Storm::new(group_by, alerts, groups)?.killed(&mut report, what)?;
    }
    report.note(format!(
        "{alerts} alerts in one POST of /api/v2/alerts, {ROUTES} routes, {RECEIVERS} webhooks that answer after {} ms; \
         the pace: {} at once to each, {} to all",
        TAKES.as_millis(),
        AT_ONCE.0,
        AT_ONCE.1
    ));
    report.note(
        "stored: from the POST until every delivery is in the state file; for Alertmanager, which stores none, until its answer",
    );
    report.note("silences and acknowledgements are made all the while, each kind 40 times a second");
    Ok(report)
}

struct Storm {
    receivers: Receivers,
    daemon: Daemon,
    alerts: usize,
    groups: usize,
}

impl Storm {
    fn new(group_by: &str, alerts: usize, groups: usize) -> Result<Storm> {
        let receivers = Receivers::start()?;
        let daemon = Daemon::start_on(&config(group_by, "0s", &receivers), READY)?;
        Ok(Storm { receivers, daemon, alerts, groups })
    }

    /// Fires all alerts. Seconds until they are stored with all deliveries.
    fn fire(&self) -> Result<f64> {
        let began = Instant::now();
        let answer = Client::connect(&self.daemon.address)?.post("/api/v2/alerts", &alerts(self.alerts))?;
        ensure!(answer.status == 200, "POST /api/v2/alerts: {}: {}", answer.status, String::from_utf8_lossy(&answer.body));
        loop {
            let metrics = self.daemon.metrics()?;
            let queued = sum_of(&metrics, "modelwatch_deliveries_queued") + sum_of(&metrics, "modelwatch_deliveries_total");
            if queued >= self.groups as f64 {
                return Ok(began.elapsed().as_secs_f64());
            }
            ensure!(began.elapsed() < LONG, "only {queued} deliveries were queued in {LONG:?}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Everything stored, delivered at the pace of the receivers, and commands answered meanwhile.
    fn undisturbed(self, report: &mut Report, what: &str, theirs: &str) -> Result<()> {
        let commands = Commands::start(&self.daemon.address);
        let stored = self.fire()?;
        let met = stored < AIM_STORED;
        report.judge(&format!("routed, queued and stored, {what}"), seconds(stored), theirs, &seconds(AIM_STORED), met);
        let took = self.receivers.wait_for(self.alerts, LONG)?;
        let figures = commands.stop();
        let lanes = AT_ONCE.1.min(AT_ONCE.0 * RECEIVERS) as f64;
        let pace = (self.groups as f64 / lanes).ceil() * TAKES.as_secs_f64();
        let limit = format!("{} their pace", seconds(pace));
        let share = took / pace;
        if self.groups > ROUTES {
            let text = format!("{} = {share:.2} x", seconds(took));
            report.judge(&format!("delivered, {what}"), text, limit, &format!("{AIM_PACE} x"), share < AIM_PACE);
        } else {
            report.add(&format!("delivered, {what}"), seconds(took), limit);
        }
        let duplicates = self.receivers.told(self.alerts)?.duplicates;
        ensure!(duplicates == 0, "{duplicates} messages came twice though nothing was killed");
        for (command, figures) in figures {
            let [middle, high, most] = figures.quantiles();
            let text = format!("{}, {}, {} (of {})", seconds(middle), seconds(high), seconds(most), figures.seconds.len());
            ensure!(figures.failed == 0, "{} of {command} failed: {}", figures.failed, figures.failure);
            report.judge(&format!("{command} meanwhile: p50, p99, max"), text, "", &seconds(AIM_COMMAND), most < AIM_COMMAND);
        }
        Ok(())
    }

    /// Killed when a third was delivered, and when two thirds were.
    fn killed(self, report: &mut Report, what: &str) -> Result<()> {
        self.fire()?;
        let Storm { receivers, mut daemon, alerts, .. } = self;
        let began = Instant::now();
        for third in 1..=2 {
            receivers.wait_for(alerts * third / 3, LONG)?;
            daemon = daemon.kill_and_restart(READY)?;
        }
        receivers.wait_for(alerts, LONG)?;
        let took = began.elapsed().as_secs_f64();
        // What is sent twice comes soon, if it comes.
        std::thread::sleep(Duration::from_secs(1));
        let told = receivers.told(alerts)?;
        let text = format!("0 lost, {} of {} messages twice, {}", told.duplicates, told.messages, seconds(took));
        let bound = 2 * AT_ONCE.1;
        let limit = format!("{bound} under way then");
        report.judge(&format!("through two SIGKILLs, {what}"), text, limit, "0 lost", told.duplicates <= bound);
        Ok(())
    }
}

/// A route a service, all receivers in turn.
fn config(group_by: &str, group_wait: &str, receivers: &Receivers) -> String {
    let mut text = format!("route:\n  receiver: r0\n  group_by: {group_by}\n  group_wait: {group_wait}\n  routes:\n");
    for route in 0..ROUTES {
        text += &format!("    - {{receiver: r{}, matchers: ['service=\"s{route}\"']}}\n", route % RECEIVERS);
    }
    text += "receivers:\n";
    for (number, url) in receivers.urls.iter().enumerate() {
        text += &format!("  - {{name: r{number}, webhook_configs: [{{url: '{url}'}}]}}\n");
    }
    text
}

fn alerts(count: usize) -> String {
    let alert = |number: usize| {
        json!({
            "labels": {
                "alertname": "ProviderDown", "service": format!("s{}", number % ROUTES), "org": format!("org-{number}"),
                "severity": "high", "number": number.to_string(),
            },
            "annotations": { "summary": format!("service s{} fails for org-{number}", number % ROUTES) },
        })
    };
    Value::Array((0..count).map(alert).collect()).to_string()
}

/// Webhooks that take their time, and keep what came.
struct Receivers {
    urls: Vec<String>,
    heard: Arc<Mutex<Heard>>,
}

#[derive(Default)]
struct Heard {
    bodies: Vec<Vec<u8>>,
    alerts: usize,
    first: Option<Instant>,
    last: Option<Instant>,
}

/// What was told, once all of it was.
struct Told {
    messages: usize,
    duplicates: usize,
}

impl Receivers {
    fn start() -> Result<Receivers> {
        let heard: Arc<Mutex<Heard>> = Arc::default();
        let mut urls = Vec::new();
        for _ in 0..RECEIVERS {
            let listener = TcpListener::bind("127.0.0.1:0")?;
            urls.push(format!("http://{}/", listener.local_addr()?));
            let heard = heard.clone();
            std::thread::spawn(move || {
                for stream in listener.incoming().flatten() {
                    let heard = heard.clone();
                    // Alertmanager comes with thousands of connections.
                    let spawned = std::thread::Builder::new().stack_size(128 * 1024).spawn(move || receive(stream, &heard));
                    drop(spawned);
                }
            });
        }
        Ok(Receivers { urls, heard })
    }

    /// Waits until so many alerts were told, twice or once. Seconds from the first to the last message.
    fn wait_for(&self, alerts: usize, timeout: Duration) -> Result<f64> {
        let deadline = Instant::now() + timeout;
        loop {
            {
                let heard = self.heard();
                if let (true, Some(first), Some(last)) = (heard.alerts >= alerts, heard.first, heard.last) {
                    return Ok((last - first).as_secs_f64());
                }
                ensure!(Instant::now() < deadline, "only {} of {alerts} alerts were told in {timeout:?}", heard.alerts);
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Makes sure that every alert was told.
    fn told(&self, alerts: usize) -> Result<Told> {
        let (mut numbers, mut groups) = (BTreeSet::new(), BTreeMap::<String, usize>::new());
        let heard = self.heard();
        for body in &heard.bodies {
            let body: Value = serde_json::from_slice(body)?;
            let told = body["alerts"].as_array().context("a message without alerts")?;
            numbers.extend(told.iter().filter_map(|alert| Some(alert["labels"]["number"].as_str()?.to_owned())));
            *groups.entry(body["groupKey"].to_string()).or_default() += 1;
        }
        ensure!(numbers.len() == alerts, "{} of {alerts} alerts were told", numbers.len());
        Ok(Told { messages: groups.len(), duplicates: groups.values().map(|count| count - 1).sum() })
    }

    fn heard(&self) -> std::sync::MutexGuard<'_, Heard> {
        self.heard.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

fn receive(stream: TcpStream, heard: &Mutex<Heard>) {
    let _ = stream.set_nodelay(true);
    let mut stream = BufReader::new(stream);
    while let Ok((_, length)) = read_head(&mut stream) {
        let mut body = Vec::new();
        let read = match length {
            Length::Bytes(bytes) => {
                body.resize(bytes, 0);
                stream.read_exact(&mut body).map_err(anyhow::Error::from)
            }
            Length::Chunked => read_chunks(&mut stream, &mut body),
        };
        if read.is_err() {
            return;
        }
        std::thread::sleep(TAKES);
        {
            let mut heard = heard.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            heard.alerts += body.windows(10).filter(|ten| *ten == b"\"startsAt\"").count();
            heard.bodies.push(body);
            heard.first.get_or_insert_with(Instant::now);
            heard.last = Some(Instant::now());
        }
        if stream.get_mut().write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").is_err() {
            return;
        }
    }
}

/// What is said again and again: the path and the body of the call of a number.
type Command = fn(usize) -> (&'static str, String);

/// People who silence and acknowledge all the while.
struct Commands {
    stop: Arc<AtomicBool>,
    threads: Vec<(&'static str, std::thread::JoinHandle<Figures>)>,
}

#[derive(Default)]
struct Figures {
    seconds: Vec<f64>,
    failed: usize,
    failure: String,
}

impl Figures {
    /// p50, p99 and the most.
    fn quantiles(&self) -> [f64; 3] {
        let mut sorted = self.seconds.clone();
        sorted.sort_by(f64::total_cmp);
        [0.5, 0.99, 1.0]
            .map(|share| sorted.get(((sorted.len() as f64 * share) as usize).min(sorted.len() - 1)).copied().unwrap_or(f64::NAN))
    }
}

impl Commands {
    fn start(address: &str) -> Commands {
        let stop = Arc::new(AtomicBool::new(false));
        let commands: [(&'static str, Command); 2] = [("silence", silence), ("acknowledge", acknowledge)];
        let threads = commands.map(|(name, command)| {
            let (stop, address) = (stop.clone(), address.to_owned());
            (name, std::thread::spawn(move || call(&address, command, &stop)))
        });
        Commands { stop, threads: threads.into() }
    }

    fn stop(self) -> Vec<(&'static str, Figures)> {
        self.stop.store(true, Ordering::SeqCst);
        self.threads.into_iter().map(|(name, thread)| (name, thread.join().unwrap_or_default())).collect()
    }
}

fn call(address: &str, command: Command, stop: &AtomicBool) -> Figures {
    let mut figures = Figures::default();
    let Ok(mut client) = Client::connect(address) else { return Figures { failed: 1, ..figures } };
    for number in 0.. {
        if stop.load(Ordering::SeqCst) {
            break;
        }
        let (path, body) = command(number);
        match client.post(path, &body) {
            // Before its alert fires there is nothing to acknowledge.
            Ok(answer) if [200, 404].contains(&answer.status) => figures.seconds.push(answer.seconds),
            Ok(answer) => {
                figures.failed += 1;
                figures.failure = format!("{}: {}", answer.status, String::from_utf8_lossy(&answer.body));
            }
            Err(error) => return Figures { failed: figures.failed + 1, failure: format!("{error:#}"), ..figures },
        }
        std::thread::sleep(PAUSE);
    }
    figures
}

/// Of somebody who is not there, so that nothing of the storm is silent.
fn silence(number: usize) -> (&'static str, String) {
    let at = |hours: i64| (jiff::Timestamp::now() + jiff::SignedDuration::from_hours(hours)).to_string();
    let matcher = json!({ "name": "org", "value": format!("nobody-{number}"), "isRegex": false, "isEqual": true });
    let body = json!({ "matchers": [matcher], "startsAt": at(0), "endsAt": at(1), "createdBy": "bench", "comment": "storm" });
    ("/api/v2/silences", body.to_string())
}

fn acknowledge(number: usize) -> (&'static str, String) {
    let body = json!({ "alert": format!("{{number=\"{number}\"}}"), "by": "bench", "comment": "storm" });
    ("/api/v1/acks", body.to_string())
}

/// Seconds until Alertmanager has told the same alerts to receivers of the same kind, from the POST on.
fn peer(group_by: &str, count: usize) -> Result<f64> {
    let exe = ["/usr/bin", "/usr/local/bin", concat!(env!("CARGO_MANIFEST_DIR"), "/target/tools")];
    let mut exe = exe.into_iter().map(|dir| PathBuf::from(dir).join("prometheus-alertmanager"));
    let exe = exe.find(|file| file.is_file()).context("prometheus-alertmanager is not here; tests/setup")?;
    let receivers = Receivers::start()?;
    let directory = tempfile::Builder::new().prefix("modelwatch-bench-").tempdir()?;
    let file = directory.path().join("alertmanager.yml");
    std::fs::write(&file, config(group_by, "0s", &receivers))?;
    let address = format!("127.0.0.1:{}", free_port()?);
    let mut command = process::Command::new(exe);
    command.arg("--config.file=alertmanager.yml").arg(format!("--web.listen-address={address}"));
    command.args(["--storage.path=data", "--cluster.listen-address="]).current_dir(directory.path());
    let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
    let mut child = Killed(child);
    let deadline = Instant::now() + READY;
    let mut client = loop {
        if let Ok(mut client) = Client::connect(&address)
            && client.get("/-/ready").is_ok_and(|answer| answer.status == 200)
        {
            break client;
        }
        if Instant::now() > deadline || child.0.try_wait()?.is_some() {
            bail!("it does not start");
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    let answer = client.post("/api/v2/alerts", &alerts(count))?;
    ensure!(answer.status == 200, "{}", answer.status);
    Ok(answer.seconds)
}

struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
