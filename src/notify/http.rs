//! How HTTP receivers are reached: `http_config` and `timeout`, of a receiver or of `global`.
//!
//! As in Alertmanager a receiver that has an `http_config` takes nothing of the global one. What differs: redirects are never
//! followed, and there is no OAuth 2.

use std::sync::Arc;

use axum::http::{HeaderName, HeaderValue};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use reqwest::Url;
use serde_json::json;

use crate::diag::Diagnostic;
use crate::limits::REQUEST_TIMEOUT;
use crate::notify::Globals;
use crate::notify::tls::TlsOptions;
use crate::secret::Secret;
use crate::time::Span;
use crate::yaml::{self, Faults, Fields, Value};

/// How one receiver is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpOptions {
    /// The header `Authorization`.
    pub authorization: Option<Authorization>,
    /// Further headers; their values may be secrets.
    pub headers: Vec<(String, Secret)>,
    /// How connections are made: what receivers must have in common to share a client.
    pub transport: Transport,
    /// How long a whole request may take.
    pub timeout: Span,
}

/// Who we are to the receiver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authorization {
    /// The value of the header.
    pub header: Secret,
    /// The token or password in it, which a receiver may repeat by itself.
    pub secret: Secret,
}

/// How connections are made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transport {
    /// Whom they trust.
    pub tls: TlsOptions,
    /// What they go through.
    pub proxy: Proxy,
    /// Whether they may speak HTTP/2.
    pub http2: bool,
}

/// What connections go through.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Proxy {
    /// Nothing.
    #[default]
    None,
    /// What the environment says: `HTTPS_PROXY`, `HTTP_PROXY`, `NO_PROXY`.
    Environment,
    /// This one.
    Given {
        /// Its URL, which may hold a name and a password.
        url: Secret,
        /// Hosts that are reached without it, separated by commas.
        except: String,
    },
}

impl Default for HttpOptions {
    fn default() -> HttpOptions {
        let transport = Transport { tls: TlsOptions::default(), proxy: Proxy::None, http2: true };
        HttpOptions { authorization: None, headers: Vec::new(), transport, timeout: REQUEST_TIMEOUT }
    }
}

/// Reads `http_config` and `timeout` of a receiver; what it leaves out is that of `global`.
pub fn http_options(fields: &mut Fields<'_>, faults: &mut Faults, globals: &Globals) -> Arc<HttpOptions> {
    let own = fields.nested("http_config", faults, HttpOptions::parse);
    let timeout = fields.optional("timeout", faults, yaml::SPAN.then(timeout));
    match (own, timeout) {
        (None, None) => globals.http.clone(),
        (own, timeout) => {
            let options = own.unwrap_or_else(|| HttpOptions::clone(&globals.http));
            Arc::new(HttpOptions { timeout: timeout.unwrap_or(REQUEST_TIMEOUT), ..options })
        }
    }
}

/// As in Alertmanager 0 is no bound of its own.
fn timeout(span: Span) -> Result<Span, String> {
    match span {
        Span::ZERO => Ok(REQUEST_TIMEOUT),
        span if span <= REQUEST_TIMEOUT => Ok(span),
        _ => Err(format!("no request may take longer than {REQUEST_TIMEOUT}")),
    }
}

impl Authorization {
    fn new(scheme: &str, secret: Secret, fields: &Fields<'_>, faults: &mut Faults) -> Option<Authorization> {
        let header = Secret::new(format!("{scheme} {}", secret.reveal()));
        if HeaderValue::from_str(header.reveal()).is_err() {
            faults.error("bad-value", fields.node, NO_HEADER);
            return None;
        }
        Some(Authorization { header, secret })
    }
}

const NO_HEADER: &str = "a header cannot hold this text: it has line breaks or control characters";

