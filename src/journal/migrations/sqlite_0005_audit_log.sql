-- What was done to the gateway: starts, stops, edits taken up or refused, acts of the operator. Each entry holds the digest of the one
-- before it, so that none can be changed or taken out unseen. Entries are never changed; the newest 100,000 are never deleted.
CREATE TABLE audit_log (
  chain text NOT NULL,
  seq integer NOT NULL,
  at integer NOT NULL,
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

CREATE TRIGGER audit_log_is_not_changed BEFORE UPDATE ON audit_log
BEGIN
  SELECT raise(ABORT, 'entries of audit_log are not changed');
END;

CREATE TRIGGER audit_log_keeps_the_newest BEFORE DELETE ON audit_log
WHEN old.seq + 100000 > (SELECT max(seq) FROM audit_log)
BEGIN
  SELECT raise(ABORT, 'the newest 100000 entries of audit_log are not deleted');
END;

CREATE VIEW audit_recent AS
SELECT
  strftime('%Y-%m-%dT%H:%M:%f', at / 1000000.0, 'unixepoch') || 'Z' AS time,
  action, outcome, object, actor, source, instance, after, config_sha256
FROM audit_log
ORDER BY seq DESC
LIMIT 1000;
