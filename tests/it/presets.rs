//! Each preset on its schema, with rows that show every oddity: /metrics against SQL's own answers, asked in another way.
//!
//! modelwatch reads as a role that may not read what people wrote (prompts, messages, answers).

use crate::daemon::once;
use crate::measures::{Read, read};
use crate::postgres::{self, Database, Postgres};
use crate::scrape::Scrape;
use crate::sqlite;
use modelwatch::event::Outcome;
use sqlx::AssertSqlSafe;
use std::collections::BTreeMap;
use std::path::Path;

/// When it is, for modelwatch: two hours after most rows.
const NOW: &str = "2026-11-20T12:00:00Z";

/// A database with rows, and the role that modelwatch reads it as.
struct Preset {
    name: &'static str,
    database: Database,
    url: String,
    dir: tempfile::TempDir,
}

impl Preset {
    /// `content` are the columns that the role may not read.
    async fn new(name: &'static str, schema: &str, rows: &str, content: &str) -> Option<Preset> {
        let database = Postgres::shared().await?.database(&format!("{schema};\n{rows}")).await;
        let role = format!("reader_of_{name}");
        let grant = format!(
            "CREATE ROLE {role} LOGIN; DO $$ DECLARE one record; BEGIN
             FOR one IN SELECT attrelid::regclass AS place, attname FROM pg_attribute JOIN pg_class ON pg_class.oid = attrelid
               WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace AND (attnum > 0 OR attname = 'xmin')
               AND attname <> ALL (string_to_array('{content}', ' '))
             LOOP EXECUTE format('GRANT SELECT (%I) ON %s TO {role}', one.attname, one.place); END LOOP; END $$"
        );
        postgres::execute(&mut database.connect().await, &grant).await;
        let url = database.url.replace("postgres@", &format!("{role}@"));
        Some(Preset { name, database, url, dir: tempfile::tempdir().unwrap() })
    }

    /// What /metrics says at `at`, with these dimensions; what was counted before stays counted.
    fn scrape(&self, at: &str, dimensions: &str) -> Scrape {
        let config = format!(
            "export: {{dimensions: [{dimensions}]}}\nsources: [{{name: app, url: '{}', tables: [{{preset: {}}}]}}]\n",
            self.url, self.name
        );
        let output = once(&config, self.dir.path(), &["--at", at, "--state", "kept"]);
        assert_eq!(output.code, Some(0), "{}", output.stderr);
        Scrape::parse(&output.stdout).unwrap()
    }

    /// What SQL says: an array of labels, and a number.
    async fn ask(&self, sql: &str) -> BTreeMap<Vec<String>, f64> {
        let sql = AssertSqlSafe(format!("SELECT labels::text[], value::float8 FROM ({sql}) AS asked (labels, value)"));
        let rows: Vec<(Vec<String>, Option<f64>)> =
            sqlx::query_as(sql).fetch_all(&mut self.database.connect().await).await.unwrap();
        rows.into_iter().map(|(labels, value)| (labels, value.unwrap_or(0.0))).collect()
    }

    /// Each metric by some of its labels, beside the SQL that says the same.
    async fn agrees(&self, scrape: &Scrape, answers: &[(&str, &[&str], &str)]) {
        for (metric, labels, sql) in answers {
            let not_zero = |mut sums: BTreeMap<Vec<String>, f64>| {
                sums.retain(|_, value| *value != 0.0);
                sums
            };
            let (found, expected) = (not_zero(scrape.by(metric, labels)), not_zero(self.ask(sql).await));
            assert!(found.keys().eq(expected.keys()), "{} {metric} {labels:?}: {found:?}, SQL says {expected:?}", self.name);
            for (labels, value) in &expected {
                let difference = (found[labels] - value).abs();
                assert!(difference <= 1e-9 * value.abs(), "{} {metric} {labels:?}: {}, not {value}", self.name, found[labels]);
            }
            assert!(!expected.is_empty(), "{} {metric}: nothing to compare", self.name);
        }
    }

