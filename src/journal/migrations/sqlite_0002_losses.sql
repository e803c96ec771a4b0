-- What of a request its provider's format could not carry: a JSON list of {path, why}; null for nothing.
ALTER TABLE request_logs ADD COLUMN losses text;
