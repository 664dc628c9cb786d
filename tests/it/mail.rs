//! Mail against a real SMTP server (aiosmtpd, driven by smtp.py): STARTTLS, AUTH, refusals of all kinds, and threads as
//! Python's own parser of mail reads them.

use crate::authority::{Authority, Certificate};
use crate::daemon::{Daemon, SOON};
use crate::delivery;
use crate::ground::{missing, program, until};
use crate::sqlite;
use modelwatch::alert::{Alert, State};
use modelwatch::engine::send::Sender;
use modelwatch::labels::Labels;
use modelwatch::notify::{Context, Integration, Outcome, Request};
use modelwatch::route::Notification;
use modelwatch::time::Time;
use modelwatch::{config, yaml};
use serde_json::{Value, json};
use sqlx::Connection;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

const PASSWORD: &str = "s3cr3t-passw0rd";

struct Server {
    child: Child,
    events: Arc<Mutex<Vec<Value>>>,
    port: u16,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// The folder of the server's modules; none where they are missing.
fn modules() -> Option<&'static str> {
    let place = concat!(env!("CARGO_MANIFEST_DIR"), "/target/tools/python");
    let import = || Command::new("python3").args(["-c", "import aiosmtpd"]).env("PYTHONPATH", place).output();
    let there = program("openssl").is_some() && import().is_ok_and(|output| output.status.success());
    if !there {
        missing("aiosmtpd");
    }
    there.then_some(place)
}

impl Server {
    async fn start(behaviour: &Value) -> Self {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/smtp.py");
        let mut child = Command::new("python3")
            .arg(script)
            .arg(behaviour.to_string())
            .env("PYTHONPATH", modules().unwrap())
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let events: Arc<Mutex<Vec<Value>>> = Arc::default();
        let (lines, into) = (BufReader::new(child.stdout.take().unwrap()).lines(), events.clone());
        std::thread::spawn(move || {
            lines.map_while(Result::ok).for_each(|line| into.lock().unwrap().push(serde_json::from_str(&line).unwrap()));
        });
        let mut server = Self { child, events, port: 0 };
        let listening = until(SOON, "the mail server to listen", || async { server.of("listening").pop() }).await;
        server.port = listening["port"].as_u64().unwrap() as u16;
        server
    }

    /// What it told of this kind, once there is so much of it: what it says on stdout may be later than its answer.
    async fn all(&self, kind: &str, count: usize) -> Vec<Value> {
        let what = format!("{count} x {kind}");
        until(SOON, &what, || async { Some(self.of(kind)).filter(|found| found.len() >= count) }).await
    }

    /// What it has told of this kind.
    fn of(&self, kind: &str) -> Vec<Value> {
        self.events.lock().unwrap().iter().filter(|event| event["event"] == kind).cloned().collect()
    }
}

/// An integration as a configuration has it.
fn integration(port: u16, keys: &str) -> Integration {
    let to = if keys.contains("to:") { "" } else { "to: 'a@example.com, b@example.com', " };
    let smarthost = if keys.contains("smarthost:") { String::new() } else { format!("smarthost: 'localhost:{port}', ") };
    let text = format!(
        "route: {{receiver: r}}\nreceivers: [{{name: r, email_configs: [{{{to}from: Modelwatch <m@example.com>, {smarthost}{keys}}}]}}]"
    );
    let mut faults = yaml::Faults::default();
    let config = config::parse("test.yml", &text, Path::new("."), None, &mut faults);
    assert!(faults.0.is_empty(), "{}\n{text}", faults.0[0]);
    config.unwrap().receivers["r"][0].clone()
}

fn notification(state: State) -> Notification {
    let labels: Labels = [("alertname", "Zürich\r\nBcc: evil@example.com"), ("org", "Ærø <b>")].into_iter().collect();
    let at = Time::parse("2026-11-20T20:00:00Z").unwrap();
    let alert = Alert {
        labels: labels.clone(),
        annotations: [("summary", "<script>alert(1)</script> & more")].into_iter().collect(),
        value: 12.0,
        evidence: "12 > 10".to_owned(),
        state,
        active_at: at,
        fired_at: Some(at),
        resolved_at: (state == State::Resolved).then_some(at),
        absent_since: None,
        late: false,
        posted: None,
    };
    Notification {
        receiver: "r".to_owned(),
        group_key: "{}:{}".to_owned(),
        group_labels: labels,
        alerts: vec![alert],
        reason: "new alert".to_owned(),
        at,
    }
}

