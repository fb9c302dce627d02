-- What confidential clients have proved themselves with, until it expires: nobody may use it again, also after a restart.

CREATE TABLE oauth_assertion (
  id         BLOB PRIMARY KEY,                  -- SHA-256 of client_id and jti
  expires_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX oauth_assertion_expires ON oauth_assertion (expires_at);
