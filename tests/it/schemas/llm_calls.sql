-- The table of one's own in README.md and rules/starter.
CREATE TABLE teams (id text PRIMARY KEY, name text NOT NULL);
CREATE TABLE llm_calls (
    id          bigserial PRIMARY KEY,
    created     timestamptz NOT NULL DEFAULT now(),
    vendor      text NOT NULL,
    model_name  text NOT NULL,
    team_id     text REFERENCES teams(id),
    status      text NOT NULL,
    error_code  text,
    tokens_in   integer,
    tokens_out  integer,
    usd         numeric(12,6),
    duration_ms integer,
    score       numeric(3,2)
);
CREATE INDEX llm_calls_created ON llm_calls (created);
