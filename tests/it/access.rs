//! Who may do what, over real TLS and HTTP, with a CA of our own: users, roles, tokens, client certificates, pages of other
//! sites, and what the pages themselves show and take.

use std::path::Path;
use std::process::{Command, Stdio};

use reqwest::Method;
use reqwest::header::{HeaderMap, HeaderName};
use serde_json::{Value, json};

use crate::daemon::{Daemon, SOON, output};
use crate::ground::{missing, program, stable_port, until};

pub const CONFIG: &str = "state: modelwatch.db
route: {receiver: oncall, group_by: [alertname]}
receivers: [{name: oncall, stdout_configs: [{}]}]
";

/// `alice` and `bob`, with the passwords of the same name and a 1.
pub fn web(more: &str) -> String {
    let hash = |password: &str| bcrypt::hash(password, 4).unwrap();
    let (alice, bob) = (hash("alice1"), hash("bob1"));
    format!("basic_auth_users: {{alice: '{alice}', bob: '{bob}'}}\nroles: {{bob: read}}\n{more}")
}

pub struct Site {
    pub daemon: Daemon,
    pub address: String,
    pub http: reqwest::Client,
}

/// One request and what is said of it.
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: String,
}

impl Site {
    pub async fn start(dir: &Path, more: &str) -> Site {
        Site::launch(dir, &format!("{more}{CONFIG}")).await
    }

    pub async fn launch(dir: &Path, config: &str) -> Site {
        let daemon = Daemon::launch(&format!("listen: 127.0.0.1:0\n{config}"), dir);
        let address = until(SOON, "the address", || async {
            assert!(daemon.running(), "{}", daemon.log());
            daemon.address()
        })
        .await;
        Site { daemon, address, http: crate::daemon::client() }
    }

    pub async fn ask(&self, method: Method, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        let mut request = self.http.request(method, format!("http://{}{path}", self.address)).body(body.to_owned());
        for (name, value) in headers {
            request = request.header(name.parse::<HeaderName>().unwrap(), *value);
        }
        let answer = request.send().await.unwrap();
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        Answer { status, headers, body: answer.text().await.unwrap() }
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.ask(Method::GET, path, &[], "").await
    }

    pub async fn fire(&self, labels: Value) {
        let alerts = json!([{ "labels": labels, "annotations": { "summary": "</title><script>alert(2)</script>" } }]);
        let posted = self.ask(Method::POST, "/api/v2/alerts", &[JSON], &alerts.to_string()).await;
        assert_eq!(posted.status, 200, "{}", posted.body);
    }
}

pub const JSON: (&str, &str) = ("content-type", "application/json");
pub const FORM: (&str, &str) = ("content-type", "application/x-www-form-urlencoded");

pub fn basic(user: &str, password: &str) -> String {
    use base64::prelude::{BASE64_STANDARD, Engine};
    format!("Basic {}", BASE64_STANDARD.encode(format!("{user}:{password}")))
}

