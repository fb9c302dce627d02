-- What an account asks for beside its password.

CREATE TABLE second_factor (
  account       INTEGER PRIMARY KEY,
  email         INTEGER NOT NULL DEFAULT 0,   -- 1: codes by e-mail
  totp          BLOB,                         -- sealed secret of the authenticator app in use; NULL: none
  totp_pending  BLOB,                         -- sealed secret of one that is being set up
  totp_step     INTEGER NOT NULL DEFAULT 0,   -- time step of the last code used: no code works twice
  failures      INTEGER NOT NULL DEFAULT 0,   -- wrong codes of the app since the last right one
  retry_at      INTEGER,                      -- no code of the app is looked at before
  mail_failures INTEGER NOT NULL DEFAULT 0    -- wrong codes since the last mail
) STRICT;

CREATE TABLE recovery_code (                  -- each works once, in place of any other code
  account INTEGER NOT NULL,
  hash    BLOB NOT NULL,                      -- keyed hash
  PRIMARY KEY (account, hash)
) STRICT, WITHOUT ROWID;
