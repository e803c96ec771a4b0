-- By which prices the cost was computed: a table's version, `config`, or `provider`; null where the cost is.
ALTER TABLE request_logs ADD COLUMN price_version text;
-- What the call cost, where its server has prices for its tools; it is in the request's cost.
ALTER TABLE tool_call_logs ADD COLUMN cost_usd real;
