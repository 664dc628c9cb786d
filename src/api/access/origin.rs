//! Requests that a browser makes because some page told it to (CSRF), and pages that come in by a name of their own for this
//! machine (DNS rebinding).
//!
//! A browser says where a request comes from: `Origin` with every request that may change something, `Sec-Fetch-Site` where
//! the connection can be trusted. Where that is another site the request is refused. A body must be JSON
//! ([`check_body`]), which a page can send elsewhere only after asking, and nobody answers that; forms of our own pages carry
//! a token instead. Programs say none of it and are not hindered.

use std::net::IpAddr;

use axum::http::{HeaderMap, HeaderName, header};

/// Refuses what a page of another site sends; `own` is the origin of ours behind a proxy, which may change `Host`.
pub(super) fn check(headers: &HeaderMap, own: Option<&str>) -> Result<(), String> {
    let site = text(headers, HeaderName::from_static("sec-fetch-site"));
    let fetched = site.is_none_or(|site| matches!(site, "same-origin" | "none"));
    let host = text(headers, header::HOST).unwrap_or_default();
    let origin = headers.get(header::ORIGIN).map(|origin| origin.to_str().unwrap_or_default());
    let is_host = |origin: &str| origin.split_once("://").is_some_and(|(_, from)| from.eq_ignore_ascii_case(host));
    let same = origin.is_none_or(|origin| is_host(origin) || own == Some(origin));
    if fetched && same { Ok(()) } else { Err("the request comes from a page of another site".to_owned()) }
}

/// Refuses a body that is no JSON.
pub(super) fn check_body(headers: &HeaderMap) -> Result<(), String> {
    let length = text(headers, header::CONTENT_LENGTH).unwrap_or("0");
    if length == "0" && !headers.contains_key(header::TRANSFER_ENCODING) {
        return Ok(());
    }
    let given = text(headers, header::CONTENT_TYPE).unwrap_or_default();
    let media = given.split(';').next().unwrap_or_default().trim();
    if media.eq_ignore_ascii_case("application/json") {
        return Ok(());
    }
    Err(format!("415: the body must be JSON with `Content-Type: application/json`, not `{}`", media.escape_debug()))
}

/// Refuses a name that is not ours, where whoever connects from this machine may do everything: a page may have had its own
/// name resolved to it. An address cannot be somebody else's.
pub(super) fn check_host(headers: &HeaderMap, own: Option<&str>) -> Result<(), String> {
    let Some(given) = headers.get(header::HOST) else { return Ok(()) };
    let given = given.to_str().unwrap_or_default();
    let host = match given.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, _)) => address,
        None => given.split(':').next().unwrap_or_default(),
    };
    let local = host.eq_ignore_ascii_case("localhost") || host.to_ascii_lowercase().ends_with(".localhost");
    if local || host.parse::<IpAddr>().is_ok() || own.is_some_and(|own| own.eq_ignore_ascii_case(host)) {
        return Ok(());
    }
    let host = host.escape_debug();
    Err(format!("`{host}` is not known as a name of this server; use localhost, or set `external_url: http://{host}:...`"))
}

/// Whether a URL leads to this machine.
pub(super) fn is_local(url: &str) -> bool {
    let url = reqwest::Url::parse(url).ok();
    url.as_ref().and_then(|url| url.host_str()).is_none_or(|host| {
        let address = host.trim_matches(['[', ']']).parse::<IpAddr>();
        host == "localhost" || host.ends_with(".localhost") || address.is_ok_and(|address| address.is_loopback())
    })
}

/// Whether a proxy passes it on, so that who connects is not who asks.
pub(super) fn is_forwarded(headers: &HeaderMap) -> bool {
    ["forwarded", "x-forwarded-for", "x-real-ip", "via"].iter().any(|name| headers.contains_key(*name))
}

fn text(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    headers.get(name).map(|value| value.to_str().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap())).collect()
    }

    #[test]
    fn other_sites_are_told_apart() {
        #[track_caller]
        fn refused(pairs: &[(&'static str, &'static str)], expected: bool) {
            let all: Vec<_> = [("host", "watch:9464")].iter().chain(pairs).copied().collect();
            assert_eq!(check(&headers(&all), Some("https://own.example")).is_err(), expected, "{pairs:?}");
        }
        refused(&[], false);
        refused(&[("origin", "http://watch:9464")], false);
        refused(&[("origin", "https://WATCH:9464")], false);
        refused(&[("origin", "https://own.example")], false);
        refused(&[("origin", "http://own.example")], true);
        refused(&[("origin", "http://watch:9465")], true);
        refused(&[("origin", "http://watch")], true);
        refused(&[("origin", "http://evil.example")], true);
        refused(&[("origin", "null")], true);
        refused(&[("origin", "")], true);
        refused(&[("sec-fetch-site", "same-origin")], false);
        refused(&[("sec-fetch-site", "none")], false);
        refused(&[("sec-fetch-site", "same-site")], true);
        refused(&[("sec-fetch-site", "cross-site")], true);
        refused(&[("sec-fetch-site", "same-origin"), ("origin", "http://evil.example")], true);
    }

    #[test]
    fn bodies_are_json() {
        #[track_caller]
        fn refused(pairs: &[(&'static str, &'static str)], expected: bool) {
            assert_eq!(check_body(&headers(pairs)).is_err(), expected, "{pairs:?}");
        }
        refused(&[], false);
        refused(&[("content-length", "0"), ("content-type", "application/x-www-form-urlencoded")], false);
        refused(&[("content-length", "2"), ("content-type", "application/json")], false);
        refused(&[("content-length", "2"), ("content-type", "Application/JSON; charset=utf-8")], false);
        refused(&[("content-length", "2")], true);
        refused(&[("transfer-encoding", "chunked")], true);
        refused(&[("transfer-encoding", "chunked"), ("content-type", "application/json")], false);
        refused(&[("content-length", "2"), ("content-type", "text/plain")], true);
        refused(&[("content-length", "2"), ("content-type", "text/plain; application/json")], true);
        refused(&[("content-length", "2"), ("content-type", "multipart/form-data")], true);
    }

    #[test]
    fn names_of_others_are_refused() {
        #[track_caller]
        fn refused(host: &'static str, expected: bool) {
            assert_eq!(check_host(&headers(&[("host", host)]), Some("watch.example.com")).is_err(), expected, "{host}");
        }
        refused("127.0.0.1:9464", false);
        refused("[::1]:9464", false);
        refused("localhost", false);
        refused("LocalHost:9464", false);
        refused("a.localhost:9464", false);
        refused("watch.example.com", false);
        refused("evil.example:9464", true);
        refused("localhost.evil.example", true);
        refused("", true);
        assert!(check_host(&headers(&[]), None).is_ok());
    }
}
