-- What must have been counted: one row for each finished row that was committed, whatever happens to it later.
CREATE TABLE audit (id uuid PRIMARY KEY, provider text, model text, operation text, service text, outcome text,
    input bigint, output bigint, unspecified bigint, cost numeric, timed bigint);
CREATE FUNCTION audit_row() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.completed_at IS NOT NULL AND (TG_OP = 'INSERT' OR OLD.completed_at IS NULL) THEN
        INSERT INTO audit VALUES (NEW.id, coalesce((SELECT name FROM ai_providers WHERE id = NEW.provider_id), ''), NEW.model_id_used,
            NEW.operation_type, NEW.request_source, CASE WHEN NEW.success THEN 'success' ELSE 'failure' END,
            coalesce(NEW.prompt_tokens, 0), coalesce(NEW.completion_tokens, 0),
            CASE WHEN NEW.prompt_tokens IS NULL AND NEW.completion_tokens IS NULL THEN coalesce(NEW.total_tokens, 0) ELSE 0 END,
            coalesce(NEW.estimated_cost_usd, 0), CASE WHEN NEW.latency_ms IS NULL THEN 0 ELSE 1 END);
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER audit_row AFTER INSERT OR UPDATE ON ai_log_usage FOR EACH ROW EXECUTE FUNCTION audit_row();
INSERT INTO ai_providers (name) VALUES ('anthropic'), ('openai'), ('aws.bedrock');