async fn send(integration: &Integration, delivery: u64, handle: Option<&str>) -> (Outcome, Option<String>) {
    send_state(integration, delivery, handle, State::Firing).await
}

async fn send_state(integration: &Integration, delivery: u64, handle: Option<&str>, state: State) -> (Outcome, Option<String>) {
    let now = Time::parse("2026-11-20T20:00:05Z").unwrap();
    let context = Context { external_url: "http://modelwatch", step: 0, handle, delivery, now };
    let request: Request = integration.request(&notification(state), &context).unwrap();
    let (outcome, handle) = Sender::default().send(integration, request, &context).await;
    assert!(!format!("{outcome:?}{handle:?}").contains(PASSWORD));
    (outcome, handle)
}

#[track_caller]
fn again(outcome: &Outcome, word: &str) {
    assert!(matches!(outcome, Outcome::Retry { reason, .. } if reason.contains(word)), "{outcome:?}");
}

#[track_caller]
fn never(outcome: &Outcome, word: &str) {
    assert!(matches!(outcome, Outcome::Rejected { reason } if reason.contains(word)), "{outcome:?}");
}

/// A folder with an authority and a certificate for localhost, and what a server with STARTTLS needs.
struct Ground {
    dir: tempfile::TempDir,
    authority: Authority,
    certificate: Certificate,
}

impl Ground {
    fn new() -> Option<Self> {
        modules()?;
        let dir = tempfile::tempdir().unwrap();
        let authority = Authority::new(dir.path(), "ca");
        let certificate = authority.certificate("mail", "DNS:localhost,IP:127.0.0.1");
        Some(Self { dir, authority, certificate })
    }

    /// A server with STARTTLS that asks for the password, and what else is said.
    async fn server(&self, more: Value) -> Server {
        let mut behaviour = json!({
            "cert": self.certificate.cert, "key": self.certificate.key, "user": "watch", "password": PASSWORD,
        });
        behaviour.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        Server::start(&behaviour).await
    }

    /// The keys with which it is reached, with trust in the authority.
    fn keys(&self, password: &str) -> String {
        format!("auth_username: watch, auth_password: {password}, tls_config: {{ca_file: '{}'}}", self.authority.file().display())
    }
}

#[tokio::test]
async fn a_mail_under_starttls_and_auth() {
    let Some(ground) = Ground::new() else { return };
    let server = ground.server(json!({})).await;
    let keys = format!("{}, hello: watch.example.com, headers: {{X-Team: Größe}}", ground.keys(PASSWORD));
    let integration = integration(server.port, &keys);
    let (outcome, handle) = send(&integration, 7, None).await;
    assert_eq!(outcome, Outcome::Delivered);
    assert_eq!(server.all("auth", 1).await, [json!({"event": "auth", "mechanism": "PLAIN", "good": true, "encrypted": true})]);
    let mail = &server.all("mail", 1).await[0];
    assert_eq!((&mail["sender"], &mail["to"]), (&json!("m@example.com"), &json!(["a@example.com", "b@example.com"])));
    assert_eq!((&mail["encrypted"], &mail["hello"]), (&json!(true), &json!("watch.example.com")));
    let headers = &mail["headers"];
    assert_eq!(headers["From"], "Modelwatch <m@example.com>");
    assert_eq!(headers["To"], "a@example.com, b@example.com");
    assert_eq!(headers["Date"], "Fri, 20 Nov 2026 20:00:05 +0000");
    assert_eq!(headers["X-Team"], "Größe");
    assert_eq!(headers["Subject"], "[FIRING:1] Zürich\\r\\nBcc: evil@example.com org=Ærø <b>");
    let names: Vec<&str> = mail["names"].as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect();
    assert!(!names.contains(&"Bcc"), "{names:?}");
    assert_eq!((&mail["kind"], &mail["defects"]), (&json!("multipart/alternative"), &json!([])));
    let (text, html) = (mail["parts"]["text/plain"].as_str().unwrap(), mail["parts"]["text/html"].as_str().unwrap());
    assert!(text.contains("<script>alert(1)</script> & more") && text.contains("org = Ærø <b>"), "{text}");
    assert!(html.contains("&lt;script&gt;alert(1)&lt;/script&gt; &amp; more") && !html.contains("<script"), "{html}");
    assert!(!mail.to_string().contains(PASSWORD));

    // The resolve stands in the thread that the first one began.
    let (outcome, _) = send_state(&integration, 9, handle.as_deref(), State::Resolved).await;
    assert_eq!(outcome, Outcome::Delivered);
    let resolve = &server.all("mail", 2).await[1]["headers"];
    assert!(resolve["Subject"].as_str().unwrap().starts_with("[RESOLVED] "));
    assert_eq!((&resolve["References"], &resolve["In-Reply-To"]), (&headers["Message-ID"], &headers["Message-ID"]));
    assert_ne!(resolve["Message-ID"], headers["Message-ID"]);
}

