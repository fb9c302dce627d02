-- Browsers in which people are signed in to the server's own pages. Of the cookie nothing is stored: it is made from id, generation and a key that is
-- not in the database.

CREATE TABLE device (
  id         TEXT PRIMARY KEY,                -- random
  generation INTEGER NOT NULL,                -- of the newest cookie
  confirmed  INTEGER NOT NULL,                -- 1: the newest cookie has come back, so that the browser has it
  current    INTEGER NOT NULL,                -- the account that the pages show
  created_at INTEGER NOT NULL,
  rotated_at INTEGER NOT NULL,
  seen_at    INTEGER NOT NULL,
  ip         TEXT NOT NULL,
  user_agent TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX device_seen ON device (seen_at);

CREATE TABLE device_account (
  device       TEXT NOT NULL,
  account      INTEGER NOT NULL,
  signed_in_at INTEGER NOT NULL,
  confirmed_at INTEGER NOT NULL,              -- when the password was last given
  remembered   INTEGER NOT NULL,              -- 0: ends with the browser, or after half a day
  PRIMARY KEY (device, account)
) STRICT, WITHOUT ROWID;
CREATE INDEX device_account_account ON device_account (account);
