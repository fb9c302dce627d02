package repo

import (
	"math"
	"time"

	"github.com/bluesky-social/indigo/atproto/syntax"
)

// Layout of a TID: 53 bits of microseconds since 1970, 10 bits of clock id.
const (
	clockBits = 10
	clockMask = 1<<clockBits - 1
	maxMicros = 1<<53 - 1
	tidLen    = 13
)

const tidAlphabet = "234567abcdefghijklmnopqrstuvwxyz"

// NextRev returns the rev of the commit after one with rev prev ("" for none):
// the time now, or the microsecond after prev when the clock is not past it,
// be it that it stepped back or that the repository came from a host ahead of us.
// Revs of one repository rise strictly, for ever.
func NextRev(prev syntax.TID, now time.Time, clockID uint) syntax.TID {
	micros := uint64(max(now.UnixMicro(), 0)) & maxMicros
	next := micros<<clockBits | uint64(clockID&clockMask)
	if last, ok := tidInt(prev); ok && next <= last {
		next = last + 1
		if after := last>>clockBits + 1; after <= math.MaxUint64>>clockBits { // else: the last microsecond there is
			next = after<<clockBits | uint64(clockID&clockMask)
		}
	}
	return tidString(next)
}

// tidInt returns the 64 bits of a TID. The syntax allows a top bit that generators never set,
// hence no signed integer.
func tidInt(t syntax.TID) (uint64, bool) {
	if len(t) != tidLen {
		return 0, false
	}
	var v uint64
	for i := 0; i < tidLen; i++ {
		c := t[i]
		switch {
		case c >= '2' && c <= '7':
			v = v<<5 | uint64(c-'2')
		case c >= 'a' && c <= 'z':
			v = v<<5 | uint64(c-'a'+6)
		default:
			return 0, false
		}
	}
	return v, true
}

func tidString(v uint64) syntax.TID {
	var b [tidLen]byte
	for i := tidLen - 1; i >= 0; i-- {
		b[i] = tidAlphabet[v&31]
		v >>= 5
	}
	return syntax.TID(b[:])
}