#[tokio::test]
async fn without_users_this_machine_may_change_and_pages_of_others_may_not() {
    let dir = tempfile::tempdir().unwrap();
    let site = Site::start(dir.path(), "external_url: http://watch.example.com:9464\n").await;
    let port = site.address.rsplit(':').next().unwrap().to_owned();
    let (own, local) = (format!("http://{}", site.address), format!("localhost:{port}"));
    let reload = async |headers: &[(&str, &str)]| site.ask(Method::POST, "/-/reload", headers, "").await.status;
    assert_eq!(reload(&[]).await, 200);
    assert_eq!(reload(&[("origin", &own)]).await, 200);
    assert_eq!(reload(&[("origin", "http://evil.example")]).await, 403);
    assert_eq!(reload(&[("origin", "null")]).await, 403);
    assert_eq!(reload(&[("sec-fetch-site", "cross-site")]).await, 403);
    assert_eq!(reload(&[("sec-fetch-site", "same-site")]).await, 403);
    // Rebound names, and whoever comes through a proxy.
    assert_eq!(reload(&[("host", "evil.example")]).await, 403);
    assert_eq!(reload(&[("host", &local)]).await, 200);
    assert_eq!(reload(&[("host", "watch.example.com:9464"), ("origin", "http://watch.example.com:9464")]).await, 200);
    assert_eq!(reload(&[("x-forwarded-for", "10.0.0.1")]).await, 403);
    let read = site.ask(Method::GET, "/metrics", &[("host", "evil.example")], "").await;
    assert_eq!(read.status, 403, "what only this machine may see, no page of another site may read");
    assert!(read.body.contains("external_url"), "{}", read.body);
    // A page can send these without asking.
    let alerts = json!([{ "labels": { "alertname": "A" } }]).to_string();
    for kind in ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"] {
        let posted = site.ask(Method::POST, "/api/v2/alerts", &[("content-type", kind)], &alerts).await;
        assert_eq!(posted.status, 415, "{kind}: {}", posted.body);
        let posted = site.ask(Method::POST, "/api/v1/acks", &[("content-type", kind)], "{}").await;
        assert_eq!(posted.status, 415, "{kind}: {}", posted.body);
    }
    assert_eq!(site.ask(Method::POST, "/api/v2/alerts", &[JSON], &alerts).await.status, 200);
    let read = site.ask(Method::GET, "/api/v2/silences", &[("origin", "http://evil.example")], "").await;
    assert!(read.status == 200 && !read.headers.contains_key("access-control-allow-origin"), "{:?}", read.headers);
}

#[tokio::test]
async fn pages_of_others_may_read_what_they_may_of_alertmanager() {
    let dir = tempfile::tempdir().unwrap();
    let site = Site::start(dir.path(), "compatibility: alertmanager\n").await;
    let read = site.ask(Method::GET, "/api/v2/silences", &[("origin", "http://karma.example")], "").await;
    assert_eq!(read.headers["access-control-allow-origin"], "*");
}

#[tokio::test]
async fn users_and_tokens_have_roles() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("token"), "0123456789abcdef0123\n").unwrap();
    let tokens = "bearer_tokens: [{name: grafana, role: read, token_file: token}]\nhttp_server_config: {headers: {X-Frame-Options: deny}}\n";
    std::fs::write(dir.path().join("web.yml"), web(tokens)).unwrap();
    let site = Site::start(dir.path(), "web_config_file: web.yml\n").await;
    let ask = async |method: Method, path: &str, by: &str| {
        let headers = [("authorization", by), JSON];
        site.ask(method, path, if by.is_empty() { &headers[1..] } else { &headers }, "").await
    };
    let (alice, bob) = (basic("alice", "alice1"), basic("bob", "bob1"));
    let wrong = [
        String::new(),
        basic("alice", "alice"),
        basic("alice", "bob1"),
        basic("carol", "alice1"),
        basic("", ""),
        "Basic".to_owned(),
        "Basic %%%".to_owned(),
        "Bearer 0123456789abcdef".to_owned(),
        "Bearer ".to_owned(),
        "Digest x".to_owned(),
    ];
    for by in &wrong {
        for path in ["/", "/metrics", "/api/v1/alerts", "/api/v2/status", "/silences", "/static/modelwatch.css", "/nowhere"] {
            let answer = ask(Method::GET, path, by).await;
            assert_eq!(answer.status, 401, "{by} {path}");
            let schemes: Vec<_> = answer.headers.get_all("www-authenticate").iter().collect();
            assert_eq!(schemes.len(), 2, "{schemes:?}");
        }
        assert_eq!(ask(Method::POST, "/-/reload", by).await.status, 401, "{by}");
        // Supervisors have no password.
        assert_eq!(ask(Method::GET, "/-/healthy", by).await.status, 200, "{by}");
        assert_eq!(ask(Method::POST, "/-/healthy", by).await.status, 401, "{by}");
    }
    for by in [&alice, &bob, "Bearer 0123456789abcdef0123", "bearer 0123456789abcdef0123"] {
        let read = ask(Method::GET, "/api/v1/alerts", by).await;
        assert_eq!((read.status, read.headers["x-frame-options"].to_str().unwrap()), (200, "deny"), "{by}");
    }
    assert_eq!(ask(Method::POST, "/-/reload", &alice).await.status, 200);
    for by in [&bob, "Bearer 0123456789abcdef0123"] {
        for (method, path) in [(Method::POST, "/-/reload"), (Method::DELETE, "/api/v1/acks?alert=A"), (Method::POST, "/ack")] {
            let refused = ask(method, path, by).await;
            assert_eq!(refused.status, 403, "{by} {path}");
            assert!(refused.body.contains("the role `read`"), "{}", refused.body);
        }
    }
    // A page has no password to add, so it may read what it has one for.
    let headers = [("authorization", bob.as_str()), ("origin", "http://karma.example")];
    let read = site.ask(Method::GET, "/api/v2/silences", &headers, "").await;
    assert_eq!(read.headers["access-control-allow-origin"], "*");
    let log = site.daemon.log();
    assert!(!["alice1", "bob1", "$2b$", "0123456789abcdef0123"].iter().any(|secret| log.contains(secret)), "{log}");
}

