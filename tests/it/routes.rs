//! Route trees against the real `amtool` of Debian's prometheus-alertmanager: the same file and the same labels give the
//! same receivers, in the same order; and what we show of a configuration, amtool reads.

use std::path::Path;
use std::process::{Command, Output};

use modelwatch::config;
use modelwatch::labels::{Labels, escape};
use modelwatch::yaml::Faults;
use tempfile::TempDir;

use crate::ground::{Chance, missing, program};

const TREES: u64 = 500;
const LABEL_SETS: usize = 2;
/// Of so many trees one is held against all that amtool prints, and one against what it makes of the configuration that we show.
const EVERY: u64 = 20;

const NAMES: [&str; 4] = ["severity", "team", "model", "_x1"];
const VALUES: [&str; 10] = ["", "1", "2", "12", "page", "gpt-4.1", "a b", "x\"y\\z", "\u{e9}", "{a},b"];
/// Patterns of which some are written as only Go takes them.
const PATTERNS: [&str; 18] = [
    "1|2",
    "1",
    ".*",
    ".+",
    "",
    "page|ticket|",
    r"\d+",
    r"\w*",
    "[^1]*",
    "gpt-4\\.[0-9]",
    "(?i)PAGE",
    "a{,2}|{a}.*",
    "^1$",
    "[[:alpha:]]+",
    r"[\d[]+",
    r"x\W.*",
    "(1|2)+",
    r"[\x{e9}]|\Qa b\E",
];

/// A tree of routes as a file has it, and how it may be written.
struct Writer<'a> {
    chance: &'a mut Chance,
    out: String,
}

impl Writer<'_> {
    fn line(&mut self, indent: usize, text: &str) {
        self.out += &format!("{}{text}\n", " ".repeat(indent));
    }

    /// A YAML scalar in double quotes.
    fn quoted(text: &str) -> String {
        serde_json::Value::from(text).to_string()
    }

    fn matcher(&mut self) -> String {
        let name = *self.chance.pick(&NAMES);
        let op = *self.chance.pick(&["=", "!=", "=~", "!~"]);
        let value = *if op.ends_with('~') { self.chance.pick(&PATTERNS) } else { self.chance.pick(&VALUES) };
        let bare = value.chars().all(|c| c.is_ascii_alphanumeric() || ".*+|-".contains(c));
        if bare && self.chance.percent(30) {
            return format!("{name} {op} {value}");
        }
        format!("{name}{op}\"{}\"", escape(value))
    }

    fn matchers(&mut self, indent: usize) {
        let count = self.chance.below(3);
        if self.chance.percent(20) {
            for (key, values) in [("match", &VALUES[..]), ("match_re", &PATTERNS[..])] {
                let (name, value) = (*self.chance.pick(&NAMES), *self.chance.pick(values));
                if self.chance.percent(60) {
                    self.line(indent, &format!("{key}: {{{name}: {}}}", Self::quoted(value)));
                }
            }
        } else if self.chance.percent(20) {
            let all: Vec<String> = (0..=count).map(|_| self.matcher()).collect();
            let text = format!("{{{}}}", all.join(", "));
            self.line(indent, &format!("matchers: [{}]", Self::quoted(&text)));
        } else {
            let all: Vec<String> = (0..count).map(|_| Self::quoted(&self.matcher())).collect();
            self.line(indent, &format!("matchers: [{}]", all.join(", ")));
        }
    }

    fn routes(&mut self, indent: usize, depth: u64) {
        let count = 1 + self.chance.below(4);
        self.line(indent, "routes:");
        for _ in 0..count {
            let goes_on = self.chance.percent(40);
            self.line(indent, &format!("- continue: {goes_on}"));
            self.matchers(indent + 2);
            if self.chance.percent(70) {
                let receiver = self.chance.below(8);
                self.line(indent + 2, &format!("receiver: r{receiver}"));
            }
            if self.chance.percent(30) {
                let group_by = *self.chance.pick(&["[]", "['...']", "[team]", "[model, severity]"]);
                self.line(indent + 2, &format!("group_by: {group_by}"));
            }
            if depth > 0 && self.chance.percent(50) {
                self.routes(indent + 2, depth - 1);
            }
        }
    }
}

fn tree(chance: &mut Chance) -> String {
    let mut writer = Writer { chance, out: "route:\n  receiver: root\n".to_owned() };
    writer.routes(2, 3);
    let receivers = (0..8).map(|n| format!("- name: r{n}\n")).collect::<String>();
    format!("compatibility: alertmanager\n{}receivers:\n- name: root\n{receivers}", writer.out)
}

fn labels(chance: &mut Chance) -> Labels {
    NAMES.iter().map(|name| (*name, *chance.pick(&VALUES))).collect()
}

fn arguments(labels: &Labels) -> Vec<String> {
    labels.iter().map(|(name, value)| format!("{name}=\"{}\"", escape(value))).collect()
}

