use super::*;
use crate::notify::tests::{CONTEXT, notification};
use crate::notify::{Integration, integrations};
use crate::time::Time;

const MINIMAL: &str = "email_configs: [{to: a@example.com, from: m@example.com, smarthost: 'mail:25'}]";

/// The integrations of a receiver under the keys of `global`, and the codes of the faults.
fn read(global: &str, text: &str) -> (Vec<Integration>, Vec<String>) {
    let mut faults = Faults::default();
    let global = yaml::parse("global.yml", global, &mut faults).unwrap();
    let globals = global.map(&mut faults, |fields, faults| Some(Globals::parse(fields, faults, Semantics::Ours))).unwrap();
    let root = yaml::parse("demo.yml", text, &mut faults).unwrap();
    let found = root.map(&mut faults, |fields, faults| Some(integrations("oncall", fields, faults, &globals)));
    (found.unwrap(), faults.0.iter().map(|fault| fault.code.to_owned()).collect())
}

#[track_caller]
fn one(text: &str) -> Integration {
    let (found, faults) = read("{}", text);
    assert!(faults.is_empty(), "{faults:?}");
    found.into_iter().next().unwrap()
}

#[track_caller]
fn mail(integration: &Integration, notification: &Notification, context: &Context<'_>) -> Mail {
    let Some(Request::Mail(mail)) = integration.request(notification, context) else { panic!("no mail") };
    *mail
}

fn written(mail: &Mail) -> String {
    String::from_utf8(mail.message.clone().unwrap()).unwrap()
}

/// The value of a header, unfolded.
fn header(message: &str, name: &str) -> Option<String> {
    let head = message.split("\r\n\r\n").next().unwrap().replace("\r\n ", " ");
    head.lines().find_map(|line| line.strip_prefix(&format!("{name}: "))).map(str::to_owned)
}

#[test]
fn codes_mean_what_the_table_says() {
    let integration = one(MINIMAL);
    for (code, expected) in
        [(250, "D"), (251, "D"), (421, "A"), (451, "A"), (452, "A"), (500, "N"), (535, "N"), (550, "N"), (554, "N")]
    {
        let outcome = integration.classify(&Answer { status: code, retry_after: None, body: "said\nso".to_owned() });
        let reason = format!("SMTP {code} said\\nso");
        let meant = match expected {
            "D" => Outcome::Delivered,
            "A" => Outcome::Retry { reason, after: None },
            _ => Outcome::Rejected { reason },
        };
        assert_eq!(outcome, meant);
    }
    assert_eq!(integration.classify_unable("TLS"), Outcome::Rejected { reason: "TLS".to_owned() });
}

#[test]
fn faults_of_configuration_are_all_found() {
    #[track_caller]
    fn check(global: &str, keys: &str, codes: &[&str]) {
        let (_, found) = read(global, &format!("email_configs: [{{{keys}}}]"));
        assert_eq!(found, codes, "{keys}");
    }
    let known = "{smtp_from: m@x.org, smtp_smarthost: 'mail:25'}";
    check("{}", "to: a@x.org", &["missing-key", "missing-key"]);
    check(known, "to: a@x.org", &[]);
    check(known, "send_resolved: true", &["missing-key"]);
    check(known, "to: nobody", &["bad-value"]);
    check(known, "to: 'a@x.org, b@'", &["bad-value"]);
    check(known, "to: a@x.org, smarthost: mail", &["bad-value"]);
    check(known, "to: a@x.org, smarthost: 'mail:0'", &["bad-value"]);
    check(known, "to: a@x.org, smarthost: '[::1]:25', hello: 'a b'", &["bad-value"]);
    check(known, "to: a@x.org, auth_username: me", &["missing-key"]);
    check(known, "to: a@x.org, auth_username: me, auth_secret: x", &["unsupported"]);
    check(known, "to: a@x.org, auth_username: me, auth_password: p, auth_password_file: /dev/null", &["conflicting-keys"]);
    check(known, "to: a@x.org, auth_username: me, auth_password: p, require_tls: false", &["bad-value"]);
    check(known, "to: a@x.org, smarthost: 'localhost:25', auth_username: me, auth_password: p, require_tls: false", &[]);
    check(known, "to: a@x.org, smarthost: 'mail:465', auth_username: me, auth_password: p, require_tls: false", &[]);
    check(known, "to: a@x.org, html: '', text: ''", &["bad-value"]);
    check(known, "to: a@x.org, headers: {Bcc: b@x.org, Message-ID: x, 'a b': c, Reply-To: me}", &["bad-value"; 4]);
    check(known, "to: a@x.org, threading: {enabled: true, thread_by_date: weekly}", &["bad-value"]);
    check(known, "to: a@x.org, tls_config: {ca_file: /no/such, key: x}", &["bad-value", "bad-value", "missing-key"]);
    let codes = ["bad-value", "bad-value", "unknown-key", "missing-key", "missing-key"];
    check("{smtp_from: me, smtp_smarthost: mail, smtp_typo: 1}", "to: a@x.org", &codes);
}

