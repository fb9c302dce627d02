// Package crash kills a server with SIGKILL at random moments while clients write to it, and checks after each start that
// every acknowledged write is in the repository and on the firehose exactly once, and that everything else is there as a
// whole or not at all. It holds tests only.
//
//	PERCH_CRASH_ROUNDS   kills (5)
//	PERCH_CRASH_SEED     what the moments and the writes depend on (the time; it is printed)
//	PERCH_BIN            the program (built from this tree)
//	PERCH_CRASH_TARGET   "reference" runs the same against the reference PDS, to see that the test can fail
package crash
