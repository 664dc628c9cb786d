//! The pages: what they escape, whom their forms serve, and that they can be used without seeing them.

use std::time::Duration;

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::access::{Answer, FORM, Site, basic, web};
use crate::daemon::SOON;
use crate::ground::until;

/// The value of the hidden field `csrf` of a page.
fn token(page: &str) -> String {
    let (_, rest) = page.split_once("name=\"csrf\" value=\"").unwrap();
    rest.split_once('"').unwrap().0.to_owned()
}

fn form(fields: &[(&str, &str)]) -> String {
    reqwest::Url::parse_with_params("http://x/", fields).unwrap().query().unwrap().to_owned()
}

#[tokio::test]
async fn pages_escape_what_they_show_and_need_their_own_token() {
    let dir = tempfile::tempdir().unwrap();
    let site = Site::start(dir.path(), "").await;
    let evil = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>";
    site.fire(json!({ "alertname": evil, "org": evil })).await;
    let told = async || Some(site.get("/deliveries").await).filter(|page| page.body.contains("delivered"));
    until(SOON, "the delivery", told).await;
    let alerts: Value = serde_json::from_str(&site.get("/api/v1/alerts").await.body).unwrap();
    let fingerprint = alerts["alerts"][0]["fingerprint"].as_str().unwrap().to_owned();
    let groups: Value = serde_json::from_str(&site.get("/api/v1/groups").await.body).unwrap();
    let key = groups["groups"][0]["key"].as_str().unwrap().to_owned();
    let filter = format!("/silences/new?{}", form(&[("filter", "org=~\".+\"")]));
    let ack = format!("/ack?{}", form(&[("receiver", "oncall"), ("group", &key)]));
    let group = format!("/groups?{}", form(&[("group", &key)]));
    let alert = format!("/alerts/{fingerprint}");
    let bad_filter = format!("/silences/new?{}", form(&[("filter", evil)]));
    for path in ["/", &alert, &group, "/silences", &filter, &bad_filter, &ack, "/deliveries", "/alerts/nothing-like-it"] {
        let page = site.get(path).await;
        check_page(path, &page);
    }
    // What the links of a message lead to asks, and changes nothing.
    let page = site.get(&ack).await;
    assert!(page.body.contains("1 firing") && page.body.contains("<label for=\"author\">"), "{}", page.body);
    let acked = async || serde_json::from_str::<Value>(&site.get("/api/v1/acks").await.body).unwrap()["groups"].clone();
    assert_eq!(acked().await, json!([]));
    let fields = [("receiver", "oncall"), ("group", key.as_str()), ("author", "alice"), ("comment", evil)];
    let send = async |path: &str, token: &str, headers: &[(&str, &str)], fields: &[(&str, &str)]| {
        let body = form(&[&[("csrf", token)][..], fields].concat());
        let client = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).no_proxy().build().unwrap();
        let mut request = client.post(format!("http://{}{path}", site.address)).header(FORM.0, FORM.1).body(body);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.send().await.unwrap().status()
    };
    let good = token(&page.body);
    for bad in ["", "x", &good[1..], &format!("{good}A")] {
        assert_eq!(send("/ack", bad, &[], &fields).await, StatusCode::FORBIDDEN, "{bad}");
        assert_eq!(send("/silences/new", bad, &[], &[("filter", "a=b")]).await, StatusCode::FORBIDDEN);
        assert_eq!(send("/silences/x/expire", bad, &[], &[]).await, StatusCode::FORBIDDEN);
        assert_eq!(send("/deliveries/0/retry", bad, &[], &[]).await, StatusCode::FORBIDDEN);
    }
    assert_eq!(send("/ack", &good, &[("origin", "http://evil.example")], &fields).await, StatusCode::FORBIDDEN);
    assert_eq!(acked().await, json!([]));
    assert_eq!(send("/ack", &good, &[("origin", &format!("http://{}", site.address))], &fields).await, StatusCode::SEE_OTHER);
    assert_eq!(acked().await[0]["acknowledgement"]["by"], "alice");
    check_page("/ acknowledged", &site.get("/").await);
    assert_eq!(send("/ack", &good, &[], &[&fields[..], &[("undo", "yes")]].concat()).await, StatusCode::SEE_OTHER);
    assert_eq!(acked().await, json!([]));
    let silence = [("filter", "{org=~\".+\"}"), ("duration", "1h"), ("author", evil), ("comment", evil)];
    assert_eq!(send("/silences/new", &good, &[], &silence[..3]).await, StatusCode::BAD_REQUEST, "a comment is needed");
    assert_eq!(send("/silences/new", &good, &[], &silence).await, StatusCode::SEE_OTHER);
    let page = site.get("/silences").await;
    check_page("/silences with one", &page);
    let (_, id) = page.body.split_once("action=\"/silences/").unwrap();
    let expire = format!("/silences/{}", id.split_once('"').unwrap().0);
    assert_eq!(send(&expire, &good, &[], &[]).await, StatusCode::SEE_OTHER);
    assert!(!site.get("/silences").await.body.contains(&expire));
}

