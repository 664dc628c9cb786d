//! The web config file: the format of the Prometheus exporter toolkit (`docs/web-configuration.md` there), with `roles` and
//! `bearer_tokens` of our own. What it says of secrets shows in no fault.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum::http::{HeaderName, HeaderValue};
use rustls::ServerConfig;
use serde_json::json;
use sha2::{Digest, Sha256};

use super::{Role, tls};
use crate::diag::Diagnostic;
use crate::labels::sha256_hex;
use crate::secret::Secret;
use crate::yaml::{self, Faults, Fields, Node, Read, Value};

/// A hash that costs more takes seconds, at each first request of a user.
const DEAR_COST: u32 = 14;
/// A shorter token can be guessed.
const TOKEN_BYTES: usize = 16;

const ROLES: &[(&str, Role)] = &[("read", Role::Read), ("operator", Role::Operator)];

/// The headers that may be set, each with what it may say.
const HEADERS: [(&str, &[&str]); 5] = [
    ("Content-Security-Policy", &[]),
    ("X-Frame-Options", &["deny", "sameorigin"]),
    ("X-Content-Type-Options", &["nosniff"]),
    ("X-XSS-Protection", &[]),
    ("Strict-Transport-Security", &[]),
];

/// What the file says.
#[derive(Debug, Default)]
pub(super) struct Policy {
    pub tls: Option<Arc<ServerConfig>>,
    /// Nobody connects without a certificate.
    pub certificates_required: bool,
    /// For every answer.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    pub users: BTreeMap<String, User>,
    pub tokens: Vec<Token>,
    /// A hash that no password has, as dear as the dearest of the users.
    pub decoy: String,
}

#[derive(Debug)]
pub(super) struct User {
    /// bcrypt.
    pub hash: Secret,
    pub role: Role,
}

#[derive(Debug)]
pub(super) struct Token {
    /// SHA-256 of the token.
    pub digest: [u8; 32],
    pub role: Role,
    pub name: String,
}

impl Policy {
    /// Whether there are users or tokens.
    pub fn knows_anybody(&self) -> bool {
        !(self.users.is_empty() && self.tokens.is_empty())
    }

    /// What it does not ask for, though one before it did.
    pub fn lacks(&self, before: &Policy) -> Option<&'static str> {
        let lost = [
            (before.knows_anybody() && !self.knows_anybody(), "users or tokens"),
            (before.tls.is_some() && self.tls.is_none(), "TLS"),
            (before.certificates_required && !self.certificates_required, "client certificates"),
        ];
        lost.into_iter().find_map(|(is_lost, what)| is_lost.then_some(what))
    }
}

/// Reads the file; none where it is at fault.
pub(super) fn load(path: &Path, faults: &mut Faults) -> Option<Policy> {
    let name = path.display().to_string();
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) => {
            faults.0.push(Diagnostic::nowhere("no-file", format!("cannot read the web config file {name}: {error}")));
            return None;
        }
    };
    let mut found = Faults::default();
    let root = yaml::parse(&name, &text, &mut found);
    let says_nothing = |root: &&Node| match &root.value {
        Value::Null => true,
        Value::Map(pairs) => pairs.is_empty(),
        _ => false,
    };
    if let Some(root) = root.as_ref().filter(says_nothing) {
        let message = "the web config file says nothing: nobody is asked who they are";
        let help = "name users in `basic_auth_users`, or leave `web_config_file` out";
        found.0.push(Diagnostic::warning("empty-web-config", &root.place, message).help(help));
    }
    let policy = root.as_ref().and_then(|root| root.map(&mut found, parse));
    let broken = crate::diag::any_error(&found.0);
    faults.0.append(&mut found.0);
    policy.filter(|_| !broken)
}

fn parse(fields: &mut Fields<'_>, faults: &mut Faults) -> Option<Policy> {
    let tls_node = fields.node("tls_server_config");
    let tls = fields.nested("tls_server_config", faults, tls::parse);
    let headers = fields.nested("http_server_config", faults, |fields, faults| {
        // HTTP/1.1 is spoken, which every client can.
        fields.optional("http2", faults, yaml::BOOLEAN);
        Some(fields.nested("headers", faults, self::headers).unwrap_or_default())
    });
    let users = users(fields, faults);
    let mut number = 0;
    let tokens = fields.each("bearer_tokens", faults, |fields, faults| {
        number += 1;
        token(fields, number, faults)
    });
    if let Some(node) = fields.node("rate_limit") {
        let message = "rate_limit: requests are not limited here";
        faults.0.push(Diagnostic::warning("not-supported", &node.place, message).help("leave that to a proxy"));
    }
    let (users, headers) = (users?, headers.unwrap_or_default());
    if tls_node.is_some() && tls.is_none() {
        return None;
    }
    let (tls, certificates_required) = tls.map_or((None, false), |tls| (Some(tls.config), tls.certificates_required));
    if tls.is_none() && !(users.is_empty() && tokens.is_empty()) {
        let message = "passwords and tokens cross the network in the clear";
        let place = &fields.node.place;
        let help = "set `tls_server_config`, or let only a proxy with TLS connect";
        faults.0.push(Diagnostic::warning("no-tls", place, message).help(help));
    }
    let cost = |user: &User| user.hash.reveal().parse::<bcrypt::HashParts>().map_or(10, |parts| parts.get_cost());
    let decoy = decoy(users.values().map(cost).max().unwrap_or(10));
    Some(Policy { tls, certificates_required, headers, users, tokens, decoy })
}

/// A well-formed hash: the salt is none that anybody drew, and the digest that of no password that is known.
fn decoy(cost: u32) -> String {
    let (salt, digest) = ("modelwatchmodelwatch..", "modelwatchmodelwatchmodelwatch.");
    format!("$2b${cost:02}${salt}{digest}")
}