    /// All events of the table, with these measures and marks.
    async fn events(&self, measures: &[&str], marks: &[&str]) -> Read {
        read(&self.url, &format!("{{preset: {}}}", self.name), NOW, measures, marks).await
    }
}

/// Sums to a billionth.
fn close(found: f64, expected: f64) {
    assert!((found - expected).abs() <= 1e-9 * expected.abs(), "{found}, not {expected}");
}

#[tokio::test]
async fn audit() {
    let rows = r#"
        INSERT INTO workflows (id, owner) VALUES (md5('w1')::uuid, 'Ada'), (md5('w2')::uuid, NULL);
        INSERT INTO ai_audit_logs (workflow_id, capability, provider, created_at, response_metadata, request_metadata)
        SELECT md5(workflow)::uuid, capability, provider, '2026-11-20 10:00:00+00'::timestamptz + n * interval '1 min', answer::jsonb, '{}'
        FROM (VALUES
          (1, 'w1', 'summary', 'openai', '{"status": "success", "durationMs": 1234, "model": "gpt-4o"}'),
          (2, 'w1', 'summary', 'openai', '{"status": "success", "durationMs": "850.5", "model": "gpt-4o"}'),
          (3, 'w2', 'summary', 'stub', '{"status": "success", "durationMs": "fast", "model": "m"}'),
          (4, 'w2', NULL, 'anthropic', '{"status": "success", "durationMs": null}'),
          (5, 'w2', NULL, NULL, '{"status": "success", "durationMs": {"ms": 5}}'),
          (6, 'w2', '', '', '{"status": "success", "durationMs": 1e400}'),
          (7, NULL, 'draft', 'openai', '{"status": "error", "durationMs": 0.5, "model": "gpt-4o"}'),
          (8, NULL, 'draft', 'openai', '{"status": "timeout", "durationMs": 30000}'),
          (9, NULL, 'draft', 'openai', '{"durationMs": 99}'),
          (10, NULL, 'draft', 'openai', '{"status": null}'),
          (11, NULL, 'draft', 'openai', '{"status": ""}'),
          (12, NULL, 'draft', 'openai', NULL),
          (13, NULL, 'draft', 'openai', '"success"'),
          (14, NULL, 'draft', 'openai', '[{"status": "success"}]'),
          (15, NULL, 'draft', 'openai', '{"status": "success", "durationMs": -4}')
        ) AS rows (n, workflow, capability, provider, answer);"#;
    let schema = include_str!("schemas/audit.sql");
    let Some(preset) = Preset::new("audit", schema, rows, "request_metadata").await else { return };
    let scrape = preset.scrape(NOW, "provider, model, operation, capability, workspace, owner");
    let good =
        r#"(jsonb_typeof(response_metadata) IS NOT DISTINCT FROM 'object' AND response_metadata @> '{"status": "success"}')"#;
    let duration = "jsonb_path_query_first(response_metadata, 'strict $.durationMs.double()', '{}', true)::float8";
    let timed = format!("SELECT {duration} AS ms FROM ai_audit_logs WHERE {duration} >= 0");
    let requests = format!(
        "SELECT ARRAY[CASE WHEN {good} THEN 'success' ELSE 'failure' END, coalesce(CASE provider WHEN '' THEN NULL ELSE provider END, 'unspecified'),
         CASE WHEN capability > '' THEN capability ELSE 'unknown' END], count(*) FROM ai_audit_logs GROUP BY 1"
    );
    let answers: &[(&str, &[&str], &str)] = &[
        ("ai_requests_total", &["outcome", "provider", "operation"], &requests),
        ("ai_requests_total", &["outcome", "provider", "capability"], &requests),
        (
            "ai_requests_total",
            &["workspace", "owner", "model"],
            "SELECT ARRAY[coalesce(workflow_id::text, ''), coalesce(owner, ''), coalesce(response_metadata #>> '{model}', '')], count(*)
             FROM ai_audit_logs l LEFT JOIN workflows w ON w.id = workflow_id GROUP BY 1",
        ),
        (
            "ai_errors_total",
            &["error_type"],
            &format!(
                "SELECT ARRAY[coalesce(substring(response_metadata #>> '{{status}}' FROM '.+'), 'missing_status')], count(*)
                 FROM ai_audit_logs WHERE NOT {good} GROUP BY 1"
            ),
        ),
        ("ai_request_duration_seconds_sum", &[], &format!("SELECT '{{}}', sum(ms) / 1000 FROM ({timed}) t")),
        ("ai_request_duration_seconds_count", &[], &format!("SELECT '{{}}', count(*) FROM ({timed}) t")),
        ("modelwatch_values_refused_total", &[], &format!("SELECT '{{}}', count(*) FROM ai_audit_logs WHERE {duration} < 0")),
    ];
    preset.agrees(&scrape, answers).await;
}

