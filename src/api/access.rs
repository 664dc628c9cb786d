//! Who may do what: users and roles, tokens, TLS, and requests that a browser was tricked into.
//!
//! With a web config file (`modelwatch run --web.config.file web.yml`, or `web_config_file` in the configuration), in the
//! format of the Prometheus exporter toolkit and read again whenever it or a file that it names changes:
//!
//! ```yaml
//! tls_server_config: {cert_file: server.crt, key_file: server.key}
//! basic_auth_users: {alice: $2y$10$..., bob: $2y$10$...}   # bcrypt
//! roles: {bob: read}                                       # ours; who is not named is an operator, as in the toolkit
//! bearer_tokens: [{name: grafana, role: read, token_file: grafana.token}]   # ours
//! ```
//!
//! - Where there are users or tokens, everything needs one of them (else 401), except `/-/healthy` and `/-/ready`, which
//!   supervisors ask and which then say nothing but yes or no. `read` may look (GET), `operator` may change (else 403).
//! - Where only client certificates are asked for (`client_auth_type: RequireAndVerifyClientCert`), who has one is an operator.
//! - Where nothing is configured, everybody who can connect may look, as in Alertmanager, and only this machine may change
//!   anything; what a proxy on it forwards counts as from elsewhere. `listen` is loopback by default.
//! - A page of another site can change nothing: see `origin.rs`.

mod file;
mod origin;
mod passwords;
mod tls;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use axum::extract::{ConnectInfo, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD, Engine};
use sha2::{Digest, Sha256};
use tokio::sync::watch;

use crate::config::Config;
use crate::diag::{Diagnostic, Severity, any_error};
use crate::time::Span;
use crate::yaml::Faults;
use file::{Content, Policy};
use passwords::{Busy, Keyed, Passwords};

pub use tls::{Doors, Peer};

/// How often the web config file and what it names are looked at.
const LOOK_EVERY: Span = Span::secs(2);

/// What a caller may do; the later one may do all that the earlier one may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Look.
    Read,
    /// Change: silence, acknowledge, post alerts, reload.
    Operator,
}

/// Who makes a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// The user, or the token's name; none where nobody needs one.
    pub name: Option<String>,
    /// What they may do.
    pub role: Role,
}

/// Why a request goes no further.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Refusal {
    /// Nobody knows who it is.
    Unknown,
    /// What they are not allowed to, and what to do about it.
    Forbidden(String),
    /// Too many passwords are being verified.
    Busy,
}

/// The rules in force.
#[derive(Debug)]
pub struct Access {
    path: Option<PathBuf>,
    policy: RwLock<Arc<Policy>>,
    passwords: Passwords,
    forms: Keyed,
    /// The host by which people reach us, and the origin of the pages that they see.
    host: Option<String>,
    origin: Option<String>,
}

impl Access {
    /// By the web config file, where there is one; none where it is at fault.
    pub fn open(path: Option<&Path>, external_url: &str, faults: &mut Faults) -> Option<Arc<Access>> {
        let policy = path.map_or_else(|| Some(Policy::default()), |path| file::load(path, faults))?;
        let url = reqwest::Url::parse(external_url).ok();
        let host = url.as_ref().and_then(|url| url.host_str().map(str::to_owned));
        let origin = url.map(|url| url.origin().ascii_serialization());
        let Some((cache, forms)) = Keyed::new().zip(Keyed::new()) else {
            faults.0.push(Diagnostic::nowhere("unreadable", "the system gives no random numbers"));
            return None;
        };
        let (path, policy) = (path.map(Path::to_owned), RwLock::new(Arc::new(policy)));
        Some(Arc::new(Access { path, policy, passwords: Passwords::new(cache), forms, host, origin }))
    }

    /// Reads the file again whenever it or what it names has changed; one that is at fault changes nothing.
    pub async fn watch(self: Arc<Access>, mut stopped: watch::Receiver<bool>) {
        let Some(path) = self.path.clone() else { return };
        let content = || {
            let path = path.clone();
            async move { tokio::task::spawn_blocking(move || Content::of(&path)).await.ok() }
        };
        let (mut read, mut seen) = (content().await, None);
        while !*stopped.borrow() {
            tokio::select! {
                () = tokio::time::sleep(LOOK_EVERY.to_std()) => {}
                _ = stopped.changed() => return,
            }
            let now = content().await;
            // What is being written is left alone until two looks have found it alike.
            if now != read && now == seen {
                self.reread(&path);
                read.clone_from(&now);
            }
            seen = now;
        }
    }

