-- Accounts on their way here from another server, and the reports of those that have come.

CREATE TABLE migration (
  did        TEXT PRIMARY KEY,
  state      TEXT NOT NULL,
  data       TEXT NOT NULL,                   -- JSON: what is known of the move
  sealed     BLOB,                            -- tokens of the old host; NULL once they are forgotten
  created_at INTEGER NOT NULL,
  updated_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
