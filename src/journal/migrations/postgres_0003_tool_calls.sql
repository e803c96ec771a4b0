-- What the gateway did with tools of MCP servers within an answer: in how many rounds of the model (0: it had none of these
-- tools), and each round, a JSON list, where there was more than one. The number of calls and the servers have columns.
ALTER TABLE tidegate.request_logs ADD COLUMN tool_rounds smallint NOT NULL DEFAULT 0;
ALTER TABLE tidegate.request_logs ADD COLUMN rounds jsonb;

-- One row for each call. Neither arguments nor results are kept: their sizes, and a digest that tells whether two calls were alike.
CREATE TABLE tidegate.tool_call_logs (
  id uuid NOT NULL,
  request_id uuid NOT NULL,
  started_at timestamptz NOT NULL,
  duration_us bigint NOT NULL,
  round smallint NOT NULL,
  server text NOT NULL,
  tool text NOT NULL,
  function text NOT NULL,
  status text NOT NULL,
  arguments_bytes bigint NOT NULL,
  result_bytes bigint,
  arguments_digest text NOT NULL,
  key_id text,
  key_alias text,
  instance text NOT NULL,
  PRIMARY KEY (id, started_at)
) PARTITION BY RANGE (started_at);

CREATE INDEX tool_call_logs_started_at ON tidegate.tool_call_logs (started_at DESC);
CREATE INDEX tool_call_logs_request ON tidegate.tool_call_logs (request_id);
CREATE INDEX tool_call_logs_tool ON tidegate.tool_call_logs (server, tool, started_at DESC);

CREATE VIEW tidegate.tool_calls_recent AS
SELECT
  started_at, status, server, tool,
  coalesce(key_alias, key_id) AS key,
  duration_us / 1000.0 AS duration_ms,
  round, arguments_bytes, result_bytes, request_id
FROM tidegate.tool_call_logs
ORDER BY started_at DESC
LIMIT 1000;