#[tokio::test]
async fn executions() {
    // What each message is stands beside it.
    let rows = r#"
        INSERT INTO ai_executions (usage_type, input_messages, system_prompt, response_content, input_tokens, output_tokens, total_tokens,
            provider, model_name, temperature, execution_metadata, error_message, execution_time_ms, created_at)
        SELECT CASE WHEN n % 2 = 0 THEN 'interview' ELSE 'general' END, '[]', 'prompt', 'answer', input, output, total,
            CASE WHEN n % 3 = 0 THEN 'google' ELSE 'openai' END, 'model-' || n % 4, '0.7', json_build_object('is', class), message, ms,
            '2026-11-20 10:00:00'::timestamp + n * interval '1 min'
        FROM (VALUES
          (1, 100, 20, 120, NULL, NULL, 1500),
          (2, NULL, NULL, 75, NULL, NULL, 20),
          (3, 10, NULL, 10, NULL, NULL, NULL),
          (4, 0, 0, 0, NULL, '', 3),
          (5, NULL, NULL, NULL, 'inference_profile_required', 'Needs an INFERENCE PROFILE; rate limit', 10),
          (6, NULL, NULL, NULL, 'rate_limit_exceeded', 'Rate limit reached, model not found', 11),
          (7, NULL, NULL, NULL, 'rate_limit_exceeded', 'Error code: 429 - rate_limit_error', 12),
          (8, NULL, NULL, NULL, 'rate_limit_exceeded', 'ThrottlingException', 13),
          (9, NULL, NULL, NULL, 'model_not_found', 'The model does not exist: access denied', 14),
          (10, NULL, NULL, NULL, 'model_not_found', 'not_found_error', 15),
          (11, NULL, NULL, NULL, 'access_denied', '401 Unauthorized (timeout)', 16),
          (12, NULL, NULL, NULL, 'timeout', 'Timeout while asking for the quota', 17),
          (13, NULL, NULL, NULL, 'timeout', 'Request timed out.', 18),
          (14, NULL, NULL, NULL, 'quota_exceeded', 'Your QUOTA on the marketplace', 19),
          (15, NULL, NULL, NULL, 'marketplace_subscription_required', 'AWS Marketplace', 20),
          (16, 5, NULL, NULL, 'unknown_error', 'boom', 21),
          (17, NULL, NULL, NULL, 'unknown_error', '', 22)
        ) AS rows (n, input, output, total, class, message, ms);
        UPDATE ai_executions SET error_message = NULL WHERE execution_metadata ->> 'is' IS NULL;"#;
    let schema = include_str!("schemas/executions.sql");
    let content = "input_messages system_prompt response_content";
    let Some(preset) = Preset::new("executions", schema, rows, content).await else { return };
    let scrape = preset.scrape(NOW, "provider, model, operation");
    let answers: &[(&str, &[&str], &str)] = &[
        (
            "ai_requests_total",
            &["outcome", "provider", "model", "operation"],
            "SELECT ARRAY[CASE num_nulls(error_message) WHEN 1 THEN 'success' ELSE 'failure' END, provider, model_name, usage_type], count(*)
             FROM ai_executions GROUP BY 1",
        ),
        (
            "ai_errors_total",
            &["error_type"],
            "SELECT ARRAY[execution_metadata ->> 'is'], count(*) FROM ai_executions WHERE error_message IS NOT NULL GROUP BY 1",
        ),
        (
            "ai_tokens_total",
            &["token_type"],
            "SELECT '{input}', sum(input_tokens) FROM ai_executions UNION ALL SELECT '{output}', sum(output_tokens) FROM ai_executions
             UNION ALL SELECT '{unspecified}', sum(total_tokens) FROM ai_executions WHERE num_nulls(input_tokens, output_tokens) = 2",
        ),
        ("ai_request_duration_seconds_sum", &[], "SELECT '{}', sum(execution_time_ms) * 0.001 FROM ai_executions"),
        ("ai_request_duration_seconds_count", &[], "SELECT '{}', count(execution_time_ms) FROM ai_executions"),
        (
            "ai_last_event_timestamp_seconds",
            &["provider", "model", "operation"],
            "SELECT ARRAY[provider, model_name, usage_type], extract(epoch FROM max(created_at) AT TIME ZONE 'UTC') FROM ai_executions GROUP BY 1",
        ),
    ];
    preset.agrees(&scrape, answers).await;
}

