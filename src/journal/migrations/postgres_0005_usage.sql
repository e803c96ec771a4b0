-- What was used, by day (UTC) and by who asked for what. These sums outlive the rows that they were made from, and what looks
-- at months of use need not read every request. The database keeps them itself: a row counts once, whoever writes it and
-- however often its batch comes, and an edit of a row's cost is an edit of the sum.
CREATE TABLE tidegate.usage_daily (
  -- A digest of the nine columns behind it: they may be null, and together longer than what fits into an index.
  id bytea PRIMARY KEY,
  day date NOT NULL,
  key_id text,
  key_alias text,
  team_id text,
  user_id text,
  end_user text,
  model_group text,
  provider text,
  surface text NOT NULL,
  requests bigint NOT NULL,
  errors bigint NOT NULL,
  cancelled bigint NOT NULL,
  refused bigint NOT NULL,
  -- Without counts of tokens, and with a cost: what is unknown is not zero.
  unmeasured bigint NOT NULL,
  priced bigint NOT NULL,
  -- Numerics have no end that a sum could reach.
  tool_calls numeric NOT NULL,
  input_tokens numeric NOT NULL,
  output_tokens numeric NOT NULL,
  cache_read_tokens numeric NOT NULL,
  cache_write_tokens numeric NOT NULL,
  reasoning_tokens numeric NOT NULL,
  cost_usd numeric NOT NULL,
  duration_us numeric NOT NULL
);

CREATE INDEX usage_daily_day ON tidegate.usage_daily (day);

-- One user's requests, of all those of some months.
CREATE INDEX request_logs_end_user ON tidegate.request_logs (end_user, started_at DESC)
  WHERE end_user IS NOT NULL;

-- The statement that adds rows to the sums. `source` selects them, with a first column `sign`: 1 to add a row, -1 to take it
-- away. In the order of their digests, so that two gateways never wait for each other.
CREATE FUNCTION tidegate.usage_statement(source text) RETURNS text
LANGUAGE sql IMMUTABLE AS $$
  SELECT format($statement$
    INSERT INTO tidegate.usage_daily AS u
    SELECT
      sha256(convert_to(ROW(s.day - DATE '1970-01-01', s.key_id, s.key_alias, s.team_id, s.user_id, s.end_user,
        s.model_group, s.provider, s.surface)::text, 'UTF8')) AS id,
      s.*
    FROM (
      SELECT
        (started_at AT TIME ZONE 'UTC')::date AS day,
        key_id, key_alias, team_id, user_id, end_user, model_group, provider, surface,
        sum(sign) AS requests,
        coalesce(sum(sign) FILTER (WHERE status = 'error'), 0) AS errors,
        coalesce(sum(sign) FILTER (WHERE status = 'cancelled'), 0) AS cancelled,
        coalesce(sum(sign) FILTER (WHERE status IN ('shed', 'denied')), 0) AS refused,
        coalesce(sum(sign) FILTER (WHERE usage_source = 'none'), 0) AS unmeasured,
        coalesce(sum(sign) FILTER (WHERE cost_usd IS NOT NULL), 0) AS priced,
        sum(sign * tool_calls) AS tool_calls,
        coalesce(sum(sign * input_tokens), 0) AS input_tokens,
        coalesce(sum(sign * output_tokens), 0) AS output_tokens,
        coalesce(sum(sign * cache_read_tokens), 0) AS cache_read_tokens,
        coalesce(sum(sign * cache_write_tokens), 0) AS cache_write_tokens,
        coalesce(sum(sign * reasoning_tokens), 0) AS reasoning_tokens,
        coalesce(sum(sign * cost_usd), 0) AS cost_usd,
        sum(sign * duration_us) AS duration_us
      FROM (%s) AS rows
      GROUP BY 1, 2, 3, 4, 5, 6, 7, 8, 9
    ) AS s
    ORDER BY 1
    ON CONFLICT (id) DO UPDATE SET
      requests = u.requests + excluded.requests,
      errors = u.errors + excluded.errors,
      cancelled = u.cancelled + excluded.cancelled,
      refused = u.refused + excluded.refused,
      unmeasured = u.unmeasured + excluded.unmeasured,
      priced = u.priced + excluded.priced,
      tool_calls = u.tool_calls + excluded.tool_calls,
      input_tokens = u.input_tokens + excluded.input_tokens,
      output_tokens = u.output_tokens + excluded.output_tokens,
      cache_read_tokens = u.cache_read_tokens + excluded.cache_read_tokens,
      cache_write_tokens = u.cache_write_tokens + excluded.cache_write_tokens,
      reasoning_tokens = u.reasoning_tokens + excluded.reasoning_tokens,
      cost_usd = u.cost_usd + excluded.cost_usd,
      duration_us = u.duration_us + excluded.duration_us
  $statement$, source)
$$;

-- Rows that pass their retention are deleted: they stay in the sums.
CREATE FUNCTION tidegate.count_usage() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
  EXECUTE tidegate.usage_statement(CASE TG_OP
    WHEN 'INSERT' THEN 'SELECT 1 AS sign, * FROM added'
    ELSE 'SELECT 1 AS sign, * FROM added UNION ALL SELECT -1, * FROM replaced'
  END);
  RETURN NULL;
END
$$;

CREATE TRIGGER usage_of_new AFTER INSERT ON tidegate.request_logs
  REFERENCING NEW TABLE AS added
  FOR EACH STATEMENT EXECUTE FUNCTION tidegate.count_usage();
CREATE TRIGGER usage_of_edited AFTER UPDATE ON tidegate.request_logs
  REFERENCING OLD TABLE AS replaced NEW TABLE AS added
  FOR EACH STATEMENT EXECUTE FUNCTION tidegate.count_usage();

-- The rows that are there already; no other can come before this is committed.
DO $$
BEGIN
  EXECUTE tidegate.usage_statement('SELECT 1 AS sign, * FROM tidegate.request_logs');
END
$$;
