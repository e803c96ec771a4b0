-- The newest entry is asked for with every entry, and by its number alone: the key begins with the chain.
CREATE INDEX audit_log_seq ON audit_log (seq);