const AIGYM: &str = include_str!("schemas/aigym.sql");

#[tokio::test]
async fn aigym() {
    let rows = r#"
        INSERT INTO organizations (id, name) VALUES (md5('o1')::uuid, 'North'), (md5('o2')::uuid, 'South');
        INSERT INTO ai_conversation_metrics (conversation_id, user_id, organization_id, ai_model, prompt_tokens, completion_tokens,
            total_tokens, response_time_ms, cost_cents, quality_score, error_type, created_at)
        SELECT md5('c' || n % 5)::uuid, CASE WHEN n % 7 <> 0 THEN md5('u' || n % 4)::uuid END,
            CASE WHEN n % 3 > 0 THEN md5('o' || n % 3)::uuid END, 'model-' || n % 2,
            CASE WHEN n % 4 <> 0 THEN n END, CASE WHEN n % 4 <> 0 THEN 2 * n END, 3 * n, CASE WHEN n % 6 <> 0 THEN 100 * n END,
            CASE WHEN n % 5 <> 0 THEN n * 0.0123 END, CASE WHEN n % 2 = 0 THEN n % 6 END,
            (ARRAY['timeout', 'rate_limit'])[n % 9], '2026-11-20 10:00:00+00'::timestamptz + n * interval '1 min'
        FROM generate_series(1, 60) n;"#;
    let Some(preset) = Preset::new("aigym", AIGYM, rows, "").await else { return };
    let scrape = preset.scrape(NOW, "model, org, user");
    let answers: &[(&str, &[&str], &str)] = &[
        (
            "ai_requests_total",
            &["outcome", "model", "org", "user"],
            "SELECT ARRAY[CASE WHEN error_type > '' THEN 'failure' ELSE 'success' END, ai_model, coalesce(name, ''), coalesce(user_id::text, '')],
             count(*) FROM ai_conversation_metrics LEFT JOIN organizations o ON o.id = organization_id GROUP BY 1",
        ),
        (
            "ai_errors_total",
            &["error_type"],
            "SELECT ARRAY[error_type], count(*) FROM ai_conversation_metrics WHERE error_type IS NOT NULL GROUP BY 1",
        ),
        (
            "ai_tokens_total",
            &["token_type"],
            "SELECT '{input}', sum(prompt_tokens) FROM ai_conversation_metrics UNION ALL
             SELECT '{output}', sum(completion_tokens) FROM ai_conversation_metrics UNION ALL
             SELECT '{unspecified}', sum(total_tokens) FROM ai_conversation_metrics WHERE coalesce(prompt_tokens, completion_tokens) IS NULL",
        ),
        ("ai_cost_usd_total", &["model"], "SELECT ARRAY[ai_model], sum(cost_cents) / 100 FROM ai_conversation_metrics GROUP BY 1"),
        ("ai_request_duration_seconds_sum", &[], "SELECT '{}', sum(response_time_ms) / 1000.0 FROM ai_conversation_metrics"),
        ("ai_request_duration_seconds_count", &[], "SELECT '{}', count(response_time_ms) FROM ai_conversation_metrics"),
    ];
    preset.agrees(&scrape, answers).await;
    let found = preset.events(&["quality"], &["user"]).await;
    let expected = "SELECT ARRAY['quality'], avg(quality_score) FROM ai_conversation_metrics UNION ALL
        SELECT ARRAY['scores'], count(quality_score) FROM ai_conversation_metrics UNION ALL
        SELECT ARRAY['users'], count(DISTINCT user_id) FROM ai_conversation_metrics";
    let expected: Vec<f64> = preset.ask(expected).await.into_values().collect();
    let quality = found.values(0);
    close(quality.iter().sum::<f64>() / quality.len() as f64, expected[0]);
    assert_eq!([quality.len() as f64, found.distinct(0) as f64], expected[1..]);
}