    fn reread(&self, path: &Path) {
        let mut faults = Faults::default();
        let policy = file::load(path, &mut faults);
        faults.0.iter().for_each(|fault| tracing::warn!("{fault}"));
        match policy.filter(|_| !any_error(&faults.0)) {
            // A file that somebody emptied, or is about to write, opens nothing.
            Some(policy) if let Some(lost) = policy.lacks(&self.policy()) => {
                let path = path.display();
                tracing::error!("{path}: not read again, as it no longer asks for {lost}: restart to remove access control");
            }
            Some(policy) => {
                *self.policy.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(policy);
                tracing::info!("{}: read again", path.display());
            }
            None => tracing::error!("{}: not read again; what held before still holds", path.display()),
        }
    }

    fn policy(&self) -> Arc<Policy> {
        self.policy.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether anybody is asked who they are, by a password, a token or a certificate.
    pub fn asks(&self) -> bool {
        let policy = self.policy();
        policy.knows_anybody() || policy.certificates_required
    }

    /// Whether there are users or tokens.
    pub fn asks_for_names(&self) -> bool {
        self.policy().knows_anybody()
    }

    /// What a form of our pages carries, so that no other site can send it.
    pub fn form_token(&self, caller: &Caller) -> String {
        BASE64_URL_SAFE_NO_PAD.encode(self.forms.digest(&form(caller)))
    }

    /// Whether a form came from a page that this caller was shown.
    pub fn is_form_token(&self, caller: &Caller, token: &str) -> bool {
        BASE64_URL_SAFE_NO_PAD.decode(token).is_ok_and(|token| self.forms.is_digest(&form(caller), &token))
    }

    async fn admit(&self, peer: SocketAddr, request: &Parts) -> Result<Option<Caller>, Refusal> {
        let (policy, headers) = (self.policy(), &request.headers);
        let changes = may_change(&request.method);
        if changes {
            origin::check(headers, self.origin.as_deref()).map_err(Refusal::Forbidden)?;
        }
        if !policy.knows_anybody() {
            let trusted = peer.ip().to_canonical().is_loopback() && !origin::is_forwarded(headers);
            if trusted && !policy.certificates_required {
                origin::check_host(headers, self.host.as_deref()).map_err(Refusal::Forbidden)?;
            }
            return match changes {
                true if !trusted && !policy.certificates_required => Err(Refusal::Forbidden(NOBODY_MAY.to_owned())),
                _ if trusted || policy.certificates_required => Ok(Some(Caller { name: None, role: Role::Operator })),
                _ => Ok(Some(Caller { name: None, role: Role::Read })),
            };
        }
        // Those who are not asked who they are need not wait for it either.
        let is_probe = !changes && is_probe(request.uri.path());
        let caller = match self.caller(&policy, headers).await {
            Err(Refusal::Busy) if is_probe => None,
            caller => caller?,
        };
        match caller {
            Some(Caller { name, role: Role::Read }) if changes => {
                let name = name.unwrap_or_default();
                let advice = "ask an operator, or for `operator` under `roles` in the web config file";
                Err(Refusal::Forbidden(format!("{name} has the role `read` and may change nothing; {advice}")))
            }
            Some(caller) => Ok(Some(caller)),
            None if is_probe => Ok(None),
            None => Err(Refusal::Unknown),
        }
    }

    async fn caller(&self, policy: &Policy, headers: &HeaderMap) -> Result<Option<Caller>, Refusal> {
        let Some((name, password)) = basic(headers) else { return Ok(token(policy, headers)) };
        let known = policy.users.get(&name);
        // For a name that nobody has it takes as long.
        let hash = known.map_or(policy.decoy.as_str(), |user| user.hash.reveal());
        let right = self.passwords.verify(&name, &password, hash).await.map_err(|Busy| Refusal::Busy)?;
        Ok(known.filter(|_| right).map(|user| Caller { role: user.role, name: Some(name) }))
    }
}

fn credentials(headers: &HeaderMap) -> Option<(&str, &str)> {
    let (scheme, given) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    Some((scheme, given.trim()))
}

fn token(policy: &Policy, headers: &HeaderMap) -> Option<Caller> {
    let (_, given) = credentials(headers).filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))?;
    let digest = Sha256::digest(given.as_bytes());
    // Digests are compared, so that how much of it is right shows in no time.
    let token = policy.tokens.iter().find(|token| token.digest == *digest)?;
    Some(Caller { name: Some(token.name.clone()), role: token.role })
}

fn basic(headers: &HeaderMap) -> Option<(String, String)> {
    let (_, given) = credentials(headers).filter(|(scheme, _)| scheme.eq_ignore_ascii_case("basic"))?;
    let given = String::from_utf8(BASE64_STANDARD.decode(given).ok()?).ok()?;
    given.split_once(':').map(|(name, password)| (name.to_owned(), password.to_owned()))
}

