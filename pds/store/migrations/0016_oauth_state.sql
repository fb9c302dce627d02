-- No state of an app is taken twice, and what a request asked for goes when it is over: only the marks of what was used stay for a day.

ALTER TABLE oauth_request ADD COLUMN state BLOB; -- SHA-256 of client_id and state
CREATE UNIQUE INDEX oauth_request_state ON oauth_request (state) WHERE state IS NOT NULL;
CREATE INDEX oauth_request_over ON oauth_request (expires_at) WHERE data <> '';
