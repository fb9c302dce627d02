package relay

import (
	"os"
	"testing"

	"perch/testdata/peers/internet"
)

const (
	pdsName   = "alpha-pds.net"
	plcName   = "plc.directory"
	relayName = "bsky.network"
	ownName   = "mover-own.net" // domain of those who have handles of their own
)

// ownUsers have handles under ownName.
var ownUsers = []string{"calls", "job"}

// hostNames are servers that accounts move between; pdsName is the first.
var hostNames = []string{pdsName, "beta-pds.net", "gamma-pds.net", "delta-pds.net"}

func TestMain(m *testing.M) {
	names := append([]string{plcName, relayName}, hostNames...)
	for _, user := range ownUsers {
		names = append(names, user+"."+ownName)
	}
	os.Exit(internet.Main(m, names...))
}