fn headers(fields: &mut Fields<'_>, faults: &mut Faults) -> Option<Vec<(HeaderName, HeaderValue)>> {
    let mut headers = Vec::new();
    for (name, allowed) in HEADERS {
        let Some(text) = fields.optional(name, faults, yaml::TEXT).filter(|text| !text.is_empty()) else { continue };
        let place = fields.node.at(name);
        if !allowed.is_empty() && !allowed.contains(&text.as_str()) {
            faults.error("bad-value", place, format!("{name}: must be {}", allowed.join(" or ")));
            continue;
        }
        match (name.parse(), text.parse()) {
            (Ok(name), Ok(value)) => headers.push((name, value)),
            _ => faults.error("bad-value", place, format!("{name}: this is no value of a header")),
        }
    }
    Some(headers)
}

fn users(fields: &mut Fields<'_>, faults: &mut Faults) -> Option<BTreeMap<String, User>> {
    let mut users = BTreeMap::new();
    for (key, value) in fields.entries("basic_auth_users", faults, || json!({ "type": "string" })) {
        let hash = yaml::text(value).unwrap_or_default();
        match hash.parse::<bcrypt::HashParts>() {
            Ok(parts) => {
                if parts.get_cost() > DEAR_COST {
                    let message = format!("{}: a cost of {} takes seconds", key.key_name(), parts.get_cost());
                    faults.0.push(Diagnostic::warning("dear-hash", &key.place, message).help("10 to 12 are usual"));
                }
                users.insert(key.key_name().to_owned(), User { hash: Secret::new(hash), role: Role::Operator });
            }
            Err(_) => {
                let help = "`htpasswd -nBC 10 \"\" | tr -d ':\\n'` makes one";
                let message = format!("{}: the password is no bcrypt hash", key.key_name());
                faults.error_help("bad-hash", key, message, help);
            }
        }
    }
    for (key, value) in fields.entries("roles", faults, || yaml::one_of(ROLES).schema()) {
        let role = yaml::one_of(ROLES).read(key.key_name(), value, faults);
        match (users.get_mut(key.key_name()), role) {
            (Some(user), Some(role)) => user.role = role,
            (None, _) => {
                let help = "roles are given to those in `basic_auth_users`; tokens have their own";
                faults.error_help("unknown-user", key, format!("there is no user `{}`", key.key_name()), help);
            }
            (Some(_), None) => {}
        }
    }
    Some(users)
}

fn token(fields: &mut Fields<'_>, number: usize, faults: &mut Faults) -> Option<Token> {
    let name = fields.optional("name", faults, yaml::TEXT).unwrap_or_else(|| format!("token {number}"));
    let role = fields.required("role", faults, yaml::one_of(ROLES));
    let filed = fields.optional("token_file", faults, yaml::SECRET_FILE);
    let digest = fields.optional("token_sha256", faults, yaml::TEXT.then(digest));
    fields.exactly_one(&["token_file", "token_sha256"]);
    match (fields.node("token_file"), fields.node("token_sha256")) {
        (Some(_), Some(node)) => {
            let message = "both `token_file` and `token_sha256` are set";
            faults.error_help("conflicting-keys", node, message, "remove one of them");
        }
        (None, None) => {
            let help = "token_file: grafana.token, or the digest that `sha256sum` prints for it";
            faults.error_help("missing-key", fields.node, "`token_file` or `token_sha256` is missing", help);
        }
        _ => {}
    }
    if let Some(token) = filed.as_ref().filter(|token| token.reveal().len() < TOKEN_BYTES) {
        let (node, bytes) = (fields.node.at("token_file"), token.reveal().len());
        let message = format!("token_file: {bytes} characters can be guessed; {TOKEN_BYTES} are the least");
        faults.error_help("weak-token", node, message, "`openssl rand -hex 32` makes one");
        return None;
    }
    let digest = digest.or_else(|| Some(Sha256::digest(filed?.reveal().as_bytes()).into()))?;
    Some(Token { digest, role: role?, name })
}

fn digest(text: String) -> Result<[u8; 32], String> {
    let digit = |at: usize| text.get(at..at + 2).and_then(|pair| u8::from_str_radix(pair, 16).ok());
    let bytes: Option<Vec<u8>> = (0..text.len()).step_by(2).map(digit).collect();
    bytes.and_then(|bytes| bytes.try_into().ok()).ok_or_else(|| "must be the 64 hex digits of SHA-256".to_owned())
}

/// What stands in the file and in those that it names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Content(BTreeMap<PathBuf, Option<String>>);

impl Content {
    /// As it is now.
    pub fn of(path: &Path) -> Content {
        let text = std::fs::read_to_string(path).ok();
        let name = path.display().to_string();
        let root = text.as_ref().and_then(|text| yaml::parse(&name, text, &mut Faults::default()));
        let named = root.iter().flat_map(|root| {
            let tls = ["cert_file", "key_file", "client_ca_file"].map(|key| root.at("tls_server_config").at(key));
            let tokens = root.at("bearer_tokens").items().iter().map(|token| token.at("token_file"));
            tls.into_iter().chain(tokens).filter_map(|node| Some(node.place.beside(&yaml::text(node).ok()?)))
        });
        let digest = |path: &Path| std::fs::read_to_string(path).ok().map(|text| sha256_hex(&text));
        let named = named.map(|path| (path.clone(), digest(&path)));
        Content(named.chain([(path.to_owned(), text.map(|text| sha256_hex(&text)))]).collect())
    }
}

#[cfg(test)]
mod tests;
