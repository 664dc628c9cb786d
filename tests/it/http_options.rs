//! `http_config` against real servers: TLS with an authority of the test's own, proxies, authorization, headers, timeouts.

use crate::authority::{Authority, Certificate};
use crate::ground::{missing, program};
use modelwatch::alert::{Alert, State};
use modelwatch::engine::send::Sender;
use modelwatch::notify::{Context, Outcome};
use modelwatch::route::Notification;
use modelwatch::time::Time;
use modelwatch::{config, yaml};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

const TOKEN: &str = "t0ken-of-the-receiver";

/// What a server was asked for, head and body, and by whom.
#[derive(Clone, Debug, Default)]
struct Seen {
    text: String,
    has_client_certificate: bool,
}

#[derive(Clone)]
struct Server {
    port: u16,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl Server {
    /// Says `answer` to each request, over TLS where it is given; or nothing at all where the answer is empty.
    async fn start(tls: Option<ServerConfig>, answer: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = Self { port: listener.local_addr().unwrap().port(), seen: Arc::default() };
        let (own, acceptor) = (server.clone(), tls.map(|tls| TlsAcceptor::from(Arc::new(tls))));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (own, acceptor) = (own.clone(), acceptor.clone());
                tokio::spawn(async move {
                    match acceptor {
                        None => own.serve(stream, false, answer).await,
                        Some(acceptor) => {
                            let Ok(stream) = acceptor.accept(stream).await else { return };
                            let known = stream.get_ref().1.peer_certificates().is_some();
                            own.serve(stream, known, answer).await;
                        }
                    }
                });
            }
        });
        server
    }

    async fn serve(&self, mut stream: impl AsyncRead + AsyncWrite + Unpin, has_client_certificate: bool, answer: &str) {
        let Some(text) = request(&mut stream).await else { return };
        self.seen.lock().unwrap().push(Seen { text, has_client_certificate });
        if answer.is_empty() {
            std::future::pending::<()>().await;
        }
        stream.write_all(answer.as_bytes()).await.ok();
        stream.shutdown().await.ok();
    }

    fn texts(&self) -> Vec<String> {
        self.seen.lock().unwrap().iter().map(|seen| seen.text.clone()).collect()
    }
}

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok";

/// A request with its whole body.
async fn request(stream: &mut (impl AsyncRead + Unpin)) -> Option<String> {
    let mut read = Vec::new();
    loop {
        let mut chunk = [0; 4096];
        let count = stream.read(&mut chunk).await.ok().filter(|count| *count > 0)?;
        read.extend_from_slice(&chunk[..count]);
        let text = String::from_utf8_lossy(&read).into_owned();
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = head.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
        if body.len() >= length.unwrap_or(0) {
            return Some(text);
        }
    }
}

/// What comes of one notification to a webhook with these keys.
async fn deliver(url: &str, keys: &str) -> Outcome {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let text = format!("route: {{receiver: r}}\nreceivers: [{{name: r, webhook_configs: [{{url: '{url}', {keys}}}]}}]");
    let mut faults = yaml::Faults::default();
    let config = config::parse("test.yml", &text, Path::new("."), None, &mut faults);
    assert!(faults.0.is_empty(), "{}\n{text}", faults.0[0]);
    let integration = config.unwrap().receivers["r"][0].clone();
    let now = Time::parse("2026-11-20T20:00:00Z").unwrap();
    let alert = Alert {
        labels: [("alertname", "A")].into_iter().collect(),
        annotations: [("summary", "s")].into_iter().collect(),
        value: 1.0,
        evidence: "1 > 0".to_owned(),
        state: State::Firing,
        active_at: now,
        fired_at: Some(now),
        resolved_at: None,
        absent_since: None,
        late: false,
        posted: None,
    };
    let notification = Notification {
        receiver: "r".to_owned(),
        group_key: "{}:{}".to_owned(),
        group_labels: [("alertname", "A")].into_iter().collect(),
        alerts: vec![alert],
        reason: "new alert".to_owned(),
        at: now,
    };
    let context = Context { external_url: "http://modelwatch", step: 0, handle: None, delivery: 1, now };
    let request = integration.request(&notification, &context).unwrap();
    let shown = format!("{integration:?} {request:?}");
    let (outcome, _) = Sender::default().send(&integration, request, &context).await;
    assert!(!format!("{shown} {outcome:?}").contains(TOKEN), "{shown} {outcome:?}");
    outcome
}

#[track_caller]
fn refused(outcome: &Outcome, word: &str) {
    assert!(matches!(outcome, Outcome::Retry { reason, .. } if reason.contains(word)), "{outcome:?}");
}

