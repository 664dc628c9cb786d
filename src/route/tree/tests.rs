use super::*;
use crate::diag::Severity;

fn scoped(text: &str, semantics: Semantics) -> (Option<Route>, Vec<Diagnostic>) {
    let mut faults = Faults::default();
    let list = yaml::parse("i.yml", "- {name: nights, time_intervals: ['22:00-24:00']}", &mut faults).unwrap();
    let time_intervals = TimeIntervals::parse(list.items(), &mut faults);
    let receivers = ["oncall", "lead", "boss"].map(str::to_owned);
    let scope = Scope { semantics, receivers: &receivers, time_intervals: &time_intervals };
    let node = yaml::parse("t.yml", text, &mut faults).unwrap();
    let route = node.map(&mut faults, |fields, faults| Route::parse(fields, faults, &scope));
    (route, faults.0)
}

/// The route of a text, else the faults, a line each.
fn parse(text: &str) -> Result<Route, String> {
    let (route, faults) = scoped(text, Semantics::Ours);
    let lines: Vec<String> = faults.iter().map(ToString::to_string).collect();
    route.filter(|_| lines.is_empty()).ok_or(lines.join("\n"))
}

#[test]
fn routes_are_read() {
    let route = Route {
        receiver: "oncall".to_owned(),
        group_by: GroupBy::Labels(vec!["alertname".to_owned()]),
        group_wait: Span::ZERO,
        group_interval: Span::secs(300),
        repeat_interval: Span::secs(14_400),
        ..Route::default()
    };
    assert_eq!(parse("receiver: oncall").as_ref(), Ok(&route));
    let written = "{receiver: lead, group_by: [alertname, model], group_wait: 30s, group_interval: 1m, repeat_interval: 1h}";
    let group_by = GroupBy::Labels(vec!["alertname".to_owned(), "model".to_owned()]);
    let (receiver, second) = ("lead".to_owned(), Span::secs(1).0);
    let [group_wait, group_interval, repeat_interval] = [30, 60, 3_600].map(|n| Span(n * second));
    assert_eq!(parse(written), Ok(Route { receiver, group_by, group_wait, group_interval, repeat_interval, ..Route::default() }));
    assert_eq!(parse("{receiver: oncall, group_by: ['...']}"), Ok(Route { group_by: GroupBy::All, ..route }));
}

#[test]
fn defaults_are_those_of_the_semantics() {
    let defaults = |semantics| {
        let route = scoped("receiver: oncall", semantics).0.unwrap();
        (route.group_wait, route.group_interval, route.repeat_interval, route.group_by)
    };
    let by_name = GroupBy::Labels(vec!["alertname".to_owned()]);
    assert_eq!(defaults(Semantics::Ours), (Span::ZERO, Span::secs(300), Span::secs(14_400), by_name));
    let one_group = GroupBy::Labels(Vec::new());
    assert_eq!(defaults(Semantics::Alertmanager), (Span::secs(30), Span::secs(300), Span::secs(14_400), one_group));
    // A route that says nothing about a key has what its parent has, whatever the semantics.
    let (route, _) = scoped("{receiver: oncall, group_wait: 1s, routes: [{matchers: [a=b]}]}", Semantics::Alertmanager);
    assert_eq!(route.unwrap().routes[0].group_wait, Span::secs(1));
}

/// A line for each route: `key receiver group_by wait/interval/repeat mute|active escalation`.
fn shown(route: &Route) -> String {
    let Route { key, receiver, group_by, group_wait, group_interval, repeat_interval, .. } = route;
    let by = match group_by {
        GroupBy::All => "...".to_owned(),
        GroupBy::Labels(names) => names.join(","),
    };
    let steps: Vec<String> = route.escalation.iter().map(|step| format!("{}>{}", step.after, step.receiver)).collect();
    let intervals = [&route.mute_time_intervals, &route.active_time_intervals].map(|names| names.join(","));
    format!("{key} {receiver} [{by}] {group_wait}/{group_interval}/{repeat_interval} {} {}", intervals.join("|"), steps.join(","))
}

