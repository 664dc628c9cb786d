//! A certificate authority of a test's own, made by openssl.

use std::path::{Path, PathBuf};
use std::process::Command;

pub struct Authority {
    dir: PathBuf,
    name: String,
}

/// A certificate and its key, in PEM.
pub struct Certificate {
    pub cert: PathBuf,
    pub key: PathBuf,
}

const CONFIG: &str = "[req]\ndistinguished_name = dn\nx509_extensions = ca\n[dn]\n[ca]\nbasicConstraints = critical,CA:TRUE\nkeyUsage = critical,keyCertSign,cRLSign\nsubjectKeyIdentifier = hash\n";

fn openssl(dir: &Path, arguments: &[&str]) {
    let output = Command::new("openssl").args(arguments).current_dir(dir).output().unwrap();
    assert!(output.status.success(), "openssl {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

impl Authority {
    pub fn new(dir: &Path, name: &str) -> Self {
        std::fs::write(dir.join(format!("{name}.cnf")), CONFIG).unwrap();
        let (config, key, cert) = (format!("{name}.cnf"), format!("{name}.key"), format!("{name}.pem"));
        let subject = format!("/CN={name}");
        let curve = "ec_paramgen_curve:prime256v1";
        openssl(
            dir,
            &[
                "req", "-x509", "-config", &config, "-newkey", "ec", "-pkeyopt", curve, "-nodes", "-days", "2", "-subj",
                &subject, "-keyout", &key, "-out", &cert,
            ],
        );
        Self { dir: dir.to_owned(), name: name.to_owned() }
    }

    /// The certificate to trust.
    pub fn file(&self) -> PathBuf {
        self.dir.join(format!("{}.pem", self.name))
    }

    /// A certificate for `names`, such as `DNS:localhost,IP:127.0.0.1`.
    pub fn certificate(&self, file: &str, names: &str) -> Certificate {
        let (ca, ca_key) = (format!("{}.pem", self.name), format!("{}.key", self.name));
        let (key, request, cert, extensions) =
            (format!("{file}.key"), format!("{file}.csr"), format!("{file}.pem"), format!("{file}.ext"));
        let text = format!("basicConstraints = CA:FALSE\nextendedKeyUsage = serverAuth,clientAuth\nsubjectAltName = {names}\n");
        std::fs::write(self.dir.join(&extensions), text).unwrap();
        let config = format!("{}.cnf", self.name);
        let subject = format!("/CN={file}");
        let curve = "ec_paramgen_curve:prime256v1";
        openssl(
            &self.dir,
            &[
                "req", "-config", &config, "-newkey", "ec", "-pkeyopt", curve, "-nodes", "-subj", &subject, "-keyout", &key,
                "-out", &request,
            ],
        );
        openssl(
            &self.dir,
            &[
                "x509",
                "-req",
                "-in",
                &request,
                "-CA",
                &ca,
                "-CAkey",
                &ca_key,
                "-CAcreateserial",
                "-days",
                "2",
                "-extfile",
                &extensions,
                "-out",
                &cert,
            ],
        );
        Certificate { cert: self.dir.join(cert), key: self.dir.join(key) }
    }
}
