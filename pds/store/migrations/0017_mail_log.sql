-- What was sent stays for a while, without what was in it, so that operators can tell whether a mail went out.

ALTER TABLE mail ADD COLUMN sent_at INTEGER; -- NULL: not sent
CREATE INDEX mail_unsent ON mail (id) WHERE sent_at IS NULL;
