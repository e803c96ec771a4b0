-- The spool, and without a database_url the store itself. Times are microseconds since 1970 UTC;
-- the views below show them as people and LiteLLM's tools expect.

CREATE TABLE request_logs (
  request_id text PRIMARY KEY NOT NULL,
  started_at integer NOT NULL,
  ended_at integer NOT NULL,
  duration_us integer NOT NULL,
  upstream_us integer,
  ttfb_us integer,
  ttft_us integer,
  overhead_us integer,
  surface text NOT NULL,
  operation text NOT NULL,
  stream integer NOT NULL,
  status text NOT NULL,
  http_status integer NOT NULL,
  error_type text,
  error_message text,
  finish_reason text,
  client_closed integer NOT NULL,
  key_id text,
  key_alias text,
  user_id text,
  team_id text,
  end_user text,
  session_id text,
  tags text NOT NULL,
  model_requested text NOT NULL,
  model_group text,
  deployment text,
  provider text,
  model_upstream text,
  api_base text,
  lane text NOT NULL,
  attempts integer NOT NULL,
  attempt_trail text,
  fallback_from text,
  input_tokens integer,
  output_tokens integer,
  cache_read_tokens integer,
  cache_write_tokens integer,
  reasoning_tokens integer,
  usage_source text NOT NULL,
  cost_usd real,
  client_ip text,
  user_agent text,
  upstream_request_id text,
  config_generation integer NOT NULL,
  instance text NOT NULL,
  bytes_in integer NOT NULL,
  bytes_out integer NOT NULL
);

-- Two indexes, this and the key's: each further one costs every row about a microsecond.
CREATE INDEX request_logs_started_at ON request_logs (started_at);

CREATE TABLE request_payloads (
  request_id text NOT NULL,
  started_at integer NOT NULL,
  kind text NOT NULL,
  encoding text NOT NULL,
  bytes integer NOT NULL,
  truncated integer NOT NULL,
  body text NOT NULL,
  PRIMARY KEY (request_id, kind)
);
CREATE INDEX request_payloads_started_at ON request_payloads (started_at);

-- Rows that PostgreSQL refused for what is in them, whole, as JSON.
CREATE TABLE dead_letters (
  request_id text PRIMARY KEY NOT NULL,
  buried_at integer NOT NULL,
  reason text NOT NULL,
  entry text NOT NULL,
  payloads text NOT NULL
);

CREATE VIEW requests_recent AS
SELECT
  strftime('%Y-%m-%dT%H:%M:%f', started_at / 1000000.0, 'unixepoch') || 'Z' AS started,
  status, http_status, surface, model_requested, deployment,
  coalesce(key_alias, key_id) AS "key",
  duration_us / 1000.0 AS duration_ms,
  ttft_us / 1000.0 AS ttft_ms,
  input_tokens, output_tokens, cost_usd, error_type, error_message, request_id
FROM request_logs
ORDER BY started_at DESC
LIMIT 1000;

-- LiteLLM's SpendLogs column names over the same rows.
CREATE VIEW litellm_logs AS
SELECT
  l.request_id AS request_id,
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
  coalesce(l.cost_usd, 0.0) AS spend,
  coalesce(l.input_tokens, 0) + coalesce(l.output_tokens, 0) AS total_tokens,
  coalesce(l.input_tokens, 0) AS prompt_tokens,
  coalesce(l.output_tokens, 0) AS completion_tokens,
  strftime('%Y-%m-%d %H:%M:%f', l.started_at / 1000000.0, 'unixepoch') AS "startTime",
  strftime('%Y-%m-%d %H:%M:%f', l.ended_at / 1000000.0, 'unixepoch') AS "endTime",
  l.duration_us / 1000 AS request_duration_ms,
  strftime('%Y-%m-%d %H:%M:%f', (l.started_at + coalesce(l.ttft_us, l.ttfb_us, l.duration_us)) / 1000000.0, 'unixepoch')
    AS "completionStartTime",
  coalesce(l.model_upstream, l.model_requested) AS model,
  coalesce(l.deployment, '') AS model_id,
  coalesce(l.model_group, '') AS model_group,
  coalesce(l.provider, '') AS custom_llm_provider,
  coalesce(l.api_base, '') AS api_base,
  coalesce(l.user_id, '') AS "user",
  json_object(
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
  'False' AS cache_hit,
  '' AS cache_key,
  l.tags AS request_tags,
  l.team_id AS team_id,
  NULL AS organization_id,
  l.end_user AS end_user,
  l.client_ip AS requester_ip_address,
  coalesce((
    SELECT CASE WHEN json_valid(p.body) AND json_type(p.body) = 'object'
      THEN coalesce(p.body -> '$.messages', p.body -> '$.input', p.body -> '$.prompt') END
    FROM request_payloads p WHERE p.request_id = l.request_id AND p.kind = 'request'
  ), '{}') AS messages,
  coalesce((
    SELECT CASE WHEN json_valid(p.body) THEN p.body ELSE json_quote(p.body) END
    FROM request_payloads p WHERE p.request_id = l.request_id AND p.kind = 'response'
  ), '{}') AS response,
  l.session_id AS session_id,
  CASE l.status WHEN 'ok' THEN 'success' ELSE 'failure' END AS status,
  NULL AS mcp_namespaced_tool_name,
  NULL AS agent_id,
  coalesce((
    SELECT CASE WHEN json_valid(p.body) THEN p.body ELSE json_quote(p.body) END
    FROM request_payloads p WHERE p.request_id = l.request_id AND p.kind = 'request'
  ), '{}') AS proxy_server_request,
  l.request_id AS litellm_call_id
FROM request_logs l;
