//! TLS: the section `tls_server_config`, and the listener that shakes hands beside those who are served.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use rustls::crypto::{CryptoProvider, SupportedKxGroup, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, SupportedCipherSuite, SupportedProtocolVersion, version};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::{Access, HANDSHAKE};
use crate::diag::{Diagnostic, nearest};
use crate::yaml::{self, Faults, Fields, Node};

/// Hands that are shaken at once; who comes later waits before the door.
const HANDSHAKES: usize = 256;
/// Connections that wait to be served.
const WAITING: usize = 64;

/// Whether client certificates are asked for.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Client {
    No,
    IfGiven,
    Required,
    Unverified,
}

const CLIENTS: &[(&str, Client)] = &[
    ("NoClientCert", Client::No),
    ("RequestClientCert", Client::Unverified),
    ("RequireAnyClientCert", Client::Unverified),
    ("VerifyClientCertIfGiven", Client::IfGiven),
    ("RequireAndVerifyClientCert", Client::Required),
];

const VERSIONS: &[(&str, u8)] = &[("TLS10", 10), ("TLS11", 11), ("TLS12", 12), ("TLS13", 13)];

/// Suites that Go knows and we do not: none of them has forward secrecy and authenticated encryption both.
const OLD_SUITES: [&str; 2] = ["TLS_RSA_WITH_", "_CBC_SHA"];

/// The server's part of TLS, and whether nobody connects without a certificate.
pub(super) struct Tls {
    pub config: Arc<ServerConfig>,
    pub certificates_required: bool,
}

/// Reads `tls_server_config`.
pub(super) fn parse(fields: &mut Fields<'_>, faults: &mut Faults) -> Option<Tls> {
    let chain = pem(fields, faults, ["cert", "cert_file"], true);
    let key = pem(fields, faults, ["key", "key_file"], true);
    let roots = pem(fields, faults, ["client_ca", "client_ca_file"], false);
    let client = fields.optional("client_auth_type", faults, yaml::one_of(CLIENTS));
    let versions = versions(fields, faults);
    let suites = fields.optional("cipher_suites", faults, yaml::list(yaml::TEXT));
    let suites = suites.and_then(|names| self::suites(&names, fields.node.at("cipher_suites"), faults));
    let ordered = fields.optional("prefer_server_cipher_suites", faults, yaml::BOOLEAN).unwrap_or(true);
    let groups = fields.optional("curve_preferences", faults, yaml::list(yaml::TEXT.then(group)));
    if let Some(node) = fields.node("client_allowed_sans") {
        let help = "have the CA of `client_ca_file` sign only those who may connect";
        faults.error_help("not-supported", node, "client_allowed_sans: names in certificates are not compared", help);
    }
    let client = client.unwrap_or(Client::No);
    let place = fields.node.at("client_auth_type");
    match (client, &roots) {
        (Client::Unverified, _) => {
            let message = "client_auth_type: certificates that nobody verifies prove nothing";
            faults.error_help("not-supported", place, message, "RequireAndVerifyClientCert or VerifyClientCertIfGiven");
            return None;
        }
        (Client::No, Some((node, _))) => {
            let message = "there is a CA for client certificates, but nobody asks for them";
            faults.error_help("missing-key", node, message, "client_auth_type: RequireAndVerifyClientCert");
            return None;
        }
        (Client::IfGiven | Client::Required, None) => {
            faults.error_help("missing-key", place, "`client_ca_file` is missing", "name the CA that signed the certificates");
            return None;
        }
        _ => {}
    }
    let (chain, key, versions) = (chain?, key?, versions?);
    let mut provider = ring::default_provider();
    if let Some(suites) = suites {
        provider.cipher_suites = suites;
    }
    if let Some(groups) = groups {
        provider.kx_groups = groups;
    }
    let built = build(provider, &versions, &chain.1, &key.1, client, roots.as_ref().map(|(_, pem)| pem.as_slice()));
    match built {
        Ok(mut config) => {
            config.ignore_client_order = ordered;
            config.alpn_protocols = vec![b"http/1.1".to_vec()];
            Some(Tls { config: Arc::new(config), certificates_required: client == Client::Required })
        }
        Err(message) => {
            faults.error("bad-tls", chain.0, message);
            None
        }
    }
}

