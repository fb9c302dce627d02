// Package oauth has apps sign in at Perch with the OAuth clients that others wrote: @atproto/oauth-client-node and -browser, and indigo's. A headless
// Chromium walks the server's pages. All of it happens in a small internet with names, addresses and TLS as in life, so that the guards of all sides stay on.
//
//	PERCH_BIN        the program (built from this tree when empty)
//	PERCH_CHROMIUM   the browser (/usr/bin/chromium when empty)
//	PERCH_OAUTH_ONLY a pattern of the names of the tests to run (all when empty)
package oauth