#[tokio::test]
async fn the_web_config_file_is_read_again() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("web.yml");
    std::fs::write(&path, web("")).unwrap();
    let site = Site::start(dir.path(), "web_config_file: web.yml\n").await;
    let (alice, carol) = (basic("alice", "alice1"), basic("carol", "carol1"));
    let status = async |by: &str| site.ask(Method::GET, "/metrics", &[("authorization", by)], "").await.status;
    assert_eq!((status(&alice).await, status(&carol).await), (200, 401));
    // What is at fault changes nothing, least of all lets everybody in.
    std::fs::write(&path, "basic_auth_users: {alice: plain}\n").unwrap();
    site.daemon.logged("not read again").await;
    assert_eq!((status(&alice).await, status("").await), (200, 401));
    // Nor does one that says nothing, or no longer names anybody.
    for (text, n) in [("", 1), ("http_server_config: {http2: false}\n", 2)] {
        std::fs::write(&path, text).unwrap();
        let told = || async { (site.daemon.log().matches("restart to remove access control").count() == n).then_some(()) };
        until(SOON, "the refusal", told).await;
        assert_eq!((status(&alice).await, status("").await), (200, 401), "{text}");
    }
    std::fs::write(&path, format!("basic_auth_users: {{carol: '{}'}}\n", bcrypt::hash("carol1", 4).unwrap())).unwrap();
    until(SOON, "carol to be known", || async { (status(&carol).await == 200).then_some(()) }).await;
    assert_eq!(status(&alice).await, 401, "who was verified before is forgotten");
}

fn openssl(dir: &Path, arguments: &str) {
    let arguments = arguments.split(' ').map(|argument| argument.replace('~', " "));
    let done = Command::new("openssl").current_dir(dir).args(arguments).stderr(Stdio::piped()).output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
}

/// A CA, and certificates that it signed: `server` for 127.0.0.1, `client`.
fn certificates(dir: &Path, serial: u32) {
    let key = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";
    if !dir.join("ca.crt").exists() {
        openssl(dir, &format!("req -x509 {key} -keyout ca.key -out ca.crt -days 2 -subj /CN=ca"));
    }
    std::fs::write(dir.join("san"), "subjectAltName=IP:127.0.0.1,DNS:localhost\n").unwrap();
    for name in ["server", "client"] {
        openssl(dir, &format!("req {key} -keyout {name}.key -out {name}.csr -subj /CN={name}"));
        openssl(
            dir,
            &format!(
                "x509 -req -in {name}.csr -CA ca.crt -CAkey ca.key -set_serial {serial} -days 2 -extfile san -out {name}.crt"
            ),
        );
    }
}

fn https(dir: &Path, address: &str, client: bool, path: &str) -> Result<(u16, String), String> {
    let mut curl = Command::new("curl");
    curl.current_dir(dir).args(["-sS", "-m", "10", "--noproxy", "*", "--cacert", "ca.crt", "-w", "\n%{http_code} %{certs}"]);
    if client {
        curl.args(["--cert", "client.crt", "--key", "client.key"]);
    }
    let done = curl.arg(format!("https://{address}{path}")).output().unwrap();
    if !done.status.success() {
        return Err(String::from_utf8_lossy(&done.stderr).into_owned());
    }
    let text = String::from_utf8_lossy(&done.stdout).into_owned();
    let status = text.lines().rev().find_map(|line| line.split(' ').next()?.parse().ok()).unwrap_or(0);
    Ok((status, text))
}

