//! `tls_config`: whom a connection trusts, and who we are to it. Files are read with the configuration.

use std::fs::File;
use std::io::Read as _;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};

use crate::secret::Secret;
use crate::yaml::{self, Faults, Fields, Node, Type};

/// What a file of certificates may hold: ten times what a system trusts. A longer one was named by mistake, or never ends.
const PEM_BYTES: u64 = 4 * 1024 * 1024;

/// TLS to a receiver.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsOptions {
    /// Certificates in PEM of those to trust instead of those that the system trusts.
    pub ca: Option<String>,
    /// What we show: certificates in PEM, and their key.
    pub identity: Option<(String, Secret)>,
    /// The name that the certificate must be for, where it is not that of the URL.
    pub server_name: Option<String>,
    /// Whether any certificate will do.
    pub insecure_skip_verify: bool,
    /// The oldest version to speak; 1.2 where it is older.
    pub min_version: Option<TlsVersion>,
    /// The newest version to speak.
    pub max_version: Option<TlsVersion>,
}

/// A version of TLS that can be spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TlsVersion {
    /// 1.2
    Tls12,
    /// 1.3
    Tls13,
}

/// Nothing older than 1.2 is spoken, so that asking for at least 1.0 is asking for 1.2.
const MIN_VERSIONS: &[(&str, TlsVersion)] =
    &[("TLS10", TlsVersion::Tls12), ("TLS11", TlsVersion::Tls12), ("TLS12", TlsVersion::Tls12), ("TLS13", TlsVersion::Tls13)];
const MAX_VERSIONS: &[(&str, TlsVersion)] = &[("TLS12", TlsVersion::Tls12), ("TLS13", TlsVersion::Tls13)];

/// A file in PEM that is no secret.
const PEM_FILE: Type<String> = Type::new(pem_file, || serde_json::json!({ "type": "string" }));

impl TlsOptions {
    /// Reads the keys of a `tls_config`.
    pub fn parse(fields: &mut Fields<'_>, faults: &mut Faults) -> Option<TlsOptions> {
        let node = fields.node;
        let ca = one(fields, faults, ("ca", yaml::TEXT.then(certificates)), ("ca_file", PEM_FILE.then(certificates)));
        let cert = one(fields, faults, ("cert", yaml::TEXT.then(certificates)), ("cert_file", PEM_FILE.then(certificates)));
        let key = one(fields, faults, ("key", yaml::SECRET.then(private_key)), ("key_file", yaml::SECRET_FILE.then(private_key)));
        let given = |names: [&str; 2]| names.iter().any(|name| !std::ptr::eq(node.at(name), node));
        if given(["cert", "cert_file"]) != given(["key", "key_file"]) {
            let help = "both name what we show to the receiver; leave out both where it asks for none";
            faults.error_help("missing-key", node, "`cert_file` and `key_file` belong together", help);
        }
        let insecure_skip_verify = fields.optional("insecure_skip_verify", faults, yaml::BOOLEAN).unwrap_or(false);
        let server_name = fields.optional("server_name", faults, yaml::TEXT.then(server_name));
        let min_version = fields.optional("min_version", faults, yaml::one_of(MIN_VERSIONS));
        let max_version = fields.optional("max_version", faults, yaml::one_of(MAX_VERSIONS));
        if max_version.is_some() && max_version < min_version {
            faults.error("bad-value", node.at("max_version"), "max_version: is older than `min_version`");
        }
        Some(TlsOptions { ca, identity: cert.zip(key), server_name, insecure_skip_verify, min_version, max_version })
    }

    /// All that must not be seen.
    pub fn secrets(&self) -> Vec<&Secret> {
        self.identity.iter().map(|(_, key)| key).collect()
    }
}

/// What stands under one of two keys.
fn one<T>(
    fields: &mut Fields<'_>,
    faults: &mut Faults,
    (key, read): (&'static str, impl yaml::Read<T>),
    (file_key, read_file): (&'static str, impl yaml::Read<T>),
) -> Option<T> {
    fields.constrain(|| serde_json::json!({ "not": { "required": [key, file_key] } }));
    let (written, filed) = (fields.optional(key, faults, read), fields.optional(file_key, faults, read_file));
    if let (Some(_), Some(file)) = (fields.node(key), fields.node(file_key)) {
        faults.error_help("conflicting-keys", file, format!("both `{key}` and `{file_key}` are set"), "remove one of them");
    }
    written.or(filed)
}

fn pem_file(node: &Node) -> Result<String, String> {
    let path = node.place.beside(&yaml::text(node)?);
    let mut content = String::new();
    let read = File::open(&path).and_then(|file| file.take(PEM_BYTES + 1).read_to_string(&mut content));
    let read = read.map_err(|e| format!("cannot read {}: {e}", path.display()))?;
    if read as u64 > PEM_BYTES { Err(format!("{} is too long for certificates", path.display())) } else { Ok(content) }
}

fn certificates(pem: String) -> Result<String, String> {
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
    match read {
        Ok(found) if !found.is_empty() => Ok(pem),
        _ => Err("holds no certificates in PEM (-----BEGIN CERTIFICATE-----)".to_owned()),
    }
}

fn private_key(pem: Secret) -> Result<Secret, String> {
    let read = PrivateKeyDer::from_pem_slice(pem.reveal().as_bytes());
    read.map(|_| pem).map_err(|_| "holds no private key in PEM (-----BEGIN PRIVATE KEY-----)".to_owned())
}

fn server_name(name: String) -> Result<String, String> {
    match ServerName::try_from(name.as_str()) {
        Ok(_) => Ok(name),
        Err(_) => Err(format!("`{name}` is no name of a host")),
    }
}
