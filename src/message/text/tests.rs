use super::*;

#[track_caller]
fn check(text: &str, expected: &str) {
    let parsed = Text::parse(text, &Templates::default()).unwrap_or_else(|e| panic!("{text}: {e}"));
    assert_eq!(parsed.render(&Data::new(&sample::firing(), "http://mw")).as_deref(), Ok(expected), "{text}");
}

#[test]
fn our_own_templates_can_be_read() {
    let mut library = Library::default();
    assert!(library.define(DEFAULTS, KNOWN).is_ok());
    assert_eq!(library.missing(), Vec::<String>::new());
}

#[test]
fn data_is_that_of_alertmanager() {
    check("plain {# text #} }} \n", "plain {# text #} }} \n");
    check("{{ .Receiver }} {{ .Status }} {{ .ExternalURL }} {{ $.Status }}", "oncall firing http://mw firing");
    check("[{{ .Status | toUpper }}{{ if eq .Status \"firing\" }}:{{ .Alerts.Firing | len }}{{ end }}]", "[FIRING:2]");
    check("{{ .GroupLabels.SortedPairs.Values | join \" \" }}", "AIErrorSpike gpt-4o");
    check("{{ range .Alerts }}{{ .Labels.org }}:{{ .Annotations.absent }}{{ .Value }};{{ end }}", "acme:12;globex:15;");
    check("{{ len .Alerts.Resolved }}{{ range .Alerts.Resolved }}x{{ else }} none{{ end }}", "0 none");
    check(
        "{{ range .CommonLabels.SortedPairs }}{{ .Name }}={{ .Value }} {{ end }}",
        "alertname=AIErrorSpike model=gpt-4o severity=high ",
    );
    check("{{ (.CommonLabels.Remove .GroupLabels.Names).Values | join \",\" }}", "high");
    check("{{ with .CommonLabels.Remove (stringSlice \"model\" \"severity\") }}{{ .Names }}{{ end }}", "[alertname]");
    check("{{ (index .Alerts 1).Labels.org }} {{ index .CommonLabels \"model\" }}", "globex gpt-4o");
    check("{{ .CommonLabels }}", "alertname=AIErrorSpike, model=gpt-4o, severity=high");
    check("{{ range $i, $a := .Alerts }}{{ if $i }}, {{ end }}{{ $a.Labels.org }}{{ end }}", "acme, globex");
    check("{{ range $k, $v := .GroupLabels }}{{ $k }}={{ $v }} {{ end }}", "alertname=AIErrorSpike model=gpt-4o ");
    check("{{ (index .Alerts 0).StartsAt.Format \"2006-01-02 15:04 MST\" }}", "2026-11-18 11:01 UTC");
    check(
        "{{ range .Alerts }}{{ since .StartsAt }} {{ since .StartsAt | humanizeDuration }} {{ .EndsAt.IsZero }}; {{ end }}",
        "5m0s 5m 0s true; 5m0s 5m 0s true; ",
    );
    check("{{ template \"slack.default.title\" . }}", "[FIRING:2] AIErrorSpike model=gpt-4o");
}

