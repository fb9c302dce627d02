-- Moves go both ways: while an account is on its way to another server, what is here of it must stay as it is.

ALTER TABLE migration ADD COLUMN holds INTEGER NOT NULL DEFAULT 0;