#[tokio::test]
async fn tls_is_spoken_and_certificates_are_taken_up_when_they_change() {
    let (Some(_), Some(_)) = (program("openssl"), program("curl")) else { return missing("openssl or curl") };
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    certificates(dir, 1);
    std::fs::write(dir.join("web.yml"), "tls_server_config: {cert_file: server.crt, key_file: server.key}\n").unwrap();
    let site = Site::start(dir, "web_config_file: web.yml\n").await;
    let address = site.address.clone();
    assert_eq!(https(dir, &address, false, "/-/healthy").unwrap().0, 200);
    assert!(site.http.get(format!("http://{address}/-/healthy")).send().await.is_err(), "no HTTP without TLS");
    // Who never shakes hands holds nobody up.
    let silent: Vec<_> = (0..20).map(|_| std::net::TcpStream::connect(&address).unwrap()).collect();
    assert_eq!(https(dir, &address, false, "/metrics").unwrap().0, 200);
    drop(silent);
    let fingerprint = |name: &str| std::fs::read_to_string(dir.join(name)).unwrap();
    let before = fingerprint("server.crt");
    certificates(dir, 2);
    assert_ne!(before, fingerprint("server.crt"));
    let serial = async || {
        let shown = Command::new("openssl")
            .args(["s_client", "-connect", &address])
            .stdin(Stdio::null())
            .output()
            .map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
        shown.unwrap().contains(fingerprint("server.crt").trim()).then_some(())
    };
    until(SOON, "the new certificate", serial).await;
}

#[tokio::test]
async fn client_certificates_are_asked_for_and_are_enough() {
    let (Some(_), Some(_)) = (program("openssl"), program("curl")) else { return missing("openssl or curl") };
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    certificates(dir, 1);
    let tls = "tls_server_config: {cert_file: server.crt, key_file: server.key, client_ca_file: ca.crt, client_auth_type: RequireAndVerifyClientCert, min_version: TLS13}\n";
    std::fs::write(dir.join("web.yml"), tls).unwrap();
    let site = Site::start(dir, "web_config_file: web.yml\n").await;
    let without = https(dir, &site.address, false, "/metrics");
    assert!(without.is_err(), "{without:?}");
    assert_eq!(https(dir, &site.address, true, "/metrics").unwrap().0, 200);
}

#[tokio::test]
async fn commands_talk_to_the_daemon_over_tls_and_with_a_password() {
    let Some(_) = program("openssl") else { return missing("openssl") };
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    certificates(dir, 1);
    std::fs::write(dir.join("web.yml"), web("tls_server_config: {cert_file: server.crt, key_file: server.key}\n")).unwrap();
    std::fs::write(dir.join("password"), "alice1\n").unwrap();
    std::fs::write(dir.join("wrong"), "alice2\n").unwrap();
    let port = stable_port();
    let config = format!("listen: 127.0.0.1:{port}\nweb_config_file: web.yml\n{CONFIG}");
    let nobody = {
        std::fs::write(dir.join("modelwatch.yml"), &config).unwrap();
        output(dir, &["deliveries"])
    };
    assert_eq!(nobody.code, Some(2));
    assert!(nobody.stderr.contains(&format!("nobody answers on https://127.0.0.1:{port}")), "{}", nobody.stderr);
    let daemon = Daemon::launch(&config, dir);
    until(SOON, "the address", || async { daemon.address() }).await;
    let run = |arguments: &[&str]| output(dir, arguments);
    let stranger = run(&["deliveries", "--ca-file", "ca.crt"]);
    assert_eq!(stranger.code, Some(1));
    assert!(stranger.stderr.contains("--password-file"), "{}", stranger.stderr);
    let untrusted = run(&["deliveries"]);
    assert!(untrusted.code == Some(2) && untrusted.stderr.contains("--ca-file"), "{}", untrusted.stderr);
    let wrong = run(&["deliveries", "--ca-file", "ca.crt", "--user", "alice", "--password-file", "wrong"]);
    assert_eq!(wrong.code, Some(1), "{}", wrong.stderr);
    let alice = ["--ca-file", "ca.crt", "--user", "alice", "--password-file", "password"];
    let made = run(&[&["silence", "add", "A", "--comment", "x", "--duration", "1h"][..], &alice].concat());
    assert_eq!((made.code, made.stdout.trim().len()), (Some(0), 36), "{}", made.stderr);
    let listed = run(&[&["silence", "query", "--json"][..], &alice].concat());
    assert!(listed.stdout.contains(made.stdout.trim()), "{}", listed.stdout);
    let ended = run(&[&["silence", "expire", made.stdout.trim()][..], &alice].concat());
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let unknown = run(&[&["silence", "expire", "00000000-0000-0000-0000-000000000000"][..], &alice].concat());
    assert!(unknown.code == Some(1) && unknown.stderr.contains("there is none"), "{}", unknown.stderr);
    let nothing = run(&[&["ack", "A"][..], &alice].concat());
    assert!(nothing.code == Some(1) && nothing.stderr.contains("nothing of that fires"), "{}", nothing.stderr);
}