fn build(
    provider: CryptoProvider,
    versions: &[&'static SupportedProtocolVersion],
    chain: &[u8],
    key: &[u8],
    client: Client,
    roots: Option<&[u8]>,
) -> Result<ServerConfig, String> {
    let provider = Arc::new(provider);
    let certificates = |pem: &[u8]| CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>();
    let chain = certificates(chain).map_err(|error| format!("the certificate cannot be read: {error}"))?;
    if chain.is_empty() {
        return Err("the file of the certificate holds none (a PEM section CERTIFICATE)".to_owned());
    }
    // What it says may hold parts of the key.
    let key = PrivateKeyDer::from_pem_slice(key).map_err(|_| "the file of the key holds none (a PEM section PRIVATE KEY)")?;
    let builder = ServerConfig::builder_with_provider(provider.clone());
    let builder = builder.with_protocol_versions(versions).map_err(|error| format!("no TLS with these settings: {error}"))?;
    let builder = match roots {
        None => builder.with_no_client_auth(),
        Some(roots) => {
            let mut store = RootCertStore::empty();
            let roots = certificates(roots).map_err(|error| format!("the CA of clients cannot be read: {error}"))?;
            for root in roots {
                store.add(root).map_err(|error| format!("the CA of clients cannot be used: {error}"))?;
            }
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(store), provider);
            let verifier = if client == Client::IfGiven { verifier.allow_unauthenticated() } else { verifier };
            let verifier = verifier.build().map_err(|error| format!("the CA of clients cannot be used: {error}"))?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    builder.with_single_cert(chain, key).map_err(|error| format!("certificate and key cannot be used: {error}"))
}

/// What stands under one of two keys: PEM itself, or the name of its file from the folder of the web config file.
fn pem<'a>(
    fields: &mut Fields<'a>,
    faults: &mut Faults,
    [key, file_key]: [&'static str; 2],
    needed: bool,
) -> Option<(&'a Node, Vec<u8>)> {
    let (written, filed) = (fields.optional(key, faults, yaml::TEXT), fields.optional(file_key, faults, yaml::TEXT));
    match (fields.node(key), fields.node(file_key)) {
        (Some(_), Some(file)) => {
            faults.error_help("conflicting-keys", file, format!("both `{key}` and `{file_key}` are set"), "remove one of them");
            None
        }
        (Some(node), None) => Some((node, written?.into_bytes())),
        (None, Some(node)) => {
            let path = node.place.beside(&filed?);
            let read = fs::read(&path);
            read.map(|bytes| (node, bytes))
                .map_err(|error| faults.error("unreadable", node, format!("cannot read {}: {error}", path.display())))
                .ok()
        }
        (None, None) => {
            if needed {
                faults.error("missing-key", fields.node, format!("`{file_key}` is missing"));
            }
            None
        }
    }
}

fn versions(fields: &mut Fields<'_>, faults: &mut Faults) -> Option<Vec<&'static SupportedProtocolVersion>> {
    let least = fields.optional("min_version", faults, yaml::one_of(VERSIONS)).unwrap_or(12);
    let most = fields.optional("max_version", faults, yaml::one_of(VERSIONS)).unwrap_or(13);
    if least < 12 {
        let message = "TLS 1.0 and 1.1 are not spoken: TLS 1.2 is the least";
        faults
            .0
            .push(Diagnostic::warning("not-supported", &fields.node.at("min_version").place, message).help("min_version: TLS12"));
    }
    let known = [(12, &version::TLS12), (13, &version::TLS13)];
    let spoken: Vec<_> = known.into_iter().filter(|(n, _)| (least..=most).contains(n)).map(|(_, version)| version).collect();
    if spoken.is_empty() {
        let message = "no version of TLS is left that is spoken here (TLS 1.2 and 1.3)";
        faults.error("bad-value", fields.node.at("max_version"), message);
        return None;
    }
    Some(spoken)
}

/// The suites of TLS 1.2 that are named as Go names them; those of TLS 1.3 cannot be chosen there either.
fn suites(names: &[String], node: &Node, faults: &mut Faults) -> Option<Vec<SupportedCipherSuite>> {
    let all = ring::ALL_CIPHER_SUITES.iter().map(|suite| (format!("{:?}", suite.suite()), *suite));
    let known: Vec<(String, SupportedCipherSuite)> = all.map(|(name, suite)| (name.replace("TLS13_", "TLS_"), suite)).collect();
    let (mut chosen, places): (Vec<SupportedCipherSuite>, &[Node]) = (Vec::new(), node.items());
    for (i, name) in names.iter().enumerate() {
        let place = places.get(i).unwrap_or(node);
        // Go has two names for the same.
        let suite = known.iter().find(|(known, _)| known == name || known.strip_suffix("_SHA256") == Some(name));
        match suite {
            Some((_, suite)) => chosen.push(*suite),
            None if OLD_SUITES.iter().any(|old| name.contains(old)) || name.contains("_RC4_") => {
                let message = format!("`{name}` is not spoken here: it is not secure enough");
                faults.0.push(Diagnostic::warning("not-supported", &place.place, message).help("leave it out"));
            }
            None => {
                let near = nearest(name, known.iter().map(|(known, _)| known.as_str()));
                let help = near
                    .map_or_else(|| "names are those of Go's crypto/tls".to_owned(), |near| format!("did you mean `{near}`?"));
                faults.error_help("bad-value", place, format!("`{name}` is no cipher suite"), help);
                return None;
            }
        }
    }
    let tls13 = known.iter().map(|(_, suite)| *suite).filter(|suite| suite.tls13().is_some() && !chosen.contains(suite));
    let tls13: Vec<SupportedCipherSuite> = tls13.collect();
    let any = !chosen.is_empty() || names.is_empty();
    if !any {
        faults.error("bad-value", node, "none of these cipher suites is spoken here");
    }
    (any && !names.is_empty()).then(|| tls13.into_iter().chain(chosen).collect())
}

fn group(name: String) -> Result<&'static dyn SupportedKxGroup, String> {
    match name.as_str() {
        "X25519" => Ok(ring::kx_group::X25519),
        "CurveP256" => Ok(ring::kx_group::SECP256R1),
        "CurveP384" => Ok(ring::kx_group::SECP384R1),
        _ => Err(format!("`{name}` is none of X25519, CurveP256, CurveP384")),
    }
}

/// Who is at the other end.
#[derive(Clone, Copy, Debug)]
pub struct Peer(pub SocketAddr);

/// Connections as they come in, ready to be served: with TLS, where the policy of that moment says so.
#[derive(Debug)]
pub struct Doors {
    open: mpsc::Receiver<(Connection, Peer)>,
    accepting: JoinHandle<()>,
}

impl Doors {
    /// Over a socket that listens; so many connections at once, those that shake hands among them.
    ///
    /// # Errors
    /// It has no address.
    pub fn new(listener: TcpListener, access: Arc<Access>, most: usize) -> io::Result<Doors> {
        listener.local_addr()?;
        let (ready, open) = mpsc::channel(WAITING);
        let accepting = tokio::spawn(accept(listener, access, ready, Arc::new(Semaphore::new(most))));
        Ok(Doors { open, accepting })
    }

    /// The next one.
    pub async fn accept(&mut self) -> (Connection, Peer) {
        match self.open.recv().await {
            Some(connection) => connection,
            // Only where that task panicked; what is open is still served.
            None => std::future::pending().await,
        }
    }
}

impl Drop for Doors {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(listener: TcpListener, access: Arc<Access>, ready: mpsc::Sender<(Connection, Peer)>, free: Arc<Semaphore>) {
    let shaking = Arc::new(Semaphore::new(HANDSHAKES));
    loop {
        let Ok(place) = free.clone().acquire_owned().await else { return };
        let (stream, peer) = match listener.accept().await {
            Ok((stream, peer)) => (stream, Peer(peer)),
            Err(error) => {
                // Too many open files, mostly; those that went away again are no matter.
                tracing::debug!(%error, "cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let Some(config) = access.policy().tls.clone() else {
            if ready.send((Connection { stream: Stream::Plain(stream), _place: place }, peer)).await.is_err() {
                return;
            }
            continue;
        };
        let (ready, Ok(permit)) = (ready.clone(), shaking.clone().acquire_owned().await) else { return };
        tokio::spawn(async move {
            let _permit = permit;
            match tokio::time::timeout(HANDSHAKE, TlsAcceptor::from(config).accept(stream)).await {
                Ok(Ok(stream)) => {
                    let connection = Connection { stream: Stream::Tls(Box::new(stream)), _place: place };
                    // An error means that nobody serves any more.
                    drop(ready.send((connection, peer)).await);
                }
                Ok(Err(error)) => tracing::debug!(peer = %peer.0, %error, "no TLS with a client"),
                Err(_) => tracing::debug!(peer = %peer.0, "a client was too slow with TLS"),
            }
        });
    }
}

/// A connection with or without TLS, and its place among those that may be.
#[derive(Debug)]
pub struct Connection {
    stream: Stream,
    _place: OwnedSemaphorePermit,
}

#[derive(Debug)]
enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl AsyncRead for Connection {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().stream {
            Stream::Plain(stream) => Pin::new(stream).poll_read(cx, buffer),
            Stream::Tls(stream) => Pin::new(stream).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Connection {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.get_mut().stream {
            Stream::Plain(stream) => Pin::new(stream).poll_write(cx, bytes),
            Stream::Tls(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().stream {
            Stream::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Stream::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().stream {
            Stream::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Stream::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