/// Constructs that public files of templates for Alertmanager are made of.
#[test]
fn constructs_of_well_known_templates() {
    check(
        "{{ define \"__x.title\" -}}\n  [{{ .Status | toUpper -}}\n  {{ if eq .Status \"firing\" }}:{{ .Alerts.Firing | len }}{{- end -}}\n  ] \
         {{ .CommonLabels.alertname }}\n{{- end }}{{ template \"__x.title\" . }}",
        "[FIRING:2] AIErrorSpike",
    );
    check(
        "{{ if gt (len .CommonLabels) (len .GroupLabels) }}\
         {{\" \"}}({{- with .CommonLabels.Remove .GroupLabels.Names -}}\
         {{- range $i, $l := .SortedPairs -}}{{ if $i }}, {{ end }}{{ $l.Name }}=\"{{ $l.Value }}\"{{ end -}}{{- end -}}){{ end }}",
        " (severity=\"high\")",
    );
    check("{{ if ne .CommonLabels.severity \"warning\" }}:fire:{{ else }}:warning:{{ end }}", ":fire:");
    check(
        "{{ if eq .Status \"firing\" }}{{ if eq .CommonLabels.severity \"critical\" \"high\" }}danger{{ else }}warning{{ end }}{{ else }}good{{ end }}",
        "danger",
    );
    check("{{ range $n, $a := .Alerts }}{{ if lt $n 1 }}{{ .Labels.org }}{{ else }}…{{ break }}{{ end }}{{ end }}", "acme…");
    check("{{ range .Alerts }}{{ if eq .Labels.org \"acme\" }}{{ continue }}{{ end }}{{ .Labels.org }}{{ end }}", "globex");
    check("{{ $n := len .Alerts }}{{ range .Alerts }}{{ $n = printf \"%v.\" $n }}{{ end }}{{ $n }}", "2..");
    check(
        "{{ with index .Alerts 0 }}{{ .Labels.model }}{{ with .Annotations.absent }}{{ . }}{{ end }}{{ $.Receiver }}{{ end }}",
        "gpt-4ooncall",
    );
    check(
        "{{ with .CommonAnnotations.absent }}a{{ else with .CommonAnnotations.runbook_url }}{{ . }}{{ else }}c{{ end }}",
        "https://runbooks.example.com/ai-errors",
    );
    check(
        "{{ with $x := .CommonLabels.absent }}{{ $x }}{{ else if eq .Receiver \"oncall\" }}{{ .Receiver }}{{ $x }}{{ end }}",
        "oncall",
    );
    check("{{ or .CommonAnnotations.absent .CommonLabels.model \"none\" }} {{ and .Receiver .Status }}", "gpt-4o firing");
    check("{{ .CommonLabels.severity | title }} {{ title \"DISK FULL\" }} {{ \" x \" | trimSpace }}|", "High Disk Full x|");
    check("{{ .GroupLabels.model | reReplaceAll \"gpt-(.*)\" \"$1!\" }} {{ match \"^gpt\" .GroupLabels.model }}", "4o! true");
    check("{{ stringSlice \"a\" \"b\" | join \"+\" }} {{ slice .Receiver 0 2 }} {{ print 1 2 \"x\" 3 }}", "a+b on 1 2x3");
    check("{{ .ExternalURL }}/#/alerts?receiver={{ \"a b&c\" | urlquery }}", "http://mw/#/alerts?receiver=a+b%26c");
    check(
        "{{ range .Alerts.Firing }}{{ .StartsAt | tz \"Asia/Tokyo\" | date \"15:04 MST\" }} {{ .StartsAt.Unix }};{{ end }}",
        "20:01 JST 1794999700;20:01 JST 1794999700;",
    );
    check(
        "{{ (index .Alerts 0).StartsAt.Format \"Jan 2, 15:04\" }} {{ ((index .Alerts 0).StartsAt.Sub (index .Alerts 1).StartsAt).Seconds }}",
        "Nov 18, 11:01 0",
    );
}

#[test]
fn names_of_alertmanagers_own_templates_say_ours() {
    check(
        "{{ template \"__subject\" . }}|{{ template \"__alertmanagerURL\" . }}",
        "[FIRING:2] AIErrorSpike model=gpt-4o|http://mw",
    );
    check(
        "{{ template \"__text_alert_list\" .Alerts.Firing }}",
        "gpt-4o: 12 errors in the last hour for acme\nvalue 12, since 2026-11-18T11:01:40Z (5m)\n\
         gpt-4o: 15 errors in the last hour for globex\nvalue 15, since 2026-11-18T11:01:40Z (5m)\n",
    );
    let parse = |text| Text::parse(text, &Templates::default()).unwrap();
    assert!(parse("{{ template \"slack.default.title\" . }}").is_default());
    assert!(parse(" {{- template \"email.default.html\" . -}} ").is_default());
    assert!(!parse("{{ template \"slack.default.title\" . }}!").is_default());
}

/// A configuration's `templates`, with what is wrong with them.
fn templates(files: &[(&str, &str)]) -> (Templates, Vec<String>) {
    let folder = tempfile::tempdir().unwrap();
    files.iter().for_each(|(name, text)| std::fs::write(folder.path().join(name), text).unwrap());
    let mut faults = Faults::default();
    let root = yaml::parse("t.yml", "templates: ['*.tmpl']", &mut faults).unwrap();
    let read = root.map(&mut faults, |fields, faults| Some(Templates::read(fields, folder.path(), faults))).unwrap();
    (read, faults.0.iter().map(|fault| fault.to_string()).collect())
}

