CREATE TABLE ai_providers (id text PRIMARY KEY, name text NOT NULL, provider_type text);
CREATE TABLE ai_models (id text PRIMARY KEY, provider_id text REFERENCES ai_providers(id), model_id text NOT NULL, display_name text,
    validation_category text, last_validated_at text);
CREATE TABLE orgs (id text PRIMARY KEY, name text NOT NULL);
CREATE TABLE ai_log_usage (
    id text PRIMARY KEY, provider_id text, model_id text, request_source text NOT NULL, operation_type text NOT NULL, model_id_used text NOT NULL,
    prompt_tokens integer, completion_tokens integer, total_tokens integer, latency_ms integer, success boolean NOT NULL,
    estimated_cost_usd numeric, user_id text, org_id text, ws_id text, request_metadata text,
    started_at text NOT NULL, completed_at text, created_at text NOT NULL DEFAULT (strftime('%Y-%m-%d %H:%M:%f', 'now')));
CREATE INDEX idx_ai_log_usage_time ON ai_log_usage (started_at DESC);
CREATE TABLE ai_log_error (
    id text PRIMARY KEY, provider_id text, model_id text, request_source text NOT NULL, operation_type text NOT NULL, error_type text,
    error_message text, error_raw text, model_id_attempted text, validation_category text, request_params text, user_id text, org_id text,
    ws_id text, retry_count integer NOT NULL DEFAULT 0, occurred_at text NOT NULL, resolved_at text);
CREATE INDEX idx_ai_log_error_time ON ai_log_error (occurred_at DESC);
