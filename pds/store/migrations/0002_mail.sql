-- Accounts whose deletion is finished leave no row, so that their DID may come back. Their ids are never given out again: what is left of
-- an old account in logs, tokens and backups must never point at another one.

CREATE TABLE account_new (
  id                 INTEGER PRIMARY KEY AUTOINCREMENT,
  did                TEXT NOT NULL UNIQUE,
  handle             TEXT UNIQUE,             -- lower case; NULL once the account is deleted, so that the name is free again
  email              TEXT UNIQUE,             -- lower case
  email_confirmed_at INTEGER,
  created_at         INTEGER NOT NULL,
  deactivated_at     INTEGER,
  delete_after       INTEGER,
  suspended_at       INTEGER,
  deleted_at         INTEGER,
  takedown_ref       TEXT,
  invites_disabled   INTEGER NOT NULL DEFAULT 0,
  invited_by         TEXT,
  signing_key        BLOB NOT NULL,           -- sealed private key
  signing_key_did    TEXT NOT NULL,           -- its public half as did:key
  password_hash      TEXT
) STRICT;
INSERT INTO account_new (id, did, handle, email, email_confirmed_at, created_at, deactivated_at, delete_after, suspended_at, deleted_at,
    takedown_ref, invites_disabled, invited_by, signing_key, signing_key_did, password_hash)
  SELECT id, did, handle, email, email_confirmed_at, created_at, deactivated_at, delete_after, suspended_at, deleted_at,
    takedown_ref, invites_disabled, invited_by, signing_key, signing_key_did, password_hash FROM account;
DROP TABLE account;
ALTER TABLE account_new RENAME TO account;
CREATE INDEX account_delete_after ON account (delete_after) WHERE delete_after IS NOT NULL;

CREATE TABLE email_token (                    -- codes that were sent by mail: one for each purpose, used once
  account    INTEGER NOT NULL,
  purpose    TEXT NOT NULL,
  hash       BLOB NOT NULL,                   -- keyed hash of the code
  created_at INTEGER NOT NULL,
  expires_at INTEGER NOT NULL,
  PRIMARY KEY (account, purpose)
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX email_token_hash ON email_token (purpose, hash);

CREATE TABLE mail (                           -- not sent yet, or not at all
  id         INTEGER PRIMARY KEY AUTOINCREMENT,
  account    INTEGER NOT NULL,                -- 0: of no account
  recipient  TEXT NOT NULL,
  subject    TEXT NOT NULL,
  sealed     BLOB,                            -- the message; NULL once it was given up
  created_at INTEGER NOT NULL,
  expires_at INTEGER NOT NULL,                -- of no use after
  attempts   INTEGER NOT NULL DEFAULT 0,
  tried_at   INTEGER,
  error      TEXT                             -- of the last attempt
) STRICT;
CREATE INDEX mail_account ON mail (account);