#[test]
fn children_inherit_receiver_grouping_timers_and_escalation_but_no_intervals() {
    let text = r#"
receiver: oncall
group_by: [model]
group_wait: 1s
group_interval: 2m
repeat_interval: 3h
escalation: [{after: 15m, receiver: lead}, {after: 1h, receiver: boss}]
routes:
  - matchers: [team="a"]
    mute_time_intervals: [nights]
    routes:
      - matchers: [severity="page"]
        receiver: lead
        group_by: ['...']
      - matchers: [severity="ticket"]
        group_by: []
        group_wait: 0s
        active_time_intervals: [nights]
        escalation: []
  - match: {team: b}
    match_re: {model: gpt-.*}
    matchers: ['{org!="x"}']
    escalation: [{after: 5m, receiver: boss}]
"#;
    let route = parse(text).unwrap();
    let lines: Vec<String> = route.walk().into_iter().map(shown).collect();
    assert_eq!(
        lines,
        [
            "{} oncall [model] 1s/2m/3h | 15m>lead,1h>boss",
            r#"{}/{team="a"} oncall [model] 1s/2m/3h nights| 15m>lead,1h>boss"#,
            // Who is told anyway is no step.
            r#"{}/{team="a"}/{severity="page"} lead [...] 1s/2m/3h | 1h>boss"#,
            r#"{}/{team="a"}/{severity="ticket"} oncall [model] 0s/2m/3h |nights "#,
            r#"{}/{model=~"^(?:gpt-.*)$",org!="x",team="b"} oncall [model] 1s/2m/3h | 5m>boss"#,
        ]
    );
}

#[test]
fn a_group_by_of_names_below_all_labels_is_by_names() {
    let route = parse("{receiver: oncall, group_by: ['...'], routes: [{matchers: [a=b], group_by: [c]}, {matchers: [c=d]}]}");
    let by: Vec<GroupBy> = route.unwrap().walk().into_iter().map(|route| route.group_by.clone()).collect();
    assert_eq!(by, [GroupBy::All, GroupBy::Labels(vec!["c".to_owned()]), GroupBy::All]);
}

#[test]
fn an_alert_takes_the_way_that_it_takes_in_alertmanager() {
    let text = r#"
receiver: root
routes:
  - {receiver: first, matchers: [a="1"], continue: true}
  - receiver: second
    matchers: [a=~"1|2"]
    routes:
      - {receiver: inner, matchers: [b="1"]}
      - {receiver: deep, matchers: [b!="", c=""], continue: true}
      - {receiver: after, matchers: [b="2"]}
  - {receiver: third, matchers: [a="1"]}
  - {receiver: rest, matchers: [a!~"1|2|9"]}
"#;
    let names = ["root", "first", "second", "inner", "deep", "after", "third", "rest"].map(str::to_owned);
    let scope = Scope { semantics: Semantics::Ours, receivers: &names, time_intervals: &TimeIntervals::default() };
    let mut faults = Faults::default();
    let node = yaml::parse("t.yml", text, &mut faults).unwrap();
    let route = node.map(&mut faults, |fields, faults| Route::parse(fields, faults, &scope)).unwrap();
    let check = |labels: &[(&str, &str)], expected: &[&str]| {
        let labels: Labels = labels.iter().copied().collect();
        let taken: Vec<&str> = route.matching(&labels).into_iter().map(|route| route.receiver.as_str()).collect();
        assert_eq!(taken, expected, "{labels}");
    };
    check(&[("a", "9")], &["root"]);
    check(&[("a", "1")], &["first", "second"]);
    check(&[("a", "2")], &["second"]);
    check(&[("a", "1"), ("b", "1")], &["first", "inner"]);
    check(&[("a", "2"), ("b", "2")], &["deep", "after"]);
    check(&[("a", "2"), ("b", "3")], &["deep"]);
    check(&[("a", "2"), ("b", "2"), ("c", "x")], &["after"]);
    // A missing label is the empty text.
    check(&[], &["rest"]);
}

