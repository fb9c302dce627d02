// Package pds is the server: its settings (Config), how it is put together (New), how it runs (Run), and what answers each request.
//
// A method's handler is named like the last segment of its NSID, and routes.go names every method on one line. Files are found by how their names begin:
//
//	config, secrets         the settings: the list of them, where they come from, what cannot work, and the secrets that are made
//	server.go, jobs.go      the parts of the server from the bottom up; work in the background
//	errors.go               the one table from our errors to those on the wire
//	server_, repo_, sync_, identity_, admin_
//	                        the methods of com.atproto.server, repo, sync, identity and admin; actor.go those of app.bsky.actor that are answered here
//	appview, overlay, proxied
//	                        methods that are passed on to other services, and what is laid over their answers
//	access, account_status, handle_check, email_taken
//	                        what several methods need: finding accounts, shutting and opening them, who has a name or an address
//	did_, plc_, rotation_   changes of accounts' DIDs: made here, made by others and noticed, undone; did_web.go for those under this server's domain
//	migrate_                what moves of accounts (pds/migrate) ask of this server; import_files.go what is received for them
//	export, exports, rescue archives of accounts: written, verified, and made into accounts again
//	audit                   the log of what administrators do
//	web_                    what the pages (pds/web) ask of this server: one file for each of the interfaces there
//	operator                what the command line asks of a running server, below /perch/
//	adopt, check, dev       commands that run without a server, or start one for development
//	mail, notices, oauth, lexicon_published, passkeys, pages, stats
//	                        the queue of mails, what owners are told of by mail, the endpoints of pds/oauth and the lexicons it needs, mails about
//	                        passkeys, plain pages such as the server's health, numbers for the charts
//
// What it stands on is listed in ARCHITECTURE.md. There is no SQL here: that is pds/store's.
package pds
