-- The request's span, in hexadecimal digits: what leads from a row to its trace. Null where there are no traces. PostgreSQL has had
-- these columns, as bytes, from the beginning.
ALTER TABLE request_logs ADD COLUMN trace_id text;
ALTER TABLE request_logs ADD COLUMN span_id text;
