-- Sessions of one account are bounded, the one that ends first goes; and signing out follows the chain of refreshes by look-ups.
DROP INDEX session_account;
CREATE INDEX session_account ON session (account, expires_at);
CREATE INDEX session_next ON session (next_id) WHERE next_id IS NOT NULL;
CREATE INDEX session_expires ON session (expires_at);
