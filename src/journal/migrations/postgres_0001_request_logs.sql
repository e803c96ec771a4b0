-- Request rows and payloads, partitioned by month of started_at in UTC. Partitions are made by the
-- program, ahead of time. There is no default partition: it would have to be scanned for every new one.

CREATE TABLE tidegate.request_logs (
  request_id uuid NOT NULL,
  started_at timestamptz NOT NULL,
  ended_at timestamptz NOT NULL,
  duration_us bigint NOT NULL,
  upstream_us bigint,
  ttfb_us bigint,
  ttft_us bigint,
  queue_us bigint,
  overhead_us bigint,
  surface text NOT NULL,
  operation text NOT NULL,
  stream boolean NOT NULL,
  status text NOT NULL,
  http_status smallint NOT NULL,
  error_type text,
  error_message text,
  finish_reason text,
  client_closed boolean NOT NULL,
  key_id text,
  key_alias text,
  user_id text,
  team_id text,
  end_user text,
  session_id text,
  tags text[] NOT NULL,
  model_requested text NOT NULL,
  model_group text,
  deployment text,
  provider text,
  model_upstream text,
  api_base text,
  lane text NOT NULL,
  attempts smallint NOT NULL,
  attempt_trail jsonb,
  fallback_from text,
  cache text NOT NULL DEFAULT 'off',
  input_tokens bigint,
  output_tokens bigint,
  cache_read_tokens bigint,
  cache_write_tokens bigint,
  reasoning_tokens bigint,
  usage_source text NOT NULL,
  cost_usd numeric(18,9),
  price_version text,
  tool_calls smallint NOT NULL DEFAULT 0,
  mcp_servers text[] NOT NULL DEFAULT '{}',
  client_ip inet,
  user_agent text,
  upstream_request_id text,
  trace_id bytea,
  span_id bytea,
  config_generation bigint NOT NULL,
  instance text NOT NULL,
  bytes_in bigint,
  bytes_out bigint,
  metadata jsonb NOT NULL DEFAULT '{}',
  PRIMARY KEY (request_id, started_at)
) PARTITION BY RANGE (started_at);

CREATE INDEX request_logs_started_at ON tidegate.request_logs (started_at DESC);
-- Rows arrive in the order in which requests ended, so this costs next to nothing; `logs tail` reads it.
CREATE INDEX request_logs_ended_at ON tidegate.request_logs USING brin (ended_at);
CREATE INDEX request_logs_key ON tidegate.request_logs (key_id, started_at DESC);
CREATE INDEX request_logs_model ON tidegate.request_logs (model_group, started_at DESC);
CREATE INDEX request_logs_session ON tidegate.request_logs (session_id, started_at)
  WHERE session_id IS NOT NULL;
CREATE INDEX request_logs_failed ON tidegate.request_logs (started_at DESC) WHERE status <> 'ok';

CREATE TABLE tidegate.request_payloads (
  request_id uuid NOT NULL,
  started_at timestamptz NOT NULL,
  kind text NOT NULL,
  encoding text NOT NULL,
  bytes bigint NOT NULL,
  truncated boolean NOT NULL,
  body text NOT NULL,
  PRIMARY KEY (request_id, started_at, kind)
) PARTITION BY RANGE (started_at);

-- A body was cut at a bound or is no JSON at all: then it is shown as a JSON string.
CREATE FUNCTION tidegate.json_or_text(body text) RETURNS jsonb
LANGUAGE plpgsql IMMUTABLE PARALLEL RESTRICTED AS $$
BEGIN
  RETURN body::jsonb;
EXCEPTION WHEN others THEN
  RETURN to_jsonb(body);
END
$$;

CREATE VIEW tidegate.requests_recent AS
SELECT
  started_at, status, http_status, surface, model_requested, deployment,
  coalesce(key_alias, key_id) AS key,
  duration_us / 1000.0 AS duration_ms,
  ttft_us / 1000.0 AS ttft_ms,
  input_tokens, output_tokens, cost_usd, error_type, error_message, request_id
FROM tidegate.request_logs
ORDER BY started_at DESC
LIMIT 1000;