const NOBODY_MAY: &str = "this may be done only on the machine itself, as no users are configured: run modelwatch with \
    `--web.config.file web.yml` or `web_config_file` (basic_auth_users, bearer_tokens), or ask it over loopback";

/// What supervisors ask, who have no password.
fn is_probe(path: &str) -> bool {
    matches!(path, "/-/healthy" | "/-/ready")
}

fn form(caller: &Caller) -> Vec<u8> {
    format!("form\0{}", caller.name.as_deref().unwrap_or_default()).into_bytes()
}

/// The outermost layer: whoever comes past it is a [`Caller`], among the extensions of the request.
pub async fn admit(
    State(access): State<Arc<Access>>,
    ConnectInfo(Peer(peer)): ConnectInfo<Peer>,
    request: Request,
    next: Next,
) -> Response {
    let (mut parts, body) = request.into_parts();
    let mut response = match access.admit(peer, &parts).await {
        Ok(caller) => {
            if let Some(caller) = caller {
                tell(&caller, peer, &parts);
                parts.extensions.insert(caller);
            }
            parts.extensions.insert(access.clone());
            next.run(Request::from_parts(parts, body)).await
        }
        Err(refusal) => {
            tracing::debug!(peer = %peer.ip(), method = %parts.method, path = parts.uri.path(), ?refusal, "refused");
            refusal.into_response()
        }
    };
    for (name, value) in &access.policy().headers {
        response.headers_mut().insert(name.clone(), value.clone());
    }
    response
}

/// Who changed what stands in the log; alerts are posted all the time.
fn tell(caller: &Caller, peer: SocketAddr, request: &Parts) {
    let path = request.uri.path();
    if may_change(&request.method) && path != "/api/v2/alerts" {
        let by = caller.name.as_deref().unwrap_or_default();
        tracing::info!(by, peer = %peer.ip(), method = %request.method, path, "request");
    }
}

fn may_change(method: &Method) -> bool {
    !matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS)
}

/// The layer of what programs ask: a body is JSON, which a page of another site cannot send unasked.
pub async fn json_only(request: Request, next: Next) -> Response {
    match origin::check_body(request.headers()) {
        Ok(()) => next.run(request).await,
        Err(message) => (StatusCode::UNSUPPORTED_MEDIA_TYPE, format!("{message}\n")).into_response(),
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        match self {
            Refusal::Unknown => {
                let text = "401: user and password, or a token, are needed or wrong\n";
                let mut response = (StatusCode::UNAUTHORIZED, text).into_response();
                for scheme in ["Basic realm=\"modelwatch\", charset=\"UTF-8\"", "Bearer"] {
                    response.headers_mut().append(header::WWW_AUTHENTICATE, HeaderValue::from_static(scheme));
                }
                response
            }
            Refusal::Busy => {
                let text = "503: too many passwords are being verified; try again\n";
                (StatusCode::SERVICE_UNAVAILABLE, [(header::RETRY_AFTER, "5")], text).into_response()
            }
            Refusal::Forbidden(why) => (StatusCode::FORBIDDEN, format!("403: {why}\n")).into_response(),
        }
    }
}

/// What is wrong with the access of a configuration, the web config file among it.
pub fn check(config: &Config) -> Vec<Diagnostic> {
    let mut faults = Faults::default();
    let policy = config.web_config_file.as_deref().map(|path| file::load(path, &mut faults));
    // Of a file at fault nobody knows.
    let asks = policy.is_some_and(|policy| policy.is_none_or(|policy| policy.knows_anybody() || policy.certificates_required));
    faults.0.extend(open_to_all(config, asks));
    faults.0
}

/// A warning where nobody is asked who they are (`asks`) and others than this machine can connect, or perhaps can by a proxy.
pub fn open_to_all(config: &Config, asks: bool) -> Option<Diagnostic> {
    let local = config.listen.ip().is_loopback();
    if asks || (local && origin::is_local(&config.external_url)) {
        return None;
    }
    let (message, help) = if local {
        let message = format!("people come by {}, and nobody is asked who they are", config.external_url);
        (message, "name users in `web_config_file`: through a proxy that adds no X-Forwarded-For everybody may change everything")
    } else {
        let may = "may read everything; changes are taken only from this machine";
        let message = format!("whoever can connect to {} {may}", config.listen);
        (message, "name users in `web_config_file`, or listen on 127.0.0.1")
    };
    Some(Diagnostic { severity: Severity::Warning, ..Diagnostic::nowhere("open-to-all", message).help(help) })
}

/// How long a client may take to shake hands.
const HANDSHAKE: Duration = Duration::from_secs(10);
