use super::*;

fn at(text: &str) -> Time {
    Time::parse(text).unwrap()
}

/// What is wrong with a fault: its status, and its body without what encloses it.
fn shown(fault: Fault) -> String {
    match fault {
        Fault::Said(status, sentence) => format!("{} {sentence}", status.as_u16()),
        Fault::Schema(status, code, message) => format!("{} {code} {message}", status.as_u16()),
        Fault::Bare(status) => status.as_u16().to_string(),
    }
}

#[test]
fn instants_have_three_digits() {
    #[track_caller]
    fn check(read: &str, written: &str) {
        let instant: Instant = serde_json::from_value(json!(read)).unwrap();
        assert_eq!(serde_json::to_value(instant).unwrap(), written);
    }
    check("2026-11-21T10:00:00Z", "2026-11-21T10:00:00.000Z");
    check("2026-11-21T12:00:00.123999999+02:00", "2026-11-21T10:00:00.123Z");
    check("1969-12-31T23:59:59.9995Z", "1969-12-31T23:59:59.999Z");
    check("", "1970-01-01T00:00:00.000Z");
    check("0001-01-01T00:00:00Z", "0001-01-01T00:00:00.000Z");
    assert!(serde_json::from_value::<Instant>(json!("yesterday")).is_err());
}

#[test]
fn alerts_are_read() {
    #[track_caller]
    fn check(body: serde_json::Value, expected: Result<Incoming, &str>) {
        let read = serde_json::from_value::<PostableAlert>(body.clone()).unwrap().incoming(3).map_err(shown);
        assert_eq!(read.as_ref().map_err(String::as_str), expected.as_ref().map_err(|text| *text), "{body}");
    }
    let labels: Labels = [("alertname", "a")].into_iter().collect();
    let bare = Incoming { labels: labels.clone(), ..Incoming::default() };
    // What is empty, null or unknown is as if it were not there.
    check(json!({ "labels": { "alertname": "a", "b": "", "c": null }, "annotations": null, "x": 1 }), Ok(bare.clone()));
    check(json!({ "labels": { "alertname": "a" }, "startsAt": null, "endsAt": "0001-01-01T00:00:00Z" }), Ok(bare.clone()));
    let whole = json!({
        "labels": { "alertname": "a" },
        "annotations": { "summary": "s" },
        "startsAt": "2026-11-21T10:00:00Z",
        "endsAt": "2026-11-21T11:00:00Z",
        "generatorURL": "http://prometheus/graph?g0.expr=up+%3D%3D+0",
    });
    let read = Incoming {
        annotations: [("summary", "s")].into_iter().collect(),
        starts_at: Some(at("2026-11-21T10:00:00Z")),
        ends_at: Some(at("2026-11-21T11:00:00Z")),
        generator_url: "http://prometheus/graph?g0.expr=up+%3D%3D+0".to_owned(),
        ..bare.clone()
    };
    check(whole, Ok(read));
    check(json!({}), Err("422 602 3.labels in body is required"));
    check(json!({ "labels": null }), Err("422 602 3.labels in body is required"));
    check(
        json!({ "labels": {}, "generatorURL": "not a url" }),
        Err("422 601 3.generatorURL in body must be of type uri: \"not a url\""),
    );
}

#[test]
fn uris_are_what_go_takes_for_one() {
    for good in ["/x y", "http://a/b c", "urn:x", "http://[::1]:9090/", "grafana+x://y?z#w"] {
        assert!(is_uri(good), "{good}");
    }
    for bad in ["x", "a b", "1a:b", "http://a b/", "/x\ny", ":x", "-:x"] {
        assert!(!is_uri(bad), "{bad:?}");
    }
}

#[test]
fn silences_are_read() {
    #[track_caller]
    fn check(change: serde_json::Value, expected: &str) {
        let mut body = json!({
            "matchers": [{ "name": "a", "value": "b", "isRegex": false }],
            "startsAt": "2026-11-21T10:00:00Z",
            "endsAt": "2026-11-21T12:00:00Z",
            "createdBy": "me",
            "comment": "",
        });
        change.as_object().unwrap().iter().for_each(|(key, value)| body[key] = value.clone());
        let read = serde_json::from_value::<PostableSilence>(body.clone()).unwrap().draft();
        let read = read.map_or_else(shown, |draft| format!("{} {}", draft.id.as_deref().unwrap_or("new"), draft.matchers));
        assert_eq!(read, expected, "{body}");
    }
    let matchers = |items: serde_json::Value| json!({ "matchers": items });
    check(json!({}), "new {a=\"b\"}");
    check(json!({ "id": "" }), "new {a=\"b\"}");
    check(json!({ "id": "x" }), "x {a=\"b\"}");
    let four = [(true, false), (false, false), (true, true), (false, true)];
    let four = four.map(|(equal, regex)| json!({ "name": "a", "value": "b", "isRegex": regex, "isEqual": equal }));
    check(matchers(json!(four)), "new {a=\"b\",a!=\"b\",a=~\"b\",a!~\"b\"}");
    // In the order in which Alertmanager looks.
    check(json!({ "comment": null, "matchers": [] }), "422 602 comment in body is required");
    check(json!({ "createdBy": null, "endsAt": null }), "422 602 createdBy in body is required");
    check(json!({ "endsAt": null, "startsAt": null }), "422 602 endsAt in body is required");
    check(json!({ "matchers": null, "startsAt": null }), "422 602 matchers in body is required");
    check(json!({ "matchers": [], "startsAt": null }), "422 612 matchers in body should have at least 1 items");
    check(json!({ "startsAt": null }), "422 602 startsAt in body is required");
    check(matchers(json!([{}])), "422 602 matchers.0.isRegex in body is required");
    check(matchers(json!([{ "isRegex": true }])), "422 602 matchers.0.name in body is required");
    check(matchers(json!([{ "isRegex": true, "name": "a" }])), "422 602 matchers.0.value in body is required");
    check(
        matchers(json!([{ "name": "a", "value": "(", "isRegex": true }])),
        "400 silence invalid: invalid label matcher 0: invalid regular expression \"(\": `(` is no regular expression: unclosed group",
    );
}

#[test]
fn only_json_is_read() {
    #[track_caller]
    fn check(content_type: Option<&str>, body: &'static str, expected: Result<Vec<u8>, &str>) {
        let mut headers = HeaderMap::new();
        if let Some(content_type) = content_type {
            headers.insert(header::CONTENT_TYPE, content_type.parse().unwrap());
        }
        let read = read::<Vec<u8>>("alerts", &headers, Ok(Bytes::from_static(body.as_bytes()))).map_err(shown);
        assert_eq!(read.as_ref().map_err(String::as_str), expected.as_ref().map_err(|text| *text), "{content_type:?} {body}");
    }
    check(Some("application/json"), "[1]", Ok(vec![1]));
    check(Some("Application/JSON; charset=utf-8"), "[1]", Ok(vec![1]));
    for other in ["text/plain", "application/x-www-form-urlencoded", "text/plain; x=application/json", "application/jsonx"] {
        let expected = format!("415 415 unsupported media type \"{other}\", only [application/json] are allowed");
        check(Some(other), "[1]", Err(&expected));
    }
    check(None, "[1]", Err("415 415 unsupported media type \"\", only [application/json] are allowed"));
    check(Some("application/json"), "", Err("422 602 alerts in body is required"));
    check(
        Some("application/json"),
        "[",
        Err("400 400 parsing alerts body from \"\" failed, because EOF while parsing a list at line 1 column 1"),
    );
}
