// Package migrate moves accounts here from other servers, and from here to others, as work of this server: it survives the end of the process at any point, and of the other
// server's, and goes on to the same end.
//
// A move is a row with a state. Each state has one step, which may be done again from its beginning at any time; the row is written when the step is done.
//
//	consent      the owner is to sign in at the old host in a browser (OAuth), in place of giving its password
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
// A move to another server goes through the same states the other way round:
//
//	account      the account at the new host is made next, or found there, if the answer was lost
//	repo         the repository is streamed to the new host
//	blobs        what the new host misses is uploaded, several at once; the CID that it answers must be right
//	preferences  are sent
//	verify       the tree at both hosts has the same root, blobs and preferences are all there; if not, back to repo
//	code         this server has mailed a code, which the owner must enter; or must sign the operation, when this server has no rotation key of the DID
//	signed       the owner's word is there; the account here is deactivated, and held so
//	held         a last look: what was written since verify is sent, and nothing can be written any more
//	document     did:web: the owner must change the document
//	submit       the operation goes to the PLC directory
//	reopen       the directory did not take it: the account here is active again, back to verify
//	moved        once the DID document names the new host, the account is made active there
//	active       when the account here is to be deleted is noted
//	left         the session at the new host is ended, and its tokens forgotten
//	done         only the report is left
//	abandoned    given up, and something may be left at the new host; the notes say so
//
// Nothing that this server has acknowledged is lost: from signed on the account takes no record, no preferences and no import, and cannot be activated but by
// giving the move up.
//
// Until submit the move can be given up: what was made at the new host goes, the session at the other one is ended, and nothing has changed for anybody. From submit on it only goes forward;
// but a move to another server whose operation was sent in vain ends, too, once the directory has said twice, a minute apart, that it has not taken it.
// Passwords, codes and rotation keys are used in the request that brings them and never stored. The tokens of the other host are sealed, and forgotten at the end.
package migrate