#[tokio::test]
async fn login_is_answered_whatever_its_prompts() {
    let Some(ground) = Ground::new() else { return };
    for prompts in [["User Name\0", "Password\0"], ["Username:", "Password:"]] {
        let server = ground.server(json!({"mechanism": "LOGIN", "prompts": prompts})).await;
        let (outcome, _) = send(&integration(server.port, &ground.keys(PASSWORD)), 1, None).await;
        assert_eq!(outcome, Outcome::Delivered, "{prompts:?}");
        assert_eq!(server.all("auth", 1).await[0]["mechanism"], "LOGIN");
    }
}

#[tokio::test]
async fn a_wrong_password_is_not_tried_again() {
    let Some(ground) = Ground::new() else { return };
    let server = ground.server(json!({})).await;
    let (outcome, _) = send(&integration(server.port, &ground.keys("wrong-passw0rd")), 1, None).await;
    never(&outcome, "SMTP 535");
    assert!(!format!("{outcome:?}").contains("wrong-passw0rd"));
    assert!(server.of("mail").is_empty());
}

#[tokio::test]
async fn not_now_is_again_and_no_is_never() {
    let Some(ground) = Ground::new() else { return };
    let server = ground.server(json!({"data": ["451 4.3.0 later", "554 5.6.0 spam"]})).await;
    let integration = integration(server.port, &ground.keys(PASSWORD));
    again(&send(&integration, 1, None).await.0, "SMTP 451 4.3.0 later");
    never(&send(&integration, 1, None).await.0, "SMTP 554 5.6.0 spam");
    assert_eq!(send(&integration, 1, None).await.0, Outcome::Delivered);
    assert_eq!(server.all("mail", 1).await.len(), 1);
}

#[tokio::test]
async fn recipients_are_refused_one_by_one() {
    let Some(ground) = Ground::new() else { return };
    let unknown = ["550 no such user"; 4];
    let script = json!({"rcpt": {"a@example.com": unknown, "b@example.com": ["450 greylisted", "550 no", "450 x"]}});
    let server = ground.server(script).await;
    let integration =
        integration(server.port, &format!("to: 'a@example.com, b@example.com, c@example.com', {}", ground.keys(PASSWORD)));
    let told = async |count| server.all("mail", count).await.iter().map(|mail| mail["to"].clone()).collect::<Vec<_>>();
    // c has it; b is tried again, and then refused for good, which is no reason to tell c a second time.
    let (outcome, handle) = send(&integration, 1, None).await;
    again(&outcome, "b@example.com: greylisted");
    assert_eq!(told(1).await, [json!(["c@example.com"])]);
    let (outcome, _) = send(&integration, 1, handle.as_deref()).await;
    assert_eq!(outcome, Outcome::Delivered);
    // The next message goes to all of them again.
    let (outcome, handle) = send(&integration, 2, handle.as_deref()).await;
    again(&outcome, "b@example.com: x");
    assert_eq!(send(&integration, 2, handle.as_deref()).await.0, Outcome::Delivered);
    assert_eq!(told(3).await, [json!(["c@example.com"]), json!(["c@example.com"]), json!(["b@example.com"])]);
}

