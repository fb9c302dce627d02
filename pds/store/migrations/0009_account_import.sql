-- Accounts that the operator has made of an archive.

CREATE TABLE account_import (
  account INTEGER PRIMARY KEY,
  stored  INTEGER NOT NULL DEFAULT 0,         -- 1: all of the archive is stored, only the DID may still have to come
  status  TEXT NOT NULL                       -- of the account when the archive was made: why it was not active
) STRICT;
