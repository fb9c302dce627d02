-- Administrators, what they have done, and what their lists show of accounts.

ALTER TABLE account ADD COLUMN role TEXT;     -- 'admin'; NULL for everybody else
CREATE INDEX account_created ON account (created_at, id);

CREATE TABLE audit (                          -- what administrators do, by whatever way
  id      INTEGER PRIMARY KEY,
  at      INTEGER NOT NULL,
  kind    TEXT NOT NULL,                      -- account, password, moderator, command-line
  actor   TEXT NOT NULL,                      -- DID; '' for password and command-line
  address TEXT NOT NULL,                      -- from which the request came
  action  TEXT NOT NULL,
  subject TEXT NOT NULL,                      -- DID of an account, or ''
  detail  TEXT NOT NULL,                      -- a record, a blob, codes; what else it was about
  reason  TEXT NOT NULL,
  result  TEXT NOT NULL                       -- begun, done, or why not
) STRICT;
CREATE INDEX audit_subject ON audit (subject, id);
CREATE INDEX audit_actor ON audit (actor, id);

CREATE TRIGGER audit_no_update BEFORE UPDATE ON audit BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END;
CREATE TRIGGER audit_no_delete BEFORE DELETE ON audit BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END;

CREATE TABLE account_usage (                  -- sums that would take long to make for a list; kept by the triggers below
  account    INTEGER PRIMARY KEY,
  blobs      INTEGER NOT NULL DEFAULT 0,
  blob_bytes INTEGER NOT NULL DEFAULT 0,
  seen_at    INTEGER NOT NULL DEFAULT 0       -- when a session was last begun or renewed
) STRICT;

INSERT INTO account_usage (account, blobs, blob_bytes, seen_at)
  SELECT a.id, (SELECT count(*) FROM blob b WHERE b.account = a.id), (SELECT coalesce(sum(size), 0) FROM blob b WHERE b.account = a.id),
    max(coalesce((SELECT max(created_at) FROM session s WHERE s.account = a.id), 0),
        coalesce((SELECT max(signed_in_at) FROM device_account d WHERE d.account = a.id), 0))
  FROM account a;

CREATE TRIGGER account_usage_begin AFTER INSERT ON account BEGIN
  INSERT INTO account_usage (account) VALUES (new.id);
END;
CREATE TRIGGER account_usage_end AFTER DELETE ON account BEGIN
  DELETE FROM account_usage WHERE account = old.id;
END;
CREATE TRIGGER blob_usage_add AFTER INSERT ON blob BEGIN
  UPDATE account_usage SET blobs = blobs + 1, blob_bytes = blob_bytes + new.size WHERE account = new.account;
END;
CREATE TRIGGER blob_usage_change AFTER UPDATE OF size ON blob BEGIN
  UPDATE account_usage SET blob_bytes = blob_bytes + new.size - old.size WHERE account = new.account;
END;
CREATE TRIGGER blob_usage_remove AFTER DELETE ON blob BEGIN
  UPDATE account_usage SET blobs = blobs - 1, blob_bytes = blob_bytes - old.size WHERE account = old.account;
END;
CREATE TRIGGER session_usage AFTER INSERT ON session BEGIN
  UPDATE account_usage SET seen_at = max(seen_at, new.created_at) WHERE account = new.account;
END;
CREATE TRIGGER device_usage AFTER INSERT ON device_account BEGIN
  UPDATE account_usage SET seen_at = max(seen_at, new.signed_in_at) WHERE account = new.account;
END;
