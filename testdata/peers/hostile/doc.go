// Package hostile sends several hundred malformed requests to a running server: each must be refused with a status of 4xx
// and a named error, and after all of them the server must be as it was: the same process, no 500 and no panic in its log,
// answering. It holds tests only.
//
//	PERCH_BIN             the program (built from this tree)
//	PERCH_HOSTILE_TARGET  "reference" runs the same against the reference PDS; its known 500s show as failures
package hostile
