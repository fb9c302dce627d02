// Package es256 verifies signatures of keys on P-256 with SHA-256 (ES256, RFC 7518 section 3.4), in less than half the time for keys that sign again and again.
//
// A signature (r, s) of a digest e by the key Q is right (FIPS 186-5, section 6.4.2) when r and s lie between 1 and n-1 and, with u1 = e/s and u2 = r/s
// modulo the order n of the curve, the point
//
//	R = u1·G + u2·Q
//
// is not the point at infinity and has an x coordinate that is r modulo n. Nearly all of the time goes to u2·Q: 256 doublings, each of which waits for the
// one before. For the generator G, which is the same for everybody, crypto/ecdsa spares itself the doublings with a table of multiples of G. A DPoP key is
// the same in every request of an app, so it deserves a table, too. That is the oldest method for a base that stays (Brickell, Gordon, McCurley and Wilson,
// "Fast exponentiation with precomputation", EUROCRYPT '92), with signed digits, because the negative of a point costs nothing (Gueron and Krasnov, "Fast
// prime field elliptic-curve cryptography with 256-bit primes", 2013, do the same for G): written in base 2^w,
//
//	u2 = d[0] + d[1]·2^w + d[2]·2^2w + …   with -2^(w-1) < d[i] ≤ 2^(w-1),
//
// so u2·Q is the sum of one entry, or its negative, of each row of the table, whose row i has the multiples 1 to 2^(w-1) of 2^(wi)·Q. With w = 8 that is
// 32 additions and not one doubling. (There is no 33rd row: when u2 is greater than n/2, -R = -u1·G - u2·Q is taken, which has the same x.)
//
// Nothing here is secret, so it may take more or less time for one signature than for another. What is believed, and why:
//
//   - The points are those of filippo.io/nistec, the code of Go's own crypto/ecdsa by its own author. Its addition knows all cases: equal points, opposite
//     ones, the point at infinity.
//   - What the table does not find right is not refused: crypto/ecdsa decides, as it does for keys without a table. So a mistake here could never lock
//     anybody out, and the tests look for the other kind, by comparing both on forged signatures and on all corners of the calculation.
//   - A table costs as much as sixteen verifications and has 393 KB, so it is made when a key has signed tableAfter times: only what is found right counts, so
//     nobody else can bring that about, and who makes keys in order to waste our time is given little more of it. There are at most maxTables. The one that
//     was used least recently makes room when it was not used once while another key signed tableAfter times, and those of idle keys go.
package es256

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"math/big"
	"time"
)

// SignatureSize is the size of a signature: r and s, 32 bytes each, most significant first.
const SignatureSize = 64

// Verifier verifies signatures. It is safe for use by many goroutines.
type Verifier struct{ tables cache }

// New returns a Verifier with that clock.
func New(now func() time.Time) *Verifier {
	return &Verifier{cache{now: now, tables: make(map[point]*entry), counts: make(map[point]*count)}}
}

// Verify tells whether sig is the key's signature of what has the digest. It is false for keys on other curves.
func (v *Verifier) Verify(key *ecdsa.PublicKey, digest [sha256.Size]byte, sig []byte) bool {
	if len(sig) != SignatureSize || key.Curve != elliptic.P256() {
		return false
	}
	encoded, err := key.Bytes()
	if err != nil {
		return false
	}
	q := point(encoded)
	r, s := new(big.Int).SetBytes(sig[:SignatureSize/2]), new(big.Int).SetBytes(sig[SignatureSize/2:])
	t := v.tables.get(q)
	if t != nil && t.verify(digest, r, s) {
		return true
	}
	if !ecdsa.Verify(key, digest[:], r, s) {
		return false
	}
	if t == nil {
		v.tables.signed(q)
	}
	return true
}