#[test]
fn templates_come_from_files() {
    let own = "{{ define \"slack.default.title\" }}{{ template \"b\" .CommonLabels }}{{ end }}";
    let (read, faults) = templates(&[("a.tmpl", own), ("b.tmpl", "text {{ define \"b\" }}<{{ .model }}>{{ end }}")]);
    assert_eq!(faults, Vec::<String>::new());
    let text = Text::parse("{{ template \"slack.default.title\" . }}", &read).unwrap();
    assert!(!text.is_default());
    assert_eq!(text.render(&Data::new(&sample::firing(), "")).unwrap(), "<gpt-4o>");
    let (_, faults) = templates(&[("a.tmpl", own)]);
    assert!(faults[0].contains("uses `b`, which none of the files defines"), "{faults:?}");
    let (_, faults) = templates(&[("a.tmpl", "{{ define \"x\" }}\n{{ nothing . }}{{ end }}")]);
    assert!(faults[0].contains("a.tmpl:2:3: unknown function `nothing`"), "{faults:?}");
}

#[test]
fn what_is_filled_in_is_escaped_for_where_it_goes() {
    #[track_caller]
    fn check(escape: Escape, text: &str, expected: &str) {
        let mut hostile = sample::firing();
        hostile.receiver = "<b> \"javascript:x\"".to_owned();
        hostile.group_labels = [("link", "javascript:alert(1)"), ("good", "https://x/?a=1&b=2")].into_iter().collect();
        let text = Text::parse_as(text, &Templates::default(), escape).unwrap();
        assert_eq!(text.render(&Data::new(&hostile, "http://mw")).unwrap(), expected);
    }
    check(Escape::Html, "<b>{{ .Receiver }}</b>", "<b>&lt;b&gt; &#34;javascript:x&#34;</b>");
    check(Escape::Html, "<a href=\"{{ .GroupLabels.link }}\">", "<a href=\"#\">");
    check(Escape::Html, "<a href='{{ .GroupLabels.good }}'>", "<a href='https://x/?a=1&amp;b=2'>");
    check(Escape::Html, "{{ \"<i>\" | safeHtml }}{{ printf \"%s\" \"<i>\" }}", "<i>&lt;i&gt;");
    check(Escape::With(|text| text.replace('<', "?")), "<{{ .Receiver }}", "<?b> \"javascript:x\"");
    check(Escape::None, "{{ .Receiver }}", "<b> \"javascript:x\"");
}

#[test]
fn what_cannot_be_translated_is_named() {
    for (text, part) in [
        ("{{ .Foo }}", "`.Foo` does not exist here"),
        ("{{ .CommonLabel.x }}", "did you mean `.CommonLabels`?"),
        ("{{ $.Alert }}", "did you mean `.Alerts`?"),
        ("{{ call .X }}", "`call` does not exist here"),
        ("{{ template \"slack.defaut.title\" . }}", "did you mean `slack.default.title`?"),
        ("{{ template .Name . }}", "must be in quotes"),
        ("{{ if true }}{{ define \"x\" }}{{ end }}{{ end }}", "within another block"),
        ("{{ break }}", "outside of a `{{ range }}`"),
        ("{{ $x }}", "`$x` does not exist here"),
        ("{{ if $x := 1 }}{{ end }}{{ $x }}", "`$x` does not exist here"),
        ("{{ $x = 1 }}", "`$x :=` makes one"),
        ("{{ $a, $b := .Alerts }}", "by `range` only"),
        ("{{ range .Alerts }}", "`{{ range }}` without its `{{ end }}`"),
        ("{{ .Labels.my-label }}", "index .Labels"),
        ("{{ join \",\" }}", "`join` takes 2"),
    ] {
        let error = Text::parse(text, &Templates::default()).expect_err(text);
        assert!(error.contains(part), "{text}: {error}");
    }
    let text = Text::parse("a {{ index .Alerts 7 }}", &Templates::default()).unwrap();
    let told = text.render_or(&Data::new(&sample::firing(), ""), || "default".to_owned());
    assert_eq!(told, "<error expanding template: index 7 of 2 items> default");
}