#[tokio::test]
async fn aigym_conversations() {
    let rows = r#"
        INSERT INTO organizations (id, name) VALUES (md5('o')::uuid, 'North');
        INSERT INTO conversations (id, user_id, organization_id, ai_model, status, message_count, total_tokens, estimated_cost,
            user_satisfaction_score, started_at, ended_at)
        SELECT md5(n::text)::uuid, md5('u' || n % 3)::uuid, CASE WHEN n % 2 = 0 THEN md5('o')::uuid END, 'm', status, n, 100 * n, n * 0.01,
            score, started::timestamptz, ended::timestamptz
        FROM (VALUES
          (1, 'completed', 4.5, '2026-11-20 08:00:00+00', '2026-11-20 08:20:30.25+00'),
          (2, 'completed', NULL, '2026-11-20 09:00:00+00', '2026-11-20 09:00:01+00'),
          (3, 'failed', 1.25, '2026-11-20 09:30:00+00', NULL),
          (7, 'completed', NULL, '2026-11-20 09:45:00+00', 'infinity'),
          (4, 'active', NULL, '2026-11-20 11:55:00+00', NULL),
          (5, 'active', NULL, '2026-11-19 14:00:00+00', NULL),
          (6, 'active', NULL, '2026-11-18 10:00:00+00', NULL)
        ) AS rows (n, status, score, started, ended);"#;
    let Some(preset) = Preset::new("aigym_conversations", AIGYM, rows, "").await else { return };
    let by_outcome = "SELECT ARRAY[CASE status WHEN 'completed' THEN 'success' WHEN 'failed' THEN 'failure' ELSE 'abandoned' END, coalesce(name, '')],
        count(*) FROM conversations LEFT JOIN organizations o ON o.id = organization_id
        WHERE status <> 'active' OR started_at < '2026-11-19 12:00:00+00' GROUP BY 1";
    let failed = "SELECT '{failed}', count(*) FROM conversations WHERE status = 'failed'";
    let answers: &[(&str, &[&str], &str)] =
        &[("ai_requests_total", &["outcome", "org"], by_outcome), ("ai_errors_total", &["error_type"], failed)];
    let scrape = preset.scrape(NOW, "model, org");
    preset.agrees(&scrape, answers).await;
    // They are in the sums of the responses.
    let sums = ["ai_tokens_total", "ai_cost_usd_total"].map(|metric| scrape.sum(metric, &[]).unwrap_or(0.0));
    assert_eq!((sums, scrape.sum("ai_request_duration_seconds_count", &[]).unwrap_or(0.0)), ([0.0, 0.0], 0.0));
    let found = preset.events(&["satisfaction", "messages", "tokens", "cost_usd", "duration_seconds"], &[]).await;
    assert_eq!(found.values(0), [4.5, 1.25]);
    assert_eq!((found.values(1), found.values(2)), (vec![1.0, 2.0, 3.0, 7.0], vec![100.0, 200.0, 300.0, 700.0]));
    assert_eq!((found.values(3), found.values(4)), (vec![0.01, 0.02, 0.03, 0.07], vec![1230.25, 1.0]));
    // The one that runs is counted once, when it ends; so is the one that ran for almost a day.
    let end = "UPDATE conversations SET status = 'completed', ended_at = '2026-11-20 12:01:00+00' WHERE started_at > '2026-11-19 13:00:00+00' AND status = 'active'";
    postgres::execute(&mut preset.database.connect().await, end).await;
    preset.agrees(&preset.scrape("2026-11-20T12:05:00Z", "model, org"), answers).await;
}

