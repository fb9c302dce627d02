package main

import (
	"runtime/debug"
	"slices"
	"strings"
)

const (
	// gcPercent is how much garbage may lie about before it is collected, in per cent of what is in use; Go's own choice is 100. It is a
	// share and no bound, so a server that holds much does not collect more often than one that holds little.
	gcPercent = 50
	// ballastBytes count as in use, so that a small server does not collect all the time: it may have half of this in garbage besides.
	// They are never written to, so that they take no memory.
	ballastBytes = 16 << 20
)

var ballast []byte

// tuneMemory sets the pace of the garbage collector, unless the operator has chosen one with GOGC or GOMEMLIMIT.
func tuneMemory(environ []string) {
	chosen := func(kv string) bool { return strings.HasPrefix(kv, "GOGC=") || strings.HasPrefix(kv, "GOMEMLIMIT=") }
	if !slices.ContainsFunc(environ, chosen) {
		debug.SetGCPercent(gcPercent)
		ballast = make([]byte, ballastBytes)
	}
}