#[test]
fn what_is_left_out_is_global() {
    let global = "{smtp_from: 'Watch <m@x.org>', smtp_smarthost: 'mail:465', smtp_hello: me.x.org, smtp_auth_username: u, \
                  smtp_auth_password: p, smtp_require_tls: false, smtp_auth_secret: s}";
    let (found, faults) = read(global, "email_configs: [{to: a@x.org}, {to: a@x.org, auth_username: v, smarthost: 'other:587'}]");
    // The name of the first one, though CRAM-MD5 is not known; the second one would send it unencrypted.
    assert_eq!(faults, ["unsupported", "unsupported", "bad-value"]);
    let mails: Vec<Mail> = found.iter().map(|integration| mail(integration, &notification(1, 0), &CONTEXT)).collect();
    let shown: Vec<_> =
        mails.iter().map(|mail| (mail.smarthost.host.as_str(), mail.smarthost.implicit_tls, mail.from.as_str())).collect();
    assert_eq!(shown, [("mail", true, "m@x.org"), ("other", false, "m@x.org")]);
    assert_eq!(mails[0].smarthost.auth.as_ref().unwrap().username, "u");
    assert_eq!((mails[1].smarthost.hello.as_str(), mails[1].smarthost.require_tls), ("me.x.org", false));
}

