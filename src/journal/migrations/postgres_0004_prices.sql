-- What the call cost, where its server has prices for its tools; it is in the request's cost.
ALTER TABLE tidegate.tool_call_logs ADD COLUMN cost_usd numeric(18,9);
COMMENT ON COLUMN tidegate.request_logs.price_version IS
  'By which prices the cost was computed: a table''s version, config, or provider; null where the cost is.';
