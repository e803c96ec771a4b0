-- What `previous_response_id` and `GET /v1/responses/{id}` need: one row for each stored response.
CREATE TABLE IF NOT EXISTS responses (
  response_id text PRIMARY KEY NOT NULL,
  -- Whose it is: the digest's first digits, `master`, or empty where there are no keys.
  owner text NOT NULL,
  -- Microseconds since 1970 UTC.
  created_at integer NOT NULL,
  bytes integer NOT NULL,
  -- The deployment that keeps it; then there is nothing else here.
  deployment text,
  previous text,
  -- The request's own items, a JSON list, and the response object.
  input text,
  response text
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS responses_created_at ON responses (created_at);

-- Where an item that a client refers to by id was said.
CREATE TABLE IF NOT EXISTS response_items (
  item_id text NOT NULL,
  owner text NOT NULL,
  response_id text NOT NULL REFERENCES responses ON DELETE CASCADE,
  item text NOT NULL,
  PRIMARY KEY (item_id, owner)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS response_items_response ON response_items (response_id);