#[tokio::test]
async fn nobody_accepted_is_a_failure() {
    let Some(ground) = Ground::new() else { return };
    let server = ground.server(json!({"rcpt": {"a@example.com": ["550 no such user"], "b@example.com": ["550 no"]}})).await;
    never(&send(&integration(server.port, &ground.keys(PASSWORD)), 1, None).await.0, "SMTP 550 a@example.com: no such user");
    assert!(server.of("mail").is_empty());
}

#[tokio::test]
async fn nobody_listens() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    again(&send(&integration(port, ""), 1, None).await.0, "refused");
    again(&send(&integration(port, "smarthost: 'no-such-host.invalid:25'"), 1, None).await.0, "");
}

#[tokio::test]
async fn without_starttls_nothing_is_told() {
    if modules().is_none() {
        return;
    }
    let server = Server::start(&json!({"user": "watch", "password": PASSWORD})).await;
    let keys = format!("auth_username: watch, auth_password: {PASSWORD}");
    never(&send(&integration(server.port, &keys), 1, None).await.0, "offers no STARTTLS");
    assert!(server.of("auth").is_empty() && server.of("mail").is_empty());
    assert_eq!(server.all("connected", 1).await.len(), 1);
    // To the machine itself, where it is asked for.
    let (outcome, _) = send(&integration(server.port, &format!("{keys}, require_tls: false")), 1, None).await;
    assert_eq!(outcome, Outcome::Delivered);
    assert_eq!(server.all("mail", 1).await[0]["encrypted"], false);
}

#[tokio::test]
async fn certificates_are_looked_at() {
    let Some(ground) = Ground::new() else { return };
    let server = ground.server(json!({})).await;
    let other = Authority::new(ground.dir.path(), "other");
    let auth = format!("auth_username: watch, auth_password: {PASSWORD}");
    let tls = |keys: &str| integration(server.port, &format!("{auth}, tls_config: {{{keys}}}"));
    let (own, other) = (ground.authority.file().display().to_string(), other.file().display().to_string());
    never(&send(&tls(""), 1, None).await.0, "invalid peer certificate: UnknownIssuer");
    never(&send(&tls(&format!("ca_file: '{other}'")), 1, None).await.0, "invalid peer certificate");
    never(&send(&tls(&format!("ca_file: '{own}', server_name: mail.example.com")), 1, None).await.0, "not valid for name");
    assert!(server.of("auth").is_empty());
    assert_eq!(send(&tls(&format!("ca_file: '{own}', server_name: 127.0.0.1")), 1, None).await.0, Outcome::Delivered);
    assert_eq!(send(&tls("insecure_skip_verify: true"), 1, None).await.0, Outcome::Delivered);
    assert_eq!(send(&tls(&format!("ca_file: '{own}', max_version: TLS12")), 1, None).await.0, Outcome::Delivered);
}

#[tokio::test]
async fn tls_from_the_start_with_a_certificate_of_ours() {
    let Some(ground) = Ground::new() else { return };
    let server = ground.server(json!({"implicit": true, "clients": ground.authority.file()})).await;
    let client = ground.authority.certificate("client", "DNS:modelwatch");
    let keys = |more: &str| {
        let ca = ground.authority.file();
        let auth = format!("auth_username: watch, auth_password: {PASSWORD}, force_implicit_tls: true");
        integration(server.port, &format!("{auth}, tls_config: {{ca_file: '{}'{more}}}", ca.display()))
    };
    assert_ne!(send(&keys(""), 1, None).await.0, Outcome::Delivered);
    let own = format!(", cert_file: '{}', key_file: '{}'", client.cert.display(), client.key.display());
    assert_eq!(send(&keys(&own), 1, None).await.0, Outcome::Delivered);
    assert_eq!(server.all("mail", 1).await.len(), 1);
}