#[test]
fn faults_are_all_found() {
    #[track_caller]
    fn check(text: &str, expected: &[&str]) {
        let seen = parse(text).unwrap_err();
        let lines: Vec<&str> = seen.lines().collect();
        assert_eq!(lines.len(), expected.len(), "{text}: {seen}");
        for (line, expected) in lines.iter().zip(expected) {
            assert!(line.contains(expected), "{text}: {line}");
        }
    }
    check("receiver: oncal", &["t.yml:1:11: there is no receiver `oncal` [unknown-receiver]; hint: did you mean `oncall`?"]);
    check("receiver: pagerduty", &["the receivers are: oncall, lead, boss"]);
    check("group_wait: 1s", &["`receiver` is missing"]);
    check(
        "{receiver: oncall, group_interval: 0s, repeat_interval: x, group_wiat: 1s}",
        &["group_interval: must be longer than 0s", "repeat_interval: `x` is no duration", "did you mean `group_wait`?"],
    );
    check("{receiver: oncall, group_by: ['...', model]}", &["`...` means every label and stands alone"]);
    check("{receiver: oncall, group_by: [model, model]}", &["`model` is named twice"]);
    check("{receiver: oncall, group_by: [my-model]}", &["`my-model` is no name of a label"]);
    check(
        "{receiver: oncall, matchers: [a=b], continue: true, mute_time_intervals: [nights], active_time_intervals: [nights]}",
        &["has no `matchers`", "has no `mute_time_intervals`", "has no `active_time_intervals`", "has no `continue`"],
    );
    check("{receiver: oncall, match: {a: b}}", &["the root route has no `matchers`"]);
    check(
        "{receiver: oncall, routes: [{receiver: x, matchers: ['a', 'b=~\"(\"'], mute_time_intervals: [night, days], routes: 1}]}",
        &[
            "t.yml:1:54: matchers: `a` is no matcher",
            "matchers: `(` is no regular expression",
            "there is no receiver `x`",
            "there is no time interval `night` [unknown-interval]; hint: did you mean `nights`?",
            "there is no time interval `days` [unknown-interval]; hint: name one of `time_intervals`",
            "routes: expected a list, found a number",
        ],
    );
    check("{receiver: oncall, routes: [{match: {a-b: c}, match_re: {d: '('}}]}", &["`a-b` is no name", "`(` is no regular"]);
    check(
        "{receiver: oncall, escalation: [{after: 15m, receiver: oncall}, {after: 5m, receiver: lead}, {receiver: bos}]}",
        &["`oncall` is told already", "come one after the other", "`after` is missing"],
    );
    check("{receiver: oncall, escalation: [{after: 5m, receiver: bos}]}", &["there is no receiver `bos`"]);
}

#[test]
fn what_is_probably_not_meant_is_a_warning() {
    #[track_caller]
    fn check(text: &str, expected: &[&str]) {
        let (route, faults) = scoped(text, Semantics::Ours);
        assert!(route.is_some(), "{text}");
        assert!(faults.iter().all(|fault| fault.severity == Severity::Warning), "{faults:?}");
        let codes: Vec<&str> = faults.iter().map(|fault| fault.code).collect();
        assert_eq!(codes, expected, "{text}");
    }
    check("{receiver: oncall, repeat_interval: 1m}", &["slow-repeat"]);
    check("{receiver: oncall, routes: [{matchers: [a=b], group_interval: 5h}, {matchers: [a=c]}]}", &["slow-repeat"]);
    check("{receiver: oncall, routes: [{}, {matchers: [a=b]}]}", &["unreachable-route"]);
    check("{receiver: oncall, routes: [{continue: true}, {matchers: [a=b]}]}", &[]);
    check("{receiver: oncall, routes: [{matchers: [a=b]}, {}]}", &[]);
    check("{receiver: oncall, routes: [{matchers: [a=b]}, {matchers: [c=d, a=b]}]}", &["unreachable-route"]);
    check("{receiver: oncall, routes: [{matchers: [a=b, c=d]}, {matchers: [a=b]}]}", &[]);
}

#[test]
fn escalation_is_ours_alone() {
    let text = "{receiver: oncall, routes: [{matchers: ['a=b'], escalation: [{after: 1m, receiver: lead}]}]}";
    let (_, faults) = scoped(text, Semantics::Alertmanager);
    assert_eq!(faults.iter().map(|fault| fault.code).collect::<Vec<_>>(), ["ours-alone"]);
    assert!(scoped(text, Semantics::Ours).1.is_empty());
}

#[test]
fn groups_are_named_as_in_alertmanager() {
    #[track_caller]
    fn check(text: &str, expected: &str) {
        let route = parse(&format!("{{receiver: oncall, {text}}}")).unwrap();
        let labels = [("alertname", "X"), ("model", "a\"b\t\u{e9}")].into_iter().collect();
        let route = route.matching(&labels)[0];
        assert_eq!(route.group_key(&route.group_labels(&labels)), expected);
    }
    check("group_by: []", "{}:{}");
    check("group_by: [alertname]", "{}:{alertname=\"X\"}");
    check("group_by: [alertname, org]", "{}:{alertname=\"X\"}");
    check("group_by: ['...']", "{}:{alertname=\"X\", model=\"a\\\"b\\t\u{e9}\"}");
    check("routes: [{matchers: ['alertname=~\"X|Y\"', 'model!=\"\"']}]", "{}/{alertname=~\"X|Y\",model!=\"\"}:{alertname=\"X\"}");
    check("routes: [{match_re: {alertname: X}, routes: [{}]}]", "{}/{alertname=~\"^(?:X)$\"}/{}:{alertname=\"X\"}");
}
