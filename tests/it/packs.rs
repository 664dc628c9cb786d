//! The packs of rules that are shipped: each is loaded as its runbook says, on the schema that it is for, and each of its rules is
//! proved by its tests (`ruletest` runs them) and explained by its runbook.

use crate::daemon::output;
use crate::postgres::{CORA, Postgres, execute};
use serde_json::Value;
use sqlx::AssertSqlSafe;
use std::collections::BTreeSet;
use std::path::Path;

/// Each pack, with the schema that it is for.
pub const PACKS: [(&str, &str); 7] = [
    ("aigym", include_str!("schemas/aigym.sql")),
    ("audit", include_str!("schemas/audit.sql")),
    ("cora", CORA),
    ("executions", include_str!("schemas/executions.sql")),
    ("litellm", include_str!("schemas/litellm.sql")),
    ("starter", include_str!("schemas/llm_calls.sql")),
    ("xorstack", include_str!("schemas/xorstack.sql")),
];

/// What every section of a runbook says.
const PARTS: [&str; 5] = ["**Fires", "**What it means.**", "**First queries.**", "**What to do.**", "**Quiet.**"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

pub fn read(file: &str) -> String {
    std::fs::read_to_string(root().join(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
}

fn yaml(file: &str) -> Value {
    serde_yaml::from_str(&read(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
}

fn each<'a>(value: &'a Value, key: &str) -> impl Iterator<Item = &'a Value> {
    value[key].as_array().into_iter().flatten()
}

fn rules(pack: &str) -> Vec<Value> {
    let file = yaml(&format!("rules/{pack}/{pack}.yml"));
    each(&file, "groups").flat_map(|group| each(group, "rules").cloned()).collect()
}

fn name(rule: &Value) -> &str {
    rule["alert"].as_str().unwrap()
}

/// The YAML blocks of a runbook.
fn blocks(pack: &str) -> Vec<String> {
    let text = read(&format!("rules/{pack}/README.md"));
    text.split("```yaml\n").skip(1).map(|block| block.split("```").next().unwrap().to_owned()).collect()
}

#[test]
fn every_folder_of_rules_is_a_pack() {
    let folders =
        std::fs::read_dir(root().join("rules")).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_dir());
    let found: BTreeSet<String> = folders.map(|path| path.file_name().unwrap().to_string_lossy().into_owned()).collect();
    assert_eq!(found, PACKS.map(|(pack, _)| pack.to_owned()).into());
    let overview = read("rules/README.md");
    for (pack, _) in PACKS {
        assert!(overview.contains(&format!("| [{pack}]({pack}/README.md) |")), "rules/README.md does not tell of {pack}");
    }
}

#[test]
fn every_pack_is_without_fault() {
    for (pack, _) in PACKS {
        let output = output(root(), &["check", &format!("rules/{pack}/{pack}.yml")]);
        assert_eq!((output.code, output.stderr.contains("warning")), (Some(0), false), "{pack}: {}", output.stderr);
    }
}

/// The config and the rules that a runbook shows, in a folder of their own.
#[tokio::test]
async fn every_pack_suits_its_schema() {
    let Some(postgres) = Postgres::shared().await else { return };
    for (pack, schema) in PACKS {
        let database = postgres.database(schema).await;
        let dir = deployed(pack, &database.url);
        for file in blocks(pack).iter().filter(|block| !block.contains("sources:")) {
            std::fs::write(dir.path().join("shown.yml"), file).unwrap();
            let output = output(dir.path(), &["check", "shown.yml"]);
            assert_eq!(output.code, Some(0), "{pack}: {}", output.stderr);
        }
        let output = output(dir.path(), &["check", "-c", "modelwatch.yml", "--connect"]);
        assert_eq!((output.code, output.stderr.contains("warning")), (Some(0), false), "{pack}: {}", output.stderr);
    }
}

/// Ten days of chance, and the same with a model that is down for 40 minutes and a morning whose calls are missing.
#[tokio::test]
async fn starter_is_quiet_on_healthy_traffic_and_loud_in_an_outage() {
    let Some(postgres) = Postgres::shared().await else { return };
    let database = postgres.database(&[include_str!("schemas/llm_calls.sql"), include_str!("healthy.sql")].concat()).await;
    let dir = deployed("starter", &database.url);
    let span = ["--since", "2026-09-30T00:00:00Z", "--until", "2026-10-09T23:59:00Z"];
    let backtest = || output(dir.path(), &[&["backtest", "--fail-over", "0"][..], &span].concat());
    let healthy = backtest();
    assert_eq!(healthy.code, Some(0), "{}{}", healthy.stdout, healthy.stderr);
    let outage = "
        UPDATE llm_calls SET status = 'failed' WHERE model_name = 'gpt-4o' AND created BETWEEN '2026-10-07 14:00+00' AND '2026-10-07 14:40+00';
        DELETE FROM llm_calls WHERE created BETWEEN '2026-10-08 10:00+00' AND '2026-10-08 12:00+00';";
    execute(&mut database.connect().await, outage).await;
    let bad = backtest();
    let fired: BTreeSet<&str> =
        bad.stderr.lines().filter_map(|line| line.trim().strip_prefix("starter")?.split(['/', ':']).nth(1)).collect();
    let expected = ["AIErrorRateHigh", "AIErrorSpike", "AIModelDown", "AIObjectiveBurns", "AITrafficStopped"];
    assert_eq!((bad.code, fired), (Some(1), expected.into()), "{}{}", bad.stdout, bad.stderr);
}

/// A pack in a folder with the config that its runbook shows.
fn deployed(pack: &str, url: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    copy(&root().join("rules").join(pack), &dir.path().join("rules").join(pack));
    std::fs::create_dir(dir.path().join("secrets")).unwrap();
    std::fs::write(dir.path().join("secrets/database_url"), url).unwrap();
    let config = blocks(pack).into_iter().find(|block| block.contains("sources:")).expect("the runbook shows a config");
    std::fs::write(dir.path().join("modelwatch.yml"), config).unwrap();
    dir
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for path in std::fs::read_dir(from).unwrap().map(|entry| entry.unwrap().path()) {
        std::fs::copy(&path, to.join(path.file_name().unwrap())).unwrap();
    }
}

#[test]
fn every_rule_fires_in_a_test_and_is_silent_in_its_twin() {
    for (pack, _) in PACKS {
        let file = yaml(&format!("rules/{pack}/{pack}.test.yml"));
        for rule in rules(pack) {
            let of_it = || each(&file, "tests").filter(|test| test["rules"] == serde_json::json!([name(&rule)]));
            let fires = |test: &&Value| each(test, "expect").any(|expected| each(expected, "alerts").next().is_some());
            assert!(of_it().any(|test| fires(&test)), "{pack}: {} fires in no test", name(&rule));
            assert!(of_it().any(|test| !fires(&test)), "{pack}: {} is silent in no test of its own", name(&rule));
        }
    }
}

#[test]
fn every_alert_says_how_bad_it_is_what_it_is_and_where_its_runbook_is() {
    for (pack, _) in PACKS {
        let runbook = read(&format!("rules/{pack}/README.md"));
        for rule in rules(pack) {
            let (name, annotations) = (name(&rule), &rule["annotations"]);
            assert!(has_severity(&rule), "{pack}: {name} has no severity");
            assert!(
                annotations["summary"].is_string() && annotations["description"].is_string(),
                "{pack}: {name}: {annotations}"
            );
            let anchor = name.to_lowercase();
            let link = format!("https://runbooks.example.com/modelwatch/rules/{pack}/README.md#{anchor}");
            assert_eq!(annotations["runbook_url"].as_str(), Some(link.as_str()), "{pack}: {name}");
            let section = runbook.split(&format!("\n## {name}\n")).nth(1).and_then(|rest| rest.split("\n## ").next());
            let section = section.unwrap_or_else(|| panic!("{pack}: the runbook has no section {name}"));
            for part in PARTS.iter().chain(&["```sql"]) {
                assert!(section.contains(part), "{pack}: {name}: no {part}");
            }
            assert!(runbook.contains(&format!("| [{name}](#{anchor}) |")), "{pack}: {name} is not in the runbook's table");
        }
    }
}

/// By its label, or by that of each of its conditions or shares.
fn has_severity(rule: &Value) -> bool {
    let objective = &rule["slo_burn_rate"];
    let shares = rule["budget"]["shares"].as_object();
    rule["labels"]["severity"].is_string()
        || shares.is_some_and(|shares| shares.values().all(Value::is_string))
        || (objective.is_object() && each(objective, "conditions").all(|condition| condition["severity"].is_string()))
}

/// What the SELECTs of `sql` rules find in rows at their boundaries, at noon of 2026-11-20.
#[tokio::test]
async fn selects_find_what_their_runbook_says() {
    let cora = "
        INSERT INTO ai_log_error (request_source, operation_type, error_type, occurred_at, resolved_at)
        SELECT 's', 'o', error_type, at::timestamp, resolved::timestamp FROM (VALUES
          ('timeout', 11, '2026-11-19 12:00', NULL), ('timeout', 5, '2026-11-19 12:00:01', NULL), ('timeout', 5, '2026-11-06 12:00', NULL),
          ('access_denied', 10, '2026-11-19 12:00', NULL), (NULL, 12, '2026-11-10', NULL), ('quota_exceeded', 20, '2026-11-10', '2026-11-11')
        ) AS kinds (error_type, times, at, resolved), generate_series(1, times);
        INSERT INTO ai_providers (id, name) VALUES (md5('p')::uuid, 'anthropic');
        INSERT INTO ai_models (id, provider_id, model_id, last_validated_at) VALUES
          (md5('old')::uuid, md5('p')::uuid, 'old', '2026-10-20 11:00+00'), (md5('fresh')::uuid, md5('p')::uuid, 'fresh', '2026-10-21 12:00+00'),
          (md5('never')::uuid, NULL, 'never', NULL), (md5('unused')::uuid, NULL, 'unused', NULL);
        INSERT INTO ai_log_usage (model_id, request_source, operation_type, model_id_used, success, started_at)
        SELECT md5(model)::uuid, 's', 'o', model, true, at::timestamp FROM (VALUES
          ('old', '2026-11-20 11:00'), ('old', '2026-11-20 11:30'), ('fresh', '2026-11-20 11:00'), ('never', '2026-11-19 12:00:01'),
          ('unused', '2026-11-19 12:00')) AS calls (model, at);";
    let xorstack = "
        INSERT INTO system_metrics (metric_name, value, labels, recorded_at) VALUES
          ('api_response_time_p95', 9000, NULL, '2026-11-20 11:50+00'), ('api_response_time_p95', 3000, NULL, '2026-11-20 11:59+00'),
          ('api_response_time_p95', 3001, '{\"path\": \"/a\"}', '2026-11-20 11:59+00'), ('error_rate', 0.021, NULL, '2026-11-20 11:00:01+00'),
          ('error_rate', 0.5, '{\"path\": \"/b\"}', '2026-11-20 11:00+00'), ('storage_bytes', 1e12, NULL, '2026-11-20 11:59+00');
        INSERT INTO user_feedback (category, priority, status, message, created_at) VALUES
          ('bug', 'high', 'pending', '', '2026-11-20 11:00+00'), ('bug', 'high', 'pending', '', '2026-11-01'), ('bug', 'high', 'resolved', '', '2026-11-01'),
          ('question', 'high', 'pending', '', '2026-11-20 11:00:01+00'), ('general', 'medium', 'pending', '', '2026-11-01');
        INSERT INTO ai_logs (function_name, status, created_at) VALUES ('f', 'success', '2026-08-20 11:59+00'), ('f', 'success', '2026-11-20');";
    finds("cora", CORA, cora, "AIErrorsUnresolved", &[r#"["timeout", 11]"#, r#"["not classified", 12]"#]).await;
    let stale = [r#"["old", "anthropic", "2026-10-20", 31]"#, r#"["never", "", "never", 0]"#];
    finds("cora", CORA, cora, "AIModelNotValidated", &stale).await;
    let schema = include_str!("schemas/xorstack.sql");
    let high = [r#"["error_rate", null, 0.021]"#, r#"["api_response_time_p95", "{\"path\": \"/a\"}", 3001]"#];
    finds("xorstack", schema, xorstack, "XorstackSystemMetricHigh", &high).await;
    finds("xorstack", schema, xorstack, "XorstackFeedbackWaiting", &[r#"["bug", 2]"#]).await;
    finds("xorstack", schema, xorstack, "XorstackRetentionOverdue", &[r#"["ai_logs", 92]"#]).await;
    let young = "INSERT INTO ai_logs (function_name, status, created_at) VALUES ('f', 'success', '2026-08-21 12:00+00')";
    finds("xorstack", schema, young, "XorstackRetentionOverdue", &[]).await;
}

async fn finds(pack: &str, schema: &str, rows: &str, rule: &str, expected: &[&str]) {
    let Some(postgres) = Postgres::shared().await else { return };
    let mut connection = postgres.database(schema).await.connect().await;
    execute(&mut connection, "SET timezone = 'UTC'").await;
    execute(&mut connection, rows).await;
    let all = rules(pack);
    let query = all.iter().find(|known| name(known) == rule).unwrap()["sql"]["query"].as_str().unwrap();
    let query = query.replace(":now", "'2026-11-20 12:00:00+00'::timestamptz");
    let sql = format!("SELECT (SELECT json_agg(value)::text FROM json_each(to_json(asked))) FROM ({query}) AS asked");
    let found: Vec<String> = sqlx::query_scalar(AssertSqlSafe(sql)).fetch_all(&mut connection).await.unwrap();
    let values = |rows: &[String]| -> Vec<Value> {
        let mut values: Vec<Value> = rows.iter().map(|row| serde_json::from_str(row).unwrap()).collect();
        values.sort_by_key(Value::to_string);
        values
    };
    let expected: Vec<String> = expected.iter().map(|row| (*row).to_owned()).collect();
    assert_eq!(values(&found), values(&expected), "{rule}");
}
