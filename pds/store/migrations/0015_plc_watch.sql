-- Every account with a did:plc has a row in plc_watch from its beginning, so that whose turn it is can be read from an index alone.

INSERT INTO plc_watch (account, due_at)
  SELECT id, 0 FROM account WHERE did LIKE 'did:plc:%' AND deleted_at IS NULL AND id NOT IN (SELECT account FROM plc_watch);
