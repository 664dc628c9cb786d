//! Which values of a file are secret, and so not shown.

use std::sync::LazyLock;

use regex::Regex;

use super::{Node, Value};

/// Where an unknown key may be that of a secret; what else is at the top is known, or mistyped.
const PUBLIC: [&str; 8] =
    ["groups", "rules", "route", "inhibit_rules", "time_intervals", "mute_time_intervals", "rule_files", "tests"];

/// Hides what is secret by the names of its keys, whoever reads it or gives up before.
pub(super) fn by_name(root: &Node) {
    static SECRET: LazyLock<Option<Regex>> = LazyLock::new(|| {
        let name = "(?:(?:slack_)?api_|app_|pagerduty_|proxy_|webhook_)?urls?|(?:api|routing|service|user)_key";
        Regex::new(&format!("^(?:(?:{name}|[a-z_]*(?:password|secret|token)|secrets|credentials)(?:_file)?|token_sha256)$")).ok()
    });
    let Some(secret) = &*SECRET else { return root.hide() };
    match &root.value {
        Value::List(items) => items.iter().for_each(by_name),
        Value::Map(pairs) => {
            for (key, value) in pairs {
                let name = key.key_name();
                match name {
                    "tls_config" | "tls_server_config" => value.at("key").hide_unless(value),
                    "basic_auth_users" => value.hide(),
                    _ if secret.is_match(name) && !matches!(value.value, Value::Map(_)) => value.hide_secret(name),
                    _ => {}
                }
                by_name(value);
            }
        }
        _ => {}
    }
}

impl Node {
    /// Hides all scalars in it.
    pub fn hide(&self) {
        let file = &self.place.file;
        match &self.value {
            Value::Null => {}
            Value::List(items) => items.iter().for_each(Node::hide),
            // A key without a value may be all that there is of one.
            Value::Map(pairs) => pairs.iter().for_each(|(key, value)| match value.value {
                Value::Null => key.hide(),
                _ => value.hide(),
            }),
            Value::Text(text) => file.hide(&self.place.bytes, text),
            Value::Bool(_) | Value::Number(_) => file.hide(&self.place.bytes, self.written()),
        }
    }

    /// Hides the value of a secret's key. The name of a file is shown, where it is one.
    pub(super) fn hide_secret(&self, key: &str) {
        match &self.value {
            Value::Text(text) if key.ends_with("file") && !(text.contains("://") || text.contains('\n')) => {}
            Value::List(items) if key == "files" => items.iter().for_each(|item| item.hide_secret("file")),
            _ => self.hide(),
        }
    }

    /// Hides it where its key could be that of a secret, mistyped.
    pub(super) fn hide_in_zone(&self) {
        let before = &self.place.file.text[..self.place.bytes.start];
        let top = before.lines().rev().find(|line| line.starts_with(|c: char| !c.is_whitespace() && !"-#}]".contains(c)));
        let key = top.and_then(|line| line.split_once(':')).map_or("", |(key, _)| key.trim_matches(['"', '\'']));
        if !PUBLIC.contains(&key) {
            self.hide();
        }
    }

