package pds

import (
	"slices"

	"perch/identity/plc"
)

// Kinds of operations that are not this server's.
const (
	AlertChanged = "changed" // the DID still names this server
	AlertMoved   = "moved"   // it names another one
	AlertEnded   = "ended"   // it names nothing any more
)

// finding is an operation of one of our accounts' DIDs that this server has neither made nor passed on.
type finding struct {
	plc.LogEntry
	kind   string
	before plc.Operation // what held before, as far as this server knew
	signer string        // the rotation key that made it
	asked  bool          // signed here for the owner, who had a code from a mail
}

// judge goes through the log of a DID, which has been verified, from the operation head on, and finds the strange ones. noted are this server's, with whether
// it sent them; home is how documents name this server. What happens while the DID names another server is not our business. Without a head that the log
// knows, the oldest noted operation is one; without that there is nothing to judge yet.
func judge(log []plc.LogEntry, head string, noted map[string]bool, home string) []finding {
	at := slices.IndexFunc(log, func(e plc.LogEntry) bool { return e.CID.String() == head })
	if at < 0 {
		at = slices.IndexFunc(log, func(e plc.LogEntry) bool { _, ok := noted[e.CID.String()]; return ok && !e.Nullified })
	}
	if at < 0 {
		return nil
	}
	var found []finding
	before := log[at].Operation
	for _, e := range log[at+1:] {
		if e.Nullified {
			continue
		}
		sent, known := noted[e.CID.String()]
		if !sent && before.Services[plc.PDSServiceName].Endpoint == home {
			found = append(found, finding{LogEntry: e, kind: kindOf(e.Operation, home), before: before, signer: signerOf(log, e), asked: known})
		}
		before = e.Operation
	}
	return found
}

func kindOf(op plc.Operation, home string) string {
	switch {
	case op.Type == plc.TypeTombstone:
		return AlertEnded
	case op.Services[plc.PDSServiceName].Endpoint != home:
		return AlertMoved
	}
	return AlertChanged
}

// signerOf finds the rotation key that made an operation of a verified log.
func signerOf(log []plc.LogEntry, e plc.LogEntry) string {
	prev, ok := entryOf(log, e.Operation.Prev)
	if !ok {
		return ""
	}
	key, _ := plc.Verify(e.Operation, prev.Operation.RotationKeys)
	return key
}

// entryOf finds an operation of a log by its CID.
func entryOf(log []plc.LogEntry, cid string) (plc.LogEntry, bool) {
	i := slices.IndexFunc(log, func(e plc.LogEntry) bool { return e.CID.String() == cid })
	if i < 0 {
		return plc.LogEntry{}, false
	}
	return log[i], true
}