#[tokio::test]
async fn commands_show_what_became_of_an_alert() {
    let dir = tempfile::tempdir().unwrap();
    let site = Site::start(dir.path(), "").await;
    let url = format!("http://{}", site.address);
    let run = |arguments: &[&str]| output(dir.path(), &[arguments, &["--url", &url]].concat());
    site.fire(json!({ "alertname": "A", "model": "gpt-4o" })).await;
    let told = async || Some(run(&["explain", "A"])).filter(|told| told.stdout.contains(": told oncall (stdout) at "));
    let told = until(SOON, "the alert to be told", told).await;
    let first = told.stdout.lines().next().unwrap();
    assert!(first.starts_with("{alertname=\"A\", model=\"gpt-4o\"} fires since "), "{first}");
    let acked = run(&["ack", "A", "model=gpt-4o", "--by", "alice", "--comment", "on it"]);
    assert!(acked.code == Some(0) && acked.stdout.contains("alice"), "{}{}", acked.stdout, acked.stderr);
    assert!(run(&["explain", "A"]).stdout.lines().next().unwrap().ends_with("(on it)"));
    assert_eq!(run(&["ack", "A", "--undo"]).code, Some(0));
    let explained: Value = serde_json::from_str(&run(&["explain", "model=gpt-4o", "--json"]).stdout).unwrap();
    let explained = &explained["explanations"][0];
    assert_eq!(explained["route"][0]["outcome"], "taken", "{explained}");
    let key = explained["groups"][0]["key"].as_str().unwrap();
    let group = run(&["explain", "--group", key]);
    assert!(group.stdout.starts_with("group {}:{alertname=\"A\"}: told oncall (stdout) at "), "{}", group.stdout);
    let unknown = run(&["explain", "B", "x=y"]);
    assert!(unknown.stdout.contains("is no alert now: nobody was told: no alert has these labels"), "{}", unknown.stdout);
    assert!(unknown.stdout.contains("would go to oncall"), "{}", unknown.stdout);
    assert_eq!(run(&["explain", "x=~\"y|z\""]).code, Some(1));
    let deliveries = run(&["deliveries"]);
    assert!(deliveries.stdout.contains("oncall (stdout)") && deliveries.stdout.contains("delivered"), "{}", deliveries.stdout);
    let retried = run(&["deliveries", "--retry", "0"]);
    assert!(retried.code == Some(1) && retried.stderr.contains("only what was given up goes again"), "{}", retried.stderr);
    assert_eq!(run(&["deliveries", "--retry", "77"]).code, Some(1));
    let nope = run(&["deliveries", "--receiver", "nope"]);
    assert!(nope.code == Some(1) && nope.stderr.contains("there is no receiver `nope`"), "{}{}", nope.stdout, nope.stderr);
    assert!(run(&["deliveries", "--receiver", "oncall"]).stdout.contains("oncall (stdout)"));
    assert!(site.get("/groups").await.body.contains("<h1>Alerts</h1>"));
    let nothing = site.get("/nowhere").await;
    assert!(nothing.status == 404 && nothing.body.contains("nothing here"), "{}", nothing.body);
}
