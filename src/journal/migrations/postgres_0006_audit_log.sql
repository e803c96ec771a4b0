-- What was done to the gateway: starts, stops, edits taken up or refused, acts of the operator. Each entry holds the digest of the one
-- before it, so that none can be changed or taken out unseen. A chain is what one SQLite file has written; seq counts within it.
CREATE TABLE tidegate.audit_log (
  chain uuid NOT NULL,
  seq bigint NOT NULL,
  at timestamptz NOT NULL,
  instance text NOT NULL,
  actor text NOT NULL,
  source text NOT NULL,
  action text NOT NULL,
  object text NOT NULL,
  outcome text NOT NULL,
  before text,
  after text,
  config_sha256 text,
  prev_hash text NOT NULL,
  hash text NOT NULL,
  PRIMARY KEY (chain, seq)
);

CREATE INDEX audit_log_at ON tidegate.audit_log (at DESC);

-- A role that owns the table can take the trigger away; nobody does so by mistake.
CREATE FUNCTION tidegate.refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION 'entries of audit_log are neither changed nor deleted';
END $$;

CREATE TRIGGER audit_log_only_grows BEFORE UPDATE OR DELETE OR TRUNCATE ON tidegate.audit_log
  FOR EACH STATEMENT EXECUTE FUNCTION tidegate.refuse_change();

CREATE VIEW tidegate.audit_recent AS
SELECT at, action, outcome, object, actor, source, instance, after, config_sha256
FROM tidegate.audit_log
ORDER BY at DESC, seq DESC
LIMIT 1000;