/// A server's side of TLS, which may ask for a certificate of `clients`.
fn tls(own: &Certificate, clients: Option<&Path>, versions: &[&'static rustls::SupportedProtocolVersion]) -> ServerConfig {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let read = |file: &Path| CertificateDer::pem_file_iter(file).unwrap().map(Result::unwrap).collect::<Vec<_>>();
    let builder = ServerConfig::builder_with_provider(provider.clone()).with_protocol_versions(versions).unwrap();
    let builder = match clients {
        None => builder.with_no_client_auth(),
        Some(file) => {
            let mut roots = RootCertStore::empty();
            read(file).into_iter().for_each(|ca| roots.add(ca).unwrap());
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build().unwrap();
            builder.with_client_cert_verifier(verifier)
        }
    };
    builder.with_single_cert(read(&own.cert), PrivateKeyDer::from_pem_file(&own.key).unwrap()).unwrap()
}

const ANY: &[&rustls::SupportedProtocolVersion] = &[&rustls::version::TLS13, &rustls::version::TLS12];

fn authority() -> Option<(tempfile::TempDir, Authority)> {
    if program("openssl").is_none() {
        missing("openssl");
        return None;
    }
    let dir = tempfile::tempdir().unwrap();
    let authority = Authority::new(dir.path(), "ca");
    Some((dir, authority))
}

#[tokio::test]
async fn certificates_are_those_of_whom_it_trusts() {
    let Some((dir, authority)) = authority() else { return };
    let other = Authority::new(dir.path(), "other").file().display().to_string();
    let own = authority.file().display().to_string();
    let server = Server::start(Some(tls(&authority.certificate("web", "DNS:hooks.internal,DNS:localhost"), None, ANY)), OK).await;
    let url = format!("https://localhost:{}/hook", server.port);
    let with = |keys: String| format!("http_config: {{tls_config: {{{keys}}}}}");
    refused(&deliver(&url, "").await, "invalid peer certificate");
    refused(&deliver(&url, &with(format!("ca_file: '{other}'"))).await, "invalid peer certificate");
    assert!(server.texts().is_empty());
    assert_eq!(deliver(&url, &with(format!("ca_file: '{own}'"))).await, Outcome::Delivered);
    assert_eq!(deliver(&url, &with("insecure_skip_verify: true".to_owned())).await, Outcome::Delivered);
    // An address stands in no certificate here, but a name that is asked for does.
    let url = format!("https://127.0.0.1:{}/hook", server.port);
    refused(&deliver(&url, &with(format!("ca_file: '{own}'"))).await, "not valid for name");
    refused(&deliver(&url, &with(format!("ca_file: '{own}', server_name: other.internal"))).await, "not valid for name");
    assert_eq!(deliver(&url, &with(format!("ca_file: '{own}', server_name: hooks.internal"))).await, Outcome::Delivered);
}

#[tokio::test]
async fn a_certificate_of_ours_is_shown() {
    let Some((_dir, authority)) = authority() else { return };
    let (web, client) = (authority.certificate("web", "DNS:localhost"), authority.certificate("client", "DNS:modelwatch"));
    let server = Server::start(Some(tls(&web, Some(&authority.file()), ANY)), OK).await;
    let url = format!("https://localhost:{}/hook", server.port);
    let ca = format!("ca_file: '{}'", authority.file().display());
    assert_ne!(deliver(&url, &format!("http_config: {{tls_config: {{{ca}}}}}")).await, Outcome::Delivered);
    let own = format!("{ca}, cert_file: '{}', key_file: '{}'", client.cert.display(), client.key.display());
    assert_eq!(deliver(&url, &format!("http_config: {{tls_config: {{{own}}}}}")).await, Outcome::Delivered);
    assert!(server.seen.lock().unwrap().iter().all(|seen| seen.has_client_certificate));
}

#[tokio::test]
async fn versions_are_bounded() {
    let Some((_dir, authority)) = authority() else { return };
    let web = authority.certificate("web", "DNS:localhost");
    let ca = format!("ca_file: '{}'", authority.file().display());
    for (version, good, bad) in [
        (&rustls::version::TLS12, "min_version: TLS10", "min_version: TLS13"),
        (&rustls::version::TLS13, "min_version: TLS12", "max_version: TLS12"),
    ] {
        let server = Server::start(Some(tls(&web, None, &[version])), OK).await;
        let url = format!("https://localhost:{}/hook", server.port);
        assert_eq!(deliver(&url, &format!("http_config: {{tls_config: {{{ca}, {good}}}}}")).await, Outcome::Delivered);
        refused(&deliver(&url, &format!("http_config: {{tls_config: {{{ca}, {bad}}}}}")).await, "");
    }
}

#[tokio::test]
async fn who_we_are_is_in_the_headers() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("token");
    std::fs::write(&file, format!("{TOKEN}\n")).unwrap();
    let file = file.display();
    let server = Server::start(None, OK).await;
    let url = format!("http://127.0.0.1:{}/hook", server.port);
    for (keys, expected) in [
        ("basic_auth: {username: me, password: pass}".to_owned(), "authorization: Basic bWU6cGFzcw==".to_owned()),
        (format!("bearer_token: {TOKEN}"), format!("authorization: Bearer {TOKEN}")),
        (format!("bearer_token_file: '{file}'"), format!("authorization: Bearer {TOKEN}")),
        (format!("authorization: {{credentials_file: '{file}'}}"), format!("authorization: Bearer {TOKEN}")),
        (format!("authorization: {{type: Token, credentials: {TOKEN}}}"), format!("authorization: Token {TOKEN}")),
        (format!("http_headers: {{X-Scope: {{values: [a], secrets: [{TOKEN}]}}}}"), format!("x-scope: a\r\nx-scope: {TOKEN}")),
    ] {
        assert_eq!(deliver(&url, &format!("http_config: {{{keys}}}")).await, Outcome::Delivered, "{keys}");
        let seen = server.texts().pop().unwrap();
        assert!(seen.contains(&format!("\r\n{expected}\r\n")), "{keys}: {seen}");
    }
}