#[test]
fn a_mail_in_full() {
    let integration = one(
        "email_configs: [{to: 'a@example.com, Jörg <j@example.com>, a@example.com', from: m@example.com, smarthost: 'mail:25', \
         headers: {X-Team: größer, Reply-To: team@example.com}}]",
    );
    let mail = mail(&integration, &notification(2, 0), &CONTEXT);
    assert_eq!(mail.to, ["a@example.com", "j@example.com"]);
    insta::assert_snapshot!(written(&mail).split("<!DOCTYPE").next().unwrap().replace('\r', ""), @r#"
    Date: Tue, 14 Nov 2023 22:19:21 +0000
    From: m@example.com
    To: a@example.com, =?utf-8?b?SsO2cmc=?= <j@example.com>, a@example.com
    Subject: [FIRING:2] AIErrorSpike model=gpt-4o
    Message-ID: <1700000360000000.1.937e872eec226b3fa34fd55d@example.com>
    Auto-Submitted: auto-generated
    X-Team: =?utf-8?b?Z3LDtsOfZXI=?=
    Reply-To: team@example.com
    MIME-Version: 1.0
    Content-Type: multipart/alternative;
     boundary="=_f2fa7b5d8cb96d7b1e474a3bb1f9631d"

    --=_f2fa7b5d8cb96d7b1e474a3bb1f9631d
    Content-Type: text/plain; charset=utf-8
    Content-Transfer-Encoding: quoted-printable

    [FIRING:2] AIErrorSpike model=3Dgpt-4o

    * gpt-4o: 12 errors in the last hour for org-0
      value 12, since 2023-11-14T22:14:20Z (5m)
      12 errors > 10 within 1h
      org =3D org-0

    * gpt-4o: 13 errors in the last hour for org-1
      value 13, since 2023-11-14T22:14:20Z (5m)
      13 errors > 10 within 1h
      org =3D org-1

    alertname =3D AIErrorSpike
    model =3D gpt-4o
    severity =3D high

    Runbook: https://wiki.example/runbooks/errors
    Silence: http://modelwatch/silences/new?filter=3D%7Balertname%3D%22AIErrorS=
    pike%22%7D
    Acknowledge: http://modelwatch/ack?receiver=3Doncall&group=3D%7B%7D%3A%7Bal=
    ertname%3D%22AIErrorSpike%22%7D

    --=20
    modelwatch, new alert; http://modelwatch
    --=_f2fa7b5d8cb96d7b1e474a3bb1f9631d
    Content-Type: text/html; charset=utf-8
    Content-Transfer-Encoding: quoted-printable
    "#);
}

#[test]
fn html_in_full() {
    let mut one = notification(1, 0);
    one.alerts[0].annotations.set("description", "<script>alert(1)</script>\nsecond & last");
    insta::assert_snapshot!(html::body(&one, "http://modelwatch/?a=1&b=\"2\"", None), @r#"
    <!DOCTYPE html>
    <html lang="en">
    <head>
    <meta charset="utf-8">
    <meta name="viewport" content="width=device-width">
    <meta name="color-scheme" content="light dark">
    <title>[FIRING:1] AIErrorSpike model=gpt-4o org=org-0</title>
    </head>
    <body style="margin:0;padding:16px;font-family:-apple-system,'Segoe UI',Roboto,Helvetica,Arial,sans-serif;font-size:14px;line-height:1.45">
    <div style="max-width:720px;border-left:6px solid #e01e5a;padding-left:16px">
    <h1 style="font-size:18px;margin:0 0 8px">[FIRING:1] AIErrorSpike model=gpt-4o org=org-0</h1>
    <p style="margin:0 0 8px">
    <a href="https://wiki.example/runbooks/errors" style="display:inline-block;margin:0 8px 8px 0;padding:5px 12px;border:1px solid #808080;border-radius:6px;text-decoration:none;color:#3b82d6">Runbook</a>
    <a href="http://modelwatch/?a=1&amp;b=%222%22/silences/new&amp;filter=%7Balertname%3D%22AIErrorSpike%22%7D" style="display:inline-block;margin:0 8px 8px 0;padding:5px 12px;border:1px solid #808080;border-radius:6px;text-decoration:none;color:#3b82d6">Silence</a>
    <a href="http://modelwatch/?a=1&amp;b=%222%22/ack&amp;receiver=oncall&amp;group=%7B%7D%3A%7Balertname%3D%22AIErrorSpike%22%7D" style="display:inline-block;margin:0 8px 8px 0;padding:5px 12px;border:1px solid #808080;border-radius:6px;text-decoration:none;color:#3b82d6">Acknowledge</a>
    </p>
    <div style="margin:0 0 16px">
    <h2 style="font-size:15px;margin:0">gpt-4o: 12 errors in the last hour for org-0</h2>
    <p style="margin:2px 0;color:#808080">firing, value 12, since 2023-11-14T22:14:20Z (5m)<br>
    12 errors &gt; 10 within 1h</p>
    <p style="margin:6px 0">&lt;script&gt;alert(1)&lt;/script&gt;<br>
    second &amp; last</p>
    </div>
    <p style="margin:0;color:#808080">All of them</p>
    <table style="border-collapse:collapse;font-family:-apple-system,'Segoe UI',Roboto,Helvetica,Arial,sans-serif;font-size:14px;line-height:1.45;margin:4px 0">
    <tr><td style="padding:2px 16px 2px 0;vertical-align:top;color:#808080">alertname</td><td style="padding:2px 0">AIErrorSpike</td></tr>
    <tr><td style="padding:2px 16px 2px 0;vertical-align:top;color:#808080">model</td><td style="padding:2px 0">gpt-4o</td></tr>
    <tr><td style="padding:2px 16px 2px 0;vertical-align:top;color:#808080">org</td><td style="padding:2px 0">org-0</td></tr>
    <tr><td style="padding:2px 16px 2px 0;vertical-align:top;color:#808080">severity</td><td style="padding:2px 0">high</td></tr>
    </table>
    <p style="margin:16px 0 0;font-size:12px;color:#808080"><a href="http://modelwatch/?a=1&amp;b=%222%22" style="color:#808080">modelwatch</a>: new alert</p>
    </div>
    </body>
    </html>
    "#);
}

#[test]
fn threads_go_from_firing_to_resolved() {
    let integration = one(MINIMAL);
    let later = |handle, delivery| Context { handle, delivery, ..CONTEXT };
    let first = mail(&integration, &notification(1, 0), &later(None, 7));
    let began = header(&written(&first), "Message-ID").unwrap();
    assert_eq!(header(&written(&first), "References"), None);
    let handle = first.handle(&[]);
    let resolve = mail(&integration, &notification(0, 1), &later(Some(&handle), 9));
    assert_eq!(header(&written(&resolve), "References"), Some(began.clone()));
    assert_eq!(header(&written(&resolve), "In-Reply-To"), Some(began.clone()));
    assert_ne!(header(&written(&resolve), "Message-ID"), Some(began.clone()));
    // The thread goes on under the same head.
    assert!(resolve.handle(&[]).starts_with(&began));
    assert_eq!(written(&first), written(&mail(&integration, &notification(1, 0), &later(None, 7))));

    let thread = |threading: &str, day: i64| {
        let integration = one(&MINIMAL.replace("}]", &format!(", threading: {{{threading}}}}}]")));
        let context = Context { now: Time::from_secs(1_700_000_000 + day * 86_400), ..CONTEXT };
        header(&written(&mail(&integration, &notification(1, 0), &context)), "References")
    };
    assert_eq!(thread("enabled: false", 0), None);
    assert!(thread("thread_by_date: none", 0).is_some());
    assert_eq!(thread("thread_by_date: none", 0), thread("thread_by_date: none", 1));
    assert_ne!(thread("thread_by_date: daily", 0), thread("thread_by_date: daily", 1));
}

#[test]
fn who_has_it_gets_it_no_second_time() {
    let integration = one(&MINIMAL.replace("a@example.com", "'a@example.com, b@example.com'"));
    let first = mail(&integration, &notification(1, 0), &CONTEXT);
    assert!(!first.has_been_told());
    let handle = first.handle(&["a@example.com".to_owned()]);
    let again = mail(&integration, &notification(1, 0), &Context { handle: Some(&handle), ..CONTEXT });
    assert!(again.has_been_told());
    assert_eq!(again.to, ["b@example.com"]);
    assert_eq!(header(&written(&again), "To").unwrap(), "a@example.com, b@example.com");
    let next = mail(&integration, &notification(1, 0), &Context { handle: Some(&handle), delivery: 2, ..CONTEXT });
    assert_eq!(next.to.len(), 2);
}

#[test]
fn no_value_becomes_a_header_or_markup() {
    let hostile = "x\r\nBcc: evil@example.com\r\n\r\n<script>\u{202e}\u{0}";
    let integration = one(&MINIMAL.replace("}]", ", headers: {X-Own: \"a\\r\\nEvil: b\"}}]"));
    let mut one = notification(1, 0);
    for name in ["alertname", "org", "model", hostile] {
        one.alerts[0].labels.set(name, hostile);
    }
    for name in ["summary", "description", "runbook_url", "dashboard_url"] {
        one.alerts[0].annotations.set(name, hostile);
    }
    one.alerts[0].evidence = hostile.to_owned();
    one.group_key = hostile.to_owned();
    one.receiver = hostile.to_owned();
    one.reason = hostile.to_owned();
    let message = written(&mail(&integration, &one, &CONTEXT));
    let head: Vec<&str> = message.split("\r\n\r\n").next().unwrap().lines().filter(|line| !line.starts_with(' ')).collect();
    let names: Vec<&str> = head.iter().map(|line| line.split_once(':').unwrap().0).collect();
    let expected = ["Date", "From", "To", "Subject", "Message-ID", "Auto-Submitted", "X-Own", "MIME-Version", "Content-Type"];
    assert_eq!(names, expected);
    let html = html::body(&one, hostile, Some(hostile));
    assert!(!html.contains("<script>") && !html.contains('\u{202e}') && !html.contains('\0'), "{html}");
    assert!(message.bytes().all(|byte| byte.is_ascii() && (byte >= b' ' || byte == b'\r' || byte == b'\n')));
}

#[test]
fn no_password_is_shown() {
    let keys = ", auth_username: me, auth_password: s3cr3t-word}]";
    let integration = one(&MINIMAL.replace("}]", keys));
    let base64 = [BASE64.encode("\0me\0s3cr3t-word"), BASE64.encode("s3cr3t-word")];
    let said = format!("535 no s3cr3t-word {} {}", base64[0], base64[1]);
    let mail = mail(&integration, &notification(1, 0), &CONTEXT);
    let outcome = integration.classify(&Answer { status: 535, retry_after: None, body: said.clone() });
    let shown =
        format!("{integration:?} {mail:?} {outcome:?} {:?} {:?}", integration.classify_network(&said), integration.quote(&said));
    assert!(base64.iter().map(String::as_str).chain(["s3cr3t-word"]).all(|secret| !shown.contains(secret)), "{shown}");
    assert!(!written(&mail).contains("s3cr3t-word"));
}

#[test]
fn templates_say_it_in_other_words() {
    let keys = ", text: '{{ len .Alerts }} of {{ .CommonLabels.model }}', html: '', headers: {Subject: '{{ .Status }}: \
                {{ .CommonLabels.alertname }}', X-Default: '{{ template \"email.default.subject\" . }}'}}]";
    let integration = one(&MINIMAL.replace("}]", keys));
    let mail = mail(&integration, &notification(2, 0), &CONTEXT);
    let message = written(&mail);
    assert_eq!(header(&message, "Subject").unwrap(), "firing: AIErrorSpike");
    assert_eq!(header(&message, "X-Default"), None);
    assert_eq!(header(&message, "Content-Type").unwrap(), "text/plain; charset=utf-8");
    assert!(message.ends_with("\r\n\r\n2 of gpt-4o\r\n"), "{message}");
    let (_, faults) = read("{}", &MINIMAL.replace("}]", ", html: '{{ .Alerts.Nope'}]"));
    assert_eq!(faults, ["bad-template"]);
}

#[test]
fn an_address_may_be_made_of_labels_and_be_none() {
    let integration = one(&MINIMAL.replace("a@example.com", "'{{ .CommonLabels.team }}@example.com'"));
    let mut one = notification(1, 0);
    one.alerts[0].labels.set("team", "search");
    assert_eq!(mail(&integration, &one, &CONTEXT).to, ["search@example.com"]);
    one.alerts[0].labels.set("team", "a\nb");
    let message = mail(&integration, &one, &CONTEXT).message.unwrap_err();
    assert_eq!(message, "`a\\nb@example.com` is no address of mail");
}
