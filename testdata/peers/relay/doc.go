// Package relay lets indigo's relay, in its strict mode, follow a server through a load of mixed commits, a restart of the
// server and a restart of the relay, and wants every commit to arrive, in order, with nothing to complain about. Beside it
// a follower runs indigo's own verification of commits on every event, and goat reads the stream once more. It holds tests only.
//
// Other tests give accounts new signing keys while they write, and move accounts between servers, with the same relay.
//
// The stock programs refuse loopback addresses, so the tests run in a network namespace of their own, where public-looking
// addresses and names are this machine: plc.directory, bsky.network (the relay) and alpha-pds.net (the server), with TLS.
// Everything in it ends with the test. It needs root, or user namespaces.
//
//	PERCH_BIN             the program (built from this tree when empty)
//	PERCH_RELAY_COMMITS   commits to make (1000; the full run is 10000)
//	PERCH_RELAY_ACCOUNTS  accounts that make them (20; the full run is 50)
//	PERCH_RELAY_WORKERS   how many write at once (8)
//	PERCH_RELAY_SEED      what the load depends on (1)
//	PERCH_RELAY_TARGET    "reference" runs the same against the reference PDS
//	PERCH_MOVE_RECORDS    records of an account that moves (300), PERCH_MOVE_FOLLOWS of them follows (100); PERCH_MOVE_BLOBS blobs (12)
//	PERCH_MOVE_KINDS      the servers that it goes through, by commas (reference,perch,perch,reference; four at most)
//	PERCH_RELAY_KEEP      a folder that takes the logs and the data, and is kept
package relay
