-- What the gateway did with tools of MCP servers within an answer: how many calls, in how many rounds of the model (0: it had
-- none of these tools), of which servers, and each round, a JSON list, where there was more than one.
ALTER TABLE request_logs ADD COLUMN tool_calls integer NOT NULL DEFAULT 0;
ALTER TABLE request_logs ADD COLUMN tool_rounds integer NOT NULL DEFAULT 0;
ALTER TABLE request_logs ADD COLUMN mcp_servers text NOT NULL DEFAULT '[]';
ALTER TABLE request_logs ADD COLUMN rounds text;
ALTER TABLE dead_letters ADD COLUMN tool_calls text NOT NULL DEFAULT '[]';

-- One row for each call. Neither arguments nor results are kept: their sizes, and a digest that tells whether two calls were alike.
CREATE TABLE tool_call_logs (
  id text NOT NULL,
  request_id text NOT NULL,
  started_at integer NOT NULL,
  duration_us integer NOT NULL,
  round integer NOT NULL,
  server text NOT NULL,
  tool text NOT NULL,
  function text NOT NULL,
  status text NOT NULL,
  arguments_bytes integer NOT NULL,
  result_bytes integer,
  arguments_digest text NOT NULL,
  key_id text,
  key_alias text,
  instance text NOT NULL,
  PRIMARY KEY (request_id, id)
);
CREATE INDEX tool_call_logs_started_at ON tool_call_logs (started_at);

CREATE VIEW tool_calls_recent AS
SELECT
  strftime('%Y-%m-%dT%H:%M:%f', started_at / 1000000.0, 'unixepoch') || 'Z' AS started,
  status, server, tool,
  coalesce(key_alias, key_id) AS "key",
  duration_us / 1000.0 AS duration_ms,
  round, arguments_bytes, result_bytes, request_id
FROM tool_call_logs
ORDER BY started_at DESC
LIMIT 1000;
