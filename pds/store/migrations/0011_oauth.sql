-- Apps that sign in with OAuth. Neither codes nor tokens are stored: codes by their hash, and tokens are made from a session's salt under a key that is
-- derived from the master key.

CREATE TABLE oauth_request (                    -- pushed by apps; codes
  id         BLOB PRIMARY KEY,                  -- SHA-256 of what stands at the end of the request_uri
  client_id  TEXT NOT NULL,
  challenge  BLOB NOT NULL UNIQUE,              -- SHA-256 of the code challenge: none is taken twice while the row is there
  data       TEXT NOT NULL,                     -- JSON: what is asked for; '' once it is over
  device     TEXT,                              -- the browser that opened it
  code       BLOB UNIQUE,                       -- SHA-256 of the code, once it was granted
  account    INTEGER,                           -- who granted it
  session    TEXT,                              -- what the code was traded for
  expires_at INTEGER NOT NULL,                  -- for what it waits for: a decision, then the code's use
  forget_at  INTEGER NOT NULL                   -- when the row goes
) STRICT, WITHOUT ROWID;
CREATE INDEX oauth_request_forget ON oauth_request (forget_at);
CREATE INDEX oauth_request_account ON oauth_request (account) WHERE account IS NOT NULL;

CREATE TABLE oauth_session (
  id                TEXT PRIMARY KEY,
  account           INTEGER NOT NULL,
  client_id         TEXT NOT NULL,
  device            TEXT,
  data              TEXT NOT NULL,              -- JSON: the client as it was let in, and the key it proves itself with
  granted           TEXT NOT NULL,              -- scopes as they were granted
  scope             TEXT NOT NULL,              -- the same with permission sets expanded, as of the last tokens
  jkt               TEXT NOT NULL,              -- thumbprint of the DPoP key
  salt              BLOB NOT NULL,
  generation        INTEGER NOT NULL,           -- of the tokens
  created_at        INTEGER NOT NULL,
  used_at           INTEGER NOT NULL,           -- when the tokens were made
  access_expires_at INTEGER NOT NULL,
  expires_at        INTEGER NOT NULL            -- of the refresh token, and so of the session
) STRICT, WITHOUT ROWID;
CREATE INDEX oauth_session_account ON oauth_session (account, expires_at);
CREATE INDEX oauth_session_expires ON oauth_session (expires_at);

CREATE TABLE oauth_consent (
  account    INTEGER NOT NULL,
  client_id  TEXT NOT NULL,
  scope      TEXT NOT NULL,
  updated_at INTEGER NOT NULL,
  PRIMARY KEY (account, client_id)
) STRICT, WITHOUT ROWID;

CREATE TABLE oauth_lexicon (                    -- permission sets, as their authors published them
  nsid       TEXT PRIMARY KEY,
  lexicon    TEXT NOT NULL,                     -- JSON
  fetched_at INTEGER NOT NULL,
  tried_at   INTEGER NOT NULL                   -- when it was last asked for, with or without success
) STRICT, WITHOUT ROWID;
