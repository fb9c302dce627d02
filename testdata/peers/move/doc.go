// Package move moves accounts between servers. TestMove does it with the standard calls, as the guide for account migration has them, between the reference PDS
// and Perch: out of the reference, from Perch to Perch, and back to the reference. TestJob has Perch fetch an account from the reference by itself.
//
// The others prove that a move of that kind strands nobody. Something stands between the servers, and before the PLC directory, that spoils requests: it
// kills a server with SIGKILL before it passes a request on, after it, or in the middle of the answer, and loses, cuts, shortens, slows or replaces answers.
// Every move has to come to the same end, with nothing lost and nothing there twice.
//
//	PERCH_BIN          the program (built from this tree when empty)
//	PERCH_MOVE_KILLS   "all" kills the old host at every request, too; else at some
package move