impl HttpOptions {
    /// Reads the keys of an `http_config`.
    pub fn parse(fields: &mut Fields<'_>, faults: &mut Faults) -> Option<HttpOptions> {
        let authorization = authorization(fields, faults);
        let headers = headers(fields, faults);
        let tls = fields.nested("tls_config", faults, TlsOptions::parse).unwrap_or_default();
        let proxy = proxy(fields, faults);
        let http2 = fields.optional("enable_http2", faults, yaml::BOOLEAN).unwrap_or(true);
        if fields.optional("follow_redirects", faults, yaml::BOOLEAN) == Some(true) {
            let place = &fields.node.at("follow_redirects").place;
            let warning = Diagnostic::warning("not-followed", place, "follow_redirects: redirects are not followed");
            let help = "a redirect would take the alert, and what is secret in the request, to where nobody configured it";
            faults.0.push(warning.help(format!("{help}; give the final URL")));
        }
        Some(HttpOptions { authorization, headers, transport: Transport { tls, proxy, http2 }, timeout: REQUEST_TIMEOUT })
    }

    /// All that must not be seen: a redacted text may hold a header's value, or what was made into one.
    pub fn secrets(&self) -> Vec<&Secret> {
        let proxy = match &self.transport.proxy {
            Proxy::Given { url, .. } => Some(url),
            _ => None,
        };
        let authorization = self.authorization.iter().flat_map(|authorization| [&authorization.header, &authorization.secret]);
        let headers = self.headers.iter().map(|(_, value)| value);
        authorization.chain(headers).chain(proxy).chain(self.transport.tls.secrets()).collect()
    }
}

/// The value of the header, from the one key that says it.
fn authorization(fields: &mut Fields<'_>, faults: &mut Faults) -> Option<Authorization> {
    let basic = fields.nested("basic_auth", faults, basic_auth);
    let general = fields.nested("authorization", faults, |fields, faults| {
        let kind = fields.optional("type", faults, yaml::TEXT.then(scheme)).unwrap_or_else(|| "Bearer".to_owned());
        let credentials = either(fields, faults, ["credentials", "credentials_file"]);
        Authorization::new(&kind, credentials?, fields, faults)
    });
    let bearer = either(fields, faults, ["bearer_token", "bearer_token_file"]);
    let bearer = bearer.and_then(|token| Authorization::new("Bearer", token, fields, faults));
    if let Some(node) = fields.node("oauth2") {
        let help = "use `authorization` with a token that does not end, or let a proxy that knows OAuth 2 stand between";
        faults.error_help("unsupported", node, "oauth2 is not supported", help);
    }
    let ways = ["basic_auth", "authorization", "bearer_token", "bearer_token_file"];
    let given: Vec<_> = ways.into_iter().filter_map(|way| Some((way, fields.node(way)?))).collect();
    if let [(first, _), (second, node), ..] = given.as_slice() {
        let message = format!("both `{first}` and `{second}` are set");
        faults.error_help("conflicting-keys", node, message, "a request carries one authorization: remove one of them");
    }
    basic.or(general).or(bearer)
}

fn basic_auth(fields: &mut Fields<'_>, faults: &mut Faults) -> Option<Authorization> {
    let name = either(fields, faults, ["username", "username_file"]);
    let password = either(fields, faults, ["password", "password_file"]);
    let name = name.as_ref().map_or("", Secret::reveal);
    let secret = password.unwrap_or_else(|| Secret::new(""));
    if name.contains(':') {
        faults.error("bad-value", fields.node.at("username"), "username: the name may not hold a colon");
    }
    let header = Secret::new(format!("Basic {}", BASE64.encode(format!("{name}:{}", secret.reveal()))));
    Some(Authorization { header, secret })
}

/// A secret under one of two keys, or none.
pub fn either(fields: &mut Fields<'_>, faults: &mut Faults, [key, file_key]: [&'static str; 2]) -> Option<Secret> {
    fields.constrain(|| json!({ "not": { "required": [key, file_key] } }));
    if let (Some(_), Some(file)) = (fields.node_of(key, yaml::SECRET), fields.node_of(file_key, yaml::SECRET_FILE)) {
        faults.error_help("conflicting-keys", file, format!("both `{key}` and `{file_key}` are set"), "remove one of them");
        return None;
    }
    fields.optional(key, faults, yaml::SECRET).or_else(|| fields.optional(file_key, faults, yaml::SECRET_FILE))
}