-- LiteLLM's SpendLogs, column for column, with its types: times without zone, in UTC.
CREATE VIEW tidegate.litellm_logs AS
SELECT
  l.request_id::text AS request_id,
  CASE l.surface
    WHEN '/v1/chat/completions' THEN 'acompletion'
    WHEN '/v1/completions' THEN 'atext_completion'
    WHEN '/v1/embeddings' THEN 'aembedding'
    WHEN '/v1/responses' THEN 'aresponses'
    WHEN '/v1/moderations' THEN 'amoderation'
    WHEN '/v1/images/generations' THEN 'aimage_generation'
    WHEN '/v1/images/edits' THEN 'aimage_edit'
    WHEN '/v1/audio/speech' THEN 'aspeech'
    WHEN '/v1/audio/transcriptions' THEN 'atranscription'
    WHEN '/v1/audio/translations' THEN 'atranscription'
    WHEN '/v1/rerank' THEN 'arerank'
    ELSE l.operation
  END AS call_type,
  coalesce(l.key_id, '') AS api_key,
  coalesce(l.cost_usd, 0)::double precision AS spend,
  least(coalesce(l.input_tokens, 0) + coalesce(l.output_tokens, 0), 2147483647)::integer AS total_tokens,
  least(coalesce(l.input_tokens, 0), 2147483647)::integer AS prompt_tokens,
  least(coalesce(l.output_tokens, 0), 2147483647)::integer AS completion_tokens,
  (l.started_at AT TIME ZONE 'UTC')::timestamp(3) AS "startTime",
  (l.ended_at AT TIME ZONE 'UTC')::timestamp(3) AS "endTime",
  least(l.duration_us / 1000, 2147483647)::integer AS request_duration_ms,
  ((l.started_at + coalesce(l.ttft_us, l.ttfb_us, l.duration_us) * interval '1 microsecond')
    AT TIME ZONE 'UTC')::timestamp(3) AS "completionStartTime",
  coalesce(l.model_upstream, l.model_requested) AS model,
  coalesce(l.deployment, '') AS model_id,
  coalesce(l.model_group, '') AS model_group,
  coalesce(l.provider, '') AS custom_llm_provider,
  coalesce(l.api_base, '') AS api_base,
  coalesce(l.user_id, '') AS "user",
  l.metadata || jsonb_build_object(
    'user_api_key', l.key_id,
    'user_api_key_alias', l.key_alias,
    'user_api_key_team_id', l.team_id,
    'user_api_key_user_id', l.user_id,
    'http_status', l.http_status,
    'error_type', l.error_type,
    'error_message', l.error_message,
    'finish_reason', l.finish_reason,
    'cache_read_input_tokens', l.cache_read_tokens,
    'reasoning_tokens', l.reasoning_tokens,
    'fallback_from', l.fallback_from,
    'attempts', l.attempts
  ) AS metadata,
  CASE l.cache WHEN 'hit' THEN 'True' ELSE 'False' END AS cache_hit,
  ''::text AS cache_key,
  to_jsonb(l.tags) AS request_tags,
  l.team_id AS team_id,
  NULL::text AS organization_id,
  l.end_user AS end_user,
  host(l.client_ip) AS requester_ip_address,
  coalesce((
    SELECT coalesce(b.body -> 'messages', b.body -> 'input', b.body -> 'prompt')
    FROM tidegate.request_payloads p, LATERAL (SELECT tidegate.json_or_text(p.body) AS body) b
    WHERE p.request_id = l.request_id AND p.started_at = l.started_at AND p.kind = 'request'
  ), '{}'::jsonb) AS messages,
  coalesce((
    SELECT tidegate.json_or_text(p.body)
    FROM tidegate.request_payloads p
    WHERE p.request_id = l.request_id AND p.started_at = l.started_at AND p.kind = 'response'
  ), '{}'::jsonb) AS response,
  l.session_id AS session_id,
  CASE l.status WHEN 'ok' THEN 'success' ELSE 'failure' END AS status,
  NULL::text AS mcp_namespaced_tool_name,
  NULL::text AS agent_id,
  coalesce((
    SELECT tidegate.json_or_text(p.body)
    FROM tidegate.request_payloads p
    WHERE p.request_id = l.request_id AND p.started_at = l.started_at AND p.kind = 'request'
  ), '{}'::jsonb) AS proxy_server_request,
  l.request_id::text AS litellm_call_id
FROM tidegate.request_logs l;

-- The short name, where this role may create it and nobody else holds it.
DO $$
BEGIN
  EXECUTE 'CREATE VIEW public.litellm_logs AS SELECT * FROM tidegate.litellm_logs';
EXCEPTION
  WHEN insufficient_privilege OR invalid_schema_name OR duplicate_table OR wrong_object_type THEN
    RAISE NOTICE 'public.litellm_logs was not created; use tidegate.litellm_logs';
END
$$;
