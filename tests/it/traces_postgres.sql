INSERT INTO ai_providers (name) SELECT DISTINCT provider FROM raw;
INSERT INTO ai_models (provider_id, model_id, display_name)
    SELECT DISTINCT p.id, r.model, r.model FROM raw r JOIN ai_providers p ON p.name = r.provider;
INSERT INTO orgs (name) SELECT DISTINCT org_id FROM raw WHERE org_id IS NOT NULL;
INSERT INTO ai_log_usage (provider_id, model_id, request_source, operation_type, model_id_used, prompt_tokens, completion_tokens, total_tokens,
        latency_ms, success, org_id, started_at, completed_at)
    SELECT p.id, m.id, r.request_source, r.operation_type, r.model, r.prompt_tokens::int, r.completion_tokens::int, r.total_tokens::int,
        round(r.latency_ms::numeric)::int, r.success::boolean, o.id, r.started_at::timestamptz AT TIME ZONE 'UTC', r.completed_at::timestamptz AT TIME ZONE 'UTC'
    FROM raw r JOIN ai_providers p ON p.name = r.provider JOIN ai_models m ON m.provider_id = p.id AND m.model_id = r.model
        LEFT JOIN orgs o ON o.name = r.org_id ORDER BY r.line;
INSERT INTO ai_log_error (provider_id, model_id, request_source, operation_type, error_type, model_id_attempted, org_id, occurred_at)
    SELECT p.id, m.id, r.request_source, r.operation_type, r.error_type, r.model, o.id, r.started_at::timestamptz AT TIME ZONE 'UTC'
    FROM raw r JOIN ai_providers p ON p.name = r.provider JOIN ai_models m ON m.provider_id = p.id AND m.model_id = r.model
        LEFT JOIN orgs o ON o.name = r.org_id WHERE NOT r.success::boolean ORDER BY r.line;
DROP TABLE raw;
ANALYZE;