fn routes_test(amtool: &Path, file: &Path, labels: &Labels, options: &[&str]) -> Output {
    let file = format!("--config.file={}", file.display());
    let mut command = Command::new(amtool);
    command.args(["config", "routes", "test", &file]).args(options).args(arguments(labels)).output().unwrap()
}

fn stdout(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn modelwatch(arguments: &[&str]) -> Output {
    let binary = std::env::var_os("MODELWATCH_BIN").unwrap_or_else(|| env!("CARGO_BIN_EXE_modelwatch").into());
    Command::new(binary).args(arguments).output().unwrap()
}

/// Without what Alertmanager does not know.
fn for_alertmanager(text: &str) -> String {
    text.replacen("compatibility: alertmanager\n", "", 1)
}

/// What differs for one tree, in words.
fn differences(amtool: &Path, number: u64, chance: &mut Chance) -> Vec<String> {
    let dir = TempDir::new().unwrap();
    let [theirs, ours, shown] = ["alertmanager.yml", "modelwatch.yml", "shown.yml"].map(|name| dir.path().join(name));
    let text = tree(chance);
    std::fs::write(&theirs, for_alertmanager(&text)).unwrap();
    std::fs::write(&ours, &text).unwrap();
    let mut faults = Faults::default();
    let config = config::parse("modelwatch.yml", &text, dir.path(), None, &mut faults);
    let Some(config) = config else { return vec![format!("tree {number} is refused: {:?}\n{text}", faults.0)] };
    std::fs::write(&shown, &config.original).unwrap();
    let mut found = Vec::new();
    for _ in 0..LABEL_SETS {
        let labels = labels(chance);
        let receivers: Vec<&str> =
            config.routing.root.matching(&labels).into_iter().map(|route| route.receiver.as_str()).collect();
        let (receivers, expected) = (receivers.join(","), routes_test(amtool, &theirs, &labels, &[]));
        if stdout(&expected).trim() != receivers {
            found.push(format!("tree {number}, {labels}: {receivers}, but amtool says {}\n{text}", stdout(&expected)));
        }
        if number.is_multiple_of(EVERY) {
            let (ours, arguments) = (ours.to_str().unwrap(), arguments(&labels));
            let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
            let said = stdout(&modelwatch(&[&["route-test", "--tree", "-c", ours], &arguments[..]].concat()));
            let expected = stdout(&routes_test(amtool, &theirs, &labels, &["--tree"]));
            if said != expected {
                found.push(format!("tree {number}, {labels}: we print\n{said}amtool prints\n{expected}"));
            }
            let of_shown = stdout(&routes_test(amtool, &shown, &labels, &[]));
            if of_shown.trim() != receivers {
                found.push(format!("tree {number}, {labels}: {receivers}, but by what we show {of_shown}\n{}", config.original));
            }
        }
    }
    found
}

#[test]
fn random_trees_take_alerts_where_amtool_says() {
    let Some(amtool) = program("amtool") else { return missing("amtool") };
    let seed = Chance::announced().next();
    let threads = std::thread::available_parallelism().map_or(2, usize::from) as u64;
    let found: Vec<String> = std::thread::scope(|scope| {
        let share = |thread: u64| {
            let amtool = &amtool;
            let numbers = (0..TREES).filter(move |number| number % threads == thread);
            move || numbers.flat_map(|n| differences(amtool, n, &mut Chance::new(seed ^ (n << 32)))).collect::<Vec<_>>()
        };
        let running: Vec<_> = (0..threads).map(|thread| scope.spawn(share(thread))).collect();
        running.into_iter().flat_map(|running| running.join().unwrap()).collect()
    });
    assert!(found.is_empty(), "{} differ; the first: {}", found.len(), found[0]);
}

/// Everything that we have words for and Alertmanager too, and much that it has not.
const RICH: &str = r#"
listen: 127.0.0.1:0
global: {resolve_timeout: 7m, slack_api_url: "https://hooks.slack.com/services/hunter2hunter2", pagerduty_url: "https://pd.example.com/enqueue"}
route:
  receiver: oncall
  escalation: [{after: 15m, receiver: lead}]
  routes:
    - {matchers: 'severity="page"', receiver: lead, group_by: ['...'], active_time_intervals: [office, named], continue: true}
    - {match: {team: "a \"b\" \\ c"}, match_re: {model: gpt-.*}, group_by: [], group_wait: 1m30s, mute_time_intervals: [old]}
    - {matchers: [model="x"], receiver: "yes"}
inhibit_rules:
  - {source_match: {severity: page}, target_match_re: {severity: "ticket|info"}, equal: [model, org]}
  - {name: second, source_matchers: [a="1"], target_matchers: ['{b!="2", c!~"3.*"}']}
time_intervals:
  - {name: office, time_intervals: ['mon-fri,sun 08:00-12:00,13:00-24:00 America/Los_Angeles']}
  - {name: named, time_intervals: [{weekdays: ['monday:friday'], days_of_month: ['1:5', '-3:-1'], months: ['1:3', december], years: ['2026:2028', 2030]}]}
  - {name: never, time_intervals: []}
mute_time_intervals:
  - {name: old, time_intervals: [{times: [{start_time: '22:00', end_time: '24:00'}]}]}
receivers:
  - name: oncall
    stdout_configs: [{}]
    slack_configs: [{api_url: "https://hooks.slack.com/services/hunter2hunter2", send_resolved: false}]
    pagerduty_configs: [{routing_key: hunter2hunter2, severity: critical}]
    webhook_configs: [{url: "https://me:hunter2hunter2@hooks.example.com/hunter2hunter2?q=hunter2hunter2#x", max_alerts: 5}]
  - name: lead
  - name: "yes"
"#;

#[test]
fn amtool_reads_what_we_show_of_a_configuration() {
    let Some(amtool) = program("amtool") else { return missing("amtool") };
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("modelwatch.yml");
    std::fs::write(&path, RICH).unwrap();
    let (config, faults) = config::load(&path);
    let config = config.unwrap_or_else(|| panic!("{faults:?}"));
    let shown = dir.path().join("shown.yml");
    std::fs::write(&shown, &config.original).unwrap();
    let checked = Command::new(amtool).arg("check-config").arg(&shown).output().unwrap();
    let said = String::from_utf8_lossy(&checked.stdout).into_owned() + &String::from_utf8_lossy(&checked.stderr);
    assert!(checked.status.success(), "{said}\n{}", config.original);
    assert!(said.contains(" - 2 inhibit rules") && said.contains(" - 3 receivers"), "{said}");
    assert!(!config.original.contains("hunter2"), "{}", config.original);
    assert_eq!(config.original, include_str!("routes/shown.yml"));
    // It says the same as the file: to us it is the same tree. A secret is to be one that could be.
    std::fs::write(&shown, config.original.replace("\"<secret>\"", "https://example.com/hook")).unwrap();
    let (again, faults) = config::load(&shown);
    let again = again.unwrap_or_else(|| panic!("{faults:?}"));
    let without_escalation = |text: &str| text.replace("  escalation: [{after: 15m, receiver: lead}]\n", "");
    std::fs::write(&path, without_escalation(RICH)).unwrap();
    let plain = config::load(&path).0.unwrap();
    assert_eq!(again.routing.root, plain.routing.root);
    assert_eq!(again.routing.inhibit_rules, plain.routing.inhibit_rules);
    assert_eq!(again.routing.time_intervals, plain.routing.time_intervals);
    assert_eq!(again.original, plain.original);
}

/// Of files as people have them for Alertmanager.
#[test]
fn an_alertmanager_yml_is_shown_as_it_is() {
    let Some(amtool) = program("amtool") else { return missing("amtool") };
    let dir = TempDir::new().unwrap();
    let run = |arguments: &[&str], file: &Path| {
        let output = Command::new(&amtool).args(arguments).arg(file).output().unwrap();
        assert!(output.status.success(), "{}: {}", file.display(), String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    for name in ["alertmanager_kubernetes.yml", "alertmanager_mail.yml"] {
        let theirs = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/good").join(name);
        let (config, faults) = config::load(&theirs);
        let (config, shown) = (config.unwrap_or_else(|| panic!("{faults:?}")), dir.path().join(name));
        std::fs::write(&shown, &config.original).unwrap();
        let [before, after] = [&theirs, &shown].map(|file| run(&["config", "routes", "show", "--config.file"], file));
        assert_eq!(before, after);
        let found = |file| run(&["check-config"], file).split_once("SUCCESS").unwrap().1.to_owned();
        assert_eq!(found(&theirs), found(&shown));
    }
}

#[test]
fn a_route_is_told_with_its_way_and_may_be_verified() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("modelwatch.yml");
    std::fs::write(&path, RICH).unwrap();
    let run = |arguments: &[&str]| {
        let output = modelwatch(&[&["route-test", "-c", path.to_str().unwrap()], arguments].concat());
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        (output.status.code(), text(&output.stdout), text(&output.stderr))
    };
    let (code, receivers, way) = run(&["severity=page", "model=\"gpt-4\""]);
    assert_eq!((code, receivers.as_str()), (Some(0), "lead\n"));
    insta::assert_snapshot!(way, @r##"
    lead: by the route {}/{severity="page"}
      grouped by every label: {}/{severity="page"}:{model="gpt-4", severity="page"}
      after 0s, then every 5m, repeated after 4h
      only within office, named
    "##);
    assert_eq!(run(&["--verify.receivers=lead", "severity=page"]).0, Some(0));
    let (code, receivers, _) = run(&["--verify.receivers=lead,oncall", "severity=page"]);
    assert_eq!((code, receivers.as_str()), (Some(1), "lead\nWARNING: Expected receivers did not match resolved receivers.\n"));
    assert_eq!(run(&["severity"]).0, Some(2));
    assert!(run(&["severity!=page"]).2.contains("is no label"));
}
