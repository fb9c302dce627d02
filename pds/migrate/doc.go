// Package migrate moves accounts here from other servers, as work of this server: it survives the end of the process at any point, and of the other
// server's, and goes on to the same end.
//
// A move is a row with a state. Each state has one step, which may be done again from its beginning at any time; the row is written when the step is done.
//
//	account      signed in at the old host; the account here is made next
//	repo         the repository is fetched, verified as a whole, and stored
//	blobs        what records refer to is fetched, several at once, each checked against its CID
//	preferences  are fetched and stored
//	verify       the tree at both hosts has the same root, blobs and preferences are all here; if not, back to repo
//	code         the old host has mailed a code for the change of the DID, which the owner must enter; or a rotation key of the DID signs here in its place
//	document     did:web: the owner must change the document
//	signed       the operation is signed; a last look whether anything was written there meanwhile
//	submit       the operation goes to the PLC directory
//	moved        the DID names this server; the account is made active here
//	active       the account at the old host is deactivated
//	left         the session at the old host is ended, and its tokens forgotten
//	done         only the report is left
//
// Until submit the move can be given up: the account here and the session there go, and nothing has changed for anybody. From submit on it only goes forward.
// Passwords, codes and rotation keys are used in the request that brings them and never stored. The tokens of the old host are sealed, and forgotten at the end.
package migrate