#[tokio::test]
async fn xorstack() {
    let rows = r#"
        INSERT INTO ai_logs (function_name, output_preview, duration_ms, tokens_used, status, user_id, created_at)
        SELECT 'f' || n % 3, 'secret', CASE WHEN n % 4 > 0 THEN 10 * n END, CASE WHEN n % 5 > 0 THEN n END,
            CASE WHEN n % 6 = 0 THEN 'error' WHEN n % 11 = 0 THEN 'cancelled' ELSE 'success' END, md5((n % 4)::text)::uuid,
            '2026-11-20 10:00:00+00'::timestamptz + n * interval '1 min'
        FROM generate_series(1, 50) n;"#;
    let schema = include_str!("schemas/xorstack.sql");
    let Some(preset) = Preset::new("xorstack", schema, rows, "output_preview message").await else { return };
    let scrape = preset.scrape(NOW, "operation, user");
    let answers: &[(&str, &[&str], &str)] = &[
        (
            "ai_requests_total",
            &["outcome", "operation", "user"],
            "SELECT ARRAY[CASE status WHEN 'success' THEN status ELSE 'failure' END, function_name, user_id::text], count(*) FROM ai_logs GROUP BY 1",
        ),
        ("ai_errors_total", &["error_type"], "SELECT ARRAY[status], count(*) FROM ai_logs WHERE status <> 'success' GROUP BY 1"),
        ("ai_tokens_total", &["token_type"], "SELECT '{unspecified}', sum(tokens_used) FROM ai_logs"),
        ("ai_request_duration_seconds_sum", &[], "SELECT '{}', sum(duration_ms) / 1000.0 FROM ai_logs"),
        ("ai_request_duration_seconds_count", &[], "SELECT '{}', count(duration_ms) FROM ai_logs"),
    ];
    preset.agrees(&scrape, answers).await;
}