/// None of them ends by itself, or soon, or within a stack.
#[test]
fn no_template_runs_for_ever() {
    let loops = "{{ range .Alerts }}".repeat(30) + "x" + &"{{ end }}".repeat(30);
    let doubling = "{{ $x := \"xxxxxxxxxxxxxxxx\" }}".to_owned() + &"{{ $x = printf \"%s%s\" $x $x }}".repeat(60);
    let replacing = "{{ $x := \"aaaaaaaaaaaaaaaaaaaa\" }}".to_owned() + &"{{ $x = reReplaceAll \"a\" $x $x }}".repeat(20);
    let regexes =
        "{{ range .Alerts }}".repeat(12) + "{{ match (print .Labels \"(a{1000}){1000}\") \"a\" }}" + &"{{ end }}".repeat(12);
    let wide = "{{ $a := printf \"%500s\" \"x\" }}";
    let slice = |name: &str| format!("(stringSlice{})", format!(" {name}").repeat(60));
    let joins =
        ["a", "b", "c"].windows(2).map(|pair| format!("{{{{ ${} := join $a {} }}}}", pair[1], slice(&format!("${}", pair[0]))));
    let joining = wide.to_owned() + &joins.collect::<String>() + &format!("{{{{ $d := join $c {} }}}}", slice("$c"));
    let printing = format!("{wide}{{{{ $b := join $a {} }}}}{{{{ $m := {} }}}}", slice("$a"), slice("$b"))
        + &"{{ print $m }}{{ print $m $m $m $m $m $m }}".repeat(6);
    for text in [
        &joining,
        &printing,
        "{{ define \"x\" }}{{ template \"x\" . }}{{ end }}{{ template \"x\" . }}",
        "{{ define \"x\" }}{{ template \"y\" . }}{{ end }}{{ define \"y\" }}{{ if true }}{{ template \"x\" . }}{{ end }}{{ end }}{{ template \"x\" . }}",
        &loops,
        &doubling,
        &replacing,
        &regexes,
    ] {
        let text = Text::parse(text, &Templates::default()).unwrap();
        assert!(text.render(&Data::new(&sample::firing(), "")).is_err(), "{}", text.source());
    }
    for deep in [
        "{{ if true }}".repeat(100_000),
        "{{ with ".to_owned() + &"(".repeat(100_000),
        "{{ .A".to_owned() + &".A".repeat(100_000) + " }}",
    ] {
        assert!(Text::parse(&deep, &Templates::default()).is_err());
    }
    let chain = "{{ .Receiver".to_owned()
        + &" | toUpper".repeat(10_000)
        + " }}"
        + "{{ if false }}"
        + &"{{ else if false }}".repeat(10_000)
        + "{{ end }}";
    assert_eq!(Text::parse(&chain, &Templates::default()).unwrap().render(&Data::new(&sample::firing(), "")).unwrap(), "ONCALL");
}

/// Pieces of which odd templates are made.
const PIECES: [&str; 36] = [
    "{{",
    "}}",
    "{{ ",
    " }}",
    "{{- ",
    " -}}",
    "if ",
    "else ",
    "end",
    "range ",
    "with ",
    "define \"x\"",
    "template \"x\" ",
    ".",
    "$",
    "$x",
    " := ",
    " = ",
    ".Alerts",
    ".Labels.a",
    "(",
    ")",
    " | ",
    "len ",
    "index ",
    "printf ",
    "\"%s\"",
    "`",
    "\"",
    "/*",
    "*/",
    "0",
    "-1",
    ", ",
    "é\n",
    "break",
];

proptest::proptest! {
    #[test]
    fn whatever_is_written_is_a_text_or_a_fault(picks in proptest::collection::vec(0..PIECES.len(), 0..40), free in ".{0,20}") {
        let text: String = picks.iter().map(|at| PIECES[*at]).collect::<String>() + &free;
        if let Ok(text) = Text::parse(&text, &Templates::default()) {
            let _ = text.render(&Data::new(&sample::firing(), "http://mw"));
        }
    }

    #[test]
    fn text_outside_of_actions_comes_out_as_it_went_in(before in "[^{]{0,40}", after in "[^{]{0,40}") {
        let text = Text::parse(&format!("{before}{{{{/* x */}}}}{after}"), &Templates::default()).unwrap();
        proptest::prop_assert_eq!(text.render(&Data::new(&sample::firing(), "")).unwrap(), format!("{before}{after}"));
    }
}
