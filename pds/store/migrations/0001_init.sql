-- People: who has an account and how they sign in. Times are microseconds since 1970; secrets are sealed or hashed before they come here.

CREATE TABLE account (
  id                 INTEGER PRIMARY KEY,
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

CREATE TABLE app_password (
  account       INTEGER NOT NULL,
  name          TEXT NOT NULL,
  password_hash TEXT NOT NULL,
  privileged    INTEGER NOT NULL DEFAULT 0,
  created_at    INTEGER NOT NULL,
  PRIMARY KEY (account, name)
) STRICT, WITHOUT ROWID;

CREATE TABLE session (
  id           TEXT PRIMARY KEY,              -- jti of the refresh token
  account      INTEGER NOT NULL,
  app_password TEXT,
  next_id      TEXT,                          -- set at rotation; the old id works on until expires_at, which rotation brings near
  created_at   INTEGER NOT NULL,
  expires_at   INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX session_account ON session (account);

CREATE TABLE invite_code (
  code           TEXT PRIMARY KEY,
  available_uses INTEGER NOT NULL,
  disabled       INTEGER NOT NULL DEFAULT 0,
  for_account    TEXT NOT NULL,
  created_by     TEXT NOT NULL,
  created_at     INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX invite_code_for ON invite_code (for_account);

CREATE TABLE invite_use (
  code    TEXT NOT NULL,
  used_by TEXT NOT NULL,
  used_at INTEGER NOT NULL,
  PRIMARY KEY (code, used_by)
) STRICT, WITHOUT ROWID;

CREATE TABLE preference (
  account INTEGER NOT NULL,
  id      INTEGER NOT NULL,                   -- position in the list that the client sent
  name    TEXT NOT NULL,                      -- NSID of the preference's $type
  value   TEXT NOT NULL,                      -- JSON
  PRIMARY KEY (account, id)
) STRICT, WITHOUT ROWID;

-- Repositories. The records are the repository; the tree is a function of them. CIDs are in their binary form.

CREATE TABLE repo (
  account INTEGER PRIMARY KEY,
  head    BLOB NOT NULL,                      -- CID of the latest commit
  block   BLOB NOT NULL,                      -- the commit itself
  rev     TEXT NOT NULL,
  data    BLOB NOT NULL,                      -- root of the tree
  records INTEGER NOT NULL,
  bytes   INTEGER NOT NULL,                   -- sum of the records' sizes
  outline INTEGER NOT NULL DEFAULT 0          -- layer from which the outline table holds this tree; 0: not at all
) STRICT;

CREATE TABLE record (
  account      INTEGER NOT NULL,
  path         TEXT NOT NULL,                 -- collection/rkey, in the byte order of the tree
  cid          BLOB NOT NULL,
  rev          TEXT NOT NULL,                 -- of the commit that last wrote it
  subject      TEXT,                          -- what a like, repost, follow or block is about, for the duplicate rule
  takedown_ref TEXT,
  body         BLOB NOT NULL,                 -- last, so that a scan of the columns before it reads no overflow pages
  PRIMARY KEY (account, path)
) STRICT, WITHOUT ROWID;
CREATE INDEX record_subject ON record (account, subject, path) WHERE subject IS NOT NULL;

CREATE TABLE outline (                        -- a cache of the upper layers of large trees, checked against the head when read
  account INTEGER NOT NULL,
  path    TEXT NOT NULL,                      -- '' for the gap before the first key
  cid     BLOB,                               -- the record's CID; NULL for ''
  below   BLOB,                               -- CID of the subtree right of path, below the outline's layer; NULL: none
  PRIMARY KEY (account, path)
) STRICT, WITHOUT ROWID;

CREATE TABLE collection (                     -- which accounts have records in which collection
  collection TEXT NOT NULL,
  account    INTEGER NOT NULL,
  PRIMARY KEY (collection, account)
) STRICT, WITHOUT ROWID;

CREATE TABLE blob (
  account      INTEGER NOT NULL,
  cid          BLOB NOT NULL,
  mime         TEXT NOT NULL,
  size         INTEGER NOT NULL,
  referenced   INTEGER NOT NULL DEFAULT 0,    -- 0: uploaded, private, swept when old; 1: public
  created_at   INTEGER NOT NULL,
  takedown_ref TEXT,
  PRIMARY KEY (account, cid)
) STRICT, WITHOUT ROWID;
CREATE INDEX blob_unreferenced ON blob (created_at) WHERE referenced = 0;

CREATE TABLE blob_ref (                       -- which records refer to which blobs, whether or not the blob is here
  account INTEGER NOT NULL,
  path    TEXT NOT NULL,
  cid     BLOB NOT NULL,
  PRIMARY KEY (account, path, cid)
) STRICT, WITHOUT ROWID;
CREATE INDEX blob_ref_cid ON blob_ref (account, cid);

CREATE TABLE event (
  seq        INTEGER PRIMARY KEY,             -- max(last + 1, microseconds since 1970)
  account    INTEGER NOT NULL,
  time       INTEGER NOT NULL,
  kind       TEXT NOT NULL,                   -- commit, sync, identity, account
  frame      BLOB NOT NULL                    -- as sent to subscribers, packed: the letter s and an S2 block
) STRICT;

CREATE TABLE job (
  id       INTEGER PRIMARY KEY,
  kind     TEXT NOT NULL,
  payload  TEXT NOT NULL,                     -- JSON
  run_at   INTEGER NOT NULL,
  attempts INTEGER NOT NULL DEFAULT 0,
  error    TEXT
) STRICT;
CREATE INDEX job_run_at ON job (run_at);

CREATE TABLE secret (
  name   TEXT PRIMARY KEY,
  sealed BLOB NOT NULL
) STRICT, WITHOUT ROWID;
