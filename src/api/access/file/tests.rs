use super::*;

fn read(text: &str) -> (Option<Policy>, Vec<String>) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("web.yml");
    std::fs::write(&path, text).unwrap();
    std::fs::write(dir.path().join("long.token"), "0123456789abcdef\n").unwrap();
    std::fs::write(dir.path().join("short.token"), "hunter2\n").unwrap();
    let mut faults = Faults::default();
    let policy = load(&path, &mut faults);
    let drawn: String = faults.0.iter().map(|fault| fault.render(false) + &fault.to_string()).collect();
    assert!(!drawn.contains("hunter2") && !drawn.contains("$2y$"), "{drawn}");
    let folder = dir.path().display().to_string();
    let lines = faults.0.iter().map(|fault| fault.to_string().replace(&format!("{folder}/"), ""));
    (policy, lines.collect())
}

const HASH: &str = "$2y$10$mDwo.lAisC94iLAyP81MCesa29IzH37oigHC/42V2pdJlUprsJPze";

#[test]
fn a_file_of_the_toolkit_is_read_as_it_is() {
    let text = format!(
        "http_server_config:\n  http2: false\n  headers:\n    X-Frame-Options: deny\n    X-XSS-Protection: ''\n\
         basic_auth_users:\n  alice: {HASH}\n  bob: '{HASH}'\n"
    );
    let (policy, faults) = read(&text);
    let policy = policy.unwrap();
    assert_eq!(faults.len(), 1, "{faults:?}");
    assert!(faults[0].contains("[no-tls]"));
    assert_eq!(policy.headers, [("x-frame-options".parse().unwrap(), "deny".parse().unwrap())]);
    assert!(policy.users.values().all(|user| user.role == Role::Operator && user.hash.reveal() == HASH));
    assert!(policy.knows_anybody() && !policy.certificates_required && policy.tls.is_none());
}

#[test]
fn roles_and_tokens_are_ours() {
    let digest = sha256_hex("another token");
    let text = format!(
        "basic_auth_users: {{alice: {HASH}, bob: {HASH}}}\nroles: {{bob: read}}\n\
         bearer_tokens: [{{name: grafana, role: read, token_file: long.token}}, {{role: operator, token_sha256: {digest}}}]\n"
    );
    let policy = read(&text).0.unwrap();
    assert_eq!([policy.users["alice"].role, policy.users["bob"].role], [Role::Operator, Role::Read]);
    let tokens: Vec<_> = policy.tokens.iter().map(|token| (token.name.as_str(), token.role)).collect();
    assert_eq!(tokens, [("grafana", Role::Read), ("token 2", Role::Operator)]);
    assert_eq!(policy.tokens[0].digest, *Sha256::digest(b"0123456789abcdef"));
    assert_eq!(policy.tokens[1].digest, *Sha256::digest(b"another token"));
}

#[test]
fn the_decoy_is_a_hash_that_takes_as_long_and_nobody_has() {
    assert_eq!(bcrypt::verify("x", &decoy(4)).ok(), Some(false));
    assert_eq!(decoy(12).parse::<bcrypt::HashParts>().unwrap().get_cost(), 12);
}

#[test]
fn an_empty_file_asks_nobody_and_says_so() {
    for text in ["", "# nothing\n", "~", "{}"] {
        let (policy, faults) = read(text);
        assert!(!policy.unwrap().knows_anybody());
        assert!(faults.len() == 1 && faults[0].contains("[empty-web-config]"), "{text}: {faults:?}");
    }
}

#[test]
fn faults_say_what_to_do_and_nothing_secret() {
    #[track_caller]
    fn check(text: &str, expected: &[&str]) {
        let (policy, faults) = read(text);
        assert!(policy.is_none(), "{text}");
        assert_eq!(faults.len(), expected.len(), "{text}: {faults:#?}");
        for (fault, expected) in faults.iter().zip(expected) {
            assert!(fault.contains(expected), "{text}: {fault}");
        }
    }
    check(
        "basic_auth_users: {alice: hunter2}",
        &["web.yml:1:20: alice: the password is no bcrypt hash [bad-hash]; hint: `htpasswd"],
    );
    check("basic_auth_users:\n  alice: hunter2", &["web.yml:2:3: alice: the password is no bcrypt hash"]);
    check("basic_auth_user: {alice: x}", &["did you mean `basic_auth_users`?"]);
    check("basic_auth_users: {alice: [hunter2}\n", &["[yaml]"]);
    check("roles: {carol: read}", &["there is no user `carol`"]);
    check(&format!("{{basic_auth_users: {{a: {HASH}}}, roles: {{a: admin}}}}"), &["neither `read` nor `operator`", "[no-tls]"]);
    check("bearer_tokens: [{role: read}]", &["`token_file` or `token_sha256` is missing"]);
    check("bearer_tokens: [{token_file: long.token}]", &["`role` is missing"]);
    check("bearer_tokens: [{role: read, token_file: short.token}]", &["7 characters can be guessed"]);
    check("bearer_tokens: [{role: read, token_sha256: hunter2}]", &["64 hex digits"]);
    check("bearer_tokens: [{role: read, token: hunter2}]", &["`token_file` or `token_sha256` is missing", "unknown key `token`"]);
    check("http_server_config: {headers: {X-Frame-Options: allow}}", &["X-Frame-Options: must be deny or sameorigin"]);
    check("http_server_config: {headers: {Server: x}}", &["unknown key `Server`"]);
    check("tls_server_config: {}", &["`cert_file` is missing", "`key_file` is missing"]);
    check("tls_server_config: {cert_file: no.crt, key: hunter2}", &["cannot read no.crt"]);
    check("tls_server_config: {cert: x, key: hunter2}", &["the file of the certificate holds none"]);
    check("tls_server_config: {cert: x, key: hunter2, client_ca: x}", &["nobody asks for them"]);
    check(
        "tls_server_config: {cert: x, key: hunter2, client_auth_type: RequireAndVerifyClientCert}",
        &["`client_ca_file` is missing"],
    );
    check("tls_server_config: {cert: x, key: hunter2, client_auth_type: RequestClientCert}", &["prove nothing"]);
    check("tls_server_config: {cert: x, key: hunter2, client_auth_type: Require}", &["is none of", "holds none"]);
    check("tls_server_config: {cert: x, key: hunter2, max_version: TLS11}", &["no version of TLS is left"]);
    check(
        "tls_server_config: {cert: x, key: hunter2, cipher_suites: [TLS_NOTHING]}",
        &["`TLS_NOTHING` is no cipher suite", "holds none"],
    );
    check(
        "tls_server_config: {cert: x, key: hunter2, cipher_suites: [TLS_RSA_WITH_AES_128_CBC_SHA]}",
        &["is not spoken here", "none of these cipher suites", "holds none"],
    );
    check("tls_server_config: {cert: x, key: hunter2, curve_preferences: [CurveP521]}", &["is none of X25519", "holds none"]);
    check("tls_server_config: {cert: x, key: hunter2, client_allowed_sans: [a]}", &["not compared", "holds none"]);
    check("rate_limit: {interval: 1s, burst: 20}\nroles: []\n", &["expected a map", "[not-supported]"]);
}
