-- Thirty days of healthy traffic in llm_calls: days and nights, weekends, growth, chance; a share of the calls of each model fails.
SET timezone = 'UTC';
SELECT setseed(0.42);
INSERT INTO llm_calls (created, vendor, model_name, status, error_code, tokens_in, tokens_out, usd, duration_ms)
SELECT minute + random() * interval '1 minute', vendor, model, CASE WHEN good THEN 'ok' ELSE 'failed' END, CASE WHEN NOT good THEN 'timeout' END,
       100 - 900 * ln(1 - random()), 50 - 400 * ln(1 - random()), usd * (0.3 - ln(1 - random())), median_ms * exp((random() + random() + random() - 1.5) * 1.2)
FROM (SELECT minute, vendor, model, usd, median_ms, random() >= failing AS good, random() * 30 < per_minute * rhythm AS made
      FROM (SELECT minute, greatest(0.05, sin(pi() * (extract(hour FROM minute) * 60 + extract(minute FROM minute) - 360) / 960))
                   * CASE WHEN extract(isodow FROM minute) > 5 THEN 0.25 ELSE 1 END * (1 + 0.01 * extract(day FROM minute - '2026-09-10')) AS rhythm
            FROM generate_series(timestamptz '2026-09-10 00:00', '2026-10-09 23:59', interval '1 minute') AS minute) AS minutes,
           (VALUES ('openai', 'gpt-4o', 8, 0.01, 0.01, 1500), ('anthropic', 'claude-sonnet-4', 3, 0.005, 0.02, 4000), ('openai', 'o3', 0.5, 0.03, 0.05, 20000))
             AS models (vendor, model, per_minute, failing, usd, median_ms),
           generate_series(1, 30)) AS slots
WHERE made;