/// A server that says `script`, one piece after each thing it is told, and then nothing more.
fn scripted(script: &'static [&'static str]) -> (u16, Arc<Mutex<Vec<u8>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let heard: Arc<Mutex<Vec<u8>>> = Arc::default();
    let into = heard.clone();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        for piece in script {
            stream.write_all(piece.as_bytes()).unwrap();
            let mut chunk = [0; 4096];
            let Ok(count @ 1..) = stream.read(&mut chunk) else { return };
            into.lock().unwrap().extend_from_slice(&chunk[..count]);
        }
        // Holds the connection until the other side has enough.
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).ok();
    });
    (port, heard)
}

#[tokio::test]
async fn what_comes_before_tls_does_not_count_after_it() {
    let keys = format!("auth_username: watch, auth_password: {PASSWORD}");
    let script = &["220 hi\r\n", "250-hi\r\n250 STARTTLS\r\n", "220 go\r\n250 AUTH PLAIN\r\n"];
    let (port, heard) = scripted(script);
    again(&send(&integration(port, &keys), 1, None).await.0, "out of turn");
    assert_eq!(String::from_utf8_lossy(&heard.lock().unwrap()), "EHLO localhost\r\nSTARTTLS\r\n");
    let (port, _) = scripted(&["421 4.3.2 closing\r\n"]);
    again(&send(&integration(port, &keys), 1, None).await.0, "SMTP 421 4.3.2 closing");
    let (port, _) = scripted(&["HTTP/1.1 400 Bad Request\r\n\r\n"]);
    again(&send(&integration(port, &keys), 1, None).await.0, "");
}

#[tokio::test]
async fn a_server_that_hangs_is_given_ten_seconds() {
    let (port, _) = scripted(&[""]);
    let began = Instant::now();
    again(&send(&integration(port, ""), 1, None).await.0, "not done within 10s");
    assert!(began.elapsed() >= Duration::from_secs(10) && began.elapsed() < Duration::from_secs(20));
}

/// A rule fires, a mail arrives; it is over, and the mail that says so stands in the same thread.
#[tokio::test]
async fn from_a_rule_to_a_thread_of_mail() {
    let Some(ground) = Ground::new() else { return };
    let server = ground.server(json!({})).await;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("calls.db");
    let mut calls = sqlite::open(&file).await;
    sqlite::execute(&mut calls, delivery::CALLS).await;
    delivery::write_rules(dir.path());
    let address = format!("to: oncall@example.com, from: m@example.com, smarthost: 'localhost:{}'", server.port);
    let receiver = format!("email_configs: [{{{address}, {}}}]", ground.keys(PASSWORD));
    let daemon = Daemon::spawn(&delivery::config(&file, &receiver, "1s"), dir.path()).await;
    let subjects = || -> Vec<String> {
        server.of("mail").iter().map(|mail| mail["headers"]["Subject"].as_str().unwrap().to_owned()).collect()
    };
    let start = Instant::now();
    while subjects().is_empty() {
        assert!(start.elapsed() < SOON, "no mail:\n{}", daemon.log());
        sqlite::execute(&mut calls, delivery::FAILURE).await;
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    assert_eq!(subjects()[0], "[FIRING:1] CallsFail model=gpt");
    let limit = Duration::from_secs(delivery::WITHIN) + SOON;
    until(limit, "the resolve", || async { (subjects().len() == 2).then_some(()) }).await;
    assert_eq!(subjects()[1], "[RESOLVED] CallsFail model=gpt");
    let mails = server.of("mail");
    let (firing, resolve) = (&mails[0]["headers"], &mails[1]["headers"]);
    assert_eq!(resolve["References"], firing["Message-ID"]);
    calls.close().await.unwrap();
    let log = daemon.terminate().await;
    assert!(!log.contains(PASSWORD), "a secret in the log:\n{log}");
}
