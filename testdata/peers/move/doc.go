// Package move proves that a move to Perch with its job strands nobody. Something stands between the servers, and before the PLC directory, that spoils requests: it
// kills a server with SIGKILL before it passes a request on, after it, or in the middle of the answer, and loses, cuts, shortens, slows or replaces answers.
// Every move has to come to the same end, with nothing lost and nothing there twice. TestOut has Perch bring an account to the reference PDS.
//
// move.test.mjs moves an account through several hosts and compares all of it; TestRelayFollowsMoves of package relay runs it.
//
// TestMoveByPages walks the pages of moves in a browser; stage_test.go arranges what happens around it.
//
//	PERCH_BIN          the program (built from this tree when empty)
//	PERCH_MOVE_ONLY    a pattern: only walks whose names fit
//	PERCH_WEB_SHOTS    a folder for pictures of the pages
//	PERCH_MOVE_KILLS   "all" kills the old host at every request, too; else at some
package move
