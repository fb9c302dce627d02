-- Passkeys (WebAuthn) with which people sign in to the server's own pages. Only public halves are here.

CREATE TABLE passkey (
  credential   BLOB PRIMARY KEY,              -- its id, which the authenticator has chosen
  account      INTEGER NOT NULL,
  user_handle  BLOB NOT NULL,                 -- random, the same for all passkeys of an account: what authenticators know the account by
  public_key   BLOB NOT NULL,                 -- COSE_Key
  count        INTEGER NOT NULL,              -- of signatures, as the authenticator says
  eligible     INTEGER NOT NULL,              -- 1: may be on several devices
  backed_up    INTEGER NOT NULL,              -- 1: is
  transports   TEXT NOT NULL,                 -- separated by spaces
  name         TEXT NOT NULL,                 -- by its owner
  created_at   INTEGER NOT NULL,
  used_at      INTEGER                        -- NULL: never
) STRICT, WITHOUT ROWID;
CREATE INDEX passkey_account ON passkey (account, created_at);

CREATE TABLE passkey_challenge (              -- challenges that were answered: none is good twice
  challenge  BLOB PRIMARY KEY,
  expires_at INTEGER NOT NULL                 -- from then on it is refused for its age
) STRICT, WITHOUT ROWID;
CREATE INDEX passkey_challenge_expires ON passkey_challenge (expires_at);
