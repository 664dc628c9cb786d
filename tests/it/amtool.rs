//! `amtool`, command by command, and every endpoint of the API, against modelwatch and the real Alertmanager under the same
//! configuration with the same alerts and silences: both must say the same.
//!
//! What differs, and why:
//! - ids of silences and instants of now are each side's own, so the tests number the ones and hide the others;
//! - Debian's Alertmanager is 0.25: since then an alert's status has `mutedBy`, labels of alerts may have any name, and a
//!   `DELETE` of a silence that is not there is a 404 (it was a 500); modelwatch is as the later ones are;
//! - instants are shown in UTC, not in the zone in which they came;
//! - receivers are in the order of their names, not of the file;
//! - sentences that a parser of Go words are not imitated: the status, and who is at fault, are the same;
//! - `config show` shows what modelwatch made of the file.

mod sides;

use crate::ground::{missing, program};
use serde_json::{Value, json};
use sides::{Asked, Sides, UNKNOWN};

const CONFIG: &str = include_str!("amtool/alertmanager.yml");

/// Ends long after the test.
const END: &str = "2040-01-01T00:00:00Z";

fn alert(labels: Value, summary: &str) -> Value {
    json!({
        "labels": labels,
        "annotations": { "summary": summary },
        "startsAt": "2020-01-01T00:00:00.123456Z",
        "endsAt": END,
        "generatorURL": "http://prometheus/graph?g0.expr=up",
    })
}

/// One that quietens another, others that nothing quietens, and texts that must be escaped.
fn alerts() -> Value {
    json!([
        alert(json!({ "alertname": "Down", "host": "a", "severity": "critical", "team": "db" }), "a is down"),
        alert(json!({ "alertname": "Slow", "host": "a", "severity": "warning", "team": "db" }), "a is slow"),
        alert(json!({ "alertname": "Slow", "host": "b", "severity": "warning", "team": "web", "job": "z" }), "b is slow"),
        alert(json!({ "alertname": "Slow", "host": "c", "severity": "warning", "instance": "1" }), "c is slow"),
        alert(json!({ "alertname": "Disk", "host": "d", "severity": "page", "region": "eu", "team": "web" }), "d is full"),
        alert(json!({ "alertname": "Odd", "host": "\"q\" \\ ü\n<b>", "severity": "" }), "line\nbreak \"quoted\" ü"),
    ])
}

