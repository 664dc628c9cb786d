UPDATE raw SET
    started_at = substr(started_at, 1, 10) || ' ' || substr(replace(substr(started_at, 12), 'Z', '') || CASE WHEN started_at LIKE '%.%' THEN '000000' ELSE '.000000' END, 1, 15),
    completed_at = substr(completed_at, 1, 10) || ' ' || substr(replace(substr(completed_at, 12), 'Z', '') || CASE WHEN completed_at LIKE '%.%' THEN '000000' ELSE '.000000' END, 1, 15);
INSERT INTO ai_providers (id, name) SELECT printf('%08x-0000-4000-8000-000000000001', row_number() OVER (ORDER BY provider)), provider FROM (SELECT DISTINCT provider FROM raw);
INSERT INTO ai_models (id, provider_id, model_id, display_name)
    SELECT printf('%08x-0000-4000-8000-000000000002', row_number() OVER (ORDER BY r.provider, r.model)), p.id, r.model, r.model
    FROM (SELECT DISTINCT provider, model FROM raw) r JOIN ai_providers p ON p.name = r.provider;
INSERT INTO orgs (id, name) SELECT printf('%08x-0000-4000-8000-000000000003', row_number() OVER (ORDER BY org_id)), org_id
    FROM (SELECT DISTINCT org_id FROM raw WHERE org_id IS NOT NULL);
INSERT INTO ai_log_usage (id, provider_id, model_id, request_source, operation_type, model_id_used, prompt_tokens, completion_tokens, total_tokens,
        latency_ms, success, org_id, started_at, completed_at)
    SELECT printf('%08x-0000-4000-8000-000000000004', r.line), p.id, m.id, r.request_source, r.operation_type, r.model, CAST(r.prompt_tokens AS integer),
        CAST(r.completion_tokens AS integer), CAST(r.total_tokens AS integer), CAST(round(CAST(r.latency_ms AS real)) AS integer), r.success = 'true', o.id,
        r.started_at, r.completed_at
    FROM raw r JOIN ai_providers p ON p.name = r.provider JOIN ai_models m ON m.provider_id = p.id AND m.model_id = r.model
        LEFT JOIN orgs o ON o.name = r.org_id ORDER BY r.line;
INSERT INTO ai_log_error (id, provider_id, model_id, request_source, operation_type, error_type, model_id_attempted, org_id, occurred_at)
    SELECT printf('%08x-0000-4000-8000-000000000005', r.line), p.id, m.id, r.request_source, r.operation_type, r.error_type, r.model, o.id, r.started_at
    FROM raw r JOIN ai_providers p ON p.name = r.provider JOIN ai_models m ON m.provider_id = p.id AND m.model_id = r.model
        LEFT JOIN orgs o ON o.name = r.org_id WHERE r.success = 'false' ORDER BY r.line;
DROP TABLE raw;