/// What is meant stands beside each row in a column that modelwatch may not read.
const LITELLM_ROWS: &str = r#"
    INSERT INTO "LiteLLM_SpendLogs" (request_id, call_type, spend, prompt_tokens, completion_tokens, total_tokens, "startTime", "endTime",
        "completionStartTime", request_duration_ms, model, model_group, custom_llm_provider, cache_hit, "user", end_user, team_id,
        organization_id, status, metadata, response)
    SELECT 'chatcmpl-' || n, 'acompletion', spend, input, output, total, started, started + took * interval '1 s',
        started + first * interval '1 s', ms, model, model_group, provider, hit, 'u' || n % 2, '', 'team', 'org', status, about::jsonb, truth::jsonb
    FROM (VALUES
      (1, 0.0025, 100, 20, 120, 2.5, 0.4, NULL, 'gpt-4o', 'fast', 'openai', 'False', 'success', '{}', '{"is": "success"}'),
      (2, 0, 100, 20, 120, 1.0, 1.0, 900, 'own', 'fast', 'vllm', 'None', 'success', '{}', '{"is": "success", "cost": "unknown"}'),
      (3, 0, 100, 20, 120, 0.1, 0.05, 40, 'gpt-4o', 'fast', 'openai', 'True', 'success', NULL, '{"is": "success"}'),
      (4, 0.5, 0, 0, 70, 3.0, NULL, NULL, 'dall-e', 'draw', 'openai', NULL, NULL, '{}', '{"is": "success"}'),
      (5, 0, 0, 0, 0, 0.2, NULL, 200, '', 'fast', '', '', 'failure',
        '{"error_information": {"error_class": "RateLimitError", "error_code": "429", "llm_provider": "openai"}}',
        '{"is": "failure", "class": "RateLimitError", "model": "fast", "provider": "openai"}'),
      (6, 0, 0, 0, 0, 0.2, NULL, NULL, 'gpt-4o', 'fast', 'openai', '', 'failure', '{"error_information": {"error_class": "", "error_code": "500"}}',
        '{"is": "failure", "class": "500"}'),
      (7, 0, 0, 0, 0, 0.2, NULL, NULL, 'gpt-4o', 'fast', 'openai', '', 'failure', NULL, '{"is": "failure", "class": "unknown_error"}'),
      (8, 0, 0, 0, 0, 0.2, -1.0, NULL, 'gpt-4o', 'fast', 'openai', '', NULL, '{"status": "failure", "error_information": null}',
        '{"is": "failure", "class": "unknown_error"}'),
      (9, 0.001, 7, 0, 7, 0.2, NULL, NULL, 'embed', 'embed', 'openai', '', '', '{"status": "success"}', '{"is": "success"}')
    ) AS rows (n, spend, input, output, total, took, first, ms, model, model_group, provider, hit, status, about, truth),
    LATERAL (SELECT '2026-11-20 10:00:00'::timestamp + n * interval '1 min') AS at (started);"#;