#[tokio::test]
async fn whoever_it_was_escalated_to_acknowledges_by_the_link() {
    let dir = tempfile::tempdir().unwrap();
    let config = "state: modelwatch.db
route: {receiver: oncall, group_by: [alertname], group_wait: 0s, escalation: [{after: 1s, receiver: lead}]}
receivers: [{name: oncall, stdout_configs: [{}]}, {name: lead, stdout_configs: [{}]}]
";
    let site = Site::launch(dir.path(), config).await;
    site.fire(json!({ "alertname": "A" })).await;
    let told = async || Some(site.get("/api/v1/deliveries?receiver=lead").await).filter(|page| page.body.contains("delivered"));
    until(SOON, "the escalation", told).await;
    let groups: Value = serde_json::from_str(&site.get("/api/v1/groups").await.body).unwrap();
    let key = groups["groups"][0]["key"].as_str().unwrap();
    let whose = form(&[("receiver", "lead"), ("group", key)]);
    let explained = site.get(&format!("/groups?{whose}")).await.body;
    assert!(explained.contains("escalated from oncall") && explained.contains(">Acknowledge</a>"), "{explained}");
    let page = site.get(&format!("/ack?{whose}")).await.body;
    assert!(page.contains("1 firing") && page.contains("<label for=\"author\">"), "{page}");
    let fields = form(&[("csrf", &token(&page)), ("receiver", "lead"), ("group", key), ("author", "bob")]);
    let sent = site.ask(Method::POST, "/ack", &[FORM], &fields).await;
    assert_eq!(sent.status, 200, "{}", sent.body);
    let acks: Value = serde_json::from_str(&site.get("/api/v1/acks").await.body).unwrap();
    assert_eq!(acks["groups"][0]["acknowledgement"]["by"], "bob");
    let nobody = site.get(&format!("/ack?{}", form(&[("receiver", "boss"), ("group", key)]))).await.body;
    assert!(nobody.contains("Nothing of this group fires"), "{nobody}");
}

/// No script, nothing from elsewhere, a strict policy; one main heading, in order; every input has its label.
fn check_page(path: &str, page: &Answer) {
    let body = &page.body;
    assert!(page.status == 200 || page.status == 404, "{path}: {} {body}", page.status);
    let policy = page.headers["content-security-policy"].to_str().unwrap();
    assert!(policy.starts_with("default-src 'none'; style-src 'self';") && !policy.contains("unsafe"), "{policy}");
    assert_eq!(page.headers["x-content-type-options"], "nosniff");
    for bad in ["<script", "<img", "onerror=alert(1)>", "style=\"", "src=\"http", "<link rel=\"stylesheet\" href=\"http"] {
        assert!(!body.contains(bad), "{path}: {bad} in {body}");
    }
    assert!(body.starts_with("<!doctype html>\n<html lang=\"en\">"), "{path}");
    assert_eq!(body.matches("<h1").count(), 1, "{path}");
    assert_eq!(body.matches("<main").count(), 1, "{path}");
    let title = body.split_once("<title>").unwrap().1.split_once("</title>").unwrap().0;
    assert!(!title.trim().is_empty() && !title.contains('<'), "{path}: {title}");
    let field = regex::Regex::new(r#"<(?:input|textarea|select)\b[^>]*>"#).unwrap();
    for found in field.find_iter(body).map(|found| found.as_str()).filter(|tag| !tag.contains("type=\"hidden\"")) {
        let id = found.split_once(" id=\"").unwrap_or_else(|| panic!("{path}: {found}")).1.split('"').next().unwrap();
        assert!(body.contains(&format!("<label for=\"{id}\">")), "{path}: {found} has no label");
    }
    let ids = regex::Regex::new(r#" id="([^"]+)""#).unwrap();
    let mut seen = std::collections::BTreeSet::new();
    for id in ids.captures_iter(body).map(|found| found[1].to_owned()) {
        assert!(seen.insert(id.clone()), "{path}: two elements have the id {id}");
    }
    for label in regex::Regex::new(r#"aria-(?:labelledby|describedby)="([^"]+)""#).unwrap().captures_iter(body) {
        assert!(seen.contains(&label[1]), "{path}: nothing has the id {}", &label[1]);
    }
    assert_eq!(body.matches("<th>").count(), 0, "{path}: headers of tables have a scope");
}

#[tokio::test]
async fn whoever_may_only_look_is_shown_no_buttons() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("web.yml"), web("")).unwrap();
    let site = Site::start(dir.path(), "web_config_file: web.yml\n").await;
    let page = async |by: &str| site.ask(Method::GET, "/silences/new?filter=a%3Db", &[("authorization", by)], "").await.body;
    let (alice, bob) = (page(&basic("alice", "alice1")).await, page(&basic("bob", "bob1")).await);
    assert!(alice.contains("method=\"post\"") && !bob.contains("method=\"post\""), "{bob}");
    assert!(!bob.contains("csrf"), "{bob}");
    // A token is of whom it was given to.
    let operator = web("").replace("roles: {bob: read}\n", "");
    std::fs::write(dir.path().join("web.yml"), operator).unwrap();
    site.daemon.logged("read again").await;
    let body = format!("csrf={}&filter=a%3Db&duration=1h&author=x&comment=x", token(&alice));
    let bob = basic("bob", "bob1");
    let sent = site.ask(Method::POST, "/silences/new", &[("authorization", &bob), FORM], &body).await;
    assert_eq!(sent.status, 403);
    tokio::time::timeout(Duration::from_secs(5), site.get("/-/ready")).await.unwrap();
}