fn scheme(text: String) -> Result<String, String> {
    match text.trim() {
        name if name.eq_ignore_ascii_case("basic") => Err("write it as `basic_auth`".to_owned()),
        name if name.bytes().all(|b| b.is_ascii_graphic()) && !name.is_empty() => Ok(name.to_owned()),
        _ => Err("is no scheme such as Bearer".to_owned()),
    }
}

/// Headers that belong to the request itself.
const RESERVED: [&str; 11] = [
    "accept-encoding",
    "authorization",
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "host",
    "keep-alive",
    "proxy-authorization",
    "transfer-encoding",
    "user-agent",
];

/// `http_headers: {X-Scope: {values: [a], secrets: [b], files: [/run/c]}}`
fn headers(fields: &mut Fields<'_>, faults: &mut Faults) -> Vec<(String, Secret)> {
    let values = || {
        yaml::schema(|fields, faults| {
            header(fields, faults);
        })
    };
    let mut found = Vec::new();
    for (name, node) in fields.entries("http_headers", faults, values) {
        let lower = name.key_name().to_ascii_lowercase();
        if HeaderName::from_bytes(lower.as_bytes()).is_err() {
            faults.error("bad-value", name, format!("`{}` is no name of a header", name.key_name()));
        } else if RESERVED.contains(&lower.as_str()) {
            faults.error("bad-value", name, format!("the header `{}` is set by modelwatch", name.key_name()));
        }
        let values = node.map(faults, |fields, faults| Some(header(fields, faults))).unwrap_or_default();
        for value in values {
            if HeaderValue::from_str(value.reveal()).is_err() {
                faults.error("bad-value", node, NO_HEADER);
                continue;
            }
            found.push((lower.clone(), value));
        }
    }
    found
}

fn header(fields: &mut Fields<'_>, faults: &mut Faults) -> Vec<Secret> {
    let values = fields.optional("values", faults, yaml::list(yaml::SECRET)).unwrap_or_default();
    let secrets = fields.optional("secrets", faults, yaml::list(yaml::SECRET)).unwrap_or_default();
    let files = fields.optional("files", faults, yaml::list(yaml::SECRET_FILE)).unwrap_or_default();
    values.into_iter().chain(secrets).chain(files).collect()
}

fn proxy(fields: &mut Fields<'_>, faults: &mut Faults) -> Proxy {
    let url = fields.optional("proxy_url", faults, yaml::SECRET.then(proxy_url));
    let except = fields.optional("no_proxy", faults, yaml::TEXT);
    let environment = fields.optional("proxy_from_environment", faults, yaml::BOOLEAN).unwrap_or(false);
    if let Some(node) = fields.node_as("proxy_connect_header", || json!({ "type": "object" }))
        && !matches!(&node.value, Value::Map(pairs) if pairs.is_empty())
    {
        let help = "a name and a password of the proxy can stand in `proxy_url`: http://name:password@proxy:3128";
        faults.error_help("unsupported", node, "proxy_connect_header is not supported", help);
    }
    if let Some(node) = fields.node("proxy_url").filter(|_| environment) {
        let message = "both `proxy_url` and `proxy_from_environment` are set";
        faults.error_help("conflicting-keys", node, message, "remove one of them");
    }
    if let Some(node) = fields.node("no_proxy").filter(|_| fields.node("proxy_url").is_none()) {
        let help = "set `proxy_url` too; with `proxy_from_environment` the variable NO_PROXY counts";
        faults.error_help("missing-key", node, "`no_proxy` without `proxy_url` means nothing", help);
    }
    match url {
        Some(url) => Proxy::Given { url, except: except.unwrap_or_default() },
        None if environment => Proxy::Environment,
        None => Proxy::None,
    }
}

fn proxy_url(url: Secret) -> Result<Secret, String> {
    let parsed = Url::parse(url.reveal()).ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
    parsed.map(|_| url).ok_or_else(|| "must be a URL of a proxy that begins with http:// or https://".to_owned())
}