#[tokio::test]
async fn litellm() {
    let schema = include_str!("schemas/litellm.sql");
    let Some(preset) = Preset::new("litellm", schema, LITELLM_ROWS, "messages response api_key").await else { return };
    let scrape = preset.scrape(NOW, "provider, model, model_group, operation, org, team, user, end_user");
    let answers: &[(&str, &[&str], &str)] = &[
        (
            "ai_requests_total",
            &["outcome", "model", "provider", "model_group"],
            r#"SELECT ARRAY[response ->> 'is', coalesce(response ->> 'model', model), coalesce(response ->> 'provider', custom_llm_provider), model_group],
               count(*) FROM "LiteLLM_SpendLogs" GROUP BY 1"#,
        ),
        (
            "ai_requests_total",
            &["operation", "org", "team", "user", "end_user"],
            r#"SELECT ARRAY[call_type, organization_id, team_id, "user", end_user], count(*) FROM "LiteLLM_SpendLogs" GROUP BY 1"#,
        ),
        (
            "ai_errors_total",
            &["error_type"],
            r#"SELECT ARRAY[response ->> 'class'], count(*) FROM "LiteLLM_SpendLogs" WHERE response ? 'class' GROUP BY 1"#,
        ),
        (
            "ai_tokens_total",
            &["token_type"],
            r#"SELECT '{input}', sum(prompt_tokens) FROM "LiteLLM_SpendLogs" UNION ALL SELECT '{output}', sum(completion_tokens) FROM "LiteLLM_SpendLogs"
               UNION ALL SELECT '{unspecified}', sum(total_tokens - prompt_tokens - completion_tokens) FROM "LiteLLM_SpendLogs""#,
        ),
        ("ai_cost_usd_total", &[], r#"SELECT '{}', sum(spend::numeric) FROM "LiteLLM_SpendLogs""#),
        (
            "ai_request_duration_seconds_sum",
            &[],
            r#"SELECT '{}', sum(CASE WHEN request_duration_ms IS NULL THEN extract(epoch FROM age("endTime", "startTime"))
               ELSE request_duration_ms / 1000.0 END) FROM "LiteLLM_SpendLogs""#,
        ),
        ("ai_request_duration_seconds_count", &[], r#"SELECT '{}', count(*) FROM "LiteLLM_SpendLogs""#),
        (
            "ai_last_event_timestamp_seconds",
            &["model", "provider", "model_group", "user"],
            r#"SELECT ARRAY[coalesce(response ->> 'model', model), coalesce(response ->> 'provider', custom_llm_provider), model_group, "user"],
               extract(epoch FROM max("startTime") AT TIME ZONE 'UTC') FROM "LiteLLM_SpendLogs" GROUP BY 1"#,
        ),
    ];
    preset.agrees(&scrape, answers).await;
    let found = preset.events(&["time_to_first_token"], &["user", "end_user"]).await;
    assert_eq!(found.values(0), [0.4, 0.05]);
    assert_eq!((found.distinct(0), found.distinct(1)), (2, 0));
    let unknown = found.events.iter().filter(|event| event.cost.is_none()).count();
    assert_eq!((unknown, found.events.iter().filter(|event| event.outcome == Outcome::Failure).count()), (1, 4));
    // A call of twenty minutes lands after many that began later.
    let long = r#"INSERT INTO "LiteLLM_SpendLogs" (request_id, call_type, spend, "startTime", "endTime", status, response)
        VALUES ('long', 'aresponses', 1, '2026-11-20 09:49:00', '2026-11-20 10:09:00', 'success', '{"is": "success"}')"#;
    postgres::execute(&mut preset.database.connect().await, long).await;
    preset
        .agrees(&preset.scrape(NOW, "provider, model, model_group, operation, org, team, user, end_user"), &answers[4..7])
        .await;
}

/// What a preset says that is written for PostgreSQL, on SQLite.
#[tokio::test]
async fn on_sqlite_a_preset_says_what_to_set() {
    let dir = tempfile::tempdir().unwrap();
    let mut connection = sqlite::open(&dir.path().join("audit.db")).await;
    let tables = "CREATE TABLE ai_audit_logs (id text, workflow_id text, capability text, provider text, created_at text, response_metadata text)";
    sqlite::execute(&mut connection, tables).await;
    let check = |beside: &str| {
        let table = format!("{{preset: audit{beside}}}");
        let config = format!("sources: [{{name: app, url: 'sqlite:audit.db', tables: [{table}]}}]\n");
        once(&config, dir.path(), &[])
    };
    let output = check("");
    assert_eq!(output.code, Some(1), "{}", output.stderr);
    for part in ["preset audit:", "latency_ms", "presets are written for PostgreSQL: set this key beside `preset:`"] {
        assert!(output.stderr.contains(part), "{part:?} is not in:\n{}", output.stderr);
    }
    let answer = r#"{"status": "success", "durationMs": 1500, "model": "gpt-4o"}"#;
    let insert = format!("INSERT INTO ai_audit_logs VALUES ('1', 'w', NULL, NULL, datetime('now'), '{answer}')");
    sqlite::execute(&mut connection, &insert).await;
    let output = check(", latency_ms: \"response_metadata ->> 'durationMs'\"");
    assert_eq!(output.code, Some(0), "{}", output.stderr);
    let scrape = Scrape::parse(&output.stdout).unwrap();
    let labels = [("outcome", "success"), ("model", "gpt-4o"), ("operation", "unknown"), ("provider", "unspecified")];
    assert_eq!(scrape.sum("ai_requests_total", &labels), Some(1.0));
    assert_eq!(scrape.sum("ai_request_duration_seconds_sum", &[]), Some(1.5));
}

/// The schemas that the tests load are those that the project was given, where they are at hand.
#[test]
fn the_schemas_are_the_given_ones() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for entry in std::fs::read_dir(root.join("tests/it/schemas")).unwrap() {
        let copy = entry.unwrap().path();
        let places = ["../shared/schemas", "../../shared/schemas"].map(|place| root.join(place).join(copy.file_name().unwrap()));
        if let Some(given) = places.iter().find_map(|place| std::fs::read_to_string(place).ok()) {
            assert_eq!(given, std::fs::read_to_string(&copy).unwrap(), "{}", copy.display());
        }
    }
}