async fn both() -> Option<Sides> {
    for tool in ["amtool", "prometheus-alertmanager"] {
        if program(tool).is_none() {
            missing(tool);
            return None;
        }
    }
    let sides = Sides::start(CONFIG).await;
    sides.post(&alerts()).await;
    Some(sides)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn amtool_finds_the_same_alerts() {
    let Some(mut sides) = both().await else { return };
    sides.change("silence add host=c --author=me --comment=known --duration=1h").await;
    let silenced = sides.look("alert query --silenced -o simple").await;
    assert!(silenced.contains("c is slow") && silenced.contains("suppressed"), "{silenced}");
    let inhibited = sides.look("alert query --inhibited").await;
    assert!(inhibited.contains("a is slow"), "{inhibited}");
    let flags = ["", "--active", "--silenced", "--inhibited", "--unprocessed", "--active --silenced --inhibited --unprocessed"];
    for flags in flags {
        for output in ["simple", "extended", "json"] {
            sides.look(&format!("alert query {flags} -o {output}")).await;
        }
    }
    for matchers in [
        "alertname=Slow",
        "Slow",
        "alertname=~'S.*|Odd'",
        "Slow team=web",
        "severity!=warning",
        "alertname!~'D.*' host=~'[a-c]'",
        "team=''",
        "team!=''",
        "alertname=Odd",
        "'host=\"\\\"q\\\" \\\\ ü\\n<b>\"'",
        "nothing=here",
        "'=~'",
    ] {
        sides.look(&format!("alert query -a -s -i {matchers}")).await;
    }
    for receiver in ["database", "root", "'data.*|night'", "base", "nobody"] {
        let found = sides.look(&format!("alert query -a -s -i --receiver={receiver}")).await;
        assert_eq!(found.lines().count() > 1, !["base", "nobody"].contains(&receiver), "{receiver}: {found}");
    }
    sides
        .change(
            "alert add New host=n severity=page --annotation=summary=new --end=2040-01-01T00:00:00Z --generator-url=http://x/",
        )
        .await;
    sides.change("alert add alertname=Past host=p --start=2020-01-01T00:00:00Z --end=2020-01-02T00:00:00Z").await;
    sides.change("alert add host=nameless").await;
    sides.change("alert add bad-name=x").await;
    sides.change("alert add Backwards --start=2040-01-01T00:00:00Z --end=2020-01-02T00:00:00Z").await;
    let all = sides.look("alert query -a -s -i -o extended").await;
    assert!(all.contains("host=\"n\"") && !all.contains("host=\"p\""), "{all}");
    sides.agree();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn amtool_keeps_the_same_silences() {
    let Some(mut sides) = both().await else { return };
    for silence in [
        "alertname=Slow host=~'a|b' --author=me --comment='two words' --duration=1h",
        "Disk --author=you --comment=disk --start=2040-01-01T00:00:00Z --end=2040-01-02T00:00:00Z",
        "team!=db severity!~'crit.*' --author=me --comment='quoted \"x\"' --duration=30m",
        "alertname=Gone --author=me --comment=gone --duration=2h",
    ] {
        sides.change(&format!("silence add {silence}")).await;
    }
    for command in [
        "silence add --author=me --comment=x",
        "silence add team='' --author=me --comment=x",
        "silence add team=~'(' --author=me --comment=x",
        "silence add team=x --author=me",
        "silence add team=x --author=me --comment=x --start=2020-01-01T00:00:00Z --end=2020-01-02T00:00:00Z",
        "silence add team=x --author=me --comment=x --start=2040-01-02T00:00:00Z --end=2040-01-01T00:00:00Z",
    ] {
        sides.change(command).await;
    }
    queries(&mut sides).await;
    // In place, and as another one: what begins anew has another id.
    sides.change("silence update --duration=3h --comment=longer $1").await;
    sides.change("silence update --start=2040-01-01T12:00:00Z $2").await;
    sides.change("silence update --end=2040-01-03T00:00:00Z $2").await;
    sides.change("silence update").await;
    sides.change(&format!("silence update --duration=3h {UNKNOWN}")).await;
    queries(&mut sides).await;
    sides.change("silence expire $4").await;
    sides.change("silence expire $4").await;
    sides.change("silence expire not-an-id").await;
    queries(&mut sides).await;
    let exported = sides.theirs.amtool("silence query -o json alertname=Slow").await;
    assert!(exported.contains("longer"), "{exported}");
    // The ids of one side are unknown to the other.
    let ending = |end: &str| {
        let mut exported: Value = serde_json::from_str(&exported).unwrap();
        exported[0].as_object_mut().unwrap().remove("id");
        exported[0]["endsAt"] = json!(end);
        exported.to_string()
    };
    for side in [&sides.theirs, &sides.ours] {
        side.write("export.json", &ending("2040-02-01T00:00:00Z"));
        side.write("again.json", &ending("2040-03-01T00:00:00Z"));
        side.write("broken.json", "{");
    }
    sides.change("silence import export.json").await;
    sides.change("silence import --force again.json").await;
    sides.change("silence import broken.json").await;
    queries(&mut sides).await;
    // One after the other: those that end together have no order.
    for id in ["$1", "$2", "$3"] {
        sides.change(&format!("silence expire {id}")).await;
    }
    queries(&mut sides).await;
    sides.agree();
}

async fn queries(sides: &mut Sides) {
    for query in [
        "-q",
        "-o simple",
        "-o extended",
        "--expired",
        "--expired -o simple --created-by=me",
        "--within=20m",
        "--within=2h -q",
        "--expired --within=1h",
        "--created-by=you",
        "--created-by=nobody",
        "--id=$1 -o simple",
        "--expired --id=$4",
        "alertname=Slow",
        "alertname=Slow host=~'a|b'",
        "alertname=~'Slow'",
        "team!=db",
        "Disk",
    ] {
        sides.look(&format!("silence query {query}")).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn amtool_sees_the_same_routes() {
    let Some(mut sides) = both().await else { return };
    sides.look("cluster show").await;
    let tree = sides.look("config routes show").await;
    assert!(tree.contains("night"), "{tree}");
    for labels in [
        "team=db",
        "team=db severity=critical",
        "severity=page region=eu",
        "severity=page region=us team=none",
        "alertname=x",
        "",
    ] {
        sides.look(&format!("config routes test {labels}")).await;
        sides.look(&format!("config routes test --verify.receivers=pager {labels}")).await;
    }
    // What modelwatch shows is a whole configuration of Alertmanager's.
    let shown = sides.ours.amtool("config show").await;
    for side in [&sides.theirs, &sides.ours] {
        side.write("shown.yml", &shown);
        side.write("written.yml", CONFIG);
    }
    let checked = sides.look("check-config shown.yml").await;
    for found in ["SUCCESS", "global config", "route", "1 inhibit rules", "4 receivers"] {
        assert!(checked.contains(found), "{found}: {checked}\n{shown}");
    }
    sides.look("check-config written.yml").await;
    sides.agree();
}

fn get(path: &str) -> Asked<'_> {
    Asked { method: "GET", path, content_type: "", body: "" }
}

fn delete(path: &str) -> Asked<'_> {
    Asked { method: "DELETE", path, content_type: "", body: "" }
}

fn post<'a>(path: &'a str, body: &'a str) -> Asked<'a> {
    Asked { method: "POST", path, content_type: "application/json", body }
}

/// What Debian's Alertmanager does not tell yet.
fn newer(answer: &mut Value) {
    match answer {
        Value::Array(items) => items.iter_mut().for_each(newer),
        Value::Object(fields) => {
            fields.remove("mutedBy");
            fields.values_mut().for_each(newer);
        }
        _ => {}
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_are_the_same() {
    let Some(mut sides) = both().await else { return };
    sides.change("silence add host=c --author=me --comment=known --duration=1h").await;
    sides
        .change("silence add alertname=Later --author=me --comment=x --start=2040-01-01T00:00:00Z --end=2040-01-02T00:00:00Z")
        .await;
    sides.change("silence add alertname=~'O.*' host!='' --author=me --comment=x --duration=2h").await;
    sides.change("silence expire $3").await;
    for query in [
        "",
        "?active=false",
        "?silenced=false",
        "?inhibited=false",
        "?unprocessed=false",
        "?active=false&silenced=false",
        "?active=maybe",
        "?active=TRUE&silenced=1&inhibited=on",
        "?active=",
        "?receiver=database",
        "?receiver=data.*|night",
        "?receiver=base",
        "?receiver=",
        "?filter=alertname%3D%22Slow%22&filter=host%3D~%22a%7Cb%22",
        "?filter=team%3D%22%22",
        "?filter=severity%21%3Dwarning",
        "?nonsense=1",
    ] {
        let alerts = sides.ask(&get(&format!("/api/v2/alerts{query}")), newer).await;
        let groups = sides.ask(&get(&format!("/api/v2/alerts/groups{query}")), newer).await;
        if query.is_empty() {
            assert_eq!(alerts["body"].as_array().unwrap().len(), 6, "{alerts:#}");
            assert_eq!(groups["body"].as_array().unwrap().len(), 6, "{groups:#}");
        }
    }
    for query in
        ["", "?filter=alertname%3D%22Later%22", "?filter=host%3D%22c%22&filter=x%3Dy", "?filter=alertname%3D~%22O.%2A%22"]
    {
        sides.ask(&get(&format!("/api/v2/silences{query}")), |_| ()).await;
    }
    for path in ["/api/v2/silence/$1", "/api/v2/silence/$2", "/api/v2/silence/$3"] {
        let silence = sides.ask(&get(path), |_| ()).await;
        assert_eq!(silence["status"], 200, "{silence:#}");
    }
    let by_name = |answer: &mut Value| {
        answer["body"].as_array_mut().unwrap().sort_by_key(|receiver| receiver["name"].to_string());
    };
    sides.ask(&get("/api/v2/receivers"), by_name).await;
    // The same keys; what they say is each side's own.
    let keys = |answer: &mut Value| {
        answer["body"]["config"]["original"] = json!(answer["body"]["config"]["original"].is_string());
        answer["body"]["versionInfo"].as_object_mut().unwrap().values_mut().for_each(|value| *value = json!(value.is_string()));
    };
    let status = sides.ask(&get("/api/v2/status"), keys).await;
    assert_eq!(status["body"]["cluster"], json!({ "status": "disabled", "peers": [] }));
    for path in ["/alertmanager/api/v2/status", "/api/v3/status", "/api/v2/nothing"] {
        sides.ask(&get(path), |answer| answer["body"] = Value::Null).await;
    }
    sides.agree();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_wrong_is_refused_alike() {
    let Some(mut sides) = both().await else { return };
    sides.change("silence add host=c --author=me --comment=known --duration=1h").await;
    // The words of Go's parsers are theirs alone.
    let status = |answer: &mut Value| {
        if answer["body"]["message"].as_str().is_some_and(|message| message.starts_with("parsing ")) || answer["status"] == 404 {
            answer["body"] = Value::Null;
        }
        let words =
            ["bad matcher format", "failed to parse receiver param", "silence invalid: invalid label matcher 0: invalid regular"];
        if let Some(same) = answer["body"].as_str().and_then(|body| words.iter().find(|words| body.starts_with(*words))) {
            answer["body"] = json!(same);
        }
    };
    for path in [
        "/api/v2/alerts?filter=bad",
        "/api/v2/alerts/groups?filter=%3D",
        "/api/v2/silences?filter=bad",
        "/api/v2/alerts?receiver=(",
        "/api/v2/alerts/groups?receiver=*",
        "/api/v2/silence/not-an-id",
        &format!("/api/v2/silence/{UNKNOWN}"),
    ] {
        let answer = sides.ask(&get(path), status).await;
        assert!(answer["status"].as_u64().unwrap() >= 400, "{path}: {answer}");
    }
    sides.ask(&delete("/api/v2/silence/not-an-id"), status).await;
    let unknown = format!("/api/v2/silence/{UNKNOWN}");
    let (theirs, ours) = (sides.theirs.ask(&delete(&unknown)).await, sides.ours.ask(&delete(&unknown)).await);
    assert_eq!((theirs, ours), ((500, "\"silence not found\"".to_owned()), (404, String::new())), "404 since 0.26");
    for _ in 0..2 {
        sides.ask(&delete("/api/v2/silence/$1"), status).await;
    }
    refused_alerts(&mut sides, status).await;
    refused_silences(&mut sides, status).await;
    sides.agree();
}

async fn refused_alerts(sides: &mut Sides, known: impl Fn(&mut Value) + Copy) {
    for body in [
        "[",
        "{}",
        "[]",
        "null",
        "[1]",
        r#"[{"annotations": {}}]"#,
        r#"[{"labels": null}]"#,
        r#"[{"labels": {}}]"#,
        r#"[{"labels": {"a": 3}}]"#,
        r#"[{"labels": {"a": "x"}, "startsAt": "yesterday"}]"#,
        r#"[{"labels": {"a": "x"}, "generatorURL": "not a url"}]"#,
        r#"[{"labels": {"a": "x"}, "startsAt": "2040-01-01T00:00:00Z"}]"#,
        r#"[{"labels": {"a": ""}}, {"labels": {"alertname": "Kept"}, "endsAt": "2040-01-01T00:00:00Z", "more": 1},
            {"labels": {"a": "x"}, "startsAt": "2040-01-01T00:00:00Z", "endsAt": "2039-01-01T00:00:00Z"}]"#,
        r#"[{"labels": {"b": "c", "d": null}, "annotations": null, "startsAt": "0001-01-01T00:00:00Z", "endsAt": null}]"#,
    ] {
        sides.ask(&post("/api/v2/alerts", body), known).await;
    }
    for content_type in ["text/plain", "application/x-www-form-urlencoded"] {
        let refused = sides.ask(&Asked { method: "POST", path: "/api/v2/alerts", content_type, body: "[]" }, known).await;
        assert_eq!(refused["status"], 415);
    }
    // The valid one of a batch was kept, and the refused ones were not.
    let query = "/api/v2/alerts?filter=alertname!~%22Down|Slow|Disk|Odd%22";
    let kept = sides.ask(&get(query), newer).await;
    assert_eq!(kept["body"].as_array().unwrap().len(), 2, "{kept:#}");
}

async fn refused_silences(sides: &mut Sides, known: impl Fn(&mut Value) + Copy) {
    let silence = |change: Value| {
        let mut body = json!({
            "matchers": [{ "name": "a", "value": "b", "isRegex": false }],
            "startsAt": "2020-01-01T00:00:00Z",
            "endsAt": END,
            "createdBy": "me",
            "comment": "c",
        });
        change.as_object().unwrap().iter().for_each(|(key, value)| body[key] = value.clone());
        body.to_string()
    };
    let matcher = |name: &str, value: &str, is_regex: bool| {
        silence(json!({ "matchers": [{ "name": name, "value": value, "isRegex": is_regex }] }))
    };
    for body in [
        "{".to_owned(),
        "[1]".to_owned(),
        "null".to_owned(),
        "{}".to_owned(),
        silence(json!({ "comment": null })),
        silence(json!({ "createdBy": null, "endsAt": null })),
        silence(json!({ "matchers": [] })),
        silence(json!({ "matchers": [{}] })),
        silence(json!({ "id": UNKNOWN })),
        silence(json!({ "id": "not-an-id" })),
        silence(json!({ "endsAt": "2020-01-01T00:00:00Z" })),
        silence(json!({ "endsAt": "2020-01-02T00:00:00Z" })),
        silence(json!({ "startsAt": "soon" })),
        matcher("a", "", false),
        matcher("a", ".*", true),
        matcher("a", "(", true),
        matcher("", "x", false),
        // This one is made.
        matcher("a", "(b|c)?d", true),
    ] {
        sides.ask(&post("/api/v2/silences", &body), known).await;
    }
    let made = sides.ask(&get("/api/v2/silences"), known).await;
    assert_eq!(made["body"].as_array().unwrap().len(), 2, "{made:#}");
}