    fn hide_unless(&self, absent: &Node) {
        if !std::ptr::eq(self, absent) {
            self.hide();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Faults, parse};
    use super::*;
    use crate::notify;

    /// What excerpts show of a file of receivers, and all that is said of it.
    fn shown(text: &str) -> (String, String) {
        let mut faults = Faults::default();
        let root = parse("t", text, &mut faults);
        let place = root.as_ref().map(|root| root.place.clone()).or_else(|| faults.0.first()?.place.clone()).unwrap();
        if let Some(root) = root.filter(|root| matches!(root.value, Value::Map(_))) {
            root.map(&mut faults, |fields, faults| {
                fields.each("receivers", faults, |fields, faults| {
                    Some(notify::integrations("x", fields, faults, &notify::Globals::default()))
                });
                Some(())
            });
        }
        (place.file.shown(), faults.0.iter().map(|fault| format!("{fault}\n{}", fault.render(false))).collect())
    }

    #[test]
    fn excerpts_hide_what_may_be_secret() {
        for (text, expected) in [
            ("url: postgres://me:pass@host/db", "url: postgres://***************"),
            ("a:\n  url: \"postgres://me:${PG}@host\" # x", "a:\n  url: \"postgres://***${PG}*****\" # x"),
            ("- {api_url: https://h/x, send_resolved: true}", "- {api_url: https://***, send_resolved: true}"),
            ("- routing_key: abc", "- routing_key: ***"),
            ("- {'routing_key': 'abc', x: y}", "- {'routing_key': '***', x: y}"),
            ("- routing_key: ${KEY}", "- routing_key: ${KEY}"),
            ("- routing_key: \u{e9}\u{e9}", "- routing_key: ****"),
            ("- url_file: /run/secrets/url", "- url_file: /run/secrets/url"),
            ("- url_file: https://h/x", "- url_file: https://***"),
            ("- external_url: http://me:9464", "- external_url: http://me:9464"),
            ("- external_url: http://me:x@h", "- external_url: http://****@h"),
            ("- runbook_url: https://runbooks/x", "- runbook_url: https://runbooks/x"),
            (
                "- {url: a://b, hmac_secret: SECRET, hmac_secret_file: /nope}",
                "- {url: a://*, hmac_secret: ******, hmac_secret_file: /nope}",
            ),
            ("- authorization: {credentials: 'a b'}", "- authorization: {credentials: '***'}"),
            ("- {time to first token: ms}", "- {time to first token: ms}"),
            ("- url: 'a://b c, d' # e", "- url: 'a://******' # e"),
            ("- x: [1\n  url: SECRET\n  SECRET", "- x: **\n  url: ******\n  ******"),
            ("# url: http://h/SECRET\n- x", "# url: http://********\n- x"),
        ] {
            assert_eq!(shown(text).0, expected, "{text}");
        }
    }

    #[test]
    fn no_way_to_write_a_secret_shows_it() {
        for item in [
            "{url: http://h/x, hmac_secret: SECRETA, hmac_secret_file: /nope}",
            "{\"url\":\"http://h/SECRET\",\"hmac_secret\":\"SECRET\",\"x\":1}",
            "{url:http://h/SECRET}",
            "{hmac_secret:SECRET}",
            "\n        url: >-\n          http://h/SECRET\n          SECRET\n        x: 1",
            "\n        url: http://h\n        hmac_secret: |\n          SECRET\n\n          SECRET\n        x: 1",
            "\n        url:\n          http://h/SECRET\n        x: 1",
            "\n        url: http://h\n        hmac_secret: one\n          SECRET\n        x: 1",
            "\n        url: http://h\n        hmac_secret: \"one\n          SECRET\"\n        x: 1",
            "{url: http://h, hmac_secret: !!str SECRET, x: 1}",
            "{url: http://h, hmac_secret: &a SECRET, x: 1}",
            "{x: &a SECRET, url: http://h, hmac_secret: *a}",
            "{max_alerts: &a SECRET, url: http://h, hmac_secret: *a, x: 1}",
            "{url: http://h, hmac_secret: \"one\\\"SECRET\", x: 1}",
            "{url: http://h, hmac_secret: 'one''SECRET', x: 1}",
            "\n        ? hmac_secret\n        : SECRET\n        x: 1",
            "{url: http://h, http_config: {tls_config: {key: \"SECRET\"}}, x: 1}",
            "{url: http://h, http_config: {http_headers: {X-A: {values: [SECRET, SECRET], secrets: [SECRET]}}}, x: 1}",
            "{urls: http://h/SECRET}",
            "{hmacsecret: SECRET}",
            "{hmacsecret: [SECRET, {a: SECRET}]}",
            "{url: http://h, hmac_secret: {SECRET}}",
            "{url: http://h, hmac_secret: [SECRET]}",
            "http://h/SECRET",
            "{url: http://h/SECRET, url: http://h/SECRET}",
            "{url: http://h/SECRET, x: *SECRET}",
            "{url: http://h/SECRET, x: \"\\qSECRET\"}",
            "{url: http://h, hmac_secret: 1SECRET",
            "{url: http://h, hmac_secret: @SECRET}",
        ] {
            for text in [
                format!("receivers:\n  - name: x\n    webhook_configs:\n      - {item}\n"),
                format!("receivers:\n  - name: x\n    webhook_config:\n      - {item}\n"),
                format!("recievers:\n  - name: x\n    webhook_configs:\n      - {item}\n"),
            ] {
                let (shown, said) = shown(&text);
                assert!(!shown.contains("SECRET") && !said.contains("SECRET"), "{text}\n{shown}\n{said}");
                assert!(!said.is_empty(), "{text}");
            }
        }
    }
}
