-- What the PLC directory says of our accounts' DIDs, and which of it is our doing.

CREATE TABLE plc_operation (                  -- made or passed on here; noted before the directory is told, so that no crash makes them strange
  did        TEXT NOT NULL,
  cid        TEXT NOT NULL,
  sent       INTEGER NOT NULL,                -- 0: signed for the owner, who sends it
  created_at INTEGER NOT NULL,
  PRIMARY KEY (did, cid)
) STRICT, WITHOUT ROWID;

CREATE TABLE plc_watch (
  account INTEGER PRIMARY KEY,
  head    TEXT,                               -- CID of the newest operation that was looked at
  due_at  INTEGER NOT NULL                    -- of the next look
) STRICT;
CREATE INDEX plc_watch_due ON plc_watch (due_at);

CREATE TABLE plc_alert (                      -- operations that are not ours
  id      INTEGER PRIMARY KEY AUTOINCREMENT,
  account INTEGER NOT NULL,
  cid     TEXT NOT NULL,
  kind    TEXT NOT NULL,
  signer  TEXT NOT NULL,                      -- the rotation key, as did:key
  holder  TEXT NOT NULL,                      -- whose key it was
  asked   INTEGER NOT NULL,                   -- 1: signed here with a code that the owner had
  changes TEXT NOT NULL,                      -- JSON: lines in plain words
  made_at INTEGER NOT NULL,
  seen_at INTEGER NOT NULL,
  state   TEXT NOT NULL,
  UNIQUE (account, cid)
) STRICT;

-- DIDs of the kind did:web whose host is a name under this server's domain. A row is never removed: whoever had the name next would have the DID.
CREATE TABLE did_web (
  host        TEXT PRIMARY KEY,
  created_at  INTEGER NOT NULL,
  pds         TEXT,                           -- the server that the document names when it is not this one
  signing_key TEXT,                           -- and then the key
  handle      TEXT                            -- and then the handle
) STRICT, WITHOUT ROWID;