#[tokio::test]
async fn what_a_receiver_repeats_is_not_told() {
    const NO: &str = "HTTP/1.1 401 No\r\ncontent-length: 33\r\nconnection: close\r\n\r\nbad token t0ken-of-the-receiver!!";
    let server = Server::start(None, NO).await;
    let url = format!("http://127.0.0.1:{}/hook", server.port);
    let outcome = deliver(&url, &format!("http_config: {{authorization: {{credentials: {TOKEN}}}}}")).await;
    assert_eq!(outcome, Outcome::Rejected { reason: "status 401: bad token <secret>!!".to_owned() });
}

#[tokio::test]
async fn a_receiver_has_its_own_timeout() {
    let server = Server::start(None, "").await;
    let began = Instant::now();
    refused(&deliver(&format!("http://127.0.0.1:{}/", server.port), "timeout: 300ms").await, "timed out");
    assert!(began.elapsed() >= Duration::from_millis(300) && began.elapsed() < Duration::from_secs(8), "{:?}", began.elapsed());
}

/// A proxy that notes what it is asked for, and makes tunnels.
async fn proxy() -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let server = Server { port: listener.local_addr().unwrap().port(), seen: Arc::default() };
    let own = server.clone();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let own = own.clone();
            tokio::spawn(async move {
                let Some(text) = request(&mut stream).await else { return };
                own.seen.lock().unwrap().push(Seen { text: text.clone(), ..Seen::default() });
                let Some(target) = text.strip_prefix("CONNECT ").and_then(|rest| rest.split(' ').next()) else {
                    stream.write_all(OK.as_bytes()).await.ok();
                    return;
                };
                let mut target = TcpStream::connect(target).await.unwrap();
                stream.write_all(b"HTTP/1.1 200 Connected\r\n\r\n").await.unwrap();
                tokio::io::copy_bidirectional(&mut stream, &mut target).await.ok();
            });
        }
    });
    server
}

#[tokio::test]
async fn proxies_stand_between() {
    let proxy = proxy().await;
    let through = format!("proxy_url: 'http://me:{TOKEN}@127.0.0.1:{}'", proxy.port);
    // In the clear it is told the whole request.
    let url = "http://receiver.invalid/hook";
    assert_eq!(deliver(url, &format!("http_config: {{{through}}}")).await, Outcome::Delivered);
    let seen = proxy.texts().pop().unwrap();
    assert!(seen.starts_with("POST http://receiver.invalid/hook HTTP/1.1\r\n"), "{seen}");
    assert!(seen.to_lowercase().contains("\r\nproxy-authorization: basic "), "{seen}");
    // Hosts that are left out are reached without it.
    refused(&deliver(url, &format!("http_config: {{{through}, no_proxy: 'a.example,.invalid'}}")).await, "");
    assert_eq!(proxy.texts().len(), 1);
    // A proxy that is down is a fault that does not tell its password.
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let down = format!("http_config: {{proxy_url: 'http://me:{TOKEN}@127.0.0.1:{nobody}'}}");
    refused(&deliver(url, &down).await, "");
    // TLS goes through it in a tunnel.
    let Some((_dir, authority)) = authority() else { return };
    let server = Server::start(Some(tls(&authority.certificate("web", "DNS:localhost"), None, ANY)), OK).await;
    let keys = format!("http_config: {{{through}, tls_config: {{ca_file: '{}'}}}}", authority.file().display());
    assert_eq!(deliver(&format!("https://localhost:{}/hook", server.port), &keys).await, Outcome::Delivered);
    let seen = proxy.texts().pop().unwrap();
    assert!(seen.starts_with(&format!("CONNECT localhost:{} HTTP/1.1\r\n", server.port)) && !seen.contains("hook"), "{seen}");
    assert_eq!(server.texts().len(), 1);
}
